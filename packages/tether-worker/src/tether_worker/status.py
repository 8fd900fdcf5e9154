"""`tether-worker status`: the state of inbox, attempts, runs, refunds and gateway accounts, as a table or JSON."""

from datetime import datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core.database_epoch import REASONS, Reason
from tether_core.fingerprint_key import REASONS as REASONS_OF_KEY
from tether_core.fingerprint_key import KeyState
from tether_core.money import Money
from tether_stores import fingerprint_key, queues, workers
from tether_stores.accounts import gateway_accounts, gateway_identities
from tether_stores.accounts.gateway_identities import UnresolvedSubmission
from tether_stores.billing import billing_runs
from tether_stores.clock import timestamp
from tether_stores.database_epoch import lost_history
from tether_stores.database_epoch.watch import durability_warnings
from tether_stores.limits import LimitStatus, limit_status
from tether_stores.notifications import event_lists, excess_deliveries
from tether_stores.payments import billing_attempts, submissions
from tether_stores.postgres import connection, open_pool
from tether_stores.queues import ListedQueue
from tether_stores.reconciliation import differences
from tether_stores.reconciliation.differences import OpenLines
from tether_stores.redis import open_redis
from tether_stores.refunds import refunds
from tether_stores.settings import Settings
from tether_stores.workers import Supervisor, Worker

__all__ = ["RunStatus", "Status", "show", "status"]


_UNRESOLVED_MAX: Final = 100


class RunStatus(msgspec.Struct, frozen=True):
    """
    A billing run that is not over.

    Attributes:
        id: The run.
        upload_id: Whose debtors.
        state: See `tether_core.billing.run`.
        note: Why it is paused, or what the auto-pause warns of; "" for neither.
    """

    id: int
    upload_id: int
    account: str
    state: str
    note: str


class EpochStatus(msgspec.Struct, frozen=True):
    """
    The current epoch of the database.

    Attributes:
        number: From 1; it grows when the database went back.
        reason: Why it began; see `tether_core.database_epoch`.
        began_at: When.
        reviewed: Whether all older submissions have become inquiries; nothing is submitted before.
        inquiries: How many these were.
    """

    number: int
    reason: Reason
    began_at: datetime
    reviewed: bool
    inquiries: int


class Status(msgspec.Struct, frozen=True):
    """
    The state of inbox, attempts, runs, refunds and gateway accounts.

    Attributes:
        waiting: Notifications that are due and not applied.
        oldest_age_s: Age of the oldest of them, in seconds.
        deferred: Notifications that are retried later, such as until their payment appears.
        confirming: Notifications that wait for the gateway's confirmation.
        processed: Notifications whose processing has ended.
        parked: Notifications that wait for a person.
        conflicting: Deliveries kept aside for a person.
        inquired_again: Of `confirming`: notifications that the gateway contradicted, and that are inquired again.
        contradicted: Notifications that the gateway contradicted until inquiries ended; a person may replay them.
        excess_deliveries: Deliveries beyond what is kept of their payment or key, which are only counted.
        attempts: Billing attempts by state.
        ready: Debits that may be submitted, now or later.
        submitting: Debits that are being submitted.
        runs: Billing runs that are not over.
        refunds: Refunds and voids by state.
        gateways: How freely each gateway account may be called; empty without `REDIS_URL`.
        database_epoch: The current epoch of the database; `None` before the first.
        warnings: What is wrong with how Postgres keeps commits and with the fingerprint key, and which gateway identities are
            missing.
        unresolved: Submissions of unknown outcome without a configured gateway identity for status inquiries, a hundred at
            most, the oldest first.
        fingerprint_key: Whether the key of this command's environment is the database's; see `tether_core.fingerprint_key`.
        differences: Open reconciliation differences by kind and currency, with the money of their debits.
        queues: What waits on each queue, how many workers serve it, and whether it is paused.
        supervisors: The supervisors that live, with their pools.
        workers: The workers that live.
    """

    waiting: int
    oldest_age_s: float
    deferred: int
    confirming: int
    processed: int
    parked: int
    conflicting: int
    attempts: dict[str, int]
    inquired_again: int = 0
    contradicted: int = 0
    excess_deliveries: int = 0
    ready: int = 0
    submitting: int = 0
    runs: list[RunStatus] = []
    refunds: dict[str, int] = {}
    gateways: list[LimitStatus] = []
    database_epoch: EpochStatus | None = None
    warnings: list[str] = []
    unresolved: list[UnresolvedSubmission] = []
    fingerprint_key: KeyState = "matches"
    differences: list[OpenLines] = []
    queues: list[ListedQueue] = []
    supervisors: list[Supervisor] = []
    workers: list[Worker] = []


async def status(settings: Settings) -> Status:
    """
    Read the status.

    Raises:
        StoreUnreachable: when Postgres does not answer.
    """
    async with (
        open_pool(settings.database_url, name="tether-status", max_size=1) as pool,
        connection(pool) as conn,
    ):
        inbox = await event_lists.counts(conn, now=await timestamp(conn))
        _, excess = await excess_deliveries.counts(conn)
        attempts = await billing_attempts.states(conn)
        submitting, ready = await submissions.counts(conn)
        runs = await billing_runs.unfinished(conn)
        orders = await refunds.counts(conn)
        epoch = await lost_history.current(conn)
        warnings = await durability_warnings(conn)
        known = await gateway_accounts.all_accounts(conn, settings=settings)
        calls = await gateway_identities.open_calls(conn, accounts=known.values())
        unresolved = await gateway_identities.unresolved(conn, limit=_UNRESOLVED_MAX)
        key = await fingerprint_key.observe(conn, settings.fingerprint_key.encode())
        left = len(await fingerprint_key.unmatched(conn))
        books = await differences.open_by_kind(conn)
        now = await timestamp(conn)
        lines = await queues.listed(conn, now=now)
        supervisors, live = await workers.supervisors(conn, now=now), await workers.live(conn, now=now)
    gateways: list[LimitStatus] = []
    if settings.redis_url:
        async with open_redis(settings.redis_url, name="tether-status", timeout_s=2) as cache:
            gateways = await limit_status(cache, list(known))
    return Status(
        waiting=inbox.waiting,
        oldest_age_s=round(inbox.oldest_due_s, 3),
        deferred=inbox.deferred,
        confirming=inbox.confirming,
        processed=inbox.processed,
        parked=inbox.parked,
        conflicting=inbox.conflicting,
        inquired_again=inbox.inquired_again,
        contradicted=inbox.contradicted,
        excess_deliveries=excess,
        attempts={state: count for state, (count, _) in sorted(attempts.items())},
        ready=ready,
        submitting=submitting,
        runs=[
            RunStatus(run.id, run.upload_id, run.account, run.state, run.pause_reason or run.warning or "")
            for run in runs
        ],
        refunds={state: count for state, (count, _) in orders.items()},
        gateways=gateways,
        database_epoch=None
        if epoch is None
        else EpochStatus(
            epoch.number, epoch.reason, epoch.began_at, epoch.reviewed_at is not None, epoch.submissions
        ),
        warnings=[
            *warnings,
            *_about_key(key, unmatched=left),
            *gateway_identities.diagnostics(calls, accounts=list(known.values())),
        ],
        unresolved=unresolved,
        fingerprint_key=key,
        differences=books,
        queues=lines,
        supervisors=supervisors,
        workers=live,
    )


def _about_key(state: KeyState, *, unmatched: int) -> list[str]:
    result = [] if state == "matches" else [f"{REASONS_OF_KEY[state]}."]
    if unmatched:
        result.append(
            f"{unmatched:,} blacklist entries match no account since the fingerprint key was changed; "
            "`tether-worker fingerprints show` lists them."
        )
    return result


def show(result: Status) -> None:
    """Print a status as a table."""
    table = Table(title="Tether", show_header=False)
    table.add_row("notifications waiting", str(result.waiting))
    table.add_row("oldest of them", f"{result.oldest_age_s:.1f} s")
    table.add_row("deferred", str(result.deferred))
    table.add_row("waiting for confirmation", str(result.confirming))
    table.add_row("contradicted, inquired again", str(result.inquired_again))
    table.add_row("processed", str(result.processed))
    table.add_row("contradicted by the gateway", str(result.contradicted))
    table.add_row("parked for a person", str(result.parked))
    table.add_row("conflicting, kept for a person", str(result.conflicting))
    if result.excess_deliveries:
        table.add_row("excess deliveries, only counted", str(result.excess_deliveries))
    for state, count in result.attempts.items():
        table.add_row(f"attempts {state}", str(count))
    table.add_row("debits ready for submission", str(result.ready))
    table.add_row("debits being submitted", str(result.submitting))
    for run in result.runs:
        table.add_row(f"run {run.id} of upload {run.upload_id}", f"{run.state}  {run.note}".rstrip())
    for state, count in result.refunds.items():
        table.add_row(f"refunds and voids {state}", str(count))
    for gateway in result.gateways:
        calls = (
            f"{gateway.failures} of {gateway.calls} calls failed lately"
            if gateway.calls
            else "not called lately"
        )
        wait = f", next call in {gateway.open_for_s:.0f} s" if gateway.open_for_s else ""
        table.add_row(f"gateway account {gateway.account}", f"breaker {gateway.breaker}{wait}; {calls}")
    epoch = result.database_epoch
    if epoch is not None and epoch.reason != "first":
        state = "reviewed" if epoch.reviewed else "being reviewed; nothing is submitted"
        table.add_row(
            f"database epoch {epoch.number}",
            f"since {epoch.began_at:%Y-%m-%d %H:%M}: {REASONS[epoch.reason]} {epoch.inquiries} submissions {state}",
        )
    for call in result.unresolved:
        table.add_row(
            f"unresolved {call.kind} {call.id}",
            f"{call.transaction_id}, since {call.since_at:%Y-%m-%d %H:%M}; submitted to {'; '.join(call.submitted_to)}",
        )
    for line in result.differences:
        money = Money(line.amount_minor, line.currency)
        table.add_row(
            f"difference {line.kind}", f"{line.count} open, {money}; tether-worker differences lists them"
        )
    _show_workers(table, result)
    for warning in result.warnings:
        table.add_row("warning", warning)
    Console().print(table)


def _show_workers(table: Table, result: Status) -> None:
    for queue in result.queues:
        paused = f"; paused by {queue.paused.paused_by}: {queue.paused.reason}" if queue.paused else ""
        table.add_row(
            f"queue {queue.name}",
            f"{queue.rows:,} rows, the oldest for {queue.oldest_s:.0f} s; {queue.workers} workers{paused}",
        )
    for supervisor in result.supervisors:
        pools = "; ".join(
            f"{name} {pool.running} of {pool.processes_min} to {pool.processes_max} ({pool.cause.replace('_', ' ')})"
            for name, pool in supervisor.pools.items()
        )
        table.add_row(
            f"supervisor on {supervisor.host}, pid {supervisor.pid}", f"{supervisor.state}: {pools}"
        )
    for worker in result.workers:
        table.add_row(
            f"worker on {worker.host}, pid {worker.pid}",
            f"{worker.state}: {', '.join(worker.queues)}; {worker.memory_bytes / 2**20:.0f} MiB",
        )
