import json
from collections import Counter
from urllib.parse import parse_qs, parse_qsl

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_sandbox.gateway import FaultInjection, FaultPlan, HashName, Payment, PaymentHistories, plan, sign
from tether_sandbox.gateway.wire import JSON

PASSWORD = "a password of the tests"

# How far each status stands on its track; the furthest one wins. The plan walks histories in their true order
# instead, so the two are independent of each other.
PAYMENT = "pending unknown error declined approved voided refunded".split()
DISPUTE = {
    "chargebacked": 1,
    "chargeback_reversed": 2,
    "represented": 2,
    "second_chargebacked": 3,
    "representment_reversed": 3,
}
STILL = {"retrieval_request", "arbitration_opened", "second_thoughts"}
WILD = FaultInjection(
    repeated_at_once=0.4,
    repeated_later=0.4,
    reordered=0.6,
    approved_late=0.5,
    approved_missing=0.3,
    invalid_signature=0.3,
    invalid_signature_first=0.3,
    unknown_payment=0.2,
    unknown_status=0.3,
    retrieval=0.3,
    conflicting=0.2,
    json=0.2,
)
RESTLESS = PaymentHistories(
    silent=0.05,
    pending=0.05,
    declined=0.1,
    error=0.1,
    unknown=0.05,
    voided=0.1,
    refunded=0.1,
    chargebacked=0.35,
    reversed=0.6,
    lost_again=0.5,
)

plans = st.builds(
    lambda seed, count: plan(
        _payments(count), seed=seed, password=PASSWORD, fault_injection=WILD, payment_histories=RESTLESS
    ),
    st.integers(0, 10**6),
    st.integers(1, 60),
)


def _payments(count: int) -> list[Payment]:
    return [
        Payment(f"t-{number}", f"{number:032x}", 100 + number, "EUR", "DE89370400440532013000")
        for number in range(count)
    ]


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    if content_type == JSON:
        decoded: dict[str, str] = json.loads(body)
        return decoded
    return dict(parse_qsl(body.decode(), strict_parsing=True))


def _key(fields: dict[str, str]) -> tuple[str | None, ...]:
    return tuple(fields.get(name) for name in ("unique_id", "status", "event", "chargeback_unique_id"))


def _furthest(planned: FaultPlan) -> dict[str, str]:
    """The state of each payment by the rule of the two tracks, from what is genuinely sent, in any order."""
    paid = dict.fromkeys(planned.final, 0)
    lost = dict.fromkeys(planned.final, 0)
    for delivery in planned.deliveries:
        result = _fields(delivery.body, delivery.content_type)
        where = result["unique_id"]
        if (
            delivery.kind == "invalid_signature"
            or where not in planned.final
            or result.get("event", "") in STILL
        ):
            continue
        status = "unknown" if result.get("error_code") in {"230", "950"} else result["status"]
        status = {"timeout": "error"}.get(status, status)
        lost[where] = max(lost[where], DISPUTE.get(status, 0))
        paid[where] = max(paid[where], PAYMENT.index(status) if status in PAYMENT else 0)
    return {where: _state(reached, lost[where]) for where, reached in paid.items()}


def _state(paid: int, lost: int) -> str:
    if lost in {1, 3}:
        return "chargebacked"
    return PAYMENT[max(paid, PAYMENT.index("approved")) if lost == 2 else paid]


@settings(max_examples=60, deadline=None)
@given(plans)
def test_final_states_agree_with_the_rule_of_two_tracks(planned: FaultPlan) -> None:
    """A wrong expectation would blame a right receiver, or pass a wrong one, in every demo and flow test."""
    assert _furthest(planned) == planned.final


@settings(max_examples=60, deadline=None)
@given(plans)
def test_counts_conserve_and_describe_the_deliveries(planned: FaultPlan) -> None:
    """The demo's conservation check rests on these numbers."""
    counts = planned.counts
    kinds = Counter(delivery.kind for delivery in planned.deliveries)
    assert counts.sent == len(planned.deliveries)
    assert counts.sent == counts.distinct + counts.duplicates + counts.conflicting + counts.invalid_signature
    assert (kinds["genuine"], kinds["duplicate"]) == (counts.distinct, counts.duplicates)
    assert (kinds["conflicting"], kinds["invalid_signature"]) == (
        counts.conflicting,
        counts.invalid_signature,
    )
    assert counts.json == sum(delivery.content_type == JSON for delivery in planned.deliveries)


@settings(max_examples=60, deadline=None)
@given(plans)
def test_keys_are_distinct_for_genuine_and_shared_for_repeats(planned: FaultPlan) -> None:
    """Two genuine notifications with one key would be counted as two rows where a receiver can only have one."""
    seen = dict[tuple[str | None, ...], dict[str, str]]()
    for delivery in planned.deliveries:
        result = _fields(delivery.body, delivery.content_type)
        if delivery.kind == "genuine":
            assert _key(result) not in seen
            seen[_key(result)] = result
    for delivery in planned.deliveries:
        result = _fields(delivery.body, delivery.content_type)
        if delivery.kind == "duplicate":
            assert result == seen[_key(result)]
        if delivery.kind == "conflicting":
            assert result != seen[_key(result)]


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.sampled_from(["sha1", "sha256", "sha512"]))
def test_invalid_signature_signatures_never_fit_and_genuine_ones_always(
    seed: int, algorithm: HashName
) -> None:
    """A forgery that is genuine by accident would be rightly believed, and the demo would cry wolf."""
    planned = plan(_payments(20), seed=seed, password=PASSWORD, fault_injection=WILD, algorithm=algorithm)
    for delivery in planned.deliveries:
        result = _fields(delivery.body, delivery.content_type)
        right = sign(result["unique_id"], password=PASSWORD, algorithm=algorithm)
        assert (result["signature"] == right) == (delivery.kind != "invalid_signature")


@settings(max_examples=60, deadline=None)
@given(plans)
def test_what_is_waited_for_stands_earlier(planned: FaultPlan) -> None:
    """Else the sender would wait for a delivery that no worker has taken up: it would hang for ever."""
    for index, delivery in enumerate(planned.deliveries):
        assert delivery.after is None or delivery.after < index


@settings(max_examples=60, deadline=None)
@given(plans)
def test_every_cause_is_told_by_a_genuine_chargeback(planned: FaultPlan) -> None:
    """A cause that is not reported could never be on the receiver's blacklist."""
    fields = {
        (answer["unique_id"], answer.get("reason_code") or answer.get("rc_code"))
        for delivery in planned.deliveries
        if delivery.kind == "genuine"
        and delivery.about.startswith(("chargeback", "second", "representment_r"))
        for answer in [_fields(delivery.body, delivery.content_type)]
    }
    assert {(cause.unique_id, cause.reason_code) for cause in planned.causes} <= fields


def test_conflicting_content_comes_after_the_genuine_is_settled() -> None:
    """Came it first, it would be the genuine one to the receiver, and every repeat of the genuine a conflict."""
    planned = plan(_payments(80), seed=8, password=PASSWORD, fault_injection=WILD, payment_histories=RESTLESS)
    conflicting = [delivery for delivery in planned.deliveries if delivery.kind == "conflicting"]
    assert conflicting
    for delivery in conflicting:
        assert delivery.after is not None
        first = planned.deliveries[delivery.after]
        assert first.kind == "genuine"
        result, before = (_fields(item.body, item.content_type) for item in (delivery, first))
        assert _key(result) == _key(before)


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    """The same seed must reproduce a failure."""
    item, again = (plan(_payments(40), seed=5, password=PASSWORD, fault_injection=WILD) for _ in range(2))
    other = plan(_payments(40), seed=6, password=PASSWORD, fault_injection=WILD)
    assert msgspec.json.encode(item) == msgspec.json.encode(again)
    assert msgspec.json.encode(item) != msgspec.json.encode(other)


def test_without_fault_injection_every_step_comes_once_in_order() -> None:
    """`Fault injection.none()` is the baseline against which everything else is compared."""
    planned = plan(
        _payments(80),
        seed=3,
        password=PASSWORD,
        fault_injection=FaultInjection.none(),
        payment_histories=RESTLESS,
    )
    assert planned.counts.sent == planned.counts.distinct
    sent = dict[str, list[tuple[str, str]]]()
    for delivery in planned.deliveries:
        result = _fields(delivery.body, delivery.content_type)
        sent.setdefault(result["unique_id"], []).append((result["status"], result.get("event", "")))
    assert {where: tuple(steps) for where, steps in sent.items()} == {
        where: tuple((transition.status, transition.event) for transition in transitions)
        for where, transitions in planned.histories.items()
        if transitions
    }


def test_lies_are_signed_and_change_no_expectation() -> None:
    """The signature covers the id alone; a receiver that confirms must refute these, and the plan must say so."""
    honest = plan(
        _payments(50),
        seed=9,
        password=PASSWORD,
        fault_injection=FaultInjection.none(),
        payment_histories=PaymentHistories.all_approved(),
    )
    lying = plan(
        _payments(50),
        seed=9,
        password=PASSWORD,
        fault_injection=FaultInjection(false_chargeback=1.0),
        payment_histories=PaymentHistories.all_approved(),
    )
    assert lying.counts.false_chargebacks == 50
    assert set(lying.final.values()) == set(honest.final.values()) == {"approved"}
    assert lying.causes == ()


def test_bodies_are_forms_as_the_gateway_writes_them() -> None:
    """Blanks come as `+` and nothing is sent twice; a receiver that reads only %20 must be found out."""
    planned = plan(
        _payments(200),
        seed=2,
        password=PASSWORD,
        fault_injection=FaultInjection.none(),
        payment_histories=RESTLESS,
    )
    bodies = [delivery.body for delivery in planned.deliveries]
    assert any(b"description=Insufficient+funds" in body for body in bodies)
    for body in bodies:
        assert all(len(values) == 1 for values in parse_qs(body.decode(), strict_parsing=True).values())


def test_no_account_number_in_a_repr() -> None:
    """Plans are shown by failing tests, and their output is kept in logs."""
    planned = plan(_payments(3), seed=2, password=PASSWORD, fault_injection=WILD)
    assert "DE89370400440532013000" not in repr(planned)
    assert "DE89370400440532013000" not in repr(_payments(3))
