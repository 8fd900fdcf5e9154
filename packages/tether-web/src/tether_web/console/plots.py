"""Plots: what `static/figures.js` draws, as values. Each page has a table that says the same without it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from tether_web.console import formats

__all__ = ["Shape", "epochs", "plot", "units"]

Shape: TypeAlias = Literal["lines", "bars"]


def plot(
    title: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    *,
    is_time: bool,
    shape: Shape = "lines",
) -> dict[str, Any]:
    """
    A plot.

    Args:
        title: What it shows, with the unit.
        x: n values, ascending; seconds since 1970 where *is_time*.
        series: By name, n values each.
        is_time: Whether the values of *x* are days.
        shape: "bars" for single days with nothing in between.
    """
    drawn = {
        "x": x,
        "names": list(series),
        "series": list(series.values()),
        "is_time": is_time,
        "shape": shape,
    }
    return {"title": title, "data": msgspec.json.encode(drawn).decode()}


def units(amount_minor: int, currency: str) -> float:
    """An amount in whole units, for an axis."""
    return float(formats.decimal(amount_minor, currency))


def epochs(days: Sequence[date]) -> list[float]:
    """Days as seconds since 1970."""
    return [datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in days]
