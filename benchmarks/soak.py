"""
`python -m benchmarks soak`: one rate for a long time, without an error, in flat memory.

Notifications come in an open loop, so a stall shows in the times of all that were due meanwhile. Every few seconds the memory of
every process is sampled. Redis is reported without a goal: it remembers each notification for a day, so it grows by design until it
holds a day's worth.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import backlog, plots
from benchmarks.environment import environment
from benchmarks.load import Held, hold, take
from benchmarks.memory import Course, watched
from benchmarks.results import Aim, aims, heading, prose, table, write
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["add_arguments", "run"]

_PATH = "/api/webhooks/emp"
_WARM_S = 2
_SHORT_S = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help=f"{_SHORT_S} seconds, to see that it works")
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=500, help="per second (default: %(default)s)")
    parser.add_argument("--web", type=int, default=1, help="web processes (default: %(default)s)")
    parser.add_argument(
        "--every", type=float, help="seconds between samples of memory (default: 5, short: 1)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every request was answered, every notification was applied and memory stayed flat."""
    seconds = _SHORT_S if args.short else args.minutes * 60
    every_s = args.every or (1.0 if args.short else 5.0)
    warm, count = _WARM_S * args.rate, int(args.rate * seconds)
    with environment() as it:
        attempts = it.seeded((warm + count) // PER_ATTEMPT + 1, number=args.seed)
        bodies = notifications(attempts, number=args.seed)
        warm_file = take(bodies, warm, it.folder / "warm")
        file = take(bodies, count, it.folder / "bodies")
        web, worker = it.start_web(workers=args.web), it.start_worker("webhooks")
        programs = {"web": web.pid, "worker": worker.pid, **it.stores}
        url = it.url + _PATH
        hold(url, warm_file, rate=args.rate, seconds=_WARM_S, programs={})
        with watched(programs, every_s=every_s) as courses:
            held = hold(
                url, file, rate=args.rate, seconds=seconds, programs=programs, window_s=max(every_s, 1.0)
            )
        backlog.resolved(it)
        left = backlog.waiting(it)
        lived = {"web": web.returncode is None, "worker": worker.returncode is None}
    name = "soak-short" if args.short else "soak"
    lines = heading(f"Soak: {args.rate}/s for {seconds / 60:.3g} minutes", seed=args.seed)
    lines += _report(held, courses, left=left, seconds=seconds, web=args.web)
    judged = [course for course in _lasting(courses, seconds) if course.program != "Redis"]
    grown = [item for item in judged if not item.flat]
    lines += aims(
        [
            Aim("failures, 0", held.sent.failures, held.sent.failures == 0),
            Aim("not applied at the end, 0", left, left == 0),
            Aim(f"of {len(judged)} processes, those whose memory grew, 0", len(grown), not grown),
        ]
    )
    lines += [f"- grew: {item.label}" for item in grown]
    lines += [
        f"- **{program} ended** before the load did"
        for program, payment_histories in lived.items()
        if not payment_histories
    ]
    write(name, lines)
    _plot(name, held, _lasting(courses, seconds))
    return 1 if held.sent.failures or left or grown or not all(lived.values()) else 0


def _lasting(courses: Sequence[Course], seconds: float) -> list[Course]:
    """Those that lived for most of the run; a Postgres starts helpers that come and go."""
    return [course for course in courses if course.lasted_s > seconds * 0.75]


def _report(held: Held, courses: Sequence[Course], *, left: int, seconds: float, web: int) -> list[str]:
    sent = held.sent
    lines = prose(f"Web processes: {web}; workers: 1. Open loop, timed from the time each request was due.")
    lines += table(
        (
            "requests",
            "failures",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
            "worst p99 of a window ms",
            "not applied",
        ),
        [
            (
                sent.requests,
                sent.failures,
                sent.p50_ms,
                sent.p95_ms,
                sent.p99_ms,
                sent.max_ms,
                max((window.p99_ms for window in sent.windows), default=0.0),
                left,
            )
        ],
    )
    if sent.failures:
        lines += prose(f"Other statuses: {sent.statuses}; without an answer: {sent.broken}.")
    lines += table(
        ("program", "CPU us per notification"), [(name, round(us)) for name, us in held.cost.us.items()]
    )
    lasting = _lasting(courses, seconds)
    lines += ["## Memory", ""]
    lines += prose(
        "MiB. Resident memory at the start and the end; private memory as the median of the second and of the last quarter, by",
        f"which a process counts as flat. Processes that came and went, and are excluded: {len(courses) - len(lasting)}.",
    )
    lines += table(
        ("process", "resident, start", "resident, end", "private, warm", "private, end", "flat"),
        [
            (
                course.label,
                course.rss_mib[0],
                course.rss_mib[-1],
                course.warm_mib,
                course.end_mib,
                "not judged" if course.program == "Redis" else "yes" if course.flat else "no",
            )
            for course in lasting
        ],
    )
    redis = [course for course in lasting if course.program == "Redis"]
    grew_bytes = sum((item.rss_mib[-1] - item.rss_mib[0]) * 2**20 for item in redis)
    return lines + prose(
        f"Redis took {grew_bytes / max(sent.answers, 1):.0f} bytes for each notification it remembers."
    )


def _plot(name: str, held: Held, courses: Sequence[Course]) -> Path:
    windows = held.sent.windows
    along = [window.at_s for window in windows]
    times = {
        "median": (along, [window.p50_ms for window in windows]),
        "p95": (along, [window.p95_ms for window in windows]),
        "p99": (along, [window.p99_ms for window in windows]),
    }
    ours = {
        course.label: (course.at_s, course.rss_mib)
        for course in courses
        if course.program in {"web", "worker"}
    }
    others = [course for course in courses if course.program not in {"web", "worker"}]
    largest = sorted(others, key=lambda item: -item.end_mib)[:8]
    stores = {item.label: (item.at_s, item.private_mib) for item in largest}
    return plots.lines(
        name,
        {
            "answer times, milliseconds": times,
            "resident memory of web and worker, MiB": ours,
            "private memory of the stores' largest processes, MiB": stores,
        },
        across="seconds",
    )
