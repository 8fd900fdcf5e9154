"""`GET /api/events` as a route: who may follow, and what is refused in words. What is sent: test_feed.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    import httpx

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


KEY = {"authorization": "Bearer test-key"}


async def test_nobody_follows_without_a_key(client: httpx.AsyncClient) -> None:
    """Events are business data; they require an API key."""
    assert (await client.get("/api/events")).status_code == 401


@pytest.mark.parametrize(
    ("query", "headers", "status", "words"),
    [
        (
            "?type=attempt_teleported",
            {},
            422,
            "type must be one of amount.mismatched, attempt.status_changed",
        ),
        ("?after=-1", {}, 400, "after must be a whole number of at least 0"),
        ("?after=7", {}, 422, "No event has this id yet"),
        ("", {"last-event-id": "7"}, 422, "No event has this id yet"),
        ("", {"last-event-id": "seven"}, 400, "Last-Event-ID must be a whole number"),
        ("?Last-Event-ID=7", {}, 400, "is not a parameter of this route; use after, type"),
    ],
)
async def test_what_cannot_be_followed_is_refused_in_words(
    client: httpx.AsyncClient, query: str, headers: dict[str, str], status: int, words: str
) -> None:
    """A filter spelt wrong would be a stream that stays silent, and look like a quiet day."""
    answer = await client.get(f"/api/events{query}", headers=KEY | headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


async def test_while_postgres_is_unavailable_no_stream_is_opened(
    serving: Serve, environment: dict[str, str]
) -> None:
    """A follower must be asked to retry instead of getting an internal error."""
    away = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/x", "DATABASE_POOL_WAIT": "0.5"}
    async with serving(environment | away) as client:
        answer = await client.get("/api/events", headers=KEY)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_the_stream_is_described(client: httpx.AsyncClient) -> None:
    """A generated client that takes the stream for a JSON answer waits for its end."""
    payload = (await client.get("/api/schema")).json()["paths"]["/api/events"]["get"]
    assert payload["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert {parameter["name"] for parameter in payload["parameters"]} == {"Last-Event-ID", "after", "type"}
