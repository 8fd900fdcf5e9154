"""
`python -m benchmarks supervise`: a burst of notifications beside a large upload, and the processes that a supervisor starts for them.

A supervisor runs the pools of a small installation. A large file is being read when the burst is written to the inbox; then comes a file of one
row. Every half second the API says what waits and how many processes each pool has. The run goes on until every pool is back at its minimum.
"""

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import httpx
import msgspec
from tether_sandbox.services.waiting import until
from tether_sandbox.settings import API_KEY

from benchmarks import backlog, plots, sheets
from benchmarks.environment import Environment, environment
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_POOLS: Final = "webhooks:1-4,billing+reconciliation:1-3,default+vop:1-3"
_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 900.0
_OTHER_KEY: Final = "benchmark-other-sender"


class Sample(msgspec.Struct, frozen=True):
    """
    What the API says at a time.

    Attributes:
        at_s: Seconds since the burst was written.
        processes: By pool.
        minimum: Likewise.
        rows: That are due, by queue.
        oldest_s: How long the oldest has been due, by queue.
    """

    at_s: float
    processes: dict[str, int]
    minimum: dict[str, int]
    rows: dict[str, int]
    oldest_s: dict[str, float]


class _Sampler:
    """Asks the API until it is stopped."""

    def __init__(self, url: str) -> None:
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self._client = _client(url, API_KEY)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            with contextlib.suppress(httpx.HTTPError):  # a sample that is missed is no result
                self.samples.append(self.sample())

    def sample(self) -> Sample:
        """One sample, now."""
        queues = self._client.get("/api/queues").raise_for_status().json()
        found = self._client.get("/api/workers").raise_for_status().json()
        pools = found["supervisors"][0]["pools"] if found["supervisors"] else {}
        return Sample(
            time.monotonic() - self.began,
            {name: pool["running"] + pool["ending"] for name, pool in pools.items()},
            {name: pool["processes_min"] for name, pool in pools.items()},
            {queue["name"]: queue["rows"] for queue in queues},
            {queue["name"]: queue["oldest_s"] for queue in queues},
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="small numbers, to see that it works")
    parser.add_argument("--burst", type=int, help="notifications of the burst (default: 50000, short: 2000)")
    parser.add_argument("--rows", type=int, help="rows of the large file (default: 500000, short: 5000)")
    parser.add_argument("--pools", default=_POOLS, help="of the supervisor (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of files and payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when everything was done and every pool came back to its minimum."""
    burst = args.burst or (2_000 if args.short else 50_000)
    rows = args.rows or (5_000 if args.short else 500_000)
    with environment() as it:
        it.environ["TETHER_API_KEYS"] = f"sandbox:{API_KEY},other:{_OTHER_KEY}"
        web = it.start_web(workers=1)
        large = sheets.written(it.folder, rows, seed=args.seed).csv
        single = sheets.written(it.folder, 1, seed=args.seed + 1).csv
        supervisor = it.start("tether-worker", "supervise", "--pools", args.pools)
        try:
            with _Sampler(it.url) as sampler:
                until(lambda: _is_at_minimum(sampler.sample()), what="the minimum of each pool", timeout_s=60)
                _uploaded(it, large, key=API_KEY)
                backlog.written(it, burst, number=args.seed)
                sampler.samples.clear()
                sampler.began = time.monotonic()
                single_s = _read_s(it, single, key=_OTHER_KEY)
                until(
                    lambda: not any(sampler.sample().rows.values()),
                    what="everything to be done",
                    timeout_s=_PATIENCE_S,
                )
                until(
                    lambda: _is_at_minimum(sampler.sample()), what="the minimum again", timeout_s=_PATIENCE_S
                )
            samples = sampler.samples
        finally:
            supervisor.terminate()
            web.kill()
    name = "supervise-short" if args.short else "supervise"
    lines = heading("Supervise: a burst beside a large file", seed=args.seed)
    write(name, lines + _report(samples, burst=burst, rows=rows, single_s=single_s, pools=args.pools))
    plots.lines(name, _panels(samples), across="seconds since the burst")
    return 0


def _is_at_minimum(sample: Sample) -> bool:
    return bool(sample.processes) and sample.processes == sample.minimum


def _client(url: str, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600, trust_env=False
    )


def _uploaded(it: Environment, path: Path, *, key: str) -> str:
    with _client(it.url, key) as api, path.open("rb") as file:
        answer = api.post("/api/uploads", files={"file": (path.name, file)}, data={"force": "true"})
    return str(answer.raise_for_status().headers["Location"])


def _read_s(it: Environment, path: Path, *, key: str) -> float:
    """Upload a file, and wait until it is read; seconds from the one to the other."""
    began = time.monotonic()
    where = _uploaded(it, path, key=key)
    with _client(it.url, key) as api:
        until(
            lambda: api.get(where).raise_for_status().json()["upload"]["state"] == "completed",
            what="the small file",
            timeout_s=_PATIENCE_S,
        )
    return time.monotonic() - began


def _done_s(samples: list[Sample], queue: str) -> float:
    """When the rows of a queue were done: the first sample after the last that had some."""
    last = max((number for number, item in enumerate(samples) if item.rows[queue]), default=-1)
    return samples[min(last + 1, len(samples) - 1)].at_s


def _back_s(samples: list[Sample], pool: str) -> float:
    """When a pool reached its minimum and stayed there."""
    last = max(
        (n for n, item in enumerate(samples) if item.processes[pool] != item.minimum[pool]), default=-1
    )
    return samples[min(last + 1, len(samples) - 1)].at_s


def _report(samples: list[Sample], *, burst: int, rows: int, single_s: float, pools: str) -> list[str]:
    cleared_s = _done_s(samples, "webhooks")
    oldest_s = max(item.oldest_s["webhooks"] for item in samples)
    below = sum(item.processes[pool] < item.minimum[pool] for item in samples for pool in item.processes)
    lines = prose(
        f"Pools `{pools}` on one machine with everything else. {burst:,} notifications were written to the inbox while a file of {rows:,} rows",
        f"was being read; {len(samples)} samples.",
    )
    lines += table(
        ("pool", "minimum", "most processes", "back at the minimum after, s"),
        [
            (pool, least, max(item.processes[pool] for item in samples), round(_back_s(samples, pool), 1))
            for pool, least in samples[0].minimum.items()
        ],
    )
    lines += table(
        ("queue", "most rows due", "done after, s", "oldest waited at most, s"),
        [
            (
                queue,
                max(item.rows[queue] for item in samples),
                round(_done_s(samples, queue), 1),
                round(max(item.oldest_s[queue] for item in samples), 1),
            )
            for queue in samples[0].rows
        ],
    )
    return lines + aims(
        [
            Aim("the burst is applied within 60 s", cleared_s, cleared_s <= 60),
            Aim("no notification waits longer than 60 s", oldest_s, oldest_s <= 60),
            Aim("a file of one row, sent after the burst, is read within 15 s", single_s, single_s <= 15),
            Aim("samples with a pool below its minimum, none", below, below == 0),
        ]
    )


def _panels(samples: list[Sample]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    along = [item.at_s for item in samples]

    def series(names: Iterator[str], of: str) -> dict[str, tuple[list[float], list[float]]]:
        return {name: (along, [float(getattr(item, of)[name]) for item in samples]) for name in names}

    return {
        "processes, by pool": series(iter(samples[0].processes), "processes"),
        "rows due, by queue": series(iter(samples[0].rows), "rows"),
    }
