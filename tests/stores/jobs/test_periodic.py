"""Ticks of periodic tasks: taken by one, and refunded by a worker that dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tether_stores.jobs import periodic
from tether_stores.postgres import transaction

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool


async def test_a_tick_is_taken_by_one(pool: Pool) -> None:
    """A periodic task that several do at once asks the gateway several times over."""
    done: list[int] = []

    async def node(number: int) -> None:
        async with transaction(pool) as conn:
            if await periodic.take(conn, "report", tick_at=NOON, now=NOON):
                done.append(number)

    await asyncio.gather(*(node(number) for number in range(4)))
    assert len(done) == 1


async def test_a_tick_of_a_worker_that_died_is_free_again(pool: Pool) -> None:
    """A periodic task begun and not done would be excluded until the next tick, which may be a day away."""

    async def die() -> None:
        async with transaction(pool) as conn:
            assert await periodic.take(conn, "report", tick_at=NOON, now=NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die()
    async with transaction(pool) as conn:
        assert await periodic.take(conn, "report", tick_at=NOON, now=NOON)


async def test_periodic_tasks_and_timestamps_keep_apart(conn: Connection) -> None:
    """One periodic task's tick must not use up another's."""
    assert await periodic.take(conn, "report", tick_at=NOON, now=NOON)
    assert await periodic.take(conn, "tell", tick_at=NOON, now=NOON)
    assert await periodic.take(conn, "report", tick_at=NOON + timedelta(hours=1), now=NOON)
    assert not await periodic.take(conn, "report", tick_at=NOON, now=NOON)


async def test_old_ticks_are_forgotten(conn: Connection) -> None:
    """Twenty-five rows a day add up over the years."""
    await periodic.take(conn, "report", tick_at=NOON, now=NOON)
    await periodic.take(conn, "report", tick_at=NOON - timedelta(days=100), now=NOON)
    assert await periodic.prune(conn, before=NOON - timedelta(days=90)) == 1
    assert not await periodic.take(conn, "report", tick_at=NOON, now=NOON)
