"""The inbox table: recorded once, claimed by one worker, and found again after any failure."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core.payments.attempt import Confirmation
from tether_sandbox.seed import seed
from tether_stores.notifications import event_lists, webhook_events
from tether_stores.notifications.webhook_events import ClaimedNotification, Finish, Recording
from tether_stores.postgres import connection, open_pool

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_stores.postgres import Connection


def _row(name: str, *, content: str = "", **changes: Any) -> Recording:
    row = Recording(
        key=name.encode().ljust(16, b"."),
        content=(content or name).encode().ljust(16, b"."),
        account="default",
        kind="payment",
        notification_id=name,
        status="approved",
        event="",
        content_type="application/x-www-form-urlencoded",
        body=f"unique_id={name}&signature=ab&status=approved".encode(),
    )
    return msgspec.structs.replace(row, **changes)


def _reported(name: str) -> Recording:
    return _row(name, report_class="approved")


def _finish(row_id: int, state: str, *, next_at: datetime | None = None, reason: str = "moved") -> Finish:
    return Finish(row_id, state, "applied", reason, 0, next_at, None)


async def _states(conn: Connection) -> list[tuple[Any, ...]]:
    cursor = await conn.execute("select notification_id, state from webhook_events order by id")
    return await cursor.fetchall()


async def _claim(conn: Connection, *, now: datetime = NOON, limit: int = 100) -> list[ClaimedNotification]:
    return await webhook_events.claim(conn, now=now, limit=limit, freeze_s=5)


# --- record ---


async def test_each_row_of_a_batch_learns_its_own_outcome(conn: Connection) -> None:
    """One insert serves many senders. Each must hear of its own notification, in the order they were given."""
    assert await webhook_events.record(conn, [_row("a"), _row("b")], now=NOON) == ["recorded", "recorded"]
    batch = [_row("c"), _row("a"), _row("c"), _row("b", content="other"), _row("d"), _row("d", content="x")]
    assert await webhook_events.record(conn, batch, now=NOON) == [
        "recorded",
        "repeated",
        "repeated",
        "conflicting",
        "recorded",
        "conflicting",
    ]
    assert await _states(conn) == [
        ("a", "waiting"),
        ("b", "waiting"),
        ("c", "waiting"),
        ("d", "waiting"),
        ("b", "conflicting"),
        ("d", "conflicting"),
    ]


async def test_the_same_contradiction_is_kept_once(conn: Connection) -> None:
    """A person looks at each contradiction; ten repeats of one must not be ten of them."""
    await webhook_events.record(conn, [_row("a")], now=NOON)
    result = [await webhook_events.record(conn, [_row("a", content="x")], now=NOON) for _ in range(3)]
    assert result == [["conflicting"], ["repeated"], ["repeated"]]
    assert len(await _states(conn)) == 2


@pytest.mark.parametrize(("stored", "is_analyzed"), [(10, True), (1_200, False)])
async def test_recording_costs_the_same_while_the_table_grows(
    database_url: str, stored: int, *, is_analyzed: bool
) -> None:
    """A plan that was made for a small table is kept, and must not read all of the table or of another index for each row.

    Otherwise the pages touched for a row grow with the table until Postgres has new statistics, up to a minute later, and a burst
    after the start is answered ten times slower.
    """
    touched_pages = (
        "select coalesce(sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read), 0)::bigint "
        "from pg_statio_user_tables where relname = 'webhook_events'"
    )
    pages: list[int] = []
    async with (
        open_pool(database_url, name="tests", max_size=1, looks_up_only=True) as pool,
        connection(pool) as conn,
    ):
        await conn.execute("alter table webhook_events set (autovacuum_enabled = off)")
        await webhook_events.record(conn, [_reported(f"stored-{n}") for n in range(stored)], now=NOON)
        if is_analyzed:
            await conn.execute("analyze webhook_events")
        for number in range(20):  # from then on Postgres keeps the plan
            await webhook_events.record(conn, [_reported(f"first-{number}")], now=NOON)
        for batch in range(60):
            rows = [_reported(f"{batch}-{n}") for n in range(64)]
            await webhook_events.record(conn, rows, now=NOON)
            await conn.execute("select pg_stat_force_next_flush()")
            found = await (await conn.execute(touched_pages.encode())).fetchone()
            assert found is not None
            pages.append(found[0])
    assert pages[59] - pages[49] < 2 * (pages[10] - pages[0])


async def test_recording_a_few_rows_keeps_its_plan(database_url: str) -> None:
    """Postgres expects ten elements of an array that it does not know, and would plan each statement for fewer anew: that takes longer than doing it."""
    planned = (
        "select coalesce(sum(generic_plans), 0)::bigint, coalesce(sum(custom_plans), 0)::bigint from pg_prepared_statements "
        "where statement like 'insert into webhook_events%'"
    )
    async with (
        open_pool(database_url, name="tests", max_size=1, looks_up_only=True) as pool,
        connection(pool) as conn,
    ):
        for number in range(20):
            await webhook_events.record(conn, [_reported(f"few-{number}")], now=NOON)
        assert await (await conn.execute(planned)).fetchone() == (18, 0)


async def test_batches_wait_for_each_other_and_never_in_a_circle(
    database_url: str, conn: Connection, eventually: Callable[..., Any]
) -> None:
    """Two nodes get the same repeats in opposite order; were rows inserted as they came, one would be killed.

    Shown by the locks: a batch that waits for its lowest key holds none of its higher ones yet.
    """
    high, low = _row("z"), _row("a")
    async with (
        await psycopg.AsyncConnection.connect(database_url) as first,
        await psycopg.AsyncConnection.connect(database_url) as second,
    ):
        await webhook_events.record(first, [low], now=NOON)
        waiting = asyncio.create_task(webhook_events.record(second, [high, low], now=NOON))
        await eventually(lambda: _is_blocked(conn), what="the second batch to wait for the first")
        await conn.execute("set lock_timeout = '2s'")
        assert await webhook_events.record(conn, [high], now=NOON) == ["recorded"]
        await first.commit()
        assert await waiting == ["repeated", "repeated"]


async def test_many_racing_batches_record_each_key_once(database_url: str) -> None:
    """A hundred deliveries of the same ten events at one time are ten rows, and ten senders hear "recorded"."""
    rows = [_row(f"e{n}") for n in range(10)]

    async def deliver(seed: int) -> list[str]:
        mine = random.Random(seed).sample(rows, len(rows))
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as own:
            return list(await webhook_events.record(own, mine, now=NOON))

    results = await asyncio.gather(*(deliver(seed) for seed in range(10)))
    flat = [row for batch in results for row in batch]
    assert (flat.count("recorded"), flat.count("repeated")) == (10, 90)


async def _is_blocked(conn: Connection) -> bool:
    cursor = await conn.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])


# --- claim and finish ---


async def test_two_workers_never_hold_the_same_row(database_url: str, conn: Connection) -> None:
    """A row in two hands would be applied twice; a second worker takes the next rows and waits for nobody."""
    await webhook_events.record(conn, [_row(f"e{n}") for n in range(5)], now=NOON)
    async with (
        await psycopg.AsyncConnection.connect(database_url) as first,
        await psycopg.AsyncConnection.connect(database_url) as second,
    ):
        mine = await _claim(first, limit=3)
        theirs = await _claim(second)
        assert [row.id for row in mine] + [row.id for row in theirs] == [1, 2, 3, 4, 5]
        await first.rollback()
        assert [row.id for row in await _claim(first)] == [1, 2, 3]


async def test_only_rows_that_are_due_are_claimed_and_the_oldest_first(conn: Connection) -> None:
    """What was deferred must rest until its time, and what is done must never come back."""
    await webhook_events.record(conn, [_row("late")], now=NOON + timedelta(seconds=9))
    await webhook_events.record(conn, [_row("old")], now=NOON)
    await webhook_events.record(conn, [_row("done"), _row("asked"), _row("parked")], now=NOON)
    await webhook_events.record(conn, [_row("old", content="other")], now=NOON)
    ids = {name: number for number, (name, _) in enumerate(await _states(conn), 1)}
    await webhook_events.finish(
        conn,
        [
            _finish(ids["done"], "processed"),
            _finish(ids["parked"], "parked"),
            _finish(ids["asked"], "confirming", next_at=NOON),
        ],
        now=NOON,
    )
    assert [row.body for row in await _claim(conn, now=NOON)] == [_row("old").body]
    both = await _claim(conn, now=NOON + timedelta(seconds=9))
    assert [row.body for row in both] == [_row("old").body, _row("late").body]


async def test_a_claim_bounds_how_long_its_transaction_may_idle(conn: Connection) -> None:
    """A frozen worker must lose its rows, and the bound must not stay on a connection that a pooler shares."""
    await webhook_events.record(conn, [_row("a")], now=NOON)
    query = "select setting from pg_settings where name = 'idle_in_transaction_session_timeout'"
    async with conn.transaction():
        await webhook_events.claim(conn, now=NOON, limit=1, freeze_s=2.5)
        assert await (await conn.execute(query)).fetchone() == ("2500",)
    assert await (await conn.execute(query)).fetchone() == ("0",)


async def test_the_gateways_own_word_comes_with_the_row(conn: Connection) -> None:
    """A confirmed report is applied with the gateway's response, so the claim must return that response."""
    await webhook_events.record(conn, [_row("a"), _row("b")], now=NOON)
    await conn.execute(
        "update webhook_events set confirmed_status = 'chargebacked', confirmed_reason_code = 'AC04', confirmed_at ="
        " %s where id = 2",
        [NOON],
    )
    plain, confirmed = await _claim(conn)
    assert (plain.confirmation, confirmed.confirmation) == (None, Confirmation("chargebacked", None, "AC04"))
    assert (plain.received_at, plain.failures, plain.account) == (NOON, 0, "default")


async def test_an_outcome_keeps_the_attempt_it_was_matched_with(database_url: str, conn: Connection) -> None:
    """A later try that fails knows no attempt; the one that an earlier try found must stay on the row."""
    (made,) = seed(database_url, attempts=1, rng=random.Random(1), now=NOON)
    await webhook_events.record(conn, [_row("a")], now=NOON)
    matched = msgspec.structs.replace(_finish(1, "confirming", next_at=NOON), attempt_id=made.id)
    await webhook_events.finish(conn, [matched], now=NOON)
    await webhook_events.finish(conn, [_finish(1, "parked")], now=NOON + timedelta(seconds=1))
    found = await event_lists.by_id(conn, 1)
    assert found is not None
    assert (found[0].attempt_id, found[0].state, found[0].handled_at) == (
        made.id,
        "parked",
        NOON + timedelta(seconds=1),
    )


# --- found again ---


async def test_a_payment_that_appears_wakes_what_waited_for_it(database_url: str, conn: Connection) -> None:
    """A notification may overtake its payment's import. It must be applied seconds after, not on tomorrow's try."""
    (made,) = seed(database_url, attempts=1, rng=random.Random(1), now=NOON)
    later = NOON + timedelta(days=1)
    rows = [_row(made.unique_id), _row("still-unknown"), _row(made.unique_id, key=b"x" * 16)]
    await webhook_events.record(conn, rows, now=NOON)
    finishes = [_finish(n, "waiting", next_at=later, reason="unknown_payment") for n in (1, 2)]
    await webhook_events.finish(
        conn, [*finishes, _finish(3, "waiting", next_at=later, reason="Trouble")], now=NOON
    )
    assert await _claim(conn) == []
    assert await webhook_events.wake_matched(conn, now=NOON) == 1
    assert await webhook_events.wake_matched(conn, now=NOON) == 0
    assert [row.id for row in await _claim(conn)] == [1]


async def test_due_counts_from_the_timestamp_a_row_was_due(conn: Connection) -> None:
    """The look takes rows whose wake-up was lost; were fresh rows among them, it would race with every wake-up."""
    assert not await webhook_events.due(conn, now=NOON)
    await webhook_events.record(conn, [_row("a")], now=NOON)
    assert await webhook_events.due(conn, now=NOON)
    assert not await webhook_events.due(conn, now=NOON + timedelta(seconds=0.9), older_than_s=1)
    assert await webhook_events.due(conn, now=NOON + timedelta(seconds=1), older_than_s=1)
    await webhook_events.finish(conn, [_finish(1, "processed")], now=NOON)
    assert not await webhook_events.due(conn, now=NOON + timedelta(days=1))


async def test_the_counts_counts_every_row_once(conn: Connection) -> None:
    """Operators wake up by these numbers; a row that is in none of them is lost quietly."""
    await webhook_events.record(conn, [_row(f"e{n}") for n in range(5)], now=NOON)
    await webhook_events.record(conn, [_row("e0", content="other")], now=NOON)
    later = NOON + timedelta(seconds=30)
    await webhook_events.finish(
        conn,
        [
            _finish(2, "waiting", next_at=later),
            _finish(3, "confirming", next_at=NOON),
            _finish(4, "processed"),
            _finish(5, "parked"),
        ],
        now=NOON,
    )
    counts = await event_lists.counts(conn, now=NOON + timedelta(seconds=7.5))
    assert msgspec.structs.astuple(counts) == (1, 1, 1, 1, 1, 1, 0, 0, 7.5)
    unfinished = {"waiting": 2, "confirming": 1, "contradicted": 0, "parked": 1, "conflicting": 1}
    assert await event_lists.unfinished(conn) == unfinished
    contradicted = [
        msgspec.structs.replace(_finish(3, "confirming", next_at=NOON), is_contradicted=True),
        msgspec.structs.replace(_finish(4, "contradicted"), is_contradicted=True),
    ]
    await webhook_events.finish(conn, contradicted, now=NOON)
    counts = await event_lists.counts(conn, now=NOON + timedelta(seconds=7.5))
    assert msgspec.structs.astuple(counts) == (1, 1, 1, 0, 1, 1, 1, 1, 7.5)
    assert await webhook_events.oldest_due_s(conn, now=NOON + timedelta(seconds=7.5)) == 7.5
    empty = await webhook_events.oldest_due_s(conn, now=NOON - timedelta(seconds=1))
    assert empty == 0


# --- for people ---


async def test_lists_filter_and_go_on_where_they_ended(conn: Connection) -> None:
    """A person who asks for one payment's notifications must see all of them and no others."""
    await webhook_events.record(conn, [_row("a"), _row("b"), _row("c")], now=NOON)
    await webhook_events.record(conn, [_row("a", key=b"2" * 16, status="declined")], now=NOON)
    await webhook_events.finish(conn, [_finish(1, "processed")], now=NOON)

    async def ids(**changes: Any) -> list[int]:
        asked: dict[str, Any] = {
            "limit": 10,
            **dict.fromkeys(("before", "state", "notification_id", "account")),
        }
        return [event.id for event in await event_lists.listed(conn, **(asked | changes))]

    assert await ids() == [4, 3, 2, 1]
    assert await ids(limit=2) == [4, 3]
    assert await ids(before=3) == [2, 1]
    assert await ids(state="waiting") == [4, 3, 2]
    assert await ids(notification_id="a") == [4, 1]
    assert await ids(notification_id="a", state="processed") == [1]
    assert await ids(notification_id="a", account="default") == [4, 1]
    assert await ids(state="waiting", account="second") == []


async def test_one_row_comes_with_its_bytes(conn: Connection) -> None:
    """A person who examines a contradiction needs the exact body."""
    await webhook_events.record(conn, [_row("a", body=b"\x00\xff")], now=NOON)
    found = await event_lists.by_id(conn, 1)
    assert found is not None
    assert (found[0].notification_id, found[0].event, found[1:]) == (
        "a",
        None,
        (_row("a").content_type, b"\x00\xff"),
    )
    assert await event_lists.by_id(conn, 2) is None


@pytest.mark.parametrize("state", ["waiting", "confirming", "processed", "parked"])
async def test_only_what_is_parked_can_be_replayed(conn: Connection, state: str) -> None:
    """A replay of anything else would book a payment a second time, or undo its rest on the retry schedule."""
    await webhook_events.record(conn, [_row("a")], now=NOON)
    next_at = NOON + timedelta(hours=1) if state in {"waiting", "confirming"} else None
    await webhook_events.finish(conn, [_finish(1, state, next_at=next_at)], now=NOON)
    assert await webhook_events.replay(conn, 1, now=NOON) is (state == "parked")
    assert bool(await _claim(conn)) is (state == "parked")
    assert not await webhook_events.replay(conn, 2, now=NOON)
