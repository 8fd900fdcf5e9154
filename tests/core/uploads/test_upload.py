import csv
import io
from datetime import UTC, date, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import IllegalStep
from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Answers, Debtor, Plan, Refused
from tether_core.spreadsheet.reading import plan, rows
from tether_core.spreadsheet.rows import read
from tether_core.uploads.upload import (
    REPORT_COLUMNS,
    TRANSITIONS,
    RowCounts,
    content_key,
    object_key,
    report_header,
    report_row,
    step,
    summary,
)

TODAY = date(2026, 3, 2)


def test_every_state_can_be_reached_and_only_a_withdrawn_one_is_final() -> None:
    """A state nobody can leave or reach would leave an upload hanging in front of its sender."""
    reached = {"received"}
    while True:
        more = {after for state in reached for after in TRANSITIONS[state].values()} | reached  # type: ignore[index]
        if more == reached:
            break
        reached = more
    assert reached == set(TRANSITIONS)
    assert [state for state, steps in TRANSITIONS.items() if not steps] == ["withdrawn"]
    assert [state for state, steps in TRANSITIONS.items() if set(steps) == {"withdrawn"}] == ["completed"]
    assert {steps.get("withdrawn") for state, steps in TRANSITIONS.items() if state != "withdrawn"} == {
        "withdrawn"
    }


def test_a_step_that_does_not_exist_is_refused() -> None:
    """Answering a finished upload must not start it again and store its rows twice."""
    assert step("needs_answer", "answered") == "examining"
    with pytest.raises(IllegalStep, match="This upload is read completely, so it cannot be answered"):
        step("completed", "answered")


counts = st.integers(0, 1_000)
row_counts = st.builds(
    lambda stored, excluded, refused, skipped: RowCounts(
        rows=stored + excluded + refused + skipped,
        stored=stored,
        excluded=excluded,
        refused=refused,
        skipped=skipped,
        amount_minor=stored * 100,
        verdicts={"blacklisted": excluded} if excluded else {},
        problems={"iban_invalid": refused} if refused else {},
    ),
    counts,
    counts,
    counts,
    counts,
)


@given(st.lists(row_counts, max_size=5))
def test_chunks_add_up_and_stay_balanced(chunks: list[RowCounts]) -> None:
    """The figures of an upload are summed chunk by chunk; a row lost between them must show."""
    whole = sum(chunks, RowCounts())
    assert whole.balanced
    assert whole.rows == sum(chunk.rows for chunk in chunks)
    assert whole.problems.get("iban_invalid", 0) == whole.refused
    assert not msgspec.structs.replace(whole, rows=whole.rows + 1).balanced
    assert not msgspec.structs.replace(whole, rows=whole.rows + 1, excluded=whole.excluded + 1).balanced


def test_the_summary_says_what_became_of_the_rows() -> None:
    """A file without one good row is completed all the same; the sentence must not read like success."""
    nothing = RowCounts(rows=4, refused=2, excluded=1, skipped=1)
    assert summary(nothing) == (
        "None of 4 rows became debtors; 2 have problems, 1 was excluded by screening, 1 is blank, a header, a total or a "
        "note. The report says what to correct."
    )
    assert (
        summary(RowCounts(rows=1_000, stored=1_000), dry_run=True)
        == "1,000 of 1,000 rows would become debtors."
    )
    assert summary(RowCounts(rows=3, excluded=1, skipped=2)) == (
        "None of 3 rows became debtors; 1 was excluded by screening, 2 are blank, a header, a total or a note."
    )


def test_object_keys_hold_the_day_in_utc_and_nothing_of_the_name_but_a_known_ending() -> None:
    """File names hold people's names and paths; neither may reach the object store's keys."""
    late = datetime(2026, 3, 2, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert (
        object_key("0b9d-1", received_at=late, name="Müller & Söhne.csv") == "uploads/2026/03/03/0b9d-1.csv"
    )
    morning = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert object_key("0b9d", received_at=morning, name="../../etc/passwd") == "uploads/2026/03/02/0b9d.bin"
    assert object_key("0b9d", received_at=morning) == "uploads/2026/03/02/0b9d.bin"


def test_the_same_bytes_with_other_answers_are_another_upload() -> None:
    """Sending a file again with a corrected mapping must not be answered with the earlier, wrong reading."""
    digest = bytes(32)
    plain = content_key(digest, answers=Answers())
    mapped = content_key(digest, answers=Answers(columns={"iban": 1, "name": 2}))
    assert plain == content_key(digest, answers=Answers(columns={}))
    assert mapped == content_key(digest, answers=Answers(columns={"name": 2, "iban": 1}))
    assert len({plain, mapped, content_key(bytes([1] * 32), answers=Answers())}) == 3


def _planned(text: str) -> tuple[io.BytesIO, Plan]:
    file = io.BytesIO(text.encode())
    decided = plan(file, name="debtors.csv")
    assert isinstance(decided, Plan)
    return file, decided


def test_a_report_says_what_to_do_beside_the_columns_as_they_came() -> None:
    """This file is what people correct and send back; a cell moved or a note missing sends them searching."""
    file, decided = _planned("Name;IBAN;Betrag;Notiz\n;DE89370400440532013001;=2+3;-x\n")
    refused = next(read(rows(file, plan=decided), plan=decided, today=TODAY))
    assert isinstance(refused, Refused)
    assert report_header(decided) == ["Name", "IBAN", "Betrag", "Notiz", *REPORT_COLUMNS]
    assert report_row(refused.row, refused.cells, plan=decided, problems=refused.problems) == [
        "",
        "DE89370400440532013001",
        "'=2+3",
        "'-x",
        "2",
        "error",
        "IBAN; Name; Betrag",
        "iban_invalid; name_missing; amount_unreadable",
        (
            "Its check digits do not fit, so at least one character is wrong; ask the account holder for it. "
            "There is no name; add the account holder's. “=2+3” is not an amount."
        ),
    ]


def test_a_report_names_the_verdict_of_a_row_excluded() -> None:
    """A right row that was excluded needs its cause as much as a wrong one."""
    _, decided = _planned("Name;IBAN;Betrag\nA B;DE89370400440532013000;1,00\n")
    verdict = Verdict("blacklisted", "The account is on hold: MD06.")
    line = report_row(2, ["A B", "DE89370400440532013000"], plan=decided, reasons=[verdict])
    assert line == [
        "A B",
        "DE89370400440532013000",
        "",
        "2",
        "excluded",
        "",
        "blacklisted",
        "The account is on hold: MD06.",
    ]


def test_a_corrected_report_comes_back_as_it_went() -> None:
    """The round trip of the report: phones, hyphened names and formulas neutralised on the way out return unchanged."""
    file, decided = _planned(
        "Name;IBAN;Betrag;Telefon;Referenz\n-Meier;DE89370400440532013001;1,00;+49 30 12;'=x\n"
    )
    refused = next(read(rows(file, plan=decided), plan=decided, today=TODAY))
    assert isinstance(refused, Refused)
    sheet = io.StringIO()
    lines = [report_header(decided), report_row(2, refused.cells, plan=decided, problems=refused.problems)]
    csv.writer(sheet, delimiter=";").writerows(lines)
    again, corrected = _planned(sheet.getvalue().replace("DE89370400440532013001", "DE89370400440532013000"))
    assert dict(corrected.fields) == dict(decided.fields)
    debtor = next(read(rows(again, plan=corrected), plan=corrected, today=TODAY))
    assert isinstance(debtor, Debtor)
    assert (debtor.name, debtor.phone, debtor.reference) == ("-Meier", "+49 30 12", "=x")
