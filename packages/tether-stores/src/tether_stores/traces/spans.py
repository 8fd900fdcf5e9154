"""
Spans, exported by OpenTelemetry where `TETHER_TRACES` is `otlp`; otherwise nothing, at no cost.

While traces are off nothing of OpenTelemetry is imported, and `span` returns one object that does nothing. A span carries facts of `SpanFacts` alone:
words, counts and ids of rows. Names, accounts and texts have no place in it, and every string passes `tether_core.redaction` all
the same. Of an error only its class is kept.

>>> with span("request") as current:
...     current.fact(status=200)
...     is_on(), traceparent(), trace_id()
(False, '', '')
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack

from tether_core import __version__, redaction
from tether_core.errors import InvalidRequest
from tether_core.traces import parse

__all__ = [
    "Span",
    "SpanFacts",
    "SpanKind",
    "close",
    "configure",
    "exported",
    "is_on",
    "span",
    "spans",
    "trace_id",
    "traceparent",
]

SpanKind = Literal["internal", "server", "client"]

# A process that ends does not wait longer for a collector that is away.
_CLOSE_S: Final = 2.0


class SpanFacts(TypedDict, total=False):
    """What a span may say, in OpenTelemetry's names (`_NAMES`)."""

    method: str
    route: str
    status: int
    request_id: str
    queue: str
    job: str
    rows: int
    account: str
    call: str
    outcome: str
    subject: str
    row_id: int


_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "method": "http.request.method",
        "route": "http.route",
        "status": "http.response.status_code",
        "request_id": "tether.request_id",
        "queue": "tether.queue",
        "job": "tether.job",
        "rows": "tether.rows",
        "account": "tether.account",
        "call": "tether.call",
        "outcome": "tether.outcome",
        "subject": "tether.subject",
        "row_id": "tether.row_id",
    }
)


class Span:
    """A span while traces are off: it does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def fact(self, **facts: Unpack[SpanFacts]) -> None:
        """Add facts."""

    def rename(self, name: str) -> None:
        """Change its name; of few."""

    def fail(self, why: str) -> None:
        """Mark it as failed; *why* is one of few words."""

    def drop(self) -> None:
        """Do not export it: it was about nothing."""


_NOTHING: Final = Span()
_otel: "_OpenTelemetry | None" = None


class _OpenTelemetry:
    """OpenTelemetry's parts, imported once."""

    def __init__(self, *, program: str) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - an extra, imported where it is switched on
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self.context, self.trace = context, trace
        self.kinds = {
            "internal": trace.SpanKind.INTERNAL,
            "server": trace.SpanKind.SERVER,
            "client": trace.SpanKind.CLIENT,
        }
        self.provider = TracerProvider(
            resource=Resource.create({"service.name": program, "service.version": __version__}),
            shutdown_on_exit=False,  # by `close`, which waits for a bounded time
        )
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer("tether")

    def parent(self, header: str) -> Any:
        """The context of a remote span, or `None` for the current one."""
        found = parse(header) if header else None
        if found is None:
            return None
        flags = self.trace.TraceFlags(int(found.is_sampled))
        remote = self.trace.SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=flags)
        return self.trace.set_span_in_context(self.trace.NonRecordingSpan(remote), self.context.Context())


class _Recorded(Span):
    """A span that is exported when it ends."""

    def __init__(self, otel: _OpenTelemetry, name: str, *, kind: SpanKind, parent: str) -> None:
        self._otel = otel
        self._span = otel.tracer.start_span(name, context=otel.parent(parent), kind=otel.kinds[kind])
        self._token: Any = None
        self._is_dropped = False

    def __enter__(self) -> Self:
        self._token = self._otel.context.attach(self._otel.trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(type(error).__name__)
        self._otel.context.detach(self._token)
        if not self._is_dropped:
            self._span.end()

    def fact(self, **facts: Unpack[SpanFacts]) -> None:
        given: Any = facts
        for name, value in given.items():
            self._span.set_attribute(_NAMES[name], redaction.text(value) if isinstance(value, str) else value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, why: str) -> None:
        self._span.set_status(self._otel.trace.Status(self._otel.trace.StatusCode.ERROR, redaction.text(why)))

    def drop(self) -> None:
        self._is_dropped = True


def configure(mode: Literal["off", "otlp"], *, program: str) -> None:
    """
    Switch traces on for this process; the collector and the sampling are in OpenTelemetry's own variables.

    Raises:
        InvalidRequest: when the packages of the extra are not installed.
    """
    global _otel  # noqa: PLW0603 - one process, one exporter
    if mode == "off" or _otel is not None:
        return
    try:
        _otel = _OpenTelemetry(program=program)
    except ImportError:
        raise InvalidRequest(
            "is otlp, and the packages for it are not installed; install tether-stores[traces], or unset it",
            field="TETHER_TRACES",
        ) from None


def close() -> None:
    """Export what is left, for two seconds at most; nothing is recorded after it."""
    global _otel
    otel, _otel = _otel, None
    if otel is not None:
        # In a thread of its own: the exporter may wait for a collector that is away for longer than a process may take to end.
        ending = threading.Thread(target=otel.provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(_CLOSE_S)


@contextlib.asynccontextmanager
async def exported(mode: Literal["off", "otlp"], *, program: str) -> AsyncIterator[None]:
    """Record spans for the length of a block, as `configure` and `close` do."""
    configure(mode, program=program)
    try:
        yield
    finally:
        await asyncio.to_thread(close)


def is_on() -> bool:
    """Whether this process records spans."""
    return _otel is not None


def span(name: str, *, kind: SpanKind = "internal", parent: str = "") -> AbstractContextManager[Span]:
    """
    A span for the length of a `with` block.

    Args:
        name: One of few; never with an id in it.
        parent: A header `traceparent`; "" for the current span, or for a new trace where there is none.
    """
    return _NOTHING if _otel is None else _Recorded(_otel, name, kind=kind, parent=parent)


@contextlib.contextmanager
def spans(name: str, parents: Mapping[int, str], *, subject: str) -> Iterator[None]:
    """
    A span for each row that one block works on, in the trace of the request that made the row.

    Args:
        parents: Row to header `traceparent`; rows without one have no span.
        subject: What the rows are.
    """
    with contextlib.ExitStack() as stack:
        if _otel is not None:
            for row_id, parent in parents.items():
                stack.enter_context(span(name, parent=parent)).fact(subject=subject, row_id=row_id)
        yield


def traceparent() -> str:
    """The header `traceparent` of the current span; "" where none is recorded."""
    if _otel is None:
        return ""
    found = _otel.trace.get_current_span().get_span_context()
    if not found.is_valid or not found.trace_flags.sampled:
        return ""
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-01"


def trace_id() -> str:
    """The id of the current trace, in 32 hexadecimal digits; "" where none is recorded."""
    return traceparent()[3:35]
