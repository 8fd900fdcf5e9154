"""How work runs: rung or looked for, until nothing waits, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_worker.jobs.run import Ran, Work, look, run, rung, rung_off

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = msgspec.structs.replace(WEBHOOKS, look_every_s=0.01, run_s=5)


class Pile:
    """Rows that wait, and how often somebody came for them."""

    def __init__(self, *bites: int | Exception) -> None:
        self.bites = list(bites)
        self.taken = 0
        self.looks: list[bool | Exception] = []
        self.looked = 0

    async def bite(self) -> int:
        self.taken += 1
        found = self.bites.pop(0) if self.bites else 0
        if isinstance(found, Exception):
            raise found
        return found

    async def waits(self) -> bool:
        self.looked += 1
        found = self.looks.pop(0) if self.looks else False
        if isinstance(found, Exception):
            raise found
        return found

    def work(self, **changes: Any) -> Work:
        return Work(msgspec.structs.replace(QUICK, **changes), self.bite, self.waits)


async def test_a_run_goes_on_until_nothing_waits() -> None:
    """A thousand rows behind one ring are all booked, not the first batch of them."""
    pile = Pile(3, 3, 1)
    assert await run(pile.work()) == Ran(7, all_done=True)
    assert pile.bites == []


async def test_a_run_ends_in_time_however_much_waits() -> None:
    """Without an end a run would hold its lane past its timeout, and be cancelled amid a batch."""
    endless = Pile()

    async def bite() -> int:
        endless.taken += 1
        await asyncio.sleep(0.001)
        return 5

    work = Work(msgspec.structs.replace(QUICK, run_s=0.05), bite, endless.waits)
    async with asyncio.timeout(30):
        ran = await run(work)
    assert (ran.rows == endless.taken * 5 > 5, ran.all_done) == (True, False)


@pytest.mark.parametrize("problem", [StoreUnreachable("postgres"), KeyError("x")])
async def test_a_ring_never_fails(problem: Exception) -> None:
    """A job that fails leaves a record and a traceback in Redis. The rows still wait, and that is enough."""
    pile = Pile(problem)
    with structlog.testing.capture_logs() as lines:
        await rung(pile.work())({})
    assert [line["log_level"] for line in lines] == [
        "warning" if isinstance(problem, StoreUnreachable) else "error"
    ]
    await rung(pile.work())({})
    assert pile.taken == 2


async def test_after_a_job_has_left_its_lane_one_more_look_is_taken() -> None:
    """A row committed during the last, empty bite rang a bell that was ringing still.

    Nobody else would come.
    """
    pile, other = Pile(1), Pile(1)
    works = [
        pile.work(),
        msgspec.structs.replace(other.work(), job=msgspec.structs.replace(QUICK, name="other")),
    ]
    job = type("Job", (), {"function": QUICK.name})
    await rung_off(works)({"job": job})
    assert (pile.taken >= 1, pile.bites, other.taken) == (True, [], 0)


async def test_the_look_finds_what_was_not_rung_for(eventually: Callable[..., Any]) -> None:
    """Redis may lose any ring; then the look is all that is left, whatever it meets on its way."""
    pile = Pile(2, StoreUnreachable("postgres"), KeyError("x"), 3)
    pile.looks = [False, True, StoreUnreachable("postgres"), KeyError("relation"), True, True, True, False]
    stopping = asyncio.Event()
    with structlog.testing.capture_logs():
        task = asyncio.create_task(look(pile.work(), stopping=stopping))
        await eventually(lambda: pile.looked > 8, what="looks after all kinds of trouble")
        assert not task.done()
        stopping.set()
        await task
    assert pile.bites == []


async def test_the_look_stops_when_told_to(eventually: Callable[..., Any]) -> None:
    """A worker that is told to stop must not sit out the pause of its looks."""
    pile, stopping = Pile(), asyncio.Event()
    task = asyncio.create_task(look(pile.work(look_every_s=600), stopping=stopping))
    await eventually(lambda: pile.looked, what="the first look")
    stopping.set()
    async with asyncio.timeout(30):
        await task


async def test_the_next_run_follows_at_once_where_time_was_over_and_not_the_rows(
    eventually: Callable[..., Any],
) -> None:
    """A pause between two runs takes a second out of every half minute of a rate that is to be held, of all workers at once."""
    pile, stopping = Pile(), asyncio.Event()

    async def bite() -> int:
        pile.taken += 1
        await asyncio.sleep(0.001)
        return 5 if pile.looked < 3 else 0

    pile.looks = [True] * 3
    job = msgspec.structs.replace(QUICK, run_s=0.05, look_every_s=600)
    task = asyncio.create_task(look(Work(job, bite, pile.waits), stopping=stopping))
    await eventually(lambda: pile.looked == 3, what="a look right after each of two runs whose time was over")
    stopping.set()
    async with asyncio.timeout(30):
        await task
    assert pile.looked == 3
