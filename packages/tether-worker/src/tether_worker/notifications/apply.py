"""
Applying notifications: claim, decide, write, in one transaction a batch.

```text
claim up to 256 waiting rows (locked) ─► lock the attempts they are about, without waiting ─► decide each ─►
write attempts, blacklist entries, events and the outcome of each row ─► commit
```

Nothing waits for a payment that another transaction has locked: its notifications are left for the next batch. A payment's notifications come
one after the other, so batches beside each other often meet at one, and each would wait for the whole batch before it.

The version of the return policy is read first, and no other is switched on before the commit. One transaction covers everything from
claim to commit, so a worker that dies leaves all of it or nothing, and the rows are free again when its connection is gone. A batch that fails because of its content is split and its rows are applied one by one; a row that fails is
deferred, and in the end parked.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core import retry
from tether_core.emp.notification import Notification, decode
from tether_core.errors import TetherError, Unavailable, Unreadable
from tether_core.events import Event
from tether_core.jobs import WEBHOOKS
from tether_core.money import Money
from tether_core.notifications.inbox import (
    InboxState,
    InboxStep,
    step,
)
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Attempt, Decision, blocked_event, decide
from tether_core.payments.submission import Submission
from tether_core.reconciliation import comparison
from tether_core.reconciliation.differences import Difference
from tether_core.reconciliation.gateway_refunds import kind_of, reference_of
from tether_core.refunds import refund
from tether_core.refunds.refund import Outcome, Refund
from tether_core.return_policies.policy import ReturnPolicy
from tether_stores import blacklist, events, return_policies
from tether_stores.blacklist import CausedEntry
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import ClaimedNotification, Finish
from tether_stores.payments import billing_attempts
from tether_stores.payments.billing_attempts import NamedAttempt
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection, Pool, blames_store, connection, transaction
from tether_stores.reconciliation import gateway_refunds
from tether_stores.reconciliation.gateway_refunds import ReportedRefund
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import LockedRefund, NamedRefund
from tether_stores.telemetry import logger
from tether_stores.traces import parents, spans

from tether_worker.jobs.run import BatchPause, Work
from tether_worker.reconciliation.differences import Processed, find_in_notifications

__all__ = ["ApplyDeps", "applying"]

# Large enough to share the commit, small enough that a batch takes some ten milliseconds.
BATCH_MAX: Final = 256
# Between batches while notifications come all the time: receipt to applying takes this long and a batch. Shorter pauses cost more CPU a
# notification, because a batch of few rows costs nearly as much as one of many (docs/performance-tuning.md).
_PAUSE_S: Final = 0.03
# A worker that is frozen during a batch loses its rows after this time.
_FREEZE_S: Final = 5.0
# A row that is due for longer than this was not woken for.
_LOST_WAKE_UP_S: Final = 1.0

_log = logger("webhooks")

_TAKEN: Final[dict[str, InboxStep]] = {
    "applied": "finished",
    "unchanged": "finished",
    "contradicted": "contradicted",
    "not_yet": "deferred",
    "confirm": "inquired",
    "park": "parked",
}


class ApplyDeps(msgspec.Struct, frozen=True):
    """
    What applying needs.

    Attributes:
        policy: The operator's choices.
        jitter: Gives a number of [0, 1), for the spread of retries.
        further_policy: The operator's choices for other accounts than `default`; `None` for the same.
    """

    pool: Pool
    policy: ApplyPolicy
    clock: Callable[[], datetime]
    jitter: Callable[[], float]
    further_policy: ApplyPolicy | None = None

    def policy_of(self, account: str) -> ApplyPolicy:
        """The operator's choices for an account; that of the environment may lack what an inquiry needs."""
        return self.policy if account == "default" or self.further_policy is None else self.further_policy

    def deciding_by(self, returns: ReturnPolicy) -> "ApplyDeps":
        """The same with another version of the return policy, for all accounts."""
        further = self.further_policy
        return msgspec.structs.replace(
            self,
            policy=msgspec.structs.replace(self.policy, returns=returns),
            further_policy=None if further is None else msgspec.structs.replace(further, returns=returns),
        )


def applying(deps: ApplyDeps) -> Work:
    """The job that applies notifications."""

    async def batch() -> int:
        return await apply_batch(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await webhook_events.due(conn, now=deps.clock(), older_than_s=_LOST_WAKE_UP_S)

    return Work(WEBHOOKS, batch, has_pending, BATCH_MAX, BatchPause(_PAUSE_S))


async def apply_batch(deps: ApplyDeps, *, limit: int = BATCH_MAX) -> int:
    """
    Apply the notifications that wait, at most *limit* of them.

    Returns:
        How many rows were claimed, 0 where nothing could be done: each is finished, deferred or parked by now, or left as it was because another transaction has locked its payment.

    Raises:
        Unavailable: when Postgres is away; nothing was applied.
    """
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        returns = await return_policies.active_to_decide(conn, built_in=deps.policy.returns)
        deps = deps.deciding_by(returns)
        rows = await webhook_events.claim(conn, now=now, limit=limit, freeze_s=_FREEZE_S)
        if not rows:
            return 0
        traces = await parents.found(conn, "notification", [row.id for row in rows])
        with spans.spans("apply notification", traces, subject="notification"):
            done = await _apply_claimed(conn, rows, deps=deps, now=now)
    # A batch that left some is as large as one that did not: more may be due.
    return len(rows) if done else 0


async def _apply_claimed(
    conn: Connection, rows: Sequence[ClaimedNotification], *, deps: ApplyDeps, now: datetime
) -> int:
    """Apply a batch in one piece, or row by row where that fails by its content; returns how many rows are done."""
    try:
        async with conn.transaction():
            return await _apply_together(conn, rows, deps=deps, now=now)
    except Exception as exc:
        if _blames_no_row(exc, conn):
            raise
        _log.warning("batch split", rows=len(rows), exc_info=exc)
        return sum([await _apply_alone(conn, row, deps=deps, now=now) for row in rows])


async def _apply_alone(conn: Connection, row: ClaimedNotification, *, deps: ApplyDeps, now: datetime) -> int:
    try:
        async with conn.transaction():
            return await _apply_together(conn, [row], deps=deps, now=now)
    except Exception as exc:
        if _blames_no_row(exc, conn):
            raise
        # On any other error the row is kept with its cause.
        _log.error("notification deferred", webhook_event_id=row.id, failures=row.failures + 1, exc_info=exc)
        code = exc.code if isinstance(exc, TetherError) else type(exc).__name__
        await webhook_events.finish(
            conn,
            [_deferred(row, "failed", code, retry_schedule_s=retry.NOTIFICATION_S, deps=deps, now=now)],
            now=now,
        )
        return 1


def _blames_no_row(exc: Exception, conn: Connection) -> bool:
    # Postgres also frees the rows, and ends the session, when this process was frozen for too long.
    return conn.closed or isinstance(exc, Unavailable) or blames_store(exc)


async def _loaded(
    conn: Connection, rows: Sequence[ClaimedNotification]
) -> tuple[list[tuple[ClaimedNotification, Notification | None]], "_Ledger", "_Orders"]:
    """The rows to apply now, read, with what they are about, which is locked; without rows of payments that another batch has."""
    claims = [(row, _decoded(row)) for row in rows]
    genuine = [result for _, result in claims if result is not None]
    # Refunds made in the gateway's back office name the debit that they are about.
    unique_ids = [
        item for delivery in genuine for item in (delivery.unique_id, reference_of(delivery)) if item
    ]
    transaction_ids = [delivery.transaction_id for delivery in genuine if delivery.transaction_id]
    orders = await refunds.named(conn, unique_ids=unique_ids, transaction_ids=transaction_ids)
    # Some are about refunds and voids; these change their debits, which are locked with all others, in the order of ids.
    attempts, busy = await billing_attempts.lock_free(
        conn,
        unique_ids=unique_ids,
        transaction_ids=transaction_ids,
        ids=sorted({order.attempt_id for order in orders}),
    )
    locked_ids = {attempt.id for attempt in attempts}
    free = [order.id for order in orders if order.attempt_id in locked_ids]
    left: list[NamedAttempt | NamedRefund] = [*busy]
    left += [order for order in orders if order.attempt_id not in locked_ids]
    claims = [(row, result) for row, result in claims if result is None or not _names_any(result, left)]
    return claims, _Ledger(attempts), _Orders(await refunds.locked(conn, free) if free else {})


async def _apply_together(
    conn: Connection, rows: Sequence[ClaimedNotification], *, deps: ApplyDeps, now: datetime
) -> int:
    claims, ledger, backs = await _loaded(conn, rows)
    if not claims:
        return 0
    finished: list[Finish] = []
    entries: list[CausedEntry] = []
    facts: list[tuple[int | None, Event]] = []
    processed: list[Processed] = []
    differing: list[Difference] = []
    reported: list[ReportedRefund] = []
    for row, result in claims:
        if result is None:
            finished.append(
                Finish(row.id, step("waiting", "parked"), "park", "unreadable", row.failures, None, None)
            )
            continue
        attempt = ledger.find(result)
        order = None if attempt is not None else backs.find(result)
        if order is not None:
            debit = ledger.with_id(order.debit.id)
            decision, outcome = refund.decide(
                msgspec.structs.replace(order, debit=debit),
                result,
                account=row.account,
                policy=deps.policy_of(row.account),
                confirmation=row.confirmation,
            )
            if outcome is not None:
                backs.put(order, outcome)
                if outcome.debit != debit:
                    ledger.put(outcome.debit)
                facts.extend((row.id, fact) for fact in outcome.events)
            differing += _refund_differences(order, result, decision, row=row)
            finished.append(_finished(row, decision, attempt=None, deps=deps, now=now))
            continue
        refunded = ledger.with_unique_id(reference_of(result)) if attempt is None else None
        if refunded is not None and refunded.account == row.account:
            reported.append(_reported(refunded, result))
            linked = Decision("unchanged", "gateway_refund")
            finished.append(_finished(row, linked, attempt=refunded, deps=deps, now=now))
            continue
        decision = decide(
            attempt,
            result,
            account=row.account,
            policy=deps.policy_of(row.account),
            confirmation=row.confirmation,
        )
        if decision.outcome == "applied" and decision.attempt is not None:
            ledger.put(decision.attempt)
        if attempt is not None and result.kind == "payment":
            processed.append(
                Processed(row.id, result, decision.attempt or attempt, decision, row.confirmation)
            )
        entries.extend(
            CausedEntry(entry, row.id, decision.attempt.id) for entry in decision.entries if decision.attempt
        )
        facts.extend((row.id, fact) for fact in decision.events)
        finished.append(_finished(row, decision, attempt=attempt, deps=deps, now=now))
    await billing_attempts.move(conn, ledger.moved, now=now)
    await refunds.write(conn, [Written(order) for order in backs.moved], now=now)
    facts.extend(
        (made.webhook_event_id, blocked_event(made.entry, attempt_id=made.attempt_id))
        for made in await blacklist.add(conn, entries, now=now)
    )
    await events.append(conn, facts, now=now)
    await webhook_events.finish(conn, finished, now=now)
    await gateway_refunds.report(conn, reported, now=now)
    await find_in_notifications(
        conn, processed, also=differing, approved_after_all=_approved_after_all(claims, backs), now=now
    )
    return len(claims)


def _names_any(notification: Notification, left: Sequence[NamedAttempt | NamedRefund]) -> bool:
    """Whether a notification names one of these payments, by either of its ids or as the debit of a refund."""
    unique_ids = {notification.unique_id, reference_of(notification)} - {None}
    return any(
        named.unique_id in unique_ids or named.transaction_id == notification.transaction_id for named in left
    )


def _approved_after_all(
    claims: Sequence[tuple[ClaimedNotification, Notification | None]], orders: "_Orders"
) -> list[Refund]:
    """Refunds and voids that failed by our books, and that notifications, not confirmed yet, report as approved."""
    named = [
        (orders.find(notification), notification) for _, notification in claims if notification is not None
    ]
    return [
        order
        for order, notification in named
        if order is not None and comparison.may_contradict_statement(order.order.attempt, notification)
    ]


def _reported(debit: Attempt, notification: Notification) -> ReportedRefund:
    """Link a refund to the debit that its notification names."""
    kind = kind_of(notification.transaction_type)
    assert kind is not None  # else it named no debit
    return ReportedRefund(
        notification.id, debit.id, debit.account, kind, notification.amount_minor, notification.currency
    )


def _refund_differences(
    order: Refund, notification: Notification, decision: Decision, *, row: ClaimedNotification
) -> list[Difference]:
    """What a notification shows of a refund or void: it was approved before and failed, or other money went back."""
    believed = decision.outcome in {"applied", "unchanged"} and notification.kind == "payment"
    status, code = notification.status, notification.error_code
    amount_text, amount_minor = notification.fields.get("amount"), notification.amount_minor
    currency = notification.currency
    if row.confirmation is not None:
        status, code = row.confirmation.status, row.confirmation.error_code
        if row.confirmation.amount_minor is not None:
            # The gateway's own record of the refund counts more than the amount of a notification, which is not signed.
            amount_minor, currency = row.confirmation.amount_minor, row.confirmation.currency
            amount_text = str(amount_minor)
    ours = order.order.attempt
    found = list[Difference | None]()
    if ours.state in {"approved", "refunded"} and (believed or row.confirmation is not None):
        step = stages.meaning(status, event=None, error_code=code)
        found.append(comparison.refund_failed(order.debit.id, refund_id=ours.id, kind=order.kind, step=step))
    if believed:
        found.append(
            comparison.refund_amount(
                order.debit.id,
                refund_id=ours.id,
                kind=order.kind,
                ours=Money(ours.amount_minor, ours.currency),
                amount_text=amount_text,
                amount_minor=amount_minor,
                currency=currency,
            )
        )
    return [item for item in found if item is not None]


def _decoded(row: ClaimedNotification) -> Notification | None:
    try:
        return decode(row.body, content_type=row.content_type)
    except Unreadable:
        # It was readable when it came, so the reader has changed since; a person must look.
        return None


def _finished(
    row: ClaimedNotification, decision: Decision, *, attempt: Attempt | None, deps: ApplyDeps, now: datetime
) -> Finish:
    taken = _TAKEN[decision.outcome]
    if taken == "contradicted":
        return _contradicted(row, decision, attempt=attempt, deps=deps, now=now)
    if taken == "deferred":
        return _deferred(
            row,
            decision.outcome,
            decision.reason,
            retry_schedule_s=retry.UNKNOWN_PAYMENT_S,
            deps=deps,
            now=now,
        )
    state: InboxState = step("waiting", taken)
    return Finish(
        row.id,
        state,
        decision.outcome,
        decision.reason,
        0 if state == "confirming" else row.failures,  # from here on it counts unanswered questions
        now if state == "confirming" else None,
        attempt.id if attempt is not None else None,
    )


def _contradicted(
    row: ClaimedNotification, decision: Decision, *, attempt: Attempt | None, deps: ApplyDeps, now: datetime
) -> Finish:
    """Inquire again later, because the gateway's records lag behind notifications; in the end it stays contradicted."""
    since = row.inquiries_began_at or row.confirmed_at or now
    next_at = retry.next_by_age(retry.CONTRADICTION_AGES_S, since, now=now, jitter=deps.jitter())
    state = step("waiting", "schedule ended" if next_at is None else "contradicted")
    if next_at is None:
        _log.warning("notification contradicted", webhook_event_id=row.id, reason=decision.reason)
    return Finish(
        row.id,
        state,
        decision.outcome,
        decision.reason,
        0,
        next_at,
        attempt.id if attempt is not None else None,
        is_contradicted=True,
        inquiries_began_at=since,
    )


def _deferred(
    row: ClaimedNotification,
    outcome: str,
    reason: str,
    *,
    retry_schedule_s: tuple[int, ...],
    deps: ApplyDeps,
    now: datetime,
) -> Finish:
    failures = row.failures + 1
    next_at = retry.next_try(retry_schedule_s, failures, now=now, jitter=deps.jitter())
    state = step("waiting", "parked" if next_at is None else "deferred")
    return Finish(row.id, state, outcome, reason, failures, next_at, None)


class _Ledger:
    """The attempts of a batch by both of their ids, and those that changed."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self._by_unique_id = {attempt.unique_id: attempt for attempt in attempts if attempt.unique_id}
        self._by_transaction_id = {attempt.transaction_id: attempt for attempt in attempts}
        self._by_id = {attempt.id: attempt for attempt in attempts}
        self._moved: dict[int, Attempt] = {}

    def with_id(self, attempt_id: int) -> Attempt:
        return self._by_id[attempt_id]

    def with_unique_id(self, unique_id: str | None) -> Attempt | None:
        return self._by_unique_id.get(unique_id or "")

    def find(self, notification: Notification) -> Attempt | None:
        # The gateway's id first: it is the one that is signed.
        return self._by_unique_id.get(notification.unique_id or "") or self._by_transaction_id.get(
            notification.transaction_id or ""
        )

    def put(self, attempt: Attempt) -> None:
        if attempt.unique_id:
            self._by_unique_id[attempt.unique_id] = attempt
        self._by_transaction_id[attempt.transaction_id] = attempt
        self._by_id[attempt.id] = attempt
        self._moved[attempt.id] = attempt

    @property
    def moved(self) -> list[Attempt]:
        return list(self._moved.values())


class _Orders:
    """The refunds and voids of a batch by both of their ids, and those that changed."""

    def __init__(self, rows: Mapping[int, LockedRefund]) -> None:
        self._by_id = {row_id: row.refund for row_id, row in rows.items()}
        self._moved: dict[int, Submission] = {}

    def find(self, notification: Notification) -> Refund | None:
        for item in self._by_id.values():
            order = item.order.attempt
            if (
                notification.unique_id in {order.unique_id} - {None}
                or notification.transaction_id == order.transaction_id
            ):
                return item
        return None

    def put(self, item: Refund, outcome: Outcome) -> None:
        row_id = item.order.attempt.id
        self._by_id[row_id] = msgspec.structs.replace(item, order=outcome.order)
        self._moved[row_id] = outcome.order

    @property
    def moved(self) -> list[Submission]:
        return list(self._moved.values())
