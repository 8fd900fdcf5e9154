"""Gateway identities; the queries are in `accounts/gateway_identities.sql`, which describes the rows."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.payments.gateway_identity import EVERY, GatewayIdentity, identity

from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = [
    "COUNT_MAX",
    "AccountCalls",
    "OpenCalls",
    "UnresolvedSubmission",
    "configured",
    "counts",
    "diagnostics",
    "open_by_account",
    "open_calls",
    "recent",
    "record",
    "record_configured",
    "unresolved",
    "wake",
]

_SQL: Final = load("accounts/gateway_identities")
# Of one set of identities no more submissions are counted: a person needs to know whether they are few or many.
COUNT_MAX: Final = 10_000


class OpenCalls(msgspec.Struct, frozen=True):
    """
    Submissions without a final result that went to one gateway identity.

    Imported ones and others whose identity was never stored are not among them: they resolve as soon as the gateway knows them.

    Attributes:
        account: The gateway account.
        key: Of the identity; "*" for all of the account.
        name: Of the identity, for people; `None` where none is stored.
        count: Debits, refunds and voids; `COUNT_MAX` and more where there are that many.
        since_at: When the oldest was submitted.
    """

    account: str
    key: str
    name: str | None
    count: int
    since_at: datetime


class AccountCalls(msgspec.Struct, frozen=True):
    """
    Submissions of an account without a final result.

    Attributes:
        account: The gateway account.
        count: Debits, refunds and voids; `COUNT_MAX` and more where there are that many.
        since_at: When the oldest of them was submitted.
    """

    account: str
    count: int
    since_at: datetime


class UnresolvedSubmission(msgspec.Struct, frozen=True):
    """
    A submission of unknown outcome about which "not found" does not count.

    Attributes:
        kind: "debit", "refund" or "void".
        id: Of the debit, or of the order.
        attempt_id: Of the debit.
        account: The gateway account.
        transaction_id: Our id, as the gateway knows it.
        since_at: When it was submitted.
        submitted_to: The names of the gateway identities it went to; "?" for one that is not known, "*" for all.
    """

    kind: str
    id: int
    attempt_id: int
    account: str
    transaction_id: str
    since_at: datetime
    submitted_to: tuple[str, ...]


def configured(account: GatewayAccount) -> tuple[GatewayIdentity, ...]:
    """
    The identities of calls with an account, and those where they can be inquired.

    Args:
        account: With n terminals.

    Returns:
        n identities, in the order of its terminals.
    """
    return tuple(
        identity(account.api_url, login=account.login, terminal=terminal)
        for terminal in account.terminal_tokens
    )


async def record(conn: Connection, used: GatewayIdentity, *, account: str, now: datetime) -> None:
    """Keep an identity that calls go to, inside the transaction that claims them."""
    await conn.execute(_SQL["record"], {"key": used.key, "account": account, "name": used.name, "now": now})


async def record_configured(conn: Connection, accounts: Collection[GatewayAccount], *, now: datetime) -> None:
    """Note which identities are configured today; an account that goes back to them is found by that."""
    known = sorted(
        (account.name, gateway_identity.key, gateway_identity.name)
        for account in accounts
        for gateway_identity in configured(account)
    )
    parameters = {
        "accounts": [account for account, _, _ in known],
        "keys": [key for _, key, _ in known],
        "names": [name for _, _, name in known],
        "now": now,
        "today": now.date(),
    }
    await conn.execute(_SQL["record_configured"], parameters)


async def recent(conn: Connection, accounts: Collection[str], *, since: date) -> dict[str, frozenset[str]]:
    """
    The identities that accounts had since a day, whether they are configured by now or not.

    Args:
        accounts: n accounts.
        since: The day.

    Returns:
        Their keys by account; an account without any is excluded.
    """
    cursor = await conn.execute(_SQL["recent"], {"accounts": list(accounts), "since": since})
    found: dict[str, set[str]] = {}
    for account, key in await cursor.fetchall():
        found.setdefault(account, set()).add(key)
    return {account: frozenset(keys) for account, keys in found.items()}


async def open_calls(conn: Connection, *, accounts: Collection[GatewayAccount]) -> list[OpenCalls]:
    """
    The identities that submissions without a final result went to and that nobody can inquire any more.

    Args:
        accounts: All that are configured.
    """
    known = {
        "keys": sorted(place.key for account in accounts for place in configured(account)),
        "accounts": sorted(account.name for account in accounts),
        "count_max": COUNT_MAX,
    }
    return await fetch_all(conn, _SQL["open_calls"], known, into=OpenCalls)


async def open_by_account(conn: Connection, *, accounts: Collection[str]) -> dict[str, AccountCalls]:
    """The submissions without a final result of n accounts; an account without any is excluded."""
    wanted = {"accounts": sorted(accounts), "count_max": COUNT_MAX}
    found = await fetch_all(conn, _SQL["open_by_account"], wanted, into=AccountCalls)
    return {item.account: item for item in found}


async def unresolved(conn: Connection, *, limit: int) -> list[UnresolvedSubmission]:
    """Up to *limit* submissions that only a person can resolve, or another configuration; the oldest first."""
    cursor = await conn.execute(_SQL["unresolved"], {"limit": limit})
    return [
        UnresolvedSubmission(kind, row_id, attempt_id, account, transaction_id, since_at, tuple(names))
        for kind, row_id, attempt_id, account, transaction_id, since_at, names in await cursor.fetchall()
    ]


async def counts(conn: Connection) -> dict[str, int]:
    """Submissions of unknown outcome, by why the latest inquiry did not resolve them; "" for none yet."""
    return dict(await (await conn.execute(_SQL["counts"])).fetchall())


async def wake(conn: Connection, *, keys: Collection[str], now: datetime) -> int:
    """
    Make submissions due for an inquiry whose identities have all become askable.

    Args:
        keys: Of all identities that are configured.

    Returns:
        How many.
    """
    known = {"configured": sorted(keys), "now": now}
    debits = (await conn.execute(_SQL["wake_debits"], known)).rowcount
    return debits + (await conn.execute(_SQL["wake_refunds"], known)).rowcount


def diagnostics(calls: Collection[OpenCalls], *, accounts: Collection[GatewayAccount]) -> list[str]:
    """
    What is wrong with the configuration, seen from submissions without a final result.

    Args:
        calls: Those of `open_calls`.
        accounts: All that are configured.

    Returns:
        Sentences for people; none where every identity can be inquired.
    """
    names = {account.name for account in accounts}
    keys = {place.key for account in accounts for place in configured(account)}
    lines: list[str] = []
    for call in calls:
        count = f"{COUNT_MAX} or more" if call.count >= COUNT_MAX else str(call.count)
        since = f"{count} without a final result, the oldest of {call.since_at:%Y-%m-%d %H:%M} UTC"
        if call.key not in keys and call.key != EVERY:
            lines.append(
                f"submissions went to {call.name or call.key} (account {call.account}), which is not configured any more: "
                f"{since}. Configure its terminal again after the current one, or its login and address as a former account, "
                "until they are resolved"
            )
        elif call.account not in names:
            lines.append(
                f"gateway account {call.account} is not configured any more: {since}. Configure it until they are resolved"
            )
    return lines
