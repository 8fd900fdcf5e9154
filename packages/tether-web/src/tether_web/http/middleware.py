"""
The outermost middleware: request id, security headers, metrics, access log.

A plain ASGI wrapper around the application, because middleware inside Litestar does not see requests that match
no route. Successful notifications are counted and not logged: on a busy day the log would hold little else.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from itertools import count
from time import perf_counter
from typing import Any, Final, TypeAlias

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram
from tether_stores.telemetry import REQUEST_ID, logger
from tether_stores.traces import spans

from tether_web.http.metrics import REQUEST_SECONDS
from tether_web.http.shutdown import Shutdown

__all__ = ["BODY_STALL_S", "Direct", "DirectResponse", "wrapped"]

# A proxy's request id is kept if it looks like an id. Anything else is replaced, so that it cannot inject log lines.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{8,64}")
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
# Longest pause within a request body, in seconds. Each route limits the size of its body.
BODY_STALL_S: Final = 20.0
_CLOSE: Final = [(b"connection", b"close")]
# Other methods share one label: each would otherwise be a metric of its own and stay in memory.
_METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE".split())
_PROBES: Final = {"/health", "/ready", "/metrics"}
_NOTIFICATIONS: Final = "/api/webhooks/emp"
_QUIET: Final = _PROBES | {_NOTIFICATIONS, f"{_NOTIFICATIONS}/{{token}}"}
_log = logger("http")


class DirectResponse(msgspec.Struct, frozen=True):
    """
    A response made without the framework.

    Attributes:
        status: The HTTP status.
        headers: Its own headers, such as content-type and content-length; the middleware adds the common ones.
        body: Its bytes.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


_ENCODED: Final = DirectResponse(
    415,
    ((b"content-type", b"application/problem+json"), (b"accept-encoding", b"identity")),
    msgspec.json.encode(
        {
            "title": "Unsupported media type",
            "status": 415,
            "detail": "Content-Encoding: send the body as it is, not compressed",
            "code": "unsupported_media_type",
            "type": "about:blank",
        }
    ),
)

Direct: TypeAlias = Callable[[Scope, Receive], Awaitable[DirectResponse]]
_NOTHING: Final[Mapping[str, tuple[str, Direct]]] = {}


def wrapped(
    app: ASGIApp,
    *,
    direct: Mapping[str, Direct],
    shutdown: Shutdown,
    below: Mapping[str, tuple[str, Direct]] = _NOTHING,
) -> ASGIApp:
    """
    Wrap *app* with request ids, headers, metrics and the access log.

    Args:
        app: The application.
        direct: Handlers by path that bypass the framework for speed. A handler limits how long it waits for the body, and
            raises nothing.
        shutdown: Once it is announced, responses close their connection.
        below: Handlers likewise for the paths one part below a path, each with the template that stands for them in logs and metrics.

    Returns:
        An ASGI application.
    """
    # A generated id is a random part for the process and a number for the request.
    process, numbers = secrets.token_hex(6).encode(), count(1)

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = perf_counter()
        given_id, encoded = _read_headers(scope)
        request_id = given_id or b"%s-%x" % (process, next(numbers))
        # Each request is a task with its own context, so there is nothing to reset.
        REQUEST_ID.set(request_id.decode())
        path = scope["path"].rstrip("/")
        if spans.is_on() and path not in _PROBES:
            with spans.span("request", kind="server", parent=_trace_parent(scope, path=path)) as current:
                current.fact(request_id=request_id.decode())
                status = await answer(
                    scope, receive, send, request_id=request_id, encoded=encoded, began=began
                )
                _describe(current, scope, status)
            return
        await answer(scope, receive, send, request_id=request_id, encoded=encoded, began=began)

    async def answer(
        scope: Scope, receive: Receive, send: Send, *, request_id: bytes, encoded: bool, began: float
    ) -> int:
        path = scope["path"].rstrip("/")
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    *(header for header in _HEADERS if header[0] not in present),
                    *(_CLOSE if shutdown.announced else ()),
                ]
            await send(message)

        try:
            found = _handler(path, direct, below)
            if found is not None:
                scope["path_template"], handler = found
                response = await handler(scope, receive)
            elif encoded:
                response = _ENCODED
            else:
                await app(scope, _bounded(receive), send_with_headers)
                return status
            await _respond(send, response, request_id, closing=shutdown.announced)
            status = response.status
        except Exception:
            status = 500
            raise
        finally:
            _record(scope, status, perf_counter() - began)
        return status

    return middleware


def _handler(
    path: str, direct: Mapping[str, Direct], below: Mapping[str, tuple[str, Direct]]
) -> tuple[str, Direct] | None:
    """The handler that bypasses the framework for a path, with its template; `None` for all other paths."""
    handler = direct.get(path)
    return below.get(path.rpartition("/")[0]) if handler is None else (path, handler)


async def _respond(send: Send, response: DirectResponse, request_id: bytes, *, closing: bool) -> None:
    headers = [*response.headers, (b"x-request-id", request_id), *_HEADERS]
    if closing:
        headers += _CLOSE
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


# Looking up a metric by its labels costs more than observing it.
@lru_cache(maxsize=1000)
def _timed(method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(method, route, str(status))


def _read_headers(scope: Any) -> tuple[bytes | None, bool]:
    """The proxy's request id, if valid, and whether the body has a content encoding that is not supported."""
    given_id, encoded = None, False
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            given_id = bytes(value)
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            encoded = True
    return given_id, encoded


def _trace_parent(scope: Any, *, path: str) -> str:
    """The caller's trace; none for notifications, whose senders are strangers until their signature is verified."""
    if path.startswith(_NOTIFICATIONS):
        return ""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return headers.get(b"traceparent", b"").decode("latin-1")


def _describe(current: spans.Span, scope: Any, status: int) -> None:
    """Name a span by the template of its route: the path may hold personal ids."""
    route = scope.get("path_template") or "-"
    method = scope["method"] if scope["method"] in _METHODS else "other"
    current.rename(f"{method} {route}")
    current.fact(method=method, route=route, status=status)
    if status >= 500:
        current.fail(str(status))


def _bounded(receive: Receive) -> Receive:
    """Wrap *receive*: a sender that stalls within a body counts as disconnected."""
    ended = False

    async def bounded() -> Any:
        nonlocal ended
        if ended:  # the next message is the disconnect, which has no deadline
            return await receive()
        try:
            async with asyncio.timeout(BODY_STALL_S):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        ended = not message.get("more_body", False)
        return message

    return bounded


def _record(scope: Any, status: int, took_s: float) -> None:
    # The template, never the path: a path may contain personal ids, and each would be a metric of its own.
    route = scope.get("path_template") or "-"
    method = scope["method"] if scope["method"] in _METHODS else "other"
    _timed(method, route, status).observe(took_s)
    if route not in _QUIET or status >= 500:
        _log.info(
            "request answered",
            method=method,
            route=route,
            status=status,
            took_ms=round(took_s * 1000, 2),
        )
