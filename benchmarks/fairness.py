"""
`python -m benchmarks fairness`: how long small files wait behind a large one, and what broken files cost.

- *behind a large file*: a million rows of one sender are being read; then come 20,000 rows and one row of the same sender, and one row of
  another. Measured is the time from the upload to its end, beside the same file alone.
- *broken files*: three files of 5 MB whose rows are all refused, and then one row of another sender. Measured is how long that row waits, and
  how many bytes the database has grown by.

One web process and one worker with one core, as in `intake`; Postgres has both.
"""

import argparse
import time
from pathlib import Path

import httpx
import msgspec
from tether_sandbox.settings import API_KEY
from tether_stores.queries import split_file

from benchmarks import database, sheets
from benchmarks.environment import Environment, environment
from benchmarks.fill import GROWTH
from benchmarks.intake import one_core
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_SQL = split_file("benchmarks", "sql/intake")
_PATIENCE_S = 1_800
_OTHER_KEY = "benchmark-other-sender"
_BROKEN_BYTES = 5_000_000


class Sent(msgspec.Struct, frozen=True):
    """
    An upload, timed.

    Attributes:
        state: In which it ended.
        stored: Its debtors.
        took_s: From its row to its end.
    """

    state: str
    stored: int
    took_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="rows of the large file (default: %(default)s)"
    )
    parser.add_argument(
        "--middle", type=int, default=20_000, help="rows of the middle file (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the files (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every file was read to its end."""
    with environment() as it:
        keys = {"TETHER_API_KEYS": f"sandbox:{API_KEY},other:{_OTHER_KEY}"}
        it.environ.update(keys)
        web = it.start_web(workers=1)
        with one_core():
            worker = it.start_worker("default")
        try:
            lines, found = _behind(it, args)
            more, others = _broken(it)
        finally:
            worker.kill()
            web.kill()
    title = heading("Fairness: small files behind large and broken ones", seed=args.seed)
    title += prose("The worker was bound to one core. Times run from the upload to its end, as its row says.")
    write("fairness", [*title, *lines, *more, *aims([*found, *others])])
    return 0


def _behind(it: Environment, args: argparse.Namespace) -> tuple[list[str], list[Aim]]:
    middle_rows = f"{args.middle:,} rows"
    large = sheets.written(it.folder, args.large, seed=args.seed).csv
    middle = sheets.written(it.folder, args.middle, seed=args.seed + 1).csv
    single = sheets.written(it.folder, 1, seed=args.seed + 2).csv
    other = sheets.written(it.folder, 1, seed=args.seed + 3).csv
    alone = {middle_rows: _sent(it, middle, key=API_KEY), "one row": _sent(it, single, key=_OTHER_KEY)}
    for query in (_SQL["emptied"], GROWTH["resolved"]):
        database.run(it, query)
    first = _send(it, large, key=API_KEY)
    _until(it, first, {"reading"})
    ids = {
        middle_rows: _send(it, middle, key=API_KEY),
        "one row, same sender": _send(it, single, key=API_KEY),
        "one row": _send(it, other, key=_OTHER_KEY),
    }
    ended = {title: _ended(it, upload_id) for title, upload_id in ids.items()}
    stood = _state(it, first).state
    whole = _ended(it, first)
    rows = [(f"{middle_rows}, same sender", alone[middle_rows].took_s, ended[middle_rows].took_s)]
    rows += [("one row, same sender", alone["one row"].took_s, ended["one row, same sender"].took_s)]
    rows += [("one row, another sender", alone["one row"].took_s, ended["one row"].took_s)]
    lines = [f"## Behind {args.large:,} rows", ""]
    lines += table(
        ("file", "alone, s", "behind, s"), [(name, round(a, 2), round(b, 2)) for name, a, b in rows]
    )
    lines += prose(f"When these had ended the large file was {stood}; it took {whole.took_s:,.1f} s in all.")
    worst = max(ended["one row"].took_s, ended["one row, same sender"].took_s)
    return lines, [
        Aim("a file of one row behind a large one, at most 10 s", worst, worst <= 10),
        Aim(f"{middle_rows} behind a large file, at most 30 s", rows[0][2], rows[0][2] <= 30),
    ]


def _broken(it: Environment) -> tuple[list[str], list[Aim]]:
    for query in (_SQL["emptied"], GROWTH["resolved"]):
        database.run(it, query)
    files = [_broken_file(it.folder, number) for number in range(3)]
    single = sheets.written(it.folder, 1, seed=7).csv
    before = _size(it)
    ids = [_send(it, path, key=API_KEY) for path in files]
    row = _sent(it, single, key=_OTHER_KEY)
    ended = [_ended(it, upload_id) for upload_id in ids]
    grown = _size(it) - before
    lines = ["## Three broken files of 5 MB", ""]
    lines += table(
        ("file", "ended as", "s"),
        [
            *(
                (f"broken {number}", item.state, round(item.took_s, 2))
                for number, item in enumerate(ended, 1)
            ),
            ("one row, another sender", row.state, round(row.took_s, 2)),
        ],
    )
    lines += prose(f"The database grew by {grown / 1e6:,.1f} MB.")
    return lines, [
        Aim("a file of one row behind three broken ones, at most 10 s", row.took_s, row.took_s <= 10),
        Aim("the database grows by at most 50 MB", grown / 1e6, grown <= 50e6),
    ]


def _broken_file(folder: Path, number: int) -> Path:
    """A list of which no row has a valid account."""
    path = folder / f"broken-{number}.csv"
    line = "Anna Muster;DE00{:018d};zwölf Euro;Beitrag\n"
    with path.open("w", encoding="utf-8") as file:
        file.write("Name;IBAN;Betrag;Zweck\n")
        row = number
        while file.tell() < _BROKEN_BYTES:
            file.writelines([line.format(row + some) for some in range(1_000)])
            row += 1_000
    return path


def _send(it: Environment, path: Path, *, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=it.url, headers=headers, timeout=600, trust_env=False) as api,
        path.open("rb") as file,
    ):
        answer = api.post("/api/uploads", files={"file": (path.name, file)}, data={"force": "true"})
    answer.raise_for_status()
    return int(answer.headers["Location"].rpartition("/")[2])


def _sent(it: Environment, path: Path, *, key: str) -> Sent:
    return _ended(it, _send(it, path, key=key))


def _state(it: Environment, upload_id: int) -> Sent:
    return Sent(*database.ask(it, _SQL["upload"], id=upload_id)[0])


def _ended(it: Environment, upload_id: int) -> Sent:
    return _until(it, upload_id, {"completed", "failed"})


def _until(it: Environment, upload_id: int, states: set[str]) -> Sent:
    until = time.monotonic() + _PATIENCE_S
    while (found := _state(it, upload_id)).state not in states:
        if found.state in {"completed", "failed", "needs_answer"} or time.monotonic() > until:
            raise RuntimeError(f"upload {upload_id} is {found.state}")
        time.sleep(0.02)
    return found


def _size(it: Environment) -> int:
    return int(database.ask(it, _SQL["size"])[0][0])
