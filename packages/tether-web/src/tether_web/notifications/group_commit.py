"""
Group commit: many waiting requests, one call.

There is no timer. The first request starts a call at once; items that arrive while the call is in flight go into the next one. An
idle server adds no delay, and a busy one shares the cost of a commit (one round trip, one flush to disk) among all waiting requests.
The look-aside in Redis uses the same mechanism; items that it does not resolve move on to the commit.

If a call fails because of its content, its items are tried one by one, so that a bad row does not fail the others. If it fails
because the store is unavailable, all items fail at once: 256 further calls would only take longer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from tether_core.errors import Overloaded, Unavailable

__all__ = ["Deadlines", "GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """
    Joins the calls of many tasks into one.

    Attributes:
        sizes: Called with the size of each batch; for metrics.
    """

    def __init__(
        self,
        call: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        *,
        batch_max: int,
        waiting_max: int,
        what: str,
        sizes: Callable[[float], object] = lambda _: None,
        next_group: "GroupCommit[T, R] | None" = None,
        deadlines: "Deadlines | None" = None,
    ) -> None:
        """
        Nothing runs until the first item.

        Args:
            call: Processes n items and returns n results in their order.
            batch_max: Maximum of items in one call.
            waiting_max: Maximum of waiting items.
            what: What the items are, for `Overloaded`.
            sizes: Called with the size of each batch.
            next_group: Gets the items whose result is `None`, with their futures.
            deadlines: Ends waits that take too long.
        """
        self.sizes = sizes
        self._call = call
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._what = what
        self._next_group = next_group
        self._deadlines = deadlines
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """
        Process *item* together with the other waiting items, and return its result.

        Raises:
            Overloaded: when too many items wait.
            Exception: what the call raised for this item, or the failure of the deadline.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.add(item, future)
        wait = self._deadlines.watch(future) if self._deadlines is not None else None
        try:
            return await future
        finally:
            # See _fail_unavailable.
            del future
            if wait is not None:
                wait.future = None

    def add(self, item: T, future: "asyncio.Future[R]") -> None:
        """
        Process *item*, and set the result of *future*. An item whose future is done, e.g. cancelled, is skipped.

        Raises:
            Overloaded: when too many items wait.
        """
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded(self._what, limit=self._waiting_max)
        self._waiting.append((item, future))
        if self._running is None:
            # Its own context: otherwise its log lines would have the request id of the first item.
            self._running = asyncio.create_task(self._run(), context=Context())

    async def drained(self) -> None:
        """Wait until no item waits and no call is in flight."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch: list[tuple[T, asyncio.Future[R]]] = []
                while self._waiting and len(batch) < self._batch_max:
                    item = self._waiting.popleft()
                    if not item[1].done():
                        batch.append(item)
                if batch:
                    await self._run_batch(batch)
        finally:
            self._running = None

    async def _run_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        self.sizes(len(batch))
        try:
            results = await self._call([item for item, _ in batch])
        except Unavailable as exc:
            for _, future in batch:
                _fail_unavailable(future, exc)
        except Exception as exc:  # noqa: BLE001 - every error must reach the waiting requests
            if len(batch) == 1:
                _fail(batch[0][1], exc)
            else:
                await self._run_one_by_one(batch)
        else:
            for (item, future), result in zip(batch, results, strict=True):
                if not future.done():
                    self._resolve(item, future, result)

    async def _run_one_by_one(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        for place, item in enumerate(batch):
            future = item[1]
            if future.done():
                continue
            await self._run_batch([item])
            exc = future.exception() if future.done() and not future.cancelled() else None
            if isinstance(exc, Unavailable):
                for _, other in batch[place + 1 :]:
                    _fail_unavailable(other, exc)
                return

    def _resolve(self, item: T, future: "asyncio.Future[R]", result: R | None) -> None:
        if result is not None:
            future.set_result(result)
            return
        assert self._next_group is not None, "only a group with a next group may leave an item open"
        try:
            self._next_group.add(item, future)
        except Overloaded as exc:
            _fail_unavailable(future, exc)


class Deadlines:
    """Ends waits that take too long, with one timer for all: each has the same limit, so the oldest wait ends first."""

    class Wait:
        """One wait; its owner removes the future when the wait is over, so that the result is not kept alive."""

        __slots__ = ("future", "until_s")

        def __init__(self, until_s: float, future: "asyncio.Future[Any]") -> None:
            self.until_s = until_s
            self.future: asyncio.Future[Any] | None = future

        @property
        def over(self) -> bool:
            """Whether it has ended."""
            return self.future is None or self.future.done()

    def __init__(self, wait_s: float, failure: Callable[[], Exception]) -> None:
        """
        Start without a timer.

        Args:
            wait_s: Limit of each wait, in seconds.
            failure: Makes the exception of an expired wait.
        """
        self._wait_s = wait_s
        self._failure = failure
        self._begun: deque[Deadlines.Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: "asyncio.Future[Any]") -> "Deadlines.Wait":
        """Start the deadline of *future*."""
        loop = asyncio.get_running_loop()
        begun = self._begun
        while begun and begun[0].over:
            begun.popleft()
        wait = Deadlines.Wait(loop.time() + self._wait_s, future)
        begun.append(wait)
        if self._timer is None:
            self._timer = loop.call_at(begun[0].until_s, self._end)
        return wait

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._begun and (self._begun[0].over or self._begun[0].until_s <= now):
            future = self._begun.popleft().future
            if future is not None and not future.done():
                future.set_exception(self._failure())
        self._timer = loop.call_at(self._begun[0].until_s, self._end) if self._begun else None


def _fail(future: "asyncio.Future[R]", exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)


def _fail_unavailable(future: "asyncio.Future[R]", exc: Unavailable) -> None:
    # A traceback refers to frames, a frame to the future, the future to its exception, and the exception to the traceback: a
    # reference cycle that only the garbage collector frees, with a request in it, thousands of times a second under overload.
    exc.__cause__ = exc.__context__ = None  # they refer to the whole batch
    _fail(future, exc.with_traceback(None))
