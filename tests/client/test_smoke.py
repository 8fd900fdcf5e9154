"""`tether smoke` and `tether report` against a real node and its workers, and against what is broken."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_client.__main__ import main
from tether_client.smoke import CASES
from tether_sandbox.gateway import Setup, running
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch


def test_a_working_installation_passes_and_a_broken_one_says_where(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    until: Callable[..., Any],
) -> None:
    """After a deploy at night, "passed" must mean that notifications, files and queues work, and no money may have moved."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def smoke(*more: str, code: int = 0, stdin: str = "") -> dict[str, Any]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        ended = main(["smoke", "--json", *more], environ=environ)
        out, errors = capsys.readouterr()
        assert ended == code, out + errors
        assert environment["EMP_API_PASSWORD"] not in out + errors
        found: dict[str, Any] = json.loads(out)
        return {result["case"]: result["verdict"] for result in found["results"]} | {"report": found}

    assert set(list(smoke(code=1).values())[: len(CASES)]) == {"failed", "skipped"}  # nothing answers

    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
    )
    with running(setup) as simulator:
        settings = {**environment, "EMP_API_URL": simulator.url, "TETHER_WORKER_POOLS": "local"}
        web = process("tether-web", "--port", str(port), environ=settings)
        web.await_url(f"{url}/ready")
        first = process("tether-worker", "run", "default", environ=settings)
        first.await_line("worker started")
        without = smoke(code=1)
        assert (without["notification"], without["repeat"], without["queues"]) == (
            "skipped",
            "skipped",
            "failed",
        )
        process("tether-worker", "supervise", environ=settings).await_line("worker started")
        until(lambda: len(_query(database_url, "select id from workers")) == 2, what="both rows of workers")

        path = tmp_path / "smoke.md"
        words = ("--gateway-password-stdin", "--await", "60", "--report", str(path))
        passed = smoke(*words, stdin=environment["EMP_API_PASSWORD"] + "\n")
        assert {passed[case] for case in CASES} == {"passed"}
        assert [item["verdict"] for item in passed["report"]["criteria"]] == [
            "met",
            "not measured",
            "not measured",
            "not measured",
        ]
        assert "| repeat | passed | the repeat is recognised |" in path.read_text()
        assert smoke("--gateway-password-stdin", code=1, stdin="wrong\n")["notification"] == "failed"
        assert simulator.requests().get("sale", 0) == 0
        assert _query(database_url, "select id from billing_attempts") == []
        assert _query(database_url, "select id from debtors") == []

        key = environ.pop("TETHER_API_KEY")
        stranger = smoke("--url", url)
        assert (stranger["closed"], stranger["file"], stranger["queues"]) == ("passed", "skipped", "skipped")
        environ["TETHER_API_KEY"] = key
        _bills_only_when_told(environ, tmp_path, monkeypatch, capsys)
        assert len(_query(database_url, "select id from billing_attempts")) == 1
        _reports(environ, capsys)


def _bills_only_when_told(
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "one.csv"
    file.write_text("Name;IBAN;Amount\nAda Kowalska;DE89370400440532013000;1,00\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["smoke", "--bill", str(file)], environ=environ) == 2
    assert "This moves money" in capsys.readouterr().err
    code = main(["smoke", "--bill", str(file), "--yes"], environ=environ)
    text = capsys.readouterr().out
    assert code == 0, text
    assert "1 debits were submitted" in text
    assert "| from a file to submitted debits within 10 minutes | met |" in text


def _reports(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["queues", "pause", "vop", "--reason", "DE89370400440532013000 is wrong"], environ=environ) == 0
    )
    capsys.readouterr()
    assert main(["report", "--hours", "24"], environ=environ) == 1
    text = capsys.readouterr().out
    assert "Queue vop is paused by tests" in text
    assert "- queue.paused: 1" in text
    assert main(["report", "--json"], environ=environ) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["findings"]
    assert found["actions"]["queue.paused"] == 1


def _query(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute(query).fetchall()]
