"""The tables and the plot of `webhooks`: figures beside each other, and Tether's over those of the others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import plots
from benchmarks.load import generator
from benchmarks.results import Aim, aims, prose, table
from benchmarks.turns import RATES, Length, Turn
from benchmarks.variants import ALL

__all__ = ["plot", "report"]

_Turns = Mapping[str, Sequence[Turn]]
_Figure = Callable[[Turn], float]

_TITLES = {one.name: one.title for one in ALL}
_QUANTILES = ("p50_ms", "p95_ms", "p99_ms")


def report(
    turns: _Turns, absent: Mapping[str, str], length: Length, *, rounds: int, connections: Sequence[int]
) -> list[str]:
    """
    The result as Markdown.

    Args:
        turns: By variant, one per round.
        absent: Variants that could not be measured, and why.
        length: Of the parts of a turn.
        rounds: How many there were.
        connections: At saturation.

    Returns:
        Lines.
    """
    counts = " and over ".join(map(str, connections))
    lines = prose(
        f"{rounds} rounds. Each turn: {length.held_s:g} s at each rate, then {length.full_s:g} s at saturation over",
        f"{counts} connections. One server process and one worker program each; Postgres, Redis (append-only file)",
        f"and the load generator share the machine. At saturation the load comes from {generator()}, at fixed rates from",
        "benchmarks/driver.py.",
    )
    lines += [
        *(line for count in connections for line in _saturation(turns, count)),
        *_rates(turns),
        *(f"- {_TITLES[name]}: **not available**: {why}" for name, why in absent.items()),
        "",
    ]
    return [*lines, *aims(_aims(turns, connections))] if "ours" in turns else lines


def plot(turns: _Turns, name: str, *, connections: Sequence[int]) -> Path:
    """Draw the figures that decide, from the slowest to the quickest at saturation over the most connections."""
    most = max(connections)
    per_s, cpu_us = _saturated(most)
    panels: dict[str, _Figure] = {
        f"answers per second over {most} connections": per_s,
        f"server CPU per answer over {most} connections, microseconds": cpu_us,
        "p99 at 1,000/s, milliseconds": lambda one: one.held[1_000].sent.p99_ms,
    }
    order = sorted(turns, key=lambda one: _median(turns[one], per_s))
    return plots.bars(
        name,
        [_TITLES[one].replace("**", "") for one in order],
        {title: [_median(turns[one], figure) for one in order] for title, figure in panels.items()},
        marked=_TITLES["ours"].replace("**", ""),
    )


def _saturation(turns: _Turns, connections: int) -> list[str]:
    per_s, cpu_us = _saturated(connections)
    lines = [f"## At saturation, over {connections} connections", ""]
    lines += prose(
        "Ratios are Tether's figure over that of the row, made within each round: the median, and the lowest to the highest.",
        '"CPU" is that of the server\'s processes per answer, the lowest of the rounds; "all CPU" counts the worker, Postgres',
        "and Redis too, for as many jobs as the worker did meanwhile.",
    )
    lines += table(
        (
            "variant",
            "answers/s",
            "Tether's : its",
            *(name.replace("_", " ") for name in _QUANTILES),
            "CPU us",
            "Tether's CPU : its",
            "all CPU us",
            "failures",
        ),
        [
            (
                _TITLES[name],
                round(_median(told, per_s)),
                _ratio(turns, name, per_s),
                *(
                    float(median(getattr(one.full[connections], field) for one in told))
                    for field in _QUANTILES
                ),
                round(min(cpu_us(one) for one in told)),
                _ratio(turns, name, cpu_us),
                round(min(one.full[connections].cost.total_us for one in told)),
                sum(one.full[connections].failures for one in told),
            )
            for name, told in turns.items()
        ],
    )
    busy = max((one.full[connections].driver_busy for told in turns.values() for one in told), default=0.0)
    lines += prose(f"The generator used at most {busy:.2f} of a core.")
    repeated = [
        _TITLES[name]
        for name, told in turns.items()
        if not name.startswith("floor") and any(one.full[connections].repeated_bodies for one in told)
    ]
    return (
        [*lines, *prose("The bodies did not suffice, and were sent again, for:", *repeated)]
        if repeated
        else lines
    )


def _rates(turns: _Turns) -> list[str]:
    lines = ["## At fixed rates", ""]
    lines += prose(
        "Milliseconds from the moment a request was due to its answer, medians of the rounds; CPU is the lowest of the rounds.",
        '"Waiting" is what the worker had not begun at the end, at most. "Driver late" is how late the driver itself was with a',
        "request, 99th percentile of the worst round: where it is large, the machine was busy with other things.",
    )
    return lines + table(
        (
            "variant",
            "rate/s",
            *(name.replace("_", " ") for name in _QUANTILES),
            "Tether's p99 : its",
            "CPU us",
            "all CPU us",
            "waiting",
            "failures",
            "driver late ms",
        ),
        [
            (
                _TITLES[name],
                rate,
                *(float(median(getattr(one.held[rate].sent, field) for one in told)) for field in _QUANTILES),
                _ratio(turns, name, lambda one, rate=rate: one.held[rate].sent.p99_ms),  # type: ignore[misc]
                round(min(one.held[rate].cost.us["server"] for one in told)),
                round(min(one.held[rate].cost.total_us for one in told)),
                max(one.waiting[rate] for one in told),
                sum(one.held[rate].sent.failures for one in told),
                max(one.held[rate].sent.late_ms for one in told),
            )
            for rate in RATES
            for name, told in turns.items()
        ],
    )


def _aims(turns: _Turns, connections: Sequence[int]) -> list[Aim]:
    """What is aimed at; aims whose peer is absent are left out."""
    found = []
    for count in connections:
        per_s, cpu_us = _saturated(count)
        over = f"over {count} connections"
        for name, least in (("fastapi_arq", 5.0), ("fastify", 1.3), ("floor-redis", 1.0)):
            if name in turns:
                ratio = median(_ratios(turns, name, per_s))
                found.append(
                    Aim(f"answers/s {over}, Tether : {name}, at least {least}", ratio, ratio >= least)
                )
        if "floor" in turns:
            ratio = median(_ratios(turns, "floor", cpu_us))
            found.append(Aim(f"CPU per answer {over}, Tether : floor, at most 3", ratio, ratio <= 3))
    p99_ms = _median(turns["ours"], lambda one: one.held[1_000].sent.p99_ms)
    found.append(Aim("Tether's p99 at 1,000/s, below 10 ms", p99_ms, p99_ms < 10))
    return found


def _saturated(connections: int) -> tuple[_Figure, _Figure]:
    """Answers per second, and CPU of the server's processes per answer, at saturation over so many connections."""
    return (lambda one: one.full[connections].per_s), (lambda one: one.full[connections].cost.us["server"])


def _median(told: Sequence[Turn], figure: _Figure) -> float:
    return median(figure(one) for one in told)


def _ratios(turns: _Turns, name: str, figure: _Figure) -> list[float]:
    return [figure(our) / figure(its) for our, its in zip(turns["ours"], turns[name], strict=True)]


def _ratio(turns: _Turns, name: str, figure: _Figure) -> str:
    if "ours" not in turns:
        return "-"
    found = _ratios(turns, name, figure)
    if len(found) == 1:
        return f"{found[0]:.2f}"
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
