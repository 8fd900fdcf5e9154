"""Gateway accounts."""

from datetime import datetime
from urllib.parse import quote

import msgspec

from tether_client.billing import LimitStatus
from tether_client.connection import Connection

__all__ = ["AccountPause", "AccountResponse", "AccountRoutes"]


class AccountPause(msgspec.Struct, frozen=True):
    """
    A gateway account that is paused.

    Attributes:
        account: Its name.
        paused_by: Who ordered it.
        reason: Why.
        paused_at: Since when.
    """

    account: str
    paused_by: str
    reason: str
    paused_at: datetime


class AccountResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    A gateway account, without its secrets.

    Attributes:
        name: Its name.
        former_of: The account whose former login or address this is, or `None`.
        enabled: Whether it may submit by its configuration.
        paused: Who paused it, why and when; `None` where nobody did.
        api_url: The address of the gateway.
        terminals: Login and terminal of each, by four digits of a digest; new debits go to the first.
        passwords: How many passwords notifications may be signed with.
        billing_per_s: Debits, refunds and voids a second at most.
        reconciliation_per_s: Status inquiries a second at most.
        debit_max_minor: The largest amount of a debit; `None` for no limit.
        day_count_max: Debits a day at most; `None` for no limit.
        day_amount_max_minor: Money a day at most; `None` for no limit.
        characters: The character set of names and texts.
        status: Circuit breaker and rate limit now.
        open_calls: Submissions without a final result; 10,000 and more where there are that many.
        open_since_at: When the oldest of these was submitted; `None` for none.
    """

    name: str
    former_of: str | None
    enabled: bool
    paused: AccountPause | None
    api_url: str
    terminals: list[str]
    passwords: int
    billing_per_s: float
    reconciliation_per_s: float
    debit_max_minor: int | None
    day_count_max: int | None
    day_amount_max_minor: int | None
    characters: str | None
    status: LimitStatus
    open_calls: int
    open_since_at: datetime | None


class AccountRoutes(Connection):
    """Routes of gateway accounts."""

    def gateway_accounts(self) -> list[AccountResponse]:
        """Gateway accounts: limits, circuit breaker, open submissions, pauses."""
        return self._get("/api/gateway-accounts", list[AccountResponse])

    def pause_account(self, name: str, *, reason: str) -> AccountPause:
        """Submit nothing more with a gateway account, on all nodes; inquiries and notifications go on."""
        path = f"/api/gateway-accounts/{quote(name, safe='')}/pause"
        return self._post(path, {"reason": reason}, AccountPause)

    def resume_account(self, name: str) -> AccountPause:
        """Submit with a gateway account again; returns the pause that ended."""
        return self._post(f"/api/gateway-accounts/{quote(name, safe='')}/resume", None, AccountPause)
