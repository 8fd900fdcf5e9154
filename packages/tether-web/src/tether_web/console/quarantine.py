"""The console's page of refused notifications and of passwords."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from litestar import get, post
from litestar.response import Template

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call
from tether_web.console.listings import Column, Listing
from tether_web.console.pages import ConsoleRequest, rendered, table

__all__ = ["HANDLERS"]

_LIMIT: Final = 50
_ROWS: Final = Listing(
    "/quarantine",
    "/api/quarantine",
    "Refused notifications",
    "",
    (
        Column("id", "Row"),
        Column("account", "Names the terminal of"),
        Column("notification_id", "Of"),
        Column("report_class", "Reports"),
        Column("attempt_id", "Payment", "link", "/payments"),
        Column("deliveries", "Deliveries", "number"),
        Column("sender", "Sender"),
        Column("received_at", "Received", "time"),
    ),
    empty="No refused notification is kept.",
)


@get("/quarantine", include_in_schema=False)
async def quarantine(request: ConsoleRequest) -> Template:
    """What no password verified, and which password verifies."""
    return await _page(request)


@post("/quarantine/preview", include_in_schema=False)
async def preview(request: ConsoleRequest) -> Template:
    """How many would verify now."""
    try:
        found = await call(request, "GET", "/api/quarantine/preview")
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _page(request, preview=found)


@post("/quarantine/reverify", include_in_schema=False)
async def reverify(request: ConsoleRequest) -> Template:
    """Take in what verifies now."""
    form = await forms.fields(request)
    try:
        body = {"reason": form.get("reason", "")}
        done = await call(request, "POST", "/api/quarantine/reverify", body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _page(request, result=done)


async def _page(
    request: ConsoleRequest,
    *,
    preview: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    failed: Failed | None = None,
) -> Template:
    try:
        status, passwords, rows = await asyncio.gather(
            call(request, "GET", "/api/quarantine/status"),
            call(request, "GET", "/api/quarantine/passwords"),
            call(request, "GET", "/api/quarantine", query={"limit": _LIMIT}),
        )
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not shown", problem={"detail": exc.detail}
        )
    return rendered(
        request,
        "quarantine",
        status=failed.status if failed else 200,
        title="Refused notifications",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        is_kept=status["is_kept"],
        days=status["days"],
        quotas=[
            {
                "account": quota["account"] or "no configured account",
                "debits": "a known debit" if quota["is_known"] else "no known debit",
                "rows": f"{quota['rows']:,}",
                "size": formats.size(quota["size_bytes"]),
                "oldest_at": quota["oldest_at"],
            }
            for quota in status["quotas"]
        ],
        passwords=passwords,
        preview=preview,
        result=result,
        rows_table=table(rows["items"], _ROWS),
    )


HANDLERS: Final = [quarantine, preview, reverify]
