r"""
Noticing that a clock was set: a step of the machine's clock, or of Postgres's.

All nodes use the time of Postgres (`tether_stores.clock`). A clock that is set by minutes, by an operator, a time server
or a failover to another machine, ends waits and leases too early or too late. A step shows against the **boot clock**,
which nobody sets: between two samples all three clocks must have moved on by the same span.

Samples are compared with one that is up to half an hour old and not only with the one before, so that a clock that is
moved in many small steps is noticed as well. Time servers slew a clock by 500 millionths at most: 0.9 s in half an
hour for each of two machines. So two seconds are a step, and an ordinary correction is none. A paused virtual machine also shows as a step,
correctly: its boot clock did not count that time.

>>> from datetime import UTC
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> watch, steps = observe(ClockWatch(), Sample(100.0, machine_at=noon, postgres_at=noon))
>>> later = Sample(102.0, machine_at=noon + timedelta(seconds=2), postgres_at=noon + timedelta(minutes=20))
>>> watch, steps = observe(watch, later)
>>> steps, watch.stepped_s
((ClockStep(clock='postgres', by_s=1198.0),), 102.0)
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

__all__ = ["TOLERANCE_S", "WINDOW_S", "Clock", "ClockReading", "ClockStep", "ClockWatch", "Sample", "observe"]

Clock = Literal["machine", "postgres"]

TOLERANCE_S: Final = 2.0
WINDOW_S: Final = 1_800.0


class Sample(msgspec.Struct, frozen=True):
    """
    The readings of the clocks at one time.

    Attributes:
        boot_s: The boot clock, in seconds.
        machine_at: The machine's clock.
        postgres_at: Postgres's clock; `None` where it did not answer at once.
    """

    boot_s: float
    machine_at: datetime
    postgres_at: datetime | None = None


class ClockReading(msgspec.Struct, frozen=True):
    """
    One clock beside the boot clock.

    Attributes:
        boot_s: The boot clock, in seconds.
        at: The other clock.
    """

    boot_s: float
    at: datetime


class ClockStep(msgspec.Struct, frozen=True):
    """
    A step that was noticed.

    Attributes:
        clock: Whose.
        by_s: How far it was moved, in seconds; below 0 for back.
    """

    clock: Clock
    by_s: float


class ClockWatch(msgspec.Struct, frozen=True):
    """
    What is remembered from one sample to the next.

    Attributes:
        machine: What the machine's clock is compared with; `None` at first.
        postgres: What Postgres's clock is compared with; `None` at first.
        stepped_s: When a step was last noticed, on the boot clock; `None` for never.
    """

    machine: ClockReading | None = None
    postgres: ClockReading | None = None
    stepped_s: float | None = None


def observe(watch: ClockWatch, sample: Sample) -> tuple[ClockWatch, tuple[ClockStep, ...]]:
    """
    Compare a sample with what is remembered.

    Args:
        watch: From the sample before.
        sample: The clocks now.

    Returns:
        What to remember, and the steps that show, the machine's first.
    """
    machine, step = _compared("machine", watch.machine, sample.boot_s, sample.machine_at)
    steps = [step]
    postgres = watch.postgres
    if sample.postgres_at is not None:
        postgres, step = _compared("postgres", watch.postgres, sample.boot_s, sample.postgres_at)
        steps.append(step)
    noticed = tuple(step for step in steps if step is not None)
    return ClockWatch(machine, postgres, sample.boot_s if noticed else watch.stepped_s), noticed


def _compared(
    clock: Clock, reference: ClockReading | None, boot_s: float, at: datetime
) -> tuple[ClockReading, ClockStep | None]:
    now = ClockReading(boot_s, at)
    if reference is None or boot_s < reference.boot_s:
        return now, None
    span = timedelta(seconds=boot_s - reference.boot_s)
    by_s = (at - reference.at - span).total_seconds()
    if abs(by_s) > TOLERANCE_S:
        return now, ClockStep(clock, round(by_s, 3))
    return (now if boot_s - reference.boot_s >= WINDOW_S else reference), None
