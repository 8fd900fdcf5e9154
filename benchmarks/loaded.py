"""Load Tether on a database: a fixed rate, then saturation, with one worker; and figures over several runs."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeAlias, TypeVar

import msgspec

from benchmarks import backlog
from benchmarks.environment import Environment
from benchmarks.load import Full, Held, hold, saturate, take
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = [
    "RATE",
    "Amount",
    "Figure",
    "Loaded",
    "alone",
    "loaded",
    "middle",
    "quantile",
    "ratio",
    "ratios",
    "turned",
]

RATE = 500
_PATH = "/api/webhooks/emp"
_WARM_S = 2
_PER_S_MAX = 12_000
_Item = TypeVar("_Item")


class Amount(msgspec.Struct, frozen=True):
    """How much is sent: seconds of each part, connections at saturation, and rows of a backlog."""

    held_s: float
    full_s: float
    connections: int
    backlog_rows: int


class Loaded(msgspec.Struct, frozen=True):
    """What a turn gave; `drained_per_s` is 0 where no backlog was made."""

    held: Held
    full: Full
    drained_per_s: float = 0.0

    @property
    def failures(self) -> int:
        """Requests that were not answered with 200."""
        return self.held.sent.failures + self.full.failures


Figure: TypeAlias = Callable[[Loaded], float]


def loaded(on: Environment, url: str, programs: Mapping[str, int], amount: Amount, *, number: int) -> Loaded:
    """
    Load an address while one worker applies, and let that finish.

    Args:
        on: The database.
        url: Of a web node, or of the proxy in front of several.
        programs: Their process ids; worker and stores are added.
        amount: How much.
        number: The seed.

    Returns:
        What it gave.
    """
    counts = (_WARM_S * RATE, int(RATE * amount.held_s), int(_PER_S_MAX * amount.full_s))
    attempts = on.seeded(sum(counts) // PER_ATTEMPT + 1, number=number)
    bodies = notifications(attempts, number=number)
    warm, held_bodies, full_bodies = (
        take(bodies, count, on.folder / f"loaded-{place}") for place, count in enumerate(counts)
    )
    worker = on.start_worker("webhooks")
    try:
        every = {**programs, "worker": worker.pid, **on.stores}
        hold(url + _PATH, warm, rate=RATE, seconds=_WARM_S, programs={})
        held = hold(url + _PATH, held_bodies, rate=RATE, seconds=amount.held_s, programs=every)
        full = saturate(
            url + _PATH, full_bodies, connections=amount.connections, seconds=amount.full_s, programs=every
        )
        backlog.resolved(on)
    finally:
        worker.kill()
    return Loaded(held, full)


def alone(on: Environment, amount: Amount, *, number: int) -> Loaded:
    """Load one web process, as `loaded`."""
    web = on.start_web(workers=1)
    try:
        return loaded(on, on.url, {"web": web.pid}, amount, number=number)
    finally:
        web.kill()


def turned(items: Mapping[str, _Item], number: int) -> list[tuple[str, _Item]]:
    """The items, beginning with another one in each round."""
    listed = list(items.items())
    first = number % len(listed)
    return listed[first:] + listed[:first]


def quantile(field: str) -> Figure:
    """An answer time at the fixed rate: "p50_ms", "p95_ms" or "p99_ms"."""
    return lambda item: float(getattr(item.held.sent, field))


def middle(loadeds: Sequence[Loaded], figure: Figure) -> float:
    """The median of the rounds."""
    return median(figure(item) for item in loadeds)


def ratios(loadeds: Sequence[Loaded], others: Sequence[Loaded], figure: Figure) -> list[float]:
    """The figure over that of the other, round by round."""
    return [figure(item) / figure(other) for item, other in zip(loadeds, others, strict=True)]


def ratio(loadeds: Sequence[Loaded], others: Sequence[Loaded], figure: Figure) -> str:
    """The median of `ratios`, with the lowest and the highest where there are several."""
    found = ratios(loadeds, others, figure)
    if len(found) == 1:
        return f"{found[0]:.2f}"
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
