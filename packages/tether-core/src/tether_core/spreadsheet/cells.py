"""
Cells: one row of a sheet as text, whatever kind of file it came from.

All later steps work on text, so a value becomes text by one rule: text stays as it is, a boolean is "true" or "false", a date is written as
in ISO 8601, a number in its shortest form, without an exponent and
without ".0". Excel keeps 15 digits of a number, so a longer one is already damaged; for that reason the row also keeps which cells were
numbers.

In an export, a cell that begins with one of `= + - @`, a tab or a line break may be run as a formula by the program
that opens it. `neutralise` puts an apostrophe before it, and `restore` takes it away when the corrected file comes
back, so phone numbers (+49 ...) and names (-Meier) survive the round trip.

>>> text_of(1234.5), text_of(123.0), text_of(0.1 + 0.2), text_of(274.65999999999997)
('1234.5', '123', '0.3', '274.66')
>>> neutralise("=1+1"), restore(neutralise("+49 30 1234"))
("'=1+1", '+49 30 1234')
>>> excerpt("pay to DE89 3704 0044 0532 0130 00")    # never a whole IBAN
'pay to DE89**************3000'

Source: OWASP, "CSV Injection"; ISO 8601-1.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Final, TypeAlias, cast

import msgspec

from tether_core import redaction
from tether_core.errors import InvalidIban
from tether_core.iban import mask, validate

__all__ = [
    "Row",
    "Value",
    "column_letters",
    "excerpt",
    "is_printable",
    "neutralise",
    "packed",
    "restore",
    "text_of",
    "texts_of",
    "unpacked",
    "without_marks",
]

Value: TypeAlias = str | float | bool | date | datetime | time | timedelta | None


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    One row of a sheet.

    Attributes:
        number: As a spreadsheet program counts it, from 1; blank rows count, a leading "sep=" line does not.
        cells: Its cells as text, from the sheet's first column on; blank ones at the end may be missing.
        numeric: A bit for each cell that was a number and no text: bit 0 for the first cell.
        flaw: Why this row cannot be trusted as a whole, as a sentence; empty for a sound one.
    """

    number: int
    cells: list[str]
    numeric: int = 0
    flaw: str = ""


def packed(rows: Sequence[Row]) -> bytes:
    """
    Write rows as bytes, for a pipe or to be read again.

    >>> unpacked(packed([Row(2, ["Ann", "12.5"], 1 << 99)])) == [Row(2, ["Ann", "12.5"], 1 << 99)]
    True
    """
    # MessagePack has integers of 64 bits, and a table may have more columns.
    wide = {place: row.numeric for place, row in enumerate(rows) if row.numeric > _WORD_MAX}
    some = (
        [Row(row.number, row.cells, 0, row.flaw) if place in wide else row for place, row in enumerate(rows)]
        if wide
        else rows
    )
    return _ENCODER.encode((some, {place: f"{numeric:x}" for place, numeric in wide.items()}))


def unpacked(data: bytes) -> list[Row]:
    """
    Read what `packed` has written.

    Raises:
        Exception: when it has not.
    """
    rows, wide = _DECODER.decode(data)
    for place, numeric in wide.items():
        rows[place] = msgspec.structs.replace(rows[place], numeric=int(numeric, 16))
    return rows


_WORD_MAX: Final = (1 << 64) - 1
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[list[Row], dict[int, str]])


def text_of(value: Value) -> str:
    """
    Write a cell's value as text.

    Args:
        value: What the reader of workbooks gives.

    Returns:
        The text; empty for nothing.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | int):
        return _number(value)
    if isinstance(value, datetime):
        midnight = value.time() == time.min
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return "" if value is None else str(value)


def _number(value: float) -> str:
    text = repr(value)
    if len(text) < 17 and "e" not in text and "n" not in text:
        # At most 15 digits: the shortest text is the one that was typed in.
        return text.removesuffix(".0")
    if not isfinite(value):
        return ""
    if value == int(value):
        return str(int(value))
    # 15 digits are what a spreadsheet shows; more would bring the noise of binary fractions back.
    text = format(value, ".15g")
    return format(Decimal(text), "f") if "e" in text else text


# A shortcut of `text_of` for the most frequent classes of cells: it asks for one class after the other.
_WRITERS: Final[dict[type, Callable[..., str]]] = {
    str: str,
    float: _number,
    int: _number,
    date: date.isoformat,
}
_NUMBERS: Final = frozenset((float, int))


def texts_of(column: Sequence[Value]) -> tuple[Sequence[str], list[bool] | bool]:
    """
    Write a column's values as text: what `text_of` gives for each, in a third of the time.

    Args:
        column: What the reader of workbooks gives; some values.

    Returns:
        The texts, and which of them were numbers: all, none, or one by one.

    >>> texts_of([12.5, 3.0]), texts_of(["Ann", 7])
    ((['12.5', '3'], True), (['Ann', '7'], [False, True]))
    """
    kinds = set(map(type, column))
    if kinds == {str}:
        return cast("Sequence[str]", column), False
    if kinds <= _NUMBERS:
        return _numbers(cast("Sequence[float]", column)), True
    texts = [_WRITERS.get(value.__class__, text_of)(value) for value in column]
    if kinds.isdisjoint(_NUMBERS):
        return texts, False
    return texts, [value.__class__ in _NUMBERS for value in column]


def _numbers(column: Sequence[float]) -> list[str]:
    texts = list(map(repr, column))
    together = "\n".join(texts)
    if "e" in together or "n" in together or max(map(len, texts)) > 16:
        return list(map(_number, column))
    return f"{together}\n".replace(".0\n", "\n").split("\n")[:-1]


# The printable characters of ASCII and the line break, as bytes.
_PLAIN: Final = b"\n" + bytes(range(ord(" "), 0x7F))


def is_printable(text: str) -> bool:
    """
    Whether a text is printable, its line breaks aside.

    `text.isprintable()` looks up one character after the other; for a long text that is mostly ASCII this takes a fifth of the time.

    >>> [is_printable(text) for text in ("Zoë, 12,50 €", "Ann" + chr(10), "12" + chr(0x202E) + "50", "a" + chr(9), chr(0xD800))]
    [True, True, False, False, False]
    """
    rest = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    return not rest or rest.decode("utf-8", "surrogatepass").isprintable()


# Marks that nobody sees: direction and joining of letters, blanks of no width, byte order marks. Not U+202E, which shows what follows in the
# opposite order, so that a person sees 12,50 where the cell holds 05,21 (`person_names.broken`).
_UNSEEN: Final = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202d\u2060-\u206f\ufeff]")


def without_marks(cells: Sequence[str]) -> list[str]:
    """
    Take away what nobody sees in some cells; nothing of that is ASCII or printable.

    >>> without_marks(["\u2066DE89\u2069", "12,50"])
    ['DE89', '12,50']
    """
    return [cell if cell.isascii() else _UNSEEN.sub("", cell) for cell in cells]


_FORMULA: Final = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def neutralise(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet program could run as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def restore(text: str) -> str:
    """Take away the apostrophe that `neutralise`, or somebody before us, has put there; any other stays."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def excerpt(text: str, *, as_iban: bool = False) -> str:
    """
    Make a cell's text fit for messages.

    Args:
        text: The cell.
        as_iban: Whether the cell is in the IBAN column; it is then masked whatever it contains.

    Returns:
        At most 40 characters, with everything that is or resembles an IBAN masked and control characters spelt out.
    """
    if as_iban:
        return mask(text[:200])
    head = text[:200]
    try:
        validate(head)
    except InvalidIban:
        head = redaction.text(head)
    else:
        return mask(head)
    head = "".join(
        mark if mark.isprintable() else " " if unicodedata.category(mark) == "Zs" else f"\\x{ord(mark):02x}"
        for mark in head.strip()
    )
    return head if len(head) <= 40 else f"{head[:39]}\u2026"


def column_letters(position: int) -> str:
    """
    Name a column as spreadsheet programs do.

    Args:
        position: Counted from 0.

    Returns:
        "A" to "Z", then "AA" and so on.

    >>> column_letters(0), column_letters(26), column_letters(16383)
    ('A', 'AA', 'XFD')
    """
    letters = ""
    position += 1
    while position:
        position, rest = divmod(position - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
