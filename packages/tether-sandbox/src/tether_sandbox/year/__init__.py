"""
`tether-sandbox demo --year`: a year of recurring collection in about a minute, on real services.

`play` moves a clock from event to event (`clock`), through the `script` of the year; `bank` decides what becomes of debits; `worker` and `web`
are the jobs and the application of the real programs in this process; `check` compares at the end what all parties have.
"""

import contextlib
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from tether_stores import telemetry
from tether_stores.migrate import migrate

from tether_sandbox.database_roles import with_roles
from tether_sandbox.demo.notifications import check_table
from tether_sandbox.gateway import Setup
from tether_sandbox.gateway import running as gateway_running
from tether_sandbox.services import running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import ENVIRONMENT
from tether_sandbox.year.check import check
from tether_sandbox.year.clock import YearClock
from tether_sandbox.year.play import Month, play
from tether_sandbox.year.script import DAYS_MIN, YearScript

__all__ = ["DAYS_MIN", "YearScript", "run"]

_HOW = """\
Real: Postgres, Redis, the web application behind its server, all jobs and
periodic tasks of the worker, a simulated gateway over HTTP, two receivers of
signed events. Played: one clock for all of them, which a script moves from
event to event, and the banks. Web and worker run in this process, and nothing
is killed; the demo without --year does that.
"""
# The gateway's own clock stands still, so its scripts never run by themselves.
_NEVER_S = 1e9
_SETTINGS = {
    # Longer than a busy machine takes: silence is not among the faults of the year.
    "EMP_TIMEOUT": "20",
    "DATABASE_POOL_WAIT": "20",
    "EMP_RATE_LIMIT": "1000",
    "RECONCILIATION_RATE_LIMIT": "1000",
    "TETHER_SUBSCRIBER_NETWORKS": "127.0.0.1",
    # The whole log is compared at the end.
    "TETHER_DELIVERY_LOG_DAYS": "800",
}


def run(script: YearScript, *, console: Console) -> int:
    """
    Play a year and check it.

    Returns:
        0 if every line of the check holds, else 1.
    """
    began_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tether-year-")))
        guard = stack.enter_context(Guard())
        guard.remove(folder)
        log = folder / "log"
        # Open to the end of the process: a thread writes the last lines then.
        with contextlib.redirect_stderr(log.open("w")):
            telemetry.configure(level="warning", program="tether-year")
        with console.status("starting Postgres and Redis ..."):
            # Nothing is killed, so nothing waits for the disk.
            services = stack.enter_context(running(os.environ, survives_power_loss=False))
        port = free_port()
        gateway = stack.enter_context(
            gateway_running(
                Setup(
                    notify_url=f"http://127.0.0.1:{port}/api/webhooks/emp",
                    result_after_s=_NEVER_S,
                    retry_interval_s=0.01,
                    retries_max=3,
                    seed=script.seed,
                )
            )
        )
        files = folder / "pre-notifications"
        files.mkdir()
        environ = {
            **ENVIRONMENT,
            **services.environment,
            **_SETTINGS,
            "EMP_API_URL": gateway.url,
            "TETHER_PRE_NOTIFICATIONS_DIR": str(files),
        }
        clock = YearClock(script.began_at)
        migrate(environ["DATABASE_DIRECT_URL"], now=clock())
        roles = with_roles(environ["DATABASE_DIRECT_URL"]) if services.postgres else {}
        console.print(_HOW)
        console.print(
            f"[green]✓[/] started ({time.monotonic() - began_s:.1f} s); {script.debtors} debtors, {script.days} days"
        )
        # The event loop of the worker.
        played = uvloop.run(
            play(
                script,
                environ,
                roles,
                services=services,
                gateway=gateway,
                clock=clock,
                port=port,
                files=files,
                watch=lambda month: _print(month, console=console),
            )
        )
        result = check(played, environ["DATABASE_DIRECT_URL"])
        console.print(
            check_table("A year: calendar, gateway, files and subscribers, and Tether", result.lines)
        )
        for fact in result.facts:
            console.print(fact)
        if not result.holds:
            kept = Path(tempfile.gettempdir()) / f"tether-year-{os.getpid()}.log"
            kept.write_text(log.read_text(), encoding="utf-8")
            console.print(f"[red]They differ.[/] Log of web and worker: {kept}")
        console.print(f"Finished in {time.monotonic() - began_s:.0f} s.")
        return 0 if result.holds else 1


def _print(month: Month, *, console: Console) -> None:
    """One line for a month."""
    reported = ", ".join(f"{count} {status}" for status, count in sorted(month.reported.items()))
    console.print(f"{month.first_on:%Y-%m}  {month.debits:3} debits  {reported}", highlight=False)
    for sentence in month.notes:
        console.print(f"         [yellow]! {sentence}[/]", highlight=False)
