"""What commands read and write: the completeness report, report fetches, account checks, reconciliation differences."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.reconciliation.completeness import days_between
from tether_stores import audit, vop
from tether_stores.accounts import gateway_accounts
from tether_stores.clock import timestamp
from tether_stores.postgres import Connection, connection, open_pool, transaction
from tether_stores.reconciliation import differences
from tether_stores.reconciliation.completeness import Completeness, draw_up
from tether_stores.reconciliation.differences import DifferenceLine
from tether_stores.settings import Settings

from tether_worker.reconciliation.report_fetches import want

__all__ = [
    "acknowledge_difference",
    "completeness",
    "open_differences",
    "request_checks",
    "request_report_fetches",
]


async def completeness(settings: Settings, *, from_on: date, to_on: date) -> Completeness:
    """
    Draw up the completeness report of some days.

    Args:
        settings: With `DATABASE_URL` and the account of the environment.
        from_on: The first day, UTC.
        to_on: The last day, UTC.

    Raises:
        InvalidRequest: when the last day comes before the first.
        StoreUnreachable: when Postgres does not answer.
    """
    async with _connected(settings) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=settings)
        return await draw_up(conn, from_on=from_on, to_on=to_on, accounts=accounts, now=await timestamp(conn))


async def request_report_fetches(settings: Settings, *, from_on: date, to_on: date) -> int:
    """
    Request the report fetches of some days, for all accounts.

    Args:
        settings: With `DATABASE_URL` and the account of the environment.
        from_on: The first day, UTC.
        to_on: The last day, UTC.

    Returns:
        How many reports will be fetched.

    Raises:
        InvalidRequest: when the last day comes before the first, or there is no account.
        StoreUnreachable: when Postgres does not answer.
    """
    days = days_between(from_on, to_on)
    async with (
        open_pool(settings.database_url, name="tether-requests", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        accounts = await gateway_accounts.all_accounts(conn, settings=settings)
        if not accounts:
            raise InvalidRequest("there is no gateway account; set EMP_API_URL and its credentials")
        now = await timestamp(conn)
        wanted = await want(conn, accounts, days, now=now)
        await audit.record(
            conn,
            audit.operator(),
            "report_fetches.requested",
            subject="report_fetches",
            after=facts(from_on=str(from_on), to_on=str(to_on), reports=wanted),
            now=now,
        )
    return wanted


async def request_checks(settings: Settings, *, upload_id: int, again: bool) -> int:
    """
    Request checks of the accounts of an upload's debtors.

    Args:
        again: Whether accounts that were checked before are checked once more.

    Returns:
        How many will be checked.

    Raises:
        StoreUnreachable: when Postgres does not answer.
    """
    async with (
        open_pool(settings.database_url, name="tether-requests", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        once_more = await vop.request_again(conn, upload_id, now=now) if again else 0
        requested = once_more + await vop.request(conn, upload_id, now=now)
        await audit.record(
            conn,
            audit.operator(),
            "checks.requested",
            subject="upload",
            subject_id=upload_id,
            after=facts(checks=requested, again=again),
            now=now,
        )
    return requested


async def open_differences(settings: Settings) -> list[DifferenceLine]:
    """The open reconciliation differences, oldest first, at most a thousand."""
    async with _connected(settings) as conn:
        return await differences.open_lines(conn, limit=1_000)


async def acknowledge_difference(
    settings: Settings, line_id: int, *, reason: str, order_again: bool
) -> DifferenceLine:
    """
    Acknowledge a difference.

    Args:
        reason: What was found.
        order_again: Whether the failed refund may be ordered again.

    Returns:
        The line as it was.

    Raises:
        InvalidRequest: when there is no such line, no reason, or nothing to order again.
        IllegalStep: when it is not open any more.
        StoreUnreachable: when Postgres does not answer.
    """
    async with (
        open_pool(settings.database_url, name="tether-requests", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now, actor = await timestamp(conn), audit.operator()
        line = await differences.acknowledge(
            conn,
            line_id,
            by=f"command line of {actor.label}",
            reason=reason,
            order_again=order_again,
            now=now,
        )
        if line is None:
            raise InvalidRequest(
                "there is no such line; see `tether-worker differences`", field="--acknowledge"
            )
        await audit.record(
            conn,
            actor,
            "difference.acknowledged",
            subject="difference",
            subject_id=line_id,
            reason=reason,
            after=facts(kind=line.kind, order_again=order_again),
            now=now,
        )
    return line


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Connection]:
    async with (
        open_pool(settings.database_url, name="tether-requests", max_size=1) as pool,
        connection(pool) as conn,
    ):
        yield conn
