"""Verdicts of stored debtors and of rows of a dry run that change after screening; the queries are in `verdicts.sql`."""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Final

import msgspec
from tether_core.payments.same_debit import DebitKey, key_of
from tether_core.screening.questions import RepeatGroup
from tether_core.screening.verdicts import Verdict

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = [
    "SharedAccountRow",
    "exclude",
    "exclude_dry_run_rows",
    "question_groups",
    "shared_accounts",
    "take",
]

_SQL: Final = load("debtors/verdicts")

# Rows taken over from the driver at a time.
_FETCHED: Final = 500


class SharedAccountRow(msgspec.Struct, frozen=True):
    """
    A row whose account has several rows in the file.

    Attributes:
        id: The debtor; 0 in a dry run.
        row: Row number in the file.
        amount_minor: The amount owed.
        key: Of its debit.
        verdict: The verdict of screening.
    """

    id: int
    row: int
    amount_minor: int
    key: DebitKey
    verdict: str


async def shared_accounts(
    conn: Connection, upload_id: int, *, dry_run: bool
) -> AsyncIterator[list[SharedAccountRow]]:
    """
    The rows of accounts that have several rows in an upload, without duplicates.

    Args:
        dry_run: Whether the upload is a dry run.

    Yields:
        The rows of one account, in the order of the file.
    """
    query = _SQL["shared_accounts_dry_run" if dry_run else "shared_accounts"]
    cursor = await conn.execute(query, {"upload_id": upload_id}, binary=True)
    account, some = b"", list[SharedAccountRow]()
    while rows := await cursor.fetchmany(_FETCHED):
        for fingerprint, debtor_id, row, amount_minor, reference, mandate_id, customer_id, verdict in rows:
            if fingerprint != account:
                if some:
                    yield some
                account, some = fingerprint, []
            key = key_of(reference, mandate_id, customer_id)
            some.append(SharedAccountRow(debtor_id, row, amount_minor, key, verdict))
    if some:
        yield some


async def exclude(conn: Connection, found: Mapping[int, Verdict], *, first: bool) -> None:
    """
    Exclude stored debtors for a further reason.

    Args:
        conn: Inside the transaction that adjusts the counts of their upload.
        found: Debtor to reason.
        first: Whether the reason becomes the verdict of all.
    """
    if not found:
        return
    values = {
        "ids": list(found),
        "rules": [verdict.rule for verdict in found.values()],
        "causes": [verdict.cause for verdict in found.values()],
        "reasons": [_as_json(verdict) for verdict in found.values()],
        "first": first,
    }
    await conn.execute(_SQL["exclude"], values)


async def exclude_dry_run_rows(
    conn: Connection, upload_id: int, found: Mapping[int, Verdict], *, first: bool
) -> None:
    """As `exclude` for rows of a dry run, by row number."""
    if not found:
        return
    values = {
        "upload_id": upload_id,
        "rows": list(found),
        "rules": [verdict.rule for verdict in found.values()],
        "reasons": [_as_json(verdict) for verdict in found.values()],
        "first": first,
    }
    await conn.execute(_SQL["exclude_dry_run_rows"], values)


async def question_groups(
    conn: Connection, upload_id: int, *, rules: Collection[str], dry_run: bool
) -> list[RepeatGroup]:
    """
    Groups of rows of an upload that a person has to decide about.

    Args:
        rules: The rules of screening that leave the decision to a person.
        dry_run: Whether the upload is a dry run.
    """
    query = _SQL["question_groups_dry_run" if dry_run else "question_groups"]
    values = {"upload_id": upload_id, "rules": list(rules)}
    return await fetch_all(conn, query, values, into=RepeatGroup)


async def take(
    conn: Connection,
    upload_id: int,
    *,
    taken: Collection[str],
    excluded: Collection[str],
    screened_at: datetime,
    limit: int,
) -> list[tuple[int, int, str]]:
    """
    Take rows that a person decided to collect.

    Args:
        conn: Inside the transaction that adjusts the counts of their upload.
        taken: Rules whose rows are taken.
        excluded: Rules whose rows stay excluded.
        screened_at: When the upload was screened; debits known later are not covered by the decision.

    Returns:
        Row, amount and previous verdict of each; none when all are done.
    """
    cursor = await conn.execute(
        _SQL["take"],
        {
            "upload_id": upload_id,
            "taken": list(taken),
            "excluded": list(excluded),
            "screened_at": screened_at,
            "limit": limit,
        },
    )
    return [(row, amount_minor, verdict) for row, amount_minor, verdict in await cursor.fetchall()]


def _as_json(verdict: Verdict) -> str:
    """The reasons of one verdict, as they are stored."""
    return msgspec.json.encode([verdict]).decode()
