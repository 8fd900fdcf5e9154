"""
`/api/gateway-accounts`: what an account at the gateway may do, what it does now, and its pause.

```text
GET  /api/gateway-accounts                  all accounts, with limits, circuit breaker, open submissions and pause
POST /api/gateway-accounts/{name}/pause     submit nothing more with it, on all nodes, with a reason
POST /api/gateway-accounts/{name}/resume    submit again
```

Nothing secret is shown: of passwords only how many there are, of login and terminals four digits of a digest. Accounts are stored and changed by
`tether-worker accounts`, on a machine of Tether.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, PathParameter
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.sepa_text import Characters
from tether_stores import audit, limits
from tether_stores.accounts import account_pauses, gateway_accounts, gateway_identities
from tether_stores.accounts.account_pauses import AccountPause
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.limits import LimitStatus
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import reason_of

__all__ = ["ROUTER", "AccountPauseRequest", "AccountResponse"]

Name = Annotated[str, PathParameter(description="The name of a gateway account.")]

_log = logger("accounts")


class AccountResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    A gateway account for people, without its secrets.

    Attributes:
        name: Its name.
        former_of: The account whose former login or address this is, or null.
        enabled: Whether it may submit by its configuration.
        paused: Who paused it, why and when; null where nobody did.
        api_url: The address of the gateway.
        terminals: Login and terminal of each, by four digits of a digest that say nothing of them; new debits go to the first.
        passwords: How many passwords notifications may be signed with; calls are made with the first.
        billing_per_s: Debits, refunds and voids a second at most.
        reconciliation_per_s: Status inquiries a second at most.
        debit_max_minor: The largest amount of a debit; null for no limit.
        day_count_max: Debits a day at most; null for no limit.
        day_amount_max_minor: Money a day at most; null for no limit.
        characters: The character set of names and texts.
        status: Circuit breaker and rate limit now.
        open_calls: Submissions without a final result; 10,000 and more where there are that many.
        open_since_at: When the oldest of these was submitted; null for none.
    """

    name: str
    former_of: str | None
    enabled: bool
    paused: AccountPause | None
    api_url: str
    terminals: tuple[str, ...]
    passwords: int
    billing_per_s: float
    reconciliation_per_s: float
    debit_max_minor: int | None
    day_count_max: int | None
    day_amount_max_minor: int | None
    characters: Characters | None
    status: LimitStatus
    open_calls: int
    open_since_at: datetime | None


class AccountPauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Why a gateway account is paused.

    Attributes:
        reason: Stored with the pause, the name of the caller and the time.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@get("/", summary="Gateway accounts: limits, circuit breaker, open submissions, pauses")
async def listed(state: State) -> list[AccountResponse]:
    """All accounts, the one of the environment first; they are few. The breaker is "unknown" while Redis is unavailable."""
    async with reading(state.pool) as conn:
        known = await gateway_accounts.all_accounts(conn, settings=state.settings)
        paused = await account_pauses.pauses(conn)
        calls = await gateway_identities.open_by_account(conn, accounts=known)
    current = await limits.limit_status(state.cache, list(known))
    return [
        AccountResponse(
            name=account.name,
            former_of=account.former_of,
            enabled=account.enabled,
            paused=paused.get(account.name),
            api_url=account.api_url,
            terminals=tuple(
                place.name.partition(", ")[2] for place in gateway_identities.configured(account)
            ),
            passwords=len(account.passwords),
            billing_per_s=account.billing_per_s or state.settings.emp_rate_limit,
            reconciliation_per_s=account.reconciliation_per_s or state.settings.reconciliation_rate_limit,
            debit_max_minor=account.debit_max_minor,
            day_count_max=account.day_count_max,
            day_amount_max_minor=account.day_amount_max_minor,
            characters=account.characters,
            status=status,
            open_calls=calls[account.name].count if account.name in calls else 0,
            open_since_at=calls[account.name].since_at if account.name in calls else None,
        )
        for account, status in zip(known.values(), current, strict=True)
    ]


@post("/{name:str}/pause", status_code=200, summary="Pause a gateway account on all nodes")
async def pause(
    request: ApiRequest, state: State, name: Name, data: JSONBody[AccountPauseRequest]
) -> AccountPause:
    """No debit, refund or void is submitted with it within seconds. Calls in progress end; inquiries and notifications go on."""
    reason = reason_of(data.reason)
    async with transaction(state.pool) as conn:
        account = await _account(conn, state, name)
        if account.former_of is not None:
            raise InvalidRequest(
                f"this is a former login or address of {account.former_of}, which submits nothing; pause {account.former_of}",
                field="name",
            )
        now = state.clock()
        made = await account_pauses.pause(conn, name, paused_by=request.user, reason=reason, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "account.paused",
            subject="account",
            subject_id=name,
            reason=reason,
            now=now,
        )
    _log.info("gateway account paused", account=name, by=request.user)
    return made


@post("/{name:str}/resume", status_code=200, summary="Resume a gateway account")
async def resume(request: ApiRequest, state: State, name: Name) -> AccountPause:
    """Submissions go on within seconds. The response is the pause that ended."""
    async with transaction(state.pool) as conn:
        await _account(conn, state, name)
        ended = await account_pauses.resume(conn, name)
        await audit.record(
            conn,
            request.auth.actor,
            "account.resumed",
            subject="account",
            subject_id=name,
            before=facts(paused_by=ended.paused_by),
            now=state.clock(),
        )
    _log.info("gateway account resumed", account=name, by=request.user)
    return ended


async def _account(conn: Connection, state: State, name: str) -> GatewayAccount:
    known = await gateway_accounts.all_accounts(conn, settings=state.settings)
    if name not in known:
        raise NotFoundException("There is no such gateway account; GET /api/gateway-accounts lists them")
    return known[name]


ROUTER: Final = Router("/api/gateway-accounts", route_handlers=[listed, pause, resume], tags=["operation"])
