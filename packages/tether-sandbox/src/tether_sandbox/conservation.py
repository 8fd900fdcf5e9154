"""
The conservation check: nothing lost, nothing doubled, everything explained.

It compares three books that were kept apart: what the sender knows it sent, what the web nodes counted while they
answered, and what stands in the tables. And it replays the history of every attempt through the pure core, which must
come to the state the table has.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import psycopg
from tether_core import billing
from tether_core.emp.notification import decode
from tether_stores.queries import split_file

from tether_sandbox.gateway import Plan

__all__ = ["Books", "Line", "books", "check", "replayed"]

_SQL = split_file("tether_sandbox", "conservation")


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
        attempts: unique_id to state.
        entries: (unique_id, reason code, action) of every blacklist entry that a return caused.
        replayed: unique_id to the state that its booked notifications give when the core decides them again.
    """

    inbox: dict[tuple[str, str], int]
    attempts: dict[str, str]
    entries: list[tuple[str, str, str]]
    replayed: dict[str, str]

    def rows(self, state: str, reason: str | None = None) -> int:
        """How many notifications are in a state, for one reason or for any."""
        return sum(
            count
            for (in_state, why), count in self.inbox.items()
            if in_state == state and reason in (None, why)
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
        attempts = dict(msgspec.convert(conn.execute(_SQL["attempts"]).fetchall(), list[tuple[str, str]]))
        entries = msgspec.convert(conn.execute(_SQL["entries"]).fetchall(), list[tuple[str, str, str]])
        histories = conn.execute(_SQL["histories"]).fetchall()
    return Books(inbox, attempts, entries, replayed(histories))


def replayed(histories: Iterable[tuple[int, str, bytes]]) -> dict[str, str]:
    """
    What the core makes of booked notifications when it decides them again, from a fresh attempt.

    Args:
        histories: (attempt id, media type, body), those of one attempt together.

    Returns:
        unique_id to state.
    """
    states: dict[str, str] = {}
    attempt: billing.Attempt | None = None
    for attempt_id, content_type, body in histories:
        told = decode(bytes(body), content_type=content_type)
        if told.unique_id is None:
            continue
        if attempt is None or attempt.id != attempt_id:
            attempt = billing.Attempt(attempt_id, "default", "", told.unique_id, 1, "EUR")
        attempt = billing.decide(attempt, told, account="default").attempt or attempt
        states[told.unique_id] = attempt.state
    return states


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
    expected = Counter(plan.final.values())
    lines = [
        Line("requests sent = answers counted", posts, sum(answered.values())),
        Line("distinct notifications = rows recorded", counts.distinct, recorded),
        Line("rows recorded = answers 'recorded'", recorded, answered.get("recorded", 0)),
        Line("conflicting repeats = rows kept aside", counts.conflicting, ours.rows("conflicting")),
        Line("forged = refused, without a trace", counts.forged, answered.get("refused", 0)),
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
            sum(ours.attempts.get(unique_id) == state for unique_id, state in ours.replayed.items()),
        ),
        Line(
            "blacklist entries = returns that ask for one",
            len(plan.causes),
            len(ours.entries),
            note=_unexplained(plan, ours),
        ),
    ]
    lines += [
        Line(f"attempts {state}", expected[state], Counter(ours.attempts.values())[state])
        for state in sorted(expected)
    ]
    return lines


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    wrong = [
        f"{unique_id}: {found.get(unique_id, 'missing')}, not {state}"
        for unique_id, state in wanted.items()
        if found.get(unique_id) != state
    ]
    return "; ".join(wrong[:3])


def _unexplained(plan: Plan, ours: Books) -> str:
    wanted = {(cause.unique_id, cause.reason_code, cause.action) for cause in plan.causes}
    wrong = [f"{entry} has no cause" for entry in ours.entries if entry not in wanted]
    wrong += [f"{cause} has no entry" for cause in sorted(wanted - set(ours.entries))]
    return "; ".join(wrong[:3])
