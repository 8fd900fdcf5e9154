"""Debits to be sent: one short function per query of `payments/submissions.sql`, which tells how its rows live."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Attempt
from tether_core.payments.not_found import FirstAnswer
from tether_core.payments.submission import Send

from tether_stores.payments import billing_run_counts
from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = [
    "DueAgain",
    "Row",
    "Try",
    "Written",
    "add",
    "columns",
    "count_day",
    "due_again",
    "forget_heard",
    "hold_day",
    "lapsed",
    "lock_accounts",
    "locked",
    "read_send",
    "ready",
    "standing",
    "take_stock",
    "unsent",
    "write",
]

_SQL: Final = load("payments/submissions")


class Try(msgspec.Struct, frozen=True):
    """
    An attempt to be made.

    Attributes:
        debtor_id: Who pays.
        transaction_id: Our id of it; see `tether_core.payments.submission.transaction_id`.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        iban_fingerprint: Of the account.
        iban_masked: For people.
        number: Of the try for its item, from 1.
        retry_of: The attempt that came back and is tried again, or `None`.
        canary: Whether it is of the first share.
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


class Row(msgspec.Struct, frozen=True):
    """
    A debit that this transaction holds.

    Attributes:
        send: The attempt and how far its sending has come.
        debtor_id: Who pays.
        again: Whether it is a try after a return.
    """

    send: Send
    debtor_id: int
    again: bool


class Written(msgspec.Struct, frozen=True):
    """
    A debit, or an order to give one back, as it was decided.

    Attributes:
        send: As it shall be.
        withheld: Why it is not sent, or `None`.
        unresolved: Why an inquiry did not resolve it, a key of `tether_core.payments.submission.CAUSES`; or `None`.
    """

    send: Send
    withheld: str | None = None
    unresolved: str | None = None


class DueAgain(msgspec.Struct, frozen=True):
    """
    A debit that came back and is to be tried again now.

    Attributes:
        id: The attempt that came back.
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
    tries: Sequence[Try],
    *,
    run_id: int,
    account: str,
    due_item: str,
    now: datetime,
) -> list[tuple[int, int]]:
    """
    Make attempts of a run, ready to be sent, unless the try exists.

    Args:
        conn: Inside the transaction that holds the run.
        tries: n tries.
        run_id: The run.
        account: The gateway account.
        due_item: What is owed.
        now: The present moment.

    Returns:
        Debtor and amount of each that was made.
    """
    if not tries:
        return []
    cursor = await conn.execute(
        _SQL["add"],
        {
            "debtor_ids": [one.debtor_id for one in tries],
            "transaction_ids": [one.transaction_id for one in tries],
            "amounts_minor": [one.amount_minor for one in tries],
            "currencies": [one.currency for one in tries],
            "fingerprints": [one.iban_fingerprint for one in tries],
            "maskeds": [one.iban_masked for one in tries],
            "try_numbers": [one.number for one in tries],
            "retries_of": [one.retry_of for one in tries],
            "canaries": [one.canary for one in tries],
            "run_id": run_id,
            "account": account,
            "due_item": due_item,
            "now": now,
        },
    )
    return [(debtor_id, amount_minor) for debtor_id, amount_minor in await cursor.fetchall()]


async def ready(
    conn: Connection, run_id: int, *, canaries_only: bool, now: datetime, limit: int
) -> list[Row]:
    """
    Lock debits of a run that may be sent now, canaries first.

    Args:
        conn: Inside the transaction that will claim them, holding the run in share mode.
        run_id: The run.
        canaries_only: Whether only its first share may be sent.
        now: The present moment.
        limit: Rows at most.

    Returns:
        Up to *limit* debits.
    """
    return await _rows(
        conn, "ready", {"run_id": run_id, "canaries_only": canaries_only, "now": now, "limit": limit}
    )


async def lock_accounts(conn: Connection, fingerprints: Collection[bytes]) -> None:
    """Hold bank accounts until the transaction ends, so that no other claim judges a debit of theirs meanwhile."""
    await conn.execute(_SQL["lock_accounts"], {"fingerprints": list(fingerprints)})


async def locked(conn: Connection, ids: Sequence[int]) -> dict[int, Row]:
    """Lock debits until the transaction ends; by row."""
    return {row.send.attempt.id: row for row in await _rows(conn, "locked", {"ids": sorted(ids)})}


async def lapsed(conn: Connection, *, now: datetime, latest: datetime, limit: int) -> list[Row]:
    """Lock up to *limit* debits whose lease is over, or ends after *latest*, which no lease does."""
    return await _rows(conn, "lapsed", {"now": now, "latest": latest, "limit": limit})


async def unsent(conn: Connection, run_id: int, *, limit: int) -> list[Row]:
    """Lock up to *limit* debits of a run that may be sent, now or later."""
    return await _rows(conn, "unsent", {"run_id": run_id, "limit": limit})


async def write(conn: Connection, debits: Sequence[Written], *, now: datetime) -> None:
    """
    Write debits as they were decided, inside the transaction that locked them.

    Args:
        conn: That transaction.
        debits: n debits.
        now: The present moment.
    """
    if not debits:
        return
    submitted = [one.send.attempt for one in debits if one.withheld is None]
    await billing_run_counts.add(conn, submitted, now=now)
    unknowns = [one.send.step == "unknown" for one in debits]
    await conn.execute(_SQL["write"], {**columns(debits), "unknowns": unknowns, "now": now})


def columns(written: Sequence[Written]) -> dict[str, list[Any]]:
    """
    The columns of rows that are sent once, as their `write` takes them.

    Args:
        written: n rows of `billing_attempts` or of `givebacks`.

    Returns:
        Arrays of length n by the name of their parameter.
    """
    sends = [one.send for one in written]
    return {
        "ids": [one.attempt.id for one in sends],
        "unique_ids": [one.attempt.unique_id for one in sends],
        "states": [one.attempt.state for one in sends],
        "payment_stages": [one.attempt.payment_stage for one in sends],
        "error_codes": [one.attempt.error_code for one in sends],
        "sends": [one.sends for one in sends],
        "send_ats": [one.send_at for one in sends],
        "leased_untils": [one.leased_until for one in sends],
        "sent_ats": [one.sent_at for one in sends],
        "withhelds": [one.withheld for one in written],
        "submitted_tos": [None if one.submitted_to is None else " ".join(one.submitted_to) for one in sends],
        "not_founds": [
            msgspec.json.encode(one.not_found).decode() if one.not_found else None for one in sends
        ],
        "unresolved_becauses": [one.unresolved for one in written],
        "uncounteds": [one.uncounted for one in sends],
    }


async def forget_heard(conn: Connection, *, now: datetime) -> int:
    """Take debits out of the way that a notification has ended while they were ready; returns how many."""
    row = await (await conn.execute(_SQL["forget_heard"], {"now": now})).fetchone()
    assert row is not None
    return int(row[0])


async def due_again(conn: Connection, *, today: date, limit: int) -> list[DueAgain]:
    """Lock up to *limit* debits that came back and are to be tried again by *today*, and were not yet."""
    cursor = await conn.execute(_SQL["due_again"], {"today": today, "limit": limit})
    return [DueAgain(*row) for row in await cursor.fetchall()]


async def hold_day(conn: Connection, account: str, *, day_on: date) -> tuple[int, int]:
    """
    What was begun with an account on a day, held until this transaction ends.

    Args:
        conn: Inside a transaction.
        account: A row of `gateway_accounts`.
        day_on: The day.

    Returns:
        Debits and their money.
    """
    known = {"account": account, "day_on": day_on}
    await conn.execute(_SQL["begin_day"], known)
    row = await (await conn.execute(_SQL["hold_day"], known)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def count_day(conn: Connection, account: str, *, day_on: date, count: int, amount_minor: int) -> None:
    """Add to what was begun with an account on a day, inside the transaction that holds the day."""
    await conn.execute(
        _SQL["count_day"],
        {"account": account, "day_on": day_on, "count": count, "amount_minor": amount_minor},
    )


async def take_stock(conn: Connection) -> None:
    """Let the planner know of many attempts that were just made."""
    await conn.execute(_SQL["take_stock"])


async def standing(conn: Connection) -> tuple[int, int]:
    """How many debits are being sent, and how many may be."""
    row = await (await conn.execute(_SQL["lease_count"])).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def _rows(conn: Connection, name: str, parameters: dict[str, Any]) -> list[Row]:
    cursor = await conn.execute(_SQL[name], parameters, binary=True)  # fingerprints come as bytes
    return [
        Row(read_send(Attempt(*row[:12]), row[12:19]), debtor_id=row[19], again=row[20])
        for row in await cursor.fetchall()
    ]


def read_send(attempt: Attempt, columns: Sequence[Any]) -> Send:
    """
    A row that is submitted once, from its columns.

    Args:
        attempt: The debit, or the order as one.
        columns: sends, send_at, leased_until, sent_at, submitted_to, not_found as text, sends_uncounted.

    Returns:
        How far its submission has come.
    """
    sends, send_at, leased_until, sent_at, submitted_to, not_found, uncounted = columns
    return Send(
        attempt,
        sends,
        send_at,
        leased_until,
        sent_at,
        None if submitted_to is None else tuple(submitted_to),
        () if not_found is None else msgspec.json.decode(not_found, type=tuple[FirstAnswer, ...]),
        uncounted,
    )
