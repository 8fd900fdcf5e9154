import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.spreadsheet.plan import Refusal
from tether_core.spreadsheet.sniff import Sniffed, sniff

from tests.data.spreadsheets import make

DATA = Path(__file__).parents[2] / "data" / "spreadsheets"


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _sniff(data: bytes, name: str = "") -> Sniffed | Refusal:
    return sniff(io.BytesIO(data), name=name)


SAVE_AS = "open it in a spreadsheet program, save it as XLSX or CSV and send that."


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("verein_de.csv", "csv"),
        ("customers_en.txt", "csv"),
        ("list.xlsx", "xlsx"),
        ("list.xlsb", "xlsb"),
        ("list.xls", "xls"),
        ("list.ods", "ods"),
    ],
)
def test_every_kind_is_recognised_by_its_content(name: str, kind: str) -> None:
    """A kind not recognised is a file refused that could have been read."""
    assert _sniff((DATA / name).read_bytes(), name) == Sniffed(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (b"", "empty", "This file is empty; export it once more and send that."),
        (b" \r\n\t\n", "empty", "This file holds nothing but blanks; export it once more and send that."),
        (
            _zip({"[Content_Types].xml": b"", "xl/workbook.xml": b"x"})[:-30],
            "damaged",
            "This workbook is cut off or damaged; open it in a spreadsheet program, save it and send it again.",
        ),
        (b"PK\x05\x06" + bytes(18), "zip", "This is an empty zip archive; send the spreadsheet itself."),
        (
            _zip({"debtors.csv": b"Name;IBAN"}),
            "zip",
            "This is a zip archive with one table in it; unpack it and send the table itself.",
        ),
        (
            _zip({"a.csv": b"", "b.csv": b""}),
            "zip",
            "This is a zip archive and no spreadsheet; unpack it and send one table at a time.",
        ),
        (
            _zip({"word/document.xml": b""}),
            "other_format",
            "This is a text document; send the spreadsheet it was made from.",
        ),
        (
            _zip({"Index/Document.iwa": b""}),
            "other_format",
            "This is an Apple Numbers document; export it as XLSX or CSV and send that.",
        ),
        (
            _zip(
                {
                    "xl/workbook.xml": b"",
                    "[Content_Types].xml": b"application/vnd.ms-excel.addin.macroEnabled.main",
                }
            ),
            "add_in",
            f"This is an Excel add-in and no list; {SAVE_AS}",
        ),
        (
            make.compound({"EncryptedPackage": bytes(5000), "EncryptionInfo": bytes(5000)}),
            "encrypted",
            "This workbook is protected with a password; save it without one and send it again.",
        ),
        (
            make.ods([["x"]], manifest="<manifest:encryption-data/>"),
            "encrypted",
            "This workbook is protected with a password; save it without one and send it again.",
        ),
        (
            make.compound({"WordDocument": bytes(5000)}),
            "other_format",
            "This is an Office document, but no workbook; send the spreadsheet itself.",
        ),
        (b"\x09\x08\x10\x00\x00\x06", "old_excel", f"This file was written by a very old Excel; {SAVE_AS}"),
        (
            b"ID;PWXL;N;E\r\nP;PGeneral\r\nC;Y1;X1;K1\r\n",
            "old_excel",
            f"This file was written by a very old Excel; {SAVE_AS}",
        ),
        (
            b'\xef\xbb\xbf <?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>',
            "old_excel",
            f"This is the XML format of Excel 2003; {SAVE_AS}",
        ),
        (b"\r\n<HTML><body><table>", "html", f"This is a web page, whatever its name says; {SAVE_AS}"),
        (b"<?xml version='1.0'?><html>", "html", f"This is a web page, whatever its name says; {SAVE_AS}"),
        (
            b'<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.008.001.08">',
            "payment_file",
            "This is a payment file for or from a bank, not a list of debtors; send the spreadsheet it was made from.",
        ),
        (
            b'\n<!-- export --><p:Document xmlns:p="urn:iso:std:iso:20022:tech:xsd:pain.008.003.02"/>',
            "payment_file",
            "This is a payment file for or from a bank, not a list of debtors; send the spreadsheet it was made from.",
        ),
        (
            b"-- dump\nINSERT INTO debtors VALUES ('Ann', 1);\n",
            "other_format",
            "This is an SQL script and no table; export the table as CSV and send that.",
        ),
        (b"<?xml version='1.0'?><things>", "other_format", f"This is XML and no table; {SAVE_AS}"),
        (b"%PDF-1.7", "other_format", "This is a PDF document; send the spreadsheet it was made from."),
        (b"\x89PNG\r\n", "other_format", "This is a picture; send the spreadsheet itself."),
        (b"\x1f\x8b\x08", "other_format", "This is a gzip archive; unpack it and send what is inside."),
        (
            b'{"debtors": []}',
            "other_format",
            "This is JSON and no table; export the list as CSV and send that.",
        ),
        (
            b'[{"iban": 1}]',
            "other_format",
            "This is JSON and no table; export the list as CSV and send that.",
        ),
        (bytes(range(256)) * 4, "binary", f"This file is neither text nor a known workbook; {SAVE_AS}"),
    ],
)
def test_what_is_no_list_is_refused_by_name_with_what_to_do(data: bytes, code: str, why: str) -> None:
    """This sentence is all the sender gets; 'invalid file' would bring a call to support instead."""
    assert _sniff(data) == Refusal(code, why)


@pytest.mark.parametrize(
    "text",
    [
        b"PK;Name;IBAN\n1;A;B\n",
        b"ID;PLZ;IBAN\n1;50667;DE\n",
        b"[IBAN];[Name]\n",
        b"GIF;Name\n",
        b"Name;IBAN\nNul \x00 byte;DE\n",
        b"<Name>;<IBAN>\n",
    ],
)
def test_tables_that_begin_like_something_else_are_tables(text: bytes) -> None:
    """A header may begin with any letters; refusing 'ID;PLZ' as an old Excel format helps nobody."""
    assert _sniff(text, "x.csv") == Sniffed("csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_text_with_and_without_a_mark(encoding: str) -> None:
    """Half its bytes are zero; taken for binary, every 'Unicode text' of Excel would be refused."""
    assert _sniff("Name;IBAN;Betrag\nJürgen;DE89;12,50\n".encode(encoding), "x.txt") == Sniffed("csv")


def test_a_name_that_disagrees_is_a_warning_and_no_more() -> None:
    """ERP systems export text named .xls; people send it as it is, and it can be read."""
    result = _sniff(b"Name;IBAN\n", "export.xls")
    assert result == Sniffed(
        "csv", ("The name ends in .xls, but the file is text (CSV); it is read as that.",)
    )
    assert _sniff((DATA / "list.xlsx").read_bytes(), "list.csv") == Sniffed(
        "xlsx", ("The name ends in .csv, but the file is an Excel workbook (XLSX); it is read as that.",)
    )
    assert _sniff((DATA / "list.xlsx").read_bytes(), "macros.XLSM") == Sniffed("xlsx")


def test_a_workbook_that_unpacks_to_gigabytes_is_refused_before_it_is_opened() -> None:
    """A megabyte that becomes more than a gigabyte would cost a worker its memory."""
    assert _sniff(make.bomb_xlsx()) == Refusal(
        "too_large_inside",
        (
            "This workbook holds 1,100 MiB once unpacked; at most 1,024 MiB can be read. Split it, or send it as CSV."
        ),
    )


def test_a_workbook_that_unpacks_to_blanks_is_refused() -> None:
    """Blanks deflate to nothing and parse slowly; no list of debtors does that."""
    refused = _sniff(make.raw_xlsx("", extra={"xl/sharedStrings.xml": bytes(64 << 20)}))
    assert isinstance(refused, Refusal)
    assert refused.code == "suspicious_compression"
    assert refused.why.startswith("This workbook unpacks to 1,0")
    assert refused.why.endswith("Delete blank rows and columns behind the table, or send it as CSV.")


@pytest.mark.parametrize(("name", "code"), [("EncryptedPackage", "encrypted"), ("Workbook", "xls")])
def test_a_directory_at_the_edge_of_a_block_is_read(name: str, code: str) -> None:
    """The file is looked at in blocks of a megabyte; a name cut by the edge must not change what it is."""
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    result = _sniff(magic.ljust((1 << 20) - 7, b"\0") + name.encode("utf-16-le") + bytes(100))
    assert (result.code if isinstance(result, Refusal) else result.kind) == code


def test_an_encrypted_member_is_a_password() -> None:
    """A zip with a password fails deep inside the parser, with a message nobody understands."""
    data = bytearray(_zip({"xl/workbook.xml": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused = _sniff(bytes(data))
    assert isinstance(refused, Refusal)
    assert refused.code == "encrypted"


def test_a_directory_of_hostile_size_is_not_loaded() -> None:
    """A hundred thousand members cost half a gigabyte of objects just to be listed."""
    data = _zip({f"member-with-a-rather-long-name-{n:06}" * 3: b"" for n in range(20_000)})
    refused = _sniff(data)
    assert isinstance(refused, Refusal)
    assert refused.code == "damaged"


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\xff\xfe"]),
)
def test_junk_is_told_or_refused_and_nothing_is_raised(junk: bytes, magic: bytes) -> None:
    """The route that takes files in asks this first: an exception here is a 500 for any visitor."""
    assert isinstance(_sniff(magic + junk, "x.csv"), Sniffed | Refusal)


def test_a_workbook_with_parts_in_unusual_places_says_what_to_do() -> None:
    """Its sender would get a refusal of an unknown archive, though Excel opens the file."""
    found = _sniff(_zip({"office/workbook.xml": b"x"}))
    assert isinstance(found, Refusal)
    assert "open it in Excel, save it again" in found.why
