"""
Pre-flight of an upload: what its debits are expected to bring and to cost, before the first one is submitted.

```text
POST /api/uploads/{id}/preflight       make, sign and store a report                          201
GET  /api/uploads/{id}/preflight       the last report
GET  /api/preflight-reports/{id}       one report, as JSON with its signature or as Markdown
POST /api/preflight-reports/verify     whether a report is one of this installation, unchanged
```
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, QueryParameter
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.preflight import signature
from tether_core.preflight.report import PreflightReport, decode, encode, markdown
from tether_stores import audit, preflight
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import reading, transaction
from tether_stores.preflight import StoredReport
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import disposition
from tether_web.http.parameters import BodyId, Id

__all__ = ["ROUTERS", "PreflightResponse", "SignedReport", "VerifiedReport"]

Form: TypeAlias = Annotated[
    Literal["json", "markdown"],
    QueryParameter(name="format", description="JSON with the signature, or a page for people."),
]
# The history of each debtor is looked up: some seconds for a hundred thousand debtors.
_MAKE_S: Final = 60.0
_log = logger("preflight")


class PreflightOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A report to be made.

    Attributes:
        account: The gateway account whose history and fees count.
        vop_score_min: The least score of the check before billing that the run will demand; null where it demands none.
    """

    account: Annotated[str, msgspec.Meta(max_length=32)] = gateway_accounts.DEFAULT
    vop_score_min: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None


class PreflightResponse(msgspec.Struct, frozen=True):
    """
    A report with its signature.

    Attributes:
        id: The report.
        report: What is signed.
        signature: HMAC-SHA-256 of the report; null where TETHER_SECRETS_KEY was not set.
    """

    id: int
    report: PreflightReport
    signature: str | None


class SignedReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A report to be verified, as `GET /api/preflight-reports/{id}` gives it.

    Attributes:
        report: The report.
        signature: Its signature.
        id: Ignored.
    """

    report: dict[str, Any]
    signature: Annotated[str, msgspec.Meta(max_length=200)] | None
    id: BodyId | None = None


class VerifiedReport(msgspec.Struct, frozen=True):
    """
    What is known of a report.

    Attributes:
        verified: Whether a key of this installation signed exactly this report.
        stored: Whether exactly this report is stored.
        verdict: What the report says.
    """

    verified: bool
    stored: bool
    verdict: str


@post("/{upload_id:int}/preflight", summary="Make a pre-flight report of an upload")
async def make(
    request: ApiRequest, state: State, upload_id: Id, data: JSONBody[PreflightOrder]
) -> Response[PreflightResponse]:
    """From the own history of the gateway account; signed and stored. It changes nothing of the upload, and bills nothing."""
    own = request.auth.accounts
    settings = state.settings
    async with reading(state.pool, limit_s=_MAKE_S) as conn:
        names = await gateway_accounts.all_accounts(conn, settings=settings)
        if data.account not in {gateway_accounts.DEFAULT, *names} or (
            own is not None and data.account not in own
        ):
            raise InvalidRequest("no gateway account has this name", field="account")
        upload = await preflight.upload(conn, upload_id)
        if upload is None:
            raise NotFoundException("There is no such upload")
        if upload.dry_run or upload.state != "completed":
            state_name = "dry_run" if upload.dry_run else upload.state
            raise IllegalStep("upload", state=state_name, step="examined before billing")
        now = state.clock()
        found = await preflight.made(
            conn,
            upload_id,
            sha256=upload.sha256,
            account=data.account,
            fees=settings.account_fees.get(data.account),
            rule=settings.preflight_rule,
            made_by=request.user,
            now=now,
            vop_score_min=data.vop_score_min,
        )
    async with transaction(state.pool) as conn:
        stored = await preflight.add(conn, found, secrets=settings.secrets_key, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "preflight.made",
            subject="upload",
            subject_id=upload_id,
            after=facts(report=stored.id, account=data.account, verdict=found.verdict),
            now=now,
        )
    _log.info("pre-flight report made", upload_id=upload_id, report_id=stored.id, verdict=found.verdict)
    return Response(_response(stored), status_code=201)


@get("/{upload_id:int}/preflight", summary="The last pre-flight report of an upload")
async def last(request: ApiRequest, state: State, upload_id: Id) -> PreflightResponse:
    """404 where none was made. A caller who is limited to gateway accounts gets the last one of these."""
    async with reading(state.pool) as conn:
        found = await preflight.last_of_upload(conn, upload_id, accounts=request.auth.accounts)
    return _response(_found(found))


@get(
    "/{report_id:int}",
    summary="One pre-flight report",
    responses={
        200: ResponseSpec(
            PreflightResponse, generate_examples=False, description="JSON or Markdown, by `format`."
        )
    },
)
async def shown(state: State, report_id: Id, form: Form = "json") -> Response[Any]:
    """As it was made; with `format=markdown` as a page for people, which is not signed."""
    async with reading(state.pool) as conn:
        stored = _found(await preflight.by_id(conn, report_id))
    response = _response(stored)
    if form == "json":
        return Response(response)
    return Response(
        markdown(response.report),
        media_type="text/markdown",
        headers={"Content-Disposition": disposition(f"pre-flight {report_id}.md")},
    )


@post("/verify", status_code=200, summary="Verify a pre-flight report")
async def verify(state: State, data: JSONBody[SignedReport]) -> VerifiedReport:
    """Blanks and the order of fields do not matter; any other change does."""
    report = decode(msgspec.json.encode(data.report))
    content = encode(report)
    keys = [signature.signing_key(secret) for secret in state.settings.secrets_key]
    async with reading(state.pool) as conn:
        stored = await preflight.has_content(conn, report.upload_id, content)
    verified = data.signature is not None and signature.verify(content, data.signature, keys=keys)
    return VerifiedReport(verified, stored, report.verdict)


def _found(stored: StoredReport | None) -> StoredReport:
    if stored is None:
        raise NotFoundException("There is no such pre-flight report; make one for the upload")
    return stored


def _response(stored: StoredReport) -> PreflightResponse:
    return PreflightResponse(stored.id, decode(stored.content), stored.signature)


ROUTERS: Final = (
    Router("/api/uploads", route_handlers=[make, last], tags=["uploads"]),
    Router("/api/preflight-reports", route_handlers=[shown, verify], tags=["uploads"]),
)
