"""
Crash points: run a process that kills itself at its n-th boundary.

The boundaries are found at run time. There is one each time a task waits (every `await` that suspends: a request was sent, and
its response has not arrived) and one just before each call of Postgres, Redis, the object store or the gateway. Between two
boundaries there is only computation; a crash there has the same effect as one at the boundary before.

`doomed` keeps a process with everything imported. For each order it forks a child that does the work and dies by SIGKILL at the
given boundary, with nothing finished or flushed. Running it with 1, 2, 3 and so on until a child ends normally visits every
boundary.

    with doomed(folder) as run:
        ending = run(CrashOrder("apply", stop_at=3, environ=environment))
        assert ending.code == -signal.SIGKILL
"""

import asyncio
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal

import httpcore
import httpx
import msgspec
import obstore
import psycopg
from redis.asyncio.connection import AbstractConnection
from tether_core.emp.notification import FORM
from tether_core.spreadsheet import Rules
from tether_stores.boot_clock import BootClock
from tether_stores.jobs.queue import open_wake_up_queue
from tether_stores.limits import Limiter
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_web.app import application, served
from tether_web.notifications.inbox import Inbox
from tether_web.notifications.receive import receive_notification
from tether_worker.billing.runs import expire_leases, plan_chunk
from tether_worker.gateway.clients import open_gateways
from tether_worker.gateway.status_inquiry import InquiryDeps, clients_of, limited
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps
from tether_worker.payments.submission import submit_until
from tether_worker.reconciliation.attempts import reconcile
from tether_worker.uploads.intake import Intake, read_one
from tether_worker.uploads.reader import ReaderLimits

__all__ = ["CrashOrder", "Ending", "RunOrder", "doomed"]

# More than a few debits take.
_SEND_S: Final = 20.0


class CrashOrder(msgspec.Struct, frozen=True):
    """
    The work of a child, and where it dies.

    Attributes:
        what: "receive" notifications as a web node; "apply" them, "read" uploads or "submit" debits as a worker; "resolve"
            unknown outcomes of debits: expired leases, status inquiries, notifications; or "place" requests to the API as a
            web node: only their own boundaries count, not those of the node's start.
        stop_at: The number of the boundary at which it dies, from 1; 0 for none.
        environ: The settings of the program.
        batches: To receive: the bodies of the notifications; those of a batch arrive at the same time.
        ahead_s: How far its clock is ahead, in seconds; to resolve, how long it waits each time.
        chunk_rows: To read: rows of a chunk.
        posts: To place: path, Idempotency-Key and JSON body of each request, one after another.
    """

    what: Literal["receive", "apply", "read", "submit", "resolve", "place"]
    stop_at: int
    environ: dict[str, str]
    batches: list[list[bytes]] = []
    ahead_s: float = 0.0
    chunk_rows: int = 100
    posts: list[tuple[str, str, bytes]] = []


class Ending(msgspec.Struct, frozen=True):
    """
    The end of a child.

    Attributes:
        code: Its exit code: 0 if it ended normally, -9 if it died at the boundary.
        acknowledged: The notifications it answered 200, or the responses to placed requests, in order.
        boundaries: How many boundaries it passed.
    """

    code: int
    acknowledged: list[bytes]
    boundaries: int


RunOrder = Callable[[CrashOrder], Ending]


@contextlib.contextmanager
def doomed(folder: Path) -> Iterator[RunOrder]:
    """
    Run a process that forks children, each of which dies at a boundary.

    Args:
        folder: Empty; for the journals of the children.

    Yields:
        A function that runs an order and returns the end of the child.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tether_sandbox.chaos.crash_points", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, endings = process.stdin, process.stdout

    def run(order: CrashOrder) -> Ending:
        orders.write(msgspec.json.encode(order) + b"\n")
        orders.flush()
        return msgspec.json.decode(endings.readline(), type=Ending)

    try:
        yield run
    finally:
        orders.close()
        endings.close()
        process.wait()


class _Boundaries:
    """Counts the boundaries of a child, and kills it at the given one."""

    def __init__(self, order: CrashOrder, *, journal: Path) -> None:
        self._stop_at = order.stop_at
        self._journal = journal.open("ab", buffering=0)
        self._boundaries = 0
        self.counts = True

    def boundary(self) -> None:
        """Pass one boundary, or die at it."""
        if not self.counts:
            return
        self._boundaries += 1
        if self._boundaries == self._stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._journal.write(b"-\n")

    def acknowledge(self, body: bytes) -> None:
        """Record a response that has left the process."""
        self._journal.write(body + b"\n")


def _counted(boundaries: _Boundaries) -> None:
    """Count every call of a service in this process from now on."""

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def exchanged(*args: Any, **named: Any) -> Any:
            boundaries.boundary()
            return real(*args, **named)

        return exchanged

    for owner, name in (
        (psycopg.AsyncConnection, "wait"),  # every exchange with Postgres after the start-up
        (AbstractConnection, "send_packed_command"),
        (httpcore.AsyncHTTPConnection, "handle_async_request"),
        *((obstore, name) for name in dir(obstore) if name.endswith("_async")),
    ):
        setattr(owner, name, counting(getattr(owner, name)))


def _stepped(boundaries: _Boundaries) -> Callable[..., asyncio.Task[Any]]:
    """A task factory whose tasks pass a boundary each time they suspend."""

    @types.coroutine
    def stepped(work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(work.send, None)
        while True:
            try:
                waited = step()
            except StopIteration as ended:
                return ended.value
            boundaries.boundary()
            try:
                step = partial(work.send, (yield waited))
            except BaseException as exc:  # noqa: BLE001 - passed on to the work
                step = partial(work.throw, exc)

    async def whole(work: Coroutine[Any, Any, Any]) -> Any:
        return await stepped(work)

    def factory(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(whole(work), loop=loop, **named)

    return factory


async def _run(order: CrashOrder, boundaries: _Boundaries) -> None:
    asyncio.get_running_loop().set_task_factory(_stepped(boundaries))
    await asyncio.create_task(_execute(order, boundaries))


async def _execute(order: CrashOrder, boundaries: _Boundaries) -> None:
    settings = Settings.from_env(order.environ)
    if order.what == "place":
        await _place(order, settings, boundaries)
        return
    ahead = timedelta(seconds=order.ahead_s)

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    async with open_pool(
        settings.database_url, name="tether-doomed", max_size=1, checked=order.what != "receive"
    ) as pool:
        if order.what == "receive":
            await _receive(order, settings, pool, clock=clock, boundaries=boundaries)
        elif order.what == "apply":
            await _apply(settings, pool, clock=clock)
        elif order.what in {"submit", "resolve"}:
            await _debit(order, settings, pool, clock=clock)
        else:
            deps = Intake(
                pool=pool,
                objects=open_objects(settings),
                clock=clock,
                token=lambda: secrets.token_hex(16),
                fingerprint_key=settings.fingerprint_key.encode(),
                policy=settings.screening,
                rules=Rules(),
                limits=ReaderLimits(settings.reader_memory_bytes, settings.reader_time_s),
                chunk_rows=order.chunk_rows,
            )
            while await read_one(deps):
                pass


async def _apply(settings: Settings, pool: Any, *, clock: Callable[[], datetime]) -> None:
    while await apply_batch(ApplyDeps(pool, settings.policy, clock, random.random)):
        pass


async def _debit(order: CrashOrder, settings: Settings, pool: Any, *, clock: Callable[[], datetime]) -> None:
    """Submit due debits; to resolve, continue until every outcome is known."""
    async with (
        open_redis(settings.redis_url, name="tether-doomed") as cache,
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
    ):
        limiter = Limiter(cache, nodes_max=settings.nodes_max)

        async def submit(at: Callable[[], datetime]) -> None:
            while await plan_chunk(pool, now=at()):
                pass
            deps = SubmissionDeps(pool, gateways, limiter, settings.submission_rules, at, asyncio.Event())
            await submit_until(deps, end_s=monotonic() + _SEND_S)

        if order.what == "submit":
            await submit(clock)
            return
        # The lease expires; first "not found"; second one after the grace period; the next submission.
        for waits in range(1, 5):

            def later(waits: int = waits) -> datetime:
                return clock() + waits * timedelta(seconds=order.ahead_s)

            await expire_leases(pool, clock=later).do()
            inquiry_deps = InquiryDeps(
                pool,
                clients_of(gateways),
                limited(limiter),
                later,
                random.random,
                boot=BootClock("points", lambda: later().timestamp()),
            )
            while await reconcile(inquiry_deps, rules=settings.submission_rules):
                pass
            await _apply(settings, pool, clock=later)
            await submit(later)


async def _place(order: CrashOrder, settings: Settings, boundaries: _Boundaries) -> None:
    """Start a web node, send requests, and end the node."""
    boundaries.counts = False
    app: Any = served(application(settings))
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    node = asyncio.create_task(app(scope, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    await from_app.get()
    key = next(iter(settings.api_keys.values()))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://doomed", headers=headers) as client:
        for path, order_key, body in order.posts:
            boundaries.counts = True
            response = await client.post(path, content=body, headers={"Idempotency-Key": order_key})
            boundaries.boundary()  # sending the response is one, too
            boundaries.counts = False
            if response.is_success:
                boundaries.acknowledge(response.content)
    await to_app.put({"type": "lifespan.shutdown"})
    await node


async def _receive(
    order: CrashOrder,
    settings: Settings,
    pool: Any,
    *,
    clock: Callable[[], datetime],
    boundaries: _Boundaries,
) -> None:
    async with (
        open_redis(settings.redis_url, name="tether-doomed") as cache,
        open_wake_up_queue(settings.redis_url, queue="webhooks", timeout_s=0.5) as wake_up_queue,
    ):
        inbox = Inbox(
            pool=pool,
            history_pool=pool,
            cache=cache,
            wake_up_queue=wake_up_queue,
            clock=clock,
            history=lambda: "of one life",
            deadline_s=settings.commit_deadline_s,
            waiting_max=settings.waiting_max,
        )

        async def answered(body: bytes) -> None:
            answer = await receive_notification(
                inbox, body, content_type=FORM, credentials=settings.credentials
            )
            boundaries.boundary()  # sending the response is one, too
            if answer.status == 200:
                boundaries.acknowledge(body)

        for bodies in order.batches:
            await asyncio.gather(*(answered(body) for body in bodies))
        await inbox.close()


def _child(order: CrashOrder, *, journal: Path) -> None:
    """Run an order, and exit without touching the parent's open files."""
    code = 1
    try:
        boundaries = _Boundaries(order, journal=journal)
        _counted(boundaries)
        asyncio.run(_run(order, boundaries))
        code = 0
    finally:
        os._exit(code)


def _main(folder: Path) -> None:
    endings = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # the logs of children must not mix with the endings
    for number, line in enumerate(sys.stdin.buffer):
        order = msgspec.json.decode(line, type=CrashOrder)
        journal = folder / f"{number}.journal"
        journal.touch()
        child = os.fork()
        if not child:
            _child(order, journal=journal)
        _, status = os.waitpid(child, 0)
        lines = journal.read_bytes().splitlines()
        acknowledged = [line for line in lines if line != b"-"]
        ending = Ending(os.waitstatus_to_exitcode(status), acknowledged, len(lines) - len(acknowledged))
        endings.write(msgspec.json.encode(ending) + b"\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
