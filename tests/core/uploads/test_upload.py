import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import IllegalStep
from tether_core.uploads.upload import TRANSITIONS, RowCounts, step, summary


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
