"""
What a person sees of a sheet of an ODS workbook.

Styles precede the tables and are always read. The tables are parsed only where one of the words occurs that can make a
difference, as for XLSX (`view_xlsx`).

Source: OpenDocument 1.3 part 3, 9.1 (tables), 16.3 (conditions of a style), 19.749 (visibility), 19.383 (currency), 16.29 (data styles),
14.1 (annotations), 20.391 (line through).
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, TypeVar
from xml.parsers import expat

import msgspec

from tether_core.spreadsheet.ink import BLACK, WHITE, colour, is_hidden
from tether_core.spreadsheet.number_formats import ROUNDED, currency_mark, is_rounded, mark_of
from tether_core.spreadsheet.view import BLIND, NOT_CALCULATED, Merge, View, ViewBuilder
from tether_core.spreadsheet.view_xlsx import DoctypeFound, parse_xml, place_of

__all__ = ["look"]

_CHUNK_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 200
_WORDS: Final = (
    b"visibility",
    b'"error"',
    b"-spanned",
    b'"percentage"',
    b'display="false"',
    b":formula=",
    b"annotation",
    b"conditional-format",
    b"='",
    b"<!",
)
_CURRENCY: Final = re.compile(rb':currency="(?!EUR")')
_NUMERIC: Final = frozenset(("float", "currency", "percentage"))
_HIDDEN: Final = frozenset(("collapse", "filter"))
_DATA_STYLES: Final = frozenset(("number-style", "currency-style", "percentage-style"))
_NUMBERS: Final = frozenset(("number", "fraction", "scientific-number"))
_ABOVE_ZERO: Final = re.compile(r"value\(\)>=?0(?:\.0+)?")
_FLAT: Final = re.compile(r"0*(?:\.0*)?(?:cm|mm|in|pt|pc|px)?")
_ERROR: Final = re.compile(r"#\S+|Err:\d{3}")
# "Sheet1.A2:Sheet1.C9", or one cell; the sheet's name may be quoted.
_ADDRESS: Final = re.compile(r"\.(\$?[A-Z]{1,3}\$?[0-9]{1,7})", re.ASCII)
_Value = TypeVar("_Value")


class _StylesEndError(Exception):
    """The part's styles have been read."""


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
            styles = _Styles()
            for part in ("styles.xml", "content.xml"):
                if part in archive.namelist():
                    styles.read(archive, part)
            found = styles.found()
            if not _remarkable(archive, found):
                return View()
            parser = expat.ParserCreate()
            reader = _TableReader(parser, sheet, found)
            with archive.open("content.xml") as stream:
                parse_xml(stream, parser)
            return reader.builder.view()
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


def _local(attributes: dict[str, str]) -> dict[str, str]:
    return {name.rpartition(":")[2]: value for name, value in attributes.items()}


class _Found(msgspec.Struct, frozen=True):
    """
    Styles that change what a person sees, by their names.

    Attributes:
        marks: Of cells, with what their number format shows beside a number.
        struck: Of cells, those that strike out.
        struck_texts: Of parts of a text, likewise.
        flat: Of rows and columns, those of no height or width.
        unseen: Of cells, those whose letters have the colour of what is behind them.
        ruled: Of cells, those that a condition of theirs strikes out or hides.
        rounding: Of cells, how many decimals their number format shows, where it shows fewer than an amount has.
    """

    marks: dict[str, str]
    struck: frozenset[str]
    struck_texts: frozenset[str]
    flat: frozenset[str]
    unseen: frozenset[str]
    ruled: frozenset[str]
    rounding: dict[str, int]

    def __iter__(self) -> Iterator[str]:
        return iter(
            {
                *self.marks,
                *self.struck,
                *self.struck_texts,
                *self.flat,
                *self.unseen,
                *self.ruled,
                *self.rounding,
            }
        )


class _Styles:
    """The styles of cells, and what their number formats show beside a number."""

    def __init__(self) -> None:
        self._formats: dict[str, str] = {}
        self._positive: dict[str, str] = {}  # name of a format to that of amounts above zero
        self._cells: dict[str, tuple[str, str]] = {}  # name to its data style and its parent
        self._struck: dict[
            str, bool
        ] = {}  # name to whether the style says that it strikes out, where it says so
        self._struck_texts: set[str] = set()
        self._flat: set[str] = set()
        self._letters: dict[str, str] = {}
        self._paper: dict[str, str] = {}
        self._decimals: dict[str, int] = {}  # name of a number format to how many it shows
        self._conditional: dict[str, set[str]] = {}  # name to the styles that its conditions apply
        self._format = ""
        self._code: list[str] = []
        self._percent = False
        self._in_text = False
        self._style: tuple[str, str] = ("", "")

    def read(self, archive: zipfile.ZipFile, part: str) -> None:
        """Read the styles of a part, and nothing behind them."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            with archive.open(part) as stream:
                parse_xml(stream, parser)
        except _StylesEndError:
            pass

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "body":
            raise _StylesEndError
        values = _local(attributes)
        if name in _DATA_STYLES:
            self._format, self._code = values.get("name", ""), []
            self._percent = name == "percentage-style"
        elif name in ("text", "currency-symbol"):
            self._in_text = bool(self._format)
        elif name in _NUMBERS and self._format:
            factor = values.get("display-factor", "1")
            self._code.append("0" + {"1": "", "1000": ","}.get(factor, ",,"))
            if name == "number" and (places := values.get("decimal-places", "")) in ("0", "1"):
                self._decimals[self._format] = int(places)
        elif name == "map":
            self._map(values)
        elif name == "style":
            self._style = values.get("family", ""), values.get("name", "")
            if self._style[0] == "table-cell":
                self._cells[self._style[1]] = (
                    values.get("data-style-name", ""),
                    values.get("parent-style-name", ""),
                )
        elif name.endswith("-properties"):
            self._properties(name, values)

    def _map(self, values: dict[str, str]) -> None:
        """Note what applies under a condition: a number format, or a style of a cell."""
        applied = values.get("apply-style-name", "")
        if not self._format and self._style[0] == "table-cell":
            self._conditional.setdefault(self._style[1], set()).add(applied)
        elif self._format and _ABOVE_ZERO.fullmatch(values.get("condition", "")):
            self._positive[self._format] = applied

    def _properties(self, name: str, values: dict[str, str]) -> None:
        family, style = self._style
        if name == "text-properties":
            kind = values.get("text-line-through-style") or values.get("text-line-through-type")
            if kind is not None and family == "table-cell":
                self._struck[style] = kind != "none"
            elif kind not in (None, "none") and family == "text":
                self._struck_texts.add(style)
        if family == "table-cell":
            self._colours(name, values, style)
        size = values.get("row-height") if family == "table-row" else values.get("column-width")
        if size is not None and _FLAT.fullmatch(size):
            self._flat.add(style)

    def _colours(self, name: str, values: dict[str, str], style: str) -> None:
        """Note which colours the style of a cell names."""
        if name == "text-properties" and values.get("use-window-font-color") == "true":
            self._letters[style] = BLACK
        elif name == "text-properties" and (rgb := values.get("color")):
            self._letters[style] = colour(rgb=rgb.lstrip("#"))
        elif name == "table-cell-properties" and (rgb := values.get("background-color")):
            self._paper[style] = WHITE if rgb == "transparent" else colour(rgb=rgb.lstrip("#"))

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name in _DATA_STYLES and self._format:
            self._formats[self._format] = mark_of("".join(self._code) + "%" * self._percent)
            self._format = ""
        self._in_text = False

    def _text(self, text: str) -> None:
        if self._in_text:
            self._code.append('"' + text.replace('"', "") + '"')

    def found(self) -> _Found:
        """The styles that change what a person sees."""
        marks, struck, unseen, rounding = {}, set(), set(), {}
        for name in self._cells:
            letters = self._inherited(name, self._letters.get) or BLACK
            if is_hidden(letters, on=self._inherited(name, self._paper.get) or WHITE):
                unseen.add(name)
            data = self._inherited(name, lambda style: self._cells[style][0] or None) or ""
            if mark := self._mark(data):
                marks[name] = mark
            if (decimals := self._decimals.get(self._positive.get(data, data))) is not None:
                rounding[name] = decimals
            if self._inherited(name, self._struck.get):
                struck.add(name)
        hiding = struck | unseen
        ruled = {
            name for name in self._cells if hiding & (self._inherited(name, self._conditional.get) or set())
        }
        return _Found(
            marks,
            frozenset(struck),
            frozenset(self._struck_texts),
            frozenset(self._flat),
            frozenset(unseen),
            frozenset(ruled),
            rounding,
        )

    def _mark(self, style: str) -> str:
        """What a number format shows beside an amount above zero."""
        return self._formats.get(self._positive.get(style, style), "")

    def _inherited(self, name: str, own: Callable[[str], _Value | None]) -> _Value | None:
        """What a style or the nearest of its parents says."""
        for _ in range(10):  # parents of parents, but never in a circle
            if name not in self._cells:
                break
            if (value := own(name)) is not None:
                return value
            name = self._cells[name][1]
        return None


def _remarkable(archive: zipfile.ZipFile, found: _Found) -> bool:
    styled = None
    if names := "|".join(map(re.escape, sorted(found))):
        styled = re.compile(f'style-name="(?:{names})"'.encode())
    with archive.open("content.xml") as stream:
        overlap = b""
        while chunk := stream.read(_CHUNK_BYTES):
            window = overlap + chunk
            if not overlap and (b"\0" in chunk[:4] or b"<" not in chunk[:200]):
                return True
            if any(word in window for word in _WORDS) or _CURRENCY.search(window):
                return True
            if styled is not None and styled.search(window):
                return True
            overlap = window[-_OVERLAP_BYTES:]
    return False


def _count(values: dict[str, str], name: str) -> int:
    text = values.get(name, "1")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 9 else 1


class _TableReader:
    """The handlers of the tables' XML; only the table of one name is looked at."""

    def __init__(self, parser: expat.XMLParserType, sheet: str, found: _Found) -> None:
        self.builder = ViewBuilder()
        self._sheet = sheet
        self._marks = found.marks
        self._found = found
        self._depth = 0  # of tables, the wanted one being 1
        self._row = 0
        self._repeated = 1
        self._position = 0
        self._columns: list[tuple[int, str]] = []  # end and style
        self._column = 0
        self._row_style = ""
        self._hidden_groups: list[bool] = []
        self._cell: dict[str, str] | None = None
        self._text: list[str] = []
        self._in_text = False
        self._struck_part = False
        self._comment: list[str] | None = None
        self._conditional = ""
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters

    def _start(self, name: str, attributes: dict[str, str]) -> None:  # noqa: C901, PLR0912 - one branch an element
        name = name.rpartition(":")[2]
        if name == "table":
            if self._depth or _local(attributes).get("name") == self._sheet:
                self._depth += 1
            return
        if self._depth != 1:
            return
        if name in ("table-cell", "covered-table-cell"):
            self._cell, self._text, self._struck_part = attributes, [], False
        elif name == "p":
            self._in_text = self._cell is not None
        elif name == "annotation":
            self._comment = []
        elif name == "span" and _local(attributes).get("style-name") in self._found.struck_texts:
            self._struck_part = self._struck_part or self._comment is None
        elif name == "table-row":
            self._start_row(_local(attributes))
        elif name == "table-column":
            values = _local(attributes)
            first, self._column = self._column, self._column + _count(values, "number-columns-repeated")
            self._columns.append((self._column, values.get("default-cell-style-name", "")))
            if (
                values.get("visibility") in _HIDDEN
                or any(self._hidden_groups)
                or values.get("style-name") in self._found.flat
            ):
                self.builder.hide_columns(first, self._column - 1)
        elif name in ("table-row-group", "table-column-group"):
            self._hidden_groups.append(_local(attributes).get("display") == "false")
        elif name == "conditional-format":
            self._conditional = _local(attributes).get("target-range-address", "")
        elif name == "condition":
            style = _local(attributes).get("apply-style-name", "")
            if style in self._found.struck or style in self._found.unseen:
                for address in self._conditional.split():
                    self._rule(address)

    def _rule(self, address: str) -> None:
        """Note where a condition hides or strikes out."""
        places = [place for text in _ADDRESS.findall(address) if (place := place_of(text)) is not None]
        if places:
            first, last = places[0], places[-1]
            self.builder.rule(Merge(first[0], last[0], first[1], last[1]))

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name == "table" and self._depth:
            self._depth -= 1
        elif self._depth != 1:
            return
        elif name in ("table-cell", "covered-table-cell") and self._cell is not None:
            self._end_cell(self._cell)
            self._cell = None
        elif name == "p":
            self._in_text = False
        elif name == "annotation" and self._comment is not None:
            self.builder.comment(self._row, self._position, " ".join(self._comment))
            self._comment = None
        elif name == "table-row":
            self._row += self._repeated - 1
        elif name in ("table-row-group", "table-column-group") and self._hidden_groups:
            self._hidden_groups.pop()

    def _characters(self, text: str) -> None:
        if self._in_text:
            (self._text if self._comment is None else self._comment).append(text)

    def _start_row(self, values: dict[str, str]) -> None:
        self._row += 1
        self._position = 0
        self._repeated = _count(values, "number-rows-repeated")
        self._row_style = values.get("default-cell-style-name", "")
        visibility = values.get("visibility")
        flat = values.get("style-name") in self._found.flat
        if visibility in _HIDDEN or any(self._hidden_groups) or flat:
            self.builder.hide_rows(self._row, self._row + self._repeated - 1)
        self.builder.filtered = self.builder.filtered or visibility == "filter"

    def _end_cell(self, attributes: dict[str, str]) -> None:
        first = self._position
        if not attributes:
            self._position += 1
            return
        values = _local(attributes)
        count = _count(values, "number-columns-repeated")
        self._position += count
        rows, columns = _count(values, "number-rows-spanned"), _count(values, "number-columns-spanned")
        if rows > 1 or columns > 1:
            self.builder.merge(Merge(self._row, self._row + rows - 1, first, first + columns - 1))
        mark = self._mark_of(attributes, values, first)
        struck = self._struck_part or (
            bool(self._text) and self._style_of(values, first) in self._found.struck
        )
        unseen = bool(self._text) and self._style_of(values, first) in self._found.unseen
        if self._text and self._style_of(values, first) in self._found.ruled:
            self.builder.rule(Merge(self._row, self._row + self._repeated - 1, first, self._position - 1))
        if mark or struck or unseen:
            for number in range(self._row, self._row + self._repeated):
                for position in range(first, self._position):
                    if mark:
                        self.builder.mark(number, position, mark)
                    if struck:
                        self.builder.strike(number, position)
                    if unseen:
                        self.builder.unsee(number, position)

    def _mark_of(self, attributes: dict[str, str], values: dict[str, str], position: int) -> str:
        text = "".join(self._text).strip()
        if "error" in (attributes.get("calcext:value-type"), values.get("value-type")):
            return text[:20] if text.startswith("#") else "#ERROR!"
        kind = attributes.get("office:value-type", values.get("value-type", ""))
        if "formula" in values:
            if not kind and not text:
                return NOT_CALCULATED
            if _ERROR.fullmatch(text):
                return text[:20] if text.startswith("#") else "#ERROR!"
        if kind not in _NUMERIC:
            return ""
        if kind == "currency" and (mark := currency_mark(values.get("currency", ""))):
            return mark
        return self._beside(values, self._style_of(values, position), kind=kind)

    def _beside(self, values: dict[str, str], style: str, *, kind: str) -> str:
        """What a style shows beside a number."""
        if mark := self._marks.get(style, "%" if kind == "percentage" else ""):
            return mark
        decimals = self._found.rounding.get(style)
        rounded = decimals is not None and is_rounded(values.get("value", ""), decimals=decimals)
        return ROUNDED if rounded else ""

    def _style_of(self, values: dict[str, str], position: int) -> str:
        """The style of a cell: its own, or that of its row or column."""
        return values.get("style-name") or self._row_style or self._column_style(position)

    def _column_style(self, position: int) -> str:
        return next((style for end, style in self._columns if position < end), "")
