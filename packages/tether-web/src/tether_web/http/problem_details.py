"""
Error responses: RFC 9457 problem details, from one table.

A class of `tether_core.errors` says who must act next, and so does an HTTP status. Nothing else in tether-web chooses a status for
an error. A 500 is an internal error: its traceback is logged and not sent.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from tether_core.errors import (
    Contradicted,
    InProgress,
    InvalidRequest,
    OrderedBefore,
    Overloaded,
    Rejected,
    SignatureMismatch,
    TetherError,
    Unavailable,
    Unreadable,
)
from tether_core.retention.periods import NoLongerKept
from tether_stores.telemetry import Sampled, logger

from tether_web.http.parameters import named

__all__ = ["HANDLERS", "PROBLEM_JSON", "STATUS", "TITLES", "ProblemDetails", "problem_response"]

# The most specific class wins; see `_status`.
STATUS: Final[dict[type[TetherError], int]] = {
    Rejected: 422,
    Unreadable: 400,
    SignatureMismatch: 401,
    NoLongerKept: 410,
    Contradicted: 409,
    Unavailable: 503,
    InProgress: 409,
    Overloaded: 503,
}

PROBLEM_JSON: Final = "application/problem+json"
_log = logger("problems")
_sampled = Sampled(_log)


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    RFC 9457 problem details.

    Attributes:
        title: The kind of problem, the same for each occurrence.
        status: The HTTP status.
        detail: What is wrong here, and who must do what.
        code: A stable code for programs.
        type: A URI for the kind; "about:blank" if the status says enough.
        errors: Which parameters or fields are wrong, and how.
        related: The path of the resource that is in the way, if there is one.
    """

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    errors: list[dict[str, str]] = []
    related: str | None = None


TITLES: Final = {
    400: "Bad request",
    401: "Not authorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Cannot be processed",
    429: "Too many requests",
    500: "Internal error",
    503: "Temporarily unavailable",
}
_CODES: Final = {
    400: "bad_request",
    401: "not_authorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def problem_response(
    status: int,
    *,
    detail: str,
    code: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
    related: str | None = None,
) -> Response[bytes]:
    """
    A problem+json response.

    Args:
        detail: What is wrong and what to do, without personal data.
        code: A stable code.
        errors: Which parameters or fields are wrong, and how.
        related: The path of the resource that is in the way.
    """
    problem = ProblemDetails(
        TITLES.get(status, "Error"), status, detail, code, errors=errors or [], related=related
    )
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def _status(exc: TetherError) -> int:
    return next(STATUS[kind] for kind in type(exc).__mro__ if kind in STATUS)


def _tether_error(request: Request[Any, Any, Any], exc: TetherError) -> Response[bytes]:
    headers = {"Retry-After": str(exc.retry_after_s)} if isinstance(exc, Unavailable) else None
    status = _status(exc)
    if status >= 500:
        _sampled.warning("request not served", why=str(exc), route=_route(request))
    if isinstance(exc, OrderedBefore):
        run = f"/api/billing-runs/{exc.run_id}"
        headers = {"Link": f'<{run}>; rel="related"'}
        return problem_response(status, detail=str(exc), code=exc.code, headers=headers, related=run)
    errors = [{"field": exc.field, "text": exc.why}] if isinstance(exc, InvalidRequest) and exc.field else []
    return problem_response(status, detail=str(exc), code=exc.code, errors=errors, headers=headers)


def _http_error(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    if exc.detail == "client disconnected prematurely":
        # The framework reports a server error; the cause is a body that was cut short or has a broken encoding.
        return problem_response(
            400, detail="The request ended before its body did; send it again", code=_CODES[400]
        )
    if exc.status_code >= 500:
        return _internal_error(request, exc)
    invalid = [
        named(request, str(item.get("key", "")), str(item.get("message", "")))
        for item in (exc.extra if isinstance(exc.extra, list) else [])
        if isinstance(item, dict)
    ]
    errors = [{"field": field, "text": text} for field, text in invalid]
    headers = {name: value for name, value in (exc.headers or {}).items() if name.lower() != "content-type"}
    # The framework's text for a failed validation repeats the query string, so it is not sent.
    detail = " ".join(str(InvalidRequest(text, field=field)) for field, text in invalid) or _detail(
        exc, headers
    )
    code = _CODES.get(exc.status_code, "error")
    return problem_response(exc.status_code, detail=detail, code=code, errors=errors, headers=headers)


def _detail(exc: HTTPException, headers: Mapping[str, str]) -> str:
    # The framework's text for these only repeats the status.
    if exc.detail == "Not Found":
        return "No route has this path; GET /api/schema lists the routes"
    if exc.detail == "Method Not Allowed":
        allowed = next((value for name, value in headers.items() if name.lower() == "allow"), "other methods")
        return f"This route takes {allowed}"
    return exc.detail


def _nested(_request: Request[Any, Any, Any], _exc: RecursionError) -> Response[bytes]:
    # The parser raises it for deeply nested brackets; no valid body nests that deep.
    return problem_response(
        400, detail="body: is nested too deeply; send what the schema describes", code=_CODES[400]
    )


def _internal_error(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    _log.error("internal error", exc_info=exc, route=_route(request))
    detail = "Internal error; the log has it under the request id in X-Request-Id."
    return problem_response(500, detail=detail, code="internal_error")


def _route(request: Request[Any, Any, Any]) -> str:
    return f"{request.method} {request.scope.get('path_template', '-')}"


HANDLERS: Final[ExceptionHandlersMap] = {
    TetherError: _tether_error,
    HTTPException: _http_error,
    RecursionError: _nested,
    Exception: _internal_error,
}
