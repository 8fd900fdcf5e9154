"""`POST /api/billing-attempts/{id}/forgive`: forgive a chargeback, so that it no longer excludes its account."""

from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_stores import audit
from tether_stores.payments import forgiven_disputes
from tether_stores.payments.forgiven_disputes import Forgiven
from tether_stores.postgres import transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, printable

__all__ = ["ROUTER", "Forgiveness"]

_log = logger("chargebacks")


class Forgiveness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A request to forgive a chargeback.

    Attributes:
        reason: Why; stored with the chargeback.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@post("/{attempt_id:int}/forgive", status_code=200, summary="Forgive the chargeback of a debit")
async def forgive(
    request: ApiRequest,
    state: State,
    attempt_id: Id,
    data: JSONBody[Forgiveness],
) -> Forgiven:
    """
    The chargeback no longer excludes the account from new uploads and runs; entries of the blacklist stay.

    A second chargeback of the same debit excludes the account again.
    """
    reason = printable(" ".join(data.reason.split()), field="reason")
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await forgiven_disputes.forgive(conn, attempt_id, by=request.user, reason=reason, now=now)
        if found is None:
            raise NotFoundException("There is no such billing attempt")
        await audit.record(
            conn,
            request.auth.actor,
            "chargeback.forgiven",
            subject="attempt",
            subject_id=attempt_id,
            reason=reason,
            after=facts(is_new=found.is_new),
            now=now,
        )
    _log.info("chargeback forgiven", attempt_id=attempt_id, by=request.user, is_new=found.is_new)
    return found


ROUTER: Final = Router("/api/billing-attempts", route_handlers=[forgive], tags=["billing attempts"])
