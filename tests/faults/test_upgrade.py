"""An update and the way back under load, step by step as the deployment guide says: no request fails and nothing is lost or applied twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.services.server import free_port
from tether_stores import migrate as module
from tether_stores.migrate import migrate, numbered
from tether_stores.queries import read

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from tether_sandbox.services.program import Launch, Program

PASSWORD = "s3cret-password"
# The migrations of a next version: a column and a table, an index without blocking writers, and what only the old version needed.
NEXT = {
    "9001_pre_next": "alter table webhook_events add column next_note text not null default '';"
    " create table next_things (id bigint primary key);",
    "9002_pre_next_index": "-- concurrently\ncreate index concurrently if not exists webhook_events_next"
    " on webhook_events (next_note) where next_note <> '';",
    "9003_post_next": "drop index webhook_events_next; alter table webhook_events drop column next_note; drop table next_things;",
}


class Senders:
    """Several senders, as the proxy would be: each request goes to one of the nodes that are in."""

    def __init__(self, nodes: list[str]) -> None:
        self.nodes = nodes
        self.sent: list[str] = []
        self.failed: list[object] = []
        self._in_flight: dict[str, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, sender: int) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                unique_id = f"u-{sender}-{number}"
                with self._lock:
                    node = self.nodes[number % len(self.nodes)]
                    self._in_flight[node] = self._in_flight.get(node, 0) + 1
                body = form_body({"unique_id": unique_id, "status": "approved"}, secret=PASSWORD)
                try:
                    # A connection of its own, as a proxy has after a node left.
                    answer = client.post(
                        f"{node}/api/webhooks/emp",
                        content=body,
                        headers={"content-type": FORM, "connection": "close"},
                    )
                    if answer.status_code == 200:
                        self.sent.append(unique_id)
                    else:
                        self.failed.append((unique_id, answer.status_code, answer.text))
                except httpx.HTTPError as exc:
                    self.failed.append((unique_id, repr(exc)))
                finally:
                    with self._lock:
                        self._in_flight[node] -= 1

    def leave(self, node: str, until: Callable[..., Any]) -> None:
        """Take a node out and wait until nothing is under way to it."""
        with self._lock:
            self.nodes.remove(node)
        until(lambda: not self._in_flight.get(node), what=f"{node} to have answered all")

    def enter(self, node: str, until: Callable[..., Any]) -> None:
        """Put a node in and wait until it has answered something."""
        before = len(self.sent)
        with self._lock:
            self.nodes.append(node)
        until(lambda: len(self.sent) > before + 20, what="further answers")

    def end(self) -> None:
        """Stop sending."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)


def test_an_update_and_the_way_back_fail_no_request(
    process: Launch,
    environment: dict[str, str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., Any],
) -> None:
    """An operator updates in working hours only if the gateway notices nothing of it."""
    real = list(numbered())
    monkeypatch.setattr(module, "numbered", lambda: iter([*real, *NEXT]))
    monkeypatch.setattr(
        module,
        "read",
        lambda path: NEXT.get(path.removeprefix("migrations/").removesuffix(".sql")) or read(path),
    )

    def web() -> tuple[Program, str]:
        port = free_port()
        program = process("tether-web", "--port", str(port), "--grace", "10", environ=environment)
        program.await_url(f"http://127.0.0.1:{port}/ready")
        return program, f"http://127.0.0.1:{port}"

    def worker() -> Program:
        program = process("tether-worker", "run", "webhooks", environ=environment)
        program.await_line('"worker started"')
        return program

    def replace(old: tuple[Program, str]) -> tuple[Program, str]:
        """Start another, let it in, take the old one out, and end it."""
        new = web()
        senders.enter(new[1], until)
        senders.leave(old[1], until)
        assert old[0].terminate() == 0
        return new

    node, work = web(), worker()
    senders = Senders([node[1]])
    try:
        until(lambda: len(senders.sent) > 20, what="answers")
        assert migrate(database_url, now=NOON, phase="pre") == ["9001_pre_next", "9002_pre_next_index"]
        further = worker()
        assert work.terminate() == 0
        node = replace(node)  # the new version
        node = replace(node)  # and back to the old one, on the new schema
        node = replace(node)
        assert migrate(database_url, now=NOON, phase="post") == ["9003_post_next"]
        before = len(senders.sent)
        until(lambda: len(senders.sent) > before + 20, what="further answers")
    finally:
        senders.end()
    assert senders.failed == []
    with psycopg.connect(database_url) as conn:
        stored = {row[0] for row in conn.execute("select notification_id from webhook_events").fetchall()}
        assert stored == set(senders.sent)
    assert further.returncode is None
