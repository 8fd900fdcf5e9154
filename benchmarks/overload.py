"""
`python -m benchmarks overload`: twice the sustainable rate while the inbox is slow; 503 at once, bounded memory, no crash.

The inbox is locked for half of the time. First a few connections, for whom there is always room to wait, find out how many
notifications a second can be taken in like that. Then many connections send twice as many, by the clock, for two minutes.
"""

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import msgspec
from tether_sandbox.chaos.load import Load, accepts_all, slow_inbox
from tether_sandbox.services.waiting import eventually
from tether_sandbox.settings import PASSWORD

from benchmarks import plots
from benchmarks.environment import environment
from benchmarks.memory import Course, watched
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_WAITING_MAX = 200
_FEW, _MANY = 100, 600
_CALIBRATE_S = 10.0
_GROWTH_MAX_MIB = 100.0
_BACK_MAX_S = 10.0
_REFUSED_MAX_S = 0.75


class _Found(msgspec.Struct):
    sustainable: float
    load: Load
    lasted_s: float
    back_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="ten seconds, to see that it works")
    parser.add_argument("--seconds", type=float, default=120, help="how long (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when the node lived through it as it should."""
    seconds = 10.0 if args.short else args.seconds
    with environment() as it:
        it.environ["TETHER_WAITING_MAX"] = str(_WAITING_MAX)
        web = it.start_web(workers=1)
        port = urlsplit(it.url).port
        assert port is not None
        with watched({"web": web.pid}, every_s=0.5) as courses:
            found = asyncio.run(_overloaded(port, it.environ["DATABASE_URL"], seconds=seconds))
        lived = web.returncode is None and "internal error" not in web.stderr
    name = "overload-short" if args.short else "overload"
    grown = max(max(course.rss_mib) - course.rss_mib[0] for course in courses)
    judged = _aims(found, grown=grown, lived=lived)
    lines = heading(f"Overload: twice what can be taken in for {seconds:.0f} s", seed=1)
    write(name, lines + _report(found) + aims(judged))
    _plot(name, courses)
    return 0 if all(aim.met for aim in judged) else 1


async def _overloaded(port: int, database_url: str, *, seconds: float) -> _Found:
    async with (
        slow_inbox(database_url),
        Load(port, connections=_FEW, password=PASSWORD, seed=1) as few,
    ):
        began = time.monotonic()
        await asyncio.sleep(_CALIBRATE_S)
        sustainable = few.answers[200] / (time.monotonic() - began)
    began = time.monotonic()
    load = Load(port, connections=_MANY, password=PASSWORD, seed=2, rate=2 * sustainable)
    async with slow_inbox(database_url), load:
        await asyncio.sleep(seconds)
        lasted_s = time.monotonic() - began
    ended = time.monotonic()
    await eventually(
        lambda: accepts_all(port, password=PASSWORD), what="normal service", timeout_s=60, despite=(OSError,)
    )
    return _Found(sustainable, load, lasted_s, time.monotonic() - ended)


def _aims(found: _Found, *, grown: float, lived: bool) -> list[Aim]:
    load = found.load
    refused = load.answers[503]
    others = sum(load.answers.values()) - load.answers[200] - refused
    refused_s = median(load.refused_after_s) if load.refused_after_s else 0.0
    return [
        Aim("answered 503, some", refused, refused > 0),
        Aim("of these without Retry-After, 0", load.without_retry_after, load.without_retry_after == 0),
        Aim("other answers than 200 and 503, 0", others, others == 0),
        Aim("connections without an answer, 0", load.broken, load.broken == 0),
        Aim(f"median time until a refusal, below {_REFUSED_MAX_S} s", refused_s, refused_s < _REFUSED_MAX_S),
        Aim(f"growth of memory, below {_GROWTH_MAX_MIB:.0f} MiB", grown, grown < _GROWTH_MAX_MIB),
        Aim("the node stayed up, without an internal error, 1", int(lived), lived),
        Aim(f"back to normal, within {_BACK_MAX_S:.0f} s", found.back_s, found.back_s < _BACK_MAX_S),
    ]


def _report(found: _Found) -> list[str]:
    load = found.load
    answered = sum(load.answers.values())
    lines = prose(
        f"One web process that lets {_WAITING_MAX} notifications wait, the inbox locked for half of each second. {_FEW}",
        f"connections were taken in at {found.sustainable:.0f}/s; then {_MANY} connections sent twice that.",
    )
    return lines + table(
        ("per second", "found"),
        [
            ("sustainable", found.sustainable),
            ("offered", 2 * found.sustainable),
            ("answered", answered / found.lasted_s),
            ("200", load.answers[200] / found.lasted_s),
            ("503", load.answers[503] / found.lasted_s),
        ],
    )


def _plot(name: str, courses: list[Course]) -> Path:
    held = {course.label: (course.at_s, course.rss_mib) for course in courses if len(course.at_s) > 4}
    return plots.lines(name, {"resident memory, MiB": held}, across="seconds")
