"""
The current time, the same on all nodes: that of Postgres' clock, not of the node's own.

Leases and waits are times that one node writes and another reads. If each node used its own clock, a node that is minutes ahead would take
over leases that are still held, and would accept the gateway's "not found" while the debit is still in flight. So a node compares its clock
with Postgres' at its start and every few seconds, and corrects its time by the difference. Before the first comparison the clock raises
`StoreUnreachable`.

>>> from datetime import UTC, timedelta
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> clock = SharedClock(lambda: noon)
>>> clock()
Traceback (most recent call last):
    ...
tether_core.errors.StoreUnreachable: Postgres is not reachable (the time was not read yet); ...
>>> clock.compared(noon - timedelta(seconds=3), inquired_at=noon, heard_at=noon)
>>> clock().isoformat(), clock.ahead_s
('2026-03-02T11:59:57+00:00', 3.0)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from tether_core.clock_steps import ClockStep, ClockWatch, Sample, observe
from tether_core.errors import StoreUnreachable, Unavailable

from tether_stores.boot_clock import BootClock
from tether_stores.postgres import Connection, Pool, connection
from tether_stores.queries import load
from tether_stores.telemetry import logger

__all__ = ["SharedClock", "timestamp"]

_SQL: Final = load("clock")
# What a question and its answer may take; a smaller difference says nothing, and its correction would only be noise.
_NOISE: Final = timedelta(seconds=0.5)
# A clock that steps is noticed after this long, well within any lease.
_EVERY_S: Final = 2.0
# How long a start waits for the first comparison, and an end for the last.
_FIRST_S: Final = 3.0
_LEAVE_S: Final = 0.5
# From here on a person should set the machine's clock right.
_WRONG: Final = timedelta(seconds=5)
# From here on one of the two clocks is wrong about the day for a part of it, and nobody knows which.
_OTHER_DAY: Final = timedelta(hours=1)

_log = logger("clock")


async def timestamp(conn: Connection) -> datetime:
    """Give the current time by Postgres, for a command that needs one and is over after it."""
    row = await (await conn.execute(_SQL["now"])).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


class SharedClock:
    """A clock that gives the time by Postgres, made of the machine's own and its difference."""

    def __init__(
        self,
        own: Callable[[], datetime],
        *,
        boot: BootClock | None = None,
        on_step: Callable[[ClockStep], None] = lambda _: None,
    ) -> None:
        """
        Make a clock that was not compared yet.

        Args:
            own: Returns this machine's time, aware, UTC.
            boot: The boot clock, to detect steps of either clock; with it, the time does not follow a step of this machine's clock even until
            the next comparison. `None` for no detection.
            on_step: Called with each step that is noticed.
        """
        self._own = own
        self._ahead: timedelta | None = None
        self._boot = boot
        self._on_step = on_step
        self._watch = ClockWatch()
        self._base: tuple[float, datetime] | None = None  # the boot clock, and the time by Postgres then

    def __call__(self) -> datetime:
        """
        Return the current time.

        Raises:
            StoreUnreachable: before the clock was compared for the first time.
        """
        if self._ahead is None:
            raise StoreUnreachable("postgres", why="the time was not read yet")
        if self._boot is not None and self._base is not None:
            return self._at(self._boot.seconds())
        return self._own() - self._ahead

    @property
    def stepped_s(self) -> float | None:
        """When a clock was last seen to step, on the boot clock in seconds; `None` for never."""
        return self._watch.stepped_s

    @property
    def ahead_s(self) -> float:
        """By how many seconds this machine's clock is ahead of Postgres'; below 0 when it is behind."""
        return (self._ahead or timedelta(0)).total_seconds()

    @property
    def is_day_known(self) -> bool:
        """
        Whether this machine and Postgres agree on the time within an hour.

        Where they do not, what a due date makes waits: debits of next month cannot be taken back when the clock is set right.
        """
        return self._ahead is not None and abs(self._ahead) < _OTHER_DAY

    @asynccontextmanager
    async def kept(self, pool: Pool) -> AsyncIterator[None]:
        """
        Compare it now and then, for the length of a block; it begins once the first comparison is made, or will not come soon.

        Yields:
            Nothing.
        """
        over, compared = asyncio.Event(), asyncio.Event()

        async def keep() -> None:
            while not over.is_set():
                try:
                    await self.compare(pool)
                    if self._ahead is not None:
                        compared.set()
                except Unavailable:
                    pass  # the caller that needs Postgres reports it; the next comparison may succeed
                except Exception as exc:  # noqa: BLE001 - without this task no wrong clock would ever be noticed
                    _log.error("clock not compared", exc_info=exc)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _EVERY_S)

        keeping = asyncio.create_task(keep())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(compared.wait(), _FIRST_S)
            yield
        finally:
            # Signalled and not cancelled, as a cancellation can be lost in the pool; a hanging task does not block the exit.
            over.set()
            await asyncio.wait([keeping], timeout=_LEAVE_S)
            keeping.cancel()

    async def compare(self, pool: Pool) -> None:
        """
        Read the time from Postgres.

        Raises:
            StoreUnreachable: when it does not say.
        """
        boot_s = self._boot.seconds if self._boot is not None else lambda: 0.0
        async with connection(pool) as conn:
            inquired_at, inquired_s = self._own(), boot_s()
            theirs = await timestamp(conn)
            heard_at, heard_s = self._own(), boot_s()
        if self._boot is not None:
            self._observe(theirs, heard_at=heard_at, heard_s=heard_s, took_s=heard_s - inquired_s)
        self.compared(theirs, inquired_at=inquired_at, heard_at=heard_at)

    def _observe(self, theirs: datetime, *, heard_at: datetime, heard_s: float, took_s: float) -> None:
        """Look for steps, and go on from Postgres's clock; a slow answer says too little of it."""
        prompt = took_s <= _NOISE.total_seconds()
        postgres_at = theirs + timedelta(seconds=took_s / 2)
        self._watch, steps = observe(
            self._watch, Sample(heard_s, machine_at=heard_at, postgres_at=postgres_at if prompt else None)
        )
        for step in steps:
            _log.error("clock stepped", clock=step.clock, by_s=step.by_s)
            self._on_step(step)
        if not prompt:
            return
        if self._base is None or abs(self._at(heard_s) - postgres_at) > _NOISE:
            self._base = heard_s, postgres_at

    def _at(self, boot_s: float) -> datetime:
        assert self._base is not None
        then_s, then = self._base
        return then + timedelta(seconds=boot_s - then_s)

    def compared(self, theirs: datetime, *, inquired_at: datetime, heard_at: datetime) -> None:
        """
        Take the difference in.

        Args:
            theirs: The time that Postgres gave.
            inquired_at: The time of the question, by this machine.
            heard_at: The time of the answer, by this machine.
        """
        if heard_at - inquired_at > _NOISE:
            return  # a slow answer says too little, the first one too; there will be a better one
        ahead = inquired_at + (heard_at - inquired_at) / 2 - theirs
        if abs(ahead) <= _NOISE:
            ahead = timedelta(0)
        if abs(ahead) > _WRONG and (self._ahead is None or abs(self._ahead) <= _WRONG):
            _log.error(
                "clock of this machine wrong; using the clock of Postgres",
                ahead_s=round(ahead.total_seconds(), 1),
            )
        self._ahead = ahead
