"""The monitoring report: how the last hours went, and what needs a person."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from tether_client.client import Client
from tether_client.errors import NotAllowed
from tether_client.figures import Figure
from tether_client.operation import ListedQueue, StoreStatus
from tether_client.pages import PAGE_MAX, Page

__all__ = ["Monitoring", "measured"]

_LATE_S: Final = 60.0
_CONNECTIONS_SHARE: Final = 0.8
_ACTIONS_MAX: Final = 10_000


class Monitoring(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the last hours went.

    Attributes:
        from_at: From this moment on.
        to_at: Up to this one, by the clock of Tether.
        findings: What needs a person, as sentences that name the command to look with.
        queues: What waits.
        stores: What Postgres and Redis use.
        cash: Money by the day on which it moved, for the days that the hours touch.
        cohort: The return rate of the debits that were made on these days.
        actions: Actions of people and programs within the hours, by name.
    """

    from_at: datetime
    to_at: datetime
    findings: list[str]
    queues: list[ListedQueue]
    stores: StoreStatus
    cash: list[Figure]
    cohort: list[Figure]
    actions: dict[str, int]


def measured(client: Client, *, last: timedelta) -> Monitoring:
    """
    Measure the last hours.

    Args:
        last: How long back.
    """
    stores, queues = client.store_status(), client.queues()
    to_at = stores.read_at
    from_at = to_at - last
    days = {"from": from_at.date().isoformat(), "to": to_at.date().isoformat()}
    return Monitoring(
        from_at=from_at,
        to_at=to_at,
        findings=[*_readiness(client), *_queues(queues), *_stores(stores), *_open_work(client)],
        queues=queues,
        stores=stores,
        cash=client.figures("day", basis="cash", **days).groups,
        cohort=client.figures("total", **days).groups,
        actions=_actions(client, from_at),
    )


def _readiness(client: Client) -> list[str]:
    ready = client.readiness()
    found = [] if ready.ready else ["Notifications cannot be recorded. Run `tether-worker doctor`."]
    away = [name for name in ("redis", "objects") if not getattr(ready, name)]
    found += [f"{name} does not answer. Run `tether-worker doctor`." for name in away]
    return found + ([ready.refused] if ready.refused else [])


def _queues(queues: list[ListedQueue]) -> list[str]:
    found = [
        f"No worker serves queue {queue.name}; `tether workers list`."
        for queue in queues
        if not queue.workers
    ]
    found += [
        f"Queue {queue.name} is paused by {queue.paused.paused_by}: {queue.paused.reason}; `tether queues resume {queue.name}`."
        for queue in queues
        if queue.paused
    ]
    return found + [
        f"Queue {queue.name} is late: its oldest row has been due for {queue.oldest_s:,.0f} s; `tether queues list`."
        for queue in queues
        if queue.oldest_s > _LATE_S and not queue.paused
    ]


def _stores(stores: StoreStatus) -> list[str]:
    found = []
    used = stores.postgres
    if used is not None and used.connections > _CONNECTIONS_SHARE * used.connections_max:
        found.append(
            f"{used.connections} of {used.connections_max} connections of Postgres are in use; lower DATABASE_POOL_MAX or use a pooler."
        )
    if stores.redis is not None and stores.redis.evicted_keys:
        found.append(
            f"Redis has evicted {stores.redis.evicted_keys:,} keys; set maxmemory-policy noeviction."
        )
    return found


def _open_work(client: Client) -> list[str]:
    lists: tuple[tuple[str, str, Callable[..., Page[Any]], dict[str, Any]], ...] = (
        (
            "parked notifications",
            "tether notifications list --status parked",
            client.notifications,
            {"status": "parked"},
        ),
        (
            "conflicting notifications",
            "tether notifications list --status conflicting",
            client.notifications,
            {"status": "conflicting"},
        ),
        (
            "notifications that the gateway contradicts",
            "tether notifications list --status contradicted",
            client.notifications,
            {"status": "contradicted"},
        ),
        (
            "payments of unknown outcome",
            "tether payments list --status unknown",
            client.payments,
            {"status": "unknown"},
        ),
        ("open differences", "tether differences list", client.differences, {}),
        (
            "uploads with questions",
            "tether uploads list --status needs_answer",
            client.uploads,
            {"status": "needs_answer"},
        ),
        ("uploads that failed", "tether uploads list --status failed", client.uploads, {"status": "failed"}),
        ("paused runs", "tether runs list --status paused", client.runs, {"status": "paused"}),
    )
    found = []
    for what, command, listing, filters in lists:
        page = listing(limit=PAGE_MAX, **filters)
        if page.items:
            found.append(f"{len(page.items):,}{'+' if page.next else ''} {what}; `{command}`.")
    return found


def _actions(client: Client, from_at: datetime) -> dict[str, int]:
    try:
        rows = client.each(client.audit, count_max=_ACTIONS_MAX, **{"from": from_at.isoformat()})
        return dict(Counter(row.action for row in rows).most_common())
    except NotAllowed:
        return {}
