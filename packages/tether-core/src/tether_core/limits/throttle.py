"""
The throttle: after HTTP 429 all workers of the account call the gateway more slowly.

The gateway publishes no rate, and may lower it at any time: it then answers HTTP 429, with or without `Retry-After`. A
throttle is a plain value beside the bucket of `tether_core.limits.rate_limit`: a part of the account's rate, and a time before which
nothing is called. It uses the congestion control of networks (additive increase, multiplicative decrease):

- a 429 halves the part, once per pause: calls that were in flight when it began return the same;
- no call is made for the time that the gateway names; where it names no time, for a wait that grows as the part shrinks; never for longer
  than `pause_max_s`;
- afterwards the part grows linearly, so that it is complete after at most `recover_s`.

The part never falls below `part_min`, so each debit is submitted at some time. Times are seconds of one clock for all
callers of one throttle, as for the bucket.

Source: RFC 6585 section 4 (429), RFC 9110 section 10.2.3 (Retry-After).

>>> throttle = lowered(Throttle(), requested_s=2.0, now_s=100.0)
>>> part(throttle, now_s=101.0), part(throttle, now_s=102.0), part(throttle, now_s=402.0)
(0.0, 0.5, 1.0)
>>> lowered(throttle, requested_s=0.0, now_s=100.5) == throttle
True
>>> lowered(throttle, requested_s=0.0, now_s=102.0).part
0.25
"""

from typing import Final

import msgspec

__all__ = ["Throttle", "ThrottlePolicy", "lowered", "part", "wait_s"]


class ThrottlePolicy(msgspec.Struct, frozen=True):
    """
    How far and for how long a rate is lowered.

    Attributes:
        cut: What is left of the part after a request for fewer requests.
        part_min: The smallest part. At 50 calls a second it leaves nearly one.
        pause_s: The pause at the whole rate where the gateway names none; it grows as the part shrinks, to 16 s at the smallest.
        pause_max_s: The longest pause.
        recover_s: From nothing to the whole rate, in seconds. Ten minutes find a new rate with few refusals: each time
            the part has grown too far costs the calls that are under way then.
    """

    cut: float = 0.5
    part_min: float = 1 / 64
    pause_s: float = 0.25
    pause_max_s: float = 300.0
    recover_s: float = 600.0


class Throttle(msgspec.Struct, frozen=True):
    """
    How much of an account's rate may be used; `Throttle()` for all of it.

    Attributes:
        part: The part as the pause ends, above 0 and at most 1.
        until_s: The end of the pause; the part grows from then on.
    """

    part: float = 1.0
    until_s: float = float("-inf")


_DEFAULT: Final = ThrottlePolicy()


def part(throttle: Throttle, *, now_s: float, policy: ThrottlePolicy = _DEFAULT) -> float:
    """
    The part of the rate that may be used.

    Args:
        throttle: The state; shared by all callers of the account.
        now_s: The current time.
        policy: How it recovers.

    Returns:
        0.0 during a pause, else above 0 and at most 1.0.
    """
    if wait_s(throttle, now_s=now_s, policy=policy):
        return 0.0
    return min(1.0, throttle.part + max(0.0, now_s - throttle.until_s) / policy.recover_s)


def wait_s(throttle: Throttle, *, now_s: float, policy: ThrottlePolicy = _DEFAULT) -> float:
    """
    How long the pause lasts.

    No pause is longer than `ThrottlePolicy.pause_max_s`: where one seems to be, the clock was set back, and it is over.

    Args:
        throttle: The state.
        now_s: The current time.
        policy: How long it may last.

    Returns:
        Seconds, 0.0 where there is none.
    """
    left_s = throttle.until_s - now_s
    return left_s if 0.0 < left_s <= policy.pause_max_s else 0.0


def lowered(
    throttle: Throttle, *, requested_s: float, now_s: float, policy: ThrottlePolicy = _DEFAULT
) -> Throttle:
    """
    Lower the rate after HTTP 429.

    Args:
        throttle: The state, as it is by now.
        requested_s: For how long it wants none, in seconds; 0.0 where it names no time.
        now_s: The current time.
        policy: How far to go.

    Returns:
        The state to keep.
    """
    now_part = part(throttle, now_s=now_s, policy=policy)
    if now_part <= 0.0:
        until_s = max(throttle.until_s, now_s + min(requested_s, policy.pause_max_s))
        return Throttle(throttle.part, until_s)
    lower = max(now_part * policy.cut, policy.part_min)
    pause_s = min(
        max(requested_s, policy.pause_s) if requested_s else policy.pause_s / lower, policy.pause_max_s
    )
    return Throttle(lower, now_s + pause_s)
