"""
A server: a program of its own on a loopback port, started, answered by, paused, killed, started again.

Postgres, Redis and the S3 endpoint differ only in their command line and in what counts as an answer.
Ready means that a real connection was answered; a program that ends before that says why with the last
lines of its log.

>>> port = free_port()
>>> 20_000 <= port < 32_000
True
>>> raise DidNotStart("redis", why="it ended with code 1", log="Bad directive")
Traceback (most recent call last):
    ...
tether_sandbox.services.server.DidNotStart: redis did not start: it ended with code 1
Bad directive
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psutil  # publishes no types
from tether_core.errors import Unavailable

from tether_sandbox.services.guard import Guard, kill, still_alive

__all__ = ["DidNotStart", "Server", "free_port", "tail"]

_STOP_S = 20.0  # for a tidy end; then SIGKILL
_POLL_S = 0.02
_PORTS = range(20_000, 32_000)
_TRIES = 8  # for a port; each clash is with another program that took the port within milliseconds
_CLAIMS_MAX = 200  # of one process; its older ports have long been bound, or are needed no more

_claims: deque[int] = deque()


class DidNotStart(Unavailable):
    """
    A service did not start, or gave no answer in time.

    Attributes:
        service: "postgres", "redis", "objects" or "docker".
        why: What was seen.
        log: The last lines of its log, or nothing.
    """

    code = "did_not_start"

    def __init__(self, service: str, *, why: str, log: str = "") -> None:
        super().__init__(service, why, log)
        self.service = service
        self.why = why
        self.log = log

    def __str__(self) -> str:
        sentence = f"{self.service} did not start: {self.why}"
        return f"{sentence}\n{self.log}" if self.log else sentence


def free_port() -> int:
    """
    A port of 127.0.0.1 that nobody listens on, and that no other process is given by this function.

    It is below the ports that systems use for outgoing connections (32768 and up). Among those, a
    client that knocks at the port of a stopped server can be given that very port, connect to itself and
    keep the server from coming back.

    Between this answer and the server's start anybody could be given the same port, and again while the
    server is down briefly. So it is claimed, by a UDP socket of the same number: nothing is sent there,
    but the system gives it to one process at a time and takes it back when that process ends.
    """
    port, claim = _claimed_port()
    _claims.append(claim)
    if len(_claims) > _CLAIMS_MAX:
        os.close(_claims.popleft())
    return port


def _claimed_port() -> tuple[int, int]:
    """Give a port and the descriptor of the socket that claims it, for as long as that is open."""
    rng = random.SystemRandom()
    while True:
        port = rng.choice(_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim, contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", port))
            if _is_free(port):
                return port, claim.detach()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def tail(log: Path, *, lines: int = 20) -> str:
    """Give the last *lines* of the file *log*; nothing when there is no such file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


class Server:
    """
    One server program and its life. Postgres, Redis and the S3 endpoint say their command and their probe.

    Attributes:
        name: What it is called in messages.
        folder: Its data and its log.
        ended_by: The signal for a tidy end.
        dropped_by: The signal for a quick end, when its data will not be needed again.
        start_s: How long its start may take until it answers.
    """

    name = "server"
    ended_by: int = signal.SIGTERM
    dropped_by: int = signal.SIGTERM
    start_s: float = 120.0

    def __init__(
        self,
        folder: Path,
        *,
        guard: Guard,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._guard = guard
        self._user = user
        self._group = group
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[psutil.Process] = []

    def _command(self, port: int) -> list[str]:
        raise NotImplementedError

    def _environ(self) -> dict[str, str]:
        """Additional environment variables of the program."""
        return {}

    def _probe(self, port: int) -> None:
        """Return once the server answers on *port*; raise anything while it does not."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; the same over all restarts."""
        assert self._port is not None, f"{self.name} was never started"
        return self._port

    @property
    def pid(self) -> int | None:
        """The number of the running process, or `None` while it is down."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """
        Start the server and wait until it answers; on the port of last time, with the data of last time.

        Raises:
            DidNotStart: when it ends early or gives no answer in time.
        """
        if self.pid is not None:
            return
        if self._port is not None:
            self._launch(self._port)
            return
        for tries_left in reversed(range(_TRIES)):
            port, claim = _claimed_port()
            try:
                self._launch(port)
            except DidNotStart:
                os.close(claim)
                if _is_free(port) or not tries_left:
                    raise  # the port was not the reason, or luck has run out
            else:
                self._port = port
                weakref.finalize(
                    self, os.close, claim
                )  # the port stays reserved while the server is down, too
                return

    def stop(self) -> None:
        """Stop the server in its own way, in any state; not running is fine."""
        self._end(self.ended_by)

    def drop(self) -> None:
        """Stop the server as quickly as leaves nothing behind; its data will not be needed again."""
        self._end(self.dropped_by)

    def kill(self) -> None:
        """Kill it with all its processes, as a power cut would: nothing is finished or flushed."""
        if self._process is None:
            return
        self.pause()  # first, for what is frozen starts nothing new
        kill(self._paused)
        self._reap(self._paused)

    def restart(self) -> None:
        """Stop and start again: the same port, the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open without an answer."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                self._paused.append(process)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        for process in self._paused:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._paused = []

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze it for the length of a `with` block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def _family(self) -> Iterator[psutil.Process]:
        """Give the server and then its children: a Postgres backend is in a process group of its own."""
        if self.pid is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            yield parent  # before its children are counted: once it is paused they get no more
            yield from parent.children(recursive=True)

    def _launch(self, port: int) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(port),
                cwd=self.folder,
                env={**os.environ, **self._environ()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=None if self._user is None else [],
            )
        self._guard.watch(self._process.pid, ended_by=self.dropped_by)
        deadline = time.monotonic() + self.start_s
        while True:
            try:
                self._probe(port)
            except Exception as error:
                if self._process.poll() is not None:
                    code = self._process.returncode
                    self._forget()
                    raise DidNotStart(
                        self.name, why=f"it ended with code {code}", log=tail(self.log)
                    ) from error
                if time.monotonic() > deadline:
                    self.kill()
                    why = f"no answer within {self.start_s:.0f} s ({type(error).__name__})"
                    raise DidNotStart(self.name, why=why, log=tail(self.log)) from error
                time.sleep(_POLL_S)
            else:
                return

    def _end(self, how: int) -> None:
        if self._process is None:
            return
        self.resume()  # a frozen process cannot end
        family = list(self._family())
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            kill(family)
        self._reap(family)

    def _reap(self, family: list[psutil.Process]) -> None:
        """See the whole *family* gone, so that a new one finds the port and the data free."""
        assert self._process is not None
        self._process.wait()
        kill(still_alive(family, timeout_s=_STOP_S))
        self._forget()

    def _forget(self) -> None:
        assert self._process is not None
        self._guard.leave(self._process.pid)
        self._process = None
        self._paused = []
