r"""
Tables in text: encoding, delimiter, rows.

**Encoding.** A byte order mark decides; else zero bytes in every second place (UTF-16); else the whole file is
tried as UTF-8, because one name on line 150,000 can decide, and other encodings almost never pass as UTF-8. What is left
is a Windows or DOS encoding of Western or Central Europe. Byte A4 without any byte from 80 to 9F is the euro sign of
ISO 8859-15; bytes that Windows-1252 does not have, or that would put signs like a superscript 3 inside words
(the Polish ł), are a question; everything else is Windows-1252.

**Delimiter.** Semicolon, comma, tab and bar are all tried with the csv module on the first records. The delimiter that yields known header
words and valid IBANs is used; where none does, the one with the most constant width.

**Rows.** Quoting as in RFC 4180, line ends CR, LF or both, also inside quotes. A quotation mark that is never closed
would swallow the lines below; such a row is marked, and reading goes on where the csv module stops (131,072
characters a cell). Bytes that do not fit the encoding become U+FFFD and are found when the row is checked.

>>> import io
>>> file = io.BytesIO("Name;Betrag\r\nJürgen;12,50\r\n".encode("cp1252"))
>>> decide_encoding(file).value
'cp1252'
>>> [row.cells for row in read_text(file, encoding="cp1252", delimiter=";")]
[['Name', 'Betrag'], ['Jürgen', '12,50']]
>>> decide_encoding(io.BytesIO("Micha\u0142owski".encode("cp1250"))).code
'encoding'

Source: RFC 4180; the Unicode Standard, 2.13 (byte order mark); WHATWG Encoding Standard, index windows-1252.
"""

import codecs
import csv
import re
from collections.abc import Generator, Iterable, Iterator
from io import TextIOWrapper
from itertools import chain
from typing import BinaryIO, Final

import msgspec

from tether_core.spreadsheet.cells import Row, without_marks
from tether_core.spreadsheet.header_words import count_ibans, named_fields
from tether_core.spreadsheet.plan import FileDecision, Question
from tether_core.spreadsheet.sniff import HEAD_BYTES, looks_utf16

__all__ = [
    "DELIMITERS",
    "ENCODINGS",
    "Delimiter",
    "decide_delimiter",
    "decide_encoding",
    "decide_quote",
    "read_text",
]

# Encodings that a caller may choose, with a display name.
ENCODINGS: Final = {
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16 with a byte order mark",
    "utf-16-le": "UTF-16, low byte first",
    "utf-16-be": "UTF-16, high byte first",
    "cp1252": "Windows, Western Europe",
    "iso8859-15": "ISO 8859-15, Western Europe with the euro sign",
    "cp1250": "Windows, Central Europe",
    "iso8859-2": "ISO 8859-2, Central Europe",
    "cp1257": "Windows, Baltic",
    "cp1253": "Windows, Greek",
    "cp1251": "Windows, Cyrillic",
    "cp850": "DOS, Western Europe",
    "cp852": "DOS, Central Europe",
    "mac_roman": "Apple, before Unicode",
}
DELIMITERS: Final = (";", ",", "\t", "|")
_DELIMITER_NAMES: Final = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar", "": "none: one column"}

_CHUNK: Final = 1 << 18
_RECORDS: Final = 60
# Comes after the last line: where it is not a row of its own, a quotation mark before it was never closed.
_END: Final = "\x1eend-of-file\x1e"
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)
_TEXT_FORMULA: Final = re.compile(r'\s*=(?:"((?:[^"]|"")*)"|T\("((?:[^"]|"")*)"\))\s*')
_UNDEFINED_1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_C1: Final = re.compile(rb"[\x80-\x9f]")
# Signs that Windows-1252 has where Polish and other encodings have letters: between letters, at the end of a longer
# word, doubled at its start. The signs for cubic metres and for a question in Spanish stand elsewhere.
_SIGN_IN_WORD: Final = re.compile(
    rb"[A-Za-z\xc0-\xff][\xa2\xa3\xa5\xb3\xb9\xbc\xbe\xbf][A-Za-z\xc0-\xff]"
    rb"|[A-Za-z]{3}[\xb3\xb9\xbf](?![0-9A-Za-z])|[\xa3\xa5][A-Za-z\xb9\xea]|\x9c\xe6"
)
# Of each delimiter: an apostrophe where a cell begins, and one where it ends.
_APOSTROPHES: Final = {
    mark: (
        re.compile(rf"(?:^|{re.escape(mark)})\s*'(?!\s*(?:{re.escape(mark)}|$))"),
        re.compile(rf"(?<!^)(?<!{re.escape(mark)})'\s*(?={re.escape(mark)}|$)"),
    )
    for mark in DELIMITERS
}
_ACCENTED: Final = re.compile(rb"[A-Za-z]*[\x80-\xff]+[A-Za-z]*")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORD: Final = re.compile(r"[^\W\d_]*[^\x00-\x7f]+[^\W\d_]*")


def decide_encoding(source: BinaryIO, *, given: str | None = None) -> FileDecision | Question:  # noqa: PLR0911 - one return a woken of the retry schedule
    """
    Detect the encoding of a text file.

    Args:
        source: The file, readable and seekable; read to its end unless it has a byte order mark.
        given: The caller's word, a name of `ENCODINGS`.

    Returns:
        The decision, its value a name of `ENCODINGS`; or the question, with examples, when the bytes leave it open.
    """
    if given is not None:
        return FileDecision("encoding", given, f"{ENCODINGS[given]}, as requested.", by="caller")
    source.seek(0)
    head = source.read(HEAD_BYTES)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return FileDecision("encoding", encoding, "The file begins with its byte order mark.")
    if wide := looks_utf16(head):
        return FileDecision("encoding", wide, "Every second byte is zero, as in UTF-16.")
    traits = _scan(source)
    why = "It is not UTF-8"
    if traits.utf8:
        why = "The whole file is valid UTF-8." if traits.examples else "The file holds plain ASCII only."
        return FileDecision("encoding", "utf-8-sig", why)
    if traits.euro and not traits.c1:
        why = "Byte A4 (the euro sign there) occurs, and no byte that only Windows uses."
        return FileDecision("encoding", "iso8859-15", why)
    if traits.undefined:
        return _ask_encoding(
            f"{why}, and some bytes mean nothing in the usual Windows encoding", traits.examples
        )
    if traits.signs:
        return _ask_encoding(f"{why}, and the usual Windows encoding puts signs inside words", traits.signs)
    return FileDecision(
        "encoding", "cp1252", f"{why}; as Windows-1252 it reads {_words(traits.examples, 'cp1252')}."
    )


class _Traits(msgspec.Struct):
    """What the bytes of a whole file show: valid UTF-8 or not, and which significant bytes occur."""

    utf8: bool = True
    euro: bool = False
    c1: bool = False
    undefined: bool = False
    signs: bytes = b""
    examples: bytes = b""


def _scan(source: BinaryIO) -> _Traits:
    traits = _Traits()
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    overlap = b""
    source.seek(0)
    final = False
    while not final:
        chunk = source.read(_CHUNK)
        final = not chunk
        if traits.utf8:
            try:
                decoder.decode(chunk, final)
            except UnicodeDecodeError:
                traits.utf8 = False
        # A word that a chunk cuts in two is complete in the next chunk.
        window = overlap + chunk
        overlap = chunk[-16:]
        if window.isascii():
            continue
        traits.euro = traits.euro or b"\xa4" in window
        traits.c1 = traits.c1 or _C1.search(window) is not None
        traits.undefined = traits.undefined or _UNDEFINED_1252.search(window) is not None
        if not traits.signs and (found := _SIGN_IN_WORD.search(window)):
            traits.signs = window[max(found.start() - 12, 0) : found.end() + 12] + b" "
        if len(traits.examples) < 400:
            traits.examples += b" ".join(_ACCENTED.findall(window)[:10]) + b" "
    return traits


def _words(data: bytes, encoding: str) -> str:
    """Quote up to three words that show how an encoding reads."""
    found = dict.fromkeys(match.group() for match in _WORD.finditer(data.decode(encoding, "replace")))
    words = [f"\u201c{word[:20]}\u201d" for word in found if len(word) > 1]
    return ", ".join(words[:3]) or "nothing with accents"


def _ask_encoding(why: str, data: bytes) -> Question:
    likely = ("cp1250", "cp850", "cp852", "cp1252", "iso8859-2", "mac_roman")
    readings = "; ".join(f"{name}: {_words(data, name)}" for name in likely)
    return Question(
        code="encoding",
        ask=f"Which encoding has this file? {why}. The same words read: {readings}.",
        answer="encoding",
        choices=tuple(ENCODINGS),
    )


class Delimiter(msgspec.Struct, frozen=True):
    """
    The delimiter of a text file's cells.

    Attributes:
        decision: The delimiter and why.
        sep_line: Whether the first line is a "sep=" line of Excel.
    """

    decision: FileDecision
    sep_line: bool


def decide_quote(source: BinaryIO, *, encoding: str, given: str) -> tuple[str, FileDecision | None]:
    """
    Detect lists whose cells stand in apostrophes, as some programs write them.

    Args:
        source: The file, readable and seekable.
        encoding: As decided.
        given: The caller's word; any other mark than the usual one is used.

    Returns:
        The quotation mark, and the decision where it is not the usual one. In (nearly) all lines below the first as many cells must begin
        with an apostrophe as end with one: names such as 't Hart only begin with it.
    """
    if given != '"':
        return given, None
    source.seek(0)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(source.read(HEAD_BYTES))
    lines = [line for line in text.splitlines()[1 : _RECORDS + 1] if line.strip()]
    for mark, (opens, closes) in _APOSTROPHES.items():
        quoted = sum(len(opens.findall(line)) == len(closes.findall(line)) > 0 for line in lines)
        if (
            quoted
            and quoted * 10 >= len(lines) * 9
            and '"' not in text
            and any(mark in line for line in lines)
        ):
            why = f"Cells stand in apostrophes in {quoted:,} of the first {len(lines):,} lines below the header."
            return "'", FileDecision("quote", "'", why)
    return given, None


def decide_delimiter(
    source: BinaryIO, *, encoding: str, quote: str = '"', given: str | None = None
) -> Delimiter:
    """
    Detect the delimiter.

    Args:
        source: The file, readable and seekable.
        encoding: As decided.
        quote: The quotation mark.
        given: The caller's word.

    Returns:
        The decision; for a file of one column, a semicolon that never occurs.
    """
    source.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    data = source.read(HEAD_BYTES * 4)
    text = decoder.decode(data)
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    if len(data) == HEAD_BYTES * 4 and len(lines) > 1:
        lines.pop()  # cut off in the middle
    sep = _SEP_LINE.fullmatch(lines[0])
    if given is not None:
        return Delimiter(
            FileDecision("delimiter", given, "As requested.", by="caller"), sep_line=sep is not None
        )
    if sep is not None:
        name = _DELIMITER_NAMES.get(sep[1], sep[1])
        return Delimiter(
            FileDecision("delimiter", sep[1], f"The first line says so: sep={name}."), sep_line=True
        )
    scores = {mark: _score(lines, mark, quote) for mark in DELIMITERS}
    best = max(scores, key=lambda mark: scores[mark])
    words, ibans, constancy, width = scores[best]
    if width <= 1:
        why = "No semicolon, comma, tab or bar parts the lines evenly: one column."
        return Delimiter(FileDecision("delimiter", ";", why), sep_line=False)
    evidence = [f"{constancy:.0%} of the first records have the same {width} cells"]
    if words:
        evidence.append(f"known header words: {words}")
    if ibans:
        evidence.append(f"cells with an IBAN: {ibans}")
    why = f"With a {_DELIMITER_NAMES[best]} {'; '.join(evidence)}."
    return Delimiter(FileDecision("delimiter", best, why), sep_line=False)


def _score(lines: Iterable[str], delimiter: str, quote: str) -> tuple[int, int, float, int]:
    """Rate a delimiter: known header words in one row, IBANs, the share of rows of the commonest width, that width."""
    records: list[list[str]] = []
    try:
        for record in csv.reader(lines, delimiter=delimiter, quotechar=quote, skipinitialspace=True):
            if record:
                records.append(record)
            if len(records) == _RECORDS:
                break
    except csv.Error:
        pass  # an open quote: what came before it is the sample
    widths = [len(record) for record in records if len(record) > 1]
    if not widths:
        return 0, 0, 0.0, 1
    width = max(sorted(set(widths), reverse=True), key=widths.count)
    # The header is near the top; looking every cell up would take seconds in a table of hundreds of columns.
    words = max(len(named_fields(record[:100])) for record in records[:20])
    return (
        words,
        sum(count_ibans(record[:100]) for record in records),
        widths.count(width) / len(records),
        width,
    )


def read_text(
    source: BinaryIO, *, encoding: str, delimiter: str, quote: str = '"', sep_line: bool = False
) -> Generator[Row]:
    """
    Read the rows of a text file.

    Args:
        source: The file, readable and seekable; read from its start.
        encoding: A name of `ENCODINGS`.
        delimiter: One character.
        quote: The quotation mark.
        sep_line: Whether to leave out the first line.

    Yields:
        Every row in order, blank ones included. A row with `flaw` swallowed lines through an open quotation mark.
    """
    source.seek(0)
    wrapper = TextIOWrapper(source, encoding=encoding, errors="replace", newline="")
    try:
        if sep_line:
            wrapper.readline()
        yield from _records(wrapper, delimiter=delimiter, quote=quote, line=1 if sep_line else 0)
    finally:
        # The stream is the caller's: a wrapper closes it when it is collected. A caller that stops early may have closed it first.
        if not source.closed:
            wrapper.detach()


def _records(lines: Iterable[str], *, delimiter: str, quote: str, line: int) -> Iterator[Row]:
    reader = csv.reader(
        chain(lines, (_END,)), delimiter=delimiter, quotechar=quote, skipinitialspace=True, doublequote=True
    )
    before = line
    number = seen = 0
    previous: list[str] = []
    while True:
        try:
            for cells in reader:
                number += 1
                now = reader.line_num
                if now - seen == 1:
                    seen = now
                    if cells == [_END]:
                        return
                    whole = "".join(cells)
                    if "=" in whole:
                        cells[:] = map(_unwrapped, cells)
                    if not (whole.isascii() or whole.isprintable()):
                        cells[:] = without_marks(cells)
                    yield Row(number, cells)
                    previous = cells
                    continue
                # A record of several lines: a line break within quotes, or a quote that was never closed.
                first, seen = before + seen + 1, now
                yield _long_record(
                    number, cells, delimiter=delimiter, width=len(previous), first=first, last=before + now
                )
                if cells[-1].endswith(_END):
                    return
        except csv.Error:
            number += 1
            first, seen = before + seen + 1, reader.line_num
            yield Row(
                number,
                [],
                flaw=f"A quotation mark opened in line {first:,} is never closed: lines {first:,} to {before + seen:,} "
                "were read as one cell and are lost. Close it and send these lines again.",
            )
        else:
            return


def _unwrapped(cell: str) -> str:
    """Take the value out of a formula that is only a text: programs write ``="007"`` to keep Excel from changing it."""
    match = _TEXT_FORMULA.fullmatch(cell)
    return (match[1] or match[2] or "").replace('""', '"') if match else cell


def _long_record(number: int, cells: list[str], *, delimiter: str, width: int, first: int, last: int) -> Row:
    """Judge a record of several lines, by the *width* of the one before it."""
    open_end = cells[-1].endswith(_END)
    if open_end:
        cells = [*cells[:-1], cells[-1][: -len(_END)]]
        last -= 1
    line = first
    for cell in cells:
        breaks = cell.count("\n") or cell.count("\r")
        # Swallowed lines add their delimiters, or change the width of the record.
        swallowed = breaks and (len(cells) != width or cell.count(delimiter) >= width - 1 > 0)
        if swallowed or (open_end and cell is cells[-1]):
            end = "is never closed" if open_end else "is closed too late"
            flaw = (
                f"A quotation mark opened in line {line:,} {end}: lines {line:,} to {last:,} were read as one cell and "
                "are lost. Close it and send these lines again."
            )
            return Row(number, [text[:200] for text in cells], flaw=flaw)
        line += breaks
    return Row(number, cells)
