"""Bulk orders; the queries are in `bulk_orders.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
from tether_core.audit import Actor, ActorKind
from tether_core.banks import canonical
from tether_core.bulk_orders import (
    ACTS_ON,
    BulkAction,
    BulkOrderState,
    BulkRefusal,
    DeliveryFilter,
    DueItemFilter,
    EntryFilter,
    Filter,
    NotificationFilter,
    PaymentFilter,
    ScheduleFilter,
    UploadFilter,
    attempt_filters,
    filters_of,
)
from tether_core.holds import refund_hold
from tether_core.payments.filters import led_by
from tether_core.refunds import allowance, run_voids
from tether_core.uploads.withdrawal import NotWithdrawable

from tether_stores import blacklist, holds
from tether_stores.notifications import event_lists
from tether_stores.payments import attempt_lists
from tether_stores.payments.billing_attempts import attempt_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.recurring import collection_plans, due_items, schedules
from tether_stores.rows import fetch_all, fetch_one, fetch_value
from tether_stores.subscribers import deliveries
from tether_stores.uploads import uploads, withdrawals

__all__ = [
    "BulkItem",
    "BulkOrder",
    "BulkTotal",
    "JudgedRow",
    "LockedBulkOrder",
    "MatchingRows",
    "add",
    "add_items",
    "advance",
    "any_working",
    "by_id",
    "hold",
    "items",
    "judged",
    "listed",
    "matching",
    "progress",
    "stop",
    "take",
]

_SQL: Final = load("bulk_orders")
# How the rows of an action are locked, and how those are read that are judged by their state alone.
_LOCKS: Final[dict[BulkAction, LiteralString]] = {
    "replay": _SQL["lock_notifications"],
    "inquire": _SQL["lock_debits"],
    "void": _SQL["lock_debits"],
    "refund": _SQL["lock_debits"],
    "lift": _SQL["lock_entries"],
    "withdraw": _SQL["lock_uploads"],
    "pause_schedules": _SQL["lock_schedules"],
    "resume_schedules": _SQL["lock_schedules"],
    "end_schedules": _SQL["lock_schedules"],
    "recover": _SQL["lock_due_items"],
    "waive": _SQL["lock_due_items"],
    "redeliver": _SQL["lock_deliveries"],
}
_STATED: Final[dict[BulkAction, LiteralString]] = {
    "replay": _SQL["notifications"],
    "lift": _SQL["entries"],
    "pause_schedules": _SQL["schedules"],
    "resume_schedules": _SQL["schedules"],
    "end_schedules": _SQL["schedules"],
    "recover": _SQL["due_items"],
    "waive": _SQL["due_items"],
    "redeliver": _SQL["deliveries"],
}


class BulkOrder(msgspec.Struct, frozen=True):
    """
    An order to do one thing to everything that matches.

    Attributes:
        id: Our row.
        action: What is done to each row.
        filters: Which rows, as the parameters of their list.
        reason: Why, for other people.
        ordered_by: The name of the user or key that ordered it.
        state: "working", "finished", or "stopped" by a person.
        created_at: When.
        updated_at: When it last went on.
        ended_at: When it finished or was stopped, or null.
    """

    id: int
    action: BulkAction
    filters: dict[str, str]
    reason: str
    ordered_by: str
    state: BulkOrderState
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class LockedBulkOrder(msgspec.Struct, frozen=True):
    """
    An order that this transaction has locked.

    Attributes:
        order: The order.
        actor: Who ordered it, as the audit names it.
        before: Time and row behind which its next batch begins.
    """

    order: BulkOrder
    actor: Actor
    before: tuple[datetime, int]


class BulkTotal(msgspec.Struct, frozen=True):
    """
    Rows that ended alike, in one currency.

    Attributes:
        refused: Why nothing was done to them, a stable word, or null where it was done.
        currency: Of their money; null where rows have none.
        count: How many.
        amount_minor: Their money, in whole minor units.
    """

    refused: str | None
    currency: str | None
    count: int
    amount_minor: int


class BulkItem(msgspec.Struct, frozen=True):
    """
    What became of one row.

    Attributes:
        id: The notification, payment, blacklist entry, upload, schedule, due item or delivery.
        amount_minor: Its money, in whole minor units, or null.
        currency: ISO 4217, or null.
        refused: Why nothing was done, a stable word, or null where it was done.
        refused_reason: The same as a sentence.
    """

    id: int
    amount_minor: int | None
    currency: str | None
    refused: str | None
    refused_reason: str | None


class MatchingRows(msgspec.Struct, frozen=True):
    """
    Rows that match.

    Attributes:
        ids: The newest first.
        last: Time and row behind which the next ones begin; `None` at the end.
    """

    ids: list[int]
    last: tuple[datetime, int] | None


class JudgedRow(msgspec.Struct, frozen=True):
    """
    What is to be done to a row.

    Attributes:
        id: The row.
        refusal: Why nothing is done to it; `None` where it is.
        amount_minor: Its money, or `None`.
        currency: Of its money, or `None`.
    """

    id: int
    refusal: BulkRefusal | None
    amount_minor: int | None = None
    currency: str | None = None


async def hold(conn: Connection, filters: Filter) -> None:
    """
    Wait until nobody else works on what an order is about, until this transaction ends.

    Work on the due items of a plan takes the plan's lock before any row, and pausing or ending the plan waits.
    """
    if isinstance(filters, ScheduleFilter | DueItemFilter):
        await collection_plans.lock(conn, filters.collection_plan)
        await collection_plans.share(conn, filters.collection_plan)


async def matching(
    conn: Connection, filters: Filter, *, before: tuple[datetime, int] | None, limit: int, now: datetime
) -> MatchingRows:
    """
    The next rows that match, the newest first.

    Args:
        before: Time and row behind which they begin; `None` for the first ones. Only payments by the time of their creation need the time.
        limit: Rows at most; fewer do not mean that they are the last.
    """
    row = None if before is None else before[1]
    at = now if before is None else before[0]
    if isinstance(filters, PaymentFilter):
        chosen = attempt_filters(filters)
        page = await attempt_lists.page_of(conn, chosen, lead=led_by(chosen), limit=limit, before=before)
        return MatchingRows([attempt.id for attempt in page.attempts], page.last)
    rows = await _listed(conn, filters, before=row, limit=limit + 1, now=now)
    ids = [found.id for found in rows[:limit]]
    return MatchingRows(ids, (at, ids[-1]) if len(rows) > limit else None)


async def _listed(
    conn: Connection,
    filters: NotificationFilter
    | EntryFilter
    | UploadFilter
    | ScheduleFilter
    | DueItemFilter
    | DeliveryFilter,
    *,
    before: int | None,
    limit: int,
    now: datetime,
) -> Sequence[Any]:
    """The rows of a list that is paged by id alone."""
    match filters:
        case NotificationFilter(status=status, unique_id=unique_id, account=account):
            return await event_lists.listed(
                conn, limit=limit, before=before, state=status, notification_id=unique_id, account=account
            )
        case UploadFilter(status=status, filename=filename, account=account):
            return await uploads.listed(
                conn, limit=limit, before=before, state=status, filename=filename, account=account
            )
        case ScheduleFilter(collection_plan=plan_id, status=status):
            return await schedules.listed(conn, plan_id, state=status, before_id=before, limit=limit)
        case DueItemFilter(collection_plan=plan_id, status=status):
            return await due_items.listed(conn, plan_id, state=status, before_id=before, limit=limit)
        case DeliveryFilter(subscriber=subscriber_id, state=state):
            return await deliveries.listed(conn, subscriber_id, state=state, before=before, limit=limit)
        case EntryFilter():
            return await blacklist.listed(
                conn,
                limit=limit,
                before=before,
                live=None if filters.which == "all" else filters.which != "ended",
                action=filters.action,
                source=filters.source,
                reason_code=filters.reason,
                bic=None if filters.bic is None else canonical(filters.bic),
                now=now,
            )


async def judged(
    conn: Connection,
    action: BulkAction,
    ids: Sequence[int],
    *,
    now: datetime,
    accounts: frozenset[str],
    lock: bool,
) -> list[JudgedRow]:
    """
    Judge rows, in the order of their ids.

    Args:
        accounts: The gateway accounts that are enabled.
        lock: Whether the rows are locked first, so that the judgement holds until this transaction ends.
    """
    values = {"ids": list(ids)}
    if lock:
        await conn.execute(_LOCKS[action], values)
    if action in {"inquire", "void", "refund"}:
        return await _judged_debits(conn, action, ids, accounts=accounts, now=now)
    if action == "withdraw":
        return await _judged_uploads(conn, ids)
    rows = await fetch_all(conn, _STATED[action], values, into=_Stated)
    return [JudgedRow(row.id, _by_state(row.state, action), row.amount_minor, row.currency) for row in rows]


class _Stated(msgspec.Struct, frozen=True):
    """A row with its state and money."""

    id: int
    state: str
    amount_minor: int | None
    currency: str | None


def _by_state(state: str, action: BulkAction) -> BulkRefusal | None:
    if state in ACTS_ON[action]:
        return None
    return BulkRefusal("other_state", f"It is {state.replace('_', ' ')}.")


async def _judged_uploads(conn: Connection, ids: Sequence[int]) -> list[JudgedRow]:
    found = []
    for upload_id in sorted(ids):
        detail = await uploads.by_id(conn, upload_id)
        if detail is None:
            found.append(JudgedRow(upload_id, BulkRefusal("other_state", "It is deleted.")))
            continue
        refusal = None
        if detail.upload.state == "withdrawn":
            refusal = BulkRefusal("other_state", "It is withdrawn.")
        else:
            try:
                await withdrawals.require(conn, upload_id)
            except NotWithdrawable as exc:
                refusal = BulkRefusal(exc.code, str(exc))
        found.append(JudgedRow(upload_id, refusal, detail.upload.row_counts.amount_minor, "EUR"))
    return found


async def _judged_debits(
    conn: Connection, action: BulkAction, ids: Sequence[int], *, accounts: frozenset[str], now: datetime
) -> list[JudgedRow]:
    rows = await fetch_all(conn, _SQL["debits"], {"ids": list(ids)}, into=dict[str, Any], binary=True)
    reported = {} if action == "inquire" else await holds.of_refunds(conn, list(ids), now=now)
    found = []
    for row in rows:
        debit = attempt_of(row)
        hold = refund_hold(reported[debit.id]) if debit.id in reported else None
        if action == "inquire":
            refusal = None
            if not row["is_inquirable"]:
                refusal = BulkRefusal(
                    "not_submitted", "It was never submitted, so the gateway has no payment to inquire about."
                )
        elif row["ordered"] == action:
            refusal = BulkRefusal(f"{action}_ordered", f"A {action} of it is ordered already.")
        elif action == "void":
            no = run_voids.judge(
                debit,
                submitted_at=row["debited_at"],
                now=now,
                is_submitted=row["is_submitted"],
                ordered=row["ordered"],
                hold=hold,
            )
            refusal = None if no is None else BulkRefusal(no.code, no.text)
        else:
            verdict = allowance.judge("refund", debit, submitted_at=row["debited_at"], now=now)
            refusal = None
            if row["ordered"] is not None:
                refusal = BulkRefusal("void_ordered", "A void of it is ordered already.")
            elif not verdict.allowed:
                refusal = BulkRefusal(verdict.why.replace(" ", "_"), allowance.sentence("refund", verdict))
            elif hold is not None:
                refusal = BulkRefusal("held", hold.sentence)
        if refusal is None and action != "inquire" and debit.account not in accounts:
            refusal = BulkRefusal(
                "account_not_enabled",
                f"The gateway account {debit.account} is not configured, or not enabled.",
            )
        found.append(JudgedRow(debit.id, refusal, debit.amount_minor, debit.currency))
    return found


async def add(
    conn: Connection,
    action: BulkAction,
    filters: dict[str, str],
    *,
    before: tuple[datetime, int],
    reason: str,
    actor: Actor,
    now: datetime,
) -> int:
    """
    Place an order.

    Args:
        filters: As the parameters of the list; `tether_core.bulk_orders.filters_of` has taken them.
        before: Time and row behind which the order begins; what is newer is not part of it.
        reason: Why.
        actor: Who orders it.
    """
    values = {
        "action": action,
        "filters": msgspec.json.encode(filters).decode(),
        "reason": reason,
        "ordered_by": actor.label,
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "address": actor.address,
        "position_at": before[0],
        "position": before[1],
        "now": now,
    }
    return await fetch_value(conn, _SQL["add"], values, into=int)


async def by_id(conn: Connection, order_id: int) -> BulkOrder | None:
    """One order, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": order_id}, into=_order)


async def listed(
    conn: Connection, *, limit: int, before: int | None, action: str | None, state: str | None
) -> list[BulkOrder]:
    """Orders, newest first: those of an action and in a state, where these are given."""
    values = {"limit": limit, "before": before, "action": action, "state": state}
    return await fetch_all(conn, _SQL["listed"], values, into=_order)


async def any_working(conn: Connection) -> bool:
    """Whether any order is being worked on."""
    return await fetch_value(conn, _SQL["any_working"], into=bool)


async def take(conn: Connection) -> tuple[LockedBulkOrder, Filter] | None:
    """Lock an order that is being worked on until this transaction ends; `None` where other workers have all."""
    row = await fetch_one(conn, _SQL["take"], into=dict[str, Any])
    if row is None:
        return None
    before = (row.pop("position_at"), row.pop("position"))
    kind: ActorKind = row.pop("actor_kind")
    actor_id, address = row.pop("actor_id"), row.pop("address")
    order = _order(**row)
    actor = Actor(kind, order.ordered_by, id=actor_id, address=address)
    return LockedBulkOrder(order, actor, before), filters_of(order.action, order.filters)


async def advance(
    conn: Connection, order_id: int, *, before: tuple[datetime, int], finished: bool, now: datetime
) -> None:
    """Move the position of an order, or finish it."""
    values = {
        "id": order_id,
        "position": before[1],
        "position_at": before[0],
        "finished": finished,
        "now": now,
    }
    await conn.execute(_SQL["advance"], values)


async def stop(conn: Connection, order_id: int, *, now: datetime) -> bool:
    """Stop an order; whether it was being worked on."""
    return await (await conn.execute(_SQL["stop"], {"id": order_id, "now": now})).fetchone() is not None


async def add_items(conn: Connection, order_id: int, rows: Sequence[JudgedRow]) -> None:
    """Keep what became of rows."""
    await conn.execute(
        _SQL["add_items"],
        {
            "id": order_id,
            "subject_ids": [row.id for row in rows],
            "amounts_minor": [row.amount_minor for row in rows],
            "currencies": [row.currency for row in rows],
            "refuseds": [None if row.refusal is None else row.refusal.code for row in rows],
            "refused_reasons": [None if row.refusal is None else row.refusal.text for row in rows],
        },
    )


async def progress(conn: Connection, order_id: int) -> list[BulkTotal]:
    """What became of the rows of an order so far."""
    return await fetch_all(conn, _SQL["progress"], {"id": order_id}, into=BulkTotal)


async def items(conn: Connection, order_id: int, *, limit: int, before: int | None) -> list[BulkItem]:
    """Rows of an order with what became of them, the newest first."""
    values = {"id": order_id, "limit": limit, "before": before}
    return await fetch_all(conn, _SQL["items"], values, into=BulkItem)


def _order(*, filters: str, **columns: Any) -> BulkOrder:
    return BulkOrder(filters=msgspec.json.decode(filters, type=dict[str, str]), **columns)
