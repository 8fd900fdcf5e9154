r"""
Check files: accounts and names that are checked without becoming debtors.

A file is CSV in UTF-8 with commas, semicolons or tabs: a column of IBANs and one of names, with or without a header. A row that is no IBAN is kept, because its
result says so. Files are removed some days after they came, with their results.

>>> rows = read("Name;IBAN\nZoë Miller;DE89 3704 0044 0532 0130 00\n".encode())
>>> [(row.row_number, row.iban, row.name) for row in rows]
[(2, 'DE89370400440532013000', 'Zoë Miller')]
>>> read(b"DE89370400440532013000,Miller\n")[0].name
'Miller'
>>> read(b"account,owner\n1,2\n")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: body: Give a column iban and a column name in the first line, or IBANs and names without a header.
"""

import csv
import io
from typing import Final

import msgspec

from tether_core import iban as ibans
from tether_core.errors import InvalidIban, InvalidRequest
from tether_core.spreadsheet.cells import restore

__all__ = ["KEEP_DAYS", "MAX_BYTES", "ROWS_MAX", "FileRow", "read"]

MAX_BYTES: Final = 2_097_152
ROWS_MAX: Final = 10_000
# Nobody needs a result longer, and the accounts are of people who are no debtors.
KEEP_DAYS: Final = 30
_CELL_MAX: Final = 200
_NAMES: Final = ("name", "holder", "account holder", "kontoinhaber", "titulaire", "titular", "intestatario")


class FileRow(msgspec.Struct, frozen=True):
    """
    A row of a file.

    Attributes:
        row_number: From 1, the header included.
        iban: Without blanks, in capitals; as it was written where it is no IBAN.
        name: The holder.
    """

    row_number: int
    iban: str
    name: str

    def __repr__(self) -> str:
        """Say where it is; the rest is personal."""
        return f"FileRow({self.row_number})"


def read(body: bytes) -> list[FileRow]:
    """
    Read a file.

    Args:
        body: At most `MAX_BYTES` bytes.

    Raises:
        InvalidRequest: when it is no such table, is empty, or has too many rows or too long cells.
    """
    lines = _lines(body)
    if not lines:
        raise InvalidRequest("has no rows", field="body")
    at_iban, at_name, has_header = _columns(lines[0][1])
    rows = [
        FileRow(number, ibans.compact(_cell(cells, at_iban)), _cell(cells, at_name))
        for number, cells in lines[has_header:]
    ]
    if not rows:
        raise InvalidRequest("has no rows below its header", field="body")
    if len(rows) > ROWS_MAX:
        raise InvalidRequest(f"has more than {ROWS_MAX:,} rows; split it", field="body")
    for row in rows:
        if max(len(row.iban), len(row.name)) > _CELL_MAX:
            raise InvalidRequest(
                f"has more than {_CELL_MAX} characters in a cell of row {row.row_number}", field="body"
            )
    return rows


def _lines(body: bytes) -> list[tuple[int, list[str]]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("is not UTF-8; save the file as CSV in UTF-8", field="body") from None
    if "\0" in text:
        raise InvalidRequest("has a zero byte; save the file as CSV in UTF-8", field="body")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [
            (number, [restore(cell.strip()) for cell in cells])
            for number, cells in enumerate(reader, 1)
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error:
        raise InvalidRequest(
            "has a quotation mark that is not closed, or is closed within a cell", field="body"
        ) from None


def _columns(first: list[str]) -> tuple[int, int, bool]:
    """Where IBAN and name stand, and whether the first line is a header."""
    words = [cell.casefold() for cell in first]
    if "iban" in words:
        name = next((words.index(word) for word in _NAMES if word in words), None)
        if name is not None:
            return words.index("iban"), name, True
    accounts = [at for at, cell in enumerate(first) if _is_iban(cell)]
    if len(accounts) == 1 and len(first) == 2:
        return accounts[0], 1 - accounts[0], False
    raise InvalidRequest(
        "give a column iban and a column name in the first line, or IBANs and names without a header",
        field="body",
    )


def _is_iban(text: str) -> bool:
    try:
        ibans.validate(text)
    except InvalidIban:
        return False
    return True


def _cell(cells: list[str], at: int) -> str:
    return cells[at] if at < len(cells) else ""
