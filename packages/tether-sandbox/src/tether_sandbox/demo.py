"""
`tether-sandbox demo`: the whole of Tether in a minute, with real services and a gateway that misbehaves.

It starts Postgres and Redis, migrates, starts two web processes and a worker, seeds attempts, and lets the simulator send
their notifications: twice, late, out of order, forged. In the middle the worker is killed with SIGKILL and Redis is
flushed. At the end the books are held against each other; the exit code is 0 only if they agree.
"""

import asyncio
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from tether_stores import webhook_events
from tether_stores.migrate import migrate
from tether_stores.postgres import connection, open_pool

from tether_sandbox.conservation import Line, books, check
from tether_sandbox.gateway import Delivered, Payment, Plan, deliver, plan
from tether_sandbox.seed import seed
from tether_sandbox.services import Services, running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import ENVIRONMENT, PASSWORD

__all__ = ["demo"]

_SETTLE_S = 40.0
_OUTCOME = re.compile(r'^tether_webhook_notifications_total\{outcome="([a-z]+)"\} ([0-9.e+]+)$', re.MULTILINE)


class _Stage(msgspec.Struct):
    """What the demo has running."""

    services: Services
    environ: dict[str, str]
    folder: Path
    guard: Guard
    web: Program
    worker: Program
    url: str

    def kill_worker(self) -> None:
        """Kill whichever worker runs now."""
        self.worker.kill()

    def start_worker(self) -> None:
        """Start one more worker."""
        number = len(list(self.folder.glob("worker-*")))
        self.worker = _launched(self, "worker", number, "tether-worker", "run", "webhooks")


def demo(*, attempts: int, seed_number: int, faults: bool, console: Console) -> int:
    """
    Run the demo.

    Args:
        attempts: How many payments.
        seed_number: Same number, same payments and notifications.
        faults: Whether a worker is killed and Redis flushed in the middle.
        console: Where to show it.

    Returns:
        0 when every line of the conservation check holds, else 1.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        with console.status("starting Postgres and Redis ..."):
            services = stack.enter_context(running(os.environ))
        console.print(f"[green]✓[/] Postgres and Redis run ({time.monotonic() - began:.1f} s)")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tether-demo-")))
        guard = stack.enter_context(Guard())
        stage = _opened(services, folder=folder, guard=guard, console=console)
        stack.callback(stage.web.kill)
        stack.callback(stage.kill_worker)
        payments = _seeded(stage, attempts=attempts, seed_number=seed_number)
        planned = plan(payments, seed=seed_number, password=PASSWORD)
        console.print(
            f"[green]✓[/] {len(payments)} billing attempts seeded; the gateway will send {planned.counts.sent} notifications"
        )
        delivered, killed_at = asyncio.run(_stormed(stage, planned, faults=faults, console=console))
        asyncio.run(_settled(stage))
        answered = _answered(stage.url)
        lines = check(planned, books(stage.environ["DATABASE_URL"]), posts=delivered.posts, answered=answered)
        _report(console, lines, planned=planned, delivered=delivered, answered=answered, killed_at=killed_at)
        holds = all(line.holds for line in lines) and delivered.ok
        if not holds:
            kept = Path(tempfile.gettempdir()) / f"tether-demo-{os.getpid()}.log"
            kept.write_text(stage.web.stderr + stage.worker.stderr, encoding="utf-8")
            console.print(f"[red]The books do not agree.[/] What web and worker said: {kept}")
        console.print(f"took {time.monotonic() - began:.0f} s")
        _next_steps(console)
        return 0 if holds else 1


def _opened(services: Services, *, folder: Path, guard: Guard, console: Console) -> _Stage:
    environ = {**ENVIRONMENT, **services.environment}
    with console.status("migrating, starting web and worker ..."):
        migrate(environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        stage = _Stage(services, environ, folder, guard, web=None, worker=None, url=url)  # type: ignore[arg-type]
        stage.web = _launched(stage, "web", 0, "tether-web", "--port", str(port), "--workers", "2")
        stage.start_worker()
        stage.web.await_url(f"{url}/ready")
        stage.worker.await_line('"event":"working"')
    console.print(f"[green]✓[/] database migrated, two web processes at {url}, one worker")
    return stage


def _launched(stage: _Stage, name: str, number: int, *command: str) -> Program:
    folder = stage.folder / f"{name}-{number}"
    folder.mkdir()
    # Our own console scripts lie beside the Python that runs this, whether or not that folder is on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return launch(command, environ={**stage.environ, "PATH": path}, folder=folder, guard=stage.guard)


def _seeded(stage: _Stage, *, attempts: int, seed_number: int) -> list[Payment]:
    made = seed(
        stage.environ["DATABASE_URL"],
        attempts=attempts,
        chance=random.Random(seed_number),
        now=datetime.now(UTC),
    )
    return [Payment(one.transaction_id, one.unique_id, one.amount_minor, one.currency) for one in made]


async def _stormed(
    stage: _Stage, planned: Plan, *, faults: bool, console: Console
) -> tuple[Delivered, float | None]:
    """Deliver everything, with a kill and a flush in the middle, showing how it goes."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    sent = bars.add_task("notifications sent", total=len(planned.deliveries))
    booked = bars.add_task("notifications booked", total=planned.counts.distinct)
    words = Table.grid()
    killed_at: float | None = None
    third = len(planned.deliveries) // 3
    seen = 0

    def progress(tally: Delivered) -> None:
        nonlocal seen, killed_at
        bars.update(sent, completed=tally.settled)
        before, seen = seen, tally.settled
        if not faults:
            return
        if before < third <= seen:
            stage.kill_worker()
            killed_at = time.monotonic()
            words.add_row(
                "[yellow]! the worker was killed with SIGKILL; notifications go on being answered[/]"
            )
        if before < third * 3 // 2 <= seen and stage.services.redis is not None:
            stage.services.redis.flush()
            words.add_row("[yellow]! Redis was flushed[/]")
        if before < 2 * third <= seen:
            stage.start_worker()
            words.add_row("[yellow]! a new worker was started[/]")

    with Live(Group(bars, words), console=console, refresh_per_second=8):
        watching = asyncio.create_task(_watched(stage, bars, booked))
        delivered = await deliver(planned, url=f"{stage.url}/api/webhooks/emp", progress=progress)
        await _settled(stage)
        watching.cancel()
        bars.update(booked, completed=planned.counts.distinct)
    return delivered, killed_at


async def _watched(stage: _Stage, bars: Progress, booked: TaskID) -> None:
    async with open_pool(stage.environ["DATABASE_URL"], name="tether-demo", max_size=1) as pool:
        while True:
            async with connection(pool) as conn:
                tally = await webhook_events.tally(conn, now=datetime.now(UTC))
            bars.update(booked, completed=tally.processed + tally.parked + tally.put_off)
            await asyncio.sleep(0.25)


async def _settled(stage: _Stage) -> None:
    """Wait until no notification is due any more."""
    until = time.monotonic() + _SETTLE_S
    async with open_pool(stage.environ["DATABASE_URL"], name="tether-demo", max_size=1) as pool:
        while time.monotonic() < until:
            async with connection(pool) as conn:
                if not await webhook_events.due(conn, now=datetime.now(UTC)):
                    return
            await asyncio.sleep(0.1)


def _answered(url: str) -> dict[str, int]:
    """The web nodes' own count of their answers, by outcome."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return {outcome: int(float(count)) for outcome, count in _OUTCOME.findall(text)}


def _report(
    console: Console,
    lines: list[Line],
    *,
    planned: Plan,
    delivered: Delivered,
    answered: Mapping[str, int],
    killed_at: float | None,
) -> None:
    console.print()
    counts = planned.counts
    sent = Table(title="What the gateway sent, and what it was told", title_justify="left")
    sent.add_column("")
    sent.add_column("count", justify="right")
    for what, count in (
        ("requests", delivered.posts),
        ("  distinct notifications", counts.distinct),
        ("  repeats", counts.duplicates),
        ("  repeats with other content", counts.conflicting),
        ("  forged", counts.forged),
        *((f"answered: {outcome}", count) for outcome, count in sorted(answered.items()) if count),
    ):
        sent.add_row(what, str(count))
    sent.add_row(
        "answer time p50 / p95 / p99",
        " / ".join(f"{delivered.latency_s(q) * 1000:.0f}" for q in (0.5, 0.95, 0.99)) + " ms",
    )
    console.print(sent)

    table = Table(title="Conservation check", title_justify="left")
    for column in ("", "sent", "booked", ""):
        table.add_column(column, justify="right" if column in {"sent", "booked"} else "left")
    for line in lines:
        mark = "[green]✓[/]" if line.holds else f"[red]✗ {line.note}[/]"
        table.add_row(line.what, str(line.wanted), str(line.found), mark)
    console.print(table)
    if killed_at is not None and all(line.holds for line in lines):
        console.print(
            "A worker died and Redis was emptied on the way; nothing was lost and nothing happened twice."
        )


def _next_steps(console: Console) -> None:
    console.print(
        "\nWhere to look next:\n"
        "  docs/start.md                      how to run it for yourself\n"
        "  docs/architecture.md               how a notification becomes a booked result\n"
        "  packages/tether-core               the rules, to read and to import\n"
        "  tether-sandbox up -- bash          a shell with everything running\n"
    )
