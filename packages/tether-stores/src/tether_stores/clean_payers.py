"""People who paid, and whose money never came back; the query is in `clean_payers.sql`."""

from datetime import date, datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["PayerHistory", "page"]

_SQL: Final = load("clean_payers")


class PayerHistory(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """
    A debtor, and whether it is a clean payer.

    Attributes:
        id: The debtor.
        iban: The whole account number.
        name: The account holder.
        first_name: Where it is known by itself.
        last_name: Likewise.
        bic: Of the bank, as it was sent.
        amount_minor: What it owed last, in whole minor units.
        currency: ISO 4217.
        debits: How many debits of the account were collected and are still collected.
        last_on: The day of the last one.
        is_clean: Whether it is a clean payer.
    """

    id: int
    iban: str
    name: str
    first_name: str | None
    last_name: str | None
    bic: str | None
    amount_minor: int
    currency: str
    debits: int
    last_on: date | None
    is_clean: bool

    def __repr__(self) -> str:
        """Show the row, no personal data."""
        return f"PayerHistory({self.id})"


async def page(
    conn: Connection,
    *,
    after: int,
    limit: int,
    debits_min: int,
    account: str | None,
    before: datetime,
    now: datetime,
) -> list[PayerHistory]:
    """
    The next debtors after a row, clean payers and others.

    Args:
        after: The last row of the page before; 0 for the first page.
        limit: Rows that are examined.
        debits_min: Debits that must have been collected, at least.
        account: Only debits with this gateway account count as collected; `None` for all. A return with any account counts.
        before: An account that was debited after this time is excluded.
    """
    given = {
        "after": after,
        "limit": limit,
        "debits_min": debits_min,
        "account": account,
        "before": before,
        "now": now,
    }
    return await fetch_all(conn, _SQL["page"], given, into=PayerHistory)
