"""
`POST /api/debtors/{id}/dossier`: everything that is stored about a person, as one ZIP file.

It answers the question of a bank about a debit, and a person who asks for access to personal data. It holds account numbers in clear, so it takes the
permission to download files and a reason, and the audit keeps who made one.
"""

from typing import Annotated

import msgspec
from litestar import Response, Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.params import JSONBody
from tether_core import dossier as dossier_file
from tether_core import redaction
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_stores import audit, data_subjects
from tether_stores.dossier import dossier
from tether_stores.dossier.contents import Dossier
from tether_stores.postgres import reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import disposition
from tether_web.http.parameters import Id, printable

__all__ = ["ROUTER", "DossierRequest", "require_all_accounts", "stated_reason"]

_log = logger("dossier")
_SCHEMA = msgspec.json.encode(msgspec.json.schema(Dossier))


class DossierRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A request for a dossier.

    Attributes:
        reason: Why, such as the reference of the bank's inquiry; stored in the audit.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@post(
    "/",
    status_code=200,
    summary="Everything that is stored about a debtor, as a ZIP file",
    media_type="application/zip",
)
async def made(
    request: ApiRequest,
    state: State,
    debtor_id: Id,
    data: JSONBody[DossierRequest],
) -> Response[bytes]:
    """
    Make the dossier of a person: the rows of all files with the account and name of the debtor, and what happened to them.

    The file has `dossier.html` for people, and `dossier.json` with its `schema.json`.
    """
    require_all_accounts(request)
    reason = stated_reason(data.reason)
    now = state.clock()
    async with reading(state.pool) as conn:
        subject = await data_subjects.subject_of(conn, debtor_id)
        if subject is None:
            raise NotFoundException("There is no such debtor")
        found = await dossier.made(conn, debtor_id, subject.debtor_ids, now=now)
        archives = await dossier.archives_of(conn, found)
    found = await dossier.with_archives(found, archives, store=state.objects)
    content = msgspec.json.format(msgspec.json.encode(found))
    page = dossier_file.page(msgspec.to_builtins(found))
    packed = dossier_file.packed(page, content, _SCHEMA, made_at=now)
    async with transaction(state.pool) as conn:
        for row_id in subject.debtor_ids:
            await audit.record(
                conn,
                request.auth.actor,
                "debtor.exported",
                subject="debtor",
                subject_id=row_id,
                reason=reason,
                after=facts(asked_for=debtor_id, payments=len(found.payments)),
                now=now,
            )
    _log.info("dossier made", debtor_id=debtor_id, rows=len(subject.debtor_ids), by=request.user)
    return Response(
        packed,
        media_type="application/zip",
        headers={
            "Content-Disposition": disposition(dossier_file.filename(debtor_id, made_at=now)),
            "Cache-Control": "no-store",
        },
    )


def require_all_accounts(request: ApiRequest) -> None:
    """Refuse a caller who is limited to some gateway accounts: a person's rows may belong to others, too."""
    if request.auth.accounts is not None:
        raise PermissionDeniedException(
            f"You are limited to the gateway accounts {', '.join(request.auth.accounts)}, and this covers all rows about a person. Ask somebody who is "
            "not limited"
        )


def stated_reason(text: str) -> str:
    """
    The reason that a person gives, on one line, IBANs masked.

    Raises:
        InvalidRequest: when it is blank.
    """
    reason = redaction.text(printable(" ".join(text.split()), field="reason"))
    if not reason:
        raise InvalidRequest("say why; it is stored in the audit", field="reason")
    return reason


ROUTER = Router("/api/debtors/{debtor_id:int}/dossier", route_handlers=[made], tags=["debtors"])
