"""The console's pages of name checks: those of an upload, those of files that make no debtors, and what they cost."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, get_args
from urllib.parse import urlencode

from litestar import get, post
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core.vop import CheckState, Result

from tether_web.console import forms
from tether_web.console.api import Failed, call, part, send_bytes
from tether_web.console.listings import Column, Filter, Listing
from tether_web.console.pages import (
    ConsoleRequest,
    Key,
    facts,
    own_accounts,
    problem_page,
    rendered,
    rows_of,
    table,
)

__all__ = ["HANDLERS"]

_FILTERS: Final = (
    Filter("status", "State", get_args(CheckState)),
    Filter("result", "Result", get_args(Result)),
)
_FILES: Final = Listing(
    "/checks",
    "/api/vop/files",
    "Files",
    "",
    (
        Column("id", "File", "link"),
        Column("row_count", "Rows", "number"),
        Column("checked", "Checked", "number"),
        Column("parked", "Without an answer", "number"),
        Column("account", "Paid by"),
        Column("created_by", "By"),
        Column("created_at", "Sent", "time"),
    ),
    empty="No file was sent in the last 30 days.",
)
_UPLOADS: Final = Listing(
    "/uploads",
    "/api/uploads",
    "Uploads",
    "",
    (
        Column("id", "Upload", "link"),
        Column("filename", "File"),
        Column("row_counts.stored", "Debtors", "number"),
        Column("created_at", "Received", "time"),
        Column("checks", "Checks", "link", "/uploads", "Name checks"),
    ),
    empty="No file of debtors was uploaded yet.",
)
_CHECKS: Final = (
    Column("debtor_id", "Debtor", "link", "/debtors"),
    Column("state", "State", "state"),
    Column("result", "Result", "state"),
    Column("score", "Score", "number"),
    Column("name", "Name"),
    Column("iban", "IBAN"),
    Column("bank", "Bank"),
    Column("debit", "Direct debit"),
    Column("bank_name", "Name of the bank"),
    Column("provider", "Answered by"),
    Column("checked_at", "Checked", "time"),
)
_ROWS: Final = (
    Column("row_number", "Row", "number"),
    Column("iban_masked", "Account"),
    Column("name", "Name"),
    Column("state", "State", "state"),
    Column("result", "Result", "state"),
    Column("score", "Score", "number"),
    Column("name_match", "Name fits"),
    Column("bank_name", "Bank"),
    Column("provider", "Answered by"),
    Column("is_reused", "Taken over"),
    Column("checked_at", "Checked", "time"),
)
_MATCHES: Final = (
    ("match", "The name fits", "good"),
    ("near", "It nearly fits", "waiting"),
    ("none", "It does not fit", "bad"),
    ("not_available", "Nobody could answer", "plain"),
)
# Results with the colour of their card.
_RESULTS: Final = {
    "verified": "good",
    "likely_verified": "good",
    "inconclusive": "plain",
    "mismatch": "bad",
    "rejected": "bad",
}
_UPLOADS_SHOWN: Final = 15


@get("/checks", include_in_schema=False)
async def overview(request: ConsoleRequest) -> Template:
    """What checks cost, the latest uploads, and the files that make no debtors."""
    return await _overview(request)


async def _overview(request: ConsoleRequest, *, failed: Failed | None = None) -> Template:
    try:
        files, budget, uploads, accounts = await asyncio.gather(
            call(request, "GET", "/api/vop/files"),
            part(request, "/api/vop/budget"),
            rows_of(request, "/api/uploads", {"limit": _UPLOADS_SHOWN}),
            own_accounts(request),
        )
    except Failed as exc:
        return problem_page(request, exc, title="Name checks")
    is_working = any(file["checked"] + file["parked"] < file["row_count"] for file in files)
    linked = None if uploads is None else [{**row, "checks": f"{row['id']}/checks"} for row in uploads]
    return rendered(
        request,
        "checks",
        status=failed.status if failed else 200,
        title="Name checks",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        budget=_budget(budget),
        is_working=is_working,
        files=table(files, _FILES),
        uploads=table(linked, _UPLOADS),
        accounts=accounts,
    )


def _budget(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The budget for the templates; `None` where it could not be read."""
    if found is None:
        return None
    limits = {"day": found["day_max"], "month": found["month_max"]}
    return {
        **found,
        "is_limited": any(limit is not None for limit in limits.values()),
        "limits": {span: "no limit" if limit is None else f"{limit:,}" for span, limit in limits.items()},
        "accounts": [
            {
                "account": row["account"],
                "day": f"{row['day_calls']:,}",
                "month": f"{row['month_calls']:,}",
                "is_spent": any(
                    limit is not None and row[f"{span}_calls"] >= limit for span, limit in limits.items()
                ),
            }
            for row in found["calls"]
        ],
    }


@post("/checks", include_in_schema=False)
async def send_file(request: ConsoleRequest) -> Template | Redirect:
    """Check the accounts and names of a file."""
    try:
        form, content = await forms.fields_and_file(request)
        query = {"account": form.get("account") or "default"}
        made = await send_bytes(request, "/api/vop/files", content, query=query)
    except Failed as exc:
        return await _overview(request, failed=forms.of_file(exc))
    return Redirect(f"/checks/{made['id']}?done=check_file_sent", status_code=HTTP_303_SEE_OTHER)


@get("/checks/{key:int}", include_in_schema=False)
async def file_detail(request: ConsoleRequest, key: Key) -> Template:
    """A file: its progress, its report and its rows."""
    return await _file(request, key)


async def _file(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    try:
        file, report, rows = await asyncio.gather(
            call(request, "GET", f"/api/vop/files/{key}"),
            call(request, "GET", f"/api/vop/files/{key}/report"),
            _matching(request, f"/api/vop/files/{key}/rows", f"/checks/{key}", _ROWS),
        )
    except Failed as exc:
        return problem_page(request, exc, title=f"Check file {key}")
    ended = file["checked"] + file["parked"]
    return rendered(
        request,
        "check_file",
        status=failed.status if failed else 200,
        title=f"Check file {key}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        facts=facts(file, "id account row_count checked parked created_by created_at"),
        share=round(100 * ended / file["row_count"]),
        ended=f"{ended:,} of {file['row_count']:,} rows have a result or are given up.",
        is_working=ended < file["row_count"],
        report=_report(report),
        rows=rows,
    )


@post("/checks/{key:int}/remove", include_in_schema=False)
async def remove_file(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Remove a file with its results."""
    try:
        await call(request, "DELETE", f"/api/vop/files/{key}")
    except Failed as exc:
        return await _file(request, key, failed=exc)
    return Redirect("/checks?done=check_file_removed", status_code=HTTP_303_SEE_OTHER)


@get("/uploads/{key:int}/checks", include_in_schema=False)
async def of_upload(request: ConsoleRequest, key: Key) -> Template:
    """The checks of an upload: how far, what was answered by bank, each check, and the order of more."""
    return await _of_upload(request, key)


async def _of_upload(request: ConsoleRequest, key: int, *, failed: Failed | None = None) -> Template:
    at = f"/uploads/{key}/checks"
    try:
        rows, report, budget, accounts = await asyncio.gather(
            _matching(request, f"/api/uploads/{key}/vop", at, _CHECKS),
            part(request, f"/api/uploads/{key}/vop/report"),
            part(request, "/api/vop/budget"),
            own_accounts(request),
        )
    except Failed as exc:
        return problem_page(request, exc, title=f"Name checks of upload {key}")
    counts = rows["found"]
    results = sum(counts["results"].values())
    requested = counts["waiting"] + counts["parked"] + results
    total = requested + counts["unrequested"]
    return rendered(
        request,
        "upload_checks",
        status=failed.status if failed else 200,
        title=f"Name checks of upload {key}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        key=key,
        coverage=f"{requested:,} of {total:,} debtors have a check"
        + (f", which is {100 * requested / total:.1f} %." if total else "."),
        is_working=counts["waiting"] > 0,
        cards=[
            {"title": title, "count": f"{count:,}", "query": query, "tone": tone}
            for title, count, query, tone in (
                ("waiting", counts["waiting"], "status=waiting", "waiting"),
                ("without an answer for a day", counts["parked"], "status=parked", "bad"),
                *(
                    (result.replace("_", " "), counts["results"].get(result, 0), f"result={result}", tone)
                    for result, tone in _RESULTS.items()
                ),
            )
            if count
        ],
        report=_report(report),
        budget=_budget(budget),
        accounts=accounts,
        rows=rows,
    )


@post("/uploads/{key:int}/checks", include_in_schema=False)
async def request_checks(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Request checks of all debtors of an upload, or of a share of them."""
    form = await forms.fields(request)
    try:
        query = {
            "share": _share(form.get("share", "")),
            "again": form.get("again") == "on",
            "account": form.get("account") or "default",
        }
        done = await call(request, "POST", f"/api/uploads/{key}/vop", query=query)
    except Failed as exc:
        return await _of_upload(request, key, failed=exc)
    word = "checks_requested" if done["requested"] else "checks_none"
    return Redirect(f"/uploads/{key}/checks?done={word}", status_code=HTTP_303_SEE_OTHER)


def _share(text: str) -> float:
    """A share of the debtors that was typed in percent."""
    try:
        share = float(text.replace(",", ".")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        why = "Write the share in percent, above 0 and at most 100, e.g. 10."
        raise Failed(422, why, [{"field": "share", "text": why}])
    return share


async def _matching(
    request: ConsoleRequest, api: str, page: str, columns: tuple[Column, ...]
) -> dict[str, Any]:
    """
    The checks that match the filters of the address, for the templates.

    Returns:
        Filters, table, how many match, the next page, the CSV, and `found`: what the API answered.
    """
    chosen = {
        entry.name: value
        for entry in _FILTERS
        if request.scope["method"] != "POST" and (value := request.query_params.get(entry.name, "").strip())
    }
    cursor = request.query_params.get("cursor")
    found, count = await asyncio.gather(
        call(request, "GET", api, query={**chosen, "cursor": cursor}),
        part(request, api, {**chosen, "format": "count"}),
    )
    checks = found.get("checks", found)
    listing = Listing(page, api, "", "", columns, empty="Nothing matches.")
    return {
        "found": found,
        "page": page,
        "filters": [
            {
                "name": entry.name,
                "title": entry.title,
                "choices": entry.choices,
                "value": chosen.get(entry.name, ""),
            }
            for entry in _FILTERS
        ],
        "is_filtered": bool(chosen),
        "is_first_page": cursor is None,
        "count": count and f"{'More than ' if count['more'] else ''}{count['count']:,}",
        "table": table(checks["items"], listing),
        "csv": f"{api}?{urlencode({**chosen, 'format': 'csv'})}" if checks["items"] else "",
        "first": f"{page}?{urlencode(chosen)}" if chosen else page,
        "next": urlencode({**chosen, "cursor": checks["next"]}) if checks["next"] else "",
    }


def _report(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What was answered about names, for the templates; `None` where it could not be read."""
    if found is None:
        return None
    total = sum(found["names"].values())
    return {
        "is_any": total > 0,
        "cards": [
            {
                "title": title,
                "tone": tone,
                "count": f"{found['names'][name]:,}",
                "share": f"{100 * found['names'][name] / total:.1f} %" if total else "",
            }
            for name, title, tone in _MATCHES
        ],
        "reused": f"{found['reused']:,}",
        "banks": [
            {
                "title": bank["bank_name"] or bank["bank"] or "No known bank",
                "counts": [f"{bank['names'][name]:,}" for name, _, _ in _MATCHES],
            }
            for bank in found["banks"]
        ],
        "titles": [title for _, title, _ in _MATCHES],
    }


HANDLERS: Final = [
    overview,
    send_file,
    file_detail,
    remove_file,
    of_upload,
    request_checks,
]
