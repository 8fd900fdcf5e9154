"""
The look-aside: whether Redis is asked for known notifications before Postgres is.

Postgres recognises a repeat by itself, when the row is inserted. Asking Redis first saves that insert where the notification is a
repeat, and costs a round trip where it is new. So Redis is asked only while repeats are frequent enough to pay, or while Postgres
is slow. What is measured is a share of repeats and the time of a commit, both weighted so that the last few hundred deliveries count;
two thresholds each keep the choice from swinging.

Source of the thresholds: a look costs about a fifth of the CPU that an insert of the same batch costs all programs together
(benchmarks/results/webhooks.md), so it pays from about one repeat in four or five upwards; it is switched on well above that.

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

__all__ = ["Policy", "Traffic", "observed"]


class Policy(msgspec.Struct, frozen=True):
    """
    When Redis is asked.

    Attributes:
        repeats_on: From this share of repeats on Redis is asked, 0.0 to 1.0.
        repeats_off: Below this share it is asked no longer, unless Postgres is slow.
        commit_on_s: From this time of a commit on Postgres is slow, in seconds.
        commit_off_s: Below it Postgres is slow no longer.
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
    What was measured lately; `Traffic()` to begin with.

    Attributes:
        repeats: The share of repeats among deliveries that this process did not know by itself, 0.0 to 1.0.
        commit_s: The time of a commit, in seconds.
        uses_redis: Whether Redis is asked.
    """

    repeats: float = 0.0
    commit_s: float = 0.0
    uses_redis: bool = False


_DEFAULT: Final = Policy()


def observed(
    traffic: Traffic,
    *,
    deliveries: int,
    repeats: int,
    commit_s: float | None,
    policy: Policy = _DEFAULT,
) -> Traffic:
    """
    Take a batch into account.

    Args:
        traffic: What was measured before.
        deliveries: Notifications of the batch that this process did not know by itself, 0 or more.
        repeats: Of these, repeats, whoever recognised them.
        commit_s: How long their commit took; `None` where none was needed. One commit in a row of quick ones counts a tenth,
            unless it is far beyond all bounds.
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
        inquiries = share >= policy.repeats_off or took_s >= policy.commit_off_s
    else:
        inquiries = share >= policy.repeats_on or took_s >= policy.commit_on_s
    return Traffic(share, took_s, inquiries)
