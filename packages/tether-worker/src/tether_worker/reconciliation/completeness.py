"""
`tether-worker completeness`: whether our books hold everything the gateway knows, for people or as JSON.

Each morning the same is told of the day before, in the log: as an error when anything is unexplained or was not read.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Final

from rich.console import Console
from rich.table import Table
from tether_core.reconciliation.differences import sentence
from tether_stores.jobs import periodic
from tether_stores.postgres import transaction
from tether_stores.reconciliation.completeness import Completeness, draw_up
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import Asking
from tether_worker.jobs.periodic import Duty

__all__ = ["exit_code", "show", "telling"]

# After the night's readings, in UTC.
_TOLD_AT: Final = time(6, tzinfo=UTC)
_EVERY_S: Final = 60.0
_LINES_SHOWN: Final = 20
_TRY_LATER: Final = 75

_log = logger("completeness")


def telling(has: Asking) -> Duty:
    """
    Tell the report of yesterday each morning, once in the whole cluster.

    Args:
        has: What asking needs.

    Returns:
        The duty.
    """

    async def tell() -> None:
        now = has.clock()
        if now.timetz() < _TOLD_AT:
            return
        accounts = list(await has.parties())
        if not accounts:
            return
        yesterday = now.date() - timedelta(days=1)
        async with transaction(has.pool) as conn:
            if not await periodic.take(
                conn, "completeness", tick_at=datetime.combine(now.date(), _TOLD_AT), now=now
            ):
                return
            told = await draw_up(conn, from_on=yesterday, to_on=yesterday, accounts=accounts, now=now)
        _tell(told)

    return Duty("tell_completeness", _EVERY_S, tell)


def _tell(told: Completeness) -> None:
    found = told.report
    say = _log.info if told.complete and not told.open_lines else _log.error
    say(
        "completeness",
        day=found.to_on.isoformat(),
        known=found.known,
        by_webhook=found.by_webhook,
        pulled=found.pulled,
        unexplained=found.unexplained,
        not_read=len(found.not_read),
        left_open=told.left_open,
        paid_out_twice=len(told.paid_out_twice),
        differences=sum(told.differences.values()),
    )


def show(told: Completeness) -> None:
    """Print a report as a table for people."""
    found = told.report
    days = found.from_on.isoformat()
    if found.to_on != found.from_on:
        days = f"{days} to {found.to_on.isoformat()}"
    table = Table(title=f"What the gateway knows of {days}", show_header=False)
    table.add_row("known to the gateway", str(found.known))
    table.add_row("  came by webhook", str(found.by_webhook))
    table.add_row("  pulled", str(found.pulled))
    table.add_row("  unexplained (must be 0)", str(found.unexplained))
    for fate, count in sorted(found.fates.items()):
        table.add_row(f"rows {fate.replace('_', ' ')}", str(count))
    for way, delay in sorted(found.delays.items()):
        shown = " / ".join(_duration(s) for s in (delay.p50_s, delay.p95_s, delay.max_s))
        table.add_row(f"delay by {way}, p50 / p95 / max", shown)
    for one in found.not_read[:10]:
        table.add_row("not read to its end", f"{one.day.isoformat()} {one.name} of {one.account}")
    if len(found.not_read) > 10:
        table.add_row("not read to their end", f"and {len(found.not_read) - 10} more")
    if found.awaited:
        table.add_row("being read", f"{len(found.awaited)} lists; ask again in some minutes")
    table.add_row("unknown, asked about enough", str(told.left_open))
    table.add_row("money that went back twice", str(len(told.paid_out_twice)))
    for kind, count in told.differences.items():
        if count:
            table.add_row(f"difference {kind}", str(count))
    table.add_row("complete", _verdict(told))
    console = Console()
    console.print(table)
    for line in told.open_lines[:_LINES_SHOWN]:
        console.print(
            f"{line.id}: {sentence(line.kind, attempt_id=line.attempt_id, ours=line.ours, theirs=line.theirs)} "
            f"Since {line.first_seen_at:%Y-%m-%d %H:%M}. {line.action}",
            soft_wrap=True,
        )


def exit_code(told: Completeness) -> int:
    """0 where all is well, 75 where reports are still being read, 1 where a person has to look."""
    if told.complete and not told.open_lines:
        return 0
    found = told.report
    is_waiting = not (found.unexplained or found.not_read or told.open_lines)
    return _TRY_LATER if is_waiting else 1


def _verdict(told: Completeness) -> str:
    found = told.report
    if found.unexplained or found.not_read:
        return "NO"
    if found.awaited:
        return "not known yet"
    return "yes, so far" if found.so_far else "yes"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
