"""Gates: whether this process works on a queue now. A gate is closed while its queue is paused, and when the process ends."""

import asyncio
from collections.abc import Collection, Iterable

from tether_core.jobs import Queue

__all__ = ["Gates"]


class Gates:
    """
    The gates of a process, one for each queue.

    They are closed until the pauses were read for the first time: a worker that starts while a queue is paused must not begin.
    """

    def __init__(self, queues: Iterable[Queue]) -> None:
        self._closed = {queue: asyncio.Event() for queue in queues}
        self._is_ending = False
        for event in self._closed.values():
            event.set()

    def closed(self, queue: Queue) -> asyncio.Event:
        """The event that is set while nothing of a queue may begin; what is in progress ends."""
        return self._closed[queue]

    def apply(self, paused: Collection[Queue]) -> None:
        """Open all gates but those of the queues that are paused."""
        for queue, event in self._closed.items():
            if queue in paused or self._is_ending:
                event.set()
            else:
                event.clear()

    def end(self) -> None:
        """Close all gates permanently."""
        self._is_ending = True
        self.apply(())
