"""What the console's forms do: each sends one order to the API, and goes on to the page that shows its result."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final, TypeAlias

from litestar import Response, post
from litestar.params import Parameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core.debtor_edits import FIELDS

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call, download, send
from tether_web.console.expectations import expected
from tether_web.console.pages import (
    BY_PAGE,
    ConsoleRequest,
    Key,
    erasure_page,
    list_page,
    refused_page,
    rendered,
)

__all__ = ["HANDLERS"]

Form: TypeAlias = Mapping[str, str]


def _redirect(path: str, done: str) -> Redirect:
    return Redirect(f"{path}?done={done}", status_code=HTTP_303_SEE_OTHER)


async def _ordered(
    request: ConsoleRequest,
    page: str,
    key: int,
    done: str,
    method: str,
    path: str,
    order: Callable[[Form], dict[str, Any]],
    *,
    headers: Callable[[Form], dict[str, str]] | None = None,
) -> Template | Redirect:
    """
    Send an order about one row to the API, and go on to the row's page; where it is refused, that page says why.

    Args:
        request: Of the form.
        page: The path of the pages of such rows.
        key: The row.
        done: The notice after the order.
        method: Of the route.
        path: Of the route.
        order: Makes of the form what the route takes: parameters for DELETE, else a body. May raise `Failed`.
        headers: Makes the headers of the form; `None` for none.
    """
    form = await forms.fields(request)
    try:
        taken: dict[str, Any] = {"query" if method == "DELETE" else "body": order(form)}
        await call(request, method, path, headers=headers and headers(form), **taken)
    except Failed as exc:
        return await refused_page(request, page, key, exc)
    return _redirect(f"{page}/{key}", done)


def _reason(form: Form) -> dict[str, Any]:
    """The reason as it was typed; where one is needed, the API refuses its lack."""
    return {"reason": form.get("reason", "")}


def _required_reason(form: Form) -> dict[str, Any]:
    return {"reason": forms.reason(form)}


# Where the API takes an answer, by the part of `tether_core.spreadsheet.plan.Answers` that a question names.
_SECTIONS: Final = {"columns": "mapping"}


def _answers(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """
    The body of the API for the form of an upload's questions.

    Args:
        fields: Such as "amount_format", "header_row", "columns.amount", "collect.S/H" and "screening.collected_before".

    Raises:
        Failed: when a number is none.
    """
    body: dict[str, Any] = {}
    for name, value in fields:
        section, _, part = name.partition(".")
        if section == "collect":
            body.setdefault("collect", {}).setdefault(part, []).append(value)  # "" stands for blank cells
        elif not value:
            continue
        elif part:
            body.setdefault(_SECTIONS.get(section, section), {})[part] = value
        elif name == "remember":
            body["remember"] = value == "on"
        elif name == "encoding":
            body["encoding"] = value
        else:
            body.setdefault("formats", {})[name] = (
                forms.whole(value, field=name) if name == "header_row" else value
            )
    return body


@post("/uploads", include_in_schema=False)
async def upload(request: ConsoleRequest) -> Template | Redirect:
    """Take a file in."""
    try:
        answer = await send(request, "/api/uploads")
    except Failed as exc:
        return await list_page(request, BY_PAGE["/uploads"], failed=exc)
    return _redirect(f"/uploads/{answer['id']}", "known" if answer.get("note") else "uploaded")


@post("/uploads/{key:int}/answers", include_in_schema=False)
async def answers(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Answer the questions of an upload: each field has the name of the answer that its question wants."""
    try:
        body = _answers(await forms.pairs(request))
        await call(request, "POST", f"/api/uploads/{key}/answers", body=body)
    except Failed as exc:
        return await refused_page(request, "/uploads", key, exc)
    return _redirect(f"/uploads/{key}", "answered")


@post("/uploads/{key:int}/withdraw", include_in_schema=False)
async def withdraw(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Withdraw an upload."""
    return await _ordered(request, "/uploads", key, "withdrawn", "DELETE", f"/api/uploads/{key}", _reason)


@post("/uploads/{key:int}/preflight", include_in_schema=False)
async def preflight(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Make a pre-flight report."""
    path = f"/api/uploads/{key}/preflight"
    return await _ordered(
        request,
        "/uploads",
        key,
        "preflight",
        "POST",
        path,
        lambda form: {"account": form.get("account") or "default"},
    )


@post("/uploads/{key:int}/exclude-charged-back", include_in_schema=False)
async def exclude_charged_back(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Show which debtors have charged back a debit; with a reason, exclude them."""
    form = await forms.fields(request)
    is_dry_run = form.get("what") == "dry_run"
    body = {"dry_run": is_dry_run, "reason": form.get("reason", "")}
    try:
        found = await call(request, "POST", f"/api/uploads/{key}/exclude-charged-back", body=body)
    except Failed as exc:
        return await refused_page(request, "/uploads", key, exc)
    if not is_dry_run:
        return _redirect(f"/uploads/{key}", "excluded")
    groups = [(row, "would be excluded") for row in found["excluded"]]
    groups += [(row, "stay: a debit is open or collected") for row in found["kept"]]
    return rendered(
        request,
        "exclusion",
        title=f"Debtors of upload {key} with a charged back debit",
        key=key,
        is_any=bool(found["excluded"]),
        groups=[
            {**row, "what": what, "amount": formats.money(row["amount_minor"], row["currency"])}
            for row, what in groups
        ],
    )


# How the fields of an order that are numbers are read.
_READ: Final[dict[str, Callable[[str], float]]] = {
    "count_max": partial(forms.whole, field="count_max"),
    "notice_days": partial(forms.whole, field="notice_days"),
    "vop_score_min": partial(forms.whole, field="vop_score_min"),
    "tries_max": partial(forms.whole, field="tries_max"),
    "recent_days": partial(forms.whole, field="recent_days"),
    "amount_max_minor": partial(forms.minor, field="amount_max_minor"),
    "debit_max_minor": partial(forms.minor, field="debit_max_minor"),
    "lifetime_max_minor": partial(forms.minor, field="lifetime_max_minor"),
    "canary_share": lambda text: forms.whole(text, field="canary_share") / 100,
}


@post("/uploads/{key:int}/billing", include_in_schema=False)
async def bill(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Order a billing run, or show what it would do."""
    form = await forms.fields(request)
    is_dry_run = form.get("what") == "dry_run"
    headers = {} if is_dry_run else _order_key(form)
    try:
        body: dict[str, Any] = {
            name: _READ.get(name, str)(form[name])
            for name in ("due_item", "usage", "account", "merchant_name", *_READ)
            if form.get(name)
        }
        body |= {"again": form.get("again") == "on", "dry_run": is_dry_run}
        if form.get("override"):
            override = {"verdicts": [form["override"]], "reason": form.get("override_reason", "")}
            body["overrides"] = [override]
        answer = await call(request, "POST", f"/api/uploads/{key}/billing", body=body, headers=headers)
    except Failed as exc:
        return await refused_page(request, "/uploads", key, exc)
    if is_dry_run:
        return rendered(
            request,
            "dry_run",
            title=f"Dry run of upload {key}",
            key=key,
            form=form,
            preview={
                **answer,
                "preflight": answer["preflight"] and expected(answer["preflight"]),
                "debtors": [
                    {**found, "amount": formats.money(found["amount_minor"], found["currency"])}
                    for found in answer["debtors"]
                ],
            },
            amount=formats.money(answer["amount_minor"], "EUR"),
        )
    return _redirect(f"/runs/{answer['id']}", "ordered")


_RUN_ACTIONS: Final = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


@post("/uploads/{key:int}/pre-notifications", include_in_schema=False)
async def announce(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Announce a debit to the debtors of an upload, or show what would be announced."""
    form = await forms.fields(request)
    is_dry_run = form.get("what") == "dry_run"
    try:
        body: dict[str, Any] = {
            name: form[name]
            for name in ("due_item", "due_on", "language", "creditor_name", "creditor_id")
            if form.get(name)
        }
        if form.get("notice_days"):
            body["notice_days"] = forms.whole(form["notice_days"], field="notice_days")
        body["dry_run"] = is_dry_run
        found = await call(request, "POST", f"/api/uploads/{key}/pre-notifications", body=body)
    except Failed as exc:
        return await refused_page(request, "/uploads", key, exc)
    if not is_dry_run:
        return Redirect(
            f"/pre-notifications?status=made&upload={key}&done=announced", status_code=HTTP_303_SEE_OTHER
        )
    return rendered(request, "announcement", title=f"Announce upload {key}", key=key, form=form, found=found)


@post("/runs/{key:int}/release-refusals", include_in_schema=False)
async def release_refusals(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Release the refusals of the upload of a run, so that they pause no further run."""
    form = await forms.fields(request)
    try:
        body = {"reason": forms.reason(form)}
        upload_id = (await call(request, "GET", f"/api/billing-runs/{key}"))["run"]["upload_id"]
        await call(request, "POST", f"/api/uploads/{upload_id}/billing/release", body=body)
    except Failed as exc:
        return await refused_page(request, "/runs", key, exc)
    return _redirect(f"/runs/{key}", "refusals_released")


@post("/runs/{key:int}/{action:str}", include_in_schema=False)
async def steer_run(
    request: ConsoleRequest, key: Key, action: Annotated[str, Parameter()]
) -> Template | Redirect:
    """Pause a run, let it go on, or cancel it."""
    if action not in _RUN_ACTIONS:
        return await refused_page(
            request, "/runs", key, Failed(404, "A run can be paused, resumed or cancelled.")
        )
    form = await forms.fields(request)
    try:
        # To resume takes nothing away, so it may go without a reason.
        reason = form.get("reason", "") if action == "resume" else forms.reason(form)
        body, query = ({"reason": reason}, None) if action == "pause" else (None, {"reason": reason})
        await call(request, "POST", f"/api/billing-runs/{key}/{action}", query=query, body=body)
    except Failed as exc:
        return await refused_page(request, "/runs", key, exc)
    return _redirect(f"/runs/{key}", _RUN_ACTIONS[action])


@post("/payments/{key:int}/inquire", include_in_schema=False)
async def inquire(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Ask the gateway for the status of a payment now."""
    path = f"/api/billing-attempts/{key}/inquiry"
    return await _ordered(request, "/payments", key, "inquired", "POST", path, _required_reason)


@post("/payments/{key:int}/forgive", include_in_schema=False)
async def forgive(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Forgive the chargeback of a payment."""
    path = f"/api/billing-attempts/{key}/forgive"
    return await _ordered(request, "/payments", key, "forgiven", "POST", path, _required_reason)


def _outcome(form: Form) -> dict[str, Any]:
    return {
        **_required_reason(form),
        "outcome": form.get("outcome", ""),
        "unique_id": form.get("unique_id") or None,
    }


@post("/payments/{key:int}/outcome", include_in_schema=False)
async def state_outcome(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """State what the gateway's back office shows for a payment whose status cannot be inquired."""
    path = f"/api/billing-attempts/{key}/outcome"
    return await _ordered(request, "/payments", key, "outcome_stated", "POST", path, _outcome)


def _return(form: Form) -> dict[str, Any]:
    usage = {"usage": form["usage"]} if form.get("usage") else {}
    return {**_required_reason(form), **usage}


def _order_key(form: Form) -> dict[str, str]:
    return {"Idempotency-Key": form.get("order_key", "")}


@post("/payments/{key:int}/{action:str}", include_in_schema=False)
async def return_money(
    request: ConsoleRequest, key: Key, action: Annotated[str, Parameter()]
) -> Template | Redirect:
    """Refund or void a payment."""
    if action not in {"refund", "void"}:
        unknown = Failed(404, "A payment can be refunded or voided.")
        return await refused_page(request, "/payments", key, unknown)
    path = f"/api/billing-attempts/{key}/{action}"
    return await _ordered(request, "/payments", key, action, "POST", path, _return, headers=_order_key)


@post("/debtors/{key:int}/edit", include_in_schema=False)
async def edit_debtor(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Edit a debtor: of the fields, those that differ from what the page showed."""
    form = await forms.fields(request)
    try:
        changes: dict[str, str | int | None] = {
            name: form[name] or None
            for name in FIELDS
            if name in form and form[name] != form.get(f"was_{name}", "")
        }
        if form.get("amount", "") != form.get("was_amount", ""):
            changes["amount_minor"] = forms.minor(form["amount"], field="amount")
        body = {
            "version": forms.whole(form.get("version", ""), field="version"),
            "reason": form.get("reason", ""),
            "changes": changes,
            "collect": form.get("collect") == "on",
        }
        await call(request, "PATCH", f"/api/debtors/{key}", body=body)
    except Failed as exc:
        return await refused_page(request, "/debtors", key, exc)
    return _redirect(f"/debtors/{key}", "edited")


@post("/debtors/{key:int}/dossier", include_in_schema=False)
async def export_debtor(request: ConsoleRequest, key: Key) -> Template | Response[bytes]:
    """Send everything that is stored about a person as one file."""
    form = await forms.fields(request)
    try:
        file = await download(request, f"/api/debtors/{key}/dossier", body={"reason": forms.reason(form)})
    except Failed as exc:
        return await refused_page(request, "/debtors", key, exc)
    return Response(file.content, media_type=file.media_type, headers=file.headers)


@post("/debtors/{key:int}/erasure", include_in_schema=False)
async def erase_debtor(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Order the erasure of the rows that the page showed."""
    form = await forms.fields(request)
    try:
        body = {
            "debtor_ids": [
                forms.whole(number, field="debtor_ids") for number in form.get("debtor_ids", "").split()
            ],
            "reason": forms.reason(form),
            "accept_reversible": form.get("accept_reversible") == "on",
        }
        await call(request, "POST", f"/api/debtors/{key}/erasure", body=body)
    except Failed as exc:
        return await erasure_page(request, key, failed=exc)
    return _redirect(f"/debtors/{key}", "erasure")


@post("/notifications/{key:int}/replay", include_in_schema=False)
async def replay(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Process a notification again."""
    form = await forms.fields(request)
    try:
        query = {"reason": forms.reason(form)}
        await call(request, "POST", f"/api/webhook-events/{key}/replay", query=query)
    except Failed as exc:
        return await refused_page(request, "/notifications", key, exc)
    return _redirect(f"/notifications/{key}", "replayed")


@post("/blacklist", include_in_schema=False)
async def block(request: ConsoleRequest) -> Template | Redirect:
    """Add an entry."""
    form = await forms.fields(request)
    body = {name: form[name] for name in ("iban", "name", "email", "bic", "reason", "note") if form.get(name)}
    try:
        entry = await call(request, "POST", "/api/blacklist", body=body)
    except Failed as exc:
        return await list_page(request, BY_PAGE["/blacklist"], failed=exc)
    return _redirect(f"/blacklist/{entry['id']}", "added")


@post("/payments/{key:int}/refunds/{refund:int}/outcome", include_in_schema=False)
async def state_refund_outcome(request: ConsoleRequest, key: Key, refund: Key) -> Template | Redirect:
    """State what the gateway's back office shows for a refund of a payment whose status cannot be inquired."""
    path = f"/api/refunds/{refund}/outcome"
    return await _ordered(request, "/payments", key, "outcome_stated", "POST", path, _outcome)


@post("/differences/{key:int}/acknowledge", include_in_schema=False)
async def acknowledge(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Say that a person has looked at a difference."""
    path = f"/api/reconciliation-differences/{key}/acknowledge"
    return await _ordered(
        request,
        "/differences",
        key,
        "acknowledged",
        "POST",
        path,
        lambda form: {**_reason(form), "order_again": form.get("order_again") == "on"},
    )


HANDLERS: Final = [
    upload,
    answers,
    withdraw,
    preflight,
    exclude_charged_back,
    announce,
    bill,
    release_refusals,
    steer_run,
    inquire,
    forgive,
    state_outcome,
    return_money,
    edit_debtor,
    export_debtor,
    erase_debtor,
    replay,
    block,
    state_refund_outcome,
    acknowledge,
]
