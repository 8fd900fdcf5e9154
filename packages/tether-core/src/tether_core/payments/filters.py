"""
Filters of the list of billing attempts: which of them leads, and which combinations are refused.

A list of ten million attempts is never read whole. One filter **leads**: the attempts that fit it are read from an index, newest
first, and the other filters are applied to them. A page examines `EXAMINED_MAX` attempts at most, so it may be shorter than
its limit, or empty, and still name a next page. The filter that leaves the fewest attempts leads:

| order | filter | index |
|---|---|---|
| 1 | `unique_id`, `transaction_id` | one attempt at most |
| 2 | `debtor` | the attempts of a person |
| 3 | `run`, `upload` | by run |
| 4 | `reason_code` | only attempts that came back |
| 5 | `created_from`, `created_to` | by time of creation; the list is in that order then |
| 6 | `status` | by state |
| 7 | `account` | by account |

Amounts, countries, banks and the time of the last change fit anywhere in the list, so they narrow another filter and do not lead.

>>> led_by(AttemptFilters(upload_id=3, state="approved", amount_min_minor=10_000))
'upload'
>>> led_by(AttemptFilters())
'newest'
>>> led_by(AttemptFilters(amount_min_minor=10_000))  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: amount_min_minor: Narrows another filter; add one of debtor, run, upload, ...
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = ["EXAMINED_MAX", "AttemptFilters", "Lead", "led_by"]

Lead = Literal[
    "unique_id",
    "transaction_id",
    "debtor",
    "run",
    "upload",
    "reason_code",
    "created",
    "state",
    "account",
    "newest",
]

# Some hundredths of a second on a machine whose pages are in memory.
EXAMINED_MAX: Final = 20_000
_ADD: Final = "narrows another filter; add one of debtor, run, upload, reason_code, created_from, created_to, status or account"


class AttemptFilters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which attempts; `None` does not filter.

    Attributes:
        unique_id: With this id of the gateway.
        transaction_id: With this `transaction_id`.
        debtor_id: Of this debtor.
        run_id: Of this billing run.
        upload_id: Of the billing runs of this upload.
        reason_code: That came back for this reason.
        state: In this state.
        account: Of this gateway account.
        amount_min_minor: Of at least this amount, in whole minor units.
        amount_max_minor: Of at most this amount.
        created_from: Made at this time or later.
        created_to: Made before this time.
        updated_from: Last changed at this time or later.
        updated_to: Last changed before this time.
        country: From an account in this country, by its IBAN.
        bank: Collected from an account at this bank: eight characters of its BIC.
    """

    unique_id: str | None = None
    transaction_id: str | None = None
    debtor_id: int | None = None
    run_id: int | None = None
    upload_id: int | None = None
    reason_code: str | None = None
    state: str | None = None
    account: str | None = None
    amount_min_minor: int | None = None
    amount_max_minor: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    country: str | None = None
    bank: str | None = None


def led_by(filters: AttemptFilters) -> Lead:
    """
    Which filter leads.

    Raises:
        InvalidRequest: when none can, or when a range is empty; it says what to change.
    """
    _require_ranges(filters)
    leads: tuple[tuple[Lead, object], ...] = (
        ("unique_id", filters.unique_id),
        ("transaction_id", filters.transaction_id),
        ("debtor", filters.debtor_id),
        ("run", filters.run_id),
        ("upload", filters.upload_id),
        ("reason_code", filters.reason_code),
        ("created", filters.created_from or filters.created_to),
        ("state", filters.state),
        ("account", filters.account),
    )
    for lead, value in leads:
        if value is not None:
            return lead
    for field in ("amount_min_minor", "amount_max_minor", "updated_from", "updated_to", "country", "bank"):
        if getattr(filters, field) is not None:
            raise InvalidRequest(_ADD, field=field)
    return "newest"


def _require_ranges(filters: AttemptFilters) -> None:
    low, high = filters.amount_min_minor, filters.amount_max_minor
    if low is not None and high is not None and low > high:
        raise InvalidRequest("is less than amount_min_minor, so nothing fits", field="amount_max_minor")
    for name, since, until in (
        ("created", filters.created_from, filters.created_to),
        ("updated", filters.updated_from, filters.updated_to),
    ):
        if since is not None and until is not None and since >= until:
            raise InvalidRequest(f"is not later than {name}_from, so nothing fits", field=f"{name}_to")
