"""
`tether-worker completeness`: whether Tether has everything that the gateway's reports list, as a table or JSON.

Each morning the report of the day before is logged: as an error when anything is unexplained or was not read.
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

from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["exit_code", "reporting_completeness", "show"]

# After the night's report fetches, in UTC.
_REPORT_AT: Final = time(6, tzinfo=UTC)
_EVERY_S: Final = 60.0
_LINES_SHOWN: Final = 20
_TRY_LATER: Final = 75

_log = logger("completeness")


def reporting_completeness(deps: InquiryDeps) -> PeriodicTask:
    """Log the report of yesterday each morning, once in the whole cluster."""

    async def log_report() -> None:
        now = deps.clock()
        if now.timetz() < _REPORT_AT:
            return
        accounts = list(await deps.clients())
        if not accounts:
            return
        yesterday = now.date() - timedelta(days=1)
        async with transaction(deps.pool) as conn:
            if not await periodic.take(
                conn, "completeness", tick_at=datetime.combine(now.date(), _REPORT_AT), now=now
            ):
                return
            report = await draw_up(conn, from_on=yesterday, to_on=yesterday, accounts=accounts, now=now)
        _log_report(report)

    return PeriodicTask("report_completeness", _EVERY_S, log_report)


def _log_report(report: Completeness) -> None:
    found = report.report
    log = _log.info if report.complete and not report.open_lines else _log.error
    log(
        "completeness",
        day=found.to_on.isoformat(),
        known=found.known,
        by_webhook=found.by_webhook,
        fetched=found.fetched,
        unexplained=found.unexplained,
        not_read=len(found.not_read),
        left_open=report.left_open,
        refunded_and_charged_back=len(report.refunded_and_charged_back),
        differences=sum(report.differences.values()),
    )


def show(report: Completeness) -> None:
    """Print a report as a table for people."""
    found = report.report
    days = found.from_on.isoformat()
    if found.to_on != found.from_on:
        days = f"{days} to {found.to_on.isoformat()}"
    table = Table(title=f"What the gateway knows of {days}", show_header=False)
    table.add_row("known to the gateway", str(found.known))
    table.add_row("  came by webhook", str(found.by_webhook))
    table.add_row("  fetched", str(found.fetched))
    table.add_row("  unexplained (must be 0)", str(found.unexplained))
    for disposition, count in sorted(found.dispositions.items()):
        table.add_row(f"rows {disposition.replace('_', ' ')}", str(count))
    for way, delay in sorted(found.delays.items()):
        excerpt = " / ".join(_duration(s) for s in (delay.p50_s, delay.p95_s, delay.max_s))
        table.add_row(f"delay by {way}, p50 / p95 / max", excerpt)
    for not_read in found.not_read[:10]:
        table.add_row(
            "not read to its end", f"{not_read.day.isoformat()} {not_read.name} of {not_read.account}"
        )
    if len(found.not_read) > 10:
        table.add_row("not read to their end", f"and {len(found.not_read) - 10} more")
    if found.awaited:
        table.add_row("being read", f"{len(found.awaited)} reports; run again in some minutes")
    table.add_row("unknown after all inquiries", str(report.left_open))
    table.add_row("refunded and charged back", str(len(report.refunded_and_charged_back)))
    for kind, count in report.differences.items():
        if count:
            table.add_row(f"difference {kind}", str(count))
    table.add_row("complete", _verdict(report))
    console = Console()
    console.print(table)
    for line in report.open_lines[:_LINES_SHOWN]:
        console.print(
            f"{line.id}: {sentence(line.kind, attempt_id=line.attempt_id, ours=line.ours, theirs=line.theirs)} "
            f"Since {line.first_seen_at:%Y-%m-%d %H:%M}. {line.action}",
            soft_wrap=True,
        )


def exit_code(report: Completeness) -> int:
    """0 where all is complete, 75 where reports are still being read, 1 where a person has to look."""
    if report.complete and not report.open_lines:
        return 0
    found = report.report
    is_waiting = not (found.unexplained or found.not_read or report.open_lines)
    return _TRY_LATER if is_waiting else 1


def _verdict(report: Completeness) -> str:
    found = report.report
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
