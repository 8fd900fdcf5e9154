"""Billing runs; the queries are in `billing/billing_runs.sql`, which describes the rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.billing import dual_control
from tether_core.billing.overrides import Override
from tether_core.billing.run import Ordered, RunState
from tether_core.billing.run_options import RunOptions

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_pair, fetch_value

__all__ = [
    "Progress",
    "Run",
    "add",
    "by_id",
    "canaries_open",
    "cancelled_unsent",
    "change",
    "hold",
    "hold_to_plan",
    "hold_upload",
    "listed",
    "live",
    "of_plan",
    "of_upload",
    "open_attempts",
    "ordered",
    "progress",
    "returns_of_account",
    "returns_of_upload",
    "share",
    "submittable",
    "to_plan",
    "unfinished",
    "unreleased_amount",
    "upload_state",
]

_SQL: Final = load("billing/billing_runs")


class Run(msgspec.Struct, frozen=True):
    """
    A billing run.

    Attributes:
        id: The row.
        upload_id: The upload whose debtors are billed.
        account: The gateway account.
        due_item: What is owed.
        state: See `tether_core.billing.run`.
        options: Limits and rules of the run.
        planned_to: The last debtor that was planned.
        planned_count: Debits planned so far.
        planned_amount_minor: Their amounts in whole minor units.
        skipped: Debtors that were not billed, by verdict.
        warning: The latest warning of the auto-pause, or `None`.
        pause_reason: Why it is paused, or `None`.
        paused_from: The state it resumes, or `None`.
        released_share: The share of returns that a person has released.
        created_by: The name of the API key that created it.
        created_at: When it was created.
        updated_at: When it last changed.
        finished_at: When its last debit was complete, or `None`.
        again: Whether the same due item was ordered again.
        overrides: The verdicts that were overridden when it was ordered.
        owner: Who answers for the order (`tether_core.billing.dual_control`).
        awaits_release: Whether it waits for a second person.
        released_by: The second person who released it, or `None`.
        collection_plan_id: The collection plan whose due items it collects; `None` for a run that a person ordered.
    """

    id: int
    upload_id: int
    account: str
    due_item: str
    state: RunState
    options: RunOptions
    planned_to: int
    planned_count: int
    planned_amount_minor: int
    skipped: dict[str, int]
    warning: str | None
    pause_reason: str | None
    paused_from: RunState | None
    released_share: float
    created_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    again: bool = False
    overrides: tuple[Override, ...] = ()
    owner: str = ""
    awaits_release: bool = False
    released_by: str | None = None
    collection_plan_id: int | None = None


class Progress(msgspec.Struct, frozen=True):
    """
    The attempts of a run in one state and submission step.

    Attributes:
        state: Their state.
        step: Their submission step; see `tether_core.payments.submission`.
        canary: Whether they are canaries.
        count: How many.
        amount_minor: Their amounts in whole minor units.
    """

    state: str
    step: str
    canary: bool
    count: int
    amount_minor: int


async def add(
    conn: Connection,
    *,
    upload_id: int,
    account: str,
    options: RunOptions,
    created_by: str,
    owner: str | None = None,
    now: datetime,
    again: bool = False,
    overrides: Sequence[Override] = (),
    collection_plan_id: int | None = None,
) -> int:
    """
    Create a run in the state "planning"; returns its id.

    Args:
        upload_id: The upload whose debtors are billed.
        options: Limits and rules of the run.
        created_by: The name of the user or key.
        owner: Who answers for it; `None` for *created_by*.
        again: Whether the same due item was ordered again.
        overrides: The verdicts that are overridden, by whom and when.
        collection_plan_id: The collection plan whose due items it collects; `None` for an order of a person.
    """
    cursor = await conn.execute(
        _SQL["add"],
        {
            "upload_id": upload_id,
            "account": account,
            "due_item": options.due_item,
            "options": msgspec.json.encode(options),
            "created_by": created_by,
            "owner": owner or created_by,
            "now": now,
            "again": again,
            "overrides": msgspec.json.encode(overrides),
            "collection_plan_id": collection_plan_id,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def hold_upload(conn: Connection, upload_id: int) -> tuple[str, bool] | None:
    """Lock an upload against other orders and withdrawals until this transaction ends; returns what `upload_state` does."""
    return await fetch_one(conn, _SQL["hold_upload"], {"upload_id": upload_id}, into=_upload_state)


async def ordered(conn: Connection, upload_id: int) -> list[Ordered]:
    """The existing runs of an upload, for `tether_core.billing.run.require_new`."""
    return await fetch_all(conn, _SQL["ordered"], {"upload_id": upload_id}, into=Ordered)


async def by_id(conn: Connection, run_id: int) -> Run | None:
    """One run, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": run_id}, into=_run, binary=True)


async def hold(conn: Connection, run_id: int) -> Run | None:
    """Lock one run for a change until this transaction ends; `None` for no such run."""
    return await fetch_one(conn, _SQL["hold"], {"id": run_id}, into=_run, binary=True)


async def of_plan(conn: Connection, plan_id: int, *, upload_id: int, due_item: str) -> Run | None:
    """Lock the run that collects a due item of a collection plan from an upload; `None` where there is none yet."""
    values = {"collection_plan_id": plan_id, "upload_id": upload_id, "due_item": due_item}
    return await fetch_one(conn, _SQL["of_plan"], values, into=_run, binary=True)


async def share(conn: Connection, run_id: int) -> Run | None:
    """Lock one run in share mode, so that it cannot be paused until this transaction ends; `None` for no such run."""
    return await fetch_one(conn, _SQL["share"], {"id": run_id}, into=_run, binary=True)


async def hold_to_plan(conn: Connection) -> Run | None:
    """Lock the run whose turn it is to be planned until this transaction ends; `None` where other workers hold all."""
    return await fetch_one(conn, _SQL["hold_to_plan"], into=_run, binary=True)


async def of_upload(conn: Connection, upload_id: int, *, limit: int = 100) -> list[Run]:
    """The runs of an upload, newest first, up to *limit*."""
    values = {"upload_id": upload_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_upload"], values, into=_run, binary=True)


async def listed(
    conn: Connection,
    *,
    state: str | None,
    upload_id: int | None,
    account: str | None,
    before_id: int | None,
    limit: int,
) -> list[Run]:
    """Runs, newest first, up to *limit*: those before a run, in a state, of an upload, of a gateway account, where these are given."""
    given = {
        "state": state,
        "upload_id": upload_id,
        "account": account,
        "before_id": before_id,
        "limit": limit,
    }
    return await fetch_all(conn, _SQL["listed"], given, into=_run, binary=True)


async def live(conn: Connection) -> list[Run]:
    """The runs that submit debits, oldest first."""
    return await fetch_all(conn, _SQL["live"], into=_run, binary=True)


async def unfinished(conn: Connection) -> list[Run]:
    """The runs that are not finished, oldest first."""
    return await fetch_all(conn, _SQL["unfinished"], into=_run, binary=True)


async def submittable(conn: Connection, *, now: datetime) -> list[tuple[int, str]]:
    """Id and account of each run that has a debit to submit now, oldest first."""
    cursor = await conn.execute(_SQL["submittable"], {"now": now})
    return [(run_id, account) for run_id, account in await cursor.fetchall()]


async def cancelled_unsent(conn: Connection) -> list[int]:
    """Cancelled runs with debits that are still scheduled for submission."""
    return [run_id for (run_id,) in await (await conn.execute(_SQL["cancelled_unsent"])).fetchall()]


async def to_plan(conn: Connection) -> bool:
    """Whether any run waits for planning."""
    return await fetch_value(conn, _SQL["to_plan"], into=bool)


async def change(conn: Connection, run: Run, *, now: datetime) -> None:
    """Write the new state of a run, inside the transaction that holds it."""
    await conn.execute(
        _SQL["change"],
        {
            "id": run.id,
            "state": run.state,
            "planned_to": run.planned_to,
            "planned_count": run.planned_count,
            "planned_amount_minor": run.planned_amount_minor,
            "skipped": msgspec.json.encode(run.skipped),
            "warning": run.warning,
            "pause_reason": run.pause_reason,
            "paused_from": run.paused_from,
            "released_share": run.released_share,
            # A run that was cancelled meanwhile waits for nobody.
            "awaits_release": run.awaits_release and run.state == "paused",
            "released_by": run.released_by,
            "finished_at": run.finished_at,
            "now": now,
        },
    )


async def unreleased_amount(conn: Connection, run: Run) -> int:
    """What the person of a run ordered of its upload or of others within a day that no second person has released, in minor units."""
    values = {"upload_id": run.upload_id, "owner": run.owner, "since": run.created_at - dual_control.SPAN}
    return await fetch_value(conn, _SQL["unreleased_amount"], values, into=int)


async def progress(conn: Connection, run_id: int) -> list[Progress]:
    """The attempts of a run by state, step and canary; combinations without attempts are excluded."""
    return await fetch_all(conn, _SQL["progress"], {"run_id": run_id}, into=Progress)


async def canaries_open(conn: Connection, run_id: int) -> bool:
    """Whether any canary of a run has no response yet."""
    return await fetch_value(conn, _SQL["canaries_open"], {"run_id": run_id}, into=bool)


async def returns_of_upload(
    conn: Connection, upload_id: int, *, excluded: Collection[str]
) -> tuple[int, int]:
    """Collected debits of an upload, and how many of them are charged back, without the *excluded* reason codes."""
    given = {"upload_id": upload_id, "excluded": sorted(excluded)}
    return await fetch_pair(conn, _SQL["returns_of_upload"], given)


async def returns_of_account(
    conn: Connection, account: str, *, since: datetime, excluded: Collection[str]
) -> tuple[int, int]:
    """Collected debits of an account since a time, and how many of them are charged back, without the *excluded* reason codes."""
    given = {"account": account, "since": since, "excluded": sorted(excluded)}
    return await fetch_pair(conn, _SQL["returns_of_account"], given)


async def open_attempts(conn: Connection, run_id: int) -> bool:
    """Whether any attempt of a run may still be submitted, is being submitted, or has an unknown outcome."""
    return await fetch_value(conn, _SQL["open_attempts"], {"run_id": run_id}, into=bool)


async def upload_state(conn: Connection, upload_id: int) -> tuple[str, bool] | None:
    """The state of an upload, and whether it is a dry run; `None` for no such upload."""
    return await fetch_one(conn, _SQL["upload_state"], {"upload_id": upload_id}, into=_upload_state)


def _upload_state(*, state: str, dry_run: bool) -> tuple[str, bool]:
    return state, dry_run


def _run(*, options: bytes, skipped: bytes, overrides: bytes, **columns: Any) -> Run:
    return Run(
        options=msgspec.json.decode(options, type=RunOptions),
        skipped=msgspec.json.decode(skipped, type=dict[str, int]),
        overrides=msgspec.json.decode(overrides, type=tuple[Override, ...]),
        **columns,
    )
