"""How work runs: woken or polled, until nothing is due, with any error in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_worker.jobs.run import BatchPause, Ran, Work, look, rewake, run, woken

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = msgspec.structs.replace(WEBHOOKS, look_every_s=0.01, run_s=5)


class Pile:
    """Rows that wait, and how often somebody came for them."""

    def __init__(self, *batches: int | Exception) -> None:
        self.batches = list(batches)
        self.taken = 0
        self.looks: list[bool | Exception] = []
        self.looked = 0

    async def batch(self) -> int:
        self.taken += 1
        found = self.batches.pop(0) if self.batches else 0
        if isinstance(found, Exception):
            raise found
        return found

    async def has_pending(self) -> bool:
        self.looked += 1
        found = self.looks.pop(0) if self.looks else False
        if isinstance(found, Exception):
            raise found
        return found

    def work(self, **changes: Any) -> Work:
        return Work(msgspec.structs.replace(QUICK, **changes), self.batch, self.has_pending)


async def test_a_run_goes_on_until_nothing_waits() -> None:
    """A thousand rows behind one wake-up are all applied, not the first batch of them."""
    pile = Pile(3, 3, 1)
    assert await run(pile.work()) == Ran(7, all_done=True)
    assert pile.batches == []


async def test_a_run_ends_in_time_however_much_waits() -> None:
    """Without an end a run would hold its slot past its timeout, and be cancelled amid a batch."""
    endless = Pile()

    async def batch() -> int:
        endless.taken += 1
        await asyncio.sleep(0.001)
        return 5

    work = Work(msgspec.structs.replace(QUICK, run_s=0.05), batch, endless.has_pending)
    async with asyncio.timeout(120):
        ran = await run(work)
    assert (ran.rows == endless.taken * 5 > 5, ran.all_done) == (True, False)


async def test_a_run_with_a_pause_looks_again_until_it_finds_nothing() -> None:
    """Rows that come all the time are handled by one run, in batches, without a wake-up for every few."""
    pile = Pile(3, 3, 1, 2, 0, 9)
    work = msgspec.structs.replace(pile.work(), batch_size=3, pause=BatchPause(0.001))
    assert await run(work) == Ran(9, all_done=True)
    assert pile.batches == [9]


async def test_a_wake_up_during_a_pause_leaves_the_rows_to_the_run_that_pauses(
    eventually: Callable[..., Any],
) -> None:
    """Each wake-up of another slot would otherwise begin a run of its own, and all of them would share the rows."""
    pile = Pile(1)
    pause = BatchPause(600)
    work = msgspec.structs.replace(pile.work(), batch_size=3, pause=pause)
    pausing = asyncio.create_task(run(work))
    await eventually(lambda: pause.is_on, what="the pause")
    assert await run(work) == Ran(0, all_done=True)
    assert pile.taken == 1
    pausing.cancel()
    await asyncio.wait([pausing])
    assert await run(work) == Ran(0, all_done=True)
    assert pile.taken == 2, "a cancelled pause would keep the rows from every later run"


@pytest.mark.parametrize("problem", [StoreUnreachable("postgres"), KeyError("x")])
async def test_a_wake_up_never_fails(problem: Exception) -> None:
    """A job that fails leaves a record and a traceback in Redis. The rows still wait, and that is enough."""
    pile = Pile(problem)
    with structlog.testing.capture_logs() as lines:
        await woken(pile.work())({})
    assert [line["log_level"] for line in lines] == [
        "warning" if isinstance(problem, StoreUnreachable) else "error"
    ]
    await woken(pile.work())({})
    assert pile.taken == 2


async def test_after_a_job_has_left_its_slot_one_more_look_is_taken() -> None:
    """A row committed during the last, empty batch woke a bell that was waking still.

    Nobody else would come.
    """
    pile, other = Pile(1), Pile(1)
    works = [
        pile.work(),
        msgspec.structs.replace(other.work(), job=msgspec.structs.replace(QUICK, name="other")),
    ]
    job = type("Job", (), {"function": QUICK.name})
    await rewake(works)({"job": job})
    assert (pile.taken >= 1, pile.batches, other.taken) == (True, [], 0)


async def test_the_look_finds_what_was_not_woken_for(eventually: Callable[..., Any]) -> None:
    """Redis may lose any wake-up; then only the poll is left, and it must survive any error."""
    pile = Pile(2, StoreUnreachable("postgres"), KeyError("x"), 3)
    pile.looks = [False, True, StoreUnreachable("postgres"), KeyError("relation"), True, True, True, False]
    stopping = asyncio.Event()
    with structlog.testing.capture_logs():
        task = asyncio.create_task(look(pile.work(), stopping=stopping))
        await eventually(lambda: pile.looked > 8, what="looks after all kinds of trouble")
        assert not task.done()
        stopping.set()
        await task
    assert pile.batches == []


async def test_polling_stops_when_requested(eventually: Callable[..., Any]) -> None:
    """A stopping worker must not wait for the end of its poll interval."""
    pile, stopping = Pile(), asyncio.Event()
    task = asyncio.create_task(look(pile.work(look_every_s=600), stopping=stopping))
    await eventually(lambda: pile.looked, what="the first look")
    stopping.set()
    async with asyncio.timeout(120):
        await task


async def test_the_next_run_follows_at_once_where_time_was_over_and_not_the_rows(
    eventually: Callable[..., Any],
) -> None:
    """A pause between two runs takes a second out of every half minute of a rate that is to be held, of all workers at once."""
    pile, stopping = Pile(), asyncio.Event()

    async def batch() -> int:
        pile.taken += 1
        await asyncio.sleep(0.001)
        return 5 if pile.looked < 3 else 0

    pile.looks = [True] * 3
    job = msgspec.structs.replace(QUICK, run_s=0.05, look_every_s=600)
    task = asyncio.create_task(look(Work(job, batch, pile.has_pending), stopping=stopping))
    await eventually(lambda: pile.looked == 3, what="a look right after each of two runs whose time was over")
    stopping.set()
    async with asyncio.timeout(120):
        await task
    assert pile.looked == 3
