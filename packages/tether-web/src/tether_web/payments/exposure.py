"""`GET /api/billing-attempts/{id}/exposure`: until when a debit can be returned, and whether it can be refunded or voided."""

from datetime import date

import msgspec
from litestar import Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from tether_core.holds import refund_hold
from tether_core.payments.returns import settles_on
from tether_core.refunds import allowance
from tether_core.target_calendar import bank_day, exposure
from tether_stores import holds
from tether_stores.payments import billing_attempts
from tether_stores.postgres import reading

from tether_web.http.parameters import Id

__all__ = ["ROUTER", "ExposureResponse"]


class ExposureResponse(msgspec.Struct, frozen=True):
    """
    The exposure of a debit.

    Attributes:
        attempt_id: The debit.
        status: Its state.
        settled_on: The estimated settlement day; the gateway does not report it.
        return_on: Last day on which the debtor's bank may return it.
        refund_on: Last day on which the debtor may demand a refund without a reason.
        unauthorised_on: Last day on which the debtor may claim that there was no mandate.
        final_on: The first day on which the debit cannot be returned or reclaimed any more.
        refundable: Whether it can be refunded today.
        refundable_why: Why, or why not and what to do, as a sentence.
        refundable_from: The first day on which it can be refunded, if only time is missing.
        voidable: Whether it can be voided today, before it goes to the banks.
        voidable_why: Why, or why not and what to do, as a sentence.
        retry_on: The day on which it is submitted again after a return.
        retry_why: Why on that day, or why not at all.
        return_policy_version: The version of the return policy that decided this; null without a return.
        refunded_and_charged_back: Whether it was both refunded and charged back.
    """

    attempt_id: int
    status: str
    settled_on: date
    return_on: date
    refund_on: date | None
    unauthorised_on: date | None
    final_on: date
    refundable: bool
    refundable_why: str
    refundable_from: date | None
    voidable: bool
    voidable_why: str
    retry_on: date | None
    retry_why: str | None
    return_policy_version: int | None
    refunded_and_charged_back: bool


@get("/", summary="Until when a debit can be returned, refunded or voided")
async def detail(state: State, attempt_id: Id) -> ExposureResponse:
    """The limits of the SEPA scheme for one debit."""
    async with reading(state.pool) as conn:
        found = await billing_attempts.exposed(conn, attempt_id)
        facts = await holds.of_refunds(conn, [attempt_id], now=state.clock())
    if found is None:
        raise NotFoundException("There is no such billing attempt")
    hold = refund_hold(facts[attempt_id])
    due_on = settles_on(bank_day(found.submitted_at))
    limits = exposure(due_on)
    now = state.clock()
    verdict = allowance.judge("refund", found.attempt, submitted_at=found.submitted_at, now=now)
    cancel = allowance.judge("void", found.attempt, submitted_at=found.submitted_at, now=now)
    return ExposureResponse(
        attempt_id=attempt_id,
        status=found.attempt.state,
        settled_on=limits.settled_on,
        return_on=limits.return_on,
        refund_on=limits.refund_on,
        unauthorised_on=limits.unauthorised_on,
        final_on=limits.final_on,
        refundable=verdict.allowed and hold is None,
        refundable_why=hold.sentence
        if verdict.allowed and hold is not None
        else allowance.sentence("refund", verdict),
        refundable_from=verdict.from_on,
        voidable=cancel.allowed and hold is None,
        voidable_why=hold.sentence
        if cancel.allowed and hold is not None
        else allowance.sentence("void", cancel),
        retry_on=found.retry_on,
        retry_why=found.retry_why,
        return_policy_version=found.return_policy_version,
        refunded_and_charged_back=found.attempt.refunded_and_charged_back,
    )


ROUTER = Router(
    "/api/billing-attempts/{attempt_id:int}/exposure", route_handlers=[detail], tags=["billing attempts"]
)
