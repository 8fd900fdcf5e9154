"""
`python -m benchmarks stages`: load in stages against the whole system, by locust.

The full form ramps to 50/s in a minute, holds it for three, ramps to 100/s, holds that for three, and comes down; `--short` is the
same in 40 seconds; `--rate 500 --hold 60` holds one rate. While it runs, the age of the oldest notification that is due is sampled:
it says whether the worker kept up. `--nginx` puts nginx with TLS in front of the web node, as in production.

`--url https://staging.example` sends to an installation that runs already, and starts nothing. Its notifications are signed with the
password of the environment variable that `--password-env` names, and are of payments that nobody has: each is stored and waits as
`unknown_payment` until it is parked, so never point it at an installation in use. Where confirmation is on, `EMP_CONFIRM=off` keeps
that installation from inquiring about them.

The exit code is 0 if every request was answered 200 and the answers kept to `--p95-ms` and `--p99-ms` at every rate that was held, 1
if not, and 2 if nothing was sent.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tether_stores.notifications import event_lists, webhook_events
from tether_stores.postgres import connection, open_pool

from benchmarks import nginx
from benchmarks.environment import Environment, cpu_s, environment, rss_bytes
from benchmarks.results import heading, table, write
from benchmarks.workload import PER_ATTEMPT, made_up, notifications

__all__ = ["add_arguments", "run"]

_FULL = [(60, 50), (180, 50), (60, 100), (180, 100), (60, 0)]
_SHORT = [(4, 50), (12, 50), (4, 100), (16, 100), (4, 0)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="the stages in 40 seconds")
    parser.add_argument("--rate", type=int, help="hold this many a second instead of the stages")
    parser.add_argument("--hold", type=int, default=60, help="for this many seconds (default: %(default)s)")
    parser.add_argument("--web", type=int, default=2, help="web processes (default: %(default)s)")
    parser.add_argument("--nginx", action="store_true", help="through nginx with TLS")
    parser.add_argument("--url", help="of an installation that runs already")
    parser.add_argument(
        "--password-env",
        default="EMP_API_PASSWORD",
        metavar="NAME",
        help="with --url: variable that holds the password of its gateway account (default: %(default)s)",
    )
    parser.add_argument("--p95-ms", type=float, default=100, help="threshold (default: %(default)s)")
    parser.add_argument("--p99-ms", type=float, default=200, help="threshold (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when the thresholds hold."""
    stages = _SHORT if args.short else _FULL
    name = "stages-short" if args.short else "stages"
    if args.rate:
        stages = [(10, args.rate), (args.hold, args.rate), (2, 0)]
        name = f"rate-{args.rate}"
    if args.url:
        return _elsewhere(args, stages)
    if args.nginx and not nginx.found(tls=True):
        sys.stderr.write("nginx and openssl must be installed for --nginx.\n")
        return 2
    with environment() as it, contextlib.ExitStack() as stack:
        planned = _requests(stages)
        bodies = it.folder / "bodies.txt"
        attempts = it.seeded(planned // PER_ATTEMPT + 100, number=args.seed)
        bodies.write_bytes(b"\n".join(notifications(attempts, number=args.seed)))
        web, worker = it.start_web(workers=args.web), it.start_worker("webhooks")
        pids = {"web": web.pid, "worker": worker.pid}
        url = it.url
        if args.nginx:
            url, pids["nginx"] = stack.enter_context(nginx.proxied(it, [url], tls=True))
        postgres = it.services.postgres
        assert postgres is not None
        assert postgres.pid is not None
        pids["postgres"] = postgres.pid
        before = {name: (cpu_s(pid), rss_bytes(pid)) for name, pid in pids.items()}
        locust = _load(url, stages, bodies, it.folder / "report.json", args)
        oldest_s = asyncio.run(_watched(it, locust))
        figures, code = _reported(locust, it.folder / "report.json")
        after = {name: (cpu_s(pid), rss_bytes(pid)) for name, pid in pids.items()}
        left = asyncio.run(_drained(it))
    requests = figures["requests"]
    stores = "Postgres, Redis, nginx with TLS" if args.nginx else "Postgres, Redis"
    lines = heading("Load in stages", seed=args.seed)
    lines += [
        f"{args.web} web processes, 1 worker, {stores} and locust share the machine. Stages (seconds:rate): {_written(stages)}",
        "",
    ]
    lines += _held(figures)
    lines += table(
        ("requests", "failures", "oldest waiting, max s", "not applied after the end"),
        [(requests, figures["failures"], max(oldest_s, default=0.0), left)],
    )
    lines += table(
        ("program", "CPU ms per request", "memory before MiB", "after MiB"),
        [
            (
                program,
                round((after[program][0] - before[program][0]) / requests * 1000, 2),
                before[program][1] >> 20,
                after[program][1] >> 20,
            )
            for program in pids
        ],
    )
    kept_up = max(oldest_s, default=0.0) < 2 and left == 0
    lines.append(f"Thresholds: {'held' if code == 0 and kept_up else 'NOT held'}.")
    write(name, lines)
    return 0 if code == 0 and kept_up else 1


def _requests(stages: list[tuple[int, int]]) -> int:
    before, total = 0, 0.0
    for seconds, rate in stages:
        total += seconds * (before + rate) / 2
        before = rate
    return int(total)


def _written(stages: list[tuple[int, int]]) -> str:
    return " ".join(f"{seconds}:{rate}" for seconds, rate in stages)


def _held(figures: dict[str, Any]) -> list[str]:
    return table(
        ("held rate", "requests", "p50 ms", "p95 ms", "p99 ms", "max ms"),
        [
            (int(rate), item["requests"], item["p50_ms"], item["p95_ms"], item["p99_ms"], item["max_ms"])
            for rate, item in figures["held"].items()
        ],
    )


def _elsewhere(args: argparse.Namespace, stages: list[tuple[int, int]]) -> int:
    """Send to an installation that runs already; nothing is known of it but its answers."""
    password = os.environ.get(args.password_env, "")
    if not password:
        sys.stderr.write(
            f"Set {args.password_env} to the password of a gateway account of {args.url}, which signs the notifications; "
            "another variable is named by --password-env.\n"
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="tether-bench-") as folder:
        bodies, report = Path(folder, "bodies.txt"), Path(folder, "report.json")
        payments = made_up(_requests(stages) // PER_ATTEMPT + 100)
        bodies.write_bytes(b"\n".join(notifications(payments, number=args.seed, password=password)))
        figures, code = _reported(_load(args.url, stages, bodies, report, args), report)
    lines = [f"Stages (seconds:rate): {_written(stages)}", "", *_held(figures)]
    lines += table(("requests", "failures"), [(figures["requests"], figures["failures"])])
    lines.append(f"Thresholds: {'held' if code == 0 else 'NOT held'}.")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if code else 0


def _load(
    url: str, stages: list[tuple[int, int]], bodies: Path, report: Path, args: argparse.Namespace
) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        "TETHER_BODIES": str(bodies),
        "TETHER_STAGES": _written(stages),
        "TETHER_REPORT": str(report),
        "TETHER_P95_MS": str(args.p95_ms),
        "TETHER_P99_MS": str(args.p99_ms),
    }
    locustfile = str(Path(__file__).parent / "locustfile.py")
    options = ["--headless", "--host", url.rstrip("/"), "--only-summary", "--loglevel", "WARNING"]
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", locustfile, *options],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
    )


def _reported(locust: subprocess.Popen[bytes], report: Path) -> tuple[dict[str, Any], int]:
    """Wait for the end; its figures and exit code."""
    code = locust.wait()
    return json.loads(report.read_text(encoding="utf-8")), code


async def _watched(it: Environment, locust: subprocess.Popen[bytes]) -> list[float]:
    oldest_s: list[float] = []
    async with open_pool(it.environ["DATABASE_URL"], name="bench", max_size=1) as pool:
        while locust.poll() is None:
            async with connection(pool) as conn:
                oldest_s.append(await webhook_events.oldest_due_s(conn, now=datetime.now(UTC)))
            await asyncio.sleep(0.5)
    return oldest_s


async def _drained(it: Environment) -> int:
    until = time.monotonic() + 30
    async with open_pool(it.environ["DATABASE_URL"], name="bench", max_size=1) as pool:
        while True:
            async with connection(pool) as conn:
                counts = await event_lists.counts(conn, now=datetime.now(UTC))
            if not counts.waiting or time.monotonic() > until:
                return counts.waiting + counts.deferred
            await asyncio.sleep(0.2)
