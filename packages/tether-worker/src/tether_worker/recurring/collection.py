"""
Order due items: make the debits of the due items whose day has come.

The items of a plan, an upload and a due item are ordered together, under the plan's lock, into one run. Each is judged as a billing run judges
its debtors; a verdict ends or postpones it. The run submits its debits as any other run does, with all pauses, limits and retries.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.billing import dual_control
from tether_core.billing import run as billing_run
from tether_core.billing.planning import Choice, Totals, plan
from tether_core.errors import Contradicted
from tether_core.events import DueItemStatusChanged, Event
from tether_core.recurring import due_item, mandate
from tether_core.recurring.due_item import DueItemState
from tether_core.target_calendar import add_target_days, bank_day, is_open
from tether_stores import events
from tether_stores import fingerprint_key as key_store
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Run
from tether_stores.billing.candidates import Owing, load_owing
from tether_stores.payments import billing_run_counts, submissions
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.recurring import (
    changes,
    collection_plans,
    due_items,
    mandates,
    schedules,
)
from tether_stores.recurring.collection_plans import CollectionPlan
from tether_stores.recurring.due_items import DueItemGroup, WaitingDueItem
from tether_stores.telemetry import logger

from tether_worker.billing.runs import new_try
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.lost_history import inquire_first

__all__ = ["order_due", "order_due_items", "order_group"]

_CHUNK: Final = 1_000
_GROUPS_MAX: Final = 200
# Chunks of one group in one tick; the next tick follows.
_CHUNKS_MAX: Final = 20

_log = logger("recurring")


def order_due_items(
    pool: Pool,
    *,
    clock: Callable[[], datetime],
    fingerprint_key: bytes | None = None,
    dual_control_minor: int = 0,
    is_day_known: Callable[[], bool] = lambda: True,
) -> PeriodicTask:
    """
    Make the debits of due items whose day has come.

    Args:
        is_day_known: Whether the clocks agree on the day; while they do not, nothing is ordered.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`; `None`, where no worker runs, leaves it unchecked.
        dual_control_minor: `TETHER_DUAL_CONTROL_MINOR`.
    """

    async def tick() -> None:
        if not is_day_known():
            return  # the making of due items has reported it
        await order_due(
            pool, now=clock(), fingerprint_key=fingerprint_key, dual_control_minor=dual_control_minor
        )

    return PeriodicTask("order_due_items", 20, tick)


async def order_due(
    pool: Pool, *, now: datetime, fingerprint_key: bytes | None = None, dual_control_minor: int = 0
) -> int:
    """
    Order all due items whose day has come; none on a day on which banks are closed.

    Args:
        fingerprint_key: `TETHER_FINGERPRINT_KEY`; `None`, where no worker runs, leaves it unchecked.
        dual_control_minor: Above this amount of a plan and day its runs wait for a second person; 0 for never.

    Returns:
        How many debits were made.

    Raises:
        Unavailable: when Postgres is away; each group was ordered as a whole or not at all.
        FingerprintKeyRefused: when the key is not the database's; nothing was ordered.
    """
    today = bank_day(now)
    if not is_open(today):
        return 0
    async with connection(pool) as conn:
        if fingerprint_key is not None:
            await key_store.require(conn, fingerprint_key, now=now)
        groups = await due_items.groups(conn, today=today, limit=_GROUPS_MAX)
    made = 0
    for group in groups:
        for _ in range(_CHUNKS_MAX):
            looked, debits = await order_group(pool, group, now=now, dual_control_minor=dual_control_minor)
            made += debits
            if looked < _CHUNK:
                break
    return made


async def order_group(
    pool: Pool, group: DueItemGroup, *, now: datetime, dual_control_minor: int = 0
) -> tuple[int, int]:
    """
    Order due items of one plan, upload and name.

    Args:
        dual_control_minor: As of `order_due`.

    Returns:
        How many items were looked at, and how many debits were made.
    """
    today = bank_day(now)
    async with transaction(pool) as conn:
        await collection_plans.lock(conn, group.collection_plan_id)
        of_plan = await collection_plans.share(conn, group.collection_plan_id)
        if of_plan is None or of_plan.state != "active":
            return 0, 0
        items = await due_items.lock_waiting(conn, group, today=today, limit=_CHUNK)
        if not items:
            return 0, 0
        order = _Order(conn, of_plan, group, now, dual_control_minor)
        left = await order.without_missed(items)
        left = await order.without_mandate(left)
        debits = await order.collect(left)
        await order.write(items)
    if debits or order.skipped or order.missed:
        _log.info(
            "due items ordered",
            collection_plan_id=of_plan.id,
            due_item=group.due_item,
            debits=debits,
            skipped=len(order.skipped),
            postponed=len(order.postponed),
            missed=len(order.missed),
        )
    return len(items), debits


class _Order:
    """The items of one group in one transaction: what becomes of each."""

    def __init__(
        self,
        conn: Connection,
        of_plan: CollectionPlan,
        group: DueItemGroup,
        now: datetime,
        dual_control_minor: int,
    ) -> None:
        self.conn, self.plan, self.group, self.now = conn, of_plan, group, now
        self.dual_control_minor = dual_control_minor
        self.today = bank_day(now)
        self.skipped: dict[int, str] = {}
        self.postponed: dict[int, str] = {}
        self.missed: list[int] = []
        self.ordered: dict[int, WaitingDueItem] = {}

    async def without_missed(self, items: Sequence[WaitingDueItem]) -> list[WaitingDueItem]:
        """The items without those that waited for too long, or that a later item of their schedule replaces."""
        waiting = await due_items.waiting_of(
            self.conn, [item.schedule_id for item in items], today=self.today
        )
        ordered = set[int]()
        for item in items:
            chosen, missed = due_item.choose(
                waiting.get(item.schedule_id, ()),
                today=self.today,
                missed_after_days=self.plan.options.missed_after_days,
            )
            if item.id == chosen:
                ordered.add(item.id)
            elif item.id in missed:
                self.missed.append(item.id)
        return [item for item in items if item.id in ordered]

    async def without_mandate(self, items: Sequence[WaitingDueItem]) -> list[WaitingDueItem]:
        """The items whose mandates may be used; the schedules of the others end, or are paused."""
        left, ending, pausing = [], dict[str, list[int]](), dict[str, list[int]]()
        for item in items:
            verdict = mandate.verdict(item.mandate, on=self.today)
            if verdict is None:
                left.append(item)
                continue
            self.skipped[item.id] = verdict.code
            following = ending if verdict.code in due_item.ENDING else pausing
            following.setdefault(verdict.code, []).append(item.schedule_id)
        for cause, following in (("ended", ending), ("paused", pausing)):
            for code, ids in following.items():
                held = [row for row in [await schedules.hold(self.conn, row_id) for row_id in ids] if row]
                await changes.change_schedules(
                    self.conn,
                    held,
                    "ended" if cause == "ended" else "paused",
                    reason=code,
                    now=self.now,
                    spared=self.skipped,
                )
        return left

    async def collect(self, items: Sequence[WaitingDueItem]) -> int:
        """Judge items, and make the debits of those that may be billed; returns how many."""
        if not items:
            return 0
        # Held: a withdrawal that comes meanwhile would see no run to cancel.
        state = await billing_runs.hold_upload(self.conn, self.group.upload_id)
        if state is None or state[0] == "withdrawn":
            self.skipped |= {item.id: "upload_withdrawn" for item in items}
            return 0
        by_debtor = {item.debtor_id: item for item in items}
        owing = await load_owing(
            self.conn,
            due_item=self.group.due_item,
            now=self.now,
            limit=len(items),
            ids=list(by_debtor),
            amounts={item.debtor_id: item.amount_minor for item in items},
            with_notices=self.plan.options.notice_required,
        )
        count, amount_minor = await due_items.ordered_on(self.conn, self.plan.id, day_on=self.today)
        decided = plan(
            [debtor.candidate for debtor in owing],
            options=self.plan.options.of_run(self.group.due_item),
            so_far=Totals(count, amount_minor),
        )
        billed = list[Owing]()
        for debtor, choice in zip(owing, decided.choices, strict=True):
            if choice.verdict.billable:
                billed.append(debtor)
            else:
                self._kept_away(by_debtor[debtor.candidate.debtor_id], choice)
        self.skipped |= {
            item.id: "no_debtor"
            for item in items
            if item.debtor_id not in {debtor.candidate.debtor_id for debtor in owing}
        }
        return await self._bill(billed, by_debtor) if billed else 0

    def _kept_away(self, item: WaitingDueItem, choice: Choice) -> None:
        code = choice.verdict.code
        after = due_item.after_verdict(code)
        if after == "skip":
            self.skipped[item.id] = code
        elif after == "postpone":
            self.postponed[item.id] = code

    async def _bill(self, billed: Sequence[Owing], by_debtor: dict[int, WaitingDueItem]) -> int:
        try:
            run = await self._run()
        except Contradicted:
            self.skipped |= {by_debtor[debtor.candidate.debtor_id].id: "run_cancelled" for debtor in billed}
            return 0
        made = await submissions.add(
            self.conn,
            [new_try(debtor, due_item=self.group.due_item) for debtor in billed],
            run_id=run.id,
            account=run.account,
            due_item=self.group.due_item,
            now=self.now,
            is_scheduled=True,
        )
        debtor_ids = [debtor_id for debtor_id, _ in made]
        await inquire_first(self.conn, run_id=run.id, debtor_ids=debtor_ids, now=self.now)
        await billing_runs.change(
            self.conn,
            msgspec.structs.replace(
                await self._under_dual_control(run, added_minor=sum(amount for _, amount in made)),
                planned_to=max([run.planned_to, *debtor_ids]),
                planned_count=run.planned_count + len(made),
                planned_amount_minor=run.planned_amount_minor + sum(amount for _, amount in made),
            ),
            now=self.now,
        )
        self.ordered = {by_debtor[debtor_id].id: by_debtor[debtor_id] for debtor_id in debtor_ids}
        await due_items.order(
            self.conn,
            [
                (item.id, mandate.sequence(item.mandate, is_last=item.is_last))
                for item in self.ordered.values()
            ],
            run_id=run.id,
            day_on=self.today,
            now=self.now,
        )
        await mandates.order(self.conn, [item.mandate_id for item in self.ordered.values()], now=self.now)
        # Whose attempt exists already was collected through another order.
        self.skipped |= {
            item.id: "under_way"
            for debtor in billed
            if (item := by_debtor[debtor.candidate.debtor_id]).id not in self.ordered
        }
        return len(made)

    async def _under_dual_control(self, run: Run, *, added_minor: int) -> Run:
        """The run, paused until a second person releases it where the plan orders too much on this day."""
        limit_minor = self.dual_control_minor
        if not limit_minor or not added_minor:
            return run
        before_minor = await due_items.unreleased_on(
            self.conn, self.plan.id, day_on=self.today, run_id=run.id
        )
        reason = dual_control.pause_reason(before_minor + added_minor, limit_minor=limit_minor)
        if reason is None:
            return run
        if run.state != "paused":
            run = msgspec.structs.replace(
                run, state=billing_run.step(run.state, "paused"), paused_from=run.state, pause_reason=reason
            )
        elif run.pause_reason == dual_control.pause_reason(before_minor, limit_minor=limit_minor):
            run = msgspec.structs.replace(run, pause_reason=reason)
        # A release was for the debits that the run had then.
        return msgspec.structs.replace(run, awaits_release=True, released_by=None)

    async def _run(self) -> Run:
        """The group's run, locked, in a state in which it takes debits."""
        run = await billing_runs.of_plan(
            self.conn, self.plan.id, upload_id=self.group.upload_id, due_item=self.group.due_item
        )
        if run is not None:
            state = billing_run.step(run.state, "tried again")
            return msgspec.structs.replace(run, state=state, finished_at=None)
        run_id = await billing_runs.add(
            self.conn,
            upload_id=self.group.upload_id,
            account=self.plan.account,
            options=self.plan.options.of_run(self.group.due_item),
            created_by=f"collection plan {self.plan.id}",
            now=self.now,
            collection_plan_id=self.plan.id,
        )
        await billing_run_counts.begin(self.conn, run_id)
        run = await billing_runs.hold(self.conn, run_id)
        assert run is not None
        return msgspec.structs.replace(run, state=billing_run.step(run.state, "planned"))

    async def write(self, items: Sequence[WaitingDueItem]) -> None:
        """Write what became of the items, with the events, and end schedules that are complete."""
        await due_items.skip(self.conn, list(self.skipped.items()), now=self.now)
        await due_items.postpone(
            self.conn,
            list(self.postponed.items()),
            collect_on=add_target_days(self.today, 1),
            now=self.now,
        )
        await due_items.miss(self.conn, self.missed, now=self.now)
        ended = [*self.skipped, *self.missed]
        await changes.withdraw_notices(self.conn, ended, now=self.now)
        facts: list[Event] = []
        for item in items:
            after: DueItemState | None = None
            if item.id in self.ordered:
                after = due_item.step("waiting", "ordered")
            elif item.id in self.skipped:
                after = due_item.step("waiting", "excluded")
            elif item.id in self.missed:
                after = due_item.step("waiting", "missed")
            if after is not None:
                facts.append(
                    DueItemStatusChanged(
                        item.id,
                        item.schedule_id,
                        item.debtor_id,
                        self.group.due_item,
                        "waiting",
                        after,
                        self.skipped.get(item.id, ""),
                    )
                )
        await events.append(self.conn, [(None, fact) for fact in facts], now=self.now)
        await changes.complete_schedules(self.conn, [item.schedule_id for item in items], now=self.now)
