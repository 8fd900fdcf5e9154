"""
`/api/debtors/{id}/erasure`: erase the personal data of a person.

```text
GET  /api/debtors/{id}/erasure    what would be erased, what stays and why, and what is in the way
POST /api/debtors/{id}/erasure    order it        202, 200 where it was ordered or done before, 409 while something is in the way
```

Rules: `tether_core.erasures`. A worker of queue default carries the order out; it cannot be undone.
"""

from datetime import date
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.data_subjects import Related, Subject, names_person
from tether_core.erasures import KEPT, Kept, Obstacle, require_erasable
from tether_core.errors import Contradicted, InvalidRequest, StoreUnreachable
from tether_stores import audit, data_subjects
from tether_stores.erasures import orders
from tether_stores.erasures.orders import Amount, ErasureOrder
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.telemetry import logger

from tether_web.dossier import require_all_accounts, stated_reason
from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import BodyId, Id

__all__ = ["ROUTER", "ErasurePreview", "ErasureRequest", "ErasureResponse", "RowsChanged"]

_log = logger("erasures")


class RowsChanged(Contradicted):
    """The rows about the person are others than those that were previewed."""

    code = "rows_changed"

    def __str__(self) -> str:
        return "Nothing was erased: the rows about this person are others than those that you saw. Look at the preview again."


class ErasurePreview(msgspec.Struct, frozen=True):
    """
    What an erasure would do.

    Attributes:
        debtor_ids: The debtors whose data would be erased: all rows with the account and the name of this one.
        related: Debtors that may be the same person, and are left alone; erase them by themselves.
        amounts: How much there is to erase.
        kept: What stays, and why.
        obstacles: What is in the way; empty where it can be ordered.
        possible_from: The first day on which only time was in the way; null where it is possible now, or where somebody must do something first.
        acceptable: Whether it can be ordered now with `accept_reversible`: only the debtor's right to reclaim money is in the way.
        order: The last order for this debtor; null where there is none.
    """

    debtor_ids: list[int]
    related: list[Related]
    amounts: list[Amount]
    kept: list[Kept]
    obstacles: list[Obstacle]
    possible_from: date | None
    acceptable: bool
    order: ErasureOrder | None


class ErasureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to erase the personal data of a person.

    Attributes:
        debtor_ids: The debtors of the preview.
        reason: Why, without the debtor's name; stored with the order and in the audit.
        accept_reversible: Whether you accept that money may be reclaimed, and the evidence for it is gone.
    """

    debtor_ids: Annotated[list[BodyId], msgspec.Meta(min_length=1, max_length=1_000)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    accept_reversible: bool = False


class ErasureResponse(msgspec.Struct, frozen=True):
    """
    An order to erase.

    Attributes:
        status: "ordered", "erasing" once the rows are erased, "finished" once files and archives are, or "refused".
        order: The order.
    """

    status: Literal["ordered", "erasing", "finished", "refused"]
    order: ErasureOrder


@get("/", summary="What erasing a debtor would do")
async def previewed(request: ApiRequest, state: State, debtor_id: Id) -> ErasurePreview:
    """The rows about the person, what would be erased, what stays and why, and what is in the way."""
    require_all_accounts(request)
    now = state.clock()
    async with reading(state.pool) as conn:
        subject = await _subject(conn, debtor_id)
        found = await orders.in_the_way(conn, subject.debtor_ids, now=now)
        amounts = await orders.amounts(conn, subject.debtor_ids)
        order = await orders.latest_of(conn, debtor_id)
    only_time = bool(found) and all(obstacle.until is not None for obstacle in found)
    days = [obstacle.until for obstacle in found if obstacle.until is not None]
    return ErasurePreview(
        debtor_ids=list(subject.debtor_ids),
        related=list(subject.related),
        amounts=amounts,
        kept=list(KEPT),
        obstacles=found,
        possible_from=max(days) if only_time else None,
        acceptable=only_time,
        order=order,
    )


@post("/", status_code=202, summary="Erase a debtor")
async def ordered(
    request: ApiRequest, state: State, debtor_id: Id, data: JSONBody[ErasureRequest]
) -> Response[ErasureResponse]:
    """
    Order the erasure of all rows about a person. It cannot be undone.

    Refused with 409 while a debit may still be submitted or reclaimed, and where the rows are others than those of the preview. A second order of what
    is being erased or was erased answers 200 and does nothing.
    """
    require_all_accounts(request)
    if state.objects is None:
        raise StoreUnreachable(
            "objects", why="no object store is configured: set AWS_BUCKET or TETHER_OBJECTS_DIR"
        )
    reason, now = stated_reason(data.reason), state.clock()
    async with transaction(state.pool) as conn:
        subject = await _subject(conn, debtor_id)
        before = await orders.open_of(conn, debtor_id)
        if before is None and await orders.all_erased(conn, subject.debtor_ids):
            before = await orders.latest_of(conn, debtor_id)
        if before is not None:
            return Response(_response(before), status_code=200)
        if sorted(set(data.debtor_ids)) != list(subject.debtor_ids):
            raise RowsChanged
        if names_person(reason, await data_subjects.name_of(conn, debtor_id)):
            raise InvalidRequest(
                "must not name the debtor, because it is kept after the erasure; write an id, or the day of the letter",
                field="reason",
            )
        require_erasable(
            await orders.in_the_way(
                conn,
                subject.debtor_ids,
                now=now,
                accepts_reversible=data.accept_reversible,
                epoch_holds=await state.watch.holds(conn),
            )
        )
        made = await orders.add(
            conn,
            subject.debtor_ids,
            reason=reason,
            ordered_by=request.user,
            accepts_reversible=data.accept_reversible,
            now=now,
        )
        assert made is not None
        for row_id in subject.debtor_ids:
            await audit.record(
                conn,
                request.auth.actor,
                "debtor.erased",
                subject="debtor",
                subject_id=row_id,
                reason=reason,
                after=facts(erasure=made, accept_reversible=data.accept_reversible),
                now=now,
            )
        order = await orders.by_id(conn, made)
    assert order is not None
    _log.info("erasure ordered", erasure=made, debtors=len(subject.debtor_ids), by=request.user)
    return Response(_response(order), status_code=202)


async def _subject(conn: Connection, debtor_id: int) -> Subject:
    subject = await data_subjects.subject_of(conn, debtor_id)
    if subject is None:
        raise NotFoundException("There is no such debtor")
    return subject


def _response(order: ErasureOrder) -> ErasureResponse:
    if order.refused_at is not None:
        return ErasureResponse("refused", order)
    if order.finished_at is not None:
        return ErasureResponse("finished", order)
    return ErasureResponse("ordered" if order.erased_at is None else "erasing", order)


ROUTER = Router("/api/debtors/{debtor_id:int}/erasure", route_handlers=[previewed, ordered], tags=["debtors"])
