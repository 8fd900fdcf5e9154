"""
Leases for status inquiries, shared by attempts, refunds and ordered inquiries.

`claim` leases rows that need a status inquiry, `renew` extends the lease while the inquiry runs, `reschedule` stores when the next
one is due. Each table has its own queries with the same parameters: `inquiry_due`, `lease_for_inquiry`, `renew` and `reschedule`. The
lease is the time of the next inquiry, so the rows of a worker that died are due again within seconds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

import msgspec

from tether_stores.postgres import Connection
from tether_stores.rows import fetch_all

__all__ = ["InquiryRow", "InquiryTable"]


class InquiryRow(msgspec.Struct, frozen=True):
    """
    A leased row that needs a status inquiry.

    Attributes:
        id: Our row.
        account: The gateway account it was submitted with.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it is known.
        payment_stage: Its payment stage.
        inquiry_count: Inquiries so far without a final result.
        submitted_to: The gateway identities that its calls went to; `None` where none was stored.
    """

    id: int
    account: str
    transaction_id: str
    unique_id: str | None
    payment_stage: int
    inquiry_count: int
    submitted_to: tuple[str, ...] | None = None


class InquiryTable:
    """The rows of a table that need status inquiries."""

    def __init__(
        self, *, any_due: LiteralString, claim: LiteralString, renew: LiteralString, reschedule: LiteralString
    ) -> None:
        """
        Take the table's queries.

        Args:
            any_due: Its `inquiry_due`.
            claim: Its `lease_for_inquiry`.
            renew: Its `renew`.
            reschedule: Its `reschedule`.
        """
        self._any_due, self._claim, self._renew, self._reschedule = any_due, claim, renew, reschedule

    async def any_due(
        self,
        conn: Connection,
        *,
        payment_stages: Sequence[int],
        silent_since: datetime,
        inquiry_count_max: int,
        now: datetime,
    ) -> bool:
        """Whether `claim` would find any row."""
        parameters = {
            "payment_stages": list(payment_stages),
            "silent_since": silent_since,
            "inquiry_count_max": inquiry_count_max,
            "now": now,
        }
        row = await (await conn.execute(self._any_due, parameters)).fetchone()
        assert row is not None
        return bool(row[0])

    async def claim(
        self,
        conn: Connection,
        *,
        payment_stages: Sequence[int],
        silent_since: datetime,
        inquiry_count_max: int,
        now: datetime,
        leased_until: datetime,
        limit: int,
    ) -> list[InquiryRow]:
        """
        Lease rows that are due for a status inquiry.

        Args:
            conn: In autocommit mode: the lease must be committed before the inquiry is made.
            payment_stages: Only rows at these stages.
            silent_since: Rows without an inquiry are due if they had no news since then.
            inquiry_count_max: Rows with this many inquiries are excluded.
            leased_until: The end of the lease, which also identifies it.
        """
        parameters = {
            "payment_stages": list(payment_stages),
            "silent_since": silent_since,
            "inquiry_count_max": inquiry_count_max,
            "now": now,
            "leased_until": leased_until,
            "limit": limit,
        }
        return await fetch_all(conn, self._claim, parameters, into=_row)

    async def renew(
        self, conn: Connection, ids: Sequence[int], *, leased_until: datetime, until: datetime
    ) -> int:
        """
        Extend a lease; returns how many rows were still under it.

        Args:
            leased_until: The lease as it was.
            until: The lease from now on.
        """
        parameters = {"ids": list(ids), "leased_until": leased_until, "until": until}
        return (await conn.execute(self._renew, parameters)).rowcount

    async def reschedule(self, conn: Connection, rows: Sequence[tuple[int, int, datetime | None]]) -> None:
        """
        Store when the next inquiries are due.

        Args:
            rows: Row, inquiries so far without a final result, and the time of the next one (`None`: as without any inquiry).
        """
        if not rows:
            return
        ids, inquiry_counts, inquire_ats = zip(*rows, strict=True)
        await conn.execute(
            self._reschedule,
            {"ids": list(ids), "inquiry_count": list(inquiry_counts), "inquire_ats": list(inquire_ats)},
        )


def _row(*, submitted_to: list[str] | None, **columns: Any) -> InquiryRow:
    return InquiryRow(submitted_to=None if submitted_to is None else tuple(submitted_to), **columns)
