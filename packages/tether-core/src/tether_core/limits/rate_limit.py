"""
How fast the gateway may be called, and when not at all.

Two small machines, both plain values: a state and a time go in, the next state and a decision come out. Times
are float seconds of any clock that only grows; one clock for all callers of one state, so where the state lives
in Redis, Redis' own `TIME`. A clock that jumps back counts as standing still.

**The bucket** shares one account's rate among several uses (billing, reconciliation). Each share has a
*guaranteed* rate, which no other can take away, and a *ceiling*, which it never exceeds. What a share leaves
unused flows into a common pool, from which others may draw up to their own ceilings. So:

- over any span of t seconds a share gets at most `ceiling * t + burst`;
- all shares together get at most `sum of guaranteed * t + bursts`;
- a share that asks at least every `burst_s` gets at least `guaranteed * t - 1`, whatever the others do.

Every level starts empty, so a state that was lost and made anew grants nothing extra.

Where the gateway asks for fewer requests, all rates are multiplied by one part; see `tether_core.limits.throttle`.

The arithmetic, for whoever has to write it again (in a Redis script, say); capacity(rate) = 1 + rate * burst_s:

```text
passed = max(0, now - at); at = max(at, now)
each share:  filled  = own + guaranteed * passed
             own     = min(filled, capacity(guaranteed));  spilled += filled - own
             ceiling = min(ceiling + ceiling_rate * passed, capacity(ceiling_rate))
pool    = min(pool + spilled, capacity(sum of guaranteed))
granted = min(wanted, floor(min(ceiling, own + pool) + 1e-9))
ceiling -= granted;  from_own = min(own, granted);  own -= from_own;  pool = max(0, pool - (granted - from_own))
```

**The breaker** stops calling a gateway that fails. It is one table, `TRANSITIONS`:

```text
 closed ──── too many failures in the window ────► open ──── time is up ────► half_open
    ▲                                               ▲                          │    │
    │                                               └──── a probe failed ──────┘    │
    └──────────────── enough probes in a row went well ─────────────────────────────┘
```

The window is two halves, the current and the one before; both are counted. Half open, one call at a time is let
through as a probe; one that never reports back is given up after a while. Every change of state starts a new
generation, and a report from an older generation counts for nothing: calls that were under way when the breaker
opened neither close it nor keep it open.

>>> shared = limits({"billing": 50, "reconciliation": 20}, total_per_s=50)
>>> bucket = empty(shared, now_s=0.0)
>>> bucket, grant = take(bucket, share="billing", wanted=100, now_s=0.1, shares=shared)
>>> grant.granted, round(grant.wait_s, 3)
(3, 0.012)
>>> take(bucket, share="lending", wanted=1, now_s=0.1, shares=shared)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: share: There is no share called lending.
>>> breaker, permit = admit(Breaker(), now_s=0.0)
>>> for _ in range(20):
...     breaker = report(breaker, permit, failed=True, now_s=1.0)
>>> breaker.state, admit(breaker, now_s=2.0)[1].go
('open', False)
"""

import math
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.limits.throttle import Throttle, part
from tether_core.limits.throttle import wait_s as pause_s

__all__ = [
    "TRANSITIONS",
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "Bucket",
    "Grant",
    "Level",
    "Limits",
    "Permit",
    "Share",
    "admit",
    "divided",
    "empty",
    "limits",
    "report",
    "scaled",
    "take",
]

# A level that should be whole may miss it by the last bits of a float; without this, a caller would be told to wait
# for nothing. It is worth less than a call in a billion.
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
    What one share may call now.

    Attributes:
        own: Calls left of the guaranteed rate.
        ceiling: Calls left below the ceiling.
    """

    own: float = 0.0
    ceiling: float = 0.0


class Bucket(msgspec.Struct, frozen=True):
    """
    What an account may call now.

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
    The bucket's answer.

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
    One node's safe part of the limits, for when the shared state cannot be reached.

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
    A part of the limits, such as `tether_core.limits.throttle.part` says.

    Args:
        shares: The account's limits.
        part: 0.0 to 1.0; with 0.0 nothing is granted.

    Returns:
        The same shares with this part of each rate.
    """
    parts = (Share(s.name, s.guaranteed_per_s * part, s.ceiling_per_s * part) for s in shares.shares)
    return Limits(tuple(parts), shares.burst_s)


def empty(shares: Limits, *, now_s: float) -> Bucket:
    """
    The bucket to begin with: nothing is saved up.

    Args:
        shares: The account's limits.
        now_s: The current time.

    Returns:
        A bucket of empty levels.
    """
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
    Ask for calls.

    Args:
        bucket: The state; shared by all callers of the account.
        share: For which use.
        wanted: How many calls would be made at once, 1 or more; fewer may be granted.
        now_s: The current time, of the clock that all callers share.
        shares: The account's limits.
        throttle: How much of them may be used.

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


# --- the breaker -----------------------------------------------------------------------------------------------------

BreakerState = Literal["closed", "open", "half_open"]
_Cause = Literal["too many failures", "time is up", "probe failed", "probes went well"]

# state x cause -> state; what is not here does not exist.
TRANSITIONS: Final[dict[BreakerState, dict[_Cause, BreakerState]]] = {
    "closed": {"too many failures": "open"},
    "open": {"time is up": "half_open"},
    "half_open": {"probe failed": "open", "probes went well": "closed"},
}


class BreakerPolicy(msgspec.Struct, frozen=True):
    """
    When to stop calling, and when to try again.

    Attributes:
        window_s: Calls that ended within half to all of this span are counted.
        calls_min: Fewer of them say nothing.
        failure_share: Open at this share of failures, above 0 and at most 1.
        open_s: How long nothing is called after the first failure of trust.
        open_max_s: It doubles with each failed probe, up to this.
        probe_timeout_s: A probe without a report is given up after this; longer than any call may last.
        probes_to_close: So many probes must go well, one after another.
    """

    window_s: float = 30.0
    calls_min: int = 20
    failure_share: float = 0.5
    open_s: float = 10.0
    open_max_s: float = 120.0
    probe_timeout_s: float = 60.0
    probes_to_close: int = 3


class Breaker(msgspec.Struct, frozen=True):
    """
    How far the gateway is trusted; `Breaker()` to begin with.

    Attributes:
        state: "closed" calls go through, "open" none does, "half_open" one at a time does.
        generation: Counts the changes of state.
        half: Number of the current half window.
        calls: Calls that ended in it.
        failures: Of these, failed.
        calls_before: Calls that ended in the half before.
        failures_before: Of these, failed.
        open_until_s: While open: when to try again.
        opened_in_row: Times it opened since it was last closed.
        probe_until_s: While half open: when the probe under way is given up; 0.0 where none is.
        probes_passed: While half open: probes that went well in a row.
    """

    state: BreakerState = "closed"
    generation: int = 0
    half: int = 0
    calls: int = 0
    failures: int = 0
    calls_before: int = 0
    failures_before: int = 0
    open_until_s: float = 0.0
    opened_in_row: int = 0
    probe_until_s: float = 0.0
    probes_passed: int = 0


class Permit(msgspec.Struct, frozen=True):
    """
    The breaker's answer; it goes back with the report of how the call ended.

    Attributes:
        go: Whether to call.
        generation: The breaker's when it was asked.
        wait_s: When to ask again, in seconds, where the answer is no.
    """

    go: bool
    generation: int
    wait_s: float = 0.0


_DEFAULT: Final = BreakerPolicy()


def admit(breaker: Breaker, *, now_s: float, policy: BreakerPolicy = _DEFAULT) -> tuple[Breaker, Permit]:
    """
    Ask whether to call.

    Args:
        breaker: The state; shared by all callers of the gateway.
        now_s: The current time, of the clock that all callers share.
        policy: The operator's choices.

    Returns:
        The state to keep, and the answer.
    """
    if breaker.state == "open" and now_s >= breaker.open_until_s:
        breaker = _changed(breaker, "time is up", now_s=now_s, policy=policy)
    if breaker.state == "closed":
        return breaker, Permit(True, breaker.generation)
    until_s = breaker.open_until_s if breaker.state == "open" else breaker.probe_until_s
    if now_s < until_s:
        return breaker, Permit(False, breaker.generation, until_s - now_s)
    # Half open and no probe under way, or one that was given up: this call is the probe.
    breaker = msgspec.structs.replace(breaker, probe_until_s=now_s + policy.probe_timeout_s)
    return breaker, Permit(True, breaker.generation)


def report(
    breaker: Breaker, permit: Permit, *, failed: bool | None, now_s: float, policy: BreakerPolicy = _DEFAULT
) -> Breaker:
    """
    Tell how a call ended.

    Args:
        breaker: The state, as it is by now.
        permit: The answer under which the call was made.
        failed: Whether the gateway was at fault: silent, 5xx, unreadable. A refusal is an answer and no failure.
            `None` for a call that was not made, or says nothing of the gateway: it gives a probe back and counts for nothing.
        now_s: The current time.
        policy: The operator's choices.

    Returns:
        The state to keep; the same where the call is from an older generation.
    """
    if permit.generation != breaker.generation or not permit.go:
        return breaker
    if failed is None:
        return msgspec.structs.replace(breaker, probe_until_s=0.0)
    if breaker.state == "half_open":
        return _probed(breaker, failed=failed, now_s=now_s, policy=policy)
    breaker = _counted(breaker, failed=failed, now_s=now_s, policy=policy)
    calls = breaker.calls + breaker.calls_before
    failures = breaker.failures + breaker.failures_before
    if calls >= policy.calls_min and failures >= policy.failure_share * calls:
        return _changed(breaker, "too many failures", now_s=now_s, policy=policy)
    return breaker


def _probed(breaker: Breaker, *, failed: bool, now_s: float, policy: BreakerPolicy) -> Breaker:
    if failed:
        return _changed(breaker, "probe failed", now_s=now_s, policy=policy)
    passed = breaker.probes_passed + 1
    if passed >= policy.probes_to_close:
        return _changed(breaker, "probes went well", now_s=now_s, policy=policy)
    return msgspec.structs.replace(breaker, probes_passed=passed, probe_until_s=0.0)


def _counted(breaker: Breaker, *, failed: bool, now_s: float, policy: BreakerPolicy) -> Breaker:
    half = max(math.floor(now_s / (policy.window_s / 2)), breaker.half)
    calls, failures = breaker.calls, breaker.failures
    before = (breaker.calls_before, breaker.failures_before)
    if half > breaker.half:
        before = (calls, failures) if half == breaker.half + 1 else (0, 0)
        calls, failures = 0, 0
    return msgspec.structs.replace(
        breaker,
        half=half,
        calls=calls + 1,
        failures=failures + failed,
        calls_before=before[0],
        failures_before=before[1],
    )


def _changed(breaker: Breaker, cause: _Cause, *, now_s: float, policy: BreakerPolicy) -> Breaker:
    """Go where `TRANSITIONS` says, forgetting what belonged to the old state."""
    state = TRANSITIONS[breaker.state][cause]
    opened = breaker.opened_in_row + 1 if state == "open" else breaker.opened_in_row
    # The exponent is bounded, or a gateway down for a month would overflow it.
    open_s = min(policy.open_s * 2 ** min(opened - 1, 30), policy.open_max_s) if opened else 0.0
    return Breaker(
        state=state,
        generation=breaker.generation + 1,
        open_until_s=now_s + open_s if state == "open" else 0.0,
        opened_in_row=0 if state == "closed" else opened,
    )
