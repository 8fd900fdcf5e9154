"""
The promise, against a gateway that does its worst: nobody is ever debited twice for one due item, and every attempt ends.

A model of the gateway takes calls, drops them, takes them late, takes them and says nothing, says that it does not know,
hides what it took for a while, answers late and twice, and rejects us; with and without a check of its own for
equal ids. Workers die between any two steps. Runs are planned again and again over the same debtors. The books go back to an
older copy of themselves, while calls of the lost history are still under way. Terminals, logins, addresses and passwords change,
and may be gone for good. The clocks of Postgres and of the machines are set forward and back, noticed or not; machines stand still,
are put back to an earlier state, and boot. All decisions are the real ones: eligibility, sending, billing. Only one thing is
assumed of the gateway, and it is the one that `tether_core.payments.submission` names: what it takes, it takes, and shows, within lease and
grace period, by true time.

`TETHER_HISTORIES=100000` makes it the long form, of some minutes on one core (`-n 0`).
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from tether_core.billing import eligibility
from tether_core.billing.eligibility import Candidate
from tether_core.billing.planning import Totals, plan
from tether_core.billing.run_options import RunOptions
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.errors import CredentialsRejected, GatewaySilent, NotSubmitted
from tether_core.payments import attempt, submission, transaction_ids
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import EVERY
from tether_core.payments.not_found import Inquiry
from tether_core.payments.submission import Submission, SubmissionRules
from tether_sandbox.histories import Clocks, Machine, Places

HISTORIES = int(os.environ.get("TETHER_HISTORIES", "6000"))  # of some hundred steps each
RULES = SubmissionRules(lease_s=75, not_found_grace_s=900, submissions_max=4)
OPTIONS = RunOptions(tries_max=10, recent_days=0)
TIMEOUT_S = 30.0
BEGIN_S = 10.0
IBANS = ("DE89370400440532013000", "FR1420041010050500013M02606")


PLAIN = read_answer(
    b"<payment_response><status>approved</status><amount>1000</amount><currency>EUR</currency></payment_response>"
)


class Taken(msgspec.Struct):
    """A record in the gateway's books."""

    transaction_id: str
    unique_id: str
    place: str
    status: str
    visible_at: float
    code: str | None = None

    @property
    def debits(self) -> bool:
        """Whether money is, or will be, with us."""
        return self.status in {"pending_async", "approved"}


class World:
    """A gateway, some workers, their books, and time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.clocks = Clocks(self.rng)
        self.places = Places(self.rng)
        self.later: list[tuple[float, int, object]] = []
        self.order = 0
        self.books: dict[int, Submission] = {}
        self.items: dict[int, tuple[int, int, int | None]] = {}  # attempt -> debtor, number, retry_of
        self.ledger: list[Taken] = []
        self.healthy = False
        self.ids: dict[str, int] = {}  # of every attempt there ever was -> debtor
        self.copy: (
            tuple[dict[int, Submission], dict[int, tuple[int, int, int | None]], frozenset[str]] | None
        ) = None
        self.back_at: datetime | None = None
        self.losses = 0
        self.causes = Counter[str]()
        self.loses = self.rng.random() < 0.4
        self.cruel = self.rng.random() < 0.7  # takes a second debit under an id that it has
        self.badness = self.rng.choice((0.1, 0.3, 0.6))

    # --- time

    @property
    def now(self) -> datetime:
        """By Postgres, as all workers tell the time."""
        return self.clocks.now

    @property
    def now_s(self) -> float:
        """The true time."""
        return self.clocks.true_s

    def at(self, timestamp_s: float, do: object) -> None:
        self.order += 1
        self.later.append((timestamp_s, self.order, do))

    def advance(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.later:
            timestamp_s, order, do = min(self.later, key=lambda item: item[:2])
            if timestamp_s > end_s:
                break
            self.later.remove((timestamp_s, order, do))
            self.clocks.true_s = max(self.now_s, timestamp_s)
            do()  # type: ignore[operator]
            self.check()
        self.clocks.true_s = end_s

    def goes_wrong(self) -> bool:
        return not self.healthy and self.rng.random() < self.badness

    # --- the gateway

    def take(
        self, transaction_id: str, *, place: str, status: str, hidden_until_s: float = 0.0
    ) -> Taken | None:
        if not self.cruel and any(
            (entry.transaction_id, entry.place) == (transaction_id, place) for entry in self.ledger
        ):
            return None
        unique_id = f"u{len(self.ledger)}"
        taken = Taken(transaction_id, unique_id, place, status, max(hidden_until_s, self.now_s))
        self.ledger.append(taken)
        return taken

    def sale(self, transaction_id: str, *, place: str, shown_by_s: float) -> GatewayAnswer:
        """What the gateway does with a call that has arrived, and what it says."""
        outcome = "take" if self.places.password_fits else "turn away"
        if self.goes_wrong():
            outcome = self.rng.choice(
                (
                    "decline",
                    "refuse",
                    "turn away",
                    "dont know, taken",
                    "dont know, not taken",
                    "hide",
                    "450",
                    "450, taken",
                    "later no",
                )
            )
        not_taken = {
            "refuse": "340",
            "turn away": "110",
            "dont know, not taken": self.rng.choice(("230", "100", "950", "101")),
            "450": "450",
        }
        if outcome in not_taken:
            return answer("error", code=not_taken[outcome])
        status = {"decline": "declined", "later no": "pending_async"}.get(
            outcome, self.rng.choice(("pending_async", "approved"))
        )
        hidden_until_s = self.rng.uniform(self.now_s, shown_by_s) if outcome == "hide" else 0.0
        item = self.take(transaction_id, place=place, status=status, hidden_until_s=hidden_until_s)
        if item is None:
            return answer("error", code="450")
        if outcome == "later no":
            self.at(self.now_s + self.rng.uniform(0, 5_000), lambda: self.transition(item, "declined"))
        if outcome == "450, taken":
            return answer(
                "error", code="450"
            )  # a proxy between us has asked twice, and gives the second answer
        if outcome == "dont know, taken":
            named = self.rng.random() < 0.3
            return answer("error", code="230", unique_id=item.unique_id if named else None)
        return self.answer_about(item)

    def answer_about(self, taken: Taken) -> GatewayAnswer:
        return answer(taken.status, transaction_id=taken.transaction_id, unique_id=taken.unique_id)

    def transition(self, taken: Taken, status: str) -> None:
        if taken.status == "pending_async" or status == "chargebacked":
            taken.status = status

    def reconcile(
        self, transaction_id: str, *, place: str, named: bool
    ) -> GatewayAnswer | GatewaySilent | None:
        if not self.places.password_fits:
            return CredentialsRejected(why="http 401")
        if self.goes_wrong():
            wrong = self.rng.choice(("silent", "100", "110", "other", "forgets"))
            if wrong == "forgets" and named:
                return None  # once it was named, it cannot be gone
            if wrong == "silent":
                return GatewaySilent(why="timeout")
            if wrong == "other" and self.ledger:
                return self.answer_about(self.rng.choice(self.ledger))
            return answer("error", code="110" if wrong == "110" else "100")
        found = [
            entry
            for entry in self.ledger
            if (entry.transaction_id, entry.place) == (transaction_id, place)
            and entry.visible_at <= self.now_s
        ]
        return self.answer_about(self.rng.choice(found)) if found else None

    # --- us: planning

    def plan(self) -> None:
        """A run over all debtors, as a person may start at any time."""
        candidates = [self.candidate(debtor) for debtor in range(len(IBANS))]
        decided = plan(candidates, options=OPTIONS, so_far=Totals())
        for choice in decided.choices:
            if choice.verdict.billable:
                self.add(choice.candidate.debtor_id, retry_of=None)

    def candidate(self, debtor: int, *, without: int | None = None) -> Candidate:
        states = Counter(current.attempt.state for row, current in self.mine(debtor) if row != without)
        furthest = next((state for state in ("approved", "unknown", "pending") if states[state]), None)
        return Candidate(
            debtor_id=debtor,
            iban=IBANS[debtor],
            amount_minor=1000,
            currency="EUR",
            has_name=True,
            item_state=furthest,  # type: ignore[arg-type]
            item_returned=states["chargebacked"] > 0,
            tries=sum(states.values()),
        )

    def mine(self, debtor: int) -> list[tuple[int, Submission]]:
        return [(row, self.books[row]) for row, (of, _, _) in self.items.items() if of == debtor]

    def add(self, debtor: int, *, retry_of: int | None) -> None:
        number = 1 + max((self.items[row][1] for row, _ in self.mine(debtor)), default=0)
        row = len(self.books) + 1
        text = transaction_ids.transaction_id(
            debtor, due_item="once", number=number, amount_minor=1000, currency="EUR", iban_fingerprint=b""
        )
        self.items[row] = (debtor, number, retry_of)
        self.ids[text] = debtor
        current = Submission(Attempt(row, "default", text, None, 1000, "EUR"), submit_at=self.now)
        # The lost history may have made it, and submitted it.
        self.books[row] = (
            current if self.back_at is None else submission.lose_history(current, at=self.back_at).submission
        )

    def try_again(self) -> None:
        """A debit that came back is tried again, once."""
        for row, current in list(self.books.items()):
            tried = any(retry_of == row for _, _, retry_of in self.items.values())
            if current.attempt.state == "chargebacked" and not tried:
                self.add(self.items[row][0], retry_of=row)

    # --- us: sending

    def submit(self) -> None:
        ready = [
            row
            for row, current in self.books.items()
            if current.step == "ready" and current.submit_at <= self.now  # type: ignore[operator]
        ]
        if not ready:
            return
        row = self.rng.choice(ready)
        debtor, _, retry_of = self.items[row]
        facts = msgspec.structs.replace(self.candidate(debtor, without=row), again=retry_of is not None)
        if not eligibility.judge(facts, options=OPTIONS).billable:
            self.books[row] = submission.exclude(self.books[row], reason="judged").submission
            return
        place = self.places.current
        self.books[row] = submission.claim(self.books[row], now=self.now, identity=place, rules=RULES)
        self.call(row, number=self.books[row].submission_count, place=place)

    def call(self, row: int, *, number: int, place: str) -> None:
        # Everything the gateway may yet do with this call, it does before the grace period is over, by true time.
        end_s = self.now_s + RULES.lease_s + RULES.not_found_grace_s - 1
        if self.goes_wrong() and self.rng.random() < 0.3:
            return  # the worker dies before the call
        begun_s = self.now_s + (self.rng.uniform(0, BEGIN_S) if self.goes_wrong() else 0.0)
        silent_s = begun_s + TIMEOUT_S
        dies = self.goes_wrong() and self.rng.random() < 0.3
        transaction_id = self.books[row].attempt.transaction_id

        def hear(result: GatewayAnswer | GatewaySilent, timestamp_s: float) -> None:
            if dies:
                return
            # Answers are recorded late when the database was away, and now and then twice.
            late_s = self.rng.uniform(0, 3_000) if self.goes_wrong() else 0.0
            for _ in range(2 if self.goes_wrong() else 1):
                self.at(
                    timestamp_s + late_s,
                    lambda: self.record(row, result, number=number, transaction_id=transaction_id),
                )

        if self.goes_wrong() and self.rng.random() < 0.4:
            # The connection dies before a byte has left.
            cause = self.rng.choice(("no_free_connection", "connect", "tls", "cancelled", "throttled"))
            hear(NotSubmitted(cause), self.rng.uniform(begun_s, silent_s))
            return
        if self.goes_wrong() and self.rng.random() < 0.4:
            hear(GatewaySilent(why="timeout"), silent_s)
            return  # it never arrives

        slow = self.goes_wrong() and self.rng.random() < 0.5
        arrived_s = self.rng.uniform(begun_s, end_s) if slow else begun_s + self.rng.uniform(0, 2)

        def arrive() -> None:
            result = self.sale(transaction_id, place=place, shown_by_s=end_s)
            if self.goes_wrong() and self.now_s < silent_s:
                # The connection dies in the response, or a proxy answers in the gateway's place.
                lost = (
                    GatewaySilent(why="ServerDisconnectedError"),
                    GatewaySilent(why="http 429", slow_down_s=1.0, http_status=429),
                    CredentialsRejected(why="http 401"),
                )
                hear(self.rng.choice(lost), self.now_s)
            elif self.goes_wrong() or self.now_s > silent_s:
                hear(GatewaySilent(why="timeout"), max(silent_s, self.now_s))
            else:
                hear(result, self.now_s)

        self.at(min(arrived_s, end_s), arrive)

    # --- us: a database that goes back

    def remember(self) -> None:
        """Somebody takes a copy of the database."""
        self.copy = (dict(self.books), dict(self.items), self.places.recent)

    def go_back(self) -> None:
        """The copy is put back, and everything in it that is unfinished is inquired first."""
        if self.copy is None or not self.loses:
            return
        books, items, recent = self.copy
        for debtor in range(len(IBANS)):
            known = max((number for of, number, _ in items.values() if of == debtor), default=0)
            made = max((number for of, number, _ in self.items.values() if of == debtor), default=0)
            lost = sum(of == debtor for of in self.ids.values()) - known
            if max(made - known, lost) > transaction_ids.LATER_TRIES:
                return  # more tries than are looked for
        self.places.restore(recent)
        self.back_at = self.now
        self.losses += 1
        self.books = {
            row: submission.lose_history(current, at=self.now).submission for row, current in books.items()
        }
        self.items = dict(items)

    def is_of(self, row: int, transaction_id: str) -> bool:
        """Whether a row is the one that was called or inquired: rows get their ids again."""
        current = self.books.get(row)
        return current is not None and current.attempt.transaction_id == transaction_id

    def has_later_try(self, row: int) -> bool:
        """Whether the gateway may have a later try of a lost history, as `without_later_tries` asks."""
        debtor, number, _ = self.items[row]
        if self.back_at is None or any(
            of == debtor and later > number for of, later, _ in self.items.values()
        ):
            return False
        later_ids = transaction_ids.later_ids(
            debtor, due_item="once", number=number, amount_minor=1000, currency="EUR", iban_fingerprint=b""
        )
        return any(
            self.reconcile(later_id, place=place, named=False) is not None
            for later_id in later_ids
            for place in self.places.to_inquire((EVERY,))
        )

    def record(
        self, row: int, result: GatewayAnswer | GatewaySilent, *, number: int, transaction_id: str
    ) -> None:
        if not self.is_of(row, transaction_id):
            return
        self.books[row] = submission.record(
            self.books[row], result, number=number, now=self.now, rules=RULES
        ).submission

    def hurry(self) -> None:
        """Clocks are set while calls are under way, and everybody makes haste to act by them."""
        for step in (self.submit, self.clocks.set_postgres, self.expire, self.ask, self.ask, self.submit):
            step()
            self.check()
            self.advance(self.rng.choice((0.1, 1, 30, 900)))

    def expire(self) -> None:
        for row, current in self.books.items():
            latest = self.now + timedelta(seconds=2 * RULES.lease_s)
            if current.leased_until is not None and not self.now < current.leased_until <= latest:
                self.books[row] = submission.expire(current, now=self.now, rules=RULES).submission

    # --- us: asking and hearing

    def ask(self) -> None:
        for row, current in self.books.items():
            # What the gateway names but does not know yet is asked about as well.
            if current.attempt.state != "unknown" or current.step in {"ready", "submitting"}:
                continue
            self.inquire(row, current, self.rng.choice(self.clocks.machines))

    def inquire(self, row: int, current: Submission, machine: Machine) -> None:
        """Inquire about a debit at all of its identities, as `tether_worker.gateway.status_inquiry.inquire` does."""
        transaction_id, named = current.attempt.transaction_id, current.attempt.unique_id is not None
        absent: set[str] = set()
        result: GatewayAnswer | GatewaySilent | None = None
        for place in self.places.to_inquire(current.submitted_to):
            result = self.reconcile(transaction_id, place=place, named=named)
            if result is not None:
                break
            absent.add(place)
        inquired_at, inquired_s, boot = self.now, self.clocks.boot_s(machine), machine.name
        # Others go on meanwhile: the answer may come when the debit has become ready, or is being sent again.
        took_s = self.rng.uniform(0, 1_200) if self.goes_wrong() else 0.0

        def answered() -> None:
            if machine not in self.clocks.machines:
                return  # it was booted meanwhile
            assert machine.name == boot
            inquiry = self.places.inquiry(self.clocks, machine, not_found_at=absent, inquired_s=inquired_s)
            self.resolve(row, result, inquired_at, transaction_id, inquiry)

        self.at(self.now_s + took_s, answered)

    def resolve(
        self,
        row: int,
        result: GatewayAnswer | GatewaySilent | None,
        inquired_at: datetime,
        transaction_id: str,
        inquiry: Inquiry,
    ) -> None:
        if isinstance(result, GatewaySilent) or not self.is_of(row, transaction_id):
            return
        if result is None and self.has_later_try(row):
            return
        if result is not None and result.unique_id is not None and self.rng.random() < 0.5:
            self.hear(row, result)  # by way of the inbox
            return
        after = submission.resolve(
            self.books[row], result, inquired_at=inquired_at, inquiry=inquiry, rules=RULES
        )
        self.causes[after.cause] += 1
        self.books[row] = after.submission

    def hear(self, row: int, result: GatewayAnswer) -> None:
        current = self.books[row]
        if result.transaction_id != current.attempt.transaction_id:
            return
        decision = attempt.decide(current.attempt, notification(result), account="default")
        if decision.outcome == "applied" and decision.attempt is not None:
            self.books[row] = msgspec.structs.replace(current, attempt=decision.attempt)

    def notify(self) -> None:
        if not self.ledger:
            return
        result = self.answer_about(self.rng.choice(self.ledger))
        for row, current in self.books.items():
            if current.attempt.transaction_id == result.transaction_id:
                self.hear(row, result)

    def submit_refunds(self) -> None:
        """A bank returns a debit for want of money; the gateway notifies."""
        debits = [entry for entry in self.ledger if entry.status == "approved"]
        if debits:
            self.transition(self.rng.choice(debits), "chargebacked")

    # --- the promise

    def check(self) -> None:
        current_status = Counter(self.ids[entry.transaction_id] for entry in self.ledger if entry.debits)
        assert all(count <= 1 for count in current_status.values()), f"history {self.seed}: debited twice"

    def needs_a_person(self, row: int) -> bool:
        """Whether the gateway has a try at the same due item that nobody here knows of any more."""
        known = {current.attempt.transaction_id for current in self.books.values()}
        debtor = self.items[row][0]
        return any(
            entry.transaction_id not in known and self.ids[entry.transaction_id] == debtor
            for entry in self.ledger
        )

    def check_end(self) -> None:
        for row, current in self.books.items():
            if current.step == "unknown" and self.needs_a_person(row):
                continue
            assert current.step == "ended", f"history {self.seed}: attempt {row} is {current.step}"
            mine = [entry for entry in self.ledger if entry.transaction_id == current.attempt.transaction_id]
            if any(item.debits for item in mine):
                # The books know of every debit that stands.
                assert current.attempt.state in {"pending", "approved"}, (
                    f"history {self.seed}: {current.attempt.state}"
                )


def answer(
    status: str, *, code: str | None = None, transaction_id: str | None = None, unique_id: str | None = None
) -> GatewayAnswer:
    """An answer of the gateway."""
    return msgspec.structs.replace(
        PLAIN, status=status, code=code, transaction_id=transaction_id, unique_id=unique_id
    )


def notification(result: GatewayAnswer) -> Notification:
    """The notification that says the same as an answer."""
    event = "&event=chargeback&reason_code=AM04" if result.status == "chargebacked" else ""
    code = f"&error_code={result.code}" if result.code else ""
    body = f"unique_id={result.unique_id}&transaction_id={result.transaction_id}&signature=x&status={result.status}{event}{code}"
    return decode(body.encode(), content_type=FORM)


def of_money(world: World) -> list[Callable[[], None]]:
    """What workers, people, banks and the gateway do."""
    return (
        [world.plan] * 2 + [world.submit] * 5 + [world.expire] * 2 + [world.ask] * 4 + [world.notify] * 2
        + [world.submit_refunds, world.try_again] + [world.remember, world.go_back]
    )  # fmt: skip


def of_clocks(world: World) -> list[Callable[[], None]]:
    """What happens to clocks; not in each history, for what one does would hide what the other does."""
    clocks, chosen = world.clocks, list[Callable[[], None]]()
    if world.rng.random() < 0.6:
        chosen += [clocks.set_postgres, clocks.set_machine, clocks.restart_process, *[world.hurry] * 3]
    if world.rng.random() < 0.4:
        chosen += [clocks.stop_machine, clocks.boot_machine]
    return chosen


def of_places(world: World) -> list[Callable[[], None]]:
    """What happens to the configuration; not in each history."""
    places, chosen = world.places, list[Callable[[], None]]()
    if world.rng.random() < 0.6:
        chosen += [places.change, places.change, places.forget_others]
    if world.rng.random() < 0.3:
        chosen += [places.change_password]
    return chosen


def live(seed: int) -> World:
    """One history: a time of trouble, then quiet ones in which everything must come to its end."""
    world = World(seed)
    places = world.places
    actions = [*of_money(world), *of_clocks(world), *of_places(world)]
    # Where little time passes, much happens while a call is under way.
    tempo = world.rng.choice(((0.1, 1, 5, 30, 90, 400, 1_100), (0.1, 1, 5, 30, 90, 900)))
    world.plan()
    for _ in range(world.rng.randrange(20, 90)):
        world.rng.choice(actions)()
        world.check()
        world.advance(world.rng.choice(tempo))
    world.healthy = True
    if not places.password_fits:
        places.change_password()
    if world.rng.random() < 0.3:
        # What is gone stays away: everything ends but what nobody can be asked about.
        quiet(world)
        for row, current in world.books.items():
            if current.step != "ended" and not world.needs_a_person(row):
                assert places.is_out_of_reach(current.submitted_to), f"history {seed}: attempt {row}"
                world.causes["out of reach"] += 1
    places.configure_all()
    quiet(world)
    for entry in world.ledger:
        for row, current in world.books.items():
            if current.attempt.transaction_id == entry.transaction_id:
                world.hear(row, world.answer_about(entry))
    world.check_end()
    return world


def quiet(world: World) -> None:
    """Nothing goes wrong any more, for some hours."""
    for _ in range(40):
        world.advance(600)
        for step in (world.expire, world.ask, world.submit, world.submit):
            step()
            world.check()
            world.advance(5)


@pytest.mark.parametrize("start", range(0, HISTORIES, 1_000))
def test_nobody_is_debited_twice_and_every_attempt_ends(start: int) -> None:
    """Were this to fail, somebody pays twice, or a debt hangs in the air for ever; the number names the history."""
    seen = Counter[str]()
    for seed in range(start, start + 1_000):
        world = live(seed)
        for current in world.books.values():
            seen[f"sends {min(current.submission_count, 3)}"] += 1
            seen[current.attempt.state] += 1
        seen["debits"] += len(world.ledger)
        seen["losses"] += world.losses
        seen += world.causes
    # A model in which nothing happens would prove nothing.
    assert min(seen["sends 1"], seen["sends 2"], seen["chargebacked"], 30 * seen["error"]) > 100, seen
    assert seen["debits"] > 1_500
    assert seen["losses"] > 200
    assert (
        min(seen["not_found"], seen["too_early"], seen["not_found_elsewhere"], 10 * seen["out of reach"])
        > 200
    )
