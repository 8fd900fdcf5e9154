"""
The conservation check: nothing lost, nothing doubled, everything explained.

It compares three books that were kept apart: what the sender knows it sent, what the web nodes counted while they
answered, and what stands in the tables. And it replays the history of every attempt through the pure core, which must
come to the state the table has.

Where web nodes are killed on the way their counts die with them. `check_chaos` does without, and looks closer at the other
two books: each acknowledged notification is found by its content, and what was told of an attempt must be one chain
of moves from its first state to its present one, which it would not be had any effect happened twice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType

import msgspec
import psycopg
from tether_core.emp.notification import decode
from tether_core.events import AttemptStatusChanged
from tether_core.events import decode as decode_event
from tether_core.payments import attempt as attempt_rules
from tether_stores.queries import split_file

from tether_sandbox.gateway import Cause, Counts, Delivered, Plan, State

__all__ = ["Books", "Line", "Sent", "books", "broken_chains", "check", "check_chaos", "replayed"]

_SQL = split_file("tether_sandbox", "sql/conservation")


class Line(msgspec.Struct, frozen=True):
    """
    One line of the check.

    Attributes:
        what: What must be equal, in words.
        wanted: What the sender's book says.
        found: What ours says.
        note: Where they differ, the first few differences.
    """

    what: str
    wanted: int
    found: int
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether both books agree."""
        return self.wanted == self.found and not self.note


class Books(msgspec.Struct, frozen=True):
    """
    What stands in the tables.

    Attributes:
        inbox: (state, reason) to rows.
        attempts: unique_id to state, of payments made elsewhere.
        current_status: transaction_id to state, of all attempts.
        billed: unique_id to state, of debits that were billed here.
        entries: (unique_id, reason code, action) of every blacklist entry that a return caused.
        replayed: unique_id to the state that its applied notifications give when the core decides them again.
        contents: SHA-256 of each notification's body, and whether it is kept aside; with how often it is there.
        moves: What was told of attempts, in order.
        begun: transaction_id to first state, of attempts that another system made.
        listed: How often it was told that an account came on the blacklist because of a return.
        fetched_open: State of what we asked for ourselves and did not book, to rows.
        confirmed: Applied notifications that the gateway was asked about first.
    """

    inbox: dict[tuple[str, str], int]
    attempts: dict[str, str]
    current_status: dict[str, str]
    billed: dict[str, str]
    entries: list[tuple[str, str, str]]
    replayed: dict[str, str]
    contents: Counter[tuple[bytes, bool]]
    moves: list[AttemptStatusChanged]
    begun: dict[str, str] = {}
    listed: int = 0
    fetched_open: dict[str, int] = {}
    confirmed: int = 0

    def rows(self, state: str, reason: str | None = None) -> int:
        """How many notifications are in a state, for one reason or for any."""
        return sum(
            count
            for (in_state, why), count in self.inbox.items()
            if in_state == state and reason in (None, why)
        )

    def since(self, before: "Books") -> "Books":
        """What has come since another reading of the same tables; nothing may have been under way then."""
        return Books(
            dict(Counter(self.inbox) - Counter(before.inbox)),
            {item: state for item, state in self.attempts.items() if item not in before.attempts},
            {item: state for item, state in self.current_status.items() if item not in before.current_status},
            {item: state for item, state in self.billed.items() if item not in before.billed},
            [entry for entry in self.entries if entry not in before.entries],
            {item: state for item, state in self.replayed.items() if item not in before.replayed},
            self.contents - before.contents,
            self.moves[len(before.moves) :],
            {item: state for item, state in self.begun.items() if item not in before.begun},
            self.listed - before.listed,
            dict(Counter(self.fetched_open) - Counter(before.fetched_open)),
            self.confirmed - before.confirmed,
        )


def books(database_url: str) -> Books:
    """
    Read the tables.

    Args:
        database_url: Of a sandbox.

    Returns:
        Our books.
    """
    with psycopg.connect(database_url, prepare_threshold=None) as conn:
        inbox = {(state, reason): count for state, reason, count in conn.execute(_SQL["inbox"])}
        rows = conn.execute(_SQL["attempts"]).fetchall()
        attempts = msgspec.convert(rows, list[tuple[str | None, str, str, bool, int, int]])
        entries = msgspec.convert(conn.execute(_SQL["entries"]).fetchall(), list[tuple[str, str, str]])
        histories = conn.execute(_SQL["histories"]).fetchall()
        contents = Counter((bytes(digest), aside) for digest, aside in conn.execute(_SQL["contents"]))
        facts = [decode_event(bytes(payload)) for (payload,) in conn.execute(_SQL["moves"])]
        fetched_open: dict[str, int] = dict(conn.execute(_SQL["fetched_open"]).fetchall())
        effects = conn.execute(_SQL["effects"]).fetchone()
        assert effects is not None
    listed, confirmed = effects
    moves = [fact for fact in facts if isinstance(fact, AttemptStatusChanged)]
    return Books(
        inbox,
        {unique_id: state for unique_id, _, state, billed, *_ in attempts if unique_id and not billed},
        {transaction_id: state for _, transaction_id, state, *_ in attempts},
        {unique_id: state for unique_id, _, state, billed, *_ in attempts if unique_id and billed},
        entries,
        replayed(histories),
        contents,
        moves,
        {
            transaction_id: attempt_rules.state_of(payment_stage, dispute_stage)
            for _, transaction_id, _, _, payment_stage, dispute_stage in attempts
            if payment_stage or dispute_stage
        },
        listed,
        fetched_open,
        confirmed,
    )


def replayed(histories: Iterable[tuple[int, str, bytes, int, int, int, str]]) -> dict[str, str]:
    """
    What the core makes of applied notifications when it decides them again, from the attempt as it began.

    Args:
        histories: (attempt id, media type, body, first payment stage, first dispute stage, amount, currency), those of one
            attempt together.

    Returns:
        unique_id to state.
    """
    states: dict[str, str] = {}
    attempt: attempt_rules.Attempt | None = None
    for attempt_id, content_type, body, payment_stage, dispute_stage, amount_minor, currency in histories:
        notification = decode(bytes(body), content_type=content_type)
        if notification.unique_id is None:
            continue
        if attempt is None or attempt.id != attempt_id:
            attempt = attempt_rules.Attempt(
                attempt_id,
                "default",
                "",
                notification.unique_id,
                amount_minor,
                currency,
                payment_stage,
                dispute_stage,
            )
        attempt = attempt_rules.decide(attempt, notification, account="default").attempt or attempt
        states[notification.unique_id] = attempt.state
    return states


class Sent(msgspec.Struct):
    """
    What was sent in many plans, kept without their deliveries.

    Attributes:
        counts: Sums of each kind.
        final: unique_id to the state its attempt must end in.
        causes: Every entry the blacklist may hold.
        genuine: SHA-256 of every distinct genuine notification.
        conflicting: The same of every repeat with other content.
    """

    counts: Counts = Counts()
    final: dict[str, State] = {}
    causes: list[Cause] = []
    genuine: set[bytes] = set()
    conflicting: set[bytes] = set()

    def add(self, plan: Plan) -> None:
        """Count a plan in."""
        mine, its = msgspec.structs.asdict(self.counts), msgspec.structs.asdict(plan.counts)
        self.counts = Counts(**{name: count + its[name] for name, count in mine.items()})
        self.final.update(plan.final)
        self.causes.extend(plan.causes)
        for delivery in plan.deliveries:
            if delivery.kind == "genuine":
                self.genuine.add(sha256(delivery.body).digest())
            elif delivery.kind == "conflicting":
                self.conflicting.add(sha256(delivery.body).digest())


def check(plan: Plan, ours: Books, *, posts: int, answered: Mapping[str, int]) -> list[Line]:
    """
    Hold the books against each other.

    Args:
        plan: What was sent, and what must come of it.
        ours: The tables, once nothing is due any more.
        posts: Requests the sender made.
        answered: The web nodes' own count by outcome: recorded, repeated, conflicting, refused, unavailable, ...

    Returns:
        The lines of the check; it holds when every line does.
    """
    counts = plan.counts
    recorded = sum(ours.inbox.values()) - ours.rows("conflicting")
    return [
        Line("requests sent = answers counted", posts, sum(answered.values())),
        Line("distinct notifications = rows recorded", counts.distinct, recorded),
        Line("rows recorded = answers 'recorded'", recorded, answered.get("recorded", 0)),
        Line("conflicting repeats = rows kept aside", counts.conflicting, ours.rows("conflicting")),
        Line("forged = refused, without a trace", counts.invalid_signature, answered.get("refused", 0)),
        *_applied(plan, ours),
    ]


def check_chaos(sent: Sent, ours: Books, *, delivered: Sequence[Delivered]) -> list[Line]:
    """
    Hold the books against each other after web nodes were killed, whose counts died with them.

    Args:
        sent: What was sent, and what must come of it.
        ours: The tables, once nothing is due any more.
        delivered: What the sender was answered, plan by plan.

    Returns:
        The lines of the check; it holds when every line does.
    """
    rows = {digest for digest, aside in ours.contents if not aside}
    aside = {digest for digest, aside in ours.contents if aside}
    twice = sum(count - 1 for count in ours.contents.values())
    broken = broken_chains(ours.moves, ours.current_status, begun=ours.begun)
    unspoken = [state for unique_id, state in ours.attempts.items() if unique_id not in sent.final]
    answered = sum(delivery.acknowledged + delivery.refused for delivery in delivered)
    return [
        Line(
            "deliveries = acknowledged + refused", sum(delivery.planned for delivery in delivered), answered
        ),
        Line("forged ones believed", 0, sum(delivery.believed for delivery in delivered)),
        Line("acknowledged notifications found by content", len(sent.genuine), len(sent.genuine & rows)),
        Line("rows that nobody sent", 0, len(rows - sent.genuine)),
        Line("rows that are there twice", 0, twice),
        Line("conflicting repeats kept aside", len(sent.conflicting), len(sent.conflicting & aside)),
        Line("rows kept aside that are no such repeat", 0, len(aside - sent.conflicting)),
        Line(
            "what we asked for ourselves and did not book",
            0,
            sum(ours.fetched_open.values()),
            note=", ".join(ours.fetched_open),
        ),
        Line("blacklist entries of returns = told once each", len(ours.entries), ours.listed),
        *_applied(sent, ours),
        Line("attempts whose told moves are no single chain", 0, len(broken), note="; ".join(broken[:3])),
        Line("attempts nobody spoke of, still pending", len(unspoken), unspoken.count("pending")),
    ]


def broken_chains(
    moves: Iterable[AttemptStatusChanged],
    current_status: Mapping[str, str],
    *,
    begun: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """
    The attempts of which something was told twice, out of order, or not at all.

    Args:
        moves: What was told, in order.
        current_status: transaction_id to state, of every attempt.
        begun: transaction_id to first state, of those that did not begin as pending.

    Returns:
        A sentence for each.

    >>> def moved(before, after):
    ...     return AttemptStatusChanged(attempt_id=1, transaction_id="seed-aa", before=before, after=after, cause="notified")
    >>> broken_chains([moved("pending", "approved")], {"seed-aa": "approved"})
    []
    >>> broken_chains([moved("pending", "approved")] * 2, {"seed-aa": "approved"})
    ['seed-aa: left pending while it was approved']
    >>> broken_chains([], {"seed-aa": "approved"})
    ['seed-aa: is approved, was told to be pending']
    """
    fields: dict[str, str] = {}
    broken: list[str] = []
    for move in moves:
        state = fields.get(move.transaction_id) or begun.get(move.transaction_id, "pending")
        if move.before != state:
            broken.append(f"{move.transaction_id}: left {move.before} while it was {state}")
        fields[move.transaction_id] = move.after
    for transaction_id, state in current_status.items():
        last = fields.get(transaction_id) or begun.get(transaction_id, "pending")
        if last != state:
            broken.append(f"{transaction_id}: is {state}, was told to be {last}")
    return broken


def _applied(plan: Plan | Sent, ours: Books) -> list[Line]:
    """What must have come of the rows, whoever counted the answers."""
    counts = plan.counts
    expected = Counter(plan.final.values())
    found = Counter(state for unique_id, state in ours.attempts.items() if unique_id in plan.final)
    known = {**ours.attempts, **ours.billed}
    return [
        Line("unknown statuses = parked for a person", counts.unknown_statuses, ours.rows("parked")),
        Line(
            "rows = processed + parked + waiting for their payment",
            counts.distinct,
            ours.rows("processed") + ours.rows("parked") + ours.rows("waiting", "unknown_payment"),
        ),
        Line(
            "attempts in the state their history demands",
            len(plan.final),
            sum(ours.attempts.get(unique_id) == state for unique_id, state in plan.final.items()),
            note=_differences(plan.final, ours.attempts),
        ),
        Line(
            "attempt states = replay of their rows by the core",
            len(ours.replayed),
            sum(known.get(unique_id) == state for unique_id, state in ours.replayed.items()),
        ),
        Line(
            "blacklist entries = returns that ask for one",
            len(plan.causes),
            len(ours.entries),
            note=_unexplained(plan, ours),
        ),
        *(Line(f"attempts {state}", expected[state], found[state]) for state in sorted(expected)),
    ]


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    wrong = [
        f"{unique_id}: {found.get(unique_id, 'missing')}, not {state}"
        for unique_id, state in wanted.items()
        if found.get(unique_id) != state
    ]
    return "; ".join(wrong[:3])


def _unexplained(plan: Plan | Sent, ours: Books) -> str:
    wanted = {(cause.unique_id, cause.reason_code, cause.action) for cause in plan.causes}
    wrong = [f"{entry} has no cause" for entry in ours.entries if entry not in wanted]
    wrong += [f"{cause} has no entry" for cause in sorted(wanted - set(ours.entries))]
    return "; ".join(wrong[:3])
