"""Lists of the gateway: what they hold reaches the books once, whichever way was faster, and nothing of them is lost."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, decode
from tether_core.emp.responses import Chargeback, RecordPage
from tether_core.limits.rate_limit import limits
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.reconciliation.completeness import SCHEDULE, Rhythm
from tether_core.testing import form_body
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running
from tether_sandbox.gateway.api import Adopted
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.reconciliation import report_fetches
from tether_stores.reconciliation.completeness import draw_up
from tether_stores.reconciliation.report_fetches import ReportReading
from tether_worker.gateway.connections import Account, open_gateway
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.notifications.confirmation import confirm
from tether_worker.reconciliation.report_fetches import (
    _take_page,
    fetching_reports,
    read_list,
    tick_time,
    ticking,
    want,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tether_core.reconciliation.completeness import ListName
    from tether_stores.postgres import Connection, Pool

SETUP = Setup(terminals=("terminal-1", "terminal-2"))
# Payments of one test are taken on a day of their own, so that its lists hold nothing else.
FIRST_DAY = date(2026, 3, 2)


class World:
    """One test's database, its worker's needs, its time and its day."""

    def __init__(
        self, conn: Connection, pool: Pool, client: GatewayClient, simulator: Simulator, day: date
    ) -> None:
        self.conn = conn
        self.pool = pool
        self.simulator = simulator
        self.day = day
        self.now = datetime.now(UTC)
        self.clients = {"default": client}
        self.inquiry_deps = InquiryDeps(pool, self._clients, self._permit, lambda: self.now, lambda: 0.5)
        self.applying = ApplyDeps(pool, ApplyPolicy(confirm="chargebacks"), lambda: self.now, lambda: 0.5)

    async def _clients(self) -> Mapping[str, GatewayClient]:
        return self.clients

    @contextlib.asynccontextmanager
    async def _permit(self, _client: GatewayClient) -> AsyncIterator[None]:
        yield

    def adopt(self, *names: str) -> list[str]:
        """Let the gateway know of payments; gives their unique_ids."""
        unique_ids = [f"{self.day.isoformat()}{name}".encode().hex().zfill(32)[-32:] for name in names]
        taken_at = datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=UTC)
        payments = [
            Adopted(name, unique_id, 1000, "EUR", taken_at)
            for name, unique_id in zip(names, unique_ids, strict=True)
        ]
        self.simulator._answered("POST", "/ledger/adopt", payments)
        return unique_ids

    async def deliver(self, unique_id: str, **fields: str) -> str:
        body = form_body({"unique_id": unique_id, **fields})
        notification = decode(body, content_type=FORM)
        identity = identify(notification, account="default")
        row = Recording(
            identity.key,
            identity.content,
            "default",
            notification.kind,
            notification.id,
            notification.status,
            notification.event or "",
            FORM,
            body,
        )
        [outcome] = await webhook_events.record(self.conn, [row], now=self.now)
        await self.book()
        return outcome

    async def book(self) -> None:
        while await apply_batch(self.applying):
            pass

    async def report_fetch(self, *lists: ListName, day: date | None = None, pages_max: int = 20) -> int:
        """Make lists due and read them to their end; gives how many pages that took."""
        await want(self.conn, ["default"], [day or self.day], now=self.now, lists=lists)
        pages = 0
        while read := await read_list(self.inquiry_deps, pages_max=pages_max):
            pages += read
        await self.book()
        return pages

    async def all(self, query: str) -> list[tuple[Any, ...]]:
        return await (await self.conn.execute(query)).fetchall()

    async def events(self) -> list[tuple[Any, ...]]:
        return await self.all(
            "select source, status, state, outcome, listed_on from webhook_events order by id"
        )

    async def blacklisted(self) -> list[Any]:
        return [code for (code,) in await self.all("select reason_code from blacklist")]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module."""
    with running(SETUP) as item:
        yield item


@pytest.fixture(scope="module")
def days() -> Iterator[date]:
    """Days, one after the other."""
    return (FIRST_DAY + timedelta(days=n) for n in range(1000))


@pytest.fixture
async def world(
    conn: Connection, pool: Pool, simulator: Simulator, days: Iterator[date]
) -> AsyncIterator[World]:
    """Everything but payments and attempts."""
    account = Account("default", simulator.url, SETUP.login, SETUP.passwords[0], "terminal-1", timeout_s=20)
    async with open_gateway(account) as gateway:
        client = GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20}))
        yield World(conn, pool, client, simulator, next(days))


async def test_a_dropped_notification_is_found(world: World, attempt: Callable[..., Awaitable[int]]) -> None:
    """A notification that was never sent, or lost on ten tries, would leave its debit pending for ever."""
    [unique_id] = world.adopt("dropped")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("dropped", unique_id=unique_id)
    await world.report_fetch("transactions")
    assert await world.all("select state from billing_attempts") == [("approved",)]
    assert await world.events() == [("report", "approved", "processed", "applied", world.day)]


async def test_the_reports_of_a_former_login_are_about_the_account_that_had_it(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """The old login lists every older debit each night: each would wait for a person as that of another account."""
    world.clients["old"] = msgspec.structs.replace(world.clients["default"], former_of="default")
    first, second = world.adopt("first", "second")
    for name, unique_id in (("first", first), ("second", second)):
        world.simulator.transition(StatusChange("approved", unique_id=unique_id))
        await attempt(name, unique_id=unique_id)
    await world.deliver(first, status="approved")
    await want(world.conn, ["default", "old"], [world.day], now=world.now, lists=["transactions"])
    while await read_list(world.inquiry_deps):
        await world.book()
    assert await world.all("select state from billing_attempts") == [("approved",), ("approved",)]
    assert await world.events() == [
        ("webhook", "approved", "processed", "applied", world.day),
        ("report", "approved", "processed", "applied", world.day),
    ]
    report = await draw_up(
        world.conn, from_on=world.day, to_on=world.day, accounts=["default", "old"], now=world.now
    )
    assert (report.report.known, report.report.by_webhook, report.report.fetched) == (2, 1, 1)
    assert report.report.unexplained == 0


async def test_a_chargeback_in_the_list_of_a_shared_login_is_about_the_account_of_its_debit(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Chargebacks are listed by login: each of the second account would wait for a person each night as that of another account."""
    own = world.clients["default"].gateway
    second = msgspec.structs.replace(own, account=msgspec.structs.replace(own.account, name="second"))
    world.clients["second"] = msgspec.structs.replace(world.clients["default"], gateway=second)
    [unique_id] = world.adopt("shared")
    await attempt("shared", unique_id=unique_id, payment_stage=stages.APPROVED)
    await world.conn.execute("update billing_attempts set account = 'second'")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    world.simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=unique_id))
    await want(world.conn, ["default", "second"], [world.now.date()], now=world.now, lists=["imports"])
    while await read_list(world.inquiry_deps):
        await world.book()
    assert await world.all("select state from billing_attempts") == [("chargebacked",)]
    cursor = await world.conn.execute(
        "select account, source, state, outcome from webhook_events where notification_id = %s", [unique_id]
    )
    assert await cursor.fetchall() == [("second", "report", "processed", "applied")]


async def test_a_lost_answer_is_found_by_our_id(world: World, attempt: Callable[..., Awaitable[int]]) -> None:
    """The old system imported the twin of a lost answer as a stranger and could then bill the debtor again."""
    [unique_id] = world.adopt("lost")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("lost", payment_stage=stages.UNKNOWN_TO_US)
    await world.report_fetch("transactions")
    assert await world.all("select state, unique_id from billing_attempts") == [("approved", unique_id)]


async def test_what_was_notified_only_gets_its_mark(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Every notification would get a twin at each fetch, and the inbox would grow without end."""
    [unique_id] = world.adopt("told")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("told", unique_id=unique_id)
    await world.deliver(unique_id, status="approved", transaction_id="told", amount="1000")
    for _ in range(2):
        await world.report_fetch("transactions")
    assert await world.events() == [("webhook", "approved", "processed", "applied", world.day)]


async def test_a_notification_after_its_report_fetch_is_no_contradiction(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Worded otherwise than the list, it would be kept aside and shown to a person, each single time."""
    [unique_id] = world.adopt("late")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("late", unique_id=unique_id)
    await world.report_fetch("transactions")
    assert await world.deliver(unique_id, status="approved", amount="1000") == "recorded"
    await world.report_fetch("transactions")
    assert [row[:4] for row in await world.events()] == [
        ("report", "approved", "processed", "applied"),
        ("webhook", "approved", "processed", "unchanged"),
    ]


async def test_a_chargeback_without_a_notification(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """A closed account would be debited again next month."""
    [unique_id] = world.adopt("back")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    world.simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=unique_id))
    await attempt("back", unique_id=unique_id, payment_stage=stages.APPROVED)
    await world.report_fetch("imports", day=world.now.date())
    assert ("chargebacked", "AC04") in await world.all("select state, reason_code from billing_attempts")
    assert await world.blacklisted() == ["AC04"]


async def test_a_reason_that_comes_later_still_lists_the_account(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Notifications may lack the reason. Once the list has it, the account must come onto the blacklist all the same."""
    [unique_id] = world.adopt("bare")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("bare", unique_id=unique_id, payment_stage=stages.APPROVED)
    world.applying = ApplyDeps(world.pool, ApplyPolicy(confirm="off"), lambda: world.now, lambda: 0.5)
    await world.deliver(unique_id, status="chargebacked", event="chargeback", chargeback_unique_id="cd" * 16)
    assert await world.all("select state, reason_code from billing_attempts") == [("chargebacked", None)]
    assert await world.blacklisted() == []
    world.simulator.transition(StatusChange("chargebacked", "chargeback", "MD07", unique_id=unique_id))
    for _ in range(2):
        await world.report_fetch("transactions")
        await world.report_fetch("imports", day=world.now.date())
    assert await world.all("select state, reason_code from billing_attempts") == [("chargebacked", "MD07")]
    assert await world.blacklisted() == ["MD07"]
    rows = await world.all(
        "select source, listed_on is not null from webhook_events"
        f" where notification_id = '{unique_id}' and status = 'chargebacked' order by id"
    )
    assert rows == [("webhook", True), ("report", False)]  # one event, known once


async def test_a_contradicted_claim_that_becomes_true(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """A forger could keep a genuine chargeback out of our books by claiming it too early."""
    [unique_id] = world.adopt("invalid_signature")
    world.simulator.transition(StatusChange("approved", unique_id=unique_id))
    await attempt("invalid_signature", unique_id=unique_id, payment_stage=stages.APPROVED)
    claim = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
    await world.deliver(unique_id, **claim)
    await confirm(world.inquiry_deps)
    await world.book()
    assert (await world.events())[0][3] == "contradicted"
    world.simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=unique_id))
    assert await world.deliver(unique_id, **claim) == "repeated"  # the true one now looks like the false one
    await world.report_fetch("imports", day=world.now.date())
    assert await world.all("select state from billing_attempts") == [("chargebacked",)]
    assert await world.blacklisted() == ["AC04"]
    known = await world.all(
        f"select source from webhook_events where notification_id = '{unique_id}' and listed_on is not null"
    )
    assert known == [("report",)]  # the lie is not what the gateway knows


async def test_payments_of_others_are_kept(world: World) -> None:
    """Another program may use the same terminal: what it collects must be seen, and must not stop our own."""
    world.adopt("stranger")
    await world.report_fetch("transactions")
    assert [row[:4] for row in await world.events()] == [("report", "pending_async", "waiting", "not_yet")]


async def test_a_long_list_is_read_page_by_page_from_where_it_stood(world: World) -> None:
    """A worker that dies in a list of a thousand pages would begin it again and again, and never come to its end."""
    world.adopt(*(f"p{n}" for n in range(250)))
    await want(world.conn, ["default"], [world.day], now=world.now, lists=["transactions"])
    assert await read_list(world.inquiry_deps, pages_max=2) == 2
    assert await world.all("select page, held_so_far, read_at from report_fetches") == [(3, 200, None)]
    began_at = world.now
    world.now += timedelta(minutes=1)
    assert await read_list(world.inquiry_deps) == 2  # the rest of this terminal, then the other one
    assert await world.all("select listed, held, unread, due_at, read_at from report_fetches") == [
        (250, 250, 0, None, began_at)
    ]
    assert len(await world.events()) == 250


async def test_a_silent_gateway_costs_no_page(world: World) -> None:
    """An outage in the middle of a list must not lose what comes after it, nor count what came before twice."""
    world.adopt(*(f"q{n}" for n in range(150)))
    await want(world.conn, ["default"], [world.day], now=world.now, lists=["transactions"])
    await read_list(world.inquiry_deps, pages_max=1)
    world.simulator.faults(Faults(inquiries_failed=1.0))
    try:
        assert await read_list(world.inquiry_deps) == 1
    finally:
        world.simulator.faults(Faults())
    assert await world.all("select page, failures from report_fetches") == [(2, 1)]
    assert not await fetching_reports(world.inquiry_deps).has_pending()
    world.now += timedelta(minutes=1)
    assert await fetching_reports(world.inquiry_deps).has_pending()
    await read_list(world.inquiry_deps)
    assert await world.all("select listed, held, failures from report_fetches") == [(150, 150, 0)]


async def test_two_workers_read_different_lists(world: World) -> None:
    """Two that read one list would count its items twice."""
    world.adopt("r1", "r2")
    await want(
        world.conn,
        ["default"],
        [world.day, world.day - timedelta(days=400)],
        now=world.now,
        lists=["transactions"],
    )
    await asyncio.gather(read_list(world.inquiry_deps), read_list(world.inquiry_deps))
    assert await world.all("select listed from report_fetches order by day_on desc") == [(2,), (0,)]
    assert await read_list(world.inquiry_deps) == 0


async def test_a_page_read_after_its_lease_leaves_nothing(world: World) -> None:
    """A worker frozen for minutes would count a page that another one has counted already."""
    await want(world.conn, ["default"], [world.day], now=world.now, lists=["transactions"])
    lease = world.now + timedelta(minutes=2)
    reading = await report_fetches.claim(world.conn, now=world.now, leased_until=lease)
    assert reading is not None
    later = lease + timedelta(minutes=2)
    assert await report_fetches.claim(world.conn, now=lease, leased_until=later) == reading
    stale = await report_fetches.advance(
        world.conn,
        reading,
        report_fetches.PageRead(1, 1, 0),
        terminal=0,
        page=2,
        lease=lease,
        leased_until=later,
    )
    assert not stale
    assert await world.all("select page, held_so_far from report_fetches") == [(1, 0)]


async def test_an_item_that_cannot_be_read_is_counted(world: World) -> None:
    """It must show in the completeness report; an exception would stop the list at its page for ever."""
    good = Chargeback("first", "1st chargeback", "ab" * 16, None, "AC04", None, None, None, None, {})
    nobody = Chargeback("first", "1st chargeback", None, None, "AC04", None, None, None, None, {})
    transfer = Chargeback("transfer", "Transfer", "ab" * 16, None, None, None, None, None, None, {})
    reading = ReportReading("default", "imports", world.day, 0, 1, 0)
    read = await _take_page(
        world.conn, RecordPage((good, nobody, transfer)), reading, account="default", now=world.now
    )
    assert (read.listed, read.held, read.unread) == (3, 2, 1)
    assert [row[:2] for row in await world.events()] == [("report", "chargebacked")]


async def test_lists_of_an_account_that_is_gone_wait(world: World) -> None:
    """An account taken out by mistake must not lose its lists, nor stop those of others."""
    await want(world.conn, ["elsewhere", "default"], [world.day], now=world.now, lists=["transactions"])
    while await read_list(world.inquiry_deps):
        pass
    assert await world.all(
        "select account, read_at is null, failures from report_fetches order by account"
    ) == [
        ("default", False, 0),
        ("elsewhere", True, 1),
    ]


async def test_a_tick_is_done_once_in_the_whole_cluster(world: World) -> None:
    """Ten workers would otherwise ask the gateway for every list ten times an hour."""
    world.now = world.now.replace(hour=12, minute=30)  # the nightly tick is not within the next hour
    periodic_task = ticking(world.inquiry_deps)
    await asyncio.gather(*(periodic_task.do() for _ in range(4)))
    taken = await world.all(
        "select periodic_task, count(*) from ticks group by periodic_task order by periodic_task"
    )
    assert taken == [
        (rhythm.periodic_task, 1) for rhythm in sorted(SCHEDULE, key=lambda item: item.periodic_task)
    ]
    due = await world.all(
        "select list, count(*) from report_fetches where due_at is not null group by list order by list"
    )
    assert due == [("chargebacks", 31), ("imports", 31), ("transactions", 31)]
    while await read_list(world.inquiry_deps):
        pass
    await periodic_task.do()
    assert not await fetching_reports(world.inquiry_deps).has_pending()
    world.now += timedelta(hours=1)
    await periodic_task.do()
    assert await world.all("select count(*) from report_fetches where due_at is not null") == [(6,)]


async def test_a_list_that_is_being_read_goes_on_and_is_read_once_more(world: World) -> None:
    """
    A tick in the middle of a long list must not begin it again, or it never comes to its end.

    But what came into its first page meanwhile would be missed by a person who asked for it.
    """
    world.adopt(*(f"s{n}" for n in range(150)))
    await want(world.conn, ["default"], [world.day], now=world.now, lists=["transactions"])
    await read_list(world.inquiry_deps, pages_max=1)
    world.now += timedelta(minutes=1)
    await want(world.conn, ["default"], [world.day], now=world.now, lists=["transactions"])
    assert await world.all("select page from report_fetches") == [(2,)]
    await read_list(world.inquiry_deps)
    assert await world.all("select page, listed, due_at from report_fetches") == [(1, 150, world.now)]
    await read_list(world.inquiry_deps)
    assert await world.all("select listed, due_at, read_at from report_fetches") == [(150, None, world.now)]


@given(
    st.timedeltas(timedelta(0), timedelta(days=400)).map(
        lambda since: datetime(2026, 1, 1, tzinfo=UTC) + since
    ),
    st.sampled_from(SCHEDULE),
    st.timedeltas(timedelta(0), timedelta(hours=3)),
)
def test_ticks_are_the_same_for_all_who_ask(now: datetime, rhythm: Rhythm, later: timedelta) -> None:
    """Two nodes that ask a second apart must mean the same tick, and none may be excluded."""
    tick_at = tick_time(rhythm, now=now)
    assert now - rhythm.every < tick_at <= now
    assert tick_time(rhythm, now=tick_at) == tick_at
    then = tick_time(rhythm, now=now + later)
    assert (then - tick_at) % rhythm.every == timedelta(0)
    assert then - tick_at <= later + rhythm.every
