"""Attempts of another system: one short function per query of `payments/imported_attempts.sql`, which tells how they live."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tether_core.payments.attempt import Attempt
from tether_core.payments.imported_debits import Earlier

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["add"]

_SQL: Final = load("payments/imported_attempts")


async def add(conn: Connection, debits: Sequence[tuple[Earlier, Attempt]], *, now: datetime) -> None:
    """
    Put debits of another system on record, each with a debtor of its own.

    Args:
        conn: The transaction they belong to.
        debits: n debits, each as it was read and as the attempt it becomes; row numbers are distinct.
        now: The present moment.

    Raises:
        psycopg.errors.UniqueViolation: when one of their ids has come on record meanwhile.
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
            "row_numbers": [one.row for one, _ in debits],
            "ibans": [one.iban for one, _ in debits],
            "names": [one.name for one, _ in debits],
            "references": [one.reference for one, _ in debits],
            "mandate_ids": [one.mandate_id for one, _ in debits],
        },
    )
    debtors: dict[int, int] = dict(await cursor.fetchall())
    await conn.execute(
        _SQL["add"],
        {
            **shared,
            "debtor_ids": [debtors[one.row] for one, _ in debits],
            "accounts": [attempt.account for _, attempt in debits],
            "transaction_ids": [attempt.transaction_id for _, attempt in debits],
            "unique_ids": [attempt.unique_id for _, attempt in debits],
            "states": [attempt.state for _, attempt in debits],
            "payment_stages": [attempt.payment_stage for _, attempt in debits],
            "dispute_stages": [attempt.dispute_stage for _, attempt in debits],
            "error_codes": [attempt.error_code for _, attempt in debits],
            "reason_codes": [attempt.reason_code for _, attempt in debits],
            "maskeds": [attempt.iban_masked for _, attempt in debits],
            "sent_ats": [one.sent_at for one, _ in debits],
            "updated_ats": [one.updated_at for one, _ in debits],
        },
    )
