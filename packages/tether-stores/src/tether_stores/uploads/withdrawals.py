"""Withdrawn uploads; the queries are in `uploads/withdrawals.sql`, which describes the locks against orders."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.billing import run as billing_run
from tether_core.uploads import upload
from tether_core.uploads.withdrawal import Submissions, require_withdrawable

from tether_stores.billing import billing_runs
from tether_stores.database_epoch import lost_history
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.recurring import changes
from tether_stores.rows import fetch_one

__all__ = ["Withdrawal", "Withdrawn", "by_id", "require", "withdraw"]

_SQL: Final = load("uploads/withdrawals")
# More submissions than this are not counted: one would do.
_COUNTED_MAX: Final = 1_000


class Withdrawal(msgspec.Struct, frozen=True):
    """
    Who withdrew an upload.

    Attributes:
        at: When.
        by: Who: the name of an API key, or who ran the command.
        reason: Why.
    """

    at: datetime
    by: str
    reason: str


class Withdrawn(msgspec.Struct, frozen=True):
    """
    What a withdrawal did.

    Attributes:
        is_new: Whether the upload was not withdrawn before.
        cancelled: Its runs that were not over and are cancelled now.
    """

    is_new: bool
    cancelled: tuple[int, ...] = ()


async def withdraw(
    conn: Connection,
    upload_id: int,
    *,
    withdrawn_by: str,
    reason: str,
    now: datetime,
    epoch_holds: bool = True,
) -> Withdrawn | None:
    """
    Withdraw an upload, and cancel its runs; one that is withdrawn already stays as it is.

    Args:
        conn: Inside a transaction of its own.
        upload_id: Which.
        withdrawn_by: Who wants it.
        reason: Why.
        epoch_holds: Whether this process has not noticed that the database went back (`tether_stores.database_epoch.watch.Watch`).

    Returns:
        What was done, or `None` where there is no such upload.

    Raises:
        NotWithdrawable: when anything of it was submitted, or may have been.
    """
    values = {"upload_id": upload_id, "limit": _COUNTED_MAX + 1}
    held = await (await conn.execute(_SQL["hold"], values)).fetchone()
    if held is None:
        return None
    state, dry_run = held
    if state == "withdrawn":
        return Withdrawn(is_new=False)
    run_ids = [run_id for (run_id,) in await (await conn.execute(_SQL["runs"], values)).fetchall()]
    await require(conn, upload_id, epoch_holds=epoch_holds or not run_ids)
    cancelled = [run_id for run_id in run_ids if await _cancel(conn, run_id, now=now)]
    if dry_run:
        await conn.execute(_SQL["forget_rows"], values)
    await conn.execute(_SQL["forget_checks"], values)
    await changes.withdraw_notices_of_upload(conn, upload_id, now=now)
    await conn.execute(
        _SQL["withdraw"],
        {
            **values,
            "state": upload.step(state, "withdrawn"),
            "withdrawn_by": withdrawn_by,
            "reason": reason,
            "now": now,
        },
    )
    return Withdrawn(is_new=True, cancelled=tuple(cancelled))


async def require(conn: Connection, upload_id: int, *, epoch_holds: bool = True) -> None:
    """
    Refuse the withdrawal of an upload of which anything was submitted, or may have been; it changes nothing.

    Args:
        epoch_holds: Whether this process has not noticed that the database went back.

    Raises:
        NotWithdrawable: when it may not be withdrawn.
    """
    submissions = await _submissions(conn, {"upload_id": upload_id, "limit": _COUNTED_MAX + 1})
    if not epoch_holds:
        submissions = msgspec.structs.replace(submissions, reviewing=True)
    require_withdrawable(upload_id, submissions)


async def _submissions(conn: Connection, values: dict[str, int]) -> Submissions:
    row = await (await conn.execute(_SQL["submissions"], values)).fetchone()
    assert row is not None
    submitted, uncertain = row
    # After the database went back, a debit that looks ready may have been submitted by the lost history.
    epoch = await lost_history.current(conn)
    return Submissions(
        submitted=min(submitted, _COUNTED_MAX),
        uncertain=min(uncertain, _COUNTED_MAX),
        reviewing=epoch is not None and epoch.reviewed_at is None,
        at_least=submitted + uncertain > _COUNTED_MAX,
    )


async def _cancel(conn: Connection, run_id: int, *, now: datetime) -> bool:
    run = await billing_runs.hold(conn, run_id)
    if run is None or run.finished_at is not None:
        return False
    state = billing_run.step(run.state, "cancelled", paused_from=run.paused_from)
    after = msgspec.structs.replace(run, state=state, pause_reason=None, paused_from=None, finished_at=now)
    await billing_runs.change(conn, after, now=now)
    return True


async def by_id(conn: Connection, upload_id: int) -> Withdrawal | None:
    """Who withdrew an upload, or `None` where nobody has."""
    return await fetch_one(conn, _SQL["by_id"], {"upload_id": upload_id}, into=Withdrawal)
