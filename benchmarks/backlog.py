"""Create a backlog of stored notifications, as after a worker outage, and measure the time to apply it."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from tether_core.emp.notification import FORM, decode
from tether_core.jobs import WEBHOOKS
from tether_core.notifications.identity import identify
from tether_stores.jobs.queue import open_wake_up_queue, wake
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import connection, open_pool

from benchmarks import database
from benchmarks.database import PRODUCT
from benchmarks.environment import Environment, cpu_s
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["Drained", "drained", "resolved", "waiting", "written"]

_CHUNK = 2_000
_POLL_S = 0.05
# A worker that applies less than this many a second is given up on.
_PER_S_MIN = 100


class Drained(msgspec.Struct, frozen=True):
    """
    How a backlog went down.

    Attributes:
        rows: That waited.
        lasted_s: From the time the worker worked until none waited.
        left: What still waited when patience was over, 0 normally.
        cost_us: CPU microseconds per row, by program.
        course: Seconds since the start, and how many waited then.
    """

    rows: int
    lasted_s: float
    left: int
    cost_us: dict[str, float]
    course: list[tuple[float, int]]

    @property
    def per_s(self) -> float:
        """Rows applied per second."""
        return (self.rows - self.left) / self.lasted_s


def written(environment: Environment, rows: int, *, number: int) -> None:
    """
    Put notifications into the inbox by the product's own insert, and ring on every slot, as the web nodes would have.

    Args:
        environment: Without a worker.
        rows: How many; each is of a payment that exists.
        number: The seed.
    """
    # One delivery in twenty is a repeat and adds no row.
    attempts = environment.seeded(int(rows / PER_ATTEMPT * 1.1) + 10, number=number)
    asyncio.run(_written(environment, notifications(attempts, number=number), rows))


def drained(environment: Environment) -> Drained:
    """
    Start one worker process, and time it until nothing waits any more.

    Args:
        environment: With a backlog and without a worker.

    Returns:
        How it went.
    """
    rows = waiting(environment)
    worker = environment.start_worker("webhooks")
    programs = {"worker": worker.pid, **environment.stores}
    before = {name: cpu_s(pid) for name, pid in programs.items()}
    began = time.monotonic()
    course = [(0.0, rows)]
    try:
        left = rows
        while left and time.monotonic() - began < 30 + rows / _PER_S_MIN:
            # Counting costs more the more there is to count, so not all the time at the beginning.
            time.sleep(1.0 if left > 20_000 else _POLL_S)
            left = waiting(environment)
            course.append((time.monotonic() - began, left))
        cost = {name: (cpu_s(pid) - before[name]) * 1e6 / max(rows, 1) for name, pid in programs.items()}
    finally:
        worker.kill()
    return Drained(rows, course[-1][0], left, cost, course)


def waiting(environment: Environment) -> int:
    """How many notifications are due and not applied."""
    return int(database.ask(environment, PRODUCT["waiting"], now=datetime.now(UTC))[0][0])


def resolved(environment: Environment, *, patience_s: float = 30.0) -> bool:
    """Wait until nothing waits, for a while; whether that came."""
    until = time.monotonic() + patience_s
    while waiting(environment):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


async def _written(environment: Environment, bodies: Iterable[bytes], rows: int) -> None:
    left = rows
    async with (
        open_pool(environment.environ["DATABASE_URL"], name="bench", max_size=1) as pool,
        open_wake_up_queue(environment.environ["REDIS_URL"], queue=WEBHOOKS.queue) as wake_up_queue,
        connection(pool) as conn,
    ):
        chunk: dict[bytes, Recording] = {}
        for body in bodies:
            recording = _recording(body)
            chunk[recording.key] = recording
            if len(chunk) == min(_CHUNK, left):
                await webhook_events.record(conn, list(chunk.values()), now=datetime.now(UTC))
                left -= len(chunk)
                chunk.clear()
                if not left:
                    break
        assert not left, "there were fewer notifications than rows asked for"
        for slot in range(WEBHOOKS.slots):
            await wake(wake_up_queue, WEBHOOKS, slot=slot)


def _recording(body: bytes) -> Recording:
    notification = decode(body, content_type=FORM)
    same = identify(notification, account="default")
    return Recording(
        key=same.key,
        content=same.content,
        account="default",
        kind=notification.kind,
        notification_id=notification.id,
        status=notification.status,
        event=notification.event or "",
        content_type=FORM,
        body=body,
    )
