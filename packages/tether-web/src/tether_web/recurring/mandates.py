"""
`/api/mandates`: what debtors have signed.

```text
POST /api/mandates               add a mandate of a debtor
GET  /api/mandates               all mandates, newest first
GET  /api/mandates/{id}          one mandate
POST /api/mandates/{id}/amend    the debtor signed for the account that the debtor has now
POST /api/mandates/{id}/cancel   end it, and the schedules that use it
```
"""

from datetime import date
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import MandateStatusChanged
from tether_core.recurring import mandate as rules
from tether_core.recurring.mandate import MandateKind
from tether_core.target_calendar import bank_day
from tether_stores import audit, events
from tether_stores.accounts import gateway_accounts
from tether_stores.debtors import debtors
from tether_stores.postgres import reading, transaction
from tether_stores.recurring import changes, mandates
from tether_stores.recurring.mandates import MandateRow, NewMandate
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, BodyId, Id, printable, reason_of
from tether_web.recurring.collection_plans import WhyRequest

__all__ = ["ROUTER", "AmendRequest", "MandateOrder"]

_MISSING: Final = "There is no such mandate"

_log = logger("recurring")


class MandateOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A mandate to be added.

    Attributes:
        debtor_id: The debtor who signed it; it is for the account that the debtor has now.
        reference: As the debtor knows it; once among the active mandates of a gateway account.
        signed_on: When the debtor signed it.
        kind: "recurrent" for a series of debits, "one_off" for one.
        account: The gateway account.
    """

    debtor_id: BodyId
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=35)]
    signed_on: date
    kind: MandateKind = "recurrent"
    account: Annotated[str, msgspec.Meta(max_length=32)] = gateway_accounts.DEFAULT


class AmendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A mandate that a debtor signed for another account.

    Attributes:
        signed_on: When the debtor signed the amendment.
        reason: Stored in the audit.
    """

    signed_on: date
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@post("/", status_code=201, summary="Add a mandate of a debtor")
async def add(request: ApiRequest, state: State, data: JSONBody[MandateOrder]) -> MandateRow:
    """422 where another active mandate has the reference."""
    now = state.clock()
    reference = printable(" ".join(data.reference.split()), field="reference")
    rules.key_of(reference)
    if data.signed_on > bank_day(now):
        raise InvalidRequest("is in the future", field="signed_on")
    async with transaction(state.pool) as conn:
        if data.account not in await gateway_accounts.all_accounts(conn, settings=state.settings):
            raise InvalidRequest("no gateway account has this name", field="account")
        debtor = await debtors.by_id(conn, data.debtor_id)
        if debtor is None:
            raise InvalidRequest("there is no such debtor", field="debtor_id")
        new = NewMandate(data.debtor_id, reference, debtor.debtor.iban_masked, data.signed_on)
        added = await mandates.add(
            conn, [new], account=data.account, created_by=request.user, now=now, kind=data.kind
        )
        mandate_id = added.get(data.debtor_id)
        if mandate_id is None:
            raise InvalidRequest(
                "an active mandate of the gateway account has this reference; cancel or amend that one",
                field="reference",
            )
        fact = MandateStatusChanged(mandate_id, data.debtor_id, "", "active")
        await events.append(conn, [(None, fact)], now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "mandate.added",
            subject="mandate",
            subject_id=mandate_id,
            after=facts(debtor_id=data.debtor_id, kind=data.kind, signed_on=str(data.signed_on)),
            now=now,
        )
        row = await mandates.by_id(conn, mandate_id)
    assert row is not None
    return row


@get("/", summary="List mandates, newest first", responses=described(Page[MandateRow]))
async def listed(
    state: State,
    account: Annotated[str | None, Parameter(max_length=32, description="Only of this account.")] = None,
    debtor: Annotated[int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only of this debtor.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of mandates; whether a debtor's account was changed is shown by the mandate alone."""

    async def load(cursor: str | None, limit: int) -> Page[MandateRow]:
        async with reading(state.pool) as conn:
            rows = await mandates.listed(
                conn,
                account=account,
                before_id=decode_cursor(cursor),
                limit=limit + 1,
                debtor_id=debtor,
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=MandateRow, name="mandates", cursor=cursor, limit=limit)


@get("/{mandate_id:int}", summary="One mandate")
async def detail(state: State, mandate_id: Id) -> MandateRow:
    """Its state, its latest use, and whether the debtor's account was changed since it was signed."""
    async with reading(state.pool) as conn:
        row = await mandates.by_id(conn, mandate_id)
    if row is None:
        raise NotFoundException(_MISSING)
    return row


@post("/{mandate_id:int}/amend", status_code=200, summary="Amend a mandate for the debtor's present account")
async def amend(
    request: ApiRequest, state: State, mandate_id: Id, data: JSONBody[AmendRequest]
) -> MandateRow:
    """After an edit of the debtor's account: the debtor has signed for the new one. Resume its schedules then."""
    reason, now = reason_of(data.reason), state.clock()
    if data.signed_on > bank_day(now):
        raise InvalidRequest("is in the future", field="signed_on")
    async with transaction(state.pool) as conn:
        row = await mandates.hold(conn, mandate_id)
        if row is None:
            raise NotFoundException(_MISSING)
        if row.state != "active":
            raise IllegalStep("mandate", state=row.state, step="amended")
        debtor = await debtors.by_id(conn, row.debtor_id)
        assert debtor is not None
        masked = debtor.debtor.iban_masked
        await mandates.amend(conn, row.id, signed_on=data.signed_on, iban_masked=masked, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "mandate.amended",
            subject="mandate",
            subject_id=row.id,
            reason=reason,
            before=facts(signed_on=str(row.signed_on), iban_masked=row.iban_masked),
            after=facts(signed_on=str(data.signed_on), iban_masked=masked),
            now=now,
        )
        after = await mandates.by_id(conn, row.id)
    assert after is not None
    return after


@post("/{mandate_id:int}/cancel", status_code=200, summary="Cancel a mandate, and end its schedules")
async def cancel(request: ApiRequest, state: State, mandate_id: Id, data: JSONBody[WhyRequest]) -> MandateRow:
    """No debit is submitted with it after the response; those in flight end normally."""
    reason, now = reason_of(data.reason), state.clock()
    async with transaction(state.pool) as conn:
        row = await mandates.hold(conn, mandate_id)
        if row is None:
            raise NotFoundException(_MISSING)
        rules.step(row.state, "cancelled")
        await changes.end_mandates(
            conn,
            [(row.id, row.debtor_id)],
            "cancelled",
            reason=reason,
            code="mandate_cancelled",
            now=now,
        )
        await audit.record(
            conn,
            request.auth.actor,
            "mandate.cancelled",
            subject="mandate",
            subject_id=row.id,
            reason=reason,
            before=facts(state=row.state),
            after=facts(state="cancelled"),
            now=now,
        )
        after = await mandates.by_id(conn, row.id)
    assert after is not None
    _log.info("mandate cancelled", mandate_id=row.id, by=request.user)
    return after


ROUTER: Final = Router(
    "/api/mandates", route_handlers=[add, listed, detail, amend, cancel], tags=["recurring collection"]
)
