"""
Graceful shutdown of a web process; it also stops when its parent process is gone.

For `ANNOUNCE_S` after SIGTERM each response says `Connection: close`, event streams end, and `/ready` is red. A proxy that keeps
connections open learns of the shutdown from a response instead of a request that is cut off. Then the server gets the signal: it
answers open requests and exits.

Granian runs the application in child processes. If their parent were killed, they would go on and keep the port from its
successor.
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

# Half a second reaches each connection that carries more than two requests a second.
ANNOUNCE_S: Final = 0.5
_PARENT_S: Final = 0.5

_log = logger("shutdown")


class Shutdown:
    """
    Whether this process is shutting down.

    Attributes:
        announced: Set once; from then on each response closes its connection.
    """

    def __init__(self) -> None:
        self.announced = False


@contextmanager
def announced_by_sigterm(shutdown: Shutdown, *, drain: Callable[[], None]) -> Iterator[None]:
    """
    Announce the shutdown on SIGTERM before the signal takes effect.

    The server ends the lifespan only after the last response, so the lifespan cannot end the event streams.

    Args:
        shutdown: Receives the announcement.
        drain: Ends the event streams of this process.
    """
    loop = asyncio.get_running_loop()
    # Only the main thread gets signals; an application in another thread is stopped by other means.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if is_main else None
    if not callable(before):
        yield  # the signal does not arrive here, or ends the process at once
        return
    stop = before

    def announce(number: int) -> None:
        if shutdown.announced:  # a second signal stops at once
            stop(number, None)
            return
        shutdown.announced = True
        drain()
        loop.call_later(ANNOUNCE_S, stop, number, None)

    def on_signal(number: int, _: Any) -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop has no connections
            loop.call_soon_threadsafe(announce, number)

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def with_parent() -> AsyncIterator[None]:
    """Stop this process, as SIGTERM does, once its parent process is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return

    async def watch(pid: int | None) -> None:
        # The parent's sentinel would say so at once, but each child that was started later keeps it open.
        while os.getppid() == pid:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(_PARENT_S)
        _log.error("parent process gone")
        signal.raise_signal(signal.SIGTERM)

    watching = asyncio.create_task(watch(parent.pid))
    try:
        yield
    finally:
        watching.cancel()
