"""
Verification of payee: request checks of an upload's accounts, list the results, and see what the provider's calls cost.

```text
POST /api/uploads/{id}/vop          request checks of all debtors, or of a share
GET  /api/uploads/{id}/vop          the checks and their results
GET  /api/uploads/{id}/vop/report   how many names matched, nearly matched, did not match or were not available, by bank
GET  /api/vop/checks                the checks of all uploads
GET  /api/vop/budget                calls of this day and month by gateway account, and the banks that are not asked about now
```
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.vop import CheckState, Result
from tether_stores import audit, vop
from tether_stores.accounts import gateway_accounts
from tether_stores.billing import billing_runs
from tether_stores.postgres import reading, transaction
from tether_stores.vop import BankChecks, ListedCheck, RestingBank, SpentCalls, UploadCheck

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page
from tether_web.http.parameters import Id

__all__ = ["ANSWERS", "ROUTERS", "VopBudget", "VopChecks", "VopReport", "VopRequested", "report_of"]

_BANKS_MAX: Final = 100


class VopRequested(msgspec.Struct, frozen=True):
    """
    The requested checks.

    Attributes:
        requested: Accounts that will be checked; the others are checked or waiting already.
    """

    requested: int


class VopChecks(msgspec.Struct, frozen=True):
    """
    The checks of an upload.

    Attributes:
        unrequested: Debtors without a requested check.
        waiting: Checks that are due.
        parked: Checks without a response of the provider for a day; request them again.
        results: Finished checks, by result.
        checks: One page of checks, in the order of debtors.
    """

    unrequested: int
    waiting: int
    parked: int
    results: dict[str, int]
    checks: Page[ListedCheck]


class NameCounts(msgspec.Struct, frozen=True, kw_only=True):
    """
    Finished checks by what was answered about the name.

    Attributes:
        match: The name fits (MTCH).
        near: It nearly fits (CMTC).
        none: It does not fit (NMTC).
        not_available: Nobody could answer (NOAP).
    """

    match: int
    near: int
    none: int
    not_available: int


class BankReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The finished checks at one bank.

    Attributes:
        bank: The first eight characters of its BIC; null for all whose bank nobody knows.
        bank_name: For people, or null.
        names: What was answered about the names.
    """

    bank: str | None
    bank_name: str | None
    names: NameCounts


class VopReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The finished checks of an upload.

    Attributes:
        names: What was answered about the names.
        reused: Of these, how many took over an earlier answer about the same account and name.
        banks: The hundred banks with the most checks.
    """

    names: NameCounts
    reused: int
    banks: list[BankReport]


class VopBudget(msgspec.Struct, frozen=True, kw_only=True):
    """
    Calls of the provider, and their limits.

    Attributes:
        is_metered: Whether a service is called (`TETHER_VOP_URL`); the built-in provider makes no calls.
        day_max: Calls that one gateway account may cause on a day, UTC; null for no limit.
        month_max: The same in a calendar month; null for no limit.
        reuse_days: For how many days an answer is taken over; 0 for never.
        calls: Calls of this day and month by gateway account; none for an account without. Where there is no limit, calls are not counted.
        resting: Banks that did not answer lately, so that the service is not asked about them for a day.
    """

    is_metered: bool
    day_max: int | None
    month_max: int | None
    reuse_days: int
    calls: list[SpentCalls]
    resting: list[RestingBank]


# What was answered about a name, as reports name it.
ANSWERS: Final = {"yes": "match", "close": "near", "no": "none", "unanswered": "not_available"}


@post("/", status_code=202, summary="Request verification of payee for an upload")
async def request(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    *,
    again: Annotated[
        bool,
        Parameter(
            description="Also accounts that were checked before; the provider may charge for each check."
        ),
    ] = False,
    share: Annotated[
        float,
        Parameter(
            gt=0,
            le=1,
            description="The share of the debtors that is checked, e.g. 0.1 for a sample. Always the same ones; a larger share includes a smaller one.",
        ),
    ] = 1.0,
    account: Annotated[
        str, Parameter(max_length=32, description="The gateway account whose budget pays for the calls.")
    ] = gateway_accounts.DEFAULT,
) -> VopRequested:
    """The worker makes the checks; `GET` of this route has the progress."""
    own = request.auth.accounts
    if again and share < 1:
        raise InvalidRequest(
            "leave it out with again, which repeats the checks that were made", field="share"
        )
    now = state.clock()
    async with transaction(state.pool) as conn:
        names = await gateway_accounts.all_accounts(conn, settings=state.settings)
        if account not in ({gateway_accounts.DEFAULT, *names} if own is None else own):
            raise InvalidRequest("no gateway account has this name", field="account")
        found = await billing_runs.hold_upload(conn, upload_id)
        if found is None:
            raise NotFoundException("There is no such upload")
        if found[0] == "withdrawn":
            raise IllegalStep("upload", state="withdrawn", step="checked")
        once_more = await vop.request_again(conn, upload_id, now=now, account=account) if again else 0
        requested = once_more + await vop.request(conn, upload_id, now=now, account=account, share=share)
        await audit.record(
            conn,
            request.auth.actor,
            "checks.requested",
            subject="upload",
            subject_id=upload_id,
            after=facts(checks=requested, again=again, share=share, account=account),
            now=now,
        )
    return VopRequested(requested)


@get("/", summary="The checks of an upload and their results", responses=described(VopChecks))
async def listed(
    state: State,
    upload_id: Id,
    result: Annotated[Result | None, Parameter(description="Only checks with this result.")] = None,
    status: Annotated[CheckState | None, Parameter(description="Only checks in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """Counts of all checks of the upload, and one page of those that match."""

    async def load(cursor: str | None, limit: int) -> Page[ListedCheck]:
        async with reading(state.pool) as conn:
            rows = await vop.listed(
                conn,
                upload_id,
                after=decode_cursor(cursor) or 0,
                result=result,
                state=status,
                limit=limit + 1,
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].debtor_id if rows else None)

    async with reading(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        counts = await vop.counts(conn, upload_id) if form == "json" else {}
    if form != "json":
        return await in_form(
            form, load, row=ListedCheck, name=f"checks-of-upload-{upload_id}", cursor=cursor, limit=limit
        )
    results: dict[str, int] = {}
    for (check_state, found), count in counts.items():
        if check_state == "checked" and found is not None:
            results[found] = results.get(found, 0) + count
    return Response(
        VopChecks(
            unrequested=_of(counts, None),
            waiting=_of(counts, "waiting"),
            parked=_of(counts, "parked"),
            results=results,
            checks=await load(cursor, limit),
        )
    )


def _counts(names: Mapping[str, int]) -> NameCounts:
    return NameCounts(**{answer: names.get(answer, 0) for answer in ANSWERS.values()})


def _of(counts: dict[tuple[str | None, Result | None], int], state: str | None) -> int:
    return sum(count for (check_state, _), count in counts.items() if check_state == state)


def report_of(rows: Sequence[BankChecks]) -> VopReport:
    """The report of finished checks, from their counts by bank and answer."""
    names = dict[str, int]()
    banks = dict[str | None, dict[str, int]]()
    titles = dict[str | None, str]()
    for row in rows:
        answer = ANSWERS[row.name_answer]
        names[answer] = names.get(answer, 0) + row.count
        bank = banks.setdefault(row.bank, {})
        bank[answer] = bank.get(answer, 0) + row.count
        if row.bank is not None and row.bank_name:
            titles[row.bank] = row.bank_name
    most = sorted(banks.items(), key=lambda item: (-sum(item[1].values()), item[0] or ""))
    return VopReport(
        names=_counts(names),
        reused=sum(row.reused for row in rows),
        banks=[
            BankReport(bank=bank, bank_name=titles.get(bank), names=_counts(counts))
            for bank, counts in most[:_BANKS_MAX]
        ],
    )


@get("/report", summary="What was answered about the names of an upload, by bank")
async def report(state: State, upload_id: Id) -> VopReport:
    """Finished checks only."""
    async with reading(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        return report_of(await vop.report(conn, upload_id))


@get(
    "/checks",
    summary="The checks of all uploads, newest debtors first",
    responses=described(Page[UploadCheck]),
)
async def everywhere(
    state: State,
    result: Annotated[Result | None, Parameter(description="Only checks with this result.")] = None,
    status: Annotated[CheckState | None, Parameter(description="Only checks in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """With both filters, a page may have fewer rows than `limit` before the last one, because a page examines at most 2,000 rows."""

    async def load(cursor: str | None, limit: int) -> Page[UploadCheck]:
        async with reading(state.pool) as conn:
            found = await vop.everywhere(
                conn, before=decode_cursor(cursor), result=result, state=status, limit=limit
            )
        return Page(found.checks, None if found.last is None else encode_cursor(found.last))

    return await in_form(form, load, row=UploadCheck, name="checks", cursor=cursor, limit=limit)


@get("/budget", summary="Calls of the provider of checks, and their limits")
async def budget(state: State) -> VopBudget:
    """Days and months are those of UTC."""
    settings, now = state.settings, state.clock()
    async with reading(state.pool) as conn:
        spent = await vop.spent(conn, on=now.astimezone(UTC).date())
        resting = await vop.resting(conn, now=now)
    limits = settings.call_limits
    return VopBudget(
        is_metered=bool(settings.vop_url),
        day_max=limits.day_max,
        month_max=limits.month_max,
        reuse_days=settings.vop_reuse_days,
        calls=spent,
        resting=resting,
    )


ROUTERS: Final = (
    Router("/api/uploads/{upload_id:int}/vop", route_handlers=[request, listed, report], tags=["uploads"]),
    Router("/api/vop", route_handlers=[everywhere, budget], tags=["uploads"]),
)
