"""The console's page of statement texts: what debtors read on their bank statements, and forms that store and remove one."""

from collections.abc import Mapping
from typing import Final

from litestar import get, post
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import forms
from tether_web.console.api import Failed, call
from tether_web.console.pages import ConsoleRequest, problem_page, rendered

__all__ = ["HANDLERS"]

_PAGE: Final = "/statement-texts"


@get(_PAGE, include_in_schema=False)
async def listed(request: ConsoleRequest) -> Template:
    """The stored texts."""
    return await _page(request)


@post(_PAGE, include_in_schema=False)
async def store(request: ConsoleRequest) -> Template | Redirect:
    """Store the text of an account and month in place of the one before."""
    form = await forms.fields(request)
    body = {"text": form.get("text", ""), **_of(form)}
    try:
        await call(request, "PUT", "/api/statement-texts", body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    return Redirect(f"{_PAGE}?done=text_stored", status_code=HTTP_303_SEE_OTHER)


@post(f"{_PAGE}/remove", include_in_schema=False)
async def remove(request: ConsoleRequest) -> Template | Redirect:
    """Remove the text of an account and month."""
    try:
        await call(request, "DELETE", "/api/statement-texts", query=_of(await forms.fields(request)))
    except Failed as exc:
        return await _page(request, failed=exc)
    return Redirect(f"{_PAGE}?done=text_removed", status_code=HTTP_303_SEE_OTHER)


def _of(form: Mapping[str, str]) -> dict[str, str]:
    """Account and month of a form; "" stands for all."""
    return {"account": form.get("account", ""), "month": form.get("month", "")}


async def _page(request: ConsoleRequest, *, failed: Failed | None = None) -> Template:
    try:
        texts = await call(request, "GET", "/api/statement-texts")
    except Failed as exc:
        return problem_page(request, exc, title="Statement texts")
    return rendered(
        request,
        "statement_texts",
        status=failed.status if failed else 200,
        title="Statement texts",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        texts=texts,
    )


HANDLERS: Final = [listed, store, remove]
