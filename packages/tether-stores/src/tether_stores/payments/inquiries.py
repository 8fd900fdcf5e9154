"""
Rows whose fate the gateway has to be asked for: leased for a question, and noted when to be asked about again.

Attempts live so, and refund. Which rows of a table may be asked about says its own file: `askable`,
`lease_for_inquiry`, `renew` and `asked` in `payments/billing_attempts.sql` and `refunds/refunds.sql`, with the same parameters.
The lease is the time of the next question, so a worker that dies costs seconds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec

from tether_stores.postgres import Connection

__all__ = ["InquiryRow", "InquiryTable"]


class InquiryRow(msgspec.Struct, frozen=True):
    """
    A row whose fate the gateway has to be asked for, under a lease.

    Attributes:
        id: Our row.
        account: The gateway account it was sent with.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it told us.
        payment_stage: How far it has come.
        inquiry_count: Answers so far that settled nothing.
        submitted_to: The gateway identities that its calls went to; `None` where none was ever stored.
    """

    id: int
    account: str
    transaction_id: str
    unique_id: str | None
    payment_stage: int
    inquiry_count: int
    submitted_to: tuple[str, ...] | None = None


class InquiryTable:
    """The rows of a table that are asked about."""

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
        Take a lease on rows that are due for a question.

        Args:
            conn: In autocommit mode: the lease must be committed before anybody is asked.
            payment_stages: Only rows at these.
            silent_since: Rows never asked about need to be without news since then.
            inquiry_count_max: Rows asked about so often are excluded.
            now: The current time.
            leased_until: The end of the lease.
            limit: Rows at most.

        Returns:
            Up to *limit* rows.
        """
        parameters = {
            "payment_stages": list(payment_stages),
            "silent_since": silent_since,
            "inquiry_count_max": inquiry_count_max,
            "now": now,
            "leased_until": leased_until,
            "limit": limit,
        }
        cursor = await conn.execute(self._claim, parameters)
        return [_row(*row) for row in await cursor.fetchall()]

    async def renew(
        self, conn: Connection, ids: Sequence[int], *, leased_until: datetime, until: datetime
    ) -> int:
        """
        Hold the lease on rows that are asked about for longer, where it still is ours.

        Args:
            conn: Any connection.
            ids: The rows.
            leased_until: The lease they are held under.
            until: The lease they are held under from now on.

        Returns:
            How many were still ours.
        """
        parameters = {"ids": list(ids), "leased_until": leased_until, "until": until}
        return (await conn.execute(self._renew, parameters)).rowcount

    async def reschedule(self, conn: Connection, rows: Sequence[tuple[int, int, datetime | None]]) -> None:
        """
        Note when rows are to be asked about again.

        Args:
            conn: Any connection.
            rows: Row, answers so far that settled nothing, and when to ask again (`None`: as if never asked).
        """
        if not rows:
            return
        ids, inquiry_counts, inquire_ats = zip(*rows, strict=True)
        await conn.execute(
            self._reschedule,
            {"ids": list(ids), "inquiry_count": list(inquiry_counts), "inquire_ats": list(inquire_ats)},
        )


def _row(  # one argument a column of `lease_for_inquiry`
    row_id: int,
    account: str,
    transaction_id: str,
    unique_id: str | None,
    payment_stage: int,
    inquiry_counts: int,
    submitted_to: list[str] | None,
) -> InquiryRow:
    where = None if submitted_to is None else tuple(submitted_to)
    return InquiryRow(row_id, account, transaction_id, unique_id, payment_stage, inquiry_counts, where)
