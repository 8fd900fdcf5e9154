"""
Guards: tables whose meaning depends on something that is no field of a debtor.

A column may say that a row is a credit (S/H, D/C, Af/Bij) or is paid in another way; the account may be the same for many
people; a second table may begin with other columns. Reading on would debit the wrong person or amount in silence, so
each of these is a question, a warning or a refusal.

>>> from tether_core.spreadsheet.decisions import Answers, Column
>>> columns = (Column(0, "Name", "name"), Column(1, "Betrag", "amount"), Column(2, "S/H"))
>>> rows = [Row(2, ["Ann", "1,00", "S"]), Row(3, ["Ben", "2,00", "H"])]
>>> [question.code for question in open_questions(columns, data=rows, answers=Answers())]
['direction_column']
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tether_core.spreadsheet.cells import Row, column_letters, shown
from tether_core.spreadsheet.decisions import Answers, Column, Kind, Question, Refusal
from tether_core.spreadsheet.words import count_ibans, named_fields, plain

__all__ = ["open_questions", "plan_warnings", "refuse_table"]

_DIRECTION_VALUES: Final = tuple(
    frozenset(values.split())
    for values in (
        "s h",
        "soll haben",
        "d c",
        "dr cr",
        "debit credit",
        "dbit cdit",
        "dbit crdt",
        "af bij",
        "debet credit",
        "d h",
        "debe haber",
        "d a",
        "dare avere",
        "wn ma",
        "winien ma",
        "lastschrift gutschrift",
        "debit gutschrift",
        "cargo abono",
        "addebito accredito",
        "obciazenie uznanie",
    )
)
_PAYMENT_METHOD: Final = frozenset(
    plain(word)
    for word in "Zahlungsart|Zahlart|Zahlweise|Zahlungsmethode|Zahlungsmittel|payment method|payment type|method of payment"
    "|mode de paiement|moyen de paiement|forma de pago|método de pago|metodo di pagamento|modalità di pagamento"
    "|betaalwijze|betaalmethode|forma płatności|metoda płatności|sposób płatności".split("|")
)


def _texts(data: Sequence[Row], position: int) -> list[str]:
    return [text for row in data if position < len(row.cells) and (text := row.cells[position].strip())]


def open_questions(columns: Sequence[Column], *, data: Sequence[Row], answers: Answers) -> Iterator[Question]:
    """
    Ask about columns that change what an amount or a name means.

    Args:
        columns: As matched.
        data: The rows of the sample below the header.
        answers: A caller who names the amount or the name column has answered the question about it.

    Yields:
        Questions.
    """
    if not {"amount", "amount_minor"} & set(answers.columns):
        for column in columns:
            if column.field is None:
                yield from _about_amounts(column, _texts(data, column.position))
    if "name" not in answers.columns:
        yield from _sparse_name(columns, data)


def _about_amounts(column: Column, texts: list[str]) -> Iterator[Question]:
    values = {plain(text) for text in texts}
    label = f"{column_letters(column.position)} (\u201c{column.header[:40]}\u201d)"
    if len(values) == 2 and values in _DIRECTION_VALUES:
        ask = (
            f"Column {label} says which rows are debits and which are credits, and credits cannot be collected. Delete the rows "
            "of credits and send the file again, or name the column of the amount to collect every row."
        )
        yield Question("direction_column", ask, "columns.amount")
    elif plain(column.header) in _PAYMENT_METHOD and len(values) > 1:
        examples = ", ".join(f"\u201c{shown(text)}\u201d" for text in list(dict.fromkeys(texts))[:4])
        ask = (
            f"Column {label} names several ways of payment: {examples}. Delete the rows that are not paid by direct debit and send "
            "the file again, or name the column of the amount to collect every row."
        )
        yield Question("payment_method_column", ask, "columns.amount")


def _sparse_name(columns: Sequence[Column], data: Sequence[Row]) -> Iterator[Question]:
    """Ask where the column of names is empty in a row in which another column of names is filled."""
    fields = {column.field: column for column in columns if column.field}
    chosen = fields.get("name")
    if chosen is None or fields.keys() & {"first_name", "last_name"}:
        return
    for other in columns:
        if other.field is not None or not other.why.startswith("also fits name,"):
            continue
        gaps = [row.number for row in data if not _cell(row, chosen.position) and _cell(row, other.position)]
        if gaps:
            choices = tuple(
                f"{column_letters(column.position)} (\u201c{column.header[:40]}\u201d)"
                for column in (chosen, other)
            )
            ask = f"Which column holds the name: {' or '.join(choices)}? The first is empty in row {gaps[0]:,}, the second is not."
            yield Question("name_column", ask, "columns.name", choices)
            return


def _cell(row: Row, position: int) -> str:
    return row.cells[position].strip() if position < len(row.cells) else ""


def plan_warnings(columns: Sequence[Column], *, data: Sequence[Row]) -> Iterator[str]:
    """
    Warn of one account for several people.

    Args:
        columns: As matched.
        data: The rows of the sample below the header.

    Yields:
        Sentences.
    """
    fields = {column.field: column.position for column in columns if column.field}
    name_at = fields.get("name", fields.get("last_name"))
    if "iban" not in fields or name_at is None:
        return
    both = [row for row in data if _cell(row, fields["iban"]) and _cell(row, name_at)]
    ibans = {"".join(_cell(row, fields["iban"]).split()).upper() for row in both}
    names = {_cell(row, name_at).casefold() for row in both}
    if len(ibans) == 1 and len(names) > 1:
        yield (
            f"The first {len(both):,} rows name {len(names):,} people and one account: the column was filled down, or it holds your "
            "own account. Compare it with the source before you collect."
        )


def refuse_table(columns: Sequence[Column], *, cells: Sequence[Sequence[str]], kind: Kind) -> Refusal | None:
    """
    Refuse tables from which no debtor can be read without doubt.

    Args:
        columns: As matched.
        cells: The rows of the sample below the header.
        kind: Lines wholly in quotation marks occur in text files only.

    Returns:
        `no_iban`, `quoted_lines` or `second_table`; `None` for other tables.
    """
    fields = {column.field for column in columns}
    if (
        kind == "csv"
        and all(len(row) == 1 for row in cells)
        and all(',"' in row[0] or ';"' in row[0] for row in cells)
    ):
        return Refusal(
            "quoted_lines",
            "Every line stands in quotation marks as a whole; export the list again with one cell a value.",
        )
    if "iban" not in fields and "bank_code" in fields and not any(map(count_ibans, cells)):
        return Refusal(
            "no_iban",
            "The list has account numbers and bank codes from before SEPA and no IBAN; add the account holders' IBANs.",
        )
    headers = [column.header.strip() for column in columns]
    for row in cells:
        if {"iban", "amount"} <= named_fields(row) and not count_ibans(row):
            texts = [cell.strip() for cell in row[: len(headers)]]
            if texts != headers[: len(texts)] and plain("".join(texts)) != plain("".join(headers)):
                return Refusal(
                    "second_table",
                    "A second table with other columns begins below the first one; send each table as a file of its own.",
                )
    return None
