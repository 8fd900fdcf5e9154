"""
What a lost history may have done: submissions and orders older than the current epoch, which are inquired before anything is submitted.

The queries are in `database_epoch/lost_history.sql`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.database_epoch import Reason

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "Current",
    "EpochBounds",
    "LatestTry",
    "LostDays",
    "Review",
    "bounds",
    "current",
    "inquire_attempts_anew",
    "inquire_orders_anew",
    "latest_tries",
    "lists_to_want",
    "lists_wanted",
    "made_again",
    "reviewed",
    "to_review",
    "unfinished_attempts",
    "unfinished_orders",
]

_SQL: Final = load("database_epoch/lost_history")
# Rows that one statement looks at when older submissions are reviewed.
_EXAMINED_MAX: Final = 10_000
# One statement for an epoch that ends meanwhile, one for the next.
_HOLDS: Final = 3


class EpochBounds(msgspec.Struct, frozen=True):
    """
    Which rows are older than the current epoch.

    Attributes:
        number: Of the epoch.
        began_at: When it began.
        attempts_to: The last attempt made before it; 0 for the first epoch.
        debtors_to: The last debtor recorded before it; 0 for the first epoch.
    """

    number: int
    began_at: datetime
    attempts_to: int
    debtors_to: int


class Review(msgspec.Struct, frozen=True):
    """
    How far the submissions older than the current epoch were made inquiries.

    Attributes:
        number: Of the epoch.
        began_at: When it began.
        attempts_to: The last attempt made before it.
        orders_to: The last refund or void made before it.
        attempts_reviewed_to: The last attempt that was reviewed.
        orders_reviewed_to: The last refund or void that was reviewed.
    """

    number: int
    began_at: datetime
    attempts_to: int
    orders_to: int
    attempts_reviewed_to: int
    orders_reviewed_to: int


class LatestTry(msgspec.Struct, frozen=True):
    """
    The latest known try at a due item that a lost history may have tried again.

    Attributes:
        id: The attempt.
        debtor_id: Who pays.
        due_item: What is owed.
        number: Of the try.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        iban_fingerprint: Of the account.
    """

    id: int
    debtor_id: int
    due_item: str
    number: int
    amount_minor: int
    currency: str
    iban_fingerprint: bytes


class LostDays(msgspec.Struct, frozen=True):
    """
    An epoch whose lost notifications are to be fetched again.

    Attributes:
        number: Of the epoch.
        since: When the database before it was current for the last time.
        until: When it began.
    """

    number: int
    since: datetime
    until: datetime


class Current(msgspec.Struct, frozen=True):
    """
    The current epoch, for people.

    Attributes:
        number: From 1.
        reason: Why it began.
        began_at: When.
        reviewed_at: When all older submissions had become inquiries; `None` while that lasts, and nothing is submitted.
        submissions: How many these were.
    """

    number: int
    reason: Reason
    began_at: datetime
    reviewed_at: datetime | None
    submissions: int


async def to_review(conn: Connection) -> Review | None:
    """Hold the current epoch where older submissions are still to be reviewed; `None` where none are, or another worker does it."""
    return await fetch_one(conn, _SQL["to_review"], into=Review)


async def unfinished_attempts(conn: Connection, *, after: int, to: int, limit: int) -> list[int]:
    """The next debits of runs in a range of rows whose outcome is not known here, in order."""
    return await _walked(conn, "unfinished_attempts", after=after, to=to, limit=limit)


async def unfinished_orders(conn: Connection, *, after: int, to: int, limit: int) -> list[int]:
    """The next refunds and voids in a range of rows whose outcome is not known here, in order."""
    return await _walked(conn, "unfinished_orders", after=after, to=to, limit=limit)


async def _walked(conn: Connection, query: str, *, after: int, to: int, limit: int) -> list[int]:
    # Nearly all rows are long done with; no statement walks past more of them than this.
    found: list[int] = []
    begin = after
    while begin < to and len(found) < limit:
        end = min(to, begin + _EXAMINED_MAX)
        cursor = await conn.execute(_SQL[query], {"after": begin, "to": end, "limit": limit - len(found)})
        found += [row_id for (row_id,) in await cursor.fetchall()]
        begin = end
    return found


async def reviewed(
    conn: Connection, review: Review, *, submissions: int, reviewed_at: datetime | None
) -> None:
    """
    Note how far older submissions were reviewed, inside the transaction that made them inquiries.

    Args:
        conn: That transaction.
        review: How far by now.
        submissions: How many were made inquiries.
        reviewed_at: The time where that were all, else `None`.
    """
    await conn.execute(
        _SQL["reviewed"],
        {
            "number": review.number,
            "attempts_reviewed_to": review.attempts_reviewed_to,
            "orders_reviewed_to": review.orders_reviewed_to,
            "submissions": submissions,
            "reviewed_at": reviewed_at,
        },
    )


async def inquire_attempts_anew(conn: Connection, ids: Sequence[int]) -> None:
    """Have debits inquired from the beginning of the schedule."""
    await conn.execute(_SQL["inquire_attempts_anew"], {"ids": list(ids)})


async def inquire_orders_anew(conn: Connection, ids: Sequence[int]) -> None:
    """Have refunds and voids inquired from the beginning of the schedule."""
    await conn.execute(_SQL["inquire_orders_anew"], {"ids": list(ids)})


async def bounds(conn: Connection) -> EpochBounds | None:
    """Hold the current epoch until this transaction ends; `None` in a database without any."""
    for _ in range(_HOLDS):
        # A transaction that waited for the end of one epoch is given no row: the next one is younger than the statement. Ask again.
        found = await fetch_one(conn, _SQL["bounds"], into=EpochBounds)
        if found is not None:
            return found
    return None


async def made_again(
    conn: Connection, *, run_id: int, debtor_ids: Sequence[int], debtors_to: int
) -> list[int]:
    """The debits of a run, just made, for debtors up to *debtors_to*."""
    cursor = await conn.execute(
        _SQL["made_again"], {"run_id": run_id, "debtor_ids": list(debtor_ids), "debtors_to": debtors_to}
    )
    return [row_id for (row_id,) in await cursor.fetchall()]


async def latest_tries(conn: Connection, ids: Sequence[int]) -> list[LatestTry]:
    """Of some debits those that are the latest known try at a due item of a debtor older than the current epoch."""
    return await fetch_all(conn, _SQL["latest_tries"], {"ids": list(ids)}, into=LatestTry, binary=True)


async def lists_to_want(conn: Connection) -> LostDays | None:
    """Hold the current epoch where lists of lost days are still to be wanted; `None` where none are, or another worker does it."""
    return await fetch_one(conn, _SQL["lists_to_want"], into=LostDays)


async def lists_wanted(conn: Connection, lost: LostDays, *, now: datetime) -> None:
    """Note that these lists are wanted, inside the transaction that wants them."""
    await conn.execute(_SQL["lists_wanted"], {"number": lost.number, "now": now})


async def current(conn: Connection) -> Current | None:
    """The current epoch for people; `None` before the first."""
    return await fetch_one(conn, _SQL["current"], into=Current)
