from datetime import date

import msgspec
import pytest
from tether_core import vop
from tether_core.billing.eligibility import VERDICTS, Candidate, judge, verdicts
from tether_core.billing.planning import plan
from tether_core.billing.refunded_before import RefundedDebit
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import ActiveEntry
from tether_core.payments.matches import Elsewhere, Match
from tether_core.screening import verdicts as verdicts_rules

GERMAN, SWISS, TURKISH = "DE89370400440532013000", "CH9300762011623852957", "TR330006100519786457841326"
ANNA = Candidate(debtor_id=7, iban=GERMAN, amount_minor=1000, currency="EUR", has_name=True)
OPTIONS = RunOptions()
REFUND = RefundedDebit(71, "refunded", "once", same_debtor=True, same_upload=True, days_ago=3)
MATCH = Match("already_collected", date(2026, 3, 1), 3, "collected", 7)
REPEATED = verdicts_rules.Verdict("duplicate_in_file", "It is the same debit as row 2 of this file.")
BEFORE = verdicts_rules.Verdict("chargebacked_before", "An earlier debit from this account was charged back.")
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
        ("blacklisted_name", {"name_listed": ActiveEntry("hold", "MANUAL"), "again": True}, OPTIONS),
        (
            "blacklisted_email",
            {"email_listed": ActiveEntry("block", "MANUAL"), "item_state": "approved"},
            OPTIONS,
        ),
        ("blacklisted_bank", {"bank_listed": ActiveEntry("hold", "RETURNS"), "again": True}, OPTIONS),
        ("mandate_ended", {"mandate_ended": "cancelled", "again": True}, OPTIONS),
        ("mandate_ended", {"mandate_ended": "revoked", "item_state": "approved"}, OPTIONS),
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
        ("billable", {"notified_days_ago": 14, "announced_in_days": 0}, RunOptions(notice_days=14)),
        ("not_notified", {"notified_days_ago": 20, "announced_in_days": 1}, RunOptions(notice_days=14)),
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
        ("mandate_used", {"mandate_used": True}, OPTIONS),
        ("collected", {"mandate_used": True, "item_state": "approved"}, OPTIONS),
        ("billable", {"mandate_used": True, "again": True}, OPTIONS),
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


def test_all_reasons_are_reported() -> None:
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


def test_nothing_personal_is_shown_by_chance() -> None:
    """Candidates end up in error reports."""
    assert GERMAN not in repr(ANNA)
    assert set(VERDICTS) >= {"blocked", "held"}
