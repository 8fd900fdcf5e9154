"""
Reading a workbook in a process of its own, because a hostile one can end the process that parses it.

A workbook of a few hundred bytes can make its parser allocate terabytes, and the parser then aborts; no `try` helps.
So a child process parses it, with a limit on its address space and on its processor time, without our
environment (no secrets to read) and without the right to write files. The rows come back over a pipe, a thousand at a time:
the parent's memory stays constant, and it reads, checks and stores rows while the child continues.

```text
parent ── Task (msgpack) ──────────────► stdin   child:  limits itself, opens the file it inherited,
       ◄─ Refusal │ Plan, preview, rows ─ stdout          plans, sends rows, ends
```

The child looks at a sheet of XLSX or ODS in a second thread while the library parses it, which needs no Python meanwhile; at other sheets, and where
no thread can be started, before. The limits hold for the process, and what fails in either thread ends the reading.

A frame is one letter for its kind, four bytes for its length, and msgpack. However the child ends, the parent gets rows
or a `Refusal` with a sentence for the person who sent the file.
"""

import contextlib
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Answers, FileRefused, Kind, Plan, Preview, Refusal, Row, Rules, reading
from tether_core.spreadsheet.cells import packed, unpacked
from tether_core.spreadsheet.view import BLIND, View
from tether_core.spreadsheet.workbook import look_first, open_workbook, suffix

__all__ = ["Child", "ReaderLimits", "Task", "main"]

_HEADER: Final = struct.Struct(">cI")
# Of our own programs no frame is larger; what claims to be comes from a child gone wrong.
_FRAME_BYTES_MAX: Final = 256 << 20
# Kinds that are looked at a megabyte at a time. Of the others a part or the file is held whole, which has to be free again when the library parses.
_STREAMED: Final = frozenset[Kind](("xlsx", "ods"))
# Of the second thread; the system's own is 8 MiB or what the shell of the worker says, and counts as address space.
_STACK_BYTES: Final = 1 << 20


class ReaderLimits(msgspec.Struct, frozen=True):
    """
    What a child may use.

    Attributes:
        memory_bytes: Address space.
        time_s: Processor time; of waiting, three times as much without a message from the child.
    """

    memory_bytes: int
    time_s: float


class Task(msgspec.Struct, frozen=True):
    """
    What a child is to do.

    Attributes:
        kind: What the file is.
        name: What the sender called it.
        answers: What the caller says of the file.
        today: For days that may not lie in the future.
        rules: The caller's limits, for the preview.
        plan: As an earlier reading decided; `None` to decide now.
        after: Rows up to this number are excluded.
        limits: What it may use.
    """

    kind: Kind
    name: str
    answers: Answers
    today: date
    rules: Rules
    plan: Plan | None
    after: int
    limits: ReaderLimits


_TOO_SLOW: Final = Refusal(
    "too_slow",
    "Reading this workbook takes too long, as it does when a sheet spans millions of blank cells. Delete blank rows and "
    "columns behind the table, or send it as CSV.",
)
_TOO_LARGE: Final = Refusal(
    "too_large_inside",
    "Reading this workbook needs more memory than one file may have, or stops the reader. Delete blank rows and columns "
    "behind the table, save it again, or send it as CSV.",
)


class Child:
    """
    A process that reads one workbook.

    Use it as a context: the process and its folder are gone at the end of the block. Reading from it blocks, so do that in
    a thread; start it in the main thread, because it ends with the thread that started it.
    """

    def __init__(self, file: BinaryIO, task: Task) -> None:
        self._time_s = task.limits.time_s
        self._folder = tempfile.TemporaryDirectory(prefix="tether-reader-")
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-I",
                "-m",
                "tether_worker.uploads.reader",
                str(file.fileno()),
                str(os.getpid()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a parser says as it dies may quote the file
            pass_fds=(file.fileno(),),
            # Else glibc reserves 64 MiB of address space for the second thread.
            env={"PATH": os.defpath, "MALLOC_ARENA_MAX": "1"},
            cwd=self._folder.name,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._words = select.poll()
        self._words.register(self._process.stdout, select.POLLIN)
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(msgspec.msgpack.encode(task))

    def __enter__(self) -> Self:
        return self

    def kill(self) -> None:
        """End the process now; a reader gets a `FileRefused`."""
        self._process.kill()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def plan(self) -> Preview:
        """
        Have the workbook planned; for a task without a plan, before `rows`.

        Returns:
            The plan and the first rows under it.

        Raises:
            FileRefused: when it cannot be read.
            InvalidRequest: when the answers name what is not there.
        """
        return msgspec.msgpack.decode(self._frame(b"P"), type=Preview)

    def rows(self) -> Iterator[Row]:
        """
        Read the rows below the header.

        Yields:
            Every row in order.

        Raises:
            FileRefused: when the workbook cannot be read.
        """
        while batch := unpacked(self._frame(b"R")):
            yield from batch

    def _frame(self, wanted: bytes) -> bytes:
        kind, size = _HEADER.unpack(self._exactly(_HEADER.size))
        if size > _FRAME_BYTES_MAX:
            raise FileRefused(_TOO_LARGE)
        data = self._exactly(size)
        if kind == b"X":
            raise FileRefused(msgspec.msgpack.decode(data, type=Refusal))
        if kind == b"I":
            why, field = msgspec.msgpack.decode(data, type=tuple[str, str | None])
            raise InvalidRequest(why, field=field)
        assert kind == wanted, "parent and child are one program"
        return data

    def _exactly(self, size: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        parts: list[bytes] = []
        while size:
            if not self._words.poll(3_000 * self._time_s):
                raise FileRefused(_TOO_SLOW)
            part = os.read(stdout.fileno(), min(size, 1 << 20))
            if not part:
                raise FileRefused(self._epitaph())
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _epitaph(self) -> Refusal:
        return _TOO_SLOW if self._process.wait() == -signal.SIGXCPU else _TOO_LARGE


def main() -> int:
    """
    Be the child: read a task from stdin, send frames to stdout.

    The arguments are the number under which the file was inherited, and the parent's process id; the present folder
    is empty and for us alone.

    Returns:
        The exit code; the parent goes by the frames.
    """
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    # The parser reports the cause of an error only for a name with a suffix, so the temporary file gets one.
    book = Path(f"book{suffix(task.kind)}")
    book.symlink_to(f"/dev/fd/{sys.argv[1]}")
    _limit(task.limits, parent=int(sys.argv[2]))
    try:
        _read(book, task)
    except FileRefused as error:
        _send(b"X", error.refusal)
    except InvalidRequest as error:
        _send(b"I", (error.why, error.field))
    except MemoryError:
        _send(b"X", _TOO_LARGE)
    except BrokenPipeError:
        return 1
    return 0


def _limit(limits: ReaderLimits, *, parent: int) -> None:
    """Take from this process what it does not need."""
    _end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    time_s = max(int(limits.time_s), 1)
    threading.stack_size(_STACK_BYTES)
    for what, most in (
        (resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes)),
        # The first limit ends the process with its own signal, which identifies the cause.
        (resource.RLIMIT_CPU, (time_s, time_s + 5)),
        (resource.RLIMIT_FSIZE, (0, 0)),
        (resource.RLIMIT_CORE, (0, 0)),
    ):
        resource.setrlimit(what, most)


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; elsewhere than on Linux the time limit must do."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only here

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class _Looking(threading.Thread):
    """A thread that looks at a sheet; called, it gives the view or raises what went wrong."""

    def __init__(self, look: Callable[[], View]) -> None:
        super().__init__()
        self._look = look
        self._found: View | BaseException = BLIND
        self.start()

    def run(self) -> None:
        try:
            self._found = self._look()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._found = error

    def __call__(self) -> View:
        self.join()
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


def _looking(kind: Kind, look: Callable[[], View]) -> Callable[[], View]:
    """
    Look at a sheet that is about to be parsed: in a second thread where one may be used and can be started, else now.

    Elsewhere than on Linux, files opened by the same name of /dev/fd share their position, so two threads cannot read them.
    """
    if kind in _STREAMED and sys.platform == "linux":
        # The host may have no thread left, or the limit no memory for its stack.
        with contextlib.suppress(RuntimeError):
            return _Looking(look)
    return look_first(look)


def _read(path: Path, task: Task) -> None:
    book = open_workbook(path, kind=task.kind, beside=partial(_looking, task.kind))
    plan = task.plan
    if plan is None:
        found = reading.plan(book, name=task.name, kind=task.kind, answers=task.answers)
        if isinstance(found, Refusal):
            raise FileRefused(found)
        plan = found
        _send(b"P", reading.preview(book, plan=plan, today=task.today, rules=task.rules))
        if not plan.ready:
            return
    for rows in reading.packed_rows(book, plan=plan, after=task.after):
        _send_frame(b"R", rows)
    _send_frame(b"R", packed([]))


def _send(kind: bytes, value: object) -> None:
    _send_frame(kind, msgspec.msgpack.encode(value))


def _send_frame(kind: bytes, data: bytes) -> None:
    for part in (_HEADER.pack(kind, len(data)), data):
        view = memoryview(part)
        while view:
            view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main())
