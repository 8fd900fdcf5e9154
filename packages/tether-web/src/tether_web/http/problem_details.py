"""
Errors as answers: RFC 9457 problem+json, from one table.

A class of `tether_core.errors` says who acts next, and that is what an HTTP status says too. Nothing else in
the web nodes chooses a status for an error. A 500 is internal error: it is logged with its frames and
answered without them.
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
    OrderedBefore,
    Overloaded,
    Rejected,
    SignatureMismatch,
    TetherError,
    Unavailable,
    Unreadable,
)
from tether_stores.telemetry import Sampled, logger

from tether_web.http.parameters import named

__all__ = ["HANDLERS", "PROBLEM_JSON", "STATUS", "TITLES", "Problem", "answer"]

# The most specific class wins; see `_status`.
STATUS: Final[dict[type[TetherError], int]] = {
    Rejected: 422,
    Unreadable: 400,
    SignatureMismatch: 401,
    Contradicted: 409,
    Unavailable: 503,
    InProgress: 409,
    Overloaded: 503,
}

PROBLEM_JSON: Final = "application/problem+json"
_log = logger("problems")
_sampled = Sampled(_log)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    RFC 9457 problem details.

    Attributes:
        title: What kind of problem, the same for every occurrence.
        status: The HTTP status.
        detail: What to do about this one.
        code: A stable word for programs.
        type: A URI for the kind; "about:blank" where the status says it all.
        errors: What is wrong with which part of the request, where parts are.
        related: The address of what stands in the way, where it has one.
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
    409: "Contradiction",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Cannot be done as asked",
    429: "Too many requests",
    500: "Internal error",
    503: "Come again later",
}
_CODES: Final = {
    400: "bad_request",
    401: "not_authorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def answer(
    status: int,
    *,
    detail: str,
    code: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
    related: str | None = None,
) -> Response[bytes]:
    """
    A problem+json answer.

    Args:
        status: The HTTP status.
        detail: What to do about it, without anything personal.
        code: A stable word.
        errors: What is wrong with which part of the request.
        headers: Further headers.
        related: The address of what stands in the way.

    Returns:
        The response.
    """
    problem = Problem(TITLES.get(status, "Error"), status, detail, code, errors=errors or [], related=related)
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def _status(problem: TetherError) -> int:
    return next(STATUS[kind] for kind in type(problem).__mro__ if kind in STATUS)


def _ours(request: Request[Any, Any, Any], problem: TetherError) -> Response[bytes]:
    headers = {"Retry-After": str(problem.retry_after_s)} if isinstance(problem, Unavailable) else None
    status = _status(problem)
    if status >= 500:
        _sampled.warning("request cannot be served now", why=str(problem), route=_route(request))
    if isinstance(problem, OrderedBefore):
        run = f"/api/billing-runs/{problem.run_id}"
        headers = {"Link": f'<{run}>; rel="related"'}
        return answer(status, detail=str(problem), code=problem.code, headers=headers, related=run)
    return answer(status, detail=str(problem), code=problem.code, headers=headers)


def _theirs(request: Request[Any, Any, Any], problem: HTTPException) -> Response[bytes]:
    if problem.detail == "client disconnected prematurely":
        # The framework takes it for a failure of the server. Who cut a body short, or broke its encoding, reads this.
        return answer(400, detail="The request ended before its body did; send it again", code=_CODES[400])
    if problem.status_code >= 500:
        return _defect(request, problem)
    warnings = [
        named(request, str(item.get("key", "")), str(item.get("message", "")))
        for item in (problem.extra if isinstance(problem.extra, list) else [])
        if isinstance(item, dict)
    ]
    errors = [{"field": field, "text": text} for field, text in warnings]
    headers = {
        name: value for name, value in (problem.headers or {}).items() if name.lower() != "content-type"
    }
    # The framework's text for a failed validation repeats the query string, so it is not passed on.
    detail = "; ".join(f"{field}: {text}" for field, text in warnings) or _detail(problem, headers)
    code = _CODES.get(problem.status_code, "error")
    return answer(problem.status_code, detail=detail, code=code, errors=errors, headers=headers)


def _detail(problem: HTTPException, headers: Mapping[str, str]) -> str:
    # The framework's own words for these are those of the status.
    if problem.detail == "Not Found":
        return "There is nothing at this address; GET /api/schema lists what there is"
    if problem.detail == "Method Not Allowed":
        allowed = next((value for name, value in headers.items() if name.lower() == "allow"), "other methods")
        return f"This address takes {allowed}"
    return problem.detail


def _nested(_request: Request[Any, Any, Any], _problem: RecursionError) -> Response[bytes]:
    # The parser's answer to brackets within brackets; nothing of ours goes that deep by itself.
    return answer(400, detail="body: is nested too deeply; send what the schema describes", code=_CODES[400])


def _defect(request: Request[Any, Any, Any], problem: Exception) -> Response[bytes]:
    _log.error("internal error", exc_info=problem, route=_route(request))
    detail = "This should not have happened; it is in the log under the request id in X-Request-Id."
    return answer(500, detail=detail, code="defect")


def _route(request: Request[Any, Any, Any]) -> str:
    return f"{request.method} {request.scope.get('path_template', '-')}"


HANDLERS: Final[ExceptionHandlersMap] = {
    TetherError: _ours,
    HTTPException: _theirs,
    RecursionError: _nested,
    Exception: _defect,
}
