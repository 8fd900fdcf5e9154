"""Worker pools: how many processes each should have, as tables."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.scaling import (
    DEFAULT_POOLS,
    LOCAL_POOLS,
    Backlog,
    Memory,
    PoolState,
    WorkerPool,
    decide,
    needed,
    parse_pools,
    read_pools,
    restart_wait_s,
    unserved,
)

POOLS = DEFAULT_POOLS
MIB = 1 << 20


@pytest.mark.parametrize(
    ("pool", "backlogs", "running", "supervisors", "expected"),
    [
        # Nothing waits: the minimum.
        ("webhooks", {}, 5, 1, 2),
        ("webhooks", {"webhooks": Backlog()}, 5, 1, 2),
        # 50,000 rows of a millisecond are 50 s of work: five processes do it in 10 s.
        ("webhooks", {"webhooks": Backlog(50_000, row_s=0.001)}, 2, 1, 5),
        ("webhooks", {"webhooks": Backlog(30_000, row_s=0.001)}, 2, 1, 3),
        # Measured as faster, fewer are enough.
        ("webhooks", {"webhooks": Backlog(50_000, row_s=0.0002)}, 2, 1, 2),
        # Never above the maximum.
        ("webhooks", {"webhooks": Backlog(10**7, row_s=0.001)}, 2, 1, 5),
        # One lone job, however old and slow, is work for one process.
        ("default", {"default": Backlog(1, oldest_s=3_600, row_s=900)}, 2, 1, 2),
        ("webhooks", {"webhooks": Backlog(1, oldest_s=3_600)}, 2, 1, 2),
        # Three files are work for three.
        ("default", {"default": Backlog(3, row_s=60)}, 2, 1, 3),
        # Files and checks of one pool add up.
        ("default", {"default": Backlog(2, row_s=60), "vop": Backlog(400, row_s=0.1)}, 2, 1, 6),
        # Late rows: the estimate was too low, so one more than there are.
        ("webhooks", {"webhooks": Backlog(5_000, oldest_s=11, row_s=0.0001)}, 3, 1, 4),
        ("webhooks", {"webhooks": Backlog(5_000, oldest_s=9, row_s=0.0001)}, 3, 1, 2),
        # A rate limit of 50/s keeps five processes busy that take a tenth of a second for a debit, and no more, however late.
        ("billing", {"billing": Backlog(20_000, oldest_s=400, row_s=0.1, per_s_max=50)}, 8, 1, 5),
        ("billing", {"billing": Backlog(20_000, oldest_s=400, row_s=0.1)}, 8, 1, 10),
        # A paused queue needs nobody.
        ("billing", {"billing": Backlog(20_000, oldest_s=400, row_s=0.1, is_paused=True)}, 8, 1, 3),
        # Two machines: each runs its half.
        ("webhooks", {"webhooks": Backlog(40_000, row_s=0.001)}, 2, 1, 4),
        ("webhooks", {"webhooks": Backlog(60_000, row_s=0.001)}, 2, 2, 3),
        # Not measured yet: a guess, such as 20 s for a file.
        ("default", {"default": Backlog(4)}, 2, 1, 4),
    ],
)
def test_as_many_as_do_the_work_in_time(
    pool: str, backlogs: dict[str, Backlog], running: int, supervisors: int, expected: int
) -> None:
    """Too few, and notifications wait; too many, and Postgres has its connections taken by processes that wait too."""
    found = needed(POOLS[pool], backlogs, running=running, supervisors=supervisors)  # type: ignore[arg-type]
    assert found == expected


def _course(
    pool: WorkerPool,
    waiting: list[tuple[float, Backlog]],
    *,
    memory: Memory | None = None,
    state: PoolState | None = None,
) -> list[int]:
    """The number of processes at each time of a course."""
    states = {"pool": state} if state else {}
    counts = []
    for now_s, backlog in waiting:
        states = decide(
            {"pool": pool},
            states,
            {pool.queues[0]: backlog},
            memory=memory or Memory(),
            supervisors={},
            now_s=now_s,
        )
        counts.append(states["pool"].wanted)
    return counts


def test_a_pool_grows_by_steps_and_faster_when_it_is_far_behind() -> None:
    """A step per cooldown: the first process must have a chance to help. An hour's backlog cannot wait for that."""
    pool = WorkerPool(("webhooks",), 1, 20)
    near, far = Backlog(30_000, row_s=0.001), Backlog(500_000, row_s=0.001)
    assert _course(pool, [(float(at), near) for at in range(10)]) == [2, 2, 2, 3, 3, 3, 3, 3, 3, 3]
    assert _course(pool, [(float(at), far) for at in range(10)]) == [4, 4, 4, 7, 7, 7, 10, 10, 10, 13]


def test_an_idle_pool_shrinks_late_and_slowly_and_does_not_swing() -> None:
    """Work that comes in waves would start and stop processes all day, and each start costs a second of processor time."""
    pool = WorkerPool(("webhooks",), 1, 5, idle_s=30, cooldown_s=3)
    grown = PoolState(5)
    idle = Backlog()
    course = _course(pool, [(float(at), idle) for at in range(60)], state=grown)
    assert course[:30] == [5] * 30
    assert course[30:42] == [4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1]
    assert set(course[42:]) == {1}
    # A wave every 20 s: it stays as it is.
    waves = [(float(at), Backlog(45_000, row_s=0.001) if at % 20 < 2 else idle) for at in range(200)]
    assert set(_course(pool, waves, state=grown)) == {5}


def test_nothing_moves_while_nothing_can_be_measured() -> None:
    """Postgres is away: a supervisor that takes that for an empty queue stops workers that are needed next."""
    states = decide(POOLS, {"webhooks": PoolState(4)}, None, memory=Memory(), supervisors={}, now_s=1_000)
    assert {name: state.wanted for name, state in states.items()} == {
        "webhooks": 4,
        "billing": 3,
        "default": 2,
    }
    assert states["webhooks"].cause == "not_measured"


def test_memory_stays_within_the_budget_and_the_minimum_stays() -> None:
    """A machine that runs out of memory kills what it likes, which may be the worker of notifications."""
    pool = WorkerPool(("webhooks",), 2, 10, cooldown_s=1)
    late = [(float(at), Backlog(10**6, row_s=0.001)) for at in range(10)]
    tight = Memory(used_bytes=200 * MIB, process_bytes=100 * MIB, max_bytes=450 * MIB)
    assert _course(pool, late[:1], memory=tight) == [4]
    full = Memory(used_bytes=400 * MIB, process_bytes=100 * MIB, max_bytes=450 * MIB)
    assert _course(pool, late, memory=full, state=PoolState(4)) == [4] * 10
    over = Memory(used_bytes=460 * MIB, process_bytes=100 * MIB, max_bytes=450 * MIB)
    assert _course(pool, late, memory=over, state=PoolState(4)) == [3, 2, *[2] * 8]
    # The one that is ending will have left its memory in a moment.
    ending = msgspec.structs.replace(over, ending_bytes=100 * MIB)
    assert _course(pool, late, memory=ending, state=PoolState(3)) == [3] * 10


def test_the_pool_that_needs_it_least_gives_its_memory() -> None:
    """An idle pool gives before the one that is behind."""
    states = {"webhooks": PoolState(5), "billing": PoolState(6), "default": PoolState(2)}
    over = Memory(used_bytes=11, process_bytes=1, max_bytes=10)
    backlogs = {"webhooks": Backlog(50_000, row_s=0.001)}
    moved = decide(POOLS, states, backlogs, memory=over, supervisors={}, now_s=100)  # type: ignore[arg-type]
    assert {name: state.wanted for name, state in moved.items()} == {
        "webhooks": 5,
        "billing": 5,
        "default": 2,
    }
    assert {state.cause for state in moved.values()} == {"memory"}


@given(
    rows=st.integers(0, 10**8),
    oldest_s=st.floats(0, 10**6),
    row_s=st.none() | st.floats(0, 1_000),
    per_s_max=st.none() | st.floats(0.1, 1_000),
    wanted=st.integers(2, 5),
    supervisors=st.integers(0, 9),
    used=st.integers(0, 1_000),
)
def test_a_pool_never_leaves_its_bounds(
    rows: int,
    oldest_s: float,
    row_s: float | None,
    per_s_max: float | None,
    wanted: int,
    supervisors: int,
    used: int,
) -> None:
    """Whatever is measured, the minimum is kept and the maximum holds."""
    backlogs = {"webhooks": Backlog(rows, oldest_s, row_s, per_s_max)}
    states = decide(
        POOLS,
        {"webhooks": PoolState(wanted)},
        backlogs,  # type: ignore[arg-type]
        memory=Memory(used, 0, 10, 500),
        supervisors={"webhooks": supervisors},
        now_s=1_000,
    )
    assert 2 <= states["webhooks"].wanted <= 5
    assert states["billing"].wanted == 3


def test_a_process_that_keeps_ending_comes_back_later_each_time() -> None:
    """One that fails at its start would otherwise take a whole processor for starting."""
    count, waits = 0, []
    for _ in range(10):
        count, wait_s = restart_wait_s(count, lived_s=1)
        waits.append(wait_s)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert restart_wait_s(9, lived_s=61) == (1, 0.5)


def test_pools_are_read_from_a_line_and_from_a_file() -> None:
    """Both forms give the same pools."""
    line = parse_pools(" webhooks : 1-4,billing+reconciliation:2-6 ,default+vop:1-2".replace(" : ", ":"))
    file = read_pools(
        b"""
        [pools.webhooks]
        queues = ["webhooks"]
        processes_min = 1
        processes_max = 4
        [pools.billing]
        queues = ["billing", "reconciliation"]
        processes_min = 2
        processes_max = 6
        [pools.default]
        queues = ["default", "vop"]
        processes_max = 2
        """
    )
    assert line == file
    assert parse_pools("") == DEFAULT_POOLS
    assert parse_pools("local") == LOCAL_POOLS
    assert unserved(line) == ()
    assert unserved(parse_pools("webhooks:1-2")) == ("billing", "reconciliation", "default", "vop")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("webhooks", "is no list of pools"),
        ("webhooks:2", "is no list of pools"),
        ("webhooks:-1-2", "is no list of pools"),
        ("webhooks:\u0662-5", "is no list of pools"),
        ("webhook:2-5", "a queue is none of webhooks, billing"),
        ("webhooks:0-5", "the minimum must be from 1"),
        ("webhooks:5-2", "the minimum is above the maximum"),
        ("webhooks:1-999", "the maximum is above 200"),
        ("webhooks:1-2,webhooks:1-2", "Queue webhooks is in two pools"),
        ("webhooks:1-2,billing+webhooks:1-2", "Queue webhooks is in two pools"),
        ("billing+billing:1-2", "each of them once"),
        (b"", "names no pool"),
        (b"[pools.a", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[pools.'a:b']\nqueues = ['webhooks']", "other characters than small letters"),
        (b"[pools.a]\nqueues = []", "it needs queues"),
        (b"[pools.a]\nqueues = ['webhooks']\nclear_s = 0", "must be above 0"),
        (b"[pools.a]\nqueues = ['webhooks']\nshift_max = 0", "shift_max must be 1"),
        (b"[pools.a]\nqueues = ['webhooks']\nmaximum = 3", "unknown field `maximum`"),
    ],
)
def test_pools_that_make_no_sense_are_refused_with_a_sentence(text: str | bytes, words: str) -> None:
    """A typing mistake must not start a supervisor that serves no notifications."""
    with pytest.raises(InvalidRequest) as caught:
        parse_pools(text) if isinstance(text, str) else read_pools(text)
    assert words.lower() in str(caught.value).lower()
    assert str(caught.value).startswith("TETHER_WORKER_POOLS")
