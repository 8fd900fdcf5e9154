"""
`python -m benchmarks profile`: how a web process and a worker spend their time, as flame graphs.

One web process is kept at saturation while one worker books; py-spy samples both, counting only times in which a thread holds
the interpreter. The result lists what took most.
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
from tether_sandbox.services.program import Program

from benchmarks import flames
from benchmarks.environment import environment
from benchmarks.load import saturate, take
from benchmarks.results import FOLDER, heading, prose, table, write
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["add_arguments", "run"]

_PATH = "/api/webhooks/emp"
_PER_S_MAX = 8_000
_SAMPLES_PER_S = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--seconds", type=int, help="of load (default: 20, short: 4)")
    parser.add_argument("--connections", type=int, default=64, help="at saturation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every request was answered."""
    seconds = args.seconds or (4 if args.short else 20)
    name = "profile-short" if args.short else "profile"
    with environment() as it:
        count = _PER_S_MAX * seconds
        attempts = it.seeded(count // PER_ATTEMPT + 1, number=args.seed)
        bodies = take(notifications(attempts, number=args.seed), count, it.folder / "bodies")
        programs = {"web": it.start_web(workers=1), "worker": it.start_worker("webhooks")}
        graphs = {what: FOLDER / f"{name}-{what}.svg" for what in programs}
        stacks = {what: it.folder / f"{what}.raw" for what in programs}
        spies = [_spy(program, seconds=seconds - 1, to=stacks[what]) for what, program in programs.items()]
        full = saturate(
            it.url + _PATH, bodies, connections=args.connections, seconds=seconds, programs=it.stores
        )
        for spy in spies:
            spy.wait(timeout=60)
        lines = heading("Profile: a web process at saturation, and its worker", seed=args.seed)
        lines += prose(
            f"{full.per_s:.0f} answers a second while being sampled {_SAMPLES_PER_S} times a second, which slows both.",
            "Share of the samples in which a thread held the interpreter, functions with what they call.",
        )
        for what, place in stacks.items():
            flames.drawn(place, graphs[what], title=f"{what} at {full.per_s:.0f} answers a second")
            lines += [f"## {what}", "", f"![{what}]({graphs[what].name})", ""]
            lines += table(("function", "share %"), _largest(place))
    write(name, lines)
    return 1 if full.failures else 0


def _spy(program: Program, *, seconds: int, to: Path) -> subprocess.Popen[bytes]:
    # A server's own process only watches those that answer.
    busy = psutil.Process(program.pid).children() or [psutil.Process(program.pid)]
    spy = str(Path(sys.executable).with_name("py-spy"))
    options = f"record --gil --nonblocking --rate {_SAMPLES_PER_S} --duration {seconds} --format raw"
    return subprocess.Popen(
        [spy, *options.split(), "--pid", str(busy[-1].pid), "--output", str(to)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _largest(stacks: Path, *, rows: int = 40) -> list[tuple[str, float]]:
    found: Counter[str] = Counter()
    total = 0
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        total += int(count)
        for function in set(map(flames.function_of, stack.split(";"))):
            found[function] += int(count)
    shares = [(f"`{name}`", 100 * count / max(total, 1)) for name, count in found.most_common()]
    return [share for share in shares if share[1] < 95][:rows]
