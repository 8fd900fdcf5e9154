"""A relay from a terminal to the inbox: created by the command, fed by the simulated gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from tether_client.__main__ import main
from tether_sandbox.gateway import Crafted, Setup, running
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tether_sandbox.services.program import Launch


def test_the_gateway_notifies_a_relay_that_was_created_from_a_terminal(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The path that the command prints is pasted into the gateway's back office; one wrong sign, and nothing arrives."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def tether(*words: str, text: bool = False) -> Any:
        ended = main([*words, *([] if text else ["--json"])], environ=environ)
        out, errors = capsys.readouterr()
        assert ended == 0, errors
        return out if text else json.loads(out)

    node = process("tether-web", "--port", str(port), environ=environment)
    node.await_url(f"{url}/ready")
    printed = tether("relays", "create", "back-office", text=True)
    path = printed.splitlines()[-1]
    setup = Setup(notify_url=url + path, passwords=(environment["EMP_API_PASSWORD"],))
    with running(setup) as gateway:
        gateway.craft(Crafted("aa", {"unique_id": "aa", "status": "approved"}))
        gateway.resolve()
    with psycopg.connect(database_url) as conn:
        found = conn.execute("select notification_id, relay_id, sender from webhook_events").fetchall()
    assert found == [("aa", 1, "127.0.0.1")]
    assert tether("relays", "list")[0]["last_received_at"] is not None
    assert tether("relays", "revoke", "1", "--reason", "moved")[0]["revoked_at"] is not None
    node.terminate()
    assert path.rpartition("/")[2] not in node.stderr
