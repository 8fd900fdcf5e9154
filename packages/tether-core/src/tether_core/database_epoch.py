"""
Database epochs: how a database that went back is noticed, and what that means.

A restore from a backup, a failover to a standby that lagged, or an older copy of the data directory loses committed rows. The gateway keeps
what it accepted. So every call that the lost history may have made must be inquired before it is made again, and nothing cached about the old
rows may be used for the new ones.

The time between two such breaks is a **database epoch**, a row of the table `database_epochs`. What shows a break:

| reason | what was compared |
|---|---|
| other system | the server's system identifier is not the one that the epoch began on |
| other timeline | the server's timeline is not the one that the epoch began on |
| epoch lost | a high-water mark names an epoch that the database does not have |
| position behind | a high-water mark of this epoch is ahead of the database |

A **high-water mark** records the position of the database when it was last read. Each process remembers one; others are kept
outside Postgres, in Redis and in the object store. A mark holds two positions: the end of the flushed WAL, which moves
with every commit but can pass the mark again before anybody compares; and the epoch's pulse, a number that grows only after a worker has
compared. Where a server shows neither its timeline nor its WAL, the pulse serves alone. Where there is
no mark, no comparison is possible and nothing is refused.

What cannot be noticed: rows that were changed back by statements, and a copy that is younger than the newest mark
(marks are about a second apart).

>>> seen = Server(system_id="77", timeline=1, position=500, started_at="noon")
>>> epoch = Epoch(1, "aa", system_id="77", timeline=1, pulse=40)
>>> judge(seen, epoch, known={"aa"}, marks=[Mark("aa", pulse=40, system_id="77", timeline=1, position=500)])
>>> judge(msgspec.structs.replace(seen, timeline=2), epoch, known={"aa"})
'other timeline'
>>> judge(seen, epoch, known={"aa"}, marks=[Mark("aa", pulse=41, system_id="77", timeline=1, position=400)])
'position behind'
>>> judge(seen, epoch, known={"aa"}, marks=[Mark("bb", pulse=1)])
'epoch lost'
"""

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from typing import Final, Literal

import msgspec

__all__ = [
    "FOREIGN_MARKS_S",
    "REASONS",
    "Epoch",
    "Mark",
    "Reason",
    "Server",
    "is_current",
    "judge",
    "lost_days",
]

Reason = Literal["first", "other system", "other timeline", "epoch lost", "position behind"]

REASONS: Final[dict[Reason, str]] = {
    "first": "The database is used for the first time.",
    "other system": "Another database system answers: a backup was restored into a new one, or it was upgraded.",
    "other timeline": "The server was restored to a point in time, or a standby took over.",
    "epoch lost": "The database is older than an epoch that was already in use.",
    "position behind": "The database is older than it was when it was seen last: a copy was put back, or commits were lost.",
}

# Two databases that write their marks to one place would find each other's marks each time. For this long after an epoch began, marks kept
# outside name no other reason; those that a process remembers itself do.
FOREIGN_MARKS_S: Final = 600.0
# The lists of more days than this are read every night anyway (tether_core.reconciliation.completeness).
_LOST_DAYS_MAX: Final = 30


class Server(msgspec.Struct, frozen=True):
    """
    What a server says of itself.

    Attributes:
        system_id: Its system identifier; `None` where it may not be read.
        timeline: The timeline that it writes; `None` where it may not be read.
        position: The end of its flushed WAL, in bytes from the beginning; `None` where it may not be read.
        started_at: When the server process started, as it writes it: no server process goes back by itself.
    """

    system_id: str | None
    timeline: int | None
    position: int | None
    started_at: str


class Epoch(msgspec.Struct, frozen=True):
    """
    The newest epoch in a database.

    Attributes:
        number: From 1.
        token: Drawn when it began; two histories with an epoch of the same number have different tokens.
        system_id: Of the server it began on; `None` where it could not be read.
        timeline: Of the server it began on; `None` where it could not be read.
        pulse: How often a worker has compared and gone on.
        reason: Why it began.
        age_s: For how long it has lasted, in seconds.
    """

    number: int
    token: str
    system_id: str | None = None
    timeline: int | None = None
    pulse: int = 0
    reason: Reason = "first"
    age_s: float = 0.0


class Mark(msgspec.Struct, frozen=True):
    """
    How far the database had come.

    Attributes:
        token: The epoch's.
        pulse: The epoch's.
        system_id: The server's.
        timeline: The server's.
        position: The server's.
    """

    token: str
    pulse: int
    system_id: str | None = None
    timeline: int | None = None
    position: int | None = None


def judge(
    server: Server,
    epoch: Epoch,
    *,
    known: Collection[str],
    marks: Iterable[Mark] = (),
    outside: Iterable[Mark] = (),
) -> Reason | None:
    """
    Whether the database went back.

    Args:
        server: What the server says of itself. To be read after the marks, or these would be ahead of it.
        epoch: The newest epoch that the database has.
        known: The tokens of all epochs that it has.
        marks: High-water marks that this process remembers.
        outside: High-water marks that were kept outside Postgres.

    Returns:
        Why a new epoch begins, or `None` where this one goes on.
    """
    if _differ(server.system_id, epoch.system_id):
        return "other system"
    if _differ(server.timeline, epoch.timeline):
        return "other timeline"
    counted = [*marks]
    if epoch.reason == "first" or epoch.age_s > FOREIGN_MARKS_S:
        counted += outside
    for mark in counted:
        if mark.token not in known:
            return "epoch lost"
        if mark.token == epoch.token and (mark.pulse > epoch.pulse or _is_ahead(mark, server)):
            return "position behind"
    return None


def _differ(value: object, other: object) -> bool:
    return value is not None and other is not None and value != other


def _is_ahead(mark: Mark, server: Server) -> bool:
    # Positions compare only within one timeline of one system.
    if None in {mark.system_id, mark.timeline, mark.position, server.position}:
        return False
    assert mark.position is not None
    assert server.position is not None
    same = (mark.system_id, mark.timeline) == (server.system_id, server.timeline)
    return same and mark.position > server.position


def is_current(mark: Mark, server: Server, epoch: Epoch, *, confirmed_started_at: str) -> bool:
    """
    Whether a transaction runs in the history that was confirmed; asked inside it, before debits are claimed.

    Args:
        mark: What this process remembers.
        server: What the server says of itself in this transaction.
        epoch: The newest epoch, held by this transaction.
        confirmed_started_at: `Server.started_at` as it was when the mark was compared.

    Returns:
        `False` where anything is not as it was: then a probe has to compare first.
    """
    return (
        epoch.token == mark.token
        and server.started_at == confirmed_started_at
        and judge(server, epoch, known={epoch.token}, marks=[mark]) is None
    )


def lost_days(since: datetime, *, until: datetime) -> list[date]:
    """
    The days whose notifications may be lost, so that the gateway's lists of them are to be read again.

    Args:
        since: When the database knew for the last time that it was current, by its own rows.
        until: When the break was noticed.

    Returns:
        Whole days, oldest first; one more at the beginning, because the gateway lists a payment by its own day, and
        30 at most, the newest.

    >>> from datetime import UTC
    >>> [day.day for day in lost_days(datetime(2026, 3, 2, 9, tzinfo=UTC), until=datetime(2026, 3, 3, 1, tzinfo=UTC))]
    [1, 2, 3]
    """
    last_on = until.date()
    first_on = max(min(since, until).date() - timedelta(days=1), last_on - timedelta(days=_LOST_DAYS_MAX))
    return [first_on + timedelta(days=n) for n in range((last_on - first_on).days + 1)]
