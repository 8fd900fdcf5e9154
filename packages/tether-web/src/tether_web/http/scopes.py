"""
Callers who are limited to some gateway accounts: which routes they may call, and about what.

A run, a payment, a refund, a notification, a collection plan and a mandate belong to one gateway account. An upload and its debtors belong to the accounts of the upload's
runs, a debtor to those of its mandates and pre-notifications besides; a limited caller sees them if all of these are the caller's. The id of anything else gets the same 404 as
an id that does not exist. The lists of uploads, payments, runs, chargebacks, refunds, notifications, collection plans and mandates, the figures and the exposure need the filter
`account`, and the list of debtors needs `upload`. Routes that are in no table, such as lists over all accounts, uploading and the event
stream, are refused for limited callers.
"""

from collections.abc import Sequence
from typing import Final

from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from tether_stores.billing import billing_runs
from tether_stores.people.scopes import Scoped, accounts_of
from tether_stores.postgres import Connection
from tether_stores.postgres import connection as connected

__all__ = [
    "BY_ID",
    "BY_UPLOAD",
    "FILTERED",
    "JUDGED",
    "OPEN",
    "require_account",
    "require_scope",
    "require_upload",
]

# Parameter of the path -> the kind of thing that it names, and what a handler says where there is none.
BY_ID: Final[dict[str, tuple[Scoped, str]]] = {
    "run_id": ("run", "There is no such billing run"),
    "attempt_id": ("attempt", "There is no such billing attempt"),
    "refund_id": ("refund", "There is no such refund or void"),
    "void_id": ("run_void", "There is no such order"),
    "event_id": ("notification", "There is no such notification"),
    "bulk_order_id": ("bulk_order", "There is no such bulk order"),
    "upload_id": ("upload", "There is no such upload"),
    "debtor_id": ("debtor", "There is no such debtor"),
    "collection_plan_id": ("collection_plan", "There is no such collection plan"),
    "schedule_id": ("schedule", "There is no such schedule"),
    "due_item_id": ("due_item", "There is no such due item"),
    "mandate_id": ("mandate", "There is no such mandate"),
}
# Routes without an id that show nothing of an account.
OPEN: Final = frozenset({"GET /api/me", "GET /api/event-types"})
# Routes whose handlers look at the account of an order themselves, by `require_account`.
JUDGED: Final = frozenset({"POST /api/bulk-orders"})
# Lists and sums that show one account, by their filter `account`.
FILTERED: Final = frozenset(
    {
        "GET /api/billing-attempts",
        "GET /api/billing-runs",
        "GET /api/chargebacks",
        "GET /api/chargebacks/by-code",
        "GET /api/collection-plans",
        "GET /api/figures",
        "GET /api/figures/exposure",
        "GET /api/mandates",
        "GET /api/refunds",
        "GET /api/uploads",
        "GET /api/webhook-events",
    }
)
# Lists that show one upload, by their filter `upload`.
BY_UPLOAD: Final = frozenset({"GET /api/debtors"})


async def require_scope(connection: ASGIConnection, _handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Refuse what is outside the caller's gateway accounts; a guard of the API."""
    if connection.scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]  # says which methods a route has, to anybody
        return
    accounts = connection.auth.accounts
    route = f"{connection.scope['method']} {connection.scope['path_template']}"  # type: ignore[typeddict-item]
    if accounts is None or route in OPEN | JUDGED:
        return
    named = [(BY_ID[name], int(value)) for name, value in connection.path_params.items() if name in BY_ID]
    if named:
        async with connected(connection.app.state.pool) as conn:
            for (kind, missing), row_id in named:
                found = await accounts_of(conn, kind, row_id) if row_id < 2**63 else frozenset[str]()
                if not found or not found <= set(accounts):
                    raise NotFoundException(missing)
        return
    if route in FILTERED:
        for account in connection.query_params.getall("account", [""]):
            require_account(accounts, account)
        return
    if route in BY_UPLOAD:
        await _require_own_uploads(connection, accounts)
        return
    raise PermissionDeniedException(f"{_limit(accounts)}; this route covers all accounts")


async def _require_own_uploads(connection: ASGIConnection, accounts: Sequence[str]) -> None:  # type: ignore[type-arg]
    """Refuse a list without the filter `upload`, and with one that is not the caller's."""
    given = connection.query_params.getall("upload", [])
    if not given:
        raise PermissionDeniedException(f"{_limit(accounts)}; give an upload of theirs as `upload`")
    async with connected(connection.app.state.pool) as conn:
        for text in given:
            is_id = text.isascii() and text.isdigit() and len(text) < len(str(2**63))
            await require_upload(conn, accounts, int(text) if is_id else 0)


def require_account(accounts: Sequence[str] | None, account: str | None) -> None:
    """
    Refuse what is not limited to an account of the caller.

    Args:
        accounts: Of the caller; `None` for all.
        account: The filter of the request; `None` or "" without one.
    """
    if accounts is not None and account not in accounts:
        raise PermissionDeniedException(f"{_limit(accounts)}; give one of them as `account`")


async def require_upload(conn: Connection, accounts: Sequence[str] | None, upload_id: int | None) -> None:
    """
    Refuse an upload that is given as a filter and does not exist for the caller.

    Args:
        accounts: Of the caller; `None` for all.
        upload_id: The filter; `None` without one.
    """
    if upload_id is None:
        return
    if accounts is None:
        is_seen = await billing_runs.upload_state(conn, upload_id) is not None
    else:
        found = await accounts_of(conn, "upload", upload_id)
        is_seen = bool(found) and found <= set(accounts)
    if not is_seen:
        raise NotFoundException(BY_ID["upload_id"][1])


def _limit(accounts: Sequence[str]) -> str:
    return f"You are limited to the gateway accounts {', '.join(accounts)}"
