"""
Faults, one after another, and the recovery from each.

First each kind once, in random order, then at random. The short form does each kind once, as briefly as the table allows. After each fault a
**probe notification** measures the recovery: it belongs to a payment of its own, is posted until it is acknowledged, and awaited until it is
applied. For faults that affect files the probe is a file. The time of the recovery is the one in the probe's row, so a test that is slow
itself does not take a recovery for a slow one.

Where the database goes back (`Fault.rewinds`), uploads and orders wait, except for one run that the lost history submits, because
people repeat them and not Tether. The gateway repeats the notifications that it had an acknowledgement for in the lost time.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import psycopg
from tether_stores.queries import split_file

from tether_sandbox.chaos.faults import Fault
from tether_sandbox.chaos.files import Uploader
from tether_sandbox.chaos.report import SEEN_S, Recovery
from tether_sandbox.chaos.sender import Sender
from tether_sandbox.chaos.stage import Stage
from tether_sandbox.gateway import Payment
from tether_sandbox.services.waiting import until

__all__ = ["Injector", "outage_length_s"]

_SQL = split_file("tether_sandbox", "sql/chaos")

# Range of the outage of each of the three stores.
_OUTAGE_SHORTEST_S: Final = 5.0
_OUTAGE_LONGEST_S: Final = 300.0
_PAUSE_S: Final = (0.1, 0.8)
# Up to this length the chaos test is of the short form. Its last faults, one in that many, come without new files and debits,
# so that the grace period of the last debits runs meanwhile.
_SHORT_MINUTES: Final = 0.1
_UPLOADS_LEFT: Final = 3


class Injector:
    """Injects one fault after another."""

    def __init__(
        self,
        stage: Stage,
        sender: Sender,
        uploader: Uploader,
        probes: Iterator[Payment],
        *,
        rng: random.Random,
    ) -> None:
        self._stage = stage
        self._sender = sender
        self._uploader = uploader
        self._probes = probes
        self._rng = rng
        self._began = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.recoveries: list[Recovery] = []

    async def run(
        self,
        faults: Sequence[Fault],
        *,
        minutes: float,
        uploaded: asyncio.Event,
        report: Callable[[Recovery], None],
    ) -> None:
        """
        Inject each fault once, then draw until the time is over; outages of a store add to it.

        Args:
            uploaded: Set when no further file is to be uploaded; only in the short form.
        """
        until_s, outage_s, is_short = minutes * 60, outage_length_s(minutes), minutes <= _SHORT_MINUTES
        once = list(faults)
        self._rng.shuffle(once)
        if is_short:
            # Taken from the end: those that let debits wait anew come first.
            once.sort(key=lambda fault: fault.restarts_grace)
        # If only outages are selected, they are drawn, too.
        drawn = [fault for fault in faults if fault.weight] or [
            msgspec.structs.replace(fault, weight=1) for fault in faults
        ]
        while once or time.monotonic() - self._began < until_s:
            fault = once.pop() if once else self._drawn(drawn)
            if is_short and len(once) < len(faults) // _UPLOADS_LEFT:
                uploaded.set()
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
            longest_s = fault.shortest_s if is_short else fault.longest_s
            held_s = outage_s if fault.is_outage else self._rng.uniform(fault.shortest_s, longest_s)
            recovery = await self._recovery(fault, held_s=held_s)
            until_s += outage_s if fault.is_outage else 0.0
            self.recoveries.append(recovery)
            report(recovery)

    def _drawn(self, faults: Sequence[Fault]) -> Fault:
        return self._rng.choices(faults, [fault.weight for fault in faults])[0]

    async def _recovery(self, fault: Fault, *, held_s: float) -> Recovery:
        logged_bytes, began = self._stage.front.logged_bytes, time.monotonic()
        injected = fault.inject(self._stage, self._rng)
        if fault.rewinds:
            await self._uploader.pause()
            await self._uploader.order_alone()
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
            copied = time.monotonic()
        await asyncio.to_thread(injected.__enter__)

        async def remove() -> None:
            await asyncio.sleep(held_s)
            await asyncio.to_thread(injected.__exit__, None, None, None)

        removal: asyncio.Task[object] | None = None
        if fault.rewinds:
            await asyncio.sleep(held_s)
            await self._sender.pause()
            began = time.monotonic()
            # A probe that is acknowledged before the database is replaced is lost with it.
            await asyncio.to_thread(injected.__exit__, None, None, None)
        elif fault.kills:
            removal = asyncio.create_task(remove())
        else:
            await remove()
            began = time.monotonic()
        recovered_s = await self._recovered_s(fault, began=began)
        if removal is not None:
            await removal
        whole_s = time.monotonic() - began
        failed_requests = self._stage.front.failures(after_bytes=logged_bytes)
        if fault.rewinds:
            last_s = time.monotonic() - copied
            await asyncio.to_thread(self._stage.gateway.repeat, last_s=last_s)
            await self._sender.repeat(since=copied)
            self._sender.resume()
            self._uploader.resume()
        return Recovery(
            fault.name,
            at_s=round(began - self._began, 2),
            held_s=round(held_s, 2),
            recovered_s=None if recovered_s is None else round(recovered_s, 2),
            whole_s=round(whole_s, 2),
            failed_requests=failed_requests,
        )

    async def _recovered_s(self, fault: Fault, *, began: float) -> float | None:
        """
        Measure a recovery with a probe.

        Args:
            began: From when on, by the monotonic clock.

        Returns:
            Seconds until the probe took effect, by its row; `None` if that was not seen within `SEEN_S`.
        """
        # In a thread with a loop of its own, because the loop of the test has thousands of requests to wait for.
        if fault.probe == "file":
            measured = asyncio.create_task(asyncio.to_thread(self._file_read))
        else:
            measured = asyncio.create_task(asyncio.to_thread(self._applied, next(self._probes)))
        try:
            at = await measured
        except TimeoutError:
            return None
        return at - began

    def _applied(self, probe: Payment) -> float:
        """Send the notification of a probe, wait until it is applied, and return when that was."""
        self._sender.probe(probe)
        return self._happened(
            "state_of",
            {"unique_id": probe.unique_id},
            lambda state: state == "approved",
            what="the probe notification",
        )

    def _file_read(self) -> float:
        """Send a file, wait until it is read, and return when that was."""
        upload_id = asyncio.run(asyncio.wait_for(self._uploader.probe(), SEEN_S))
        self._loop.call_soon_threadsafe(self._uploader.bill, upload_id)
        return self._happened("file_read", {"upload_id": upload_id}, bool, what="the probe file")

    def _happened(
        self, query: str, parameters: dict[str, object], fact: Callable[[object], bool], *, what: str
    ) -> float:
        """Wait until a row says that something has happened, and return when that was, by the monotonic clock."""
        seen: list[float] = []
        waited_since = time.monotonic()

        def has_happened() -> bool:
            nonlocal waited_since
            # Past the pooler, on its own connection, so that only the recovery of the programs is measured.
            with psycopg.connect(self._stage.database_url, connect_timeout=10) as conn:
                row = conn.execute(_SQL[query], parameters).fetchone()
            now = time.monotonic()
            if row is None or not fact(row[0]):
                waited_since = now
                return False
            # By the row; no earlier than it was last seen without, where the clock of Postgres steps.
            seen.append(max(now - max(row[1] or 0.0, 0.0), min(waited_since, now)))
            return True

        until(has_happened, what=what, timeout_s=SEEN_S, despite=(psycopg.OperationalError,))
        return seen[-1]


def outage_length_s(minutes: float) -> float:
    """
    The outage of a store, by the length of the chaos test: five minutes from a quarter of an hour on, less in a shorter one.

    >>> [outage_length_s(minutes) for minutes in (0, 3, 15, 60)]
    [5.0, 60.0, 300.0, 300.0]
    """
    return min(max(_OUTAGE_SHORTEST_S, minutes * 60 / 3), _OUTAGE_LONGEST_S)
