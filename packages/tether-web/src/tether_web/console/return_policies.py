"""The console's pages of the return policy: its versions, one version with its rules, and forms that make, try and switch one."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

from litestar import get, post
from litestar.params import Parameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call
from tether_web.console.pages import ConsoleRequest, rendered

__all__ = ["HANDLERS"]

Version = Annotated[int, Parameter(ge=0, le=2**31 - 1)]


@get("/return-policies", include_in_schema=False)
async def listed(request: ConsoleRequest) -> Template:
    """The versions, and who switched which one on."""
    return await _list(request)


@get("/return-policies/{version:int}", include_in_schema=False)
async def policy_version(request: ConsoleRequest, version: Version) -> Template:
    """One version with its rules, what it changes, and its last dry run."""
    return await _page(request, version)


@post("/return-policies", include_in_schema=False)
async def add(request: ConsoleRequest) -> Template | Redirect:
    """Make a version that differs in one rule; further rules by a further version."""
    form = await forms.fields(request)
    rule = {"action": form.get("action", ""), "retries": _whole(form.get("retries", "0"))}
    body = {
        "based_on": _whole(form.get("based_on", "0")),
        "rules": {form.get("code", "").strip().upper(): rule},
        "reason": form.get("reason", ""),
    }
    try:
        made = await call(request, "POST", "/api/return-policies", body=body)
    except Failed as exc:
        return await _list(request, failed=exc)
    return _redirect(made["version"], "policy_added")


@post("/return-policies/{version:int}/dry-run", include_in_schema=False)
async def dry_run(request: ConsoleRequest, version: Version) -> Template | Redirect:
    """Try a version over the returns of the last year."""
    try:
        await call(request, "POST", f"/api/return-policies/{version}/dry-run", body={})
    except Failed as exc:
        return await _page(request, version, failed=exc)
    return _redirect(version, "policy_tried")


@post("/return-policies/{version:int}/switch", include_in_schema=False)
async def switch(request: ConsoleRequest, version: Version) -> Template | Redirect:
    """Switch a version on."""
    form = await forms.fields(request)
    body = {"active": _whole(form.get("active", "")), "reason": form.get("reason", "")}
    try:
        await call(request, "POST", f"/api/return-policies/{version}/switch", body=body)
    except Failed as exc:
        return await _page(request, version, failed=exc)
    return _redirect(version, "policy_switched")


def _redirect(version: int, done: str) -> Redirect:
    return Redirect(f"/return-policies/{version}?done={done}", status_code=HTTP_303_SEE_OTHER)


def _whole(text: str) -> int | str:
    # The API refuses what is no number, in its own words.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else text


async def _list(request: ConsoleRequest, *, failed: Failed | None = None) -> Template:
    try:
        versions, switches = await asyncio.gather(
            call(request, "GET", "/api/return-policies"),
            call(request, "GET", "/api/return-policies/switches"),
        )
    except Failed as exc:
        return _problem_page(request, exc)
    return rendered(
        request,
        "return_policies",
        status=failed.status if failed else 200,
        title="Return policy",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        versions=versions,
        switches=switches,
        active=next(version["version"] for version in versions if version["active"]),
    )


async def _page(request: ConsoleRequest, version: int, *, failed: Failed | None = None) -> Template:
    try:
        found = await call(request, "GET", f"/api/return-policies/{version}")
    except Failed as exc:
        return _problem_page(request, exc)
    tried = found["dry_run"]
    return rendered(
        request,
        "return_policy",
        status=failed.status if failed else 200,
        title=f"Return policy, version {version}",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        policy=found,
        tried=tried,
        results=[_result(result) for result in tried["result"]["currencies"]] if tried else [],
    )


def _problem_page(request: ConsoleRequest, exc: Failed) -> Template:
    return rendered(request, "problem", status=exc.status, title="Not shown", problem={"detail": exc.detail})


def _result(result: Mapping[str, Any]) -> dict[str, str]:
    currency = result["currency"]
    return {
        "currency": currency,
        "collected": _range(result["collected"], currency),
        "returned": _range(result["returned"], currency),
        "blocked": f"{_moved(result['blocked'], currency)} of accounts",
        "tries": _moved(result["tries"], currency),
    }


def _moved(moved: Mapping[str, int], currency: str) -> str:
    return f"{moved['count']:+,} ({formats.money(moved['amount_minor'], currency)})"


def _range(found: Mapping[str, Any] | None, currency: str) -> str:
    if found is None:
        return "unknown: no debit was tried again before"
    text = _moved(found["expected"], currency)
    if found["low"] == found["high"]:
        return text
    return f"{text}, between {_moved(found['low'], currency)} and {_moved(found['high'], currency)}"


HANDLERS: Final = [listed, policy_version, add, dry_run, switch]
