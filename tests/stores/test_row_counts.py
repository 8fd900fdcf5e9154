"""Counts that are kept say what counting the rows would say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tether_stores import row_counts
from tether_stores.billing import billing_runs
from tether_stores.notifications import event_lists, excess_deliveries
from tether_stores.payments import billing_attempts
from tether_stores.postgres import transaction
from tether_stores.refunds import refunds

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

DEBTS = """
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)
select 'DE' || n, 'x', 'Somebody', 100, 'EUR', %(now)s from generate_series(1, 40) n
"""
ATTEMPTS = """
insert into billing_attempts (
    account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint, iban_masked,
    created_at, updated_at, run_id, due_item, try_number, submit_at
)
select
    'default', n, %(word)s || n, 100 + n, 'EUR', 'pending', 0, 0, 'x', 'DE00', %(now)s - interval '1 day' * (n %% 40), %(now)s,
    1 + n %% 2, %(word)s, 1, %(now)s
from generate_series(1, 40) n
"""
RUNS = """
insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)
select 'k' || n, 'f', 1, 'x', 'completed', %(now)s, %(now)s from generate_series(1, 2) n;
insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)
select n, 'default', 'once', 'running', '{}', '{}', 'x', %(now)s, %(now)s from generate_series(1, 2) n
"""
COLLECTED = """
update billing_attempts
set
    payment_stage = 60, dispute_stage = case when debtor_id %% 3 = 0 then 1 else 0 end, submit_at = null, submission_count = 1, submitted_at = %(now)s,
    state = case when debtor_id %% 3 = 0 then 'chargebacked' else 'approved' end,
    reason_code = case when debtor_id %% 6 = 0 then 'AC04' when debtor_id %% 3 = 0 then 'MD01' end
where debtor_id %% 4 <> 0
"""
REFUNDS = """
insert into refunds (
    attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state, payment_stage, ordered_by, created_at,
    updated_at
)
select id, 'refund', 1, account, 'r' || id, amount_minor, 'EUR', '', 'pending', 0, 'x', %(now)s, %(now)s
from billing_attempts where id %% 5 = 0
"""
COUNTED = """
select
    count(*) filter (where payment_stage >= 60 or dispute_stage > 0), count(*) filter (where dispute_stage in (1, 3))
from billing_attempts
where (reason_code is null or reason_code <> 'AC04') and %(where)s
"""


async def _rows(conn: Connection, query: str, **facts: Any) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query.encode(), {"now": NOW, "word": "a", **facts})).fetchall()


async def _do(conn: Connection, query: str, **facts: Any) -> None:
    for part in query.split(";"):
        await conn.execute(part.encode(), {"now": NOW, "word": "a", **facts})


async def _agree(conn: Connection) -> None:
    """Compare every count with the rows."""
    states = await _rows(
        conn, "select state, count(*), sum(amount_minor)::bigint from billing_attempts group by 1"
    )
    assert await billing_attempts.states(conn) == {state: (count, total) for state, count, total in states}
    orders = await _rows(conn, "select state, count(*), sum(amount_minor)::bigint from refunds group by 1")
    assert await refunds.counts(conn) == {state: (count, total) for state, count, total in orders}
    for run_id in (1, 2):
        steps = await _rows(
            conn,
            """
            select state, case when payment_stage > 10 or dispute_stage > 0 then 'ended' when leased_until is not null then 'submitting'
                when submit_at is not null then 'ready' else 'unknown' end, canary, count(*), sum(amount_minor)::bigint
            from billing_attempts where run_id = %(run_id)s group by 1, 2, 3 order by 1, 2, 3
            """,
            run_id=run_id,
        )
        progresss = await billing_runs.progress(conn, run_id)
        assert [
            tuple(getattr(progress, name) for name in progress.__struct_fields__) for progress in progresss
        ] == steps
        found = await billing_runs.returns_of_upload(conn, run_id, excluded=["AC04"])
        assert [found] == await _rows(conn, COUNTED.replace("%(where)s", f"run_id = {run_id}"))
    since = NOW - timedelta(days=20)
    found = await billing_runs.returns_of_account(conn, "default", since=since, excluded=["AC04"])
    assert [found] == await _rows(
        conn, COUNTED.replace("%(where)s", "created_at >= date_trunc('day', %(since)s, 'UTC')"), since=since
    )


async def _fill(conn: Connection) -> None:
    for query in (DEBTS, RUNS, ATTEMPTS):
        await _do(conn, query)


async def test_counts_are_those_of_the_rows_before_and_after_they_are_added(pool: Pool) -> None:
    """A run is paused by these counts, and people read them. One that is off by some debits pauses too late."""
    async with pool.connection() as conn:
        await _fill(conn)
        await _agree(conn)
        await _do(conn, COLLECTED)
        await _do(conn, REFUNDS)
        await _agree(conn)
    async with transaction(pool) as conn:
        assert await row_counts.add_changes(conn, limit=3) == 3 + 1
    async with pool.connection() as conn:
        await _agree(conn)
        await _do(conn, ATTEMPTS, word="b")
    while True:
        async with transaction(pool) as conn:
            if not await row_counts.add_changes(conn):
                break
    async with pool.connection() as conn:
        await _agree(conn)
        assert (
            await _rows(
                conn, "select from billing_attempt_count_changes union all select from row_count_changes"
            )
            == []
        )
        await _do(
            conn,
            "update refunds set state = 'declined'; update billing_attempts set state = 'error', payment_stage = 50",
        )
        await _agree(conn)


async def test_what_is_rolled_back_is_not_counted(pool: Pool) -> None:
    """A worker dies with its transaction. A count that lived on would be wrong for ever."""
    async with pool.connection() as conn:
        await _fill(conn)
        async with conn.transaction(force_rollback=True):
            await _do(conn, COLLECTED)
            await _agree(conn)
        await _agree(conn)


async def test_writers_and_the_adder_do_not_wait_for_each_other(pool: Pool) -> None:
    """Counts that all writers meet at would make one queue of all workers."""
    async with pool.connection() as conn:
        await _fill(conn)
    async with (
        pool.connection() as first,
        pool.connection() as second,
        transaction(pool) as adder,
        first.transaction(),
    ):
        await _do(first, "update billing_attempts set state = 'error', payment_stage = 50 where id <= 10")
        async with asyncio.timeout(120):
            await _do(second, "update billing_attempts set state = 'error', payment_stage = 50 where id > 10")
            assert await row_counts.add_changes(adder) > 0
            async with transaction(pool) as other:
                assert await row_counts.add_changes(other) == 0
    async with pool.connection() as conn:
        await _agree(conn)


async def test_notifications_count_when_they_are_processed(pool: Pool) -> None:
    """Status says how many were processed; reading ten million rows for that takes longer than anybody waits."""
    insert = """
    insert into webhook_events (
        key, content, account, kind, notification_id, status, source, content_type, body, state, failures, received_at, next_at
    )
    select n::text::bytea, 'x', 'default', 'payment', 'n' || n, 'approved', 'webhook', '', '', 'waiting', 0, %(now)s, %(now)s
    from generate_series(1, 9) n
    """
    async with pool.connection() as conn:
        await _do(conn, insert)
        assert (await event_lists.counts(conn, now=NOW)).processed == 0
        await _do(conn, "update webhook_events set state = 'processed', next_at = null where id <= 7")
        await _do(conn, "update webhook_events set state = 'parked' where id = 1")
        await _do(conn, "insert into excess_deliveries values (1, 3, %(now)s, %(now)s)")
        await _do(conn, "update excess_deliveries set deliveries = 8")
        for _ in range(2):
            inbox = await event_lists.counts(conn, now=NOW + timedelta(seconds=9))
            assert (inbox.processed, inbox.parked, inbox.waiting, inbox.oldest_due_s) == (6, 1, 2, 9.0)
            assert await excess_deliveries.counts(conn) == (1, 8)
            async with conn.transaction():
                await row_counts.add_changes(conn)
