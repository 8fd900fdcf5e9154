"""Attempts: locked in one order by all writers, and written as they were decided."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core import iban
from tether_core.payments import stages
from tether_sandbox.seed import Seeded, seed
from tether_stores.notifications import webhook_events
from tether_stores.payments import billing_attempts

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_stores.postgres import Connection


@pytest.fixture
def made(database_url: str) -> list[Seeded]:
    """Three attempts that the gateway has taken and not decided."""
    return list(seed(database_url, attempts=3, rng=random.Random(7), now=NOON))


async def test_attempts_are_found_by_either_id_and_once(conn: Connection, made: list[Seeded]) -> None:
    """A notification names the gateway's id, ours or both; one payment must not be loaded as two."""
    first, second, third = made
    found = await billing_attempts.locked_by_ids(
        conn,
        unique_ids=[third.unique_id, first.unique_id, "unheard-of"],
        transaction_ids=[first.transaction_id, second.transaction_id],
    )
    assert [attempt.id for attempt in found] == [first.id, second.id, third.id]
    item = found[0]
    assert (item.transaction_id, item.unique_id, item.amount_minor, item.currency, item.account) == (
        first.transaction_id,
        first.unique_id,
        first.amount_minor,
        "EUR",
        "default",
    )
    assert (item.state, item.iban_fingerprint, item.iban_masked) == (
        "pending",
        iban.fingerprint(first.iban),
        iban.mask(first.iban),
    )
    assert await billing_attempts.locked_by_ids(conn, unique_ids=[], transaction_ids=[]) == []


async def test_a_batch_reads_its_own_payments_and_not_all_there_are(
    database_url: str, conn: Connection
) -> None:
    """Applying would slow down with every payment ever made: each batch would read all of them."""
    made = list(seed(database_url, attempts=5_000, rng=random.Random(7), now=NOON))
    async with conn.transaction():
        await webhook_events.claim(conn, now=NOON, limit=256, freeze_s=5)
        found = await billing_attempts.locked_by_ids(
            conn,
            unique_ids=[seeded.unique_id for seeded in made[:60]],
            transaction_ids=[seeded.transaction_id for seeded in made[:60]],
        )
        assert len(found) == 60
        read = "select seq_tup_read from pg_stat_xact_user_tables where relname = 'billing_attempts'"
        row = await (await conn.execute(read)).fetchone()
    assert row == (0,)


async def test_locks_are_taken_in_the_order_of_rows(
    database_url: str, conn: Connection, made: list[Seeded], eventually: Callable[..., Any]
) -> None:
    """Two workers with the same payments in opposite order must wait for each other instead of killing one.

    Shown by the locks: who waits for the first row holds none of the later ones yet.
    """
    async with (
        await psycopg.AsyncConnection.connect(database_url) as first,
        await psycopg.AsyncConnection.connect(database_url) as second,
    ):

        async def lock(connection: Connection, *wanted: Seeded) -> list[int]:
            ids = [item.unique_id for item in wanted]
            locked = await billing_attempts.locked_by_ids(connection, unique_ids=ids, transaction_ids=[])
            return [attempt.id for attempt in locked]

        await lock(first, made[0])
        waiting = asyncio.create_task(lock(second, made[2], made[1], made[0]))
        await eventually(lambda: _is_blocked(conn), what="the second worker to wait for the first")
        await conn.execute("set lock_timeout = '2s'")
        assert await lock(conn, made[2]) == [made[2].id]
        await first.commit()
        assert await waiting == [seeded.id for seeded in made]


async def test_what_another_transaction_has_locked_is_left_out_and_named(
    database_url: str, conn: Connection, made: list[Seeded]
) -> None:
    """A batch goes on with what is free, and must know which of its notifications to leave for later."""
    first, second, third = made
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await billing_attempts.locked_by_ids(other, unique_ids=[second.unique_id], transaction_ids=[])
        async with conn.transaction():
            locked, busy = await billing_attempts.lock_free(
                conn,
                unique_ids=[third.unique_id, first.unique_id, "unheard-of"],
                transaction_ids=[second.transaction_id, first.transaction_id],
            )
    assert [attempt.id for attempt in locked] == [first.id, third.id]
    assert busy == [billing_attempts.NamedAttempt(second.id, second.unique_id, second.transaction_id)]
    locked, busy = await billing_attempts.lock_free(
        conn,
        unique_ids=[first.unique_id],
        transaction_ids=[second.transaction_id],
        ids=[third.id],
    )
    assert ([attempt.id for attempt in locked], busy) == ([item.id for item in made], [])
    assert await billing_attempts.lock_free(conn, unique_ids=[], transaction_ids=[]) == ([], [])


async def _is_blocked(conn: Connection) -> bool:
    cursor = await conn.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])


async def test_a_move_writes_all_it_was_given_and_nothing_else(conn: Connection, made: list[Seeded]) -> None:
    """What an attempt shows must be what was decided about it, for that attempt alone."""
    later = NOON + timedelta(hours=1)
    attempts = await billing_attempts.locked_by_ids(
        conn, unique_ids=[seeded.unique_id for seeded in made], transaction_ids=[]
    )
    declined = msgspec.structs.replace(attempts[0], payment_stage=stages.DECLINED, error_code="501")
    returned = msgspec.structs.replace(
        attempts[1], payment_stage=stages.APPROVED, dispute_stage=stages.CHARGEBACKED, reason_code="AC04"
    )
    await billing_attempts.move(conn, [declined, returned], now=later)
    rows = await billing_attempts.locked_by_ids(
        conn, unique_ids=[seeded.unique_id for seeded in made], transaction_ids=[]
    )
    assert rows == [declined, returned, attempts[2]]
    excerpt = [await billing_attempts.by_id(conn, seeded.id) for seeded in made]
    assert [
        (item.status, item.error_code, item.reason_code, item.updated_at) for item in excerpt if item
    ] == [
        ("declined", "501", None, later),
        ("chargebacked", None, "AC04", later),
        ("pending", None, None, NOON),
    ]


async def test_moving_nothing_asks_nobody(conn: Connection) -> None:
    """Most batches move fewer attempts than they hold; one that moves none must not fail on empty arrays."""
    await billing_attempts.move(conn, [], now=NOON)


async def test_states_are_counted_with_their_money(conn: Connection, made: list[Seeded]) -> None:
    """The numbers an operator sees must add up to the rows and the cents that are there."""
    await conn.execute(
        "update billing_attempts set state = 'approved', payment_stage = 60 where id = %s", [made[1].id]
    )
    assert await billing_attempts.states(conn) == {
        "approved": (1, made[1].amount_minor),
        "pending": (2, made[0].amount_minor + made[2].amount_minor),
    }
