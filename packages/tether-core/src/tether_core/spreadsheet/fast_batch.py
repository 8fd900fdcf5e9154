"""
The fastest path of reading rows: a batch at once, column by column.

Each cell meets the same conditions as in `fast_row`, but they are tested for a column as a whole: whether all of its text is
printable, whether each amount has two decimals, whether a day was read before. If any column fails, `fast_row` reads the batch
row by row; a wrong IBAN, the most frequent problem, sends only its own row to the slow path. The property test that proves
`fast_row` equal to the slow path (`rows`) covers this path too.

>>> from tether_core.spreadsheet.plan import Column
>>> columns = (Column(0, "Name", "name"), Column(1, "IBAN", "iban"), Column(2, "Betrag", "amount"))
>>> plan = Plan(kind="csv", header_row=1, data_row=2, columns=columns, amount_format="comma")
>>> batch = compile_batch(plan, rules=Rules(), today=date(2026, 3, 2))
>>> good = Row(2, ["Zoë Łącka", "DE89370400440532013000", "12,50"])
>>> batch([good, Row(3, ["Ann", "DE88370400440532013000", "1,00"])]).fields["iban"]
['DE89370400440532013000', '']
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from tether_core.errors import InvalidIban
from tether_core.iban import EEA, validate
from tether_core.spreadsheet.cells import Row, is_printable
from tether_core.spreadsheet.fallbacks import filler
from tether_core.spreadsheet.fast_row import (
    BIC,
    EMAIL,
    EUROS,
    MANDATE_ID,
    PLAIN_NAME,
    TEXT_LENGTH_MAX,
    TYPED,
    listed_country,
    may_be_shortened,
    plain_day,
)
from tether_core.spreadsheet.outcomes import Columns, Debtor, Rules
from tether_core.spreadsheet.person_names import MOJIBAKE, PART_PLACEHOLDERS, PLACEHOLDERS, sums_up
from tether_core.spreadsheet.plan import EXTRA_FIELDS, Plan
from tether_core.spreadsheet.selection import word_key

__all__ = ["BATCH_ROWS", "compile_batch"]

# If one row in a thousand has a problem, one batch in sixteen is read row by row.
BATCH_ROWS: Final = 64
_CENTS: Final = {
    "comma": re.compile(r"(?:[0-9]{1,9},[0-9]{2}\n)+"),
    "point": re.compile(r"(?:[0-9]{1,9}\.[0-9]{2}\n)+"),
}
_NUMBERS: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,2})?\n)+")
_MINOR: Final = re.compile(r"(?:[0-9]{1,9}\n)+")
# As `MANDATE_ID`, or blank: all texts at once, because hardly two are the same.
_MANDATES: Final = re.compile(rf"(?:(?:{MANDATE_ID.pattern})?\n)+")
_NEVER: Final = re.compile(r"(?!)")
_KNOWN_MAX: Final = 10_000

_TEXTS: Final = frozenset(Debtor.__struct_fields__) - TYPED

_Column = Sequence[str]


def compile_batch(  # noqa: C901, PLR0915 - a closure like `compile_fast`, for the same reason
    plan: Plan, *, rules: Rules, today: date
) -> Callable[[Sequence[Row]], Columns | None]:
    """
    Compile a plan into a function for batches of rows without problems.

    Args:
        plan: Without open questions.
        rules: The caller's limits.
        today: For dates that must not be in the future.

    Returns:
        A function from rows to their debtors, or to `None` for a batch that must be read row by row. A row with a wrong IBAN has
        an empty one and needs the slow path.
    """
    at = dict(plan.fields)
    width = len(plan.columns)
    padding = [""] * width
    iban_at, name_at, currency_at = at["iban"], at.get("name", -1), at.get("currency", -1)
    parts_at = [at[part] for part in ("first_name", "last_name") if part in at]
    in_minor = "amount_minor" in at
    amount_at = at["amount_minor"] if in_minor else at["amount"]
    amount_bit = 1 << amount_at
    stand_ins = [place for places in plan.fallbacks.values() for place in places]
    text_places = sorted({*stand_ins, *(place for field, place in at.items() if field not in TYPED)})
    text_bits = sum(1 << place for place in text_places)
    cents = _MINOR if in_minor else _CENTS.get(plan.amount_format or "", _NEVER)
    sign = {"comma": ",", "point": "."}.get(plan.amount_format or "", "")
    least, most = max(rules.amount_minor_min, 1), rules.amount_minor_max
    used = sorted({*at.values(), *plan.kept.values()})
    matched = {"bic": _each(BIC), "mandate_id": _all_mandates, "email": _each(EMAIL)}
    looked_up: dict[str, Callable[[str], object]] = {
        "mandate_signed_on": plain_day("mandate_signed_on", plan=plan, today=today),
        "born_on": plain_day("born_on", plan=plan, today=today),
        "country": listed_country,
    }
    known: dict[str, dict[str, object]] = {field: {"": None} for field in looked_up}
    extras = {field: at[field] for field in EXTRA_FIELDS if field in at} | plan.kept
    others = [(field, place) for field, place in at.items() if field in _TEXTS]
    fill = filler(plan)
    selections = [(selection.position, frozenset(selection.words)) for selection in plan.selections]

    def batch(rows: Sequence[Row]) -> Columns | None:  # noqa: C901, PLR0911, PLR0912 - one test after the other
        lines = [row.cells for row in rows]
        widths = set(map(len, lines))
        if widths != {width}:
            if max(widths) > width:
                return None
            lines = [cells + padding[len(cells) :] for cells in lines]
        if fill is not None:
            lines = [list(fill(cells)) for cells in lines]
        columns: list[_Column] = list(zip(*lines, strict=True))
        if any(not words.issuperset(map(word_key, set(columns[place]))) for place, words in selections):
            return None
        if "".join([row.flaw for row in rows]):
            return None
        texts = ["\n".join(columns[place]) for place in used]
        if any(text.count("\n") >= len(rows) for text in texts):
            return None
        # Apart, because a character of ASCII is a byte and found sooner.
        halves = ["\n".join(some) for some in _parted(texts)]
        if any(map(_is_remarkable, halves)) or not all(map(_is_sound, texts)):
            return None
        # By now, a space is the only possible blank.
        tidy = all(map(_is_tidy, halves))
        numeric = {row.numeric for row in rows}
        numbers = {bits & amount_bit for bits in numeric}
        if len(numbers) > 1 or (
            any(bits & text_bits for bits in numeric)
            and any(max(map(len, columns[place])) > 15 for place in text_places)
        ):
            return None
        amounts = (
            _numbers(columns[amount_at])
            if numbers != {0} and not in_minor
            else _cents(columns[amount_at], cents, sign)
        )
        if amounts is None or min(amounts) < least or max(amounts) > most:
            return None
        if currency_at >= 0 and not EUROS.issuperset(columns[currency_at]):
            return None
        if name_at < 0 and any(not PART_PLACEHOLDERS.isdisjoint(columns[place]) for place in parts_at):
            return None
        names: _Column = (
            columns[name_at]
            if name_at >= 0
            else [" ".join(parts) for parts in zip(*[columns[place] for place in parts_at], strict=True)]
        )
        if not tidy:
            names = [" ".join(name.split()) for name in names]
        if not all(map(PLAIN_NAME.fullmatch, names)) or not PLACEHOLDERS.isdisjoint(names):
            return None
        if any(map(sums_up, names)):
            return None
        ibans = list(map(_iban, columns[iban_at]))
        if not _REACHED.issuperset([iban[:2] for iban in ibans]):
            return None
        found: dict[str, Sequence[object]] = {
            "row": [row.number for row in rows],
            "iban": ibans,
            "name": names,
            "amount_minor": amounts,
            "currency": ["EUR"] * len(rows),
        }
        for field, place in others:
            column = columns[place]
            if field in looked_up:
                answers = known[field]
                if not answers.keys() >= set(column) and not _learnt(answers, column, looked_up[field]):
                    return None
                found[field] = [answers[cell] for cell in column]
                continue
            if not tidy:
                column = [cell.strip() for cell in column]
            if not PLACEHOLDERS.isdisjoint(column):
                column = ["" if cell in PLACEHOLDERS else cell for cell in column]
            if field in matched:
                if not matched[field](column):
                    return None
            elif max(map(len, column)) > TEXT_LENGTH_MAX:
                return None
            found[field] = [text or None for text in column] if "" in column else column
        if extras:
            spare = [[cell.strip() for cell in columns[place]] for place in extras.values()]
            if max(map(len, (cell for column in spare for cell in column))) > TEXT_LENGTH_MAX:
                return None
            found["extra"] = [
                {
                    field: cell
                    for field, cell in zip(extras, cells, strict=True)
                    if cell and cell not in PLACEHOLDERS
                }
                for cells in zip(*spare, strict=True)
            ]
        return Columns(found)

    return batch


_REACHED: Final = EEA | {""}


def _iban(cell: str) -> str:
    try:
        return validate(cell)
    except InvalidIban:
        return ""


def _parted(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part texts by whether they are ASCII."""
    return [text for text in texts if text.isascii()], [text for text in texts if not text.isascii()]


def _is_remarkable(text: str) -> bool:
    """Whether any cell may hold what only the slow path reads."""
    return (
        not is_printable(text)
        or "#" in text
        or "Err" in text
        or may_be_shortened(text)
        # A spreadsheet program or our own report puts an apostrophe at the beginning of a cell.
        or ("'" in text and (text.startswith("'") or "\n'" in text or " '" in text))
    )


def _is_sound(text: str) -> bool:
    """Whether no text of a column needs repair."""
    return text.isascii() or not (
        MOJIBAKE.search(text) or "\ufffd" in text or not unicodedata.is_normalized("NFC", text)
    )


def _is_tidy(text: str) -> bool:
    """Whether no cell begins or ends with a blank or holds two together."""
    return not ("  " in text or "\n " in text or " \n" in text or text.startswith(" ") or text.endswith(" "))


def _cents(column: _Column, pattern: re.Pattern[str], sign: str) -> list[int] | None:
    text = "\n".join(column) + "\n"
    if not pattern.fullmatch(text):
        return None
    return list(map(int, text.replace(sign, "").split() if sign else column))


def _numbers(column: _Column) -> list[int] | None:
    """Read the shortest texts of numbers, as workbooks give them."""
    if not _NUMBERS.fullmatch("\n".join(column) + "\n"):
        return None
    parts = [cell.partition(".") for cell in column]
    return [int(euros + cents.ljust(2, "0")) for euros, _, cents in parts]


def _each(pattern: re.Pattern[str]) -> Callable[[_Column], bool]:
    """Make the test whether all texts of a column have a form, or are blank."""
    return lambda column: all(map(pattern.fullmatch, filter(None, set(column))))


def _all_mandates(column: _Column) -> bool:
    return _MANDATES.fullmatch("\n".join(column) + "\n") is not None


def _learnt(answers: dict[str, object], column: _Column, look: Callable[[str], object]) -> bool:
    """Read the cells not read before; false where any needs the slow path."""
    if len(answers) > _KNOWN_MAX:
        answers.clear()
        answers[""] = None
    for cell in set(column) - answers.keys():
        text = cell.strip()
        text = "" if text in PLACEHOLDERS else text
        value = look(text) if text else None
        if value is None and text:
            return False
        answers[cell] = value
    return True
