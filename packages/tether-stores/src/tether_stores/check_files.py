"""
Files of accounts and names that are checked without becoming debtors; the queries are in `check_files.sql`, which describes the rows.

`due`, `claim`, `checked` and `deferred` are those of `tether_stores.vop`, so that one job checks both. A row of a file is a `Check` with its negative id, which
no debtor has.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.check_files import FileRow

from tether_stores.banks import bank_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value
from tether_stores.vop import BankChecks, Check, Checked

__all__ = [
    "CheckFile",
    "CheckedRow",
    "add",
    "by_id",
    "checked",
    "claim",
    "deferred",
    "due",
    "listed",
    "prune",
    "remove",
    "report",
    "rows",
]

_SQL: Final = load("check_files")


class CheckFile(msgspec.Struct, frozen=True):
    """
    A file.

    Attributes:
        id: Its row.
        account: The gateway account whose budget pays for the calls.
        row_count: Its rows.
        created_by: Who sent it.
        created_at: When it came; it is removed 30 days later.
        checked: Rows with a result.
        parked: Rows that the provider did not answer for a day.
    """

    id: int
    account: str
    row_count: int
    created_by: str
    created_at: datetime
    checked: int
    parked: int


class CheckedRow(msgspec.Struct, frozen=True):
    """
    A row of a file with its result.

    Attributes:
        row_number: From 1, the header included.
        iban: As it was sent, without blanks.
        name: As it was sent.
        state: "waiting", "checked" or "parked".
        result: What the score means, see `tether_core.vop`.
        score: How well all answers fit, in whole percent.
        name_answer: "yes", "close", "no" or "unanswered".
        name_percent: How well the name fits.
        bank_name: The bank's name.
        bic: The bank's BIC.
        provider: Who answered.
        reused_from: The debtor whose answers were taken over.
        checked_at: When it was answered.
    """

    row_number: int
    iban: str
    name: str
    state: str
    result: str | None
    score: int | None
    name_answer: str | None
    name_percent: int | None
    bank_name: str | None
    bic: str | None
    provider: str | None
    reused_from: int | None
    checked_at: datetime | None

    def __repr__(self) -> str:
        """Say where it is; the rest is personal."""
        return f"CheckedRow({self.row_number})"


async def add(
    conn: Connection, given: Sequence[FileRow], *, account: str, created_by: str, now: datetime
) -> int:
    """Add a file whose rows are due at once; returns its id."""
    values = {"account": account, "row_count": len(given), "created_by": created_by, "now": now}
    file_id = await fetch_value(conn, _SQL["add"], values, into=int)
    await conn.execute(
        _SQL["add_rows"],
        {
            "file_id": file_id,
            "row_numbers": [row.row_number for row in given],
            "ibans": [row.iban for row in given],
            "names": [row.name for row in given],
            "banks": [bank_of(row.iban) for row in given],
            "now": now,
        },
    )
    return file_id


async def listed(conn: Connection, *, limit: int) -> list[CheckFile]:
    """The files, newest first, up to *limit*."""
    return await fetch_all(conn, _SQL["listed"], {"limit": limit}, into=CheckFile)


async def by_id(conn: Connection, file_id: int) -> CheckFile | None:
    """One file, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"file_id": file_id}, into=CheckFile)


async def rows(
    conn: Connection,
    file_id: int,
    *,
    after: int,
    limit: int,
    result: str | None = None,
    state: str | None = None,
) -> list[CheckedRow]:
    """The rows of a file in their order, after a row number, up to *limit*; with a result and in a state, where these are given."""
    values = {"file_id": file_id, "after": after, "result": result, "state": state, "limit": limit}
    return await fetch_all(conn, _SQL["rows"], values, into=CheckedRow)


async def report(conn: Connection, file_id: int) -> list[BankChecks]:
    """The finished rows of a file by bank and answer, the most first."""
    return await fetch_all(conn, _SQL["report"], {"file_id": file_id}, into=BankChecks)


async def remove(conn: Connection, file_id: int) -> bool:
    """Remove a file with its results; whether there was one."""
    return await (await conn.execute(_SQL["remove"], {"file_id": file_id})).fetchone() is not None


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Remove up to *limit* files that came before a time; returns how many."""
    return await fetch_value(conn, _SQL["prune"], {"before": before, "limit": limit}, into=int)


async def due(conn: Connection, *, now: datetime) -> bool:
    """Whether a row is due and nobody has it."""
    return await fetch_value(conn, _SQL["due"], {"now": now}, into=bool)


async def claim(conn: Connection, *, now: datetime, leased_until: datetime, limit: int) -> list[Check]:
    """Take a lease on up to *limit* rows that are due, as `tether_stores.vop.claim`."""
    values = {"now": now, "leased_until": leased_until, "limit": limit}
    return await fetch_all(conn, _SQL["claim"], values, into=_check)


def _check(*, id: int, **columns: Any) -> Check:  # noqa: A002 - the column's name
    return Check(-id, **columns)


async def checked(
    conn: Connection, rows: Sequence[Checked], *, provider: str, leased_until: datetime, now: datetime
) -> None:
    """Write rows that were checked, as `tether_stores.vop.checked`."""
    await conn.execute(
        _SQL["checked"],
        {
            "ids": [-row.debtor_id for row in rows],
            "name_answers": [row.answers.name for row in rows],
            "name_percents": [row.answers.name_percent for row in rows],
            "bank_names": [row.answers.bank_name for row in rows],
            "bics": [row.answers.bic for row in rows],
            "scores": [row.score.score for row in rows],
            "answereds": [row.score.answered for row in rows],
            "results": [row.score.result for row in rows],
            "providers": [row.provider or provider for row in rows],
            "reused_from": [row.reused_from for row in rows],
            "leased_until": leased_until,
            "now": now,
        },
    )


async def deferred(
    conn: Connection, rows: Sequence[tuple[int, int, datetime | None]], *, leased_until: datetime
) -> None:
    """Let rows wait on, or park them, as `tether_stores.vop.deferred`."""
    await conn.execute(
        _SQL["deferred"],
        {
            "ids": [-row_id for row_id, _, _ in rows],
            "failures": [failures for _, failures, _ in rows],
            "next_ats": [next_at for _, _, next_at in rows],
            "leased_until": leased_until,
        },
    )
