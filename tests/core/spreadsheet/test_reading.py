import io
import json
import tracemalloc
from datetime import date
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Answers, Debtor, Kind, Plan, Refusal, Refused, Workbook, workbook
from tether_core.spreadsheet.cells import unpacked
from tether_core.spreadsheet.reading import PREVIEW_ROWS, packed_rows, plan, preview, rows
from tether_core.spreadsheet.rows import read
from tether_core.spreadsheet.workbook import open_workbook

from tests.data.spreadsheets import make

TODAY = date(2026, 3, 2)
DATA = Path(__file__).parents[2] / "data" / "spreadsheets"
DE, AT = "DE89370400440532013000", "AT611904300234573201"


def _file(text: str | bytes) -> io.BytesIO:
    return io.BytesIO(text.encode() if isinstance(text, str) else text)


def _plan(text: str | bytes, **answers: object) -> Plan:
    decided = plan(_file(text), name="x.csv", answers=msgspec.convert(answers, Answers))
    assert isinstance(decided, Plan), decided
    return decided


@pytest.mark.parametrize("name", sorted(make.FILES))
def test_every_file_becomes_what_lies_beside_it(name: str) -> None:
    """Each is a list somebody could send; a change in what it becomes must be seen and meant."""
    expected = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(make.becomes(DATA / name))) == expected


def test_the_files_are_those_the_script_makes() -> None:
    """A file changed by hand would not survive the next run of the script."""
    for name, data in make.FILES.items():
        if not name.endswith(".xlsx"):  # their writer may change its mind from version to version
            assert (DATA / name).read_bytes() == data, name


def test_a_plan_survives_being_stored() -> None:
    """A person may answer tomorrow, and another worker reads: all it has is the JSON."""
    for name in make.FILES:
        with (DATA / name).open("rb") as file:
            decided = plan(file, name=name)
            assert isinstance(decided, Plan)
            again = msgspec.json.decode(msgspec.json.encode(decided), type=Plan)
            assert again == decided
            if again.ready:
                first = list(read(rows(file, plan=decided), plan=decided, today=TODAY))
                assert list(read(rows(file, plan=again), plan=again, today=TODAY)) == first


def test_rows_can_be_read_on_from_any_row() -> None:
    """After a break the file is opened anew and rows already stored are passed over."""
    for name in ("verein_de.csv", "list.xlsx", "sep_line.csv"):
        with (DATA / name).open("rb") as file:
            decided = plan(file, name=name)
            assert isinstance(decided, Plan)
            every = list(rows(file, plan=decided))
            for row in every:
                rest = list(rows(file, plan=decided, after=row.number))
                assert rest == [other for other in every if other.number > row.number]


def test_a_workbook_can_be_opened_once_and_planned_and_read() -> None:
    """In a child process the sheet is parsed once; from a path, the parser says what is wrong."""
    path = DATA / "list.xlsx"
    book = open_workbook(path, kind="xlsx")
    decided = plan(book, kind="xlsx")
    assert isinstance(decided, Plan)
    assert isinstance(book, Workbook)
    assert list(rows(book, plan=decided)) == list(rows(path, plan=decided))
    assert plan(path) == decided
    with path.open("rb") as file:
        assert plan(file, name="list.xlsx") == decided


@pytest.mark.parametrize("kept_bytes", [0, 64 << 20])
def test_rows_come_as_bytes_as_they_come_otherwise(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    """A worker gets rows as bytes, from what the plan was made of; a row more or less there is a debit more or less."""
    monkeypatch.setattr(workbook, "_KEPT_BYTES_MAX", kept_bytes)
    monkeypatch.setattr(workbook, "_BATCH_ROWS", 3)
    read = 0
    for path in (DATA / name for name in sorted(make.FILES) if not name.endswith((".csv", ".txt"))):
        kind = cast("Kind", path.suffix[1:])
        for answers in (Answers(), Answers(hidden_rows="exclude")):
            book = open_workbook(path, kind=kind)
            decided = plan(book, kind=kind, answers=answers)
            if not isinstance(decided, Plan):
                continue
            every = list(rows(path, plan=decided))
            for after in (0, *(row.number for row in every)):
                found = list(map(unpacked, packed_rows(book, plan=decided, after=after)))
                assert [] not in found
                assert [row for some in found for row in some] == [row for row in every if row.number > after]
                read += 1
    assert read > 100


def test_text_is_read_from_a_stream_only() -> None:
    """A path to a text file would have to be opened here; who opens it also closes it."""
    with pytest.raises(TypeError, match="open the file and pass that"):
        plan(DATA / "verein_de.csv")


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "x.csv", "empty"),
        (b"\n\n\n;;\n", "x.csv", "empty"),
        (b"Name;IBAN;Betrag\n", "x.csv", "no_rows"),
        (b";".join(b"c%d" % number for number in range(10_000)), "x.csv", "too_many_columns"),
        ((DATA / "list.xlsx").read_bytes()[:-500], "x.xlsx", "damaged"),
        (make.raw_xlsx("<row><c"), "x.xlsx", "damaged"),
        (make.xlsx({"Leer": []}), "x.xlsx", "empty"),
        (make.xlsx({"A": [], "B": []}), "x.xlsx", "empty"),
        (make.xlsx({"A": [["Name", "IBAN", "Betrag"]]}), "x.xlsx", "no_rows"),
        (make.xlsx({f"S{number}": [["x"]] for number in range(51)}), "x.xlsx", "too_many_sheets"),
    ],
)
def test_files_without_a_list_are_refused(data: bytes, name: str, code: str) -> None:
    """Never a stack trace and never an empty success: the sender reads why the file is not a list."""
    refused = plan(_file(data), name=name)
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert refused.why.endswith(".")


def test_no_iban_column_is_a_question_with_the_headers_found() -> None:
    """The person sees what was found and can name the column."""
    decided = _plan("Name;Konto;Betrag\nAnna;folgt;1,50\n")
    assert [question.ask for question in decided.questions] == [
        "Which column holds the IBAN? None of the headers says so: “Name”, “Konto”, “Betrag”."
    ]
    assert not decided.ready


def test_a_hundred_thousand_blank_rows_are_skipped_one_by_one() -> None:
    """Blank-looking cells far below the table must cost neither memory nor the debtors behind them."""
    text = f"Name;IBAN;Betrag\nA B;{DE};1,50\n" + ";;\n" * 100_000 + f"C D;{AT};2,50\n"
    file = _file(text)
    decided = plan(file, name="x.csv")
    assert isinstance(decided, Plan)
    found = [o for o in read(rows(file, plan=decided), plan=decided, today=TODAY) if isinstance(o, Debtor)]
    assert [debtor.row for debtor in found] == [2, 100_003]


def test_utf16_cp1250_and_emoji_names_come_through() -> None:
    """Names are what debtors recognise on their statement; each encoding keeps every letter."""
    for encoding, answers in (
        ("utf-16", {}),
        ("utf-16-le", {}),
        ("utf-8", {}),
        ("cp1250", {"encoding": "cp1250"}),
    ):
        name = "Michał Łąka" if encoding == "cp1250" else "Michał 🙂"
        data = f"Name;IBAN;Betrag\n{name};{DE};1,50\n".encode(encoding)
        decided = _plan(data, **answers)
        (debtor,) = read(rows(_file(data), plan=decided), plan=decided, today=TODAY)
        assert isinstance(debtor, Debtor)
        assert debtor.name == name


def test_an_unsettled_encoding_keeps_the_rest_of_the_plan() -> None:
    """Everything else can be shown while the person looks at the words."""
    decided = _plan("Name;IBAN;Betrag\nPaweł;PL61109010140000071219812874;1,50\n".encode("cp1250"))
    assert [question.code for question in decided.questions] == ["encoding"]
    assert set(decided.fields) == {"name", "iban", "amount"}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"encoding": "klingon"}, "encoding: Choose one of utf-8-sig, utf-16"),
        ({"delimiter": ";;"}, "delimiter: Choose one character, e.g. one of ; ,"),
        ({"quote": ""}, 'quote: Choose one character, e.g. "'),
        ({"columns": {"iban": "Nope"}}, "columns.iban: No column has the header 'Nope'"),
    ],
)
def test_answers_that_make_no_sense_are_refused(answers: dict[str, object], why: str) -> None:
    """The route that takes answers gives this sentence back; it must name the field."""
    with pytest.raises(InvalidRequest) as caught:
        _plan(f"Name;IBAN;Betrag\nA;{DE};1,50\n", **answers)
    assert str(caught.value).startswith(why)


def test_a_sheet_that_is_not_there_is_refused_with_those_that_are() -> None:
    """A sheet renamed since last month should be one look away."""
    with pytest.raises(InvalidRequest, match="sheet: There is no such sheet; there are Hinweise, Liste, Alt"):
        plan(DATA / "list.xlsx", answers=Answers(sheet="List"))


def test_a_hidden_sheet_is_read_if_asked_for() -> None:
    """Hidden is a default, not a lock."""
    decided = plan(DATA / "list.xlsx", answers=Answers(sheet="Alt"))
    assert isinstance(decided, Plan)
    assert decided.sheet == "Alt"


def _book(sheets: dict[str, list[list[str]]]) -> Plan:
    decided = plan(io.BytesIO(make.xlsx(sheets)), name="x.xlsx")
    assert isinstance(decided, Plan), decided
    return decided


def test_a_part_of_the_list_on_the_first_sheet_is_a_question_about_sheets() -> None:
    """Else the sender would be asked for an amount that stands on the next sheet, or miss half of the list."""
    part = [["Name", "IBAN"], ["Ann", make.DE]]
    whole = [["Name", "IBAN", "Betrag"], ["Ann", make.DE, "1,00"], ["Ben", make.AT, "2,00"]]
    decided = _book({"Auszug": part, "Liste": whole})
    assert decided.sheet == "Liste"
    assert [(question.code, question.choices) for question in decided.questions] == [
        ("sheet", ("Auszug", "Liste"))
    ]


def test_an_overview_without_accounts_is_no_second_list() -> None:
    """Sums by department on the first sheet are nothing to collect."""
    overview = [["Name", "Betrag"], ["Chor", "100,00"]]
    decided = _book({"Summen": overview, "Liste": [["Name", "IBAN", "Betrag"], ["Ann", make.DE, "1,00"]]})
    assert (decided.sheet, decided.ready) == ("Liste", True)


def test_a_sheet_that_goes_on_with_the_list_is_not_passed_over() -> None:
    """The second half of a long list often has no header, and would be excluded in silence."""
    decided = _book(
        {"A-K": [["Name", "IBAN", "Betrag"], ["Ann", make.DE, "1,00"]], "L-Z": [["Zoe", make.AT, "2,00"]]}
    )
    assert [question.code for question in decided.questions] == ["sheet"]


def test_answers_about_columns_hold_for_the_sheet_that_is_chosen() -> None:
    """A mapping for the list must not fail on the sheet of instructions beside it."""
    decided = plan(DATA / "list.xlsx", answers=Answers(columns={"reference": "Mandatsreferenz"}))
    assert isinstance(decided, Plan)
    assert decided.fields["reference"] == 3


def test_a_preview_shows_rows_and_reasons_and_no_whole_iban() -> None:
    """It is looked at, shared and kept; what it shows must be enough to decide and too little to debit."""
    with (DATA / "broken_rows.csv").open("rb") as file:
        decided = plan(file, name="broken_rows.csv")
        assert isinstance(decided, Plan)
        excerpt = preview(file, plan=decided, today=TODAY)
    assert excerpt.plan is decided
    assert [(row.row, row.outcome) for row in excerpt.rows[:4]] == [
        (2, "debtor"),
        (3, "refused"),
        (4, "refused"),
        (5, "refused"),
    ]
    assert excerpt.rows[-1].outcome == "skipped"
    assert excerpt.rows[0].reads["iban"] == "DE89**************3000"
    assert excerpt.rows[0].reads["amount_minor"] == "1250"
    assert excerpt.rows[0].cells[1] == "DE89**************3000"
    assert DE not in msgspec.json.encode(excerpt).decode()


def test_a_preview_ends_after_twenty_rows_and_waits_for_answers() -> None:
    """The first rows tell a person what the plan would do; with a question open there is nothing to do yet."""
    text = "Name;IBAN;Betrag\n" + f"A B;{DE};1,50\n" * 50
    decided = _plan(text)
    assert len(preview(_file(text), plan=decided, today=TODAY).rows) == PREVIEW_ROWS
    inquiry_deps = _plan(text.replace("1,50", "1.500"))
    rows_open = preview(_file(text), plan=inquiry_deps, today=TODAY, count=3).rows
    assert [row.outcome for row in rows_open] == ["open"] * 3
    assert rows_open[0].cells == ["A B", "DE89**************3000", "1,50"]


def test_reading_a_long_file_keeps_memory_flat() -> None:
    """Files of a million rows must not grow the worker; only the row under way is held."""
    line = f"Anna Müller;{DE};12,50\n".encode()
    file = io.BytesIO(b"Name;IBAN;Betrag\n" + line * 10_000)
    decided = plan(file, name="x.csv")
    assert isinstance(decided, Plan)
    tracemalloc.start()
    try:
        count = sum(
            isinstance(item, Debtor | Refused)
            for item in read(rows(file, plan=decided), plan=decided, today=TODAY)
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 500_000
