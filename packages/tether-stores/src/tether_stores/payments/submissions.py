"""Submission of debits; the queries are in `payments/submissions.sql`, which describes the rows."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Attempt
from tether_core.payments.not_found import FirstAnswer
from tether_core.payments.submission import Submission

from tether_stores.payments import billing_run_counts
from tether_stores.payments.billing_attempts import attempt_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_pair, fetch_value

__all__ = [
    "DueAgain",
    "LockedDebit",
    "NewAttempt",
    "Written",
    "add",
    "analyze",
    "columns",
    "count_day",
    "counts",
    "due_again",
    "expired",
    "hold_day",
    "lock_accounts",
    "locked",
    "read_submission",
    "ready",
    "unschedule_ended",
    "unsent",
    "write",
]

_SQL: Final = load("payments/submissions")


class NewAttempt(msgspec.Struct, frozen=True):
    """
    An attempt to be inserted.

    Attributes:
        debtor_id: Who pays.
        transaction_id: Our id of it; see `tether_core.payments.transaction_ids.transaction_id`.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        iban_fingerprint: Of the account.
        iban_masked: The masked IBAN.
        number: Of the try for its item, from 1.
        retry_of: The returned attempt that is tried again, or `None`.
        canary: Whether it is a canary.
    """

    debtor_id: int
    transaction_id: str
    amount_minor: int
    currency: str
    iban_fingerprint: bytes
    iban_masked: str
    number: int
    retry_of: int | None = None
    canary: bool = False


class LockedDebit(msgspec.Struct, frozen=True):
    """
    A debit that this transaction has locked.

    Attributes:
        submission: The attempt and its submission step.
        debtor_id: Who pays.
        again: Whether it is a retry after a return.
        made_at: When its row was made.
        first_tried_at: Of a retry: when its due item was tried first; else `None`.
    """

    submission: Submission
    debtor_id: int
    again: bool
    made_at: datetime
    first_tried_at: datetime | None


class Written(msgspec.Struct, frozen=True):
    """
    The new state of a debit, refund or void.

    Attributes:
        submission: The new state.
        not_submitted_reason: Why it is not submitted, or `None`.
        unresolved: Why an inquiry did not resolve it, a key of `tether_core.payments.submission.CAUSES`; or `None`.
    """

    submission: Submission
    not_submitted_reason: str | None = None
    unresolved: str | None = None


class DueAgain(msgspec.Struct, frozen=True):
    """
    A returned debit whose retry is due.

    Attributes:
        id: The returned attempt.
        run_id: Its run.
        debtor_id: Who pays.
        due_item: What is owed.
        number: Of the next try.
    """

    id: int
    run_id: int
    debtor_id: int
    due_item: str
    number: int


async def add(
    conn: Connection,
    tries: Sequence[NewAttempt],
    *,
    run_id: int,
    account: str,
    due_item: str,
    now: datetime,
    is_scheduled: bool = False,
) -> list[tuple[int, int]]:
    """
    Insert attempts of a run, scheduled for submission, unless the try exists.

    Args:
        conn: Inside the transaction that holds the run.
        account: The gateway account.
        due_item: What is owed.
        is_scheduled: Whether schedules say the amounts, and not the rows of the debtors.

    Returns:
        Debtor and amount of each inserted attempt.
    """
    if not tries:
        return []
    cursor = await conn.execute(
        _SQL["add"],
        {
            "debtor_ids": [attempt.debtor_id for attempt in tries],
            "transaction_ids": [attempt.transaction_id for attempt in tries],
            "amounts_minor": [attempt.amount_minor for attempt in tries],
            "currencies": [attempt.currency for attempt in tries],
            "fingerprints": [attempt.iban_fingerprint for attempt in tries],
            "maskeds": [attempt.iban_masked for attempt in tries],
            "try_numbers": [attempt.number for attempt in tries],
            "retries_of": [attempt.retry_of for attempt in tries],
            "canaries": [attempt.canary for attempt in tries],
            "run_id": run_id,
            "account": account,
            "due_item": due_item,
            "now": now,
            "is_scheduled": is_scheduled,
        },
    )
    return [(debtor_id, amount_minor) for debtor_id, amount_minor in await cursor.fetchall()]


async def ready(
    conn: Connection, run_id: int, *, canaries_only: bool, now: datetime, limit: int
) -> list[LockedDebit]:
    """
    Lock debits of a run that may be submitted now, canaries first.

    Args:
        conn: Inside the transaction that will claim them, holding the run in share mode.
        canaries_only: Whether only canaries may be submitted.
    """
    return await _rows(
        conn, "ready", {"run_id": run_id, "canaries_only": canaries_only, "now": now, "limit": limit}
    )


async def lock_accounts(conn: Connection, fingerprints: Collection[bytes]) -> None:
    """Lock bank accounts until the transaction ends, so that no concurrent claim decides about debits of the same account."""
    await conn.execute(_SQL["lock_accounts"], {"fingerprints": list(fingerprints)})


async def locked(conn: Connection, ids: Sequence[int]) -> dict[int, LockedDebit]:
    """Lock debits until the transaction ends; by row."""
    return {row.submission.attempt.id: row for row in await _rows(conn, "locked", {"ids": sorted(ids)})}


async def expired(conn: Connection, *, now: datetime, latest: datetime, limit: int) -> list[LockedDebit]:
    """Lock up to *limit* debits whose lease has expired, or ends after *latest*, which only a clock that was set back explains."""
    return await _rows(conn, "expired", {"now": now, "latest": latest, "limit": limit})


async def unsent(conn: Connection, run_id: int, *, limit: int) -> list[LockedDebit]:
    """Lock up to *limit* debits of a run that are scheduled for submission, now or later."""
    return await _rows(conn, "unsent", {"run_id": run_id, "limit": limit})


async def write(conn: Connection, debits: Sequence[Written], *, now: datetime) -> None:
    """Write the new state of debits, inside the transaction that locked them."""
    if not debits:
        return
    submitted = [written.submission.attempt for written in debits if written.not_submitted_reason is None]
    await billing_run_counts.add(conn, submitted, now=now)
    unknowns = [written.submission.step == "unknown" for written in debits]
    await conn.execute(_SQL["write"], {**columns(debits), "unknowns": unknowns, "now": now})


def columns(written: Sequence[Written]) -> dict[str, list[Any]]:
    """The parameters of the query `write` of debits and refunds: arrays of length n by name."""
    submissions = [row.submission for row in written]
    return {
        "ids": [submission.attempt.id for submission in submissions],
        "unique_ids": [submission.attempt.unique_id for submission in submissions],
        "states": [submission.attempt.state for submission in submissions],
        "payment_stages": [submission.attempt.payment_stage for submission in submissions],
        "error_codes": [submission.attempt.error_code for submission in submissions],
        "submission_count": [submission.submission_count for submission in submissions],
        "submit_ats": [submission.submit_at for submission in submissions],
        "leased_untils": [submission.leased_until for submission in submissions],
        "submitted_ats": [submission.submitted_at for submission in submissions],
        "not_submitted_reasons": [row.not_submitted_reason for row in written],
        "submitted_tos": [
            None if submission.submitted_to is None else " ".join(submission.submitted_to)
            for submission in submissions
        ],
        "not_founds": [
            msgspec.json.encode(submission.not_found).decode() if submission.not_found else None
            for submission in submissions
        ],
        "unresolved_reasons": [row.unresolved for row in written],
        "uncounteds": [submission.uncounted for submission in submissions],
    }


async def unschedule_ended(conn: Connection, *, now: datetime) -> int:
    """Unschedule debits that a notification has completed before their submission; returns how many."""
    return await fetch_value(conn, _SQL["unschedule_ended"], {"now": now}, into=int)


async def due_again(conn: Connection, *, today: date, limit: int) -> list[DueAgain]:
    """Lock up to *limit* returned debits whose retry is due by *today* and was not made yet."""
    return await fetch_all(conn, _SQL["due_again"], {"today": today, "limit": limit}, into=DueAgain)


async def hold_day(conn: Connection, account: str, *, day_on: date) -> tuple[int, int]:
    """Lock the counts of an account's day until this transaction ends; returns debits begun and their amount in minor units."""
    known = {"account": account, "day_on": day_on}
    await conn.execute(_SQL["begin_day"], known)
    return await fetch_pair(conn, _SQL["hold_day"], known)


async def count_day(conn: Connection, account: str, *, day_on: date, count: int, amount_minor: int) -> None:
    """Add to the counts of an account's day, inside the transaction that holds them."""
    await conn.execute(
        _SQL["count_day"],
        {"account": account, "day_on": day_on, "count": count, "amount_minor": amount_minor},
    )


async def analyze(conn: Connection) -> None:
    """Update the planner statistics after many attempts were inserted."""
    await conn.execute(_SQL["analyze"])


async def counts(conn: Connection) -> tuple[int, int]:
    """Debits that are being submitted, and debits that are scheduled for submission."""
    return await fetch_pair(conn, _SQL["lease_count"])


async def _rows(conn: Connection, name: str, parameters: dict[str, Any]) -> list[LockedDebit]:
    return await fetch_all(conn, _SQL[name], parameters, into=_row, binary=True)


def _row(**columns: Any) -> LockedDebit:
    own = {name: columns.pop(name) for name in ("debtor_id", "again", "made_at", "first_tried_at")}
    return LockedDebit(read_submission(attempt_of(columns), columns), **own)


def read_submission(attempt: Attempt, row: Mapping[str, Any]) -> Submission:
    """
    How far the submission of a row has come.

    Args:
        attempt: The debit, or the refund or void as an attempt.
        row: Its columns by name; `not_found` as text.
    """
    submitted_to, not_found = row["submitted_to"], row["not_found"]
    return Submission(
        attempt,
        submission_count=row["submission_count"],
        submit_at=row["submit_at"],
        leased_until=row["leased_until"],
        submitted_at=row["submitted_at"],
        submitted_to=None if submitted_to is None else tuple(submitted_to),
        not_found=() if not_found is None else msgspec.json.decode(not_found, type=tuple[FirstAnswer, ...]),
        uncounted=row["submissions_uncounted"],
    )
