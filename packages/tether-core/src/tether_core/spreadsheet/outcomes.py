"""
The outcome of each row: a debtor, a refusal or a skipped row.

Every row gives exactly one outcome. A `Debtor` can be collected from. A row that is wrong is `Refused` with all its
problems at once, so that all can be corrected together. A warning is stored with the debtor and does not stop it. A row without a debtor is
`Skipped`: blank ones, headers repeated at page breaks, totals, notes below the table.

The codes are stable. A caller may take errors as warnings (`Rules.tolerated`), but for those of the row,
the IBAN and the amount, and a missing name.

| code | level | meaning |
| --- | --- | --- |
| `row_unreadable` | error | lines were swallowed by an open quotation mark, or a workbook shows cells as merged, covered or struck out |
| `row_too_long` | error | more cells than the header: a delimiter in an unquoted cell has moved them |
| `row_not_selected` | error | its word in a column that says which rows are collected is none of those that were answered |
| `iban_missing` | error | no IBAN |
| `iban_invalid` | error | not an IBAN |
| `country_not_sepa` | error | the account is out of reach of SEPA |
| `name_missing` | error | no name of the account holder |
| `name_too_long` | error | more than 70 characters, and of a name in two parts one has more than 35 |
| `name_unreadable` | error | broken characters, no letter at all, a word for a sum, or a mark that the row is not due |
| `name_symbols` | warning | pictures and signs that no bank carries, such as `@ < >`; the debit leaves them out |
| `amount_missing` | error | no amount |
| `amount_unreadable` | error | not an amount, or not in the column's format |
| `amount_too_many_decimals` | error | more than whole cents |
| `amount_not_positive` | error | zero or a credit |
| `amount_too_small` | error | below the caller's smallest amount |
| `amount_too_large` | error | above the caller's largest amount |
| `currency_not_eur` | error | another currency than the euro |
| `mandate_id_invalid` | error | more than 35 characters, or some that banks refuse |
| `date_invalid` | warning | the day the mandate was signed cannot be read; it is ignored |
| `mandate_date_in_future` | warning | the mandate is signed later than today; the day is ignored |
| `mandate_date_old` | warning | signed before SEPA mandates existed (2008) |
| `email_invalid` | error | not an e-mail address |
| `nul_byte` | error | a zero byte, which no database takes |
| `text_unreadable` | error | broken characters in another field |
| `text_too_long` | error | more than 500 characters in another field |
| `bic_invalid` | warning | not a BIC; it is ignored |
| `birth_date_invalid` | warning | cannot be read or is in the future; it is ignored |
| `country_unknown` | warning | not a country; it is ignored |
| `country_not_listed` | warning | a country whose debtors the gateway does not list for direct debits |
| `column_not_kept` | warning | broken or more than 500 characters in a column that was to be kept; the cell is not kept |
| `address_missing` | warning | outside the EEA the bank needs town and country of the debtor |
| `digits_lost` | warning | a long number that Excel has damaged: of more than 15 digits, or written like 1.2E+15 |
| `mandate_of_several_accounts` | warning | the mandate is used for another account, too, in this file or in an earlier upload |

>>> CODES["iban_invalid"], CODES["address_missing"]
('error', 'warning')
>>> here = Position(row=1)
>>> there = advance(here, [Skipped(2, "header"), Debtor(3, "DE89370400440532013000", "Zoë Łącka", 1250)])
>>> there.row, there.amount_minor
(3, 1250)
>>> Rules(tolerated=frozenset({"iban_invalid"})).level("iban_invalid")    # nothing can be debited without one
'error'

Source: EPC016-06 and its implementation guidelines (EPC130-08) for lengths (name 70, mandate 35) and characters.
"""

from collections.abc import Sequence
from datetime import date
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec

__all__ = [
    "CODES",
    "Columns",
    "Debtor",
    "Level",
    "Outcome",
    "Position",
    "Problem",
    "Refused",
    "Rules",
    "SkipCause",
    "Skipped",
    "advance",
]

Level = Literal["error", "warning"]
SkipCause = Literal["blank", "header", "total", "note"]

_WARNINGS: Final = frozenset(
    "name_symbols date_invalid mandate_date_in_future mandate_date_old bic_invalid birth_date_invalid country_unknown "
    "country_not_listed column_not_kept address_missing digits_lost mandate_of_several_accounts".split()
)
# In the order of the table above.
CODES: Final[dict[str, Level]] = {
    code: "warning" if code in _WARNINGS else "error"
    for code in (
        "row_unreadable row_too_long row_not_selected iban_missing iban_invalid country_not_sepa name_missing name_too_long "
        "name_unreadable name_symbols amount_missing amount_unreadable amount_too_many_decimals amount_not_positive "
        "amount_too_small amount_too_large currency_not_eur mandate_id_invalid date_invalid mandate_date_in_future "
        "mandate_date_old email_invalid nul_byte text_unreadable text_too_long bic_invalid birth_date_invalid "
        "country_unknown country_not_listed column_not_kept address_missing digits_lost mandate_of_several_accounts"
    ).split()
}
# Without these there is nothing to debit, so they can't be tolerated.
_VITAL: Final = frozenset(
    code for code in CODES if code.startswith(("row_", "iban_", "amount_", "name_missing"))
)


class Problem(msgspec.Struct, frozen=True, gc=False):
    """
    One thing that is wrong with a row.

    Attributes:
        row: Its number, as a spreadsheet program counts.
        column: The column's header, or its letters.
        code: One of `CODES`.
        excerpt: The cell, cut and masked; never a whole IBAN.
        note: What is wrong and what to do, as a sentence.
        level: Whether the row is refused for it.
    """

    row: int
    column: str
    code: str
    excerpt: str
    note: str
    level: Level = "error"


class Debtor(msgspec.Struct, frozen=True, gc=False):
    """
    A person or company that owes money, as read from a row: canonical, checked, in its own letters.

    Attributes:
        row: Number of the row.
        iban: Canonical.
        name: Of the account holder; made from its parts where only those are given.
        amount_minor: Cents, above zero.
        currency: "EUR".
        first_name: As given; see `split_name` where only the whole is.
        last_name, bic, mandate_id, mandate_signed_on, reference, customer_id: `None` where the row has none.
        email, phone, street, house_number, postcode, city, province, country: As before.
        description, born_on, national_id: As before.
        extra: Fields of `EXTRA_FIELDS` the table has, and columns that were to be kept by their headers, word for word; `None` when it
            has none.
        warnings: What deserves a look.
    """

    row: int
    iban: str
    name: str
    amount_minor: int
    currency: str = "EUR"
    first_name: str | None = None
    last_name: str | None = None
    bic: str | None = None
    mandate_id: str | None = None
    mandate_signed_on: date | None = None
    reference: str | None = None
    customer_id: str | None = None
    email: str | None = None
    phone: str | None = None
    street: str | None = None
    house_number: str | None = None
    postcode: str | None = None
    city: str | None = None
    province: str | None = None
    country: str | None = None
    description: str | None = None
    born_on: date | None = None
    national_id: str | None = None
    extra: dict[str, str] | None = None
    warnings: tuple[Problem, ...] = ()


class Columns(msgspec.Struct, frozen=True):
    """
    Some debtors, column by column: what rows with nothing remarkable in them are read as, and nobody has warnings.

    Attributes:
        fields: Field of `Debtor` to its values, one a debtor; a field that nobody has may be missing.
    """

    fields: dict[str, Sequence[Any]]

    @classmethod
    def of(cls, debtors: Sequence[Debtor]) -> Self:
        """Turn debtors into columns; their warnings stay behind."""
        return cls({field: list(map(attrgetter(field), debtors)) for field in _COLUMNS})

    def debtors(self) -> list[Debtor]:
        """Turn columns into debtors."""
        columns = (self.fields.get(field, repeat(None)) for field in _COLUMNS)
        return list(map(Debtor, *columns))

    def __len__(self) -> int:
        return len(self.fields["row"])


_COLUMNS: Final = Debtor.__struct_fields__[:-1]


class Refused(msgspec.Struct, frozen=True):
    """
    A row that became no debtor.

    Attributes:
        row: Its number.
        cells: As they came, for the report.
        problems: All of them, warnings too; at least one is an error.
        amount_minor: What it would have collected, where that could be read; counts towards the file's total.
    """

    row: int
    cells: list[str]
    problems: tuple[Problem, ...]
    amount_minor: int | None = None


class Skipped(msgspec.Struct, frozen=True):
    """
    A row without a debtor.

    Attributes:
        row: Its number.
        cause: "blank", "header" (repeated), "total" or "note".
        note: For a total: whether it agrees with the rows above, as a sentence.
    """

    row: int
    cause: SkipCause
    note: str = ""


Outcome: TypeAlias = Debtor | Refused | Skipped


class Position(msgspec.Struct, frozen=True):
    """
    How far a file has been read: what has to be kept to go on after a break.

    Attributes:
        row: The last row that had an outcome.
        amount_minor: The sum of all amounts so far, of refused rows too.
        below: Whether that last row was blank, a total or a note, so that the table may be over.
    """

    row: int = 0
    amount_minor: int = 0
    below: bool = False


def advance(position: Position, outcomes: Sequence[Outcome] | Columns) -> Position:
    """
    Move on by some outcomes.

    Args:
        position: Before them.
        outcomes: The next values of `read`, in order.

    Returns:
        The position after them; `read` continues from there with the same results.
    """
    if not outcomes:
        return position
    if isinstance(outcomes, Columns):
        fields = outcomes.fields
        return Position(fields["row"][-1], position.amount_minor + sum(fields["amount_minor"]))
    last = outcomes[-1]
    amounts = sum(outcome.amount_minor or 0 for outcome in outcomes if not isinstance(outcome, Skipped))
    return Position(
        last.row,
        position.amount_minor + amounts,
        isinstance(last, Skipped) and last.cause != "header",
    )


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """
    The caller's limits.

    Attributes:
        amount_minor_min: Smallest amount in cents.
        amount_minor_max: Largest amount in cents.
        tolerated: Codes of errors that are only warned of; a value that cannot be kept is ignored.
    """

    amount_minor_min: int = 10
    amount_minor_max: int = 5_000_000
    tolerated: frozenset[str] = frozenset()

    def level(self, code: str) -> Level:
        """Return the level of a problem; what a debit cannot do without stays an error."""
        return "warning" if code in self.tolerated and code not in _VITAL else CODES[code]
