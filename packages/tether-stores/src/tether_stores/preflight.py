"""Pre-flight reports of uploads; the queries are in `preflight.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

import msgspec
from tether_core.preflight.estimate import DebtorGroup, Seen
from tether_core.preflight.fees import Fees
from tether_core.preflight.report import (
    ExcludedDebtors,
    PreflightFacts,
    PreflightLimits,
    PreflightReport,
    Standing,
    encode,
    exclusion,
    report,
)
from tether_core.preflight.signature import sign, signing_key
from tether_core.vop import Result, Score

from tether_stores import blacklist
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["StoredReport", "add", "by_id", "has_content", "last_of_upload", "made", "signed", "upload"]

_SQL: Final = load("preflight")
# Debtors may demand their money back for eight weeks: what is younger is not known to stay.
_MATURE: Final = timedelta(days=56)
_HISTORY: Final = timedelta(days=365)
# The last debits of the account that count: more say little more, and cost time.
SEEN_MAX: Final = 200_000


class StoredReport(msgspec.Struct, frozen=True):
    """
    A report as it is stored.

    Attributes:
        id: Our row.
        content: The signed bytes: JSON of `tether_core.preflight.report.PreflightReport`.
        signature: From `tether_core.preflight.signature.sign`; `None` where there was no key.
    """

    id: int
    content: bytes
    signature: str | None


class UploadFacts(msgspec.Struct, frozen=True):
    """
    What decides whether an upload has a report.

    Attributes:
        state: Of the upload.
        dry_run: Whether it stores no debtors.
        sha256: Of its file, in hex.
    """

    state: str
    dry_run: bool
    sha256: str


async def upload(conn: Connection, upload_id: int) -> UploadFacts | None:
    """An upload, or `None`."""
    return await fetch_one(conn, _SQL["upload"], {"upload_id": upload_id}, into=UploadFacts)


async def made(
    conn: Connection,
    upload_id: int,
    *,
    sha256: str,
    account: str,
    fees: Fees | None,
    rule: PreflightLimits,
    made_by: str,
    now: datetime,
    vop_score_min: int | None = None,
) -> PreflightReport:
    """
    Make the report of an upload; nothing is written.

    Args:
        sha256: Of its file, in hex.
        account: The gateway account whose history counts.
        fees: Of the account; `None` where they are unknown.
        rule: The limits.
        made_by: Who ordered it.
        vop_score_min: The least score of the check before billing that a run will demand; `None` where it demands none.
    """
    to_on = (now.astimezone(UTC) - _MATURE).date()
    from_on = to_on - _HISTORY
    seen = await fetch_all(
        conn,
        _SQL["seen"],
        {"account": account, "from_at": _at(from_on), "to_at": _at(to_on), "limit": SEEN_MAX},
        into=Seen,
    )
    listed_banks = await blacklist.banks_listed(conn, now=now)
    rows = await fetch_all(
        conn,
        _SQL["groups"],
        {
            "upload_id": upload_id,
            "now": now,
            "by_bic": bool(listed_banks),
            "by_check": vop_score_min is not None,
        },
        into=_group,
    )
    groups = list[tuple[str, DebtorGroup]]()
    excluded = list[tuple[str, ExcludedDebtors]]()
    for currency, group, of in rows:
        verdict = exclusion(of, listed_banks=listed_banks, vop_score_min=vop_score_min)
        if verdict is None:
            groups.append((currency, group))
        else:
            excluded.append((currency, ExcludedDebtors(verdict, group.count, group.amount_minor)))
    last_on = to_on - timedelta(days=1)
    facts = PreflightFacts(upload_id, sha256, account, now, made_by, from_on, last_on, vop_score_min)
    return report(groups, seen, fees=fees, rule=rule, facts=facts, excluded=excluded)


def signed(content: bytes, *, secrets: tuple[str, ...]) -> str | None:
    """
    The signature of a report under the present key; `None` without one.

    Args:
        content: The report's bytes.
        secrets: `TETHER_SECRETS_KEY`, the present key first.
    """
    return sign(content, key=signing_key(secrets[0])) if secrets else None


async def add(
    conn: Connection, found: PreflightReport, *, secrets: tuple[str, ...], now: datetime
) -> StoredReport:
    """Sign a report and store it."""
    content = encode(found)
    signature = signed(content, secrets=secrets)
    row_id = await fetch_value(
        conn,
        _SQL["add"],
        {
            "upload_id": found.upload_id,
            "account": found.account,
            "verdict": found.verdict,
            "content": content,
            "signature": signature,
            "made_by": found.made_by,
            "now": now,
        },
        into=int,
    )
    return StoredReport(row_id, content, signature)


async def by_id(conn: Connection, report_id: int) -> StoredReport | None:
    """A report, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": report_id}, into=StoredReport, binary=True)


async def last_of_upload(
    conn: Connection, upload_id: int, *, accounts: Sequence[str] | None
) -> StoredReport | None:
    """
    The last report of an upload, or `None`.

    Args:
        accounts: Only reports with one of these gateway accounts; `None` for any.
    """
    given = {"upload_id": upload_id, "accounts": None if accounts is None else list(accounts)}
    return await fetch_one(conn, _SQL["last_of_upload"], given, into=StoredReport, binary=True)


async def has_content(conn: Connection, upload_id: int, content: bytes) -> bool:
    """Whether a report of an upload with exactly these bytes is stored."""
    return await fetch_value(
        conn, _SQL["with_content"], {"upload_id": upload_id, "content": content}, into=bool
    )


def _at(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _group(
    *,
    currency: str,
    listed: Literal["hold", "block"] | None,
    bic: str | None,
    score: int | None,
    answered: int | None,
    result: Result | None,
    squares: Any,
    **columns: Any,
) -> tuple[str, DebtorGroup, Standing]:
    checked = None
    if score is not None and answered is not None and result is not None:
        checked = Score(score, answered, result)
    group = DebtorGroup(squares=int(squares), **columns)
    return currency, group, Standing(listed, bic, group.bank or None, checked)
