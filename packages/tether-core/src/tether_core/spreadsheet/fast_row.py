"""
The fast path of reading a row.

`rows` defines how a row is read: the slow path, which finds every problem. Almost all rows of a large file have none. For
those, a few tests of the whole row replace many tests of each cell; a row that fails any of them is left to the slow path.
There are three readers because a million rows must be read in seconds (`fast_batch` reads many rows at once). A property test
proves that a fast path gives a debtor only where the slow path gives the same one.

>>> from tether_core.spreadsheet.plan import Column
>>> columns = (Column(0, "Name", "name"), Column(1, "IBAN", "iban"), Column(2, "Betrag", "amount"))
>>> plan = Plan(kind="csv", header_row=1, data_row=2, columns=columns, amount_format="comma")
>>> fast = compile_fast(plan, rules=Rules(), today=date(2026, 3, 2))
>>> fast(Row(2, ["Zoë Łącka", "DE89370400440532013000", "12,50"])).amount_minor
1250
>>> fast(Row(3, ["Zoë Łącka", "DE89370400440532013000", "CHF 12,50"])) is None
True
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from typing import Final

from tether_core.emp.countries import SDD_COUNTRIES
from tether_core.errors import InvalidIban
from tether_core.iban import EEA, validate
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.countries import country_code
from tether_core.spreadsheet.fallbacks import filler
from tether_core.spreadsheet.formats import Trouble, read_day
from tether_core.spreadsheet.outcomes import Debtor, Rules
from tether_core.spreadsheet.person_names import MOJIBAKE, PART_PLACEHOLDERS, PLACEHOLDERS, sums_up
from tether_core.spreadsheet.plan import EXTRA_FIELDS, Plan
from tether_core.spreadsheet.selection import word_key

__all__ = [
    "BIC",
    "EMAIL",
    "EUROS",
    "MANDATE_ID",
    "PLAIN_NAME",
    "SEPA_MANDATES_SINCE",
    "TEXT_LENGTH_MAX",
    "TYPED",
    "compile_fast",
    "listed_country",
    "may_be_shortened",
    "plain_day",
]

# No scheme allows longer fields; a longer cell is a paragraph in the wrong column.
TEXT_LENGTH_MAX: Final = 500
BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
MANDATE_ID: Final = re.compile(r"[A-Za-z0-9+?/:().,' -]{1,35}")
EMAIL: Final = re.compile(r"(?=.{6,254}$)[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]+\.[^@\s,;<>\".]{2,}")
EUROS: Final = frozenset({"", "EUR", "eur", "Eur", "€", "Euro", "EURO", "euro", "euros", "Euros"})
# In a number that a spreadsheet program has shortened, "1,23457E+15".
_EXPONENT: Final = re.compile(r"[0-9][Ee]\+[0-9]")
SEPA_MANDATES_SINCE: Final = date(2008, 1, 1)

# Fields that are read by rules of their own, not as text.
TYPED: Final = frozenset("iban name amount amount_minor currency".split())

# Names of most of Europe in Latin letters, without notes in brackets; anything else takes the slow path, and is not refused.
PLAIN_NAME: Final = re.compile(
    "[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e][A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e .,'&/-]{1,69}"
)
_COMMA: Final = re.compile(r"([0-9]{1,9}),([0-9]{1,2})")
_POINT: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,2})")
_NEVER: Final = re.compile(r"(?!)")
_DAYS_KEPT: Final = 10_000


def may_be_shortened(text: str) -> bool:
    """Whether a text holds what looks like part of a number that a spreadsheet program has shortened."""
    return ("E+" in text or "e+" in text) and _EXPONENT.search(text) is not None


def plain_day(field: str, *, plan: Plan, today: date) -> Callable[[str], date | None]:
    """
    Make the function that reads plain days of a column.

    Args:
        field: "mandate_signed_on" or "born_on".
        plan: Has the column's order of day, month and year.
        today: The last day there may be.

    Returns:
        A function from a cell to its day, or to `None` for a cell that needs the slow path.
    """
    order = plan.date_orders.get(field, "iso")
    since = SEPA_MANDATES_SINCE if field == "mandate_signed_on" else date.min

    def look(cell: str) -> date | None:
        day = read_day(cell, order=order, short_years=field != "born_on")
        return None if isinstance(day, Trouble) or not since <= day <= today else day

    return look


def listed_country(cell: str) -> str | None:
    """Read a country that the gateway lists; `None` for a cell that needs the slow path."""
    code = country_code(cell)
    return code if code in SDD_COUNTRIES else None


def compile_fast(plan: Plan, *, rules: Rules, today: date) -> Callable[[Row], Debtor | None]:  # noqa: C901, PLR0915 - a closure: its names cost least there, and it is this module's only work
    """
    Compile a plan into a function for rows without problems.

    Args:
        plan: Without open questions.
        rules: The caller's limits.
        today: For dates that must not be in the future.

    Returns:
        A function from a row to its debtor, or to `None` for a row that needs the slow path.
    """
    at = dict(plan.fields)
    place_in = Debtor.__struct_fields__.index
    width = len(plan.columns)
    padding = [""] * width
    template: list[object] = [None] * len(Debtor.__struct_fields__)
    template[place_in("currency")] = "EUR"
    template[place_in("warnings")] = ()
    matched = {"bic": BIC.fullmatch, "mandate_id": MANDATE_ID.fullmatch, "email": EMAIL.fullmatch}

    looked_up: dict[str, Callable[[str], object]] = {
        "mandate_signed_on": plain_day("mandate_signed_on", plan=plan, today=today),
        "born_on": plain_day("born_on", plan=plan, today=today),
        "country": listed_country,
    }
    matches = [(place_in(field), at[field], fits) for field, fits in matched.items() if field in at]
    # The same days and countries repeat in a file, so each is read once.
    known: dict[str, dict[str, object]] = {field: {} for field in looked_up}
    looks = [
        (place_in(field), at[field], known[field], look) for field, look in looked_up.items() if field in at
    ]
    texts = [
        (place_in(field), position)
        for field, position in at.items()
        if field not in TYPED
        and field not in matched
        and field not in looked_up
        and field not in EXTRA_FIELDS
    ]
    extras = [(field, at[field]) for field in EXTRA_FIELDS if field in at] + list(plan.kept.items())
    extra_index = place_in("extra")
    iban_at, name_at, currency_at = at["iban"], at.get("name", -1), at.get("currency", -1)
    parts_at = [at[part] for part in ("first_name", "last_name") if part in at]
    in_minor = "amount_minor" in at
    amount_at = at["amount_minor"] if in_minor else at["amount"]
    amount_bit = 1 << amount_at
    # Numbers in columns of text may have lost digits.
    stand_ins = [position for others in plan.fallbacks.values() for position in others]
    text_places = sorted({*stand_ins, *(position for field, position in at.items() if field not in TYPED)})
    text_bits = sum(1 << position for position in text_places)
    money = {"comma": _COMMA, "point": _POINT}.get(plan.amount_format or "", _NEVER)
    least, most = max(rules.amount_minor_min, 1), rules.amount_minor_max
    fill = filler(plan)
    selections = [(selection.position, frozenset(selection.words)) for selection in plan.selections]

    def fast(row: Row) -> Debtor | None:  # noqa: C901, PLR0911, PLR0912, PLR0915 - one test after the other
        cells = row.cells
        missing = width - len(cells)
        if missing > 0:
            cells = cells + padding[:missing]
        if missing < 0 or row.flaw:
            return None
        if fill is not None:
            cells = list(fill(cells))
        for place, words in selections:
            if word_key(cells[place]) not in words:
                return None
        whole = "".join(cells)
        if not whole.isprintable() or may_be_shortened(whole):
            return None
        if len(whole) > TEXT_LENGTH_MAX and max(map(len, cells)) > TEXT_LENGTH_MAX:
            return None
        if not whole.isascii():
            for cell in cells:
                if not cell.isascii() and (
                    MOJIBAKE.search(cell) or "\ufffd" in cell or not unicodedata.is_normalized("NFC", cell)
                ):
                    return None
        if "#" in whole or "Err" in whole:
            return None
        if "'" in whole:
            for cell in cells:
                if cell.lstrip().startswith("'"):
                    return None
        try:
            iban = validate(cells[iban_at])
        except InvalidIban:
            return None
        if iban[:2] not in EEA:
            return None
        name = " ".join(cells[name_at].split()) if name_at >= 0 else ""
        if not name:
            parts = [cells[part].strip() for part in parts_at]
            if not PART_PLACEHOLDERS.isdisjoint(parts):
                return None
            name = " ".join(" ".join(parts).split())
        if not PLAIN_NAME.fullmatch(name) or name in PLACEHOLDERS or sums_up(name):
            return None
        amount = cells[amount_at]
        pattern = money
        if numeric := row.numeric:
            if numeric & amount_bit:
                pattern = _POINT
            if numeric & text_bits:
                for place in text_places:
                    if len(cells[place]) > 15 and numeric >> place & 1:
                        return None
        if not in_minor and (match := pattern.fullmatch(amount)):
            decimals = int(match[2])
            amount_minor = int(match[1]) * 100 + (decimals if len(match[2]) == 2 else decimals * 10)
        elif amount.isdigit() and amount.isascii() and len(amount) < 10:
            amount_minor = int(amount) if in_minor else int(amount) * 100
        else:
            return None
        if not least <= amount_minor <= most:
            return None
        if currency_at >= 0 and cells[currency_at] not in EUROS:
            return None
        values = template.copy()
        values[0] = row.number
        values[1] = iban
        values[2] = name
        values[3] = amount_minor
        for index, place, fits in matches:
            if (cell := cells[place].strip()) and cell not in PLACEHOLDERS:
                if not fits(cell):
                    return None
                values[index] = cell
        for index, place, answers, look in looks:
            if (cell := cells[place].strip()) and cell not in PLACEHOLDERS:
                value = answers.get(cell)
                if value is None:
                    value = look(cell)
                    if value is None:
                        return None
                    if len(answers) > _DAYS_KEPT:
                        answers.clear()
                    answers[cell] = value
                values[index] = value
        for index, place in texts:
            cell = cells[place].strip()
            values[index] = None if cell in PLACEHOLDERS else cell or None
        if extras:
            values[extra_index] = {
                field: cell
                for field, place in extras
                if (cell := cells[place].strip()) and cell not in PLACEHOLDERS
            }
        return Debtor(*values)  # type: ignore[arg-type]  # in the order of its fields

    return fast
