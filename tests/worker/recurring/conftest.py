"""Debtors, collection plans and their schedules in this test's own database."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.recurring.collection_plan import PlanOptions
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import made_up_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.postgres import Pool, transaction
from tether_stores.recurring import collection_plans, enrolment, schedules
from tether_worker.recurring.collection import order_due
from tether_worker.recurring.due_items import make_due, recover_missed

from tests.support.clock import Clock

if TYPE_CHECKING:
    from tether_stores.postgres import Connection

# A Monday, and no holiday near it.
START = datetime(2026, 6, 1, 9, tzinfo=UTC)


class Series:
    """A collection plan with its debtors, and a clock that a test moves."""

    def __init__(self, database_url: str, pool: Pool, conn: Connection) -> None:
        self.database_url, self.pool, self.conn = database_url, pool, conn
        self.clock = Clock(START)
        self.plan_id = 0
        self.upload_id = 0
        self.debtors: list[int] = []

    @property
    def today(self) -> date:
        return self.clock.now.date()

    async def begin(
        self,
        *,
        debtors: int = 1,
        first_due_on: date | None = None,
        last_due_on: date | None = None,
        script: int | None = None,
        **options: Any,
    ) -> list[int]:
        """Add a plan and debtors with a schedule each; gives the schedules."""
        self.upload_id, self.debtors = seed_upload(
            self.database_url,
            [
                Owed(
                    made_up_iban(random.Random(number)) if script is None else scripted_iban(script),
                    amount_minor=1000 + number,
                )
                for number in range(debtors)
            ],
            now=self.clock.now,
        )
        async with transaction(self.pool) as conn:
            plan_id = await collection_plans.add(
                conn,
                name=f"plan {self.upload_id}",
                account="default",
                options=PlanOptions(**({"notice_days": None} | options)),
                created_by="tests",
                now=self.clock.now,
            )
            assert plan_id is not None
            self.plan_id = plan_id
            plan = await collection_plans.by_id(conn, plan_id)
            assert plan is not None
            result = await enrolment.enrol(
                conn,
                await schedules.applicants(conn, self.upload_id, after=0, limit=1_000),
                plan,
                first_due_on=first_due_on or self.today,
                last_due_on=last_due_on,
                signed_on=date(2026, 1, 5),
                created_by="tests",
                now=self.clock.now,
            )
        return [row.schedule_id for row in result if row.schedule_id is not None]

    async def tick(self) -> int:
        """Let the clock make what is due, recover what was missed, and order; gives the debits made."""
        while await make_due(self.pool, now=self.clock.now, limit=2):
            pass
        await recover_missed(self.pool, now=self.clock.now)
        return await order_due(self.pool, now=self.clock.now)

    async def pass_days(self, days: int) -> int:
        """Let days pass, one after the other; gives the debits made."""
        made = 0
        for _ in range(days):
            self.clock.now += timedelta(days=1)
            made += await self.tick()
        return made

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return await (await self.conn.execute(query.encode())).fetchall()

    async def items(self) -> list[tuple[Any, ...]]:
        """Due item, state and reason of all, by schedule."""
        return await self.rows("select due_item, state, reason from due_items order by schedule_id, due_on")


@pytest.fixture
def series(database_url: str, pool: Pool, conn: Connection) -> Series:
    """A plan without debtors."""
    return Series(database_url, pool, conn)
