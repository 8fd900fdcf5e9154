"""Notifications during a chaos test: sent all the time, repeated where the gateway repeats them, and raced to both nodes."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from tether_sandbox.chaos.stage import Stage
from tether_sandbox.conservation import Sent
from tether_sandbox.gateway import (
    Delivered,
    FaultInjection,
    FaultPlan,
    Payment,
    PaymentHistories,
    deliver,
    plan,
)
from tether_sandbox.settings import PASSWORD

__all__ = ["PER_PAYMENT", "Sender"]

# Deliveries per payment, including repeats and invalid signatures; converts a rate of deliveries into payments.
PER_PAYMENT: Final = 2.35
# Plans at the same time; each has the notifications of a second. During an outage the sender waits with that many.
_PLANS_MAX: Final = 4
# How long a delivered plan is kept, to be repeated where the database goes back.
_KEPT_S: Final = 240.0
_RACE_EVERY_S: Final = 1.0
# How long such a notification may be on its way.
_RACE_S: Final = 30.0


class Sender:
    """Sends plan after plan until stopped, and collects the results."""

    def __init__(self, stage: Stage, payments: Iterator[Payment], *, rate: int, seed_number: int) -> None:
        self._gateway = stage.gateway
        self._url = stage.notify_url
        self._payments = payments
        self._per_plan = max(int(rate / PER_PAYMENT), 1)
        self._seed_number = seed_number
        self.sent = Sent()
        self.delivered: list[Delivered] = []
        self.longest_gap_s = 0.0
        self.races = 0
        self._urls = stage.notify_urls()
        self._began = self._acknowledged_at = time.monotonic()
        self._acknowledged_each_s = Counter[int]()
        # When each plan was delivered, the oldest first; and those that race, under way or delivered.
        self._lately = deque[tuple[float, FaultPlan]]()
        self._plans_open = 0
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._changed = asyncio.Condition()

    async def pause(self) -> None:
        """Begin no further plan, and wait until those begun are delivered."""
        self._is_open.clear()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._plans_open)

    def resume(self) -> None:
        """Go on after `pause`; the pause is no gap."""
        self._acknowledged_at = time.monotonic()
        self._is_open.set()

    async def repeat(self, *, since: float) -> None:
        """Send again what was delivered since a time of the monotonic clock, or is on its way."""
        plans = [planned for ended, planned in self._lately if ended >= since]
        slots = asyncio.Semaphore(_PLANS_MAX)

        async def send(planned: FaultPlan) -> None:
            async with slots:
                self.delivered.append(
                    await deliver(planned, url=self._url, concurrency=16, attempts_max=100_000)
                )

        async with asyncio.TaskGroup() as group:
            for planned in plans:
                group.create_task(send(planned))

    def _keep(self, planned: FaultPlan, *, at: float) -> None:
        self._lately.append((at, planned))
        while self._lately[0][0] < time.monotonic() - _KEPT_S:
            self._lately.popleft()

    @property
    def acknowledged_each_s(self) -> list[int]:
        """Deliveries acknowledged in each second."""
        return [
            self._acknowledged_each_s[second]
            for second in range(max(self._acknowledged_each_s, default=-1) + 1)
        ]

    async def until(self, stopping: asyncio.Event) -> None:
        """Send a plan each second, late ones as soon as there is a free slot."""
        slots = asyncio.Semaphore(_PLANS_MAX)
        began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                chosen = [payment for payment, _ in zip(self._payments, range(self._per_plan), strict=False)]
                if not chosen:
                    raise RuntimeError("the chaos test ran out of payments")
                await slots.acquire()
                await self._is_open.wait()
                number += 1
                self._plans_open += 1
                group.create_task(self._send(chosen, number=number, slots=slots))
                late_s = time.monotonic() - began - number
                if late_s < 0:
                    await asyncio.sleep(-late_s)

    async def _send(self, payments: Sequence[Payment], *, number: int, slots: asyncio.Semaphore) -> None:
        # The gateway's records have the final status of each payment from the start.
        payment_histories = PaymentHistories(crossed=0.0)
        planned = plan(
            payments,
            seed=self._seed_number * 1_000_003 + number,
            password=PASSWORD,
            payment_histories=payment_histories,
        )
        self.sent.add(planned)
        # Status inquiries about these payments are answered with their final status.
        await asyncio.to_thread(self._gateway.adopt, payments, planned=planned, taken_at=datetime.now(UTC))
        acknowledged = 0

        def note(counts: Delivered) -> None:
            nonlocal acknowledged
            if counts.acknowledged > acknowledged:  # an invalid signature is refused without any store
                acknowledged = counts.acknowledged
                self._note()

        try:
            self.delivered.append(
                await deliver(planned, url=self._url, concurrency=16, attempts_max=100_000, progress=note)
            )
        finally:
            slots.release()
            self._keep(planned, at=time.monotonic())
            async with self._changed:
                self._plans_open -= 1
                self._changed.notify_all()

    def probe(self, payment: Payment) -> None:
        """Send the notification of a probe until it is acknowledged; blocks, for a thread of its own."""
        planned = plan(
            [payment],
            seed=1,
            password=PASSWORD,
            payment_histories=PaymentHistories.all_approved(),
            fault_injection=FaultInjection.none(),
        )
        self.sent.add(planned)
        sending = deliver(planned, url=self._url, attempts_max=100_000, retry_interval_s=0.05, timeout_s=5.0)
        self.delivered.append(asyncio.run(sending))
        self._lately.append((time.monotonic(), planned))

    async def race(self, payments: Iterator[Payment], *, stopping: asyncio.Event) -> None:
        """Send one notification after another to both nodes at the same time, past the proxy."""
        while not stopping.is_set():
            payment = next(payments)
            planned = plan(
                [payment],
                seed=1,
                password=PASSWORD,
                payment_histories=PaymentHistories.all_approved(),
                fault_injection=FaultInjection.none(),
            )
            self.sent.add(planned)
            # It may be half delivered when the database goes back.
            self._keep(planned, at=time.monotonic() + _RACE_S)
            self.delivered += await asyncio.gather(
                *(deliver(planned, url=url, attempts_max=100_000, timeout_s=5.0) for url in self._urls)
            )
            self.races += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _RACE_EVERY_S)

    def _note(self) -> None:
        now = time.monotonic()
        self._acknowledged_each_s[int(now - self._began)] += 1
        self.longest_gap_s = max(self.longest_gap_s, now - self._acknowledged_at)
        self._acknowledged_at = now
