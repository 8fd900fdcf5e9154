"""The OpenAPI description of what Litestar cannot see by itself: the raw webhook route."""

from typing import Final

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    RequestBody,
    Schema,
)
from tether_core.emp.notification import FORM, JSON

from tether_web.webhooks import PATH

__all__ = ["describe_webhook"]

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
                    description="On record. A form gets the XML echo, JSON gets JSON.",
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
