"""Verification of accounts before billing; the queries are in `vop.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.vop import BANK_REST, BANK_UNANSWERED_MAX, Answers, Result, Score

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "BankAnswers",
    "BankChecks",
    "Check",
    "CheckPage",
    "Checked",
    "EarlierAnswers",
    "ListedCheck",
    "RestingBank",
    "SpentCalls",
    "UploadCheck",
    "add_bank_answers",
    "calls",
    "check_anew",
    "checked",
    "claim",
    "counts",
    "deferred",
    "due",
    "everywhere",
    "listed",
    "of_debtor",
    "report",
    "request",
    "request_again",
    "resting",
    "reusable",
    "scores",
    "spend",
    "spent",
]

_SQL: Final = load("vop")
# Checks that one page of all uploads looks at, where it has two filters.
_EXAMINED_MAX: Final = 2_000


class Check(msgspec.Struct, frozen=True):
    """
    A check to be made, under a lease.

    Attributes:
        debtor_id: Whose account.
        iban: The account.
        name: Its holder, as the debtor's row has it.
        failures: Tries that ended without answers.
        account: The gateway account whose budget pays for it.
        is_fresh: Whether no earlier answer may be taken over.
        iban_fingerprint: Of the account.
        bank: The first eight characters of the BIC of its bank, or `None`.
    """

    debtor_id: int
    iban: str
    name: str
    failures: int
    account: str = "default"
    is_fresh: bool = False
    iban_fingerprint: bytes = b""
    bank: str | None = None

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
        provider: Who answered; `None` for the provider of all.
        reused_from: The debtor whose answers were taken over.
    """

    debtor_id: int
    answers: Answers
    score: Score
    provider: str | None = None
    reused_from: int | None = None


class EarlierAnswers(msgspec.Struct, frozen=True):
    """
    Answers that another debtor's check got about the same account.

    Attributes:
        debtor_id: The other debtor.
        name: The holder, as that debtor's row has it.
        answers: The provider's.
    """

    debtor_id: int
    name: str
    answers: Answers

    def __repr__(self) -> str:
        """Say whose they are; the rest is personal."""
        return f"EarlierAnswers({self.debtor_id})"


class SpentCalls(msgspec.Struct, frozen=True):
    """
    Calls of the provider that an account has caused.

    Attributes:
        account: The gateway account.
        day_calls: Today, UTC.
        month_calls: This month, today included.
    """

    account: str
    day_calls: int
    month_calls: int


class RestingBank(msgspec.Struct, frozen=True):
    """
    A bank that the provider is not asked about for a while, because it did not answer.

    Attributes:
        bank: The first eight characters of its BIC.
        rest_until: When it is asked about again.
    """

    bank: str
    rest_until: datetime


class BankAnswers(msgspec.Struct, frozen=True):
    """
    What was answered about names at a bank.

    Attributes:
        bank: The first eight characters of its BIC.
        is_answered: Whether any name was answered.
        unanswered: How many were not.
    """

    bank: str
    is_answered: bool
    unanswered: int


class BankChecks(msgspec.Struct, frozen=True):
    """
    Finished checks of an upload at one bank with one answer about the name.

    Attributes:
        bank: The first eight characters of its BIC; null where nobody knows it.
        name_answer: "yes", "close", "no" or "unanswered".
        count: How many.
        reused: How many of these took an earlier answer over.
        bank_name: For people.
    """

    bank: str | None
    name_answer: str
    count: int
    reused: int
    bank_name: str | None


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


class UploadCheck(ListedCheck, frozen=True, kw_only=True):
    """
    A check in a list of all uploads; the columns of the query `newest`.

    In addition to `ListedCheck`:

    Attributes:
        upload_id: The upload of the debtor.
        account: The gateway account whose budget pays for it.
    """

    upload_id: int
    account: str


class CheckPage(msgspec.Struct, frozen=True):
    """
    A page of the checks of all uploads.

    Attributes:
        checks: Those that fit all filters.
        last: The debtor after whom the next page begins; `None` on the last page.
    """

    checks: list[UploadCheck]
    last: int | None


async def request(
    conn: Connection, upload_id: int, *, now: datetime, account: str = "default", share: float = 1.0
) -> int:
    """
    Request checks for the debtors of an upload that may be billed and have none; returns how many.

    Args:
        account: The gateway account whose budget pays for them.
        share: Above 0, up to 1: of all debtors; a smaller share is part of a larger one.
    """
    values = {"upload_id": upload_id, "account": account, "share": share, "now": now}
    return await _count(conn, "request", values)


async def request_again(conn: Connection, upload_id: int, *, now: datetime, account: str = "default") -> int:
    """Request new checks for the debtors of an upload that are checked or parked, without earlier answers; returns how many."""
    return await _count(conn, "request_again", {"upload_id": upload_id, "account": account, "now": now})


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

    Returns:
        Up to *limit* checks.
    """
    return await fetch_all(
        conn, _SQL["claim"], {"now": now, "leased_until": leased_until, "limit": limit}, into=_check
    )


def _check(*, iban_fingerprint: bytes, **columns: Any) -> Check:
    return Check(iban_fingerprint=bytes(iban_fingerprint), **columns)


async def reusable(
    conn: Connection, checks: Sequence[Check], *, provider: str, since: datetime
) -> dict[int, list[EarlierAnswers]]:
    """
    Answers about the same accounts that other debtors' checks got, by debtor, the latest first.

    Args:
        checks: Those that may take answers over.
        provider: Only its answers.
        since: Only later ones.
    """
    values = {
        "debtor_ids": [item.debtor_id for item in checks],
        "fingerprints": [item.iban_fingerprint for item in checks],
        "provider": provider,
        "since": since,
    }
    found = dict[int, list[EarlierAnswers]]()
    for row in await fetch_all(conn, _SQL["reusable"], values, into=dict[str, Any]):
        answers = Answers(
            iban=row["iban_answer"],
            bank=row["bank_answer"],
            debit=row["debit_answer"],
            country=row["country_answer"],
            name=row["name_answer"],
            name_percent=row["name_percent"],
            bank_name=row["bank_name"] or "",
            bic=row["bic"] or "",
        )
        earlier = EarlierAnswers(row["debtor_id"], row["name"] or "", answers)
        found.setdefault(row["for_debtor_id"], []).append(earlier)
    return found


async def calls(conn: Connection, account: str, *, on: date) -> tuple[int, int]:
    """The calls of an account on a day and in its month; other workers wait until this transaction ends."""
    spent = await fetch_all(conn, _SQL["calls"], {"account": account, "on": on}, into=SpentCalls)
    return spent[0].day_calls, spent[0].month_calls


async def spend(conn: Connection, account: str, *, on: date, count: int) -> None:
    """Count calls, in the transaction that read `calls`."""
    await conn.execute(_SQL["spend"], {"account": account, "on": on, "count": count})


async def spent(conn: Connection, *, on: date) -> list[SpentCalls]:
    """Calls of each account on a day and in its month; none for an account without."""
    return await fetch_all(conn, _SQL["spent"], {"on": on}, into=SpentCalls)


async def resting(conn: Connection, *, now: datetime) -> list[RestingBank]:
    """The banks that the provider is not asked about now."""
    return await fetch_all(conn, _SQL["resting"], {"now": now}, into=RestingBank)


async def add_bank_answers(conn: Connection, rows: Sequence[BankAnswers], *, now: datetime) -> None:
    """Add the answers about names by bank; a bank that did not answer for too long rests from now on."""
    if rows:
        values = {
            "banks": [row.bank for row in rows],
            "are_answered": [row.is_answered for row in rows],
            "unanswered": [row.unanswered for row in rows],
            "unanswered_max": BANK_UNANSWERED_MAX,
            "rest_until": now + BANK_REST,
            "now": now,
        }
        await conn.execute(_SQL["bank_answers"], values)


async def report(conn: Connection, upload_id: int) -> list[BankChecks]:
    """The finished checks of an upload by bank and answer, the most first."""
    return await fetch_all(conn, _SQL["report"], {"upload_id": upload_id}, into=BankChecks)


async def checked(
    conn: Connection, rows: Sequence[Checked], *, provider: str, leased_until: datetime, now: datetime
) -> None:
    """
    Write checks that were made.

    Args:
        rows: n checks.
        provider: Who answered.
        leased_until: The lease they were claimed under.
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
            "providers": [row.provider or provider for row in rows],
            "reused_from": [row.reused_from for row in rows],
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
    conn: Connection,
    upload_id: int,
    *,
    after: int,
    result: str | None,
    limit: int,
    state: str | None = None,
) -> list[ListedCheck]:
    """
    One page of an upload's checks, in the order of debtors.

    Args:
        upload_id: The upload.
        after: Only debtors with a larger id; 0 for the first page.
        result: Only checks with this result, or `None`.
        state: Only checks in this state, or `None`.

    Returns:
        Up to *limit* checks.
    """
    return await fetch_all(
        conn,
        _SQL["listed"],
        {"upload_id": upload_id, "after": after, "result": result, "state": state, "limit": limit},
        into=ListedCheck,
    )


async def everywhere(
    conn: Connection, *, before: int | None, result: str | None, state: str | None, limit: int
) -> CheckPage:
    """
    One page of the checks of all uploads, the newest debtors first.

    Args:
        before: Only debtors with a smaller id; `None` for the first page.
        result: Only checks with this result, or `None`.
        state: Only checks in this state, or `None`.

    Returns:
        Up to *limit* checks; with two filters, fewer do not mean that it is the last page.
    """
    lead = "by_result" if result is not None else "by_state" if state is not None else "newest"
    examined_max = limit + 1 if result is None or state is None else _EXAMINED_MAX
    values = {
        "before": before,
        "result": result,
        "state": state,
        "limit": limit + 1,
        "examined_max": examined_max,
    }
    rows = await fetch_all(conn, _SQL[lead], values, into=_examined)
    found = [check for check, fits, _ in rows if fits]
    if len(found) > limit:
        return CheckPage(found[:limit], found[limit - 1].debtor_id)
    # As far as this page has looked.
    is_cut = bool(rows) and rows[-1][2] == examined_max
    return CheckPage(found, rows[-1][0].debtor_id if is_cut else None)


def _examined(*, fits: bool, place: int, **columns: Any) -> tuple[UploadCheck, bool, int]:
    return UploadCheck(**columns), fits, place


async def of_debtor(conn: Connection, debtor_id: int) -> ListedCheck | None:
    """The check of a debtor; `None` where none was requested."""
    return await fetch_one(conn, _SQL["of_debtor"], {"debtor_id": debtor_id}, into=ListedCheck)


async def scores(conn: Connection, debtor_ids: Sequence[int]) -> dict[int, Score]:
    """The scores of debtors that were checked; those without a result are excluded."""
    cursor = await conn.execute(_SQL["scores"], {"debtor_ids": list(debtor_ids)})
    return {
        debtor_id: Score(score, answered, result)
        for debtor_id, score, answered, result in await cursor.fetchall()
    }


async def _count(conn: Connection, query: str, parameters: dict[str, object]) -> int:
    return await fetch_value(conn, _SQL[query], parameters, into=int)
