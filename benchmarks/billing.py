"""
Billing: how well a rate is held by two workers, and how fast one worker sends without a limit.

The gateway is the simulator, so the other end of every figure is its own ledger and not what the workers believe. Two
parts:

- *rate*: two worker processes under `EMP_RATE_LIMIT`; in every span of 10 s the gateway must see the rate within 2 %;
- *lifted*: one worker process and a limit that is never reached; debits a second, and the worker's memory along the way.

    uv run python -m benchmarks billing --debits 100000
    uv run python -m benchmarks billing --short
"""

import argparse
import random
import time
from bisect import bisect_left
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import msgspec
import psycopg
from tether_core.eligibility import Terms
from tether_sandbox.gateway import Setup, Simulator, running
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.program import Program
from tether_sandbox.settings import ENVIRONMENT
from tether_sandbox.uploads import Owed, seed_upload

from benchmarks.results import Aim, aims, heading, prose, table, write
from benchmarks.stand import Stand, cpu_s, rss_bytes, stand

__all__ = ["add_arguments", "run"]

_SEED: Final = 20_260_302
_WINDOW_S: Final = 10.0
_LIFTED: Final = "100000"
# Each look makes the simulator go over all it has had.
_POLL_S: Final = 0.5
_MIB: Final = 2**20


class Rate(msgspec.Struct):
    """How a rate was held: per second asked for, seen in the fastest and the slowest span, and over all."""

    wanted_per_s: float
    most_per_s: float
    least_per_s: float
    mean_per_s: float
    requests: int


class Lifted(msgspec.Struct):
    """How fast one worker was: debits a second, processor seconds of a debit, memory at each quarter."""

    debits: int
    per_s: float
    worker_ms: float
    rss_mib: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--debits", type=int, default=100_000, help="of each part (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="EMP_RATE_LIMIT of the first part")
    parser.add_argument("--short", action="store_true", help="some seconds, for a first look")


def run(args: argparse.Namespace) -> int:
    """Measure both parts and write the result."""
    debits = 3_000 if args.short else args.debits
    with stand() as here:
        lifted = _lifted(here, debits=debits)
        held = _held(here, debits=int(args.rate * 25) if args.short else debits, rate=args.rate)
    growth = lifted.rss_mib[-1] / lifted.rss_mib[0] if lifted.rss_mib else 0.0
    found = [
        Aim("most in any 10 s, over the rate, at most 1.02", held.most_per_s / held.wanted_per_s,
            held.most_per_s <= 1.02 * held.wanted_per_s),
        Aim("least in any 10 s, over the rate, at least 0.98", held.least_per_s / held.wanted_per_s,
            held.least_per_s >= 0.98 * held.wanted_per_s),
        Aim("debits/s of one worker without a limit, at least 300", lifted.per_s, lifted.per_s >= 300),
        Aim("memory at the end over memory at a quarter, at most 1.1", growth, growth <= 1.1),
    ]  # fmt: skip
    lines = heading("Billing", seed=_SEED)
    lines += prose(
        "Every figure is read off the simulator's ledger, which counts requests as they arrive.",
        "Simulator, Postgres, Redis and workers share the machine.",
    )
    lines += ["## The rate, held by two workers", ""]
    lines += table(
        ("wanted/s", "most/s in 10 s", "least/s in 10 s", "mean/s", "requests"),
        [(held.wanted_per_s, held.most_per_s, held.least_per_s, round(held.mean_per_s, 2), held.requests)],
    )
    lines += ["## One worker, without a limit", ""]
    lines += table(
        ("debits", "debits/s", "worker CPU ms/debit", "RSS MiB at 1/4, 2/4, 3/4, 4/4"),
        [
            (
                lifted.debits,
                round(lifted.per_s, 1),
                round(lifted.worker_ms, 2),
                " ".join(f"{one:.0f}" for one in lifted.rss_mib),
            )
        ],
    )
    lines += aims(found)
    write("billing-short" if args.short else "billing", lines)
    return 0 if all(one.met for one in found) else 1


def _setup() -> Setup:
    # Results come when nobody measures any more.
    return Setup(result_after_s=86_400, login=ENVIRONMENT["EMP_API_LOGIN"])


def _held(here: Stand, *, debits: int, rate: float) -> Rate:
    with running(_setup()) as gateway:
        _order(here, debits=debits, number=1)
        environ = {"EMP_API_URL": gateway.url, "EMP_RATE_LIMIT": str(rate)}
        workers = [_worker(here, environ) for _ in range(2)]
        seen = list[tuple[float, int]]()
        _await(gateway, debits, seen=seen)
        most = gateway.rates(window_s=_WINDOW_S)
        for worker in workers:
            worker.terminate()
    return Rate(
        rate,
        most["most_in_window"] / _WINDOW_S,
        _least(seen),
        most["requests"] / most["span_s"],
        most["requests"],
    )


def _lifted(here: Stand, *, debits: int) -> Lifted:
    with running(_setup()) as gateway:
        _order(here, debits=debits, number=0)
        worker = _worker(here, {"EMP_API_URL": gateway.url, "EMP_RATE_LIMIT": _LIFTED})
        rss, spent_s = list[float](), cpu_s(worker.pid)
        for quarter in range(1, 5):
            _await(gateway, debits * quarter // 4)
            rss.append(rss_bytes(worker.pid) / _MIB)
        spent_s = cpu_s(worker.pid) - spent_s
        told = gateway.rates()
        worker.terminate()
    return Lifted(debits, told["requests"] / told["span_s"], 1000 * spent_s / debits, rss)


def _order(here: Stand, *, debits: int, number: int) -> None:
    chance, now = random.Random(_SEED + number), datetime.now(UTC)
    owed = [Owed(made_up_iban(chance), chance.randrange(199, 899)) for _ in range(debits)]
    url = here.environ["DATABASE_URL"]
    upload_id, _ = seed_upload(url, owed, now=now)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "update billing_runs set state = 'cancelled', finished_at = %s where finished_at is null", (now,)
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, terms, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'benchmark', %s, %s)",
            (upload_id, msgspec.json.encode(Terms(usage="Benchmark")), now, now),
        )


def _worker(here: Stand, environ: dict[str, str]) -> Program:
    worker = here.start("tether-worker", "run", "billing", environ=environ)
    worker.await_line('"event":"working"')
    return worker


def _await(gateway: Simulator, debits: int, *, seen: list[tuple[float, int]] | None = None) -> None:
    """Wait until the gateway has had so many requests, noting how many it had when."""
    came, moved_at = 0, time.monotonic()
    while came < debits:
        time.sleep(_POLL_S)
        now_s, told = time.monotonic(), gateway.rates()["requests"]
        if told > came:
            came, moved_at = told, now_s
        elif now_s > moved_at + 60:
            raise RuntimeError(f"the gateway has had {came} of {debits} requests, and no more come")
        if seen is not None and came:
            seen.append((now_s, came))


def _least(seen: list[tuple[float, int]]) -> float:
    """The slowest span of ten seconds, in requests a second, beginning and end of the run left out."""
    times = [at_s for at_s, _ in seen]
    first, last = times[0] + 1, times[-1] - 1
    slowest = float("inf")
    for (at_s, came), _ in pairwise(seen):
        end = bisect_left(times, at_s + _WINDOW_S)
        if at_s >= first and end < len(times) and times[end] <= last:
            slowest = min(slowest, (seen[end][1] - came) / (times[end] - at_s))
    return slowest
