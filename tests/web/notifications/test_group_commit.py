"""Group commit: one call for all that wait, each with its own result."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from tether_core.errors import Overloaded, StoreUnreachable, Unavailable
from tether_web.notifications.group_commit import Deadlines, GroupCommit

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Calls:
    """A call that doubles numbers, can be delayed, and fails for chosen numbers."""

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


def _group(calls: _Calls, *, batch_max: int = 4, waiting_max: int = 100) -> GroupCommit[int, int]:
    return GroupCommit(calls, batch_max=batch_max, waiting_max=waiting_max, what="numbers")


async def _resolved() -> None:
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
    await _resolved()
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


async def test_an_unavailable_store_is_called_once(calls: _Calls) -> None:
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
    await _resolved()
    gone = [asyncio.create_task(group.do(n)) for n in range(1, 9)]
    last = asyncio.create_task(group.do(9))
    await _resolved()
    for task in gone:
        task.cancel()
    await _resolved()
    calls.open.set()
    assert [await first, await last] == [0, 18]
    assert calls.batches == [[0], [9]]


async def test_too_many_are_rejected_and_the_bound_frees_itself(calls: _Calls) -> None:
    """Memory has an end.

    Beyond the bound senders get 503, and are accepted once there is room.
    """
    group = _group(calls, waiting_max=2)
    calls.open.clear()
    tasks = [asyncio.create_task(group.do(n)) for n in range(1)]
    await _resolved()
    tasks += [asyncio.create_task(group.do(n)) for n in range(1, 3)]
    await _resolved()
    with pytest.raises(Overloaded, match="2 numbers are waiting already"):
        await group.do(3)
    calls.open.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4]
    assert await group.do(4) == 8


async def test_a_group_that_failed_goes_on(calls: _Calls) -> None:
    """After an outage the group must go on; otherwise it would answer 503 until a restart."""
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
    await _resolved()
    draining = asyncio.create_task(group.drained())
    second = asyncio.create_task(group.do(2))
    await _resolved()
    assert not draining.done()
    calls.open.set()
    await draining
    assert (first.done(), second.done()) == (True, True)


async def test_what_is_left_open_goes_on_and_nobody_is_woken_between(calls: _Calls) -> None:
    """Items that the look-aside does not resolve must reach the commit with their futures."""
    group = _group(calls)

    async def known(items: Sequence[int]) -> Sequence[int | None]:
        return [item * 10 if item % 2 else None for item in items]

    first = GroupCommit(known, batch_max=4, waiting_max=100, what="numbers", next_group=group)
    assert await asyncio.gather(*map(first.do, range(4))) == [0, 10, 4, 30]
    assert calls.batches == [[0, 2]]


async def test_too_many_behind_a_look_are_rejected(calls: _Calls) -> None:
    """The bound on memory holds for those who came in by the look-aside, too."""
    group = _group(calls, waiting_max=1)

    async def unknown(items: Sequence[int]) -> Sequence[int | None]:
        return [None for _ in items]

    first = GroupCommit(unknown, batch_max=4, waiting_max=100, what="numbers", next_group=group)
    results = await asyncio.gather(*map(first.do, range(3)), return_exceptions=True)
    assert results[0] == 0
    assert [type(result) for result in results[1:]] == [Overloaded, Overloaded]


async def test_alone_no_cancelled_request_is_served_and_an_unavailable_store_is_called_once() -> None:
    """After a bad row each is tried alone: 256 times a dead store's timeout would be minutes without an answer."""
    batches: list[list[int]] = []
    waiting: list[asyncio.Task[int]] = []

    async def call(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        if len(items) > 1:
            waiting[0].cancel()
            await _resolved()
            raise KeyError("x")
        if items[0] == 2:
            raise StoreUnreachable("postgres")
        return items

    group = GroupCommit(call, batch_max=9, waiting_max=9, what="numbers")
    waiting += [asyncio.create_task(group.do(item)) for item in range(5)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, int, *[StoreUnreachable] * 3]
    assert batches == [[0, 1, 2, 3, 4], [1], [2]]


class _Held:
    """An item whose weak reference shows whether it is still referenced."""


@pytest.mark.parametrize("refused_by", ["the call", "a full group behind", "the deadline"])
async def test_who_was_refused_is_held_by_nobody(refused_by: str) -> None:
    """Under overload thousands a second are refused: each must go at once and not wait for the collector, request and all."""
    opened = asyncio.Event()

    async def waits(items: Sequence[_Held]) -> Sequence[None]:
        await opened.wait()
        if refused_by == "the call":
            raise StoreUnreachable("postgres") from OSError(items)
        return [None for _ in items]

    full: GroupCommit[_Held, None] = GroupCommit(waits, batch_max=1, waiting_max=0, what="items")
    # One that waits on keeps the others' entries behind it in the queue of deadlines.
    deadlines = Deadlines(0.05 if refused_by == "the deadline" else 60, lambda: StoreUnreachable("postgres"))
    older = deadlines.watch(asyncio.get_running_loop().create_future())
    group = GroupCommit(waits, batch_max=2, waiting_max=9, what="items", next_group=full, deadlines=deadlines)
    items = [_Held(), _Held()]
    held = [weakref.ref(item) for item in items]
    gc.collect()
    gc.disable()
    try:
        waiting = [asyncio.create_task(group.do(item)) for item in items]
        del items
        if refused_by != "the deadline":
            await _resolved()
            opened.set()
        await asyncio.wait(waiting)
        assert all(isinstance(entry.exception(), Unavailable) for entry in waiting)
        del waiting
        opened.set()
        await group.drained()
        await _resolved()
        assert [entry() for entry in held] == [None, None]
        assert older.future is not None
    finally:
        gc.enable()


async def test_waits_end_in_their_order_and_each_in_its_time() -> None:
    """One timer serves all: a sender must neither be let down early because of an older one, nor wait without end."""
    deadlines = Deadlines(0.05, lambda: StoreUnreachable("postgres"))
    loop = asyncio.get_running_loop()
    served, first = loop.create_future(), loop.create_future()
    began = loop.time()
    for future in (served, first):
        deadlines.watch(future)
    served.set_result("in time")
    await asyncio.wait([first])
    later: asyncio.Future[None] = loop.create_future()
    since = loop.time()
    deadlines.watch(later)
    await asyncio.wait([later])
    assert isinstance(first.exception(), StoreUnreachable)
    assert isinstance(later.exception(), StoreUnreachable)
    assert since - began >= 0.05
    assert loop.time() - since >= 0.05
    assert await served == "in time"
