"""
Detect the kind of a file by its content.

A file name is not reliable: ERP systems export HTML named .xls, banks export text named .xlsx. So the first bytes decide, for zip
archives also their directory; a name that disagrees is only a warning. What cannot be a table of debtors is refused
by name, with what the sender can do.

| code | what it is |
| --- | --- |
| `empty` | no bytes, or only blanks |
| `encrypted` | a workbook with a password |
| `too_large_inside` | a zip archive of more than 1 GiB once inflated |
| `suspicious_compression` | a zip archive that inflates to more than 200 times its size |
| `zip` | a zip archive that is no workbook |
| `damaged` | an archive or workbook that is cut off or broken |
| `add_in` | an Excel add-in (.xlam) |
| `old_excel` | Excel 4 or older, or the XML of Excel 2003 |
| `html` | a web page, often named .xls |
| `payment_file` | a file for or from a bank: pain, camt, MT940, DTAUS |
| `other_format` | anything else known: PDF, JSON, Word, pictures, archives |
| `binary` | bytes that are no text |

The checks against decompression bombs read the archive's directory only, which can be false:
so callers open a workbook in a process with a memory limit.

>>> import io
>>> sniff(io.BytesIO(b"Name;IBAN"), name="debtors.csv")
Sniffed(kind='csv', warnings=())
>>> sniff(io.BytesIO(b"<html><table>"), name="export.xls").code
'html'

Source: PKWARE APPNOTE.TXT 6.3.10 (zip); [MS-CFB] 2.2 (compound files); [MS-OFFCRYPTO] 2.3 ("EncryptedPackage");
[MS-XLS] 2.4.21 (BOF record); OpenDocument 1.3 part 2, 3.3 (mimetype).
"""

import re
import zipfile
import zlib
from collections.abc import Collection
from typing import BinaryIO, Final

import msgspec

from tether_core.spreadsheet.plan import Kind, Refusal

__all__ = ["HEAD_BYTES", "INFLATED_BYTES_MAX", "RATIO_MAX", "Sniffed", "looks_utf16", "sniff"]

HEAD_BYTES: Final = 65_536
INFLATED_BYTES_MAX: Final = 1 << 30
# Sheets of numbers deflate to a tenth, blank ones to a hundredth. Small files may do more without harm.
RATIO_MAX: Final = 200
_RATIO_FROM_BYTES: Final = 10 << 20
# About 20,000 members; a workbook has dozens. Reading a directory costs some hundred bytes a member.
_DIRECTORY_BYTES_MAX: Final = 2 << 20
_MEMBER_BYTES_MAX: Final = 1 << 20


class Sniffed(msgspec.Struct, frozen=True):
    """
    A file that can be read.

    Attributes:
        kind: What its content is.
        warnings: Sentences, e.g. about a name that says otherwise.
    """

    kind: Kind
    warnings: tuple[str, ...] = ()


_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "csv": ("csv", "txt", "tsv", "tab", "asc", "dat"),
    "xlsx": ("xlsx", "xlsm", "xltx", "xltm"),
    "xlsb": ("xlsb",),
    "xls": ("xls", "xlt"),
    "ods": ("ods", "ots"),
}
_WHAT: Final[dict[Kind, str]] = {
    "csv": "text (CSV)",
    "xlsx": "an Excel workbook (XLSX)",
    "xlsb": "a binary Excel workbook (XLSB)",
    "xls": "an Excel 97 workbook (XLS)",
    "ods": "an OpenDocument spreadsheet (ODS)",
}

_SAVE_AS: Final = "open it in a spreadsheet program, save it as XLSX or CSV and send that"
_ENCRYPTED: Final = Refusal(
    "encrypted", "This workbook is protected with a password; save it without one and send it again."
)
_DAMAGED: Final = Refusal(
    "damaged",
    "This workbook is cut off or damaged; open it in a spreadsheet program, save it and send it again.",
)
_OLD_EXCEL: Final = Refusal("old_excel", f"This file was written by a very old Excel; {_SAVE_AS}.")

_WEB_PAGE: Final = Refusal("html", f"This is a web page, whatever its name says; {_SAVE_AS}.")

_PAYMENT_FILE: Final = Refusal(
    "payment_file",
    "This is a payment file for or from a bank, not a list of debtors; send the spreadsheet it was made from.",
)

# First bytes -> what it is and what to do. Text formats that can begin like a table are detected further below.
_MAGIC: Final = (
    (b"%PDF", "a PDF document", "send the spreadsheet it was made from"),
    (b"\x89PNG", "a picture", "send the spreadsheet itself"),
    (b"\xff\xd8\xff", "a picture", "send the spreadsheet itself"),
    (b"GIF8", "a picture", "send the spreadsheet itself"),
    (b"{\\rtf", "a text document (RTF)", "send the spreadsheet it was made from"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and send what is inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and send what is inside"),
    (b"Rar!", "a RAR archive", "unpack it and send what is inside"),
    (b"BZh", "a bzip2 archive", "unpack it and send what is inside"),
    (b"\xfd7zXZ", "an xz archive", "unpack it and send what is inside"),
    (b"PAR1", "a Parquet file", "export it as CSV and send that"),
    (b"SQLite format 3", "a database", "export the table as CSV and send that"),
    (
        b"BEGIN:VCARD",
        "a list of contacts (vCard)",
        "export it as CSV, with accounts and amounts, and send that",
    ),
    (b"-----BEGIN PGP", "an encrypted message", "decrypt it and send what is inside"),
)
_BIFF: Final = (
    b"\x09\x08\x10\x00",
    b"\x09\x08\x08\x00",
    b"\x09\x04\x06\x00",
    b"\x09\x02\x06\x00",
    b"\x09\x00\x04\x00",
)
# A comment ends at its first mark; a pattern that may go beyond it tries every division of many comments.
_HTML: Final = re.compile(
    rb"(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+html|html|head|title|body|table|thead|tbody|tr|td|th|div|span|p|font|center|meta|style|script"
    rb"|link)\b",
    re.IGNORECASE | re.DOTALL,
)
_MHTML: Final = re.compile(
    rb"(?:[A-Za-z-]+:[^\n]*\n){0,10}?MIME-Version:[\s\S]{0,4000}text/html", re.IGNORECASE
)
# MT940 and MT942 (with or without the SWIFT envelope, or below a bank's own lines), DTAUS and DTAZV, whose first records have 128 and
# 256 bytes, and what banks of other countries use: Bacs, CFONB, Norma 43, CODA, OFX and QIF.
_BANK_TEXT: Final = re.compile(
    rb"\{1:F01|(?:[^\n:]{0,80}\n){0,5}:20:[^\n]*\n(?::2[13][A-Z]?:[^\n]*\n)?:25[A-Z]?:|0128A[GL][KB]|0256Q|VOL1[0-9 ]{6}"
    rb"|0[13][0-9]{5}[ ]{4}[0-9]{5}[A-Z ]{3}|11[0-9]{18}[0-9]{12}[12][0-9]{14}|0000[0-9]{7}[0-9]{3}05|OFXHEADER:|<OFX>"
    rb"|!Type:(?:Bank|CCard|Cash)"
)
# A payment file whose first element is that of its namespace, such as "<p:Document", is no paragraph of a web page.
_BANK_XML: Final = re.compile(rb"<[^>]{0,400}:(?:pain|camt)\.[0-9]{3}")
_COMMENTS: Final = re.compile(rb"(?:<!--(?:(?!-->).)*-->\s*)*", re.DOTALL)
_SQL: Final = re.compile(
    rb"(?:--[^\n]*\n|/\*(?:(?!\*/).)*\*/;?|\s)*(?:INSERT\s+INTO|REPLACE\s+INTO|CREATE\s+TABLE|DROP\s+TABLE|COPY\s+\S+\s+\()",
    re.IGNORECASE | re.DOTALL,
)
_ROOT: Final = re.compile(rb"<[A-Za-z][\w.-]*:?[\w.-]*\s+xmlns[:=]")
_JSON: Final = re.compile(rb"(?:\{\s*(?:\"|\})|\[\s*(?:\{|\[|\]))")
# SYLK begins "ID;P", and so may a list with the columns ID and Postcode: its second and third line decide.
_SYLK: Final = re.compile(rb"ID;P[^\r\n]*(?:\r?\n(?:P|B|C|F|O|NN);[A-Z][^\r\n]*){2}")
_CONTROL: Final = bytes([*range(1, 9), *range(14, 26), *range(27, 32)])


def sniff(source: BinaryIO, *, name: str = "") -> Sniffed | Refusal:
    """
    Detect the kind of a file.

    Args:
        source: The file, readable and seekable; left at some other place.
        name: What the sender called it; only compared.

    Returns:
        The kind with warnings, or why it is refused.
    """
    source.seek(0)
    head = source.read(HEAD_BYTES)
    found: Kind | Refusal
    if not head:
        return Refusal("empty", "This file is empty; export it once more and send that.")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _zip(source, head)
    elif head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        found = _compound(source)
    elif head.startswith(_BIFF):
        found = _OLD_EXCEL
    else:
        found = _text(head)
    if isinstance(found, Refusal):
        return found
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    if not suffix or suffix in _NAMES[found]:
        return Sniffed(found)
    return Sniffed(
        found, (f"The name ends in .{suffix[:10]}, but the file is {_WHAT[found]}; it is read as that.",)
    )


class _Bounded:
    """A view of a file that reads a limited number of bytes, for archive directories of hostile size."""

    def __init__(self, source: BinaryIO, *, bytes_max: int) -> None:
        self._source = source
        self._left = bytes_max

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            size = self._left + 1
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise zipfile.BadZipFile("directory too large")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True


def _zip(source: BinaryIO, head: bytes) -> Kind | Refusal:  # noqa: PLR0911 - one return a kind
    """Detect what a zip archive holds, and refuse a decompression bomb."""
    if head.startswith(b"PK\x05\x06"):
        return Refusal("zip", "This is an empty zip archive; send the spreadsheet itself.")
    try:
        infos = zipfile.ZipFile(_Bounded(source, bytes_max=_DIRECTORY_BYTES_MAX)).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return _DAMAGED
    if (refusal := _hostile(infos)) is not None:
        return refusal
    members = {info.filename.replace("\\", "/").lower(): info for info in infos}
    if "xl/workbook.xml" in members or "xl/workbook.bin" in members:
        if b"addin.macroEnabled" in _content(source, members.get("[content_types].xml")):
            return Refusal("add_in", f"This is an Excel add-in and no list; {_SAVE_AS}.")
        return "xlsx" if "xl/workbook.xml" in members else "xlsb"
    mimetype = _content(source, members.get("mimetype")).strip()
    if mimetype.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        manifest = _content(source, members.get("meta-inf/manifest.xml"))
        return _ENCRYPTED if b"encryption-data" in manifest else "ods"
    return _other_zip(members, mimetype)


def _hostile(infos: list[zipfile.ZipInfo]) -> Refusal | None:
    """Refuse by what the directory admits."""
    inflated = sum(info.file_size for info in infos)
    packed = max(sum(info.compress_size for info in infos), 1)
    if inflated > INFLATED_BYTES_MAX:
        return Refusal(
            "too_large_inside",
            f"This workbook holds {inflated >> 20:,} MiB once unpacked; at most {INFLATED_BYTES_MAX >> 20:,} MiB can "
            "be read. Split it, or send it as CSV.",
        )
    if inflated > _RATIO_FROM_BYTES and inflated / packed > RATIO_MAX:
        return Refusal(
            "suspicious_compression",
            f"This workbook unpacks to {inflated // packed:,} times its size, which no list of debtors does. Delete "
            "blank rows and columns behind the table, or send it as CSV.",
        )
    return _ENCRYPTED if any(info.flag_bits & 1 for info in infos) else None


def _content(source: BinaryIO, info: zipfile.ZipInfo | None) -> bytes:
    """Read a small member, up to a limit and not by its stated size."""
    if info is None or info.file_size > _MEMBER_BYTES_MAX:
        return b""
    try:
        with zipfile.ZipFile(source) as archive, archive.open(info) as member:
            return member.read(_MEMBER_BYTES_MAX)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError, zlib.error):
        return b""


def _other_zip(members: Collection[str], mimetype: bytes) -> Refusal:
    if "word/document.xml" in members or mimetype.startswith(b"application/vnd.oasis.opendocument.text"):
        return Refusal("other_format", "This is a text document; send the spreadsheet it was made from.")
    if any(member.startswith("index/") and member.endswith(".iwa") for member in members):
        return Refusal(
            "other_format", "This is an Apple Numbers document; export it as XLSX or CSV and send that."
        )
    if any(member.endswith(("/workbook.xml", "/workbook.bin")) for member in members):
        return Refusal(
            "zip",
            "This workbook keeps its parts in unusual places; open it in Excel, save it again and send that.",
        )
    endings = tuple(f".{ending}" for endings in _NAMES.values() for ending in endings)
    if sum(member.endswith(endings) for member in members) == 1:
        return Refusal(
            "zip", "This is a zip archive with one table in it; unpack it and send the table itself."
        )
    return Refusal("zip", "This is a zip archive and no spreadsheet; unpack it and send one table at a time.")


def _compound(source: BinaryIO) -> Kind | Refusal:
    """Distinguish an old workbook from an encrypted new one by the names in the compound file's directory."""
    encrypted, book = False, False
    names = {name: name.encode("utf-16-le") for name in ("EncryptedPackage", "Workbook", "Book")}
    overlap = b""
    source.seek(0)
    while chunk := source.read(1 << 20):
        window = overlap + chunk
        encrypted = encrypted or names["EncryptedPackage"] in window
        book = book or names["Workbook"] in window or names["Book"] in window
        overlap = window[-40:]
    if encrypted:
        return _ENCRYPTED
    if book:
        return "xls"
    return Refusal(
        "other_format", "This is an Office document, but no workbook; send the spreadsheet itself."
    )


def _text(head: bytes) -> Kind | Refusal:  # noqa: C901 - one branch a kind
    """Distinguish a table in text from other text and from binary data."""
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return Refusal("other_format", f"This is {what}; {advice}.")
    wide = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else looks_utf16(head)
    if wide:
        head = head.decode(wide, "replace").encode()
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    controls = len(head) - len(head.translate(None, _CONTROL))
    found: Refusal | None = None
    if not start.strip(b"\0"):
        found = Refusal("empty", "This file holds nothing but blanks; export it once more and send that.")
    elif _BANK_XML.match(_COMMENTS.sub(b"", start, count=1)):
        found = _PAYMENT_FILE
    elif _HTML.match(start) or _MHTML.match(start):
        found = _WEB_PAGE
    elif _BANK_TEXT.match(start):
        found = _PAYMENT_FILE
    elif start.startswith((b"<?xml", b"<Document", b"<office:document")) or _ROOT.match(start):
        found = _xml(start)
    elif _JSON.match(start):
        found = Refusal("other_format", "This is JSON and no table; export the list as CSV and send that.")
    elif _SQL.match(start):
        found = Refusal(
            "other_format", "This is an SQL script and no table; export the table as CSV and send that."
        )
    elif _SYLK.match(start):
        found = _OLD_EXCEL
    elif controls * 100 > len(head) or head.count(0) * 10 > len(head):
        found = Refusal("binary", f"This file is neither text nor a known workbook; {_SAVE_AS}.")
    return found or "csv"


def _xml(start: bytes) -> Refusal:
    if b"Excel.Sheet" in start or b"urn:schemas-microsoft-com:office:spreadsheet" in start:
        return Refusal("old_excel", f"This is the XML format of Excel 2003; {_SAVE_AS}.")
    if re.search(rb"(?:pain|camt)\.\d{3}", start):
        return _PAYMENT_FILE
    if _HTML.search(start[:2000]):
        return _WEB_PAGE
    return Refusal("other_format", f"This is XML and no table; {_SAVE_AS}.")


def looks_utf16(head: bytes) -> str:
    """
    Detect UTF-16 without a byte order mark by its zero bytes.

    Args:
        head: The first bytes of a file.

    Returns:
        "utf-16-le", "utf-16-be" or "" when it is neither: every second byte of ordinary European text is zero.
    """
    size = len(head) // 2
    if size < 2:
        return ""
    even, odd = head[0 : 2 * size : 2].count(0), head[1 : 2 * size : 2].count(0)
    if odd * 10 > size * 7 and even * 10 < size:
        return "utf-16-le"
    if even * 10 > size * 7 and odd * 10 < size:
        return "utf-16-be"
    return ""
