"""Lists of billing attempts: one query of `payments/attempt_lists.sql` per leading filter."""

from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
from tether_core.payments.filters import EXAMINED_MAX, AttemptFilters, Lead

from tether_stores.payments.billing_attempts import ListedAttempt
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["AttemptPage", "page_of"]

_SQL: Final = load("payments/attempt_lists")
_LED_BY: Final[dict[Lead, LiteralString]] = {
    "newest": _SQL["newest"],
    "unique_id": _SQL["by_unique_id"],
    "transaction_id": _SQL["by_transaction_id"],
    "debtor": _SQL["by_debtor"],
    "run": _SQL["by_run"],
    "upload": _SQL["by_upload"],
    "reason_code": _SQL["by_reason_code"],
    "created": _SQL["by_created"],
    "state": _SQL["by_state"],
    "account": _SQL["by_account"],
}


class AttemptPage(msgspec.Struct, frozen=True):
    """
    A page of attempts.

    Attributes:
        attempts: Those that fit all filters.
        last: Creation time and row of the attempt after which the next page begins; `None` on the last page.
    """

    attempts: list[ListedAttempt]
    last: tuple[datetime, int] | None


async def page_of(
    conn: Connection,
    filters: AttemptFilters,
    *,
    lead: Lead,
    limit: int,
    before: tuple[datetime | None, int] | None,
    examined_max: int = EXAMINED_MAX,
) -> AttemptPage:
    """
    One page of attempts, newest first.

    Args:
        filters: Of the list.
        lead: From `tether_core.payments.filters.led_by`.
        before: Creation time and row after which the page begins; `None` for the first page. Only "created" needs the time.
        examined_max: Attempts that are examined at most.

    Returns:
        Up to *limit* attempts; fewer do not mean that it is the last page.
    """
    at, row = (None, None) if before is None else before
    parameters = {
        **msgspec.structs.asdict(filters),
        "before_at": at,
        "before": row,
        "limit": limit + 1,
        "examined_max": examined_max,
    }
    rows = await fetch_all(conn, _LED_BY[lead], parameters, into=_examined)
    found = [row.attempt for row in rows if row.fits]
    excerpt = found[:limit]
    if len(found) > limit:
        last = excerpt[-1]
    elif rows and rows[-1].place == examined_max:
        last = rows[-1].attempt  # as far as this page has looked
    else:
        return AttemptPage(excerpt, None)
    return AttemptPage(excerpt, (last.created_at, last.id))


class _Examined(msgspec.Struct, frozen=True):
    """An attempt, whether it fits all filters, and its place among those that were examined."""

    attempt: ListedAttempt
    fits: bool
    place: int


def _examined(*, fits: bool, place: int, **columns: Any) -> _Examined:
    return _Examined(ListedAttempt(**columns), fits, place)
