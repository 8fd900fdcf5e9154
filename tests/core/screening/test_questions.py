from datetime import UTC, date, datetime

from tether_core.screening.questions import (
    Answered,
    Remembered,
    RepeatGroup,
    days_ago_min,
    decision,
    holds,
    layout_key,
    questions,
)
from tether_core.spreadsheet import Column, Plan

NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
LATELY = RepeatGroup("collected_lately", 2, 2_050, date(2026, 11, 20), "collected", 7)
AGAIN = RepeatGroup("reference_again", 1_200, 1_200_000, date(2026, 11, 3), "collected")
UNCLEAR = RepeatGroup("identity_unclear", 1, 500)


def plan(*headers: str) -> Plan:
    """A file with these headers."""
    columns = tuple(Column(place, header, header.strip().lower()) for place, header in enumerate(headers))
    return Plan(kind="csv", header_row=1, data_row=2, columns=columns)


def test_one_question_for_each_subject_with_counts_days_and_money() -> None:
    """A person decides about a month's money by this sentence; a day or a sum excluded is a wrong answer."""
    first, second = questions([LATELY, AGAIN, UNCLEAR])
    assert first.ask == (
        "1,202 rows over 12,020.50 EUR may have been debited before: 1,200 rows over 12,000.00 EUR with a reference that was "
        "collected on 2026-11-03 by another system; 2 rows over 20.50 EUR whose account was debited on 2026-11-20 through "
        "upload 7. Collect them again?"
    )
    assert (first.code, second.code) == ("collected_before", "identity_unclear")
    assert second.ask.startswith("1 row over 5.00 EUR have the account and the reference of another debit")
    assert questions([]) == ()


def test_many_days_are_summed_up() -> None:
    """A list of a weekly club would fill pages otherwise."""
    groups = [
        RepeatGroup("collected_lately", day, 100, date(2026, 11, day), "collected", 7) for day in range(1, 20)
    ]
    (question,) = questions(groups)
    assert question.ask.count(";") == 6
    assert "91 rows over 13.00 EUR of 13 other days or uploads" in question.ask


def test_a_kept_answer_does_not_take_debits_that_are_more_recent_than_those_it_was_given_for() -> None:
    """Else the list of this morning, sent again at noon, debits a thousand members twice and asks nobody."""
    kept = Remembered("collected_before", "take", 28, "ada", NOW)
    for on, taken in ((date(2026, 11, 7), True), (date(2026, 11, 8), False), (date(2026, 11, 30), False)):
        assert (
            holds(kept, [RepeatGroup("reference_again", 1, 1, on, "collected", 7)], today=NOW.date()) is taken
        )
    waiting = RepeatGroup("collected_lately", 1, 1, date(2026, 10, 1), "waiting", 7)
    assert days_ago_min([AGAIN, waiting], today=NOW.date()) == 0
    assert holds(Remembered("collected_before", "exclude", 28, "ada", NOW), [LATELY], today=NOW.date())


def test_a_decision_says_who_made_it() -> None:
    """Months later somebody asks who let these debits go out twice."""
    result = decision("collected_before", Answered("take", "ada", NOW), [LATELY, AGAIN])
    assert (
        result.why == "1,202 rows over 12,020.50 EUR are taken: ada answered so on 2026-12-01 at 09:30 UTC."
    )
    kept = decision("collected_before", Answered("exclude", "ada", NOW, remembered=True), [LATELY])
    assert kept.why.endswith("ada answered so on 2026-12-01 at 09:30 UTC, for a file of this layout.")


def test_a_layout_is_its_headers_and_how_they_are_read() -> None:
    """An answer about one list must not answer for another one; a blank more in a header must not ask again."""
    assert layout_key(plan("IBAN", "Name")) == layout_key(plan(" iban ", "Name"))
    assert layout_key(plan("IBAN", "Name")) != layout_key(plan("IBAN", "Name", "Amount"))
    assert layout_key(plan("IBAN", "Name")) != layout_key(plan("Name", "IBAN"))
