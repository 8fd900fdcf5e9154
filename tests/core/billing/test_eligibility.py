from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import vop
from tether_core.billing.eligibility import VERDICTS, Candidate, RunOptions, Totals, judge, plan, verdicts
from tether_core.billing.refunded_before import Refund
from tether_core.blacklist import Listing
from tether_core.errors import InvalidRequest
from tether_core.payments.matches import Elsewhere, Match
from tether_core.screening import verdicts as verdicts_rules

GERMAN, SWISS, TURKISH = "DE89370400440532013000", "CH9300762011623852957", "TR330006100519786457841326"
ANNA = Candidate(debtor_id=7, iban=GERMAN, amount_minor=1000, currency="EUR", has_name=True)
OPTIONS = RunOptions()
REFUND = Refund(71, "refunded", "once", same_debtor=True, same_upload=True, days_ago=3)
MATCH = Match("already_collected", date(2026, 3, 1), 3, "collected", 7)
REPEATED = verdicts_rules.Verdict("duplicate_in_file", "It is the same debit as row 2 of this file.")
BEFORE = verdicts_rules.Verdict(
    "chargebacked_before", "An imported debit from this account was charged back."
)
LISTED = verdicts_rules.Verdict("blacklisted", "The account is on hold: MD06.")
LATELY = verdicts_rules.Verdict("collected_lately", "A debit from this account was collected on 2026-03-01.")
GOOD, POOR = vop.Score(90, 85, "verified"), vop.Score(40, 60, "inconclusive")


def anna(**facts: object) -> Candidate:
    """Anna, of whom something else is known."""
    return msgspec.structs.replace(ANNA, **facts)


@pytest.mark.parametrize(
    ("code", "facts", "options"),
    [
        ("billable", {}, OPTIONS),
        ("screened_out", {"reasons": (REPEATED,)}, OPTIONS),
        ("screened_out", {"reasons": (BEFORE,), "charged_back_for": ("AM04",)}, OPTIONS),
        ("billable", {"reasons": (BEFORE,)}, OPTIONS),  # the chargeback was won back, or forgiven
        ("billable", {"reasons": (LISTED,)}, OPTIONS),  # lifted since the file was read
        ("screened_out", {"reasons": (LATELY,)}, OPTIONS),
        ("billable", {"reasons": (LATELY,), "taken": True}, OPTIONS),
        ("not_an_iban", {"iban": "DE89370400440532013001"}, OPTIONS),
        ("no_name", {"has_name": False}, OPTIONS),
        ("other_currency", {"currency": "CHF"}, OPTIONS),
        ("blocked", {"listed": "block", "listed_reason": "AC04"}, OPTIONS),
        ("held", {"listed": "hold", "listed_reason": "MD06"}, OPTIONS),
        ("blacklisted_name", {"name_listed": Listing("hold", "MANUAL"), "again": True}, OPTIONS),
        (
            "blacklisted_email",
            {"email_listed": Listing("block", "MANUAL"), "item_state": "approved"},
            OPTIONS,
        ),
        ("collected", {"item_state": "approved"}, OPTIONS),
        ("under_way", {"item_state": "pending"}, OPTIONS),
        ("under_way", {"item_state": "unknown"}, OPTIONS),
        ("collected", {"elsewhere": Elsewhere(collected=MATCH)}, OPTIONS),
        ("collected", {"elsewhere": Elsewhere(collected=MATCH), "again": True}, OPTIONS),
        ("under_way", {"elsewhere": Elsewhere(under_way=MATCH)}, OPTIONS),
        ("returned", {"elsewhere": Elsewhere(returned=MATCH)}, OPTIONS),
        ("waiting_elsewhere", {"elsewhere": Elsewhere(waiting=MATCH)}, OPTIONS),
        ("repeated", {"elsewhere": Elsewhere(repeated=MATCH)}, OPTIONS),
        ("billable", {"elsewhere": Elsewhere(waiting=MATCH, repeated=MATCH), "again": True}, OPTIONS),
        ("billable", {"item_state": None, "tries": 2}, OPTIONS),  # refused before; a person runs it again
        ("refunded_before", {"refunds": (REFUND,), "item_returned": True}, OPTIONS),
        ("refunded_before", {"refunds": (REFUND,), "again": True}, OPTIONS),
        ("billable", {"refunds": (REFUND,), "set_aside": frozenset({"refunded_before"})}, OPTIONS),
        ("billable", {"refunds": (REFUND,)}, RunOptions(due_item="2026-04")),
        ("collected", {"refunds": (REFUND,), "item_state": "approved"}, OPTIONS),
        ("returned", {"item_returned": True, "charged_back_for": ("AM04",)}, OPTIONS),
        ("scheduled", {"schedule_id": 4}, OPTIONS),
        ("billable", {"schedule_id": 4, "again": True}, OPTIONS),
        ("not_notified", {}, RunOptions(notice_days=14)),
        ("not_notified", {"notified_days_ago": 13}, RunOptions(notice_days=14)),
        ("billable", {"notified_days_ago": 14}, RunOptions(notice_days=14)),
        ("billable", {"again": True}, RunOptions(notice_days=14)),
        ("charged_back", {"charged_back_for": ("MD06",)}, OPTIONS),
        ("charged_back", {"charged_back_for": ("AM04", "")}, OPTIONS),
        (
            "billable",
            {"charged_back_for": ("AM04", "MS03", "XT33")},
            OPTIONS,
        ),  # want of money says nothing of the next item
        ("billable", {"charged_back_for": ("MD01",)}, RunOptions(after_chargeback=True)),
        ("billable", {"charged_back_for": ("MD01",), "set_aside": frozenset({"charged_back"})}, OPTIONS),
        (
            "billable",  # the row was excluded for that when its file was read
            {
                "reasons": (BEFORE,),
                "charged_back_for": ("MD01",),
                "set_aside": frozenset({"charged_back"}),
            },
            OPTIONS,
        ),
        (
            "screened_out",
            {
                "reasons": (REPEATED, BEFORE),
                "charged_back_for": ("MD01",),
                "set_aside": frozenset({"charged_back"}),
            },
            OPTIONS,
        ),
        ("tried_enough", {"tries": 3}, OPTIONS),
        ("billable", {"tries": 3}, RunOptions(tries_max=4)),
        ("recently_tried", {"elsewhere": Elsewhere(tried_days_ago=6)}, OPTIONS),
        ("billable", {"elsewhere": Elsewhere(tried_days_ago=7)}, OPTIONS),
        ("billable", {"elsewhere": Elsewhere(tried_days_ago=0)}, RunOptions(recent_days=0)),
        ("not_reachable", {"iban": TURKISH}, OPTIONS),
        ("no_address", {"iban": SWISS}, OPTIONS),
        ("billable", {"iban": SWISS, "has_address": True}, OPTIONS),
        ("too_small", {"amount_minor": 9}, OPTIONS),
        ("too_large", {}, RunOptions(debit_max_minor=999)),
        ("billable", {}, RunOptions(debit_max_minor=1000)),
        ("lifetime_cap", {"paid_minor": 1}, RunOptions(lifetime_max_minor=1000)),
        ("billable", {}, RunOptions(lifetime_max_minor=1000)),
        ("unchecked", {}, RunOptions(vop_score_min=0)),
        ("check_failed", {"check": POOR}, RunOptions(vop_score_min=60)),
        ("check_failed", {"check": vop.Score(90, 60, "mismatch")}, RunOptions(vop_score_min=60)),
        ("billable", {"check": GOOD}, RunOptions(vop_score_min=60)),
        ("billable", {"check": POOR}, OPTIONS),
    ],
)
def test_each_rule(code: str, facts: dict[str, object], options: RunOptions) -> None:
    """A rule that does not hit debits somebody who must not be; one that hits too much leaves money uncollected."""
    verdict = judge(anna(**facts), options=options)
    assert verdict.code == code
    assert verdict.billable == (code == "billable")
    # Each verdict is a sentence with the reason, without a whole account number.
    assert verdict.text.endswith(".") != verdict.billable
    assert not any(account in verdict.text for account in (GERMAN, SWISS, TURKISH))


def test_the_first_rule_decides() -> None:
    """The order decides which reason is shown: a blocked account must not be shown as one that was tried too recently."""
    worst = anna(
        reasons=(REPEATED,),
        has_name=False,
        currency="CHF",
        listed="block",
        item_state="approved",
        item_returned=True,
        charged_back_for=("MD01",),
        tries=9,
        elsewhere=Elsewhere(tried_days_ago=0),
        amount_minor=1,
        iban=TURKISH,
    )
    better = [
        ("screened_out", {"reasons": ()}),
        ("no_name", {"has_name": True}),
        ("other_currency", {"currency": "EUR"}),
        ("blocked", {"listed": "hold"}),
        ("held", {"listed": None}),
        ("collected", {"item_state": "unknown"}),
        ("under_way", {"item_state": None}),
        ("returned", {"item_returned": False}),
        ("charged_back", {"charged_back_for": ()}),
        ("tried_enough", {"tries": 0}),
        ("recently_tried", {"elsewhere": Elsewhere()}),
        ("not_reachable", {"iban": SWISS}),
        ("no_address", {"has_address": True}),
        ("too_small", {"amount_minor": 1000}),
    ]
    for code, facts in better:
        assert judge(worst, options=OPTIONS).code == code
        worst = msgspec.structs.replace(worst, **facts)  # type: ignore[arg-type]
    assert judge(worst, options=OPTIONS).billable


def test_all_reasons_are_told() -> None:
    """A person who lifts the block would only then see that the item was collected."""
    candidate = anna(listed="block", item_state="approved", amount_minor=9)
    assert [verdict.code for verdict in verdicts(candidate, options=OPTIONS)] == [
        "blocked",
        "collected",
        "too_small",
    ]
    (choice,) = plan([candidate], options=OPTIONS).choices
    assert choice.verdict == choice.reasons[0]
    assert [reason.code for reason in choice.reasons] == ["blocked", "collected", "too_small"]


def test_a_try_after_a_return_is_not_stopped_by_what_it_follows_from() -> None:
    """Else nothing is ever tried again; and were it stopped by nothing, a blocked account would be debited."""
    again = anna(
        again=True,
        item_returned=True,
        charged_back_for=("AM04",),
        tries=9,
        elsewhere=Elsewhere(tried_days_ago=0),
        reasons=(REPEATED,),
    )
    assert judge(again, options=OPTIONS).billable
    for facts, code in (
        ({"listed": "block"}, "blocked"),
        ({"listed": "hold"}, "held"),
        ({"item_state": "pending"}, "under_way"),
        ({"item_state": "approved"}, "collected"),  # won back meanwhile
        ({"has_name": False}, "no_name"),
    ):
        assert judge(msgspec.structs.replace(again, **facts), options=OPTIONS).code == code


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
    both = [ANNA, anna(debtor_id=8)]
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


@pytest.mark.parametrize(
    "options",
    [
        {"due_item": "März"},
        {"canary_share": 1.5},
        {"canary_share": -0.1},
        {"remote_ip": "localhost"},
    ],
)
def test_impossible_terms_are_refused(options: dict[str, object]) -> None:
    """Terms that mean nothing must not begin a run."""
    with pytest.raises(InvalidRequest):
        RunOptions(**options)  # type: ignore[arg-type]


def test_terms_survive_storage() -> None:
    """A run is sent by other processes than the one that took its terms."""
    options = RunOptions(
        due_item="2026-03", count_max=5, canary_share=0.2, remote_ip="192.0.2.1", vop_score_min=60
    )
    assert msgspec.json.decode(msgspec.json.encode(options), type=RunOptions) == options


def test_nothing_personal_is_shown_by_chance() -> None:
    """Candidates end up in error reports."""
    assert GERMAN not in repr(ANNA)
    assert set(VERDICTS) >= {"blocked", "held"}
