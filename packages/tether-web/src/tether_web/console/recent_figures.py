"""Figures of today and of the last 30 days, for the overview."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Request

from tether_web.console import formats
from tether_web.console.api import part

__all__ = ["recent", "written"]

DAYS: Final = 30
# The box of the small chart.
_SPARK_WIDTH: Final = 120
_SPARK_HEIGHT: Final = 24


async def recent(request: Request[Any, Any, Any], *, scope: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """
    Today and the last 30 days by currency, for the overview; `None` where they could not be read.

    Money is that of the days on which it moved; the return rate is that of the debits made in the 30 days.

    Args:
        scope: The filter by account of a person who is limited to some; empty for others.
    """
    today: date = request.app.state.clock().astimezone(UTC).date()
    month = {"from": (today - timedelta(days=DAYS - 1)).isoformat(), "to": today.isoformat(), **scope}
    moved, made = await asyncio.gather(
        part(request, "/api/figures", {**month, "by": "day", "basis": "cash"}),
        part(request, "/api/figures", month),
    )
    if moved is None or made is None:
        return None
    rates = {total["currency"]: total["return_rate"] for total in made["totals"]}
    found = []
    for total in moved["totals"]:
        currency = total["currency"]
        days = {row["key"]: row for row in moved["groups"] if row["currency"] == currency}
        nets = [
            days.get((today - timedelta(days=ago)).isoformat(), {}).get("net_minor", 0)
            for ago in reversed(range(DAYS))
        ]
        found += [
            {
                "title": "Today",
                "query": urlencode({"basis": "cash", **month, "from": month["to"]}),
                **written(days.get(today.isoformat()) or _nothing(currency)),
                "spark": None,
            },
            {
                "title": f"{DAYS} days",
                "query": urlencode({"basis": "cash", "by": "day", **month}),
                **written({**total, "return_rate": rates.get(currency)}),
                "spark": _spark(nets),
            },
        ]
    return found


def _nothing(currency: str) -> dict[str, Any]:
    none = {"count": 0, "amount_minor": 0}
    return {
        "currency": currency,
        "collected": none,
        "returned": none,
        "refunded": none,
        "net_minor": 0,
        "return_rate": None,
    }


def _spark(values: Sequence[int]) -> str:
    """The points of a line through *values*, in the box of the overview's small chart."""
    low, high = min(0, *values), max(1, *values)
    step = _SPARK_WIDTH / (len(values) - 1)
    points = (
        f"{at * step:.1f},{_SPARK_HEIGHT * (high - value) / (high - low):.1f}"
        for at, value in enumerate(values)
    )
    return " ".join(points)


def written(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A figure of the API as text."""
    currency = figure["currency"]
    rate = figure["return_rate"]
    return {
        "currency": currency,
        **{
            kind: {
                "count": f"{figure[kind]['count']:,}",
                "amount": formats.money(figure[kind]["amount_minor"], currency),
            }
            for kind in ("collected", "returned", "refunded")
        },
        "net": formats.money(figure["net_minor"], currency),
        "rate": "" if rate is None else f"{100 * rate:.2f} %",
    }
