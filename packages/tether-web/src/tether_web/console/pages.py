"""The pages of the console that are read: overview, lists, and one page for each thing."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias, get_args
from urllib.parse import urlencode

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core import __version__
from tether_core.billing.overrides import OVERRIDABLE
from tether_core.bulk_orders import filters_of
from tether_core.errors import InvalidRequest
from tether_core.events import NAMES
from tether_core.stated_outcomes import StatedOutcome

from tether_web.console import debtors, formats, forms, menu, payments, runs, standstill
from tether_web.console.api import Failed, call, part
from tether_web.console.expectations import added_up, expected
from tether_web.console.listings import LISTINGS, Column, Filter, Listing
from tether_web.console.recent_figures import recent

__all__ = [
    "BY_PAGE",
    "HANDLERS",
    "HEADERS",
    "ConsoleRequest",
    "Key",
    "action_title",
    "detail_page",
    "erasure_page",
    "facts",
    "list_page",
    "own_accounts",
    "own_scope",
    "problem_page",
    "refused_page",
    "rendered",
    "rows_of",
    "table",
]

ConsoleRequest: TypeAlias = Request[Any, Any, Any]
Key = Annotated[int, Parameter(ge=1, le=2**63 - 1)]

# Everything comes from this address, as whole files; no script or style stands in a page.
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
}
# The notice after an action, shown on the next page; the URL has its key, not its text.
DONE: Final = {
    "password": "The password was changed. Your other sessions ended.",
    "edited": "The debtor is changed, and was screened again.",
    "erasure": "The erasure was ordered. A worker carries it out within a minute.",
    "uploaded": "The file was received.",
    "known": "This file was uploaded before; here it is. To store it again, send it with the option to do so.",
    "answered": "The answers were stored. Reading goes on.",
    "withdrawn": "The upload was withdrawn.",
    "ordered": "The run was ordered.",
    "paused": "The run is paused.",
    "resumed": "The run goes on.",
    "refusals_released": "The refusals are released: only later ones pause a run of this upload.",
    "cancelled": "The run was cancelled.",
    "refund": "The refund was ordered.",
    "void": "The void was ordered.",
    "checks_requested": "The checks were requested. A worker makes them as far as the budget goes.",
    "checks_none": "There was nothing to request: each debtor that may be billed has a check already.",
    "check_file_sent": "The file was received. A worker checks its rows.",
    "check_file_removed": "The file is removed with its results.",
    "queue_paused": "The queue is paused. Workers obey within seconds.",
    "queue_resumed": "The queue goes on within seconds.",
    "queue_retried": "What waits for its next try is tried now.",
    "queue_cleared": "The wake-ups are removed. Workers find their work within a second or so.",
    "workers_restarted": "All workers restart; what is in progress ends first.",
    "excluded": "The debtors were excluded.",
    "preflight": "The pre-flight report was made.",
    "policy_added": "The version was made. It decides nothing before it is switched on.",
    "policy_tried": "The dry run was made.",
    "policy_switched": "The version is switched on: all nodes decide by it.",
    "text_stored": "The text is stored. Runs that are ordered from now on take it.",
    "text_removed": "The text is removed.",
    "replayed": "The notification will be processed again.",
    "added": "The entry was added.",
    "answer_forgotten": "The answer is forgotten. The next file of its layout raises the question again.",
    "acknowledged": "The difference was acknowledged.",
    "bulk": "The order was placed; this page shows how far it is.",
    "stopped": "The order was stopped; what was done stays done.",
    "forgiven": "The chargeback is forgiven. Entries of the blacklist stay until somebody lifts them.",
    "outcome_stated": "The outcome is stored with your name. A report of the gateway that contradicts it becomes a difference.",
    "inquired": "The inquiry was ordered. Its result comes within seconds.",
    "account_paused": "The gateway account is paused. Nothing more is submitted with it.",
    "account_resumed": "The gateway account is resumed. Submissions go on within seconds.",
    "relay_revoked": "The relay is revoked. All nodes refuse its address within seconds.",
    "subscriber_changed": "The subscriber is changed.",
    "subscriber_removed": "The subscriber is removed. Nothing more is sent to it.",
    "deliveries_replayed": "The replay was ordered. Each event is sent again with its former id.",
    "delivery_replayed": "The event is sent again within seconds.",
    "plan_added": "The collection plan was added. Enrol debtors of an upload now.",
    "plan_changed": "The collection plan is changed.",
    "enrolled": "The debtors have their schedules.",
    "schedule_changed": "The schedule is changed.",
    "due_item_changed": "The due item is changed.",
    "mandate_added": "The mandate was added.",
    "mandate_changed": "The mandate is changed.",
    "announced": "The pre-notifications were made. Give them to the debtors: by the adapter, or download the list and state it here.",
    "notices_given": "The pre-notifications are recorded as given, with your name and the time.",
    "person_changed": "The user is changed.",
    "person_unbound": "Nobody at the identity provider is bound to the user.",
    "key_revoked": "The key is revoked. It opens nothing any more.",
    "no_second_factor": "The second factor was removed.",
}


def rendered(request: ConsoleRequest, template: str, *, status: int = 200, **context: Any) -> Template:
    """A page, with the menu and what was done before it."""
    path = request.scope["path"]
    problem = context.get("problem") or {}
    return Template(
        f"{template}.html",
        context={
            "menu": menu.entries(path),
            # The answer to a form cannot be fetched again by its address.
            "is_answer": request.scope["method"] == "POST",
            "holder": request.scope.get("user"),
            "tether_version": __version__,
            "event_types": "" if _is_limited(request) else " ".join(NAMES),
            "done": DONE.get(request.query_params.get("done", "")),
            "order_key": secrets.token_urlsafe(18),
            "problem": None,
            "refused": forms.refused(request, problem.get("errors", ())) if status >= 400 else None,
            **context,
        },
        status_code=status,
        headers=HEADERS,
    )


def _is_limited(request: ConsoleRequest) -> bool:
    """Whether somebody is signed in who is limited to some gateway accounts."""
    return getattr(request.scope.get("auth"), "accounts", None) is not None


def cell(row: Mapping[str, Any], column: Column, *, page: str) -> dict[str, Any]:
    """One value of a row, as the templates write it."""
    value: Any = row
    for name in column.name.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or value == "":
        return {"kind": "text", "text": ""}
    text, more = str(value), {}
    if column.kind == "money":
        text = formats.money(value, row.get("currency") or "EUR")
    elif column.kind == "link":
        text, more = column.text or text, {"href": f"{column.page or page}/{value}"}
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif column.kind == "state":
        text, more = text.replace("_", " "), {"tone": formats.tone(value)}
    elif column.kind == "size":
        text = formats.size(value)
    elif column.kind == "number":
        text = f"{value:,}"
    if column.name.endswith("_on"):
        more = {"kind": "day"}
    return {"kind": "number" if column.kind == "size" else column.kind, "text": text, **more}


def table(rows: Sequence[Mapping[str, Any]] | None, listing: Listing) -> dict[str, Any]:
    """Rows of the API as a table; `None` where they could not be read, which is not the same as none."""
    return {
        "columns": [
            {"title": column.title, "kind": "number" if column.kind == "size" else column.kind}
            for column in listing.columns
        ],
        "rows": [[cell(row, column, page=listing.page) for column in listing.columns] for row in rows or ()],
        "empty": "This list could not be read; reload the page." if rows is None else listing.empty,
    }


def facts(thing: Mapping[str, Any], names: str) -> list[dict[str, Any]]:
    """Fields of a thing, by name, as label and value; those without a value are left out."""
    found = []
    for name in names.split():
        value = thing.get(name)
        if value is None or value == "":
            continue
        kind = "time" if name.endswith("_at") else "text"
        text = str(value)
        if name == "amount_minor":
            text = formats.money(value, thing.get("currency") or "EUR")
        if name in {"state", "status", "verdict"}:
            kind, text = "state", text.replace("_", " ")
        if name in _PAGES:
            kind = "link"
        title = _TITLES.get(name) or formats.title(name.removesuffix("_id").removesuffix("_at"))
        cell_ = {
            "kind": kind,
            "text": text,
            "tone": formats.tone(str(value)),
            "href": f"{_PAGES.get(name, '')}/{value}",
        }
        found.append({"title": title, "cell": cell_})
    return found


# Labels that the name of a field does not make.
_TITLES: Final = {
    "attempt_id": "Payment",
    "webhook_event_id": "Notification",
    "count": "Debits",
    "amount_minor": "Amount",
    "unique_id": "Id of the gateway",
    "transaction_id": "Our transaction id",
    "notification_id": "Id of the gateway",
    "iban_masked": "Account",
    "failing_since_at": "Failing since",
    "url": "Address",
    "waiting": "Deliveries that wait",
    "behind": "Events behind",
    "old_secret_until": "Former secret until",
    "http_status": "Answer",
    "due_at": "Next try",
    "next_at": "Next try",
}
# Which fields lead to a page of their own.
_PAGES: Final = {
    "attempt_id": "/payments",
    "other_attempt_id": "/payments",
    "debtor_id": "/debtors",
    "run_id": "/runs",
    "upload_id": "/uploads",
    "webhook_event_id": "/notifications",
    "collection_plan_id": "/collection-plans",
}
# What needs a person: the title, the console's list, the API's list, and the state that is counted.
_NEEDS: Final = (
    ("Uploads that wait for an answer", "/uploads", "/api/uploads", "needs_answer"),
    ("Runs that are paused", "/runs", "/api/billing-runs", "paused"),
    ("Notifications that need a person", "/notifications", "/api/webhook-events", "parked"),
    ("Notifications that the gateway contradicts", "/notifications", "/api/webhook-events", "contradicted"),
    ("Differences of the books", "/differences", "/api/reconciliation-differences", "open"),
)
_NEEDS_MAX: Final = 10
BY_PAGE: Final = {listing.page: listing for listing in LISTINGS}
_BY_ACCOUNT: Final = frozenset(
    listing.page for listing in LISTINGS if any(entry.name == "account" for entry in listing.filters)
)


def _lists(listing: Listing) -> HTTPRouteHandler:
    async def listed(request: ConsoleRequest) -> Template:
        return await list_page(request, listing)

    listed.__name__ = f"list_{listing.page[1:].replace('/', '_')}"
    return get(listing.page, include_in_schema=False)(listed)


async def list_page(request: ConsoleRequest, listing: Listing, *, failed: Failed | None = None) -> Template:
    """
    A page of a list, with its filters and what can be done to everything that matches.

    Args:
        request: With filters and cursor in its query.
        listing: Which list.
        failed: Why a form of the page was refused.
    """
    chosen = {
        entry.name: entry.parameter(value)
        for entry in listing.filters
        if (value := request.query_params.get(entry.name, "").strip())
    }
    typed = {
        entry: value
        for entry in listing.filters
        if entry.kind == "amount" and (value := request.query_params.get(entry.field, "").strip())
    }
    if any(entry.name == "account" for entry in listing.filters):
        chosen = {**own_scope(request), **chosen}
    cursor = request.query_params.get("cursor")
    try:
        chosen |= {entry.name: str(forms.minor(value, field=entry.field)) for entry, value in typed.items()}
        page = await call(request, "GET", listing.api, query={**chosen, "cursor": cursor})
    except Failed as exc:
        page, failed = {"items": [], "next": None}, failed or exc
    rows = table(page["items"], listing)
    if page["next"]:
        # Two filters that seldom fit together are looked for page by page.
        rows["empty"] = "No match among those looked at so far; the next page goes on."
    scope = {**(dict([listing.within]) if listing.within else {}), **chosen}
    actions = bulk_actions(listing, scope)
    # Before an action for everything stands how much that is.
    is_counted = listing.has_forms and bool(chosen or actions) and failed is None
    count = await part(request, listing.api, {**chosen, "format": "count"}) if is_counted else None
    return rendered(
        request,
        "list",
        status=failed.status if failed else 200,
        title=listing.title,
        about=listing.about,
        page=listing.page,
        back=listing.back,
        above=listing.above,
        filters=[
            {
                "name": entry.field,
                "title": entry.title,
                "kind": _INPUTS.get(entry.kind, entry.kind),
                "choices": entry.choices,
                "value": typed.get(entry) or _form_value(entry, chosen.get(entry.name, "")),
            }
            for entry in listing.filters
        ],
        is_filtered=bool(chosen or typed),
        is_first_page=cursor is None,
        count=count
        and {
            "text": f"{'More than ' if count['more'] else ''}{count['count']:,}",
            "amounts": [
                formats.money(amount, currency) for currency, amount in count["amounts_minor"].items()
            ],
        },
        csv=f"{listing.api}?{urlencode({**chosen, 'format': 'csv'})}" if listing.has_forms else None,
        bulk=actions,
        bulk_filters=urlencode(scope),
        filter_query=urlencode(chosen),
        items=page["items"],
        is_any=bool(page["items"] or page["next"]),
        table=rows,
        next=urlencode({**chosen, "cursor": page["next"]}) if page["next"] else None,
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
    )


# The kinds of inputs of filters that HTML calls otherwise.
_INPUTS: Final = {"since": "date", "amount": "text"}


def _form_value(entry: Filter, value: str) -> str:
    """The value of a filter as its form shows it."""
    if entry.kind == "since":
        return value[: len("2026-03-02")]
    if entry.kind == "amount" and value.isascii() and value.isdigit():
        return str(formats.decimal(int(value), "EUR"))
    return value


def problem_page(request: ConsoleRequest, failed: Failed, *, title: str = "Not shown") -> Template:
    """A page that says why there is nothing to show."""
    return rendered(request, "problem", status=failed.status, title=title, problem={"detail": failed.detail})


def bulk_actions(listing: Listing, chosen: Mapping[str, str]) -> list[dict[str, str]]:
    """What can be done to everything that matches; nothing where the filter is not one of bulk orders."""
    found = []
    for action in listing.bulk:
        try:
            filters_of(action, chosen)
        except InvalidRequest:
            continue
        found.append({"action": action, "title": action_title(action)})
    return found


def action_title(action: str) -> str:
    """
    What a button says of an action on everything that matches; the list says of what.

    >>> action_title("void"), action_title("pause_schedules")
    ('Void', 'Pause')
    """
    return formats.title(action.partition("_")[0])


@get("/", include_in_schema=False)
async def overview(request: ConsoleRequest) -> Template:
    """What happened today, what waits, and what needs a person."""
    today = request.app.state.clock()
    week = {"from": (today - timedelta(days=6)).date().isoformat(), "to": today.date().isoformat()}
    scope = own_scope(request)
    # A user who is limited to gateway accounts sees the lists that can be narrowed to one.
    needed = [need for need in _NEEDS if not scope or need[1] in _BY_ACCOUNT]
    figures, ready, books, at_work, latest, runs, heard, *counted = await asyncio.gather(
        recent(request, scope=scope),
        part(request, "/ready"),
        part(request, "/api/completeness", week),
        standstill.found(request),
        rows_of(request, "/api/uploads", {"limit": 5, **scope}),
        rows_of(request, "/api/billing-runs", {"limit": 5, **scope}),
        rows_of(request, "/api/webhook-events", {"limit": 10}),
        *(
            rows_of(request, api, {"status": status, "limit": _NEEDS_MAX, **scope})
            for _, _, api, status in needed
        ),
    )
    needs = [
        {"title": title, "page": f"{page}?{urlencode({'status': status, **scope})}", "count": _count(rows)}
        for (title, page, _, status), rows in zip(needed, counted, strict=True)
    ]
    return rendered(
        request,
        "overview",
        title="Overview",
        scope=scope.get("account"),
        figures=figures,
        ready=ready,
        books=books,
        needs=[need for need in needs if need["count"] != "0"],
        stopped=at_work.stopped,
        at_work=at_work.cards,
        at_rest=[need for need in needs if need["count"] == "0"],
        uploads=table(latest, BY_PAGE["/uploads"]),
        runs=table(runs, BY_PAGE["/runs"]),
        notifications=table(heard, BY_PAGE["/notifications"]),
    )


def _count(rows: list[Any] | None) -> str:
    """How many rows a list has, as far as one page shows; "?" where it could not be read."""
    if rows is None:
        return "?"
    return f"{len(rows)}+" if len(rows) == _NEEDS_MAX else str(len(rows))


async def rows_of(
    request: ConsoleRequest, path: str, query: Mapping[str, Any] | None = None
) -> list[Any] | None:
    """The rows of one page of a list; `None` where they could not be read."""
    found = await part(request, path, query)
    rows: list[Any] | None = found["items"] if isinstance(found, dict) else found
    return rows


def own_scope(request: ConsoleRequest) -> dict[str, str]:
    """The filter by account with which a person who is limited to gateway accounts begins, the first of them; empty for others."""
    own: tuple[str, ...] | None = request.auth.accounts
    return {"account": own[0]} if own else {}


async def own_accounts(request: ConsoleRequest) -> list[str]:
    """The names of the gateway accounts with which the caller may act; those of the environment and of the table, or the caller's own."""
    own: tuple[str, ...] | None = request.auth.accounts
    if own is not None:
        return list(own)
    found = await rows_of(request, "/api/gateway-accounts")
    return [row["name"] for row in found or () if not row["former_of"]] or ["default"]


async def _upload(request: ConsoleRequest, key: int) -> dict[str, Any]:
    detail = await call(request, "GET", f"/api/uploads/{key}")
    preview = await part(request, f"/api/uploads/{key}/preview")
    problems = await rows_of(request, f"/api/uploads/{key}/problems", {"limit": 50})
    runs = await rows_of(request, f"/api/uploads/{key}/billing")
    preflight = await part(request, f"/api/uploads/{key}/preflight")
    totals = await part(request, f"/api/uploads/{key}/totals") if runs else None
    upload = detail["upload"]
    can_bill = upload["state"] == "completed" and not detail["withdrawal"]
    return {
        "accounts": await own_accounts(request) if can_bill else [],
        "can_bill": can_bill,
        "overridable": sorted(OVERRIDABLE),
        "title": f"Upload {key}: {upload['filename']}",
        "upload": upload,
        "detail": detail,
        "state": {"text": upload["state"].replace("_", " "), "tone": formats.tone(upload["state"])},
        "share_read": round(100 * upload["bytes_read"] / upload["size_bytes"])
        if upload["size_bytes"]
        else 100,
        "counts": upload["row_counts"],
        "counted": {
            name: f"{upload['row_counts'][name]:,}"
            for name in ("rows", "stored", "excluded", "refused", "warnings")
        },
        "amount": formats.money(upload["row_counts"]["amount_minor"], "EUR"),
        "facts": facts(upload, "id filename state added_by created_at started_at finished_at failure"),
        "preview": preview,
        "problems": problems,
        "runs": {**table(runs, BY_PAGE["/runs"]), "empty": "None was ordered yet."},
        "totals": totals and added_up(totals),
        "preflight": preflight and {"id": preflight["id"], **expected(preflight["report"])},
    }


async def _run(request: ConsoleRequest, key: int) -> dict[str, Any]:
    detail = await call(request, "GET", f"/api/billing-runs/{key}")
    payments = await rows_of(request, "/api/billing-attempts", {"run": key, "limit": 25})
    run = detail["run"]
    return {
        "title": f"Billing run {key}",
        "run": run,
        "detail": detail,
        "state": {"text": run["state"].replace("_", " "), "tone": formats.tone(run["state"])},
        "amount": formats.money(run["amount_minor"], "EUR"),
        "facts": facts(
            run,
            "id upload_id account state count amount_minor warning pause_reason created_by released_by created_at finished_at",
        ),
        "states": [
            {
                "title": name,
                "tone": formats.tone(name),
                "count": f"{found['count']:,}",
                "amount": formats.money(found["amount_minor"], "EUR"),
            }
            for name, found in detail["states"].items()
        ],
        "progress": _progress(detail),
        "options": runs.options(run["options"]),
        "overrides": [
            f"{', '.join(found['verdicts']).replace('_', ' ')}, for "
            f"{'all debtors' if found['debtor_ids'] is None else len(found['debtor_ids'])}, by {found['given_by']}: {found['reason']}"
            for found in run["overrides"]
        ],
        "refusals": runs.refusals(detail["refusals"]),
        "payments": table(payments, BY_PAGE["/payments"]),
    }


def _progress(detail: Mapping[str, Any]) -> dict[str, Any]:
    """How many debits of a run are over, as a sentence and as a share in percent."""
    steps = {name: step["count"] for name, step in detail["steps"].items()}
    total, ended = sum(steps.values()), steps.get("ended", 0)
    left = ", ".join(f"{count:,} {name}" for name, count in steps.items() if name != "ended" and count)
    text = f"{ended:,} of {total:,} debits have an answer{f' ({left})' if left else ''}." if total else ""
    return {"text": text, "share": round(100 * ended / total) if total else 0}


async def _payment(request: ConsoleRequest, key: int) -> dict[str, Any]:
    attempt = await call(request, "GET", f"/api/billing-attempts/{key}")
    exposure = await part(request, f"/api/billing-attempts/{key}/exposure")
    refunds = await rows_of(request, f"/api/billing-attempts/{key}/refunds")
    outside = await rows_of(request, f"/api/billing-attempts/{key}/gateway-refunds")
    named = {"unique_id": attempt["unique_id"], "account": attempt["account"] if own_scope(request) else None}
    heard = await rows_of(request, "/api/webhook-events", named) if attempt["unique_id"] else []
    lines = await rows_of(request, "/api/reconciliation-differences", {"attempt_id": key})
    actions = await rows_of(request, "/api/audit", {"subject": "attempt", "subject_id": key})
    return {
        "meaning": payments.meaning(attempt),
        "returned": payments.returned(attempt),
        "timeline": payments.timeline(
            attempt,
            heard=heard or (),
            refunds=refunds or (),
            differences=lines or (),
            actions=actions or (),
        ),
        "can_inquire": attempt["submission_count"] > 0,
        "outcomes": get_args(StatedOutcome),
        "orders": [
            {
                "kind": kind,
                "allowed": exposure is None or exposure[f"{kind}able"],
                "why": exposure[f"{kind}able_why"] if exposure else "",
            }
            for kind in ("refund", "void")
        ],
        "title": f"Payment {key}",
        "attempt": attempt,
        "amount": formats.money(attempt["amount_minor"], attempt["currency"]),
        "state": {"text": attempt["status"].replace("_", " "), "tone": formats.tone(attempt["status"])},
        "facts": facts(
            attempt,
            "id status amount_minor reason_code error_code debtor_id run_id due_item try_number transaction_id unique_id"
            " account created_at updated_at",
        ),
        "exposure": exposure,
        "refunds": {**table(refunds, BY_PAGE["/refunds"]), "empty": "None was ordered."},
        "unknown_refunds": [
            {"id": refund["id"], "kind": refund["kind"]}
            for refund in refunds or ()
            if refund["status"] == "unknown"
        ],
        "outside": outside,
        "notifications": table(heard, BY_PAGE["/notifications"]),
        "differences": table(lines, BY_PAGE["/differences"]),
    }


# The fields of the form: name, label, kind of input. The account is shown masked, so it is entered whole or left alone.
_EDITED: Final = (
    ("name", "Name", "text"),
    ("amount", "Amount in euros", "text"),
    ("iban", "New IBAN", "text"),
    ("bic", "BIC", "text"),
    ("reference", "Reference", "text"),
    ("mandate_id", "Mandate", "text"),
    ("mandate_signed_on", "Mandate signed on", "date"),
    ("customer_id", "Customer number", "text"),
    ("email", "E-mail address", "email"),
    ("street", "Street", "text"),
    ("house_number", "House number", "text"),
    ("postcode", "Postcode", "text"),
    ("city", "Town", "text"),
    ("country", "Country", "text"),
)


# Where the history could not be read, which the page says.
_NO_HISTORY: Final[dict[str, Any]] = {
    "blacklist": None,
    "check": None,
    "notifications": None,
    "actions": None,
}
# A person is seldom on the blacklist for more reasons; the others are lifted on their own pages.
_LIFTED_MAX: Final = 5


def _editable(debtor: dict[str, Any], name: str) -> str:
    if name == "iban":
        return ""
    if name == "amount":
        cents = debtor["debtor"]["amount_minor"]
        return f"{cents // 100}.{cents % 100:02d}"
    return str({**debtor["debtor"], **debtor}[name] or "")


async def _debtor(request: ConsoleRequest, key: int) -> dict[str, Any]:
    detail = await call(request, "GET", f"/api/debtors/{key}")
    payments = await rows_of(request, "/api/billing-attempts", {"debtor": key})
    signed = await rows_of(request, "/api/mandates", {"debtor": key})
    history = await part(request, f"/api/debtors/{key}/history") or _NO_HISTORY
    now: datetime = request.app.state.clock()
    entries = [debtors.entry_row(entry, now=now) for entry in history["blacklist"] or ()]
    actions = history["actions"]
    listed = detail["debtor"]["debtor"]
    return {
        "title": f"Debtor {key}",
        "facts": [
            *facts(
                listed,
                "id name iban_masked amount_minor reference verdict cause upload_id row created_at erased_at",
            ),
            *facts(
                detail["debtor"],
                "bic mandate_id mandate_signed_on customer_id email phone street house_number postcode city country description",
            ),
        ],
        "reasons": listed["reasons"],
        "warnings": detail["warnings"],
        "key": key,
        "version": detail["version"],
        "edits": detail["edits"],
        "obstacle": detail["obstacle"],
        "is_erased": listed["erased_at"] is not None,
        "fields": [
            {"name": name, "title": title, "kind": kind, "value": _editable(detail["debtor"], name)}
            for name, title, kind in _EDITED
        ],
        "payments": table(payments, BY_PAGE["/payments"]),
        "mandates": signed and table(signed, BY_PAGE["/mandates"]),
        "is_history": history is not _NO_HISTORY,
        "upload_id": listed["upload_id"],
        "entries": None if history["blacklist"] is None else table(entries, debtors.ENTRIES),
        "active_entries": [entry["id"] for entry in entries if entry["state"] == "active"][:_LIFTED_MAX],
        "check": debtors.check_text(history["check"]),
        "notifications": table(history["notifications"], BY_PAGE["/notifications"]),
        "actions": None
        if actions is None
        else table([debtors.action_row(row) for row in actions], debtors.ACTIONS),
    }


@get("/debtors/{key:int}/erasure", include_in_schema=False)
async def erasure(request: ConsoleRequest, key: Key) -> Template:
    """What erasing a debtor would do, and the form to order it."""
    return await erasure_page(request, key)


async def erasure_page(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    """The page of an erasure, with the sentence that says why it was refused, where it was."""
    title = f"Erase debtor {key}"
    try:
        preview = await call(request, "GET", f"/api/debtors/{key}/erasure")
    except Failed as exc:
        return problem_page(request, exc, title=title)
    return rendered(
        request,
        "erasure",
        status=200 if failed is None else failed.status,
        title=title,
        key=key,
        preview=preview,
        amounts=[
            {"title": formats.title(amount["what"]), "count": f"{amount['count']:,}"}
            for amount in preview["amounts"]
        ],
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
    )


async def _notification(request: ConsoleRequest, key: int) -> dict[str, Any]:
    detail = await call(request, "GET", f"/api/webhook-events/{key}")
    can_replay = detail["event"]["state"] in {"parked", "contradicted"}
    preview = await part(request, f"/api/webhook-events/{key}/replay-preview") if can_replay else None
    return {
        "title": f"Notification {key}",
        "detail": detail,
        "can_replay": can_replay,
        "effects": [
            {"title": title, "effect": preview[name]}
            for name, title in (("now", "At once"), ("confirmed", "If the gateway confirms it"))
            if preview and preview[name]
        ],
        "facts": facts(
            detail["event"],
            "id state status event kind notification_id outcome reason failures attempt_id conflicts_with confirmed_status"
            " confirmed_at contradicted_count account source received_at next_at handled_at",
        ),
        "fields": sorted(detail["fields"].items()),
    }


async def _entry(request: ConsoleRequest, key: int) -> dict[str, Any]:
    found = await call(request, "GET", f"/api/blacklist/{key}")
    return {
        "title": f"Blacklist entry {key}",
        "entry": found,
        "facts": facts(
            found,
            "id iban_masked name email bic action scope reason_code note source added_by webhook_event_id attempt_id created_at"
            " expires_at lifted_at lifted_by",
        ),
    }


async def _difference(request: ConsoleRequest, key: int) -> dict[str, Any]:
    line = await call(request, "GET", f"/api/reconciliation-differences/{key}")
    return {
        "title": f"Difference {key}",
        "line": line,
        "facts": facts(
            line,
            "id kind state attempt_id other_attempt_id run_id ours theirs first_seen_at last_seen_at resolved_at"
            " acknowledged_at acknowledged_by acknowledged_reason",
        ),
    }


Loader: TypeAlias = Callable[[ConsoleRequest, int], Awaitable[dict[str, Any]]]
# Path of a page for one thing -> what it shows, and its template.
DETAILS: Final[dict[str, tuple[Loader, str]]] = {
    "/uploads": (_upload, "upload"),
    "/runs": (_run, "run"),
    "/payments": (_payment, "payment"),
    "/debtors": (_debtor, "debtor"),
    "/notifications": (_notification, "notification"),
    "/blacklist": (_entry, "entry"),
    "/differences": (_difference, "difference"),
}


async def refused_page(request: ConsoleRequest, page: str, key: int, failed: Failed) -> Template:
    """The page of a thing whose change was refused, with the sentence that says why."""
    return await _detail(
        request, page, key, problem={"detail": failed.detail, "errors": failed.errors}, status=failed.status
    )


async def detail_page(request: ConsoleRequest, page: str, key: int, *, done: str) -> Template:
    """The page of a thing after an order that leads nowhere else, with what the order did."""
    return await _detail(request, page, key, more={"done": done})


async def _detail(
    request: ConsoleRequest,
    page: str,
    key: int,
    *,
    problem: Any = None,
    status: int = 200,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Template:
    load, template = DETAILS[page]
    try:
        context = await load(request, key)
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not shown", problem={"detail": exc.detail}
        )
    return rendered(
        request, template, status=status, **{**context, "problem": problem, "page": page, "key": key, **more}
    )


def _details(page: str) -> HTTPRouteHandler:
    async def detail(request: ConsoleRequest, key: Key) -> Template:
        return await _detail(request, page, key)

    detail.__name__ = f"detail_{page[1:]}"
    return get(f"{page}/{{key:int}}", include_in_schema=False)(detail)


# How far the gateway's lists were read, for the page of the reconciliation.
_FETCHES: Final = Listing(
    "/reconciliation",
    "/api/completeness",
    "Reports fetched",
    "",
    (
        Column("day", "Day"),
        Column("account", "Account"),
        Column("name", "List"),
        Column("listed", "Listed", "number"),
        Column("held", "Recorded", "number"),
        Column("unread", "Could not be read", "number"),
        Column("read_at", "Read to its end", "time"),
        Column("wanted_at", "Requested", "time"),
    ),
    empty="No report of these days was fetched yet.",
)


@get("/reconciliation", include_in_schema=False)
async def reconciliation(request: ConsoleRequest) -> Template:
    """Whether our books hold everything the gateway knows of some days."""
    today: datetime = request.app.state.clock()
    from_on = request.query_params.get("from") or (today - timedelta(days=6)).date().isoformat()
    to_on = request.query_params.get("to") or today.date().isoformat()
    try:
        books = await call(request, "GET", "/api/completeness", query={"from": from_on, "to": to_on})
        problem, status = None, 200
    except Failed as exc:
        books, problem, status = None, {"detail": exc.detail}, exc.status
    lines = await rows_of(request, "/api/reconciliation-differences", {"status": "open"})
    return rendered(
        request,
        "reconciliation",
        status=status,
        title="Reconciliation",
        books=books,
        from_on=from_on,
        to_on=to_on,
        differences=table(lines, BY_PAGE["/differences"]),
        dispositions=[
            (name.replace("_", " "), f"{count:,}")
            for name, count in sorted(books["report"]["dispositions"].items() if books else ())
        ],
        delays=[
            (name, *(f"{delay[part]:,.1f}" for part in ("p50_s", "p95_s", "max_s")))
            for name, delay in sorted(books["report"]["delays"].items() if books else ())
        ],
        fetches=table(books["fetches"] if books else (), _FETCHES),
        problem=problem,
    )


@get("/events", include_in_schema=False)
async def events(request: ConsoleRequest) -> Template:
    """Events as they happen."""
    if _is_limited(request):
        why = "You are limited to some gateway accounts, and events are about all of them. Ask somebody who is not limited"
        return problem_page(request, Failed(403, f"{why}."), title="Events")
    return rendered(request, "events", title="Events")


@get("/index", include_in_schema=False)
async def index() -> Redirect:
    """An address that people try."""
    return Redirect("/", status_code=HTTP_303_SEE_OTHER)


HANDLERS: Final = [
    overview,
    erasure,
    reconciliation,
    events,
    index,
    *(_lists(listing) for listing in LISTINGS),
    *(_details(page) for page in DETAILS),
]
