"""
Crash points by construction: a process that kills itself just before its n-th exchange with a store.

Every exchange with Postgres, Redis or the object store is a boundary: what came before it is done, what comes after is
not. `doomed` keeps a process with everything imported; for each order it forks a child that does the work and dies by
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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import obstore
import psycopg
from redis.asyncio.connection import AbstractConnection
from tether_core.emp.notification import FORM
from tether_core.spreadsheet import Rules
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.queue import open_doorbell
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_web.inbox import Inbox
from tether_web.webhooks import take
from tether_worker.intake import Intake, read_one
from tether_worker.reader import Limits
from tether_worker.webhooks import Booking, book

__all__ = ["Ask", "Fate", "Order", "doomed"]


class Order(msgspec.Struct, frozen=True):
    """
    What a child shall do, and where it shall die.

    Attributes:
        what: "take" notifications as a web node does, "book" them, or "read" uploads, as a worker does.
        stop_at: The number of the exchange it does not live to have, from 1; 0 for none.
        environ: The settings of the program.
        rounds: To take: the notifications' forms; those of one round come at the same moment.
        ahead_s: How far its clock is ahead, in seconds.
        chunk_rows: To read: rows of a chunk.
    """

    what: Literal["take", "book", "read"]
    stop_at: int
    environ: dict[str, str]
    rounds: list[list[bytes]] = []
    ahead_s: float = 0.0
    chunk_rows: int = 100


class Fate(msgspec.Struct, frozen=True):
    """
    What became of a child.

    Attributes:
        code: Its exit code: 0 when it lived to its end, -9 when it died as told.
        acknowledged: The notifications it answered 200, in order.
        exchanges: How many exchanges it had.
    """

    code: int
    acknowledged: list[bytes]
    exchanges: int


Ask = Callable[[Order], Fate]


@contextlib.contextmanager
def doomed(folder: Path) -> Iterator[Ask]:
    """
    Have a process that sends children to their death.

    Args:
        folder: Its own, for what children leave behind.

    Yields:
        A function that has an order carried out, and gives what became of the child.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tether_sandbox.storm.points", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, fates = process.stdin, process.stdout

    def ask(order: Order) -> Fate:
        orders.write(msgspec.json.encode(order) + b"\n")
        orders.flush()
        return msgspec.json.decode(fates.readline(), type=Fate)

    try:
        yield ask
    finally:
        orders.close()
        fates.close()
        process.wait()


class _Life:
    """Counts a child's exchanges, and ends it before the one it was told."""

    def __init__(self, order: Order, *, diary: Path) -> None:
        self._stop_at = order.stop_at
        self._diary = diary.open("ab", buffering=0)
        self._exchanges = 0

    def exchange(self) -> None:
        """Have one exchange, or die."""
        self._exchanges += 1
        if self._exchanges == self._stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._diary.write(b"-\n")

    def acknowledge(self, body: bytes) -> None:
        """Note an answer that has left the process."""
        self._diary.write(body + b"\n")


def _counted(life: _Life) -> None:
    """From now on, count every exchange of this process."""

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def exchanged(*args: Any, **named: Any) -> Any:
            life.exchange()
            return real(*args, **named)

        return exchanged

    for owner, name in (
        (psycopg.AsyncConnection, "wait"),  # everything said to Postgres but the greeting passes here
        (AbstractConnection, "send_packed_command"),
        (obstore, "get_async"),
        (obstore, "put_async"),
    ):
        setattr(owner, name, counting(getattr(owner, name)))


async def _carried_out(order: Order, life: _Life) -> None:
    settings = Settings.from_env(order.environ)
    ahead = timedelta(seconds=order.ahead_s)

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    async with open_pool(
        settings.database_url, name="tether-doomed", max_size=1, checked=order.what != "take"
    ) as pool:
        if order.what == "take":
            await _take(order, settings, pool, clock=clock, life=life)
        elif order.what == "book":
            while await book(Booking(pool, settings.policy, clock, random.random)):
                pass
        else:
            has = Intake(
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
            while await read_one(has):
                pass


async def _take(
    order: Order, settings: Settings, pool: Any, *, clock: Callable[[], datetime], life: _Life
) -> None:
    async with (
        open_redis(settings.redis_url, name="tether-doomed") as cache,
        open_doorbell(settings.redis_url, queue="webhooks", timeout_s=0.5) as doorbell,
    ):
        inbox = Inbox(
            pool=pool,
            cache=cache,
            doorbell=doorbell,
            clock=clock,
            deadline_s=settings.commit_deadline_s,
            waiting_max=settings.waiting_max,
        )

        async def answered(body: bytes) -> None:
            answer = await take(inbox, body, content_type=FORM, credentials=settings.credentials)
            life.exchange()  # the answer's own way out is a boundary too
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
        asyncio.run(_carried_out(order, life))
        code = 0
    finally:
        os._exit(code)


def _main(folder: Path) -> None:
    fates = os.fdopen(os.dup(1), "wb", buffering=0)
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
        fate = Fate(os.waitstatus_to_exitcode(status), acknowledged, len(lines) - len(acknowledged))
        fates.write(msgspec.json.encode(fate) + b"\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
