"""`GET /api/debtors/{id}/history`: what happened to a debtor, for who is asked about it."""

from datetime import datetime
from typing import Final

import msgspec
from litestar import Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from tether_core.audit import change_text
from tether_core.people.roles import may
from tether_stores import debtor_history
from tether_stores.blacklist import ListedEntry
from tether_stores.notifications.event_lists import WebhookEvent
from tether_stores.postgres import reading
from tether_stores.vop import ListedCheck

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id

__all__ = ["ROUTER", "DebtorAction", "DebtorHistory"]


class DebtorAction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a person or a program did about a debtor.

    Attributes:
        acted_at: When.
        actor: Who: the name of a user, a key, or an operating system's user.
        action: What was done, e.g. "refund.ordered".
        subject: The kind of thing it was done to, e.g. "attempt".
        subject_id: The id of that thing.
        reason: What the person gave as reason; account numbers are masked.
        change: What it changed, as a line.
    """

    acted_at: datetime
    actor: str
    action: str
    subject: str
    subject_id: str | None
    reason: str | None
    change: str


class DebtorHistory(msgspec.Struct, frozen=True, kw_only=True):
    """
    What happened to a debtor. Each list has the newest 50 rows at most; the dossier of the debtor has all.

    Attributes:
        blacklist: Entries about its account (now or before an edit), name, e-mail address and bank, active ones first; null for callers who are limited to some
            gateway accounts, because an entry holds for all.
        check: The check of its account; null where none was requested.
        notifications: Notifications of its latest hundred debits and of their refunds.
        actions: What people did with it, its debits, refunds, mandates, schedules, differences, notifications and the entries about its account; null for callers
            without the permission to read the audit.
    """

    blacklist: list[ListedEntry] | None
    check: ListedCheck | None
    notifications: list[WebhookEvent]
    actions: list[DebtorAction] | None


@get("/", summary="What happened to a debtor: blacklist, check, notifications, actions")
async def shown(request: ApiRequest, state: State, debtor_id: Id) -> DebtorHistory:
    """Its payments are at `/api/billing-attempts?debtor=`, its mandates at `/api/mandates?debtor=`."""
    async with reading(state.pool) as conn:
        found = await debtor_history.history_of(conn, debtor_id, now=state.clock())
    if found is None:
        raise NotFoundException("There is no such debtor")
    return DebtorHistory(
        blacklist=found.blacklist if request.auth.accounts is None else None,
        check=found.check,
        notifications=found.notifications,
        actions=[
            DebtorAction(
                acted_at=row.acted_at,
                actor=row.actor,
                action=row.action,
                subject=row.subject,
                subject_id=row.subject_id,
                reason=row.reason,
                change=change_text(row.before, row.after),
            )
            for row in found.actions
        ]
        if may(request.auth.role, "audit")
        else None,
    )


ROUTER: Final = Router("/api/debtors/{debtor_id:int}/history", route_handlers=[shown], tags=["debtors"])
