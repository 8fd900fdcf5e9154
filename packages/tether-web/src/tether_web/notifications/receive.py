"""
`POST /api/webhooks/emp` and `POST /api/webhooks/emp/{token}`: verify, record, acknowledge.

The second address is that of a relay (`tether_core.notifications.relays`): there, only the passwords of its account verify.

This route bypasses the framework, because it is the busiest one and its responses follow the gateway's format instead of the
API's: XML echoes, `{"status":"ok"}`, and errors as `{"error": ...}`.

| request | response |
|---|---|
| a verified notification, new or repeated | 200 after its row is committed: XML echo for a form, JSON for JSON |
| the same key with other content | 200 likewise; stored for a person, not applied |
| more than the limit of one payment or key | 200 likewise; only its count is committed, and the status is inquired |
| an invalid signature, or no password configured | 401; not in the inbox, but kept for a while in the quarantine (`refused`) |
| wrong method / media type or content encoding / more than 64 KiB / unreadable or cut short | 405 / 415 / 413 / 400 |
| no commit in time, store unavailable, or overload | 503 with Retry-After; the gateway retries |
| the token of no relay, or of one that was revoked | 404; nothing is read, no query is made |
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from litestar.datastructures import State
from litestar.types import Receive, Scope
from tether_core.emp.notification import FORM, JSON, Notification, acknowledge, decode, media_type
from tether_core.emp.signature import Credential, Verified, sharing, verified_by
from tether_core.errors import SignatureMismatch, Unavailable, Unreadable
from tether_core.notifications.excess_deliveries import report_class
from tether_core.notifications.identity import Delivery, identify
from tether_core.notifications.relays import Relay, credentials_of
from tether_core.people.addresses import Network, client_address
from tether_stores.notifications.webhook_events import Recording
from tether_stores.telemetry import Sampled, logger
from tether_stores.traces import spans

from tether_web.http.metrics import NOTIFICATIONS
from tether_web.http.middleware import Direct, DirectResponse
from tether_web.notifications.inbox import Inbox
from tether_web.notifications.known_relays import KnownRelays
from tether_web.notifications.password_counts import PasswordCounts
from tether_web.notifications.refused import RefusedNotifications

__all__ = [
    "BODY_MAX_BYTES",
    "BODY_S",
    "PATH",
    "RELAY_PATH",
    "direct_handler",
    "of_owner",
    "receive_notification",
    "recording_of",
    "relay_handler",
]

PATH: Final = "/api/webhooks/emp"
RELAY_PATH: Final = f"{PATH}/{{token}}"
# Real notifications are below 4 KiB; the previous system had the same limit and never met it.
BODY_MAX_BYTES: Final = 65_536
# A larger body is read and discarded up to this size: a sender that gets the response within its body finds the
# connection closed and never reads the reason.
_READ_MAX_BYTES: Final = 1_048_576
# Time limit of a body, in seconds; a slower sender only holds the connection open.
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
        "unknown_relay",
    )
}


def _response(status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> DirectResponse:
    length = str(len(body)).encode()
    return DirectResponse(status, ((b"content-type", content_type), (b"content-length", length), *more), body)


def _error(status: int, text: str, *more: tuple[bytes, bytes]) -> DirectResponse:
    return _response(status, _PLAIN_JSON, msgspec.json.encode({"error": text}), *more)


def _unavailable(text: str, *, retry_after_s: int) -> DirectResponse:
    return _error(503, text, (b"retry-after", str(retry_after_s).encode()))


_REFUSED: Final = _error(401, "Invalid signature")
_TOO_LARGE: Final = _error(413, f"A notification has at most {BODY_MAX_BYTES} bytes")
_CUT_SHORT: Final = _error(400, "The request ended before its body did; send it again")
_ENCODED: Final = _error(415, "Content-Encoding: send the body as it is, not compressed")
_WRONG_TYPE: Final = _error(415, f"Send {FORM} or {JSON}")
_WRONG_METHOD: Final = _error(405, "Send notifications with POST", (b"allow", b"POST"))
_NOT_RECORDED: Final = _unavailable(
    "The notification could not be recorded", retry_after_s=Unavailable.retry_after_s
)
_NO_RELAY: Final = _error(404, "Not found")
_RELAYS_UNREAD: Final = _unavailable(
    "The relays could not be read yet", retry_after_s=Unavailable.retry_after_s
)
_NEW: Final = _response(200, _PLAIN_JSON, b'{"status":"ok"}')
_KNOWN: Final = _response(200, _PLAIN_JSON, b'{"status":"ok","message":"Already processed"}')


async def receive_notification(
    inbox: Inbox,
    body: bytes,
    *,
    content_type: str,
    credentials: Sequence[Credential],
    refused: RefusedNotifications | None = None,
    counts: PasswordCounts | None = None,
    sender: Callable[[], str | None] = lambda: None,
    relay: Relay | None = None,
) -> DirectResponse:
    """
    Verify a notification, record it, and make the response.

    Args:
        body: At most `BODY_MAX_BYTES` bytes.
        content_type: The header's value.
        credentials: Of the gateway accounts that may have signed; if there are none, all notifications are refused.
        refused: Keeps what no password verifies; `None` to keep nothing.
        counts: Counts which password verified; `None` to count nothing.
        sender: Returns the address of the sender, for what is refused or came by a relay.
        relay: The relay by which it came; `None` for the plain route.

    Returns:
        The response; 200 only after the row is committed.
    """
    media = media_type(content_type)
    if media not in {FORM, JSON}:
        return _WRONG_TYPE
    try:
        notification = decode(body, content_type=media)
    except Unreadable as exc:
        _outcomes["unreadable"]()
        _sampled.warning("notification unreadable", why=exc.why, size_bytes=len(body))
        return _error(400, str(exc))
    try:
        found = verified_by(
            notification.id,
            notification.signature,
            credentials=credentials,
            terminal_token=notification.terminal_token,
            with_login=notification.kind == "kyc",
        )
    except SignatureMismatch:
        _outcomes["refused"]()
        _sampled.warning("notification refused", configured_accounts=len(credentials), size_bytes=len(body))
        if refused is not None:
            refused.offer(
                notification,
                body,
                content_type=media,
                credentials=credentials,
                sender=sender,
                relay_id=None if relay is None else relay.id,
            )
        return _REFUSED
    try:
        if relay is None and len(credentials) > 1:  # the address of a relay says which account is meant
            found = await of_owner(inbox, notification, found, credentials=credentials)
    except Unavailable as exc:
        return _unavailable_inbox(exc)
    if counts is not None:
        counts.count(found)
    row = (
        recording_of(notification, body, account=found.account, content_type=media)
        if relay is None
        else recording_of(
            notification,
            body,
            account=found.account,
            content_type=media,
            relay_id=relay.id,
            sender=sender(),
        )
    )
    try:
        delivery = await inbox.deliver(row)
    except Unavailable as exc:
        return _unavailable_inbox(exc)
    _outcomes[delivery]()
    if delivery == "conflicting":
        _sampled.warning(
            "notification conflicts with the stored one", notification_id=notification.id, status=row.status
        )
    return _acknowledged(notification, delivery, media=media)


async def of_owner(
    inbox: Inbox, notification: Notification, found: Verified, *, credentials: Sequence[Credential]
) -> Verified:
    """
    What verified a notification, for the account of its payment where several accounts share the password.

    Args:
        found: From `tether_core.emp.signature.verified_by`.
        credentials: Of all accounts.

    Returns:
        The same for the account of the payment; *found* where no account shares the password, and for a payment that is not known.

    Raises:
        StoreUnreachable: when the payment was not looked up within the deadline.
        Overloaded: when too many deliveries wait.
    """
    others = sharing(found, credentials)
    owner = await inbox.owner(notification) if others else None
    return Verified(owner, found.secret) if owner is not None and owner in others else found


def _unavailable_inbox(exc: Unavailable) -> DirectResponse:
    _outcomes["unavailable"]()
    _sampled.warning("notification not recorded", why=str(exc))
    return _unavailable(str(exc), retry_after_s=exc.retry_after_s)


def recording_of(
    notification: Notification,
    body: bytes,
    *,
    account: str,
    content_type: str,
    relay_id: int | None = None,
    sender: str | None = None,
) -> Recording:
    """
    A verified notification as the inbox stores it.

    Args:
        body: As received.
        account: The account whose secret verified it.
        content_type: The media type of the body.
        relay_id: The relay by which it came; `None` for the plain route.
        sender: The address of its sender, where it came by a relay.
    """
    identity = identify(notification, account=account)
    return Recording(
        key=identity.key,
        content=identity.content,
        account=account,
        kind=notification.kind,
        notification_id=notification.id,
        status=notification.status[:100],
        event=(notification.event or "")[:100],
        content_type=content_type,
        body=body,
        report_class=report_class(notification),
        traceparent=spans.traceparent(),
        relay_id=relay_id,
        sender=sender,
    )


def _acknowledged(notification: Notification, delivery: Delivery, *, media: str) -> DirectResponse:
    if media == FORM:
        return _response(200, _XML, acknowledge(notification))
    return _KNOWN if delivery == "repeated" else _NEW


def direct_handler(state: State) -> Direct:
    """The handler of `PATH`, for `tether_web.http.middleware`; *state* has the inbox and the credentials once the app has started."""

    async def handle(scope: Scope, receive: Receive) -> DirectResponse:
        return await _received(state, scope, receive, relay=None)

    return handle


def relay_handler(state: State) -> Direct:
    """
    The handler of the paths below `PATH`, likewise.

    The relays are in the memory of the process (`state.known_relays`), so a token costs one digest and one look-up, and an unknown one no more.
    """

    async def handle(scope: Scope, receive: Receive) -> DirectResponse:
        known: KnownRelays = state.known_relays
        if not known.is_loaded:
            return _RELAYS_UNREAD
        relay = known.find(scope["path"].rstrip("/").rpartition("/")[2])
        if relay is None:
            _outcomes["unknown_relay"]()
            return _NO_RELAY
        return await _received(state, scope, receive, relay=relay)

    return handle


async def _received(state: State, scope: Scope, receive: Receive, *, relay: Relay | None) -> DirectResponse:
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
        credentials = state.credentials
        return await receive_notification(
            state.inbox,
            body,
            content_type=content_type,
            credentials=credentials if relay is None else credentials_of(relay, credentials),
            refused=state.refused_notifications,
            counts=state.password_counts,
            sender=lambda: _sender(scope, trusted=state.trusted_proxies),
            relay=relay,
        )
    except Exception as exc:  # noqa: BLE001 - after any error the gateway must retry
        _outcomes["unavailable"]()
        _log.error("notification not recorded", exc_info=exc)
        return _NOT_RECORDED


async def _body(receive: Receive, *, declared: bytes) -> bytes | None:
    """Read the body, or its beginning if it is too large; `None` when it was cut short or exceeded the time limit."""
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


def _sender(scope: Scope, *, trusted: Sequence[Network]) -> str | None:
    """The address of the client, past the proxies of `TETHER_TRUSTED_PROXIES`."""
    peer = scope["client"]
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_address(peer[0] if peer else None, b",".join(values).decode("latin-1"), trusted=trusted)


def _declares_too_much(length: bytes) -> bool:
    # Nine digits suffice; Python refuses to parse thousands of digits.
    return length.isdigit() and int(length.lstrip(b"0")[:9] or b"0") > _READ_MAX_BYTES
