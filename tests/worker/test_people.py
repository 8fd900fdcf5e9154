"""`tether-worker users` and `keys`: the first administrator, and what is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_worker.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def run(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a command; gives its exit code and what it printed."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def start(*words: str) -> tuple[int, str]:
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return start


def test_people_and_keys_from_a_machine_of_tether(
    run: Callable[..., tuple[int, str]], database_url: str
) -> None:
    """Nobody can sign in to a new installation until a command makes the first administrator."""
    code, out = run("users", "add", "Ada", "--role", "admin", "--reason", "the first")
    assert (code, out.startswith("temporary password of Ada: ")) == (0, True)
    assert run("users", "add", "ada", "--role", "viewer")[0] == 2
    assert run("users", "add", "tests", "--role", "viewer")[0] == 2  # a key of the environment
    assert run("users", "add", "bea", "--role", "viewer", "--accounts", "gone")[0] == 2
    assert run("users", "reset", "ada", "--second-factor")[0] == 0
    assert run("users", "disable", "ada", "--reason", "left")[0] == 0
    assert run("users", "disable", "nobody")[0] == 2
    (user,) = json.loads(run("users", "list", "--json")[1])
    assert (user["name"], user["role"], user["disabled"]) == ("ada", "admin", True)
    code, out = run("users", "add", "bea@example.com", "--role", "operator", "--no-password")
    assert (code, "password of" in out) == (0, False)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update users set oidc_issuer = 'https://login.example', oidc_subject = 'b' where name like 'bea@%'"
        )
        conn.execute(
            "insert into sessions (token_digest, holder, user_id, created_at, last_used_at)"
            " select sha256('x'), 'user', id, now(), now() from users where name like 'bea@%'"
        )
    assert run("users", "unbind", "bea@example.com", "--reason", "another Bea")[0] == 0
    assert run("users", "unbind", "nobody")[0] == 2
    with psycopg.connect(database_url) as conn:
        left = conn.execute(
            "select oidc_subject, password_hash, (select count(*) from sessions) from users where name like 'bea@%'"
        ).fetchall()
    assert left == [(None, None, 0)]
    code, out = run("keys", "add", "ci", "--role", "viewer", "--days", "90")
    assert (code, out.startswith("tether_")) == (0, True)
    assert "ci" in run("keys", "list")[1]
    assert run("keys", "revoke", "ci")[0] == 0
    assert run("keys", "revoke", "ci")[0] == 2
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("select actor_kind, action, subject_id, reason from audit order by id").fetchall()
    assert [row[1] for row in rows] == [
        "user.created",
        "user.password_reset",
        "user.disabled",
        "user.created",
        "user.unbound",
        "api_key.created",
        "api_key.revoked",
    ]
    assert {row[0] for row in rows} == {"command"}
    assert rows[0][2:] == ("1", "the first")
