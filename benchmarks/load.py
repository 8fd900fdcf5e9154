"""
Load one address, at saturation by `wrk` or at a fixed rate by `driver`, and measure CPU time and memory.

wrk sends from one thread of C, so it takes a small part of what a server takes per request; where it is not installed our own driver does the
same in Python, and the result names it. `Full.driver_busy` is the part of a core that the generator used: near 1,
the figure is the generator's and not the server's.
"""

import itertools
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.driver import Sent
from benchmarks.environment import cpu_s

__all__ = ["Cost", "Full", "Held", "generator", "hold", "saturate", "take"]

_SCRIPT = Path(__file__).with_name("saturate.lua")
_ROOT = Path(__file__).parents[1]


class Cost(msgspec.Struct, frozen=True):
    """CPU microseconds per request, by program."""

    us: dict[str, float]

    @property
    def total_us(self) -> float:
        """Of all programs together."""
        return sum(self.us.values())


class Full(msgspec.Struct, frozen=True):
    """
    A server at saturation.

    Attributes:
        answers: Answered, with any status.
        failures: Answered with an error, or not at all.
        per_s: Answers per second.
        p50_ms: Of the time between a request and its answer, each connection waiting for its own; and so on.
        driver_busy: Cores the generator used.
        repeated_bodies: Whether there were fewer bodies than requests, so that the later ones were repeats.
        cost: What it took.
    """

    answers: int
    failures: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    driver_busy: float
    repeated_bodies: bool
    cost: Cost


class Held(msgspec.Struct, frozen=True):
    """A fixed rate: what was sent and answered, and what it took."""

    sent: Sent
    cost: Cost


class _Reply(msgspec.Struct, frozen=True):
    """What wrk's script prints."""

    answers: int
    refused: int
    broken: int
    lasted_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def generator() -> str:
    """What sends at saturation, for the result."""
    if shutil.which("wrk") is None:
        return "the closed loop of benchmarks/driver.py (wrk is not installed)"
    process = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return " ".join((process.stdout or process.stderr).split()[:2])


def take(bodies: Iterator[bytes], count: int, path: Path) -> Path:
    """Write the next *count* bodies into a file, one a line."""
    with path.open("wb") as lines:
        lines.writelines(body + b"\n" for body in itertools.islice(bodies, count))
    return path


def saturate(
    url: str, bodies: Path, *, connections: int, seconds: float, programs: Mapping[str, int]
) -> Full:
    """
    Send as much as is answered.

    Args:
        url: Where to.
        bodies: One form body a line, each sent once.
        connections: Kept open, each with one request in flight.
        seconds: For how long.
        programs: Process ids of what the cost is asked for, by name.

    Returns:
        What came of it.
    """
    meter = _Meter(programs)
    driver = shutil.which("wrk")
    if driver:
        reply = _wrk(driver, url, bodies, connections=connections, seconds=seconds)
    else:
        sent = _driven(url, bodies, "--connections", str(connections), seconds=seconds)
        reply = _Reply(
            answers=sent.statuses_total,
            refused=sent.statuses_total - sent.answers,
            broken=sent.broken,
            lasted_s=sent.lasted_s,
            p50_ms=sent.p50_ms,
            p95_ms=sent.p95_ms,
            p99_ms=sent.p99_ms,
        )
    cost = meter.per(reply.answers)
    with bodies.open("rb") as lines:
        held = sum(1 for _ in lines)
    return Full(
        answers=reply.answers,
        failures=reply.refused + reply.broken,
        per_s=reply.answers / reply.lasted_s,
        p50_ms=reply.p50_ms,
        p95_ms=reply.p95_ms,
        p99_ms=reply.p99_ms,
        driver_busy=meter.own_s / reply.lasted_s,
        repeated_bodies=reply.answers > held,
        cost=cost,
    )


def hold(
    url: str, bodies: Path, *, rate: float, seconds: float, programs: Mapping[str, int], window_s: float = 0
) -> Held:
    """
    Send at a fixed rate, independent of the answers.

    Args:
        url: Where to.
        bodies: One form body a line, each sent once.
        rate: Requests per second.
        seconds: For how long.
        programs: Process ids of what the cost is asked for, by name.
        window_s: Also tell windows of this length, 0 for none.

    Returns:
        What came of it.
    """
    meter = _Meter(programs)
    sent = _driven(url, bodies, "--rate", str(rate), "--window", str(window_s), seconds=seconds)
    return Held(sent, meter.per(sent.answers))


class _Meter:
    """CPU used since it was made: by programs, and by the children of this process that have ended since."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._before = {name: cpu_s(pid) for name, pid in programs.items()}
        self._children_s = _children_s()
        self.own_s = 0.0

    def per(self, requests: int) -> Cost:
        self.own_s = _children_s() - self._children_s
        return Cost(
            {
                name: (cpu_s(pid) - self._before[name]) * 1e6 / max(requests, 1)
                for name, pid in self._programs.items()
            }
        )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wrk(driver: str, url: str, bodies: Path, *, connections: int, seconds: float) -> _Reply:
    # wrk takes whole seconds only.
    command = [driver, "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s"]
    printed = _output([*command, "-s", str(_SCRIPT), url, "--", str(bodies)], seconds=seconds)
    return msgspec.json.decode(printed.partition("JSON ")[2], type=_Reply)


def _driven(url: str, bodies: Path, *options: str, seconds: float) -> Sent:
    command = [sys.executable, "-m", "benchmarks.driver", url, str(bodies), "--seconds", str(seconds)]
    return msgspec.json.decode(_output([*command, *options], seconds=seconds), type=Sent)


def _output(command: list[str], *, seconds: float) -> str:
    # Longer than any of them waits by itself; no process may be left.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60, cwd=_ROOT
    )
    return done.stdout
