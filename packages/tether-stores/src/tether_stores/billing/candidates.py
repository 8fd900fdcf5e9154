"""Debtors whom a run may bill, with what decides about each; the queries are in `billing/candidates.sql`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
from tether_core import banks
from tether_core.billing.debit_request import Payer
from tether_core.billing.eligibility import Candidate
from tether_core.billing.overrides import Override, of_debtors
from tether_core.billing.refunded_before import RefundedDebit
from tether_core.blacklist import ActiveEntry, email_key, name_keys
from tether_core.payments.matches import EarlierDebit, elsewhere, status_of
from tether_core.payments.same_debit import WINDOW_DAYS, DebitKey, compare, key_of, plain
from tether_core.target_calendar import bank_day
from tether_core.vop import Score

from tether_stores import blacklist, holds
from tether_stores.debtors.debtors import reasons_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.recurring import mandates, pre_notifications, schedules
from tether_stores.rows import fetch_all

__all__ = ["Owing", "billed_items", "load_owing", "other_items"]

_SQL: Final = load("billing/candidates")


class Owing(msgspec.Struct, frozen=True):
    """
    A debtor with what decides whether an item may be collected.

    Attributes:
        candidate: The facts that decide.
        payer: The payer's details for the debit.
        iban_fingerprint: Of the account.
        next_number: The number of the next try for the item.
        email: The debtor's e-mail address, as in the file.
        bank: The first eight characters of the BIC of the account's bank, or `None` where nobody knows it.
        upload_id: The upload of the debtor.
        key: Of the debit.
        taken_at: A person decided that this debit is to be collected in spite of debits known up to then; `None` for no decision.
        mandate_signed_on: When the debtor signed the mandate, by the row; `None` where it does not say.
        is_one_off: Whether the mandate that its row names is for one debit.
    """

    candidate: Candidate
    payer: Payer
    iban_fingerprint: bytes
    next_number: int
    email: str | None = None
    bank: str | None = None
    upload_id: int | None = None
    key: DebitKey = DebitKey()
    taken_at: datetime | None = None
    mandate_signed_on: date | None = None
    is_one_off: bool = False

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"Owing({self.candidate!r})"


async def load_owing(
    conn: Connection,
    *,
    due_item: str,
    now: datetime,
    limit: int,
    upload_id: int | None = None,
    after: int = 0,
    ids: Sequence[int] | None = None,
    without: Sequence[int] = (),
    overrides: Sequence[Override] = (),
    amounts: Mapping[int, int] | None = None,
    with_notices: bool = False,
) -> list[Owing]:
    """
    Load what decides whether an item may be collected from debtors; in the order of their ids.

    Args:
        due_item: What is owed.
        upload_id: Only debtors of this upload; `None` for all.
        after: Of an upload: only debtors after this id.
        ids: Only these debtors; `None` for all.
        without: Attempts that do not count: those that are about to be submitted.
        overrides: The verdicts that the run overrides.
        amounts: What debtors owe by the due items of their schedules, by debtor, in place of the amounts of their rows; `None` for a run
            that a person ordered, which leaves debtors with a schedule out.
        with_notices: Whether pre-notifications are looked up, for a run that requires them.
    """
    rows = await fetch_all(
        conn,
        _SQL["owing"],
        {
            "due_item": due_item,
            "now": now,
            "limit": limit,
            "upload_id": upload_id,
            "after": after,
            "ids": None if ids is None else list(ids),
            "without": list(without),
        },
        into=dict[str, Any],
        binary=True,
    )
    set_aside = of_debtors(overrides, [row["id"] for row in rows])
    owing = [_owing(row, set_aside.get(row["id"], frozenset())) for row in rows]
    if amounts is None:
        owing = await _with_mandates(conn, await _with_schedules(conn, owing))
        owing = await _with_one_offs(conn, owing, due_item=due_item, without=without)
    else:
        owing = _with_amounts(owing, amounts)
    if with_notices:
        owing = await _with_notices(conn, owing, due_item=due_item, now=now)
    owing = await _with_elsewhere(conn, owing, due_item=due_item, now=now, without=without)
    owing = await _with_banks(conn, await _with_listings(conn, owing, now=now), now=now)
    return await _with_holds(conn, owing, now=now)


async def other_items(
    conn: Connection, debtor_ids: Sequence[int], *, due_item: str
) -> list[tuple[str, int, int]]:
    """
    Open and collected debits of debtors for other due items.

    Args:
        due_item: The item that is about to be collected; its debits are excluded.

    Returns:
        For each item: its name, the number of debtors, and their amounts in whole minor units.
    """
    cursor = await conn.execute(_SQL["other_items"], {"debtor_ids": list(debtor_ids), "due_item": due_item})
    return [(item, debtors, amount_minor) for item, debtors, amount_minor in await cursor.fetchall()]


async def billed_items(conn: Connection, debtor_ids: Sequence[int]) -> list[tuple[str, int, int]]:
    """
    Open and collected debits of debtors that no collection plan made.

    Returns:
        For each due item: its name, the number of debtors, and their amounts in whole minor units.
    """
    cursor = await conn.execute(_SQL["billed_items"], {"debtor_ids": list(debtor_ids)})
    return [(item, debtors, amount_minor) for item, debtors, amount_minor in await cursor.fetchall()]


async def _with_schedules(conn: Connection, owing: list[Owing]) -> list[Owing]:
    """Mark debtors whose debits are made by a schedule."""
    of = await schedules.of_debtors(conn, [debtor.candidate.debtor_id for debtor in owing])
    return [
        debtor
        if (schedule_id := of.get(debtor.candidate.debtor_id)) is None
        else msgspec.structs.replace(
            debtor, candidate=msgspec.structs.replace(debtor.candidate, schedule_id=schedule_id)
        )
        for debtor in owing
    ]


async def _with_mandates(conn: Connection, owing: list[Owing]) -> list[Owing]:
    """Mark debtors whose rows name a mandate that has ended."""
    named = {debtor.iban_fingerprint for debtor in owing if debtor.key.mandate}
    ended = await mandates.ended_of(conn, named)
    return [
        debtor
        if (found := ended.get((debtor.iban_fingerprint, debtor.key.mandate))) is None
        or not found.holds(debtor.mandate_signed_on)
        else msgspec.structs.replace(
            debtor, candidate=msgspec.structs.replace(debtor.candidate, mandate_ended=found.state)
        )
        for debtor in owing
    ]


async def _with_one_offs(
    conn: Connection, owing: list[Owing], *, due_item: str, without: Sequence[int]
) -> list[Owing]:
    """Mark debtors whose rows name a mandate for one debit, and whether another debit was made with it."""
    one_offs = await mandates.one_off_of(
        conn, {debtor.iban_fingerprint for debtor in owing if debtor.key.mandate}
    )
    if not one_offs:
        return owing
    cursor = await conn.execute(
        _SQL["with_mandates"],
        {"fingerprints": [fingerprint for fingerprint, _ in one_offs], "without": list(without)},
        binary=True,
    )
    made = defaultdict[tuple[bytes, str], set[tuple[int, str]]](set)
    for fingerprint, reference, debtor_id, item in await cursor.fetchall():
        made[bytes(fingerprint), plain(reference)].add((debtor_id, item))
    result = list[Owing]()
    for debtor in owing:
        of = (debtor.iban_fingerprint, debtor.key.mandate)
        # Of the debtor's own debit for this due item the rules about the item decide.
        others = made[of] - {(debtor.candidate.debtor_id, due_item)}
        result.append(
            debtor
            if of not in one_offs
            else msgspec.structs.replace(
                debtor,
                is_one_off=True,
                candidate=msgspec.structs.replace(debtor.candidate, mandate_used=bool(others)),
            )
        )
    return result


async def _with_notices(conn: Connection, owing: list[Owing], *, due_item: str, now: datetime) -> list[Owing]:
    """Add when debtors were notified of the due item and of what they owe."""
    given = await pre_notifications.given_on(
        conn, [debtor.candidate.debtor_id for debtor in owing], due_item=due_item
    )
    result = list[Owing]()
    for debtor in owing:
        days: int | None = None
        ahead: int | None = None
        notice = given.get(debtor.candidate.debtor_id)
        if notice is not None and notice[2] == debtor.candidate.amount_minor:
            days = (bank_day(now) - bank_day(notice[0])).days
            ahead = (notice[1] - bank_day(now)).days
        result.append(
            msgspec.structs.replace(
                debtor,
                candidate=msgspec.structs.replace(
                    debtor.candidate, notified_days_ago=days, announced_in_days=ahead
                ),
            )
        )
    return result


def _with_amounts(owing: list[Owing], amounts: Mapping[int, int]) -> list[Owing]:
    return [
        msgspec.structs.replace(
            debtor,
            candidate=msgspec.structs.replace(
                debtor.candidate,
                amount_minor=amounts.get(debtor.candidate.debtor_id, debtor.candidate.amount_minor),
            ),
        )
        for debtor in owing
    ]


async def _with_holds(conn: Connection, owing: list[Owing], *, now: datetime) -> list[Owing]:
    """Mark debtors whose account is held by a report that is not processed yet."""
    held = await holds.accounts_held(conn, [debtor.iban_fingerprint for debtor in owing], now=now)
    return [
        debtor
        if (reported := held.get(debtor.iban_fingerprint)) is None
        else msgspec.structs.replace(
            debtor,
            candidate=msgspec.structs.replace(
                debtor.candidate,
                dispute_unconfirmed=reported.dispute,
                collection_unconfirmed=reported.collection,
            ),
        )
        for debtor in owing
    ]


async def _with_elsewhere(
    conn: Connection, owing: list[Owing], *, due_item: str, now: datetime, without: Sequence[int]
) -> list[Owing]:
    """Add the same debits of other uploads; only the core decides which are the same."""
    cursor = await conn.execute(
        _SQL["elsewhere"],
        {
            "fingerprints": [debtor.iban_fingerprint for debtor in owing],
            "since": now - timedelta(days=WINDOW_DAYS + 1),
            "without": list(without),
        },
        binary=True,
    )
    known = defaultdict[bytes, list[EarlierDebit]](list)
    for fingerprint, *values, amount_minor, at, state, upload_id, item, debtor_id in await cursor.fetchall():
        if state == "forgiven":
            continue
        earlier = EarlierDebit(
            key_of(*values), amount_minor, at, status_of(state), upload_id, item, debtor_id
        )
        known[bytes(fingerprint)].append(earlier)
    return [
        debtor if (some := _elsewhere(debtor, known, due_item=due_item, now=now)) is None else some
        for debtor in owing
    ]


def _elsewhere(
    debtor: Owing, known: Mapping[bytes, list[EarlierDebit]], *, due_item: str, now: datetime
) -> Owing | None:
    others = [
        earlier
        for earlier in known.get(debtor.iban_fingerprint, ())
        if earlier.debtor_id != debtor.candidate.debtor_id
        and (earlier.upload_id is None or earlier.upload_id != debtor.upload_id)
        and (earlier.current_status != "waiting" or _before(earlier, debtor))
    ]
    if not others:
        return None
    found = elsewhere(
        debtor.key,
        debtor.candidate.amount_minor,
        others,
        due_item=due_item,
        now=now,
        taken_at=debtor.taken_at,
    )
    return msgspec.structs.replace(
        debtor, candidate=msgspec.structs.replace(debtor.candidate, elsewhere=found)
    )


def _before(earlier: EarlierDebit, debtor: Owing) -> bool:
    return (
        earlier.upload_id is not None
        and debtor.upload_id is not None
        and earlier.upload_id < debtor.upload_id
    )


async def _with_listings(conn: Connection, owing: list[Owing], *, now: datetime) -> list[Owing]:
    """Add the blacklist entries about names and e-mail addresses, which the core normalizes."""
    if not owing or not await blacklist.names_any(conn):
        return owing
    names, emails = await blacklist.names_listed(
        conn,
        name_keys={key for debtor in owing for key in name_keys(debtor.payer.name or "")},
        emails={email_key(debtor.email) for debtor in owing if debtor.email},
        now=now,
    )
    if not names and not emails:
        return owing
    return [
        msgspec.structs.replace(
            debtor,
            candidate=msgspec.structs.replace(
                debtor.candidate,
                name_listed=_listed_as(debtor.payer.name or "", names),
                email_listed=emails.get(email_key(debtor.email)) if debtor.email else None,
            ),
        )
        for debtor in owing
    ]


async def _with_banks(conn: Connection, owing: list[Owing], *, now: datetime) -> list[Owing]:
    """Add the blacklist entries about banks."""
    listed = await blacklist.banks_listed(conn, now=now) if owing else {}
    if not listed:
        return owing
    found = ((debtor, banks.find(listed, bic=debtor.payer.bic, bank=debtor.bank)) for debtor in owing)
    return [
        debtor
        if listing is None
        else msgspec.structs.replace(
            debtor, candidate=msgspec.structs.replace(debtor.candidate, bank_listed=listing)
        )
        for debtor, listing in found
    ]


def _listed_as(name: str, names: Mapping[str, ActiveEntry]) -> ActiveEntry | None:
    """The strictest entry about a name, in whatever order its words are listed."""
    found = [names[key] for key in name_keys(name) if key in names]
    return min(found, key=lambda listing: listing.action != "block", default=None)


def _owing(row: Mapping[str, Any], set_aside: frozenset[str]) -> Owing:
    key_values = (row["reference"], row["mandate_id"], row["customer_id"])
    candidate = Candidate(
        debtor_id=row["id"],
        iban=row["iban"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        has_name=bool((row["name"] or "").strip()),
        has_address=bool(row["city"] and row["country"]),
        reasons=tuple(reasons_of(row["verdict"], row["cause"], row["reasons"])),
        taken=row["taken_at"] is not None,
        listed=row["listed"],
        listed_reason=row["listed_reason"] or "",
        item_state=row["item_state"],
        item_returned=row["item_returned"],
        tries=row["tries"],
        charged_back_for=tuple(row["charged_back_for"] or ()),
        paid_minor=row["paid_minor"],
        check=None if row["result"] is None else Score(row["score"], row["answered"], row["result"]),
        refunds=tuple(_refunds([*(row["refunds"] or ()), *(row["item_refunds"] or ())], key_values)),
        set_aside=set_aside,
    )
    return Owing(
        candidate,
        payer=Payer(**{field: row[field] for field in Payer.__struct_fields__}),
        iban_fingerprint=bytes(row["iban_fingerprint"]),
        next_number=row["next_number"],
        email=row["email"],
        bank=row["bank_bic"],
        upload_id=row["upload_id"],
        key=key_of(*key_values),
        taken_at=row["taken_at"],
        mandate_signed_on=row["mandate_signed_on"],
    )


def _refunds(
    rows: Sequence[Any], values: tuple[str | None, str | None, str | None]
) -> Iterator[RefundedDebit]:
    for attempt_id, kind, due_item, same_debtor, same_upload, days_ago, *others in rows:
        if same_debtor or compare(key_of(*values), key_of(*others)) != "different":
            yield RefundedDebit(attempt_id, kind, due_item, same_debtor, bool(same_upload), days_ago)
