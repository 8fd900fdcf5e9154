"""Errors as answers: one form for all of them, the status by who acts next, and nothing of the inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import structlog
from tether_core import errors
from tether_core.emp.notification import FORM
from tether_web.http import problem_details

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    import httpx

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


KEY = {"authorization": "Bearer test-key"}


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "TetherError"])
def test_every_error_has_the_status_of_its_branch(name: str) -> None:
    """A status says who must act next: a 4xx for an outage would make the sender change a correct request."""
    kind = getattr(errors, name)
    expected = {
        errors.SignatureMismatch: {401},
        errors.Unreadable: {400},
        errors.Contradicted: {409},
        errors.InProgress: {409},  # time must pass as well, but for this request only
        errors.Unavailable: {503},
        errors.Rejected: {422},
    }
    statuses = next(found for branch, found in expected.items() if issubclass(kind, branch))
    assert {
        next(problem_details.STATUS[base] for base in kind.__mro__ if base in problem_details.STATUS)
    } == statuses


async def test_every_error_has_one_form(client: httpx.AsyncClient) -> None:
    """A program reads errors once for all routes, also for those that do not exist (RFC 9457)."""
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/nowhere", 404, "not_found"),
        ("PUT", "/health", 405, "method_not_allowed"),
        ("DELETE", "/api/billing-attempts", 405, "method_not_allowed"),
        ("GET", "/api/billing-attempts", 401, "not_authorized"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
            path
        )
        payload = answer.json()
        assert (payload["status"], payload["code"]) == (status, code)
        assert payload["title"]
        assert payload["detail"]
    assert "GET" in (await client.put("/health")).headers["allow"]


async def test_a_validation_error_names_the_field_and_not_the_request(client: httpx.AsyncClient) -> None:
    """What was sent may be an account number in the wrong place. Repeating it would spread it."""
    answer = await client.get(
        "/api/billing-attempts", params={"limit": "DE89370400440532013000"}, headers=KEY
    )
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "limit", "text": "must be a whole number"}]
    assert answer.json()["detail"] == "limit must be a whole number."
    assert "3704" not in answer.text


async def test_an_internal_error_is_logged_with_its_traceback_and_answered_without(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A client must learn nothing of the inside; the log must have the traceback, and nothing that was sent."""
    with psycopg.connect(database_url) as conn:
        conn.execute("alter table billing_attempts alter unique_id type integer using 0")
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/api/billing-attempts?unique_id=ada", headers=KEY)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "internal_error"
    assert "billing_attempts" not in answer.text
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert isinstance(line["exc_info"], psycopg.Error)
    assert line["route"] == "GET /api/billing-attempts"


async def test_an_unavailable_store_says_when_to_retry(serving: Serve, environment: dict[str, str]) -> None:
    """A client that reads Retry-After waits; a 500 would make it give up."""
    async with serving(
        environment
        | {"DATABASE_URL": "postgresql://postgres:hunter2@127.0.0.1:1/x", "DATABASE_POOL_WAIT": "0.5"}
    ) as client:
        answer = await client.get("/api/billing-attempts", headers=KEY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["code"] == "store_unreachable"
        assert "hunter2" not in answer.text
        assert "127.0.0.1" not in answer.text
        body = b"unique_id=a&signature=" + b"0" * 40
        refused = await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        assert refused.status_code == 401
