"""Application wiring: warnings at the start, and a start without services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
import structlog
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    import httpx
    from tether_sandbox.services.program import Launch

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


async def test_missing_settings_are_logged_at_the_start(serving: Serve, environment: dict[str, str]) -> None:
    """A node that refuses all requests looks healthy; its first log lines must say why."""
    bare = {name: environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
    with structlog.testing.capture_logs() as lines:
        async with serving(bare):
            pass
    said = " ".join(line["event"] for line in lines if line["log_level"] == "error")
    assert "EMP_API_PASSWORD is not set: all notifications are rejected" in said
    assert "TETHER_API_KEYS is not set: all requests of the API are rejected" in said
    assert "TETHER_FINGERPRINT_KEY is not set" in said
    with structlog.testing.capture_logs() as lines:
        async with serving(environment | {"TETHER_FINGERPRINT_KEY": "k"}):
            pass
    said_more = [line["event"] for line in lines if line["log_level"] == "error"]
    # Postgres of the tests does not wait for the disk (tests/conftest.py), and that is an error in production.
    assert [event for event in said_more if "fsync" not in event] == []


async def test_a_node_starts_and_stops_with_nothing_there(
    serving: Serve, environment: dict[str, str]
) -> None:
    """After a power cut nodes come up before their stores.

    They must wait in service and not in a crash loop.
    """
    nowhere = {
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
        "DATABASE_POOL_WAIT": "0.5",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    async with serving(environment | nowhere) as client:
        assert (await client.get("/health")).status_code == 200
        body = form_body({"unique_id": "a"}, secret=environment["EMP_API_PASSWORD"])
        answer = await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        assert answer.status_code == 503


async def test_what_was_answered_is_committed_when_the_node_has_stopped(
    serving: Serve, environment: dict[str, str], database_url: str
) -> None:
    """A node is stopped at any time; its last 200 must hold as much as its first."""
    async with serving(environment) as client:
        before = datetime.now(UTC)
        body = form_body({"unique_id": "a"}, secret=environment["EMP_API_PASSWORD"])
        answer = await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
    assert answer.status_code == 200
    with psycopg.connect(database_url) as conn:
        row = conn.execute("select received_at from webhook_events").fetchone()
    assert row is not None
    # By the clock of Postgres, which the node reads to within some milliseconds.
    assert before - timedelta(seconds=5) <= row[0] <= datetime.now(UTC) + timedelta(seconds=5)


def test_a_node_that_is_stopped_while_it_starts_ends_at_once(
    environment: dict[str, str], process: Launch, until: Callable[..., Any]
) -> None:
    """A deploy that is taken back ends nodes in their first second. They have nobody to finish with."""
    web = process(
        "tether-web", "--port", str(free_port()), "--workers", "2", "--grace", "300", environ=environment
    )
    until(lambda: len(psutil.Process(web.pid).children()) == 2, what="two processes that load")
    assert web.terminate() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL must be set"),
        ({"REDIS_URL": "", "DATABASE_URL": ""}, "DATABASE_URL and REDIS_URL must be set"),
        ({"EMP_TIMEOUT": "hunter2"}, "EMP_TIMEOUT"),
    ],
)
def test_the_program_says_what_to_set_and_ends(
    environment: dict[str, str], process: Launch, changes: dict[str, str], words: str
) -> None:
    """A wrong setting must stop the deploy at once, with a sentence and not with a traceback."""
    web = process("tether-web", "--port", str(free_port()), environ=environment | changes)
    assert web.wait() == 2
    assert words in web.stderr
    assert "Traceback" not in web.stderr
    assert "hunter2" not in web.stderr
