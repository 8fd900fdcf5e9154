"""Mandates; the queries are in `mandates.sql`, which describes the rows."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.errors import InvalidRequest
from tether_core.recurring.mandate import Ended, Mandate, MandateKind, MandateState, key_of
from tether_core.target_calendar import bank_day

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "ActiveMandate",
    "MandateRow",
    "NewMandate",
    "active_by_key",
    "add",
    "amend",
    "by_id",
    "ended_of",
    "facts",
    "hold",
    "listed",
    "lock_of_returns",
    "of_debtor",
    "one_off_of",
    "order",
    "set_ended",
    "unorder",
    "use",
]

_SQL: Final = load("recurring/mandates")


class MandateRow(msgspec.Struct, frozen=True):
    """
    A mandate.

    Attributes:
        id: Its row.
        account: The gateway account.
        debtor_id: The debtor who signed it.
        reference: As the debtor knows it.
        kind: "recurrent" or "one_off".
        state: Of its life cycle.
        iban_masked: The account it is for.
        signed_on: When it was signed.
        last_used_on: The day on which a debit of a schedule was last submitted with it.
        uses: Due items that were ordered with it, without those whose debits were excluded before any call.
        is_of_other_account: Whether the debtor's account was changed since it was signed or amended.
        ended_at: When it was revoked or cancelled.
        ended_reason: Why.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    account: str
    debtor_id: int
    reference: str
    kind: MandateKind
    state: MandateState
    iban_masked: str
    signed_on: date
    last_used_on: date | None
    uses: int
    is_of_other_account: bool
    ended_at: datetime | None
    ended_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"MandateRow(id={self.id})"


class NewMandate(msgspec.Struct, frozen=True):
    """
    A mandate to be added.

    Attributes:
        debtor_id: Who signed it.
        reference: As the debtor knows it.
        iban_masked: The account it is for.
        signed_on: When it was signed.
    """

    debtor_id: int
    reference: str
    iban_masked: str
    signed_on: date

    def __repr__(self) -> str:
        """Name the debtor's row; the rest is personal."""
        return f"NewMandate(debtor_id={self.debtor_id})"


class ActiveMandate(msgspec.Struct, frozen=True):
    """
    A mandate that is in use.

    Attributes:
        reference_key: What it is compared by.
        id: Its row.
        kind: "recurrent" or "one_off".
        iban_fingerprint: The account it is for; `None` where its debtor's account was changed since.
    """

    reference_key: str
    id: int
    kind: MandateKind
    iban_fingerprint: bytes | None


async def add(
    conn: Connection,
    new: Sequence[NewMandate],
    *,
    account: str,
    created_by: str,
    now: datetime,
    kind: MandateKind = "recurrent",
) -> dict[int, int]:
    """
    Add active mandates.

    Args:
        new: n mandates with different references.
        account: The gateway account.
        created_by: The name of the caller.
        kind: "recurrent" or "one_off".

    Returns:
        The row of each by its debtor; none for a reference that is in use.
    """
    if not new:
        return {}
    cursor = await conn.execute(
        _SQL["add"],
        {
            "account": account,
            "debtor_ids": [mandate.debtor_id for mandate in new],
            "references": [mandate.reference for mandate in new],
            "reference_keys": [key_of(mandate.reference) for mandate in new],
            "maskeds": [mandate.iban_masked for mandate in new],
            "signed_ons": [mandate.signed_on for mandate in new],
            "kind": kind,
            "created_by": created_by,
            "now": now,
        },
    )
    return {debtor_id: mandate_id for mandate_id, debtor_id in await cursor.fetchall()}


async def active_by_key(
    conn: Connection, reference_keys: Collection[str], *, account: str
) -> dict[str, ActiveMandate]:
    """The active mandates of a gateway account among some references, by what these are compared by."""
    found = await fetch_all(
        conn,
        _SQL["active_by_key"],
        {"account": account, "reference_keys": sorted(reference_keys)},
        into=ActiveMandate,
        binary=True,
    )
    return {mandate.reference_key: mandate for mandate in found}


async def by_id(conn: Connection, mandate_id: int) -> MandateRow | None:
    """One mandate, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": mandate_id}, into=MandateRow)


async def hold(conn: Connection, mandate_id: int) -> MandateRow | None:
    """Lock one mandate for a change until this transaction ends; `None` for no such mandate."""
    return await fetch_one(conn, _SQL["hold"], {"id": mandate_id}, into=MandateRow)


async def of_debtor(conn: Connection, debtor_id: int) -> list[MandateRow]:
    """The mandates of a debtor, newest first."""
    return await fetch_all(conn, _SQL["of_debtor"], {"debtor_id": debtor_id}, into=MandateRow)


async def listed(
    conn: Connection,
    *,
    account: str | None,
    before_id: int | None,
    limit: int,
    debtor_id: int | None = None,
) -> list[MandateRow]:
    """Mandates of all debtors or of one, newest first, up to *limit*; `is_of_other_account` is not looked up."""
    values = {"account": account, "before_id": before_id, "limit": limit}
    if debtor_id is None:
        return await fetch_all(conn, _SQL["listed"], values, into=MandateRow)
    values |= {"debtor_id": debtor_id}
    return await fetch_all(conn, _SQL["listed_of_debtor"], values, into=MandateRow)


async def set_ended(
    conn: Connection, mandate_ids: Sequence[int], *, state: MandateState, reason: str, now: datetime
) -> None:
    """Write that active mandates ended, inside the transaction that holds them."""
    await conn.execute(
        _SQL["change"], {"ids": list(mandate_ids), "state": state, "reason": reason, "now": now}
    )


async def amend(
    conn: Connection, mandate_id: int, *, signed_on: date, iban_masked: str, now: datetime
) -> None:
    """Write that an active mandate is for the present account of its debtor."""
    await conn.execute(
        _SQL["amend"], {"id": mandate_id, "signed_on": signed_on, "iban_masked": iban_masked, "now": now}
    )


async def order(conn: Connection, mandate_ids: Sequence[int], *, now: datetime) -> None:
    """Count due items that were ordered with mandates."""
    if mandate_ids:
        await conn.execute(_SQL["order"], {"mandate_ids": list(mandate_ids), "now": now})


async def unorder(conn: Connection, attempt_ids: Sequence[int], *, now: datetime) -> None:
    """
    Stop counting due items whose debits are not submitted.

    Args:
        conn: The transaction that excludes the debits; their due items are still ordered.
        attempt_ids: The debits, none of which any call has submitted; others than those of due items, and retries, change nothing.
    """
    if attempt_ids:
        await conn.execute(_SQL["unorder"], {"attempt_ids": list(attempt_ids), "now": now})


async def use(conn: Connection, mandate_ids: Sequence[int], *, used_on: date, now: datetime) -> None:
    """Note the day on which debits are submitted with mandates, inside the transaction that claims the debits."""
    if mandate_ids:
        await conn.execute(_SQL["use"], {"mandate_ids": list(mandate_ids), "used_on": used_on, "now": now})


async def ended_of(conn: Connection, fingerprints: Collection[bytes]) -> dict[tuple[bytes, str], Ended]:
    """
    The mandates of bank accounts that were ended and are not active again, by account and key of the reference.

    Args:
        fingerprints: Of the accounts.
    """
    if not fingerprints or not await fetch_value(conn, _SQL["any_ended"], into=bool):
        return {}
    cursor = await conn.execute(_SQL["ended_of"], {"fingerprints": list(fingerprints)}, binary=True)
    return {
        (bytes(fingerprint), key): Ended(state, bank_day(ended_at))
        for fingerprint, key, state, ended_at in await cursor.fetchall()
    }


async def one_off_of(conn: Connection, fingerprints: Collection[bytes]) -> set[tuple[bytes, str]]:
    """
    The active mandates for one debit of bank accounts, by account and key of the reference.

    Args:
        fingerprints: Of the accounts.
    """
    if not fingerprints or not await fetch_value(conn, _SQL["any_one_off"], into=bool):
        return set()
    cursor = await conn.execute(_SQL["one_off_of"], {"fingerprints": list(fingerprints)}, binary=True)
    return {(bytes(fingerprint), key) for fingerprint, key in await cursor.fetchall()}


async def lock_of_returns(conn: Connection, attempt_ids: Sequence[int]) -> list[tuple[int, int]]:
    """
    Lock the active mandates under which debits were made: of their schedules, or with the reference of their debtors' rows and the same account.

    Args:
        attempt_ids: The debits.

    Returns:
        Row and debtor of each mandate.
    """
    cursor = await conn.execute(_SQL["of_attempts"], {"attempt_ids": list(attempt_ids)}, binary=True)
    ids, named = set[int](), set[tuple[str, str, bytes]]()
    for account, mandate_id, reference, fingerprint in await cursor.fetchall():
        if mandate_id is not None:
            ids.add(mandate_id)
        try:
            named.add((account, key_of(reference or ""), bytes(fingerprint)))
        except InvalidRequest:
            continue
    keys = sorted(named)
    cursor = await conn.execute(
        _SQL["lock_active"],
        {
            "ids": sorted(ids),
            "accounts": [account for account, _, _ in keys],
            "reference_keys": [key for _, key, _ in keys],
            "fingerprints": [fingerprint for _, _, fingerprint in keys],
        },
    )
    return [(mandate_id, debtor_id) for mandate_id, debtor_id in await cursor.fetchall()]


def facts(row: Mapping[str, Any]) -> Mandate:
    """
    The facts of a mandate, from a row of a query about due items.

    Args:
        row: Its columns; those of a mandate among them.
    """
    return Mandate(**{field: row[field] for field in Mandate.__struct_fields__})
