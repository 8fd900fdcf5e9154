"""Announcing excess deliveries: once for each payment, key or account of which more came than is kept."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from tether_core.events import ExcessDelivered
from tether_stores import events
from tether_stores.notifications import excess_deliveries
from tether_stores.postgres import Pool, transaction
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["announce_excess"]

# A flood of many keys is announced in portions.
_BATCH_MAX: Final = 100

_log = logger("excess")


def announce_excess(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Announce each notification that has excess deliveries, once, as an event and in the log."""

    async def announce() -> None:
        now = clock()
        async with transaction(pool) as conn:
            found = await excess_deliveries.take_unannounced(conn, limit=_BATCH_MAX, now=now)
            facts = [
                (
                    excess.webhook_event_id,
                    ExcessDelivered(excess.kind, excess.deliveries),
                )
                for excess in found
            ]
            await events.append(conn, facts, now=now)
        for excess in found:
            _log.warning(
                "excess deliveries counted",
                webhook_event_id=excess.webhook_event_id,
                account=excess.account,
                deliveries=excess.deliveries,
            )

    return PeriodicTask("announce_excess", 10, announce)
