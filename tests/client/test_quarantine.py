"""The commands about refused notifications and passwords, against a real node whose password is corrected."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
from tether_client.__main__ import main
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.seed import seed
from tether_sandbox.services.server import free_port
from tether_stores.accounts.gateway_accounts import new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from tether_sandbox.services.program import Launch


def test_a_wrong_password_is_corrected_from_a_terminal(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    until: Callable[..., Any],
) -> None:
    """Who is called in the night has a terminal, and must see what a command will do before it does it."""
    # Orders of two, so that the command has to give several.
    monkeypatch.setattr("tether_client.command.quarantine._ORDER", 2)
    debits = list(seed(database_url, attempts=5, rng=random.Random(1), now=datetime.now(UTC)))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    more = {"TETHER_SECRETS_KEY": new_key(), "EMP_API_PASSWORD": "wrong-password"}
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def tether(*words: str, text: bool = False) -> Any:
        ended = main([*words, *([] if text else ["--json"])], environ=environ)
        out, errors = capsys.readouterr()
        assert ended == 0, errors
        return out if text else json.loads(out)

    node = process("tether-web", "--port", str(port), environ=environment | more)
    node.await_url(f"{url}/ready")
    bodies = [
        *(
            form_body({"unique_id": debit.unique_id, "status": "approved"}, secret="right")
            for debit in debits
        ),
        form_body({"unique_id": debits[0].unique_id, "status": "voided"}, secret="a-guess"),
    ]
    for body in bodies:
        answer = httpx.post(
            f"{url}/api/webhooks/emp", content=body, headers={"content-type": FORM}, timeout=60
        )
        assert answer.status_code == 401
    until(
        lambda: (
            sum(quota["rows"] for quota in tether("notifications", "quarantine", "--status")["quotas"]) == 6
        ),
        what="the refused notifications",
    )
    assert tether("notifications", "reverify", "--dry-run", text=True).startswith("0 of 6 verify now\n")
    node.terminate()
    process(
        "tether-web", "--port", str(port), environ=environment | more | {"EMP_API_PASSWORD": "right"}
    ).await_url(f"{url}/ready")
    preview = tether("notifications", "reverify", "--dry-run", text=True)
    assert preview.startswith("5 of 6 verify now\n  default password 1 (")
    assert len(tether("notifications", "quarantine")["items"]) == 6
    done = tether("notifications", "reverify", "--reason", "it was mistyped")
    assert (done["genuine"], done["recorded"], done["invalid"], done["is_finished"]) == (5, 5, 1, True)
    assert [part["count"] for part in done["by_password"]] == [5]
    text = tether("notifications", "passwords", text=True)
    assert "default password 1: In use." in text
    assert "right" not in text
    assert "voided" not in tether("notifications", "list", text=True)
