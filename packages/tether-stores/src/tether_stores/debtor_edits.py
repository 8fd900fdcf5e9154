"""Edits of debtors; the queries are in `debtor_edits.sql`, which describes the locks."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core import debtor_edits as rules_of_edits
from tether_core import iban as ibans
from tether_core.debtor_edits import DebtorChange, DebtorDebit, Edited, Field, NotEditable
from tether_core.events import DebtorEdited
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Columns, Debtor, Problem, Rules
from tether_core.target_calendar import bank_day

from tether_stores import events, fingerprint_key, vop
from tether_stores.banks import bank_bic
from tether_stores.billing import billing_runs
from tether_stores.database_epoch import lost_history
from tether_stores.debtors import staging
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value
from tether_stores.screening import screened
from tether_stores.uploads import uploads

__all__ = ["Applied", "DebtorEdit", "ListedEdit", "edit", "listed", "obstacle", "version"]

_SQL: Final = load("debtor_edits")
# A debtor has one debit for each due item and try.
_PAYMENTS_MAX: Final = 1_000
_LISTED_MAX: Final = 100
# A debtor whose row number is not known is no row of a file; its values are read all the same.
_NO_ROW: Final = 1
_STAGED: Final = ("row", "amount_minor", "reference", "mandate_id", "customer_id", "name", "email", "iban")


class DebtorEdit(msgspec.Struct, frozen=True, kw_only=True):
    """
    An edit as a person orders it.

    Attributes:
        version: The version of the debtor it was made for; 0 for one that nobody has edited.
        changes: Field to its new value; empty to screen the row again.
        reason: Why.
        edited_by: Who.
        collect: Whether the row is to be collected where screening leaves that to a person.
    """

    version: int
    changes: Mapping[Field, str | int | None]
    reason: str
    edited_by: str
    collect: bool = False


class Applied(msgspec.Struct, frozen=True):
    """
    What an edit did.

    Attributes:
        version: Of the debtor now.
        changes: The fields that differ.
        verdict_before: Of screening, before.
        verdict: Of screening now.
        warnings: About the new values.
    """

    version: int
    changes: tuple[DebtorChange, ...]
    verdict_before: str
    verdict: str
    warnings: tuple[Problem, ...]


class ListedEdit(msgspec.Struct, frozen=True):
    """
    An edit in the history of a debtor.

    Attributes:
        version: Of the debtor since then, from 1.
        changes: The fields that differ, account numbers masked.
        reason: Why.
        verdict_before: Of screening, before.
        verdict_after: Of screening, afterwards.
        edited_by: Who.
        edited_at: When.
    """

    version: int
    changes: list[DebtorChange]
    reason: str
    verdict_before: str
    verdict_after: str
    edited_by: str
    edited_at: datetime


class _Held(msgspec.Struct, frozen=True):
    debtor: Debtor
    fingerprint: bytes
    verdict: str
    taken_at: datetime | None


async def edit(
    conn: Connection,
    debtor_id: int,
    order: DebtorEdit,
    *,
    key: bytes,
    policy: ScreeningPolicy,
    rules: Rules,
    now: datetime,
    epoch_holds: bool = True,
) -> Applied | None:
    """
    Edit a debtor and screen it again.

    Args:
        conn: Inside a transaction of its own.
        key: `TETHER_FINGERPRINT_KEY`.
        policy: How strictly to screen.
        rules: The operator's limits.
        epoch_holds: Whether this process has not noticed that the database went back (`tether_stores.database_epoch.watch.Watch`).

    Returns:
        What was done, or `None` where there is no such debtor.

    Raises:
        EditConflict: when somebody else was faster.
        NotEditable: when a debit depends on the debtor as it is, or its upload is not read completely, or withdrawn.
        EditRefused: when the new values are none of a row.
        FingerprintKeyRefused: when the key is not the database's.
    """
    await fingerprint_key.require(conn, key, now=now)
    found = await (await conn.execute(_SQL["upload"], {"debtor_id": debtor_id})).fetchone()
    if found is None:
        return None
    upload_id = found[0]
    state = None if upload_id is None else await billing_runs.hold_upload(conn, upload_id)
    held = await fetch_one(conn, _SQL["hold"], {"debtor_id": debtor_id}, into=_held)
    assert held is not None, "debtors are not deleted"
    current = await version(conn, debtor_id)
    rules_of_edits.require_version(debtor_id, seen=order.version, current=current)
    await _require_editable(conn, debtor_id, upload_state=state and state[0], epoch_holds=epoch_holds)
    done = rules_of_edits.edited(held.debtor, order.changes, today=bank_day(now), rules=rules)
    after = await _screened(
        conn, upload_id, debtor_id, order, held=held, done=done, key=key, policy=policy, now=now
    )
    await _count(conn, upload_id, before=held, done=done, verdict=after, now=now)
    if any(change.field in {"iban", "name", "bic"} for change in done.changes) or after != held.verdict:
        await vop.check_anew(conn, debtor_id, now=now)
    has_moved = done.debtor.iban != held.debtor.iban
    await conn.execute(
        _SQL["add"],
        {
            "debtor_id": debtor_id,
            "version": current + 1,
            "changes": msgspec.json.encode(done.changes).decode(),
            "reason": order.reason,
            "verdict_before": held.verdict,
            "verdict_after": after,
            "iban_before": held.debtor.iban if has_moved else None,
            "iban_fingerprint_before": held.fingerprint if has_moved else None,
            "edited_by": order.edited_by,
            "now": now,
        },
    )
    event = DebtorEdited(
        debtor_id, upload_id, current + 1, tuple(change.field for change in done.changes), held.verdict, after
    )
    await events.append(conn, [(None, event)], now=now)
    return Applied(current + 1, done.changes, held.verdict, after, done.debtor.warnings)


async def _require_editable(
    conn: Connection, debtor_id: int, *, upload_state: str | None, epoch_holds: bool
) -> None:
    is_erased = await fetch_value(conn, _SQL["is_erased"], {"debtor_id": debtor_id}, into=bool)
    values = {"debtor_id": debtor_id, "limit": _PAYMENTS_MAX}
    payments = await fetch_all(conn, _SQL["payments"], values, into=DebtorDebit)
    epoch = await lost_history.current(conn)
    # After the database went back, a debtor without a debit may have had one in the lost history.
    reviewing = not epoch_holds or (epoch is not None and epoch.reviewed_at is None)
    rules_of_edits.require_editable(
        debtor_id, payments, upload_state=upload_state, reviewing=reviewing, is_erased=is_erased
    )


async def obstacle(conn: Connection, debtor_id: int, *, upload_id: int | None) -> str | None:
    """Why a debtor cannot be edited now, as a sentence; `None` where it can."""
    state = None if upload_id is None else await billing_runs.upload_state(conn, upload_id)
    try:
        await _require_editable(conn, debtor_id, upload_state=state and state[0], epoch_holds=True)
    except NotEditable as exc:
        return str(exc)
    return None


async def _screened(
    conn: Connection,
    upload_id: int,
    debtor_id: int,
    order: DebtorEdit,
    *,
    held: _Held,
    done: Edited,
    key: bytes,
    policy: ScreeningPolicy,
    now: datetime,
) -> str:
    """Screen the row by itself, and write it; returns its verdict."""
    debtor = done.debtor
    fingerprint = ibans.fingerprint(debtor.iban, key=key)
    lines = staging.as_lines(Columns.of([debtor]), columns=_STAGED, fingerprint=lambda _: fingerprint.hex())
    await staging.stage(conn, lines, columns=_STAGED)
    bank = bank_bic(debtor.bic, debtor.iban)
    verdicts, _ = await screened(
        conn,
        upload_id,
        dry_run=False,
        policy=policy,
        now=now,
        edited=debtor_id,
        banks_of_rows=[staging.BankOfRow(debtor.row, debtor.amount_minor, debtor.bic, bank)],
    )
    keeps = rules_of_edits.keeps_answer(done.changes)
    taken_at = now if order.collect else held.taken_at if keeps else None
    is_answered = taken_at is not None or (keeps and held.verdict == "clear")
    reasons = rules_of_edits.after_answer(verdicts.get(debtor.row, ()), is_answered=is_answered)
    values: dict[str, Any] = {field: getattr(debtor, field) for field in rules_of_edits.FIELDS}
    values |= {
        "debtor_id": debtor_id,
        "iban_fingerprint": fingerprint,
        "bank_bic": bank,
        "verdict": reasons[0].rule if reasons else "clear",
        "cause": reasons[0].cause if reasons else None,
        "reasons": msgspec.json.encode(reasons).decode() if reasons else None,
        "taken_at": taken_at,
    }
    await conn.execute(_SQL["change"], values)
    return str(values["verdict"])


async def _count(
    conn: Connection, upload_id: int, *, before: _Held, done: Edited, verdict: str, now: datetime
) -> None:
    """Move the row between the counts of its upload."""
    verdicts: dict[str, int] = {}
    for rule, count in ((before.verdict, -1), (verdict, 1)):
        if rule != "clear":
            verdicts[rule] = verdicts.get(rule, 0) + count
    was, is_now = before.verdict == "clear", verdict == "clear"
    amount_minor = done.debtor.amount_minor * is_now - before.debtor.amount_minor * was
    is_counted = await uploads.recount(
        conn,
        upload_id,
        stored=is_now - was,
        amount_minor=amount_minor,
        verdicts=verdicts,
        lease=None,
        now=now,
    )
    assert is_counted, "the upload is held, and completed"


def _held(
    *,
    row_number: int | None,
    iban_fingerprint: bytes,
    verdict: str,
    taken_at: datetime | None,
    **fields: str | int | date | None,
) -> _Held:
    debtor = Debtor(row_number or _NO_ROW, **fields)  # type: ignore[arg-type]  # each of its field's type
    return _Held(debtor, bytes(iban_fingerprint), verdict, taken_at)


async def version(conn: Connection, debtor_id: int) -> int:
    """How often a debtor was edited."""
    return await fetch_value(conn, _SQL["version"], {"debtor_id": debtor_id}, into=int)


async def listed(conn: Connection, debtor_id: int) -> list[ListedEdit]:
    """The edits of a debtor, newest first, a hundred at most."""
    return await fetch_all(conn, _SQL["listed"], {"debtor_id": debtor_id, "limit": _LISTED_MAX}, into=_listed)


def _listed(*, changes: str, **columns: Any) -> ListedEdit:
    return ListedEdit(changes=msgspec.json.decode(changes, type=list[DebtorChange]), **columns)
