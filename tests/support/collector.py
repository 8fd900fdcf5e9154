"""A collector of OpenTelemetry: takes spans over HTTP and keeps them."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Collected", "Collector", "collecting"]


class Collected(msgspec.Struct, frozen=True):
    """A span as it was exported."""

    program: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    facts: dict[str, Any]


class Collector:
    """What came so far."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.spans: list[Collected] = []

    def of(self, trace_id: str) -> set[tuple[str, str]]:
        """Program and name of the spans of a trace."""
        return {(span.program, span.name) for span in self.spans if span.trace_id == trace_id}

    def add(self, body: bytes) -> None:
        """Read one export."""
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for exported in request.resource_spans:
            program = _facts(exported.resource.attributes)["service.name"]
            self.spans += [
                Collected(
                    program,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    _facts(span.attributes),
                )
                for scope in exported.scope_spans
                for span in scope.spans
            ]


def _facts(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect on a port of its own for the length of a block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.add(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()
