import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tether_core.billing.eligibility import Candidate
from tether_core.billing.planning import Totals, plan
from tether_core.billing.run_options import RunOptions


def many(count: int, amount_minor: int = 1000) -> list[Candidate]:
    """Debtors with an account each."""
    return [
        Candidate(debtor_id=n, iban=_iban(n), amount_minor=amount_minor, currency="EUR", has_name=True)
        for n in range(1, count + 1)
    ]


def _iban(number: int) -> str:
    account = f"{number:018d}"
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def test_caps_count_what_was_planned_before() -> None:
    """A run is planned in chunks; a cap that forgets the last one is exceeded by as many chunks as there are."""
    first = plan(many(3), options=RunOptions(count_max=4), so_far=Totals())
    second = plan(many(3), options=RunOptions(count_max=4), so_far=first.so_far)
    assert [choice.verdict.code for choice in second.choices] == ["billable", "count_cap", "count_cap"]
    assert second.so_far == Totals(4, 4000)
    money = plan([*many(2), *many(1, amount_minor=500)], options=RunOptions(amount_max_minor=1500))
    # The second does not fit, the smaller third does.
    assert [choice.verdict.code for choice in money.choices] == ["billable", "amount_cap", "billable"]
    assert money.so_far == Totals(2, 1500)


def test_two_debtors_with_one_account_share_its_lifetime_cap() -> None:
    """A family that pays for two children would be debited beyond what was agreed, because both were planned at once."""
    first = many(1)[0]
    both = [first, msgspec.structs.replace(first, debtor_id=8)]
    decided = plan(both, options=RunOptions(lifetime_max_minor=1500))
    assert [choice.verdict.code for choice in decided.choices] == ["billable", "lifetime_cap"]


def test_canaries_are_a_share_spread_over_all_and_the_same_each_time() -> None:
    """The first lines of a sorted file stand for nobody, and canaries drawn anew would grow with every restart."""
    options = RunOptions(canary_share=0.1)
    chosen = [
        choice.candidate.debtor_id for choice in plan(many(2_000), options=options).choices if choice.canary
    ]
    assert 150 <= len(chosen) <= 250
    assert max(chosen) > 1_900
    halves = [
        choice.candidate.debtor_id
        for some in (many(2_000)[:900], many(2_000)[900:])
        for choice in plan(some, options=options, so_far=Totals(1, 1)).choices
        if choice.canary
    ]
    assert set(halves) - {1} == set(chosen) - {1}
    # Where there are canaries at all, there is one: a run of five debtors is tried with one of them.
    assert sum(choice.canary for choice in plan(many(5), options=RunOptions(canary_share=0.001)).choices) == 1
    assert not any(choice.canary for choice in plan(many(50), options=RunOptions()).choices)
    assert all(choice.canary for choice in plan(many(50), options=RunOptions(canary_share=1.0)).choices)


@given(
    amounts=st.lists(st.integers(1, 5_000), max_size=30),
    count_max=st.none() | st.integers(1, 10),
    amount_max_minor=st.none() | st.integers(1, 20_000),
)
def test_totals_are_what_was_chosen_and_within_the_caps(
    amounts: list[int], count_max: int | None, amount_max_minor: int | None
) -> None:
    """The sum shown to a person is the sum that leaves the debtors' accounts."""
    candidates = [
        msgspec.structs.replace(item, amount_minor=amount)
        for item, amount in zip(many(30), amounts, strict=False)
    ]
    decided = plan(candidates, options=RunOptions(count_max=count_max, amount_max_minor=amount_max_minor))
    chosen = [choice.candidate.amount_minor for choice in decided.choices if choice.verdict.billable]
    assert decided.so_far == Totals(len(chosen), sum(chosen))
    assert len(decided.choices) == len(candidates)
    assert len(chosen) <= (count_max or 30)
    assert sum(chosen) <= (amount_max_minor or 10**9)
