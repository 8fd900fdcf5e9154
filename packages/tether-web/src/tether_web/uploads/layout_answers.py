"""Answers that are kept for later files of the same layout: `GET /api/layout-answers`, and `DELETE` for one of them."""

from typing import Final

from litestar import Router, delete, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from tether_stores import audit
from tether_stores.postgres import reading, transaction
from tether_stores.telemetry import logger
from tether_stores.uploads import layout_answers
from tether_stores.uploads.layout_answers import LayoutAnswer

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id

__all__ = ["ROUTER"]


_log = logger("uploads")


@get("/", summary="Stored answers for files of a layout, newest first")
async def kept_answers(state: State) -> list[LayoutAnswer]:
    """At most a thousand."""
    async with reading(state.pool) as conn:
        return await layout_answers.listed(conn, limit=1_000)


@delete("/{answer_id:int}", status_code=204, summary="Delete a stored answer for files of a layout")
async def forget_answer(request: ApiRequest, state: State, answer_id: Id) -> None:
    """The next file of the layout raises the question again; earlier decisions stay."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        if not await layout_answers.forget(conn, answer_id, by=request.user, now=now):
            raise NotFoundException("There is no such answer, or it was deleted already")
        await audit.record(
            conn,
            request.auth.actor,
            "layout_answer.deleted",
            subject="layout_answer",
            subject_id=answer_id,
            now=now,
        )
    _log.info("layout answer deleted", answer_id=answer_id, by=request.user)


ROUTER: Final = Router("/api/layout-answers", route_handlers=[kept_answers, forget_answer], tags=["uploads"])
