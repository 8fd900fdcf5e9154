"""Figures: no rate leaves 0 to 1, rates of reasons add up, currencies never meet, and exposure only runs out."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tether_core.figures import (
    AGES_DAYS,
    PRICE_BANDS,
    OpenMoney,
    ReturnedMoney,
    Sums,
    Total,
    ageing,
    band,
    exposed_since,
    exposure_by_day,
    exposure_now,
    figures,
    return_rate,
)
from tether_core.payments.returns import settles_on
from tether_core.target_calendar import exposure

TODAY = date(2026, 3, 9)
counts = st.integers(0, 10_000)


@st.composite
def sums(draw: st.DrawFn) -> Sums:
    """Sums of a group as debits can make them: excluded within returned within collected."""
    excluded, other, kept, refunded = (draw(counts) for _ in range(4))
    each = draw(st.integers(1, 99_999))
    collected = excluded + other + kept
    return Sums(
        draw(st.sampled_from("abc")),
        draw(st.sampled_from(["EUR", "CHF"])),
        *(
            Total(count, count * each)
            for count in (collected, excluded + other, excluded, min(refunded, collected))
        ),
    )


@given(st.lists(sums(), max_size=8))
def test_rates_stay_between_nothing_and_all(groups: list[Sums]) -> None:
    """A rate above 1 is what the old system showed, and nobody believed its other numbers afterwards."""
    for some, figure in zip(groups, figures(groups, by="bank"), strict=True):
        assert figure.return_rate is None or 0 <= figure.return_rate <= 1
        assert figure.return_rate_amount is None or 0 <= figure.return_rate_amount <= 1
        assert (figure.return_rate is None) == (some.collected.count == some.excluded.count)
        assert figure.net_minor <= figure.collected.amount_minor
    assert all(figure.return_rate is None for figure in figures(groups, by="bank", basis="cash"))


def test_by_reason_each_is_compared_with_all_that_was_collected_in_its_currency() -> None:
    """Else each reason had a rate of its own that says nothing, and francs diluted the rates of euros."""
    groups = [
        Sums("", "EUR", collected=Total(110, 11_000)),
        Sums("AC04", "EUR", returned=Total(10, 1_000)),
        Sums("MD06", "EUR", returned=Total(15, 1_500)),
        Sums("XT33", "EUR", returned=Total(10, 1_000), excluded=Total(10, 1_000)),
        Sums("", "CHF", collected=Total(10, 1_000)),
        Sums("AC04", "CHF", returned=Total(10, 1_000)),
    ]
    found = {
        (figure.key, figure.currency): figure.return_rate for figure in figures(groups, by="reason_code")
    }
    assert found["AC04", "EUR"] == 0.1
    assert found["XT33", "EUR"] == 0.0
    assert found["AC04", "CHF"] == 1.0
    whole = return_rate(collected=110, returned=35, excluded=10)
    assert whole is not None
    assert round(sum(rate or 0 for (_, currency), rate in found.items() if currency == "EUR"), 4) == whole


@given(st.integers(0, 10**9))
def test_every_amount_has_one_band(amount: int) -> None:
    """An amount between two bands would be missing from the table of prices."""
    assert band(amount) == max(bound for bound in PRICE_BANDS if bound <= amount)


def test_a_curve_never_shows_an_age_its_upload_has_not_reached() -> None:
    """A young upload would look better than any old one ever did."""
    moved = [
        ReturnedMoney(2, "EUR", 0, 1_000, 0),
        ReturnedMoney(2, "EUR", 400, 0, 1_500),
        ReturnedMoney(1, "EUR", 0, 500, 0),
        ReturnedMoney(1, "CHF", 3, 0, 5),  # nothing was collected in it
    ]
    new, old = ageing(moved, submitted_to={1: TODAY - timedelta(days=900), 2: TODAY}, today=TODAY)
    assert [(point.age_days, point.net_share) for point in new.points] == [(0, 1.0)]
    assert new.net_minor == -500
    assert [point.age_days for point in old.points] == [*AGES_DAYS, 900]
    assert old.points[-1].net_share == 1.0


@given(
    st.lists(
        st.builds(
            OpenMoney,
            st.dates(TODAY - timedelta(days=440), TODAY),
            st.sampled_from(["EUR", "CHF"]),
            st.integers(0, 2),
            st.just(1),
            st.integers(1, 9_999),
        ),
        max_size=12,
    )
)
def test_exposure_is_that_of_each_debit_and_runs_out(money: list[OpenMoney]) -> None:
    """Money counted as safe a day early may be paid out and then asked back."""
    for currency in ("EUR", "CHF"):
        mine = [some for some in money if some.currency == currency]
        days = [day for day in exposure_by_day(money, today=TODAY, days=450) if day.currency == currency]
        for day in days[::37]:
            limits = [(some, exposure(settles_on(some.submitted_on))) for some in mine]
            assert day.returnable_minor == sum(s.amount_minor for s, at in limits if day.day <= at.return_on)
            assert day.unauthorised_minor == sum(s.amount_minor for s, at in limits if day.day < at.final_on)
        assert all(
            later.unauthorised_minor <= earlier.unauthorised_minor
            and later.refundable_minor <= earlier.refundable_minor
            for earlier, later in itertools.pairwise(days)
        )
        assert not days or days[-1].unauthorised_minor == 0
        now = [row for row in exposure_now(money, today=TODAY, by_upload=True) if row.currency == currency]
        if days:
            assert sum(row.unauthorised.amount_minor for row in now) == days[0].unauthorised_minor
            (whole,) = (
                row for row in exposure_now(money, today=TODAY, by_upload=False) if row.currency == currency
            )
            assert whole.unauthorised.amount_minor == days[0].unauthorised_minor
    early = exposed_since(TODAY) - timedelta(days=1)
    assert exposure(settles_on(early)).final_on <= TODAY
