"""`tether-worker doctor`: what is wrong with an installation, in sentences, and never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_worker.__main__ import main
from tether_worker.doctor import open_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examined(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Run the command with changed settings; gives its exit code and findings."""

    def run(**changes: str) -> tuple[int, list[dict[str, Any]]]:
        for name, text in (environment | changes).items():
            monkeypatch.setenv(name, text)
        code = main(["doctor", "--json"])
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
