"""Texts of bank statements by gateway account and month; the queries are in `statement_texts.sql`, which describes the rows."""

from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.billing.statement_texts import chosen

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["StatementText", "listed", "of_account", "put", "remove"]

_SQL: Final = load("statement_texts")


class StatementText(msgspec.Struct, frozen=True):
    """
    A stored text.

    Attributes:
        account: The gateway account; "" for all.
        month: Such as "2026-12"; "" for all.
        text: What debtors read on their statements; the debtor's reference follows it.
        written_by: Who wrote it.
        written_at: When.
    """

    account: str
    month: str
    text: str
    written_by: str
    written_at: datetime


async def listed(conn: Connection) -> list[StatementText]:
    """All texts, by account and month."""
    return await fetch_all(conn, _SQL["listed"], into=StatementText)


async def of_account(conn: Connection, account: str, *, on: date) -> str | None:
    """The text of an account on a day, or `None` where none is stored for it."""
    stored = {(row.account, row.month): row.text for row in await listed(conn)}
    return chosen(stored, account=account, on=on)


async def put(
    conn: Connection, *, account: str, month: str, text: str, written_by: str, now: datetime
) -> None:
    """Write a text in place of the one before."""
    given = {"account": account, "month": month, "text": text, "written_by": written_by, "now": now}
    await conn.execute(_SQL["put"], given)


async def remove(conn: Connection, *, account: str, month: str) -> str | None:
    """Remove a text; returns it, or `None` where there is none."""
    row = await (await conn.execute(_SQL["remove"], {"account": account, "month": month})).fetchone()
    return None if row is None else str(row[0])
