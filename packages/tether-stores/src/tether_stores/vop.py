"""Verification of accounts before billing; the queries are in `vop.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.vop import Answers, Result, Score

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "Check",
    "Checked",
    "ListedCheck",
    "check_anew",
    "checked",
    "claim",
    "counts",
    "deferred",
    "due",
    "listed",
    "request",
    "request_again",
    "scores",
]

_SQL: Final = load("vop")


class Check(msgspec.Struct, frozen=True):
    """
    A check to be made, under a lease.

    Attributes:
        debtor_id: Whose account.
        iban: The account.
        name: Its holder, as the debtor's row has it.
        failures: Tries that ended without answers.
    """

    debtor_id: int
    iban: str
    name: str
    failures: int

    def __repr__(self) -> str:
        """Say whose it is; the rest is personal."""
        return f"Check({self.debtor_id})"


class Checked(msgspec.Struct, frozen=True):
    """
    A check that was made.

    Attributes:
        debtor_id: Whose account.
        answers: The provider's.
        score: Their result.
    """

    debtor_id: int
    answers: Answers
    score: Score


class ListedCheck(msgspec.Struct, frozen=True):
    """
    A check for people; the columns of the query `listed`.

    Attributes:
        debtor_id: Whose account.
        state: "waiting", "checked" or "parked".
        provider: Who answered.
        score: How well all answers fit, in whole percent.
        answered: The share of answered questions, in whole percent.
        result: What the score means, see `tether_core.vop`.
        iban: Whether the IBAN is one.
        bank: Whether its bank is known.
        debit: Whether the bank takes direct debits.
        country: Whether account and debtor are of one country.
        name: Whether the name is that of the account.
        bank_name: The bank's name.
        bic: The bank's BIC.
        requested_at: When it was requested.
        checked_at: When it was answered.
    """

    debtor_id: int
    state: str
    provider: str | None
    score: int | None
    answered: int | None
    result: str | None
    iban: str | None
    bank: str | None
    debit: str | None
    country: str | None
    name: str | None
    bank_name: str | None
    bic: str | None
    requested_at: datetime
    checked_at: datetime | None


async def request(conn: Connection, upload_id: int, *, now: datetime) -> int:
    """Request checks for the debtors of an upload that may be billed and have none; returns how many."""
    return await _count(conn, "request", {"upload_id": upload_id, "now": now})


async def request_again(conn: Connection, upload_id: int, *, now: datetime) -> int:
    """Request new checks for the debtors of an upload that are checked or parked; returns how many."""
    return await _count(conn, "request_again", {"upload_id": upload_id, "now": now})


async def check_anew(conn: Connection, debtor_id: int, *, now: datetime) -> None:
    """
    Ask for the check of a debtor who was edited once more, where checks were asked for; one that is made just now is ignored.

    Args:
        conn: The transaction that has edited the debtor.
    """
    forgotten = await (await conn.execute(_SQL["forget"], {"debtor_id": debtor_id})).fetchone()
    values = {"debtor_id": debtor_id, "had_one": forgotten is not None, "now": now}
    await conn.execute(_SQL["request_one"], values)


async def claim(conn: Connection, *, now: datetime, leased_until: datetime, limit: int) -> list[Check]:
    """
    Take a lease on checks that are due.

    Args:
        conn: In autocommit mode: the lease must be committed before the request is made.
        leased_until: The end of the lease, which also identifies it.
        limit: Rows at most.

    Returns:
        Up to *limit* checks.
    """
    return await fetch_all(
        conn, _SQL["claim"], {"now": now, "leased_until": leased_until, "limit": limit}, into=Check
    )


async def checked(
    conn: Connection, rows: Sequence[Checked], *, provider: str, leased_until: datetime, now: datetime
) -> None:
    """
    Write checks that were made.

    Args:
        conn: Any connection.
        rows: n checks.
        provider: Who answered.
        leased_until: The lease they were claimed under.
        now: The current time.
    """
    await conn.execute(
        _SQL["checked"],
        {
            "debtor_ids": [row.debtor_id for row in rows],
            "iban_answers": [row.answers.iban for row in rows],
            "bank_answers": [row.answers.bank for row in rows],
            "debit_answers": [row.answers.debit for row in rows],
            "country_answers": [row.answers.country for row in rows],
            "name_answers": [row.answers.name for row in rows],
            "name_percents": [row.answers.name_percent for row in rows],
            "bank_names": [row.answers.bank_name for row in rows],
            "bics": [row.answers.bic for row in rows],
            "scores": [row.score.score for row in rows],
            "answereds": [row.score.answered for row in rows],
            "results": [row.score.result for row in rows],
            "provider": provider,
            "leased_until": leased_until,
            "now": now,
        },
    )


async def deferred(
    conn: Connection, rows: Sequence[tuple[int, int, datetime | None]], *, leased_until: datetime
) -> None:
    """
    Let checks wait on, or park them.

    Args:
        conn: Any connection.
        rows: Debtor, tries that ended without answers, and when to try again (`None` to park).
        leased_until: The lease they were claimed under.
    """
    await conn.execute(
        _SQL["deferred"],
        {
            "debtor_ids": [debtor_id for debtor_id, _, _ in rows],
            "failures": [failures for _, failures, _ in rows],
            "next_ats": [next_at for _, _, next_at in rows],
            "leased_until": leased_until,
        },
    )


async def due(conn: Connection, *, now: datetime) -> bool:
    """Whether a check is due and nobody has it."""
    return await fetch_value(conn, _SQL["due"], {"now": now}, into=bool)


async def counts(conn: Connection, upload_id: int) -> dict[tuple[str | None, Result | None], int]:
    """An upload's debtors by state and result of their check; those without one have neither."""
    cursor = await conn.execute(_SQL["counts"], {"upload_id": upload_id})
    return {(state, result): count for state, result, count in await cursor.fetchall()}


async def listed(
    conn: Connection, upload_id: int, *, after: int, result: str | None, limit: int
) -> list[ListedCheck]:
    """
    One page of an upload's checks, in the order of debtors.

    Args:
        conn: Any connection.
        upload_id: The upload.
        after: Only debtors with a larger id; 0 for the first page.
        result: Only checks with this result, or `None`.
        limit: Rows at most.

    Returns:
        Up to *limit* checks.
    """
    return await fetch_all(
        conn,
        _SQL["listed"],
        {"upload_id": upload_id, "after": after, "result": result, "limit": limit},
        into=ListedCheck,
    )


async def scores(conn: Connection, debtor_ids: Sequence[int]) -> dict[int, Score]:
    """The scores of debtors that were checked; those without a result are excluded."""
    cursor = await conn.execute(_SQL["scores"], {"debtor_ids": list(debtor_ids)})
    return {
        debtor_id: Score(score, answered, result)
        for debtor_id, score, answered, result in await cursor.fetchall()
    }


async def _count(conn: Connection, query: str, parameters: dict[str, object]) -> int:
    return await fetch_value(conn, _SQL[query], parameters, into=int)
