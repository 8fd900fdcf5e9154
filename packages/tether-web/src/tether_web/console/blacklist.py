"""The console's forms of the blacklist: entries of a file, and the lift of an entry with what it forgives."""

from typing import Any, Final

from litestar import post
from litestar.response import Template

from tether_web.blacklist.import_export import IMPORT_MAX_BYTES
from tether_web.console import forms
from tether_web.console.api import Failed, call, send_bytes
from tether_web.console.pages import (
    BY_PAGE,
    ConsoleRequest,
    Key,
    detail_page,
    list_page,
    refused_page,
    rendered,
)

__all__ = ["HANDLERS"]

# What a form is more than its file.
_FORM_BYTES: Final = 65_536


@post("/blacklist/import", include_in_schema=False, request_max_body_size=IMPORT_MAX_BYTES + _FORM_BYTES)
async def import_file(request: ConsoleRequest) -> Template:
    """Add the entries of a file, and show which lines have problems."""
    try:
        form, content = await forms.fields_and_file(request)
        query = {"relist": form.get("relist") == "on"}
        found = await send_bytes(request, "/api/blacklist/import", content, query=query)
    except Failed as exc:
        return await list_page(request, BY_PAGE["/blacklist"], failed=forms.of_file(exc))
    return rendered(
        request,
        "blacklist_import",
        title="Import of the blacklist",
        counts=[
            {"title": title, "count": f"{found[name]:,}", "tone": tone}
            for name, title, tone in (
                ("rows", "rows", "plain"),
                ("added", "entries added", "good"),
                ("existing", "existed before", "plain"),
                ("lifted", "stay lifted", "waiting" if found["lifted"] else "plain"),
                ("problem_count", "lines with problems", "bad" if found["problem_count"] else "plain"),
            )
        ],
        problems=found["problems"],
        is_cut=found["problem_count"] > len(found["problems"]),
    )


@post("/blacklist/{key:int}/lift", include_in_schema=False)
async def lift(request: ConsoleRequest, key: Key) -> Template:
    """Lift an entry, and say what else keeps its account from being debited."""
    form = await forms.fields(request)
    query: dict[str, Any] = {"reason": form.get("reason", ""), "forgives": form.get("forgives")}
    try:
        lifted = await call(request, "DELETE", f"/api/blacklist/{key}", query=query)
    except Failed as exc:
        return await refused_page(request, "/blacklist", key, exc)
    return await detail_page(request, "/blacklist", key, done=lifted["explanation"])


HANDLERS: Final = [import_file, lift]
