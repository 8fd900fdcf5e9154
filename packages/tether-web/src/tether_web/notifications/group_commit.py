"""
Group commit: many waiting requests, one call.

There is no timer. The first request starts a call at once; whatever arrives while that call is in flight goes
into the next one. An idle server therefore adds no delay, and a busy one shares the price of a commit (one round
trip, one flush to disk) among all that wait. The same mechanism serves the look-aside in Redis; what that leaves open
goes on into the commit without waking whoever waits.

When a call fails because of its content, its items are tried alone, so that one bad row cannot fail
its neighbours. When it fails because the store is away, all of them fail at once: asking 256 times more would
only take longer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from tether_core.errors import Overloaded, Unavailable

__all__ = ["Deadlines", "Group"]

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
        call: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        *,
        batch_max: int,
        waiting_max: int,
        what: str,
        sizes: Callable[[float], object] = lambda _: None,
        onward: "Group[T, R] | None" = None,
        deadlines: "Deadlines | None" = None,
    ) -> None:
        """
        Prepare; nothing runs until the first item.

        Args:
            call: Does n items at once and gives n results in their order.
            batch_max: Items at most in one call.
            waiting_max: Items at most that may wait.
            what: What the items are, for `Overloaded`.
            sizes: Told the size of every batch.
            onward: Where items go whose result is `None`, and with them whoever waits.
            deadlines: Ends waits that take too long.
        """
        self.sizes = sizes
        self._call = call
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._what = what
        self._onward = onward
        self._deadlines = deadlines
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
            Exception: what the call raised, for this item alone, or what the deadline makes.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.add(item, future)
        wait = self._deadlines.watch(future) if self._deadlines is not None else None
        try:
            return await future
        finally:
            # See _refuse.
            del future
            if wait is not None:
                wait.future = None

    def add(self, item: T, future: "asyncio.Future[R]") -> None:
        """
        Have *item* done; the result goes to *future*.

        Args:
            item: One item.
            future: Of whoever waits. Once it is done, as by giving up, the item is not served any more.

        Raises:
            Overloaded: when too many wait already.
        """
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded(self._what, limit=self._waiting_max)
        self._waiting.append((item, future))
        if self._running is None:
            # Of nobody's request: what it logs would bear the id of whoever came first.
            self._running = asyncio.create_task(self._run(), context=Context())

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
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
                    await self._serve(batch)
        finally:
            self._running = None

    async def _serve(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        self.sizes(len(batch))
        try:
            results = await self._call([item for item, _ in batch])
        except Unavailable as exc:
            for _, future in batch:
                _refuse(future, exc)
        except Exception as exc:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            if len(batch) == 1:
                _fail(batch[0][1], exc)
            else:
                await self._serve_alone(batch)
        else:
            for (item, future), result in zip(batch, results, strict=True):
                if not future.done():
                    self._give(item, future, result)

    async def _serve_alone(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        for place, item in enumerate(batch):
            future = item[1]
            if future.done():
                continue
            await self._serve([item])
            problem = future.exception() if future.done() and not future.cancelled() else None
            if isinstance(problem, Unavailable):
                for _, other in batch[place + 1 :]:
                    _refuse(other, problem)
                return

    def _give(self, item: T, future: "asyncio.Future[R]", result: R | None) -> None:
        if result is not None:
            future.set_result(result)
            return
        assert self._onward is not None, "only a group with another behind it may leave an item open"
        try:
            self._onward.add(item, future)
        except Overloaded as exc:
            _refuse(future, exc)


class Deadlines:
    """Ends waits that take too long, by one timer for all of them: each may take equally long, so the first to begin ends first."""

    class Wait:
        """One wait; whoever has waited takes the future out, so that nothing holds what it brought."""

        __slots__ = ("future", "until_s")

        def __init__(self, until_s: float, future: "asyncio.Future[Any]") -> None:
            self.until_s = until_s
            self.future: asyncio.Future[Any] | None = future

        @property
        def over(self) -> bool:
            """Whether it has ended by itself."""
            return self.future is None or self.future.done()

    def __init__(self, wait_s: float, failure: Callable[[], Exception]) -> None:
        """
        Prepare.

        Args:
            wait_s: How long each may take, in seconds.
            failure: Makes what is raised in whoever waits.
        """
        self._wait_s = wait_s
        self._failure = failure
        self._begun: deque[Deadlines.Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: "asyncio.Future[Any]") -> "Deadlines.Wait":
        """Give *future* its time from now on."""
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


def _fail(future: "asyncio.Future[R]", problem: Exception) -> None:
    if not future.done():
        future.set_exception(problem)


def _refuse(future: "asyncio.Future[R]", problem: Unavailable) -> None:
    # A traceback holds the frames it passed, a frame the future, the future its problem, and the problem the traceback: a
    # ring that only the garbage collector opens, with a request in it, and under overload there are thousands a second.
    problem.__cause__ = problem.__context__ = None  # theirs hold the whole batch
    _fail(future, problem.with_traceback(None))
