"""
What every request passes, whatever happens inside: request id, security headers, counters, one log line.

A plain ASGI wrapper around the application, because middleware inside of Litestar does not see requests that match
no route. Successful notifications are counted and not logged; a busy day would write little else.
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

from tether_web.http.metrics import REQUEST_SECONDS
from tether_web.http.shutdown import Shutdown

__all__ = ["BODY_STALL_S", "Answer", "Direct", "wrapped"]

# Taken over from a proxy where it looks like an id; anything else is replaced, so that no log line can be forged.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{8,64}")
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
# A body that stands still for so long is not waited for any more; how large a body may be is said by each route.
BODY_STALL_S: Final = 20.0
_CLOSE: Final = [(b"connection", b"close")]
# What else strangers call a method is one to us: each would be a metric of its own, and stay in memory.
_METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE".split())
_QUIET: Final = {"/api/webhooks/emp", "/health", "/ready", "/metrics"}
_log = logger("http")


class Answer(msgspec.Struct, frozen=True):
    """
    An HTTP answer.

    Attributes:
        status: The code.
        headers: What this answer says beside what every answer says: content-type, content-length and so on.
        body: Its bytes.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


_ENCODED: Final = Answer(
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

Direct: TypeAlias = Callable[[Scope, Receive], Awaitable[Answer]]


def wrapped(app: ASGIApp, *, direct: Mapping[str, Direct], shutdown: Shutdown) -> ASGIApp:
    """
    *app* with request ids, headers, counters and a log line around it.

    Args:
        app: The application.
        direct: By path, what answers in its place, without the framework's price: it takes a request and gives the answer. It
            bounds how long it waits for the body, and lets nothing escape.
        shutdown: Once it is announced, answers close their connection.

    Returns:
        An ASGI application.
    """
    # Ids of our own: the process by chance, the request by number.
    process, numbers = secrets.token_hex(6).encode(), count(1)

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = perf_counter()
        given_id, encoded = _told_by_headers(scope)
        request_id = given_id or b"%s-%x" % (process, next(numbers))
        # Every request is a task with a context of its own, so there is nothing to reset.
        REQUEST_ID.set(request_id.decode())
        path = scope["path"].rstrip("/")
        status = 0

        async def sending(message: Message) -> None:
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
            straight = direct.get(path)
            if straight is not None:
                scope["path_template"] = path
            if straight is not None:
                answer = await straight(scope, receive)
            elif encoded:
                answer = _ENCODED
            else:
                await app(scope, _bounded(receive), sending)
                return
            await _give(send, answer, request_id, closing=shutdown.announced)
            status = answer.status
        except Exception:
            status = 500
            raise
        finally:
            _tell(scope, status, perf_counter() - began)

    return edge


async def _give(send: Send, answer: Answer, request_id: bytes, *, closing: bool) -> None:
    headers = [*answer.headers, (b"x-request-id", request_id), *_HEADERS]
    if closing:
        headers += _CLOSE
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


# Looking a child up by its labels costs more than observing.
@lru_cache(maxsize=1000)
def _timed(method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(method, route, str(status))


def _told_by_headers(scope: Any) -> tuple[bytes | None, bool]:
    """The request id that was given, and whether the body is encoded in a way that nothing here reads."""
    given_id, encoded = None, False
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            given_id = bytes(value)
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            encoded = True
    return given_id, encoded


def _bounded(receive: Receive) -> Receive:
    """*receive*, for which a sender who stops in the middle of a body has gone."""
    ended = False

    async def bounded() -> Any:
        nonlocal ended
        if ended:  # who listens on waits for the sender to go away
            return await receive()
        try:
            async with asyncio.timeout(BODY_STALL_S):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        ended = not message.get("more_body", False)
        return message

    return bounded


def _tell(scope: Any, status: int, took_s: float) -> None:
    # The template, never the path: paths can hold ids of people, and every id would be a metric of its own.
    route = scope.get("path_template") or "-"
    method = scope["method"] if scope["method"] in _METHODS else "other"
    _timed(method, route, status).observe(took_s)
    if route not in _QUIET or status >= 500:
        _log.info(
            "answered",
            method=method,
            route=route,
            status=status,
            took_ms=round(took_s * 1000, 2),
        )
