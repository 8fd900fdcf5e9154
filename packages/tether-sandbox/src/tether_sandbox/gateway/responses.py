"""
The gateway's XML responses, with its field order and its irregularities.

Irregularities are derived from the payment's id, so a payment always has the same: an empty or missing element, blanks around
values, the older root element. All of them occur in samples of the gateway or its SDKs.

>>> refusal("460", "Transaction with the given unique ID cannot be found!")[39:]
b'<payment_response><status>error</status><code>460</code><technical_message>Transaction with the given unique ID cannot be found!</technical_message><message>Transaction with the given unique ID cannot be found!</message></payment_response>'
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

from tether_sandbox.gateway.ledger import ChargebackRecord, Debit

__all__ = ["chargebacks", "payment", "payments", "refusal"]

_T = TypeVar("_T")
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def refusal(
    code: str, why: str, *, root: str = "payment_response", transaction_id: str | None = None
) -> bytes:
    """
    An error response.

    Args:
        transaction_id: The merchant's id; `None` if the response does not contain it.
    """
    fields = [("status", "error"), ("code", code), ("technical_message", why), ("message", why)]
    if transaction_id is not None:
        fields.insert(1, ("transaction_id", transaction_id))
    if code == "470":  # this error has another field order
        fields = [fields[1], fields[3], fields[0]]
    return f"{_HEAD}<{root}>{_fields(fields)}</{root}>".encode()


def payment(debit: Debit, *, status: str | None = None, code: str | None = None) -> bytes:
    """
    The response about a payment.

    Args:
        status: Replaces the record's status, for a misleading response.
        code: Replaces the record's code.
    """
    root = "payment_transaction" if _oddity(debit) == 0 else "payment_response"
    return f"{_HEAD}<{root}>{_payment(debit, status=status, code=code)}</{root}>".encode()


def payments(debits: Sequence[Debit], *, page: int, per_page: int) -> bytes:
    """
    A page of a list of payments.

    Args:
        debits: The whole list.
        page: From 1.
    """
    items = [
        f"<payment_response>{_payment(debit)}</payment_response>" for debit in _cut(debits, page, per_page)
    ]
    return _list("payment_responses", items, page=page, per_page=per_page, total=len(debits))


def chargebacks(records: Sequence[tuple[ChargebackRecord, Debit]], *, page: int, per_page: int) -> bytes:
    """
    A page of a list of chargebacks.

    Args:
        records: The whole list, each with its payment.
        page: From 1.
    """
    items = [
        f"<chargeback_response>{_chargeback(record, debit)}</chargeback_response>"
        for record, debit in _cut(records, page, per_page)
    ]
    return _list("chargeback_responses", items, page=page, per_page=per_page, total=len(records))


def _payment(debit: Debit, *, status: str | None = None, code: str | None = None) -> str:
    code = debit.code if code is None else code
    order = debit.order
    fields = [
        ("transaction_type", order.type),
        ("status", debit.status if status is None else status),
        ("mode", "test"),
        ("transaction_id", order.transaction_id),
        ("unique_id", debit.unique_id),
        ("code", code or None),
        ("technical_message", f"scripted error {code}" if code else None),
        ("message", None if code else "TESTMODE: No real money will be transferred!"),
        ("timestamp", _instant(debit.taken_at)),
        ("descriptor", "" if _oddity(debit) == 1 else "tether sandbox"),
        ("amount", str(order.amount_minor)),
        ("currency", order.currency),
        ("sent_to_acquirer", None if _oddity(debit) == 2 else "true"),
        ("reference_transaction_unique_id", order.reference_id or None),
    ]
    return _fields(fields, padded=_oddity(debit) == 3)


def _chargeback(record: ChargebackRecord, debit: Debit) -> str:
    amount = debit.order.amount_minor
    # Minor units, major units, either sign: amounts of the real lists are unreliable.
    spellings = (str(amount), f"-{amount}", f"{amount / 100:.1f}", f"{amount}.0")
    return _fields(
        [
            ("type", record.type),
            ("arn", ""),
            ("post_date", None),  # direct debits have none
            ("reason_code", record.reason_code),
            ("reason_description", f"scripted {record.reason_code}" if record.reason_code else None),
            ("amount", spellings[zlib.crc32(record.original_id.encode()) % len(spellings)]),
            ("currency", debit.order.currency),
            ("transaction_type", debit.order.type),
            ("original_transaction_unique_id", record.original_id),
        ]
    )


def _list(root: str, items: Sequence[str], *, page: int, per_page: int, total: int) -> bytes:
    counts = {
        "per_page": per_page,
        "page": page,
        "total_count": total,
        "pages_count": -(-total // per_page),
    }
    attributes = "".join(f" {name}={quoteattr(str(value))}" for name, value in counts.items())
    return f"{_HEAD}<{root}{attributes}>{''.join(items)}</{root}>".encode()


def _cut(items: Sequence[_T], page: int, per_page: int) -> Sequence[_T]:
    return items[(page - 1) * per_page : page * per_page]


def _fields(fields: Sequence[tuple[str, str | None]], *, padded: bool = False) -> str:
    blank = "\n  " if padded else ""
    return "".join(
        f"{blank}<{name}>{blank}{escape(value)}{blank}</{name}>"
        for name, value in fields
        if value is not None
    )


def _oddity(debit: Debit) -> int:
    return zlib.crc32(debit.unique_id.encode()) % 12


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
