"""
Report records: items of the gateway's lists and results of inquiries, converted to notifications.

A **fetched** record, an item of a list or the response to a status inquiry, is converted to the body of a notification, recorded in the
same inbox and applied by the same rules (`tether_core.payments.attempt`). Notifications and fetched records may come in any order: an
attempt keeps its furthest stage, and the second of two equal reports changes nothing.

A fetched record differs in two ways. It needs no confirmation, because it *is* the gateway's own record; it is stored as reported and
confirmed. And its fields differ from a notification's, so it has a key of its own: it becomes a row where it **says more** than all
stored rows, and else none. It says more
when nothing was stored; when what was stored was contradicted, or still waits for its confirmation; when it knows the reason why money
went back, which the notification lacked; or when it knows another error code, because an error of unknown outcome
has become a final one.

| the gateway's list has | converted to |
|---|---|
| a debit (`sdd_sale`, `sdd_init_recurring_sale`, `sdd_recurring_sale`) | its status; the event that belongs to a dispute's status is added |
| a refund, a void | none: the debit they refer to is listed with its own new status |
| a chargeback of a type that has a notification | that notification's status and event, with the reason |
| a transfer between accounts of the acquirer | none: no debit changes |
| a chargeback of a type that nobody knows | one with that type as its status, for a person |
| an item without the payment's id | cannot be read; it is counted as missing |

Source: Genesis API documentation v60.1 (2026-08), Reconcile, Chargebacks, Notifications.

>>> from tether_core.emp.notification import FORM, decode
>>> from tether_core.emp.responses import read_answer
>>> answer = read_answer(
...     b"<payment_response><status>chargebacked</status><unique_id>44177a21</unique_id>"
...     b"<transaction_id>t-7</transaction_id><amount>1000</amount><currency>EUR</currency></payment_response>"
... )
>>> record = from_answer(answer, account="default")
>>> record.notification.event, record.confirmation.status
('chargeback', 'chargebacked')
>>> sent = decode(b"unique_id=44177a21&signature=ab&status=chargebacked&event=chargeback", content_type=FORM)
>>> record.event_key == identify(sent, account="default").key     # the same event
True
>>> says_more(record, [RecordedStatus("applied", None, None)])
False
>>> says_more(record, [RecordedStatus("contradicted", None, None)])   # contradicted then, true by now
True
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import msgspec

from tether_core.emp.notification import FORM, Notification, decode
from tether_core.emp.responses import Chargeback, GatewayAnswer
from tether_core.errors import Unreadable
from tether_core.notifications.identity import identify
from tether_core.payments.attempt import Confirmation

__all__ = [
    "DEBITS",
    "REFUNDS",
    "RecordedStatus",
    "ReportRecord",
    "from_answer",
    "from_chargeback",
    "says_more",
]

# Transaction types that take money; a record without a type is taken for one of them.
DEBITS: Final = frozenset({"sdd_sale", "sdd_init_recurring_sale", "sdd_recurring_sale"})

# Transaction types that return money.
REFUNDS: Final = frozenset({"sdd_refund", "refund", "void"})

# A payment's own record shows a dispute by its status alone, a notification names the event, too.
_EVENT_OF_STATUS: Final = {
    "chargebacked": "chargeback",
    "chargeback_reversed": "chargeback_reversal",
    "represented": "representment",
    "representment_reversed": "representment_reversal",
    "second_chargebacked": "second_chargeback",
}

# Outcomes of rows that do not count as stored: the gateway contradicted the report, did not respond, or applying failed; or it is
# not known yet whether the report is of our payment, which only the gateway's own record shows.
_UNHEARD: Final = frozenset({"contradicted", "failed", "confirm", "unlinked"})

# Fetched records are not signed; the TLS connection authenticates them.
_UNSIGNED: Final = "report fetched"


class ReportRecord(msgspec.Struct, frozen=True):
    """
    A fetched record, ready for the inbox.

    Attributes:
        account: The account whose list or payment it is.
        key: 16 bytes; equal for all fetched records that say the same, and unlike any notification's key.
        event_key: 16 bytes; the key of a notification of the same event.
        content: 16 bytes, the digest of the body's fields.
        body: A form as a notification's, without anything personal.
        notification: The body, read.
        confirmation: The same as the gateway's own record.
        happened_at: The gateway's time of the payment, or `None`.
    """

    account: str
    key: bytes
    event_key: bytes
    content: bytes
    body: bytes
    notification: Notification
    confirmation: Confirmation
    happened_at: datetime | None


class RecordedStatus(msgspec.Struct, frozen=True):
    """
    The codes and the outcome of an inbox row about the same event.

    Attributes:
        outcome: `None` before it was applied.
        error_code: Its error code: of the gateway's own record where there is one, else of the notification.
        reason_code: Why money went back, likewise.
    """

    outcome: str | None
    error_code: str | None
    reason_code: str | None


def from_answer(answer: GatewayAnswer, *, account: str) -> ReportRecord | None:
    """
    Convert a payment's own record.

    Args:
        answer: An item of a list, or the response to a status inquiry.
        account: The account it was fetched with.

    Returns:
        The record, or `None` where it is not about a debit.

    Raises:
        Unreadable: when it names no payment.
    """
    if answer.transaction_type is not None and answer.transaction_type not in DEBITS:
        return None
    fields = {
        "unique_id": answer.unique_id,
        "transaction_id": answer.transaction_id,
        "transaction_type": answer.transaction_type,
        "status": answer.status,
        "event": _EVENT_OF_STATUS.get(answer.status),
        "amount": None if answer.amount_minor is None else str(answer.amount_minor),
        "currency": answer.currency,
        "reason_code": answer.reason_code,
        "error_code": answer.code or answer.fields.get("error_code"),
    }
    return _fetched(fields, account=account, happened_at=answer.timestamp_at)


def from_chargeback(chargeback: Chargeback, *, account: str) -> ReportRecord | None:
    """
    Convert a record of the chargeback lists.

    Args:
        chargeback: The record.
        account: The account it was fetched with.

    Returns:
        The record, or `None` where it is not about a debit.

    Raises:
        Unreadable: when it names no payment.
    """
    if chargeback.kind == "transfer":
        return None
    status, event = chargeback.as_notified or ((chargeback.type_text or "no type").lower(), None)
    fields = {
        "unique_id": chargeback.unique_id,
        "status": status,
        "event": event,
        "reason_code": chargeback.reason_code,
    }
    # Its amount is excluded: units and sign are not reliable, and ours is stored.
    return _fetched(fields, account=account, happened_at=None)


def says_more(record: ReportRecord, rows: Iterable[RecordedStatus]) -> bool:
    """
    Whether a fetched record has anything that no row about the same event has.

    Args:
        record: The record.
        rows: The stored rows about the same event, however they came; conflicting ones excluded.

    Returns:
        Whether it needs a row of its own.
    """
    reason_code, error_code = record.notification.reason_code, record.notification.error_code
    return not any(
        row.outcome not in _UNHEARD
        and reason_code in {None, row.reason_code}
        and error_code in {None, row.error_code}
        for row in rows
    )


def _fetched(fields: dict[str, str | None], *, account: str, happened_at: datetime | None) -> ReportRecord:
    body_fields = {name: value for name, value in fields.items() if value} | {"signature": _UNSIGNED}
    if "unique_id" not in body_fields:
        raise Unreadable("fetched record", why="it names no payment")
    body = urlencode(body_fields).encode()
    notification = decode(body, content_type=FORM)
    identity = identify(notification, account=account)
    return ReportRecord(
        account=account,
        key=_own_key(identity.key, notification),
        event_key=identity.key,
        content=identity.content,
        body=body,
        notification=notification,
        confirmation=Confirmation(
            notification.status,
            notification.error_code,
            notification.reason_code,
            notification.transaction_id,
        ),
        happened_at=happened_at,
    )


def _own_key(event_key: bytes, notification: Notification) -> bytes:
    digest = hashlib.blake2b(event_key, digest_size=16, person=b"report fetched")
    for code in (notification.error_code, notification.reason_code):
        encoded = (code or "").encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()
