"""The present moment by Postgres' clock, against a real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.errors import StoreUnreachable
from tether_stores.clock import SharedClock
from tether_stores.postgres import open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services import Services

HOUR_S = 3600.0
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


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


async def test_a_clock_that_was_never_compared_gives_no_moment() -> None:
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
        await eventually(clock, what="a moment", despite=(StoreUnreachable,))
        assert clock.ahead_s == pytest.approx(HOUR_S, abs=5)


def test_a_slow_answer_does_not_move_the_clock() -> None:
    """A Postgres that was frozen for four seconds says nothing about anybody's clock."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON, asked_at=NOON, heard_at=NOON)
    clock.compared(NOON + timedelta(seconds=4), asked_at=NOON, heard_at=NOON + timedelta(seconds=4))
    assert clock() == NOON


def test_a_slow_answer_is_not_believed_although_it_is_the_first() -> None:
    """A node that starts while Postgres is frozen would be seconds off, and take leases of others for over."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON + timedelta(seconds=4), asked_at=NOON, heard_at=NOON + timedelta(seconds=4))
    with pytest.raises(StoreUnreachable):
        clock()
    clock.compared(NOON, asked_at=NOON, heard_at=NOON)
    assert clock() == NOON


def test_a_clock_that_is_set_right_is_believed_again() -> None:
    """Whoever mends a machine's clock must not have to start everything again."""
    clock = SharedClock(lambda: NOON)
    clock.compared(NOON - timedelta(hours=1), asked_at=NOON, heard_at=NOON)
    assert clock() == NOON - timedelta(hours=1)
    clock.compared(NOON, asked_at=NOON, heard_at=NOON)
    assert clock() == NOON
