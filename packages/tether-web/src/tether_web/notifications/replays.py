"""
`GET /api/webhook-events/{id}/replay-preview`: what a replay of a notification would change, before it does.

The rows are read under the locks that applying takes, so the preview is about one moment; the transaction is rolled back.
"""

import msgspec
from litestar import Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from tether_core.emp.notification import Notification, decode
from tether_core.errors import IllegalStep, Unreadable
from tether_core.reconciliation.gateway_refunds import reference_of
from tether_core.replays import Named, ReplayPreview, preview
from tether_stores import return_policies
from tether_stores.notifications import event_lists
from tether_stores.payments import billing_attempts
from tether_stores.postgres import Connection, transaction
from tether_stores.refunds import refunds

from tether_web.http.parameters import Id

__all__ = ["ROUTER"]


@get("/replay-preview", summary="What a replay of a notification would change; nothing is changed")
async def replay_preview(state: State, event_id: Id) -> ReplayPreview:
    """Refused in the states in which a replay is. Where the gateway is inquired first, `confirmed` has the effect of its confirmation."""
    async with transaction(state.pool) as conn, conn.transaction(force_rollback=True):
        found = await event_lists.by_id(conn, event_id)
        if found is None:
            raise NotFoundException("There is no such notification")
        event, content_type, body = found
        if event.state not in {"parked", "contradicted"}:
            raise IllegalStep("notification", state=event.state, step="replayed")
        # A replay forgets the gateway's response to an inquiry; a report record is the gateway's own, and keeps it.
        confirmation = await event_lists.confirmation_of(conn, event_id) if event.source == "report" else None
        try:
            notification = decode(body, content_type=content_type)
        except Unreadable:
            notification = None
        named = Named() if notification is None else await _named(conn, notification)
        settings = state.settings
        policy = settings.policy if event.account == "default" else settings.policy_of_further_accounts
        returns = await return_policies.active(conn, built_in=policy.returns)
        policy = msgspec.structs.replace(policy, returns=returns)
    return preview(named, notification, account=event.account, policy=policy, confirmation=confirmation)


async def _named(conn: Connection, notification: Notification) -> Named:
    """What a notification names, in the order in which applying looks: its debit, its order, a refund of the back office."""
    reference = reference_of(notification)
    unique_ids = [name for name in (notification.unique_id, reference) if name]
    transaction_ids = [notification.transaction_id] if notification.transaction_id else []
    orders = await refunds.named(conn, unique_ids=unique_ids, transaction_ids=transaction_ids)
    debits = await billing_attempts.locked_by_ids(
        conn,
        unique_ids=unique_ids,
        transaction_ids=transaction_ids,
        ids=sorted({order.attempt_id for order in orders}),
    )
    by_unique_id = {debit.unique_id: debit for debit in debits if debit.unique_id}
    by_transaction_id = {debit.transaction_id: debit for debit in debits}
    attempt = by_unique_id.get(notification.unique_id or "") or by_transaction_id.get(
        notification.transaction_id or ""
    )
    if attempt is not None:
        return Named(attempt)
    for row in (await refunds.locked(conn, [order.id for order in orders])).values():
        order = row.refund.order.attempt
        if (
            notification.unique_id in {order.unique_id} - {None}
            or notification.transaction_id == order.transaction_id
        ):
            return Named(order=row.refund)
    return Named(refunded=by_unique_id.get(reference or ""))


ROUTER = Router("/api/webhook-events/{event_id:int}", route_handlers=[replay_preview], tags=["notifications"])
