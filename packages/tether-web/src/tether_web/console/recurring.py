"""The console's pages of recurring collection: plans, schedules, due items, mandates and pre-notifications."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final, get_args

import msgspec
from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core.recurring.due_item import DueItemState
from tether_core.recurring.schedule import ScheduleState

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call, part
from tether_web.console.listings import Column, Filter, Listing
from tether_web.console.pages import (
    BY_PAGE,
    ConsoleRequest,
    Key,
    facts,
    list_page,
    problem_page,
    rendered,
    rows_of,
    table,
)
from tether_web.console.plots import epochs, plot, units

__all__ = ["HANDLERS"]

Step = Annotated[str, PathParameter(description="What is done.")]
# Collection plans and mandates are in euros, as all SEPA debits.
_CURRENCY: Final = "EUR"
_FORECAST_DAYS: Final = 90
_SHOWN: Final = 10
_SCHEDULE_COLUMNS: Final = (
    Column("id", "Schedule", "link", "/schedules"),
    Column("debtor_id", "Debtor", "link", "/debtors"),
    Column("mandate_id", "Mandate", "link", "/mandates"),
    Column("state", "State", "state"),
    Column("state_reason", "Because"),
    Column("amount_minor", "Amount", "money"),
    Column("first_due_on", "First due date"),
    Column("last_due_on", "Last due date"),
    Column("make_on", "Next due item made on"),
)
_ITEM_COLUMNS: Final = (
    Column("due_on", "Due on"),
    Column("state", "State", "state"),
    Column("reason", "Because"),
    Column("amount_minor", "Amount", "money"),
    Column("debtor_id", "Debtor", "link", "/debtors"),
    Column("schedule_id", "Schedule", "link", "/schedules"),
    Column("collect_on", "Collected on"),
    Column("sequence", "Sequence"),
    Column("run_id", "Run", "link", "/runs"),
)


def _schedules(key: int) -> Listing:
    return Listing(
        f"/collection-plans/{key}/schedules",
        f"/api/collection-plans/{key}/schedules",
        f"Schedules of plan {key}",
        "The debtors of the plan, newest first.",
        _SCHEDULE_COLUMNS,
        (Filter("status", "State", get_args(ScheduleState)),),
        empty="No debtor is enrolled yet. Enrol the debtors of an upload on the page of the plan.",
        has_forms=True,
        bulk=("pause_schedules", "resume_schedules", "end_schedules"),
        within=("collection_plan", str(key)),
        back=(f"/collection-plans/{key}", f"Plan {key}"),
    )


def _items(key: int) -> Listing:
    return Listing(
        f"/collection-plans/{key}/due-items",
        f"/api/collection-plans/{key}/due-items",
        f"Due items of plan {key}",
        "What was or is owed on each due date, newest first. Those that were missed wait for a person: decide about all that match below, or about one on the page of its schedule.",
        _ITEM_COLUMNS,
        (Filter("status", "State", get_args(DueItemState)),),
        empty="Nothing is due yet. Due items are made on their due date, or some days before it where debtors are notified.",
        has_forms=True,
        bulk=("recover", "waive"),
        within=("collection_plan", str(key)),
        back=(f"/collection-plans/{key}", f"Plan {key}"),
    )


# Plans


@post("/collection-plans", include_in_schema=False)
async def add_plan(request: ConsoleRequest) -> Template | Redirect:
    """Add a collection plan; options that the form does not have keep their defaults."""
    form = await forms.fields(request)
    try:
        body = {"name": form.get("name", ""), "options": _options(form)}
        if form.get("account"):
            body["account"] = form["account"]
        plan = await call(request, "POST", "/api/collection-plans", body=body)
    except Failed as exc:
        return await list_page(request, BY_PAGE["/collection-plans"], failed=exc)
    return _to(f"/collection-plans/{plan['id']}", "plan_added")


def _options(form: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "interval": {
            "unit": form.get("unit", "month"),
            "every": forms.whole(form.get("every", ""), field="every"),
        },
        "recover": form.get("recover", "ask"),
        "notice_required": form.get("notice_required") == "on",
        "notice_days": forms.whole(form["notice_days"], field="notice_days")
        if form.get("notice_days")
        else None,
        "notice_language": form.get("notice_language", "en"),
        "creditor_name": form.get("creditor_name", ""),
        "creditor_id": form.get("creditor_id", ""),
    }
    for name in ("amount_minor", "lifetime_max_minor", "day_amount_max_minor"):
        if form.get(name):
            options[name] = forms.minor(form[name], field=name)
    if form.get("day_count_max"):
        options["day_count_max"] = forms.whole(form["day_count_max"], field="day_count_max")
    if form.get("usage"):
        options["usage"] = form["usage"]
    return options


@get("/collection-plans/{key:int}", include_in_schema=False)
async def plan(request: ConsoleRequest, key: Key) -> Template:
    """A plan: what it may do, its forecast, its due items and schedules."""
    return await _plan(request, key)


async def _plan(
    request: ConsoleRequest, key: int, *, failed: Failed | None = None, **context: Any
) -> Template:
    path = f"/api/collection-plans/{key}"
    try:
        detail, forecast, missed, items, schedules = await asyncio.gather(
            call(request, "GET", path),
            part(request, f"{path}/forecast", {"days": _FORECAST_DAYS}),
            part(request, f"{path}/due-items", {"status": "missed", "format": "count"}),
            rows_of(request, f"{path}/due-items", {"limit": _SHOWN}),
            rows_of(request, f"{path}/schedules", {"limit": _SHOWN}),
        )
    except Failed as exc:
        return problem_page(request, exc)
    found = detail["plan"]
    return rendered(
        request,
        "plan",
        status=failed.status if failed else 200,
        title=f"Collection plan {found['name']}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        plan=found,
        facts=facts(found, "id state account state_reason created_by created_at updated_at"),
        options=_written(found["options"]),
        schedules_live=f"{detail['schedules']:,}",
        amount=formats.money(detail["amount_minor"], _CURRENCY),
        waiting=f"{detail['waiting']:,}",
        waiting_amount=formats.money(detail["waiting_minor"], _CURRENCY),
        missed=missed and f"{'More than ' if missed['more'] else ''}{missed['count']:,}",
        forecast=forecast and _forecast(forecast),
        items=table(items, _items(key)),
        schedules=table(schedules, _schedules(key)),
        **{"enrolment": None, **context},
    )


def _forecast(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the coming days are expected to collect, as a plot of each day and a table of those that collect something."""
    first = date.fromisoformat(found["from_on"])
    days = [first + timedelta(days=number) for number in range(found["days"])]
    amounts = {row["on"]: units(row["amount_minor"], _CURRENCY) for row in found["expected"]}
    return {
        "days": found["days"],
        "count": f"{found['count']:,}",
        "amount": formats.money(found["amount_minor"], _CURRENCY),
        "plot": plot(
            f"Expected to be collected on each day, in {_CURRENCY}",
            epochs(days),
            {"Expected": [amounts.get(day.isoformat()) for day in days]},
            is_time=True,
            shape="bars",
        ),
        "rows": [
            {
                **row,
                "count": f"{row['count']:,}",
                "deferred": f"{row['deferred']:,}" if row["deferred"] else "",
                "amount": formats.money(row["amount_minor"], _CURRENCY),
            }
            for row in found["expected"]
        ],
    }


# Options of a plan that a page shows, with their titles.
_OPTION_TITLES: Final = {
    "amount_minor": "Amount for all",
    "day_count_max": "Debits a day at most",
    "day_amount_max_minor": "Money a day at most",
    "lifetime_max_minor": "An account pays in all at most",
    "pay_days": "Wages come in on",
    "usage": "Text on the statement",
    "notice_language": "Language of the pre-notification",
    "creditor_name": "Creditor",
    "creditor_id": "Creditor identifier",
    "tries_max": "Tries at most",
    "missed_after_days": "Missed after days",
}
_RECOVERED: Final = {
    "ask": "wait for a person",
    "skip": "are not collected",
    "spread": "are collected one after the other",
}


def _written(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """The options of a plan as label and value; what is not set is left out."""
    interval = options["interval"]
    every = interval["every"]
    unit = interval["unit"] if every == 1 else f"{every} {interval['unit']}s"
    lines = [
        ("Collects", f"every {unit}"),
        ("Due dates that were missed", _RECOVERED[options["recover"]]),
        (
            "Pre-notification",
            "none"
            if options["notice_days"] is None
            else f"{options['notice_days']} days before"
            + (", and no debit without it" if options["notice_required"] else ""),
        ),
    ]
    if options["price_bands"]:
        bands = (
            f"{formats.money(band['min_minor'], _CURRENCY)} to {formats.money(band['max_minor'], _CURRENCY)}"
            for band in options["price_bands"]
        )
        lines.append(("Amounts", "; ".join(bands)))
    for name, title in _OPTION_TITLES.items():
        value = options[name]
        if not value:
            continue
        text = formats.money(value, _CURRENCY) if name.endswith("_minor") else value
        lines.append((title, ", ".join(map(str, text)) if isinstance(text, list) else str(text)))
    return [{"title": title, "text": text} for title, text in lines]


@post("/collection-plans/{key:int}/enrol", include_in_schema=False)
async def enrol(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Give the debtors of an upload a schedule each, or show who would get one."""
    form = await forms.fields(request)
    is_dry_run = form.get("what") == "dry_run"
    try:
        body: dict[str, Any] = {
            name: form[name]
            for name in ("first_due_on", "last_due_on", "mandate_signed_on", "cursor")
            if form.get(name)
        }
        body |= {
            "upload_id": forms.whole(form.get("upload_id", ""), field="upload_id"),
            "dry_run": is_dry_run,
        }
        found = await call(request, "POST", f"/api/collection-plans/{key}/schedules", body=body)
    except Failed as exc:
        return await _plan(request, key, failed=exc)
    if not is_dry_run and found["next"] is None:
        return _to(f"/collection-plans/{key}", "enrolled")
    enrolment = {
        **found,
        "enrolled": f"{found['enrolled']:,}",
        "amount": formats.money(found["amount_minor"], _CURRENCY),
        "verdicts": [
            {"title": formats.title(verdict), "count": f"{count:,}"}
            for verdict, count in found["verdicts"].items()
        ],
        "form": form,
    }
    return await _plan(request, key, enrolment=enrolment)


@post("/collection-plans/{key:int}/{step:str}", include_in_schema=False)
async def steer_plan(request: ConsoleRequest, key: Key, step: Step) -> Template | Redirect:
    """Pause, resume or end a plan."""
    return await _steer(request, _STEERED["plan"], key, step)


@get("/collection-plans/{key:int}/schedules", include_in_schema=False)
async def schedules_of_plan(request: ConsoleRequest, key: Key) -> Template:
    """All schedules of a plan."""
    return await list_page(request, _schedules(key))


@get("/collection-plans/{key:int}/due-items", include_in_schema=False)
async def items_of_plan(request: ConsoleRequest, key: Key) -> Template:
    """All due items of a plan."""
    return await list_page(request, _items(key))


# Schedules and their due items


@get("/schedules/{key:int}", include_in_schema=False)
async def schedule(request: ConsoleRequest, key: Key) -> Template:
    """A debtor under a plan, with what it owes on each due date."""
    return await _schedule(request, key)


async def _schedule(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    try:
        detail = await call(request, "GET", f"/api/schedules/{key}")
    except Failed as exc:
        return problem_page(request, exc)
    found = detail["schedule"]
    return rendered(
        request,
        "schedule",
        status=failed.status if failed else 200,
        title=f"Schedule {key}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        schedule=found,
        facts=facts(
            found,
            "id state state_reason collection_plan_id debtor_id amount_minor first_due_on last_due_on make_on created_by"
            " created_at updated_at",
        ),
        mandate=facts(
            detail["mandate"], "id state reference kind iban_masked signed_on last_used_on uses ended_reason"
        ),
        is_of_other_account=detail["mandate"]["is_of_other_account"],
        items=[
            {
                **item,
                "amount": formats.money(item["amount_minor"], _CURRENCY),
                "tone": formats.tone(item["state"]),
                "can_recover": item["state"] == "missed",
                "can_waive": item["state"] in {"missed", "waiting"},
            }
            for item in detail["due_items"]
        ],
    )


@post("/schedules/{key:int}/due-items/{item:int}/{step:str}", include_in_schema=False)
async def decide_item(request: ConsoleRequest, key: Key, item: Key, step: Step) -> Template | Redirect:
    """Collect a missed due item after all, or give up an open one."""
    return await _steer(request, _STEERED["due item"], item, step, page_key=key)


@post("/schedules/{key:int}/{step:str}", include_in_schema=False)
async def steer_schedule(request: ConsoleRequest, key: Key, step: Step) -> Template | Redirect:
    """Pause, resume or end a schedule."""
    return await _steer(request, _STEERED["schedule"], key, step)


# Mandates and pre-notifications


@post("/mandates", include_in_schema=False)
async def add_mandate(request: ConsoleRequest) -> Template | Redirect:
    """Add a mandate that a debtor signed."""
    form = await forms.fields(request)
    try:
        body: dict[str, Any] = {
            name: form[name] for name in ("reference", "signed_on", "kind", "account") if form.get(name)
        }
        body["debtor_id"] = forms.whole(form.get("debtor_id", ""), field="debtor_id")
        made = await call(request, "POST", "/api/mandates", body=body)
    except Failed as exc:
        return await list_page(request, BY_PAGE["/mandates"], failed=exc)
    return _to(f"/mandates/{made['id']}", "mandate_added")


@get("/mandates/{key:int}", include_in_schema=False)
async def mandate(request: ConsoleRequest, key: Key) -> Template:
    """What a debtor has signed, and how it was used."""
    return await _mandate(request, key)


async def _mandate(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    try:
        found = await call(request, "GET", f"/api/mandates/{key}")
    except Failed as exc:
        return problem_page(request, exc)
    return rendered(
        request,
        "mandate",
        status=failed.status if failed else 200,
        title=f"Mandate {found['reference']}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        mandate=found,
        facts=facts(
            found,
            "id reference state kind account debtor_id iban_masked signed_on last_used_on uses ended_at ended_reason created_by"
            " created_at updated_at",
        ),
    )


@post("/mandates/{key:int}/{step:str}", include_in_schema=False)
async def change_mandate(request: ConsoleRequest, key: Key, step: Step) -> Template | Redirect:
    """Amend a mandate for the debtor's present account, or cancel it."""
    return await _steer(request, _STEERED["mandate"], key, step)


@post("/pre-notifications/give", include_in_schema=False)
async def give_notices(request: ConsoleRequest) -> Template | Redirect:
    """Record that the pre-notifications of a page were given to their debtors."""
    form = await forms.pairs(request)
    try:
        ids = [forms.whole(value, field="ids") for name, value in form if name == "ids"]
        await call(request, "POST", "/api/pre-notifications/give", body={"ids": ids})
    except Failed as exc:
        return await list_page(request, BY_PAGE["/pre-notifications"], failed=exc)
    return _to("/pre-notifications", "notices_given")


# Steps of a person


class _Steered(msgspec.Struct, frozen=True):
    """
    A kind of thing whose life a person steers with forms.

    Attributes:
        api: Where the API takes its steps.
        steps: The steps.
        page: The path of the page with the forms.
        show: Shows that page again where a form was refused.
        done: The notice after a step.
    """

    api: str
    steps: tuple[str, ...]
    page: str
    show: Callable[..., Awaitable[Template]]
    done: str


_LIFE: Final = ("pause", "resume", "end")
_STEERED: Final = {
    "plan": _Steered("/api/collection-plans", _LIFE, "/collection-plans", _plan, "plan_changed"),
    "schedule": _Steered("/api/schedules", _LIFE, "/schedules", _schedule, "schedule_changed"),
    "due item": _Steered("/api/due-items", ("recover", "waive"), "/schedules", _schedule, "due_item_changed"),
    "mandate": _Steered("/api/mandates", ("amend", "cancel"), "/mandates", _mandate, "mandate_changed"),
}


async def _steer(
    request: ConsoleRequest, what: _Steered, key: int, step: str, *, page_key: int | None = None
) -> Template | Redirect:
    """
    Order a step with the reason of its form, and go on to the page of the thing.

    Args:
        key: The thing.
        page_key: Of the page to go on to, where that is of something else.
    """
    on_page = key if page_key is None else page_key
    form = await forms.fields(request)
    if step not in what.steps:
        unknown = Failed(404, f"There are these steps: {', '.join(what.steps)}.")
        return await what.show(request, on_page, failed=unknown)
    try:
        body = None if step == "resume" else {"reason": forms.reason(form)}
        if body is not None and step == "amend":
            body["signed_on"] = form.get("signed_on", "")
        await call(request, "POST", f"{what.api}/{key}/{step}", body=body)
    except Failed as exc:
        return await what.show(request, on_page, failed=exc)
    return _to(f"{what.page}/{on_page}", what.done)


def _to(path: str, done: str) -> Redirect:
    return Redirect(f"{path}?done={done}", status_code=HTTP_303_SEE_OTHER)


HANDLERS: Final = [
    add_plan,
    plan,
    enrol,
    steer_plan,
    schedules_of_plan,
    items_of_plan,
    schedule,
    decide_item,
    steer_schedule,
    add_mandate,
    mandate,
    change_mandate,
    give_notices,
]
