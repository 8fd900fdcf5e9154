"""
Read rows of cells as debtors, or list their problems.

The plan says what each column holds and how it is written. This module applies it row by row and keeps only the sum of the
amounts so far. `outcomes` lists the outcomes and the problem codes. `_Slow` defines how a row is read; `fast_row` and
`fast_batch` read rows without problems faster, and a property test proves them equal.

A total is recognised by its label or its sum and used as a check. Rows outside the table never count as debtors: blank rows,
repeated headers at page breaks, single cells below a blank row.

>>> from tether_core.spreadsheet.plan import Column, Plan
>>> columns = (Column(0, "Name", "name"), Column(1, "IBAN", "iban"), Column(2, "Betrag", "amount"))
>>> plan = Plan(kind="csv", header_row=1, data_row=2, columns=columns, amount_format="comma")
>>> cells = [["Zoë Łącka", "de89 3704 0044 0532 0130 00", "12,50"], ["", "DE88370400440532013000", "-3"]]
>>> good, bad = read([Row(2, cells[0]), Row(3, cells[1])], plan=plan, today=date(2026, 3, 2))
>>> good.name, good.iban, good.amount_minor
('Zoë Łącka', 'DE89370400440532013000', 1250)
>>> [problem.code for problem in bad.problems]
['iban_invalid', 'name_missing', 'amount_not_positive']
>>> bad.problems[0].excerpt
'DE88**************3000'
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice
from typing import Final

from tether_core.emp.countries import SDD_COUNTRIES
from tether_core.errors import InvalidIban
from tether_core.iban import EEA, SEPA, validate
from tether_core.sepa_text import dropped
from tether_core.spreadsheet.account_cell import split_account
from tether_core.spreadsheet.cells import Row, excerpt, restore
from tether_core.spreadsheet.countries import country_code
from tether_core.spreadsheet.fallbacks import has_value
from tether_core.spreadsheet.fast_batch import BATCH_ROWS, compile_batch
from tether_core.spreadsheet.fast_row import (
    BIC,
    EMAIL,
    EUROS,
    MANDATE_ID,
    SEPA_MANDATES_SINCE,
    TEXT_LENGTH_MAX,
    TYPED,
    compile_fast,
)
from tether_core.spreadsheet.formats import UNCLEAR, Trouble, read_amount, read_day, read_minor, read_number
from tether_core.spreadsheet.header_words import is_group_total, is_total_label
from tether_core.spreadsheet.outcomes import (
    Columns,
    Debtor,
    Outcome,
    Position,
    Problem,
    Refused,
    Rules,
    Skipped,
)
from tether_core.spreadsheet.person_names import (
    PART_PLACEHOLDERS,
    broken,
    clean,
    error_note,
    is_placeholder,
    sums_up,
)
from tether_core.spreadsheet.plan import EXTRA_FIELDS, Plan
from tether_core.spreadsheet.selection import not_due_in, word_key

__all__ = ["NAME_LENGTH_MAX", "read", "read_batches"]

NAME_LENGTH_MAX: Final = 70
# Of each part of a name in two parts; together they may be one longer than the whole.
NAME_PART_LENGTH_MAX: Final = 35
# "1,23457E+15": what Excel shows, and saves as text, for a long number in a narrow column.
_SHORTENED: Final = re.compile(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]{2,3}")
_ADDRESS_NEEDED: Final = SEPA - EEA


def read(
    rows: Iterable[Row],
    *,
    plan: Plan,
    today: date,
    rules: Rules = Rules(),  # noqa: B008 - frozen, so one default for all is safe
    position: Position = Position(),  # noqa: B008 - frozen, so one default for all is safe
) -> Iterator[Outcome]:
    """
    Read rows as debtors.

    Args:
        rows: The next rows below the header, in order.
        plan: How to read them; no question may be open.
        today: For dates that must not be in the future.
        rules: The caller's limits.
        position: Where an earlier reading stopped; rows up to there are not read again.

    Yields:
        One outcome for every row, in order.
    """
    for some in read_batches(rows, plan=plan, today=today, rules=rules, position=position):
        yield from some.debtors() if isinstance(some, Columns) else some


def read_batches(
    rows: Iterable[Row],
    *,
    plan: Plan,
    today: date,
    rules: Rules = Rules(),  # noqa: B008 - frozen, so one default for all is safe
    position: Position = Position(),  # noqa: B008 - frozen, so one default for all is safe
    size: int = BATCH_ROWS,
) -> Iterator[Columns | list[Outcome]]:
    """
    Read rows as debtors, in batches.

    Args:
        rows: As for `read`.
        plan: Likewise.
        today: Likewise.
        rules: Likewise.
        position: Likewise.
        size: Rows of a batch.

    Yields:
        The outcomes of the next *size* rows, in order; fewer at the end. A batch of debtors without warnings mostly
        comes as columns.
    """
    assert plan.ready, "a plan with open questions reads nothing"
    batch = compile_batch(plan, rules=rules, today=today)
    fast = compile_fast(plan, rules=rules, today=today)
    slow = _Slow(plan, rules=rules, today=today).read
    first = max(plan.data_row, position.row + 1)
    total, below = position.amount_minor, position.below
    every = iter(rows)
    while some := list(islice(every, size)):
        if some[0].number < first:
            some = [row for row in some if row.number >= first]
            if not some:
                continue
        columns = batch(some)
        if columns is not None and "" not in columns.fields["iban"]:
            total += sum(columns.fields["amount_minor"])
            below = False
            yield columns
            continue
        found: Iterable[Debtor | None]
        if columns is not None:
            found = (debtor if debtor.iban else None for debtor in columns.debtors())
        else:
            # A million blank rows must cost little.
            found = (fast(row) if any(row.cells) else None for row in some)
        outcomes: list[Outcome] = []
        for row, debtor in zip(some, found, strict=True):
            if any(row.cells) or row.flaw:
                outcome = debtor or slow(row, total=total, below=below)
            else:
                outcome = Skipped(row.number, "blank")
            total += 0 if isinstance(outcome, Skipped) else outcome.amount_minor or 0
            below = isinstance(outcome, Skipped) and outcome.cause != "header"
            outcomes.append(outcome)
        yield outcomes


class _Slow:
    """The slow path, which defines how a row is read and finds all of its problems."""

    def __init__(self, plan: Plan, *, rules: Rules, today: date) -> None:
        at = dict(plan.fields)
        self._rules = rules
        self._today = today
        self._at = at
        self._orders = plan.date_orders
        self._form = plan.amount_format or "point"
        self._headers = [column.header.strip() for column in plan.columns]
        self._labels = plan.headers
        self._width = len(plan.columns)
        self._data_row = plan.data_row
        self._used = frozenset(at.values())
        # Only in text files can cells shift; in a workbook a stray cell beside the table does no harm.
        self._strict_width = plan.kind == "csv"
        self._iban_at = at["iban"]
        self._name_at = at.get("name", -1)
        self._parts_at = [at[part] for part in ("first_name", "last_name") if part in at]
        self._minor = "amount_minor" in at
        self._amount_at = at["amount_minor"] if self._minor else at["amount"]
        self._currency_at = at.get("currency", -1)
        self._has_extras = any(field in EXTRA_FIELDS for field in at) or bool(plan.kept)
        self._kept = plan.kept
        self._fallbacks = plan.fallbacks
        self._selections = plan.selections

    def read(self, row: Row, *, total: int, below: bool) -> Outcome:
        """Read a row; *total* is the sum of the amounts above it, *below* whether the table may be over."""
        skipped = self._skipped(row, total=total, below=below)
        if skipped is not None:
            return skipped
        seen = _Findings(row, labels=self._labels, rules=self._rules)
        if row.flaw:
            seen.add("row_unreadable", -1, row.flaw)
        elif self._strict_width and any(cell.strip() for cell in row.cells[self._width :]):
            seen.add(
                "row_too_long",
                -1,
                f"The row has {len(row.cells)} cells, the header {self._width}: a cell holds the delimiter. Put that cell "
                "in quotation marks.",
            )
        if seen.refused:
            return Refused(row.number, row.cells, tuple(seen.problems))
        for selection in self._selections:
            word = seen.text(selection.position)
            if word_key(word) not in selection.words:
                stated = f"\u201c{excerpt(word)}\u201d" if word else "nothing"
                note = f"The column says {stated}; only rows with other words are to be collected, as was answered."
                seen.add("row_not_selected", selection.position, note)
        iban = self._iban(seen)
        name = self._name(seen)
        amount_minor = self._amount(seen)
        values = self._others(seen)
        if iban[:2] in _ADDRESS_NEEDED and not (values.get("city") and values.get("country")):
            seen.add(
                "address_missing",
                self._iban_at,
                f"Accounts in {iban[:2]} are outside the European Economic Area: the bank needs at least the debtor's town "
                "and country, or returns the debit (RR02).",
            )
        self._country(seen, iban=iban, country=values.get("country"))
        if seen.refused or amount_minor is None:
            return Refused(row.number, row.cells, tuple(seen.problems), amount_minor)
        return Debtor(row.number, iban, name, amount_minor, **values, warnings=tuple(seen.problems))  # type: ignore[arg-type]  # each of its field's type

    def _country(self, seen: "_Findings", *, iban: str, country: object) -> None:
        """Warn of debtors in countries that the gateway does not list."""
        code = str(country) if country else iban[:2]
        if code and code not in SDD_COUNTRIES and iban[:2] in SEPA:
            at = self._at["country"] if country else self._iban_at
            note = (
                f"The gateway does not list {code} among the countries of direct debits and may reject the debit; ask it before you "
                "collect."
            )
            seen.add("country_not_listed", at, note, iban=at == self._iban_at)

    def _skipped(self, row: Row, *, total: int, below: bool) -> Skipped | None:  # noqa: PLR0911 - one return a kind of row
        """Recognise rows that are no debtors."""
        cells = row.cells
        filled = [position for position, cell in enumerate(cells) if cell.strip()]
        if row.flaw:
            return None
        if not filled:
            return Skipped(row.number, "blank")
        if self._iban_at in filled:
            headers = [cell.strip() for cell in cells[: self._width]]
            same = headers == self._headers[: len(headers)] and filled[-1] < self._width
            return Skipped(row.number, "header") if same else None
        money = {self._amount_at, self._currency_at}
        labels = [position for position in filled if is_total_label(cells[position].strip())]
        named = [position for position in (self._name_at, *self._parts_at) if position in filled]
        # Where rows are grouped by name, the label stands there: "Ann Total", with nothing but the sum beside it.
        by_name = len(named) == 1 and set(filled) <= {*named, *money} and self._amount_at in filled
        if (not named or by_name) and any(
            (position not in self._used or (by_name and position == named[0]))
            and is_group_total(cells[position].strip(), a_name=by_name)
            for position in filled
        ):
            # The sum of one group only: it is not compared with all the rows above.
            stated = self._money_of(row)
            return Skipped(row.number, "total", _compare(stated, total) if stated == total else "")
        if (labels and len(filled) <= 3) or set(filled) <= money:
            stated = self._money_of(row)
            if (
                labels
                or (below and stated is not None)
                or (stated == total and row.number > self._data_row + 1)
            ):
                # A lone amount below the first debtor, equal to its own, is a second debit of a merged cell and no sum.
                return Skipped(row.number, "total", _compare(stated, total))
        if len(filled) == 1 and below:
            return Skipped(row.number, "note")
        return None

    def _money_of(self, row: Row) -> int | None:
        """Read the amount of a row that may be a total; `None` where there is none."""
        if self._amount_at >= len(row.cells) or not (cell := row.cells[self._amount_at].strip()):
            return None
        amount = self._read_money(cell, numeric=bool(row.numeric >> self._amount_at & 1))
        return None if isinstance(amount, Trouble) else amount

    def _read_money(self, cell: str, *, numeric: bool) -> int | Trouble:
        if self._minor:
            return read_minor(cell)
        return read_number(cell) if numeric else read_amount(cell, form=self._form)

    def _iban(self, seen: "_Findings") -> str:
        cell = seen.cell(self._iban_at)
        if not cell:
            seen.add("iban_missing", self._iban_at, "There is no IBAN; add the account holder's.")
            return ""
        if "\0" in cell:
            seen.add("nul_byte", self._iban_at, "The cell holds a zero byte; correct the export.", iban=True)
            return ""
        if note := error_note(cell):
            seen.add("iban_invalid", self._iban_at, note)
            return ""
        if is_placeholder(cell):
            seen.add(
                "iban_missing",
                self._iban_at,
                "The cell stands for \u201cno value\u201d; add the account holder's IBAN.",
            )
            return ""
        try:
            iban = validate(cell)
        except InvalidIban as error:
            both = split_account(cell)
            if both is None:
                seen.add("iban_invalid", self._iban_at, _sentence(error.why), iban=True)
                return ""
            iban = both[0]
        if iban[:2] not in SEPA:
            note = (
                f"Accounts in {iban[:2]} cannot be debited within SEPA; ask for an account in a SEPA country."
            )
            seen.add("country_not_sepa", self._iban_at, note, iban=True)
        return iban

    def _name(self, seen: "_Findings") -> str:  # noqa: C901 - one thing after the other that a name can be instead
        """Read the account holder's name, whole or in parts."""
        name_at = self._place(seen, "name", self._name_at)
        sources = [name_at] if name_at >= 0 and seen.cell(name_at) else self._parts_at
        cells = [seen.cell(position) for position in sources]
        error = next(filter(None, map(error_note, cells)), "")
        if sources is self._parts_at:
            cells = ["" if cell in PART_PLACEHOLDERS else cell for cell in cells]
        name = " ".join(" ".join(cells).split())
        at = sources[0] if sources else self._name_at
        if error:
            seen.add("name_unreadable", at, error)
        elif not name:
            seen.add("name_missing", at, "There is no name; add the account holder's.")
        elif "\0" in name:
            seen.add("nul_byte", at, "The cell holds a zero byte; correct the export.")
        elif is_placeholder(name):
            seen.add(
                "name_missing", at, "The cell stands for \u201cno value\u201d; add the account holder's name."
            )
        elif name.startswith("="):
            seen.add(
                "name_unreadable", at, "The cell holds a formula as text; replace it with what it comes to."
            )
        elif sums_up(name.rstrip(" :")):
            note = "The name is a word for a sum; delete the row where it adds up others, or write the account holder's name."
            seen.add("name_unreadable", at, note)
        elif note := _mark(name):
            seen.add("name_unreadable", at, note)
        elif why := broken(name):
            seen.add("name_unreadable", at, f"The name cannot be used because {why}.")
        elif not any(mark.isalpha() for mark in name):
            seen.add("name_unreadable", at, "The name holds no letter; correct it.")
        elif len(name) > NAME_LENGTH_MAX and (
            sources is not self._parts_at or max(map(len, cells)) > NAME_PART_LENGTH_MAX
        ):
            note = f"The name has {len(name)} characters; banks take {NAME_LENGTH_MAX}. Shorten it."
            seen.add("name_too_long", at, note)
        elif found := dropped(name):
            seen.add("name_symbols", at, f"No bank carries {' '.join(found[:5])}; the debit leaves it out.")
        return name

    def _place(self, seen: "_Findings", field: str, at: int) -> int:
        """The position a field is read from: its own column, or where that is empty the first other one with a value."""
        others = self._fallbacks.get(field, ())
        if not others or has_value(seen.cell(at)):
            return at
        return next((other for other in others if has_value(seen.cell(other))), at)

    def _amount(self, seen: "_Findings") -> int | None:
        """Read the amount; one outside the limits is still returned, for the file's total."""
        at, rules = self._amount_at, self._rules
        if self._currency_at >= 0 and (currency := seen.cell(self._currency_at)) not in EUROS:
            note = f"Only euros can be collected, not \u201c{excerpt(currency)}\u201d; convert the amount and correct the currency."
            seen.add("currency_not_eur", self._currency_at, error_note(currency) or note)
        cell = seen.cell(at)
        if not cell:
            seen.add("amount_missing", at, "There is no amount; add it.")
            return None
        if note := error_note(cell):
            seen.add("amount_unreadable", at, note)
            return None
        amount = self._read_money(cell, numeric=seen.numeric(at))
        if isinstance(amount, Trouble):
            seen.add(amount.code, at, _sentence(amount.note))
            return None
        if amount <= 0:
            seen.add(
                "amount_not_positive", at, f"{_euros(amount)} is not above zero; credits cannot be collected."
            )
        elif amount < rules.amount_minor_min:
            note = f"{_euros(amount)} is below the smallest amount, {_euros(rules.amount_minor_min)}."
            seen.add("amount_too_small", at, note)
        elif amount > rules.amount_minor_max:
            note = f"{_euros(amount)} is above the largest amount, {_euros(rules.amount_minor_max)}."
            seen.add("amount_too_large", at, note)
        return amount

    def _others(self, seen: "_Findings") -> dict[str, object]:
        """Read all fields but the three that every debtor needs."""
        values: dict[str, object] = {}
        extra: dict[str, str] = {}
        for field, own in self._at.items():
            if field in TYPED:
                continue
            at = self._place(seen, field, own)
            cell = seen.cell(at)
            if is_placeholder(cell):
                continue
            if seen.numeric(at) and len(cell) > 15:
                note = (
                    "The cell is a number of more than 15 digits; Excel keeps 15, so the last ones are lost."
                )
                seen.add("digits_lost", at, note)
            elif _SHORTENED.fullmatch(cell):
                note = (
                    "Excel has shortened a long number to this, and its last digits are lost; format the column as text and "
                    "enter them again. Nothing is recognised by what is left of it."
                )
                seen.add("digits_lost", at, note)
            if cell and self._sound(seen, field, at, cell):
                value = self._special(seen, field, at, cell)
                if field in EXTRA_FIELDS:
                    extra[field] = cell
                else:
                    values[field] = value
        self._keep(seen, extra)
        if self._has_extras:
            values["extra"] = extra
        return values

    def _keep(self, seen: "_Findings", extra: dict[str, str]) -> None:
        """Keep the columns that are no known field, word for word."""
        for name, at in self._kept.items():
            cell = seen.cell(at)
            if not cell or is_placeholder(cell):
                continue
            if "\0" in cell or broken(cell) or len(cell) > TEXT_LENGTH_MAX:
                note = f"The cell has broken characters or more than {TEXT_LENGTH_MAX}; it is not kept beside the debtor."
                seen.add("column_not_kept", at, note)
            else:
                extra[name] = cell

    @staticmethod
    def _sound(seen: "_Findings", field: str, at: int, cell: str) -> bool:
        """Whether a text can be stored."""
        name = field in ("first_name", "last_name")
        if "\0" in cell:
            seen.add("nul_byte", at, "The cell holds a zero byte; correct the export.")
        elif note := error_note(cell):
            seen.add("name_unreadable" if name else "text_unreadable", at, note)
        elif why := broken(cell):
            seen.add(
                "name_unreadable" if name else "text_unreadable",
                at,
                f"The text cannot be used because {why}.",
            )
        elif len(cell) > TEXT_LENGTH_MAX:
            note = f"The cell has {len(cell):,} characters; {TEXT_LENGTH_MAX} are the most. Shorten it."
            seen.add("text_too_long", at, note)
        else:
            return True
        return False

    def _special(self, seen: "_Findings", field: str, at: int, cell: str) -> object:  # noqa: PLR0911 - one return a field
        """Read the fields that are more than text."""
        if field in ("mandate_signed_on", "born_on"):
            return self._slow_day(seen, field, at, cell)
        if field == "mandate_id" and not MANDATE_ID.fullmatch(cell):
            note = (
                "A mandate has at most 35 characters: only letters, digits, blanks and / - ? : ( ) . , + '."
            )
            seen.add("mandate_id_invalid", at, note)
            return None
        if field == "email" and not EMAIL.fullmatch(cell):
            seen.add("email_invalid", at, "This is no e-mail address; correct or remove it.")
            return None
        if field == "bic":
            bic = cell.replace(" ", "").upper()
            if BIC.fullmatch(bic):
                return bic
            seen.add(
                "bic_invalid", at, "A BIC has 8 or 11 letters and digits; it is ignored, the IBAN is enough."
            )
            return None
        if field == "country":
            if (code := country_code(cell)) is None:
                seen.add(
                    "country_unknown",
                    at,
                    "This country is unknown and ignored; write its two letters.",
                )
            return code
        return cell

    def _slow_day(self, seen: "_Findings", field: str, at: int, cell: str) -> date | None:
        mandate = field == "mandate_signed_on"
        day = read_day(cell, order=self._orders.get(field, "iso"), short_years=mandate)
        if isinstance(day, Trouble):
            if day.code == UNCLEAR:
                return None
            seen.add(
                "date_invalid" if mandate else "birth_date_invalid",
                at,
                f"{_sentence(day.note)} It is ignored.",
            )
            return None
        if day > self._today:
            code = "mandate_date_in_future" if mandate else "birth_date_invalid"
            seen.add(code, at, f"{day.isoformat()} lies in the future; it is ignored.")
            return None
        if mandate and day < SEPA_MANDATES_SINCE:
            note = f"{day.isoformat()} is before SEPA mandates existed; make sure that the old authorisation was migrated."
            seen.add("mandate_date_old", at, note)
        return day


class _Findings:
    """The cells and the problems of a row."""

    def __init__(self, row: Row, *, labels: list[str], rules: Rules) -> None:
        self.problems: list[Problem] = []
        self.refused = False
        self._row = row
        self._labels = labels
        self._rules = rules

    def cell(self, position: int) -> str:
        """The text of a cell, cleaned; empty where the row is too short."""
        return restore(clean(self._row.cells[position])) if 0 <= position < len(self._row.cells) else ""

    def text(self, position: int) -> str:
        """The text of a cell as in the file; empty where the row is too short."""
        return self._row.cells[position] if 0 <= position < len(self._row.cells) else ""

    def numeric(self, position: int) -> bool:
        return bool(self._row.numeric >> position & 1)

    def add(self, code: str, position: int, note: str, *, iban: bool = False) -> None:
        level = self._rules.level(code)
        self.refused = self.refused or level == "error"
        column = self._labels[position] if position >= 0 else ""
        cell = self._row.cells[position] if 0 <= position < len(self._row.cells) else ""
        self.problems.append(
            Problem(self._row.number, column, code, excerpt(cell, as_iban=iban) if cell else "", note, level)
        )


def _mark(name: str) -> str:
    """What is written into the cell beside the name, and what to do; nothing for a name alone."""
    if name.startswith(("#", "//", "--")):
        return "The row is marked as a comment; delete it, or write the account holder's name alone."
    if word := not_due_in(name):
        return f"The name says \u201c{word[:20]}\u201d; delete the row, or write the account holder's name alone."
    if "\\" in name and ('"' in name or "'" in (name[0], name[-1])):
        return "Quotation marks in the cell are written with a backslash; export the file with doubled quotation marks."
    return ""


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _euros(amount_minor: int) -> str:
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{abs(amount_minor) // 100:,}.{abs(amount_minor) % 100:02}"


def _compare(stated: int | None, total: int) -> str:
    """Compare a total in the file with what its rows add up to."""
    if stated is None:
        return ""
    verb = "and so do the rows above" if stated == total else f"the rows above add up to {_euros(total)}"
    return f"The file says {_euros(stated)}, {verb}."
