"""The current time by Postgres' clock, against a real one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.clock_steps import ClockStep
from tether_core.errors import StoreUnreachable
from tether_stores.boot_clock import BootClock, boot_clock
from tether_stores.clock import SharedClock
from tether_stores.postgres import connection, open_pool

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services import Services

HOUR_S = 3600.0


def _off(by_s: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(seconds=by_s)


@pytest.mark.parametrize("by_s", [-3600.0, 600.0, 0.0])
async def test_two_machines_agree_whatever_their_clocks_say(database_url: str, by_s: float) -> None:
    """A lease that one node writes for a minute would else be an hour to another, or over before it began."""
    clock = SharedClock(_off(by_s))
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        await clock.compare(pool)
    assert clock.ahead_s == pytest.approx(by_s, abs=5)
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=5)


async def test_a_clock_that_was_never_compared_gives_no_timestamp() -> None:
    """A worker that came up before Postgres would act by a clock that nobody has looked at."""
    clock = SharedClock(_off(0))
    async with open_pool("postgresql://127.0.0.1:1/none", name="tests", max_size=1, wait_s=0.1) as pool:
        with pytest.raises(StoreUnreachable):
            await clock.compare(pool)
    with pytest.raises(StoreUnreachable):
        clock()


async def test_a_node_may_be_there_before_its_postgres(
    database_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """It must come up all the same, and have the time as soon as Postgres is back."""
    if services.postgres:
        services.postgres.stop()
    clock = SharedClock(_off(HOUR_S))
    async with open_pool(database_url, name="tests", max_size=1, wait_s=0.2) as pool, clock.kept(pool):
        if services.postgres:
            with pytest.raises(StoreUnreachable):
                clock()
            services.postgres.start()
        await eventually(clock, what="a time", despite=(StoreUnreachable,))
        assert clock.ahead_s == pytest.approx(HOUR_S, abs=5)


def test_a_slow_answer_does_not_move_the_clock() -> None:
    """A Postgres that was frozen for four seconds says nothing about anybody's clock."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON, inquired_at=NOON, heard_at=NOON)
    clock.compared(NOON + timedelta(seconds=4), inquired_at=NOON, heard_at=NOON + timedelta(seconds=4))
    assert clock() == NOON


def test_a_slow_answer_is_not_believed_although_it_is_the_first() -> None:
    """A node that starts while Postgres is frozen would be seconds off, and take leases of others for over."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON + timedelta(seconds=4), inquired_at=NOON, heard_at=NOON + timedelta(seconds=4))
    with pytest.raises(StoreUnreachable):
        clock()
    clock.compared(NOON, inquired_at=NOON, heard_at=NOON)
    assert clock() == NOON


def test_a_clock_that_is_set_right_is_believed_again() -> None:
    """After a machine's clock is corrected no restart may be needed."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON - timedelta(hours=1), inquired_at=NOON, heard_at=NOON)
    assert clock() == NOON - timedelta(hours=1)
    clock.compared(NOON, inquired_at=NOON, heard_at=NOON)
    assert clock() == NOON


def test_the_day_is_unknown_while_two_clocks_differ_by_hours() -> None:
    """A Postgres that is set to next month for a minute would have next month's due items collected."""
    clock = SharedClock(lambda: NOON)
    assert not clock.is_day_known
    for off, is_known in ((0, True), (3_000, True), (30 * 86_400, False), (-3_600, False), (3, True)):
        clock.compared(NOON + timedelta(seconds=off), inquired_at=NOON, heard_at=NOON)
        assert clock.is_day_known == is_known, off


async def test_the_timestamp_follows_no_step_of_the_machines_clock(database_url: str) -> None:
    """Until the next comparison every lease would be over, and every wait."""
    boot_s, machine_at = [1_000.0], [NOON]
    steps: list[ClockStep] = []
    boot = BootClock("boot-1", lambda: boot_s[0])
    clock = SharedClock(lambda: machine_at[0], boot=boot, on_step=steps.append)
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        await clock.compare(pool)
        before = clock()
        machine_at[0] += timedelta(hours=1)
        assert clock() == before
        boot_s[0] += 1
        assert clock() == before + timedelta(seconds=1)
        await clock.compare(pool)
    assert [step.clock for step in steps] == ["machine"]
    assert clock.stepped_s == boot_s[0]


async def test_a_step_of_postgres_clock_is_noticed(database_url: str) -> None:
    """A failover to a machine whose clock differs looks the same, and ends every grace period as well."""
    steps: list[ClockStep] = []
    clock = SharedClock(lambda: datetime.now(UTC), boot=boot_clock(), on_step=steps.append)
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        await clock.compare(pool)
        async with connection(pool) as conn:
            await conn.execute("create schema settable")
            await conn.execute(
                "create function settable.clock_timestamp() returns timestamptz language sql volatile as"
                " $$select pg_catalog.clock_timestamp() - interval '20 minutes'$$"
            )
            await conn.execute("set search_path = settable, pg_catalog, public")
        await clock.compare(pool)
    assert [(step.clock, round(step.by_s)) for step in steps] == [("postgres", -1_200)]
    assert clock.stepped_s is not None
    assert abs(clock() - datetime.now(UTC) + timedelta(minutes=20)) < timedelta(seconds=5)


def test_all_processes_of_a_machine_share_its_boot_clock() -> None:
    """A restart would else begin every grace period anew, and a worker that is often restarted would never end one."""
    program = "from tether_stores.boot_clock import boot_clock; c = boot_clock(); print(c.name, c.seconds(), sep='|')"
    before_s = boot_clock().seconds()
    process = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    name, seconds = process.strip().split("|")
    assert name == boot_clock().name
    assert before_s < float(seconds) < boot_clock().seconds()
