"""The blacklist: one short function per query of `blacklist.sql`, which tells how its rows live."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from tether_core.blacklist import Dispute, Entry, Forgives, Listing, email_key, name_key, same_dispute

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "CausedEntry",
    "Lift",
    "LiftedBefore",
    "ListedEntry",
    "ManualEntry",
    "active_entry",
    "add",
    "by_id",
    "enter",
    "lift",
    "lifted_among",
    "link_imported",
    "listed",
    "names_among",
    "names_any",
    "names_listed",
]

_SQL: Final = load("blacklist")
# Who lifted an entry, and why, where no person did.
_BY_NOBODY: Final = {("tether", "expired"), ("tether", "merged")}


class CausedEntry(msgspec.Struct, frozen=True):
    """
    An entry and what caused it.

    Attributes:
        entry: What the core asks for.
        webhook_event_id: The notification that said so.
        attempt_id: The debit that came back.
    """

    entry: Entry
    webhook_event_id: int
    attempt_id: int


class ManualEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry a person asks for: about an IBAN, a name or an e-mail address, one of the three.

    Attributes:
        action: "hold" or "block".
        reason_code: A code of the scheme or a short word; one entry per code lives at a time.
        note: What else is to be said.
        iban_fingerprint: Of the IBAN.
        iban_masked: The IBAN for people.
        name: As given.
        email: As `email_key` gives it.
        expires_at: When it ends by itself, or `None`.
    """

    action: Literal["hold", "block"]
    reason_code: str
    note: str = ""
    iban_fingerprint: bytes | None = None
    iban_masked: str | None = None
    name: str | None = None
    email: str | None = None
    expires_at: datetime | None = None


class ListedEntry(msgspec.Struct, frozen=True):
    """
    An entry for people; the columns of the query `listed`.

    Attributes:
        id: Our row.
        iban_masked: The IBAN it is about.
        name: The name it is about.
        email: The e-mail address it is about.
        action: "hold": until a person lifts it; "block": the same, and lifting asks for a reason.
        scope: "iban", "mandate", "name" or "email".
        reason_code: Why.
        note: What else was said.
        source: "chargeback", "manual" or "import".
        added_by: Who: the name of an API key, or "tether".
        webhook_event_id: The notification that caused it.
        attempt_id: The debit that caused it.
        created_at: Since when.
        expires_at: Until when, or `None`.
        lifted_at: When it was ended, or `None`.
        lifted_by: By whom.
        lifted_reason: Why.
        iban_fingerprint: What the IBAN is matched by, in hex.
        forgives: What lifting it forgives: "entry" nothing else, "disputes" those it was made for, "account" all chargebacks
            of the account until then; `None` while it is active.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    action: str
    scope: str
    reason_code: str
    note: str
    source: str
    added_by: str
    webhook_event_id: int | None
    attempt_id: int | None
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_reason: str | None
    iban_fingerprint: str | None
    forgives: str | None


async def add(conn: Connection, entries: Sequence[CausedEntry], *, now: datetime) -> list[CausedEntry]:
    """
    Make entries where they do not exist yet, and no person has lifted one that was made for the same dispute.

    Args:
        conn: Inside the transaction that books the return, which holds the attempts' rows.
        entries: n entries.
        now: The current time.

    Returns:
        Those that are new, each once, in the order given.
    """
    if not entries:
        return []
    entries = await _not_lifted(conn, entries)
    if not entries:
        return []
    cursor = await conn.execute(
        _SQL["add"],
        {
            "fingerprints": [caused_entry.entry.iban_fingerprint for caused_entry in entries],
            "maskeds": [caused_entry.entry.iban_masked for caused_entry in entries],
            "actions": [caused_entry.entry.action for caused_entry in entries],
            "scopes": [caused_entry.entry.scope for caused_entry in entries],
            "reason_codes": [caused_entry.entry.reason_code for caused_entry in entries],
            "webhook_event_ids": [caused_entry.webhook_event_id for caused_entry in entries],
            "attempt_ids": [caused_entry.attempt_id for caused_entry in entries],
            "now": now,
        },
    )
    new = {(bytes(fingerprint), reason_code) for fingerprint, reason_code in await cursor.fetchall()}
    await conn.execute(
        _SQL["link"],
        {
            "fingerprints": [caused_entry.entry.iban_fingerprint for caused_entry in entries],
            "reason_codes": [caused_entry.entry.reason_code for caused_entry in entries],
            "attempt_ids": [caused_entry.attempt_id for caused_entry in entries],
            "dispute_stages": [caused_entry.entry.dispute_stage for caused_entry in entries],
            "dispute_ids": [caused_entry.entry.dispute_id or "" for caused_entry in entries],
        },
    )
    made: list[CausedEntry] = []
    for caused_entry in entries:
        key = (caused_entry.entry.iban_fingerprint, caused_entry.entry.reason_code)
        if key in new:
            new.discard(key)
            made.append(caused_entry)
    return made


async def _not_lifted(conn: Connection, entries: Sequence[CausedEntry]) -> list[CausedEntry]:
    """Leave out entries for disputes of which a person has lifted one."""
    cursor = await conn.execute(
        _SQL["disputes_of"], {"attempt_ids": sorted({caused_entry.attempt_id for caused_entry in entries})}
    )
    lifted = [
        Dispute(attempt_id, stage, own_id)
        for attempt_id, stage, own_id, by_a_person in await cursor.fetchall()
        if by_a_person
    ]

    def is_lifted(caused_entry: CausedEntry) -> bool:
        dispute = Dispute(
            caused_entry.attempt_id, caused_entry.entry.dispute_stage, caused_entry.entry.dispute_id
        )
        return any(same_dispute(dispute, other) for other in lifted)

    return [caused_entry for caused_entry in entries if not is_lifted(caused_entry)]


async def link_imported(conn: Connection, entries: Sequence[tuple[str, str]]) -> None:
    """
    Note that active entries are about imported attempts that are charged back.

    Args:
        conn: The transaction that imported them and made the entries.
        entries: The attempt's transaction id and the entry's reason code, of each.
    """
    await conn.execute(
        _SQL["link_imported"],
        {
            "transaction_ids": [transaction_id for transaction_id, _ in entries],
            "reason_codes": [reason_code for _, reason_code in entries],
        },
    )


class LiftedBefore(msgspec.Struct, frozen=True):
    """
    That a person has lifted an entry about the same thing for the same reason.

    Attributes:
        lifted_at: When.
        lifted_by: Who.
        reason: Why.
    """

    lifted_at: datetime
    lifted_by: str
    reason: str


async def lifted_among(conn: Connection, entries: Sequence[ManualEntry]) -> dict[int, LiftedBefore]:
    """
    Which entries a person has lifted before, so that only a person makes them again.

    Args:
        conn: The transaction that will `enter` the others.
        entries: n entries.

    Returns:
        Place in *entries* to the lift, where the last such entry was lifted by a person.
    """
    cursor = await conn.execute(_SQL["lifted_among"], _keys(entries))
    found: dict[int, LiftedBefore] = {}
    for position, lifted_at, lifted_by, reason in await cursor.fetchall():
        found.pop(position - 1, None)
        if lifted_at is not None and (lifted_by, reason) not in _BY_NOBODY:
            found[position - 1] = LiftedBefore(lifted_at, lifted_by, reason or "")
    return found


async def enter(
    conn: Connection,
    entries: Sequence[ManualEntry],
    *,
    source: Literal["manual", "import"],
    added_by: str,
    now: datetime,
) -> dict[int, int]:
    """
    Make entries that people asked for, where they do not live already.

    Args:
        conn: Inside a transaction.
        entries: n entries.
        source: How they came.
        added_by: Who asked.
        now: The current time.

    Returns:
        Place in *entries* to id, for those that are new.
    """
    keys = _keys(entries)
    await conn.execute(_SQL["expire"], {**keys, "now": now})
    cursor = await conn.execute(
        _SQL["enter"],
        {
            **keys,
            "maskeds": [manual_entry.iban_masked for manual_entry in entries],
            "names": [manual_entry.name for manual_entry in entries],
            "actions": [manual_entry.action for manual_entry in entries],
            "scopes": [_scope(manual_entry) for manual_entry in entries],
            "notes": [manual_entry.note for manual_entry in entries],
            "expires_ats": [manual_entry.expires_at for manual_entry in entries],
            "source": source,
            "added_by": added_by,
            "now": now,
        },
    )
    return {position - 1: row_id for row_id, position in await cursor.fetchall()}


def _keys(entries: Sequence[ManualEntry]) -> dict[str, Any]:
    return {
        "fingerprints": [manual_entry.iban_fingerprint for manual_entry in entries],
        "name_keys": [
            None if manual_entry.name is None else name_key(manual_entry.name) for manual_entry in entries
        ],
        "emails": [manual_entry.email for manual_entry in entries],
        "reason_codes": [manual_entry.reason_code for manual_entry in entries],
    }


def _scope(entry: ManualEntry) -> str:
    return "iban" if entry.iban_fingerprint is not None else "name" if entry.name is not None else "email"


async def active_entry(conn: Connection, entry: ManualEntry) -> int | None:
    """The id of the live entry about the same thing for the same reason, or `None`."""
    cursor = await conn.execute(
        _SQL["active_entry"],
        {
            "fingerprint": entry.iban_fingerprint,
            "name_key": None if entry.name is None else name_key(entry.name),
            "email": entry.email,
            "reason_code": entry.reason_code,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


class Lift(msgspec.Struct, frozen=True):
    """
    What a lift has come to.

    Attributes:
        forgiven: Chargebacks of the account that it forgives and that were not forgiven before.
        unforgiven: Chargebacks of the account that still exclude it from new uploads.
        entries: Active entries that still hold the account, by id.
    """

    forgiven: int
    unforgiven: int
    entries: list[int]


async def lift(
    conn: Connection, entry_id: int, *, lifted_by: str, reason: str, forgives: Forgives, now: datetime
) -> Lift | None:
    """
    End an entry and forgive chargebacks; of one that was lifted before, only forgive more.

    Args:
        conn: Inside a transaction.
        entry_id: Which.
        lifted_by: Who.
        reason: Why.
        forgives: What else is forgiven.
        now: The current time.

    Returns:
        What came of it, or `None` when it was lifted before and forgives as much already.
    """
    values = {
        "id": entry_id,
        "lifted_by": lifted_by,
        "forgiven_by": lifted_by,
        "reason": reason,
        "forgives": forgives,
        "account": forgives == "account",
        "now": now,
    }
    await conn.execute(_SQL["lock_disputed"], values)
    if await (await conn.execute(_SQL["lift"], values)).fetchone() is None and (
        forgives == "entry" or await (await conn.execute(_SQL["widen"], values)).fetchone() is None
    ):
        return None
    forgiven = 0
    if forgives != "entry":
        forgiven = len(await (await conn.execute(_SQL["forgive"], values)).fetchall())
    row = await (await conn.execute(_SQL["remaining"], values)).fetchone()
    assert row is not None
    return Lift(forgiven, row[0], list(row[1]))


async def listed(
    conn: Connection,
    *,
    limit: int,
    before: int | None,
    live: bool | None = None,
    action: str | None = None,
    source: str | None = None,
    reason_code: str | None = None,
    fingerprint: bytes | None = None,
    name: str | None = None,
    email: str | None = None,
    now: datetime,
) -> list[ListedEntry]:
    """
    One page of entries, newest first; filters that are `None` do not filter.

    Args:
        conn: Any connection.
        limit: Rows at most.
        before: Only rows with a smaller id, or `None` for the first page.
        live: Only those that hold now, or only those that do not.
        action: Only "hold" or "block".
        source: Only of this source.
        reason_code: Only for this reason.
        fingerprint: Only about this IBAN.
        name: Only about this name.
        email: Only about this e-mail address.
        now: The current time.

    Returns:
        Up to *limit* entries.
    """
    return await fetch_all(
        conn,
        _SQL["listed"],
        {
            "limit": limit,
            "before": before,
            "live": live,
            "action": action,
            "source": source,
            "reason_code": reason_code,
            "fingerprint": fingerprint,
            "name_key": None if name is None else name_key(name),
            "email": None if email is None else email_key(email),
            "now": now,
        },
        into=ListedEntry,
    )


async def by_id(conn: Connection, entry_id: int) -> ListedEntry | None:
    """One entry, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": entry_id}, into=ListedEntry)


async def names_any(conn: Connection) -> bool:
    """Whether any name or e-mail address is on the list; asked before anybody's is looked up."""
    return await fetch_value(conn, _SQL["names_any"], into=bool)


async def names_among(
    conn: Connection, *, name_keys: Collection[str], emails: Collection[str], now: datetime
) -> tuple[set[str], set[str]]:
    """
    Which names and e-mail addresses are on the list.

    Args:
        conn: Any connection.
        name_keys: Names, as `name_key` gives them.
        emails: Addresses, as `email_key` gives them.
        now: The current time.

    Returns:
        Those names and those addresses that are.
    """
    cursor = await conn.execute(
        _SQL["names_among"], {"name_keys": list(name_keys), "emails": list(emails), "now": now}
    )
    found = await cursor.fetchall()
    return (
        {value for kind, value in found if kind == "name"},
        {value for kind, value in found if kind == "email"},
    )


async def names_listed(
    conn: Connection, *, name_keys: Collection[str], emails: Collection[str], now: datetime
) -> tuple[dict[str, Listing], dict[str, Listing]]:
    """
    The strictest active entry about each of some names and e-mail addresses.

    Args:
        conn: Any connection.
        name_keys: Names, as `name_key` gives them.
        emails: Addresses, as `email_key` gives them.
        now: The current time.

    Returns:
        Name to entry and address to entry, for those that have one.
    """
    cursor = await conn.execute(
        _SQL["names_listed"], {"name_keys": list(name_keys), "emails": list(emails), "now": now}
    )
    names, addresses = dict[str, Listing](), dict[str, Listing]()
    for kind, value, action, reason_code, _ in await cursor.fetchall():
        (names if kind == "name" else addresses).setdefault(value, Listing(action, reason_code))
    return names, addresses
