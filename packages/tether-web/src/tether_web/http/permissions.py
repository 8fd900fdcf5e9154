"""
Permissions: the one permission that each route needs.

A subject has a permission for reading and one for changing; single routes may differ. A path of no subject is refused, so a new route is closed
until it is listed here. `tether_core.people.roles` says which role has which permission.

>>> needed("GET", "/api/uploads/{upload_id}"), needed("GET", "/api/uploads/{upload_id}/file")
('view', 'files')
>>> needed("POST", "/api/new")
"""

from typing import Final

from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from tether_core.people.roles import Permission, Role, may

__all__ = ["READS", "SINGLE", "SUBJECTS", "needed", "require_permission", "require_role"]

READS: Final = frozenset({"GET", "HEAD"})

# First part of the path after /api -> permission to read, permission to change.
SUBJECTS: Final[dict[str, tuple[Permission, Permission]]] = {
    "api-keys": ("people", "people"),
    "audit": ("audit", "audit"),
    "billing-attempts": ("view", "refunds"),
    "billing-runs": ("view", "billing"),
    "blacklist": ("view", "blacklist"),
    # Each action needs the permission of its single order besides; the handlers ask for it.
    "bulk-orders": ("view", "view"),
    "chargebacks": ("view", "reconciliation"),
    "collection-plans": ("view", "billing"),
    "completeness": ("view", "reconciliation"),
    "debtors": ("view", "uploads"),
    "deliveries": ("view", "notifications"),
    "event-types": ("view", "view"),
    "due-items": ("view", "billing"),
    "events": ("view", "view"),
    "figures": ("view", "view"),
    "gateway-accounts": ("view", "billing"),
    "inquiries": ("view", "reconciliation"),
    "layout-answers": ("view", "uploads"),
    "mandates": ("view", "billing"),
    "me": ("own_account", "own_account"),
    "pre-notifications": ("files", "billing"),
    "quarantine": ("view", "notifications"),
    "preflight-reports": ("view", "view"),
    "queues": ("view", "queues"),
    "reconciliation-differences": ("view", "reconciliation"),
    "refunds": ("view", "reconciliation"),
    # An address at which the outside is heard; who gives one away decides for the installation, as with subscribers.
    "relays": ("view", "subscribers"),
    "return-policies": ("view", "return_policies"),
    "run-voids": ("view", "refunds"),
    "statement-texts": ("view", "billing"),
    "store-status": ("view", "queues"),
    "subscribers": ("view", "subscribers"),
    "schedules": ("view", "billing"),
    "uploads": ("view", "uploads"),
    "users": ("people", "people"),
    "vop": ("view", "uploads"),
    "webhook-events": ("view", "notifications"),
    "workers": ("view", "queues"),
}
# Routes that need another permission than their subject.
SINGLE: Final[dict[str, Permission]] = {
    "GET /api/uploads/{upload_id}/file": "files",
    "GET /api/uploads/{upload_id}/preview": "files",
    "GET /api/uploads/{upload_id}/problems": "files",
    "GET /api/blacklist/export": "files",
    "GET /api/vop/files/{file_id}/result": "files",
    "GET /api/webhook-events/{event_id}/replay-preview": "notifications",
    "GET /api/quarantine/preview": "notifications",
    "GET /api/debtors/{debtor_id}/pre-notifications": "files",
    "POST /api/debtors/{debtor_id}/dossier": "files",
    "GET /api/debtors/{debtor_id}/erasure": "erasure",
    "POST /api/debtors/{debtor_id}/erasure": "erasure",
    "GET /api/debtors/clean-payers": "files",
    "POST /api/uploads/{upload_id}/billing": "billing",
    "POST /api/uploads/{upload_id}/billing/release": "billing",
    "POST /api/uploads/{upload_id}/pre-notifications": "billing",
    "POST /api/uploads/{upload_id}/inquiry": "reconciliation",
    "POST /api/billing-runs/{run_id}/inquiry": "reconciliation",
    "POST /api/billing-runs/{run_id}/void": "refunds",
    "POST /api/subscribers/{subscriber_id}/activate": "notifications",
    "POST /api/subscribers/{subscriber_id}/pause": "notifications",
    "POST /api/subscribers/{subscriber_id}/replay": "notifications",
    "POST /api/billing-attempts/{attempt_id}/inquiry": "reconciliation",
    "POST /api/billing-attempts/{attempt_id}/outcome": "reconciliation",
    "POST /api/billing-attempts/{attempt_id}/forgive": "reconciliation",
}


def needed(method: str, path: str) -> Permission | None:
    """
    The permission that a route needs.

    Args:
        method: E.g. "GET".
        path: The route's path with parameters by name, e.g. "/api/uploads/{upload_id}".

    Returns:
        The permission; `None` for a path of no subject.
    """
    single = SINGLE.get(f"{method} {path}")
    if single is not None:
        return single
    _, api, subject, *_ = [*path.split("/"), "", ""]
    pair = SUBJECTS.get(subject) if api == "api" else None
    if pair is None:
        return None
    return pair[0] if method in READS else pair[1]


def require_permission(connection: ASGIConnection, _handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Refuse a request whose caller's role does not have the permission of the route; a guard of the API."""
    method: str = connection.scope["method"]  # type: ignore[typeddict-item]
    if method == "OPTIONS":  # says which methods a route has, to anybody
        return
    permission = needed(method, connection.scope["path_template"])
    role = connection.auth.role
    if permission is None:
        raise PermissionDeniedException(
            "No permission is defined for this route; list it in tether_web.http.permissions"
        )
    require_role(role, permission)


def require_role(role: Role, permission: Permission) -> None:
    """Refuse a caller whose role does not have a permission."""
    if not may(role, permission):
        raise PermissionDeniedException(
            f"Your role is {role}; this needs the permission {permission}. Ask an administrator for another role"
        )
