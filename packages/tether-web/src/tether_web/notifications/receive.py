"""
`POST /api/webhooks/emp`: verify, record, acknowledge.

Reached past the framework, because this is the one route whose every microsecond counts and whose answers are the
gateway's, not our API's: XML echoes, `{"status":"ok"}`, and errors as `{"error": ...}`.

| what comes | what it gets |
|---|---|
| a genuine notification, new or repeated | 200, with its row committed: XML echo to a form, JSON to JSON |
| the same key with other content | 200 likewise; kept for a person, not applied |
| more than is kept of one payment or key | 200 likewise; its count is committed, and what it reports again is inquired |
| a signature that no secret makes, or no secret configured | 401, and no trace in the inbox |
| another method / media type or content encoding / more than 64 KiB / unreadable or cut short | 405 / 415 / 413 / 400 |
| no commit in time, or the store away, or too many waiting | 503 with Retry-After; the gateway comes again |
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from litestar.datastructures import State
from litestar.types import Receive, Scope
from tether_core.emp.notification import FORM, JSON, Notification, acknowledge, decode, media_type
from tether_core.emp.signature import Credential, verify
from tether_core.errors import SignatureMismatch, Unavailable, Unreadable
from tether_core.notifications.excess_deliveries import report_class
from tether_core.notifications.identity import Delivery, identify
from tether_stores.notifications.webhook_events import Recording
from tether_stores.telemetry import Sampled, logger

from tether_web.http.metrics import NOTIFICATIONS
from tether_web.http.middleware import Answer, Direct
from tether_web.notifications.inbox import Inbox

__all__ = ["BODY_MAX_BYTES", "BODY_S", "PATH", "receiving", "take"]

PATH: Final = "/api/webhooks/emp"
# Real notifications are below 4 KiB; the old system's limit was the same and never met.
BODY_MAX_BYTES: Final = 65_536
# What is larger is read and forgotten up to here: a sender that is answered in the middle of its body finds the
# connection closed and never reads why.
_READ_MAX_BYTES: Final = 1_048_576

# Who sends some hundred bytes and takes longer than this for them is holding a connection open.
BODY_S: Final = 10.0

_XML: Final = b"application/xml"
_PLAIN_JSON: Final = b"application/json"
_log = logger("webhooks")
_sampled = Sampled(_log)
_outcomes: Final = {
    outcome: NOTIFICATIONS.labels(outcome).inc
    for outcome in (
        "recorded",
        "repeated",
        "conflicting",
        "counted",
        "refused",
        "unreadable",
        "unavailable",
    )
}


def _answer(status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> Answer:
    length = str(len(body)).encode()
    return Answer(status, ((b"content-type", content_type), (b"content-length", length), *more), body)


def _error(status: int, text: str, *more: tuple[bytes, bytes]) -> Answer:
    return _answer(status, _PLAIN_JSON, msgspec.json.encode({"error": text}), *more)


def _later(text: str, *, retry_after_s: int) -> Answer:
    return _error(503, text, (b"retry-after", str(retry_after_s).encode()))


_REFUSED: Final = _error(401, "Invalid signature")
_TOO_LARGE: Final = _error(413, f"A notification has at most {BODY_MAX_BYTES} bytes")
_CUT_SHORT: Final = _error(400, "The request ended before its body did; send it again")
_ENCODED: Final = _error(415, "Content-Encoding: send the body as it is, not compressed")
_WRONG_TYPE: Final = _error(415, f"Send {FORM} or {JSON}")
_WRONG_METHOD: Final = _error(405, "Send notifications with POST", (b"allow", b"POST"))
_NOT_RECORDED: Final = _later(
    "The notification could not be recorded", retry_after_s=Unavailable.retry_after_s
)
_NEW: Final = _answer(200, _PLAIN_JSON, b'{"status":"ok"}')
_KNOWN: Final = _answer(200, _PLAIN_JSON, b'{"status":"ok","message":"Already processed"}')


async def take(inbox: Inbox, body: bytes, *, content_type: str, credentials: Sequence[Credential]) -> Answer:
    """
    Verify a notification, have it recorded, and say what to answer.

    Args:
        inbox: Where it goes.
        body: At most `BODY_MAX_BYTES` bytes.
        content_type: The header's value.
        credentials: The gateway accounts that may have signed; none means every notification is refused.

    Returns:
        The answer; 200 only after the row is committed.
    """
    media = media_type(content_type)
    if media not in {FORM, JSON}:
        return _WRONG_TYPE
    try:
        notification = decode(body, content_type=media)
        account = verify(
            notification.id,
            notification.signature,
            credentials=credentials,
            terminal_token=notification.terminal_token,
            with_login=notification.kind == "kyc",
        )
    except Unreadable as exc:
        _outcomes["unreadable"]()
        _sampled.warning("notification unreadable", why=exc.why, size_bytes=len(body))
        return _error(400, str(exc))
    except SignatureMismatch:
        _outcomes["refused"]()
        _sampled.warning("notification refused", configured_accounts=len(credentials), size_bytes=len(body))
        return _REFUSED
    same = identify(notification, account=account)
    row = Recording(
        key=same.key,
        content=same.content,
        account=account,
        kind=notification.kind,
        notification_id=notification.id,
        status=notification.status[:100],
        event=(notification.event or "")[:100],
        content_type=media,
        body=body,
        report_class=report_class(notification),
    )
    try:
        delivery = await inbox.deliver(row)
    except Unavailable as exc:
        _outcomes["unavailable"]()
        _sampled.warning("notification not recorded", why=str(exc))
        return _later(str(exc), retry_after_s=exc.retry_after_s)
    _outcomes[delivery]()
    if delivery == "conflicting":
        _sampled.warning(
            "notification conflicts with one stored", notification_id=notification.id, status=row.status
        )
    return _acknowledged(notification, delivery, media=media)


def _acknowledged(notification: Notification, delivery: Delivery, *, media: str) -> Answer:
    if media == FORM:
        return _answer(200, _XML, acknowledge(notification))
    return _KNOWN if delivery == "repeated" else _NEW


def receiving(state: State) -> Direct:
    """
    `take` for requests of this one path.

    Args:
        state: Of the application: its inbox and its gateway accounts, once it has started.

    Returns:
        What answers them.
    """

    async def receive_one(scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":  # type: ignore[typeddict-item]
            return _WRONG_METHOD
        try:
            headers = dict(scope["headers"])
            if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
                return _ENCODED
            body = await _body(receive, declared=headers.get(b"content-length", b""))
            if body is None:
                _outcomes["unreadable"]()
                return _CUT_SHORT
            if len(body) > BODY_MAX_BYTES:
                return _TOO_LARGE
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            return await take(state.inbox, body, content_type=content_type, credentials=state.credentials)
        except Exception as exc:  # noqa: BLE001 - whatever kept a genuine notification out, it has to come again
            _outcomes["unavailable"]()
            _log.error("notification not recorded", exc_info=exc)
            return _NOT_RECORDED

    return receive_one


async def _body(receive: Receive, *, declared: bytes) -> bytes | None:
    """Give the body, or its beginning where it is too large; `None` when it was cut short or did not come in time."""
    if _declares_too_much(declared):
        return bytes(BODY_MAX_BYTES + 1)
    body = b""
    size_bytes = 0
    more = True
    try:
        async with asyncio.timeout(BODY_S):
            while more and size_bytes <= _READ_MAX_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                part = message.get("body", b"")
                size_bytes += len(part)
                if len(body) <= BODY_MAX_BYTES:
                    body += part
                more = message.get("more_body", False)
    except TimeoutError:
        return None
    return body


def _declares_too_much(length: bytes) -> bool:
    # Nine digits are enough to know; Python would refuse to read some thousands of them.
    return length.isdigit() and int(length.lstrip(b"0")[:9] or b"0") > _READ_MAX_BYTES
