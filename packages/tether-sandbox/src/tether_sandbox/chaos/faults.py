"""
What may go wrong, as a table: each fault has a name, says what it does, does it, and undoes it.

A fault is held for a while, drawn from its range, and then undone. `kills` tells how its recovery is measured: what was
killed is back in its own time, so that time counts from the kill; what was only stalled or filled up recovers from the
time it is let go.

>>> sorted(FAULTS)[:3]
['crash postgres', 'cut postgres', 'cut redis']
>>> FAULTS["kill redis"].kills, FAULTS["fill redis"].kills
(True, False)
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import msgspec
import psycopg
import redis
from tether_stores.queries import split_file

from tether_sandbox.chaos.stage import Node, Stage
from tether_sandbox.services.server import Server

__all__ = ["FAULTS", "Fault", "possible"]

_SQL: Final = split_file("tether_sandbox", "sql/chaos")

_CUT_EVERY_S: Final = 0.15
# Further than any lease lasts, and less than that; behind and ahead.
_CLOCKS_OFF_S: Final = (-600.0, -45.0, 45.0, 600.0)

Held: TypeAlias = Callable[[Stage, random.Random], AbstractContextManager[None]]


class Fault(msgspec.Struct, frozen=True):
    """
    One kind of fault.

    Attributes:
        name: Two words: what is done, and to what.
        does: The same in a sentence.
        held: Does it on entering and undoes it on leaving; which of several nodes it meets is drawn.
        shortest_s: Held at least so long, in seconds.
        longest_s: Held at most so long, in seconds.
        kills: Whether a process dies of it.
        weight: How often it is drawn, beside the others.
        spares_requests: Whether no request may fail at the proxy because of it, one node being left.
        needs_pooler: Whether it is possible only where there is a pooler.
        is_outage: Whether a store is away for as long as the whole storm allows, up to five minutes (`tether_sandbox.chaos.run`).
        shown_by: What shows that all is well again: a fresh notification that is applied, or a fresh file that is read.
    """

    name: str
    does: str
    held: Held
    shortest_s: float
    longest_s: float
    kills: bool = False
    weight: int = 1  # 0: done once
    spares_requests: bool = False
    needs_pooler: bool = False
    is_outage: bool = False
    shown_by: Literal["notification", "file"] = "notification"


@contextlib.contextmanager
def _killed(node: Node) -> Iterator[None]:
    node.kill()
    try:
        yield
    finally:
        node.start()
        node.await_ready()


@contextlib.contextmanager
def _ended(node: Node) -> Iterator[None]:
    node.terminate()
    try:
        yield
    finally:
        node.start()
        node.await_ready()


@contextlib.contextmanager
def _frozen(item: Node | Server) -> Iterator[None]:
    item.pause()
    try:
        yield
    finally:
        item.resume()


@contextlib.contextmanager
def _down(server: Server, *, how: Callable[[], None]) -> Iterator[None]:
    how()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def _flushed(stage: Stage) -> Iterator[None]:
    stage.redis.flush()
    yield


@contextlib.contextmanager
def _full(stage: Stage) -> Iterator[None]:
    """Set the limit below what is used: with `noeviction`, every write is refused from now on."""
    with contextlib.closing(redis.Redis.from_url(stage.redis.url)) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextlib.contextmanager
def _skewed(node: Node, *, by_s: float) -> Iterator[None]:
    """Have a worker's machine come up with a wrong clock, and be set right."""
    node.kill()
    node.start(clock_off_s=by_s)
    node.await_ready()
    try:
        yield
    finally:
        node.kill()
        node.start()
        node.await_ready()


@contextlib.contextmanager
def _disks_full(stage: Stage) -> Iterator[None]:
    nodes = (*stage.webs, *stage.workers)
    for node in nodes:
        node.fill_disk()
    try:
        yield
    finally:
        for node in nodes:
            node.empty_disk()


def _kill_web(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _killed(rng.choice(stage.webs))


def _kill_worker(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _killed(rng.choice(stage.workers))


def _skew_worker(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _skewed(rng.choice(stage.workers), by_s=rng.choice(_CLOCKS_OFF_S))


@contextlib.contextmanager
def _kill_workers(stage: Stage, _rng: random.Random) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for node in stage.workers:
            stack.enter_context(_killed(node))
        yield


def _end_web(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _ended(rng.choice(stage.webs))


def _freeze_web(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _frozen(rng.choice(stage.webs))


def _freeze_worker(stage: Stage, rng: random.Random) -> AbstractContextManager[None]:
    return _frozen(rng.choice(stage.workers))


def _kill_redis(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.redis, how=stage.redis.kill)


def _freeze_redis(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _frozen(stage.redis)


def _flush_redis(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _flushed(stage)


def _fill_redis(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _full(stage)


def _restart_postgres(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.postgres, how=stage.postgres.stop)


def _crash_postgres(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.postgres, how=stage.postgres.stop_immediately)


def _kill_postgres(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.postgres, how=stage.postgres.kill)


def _freeze_postgres(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _frozen(stage.postgres)


def _restart_pooler(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    assert stage.pooler is not None
    return _down(stage.pooler, how=stage.pooler.drop)


def _freeze_pooler(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    assert stage.pooler is not None
    return _frozen(stage.pooler)


def _freeze_objects(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _frozen(stage.objects)


def _stop_redis(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.redis, how=stage.redis.stop)


def _stop_objects(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _down(stage.objects, how=stage.objects.stop)


@contextlib.contextmanager
def _cut_postgres(stage: Stage, _rng: random.Random) -> Iterator[None]:
    """End every session, again and again: whatever a connection is doing, it dies in the middle of it."""
    stopping = threading.Event()

    def cut() -> None:
        while not stopping.is_set():
            with psycopg.connect(stage.database_url, autocommit=True) as conn:
                conn.execute(_SQL["cut_sessions"])
            stopping.wait(_CUT_EVERY_S)

    cutting = threading.Thread(target=cut, daemon=True)
    cutting.start()
    try:
        yield
    finally:
        stopping.set()
        cutting.join()


@contextlib.contextmanager
def _cut_redis(stage: Stage, _rng: random.Random) -> Iterator[None]:
    stopping = threading.Event()

    def cut() -> None:
        with contextlib.closing(redis.Redis.from_url(stage.redis.url)) as client:
            while not stopping.is_set():
                client.client_kill_filter(_type="normal", skipme=True)
                stopping.wait(_CUT_EVERY_S)

    cutting = threading.Thread(target=cut, daemon=True)
    cutting.start()
    try:
        yield
    finally:
        stopping.set()
        cutting.join()


def _fill_disk(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _disks_full(stage)


FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault(
            "kill web", "SIGKILL of one web node", _kill_web, 0, 1, kills=True, weight=6, spares_requests=True
        ),
        Fault("end web", "SIGTERM of one web node, as in a deploy", _end_web, 0, 0.5, spares_requests=True),
        Fault("freeze web", "SIGSTOP of one web node", _freeze_web, 1, 3),
        Fault("kill worker", "SIGKILL of one worker", _kill_worker, 0, 1, kills=True, weight=6),
        Fault("kill workers", "SIGKILL of both workers at once", _kill_workers, 0, 1, kills=True, weight=3),
        Fault(
            "skew worker",
            "a worker killed, and started on a machine whose clock is wrong by up to ten minutes",
            _skew_worker,
            3,
            8,
            kills=True,
        ),
        Fault("freeze worker", "SIGSTOP of one worker, with rows in its hands", _freeze_worker, 1, 8),
        Fault("kill redis", "SIGKILL of Redis", _kill_redis, 0, 2, kills=True, weight=5),
        Fault("flush redis", "FLUSHALL", _flush_redis, 0, 0, weight=3),
        Fault("freeze redis", "SIGSTOP of Redis", _freeze_redis, 1, 4),
        Fault("fill redis", "maxmemory reached: every write refused", _fill_redis, 1, 4),
        Fault("restart postgres", "a fast shutdown and a start", _restart_postgres, 0, 1, kills=True),
        Fault(
            "crash postgres",
            "an immediate shutdown, recovery from the log",
            _crash_postgres,
            0,
            1,
            kills=True,
        ),
        Fault("kill postgres", "SIGKILL of all of Postgres' processes", _kill_postgres, 0, 1, kills=True),
        Fault("freeze postgres", "SIGSTOP of all of Postgres' processes", _freeze_postgres, 1, 4),
        Fault(
            "restart pooler",
            "the pooler ended at once and started",
            _restart_pooler,
            0,
            1,
            kills=True,
            needs_pooler=True,
        ),
        Fault("freeze pooler", "SIGSTOP of the pooler", _freeze_pooler, 1, 4, needs_pooler=True),
        Fault("freeze objects", "SIGSTOP of the object store", _freeze_objects, 1, 4, shown_by="file"),
        Fault("cut postgres", "every session ended, some times a second", _cut_postgres, 1, 4),
        Fault("cut redis", "every connection to Redis closed, some times a second", _cut_redis, 1, 4),
        Fault(
            "lose postgres", "Postgres away for minutes", _restart_postgres, 0, 0, weight=0, is_outage=True
        ),
        Fault("lose redis", "Redis away for minutes", _stop_redis, 0, 0, weight=0, is_outage=True),
        Fault(
            "lose objects",
            "the object store away for minutes",
            _stop_objects,
            0,
            0,
            weight=0,
            is_outage=True,
            shown_by="file",
        ),
        Fault(
            "fill disk",
            "no file of our programs can grow: temporary files, logs, counters",
            _fill_disk,
            2,
            6,
            shown_by="file",
        ),
    )
}


def possible(stage: Stage) -> list[Fault]:
    """
    The faults that this stage has something for.

    Args:
        stage: What runs.

    Returns:
        In the order of the table.
    """
    return [fault for fault in FAULTS.values() if stage.pooler is not None or not fault.needs_pooler]
