"""Imported debits of another system; the queries are in `payments/imported_attempts.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tether_core.payments.attempt import Attempt
from tether_core.payments.imported_debits import ImportedDebit

from tether_stores.banks import bank_of
from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["add"]

_SQL: Final = load("payments/imported_attempts")


async def add(conn: Connection, debits: Sequence[tuple[ImportedDebit, Attempt]], *, now: datetime) -> None:
    """
    Store debits of another system, each with a debtor of its own.

    Args:
        conn: The transaction they belong to.
        debits: n debits, each as it was read and as the attempt it becomes; row numbers are distinct.

    Raises:
        psycopg.errors.UniqueViolation: when one of their ids was stored meanwhile.
    """
    if not debits:
        return
    shared = {
        "fingerprints": [attempt.iban_fingerprint for _, attempt in debits],
        "amounts_minor": [attempt.amount_minor for _, attempt in debits],
        "currencies": [attempt.currency for _, attempt in debits],
        "now": now,
    }
    cursor = await conn.execute(
        _SQL["add_debtors"],
        {
            **shared,
            "row_numbers": [item.row for item, _ in debits],
            "ibans": [item.iban for item, _ in debits],
            "names": [item.name for item, _ in debits],
            "references": [item.reference for item, _ in debits],
            "mandate_ids": [item.mandate_id for item, _ in debits],
            "bank_bics": [bank_of(item.iban) for item, _ in debits],
        },
    )
    debtors: dict[int, int] = dict(await cursor.fetchall())
    await conn.execute(
        _SQL["add"],
        {
            **shared,
            "debtor_ids": [debtors[item.row] for item, _ in debits],
            "accounts": [attempt.account for _, attempt in debits],
            "transaction_ids": [attempt.transaction_id for _, attempt in debits],
            "unique_ids": [attempt.unique_id for _, attempt in debits],
            "states": [attempt.state for _, attempt in debits],
            "payment_stages": [attempt.payment_stage for _, attempt in debits],
            "dispute_stages": [attempt.dispute_stage for _, attempt in debits],
            "error_codes": [attempt.error_code for _, attempt in debits],
            "reason_codes": [attempt.reason_code for _, attempt in debits],
            "maskeds": [attempt.iban_masked for _, attempt in debits],
            "submitted_ats": [item.submitted_at for item, _ in debits],
            "updated_ats": [item.updated_at for item, _ in debits],
        },
    )
