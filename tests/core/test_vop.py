from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.iban import SEPA
from tether_core.testing import ibans, spellings
from tether_core.vop import (
    CHECKS,
    RESULTS,
    TRANSITIONS,
    Answers,
    CallLimits,
    CheckState,
    CheckStep,
    granted,
    granted_again_at,
    meets,
    plausible_name,
    reachable,
    same_name,
    scored,
)

GOOD = Answers(iban="yes", bank="yes", debit="yes", country="yes", name="yes")
sure = st.sampled_from(["yes", "no", "unanswered"])
answers = st.builds(
    Answers,
    iban=sure,
    bank=sure,
    debit=sure,
    country=sure,
    name=st.sampled_from(["yes", "close", "no", "unanswered"]),
    name_percent=st.integers(0, 100),
)


def test_the_table_is_worth_a_hundred() -> None:
    """Thresholds are percentages; a table that adds up to something else shifts all of them."""
    assert sum(CHECKS.values()) == 100
    assert set(CHECKS) <= set(Answers.__struct_fields__)
    assert [threshold for threshold, _ in RESULTS] == sorted((t for t, _ in RESULTS), reverse=True)


@pytest.mark.parametrize(
    ("changes", "score", "result"),
    [
        ({}, 100, "verified"),
        ({"name": "close", "name_percent": 70}, 95, "verified"),
        ({"debit": "no"}, 75, "likely_verified"),
        ({"bank": "no", "debit": "no"}, 50, "inconclusive"),
        ({"bank": "no", "debit": "no", "country": "no"}, 35, "mismatch"),
        ({"name": "no"}, 85, "mismatch"),
        ({"iban": "no"}, 80, "rejected"),
    ],
)
def test_scores_by_the_table(changes: dict[str, str | int], score: int, result: str) -> None:
    """Billing decides by these numbers; a shifted one lets bad accounts through or keeps good ones out."""
    response = scored(msgspec.structs.replace(GOOD, **changes))
    assert (response.score, response.result) == (score, result)


@given(answers, st.sampled_from(sorted(CHECKS)))
def test_no_answer_never_costs_points(given_answers: Answers, check: str) -> None:
    """A provider's outage once made 35 points of everybody, for ever: a mismatch that was none."""
    denied = scored(msgspec.structs.replace(given_answers, **{check: "no"}))
    unasked = scored(msgspec.structs.replace(given_answers, **{check: "unanswered"}))
    assert unasked.score >= denied.score or unasked.answered == 0
    assert unasked.answered == denied.answered - CHECKS[check]


@given(answers)
def test_scores_stay_in_their_bounds(given_answers: Answers) -> None:
    """A score above 100 or a verified that nobody asked about would be believed."""
    score = scored(given_answers)
    assert 0 <= score.score <= 100
    assert 0 <= score.answered <= 100
    if score.result == "verified":
        assert score.answered >= 60
        assert "no" not in {given_answers.iban, given_answers.name}


def test_nothing_answered_is_no_verdict() -> None:
    """A debtor whose provider was away is neither good nor bad."""
    score = scored(Answers())
    assert (score.score, score.answered, score.result) == (0, 0, "inconclusive")


@given(answers, st.integers(0, 100))
def test_what_does_not_fit_is_never_billed(given_answers: Answers, score_min: int) -> None:
    """A name that belongs to somebody else must stop a debit, however good the rest."""
    score = scored(given_answers)
    if "no" in {given_answers.iban, given_answers.name}:
        assert not meets(score, score_min=score_min)
    elif score.answered:
        assert meets(score, score_min=score_min) == (
            score.result not in {"mismatch", "rejected"} and score.score >= score_min
        )


def test_a_percentage_is_one() -> None:
    """A provider that answers 0.93 or 930 must be noticed and not scored."""
    with pytest.raises(InvalidRequest):
        scored(Answers(name="close", name_percent=930))


@given(ibans(sorted(SEPA)).flatmap(spellings))
def test_accounts_in_reach(iban: str) -> None:
    """Spelling must not decide whether an account is checked."""
    assert reachable(iban) == ("yes", "yes")


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text: str) -> None:
    """One strange row would stop the checks of a whole upload."""
    assert reachable(text)[0] in {"yes", "no"}
    assert plausible_name(text) in {"unanswered", "no"}


@pytest.mark.parametrize(
    "name",
    [
        "Anna Schmidt",
        "Ng",
        "Li",
        "Ọ̀ṣun",
        "Ωmega Žižek",
        "3 Köche GmbH",
        "O'Neil",
        "Test AG Zürich",
        "Kunde Huber",
        "王小明",
        "Müller",
    ],
)
def test_names_of_people_and_companies_pass(name: str) -> None:
    """The form of a name proves nothing: a debtor refused by it would never pay and not know the reason."""
    assert plausible_name(name) == "unanswered"


@pytest.mark.parametrize(
    "name", ["", " ", "-", "n/a", "N.A.", "test", "TEST TEST", "xxx", "....", "4711", "X" * 5, "ab " * 40]
)
def test_what_cannot_be_a_name(name: str) -> None:
    """A filled-in placeholder means that nobody knows whose account is debited."""
    assert plausible_name(name) == "no"


def test_the_transitions_are_closed() -> None:
    """A state without a row would raise KeyError; one without a way to "checked" would never be answered."""
    states = set(get_args(CheckState))
    assert set(TRANSITIONS) == states
    assert {after for steps in TRANSITIONS.values() for after in steps.values()} == states
    assert {step for steps in TRANSITIONS.values() for step in steps} == set(get_args(CheckStep))


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.none() | st.integers(1, 60),
    st.none() | st.integers(1, 60),
)
def test_no_budget_is_ever_exceeded_by_what_is_granted(
    wanted: int, day: int, earlier: int, day_max: int | None, month_max: int | None
) -> None:
    """A service charges for each call, and nobody reviews a bill of ten thousand lines."""
    limits = CallLimits(day_max, month_max)
    count = granted(wanted, day_calls=day, month_calls=day + earlier, limits=limits)
    assert 0 <= count <= wanted
    assert count == 0 or day_max is None or day + count <= day_max
    assert count == 0 or month_max is None or day + earlier + count <= month_max
    if day_max is None and month_max is None:
        assert count == wanted


@given(st.integers(0, 2_000_000))
def test_what_is_postponed_is_tried_when_the_budget_begins_anew(minutes: int) -> None:
    """A check that is tried too early is postponed again each second; one that is tried too late holds up a run."""
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    tomorrow = granted_again_at(now, month_calls=1, limits=CallLimits(1, 2))
    assert now < tomorrow <= now + timedelta(days=1)
    next_month = granted_again_at(now, month_calls=2, limits=CallLimits(1, 2))
    assert (next_month.day, next_month.month != now.month) == (1, True)
    assert now < next_month <= now + timedelta(days=31)


@given(st.text(max_size=30))
def test_a_name_is_the_same_as_itself_in_any_order(name: str) -> None:
    """Lists write "Miller, Zoë" in one month and "Zoë Miller" in the next."""
    assert same_name(name, ", ".join(reversed(name.split())))
