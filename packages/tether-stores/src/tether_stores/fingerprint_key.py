"""The fingerprint key of a database; the queries are in `fingerprint_key.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core import fingerprint_key as rules
from tether_core.fingerprint_key import REKEYING, FingerprintKeyRefused, KeyState, check_value, first_check
from tether_core.iban import fingerprint

from tether_stores.clock import timestamp
from tether_stores.postgres import Connection, Pool, transaction
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value
from tether_stores.telemetry import logger

__all__ = [
    "BegunRekeying",
    "Rekeying",
    "UnmatchedEntry",
    "advance",
    "begin",
    "finish",
    "observe",
    "observe_at_start",
    "rekeyings",
    "require",
    "unmatched",
]

_SQL: Final = load("fingerprint_key")

_log = logger("fingerprints")


class BegunRekeying(msgspec.Struct, frozen=True):
    """
    A rekeying under way.

    Attributes:
        id: The row.
        position: The last debtor that is done.
        debtors: Debtors whose fingerprint changed so far.
        attempts: Attempts likewise.
        entries: Blacklist entries likewise.
    """

    id: int
    position: int = 0
    debtors: int = 0
    attempts: int = 0
    entries: int = 0


class Rekeying(msgspec.Struct, frozen=True):
    """
    A rekeying, for display; the columns of the query `rekeyings`.

    Attributes:
        id: The row.
        ordered_by: Who.
        reason: Why.
        started_at: When it began.
        finished_at: When it ended, or `None`.
        superseded_at: When another one to another key took its place, or `None`.
        debtors: Debtors whose fingerprint changed.
        attempts: Attempts likewise.
        entries: Blacklist entries likewise.
        unmatched: Active entries that it could not change, because no debtor has their account.
    """

    id: int
    ordered_by: str
    reason: str
    started_at: datetime
    finished_at: datetime | None
    superseded_at: datetime | None
    debtors: int
    attempts: int
    entries: int
    unmatched: int


class UnmatchedEntry(msgspec.Struct, frozen=True):
    """
    A blacklist entry that holds nobody, because its fingerprint is by a key that is no longer used.

    Attributes:
        id: The row.
        iban_masked: The account, masked.
        action: "hold" or "block".
        reason_code: Why it was made.
        source: How it came.
        created_at: When.
    """

    id: int
    iban_masked: str
    action: str
    reason_code: str
    source: str
    created_at: datetime


async def observe(conn: Connection, key: bytes) -> KeyState:
    """
    Whether fingerprints can be used with a key, without recording anything.

    Args:
        key: `TETHER_FINGERPRINT_KEY`; empty for none.

    Returns:
        "matches", or why not.
    """
    row = await (await conn.execute(_SQL["recorded"])).fetchone()
    recorded = first_check(key, samples=await _samples(conn)) if row is None else bytes(row[0])
    if recorded is None:
        return "differs"
    state = rules.judge(key, recorded=recorded)
    if state in {"matches", "rekeying"} or not await _is_unused(conn):
        return state
    return "matches"  # `require` takes another key as long as there is no fingerprint


async def require(conn: Connection, key: bytes, *, now: datetime) -> None:
    """
    Make sure that fingerprints can be used with a key until this transaction ends; the first use records the key.

    Args:
        conn: Inside the transaction that reads or writes fingerprints.
        key: `TETHER_FINGERPRINT_KEY`; empty for none.

    Raises:
        FingerprintKeyRefused: when they cannot.
    """
    row = await (await conn.execute(_SQL["recorded"])).fetchone()
    if row is None:
        first = first_check(key, samples=await _samples(conn))
        if first is None:
            raise FingerprintKeyRefused("differs")
        await conn.execute(_SQL["record"], {"check_value": first, "now": now})
    elif rules.judge(key, recorded=bytes(row[0])) not in {"matches", "rekeying"} and await _is_unused(conn):
        # Held alone from the beginning: two that share it, and both want it alone, would wait for each other.
        await conn.execute(_SQL["hold"])
        await conn.execute(_SQL["replace"], {"check_value": check_value(key), "if_unused": True, "now": now})
    row = await (await conn.execute(_SQL["share"])).fetchone()
    assert row is not None
    state = rules.judge(key, recorded=bytes(row[0]))
    if state != "matches":
        raise FingerprintKeyRefused(state)


async def observe_at_start(pool: Pool, key: bytes) -> KeyState:
    """
    Record the key of a new database, and say why it cannot be used where that is so.

    Args:
        key: `TETHER_FINGERPRINT_KEY`; empty for none, which only the first use records.

    Returns:
        "matches", or why not; that is logged, too.

    Raises:
        StoreUnreachable: when Postgres is away.
    """
    async with transaction(pool) as conn:
        state = await observe(conn, key)
        if state == "matches" and key:
            await require(conn, key, now=await timestamp(conn))
    if state != "matches":
        _log.error("fingerprint key refused", verdict=state, why=rules.REASONS[state])
    return state


async def _samples(conn: Connection) -> list[tuple[str, bytes]]:
    return [(iban, bytes(stored)) for iban, stored in await (await conn.execute(_SQL["samples"])).fetchall()]


async def _is_unused(conn: Connection) -> bool:
    return await fetch_value(conn, _SQL["is_unused"], into=bool)


async def begin(
    conn: Connection, key: bytes, *, ordered_by: str, reason: str, again: bool, now: datetime
) -> BegunRekeying | None:
    """
    Begin to recompute all fingerprints, or continue an interrupted rekeying.

    Args:
        conn: Inside a transaction; it waits for all that use fingerprints.
        key: `TETHER_FINGERPRINT_KEY` as it shall be; empty for none.
        ordered_by: Who wants it.
        reason: Why.
        again: Whether to begin although all are made with this key already, as far as is recorded.

    Returns:
        The rekeying, or `None` when there is nothing to do.
    """
    after = check_value(key)
    await conn.execute(_SQL["record"], {"check_value": after, "now": now})
    row = await (await conn.execute(_SQL["hold"])).fetchone()
    assert row is not None
    before = bytes(row[0])
    current_status = await (await conn.execute(_SQL["open"])).fetchone()
    if current_status is not None:
        if bytes(current_status[1]) == after:
            return BegunRekeying(current_status[0], *current_status[2:])
        await conn.execute(_SQL["supersede"], {"id": current_status[0], "now": now})
    elif before == after and not again and first_check(key, samples=await _samples(conn)) == after:
        return None
    await conn.execute(_SQL["replace"], {"check_value": REKEYING, "if_unused": False, "now": now})
    await conn.execute(_SQL["restart_dry_runs"], {"now": now})
    cursor = await conn.execute(
        _SQL["begin"],
        {
            "check_before": None if before in {REKEYING, after} else before,
            "check_after": after,
            "ordered_by": ordered_by,
            "reason": reason,
            "now": now,
        },
    )
    made = await cursor.fetchone()
    assert made is not None
    return BegunRekeying(made[0])


async def advance(conn: Connection, key: bytes, *, limit: int, now: datetime) -> BegunRekeying | None:
    """
    Recompute the fingerprints of the next debtors, with those of their attempts and their blacklist entries.

    Args:
        conn: Inside a transaction that belongs to this batch.
        key: The key of the rekeying under way.
        limit: Debtors at most.

    Returns:
        How far it has come, or `None` when no debtor is left.

    Raises:
        FingerprintKeyRefused: when no rekeying to this key is under way any more.
    """
    current_status = await (await conn.execute(_SQL["open"])).fetchone()
    if current_status is None or bytes(current_status[1]) != check_value(key):
        raise FingerprintKeyRefused("differs")
    begun = BegunRekeying(current_status[0], *current_status[2:])
    cursor = await conn.execute(_SQL["debtors_after"], {"after": begun.position, "limit": limit})
    rows = await cursor.fetchall()
    if not rows:
        return None
    changed = [
        (row_id, bytes(before), after)
        for row_id, iban, before in rows
        if iban and (after := fingerprint(iban, key=key)) != bytes(before)
    ]
    cursor = await conn.execute(_SQL["former_accounts"], {"after": begun.position, "to": rows[-1][0]})
    # A debit and an entry of the blacklist stay about the account they were about when a person edits the debtor.
    former = [
        (row_id, bytes(before), fingerprint(iban, key=key))
        for row_id, iban, before in await cursor.fetchall()
    ]
    attempts = entries = 0
    if changed or former:
        every = list(dict.fromkeys([*changed, *former]))
        await conn.execute(_SQL["lock_attempts"], _arrays(every))
        await conn.execute(_SQL["rekey_debtors"], _arrays(changed))
        await conn.execute(_SQL["rekey_former_accounts"], _arrays(former))
        row = await (await conn.execute(_SQL["rekey_attempts"], _arrays(every))).fetchone()
        assert row is not None
        attempts = int(row[0])
        entries = await _rekey_entries(conn, {before: after for _, before, after in every}, now=now)
    step = {
        "id": begun.id,
        "position": rows[-1][0],
        "debtors": len(changed),
        "attempts": attempts,
        "entries": entries,
    }
    await conn.execute(_SQL["advance"], step)
    return BegunRekeying(
        begun.id,
        rows[-1][0],
        begun.debtors + len(changed),
        begun.attempts + attempts,
        begun.entries + entries,
    )


def _arrays(rows: Sequence[tuple[int, bytes, bytes]]) -> dict[str, list[Any]]:
    return {
        "ids": [row_id for row_id, _, _ in rows],
        "befores": [before for _, before, _ in rows],
        "fingerprints": [after for _, _, after in rows],
    }


async def _rekey_entries(conn: Connection, after_of: dict[bytes, bytes], *, now: datetime) -> int:
    cursor = await conn.execute(_SQL["entries_of"], {"befores": list(after_of)})
    plain: list[tuple[int, bytes]] = []
    rows: Sequence[tuple[int, bytes, str, bool]] = await cursor.fetchall()
    for row_id, before, _reason_code, is_active in rows:
        after = after_of[bytes(before)]
        merged = None
        if is_active:
            values = {"id": row_id, "fingerprint": after, "now": now}
            merged = await (await conn.execute(_SQL["merge_entry"], values)).fetchone()
            if merged is not None:
                await conn.execute(_SQL["end_merged"], {**values, "into": merged[0]})
        if merged is None:
            plain.append((row_id, after))
    await conn.execute(
        _SQL["rekey_entries"],
        {"ids": [row_id for row_id, _ in plain], "fingerprints": [after for _, after in plain]},
    )
    return len(rows)


async def finish(conn: Connection, begun: BegunRekeying, key: bytes, *, now: datetime) -> int:
    """
    End a rekeying: from now on the database's key is this one.

    Args:
        conn: Inside a transaction.
        begun: The rekeying; `advance` has found no debtor left.
        key: Its key.

    Returns:
        How many active blacklist entries are about accounts that no debtor has; `unmatched` lists them.
    """
    await conn.execute(_SQL["hold"])
    row = await (await conn.execute(_SQL["finish"], {"id": begun.id, "now": now})).fetchone()
    assert row is not None
    await conn.execute(_SQL["replace"], {"check_value": check_value(key), "if_unused": False, "now": now})
    return int(row[0])


async def unmatched(conn: Connection, *, limit: int = 10_000) -> list[UnmatchedEntry]:
    """Active entries that a rekeying could not change, up to *limit*; they hold nobody until a person makes them again."""
    return await fetch_all(conn, _SQL["unmatched"], {"limit": limit}, into=UnmatchedEntry)


async def rekeyings(conn: Connection, *, limit: int = 100) -> list[Rekeying]:
    """The rekeyings of this database, newest first, up to *limit*."""
    return await fetch_all(conn, _SQL["rekeyings"], {"limit": limit}, into=Rekeying)
