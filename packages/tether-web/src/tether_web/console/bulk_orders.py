"""The pages of bulk orders: what an order would do, and how far it is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from litestar import get, post
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call
from tether_web.console.pages import ConsoleRequest, Key, action_title, facts, rendered

__all__ = ["HANDLERS"]

_ITEMS_SHOWN: Final = 50
# Where the rows of an action are listed, with the filter that is part of the path, and the path of one row; "" for rows without a page of their own.
_PLACES: Final[dict[str, tuple[str, str]]] = {
    "replay": ("/notifications", "/notifications"),
    **dict.fromkeys(("inquire", "void", "refund"), ("/payments", "/payments")),
    "lift": ("/blacklist", "/blacklist"),
    "withdraw": ("/uploads", "/uploads"),
    **dict.fromkeys(
        ("pause_schedules", "resume_schedules", "end_schedules"),
        ("/collection-plans/{collection_plan}/schedules", "/schedules"),
    ),
    **dict.fromkeys(("recover", "waive"), ("/collection-plans/{collection_plan}/due-items", "")),
    "redeliver": ("/subscribers/{subscriber}/deliveries", "/deliveries"),
}


def _list_of(action: str, filters: Mapping[str, str]) -> str:
    """
    The address of the list that an order is about, as it matches now.

    >>> _list_of("void", {"run": "7"}), _list_of("waive", {"collection_plan": "4", "status": "missed"})
    ('/payments?run=7', '/collection-plans/4/due-items?status=missed')
    """
    place, _ = _PLACES[action]
    rest = {name: value for name, value in filters.items() if f"{{{name}}}" not in place}
    return place.format_map(filters) + (f"?{urlencode(rest)}" if rest else "")


@post("/bulk-orders", include_in_schema=False)
async def place(request: ConsoleRequest) -> Template | Redirect:
    """Show what an order would do; with a reason, place it."""
    form = await forms.fields(request)
    action, query = form.get("action", ""), form.get("filters", "")
    filters = dict(parse_qsl(query))
    body = {"action": action, "filters": filters}
    problem, status = None, 200
    if form.get("order_key"):
        headers = {"Idempotency-Key": form["order_key"]}
        try:
            placed = await call(
                request,
                "POST",
                "/api/bulk-orders",
                body={**body, "reason": form.get("reason", ""), "previewed": form.get("previewed") or None},
                headers=headers,
            )
            return Redirect(f"/bulk-orders/{placed['id']}?done=bulk", status_code=HTTP_303_SEE_OTHER)
        except Failed as exc:
            problem, status = {"detail": exc.detail, "errors": exc.errors}, exc.status
    try:
        preview = await call(request, "POST", "/api/bulk-orders", body={**body, "dry_run": True})
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not ordered", problem={"detail": exc.detail}
        )
    return rendered(
        request,
        "bulk_preview",
        status=status,
        title=f"{action_title(action)} all that match",
        problem=problem,
        action=action,
        query=query,
        filters=sorted(filters.items()),
        totals=_totals(preview["totals"], done="Would be done"),
        does_something=any(total["refused"] is None for total in preview["totals"]),
        more=preview["more"],
        previewed=preview["previewed"],
        back=_list_of(action, filters),
    )


@get("/bulk-orders/{key:int}", include_in_schema=False)
async def detail(request: ConsoleRequest, key: Key) -> Template:
    """An order, how far it is, and the results of its rows."""
    try:
        found = await call(request, "GET", f"/api/bulk-orders/{key}")
        page = await call(request, "GET", f"/api/bulk-orders/{key}/items", query={"limit": _ITEMS_SHOWN})
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not shown", problem={"detail": exc.detail}
        )
    order = found["order"]
    return rendered(
        request,
        "bulk_order",
        title=f"Bulk order {key}",
        key=key,
        order=order,
        facts=facts(order, "id action state reason ordered_by created_at updated_at ended_at"),
        filters=sorted(order["filters"].items()),
        totals=_totals(found["totals"]),
        items=page["items"],
        more=page["next"] is not None,
        page=_PLACES[order["action"]][1],
        back=_list_of(order["action"], order["filters"]),
    )


@post("/bulk-orders/{key:int}/stop", include_in_schema=False)
async def stop(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Stop an order."""
    try:
        await call(request, "POST", f"/api/bulk-orders/{key}/stop")
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not stopped", problem={"detail": exc.detail}
        )
    return Redirect(f"/bulk-orders/{key}?done=stopped", status_code=HTTP_303_SEE_OTHER)


def _totals(totals: Sequence[Mapping[str, Any]], *, done: str = "Done") -> list[dict[str, Any]]:
    return [
        {
            "result": done if total["refused"] is None else formats.title(total["refused"]),
            "count": f"{total['count']:,}",
            "amount": formats.money(total["amount_minor"], total["currency"]) if total["currency"] else "",
        }
        for total in totals
    ]


HANDLERS: Final = [place, detail, stop]
