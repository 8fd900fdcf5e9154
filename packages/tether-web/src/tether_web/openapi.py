"""OpenAPI: parts that Litestar cannot derive from the handlers: the webhook route and the error responses."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from litestar import Litestar
from litestar._openapi.plugin import OpenAPIPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPI,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
)
from tether_core import __version__
from tether_core.emp.notification import FORM, JSON

from tether_web.http import problem_details
from tether_web.http.problem_details import PROBLEM_JSON
from tether_web.notifications.receive import PATH, RELAY_PATH

__all__ = ["describe", "describe_problems", "describe_webhook", "name_schemas"]

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_FIELDS: Final = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "unique_id": Schema(
            type=OpenAPIType.STRING,
            description="The gateway's id of the payment; the signature covers only this id.",
        ),
        "signature": Schema(
            type=OpenAPIType.STRING, description="Hex of hash(id + API password): SHA-1, SHA-256 or SHA-512."
        ),
        "status": Schema(type=OpenAPIType.STRING, examples=["approved"]),
        "event": Schema(type=OpenAPIType.STRING, examples=["chargeback"]),
    },
    required=["signature"],
    additional_properties=True,
    description="Fields of a gateway notification. Unknown fields are stored.",
)
_ERROR: Final = Schema(type=OpenAPIType.OBJECT, properties={"error": _TEXT}, required=["error"])
_ACKNOWLEDGED: Final = Schema(
    type=OpenAPIType.OBJECT, properties={"status": _TEXT, "message": _TEXT}, required=["status"]
)

_WEBHOOK_ERRORS: Final = {
    "400": "The body is not a notification.",
    "401": "The signature matches no configured password.",
    "405": "Send notifications with POST.",
    "413": "More than 64 KiB.",
    "415": "Neither a form nor JSON.",
    "503": "Not recorded; retry after Retry-After seconds.",
}


# The document of this process: it says the same whatever the settings are.
_DOCUMENTS: Final[dict[str, OpenAPI]] = {}


def describe(app: Litestar, *, by: Sequence[Callable[[Litestar], None]]) -> None:
    """
    Complete the application's OpenAPI document.

    That takes longer than the rest of a start, so a process that makes several applications, as tests do, completes one document.

    Args:
        by: What completes it, in order.
    """
    if __version__ in _DOCUMENTS:
        app.plugins.get(OpenAPIPlugin)._openapi = _DOCUMENTS[__version__]  # noqa: SLF001 - where Litestar keeps it
        return
    for complete in by:
        complete(app)
    _DOCUMENTS[__version__] = app.openapi_schema


def describe_webhook(app: Litestar) -> None:
    """Add `POST /api/webhooks/emp` and the route of relays to the application's OpenAPI document."""
    document = app.openapi_schema
    assert document.paths is not None
    document.paths[PATH] = _receiving(
        "ReceiveNotification",
        "Receive a notification of the gateway",
        "Responds 200 only after the notification is committed. The gateway calls it.",
        errors=_WEBHOOK_ERRORS,
    )
    document.paths[RELAY_PATH] = _receiving(
        "ReceiveRelayedNotification",
        "Receive a notification at a relay",
        "Only the passwords of the relay's account verify. Responds 200 only after the notification is committed.",
        errors={**_WEBHOOK_ERRORS, "404": "The token of no relay, or of one that was revoked."},
        parameters=[
            Parameter(
                name="token",
                param_in="path",
                required=True,
                description="Of a relay: `relay_` and 43 characters.",
                schema=_TEXT,
            )
        ],
    )


def _receiving(
    operation_id: str,
    summary: str,
    description: str,
    *,
    errors: dict[str, str],
    parameters: list[Parameter | Reference] | None = None,
) -> PathItem:
    return PathItem(
        post=Operation(
            tags=["notifications"],
            operation_id=operation_id,
            summary=summary,
            description=description,
            parameters=parameters,
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
                    for status, text in errors.items()
                },
            },
        )
    )


_DETAILS: Final = "ProblemDetails"
_PROBLEM: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457 problem details: what is wrong, and what to do.",
    properties={
        "type": Schema(
            type=OpenAPIType.STRING, description="A URI for the kind; absent if it is about:blank."
        ),
        "title": Schema(type=OpenAPIType.STRING, description="The kind of problem."),
        "status": Schema(type=OpenAPIType.INTEGER, description="The HTTP status."),
        "detail": Schema(type=OpenAPIType.STRING, description="What is wrong, and who must do what."),
        "code": Schema(type=OpenAPIType.STRING, description="A stable code for programs."),
        "errors": Schema(
            type=OpenAPIType.ARRAY,
            description="Which parameters or fields are wrong, and how.",
            items=Schema(type=OpenAPIType.OBJECT, properties={"field": _TEXT, "text": _TEXT}),
        ),
        "related": Schema(
            type=OpenAPIType.STRING,
            description="The path of the resource that is in the way, if there is one.",
        ),
    },
    required=["title", "status", "detail", "code"],
)
# Status -> its meaning, and the detail and code of a real response.
_ERRORS: Final[dict[str, tuple[str, str, str]]] = {
    "400": (
        "A parameter or the body cannot be read.",
        "limit must be a whole number of at most 500.",
        "bad_request",
    ),
    "401": (
        "No API key, or an unknown one.",
        "Send 'Authorization: Bearer <key>' with a key of TETHER_API_KEYS",
        "not_authorized",
    ),
    "404": ("Not found.", "There is no such billing attempt", "not_found"),
    "409": (
        "The current state does not allow it; a person must look.",
        "This notification is processed, so it cannot be replayed. Nothing is left to do; look at its billing attempt.",
        "illegal_step",
    ),
    "413": ("The body is too large.", "A file may have at most 209,715,200 bytes", "too_large"),
    "422": (
        "The request is readable but cannot be processed.",
        "cursor: is not a cursor of this list; start again without it",
        "invalid_request",
    ),
    "503": (
        "A store is unavailable; retry after Retry-After seconds.",
        "Postgres is not reachable (no connection in time); try again in 5 s.",
        "store_unreachable",
    ),
}


def describe_problems(app: Litestar) -> None:
    """Add the error responses to each route of the API, in place of the framework's error format, which is never sent."""
    document = app.openapi_schema
    assert document.paths is not None
    assert isinstance(document.components, Components)
    document.components.schemas[_DETAILS] = _PROBLEM
    for path, item in document.paths.items():
        for operation in (item.get, item.post, item.patch, item.put, item.delete):
            if operation is None or operation.responses is None:
                continue
            if path == "/ready":
                ready = operation.responses["200"]
                assert isinstance(ready, OpenAPIResponse)
                unready = "Notifications cannot be recorded; the fields say why."
                operation.responses["503"] = OpenAPIResponse(description=unready, content=ready.content)
            elif path.startswith("/api/") and path not in {PATH, RELAY_PATH}:
                operation.responses |= {
                    status: _error_response(status) for status in _possible(path, item, operation)
                }


def name_schemas(app: Litestar) -> None:
    """
    Give each schema of the document a readable name: `UploadPage` for `Page[Upload]`, the subject in front of a name used twice.

    The framework puts the module path into such names, so generated clients would have types like `Page_tether_stores.uploads.Upload_`.
    """
    document = app.openapi_schema
    assert isinstance(document.components, Components)
    names = {
        key: _schema_name(key, schema.title or key) for key, schema in document.components.schemas.items()
    }
    assert len(set(names.values())) == len(names), "two schemas have the same name"
    for key, schema in document.components.schemas.items():
        schema.title = names[key]
    document.components.schemas = {
        names[key]: schema
        for key, schema in sorted(document.components.schemas.items(), key=lambda item: names[item[0]])
    }
    for reference in {id(found): found for found in _references(document)}.values():
        path, _, key = reference.ref.rpartition("/")
        reference.ref = f"{path}/{names[key]}"


def _schema_name(key: str, title: str) -> str:
    generic, bracket, item = title.partition("[")
    if bracket:
        return f"{item.removesuffix(']')}{generic}"
    subject, underscore, _ = key.partition("_")
    return f"{subject.capitalize()}{title}" if underscore else key


def _references(value: Any) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _references(getattr(value, field.name))


def _possible(path: str, item: PathItem, operation: Operation) -> Iterator[str]:
    yield from ("400", "401", "422", "503")
    if "{" in path:
        yield "404"
    if operation is not item.get:
        yield from ("409", "413")


def _error_response(status: str) -> OpenAPIResponse:
    text, detail, code = _ERRORS[status]
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
