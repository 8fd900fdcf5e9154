"""
Read a file without storing it: `python -m benchmarks.reading WHAT FILE`, for the benchmark of intake.

WHAT is `calamine` (the parser of workbooks alone: every row, no thought about any of them), `workbook` (Tether: a child process
parses, this one checks every row and makes the lines that COPY takes) or `text` (the same for CSV). Prints one line of JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from python_calamine import CalamineWorkbook
from tether_core.spreadsheet import Plan, Position, Refusal, Row, Rules, reading
from tether_core.spreadsheet.plan import Answers
from tether_core.uploads.problems import KeptCounts
from tether_core.uploads.upload import RowCounts
from tether_worker.uploads import chunks
from tether_worker.uploads.reader import Child, ReaderLimits, Task

_MIB = 2**20


def main() -> int:
    """Read one file."""
    what, path = sys.argv[1:]
    began, spent = time.monotonic(), time.process_time()
    if what == "calamine":
        rows = sum(1 for _ in CalamineWorkbook.from_path(path).get_sheet_by_index(0).iter_rows()) - 1
    else:
        with open(path, "rb") as file:  # noqa: PTH123 - as the worker has it
            rows = _workbook(file) if what == "workbook" else _text(file)
    fields = {
        "rows": rows,
        "took_s": time.monotonic() - began,
        "cpu_s": time.process_time() - spent,
        # Unlike ru_maxrss, which a program inherits from the one that started it.
        "peak_mib": int(
            Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]
        )
        / 1024,
        "child_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(fields) + "\n")
    return 0


def _workbook(file: BinaryIO) -> int:
    task = Task(
        "xlsx",
        "debtors.xlsx",
        Answers(),
        datetime.now(UTC).date(),
        Rules(),
        None,
        0,
        ReaderLimits(2048 * _MIB, 120),
    )
    with Child(file, task) as child:
        return _built(child.rows(), child.plan().plan)


def _text(file: BinaryIO) -> int:
    plan = reading.plan(file, name="debtors.csv")
    assert not isinstance(plan, Refusal)
    return _built(reading.rows(file, plan=plan), plan)


def _built(rows: Iterator[Row], plan: Plan) -> int:
    every = chunks.build(
        rows,
        upload_id=1,
        plan=plan,
        today=datetime.now(UTC).date(),
        rules=Rules(),
        position=Position(),
        notes=[],
        before=RowCounts(),
        kept=KeptCounts(),
        fingerprint=chunks.fingerprinter(b""),
        bytes_read=lambda: 0,
    )
    return sum(chunk.row_counts.rows for chunk in every)


if __name__ == "__main__":
    sys.exit(main())
