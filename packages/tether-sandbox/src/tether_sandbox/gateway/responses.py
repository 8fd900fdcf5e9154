"""
The gateway's answers, written as it writes them: in its field order, with its gaps and its oddities.

Oddities are drawn from the payment's id, so one payment always gets the same: an empty element here, blanks around a
value there, now and then the older root. All of them were seen in samples of the gateway or its SDKs.

>>> refusal("460", "Transaction with the given unique ID cannot be found!")[39:]
b'<payment_response><status>error</status><code>460</code><technical_message>Transaction with the given unique ID cannot be found!</technical_message><message>Transaction with the given unique ID cannot be found!</message></payment_response>'
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

from tether_sandbox.gateway.ledger import Back, Debit

__all__ = ["chargebacks", "payment", "payments", "refusal"]

_T = TypeVar("_T")
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def refusal(
    code: str, why: str, *, root: str = "payment_response", transaction_id: str | None = None
) -> bytes:
    """
    An answer that only refuses.

    Args:
        code: The error code.
        why: Its words.
        root: The root element.
        transaction_id: The merchant's id of what is refused, where the answer names it.

    Returns:
        The document.
    """
    fields = [("status", "error"), ("code", code), ("technical_message", why), ("message", why)]
    if transaction_id is not None:
        fields.insert(1, ("transaction_id", transaction_id))
    if code == "470":  # this one comes in another order
        fields = [fields[1], fields[3], fields[0]]
    return f"{_HEAD}<{root}>{_fields(fields)}</{root}>".encode()


def payment(debit: Debit, *, status: str | None = None, code: str | None = None) -> bytes:
    """
    The answer about one payment.

    Args:
        debit: The record.
        status: Another status than the record's, for an answer that says less than the truth.
        code: Another code than the record's.

    Returns:
        The document, under the root of the day.
    """
    root = "payment_transaction" if _oddity(debit) == 0 else "payment_response"
    return f"{_HEAD}<{root}>{_payment(debit, status=status, code=code)}</{root}>".encode()


def payments(debits: Sequence[Debit], *, page: int, per_page: int) -> bytes:
    """
    One page of a list of payments.

    Args:
        debits: The whole list.
        page: Which page, from 1.
        per_page: Items a page.

    Returns:
        The document.
    """
    items = [
        f"<payment_response>{_payment(debit)}</payment_response>" for debit in _cut(debits, page, per_page)
    ]
    return _list("payment_responses", items, page=page, per_page=per_page, total=len(debits))


def chargebacks(backs: Sequence[tuple[Back, Debit]], *, page: int, per_page: int) -> bytes:
    """
    One page of a list of chargebacks.

    Args:
        backs: The whole list, each with the payment that came back.
        page: Which page, from 1.
        per_page: Items a page.

    Returns:
        The document.
    """
    items = [
        f"<chargeback_response>{_back(back, debit)}</chargeback_response>"
        for back, debit in _cut(backs, page, per_page)
    ]
    return _list("chargeback_responses", items, page=page, per_page=per_page, total=len(backs))


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


def _back(back: Back, debit: Debit) -> str:
    amount = debit.order.amount_minor
    # Minor units, major units, either sign: the lists are not to be relied on.
    spellings = (str(amount), f"-{amount}", f"{amount / 100:.1f}", f"{amount}.0")
    return _fields(
        [
            ("type", back.type),
            ("arn", ""),
            ("post_date", None),  # direct debits come without
            ("reason_code", back.reason_code),
            ("reason_description", f"scripted {back.reason_code}" if back.reason_code else None),
            ("amount", spellings[zlib.crc32(back.of.encode()) % len(spellings)]),
            ("currency", debit.order.currency),
            ("transaction_type", debit.order.type),
            ("original_transaction_unique_id", back.of),
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
