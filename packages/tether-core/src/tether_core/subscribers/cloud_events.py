"""
An event as subscribers get it: a CloudEvent with a stable id.

The body is one JSON object of CloudEvents 1.0 in structured mode; the headers are those of Standard Webhooks, whose message id is
the id of the CloudEvent. The id is computed from the event's row, its time and its content. So it is the same for all subscribers, in
each retry and in each replay; and after a restore of the database, which may use a row's number again for something else, the other event has another id.

>>> from datetime import UTC, datetime
>>> at = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> payload = b'{"event":"refund.charged_back.1","attempt_id":7}'
>>> stable_id(43, occurred_at=at, payload=payload)
'evt_43_vakl6roxa53ho4h6nljr'
>>> body(43, occurred_at=at, payload=payload, account="default")
b'{"specversion":"1.0","id":"evt_43_vakl6roxa53ho4h6nljr","source":"/tether","type":"tether.refund.charged_back.1","time":"2026-03-02T12:00:00Z","subject":"billing-attempts/7","datacontenttype":"application/json","account":"default","data":{"attempt_id":7}}'
>>> order_key(payload)
'billing-attempts/7'

Source: CloudEvents 1.0.2, section "Context attributes" and its JSON format; Standard Webhooks 1.0.0.
"""

import inspect
from base64 import b32encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, get_args

import msgspec

from tether_core.events import Event

__all__ = ["CONTENT_TYPE", "SOURCE", "EventType", "body", "catalogue", "facts_of", "order_key", "stable_id"]

CONTENT_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = "/tether"
_PREFIX: Final = "tether."
_DIGITS: Final = 20
# Fields of events that name what they are about, the most telling one first, and the path of it in the API.
_SUBJECTS: Final = {
    "attempt_id": "billing-attempts",
    "debtor_id": "debtors",
    "subscriber_id": "subscribers",
}


class EventType(msgspec.Struct, frozen=True):
    """
    A type of event.

    Attributes:
        name: As in filters and in the event stream.
        type: As in the body of a delivery: with prefix and version.
        version: Of the form of `data`.
        text: What it says.
        data_schema: JSON Schema of `data`.
        body_schema: JSON Schema of the whole body.
    """

    name: str
    type: str
    version: int
    text: str
    data_schema: dict[str, Any]
    body_schema: dict[str, Any]


class _CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    subject: str | None = None
    datacontenttype: str | None = None
    account: str | None = None
    data: dict[str, Any] = {}


def stable_id(event_id: int, *, occurred_at: datetime, payload: bytes) -> str:
    """
    The id of an event for subscribers.

    Args:
        event_id: Its row in the outbox.
        occurred_at: Its time, aware.
        payload: Its content as stored.

    Returns:
        At most 45 letters, digits and underscores.
    """
    text = f"{event_id}|{occurred_at.astimezone(UTC).isoformat()}|".encode() + payload
    return f"evt_{event_id}_{b32encode(sha256(text).digest()).decode().lower()[:_DIGITS]}"


def facts_of(payload: bytes) -> tuple[str, dict[str, Any]]:
    """
    The tag of an event, such as "attempt.status_changed.1", and its fields.

    Events of versions that this code does not know are read as well, because subscribers may know them.
    """
    fields: dict[str, Any] = msgspec.json.decode(payload)
    return str(fields.pop("event")), fields


def order_key(payload: bytes) -> str | None:
    """What the event is about; events about the same thing are delivered in order. `None`: its order does not matter."""
    _, fields = facts_of(payload)
    return _subject(fields)


def _subject(fields: dict[str, Any]) -> str | None:
    for field, path in _SUBJECTS.items():
        if fields.get(field):
            return f"{path}/{fields[field]}"
    return None


def body(event_id: int, *, occurred_at: datetime, payload: bytes, account: str | None) -> bytes:
    """
    The body of a delivery.

    Args:
        event_id: Its row in the outbox.
        occurred_at: Its time, aware.
        payload: Its content as stored.
        account: The gateway account it belongs to; `None` for none.
    """
    tag, fields = facts_of(payload)
    event = _CloudEvent(
        "1.0",
        stable_id(event_id, occurred_at=occurred_at, payload=payload),
        SOURCE,
        _PREFIX + tag,
        occurred_at.astimezone(UTC),
        _subject(fields),
        "application/json",
        account,
        fields,
    )
    return msgspec.json.encode(event)


def catalogue() -> tuple[EventType, ...]:
    """All types of events by name, with their JSON Schemas."""
    return tuple(sorted((_event_type(kind) for kind in get_args(Event)), key=lambda kind: kind.name))


def _event_type(kind: type[Event]) -> EventType:
    tag = str(kind.__struct_config__.tag)
    name, _, version = tag.rpartition(".")
    _, components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    data: dict[str, Any] = dict(components[kind.__name__])
    data["properties"] = {key: value for key, value in data["properties"].items() if key != "event"}
    data["required"] = [key for key in data.get("required", []) if key != "event"]
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    data["description"] = text
    body_schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _PREFIX + tag,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"const": SOURCE},
            "type": {"const": _PREFIX + tag},
            "time": {"type": "string", "format": "date-time"},
            "subject": {"type": "string"},
            "datacontenttype": {"const": "application/json"},
            "account": {"type": "string"},
            "data": data,
        },
    }
    return EventType(name, _PREFIX + tag, int(version), text, data, body_schema)
