"""
The API as a page sees it: requests to the application of the same process, with the person's cookie.

There is no second way to the data: what a page shows is what the API answers, under the same rights, bounds and sentences.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec
from litestar import Request

__all__ = ["Download", "Failed", "call", "download", "part", "send", "send_bytes"]

# What of the person's request goes on to the API.
_PASSED_ON: Final = ("cookie", "x-request-id", "host", "origin", "sec-fetch-site", "x-forwarded-for")


class Download(msgspec.Struct, frozen=True):
    """
    A file that the API sent.

    Attributes:
        content: Its bytes.
        media_type: Of it.
        headers: Those that say its name, and that it is not to be stored.
    """

    content: bytes
    media_type: str
    headers: dict[str, str]


class Failed(Exception):
    """
    The API refused.

    Attributes:
        status: The HTTP status.
        detail: A sentence that says what to do.
        errors: What is wrong with which field.
    """

    def __init__(self, status: int, detail: str, errors: Sequence[dict[str, str]] = ()) -> None:
        """Keep what the problem details say."""
        super().__init__(status)
        self.status, self.detail, self.errors = status, detail, list(errors)


async def call(
    request: Request[Any, Any, Any],
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """
    Call the API with the session of *request*.

    Args:
        request: Of the person.
        method: E.g. "GET".
        path: E.g. "/api/uploads".
        query: Parameters; those that are `None` or empty are left out.
        body: Sent as JSON where it is not `None`.
        headers: Further ones, e.g. `Idempotency-Key`.

    Returns:
        The decoded JSON, `None` where the answer is empty.

    Raises:
        Failed: when the answer is not 2xx.
    """
    content = None if body is None else msgspec.json.encode(body)
    kind = {} if body is None else {"content-type": "application/json"}
    return await _sent(request, method, path, query, content, {**kind, **(headers or {})})


async def part(request: Request[Any, Any, Any], path: str, query: Mapping[str, Any] | None = None) -> Any:
    """The API's response for one part of a page; `None` where it failed, which the page says instead of losing the rest."""
    try:
        return await call(request, "GET", path, query=query)
    except Failed:
        return None


async def download(request: Request[Any, Any, Any], path: str, *, body: Any) -> Download:
    """
    Order a file of the API.

    Raises:
        Failed: when the answer is not 2xx.
    """
    content, headers = msgspec.json.encode(body), {"content-type": "application/json"}
    response = await _response(request, "POST", path, None, content, headers)
    names = ("content-disposition", "cache-control")
    kept = {name: response.headers[name] for name in names if name in response.headers}
    return Download(response.content, response.headers.get("content-type", ""), kept)


async def send_bytes(
    request: Request[Any, Any, Any], path: str, content: bytes, *, query: Mapping[str, Any] | None = None
) -> Any:
    """
    Send bytes to the API, such as a small file of a form.

    Raises:
        Failed: when the answer is not 2xx.
    """
    return await _sent(request, "POST", path, query, content, {"content-type": "text/csv"})


async def send(request: Request[Any, Any, Any], path: str) -> Any:
    """
    Pass the body of *request* on as it comes in, such as a file.

    Raises:
        Failed: when the answer is not 2xx.
    """
    names = ("content-type", "content-length")
    headers = {name: request.headers[name] for name in names if name in request.headers}
    return await _sent(request, "POST", path, None, request.stream(), headers)


async def _sent(
    request: Request[Any, Any, Any],
    method: str,
    path: str,
    query: Mapping[str, Any] | None,
    content: bytes | AsyncIterator[bytes] | None,
    headers: Mapping[str, str],
) -> Any:
    response = await _response(request, method, path, query, content, headers)
    return msgspec.json.decode(response.content) if response.content else None


async def _response(
    request: Request[Any, Any, Any],
    method: str,
    path: str,
    query: Mapping[str, Any] | None,
    content: bytes | AsyncIterator[bytes] | None,
    headers: Mapping[str, str],
) -> httpx.Response:
    passed_on = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    # As bytes: the browser's headers may hold any, and the API refuses an order key that is none.
    sent = {name: value.encode("latin-1", "replace") for name, value in {**passed_on, **headers}.items()}
    given = {name: value for name, value in (query or {}).items() if value not in {None, ""}}
    peer = request.scope["client"] or ("", 0)  # the person's address, not this process's
    transport = httpx.ASGITransport(request.app, raise_app_exceptions=False, client=peer)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://console", timeout=None) as client:  # noqa: S113 - no network in between
        response = await client.request(
            method,
            path,
            params=given,
            content=content,
            headers={name.encode(): value for name, value in sent.items()},
        )
    if response.is_success:
        return response
    raise _failed(response)


def _failed(response: httpx.Response) -> Failed:
    try:
        problem = msgspec.json.decode(response.content)
        return Failed(response.status_code, str(problem["detail"]), list(problem.get("errors", [])))
    except (msgspec.DecodeError, KeyError, TypeError):
        return Failed(
            response.status_code, "The request could not be served; the log has its request id.", []
        )
