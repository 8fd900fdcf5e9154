"""Debtors of an upload who charged back a debit; the queries are in `charged_back.sql`, which describes them."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.screening.verdicts import Verdict

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all
from tether_stores.uploads import uploads

__all__ = ["ChargedBack", "counts", "exclude"]

_SQL: Final = load("uploads/charged_back")


class ChargedBack(msgspec.Struct, frozen=True):
    """
    Debtors whose accounts have charged back a debit.

    Attributes:
        currency: ISO 4217.
        has_debit: Whether they have a debit that is open or collected; such debtors stay.
        count: How many.
        amount_minor: What they owe, in whole minor units.
    """

    currency: str
    has_debit: bool
    count: int
    amount_minor: int


async def counts(conn: Connection, upload_id: int) -> list[ChargedBack]:
    """The debtors that an order would exclude, and those that would stay."""
    return await fetch_all(conn, _SQL["counts"], {"upload_id": upload_id}, into=ChargedBack)


async def exclude(conn: Connection, upload_id: int, *, by: str, now: datetime) -> list[ChargedBack]:
    """
    Exclude the debtors without an open or collected debit, and count them as excluded.

    Args:
        conn: The transaction that holds the upload, which is read completely.
        by: Who ordered it.

    Returns:
        The excluded ones, by currency.
    """
    cause = f"A debit from this account was charged back; excluded by {by} on {now:%Y-%m-%d}."
    reasons = msgspec.json.encode([Verdict("chargebacked_before", cause)]).decode()
    done = await fetch_all(
        conn, _SQL["exclude"], {"upload_id": upload_id, "cause": cause, "reasons": reasons}, into=ChargedBack
    )
    moved = sum(row.count for row in done)
    if moved:
        is_counted = await uploads.recount(
            conn,
            upload_id,
            stored=-moved,
            amount_minor=-sum(row.amount_minor for row in done),
            verdicts={"chargebacked_before": moved},
            lease=None,
            now=now,
        )
        assert is_counted, "the upload is held, and completed"
    return done
