"""
Run a Tether program as a real process with its own settings.

It runs in its own process group, so that a kill ends its workers, too, as a dead machine would. Its output goes to files, which
can be read while it runs.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import httpx

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import DidNotStart, tail
from tether_sandbox.services.waiting import until

__all__ = ["Launch", "Program", "launch"]

# A program inherits only these variables; its settings come from the caller.
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "COVERAGE_PROCESS_START",
)

_Fact = TypeVar("_Fact")


class Program:
    """
    A started program.

    Attributes:
        name: Its command, for messages.
        folder: Contains its output in the files `stdout` and `stderr`.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], *, name: str, folder: Path, guard: Guard | None
    ) -> None:
        self.name = name
        self.folder = folder
        self._process = process
        self._guard = guard

    @property
    def pid(self) -> int:
        """The id of its first process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; `None` while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return (self.folder / "stderr").read_text(errors="replace")

    def await_url(self, url: str, *, status: int = 200, timeout_s: float = 120.0) -> None:
        """Wait until *url* responds with *status*; raise `DidNotStart` if the program ends before."""
        with httpx.Client(timeout=10, trust_env=False) as client:

            def answered() -> bool:
                try:
                    return client.get(url).status_code == status
                except httpx.TransportError:
                    return False

            self._await(answered, what=f"{status} from {url}", timeout_s=timeout_s)

    def await_line(self, words: str, *, timeout_s: float = 120.0) -> str:
        """Wait until a line of its standard error contains *words*; return the line."""

        def found() -> str | None:
            return next((line for line in self.stderr.splitlines() if words in line), None)

        line = self._await(found, what=f"a line with {words!r}", timeout_s=timeout_s)
        assert line is not None
        return line

    def wait(self, *, timeout_s: float = 120.0) -> int:
        """Wait until it has ended; return its exit code."""
        code = self._process.wait(timeout_s)
        self._leave()
        return code

    def signal(self, number: int) -> None:
        """Send signal *number* to its first process."""
        self._process.send_signal(number)

    def terminate(self, *, timeout_s: float = 120.0) -> int:
        """End it with SIGTERM and wait; return its exit code."""
        self._process.terminate()
        return self.wait(timeout_s=timeout_s)

    def kill(self) -> None:
        """Kill it and all its processes (SIGKILL), if they run."""
        # The group may outlive its first process, so it is killed even after that has ended.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()

    def _await(self, fact: Callable[[], _Fact], *, what: str, timeout_s: float) -> _Fact:
        def asked() -> _Fact:
            seen = fact()
            if not seen and self.returncode is not None:
                why = f"it ended with code {self.returncode} before {what}"
                raise DidNotStart(self.name, why=why, log=tail(self.folder / "stderr"))
            return seen

        try:
            return until(asked, what=what, timeout_s=timeout_s)
        except TimeoutError as error:
            log = tail(self.folder / "stderr")
            raise DidNotStart(self.name, why=str(error), log=log) from error

    def _leave(self) -> None:
        if self._guard is not None:
            self._guard.leave(self._process.pid)


class Launch(Protocol):
    """Starts a program somewhere of its own; what the fixture `process` of the tests is."""

    def __call__(self, *command: str, environ: Mapping[str, str]) -> Program:
        """Start *command* with the settings *environ*."""
        ...


def launch(
    command: Sequence[str], *, environ: Mapping[str, str], folder: Path, guard: Guard | None = None
) -> Program:
    """
    Start a program; its output goes to files in *folder*.

    Args:
        command: The program and its arguments. One of ours, such as "tether-web", is found beside the
            Python that runs now; others on PATH.
        environ: Its settings. Nothing else of our own environment reaches it but PATH and the like.
        folder: An empty folder, also where it runs.
        guard: Ends the program should we be killed.

    Returns:
        The program, started, not yet ready.

    Raises:
        DidNotStart: when there is no such program.
    """
    name = command[0]
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DidNotStart(name, why="there is no such program beside this Python or on PATH")
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [found, *command[1:]],
            cwd=folder,
            # The leftovers of a killed program are removed with its folder.
            env={**inherited, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), **environ},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    if guard is not None:
        guard.watch(process.pid)
    return Program(process, name=name, folder=folder, guard=guard)
