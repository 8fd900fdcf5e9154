"""
Stated outcomes: a person states what the gateway's back office shows for a payment of unknown outcome.

`POST /api/billing-attempts/{id}/outcome` and `POST /api/refunds/{id}/outcome`, for debits, refunds and voids whose status can no longer
be inquired; see `tether_core.stated_outcomes`.
"""

from typing import Annotated, Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.stated_outcomes import StatedOutcome, Statement, statement
from tether_stores import audit, stated_outcomes
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import reading, transaction
from tether_stores.stated_outcomes import Closed, KeptStatement
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id

__all__ = ["ROUTERS", "SeenOutcome"]

_log = logger("stated_outcomes")


class SeenOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    The outcome that the gateway's back office shows.

    Attributes:
        outcome: "approved", "declined", or "never_arrived" if the gateway has no such payment.
        reason: Where it was seen; stored with the name of your key.
        unique_id: The gateway's id of the payment; required for "approved".
    """

    outcome: StatedOutcome
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    unique_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None


@post(
    "/{attempt_id:int}/outcome",
    status_code=200,
    summary="State the outcome of a debit whose status cannot be inquired",
)
async def close_debit(
    request: ApiRequest, state: State, attempt_id: Id, data: JSONBody[SeenOutcome]
) -> Closed:
    """
    Close a debit of unknown outcome whose terminal, login or URL no longer exists.

    Refused (409) while its status can be inquired. A later report of the gateway that contradicts it becomes a reconciliation
    difference.
    """
    stated, now = _stated(data, by=request.user), state.clock()
    async with transaction(state.pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=state.settings)
        found = await stated_outcomes.close_debit(
            conn,
            attempt_id,
            stated,
            accounts=accounts.values(),
            now=now,
            submission_rules=state.settings.submission_rules,
        )
        if found is None:
            raise NotFoundException("There is no such billing attempt")
        await audit.record(
            conn,
            request.auth.actor,
            "outcome.stated",
            subject="attempt",
            subject_id=attempt_id,
            reason=stated.reason,
            after=facts(outcome=stated.outcome, status=found.status),
            now=now,
        )
    _log.warning("outcome stated", attempt_id=attempt_id, outcome=stated.outcome, by=stated.by)
    return found


@get("/{attempt_id:int}/outcomes", summary="Stated outcomes of a debit, its refunds and voids")
async def listed(state: State, attempt_id: Id) -> list[KeptStatement]:
    """Oldest first."""
    async with reading(state.pool) as conn:
        return await stated_outcomes.of_attempt(conn, attempt_id)


@post(
    "/{refund_id:int}/outcome",
    status_code=200,
    summary="State the outcome of a refund whose status cannot be inquired",
)
async def close_refund(
    request: ApiRequest, state: State, refund_id: Id, data: JSONBody[SeenOutcome]
) -> Closed:
    """Close a refund or void of unknown outcome, as a debit is closed."""
    stated, now = _stated(data, by=request.user), state.clock()
    async with transaction(state.pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=state.settings)
        found = await stated_outcomes.close_refund(
            conn,
            refund_id,
            stated,
            accounts=accounts.values(),
            now=now,
            submission_rules=state.settings.submission_rules,
        )
        if found is None:
            raise NotFoundException("There is no such refund or void")
        await audit.record(
            conn,
            request.auth.actor,
            "outcome.stated",
            subject="refund",
            subject_id=refund_id,
            reason=stated.reason,
            after=facts(outcome=stated.outcome, status=found.status),
            now=now,
        )
    _log.warning("outcome stated", refund_id=refund_id, outcome=stated.outcome, by=stated.by)
    return found


def _stated(data: SeenOutcome, *, by: str) -> Statement:
    return statement(outcome=data.outcome, unique_id=data.unique_id, reason=data.reason, by=by)


ROUTERS: Final = (
    Router("/api/billing-attempts", route_handlers=[close_debit, listed], tags=["billing attempts"]),
    Router("/api/refunds", route_handlers=[close_refund], tags=["refunds and voids"]),
)
