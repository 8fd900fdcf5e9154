"""Sums of the money of debits; the queries are in `figures.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import msgspec
from tether_core.billing.auto_pause import EXCLUDED
from tether_core.figures import Basis, By, OpenMoney, ReturnedMoney, Sums, Total

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["FigureFilters", "add_changes", "earlier_uploads", "moved", "open_money", "sums"]

_SQL: Final = load("figures")
# Few enough for a statement of some milliseconds; what is left is added by the next one.
_BATCH_SIZE: Final = 5_000


class FigureFilters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which debits; `None` does not filter.

    Attributes:
        from_on: Attributed to this day or a later one.
        to_on: Attributed to this day or an earlier one.
        account: Of this gateway account.
        currency: ISO 4217.
        country: Of debtors with accounts in this country, ISO 3166-1 alpha-2.
        bank: Of debtors of this bank, eight characters of its BIC; "" for unknown banks.
        price_band: With this lower bound of the price band, in whole minor units.
        upload_id: Of the billing runs of this upload.
        run_id: Of this billing run.
    """

    from_on: date | None = None
    to_on: date | None = None
    account: str | None = None
    currency: str | None = None
    country: str | None = None
    bank: str | None = None
    price_band: int | None = None
    upload_id: int | None = None
    run_id: int | None = None


async def add_changes(conn: Connection, *, limit: int = _BATCH_SIZE) -> int:
    """
    Add changes to the sums.

    Args:
        conn: Inside a transaction. While another one adds changes, nothing is done.
        limit: Changes at most.

    Returns:
        How many changes were added.
    """
    begun = await (await conn.execute(_SQL["begin"])).fetchone()
    if begun is None or not begun[0]:
        return 0
    row = await (await conn.execute(_SQL["add_changes"], {"limit": limit})).fetchone()
    assert row is not None
    return int(row[0])


async def sums(conn: Connection, filters: FigureFilters, *, by: By, basis: Basis, limit: int) -> list[Sums]:
    """Up to *limit* sums by group and currency, days and months in their order, the others by what was collected."""
    given = msgspec.structs.asdict(filters)
    from_on, to_on = given.pop("from_on"), given.pop("to_on")
    is_cash = basis == "cash"
    parameters = {
        **given,
        "cohort_from": None if is_cash else from_on,
        "cohort_to": None if is_cash else to_on,
        "cash_from": from_on if is_cash else None,
        "cash_to": to_on if is_cash else None,
        "by": by,
        "basis": basis,
        "excluded": sorted(EXCLUDED),
        "limit": limit,
    }
    return await fetch_all(conn, _SQL["sums"], parameters, into=_sums)


def _sums(*, key: str, currency: str, **of: int) -> Sums:
    return Sums(
        key,
        currency,
        *(Total(of[name], of[f"{name}_minor"]) for name in ("collected", "returned", "excluded", "refunded")),
    )


async def open_money(
    conn: Connection, *, since_on: date, upload_id: int | None, account: str | None
) -> list[OpenMoney]:
    """Money that was neither returned nor refunded, of debits submitted on *since_on* or later."""
    given = {"since_on": since_on, "upload_id": upload_id, "account": account}
    return await fetch_all(conn, _SQL["open_money"], given, into=OpenMoney)


async def earlier_uploads(conn: Connection, upload_id: int, *, limit: int) -> list[int]:
    """An upload and earlier ones that were billed, *limit* in all; the newest first."""
    rows = await conn.execute(_SQL["earlier_uploads"], {"upload_id": upload_id, "limit": limit})
    return [int(row[0]) for row in await rows.fetchall()]


async def moved(conn: Connection, upload_ids: Sequence[int]) -> tuple[list[ReturnedMoney], dict[int, date]]:
    """
    What moved of the money of uploads, by age.

    Returns:
        The money, and by upload the day on which its last debits were submitted.
    """
    rows = await fetch_all(conn, _SQL["moved"], {"upload_ids": list(upload_ids)}, into=dict[str, Any])
    submitted_to: dict[int, date] = {}
    for row in rows:
        day = row.pop("submitted_to")
        submitted_to[row["upload_id"]] = max(submitted_to.get(row["upload_id"], day), day)
    return [ReturnedMoney(**row) for row in rows], submitted_to
