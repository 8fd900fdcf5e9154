"""`GET /api/billing-attempts[/{id}]`: list billing attempts."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core.payments.attempt import AttemptState
from tether_core.payments.filters import AttemptFilters, Lead, led_by
from tether_stores.payments import attempt_lists, billing_attempts
from tether_stores.payments.billing_attempts import ListedAttempt
from tether_stores.postgres import reading

from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import (
    LIMIT,
    Cursor,
    Limit,
    Page,
    decode_cursor,
    decode_timed_cursor,
    encode_cursor,
    encode_timed_cursor,
)
from tether_web.http.parameters import BIGINT_MAX, Id, aware

__all__ = ["ROUTER"]

Amount = Annotated[int, Parameter(ge=0, le=BIGINT_MAX)]


@get(
    "/",
    summary="List billing attempts, newest first",
    responses=described(Page[ListedAttempt]),
)
async def listed(  # one argument a filter
    state: State,
    status: Annotated[AttemptState | None, Parameter(description="Only attempts in this state.")] = None,
    unique_id: Annotated[
        str | None, Parameter(description="Only the attempt with this id at the gateway.", max_length=255)
    ] = None,
    transaction_id: Annotated[
        str | None, Parameter(description="Only the attempt with this transaction id.", max_length=255)
    ] = None,
    debtor: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only attempts of this debtor.")
    ] = None,
    run: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only attempts of this billing run.")
    ] = None,
    upload: Annotated[
        int | None,
        Parameter(ge=1, le=BIGINT_MAX, description="Only attempts of the billing runs of this upload."),
    ] = None,
    account: Annotated[
        str | None, Parameter(description="Only attempts of this gateway account.", max_length=32)
    ] = None,
    reason_code: Annotated[
        str | None,
        Parameter(
            description="Only attempts that were returned or charged back with this reason code, such as AC04.",
            max_length=35,
        ),
    ] = None,
    amount_min_minor: Annotated[
        int | None,
        Parameter(ge=0, le=BIGINT_MAX, description="Of at least this amount, in whole minor units."),
    ] = None,
    amount_max_minor: Annotated[
        int | None,
        Parameter(ge=0, le=BIGINT_MAX, description="Of at most this amount, in whole minor units."),
    ] = None,
    created_from: Annotated[
        datetime | None, Parameter(description="Created at this time or later; the list is ordered by it.")
    ] = None,
    created_to: Annotated[datetime | None, Parameter(description="Created before this time.")] = None,
    updated_from: Annotated[
        datetime | None, Parameter(description="Last changed at this time or later.")
    ] = None,
    updated_to: Annotated[datetime | None, Parameter(description="Last changed before this time.")] = None,
    country: Annotated[
        str | None, Parameter(description="Only from accounts of this country, such as DE.", max_length=35)
    ] = None,
    bank: Annotated[
        str | None,
        Parameter(
            description="Only collected from accounts at this bank: the first eight characters of its BIC.",
            max_length=35,
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """
    One page of attempts; all filters can be combined.

    A page scans at most 20,000 attempts. It may have fewer rows than `limit`, or none, and still have a `next`: continue until
    `next` is null. Filters by amount, country, bank or time of the last change need another filter beside them.
    """
    filters = AttemptFilters(
        unique_id=unique_id,
        transaction_id=transaction_id,
        debtor_id=debtor,
        run_id=run,
        upload_id=upload,
        reason_code=reason_code,
        state=status,
        account=account,
        amount_min_minor=amount_min_minor,
        amount_max_minor=amount_max_minor,
        created_from=aware(created_from, field="created_from"),
        created_to=aware(created_to, field="created_to"),
        updated_from=aware(updated_from, field="updated_from"),
        updated_to=aware(updated_to, field="updated_to"),
        country=country,
        bank=bank,
    )
    lead = led_by(filters)

    async def load(cursor: str | None, limit: int) -> Page[ListedAttempt]:
        async with reading(state.pool) as conn:
            found = await attempt_lists.page_of(
                conn, filters, lead=lead, limit=limit, before=_before(cursor, lead=lead)
            )
        return Page(found.attempts, None if found.last is None else _cursor(found.last, lead=lead))

    return await in_form(form, load, row=ListedAttempt, name="payments", cursor=cursor, limit=limit)


def _cursor(last: tuple[datetime, int], *, lead: Lead) -> str:
    at, row = last
    return encode_timed_cursor(at, row) if lead == "created" else encode_cursor(row)


def _before(cursor: str | None, *, lead: Lead) -> tuple[datetime | None, int] | None:
    if cursor is None:
        return None
    if lead == "created":
        return decode_timed_cursor(cursor)
    row = decode_cursor(cursor)
    return None if row is None else (None, row)


@get("/{attempt_id:int}", summary="One billing attempt")
async def detail(state: State, attempt_id: Id) -> ListedAttempt:
    """One attempt."""
    async with reading(state.pool) as conn:
        found = await billing_attempts.by_id(conn, attempt_id)
    if found is None:
        raise NotFoundException("There is no such billing attempt")
    return found


ROUTER = Router("/api/billing-attempts", route_handlers=[listed, detail], tags=["billing attempts"])
