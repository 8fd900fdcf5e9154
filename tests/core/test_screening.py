import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.screening import RULES, Facts, Policy, Verdict, duplicate_of, duplicates, judge

EVERYTHING = Facts(
    duplicate_of=1_234,
    listed="block",
    listed_cause="AC04: the account is closed.",
    chargebacked=True,
    collected_days_ago=1,
    attempted_days_ago=0,
    attempted_state="pending",
    name_listed=True,
    email_listed=True,
)


def test_the_rules_apply_in_the_promised_order() -> None:
    """The first rule decides; people count excluded rows by it, so the order is part of the figures."""
    order = [
        "duplicate_in_file",
        "blacklisted",
        "chargebacked_before",
        "already_collected",
        "recently_attempted",
        "blacklisted_name",
        "blacklisted_email",
    ]
    assert list(RULES) == order
    assert list(Policy().rules) == order
    seen = []
    for first in range(len(order)):
        verdict = judge(EVERYTHING, policy=Policy(rules=tuple(order[first:])))
        assert verdict is not None
        seen.append(verdict.rule)
    assert seen == order


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (
            Facts(duplicate_of=1_234),
            Verdict("duplicate_in_file", "It is the same debit as row 1,234 of this file."),
        ),
        (
            Facts(listed="block", listed_cause="AC04: the account is closed."),
            Verdict("blacklisted", "The account is blocked: AC04: the account is closed."),
        ),
        (Facts(listed="hold"), Verdict("blacklisted", "The account is on hold: no reason is recorded.")),
        (
            Facts(chargebacked=True),
            Verdict("chargebacked_before", "An earlier debit from this account was charged back."),
        ),
        (
            Facts(collected_days_ago=400),
            Verdict("already_collected", "The same debit was collected 400 days ago through another upload."),
        ),
        (
            Facts(attempted_days_ago=0, attempted_state="pending"),
            Verdict(
                "recently_attempted",
                "A debit from this account was tried today (pending); the window is 30 days.",
            ),
        ),
        (
            Facts(attempted_days_ago=1),
            Verdict(
                "recently_attempted", "A debit from this account was tried yesterday; the window is 30 days."
            ),
        ),
        (Facts(name_listed=True), Verdict("blacklisted_name", "The name is on the blacklist.")),
        (Facts(email_listed=True), Verdict("blacklisted_email", "The e-mail address is on the blacklist.")),
        (Facts(), None),
    ],
)
def test_each_rule_says_why(facts: Facts, verdict: Verdict | None) -> None:
    """A row left out without a cause cannot be argued with by whoever sent it."""
    assert judge(facts) == verdict


def test_day_thirty_still_counts_and_the_window_can_be_moved() -> None:
    """One day too few debits somebody twice within the notice period; the installation moving here counted it in."""
    assert judge(Facts(attempted_days_ago=30)) is not None
    assert judge(Facts(attempted_days_ago=31)) is None
    assert judge(Facts(attempted_days_ago=8), policy=Policy(window_days=7)) is None
    assert judge(Facts(attempted_days_ago=7), policy=Policy(window_days=7)) is not None


def test_a_rule_nobody_knows_is_refused_at_once() -> None:
    """A misspelt rule in a configuration must not silently screen nothing."""
    with pytest.raises(InvalidRequest, match="there is no rule 'blaklisted'"):
        Policy(rules=("blaklisted",))


rows = st.lists(
    st.tuples(st.sampled_from(["DE1", "DE2"]), st.sampled_from([None, "A", "B", "C"])), max_size=12
).map(lambda pairs: [(number, *pair) for number, pair in enumerate(pairs, 2)])


@given(rows)
def test_what_is_kept_holds_no_pair_of_the_same_debit(listed: list[tuple[int, str, str | None]]) -> None:
    """Two kept rows that are one debit collect it twice; a dropped one that was its own is never collected."""
    dropped = duplicates(listed)
    by_row = {row: (iban, reference) for row, iban, reference in listed}
    kept = [row for row in by_row if row not in dropped]
    for row in kept:
        for other in kept:
            if other < row and by_row[row][0] == by_row[other][0]:
                references = {by_row[row][1], by_row[other][1]}
                assert None not in references
                assert len(references) == 2
    for row, original in dropped.items():
        assert original in kept
        assert original < row
        assert by_row[row][0] == by_row[original][0]


@given(rows)
def test_the_strict_policy_keeps_one_row_of_each_iban(listed: list[tuple[int, str, str | None]]) -> None:
    """Who chose it expects never two debits from one account, whatever the references say."""
    dropped = duplicates(listed, same="iban")
    assert len(listed) - len(dropped) == len({iban for _, iban, _ in listed})


@given(rows)
def test_the_minima_a_database_gives_lead_to_the_same_answer(
    listed: list[tuple[int, str, str | None]],
) -> None:
    """Big files are screened in SQL by three window functions; they must agree with the list in memory."""
    found = {}
    for row, iban, reference in listed:
        same_iban = [(r, ref) for r, i, ref in listed if i == iban]
        first_row, first_reference = min(same_iban, key=lambda pair: pair[0])
        earlier = duplicate_of(
            row,
            reference=reference,
            first_row=first_row,
            first_reference=first_reference,
            first_row_same_reference=min(r for r, ref in same_iban if ref == reference),
        )
        if earlier is not None:
            found[row] = earlier
    assert found == duplicates(listed)
