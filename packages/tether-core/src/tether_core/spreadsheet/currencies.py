"""
Currencies that a table names: in the header of its amounts, above it, or in a column of its own.

A list may say "Betrag (CHF)" or "Alle Beträge in TEUR" once, and write plain numbers below. Only euros can be collected, so such a list is a
question: the answer `currency=EUR` says that the amounts are euros all the same. A column that holds nothing but currencies says it row by
row, whatever its header is.

>>> currency_of("Betrag (CHF)"), currency_of("Betrag in EUR (vorher CHF)"), currency_of("Betrag TEUR"), currency_of("Betrag")
('CHF', '', 'thousands', '')
>>> are_currencies(["EUR", "CHF", ""]), are_currencies(["DE", "CH"]), are_currencies([""])
(True, False, False)
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tether_core.spreadsheet.cells import Row, column_letters, excerpt
from tether_core.spreadsheet.fast_row import EUROS
from tether_core.spreadsheet.person_names import clean
from tether_core.spreadsheet.plan import Answers, Column, FileDecision, Question

__all__ = ["are_currencies", "ask_currency", "currency_of", "with_currency_column"]

# Codes of ISO 4217 and signs that are no words of the seven languages.
_CODES: Final = frozenset(
    "CHF SFR USD GBP SEK NOK DKK ISK PLN CZK HUF RON BGN UAH RSD RUB MKD BAM GEL JPY CNY CAD AUD NZD INR ILS AED ZAR BRL MXN SGD HKD KRW"
    " THB HRK DEM ATS".split()
)
_SIGNS: Final = "$£¥₽₺₴₩₹฿"
_FOREIGN: Final = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(sorted(_CODES))})(?![^\W\d_])|[{_SIGNS}]")
_EURO: Final = re.compile(r"€|(?<![^\W\d_])(?:EUR|EUROS?)(?![^\W\d_])", re.IGNORECASE)
_THOUSANDS: Final = re.compile(
    r"(?<![^\W\d_])(?:T\s?(?:€|EUR)|k€|TSD\.?|Tausend|thousands?|milliers?|miles de|migliaia|duizend\w*|tys\.?)(?![^\W\d_])",
    re.IGNORECASE,
)
_WORD_LENGTH_MAX: Final = 6


def currency_of(text: str) -> str:
    """
    Return the currency or unit that a text names for amounts.

    Args:
        text: A header, or a cell above the table.

    Returns:
        A code or sign of another currency than the euro, "thousands", or "" for none; a text that also names the euro settles nothing else.
    """
    text = clean(text)
    if _THOUSANDS.search(text):
        return "thousands"
    found = _FOREIGN.search(text)
    return "" if found is None or _EURO.search(text) else found[0]


def are_currencies(words: Iterable[str]) -> bool:
    """Whether a column's words are currencies and nothing else, at least one of them not blank."""
    filled = {clean(word).strip(" .") for word in words} - {""}
    return bool(filled) and all(
        word in EUROS or (len(word) <= _WORD_LENGTH_MAX and (word.upper() in _CODES or word in _SIGNS))
        for word in filled
    )


def with_currency_column(
    columns: tuple[Column, ...], *, words: dict[int, Iterable[str]], answers: Answers
) -> tuple[Column, ...]:
    """
    Find the column that holds the currency of each row, where no header names it.

    Args:
        columns: As matched.
        words: Position to the words of columns that have few.
        answers: A caller who has named the column, or said that there is none, is followed.

    Returns:
        The columns; of several that hold currencies the first is used.
    """
    if "currency" in answers.columns or any(column.field == "currency" for column in columns):
        return columns
    found = next(
        (
            column.position
            for column in columns
            if column.field is None and are_currencies(words.get(column.position, ()))
        ),
        None,
    )
    return tuple(
        msgspec.structs.replace(
            column, field="currency", score=0.5, why="its cells are currencies and nothing else"
        )
        if column.position == found
        else column
        for column in columns
    )


def ask_currency(
    columns: Sequence[Column], *, above: Sequence[Row], below: tuple[int, str] | None = None, answers: Answers
) -> tuple[tuple[Question, ...], tuple[FileDecision, ...]]:
    """
    Ask whether amounts are euros where the table says something else.

    Args:
        columns: As matched.
        above: The rows above the header.
        below: A row below it that names a unit and is no debtor, with its text.
        answers: `currency` is the answer.

    Returns:
        The question, or the decision that an answer has made; neither where the table names no other unit.
    """
    fields = {column.field: column for column in columns if column.field}
    amount = fields.get("amount") or fields.get("amount_minor")
    if amount is None:
        return (), ()
    if unit := currency_of(amount.header):
        where = f"Column {column_letters(amount.position)} (\u201c{excerpt(amount.header.strip())}\u201d)"
    elif "currency" in fields:
        return (), ()  # each row says it
    else:
        cells = ((row.number, cell) for row in above for cell in row.cells)
        found = next(((number, cell) for number, cell in cells if currency_of(cell)), below)
        number, text = found or (0, "")
        unit, where = currency_of(text), f"Row {number:,} (\u201c{excerpt(text.strip())}\u201d)"
    if not unit:
        return (), ()
    if answers.currency is not None:
        why = f"{where} names {unit}; the amounts are euros all the same, as was answered."
        return (), (FileDecision("currency", answers.currency, why, by="caller"),)
    ask = (
        f"Are the amounts euros? {where} names {unit}, and only euros can be collected, each amount written in full. Answer EUR where they "
        "are euros all the same; otherwise convert the amounts and send the file again."
    )
    return (Question("currency", ask, "currency", ("EUR",)),), ()
