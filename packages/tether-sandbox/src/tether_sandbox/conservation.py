"""
The conservation check: no notification is lost, none is applied twice, every effect has a cause.

`check` compares three independent records: what the sender sent, what the web nodes counted, and what the tables contain. It
also replays the notifications of every attempt through the pure core, which must arrive at the stored state.

The counts of a web node are lost when it is killed. `check_chaos` does without them and compares the other two in more detail:
each acknowledged notification is found by its content, and the events of an attempt must form one chain from its first state
to its current one, which they would not if an effect had happened twice.
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

from tether_sandbox.gateway import Cause, Counts, Delivered, FaultPlan, State

__all__ = ["Books", "BooksLine", "Sent", "books", "broken_chains", "check", "check_chaos", "replayed"]

_SQL = split_file("tether_sandbox", "sql/conservation")


class BooksLine(msgspec.Struct, frozen=True):
    """
    One line of the check.

    Attributes:
        what: What is compared.
        wanted: The gateway's number.
        found: Tether's number.
        note: The first few differences.
    """

    what: str
    wanted: int
    found: int
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether both numbers agree."""
        return self.wanted == self.found and not self.note


class Books(msgspec.Struct, frozen=True):
    """
    What Tether's tables contain.

    Attributes:
        inbox: (state, reason) to number of notifications.
        attempts: unique_id to state, of seeded payments.
        current_status: transaction_id to state, of all attempts.
        billed: unique_id to state, of debits of billing runs.
        entries: (unique_id, reason code, action) of every blacklist entry that a chargeback caused.
        replayed: unique_id to the state that the core computes from the applied notifications.
        contents: (SHA-256 of the body, whether it is stored as conflicting) of each notification, with its number of rows.
        moves: The `attempt.status_changed` events, in order.
        begun: transaction_id to first state, of imported attempts.
        listed: Number of `iban.blocked` events.
        fetched_open: State to number of fetched report records that are not applied.
        confirmed: Applied notifications that a status inquiry confirmed first.
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
        """How many notifications are in a state, for a reason or for any."""
        return sum(
            count
            for (in_state, why), count in self.inbox.items()
            if in_state == state and reason in (None, why)
        )

    def since(self, before: "Books") -> "Books":
        """What was added since an earlier reading of the same tables, at which no work was in progress."""
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
    """Read the tables of a sandbox's database."""
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
    Replay the applied notifications through the core, from the first state of each attempt.

    Args:
        histories: (attempt id, media type, body, first payment stage, first dispute stage, amount, currency), grouped by
            attempt.

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
    The sum of many plans, without their deliveries.

    Attributes:
        counts: Number of deliveries of each kind.
        final: unique_id to the state its attempt must end in.
        causes: Every entry the blacklist may have.
        genuine: SHA-256 of every distinct genuine notification.
        conflicting: SHA-256 of every duplicate with other content.
    """

    counts: Counts = Counts()
    final: dict[str, State] = {}
    causes: list[Cause] = []
    genuine: set[bytes] = set()
    conflicting: set[bytes] = set()

    def add(self, plan: FaultPlan) -> None:
        """Add a plan."""
        mine, its = msgspec.structs.asdict(self.counts), msgspec.structs.asdict(plan.counts)
        self.counts = Counts(**{name: count + its[name] for name, count in mine.items()})
        self.final.update(plan.final)
        self.causes.extend(plan.causes)
        for delivery in plan.deliveries:
            if delivery.kind == "genuine":
                self.genuine.add(sha256(delivery.body).digest())
            elif delivery.kind == "conflicting":
                self.conflicting.add(sha256(delivery.body).digest())


def check(plan: FaultPlan, ours: Books, *, posts: int, answered: Mapping[str, int]) -> list[BooksLine]:
    """
    Compare what was sent with the web nodes' counts and the tables.

    Args:
        plan: What was sent, and the expected result.
        ours: The tables, once no notification is due.
        posts: Requests of the sender.
        answered: The web nodes' counts by outcome: recorded, repeated, conflicting, refused, unavailable, ...

    Returns:
        The lines of the check; it holds if every line does.
    """
    counts = plan.counts
    recorded = sum(ours.inbox.values()) - ours.rows("conflicting")
    return [
        BooksLine("requests = responses", posts, sum(answered.values())),
        BooksLine("distinct notifications = rows stored", counts.distinct, recorded),
        BooksLine("rows stored = responses 'recorded'", recorded, answered.get("recorded", 0)),
        BooksLine(
            "conflicting duplicates = rows stored as such", counts.conflicting, ours.rows("conflicting")
        ),
        BooksLine(
            "invalid signatures = refused, not stored", counts.invalid_signature, answered.get("refused", 0)
        ),
        *_applied(plan, ours),
    ]


def check_chaos(sent: Sent, ours: Books, *, delivered: Sequence[Delivered]) -> list[BooksLine]:
    """
    Compare what was sent with the tables, without the counts of web nodes that were killed.

    Args:
        sent: What was sent, and the expected result.
        ours: The tables, once no notification is due.
        delivered: The responses to the sender, by plan.

    Returns:
        The lines of the check; it holds if every line does.
    """
    rows = {digest for digest, is_conflicting in ours.contents if not is_conflicting}
    conflicting = {digest for digest, is_conflicting in ours.contents if is_conflicting}
    twice = sum(count - 1 for count in ours.contents.values())
    broken = broken_chains(ours.moves, ours.current_status, begun=ours.begun)
    silent = [state for unique_id, state in ours.attempts.items() if unique_id not in sent.final]
    answered = sum(delivery.acknowledged + delivery.refused for delivery in delivered)
    return [
        BooksLine(
            "deliveries = acknowledged + refused", sum(delivery.planned for delivery in delivered), answered
        ),
        BooksLine("invalid signatures accepted", 0, sum(delivery.wrongly_accepted for delivery in delivered)),
        BooksLine("acknowledged notifications stored", len(sent.genuine), len(sent.genuine & rows)),
        BooksLine("rows without a sent notification", 0, len(rows - sent.genuine)),
        BooksLine("rows stored twice", 0, twice),
        BooksLine(
            "conflicting duplicates stored as such",
            len(sent.conflicting),
            len(sent.conflicting & conflicting),
        ),
        BooksLine("conflicting rows without a sent duplicate", 0, len(conflicting - sent.conflicting)),
        BooksLine(
            "fetched report records not applied",
            0,
            sum(ours.fetched_open.values()),
            note=", ".join(ours.fetched_open),
        ),
        BooksLine("blacklist entries of chargebacks = events", len(ours.entries), ours.listed),
        *_applied(sent, ours),
        BooksLine("attempts whose events form no single chain", 0, len(broken), note="; ".join(broken[:3])),
        BooksLine("attempts without a notification, still pending", len(silent), silent.count("pending")),
    ]


def broken_chains(
    moves: Iterable[AttemptStatusChanged],
    current_status: Mapping[str, str],
    *,
    begun: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """
    The attempts with an event that is repeated, out of order, or missing.

    Args:
        moves: The events, in order.
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
    ['seed-aa: is approved, but its last event says pending']
    """
    last_states: dict[str, str] = {}
    broken: list[str] = []
    for move in moves:
        state = last_states.get(move.transaction_id) or begun.get(move.transaction_id, "pending")
        if move.before != state:
            broken.append(f"{move.transaction_id}: left {move.before} while it was {state}")
        last_states[move.transaction_id] = move.after
    for transaction_id, state in current_status.items():
        last = last_states.get(transaction_id) or begun.get(transaction_id, "pending")
        if last != state:
            broken.append(f"{transaction_id}: is {state}, but its last event says {last}")
    return broken


def _applied(plan: FaultPlan | Sent, ours: Books) -> list[BooksLine]:
    """The lines about the effects of notifications."""
    counts = plan.counts
    expected = Counter(plan.final.values())
    found = Counter(state for unique_id, state in ours.attempts.items() if unique_id in plan.final)
    known = {**ours.attempts, **ours.billed}
    return [
        BooksLine("unknown statuses = parked for review", counts.unknown_statuses, ours.rows("parked")),
        BooksLine(
            "rows = processed + parked + unknown payment",
            counts.distinct,
            ours.rows("processed") + ours.rows("parked") + ours.rows("waiting", "unknown_payment"),
        ),
        BooksLine(
            "attempts in the expected state",
            len(plan.final),
            sum(ours.attempts.get(unique_id) == state for unique_id, state in plan.final.items()),
            note=_differences(plan.final, ours.attempts),
        ),
        BooksLine(
            "attempt states = replay by the core",
            len(ours.replayed),
            sum(known.get(unique_id) == state for unique_id, state in ours.replayed.items()),
        ),
        BooksLine(
            "blacklist entries = chargebacks that require one",
            len(plan.causes),
            len(ours.entries),
            note=_unexplained(plan, ours),
        ),
        *(BooksLine(f"attempts {state}", expected[state], found[state]) for state in sorted(expected)),
    ]


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    wrong = [
        f"{unique_id}: {found.get(unique_id, 'missing')}, not {state}"
        for unique_id, state in wanted.items()
        if found.get(unique_id) != state
    ]
    return "; ".join(wrong[:3])


def _unexplained(plan: FaultPlan | Sent, ours: Books) -> str:
    wanted = {(cause.unique_id, cause.reason_code, cause.action) for cause in plan.causes}
    wrong = [f"{entry} has no cause" for entry in ours.entries if entry not in wanted]
    wrong += [f"{cause} has no entry" for cause in sorted(wanted - set(ours.entries))]
    return "; ".join(wrong[:3])
