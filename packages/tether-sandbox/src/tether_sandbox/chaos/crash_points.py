"""
Crash points by construction: a process that kills itself at its n-th boundary.

Nobody lists the boundaries; the child finds them as it runs. One is each time at which a task of it waits (that is
every `await` that truly waits: what it asked for is under way, and the answer has not come) and each time just before
something is said to Postgres, Redis, the object store or the gateway (what came before is done, and nothing after). What
lies between two of these is plain computing, which nobody outside can tell from dying a little earlier.

`doomed` keeps a process with everything imported; for each order it forks a child that does the work and dies by
SIGKILL at the boundary it was told, with nothing finished or flushed. Ordering with 1, 2, 3 and so on until a child lives
to its end visits every boundary there is.

    with doomed(folder) as ask:
        fate = ask(Order("book", stop_at=3, environ=environment))
        assert fate.code == -signal.SIGKILL
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
from tether_worker.uploads.reader import Limits

__all__ = ["Ending", "InquiryRow", "Order", "doomed"]

# More than a few debits take.
_SEND_S: Final = 20.0


class Order(msgspec.Struct, frozen=True):
    """
    What a child shall do, and where it shall die.

    Attributes:
        what: "take" notifications as a web node does; "book" them, "read" uploads or "send" debits, as a worker does; or
            "settle" debits whose outcome is open: leases that ran out, questions, and the applying of what was told; or
            "place" an order by API, as a web node does: only its own boundaries count, not those of the node's start.
        stop_at: The number of the boundary it does not live to pass, from 1; 0 for none.
        environ: The settings of the program.
        rounds: To take: the notifications' forms; those of one round come at the same time.
        ahead_s: How far its clock is ahead, in seconds; to settle, how long it waits each time.
        chunk_rows: To read: rows of a chunk.
        posts: To place: address, Idempotency-Key and JSON body of each request, one after the other.
    """

    what: Literal["take", "book", "read", "send", "resolve", "place"]
    stop_at: int
    environ: dict[str, str]
    rounds: list[list[bytes]] = []
    ahead_s: float = 0.0
    chunk_rows: int = 100
    posts: list[tuple[str, str, bytes]] = []


class Ending(msgspec.Struct, frozen=True):
    """
    What became of a child.

    Attributes:
        code: Its exit code: 0 when it lived to its end, -9 when it died as told.
        acknowledged: The notifications it answered 200, or the responses to orders that were placed, in order.
        boundaries: How many boundaries it passed.
    """

    code: int
    acknowledged: list[bytes]
    boundaries: int


InquiryRow = Callable[[Order], Ending]


@contextlib.contextmanager
def doomed(folder: Path) -> Iterator[InquiryRow]:
    """
    Have a process that sends children to their death.

    Args:
        folder: Its own, for what children leave behind.

    Yields:
        A function that has an order carried out, and gives what became of the child.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tether_sandbox.chaos.crash_points", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, endings = process.stdin, process.stdout

    def ask(order: Order) -> Ending:
        orders.write(msgspec.json.encode(order) + b"\n")
        orders.flush()
        return msgspec.json.decode(endings.readline(), type=Ending)

    try:
        yield ask
    finally:
        orders.close()
        endings.close()
        process.wait()


class _Life:
    """Counts a child's boundaries, and ends it at the one it was told."""

    def __init__(self, order: Order, *, diary: Path) -> None:
        self._stop_at = order.stop_at
        self._diary = diary.open("ab", buffering=0)
        self._boundaries = 0
        self.counts = True

    def boundary(self) -> None:
        """Pass one boundary, or die at it."""
        if not self.counts:
            return
        self._boundaries += 1
        if self._boundaries == self._stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._diary.write(b"-\n")

    def acknowledge(self, body: bytes) -> None:
        """Note an answer that has left the process."""
        self._diary.write(body + b"\n")


def _counted(life: _Life) -> None:
    """From now on, count every exchange of this process."""

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def exchanged(*args: Any, **named: Any) -> Any:
            life.boundary()
            return real(*args, **named)

        return exchanged

    for owner, name in (
        (psycopg.AsyncConnection, "wait"),  # everything said to Postgres but the greeting passes here
        (AbstractConnection, "send_packed_command"),
        (httpcore.AsyncHTTPConnection, "handle_async_request"),
        *((obstore, name) for name in dir(obstore) if name.endswith("_async")),
    ):
        setattr(owner, name, counting(getattr(owner, name)))


def _stepped(life: _Life) -> Callable[..., asyncio.Task[Any]]:
    """A task factory whose tasks pass a boundary each time they wait."""

    @types.coroutine
    def stepped(work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(work.send, None)
        while True:
            try:
                waited = step()
            except StopIteration as ended:
                return ended.value
            life.boundary()
            try:
                step = partial(work.send, (yield waited))
            except BaseException as exc:  # noqa: BLE001 - it is the work's own to take
                step = partial(work.throw, exc)

    async def whole(work: Coroutine[Any, Any, Any]) -> Any:
        return await stepped(work)

    def factory(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(whole(work), loop=loop, **named)

    return factory


async def _endured(order: Order, life: _Life) -> None:
    asyncio.get_running_loop().set_task_factory(_stepped(life))
    await asyncio.create_task(_carried_out(order, life))


async def _carried_out(order: Order, life: _Life) -> None:
    settings = Settings.from_env(order.environ)
    if order.what == "place":
        await _place(order, settings, life)
        return
    ahead = timedelta(seconds=order.ahead_s)

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    async with open_pool(
        settings.database_url, name="tether-doomed", max_size=1, checked=order.what != "take"
    ) as pool:
        if order.what == "take":
            await _take(order, settings, pool, clock=clock, life=life)
        elif order.what == "book":
            await _apply(settings, pool, clock=clock)
        elif order.what in {"send", "resolve"}:
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
                limits=Limits(settings.reader_memory_bytes, settings.reader_time_s),
                chunk_rows=order.chunk_rows,
            )
            while await read_one(deps):
                pass


async def _apply(settings: Settings, pool: Any, *, clock: Callable[[], datetime]) -> None:
    while await apply_batch(ApplyDeps(pool, settings.policy, clock, random.random)):
        pass


async def _debit(order: Order, settings: Settings, pool: Any, *, clock: Callable[[], datetime]) -> None:
    """Send what may be sent; to settle, go on from there until all that waits has waited long enough."""
    async with (
        open_redis(settings.redis_url, name="tether-doomed") as cache,
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
    ):
        limiter = Limiter(cache, nodes_max=settings.nodes_max)

        async def send(at: Callable[[], datetime]) -> None:
            while await plan_chunk(pool, now=at()):
                pass
            deps = SubmissionDeps(pool, gateways, limiter, settings.submission_rules, at, asyncio.Event())
            await submit_until(deps, end_s=monotonic() + _SEND_S)

        if order.what == "send":
            await send(clock)
            return
        # For a lease to end, for the first "not found", for the second after the grace period, and for the next call.
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
            await send(later)


async def _place(order: Order, settings: Settings, life: _Life) -> None:
    """Start a node, place orders, and end the node."""
    life.counts = False
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
            life.counts = True
            response = await client.post(path, content=body, headers={"Idempotency-Key": order_key})
            life.boundary()  # the response's own way out is one too
            life.counts = False
            if response.is_success:
                life.acknowledge(response.content)
    await to_app.put({"type": "lifespan.shutdown"})
    await node


async def _take(
    order: Order, settings: Settings, pool: Any, *, clock: Callable[[], datetime], life: _Life
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
            life.boundary()  # the answer's own way out is one too
            if answer.status == 200:
                life.acknowledge(body)

        for bodies in order.rounds:
            await asyncio.gather(*(answered(body) for body in bodies))
        await inbox.close()


def _child(order: Order, *, diary: Path) -> None:
    """Carry out an order, and end without a word to anything the parent has open."""
    code = 1
    try:
        life = _Life(order, diary=diary)
        _counted(life)
        asyncio.run(_endured(order, life))
        code = 0
    finally:
        os._exit(code)


def _main(folder: Path) -> None:
    endings = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what children log is not to get between the fates
    for number, line in enumerate(sys.stdin.buffer):
        order = msgspec.json.decode(line, type=Order)
        diary = folder / f"{number}.diary"
        diary.touch()
        child = os.fork()
        if not child:
            _child(order, diary=diary)
        _, status = os.waitpid(child, 0)
        lines = diary.read_bytes().splitlines()
        acknowledged = [line for line in lines if line != b"-"]
        ending = Ending(os.waitstatus_to_exitcode(status), acknowledged, len(lines) - len(acknowledged))
        endings.write(msgspec.json.encode(ending) + b"\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
