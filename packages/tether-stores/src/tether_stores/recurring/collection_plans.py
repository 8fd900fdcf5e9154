"""Collection plans; the queries are in `collection_plans.sql`, which describes the rows."""

from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.due_dates import ScheduleGroup
from tether_core.recurring.schedule import ScheduleState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_pair

__all__ = [
    "CollectionPlan",
    "active",
    "add",
    "by_id",
    "change",
    "counts",
    "groups",
    "hold",
    "listed",
    "lock",
    "people",
    "share",
    "waiting",
]

_SQL: Final = load("recurring/collection_plans")


class CollectionPlan(msgspec.Struct, frozen=True):
    """
    A collection plan.

    Attributes:
        id: Its row.
        name: For people.
        account: The gateway account.
        options: What its debits may do.
        state: Of its life cycle.
        state_reason: Why it is paused or ended.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    name: str
    account: str
    options: PlanOptions
    state: ScheduleState
    state_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


async def add(
    conn: Connection, *, name: str, account: str, options: PlanOptions, created_by: str, now: datetime
) -> int | None:
    """Add an active plan; returns its id, or `None` where the account has a plan of that name."""
    values = {
        "name": name,
        "account": account,
        "options": msgspec.json.encode(options),
        "created_by": created_by,
        "now": now,
    }
    row = await (await conn.execute(_SQL["add"], values)).fetchone()
    return None if row is None else int(row[0])


async def by_id(conn: Connection, plan_id: int) -> CollectionPlan | None:
    """One plan, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": plan_id}, into=_plan, binary=True)


async def hold(conn: Connection, plan_id: int) -> CollectionPlan | None:
    """Lock one plan for a change until this transaction ends; `None` for no such plan."""
    return await fetch_one(conn, _SQL["hold"], {"id": plan_id}, into=_plan, binary=True)


async def share(conn: Connection, plan_id: int) -> CollectionPlan | None:
    """Lock one plan in share mode, so that it cannot be paused until this transaction ends; `None` for no such plan."""
    return await fetch_one(conn, _SQL["share"], {"id": plan_id}, into=_plan, binary=True)


async def lock(conn: Connection, plan_id: int) -> None:
    """Wait until no other transaction works on the due items of a plan; until this transaction ends."""
    await conn.execute(_SQL["lock"], {"id": plan_id})


async def listed(
    conn: Connection, *, state: str | None, account: str | None, before_id: int | None, limit: int
) -> list[CollectionPlan]:
    """Plans, newest first, up to *limit*: those before a plan, in a state, of a gateway account, where these are given."""
    values = {"state": state, "account": account, "before_id": before_id, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], values, into=_plan, binary=True)


async def active(conn: Connection) -> list[CollectionPlan]:
    """The active plans, oldest first."""
    return await fetch_all(conn, _SQL["active"], into=_plan, binary=True)


async def change(conn: Connection, plan: CollectionPlan, *, now: datetime) -> None:
    """Write the new state or options of a plan, inside the transaction that holds it."""
    await conn.execute(
        _SQL["change"],
        {
            "id": plan.id,
            "state": plan.state,
            "state_reason": plan.state_reason,
            "options": msgspec.json.encode(plan.options),
            "now": now,
        },
    )


async def counts(conn: Connection, plan_id: int) -> tuple[int, int]:
    """How many live schedules a plan has, and their money at a due date in whole minor units."""
    return await fetch_pair(conn, _SQL["counts"], {"id": plan_id})


async def groups(conn: Connection, plan_id: int) -> list[ScheduleGroup]:
    """The active schedules of a plan by their dates, for `tether_core.recurring.due_dates.forecast`."""
    return await fetch_all(conn, _SQL["groups"], {"id": plan_id}, into=ScheduleGroup)


async def waiting(conn: Connection, plan_id: int) -> list[tuple[date, int, int]]:
    """Due items of a plan that wait to be collected: day, how many, their money in whole minor units."""
    cursor = await conn.execute(_SQL["waiting"], {"id": plan_id})
    return [(day_on, count, amount_minor) for day_on, count, amount_minor in await cursor.fetchall()]


async def people(conn: Connection, plan_id: int, *, run_id: int) -> set[str]:
    """Who answers for a run of a plan: all who added, resumed or enrolled debtors to it, or recovered due items of the run."""
    cursor = await conn.execute(_SQL["people"], {"id": plan_id, "run_id": run_id})
    return {owner for (owner,) in await cursor.fetchall()}


def _plan(*, options: bytes, **columns: Any) -> CollectionPlan:
    return CollectionPlan(options=msgspec.json.decode(options, type=PlanOptions), **columns)
