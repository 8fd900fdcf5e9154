"""Every command of `tether`: what it writes to stdout, with which code it ends, and what its help says."""

from __future__ import annotations

import io
import json
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tether_client.__main__ import EXIT_CODES, main
from tether_client.command.completion import SHELLS, words
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port

from tests.support.commands import leaves, made_up

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch

LEAVES = list(leaves())
# It writes a script for a shell and nothing else.
WITHOUT_JSON = {("completion",)}


@pytest.fixture
def members(tmp_path: Path) -> Path:
    """A file of one debtor."""
    path = tmp_path / "members.csv"
    path.write_text(f"Name;IBAN;Amount\nAda Kowalska;{made_up_iban(random.Random(5))};12,50\n")
    return path


def _ended(argv: list[str], environ: dict[str, str]) -> int:
    try:
        return main(argv, environ=environ)
    except SystemExit as exc:  # argparse refuses made-up words, too
        return int(exc.code or 0)


@pytest.mark.parametrize(("path", "parser"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_each_command_says_what_it_does_with_an_example(
    path: tuple[str, ...], parser: argparse.ArgumentParser
) -> None:
    """Who reads --help in the night wants a line that can be copied, and it must be a line that works."""
    assert parser.description
    epilog = parser.epilog or ""
    assert f"Example: tether {' '.join(path)}" in epilog, epilog
    if path not in WITHOUT_JSON:
        options = {name for action in parser._actions for name in action.option_strings}
        assert {"--json", "--url", "--profile", "--timeout"} <= options
        assert all(action.help for action in parser._actions)


def test_with_json_every_command_writes_json_and_nothing_else(
    environment: dict[str, str],
    process: Launch,
    members: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    until: Callable[..., Any],
) -> None:
    """A script that pipes the output into a program would break on the first friendly sentence, and on a 500."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    web = process("tether-web", "--port", str(port), environ=environment)
    process("tether-worker", "run", "default", environ=environment)
    web.await_url(f"{url}/ready")
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("test-key\n"))
        code = _ended([*argv, "--json"], environ)
        return code, *capsys.readouterr()

    assert run("uploads", "add", str(members), "--wait")[0] == 0
    assert run("users", "add", "x", "--role", "viewer")[0] == 0
    # The first event, so that following events ends.
    assert run("debtors", "edit", "1", "--set", "amount_minor=1300", "--reason", "by phone")[0] == 0
    wrong, done = [], []
    # What ends a person, a key or the only worker comes last: `smoke` waits for the worker.
    for path, parser in sorted(LEAVES, key=lambda leaf: leaf[0][-1] in {"logout", "revoke", "restart"}):
        if path in WITHOUT_JSON:
            continue
        extra = ["--url", url, "--key-stdin"] if path == ("login",) else []
        code, out, errors = run(*path, *made_up(parser, file=str(members)), *extra)
        try:
            for line in out.splitlines():
                json.loads(line)
        except ValueError:
            wrong.append(f"{path}: {out!r} is no JSON")
        if code not in EXIT_CODES or code == 70:
            wrong.append(f"{path}: ends with {code}: {errors}")
        if code in {0, 1} and not out:
            wrong.append(f"{path}: writes nothing")
        if code not in {0, 1} and (out or not errors.strip()):
            wrong.append(f"{path}: ends with {code}, and writes {out!r} and {errors!r}")
        if "Traceback" in errors:
            wrong.append(f"{path}: {errors}")
        done += [path] if code in {0, 1} else []
    assert wrong == []
    # A walk in which everything is refused would prove nothing.
    assert len(done) > len(LEAVES) // 3, done


def test_every_command_reports_an_unreachable_node(
    members: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that writes half an answer, or ends with 0, lets a script go on as if all were well."""
    monkeypatch.setattr("tether_client.connection._WAITS_S", ())
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "TETHER_URL": f"http://127.0.0.1:{free_port()}",
        "TETHER_API_KEY": "k",
    }
    wrong = []
    for path, parser in LEAVES:
        # That nothing answers is what `smoke` reports.
        if path in {*WITHOUT_JSON, ("login",), ("logout",), ("smoke",)}:
            continue
        monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
        code = _ended([*path, *made_up(parser, file=str(members)), "--json"], environ)
        out, errors = capsys.readouterr()
        if code not in {2, 75} or out or "Traceback" in errors:
            wrong.append((path, code, out, errors))
    assert wrong == []


def test_each_shell_completes_every_command() -> None:
    """A new command that the shell does not know is not found."""
    from tether_client.__main__ import _parser

    tree = dict(words(_parser()))
    for path, parser in LEAVES:
        options = {name for action in parser._actions for name in action.option_strings}
        assert options <= set(tree[" " + " ".join(path)])
    for script in SHELLS.values():
        text = script(tree)
        assert all(" ".join(path) in text for path, _ in LEAVES)
