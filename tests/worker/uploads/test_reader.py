"""The process that parses workbooks: what it gives, what it may use, and how it may end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Answers, FileRefused, Kind, Plan, Row, Rules, reading
from tether_core.spreadsheet.cells import column_letters
from tether_core.spreadsheet.outcomes import Debtor
from tether_core.spreadsheet.rows import read
from tether_core.spreadsheet.view import BLIND, MERGES_MAX, View
from tether_sandbox.services.guard import ended
from tether_worker.uploads import reader
from tether_worker.uploads.reader import Child, ReaderLimits, Task

from tests.data.spreadsheets import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[2] / "data" / "spreadsheets"


def task(
    kind: Kind = "xlsx",
    *,
    plan: Plan | None = None,
    after: int = 0,
    answers: Answers = Answers(),  # noqa: B008 - frozen
    memory_bytes: int = 1 << 30,
    time_s: float = 20,
) -> Task:
    """Tell a child what to do with a workbook."""
    limits = ReaderLimits(memory_bytes, time_s)
    return Task(kind, f"list.{kind}", answers, date(2026, 3, 2), Rules(), plan, after, limits)


@contextlib.contextmanager
def child(data: bytes, result: Task) -> Iterator[Child]:
    """Have a child for these bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with Child(file, result) as started:
            yield started


def code_of(data: bytes, result: Task) -> str:
    """Tell why a child refuses these bytes."""
    with child(data, result) as started, pytest.raises(FileRefused) as refused:
        list(started.plan().rows and started.rows())
    return refused.value.refusal.code


@pytest.mark.parametrize("kind", ["xlsx", "xlsb", "xls", "ods"])
def test_the_child_gives_what_parsing_here_would(kind: Kind) -> None:
    """A row changed or lost on its way between processes would be stored wrong, and nobody would see where."""
    path = DATA / f"list.{kind}"
    here = reading.plan(str(path), name=path.name)
    assert isinstance(here, Plan)
    with child(path.read_bytes(), task(kind)) as started:
        excerpt = started.plan()
        rows = list(started.rows())
    assert excerpt.plan == here
    assert excerpt == reading.preview(str(path), plan=here, today=date(2026, 3, 2))
    assert rows == list(reading.rows(str(path), plan=here))


def test_reading_goes_on_after_a_row_with_the_plan_given() -> None:
    """A worker that takes an upload over must not read its first rows again, nor decide anything anew."""
    data = (DATA / "list.xlsx").read_bytes()
    with child(data, task()) as started:
        plan = started.plan().plan
        every = list(started.rows())
    with child(data, task(plan=plan, after=every[1].number)) as started:
        assert list(started.rows()) == every[2:]


def test_more_rows_than_fit_a_batch_come_in_order() -> None:
    """Rows are sent a thousand at a time; one lost at the seam would be a debtor nobody bills."""
    rows = [["Name", "IBAN", "Betrag"], *([f"A B{n}", "DE89370400440532013000", n + 1] for n in range(2_500))]
    with child(make.xlsx({"Liste": rows}), task()) as started:
        assert started.plan().plan.ready
        seen: list[Row] = list(started.rows())
    assert [row.number for row in seen] == list(range(2, 2_502))
    assert seen[-1].cells[0] == "A B2499"


def test_open_questions_end_the_child_without_rows() -> None:
    """Two sheets with lists: reading the first one on a guess would bill last month's members."""
    with child((DATA / "two_lists.xlsx").read_bytes(), task()) as started:
        assert [question.code for question in started.plan().plan.questions] == ["sheet"]


def test_answers_that_name_what_is_not_there_come_back_as_such() -> None:
    """A sheet misspelt in the request is the sender's to correct, and no damage of the file."""
    data = (DATA / "two_lists.xlsx").read_bytes()
    with (
        child(data, task(answers=Answers(sheet="Mai"))) as started,
        pytest.raises(InvalidRequest, match="sheet: There is no such sheet"),
    ):
        started.plan()


@pytest.mark.parametrize(
    ("data", "kind"),
    [(make.abort_xlsx, "xlsx"), (make.abort_ods, "ods")],
    ids=["abort_xlsx", "abort_ods"],
)
def test_a_file_that_ends_its_parser_is_refused_with_a_sentence(
    data: Callable[[], bytes], kind: Kind
) -> None:
    """These few hundred bytes abort the process that parses them: it must be the child, never the worker."""
    with child(data(), task(kind)) as started, pytest.raises(FileRefused) as refused:
        started.plan()
    assert refused.value.refusal.code == "too_large_inside"
    assert "Delete blank rows and columns behind the table" in refused.value.refusal.why


def test_an_amount_in_the_hundredth_column_is_read() -> None:
    """A bank's export may be that wide; which cells were numbers must come through the pipe for each of its columns."""
    letters = [column_letters(position) for position in range(100)]
    texts = {0: "Name", 1: "IBAN", 99: "Amount"}
    values = {0: "Ann", 1: "DE89370400440532013000"}

    def cell(position: int, row: int, text: str | None) -> str:
        return (
            f'<c r="{letters[position]}{row}"><v>12.5</v></c>'
            if text is None
            else f'<c r="{letters[position]}{row}" t="inlineStr"><is><t>{text}</t></is></c>'
        )

    rows = [
        "".join(cell(position, 1, texts.get(position, f"Note {position}")) for position in range(100)),
        "".join(cell(position, 2, values.get(position)) for position in range(100)),
    ]
    data = make.raw_xlsx("".join(f'<row r="{n}">{row}</row>' for n, row in enumerate(rows, 1)))
    with child(data, task()) as started:
        plan = started.plan().plan
        assert plan.questions == ()
        (row,) = started.rows()
    assert (row.cells[99], row.numeric) == ("12.5", (1 << 100) - 4)
    (debtor,) = read([row], plan=plan, today=date(2026, 3, 2))
    assert isinstance(debtor, Debtor)
    assert debtor.amount_minor == 1_250


def large(rows: int) -> bytes:
    """A workbook of 20 cells a row, of which each may be 1."""
    row = "".join(f'<c r="{column}{{0}}"><v>1</v></c>' for column in "ABCDEFGHIJKLMNOPQRST")
    return bytes(make.raw_xlsx("".join(f'<row r="{n}">{row.format(n)}</row>' for n in range(1, rows + 1))))


def test_the_child_may_use_so_much_memory_and_no_more() -> None:
    """Without the limit a file of blank cells would push other programs of the machine out of memory."""
    assert code_of(large(100_000), task(memory_bytes=80 << 20)) == "too_large_inside"


def test_the_child_may_use_so_much_time_and_no_more() -> None:
    """A file made to take hours must not keep a worker from the files behind it."""
    # A fast machine reads a hundred thousand such rows in less than the second that is the least limit.
    assert code_of(large(400_000), task(time_s=1)) == "too_slow"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", make.raw_xlsx("<row><c")])
def test_a_damaged_workbook_is_refused(data: bytes) -> None:
    """A half-transferred file is common; the error must advise to save it again, with any damage."""
    assert code_of(data, task()) == "damaged"


def test_what_is_refused_beside_the_parsing_comes_with_its_own_sentence() -> None:
    """A sheet is looked at in a thread of its own; a refusal lost there would end as "needs more memory", or have the rows read unseen."""
    merged = '<mergeCell ref="A1:A2"/>' * (MERGES_MAX + 1)
    data = make.raw_xlsx(
        '<row r="1"><c r="A1"><v>1</v></c></row>', after=f"<mergeCells>{merged}</mergeCells>"
    )
    with (
        child(data, task()) as started,
        pytest.raises(FileRefused, match="millions of cells with errors, merged"),
    ):
        started.plan()


@pytest.mark.parametrize(
    ("kind", "platform", "second"),
    [
        ("xlsx", "linux", True),
        ("ods", "linux", True),
        ("xls", "linux", False),
        ("xlsb", "linux", False),
        ("xlsx", "darwin", False),
    ],
)
def test_a_second_thread_looks_only_where_memory_and_file_allow_it(
    kind: Kind, platform: str, *, second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLS and XLSB hold what the parser holds too: a large file would be refused. On macOS two threads would move each other's place in the file."""
    threads = list[int]()

    def look() -> View:
        threads.append(threading.get_ident())
        return BLIND

    monkeypatch.setattr(sys, "platform", platform)
    assert reader._looking(kind, look)() is BLIND
    assert (threads != [threading.get_ident()]) is second


@pytest.mark.parametrize("name", ["filtered_nl.xlsx", "seen.ods"])
def test_a_child_that_can_start_no_thread_reads_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host at its limit of threads must not have good files refused as too large, which is final."""
    path = DATA / name
    here = reading.plan(str(path), name=f"list{path.suffix}")
    assert isinstance(here, Plan)
    assert "hidden_rows" in [question.code for question in here.questions]
    # The whole child, but for a stack that no address space has room for.
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import contextlib, sys, threading\n"
        "from tether_worker.uploads import reader\n"
        "reader._STACK_BYTES = 1 << 50\n"
        "threading.stack_size(1 << 50)\n"
        "with contextlib.suppress(RuntimeError):\n"
        "    threading.Thread().start()\n"
        "    sys.exit('a thread was started')\n"
        "sys.argv = sys.argv[3:]\n"
        "sys.exit(reader.main())\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with child(path.read_bytes(), task(path.suffix[1:])) as started:  # type: ignore[arg-type]  # a kind
        assert started.plan().plan == here


def test_the_child_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that a hostile file manages to run must find no password to take along."""
    monkeypatch.setenv("EMP_API_PASSWORD", "s3cret-password")
    with child((DATA / "list.xlsx").read_bytes(), task()) as started:
        started.plan()
        assert psutil.Process(started.pid).environ().keys() <= {"PATH", "LC_CTYPE", "MALLOC_ARENA_MAX"}


def test_child_and_folder_are_gone_after_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leftovers of each upload, debtors' data among them, would fill the disk of the node."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with child((DATA / "list.xlsx").read_bytes(), task()) as started:
        started.plan()
        pid = started.pid
    assert not psutil.pid_exists(pid)
    with child(make.abort_xlsx(), task()) as started, pytest.raises(FileRefused):
        started.plan()
    assert list(tmp_path.iterdir()) == []


def test_killing_the_child_wakes_its_reader() -> None:
    """A stopping worker kills the child; a thread that still waits for it would block the worker."""
    with child((DATA / "list.xlsx").read_bytes(), task()) as started:
        os.kill(started.pid, signal.SIGSTOP)
        started.kill()
        with pytest.raises(FileRefused):
            started.plan()


def test_the_child_dies_with_its_parent(until: Callable[..., object]) -> None:
    """A worker killed outright must not leave a parser behind that nobody reads from and that holds a gigabyte."""
    program = (
        "import sys, datetime; from tether_worker.uploads.reader import *; from tether_core.spreadsheet import *\n"
        f"file = open({str(DATA / 'list.xlsx')!r}, 'rb')\n"
        "told = Task('xlsx', 'x', Answers(), datetime.date(2026, 3, 2), Rules(), None, 0, ReaderLimits(1 << 30, 60.0))\n"
        "child = Child(file, told); child.plan(); print(child.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    orphan = psutil.Process(pid)
    orphan.suspend()  # even one that does nothing of its own any more
    parent.kill()
    parent.communicate()
    until(lambda: ended(orphan), what="the end of the child")


@pytest.mark.parametrize("name", ["filtered_nl.xlsx", "seen.ods", "seen.xls", "seen.xlsb"])
def test_the_child_looks_at_what_a_person_sees(name: str) -> None:
    """Else hidden rows would be a question in tests only, and debited by a worker."""
    result = task(name.rpartition(".")[2])  # type: ignore[arg-type]  # a kind
    with child((DATA / name).read_bytes(), result) as reader:
        plan = reader.plan().plan
    assert "hidden_rows" in [question.code for question in plan.questions]
