"""Totals of an upload over all of its runs; the queries are in `totals.sql`."""

from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["Debits", "Owed", "UploadTotals", "of_upload"]

_SQL: Final = load("uploads/totals")


class Owed(msgspec.Struct, frozen=True):
    """
    What the debtors of an upload owe, in one currency.

    Attributes:
        currency: ISO 4217.
        debtors: Debtors that may be billed.
        owed_minor: Their amounts, in whole minor units.
        unbilled: Of these, debtors of whom no debit was ever submitted.
        unbilled_minor: Their amounts.
    """

    currency: str
    debtors: int
    owed_minor: int
    unbilled: int
    unbilled_minor: int


class Debits(msgspec.Struct, frozen=True):
    """
    Debits of all runs of an upload in one state and currency.

    Attributes:
        currency: ISO 4217.
        state: Of the debits, e.g. "approved".
        debits: How many, each try counted.
        amount_minor: Their amounts, in whole minor units.
        debtors: Of how many debtors they are.
    """

    currency: str
    state: str
    debits: int
    amount_minor: int
    debtors: int


class UploadTotals(msgspec.Struct, frozen=True):
    """
    Totals of an upload over all runs.

    Attributes:
        runs: Its runs by state.
        owed: What its debtors owe, by currency.
        debits: What became of their debits, by currency and state.
    """

    runs: dict[str, int]
    owed: list[Owed]
    debits: list[Debits]


async def of_upload(conn: Connection, upload_id: int) -> UploadTotals:
    """Add everything up; it reads the debtors and debits of the upload."""
    given = {"upload_id": upload_id}
    cursor = await conn.execute(_SQL["runs"], given)
    runs: dict[str, int] = dict(await cursor.fetchall())
    return UploadTotals(
        runs,
        await fetch_all(conn, _SQL["owed"], given, into=Owed),
        await fetch_all(conn, _SQL["debits"], given, into=Debits),
    )
