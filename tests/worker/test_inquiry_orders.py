"""Inquiries that a person orders: made once, within bounds, in any state, and applied like any other news."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.emp.requests import Debit
from tether_core.errors import GatewaySilent
from tether_core.inquiry_orders import EXPIRES_AFTER, NothingToInquire
from tether_core.limits.rate_limit import limits
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_sandbox.gateway import Setup, Simulator, StatusChange, running, scripted_iban
from tether_stores import inquiry_orders
from tether_stores.boot_clock import BootClock
from tether_worker.gateway import client as calls
from tether_worker.gateway.connections import Account, open_gateway
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps
from tether_worker.inquiry_orders import inquire_ordered, inquiring_ordered
from tether_worker.notifications.apply import ApplyDeps, apply_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tether_stores.inquiry_orders import InquiryOrder
    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600)


class World:
    """One test's database, what inquiring needs, and its time."""

    def __init__(
        self, conn: Connection, pool: Pool, client: GatewayClient, attempt: Callable[..., Awaitable[int]]
    ) -> None:
        self.conn, self.client, self._attempt = conn, client, attempt
        self.now = datetime.now(UTC)
        self.inquired = 0
        self.is_silent = False
        self.deps = InquiryDeps(
            pool,
            self._clients,
            self._permit,
            lambda: self.now,
            lambda: 0.5,
            boot=BootClock("boot-1", self._boot_s),
        )
        self.applying = ApplyDeps(pool, ApplyPolicy(confirm="all"), lambda: self.now, lambda: 0.5)

    def _boot_s(self) -> float:
        return self.now.timestamp()

    async def _clients(self) -> Mapping[str, GatewayClient]:
        return {"default": self.client}

    @contextlib.asynccontextmanager
    async def _permit(self, _client: GatewayClient) -> AsyncIterator[None]:
        self.inquired += 1
        if self.is_silent:
            raise GatewaySilent(why="no answer")
        yield

    async def debit(self, name: str, **columns: Any) -> int:
        """A debit that the gateway has; *columns* say what we know of it."""
        sold = Debit(
            transaction_id=name,
            amount_minor=1000,
            currency="EUR",
            usage="x",
            iban=scripted_iban(0),
            first_name="Zoë",
            last_name="Miller",
            country="DE",
        )
        answer = await calls.sale(self.client.gateway, sold)
        values: dict[str, Any] = {
            "unique_id": answer.unique_id,
            "at": self.now,
            "submission_count": 1,
            "submitted_at": self.now,
        }
        return await self._attempt(name, **(values | columns))

    async def order(self, scope: Any, subject_id: int, **more: Any) -> InquiryOrder:
        wanted: dict[str, Any] = {
            "what": "open",
            "ordered_by": "ops",
            "reason": "the bank says",
            "now": self.now,
        }
        found = await inquiry_orders.order(self.conn, scope, subject_id, **(wanted | more))
        assert found is not None
        return found

    async def work(self) -> int:
        done = await inquire_ordered(self.deps)
        while await apply_batch(self.applying):
            pass
        return done

    async def progress(self, order_id: int) -> tuple[int, int, int, int]:
        found = await inquiry_orders.by_id(self.conn, order_id)
        assert found is not None
        return found.debits, found.waiting, found.inquired, found.given_up

    async def states(self) -> list[str]:
        rows = await (await self.conn.execute("select state from billing_attempts order by id")).fetchall()
        return [state for (state,) in rows]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has transaction ids of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
async def world(
    conn: Connection, pool: Pool, simulator: Simulator, attempt: Callable[..., Awaitable[int]]
) -> AsyncIterator[World]:
    """Two runs of an upload without debits."""
    await conn.execute(
        "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
        " values ('a', 'a.csv', 1, '', 'completed', '2026-03-02Z', '2026-03-02Z')"
    )
    await conn.execute(
        "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
        " select 1, 'default', 'a' || n, 'running', '{}', '{}', 'ops', '2026-03-02Z', '2026-03-02Z'"
        " from generate_series(1, 2) n"
    )
    account = Account(
        "default", simulator.url, SETUP.login, SETUP.passwords[0], SETUP.terminals[0], timeout_s=20
    )
    async with open_gateway(account) as gateway:
        yield World(
            conn, pool, GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20})), attempt
        )


async def test_a_debit_is_inquired_at_once_and_its_news_are_applied(
    world: World, simulator: Simulator
) -> None:
    """Its own inquiry is two hours away, and the debtor is on the telephone."""
    made = await world.debit("io-now")
    simulator.transition(StatusChange("declined", error_code="500", transaction_id="io-now"))
    order = await world.order("attempt", made)
    assert (order.debits, order.waiting) == (1, 1)
    assert await inquiring_ordered(world.deps).has_pending()
    assert await world.work() == 1
    assert await world.states() == ["declined"]
    assert await world.progress(order.id) == (1, 0, 1, 0)
    (row,) = await inquiry_orders.listed(world.conn, order.id, after=0, limit=9)
    assert (row.status_before, row.status, row.is_inquired, row.is_waiting) == (
        "pending",
        "declined",
        True,
        False,
    )
    assert not await inquiring_ordered(world.deps).has_pending()
    assert await world.work() == 0


async def test_a_settled_debit_and_one_beyond_its_inquiries_are_inquired_too(
    world: World, simulator: Simulator
) -> None:
    """A debit that we believe collected was charged back, and the notification never came; nobody else asks about it."""
    resolved = await world.debit("io-settled", payment_stage=stages.APPROVED)
    simulator.transition(StatusChange("approved", transaction_id="io-settled"))
    simulator.transition(StatusChange("chargebacked", reason_code="AC04", transaction_id="io-settled"))
    beyond = await world.debit("io-beyond", inquiry_count=TRIES_MAX)
    simulator.transition(StatusChange("approved", transaction_id="io-beyond"))
    for made in (resolved, beyond):
        await world.order("attempt", made)
    assert await world.work() == 2
    assert await world.states() == ["chargebacked", "approved"]


async def test_of_a_run_and_an_upload_only_what_is_open_unless_all_is_wanted(world: World) -> None:
    """An inquiry about each of ten thousand collected debits would keep the open ones waiting for ten minutes."""
    for number, (run, stage) in enumerate(
        [(1, 20), (1, stages.APPROVED), (2, stages.UNKNOWN_TO_US), (2, stages.SENT)]
    ):
        unsent = (
            {"submission_count": 0, "submitted_at": None, "unique_id": None} if stage == stages.SENT else {}
        )
        await world.debit(
            f"io-scope-{number}",
            run_id=run,
            due_item=str(number),
            try_number=1,
            payment_stage=stage,
            **unsent,
        )
    assert (await world.order("run", 1)).debits == 1
    again = await world.order("upload", 1)
    assert again.debits == 1  # the one of run 1 waits already
    assert (await world.order("upload", 1, what="submitted")).debits == 1
    with pytest.raises(NothingToInquire, match="never submitted"):
        await world.order("attempt", 4)
    assert (
        await inquiry_orders.order(
            world.conn, "run", 9, what="open", ordered_by="ops", reason="x", now=world.now
        )
        is None
    )
    await world.work()
    assert world.inquired == 3


async def test_an_order_is_bounded_and_says_that_more_is_left(world: World) -> None:
    """An order about a million debits would use up the account's inquiries for a day."""
    for number in range(3):
        await world.debit(f"io-many-{number}", run_id=1, due_item=str(number), try_number=1)
    first = await world.order("run", 1, limit=2)
    assert (first.debits, first.more) == (2, True)
    second = await world.order("run", 1, limit=2)
    assert (second.debits, second.more) == (1, False)


async def test_silence_is_inquired_again_and_given_up_after_a_day(world: World) -> None:
    """The gateway is away: an order must neither count as done nor be repeated for ever."""
    made = await world.debit("io-silent")
    order = await world.order("attempt", made)
    world.is_silent = True
    assert await world.work() == 1
    assert await world.progress(order.id) == (1, 1, 0, 0)
    assert await world.work() == 0
    world.now += timedelta(minutes=2)
    assert await world.work() == 1
    world.now += EXPIRES_AFTER
    inquired = world.inquired
    assert await world.work() == 1
    assert await world.progress(order.id) == (1, 0, 0, 1)
    assert world.inquired == inquired
    assert (await world.order("attempt", made)).waiting == 1


async def test_the_schedule_of_the_debit_stays_as_it_is(world: World) -> None:
    """An ordered inquiry that used one of its ten would leave the debit without one when it matters."""
    due = world.now + timedelta(hours=5)
    made = await world.debit("io-schedule", inquiry_count=3, inquire_at=due)
    await world.order("attempt", made)
    await world.work()
    row = await (
        await world.conn.execute("select inquiry_count, inquire_at from billing_attempts")
    ).fetchone()
    assert row == (3, due)
