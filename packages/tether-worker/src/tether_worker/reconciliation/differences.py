"""
Reconciliation differences: the review of debits that changed, and what reports and notifications find.

```text
outbox, in order ─► debits that changed ─┐
debits in order of ids, slowly ──────────┼─► facts of each ─► debit_review.review ─► open or resolve lines: one commit
debits that nobody can inquire about ────┘
```

Rules are in `tether_core.reconciliation`: `differences`, `debit_review`, `comparison`. The review follows the outbox and comes after the commit of what it looks at, so two
debits of one due item that are approved at the same time in two transactions are both visible to the second one. It
holds its position while it works: one worker reviews at a time, and another continues where a dead one stopped.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from rich.console import Console
from tether_core.emp.notification import Notification
from tether_core.emp.notification import decode as decode_notification
from tether_core.emp.responses import GatewayAnswer
from tether_core.events import (
    AttemptStatusChanged,
    DifferenceClosed,
    DifferenceOpened,
    Event,
    RefundStatusChanged,
    decode,
)
from tether_core.money import Money
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, Confirmation, Decision
from tether_core.reconciliation import comparison, debit_review
from tether_core.reconciliation.differences import BY_STATE, REVIEWED, Difference, resolved_by, sentence
from tether_core.reconciliation.report_records import ReportRecord
from tether_core.refunds.refund import Refund
from tether_stores import events, stated_outcomes
from tether_stores.events import Horizon, Tip
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.reconciliation import differences
from tether_stores.reconciliation.differences import DifferenceLine, UnresolvedDifference
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = [
    "Processed",
    "compare_refunds",
    "compare_report",
    "find_in_notifications",
    "open_lines",
    "review",
    "review_all",
    "reviewing",
    "show",
]

_ALL: Final = "all debits"
_EVENTS_MAX: Final = 1_000
_BATCHES_MAX: Final = 20
# Debits in a transaction of the walk.
_WALK_MAX: Final = 5_000
_NAMES: Final = ("attempt.status_changed", "refund.status_changed")

_log = logger("differences")


def reviewing(pool: Pool, *, clock: Callable[[], datetime], hours: float) -> Sequence[PeriodicTask]:
    """
    The review as periodic tasks: changed debits each second, all debits slowly.

    Args:
        hours: In how many hours all debits are reviewed once.

    Returns:
        The periodic tasks.
    """
    horizon = Horizon()
    reached = 0

    async def look() -> None:
        nonlocal horizon, reached
        async with connection(pool) as conn:
            tip: Tip = await events.tip(conn, after=reached)
            await differences.begin_position(conn, differences.CHANGED_DEBITS, position=tip.id, now=clock())
        if tip.id < reached:
            # The database is an earlier copy of itself: its resolution does not hold any more.
            horizon, reached = Horizon(), 0
        reached = max(reached, horizon.complete_to(tip) or 0)
        for _ in range(_BATCHES_MAX):
            if not await _review_changed(pool, up_to=reached, now=clock()):
                break
        await _review_stuck(pool, now=clock())

    async def walk() -> None:
        async with connection(pool) as conn:
            left = debit_review.walk_size(await differences.last_id(conn), hours=hours)
        while left > 0:
            limit = min(left, _WALK_MAX)
            if await review_all(pool, now=clock(), limit=limit) < limit:
                return
            left -= limit

    return PeriodicTask("review_changed_debits", 1, look), PeriodicTask("review_all_debits", 60, walk)


async def _review_changed(pool: Pool, *, up_to: int, now: datetime) -> bool:
    """Review the debits of the next events; says whether there may be more."""
    async with transaction(pool) as conn:
        after = await differences.hold_position(conn, differences.CHANGED_DEBITS)
        if after is None or after >= up_to:
            return False
        kept = await events.between(conn, after=after, up_to=up_to, limit=_EVENTS_MAX, names=_NAMES)
        is_last = len(kept) < _EVENTS_MAX
        await review(conn, {_attempt_id(decode(item.payload)) for item in kept} - {0}, now=now)
        await differences.advance(
            conn, differences.CHANGED_DEBITS, position=up_to if is_last else kept[-1].id, now=now
        )
    return not is_last


def _attempt_id(event: Event) -> int:
    return event.attempt_id if isinstance(event, AttemptStatusChanged | RefundStatusChanged) else 0


async def _review_stuck(pool: Pool, *, now: datetime) -> None:
    async with connection(pool) as conn:
        stuck = await differences.beyond_inquiries(conn, limit=_EVENTS_MAX)
        stuck += await differences.unreachable(conn, limit=_EVENTS_MAX)
    if stuck:
        async with transaction(pool) as conn:
            await review(conn, stuck, now=now)


async def review_all(pool: Pool, *, now: datetime, limit: int) -> int:
    """
    Review the next debits by id, and begin again after the last one.

    Returns:
        How many; 0 where the end was reached, or another worker is at it.
    """
    async with transaction(pool) as conn:
        await differences.begin_position(conn, _ALL, position=0, now=now)
        after = await differences.hold_position(conn, _ALL)
        if after is None:
            return 0
        ids = await differences.next_ids(conn, after=after, limit=limit)
        await review(conn, ids, now=now)
        await differences.advance(conn, _ALL, position=ids[-1] if ids else 0, now=now)
    return len(ids)


async def review(conn: Connection, attempt_ids: Iterable[int], *, now: datetime) -> None:
    """
    Review debits: open the lines their facts show, resolve those they show no more.

    Args:
        attempt_ids: The debits that changed; those that share a due item or a line with them are reviewed, too.
    """
    ids = set(attempt_ids)
    if not ids:
        return
    lines = await differences.unresolved(conn, sorted(ids))
    facts = {
        debit_facts.attempt.id: debit_facts for debit_facts in await differences.facts(conn, sorted(ids))
    }
    others = {line.attempt_id for line in lines} | {line.other_attempt_id or 0 for line in lines}
    others |= {twin for fact in facts.values() for twin in fact.collected_by}
    others -= {0, *facts}
    if others:
        facts |= {
            debit_facts.attempt.id: debit_facts
            for debit_facts in await differences.facts(conn, sorted(others))
        }
        lines = await differences.unresolved(conn, sorted(facts))
    found = [difference for fact in facts.values() for difference in debit_review.review(fact, now=now)]
    holds = {(item.attempt_id, item.kind, item.subject) for item in found}
    over = [
        line.id
        for line in lines
        if line.attempt_id in facts
        and (
            (line.kind in REVIEWED and (line.attempt_id, line.kind, line.subject) not in holds)
            or resolved_by(line.kind, theirs=line.theirs, state=facts[line.attempt_id].attempt.state)
        )
    ]
    # Lines that hold and are known stay as they are: a walk along all debits writes nothing where nothing is new.
    known = {(line.attempt_id, line.kind, line.subject) for line in lines}
    new = [item for item in found if (item.attempt_id, item.kind, item.subject) not in known]
    await _write(conn, new, over, now=now)


class Processed(msgspec.Struct, frozen=True):
    """
    A notification of a debit that was decided in this transaction.

    Attributes:
        row_id: Its row.
        notification: What it says.
        attempt: The debit as it is after the decision.
        decided: The decision.
        confirmation: The gateway's response to an inquiry about it.
    """

    row_id: int
    notification: Notification
    attempt: Attempt
    decided: Decision
    confirmation: Confirmation | None


async def find_in_notifications(
    conn: Connection,
    processed: Sequence[Processed],
    *,
    now: datetime,
    also: Sequence[Difference] = (),
    approved_after_all: Sequence[Refund] = (),
) -> None:
    """
    Open the lines that processed notifications show, in the transaction that processed them.

    Args:
        processed: The notifications, decided.
        also: Differences that were found beside these.
        approved_after_all: Refunds and voids that failed by our books, and are reported as approved.
    """
    found = list(also)
    maybe_new = list[Processed]()
    for entry in processed:
        found += comparison.of_notification(
            entry.attempt, entry.notification, decided=entry.decided, confirmation=entry.confirmation
        )
        if comparison.may_be_new_dispute(entry.attempt, entry.notification, decided=entry.decided):
            maybe_new.append(entry)
    if maybe_new:
        found += await _new_disputes(conn, maybe_new)
    against = [
        entry for entry in processed if comparison.may_contradict_statement(entry.attempt, entry.notification)
    ]
    if against:
        stated = await stated_outcomes.latest(conn, sorted({item.attempt.id for item in against}))
        found += [
            comparison.statement_contradicted(
                item.attempt,
                stated=stated[item.attempt.id],
                theirs=item.notification.event or item.notification.status,
            )
            for item in against
            if stated.get(item.attempt.id) in {"declined", "never_arrived"}
        ]
    if approved_after_all:
        debits = sorted({refund.debit.id for refund in approved_after_all})
        stated_of = await stated_outcomes.latest_of_refunds(conn, debits)
        found += [
            comparison.refund_statement_contradicted(refund.debit.id, refund_id=refund.order.attempt.id)
            for refund in approved_after_all
            if stated_of.get(refund.order.attempt.id) in {"declined", "never_arrived"}
        ]
    if found:
        await _write(conn, found, [], now=now)


async def _new_disputes(conn: Connection, maybe_new: Sequence[Processed]) -> list[Difference]:
    stored = await differences.disputes_reported(
        conn, sorted({processed.notification.id for processed in maybe_new})
    )
    found = list[Difference]()
    for processed in maybe_new:
        earlier = [
            decode_notification(row.body, content_type=row.content_type)
            for row in stored.get(processed.notification.id, [])
            if row.id != processed.row_id
        ]
        if comparison.is_new_dispute(processed.notification, earlier):
            known = [debit.chargeback_id for debit in earlier if debit.chargeback_id is not None]
            found.append(
                comparison.charged_back_again(
                    processed.attempt, dispute_id=processed.notification.chargeback_id, known=known
                )
            )
    return found


async def compare_report(conn: Connection, records: Sequence[ReportRecord], *, now: datetime) -> None:
    """
    Compare debits with the gateway's own present records of them: open the lines these show, resolve those they end.

    Args:
        conn: Inside the transaction that takes the records in.
        records: Of reports, or of status inquiries; each shows the present state of a payment.
        now: When they were read.
    """
    by_id = {item.notification.id: item for item in records}
    debits = await differences.changed_at(conn, list(by_id))
    if not debits:
        return
    lines = list[UnresolvedDifference]()
    for line in await differences.unresolved(conn, [changed.attempt.id for changed in debits.values()]):
        if line.kind in BY_STATE:
            lines.append(line)
    found, over = list[Difference](), list[int]()
    for unique_id, debit in debits.items():
        record, attempt = by_id[unique_id], debit.attempt
        if record.account != attempt.account:
            continue
        notification = record.notification
        step = stages.meaning(
            notification.status, event=notification.event, error_code=notification.error_code
        )
        compared = comparison.compare(attempt, step, changed_at=debit.changed_at, now=now)
        known = [line for line in lines if line.attempt_id == attempt.id]
        if compared == "agrees":
            over += [line.id for line in known]
        elif isinstance(compared, Difference):
            if compared.kind not in {line.kind for line in known} or compared.kind == "state_differs":
                found.append(compared)
            over += [
                line.id
                for line in known
                if line.kind == compared.kind == "state_differs" and line.subject != compared.subject
            ]
        money = comparison.amount_named(
            attempt,
            amount_text=notification.fields.get("amount"),
            amount_minor=notification.amount_minor,
            currency=notification.currency,
            about=notification.status,
        )
        if money is not None:
            found.append(money)
    await _write(conn, found, over, now=now)


async def compare_refunds(conn: Connection, records: Sequence[GatewayAnswer], *, now: datetime) -> None:
    """
    Compare refunds and voids that our books call approved with the gateway's own present records of them.

    Args:
        conn: Inside the transaction that takes the records in.
        records: Of reports or status inquiries: those of refunds and voids.
        now: When they were read.
    """
    if not records:
        return
    by_id = {answer.unique_id: answer for answer in records if answer.unique_id}
    by_own_id = {answer.transaction_id: answer for answer in records if answer.transaction_id}
    refunds = await differences.refunds_named(conn, unique_ids=list(by_id), transaction_ids=list(by_own_id))
    found = list[Difference]()
    for refund in refunds:
        record = by_id.get(refund.unique_id or "") or by_own_id.get(refund.transaction_id)
        if record is None:
            continue
        step = stages.meaning(record.status, event=None, error_code=record.code)
        failed = comparison.refund_failed(refund.attempt_id, refund_id=refund.id, kind=refund.kind, step=step)
        money = comparison.refund_amount(
            refund.attempt_id,
            refund_id=refund.id,
            kind=refund.kind,
            ours=Money(refund.amount_minor, refund.currency),
            amount_text=record.fields.get("amount"),
            amount_minor=record.amount_minor,
            currency=record.currency,
        )
        found += [item for item in (failed, money) if item is not None]
    await _write(conn, found, [], now=now)


def show(lines: Sequence[DifferenceLine]) -> None:
    """Print lines for people."""
    console = Console(soft_wrap=True, highlight=False)
    if not lines:
        console.print("no reconciliation differences are open")
    for line in lines:
        words = sentence(line.kind, attempt_id=line.attempt_id, ours=line.ours, theirs=line.theirs)
        console.print(f"{line.id}  {line.kind}  since {line.first_seen_at:%Y-%m-%d %H:%M}")
        console.print(f"    {words}", markup=False)
        console.print(f"    {line.action}", markup=False)


async def open_lines(conn: Connection, found: Sequence[Difference], *, now: datetime) -> None:
    """Open lines inside the transaction *conn* that *found* them; *now* is the present time."""
    await _write(conn, found, [], now=now)


async def _write(
    conn: Connection, found: Sequence[Difference], over: Sequence[int], *, now: datetime
) -> None:
    """Open and resolve lines, announce both, and keep the warnings of runs that are over."""
    closed = await differences.resolve(conn, over, now=now)
    opened = await differences.open_new(conn, found, now=now)
    facts: list[DifferenceOpened | DifferenceClosed] = [*closed, *opened]
    if not facts:
        return
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    await differences.warn_runs(conn, [fact.attempt_id for fact in facts])
    for fact in opened:
        _log.error(
            "reconciliation difference found",
            difference_id=fact.difference_id,
            kind=fact.kind,
            attempt_id=fact.attempt_id,
            ours=fact.ours,
            theirs=fact.theirs,
        )
