"""Revoke mandates that a debtor's bank says do not exist."""

from collections.abc import Sequence
from datetime import datetime

from tether_stores.postgres import Connection
from tether_stores.recurring import changes, mandates
from tether_stores.telemetry import logger

__all__ = ["revoke"]

_log = logger("recurring")


async def revoke(conn: Connection, attempt_ids: Sequence[int], *, now: datetime) -> int:
    """
    Revoke the mandates of debits that came back for want of a mandate, and end their schedules.

    Args:
        conn: The transaction that handles the returns.
        attempt_ids: The debits.

    Returns:
        How many mandates were revoked.
    """
    if not attempt_ids:
        return 0
    ended = await mandates.lock_of_returns(conn, attempt_ids)
    await changes.end_mandates(
        conn,
        ended,
        "returned without a mandate",
        reason="A debit came back with MD01: the debtor's bank knows no mandate.",
        code="mandate_revoked",
        now=now,
    )
    if ended:
        _log.warning("mandates revoked", mandates=len(ended))
    return len(ended)
