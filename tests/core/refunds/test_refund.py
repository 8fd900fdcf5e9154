"""Giving a debit back: judged by one table, sent once, and never beside a chargeback that is known."""

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.errors import GatewaySilent, IllegalStep, NotSubmitted
from tether_core.events import AmountMismatched, AttemptStatusChanged, RefundChargedBack, RefundStatusChanged
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Attempt
from tether_core.payments.not_found import Inquiry
from tether_core.payments.submission import Submission, SubmissionRules
from tether_core.refunds import allowance, refund
from tether_core.refunds.allowance import RefundKind
from tether_core.refunds.refund import Outcome, Refund
from tether_sandbox.histories import EPOCH, Clocks, Places

from tests.support.clock import NOON

LATER = NOON + timedelta(days=30)
HISTORIES = int(os.environ.get("TETHER_HISTORIES", "4000"))
RULES = SubmissionRules(lease_s=75, not_found_grace_s=900, submissions_max=4)


def _debit(payment: int = stages.APPROVED, dispute: int = 0, *, unique_id: str | None = "d1") -> Attempt:
    return Attempt(7, "default", "t-7", unique_id, 1000, "EUR", payment, dispute)


def _ready(kind: RefundKind = "refund", debit: Attempt | None = None, *, at: datetime = LATER) -> Refund:
    debit = debit or _debit()
    own_id = refund.transaction_id(kind, debit, number=1)
    order = Submission(Attempt(1, "default", own_id, None, 1000, "EUR"), submit_at=at)
    return Refund(kind, debit, order, NOON)


def _after(item: Refund, outcome: Outcome) -> Refund:
    return msgspec.structs.replace(item, order=outcome.order, debit=outcome.debit)


def _sent(kind: RefundKind = "refund", *, at: datetime = LATER) -> Refund:
    item = _ready(kind, at=at)
    return _after(item, refund.claim(item, now=at, identity="a1", rules=RULES))


def _answer(status: str, *, code: str | None = None, unique_id: str | None = "b1") -> GatewayAnswer:
    plain = read_answer(b"<payment_response><status>approved</status></payment_response>")
    return msgspec.structs.replace(plain, status=status, code=code, unique_id=unique_id)


def _notification(item: Refund, status: str, **fields: str) -> Notification:
    more = "".join(f"&{name}={value}" for name, value in fields.items())
    body = (
        f"unique_id=b1&transaction_id={item.order.attempt.transaction_id}&signature=x&status={status}{more}"
    )
    return decode(body.encode(), content_type=FORM)


@pytest.mark.parametrize(
    ("payment", "dispute", "why"),
    [
        (stages.SENT, 0, "of unknown outcome"),
        (stages.UNKNOWN_TO_US, 0, "of unknown outcome"),
        (stages.UNKNOWN_TO_GATEWAY, 0, "of unknown outcome"),
        (stages.IN_PROGRESS, 0, "sent today"),
        (stages.APPROVED, 0, "sent today"),
        (stages.ERROR, 0, "nothing to give"),
        (stages.DECLINED, 0, "nothing to give"),
        (stages.VOIDED, 0, "refunded"),
        (stages.REFUNDED, 0, "refunded"),
        (stages.APPROVED, stages.CHARGEBACKED, "charged back"),
        (stages.APPROVED, stages.LOST_AGAIN, "charged back"),
        (stages.APPROVED, stages.WON_BACK, "won back"),
        (stages.REFUNDED, stages.WON_BACK, "refunded"),
    ],
)
def test_what_may_be_voided(payment: int, dispute: int, why: str) -> None:
    """A void of what is charged back pays twice; one of unknown outcome cancels nobody knows what."""
    verdict = allowance.judge("void", _debit(payment, dispute), submitted_at=NOON, now=NOON)
    assert (verdict.allowed, verdict.why) == (why == "sent today", why)
    assert allowance.sentence("void", verdict).endswith(".")


def test_a_void_is_for_today_only() -> None:
    """The next day the debit is with the banks; a person would believe it was stopped."""
    midnight = NOON.replace(hour=23)  # of the banks, an hour before that of UTC in winter
    assert allowance.judge("void", _debit(), submitted_at=NOON, now=midnight - timedelta(seconds=1)).allowed
    assert allowance.judge("void", _debit(), submitted_at=NOON, now=midnight).why == "sent on an earlier day"


@pytest.mark.parametrize("kind", ["refund", "void"])
def test_what_the_gateway_never_named_cannot_be_refunded(kind: RefundKind) -> None:
    """The request refers to the gateway's id; without one it would fail inside the worker."""
    now = LATER if kind == "refund" else NOON
    assert not allowance.judge(kind, _debit(unique_id=None), submitted_at=NOON, now=now).allowed


def test_ids_tell_orders_apart_and_are_the_same_tomorrow() -> None:
    """A second id for the same order is a second refund; one id for two orders hides one of them."""
    ids = {
        refund.transaction_id(kind, debit, number=number)
        for kind in ("refund", "void")
        for number in (1, 2)
        for debit in (_debit(), msgspec.structs.replace(_debit(), transaction_id="t-8"))
    }
    assert len(ids) == 8
    assert max(map(len, ids)) <= 60
    assert refund.transaction_id("refund", _debit(), number=1) in ids


@pytest.mark.parametrize(("kind", "state"), [("refund", "refunded"), ("void", "voided")])
def test_an_approved_order_moves_its_debit(kind: RefundKind, state: str) -> None:
    """The books would show money that is gone; both moves are announced, in the words of each."""
    item = _sent(kind, at=LATER if kind == "refund" else NOON)
    done = refund.record(item, _answer("approved"), number=1, now=LATER, rules=RULES)
    assert (done.order.attempt.state, done.debit.state) == ("approved", state)
    order, debit = done.events
    assert isinstance(order, RefundStatusChanged)
    assert (order.attempt_id, order.before, order.after) == (7, "pending", "approved")
    assert isinstance(debit, AttemptStatusChanged)
    assert (debit.attempt_id, debit.before, debit.after) == (7, "approved", state)


def test_a_pending_order_moves_nothing_until_it_is_approved() -> None:
    """Sample answers to refunds are pending_async: shown as refunded, a refund that fails later is forgotten."""
    item = _sent()
    pending = refund.record(item, _answer("pending_async"), number=1, now=LATER, rules=RULES)
    assert (pending.order.attempt.state, pending.debit.state, pending.events) == ("pending", "approved", ())
    item = _after(item, pending)
    decision, outcome = refund.decide(item, _notification(item, "approved"), account="default")
    assert decision.outcome == "applied"
    assert outcome is not None
    assert outcome.debit.state == "refunded"
    decision, outcome = refund.decide(
        _after(item, outcome), _notification(item, "approved"), account="default"
    )
    assert (decision.outcome, outcome) == ("unchanged", None)


def test_a_refused_order_ends_and_leaves_the_debit() -> None:
    """The debtor's money is with us still; a debit shown as refunded would never be paid back."""
    item = _sent()
    for answer in (_answer("declined", code="500"), _answer("error", code="440", unique_id=None)):
        done = refund.record(item, answer, number=1, now=LATER, rules=RULES)
        assert done.order.step == "ended"
        assert done.order.attempt.error_code == answer.code
        assert done.debit == item.debit


@pytest.mark.parametrize("code", ["110", "220", "410", "420"])
def test_an_order_that_is_rejected_ends(code: str) -> None:
    """It would be sent again every minute for ever, and the person who waits would never hear why."""
    done = refund.record(
        _sent(), _answer("error", code=code, unique_id=None), number=1, now=LATER, rules=RULES
    )
    assert (done.order.step, done.order.attempt.state) == ("ended", "error")
    assert done.order.attempt.error_code == code
    assert done.order.submit_at is None


@pytest.mark.parametrize("kind", ["refund", "void"])
@pytest.mark.parametrize("cause", ["connect", "no_free_connection", "throttled"])
def test_an_order_that_was_not_submitted_is_ready_again(kind: RefundKind, cause: str) -> None:
    """Nothing left, so nobody can be paid twice by it; unknown, a void would miss its day."""
    at = LATER if kind == "refund" else NOON
    item = _sent(kind, at=at)
    back = refund.record(item, NotSubmitted(cause), number=1, now=at, rules=RULES)
    assert (back.order.step, back.order.attempt.state, back.debit) == ("ready", "pending", item.debit)
    assert (back.order.uncounted, back.order.submitted_to) == (1, ())
    assert back.order.submit_at is not None
    again = refund.claim(_after(item, back), now=back.order.submit_at, rules=RULES, identity="a1")
    assert again.order.step == "submitting"


def test_silence_leaves_the_order_unknown_and_it_is_not_sent_again() -> None:
    """The gateway may have it: sent once more, the debtor is paid twice."""
    item = _sent()
    lost = refund.record(item, GatewaySilent(why="timeout"), number=1, now=LATER, rules=RULES)
    assert (lost.order.step, lost.order.attempt.state, lost.debit.state) == ("unknown", "unknown", "approved")
    with pytest.raises(IllegalStep):
        refund.claim(_after(item, lost), now=LATER, rules=RULES)
    here = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", inquired_s=30.0, answered_s=31.0)
    early = refund.resolve(_after(item, lost), inquired_at=LATER, inquiry=here, rules=RULES)
    assert early.cause == "too_early"
    hour = LATER + timedelta(hours=1)
    later = msgspec.structs.replace(here, inquired_s=3_630.0, answered_s=3_631.0)
    free = refund.resolve(_after(item, early), inquired_at=hour, inquiry=later, rules=RULES)
    assert free.order.step == "ready"
    rotated = msgspec.structs.replace(later, not_found_at=frozenset({"b2"}), configured=frozenset({"b2"}))
    elsewhere = refund.resolve(_after(item, early), inquired_at=hour, inquiry=rotated, rules=RULES)
    assert (elsewhere.cause, elsewhere.order.step) == ("not_found_elsewhere", "unknown")
    assert refund.apply_record(_after(item, lost), _answer("approved")).debit.state == "refunded"


def test_a_worker_that_dies_leaves_the_order_unknown() -> None:
    """Ready again, it would be sent a second time."""
    item = _sent()
    assert refund.expire(item, now=LATER + timedelta(seconds=76)).order.step == "unknown"


def test_a_chargeback_that_comes_first_stops_the_order() -> None:
    """The bank has paid the debtor; a refund sent all the same is the second payment."""
    item = _ready(debit=_debit(stages.APPROVED, stages.CHARGEBACKED))
    stopped = refund.claim(item, now=LATER, rules=RULES)
    assert (stopped.cause, stopped.order.attempt.state, stopped.order.attempt.error_code) == (
        "charged back",
        "error",
        "excluded",
    )


def test_a_chargeback_that_meets_an_order_under_way_is_announced() -> None:
    """Nobody can stop either of the two; unseen, the money is simply gone."""
    item = msgspec.structs.replace(_sent(), debit=_debit(stages.APPROVED, stages.CHARGEBACKED))
    done = refund.record(item, _answer("approved"), number=1, now=LATER, rules=RULES)
    assert done.debit.refunded_and_charged_back
    assert RefundChargedBack(7) in done.events
    assert done.debit.state == "chargebacked"


def test_claims_about_orders_are_confirmed_like_all_others() -> None:
    """A sender who has seen one notification of a refund can sign another."""
    item = _sent()
    decision, outcome = refund.decide(
        item, _notification(item, "approved"), account="default", policy=ApplyPolicy(confirm="all")
    )
    assert (decision.outcome, outcome) == ("confirm", None)
    decision, outcome = refund.decide(item, _notification(item, "approved"), account="other")
    assert (decision.outcome, decision.reason, outcome) == ("park", "other_account", None)
    decision, outcome = refund.decide(
        item, _notification(item, "chargebacked", event="chargeback"), account="default"
    )
    assert (decision.outcome, outcome) == ("park", None)


@pytest.mark.parametrize("status", ["approved", "declined", "error", "refunded"])
def test_what_becomes_of_an_order_is_confirmed_by_default(status: str) -> None:
    """A false approval of a refund marks a debit as refunded; a false decline allows a second refund."""
    sent = _sent()
    known = msgspec.structs.replace(sent.order.attempt, unique_id="b1")
    item = msgspec.structs.replace(sent, order=msgspec.structs.replace(sent.order, attempt=known))
    decision, outcome = refund.decide(
        item, _notification(item, status), account="default", policy=ApplyPolicy(confirm="failures")
    )
    assert (decision.outcome, outcome) == ("confirm", None)


def test_an_order_of_another_amount_is_shown() -> None:
    """A refund in part is none that we asked for."""
    sent = _sent()
    known = msgspec.structs.replace(sent.order.attempt, unique_id="b1")
    item = msgspec.structs.replace(sent, order=msgspec.structs.replace(sent.order, attempt=known))
    _, outcome = refund.decide(item, _notification(item, "approved", amount="400"), account="default")
    assert outcome is not None
    assert AmountMismatched(7, 1000, 400) in outcome.events


class Paid(msgspec.Struct):
    """A refund in the gateway's books."""

    own_id: str
    place: str
    status: str


class World:
    """
    A debit, orders about it, a gateway that answers badly, and a bank that may return the debit.

    The clocks, the gateway identities and the database do what they do in tests/core/payments/test_never_twice.py.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.clocks, self.places = Clocks(self.rng), Places(self.rng)
        self.clocks.true_s = (LATER - EPOCH).total_seconds()
        self.clocks.boot_machine()
        self.debit = _debit()
        self.orders: list[Refund] = []
        self.ledger: list[Paid] = []
        self.arriving: list[tuple[float, Callable[[], None]]] = []
        self.under_way: list[tuple[int, int, str, GatewayAnswer | GatewaySilent]] = []
        self.copy: tuple[list[Refund], frozenset[str]] | None = None
        self.made = 0
        self.back_at: datetime | None = None
        self.losses = 0
        self.healthy = False
        self.causes = Counter[str]()

    @property
    def now(self) -> datetime:
        """By Postgres."""
        return self.clocks.now

    def advance(self, seconds: float) -> None:
        self.clocks.true_s += seconds
        due = [do for at_s, do in self.arriving if at_s <= self.clocks.true_s]
        self.arriving = [(at_s, do) for at_s, do in self.arriving if at_s > self.clocks.true_s]
        for do in due:
            do()
        self.check()

    def order(self) -> None:
        stands = any(item.order.attempt.state in refund.ACTIVE for item in self.orders)
        if not stands and allowance.judge("refund", self.debit, submitted_at=NOON, now=self.now).allowed:
            number = len(self.orders) + 1
            own_id = refund.transaction_id("refund", self.debit, number=number)
            submission = Submission(Attempt(number, "default", own_id, None, 1000, "EUR"), submit_at=self.now)
            made = Refund("refund", self.debit, submission, NOON)
            if self.back_at is not None:  # the lost history may have submitted it under the same id
                made = msgspec.structs.replace(made, order=refund.lose_history(made, at=self.back_at).order)
            self.orders.append(made)
            self.made = max(self.made, number)

    def put(self, row: int, outcome: Outcome) -> None:
        self.orders[row] = msgspec.structs.replace(self.orders[row], order=outcome.order)
        self.debit = outcome.debit
        self.causes[outcome.cause] += 1

    def fetch_one(self, row: int) -> Refund:
        return msgspec.structs.replace(self.orders[row], debit=self.debit)

    def submit(self) -> None:
        for row, item in enumerate(self.orders):
            if item.order.step != "ready" or item.order.submit_at is None or item.order.submit_at > self.now:
                continue
            place = self.places.current
            outcome = refund.claim(self.fetch_one(row), now=self.now, identity=place, rules=RULES)
            self.put(row, outcome)
            if outcome.cause == "claimed":
                self.call(row, place=place)

    def call(self, row: int, *, place: str) -> None:
        order = self.orders[row].order
        own_id, number = order.attempt.transaction_id, order.submission_count
        outcomes = ("take", "lose", "late", "drop", "refuse", "die", "230", "no connection")
        outcome = "take" if self.healthy else self.rng.choice(outcomes)
        if not self.places.password_fits:
            outcome = "refuse"

        def take() -> None:
            # Like the gateway of the debits at its worst, it does not look for equal ids.
            self.ledger.append(Paid(own_id, place, self.rng.choice(("approved", "pending_async"))))

        if outcome in {"take", "lose", "die", "230"}:
            take()
        if outcome == "late":  # within lease and grace period, by true time
            delay_s = self.rng.uniform(0, RULES.lease_s + RULES.not_found_grace_s - 1)
            self.arriving.append((self.clocks.true_s + delay_s, take))
        answer: GatewayAnswer | GatewaySilent = GatewaySilent(why="timeout")
        if outcome == "take":
            answer = self.word(self.ledger[-1])
        elif outcome == "230":
            answer = _answer("error", code="230", unique_id=None)
        elif outcome == "refuse":
            answer = _answer("error", code="420", unique_id=None)
        elif outcome == "no connection":
            answer = NotSubmitted("connect")
        if outcome != "die":
            self.under_way.append((row, number, own_id, answer))

    def word(self, paid: Paid) -> GatewayAnswer:
        return msgspec.structs.replace(
            _answer(paid.status, unique_id=f"u-{paid.own_id}"), transaction_id=paid.own_id
        )

    def record(self) -> None:
        if self.under_way:
            row, number, own_id, result = self.under_way.pop(self.rng.randrange(len(self.under_way)))
            if row < len(self.orders) and self.orders[row].order.attempt.transaction_id == own_id:
                self.put(
                    row, refund.record(self.fetch_one(row), result, number=number, now=self.now, rules=RULES)
                )

    def expire(self) -> None:
        latest = self.now + timedelta(seconds=2 * RULES.lease_s)
        for row, item in enumerate(self.orders):
            if item.order.leased_until is not None and not self.now < item.order.leased_until <= latest:
                self.put(row, refund.expire(self.fetch_one(row), now=self.now, rules=RULES))

    def ask(self) -> None:
        machine = self.rng.choice(self.clocks.machines)
        for row, item in enumerate(self.orders):
            if item.order.attempt.state not in {"unknown", "pending"} or item.order.step in {
                "ready",
                "submitting",
            }:
                continue
            if not self.places.password_fits:
                continue
            own_id, inquired_s = item.order.attempt.transaction_id, self.clocks.boot_s(machine)
            places = self.places.to_inquire(item.order.submitted_to)
            found = [paid for paid in self.ledger if paid.own_id == own_id and paid.place in places]
            if found:
                self.put(row, refund.apply_record(self.fetch_one(row), self.word(found[0])))
                continue
            inquiry = self.places.inquiry(
                self.clocks, machine, not_found_at=set(places), inquired_s=inquired_s
            )
            self.put(
                row, refund.resolve(self.fetch_one(row), inquired_at=self.now, inquiry=inquiry, rules=RULES)
            )

    def hurry(self) -> None:
        """Clocks are set while a call is under way, and everybody makes haste to act by them."""
        for step in (
            self.submit,
            self.clocks.set_postgres,
            self.record,
            self.expire,
            self.ask,
            self.ask,
            self.submit,
        ):
            step()
            self.advance(self.rng.choice((0.1, 1, 30, 900)))

    def remember(self) -> None:
        """Somebody takes a copy of the database."""
        self.copy = (list(self.orders), self.places.recent)

    def go_back(self) -> None:
        """The copy is put back, and everything in it that is unfinished is inquired first."""
        if self.copy is None or self.debit != _debit():
            return  # the gateway's report of the debit itself tells that it was refunded
        orders, recent = self.copy
        if self.made > max(len(orders), 1):
            return  # a later order of the lost history
        self.places.restore(recent)
        self.back_at = self.now
        self.losses += 1
        self.orders = [
            msgspec.structs.replace(order, order=refund.lose_history(order, at=self.now).order)
            for order in orders
        ]

    def come_through(self) -> None:
        for paid in self.ledger:
            paid.status = "approved"

    def charge_back(self) -> None:
        if not self.healthy and self.rng.random() < 0.1:
            self.debit = msgspec.structs.replace(self.debit, dispute_stage=stages.CHARGEBACKED)

    def check(self) -> None:
        assert len(self.ledger) <= 1, f"history {self.seed}: refunded {len(self.ledger)} times"


def _lived(seed: int) -> World:
    """One history: a time of trouble, then a quiet one in which every order must come to its end."""
    world = World(seed)
    actions: list[Callable[[], None]] = [
        world.order, world.submit, world.record, world.expire, world.ask, world.charge_back
    ]  # fmt: skip
    clocks, places = world.clocks, world.places
    more: tuple[tuple[float, list[Callable[[], None]]], ...] = (
        (0.6, [clocks.set_postgres, clocks.set_machine, clocks.restart_process, world.hurry]),
        (0.4, [clocks.stop_machine, clocks.boot_machine]),
        (0.5, [places.change, places.forget_others]),
        (0.2, [places.change_password]),
        (0.4, [world.remember, world.go_back]),
    )
    for share, chosen in more:
        if world.rng.random() < share:
            actions += chosen
    for _ in range(40):
        world.rng.choice(actions)()
        world.check()
        world.advance(world.rng.choice((1, 30, 90, 600)))
    world.healthy = True
    places.configure_all()
    for _ in range(24):
        world.advance(600)
        for step in (world.expire, world.record, world.come_through, world.ask, world.submit):
            step()
            world.check()
    return world


@pytest.mark.parametrize("start", range(0, HISTORIES, 1_000))
def test_nobody_is_refunded_twice_and_every_order_ends(start: int) -> None:
    """Were this to fail, money goes out twice, or a refund hangs in the air; the number names the history."""
    seen = Counter[str]()
    for seed in range(start, start + 1_000):
        world = _lived(seed)
        assert all(order.order.step == "ended" for order in world.orders), f"history {seed}"
        refunded = "approved" in {order.order.attempt.state for order in world.orders}
        known = {order.order.attempt.transaction_id for order in world.orders}
        # An order of a lost history that nobody has given again is found by the reports.
        assert refunded == any(paid.own_id in known for paid in world.ledger), f"history {seed}"
        assert world.debit.refunded_and_charged_back == (refunded and world.debit.dispute_stage > 0), (
            f"history {seed}"
        )
        seen[world.debit.state] += 1
        seen["twice"] += world.debit.refunded_and_charged_back
        seen["again"] += any(order.order.submission_count > 1 for order in world.orders)
        seen["losses"] += world.losses
        seen["elsewhere"] += world.causes["not_found_elsewhere"]
    assert min(seen["refunded"], seen["chargebacked"], seen["twice"], seen["again"]) > 20, seen
    assert min(seen["losses"], seen["elsewhere"]) > 50, seen


def test_later_ids_are_those_of_orders_of_either_kind() -> None:
    """An order of a lost history that the gateway took is found only under these."""
    debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR")
    ids = refund.later_ids("refund", debit, number=1)
    assert len(ids) == len(set(ids)) == 5
    assert refund.transaction_id("refund", debit, number=1) not in ids
    assert refund.transaction_id("void", debit, number=1) in ids


@pytest.mark.parametrize("named", ["unique_id", "transaction_id"])
def test_a_record_of_the_debit_says_nothing_of_its_refund(named: str) -> None:
    """The debit is approved, so a gateway that mixes the two up would have us book a refund that nobody made."""
    item = _sent()
    answer = _answer("approved", unique_id=None)
    answer = msgspec.structs.replace(answer, **{named: getattr(item.debit, named)})
    called = refund.record(item, answer, number=1, now=LATER, rules=RULES)
    assert (called.order.attempt.state, called.debit.state) == ("unknown", "approved")
    assert called.order.attempt.unique_id is None
    inquired = refund.apply_record(_after(item, called), answer)
    assert (inquired.cause, inquired.order, inquired.debit) == ("other_payment", called.order, item.debit)


def test_a_refusal_that_names_the_debit_is_one() -> None:
    """An error about the payment that is referred to carries its id; the order has none."""
    answer = _answer("error", code="330", unique_id="d1")
    done = refund.record(_sent(), answer, number=1, now=LATER, rules=RULES)
    assert (done.order.attempt.state, done.order.attempt.unique_id, done.debit.state) == (
        "error",
        None,
        "approved",
    )
