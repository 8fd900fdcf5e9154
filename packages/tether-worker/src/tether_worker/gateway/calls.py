"""Publishing what the gateway client counts, so that /metrics of any web node shows it for all workers."""

from collections import Counter
from typing import Final

from tether_stores import gateway_calls
from tether_stores.gateway_calls import CallCounts
from tether_stores.redis import Redis

from tether_worker.gateway.clients import Gateways
from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["publish_calls"]

_EVERY_S: Final = 5.0


def publish_calls(gateways: Gateways, cache: Redis) -> PeriodicTask:
    """
    Add what this process has counted to what all workers have.

    Args:
        gateways: Whose calls.

    Returns:
        The periodic task; what it could not add, it adds the next time.
    """
    published: dict[str, tuple[Counter[str], Counter[str]]] = {}

    async def publish() -> None:
        counted = {
            account: (Counter[str](calls.replaced), Counter(calls.not_submitted))
            for account, calls in gateways.calls.items()
        }
        none = (Counter[str](), Counter[str]())
        fresh: dict[str, CallCounts] = {}
        for account, now in counted.items():
            replaced, not_submitted = (a - b for a, b in zip(now, published.get(account, none), strict=True))
            if replaced or not_submitted:
                fresh[account] = CallCounts(replaced, not_submitted)
        if fresh:
            await gateway_calls.add(cache, fresh)
            published.update(counted)

    return PeriodicTask("publish_calls", _EVERY_S, publish)
