"""
More than can be done: 503 with Retry-After at once, bounded memory, no crash, and back to normal within seconds.

`TETHER_OVERLOAD_S=120` makes it the long form.
"""

from __future__ import annotations

import asyncio
import os
import time
from statistics import median
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from tether_sandbox.chaos.load import Load, accepts_all
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether_sandbox.services.program import Launch, Program

LASTS_S = float(os.environ.get("TETHER_OVERLOAD_S", "3"))
CONNECTIONS = 400
PASSWORD = "s3cret-password"
WAITING_MAX = 50
# Of a node at rest some 90 MB; what it holds for 400 connections and 306 waiting rows is a few MB more.
GROWTH_MAX_BYTES = 100 << 20
BACK_TO_NORMAL_S = 60.0
# Half the deadline of a commit, which the environment sets.
TOLD_MAX_S = 10.0


def _flood(port: int, *, seed: int) -> Load:
    return Load(port, connections=CONNECTIONS, password=PASSWORD, seed=seed)


@pytest.fixture
def port(process: Launch, environment: dict[str, str]) -> Iterator[int]:
    """Where a node answers that lets few wait."""
    number = free_port()
    program = process(
        "tether-web", "--port", str(number), environ={**environment, "TETHER_WAITING_MAX": str(WAITING_MAX)}
    )
    program.await_url(f"http://127.0.0.1:{number}/ready")
    yield number
    _is_unharmed(program)


def _is_unharmed(program: Program) -> None:
    assert program.returncode is None
    assert "internal error" not in program.stderr
    assert "Traceback" not in program.stderr


def _rss_bytes(port: int) -> int:
    """Resident memory of the process that listens there, with its parent."""
    found = [
        psutil.Process(net_connection.pid)
        for net_connection in psutil.net_connections("tcp")
        if net_connection.laddr
        and net_connection.laddr.port == port
        and net_connection.status == psutil.CONN_LISTEN
        and net_connection.pid
    ]
    return sum(process.memory_info().rss for process in found)


async def _is_normal(port: int) -> bool:
    """Whether twenty notifications, one after the other, are each taken."""
    return await accepts_all(port, password=PASSWORD)


async def test_a_store_half_as_fast_as_the_senders_means_503_and_nothing_worse(
    port: int, database_url: str
) -> None:
    """
    A node that keeps all who come falls over when the store is slow, and takes those with it who could have been served.

    The door is half closed: the inbox is locked until a thousand more were rejected, then open until a hundred more
    were let in, and so on.
    """
    before = highest = _rss_bytes(port)
    assert before
    ends = time.monotonic() + LASTS_S
    async with _flood(port, seed=1) as flood, await psycopg.AsyncConnection.connect(database_url) as conn:
        while time.monotonic() < ends:
            async with conn.transaction():
                await conn.execute("lock table webhook_events in exclusive mode")
                rejected = flood.answers[503] + 1000

                async def many_are_rejected(wanted: int = rejected) -> bool:
                    return flood.answers[503] >= wanted

                await eventually(many_are_rejected, what="a thousand 503s", timeout_s=120)
                highest = max(highest, _rss_bytes(port))
            let_in = flood.answers[200] + 100

            async def many_are_let_in(wanted: int = let_in) -> bool:
                return flood.answers[200] >= wanted

            await eventually(many_are_let_in, what="a hundred 200s", timeout_s=120)
    assert set(flood.answers) == {200, 503}
    assert flood.without_retry_after == 0
    assert flood.broken == 0
    # Far below the deadline of a commit: a request beyond the limit is refused immediately.
    assert median(flood.refused_after_s) < TOLD_MAX_S
    assert highest - before < GROWTH_MAX_BYTES
    await eventually(lambda: _is_normal(port), what="normal service", timeout_s=BACK_TO_NORMAL_S)
    with psycopg.connect(database_url) as check:
        stored = {row[0] for row in check.execute("select notification_id from webhook_events")}
    assert flood.acknowledged <= stored


async def test_more_than_the_processor_can_do_is_answered_all_the_same(port: int, database_url: str) -> None:
    """Four hundred senders without a pause are like the gateway after our outage; the node must survive it."""
    before = _rss_bytes(port)
    async with _flood(port, seed=2) as flood:
        await asyncio.sleep(LASTS_S)  # the length of the flood is what is tested
        await eventually(lambda: flood.answers[200] > 100, what="a hundred to be taken")
        highest = _rss_bytes(port)
    assert set(flood.answers) <= {200, 503}
    assert flood.answers[200] > 100
    assert flood.without_retry_after == 0
    assert flood.broken == 0
    assert highest - before < GROWTH_MAX_BYTES
    await eventually(lambda: _is_normal(port), what="normal service", timeout_s=BACK_TO_NORMAL_S)
