"""Voids of whole runs, from the order to the gateway's ledger: each debit of today once, the others with the reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.requests import Debit
from tether_core.payments import stages
from tether_core.payments.submission import SubmissionRules
from tether_core.reconciliation.differences import Difference
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running
from tether_stores.limits import Limiter
from tether_stores.reconciliation import differences
from tether_stores.redis import open_redis
from tether_stores.refunds import refunds, run_voids
from tether_stores.settings import Settings
from tether_worker.gateway.client import sale
from tether_worker.gateway.clients import open_gateways
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps
from tether_worker.refunds.run_voids import void_batch, voiding_runs
from tether_worker.refunds.submission import submit_refunds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600, silence_s=5)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has transaction ids of its own."""
    with running(SETUP) as item:
        item.faults(Faults())
        yield item


class World:
    """A paused run, its debits, and the worker that submits voids."""

    def __init__(
        self,
        conn: Connection,
        deps: SubmissionDeps,
        simulator: Simulator,
        attempt: Callable[..., Awaitable[int]],
    ) -> None:
        self.conn, self.deps, self.simulator, self._attempt = conn, deps, simulator, attempt
        self.now = datetime.now(UTC)
        self._items = 0

    async def debit(self, name: str, **columns: Any) -> int:
        """A debit of the run that the gateway has taken today; *columns* say what became of it since."""
        opened = await self.deps.gateways.get("default")
        assert opened is not None
        sold = Debit(
            transaction_id=name,
            amount_minor=1000,
            currency="EUR",
            usage="x",
            iban="DE89370400440532013000",
            first_name="Zoë",
            last_name="Miller",
            country="DE",
        )
        answer = await sale(opened, sold)
        self.simulator.transition(StatusChange("approved", transaction_id=name))
        return await self.attempt(name, **{"unique_id": answer.unique_id, **columns})

    async def attempt(self, name: str, **columns: Any) -> int:
        """An attempt of the run, without a call."""
        self._items += 1
        values: dict[str, Any] = {
            "payment_stage": stages.APPROVED,
            "at": self.now,
            "run_id": 1,
            "due_item": str(self._items),
            "try_number": 1,
            "submission_count": 1,
            "submitted_at": self.now,
        }
        return await self._attempt(name, **(values | columns))

    async def order(self) -> int:
        made = await run_voids.add(
            self.conn, 1, usage="Wrong list", reason="wrong list", ordered_by="ops", now=self.now
        )
        assert made is not None
        return made

    async def work(self, *, limit: int = 2) -> int:
        batches = 0
        while await void_batch(self.deps.pool, now=self.now, limit=limit):
            batches += 1
        return batches

    async def result(self, void_id: int) -> dict[int, str | None]:
        """What became of each debit: the state of its void, or why it has none."""
        rows = await run_voids.listed(self.conn, void_id, after=0, limit=100, refused_only=False)
        return {row.attempt_id: row.void_status or row.refused for row in rows}


@pytest.fixture
async def world(
    pool: Pool,
    conn: Connection,
    environment: dict[str, str],
    database_url: str,
    simulator: Simulator,
    attempt: Callable[..., Awaitable[int]],
) -> AsyncIterator[World]:
    """A run without debits."""
    with psycopg.connect(database_url) as plain:
        plain.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " values ('a', 'a.csv', 1, '', 'completed', '2026-03-02Z', '2026-03-02Z')"
        )
        plain.execute(
            "insert into billing_runs (upload_id, account, due_item, state, pause_reason, paused_from, options, skipped,"
            " created_by, created_at, updated_at) values (1, 'default', 'a', 'paused', 'wrong list', 'running', '{}', '{}',"
            " 'ops', '2026-03-02Z', '2026-03-02Z')"
        )
    settings = Settings.from_env(
        environment
        | {
            "EMP_API_URL": simulator.url,
            "EMP_API_LOGIN": SETUP.login,
            "EMP_API_PASSWORD": SETUP.passwords[0],
            "EMP_TERMINAL_TOKEN": SETUP.terminals[0],
            "EMP_TIMEOUT": "20",
        }
    )
    async with (
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
        open_redis(settings.redis_url, name="tests", timeout_s=20) as cache,
    ):
        deps = SubmissionDeps(
            pool, gateways, Limiter(cache), SubmissionRules(), lambda: item.now, asyncio.Event()
        )
        item = World(conn, deps, simulator, attempt)
        yield item


async def test_todays_debits_are_voided_and_the_others_keep_their_reason(world: World) -> None:
    """
    A wrong list was billed at noon; what is cancelled before the evening never reaches an account.

    A debit that is passed over without a word is collected from somebody who owes nothing.
    """
    today = [await world.debit(f"rv-today-{number}") for number in range(3)]
    yesterday = world.now - timedelta(days=1)
    refused = {
        await world.attempt("rv-old", unique_id="u-old", submitted_at=yesterday): "earlier_day",
        await world.attempt("rv-declined", payment_stage=stages.DECLINED): "nothing_collected",
        await world.attempt("rv-unknown", payment_stage=stages.UNKNOWN_TO_US): "outcome_unknown",
        await world.attempt("rv-returned", unique_id="u-cb", dispute_stage=1): "charged_back",
        await world.attempt("rv-won-back", unique_id="u-wb", dispute_stage=2): "won_back",
        await world.attempt("rv-voided", unique_id="u-v", payment_stage=stages.VOIDED): "money_back",
        await world.attempt(
            "rv-ready", payment_stage=stages.SENT, submission_count=0, submitted_at=None
        ): "not_submitted",
    }
    held = await world.attempt("rv-held", unique_id="u-held")
    line = Difference("state_differs", held, "declined", ours="approved", theirs="declined")
    await differences.open_new(world.conn, [line], now=world.now)
    refused[held] = "held"

    order = await world.order()
    assert await voiding_runs(world.deps.pool, clock=lambda: world.now).has_pending()
    assert await world.work() == 6  # eleven debits by two, and a batch that finds no more
    assert await world.result(order) == dict.fromkeys(today, "pending") | refused
    while await submit_refunds(world.deps):
        pass
    assert await world.result(order) == dict.fromkeys(today, "approved") | refused
    assert [world.simulator.debited(transaction_id=f"rv-today-{number}") for number in range(3)] == [0, 0, 0]
    found = await run_voids.by_id(world.conn, order)
    assert found is not None
    assert (found.state, found.finished_at) == ("finished", world.now)
    assert not await voiding_runs(world.deps.pool, clock=lambda: world.now).has_pending()

    again = await world.order()
    await world.work()
    assert set((await world.result(again)).values()) == {"approved", *refused.values()}
    assert await submit_refunds(world.deps) == 0


async def test_a_debit_with_an_order_gets_no_second_one(world: World) -> None:
    """A person has voided one by hand, or refunded it; a second order would pay the debtor twice."""
    voided, refunded = [await world.debit(f"rv-ordered-{number}") for number in range(2)]
    for attempt_id, kind in ((voided, "void"), (refunded, "refund")):
        held = await refunds.hold_debit(world.conn, attempt_id)
        assert held is not None
        await refunds.add(
            world.conn,
            held.debit,
            kind=kind,  # type: ignore[arg-type]
            number=1,
            transaction_id=f"o-{attempt_id}",
            usage="x",
            ordered_by="ops",
            now=world.now,
        )
    order = await world.order()
    await world.work()
    assert await world.result(order) == {voided: "pending", refunded: "refund_ordered"}
    row = await (await world.conn.execute("select count(*) from refunds")).fetchone()
    assert row == (2,)


async def test_workers_share_orders_and_judge_each_debit_once(world: World) -> None:
    """Two workers look at once; a debit that both void is cancelled once and called for twice."""
    made = [await world.attempt(f"rv-two-{number}", unique_id=f"u-two-{number}") for number in range(6)]
    order = await world.order()
    await asyncio.gather(world.work(), world.work(), world.work())
    await world.work()
    assert await world.result(order) == dict.fromkeys(made, "pending")


async def test_a_void_that_comes_too_late_is_shown_as_not_submitted(world: World) -> None:
    """Past midnight the debits are with the banks; an order that waited so long must say that nothing was voided."""
    made = await world.debit("rv-late")
    order = await world.order()
    await world.work()
    world.now += timedelta(days=1)
    await submit_refunds(world.deps)
    (row,) = await run_voids.listed(world.conn, order, after=0, limit=10, refused_only=False)
    assert (row.attempt_id, row.void_status, row.reason) == (
        made,
        "error",
        "This attempt cannot be voided: it was submitted on an earlier day. Refund it after the return window.",
    )
    assert world.simulator.debited(transaction_id="rv-late") == 1


async def test_a_batch_that_fails_leaves_nothing_half_done(world: World) -> None:
    """A worker dies between two debits of a batch; the next one must neither skip nor repeat any."""
    made = [await world.attempt(f"rv-half-{number}", unique_id=f"u-half-{number}") for number in range(3)]
    order = await world.order()
    await world.conn.execute(
        f"alter table run_void_debits add constraint no_third check (attempt_id <> {made[2]})"
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        await world.work()
    assert await world.result(order) == dict.fromkeys(made[:2], "pending")
    row = await (await world.conn.execute("select count(*) from refunds")).fetchone()
    assert row == (2,)
    await world.conn.execute("alter table run_void_debits drop constraint no_third")
    await world.work()
    assert await world.result(order) == dict.fromkeys(made, "pending")
