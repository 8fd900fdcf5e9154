"""
The limits of the gateway, shared by all nodes through Redis.

The rules are those of `tether_core.limits.rate_limit`: a bucket with guaranteed shares for each account's rate, and a breaker that
stops calling a gateway that fails. Both are implemented a second time in `lua/`, because reading and updating the state must be atomic for
all nodes; a test compares the two implementations. The clock is that of Redis.

HTTP 429 lowers the rate for all nodes: `tether_core.limits.throttle`, in `lua/throttle.lua`.
Each node keeps the latest throttle and sends it with every request for calls, so that it survives a flush of Redis.

Without Redis there is still a limit. A node then uses its own small part of the rate (`nodes_max` is the number of parts), with its own
breaker, until Redis responds again. There is always a limit: after a flush the buckets of Redis begin empty, and so do those of a node that
lost Redis.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError
from tether_core.errors import InvalidRequest
from tether_core.limits import circuit_breaker, rate_limit
from tether_core.limits import throttle as throttles
from tether_core.limits.circuit_breaker import Breaker, BreakerPolicy, Permit
from tether_core.limits.rate_limit import Bucket, Grant, Limits
from tether_core.limits.throttle import Throttle, ThrottlePolicy

from tether_stores.queries import read_lua
from tether_stores.redis import Redis
from tether_stores.telemetry import logger

__all__ = ["LimitStatus", "Limiter", "limit_status"]

_log = logger("limits")

_BUCKET: Final = "tether:bucket:"
_BREAKER: Final = "tether:breaker:"
_THROTTLE: Final = "tether:throttle:"
# Longer than every pause that a state holds; a state that is lost grants nothing extra.
_KEEP_MS: Final = 86_400_000
# After a failure Redis is not called for this long, so that its timeouts do not add up.
_REDIS_PAUSE_S: Final = 3.0

_DEFAULT: Final = BreakerPolicy()
_THROTTLES: Final = ThrottlePolicy()
_WHOLE: Final = Throttle()


class LimitStatus(msgspec.Struct, frozen=True):
    """
    The current limits of an account, for display.

    Attributes:
        account: The account.
        breaker: "closed", "open" or "half_open"; "unknown" while Redis is unavailable.
        calls: Calls that ended recently, while it is closed.
        failures: Of these, failed.
        open_for_s: While it is open: seconds until the next probe; 0.0 otherwise.
        opened_in_row: Times it opened since it was last closed.
        left: Calls that could be made at once, by place of the share and in the common pool last; empty without recent calls.
        rate_part: The part of its rate that may be used after HTTP 429; 1.0 for all of it, 0.0 during a pause.
        paused_for_s: Seconds to the end of a pause that the gateway requested.
    """

    account: str
    breaker: str
    calls: int = 0
    failures: int = 0
    open_for_s: float = 0.0
    opened_in_row: int = 0
    left: tuple[float, ...] = ()
    rate_part: float = 1.0
    paused_for_s: float = 0.0


class Limiter:
    """The limits of one process: from Redis, or a small local share while Redis is away."""

    def __init__(
        self,
        client: Redis,
        *,
        nodes_max: int = 10,
        policy: BreakerPolicy = _DEFAULT,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """
        Register the scripts; Redis is not called before the first use.

        Args:
            client: From `open_redis`.
            nodes_max: Into how many parts a rate is divided while Redis is away; at least as many as nodes may call.
            policy: When the breaker opens and closes.
            clock_s: Seconds of a clock that only grows, for the time without Redis.
        """
        self._client = client
        self._nodes_max = nodes_max
        self._policy = policy
        self._clock_s = clock_s
        self._take = client.register_script(read_lua("take"))
        self._breaker = client.register_script(read_lua("breaker"))
        self._throttle = client.register_script(read_lua("throttle"))
        self._away_until_s = -1.0
        self._alone = False
        self._buckets: dict[str, Bucket] = {}
        self._breakers: dict[str, Breaker] = {}
        # The latest throttles, on this node's clock.
        self._throttles: dict[str, Throttle] = {}

    @property
    def alone(self) -> bool:
        """Whether this node keeps to its own small share because Redis is away."""
        return self._alone

    async def take(self, account: str, *, share: str, wanted: int, shares: Limits) -> Grant:
        """
        Request calls; see `tether_core.limits.rate_limit.take`.

        Args:
            account: Whose rate it is.
            share: For which use.
            wanted: How many calls would be made at once, 1 or more.
            shares: The account's limits, the same on all nodes.

        Returns:
            How many may be made now, and when to request again.

        Raises:
            InvalidRequest: when there is no such share.
        """
        known = self._known(account)
        arguments = _take_arguments(share=share, wanted=wanted, shares=shares, known=known)
        result = await self._evaluate(self._take, [_BUCKET + account, _THROTTLE + account], arguments)
        if result is not None:
            self._heard(account, result[2], result[3])
            return Grant(int(result[0]), float(result[1]))
        part = rate_limit.divided(shares, by=self._nodes_max)
        now_s = self._clock_s()
        bucket = self._buckets.get(account) or rate_limit.empty(part, now_s=now_s)
        self._buckets[account], grant = rate_limit.take(
            bucket,
            share=share,
            wanted=wanted,
            now_s=now_s,
            shares=part,
            throttle=self._throttles.get(account, _WHOLE),
        )
        return grant

    async def slow_down(self, account: str, *, requested_s: float) -> None:
        """
        The gateway asks for fewer requests; see `tether_core.limits.throttle.lowered`.

        Args:
            account: Whose gateway it is.
            requested_s: For how long it wants none, in seconds; 0.0 where it names no time.
        """
        before = self._throttles.get(account, _WHOLE)
        arguments = _throttle_arguments(requested_s, known=self._known(account))
        result = await self._evaluate(self._throttle, [_THROTTLE + account], arguments)
        if result is not None:
            self._heard(account, result[0], result[1])
        else:
            now_s = self._clock_s()
            self._throttles[account] = throttles.lowered(before, requested_s=requested_s, now_s=now_s)
        after = self._throttles[account]
        if after.part != before.part:
            _log.warning(
                "rate lowered",
                account=account,
                rate_part=round(after.part, 4),
                paused_for_s=round(throttles.wait_s(after, now_s=self._clock_s()), 3),
            )

    def _known(self, account: str) -> tuple[float, float] | None:
        """The part and the seconds to the end of the pause of a throttle that still lowers the rate."""
        known = self._throttles.get(account)
        if known is None:
            return None
        now_s = self._clock_s()
        if throttles.part(known, now_s=now_s) >= 1.0:
            del self._throttles[account]
            return None
        return known.part, known.until_s - now_s

    def _heard(self, account: str, part: bytes, ends_s: bytes) -> None:
        if part:
            self._throttles[account] = Throttle(float(part), self._clock_s() + float(ends_s))
        else:
            self._throttles.pop(account, None)

    async def admit(self, account: str) -> Permit:
        """
        Request a permit for one call; see `tether_core.limits.circuit_breaker.admit`.

        Args:
            account: Whose gateway it is.

        Returns:
            The permit, which `report` needs.
        """
        permit, _ = await self.admit_for(account, wanted=1)
        return permit

    async def admit_for(self, account: str, *, wanted: int) -> tuple[Permit, int]:
        """
        Request a permit for several calls at once.

        Args:
            account: Whose gateway it is.
            wanted: How many calls, 1 or more.

        Returns:
            The answer, and how many calls may be made under it: none, one as a probe, or all.
        """
        arguments = _breaker_arguments("ask", policy=self._policy)
        result = await self._evaluate(self._breaker, [_BREAKER + account], arguments)
        if result is not None:
            permit, state = (
                Permit(bool(result[0]), int(result[1]), float(result[2])),
                bytes(result[3]).decode(),
            )
        else:
            breaker, permit = circuit_breaker.admit(
                self._breakers.get(account, Breaker()), now_s=self._clock_s(), policy=self._policy
            )
            self._breakers[account], state = breaker, breaker.state
        return permit, (wanted if state == "closed" else 1) if permit.go else 0

    async def report(self, account: str, permit: Permit, *, failed: Sequence[bool | None]) -> None:
        """
        Report the results of calls that were made under one permit.

        Args:
            account: Whose gateway it is.
            permit: From `admit` or `admit_for`.
            failed: For each call, whether the gateway was at fault: no response, 5xx, unreadable; `None` where the call was not made, or its
            result is not about the gateway.
        """
        if not permit.go or not failed:
            return
        words = "".join("u" if item is None else "f" if item else "o" for item in failed)
        arguments = _breaker_arguments(words, generation=permit.generation, policy=self._policy)
        if await self._evaluate(self._breaker, [_BREAKER + account], arguments) is not None:
            return
        breaker = self._breakers.get(account, Breaker())
        for item in failed:
            now_s = self._clock_s()
            breaker = circuit_breaker.report(breaker, permit, failed=item, now_s=now_s, policy=self._policy)
        self._breakers[account] = breaker

    async def _evaluate(self, script: Any, keys: list[str], arguments: list[str]) -> list[Any] | None:
        """What Redis says, or `None` while it is away."""
        if self._clock_s() < self._away_until_s:
            return None
        try:
            values: list[Any] = await script(keys=keys, args=arguments)
        except (RedisError, OSError) as exc:
            self._away_until_s = self._clock_s() + _REDIS_PAUSE_S
            if not self._alone:
                _log.warning(
                    "redis unavailable; using a small share of the rate",
                    why=type(exc).__name__,
                    divided_by=self._nodes_max,
                )
            self._alone = True
            return None
        if self._alone:
            _log.info("redis available; the rate is shared again")
            self._alone = False
            self._buckets.clear()
            self._breakers.clear()
        return values


async def limit_status(client: Redis, accounts: Sequence[str]) -> list[LimitStatus]:
    """
    How freely accounts may be called.

    Args:
        client: From `open_redis`.
        accounts: n accounts.

    Returns:
        n standings in their order; breakers are "unknown" while Redis is unavailable.
    """
    if not accounts:
        return []
    try:
        seconds, micros = await client.time()
        values: list[Any] = await client.mget(
            [prefix + item for item in accounts for prefix in (_BREAKER, _BUCKET, _THROTTLE)]
        )
    except (RedisError, OSError):
        return [LimitStatus(account, "unknown") for account in accounts]
    now_s = seconds + micros / 1_000_000
    return [
        _limit_status(account, *values[3 * place : 3 * place + 3], now_s=now_s)
        for place, account in enumerate(accounts)
    ]


def _limit_status(
    account: str, breaker: bytes | None, bucket: bytes | None, throttle: bytes | None, *, now_s: float
) -> LimitStatus:
    lowered = Throttle(*map(float, throttle.split())) if throttle else _WHOLE
    rate_part = round(throttles.part(lowered, now_s=now_s), 4)
    paused_for_s = round(throttles.wait_s(lowered, now_s=now_s), 3)
    _, pool, *levels = [float(number) for number in (bucket or b"0 0").split()]
    left = (*(round(own, 3) for own in levels[::2]), round(pool, 3)) if bucket else ()
    if breaker is None:
        return LimitStatus(account, "closed", left=left, rate_part=rate_part, paused_for_s=paused_for_s)
    state, *numbers = breaker.decode().split()
    _, _, calls, failures, calls_before, failures_before, open_until_s, opened, _, _ = map(float, numbers)
    return LimitStatus(
        account,
        state,
        calls=int(calls + calls_before),
        failures=int(failures + failures_before),
        open_for_s=round(max(open_until_s - now_s, 0.0), 3) if state == "open" else 0.0,
        opened_in_row=int(opened),
        left=left,
        rate_part=rate_part,
        paused_for_s=paused_for_s,
    )


def _take_arguments(
    *,
    share: str,
    wanted: int,
    shares: Limits,
    known: tuple[float, float] | None = None,
    now_s: float | None = None,
) -> list[str]:
    place = next((place for place, known in enumerate(shares.shares, 1) if known.name == share), None)
    if place is None:
        raise InvalidRequest(f"there is no share called {share}", field="share")
    rates = [rate for item in shares.shares for rate in (item.guaranteed_per_s, item.ceiling_per_s)]
    now = "" if now_s is None else repr(now_s)
    return [
        str(place),
        str(wanted),
        repr(shares.burst_s),
        str(_KEEP_MS),
        now,
        repr(_THROTTLES.recover_s),
        repr(_THROTTLES.pause_max_s),
        *(("", "") if known is None else map(repr, known)),
        *map(repr, rates),
    ]


def _throttle_arguments(
    requested_s: float, *, known: tuple[float, float] | None = None, now_s: float | None = None
) -> list[str]:
    policy = _THROTTLES
    numbers = (requested_s, policy.cut, policy.part_min, policy.pause_s, policy.pause_max_s, policy.recover_s)
    result = ("", "") if known is None else map(repr, known)
    return [*map(repr, numbers), *result, "" if now_s is None else repr(now_s)]


def _breaker_arguments(
    words: str, *, policy: BreakerPolicy, generation: int = 0, now_s: float | None = None
) -> list[str]:
    numbers = (
        policy.window_s,
        policy.calls_min,
        policy.failure_share,
        policy.open_s,
        policy.open_max_s,
        policy.probe_timeout_s,
        policy.probes_to_close,
    )
    return [words, str(generation), *map(repr, numbers), str(_KEEP_MS), "" if now_s is None else repr(now_s)]
