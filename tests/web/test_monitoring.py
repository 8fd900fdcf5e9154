"""Metrics about the work itself: what a dashboard shows is what the tables say."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import psycopg
from tether_core import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    import httpx

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


async def _values(client: httpx.AsyncClient, *, having: str = "") -> dict[str, float]:
    """All values; what could not be read in the time of a scrape comes with a later one."""
    for _ in range(100):
        answer = await client.get("/metrics")
        found = dict(re.findall(r"^(tether_\S+) (\S+)$", answer.text, re.MULTILINE))
        if not having or having in found:
            return {name: float(value) for name, value in found.items()}
    raise AssertionError(f"{having} could not be read")


def _fill(database_url: str) -> None:
    """An upload that waits for an answer, one that failed, a paused run, two debits, and reports of which one is short."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, failure_code, failure)"
            " values ('a', 'a.csv', 1, '', 'needs_answer', now(), now() - interval '2 hours', null, null),"
            " ('b', 'b.csv', 1, '', 'failed', now(), now(), 'no_table', 'No table.')"
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, pause_reason, paused_from, created_by,"
            " created_at, updated_at) select min(id), 'default', '2026-03', 'paused', '', '', 'refusals', 'running', 'ops', now(), now()"
            " from uploads"
        )
        conn.execute(
            "insert into report_fetches (account, list, day_on, wanted_at, read_at, listed, held)"
            " values ('default', 'transactions', current_date, now(), now() - interval '1 hour', 10, 8),"
            " ('default', 'transactions', current_date - 30, now(), now() - interval '30 days', 10, 0)"
        )
        conn.execute(
            "insert into row_counts (subject, word, count, amount) values ('billing_attempts', 'approved', 7, 70000)"
            " on conflict (subject, word) do update set count = excluded.count"
        )
        conn.execute(
            "insert into figures (kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code,"
            " price_band, count, amount_minor) values"
            " ('collected', current_date, current_date, current_date, 'EUR', 'default', 0, 'DE', '', '', 0, 10, 10000),"
            " ('returned', current_date, current_date, current_date, 'EUR', 'default', 0, 'DE', '', 'AC04', 0, 1, 1000)"
        )


async def test_the_work_is_measured_as_the_tables_have_it(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A paused run, an open question or a report that is short shows nowhere else until somebody looks for it."""
    _fill(database_url)
    found = await _values(client, having='tether_uploads{state="failed"}')
    assert found['tether_uploads{state="needs_answer"}'] == 1
    assert found['tether_uploads{state="failed"}'] == 1
    assert 7100 < found['tether_upload_oldest_seconds{state="needs_answer"}'] < 9000
    assert found['tether_billing_runs{state="paused"}'] == 1
    assert found['tether_billing_runs{state="running"}'] == 0
    assert found['tether_attempts{state="approved"}'] == 7
    assert found['tether_report_items_unexplained{account="default",report="transactions"}'] == 2
    age_s = found['tether_report_read_age_seconds{account="default",report="transactions"}']
    assert 3500 < age_s < 5500
    found = await _values(client, having='tether_return_rate{currency="EUR"}')
    assert found['tether_money_minor{currency="EUR",kind="collected"}'] == 10_000
    assert found['tether_money_minor{currency="EUR",kind="net"}'] == 9_000
    assert found['tether_return_rate{currency="EUR"}'] == 0.1
    found = await _values(client, having="tether_database_bytes")
    assert found["tether_database_bytes"] > 1_000_000
    assert 0 < found["tether_database_connections_used"] < 1
    assert found[f'tether_build_info{{program="tether-web",version="{__version__}"}}'] == 1
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_runs set state = 'running', pause_reason = null, paused_from = null")
    again = await _values(client, having='tether_billing_runs{state="paused"}')
    assert again['tether_billing_runs{state="paused"}'] == 0
    assert again['tether_billing_runs{state="running"}'] == 1


async def test_what_waits_for_a_person_or_the_clock_is_measured(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A subscriber that is off, a debtor who was not told, an archive that hangs: each is silent until somebody misses something."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into subscribers (name, url, state, disabled_reason, sealed, position, failing_since_at, created_by, created_at,"
            " updated_at) values ('off', 'https://a.example', 'disabled', 'failing', '', 0, now() - interval '5 days', 'x', now(), now()),"
            " ('slow', 'https://b.example', 'active', null, '', 0, now() - interval '2 hours', 'x', now(), now()),"
            " ('gone', 'https://c.example', 'removed', null, '', 0, now() - interval '9 days', 'x', now(), now())"
        )
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " values ('a', 'a.csv', 1, '', 'completed', now(), now())"
        )
        conn.execute(
            "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)"
            " select 'DE89370400440532013000', '', 'Ada', 100, 'EUR', now() from generate_series(1, 3)"
        )
        conn.execute(
            "insert into collection_plans (name, account, options, state, created_by, created_at, updated_at)"
            " values ('on', 'default', '', 'active', 'x', now(), now()), ('off', 'default', '', 'paused', 'x', now(), now())"
        )
        conn.execute(
            "insert into mandates (account, debtor_id, reference, reference_key, kind, state, iban_masked, signed_on, account_since_at,"
            " created_by, created_at, updated_at) select 'default', id, id::text, id::text, 'recurrent', 'active', '', current_date, now(),"
            " 'x', now(), now() from debtors"
        )
        # One of each kind that is late, and its like of a paused plan, which is late with nothing.
        conn.execute(
            "insert into collection_schedules (collection_plan_id, debtor_id, mandate_id, amount_minor, first_due_on, make_on, state,"
            " created_by, created_at, updated_at) select p.id, d.id, m.id, 100, current_date, current_date - 3, 'active', 'x', now(), now()"
            " from (select id, row_number() over (order by id) as number from collection_plans) p"
            " join (select id, row_number() over (order by id) as number from debtors) d using (number) join mandates m on m.debtor_id = d.id"
        )
        conn.execute(
            "insert into due_items (schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last, state,"
            " collect_on, created_at, updated_at) select s.id, s.collection_plan_id, u.id, s.debtor_id, current_date - day, 'x', 100, false,"
            " case day when 3 then 'waiting' else 'missed' end, case day when 3 then current_date - 3 end, now(), now()"
            " from collection_schedules s, uploads u, unnest(array[3, 40]) as day"
        )
        conn.execute(
            "insert into pre_notifications (account, upload_id, debtor_id, due_item, due_on, give_on, notice_days, amount_minor, currency,"
            " text, state, created_at, updated_at) select 'default', u.id, d.id, 'x', current_date + 10, current_date + day, 14, 100, 'EUR',"
            " '', 'made', now(), now() from uploads u, (select id from debtors limit 1) d, unnest(array[-1]) as day"
        )
        conn.execute(
            "insert into archives (kind, object_key, began_at) values ('events', 'k', now() - interval '3 hours')"
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, pause_reason, paused_from, awaits_release,"
            " created_by, created_at, updated_at) select id, 'default', 'x', 'paused', '', '', 'dual_control', 'planning', true, 'ops', now(),"
            " now() from uploads"
        )
    found = await _values(client, having='tether_collection_late{step="notify"}')
    late = {
        step: found[f'tether_collection_late{{step="{step}"}}']
        for step in ("make", "order", "recover", "notify")
    }
    assert late == {"make": 1, "order": 1, "recover": 2, "notify": 1}
    assert [
        found[f'tether_subscribers{{state="{state}"}}'] for state in ("active", "paused", "disabled")
    ] == [1, 0, 1]
    assert 7100 < found["tether_subscriber_failing_seconds"] < 9000
    assert found["tether_billing_runs_awaiting_release"] == 1
    assert 10_700 < found['tether_archive_oldest_seconds{step="confirm"}'] < 13_000
    assert found['tether_archive_oldest_seconds{step="prune"}'] == 0
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update subscribers set state = 'active', disabled_reason = null, failing_since_at = null where state <> 'removed'"
        )
        conn.execute("update pre_notifications set give_on = current_date + 1")
    found = await _values(client, having='tether_collection_late{step="notify"}')
    assert found['tether_subscribers{state="disabled"}'] == 0
    assert found["tether_subscriber_failing_seconds"] == 0
    assert found['tether_collection_late{step="notify"}'] == 0


async def test_an_unavailable_store_shows_without_any_traffic(
    serving: Serve, environment: dict[str, str], client: httpx.AsyncClient
) -> None:
    """Without requests nothing fails, and the outage is found by the gateway's next burst."""
    found = await _values(client)
    assert {
        store: found[f'tether_store_up{{store="{store}"}}'] for store in ("postgres", "redis", "objects")
    } == {
        "postgres": 1,
        "redis": 1,
        "objects": 1,
    }
    away = environment | {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/away",
        "DATABASE_POOL_WAIT": "0.5",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    async with serving(away) as node:
        found = await _values(node)
    assert found['tether_store_up{store="postgres"}'] == 0
    assert found['tether_store_up{store="redis"}'] == 0
    assert 'tether_attempts{state="approved"}' not in found, "a stale value looks like a current one"


async def test_callers_that_wait_for_a_connection_are_counted(
    client: httpx.AsyncClient,
) -> None:
    """A pool that is used up makes every page slow, and nothing else says why."""
    for _ in range(200):
        found = await _values(client)
        if found.get('tether_database_connections{pool="main",state="open"}', 0) > 0:
            break
        await asyncio.sleep(0.05)
    assert found['tether_database_connections{pool="main",state="open"}'] > 0
    assert found['tether_database_connections{pool="main",state="waiting"}'] == 0
