"""Fetches of the gateway's reports; the queries are in `reconciliation/report_fetches.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.reconciliation.completeness import ListName, ReportFetch

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["PageRead", "ReportReading", "advance", "claim", "deferred", "due", "finish", "of_days", "want"]

_SQL: Final = load("reconciliation/report_fetches")


class ReportReading(msgspec.Struct, frozen=True):
    """
    A list that is being read, under a lease.

    Attributes:
        account: Whose list.
        name: Which list.
        day: Which day's.
        terminal: Place of the account's terminal that is read, from 0.
        page: The page that comes next, from 1.
        failures: Requests in a row without a response.
    """

    account: str
    name: ListName
    day: date
    terminal: int
    page: int
    failures: int


class PageRead(msgspec.Struct, frozen=True):
    """
    What a page held.

    Attributes:
        listed: Items that the gateway says it has, as far as this page adds to it.
        held: Items that are recorded, or excluded as not our debit.
        unread: Items that could not be read.
    """

    listed: int
    held: int
    unread: int


async def want(conn: Connection, lists: Sequence[tuple[str, ListName, date]], *, now: datetime) -> None:
    """
    Make lists due; one that is being read is read once more after that.

    Args:
        lists: Account, list and day.
    """
    await conn.execute(
        _SQL["want"],
        {
            "accounts": [account for account, _, _ in lists],
            "lists": [name for _, name, _ in lists],
            "days": [day for _, _, day in lists],
            "now": now,
        },
    )


async def claim(conn: Connection, *, now: datetime, leased_until: datetime) -> ReportReading | None:
    """
    Take a lease on the list that has been due for longest.

    Args:
        conn: In autocommit mode: the lease must be committed before the request is made.
        leased_until: The end of the lease, which also identifies it.

    Returns:
        The list, or `None` where none is due.
    """
    return await fetch_one(
        conn, _SQL["claim"], {"now": now, "leased_until": leased_until}, into=ReportReading
    )


async def advance(
    conn: Connection,
    reading: ReportReading,
    read: PageRead,
    *,
    terminal: int,
    page: int,
    lease: datetime,
    leased_until: datetime,
) -> bool:
    """
    Count a page that was read.

    Args:
        conn: Inside the transaction that puts its items into the inbox.
        reading: The list.
        read: What the page held.
        terminal: The terminal that comes next.
        page: The page that comes next.
        lease: The lease it was read under.
        leased_until: The lease for the next page.

    Returns:
        Whether it was counted; `False` where the lease has passed to another worker: roll the page back.
    """
    cursor = await conn.execute(
        _SQL["advance"],
        {
            **_named(reading),
            "next_terminal": terminal,
            "next_page": page,
            "listed": read.listed,
            "held": read.held,
            "unread": read.unread,
            "lease": lease,
            "leased_until": leased_until,
        },
    )
    return await cursor.fetchone() is not None


async def finish(conn: Connection, reading: ReportReading, *, lease: datetime) -> None:
    """End a reading: its counts are the list's now."""
    await conn.execute(_SQL["finish"], {**_named(reading), "lease": lease})


async def deferred(conn: Connection, reading: ReportReading, *, due_at: datetime, lease: datetime) -> None:
    """Continue a reading at *due_at*, at its position."""
    await conn.execute(_SQL["deferred"], {**_named(reading), "due_at": due_at, "lease": lease})


async def due(conn: Connection, *, now: datetime) -> bool:
    """Whether a list is due and nobody reads it."""
    return await fetch_value(conn, _SQL["due"], {"now": now}, into=bool)


async def of_days(conn: Connection, *, from_on: date, to_on: date) -> list[ReportFetch]:
    """The progress of reading the lists of some days, both days included."""
    return await fetch_all(conn, _SQL["of_days"], {"from_on": from_on, "to_on": to_on}, into=ReportFetch)


def _named(reading: ReportReading) -> dict[str, object]:
    return {"account": reading.account, "list": reading.name, "day_on": reading.day}
