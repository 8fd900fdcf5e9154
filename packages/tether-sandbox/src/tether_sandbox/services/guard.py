"""
The guard: a small process that stops services when the process that started them is killed.

A context manager cannot stop its services after SIGKILL. So every set of services has a guard. It reads what to watch from a pipe
that only the starting process holds; when the pipe is closed, for any reason, it ends the services and removes their temporary
folders. (Linux has a signal for a parent's death, but it is sent when the *thread* that started a process ends, and Postgres and
Redis are started by threads.)

>>> with Guard() as guard:
...     guard.watch(4_000_000)
...     guard.leave(4_000_000)
"""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import psutil  # publishes no types

__all__ = ["Guard", "kill", "still_alive"]

_PATIENCE_S = 5.0  # for a service to end by its own signal; then SIGKILL
_POLL_S = 0.02


class Guard:
    """
    The starting process's end of the pipe.

    The starting process normally stops its services itself; the guard does it if that is not reached.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            # -P: this file's folder must not shadow modules of other names
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # the guard must not receive the terminal's Ctrl-C
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def watch(self, pid: int, *, ended_by: int = signal.SIGTERM) -> None:
        """End process *pid* by *ended_by* when this process is gone, and by SIGKILL if that does not suffice."""
        self._say("watch", pid, ended_by)

    def leave(self, pid: int) -> None:
        """Stop watching *pid*, which has ended."""
        self._say("leave", pid)

    def remove(self, folder: Path) -> None:
        """Remove *folder* and its content when this process is gone."""
        self._say("remove", str(folder))

    def _say(self, *words: str | int) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):  # the guard was killed
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()


def still_alive(processes: list[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Wait until all *processes* have `ended`; return those that have not in time."""
    deadline = time.monotonic() + timeout_s
    left = processes
    while left := [process for process in left if not ended(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return left


def kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to all *processes* that still run."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def ended(process: psutil.Process) -> bool:
    """
    Whether *process* has ended.

    A zombie has ended: if process 1 does not reap, as in many containers, it never disappears.
    """
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _stand_guard(orders: TextIO) -> None:
    """Read orders until the pipe is closed, then end the watched processes and remove the folders."""
    watched: dict[int, tuple[psutil.Process, int]] = {}
    folders: list[str] = []
    for line in orders:
        match json.loads(line):
            case ["watch", int(pid), int(ended_by)]:
                # psutil remembers when the process began, so a later process of the same number is safe.
                with contextlib.suppress(psutil.NoSuchProcess):
                    watched[pid] = psutil.Process(pid), ended_by
            case ["leave", int(pid)]:
                watched.pop(pid, None)
            case ["remove", str(folder)]:
                folders.append(folder)
    everyone: list[psutil.Process] = []
    for process, ended_by in watched.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            everyone += family
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.resume()  # a paused process cannot end
            process.send_signal(ended_by)
    kill(still_alive(everyone, timeout_s=_PATIENCE_S))
    still_alive(everyone, timeout_s=_PATIENCE_S)
    for folder in folders:
        deadline = time.monotonic() + _PATIENCE_S
        while Path(folder).exists() and time.monotonic() < deadline:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _stand_guard(sys.stdin)
