"""
The faults of the chaos test: a table of what is injected and removed.

A fault lasts for a time drawn from its range. If it kills a process (`kills`), its recovery is measured from the kill, including
the restart; otherwise from the end of the fault.

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
# More and less than the length of any lease; behind and ahead.
_CLOCKS_OFF_S: Final = (-600.0, -45.0, 45.0, 600.0)

Injection: TypeAlias = Callable[[Stage, random.Random], AbstractContextManager[None]]


class Fault(msgspec.Struct, frozen=True):
    """
    A kind of fault.

    Attributes:
        name: Verb and object.
        description: What it does.
        inject: A context manager that injects and removes it; which of several nodes is affected is drawn.
        shortest_s: Shortest duration.
        longest_s: Longest duration.
        kills: Whether it kills a process.
        weight: How often it is drawn, relative to the others; 0: once.
        spares_requests: Whether no request may fail at the proxy because of it, since a node is up.
        needs_pooler: Whether it is possible only with a pooler.
        is_outage: Whether a store is down for minutes, depending on the length of the test (`tether_sandbox.chaos.run`).
        probe: What measures the recovery: a notification that is applied, or a file that is read.
    """

    name: str
    description: str
    inject: Injection
    shortest_s: float
    longest_s: float
    kills: bool = False
    weight: int = 1
    spares_requests: bool = False
    needs_pooler: bool = False
    is_outage: bool = False
    probe: Literal["notification", "file"] = "notification"


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
    """Set the limit below the current use: with `noeviction`, Redis refuses every write."""
    with contextlib.closing(redis.Redis.from_url(stage.redis.url)) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextlib.contextmanager
def _skewed(node: Node, *, by_s: float) -> Iterator[None]:
    """Restart a worker with clock skew, then without."""
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
    """End every session repeatedly: connections die in the middle of their work."""
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
            "a worker killed and restarted with a clock skew of up to ten minutes",
            _skew_worker,
            3,
            8,
            kills=True,
        ),
        Fault("freeze worker", "SIGSTOP of one worker while it processes rows", _freeze_worker, 1, 8),
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
        Fault("freeze objects", "SIGSTOP of the object store", _freeze_objects, 1, 4, probe="file"),
        Fault("cut postgres", "every session ended, several times a second", _cut_postgres, 1, 4),
        Fault("cut redis", "every connection to Redis closed, several times a second", _cut_redis, 1, 4),
        Fault(
            "lose postgres", "Postgres down for minutes", _restart_postgres, 0, 0, weight=0, is_outage=True
        ),
        Fault("lose redis", "Redis down for minutes", _stop_redis, 0, 0, weight=0, is_outage=True),
        Fault(
            "lose objects",
            "the object store down for minutes",
            _stop_objects,
            0,
            0,
            weight=0,
            is_outage=True,
            probe="file",
        ),
        Fault(
            "fill disk",
            "no file of the programs can grow: temporary files, logs, counters",
            _fill_disk,
            2,
            6,
            probe="file",
        ),
    )
}


def possible(stage: Stage) -> list[Fault]:
    """The faults that are possible in an environment, in the order of the table."""
    return [fault for fault in FAULTS.values() if stage.pooler is not None or not fault.needs_pooler]
