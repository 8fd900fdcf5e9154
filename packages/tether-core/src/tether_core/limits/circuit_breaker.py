"""
Circuit breaker: stops calling a gateway that fails, and tries again later.

A plain value like the bucket of `tether_core.limits.rate_limit`, on the same clock.

```text
 closed ──── too many failures in the window ────► open ──── time is up ────► half_open
    ▲                                               ▲                          │    │
    │                                               └──── a probe failed ──────┘    │
    └──────────────── enough probes in a row went well ─────────────────────────────┘
```

The window is two halves, the current and the previous one; both are counted. While half open, one call at a time is let through as a
probe; a probe without a report is given up after `BreakerPolicy.probe_timeout_s`. Every change of state starts a new generation, and a
report from an older generation is ignored: calls that were under way when the breaker opened neither close it nor keep it open.

>>> breaker, permit = admit(Breaker(), now_s=0.0)
>>> for _ in range(20):
...     breaker = report(breaker, permit, failed=True, now_s=1.0)
>>> breaker.state, admit(breaker, now_s=2.0)[1].go
('open', False)
"""

import math
from typing import Final, Literal

import msgspec

__all__ = ["TRANSITIONS", "Breaker", "BreakerPolicy", "BreakerState", "Permit", "admit", "report"]

BreakerState = Literal["closed", "open", "half_open"]
_Cause = Literal["too many failures", "time is up", "probe failed", "probes went well"]

# state x cause -> state
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
        calls_min: With fewer calls in the window it stays closed.
        failure_share: Open at this share of failures, above 0 and at most 1.
        open_s: How long no call is made after it opened first.
        open_max_s: It doubles with each failed probe, up to this.
        probe_timeout_s: A probe without a report is given up after this; longer than any call may last.
        probes_to_close: Probes in a row that must succeed before it closes.
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
    The state of the breaker; `Breaker()` is the initial state.

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
    The result of `admit`; pass it to `report` when the call has ended.

    Attributes:
        go: Whether to call.
        generation: The breaker's at that time.
        wait_s: Seconds until the next `admit` may succeed, where *go* is false.
    """

    go: bool
    generation: int
    wait_s: float = 0.0


_DEFAULT: Final = BreakerPolicy()


def admit(breaker: Breaker, *, now_s: float, policy: BreakerPolicy = _DEFAULT) -> tuple[Breaker, Permit]:
    """
    Decide whether a call may be made.

    Args:
        breaker: The state; shared by all callers of the gateway.
        now_s: By the clock that all callers share.
        policy: When to open and close.

    Returns:
        The state to keep, and the permit.
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
    Record how a call ended.

    Args:
        breaker: The current state.
        permit: Under which the call was made.
        failed: Whether the gateway was at fault: silent, 5xx, unreadable. A refusal is an answer and no failure.
            `None` for a call that was not made, or has no information about the gateway: it releases a probe and is not counted.
        now_s: By the clock that all callers share.
        policy: When to open and close.

    Returns:
        The state to keep; unchanged where the call is from an older generation.
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
    """Change the state by `TRANSITIONS` and reset the fields of the old state."""
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
