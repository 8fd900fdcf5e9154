"""The clock of due items: each due date once, on a bank's day, and never many months at once."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from tether_stores.postgres import transaction
from tether_stores.uploads import withdrawals
from tether_worker.billing.runs import try_again
from tether_worker.recurring.collection import order_due, order_due_items
from tether_worker.recurring.due_items import make_due, make_due_items

if TYPE_CHECKING:
    from tests.worker.recurring.conftest import Series


async def test_a_year_of_a_plan(series: Series) -> None:
    """A member who pays monthly pays twelve times, on days on which banks are open, and then no more."""
    await series.begin(debtors=3, first_due_on=date(2026, 6, 30), last_due_on=date(2027, 5, 31))
    assert await series.pass_days(400) == 36
    days = await series.rows(
        "select due_on, ordered_on, sequence from due_items where debtor_id = 1 order by due_on"
    )
    assert [str(due_on) for due_on, _, _ in days] == [
        "2026-06-30", "2026-07-30", "2026-08-30", "2026-09-30", "2026-10-30", "2026-11-30",
        "2026-12-30", "2027-01-30", "2027-02-28", "2027-03-30", "2027-04-30", "2027-05-30",
    ]  # fmt: skip
    assert [str(on) for due_on, on, _ in days if on != due_on] == [
        "2026-08-31",
        "2027-02-01",
        "2027-03-01",
        "2027-05-31",
    ]
    assert [sequence for *_, sequence in days] == ["FRST", *["RCUR"] * 10, "FNAL"]
    attempts = await series.rows(
        "select debtor_id, due_item, try_number, amount_minor from billing_attempts order by debtor_id, due_item"
    )
    assert len(attempts) == len(set(attempts)) == 36
    assert {amount for *_, amount in attempts} == {1000, 1001, 1002}
    assert await series.rows("select distinct state, state_reason from collection_schedules") == [
        ("ended", "completed")
    ]
    # Ordered twelve times, and used by no call yet.
    assert await series.rows("select uses, last_used_on from mandates where debtor_id = 1") == [(12, None)]


async def test_workers_side_by_side_make_each_item_once(series: Series) -> None:
    """Four workers that wake at the same time must not charge a debtor four times."""
    await series.begin(debtors=20)
    now = series.clock.now
    await asyncio.gather(*(make_due(series.pool, now=now, limit=7) for _ in range(8)))
    while await make_due(series.pool, now=now):
        pass
    made = await asyncio.gather(*(order_due(series.pool, now=now) for _ in range(4)))
    assert sum(made) == 20
    assert await series.rows("select count(*), count(distinct debtor_id) from billing_attempts") == [(20, 20)]
    assert await series.rows("select count(*) from billing_runs") == [(1,)]
    assert await series.tick() == 0


async def test_after_an_outage_one_month_is_collected_and_the_others_wait(series: Series) -> None:
    """Six months of downtime end with one debit, not with an account that is emptied in a night."""
    await series.begin(debtors=2, first_due_on=date(2026, 6, 1))
    assert await series.tick() == 2
    series.clock.now += timedelta(days=184)  # 2 December
    assert await series.tick() == 2
    assert [(item, state) for item, state, _ in await series.items()][:7] == [
        ("2026-06-01", "ordered"),
        *((f"2026-{month:02}-01", "missed") for month in (7, 8, 9, 10, 11)),
        ("2026-12-01", "ordered"),
    ]
    assert await series.pass_days(20) == 0


async def test_missed_months_are_spread_where_the_plan_says_so(series: Series) -> None:
    """The debtor pays what was missed, one month every two weeks, and the current months beside it."""
    await series.begin(first_due_on=date(2026, 6, 1), recover="spread")
    assert await series.tick() == 1
    series.clock.now += timedelta(days=94)  # 3 September
    await series.tick()
    assert await series.pass_days(90) == 5
    ordered = await series.rows("select ordered_on from due_items where ordered_on is not null order by 1")
    gaps = [later - earlier for (earlier,), (later,) in pairwise(ordered)]
    assert min(gap.days for gap in gaps) >= 7
    assert await series.rows("select count(*) from due_items where state = 'missed'") == [(0,)]


async def test_missed_months_are_waived_where_the_plan_skips_them(series: Series) -> None:
    """A club that forgives the months of an outage must not find them on a list."""
    await series.begin(first_due_on=date(2026, 6, 1), recover="skip")
    series.clock.now += timedelta(days=61)  # 1 August, a Saturday
    await series.pass_days(2)
    assert [(item, state) for item, state, _ in await series.items()] == [
        ("2026-06-01", "waived"),
        ("2026-07-01", "waived"),
        ("2026-08-01", "ordered"),
    ]


async def test_a_day_holds_no_more_than_its_cap(series: Series) -> None:
    """The rest of a large day follows on the next bank days, in the order of the rows, and nothing is lost."""
    await series.begin(debtors=5, day_count_max=2, first_due_on=date(2026, 6, 4))
    await series.pass_days(7)
    counts = await series.rows("select ordered_on, count(*) from due_items group by 1 order by 1")
    assert counts == [(date(2026, 6, 4), 2), (date(2026, 6, 5), 2), (date(2026, 6, 8), 1)]


async def test_pausing_stops_and_resuming_does_not_catch_up(series: Series) -> None:
    """After a pause of a plan, what it missed is asked about; nobody is debited for it on the day it resumes."""
    await series.begin(first_due_on=date(2026, 6, 2))
    await series.conn.execute("update collection_plans set state = 'paused'")
    assert await series.pass_days(70) == 0
    assert await series.items() == []
    await series.conn.execute("update collection_plans set state = 'active'")
    assert await series.tick() == 0
    assert [(item, state) for item, state, _ in await series.items()] == [
        ("2026-06-02", "missed"),
        ("2026-07-02", "missed"),
        ("2026-08-02", "missed"),
    ]


async def test_a_blocked_account_is_skipped_and_one_on_hold_is_postponed(series: Series) -> None:
    """A hold that a person lifts within days costs days; a block costs the due date, and the series goes on."""
    await series.begin(debtors=2, first_due_on=date(2026, 6, 2))
    for debtor_id, action in zip(series.debtors, ("block", "hold"), strict=True):
        await series.conn.execute(
            "insert into blacklist (scope, iban_fingerprint, iban_masked, action, reason_code, note, source, added_by, created_at)"
            " select 'iban', iban_fingerprint, 'DE**', %s, 'TEST', '', 'manual', 'tests', %s from debtors where id = %s",
            (action, series.clock.now, debtor_id),
        )
    assert await series.pass_days(3) == 0
    assert [(state, reason) for _, state, reason in await series.items()] == [
        ("skipped", "blocked"),
        ("waiting", "held"),
    ]
    await series.conn.execute("update blacklist set lifted_at = created_at, lifted_by = 'tests'")
    assert await series.pass_days(3) == 1
    assert [(state, reason) for _, state, reason in await series.items()] == [
        ("skipped", "blocked"),
        ("ordered", None),
    ]


async def test_an_ordinary_run_leaves_debtors_with_a_schedule_out(series: Series) -> None:
    """A list that is billed by hand beside its plan would charge each member twice a month."""
    from tether_core.billing.run_options import RunOptions
    from tether_stores.billing import billing_runs
    from tether_worker.billing.runs import plan_chunk

    await series.begin(debtors=2, first_due_on=date(2026, 6, 20))
    run_id = await billing_runs.add(
        series.conn,
        upload_id=series.upload_id,
        account="default",
        options=RunOptions(due_item="2026-06"),
        created_by="tests",
        now=series.clock.now,
    )
    while await plan_chunk(series.pool, now=series.clock.now):
        pass
    run = await billing_runs.by_id(series.conn, run_id)
    assert run is not None
    assert (run.planned_count, run.skipped) == (0, {"scheduled": 2})


async def test_nothing_is_collected_while_the_clocks_do_not_agree_on_the_day(series: Series) -> None:
    """Where one clock is a month ahead, members would pay next month's dues today; nobody can take that back when it is set right."""
    await series.begin()
    for known, made in ((False, 0), (True, 1)):
        for work in (make_due_items, order_due_items, try_again):
            await work(series.pool, clock=series.clock, is_day_known=partial(bool, known)).do()
        assert await series.rows("select count(*) from due_items") == [(made,)]
        assert await series.rows("select count(*) from billing_attempts") == [(made,)]


async def test_a_withdrawal_and_an_order_wait_for_each_other(series: Series) -> None:
    """A run that is made beside a withdrawal would debit everybody of an upload of which the sender was told that nothing is debited."""
    await series.begin()
    while await make_due(series.pool, now=series.clock.now):
        pass
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with transaction(series.pool) as conn:
        withdrawn = await withdrawals.withdraw(
            conn, series.upload_id, withdrawn_by="tests", reason="a wrong list", now=series.clock.now
        )
        assert withdrawn is not None
        order = asyncio.create_task(order_due(series.pool, now=series.clock.now))
        while await series.rows(waiting) == [(0,)]:
            done, _ = await asyncio.wait([order], timeout=0.02)
            assert not done
    assert await order == 0
    assert await series.rows("select count(*) from billing_attempts") == [(0,)]
    assert [(state, reason) for _, state, reason in await series.items()] == [("skipped", "upload_withdrawn")]
