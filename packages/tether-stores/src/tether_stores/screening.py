"""
Screen staged rows: load what is known of their accounts, and ask `tether_core.screening` about each.

The rows of a chunk of a file are judged in the order of the file. A single row that a person has edited is judged against all others
of its file, which stay as they were judged.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tether_core import banks
from tether_core.blacklist import email_key, name_keys, policy_for
from tether_core.payments.matches import matches
from tether_core.payments.repeats import repeat_of
from tether_core.payments.same_debit import identifies
from tether_core.screening.verdicts import Facts, ScreeningPolicy, Verdict, reasons

from tether_stores import blacklist
from tether_stores.debtors import staging
from tether_stores.debtors.staging import AccountFacts, BankOfRow, RelatedRows
from tether_stores.postgres import Connection

__all__ = ["screened"]


async def screened(
    conn: Connection,
    upload_id: int,
    *,
    dry_run: bool,
    policy: ScreeningPolicy,
    now: datetime,
    edited: int | None = None,
    banks_of_rows: Iterable[BankOfRow] = (),
) -> tuple[dict[int, tuple[Verdict, ...]], int]:
    """
    Judge the staged rows.

    Args:
        conn: The transaction that staged them.
        dry_run: Whether earlier rows of this upload are only remembered.
        policy: How strictly to screen.
        edited: The debtor whose row is staged alone because a person has edited it; `None` for rows of a file that is read.
        banks_of_rows: The banks of the staged rows; read only while banks are on the blacklist.

    Returns:
        Row to the reasons for which it is excluded, and what these rows owe together.
    """
    facts: dict[int, Facts] = {}
    amounts: dict[int, int] = {}
    since = now - timedelta(days=policy.window_days + 1)
    related = staging.related(conn, upload_id, since=since, dry_run=dry_run, now=now, edited=edited)
    async for some in related:
        amounts |= {row: amount_minor for row, _, amount_minor in some.staged}
        facts |= (_among_related if edited is None else _beside_edited)(some, policy=policy, now=now)
    async for known in staging.screen(conn, now=now):
        amounts[known.row] = known.amount_minor
        facts[known.row] = msgspec.structs.replace(
            facts.get(known.row, _NOTHING),
            listed=known.listed,
            listed_cause=_listed_cause(known),
            chargebacked=known.charged_back,
        )
    if await blacklist.names_any(conn):
        for row, (amount_minor, name, email) in (await _names_listed(conn, now=now)).items():
            amounts[row] = amount_minor
            facts[row] = msgspec.structs.replace(
                facts.get(row, _NOTHING), name_listed=name, email_listed=email
            )
    if listed_banks := await blacklist.banks_listed(conn, now=now):
        for staged in banks_of_rows:
            listing = banks.find(listed_banks, bic=staged.bic, bank=staged.bank)
            if listing is not None:
                amounts[staged.row] = staged.amount_minor
                facts[staged.row] = msgspec.structs.replace(
                    facts.get(staged.row, _NOTHING), bank_listed=listing
                )
    # One text for the thousands of rows that are excluded for the same cause.
    shared: dict[tuple[Verdict, ...], tuple[Verdict, ...]] = {}
    verdicts: dict[int, tuple[Verdict, ...]] = {}
    for row, known_of_row in facts.items():
        if found := reasons(known_of_row, policy=policy):
            verdicts[row] = shared.setdefault(found, found)
    return verdicts, sum(amounts[row] for row in verdicts)


_NOTHING: Final = Facts()


def _among_related(some: RelatedRows, *, policy: ScreeningPolicy, now: datetime) -> dict[int, Facts]:
    """
    What the other rows and debits of an account say of its staged rows.

    Within the file only exact repeats are found here: rows that are equal by a blank value are found when all rows are known.
    """
    facts: dict[int, Facts] = {}
    one_each = policy.same == "iban"
    first: dict[object, int] = {}
    for row, key in sorted([*some.in_file, *((row, key) for row, key, _ in some.staged)], key=_by_row):
        if one_each or identifies(key):
            first.setdefault(None if one_each else key, row)
    found = matches(some.staged, some.elsewhere, now=now, window_days=policy.window_days)
    for row, key, _ in some.staged:
        original = first.get(None if one_each else key, row)
        elsewhere = found.get(row, ())
        if original != row or elsewhere:
            facts[row] = Facts(duplicate_of=None if original == row else original, matches=elsewhere)
    return facts


def _beside_edited(some: RelatedRows, *, policy: ScreeningPolicy, now: datetime) -> Mapping[int, Facts]:
    """What the other rows and debits of an account say of a single row that was edited."""
    found = matches(some.staged, some.elsewhere, now=now, window_days=policy.window_days)
    facts: dict[int, Facts] = {}
    for row, key, _ in some.staged:
        same, unclear = repeat_of(key, some.in_file, one_per_account=policy.same == "iban")
        facts[row] = Facts(duplicate_of=same, unclear_with=unclear, matches=found.get(row, ()))
    return facts


def _by_row(pair: tuple[int, object]) -> int:
    return pair[0]


def _listed_cause(known: AccountFacts) -> str:
    if known.listed is None:
        return ""
    code, note = known.listed_reason_code or "", known.listed_note or ""
    policy = policy_for(code)
    parts = [code, note or (policy.meaning if policy.known else "")]
    return ": ".join(part for part in parts if part)


async def _names_listed(conn: Connection, *, now: datetime) -> dict[int, tuple[int, bool, bool]]:
    """Find the staged rows whose name or e-mail address is on the blacklist, with their amount."""
    found: dict[int, tuple[int, bool, bool]] = {}
    async for staged in staging.names_staged(conn, limit=10_000):
        names, emails = await blacklist.names_among(
            conn,
            name_keys={key for _, _, name, _ in staged for key in name_keys(name)},
            emails={email_key(email) for _, _, _, email in staged if email},
            now=now,
        )
        for row, amount_minor, name, email in staged if names or emails else ():
            name_listed = not names.isdisjoint(name_keys(name))
            email_listed = bool(email) and email_key(email or "") in emails
            if name_listed or email_listed:
                found[row] = amount_minor, name_listed, email_listed
    return found
