from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp import codes
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.events import AmountMismatched, AttemptStatusChanged, IbanBlocked, ReasonUnknown
from tether_core.payments import stages
from tether_core.payments.attempt import (
    DISPUTE_STAGES,
    PAYMENT_STAGES,
    REASONS,
    ApplyPolicy,
    Attempt,
    AttemptState,
    Confirm,
    Confirmation,
    Decision,
    blocked_event,
    decide,
    state_of,
)
from tether_core.return_policies.policy import built_in
from tether_core.testing import (
    CREDENTIAL,
    attempt_of,
    attempts,
    deliveries,
    form_body,
    histories,
    ibans,
    notifications,
    statuses,
)

ACCOUNT = CREDENTIAL.account
CONFIRMS: tuple[Confirm, ...] = get_args(Confirm)
BLOCK = set("AC01 AC04 AC06 AG01 MD01 MD07".split())
HOLD = set("MD06 MS02 SL01".split())
ATTEMPT = Attempt(
    id=7,
    account=ACCOUNT,
    transaction_id="tth-7",
    unique_id="44177a21",
    amount_minor=9000,
    currency="EUR",
    iban_fingerprint=b"\x07" * 16,
    iban_masked="DE89**************3000",
)

drawn_and_delivered = histories().flatmap(lambda history: st.tuples(st.just(history), deliveries(history)))
confirmations = st.builds(
    Confirmation,
    statuses() | statuses(known=False),
    st.none() | st.sampled_from(sorted(codes.ERRORS)),
    st.none() | st.sampled_from([*BLOCK, *HOLD, "AM04", "XX99"]),
)
policies = st.builds(
    ApplyPolicy,
    returns=st.frozensets(st.sampled_from([*BLOCK, "AM04", "XX99"])).map(built_in),
    confirm=st.sampled_from(CONFIRMS),
)


def _notification(status: str = "", **fields: str) -> Notification:
    body = form_body({"unique_id": "44177a21", "transaction_id": "tth-7", "status": status, **fields})
    return decode(body, content_type=FORM)


CHARGEBACK = _notification("chargebacked", event="chargeback", reason_code="AC04")
REVERSAL = _notification("chargeback_reversed", event="chargeback_reversal")
SECOND = _notification("second_chargebacked", event="second_chargeback", reason_code="AC04")
RETRIEVAL = _notification("chargebacked", event="retrieval_request")
PAGE = decode(
    form_body({"wpf_unique_id": "p1", "wpf_status": "voided", "payment_transaction_unique_id": "44177a21"}),
    content_type=FORM,
)


def _at(state: str) -> Attempt:
    """The attempt after the shortest way into a state."""
    ways = {
        "pending": (stages.SENT, 0),
        "unknown": (stages.UNKNOWN_TO_US, 0),
        "error": (stages.ERROR, 0),
        "declined": (stages.DECLINED, 0),
        "approved": (stages.APPROVED, 0),
        "voided": (stages.VOIDED, 0),
        "refunded": (stages.REFUNDED, 0),
        "chargebacked": (stages.APPROVED, stages.CHARGEBACKED),
    }
    payment, dispute = ways[state]
    return msgspec.structs.replace(ATTEMPT, payment_stage=payment, dispute_stage=dispute)


def _apply(attempt: Attempt, delivered: Iterable[Notification]) -> tuple[Attempt, list[Decision]]:
    """What a worker does: decide one by one, each on what the one before left."""
    decisions = []
    for notification in delivered:
        decisions.append(decide(attempt, notification, account=ACCOUNT))
        attempt = decisions[-1].attempt or attempt
    return attempt, decisions


def _truth(history: Sequence[Notification]) -> str:
    """Where the money is after a history, read in its true order and without any rule about order."""
    paid, disputed = "pending", False
    for notification in history:
        if notification.event == "retrieval_request":
            continue
        match notification.status:
            case "error":
                paid = (
                    "unknown"
                    if notification.error_code in {"100", "200", "230", "250", "450", "950"}
                    else "error"
                )
            case "timeout" | "unsuccessful":
                paid = "error"
            case "declined" | "approved" | "voided" | "refunded":
                paid = notification.status
            case "chargebacked" | "second_chargebacked" | "representment_reversed":
                disputed = True
            case "chargeback_reversed" | "represented":
                disputed = False
            case status:
                assert status.startswith("pending") or status == "in_progress"
    return "chargebacked" if disputed else paid


# ---------------------------------------------------------------------------------------------- order and repetition


@given(drawn_and_delivered)
def test_any_order_and_any_repeats_end_where_the_money_is(
    drawn: tuple[tuple[Notification, ...], list[Notification]],
) -> None:
    """The heart: the gateway promises no order, and books that depend on it are wrong without anybody noticing."""
    history, delivered = drawn
    after, _ = _apply(attempt_of(history[0]), delivered)
    assert after.state == _truth(history)


@given(drawn_and_delivered)
def test_any_order_and_any_repeats_leave_the_same_attempt(
    drawn: tuple[tuple[Notification, ...], list[Notification]],
) -> None:
    """Not the state alone: error code, reason and the gateway's id would depend on which delivery was the faster."""
    history, delivered = drawn
    in_order, _ = _apply(attempt_of(history[0]), history)
    after, _ = _apply(attempt_of(history[0]), delivered)
    assert after == in_order


def test_every_order_of_a_long_dispute() -> None:
    """Each of the 720 orders of one payment's whole life, none left to chance."""
    life = [
        _notification("pending_async"),
        _notification("approved"),
        RETRIEVAL,
        CHARGEBACK,
        REVERSAL,
        _notification("refunded"),
    ]
    ends = {_apply(ATTEMPT, order)[0] for order in permutations(life)}
    assert [end.state for end in ends] == ["refunded"]
    lost = {_apply(ATTEMPT, order)[0].state for order in permutations([*life[1:5], SECOND])}
    assert lost == {"chargebacked"}


@given(attempts(), notifications(kinds=["payment"]), st.integers(1, 3))
def test_a_repeat_changes_nothing(attempt: Attempt, notification: Notification, repeats: int) -> None:
    """The gateway repeats everything up to ten times; a second effect is money applied twice."""
    attempt = msgspec.structs.replace(attempt, unique_id=notification.unique_id)
    once, _ = _apply(attempt, [notification])
    again, decisions = _apply(once, [notification] * repeats)
    assert again == once
    assert all(decision.outcome in {"unchanged", "park"} for decision in decisions)
    assert not any(
        isinstance(fact, AttemptStatusChanged) for decision in decisions for fact in decision.events
    )


@given(attempts(), st.lists(notifications(kinds=["payment"]), max_size=3))
def test_stages_only_grow(attempt: Attempt, result: list[Notification]) -> None:
    """A stage that falls back makes the end depend on the order."""
    attempt = msgspec.structs.replace(attempt, unique_id=None)
    for notification in result:
        after, _ = _apply(attempt, [msgspec.structs.replace(notification, unique_id=None)])
        assert after.payment_stage >= attempt.payment_stage
        assert after.dispute_stage >= attempt.dispute_stage
        attempt = after


@given(drawn_and_delivered)
def test_moves_told_to_others_join_up(drawn: tuple[tuple[Notification, ...], list[Notification]]) -> None:
    """A subscriber that follows the events would end in another state than the attempt."""
    history, delivered = drawn
    before = attempt_of(history[0])
    after, decisions = _apply(before, delivered)
    moves = [fact for each in decisions for fact in each.events if isinstance(fact, AttemptStatusChanged)]
    states = [before.state, *(move.after for move in moves)]
    assert [move.before for move in moves] == states[:-1]
    assert states[-1] == after.state
    assert all(move.before != move.after for move in moves)


# ------------------------------------------------------------------------------------------------------- single rules


def test_a_late_approval_never_undoes_a_chargeback() -> None:
    """Money that was taken back would be counted as collected, as the system before this one did."""
    returned, _ = _apply(ATTEMPT, [CHARGEBACK])
    decision = decide(returned, _notification("approved"), account=ACCOUNT)
    assert decision.attempt is not None
    assert (returned.state, decision.attempt.state) == ("chargebacked", "chargebacked")
    after, [late] = _apply(_at("chargebacked"), [_notification("approved")])
    assert (after.state, late.outcome) == ("chargebacked", "unchanged")


@pytest.mark.parametrize(
    "before", ["pending", "unknown", "approved", "voided", "refunded", "declined", "error"]
)
def test_a_chargeback_counts_wherever_it_comes(before: str) -> None:
    """A chargeback that overtakes the approval would be dropped, and the money be missed at the month's end."""
    after, [decision] = _apply(_at(before), [CHARGEBACK])
    assert (after.state, after.reason_code, decision.outcome) == ("chargebacked", "AC04", "applied")


@pytest.mark.parametrize(
    ("notification", "state"),
    [
        (REVERSAL, "approved"),
        (_notification("chargeback_reversed"), "approved"),
        (_notification("represented", event="representment"), "approved"),
        (_notification("representment_reversed", event="representment_reversal"), "chargebacked"),
        (SECOND, "chargebacked"),
    ],
)
def test_a_reversal_undoes_a_chargeback_and_a_second_one_that(notification: Notification, state: str) -> None:
    """Money won back would be missing for ever, or money lost again be counted."""
    assert _apply(_at("chargebacked"), [notification])[0].state == state
    won, _ = _apply(_at("chargebacked"), [REVERSAL])
    assert _apply(won, [notification])[0].state == state


def test_a_dispute_won_leaves_a_refund_a_refund() -> None:
    """A debit that was refunded by us would count as collected after its dispute."""
    after, _ = _apply(_at("refunded"), [CHARGEBACK, REVERSAL])
    assert after.state == "refunded"


@given(attempts(), policies)
def test_a_retrieval_request_moves_nothing(attempt: Attempt, policy: ApplyPolicy) -> None:
    """It says "chargebacked" and is a question for papers; applied, it would take money off the books and block a debtor."""
    result = msgspec.structs.replace(RETRIEVAL, unique_id=attempt.unique_id, reason_code="AC04")
    assert decide(attempt, result, account=ACCOUNT, policy=policy) == Decision("unchanged", "information")


@given(attempts(), statuses(known=False), st.booleans())
def test_what_nobody_has_seen_is_parked(attempt: Attempt, strange: str, as_event: bool) -> None:  # noqa: FBT001 - drawn
    """A new status would be applied by a guess, or be dropped without a word."""
    notification = _notification("approved", event=strange) if as_event else _notification(strange)
    if as_event and strange in stages.EVENTS:
        return
    notification = msgspec.structs.replace(notification, unique_id=attempt.unique_id)
    assert decide(attempt, notification, account=ACCOUNT) == Decision("park", "unknown_status")
    assert decide(None, notification, account=ACCOUNT) == Decision("park", "unknown_status")


def test_a_payment_we_do_not_know_waits() -> None:
    """A notification that precedes its import would be lost."""
    assert decide(None, CHARGEBACK, account=ACCOUNT) == Decision("not_yet", "unknown_payment")


@pytest.mark.parametrize("kind", ["wpf_unique_id", "reference_id"])
def test_what_names_no_payment_is_done_with(kind: str) -> None:
    """Identity checks carry no status; each of them would be parked and drown what a person must see."""
    notification = decode(form_body({kind: "26aa150e"}), content_type=FORM)
    assert decide(None, notification, account=ACCOUNT) == Decision("unchanged", "not_a_payment")


def test_another_account_is_never_applied() -> None:
    """A sender with the password of one account could change the payments of another."""
    for result in (CHARGEBACK, _notification("approved")):
        assert decide(ATTEMPT, result, account="other") == Decision("park", "other_account")


def test_our_id_with_another_payment_of_the_gateway_is_parked() -> None:
    """Two payments of the gateway under one `transaction_id`: one of them is a double debit that a person must see."""
    twin = msgspec.structs.replace(_notification("approved"), unique_id="another")
    assert decide(ATTEMPT, twin, account=ACCOUNT) == Decision("park", "other_payment")


def test_the_gateways_id_is_learnt_from_the_first_notification() -> None:
    """An attempt whose answer was lost would never be found by the gateway's id."""
    ours = Confirmation("pending_async", transaction_id="tth-7")
    unheard = msgspec.structs.replace(ATTEMPT, unique_id=None)
    decision = decide(unheard, _notification("pending_async"), account=ACCOUNT, confirmation=ours)
    assert decision.attempt is not None
    assert (decision.attempt.unique_id, decision.outcome) == ("44177a21", "applied")
    late = msgspec.structs.replace(_at("approved"), unique_id=None)
    decision = decide(late, _notification("pending_async"), account=ACCOUNT, confirmation=ours)
    assert decision.attempt is not None
    assert (decision.attempt.state, decision.attempt.unique_id) == ("approved", "44177a21")


@pytest.mark.parametrize(
    "status", ["approved", "declined", "error", "voided", "refunded", "chargebacked", "pending"]
)
@pytest.mark.parametrize("confirm", ["failures", "chargebacks", "all", "off"])
def test_our_unsigned_id_alone_moves_nothing(status: str, confirm: Confirm) -> None:
    """One genuine signature of any payment and our transaction_id would move every debit whose answer is under way."""
    unheard = msgspec.structs.replace(ATTEMPT, unique_id=None)
    policy = ApplyPolicy(confirm=confirm)
    first = decide(unheard, _notification(status), account=ACCOUNT, policy=policy)
    expected = (
        Decision("not_yet", "unlinked") if confirm == "off" else Decision("confirm", "unlinked", unheard)
    )
    assert first == expected
    another = Confirmation(status, transaction_id="tth-8")
    assert decide(
        unheard, _notification(status), account=ACCOUNT, policy=policy, confirmation=another
    ) == Decision("contradicted", "other_payment", unheard)
    nameless = Confirmation(status)
    assert decide(
        unheard, _notification(status), account=ACCOUNT, policy=policy, confirmation=nameless
    ) == Decision("not_yet", "unlinked")


# The forms of B in which the hashed id and the payment that is named are different fields.
OTHER_KINDS = [
    {
        "notification_type": "wpf",
        "wpf_unique_id": "p1",
        "wpf_status": "{}",
        "payment_transaction_unique_id": "44177a21",
    },
    {"wpf_unique_id": "p1", "wpf_status": "{}", "wpf_transaction_id": "tth-7"},
    {"notification_type": "apm_external_event", "payment_transaction_unique_id": "44177a21", "status": "{}"},
    {"payment_transaction_unique_id": "44177a21", "status": "{}", "transaction_id": "tth-7"},
    {"notification_type": "payee_verification", "unique_id": "44177a21", "status": "{}"},
    {
        "notification_type": "kyc_service_execution",
        "reference_id": "p1",
        "status": "{}",
        "transaction_id": "tth-7",
    },
    {
        "notification_type": "kyc_service_execution",
        "reference_id": "p1",
        "status": "{}",
        "payment_transaction_unique_id": "44177a21",
    },
    {"reference_id": "p1", "status": "{}", "payment_transaction_unique_id": "44177a21"},
]


@pytest.mark.parametrize("fields", OTHER_KINDS)
@pytest.mark.parametrize("status", sorted(stages.STATUSES))
@pytest.mark.parametrize("confirm", ["failures", "off"])
def test_only_notifications_of_a_payment_move_it(
    fields: dict[str, str], status: str, confirm: Confirm
) -> None:
    """One genuine signature of any payment, or the API login, would move every other payment."""
    notification = decode(
        form_body({name: value.format(status) for name, value in fields.items()}), content_type=FORM
    )
    for attempt in (ATTEMPT, _at("approved"), msgspec.structs.replace(ATTEMPT, unique_id=None)):
        first = decide(attempt, notification, account=ACCOUNT, policy=ApplyPolicy(confirm=confirm))
        if confirm == "off" or notification.kind == "kyc":
            assert first == Decision("unchanged", "not_a_payment")
        else:
            assert first == Decision("confirm", "names_payment", attempt)
        assert decide(attempt, notification, account="other").outcome == "unchanged"
        for word in stages.STATUSES:
            after = decide(
                attempt,
                notification,
                account=ACCOUNT,
                policy=ApplyPolicy(confirm=confirm),
                confirmation=Confirmation(word, transaction_id="tth-7"),
            )
            assert after == Decision("unchanged", "inquired")


@pytest.mark.parametrize("failed", ["declined", "error"])
def test_a_collected_debit_that_failed_is_shown_to_a_person(failed: str) -> None:
    """The gateway reports no money, our records say collected, and no person would see the difference."""
    approved, policy = _at("approved"), ApplyPolicy(confirm="failures")
    assert decide(approved, _notification(failed), account=ACCOUNT, policy=policy) == Decision(
        "confirm", "unconfirmed", approved
    )
    word = Confirmation(failed, "500")
    excerpt = Decision("unchanged", "failed_late", approved)
    assert (
        decide(approved, _notification(failed), account=ACCOUNT, policy=policy, confirmation=word) == excerpt
    )
    assert (
        decide(approved, _notification("approved"), account=ACCOUNT, policy=policy, confirmation=word)
        == excerpt
    )
    lie = Decision("contradicted", "contradicted", approved)
    for result in ("approved", "pending_async"):
        word = Confirmation(result)
        assert (
            decide(approved, _notification(failed), account=ACCOUNT, policy=policy, confirmation=word) == lie
        )
    refunded = decide(
        approved, _notification(failed), account=ACCOUNT, policy=policy, confirmation=Confirmation("refunded")
    )
    assert refunded.attempt is not None
    assert refunded.attempt.state == "refunded"


def test_error_codes_go_when_the_error_does() -> None:
    """An approved attempt with an error code would be reported as failed."""
    failed, _ = _apply(ATTEMPT, [_notification("error", error_code="230")])
    assert (failed.state, failed.error_code) == ("unknown", "230")
    refused, _ = _apply(failed, [_notification("declined", error_code="501")])
    assert (refused.state, refused.error_code) == ("declined", "501")
    approved, _ = _apply(refused, [_notification("approved")])
    assert (approved.state, approved.error_code) == ("approved", None)


@pytest.mark.parametrize(("amount", "facts"), [("9000", 0), ("8999", 1), ("", 0), ("x", 0)])
def test_an_approval_of_another_amount_is_reported(amount: str, facts: int) -> None:
    """A debit of the wrong amount would look collected, and nobody would look."""
    _, [decision] = _apply(ATTEMPT, [_notification("approved", amount=amount)])
    differed = [fact for fact in decision.events if isinstance(fact, AmountMismatched)]
    assert differed == [AmountMismatched(7, 9000, 8999)] * facts
    _, [again] = _apply(decision.attempt or ATTEMPT, [_notification("approved", amount=amount)])
    assert not again.events


@pytest.mark.parametrize("status", ["refunded", "chargebacked", "pending_async"])
def test_parts_refunded_are_no_difference(status: str) -> None:
    """Every partial refund would raise an alarm."""
    _, [decision] = _apply(ATTEMPT, [_notification(status, amount="1")])
    assert not any(isinstance(fact, AmountMismatched) for fact in decision.events)


# ---------------------------------------------------------------------------------------------------------- blacklist


@given(drawn_and_delivered, ibans())
def test_blacklist_entries_are_asked_for_in_every_order(
    drawn: tuple[tuple[Notification, ...], list[Notification]], iban: str
) -> None:
    """A closed account would be debited again because the news of it came after the news of its reversal."""
    history, delivered = drawn
    attempt = attempt_of(history[0], iban=iban)
    _, decisions = _apply(attempt, delivered)
    asked = {(entry.action, entry.reason_code) for decision in decisions for entry in decision.entries}
    taken_back = [
        notification
        for notification in history
        if notification.status == "chargebacked" and notification.event != "retrieval_request"
    ]
    reasons = {result.reason_code for result in taken_back if result.reason_code}
    assert asked == {("block", code) for code in reasons & BLOCK} | {
        ("hold", code) for code in reasons & HOLD
    }
    for decision in decisions:
        assert all(entry.iban_fingerprint == attempt.iban_fingerprint for entry in decision.entries)
        assert all(entry.iban_masked == attempt.iban_masked for entry in decision.entries)
        for entry in decision.entries:
            # Announced by the code that makes the entry, because only that code knows that it is new.
            assert blocked_event(entry, attempt_id=7) == IbanBlocked(
                7, entry.action, entry.reason_code, entry.iban_masked
            )
        assert not [fact for fact in decision.events if isinstance(fact, IbanBlocked)]


def test_a_chargeback_overtaken_by_its_reversal_still_lists() -> None:
    """An entry that hangs on the change of state is not made when there is none left to change."""
    for order in permutations([_notification("approved"), CHARGEBACK, REVERSAL, SECOND]):
        _, decisions = _apply(ATTEMPT, order)
        of_chargebacks = [
            decision.entries for result, decision in zip(order, decisions, strict=True) if result.reason_code
        ]
        assert [[entry.reason_code for entry in entries] for entries in of_chargebacks] == [
            ["AC04"],
            ["AC04"],
        ]


def test_the_first_reason_stays_with_the_attempt() -> None:
    """The reason that was shown, and under which fees were applied, would change with a second chargeback."""
    returned, _ = _apply(_at("approved"), [CHARGEBACK, REVERSAL])
    lost, _ = _apply(returned, [msgspec.structs.replace(SECOND, reason_code="MD06")])
    assert (lost.state, lost.reason_code) == ("chargebacked", "AC04")


@pytest.mark.parametrize(
    ("code", "action"), [("AC04", "block"), ("MD06", "hold"), ("AM04", None), ("XX99", None)]
)
@pytest.mark.parametrize("notification", [CHARGEBACK, SECOND])
def test_entries_follow_the_reason(code: str, action: str | None, notification: Notification) -> None:
    """A debtor would be debited again in spite of a closed account, or never again for an empty one."""
    _, [decision] = _apply(_at("approved"), [msgspec.structs.replace(notification, reason_code=code)])
    assert [entry.action for entry in decision.entries] == ([action] if action else [])


def test_the_operators_codes_decide_what_blocks() -> None:
    """TETHER_BLACKLIST_CODES would be read and have no effect."""
    policy = ApplyPolicy(returns=built_in({"AM04"}))
    blocked = decide(
        ATTEMPT, _notification("chargebacked", reason_code="AM04"), account=ACCOUNT, policy=policy
    )
    spared = decide(
        ATTEMPT, _notification("chargebacked", reason_code="AC04"), account=ACCOUNT, policy=policy
    )
    assert [entry.action for entry in blocked.entries] == ["block"]
    assert spared.entries == ()


def test_no_entry_without_an_account_to_list() -> None:
    """An entry with an empty fingerprint would match every debtor without an IBAN."""
    unknown = msgspec.structs.replace(ATTEMPT, iban_fingerprint=b"")
    decision = decide(unknown, CHARGEBACK, account=ACCOUNT)
    assert decision.attempt is not None
    assert (decision.attempt.state, decision.entries) == ("chargebacked", ())


@pytest.mark.parametrize("notification", [REVERSAL, RETRIEVAL, _notification("declined", reason_code="AC04")])
def test_only_chargebacks_list_anybody(notification: Notification) -> None:
    """Winning a dispute, or a question for papers, would put the debtor on the blacklist."""
    _, [decision] = _apply(_at("chargebacked"), [msgspec.structs.replace(notification, reason_code="AC04")])
    assert decision.entries == ()


@pytest.mark.parametrize(
    ("code", "is_notified"), [(None, True), ("XX99", True), ("AM04", False), ("AC04", False)]
)
def test_an_unknown_reason_is_reported_once(code: str | None, is_notified: bool) -> None:  # noqa: FBT001 - a column of the table
    """A person would never see a new reason of the scheme, or would see it with every repeat."""
    chargeback = msgspec.structs.replace(CHARGEBACK, reason_code=code)
    _, [first, second] = _apply(_at("approved"), [chargeback, chargeback])
    assert [fact for fact in first.events if isinstance(fact, ReasonUnknown)] == [
        ReasonUnknown(7, code)
    ] * is_notified
    assert not any(isinstance(fact, ReasonUnknown) for fact in second.events)


# ------------------------------------------------------------------------------------------------------- confirmation


@pytest.mark.parametrize(
    ("confirm", "status", "asked"),
    [
        ("off", "chargebacked", False),
        ("off", "approved", False),
        ("chargebacks", "chargebacked", True),
        ("chargebacks", "chargeback_reversed", True),
        ("chargebacks", "second_chargebacked", True),
        ("chargebacks", "approved", False),
        ("chargebacks", "refunded", False),
        ("failures", "error", True),
        ("failures", "declined", True),
        ("failures", "voided", True),
        ("failures", "refunded", True),
        ("failures", "chargebacked", True),
        ("failures", "chargeback_reversed", True),
        ("failures", "approved", False),
        ("failures", "pending_async", False),
        ("all", "chargebacked", True),
        ("all", "approved", True),
        ("all", "declined", True),
        ("all", "pending_async", True),
    ],
)
def test_which_reports_need_an_inquiry(confirm: Confirm, status: str, asked: bool) -> None:  # noqa: FBT001 - a column of the table
    """A claim that moves money would be believed on a signature that covers only the id; or every claim cost a request."""
    decision = decide(
        ATTEMPT,
        _notification(status, reason_code="AC04"),
        account=ACCOUNT,
        policy=ApplyPolicy(confirm=confirm),
    )
    if asked:
        assert decision == Decision("confirm", "unconfirmed", ATTEMPT)
    else:
        assert decision.outcome == "applied"


def test_an_approval_that_contradicts_a_stored_failure_is_inquired() -> None:
    """A false approval would mark an unpaid item as collected; a true one may arrive after it was collected again."""
    failed, policy = _at("declined"), ApplyPolicy(confirm="failures")
    assert decide(failed, _notification("approved"), account=ACCOUNT, policy=policy).outcome == "confirm"
    assert (
        decide(_at("approved"), _notification("pending"), account=ACCOUNT, policy=policy).outcome
        == "unchanged"
    )


def test_a_report_that_changes_nothing_is_not_inquired() -> None:
    """Every repeat of an approval would cost a request to the gateway."""
    policy = ApplyPolicy(confirm="all")
    assert (
        decide(_at("approved"), _notification("approved"), account=ACCOUNT, policy=policy).outcome
        == "unchanged"
    )


# What is claimed, what the gateway says when asked, and the state it ends in; "" for contradicted.
TOLD = [
    ("approved", "approved", "approved"),
    ("approved", "refunded", "refunded"),
    ("approved", "chargebacked", "approved"),
    ("approved", "chargeback_reversed", "approved"),
    ("approved", "declined", ""),
    ("approved", "pending_async", ""),
    ("approved", "partially_reversed", ""),
    ("declined", "approved", "approved"),
    ("declined", "chargebacked", "approved"),
    ("pending_async", "chargebacked", "approved"),
    ("refunded", "chargebacked", ""),
    ("error", "approved", "approved"),
    ("voided", "approved", ""),
    ("refunded", "approved", ""),
    ("pending_async", "approved", "approved"),
    ("chargebacked", "chargebacked", "chargebacked"),
    ("chargebacked", "chargeback_reversed", "approved"),
    ("chargebacked", "second_chargebacked", "chargebacked"),
    ("chargebacked", "approved", ""),
    ("chargebacked", "pending_async", ""),
    ("chargeback_reversed", "represented", "approved"),
    ("chargeback_reversed", "chargebacked", ""),
    ("second_chargebacked", "chargeback_reversed", ""),
]


@pytest.mark.parametrize(("claimed", "text", "state"), TOLD)
def test_what_is_applied_is_the_gateways_own_word(claimed: str, text: str, state: str) -> None:
    """A sender who has seen one notification can write others: a false decline would be stored as confirmed."""
    decision = decide(
        ATTEMPT,
        _notification(claimed, reason_code="AC04"),
        account=ACCOUNT,
        policy=ApplyPolicy(confirm="all"),
        confirmation=Confirmation(text),
    )
    if state:
        assert decision.outcome == "applied"
        assert decision.attempt is not None
        assert decision.attempt.state == state
    else:
        assert decision == Decision("contradicted", "contradicted", ATTEMPT)


def test_a_contradicted_chargeback_lists_nobody() -> None:
    """A lie would put a debtor on the blacklist."""
    for confirm in ("chargebacks", "all"):
        decision = decide(
            _at("approved"),
            CHARGEBACK,
            account=ACCOUNT,
            policy=ApplyPolicy(confirm=confirm),
            confirmation=Confirmation("approved"),
        )
        assert (decision.outcome, decision.entries, decision.events) == ("contradicted", (), ())
        assert decision.attempt == _at("approved")


def test_the_gateways_reason_outranks_the_claimed_one() -> None:
    """A claim with a reason of its own choosing would decide who is blocked."""
    policy = ApplyPolicy(confirm="chargebacks")
    confirmation = Confirmation("chargebacked", reason_code="AM04")
    decision = decide(_at("approved"), CHARGEBACK, account=ACCOUNT, policy=policy, confirmation=confirmation)
    assert decision.attempt is not None
    assert (decision.attempt.reason_code, decision.entries) == ("AM04", ())
    silent = Confirmation("chargebacked")
    decision = decide(_at("approved"), CHARGEBACK, account=ACCOUNT, policy=policy, confirmation=silent)
    assert [entry.reason_code for entry in decision.entries] == ["AC04"]


def test_a_reason_the_claim_excluded_comes_with_the_confirmation() -> None:
    """Notifications without a reason, which do come, would never block anybody."""
    decision = decide(
        _at("approved"),
        _notification("chargebacked"),
        account=ACCOUNT,
        policy=ApplyPolicy(confirm="chargebacks"),
        confirmation=Confirmation("chargebacked", reason_code="MD06"),
    )
    assert [(entry.action, entry.reason_code) for entry in decision.entries] == [("hold", "MD06")]


def test_the_gateways_error_code_comes_with_its_word() -> None:
    """An approval would keep the code of the decline that was only claimed."""
    policy = ApplyPolicy(confirm="all")
    claim = _notification("error", error_code="340")
    applied = decide(ATTEMPT, claim, account=ACCOUNT, policy=policy, confirmation=Confirmation("approved"))
    assert applied.attempt is not None
    assert (applied.attempt.state, applied.attempt.error_code) == ("approved", None)
    moved = [fact.cause for fact in applied.events if isinstance(fact, AttemptStatusChanged)]
    assert moved == ["approved"]
    same = decide(ATTEMPT, claim, account=ACCOUNT, policy=policy, confirmation=Confirmation("error", "340"))
    assert same.attempt is not None
    assert (same.attempt.state, same.attempt.error_code) == ("error", "340")


def test_a_confirmation_nobody_understands_is_parked() -> None:
    """A new status of the gateway would refute every chargeback."""
    decision = decide(
        ATTEMPT,
        CHARGEBACK,
        account=ACCOUNT,
        policy=ApplyPolicy(confirm="all"),
        confirmation=Confirmation("beamed_up"),
    )
    assert decision == Decision("park", "unknown_status")


@given(drawn_and_delivered)
def test_confirmed_books_end_like_believed_ones_when_nobody_lies(
    drawn: tuple[tuple[Notification, ...], list[Notification]],
) -> None:
    """Switching confirmation on would change the books of an honest gateway."""
    history, delivered = drawn
    money = [notification for notification in history if notification.event != "retrieval_request"]
    # The gateway tells one status: of a payment both refunded and disputed it no longer says the former.
    if {"voided", "refunded"} & {result.status for result in money[:-1]}:
        return
    answer = Confirmation(money[-1].status, money[-1].error_code)
    attempt = attempt_of(history[0])
    for delivery in delivered:
        for confirmation in (None, answer):
            decision = decide(
                attempt,
                delivery,
                account=ACCOUNT,
                policy=ApplyPolicy(confirm="all"),
                confirmation=confirmation,
            )
            if decision.outcome != "confirm":
                break
        assert decision.outcome != "contradicted"
        attempt = decision.attempt or attempt
    assert attempt.state == _truth(history)


# --------------------------------------------------------------------------------------------------- the table itself

STATES_AT = """
    stage       0             1             2             3
    0           pending       chargebacked  approved      chargebacked
    10          unknown       chargebacked  approved      chargebacked
    20          pending       chargebacked  approved      chargebacked
    30          unknown       chargebacked  approved      chargebacked
    40          error         chargebacked  approved      chargebacked
    50          declined      chargebacked  approved      chargebacked
    60          approved      chargebacked  approved      chargebacked
    70          voided        chargebacked  voided        chargebacked
    80          refunded      chargebacked  refunded      chargebacked
""".split()


def test_the_state_at_every_pair_of_stages() -> None:
    """Stages are what is stored; read wrongly, every list and every sum is wrong."""
    dispute_stages = [int(stage) for stage in STATES_AT[1:5]]
    assert dispute_stages == sorted(DISPUTE_STAGES)
    rows = [STATES_AT[at : at + 5] for at in range(5, len(STATES_AT), 5)]
    assert [int(row[0]) for row in rows] == sorted(PAYMENT_STAGES)
    for stage, *states in rows:
        assert [state_of(int(stage), each) for each in dispute_stages] == states


def test_every_state_can_be_shown_and_no_other() -> None:
    """The CHECK constraint of the column knows eight states."""
    excerpt = {state_of(payment, dispute) for payment in PAYMENT_STAGES for dispute in DISPUTE_STAGES}
    assert excerpt == set(get_args(AttemptState))


def test_every_step_leads_to_a_stage_of_its_track() -> None:
    """A status with a stage that no track has would raise when its state is read."""
    for step in [*stages.STATUSES.values(), *stages.EVENTS.values()]:
        if step.track != "none":
            assert step.stage in (PAYMENT_STAGES if step.track == "payment" else DISPUTE_STAGES)


@given(st.none() | attempts(), notifications(), policies, st.none() | confirmations)
def test_whatever_comes_there_is_a_decision(
    attempt: Attempt | None,
    notification: Notification,
    policy: ApplyPolicy,
    confirmation: Confirmation | None,
) -> None:
    """An exception here fails the whole batch, again and again; an effect beside "applied" would be written."""
    if attempt is not None:
        attempt = msgspec.structs.replace(attempt, unique_id=notification.unique_id)
    decision = decide(attempt, notification, account=ACCOUNT, policy=policy, confirmation=confirmation)
    assert decision.reason in REASONS
    if decision.outcome == "applied":
        assert decision.attempt != attempt
    elif decision.attempt is not None:
        assert decision.attempt == attempt
    if decision.outcome not in {"applied", "unchanged"}:
        assert (decision.entries, decision.events) == ((), ())


def test_every_reason_can_be_given() -> None:
    """A word in the table that no decision gives is a promise nobody keeps."""
    everything = ApplyPolicy(confirm="all")
    given_reasons = {
        decide(ATTEMPT, _notification("approved"), account=ACCOUNT).reason,
        decide(_at("approved"), _notification("approved"), account=ACCOUNT).reason,
        decide(_at("approved"), _notification("declined"), account=ACCOUNT).reason,
        decide(ATTEMPT, RETRIEVAL, account=ACCOUNT).reason,
        decide(None, decode(form_body({"reference_id": "1"}), content_type=FORM), account=ACCOUNT).reason,
        decide(None, CHARGEBACK, account=ACCOUNT).reason,
        decide(ATTEMPT, _notification("beamed_up"), account=ACCOUNT).reason,
        decide(ATTEMPT, CHARGEBACK, account="other").reason,
        decide(msgspec.structs.replace(ATTEMPT, unique_id="x"), CHARGEBACK, account=ACCOUNT).reason,
        decide(ATTEMPT, CHARGEBACK, account=ACCOUNT, policy=everything).reason,
        decide(
            ATTEMPT, CHARGEBACK, account=ACCOUNT, policy=everything, confirmation=Confirmation("approved")
        ).reason,
        decide(_at("approved"), _notification("refunded", amount="1"), account=ACCOUNT).reason,
        decide(ATTEMPT, PAGE, account=ACCOUNT, policy=everything).reason,
        decide(ATTEMPT, PAGE, account=ACCOUNT, confirmation=Confirmation("approved")).reason,
        decide(msgspec.structs.replace(ATTEMPT, unique_id=None), CHARGEBACK, account=ACCOUNT).reason,
        decide(
            _at("approved"), _notification("declined"), account=ACCOUNT, confirmation=Confirmation("declined")
        ).reason,
    }
    assert given_reasons == set(REASONS)


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        (b"amount=9000&currency=EUR", False),
        (b"amount=-9000", False),
        (b"amount=&currency=", False),
        (b"amount=2500&currency=EUR", True),
        (b"amount=9000&currency=JPY", True),
        (b"currency=USD", True),
        (b"amount=90,00", True),
    ],
)
@pytest.mark.parametrize("status", [b"refunded", b"voided", b"chargebacked"])
def test_a_part_that_was_returned_is_not_the_whole(fields: bytes, other: bool, status: bytes) -> None:  # noqa: FBT001 - a column
    """The books would say that all of it went back, and nobody would ask for the rest."""
    attempt = Attempt(7, "default", "t-7", "44177a21", 9000, "EUR", payment_stage=stages.APPROVED)
    notification = decode(
        b"unique_id=44177a21&signature=ab&status=" + status + b"&" + fields, content_type=FORM
    )
    decision = decide(attempt, notification, account="default")
    assert decision.outcome == ("unchanged" if other else "applied")
    assert (decision.reason == "other_amount") == other
    asked = decide(attempt, notification, account="default", policy=ApplyPolicy(confirm="all"))
    assert asked.outcome == "confirm"
    # The gateway's own record about the payment counts; the amount is a line for a person.
    word = Confirmation(status.decode(), amount_minor=9000, currency="EUR")
    confirmed = decide(
        attempt, notification, account="default", policy=ApplyPolicy(confirm="all"), confirmation=word
    )
    assert confirmed.outcome == "applied"
