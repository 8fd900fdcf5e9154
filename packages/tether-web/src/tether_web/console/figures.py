"""The page of figures: sums with a trend, ageing curves, exposure."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, get_args
from urllib.parse import urlencode

from litestar import get
from litestar.response import Template
from tether_core.figures import PRICE_BANDS, Basis, By

from tether_web.console import formats
from tether_web.console.api import Failed, call, part
from tether_web.console.pages import ConsoleRequest, own_scope, rendered
from tether_web.console.plots import epochs, plot, units
from tether_web.console.recent_figures import written

__all__ = ["HANDLERS"]

_FILTERS: Final = (
    *("by", "basis", "from", "to", "account", "currency", "country", "bank", "price_band", "upload", "run"),
)
# What other parts of the page are filtered by as well.
_EXPOSED: Final[tuple[str, ...]] = ("account", "upload")
# Uploads with their exposure on the page; the file has all.
_UPLOADS_MAX: Final = 20


@get("/figures", include_in_schema=False)
async def figures(request: ConsoleRequest) -> Template:
    """Sums by a dimension, with their trend, the curves of an upload, and what may still go back."""
    today: datetime = request.app.state.clock()
    given = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    if not request.query_params:
        given |= {"by": "month", "from": (today - timedelta(days=365)).date().isoformat()}
    given["account"] = given["account"] or own_scope(request).get("account", "")
    chosen = {name: value for name, value in given.items() if value}
    exposed: dict[str, str] = {name: chosen[name] for name in _EXPOSED if name in chosen}
    by = chosen.get("by", "total")
    try:
        page = await call(request, "GET", "/api/figures", query=chosen)
        problem, status = None, 200
    except Failed as exc:
        page, status = {"totals": [], "groups": [], "more": False}, exc.status
        problem = {"detail": exc.detail, "errors": exc.errors}
    trend, exposure, ageing = await asyncio.gather(
        _trend(request, chosen, page if by in {"day", "month"} else None),
        part(request, "/api/figures/exposure", exposed),
        _ageing(request, chosen),
    )
    return rendered(
        request,
        "figures",
        status=status,
        title="Figures",
        problem=problem,
        choices={"by": list(get_args(By)), "basis": list(get_args(Basis))},
        price_bands=[{"value": str(lower), "title": _priced_text(lower)} for lower in PRICE_BANDS],
        given=given,
        by=formats.title(by),
        totals=[written(total) for total in page["totals"]],
        groups=[{**written(group), **_leads(by, group["key"], chosen)} for group in page["groups"]],
        more=page["more"],
        csv=f"/api/figures?{urlencode({**chosen, 'format': 'csv'})}",
        trend=trend,
        exposure=exposure and _exposed(exposure),
        exposure_csv=f"/api/figures/exposure?{urlencode({'days': 430, **exposed, 'format': 'csv'})}",
        exposed_csv=f"/api/figures/exposure?{urlencode({'by': 'upload', **exposed, 'format': 'csv'})}",
        ageing=ageing,
        ageing_csv=f"/api/figures/ageing?{urlencode({'upload': chosen.get('upload', ''), 'format': 'csv'})}",
    )


def _leads(by: str, key: str, chosen: Mapping[str, str]) -> dict[str, str]:
    """Where a group leads to: the name it is shown under, its rows, and the figures narrowed to it."""
    filters = {
        name: chosen[name] for name in ("account", "upload", "run", "country", "bank") if name in chosen
    }
    if chosen.get("basis") != "cash":
        filters |= _made(chosen.get("from"), chosen.get("to"))
    if "price_band" in chosen:
        filters |= _priced(chosen["price_band"])
    text = key or "not known"
    if by == "day" and chosen.get("basis") != "cash":
        filters |= _made(key, key)
    elif by == "month" and chosen.get("basis") != "cash":
        first = date.fromisoformat(f"{key}-01")
        filters |= _made(
            key + "-01", ((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).isoformat()
        )
    elif by == "price_band":
        filters |= _priced(key)
        text = _priced_text(int(key))
    elif by in {"account", "upload", "run", "country", "bank", "reason_code"} and key:
        filters[by] = key
    is_led = bool(filters) and bool(key or by == "total")
    return {"key": text, "rows": f"/payments?{urlencode(filters)}" if is_led else ""}


def _made(from_on: str | None, to_on: str | None) -> dict[str, str]:
    """The filters of debits that were made on some days of UTC."""
    made = {}
    if from_on:
        made["created_from"] = f"{from_on}T00:00:00Z"
    if to_on:
        made["created_to"] = f"{(_day(to_on) + timedelta(days=1)).isoformat()}T00:00:00Z"
    return made


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return date.max - timedelta(days=1)  # the API has refused it, with a sentence


def _priced(key: str) -> dict[str, str]:
    higher = [bound for bound in PRICE_BANDS if key.isascii() and key.isdigit() and bound > int(key)]
    return {"amount_min_minor": key, **({"amount_max_minor": str(higher[0] - 1)} if higher else {})}


def _priced_text(lower: int) -> str:
    higher = [bound for bound in PRICE_BANDS if bound > lower]
    return f"{lower / 100:,.2f} to {(higher[0] - 1) / 100:,.2f}" if higher else f"{lower / 100:,.2f} or more"


async def _trend(
    request: ConsoleRequest, chosen: Mapping[str, str], page: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Collected, returned and net over time, a plot for each currency."""
    if page is None:
        page = await part(request, "/api/figures", {**chosen, "by": "month"}) or {"groups": []}
    plots = []
    for currency in sorted({row["currency"] for row in page["groups"]}):
        rows = [row for row in page["groups"] if row["currency"] == currency]
        days = [
            date.fromisoformat(row["key"] if len(row["key"]) == 10 else f"{row['key']}-01") for row in rows
        ]
        plots.append(
            plot(
                f"Collected, returned and net in {currency}",
                epochs(days),
                {
                    "Collected": [units(row["collected"]["amount_minor"], currency) for row in rows],
                    "Returned": [units(row["returned"]["amount_minor"], currency) for row in rows],
                    "Net": [units(row["net_minor"], currency) for row in rows],
                },
                is_time=True,
            )
        )
    return plots


async def _ageing(request: ConsoleRequest, chosen: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """The curves of the chosen upload and earlier ones, a plot and a table for each currency."""
    if "upload" not in chosen:
        return None
    page = await part(request, "/api/figures/ageing", {"upload": chosen["upload"]})
    if page is None:
        return None
    found = []
    for currency in sorted({curve["currency"] for curve in page["curves"]}):
        curves = [curve for curve in page["curves"] if curve["currency"] == currency]
        ages = sorted({point["age_days"] for curve in curves for point in curve["points"]})
        shares = {
            f"Upload {curve['upload_id']}": {
                point["age_days"]: point["net_share"] for point in curve["points"]
            }
            for curve in curves
        }
        found.append(
            {
                "currency": currency,
                "plot": plot(
                    f"Part of the collected money that was left, by age in days, in {currency}",
                    ages,
                    {name: [points.get(age) for age in ages] for name, points in shares.items()},
                    is_time=False,
                ),
                "curves": [
                    {
                        "upload_id": curve["upload_id"],
                        "age_days": curve["age_days"],
                        "collected": formats.money(curve["collected_minor"], currency),
                        "net": formats.money(curve["net_minor"], currency),
                        "share": f"{100 * curve['net_minor'] / curve['collected_minor']:.2f} %",
                    }
                    for curve in curves
                ],
            }
        )
    return found


def _exposed(page: Mapping[str, Any]) -> dict[str, Any]:
    """Exposure as text, and a plot of the coming days for each currency."""

    def exposed(row: Mapping[str, Any]) -> dict[str, Any]:
        kinds = ("returnable", "refundable", "unauthorised")
        return {
            "upload_id": row["upload_id"],
            **{kind: formats.money(row[kind]["amount_minor"], row["currency"]) for kind in kinds},
        }

    plots = []
    for currency in sorted({row["currency"] for row in page["days"]}):
        days = [row for row in page["days"] if row["currency"] == currency]
        plots.append(
            plot(
                f"Money that may still go back in the coming days, in {currency}",
                epochs([date.fromisoformat(row["day"]) for row in days]),
                {
                    formats.title(kind): [units(row[f"{kind}_minor"], currency) for row in days]
                    for kind in ("returnable", "refundable", "unauthorised")
                },
                is_time=True,
            )
        )
    return {
        "totals": [exposed(row) for row in page["totals"]],
        "uploads": [exposed(row) for row in page["uploads"][:_UPLOADS_MAX]],
        "left_out": max(0, len(page["uploads"]) - _UPLOADS_MAX),
        "plots": plots,
    }


HANDLERS: Final = [figures]
