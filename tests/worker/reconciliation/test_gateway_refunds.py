"""Refunds made in the gateway's back office: linked, confirmed by its own record, and never made a second time."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.emp.notification import FORM, decode
from tether_core.holds import Reported
from tether_core.limits.rate_limit import limits
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.testing import form_body
from tether_sandbox.gateway import Setup, Simulator, running
from tether_sandbox.gateway.api import Adopted
from tether_sandbox.gateway.payment_history import Transition
from tether_stores import holds
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.reconciliation import gateway_refunds
from tether_worker.gateway.connections import Account, open_gateway
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.reconciliation.differences import review_all
from tether_worker.reconciliation.gateway_refunds import inquire_gateway_refunds
from tether_worker.reconciliation.report_fetches import read_list, want

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tether_stores.postgres import Connection, Pool

    Make = Callable[..., Awaitable[int]]

SETUP = Setup(terminals=("terminal-1",))
NUMBERS = count(1)


class World:
    """One test's database, its worker's needs, and its time."""

    def __init__(
        self, conn: Connection, pool: Pool, client: GatewayClient, simulator: Simulator, attempt: Make
    ) -> None:
        self.conn, self.pool, self.simulator, self.attempt = conn, pool, simulator, attempt
        self.now = datetime.now(UTC)
        self.client = client
        self.inquiry_deps = InquiryDeps(pool, self._clients, self._permit, lambda: self.now, lambda: 0.5)
        self.applying = ApplyDeps(pool, ApplyPolicy(), lambda: self.now, lambda: 0.5)

    async def _clients(self) -> Mapping[str, GatewayClient]:
        return {"default": self.client}

    @contextlib.asynccontextmanager
    async def _permit(self, _client: GatewayClient) -> AsyncIterator[None]:
        yield

    async def debit(self) -> tuple[int, str]:
        """Have a debit collected; gives the attempt and the gateway's id of it."""
        name = f"gr-{next(NUMBERS)}"
        unique_id = name.encode().hex().zfill(32)
        taken_at = self.now - timedelta(days=2)
        known = Adopted(name, unique_id, 1000, "EUR", taken_at, (Transition("approved"),))
        self.simulator._answered("POST", "/ledger/adopt", [known])
        made = await self.attempt(name, unique_id=unique_id, payment_stage=stages.APPROVED, at=taken_at)
        return made, unique_id

    async def report(self, unique_id: str, debit_id: str, **fields: str) -> None:
        """Process the notification of a refund."""
        body = form_body(
            {
                "unique_id": unique_id,
                "transaction_type": "sdd_refund",
                "status": "approved",
                "reference_transaction_unique_id": debit_id,
                **fields,
            }
        )
        notification = decode(body, content_type=FORM)
        identity = identify(notification, account="default")
        row = Recording(
            identity.key,
            identity.content,
            "default",
            notification.kind,
            notification.id,
            notification.status,
            "",
            FORM,
            body,
        )
        await webhook_events.record(self.conn, [row], now=self.now)
        assert await apply_batch(self.applying) == 1

    async def all(self, query: str) -> list[tuple[Any, ...]]:
        return await (await self.conn.execute(query)).fetchall()

    async def reported(self, debit: int) -> Reported:
        return (await holds.of_refunds(self.conn, [debit], now=self.now))[debit]

    async def states(self) -> list[str]:
        return [
            state
            for (state,) in await self.all(
                "select state from gateway_refunds order by first_seen_at, unique_id"
            )
        ]

    async def debits(self) -> list[str]:
        return [state for (state,) in await self.all("select state from billing_attempts order by id")]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has payments of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
async def world(conn: Connection, pool: Pool, simulator: Simulator, attempt: Make) -> AsyncIterator[World]:
    """Everything but debits."""
    account = Account("default", simulator.url, SETUP.login, SETUP.passwords[0], "terminal-1", timeout_s=20)
    async with open_gateway(account) as gateway:
        yield World(
            conn,
            pool,
            GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20})),
            simulator,
            attempt,
        )


async def test_a_refund_of_the_back_office_blocks_ours_and_moves_the_debit(world: World) -> None:
    """A person at the gateway and a person here refund the same debit, and the debtor has the money twice."""
    debit, debit_id = await world.debit()
    refund_id = world.simulator.refund(debit_id, is_notified=False)
    await world.report(refund_id, debit_id)
    assert await world.all("select state, outcome, reason, attempt_id from webhook_events") == [
        ("processed", "unchanged", "gateway_refund", debit)
    ]
    assert (await world.reported(debit)).returned  # reported: ours waits
    assert await world.debits() == ["approved"]  # nobody signed which debit it is of
    assert await inquire_gateway_refunds(world.inquiry_deps) == 1
    assert (await world.states(), await world.debits()) == (["approved"], ["refunded"])
    assert (await world.reported(debit)).gateway_refund
    (excerpt,) = await gateway_refunds.of_attempt(world.conn, debit)
    assert (excerpt.unique_id, excerpt.amount_minor, excerpt.status) == (refund_id, 1000, "approved")
    await world.report(refund_id, debit_id, status="refunded")  # told again
    assert await inquire_gateway_refunds(world.inquiry_deps) == 0
    assert [name for (name,) in await world.all("select name from outbox")] == ["attempt.status_changed"]


async def test_a_report_finds_a_refund_that_was_not_notified(world: World) -> None:
    """Notifications are lost; the hourly reports have every refund with the debit it is of."""
    _, whole_id = await world.debit()
    part, part_id = await world.debit()
    await world.debit()
    world.simulator.refund(whole_id, is_notified=False)
    world.simulator.refund(part_id, amount_minor=250, is_notified=False)
    today = world.now.date()
    await want(world.conn, ["default"], [today], now=world.now, lists=["transactions"])
    while await read_list(world.inquiry_deps):
        pass
    assert await world.debits() == ["refunded", "approved", "approved"]
    assert await world.all("select kind, attempt_id, theirs from reconciliation_differences") == [
        ("amount_differs", part, "2.50 EUR (refunded)")
    ]
    assert (await world.reported(part)).gateway_refund


async def test_a_refund_that_is_of_another_debit_holds_nothing(world: World) -> None:
    """A sender who has seen one refund could block refunds of every other debit."""
    debit, debit_id = await world.debit()
    _, other_id = await world.debit()
    refund_id = world.simulator.refund(other_id, is_notified=False)
    await world.report(refund_id, debit_id)
    assert await inquire_gateway_refunds(world.inquiry_deps) == 1
    assert await world.states() == ["contradicted"]
    assert await world.reported(debit) == Reported()
    assert (await world.debits())[0] == "approved"


async def test_a_refund_that_the_gateway_does_not_know_is_contradicted_in_the_end(world: World) -> None:
    """Its record may lag some minutes, and is not waited for for ever."""
    debit, debit_id = await world.debit()
    await world.report("nobody-knows", debit_id)
    for minutes, state in [(0, "reported"), (2, "reported"), (12, "contradicted")]:
        world.now += timedelta(minutes=minutes)
        assert await inquire_gateway_refunds(world.inquiry_deps) == 1
        assert await world.states() == [state]
    assert await world.reported(debit) == Reported()
    assert await inquire_gateway_refunds(world.inquiry_deps) == 0


async def test_a_silent_gateway_settles_nothing(world: World) -> None:
    """A wrong password or an outage would release the hold, and the refund goes out twice."""
    debit, debit_id = await world.debit()
    refund_id = world.simulator.refund(debit_id, is_notified=False)
    await world.report(refund_id, debit_id)
    known = world.client
    account = Account("default", "http://127.0.0.1:9", SETUP.login, "x", "terminal-1", timeout_s=1)
    async with open_gateway(account) as gateway:
        world.client = GatewayClient(gateway, SETUP.terminals, known.limits)
        for _ in range(3):
            assert await inquire_gateway_refunds(world.inquiry_deps) == 1
            world.now += timedelta(minutes=30)
        assert (await world.reported(debit)).returned
    world.client = known
    assert await inquire_gateway_refunds(world.inquiry_deps) == 1
    assert await world.debits() == ["refunded"]


async def test_two_refunds_of_one_debit_are_money_returned_twice(world: World) -> None:
    """Ours was under way when the back office made its own."""
    debit, debit_id = await world.debit()
    await world.conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage,"
        " state, payment_stage, ordered_by, created_at, updated_at) values (%s, 'refund', 1, 'default', 'ours', 'ours-1', 1000,"
        " 'EUR', 'x', 'approved', 60, 't', now(), now())",
        [debit],
    )
    await world.report("ours-1", debit_id, transaction_id="ours")  # that one is an order of ours
    assert await world.states() == []
    refund_id = world.simulator.refund(debit_id, is_notified=False)
    await world.report(refund_id, debit_id)
    await inquire_gateway_refunds(world.inquiry_deps)
    await review_all(world.pool, now=world.now, limit=10)
    assert await world.all("select kind, theirs from reconciliation_differences") == [
        ("returned_twice", "2 refunds")
    ]
