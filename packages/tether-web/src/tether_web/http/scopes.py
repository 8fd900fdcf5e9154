"""
Callers who are limited to some gateway accounts: which routes they may call, and about what.

A run, a payment, a refund and a notification belong to one gateway account. An upload and its debtors belong to the accounts of the upload's
runs, and a limited caller sees them if all of these are the caller's. The id of anything else gets the same 404 as an id that does not exist. The list of payments needs the
filter `account`. Routes that are not in the table, such as lists and figures over all accounts, uploading and the event stream, are refused for limited callers.
"""

from typing import Final

from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from tether_stores.people.scopes import Scoped, accounts_of
from tether_stores.postgres import connection as connected

__all__ = ["BY_ID", "OPEN", "require_scope"]

# Parameter of the path -> the kind of thing that it names, and what a handler says where there is none.
BY_ID: Final[dict[str, tuple[Scoped, str]]] = {
    "run_id": ("run", "There is no such billing run"),
    "attempt_id": ("attempt", "There is no such billing attempt"),
    "refund_id": ("refund", "There is no such refund or void"),
    "void_id": ("run_void", "There is no such order"),
    "event_id": ("notification", "There is no such notification"),
    "upload_id": ("upload", "There is no such upload"),
    "debtor_id": ("debtor", "There is no such debtor"),
}
# Routes without an id that show nothing of an account.
OPEN: Final = frozenset({"GET /api/me"})
_FILTERED: Final = "GET /api/billing-attempts"


async def require_scope(connection: ASGIConnection, _handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Refuse what is outside the caller's gateway accounts; a guard of the API."""
    if connection.scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]  # says which methods a route has, to anybody
        return
    accounts = connection.auth.accounts
    route = f"{connection.scope['method']} {connection.scope['path_template']}"  # type: ignore[typeddict-item]
    if accounts is None or route in OPEN:
        return
    named = [(BY_ID[name], int(value)) for name, value in connection.path_params.items() if name in BY_ID]
    if named:
        async with connected(connection.app.state.pool) as conn:
            for (kind, missing), row_id in named:
                found = await accounts_of(conn, kind, row_id) if row_id < 2**63 else frozenset[str]()
                if not found or not found <= set(accounts):
                    raise NotFoundException(missing)
        return
    limit = f"You are limited to the gateway accounts {', '.join(accounts)}"
    if route == _FILTERED:
        if set(connection.query_params.getall("account", [""])) <= set(accounts):
            return
        raise PermissionDeniedException(f"{limit}; give one of them as `account`")
    raise PermissionDeniedException(f"{limit}; this route covers all accounts")
