"""After a return: another try is planned once, where the reason allows it, and never beyond a day's room."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.target_calendar import is_open
from tether_worker.payments.returns import ReturnDeps, handle_returns, handling_returns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tether_stores.postgres import Connection, Pool

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)


@pytest.fixture
def deps(pool: Pool) -> ReturnDeps:
    """What following needs, at noon."""
    return ReturnDeps(pool, ApplyPolicy(), lambda: NOON, per_day_max=2)


@pytest.fixture
def returned(attempt: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """Make a debit that came back."""

    async def make(name: str, *, reason_code: str | None = "AM04", **columns: Any) -> int:
        at = NOON - timedelta(days=3)
        return await attempt(
            name,
            payment_stage=stages.APPROVED,
            at=at,
            **{"dispute_stage": stages.CHARGEBACKED, "reason_code": reason_code, **columns},
        )

    return make


async def _plans(conn: Connection) -> dict[str, tuple[date | None, str | None]]:
    cursor = await conn.execute("select transaction_id, retry_on, retry_why from billing_attempts")
    return {name: (retry_on, why) for name, retry_on, why in await cursor.fetchall()}


async def test_each_reason_has_its_consequence(
    conn: Connection, deps: ReturnDeps, returned: Callable[..., Awaitable[int]]
) -> None:
    """Debtors who objected must not be debited again; those without money may, on a bank's day."""
    await returned("poor")
    await returned("silent-bank", reason_code="MS03")
    await returned("closed", reason_code="AC04")
    await returned("objected", reason_code="MD06")
    await returned("third", due_item="once", try_number=3)
    await returned("old", created_at=NOON - timedelta(days=60))
    assert await handle_returns(deps) == 6
    plans = await _plans(conn)
    assert plans == {
        "poor": (date(2026, 4, 1), "retry"),
        "silent-bank": (date(2026, 4, 1), "retry"),
        "closed": (None, "reason"),
        "objected": (None, "reason"),
        "third": (None, "tried enough"),
        "old": (None, "too late"),
    }
    assert is_open(date(2026, 4, 1))


async def test_what_is_not_a_return_is_left_alone(
    conn: Connection, deps: ReturnDeps, returned: Callable[..., Awaitable[int]]
) -> None:
    """A debit won back, or whose reason is not known yet, must wait for what becomes of it."""
    await returned("won", dispute_stage=stages.WON_BACK)
    await returned("bare", reason_code=None)
    await returned("good", dispute_stage=stages.UNDISPUTED, reason_code=None)
    assert not await handling_returns(deps).has_pending()
    assert await handle_returns(deps) == 0
    await conn.execute("update billing_attempts set reason_code = 'AM04' where transaction_id = 'bare'")
    assert await handling_returns(deps).has_pending()
    assert await handle_returns(deps) == 1
    assert (await _plans(conn))["bare"][1] == "retry"


async def test_it_is_planned_once(
    conn: Connection, deps: ReturnDeps, returned: Callable[..., Awaitable[int]]
) -> None:
    """A plan that moves each time it is looked at would never come due."""
    await returned("poor")
    assert await handle_returns(deps) == 1
    later = ReturnDeps(deps.pool, deps.policy, lambda: NOON + timedelta(days=2))
    assert await handle_returns(later) == 0
    assert await _plans(conn) == {"poor": (date(2026, 4, 1), "retry")}


async def test_no_day_has_more_retries_than_allowed_with_any_planner(
    conn: Connection, deps: ReturnDeps, returned: Callable[..., Awaitable[int]]
) -> None:
    """A thousand returns of one bad day would otherwise all be tried on one day, by several workers at once."""
    for number in range(9):
        await returned(f"poor-{number}")
    await asyncio.gather(*(handle_returns(deps, limit=3) for _ in range(3)))
    counted = Counter(retry_on for retry_on, _ in (await _plans(conn)).values())
    assert None not in counted
    assert sorted(counted.values(), reverse=True) == [2, 2, 2, 2, 1]
