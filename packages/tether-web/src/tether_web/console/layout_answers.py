"""The console's page of answers that are remembered for files of one layout."""

from typing import Final

from litestar import get, post
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console.api import Failed, call
from tether_web.console.pages import ConsoleRequest, Key, problem_page, rendered

__all__ = ["HANDLERS"]

_PAGE: Final = "/layout-answers"


@get(_PAGE, include_in_schema=False)
async def listed(request: ConsoleRequest) -> Template:
    """The remembered answers."""
    return await _page(request)


@post(f"{_PAGE}/{{key:int}}/forget", include_in_schema=False)
async def forget(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Forget an answer."""
    try:
        await call(request, "DELETE", f"/api/layout-answers/{key}")
    except Failed as exc:
        return await _page(request, failed=exc)
    return Redirect(f"{_PAGE}?done=answer_forgotten", status_code=HTTP_303_SEE_OTHER)


async def _page(request: ConsoleRequest, *, failed: Failed | None = None) -> Template:
    try:
        answers = await call(request, "GET", "/api/layout-answers")
    except Failed as exc:
        return problem_page(request, exc, title="Remembered answers")
    return rendered(
        request,
        "layout_answers",
        status=failed.status if failed else 200,
        title="Remembered answers",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        answers=answers,
    )


HANDLERS: Final = [listed, forget]
