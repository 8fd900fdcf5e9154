"""
Run the chaos test: continuous notifications, faults drawn from a seed, and a conservation check at the end.

Every second the sender (`sender`) plans the notifications of some payments, with fault injection (`tether_sandbox.gateway.fault_injection`),
and posts each until it is acknowledged. Meanwhile one fault after another is injected and removed (`injection`). At the same time files are
uploaded and billed (`files`), and one notification a second is sent to both nodes at once.
"""

import asyncio
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
from tether_core.errors import Unavailable
from tether_stores.clock import timestamp
from tether_stores.notifications import event_lists
from tether_stores.postgres import connection, open_pool
from tether_stores.queries import split_file

from tether_sandbox.chaos.faults import FAULTS, Fault, possible, resume_runs
from tether_sandbox.chaos.files import Uploader, all_billed, all_read, check_debits, check_files
from tether_sandbox.chaos.injection import Injector, outage_length_s
from tether_sandbox.chaos.report import ChaosReport, Recovery
from tether_sandbox.chaos.sender import PER_PAYMENT, Sender
from tether_sandbox.chaos.stage import Stage, staged
from tether_sandbox.conservation import BooksLine, books, check_chaos
from tether_sandbox.gateway import Payment
from tether_sandbox.seed import seed
from tether_sandbox.services.waiting import eventually

__all__ = ["run_chaos"]

_SQL = split_file("tether_sandbox", "sql/chaos")

_END_S: Final = 300.0
# "Not found" is trusted after a grace period on the machine's clock, which the test cannot move; and the response may be lost
# again when the debit is submitted again.
_RESOLVE_S: Final = 600.0
# What a fault takes at most on a busy machine, without its outage; and where all programs are restarted.
_FAULT_S: Final = {False: 20.0, True: 90.0}
# Log lines that indicate a defect. Those of Granian after a whole node was killed do not.
_DEFECT: Final = re.compile(r"internal error|Traceback|notification deferred|periodic task failed|job failed")


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
    outages_s = outage_length_s(minutes) * sum(fault.is_outage for fault in faults)
    seconds = minutes * 60 + sum(_FAULT_S[fault.restarts_all] for fault in faults)
    seconds += outages_s
    payments = _seeded(stage, int(rate * seconds / PER_PAYMENT), number=seed_number)
    probes = _seeded(stage, int(len(faults) + seconds), number=seed_number + 1_000_000_007)
    racing = _seeded(stage, int(2 * seconds), number=seed_number + 2_000_000_011)
    sender = Sender(stage, payments, rate=rate, seed_number=seed_number)
    uploader = Uploader(stage, rng=random.Random(seed_number + 3_000_000_019))
    injector = Injector(stage, sender, uploader, probes, rng=random.Random(seed_number))
    began = time.monotonic()
    stopping, uploaded = asyncio.Event(), asyncio.Event()
    load = asyncio.gather(
        sender.until(stopping), uploader.until(uploaded), sender.race(racing, stopping=stopping)
    )
    try:
        await injector.run(faults, minutes=minutes, uploaded=uploaded, report=report)
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
    acknowledged = sum(delivery.acknowledged for delivery in delivered)
    latencies = sorted(latency_s for delivery in delivered for latency_s in delivery.latencies_s)
    statuses = sum((Counter(delivery.statuses) for delivery in delivered), Counter[int]())
    statuses[0] = sum(delivery.transport_errors for delivery in delivered)
    return ChaosReport(
        seed=seed_number,
        lasted_s=round(lasted_s, 1),
        proxy=stage.front.name,
        pooler=stage.pooler.name if stage.pooler else "",
        planned=sum(delivery.planned for delivery in delivered),
        acknowledged=acknowledged,
        refused=sum(delivery.refused for delivery in delivered),
        posts=sum(delivery.posts for delivery in delivered),
        applied=ours.rows("processed"),
        confirmed=ours.confirmed,
        repeated=acknowledged - sum(ours.inbox.values()),
        longest_gap_s=round(sender.longest_gap_s, 2),
        latency_ms={
            f"p{q}": round(latencies[min(len(latencies) * q // 100, len(latencies) - 1)] * 1000, 1)
            for q in (50, 95, 99)
        },
        statuses=dict(statuses),
        recoveries=injector.recoveries,
        races=sender.races,
        files=len(uploader.acknowledged),
        answered=len(uploader.answered),
        debits=len(debits),
        objects_unnamed=unnamed,
        lines=[
            *check_chaos(sender.sent, ours, delivered=delivered),
            _rewinds(stage, injector.recoveries),
            *lines,
        ],
        warnings=_warnings(stage),
        acknowledged_each_s=sender.acknowledged_each_s,
    )


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

        async def left() -> tuple[int]:
            async with connection(pool) as conn:
                now = await timestamp(conn)
                # Make failed status inquiries due again at once.
                await conn.execute(_SQL["retry_inquiries"], {"now": now})
                counts = await event_lists.counts(conn, now=now)
                return (counts.waiting + counts.confirming,)

        # The longer and the faster the run, the more notifications wait for a confirmation at its end: it may take as long as it goes on.
        (most,) = await eventually(
            left, what="the inbox to be counted", timeout_s=_END_S, despite=(Unavailable,)
        )
        while most:
            most = most * 9 // 10

            async def is_emptier(most: int = most) -> bool:
                return (await left())[0] <= most

            await eventually(
                is_emptier,
                what=f"an inbox of {most:,} notifications or fewer",
                timeout_s=_END_S,
                despite=(Unavailable,),
            )


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
