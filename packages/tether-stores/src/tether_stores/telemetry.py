"""
Telemetry: one JSON object per line on stderr, written by a thread, without personal data.

A log line must never hold up an answer, so lines go into a bounded deque and a thread writes them; when stderr
stalls and the deque is full, the oldest lines are dropped and counted. Every line passes `tether_core.redaction`: our own events, log records
of libraries, warnings of Python and uncaught exceptions. Of foreign exceptions only parts without personal data are logged: the first line
without its quoted parts, the place in the code, and for Postgres the violated constraint.

A line looks like this:

```json
{"at":"2026-03-02T12:00:00.123456Z","level":"info","event":"batch applied","rows":256,"request_id":"…"}
```
"""

import atexit
import errno
import logging
import os
import re
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from time import monotonic
from typing import Any, Final

import msgspec
import psycopg
import structlog
from tether_core import redaction
from tether_core.errors import TetherError

from tether_stores.traces import spans

__all__ = ["REQUEST_ID", "LogSink", "Sampled", "configure", "dropped", "logger", "of_request"]

# Id of the current request, or "" outside of a request; part of every line.
REQUEST_ID: Final = ContextVar("request_id", default="")

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_DOWNWARDS: Final = sorted(_LEVELS.items(), key=lambda pair: -pair[1])
# user:password@ in an address, printed by any library.
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
# Quoted parts of an error are input.
_QUOTED: Final = re.compile(r"""(?<!\w)(['"]).*?\1(?!\w)""")
_is_personal: Final = lru_cache(maxsize=1_000)(redaction.is_personal)
# These errors are permanent. Others, such as a full disk, are temporary.
_GONE: Final = (errno.EPIPE, errno.EBADF)
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class LogSink:
    """
    A bounded buffer of lines and the thread that writes them to a file descriptor.

    Attributes:
        dropped: Lines that were lost because the descriptor stalled or its disk was full.
    """

    def __init__(self, descriptor: int, *, lines_max: int = 20_000) -> None:
        """Start the thread; *descriptor* stays the caller's to close."""
        self._descriptor = descriptor
        self._lines_max = lines_max
        self._start()
        # A forked child has the buffer but not the thread; the parent writes the buffer.
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self.dropped = 0
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Add one line without waiting; the oldest is dropped when the buffer is full."""
        if len(self._lines) >= self._lines_max:
            self._lines.popleft()
            self.dropped += 1
        self._lines.append(line)
        self._wake.set()

    def close(self, *, wait_s: float = 1.0) -> None:
        """Write what is buffered, giving a stalled descriptor up after *wait_s* seconds."""
        self._done = True
        self._wake.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                chunk, lines = bytearray(), 0
                while self._lines and len(chunk) < 65_536:
                    chunk += self._lines.popleft()
                    lines += 1
                try:
                    _write_all(self._descriptor, chunk)
                except OSError as exc:
                    self.dropped += lines
                    if exc.errno in _GONE:
                        return  # there is no reader any more; there is nowhere left to say so
            if self._done:
                return


def _write_all(descriptor: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # another process that shares our stderr has made it non-blocking
            select.select([], [descriptor], [])


class _Lines:
    """The structlog logger at the end of the chain: takes encoded lines."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink

    def msg(self, line: bytes) -> None:
        self._sink.write(line)

    debug = info = warning = error = exception = critical = msg


class _Forward(logging.Handler):
    """Sends what libraries log on the same way as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's slip in a log call must not become its failure
            message = str(record.msg)
        # Further lines repeat what failed, such as the task with its exception; the error stands beside them anyway.
        event: dict[str, Any] = {"event": message.partition("\n")[0], "part": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info[1]
        level = next((name for name, least in _DOWNWARDS if record.levelno >= least), "debug")
        getattr(structlog.get_logger(), level)(**event)


_sink: LogSink | None = None


def configure(*, level: str = "info", program: str) -> LogSink:
    """
    Set logging up for this process.

    Args:
        level: "debug", "info", "warning" or "error".
        program: The name every line carries, e.g. "tether-web".

    Returns:
        The sink, for its `dropped` counter. It is flushed when the process exits.
    """
    global _sink  # noqa: PLW0603 - one stderr, one writer
    if _sink is None:
        _sink = LogSink(sys.stderr.fileno())
        atexit.register(_sink.close)
    structlog.configure(
        processors=[
            of_request,
            _finished(program),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Lines(_sink),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Forward()]
    root.setLevel(_LEVELS[level])
    logging.captureWarnings(capture=True)
    log = logger("python")
    sys.excepthook = lambda _, problem, __: log.error("uncaught exception", exc_info=problem)
    threading.excepthook = lambda item: log.error("a thread failed", exc_info=item.exc_value)
    sys.unraisablehook = lambda item: log.error("unraisable exception", exc_info=item.exc_value)
    # These log every job and every request at level info.
    for noisy in ("saq", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(_LEVELS[level], logging.WARNING))
    return _sink


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry *name*; takes an event and facts as keywords."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return bound


class Sampled:
    """
    Warnings that may come by the thousand, written once in a while with how many were excluded.

    Anyone who sends notifications with an invalid signature chooses how many lines there would be; metrics count all of them.
    """

    def __init__(self, log: structlog.typing.FilteringBoundLogger, *, every_s: float = 5.0) -> None:
        """
        Wrap a logger.

        Args:
            log: From `logger`.
            every_s: At most one line per event in a number of seconds.
        """
        self._log = log
        self._every_s = every_s
        self._last: dict[str, tuple[float, int]] = {}

    def warning(self, event: str, **facts: object) -> None:
        """Write a line, or count it where one was written recently; *event* is one of few."""
        now_s = monotonic()
        written_s, excluded = self._last.get(event, (-self._every_s, 0))
        if now_s - written_s < self._every_s:
            self._last[event] = (written_s, excluded + 1)
            return
        self._last[event] = (now_s, 0)
        self._log.warning(event, **facts, **({"lines_excluded": excluded} if excluded else {}))


def dropped() -> int:
    """How many lines this process has lost because stderr stalled."""
    return _sink.dropped if _sink is not None else 0


def of_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the ids of the request and of its trace on a line; a structlog processor."""
    if request_id := REQUEST_ID.get():
        event["request_id"] = request_id
    if trace_id := spans.trace_id():
        event["trace_id"] = trace_id
    return event


def _finished(program: str) -> structlog.typing.Processor:
    def finish(_: Any, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[bytes], dict[str, Any]]:
        failure = event.pop("exc_info", None)
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": method,
            "program": program,
        }
        for name, value in event.items():
            line[name] = _clean(name, value)
        if failure:
            problem = failure if isinstance(failure, BaseException) else sys.exc_info()[1]
            line["error"] = _failure(problem)
        return (_encode(line) + b"\n",), {}

    return finish


def _clean(name: str, value: object) -> object:
    if isinstance(value, str):
        return "***" if value and _is_personal(name) else _shown(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {_shown(str(key)): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, inner) for inner in value]
    return _clean(name, str(value))


def _shown(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    return _USERINFO.sub("***@", redaction.text(text))


def _failure(exc: BaseException | None) -> dict[str, Any] | None:
    if exc is None:
        return None
    # Frames without their source lines or values: those can hold what came from outside.
    frames = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc.__traceback__)
    ]
    return {"type": type(exc).__name__, "text": _shown(_words(exc))[:500], "frames": frames[-12:]}


def _words(exc: BaseException) -> str:
    if isinstance(exc, TetherError):
        return str(exc)  # holds nothing personal by its promise
    message = _QUOTED.sub("'…'", str(exc).partition("\n")[0])
    if isinstance(exc, psycopg.Error):
        rule = (exc.sqlstate, exc.diag.table_name, exc.diag.constraint_name)
        message = " ".join([message, *(f"[{item}]" for item in rule if item)])
    return message
