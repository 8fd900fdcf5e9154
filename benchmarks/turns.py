"""
A run of a variant: start with empty stores, check that it works, warm up, measure, kill.

The check: it acknowledges a genuine notification and its repeat, refuses an invalid signature, and its worker applies the
notification. A variant that does less is not measured.
"""

import contextlib
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import redis
from tether_sandbox.gateway.wire import FORM, encode, sign
from tether_sandbox.services.server import DidNotStart
from tether_sandbox.services.waiting import until
from tether_sandbox.settings import PASSWORD

from benchmarks import database
from benchmarks.database import FLOOR, PRODUCT
from benchmarks.environment import Environment
from benchmarks.load import Full, Held, hold, saturate
from benchmarks.variants import Running, Variant

__all__ = ["PATH", "RATES", "WARM_RATE", "Length", "Run", "run_of"]

PATH = "/api/webhooks/emp"
RATES = (100, 500, 1_000)
WARM_RATE = 200
_CAUGHT_UP_S = 20.0


class Run(msgspec.Struct, frozen=True):
    """
    The results of a run.

    Attributes:
        full: At saturation, by connections.
        held: By rate.
        waiting: Jobs in the queue at the end of each rate.
    """

    full: dict[int, Full]
    held: dict[int, Held]
    waiting: dict[int, int]

    @property
    def failures(self) -> int:
        """Requests without a response 200."""
        refused = sum(full.failures for full in self.full.values())
        return refused + sum(held.sent.failures for held in self.held.values())


class Length(msgspec.Struct, frozen=True):
    """The lengths of the parts of a run, in seconds."""

    warm_s: float
    held_s: float
    full_s: float


def run_of(
    on: Environment,
    variant: Variant,
    files: Mapping[str, Path],
    *,
    length: Length,
    connections: Sequence[int],
) -> Run:
    """
    Run a variant and measure it.

    Args:
        on: The environment, on the variant's database.
        files: Bodies by part: "warm", each rate, "full" for each number of connections.
        connections: The numbers of connections at saturation.

    Raises:
        DidNotStart: when it does not start.
        TimeoutError: when it starts and does not work.
    """
    on.forget()
    database.run(on, (PRODUCT if variant.kind == "ours" else FLOOR)["emptied"])
    running = variant.start(on)
    try:
        _prove(on, running)
        url = running.url + PATH
        programs = {**running.pids, **on.stores}
        hold(url, files["warm"], rate=WARM_RATE, seconds=length.warm_s, programs={})
        held: dict[int, Held] = {}
        waiting: dict[int, int] = {}
        for rate in RATES:
            held[rate] = hold(url, files[str(rate)], rate=rate, seconds=length.held_s, programs=programs)
            waiting[rate] = _waiting(on, variant)
        full: dict[int, Full] = {}
        for count in connections:
            # Let the worker catch up first; else the backlog of the previous part would be measured in this one.
            with contextlib.suppress(TimeoutError):
                until(
                    lambda: not variant.applies or not _waiting(on, variant),
                    what="an empty queue",
                    timeout_s=_CAUGHT_UP_S,
                )
            full[count] = saturate(
                url, files[f"full-{count}"], connections=count, seconds=length.full_s, programs=programs
            )
    finally:
        running.kill()
    return Run(full, held, waiting)


def _prove(on: Environment, running: Running) -> None:
    """Check that the variant acknowledges, refuses and applies; the floor only responds."""
    unique_id = f"{random.SystemRandom().getrandbits(128):032x}"
    genuine = {
        "unique_id": unique_id,
        "status": "approved",
        "signature": sign(unique_id, password=PASSWORD),
    }
    wanted = [(genuine, 200), (genuine, 200)]
    if running.variant.kind != "floor":
        wanted.append(({**genuine, "signature": sign(unique_id, password="another")}, 401))
    with httpx.Client(trust_env=False, headers={"Content-Type": FORM}) as client:
        for fields, status in wanted:
            answer = client.post(running.url + PATH, content=encode(fields))
            if answer.status_code != status:
                raise DidNotStart(
                    running.variant.name, why=f"it responds {answer.status_code} instead of {status}"
                )
    if running.worker:
        ours = running.variant.kind == "ours"
        # Tether keeps the notification of an unknown payment waiting; the peers apply it.
        query = PRODUCT["looked_at"] if ours else FLOOR["applied"]
        until(lambda: database.ask(on, query)[0][0], what=f"the worker of {running.variant.name} to apply")


def _waiting(on: Environment, variant: Variant) -> int:
    if variant.kind == "ours":
        return int(database.ask(on, PRODUCT["waiting"], now=datetime.now(UTC))[0][0])
    if variant.queue is None:
        return 0
    command, key = variant.queue
    with redis.Redis.from_url(on.environ["REDIS_URL"]) as client:
        return int(client.execute_command(command, key))
