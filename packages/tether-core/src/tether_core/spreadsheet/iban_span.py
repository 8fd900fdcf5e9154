"""
An IBAN written over several neighbouring cells.

Forms give an IBAN six boxes of four characters under one merged header, and some programs write country and check digits,
bank code and account number into columns of their own. No single cell is an IBAN; together they are. A span is found by its
content: in at least half of the rows that fill it the joined cells pass the IBAN's check, and no single column does.

Pieces that were stored as numbers have lost their leading zeros. They are filled up to blocks of four, or the last piece (the account
number) to the length of the country, and again the check decides.

>>> rows = [["Ann", "DE89", "3704", "0044", "0532", "0130", "00", "12.5"], ["Ben", "DE02", "1203", "0", "0", "2020", "51", "3"]]
>>> found = find_iban_span([Row(2, rows[0]), Row(3, rows[1], 0b01111000)])
>>> found
(1, 6)
>>> join_iban(Row(3, rows[1], 0b01111000), found).cells
['Ben', 'DE02120300000000202051', '', '', '', '', '', '3']

Source: ISO 13616-1 (structure, check digits).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tether_core.errors import InvalidIban
from tether_core.iban import length as iban_length
from tether_core.iban import validate
from tether_core.spreadsheet.cells import Row

__all__ = ["IbanSpan", "find_iban_span", "join_iban", "joined"]

IbanSpan = tuple[int, int]

_ROWS: Final = 100
_PIECES_MAX: Final = 34
# A box of one letter, the country, or the country with what follows it.
_BEGINS: Final = re.compile(r"[A-Za-z]|[A-Za-z]{2}(?:[ -]?[0-9][A-Za-z0-9 -]{0,32})?", re.ASCII)
_PIECE: Final = re.compile(r"[A-Za-z0-9 ./-]{1,34}", re.ASCII)
_DRESS: Final = str.maketrans("", "", " ./-\u00a0\u202f")


def find_iban_span(data: Sequence[Row]) -> IbanSpan | None:
    """
    Find neighbouring columns that hold an IBAN together.

    Args:
        data: Rows below the header; the first hundred are looked at.

    Returns:
        Positions of the first and the last column; `None` where single cells hold IBANs, or nothing does.
    """
    rows = data[:_ROWS]
    width = max((len(row.cells) for row in rows), default=0)
    for place in range(width):
        whole = {iban for row in rows if (iban := _valid(_cell(row, place)))}
        if len(whole) > 1 or (whole and len(rows) == 1):
            return None  # one account in all rows may be the sender's own
    for first in range(min(width, 500) - 1):
        beginning = [row for row in rows if _BEGINS.fullmatch(_cell(row, first))]
        if len(beginning) * 2 < len([row for row in rows if _cell(row, first)]) or not beginning:
            continue
        for padded in (False, True):
            # The widest span counts where it serves more rows: IBANs of several countries differ in length.
            best, most = first, 0
            for last in range(first + 1, min(first + _PIECES_MAX, width)):
                found = sum(bool(_iban_of(row, (first, last), padded=padded)) for row in beginning)
                if found > most:
                    best, most = last, found
            if most and most * 2 >= len(beginning):
                return first, best
    return None


def join_iban(row: Row, span: IbanSpan) -> Row:
    """
    Write the IBAN of a row into the first cell of its span.

    Args:
        row: Any row below the header.
        span: As `find_iban_span` found it.

    Returns:
        The row with the joined cells in the first one and blanks in the others; as it came where the others are blank.
    """
    first, last = span
    pieces = [_cell(row, place) for place in range(first, last + 1)]
    if not any(pieces[1:]):
        return row
    whole = _iban_of(row, span, padded=False) or _iban_of(row, span, padded=True)
    cells = [*row.cells, *[""] * (first + 1 - len(row.cells))]
    cells[first] = whole or " ".join(filter(None, pieces))
    for place in range(first + 1, min(last + 1, len(cells))):
        cells[place] = ""
    return Row(row.number, cells, row.numeric & ~(((1 << (last - first + 1)) - 1) << first), row.flaw)


def joined(rows: Iterable[Row], span: IbanSpan | None) -> Iterator[Row]:
    """Join the IBAN in each of *rows*; where *span* is `None` they are as they came."""
    if span is None:
        yield from rows
        return
    for row in rows:
        yield join_iban(row, span)


def _cell(row: Row, place: int) -> str:
    return row.cells[place].strip() if place < len(row.cells) else ""


def _valid(text: str) -> str:
    try:
        return validate(text) if text else ""
    except InvalidIban:
        return ""


def _iban_of(row: Row, span: IbanSpan, *, padded: bool) -> str:
    """The IBAN of a span; empty where its cells are none. *padded* fills lost zeros up."""
    first, last = span
    pieces = [_cell(row, place) for place in range(first, last + 1)]
    filled = [piece for piece in pieces if piece]
    if len(filled) < 2 or not pieces[0] or not all(map(_PIECE.fullmatch, filled)):
        return ""
    filled = [piece.translate(_DRESS).upper() for piece in filled]
    text = "".join(filled)
    length = iban_length(text[:2]) or 0
    if len(text) == length and not padded:
        return _valid(text)
    if not padded or not length or len(text) >= length:
        return ""
    return _valid(_blocks(filled, length)) or _valid(_account(filled, length))


def _blocks(pieces: Sequence[str], length: int) -> str:
    """Fill pieces up to blocks of four, the last one to what is left."""
    count = -(-length // 4)
    if len(pieces) != count:
        return ""
    sizes = [*[4] * (count - 1), length - 4 * (count - 1)]
    return "".join(piece.rjust(size, "0") for piece, size in zip(pieces, sizes, strict=True))


def _account(pieces: Sequence[str], length: int) -> str:
    """Fill the check digits up to two, and the last piece, the account number, to the length of the country."""
    if len(pieces) > 2 and len(pieces[0]) == 2 and len(pieces[1]) == 1:
        pieces = [pieces[0], f"0{pieces[1]}", *pieces[2:]]  # check digits 02 to 09, stored as a number
    head = "".join(pieces[:-1])
    return head + pieces[-1].rjust(length - len(head), "0")
