import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.plan import FileDecision, Question
from tether_core.spreadsheet.text import ENCODINGS, decide_delimiter, decide_encoding, read_text

IBANS = ["DE89370400440532013000", "AT611904300234573201", "NL91ABNA0417164300"]


def _encoding(data: bytes, given: str | None = None) -> str:
    found = decide_encoding(io.BytesIO(data), given=given)
    return found.value if isinstance(found, FileDecision) else f"? {found.code}"


def _rows(data: bytes, *, encoding: str = "utf-8-sig", delimiter: str = ";", quote: str = '"') -> list[Row]:
    return list(read_text(io.BytesIO(data), encoding=encoding, delimiter=delimiter, quote=quote))


# --- encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Jürgen;5 €", "utf-8"),
        ("Jürgen;5 €", "utf-8-sig"),
        ("Jürgen;5 €", "utf-16"),
        ("Name;IBAN;Jürgen", "utf-16-le"),
        ("Name;IBAN;Jürgen", "utf-16-be"),
        ("Jürgen;5 €", "cp1252"),
        ("Jürgen;5 €", "iso8859-15"),
        ("Jürgen „Jogi“ Löw", "cp1252"),
        ("Bœuf Cœur ¿Qué? 5 m³", "cp1252"),
        ("plain", "ascii"),
    ],
)
def test_the_retry_schedule_reads_every_letter(text: str, encoding: str) -> None:
    """One wrong woken turns Jürgen into another person on a thousand statements."""
    data = text.encode(encoding)
    found = decide_encoding(io.BytesIO(data))
    assert isinstance(found, FileDecision)
    assert data.decode(found.value) == text
    assert found.value in ENCODINGS


def test_one_name_at_the_end_of_a_long_file_decides() -> None:
    """Files are ASCII for a hundred thousand lines until somebody is called Müller; a sample would miss it."""
    lines = b"A;B;C\n" * 150_000
    assert _encoding(lines + "Müller".encode()) == "utf-8-sig"
    assert _encoding(lines + "Müller".encode("cp1252")) == "cp1252"
    assert _encoding(lines + "Müller".encode()[:2]) == "cp1252"  # cut within a letter


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Michał Łąka", "cp1250"),
        ("Paweł;", "cp1250"),
        ("Wałęsa", "cp1250"),
        ("Miejscowość", "cp1250"),
        ("Jürgen", "cp850"),
    ],
)
def test_what_bytes_cannot_decide_is_a_question_with_the_words(text: str, encoding: str) -> None:
    """Polish letters become signs without any error; only a person who sees both readings can say."""
    found = decide_encoding(io.BytesIO(f"Name\n{text}\n".encode(encoding)))
    assert isinstance(found, Question)
    assert found.answer == "encoding"
    assert encoding in found.choices
    assert f"{encoding}: " in found.ask
    assert _encoding(text.encode(encoding), given=encoding) == encoding


def test_a_letter_cut_by_the_edge_of_a_block_is_still_one_letter() -> None:
    """The file is looked at in blocks; a wrong seam would refuse one valid file in a hundred."""
    for shift in range(4):
        data = b"x" * ((1 << 18) - 2 + shift - 2) + "üü€".encode()
        assert _encoding(data) == "utf-8-sig"


@pytest.mark.parametrize("before", range(4))
def test_a_word_cut_by_the_edge_of_a_block_is_still_one_word(before: int) -> None:
    """The sign that gives the encoding away may stand at the seam of two blocks."""
    word = "Michałowski".encode("cp1250")
    assert _encoding(b" " * ((1 << 18) - 4 - before) + word) == "? encoding"


# --- delimiter


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_delimiter_with_known_headers_and_ibans_wins(delimiter: str) -> None:
    """Decimal commas and commas in names outnumber the real delimiter in many files."""
    lines = [["Name", "IBAN", "Betrag", "Zweck"]] + [
        ["Müller, Hans", iban, "1,5", "a, b; c"] for iban in IBANS
    ]
    quoted = [delimiter.join(f'"{cell}"' for cell in line) for line in lines]
    file = io.BytesIO("\n".join(quoted).encode())
    assert decide_delimiter(file, encoding="utf-8-sig").decision.value == delimiter


def test_two_rows_under_three_titles_are_enough() -> None:
    """Counting widths alone takes the wrong delimiter here: most lines are titles with commas."""
    text = "Verein, e.V.\nKöln, Ehrenfeld\nStand, März, 2026\nName;IBAN;Betrag\nA;DE89370400440532013000;1,50\nB;AT611904300234573201;2,50\n"
    found = decide_delimiter(io.BytesIO(text.encode()), encoding="utf-8-sig")
    assert found.decision == FileDecision(
        "delimiter",
        ";",
        "With a semicolon 50% of the first records have the same 3 cells; known header words: 3; cells with an IBAN: 2.",
    )


def test_a_blank_may_be_the_delimiter() -> None:
    """No row may be added that is not in the file."""
    file = io.BytesIO(b"Ann DE12 1\nBen DE34 2\n")
    rows = read_text(file, encoding="utf-8-sig", delimiter=" ")
    assert [row.cells for row in rows] == [["Ann", "DE12", "1"], ["Ben", "DE34", "2"]]


def test_a_sep_line_is_obeyed_and_is_no_row() -> None:
    """Excel writes it, hides it and does not count it; read as a header it would push everything one row down."""
    file = io.BytesIO(b"sep=,\r\nName,IBAN\r\nA;B,DE\r\n")
    found = decide_delimiter(file, encoding="utf-8-sig")
    assert (found.decision.value, found.decision.why, found.sep_line) == (
        ",",
        "The first line says so: sep=comma.",
        True,
    )
    rows = read_text(file, encoding="utf-8-sig", delimiter=",", sep_line=True)
    assert [(row.number, row.cells) for row in rows] == [(1, ["Name", "IBAN"]), (2, ["A;B", "DE"])]


def test_the_caller_decides_and_one_column_needs_no_delimiter() -> None:
    """A person who looks at the file knows better, and a list of IBANs alone must not be refused."""
    file = io.BytesIO(b"a:b\nc:d\n")
    assert decide_delimiter(file, encoding="utf-8-sig", given=":").decision.by == "caller"
    single = decide_delimiter(file, encoding="utf-8-sig").decision
    assert single.value == ";"
    assert single.why == "No semicolon, comma, tab or bar parts the lines evenly: one column."


# --- rows


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_are_read_also_within_quotes(end: str) -> None:
    """Old Macs wrote CR alone; read as one line, the whole file would be a header."""
    data = end.join(["a;b", f'"1{end}2";x', "3;4"]).encode()
    assert [row.cells for row in _rows(data)] == [["a", "b"], [f"1{end}2", "x"], ["3", "4"]]
    mixed = b"a;b\r\nc;d\re;f\n"
    assert [row.number for row in _rows(mixed)] == [1, 2, 3]


def test_a_blank_before_a_quotation_mark_does_not_hide_it() -> None:
    """'Anna, "12,50"' is two cells; read as three, the amount would be 12."""
    assert _rows(b'Anna, "12,50"\n', delimiter=",")[0].cells == ["Anna", "12,50"]


@given(
    st.lists(
        st.lists(st.text(st.sampled_from('aä ;,"\n'), max_size=6), min_size=3, max_size=3).filter(
            lambda line: all(cell.count(";") < 2 for cell in line)
        ),
        max_size=6,
    )
)
def test_what_csv_writes_is_read_back(lines: list[list[str]]) -> None:
    """Quotes, delimiters and line breaks inside cells are legal; none may be taken for damage."""
    sheet = io.StringIO()
    csv.writer(sheet, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [["a", "b", "c"], *lines]
    )
    rows = _rows(sheet.getvalue().encode())
    assert [row.cells for row in rows[1:]] == lines
    assert not any(row.flaw for row in rows)


def test_an_open_quote_is_reported_with_its_lines() -> None:
    """It swallows the rest of the file; without this those debtors would vanish without a word."""
    rows = _rows(b'a;b;c\n1;"2;3\n4;5;6\n7;8;9\n')
    assert [row.number for row in rows] == [1, 2]
    assert rows[1].flaw == (
        "A quotation mark opened in line 2 is never closed: lines 2 to 4 were read as one cell and are lost. "
        "Close it and send these lines again."
    )
    assert _rows(b'a;"b')[0].flaw.startswith(
        "A quotation mark opened in line 1 is never closed: lines 1 to 1 "
    )


def test_a_quote_closed_by_the_next_rows_quote_is_noticed() -> None:
    """Here two people merge into one row that looks sound: the second would pay under the first one's name."""
    rows = _rows(b'a;b;c\n"1;2;3\n"4";5;6\n7;8;9\n')
    assert rows[1].flaw.startswith("A quotation mark opened in line 2 is closed too late: lines 2 to 3 ")
    assert rows[2].cells == ["7", "8", "9"]
    last_cell = _rows(b'a;b;c\n1;2;"3\n"4";5;6\n7;8;9\n')
    assert "lines 2 to 3" in last_cell[1].flaw


def test_the_line_is_the_one_where_the_cell_began() -> None:
    """In a record with honest line breaks the culprit is a later line than the first; people search there."""
    rows = _rows(b'a;b;c\n"1\n1";2;"3\n4;5;6\n')
    assert rows[1].flaw.startswith("A quotation mark opened in line 3 is never closed: lines 3 to 4 ")


def test_reading_goes_on_behind_a_cell_of_more_than_the_limit() -> None:
    """The limit bounds memory; what comes after the swallowed lines must still be read."""
    lines = b"".join(b"%07d;DE;5,00\n" % number for number in range(20_000))
    rows = _rows(b'a;b;c\n"open;DE;5,00\n' + lines)
    flawed = [row for row in rows if row.flaw]
    assert [row.number for row in flawed] == [2]
    assert flawed[0].flaw.startswith("A quotation mark opened in line 2 is never closed: lines 2 to 8,194 ")
    assert rows[2].cells == ["0008192", "DE", "5,00"]
    assert rows[-1].cells == ["0019999", "DE", "5,00"]


def test_bytes_that_do_not_fit_become_the_replacement_character() -> None:
    """They are found when the row is checked; an exception here would end the import at that row."""
    assert _rows(b"a;b\xff\n")[0].cells == ["a", "b\ufffd"]


def test_nul_and_control_characters_are_passed_on() -> None:
    """They are the row's problem, with its number, and no reason to stop."""
    assert _rows(b"a\x00;b\x07\n")[0].cells == ["a\x00", "b\x07"]


def test_the_callers_stream_stays_open() -> None:
    """The caller may want to read the stream again, for the report."""
    file = io.BytesIO(b"a;b\nc;d\n")
    rows = read_text(file, encoding="utf-8-sig", delimiter=";")
    next(rows)
    rows.close()
    assert file.seek(0) == 0
    assert len(list(read_text(file, encoding="utf-8-sig", delimiter=";"))) == 2


def test_stopping_early_leaves_nothing_to_warn_about() -> None:
    """A preview stops after twenty rows and closes the file; what is left over must not raise when it goes."""
    file = io.BytesIO(b"a;b\nc;d\n")
    rows = read_text(file, encoding="utf-8-sig", delimiter=";")
    next(rows)
    file.close()
    rows.close()


@given(st.binary(max_size=300))
def test_any_bytes_give_rows(junk: bytes) -> None:
    """Any content may pass the detection as text; none of it may raise."""
    encoding = decide_encoding(io.BytesIO(junk))
    name = encoding.value if isinstance(encoding, FileDecision) else "cp1252"
    delimiter = decide_delimiter(io.BytesIO(junk), encoding=name).decision.value
    numbers = [row.number for row in _rows(junk, encoding=name, delimiter=delimiter)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_generated_files_in_many_shapes_are_told_right() -> None:
    """The choice of encoding and delimiter on 300 files of all shapes: none may be misread."""
    rng = random.Random(11)
    names = ["Jürgen Müller", "Zoë Ångström", "Groß, Änne", "Élodie d'Hervé"]
    wrong = []
    for number in range(300):
        delimiter = rng.choice(";,\t|")
        encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252", "iso8859-15"])
        lines = [["Liste 2026"]] * rng.randrange(4) + [["Kontoinhaber", "IBAN", "Betrag"]]
        lines += [
            [
                rng.choice(names),
                rng.choice(IBANS),
                f"{rng.randrange(999)},{rng.randrange(10, 99)} €",
            ]
        ] * 3
        text = rng.choice(["\n", "\r\n"]).join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
        file = io.BytesIO(text.encode(encoding))
        found = decide_encoding(file)
        if not isinstance(found, FileDecision) or file.getvalue().decode(found.value) != text.removeprefix(
            "\ufeff"
        ):
            wrong.append((number, encoding, found))
        elif decide_delimiter(file, encoding=found.value).decision.value != delimiter:
            wrong.append((number, delimiter, found))
    assert wrong == []
