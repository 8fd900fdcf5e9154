import argparse
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from tether_core.errors import InvalidRequest
from tether_sandbox.gateway import SCRIPTS, Payment, Setup
from tether_sandbox.gateway import command as gateway
from tether_sandbox.services.server import free_port

LINE = '{"transaction_id":"t-1","unique_id":"%032x","amount_minor":100,"currency":"EUR","debtor":"unknown field"}'


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    gateway.add_arguments(parser)
    return gateway.run(parser.parse_args(words))


@contextmanager
def _file(folder: Path, content: str) -> Iterator[str]:
    file = folder / "payments.jsonl"
    file.write_text(content, encoding="utf-8")
    yield str(file)


def test_the_table_shows_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    """A user who writes a test against the simulator starts from this table."""
    assert _run("scripts") == 0
    excerpt = capsys.readouterr().out
    assert all(f"9{number:02d}" in excerpt for number in SCRIPTS if number)


def test_nothing_to_submit_is_reported_and_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe that broke upstream must not look like a good run."""
    monkeypatch.delenv("EMP_API_PASSWORD", raising=False)
    assert _run("send") == 2
    assert "EMP_API_PASSWORD" in capsys.readouterr().err
    monkeypatch.setenv("EMP_API_PASSWORD", "x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert _run() == 2  # without a word of its own it is "send"
    assert "seed" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["root:x:0:0", '{"transaction_id": 7}', "\x7fELF\udcff", '{"a":'])
def test_a_file_of_something_else_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    """The error for a wrong file must name the option, without a traceback."""
    monkeypatch.setenv("EMP_API_PASSWORD", "x")
    file = tmp_path / "file"
    file.write_text(content, errors="surrogateescape")
    for option, words in (("--payments", "send"), ("--setup", "serve")):
        with pytest.raises(InvalidRequest, match=f"{option}:? .*(?:not a payment|not a valid configuration)"):
            _run(words, option, str(file))
        with pytest.raises(InvalidRequest, match=f"{option}:? .*cannot be read"):
            _run(words, option, str(tmp_path / "nowhere"))


def test_a_port_that_is_taken_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server itself would say so in a traceback."""
    monkeypatch.setattr(gateway, "serve", lambda *_, **__: pytest.fail("served"))
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InvalidRequest, match=r"in use.*choose another"),
    ):
        _run("serve", "--port", str(taken.getsockname()[1]))


def test_a_receiver_that_is_not_there_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Scripts in somebody's CI go by the exit code."""
    monkeypatch.setenv("EMP_API_PASSWORD", "first, second")
    with _file(tmp_path, LINE % 7) as payments:
        url = f"http://127.0.0.1:{free_port()}/"
        code = _run("send", "--payments", payments, "--url", url, "--peaceful", "--retry-interval-s", "0.001")
    assert code == 1
    excerpt = capsys.readouterr()
    assert "0 acknowledged" in excerpt.out
    assert "last response none" in excerpt.err


def test_payments_are_read_and_foreign_fields_passed_over() -> None:
    """`seed` may print more one day; the simulator must go on reading it."""
    assert gateway.read_payments([LINE % 7, "", " \n"]) == [Payment("t-1", f"{7:032x}", 100, "EUR")]
    with pytest.raises(msgspec.DecodeError):
        gateway.read_payments(['{"transaction_id": 7}'])


def test_the_set_up_comes_from_options_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same variables as the system under test, or the two would not find together."""
    monkeypatch.setenv("EMP_API_LOGIN", "me")
    monkeypatch.setenv("EMP_API_PASSWORD", "new, old")
    monkeypatch.setenv("EMP_TERMINAL_TOKEN", "a, b")
    served = list[tuple[Setup, str, int]]()
    monkeypatch.setattr(gateway, "serve", lambda setup, *, host, port: served.append((setup, host, port)))
    assert (
        _run(
            "serve", "--port", "9123", "--hash", "sha512", "--payment-histories", "--notify-url", "http://x/"
        )
        == 0
    )
    ((setup, host, port),) = served
    assert (setup.login, setup.passwords, setup.terminals) == ("me", ("new", "old"), ("a", "b"))
    assert (host, port) == ("127.0.0.1", 9123)
    assert (setup.algorithm, setup.notify_url, setup.payment_histories is not None) == (
        "sha512",
        "http://x/",
        True,
    )
    assert "old" not in repr(setup)
