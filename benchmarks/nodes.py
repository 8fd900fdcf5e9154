"""Measure one web process alone, one behind nginx, and two behind nginx."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from benchmarks import nginx
from benchmarks.environment import Environment
from benchmarks.loaded import RATE, Amount, Loaded, alone, loaded, middle, quantile, ratio, turned
from benchmarks.results import prose, table

__all__ = ["measured", "report"]

_Way: TypeAlias = Callable[[Environment, Amount, int], Loaded]


def measured(on: Environment, amount: Amount, *, rounds: int, seed: int) -> dict[str, list[Loaded]]:
    """
    Measure each way in turns; those with nginx only where it is installed.

    Args:
        on: An empty database.
        amount: How much is sent in a turn.
        rounds: How often.
        seed: Of the payments.

    Returns:
        What each way gave, one per round.
    """
    ways: dict[str, _Way] = {"1": lambda on, amount, number: alone(on, amount, number=number)}
    if nginx.found():
        ways |= {"1 behind nginx": _behind(1), "2 behind nginx": _behind(2)}
    fields: dict[str, list[Loaded]] = {name: [] for name in ways}
    number = seed * 100_000
    for run_of in range(rounds):
        for name, way in turned(ways, run_of):
            sys.stderr.write(f"round {run_of + 1}/{rounds}: web processes: {name}\n")
            number += 1
            fields[name].append(way(on, amount, number))
    return fields


def report(result: Mapping[str, Sequence[Loaded]]) -> list[str]:
    """The result as Markdown."""
    first = next(iter(result.values()))
    lines = ["## From one web process to two", ""]
    if len(result) == 1:
        lines += prose("nginx is **not available** here, so there is nothing to put two of them behind.")
    lines += prose(
        "The load generator, nginx, Postgres, Redis and the worker use the same cores, so a second process can only take what",
        "they leave. CPU is per answer at saturation.",
    )
    return lines + table(
        (
            "web processes",
            "answers/s",
            "ratio",
            f"p95 ms at {RATE}/s",
            "web CPU us",
            "nginx CPU us",
            "all CPU us",
            "failures",
        ),
        [
            (
                name,
                round(middle(rounds, lambda item: item.full.per_s)),
                ratio(rounds, first, lambda item: item.full.per_s),
                middle(rounds, quantile("p95_ms")),
                round(middle(rounds, _web_us)),
                round(middle(rounds, lambda item: item.full.cost.us.get("nginx", 0.0))),
                round(middle(rounds, lambda item: item.full.cost.total_us)),
                sum(item.failures for item in rounds),
            )
            for name, rounds in result.items()
        ],
    )


def _web_us(item: Loaded) -> float:
    return sum(us for program, us in item.full.cost.us.items() if program.startswith("web"))


def _behind(count: int) -> _Way:
    """Give what loads *count* web processes behind nginx."""

    def way(on: Environment, amount: Amount, number: int) -> Loaded:
        programs: dict[str, int] = {}
        urls: list[str] = []
        with contextlib.ExitStack() as stack:
            for place in range(count):
                web = on.start_web(workers=1)
                stack.callback(web.kill)
                programs[f"web {place + 1}"] = web.pid
                urls.append(on.url)
            url, programs["nginx"] = stack.enter_context(nginx.proxied(on, urls))
            return loaded(on, url, programs, amount, number=number)

    return way
