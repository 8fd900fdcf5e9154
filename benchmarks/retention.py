"""
`python -m benchmarks retention`: answers while old rows are pruned, and tables that do not grow.

A database is filled with notifications that are older than their period. One web process gets 500 a second with one worker, in slices: while nothing is pruned,
while another process archives and deletes the old rows at the pace of the worker, which rests after each archive, and while it does so without a rest, in
turns. So all are measured on the same tables in the same
minutes. A slice lasts for several rests, so that the first archive, with which it begins, does not count for too much. One turn is done with a fifth of the rows: where a row costs as
much there, it costs as much in a larger table. Then months are simulated on an empty
database: each brings as many notifications, events, debtors and refused rows, and the periodic tasks prune at the end of it. After the longest period the
tables have the size that they keep.
"""

import argparse
import asyncio
import multiprocessing
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.synchronize import Event
from statistics import median
from typing import Final, Literal, TypeAlias

import msgspec
from tether_core.retention.periods import Periods
from tether_stores.migrate import migrate
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.queries import split_file
from tether_stores.reconciliation.differences import CHANGED_DEBITS
from tether_stores.settings import Settings
from tether_worker.retention.archive import REST_RATIO, ArchiveDeps, archive_once
from tether_worker.retention.prune import prune_old_debtors, prune_old_uploads

from benchmarks import backlog, database
from benchmarks.environment import Environment, environment
from benchmarks.fill import filled
from benchmarks.load import Held, hold, take
from benchmarks.loaded import RATE
from benchmarks.results import Aim, aims, heading, prose, table, write
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["add_arguments", "run"]

_SQL = split_file("benchmarks", "sql/retention")
_PATH = "/api/webhooks/emp"
_WARM_S = 2.0
# Older than the longest period by default, 425 days, with the 90 days over which the rows are spread.
_AGED = timedelta(days=520)
_MONTH = timedelta(days=30)
# The tables are full when the oldest rows are as old as the longest period, which is between 14 and 15 months.
_FULL_AT = 18
_P95_RATIO_MAX = 1.25
_GROWTH_MAX = 1.05


# What the worker makes in one run, and its pause after a run.
_RUN_ROWS = 50 * 2_000
_PAUSE_S = 300
_STATED_ROWS = 10_000_000

_Pace: TypeAlias = Literal["none", "the worker's", "without a rest"]
_PACES: Final[tuple[_Pace, ...]] = ("none", "the worker's", "without a rest")


class _Slice(msgspec.Struct, frozen=True):
    """A slice of load: at which pace rows were pruned, what was answered, and how many rows went."""

    pace: _Pace
    held: Held
    pruned: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="small tables, to see that it works")
    parser.add_argument("--rows", type=int, help="old notifications (default: 1000000, short: 20000)")
    parser.add_argument(
        "--seconds", type=float, help="of each slice; there are three to a turn (default: 30, short: 4)"
    )
    parser.add_argument(
        "--turns",
        type=int,
        help="turns at most, fewer where nothing old is left (default: 3, short: 1)",
    )
    parser.add_argument(
        "--monthly", type=int, help="notifications in a simulated month (default: 10000, short: 1000)"
    )
    parser.add_argument("--months", type=int, default=28, help="simulated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every request was answered and rows were pruned."""
    rows = args.rows or (20_000 if args.short else 1_000_000)
    seconds = args.seconds or (4.0 if args.short else 30.0)
    turns = args.turns or (1 if args.short else 3)
    monthly = args.monthly or (1_000 if args.short else 10_000)
    by_rows: dict[int, list[_Slice]] = {}
    with environment() as it:
        for place, (size, size_turns) in enumerate(((rows // 5, 1), (rows, turns))):
            old = database.added(it, f"old_{size}")
            migrate(old.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
            sys.stderr.write(f"filling {size:,} old rows\n")
            filled(old, size, now=datetime.now(UTC) - _AGED, only=("notifications",))
            by_rows[size] = _loaded(old, seconds=seconds, turns=size_turns, seed=args.seed + place)
        left = int(database.ask(old, _SQL["left"])[0][0])
        empty = database.added(it, "months")
        migrate(empty.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        months = asyncio.run(_simulated(empty, months=args.months, monthly=monthly))
    slices = by_rows[rows]
    lines = heading("Retention: answers while rows are pruned, and the size of tables", seed=args.seed)
    lines += _load_report(slices, rows=rows, left=left, seconds=seconds)
    lines += _rate_report(by_rows, seconds=seconds)
    lines += _size_report(months, monthly=monthly)
    lines += aims(_aims(slices, months))
    write("retention-short" if args.short else "retention", lines)
    every = [item for items in by_rows.values() for item in items]
    failed = any(item.held.sent.failures for item in every)
    return 1 if failed or not any(item.pruned for item in slices) else 0


def _loaded(on: Environment, *, seconds: float, turns: int, seed: int) -> list[_Slice]:
    """Slices in turns, first without pruning."""
    context = multiprocessing.get_context("spawn")
    works, rests, ends = context.Event(), context.Event(), context.Event()
    folder = str(on.folder / "archives")
    pruner = context.Process(
        target=_prune, args=(on.environ["DATABASE_URL"], folder, works, rests, ends), daemon=True
    )
    web = on.start_web(workers=1)
    worker = on.start_worker("webhooks")
    programs = {"web": web.pid, "worker": worker.pid, **on.stores}
    slices: list[_Slice] = []
    pruner.start()
    try:
        _slice(on, programs, seconds=_WARM_S, number=seed * 10_000, pace="none")
        for number in range(len(_PACES) * turns):
            pace = _PACES[number % len(_PACES)]
            works.clear()
            (rests.set if pace == "the worker's" else rests.clear)()
            if pace != "none":
                works.set()
            found = _slice(on, programs, seconds=seconds, number=seed * 10_000 + number + 1, pace=pace)
            slices.append(found)
            sys.stderr.write(
                f"slice {number + 1}/{len(_PACES) * turns}: p95 {found.held.sent.p95_ms:.1f} ms, {found.pruned:,} rows pruned\n"
            )
            if pace == "without a rest":
                if not found.pruned:
                    break  # nothing old is left
                if number + 1 < len(_PACES) * turns:
                    _finished(on, works=works, rests=rests)
        works.clear()
        backlog.resolved(on)
    finally:
        ends.set()
        works.set()
        pruner.join(20)
        if pruner.is_alive():
            pruner.kill()
        worker.kill()
        web.kill()
    return slices


def _finished(on: Environment, *, works: Event, rests: Event) -> None:
    """Let the archive that was under way when a slice ended be deleted, which would else count for the next slice; 30 s at most."""
    archives = int(database.ask(on, _SQL["archives"])[0][0])
    rests.set()
    works.set()
    ends_at = time.monotonic() + 30
    # One more archive is made and deleted, and the rest after it has begun.
    while time.monotonic() < ends_at:
        made, waiting = database.ask(on, _SQL["archives"])[0]
        if made > archives and not waiting:
            break
        time.sleep(0.05)
    works.clear()


def _slice(on: Environment, programs: dict[str, int], *, seconds: float, number: int, pace: _Pace) -> _Slice:
    count = int(RATE * seconds)
    bodies = take(
        notifications(on.seeded(count // PER_ATTEMPT + 1, number=number), number=number),
        count,
        on.folder / f"slice-{number}",
    )
    before = _archived(on)
    held = hold(on.url + _PATH, bodies, rate=RATE, seconds=seconds, programs=programs)
    return _Slice(pace, held, _archived(on) - before)


def _archived(on: Environment) -> int:
    """How many old rows were deleted so far; those of archives that are being pruned are not counted yet."""
    return int(database.ask(on, _SQL["pruned"])[0][0])


def _prune(url: str, folder: str, works: Event, rests: Event, ends: Event) -> None:
    """
    Archive and delete as the worker does, without its pause between two runs, while *works* is set; in a process of its own.

    Args:
        rests: Set for the rest of the worker after each archive.
    """
    asyncio.run(_pruned(url, folder, works, rests, ends))


async def _pruned(url: str, folder: str, works: Event, rests: Event, ends: Event) -> None:
    store = open_objects(Settings(objects_dir=folder))
    async with open_pool(url, name="bench-prune", max_size=2) as pool:
        deps = ArchiveDeps(
            pool,
            store,
            Periods(),
            lambda: datetime.now(UTC),
            lambda: secrets.token_hex(8),
            lambda: ends.is_set() or not works.is_set(),
        )
        while not ends.is_set():
            paced = _paced(deps, works=works, rests=rests, ends=ends)
            if not works.is_set() or not await archive_once(paced, "notifications"):
                await asyncio.sleep(0.2)


def _paced(deps: ArchiveDeps, *, works: Event, rests: Event, ends: Event) -> ArchiveDeps:
    """For a run that ends when the pace changes: one that rests would go on resting."""
    is_resting = rests.is_set()
    return msgspec.structs.replace(
        deps,
        rest_ratio=REST_RATIO if is_resting else 0.0,
        stopping=lambda: ends.is_set() or not works.is_set() or rests.is_set() != is_resting,
    )


async def _simulated(on: Environment, *, months: int, monthly: int) -> list[dict[str, int]]:
    """The sizes of the tables at the end of each month."""
    url, folder = on.environ["DATABASE_URL"], on.folder / "months"
    folder.mkdir()
    store = open_objects(Settings(objects_dir=str(folder)))
    began = datetime.now(UTC) - _MONTH * months
    found: list[dict[str, int]] = []
    async with open_pool(url, name="bench-months", max_size=2) as pool:
        for month in range(months):
            at = began + _MONTH * month
            _month(on, at=at, first=month * monthly, rows=monthly)
            deps = ArchiveDeps(
                pool,
                store,
                Periods(),
                partial(_same, at + _MONTH),
                lambda: secrets.token_hex(8),
                lambda: False,
            )
            for kind in ("notifications", "events"):
                while await archive_once(deps, kind):
                    pass
            for task in (
                prune_old_uploads(pool, store, periods=Periods(), clock=deps.clock),
                prune_old_debtors(pool, periods=Periods(), clock=deps.clock),
            ):
                await task.do()
            database.run(on, _SQL["vacuumed"])
            found.append({name: int(size) for name, size in database.ask(on, _SQL["sizes"])})
            sys.stderr.write(f"month {month + 1}/{months}: inbox {found[-1]['webhook_events'] >> 20} MiB\n")
    return found


def _same(at: datetime) -> datetime:
    return at


def _month(on: Environment, *, at: datetime, first: int, rows: int) -> None:
    facts = {"at": at, "first": first, "rows": rows}
    database.run(on, _SQL["notifications"], **facts)
    database.run(on, _SQL["events"], **facts)
    database.run(on, _SQL["reviewed"], name=CHANGED_DEBITS, at=at)
    upload_id = database.ask(on, _SQL["upload"], at=at, first=first)[0][0]
    database.run(on, _SQL["debtors"], upload_id=upload_id, **facts)
    database.run(on, _SQL["problems"], upload_id=upload_id, rows=rows)


def _load_report(slices: Sequence[_Slice], *, rows: int, left: int, seconds: float) -> list[str]:
    pruned = sum(item.pruned for item in slices)
    lines = ["## Answers while rows are pruned", ""]
    lines += prose(
        f"{rows:,} old notifications; {RATE}/s to one web process with one worker, slices of {seconds:g} s in turns. Pruning writes an archive of 2,000 rows,",
        f"reads it back, and deletes its rows in batches of 200. The worker rests {REST_RATIO:g} times as long as an archive took, and for {_PAUSE_S} s after 50 archives, which no slice has.",
        f"So it worked for {_share(slices):.1%} of its slices, by the rows that went. {pruned:,} rows were pruned; {left:,} notifications are in the inbox at the end.",
    )
    return lines + table(
        (
            "slice",
            "pruning",
            "rows pruned",
            "rows/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "failures",
            "Postgres CPU us",
        ),
        [
            (
                number + 1,
                item.pace,
                item.pruned,
                round(item.pruned / seconds),
                item.held.sent.p50_ms,
                item.held.sent.p95_ms,
                item.held.sent.p99_ms,
                item.held.sent.failures,
                round(item.held.cost.us.get("Postgres", 0.0)),
            )
            for number, item in enumerate(slices)
        ],
    )


def _share(slices: Sequence[_Slice]) -> float:
    """The share of its slices in which the worker worked: what it pruned, over what was pruned without a rest."""
    at_its_pace = sum(item.pruned for item in slices if item.pace == "the worker's")
    return at_its_pace / max(sum(item.pruned for item in slices if item.pace == "without a rest"), 1)


def _rate_report(by_rows: Mapping[int, Sequence[_Slice]], *, seconds: float) -> list[str]:
    lines = ["## What a row costs in a larger table", ""]
    figures = {rows: _pruning(slices, seconds=seconds) for rows, slices in by_rows.items()}
    per_s = max(figures[max(figures)][1], 1)
    run_s = _RUN_ROWS / per_s * (1 + REST_RATIO)
    worker_per_s = _RUN_ROWS / (run_s + _PAUSE_S)
    lines += prose(
        "Medians of the slices. Rows are found and deleted by their id, so the rate should not depend on how many there are; a",
        "slice in which the rows ran out counts as a whole one. By the rate of the larger table,",
        f"{_STATED_ROWS:,} rows take {_STATED_ROWS / per_s / 60:.0f} minutes without a rest. A worker with its rest makes a run of {_RUN_ROWS:,} rows in {run_s:.0f} s and pauses for",
        f"{_PAUSE_S} s: {worker_per_s:.0f} rows a second, {_STATED_ROWS / worker_per_s / 3600:.1f} hours for them. This is computed and was not run.",
    )
    return lines + table(
        (
            "old rows",
            "rows pruned",
            "rows/s without a rest",
            "p95 ms without a rest",
            "p95 ms at the worker's pace",
            "p95 ms without pruning",
        ),
        [(rows, *figure) for rows, figure in figures.items()],
    )


def _pruning(slices: Sequence[_Slice], *, seconds: float) -> tuple[int, int, float, float, float]:
    """Rows pruned, a second without a rest, and the median p95 without a rest, at the worker's pace and without pruning."""
    # In the last slice there may have been nothing old left.
    busy = [item for item in slices if item.pace == "without a rest" and item.pruned]
    rate = round(median(item.pruned for item in busy) / seconds) if busy else 0
    pruned = sum(item.pruned for item in slices)
    return pruned, rate, _p95(slices, "without a rest"), _p95(slices, "the worker's"), _p95(slices, "none")


def _p95(slices: Sequence[_Slice], pace: _Pace) -> float:
    """The median of the slices at a pace, in milliseconds; slices in which nothing old was left are not counted."""
    return median(
        item.held.sent.p95_ms for item in slices if item.pace == pace and (item.pruned or pace == "none")
    )


def _size_report(months: Sequence[dict[str, int]], *, monthly: int) -> list[str]:
    lines = ["## The size of tables", ""]
    lines += prose(
        f"{len(months)} simulated months of {monthly:,} notifications and events, a tenth as many debtors without a debit and a fiftieth as many refused",
        "rows; sizes in KiB with indexes at the end of a month, after pruning and vacuum. The keys of archived notifications stay, so that a repeat is",
        "recognised in any year; they are the part that grows.",
    )
    names = list(months[0])
    return lines + table(
        ("month", *names),
        [
            (number + 1, *(size >> 10 for size in sizes.values()))
            for number, sizes in enumerate(months)
            if (number + 1) % 4 == 0
        ],
    )


def _aims(slices: Sequence[_Slice], months: Sequence[dict[str, int]]) -> list[Aim]:
    ratio = _p95(slices, "the worker's") / _p95(slices, "none")
    found = [
        Aim(
            f"p95 while the worker prunes at its pace over p95 without, at most {_P95_RATIO_MAX}",
            ratio,
            ratio <= _P95_RATIO_MAX,
        )
    ]
    if len(months) > _FULL_AT:
        for name in ("webhook_events", "outbox", "debtors", "problems"):
            growth = months[-1][name] / months[_FULL_AT - 1][name]
            found.append(
                Aim(
                    f"{name} after {len(months)} months over after {_FULL_AT}, at most {_GROWTH_MAX}",
                    growth,
                    growth <= _GROWTH_MAX,
                )
            )
    return found
