"""Reconciliation differences; the queries are in `reconciliation/differences.sql`, which describes the rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import DifferenceClosed, DifferenceOpened, Event
from tether_core.payments.attempt import Attempt
from tether_core.payments.matches import Collected, collect_same_item
from tether_core.payments.same_debit import key_of
from tether_core.reconciliation import differences
from tether_core.reconciliation.debit_review import DebitFacts
from tether_core.reconciliation.differences import (
    KINDS,
    Difference,
    DifferenceKind,
    DifferenceState,
)

from tether_stores import events
from tether_stores.payments import billing_attempts
from tether_stores.payments.billing_attempts import attempt_of
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.refunds import refunds
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "CHANGED_DEBITS",
    "ApprovedRefund",
    "Changed",
    "DifferenceLine",
    "OpenLines",
    "ReportedDispute",
    "UnresolvedDifference",
    "acknowledge",
    "advance",
    "begin_position",
    "beyond_inquiries",
    "by_id",
    "changed_at",
    "counts",
    "disputes_reported",
    "facts",
    "hold_position",
    "holding",
    "last_id",
    "listed",
    "next_ids",
    "of_run",
    "open_by_kind",
    "open_lines",
    "open_new",
    "refunds_named",
    "resolve",
    "unreachable",
    "unresolved",
    "warn_runs",
]

# The review that follows the outbox; events are archived only behind its position.
CHANGED_DEBITS: Final = "changed debits"
_SQL: Final = load("reconciliation/differences")


class DifferenceLine(msgspec.Struct, frozen=True):
    """
    A line of the list, for display.

    Attributes:
        id: Our row.
        kind: Which kind of difference.
        attempt_id: The debit.
        other_attempt_id: The other debit, for "collected_twice".
        refund_id: The refund or void, where the line is about one.
        run_id: The run of the debit, or null.
        ours: The state in our records.
        theirs: The state at the gateway, or of the other debit.
        holds_refunds: Whether the line blocks refunds and voids of the debit while it is open.
        first_seen_at: Since when.
        last_seen_at: When it was found last.
        state: "open", "acknowledged" by a person, or "resolved" by the facts.
        resolved_at: When the facts resolved it, or null.
        acknowledged_at: When a person acknowledged it, or null.
        acknowledged_by: The name of the key, or null.
        acknowledged_reason: What the person found, or null.
        text: What is the case.
        action: What to do.
    """

    id: int
    kind: DifferenceKind
    attempt_id: int
    other_attempt_id: int | None
    refund_id: int | None
    run_id: int | None
    ours: str
    theirs: str
    holds_refunds: bool
    first_seen_at: datetime
    last_seen_at: datetime
    state: DifferenceState
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_reason: str | None
    text: str = ""
    action: str = ""

    @classmethod
    def of(cls, *, kind: DifferenceKind, **columns: Any) -> "DifferenceLine":
        """The line of a row, with the words of its kind."""
        rule = KINDS[kind]
        return cls(kind=kind, **columns, text=rule.text, action=rule.action)


class OpenLines(msgspec.Struct, frozen=True):
    """
    The open lines of one kind.

    Attributes:
        kind: Which kind of difference.
        currency: Of the debits, ISO 4217.
        count: How many lines.
        amount_minor: The money of the debits they are about, whole minor units; a debit with several lines counts once.
    """

    kind: DifferenceKind
    currency: str
    count: int
    amount_minor: int


class UnresolvedDifference(msgspec.Struct, frozen=True):
    """
    A line that is not resolved.

    Attributes:
        id: The line.
        kind: Which kind of difference.
        attempt_id: The debit.
        subject: Distinguishes it from others of its kind.
        theirs: The gateway's side.
        other_attempt_id: The other debit, where there is one.
        acknowledged: Whether a person has looked at it.
    """

    id: int
    kind: DifferenceKind
    attempt_id: int
    subject: str
    theirs: str
    other_attempt_id: int | None
    acknowledged: bool


class Changed(msgspec.Struct, frozen=True):
    """
    A debit, and when it changed last.

    Attributes:
        attempt: The debit.
        changed_at: When.
    """

    attempt: Attempt
    changed_at: datetime


class ReportedDispute(msgspec.Struct, frozen=True):
    """
    A notification of a dispute that was processed and confirmed.

    Attributes:
        id: Its row.
        content_type: Of the body.
        body: The bytes as they came.
    """

    id: int
    content_type: str
    body: bytes


class ApprovedRefund(msgspec.Struct, frozen=True):
    """
    A refund or void that our books call approved.

    Attributes:
        id: Our row.
        attempt_id: The debit.
        kind: "refund" or "void".
        unique_id: The gateway's id of it, where it is known.
        transaction_id: Ours.
        amount_minor: What was ordered, whole minor units.
        currency: Three capitals of ISO 4217.
    """

    id: int
    attempt_id: int
    kind: str
    unique_id: str | None
    transaction_id: str
    amount_minor: int
    currency: str


async def open_new(conn: Connection, found: Iterable[Difference], *, now: datetime) -> list[DifferenceOpened]:
    """
    Open lines, or note that they were seen again.

    Args:
        conn: Inside the transaction that found them.
        found: The differences; the same one may be among them several times.

    Returns:
        The events of those that are new, for the outbox of the same transaction.
    """
    lines = list(
        {
            (difference.attempt_id, difference.kind, difference.subject): difference for difference in found
        }.values()
    )
    if not lines:
        return []
    cursor = await conn.execute(
        _SQL["open"],
        {
            "kinds": [line.kind for line in lines],
            "attempt_ids": [line.attempt_id for line in lines],
            "subjects": [line.subject for line in lines],
            "other_attempt_ids": [line.other_attempt_id for line in lines],
            "refund_ids": [line.refund_id for line in lines],
            "ours": [line.ours for line in lines],
            "theirs": [line.theirs for line in lines],
            "holds_refunds": [differences.holds_refunds(line) for line in lines],
            "amount_lines_max": differences.AMOUNT_LINES_MAX,
            "now": now,
        },
    )
    return [
        DifferenceOpened(row_id, kind, attempt_id, ours, theirs)
        for row_id, kind, attempt_id, ours, theirs, is_new in await cursor.fetchall()
        if is_new
    ]


async def unresolved(conn: Connection, attempt_ids: Sequence[int]) -> list[UnresolvedDifference]:
    """The lines of some debits that are not resolved, acknowledged ones among them."""
    values = {"attempt_ids": list(attempt_ids)}
    return await fetch_all(conn, _SQL["unresolved"], values, into=UnresolvedDifference)


async def resolve(conn: Connection, ids: Sequence[int], *, now: datetime) -> list[DifferenceClosed]:
    """Resolve lines; returns the events of those that no person had acknowledged."""
    if not ids:
        return []
    cursor = await conn.execute(_SQL["resolve"], {"ids": list(ids), "now": now})
    return [
        DifferenceClosed(line_id, kind, attempt_id, "resolved")
        for line_id, kind, attempt_id in await cursor.fetchall()
    ]


async def listed(
    conn: Connection,
    *,
    limit: int,
    before: int | None = None,
    kind: DifferenceKind | None = None,
    attempt_id: int | None = None,
    open_only: bool = True,
) -> list[DifferenceLine]:
    """
    One page of lines, newest first.

    Args:
        before: Only rows with a smaller id, or `None` for the first page.
        kind: Only lines of this kind, or `None`.
        attempt_id: Only lines of this debit, or `None`.
        open_only: Whether acknowledged and resolved lines are excluded.

    Returns:
        Up to *limit* lines.
    """
    given = {
        "limit": limit,
        "before": before,
        "kind": kind,
        "attempt_id": attempt_id,
        "open_only": open_only,
    }
    return await fetch_all(conn, _SQL["listed"], given, into=DifferenceLine.of)


async def open_lines(conn: Connection, *, limit: int) -> list[DifferenceLine]:
    """The open lines, oldest first."""
    return await fetch_all(conn, _SQL["open_lines"], {"limit": limit}, into=DifferenceLine.of)


async def counts(conn: Connection) -> dict[DifferenceKind, int]:
    """Open lines by kind, kinds without any among them."""
    found: dict[str, int] = dict(await (await conn.execute(_SQL["counts"])).fetchall())
    return {kind: found.get(kind, 0) for kind in KINDS}


async def open_by_kind(conn: Connection) -> list[OpenLines]:
    """Open lines by kind and currency, with their money; kinds without any are excluded."""
    return await fetch_all(conn, _SQL["open_by_kind"], into=OpenLines)


async def of_run(conn: Connection, run_id: int) -> dict[DifferenceKind, int]:
    """Open lines of the debits of a run, by kind."""
    return dict(await (await conn.execute(_SQL["of_run"], {"run_id": run_id})).fetchall())


async def by_id(conn: Connection, line_id: int) -> DifferenceLine | None:
    """One line, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": line_id}, into=DifferenceLine.of)


async def acknowledge(
    conn: Connection, line_id: int, *, by: str, reason: str, order_again: bool, now: datetime
) -> DifferenceLine | None:
    """
    Note that a person has looked at a line, and what was found.

    Args:
        conn: Inside a transaction.
        line_id: The line.
        by: Who, as the API key or the command line says.
        reason: What was found; without blanks around it 1 to 500 characters.
        order_again: Whether the refund or void of a line "refund_failed_later" did not happen and may be ordered once more.

    Returns:
        The line as it is now, or `None` where there is none.

    Raises:
        InvalidRequest: when the reason is missing or too long, or there is nothing to order again.
        IllegalStep: when the line is not open any more, or the refund cannot be ordered again.
    """
    found = differences.require_reason(reason)
    line = await by_id(conn, line_id)
    if line is None:
        return None
    facts: list[tuple[int | None, Event]] = []
    if order_again:
        if line.kind != "refund_failed_later" or line.refund_id is None:
            raise InvalidRequest(
                "only a refund or void that failed later can be ordered again", field="order_again"
            )
        # The debit and its order before the line, as processing locks them.
        refund = (await refunds.locked(conn, [line.refund_id]))[line.refund_id].refund
        further = {"attempt_id": refund.debit.id, "refund_id": line.refund_id}
        returns = await fetch_value(conn, _SQL["returns"], further, into=int)
        outcome = differences.reopen(refund, further_returns=returns)
        await refunds.write(conn, [Written(outcome.order)], now=now)
        await billing_attempts.move(conn, [outcome.debit], now=now)
        facts += [(None, fact) for fact in outcome.events]
    line = await fetch_one(conn, _SQL["hold"], {"id": line_id}, into=DifferenceLine.of)
    assert line is not None  # lines are never deleted
    if line.state != "open":
        raise IllegalStep("reconciliation difference", state=line.state, step="acknowledged")
    await conn.execute(_SQL["acknowledge"], {"id": line_id, "by": by, "reason": found, "now": now})
    facts.append((None, DifferenceClosed(line.id, line.kind, line.attempt_id, "acknowledged")))
    await events.append(conn, facts, now=now)
    await warn_runs(conn, [line.attempt_id])
    return await by_id(conn, line_id)


async def holding(conn: Connection, attempt_ids: Sequence[int]) -> dict[int, DifferenceKind]:
    """The debits whose refunds and voids an open line keeps away, each with the kind of its oldest such line."""
    cursor = await conn.execute(_SQL["holding"], {"attempt_ids": list(attempt_ids)})
    found: dict[int, DifferenceKind] = {}
    for attempt_id, kind in await cursor.fetchall():
        found.setdefault(attempt_id, kind)
    return found


async def facts(conn: Connection, attempt_ids: Sequence[int]) -> list[DebitFacts]:
    """What the review looks at, of some debits."""
    values = {"attempt_ids": list(attempt_ids)}
    return [
        DebitFacts(
            attempt=(attempt := attempt_of(row)),
            due_item=row["due_item"],
            submitted_at=row["debited_at"],
            inquiries=row["inquiry_count"],
            collected_by=_collected_by(row) if attempt.state == "approved" else (),
            refunds=row["refunds"],
            unreachable_at=row["unreachable_at"],
            unreachable_refunds=tuple(row["unreachable_refunds"]),
            stated=row["stated"],
            contradicted_refunds=tuple(row["contradicted_refunds"]),
        )
        for row in await fetch_all(conn, _SQL["facts"], values, into=dict[str, Any], binary=True)
    ]


def _collected_by(row: dict[str, Any]) -> tuple[int, ...]:
    """The debits that have collected the due item of one that was collected, ascending; itself among them."""
    key = key_of(row["reference"], row["mandate_id"], row["customer_id"])
    own = Collected(
        row["id"], row["debtor_id"], key, row["due_item"], row["debited_at"], taken_at=row["taken_at"]
    )
    others = [
        Collected(
            attempt_id, debtor_id, key_of(*values), due_item, datetime.fromisoformat(at), _time(taken_at)
        )
        for attempt_id, debtor_id, due_item, at, taken_at, *values in row["collected"] or ()
    ]
    return tuple(
        sorted([own.attempt_id, *(item.attempt_id for item in others if collect_same_item(own, item))])
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


async def changed_at(conn: Connection, unique_ids: Sequence[str]) -> dict[str, Changed]:
    """Debits by the gateway's id, with when each changed last."""
    values = {"unique_ids": list(unique_ids)}
    rows = await fetch_all(conn, _SQL["changed_at"], values, into=dict[str, Any], binary=True)
    return {row["unique_id"]: Changed(attempt_of(row), row["updated_at"]) for row in rows}


async def refunds_named(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str]
) -> list[ApprovedRefund]:
    """Our approved refunds and voids that some records of the gateway name."""
    given = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids)}
    return await fetch_all(conn, _SQL["refunds_named"], given, into=ApprovedRefund)


async def begin_position(conn: Connection, name: str, *, position: int, now: datetime) -> None:
    """Let a review that was never made begin at a position."""
    await conn.execute(_SQL["begin_position"], {"name": name, "position": position, "now": now})


async def last_id(conn: Connection) -> int:
    """The id of the newest debit; 0 where there is none."""
    row = await (await conn.execute(_SQL["last_id"])).fetchone()
    assert row is not None
    return int(row[0])


async def hold_position(conn: Connection, name: str) -> int | None:
    """How far a review has come, held; `None` where another worker does it, or it was never begun."""
    row = await (await conn.execute(_SQL["hold_position"], {"name": name})).fetchone()
    return None if row is None else int(row[0])


async def advance(conn: Connection, name: str, *, position: int, now: datetime) -> None:
    """Note how far a review has come, inside the transaction that holds it."""
    await conn.execute(_SQL["advance"], {"name": name, "position": position, "now": now})


async def next_ids(conn: Connection, *, after: int, limit: int) -> list[int]:
    """The next debits by id."""
    cursor = await conn.execute(_SQL["next_ids"], {"after": after, "limit": limit})
    return [row_id for (row_id,) in await cursor.fetchall()]


async def beyond_inquiries(conn: Connection, *, limit: int) -> list[int]:
    """Debits whose last status inquiry has been made, and that have no line yet."""
    return [
        row[0] for row in await (await conn.execute(_SQL["beyond_inquiries"], {"limit": limit})).fetchall()
    ]


async def unreachable(conn: Connection, *, limit: int) -> list[int]:
    """Debits with a line "unreachable_identity" to be opened or resolved."""
    return [row[0] for row in await (await conn.execute(_SQL["unreachable"], {"limit": limit})).fetchall()]


async def disputes_reported(conn: Connection, unique_ids: Sequence[str]) -> dict[str, list[ReportedDispute]]:
    """Processed and confirmed notifications of disputes of some payments, by the gateway's id, oldest first."""
    cursor = await conn.execute(_SQL["disputes_reported"], {"unique_ids": list(unique_ids)}, binary=True)
    found: dict[str, list[ReportedDispute]] = {}
    for unique_id, row_id, content_type, body in await cursor.fetchall():
        found.setdefault(unique_id, []).append(ReportedDispute(row_id, content_type, body))
    return found


async def warn_runs(conn: Connection, attempt_ids: Sequence[int]) -> None:
    """Write or clear the warning of runs that are over, after lines of some of their debits were opened or closed."""
    cursor = await conn.execute(_SQL["runs_over"], {"attempt_ids": list(attempt_ids)})
    for run_id, before, count in await cursor.fetchall():
        warning = differences.open_debits(count)
        if warning != before:
            await conn.execute(_SQL["warn_run"], {"id": run_id, "warning": warning})
