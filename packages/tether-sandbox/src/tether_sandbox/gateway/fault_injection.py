"""
What a gateway may send for a set of payments, planned: every notification, every nuisance, and what must come of it.

Three steps, all drawn from one seed, so the same arguments give the same bytes in the same order:

1. Each payment gets a **history**: what truly happens to it at the gateway, in order (`Lives` says how often
   which). Each step of it is one signed notification.
2. The histories are corrupted (`Fault injection` says how much): deliveries repeated at once and later, steps out of
   order, forged signatures before and after the genuine ones, payments nobody knows, statuses nobody has
   seen, the same key with another amount, and, if asked for, lies: claims with a genuine signature that are
   not true, because a signature covers nothing but the id.
3. The **expectation** is read off the true histories, by walking each in its true order, and not with the
   rules of the system under test: the state every attempt must end in, the causes for which an IBAN may be
   blacklisted, and how many of each kind were sent.

A plan conserves: sent = distinct + duplicates + conflicting + forged.

Source: the gateway's documentation v60.1 for transport, fields and repeats; the wire formats of its public SDKs.

>>> payment = Payment(transaction_id="t-1", unique_id="44177a21403427eb96664a6d7e5d5d48", amount_minor=100, currency="EUR")
>>> peaceful = plan([payment], seed=7, password="bogus", payment_histories=PaymentHistories.all_approved(), fault_injection=FaultInjection.none())
>>> peaceful.final
{'44177a21403427eb96664a6d7e5d5d48': 'approved'}
>>> peaceful.deliveries[0].body.startswith(b"transaction_id=t-1&unique_id=44177a21403427eb96664a6d7e5d5d48&")
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

__all__ = ["Counts", "Delivery", "FaultInjection", "Kind", "Plan", "plan"]

# Statuses and events that no documentation knows.
_STRANGE_STATUSES: Final = ("settlement_pondered", "approved_in_principle", "quantum_pending")
_STRANGE_EVENTS: Final = ("arbitration_opened", "second_thoughts")


class FaultInjection(msgspec.Struct, frozen=True):
    """
    How much the delivery is corrupted; shares of 1.

    Attributes:
        repeated_at_once: Of the notifications: sent two or three times at the same time.
        repeated_later: Of the notifications: sent again much later.
        reordered: Of the payments: their steps arrive in any order.
        approved_late: Of the charged back: the "approved" arrives after the chargeback.
        approved_missing: Of the charged back: the "approved" is never sent.
        invalid_signature: Of the notifications: a delivery with a wrong signature somewhere in the stream.
        invalid_signature_first: Of the notifications: the same bytes but for the signature, just before the genuine ones.
        unknown_payment: As many more payments that the receiver has never heard of.
        unknown_status: Of the payments: one step with a status or an event nobody has seen.
        retrieval: Of the payments: a retrieval request, which looks charged back and moves no money.
        conflicting: Of the notifications: the same key once more, with another amount.
        lie: Of the payments that are not charged back: a chargeback that never was, genuinely signed.
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
    lie: float = 0.0
    json: float = 0.0

    @classmethod
    def none(cls) -> "FaultInjection":
        """Every notification once, in order."""
        return cls(**dict.fromkeys(cls.__struct_fields__, 0.0))


Kind = Literal["genuine", "duplicate", "conflicting", "invalid_signature"]


class Delivery(msgspec.Struct, frozen=True):
    """
    One POST of the plan.

    Attributes:
        kind: "genuine" the first of its key; "duplicate" the same bytes again; "conflicting" the same key with
            another amount; "forged" signed with something else.
        unique_id: The payment's id, which the echo must hold.
        about: Status and event, for people.
        body: The request body.
        content_type: `FORM` or `JSON`.
        after: Index of a delivery that must be settled before this one starts, or `None`.
    """

    kind: Kind
    unique_id: str
    about: str
    body: bytes
    content_type: str
    after: int | None = None

    def __repr__(self) -> str:
        """Say what it is and of which payment; the body holds an account number."""
        return f"Delivery({self.kind} {self.unique_id} {self.about}, {len(self.body)} bytes)"

    @property
    def wants_echo(self) -> bool:
        """Whether this must be acknowledged; what is forged must be refused."""
        return self.kind != "invalid_signature"


class Counts(msgspec.Struct, frozen=True):
    """
    How much of each kind a plan holds.

    `sent` = `distinct` + `duplicates` + `conflicting` + `forged`. The counts after `forged` are shares of
    `distinct` (a chargeback may be of an unknown payment), except `json`, which counts deliveries, and
    `reordered`, which counts payments.

    Attributes:
        sent: POSTs planned, without the repeats that a missing echo causes.
        distinct: Genuine notifications with a key of their own: the rows a receiver must have.
        duplicates: Repeats of those, byte for byte.
        conflicting: Repeats of those with another amount.
        invalid_signature: To be refused.
        unknown_payments: Notifications about payments outside the given ones.
        unknown_statuses: With a status or event nobody has seen.
        chargebacks: First chargebacks.
        reversals: Won back.
        second_chargebacks: Lost again.
        retrievals: Retrieval requests.
        lies: Genuinely signed and untrue.
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
    lies: int = 0
    approved_late: int = 0
    json: int = 0
    reordered: int = 0


class Plan(msgspec.Struct, frozen=True):
    """
    What will be delivered, and what must come of it.

    Attributes:
        deliveries: In the order in which they are to start.
        final: For each given payment, by unique_id, the state its attempt must end in. An attempt that was
            "pending" and of which nothing was ever sent stays so.
        causes: Every entry the blacklist may hold, sorted; a chargeback that was won back later is a cause too.
        counts: How much of each kind.
        histories: What truly happened to each given payment, in order.
    """

    deliveries: tuple[Delivery, ...]
    final: dict[str, State]
    causes: tuple[Cause, ...]
    counts: Counts
    histories: dict[str, tuple[Transition, ...]]


class _Post(msgspec.Struct):
    """A delivery that has a place on the time line but no index yet."""

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
) -> Plan:
    """
    Plan the notifications of some payments, with fault injection, and what must come of them.

    Args:
        attempts: The payments the receiver knows; distinct unique_ids.
        seed: Same seed and arguments, same plan, byte for byte.
        password: The API password that signs.
        fault_injection: How much is corrupted; `None` for the defaults.
        payment_histories: How the payments end; `None` for the defaults.
        algorithm: The hash of the signature.
        terminal_token: Sent along; "" leaves the field out.
        block: Reason codes for which the receiver blocks.
        hold: Reason codes for which it holds.

    Returns:
        The plan.

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
        writer.tell(payment, steps)
    vocal = msgspec.structs.replace(payment_histories, silent=0.0)
    for number in range(_share(rng, len(attempts), fault_injection.unknown_payment)):
        stranger = Payment(f"stranger-{seed}-{number}", f"{rng.getrandbits(128):032x}", 100, "EUR")
        writer.tell(stranger, history(rng, payment_histories=vocal), unknown=True)
    return Plan(
        deliveries=writer.deliveries(),
        final=final,
        causes=tuple(sorted(blacklisted)),
        counts=Counts(**writer.counts),
        histories=histories,
    )


def _share(rng: random.Random, of: int, share: float) -> int:
    """*share* of *of*, with its fraction decided by chance, so that small sets get some too."""
    exact = of * share
    return int(exact) + (rng.random() < exact - int(exact))


class _Writer:
    """Turns histories into posts on a time line from 0 to 1, and keeps the counts."""

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
        self.posts.sort(key=lambda post: post.at)  # stable: what shares a time keeps its order
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

    def tell(self, payment: Payment, steps: Sequence[Step], *, unknown: bool = False) -> None:
        """Give every step of one payment a time and its posts, with the nuisances around them."""
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
        elif steps and not unknown and rng.random() < fault_injection.lie:
            claim = {"status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}
            steps.append(Step(claim, "lies"))
            timestamps.append(rng.random())
        self.counts["reordered"] += timestamps[: len(in_order)] != in_order
        for step, at in zip(steps, timestamps, strict=True):
            if step.sent:
                self._post_step(payment, step, at=at, unknown=unknown)

    def _noise(self, steps: Sequence[Step]) -> list[Step]:
        """Steps that say something and move nothing."""
        noise = list[Step]()
        if steps and self.rng.random() < self.fault_injection.unknown_status:
            strange = {"status": self.rng.choice(_STRANGE_STATUSES)}
            if self.rng.random() < 0.5:
                strange = {
                    "status": steps[-1].fields["status"],
                    "event": self.rng.choice(_STRANGE_EVENTS),
                }
            noise.append(Step(strange, "unknown_statuses"))
        if steps and self.rng.random() < self.fault_injection.retrieval:
            # Documented so: the status says charged back, the event says that only papers are asked for.
            asked = {"status": "chargebacked", "event": "retrieval_request"}
            noise.append(Step(asked | reason(self.rng), "retrievals"))
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
            # If the receiver remembers this one, the genuine one that follows is lost.
            poison = fields | {"signature": self._wrong_signature(payment.unique_id)}
            first.after = self._post(payment, step, at - 1e-9, "invalid_signature", poison, content_type)
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
            # What would hurt most if it were believed: a chargeback of a good payment, with a blocking reason.
            claim = Step({"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"})
            invalid_signature = self._fields(payment, claim) | {
                "signature": self._wrong_signature(payment.unique_id)
            }
            self._post(payment, claim, rng.random(), "invalid_signature", invalid_signature, content_type)

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
            # Of a dispute, too, this is the original payment's type.
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
