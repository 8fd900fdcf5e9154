"""Group commit: one call for all that wait, each with its own result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tether_core.errors import Overloaded, StoreUnreachable
from tether_web.group_commit import Group

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Calls:
    """A call that doubles numbers, can be held up, and refuses what it was told to refuse."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refused: dict[int, Exception] = {}
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.open.wait()
        for item in items:
            if item in self.refused:
                raise self.refused[item]
        return [item * 2 for item in items]


@pytest.fixture
def calls() -> _Calls:
    """What the group of a test calls."""
    return _Calls()


def _group(calls: _Calls, *, batch_max: int = 4, waiting_max: int = 100) -> Group[int, int]:
    return Group(calls, batch_max=batch_max, waiting_max=waiting_max, what="numbers")


async def _settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_single_item_waits_for_nobody(calls: _Calls) -> None:
    """On a quiet day each notification is alone; a timer would add its length to every answer."""
    assert await _group(calls).do(21) == 42
    assert calls.batches == [[21]]


async def test_what_arrives_meanwhile_goes_together_and_in_order(calls: _Calls) -> None:
    """A busy node shares one commit among all that wait, and gives each sender the result of its own."""
    group = _group(calls)
    sizes: list[float] = []
    group.sizes = sizes.append
    calls.open.clear()
    tasks = [asyncio.create_task(group.do(n)) for n in range(10)]
    await _settled()
    calls.open.set()
    assert await asyncio.gather(*tasks) == [n * 2 for n in range(10)]
    assert calls.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sizes == [4, 4, 2]


async def test_one_bad_item_fails_alone(calls: _Calls) -> None:
    """A row the database refuses must not take its neighbours' answers with it."""
    calls.refused[2] = ValueError("no")
    results = await asyncio.gather(*map(_group(calls).do, range(4)), return_exceptions=True)
    assert results[:2] + results[3:] == [0, 2, 6]
    assert isinstance(results[2], ValueError)
    assert calls.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]


async def test_a_store_that_is_away_is_asked_once(calls: _Calls) -> None:
    """Asking again for each of 256 rows would have every sender wait 256 times as long for the same 503."""
    calls.refused[2] = StoreUnreachable("postgres")
    results = await asyncio.gather(*map(_group(calls).do, range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnreachable] * 4
    assert calls.batches == [[0, 1, 2, 3]]


async def test_who_gave_up_waiting_is_not_served(calls: _Calls) -> None:
    """After a freeze thousands have been answered 503.

    Their rows must not delay those who are still there.
    """
    group = _group(calls)
    calls.open.clear()
    first = asyncio.create_task(group.do(0))
    await _settled()
    gone = [asyncio.create_task(group.do(n)) for n in range(1, 9)]
    last = asyncio.create_task(group.do(9))
    await _settled()
    for task in gone:
        task.cancel()
    await _settled()
    calls.open.set()
    assert [await first, await last] == [0, 18]
    assert calls.batches == [[0], [9]]


async def test_too_many_are_turned_away_and_the_bound_frees_itself(calls: _Calls) -> None:
    """Memory has an end.

    Beyond the bound senders are told to come again, and are taken once there is room.
    """
    group = _group(calls, waiting_max=2)
    calls.open.clear()
    tasks = [asyncio.create_task(group.do(n)) for n in range(1)]
    await _settled()
    tasks += [asyncio.create_task(group.do(n)) for n in range(1, 3)]
    await _settled()
    with pytest.raises(Overloaded, match="Already 2 numbers wait"):
        await group.do(3)
    calls.open.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4]
    assert await group.do(4) == 8


async def test_a_group_that_failed_goes_on(calls: _Calls) -> None:
    """An outage ends by itself; a group that stopped with it would answer 503 until somebody restarts us."""
    group = _group(calls)
    calls.refused = {1: StoreUnreachable("postgres"), 2: KeyError("x")}
    for item, error in ((1, StoreUnreachable), (2, KeyError)):
        with pytest.raises(error):
            await group.do(item)
    assert await group.do(3) == 6


async def test_drained_means_that_nothing_is_in_flight(calls: _Calls) -> None:
    """A node that stops must have committed what it promised, including what came while it was draining."""
    group = _group(calls)
    await group.drained()
    calls.open.clear()
    first = asyncio.create_task(group.do(1))
    await _settled()
    draining = asyncio.create_task(group.drained())
    second = asyncio.create_task(group.do(2))
    await _settled()
    assert not draining.done()
    calls.open.set()
    await draining
    assert (first.done(), second.done()) == (True, True)
