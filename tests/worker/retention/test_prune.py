"""Old files, problems and debtors without a debit go; what explains a debit stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tether_core.retention.periods import Periods
from tether_stores.objects import open_objects
from tether_stores.settings import Settings
from tether_worker.retention.prune import prune_old_debtors, prune_old_orders, prune_old_uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tether_stores.postgres import Connection, Pool

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=430)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def _upload(conn: Connection, key: str, *, at: datetime, state: str = "completed") -> int:
    cursor = await conn.execute(
        "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, preview)"
        " values (%s, 'list.csv', 3, '', %s, %s, %s, '[]') returning id",
        (key, state, at, at),
    )
    row = await cursor.fetchone()
    assert row is not None
    await conn.execute(
        "insert into problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note)"
        " select %s, n, 0, 'error', 'iban', 'iban_invalid', '', '' from generate_series(1, 1500) n",
        (row[0],),
    )
    return int(row[0])


async def _debtor(conn: Connection, *, at: datetime, upload_id: int | None = None) -> int:
    cursor = await conn.execute(
        "insert into debtors (upload_id, iban, iban_fingerprint, name, amount_minor, currency, created_at)"
        " values (%s, 'DE89370400440532013000', 'x', 'Zoë Miller', 1000, 'EUR', %s) returning id",
        (upload_id, at),
    )
    row = await cursor.fetchone()
    assert row is not None
    await conn.execute(
        "insert into debtor_edits (debtor_id, version, changes, reason, verdict_before, verdict_after, edited_by, edited_at)"
        " values (%s, 1, '[]', 'typing error', 'clear', 'clear', 'ada', %s)",
        (row[0], at),
    )
    return int(row[0])


async def _ids(conn: Connection, table: str) -> list[Any]:
    column = "distinct upload_id" if table == "problems" else "id"
    cursor = await conn.execute(f"select {column} from {table} order by 1".encode())
    return [value for (value,) in await cursor.fetchall()]


async def test_files_and_problems_of_old_uploads_go(conn: Connection, pool: Pool, objects_dir: Path) -> None:
    """They hold whole lists of names and accounts. An upload that waits for an answer still needs its file."""
    store = open_objects(Settings(objects_dir=str(objects_dir)))
    ages = {
        "old": (OLD, "completed"),
        "open": (OLD, "needs_answer"),
        "young": (NOW - timedelta(days=200), "completed"),
    }
    ids = {}
    for name, (at, state) in ages.items():
        (objects_dir / name).write_bytes(b"a,b")
        ids[name] = await _upload(conn, name, at=at, state=state)
    task = prune_old_uploads(pool, store, periods=Periods(), clock=lambda: NOW)
    await task.do()
    await task.do()
    assert not [name for name in _names(objects_dir) if name not in {"open", "young"}]
    assert len(_names(objects_dir)) == 2
    assert await _ids(conn, "problems") == [ids["open"]]
    cursor = await conn.execute(
        "select preview, file_removed_at, problems_removed_at from uploads where id = %s", (ids["old"],)
    )
    assert await cursor.fetchone() == (None, NOW, NOW)


async def test_debtors_with_a_mandate_or_a_pre_notification_stay(conn: Connection, pool: Pool) -> None:
    """They are debited later, and a row that refers to one would stop the removal of all others."""
    upload = await _upload(conn, "members", at=OLD)
    with_mandate, announced, _ = [await _debtor(conn, at=OLD, upload_id=upload) for _ in range(3)]
    await conn.execute(
        "insert into mandates (account, debtor_id, reference, reference_key, kind, state, iban_masked, signed_on, account_since_at,"
        " created_by, created_at, updated_at) values ('default', %s, 'M-1', 'm1', 'recurrent', 'active', 'DE89', %s, %s, 'ada', %s, %s)",
        (with_mandate, OLD.date(), OLD, OLD, OLD),
    )
    await conn.execute(
        "insert into pre_notifications (account, upload_id, debtor_id, due_item, due_on, give_on, notice_days, amount_minor, currency,"
        " text, state, created_at, updated_at) values ('default', %s, %s, 'x', %s, %s, 14, 1000, 'EUR', '', 'withdrawn', %s, %s)",
        (upload, announced, OLD.date(), OLD.date(), OLD, OLD),
    )
    await prune_old_debtors(pool, periods=Periods(), clock=lambda: NOW).do()
    assert await _ids(conn, "debtors") == [with_mandate, announced]


async def test_debtors_without_a_debit_go(
    conn: Connection, pool: Pool, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Nobody needs the account of a person who was never debited. The debtor of a debit is part of the books."""
    await attempt("debited", at=OLD)
    upload = await _upload(conn, "billed", at=OLD)
    await conn.execute(
        "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
        " values (%s, 'default', 'x', 'running', '{}', '{}', 'ada', %s, %s)",
        (upload, OLD, OLD),
    )
    for _ in range(3):
        await _debtor(conn, at=OLD)
    billed = await _debtor(conn, at=OLD, upload_id=upload)
    young = await _debtor(conn, at=NOW - timedelta(days=424))
    task = prune_old_debtors(pool, periods=Periods(), clock=lambda: NOW)
    await task.do()
    assert await _ids(conn, "debtors") == [1, billed, young]
    later = prune_old_debtors(pool, periods=Periods(), clock=lambda: NOW + timedelta(days=2))
    await later.do()
    assert await _ids(conn, "debtors") == [1, billed]
    await conn.execute("update billing_runs set state = 'cancelled', finished_at = now()")
    await later.do()
    assert await _ids(conn, "debtors") == [1]


async def test_old_orders_go_with_their_results(
    conn: Connection, pool: Pool, attempt: Callable[..., Awaitable[int]]
) -> None:
    """An order about a million debits leaves a million results; an order that is being carried out must keep them."""
    ids = [await attempt(f"t-{n}") for n in range(3)]
    for state, ended_at in (("finished", OLD), ("working", None)):
        await conn.execute(
            "insert into bulk_orders (action, filters, reason, ordered_by, actor_kind, state, position, position_at, created_at, updated_at, ended_at)"
            " values ('inquire', '{}', 'x', 'ops', 'user', %s, 0, %s, %s, %s, %s)",
            (state, OLD, OLD, OLD, ended_at),
        )
    await conn.execute(
        "insert into bulk_order_items (order_id, subject_id) select o, n from generate_series(1, 2) o, generate_series(1, 2500) n"
    )
    for created_at in (OLD, OLD, NOW):
        await conn.execute(
            "insert into inquiry_orders (scope, subject_id, ordered_by, reason, more, created_at) values ('run', 1, 'ops', 'x', false, %s)",
            (created_at,),
        )
    for order_id, attempt_id, inquire_at in ((1, ids[0], None), (2, ids[1], OLD), (3, ids[2], None)):
        await conn.execute(
            "insert into inquiry_order_attempts (order_id, attempt_id, state_before, inquire_at, expires_at) values (%s, %s, 'x', %s, %s)",
            (order_id, attempt_id, inquire_at, OLD),
        )
    await prune_old_orders(pool, periods=Periods(), clock=lambda: NOW).do()
    cursor = await conn.execute("select order_id, count(*) from bulk_order_items group by order_id")
    assert await cursor.fetchall() == [(2, 2500)]
    assert await _ids(conn, "bulk_orders") == [2]
    # The second one waits for its inquiry.
    assert await _ids(conn, "inquiry_orders") == [2, 3]
