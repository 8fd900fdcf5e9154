"""Notifications, the third part of the demo: duplicated, late, out of order, with invalid signatures, under faults."""

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
from tether_stores.notifications import event_lists
from tether_stores.notifications.event_lists import InboxCounts
from tether_stores.postgres import Pool, connection, open_pool

from tether_sandbox.conservation import BooksLine, books, check
from tether_sandbox.demo.stage import Stage
from tether_sandbox.gateway import Delivered, FaultPlan, Payment, PaymentHistories, deliver, plan
from tether_sandbox.seed import seed
from tether_sandbox.settings import PASSWORD

__all__ = ["check_table", "response_counts", "run"]

_RESOLVE_S = 60.0
_OUTCOME = re.compile(r'^tether_webhook_notifications_total\{outcome="([a-z]+)"\} ([0-9.e+]+)$', re.MULTILINE)


def run(stage: Stage, *, attempts: int, seed_number: int, faults: bool, console: Console) -> bool:
    """
    Create payments, let the gateway send their notifications, and check what is stored and applied.

    Args:
        attempts: How many payments.
        seed_number: Same number, same payments and notifications.
        faults: Whether a worker is killed and Redis flushed on the way.

    Returns:
        Whether every line of the conservation check holds.
    """
    # From here on only the sent notifications count, so no job may fetch reports.
    stage.kill_worker()
    stage.start_worker("webhooks").await_line('"event":"worker started"')
    before = books(stage.database_url)
    responses_before = response_counts(stage.url)
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
    # Status inquiries about these payments are answered with their final status.
    stage.gateway.adopt(payments, planned=planned, taken_at=datetime.now(UTC))
    console.print(
        f"[green]✓[/] {len(payments)} payments created; the gateway will send {planned.counts.sent} notifications"
    )
    delivered = asyncio.run(_under_chaos(stage, planned, faults=faults, console=console))
    responses = {
        outcome: count - responses_before.get(outcome, 0)
        for outcome, count in response_counts(stage.url).items()
    }
    lines = check(planned, books(stage.database_url).since(before), posts=delivered.posts, answered=responses)
    _report(console, planned=planned, delivered=delivered, responses=responses)
    console.print(check_table("Notifications: sent by the gateway and stored by Tether", lines))
    holds = all(line.holds for line in lines) and delivered.ok
    if faults and holds:
        console.print(
            "The worker was killed and Redis was flushed on the way: nothing was lost or applied twice."
        )
    return holds


def response_counts(url: str) -> dict[str, int]:
    """How many notifications the web nodes answered, by outcome, from their metrics."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text
    return {outcome: int(float(count)) for outcome, count in _OUTCOME.findall(text)}


def check_table(title: str, lines: list[BooksLine]) -> Table:
    """Lines of a check as a table."""
    table = Table(title=title, title_justify="left")
    for column in ("", "gateway", "Tether", " "):
        table.add_column(column, justify="right" if column.strip() else "left")
    for line in lines:
        mark = "[green]✓[/]" if line.holds else f"[red]✗ {line.note}[/]"
        table.add_row(line.what, str(line.wanted), str(line.found), mark)
    return table


async def _under_chaos(stage: Stage, planned: FaultPlan, *, faults: bool, console: Console) -> Delivered:
    """Deliver all notifications and show the progress; kill the worker and flush Redis on the way."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    sent = bars.add_task("notifications sent", total=len(planned.deliveries))
    applied = bars.add_task("notifications applied", total=planned.counts.distinct)
    events = Table.grid()
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
            events.add_row(
                "[yellow]! worker killed (SIGKILL); the web processes still accept notifications[/]"
            )
        if before < third * 3 // 2 <= seen and stage.services.redis is not None:
            stage.services.redis.flush()
            events.add_row("[yellow]! Redis flushed[/]")
        if before < 2 * third <= seen:
            stage.start_worker("webhooks")
            events.add_row("[yellow]! new worker started[/]")

    with Live(Group(bars, events), console=console, refresh_per_second=8):
        async with open_pool(stage.database_url, name="tether-demo", max_size=1) as pool:
            began = _done(await _counts(pool))
        watching = asyncio.create_task(_watched(stage, bars, applied, began=began))
        delivered = await deliver(
            planned, url=f"{stage.url}/api/webhooks/emp", concurrency=16, progress=progress
        )
        # Notifications that are not applied by then show in the check, with their state.
        await asyncio.wait([watching], timeout=_RESOLVE_S)
        watching.cancel()
    console.print()
    return delivered


async def _watched(stage: Stage, bars: Progress, applied: TaskID, *, began: int) -> None:
    """Show how many notifications are applied, until all are and none is due or unconfirmed."""
    total = next(task.total for task in bars.tasks if task.id == applied)
    async with open_pool(stage.database_url, name="tether-demo", max_size=1) as pool:
        while True:
            counts = await _counts(pool)
            # Rows of the earlier parts may still be finished now and are not counted.
            bars.update(applied, completed=min(_done(counts) - began, total or 0))
            if _done(counts) - began >= (total or 0) and not counts.waiting and not counts.confirming:
                return
            await asyncio.sleep(0.25)


async def _counts(pool: Pool) -> InboxCounts:
    async with connection(pool) as conn:
        return await event_lists.counts(conn, now=datetime.now(UTC))


def _done(counts: InboxCounts) -> int:
    return counts.processed + counts.parked + counts.deferred


def _report(
    console: Console, *, planned: FaultPlan, delivered: Delivered, responses: Mapping[str, int]
) -> None:
    counts = planned.counts
    table = Table(title="Notifications sent, and Tether's responses", title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    for what, count in (
        ("requests", delivered.posts),
        ("  distinct notifications", counts.distinct),
        ("  duplicates", counts.duplicates),
        ("  duplicates with other content", counts.conflicting),
        ("  invalid signature", counts.invalid_signature),
        *((f"response: {outcome}", count) for outcome, count in sorted(responses.items()) if count),
    ):
        table.add_row(what, str(count))
    quantiles = " / ".join(f"{delivered.latency_s(share) * 1000:.0f}" for share in (0.5, 0.95, 0.99))
    table.add_row("latency p50 / p95 / p99 at concurrency 16", f"{quantiles} ms")
    console.print(table)
