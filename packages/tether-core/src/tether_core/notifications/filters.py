"""
Filters of lists of notifications.

Most notifications are processed, and no index leads from a gateway account to those of it. So a filter by account stands beside one that makes the list short:
the notifications of one payment, or those in another state.

>>> require_narrow("second", status="parked", unique_id=None)
>>> require_narrow("second", status=None, unique_id=None)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: account: A filter by account needs a status other than processed beside it, or a unique_id.
"""

from tether_core.errors import InvalidRequest
from tether_core.notifications.inbox import InboxState

__all__ = ["require_narrow"]


def require_narrow(
    account: str | None, *, status: InboxState | None, unique_id: str | None, field: str = "account"
) -> None:
    """
    Refuse a filter by account that would read all notifications.

    Args:
        account: Only of this gateway account; `None` for all.
        status: Only in this state; `None` for all.
        unique_id: Only of this id of the gateway; `None` for all.
        field: Where the filter is in the request.

    Raises:
        InvalidRequest: when no other filter makes the list short.
    """
    if account is not None and unique_id is None and status in {None, "processed"}:
        why = "a filter by account needs a status other than processed beside it, or a unique_id"
        raise InvalidRequest(why, field=field)
