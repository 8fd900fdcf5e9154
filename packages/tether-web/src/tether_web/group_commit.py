"""
Group commit: many waiting requests, one call.

There is no timer. The first request starts a call at once; whatever arrives while that call is in flight goes
into the next one. An idle server therefore adds no delay, and a busy one shares the price of a commit (one round
trip, one flush to disk) among all that wait. The same mechanism serves the look-aside in Redis.

When a call fails because of its content, its items are tried alone, so that one bad row cannot fail
its neighbours. When it fails because the store is away, all of them fail at once: asking 256 times more would
only take longer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tether_core.errors import Overloaded, Unavailable

__all__ = ["Group"]

T = TypeVar("T")
R = TypeVar("R")


class Group(Generic[T, R]):
    """
    Joins the calls of many tasks into one.

    Attributes:
        sizes: Told the size of every batch; for metrics.
    """

    def __init__(
        self,
        call: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        batch_max: int,
        waiting_max: int,
        what: str,
        sizes: Callable[[float], object] = lambda _: None,
    ) -> None:
        """
        Prepare; nothing runs until the first `do`.

        Args:
            call: Does n items at once and gives n results in their order.
            batch_max: Items at most in one call.
            waiting_max: Items at most that may wait.
            what: What the items are, for `Overloaded`.
            sizes: Told the size of every batch.
        """
        self.sizes = sizes
        self._call = call
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._what = what
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """
        Have *item* done together with whatever else waits.

        Args:
            item: One item.

        Returns:
            Its own result.

        Raises:
            Overloaded: when too many wait already.
            Exception: what the call raised, for this item alone.
        """
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded(self._what, limit=self._waiting_max)
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch: list[tuple[T, asyncio.Future[R]]] = []
                while self._waiting and len(batch) < self._batch_max:
                    item, future = self._waiting.popleft()
                    if not future.done():  # a task that gave up waiting is not served any more
                        batch.append((item, future))
                if batch:
                    await self._serve(batch)
        finally:
            self._running = None

    async def _serve(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        self.sizes(len(batch))
        try:
            results = await self._call([item for item, _ in batch])
        except Unavailable as problem:
            for _, future in batch:
                _fail(future, problem)
        except Exception as problem:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            if len(batch) == 1:
                _fail(batch[0][1], problem)
            else:
                for one in batch:
                    await self._serve([one])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(future: "asyncio.Future[R]", problem: Exception) -> None:
    if not future.done():
        future.set_exception(problem)
