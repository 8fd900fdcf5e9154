"""
Report fetches: read the gateway's reports day by day, and store what is missing.

```text
tick (a row, taken once) ─► reports of some days become due ─► a worker leases one ─► page by page:
    fetch the page (no transaction is open) ─► its records into the inbox, the page counted: one commit
```

A report record (`tether_core.reconciliation.report_records`) is decided like a notification: it goes into the inbox, and applying decides
it. A record that a notification reported before is only marked as listed, which the completeness report counts.

A report is fetched for one day at a time, so no window is longer than the 7 days the gateway allows, and the report of a day can be
compared with what is stored of that day. `SCHEDULE` fetches each report again every night for a month, because a debit's result
comes days after the debit.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec
from tether_core import retry
from tether_core.emp.notification import decode
from tether_core.emp.responses import Chargeback, GatewayAnswer, RecordPage
from tether_core.errors import GatewaySilent, InvalidRequest, Unavailable, Unreadable
from tether_core.jobs import FETCH_REPORTS
from tether_core.reconciliation.completeness import LISTS, SCHEDULE, ListName, Rhythm
from tether_core.reconciliation.report_records import (
    REFUNDS,
    RecordedStatus,
    ReportRecord,
    from_answer,
    from_chargeback,
    says_more,
)
from tether_stores.jobs import periodic
from tether_stores.notifications import report_records, webhook_events
from tether_stores.notifications.report_records import StoredRow
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.reconciliation import report_fetches
from tether_stores.reconciliation.report_fetches import PageRead, ReportReading
from tether_stores.telemetry import logger

from tether_worker.gateway import client as calls
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.reconciliation.differences import compare_refunds, compare_report
from tether_worker.reconciliation.gateway_refunds import take_report

__all__ = ["FetchResult", "fetching_reports", "read_list", "take_in", "tick_time", "ticking", "want"]

# A batch of some seconds, so that a worker that stops need not read a whole day first.
PAGES_MAX: Final = 20
# A lease covers one page: its turn, its answer and its rows.
_LEASE: Final = timedelta(seconds=120)
# How often a worker looks whether a tick is due.
_TICK_EVERY_S: Final = 30.0
_TICKS_KEPT: Final = timedelta(days=90)

_log = logger("report_fetches")


class FetchResult(msgspec.Struct, frozen=True):
    """
    The results of fetched records.

    Attributes:
        recorded: New rows of the inbox.
        known: Records without news.
    """

    recorded: int
    known: int


def fetching_reports(deps: InquiryDeps) -> Work:
    """The job that fetches reports."""

    async def batch() -> int:
        return await read_list(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await report_fetches.due(conn, now=deps.clock())

    return Work(FETCH_REPORTS, batch, has_pending)


def ticking(deps: InquiryDeps) -> PeriodicTask:
    """Make reports due at their times, once in the whole cluster."""

    async def tick() -> None:
        now = deps.clock()
        for rhythm in SCHEDULE:
            await _tick(deps, rhythm, now=now)

    return PeriodicTask("tick_report_fetches", _TICK_EVERY_S, tick)


def tick_time(rhythm: Rhythm, *, now: datetime) -> datetime:
    """
    The latest tick of a rhythm.

    Args:
        rhythm: The rhythm.

    Returns:
        A time not after *now*.
    """
    first_at = datetime.combine(now.date(), time(), tzinfo=UTC) + rhythm.past
    # Before the first tick of a day the last one of the day before holds.
    return first_at + (now - first_at) // rhythm.every * rhythm.every


async def _tick(deps: InquiryDeps, rhythm: Rhythm, *, now: datetime) -> None:
    tick_at = tick_time(rhythm, now=now)
    accounts = list(await deps.clients())
    if not accounts:
        return
    async with transaction(deps.pool) as conn:
        if not await periodic.take(conn, rhythm.periodic_task, tick_at=tick_at, now=now):
            return
        days = [now.date() - timedelta(days=back) for back in range(rhythm.days_back + 1)]
        wanted = await want(conn, accounts, days, now=now)
        await periodic.prune(conn, before=now - _TICKS_KEPT)
    _log.info("reports due", periodic_task=rhythm.periodic_task, lists=wanted)


async def want(
    conn: Connection,
    accounts: Iterable[str],
    days: Sequence[date],
    *,
    now: datetime,
    lists: Sequence[ListName] = tuple(LISTS),
) -> int:
    """
    Make the lists of some days due; one that is being read is read once more after that.

    Args:
        accounts: Whose lists.
        days: Which days'.
        lists: Which lists.

    Returns:
        How many lists these are.
    """
    wanted = [(account, name, day) for account in accounts for name in lists for day in days]
    await report_fetches.want(conn, wanted, now=now)
    return len(wanted)


async def read_list(deps: InquiryDeps, *, pages_max: int = PAGES_MAX) -> int:
    """
    Read some pages of the list that has been due for longest.

    Args:
        pages_max: Pages at most; what is left of the list stays due.

    Returns:
        How many pages were requested; 0 where no list is due.

    Raises:
        Unavailable: when Postgres is away; what was read before stays.
    """
    lease = deps.clock() + _LEASE
    async with connection(deps.pool) as conn:
        reading = await report_fetches.claim(conn, now=deps.clock(), leased_until=lease)
    if reading is None:
        return 0
    clients = await deps.clients()
    client = clients.get(reading.account)
    if client is None:
        await _deferred(deps, reading, lease=lease, why="no such account")
        return 1
    sharing = _sharing(client, clients.values())
    for asked in range(1, pages_max + 1):
        try:
            page = await _page(deps, client, reading)
        except (GatewaySilent, InvalidRequest) as exc:
            await _deferred(deps, reading, lease=lease, why=str(exc))
            return asked
        terminal, number = _next(page, reading)
        at_end = terminal >= _terminals(client, reading)
        now = deps.clock()
        # The last page of this batch gives the lease back.
        next_lease = now + _LEASE if at_end or asked < pages_max else now
        async with transaction(deps.pool) as conn:
            counted = await _take_page(conn, page, reading, account=client.owner, sharing=sharing, now=now)
            kept = await report_fetches.advance(
                conn, reading, counted, terminal=terminal, page=number, lease=lease, leased_until=next_lease
            )
            if not kept:
                raise _LeaseLostError
            if at_end:
                await report_fetches.finish(conn, reading, lease=next_lease)
        if at_end:
            return asked
        lease = next_lease
        reading = msgspec.structs.replace(reading, terminal=terminal, page=number, failures=0)
    return pages_max


class _LeaseLostError(Unavailable):
    """Another worker fetches this report now; what was read of the page is rolled back."""

    def __str__(self) -> str:
        return "another worker fetches this report now"


async def _page(
    deps: InquiryDeps, client: GatewayClient, reading: ReportReading
) -> RecordPage[GatewayAnswer] | RecordPage[Chargeback]:
    async with deps.permit(client):
        match reading.name:
            case "transactions":
                start_at = datetime.combine(reading.day, time(), tzinfo=UTC)
                return await calls.transactions(
                    client.gateway,
                    start_at=start_at,
                    end_at=start_at + timedelta(days=1),
                    page=reading.page,
                    # Where a terminal was taken from the account meanwhile, the last one is read twice.
                    terminal_token=client.terminals[min(reading.terminal, len(client.terminals) - 1)],
                )
            case "chargebacks":
                return await calls.chargebacks_posted(
                    client.gateway,
                    start_on=reading.day,
                    end_on=reading.day,
                    page=reading.page,
                    scope=client.scope,
                )
            case "imports":
                return await calls.chargebacks_imported(
                    client.gateway, import_on=reading.day, page=reading.page, scope=client.scope
                )


def _terminals(client: GatewayClient, reading: ReportReading) -> int:
    # Chargebacks are listed for the whole account, payments for each terminal.
    return len(client.terminals) if reading.name == "transactions" else 1


def _next(
    page: RecordPage[GatewayAnswer] | RecordPage[Chargeback], reading: ReportReading
) -> tuple[int, int]:
    if page.has_next:
        return reading.terminal, reading.page + 1
    return reading.terminal + 1, 1


async def _take_page(
    conn: Connection,
    page: RecordPage[GatewayAnswer] | RecordPage[Chargeback],
    reading: ReportReading,
    *,
    account: str,
    sharing: Collection[str] = (),
    now: datetime,
) -> PageRead:
    records: list[ReportRecord] = []
    unread = 0
    items: Sequence[GatewayAnswer | Chargeback] = page.items
    owners = await _owners(conn, items, account=account, sharing=sharing)
    for item, owner in zip(items, owners, strict=True):
        try:
            record = _record(item, account=owner)
        except Unreadable:
            unread += 1
            continue
        if record is not None:
            records.append(record)
    taken = await take_in(conn, records, listed_on=reading.day, override=reading.name == "imports", now=now)
    if reading.name == "transactions":
        await compare_report(conn, records, now=now)
        refunds = _refunds(page)
        await compare_refunds(conn, refunds, now=now)
        await take_report(conn, refunds, account=account, now=now)
    if taken.recorded:
        _log.info("report fetched", list=reading.name, day=reading.day.isoformat(), rows=taken.recorded)
    if unread:
        _log.error("report records unreadable", list=reading.name, day=reading.day.isoformat(), rows=unread)
    listed = len(page.items)
    if page.total_count is not None:
        # The whole list's count, once.
        listed = page.total_count if reading.page == 1 else 0
    return PageRead(listed, len(page.items) - unread, unread)


def _sharing(client: GatewayClient, clients: Iterable[GatewayClient]) -> set[str]:
    """The other accounts of the same login and address: its lists of chargebacks are theirs, too."""
    own = client.gateway.account
    same = (
        other
        for other in clients
        if (other.gateway.account.url, other.gateway.account.login) == (own.url, own.login)
    )
    return {other.owner for other in same} - {client.owner}


async def _owners(
    conn: Connection,
    items: Sequence[GatewayAnswer | Chargeback],
    *,
    account: str,
    sharing: Collection[str],
) -> list[str]:
    """The account of each record of a page: that of its debit where accounts share a login, else the one it was fetched with."""
    if not sharing:
        return [account] * len(items)
    named = [((item.unique_id or "") if isinstance(item, Chargeback) else "", "", "") for item in items]
    found = await webhook_events.owners(conn, named)
    return [owner if owner is not None and owner in sharing else account for owner in found]


def _refunds(page: RecordPage[GatewayAnswer] | RecordPage[Chargeback]) -> list[GatewayAnswer]:
    return [
        item for item in page.items if isinstance(item, GatewayAnswer) and item.transaction_type in REFUNDS
    ]


def _record(item: GatewayAnswer | Chargeback, *, account: str) -> ReportRecord | None:
    if isinstance(item, Chargeback):
        return from_chargeback(item, account=account)
    return from_answer(item, account=account)


async def take_in(
    conn: Connection,
    records: Sequence[ReportRecord],
    *,
    now: datetime,
    listed_on: date | None = None,
    override: bool = False,
) -> FetchResult:
    """
    Store fetched records in the inbox, as far as they say more than the stored rows.

    Args:
        records: The records; the same one may be among them several times.
        now: The time of receipt.
        listed_on: The day whose report had them, or `None` for a status inquiry about one payment.
        override: Whether that day replaces the one stored before.
    """
    if not records:
        return FetchResult(0, 0)
    known: list[list[StoredRow]] = [[] for _ in records]
    for row in await report_records.stored_rows(conn, records):
        known[row.place].append(row)
    news = [
        item for item, rows in zip(records, known, strict=True) if says_more(item, map(_current_status, rows))
    ]
    fresh = await report_records.add(conn, list({item.key: item for item in news}.values()), now=now)
    if listed_on is not None:
        marks: dict[int, datetime | None] = {}
        for item, rows in zip(records, known, strict=True):
            # One row represents the event: the oldest that was not contradicted.
            row_id = next((row.id for row in rows if row.outcome != "contradicted"), fresh.get(item.key))
            if row_id is not None:
                marks.setdefault(row_id, item.happened_at)
        await report_records.mark_listed(conn, list(marks.items()), listed_on=listed_on, override=override)
    return FetchResult(len(fresh), len(records) - len(fresh))


def _current_status(row: StoredRow) -> RecordedStatus:
    error_code, reason_code = row.error_code, row.reason_code
    if error_code is None or reason_code is None:
        try:
            claim = decode(row.body, content_type=row.content_type)
        except Unreadable:
            # It was readable when it came, so the reader has changed since; the fetched record decides.
            return RecordedStatus("failed", None, None)
        error_code, reason_code = error_code or claim.error_code, reason_code or claim.reason_code
    return RecordedStatus(row.outcome, error_code, reason_code)


async def _deferred(deps: InquiryDeps, reading: ReportReading, *, lease: datetime, why: str) -> None:
    now = deps.clock()
    due_at = retry.next_try(retry.REPORT_S, reading.failures + 1, now=now, jitter=deps.jitter())
    _log.warning("report fetch deferred", list=reading.name, day=reading.day.isoformat(), why=why)
    async with connection(deps.pool) as conn:
        await report_fetches.deferred(
            conn, reading, due_at=due_at or now + timedelta(seconds=retry.REPORT_S[-1]), lease=lease
        )
