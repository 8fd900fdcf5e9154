"""
The plan of a file: how it is read, why, and which questions a person must answer first.

Nothing is guessed. What the file itself decides becomes a `FileDecision` with its reason. What it leaves open becomes a `Question`. The caller's
`Answers` override both. A file that cannot be a table of
debtors at all is a `Refusal`. A `Plan` holds all of this: one value that can be stored as JSON and passed back to continue reading at any
row, with the same result.

>>> import msgspec
>>> answers = Answers(columns={"iban": "Konto"}, amount_format="comma")
>>> msgspec.json.encode(answers)
b'{"columns":{"iban":"Konto"},"amount_format":"comma"}'
>>> msgspec.json.decode(b'{"amount_format": "roman"}', type=Answers)
Traceback (most recent call last):
    ...
msgspec.ValidationError: Invalid enum value 'roman' - at `$.amount_format`
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.errors import Unreadable
from tether_core.spreadsheet.cells import column_letters

__all__ = [
    "ALL_FIELDS",
    "EXTRA_FIELDS",
    "FIELDS",
    "AmountFormat",
    "Answers",
    "Column",
    "DateOrder",
    "FileDecision",
    "FileRefused",
    "Kind",
    "Plan",
    "Question",
    "Refusal",
    "Selection",
]

Kind = Literal["csv", "xlsx", "xlsb", "xls", "ods"]

# How the amounts of a column are written: the decimal sign, or none at all ("whole" units).
AmountFormat = Literal["comma", "point", "whole"]

# How the days of a column are written. ISO days (2026-03-31) are read whatever the order; "iso" means only those,
# "unclear" also those that have one reading only.
DateOrder = Literal["iso", "day_month", "month_day", "serial", "unclear"]

# What a debtor is made of. `name` or both parts of it, `iban` and one of the amounts must be there.
FIELDS: Final = (
    "iban",
    "name",
    "first_name",
    "last_name",
    "amount",
    "amount_minor",
    "currency",
    "bic",
    "mandate_id",
    "mandate_signed_on",
    "reference",
    "customer_id",
    "email",
    "phone",
    "street",
    "house_number",
    "postcode",
    "city",
    "province",
    "country",
    "description",
    "born_on",
    "national_id",
)

# Kept word for word beside a debtor, without a meaning of their own here.
EXTRA_FIELDS: Final = (
    "address",
    "apartment",
    "bank_code",
    "bank_name",
    "door",
    "floor",
    "mobile",
    "old_iban",
    "phone_2",
    "phone_3",
    "phone_4",
    "primary_phone",
    "sepa_type",
)
ALL_FIELDS: Final = (*FIELDS, *EXTRA_FIELDS)


class Refusal(msgspec.Struct, frozen=True):
    """
    Why a file cannot be read as a table of debtors.

    Attributes:
        code: A stable word for programs; `sniff` and `table` list theirs.
        why: A sentence for the person who sent the file, with what to do.
    """

    code: str
    why: str


class FileRefused(Unreadable):
    """
    Raised where reading has begun and cannot go on.

    Attributes:
        refusal: Its code and sentence.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("file", why=refusal.why)
        self.refusal = refusal


class FileDecision(msgspec.Struct, frozen=True):
    """
    One decision about a file.

    Attributes:
        about: "kind", "encoding", "delimiter", "sheet", "header", "amount_format" or "date_order:<field>".
        value: The decided value, for display.
        why: The evidence, as a sentence.
        by: Who decided it: the caller's answers or the file.
    """

    about: str
    value: str
    why: str
    by: Literal["caller", "file"] = "file"


class Question(msgspec.Struct, frozen=True):
    """
    One thing the file leaves open.

    Attributes:
        code: A stable word for programs, e.g. "amount_format".
        ask: The question as sentences, with the evidence.
        answer: The part of `Answers` that answers it, e.g. "columns.amount".
        choices: What may be answered, where that is a short list.
    """

    code: str
    ask: str
    answer: str
    choices: tuple[str, ...] = ()


# A column is named by its number from 1 or its header; `None` means that no column holds the field.
ColumnName: TypeAlias = int | str | None


class Answers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """
    The caller's answers about a file; what is missing is read from the file.

    Attributes:
        encoding: A name of `text.ENCODINGS`.
        delimiter: One character.
        quote: The character around cells that hold a delimiter or a line break.
        sheet: Name of the sheet of a workbook.
        header_row: Number of the header's row, counted from 1; 0 for a table without a header.
        columns: Field to column: its number from 1, its header, or `None` for "none". Fields not named here are matched.
        amount_format: How amounts are written.
        date_order: How days are written, in all columns of days.
        hidden_rows: Whether rows that a person does not see are collected: "take" or "exclude".
        currency: "EUR" where the amounts are euros although the table names another currency, or thousands.
        collect: Column (its header or number) to the words whose rows are collected: "" for blank cells, "*" for every row.
        keep_columns: Whether columns nobody knows are kept word for word beside the debtor.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str = '"'
    sheet: str | None = None
    header_row: int | None = None
    columns: dict[str, ColumnName] = {}
    amount_format: AmountFormat | None = None
    date_order: DateOrder | None = None
    hidden_rows: Literal["take", "exclude"] | None = None
    currency: Literal["EUR"] | None = None
    collect: dict[str, tuple[str, ...]] = {}
    keep_columns: bool = False


class Column(msgspec.Struct, frozen=True):
    """
    One column of the table.

    Attributes:
        position: Counted from 0.
        header: Its header as in the file, two rows joined by a blank; empty where there is none.
        field: One of `ALL_FIELDS`, or `None` when the column is not used.
        score: How well header and content fit the field, 0 to 1; 1 for the caller's word.
        why: The evidence, as a sentence.
    """

    position: int
    header: str
    field: str | None = None
    score: float = 0.0
    why: str = ""


class Selection(msgspec.Struct, frozen=True):
    """
    The words of a column whose rows are collected.

    Attributes:
        position: Of the column, counted from 0.
        words: As `selection.word_key` gives them; an empty one stands for blank cells.
    """

    position: int
    words: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything needed to read a file, and why.

    Attributes:
        kind: What the file is.
        encoding: Of a text file.
        delimiter: Of a text file.
        quote: Of a text file.
        sep_line: Whether a text file begins with a "sep=" line.
        sheet: Of a workbook: the sheet that is read.
        header_row: Number of the (first) header row; 0 without a header.
        data_row: Number of the first row that can hold a debtor.
        columns: All columns in order.
        amount_format: Of the amount column; `None` while open, and for amounts in minor units.
        date_orders: Of each column of days, by field.
        fallbacks: Field to the positions of columns that stand in where its own is empty.
        selections: Columns of which only some words are collected.
        iban_span: First and last position of columns that hold an IBAN together; `None` where one column does.
        skip_hidden: Whether hidden rows are excluded.
        kept: Names of columns without a field that are kept word for word, to their positions.
        decisions: The decisions, with reasons.
        questions: What a person has to answer before anything is read.
        warnings: Sentences about the whole file.
    """

    kind: Kind
    encoding: str = ""
    delimiter: str = ""
    quote: str = '"'
    sep_line: bool = False
    sheet: str = ""
    header_row: int
    data_row: int
    columns: tuple[Column, ...]
    amount_format: AmountFormat | None = None
    date_orders: dict[str, DateOrder] = {}
    fallbacks: dict[str, tuple[int, ...]] = {}
    selections: tuple[Selection, ...] = ()
    iban_span: tuple[int, int] | None = None
    skip_hidden: bool = False
    kept: dict[str, int] = {}
    decisions: tuple[FileDecision, ...] = ()
    questions: tuple[Question, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether rows can be read: no question is open."""
        return not self.questions

    @property
    def fields(self) -> Mapping[str, int]:
        """Field to position, for the columns that are used."""
        return {column.field: column.position for column in self.columns if column.field is not None}

    @property
    def headers(self) -> list[str]:
        """The headers in order; without a header, the letters of the column."""
        return [column.header or column_letters(column.position) for column in self.columns]
