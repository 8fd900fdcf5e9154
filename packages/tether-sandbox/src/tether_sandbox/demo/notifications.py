"""The third act: a chaos test of notifications, twice, late, out of order and forged, while things die."""

import asyncio
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import InboxCounts
from tether_stores.postgres import Pool, connection, open_pool

from tether_sandbox.conservation import Line, books, check
from tether_sandbox.demo.stage import Stage
from tether_sandbox.gateway import Delivered, Payment, PaymentHistories, Plan, deliver, plan
from tether_sandbox.seed import seed
from tether_sandbox.settings import PASSWORD

__all__ = ["act", "answered", "excerpt"]

_RESOLVE_S = 60.0
_OUTCOME = re.compile(r'^tether_webhook_notifications_total\{outcome="([a-z]+)"\} ([0-9.e+]+)$', re.MULTILINE)


def act(stage: Stage, *, attempts: int, seed_number: int, faults: bool, console: Console) -> bool:
    """
    Seed attempts, let the gateway speak of them, and hold the books against each other.

    Args:
        stage: Where.
        attempts: How many payments.
        seed_number: Same number, same payments and notifications.
        faults: Whether a worker is killed and Redis flushed in the middle.
        console: Where to show it.

    Returns:
        Whether every line of the conservation check holds.
    """
    # From here on only what was sent counts, so nobody may fetch.
    stage.kill_worker()
    stage.start_worker("webhooks").await_line('"event":"working"')
    before = books(stage.database_url)
    answered_before = answered(stage.url)
    payments = [
        Payment(seeded.transaction_id, seeded.unique_id, seeded.amount_minor, seeded.currency)
        for seeded in seed(
            stage.database_url, attempts=attempts, rng=random.Random(seed_number), now=datetime.now(UTC)
        )
    ]
    # The gateway's records know from the start how each payment ends.
    planned = plan(
        payments, seed=seed_number, password=PASSWORD, payment_histories=PaymentHistories(crossed=0.0)
    )
    # What the worker asks about these payments is answered with how they truly end.
    stage.gateway.adopt(payments, planned=planned, taken_at=datetime.now(UTC))
    console.print(
        f"[green]✓[/] {len(payments)} payments seeded; the gateway will send {planned.counts.sent} notifications"
    )
    delivered = asyncio.run(_under_chaos(stage, planned, faults=faults, console=console))
    fields = {
        outcome: count - answered_before.get(outcome, 0) for outcome, count in answered(stage.url).items()
    }
    lines = check(planned, books(stage.database_url).since(before), posts=delivered.posts, answered=fields)
    _report(console, planned=planned, delivered=delivered, result=fields)
    console.print(excerpt("Conservation of notifications", lines))
    holds = all(line.holds for line in lines) and delivered.ok
    if faults and holds:
        console.print(
            "A worker died and Redis was emptied on the way; nothing was lost and nothing happened twice."
        )
    return holds


def answered(url: str) -> dict[str, int]:
    """The web nodes' own count of their answers to notifications, by outcome."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return {outcome: int(float(count)) for outcome, count in _OUTCOME.findall(text)}


def excerpt(title: str, lines: list[Line]) -> Table:
    """Lines of a check as a table."""
    table = Table(title=title, title_justify="left")
    for column in ("", "theirs", "ours", " "):
        table.add_column(column, justify="right" if column in {"theirs", "ours"} else "left")
    for line in lines:
        mark = "[green]✓[/]" if line.holds else f"[red]✗ {line.note}[/]"
        table.add_row(line.what, str(line.wanted), str(line.found), mark)
    return table


async def _under_chaos(stage: Stage, planned: Plan, *, faults: bool, console: Console) -> Delivered:
    """Deliver everything, with a kill and a flush in the middle, showing how it goes."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    sent = bars.add_task("notifications sent", total=len(planned.deliveries))
    applied = bars.add_task("notifications applied", total=planned.counts.distinct)
    words = Table.grid()
    third = len(planned.deliveries) // 3
    seen = 0

    def progress(counts: Delivered) -> None:
        nonlocal seen
        bars.update(sent, completed=counts.resolved)
        before, seen = seen, counts.resolved
        if not faults:
            return
        if before < third <= seen:
            stage.kill_worker()
            words.add_row(
                "[yellow]! the worker was killed with SIGKILL; notifications go on being answered[/]"
            )
        if before < third * 3 // 2 <= seen and stage.services.redis is not None:
            stage.services.redis.flush()
            words.add_row("[yellow]! Redis was flushed[/]")
        if before < 2 * third <= seen:
            stage.start_worker("webhooks")
            words.add_row("[yellow]! a new worker was started[/]")

    with Live(Group(bars, words), console=console, refresh_per_second=8):
        async with open_pool(stage.database_url, name="tether-demo", max_size=1) as pool:
            began = _done(await _counts(pool))
        watching = asyncio.create_task(_watched(stage, bars, applied, began=began))
        delivered = await deliver(
            planned, url=f"{stage.url}/api/webhooks/emp", concurrency=16, progress=progress
        )
        # What is not applied by then shows in the check, with its state.
        await asyncio.wait([watching], timeout=_RESOLVE_S)
        watching.cancel()
    console.print()
    return delivered


async def _watched(stage: Stage, bars: Progress, applied: TaskID, *, began: int) -> None:
    """Show how many are applied, until every one that was sent is and nothing is due or being confirmed."""
    total = next(task.total for task in bars.tasks if task.id == applied)
    async with open_pool(stage.database_url, name="tether-demo", max_size=1) as pool:
        while True:
            counts = await _counts(pool)
            # Rows of the acts before may still be done with now; they are not of these.
            bars.update(applied, completed=min(_done(counts) - began, total or 0))
            if _done(counts) - began >= (total or 0) and not counts.waiting and not counts.confirming:
                return
            await asyncio.sleep(0.25)


async def _counts(pool: Pool) -> InboxCounts:
    async with connection(pool) as conn:
        return await webhook_events.counts(conn, now=datetime.now(UTC))


def _done(counts: InboxCounts) -> int:
    return counts.processed + counts.parked + counts.deferred


def _report(console: Console, *, planned: Plan, delivered: Delivered, result: Mapping[str, int]) -> None:
    counts = planned.counts
    table = Table(title="What the gateway sent, and what it was told", title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    for what, count in (
        ("requests", delivered.posts),
        ("  distinct notifications", counts.distinct),
        ("  repeats", counts.duplicates),
        ("  repeats with other content", counts.conflicting),
        ("  forged", counts.invalid_signature),
        *((f"answered: {outcome}", count) for outcome, count in sorted(result.items()) if count),
    ):
        table.add_row(what, str(count))
    quantiles = " / ".join(f"{delivered.latency_s(share) * 1000:.0f}" for share in (0.5, 0.95, 0.99))
    table.add_row("answer time p50 / p95 / p99, 16 at once", f"{quantiles} ms")
    console.print(table)
