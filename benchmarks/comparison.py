"""The tables and the plot of `webhooks`: the figures of all variants, and their ratios to Tether's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import plots
from benchmarks.load import generator
from benchmarks.results import Aim, aims, prose, table
from benchmarks.turns import RATES, Length, Run
from benchmarks.variants import ALL

__all__ = ["plot", "report"]

_Runs = Mapping[str, Sequence[Run]]
_Figure = Callable[[Run], float]

_TITLES = {item.name: item.title for item in ALL}
_QUANTILES = ("p50_ms", "p95_ms", "p99_ms")


def report(
    runs: _Runs, absent: Mapping[str, str], length: Length, *, rounds: int, connections: Sequence[int]
) -> list[str]:
    """
    The result as Markdown.

    Args:
        runs: By variant, one per round.
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
        *(line for count in connections for line in _saturation(runs, count)),
        *_rates(runs),
        *(f"- {_TITLES[name]}: **not available**: {why}" for name, why in absent.items()),
        "",
    ]
    return [*lines, *aims(_aims(runs, connections))] if "ours" in runs else lines


def plot(runs: _Runs, name: str, *, connections: Sequence[int]) -> Path:
    """Plot the main figures, from the slowest to the fastest at saturation over the most connections."""
    most = max(connections)
    per_s, cpu_us = _saturated(most)
    panels: dict[str, _Figure] = {
        f"answers per second over {most} connections": per_s,
        f"server CPU per answer over {most} connections, microseconds": cpu_us,
        "p99 at 1,000/s, milliseconds": lambda item: item.held[1_000].sent.p99_ms,
    }
    order = sorted(runs, key=lambda item: _median(runs[item], per_s))
    return plots.bars(
        name,
        [_TITLES[item].replace("**", "") for item in order],
        {title: [_median(runs[item], figure) for item in order] for title, figure in panels.items()},
        marked=_TITLES["ours"].replace("**", ""),
    )


def _saturation(runs: _Runs, connections: int) -> list[str]:
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
                round(_median(result, per_s)),
                _ratio(runs, name, per_s),
                *(
                    float(median(getattr(item.full[connections], field) for item in result))
                    for field in _QUANTILES
                ),
                round(min(cpu_us(item) for item in result)),
                _ratio(runs, name, cpu_us),
                round(min(item.full[connections].cost.total_us for item in result)),
                sum(item.full[connections].failures for item in result),
            )
            for name, result in runs.items()
        ],
    )
    busy = max((item.full[connections].driver_busy for run in runs.values() for item in run), default=0.0)
    lines += prose(f"The generator used at most {busy:.2f} of a core.")
    repeated = [
        _TITLES[name]
        for name, result in runs.items()
        if not name.startswith("floor") and any(item.full[connections].repeated_bodies for item in result)
    ]
    return (
        [*lines, *prose("The bodies did not suffice, and were sent again, for:", *repeated)]
        if repeated
        else lines
    )


def _rates(runs: _Runs) -> list[str]:
    lines = ["## At fixed rates", ""]
    lines += prose(
        "Milliseconds from the time a request was due to its answer, medians of the rounds; CPU is the lowest of the rounds.",
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
                *(
                    float(median(getattr(item.held[rate].sent, field) for item in result))
                    for field in _QUANTILES
                ),
                _ratio(runs, name, lambda item, rate=rate: item.held[rate].sent.p99_ms),  # type: ignore[misc]
                round(min(item.held[rate].cost.us["server"] for item in result)),
                round(min(item.held[rate].cost.total_us for item in result)),
                max(item.waiting[rate] for item in result),
                sum(item.held[rate].sent.failures for item in result),
                max(item.held[rate].sent.late_ms for item in result),
            )
            for rate in RATES
            for name, result in runs.items()
        ],
    )


def _aims(runs: _Runs, connections: Sequence[int]) -> list[Aim]:
    """What is aimed at; aims whose peer is absent are excluded."""
    found = []
    for count in connections:
        per_s, cpu_us = _saturated(count)
        over = f"over {count} connections"
        for name, least in (("fastapi_arq", 5.0), ("fastify", 1.5)):
            if name in runs:
                ratio = median(_ratios(runs, name, per_s))
                found.append(
                    Aim(f"answers/s {over}, Tether : {name}, at least {least:g}", ratio, ratio >= least)
                )
        if "floor-redis" in runs:
            ratio = median(_ratios(runs, "floor-redis", cpu_us))
            found.append(Aim(f"CPU per answer {over}, Tether : floor-redis, at most 1", ratio, ratio <= 1))
        if "fastify" in runs:
            ratio = median(_ratios(runs, "fastify", lambda item, count=count: item.full[count].cost.total_us))  # type: ignore[misc]
            found.append(
                Aim(f"CPU of all programs {over}, Tether : fastify, at most 0.6", ratio, ratio <= 0.6)
            )
    for name, most in (("floor-postgres", 1.2), ("fastify", 1.5)):
        if name in runs:
            found += _times(runs, name, most)
    p99_ms = _median(runs["ours"], lambda item: item.held[1_000].sent.p99_ms)
    found.append(Aim("Tether's p99 at 1,000/s, below 5 ms", p99_ms, p99_ms < 5))
    return found


def _times(runs: _Runs, name: str, most: float) -> list[Aim]:
    """The aims for answer times at fixed rates, beside those of a variant."""
    found = []
    for rate in RATES:
        for field in _QUANTILES:
            ratio = median(
                _ratios(runs, name, lambda item, rate=rate, field=field: getattr(item.held[rate].sent, field))  # type: ignore[misc]
            )
            text = f"{field.removesuffix('_ms')} at {rate:,}/s, Tether : {name}, at most {most:g}"
            found.append(Aim(text, ratio, ratio <= most))
    return found


def _saturated(connections: int) -> tuple[_Figure, _Figure]:
    """Answers per second, and CPU of the server's processes per answer, at saturation over this number of connections."""
    return (lambda item: item.full[connections].per_s), (
        lambda item: item.full[connections].cost.us["server"]
    )


def _median(turns: Sequence[Run], figure: _Figure) -> float:
    return median(figure(turn) for turn in turns)


def _ratios(runs: _Runs, name: str, figure: _Figure) -> list[float]:
    return [figure(our) / figure(its) for our, its in zip(runs["ours"], runs[name], strict=True)]


def _ratio(runs: _Runs, name: str, figure: _Figure) -> str:
    if "ours" not in runs:
        return "-"
    found = _ratios(runs, name, figure)
    if len(found) == 1:
        return f"{found[0]:.2f}"
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
