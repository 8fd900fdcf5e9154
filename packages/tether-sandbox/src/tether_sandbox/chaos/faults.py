"""
The faults of the chaos test: a table of what is injected and removed.

A fault lasts for a time drawn from its range. If it kills a process (`kills`), its recovery is measured from the kill, including
the restart; otherwise from the end of the fault.

>>> sorted(FAULTS)[-2:]
['skew worker', 'step clock']
>>> FAULTS["kill redis"].kills, FAULTS["fill redis"].kills
(True, False)
"""

import contextlib
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import httpx
import msgspec
import psycopg
import redis
from tether_stores.queries import split_file

from tether_sandbox.chaos.stage import GATEWAY, LOGINS, Node, Stage
from tether_sandbox.services.server import Server
from tether_sandbox.services.waiting import until
from tether_sandbox.settings import API_KEY, PASSWORD

__all__ = ["FAULTS", "Fault", "possible", "resume_runs"]

_SQL: Final = split_file("tether_sandbox", "sql/chaos")

_CUT_EVERY_S: Final = 0.15
# More and less than the length of any lease; behind and ahead.
_CLOCKS_OFF_S: Final = (-600.0, -45.0, 45.0, 600.0)
# When the clock of a worker steps, after its start; 0: it is off from the start.
_STEPS_AFTER_S: Final = (0.0, 3.0)
# Steps of Postgres' clock: beyond every lease and grace period, and back by less than a recovery may take.
_CLOCK_STEPS_S: Final = (1_200.0, 90.0, -20.0)
# Connections to the gateway that die, in each phase of a call.
_DYING: Final = msgspec.structs.replace(
    GATEWAY, connect_reset=0.1, request_cut=0.1, request_held=0.05, response_lost=0.1, response_cut=0.1
)
# Passwords that are still accepted: notifications signed with them may be on their way.
_PASSWORDS_MAX: Final = 3

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
        rewinds: Whether it takes committed rows back: a copy of the database is made when it begins, and takes the place of the
            database when it ends; recovery is measured from then on.
        restarts_all: Whether all programs are restarted with other settings.
        restarts_grace: Whether the grace period of debits of unknown outcome begins anew with it.
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
    rewinds: bool = False
    restarts_all: bool = False
    restarts_grace: bool = False


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
def _skewed(node: Node, *, by_s: float, after_s: float) -> Iterator[None]:
    """Restart a worker with clock skew, or with a clock that steps, then without."""
    node.kill()
    node.start(clock_off_s=by_s, steps_after_s=after_s)
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
    return _skewed(
        rng.choice(stage.workers), by_s=rng.choice(_CLOCKS_OFF_S), after_s=rng.choice(_STEPS_AFTER_S)
    )


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


@contextlib.contextmanager
def _step_clock(stage: Stage, rng: random.Random) -> Iterator[None]:
    with psycopg.connect(stage.database_url, autocommit=True) as conn:
        conn.execute(_SQL["step_clock"], {"by_s": rng.choice(_CLOCK_STEPS_S)})
    yield


@contextlib.contextmanager
def _gone_back(stage: Stage, *, is_promoted: bool) -> Iterator[None]:
    """Copy the database while no worker goes on; in the end the copy takes its place and its address."""
    copy = stage.postgres.folder / "copy"
    with contextlib.ExitStack() as stack:
        for node in stage.workers:
            stack.enter_context(_frozen(node))
        stage.postgres.base_backup(to=copy)
    yield
    stage.postgres.kill()
    stage.postgres.put_back(copy)
    shutil.rmtree(copy)
    if is_promoted:
        # A standby that has received nothing since; nothing reaches it from the primary any more.
        (stage.postgres.data / "standby.signal").touch()
    stage.postgres.start()
    if is_promoted:
        with psycopg.connect(stage.database_url, autocommit=True) as conn:
            conn.execute(_SQL["promote"])


def _restore_copy(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _gone_back(stage, is_promoted=False)


def _promote_standby(stage: Stage, _rng: random.Random) -> AbstractContextManager[None]:
    return _gone_back(stage, is_promoted=True)


@contextlib.contextmanager
def _change_password(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Change it at the gateway first: until the programs know it, calls are refused and signatures are invalid."""
    known = stage.environ["EMP_API_PASSWORD"].split(",")
    new = f"{PASSWORD}-{rng.getrandbits(32):08x}"
    stage.gateway.passwords([new])
    yield
    # Those payments that are made elsewhere are signed with the first password, all the time.
    older = [password for password in known if password != PASSWORD][: _PASSWORDS_MAX - 2]
    stage.configure(EMP_API_PASSWORD=",".join([new, *older, PASSWORD]))
    until(
        lambda: not resume_runs(stage),
        what="paused runs to go on",
        despite=(psycopg.OperationalError, httpx.HTTPError),
    )


def resume_runs(stage: Stage) -> int:
    """Resume the paused billing runs, as a person does who has corrected the cause; returns how many were paused."""
    with psycopg.connect(stage.database_url) as conn:
        paused = [run_id for (run_id,) in conn.execute(_SQL["paused_runs"])]
    for run_id in paused:
        httpx.post(
            f"{stage.front.url}/api/billing-runs/{run_id}/resume",
            headers={"authorization": f"Bearer {API_KEY}"},
            timeout=10,
            trust_env=False,
        )
    return len(paused)


@contextlib.contextmanager
def _change_terminal(stage: Stage, _rng: random.Random) -> Iterator[None]:
    """New debits go to the other terminal; the one before stays known, as the guide says."""
    stage.configure(EMP_TERMINAL_TOKEN=",".join(reversed(stage.environ["EMP_TERMINAL_TOKEN"].split(","))))
    yield


@contextlib.contextmanager
def _change_login(stage: Stage, _rng: random.Random) -> Iterator[None]:
    stage.configure(EMP_API_LOGIN=_other(stage.environ["EMP_API_LOGIN"], LOGINS))
    yield


@contextlib.contextmanager
def _change_address(stage: Stage, _rng: random.Random) -> Iterator[None]:
    relay = stage.gateway.url
    addresses = (relay, relay.replace("127.0.0.1", "localhost"))
    stage.configure(EMP_API_URL=_other(stage.environ["EMP_API_URL"], addresses))
    yield


def _other(present: str, among: tuple[str, ...]) -> str:
    return next(item for item in among if item != present)


@contextlib.contextmanager
def _cut_gateway(stage: Stage, _rng: random.Random) -> Iterator[None]:
    stage.gateway.faults(_DYING)
    try:
        yield
    finally:
        stage.gateway.faults(GATEWAY)


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
            "a worker killed and restarted with a clock that is off by up to ten minutes, or steps by that much while it runs",
            _skew_worker,
            3,
            8,
            kills=True,
            restarts_grace=True,
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
            "step clock",
            "Postgres' clock steps, ahead by up to 20 minutes or back",
            _step_clock,
            0,
            0,
            weight=2,
            restarts_grace=True,
        ),
        Fault(
            "restore copy",
            "the database replaced by a copy made some seconds before: the same timeline, an older position",
            _restore_copy,
            3,
            8,
            kills=True,
            weight=2,
            rewinds=True,
            restarts_grace=True,
        ),
        Fault(
            "promote standby",
            "the database replaced by a standby that lagged by some seconds: another timeline",
            _promote_standby,
            3,
            8,
            kills=True,
            weight=2,
            rewinds=True,
            restarts_grace=True,
        ),
        Fault(
            "change password",
            "the API password changed at the gateway, then in the settings of every program",
            _change_password,
            1,
            4,
            restarts_all=True,
        ),
        Fault(
            "change terminal",
            "debits go to another terminal; all programs restarted",
            _change_terminal,
            0,
            1,
            restarts_all=True,
        ),
        Fault(
            "change login",
            "another API login; all programs restarted",
            _change_login,
            0,
            1,
            restarts_all=True,
        ),
        Fault(
            "change address",
            "another address of the gateway; all programs restarted",
            _change_address,
            0,
            1,
            restarts_all=True,
        ),
        Fault(
            "cut gateway",
            "connections to the gateway die in each phase of a call",
            _cut_gateway,
            3,
            8,
            weight=2,
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
