"""The OpenAPI description of what Litestar cannot see by itself: the raw webhook route, and how errors are answered."""

from collections.abc import Iterator
from typing import Final

from litestar import Litestar
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    Reference,
    RequestBody,
    Schema,
)
from tether_core.emp.notification import FORM, JSON

from tether_web.http import problem_details
from tether_web.http.problem_details import PROBLEM_JSON
from tether_web.notifications.receive import PATH

__all__ = ["describe_problems", "describe_webhook"]

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_FIELDS: Final = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "unique_id": Schema(
            type=OpenAPIType.STRING, description="The gateway's id of the payment; it is what is signed."
        ),
        "signature": Schema(
            type=OpenAPIType.STRING, description="Hex of hash(id + API password): SHA-1, SHA-256 or SHA-512."
        ),
        "status": Schema(type=OpenAPIType.STRING, examples=["approved"]),
        "event": Schema(type=OpenAPIType.STRING, examples=["chargeback"]),
    },
    required=["signature"],
    additional_properties=True,
    description="Fields of a gateway notification. Unknown ones are kept.",
)
_ERROR: Final = Schema(type=OpenAPIType.OBJECT, properties={"error": _TEXT}, required=["error"])
_ACKNOWLEDGED: Final = Schema(
    type=OpenAPIType.OBJECT, properties={"status": _TEXT, "message": _TEXT}, required=["status"]
)

_REFUSALS: Final = {
    "400": "The body cannot be read as a notification.",
    "401": "The signature fits none of the configured passwords.",
    "405": "Send notifications with POST.",
    "413": "More than 64 KiB.",
    "415": "Neither a form nor JSON.",
    "503": "Not recorded; send it again after Retry-After seconds.",
}


def describe_webhook(app: Litestar) -> None:
    """
    Add `POST /api/webhooks/emp` to the application's OpenAPI document.

    Args:
        app: Before its document was first served.
    """
    document = app.openapi_schema
    assert document.paths is not None
    document.paths[PATH] = PathItem(
        post=Operation(
            tags=["notifications"],
            operation_id="ReceiveNotification",
            summary="Take a notification of the gateway in",
            description="Answered 200 only after the notification is committed. Called by the gateway, not by you.",
            security=[],
            request_body=RequestBody(
                required=True,
                content={FORM: OpenAPIMediaType(schema=_FIELDS), JSON: OpenAPIMediaType(schema=_FIELDS)},
            ),
            responses={
                "200": OpenAPIResponse(
                    description="Stored. A form gets the XML echo, JSON gets JSON.",
                    content={
                        "application/xml": OpenAPIMediaType(schema=_TEXT),
                        JSON: OpenAPIMediaType(schema=_ACKNOWLEDGED),
                    },
                ),
                **{
                    status: OpenAPIResponse(description=text, content={JSON: OpenAPIMediaType(schema=_ERROR)})
                    for status, text in _REFUSALS.items()
                },
            },
        )
    )


_DETAILS: Final = "ProblemDetails"
_PROBLEM: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457 problem details: what went wrong, and what to do about it.",
    properties={
        "type": Schema(type=OpenAPIType.STRING, description="A URI for the kind; excluded for about:blank."),
        "title": Schema(type=OpenAPIType.STRING, description="The kind of problem."),
        "status": Schema(type=OpenAPIType.INTEGER, description="The HTTP status."),
        "detail": Schema(type=OpenAPIType.STRING, description="Who must do what about this one."),
        "code": Schema(type=OpenAPIType.STRING, description="A stable word for programs."),
        "errors": Schema(
            type=OpenAPIType.ARRAY,
            description="What is wrong with which parameter or field.",
            items=Schema(type=OpenAPIType.OBJECT, properties={"field": _TEXT, "text": _TEXT}),
        ),
        "related": Schema(
            type=OpenAPIType.STRING, description="The address of what stands in the way, where it has one."
        ),
    },
    required=["title", "status", "detail", "code"],
)
# Status -> what it means, and an answer that is really given.
_ANSWERS: Final[dict[str, tuple[str, str, str]]] = {
    "400": (
        "A parameter or the body cannot be read.",
        "limit: must be a whole number of at most 500",
        "bad_request",
    ),
    "401": (
        "No key, or none of TETHER_API_KEYS.",
        "Send 'Authorization: Bearer <key>' with a key of TETHER_API_KEYS",
        "not_authorized",
    ),
    "404": ("There is no such thing.", "There is no such billing attempt", "not_found"),
    "409": (
        "What is stored does not allow it; a person must look.",
        "This notification is processed, so it cannot be replayed. Nothing is left to do; look at its billing attempt.",
        "illegal_step",
    ),
    "413": ("The body is too large.", "A file may have at most 209,715,200 bytes", "too_large"),
    "422": (
        "It can be read, and cannot be done as asked.",
        "cursor: is not a cursor of this list; start again without it",
        "invalid_request",
    ),
    "503": (
        "A store is away; try again after Retry-After seconds.",
        "postgres is not reachable (no connection in time); the same request may succeed in 5 s.",
        "store_unreachable",
    ),
}


def describe_problems(app: Litestar) -> None:
    """
    Add how errors are answered to every route of the API, in place of the framework's own form, which is never sent.

    Args:
        app: Before its document was first served.
    """
    document = app.openapi_schema
    assert document.paths is not None
    assert isinstance(document.components, Components)
    document.components.schemas[_DETAILS] = _PROBLEM
    for path, item in document.paths.items():
        for operation in (item.get, item.post, item.delete):
            if operation is None or operation.responses is None:
                continue
            if path == "/ready":
                ready = operation.responses["200"]
                assert isinstance(ready, OpenAPIResponse)
                result = "Notifications cannot be recorded; the fields say why."
                operation.responses["503"] = OpenAPIResponse(description=result, content=ready.content)
            elif path.startswith("/api/") and path != PATH:
                operation.responses |= {
                    status: _answered(status) for status in _possible(path, item, operation)
                }


def _possible(path: str, item: PathItem, operation: Operation) -> Iterator[str]:
    yield from ("400", "401", "422", "503")
    if "{" in path:
        yield "404"
    if operation is not item.get:
        yield from ("409", "413")


def _answered(status: str) -> OpenAPIResponse:
    text, detail, code = _ANSWERS[status]
    title = problem_details.TITLES[int(status)]
    example = Example(value={"title": title, "status": int(status), "detail": detail, "code": code})
    retry = OpenAPIHeader(name="", param_in="header", description="Seconds to wait", schema=_TEXT)
    return OpenAPIResponse(
        description=text,
        headers={"Retry-After": retry} if status == "503" else None,
        content={
            PROBLEM_JSON: OpenAPIMediaType(
                schema=Reference(ref=f"#/components/schemas/{_DETAILS}"), examples={code: example}
            )
        },
    )
