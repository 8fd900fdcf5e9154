"""What the command lines share: bounds, and one sentence instead of a traceback."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core.errors import InvalidRequest, StoreUnreachable, TetherError
from tether_sandbox.services.server import free_port
from tether_stores import command_line
from tether_stores.migrate import migrate
from tether_stores.postgres import connection, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

NOWHERE = "postgresql://tether:hunter2@127.0.0.1:1/tether"


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (command_line.whole(1), ["1", " 7 ", "99999999999"], ["0", "-1", "1.5", "x", "", "1e3"]),
        (command_line.whole(1, 65_535), ["65535"], ["65536", "-8000"]),
        (command_line.number(0, 1), ["0", "1", "0.25"], ["-0.1", "1.1", "nan", "inf", "x", ""]),
        (command_line.number(0.01), ["1e6"], ["0", "inf", "-inf", "nan"]),
        (command_line.day, ["2026-03-02"], ["2026-3-2", "02.03.2026", "yesterday", "2026-02-30"]),
    ],
)
def test_values_have_bounds(read: Callable[[str], object], good: list[str], bad: list[str]) -> None:
    """A port of 99999 or a rate of nan would be found deep inside, as a traceback, or never."""
    for text in good:
        read(text)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="must be a"):
            read(text)


def test_an_address_that_cannot_be_used_is_reported_beforehand() -> None:
    """The error for a second node on one port must name the port and the reason."""
    port = free_port()
    assert command_line.cannot_listen("127.0.0.1", port) is None
    with socket.create_server(("127.0.0.1", port)):
        assert "in use" in (command_line.cannot_listen("127.0.0.1", port) or "")
    for host in ("nowhere.invalid", "192.0.2.1", "a" * 80, "\udcff"):
        why = command_line.cannot_listen(host, port) or ""
        assert "choose another --host or --port" in why


def _raising(problem: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise problem

    return work


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (InvalidRequest("choose another", field="x"), 2),
        (StoreUnreachable("redis"), 75),
        (TetherError("anything"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_say_who_acts_next(
    problem: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts try again on 75 and give up on 2; with one code for both they would do the wrong one half the time."""
    assert command_line.done("tether-x", _raising(problem)) == code
    said = capsys.readouterr().err
    assert said == (f"tether-x: {problem}\n" if code != 130 else "")


def test_the_message_of_postgres_reaches_the_person_at_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A wrong password and a wrong host need different hands; "not reachable" alone sends people to the firewall."""

    def ask() -> int:
        import asyncio

        async def inquiry_deps() -> None:
            async with open_pool(NOWHERE, name="x", max_size=1, wait_s=0.5) as pool, connection(pool):
                pass

        asyncio.run(inquiry_deps())
        return 0

    def apply() -> int:
        from datetime import UTC, datetime

        migrate(NOWHERE, now=datetime.now(UTC))
        return 0

    for work in (ask, apply):
        assert command_line.done("tether-x", work) == 75
        said = capsys.readouterr().err
        assert said.startswith("tether-x: Postgres is not reachable")
        assert said.count("\n") == 1
        assert "Its driver says: connection" in said
        assert "port 1 failed" in said
        assert "hunter2" not in said


def test_of_other_errors_nothing_is_swallowed() -> None:
    """Internal error must show its place, or nobody can mend it."""
    with pytest.raises(psycopg.errors.SyntaxError):
        command_line.done("tether-x", _raising(psycopg.errors.SyntaxError("defect")))
