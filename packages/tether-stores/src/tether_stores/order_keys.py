"""Results of orders by their Idempotency-Key; the queries are in `order_keys.sql`."""

from datetime import datetime
from typing import Final

import msgspec
import psycopg
from tether_core.errors import InProgress

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_one, fetch_value

__all__ = ["StoredResponse", "add", "find", "lock", "prune"]

_SQL: Final = load("order_keys")
# An order takes some milliseconds. A request that waits longer than this holds a connection that others need.
_WAIT: Final = "2s"


class StoredResponse(msgspec.Struct, frozen=True):
    """
    The result of an order that was placed.

    Attributes:
        request: Digest of the request; `tether_core.order_keys.digest`.
        status: Of HTTP.
        location: Where the thing that was ordered is found.
        body: JSON, as it was sent.
    """

    request: bytes
    status: int
    location: str
    body: bytes


async def lock(conn: Connection, *, holder: str, key: str) -> None:
    """
    Let no other request with this key pass until this transaction ends.

    Args:
        conn: Inside the transaction that places the order, before it holds any row.
        holder: The name of the API key.
        key: The Idempotency-Key.

    Raises:
        InProgress: when another request with the key is still being worked on after two seconds.
    """
    try:
        await conn.execute(_SQL["lock"], {"holder": holder, "key": key, "wait": _WAIT})
    except psycopg.errors.LockNotAvailable as exc:
        raise InProgress from exc


async def find(conn: Connection, *, holder: str, key: str) -> StoredResponse | None:
    """The result that is kept under a key, or `None`."""
    return await fetch_one(
        conn, _SQL["find"], {"holder": holder, "key": key}, into=StoredResponse, binary=True
    )


async def add(conn: Connection, kept: StoredResponse, *, holder: str, key: str, now: datetime) -> None:
    """
    Keep the result of an order.

    Args:
        conn: The transaction that places it and holds the lock.
        kept: The result.
        holder: The name of the API key.
        key: The Idempotency-Key.
    """
    await conn.execute(
        _SQL["add"],
        {
            "holder": holder,
            "key": key,
            "request": kept.request,
            "status": kept.status,
            "location": kept.location,
            "body": kept.body,
            "now": now,
        },
    )


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Remove up to *limit* results that were kept before a time; returns how many."""
    return await fetch_value(conn, _SQL["prune"], {"before": before, "limit": limit}, into=int)
