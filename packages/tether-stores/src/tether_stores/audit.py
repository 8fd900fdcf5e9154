"""The audit: one short function per query of `audit.sql`."""

import getpass
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
from psycopg.types.json import Jsonb
from tether_core.audit import Action, Actor, ActorKind, Fact, reason_text

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["AuditFilters", "AuditPage", "AuditRow", "about", "operator", "page_of", "record"]

_SQL: Final = load("audit")
_EXAMINED_MAX: Final = 2_000


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    One action.

    Attributes:
        id: The row.
        acted_at: When, by the clock of Postgres.
        actor_kind: "user", "api_key" or "command".
        actor_id: The row of the user or of the key; null for keys of the environment and for commands.
        actor: The name of the user, of the key, or of the operating system's user.
        address: The IP address of the client; null for commands.
        action: What was done, e.g. "run.paused".
        subject: The kind of thing it was done to, e.g. "run".
        subject_id: The id or name of that thing; null where there is none.
        reason: What the person gave as reason; IBANs are masked.
        before: Fields that the action changed, as they were; null where nothing existed.
        after: The same fields after the action.
    """

    id: int
    acted_at: datetime
    actor_kind: ActorKind
    actor_id: int | None
    actor: str
    address: str | None
    action: str
    subject: str
    subject_id: str | None
    reason: str | None
    before: dict[str, Fact] | None
    after: dict[str, Fact] | None


class AuditFilters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Filters of the audit; `None` does not filter.

    Attributes:
        actor: The actor's name.
        action: The action.
        subject: The kind of thing.
        subject_id: Its id, together with *subject*.
        from_at: Not before this time.
        to_at: Before this time.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    subject_id: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """
    A page of the audit.

    Attributes:
        rows: Rows that fit all filters, newest first.
        last: The row after which the next page begins; `None` on the last page.
    """

    rows: list[AuditRow]
    last: int | None


def operator() -> Actor:
    """The person who runs a command on this machine, by the name of the operating system's user."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        name = "unknown"
    return Actor("command", name)


async def record(
    conn: Connection,
    actor: Actor,
    action: Action,
    *,
    subject: str,
    subject_id: int | str | None = None,
    reason: str | None = None,
    before: dict[str, Fact] | None = None,
    after: dict[str, Fact] | None = None,
    now: datetime,
) -> None:
    """
    Record an action; call it in the transaction of the action.

    Args:
        subject: The kind of thing, as in the event names: "run", "upload", "refund".
        reason: As the person gave it; it is masked here.
        before: From `tether_core.audit.facts`.
        after: From `tether_core.audit.facts`.
    """
    await conn.execute(
        _SQL["record"],
        {
            "now": now,
            "actor_kind": actor.kind,
            "actor_id": actor.id,
            "actor": actor.label,
            "address": actor.address,
            "action": action,
            "subject": subject,
            "subject_id": None if subject_id is None else str(subject_id),
            "reason": reason_text(reason),
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
        },
    )


async def page_of(conn: Connection, filters: AuditFilters, *, before_id: int | None, limit: int) -> AuditPage:
    """
    One page of the audit, newest first.

    Returns:
        Up to *limit* rows; fewer do not mean that it is the last page, because a page examines at most 2,000 rows.
    """
    lead, led_by = _led_by(filters)
    given = {name for name, value in msgspec.structs.asdict(filters).items() if value is not None}
    # Where the leading filter is the only one, each row that is read fits.
    examined_max = _EXAMINED_MAX if given - led_by else limit + 1
    parameters = {**msgspec.structs.asdict(filters), "before_id": before_id, "examined_max": examined_max}
    rows = await fetch_all(conn, lead, parameters, into=_examined)
    found = [row for row, fits in rows if fits]
    if len(found) > limit:
        return AuditPage(found[:limit], found[limit - 1].id)
    return AuditPage(found, rows[-1][0].id if len(rows) == examined_max else None)


async def about(conn: Connection, things: Sequence[tuple[str, int]], *, limit: int) -> list[AuditRow]:
    """
    The latest actions about any of some things, newest first.

    Args:
        things: Kind and id, such as ("debtor", 71).
    """
    values = {
        "subjects": [subject for subject, _ in things],
        "subject_ids": [str(subject_id) for _, subject_id in things],
        "limit": limit,
    }
    return await fetch_all(conn, _SQL["about"], values, into=AuditRow)


def _led_by(filters: AuditFilters) -> tuple[LiteralString, set[str]]:
    """The query, and the filters that its index serves."""
    if filters.subject is not None and filters.subject_id is not None:
        return _SQL["by_subject"], {"subject", "subject_id"}
    if filters.actor is not None:
        return _SQL["by_actor"], {"actor"}
    if filters.action is not None:
        return _SQL["by_action"], {"action"}
    return _SQL["newest"], set()


def _examined(*, fits: bool, **columns: Any) -> tuple[AuditRow, bool]:
    return AuditRow(**columns), fits
