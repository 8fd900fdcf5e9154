"""
Figures: `GET /api/figures` (sums by a dimension), `/api/figures/ageing` (curves of uploads), `/api/figures/exposure` (what may still go back).

`format=csv` gives the table of a figure as a file.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tether_core.errors import InvalidRequest
from tether_core.figures import (
    EARLIER_MAX,
    PRICE_BANDS,
    Ageing,
    Basis,
    By,
    ExposureDay,
    ExposureSum,
    Figure,
    ageing,
    exposed_since,
    exposure_by_day,
    exposure_now,
    figures,
)
from tether_core.money import Money
from tether_core.spreadsheet.cells import neutralise
from tether_core.target_calendar import bank_day
from tether_stores import figures as stored
from tether_stores.billing import billing_runs
from tether_stores.figures import FigureFilters
from tether_stores.postgres import reading

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import disposition
from tether_web.http.parameters import BIGINT_MAX
from tether_web.http.scopes import require_upload
from tether_web.http.table_export import as_csv

__all__ = ["ROUTER", "AgeingPage", "ExposurePage", "FigurePage"]

# More groups than a person reads; days of three years fit.
GROUPS_MAX: Final = 1_200
EXPOSURE_DAYS_MAX: Final = 430

Form: TypeAlias = Annotated[
    Literal["json", "csv"], QueryParameter(name="format", description="JSON, or the table as a CSV file.")
]
Account: TypeAlias = Annotated[
    str | None, Parameter(description="Only debits of this gateway account.", max_length=352)
]
Upload: TypeAlias = Annotated[
    int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only debits of the billing runs of this upload.")
]


class FigurePage(msgspec.Struct, frozen=True):
    """
    Figures by a dimension.

    Attributes:
        by: What they are grouped by.
        basis: "cohort": everything counts on the day of its debit. "cash": everything counts on the day it was recorded.
        totals: One per currency.
        groups: By group and currency: days and months in their order, the others by what was collected.
        more: Whether there are further groups, which are left out of `groups` and not of `totals`.
    """

    by: By
    basis: Basis
    totals: list[Figure]
    groups: list[Figure]
    more: bool


class AgeingPage(msgspec.Struct, frozen=True):
    """
    The ageing curve of an upload beside those of earlier uploads.

    Attributes:
        upload_id: The upload.
        curves: Its curve and those of up to five earlier uploads that were billed, the newest first.
    """

    upload_id: int
    curves: list[Ageing]


class ExposurePage(msgspec.Struct, frozen=True):
    """
    Money that may still go back.

    Attributes:
        day: The present day of the banks.
        totals: One per currency.
        uploads: By upload and currency, the most first; upload 0 has the debits of another system.
        days: How the exposure of today runs out.
    """

    day: date
    totals: list[ExposureSum]
    uploads: list[ExposureSum]
    days: list[ExposureDay]


@get(
    "/",
    summary="Collected, returned, refunded and net, by a dimension",
    responses={
        200: ResponseSpec(FigurePage, generate_examples=False, description="JSON or CSV, by `format`.")
    },
)
async def by_dimension(  # one argument a filter
    state: State,
    by: Annotated[By, Parameter(description="What to group by.")] = "total",
    basis: Annotated[
        Basis,
        Parameter(
            description="`cohort`: attributed to the day of the debit. `cash`: to the day on which it was recorded."
        ),
    ] = "cohort",
    from_on: Annotated[
        date | None, QueryParameter(name="from", description="From this day on, in UTC.")
    ] = None,
    to_on: Annotated[date | None, QueryParameter(name="to", description="Up to this day, included.")] = None,
    account: Account = None,
    currency: Annotated[
        str | None, Parameter(description="Only this currency, ISO 4217.", max_length=35)
    ] = None,
    country: Annotated[
        str | None, Parameter(description="Only accounts of this country, ISO 3166-1 alpha-2.", max_length=35)
    ] = None,
    bank: Annotated[
        str | None,
        Parameter(
            description="Only accounts at this bank: the first eight characters of its BIC.",
            max_length=35,
        ),
    ] = None,
    price_band: Annotated[
        int | None,
        Parameter(
            ge=0,
            le=BIGINT_MAX,
            description="Only debits of the price band that begins with this amount, in minor units.",
        ),
    ] = None,
    upload: Upload = None,
    run: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only debits of this billing run.")
    ] = None,
    form: Form = "json",
) -> Response[Any]:
    """
    Sums by currency; no sum has two currencies.

    The return rate is returned / collected, both by number and both without debits returned with XT33 or XT73. It belongs to the
    cohort basis.
    """
    if from_on is not None and to_on is not None and from_on > to_on:
        raise InvalidRequest("is later than `to`, so nothing fits", field="from")
    if price_band is not None and price_band not in PRICE_BANDS:
        raise InvalidRequest(f"must be one of {', '.join(map(str, PRICE_BANDS))}", field="price_band")
    filters = FigureFilters(
        from_on=from_on,
        to_on=to_on,
        account=account,
        currency=_word(currency, _CURRENCY, "a currency such as EUR", field="currency"),
        country=_word(country, _COUNTRY, "a country such as DE", field="country"),
        bank=_word(bank, _BANK, "the first eight characters of a BIC, such as COBADEFF", field="bank"),
        price_band=price_band,
        upload_id=upload,
        run_id=run,
    )
    async with reading(state.pool) as conn:
        found = await stored.sums(conn, filters, by=by, basis=basis, limit=GROUPS_MAX + 1)
        totals = await stored.sums(conn, filters, by="total", basis=basis, limit=GROUPS_MAX)
    more = len(found) > GROUPS_MAX
    groups = figures(found[:GROUPS_MAX], by=by, basis=basis)
    if form == "json":
        return Response(FigurePage(by, basis, figures(totals, by="total", basis=basis), groups, more))
    return _file(f"figures by {by.replace('_', ' ')}.csv", _FIGURE_HEADER, map(_figure_line, groups))


@get(
    "/ageing",
    summary="The ageing curve of an upload beside those of earlier uploads",
    responses={
        200: ResponseSpec(AgeingPage, generate_examples=False, description="JSON or CSV, by `format`.")
    },
)
async def ageing_of(
    state: State,
    upload: Annotated[int, Parameter(ge=1, le=BIGINT_MAX, description="The upload.")],
    form: Form = "json",
) -> Response[Any]:
    """
    What was left of the collected money at each age, for the upload and up to five earlier ones that were billed.

    The age counts from the submission of a debit. A curve ends at the age of the upload's latest debits.
    """
    async with reading(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload) is None:
            raise NotFoundException("There is no such upload")
        ids = await stored.earlier_uploads(conn, upload, limit=EARLIER_MAX + 1)
        moved, submitted_to = await stored.moved(conn, ids)
    curves = ageing(moved, submitted_to=submitted_to, today=bank_day(state.clock()))
    if form == "json":
        return Response(AgeingPage(upload, curves))
    return _file(f"net yield of upload {upload}.csv", _AGEING_HEADER, _ageing_lines(curves))


@get(
    "/exposure",
    summary="Money that may still go back, in all and by upload",
    responses={
        200: ResponseSpec(ExposurePage, generate_examples=False, description="JSON or CSV, by `format`.")
    },
)
async def exposure(
    request: ApiRequest,
    state: State,
    upload: Upload = None,
    account: Account = None,
    days: Annotated[int, Parameter(ge=1, le=EXPOSURE_DAYS_MAX, description="How many days ahead.")] = 90,
    by: Annotated[
        Literal["day", "upload"],
        Parameter(description="For CSV: how it runs out by day, or what it is now by upload."),
    ] = "day",
    form: Form = "json",
) -> Response[Any]:
    """
    Debits that were collected and neither returned nor refunded, by the limits of the SEPA Core scheme.

    A bank may return a debit for five bank days, a debtor may demand it back for eight weeks, and claim that there was no mandate for 13 months.
    The settlement day is estimated: the bank day after the submission.
    """
    today = bank_day(state.clock())
    async with reading(state.pool) as conn:
        await require_upload(conn, request.auth.accounts, upload)
        money = await stored.open_money(
            conn,
            since_on=exposed_since(today),
            upload_id=upload,
            account=account,
        )
    if form == "csv" and by == "upload":
        sums = exposure_now(money, today=today, by_upload=True)
        return _file("exposure by upload.csv", _EXPOSED_HEADER, map(_exposed_line, sums))
    ahead = exposure_by_day(money, today=today, days=days)
    if form == "csv":
        return _file("exposure.csv", _EXPOSURE_HEADER, map(_exposure_line, ahead))
    return Response(
        ExposurePage(
            today,
            exposure_now(money, today=today, by_upload=False),
            exposure_now(money, today=today, by_upload=True),
            ahead,
        )
    )


_CURRENCY: Final = re.compile("[A-Z]{3}")
_COUNTRY: Final = re.compile("[A-Z]{2}")
_BANK: Final = re.compile("[A-Z0-9]{8}")


def _word(text: str | None, form: re.Pattern[str], what: str, *, field: str) -> str | None:
    if text is None:
        return None
    if not form.fullmatch(text.upper()):
        raise InvalidRequest(f"must be {what}", field=field)
    return text.upper()


_FIGURE_HEADER: Final = (
    *("group", "currency", "collected", "collected_amount", "returned", "returned_amount"),
    *("refunded", "refunded_amount", "net_amount", "return_rate", "return_rate_amount"),
)
_EXPOSURE_HEADER: Final = ("day", "currency", "returnable", "refundable", "unauthorised")
_EXPOSED_HEADER: Final = (
    *("upload", "currency", "returnable", "returnable_amount", "refundable", "refundable_amount"),
    *("unauthorised", "unauthorised_amount"),
)
_AGEING_HEADER: Final = ("upload", "currency", "collected_amount", "net_amount", "age_days", "net_share")


def _figure_line(figure: Figure) -> list[str]:
    return [
        neutralise(figure.key),
        figure.currency,
        str(figure.collected.count),
        _decimal(figure.collected.amount_minor, figure.currency),
        str(figure.returned.count),
        _decimal(figure.returned.amount_minor, figure.currency),
        str(figure.refunded.count),
        _decimal(figure.refunded.amount_minor, figure.currency),
        _decimal(figure.net_minor, figure.currency),
        "" if figure.return_rate is None else str(figure.return_rate),
        "" if figure.return_rate_amount is None else str(figure.return_rate_amount),
    ]


def _exposure_line(found: ExposureDay) -> list[str]:
    amounts = (found.returnable_minor, found.refundable_minor, found.unauthorised_minor)
    return [found.day.isoformat(), found.currency, *(_decimal(amount, found.currency) for amount in amounts)]


def _exposed_line(found: ExposureSum) -> list[str]:
    totals = (found.returnable, found.refundable, found.unauthorised)
    cells = [str(found.upload_id or ""), found.currency]
    return cells + [
        text for total in totals for text in (str(total.count), _decimal(total.amount_minor, found.currency))
    ]


def _ageing_lines(curves: Sequence[Ageing]) -> Iterator[list[str]]:
    for curve in curves:
        money = (_decimal(amount, curve.currency) for amount in (curve.collected_minor, curve.net_minor))
        head = [str(curve.upload_id), curve.currency, *money]
        for point in curve.points:
            yield [*head, str(point.age_days), str(point.net_share)]


def _decimal(amount_minor: int, currency: str) -> str:
    return str(Money(amount_minor, currency).decimal)


def _file(name: str, header: Sequence[str], lines: Iterable[Sequence[str]]) -> Stream:
    async def rows() -> AsyncIterator[Sequence[str]]:
        for line in lines:
            yield line

    return Stream(
        as_csv(header, rows(), delimiter=";"),
        headers={"Content-Disposition": disposition(name)},
        media_type="text/csv",
    )


ROUTER: Final = Router("/api/figures", route_handlers=[by_dimension, ageing_of, exposure], tags=["figures"])
