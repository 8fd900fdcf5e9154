r"""
Notifications of the gateway about payments: decode them and build their acknowledgement.

The gateway posts `application/x-www-form-urlencoded`; the same fields as a flat JSON object are read too.
Five kinds exist. `notification_type`, or the id that is present, shows the kind:

| kind | hashed id | echo child |
|---|---|---|
| payment | `unique_id` | `unique_id` |
| wpf (hosted page) | `wpf_unique_id` | `wpf_unique_id` |
| kyc (identity check) | `reference_id` | `reference_id` |
| apm_event (external event) | `payment_transaction_unique_id` | `unique_id` |
| other (an unknown `notification_type`) | `unique_id` | `unique_id` |

Only for a payment the hashed id is the id of what the notification is about: `unique_id` is both. All other kinds name a payment in a field
that is not signed, so they change none (`tether_core.payments.attempt`).

Everything but the id and the signature may be missing, and unknown fields appear with every release of the
gateway, so nothing else is required and every field is kept. A notification is repeated up to ten times
until its XML echo comes back; `acknowledge` writes that echo.

Source: Genesis API documentation v60.1, Notifications (transport, parameters, kinds).

>>> notification = decode(b"unique_id=44177a21&signature=ab&status=approved&amount=100", content_type=FORM)
>>> notification.kind, notification.id, notification.status, notification.amount_minor
('payment', '44177a21', 'approved', 100)
>>> acknowledge(notification)
b'<?xml version="1.0" encoding="UTF-8"?>\n<notification_echo><unique_id>44177a21</unique_id></notification_echo>\n'
>>> decode(b"status=approved", content_type=FORM)
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This notification cannot be read: it carries no id (unique_id, wpf_unique_id, ...
"""

import codecs
import re
from html import escape
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from tether_core.emp.codes import return_reason
from tether_core.errors import Unreadable

__all__ = ["FORM", "JSON", "Kind", "Notification", "acknowledge", "decode", "media_type"]

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

Kind = Literal["payment", "wpf", "kyc", "apm_event", "other"]

_KIND_BY_TYPE: Final[dict[str, Kind]] = {
    "wpf": "wpf",
    "kyc_service_execution": "kyc",
    "apm_external_event": "apm_event",
}
_ID_FIELD: Final[dict[Kind, str]] = {
    "payment": "unique_id",
    "wpf": "wpf_unique_id",
    "kyc": "reference_id",
    "apm_event": "payment_transaction_unique_id",
    "other": "unique_id",
}
_ECHO_CHILD: Final[dict[Kind, str]] = {
    "payment": "unique_id",
    "wpf": "wpf_unique_id",
    "kyc": "reference_id",
    "apm_event": "unique_id",
    "other": "unique_id",
}
# The order in which an id decides the kind where no notification_type does.
_KIND_BY_ID: Final[tuple[Kind, ...]] = ("payment", "wpf", "kyc", "apm_event")

# Ids are 32 hex digits in practice; documented only as strings. What could break a log line, an index or an
# XML document is refused, everything else may come.
_ID: Final = re.compile(r"[!-~]{1,255}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROLS: Final = [chr(code) for code in (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)]
_FIELDS_MAX: Final = 500  # the documented maximum is near 100
# Three times what the largest real notification would have if all of it were escaped. Each costs a tenth of a microsecond, and
# anybody may send them: a body is read before its signature is verified.
_ESCAPES_MAX: Final = 4_096
_WHOLE: Final = re.compile(r"[0-9]{1,15}")


class Notification(msgspec.Struct, frozen=True):
    """
    One notification, as its sender wrote it.

    Attributes:
        kind: "payment", "wpf", "kyc", "apm_event" or "other".
        id: The id that was hashed for the signature; 1 to 255 printable ASCII characters.
        signature: Hex digits as they came, unverified.
        status: Lower case, "" where there was none. For hosted pages the page's own status.
        event: Lower case, or `None` for the payment's normal life.
        chargeback_id: The dispute's own id (`chargeback_unique_id`), where the gateway sends one.
        unique_id: The gateway's id of the payment, or `None` where only a page or check is named. Signed for
            kind "payment" only.
        transaction_id: Our id of the payment, or `None`. Never signed.
        transaction_type: E.g. "sdd_sale"; for disputes that of the original payment.
        terminal_token: The terminal; unsigned, so only a hint at the account.
        amount_minor: Whole minor units, or `None` where missing or not a whole number.
        currency: Three capitals, or `None`.
        reason_code: Why money went back, from `reason_code` or `rc_code`, for disputes also from `error_code`; upper
            case; `None` where absent.
        reason_text: The words beside it.
        error_code: Digits, for "declined" and "error".
        fields: Every field as it came, in order; of a repeated one the last, as the vendor's SDK reads it.
    """

    kind: Kind
    id: str
    signature: str
    status: str
    event: str | None
    chargeback_id: str | None
    unique_id: str | None
    transaction_id: str | None
    transaction_type: str | None
    terminal_token: str | None
    amount_minor: int | None
    currency: str | None
    reason_code: str | None
    reason_text: str | None
    error_code: str | None
    fields: dict[str, str]

    def __repr__(self) -> str:
        """Say kind, id, status and event; the rest may be personal."""
        return f"Notification({self.kind} {self.id} {self.status or '-'} {self.event or '-'})"


def media_type(content_type: str) -> str:
    """
    The bare media type of a Content-Type header, lower case, without parameters.

    >>> media_type("Application/JSON; charset=utf-8")
    'application/json'
    """
    return content_type.partition(";")[0].strip().lower()


def decode(body: bytes, *, content_type: str) -> Notification:
    """
    Read a notification from the bytes of its request.

    Bytes that are not UTF-8 and control characters become U+FFFD: a name in an old encoding must not cost us
    the notification, and the stored body keeps the original.

    Args:
        body: The request body.
        content_type: `FORM` or `JSON`, as `media_type` gives it.

    Returns:
        The notification; its signature is not verified.

    Raises:
        Unreadable: when the body is neither, or carries no id or no signature.
    """
    # A byte order mark is no part of either form; some clients put one before everything they write.
    body = body.removeprefix(codecs.BOM_UTF8)
    fields = _json_fields(body) if content_type == JSON else _form_fields(body)
    kind = _kind(fields)
    own_id = fields[_ID_FIELD[kind]].strip()
    if not _ID.fullmatch(own_id):
        raise Unreadable("notification", why="its id is not 1 to 255 printable ASCII characters")
    signature = fields.get("signature", "").strip()
    if not signature:
        raise Unreadable("notification", why="it carries no signature")
    get = fields.get
    paid = "payment_transaction_" if kind == "wpf" else ""
    amount = get(paid + "amount") or ""
    status = (get("wpf_status" if kind == "wpf" else "status") or "").strip().lower()
    event = (get("event") or "").strip().lower() or None
    error_code = (get("error_code") or "").strip() or (get("code") or "").strip() or None
    reason_code = ((get("reason_code") or "").strip() or (get("rc_code") or "").strip()).upper() or None
    if error_code is not None:
        reason_code = return_reason(status, event=event, reason_code=reason_code, error_code=error_code)
    return Notification(
        kind=kind,
        id=own_id,
        signature=signature,
        status=status,
        event=event,
        chargeback_id=get("chargeback_unique_id") or None,
        unique_id=own_id
        if kind in {"payment", "other"}
        else (get("payment_transaction_unique_id") or "").strip() or None,
        transaction_id=(get("wpf_transaction_id") if kind == "wpf" else get("transaction_id")) or None,
        transaction_type=get(paid + "transaction_type") or None,
        terminal_token=get(paid + "terminal_token") or None,
        amount_minor=int(amount) if _WHOLE.fullmatch(amount) else None,
        currency=(get("currency") or "").strip().upper() or None,
        reason_code=reason_code,
        reason_text=get("reason_description") or get("rc_description") or None,
        error_code=error_code,
        fields=fields,
    )


def acknowledge(notification: Notification) -> bytes:
    """
    The XML echo that ends the gateway's repeats; answer it with 200 and `application/xml`.

    Args:
        notification: What is durably recorded by now, and not earlier.

    Returns:
        A UTF-8 document with the root `notification_echo` and one child that carries the id, escaped.

    Source: Genesis API documentation v60.1, Notifications; the child of each kind is in the module's table.
    """
    child = _ECHO_CHILD[notification.kind]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<notification_echo><{child}>{escape(notification.id, quote=False)}</{child}></notification_echo>\n"
    ).encode()


def _kind(fields: dict[str, str]) -> Kind:
    named = fields.get("notification_type", "").strip().lower()
    typed = _KIND_BY_TYPE.get(named)
    if typed is not None and fields.get(_ID_FIELD[typed]):
        return typed
    if named and fields.get("unique_id"):
        # Notifications of payments name no type; it is about something else, even if its fields look the same.
        return "other"
    for kind in _KIND_BY_ID:
        if fields.get(_ID_FIELD[kind]):
            return kind
    names = ", ".join(_ID_FIELD[kind] for kind in _KIND_BY_ID)
    raise Unreadable("notification", why=f"it carries no id ({names})")


def _form_fields(body: bytes) -> dict[str, str]:
    # As urllib's parse_qsl reads it, blank values kept, at a fifth of its cost; a test compares the two.
    text = body.decode("utf-8", "replace")
    if text.count("&") >= _FIELDS_MAX:
        raise Unreadable("notification", why=f"it has more than {_FIELDS_MAX} fields")
    if text.count("%") > _ESCAPES_MAX:
        raise Unreadable("notification", why=f"it has more than {_ESCAPES_MAX} escaped bytes (%)")
    fields = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair or not pair.isprintable():
            name = _clean(_unquoted(name).strip())
            value = _clean(_unquoted(value))
        if pair:
            fields[name.strip()] = value
    return fields


def _unquoted(text: str) -> str:
    # Bytes and not text: for text the library looks for what is not ASCII, character by character.
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise Unreadable("notification", why="its body is not JSON") from exc
    if not isinstance(content, dict):
        raise Unreadable("notification", why="its JSON is not an object")
    if len(content) > _FIELDS_MAX:
        raise Unreadable("notification", why=f"it has more than {_FIELDS_MAX} fields")
    return {_clean(str(name).strip()): _clean(_json_text(value)) for name, value in content.items()}


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True or value is False:
        return str(value).lower()
    return msgspec.json.encode(value).decode()


def _clean(text: str) -> str:
    # Nearly every value is printable, and asking costs a tenth of what substituting does.
    if text.isprintable() or not _CONTROL.search(text):
        return text
    for control in _CONTROLS:
        text = text.replace(control, "\N{REPLACEMENT CHARACTER}")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)  # lone surrogates
