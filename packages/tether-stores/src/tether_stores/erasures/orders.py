"""Orders to erase personal data; the queries are in `erasures/orders.sql`, which describes how an order goes on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.erasures import ErasureDebit, Obstacle, Open, obstacles

from tether_stores.database_epoch import lost_history
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "Amount",
    "ErasureOrder",
    "add",
    "all_erased",
    "amounts",
    "by_id",
    "in_the_way",
    "latest_of",
    "listed",
    "open_of",
]

_SQL: Final = load("erasures/orders")


class Amount(msgspec.Struct, frozen=True):
    """
    How much there is to erase.

    Attributes:
        what: "debtors", "edits", "checks", "mandates", "pre_notifications", "notifications", "archived_notifications" or "files".
        count: How many rows or files.
    """

    what: str
    count: int


class ErasureOrder(msgspec.Struct, frozen=True):
    """
    An order to erase the personal data of a person.

    Attributes:
        id: Its row.
        debtor_ids: The debtors.
        reason: Why.
        ordered_by: By whom.
        accepts_reversible: Whether it was accepted that money may be reclaimed, and the evidence for it is gone.
        created_at: When it was ordered.
        erased_at: When the rows were erased; null before.
        finished_at: When files and archives were erased, too; null before.
        refused_at: When it was refused, because something came in the way after it was ordered; else null.
        refused_reason: What; else null.
    """

    id: int
    debtor_ids: list[int]
    reason: str
    ordered_by: str
    accepts_reversible: bool
    created_at: datetime
    erased_at: datetime | None
    finished_at: datetime | None
    refused_at: datetime | None
    refused_reason: str | None


class _Id(msgspec.Struct, frozen=True):
    id: int


async def in_the_way(
    conn: Connection,
    debtor_ids: Sequence[int],
    *,
    now: datetime,
    accepts_reversible: bool = False,
    epoch_holds: bool = True,
) -> list[Obstacle]:
    """
    What keeps the data of some debtors from being erased.

    Args:
        accepts_reversible: As in `tether_core.erasures.obstacles`.
        epoch_holds: Whether this process has not noticed that the database went back (`tether_stores.database_epoch.watch.Watch`).
    """
    values = {"debtor_ids": list(debtor_ids)}
    epoch = await lost_history.current(conn)
    return obstacles(
        await fetch_all(conn, _SQL["debits"], values, into=ErasureDebit),
        await fetch_all(conn, _SQL["still_open"], values, into=Open),
        today=now.date(),
        accepts_reversible=accepts_reversible,
        reviewing=not epoch_holds or (epoch is not None and epoch.reviewed_at is None),
    )


async def amounts(conn: Connection, debtor_ids: Sequence[int]) -> list[Amount]:
    """How much of some debtors there is to erase; kinds of which there is nothing are left out."""
    found = await fetch_all(conn, _SQL["amounts"], {"debtor_ids": list(debtor_ids)}, into=Amount)
    return [amount for amount in found if amount.count]


async def all_erased(conn: Connection, debtor_ids: Sequence[int]) -> bool:
    """Whether the personal data of each of some debtors was erased."""
    return await fetch_value(conn, _SQL["all_erased"], {"debtor_ids": list(debtor_ids)}, into=bool)


async def add(
    conn: Connection,
    debtor_ids: Sequence[int],
    *,
    reason: str,
    ordered_by: str,
    accepts_reversible: bool,
    now: datetime,
    object_key: str | None = None,
) -> int | None:
    """
    Order an erasure.

    Args:
        debtor_ids: They exist, each once.
        object_key: Its place in the list of erasures; `None` before it is there.

    Returns:
        Its row; `None` where that entry of the list has an order.
    """
    values = {
        "debtor_ids": list(debtor_ids),
        "reason": reason,
        "ordered_by": ordered_by,
        "accepts_reversible": accepts_reversible,
        "object_key": object_key,
        "now": now,
    }
    added = await fetch_one(conn, _SQL["add"], values, into=_Id)
    return None if added is None else added.id


async def by_id(conn: Connection, order_id: int) -> ErasureOrder | None:
    """One order."""
    return await fetch_one(conn, _SQL["by_id"], {"id": order_id}, into=ErasureOrder)


async def open_of(conn: Connection, debtor_id: int) -> ErasureOrder | None:
    """The order of a debtor that is neither finished nor refused."""
    return await fetch_one(conn, _SQL["open_of"], {"debtor_id": debtor_id}, into=ErasureOrder)


async def latest_of(conn: Connection, debtor_id: int) -> ErasureOrder | None:
    """The latest order of a debtor that was not refused."""
    return await fetch_one(conn, _SQL["latest_of"], {"debtor_id": debtor_id}, into=ErasureOrder)


async def listed(conn: Connection, *, limit: int, before: int | None = None) -> list[ErasureOrder]:
    """Orders, newest first."""
    return await fetch_all(conn, _SQL["listed"], {"limit": limit, "before": before}, into=ErasureOrder)
