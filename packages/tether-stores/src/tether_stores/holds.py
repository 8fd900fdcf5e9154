"""Unprocessed reports that hold refunds and accounts; the queries are in `holds.sql`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.holds import CONTRADICTIONS, CONTRADICTIONS_APART_S, Reported

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.reconciliation import differences, gateway_refunds

__all__ = ["HeldAccount", "accounts_held", "of_refunds"]

_SQL: Final = load("holds")
_RULE: Final = {"contradictions": CONTRADICTIONS, "apart_s": CONTRADICTIONS_APART_S}


class HeldAccount(msgspec.Struct, frozen=True):
    """
    What was reported of the debits of an account that their states do not show.

    Attributes:
        dispute: Whether that one is disputed.
        collection: Whether that one which failed or was charged back is collected after all.
    """

    dispute: bool
    collection: bool


async def of_refunds(conn: Connection, attempt_ids: Sequence[int], *, now: datetime) -> dict[int, Reported]:
    """
    What was reported of some debits that their state does not show.

    Args:
        conn: Any connection; to decide about a refund, the transaction that holds the debit.
        attempt_ids: The debits.

    Returns:
        One for each.
    """
    if not attempt_ids:
        return {}
    open_kinds = await differences.holding(conn, attempt_ids)
    approved = await gateway_refunds.holding(conn, attempt_ids)
    cursor = await conn.execute(_SQL["refunds_held"], {"attempt_ids": list(attempt_ids), "now": now, **_RULE})
    return {
        row_id: Reported(
            dispute=dispute,
            returned=returned or approved.get(row_id) is False,
            failed=failed,
            gateway_refund=approved.get(row_id, False),
            difference=open_kinds.get(row_id),
        )
        for row_id, dispute, returned, failed in await cursor.fetchall()
    }


async def accounts_held(
    conn: Connection, fingerprints: Sequence[bytes], *, now: datetime
) -> dict[bytes, HeldAccount]:
    """The accounts, by fingerprint, of which a report about a debit waits to be processed; others are excluded."""
    wanted = sorted({fingerprint for fingerprint in fingerprints if fingerprint})
    if not wanted:
        return {}
    cursor = await conn.execute(
        _SQL["accounts_held"], {"fingerprints": wanted, "now": now, **_RULE}, binary=True
    )
    return {
        bytes(fingerprint): HeldAccount(dispute, collection)
        for fingerprint, dispute, collection in await cursor.fetchall()
    }
