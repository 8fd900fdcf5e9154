"""
Run the chaos test: continuous notifications, faults drawn from a seed, and a conservation check at the end.

Every second the sender plans the notifications of some payments, with fault injection (`tether_sandbox.gateway.fault_injection`),
and posts each until it is acknowledged. Meanwhile one fault after another is injected and removed: first each kind once, in
random order, then at random. The short form does each kind once, as briefly as the table allows. After each fault a **probe notification** measures the recovery: it belongs to a payment of its
own, is posted until it is acknowledged, and awaited until it is applied. For faults that affect files the probe is a file. The
time of the recovery is the one in the probe's row, so a test that is slow itself does not take a recovery for a slow one.

Where the database goes back (`Fault.rewinds`), uploads and orders wait, except for one run that the lost history submits, because
people repeat them and not Tether. The gateway repeats the notifications that it had an acknowledgement for in the lost time.

At the same time files are uploaded and billed (`files`), and one notification a second is sent to both nodes at once.
"""

import asyncio
import contextlib
import random
import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from tether_core.errors import Unavailable
from tether_stores.clock import timestamp
from tether_stores.notifications import event_lists
from tether_stores.postgres import connection, open_pool
from tether_stores.queries import split_file

from tether_sandbox.chaos.faults import FAULTS, Fault, possible, resume_runs
from tether_sandbox.chaos.files import Uploader, all_billed, all_read, check_debits, check_files
from tether_sandbox.chaos.stage import Stage, staged
from tether_sandbox.conservation import BooksLine, Sent, books, check_chaos
from tether_sandbox.gateway import (
    Delivered,
    FaultInjection,
    FaultPlan,
    Payment,
    PaymentHistories,
    deliver,
    plan,
)
from tether_sandbox.seed import seed
from tether_sandbox.services.waiting import eventually, until
from tether_sandbox.settings import PASSWORD

__all__ = ["ChaosReport", "Recovery", "run_chaos"]

_SQL = split_file("tether_sandbox", "sql/chaos")

# Deliveries per payment, including repeats and invalid signatures; converts a rate of deliveries into payments.
_PER_PAYMENT: Final = 2.35
# Plans at the same time; each has the notifications of a second. During an outage the sender waits with that many.
_PLANS_MAX: Final = 4
# The longest recovery that passes, and how long is waited to see one: a busy machine may see it late.
_RECOVER_S: Final = 60.0
_SEEN_S: Final = 300.0
# How long a delivered plan is kept, to be repeated where the database goes back.
_KEPT_S: Final = 240.0
_END_S: Final = 300.0
# "Not found" is trusted after a grace period on the machine's clock, which the test cannot move; and the response may be lost
# again when the debit is submitted again.
_RESOLVE_S: Final = 600.0
# Range of the outage of each of the three stores.
_OUTAGE_SHORTEST_S: Final = 5.0
_OUTAGE_LONGEST_S: Final = 300.0
# What a fault takes at most on a busy machine, without its outage; and where all programs are restarted.
_FAULT_S: Final = {False: 20.0, True: 90.0}
_RACE_EVERY_S: Final = 1.0
# How long such a notification may be on its way.
_RACE_S: Final = 30.0
_PAUSE_S: Final = (0.1, 0.8)
# Up to this length the chaos test is of the short form. Its last faults, one in that many, come without new files and debits,
# so that the grace period of the last debits runs meanwhile.
_SHORT_MINUTES: Final = 0.1
_UPLOADS_LEFT: Final = 3
# Log lines that indicate a defect. Those of Granian after a whole node was killed do not.
_DEFECT: Final = re.compile(r"internal error|Traceback|notification deferred|periodic task failed|job failed")


class Recovery(msgspec.Struct, frozen=True):
    """
    The recovery from a fault.

    Attributes:
        fault: Its name.
        at_s: Time since the start of the chaos test.
        held_s: Duration of the fault.
        recovered_s: Time until the probe notification was applied, or the probe file read, by their rows; from the kill, or
            from the end of the fault. `None` if that was not seen within `_SEEN_S`.
        whole_s: Time until everything that was killed was ready again, too.
        failed_requests: Responses 500, 502 and 504 of the proxy meanwhile.
    """

    fault: str
    at_s: float
    held_s: float
    recovered_s: float | None
    whole_s: float
    failed_requests: int


class ChaosReport(msgspec.Struct, frozen=True):
    """
    The report of a chaos test.

    Attributes:
        seed: Of all random draws.
        lasted_s: From the first to the last delivery.
        proxy: The proxy's name.
        pooler: The pooler's name; "" for none.
        planned: Deliveries, without repeats after a missing echo.
        acked: Deliveries acknowledged.
        refused: Invalid signatures refused.
        posts: Requests.
        applied: Notifications applied.
        confirmed: Of these, confirmed by a status inquiry.
        repeated: Acknowledged deliveries that were stored already.
        longest_gap_s: The longest time without an acknowledgement.
        latency_ms: Quantiles of the latency.
        statuses: HTTP status to number of responses.
        recoveries: The recovery from each fault.
        races: Notifications sent to both nodes at the same time.
        files: Uploads acknowledged.
        answered: Uploads with questions that were answered.
        debits: Debits in the gateway's ledger.
        objects_unnamed: Objects without a row, left by files that were not acknowledged.
        lines: The conservation check.
        warnings: Log lines that indicate a defect.
        acked_each_s: Deliveries acknowledged in each second.
    """

    seed: int
    lasted_s: float
    proxy: str
    pooler: str
    planned: int
    acked: int
    refused: int
    posts: int
    applied: int
    confirmed: int
    repeated: int
    longest_gap_s: float
    latency_ms: dict[str, float]
    statuses: dict[int, int]
    recoveries: list[Recovery]
    races: int
    files: int
    answered: int
    debits: int
    objects_unnamed: int
    lines: list[BooksLine]
    warnings: list[str]
    acked_each_s: list[int]

    @property
    def kills(self) -> int:
        """Number of kills."""
        return sum(FAULTS[recovery.fault].kills for recovery in self.recoveries)

    @property
    def unrecovered(self) -> list[Recovery]:
        """Faults after which the probe did not succeed in time."""
        return [
            recovery
            for recovery in self.recoveries
            if recovery.recovered_s is None or recovery.recovered_s > _RECOVER_S
        ]

    @property
    def slowest_s(self) -> float:
        """The longest recovery."""
        return max((_known_s(recovery) for recovery in self.recoveries), default=0.0)

    @property
    def slowest_after_kill_s(self) -> float:
        """The longest recovery after a kill."""
        killed = (recovery for recovery in self.recoveries if FAULTS[recovery.fault].kills)
        return max((_known_s(recovery) for recovery in killed), default=0.0)

    @property
    def request_losses(self) -> list[Recovery]:
        """Faults that made requests fail although a node was up."""
        return [
            recovery
            for recovery in self.recoveries
            if FAULTS[recovery.fault].spares_requests and recovery.failed_requests
        ]

    @property
    def holds(self) -> bool:
        """Whether the conservation check holds, everything recovered, and no request failed that must not."""
        return (
            all(line.holds for line in self.lines)
            and not self.unrecovered
            and not self.request_losses
            and not self.warnings
        )


def _known_s(recovery: Recovery) -> float:
    return _SEEN_S if recovery.recovered_s is None else recovery.recovered_s


class _Sender:
    """Sends plan after plan until stopped, and collects the results."""

    def __init__(self, stage: Stage, payments: Iterator[Payment], *, rate: int, seed_number: int) -> None:
        self._gateway = stage.gateway
        self._url = stage.notify_url
        self._payments = payments
        self._per_plan = max(int(rate / _PER_PAYMENT), 1)
        self._seed_number = seed_number
        self.sent = Sent()
        self.delivered: list[Delivered] = []
        self.longest_gap_s = 0.0
        self.races = 0
        self._urls = stage.notify_urls()
        self._began = self._acknowledged_at = time.monotonic()
        self._acked_each_s = Counter[int]()
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
    def acked_each_s(self) -> list[int]:
        """Deliveries acknowledged in each second."""
        return [self._acked_each_s[second] for second in range(max(self._acked_each_s, default=-1) + 1)]

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
        self._acked_each_s[int(now - self._began)] += 1
        self.longest_gap_s = max(self.longest_gap_s, now - self._acknowledged_at)
        self._acknowledged_at = now


class _Chaos:
    """Injects one fault after another."""

    def __init__(
        self,
        stage: Stage,
        sender: _Sender,
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
        until_s, outage_s, is_short = minutes * 60, _outage_s(minutes), minutes <= _SHORT_MINUTES
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
            removal = asyncio.create_task(asyncio.to_thread(partial(injected.__exit__, None, None, None)))
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
            Seconds until the probe took effect, by its row; `None` if that was not seen within `_SEEN_S`.
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
        upload_id = asyncio.run(asyncio.wait_for(self._uploader.probe(), _SEEN_S))
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

        until(has_happened, what=what, timeout_s=_SEEN_S, despite=(psycopg.OperationalError,))
        return seen[-1]


def run_chaos(
    *,
    minutes: float,
    seed_number: int,
    kinds: Sequence[str] = (),
    rate: int = 300,
    own: bool = False,
    confirm: bool = True,
    keep: Path | None = None,
    report: Callable[[Recovery], None] = lambda _: None,
) -> ChaosReport:
    """
    Run the chaos test.

    Args:
        minutes: How long faults are injected; each kind at least once.
        seed_number: Same number, same faults at about the same times.
        kinds: Names of faults; none means all.
        rate: Deliveries per second.
        own: Whether to do without nginx and pgBouncer even if they are installed.
        confirm: Whether disputes are confirmed by status inquiries, as by default. The simulator has the final status from
            the start, so the first confirmed dispute takes its attempt there; without, each has its own effect.
        keep: An empty folder for the logs of the programs; `None` for a temporary one.
        report: Called with each recovery.

    Returns:
        The report; `holds` says whether the test passed.

    Raises:
        ValueError: when there is no such kind, or no fault of these kinds is possible here.
    """
    unknown = set(kinds) - set(FAULTS)
    if unknown:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    with (
        tempfile.TemporaryDirectory(prefix="tether-chaos-") as name,
        staged(keep or Path(name), settings={} if confirm else {"EMP_CONFIRM": "off"}, own=own) as stage,
    ):
        faults = [fault for fault in possible(stage) if not kinds or fault.name in kinds]
        if not faults:
            raise ValueError("none of these faults is possible here: pgBouncer is not installed")
        return asyncio.run(
            _run(stage, faults, minutes=minutes, seed_number=seed_number, rate=rate, report=report)
        )


async def _run(
    stage: Stage,
    faults: Sequence[Fault],
    *,
    minutes: float,
    seed_number: int,
    rate: int,
    report: Callable[[Recovery], None],
) -> ChaosReport:
    # Each kind of fault takes about five seconds, on a busy machine several times that; restarting all programs takes more.
    outage_s = _outage_s(minutes)
    seconds = minutes * 60 + sum(_FAULT_S[fault.restarts_all] for fault in faults)
    seconds += outage_s * sum(fault.is_outage for fault in faults)
    payments = _seeded(stage, int(rate * seconds / _PER_PAYMENT), number=seed_number)
    probes = _seeded(stage, int(len(faults) + seconds), number=seed_number + 1_000_000_007)
    racing = _seeded(stage, int(2 * seconds), number=seed_number + 2_000_000_011)
    sender = _Sender(stage, payments, rate=rate, seed_number=seed_number)
    uploader = Uploader(stage, rng=random.Random(seed_number + 3_000_000_019))
    chaos = _Chaos(stage, sender, uploader, probes, rng=random.Random(seed_number))
    began = time.monotonic()
    stopping, uploaded = asyncio.Event(), asyncio.Event()
    load = asyncio.gather(
        sender.until(stopping), uploader.until(uploaded), sender.race(racing, stopping=stopping)
    )
    try:
        await chaos.run(faults, minutes=minutes, uploaded=uploaded, report=report)
    finally:
        stopping.set()
        uploaded.set()
        await asyncio.wait_for(load, _END_S)
    lasted_s = time.monotonic() - began
    await _resolved(stage)
    ours = await asyncio.to_thread(books, stage.database_url)
    lines, unnamed = await check_files(stage, uploader)
    debits = [record for record in stage.gateway.records() if record["unique_id"] not in sender.sent.final]
    lines += check_debits(stage, debits, runs=uploader.runs)
    delivered = sender.delivered
    acked = sum(delivery.acknowledged for delivery in delivered)
    latencies = sorted(latency_s for delivery in delivered for latency_s in delivery.latencies_s)
    statuses = sum((Counter(delivery.statuses) for delivery in delivered), Counter[int]())
    statuses[0] = sum(delivery.transport_errors for delivery in delivered)
    return ChaosReport(
        seed=seed_number,
        lasted_s=round(lasted_s, 1),
        proxy=stage.front.name,
        pooler=stage.pooler.name if stage.pooler else "",
        planned=sum(delivery.planned for delivery in delivered),
        acked=acked,
        refused=sum(delivery.refused for delivery in delivered),
        posts=sum(delivery.posts for delivery in delivered),
        applied=ours.rows("processed"),
        confirmed=ours.confirmed,
        repeated=acked - sum(ours.inbox.values()),
        longest_gap_s=round(sender.longest_gap_s, 2),
        latency_ms={
            f"p{q}": round(latencies[min(len(latencies) * q // 100, len(latencies) - 1)] * 1000, 1)
            for q in (50, 95, 99)
        },
        statuses=dict(statuses),
        recoveries=chaos.recoveries,
        races=sender.races,
        files=len(uploader.acknowledged),
        answered=len(uploader.answered),
        debits=len(debits),
        objects_unnamed=unnamed,
        lines=[
            *check_chaos(sender.sent, ours, delivered=delivered),
            _rewinds(stage, chaos.recoveries),
            *lines,
        ],
        warnings=_warnings(stage),
        acked_each_s=sender.acked_each_s,
    )


def _outage_s(minutes: float) -> float:
    """
    The outage of a store, by the length of the chaos test: five minutes from a quarter of an hour on, less in a shorter one.

    >>> [_outage_s(minutes) for minutes in (0, 3, 15, 60)]
    [5.0, 60.0, 300.0, 300.0]
    """
    return min(max(_OUTAGE_SHORTEST_S, minutes * 60 / 3), _OUTAGE_LONGEST_S)


def _seeded(stage: Stage, count: int, *, number: int) -> Iterator[Payment]:
    """Insert payments before the chaos test, because Postgres may be down during it."""
    made = seed(stage.database_url, attempts=count, rng=random.Random(number), now=datetime.now(UTC))
    return iter(
        [
            Payment(seeded.transaction_id, seeded.unique_id, seeded.amount_minor, seeded.currency)
            for seeded in made
        ]
    )


async def _resolved(stage: Stage) -> None:
    """Wait until every file is read, every debit has an outcome, and no notification is due or unconfirmed."""
    await eventually(lambda: all_read(stage.database_url), what="every file to be read", timeout_s=_END_S)
    await asyncio.to_thread(resume_runs, stage)
    await all_billed(stage, timeout_s=_RESOLVE_S)
    async with open_pool(stage.database_url, name="tether-chaos", max_size=1) as pool:

        async def none_is_left() -> bool:
            async with connection(pool) as conn:
                now = await timestamp(conn)
                # Make failed status inquiries due again at once.
                await conn.execute(_SQL["retry_inquiries"], {"now": now})
                counts = await event_lists.counts(conn, now=now)
                return not counts.waiting and not counts.confirming

        await eventually(none_is_left, what="an empty inbox", timeout_s=_END_S, despite=(Unavailable,))


def _rewinds(stage: Stage, recoveries: Sequence[Recovery]) -> BooksLine:
    rewinds = sum(FAULTS[recovery.fault].rewinds for recovery in recoveries)
    with psycopg.connect(stage.database_url) as conn:
        row = conn.execute(_SQL["epochs"]).fetchone()
    assert row is not None
    return BooksLine("times the database went back = epochs after the first", rewinds, row[0])


def _warnings(stage: Stage) -> list[str]:
    return [
        f"{node.name}: {line[:500]}"
        for node in (*stage.webs, *stage.workers)
        for line in node.logs.splitlines()
        if _DEFECT.search(line)
    ]
