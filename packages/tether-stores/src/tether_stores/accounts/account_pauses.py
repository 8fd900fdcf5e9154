"""Pauses of gateway accounts; the queries are in `accounts/account_pauses.sql`, which describes the rows."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.errors import IllegalStep

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["AccountPause", "may_submit", "pause", "pauses", "resume"]

_SQL: Final = load("accounts/account_pauses")


class AccountPause(msgspec.Struct, frozen=True):
    """
    A gateway account that is paused.

    Attributes:
        account: Its name.
        paused_by: Who ordered it.
        reason: Why.
        paused_at: Since when.
    """

    account: str
    paused_by: str
    reason: str
    paused_at: datetime


async def pause(
    conn: Connection, account: str, *, paused_by: str, reason: str, now: datetime
) -> AccountPause:
    """
    Submit nothing more with an account; waits for claims of other transactions, so that none follows the commit.

    Raises:
        IllegalStep: when it is paused already; its pause stays as it is.
    """
    await conn.execute(_SQL["hold"], {"account": account})
    given = {"account": account, "paused_by": paused_by, "reason": reason, "now": now}
    made = await fetch_one(conn, _SQL["pause"], given, into=AccountPause)
    if made is None:
        why = f"Gateway account {account} is paused already. Resume it first to give another reason."
        raise IllegalStep("gateway account", state="paused", step="paused", why=why)
    return made


async def resume(conn: Connection, account: str) -> AccountPause:
    """
    Submit with an account again.

    Returns:
        The pause that ended.

    Raises:
        IllegalStep: when it is not paused.
    """
    ended = await fetch_one(conn, _SQL["resume"], {"account": account}, into=AccountPause)
    if ended is None:
        why = f"Gateway account {account} is not paused. GET /api/gateway-accounts shows which accounts are."
        raise IllegalStep("gateway account", state="active", step="resumed", why=why)
    return ended


async def may_submit(conn: Connection, account: str) -> bool:
    """Whether an account is not paused, and stays so until this transaction ends; call it before anything is locked."""
    await conn.execute(_SQL["share"], {"account": account})
    return not await fetch_value(conn, _SQL["is_paused"], {"account": account}, into=bool)


async def pauses(conn: Connection) -> dict[str, AccountPause]:
    """The accounts that are paused, by name."""
    found = await fetch_all(conn, _SQL["pauses"], into=AccountPause)
    return {item.account: item for item in found}
