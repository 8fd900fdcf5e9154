r"""
Worker pools: how many worker processes each pool runs, by how long its waiting work would take.

A **pool** is a group of queues that the same processes serve. A supervisor keeps each pool between a minimum and a maximum:

- It grows when the work that waits would take longer than `clear_s` with the processes it has, or when the oldest row has waited
  longer than that. It grows by `shift_max` per `cooldown_s`, and by several times as many when it is far behind.
- It never has more processes than there are batches: one lone job is no reason for a second process.
- It never has more processes than a rate limit of the gateway keeps busy.
- It shrinks by one per `cooldown_s`, and only after fewer processes were needed for `idle_s` without a break.
- The minimum is always kept. Memory beyond it stays within a budget.

A process that ends by itself is replaced, later each time it happens again (`restart_wait_s`).

>>> pools = parse_pools("webhooks:2-5, billing+reconciliation:3-10")
>>> pools["billing"].queues, pools["billing"].processes_max
(('billing', 'reconciliation'), 10)
>>> needed(pools["webhooks"], {"webhooks": Backlog(rows=50_000, row_s=0.001)}, running=2)
5
>>> needed(pools["webhooks"], {"webhooks": Backlog(rows=1, oldest_s=600)}, running=2)
2
>>> parse_pools("webhooks:5-2")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: TETHER_WORKER_POOLS: Pool webhooks: the minimum is above the maximum.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.jobs import Queue

__all__ = [
    "DEFAULT_POOLS",
    "LIVE_S",
    "LOCAL_POOLS",
    "Backlog",
    "Cause",
    "Memory",
    "PoolState",
    "ProcessState",
    "WorkerPool",
    "decide",
    "needed",
    "parse_pools",
    "read_pools",
    "restart_wait_s",
    "unserved",
]

# Why a pool has as many processes as it has.
Cause = Literal["minimum", "steady", "behind", "far_behind", "idle", "memory", "not_measured"]

# Whether a worker or supervisor begins work, or finishes what is in progress and ends.
ProcessState = Literal["running", "stopping"]

# A worker or supervisor whose row is older than this is taken for dead. They write every 2 s.
LIVE_S: Final = 15.0
# Far behind: the work that waits takes this many times `clear_s`.
_FAR: Final = 4
# How many times `shift_max` a pool grows by when it is far behind.
_FAR_STEP: Final = 3
_QUEUES: Final[tuple[Queue, ...]] = get_args(Queue)
_PROCESSES_MAX: Final = 200
_SETTING: Final = "TETHER_WORKER_POOLS"
_NAME: Final = re.compile(r"[a-z0-9_-]{1,40}")

# By queue: rows of one batch, and seconds that a process spends on a row until it is measured. A row of `default` is a file.
_WORK: Final[dict[Queue, tuple[int, float]]] = {
    "webhooks": (256, 0.001),
    "billing": (32, 0.02),
    "reconciliation": (50, 0.05),
    "default": (1, 20.0),
    "vop": (100, 0.2),
}

# Seconds before a process that ended by itself is replaced, after the first, second, ... time in a row.
_RESTART_S: Final = (0.5, 1, 2, 4, 8, 16, 32, 60)
# A process that lived this long ended for another reason than its predecessor.
_STABLE_S: Final = 60.0


class WorkerPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    The limits of a pool.

    Attributes:
        queues: Which queues its processes serve.
        processes_min: Processes that always run, 1 or more.
        processes_max: Processes that run at most.
        clear_s: Within how many seconds waiting work should be done.
        shift_max: By how many processes it grows at once; three times as many when it is far behind.
        cooldown_s: Seconds between two changes.
        idle_s: Seconds for which fewer processes must be enough before it shrinks.
    """

    queues: tuple[Queue, ...]
    processes_min: int = 1
    processes_max: int = 3
    clear_s: float = 10.0
    shift_max: int = 1
    cooldown_s: float = 3.0
    idle_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse limits that make no sense."""
        if not self.queues or len(set(self.queues)) < len(self.queues):
            raise ValueError("it needs queues, each of them once")
        if not 1 <= self.processes_min <= _PROCESSES_MAX:
            raise ValueError(f"the minimum must be from 1 to {_PROCESSES_MAX}")
        if self.processes_min > self.processes_max:
            raise ValueError("the minimum is above the maximum")
        if self.processes_max > _PROCESSES_MAX:
            raise ValueError(f"the maximum is above {_PROCESSES_MAX}")
        if self.shift_max < 1:
            raise ValueError("shift_max must be 1 or more")
        if not all(0 < value < math.inf for value in (self.clear_s, self.cooldown_s, self.idle_s)):
            raise ValueError("clear_s, cooldown_s and idle_s must be above 0")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of pools."""

    pools: dict[str, WorkerPool] = {}


DEFAULT_POOLS: Final[Mapping[str, WorkerPool]] = {
    "webhooks": WorkerPool(("webhooks",), 2, 5),
    "billing": WorkerPool(("billing", "reconciliation"), 3, 10),
    "default": WorkerPool(("default", "vop"), 2, 8),
}
# One small machine.
LOCAL_POOLS: Final[Mapping[str, WorkerPool]] = {"local": WorkerPool(_QUEUES, 1, 3)}


class Backlog(msgspec.Struct, frozen=True):
    """
    The work that waits on a queue.

    Attributes:
        rows: Rows that are due or in progress.
        oldest_s: For how many seconds the oldest of them has been due.
        row_s: Seconds that a process spends on a row, as measured; `None` before it was.
        per_s_max: Rows per second that a limit of the gateway allows in the whole cluster; `None` for no limit.
        is_paused: Whether the queue is paused; nobody works on it then.
    """

    rows: int = 0
    oldest_s: float = 0.0
    row_s: float | None = None
    per_s_max: float | None = None
    is_paused: bool = False


class Memory(msgspec.Struct, frozen=True):
    """
    Memory of a supervisor's processes.

    Attributes:
        used_bytes: Of all of them, those that are ending too.
        ending_bytes: Of those that are ending.
        process_bytes: What a further process is expected to take.
        max_bytes: The budget; `None` for none.
    """

    used_bytes: int = 0
    ending_bytes: int = 0
    process_bytes: int = 0
    max_bytes: int | None = None

    @property
    def room(self) -> float:
        """How many more processes fit into the budget."""
        if self.max_bytes is None:
            return math.inf
        return max(self.max_bytes - self.used_bytes, 0) // max(self.process_bytes, 1)

    @property
    def is_exceeded(self) -> bool:
        """Whether the budget will be exceeded even after the processes that are ending have ended."""
        return self.max_bytes is not None and self.used_bytes - self.ending_bytes > self.max_bytes


class PoolState(msgspec.Struct, frozen=True):
    """
    How many processes a pool should have.

    Attributes:
        wanted: That number.
        cause: Why.
        changed_s: When it was last changed, on the caller's clock in seconds.
        fewer_since_s: Since when fewer would be enough; `None` where they would not.
    """

    wanted: int
    cause: Cause = "minimum"
    changed_s: float = -math.inf
    fewer_since_s: float | None = None


def parse_pools(text: str) -> dict[str, WorkerPool]:
    """
    Read pools from one line, as in the environment.

    Args:
        text: "webhooks:2-5, billing+reconciliation:3-10": the queues of a pool with "+", and how many processes it has. A pool is
            named after its first queue. "local" is one pool of 1 to 3 processes for all queues; "" is `DEFAULT_POOLS`.

    Raises:
        InvalidRequest: naming the pool, and what to change.
    """
    if not text.strip():
        return dict(DEFAULT_POOLS)
    if text.strip() == "local":
        return dict(LOCAL_POOLS)
    pools: dict[str, WorkerPool] = {}
    for part in text.split(","):
        queues, colon, counts = part.strip().partition(":")
        least, dash, most = counts.partition("-")
        if not (colon and dash and _is_number(least) and _is_number(most)):
            raise InvalidRequest(
                "is no list of pools like webhooks:2-5, billing+reconciliation:3-10", field=_SETTING
            )
        names = tuple(queue.strip() for queue in queues.split("+"))
        fields = {"queues": names, "processes_min": int(least), "processes_max": int(most)}
        if names[0] in pools:
            raise InvalidRequest(f"queue {names[0]} is in two pools; name it once", field=_SETTING)
        pools[names[0]] = _pool(names[0], fields)
    return _each_queue_once(pools)


def read_pools(data: bytes) -> dict[str, WorkerPool]:
    """
    Read pools from a TOML file: a table `[pools.NAME]` for each, with the fields of `WorkerPool`.

    Raises:
        InvalidRequest: naming the field, and what to change.
    """
    try:
        found = msgspec.toml.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(
            f"the file of pools cannot be read: {str(exc).rstrip('.')}", field=_SETTING
        ) from None
    if not found.pools:
        raise InvalidRequest("the file names no pool; add [pools.webhooks] and so on", field=_SETTING)
    if name := next((name for name in found.pools if not _NAME.fullmatch(name)), None):
        raise InvalidRequest(
            f"the name of pool {name[:40]!r} has other characters than small letters, digits, - and _",
            field=_SETTING,
        )
    return _each_queue_once(found.pools)


def unserved(pools: Mapping[str, WorkerPool]) -> tuple[Queue, ...]:
    """The queues that no pool serves."""
    served = {queue for pool in pools.values() for queue in pool.queues}
    return tuple(queue for queue in _QUEUES if queue not in served)


def needed(pool: WorkerPool, backlogs: Mapping[Queue, Backlog], *, running: int, supervisors: int = 1) -> int:
    """
    How many processes of a pool would do the waiting work in time.

    Args:
        backlogs: By queue; a queue without one has no work.
        running: Processes the pool has now.
        supervisors: How many supervisors run this pool; each runs its share.

    Returns:
        From the pool's minimum to its maximum.
    """
    work_s, busy_max, is_late = 0.0, 0, False
    for queue in pool.queues:
        backlog = backlogs.get(queue)
        if backlog is None or backlog.is_paused or not backlog.rows:
            continue
        work_s += _work_s(queue, backlog)
        busy_max += _busy_max(queue, backlog)
        is_late = is_late or backlog.oldest_s > pool.clear_s
    share = math.ceil(work_s / pool.clear_s / supervisors)
    if is_late:  # what has waited too long proves that the estimate was too low
        share = max(share, running + 1)
    return max(pool.processes_min, min(share, math.ceil(busy_max / supervisors), pool.processes_max))


def decide(
    pools: Mapping[str, WorkerPool],
    states: Mapping[str, PoolState],
    backlogs: Mapping[Queue, Backlog] | None,
    *,
    memory: Memory,
    supervisors: Mapping[str, int],
    now_s: float,
) -> dict[str, PoolState]:
    """
    Decide how many processes each pool should have.

    Args:
        pools: By name.
        states: From the last decision; a pool without one begins with its minimum.
        backlogs: By queue; `None` where they could not be measured: nothing changes then.
        memory: Of the processes of this supervisor.
        supervisors: By pool, how many supervisors run it.
        now_s: On a clock that nobody sets.
    """
    known = {name: states.get(name, PoolState(pool.processes_min)) for name, pool in pools.items()}
    if backlogs is None:
        return {
            name: msgspec.structs.replace(state, cause="not_measured", fewer_since_s=None)
            for name, state in known.items()
        }
    wanted = {
        name: needed(pool, backlogs, running=known[name].wanted, supervisors=max(supervisors.get(name, 1), 1))
        for name, pool in pools.items()
    }
    if memory.is_exceeded:
        return _shrunk_for_memory(pools, known, wanted, now_s=now_s)
    room = memory.room
    result: dict[str, PoolState] = {}
    # The pool that is furthest behind in proportion gets the memory that is left.
    for name in sorted(pools, key=lambda name: known[name].wanted / wanted[name]):
        pool, state = pools[name], known[name]
        late_s = sum(
            _work_s(queue, backlogs[queue])
            for queue in pool.queues
            if queue in backlogs and not backlogs[queue].is_paused
        )
        is_far = late_s / state.wanted > _FAR * pool.clear_s
        moved = _moved(pool, state, wanted[name], room=room, is_far=is_far, now_s=now_s)
        room -= max(moved.wanted - state.wanted, 0)
        result[name] = moved
    return result


def restart_wait_s(ended: int, *, lived_s: float) -> tuple[int, float]:
    """
    When to replace a process that ended by itself.

    Args:
        ended: How many processes of its pool have ended soon before it, in a row.
        lived_s: How long it lived, in seconds.

    Returns:
        That count with this process, and the seconds to wait.
    """
    count = 1 if lived_s >= _STABLE_S else ended + 1
    return count, _RESTART_S[min(count, len(_RESTART_S)) - 1]


def _moved(
    pool: WorkerPool, state: PoolState, wanted: int, *, room: float, is_far: bool, now_s: float
) -> PoolState:
    """Move one step towards the number that is needed."""
    is_due = now_s - state.changed_s >= pool.cooldown_s
    if wanted > state.wanted:
        step = min(pool.shift_max * (_FAR_STEP if is_far else 1), wanted - state.wanted)
        if room < 1:
            return PoolState(state.wanted, "memory", state.changed_s)
        cause: Cause = "far_behind" if is_far else "behind"
        if not is_due:
            return PoolState(state.wanted, cause, state.changed_s)
        return PoolState(state.wanted + min(step, int(min(room, step))), cause, now_s)
    if wanted == state.wanted:
        cause = "minimum" if state.wanted == pool.processes_min else "steady"
        return PoolState(state.wanted, cause, state.changed_s)
    since_s = now_s if state.fewer_since_s is None else state.fewer_since_s
    if now_s - since_s >= pool.idle_s and is_due:
        return PoolState(state.wanted - 1, "idle", now_s, since_s)
    return PoolState(state.wanted, "idle", state.changed_s, since_s)


def _shrunk_for_memory(
    pools: Mapping[str, WorkerPool],
    known: Mapping[str, PoolState],
    wanted: Mapping[str, int],
    *,
    now_s: float,
) -> dict[str, PoolState]:
    """Take one process from the pool that can spare it best; the minimum of every pool stays."""
    result = {
        name: PoolState(state.wanted, "memory", state.changed_s, state.fewer_since_s)
        for name, state in known.items()
    }
    spare = [name for name, pool in pools.items() if known[name].wanted > pool.processes_min]
    if any(now_s - known[name].changed_s < pools[name].cooldown_s for name in spare) or not spare:
        return result
    name = max(spare, key=lambda name: known[name].wanted / wanted[name])
    result[name] = PoolState(known[name].wanted - 1, "memory", now_s, known[name].fewer_since_s)
    return result


def _work_s(queue: Queue, backlog: Backlog) -> float:
    """Seconds that one process would need for what waits."""
    return backlog.rows * _row_s(queue, backlog)


def _busy_max(queue: Queue, backlog: Backlog) -> int:
    """How many processes can be busy with what waits."""
    batches = math.ceil(backlog.rows / _WORK[queue][0])
    if backlog.per_s_max is None:
        return batches
    return min(batches, math.ceil(backlog.per_s_max * _row_s(queue, backlog)))


def _row_s(queue: Queue, backlog: Backlog) -> float:
    return _WORK[queue][1] if backlog.row_s is None else backlog.row_s


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


def _pool(name: str, fields: Mapping[str, object]) -> WorkerPool:
    try:
        return msgspec.convert(fields, WorkerPool)
    except msgspec.ValidationError as exc:
        why = str(exc).partition(" - at ")[0]
        if "enum" in why:
            why = f"a queue is none of {', '.join(_QUEUES)}"
        raise InvalidRequest(f"pool {name}: {why}", field=_SETTING) from None


def _each_queue_once(pools: dict[str, WorkerPool]) -> dict[str, WorkerPool]:
    seen: set[Queue] = set()
    for pool in pools.values():
        for queue in pool.queues:
            if queue in seen:
                raise InvalidRequest(f"queue {queue} is in two pools; name it once", field=_SETTING)
            seen.add(queue)
    return pools
