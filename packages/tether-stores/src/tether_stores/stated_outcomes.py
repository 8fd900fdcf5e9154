"""Outcomes that people state: close a submission that cannot be inquired any more, and keep who stated it and why."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tether_core import stated_outcomes as rules
from tether_core.errors import InvalidRequest
from tether_core.events import Event
from tether_core.payments.attempt import AttemptState
from tether_core.payments.submission import SubmissionRules
from tether_core.refunds.refund import RefundState
from tether_core.stated_outcomes import Reach, StatedOutcome, Statement

from tether_stores import events
from tether_stores.accounts import gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.accounts.gateway_identities import configured
from tether_stores.notifications import webhook_events
from tether_stores.payments import billing_attempts, submissions
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.refunds import refunds
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "Closed",
    "KeptStatement",
    "close_debit",
    "close_refund",
    "latest",
    "latest_of_refunds",
    "of_attempt",
]

_SQL: Final = load("stated_outcomes")
_RULES: Final = SubmissionRules()
# As far back as an account's identities count for a submission of a lost history (tether_worker.gateway.inquiry_batch).
_RECENT_DAYS: Final = 31


class KeptStatement(msgspec.Struct, frozen=True):
    """
    What somebody stated.

    Attributes:
        id: Its row.
        attempt_id: The debit.
        refund_id: The refund or void, or null where it is about the debit.
        outcome: What was seen.
        unique_id: The gateway's id, or null.
        reason: Where it was seen.
        stated_by: By whom.
        stated_at: When.
    """

    id: int
    attempt_id: int
    refund_id: int | None
    outcome: StatedOutcome
    unique_id: str | None
    reason: str
    stated_by: str
    stated_at: datetime


class Closed(msgspec.Struct, frozen=True):
    """
    A submission that a person has closed.

    Attributes:
        statement_id: The statement.
        attempt_id: The debit.
        refund_id: The refund or void, or null where the debit was closed.
        status: The state it has now.
        debit_status: The state of the debit now.
    """

    statement_id: int
    attempt_id: int
    refund_id: int | None
    status: AttemptState | RefundState
    debit_status: AttemptState


async def close_debit(
    conn: Connection,
    attempt_id: int,
    stated: Statement,
    *,
    accounts: Collection[GatewayAccount],
    now: datetime,
    submission_rules: SubmissionRules = _RULES,
) -> Closed | None:
    """
    Close a debit of unknown outcome by what a person states.

    The debit is held from here on, so a notification or an inquiry of the same time comes before, and is refused here, or after, and is
    compared with the statement.

    Args:
        conn: Inside a transaction.
        attempt_id: The debit.
        stated: From `tether_core.stated_outcomes.statement`.
        accounts: All that are configured.
        submission_rules: How long a call may be under way.

    Returns:
        The result, or `None` where there is no such debit.

    Raises:
        IllegalStep: when it cannot be closed by a person.
        InvalidRequest: when the id belongs to another payment.
    """
    row = (await submissions.locked(conn, [attempt_id])).get(attempt_id)
    if row is None:
        return None
    reach = await _reach(conn, row.submission.attempt.account, accounts=accounts, now=now)
    before = (await latest(conn, [attempt_id])).get(attempt_id)
    after = rules.close(row.submission, stated, reach=reach, now=now, before=before, rules=submission_rules)
    await _require_own_id(conn, stated, attempt_id=attempt_id, refund_id=None)
    await submissions.write(conn, [Written(after.submission)], now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for fact in after.events]
    await events.append(conn, facts, now=now)
    statement_id = await _record(conn, stated, attempt_id=attempt_id, refund_id=None, now=now)
    if stated.unique_id is not None:
        await webhook_events.wake_known(conn, [stated.unique_id], now=now)
    state = after.submission.attempt.state
    return Closed(statement_id, attempt_id, None, state, state)


async def close_refund(
    conn: Connection,
    refund_id: int,
    stated: Statement,
    *,
    accounts: Collection[GatewayAccount],
    now: datetime,
    submission_rules: SubmissionRules = _RULES,
) -> Closed | None:
    """
    Close a refund or void of unknown outcome by what a person states.

    Args:
        conn: Inside a transaction.
        refund_id: The refund or void.
        stated: From `tether_core.stated_outcomes.statement`.
        accounts: All that are configured.
        submission_rules: How long a call may be under way.

    Returns:
        The result, or `None` where there is no such order.

    Raises:
        IllegalStep: when it cannot be closed by a person.
        InvalidRequest: when the id belongs to another payment.
    """
    row = (await refunds.locked(conn, [refund_id])).get(refund_id)
    if row is None:
        return None
    refund = row.refund
    reach = await _reach(conn, refund.order.attempt.account, accounts=accounts, now=now)
    outcome = rules.close_refund(refund, stated, reach=reach, now=now, rules=submission_rules)
    await _require_own_id(conn, stated, attempt_id=None, refund_id=refund_id)
    await refunds.write(conn, [Written(outcome.order)], now=now)
    if outcome.debit != refund.debit:
        await billing_attempts.move(conn, [outcome.debit], now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for fact in outcome.events]
    await events.append(conn, facts, now=now)
    statement_id = await _record(conn, stated, attempt_id=refund.debit.id, refund_id=refund_id, now=now)
    if stated.unique_id is not None:
        await webhook_events.wake_known(conn, [stated.unique_id], now=now)
    return Closed(statement_id, refund.debit.id, refund_id, outcome.order.attempt.state, outcome.debit.state)


async def of_attempt(conn: Connection, attempt_id: int) -> list[KeptStatement]:
    """What people stated about a debit and its refunds and voids, oldest first."""
    return await fetch_all(conn, _SQL["of_attempt"], {"attempt_id": attempt_id}, into=KeptStatement)


async def latest(conn: Connection, attempt_ids: Sequence[int]) -> dict[int, StatedOutcome]:
    """What was stated last of some debits; those of which nothing was are excluded."""
    cursor = await conn.execute(_SQL["latest"], {"attempt_ids": list(attempt_ids)})
    return dict(await cursor.fetchall())


async def latest_of_refunds(conn: Connection, attempt_ids: Sequence[int]) -> dict[int, StatedOutcome]:
    """What was stated last of the refunds and voids of some debits, by refund; those of which nothing was are excluded."""
    cursor = await conn.execute(_SQL["latest_of_refunds"], {"attempt_ids": list(attempt_ids)})
    return dict(await cursor.fetchall())


async def _reach(
    conn: Connection, account: str, *, accounts: Collection[GatewayAccount], now: datetime
) -> Reach:
    since = now.date() - timedelta(days=_RECENT_DAYS)
    recent = (await gateway_identities.recent(conn, [account], since=since)).get(account, frozenset())
    keys = {
        gateway_account.name: frozenset(found.key for found in configured(gateway_account))
        for gateway_account in accounts
    }
    return Reach(frozenset().union(*keys.values()), keys.get(account, frozenset()) | recent)


async def _require_own_id(
    conn: Connection, stated: Statement, *, attempt_id: int | None, refund_id: int | None
) -> None:
    if stated.unique_id is None:
        return
    known = {"unique_id": stated.unique_id, "attempt_id": attempt_id, "refund_id": refund_id}
    row = await (await conn.execute(_SQL["named"], known)).fetchone()
    if row is not None:
        raise InvalidRequest(
            f"another {row[0]} has this id; compare the id with the gateway's back office", field="unique_id"
        )


async def _record(
    conn: Connection, stated: Statement, *, attempt_id: int, refund_id: int | None, now: datetime
) -> int:
    values = {
        "attempt_id": attempt_id,
        "refund_id": refund_id,
        "outcome": stated.outcome,
        "unique_id": stated.unique_id,
        "reason": stated.reason,
        "by": stated.by,
        "now": now,
    }
    return await fetch_value(conn, _SQL["record"], values, into=int)
