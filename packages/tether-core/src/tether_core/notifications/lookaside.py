"""
Look-aside: whether Redis is queried for known notifications before Postgres.

Postgres recognises a repeat when the row is inserted. A query of Redis saves that insert where the notification is a repeat, and costs
a round trip where it is new. So Redis is used only while repeats are frequent, or while Postgres is slow. The share of repeats and the
time of a commit are measured as moving averages over the last few hundred deliveries; two thresholds each keep the choice from
swinging.

The thresholds are estimates: a query of Redis must save more inserts than the round trips it adds, and no benchmark of both modes has
set them yet.

>>> calm = Traffic()
>>> calm.uses_redis
False
>>> busy = observed(calm, deliveries=2000, repeats=1200, commit_s=0.002)
>>> busy.uses_redis, observed(busy, deliveries=2000, repeats=100, commit_s=0.002).uses_redis
(True, False)
>>> observed(calm, deliveries=1, repeats=0, commit_s=2.0).uses_redis
True
"""

from typing import Final

import msgspec

__all__ = ["LookasidePolicy", "Traffic", "observed"]


class LookasidePolicy(msgspec.Struct, frozen=True):
    """
    When Redis is queried.

    Attributes:
        repeats_on: Share of repeats, 0.0 to 1.0, from which Redis is queried.
        repeats_off: Share below which it is no longer queried, unless Postgres is slow.
        commit_on_s: Seconds of a commit from which Postgres counts as slow.
        commit_off_s: Seconds below which it no longer does.
        deliveries: How many of the latest deliveries count, roughly.
        commits: How many of the latest commits count, roughly.
    """

    repeats_on: float = 0.35
    repeats_off: float = 0.25
    commit_on_s: float = 0.05
    commit_off_s: float = 0.02
    deliveries: int = 500
    commits: int = 10


class Traffic(msgspec.Struct, frozen=True):
    """
    Moving averages of the traffic; `Traffic()` is the initial state.

    Attributes:
        repeats: The share of repeats among deliveries that were not in this process's own memory, 0.0 to 1.0.
        commit_s: The time of a commit, in seconds.
        uses_redis: Whether Redis is queried.
    """

    repeats: float = 0.0
    commit_s: float = 0.0
    uses_redis: bool = False


_DEFAULT: Final = LookasidePolicy()


def observed(
    traffic: Traffic,
    *,
    deliveries: int,
    repeats: int,
    commit_s: float | None,
    policy: LookasidePolicy = _DEFAULT,
) -> Traffic:
    """
    Add a batch to the averages.

    Args:
        traffic: What was measured before.
        deliveries: Notifications of the batch that were not in this process's own memory, 0 or more.
        repeats: Of these, repeats, recognised by Redis or Postgres.
        commit_s: How long their commit took; `None` where none was needed. One commit has a weight of a tenth.
        policy: The thresholds.
    """
    share = traffic.repeats
    if deliveries:
        kept = (1 - 1 / policy.deliveries) ** deliveries
        share = share * kept + repeats / deliveries * (1 - kept)
    took_s = traffic.commit_s
    if commit_s is not None:
        took_s += (commit_s - took_s) / policy.commits
    if traffic.uses_redis:
        uses_redis = share >= policy.repeats_off or took_s >= policy.commit_off_s
    else:
        uses_redis = share >= policy.repeats_on or took_s >= policy.commit_on_s
    return Traffic(share, took_s, uses_redis)
