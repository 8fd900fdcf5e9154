"""
Plan the notifications of a set of payments, with fault injection and the expected result.

Three steps, all drawn from one seed, so that the same arguments give the same bytes in the same order:

1. Each payment gets a **history**: what happens to it at the gateway, in order (`PaymentHistories` has the shares). Each step
   is one signed notification.
2. Faults are injected (`FaultInjection` has the shares): duplicates at once and later, steps out of order, invalid signatures
   before and after the genuine ones, unknown payments, unknown statuses, the same key with another amount, and optionally
   false chargebacks with a valid signature, because a signature covers only the id.
3. The **expected result** is computed from the histories in their true order, not with the rules of the system under test:
   the final state of every attempt, the reasons for blacklist entries, and the number of notifications of each kind.

Of every plan: sent = distinct + duplicates + conflicting + invalid_signature.

Source: the gateway's documentation v60.1 for transport, fields and repeats; the wire formats of its public SDKs.

>>> payment = Payment(transaction_id="t-1", unique_id="44177a21403427eb96664a6d7e5d5d48", amount_minor=100, currency="EUR")
>>> planned = plan([payment], seed=7, password="bogus", payment_histories=PaymentHistories.all_approved(), fault_injection=FaultInjection.none())
>>> planned.final
{'44177a21403427eb96664a6d7e5d5d48': 'approved'}
>>> planned.deliveries[0].body.startswith(b"transaction_id=t-1&unique_id=44177a21403427eb96664a6d7e5d5d48&")
True
>>> plan([payment, payment], seed=7, password="bogus")
Traceback (most recent call last):
    ...
ValueError: two payments have the unique_id 44177a21403427eb96664a6d7e5d5d48
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from tether_sandbox.gateway.payment_history import (
    BLOCK,
    HOLD,
    Cause,
    Fields,
    Payment,
    PaymentHistories,
    State,
    Step,
    Transition,
    causes,
    history,
    outcome,
    reason,
)
from tether_sandbox.gateway.wire import FORM, JSON, HashName, encode, sign

__all__ = ["Counts", "Delivery", "FaultInjection", "FaultPlan", "Kind", "plan"]

# Statuses and events that are not documented.
_UNKNOWN_STATUSES: Final = ("settlement_pondered", "approved_in_principle", "quantum_pending")
_UNKNOWN_EVENTS: Final = ("arbitration_opened", "second_thoughts")


class FaultInjection(msgspec.Struct, frozen=True):
    """
    How often each fault is injected; shares of 1.

    Attributes:
        repeated_at_once: Of the notifications: sent two or three times at the same time.
        repeated_later: Of the notifications: sent again much later.
        reordered: Of the payments: the steps arrive in any order.
        approved_late: Of the charged back: "approved" arrives after the chargeback.
        approved_missing: Of the charged back: "approved" is never sent.
        invalid_signature: Of the notifications: a delivery with an invalid signature at any time.
        invalid_signature_first: Of the notifications: the same with an invalid signature, just before the genuine one.
        unknown_payment: Further payments, unknown to the receiver.
        unknown_status: Of the payments: a step with an undocumented status or event.
        retrieval: Of the payments: a retrieval request, which has a chargeback's status and moves no money.
        conflicting: Of the notifications: the same key with another amount.
        false_chargeback: Of the payments without a chargeback: a chargeback that did not happen, with a valid signature.
        json: Of the notifications: sent as a JSON object instead of a form.
    """

    repeated_at_once: float = 0.10
    repeated_later: float = 0.10
    reordered: float = 0.20
    approved_late: float = 0.30
    approved_missing: float = 0.15
    invalid_signature: float = 0.04
    invalid_signature_first: float = 0.03
    unknown_payment: float = 0.02
    unknown_status: float = 0.02
    retrieval: float = 0.03
    conflicting: float = 0.01
    false_chargeback: float = 0.0
    json: float = 0.0

    @classmethod
    def none(cls) -> "FaultInjection":
        """Every notification once, in order."""
        return cls(**dict.fromkeys(cls.__struct_fields__, 0.0))


Kind = Literal["genuine", "duplicate", "conflicting", "invalid_signature"]


class Delivery(msgspec.Struct, frozen=True):
    """
    A POST request of the plan.

    Attributes:
        kind: "genuine": the first of its key; "duplicate": the same bytes again; "conflicting": the same key with another
            amount; "invalid_signature".
        unique_id: The payment's id, which the echo must contain.
        about: Status and event, for messages.
        body: The request body.
        content_type: `FORM` or `JSON`.
        after: Index of a delivery that must be finished before this one starts, or `None`.
    """

    kind: Kind
    unique_id: str
    about: str
    body: bytes
    content_type: str
    after: int | None = None

    def __repr__(self) -> str:
        """Show the kind and the payment, not the body: it may contain an account number."""
        return f"Delivery({self.kind} {self.unique_id} {self.about}, {len(self.body)} bytes)"

    @property
    def wants_echo(self) -> bool:
        """Whether this must be acknowledged; an invalid signature must be refused."""
        return self.kind != "invalid_signature"


class Counts(msgspec.Struct, frozen=True):
    """
    Number of deliveries of each kind in a plan.

    `sent` = `distinct` + `duplicates` + `conflicting` + `invalid_signature`. The counts after `invalid_signature` are parts of
    `distinct` (a chargeback may be of an unknown payment), except `json`, which counts deliveries, and `reordered`, which
    counts payments.

    Attributes:
        sent: Planned requests, without repeats after a missing echo.
        distinct: Genuine notifications with distinct keys: the rows a receiver must have.
        duplicates: Repeats of those, byte for byte.
        conflicting: Repeats of those with another amount.
        invalid_signature: To be refused.
        unknown_payments: Notifications about payments outside the given ones.
        unknown_statuses: With an unknown status or event.
        chargebacks: First chargebacks.
        reversals: Won back.
        second_chargebacks: Lost again.
        retrievals: Retrieval requests.
        false_chargebacks: Chargebacks that did not happen, with a valid signature.
        approved_late: "approved" after the chargeback.
        json: Deliveries as JSON.
        reordered: Payments whose steps arrive in another order than they happened.
    """

    sent: int = 0
    distinct: int = 0
    duplicates: int = 0
    conflicting: int = 0
    invalid_signature: int = 0
    unknown_payments: int = 0
    unknown_statuses: int = 0
    chargebacks: int = 0
    reversals: int = 0
    second_chargebacks: int = 0
    retrievals: int = 0
    false_chargebacks: int = 0
    approved_late: int = 0
    json: int = 0
    reordered: int = 0


class FaultPlan(msgspec.Struct, frozen=True):
    """
    A plan of deliveries, and the expected result.

    Attributes:
        deliveries: In the order in which they start.
        final: unique_id to the final state of each given payment's attempt; "pending" if nothing is sent.
        causes: Every entry the blacklist may have, sorted; also of chargebacks that are reversed later.
        counts: Number of deliveries of each kind.
        histories: unique_id to the transitions of each given payment, in order.
    """

    deliveries: tuple[Delivery, ...]
    final: dict[str, State]
    causes: tuple[Cause, ...]
    counts: Counts
    histories: dict[str, tuple[Transition, ...]]


class _Post(msgspec.Struct):
    """A delivery with a time, not yet an index."""

    at: float
    kind: Kind
    unique_id: str
    about: str
    body: bytes
    content_type: str
    after: "_Post | None" = None


def plan(
    attempts: Sequence[Payment],
    *,
    seed: int,
    password: str,
    fault_injection: FaultInjection | None = None,
    payment_histories: PaymentHistories | None = None,
    algorithm: HashName = "sha1",
    terminal_token: str = "",
    block: frozenset[str] = BLOCK,
    hold: frozenset[str] = HOLD,
) -> FaultPlan:
    """
    Plan the notifications of payments, with fault injection and the expected result.

    Args:
        attempts: The payments that the receiver knows; distinct unique_ids.
        seed: Same seed and arguments, same plan, byte for byte.
        password: The API password that signs.
        fault_injection: The shares of faults; `None` for the defaults.
        payment_histories: The shares of outcomes; `None` for the defaults.
        algorithm: The hash of the signature.
        terminal_token: A field of each notification; "" omits it.
        block: Reason codes for which the receiver blocks.
        hold: Reason codes for which it holds.

    Raises:
        ValueError: when two payments share a unique_id, or the password is empty.
    """
    if not password:
        raise ValueError("an empty password would make every id its own signature")
    fault_injection = fault_injection or FaultInjection()
    payment_histories = payment_histories or PaymentHistories()
    rng = random.Random(seed)
    writer = _Writer(
        rng,
        password=password,
        algorithm=algorithm,
        terminal_token=terminal_token,
        fault_injection=fault_injection,
    )
    final = dict[str, State]()
    histories = dict[str, tuple[Transition, ...]]()
    blacklisted = set[Cause]()
    for payment in attempts:
        if payment.unique_id in final:
            raise ValueError(f"two payments have the unique_id {payment.unique_id}")
        steps = history(rng, payment_histories=payment_histories)
        final[payment.unique_id] = outcome(steps)
        histories[payment.unique_id] = tuple(Transition.of(step) for step in steps)
        blacklisted.update(causes(payment, steps, block=block, hold=hold))
        writer.add(payment, steps)
    never_silent = msgspec.structs.replace(payment_histories, silent=0.0)
    for number in range(_share(rng, len(attempts), fault_injection.unknown_payment)):
        unknown = Payment(f"unknown-{seed}-{number}", f"{rng.getrandbits(128):032x}", 100, "EUR")
        writer.add(unknown, history(rng, payment_histories=never_silent), unknown=True)
    return FaultPlan(
        deliveries=writer.deliveries(),
        final=final,
        causes=tuple(sorted(blacklisted)),
        counts=Counts(**writer.counts),
        histories=histories,
    )


def _share(rng: random.Random, of: int, share: float) -> int:
    """*share* of *of*, randomly rounded up or down, so that small sets get some, too."""
    exact = of * share
    return int(exact) + (rng.random() < exact - int(exact))


class _Writer:
    """Turns histories into posts at times from 0 to 1, and counts them."""

    def __init__(
        self,
        rng: random.Random,
        *,
        password: str,
        algorithm: HashName,
        terminal_token: str,
        fault_injection: FaultInjection,
    ) -> None:
        self.rng = rng
        self.password = password
        self.algorithm = algorithm
        self.terminal_token = terminal_token
        self.fault_injection = fault_injection
        self.posts = list[_Post]()
        self.counts = Counter[str]()

    def deliveries(self) -> tuple[Delivery, ...]:
        self.posts.sort(key=lambda post: post.at)  # stable: posts of the same time keep their order
        index = {id(post): place for place, post in enumerate(self.posts)}
        return tuple(
            Delivery(
                post.kind,
                post.unique_id,
                post.about,
                post.body,
                post.content_type,
                None if post.after is None else index[id(post.after)],
            )
            for post in self.posts
        )

    def add(self, payment: Payment, steps: Sequence[Step], *, unknown: bool = False) -> None:
        """Give every step of a payment a time and its posts, with injected faults."""
        rng, fault_injection = self.rng, self.fault_injection
        steps = [*steps, *self._noise(steps)]
        start = rng.random() * 0.6
        in_order = [start + (0.9 - start) * place / max(len(steps), 1) for place in range(len(steps))]
        timestamps = list(in_order)
        if rng.random() < fault_injection.reordered:
            rng.shuffle(timestamps)
        disputed = next((place for place, step in enumerate(steps) if step.counts == "chargebacks"), None)
        if disputed is not None:
            approved = next(place for place, step in enumerate(steps) if step.fields["status"] == "approved")
            steps[approved].sent = rng.random() >= fault_injection.approved_missing
            if rng.random() < fault_injection.approved_late:
                timestamps[disputed], timestamps[approved] = sorted(
                    (timestamps[disputed], timestamps[approved])
                )
            self.counts["approved_late"] += (
                steps[approved].sent and timestamps[approved] > timestamps[disputed]
            )
        elif steps and not unknown and rng.random() < fault_injection.false_chargeback:
            chargeback = {"status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}
            steps.append(Step(chargeback, "false_chargebacks"))
            timestamps.append(rng.random())
        self.counts["reordered"] += timestamps[: len(in_order)] != in_order
        for step, at in zip(steps, timestamps, strict=True):
            if step.sent:
                self._post_step(payment, step, at=at, unknown=unknown)

    def _noise(self, steps: Sequence[Step]) -> list[Step]:
        """Steps that change no state."""
        noise = list[Step]()
        if steps and self.rng.random() < self.fault_injection.unknown_status:
            fields = {"status": self.rng.choice(_UNKNOWN_STATUSES)}
            if self.rng.random() < 0.5:
                fields = {
                    "status": steps[-1].fields["status"],
                    "event": self.rng.choice(_UNKNOWN_EVENTS),
                }
            noise.append(Step(fields, "unknown_statuses"))
        if steps and self.rng.random() < self.fault_injection.retrieval:
            # As documented: the status of a chargeback, and an event that only requests documents.
            request = {"status": "chargebacked", "event": "retrieval_request"}
            noise.append(Step(request | reason(self.rng), "retrievals"))
        return noise

    def _post_step(self, payment: Payment, step: Step, *, at: float, unknown: bool) -> None:
        rng, fault_injection = self.rng, self.fault_injection
        fields = self._fields(payment, step)
        content_type = JSON if rng.random() < fault_injection.json else FORM
        first = self._post(payment, step, at, "genuine", fields, content_type)
        self.counts["distinct"] += 1
        self.counts["unknown_payments"] += unknown
        if step.counts:
            self.counts[step.counts] += 1
        if rng.random() < fault_injection.invalid_signature_first:
            # If the receiver remembers this one, it loses the genuine one that follows.
            invalid = fields | {"signature": self._wrong_signature(payment.unique_id)}
            first.after = self._post(payment, step, at - 1e-9, "invalid_signature", invalid, content_type)
        if rng.random() < fault_injection.repeated_at_once:
            for _ in range(rng.choice((1, 1, 2))):
                self._post(payment, step, at, "duplicate", fields, content_type)
        if rng.random() < fault_injection.repeated_later:
            self._post(payment, step, at + (1 - at) * rng.random(), "duplicate", fields, content_type)
        if rng.random() < fault_injection.conflicting:
            other = fields | {"amount": str(payment.amount_minor + 1)}
            later = at + (1 - at) * rng.random()
            self._post(payment, step, later, "conflicting", other, content_type).after = first
        if rng.random() < fault_injection.invalid_signature:
            # The worst one to accept: a chargeback of a good payment, with a blocking reason.
            chargeback = Step({"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"})
            invalid = self._fields(payment, chargeback) | {
                "signature": self._wrong_signature(payment.unique_id)
            }
            self._post(payment, chargeback, rng.random(), "invalid_signature", invalid, content_type)

    def _post(
        self, payment: Payment, step: Step, at: float, kind: Kind, fields: Fields, content_type: str
    ) -> _Post:
        body = encode(fields, content_type=content_type)
        post = _Post(at, kind, payment.unique_id, step.about, body, content_type)
        self.posts.append(post)
        self.counts["sent"] += 1
        self.counts["json"] += content_type == JSON
        if kind != "genuine":
            self.counts["duplicates" if kind == "duplicate" else kind] += 1
        return post

    def _fields(self, payment: Payment, step: Step) -> Fields:
        fields = {
            "transaction_id": payment.transaction_id,
            "unique_id": payment.unique_id,
            # Also of a dispute this is the original payment's type.
            "transaction_type": "sdd_sale",
            "terminal_token": self.terminal_token,
            "amount": str(payment.amount_minor),
            "currency": payment.currency,
            "bank_account_number": payment.iban or "",
            "signature": sign(payment.unique_id, password=self.password, algorithm=self.algorithm),
        }
        return {name: value for name, value in fields.items() if value} | step.fields

    def _wrong_signature(self, unique_id: str) -> str:
        digits = len(sign(unique_id, password=self.password, algorithm=self.algorithm))
        other = f"{self.rng.getrandbits(128):032x}"
        return self.rng.choice(
            (
                f"{self.rng.getrandbits(digits * 4):0{digits}x}",  # guessed
                sign(unique_id, password="", algorithm=self.algorithm),  # as if no secret were set
                sign(unique_id, password=self.password + " ", algorithm=self.algorithm),  # nearly right
                sign(other, password=self.password, algorithm=self.algorithm),  # genuine, of another payment
                sign(unique_id, password=self.password, algorithm=self.algorithm)[:-1],  # cut
            )
        )
