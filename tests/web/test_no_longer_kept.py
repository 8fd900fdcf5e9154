"""What was archived or removed when its period was over: the answer says so, and where it may still be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}


async def test_what_is_no_longer_kept_is_not_just_missing(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """An empty list or a plain 404 would be taken for lost data, and a stream of events with a gap for a whole one."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, file_removed_at,"
            " problems_removed_at) values ('x', 'list.csv', 3, '', 'completed', now(), now(), now(), now())"
        )
        conn.execute(
            "insert into archives (kind, object_key, began_at, confirmed_at, rows, size_bytes, sha256, first_id, last_id, from_at,"
            " to_at, pruned_at) select kind, 'x', now(), now(), 9, 9, '', 1, 9, now(), now(), now()"
            " from unnest(array['notifications', 'events']) kind"
        )
        conn.execute(
            "insert into outbox (name, version, payload, occurred_at) select 'a', 1, '{}', now() from generate_series(1, 10)"
        )
    for method, path, words in (
        ("GET", "/api/uploads/1/file", "ask its sender"),
        ("GET", "/api/uploads/1/problems", "dry_run=true"),
        ("GET", "/api/webhook-events/7", "tether-worker archive read 1"),
        ("POST", "/api/webhook-events/7/replay", "tether-worker archive read 1"),
        ("GET", "/api/events?after=3", "after=9"),
    ):
        answer = await client.request(method, path, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (410, "no_longer_kept"), path
        assert words in answer.json()["detail"].lower(), path
    assert (await client.get("/api/webhook-events/10", headers=KEY)).status_code == 404
