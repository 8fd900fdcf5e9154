"""
Counts of calls to the gateway, summed over all workers in Redis, for metrics.

A hash for each account maps what was counted to its count. After Redis was emptied the counts begin at 0, which Prometheus takes
for a restart.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from redis.exceptions import RedisError
from tether_core.errors import StoreUnreachable

from tether_stores.redis import Redis

__all__ = ["CallCounts", "add", "counts"]

_KEY: Final = "tether:calls:"
_REPLACED: Final = "replaced:"
_NOT_SUBMITTED: Final = "not_submitted:"


class CallCounts(msgspec.Struct, frozen=True):
    """
    What became of calls with an account.

    Attributes:
        replaced: Connections that were closed because a call did not end with a complete response, by how far it had come.
        not_submitted: Calls that submitted nothing, by cause.
    """

    replaced: Mapping[str, int] = {}
    not_submitted: Mapping[str, int] = {}


async def add(client: Redis, counted: Mapping[str, CallCounts]) -> None:
    """
    Add what a worker has counted.

    Args:
        client: From `open_redis`.
        counted: By account, what is new since the last time.

    Raises:
        StoreUnreachable: when Redis does not answer; nothing or everything was added.
    """
    pipeline = client.pipeline(transaction=True)
    for account, counts_ in counted.items():
        for prefix, numbers in ((_REPLACED, counts_.replaced), (_NOT_SUBMITTED, counts_.not_submitted)):
            for name, number in numbers.items():
                pipeline.hincrby(_KEY + account, prefix + name, number)
    try:
        await pipeline.execute()
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc


async def counts(client: Redis, accounts: Sequence[str]) -> list[CallCounts]:
    """
    What all workers have counted.

    Args:
        client: From `open_redis`.
        accounts: n accounts.

    Returns:
        n counts in their order.

    Raises:
        StoreUnreachable: when Redis does not answer.
    """
    pipeline = client.pipeline(transaction=False)
    for account in accounts:
        pipeline.hgetall(_KEY + account)
    try:
        found = await pipeline.execute()
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    return [_counts({name.decode(): int(number) for name, number in item.items()}) for item in found]


def _counts(numbers: Mapping[str, int]) -> CallCounts:
    of = [
        {name.removeprefix(prefix): number for name, number in numbers.items() if name.startswith(prefix)}
        for prefix in (_REPLACED, _NOT_SUBMITTED)
    ]
    return CallCounts(*of)
