"""Billing attempts: one short function per query of `payments/billing_attempts.sql`, which tells how its rows live."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Attempt

from tether_stores.payments import billing_run_counts
from tether_stores.payments.inquiries import InquiryTable
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "INQUIRIES",
    "Exposed",
    "ListedAttempt",
    "ReturnHandling",
    "Returned",
    "any_returned",
    "attempt_of",
    "by_id",
    "exposed",
    "handle_returns",
    "left_open",
    "lock_returned",
    "locked_by_ids",
    "move",
    "planned_retries",
    "refunded_and_charged_back",
    "states",
]

_SQL: Final = load("payments/billing_attempts")

# Attempts that are asked about.
INQUIRIES: Final = InquiryTable(
    any_due=_SQL["inquiry_due"],
    claim=_SQL["lease_for_inquiry"],
    renew=_SQL["renew"],
    reschedule=_SQL["reschedule"],
)


class ListedAttempt(msgspec.Struct, frozen=True):
    """
    An attempt for people and programs outside.

    Attributes:
        id: Our row.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it told us.
        status: The attempt's state.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        error_code: The gateway's code, for "error" and "declined".
        reason_code: Why money went back, where it did.
        debtor_id: Whom it concerns.
        updated_at: When it last moved.
        run_id: The billing run it belongs to, or `None`.
        due_item: What is owed, or `None` where no run made it.
        try_number: Which try to collect that it is, from 1.
        submission_count: How often the gateway was called for it.
        withheld: Why it is not sent, where that was decided after all.
        account: The gateway account.
        created_at: When it was made.
    """

    id: int
    transaction_id: str
    unique_id: str | None
    status: str
    amount_minor: int
    currency: str
    error_code: str | None
    reason_code: str | None
    debtor_id: int
    updated_at: datetime
    run_id: int | None
    due_item: str | None
    try_number: int | None
    submission_count: int
    withheld: str | None
    account: str
    created_at: datetime


class Returned(msgspec.Struct, frozen=True):
    """
    An attempt that came back and was not looked at since.

    Attributes:
        id: Our row.
        reason_code: Why money went back.
        try_number: Which try to collect the same due item it was, from 1.
        first_tried_at: When the first of these was sent.
        imported: Whether another system made it.
    """

    id: int
    reason_code: str
    try_number: int
    first_tried_at: datetime
    imported: bool


class Exposed(msgspec.Struct, frozen=True):
    """
    An attempt with what decides how long its money may go back.

    Attributes:
        attempt: As the core knows it.
        submitted_at: When it was sent, or made where it was not yet.
        retry_on: The day on which it may be tried again after it came back, or `None`.
        retry_why: Why that day, or none; `None` where it did not come back.
    """

    attempt: Attempt
    submitted_at: datetime
    retry_on: date | None
    retry_why: str | None


class ReturnHandling(msgspec.Struct, frozen=True):
    """
    What follows for an attempt that came back; see `tether_core.payments.returns`.

    Attributes:
        id: Our row.
        retry_on: The day on which the same debit may be tried again, or `None`.
        why: A `tether_core.payments.returns.RetryWhy`.
    """

    id: int
    retry_on: date | None
    why: str


async def locked_by_ids(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str], ids: Sequence[int] = ()
) -> list[Attempt]:
    """
    Lock and load the attempts with any of these ids.

    Args:
        conn: Inside the transaction that will write them.
        unique_ids: The gateway's ids.
        transaction_ids: Ours.
        ids: Rows to lock beside them.

    Returns:
        One attempt each, in the order of their rows.
    """
    values = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids), "ids": list(ids)}
    return await fetch_all(conn, _SQL["locked_by_ids"], values, into=Attempt, binary=True)


async def move(conn: Connection, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """
    Write attempts as they were decided, inside the transaction that locked them.

    Args:
        conn: That transaction.
        attempts: n attempts.
        now: The current time.
    """
    if not attempts:
        return
    await billing_run_counts.add(conn, attempts, now=now)
    await conn.execute(
        _SQL["move"],
        {
            "ids": [attempt.id for attempt in attempts],
            "unique_ids": [attempt.unique_id for attempt in attempts],
            "states": [attempt.state for attempt in attempts],
            "payment_stages": [attempt.payment_stage for attempt in attempts],
            "dispute_stages": [attempt.dispute_stage for attempt in attempts],
            "error_codes": [attempt.error_code for attempt in attempts],
            "reason_codes": [attempt.reason_code for attempt in attempts],
            "now": now,
        },
    )


async def by_id(conn: Connection, row_id: int) -> ListedAttempt | None:
    """One attempt, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": row_id}, into=ListedAttempt)


async def states(conn: Connection) -> dict[str, tuple[int, int]]:
    """How many attempts stand in each state, and their amounts in minor units; states without any are excluded."""
    cursor = await conn.execute(_SQL["states"])
    return {state: (count, total) for state, count, total in await cursor.fetchall()}


async def lock_returned(conn: Connection, *, limit: int) -> list[Returned]:
    """
    Lock attempts that came back, with a reason, and were not looked at since.

    Args:
        conn: Inside the transaction that will write what follows.
        limit: Rows at most.

    Returns:
        Up to *limit* attempts, in the order of their rows.
    """
    return await fetch_all(conn, _SQL["lock_returned"], {"limit": limit}, into=Returned)


async def any_returned(conn: Connection) -> bool:
    """Whether any attempt came back, with a reason, and was not looked at since."""
    return await fetch_value(conn, _SQL["any_returned"], into=bool)


async def handle_returns(conn: Connection, rows: Sequence[ReturnHandling], *, now: datetime) -> None:
    """
    Write what follows for returned attempts, inside the transaction that locked them.

    Args:
        conn: That transaction.
        rows: n of them.
        now: The current time.
    """
    await conn.execute(
        _SQL["handle_returns"],
        {
            "ids": [row.id for row in rows],
            "retry_ons": [row.retry_on for row in rows],
            "retry_whys": [row.why for row in rows],
            "now": now,
        },
    )


async def exposed(conn: Connection, row_id: int) -> Exposed | None:
    """An attempt with what decides how long its money may go back, or `None`."""
    row = await fetch_one(conn, _SQL["exposed"], {"id": row_id}, into=dict[str, Any], binary=True)
    if row is None:
        return None
    return Exposed(attempt_of(row), row["submitted_at"], row["retry_on"], row["retry_why"])


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt of a row that has its columns by name; those it lacks are at their defaults."""
    return Attempt(**{field: row[field] for field in Attempt.__struct_fields__ if field in row})


async def planned_retries(conn: Connection, *, from_on: date) -> dict[date, int]:
    """How many tries after a return are planned on each day from *from_on* on."""
    cursor = await conn.execute(_SQL["planned_retries"], {"from_on": from_on})
    return {day: count for day, count in await cursor.fetchall()}  # noqa: C416 - rows are typed as tuples of anything


async def refunded_and_charged_back(conn: Connection, *, limit: int = 100) -> list[int]:
    """Attempts whose money went back by a refund of ours and by the debtor's bank, newest first."""
    cursor = await conn.execute(_SQL["refunded_and_charged_back"], {"limit": limit})
    return [row_id for (row_id,) in await cursor.fetchall()]


async def left_open(conn: Connection, *, inquiry_count_max: int) -> int:
    """How many attempts of unknown outcome have been asked about as often as may be."""
    return await fetch_value(conn, _SQL["left_open"], {"inquiry_count_max": inquiry_count_max}, into=int)
