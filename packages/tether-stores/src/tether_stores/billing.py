"""Billing runs; the queries are in `billing.sql`, which describes the rows."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from tether_core.billing.debit_request import Payer
from tether_core.billing.eligibility import Candidate
from tether_core.billing.overrides import Override, of_debtors
from tether_core.billing.refunded_before import Refund
from tether_core.billing.run import Ordered, RunState
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import email_key, name_key
from tether_core.payments.matches import EarlierDebit, elsewhere
from tether_core.payments.same_debit import WINDOW_DAYS, DebitKey, compare, key_of
from tether_core.target_calendar import bank_day
from tether_core.vop import Score

from tether_stores import blacklist, holds
from tether_stores.debtors import reasons_of, status_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.recurring import pre_notifications, schedules
from tether_stores.rows import fetch_all, fetch_one, fetch_pair, fetch_value

__all__ = [
    "Owing",
    "Progress",
    "Run",
    "add",
    "by_id",
    "canaries_open",
    "cancelled_unsent",
    "change",
    "hold",
    "hold_to_plan",
    "hold_upload",
    "listed",
    "live",
    "of_plan",
    "of_upload",
    "open_attempts",
    "ordered",
    "other_items",
    "owing",
    "progress",
    "returns_of_account",
    "returns_of_upload",
    "share",
    "submittable",
    "to_plan",
    "unfinished",
    "unreleased_amount",
    "upload_state",
]

_SQL: Final = load("billing")


class Run(msgspec.Struct, frozen=True):
    """
    A billing run.

    Attributes:
        id: The row.
        upload_id: The upload whose debtors are billed.
        account: The gateway account.
        due_item: What is owed.
        state: See `tether_core.billing.run`.
        options: Limits and rules of the run.
        planned_to: The last debtor that was planned.
        planned_count: Debits planned so far.
        planned_amount_minor: Their amounts in whole minor units.
        skipped: Debtors that were not billed, by verdict.
        warning: The latest warning of the auto-pause, or `None`.
        pause_reason: Why it is paused, or `None`.
        paused_from: The state it resumes, or `None`.
        released_share: The share of returns that a person has released.
        created_by: The name of the API key that created it.
        created_at: When it was created.
        updated_at: When it last changed.
        finished_at: When its last debit was complete, or `None`.
        again: Whether the same due item was ordered again.
        overrides: The verdicts that were overridden when it was ordered.
        owner: Who answers for the order (`tether_core.billing.dual_control`).
        awaits_release: Whether it waits for a second person.
        released_by: The second person who released it, or `None`.
        collection_plan_id: The collection plan whose due items it collects; `None` for a run that a person ordered.
    """

    id: int
    upload_id: int
    account: str
    due_item: str
    state: RunState
    options: RunOptions
    planned_to: int
    planned_count: int
    planned_amount_minor: int
    skipped: dict[str, int]
    warning: str | None
    pause_reason: str | None
    paused_from: RunState | None
    released_share: float
    created_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    again: bool = False
    overrides: tuple[Override, ...] = ()
    owner: str = ""
    awaits_release: bool = False
    released_by: str | None = None
    collection_plan_id: int | None = None


class Progress(msgspec.Struct, frozen=True):
    """
    The attempts of a run in one state and submission step.

    Attributes:
        state: Their state.
        step: Their submission step; see `tether_core.payments.submission`.
        canary: Whether they are canaries.
        count: How many.
        amount_minor: Their amounts in whole minor units.
    """

    state: str
    step: str
    canary: bool
    count: int
    amount_minor: int


class Owing(msgspec.Struct, frozen=True):
    """
    A debtor with what decides whether an item may be collected.

    Attributes:
        candidate: The facts that decide.
        payer: The payer's details for the debit.
        iban_fingerprint: Of the account.
        next_number: The number of the next try for the item.
        email: The debtor's e-mail address, as in the file.
        upload_id: The upload of the debtor.
        key: Of the debit.
        taken_at: A person decided that this debit is to be collected in spite of debits known up to then; `None` for no decision.
    """

    candidate: Candidate
    payer: Payer
    iban_fingerprint: bytes
    next_number: int
    email: str | None = None
    upload_id: int | None = None
    key: DebitKey = DebitKey()
    taken_at: datetime | None = None

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"Owing({self.candidate!r})"


async def add(
    conn: Connection,
    *,
    upload_id: int,
    account: str,
    options: RunOptions,
    created_by: str,
    owner: str | None = None,
    now: datetime,
    again: bool = False,
    overrides: Sequence[Override] = (),
    collection_plan_id: int | None = None,
) -> int:
    """
    Create a run in the state "planning"; returns its id.

    Args:
        upload_id: The upload whose debtors are billed.
        options: Limits and rules of the run.
        created_by: The name of the user or key.
        owner: Who answers for it; `None` for *created_by*.
        again: Whether the same due item was ordered again.
        overrides: The verdicts that are overridden, by whom and when.
        collection_plan_id: The collection plan whose due items it collects; `None` for an order of a person.
    """
    cursor = await conn.execute(
        _SQL["add"],
        {
            "upload_id": upload_id,
            "account": account,
            "due_item": options.due_item,
            "options": msgspec.json.encode(options),
            "created_by": created_by,
            "owner": owner or created_by,
            "now": now,
            "again": again,
            "overrides": msgspec.json.encode(overrides),
            "collection_plan_id": collection_plan_id,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def hold_upload(conn: Connection, upload_id: int) -> tuple[str, bool] | None:
    """Lock an upload against other orders and withdrawals until this transaction ends; returns what `upload_state` does."""
    return await fetch_one(conn, _SQL["hold_upload"], {"upload_id": upload_id}, into=_upload_state)


async def ordered(conn: Connection, upload_id: int) -> list[Ordered]:
    """The existing runs of an upload, for `tether_core.billing.run.require_new`."""
    return await fetch_all(conn, _SQL["ordered"], {"upload_id": upload_id}, into=Ordered)


async def by_id(conn: Connection, run_id: int) -> Run | None:
    """One run, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": run_id}, into=_run, binary=True)


async def hold(conn: Connection, run_id: int) -> Run | None:
    """Lock one run for a change until this transaction ends; `None` for no such run."""
    return await fetch_one(conn, _SQL["hold"], {"id": run_id}, into=_run, binary=True)


async def of_plan(conn: Connection, plan_id: int, *, upload_id: int, due_item: str) -> Run | None:
    """Lock the run that collects a due item of a collection plan from an upload; `None` where there is none yet."""
    values = {"collection_plan_id": plan_id, "upload_id": upload_id, "due_item": due_item}
    return await fetch_one(conn, _SQL["of_plan"], values, into=_run, binary=True)


async def share(conn: Connection, run_id: int) -> Run | None:
    """Lock one run in share mode, so that it cannot be paused until this transaction ends; `None` for no such run."""
    return await fetch_one(conn, _SQL["share"], {"id": run_id}, into=_run, binary=True)


async def hold_to_plan(conn: Connection) -> Run | None:
    """Lock the run whose turn it is to be planned until this transaction ends; `None` where other workers hold all."""
    return await fetch_one(conn, _SQL["hold_to_plan"], into=_run, binary=True)


async def of_upload(conn: Connection, upload_id: int, *, limit: int = 100) -> list[Run]:
    """The runs of an upload, newest first, up to *limit*."""
    values = {"upload_id": upload_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_upload"], values, into=_run, binary=True)


async def listed(
    conn: Connection, *, state: str | None, upload_id: int | None, before_id: int | None, limit: int
) -> list[Run]:
    """Runs, newest first, up to *limit*: those before a run, in a state, of an upload, where these are given."""
    given = {"state": state, "upload_id": upload_id, "before_id": before_id, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], given, into=_run, binary=True)


async def live(conn: Connection) -> list[Run]:
    """The runs that submit debits, oldest first."""
    return await fetch_all(conn, _SQL["live"], into=_run, binary=True)


async def unfinished(conn: Connection) -> list[Run]:
    """The runs that are not finished, oldest first."""
    return await fetch_all(conn, _SQL["unfinished"], into=_run, binary=True)


async def submittable(conn: Connection, *, now: datetime) -> list[tuple[int, str]]:
    """Id and account of each run that has a debit to submit now, oldest first."""
    cursor = await conn.execute(_SQL["submittable"], {"now": now})
    return [(run_id, account) for run_id, account in await cursor.fetchall()]


async def cancelled_unsent(conn: Connection) -> list[int]:
    """Cancelled runs with debits that are still scheduled for submission."""
    return [run_id for (run_id,) in await (await conn.execute(_SQL["cancelled_unsent"])).fetchall()]


async def to_plan(conn: Connection) -> bool:
    """Whether any run waits for planning."""
    return await fetch_value(conn, _SQL["to_plan"], into=bool)


async def change(conn: Connection, run: Run, *, now: datetime) -> None:
    """Write the new state of a run, inside the transaction that holds it."""
    await conn.execute(
        _SQL["change"],
        {
            "id": run.id,
            "state": run.state,
            "planned_to": run.planned_to,
            "planned_count": run.planned_count,
            "planned_amount_minor": run.planned_amount_minor,
            "skipped": msgspec.json.encode(run.skipped),
            "warning": run.warning,
            "pause_reason": run.pause_reason,
            "paused_from": run.paused_from,
            "released_share": run.released_share,
            # A run that was cancelled meanwhile waits for nobody.
            "awaits_release": run.awaits_release and run.state == "paused",
            "released_by": run.released_by,
            "finished_at": run.finished_at,
            "now": now,
        },
    )


async def unreleased_amount(conn: Connection, run: Run) -> int:
    """What the person of a run ordered of its upload that no second person has released, in minor units."""
    values = {"upload_id": run.upload_id, "owner": run.owner}
    return await fetch_value(conn, _SQL["unreleased_amount"], values, into=int)


async def progress(conn: Connection, run_id: int) -> list[Progress]:
    """The attempts of a run by state, step and canary; combinations without attempts are excluded."""
    return await fetch_all(conn, _SQL["progress"], {"run_id": run_id}, into=Progress)


async def canaries_open(conn: Connection, run_id: int) -> bool:
    """Whether any canary of a run has no response yet."""
    return await fetch_value(conn, _SQL["canaries_open"], {"run_id": run_id}, into=bool)


async def returns_of_upload(
    conn: Connection, upload_id: int, *, excluded: Collection[str]
) -> tuple[int, int]:
    """Collected debits of an upload, and how many of them are charged back, without the *excluded* reason codes."""
    given = {"upload_id": upload_id, "excluded": sorted(excluded)}
    return await fetch_pair(conn, _SQL["returns_of_upload"], given)


async def returns_of_account(
    conn: Connection, account: str, *, since: datetime, excluded: Collection[str]
) -> tuple[int, int]:
    """Collected debits of an account since a time, and how many of them are charged back, without the *excluded* reason codes."""
    given = {"account": account, "since": since, "excluded": sorted(excluded)}
    return await fetch_pair(conn, _SQL["returns_of_account"], given)


async def open_attempts(conn: Connection, run_id: int) -> bool:
    """Whether any attempt of a run may still be submitted, is being submitted, or has an unknown outcome."""
    return await fetch_value(conn, _SQL["open_attempts"], {"run_id": run_id}, into=bool)


async def owing(
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
    owing = await _with_schedules(conn, owing) if amounts is None else _with_amounts(owing, amounts)
    if with_notices:
        owing = await _with_notices(conn, owing, due_item=due_item, now=now)
    owing = await _with_elsewhere(conn, owing, due_item=due_item, now=now, without=without)
    return await _with_holds(conn, await _with_listings(conn, owing, now=now), now=now)


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


async def _with_notices(conn: Connection, owing: list[Owing], *, due_item: str, now: datetime) -> list[Owing]:
    """Add when debtors were notified of the due item and of what they owe."""
    given = await pre_notifications.given_on(
        conn, [debtor.candidate.debtor_id for debtor in owing], due_item=due_item
    )
    result = list[Owing]()
    for debtor in owing:
        days: int | None = None
        notice = given.get(debtor.candidate.debtor_id)
        if notice is not None and notice[2] == debtor.candidate.amount_minor:
            days = (bank_day(now) - bank_day(notice[0])).days
        result.append(
            msgspec.structs.replace(
                debtor, candidate=msgspec.structs.replace(debtor.candidate, notified_days_ago=days)
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
    """Mark debtors whose account is held by a reported dispute that is not processed yet."""
    held = await holds.accounts_held(conn, [debtor.iban_fingerprint for debtor in owing], now=now)
    if not held:
        return owing
    return [
        msgspec.structs.replace(
            debtor,
            candidate=msgspec.structs.replace(
                debtor.candidate, dispute_unconfirmed=debtor.iban_fingerprint in held
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
        name_keys={name_key(debtor.payer.name or "") for debtor in owing},
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
                name_listed=names.get(name_key(debtor.payer.name or "")),
                email_listed=emails.get(email_key(debtor.email)) if debtor.email else None,
            ),
        )
        for debtor in owing
    ]


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


async def upload_state(conn: Connection, upload_id: int) -> tuple[str, bool] | None:
    """The state of an upload, and whether it is a dry run; `None` for no such upload."""
    return await fetch_one(conn, _SQL["upload_state"], {"upload_id": upload_id}, into=_upload_state)


def _upload_state(*, state: str, dry_run: bool) -> tuple[str, bool]:
    return state, dry_run


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
        upload_id=row["upload_id"],
        key=key_of(*key_values),
        taken_at=row["taken_at"],
    )


def _refunds(rows: Sequence[Any], values: tuple[str | None, str | None, str | None]) -> Iterator[Refund]:
    for attempt_id, kind, due_item, same_debtor, same_upload, days_ago, *others in rows:
        if same_debtor or compare(key_of(*values), key_of(*others)) != "different":
            yield Refund(attempt_id, kind, due_item, same_debtor, bool(same_upload), days_ago)


def _run(*, options: bytes, skipped: bytes, overrides: bytes, **columns: Any) -> Run:
    return Run(
        options=msgspec.json.decode(options, type=RunOptions),
        skipped=msgspec.json.decode(skipped, type=dict[str, int]),
        overrides=msgspec.json.decode(overrides, type=tuple[Override, ...]),
        **columns,
    )
