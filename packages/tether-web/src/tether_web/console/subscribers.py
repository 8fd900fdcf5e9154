"""The console's pages of subscribers: who gets events, what was sent, and what is sent again."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, get_args

from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core.events import NAMES
from tether_core.subscribers.delivery import DeliveryState

from tether_web.console import forms
from tether_web.console.api import Failed, call
from tether_web.console.listings import Column, Filter, Listing
from tether_web.console.pages import (
    ConsoleRequest,
    Key,
    facts,
    list_page,
    problem_page,
    rendered,
    rows_of,
    table,
)

__all__ = ["HANDLERS"]

Step = Annotated[str, PathParameter(description="What is done.")]
_SUBSCRIBERS: Final = Listing(
    "/subscribers",
    "/api/subscribers",
    "Subscribers",
    "",
    (
        Column("id", "Subscriber", "link"),
        Column("name", "Name"),
        Column("state", "State", "state"),
        Column("url", "Address"),
        Column("filter", "Gets"),
        Column("waiting", "Deliveries that wait", "number"),
        Column("behind", "Events behind", "number"),
        Column("delivered_at", "Last success", "time"),
        Column("failing_since_at", "Failing since", "time"),
    ),
    empty="No other system gets events. Add a subscriber below: a bookkeeping program, a customer portal, a data warehouse.",
)
_DELIVERY_COLUMNS: Final = (
    Column("id", "Delivery", "link", "/deliveries"),
    Column("event_name", "Event"),
    Column("event_id", "Event id", "number"),
    Column("order_key", "About"),
    Column("state", "State", "state"),
    Column("tries", "Tries", "number"),
    Column("http_status", "Answer", "number"),
    Column("error", "Error"),
    Column("due_at", "Next try", "time"),
    Column("created_at", "Made", "time"),
    Column("ended_at", "Ended", "time"),
)
_REPLAYS: Final = Listing(
    "/subscribers",
    "",
    "Replays",
    "",
    (
        Column("id", "Replay", "number"),
        Column("types_text", "Types"),
        Column("position", "Done up to event", "number"),
        Column("up_to", "Of", "number"),
        Column("replayed", "Sent again", "number"),
        Column("ordered_by", "By"),
        Column("reason", "Reason"),
        Column("created_at", "Ordered", "time"),
        Column("finished_at", "Finished", "time"),
    ),
    empty="Nothing was sent again.",
)
_SHOWN: Final = 15
# The steps of a person -> the notice on the next page.
_STEPS: Final = {"pause": "subscriber_changed", "activate": "subscriber_changed"}


def _deliveries(key: int) -> Listing:
    return Listing(
        f"/subscribers/{key}/deliveries",
        f"/api/subscribers/{key}/deliveries",
        f"Deliveries to subscriber {key}",
        "Each event that was or will be sent to it, newest first.",
        _DELIVERY_COLUMNS,
        (Filter("state", "State", get_args(DeliveryState)),),
        empty="Nothing matches. A delivery is made when something happens.",
        has_forms=True,
        bulk=("redeliver",),
        within=("subscriber", str(key)),
        back=(f"/subscribers/{key}", f"Subscriber {key}"),
    )


@get("/subscribers", include_in_schema=False)
async def listed(request: ConsoleRequest) -> Template:
    """All subscribers, and a form that adds one."""
    return await _list(request)


async def _list(request: ConsoleRequest, *, failed: Failed | None = None, **context: Any) -> Template:
    try:
        found = await call(request, "GET", "/api/subscribers")
    except Failed as exc:
        return problem_page(request, exc, title="Subscribers")
    return rendered(
        request,
        "subscribers",
        status=failed.status if failed else 200,
        title="Subscribers",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        subscribers=table([{**row, "filter": _filter(row)} for row in found], _SUBSCRIBERS),
        types=NAMES,
        **{"secret": None, "secret_of": None, **context},
    )


def _filter(subscriber: Mapping[str, Any]) -> str:
    """Which events a subscriber gets, in words."""
    types, accounts = subscriber["types"], subscriber["accounts"]
    what = "all events" if types is None else ", ".join(types)
    return what if accounts is None else f"{what} of {', '.join(accounts)}"


@post("/subscribers", include_in_schema=False)
async def add(request: ConsoleRequest) -> Template:
    """Add a subscriber, and show its secret once."""
    pairs = await forms.pairs(request)
    form = dict(pairs)
    try:
        body = {
            "name": form.get("name", ""),
            "url": form.get("url", ""),
            "types": _types(pairs),
            "accounts": forms.names(form.get("accounts", ""), field="accounts"),
            "after": 0 if form.get("begin") == "all stored events" else None,
            "reason": form.get("reason", ""),
        }
        made = await call(request, "POST", "/api/subscribers", body=body)
    except Failed as exc:
        return await _list(request, failed=exc)
    return await _list(request, secret=made["secret"], secret_of=made["subscriber"])


def _types(pairs: Sequence[tuple[str, str]]) -> list[str] | None:
    """The chosen types of events; `None` for all."""
    return [value for name, value in pairs if name == "types" and value] or None


@get("/subscribers/{key:int}", include_in_schema=False)
async def detail(request: ConsoleRequest, key: Key) -> Template:
    """A subscriber, its latest deliveries and replays, and what can be done."""
    return await _page(request, key)


async def _page(
    request: ConsoleRequest, key: int, *, failed: Failed | None = None, **context: Any
) -> Template:
    try:
        found, deliveries, replays = await asyncio.gather(
            call(request, "GET", f"/api/subscribers/{key}"),
            rows_of(request, f"/api/subscribers/{key}/deliveries", {"limit": _SHOWN}),
            rows_of(request, f"/api/subscribers/{key}/replays"),
        )
    except Failed as exc:
        return problem_page(request, exc)
    replay_rows = [
        {**row, "types_text": ", ".join(row["types"]) if row["types"] else "all"} for row in replays or ()
    ]
    return rendered(
        request,
        "subscriber",
        status=failed.status if failed else 200,
        title=f"Subscriber {found['name']}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        subscriber={**found, "accounts": ", ".join(found["accounts"] or ())},
        filter=_filter(found),
        facts=facts(
            found,
            "name state disabled_reason url failing_since_at delivered_at waiting behind old_secret_until created_by created_at"
            " updated_at",
        ),
        types=NAMES,
        deliveries=table(deliveries, _deliveries(key)),
        replays=table(None if replays is None else replay_rows, _REPLAYS),
        **{"secret": None, **context},
    )


@get("/subscribers/{key:int}/deliveries", include_in_schema=False)
async def deliveries_of(request: ConsoleRequest, key: Key) -> Template:
    """The delivery log of a subscriber."""
    return await list_page(request, _deliveries(key))


async def _ordered(
    request: ConsoleRequest, key: int, path: str, body: Mapping[str, Any], *, done: str, method: str = "POST"
) -> Template | Redirect:
    """Send an order about a subscriber, and go on to its page."""
    try:
        await call(request, method, path, body=body)
    except Failed as exc:
        return await _page(request, key, failed=exc)
    return Redirect(f"/subscribers/{key}?done={done}", status_code=HTTP_303_SEE_OTHER)


@post("/subscribers/{key:int}/change", include_in_schema=False)
async def change(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Change name, address and filters."""
    pairs = await forms.pairs(request)
    form = dict(pairs)
    try:
        body = {
            "name": form.get("name", ""),
            "url": form.get("url", ""),
            "types": _types(pairs),
            "accounts": forms.names(form.get("accounts", ""), field="accounts"),
            "reason": form.get("reason", ""),
        }
    except Failed as exc:
        return await _page(request, key, failed=exc)
    path = f"/api/subscribers/{key}"
    return await _ordered(request, key, path, body, done="subscriber_changed", method="PATCH")


@post("/subscribers/{key:int}/replay", include_in_schema=False)
async def replay(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Send the events of some days again."""
    pairs = await forms.pairs(request)
    form = dict(pairs)
    since, until = form.get("since", ""), form.get("until", "")
    body = {
        "since": f"{since}T00:00:00Z" if since else None,
        "until": f"{until}T00:00:00Z" if until else None,
        "types": _types(pairs),
        "reason": form.get("reason", ""),
    }
    path = f"/api/subscribers/{key}/replay"
    return await _ordered(request, key, path, body, done="deliveries_replayed")


@post("/subscribers/{key:int}/rotate", include_in_schema=False)
async def rotate(request: ConsoleRequest, key: Key) -> Template:
    """Make a new secret, and show it once."""
    form = await forms.fields(request)
    try:
        hours = forms.whole(form.get("overlap_hours", ""), field="overlap_hours")
        body = {"overlap_hours": hours, "reason": form.get("reason", "")}
        made = await call(request, "POST", f"/api/subscribers/{key}/rotate", body=body)
    except Failed as exc:
        return await _page(request, key, failed=exc)
    return await _page(request, key, secret=made["secret"])


@post("/subscribers/{key:int}/remove", include_in_schema=False)
async def remove(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Remove a subscriber."""
    form = await forms.fields(request)
    try:
        await call(request, "DELETE", f"/api/subscribers/{key}", query={"reason": form.get("reason", "")})
    except Failed as exc:
        return await _page(request, key, failed=exc)
    return Redirect("/subscribers?done=subscriber_removed", status_code=HTTP_303_SEE_OTHER)


@post("/subscribers/{key:int}/{step:str}", include_in_schema=False)
async def take_step(request: ConsoleRequest, key: Key, step: Step) -> Template | Redirect:
    """Pause a subscriber, or activate it after a pause or a failure."""
    form = await forms.fields(request)
    if step not in _STEPS:
        wrong = Failed(404, "A subscriber can be paused, activated, changed or removed.")
        return await _page(request, key, failed=wrong)
    body = {"reason": form.get("reason", "")}
    return await _ordered(request, key, f"/api/subscribers/{key}/{step}", body, done=_STEPS[step])


@get("/deliveries/{key:int}", include_in_schema=False)
async def delivery(request: ConsoleRequest, key: Key) -> Template:
    """One delivery, with each of its tries."""
    return await _delivery(request, key)


async def _delivery(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    try:
        found = await call(request, "GET", f"/api/deliveries/{key}")
    except Failed as exc:
        return problem_page(request, exc)
    return rendered(
        request,
        "delivery",
        status=failed.status if failed else 200,
        title=f"Delivery {key}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        delivery=found["delivery"],
        facts=facts(
            found["delivery"],
            "id state event_name event_id order_key account tries http_status error due_at created_at ended_at",
        ),
        tries=found["tries"],
    )


@post("/deliveries/{key:int}/replay", include_in_schema=False)
async def replay_delivery(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Send an event to its subscriber again."""
    form = await forms.fields(request)
    body = {"reason": form.get("reason", "")}
    try:
        await call(request, "POST", f"/api/deliveries/{key}/replay", body=body)
    except Failed as exc:
        return await _delivery(request, key, failed=exc)
    return Redirect(f"/deliveries/{key}?done=delivery_replayed", status_code=HTTP_303_SEE_OTHER)


HANDLERS: Final = [
    listed,
    add,
    detail,
    deliveries_of,
    change,
    replay,
    rotate,
    remove,
    take_step,
    delivery,
    replay_delivery,
]
