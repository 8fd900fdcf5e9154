"""The blacklist; the queries are in `blacklist.sql`, which describes the rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

import msgspec
from tether_core.blacklist import ActiveEntry, Dispute, Entry, Forgives, email_key, name_key, same_dispute

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
    "banks_judged",
    "banks_listed",
    "by_id",
    "enter",
    "lift",
    "lifted_among",
    "link_imported",
    "listed",
    "names_among",
    "names_any",
    "names_listed",
    "of_debtor",
]

_SQL: Final = load("blacklist")
# Who lifted an entry, and why, where no person did.
_BY_NOBODY: Final = {("tether", "expired"), ("tether", "merged")}


class CausedEntry(msgspec.Struct, frozen=True):
    """
    An entry and what caused it.

    Attributes:
        entry: The entry that the core decided on.
        webhook_event_id: The notification that caused it.
        attempt_id: The returned debit.
    """

    entry: Entry
    webhook_event_id: int
    attempt_id: int


class ManualEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry that no chargeback caused: about an IBAN, a name, an e-mail address or banks, exactly one of them.

    Attributes:
        action: "hold" or "block".
        reason_code: A code of the scheme or a short word; at most one entry per code is active.
        note: Further explanation.
        iban_fingerprint: Of the IBAN.
        iban_masked: The masked IBAN.
        name: As entered.
        email: From `email_key`.
        bic: From `tether_core.banks.canonical`.
        expires_at: When it expires, or `None`.
        policy_version: The version of the return policy that decided; `None` where a person did.
    """

    action: Literal["hold", "block"]
    reason_code: str
    note: str = ""
    iban_fingerprint: bytes | None = None
    iban_masked: str | None = None
    name: str | None = None
    email: str | None = None
    bic: str | None = None
    expires_at: datetime | None = None
    policy_version: int | None = None


class ListedEntry(msgspec.Struct, frozen=True):
    """
    An entry in lists.

    Attributes:
        id: Our row.
        iban_masked: The IBAN it is about.
        name: The name it is about.
        email: The e-mail address it is about.
        bic: The banks it is about: a BIC, or the beginning of BICs with a star.
        action: "hold": until a person lifts it; "block": the same, and lifting requires a reason.
        scope: "iban", "mandate", "name", "email" or "bank".
        reason_code: Why it was made.
        note: Further explanation.
        source: "chargeback", "manual", "import", or "automatic" for the return rate of a bank.
        added_by: The name of an API key, or "tether".
        webhook_event_id: The notification that caused it.
        attempt_id: The debit that caused it.
        created_at: When it was made.
        expires_at: When it expires, or `None`.
        lifted_at: When it was lifted, or `None`.
        lifted_by: Who lifted it.
        lifted_reason: Why it was lifted.
        iban_fingerprint: The fingerprint of the IBAN, in hex.
        forgives: What lifting it forgives: "entry" nothing, "disputes" the disputes it was made for, "account" all chargebacks
            of the account until then; `None` while it is active.
        policy_version: The version of the return policy that decided; `None` where a person did.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    bic: str | None
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
    policy_version: int | None


async def add(conn: Connection, entries: Sequence[CausedEntry], *, now: datetime) -> list[CausedEntry]:
    """
    Insert entries that do not exist yet, unless a person has lifted one for the same dispute.

    Args:
        conn: Inside the transaction that applies the return and has locked the attempts.

    Returns:
        Those that are new, each once, in their order.
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
            "policy_versions": [caused_entry.entry.policy_version for caused_entry in entries],
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
    """Exclude entries for disputes of which a person has lifted an entry."""
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
    Link active entries to the charged back attempts that were imported.

    Args:
        conn: The transaction that imported the attempts and made the entries.
        entries: For each, the attempt's transaction id and the entry's reason code.
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
    A person's lift of an entry about the same subject for the same reason.

    Attributes:
        lifted_at: When it was lifted.
        lifted_by: Who lifted it.
        reason: Why it was lifted.
    """

    lifted_at: datetime
    lifted_by: str
    reason: str


async def lifted_among(conn: Connection, entries: Sequence[ManualEntry]) -> dict[int, LiftedBefore]:
    """
    The entries that a person has lifted before, and that only a person may make again.

    Args:
        conn: The transaction that will `enter` the others.

    Returns:
        Index in *entries* to the lift, where a person lifted the latest such entry.
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
    source: Literal["manual", "import", "automatic"],
    added_by: str,
    now: datetime,
) -> dict[int, int]:
    """
    Insert entries that no chargeback caused, unless they are active already.

    Args:
        added_by: Who made them.

    Returns:
        Index in *entries* to id, for those that are new.
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
            "policy_versions": [manual_entry.policy_version for manual_entry in entries],
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
        "bics": [manual_entry.bic for manual_entry in entries],
        "reason_codes": [manual_entry.reason_code for manual_entry in entries],
    }


def _scope(entry: ManualEntry) -> str:
    if entry.bic is not None:
        return "bank"
    return "iban" if entry.iban_fingerprint is not None else "name" if entry.name is not None else "email"


async def active_entry(conn: Connection, entry: ManualEntry) -> int | None:
    """The id of the active entry about the same subject for the same reason, or `None`."""
    cursor = await conn.execute(
        _SQL["active_entry"],
        {
            "fingerprint": entry.iban_fingerprint,
            "name_key": None if entry.name is None else name_key(entry.name),
            "email": entry.email,
            "bic": entry.bic,
            "reason_code": entry.reason_code,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


class Lift(msgspec.Struct, frozen=True):
    """
    The result of a lift.

    Attributes:
        forgiven: Chargebacks of the account that it newly forgives.
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
    Lift an entry and forgive chargebacks; for an entry that is lifted already, only forgive more.

    Args:
        forgives: What the lift forgives.

    Returns:
        The result, or `None` when it was lifted before and forgives as much already.
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
    return await fetch_one(conn, _SQL["remaining"], values, into=partial(Lift, forgiven))


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
    bic: str | None = None,
    now: datetime,
) -> list[ListedEntry]:
    """
    One page of entries, newest first; filters that are `None` do not filter.

    Args:
        before: Only rows with a smaller id; `None` for the first page.
        live: Only active entries, or only those that are not.
        action: Only "hold" or "block".
        source: Only of this source.
        reason_code: Only for this reason.
        fingerprint: Only about this IBAN.
        name: Only about this name.
        email: Only about this e-mail address.
        bic: Only about these banks, from `tether_core.banks.canonical`.
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
            "bic": bic,
            "now": now,
        },
        into=ListedEntry,
    )


async def by_id(conn: Connection, entry_id: int) -> ListedEntry | None:
    """One entry, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": entry_id}, into=ListedEntry)


async def of_debtor(
    conn: Connection,
    debtor_id: int,
    *,
    name_keys: Sequence[str],
    emails: Sequence[str],
    bics: Sequence[str],
    limit: int,
    now: datetime,
) -> list[ListedEntry]:
    """
    The entries about a debtor, active ones first, then the newest.

    Args:
        name_keys: From `tether_core.blacklist.name_keys`.
        emails: From `email_key`; one or none.
        bics: From `tether_core.banks.written_as`.
    """
    values = {
        "debtor_id": debtor_id,
        "name_keys": list(name_keys),
        "emails": list(emails),
        "bics": list(bics),
        "limit": limit,
        "now": now,
    }
    return await fetch_all(conn, _SQL["of_debtor"], values, into=ListedEntry)


async def names_any(conn: Connection) -> bool:
    """Whether any name or e-mail address is on the blacklist; checked before any is looked up."""
    return await fetch_value(conn, _SQL["names_any"], into=bool)


async def names_among(
    conn: Connection, *, name_keys: Collection[str], emails: Collection[str], now: datetime
) -> tuple[set[str], set[str]]:
    """
    The names and e-mail addresses that are on the blacklist.

    Args:
        name_keys: From `name_key`.
        emails: From `email_key`.

    Returns:
        The names and the addresses found.
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
) -> tuple[dict[str, ActiveEntry], dict[str, ActiveEntry]]:
    """
    The strictest active entry of each name and e-mail address.

    Args:
        name_keys: From `name_key`.
        emails: From `email_key`.

    Returns:
        Name to entry and address to entry.
    """
    cursor = await conn.execute(
        _SQL["names_listed"], {"name_keys": list(name_keys), "emails": list(emails), "now": now}
    )
    names, addresses = dict[str, ActiveEntry](), dict[str, ActiveEntry]()
    for kind, value, action, reason_code, _ in await cursor.fetchall():
        (names if kind == "name" else addresses).setdefault(value, ActiveEntry(action, reason_code))
    return names, addresses


async def banks_listed(conn: Connection, *, now: datetime) -> dict[str, ActiveEntry]:
    """The strictest active entry of each bank or beginning of BICs that is on the blacklist."""
    cursor = await conn.execute(_SQL["banks_listed"], {"now": now})
    found = dict[str, ActiveEntry]()
    for bic, action, reason_code in await cursor.fetchall():
        found.setdefault(bic, ActiveEntry(action, reason_code))
    return found


async def banks_judged(
    conn: Connection, *, reason_code: str, now: datetime
) -> dict[str, tuple[bool, datetime | None]]:
    """
    The banks that had an entry because of their return rate.

    Args:
        reason_code: Of such entries.

    Returns:
        Bank to whether such an entry is active, and when the latest one that is over ended.
    """
    cursor = await conn.execute(_SQL["banks_judged"], {"reason_code": reason_code, "now": now})
    return {bic: (is_active, ended_at) for bic, is_active, ended_at in await cursor.fetchall()}
