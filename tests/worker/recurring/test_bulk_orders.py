"""Bulk orders about the schedules and due items of a plan, and about deliveries: each row as its single order would take it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from tether_core.audit import Actor
from tether_core.bulk_orders import RECORDED, filters_of
from tether_stores import bulk_orders
from tether_stores.database_epoch.watch import Watch
from tether_stores.postgres import transaction
from tether_stores.settings import Settings
from tether_worker.bulk_orders import BulkDeps, bulk_batch

if TYPE_CHECKING:
    from tether_core.bulk_orders import BulkAction

    from tests.worker.recurring.conftest import Series


async def _ordered(series: Series, action: BulkAction, **filters: Any) -> dict[str | None, int]:
    """Place an order and carry it out in batches of two; gives its rows by result."""
    given = {name: str(value) for name, value in filters.items()}
    now = series.clock.now
    async with transaction(series.pool) as conn:
        first = await bulk_orders.matching(conn, filters_of(action, given), before=None, limit=1, now=now)
        order = await bulk_orders.add(
            conn,
            action,
            given,
            before=(now, first.ids[0] + 1 if first.ids else 0),
            reason="the hall was closed",
            actor=Actor("user", "ada", id=7),
            now=now,
        )
    watch = Watch(
        cache=None, store=None, clock=lambda: series.clock.now, token=lambda: "token", is_pulsing=True
    )
    deps = BulkDeps(series.pool, Settings.from_env({}), lambda: series.clock.now, watch)
    while await bulk_batch(deps, limit=2):
        pass
    async with series.pool.connection() as conn:
        found = await bulk_orders.by_id(conn, order)
        assert found is not None
        assert found.state == "finished"
        totals = await bulk_orders.progress(conn, order)
        done = sum(total.count for total in totals if total.refused is None)
    recorded = await series.rows(
        "select subject_id, actor, reason from audit where after ->> 'bulk_order_id' ="
        f" '{order}' and action = '{RECORDED[action][0]}' and subject = '{RECORDED[action][1]}'"
    )
    assert len({subject_id for subject_id, _, _ in recorded}) == len(recorded) == done
    assert {(actor, reason) for _, actor, reason in recorded} <= {("ada", "the hall was closed")}
    return {total.refused: total.count for total in totals}


async def test_missed_due_items_are_collected_or_given_up_together(series: Series) -> None:
    """After an outage of six weeks somebody decides for a club of hundreds, and not a hundred times."""
    await series.begin(debtors=5, first_due_on=date(2026, 6, 2))
    plan = series.plan_id
    # The clock stood still: the due date of June is missed, that of July is collected.
    await series.pass_days(1)
    await series.conn.execute(
        "update due_items set state = 'missed', collect_on = null, run_id = null, ordered_on = null, sequence = null, request = null"
    )
    assert await _ordered(series, "recover", collection_plan=plan, status="waiting") == {}
    await series.conn.execute("update due_items set state = 'waived' where schedule_id = 1")
    assert await _ordered(series, "recover", collection_plan=plan) == {None: 4, "other_state": 1}
    assert await series.rows(
        "select state, collect_on, count(*) from due_items where state = 'waiting' group by 1, 2"
    ) == [("waiting", date(2026, 6, 2), 4)]
    # Another plan's due items are another order's.
    assert await _ordered(series, "waive", collection_plan=plan, status="waiting") == {None: 4}
    assert await series.items() == [("2026-06-02", "waived", reason) for reason in (None, *["waived"] * 4)]
    assert await _ordered(series, "waive", collection_plan=plan) == {"other_state": 5}


async def test_the_last_due_item_that_is_given_up_ends_its_schedule(series: Series) -> None:
    """A schedule without anything left would stand in the list of live ones for ever."""
    await series.begin(debtors=3, first_due_on=date(2026, 6, 2), last_due_on=date(2026, 6, 2))
    await series.pass_days(1)
    await series.conn.execute(
        "update due_items set state = 'missed', collect_on = null, run_id = null, ordered_on = null, sequence = null, request = null"
    )
    await series.conn.execute("update collection_schedules set state = 'active', state_reason = null")
    assert await _ordered(series, "waive", collection_plan=series.plan_id, status="missed") == {None: 3}
    assert await series.rows("select distinct state, state_reason from collection_schedules") == [
        ("ended", "completed")
    ]


async def test_schedules_are_paused_resumed_and_ended_together(series: Series) -> None:
    """A club that closes for the summer pauses everybody, and nobody pays the summer at once in autumn."""
    await series.begin(debtors=4, first_due_on=date(2026, 6, 10))
    plan = series.plan_id
    await series.conn.execute(
        "update collection_schedules set state = 'paused', state_reason = 'moves' where id = 2"
    )
    assert await _ordered(series, "pause_schedules", collection_plan=plan) == {None: 3, "other_state": 1}
    assert await series.rows("select state, state_reason from collection_schedules order by id") == [
        ("paused", "the hall was closed"),
        ("paused", "moves"),
        *[("paused", "the hall was closed")] * 2,
    ]
    assert await series.pass_days(50) == 0
    assert await series.rows("select count(*) from due_items") == [(0,)]
    assert await _ordered(series, "resume_schedules", collection_plan=plan, status="paused") == {None: 4}
    assert await series.rows("select distinct state, make_on from collection_schedules") == [
        ("active", date(2026, 8, 10))
    ]
    assert await series.pass_days(20) == 4
    assert await series.rows("select distinct due_item from due_items") == [("2026-08-10",)]
    assert await _ordered(series, "end_schedules", collection_plan=plan, status="active") == {None: 4}
    assert await series.rows("select distinct state, state_reason from collection_schedules") == [
        ("ended", "the hall was closed")
    ]
    assert await _ordered(series, "end_schedules", collection_plan=plan) == {"other_state": 4}


async def test_deliveries_that_were_given_up_are_sent_again(series: Series) -> None:
    """A receiver that was down for a week gets what it missed, and nobody else's events are touched."""
    now = series.clock.now
    await series.conn.execute(
        "insert into subscribers (name, url, state, sealed, position, created_by, created_at, updated_at) select 's' || n,"
        " 'https://books.example', 'active', '', 9, 'tests', %(now)s, %(now)s from generate_series(1, 2) n",
        {"now": now},
    )
    await series.conn.execute(
        "insert into deliveries (subscriber_id, event_id, event_name, state, tries, failures, due_at, created_at, ended_at)"
        " select s, n, 'iban.blocked', case when n = 5 then 'waiting' else 'given_up' end, 9, 9, case when n = 5 then"
        " %(now)s + interval '1 hour' end, %(now)s, case when n < 5 then %(now)s::timestamptz end"
        " from generate_series(1, 2) s, generate_series(1, 5) n",
        {"now": now},
    )
    assert await _ordered(series, "redeliver", subscriber=1, state="given_up") == {None: 4}
    rows = "select subscriber_id, state, failures, count(*) from deliveries group by 1, 2, 3 order by 1, 2, 3"
    assert await series.rows(rows) == [
        (1, "waiting", 0, 4),
        (1, "waiting", 9, 1),
        (2, "given_up", 9, 4),
        (2, "waiting", 9, 1),
    ]
    assert await _ordered(series, "redeliver", subscriber=1, state="waiting") == {None: 5}
    assert await series.rows(
        f"select count(*) from deliveries where subscriber_id = 1 and due_at <= '{now.isoformat()}'"
    ) == [(5,)]
    await series.conn.execute("update subscribers set state = 'removed' where id = 2")
    assert await _ordered(series, "redeliver", subscriber=2) == {"other_state": 5}
