"""
`/api/pre-notifications`: announcements of debits to debtors.

```text
GET  /api/pre-notifications          those to be given or given, oldest first; as a page, a CSV file or a count
GET  /api/debtors/{id}/pre-notifications   those of a debtor, as proof
POST /api/pre-notifications/give     a program or person states that it has given some
```
"""

from datetime import date, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core import iban
from tether_core.audit import facts
from tether_core.recurring.pre_notification import NoticeState
from tether_stores import audit
from tether_stores.debtors import debtors
from tether_stores.postgres import reading, transaction
from tether_stores.recurring import changes, pre_notifications
from tether_stores.recurring.pre_notifications import PreNotification
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, BodyId, Id

__all__ = ["ROUTERS", "GiveRequest", "GivenResponse", "NoticeResponse"]

_log = logger("recurring")


class NoticeResponse(msgspec.Struct, frozen=True):
    """
    A pre-notification.

    Attributes:
        id: Its row.
        status: "made" while it is to be given, "given", or "withdrawn".
        debtor_id: The debtor.
        name: The debtor's.
        email: The debtor's, or null.
        phone: The debtor's, or null.
        iban_masked: The account, masked.
        due_item: What is owed.
        due_on: When the account is debited.
        give_on: The last day on which it may be given without moving the debit.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
        given_at: When it was given, or null.
        given_by: The adapter or key that gave it, or null.
    """

    id: int
    status: NoticeState
    debtor_id: int
    name: str
    email: str | None
    phone: str | None
    iban_masked: str
    due_item: str
    due_on: date
    give_on: date
    amount_minor: int
    currency: str
    text: str
    given_at: datetime | None
    given_by: str | None


class GiveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Pre-notifications that were given to their debtors.

    Attributes:
        ids: Their rows; those that were given before stay as they are.
    """

    ids: Annotated[
        tuple[BodyId, ...],
        msgspec.Meta(min_length=1, max_length=10_000),
    ]


class GivenResponse(msgspec.Struct, frozen=True):
    """
    How many pre-notifications were stated as given.

    Attributes:
        given: Those that were to be given until now.
    """

    given: int


@get("/", summary="List pre-notifications, oldest first", responses=described(Page[NoticeResponse]))
async def listed(
    state: State,
    status: Annotated[NoticeState | None, Parameter(description="Only in this state, e.g. made.")] = None,
    upload: Annotated[int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only of this upload.")] = None,
    give_until: Annotated[
        date | None, Parameter(description="Only those that must be given by this day.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """The list for a mailing: names and addresses, text and days."""

    async def load(cursor: str | None, limit: int) -> Page[NoticeResponse]:
        async with reading(state.pool) as conn:
            rows = await pre_notifications.listed(
                conn,
                state=status,
                upload_id=upload,
                give_until_on=give_until,
                after=decode_cursor(cursor) or 0,
                limit=limit + 1,
            )
        responses = [_response(row) for row in rows]
        return page(responses, limit=limit, last_id=responses[:limit][-1].id if responses else None)

    return await in_form(form, load, row=NoticeResponse, name="pre-notifications", cursor=cursor, limit=limit)


@post("/give", status_code=200, summary="State that pre-notifications were given")
async def give(request: ApiRequest, state: State, data: JSONBody[GiveRequest]) -> GivenResponse:
    """Their debits are made when the days of notice have passed; this time is the proof."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        given = await changes.give_notices(conn, data.ids, given_by=request.user, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "pre_notifications.given",
            subject="pre_notifications",
            after=facts(given=given),
            now=now,
        )
    _log.info("pre-notifications given", given=given, by=request.user)
    return GivenResponse(given)


@get("/", summary="The pre-notifications of a debtor, newest first")
async def of_debtor(state: State, debtor_id: Id) -> list[NoticeResponse]:
    """At most a hundred, with their texts and when they were given."""
    async with reading(state.pool) as conn:
        if await debtors.by_id(conn, debtor_id) is None:
            raise NotFoundException("There is no such debtor")
        return [_response(row) for row in await pre_notifications.of_debtor(conn, debtor_id)]


def _response(row: PreNotification) -> NoticeResponse:
    return NoticeResponse(
        row.id,
        row.state,
        row.debtor_id,
        row.name,
        row.email,
        row.phone,
        iban.mask(row.iban),
        row.due_item,
        row.due_on,
        row.give_on,
        row.amount_minor,
        row.currency,
        row.text,
        row.given_at,
        row.given_by,
    )


ROUTERS: Final = (
    Router("/api/pre-notifications", route_handlers=[listed, give], tags=["recurring collection"]),
    Router(
        "/api/debtors/{debtor_id:int}/pre-notifications",
        route_handlers=[of_debtor],
        tags=["recurring collection"],
    ),
)
