"""
How a web process ends: it announces that, then stops; and it ends with the process that started it.

After SIGTERM each answer says `Connection: close` for `ANNOUNCE_S`, event streams end, and `/ready` is red. A proxy that keeps
connections open so learns of the end from an answer, and not from a request that is cut off. Only then the server is told,
which answers what is under way and closes.

Granian runs the application in child processes. If their parent is killed, nobody would stop them, and they would hold the port
against its successor.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from tether_stores.telemetry import logger

__all__ = ["ANNOUNCE_S", "Shutdown", "announced_by_sigterm", "with_parent"]

# Half a second reaches every connection that carries more than two requests a second.
ANNOUNCE_S: Final = 0.5
_PARENT_S: Final = 0.5

_log = logger("shutdown")


class Shutdown:
    """
    Whether this process is about to end.

    Attributes:
        announced: Set once; every answer from then on asks for a new connection elsewhere.
    """

    def __init__(self) -> None:
        self.announced = False


@contextmanager
def announced_by_sigterm(shutdown: Shutdown, *, drain: Callable[[], None]) -> Iterator[None]:
    """
    Have SIGTERM announce the end before it takes effect.

    The server ends the application's life only after the last answer has ended, so that cannot be what ends streams.

    Args:
        shutdown: Where it is announced.
        drain: Ends the streams of this process.

    Yields:
        Nothing.
    """
    loop = asyncio.get_running_loop()
    # Signals go to the main thread; whoever runs the application in another one ends it by other means.
    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_charge else None
    if not callable(before):
        yield  # the signal does not come here, or ends the process at once
        return
    stop = before

    def announce(number: int) -> None:
        if shutdown.announced:  # a second signal means now
            stop(number, None)
            return
        shutdown.announced = True
        drain()
        loop.call_later(ANNOUNCE_S, stop, number, None)

    def on_signal(number: int, _: Any) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed has no connections
            loop.call_soon_threadsafe(announce, number)

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def with_parent() -> AsyncIterator[None]:
    """End this process, as SIGTERM does, once the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return

    async def watch(pid: int | None) -> None:
        # Its sentinel would say so at once, were it not kept open by every child that was started later.
        while os.getppid() == pid:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(_PARENT_S)
        _log.error("parent process gone, stopping")
        signal.raise_signal(signal.SIGTERM)

    watching = asyncio.create_task(watch(parent.pid))
    try:
        yield
    finally:
        watching.cancel()
