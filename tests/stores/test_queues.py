"""What waits on each queue, its pauses, and the processes that live."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.errors import IllegalStep
from tether_core.scaling import LIVE_S
from tether_stores import queues, workers
from tether_stores.postgres import connection, open_pool
from tether_stores.queues import QueueBacklog
from tether_stores.workers import Activity, PoolStatus, Supervisor, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tether_stores.postgres import Connection

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode."""
    async with open_pool(database_url, name="tests", max_size=1) as pool, connection(pool) as opened:
        yield opened


def _worker(name: str, **fields: Any) -> Worker:
    known: dict[str, Any] = {
        "id": name,
        "supervisor_id": None,
        "pool": "",
        "host": "node-1",
        "pid": 7,
        "version": "0.1.0",
        "queues": ["webhooks"],
        "state": "running",
        "memory_bytes": 1,
        "activity": {},
        "started_at": NOW,
        "seen_at": NOW,
    }
    return Worker(**(known | fields))


async def test_what_waits_is_what_the_workers_would_take(conn: Connection, database_url: str) -> None:
    """A backlog that counts what is not due grows a pool for nothing; one that misses a kind of work never grows it."""
    assert await queues.backlogs(conn, now=NOW) == {name: QueueBacklog(name, 0, 0.0) for name in queues.NAMES}
    ago = {name: NOW - timedelta(seconds=seconds) for name, seconds in (("short", 5), ("long", 90_000))}
    with psycopg.connect(database_url) as sync:
        for number, (state, next_at) in enumerate(
            (
                ("waiting", ago["long"]),
                ("confirming", ago["short"]),
                ("waiting", NOW + timedelta(seconds=5)),
                ("processed", None),
            )
        ):
            sync.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, event, source, content_type,"
                " body, state, failures, received_at, next_at)"
                " values (%s, '', 'default', 'payment', 'n', '', '', 'webhook', '', '', %s, 0, %s, %s)",
                (bytes([number]) * 16, state, NOW, next_at),
            )
        upload = (
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, due_at, lease)"
            " values (%s, 'a.csv', 1, '', %s, %s, %s, %s, %s) returning id"
        )
        for number, (state, due_at, lease) in enumerate(
            (
                ("received", ago["short"], None),
                ("reading", NOW + timedelta(seconds=5), "worker"),
                ("received", NOW + timedelta(seconds=5), None),
                ("completed", None, None),
            )
        ):
            sync.execute(upload, (f"k{number}", state, NOW, NOW, due_at, lease))
        debtor = (
            "insert into debtors (upload_id, iban, iban_fingerprint, name, amount_minor, currency, created_at)"
            " values (4, 'DE02120300000000202051', %s, 'x', 1, 'EUR', %s)"
        )
        for number in range(4):
            sync.execute(debtor, (bytes([number]) * 32, NOW))
        sync.execute(
            "insert into vop_checks (debtor_id, state, next_at, requested_at) values (1, 'waiting', %s, %s)",
            (ago["short"], NOW),
        )
        for state in ("running", "paused", "planning"):
            sync.execute(
                "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at,"
                " updated_at, pause_reason, paused_from) values (4, 'default', %(state)s, %(state)s, '{}', '{}', 'x', %(now)s,"
                " %(now)s, %(why)s, %(from)s)",
                {"state": state, "now": ago["short"]}
                | ({"why": "x", "from": "running"} if state == "paused" else {"why": None, "from": None}),
            )
        attempt = (
            "insert into billing_attempts (run_id, account, debtor_id, due_item, try_number, transaction_id, amount_minor,"
            " currency, state, payment_stage, dispute_stage, iban_fingerprint, iban_masked, submit_at, submission_count,"
            " submitted_at, created_at, updated_at)"
            " values (%s, 'default', %s, 'x', 1, %s, 1, 'EUR', %s, %s, 0, '', '', %s, %s, %s, %s, %s)"
        )
        for number, (run_id, state, stage, submit_at) in enumerate(
            (
                (1, "pending", 0, ago["short"]),  # of the run that goes on
                (2, "pending", 0, ago["long"]),  # of the run that is paused
                (1, "unknown", 10, None),  # of unknown outcome for a day
                (1, "pending", 20, None),  # pending for a day
            ),
            1,
        ):
            is_sent = submit_at is None
            values = (run_id, number, f"t{number}", state, stage, submit_at)
            times = (int(is_sent), ago["long"] if is_sent else None, NOW, ago["long"])
            sync.execute(attempt, (*values, *times))
    found = await queues.backlogs(conn, now=NOW)
    assert {name: (item.rows, item.oldest_s) for name, item in found.items()} == {
        "webhooks": (2, 90_000),
        "billing": (2, 5),  # a debit, and a run to be planned
        "reconciliation": (2, 90_000),
        "default": (2, 5),
        "vop": (1, 5),
    }


async def test_a_queue_is_paused_once_and_resumed_once(conn: Connection) -> None:
    """Two operators at the same time: the first reason stays, and the second of them reads it."""
    made = await queues.pause(conn, "billing", paused_by="ops", reason="the bank is closed", now=NOW)
    with pytest.raises(IllegalStep, match="paused already"):
        await queues.pause(conn, "billing", paused_by="x", reason="y", now=NOW)
    assert await queues.pauses(conn) == {"billing": made}
    assert await queues.resume(conn, "billing") == made
    with pytest.raises(IllegalStep, match="is not paused"):
        await queues.resume(conn, "billing")
    assert await queues.pauses(conn) == {}


async def test_a_process_lives_while_it_is_seen(conn: Connection) -> None:
    """A worker that was killed cannot remove its row; nobody must count on it."""
    late = NOW + timedelta(seconds=LIVE_S + 1)
    activity: dict[Any, Activity] = {"webhooks": Activity(600, 3.0, 1)}
    killed, busy = _worker("a"), _worker("b", activity=activity, queues=["webhooks", "vop"])
    await workers.seen(conn, killed, now=NOW)
    await workers.seen(conn, busy, now=NOW)
    assert [item.id for item in await workers.live(conn, now=NOW)] == ["a", "b"]
    await workers.seen(conn, busy, now=late)
    (living,) = await workers.live(conn, now=late)
    assert (living.activity, living.started_at, living.seen_at) == (activity, NOW, late)
    assert workers.row_s([living, killed]) == {"webhooks": 0.005}
    listed = {item.name: item for item in await queues.listed(conn, now=late)}
    assert (listed["webhooks"].workers, listed["webhooks"].handled_per_s) == (1, 10)
    assert (listed["vop"].workers, listed["billing"].workers) == (1, 0)
    await workers.prune(conn, now=late + timedelta(hours=1, seconds=1))
    assert await workers.live(conn, now=NOW) == []
    await workers.seen(conn, busy, now=late)
    await workers.ended(conn, ["b"])
    assert await workers.live(conn, now=late) == []


async def test_a_supervisor_writes_its_pools(conn: Connection) -> None:
    """An operator sees in the console why a pool has as many processes as it has."""
    pool = PoolStatus(["webhooks"], 2, 5, 4, 3, 1, "behind", 0)
    row = Supervisor(
        id="s",
        host="h",
        pid=1,
        version="v",
        state="running",
        pools={"webhooks": pool},
        started_at=NOW,
        seen_at=NOW,
    )
    await workers.supervisor_seen(conn, row, now=NOW)
    assert await workers.supervisors(conn, now=NOW) == [row]
    await workers.supervisor_ended(conn, "s")
    assert await workers.supervisors(conn, now=NOW) == []


async def test_what_waits_for_its_next_try_is_tried_now(conn: Connection, database_url: str) -> None:
    """After an outage nobody wants to wait for hours; and what a worker holds, or a person must decide, is left alone."""
    later = NOW + timedelta(hours=2)
    with psycopg.connect(database_url) as sync:
        for number, (state, next_at) in enumerate(
            (
                ("parked", None),
                ("parked", None),
                ("waiting", later),
                ("confirming", later),
            )
        ):
            sync.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
                " state, reason, failures, received_at, next_at) values (%s, %s, 'a', 'payment', 'n', 's', 'webhook', 'c', '',"
                " %s, 'unknown_payment', 5, %s, %s)",
                (bytes([number]) * 16, b"c", state, NOW, next_at),
            )
        sync.execute(
            "insert into report_fetches (account, list, day_on, wanted_at, due_at, failures, leased_until)"
            " values ('a', 'transactions', '2026-03-01', %(now)s, %(later)s, 3, null),"
            " ('b', 'transactions', '2026-03-01', %(now)s, %(later)s, 3, %(later)s)",
            {"now": NOW, "later": later},
        )
    first = await queues.retry(conn, "webhooks", now=NOW, limit=1)
    assert (first.rows, first.more) == (2, True)
    assert (await queues.retry(conn, "webhooks", now=NOW)).rows == 1
    again = await queues.retry(conn, "webhooks", now=NOW)
    assert (again.rows, again.more, again.note) == (0, False, "")
    with psycopg.connect(database_url) as sync:
        assert sync.execute(
            "select state, failures, next_at from webhook_events order by key"
        ).fetchall() == [
            ("waiting", 0, NOW),
            ("waiting", 0, NOW),
            ("waiting", 0, NOW),
            ("confirming", 5, later),
        ]
    assert (await queues.retry(conn, "reconciliation", now=NOW)).rows == 1
    assert (await queues.retry(conn, "vop", now=NOW)).rows == 0
    assert (await queues.retry(conn, "default", now=NOW)).rows == 0
    billing = await queues.retry(conn, "billing", now=NOW)
    assert (billing.rows, "never" in billing.note or "Nothing is submitted again" in billing.note) == (
        0,
        True,
    )


async def test_the_latest_order_to_restart_counts(conn: Connection) -> None:
    """Two orders in one moment must not fail, and an old one must not hide a new one."""
    assert await workers.last_restart(conn) is None
    for reason in ("first", "second"):
        await workers.order_restart(conn, ordered_by="ada", reason=reason, now=NOW)
    latest = await workers.order_restart(conn, ordered_by="ada", reason="third", now=NOW + timedelta(hours=1))
    await workers.order_restart(conn, ordered_by="ada", reason="late", now=NOW)
    assert await workers.last_restart(conn) == latest
