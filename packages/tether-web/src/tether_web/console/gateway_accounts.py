"""The console's page of gateway accounts: its forms that pause and resume an account, and those of relays."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call, part
from tether_web.console.pages import ConsoleRequest, problem_page, rendered
from tether_web.console.recent_figures import DAYS, written

__all__ = ["HANDLERS"]

Name = Annotated[str, PathParameter(description="The name of a gateway account.")]
# More are not counted.
_OPEN_MAX: Final = 10_000


@get("/gateway-accounts", include_in_schema=False)
async def gateway_accounts(request: ConsoleRequest) -> Template:
    """What each account may do, what it does now, and its money."""
    return await _page(request)


@post("/gateway-accounts/{name:str}/pause", include_in_schema=False)
async def pause(request: ConsoleRequest, name: Name) -> Template | Redirect:
    """Submit nothing more with an account."""
    try:
        body = {"reason": forms.reason(await forms.fields(request))}
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _done(request, name, "pause", body)


@post("/gateway-accounts/{name:str}/resume", include_in_schema=False)
async def resume(request: ConsoleRequest, name: Name) -> Template | Redirect:
    """Submit with an account again."""
    return await _done(request, name, "resume", None)


@post("/relays", include_in_schema=False)
async def create_relay(request: ConsoleRequest) -> Template:
    """Create a relay, and show its address once."""
    form = await forms.fields(request)
    body = {name: form.get(name, "") for name in ("name", "account", "reason")}
    try:
        made = await call(request, "POST", "/api/relays", body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _page(request, made=made)


@post("/relays/revoke", include_in_schema=False)
async def revoke_relay(request: ConsoleRequest) -> Template | Redirect:
    """Revoke a relay."""
    try:
        form = await forms.fields(request)
        relay = forms.whole(form.get("relay", ""), field="relay")
        await call(request, "DELETE", f"/api/relays/{relay}", query={"reason": form.get("reason", "")})
    except Failed as exc:
        return await _page(request, failed=exc)
    return Redirect("/gateway-accounts?done=relay_revoked", status_code=HTTP_303_SEE_OTHER)


async def _done(
    request: ConsoleRequest, name: str, step: str, body: Mapping[str, str] | None
) -> Template | Redirect:
    try:
        await call(request, "POST", f"/api/gateway-accounts/{name}/{step}", body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    return Redirect(f"/gateway-accounts?done=account_{step}d", status_code=HTTP_303_SEE_OTHER)


async def _page(
    request: ConsoleRequest, *, failed: Failed | None = None, made: Mapping[str, Any] | None = None
) -> Template:
    today = request.app.state.clock().date()
    month = {"from": (today - timedelta(days=DAYS - 1)).isoformat(), "to": today.isoformat()}
    try:
        accounts, figures, relays = await asyncio.gather(
            call(request, "GET", "/api/gateway-accounts"),
            part(request, "/api/figures", {**month, "by": "account"}),
            part(request, "/api/relays"),
        )
    except Failed as exc:
        return problem_page(request, exc, title="Gateway accounts")
    return rendered(
        request,
        "gateway_accounts",
        status=failed.status if failed else 200,
        title="Gateway accounts",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        days=DAYS,
        accounts=[_account(account, figures, month) for account in accounts],
        own_accounts=[account["name"] for account in accounts if not account["former_of"]],
        relays=relays,
        made=made,
    )


def _account(
    account: Mapping[str, Any], figures: Mapping[str, Any] | None, month: Mapping[str, str]
) -> dict[str, Any]:
    status = account["status"]
    open_calls = account["open_calls"]
    return {
        **account,
        "state": _state(account),
        "breaker": {"text": status["breaker"].replace("_", " "), "tone": formats.tone(status["breaker"])},
        "breaker_why": _breaker(status),
        "rate": _rate(status),
        "limits": _limits(account),
        "open": f"{open_calls:,}{' or more' if open_calls >= _OPEN_MAX else ''}",
        # `None`: could not be read; an account without debits has no figures.
        "money": None if figures is None else _money(figures["groups"], account["name"]),
        "figures": urlencode({**month, "account": account["name"], "by": "day"}),
    }


def _money(groups: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    return [written(group) for group in groups if group["key"] == name]


def _state(account: Mapping[str, Any]) -> dict[str, str]:
    if account["former_of"]:
        return {"text": f"former login or address of {account['former_of']}", "tone": "plain"}
    if account["paused"]:
        return {"text": "paused", "tone": "bad"}
    return (
        {"text": "active", "tone": "good"} if account["enabled"] else {"text": "disabled", "tone": "waiting"}
    )


def _breaker(status: Mapping[str, Any]) -> str:
    """What the state of a circuit breaker means now, as sentences."""
    if status["breaker"] == "open":
        return (
            f"The gateway failed, so it is not called for {status['open_for_s']:,.0f} s; then one call is a probe."
            f" It opened {status['opened_in_row']} times in a row."
        )
    if status["breaker"] == "half_open":
        return "The gateway failed lately. One call at a time is made as a probe; three good ones close the breaker."
    if status["breaker"] == "unknown":
        return "Redis does not answer, so each worker keeps to a small share of the rate, with a breaker of its own."
    if not status["calls"]:
        return "It was not called in the last seconds."
    return f"{status['failures']:,} of the last {status['calls']:,} calls failed."


def _rate(status: Mapping[str, Any]) -> str:
    """What of the rate may be used, as a sentence; "" for all of it."""
    if status["paused_for_s"]:
        return f"The gateway asked for a pause, which ends in {status['paused_for_s']:,.0f} s."
    if status["rate_part"] < 1:
        return f"The gateway answered 429, so {100 * status['rate_part']:.0f} % of the rate is used."
    return ""


def _limits(account: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rate and limits, as label and value."""
    limits = [
        ("Debits, refunds and voids", f"{account['billing_per_s']:g} a second"),
        ("Status inquiries", f"{account['reconciliation_per_s']:g} a second"),
    ]
    if account["debit_max_minor"] is not None:
        limits.append(("Largest debit", formats.money(account["debit_max_minor"], "EUR")))
    if account["day_count_max"] is not None:
        limits.append(("Debits a day", f"{account['day_count_max']:,} at most"))
    if account["day_amount_max_minor"] is not None:
        limits.append(("Money a day", f"{formats.money(account['day_amount_max_minor'], 'EUR')} at most"))
    return [{"title": title, "text": text} for title, text in limits]


HANDLERS: Final = [gateway_accounts, pause, resume, create_relay, revoke_relay]
