"""Versions of the return policy, and which one decides; the queries are in `return_policies.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
import psycopg
from tether_core.errors import InProgress
from tether_core.return_policies.dry_run import AccountsMoved, DryRun, ReturnsSeen, TriesMade, dry_run, split
from tether_core.return_policies.policy import ReturnPolicy, decode, encode

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "DecisionsInProgress",
    "ListedVersion",
    "StoredDryRun",
    "Switch",
    "active",
    "active_to_decide",
    "add",
    "add_dry_run",
    "described",
    "last_dry_run",
    "listed",
    "lock_to_switch",
    "next_version",
    "switch",
    "switches",
    "try_over_returns",
    "version_of",
    "was_active",
]

_SQL: Final = load("return_policies")
# A batch of decisions takes some ten milliseconds, and a frozen one is ended after seconds.
_WAIT: Final = "10s"
LISTED_MAX: Final = 200


class DecisionsInProgress(InProgress):
    """Decisions by the version that is to be replaced do not end."""

    def __str__(self) -> str:
        """What to do."""
        return "Decisions about returns by the present version have not ended; switch again in some seconds."


class ListedVersion(msgspec.Struct, frozen=True):
    """
    A version in lists.

    Attributes:
        version: Its number.
        based_on: The version it was made from.
        reason: Why it was made.
        created_by: Who made it.
        created_at: When.
    """

    version: int
    based_on: int
    reason: str
    created_by: str
    created_at: datetime


class Switch(msgspec.Struct, frozen=True):
    """
    A switch from one version to another.

    Attributes:
        id: Our row.
        version: The version that decides from here on.
        version_before: The version that decided before.
        dry_run_id: The dry run that was stored before; `None` where the version was active before.
        reason: Why it was switched on.
        switched_by: Who did it.
        switched_at: When.
    """

    id: int
    version: int
    version_before: int
    dry_run_id: int | None
    reason: str
    switched_by: str
    switched_at: datetime


class StoredDryRun(msgspec.Struct, frozen=True):
    """
    A dry run that was made.

    Attributes:
        id: Our row.
        made_by: Who ordered it.
        made_at: When.
        result: What it found.
    """

    id: int
    made_by: str
    made_at: datetime
    result: DryRun


class _Version(msgspec.Struct, frozen=True):
    version: int
    rules: bytes | None


async def active(conn: Connection, *, built_in: ReturnPolicy) -> ReturnPolicy:
    """
    The version that decides now.

    Args:
        built_in: Version 0, by the settings of this process.
    """
    found = await fetch_one(conn, _SQL["active"], into=_Version)
    if found is None or found.rules is None:
        return built_in
    return decode(found.version, found.rules)


async def active_to_decide(conn: Connection, *, built_in: ReturnPolicy) -> ReturnPolicy:
    """
    The version that decides until this transaction ends: a switch waits for it.

    Args:
        conn: Inside the transaction that decides, before it holds any row.
        built_in: Version 0, by the settings of this process.
    """
    await conn.execute(_SQL["lock_to_decide"])
    return await active(conn, built_in=built_in)


async def version_of(conn: Connection, version: int, *, built_in: ReturnPolicy) -> ReturnPolicy | None:
    """A version by its number, or `None`."""
    if version == 0:
        return built_in
    found = await fetch_one(conn, _SQL["rules_of"], {"version": version}, into=_Version)
    return None if found is None or found.rules is None else decode(version, found.rules)


async def described(conn: Connection, version: int) -> ListedVersion | None:
    """Who made a version, when and why; `None` for version 0 and where there is none."""
    return await fetch_one(conn, _SQL["by_version"], {"version": version}, into=ListedVersion)


async def listed(conn: Connection) -> list[ListedVersion]:
    """The versions that people made, newest first; at most 200."""
    return await fetch_all(conn, _SQL["listed"], {"limit": LISTED_MAX}, into=ListedVersion)


async def next_version(conn: Connection) -> int:
    """The number of the next version, which no other transaction takes until this one ends."""
    await conn.execute(_SQL["lock_to_add"])
    return await fetch_value(conn, _SQL["next_version"], into=int)


async def add(
    conn: Connection, made: ReturnPolicy, *, based_on: int, reason: str, created_by: str, now: datetime
) -> None:
    """Store a version, in the transaction that took its number."""
    await conn.execute(
        _SQL["add"],
        {
            "version": made.version,
            "based_on": based_on,
            "rules": encode(made),
            "reason": reason,
            "created_by": created_by,
            "now": now,
        },
    )


async def try_over_returns(
    conn: Connection, before: ReturnPolicy, after: ReturnPolicy, *, from_on: date, to_on: date
) -> DryRun:
    """
    Say what a version would have changed over past returns; nothing is written.

    Args:
        before: The version that decides now.
        after: The version to be tried.
        from_on: The first day of the returns.
        to_on: The last one.
    """
    parts = split(before, after)
    days = {"from_on": from_on, "to_on": to_on}

    async def of_codes(codes: Sequence[str]) -> list[ReturnsSeen]:
        if not codes:
            return []
        return await fetch_all(conn, _SQL["returns_seen"], {"codes": list(codes), **days}, into=ReturnsSeen)

    async def accounts(query: str, codes: Sequence[str]) -> list[AccountsMoved]:
        if not codes:
            return []
        given = {"codes": list(codes), "blocking": list(parts.blocking), **days}
        return await fetch_all(conn, _SQL[query], given, into=AccountsMoved)

    tries: list[TriesMade] = []
    if parts.more or parts.fewer:
        tries = await fetch_all(conn, _SQL["tries_made"], days, into=TriesMade)
    return dry_run(
        before,
        after,
        from_on=from_on,
        to_on=to_on,
        returns=await of_codes(sorted(parts.more)),
        blocked=await accounts("accounts_blocked", parts.blocked),
        freed=await accounts("accounts_freed", parts.freed),
        tries=tries,
    )


async def add_dry_run(conn: Connection, result: DryRun, *, made_by: str, now: datetime) -> StoredDryRun:
    """Store a dry run."""
    row_id = await fetch_value(
        conn,
        _SQL["add_dry_run"],
        {
            "version": result.version,
            "against": result.against,
            "result": msgspec.json.encode(result),
            "made_by": made_by,
            "now": now,
        },
        into=int,
    )
    return StoredDryRun(row_id, made_by, now, result)


async def last_dry_run(conn: Connection, version: int, *, against: int | None = None) -> StoredDryRun | None:
    """The last dry run of a version, against one version or any; `None` where there is none."""
    return await fetch_one(
        conn, _SQL["last_dry_run"], {"version": version, "against": against}, into=_stored_dry_run
    )


def _stored_dry_run(*, result: bytes, **columns: Any) -> StoredDryRun:
    return StoredDryRun(result=msgspec.json.decode(result, type=DryRun), **columns)


async def was_active(conn: Connection, version: int) -> bool:
    """Whether a version decided before; version 0 always did."""
    return version == 0 or await fetch_value(conn, _SQL["was_active"], {"version": version}, into=bool)


async def lock_to_switch(conn: Connection) -> None:
    """
    Wait for the decisions that are being made, and hold off new ones until this transaction ends.

    Raises:
        DecisionsInProgress: when they last for more than ten seconds.
    """
    try:
        await conn.execute(_SQL["lock_to_switch"], {"wait": _WAIT})
    except psycopg.errors.LockNotAvailable as exc:
        raise DecisionsInProgress from exc


async def switch(
    conn: Connection,
    version: int,
    *,
    version_before: int,
    dry_run_id: int | None,
    reason: str,
    switched_by: str,
    now: datetime,
) -> Switch:
    """Switch a version on, in the transaction that called `lock_to_switch`."""
    made = await fetch_one(
        conn,
        _SQL["switch"],
        {
            "version": version,
            "version_before": version_before,
            "dry_run_id": dry_run_id,
            "reason": reason,
            "switched_by": switched_by,
            "now": now,
        },
        into=Switch,
    )
    assert made is not None
    return made


async def switches(conn: Connection) -> list[Switch]:
    """The last switches, newest first; at most 200."""
    return await fetch_all(conn, _SQL["switches"], {"limit": LISTED_MAX}, into=Switch)
