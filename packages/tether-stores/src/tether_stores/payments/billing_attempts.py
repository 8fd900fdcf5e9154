"""Billing attempts; the queries are in `payments/billing_attempts.sql`, which describes the rows."""

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
    "NamedAttempt",
    "ReturnHandling",
    "Returned",
    "any_returned",
    "attempt_of",
    "by_id",
    "exposed",
    "handle_returns",
    "left_open",
    "lock_free",
    "lock_returned",
    "locked_by_ids",
    "move",
    "planned_retries",
    "refunded_and_charged_back",
    "states",
]

_SQL: Final = load("payments/billing_attempts")

# Attempts that need status inquiries.
INQUIRIES: Final = InquiryTable(
    any_due=_SQL["inquiry_due"],
    claim=_SQL["lease_for_inquiry"],
    renew=_SQL["renew"],
    reschedule=_SQL["reschedule"],
)


class ListedAttempt(msgspec.Struct, frozen=True):
    """
    An attempt in lists and in the API.

    Attributes:
        id: Our row.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it is known.
        status: The attempt's state.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        error_code: The gateway's code, for "error" and "declined".
        reason_code: Why money went back, where it did.
        debtor_id: The debtor.
        updated_at: When it last changed.
        run_id: The billing run it belongs to, or `None`.
        due_item: What is owed, or `None` where no run made it.
        try_number: Which try to collect that it is, from 1.
        submission_count: Calls begun for it.
        not_submitted_reason: Why it was not submitted, or `None`.
        account: The gateway account.
        created_at: When it was created.
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
    not_submitted_reason: str | None
    account: str
    created_at: datetime


class Returned(msgspec.Struct, frozen=True):
    """
    A returned attempt whose return is not handled yet.

    Attributes:
        id: Our row.
        reason_code: Why the money went back.
        try_number: Number of the try for the same due item, from 1.
        first_tried_at: When the first try was submitted.
        imported: Whether another system submitted it.
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
        submitted_at: When it was submitted, or created if it was not submitted yet.
        retry_on: The day of the retry after a return, or `None`.
        retry_why: The reason for that decision; `None` without a return.
        return_policy_version: The version of the return policy that decided; `None` without a return.
    """

    attempt: Attempt
    submitted_at: datetime
    retry_on: date | None
    retry_why: str | None
    return_policy_version: int | None = None


class ReturnHandling(msgspec.Struct, frozen=True):
    """
    The decision about a returned attempt; see `tether_core.payments.returns`.

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
    Lock and load the attempts with any of these ids, in the order of their rows.

    Args:
        conn: Inside the transaction that will write them.
        unique_ids: The gateway's ids.
        transaction_ids: Our ids.
        ids: Further rows to lock.
    """
    values = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids), "ids": list(ids)}
    return await fetch_all(conn, _SQL["locked_by_ids"], values, into=Attempt, binary=True)


class NamedAttempt(msgspec.Struct, frozen=True):
    """
    An attempt that was named and is not locked.

    Attributes:
        id: Our row.
        unique_id: The gateway's id, or `None` until it is known.
        transaction_id: Our id, as the gateway knows it.
    """

    id: int
    unique_id: str | None
    transaction_id: str


async def lock_free(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str], ids: Sequence[int] = ()
) -> tuple[list[Attempt], list[NamedAttempt]]:
    """
    Lock and load the attempts with any of these ids that no other transaction has locked; nothing waits.

    Args:
        conn: Inside the transaction that will write them.
        unique_ids: The gateway's ids.
        transaction_ids: Our ids.
        ids: Further rows to lock.

    Returns:
        Those that are locked now, in the order of their rows, and those that others have locked.
    """
    values = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids), "ids": list(ids)}
    locked = await fetch_all(conn, _SQL["lock_free"], values, into=Attempt, binary=True)
    if not (
        set(unique_ids) - {attempt.unique_id for attempt in locked}
        or set(transaction_ids) - {attempt.transaction_id for attempt in locked}
        or set(ids) - {attempt.id for attempt in locked}
    ):
        return locked, []
    values["locked_ids"] = [attempt.id for attempt in locked]
    return locked, await fetch_all(conn, _SQL["busy"], values, into=NamedAttempt, binary=True)


async def move(conn: Connection, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """Write the new state of attempts, inside the transaction that locked them."""
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
    """Attempts by state: how many, and their amounts in minor units; states without any are excluded."""
    cursor = await conn.execute(_SQL["states"])
    return {state: (count, total) for state, count, total in await cursor.fetchall()}


async def lock_returned(conn: Connection, *, limit: int) -> list[Returned]:
    """
    Lock returned attempts with a reason code whose return is not handled yet, in the order of their rows.

    Args:
        conn: Inside the transaction that will call `handle_returns`.
    """
    return await fetch_all(conn, _SQL["lock_returned"], {"limit": limit}, into=Returned)


async def any_returned(conn: Connection) -> bool:
    """Whether `lock_returned` would find any attempt."""
    return await fetch_value(conn, _SQL["any_returned"], into=bool)


async def handle_returns(
    conn: Connection, rows: Sequence[ReturnHandling], *, policy_version: int, now: datetime
) -> None:
    """
    Write the decisions about returned attempts, inside the transaction that locked them.

    Args:
        policy_version: The version of the return policy that decided.
    """
    await conn.execute(
        _SQL["handle_returns"],
        {
            "ids": [row.id for row in rows],
            "retry_ons": [row.retry_on for row in rows],
            "retry_whys": [row.why for row in rows],
            "policy_version": policy_version,
            "now": now,
        },
    )


async def exposed(conn: Connection, row_id: int) -> Exposed | None:
    """An attempt with what decides how long its money may go back, or `None`."""
    row = await fetch_one(conn, _SQL["exposed"], {"id": row_id}, into=dict[str, Any], binary=True)
    if row is None:
        return None
    return Exposed(
        attempt_of(row), row["submitted_at"], row["retry_on"], row["retry_why"], row["return_policy_version"]
    )


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt of a row that has its columns by name; those it lacks are at their defaults."""
    return Attempt(**{field: row[field] for field in Attempt.__struct_fields__ if field in row})


async def planned_retries(conn: Connection, *, from_on: date) -> dict[date, int]:
    """Retries after returns planned for each day from *from_on* on."""
    cursor = await conn.execute(_SQL["planned_retries"], {"from_on": from_on})
    return {day: count for day, count in await cursor.fetchall()}  # noqa: C416 - rows are typed as tuples of anything


async def refunded_and_charged_back(conn: Connection, *, limit: int = 100) -> list[int]:
    """Attempts that were both refunded and charged back, newest first."""
    cursor = await conn.execute(_SQL["refunded_and_charged_back"], {"limit": limit})
    return [row_id for (row_id,) in await cursor.fetchall()]


async def left_open(conn: Connection, *, inquiry_count_max: int) -> int:
    """Attempts of unknown outcome that have had all their status inquiries."""
    return await fetch_value(conn, _SQL["left_open"], {"inquiry_count_max": inquiry_count_max}, into=int)
