"""
What a person sees of a sheet of an XLSX workbook.

The sheet's XML is scanned a second time. Most sheets contain none of the attributes that hide or mark anything; a search of the bytes shows
that. Only where one occurs is the XML parsed, event by event, in constant memory. A document
type declaration, by which XML can expand without limit, occurs in no valid workbook and ends the scan.

Source: ECMA-376 part 1, 18.3.1.73 (row), 18.3.1.4 (c), 18.3.1.13 (col), 18.3.1.55 (mergeCell), 18.3.1.2 (autoFilter), 18.8 (styles),
18.4 (shared strings), 18.7 (comments), 18.3.1.18 (conditionalFormatting), 18.8.14 (dxf); [MS-XLSX] 2.6.205 (threadedComment), 2.6.33
(conditional formats of newer programs, each with a look of its own).
"""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, BinaryIO, Final, Literal
from xml.parsers import expat

import msgspec

from tether_core.spreadsheet.ink import BLACK, WHITE, colour, is_hidden
from tether_core.spreadsheet.number_formats import (
    BUILT_IN,
    BUILT_IN_DECIMALS,
    NOT_SHOWN,
    ROUNDED,
    decimals_shown,
    hides_text,
    is_rounded,
    mark_of,
)
from tether_core.spreadsheet.view import BLIND, NOT_CALCULATED, RULES_MAX, Merge, View, ViewBuilder

__all__ = ["DoctypeFound", "look", "parse_xml", "place_of", "related_parts", "sheet_parts"]

_CHUNK_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 64
_PART_BYTES_MAX: Final = 64 << 20
# What a sheet without any of these holds is shown as it is. Names with a prefix and other quotation marks are parsed to be sure. Searching takes
# as long as inflating, so each part of a sheet is searched for what may stand there, and for a frequent word only where its rare letter is.
_AROUND_ROWS: Final = (
    b"hidden",
    b"mergeCell",
    b"zeroHeight",
    b' width="0',
    b"showValue",
    b":conditionalFormatting",
)
_IN_ROWS: Final = (b"hidden", b'"e"', b' ht="0', b"strike")
_RARE: Final = ((b"'", b"='"), (b"!", b"<!"), (b":", b":row"))
_FORMULA: Final = b"<f"
_WITHOUT_RESULT: Final = (b"</f></c>", b"<v></v>", b"/></c>")
_ROWS_BEGIN, _ROWS_END = b"<sheetData", b"</sheetData"
_CONDITIONAL: Final = b"conditionalFormatting"
_REFERENCE: Final = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7})", re.ASCII)
# The parts of the styles; a font or a format means something else in each.
_STYLE_PARTS: Final = frozenset(
    ("fonts", "fills", "borders", "cellStyleXfs", "cellXfs", "cellStyles", "dxfs")
)
_TRUE: Final = frozenset(("1", "true"))
# Of euros.
_DECIMALS: Final = 2


class DoctypeFound(Exception):
    """A document type declaration."""


def look(source: BinaryIO, sheet: str) -> View:
    """
    Look at a sheet.

    Args:
        source: The workbook.
        sheet: Its name.

    Returns:
        The view; `BLIND` where the workbook's parts cannot be read this way.

    Raises:
        FileRefused: when there is more to see than a list of debtors can have.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = {info.filename.replace("\\", "/").lower(): info for info in archive.infolist()}
            found = _parts(archive, members, sheet)
            if found is None:
                return BLIND
            part, styles_part = found
            styles = _styles(archive, members.get(styles_part.lower()))
            styles = msgspec.structs.replace(styles, texts=_struck_texts(archive, members))
            info = members.get(part.lower())
            if info is None:
                return BLIND
            builder = ViewBuilder()
            _comments(builder, archive, members, part)
            if _remarkable(archive, info, styles):
                _sheet(builder, archive, info, styles)
            return builder.view()
    except (
        zipfile.BadZipFile,
        zlib.error,
        expat.ExpatError,
        DoctypeFound,
        ValueError,
        KeyError,
        OSError,
        NotImplementedError,
        EOFError,
    ):
        return BLIND


def parse_xml(stream: IO[bytes], parser: expat.XMLParserType) -> None:
    """
    Feed a part to a parser whose handlers are set.

    Args:
        stream: The part.
        parser: Its handler of document types is set here.

    Raises:
        Exception: when the part is no XML, or declares a document type.
    """

    def refuse(*_: object) -> None:
        raise DoctypeFound

    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    while chunk := stream.read(_CHUNK_BYTES):
        parser.Parse(chunk, False)
    parser.Parse(b"", True)


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _elements(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None) -> list[tuple[str, dict[str, str]]]:
    """Read a small part: its elements in order with their attributes, both without prefixes."""
    if info is None or info.file_size > _PART_BYTES_MAX:
        return []
    elements: list[tuple[str, dict[str, str]]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        elements.append((_local(name), {_local(key): value for key, value in attributes.items()}))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    with archive.open(info) as stream:
        parse_xml(stream, parser)
    return elements


def _parts(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], sheet: str
) -> tuple[str, str] | None:
    """Find the parts that hold the sheet and the styles."""
    identity = next(
        (
            attributes.get("id", "")
            for name, attributes in _elements(archive, members.get("xl/workbook.xml"))
            if name == "sheet" and attributes.get("name") == sheet
        ),
        None,
    )
    if identity is None:
        return None
    part, styles = related_parts(archive, members.get("xl/_rels/workbook.xml.rels"), identity)
    return None if part is None else (part, styles or "xl/styles.xml")


def related_parts(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, identity: str
) -> tuple[str | None, str | None]:
    """
    Find the parts of a workbook by its list of relations.

    Args:
        archive: The workbook.
        info: The list.
        identity: By which the workbook names the sheet there.

    Returns:
        The part of the sheet and that of the styles; `None` where the list has none.

    Raises:
        Exception: when the list is no XML, or declares a document type.
    """
    part = styles = None
    for name, attributes in _elements(archive, info):
        if name != "Relationship":
            continue
        target = attributes.get("Target", "")
        if attributes.get("Id") == identity:
            part = _path(target)
        elif attributes.get("Type", "").endswith("/styles"):
            styles = _path(target)
    return part, styles


def _path(target: str) -> str:
    target = target.replace("\\", "/")
    return target.lstrip("/") if target.startswith(("/", "xl/")) else f"xl/{target}"


def sheet_parts(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], part: str, *, kind: str
) -> list[zipfile.ZipInfo]:
    """
    Find the parts that belong to a sheet.

    Args:
        archive: The workbook.
        members: Its parts by their names in small letters.
        part: Of the sheet.
        kind: How the type of their relation ends, e.g. "/comments".

    Returns:
        Those that are there.

    Raises:
        Exception: when the list of relations is no XML, or declares a document type.
    """
    folder, _, name = part.rpartition("/")
    found = []
    for element, attributes in _elements(archive, members.get(f"{folder}/_rels/{name}.rels".lower())):
        if element == "Relationship" and attributes.get("Type", "").endswith(kind):
            target = attributes.get("Target", "").replace("\\", "/")
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
            if (info := members.get(path.lower())) is not None:
                found.append(info)
    return found


def _comments(
    builder: ViewBuilder, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], part: str
) -> None:
    """Read the comments of a sheet; those of a conversation are stored a second time with a note about old programs."""
    found: dict[str, str] = {}
    for kind, element in (("/comments", "comment"), ("/threadedComment", "threadedComment")):
        for info in sheet_parts(archive, members, part, kind=kind):
            found.update(_texts_of(archive, info, element))
    for reference, text in found.items():
        if (place := place_of(reference)) is not None:
            builder.comment(*place, text)


def _texts_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, element: str) -> dict[str, str]:
    """Read the texts of the elements of one name, by the cells they belong to; the first one of a cell."""
    texts: dict[str, list[str]] = {}
    current: list[list[str]] = []
    in_text = [False]

    def start(name: str, attributes: dict[str, str]) -> None:
        if _local(name) == element:
            current[:] = [texts.setdefault(attributes.get("ref", ""), [])]
            if current[0]:
                current.clear()
        in_text[0] = _local(name) in ("t", "text")

    def end(name: str) -> None:
        in_text[0] = False
        if _local(name) == element:
            current.clear()

    def characters(text: str) -> None:
        if in_text[0] and current:
            current[0].append(text)

    if info.file_size > _PART_BYTES_MAX:
        return {}
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    with archive.open(info) as stream:
        parse_xml(stream, parser)
    return {reference: "".join(parts) for reference, parts in texts.items()}


def _struck_texts(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> frozenset[str]:
    """Find the shared texts of which a part is struck out, by their numbers."""
    info = members.get("xl/sharedstrings.xml")
    if info is None or not _contains(archive, info, b"strike"):
        return frozenset()
    found: set[str] = set()
    state = [-1, 0, 0]  # number of the text, whether its run is struck out, whether within a run's text

    def start(name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "si":
            state[:] = [state[0] + 1, 0, 0]
        elif name == "r":
            state[1] = 0
        elif name == "strike":
            state[1] = attributes.get("val", "1") in _TRUE
        state[2] = name == "t"

    def characters(text: str) -> None:
        if state[1] and state[2] and text.strip():
            found.add(str(state[0]))

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler = start, characters
    with archive.open(info) as stream:
        parse_xml(stream, parser)
    return frozenset(found)


def _contains(archive: zipfile.ZipFile, info: zipfile.ZipInfo, word: bytes) -> bool:
    """Whether a part holds a word."""
    with archive.open(info) as stream:
        overlap = b""
        while chunk := stream.read(_CHUNK_BYTES):
            if word in overlap + chunk or b"\0" in chunk[:4]:
                return True
            overlap = chunk[-_OVERLAP_BYTES:]
    return False


class _Styles(msgspec.Struct, frozen=True):
    """
    What the cell styles add to a value, by the numbers of the styles.

    Attributes:
        marks: What the number format shows beside a number.
        struck: Those that strike a cell out.
        unseen: Those whose letters have the colour of what is behind them, or whose format shows nothing of a text.
        hiding: Formats of conditions, by their numbers, that strike a cell out or hide what it holds.
        rounding: How many decimals the number format shows, of those that show fewer than an amount has.
        texts: Shared texts that are struck out, or a part of them.
    """

    marks: dict[str, str]
    struck: frozenset[str]
    unseen: frozenset[str]
    hiding: frozenset[str]
    rounding: dict[str, int]
    texts: frozenset[str] = frozenset()


class _Look(msgspec.Struct):
    """
    How a font, a fill or the format of a condition makes a cell look.

    Attributes:
        struck: Whether it strikes out.
        letters: The colour of the letters.
        paper: What is behind them; empty for a pattern.
        blank: Whether its number format shows nothing.
        part: The element that a colour belongs to.
    """

    struck: bool = False
    letters: str = BLACK
    paper: str = WHITE
    blank: bool = False
    part: str = ""

    @property
    def hides(self) -> bool:
        """Whether a cell that looks like this is struck out or cannot be seen."""
        return self.struck or self.blank or is_hidden(self.letters, on=self.paper)

    def add(self, name: str, attributes: Mapping[str, str], *, paper: str) -> None:
        """
        Apply an element.

        Args:
            paper: The element that names what is behind the letters: that of cells stands in front, that of conditions behind.
        """
        if name in ("font", "fill", "border"):
            self.part = name
        elif name == "strike":
            self.struck = attributes.get("val", "1") in _TRUE
        elif name == "color" and self.part in ("", "font"):
            self.letters = _colour(attributes)
        elif name == "patternFill" and attributes.get("patternType") == "none":
            self.part = "none"  # what follows is not shown
        elif name == "gradientFill" or (
            name == "patternFill" and attributes.get("patternType", "solid") != "solid"
        ):
            self.part, self.paper = "none", ""
        elif name == paper and self.part != "none":
            # The colours of the system are the window's own.
            own = attributes.get("auto") in _TRUE or attributes.get("indexed") in ("64", "65")
            self.paper = WHITE if own else _colour(attributes)
        elif name == "numFmt":
            code = attributes.get("formatCode", "")
            self.blank = mark_of(code) == NOT_SHOWN or hides_text(code)


def _colour(attributes: Mapping[str, str]) -> str:
    get = attributes.get
    return colour(rgb=get("rgb"), theme=get("theme"), indexed=get("indexed"), tint=get("tint"))


def _styles(  # noqa: C901 - one branch an element
    archive: zipfile.ZipFile, info: zipfile.ZipInfo | None
) -> _Styles:
    """Find the cell styles that show more, or less, than their value."""
    formats = {str(number): mark for number, mark in BUILT_IN.items()}
    shown: dict[str, int | None] = {str(number): count for number, count in BUILT_IN_DECIMALS.items()}
    blank, rounding = set[str](), dict[str, int]()
    marks, struck, unseen = dict[str, str](), set[str](), set[str]()
    looks: dict[str, list[_Look]] = {"fonts": [], "fills": [], "dxfs": []}
    begins = {"fonts": "font", "fills": "fill", "dxfs": "dxf"}
    part, index = "", 0
    for name, attributes in _elements(archive, info):
        if name in _STYLE_PARTS:
            part = name
        elif name == begins.get(part):
            looks[part].append(_Look())
        elif found := looks.get(part):
            found[-1].add(name, attributes, paper="bgColor" if part == "dxfs" else "fgColor")
        elif name == "numFmt":
            number, code = attributes.get("numFmtId", ""), attributes.get("formatCode", "")
            formats[number], shown[number] = mark_of(code), decimals_shown(code)
            if hides_text(code):
                blank.add(number)
        elif name == "xf" and part == "cellXfs":
            if mark := formats.get(attributes.get("numFmtId", ""), ""):
                marks[str(index)] = mark
            if (decimals := shown.get(attributes.get("numFmtId", ""))) is not None and decimals < _DECIMALS:
                rounding[str(index)] = decimals
            font, fill = (
                _at(looks["fonts"], attributes.get("fontId")),
                _at(looks["fills"], attributes.get("fillId")),
            )
            if font.struck:
                struck.add(str(index))
            if is_hidden(font.letters, on=fill.paper) or attributes.get("numFmtId") in blank:
                unseen.add(str(index))
            index += 1
    hiding = frozenset(str(number) for number, look in enumerate(looks["dxfs"]) if look.hides)
    return _Styles(marks, frozenset(struck), frozenset(unseen), hiding, rounding)


def _at(looks: list[_Look], number: str | None) -> _Look:
    """The look of a number; a plain one where the part has none."""
    place = int(number) if number is not None and number.isascii() and number.isdigit() else -1
    return looks[place] if 0 <= place < len(looks) else _Look()


def _remarkable(archive: zipfile.ZipFile, info: zipfile.ZipInfo, styles: _Styles) -> bool:
    """Whether a sheet holds any of the words that make it differ from its values."""
    styled = None
    if styles.texts:
        return True
    if named := {*styles.marks, *styles.struck, *styles.unseen, *styles.rounding}:
        numbers = "|".join(sorted(named))
        styled = re.compile(rf"""\ss\s*=\s*["'](?:{numbers})["']""".encode())
    search = _Search((*_AROUND_ROWS, _CONDITIONAL) if styles.hiding else _AROUND_ROWS)
    with archive.open(info) as stream:
        overlap = b""
        while chunk := stream.read(_CHUNK_BYTES):
            window = overlap + chunk
            if not overlap and (b"\0" in chunk[:4] or b"<" not in chunk[:200]):
                return True  # another encoding than one of bytes
            if search.finds(window) or (styled is not None and styled.search(window)):
                return True
            overlap = window[-_OVERLAP_BYTES:]
    # A sheet that ends before its rows do is none that this search knows.
    return search.part != "behind"


class _Search:
    """
    Searches a sheet, a window at a time, for words that make it differ from its values.

    Attributes:
        part: In which the window ends.
    """

    def __init__(self, around: Sequence[bytes]) -> None:
        self.part: Literal["before", "rows", "behind"] = "before"
        self._around = around
        self._has_formulas = False

    def finds(self, window: bytes) -> bool:
        """Whether the next window holds a word that counts where it stands."""
        if any(letter in window and word in window for letter, word in _RARE):
            return True
        begins = ends = -1
        if self.part == "before" and (begins := window.find(_ROWS_BEGIN)) >= 0:
            self.part = "rows"
        elif self.part == "before":
            return self._is_around(window)
        if self.part == "rows" and (ends := window.find(_ROWS_END)) >= 0:
            self.part = "behind"
        elif self.part == "behind":
            return self._is_around(window)
        rows = window[max(begins, 0) : len(window) if ends < 0 else ends]
        return (
            self._is_around(window[: max(begins, 0)])
            or self._is_in_rows(rows)
            or (ends >= 0 and self._is_around(window[ends:]))
        )

    def _is_around(self, text: bytes) -> bool:
        return any(word in text for word in self._around)

    def _is_in_rows(self, text: bytes) -> bool:
        self._has_formulas = self._has_formulas or _FORMULA in text
        return any(word in text for word in _IN_ROWS) or (
            self._has_formulas and any(word in text for word in _WITHOUT_RESULT)
        )


def _column(letters: str) -> int:
    position = 0
    for letter in letters:
        position = position * 26 + ord(letter) - 64
    return position - 1


def _zero(size: str) -> bool:
    """Whether a height or width is nothing."""
    try:
        return float(size) == 0
    except ValueError:
        return False


def place_of(reference: str) -> tuple[int, int] | None:
    """Read "C3" or "$C$3" as row 3, position 2; `None` for what is no cell."""
    match = _REFERENCE.fullmatch(reference)
    return None if match is None else (int(match[2]), _column(match[1]))


def _range(reference: str) -> Merge | None:
    """Read "A2:C9", or one cell."""
    first, _, last = reference.partition(":")
    start, end = place_of(first), place_of(last or first)
    return None if start is None or end is None else Merge(start[0], end[0], start[1], end[1])


def _sheet(builder: ViewBuilder, archive: zipfile.ZipFile, info: zipfile.ZipInfo, styles: _Styles) -> None:
    parser = expat.ParserCreate()
    reader = _SheetReader(parser, builder, styles)
    with archive.open(info) as stream:
        parse_xml(stream, parser)
    reader.end_cell()
    reader.end_extended()


class _SheetReader:
    """The handlers of a sheet's XML; cells that need no mark cost one call and one look at three attributes."""

    def __init__(self, parser: expat.XMLParserType, builder: ViewBuilder, styles: _Styles) -> None:
        self.builder = builder
        self._parser = parser
        self._styles = styles.marks
        self._struck = styles.struck
        self._unseen = styles.unseen
        self._hiding = styles.hiding
        self._conditional = ""
        self._texts = styles.texts
        self._rounding = styles.rounding
        self._decimals: int | None = None  # that the format of the latest cell shows, where these are few
        self._row = 0
        self._position: int | str | None = -1  # of the latest cell, or its reference
        self._error: list[str] | None = None
        self._formula = False  # one without a result, so far
        self._is_text = False
        self._shared: list[str] | None = None  # the number of a shared text
        self._result: list[str] = []  # of that formula
        self._rows_hidden = False
        self._is_extended = False  # among what newer programs store, behind all rows
        self._looks: list[_Look] = []  # of their rules
        self._places: list[str] = []
        parser.StartElementHandler = self._start

    def _start(self, name: str, attributes: dict[str, str]) -> None:  # noqa: C901, PLR0912 - one branch an element
        if ":" in name:
            name = _local(name)
        if self._is_extended and name not in ("row", "c"):
            self._extended(name, attributes)
        elif name == "c":
            if (
                self._formula
                or self._error is not None
                or self._shared is not None
                or self._decimals is not None
            ):
                self.end_cell()
            self._position = attributes.get("r") or self._here() + 1
            kind, self._is_extended = attributes.get("t"), False
            self._is_text = kind == "str"
            if kind == "e":
                self._error = []
            elif attributes.get("s") in self._styles:
                self.builder.mark(self._row, self._here(), self._styles[attributes["s"]])
            if attributes.get("s") in self._struck:
                self.builder.strike(self._row, self._here())
            if attributes.get("s") in self._unseen:
                self.builder.unsee(self._row, self._here())
            if kind == "s" and self._texts:
                self._shared = []
            if kind in (None, "n"):
                self._decimals = self._rounding.get(attributes.get("s", ""))
        elif name == "v":
            if self._error is not None:
                self._parser.CharacterDataHandler = self._error.append
            elif self._shared is not None:
                self._parser.CharacterDataHandler = self._shared.append
            elif self._formula and self._is_text:
                self._formula = False  # a text may be empty
            elif self._formula or self._decimals is not None:
                self._result = []
                self._parser.CharacterDataHandler = self._result.append
        elif name == "f":
            self._formula = True
        elif name == "row":
            self.end_cell()
            self._start_row(attributes)
        elif name == "is":
            self._formula = False
        elif name == "strike" and attributes.get("val", "1") in _TRUE:
            self.builder.strike(self._row, self._here())
        else:
            self._other(name, attributes)

    def _here(self) -> int:
        """The position of the latest cell."""
        if isinstance(self._position, str):
            place = place_of(self._position)
            self._position = -1 if place is None else place[1]
        return self._position or 0

    def end_cell(self) -> None:
        """Mark the cell that has ended, if it held an error or a formula without its result."""
        if self._error is not None or self._formula or self._shared is not None or self._decimals is not None:
            self._parser.CharacterDataHandler = None
        if self._decimals is not None and is_rounded("".join(self._result), decimals=self._decimals):
            self.builder.mark(self._row, self._here(), ROUNDED)
        if self._shared is not None and "".join(self._shared).strip() in self._texts:
            self.builder.strike(self._row, self._here())
        if self._error is not None:
            text = "".join(self._error).strip()[:20]
            self.builder.mark(self._row, self._here(), text if text.startswith("#") else "#N/A")
        elif self._formula and not "".join(self._result).strip():
            self.builder.mark(self._row, self._here(), NOT_CALCULATED)
        self._error, self._formula, self._result, self._shared, self._decimals = None, False, [], None, None

    def _start_row(self, attributes: dict[str, str]) -> None:
        number = attributes.get("r", "")
        self._row = int(number) if number.isascii() and number.isdigit() else self._row + 1
        self._position = -1
        height = attributes.get("ht")
        if (
            attributes.get("hidden") in _TRUE
            or (height is not None and _zero(height))
            or (self._rows_hidden and height is None and "hidden" not in attributes)
        ):
            self.builder.hide_rows(self._row, self._row)

    def _extended(self, name: str, attributes: dict[str, str]) -> None:
        """Read the conditional formats of newer programs, whose rules bring their own looks."""
        if name in ("conditionalFormatting", "ext"):
            self.end_extended()
        elif name == "cfRule":
            self._looks.append(_Look())
        elif name == "sqref":
            self._parser.CharacterDataHandler = self._places.append
        elif name in ("dataBar", "iconSet"):
            self._looks.append(_Look(blank=attributes.get("showValue", "1") not in _TRUE))
        elif self._looks:
            self._looks[-1].add(name, attributes, paper="bgColor")

    def end_extended(self) -> None:
        """Note where the rules of a conditional format that has ended can hide or strike out cells."""
        self._parser.CharacterDataHandler = None
        if any(look.hides for look in self._looks):
            for reference in "".join(self._places).split()[:RULES_MAX]:
                if (place := _range(reference)) is not None:
                    self.builder.rule(place)
        self._looks, self._places = [], []

    def _other(self, name: str, attributes: dict[str, str]) -> None:  # noqa: C901 - one branch an element
        """Read the elements around the rows."""
        if name == "col":
            width = attributes.get("width")
            if attributes.get("hidden") in _TRUE or (width is not None and _zero(width)):
                self.builder.hide_columns(
                    int(attributes.get("min", "1")) - 1, int(attributes.get("max", "1")) - 1
                )
        elif name == "mergeCell":
            if (place := _range(attributes.get("ref", ""))) is not None:
                self.builder.merge(place)
        elif name == "conditionalFormatting":
            self._conditional = attributes.get("sqref", "")
        elif (name == "cfRule" and attributes.get("dxfId") in self._hiding) or (
            name in ("dataBar", "iconSet") and attributes.get("showValue", "1") not in _TRUE
        ):
            for reference in self._conditional.split()[:RULES_MAX]:
                if (place := _range(reference)) is not None:
                    self.builder.rule(place)
        elif name == "extLst":
            self.end_cell()
            self._is_extended = True
        elif name == "autoFilter":
            self.builder.filtered = True
        elif name == "sheetPr":
            self.builder.filtered = self.builder.filtered or attributes.get("filterMode") in _TRUE
        elif name == "sheetFormatPr":
            self._rows_hidden = attributes.get("zeroHeight") in _TRUE
