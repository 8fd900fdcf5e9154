"""
A connection to the API: requests, which of them are repeated, and the errors that their responses become.

The module of a subject has the structs of its routes and a class of methods, one for each route; `tether_client.client.Client` is all of these.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from tether_client.credentials import checked_url
from tether_client.errors import Defective, NotAllowed, Refused, Unavailable
from tether_client.pages import PAGE_MAX, Page

__all__ = ["Connection", "given", "polled"]

T = TypeVar("T")

# Waits before a request is repeated, in seconds: a node that restarts is back within these, and a person waits that long.
_WAITS_S: Final = (0.3, 1.0)
_POLL_MIN_S: Final = 0.2
_POLL_MAX_S: Final = 2.0


class Connection:
    """
    A connection to Tether.

    Reads, and orders with an Idempotency-Key, are repeated twice when Tether cannot be reached or answers 503; nothing else is.
    Orders have a fresh key unless the caller gives one, so a repeat never orders twice.

    Raises, in every method:
        NotAllowed: when the key is unknown or has no permission.
        Refused: when Tether refuses the request.
        Unavailable: when Tether cannot be reached, or cannot answer now.
        Defective: when Tether failed, or something else answered in its place.
    """

    def __init__(self, url: str, *, api_key: str, timeout_s: float = 30.0) -> None:
        """
        Open nothing yet.

        Args:
            url: Such as "https://tether.example".
            api_key: A key of Tether's API.
            timeout_s: How long to wait for a connection, and for each part of a response.
        """
        self._http = httpx.Client(
            base_url=checked_url(url),
            headers={"Authorization": f"Bearer {_header(api_key)}", "User-Agent": "tether-client"},
            timeout=timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def each(
        self, listing: Callable[..., Page[T]], *, count_max: int | None = None, **filters: Any
    ) -> Iterator[T]:
        """
        The rows of a list, page by page.

        Args:
            listing: A method of this client, such as `client.payments`.
            count_max: Stop after this many rows; `None` for all.
            filters: As the method takes them.
        """
        left, cursor = count_max, None
        while left is None or left > 0:
            limit = PAGE_MAX if left is None else min(left, PAGE_MAX)
            page = listing(cursor=cursor, limit=limit, **filters)
            yield from page.items
            if page.next is None:
                return
            cursor, left = page.next, None if left is None else left - len(page.items)

    def _get(self, path: str, kind: type[T], /, **query: Any) -> T:
        return _decoded(self._answered("GET", path, params=_filled(query)), kind)

    def _probe(self, path: str, kind: type[T], *, allowed: int) -> T:
        """What a path answers; with the status *allowed* too."""
        return _decoded(self._answered("GET", path, allowed=frozenset({allowed})), kind)

    def _post(self, path: str, body: Any, kind: type[T], **more: Any) -> T:
        content = {} if body is None else {"json": body}
        return _decoded(self._answered("POST", path, **content, **more), kind)

    def _file(self, path: str, body: Any) -> bytes:
        return self._answered("POST", path, json=body).content

    def _patch(self, path: str, body: Any, kind: type[T]) -> T:
        return _decoded(self._answered("PATCH", path, json=body), kind)

    def _delete(self, path: str, kind: type[T], **query: Any) -> T:
        return _decoded(self._answered("DELETE", path, params=query), kind)

    def _order(self, path: str, body: Any, kind: type[T], idempotency_key: str | None) -> T:
        key = idempotency_key or secrets.token_urlsafe(18)
        return _decoded(
            self._answered("POST", path, json=body, headers={"Idempotency-Key": _header(key)}), kind
        )

    def _lines(self, path: str, *, silence_max_s: float, **query: Any) -> Iterator[str]:
        """The lines of a response that goes on; an error once nothing came for *silence_max_s* seconds."""
        timeout = httpx.Timeout(self._http.timeout.connect, read=silence_max_s)
        try:
            with self._http.stream("GET", path, params=_filled(query), timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _failed(response)
                yield from response.iter_lines()
        except httpx.TransportError as exc:
            raise _unreachable(self._http, exc) from exc

    def _pieces(self, path: str, **query: Any) -> Iterator[bytes]:
        """The content of a file, in pieces as they come."""
        try:
            with self._http.stream("GET", path, params=_filled(query)) as response:
                if not response.is_success:
                    response.read()
                    raise _failed(response)
                yield from response.iter_bytes()
        except httpx.TransportError as exc:
            raise _unreachable(self._http, exc) from exc

    def _put(self, path: str, body: Any, kind: type[T]) -> T:
        return _decoded(self._answered("PUT", path, json=body), kind)

    def _answered(
        self, method: str, path: str, *, allowed: frozenset[int] = frozenset(), **request: Any
    ) -> httpx.Response:
        """The response, if its status is 2xx or allowed."""
        may_repeat = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        for wait_s in (*_WAITS_S, None) if may_repeat else (None,):
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as exc:
                if wait_s is None:
                    raise _unreachable(self._http, exc) from exc
            else:
                if response.is_success or response.status_code in allowed:
                    return response
                if response.status_code not in {502, 503, 504} or wait_s is None:
                    raise _failed(response)
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a method, without the client."""
    return {name: value for name, value in arguments.items() if name != "self"}


def polled(look: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
    """
    What *look* returns once that is not `None`.

    Args:
        look: Called now and then.
        timeout_s: Gives up after this time.
        what: What is waited for, such as "run 7 to end"; for the error.

    Raises:
        Unavailable: when that takes longer.
    """
    until, wait_s = time.monotonic() + timeout_s, _POLL_MIN_S
    while (found := look()) is None:
        if time.monotonic() >= until:
            raise Unavailable(
                f"Stopped waiting for {what} after {timeout_s:g} s. Tether goes on with it; look again later."
            )
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _POLL_MAX_S)
    return found


def _filled(query: dict[str, Any]) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in query.items() if value is not None}


def _header(value: str) -> str:
    if not value or not value.isascii() or not value.isprintable():
        raise NotAllowed("The key must be printable ASCII without line breaks; check how it was copied.")
    return value


def _decoded(response: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Defective(
            f"{response.request.url.host} did not answer as Tether's API does; check the address and the version of this command."
        ) from None


def _failed(response: httpx.Response) -> Refused | Unavailable | Defective:
    """The error of a response that is not 2xx."""
    status = response.status_code
    try:
        problem = msgspec.json.decode(response.content)
        detail, code = str(problem["detail"]), str(problem.get("code", ""))
        errors, related = problem.get("errors") or (), problem.get("related")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        detail, code, errors, related = "", "", (), None
    if status in {401, 403}:
        text = (
            detail
            or "The key is not valid, or has no permission for this; `tether keys whoami` shows what it may do."
        )
        return NotAllowed(text, status=status, code=code, errors=errors, related=related)
    if status in {429, 502, 503, 504}:
        return Unavailable(detail or f"Tether cannot answer now (HTTP {status}); try again later.")
    if 400 <= status < 500 and detail:
        return Refused(detail, status=status, code=code, errors=errors, related=related)
    request_id = response.headers.get("x-request-id", "")
    named = f" (request {request_id})" if request_id.isascii() and request_id else ""
    return Defective(
        detail + named
        if detail
        else f"The address answered HTTP {status}, but not as Tether's API does; check the address."
    )


def _unreachable(http: httpx.Client, exc: httpx.TransportError) -> Unavailable:
    why = "no answer in time" if isinstance(exc, httpx.TimeoutException) else str(exc) or type(exc).__name__
    return Unavailable(f"Tether cannot be reached at {http.base_url.copy_with(path='/')}: {why}.")
