"""Chargebacks in lists and counts; the queries are in `payments/chargebacks.sql`."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.payments.filters import EXAMINED_MAX

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["ChargedBackDebit", "CodeCount", "by_code", "page_of"]

_SQL: Final = load("payments/chargebacks")


class CodeCount(msgspec.Struct, frozen=True):
    """
    The chargebacks of one reason code.

    Attributes:
        reason_code: The code, or `None` for those without one.
        currency: ISO 4217.
        count: How many.
        amount_minor: Their money, in whole minor units.
    """

    reason_code: str | None
    currency: str
    count: int
    amount_minor: int


class ChargedBackDebit(msgspec.Struct, frozen=True):
    """
    A debit whose money the debtor's bank has taken back.

    Attributes:
        attempt_id: The debit.
        transaction_id: Our id of it.
        unique_id: The gateway's id, or null.
        amount_minor: In whole minor units.
        currency: ISO 4217.
        reason_code: Why, as AC04; null where no code came.
        lost_again: Whether it was won back once and lost again.
        account: The gateway account.
        debtor_id: Whose.
        name: Of the account holder.
        reference: The creditor's reference.
        iban_masked: First and last four characters.
        run_id: The billing run, or null.
        upload_id: The upload of that run, or null.
        due_item: What was owed, or null.
        created_at: When the debit was made.
        updated_at: When it last changed; for most of them that is the chargeback.
    """

    attempt_id: int
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    reason_code: str | None
    lost_again: bool
    account: str
    debtor_id: int
    name: str
    reference: str | None
    iban_masked: str
    run_id: int | None
    upload_id: int | None
    due_item: str | None
    created_at: datetime
    updated_at: datetime


async def by_code(conn: Connection, *, upload_id: int | None, account: str | None) -> list[CodeCount]:
    """Chargebacks counted by code and currency, of an upload or of all; of an account or of all."""
    query = _SQL["by_code"] if upload_id is None else _SQL["by_code_of_upload"]
    return await fetch_all(conn, query, {"upload_id": upload_id, "account": account}, into=CodeCount)


async def page_of(
    conn: Connection,
    *,
    upload_id: int | None,
    reason_code: str | None,
    account: str | None,
    before: int | None,
    limit: int,
    examined_max: int = EXAMINED_MAX,
) -> tuple[list[ChargedBackDebit], int | None]:
    """
    One page of chargebacks, newest debit first.

    Args:
        upload_id: Of the runs of this upload, or `None` for all.
        reason_code: With this code, "" for those without one, or `None` for all.
        account: Of this gateway account, or `None` for all.
        before: The page begins behind this debit; `None` for the first page.
        examined_max: Chargebacks that are looked at at most.

    Returns:
        Up to *limit* chargebacks, and the debit behind which the next page begins; `None` on the last page.
    """
    if upload_id is not None:
        query = _SQL["of_upload"]
    elif reason_code is None:
        query = _SQL["newest"]
    else:
        query = _SQL["of_code"] if reason_code else _SQL["without_code"]
    parameters = {
        "upload_id": upload_id,
        "reason_code": reason_code,
        "account": account,
        "before": before,
        "limit": limit + 1,
        "examined_max": examined_max,
    }
    rows = await (await conn.execute(query, parameters)).fetchall()
    found = [ChargedBackDebit(*columns) for *columns, fits, _ in rows if fits]
    if len(found) > limit:
        return found[:limit], found[limit - 1].attempt_id
    if rows and rows[-1][-1] == examined_max:
        return found, rows[-1][0]  # as far as this page has looked
    return found, None
