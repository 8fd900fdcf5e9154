"""Our own programs as real processes, in tests and in demos."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

import psutil  # publishes no types
import pytest
from tether_sandbox.services import server
from tether_sandbox.services.guard import ended
from tether_sandbox.services.server import DidNotStart, free_port
from tether_sandbox.services.waiting import eventually, until

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch

_PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(f"child {child.pid} {os.environ.get('COLOUR')} {os.environ.get('TETHER_API_KEYS')}", file=sys.stderr)
child.wait()
"""


def test_killing_a_program_takes_its_workers_along(process: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault test would go on being answered by workers whose machine has supposedly died."""
    monkeypatch.setenv("TETHER_API_KEYS", "of the person who runs the tests")
    program = process("python", "-c", _PARENT, environ={"COLOUR": "blue"})
    _, pid, colour, key = program.await_line("child").split()
    assert (colour, key) == ("blue", "None"), "only its own settings may reach a program"
    child = psutil.Process(int(pid))
    program.kill()
    assert program.returncode == -signal.SIGKILL
    until(lambda: ended(child), what="the child's end")


def test_a_program_is_ready_when_its_url_answers(process: Launch) -> None:
    """Tests that knock too early fail now and then, and nobody trusts them after that."""
    port = free_port()
    program = process("python", "-m", "http.server", "--bind", "127.0.0.1", str(port), environ={})
    program.await_url(f"http://127.0.0.1:{port}/")
    assert "GET /" in program.await_line("GET /")
    assert program.terminate() == -signal.SIGTERM


def test_a_program_that_fails_says_why(process: Launch) -> None:
    """Waiting the full time for a program that has long ended, without its words, wastes everybody's day."""
    program = process("python", "-c", "raise SystemExit('no setting')", environ={})
    with pytest.raises(DidNotStart, match=r"(?s)ended with code 1 before .*no setting"):
        program.await_url("http://127.0.0.1:1/")
    with pytest.raises(DidNotStart, match="no such program"):
        process("tether-nothing", environ={})


def test_a_port_is_given_to_one_process_only(process: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tests, demo and benchmarks on one machine at once, servers would answer for each other."""
    few = random.SystemRandom().randrange(20_000, 31_900)
    monkeypatch.setattr(server, "_PORTS", range(few, few + 100))
    ours = [free_port() for _ in range(30)]
    draw = (
        f"from tether_sandbox.services import server; server._PORTS = range({few}, {few + 100});"
        "print(*[server.free_port() for _ in range(30)])"
    )
    other = process("python", "-c", draw, environ={})
    assert other.wait() == 0, other.stderr
    theirs = [int(port) for port in other.stdout.split()]
    assert len({*ours, *theirs}) == 60


async def test_waiting_for_a_fact_leaves_the_loop_free() -> None:
    """A wait that blocks the event loop would keep the awaited thing itself from happening."""
    done = asyncio.Event()

    async def happen() -> None:
        done.set()

    task = asyncio.create_task(happen())
    assert await eventually(done.is_set, what="the event")
    await task
    with pytest.raises(TimeoutError, match="in vain for more; last seen: OSError"):
        await eventually(_fail, what="more", timeout_s=0.05, despite=(OSError,))
    with pytest.raises(OSError, match="not yet"):
        await eventually(_fail, what="more")


async def _fail() -> bool:
    raise OSError("not yet")
