"""Gateway accounts by command line."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from tether_worker.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = {
    "name": "second",
    "api_url": "https://gate.example",
    "login": "its-login",
    "passwords": ["its-password"],
    "terminal_tokens": ["its-terminal"],
    "day_count_max": 777,
}


@pytest.fixture
def command(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a command with something on standard input; gives its exit code and all it said."""
    for name, text in {
        **environment,
        "TETHER_SECRETS_KEY": Fernet.generate_key().decode(),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, text)

    def run(*words: str, given: Any = "") -> tuple[int, str]:
        text = given if isinstance(given, str) else json.dumps(given)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["accounts", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_an_account_is_made_listed_and_disabled(command: Callable[..., tuple[int, str]]) -> None:
    """An operator has no other way; and what the commands say is read over shoulders and kept in scrollbacks."""
    assert command("put", given=SECOND)[0] == 0
    code, said = command("list")
    assert code == 0
    assert "second" in said
    assert "777" in said
    assert not any(secret in said for secret in ("its-login", "its-password", "its-terminal"))
    assert command("disable", "second") == (0, "second is disabled\n")
    assert "disabled" in command("list")[1]
    assert command("enable", "second") == (0, "second is enabled\n")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        {"name": "second"},
        {**SECOND, "passwords": []},
        {**SECOND, "password": "x"},
        {**SECOND, "name": "default"},
    ],
)
def test_what_is_no_account_is_refused_without_being_repeated(
    command: Callable[..., tuple[int, str]], given: Any
) -> None:
    """A half-made account fails at night; and a refused one must not leave its password on the screen."""
    code, said = command("put", given=given)
    assert code == 2
    assert "its-password" not in said
    assert command("disable", "third")[0] == 2


def test_a_fresh_key_is_a_key(command: Callable[..., tuple[int, str]]) -> None:
    """What is printed goes into the environment as it is."""
    code, said = command("new-key")
    assert code == 0
    Fernet(said.strip())
