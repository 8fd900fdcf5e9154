"""Bulk orders: every row that matches gets what was ordered or a reason, once, however often the work is cut off."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.audit import Actor
from tether_core.bulk_orders import RECORDED, filters_of
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import bulk_orders
from tether_stores.database_epoch.watch import Watch
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings
from tether_worker.bulk_orders import BulkDeps, bulk_batch

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tether_core.bulk_orders import BulkAction
    from tether_stores.postgres import Connection, Pool


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a gateway account."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Thirty debits of today: 1 to 20 approved, of them 3 charged back; the others declined. Nine parked notifications, one processed."""
    list(seed(database_url, attempts=30, rng=random.Random(1), now=NOON))
    async with open_pool(database_url, name="tests", max_size=3) as opened:
        async with opened.connection() as conn:
            await conn.execute(
                "update billing_attempts set created_at = %(now)s, submitted_at = %(now)s, updated_at = %(now)s, submission_count = 1,"
                " amount_minor = 100, state = case when id <= 20 then 'approved' else 'declined' end,"
                " payment_stage = case when id <= 20 then 60 else 50 end",
                {"now": NOON},
            )
            await conn.execute(
                "update billing_attempts set state = 'chargebacked', dispute_stage = 1, reason_code = 'AC04' where id in (4, 9, 14)"
            )
            await conn.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body, state,"
                " failures, received_at, next_at, reason) select n::text::bytea, 'x', 'default', 'payment', 'n' || n, 'approved', 'webhook',"
                " '', '', case when n = 5 then 'processed' else 'parked' end, 3, %(now)s, null, 'unknown_payment'"
                " from generate_series(1, 10) n",
                {"now": NOON},
            )
        yield opened


ADA = Actor("user", "ada", id=7, address="192.0.2.1")
ACCOUNTS = frozenset({"default"})


@pytest.fixture
async def deps(pool: Pool, environment: dict[str, str]) -> BulkDeps:
    """What the worker needs, in a confirmed epoch of the database."""
    watch = Watch(cache=None, store=None, clock=lambda: NOON, token=lambda: "token", is_pulsing=True)
    await watch.probe(pool)
    return BulkDeps(pool, Settings.from_env(environment), lambda: NOON, watch)


async def _done(deps: BulkDeps, *, limit: int = 50) -> None:
    while await bulk_batch(deps, limit=limit):
        pass


async def _totals(conn: Connection, order: int) -> dict[str | None, int]:
    return {total.refused: total.count for total in await bulk_orders.progress(conn, order)}


async def _order(pool: Pool, action: BulkAction, filters: dict[str, str]) -> int:
    chosen = filters_of(action, filters)
    async with transaction(pool) as conn:
        first = await bulk_orders.matching(conn, chosen, before=None, limit=1, now=NOON)
        return await bulk_orders.add(
            conn,
            action,
            filters,
            before=(NOON + timedelta(seconds=1), first.ids[0] + 1),
            reason="a test",
            actor=ADA,
            now=NOON,
        )


async def _value(conn: Connection, query: str) -> Any:
    row = await (await conn.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def test_voids_are_judged_one_by_one_and_resume_after_a_kill(pool: Pool, deps: BulkDeps) -> None:
    """Two voids of one debit, or a debit without a result, is what a bulk action must never leave behind."""
    order = await _order(pool, "void", {"created_from": NOON.isoformat()})
    assert await bulk_batch(deps, limit=7) == 7
    async with pool.connection() as conn, conn.transaction(force_rollback=True):
        assert await bulk_orders.take(conn) is not None
        rows = await bulk_orders.judged(conn, "void", [23, 22], now=NOON, accounts=ACCOUNTS, lock=True)
        await bulk_orders.add_items(
            conn, order, rows
        )  # a worker that is killed here leaves nothing of its batch
    await _done(deps)
    async with pool.connection() as conn:
        found = await bulk_orders.by_id(conn, order)
        assert found is not None
        assert found.state == "finished"
        totals = await _totals(conn, order)
        assert totals == {None: 17, "charged_back": 3, "nothing_collected": 10}
        items = await bulk_orders.items(conn, order, limit=99, before=None)
        assert [item.id for item in items] == list(range(30, 0, -1))
        assert (
            await _value(conn, "select count(*) from refunds where kind = 'void' and ordered_by = 'ada'")
            == 17
        )
    again = await _order(pool, "void", {"status": "approved", "created_from": NOON.isoformat()})
    await _done(deps)
    async with pool.connection() as conn:
        totals = await _totals(conn, again)
        assert totals == {"void_ordered": 17}
        assert await _value(conn, "select count(*) from refunds") == 17


async def test_replay_takes_only_what_matched_and_stops_between_batches(pool: Pool, deps: BulkDeps) -> None:
    """A person who stops an order must be able to say what it did; rows that come later are another order's."""
    order = await _order(pool, "replay", {"status": "parked"})
    async with pool.connection() as conn:
        await conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body, state,"
            " failures, received_at, reason) values ('late', 'x', 'default', 'payment', 'late', 'approved', 'webhook', '', '', 'parked',"
            " 3, %s, 'unknown_payment')",
            [NOON],
        )
    assert await bulk_batch(deps, limit=4) == 4
    async with pool.connection() as conn:
        assert await bulk_orders.stop(conn, order, now=NOON)
        assert not await bulk_orders.stop(conn, order, now=NOON)
    assert await bulk_batch(deps, limit=4) == 0
    async with pool.connection() as conn:
        assert [item.id for item in await bulk_orders.items(conn, order, limit=9, before=None)] == [
            10,
            9,
            8,
            7,
        ]
        assert await _value(conn, "select count(*) from webhook_events where state = 'waiting'") == 4
        assert (
            await _value(conn, "select state from webhook_events where notification_id = 'late'") == "parked"
        )


async def test_inquiries_and_lifts(pool: Pool, deps: BulkDeps) -> None:
    """Each action does what its single order does, with the person and the reason."""
    async with pool.connection() as conn:
        await conn.execute("update billing_attempts set submission_count = 0, unique_id = null where id = 21")
        await conn.execute(
            "insert into blacklist (name, name_key, action, scope, reason_code, note, source, added_by, created_at)"
            " select 'N' || n, 'n' || n, 'hold', 'name', 'manual', '', 'import', 'x', %s from generate_series(1, 3) n",
            [NOON],
        )
    inquiry = await _order(pool, "inquire", {"status": "declined"})
    lift = await _order(pool, "lift", {"source": "import"})
    await _done(deps)
    async with pool.connection() as conn:
        totals = await _totals(conn, inquiry)
        assert totals == {None: 9, "not_submitted": 1}
        assert await _value(conn, "select count(*) from inquiry_orders where reason = 'a test'") == 9
        assert await _totals(conn, lift) == {None: 3}
        assert await _value(conn, "select count(*) from blacklist where lifted_by = 'ada'") == 3


async def _recorded(conn: Connection, action: BulkAction, order: int) -> list[tuple[Any, ...]]:
    name, subject = RECORDED[action]
    cursor = await conn.execute(
        "select subject_id::bigint, actor, actor_id, address, reason from audit where action = %s and subject = %s"
        " and after ->> 'bulk_order_id' = %s order by 1",
        [name, subject, str(order)],
    )
    return await cursor.fetchall()


async def test_each_row_that_changes_is_in_the_audit_under_its_own_id(pool: Pool, deps: BulkDeps) -> None:
    """Who looks up one payment must find who voided it and why, though the order named only a filter."""
    replay = await _order(pool, "replay", {"status": "parked"})
    void = await _order(pool, "void", {"status": "approved"})
    await _done(deps)
    async with pool.connection() as conn:
        found = await _recorded(conn, "replay", replay)
        assert [row[0] for row in found] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert {row[1:] for row in found} == {("ada", 7, "192.0.2.1", "a test")}
        assert [row[0] for row in await _recorded(conn, "void", void)] == [
            item.id for item in reversed(await bulk_orders.items(conn, void, limit=99, before=None))
        ]


async def test_refunds_keep_the_rules_of_single_refunds(pool: Pool, deps: BulkDeps) -> None:
    """A refund while the bank may still return the debit, or of an account that is switched off, pays the debtor twice."""
    async with pool.connection() as conn:
        await conn.execute("update billing_attempts set unique_id = 'u' || id")
        await conn.execute(
            "update billing_attempts set submitted_at = %(then)s, created_at = %(then)s where id <= 10",
            {"then": NOON - timedelta(days=40)},
        )
        await conn.execute("update billing_attempts set account = 'closed' where id = 1")
        await conn.execute("update billing_attempts set debtor_id = 1")
    order = await _order(pool, "refund", {"debtor": "1"})
    await _done(deps, limit=7)
    async with pool.connection() as conn:
        assert await _totals(conn, order) == {
            None: 7,  # of ten, one is of another account and two are charged back
            "account_not_enabled": 1,
            "charged_back": 3,
            "nothing_to_give": 10,
            "return_window": 9,
        }
        assert await _value(conn, "select count(*) from refunds where kind = 'refund'") == 7
    again = await _order(pool, "refund", {"debtor": "1"})
    await _done(deps)
    async with pool.connection() as conn:
        totals = await _totals(conn, again)
        assert totals["refund_ordered"] == 7
        assert None not in totals


async def test_uploads_are_withdrawn_unless_something_was_submitted(
    pool: Pool, deps: BulkDeps, database_url: str
) -> None:
    """One upload that cannot be withdrawn must not keep the others, nor be withdrawn with them."""
    uploads = [seed_upload(database_url, [Owed(scripted_iban(n), 500)], now=NOON)[0] for n in range(3)]
    async with pool.connection() as conn:
        await conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'a', 'running', '{}', '{}', 'ops', %s, %s)",
            [uploads[1], NOON, NOON],
        )
        await conn.execute(
            "update billing_attempts set run_id = (select max(id) from billing_runs), due_item = 'a', try_number = 1 where id = 30"
        )
    order = await _order(pool, "withdraw", {"status": "completed"})
    async with pool.connection() as conn:
        others = filters_of("withdraw", {"filename": "of another name"})
        assert (await bulk_orders.matching(conn, others, before=None, limit=3, now=NOON)).ids == []
        totals = await bulk_orders.judged(conn, "withdraw", uploads, now=NOON, accounts=ACCOUNTS, lock=False)
        assert [row.refusal and row.refusal.code for row in totals] == [None, "not_withdrawable", None]
    await _done(deps)
    async with pool.connection() as conn:
        assert await _totals(conn, order) == {None: 2, "not_withdrawable": 1}
        assert await _value(conn, "select count(*) from uploads where state = 'withdrawn'") == 2
        assert [row[0] for row in await _recorded(conn, "withdraw", order)] == [uploads[0], uploads[2]]
