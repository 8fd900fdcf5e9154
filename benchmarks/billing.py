"""
Billing: rate limiting by two workers, the speed of one worker, and the share of status inquiries.

The gateway is the simulator, so every figure comes from its ledger and not from the workers' own counts. Four parts:

- *held*: two worker processes under `EMP_RATE_LIMIT`, at 50 and at 300 a second; in every span of 10 s the gateway must
  see the rate within 2 %;
- *inquired*: two workers make status inquiries about 10,000 debits of unknown outcome, while a third one submits debits; in no span of
  10 s may the inquiries exceed `RECONCILIATION_RATE_LIMIT`, nor both together the account's rate;
- *lifted*: one worker process, 100,000 debits and a limit that is never reached; debits a second, and the worker's memory along
  the way.

    uv run --group bench python -m benchmarks billing
    uv run --group bench python -m benchmarks billing --short
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import msgspec
import psycopg
from tether_core.billing.run_options import RunOptions
from tether_sandbox.gateway import Setup, Simulator, running
from tether_sandbox.seed import made_up_iban, seed
from tether_sandbox.services.program import Program
from tether_sandbox.settings import ENVIRONMENT
from tether_sandbox.uploads import Owed, seed_upload

from benchmarks import plots
from benchmarks.environment import Environment, cpu_s, environment, rss_bytes
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_SEED: Final = 20_260_302
_WINDOW_S: Final = 10
_LIFTED: Final = "100000"
_POLL_S: Final = 0.5
_MIB: Final = 2**20
# Of the part in which inquiries and debits share the rate.
_INQUIRIES_PER_S: Final = 100.0
_BOTH_PER_S: Final = 150.0


class Held(msgspec.Struct):
    """How one kind of request kept to its rate."""

    what: str
    limit_per_s: float
    most_per_s: float
    least_per_s: float
    mean_per_s: float
    requests: int
    per_second: list[int]


class InquiryKind(msgspec.Struct):
    """Status inquiries beside debits: each, both together at most in any 10 s, and the results of the unknown debits."""

    inquiries: Held
    debits: Held
    both_most_per_s: float
    unknown: int
    resolved: int


class Lifted(msgspec.Struct):
    """How fast one worker was: debits a second, processor time of a debit, memory along the way."""

    debits: int
    per_s: float
    worker_ms: float
    at_s: list[float]
    rss_mib: list[float]
    per_second: list[int]

    @property
    def growth(self) -> float:
        """Memory in the last quarter over memory in the second, medians."""
        quarter = len(self.rss_mib) // 4
        return _median(self.rss_mib[-quarter:]) / _median(self.rss_mib[quarter : 2 * quarter])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--debits", type=int, default=100_000, help="without a limit (default: %(default)s)")
    parser.add_argument(
        "--unknown", type=int, default=10_000, help="debits of unknown outcome (default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="about two minutes, for a first look")


def run(args: argparse.Namespace) -> int:
    """Measure all parts and write the result."""
    short: bool = args.short
    rates = {50.0: 25, 300.0: 15} if short else {50.0: 90, 300.0: 60}
    with environment() as here:
        held = [_held(here, seconds=seconds, rate=rate) for rate, seconds in rates.items()]
        inquired = _inquired(here, unknown=1_000 if short else args.unknown)
        lifted = _lifted(here, debits=6_000 if short else args.debits)
    found = _aims(held, inquired, lifted)
    name = "billing-short" if short else "billing"
    write(name, _report(held, inquired, lifted, found))
    _plot(name, held, inquired, lifted)
    return 0 if all(aim.met for aim in found) else 1


def _aims(held: Sequence[Held], inquired: InquiryKind, lifted: Lifted) -> list[Aim]:
    found = list[Aim]()
    for item in held:
        most, least = item.most_per_s / item.limit_per_s, item.least_per_s / item.limit_per_s
        found.append(Aim(f"{item.limit_per_s:.0f}/s: most in any 10 s, at most 1.02", most, most <= 1.02))
        found.append(Aim(f"{item.limit_per_s:.0f}/s: least in any 10 s, at least 0.98", least, least >= 0.98))
    share = inquired.inquiries.most_per_s / _INQUIRIES_PER_S
    both = inquired.both_most_per_s / _BOTH_PER_S
    return [
        *found,
        Aim("inquiries: most in any 10 s over their share, at most 1.02", share, share <= 1.02),
        Aim("both: most in any 10 s over the account's rate, at most 1.02", both, both <= 1.02),
        Aim(
            "unknown debits not resolved by inquiries, 0",
            inquired.unknown - inquired.resolved,
            inquired.unknown == inquired.resolved,
        ),
        Aim("debits/s of one worker without a limit, at least 300", lifted.per_s, lifted.per_s >= 300),
        Aim("memory, last quarter over second, at most 1.1", lifted.growth, lifted.growth <= 1.1),
    ]


def _report(held: Sequence[Held], inquired: InquiryKind, lifted: Lifted, found: Sequence[Aim]) -> list[str]:
    lines = heading("Billing", seed=_SEED)
    lines += prose(
        "Every figure is read off the simulator's ledger, which counts requests as they arrive. Simulator, Postgres, Redis and",
        "workers share the machine. Spans of 10 s slide: every one between the first request and the last counts.",
    )
    columns = ("what", "limit/s", "most/s in 10 s", "least/s in 10 s", "mean/s", "requests", "most / limit")
    lines += ["## Held by two workers", "", *table(columns, [_row(item) for item in held])]
    lines += [
        "## Status inquiries beside debits",
        "",
        *table(columns, [_row(inquired.inquiries), _row(inquired.debits)]),
    ]
    lines += prose(
        f"Two workers inquire about {inquired.unknown} debits of unknown outcome and resolved {inquired.resolved}; a third has debits",
        f"to submit meanwhile. Both together: at most {inquired.both_most_per_s:.1f}/s in any 10 s, with a rate of {_BOTH_PER_S:.0f}/s.",
    )
    lines += ["## One worker, without a limit", ""]
    quarters = [_median(part) for part in _quarters(lifted.rss_mib)]
    lines += table(
        ("debits", "debits/s", "worker CPU ms/debit", "RSS MiB, median of each quarter"),
        [
            (
                lifted.debits,
                round(lifted.per_s, 1),
                round(lifted.worker_ms, 2),
                " ".join(f"{quarter:.0f}" for quarter in quarters),
            )
        ],
    )
    return lines + aims(found)


def _row(held: Held) -> tuple[object, ...]:
    return (
        held.what,
        held.limit_per_s,
        held.most_per_s,
        held.least_per_s,
        round(held.mean_per_s, 2),
        held.requests,
        round(held.most_per_s / held.limit_per_s, 4),
    )


def _plot(name: str, held: Sequence[Held], inquired: InquiryKind, lifted: Lifted) -> None:
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for item in held:
        panels[f"debits a second in spans of 10 s, two workers, limit {item.limit_per_s:.0f}/s"] = {
            "sent": _spans(item.per_second),
            "limit": _level(item.limit_per_s, item.per_second),
        }
    panels[
        f"inquiries beside debits, spans of 10 s, {_INQUIRIES_PER_S:.0f}/s and {_BOTH_PER_S:.0f}/s in all"
    ] = {
        "inquiries": _spans(inquired.inquiries.per_second),
        "debits": _spans(inquired.debits.per_second),
        "share of inquiries": _level(_INQUIRIES_PER_S, inquired.inquiries.per_second),
    }
    panels["debits a second of one worker, no limit"] = {"sent": _spans(lifted.per_second)}
    panels["its resident memory, MiB"] = {"worker": (lifted.at_s, lifted.rss_mib)}
    plots.lines(name, panels, across="seconds")


def _spans(per_second: Sequence[int]) -> tuple[list[float], list[float]]:
    """Means of ten seconds each, by the second they end at."""
    ends = range(_WINDOW_S, len(per_second) + 1)
    return list(map(float, ends)), [sum(per_second[end - _WINDOW_S : end]) / _WINDOW_S for end in ends]


def _level(rate: float, per_second: Sequence[int]) -> tuple[list[float], list[float]]:
    return [float(_WINDOW_S), float(len(per_second))], [rate, rate]


def _quarters(values: list[float]) -> list[list[float]]:
    size = max(len(values) // 4, 1)
    return [values[size * n : size * (n + 1)] or values[-1:] for n in range(4)]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


# --- the parts -------------------------------------------------------------------------------------------------------


def _setup() -> Setup:
    # Results may arrive after the measurement.
    return Setup(result_after_s=86_400, login=ENVIRONMENT["EMP_API_LOGIN"])


def _held(here: Environment, *, seconds: int, rate: float) -> Held:
    debits = int(rate * seconds)
    here.forget()
    with running(_setup()) as gateway:
        _order(here, debits=debits, number=int(rate))
        environ = {"EMP_API_URL": gateway.url, "EMP_RATE_LIMIT": str(rate)}
        workers = [_worker(here, "billing", environ=environ) for _ in range(2)]
        _await(gateway, lambda: gateway.requests().get("sale", 0), debits)
        result = gateway.rates(window_s=_WINDOW_S)
        _end(workers)
    return _kept(f"debits, {seconds} s", result, limit=rate)


def _inquired(here: Environment, *, unknown: int) -> InquiryKind:
    here.forget()
    with running(_setup()) as gateway:
        # Older than the lists that are fetched: those would resolve a hundred with one request.
        _lose(here, gateway, unknown, at=datetime.now(UTC) - timedelta(days=40))
        # More than are sent in that time, so that both uses want their share to the end.
        _order(here, debits=int(_BOTH_PER_S * (2 * unknown / _INQUIRIES_PER_S + 20)), number=1)
        environ = {
            "EMP_API_URL": gateway.url,
            "EMP_RATE_LIMIT": str(_BOTH_PER_S),
            "RECONCILIATION_RATE_LIMIT": str(_INQUIRIES_PER_S),
        }
        workers = [_worker(here, "billing", environ=environ)]
        workers += [_worker(here, "reconciliation", "webhooks", environ=environ) for _ in range(2)]
        _await(gateway, lambda: _resolved(here, unknown), unknown)
        inquiries = gateway.rates("reconcile", window_s=_WINDOW_S)
        debits = gateway.rates(window_s=_WINDOW_S)
        both = gateway.rates("sale,reconcile", window_s=_WINDOW_S)
        _end(workers)
    return InquiryKind(
        _kept("inquiries", inquiries, limit=_INQUIRIES_PER_S),
        _kept("debits", debits, limit=_BOTH_PER_S),
        both["most_in_window"] / _WINDOW_S,
        unknown,
        _resolved(here, unknown),
    )


def _lifted(here: Environment, *, debits: int) -> Lifted:
    here.forget()
    with running(_setup()) as gateway:
        _order(here, debits=debits, number=0)
        worker = _worker(here, "billing", environ={"EMP_API_URL": gateway.url, "EMP_RATE_LIMIT": _LIFTED})
        spent_s, began_s = cpu_s(worker.pid), time.monotonic()
        at_s, rss = list[float](), list[float]()

        def sent() -> int:
            count = gateway.requests().get("sale", 0)
            if count:
                at_s.append(time.monotonic() - began_s)
                rss.append(rss_bytes(worker.pid) / _MIB)
            return count

        _await(gateway, sent, debits)
        spent_s = cpu_s(worker.pid) - spent_s
        result = gateway.rates()
        _end([worker])
    return Lifted(
        debits,
        result["requests"] / result["span_s"],
        1000 * spent_s / debits,
        [at_ - at_s[0] for at_ in at_s],
        rss,
        result["per_second"],
    )


def _kept(what: str, payload: dict[str, Any], *, limit: float) -> Held:
    return Held(
        what,
        limit,
        payload["most_in_window"] / _WINDOW_S,
        (payload["least_in_window"] or 0) / _WINDOW_S,
        payload["requests"] / payload["span_s"],
        payload["requests"],
        payload["per_second"],
    )


def _order(here: Environment, *, debits: int, number: int) -> None:
    """Have an upload billed, and nothing else."""
    rng, now = random.Random(_SEED + number), datetime.now(UTC)
    owed = [Owed(made_up_iban(rng), rng.randrange(199, 899)) for _ in range(debits)]
    url = here.environ["DATABASE_URL"]
    upload_id, _ = seed_upload(url, owed, now=now)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "update billing_attempts set submit_at = null, not_submitted_reason = 'benchmark', payment_stage = 40, state = 'error'"
            " where submit_at is not null"
        )
        conn.execute(
            "update billing_runs set state = 'cancelled', finished_at = %s, pause_reason = null, paused_from = null"
            " where finished_at is null",
            (now,),
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'benchmark', %s, %s)",
            (upload_id, msgspec.json.encode(RunOptions(usage="Benchmark", recent_days=0)), now, now),
        )


def _lose(here: Environment, gateway: Simulator, count: int, *, at: datetime) -> None:
    """Have debits that the gateway took and approved, and whose answers we lost."""
    url = here.environ["DATABASE_URL"]
    made = list(seed(url, attempts=count, rng=random.Random(_SEED - 1), now=at))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "update billing_attempts set payment_stage = 10, state = 'unknown', unique_id = null, submission_count = 1, submitted_at = %s"
            " where id = any(%s)",
            (at, [seeded.id for seeded in made]),
        )
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        for start in range(0, count, 1_000):
            known = [
                {
                    "transaction_id": seeded.transaction_id,
                    "unique_id": seeded.unique_id,
                    "amount_minor": seeded.amount_minor,
                    "currency": seeded.currency,
                    "taken_at": at.isoformat(),
                    "runs": [{"status": "approved"}],
                }
                for seeded in made[start : start + 1_000]
            ]
            client.post("/ledger/adopt", json=known).raise_for_status()


def _resolved(here: Environment, unknown: int) -> int:
    with psycopg.connect(here.environ["DATABASE_URL"], autocommit=True) as conn:
        row = conn.execute(
            "select count(*) from billing_attempts where run_id is null and state = 'unknown'"
        ).fetchone()
    return unknown - (row[0] if row else 0)


def _worker(here: Environment, *queues: str, environ: dict[str, str]) -> Program:
    worker = here.start("tether-worker", "run", *queues, environ=environ)
    worker.await_line('"event":"worker started"')
    return worker


def _end(workers: Sequence[Program]) -> None:
    for worker in workers:
        worker.terminate()


def _await(gateway: Simulator, count: Callable[[], int], wanted: int) -> None:
    """Wait until a count has come to what is wanted."""
    came, moved_at = 0, time.monotonic()
    while came < wanted:
        time.sleep(_POLL_S)
        now_s, result = time.monotonic(), count()
        if result > came:
            came, moved_at = result, now_s
        elif now_s > moved_at + 60:
            raise RuntimeError(f"{came} of {wanted}, and no more come; the gateway had {gateway.requests()}")
