"""`tether-worker doctor`: what is wrong with an installation, in sentences, and never a secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_sandbox.gateway import Setup, running
from tether_worker.__main__ import main
from tether_worker.doctor import open_files

from tests.support.roles import as_role

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_stores.privileges import Program


@pytest.fixture
def examined(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Run the command with changed settings; gives its exit code and findings."""

    def run(*options: str, ahead_s: float = 0.0, **changes: str) -> tuple[int, list[dict[str, Any]]]:
        for name, text in (environment | changes).items():
            monkeypatch.setenv(name, text)
        clock = lambda: datetime.now(UTC) + timedelta(seconds=ahead_s)  # noqa: E731 - a clock
        code = main(["doctor", "--json", *options], clock=clock)
        return code, msgspec.json.decode(capsys.readouterr().out)

    return run


def _texts(found: list[dict[str, Any]], verdict: str) -> str:
    return "\n".join(item["text"] for item in found if item["verdict"] == verdict)


def test_what_is_wrong_is_said_with_what_to_do(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]], empty_database_url: str
) -> None:
    """A new installation: each gap is named before the first file is uploaded, and nobody has to read a log for it."""
    code, found = examined()
    assert code == 1
    assert "TETHER_FINGERPRINT_KEY is not set" in _texts(found, "wrong")
    assert "a probe was written, read and deleted" in _texts(found, "well")
    advice = _texts(found, "advice")
    assert "No worker serves queue webhooks" in advice
    assert "TETHER_API_KEYS, key tests has fewer than" in advice
    assert "TETHER_SECRETS_KEY is not set" in advice
    assert "has the tables of this version" in _texts(found, "well")
    assert "test-key" not in str(found)
    assert "s3cret-password" not in str(found)
    _, found = examined(
        DATABASE_URL=empty_database_url,
        REDIS_URL="redis://127.0.0.1:1",
        TETHER_OBJECTS_DIR="",
        EMP_API_PASSWORD="",
    )
    wrong = _texts(found, "wrong")
    assert "tether-worker migrate" in wrong
    assert "Redis does not answer" in wrong
    assert "uploads are refused" in wrong
    assert "all notifications are refused" in wrong


def test_each_account_is_tried_at_the_gateway_and_nothing_is_debited(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
) -> None:
    """A wrong password is found before the first run, and not by a run that pauses; and nobody is debited for it."""
    setup = Setup(login="merchant", passwords=("s3cret-password",), terminals=("terminal-1", "terminal-2"))
    with running(setup) as gateway:
        here = {"EMP_API_URL": gateway.url, "EMP_TERMINAL_TOKEN": "terminal-1,terminal-2"}

        def said(**changes: str) -> dict[str, str]:
            _, found = examined(**(here | changes))
            return {
                item["text"].partition(":")[0]: f"{item['verdict']}:{item['text'].partition(':')[2]}"
                for item in found
                if item["text"].startswith("account ")
            }

        accepted = "well: the gateway accepts login, password and terminal"
        assert said() == {f"account default, terminal {number}": accepted for number in (1, 2)}
        wrong = said(EMP_API_PASSWORD="another-password")
        assert all(text.startswith("wrong: the gateway rejects login or password") for text in wrong.values())
        assert "another-password" not in str(wrong)
        assert said(EMP_API_URL="http://127.0.0.1:1", EMP_TERMINAL_TOKEN="terminal-1") == {
            "account default, terminal 1": "wrong: the gateway cannot be reached (no connection was made). "
            "Correct EMP_API_URL, the name server, or the firewall for outgoing connections."
        }
        _, found = examined("--without-gateway", **here)
        assert not [item for item in found if item["text"].startswith("account ")]
        refused = said(EMP_TERMINAL_TOKEN="terminal-9")["account default, terminal 1"]
        assert refused.startswith("wrong: the gateway refuses an inquiry with this terminal")
        assert "terminal-9" not in refused
        assert set(gateway.requests()) == {"reconcile", "unauthorised"}


def test_who_connects_as_the_owner_is_told_so(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
    environment: dict[str, str],
    program_roles: dict[Program, str],
) -> None:
    """The password of a program is then the password of everything."""
    _, found = examined()
    assert "tether-worker connects as a role that may do everything" in _texts(found, "advice")
    _, found = examined(DATABASE_URL=as_role(environment["DATABASE_URL"], program_roles["worker"]))
    assert "may do everything" not in _texts(found, "advice")
    assert "permission denied" not in str(found)
    assert "has the tables of this version; Postgres " in _texts(found, "well")


def test_a_wrong_clock_is_named_against_both_stores(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
) -> None:
    """Postgres gives the time, Redis counts the rates; a machine that is minutes ahead of both writes misleading logs."""
    _, found = examined(ahead_s=90)
    advice = _texts(found, "advice")
    assert "differs from Postgres' by 90 s" in advice or "differs from Postgres' by 89 s" in advice
    assert "differs from Redis' by " in advice


def test_files_of_secrets_that_others_can_read_are_named(tmp_path: Path) -> None:
    """A password that every user of the machine can read is no secret; one that its group reads may be a container's."""
    environ = {}
    for name, mode in (("EMP_API_PASSWORD", 0o644), ("TETHER_API_KEYS", 0o600), ("REDIS_URL", 0o440)):
        path = tmp_path / name
        path.write_text("x")
        path.chmod(mode)
        environ[f"{name}_FILE"] = str(path)
    found = open_files(environ | {"LOG_LEVEL_FILE": "/etc/passwd", "DATABASE_URL_FILE": "/nowhere"})
    assert [(item.verdict, item.text.partition(",")[0]) for item in found] == [
        ("advice", "EMP_API_PASSWORD_FILE")
    ]
    assert "mode 644" in found[0].text
