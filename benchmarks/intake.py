"""
`python -m benchmarks intake`: from a spreadsheet to debtors, compared with COPY alone and with common libraries.

- *side by side*: one CSV through the real web process, object store, worker and Postgres; the same rows by raw COPY, which is
  the limit; pandas with SQLAlchemy, polars with ADBC, and openpyxl row by row on the workbook of the same rows. In turns.
- *a million rows*: ours, the raw COPY and pandas with SQLAlchemy, and the worker's memory.
- *workbooks*: parsing and checking, beside the parser alone.
- *a large upload*: what it adds to the memory of the web process.
- *growth*: 10,000, 100,000 and a million rows into a table that holds ten million debtors.

The worker, and each program compared with it, may use one core; Postgres has the others.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
import msgspec
import psutil
import psycopg
from tether_sandbox.services.program import Program
from tether_sandbox.settings import API_KEY
from tether_stores.migrate import migrate
from tether_stores.queries import split_file

from benchmarks import database, plots, sheets
from benchmarks.environment import Environment, cpu_s, environment
from benchmarks.environments import PEERS, NotInstalled, programs
from benchmarks.fill import GROWTH
from benchmarks.loaded import turned
from benchmarks.results import Aim, aims, heading, prose, table, write
from benchmarks.sheets import Sheets

__all__ = ["add_arguments", "one_core", "run"]

_SQL = split_file("benchmarks", "sql/intake")
_PARTS = ("beside", "large", "workbooks", "upload", "growth")
_PATIENCE_S = 900
_MIB = 2**20
_OURS, _LIMIT, _OPENPYXL = "**Tether**", "raw COPY of ready rows", "openpyxl, row by row (XLSX)"
_PANDAS = "pandas, SQLAlchemy"
_PEERS = {
    _PANDAS: "pandas_sqlalchemy",
    "polars, ADBC": "polars_adbc",
    _OPENPYXL: "openpyxl_rows",
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a turn gave.

    Attributes:
        rows: Of the file.
        took_s: Until the last of them was committed.
        client_us: CPU microseconds per row of the program that reads the file, 0 where it was not taken.
        postgres_us: The same of Postgres.
        peak_mib: Most memory that program ever had, its own start included.
        child_mib: The same of its child process, 0 without one.
    """

    rows: int
    took_s: float
    client_us: float = 0.0
    postgres_us: float = 0.0
    peak_mib: float = 0.0
    child_mib: float = 0.0

    @property
    def per_s(self) -> float:
        """Rows per second."""
        return self.rows / self.took_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="small files, to see that it works")
    parser.add_argument(
        "--rows", type=int, help="side by side and of the workbook (default: 200000, short: 5000)"
    )
    parser.add_argument("--large", type=int, help="rows of the large file (default: 1000000, short: 20000)")
    parser.add_argument("--stored", type=int, help="debtors already stored (default: 10000000, short: 50000)")
    parser.add_argument("--upload-mib", type=int, help="size of the large upload (default: 190, short: 20)")
    parser.add_argument("--rounds", type=int, help="rounds (default: 3, short: 1)")
    parser.add_argument("--parts", help=f"with commas, of {','.join(_PARTS)} (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the files (default: %(default)s)")


class _Plan(msgspec.Struct, frozen=True):
    """How much of everything."""

    rows: int
    large: int
    stored: int
    upload_mib: int
    rounds: int
    seed: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the files of *growth*."""
        return self.large // 100, self.large // 10, self.large


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every file was read to its end."""
    short = bool(args.short)
    much = _Plan(
        rows=args.rows or (5_000 if short else 200_000),
        large=args.large or (20_000 if short else 1_000_000),
        stored=args.stored or (50_000 if short else 10_000_000),
        upload_mib=args.upload_mib or (20 if short else 190),
        rounds=args.rounds or (1 if short else 3),
        seed=args.seed,
    )
    parts = args.parts.split(",") if args.parts else _PARTS
    measured: dict[str, Callable[[Environment, _Plan, str], tuple[list[str], list[Aim]]]] = {
        "beside": _beside,
        "large": _large,
        "workbooks": _workbooks,
        "upload": _upload,
        "growth": _growth,
    }
    name = "intake-short" if short else "intake"
    result: list[str] = []
    found: list[Aim] = []
    with environment() as it:
        database.run(it, _SQL["peers_table"])
        for part in parts:
            sys.stderr.write(f"{part}\n")
            lines, some = measured[part](it, much, name)
            result += lines
            found += some
    lines = heading("Intake: from a spreadsheet to debtors", seed=much.seed)
    lines += prose(
        "The worker, and each program beside it, was bound to one core; Postgres has both. Times end with the commit of the last row.",
        "Peaks are the most a process ever held, its start included. Medians; ratios are made within a round, with the lowest and",
        "the highest.",
    )
    write(name, [*lines, *result, *aims(found)])
    return 0


# --- side by side


def _beside(it: Environment, much: _Plan, name: str) -> tuple[list[str], list[Aim]]:
    files = sheets.written(it.folder, much.rows, seed=much.seed, workbook=True)
    ways: dict[str, Callable[[], Run]] = {
        _OURS: lambda: _ours(it, files.csv, files),
        _LIMIT: lambda: _copied(it, files),
    }
    missing: dict[str, str] = {}
    for title, peer in _PEERS.items():
        try:
            python = programs(peer) / "python"
        except NotInstalled as why:
            missing[title] = str(why)
            continue
        assert files.xlsx is not None
        path = files.xlsx if title == _OPENPYXL else files.csv
        ways[title] = lambda python=python, peer=peer, path=path: _peer(it, python, peer, path, files)  # type: ignore[misc]  # bound here
    rounds = _rounds(it, ways, much.rounds)
    lines = [f"## Side by side: {much.rows:,} rows", ""]
    lines += prose(
        "Only Tether screens (repeats within the file, earlier uploads, the blacklist), keeps what is wrong with each row, writes",
        "into an indexed table and can go on after a crash; the others put checked rows into a bare table.",
    )
    lines += _table(rounds, much.rounds)
    lines += [
        line for title, why in missing.items() for line in prose(f"{title}: **not available** ({why}).")
    ]
    labels = list(rounds)
    plots.bars(
        name,
        [label.strip("*") for label in labels][::-1],
        {
            "rows per second": [_middle(rounds[label], "per_s") for label in labels][::-1],
            "peak memory, MiB": [_middle(rounds[label], "peak_mib") for label in labels][::-1],
        },
        marked="Tether",
    )
    return lines, []


def _rounds(it: Environment, ways: dict[str, Callable[[], Run]], count: int) -> dict[str, list[Run]]:
    rounds: dict[str, list[Run]] = {title: [] for title in ways}
    for run_of in range(count):
        for title, way in turned(ways, run_of):
            sys.stderr.write(f"round {run_of + 1}/{count}: {title}\n")
            database.run(it, _SQL["emptied"])
            database.run(it, _SQL["peers_emptied"])
            database.run(it, GROWTH["resolved"])
            rounds[title].append(way())
    return rounds


def _table(rounds: dict[str, list[Run]], count: int) -> list[str]:
    return table(
        (
            "way",
            "rows/s",
            f"of raw COPY ({count} rounds)",
            "CPU us/row",
            "Postgres CPU us/row",
            "peak MiB",
            "child MiB",
        ),
        [
            (
                title,
                round(_middle(runs, "per_s")),
                _ratio(runs, rounds[_LIMIT]),
                _middle(runs, "client_us"),
                _middle(runs, "postgres_us"),
                round(_middle(runs, "peak_mib")),
                round(_middle(runs, "child_mib")) or "",
            )
            for title, runs in rounds.items()
        ],
    )


def _middle(runs: Sequence[Run], figure: str) -> float:
    return float(median(getattr(run_of, figure) for run_of in runs))


def _ratios(runs: Sequence[Run], others: Sequence[Run]) -> list[float]:
    return [item.per_s / other.per_s for item, other in zip(runs, others, strict=True)]


def _ratio(runs: Sequence[Run], others: Sequence[Run]) -> str:
    found = _ratios(runs, others)
    if len(found) == 1 or runs is others:
        return f"{median(found):.3f}"
    return f"{median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


# --- one turn


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Programs started in the block may use one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _ours(it: Environment, path: Path, files: Sheets) -> Run:
    """Send a file to a web process, and have a fresh worker read it; both are real."""
    with _web(it), _api(it) as api, _worker(it) as worker:
        return _read(it, api, worker, path, files)


def _read(it: Environment, api: httpx.Client, worker: Program, path: Path, files: Sheets) -> Run:
    postgres = it.stores["Postgres"]
    spent = cpu_s(worker.pid), cpu_s(postgres)
    with path.open("rb") as file:
        answer = api.post("/api/uploads", files={"file": (path.name, file)}, data={"force": "true"})
    answer.raise_for_status()
    upload_id = int(answer.headers["Location"].rpartition("/")[2])
    child_mib, until = 0.0, time.monotonic() + _PATIENCE_S
    while True:
        state, stored, took_s = database.ask(it, _SQL["upload"], id=upload_id)[0]
        if state == "completed":
            break
        if state not in {"received", "examining", "reading"} or time.monotonic() > until:
            raise RuntimeError(f"{path.name} is {state}")
        child_mib = max(
            [child_mib, *(_peak_mib(child.pid) for child in psutil.Process(worker.pid).children())]
        )
        time.sleep(0.1)
    if stored != files.good:
        raise RuntimeError(f"{stored} of {files.good} debtors were stored")
    us = 1e6 / files.rows
    return Run(
        rows=files.rows,
        took_s=took_s,
        client_us=(cpu_s(worker.pid) - spent[0]) * us,
        postgres_us=(cpu_s(postgres) - spent[1]) * us,
        peak_mib=_peak_mib(worker.pid),
        child_mib=child_mib,
    )


@contextlib.contextmanager
def _web(it: Environment) -> Iterator[Program]:
    web = it.start_web(workers=1)
    try:
        yield web
    finally:
        web.kill()


@contextlib.contextmanager
def _worker(it: Environment) -> Iterator[Program]:
    with one_core():
        worker = it.start_worker("default")
    try:
        yield worker
    finally:
        worker.kill()


def _api(it: Environment) -> httpx.Client:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    return httpx.Client(base_url=it.url, headers=headers, timeout=600, trust_env=False)


def _peak_mib(pid: int) -> float:
    """The most memory a process has held so far; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _copied(it: Environment, files: Sheets) -> Run:
    """Have Postgres take the ready rows, by COPY into a bare table: nothing can be faster."""
    postgres = it.stores["Postgres"]
    spent = time.process_time(), cpu_s(postgres)
    with (
        one_core(),
        psycopg.connect(it.environ["DATABASE_URL"], prepare_threshold=None) as conn,
        files.ready.open("rb") as file,
    ):
        began = time.monotonic()
        with conn.cursor().copy(_SQL["peers_copy"]) as stream:
            while part := file.read(1 << 18):
                stream.write(part)
        conn.commit()
        took_s = time.monotonic() - began
    us = 1e6 / files.rows
    return Run(
        rows=files.rows,
        took_s=took_s,
        client_us=(time.process_time() - spent[0]) * us,
        postgres_us=(cpu_s(postgres) - spent[1]) * us,
    )


def _peer(it: Environment, python: Path, peer: str, path: Path, files: Sheets) -> Run:
    """Have a peer load the file."""
    postgres = cpu_s(it.stores["Postgres"])
    figures = _measured(it, str(python), str(PEERS / peer / "load.py"), str(path))
    if figures["rows"] != files.good or database.ask(it, _SQL["peers_rows"]) != [(files.good,)]:
        raise RuntimeError(f"{peer} loaded {figures['rows']} of {files.good} rows")
    us = 1e6 / files.rows
    return Run(
        rows=files.rows,
        took_s=figures["took_s"],
        client_us=figures.get("cpu_s", 0.0) * us,
        postgres_us=(cpu_s(it.stores["Postgres"]) - postgres) * us,
        peak_mib=figures["peak_mib"],
    )


def _measured(it: Environment, *command: str, bound: bool = True) -> dict[str, float]:
    """Run a program to its end, and read the line of JSON it prints."""
    place = {"PYTHONPATH": str(Path(__file__).parents[1])} if "-m" in command else {}
    with one_core() if bound else contextlib.nullcontext():
        program = it.start(*command, environ=place)
    if program.wait(timeout_s=_PATIENCE_S):
        raise RuntimeError(f"{command}: {program.stderr[-500:]}")
    result: dict[str, float] = json.loads(program.stdout)
    return result


# --- a million rows, workbooks, a large upload


def _large(it: Environment, much: _Plan, _: str) -> tuple[list[str], list[Aim]]:
    files = sheets.written(it.folder, much.large, seed=much.seed + 1)
    ways: dict[str, Callable[[], Run]] = {
        _OURS: lambda: _ours(it, files.csv, files),
        _LIMIT: lambda: _copied(it, files),
    }
    absent: list[str] = []
    try:
        python = programs(_PEERS[_PANDAS]) / "python"
    except NotInstalled as exc:
        absent = prose(f"{_PANDAS}: **not available** ({exc}).")
    else:
        ways[_PANDAS] = lambda: _peer(it, python, _PEERS[_PANDAS], files.csv, files)
    rounds = _rounds(it, ways, much.rounds)
    lines = [f"## {much.large:,} rows of CSV", "", *_table(rounds, much.rounds), *absent]
    ours = rounds[_OURS]
    per_s, peak = _middle(ours, "per_s"), max(run_of.peak_mib for run_of in ours)
    found = [
        Aim(f"{much.large:,} rows of CSV into debtors, rows/s, at least 60000", per_s, per_s >= 60_000),
        Aim("peak memory of the worker, at most 150 MiB", peak, peak <= 150),
    ]
    if _PANDAS in rounds:
        ratio = median(_ratios(ours, rounds[_PANDAS]))
        found.insert(1, Aim(f"the same : {_PANDAS}, at least 3", ratio, ratio >= 3))
    return lines, found


def _workbooks(it: Environment, much: _Plan, _: str) -> tuple[list[str], list[Aim]]:
    files = sheets.written(it.folder, much.rows, seed=much.seed + 2, workbook=True)
    assert files.xlsx is not None
    xlsx, text = str(files.xlsx), str(files.csv)

    def reads(what: str, path: str, *, bound: bool) -> Callable[[], Run]:
        def read() -> Run:
            figures = _measured(it, sys.executable, "-m", "benchmarks.reading", what, path, bound=bound)
            if figures["rows"] != files.rows:
                raise RuntimeError(f"{what} gave {figures['rows']} of {files.rows} rows")
            return Run(
                rows=files.rows,
                took_s=figures["took_s"],
                client_us=figures["cpu_s"] * 1e6 / files.rows,
                peak_mib=figures["peak_mib"],
                child_mib=figures["child_mib"],
            )

        return read

    alone, apart, together = (
        "calamine alone",
        "parse and check, child on another core",
        "the same, both on one core",
    )
    ways = {
        alone: reads("calamine", xlsx, bound=True),
        apart: reads("workbook", xlsx, bound=False),
        together: reads("workbook", xlsx, bound=True),
        "CSV: parse and check, one core": reads("text", text, bound=True),
        "XLSX into debtors": lambda: _ours(it, files.xlsx or Path(), files),
    }
    rounds = _rounds(it, ways, much.rounds)
    lines = [f"## Workbooks: {much.rows:,} rows of XLSX", ""]
    lines += prose(
        "A workbook is parsed by a child process and checked by its parent, so that a hostile file cannot end the worker; with two",
        "cores the two overlap. *Calamine alone* reads every row and does nothing with it. Peaks are of the parent.",
    )
    lines += table(
        ("way", "rows/s", "of calamine alone", "CPU us/row", "peak MiB", "child MiB"),
        [
            (
                title,
                round(_middle(runs, "per_s")),
                _ratio(runs, rounds[alone]),
                _middle(runs, "client_us"),
                round(_middle(runs, "peak_mib")),
                round(_middle(runs, "child_mib")) or "",
            )
            for title, runs in rounds.items()
        ],
    )
    parent = max(run_of.peak_mib for run_of in rounds["XLSX into debtors"])
    found = [Aim("XLSX, the worker's own memory, at most 150 MiB", parent, parent <= 150)]
    for title in (apart, together):
        ratio = median(_ratios(rounds[title], rounds[alone]))
        found.insert(0, Aim(f"XLSX, {title} : calamine alone, at least 0.6", ratio, ratio >= 0.6))
    return lines, found


def _upload(it: Environment, much: _Plan, _: str) -> tuple[list[str], list[Aim]]:
    """Send a large file to a fresh web process; no worker reads it."""
    path = it.folder / "large.csv"
    line = b"Anna Schmidt;DE89370400440532013000;12,50;" + b"x" * 80 + b"\r\n"
    with path.open("wb") as file:
        file.write(b"Name;IBAN;Betrag;Text\r\n")
        for _number in range(much.upload_mib * _MIB // (len(line) * 1_000)):
            file.write(line * 1_000)
    rows = []
    with _web(it) as web, _api(it) as api:
        small = it.folder / "small.csv"
        small.write_bytes(line * 1_000)
        _sent(api, small)  # so that what the first upload loads is not counted as the large one's
        before = _held_mib(web)
        began = time.monotonic()
        _sent(api, path)
        took_s = time.monotonic() - began
        after = _held_mib(web)
        size_mib = path.stat().st_size / _MIB
        rows.append((round(size_mib), took_s, round(before), round(after), after - before))
    path.unlink()
    lines = ["## A large upload", ""]
    lines += prose(
        "Peak memory of the web process before and after one upload; the object store is a folder."
    )
    lines += table(("MiB", "seconds", "peak before, MiB", "peak after, MiB", "added, MiB"), rows)
    return lines, [
        Aim(f"{round(size_mib)} MiB uploaded add at most 32 MiB", after - before, after - before <= 32)
    ]


def _sent(api: httpx.Client, path: Path) -> None:
    with path.open("rb") as file:
        api.post("/api/uploads", files={"file": (path.name, file)}, data={"force": "true"}).raise_for_status()


def _held_mib(program: Program) -> float:
    root = psutil.Process(program.pid)
    return max(_peak_mib(item.pid) for item in (root, *root.children(recursive=True)))


# --- growth


def _growth(it: Environment, much: _Plan, name: str) -> tuple[list[str], list[Aim]]:
    full = database.added(it, "grown")
    migrate(full.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
    _fill(full, much.stored)
    empty = database.added(it, "fresh")
    migrate(empty.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
    files = [
        sheets.written(it.folder, rows, seed=much.seed + 10 + place) for place, rows in enumerate(much.sizes)
    ]
    runs: dict[tuple[int, int], Run] = {}
    for on, stored in ((empty, 0), (full, much.stored)):
        on.forget()
        with _web(on), _api(on) as api:
            for file in files:
                sys.stderr.write(f"{file.rows} rows into {stored}\n")
                database.run(on, GROWTH["resolved"])
                with _worker(on) as worker:
                    runs[stored, file.rows] = _read(on, api, worker, file.csv, file)
    lines = [f"## Growth: with {much.stored:,} debtors already stored", ""]
    lines += prose("Into an empty table, and into a full one; a fresh worker each time, one turn each.")
    lines += table(
        (
            "stored",
            "rows of the file",
            "seconds",
            "rows/s",
            "us a row : those of the smallest",
            "CPU us/row",
            "Postgres CPU us/row",
            "worker peak MiB",
        ),
        [
            (
                stored,
                rows,
                run_of.took_s,
                round(run_of.per_s),
                runs[stored, much.sizes[0]].per_s / run_of.per_s,
                run_of.client_us,
                run_of.postgres_us,
                round(run_of.peak_mib),
            )
            for (stored, rows), run_of in runs.items()
        ],
    )
    along = [float(rows) for rows in much.sizes]
    plots.lines(
        name.replace("intake", "intake-growth"),
        {
            "seconds": {
                f"{stored:,} stored": (along, [runs[stored, rows].took_s for rows in much.sizes])
                for stored in (0, much.stored)
            },
            "peak memory of the worker, MiB": {
                f"{stored:,} stored": (along, [runs[stored, rows].peak_mib for rows in much.sizes])
                for stored in (0, much.stored)
            },
        },
        across="rows of the file",
        logarithmic=True,
    )
    _, middle, large = much.sizes
    grown = runs[much.stored, middle].per_s / runs[much.stored, large].per_s
    peak = max(run_of.peak_mib for run_of in runs.values())
    return lines, [
        Aim(
            f"time a row of {large:,} : of {middle:,}, {much.stored:,} stored, at most 1.2",
            grown,
            grown <= 1.2,
        ),
        Aim("peak memory of the worker at any size, at most 150 MiB", peak, peak <= 150),
    ]


def _fill(on: Environment, rows: int) -> None:
    """Fill the table of debtors by SQL, without indexes first."""
    now = datetime.now(UTC)
    with psycopg.connect(on.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
        with conn.transaction():
            conn.execute(GROWTH["quickly"])
            indexes: list[tuple[str, str]] = conn.execute(GROWTH["indexes"], {"table": "debtors"}).fetchall()
            for drop, _ in indexes:
                conn.execute(drop.encode())
            for first in range(1, rows + 1, 500_000):
                last = min(first + 499_999, rows)
                sys.stderr.write(f"filling: {last} of {rows}\n")
                conn.execute(_SQL["stored"], {"first": first, "last": last, "now": now})
            for _, make in indexes:
                conn.execute(make.encode())
        conn.execute(_SQL["tidied"])
        conn.execute(GROWTH["resolved"])
