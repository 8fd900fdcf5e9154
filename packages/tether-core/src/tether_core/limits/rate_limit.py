"""
Rate limits of the gateway: a token bucket per account, shared by several uses.

A plain value: a state and a time go in, the next state and a decision come out. Times are float seconds of a monotonic clock; one
clock for all callers of one state, so where the state lives in Redis, Redis' own `TIME`. A clock that jumps back counts as stopped.

Each use of an account (billing, reconciliation) has a share with a *guaranteed* rate, which no other share can take, and a *ceiling*,
which it never exceeds. The unused part of a share goes to a common pool, from which others may take up to their own ceilings. So:

- over any span of t seconds a share gets at most `ceiling * t + burst`;
- all shares together get at most `sum of guaranteed * t + bursts`;
- a share that takes at least every `burst_s` gets at least `guaranteed * t - 1`, independent of the others.

Every level starts empty, so a lost state grants nothing extra.

Where the gateway asks for fewer requests, all rates are multiplied by one factor, see `tether_core.limits.throttle`.

The arithmetic, which `tether_stores/lua/take.lua` repeats; capacity(rate) = 1 + rate * burst_s:

```text
passed = max(0, now - at); at = max(at, now)
each share:  filled  = own + guaranteed * passed
             own     = min(filled, capacity(guaranteed));  spilled += filled - own
             ceiling = min(ceiling + ceiling_rate * passed, capacity(ceiling_rate))
pool    = min(pool + spilled, capacity(sum of guaranteed))
granted = min(wanted, floor(min(ceiling, own + pool) + 1e-9))
ceiling -= granted;  from_own = min(own, granted);  own -= from_own;  pool = max(0, pool - (granted - from_own))
```

>>> shared = limits({"billing": 50, "reconciliation": 20}, total_per_s=50)
>>> bucket = empty(shared, now_s=0.0)
>>> bucket, grant = take(bucket, share="billing", wanted=100, now_s=0.1, shares=shared)
>>> grant.granted, round(grant.wait_s, 3)
(3, 0.012)
>>> take(bucket, share="lending", wanted=1, now_s=0.1, shares=shared)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: share: There is no share called lending.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.limits.throttle import Throttle, part
from tether_core.limits.throttle import wait_s as pause_s

__all__ = ["Bucket", "Grant", "Level", "Limits", "Share", "divided", "empty", "limits", "scaled", "take"]

# A level that should be whole may miss it by the last bits of a float; without this, a caller would wait for
# nothing. It is worth less than a call in a billion.
_WHOLE_ENOUGH: Final = 1e-9
_WHOLE_RATE: Final = Throttle()


class Share(msgspec.Struct, frozen=True):
    """
    One use of an account's rate.

    Attributes:
        name: E.g. "billing".
        guaranteed_per_s: Calls a second that nobody else can take.
        ceiling_per_s: Calls a second never exceeded, at least the guaranteed.
    """

    name: str
    guaranteed_per_s: float
    ceiling_per_s: float


class Limits(msgspec.Struct, frozen=True):
    """
    The rates of one account.

    Attributes:
        shares: Its uses, in a fixed order.
        burst_s: How many seconds' worth of calls may come at once, beyond the first.
    """

    shares: tuple[Share, ...]
    burst_s: float


class Level(msgspec.Struct, frozen=True):
    """
    The calls that one share may make now.

    Attributes:
        own: Calls left of the guaranteed rate.
        ceiling: Calls left below the ceiling.
    """

    own: float = 0.0
    ceiling: float = 0.0


class Bucket(msgspec.Struct, frozen=True):
    """
    The calls that an account may make now.

    Attributes:
        at_s: The time of the levels.
        levels: One for each share, in the order of `Limits.shares`.
        pool: Calls that shares left unused.
    """

    at_s: float
    levels: tuple[Level, ...]
    pool: float = 0.0


class Grant(msgspec.Struct, frozen=True):
    """
    The result of `take`.

    Attributes:
        granted: How many calls may be made now, 0 to the number wanted.
        wait_s: Seconds until the next call may be granted, if nobody else takes it; 0.0 where all were granted.
    """

    granted: int
    wait_s: float


def limits(
    rates_per_s: Mapping[str, float], *, total_per_s: float | None = None, burst_s: float = 0.1
) -> Limits:
    """
    The rates of an account whose uses are limited each and together.

    Args:
        rates_per_s: Each share's own limit in calls a second, above 0.
        total_per_s: The limit of all together; `None` for their sum. Where it is less than the sum, each share is
            guaranteed its part in proportion, and may borrow up to its own limit what the others leave.
        burst_s: Seconds' worth of calls that may come at once, plus one. A tenth of a second keeps any span of 10 s
            within 2 % of a rate of 50, and still lets a worker take its calls five at a time.

    Returns:
        The rates.

    Raises:
        InvalidRequest: when a rate or the burst is not above 0, or there is no share.

    >>> [share.guaranteed_per_s for share in limits({"billing": 60, "reconciliation": 20}, total_per_s=40).shares]
    [30.0, 10.0]
    """
    numbers = (*rates_per_s.values(), burst_s, 1.0 if total_per_s is None else total_per_s)
    if not rates_per_s or not all(0 < number < math.inf for number in numbers):
        raise InvalidRequest("a limit is a number of calls a second above 0; there is no unlimited")
    wanted = sum(rates_per_s.values())
    part = 1.0 if total_per_s is None else min(1.0, total_per_s / wanted)
    return Limits(tuple(Share(name, rate * part, rate) for name, rate in rates_per_s.items()), burst_s)


def divided(shares: Limits, *, by: int) -> Limits:
    """
    Divide the limits among nodes, for when the shared state cannot be reached.

    Args:
        shares: The account's limits.
        by: How many nodes may be calling, 1 or more.

    Returns:
        The same shares with an even part of each rate: all nodes together stay within the whole.

    Raises:
        InvalidRequest: when *by* is below 1.
    """
    if by < 1:
        raise InvalidRequest("at least one node is calling", field="by")
    parts = (Share(s.name, s.guaranteed_per_s / by, s.ceiling_per_s / by) for s in shares.shares)
    return Limits(tuple(parts), shares.burst_s)


def scaled(shares: Limits, *, part: float) -> Limits:
    """
    Scale all rates by a factor, such as `tether_core.limits.throttle.part`.

    Args:
        shares: The account's limits.
        part: 0.0 to 1.0; with 0.0 nothing is granted.

    Returns:
        The same shares with this part of each rate.
    """
    parts = (Share(s.name, s.guaranteed_per_s * part, s.ceiling_per_s * part) for s in shares.shares)
    return Limits(tuple(parts), shares.burst_s)


def empty(shares: Limits, *, now_s: float) -> Bucket:
    """Return the initial state for *shares* at *now_s*: a bucket of empty levels."""
    return Bucket(now_s, tuple(Level() for _ in shares.shares))


def take(
    bucket: Bucket,
    *,
    share: str,
    wanted: int,
    now_s: float,
    shares: Limits,
    throttle: Throttle = _WHOLE_RATE,
) -> tuple[Bucket, Grant]:
    """
    Take calls from the bucket.

    Args:
        bucket: The state; shared by all callers of the account.
        share: The name of the use.
        wanted: How many calls would be made at once, 1 or more; fewer may be granted.
        now_s: By the clock that all callers share.
        shares: The account's limits.
        throttle: The part of the limits that may be used.

    Returns:
        The state to keep, whether or not anything was granted, and the grant.

    Raises:
        InvalidRequest: when there is no such share.
    """
    place = next((place for place, known in enumerate(shares.shares) if known.name == share), None)
    if place is None:
        raise InvalidRequest(f"there is no share called {share}", field="share")
    now_part = part(throttle, now_s=now_s)
    shares = scaled(shares, part=now_part)
    bucket = _refilled(bucket, now_s=now_s, shares=shares)
    if not now_part:
        return bucket, Grant(0, pause_s(throttle, now_s=now_s))
    level = bucket.levels[place]
    granted = min(wanted, math.floor(min(level.ceiling, level.own + bucket.pool) + _WHOLE_ENOUGH))
    from_own = min(level.own, granted)
    after = Level(level.own - from_own, max(level.ceiling - granted, 0.0))
    bucket = Bucket(
        bucket.at_s,
        (*bucket.levels[:place], after, *bucket.levels[place + 1 :]),
        max(bucket.pool - (granted - from_own), 0.0),
    )
    wait_s = 0.0 if granted == wanted else _wait_s(bucket, place=place, shares=shares)
    return bucket, Grant(granted, wait_s)


def _capacity(rate_per_s: float, *, shares: Limits) -> float:
    # One more than the burst: a fraction left over from the last call must not spill while the next one is waited for.
    return 1 + rate_per_s * shares.burst_s


def _refilled(bucket: Bucket, *, now_s: float, shares: Limits) -> Bucket:
    passed_s = max(0.0, now_s - bucket.at_s)
    spilled = 0.0
    levels = list[Level]()
    for share, level in zip(shares.shares, bucket.levels, strict=True):
        filled = level.own + share.guaranteed_per_s * passed_s
        own = min(filled, _capacity(share.guaranteed_per_s, shares=shares))
        spilled += filled - own
        ceiling = level.ceiling + share.ceiling_per_s * passed_s
        levels.append(Level(own, min(ceiling, _capacity(share.ceiling_per_s, shares=shares))))
    total_per_s = sum(share.guaranteed_per_s for share in shares.shares)
    pool = min(bucket.pool + spilled, _capacity(total_per_s, shares=shares))
    return Bucket(max(bucket.at_s, now_s), tuple(levels), pool)


def _wait_s(bucket: Bucket, *, place: int, shares: Limits) -> float:
    """Seconds until one more call may be granted, were every other share to stay as it is."""
    share, level = shares.shares[place], bucket.levels[place]
    growth_per_s = share.guaranteed_per_s + sum(
        other.guaranteed_per_s
        for index, (other, its) in enumerate(zip(shares.shares, bucket.levels, strict=True))
        if index != place and its.own >= _capacity(other.guaranteed_per_s, shares=shares)
    )
    for_ceiling_s = (1 - level.ceiling) / share.ceiling_per_s
    for_tokens_s = (1 - level.own - bucket.pool) / growth_per_s
    return max(for_ceiling_s, for_tokens_s, 0.0)
