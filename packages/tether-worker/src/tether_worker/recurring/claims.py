"""What is checked of due items just before their debits are submitted: plan, schedule, mandate, and the request."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.recurring import due_item, mandate, series
from tether_core.recurring.schedule import COMPLETED
from tether_core.recurring.series import First, Request
from tether_core.target_calendar import bank_day
from tether_stores.billing.billing_runs import Run
from tether_stores.payments.submissions import LockedDebit
from tether_stores.postgres import Connection
from tether_stores.recurring import changes, collection_plans, due_items, mandates
from tether_stores.recurring.due_items import ClaimedDueItem

__all__ = [
    "DEFERRING",
    "MISSED",
    "ScheduledClaim",
    "record_excluded",
    "record_missed",
    "record_requests",
    "scheduled",
]

# What keeps a debit of a schedule away until a person or time removes it.
DEFERRING: Final = frozenset({"schedule_paused", "series_open"})
# Why a debit is not submitted that waited for longer than its plan allows.
MISSED: Final = "due_date_missed"


class ScheduledClaim(msgspec.Struct, frozen=True):
    """
    What is known of the due items of some debits, by debtor.

    Attributes:
        items: The due items with their mandates.
        stopped: Why a debit is not submitted now.
        requests: By which request it is submitted.
    """

    items: dict[int, ClaimedDueItem]
    stopped: dict[int, str]
    requests: dict[int, Request]

    @property
    def amounts(self) -> dict[int, int]:
        """What the debtors owe."""
        return {debtor_id: item.amount_minor for debtor_id, item in self.items.items()}


async def scheduled(
    conn: Connection, run: Run, rows: Sequence[LockedDebit], *, now: datetime
) -> ScheduledClaim | None:
    """
    Check the due items of debits that are about to be submitted, and keep plan, schedules and mandates from being changed.

    Args:
        conn: The transaction that claims the debits.
        run: Their run.
        rows: The debits, one a debtor.

    Returns:
        `None` for a run that a person ordered.
    """
    if run.collection_plan_id is None:
        return None
    plan = await collection_plans.share(conn, run.collection_plan_id)
    assert plan is not None
    items = await due_items.of_claim(conn, run.id, [row.debtor_id for row in rows])
    late = {
        row.debtor_id
        for row in rows
        if row.submission.is_untouched
        and due_item.is_late(
            made_on=bank_day(row.made_at),
            today=bank_day(now),
            missed_after_days=plan.options.missed_after_days,
        )
    }
    firsts = dict[int, list[First]]()
    if plan.options.recurring_requests:
        firsts = await due_items.series(
            conn,
            [item.mandate_id for item in items.values()],
            without=[item.id for item in items.values()],
        )
    stopped, requests = dict[int, str](), dict[int, Request]()
    begun = set[int]()
    for debtor_id, item in items.items():
        verdict = mandate.verdict(item.mandate, on=bank_day(now), again=True)
        request = series.choose(firsts.get(item.mandate_id, ()), uses_series=plan.options.recurring_requests)
        # A schedule whose last due item is ordered is complete; that debit is still submitted.
        if item.schedule_state == "ended" and item.schedule_reason != COMPLETED:
            stopped[debtor_id] = "schedule_ended"
        elif "paused" in {plan.state, item.schedule_state}:
            stopped[debtor_id] = "schedule_paused"
        elif verdict is not None:
            stopped[debtor_id] = verdict.code
        elif debtor_id in late:
            stopped[debtor_id] = MISSED
        elif request is None or (request.kind == "first" and item.mandate_id in begun):
            stopped[debtor_id] = "series_open"
        else:
            requests[debtor_id] = request
            if request.kind == "first":
                begun.add(item.mandate_id)
    return ScheduledClaim(items, stopped, requests)


async def record_requests(
    conn: Connection,
    of_schedules: ScheduledClaim | None,
    claimed: Sequence[tuple[int, Request]],
    *,
    now: datetime,
) -> None:
    """
    Write by which requests claimed debits are submitted, and that their mandates are used, inside the transaction that claims them.

    Args:
        of_schedules: What is known of their due items; `None` for a run that a person ordered.
        claimed: Debtor and request of each.
    """
    if of_schedules is not None:
        requests = [(of_schedules.items[debtor_id].id, request.kind) for debtor_id, request in claimed]
        await due_items.set_requests(conn, requests, now=now)
        used = {of_schedules.items[debtor_id].mandate_id for debtor_id, _ in claimed}
        await mandates.use(conn, sorted(used), used_on=bank_day(now), now=now)


async def record_excluded(
    conn: Connection, of_schedules: ScheduledClaim | None, attempt_ids: Sequence[int], *, now: datetime
) -> None:
    """
    Write that debits without any call are no uses of their mandates, inside the transaction that excludes the debits.

    Args:
        of_schedules: What is known of the due items; `None` for a run that a person ordered.
    """
    if of_schedules is not None:
        await mandates.unorder(conn, attempt_ids, now=now)


async def record_missed(
    conn: Connection, of_schedules: ScheduledClaim | None, debtor_ids: Collection[int], *, now: datetime
) -> None:
    """
    Write that due items were missed whose debits came too late, inside the transaction that excludes these.

    Args:
        of_schedules: What is known of the due items; `None` for a run that a person ordered.
        debtor_ids: The debtors of the excluded debits, without retries. The item of a schedule that has ended stays as it is: nobody could
            recover it, and a run that a person orders can bill its debtor.
    """
    if of_schedules is not None:
        items = [of_schedules.items[debtor_id] for debtor_id in debtor_ids]
        missed = [item.id for item in items if item.schedule_state != "ended"]
        await changes.miss_ordered(conn, missed, reason=MISSED, now=now)
