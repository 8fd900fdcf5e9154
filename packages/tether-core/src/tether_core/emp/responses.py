"""
Responses of the gateway, read from XML documents.

Responses have two roots (`payment_response`, in older versions `payment_transaction`), and elements may be missing, empty or padded; lists
have one item or many, and an empty list is an error element. The three readers accept all of these. A response that they cannot read raises
`Unreadable`, which after a debit means: its outcome is unknown, inquire again.

Amounts of payments are whole minor units. Amounts of *chargebacks* are not reliable (minor or major units,
either sign), so they stay text: use the amount of the original payment. Types of chargebacks come in several
spellings; `Chargeback.kind` says which is meant.

Source: Genesis API documentation v60.1 (2026-08), responses of SDD Sale, Reconcile and Chargebacks; sample answers
of the vendor's public SDKs.

>>> read_answer(b"<payment_response><status>error</status><code>460</code><message/></payment_response>")
GatewayAnswer(error code=460 None None)
>>> read_chargebacks(b"<chargeback_response><status>error</status><code>470</code></chargeback_response>")
RecordPage(items=(), page=None, per_page=None, total_count=None, pages_count=None)
>>> read_answer(b"<html><body>Bad gateway</body></html>")
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This gateway answer cannot be read: its root is none of payment_response, ...
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final, Generic, Literal, TypeVar

import msgspec

from tether_core.emp import codes
from tether_core.emp.document import SIZE_MAX_BYTES, Node, read
from tether_core.errors import Unreadable

__all__ = [
    "SIZE_MAX_BYTES",
    "Chargeback",
    "ChargebackKind",
    "GatewayAnswer",
    "RecordPage",
    "read_answer",
    "read_chargebacks",
    "read_transactions",
]

_PER_PAGE: Final = 100  # the gateway's default


class GatewayAnswer(msgspec.Struct, frozen=True):
    """
    What the gateway says about one payment, or why it refuses a request.

    Attributes:
        status: Lower case, e.g. "approved" or "error".
        unique_id: The gateway's id of the payment, or `None` where a request was refused as a whole.
        transaction_id: Our id of it; some records have none.
        transaction_type: E.g. "sdd_sale".
        code: Digits, for errors and some declines; `tether_core.emp.codes.error_meaning` says what they mean.
        message: A readable text for display.
        technical_message: Details for engineers.
        amount_minor: Whole minor units, or `None` where missing or not a whole number.
        currency: Three capitals.
        timestamp_at: The gateway's time, aware UTC.
        terminal_token: The terminal, where the gateway names it.
        reference_id: The gateway's id of the payment that this one refers to (`reference_transaction_unique_id`).
        reason_code: Why money went back, upper case.
        redirect_url: Where the debtor has to confirm, in the verified flow.
        mode: "test" or "live".
        fields: Every text by its path; personal.
        root: The root element, which says of what service the answer is.
    """

    status: str
    unique_id: str | None
    transaction_id: str | None
    transaction_type: str | None
    code: str | None
    message: str | None
    technical_message: str | None
    amount_minor: int | None
    currency: str | None
    timestamp_at: datetime | None
    terminal_token: str | None
    reference_id: str | None
    reason_code: str | None
    redirect_url: str | None
    mode: str | None
    fields: dict[str, str]
    root: str = "payment_response"

    def __repr__(self) -> str:
        """Say status, code and ids; the rest may be personal."""
        return f"GatewayAnswer({self.status or '-'} code={self.code} {self.unique_id} {self.transaction_id})"


ChargebackKind = Literal[
    "first", "reversal", "representment", "representment_reversal", "second", "transfer", "other"
]

# Kind of a chargeback -> (status, event) of the notification that says the same.
_AS_NOTIFIED: Final[dict[ChargebackKind, tuple[str, str]]] = {
    "first": ("chargebacked", "chargeback"),
    "reversal": ("chargeback_reversed", "chargeback_reversal"),
    "representment": ("represented", "representment"),
    "representment_reversal": ("representment_reversed", "representment_reversal"),
    "second": ("second_chargebacked", "second_chargeback"),
}
# The type in lower case with single blanks -> kind. "Transfer reversal" and "chargeback transfer to ..." move money
# between accounts of the acquirer, not ours.
_KINDS: Final[dict[str, ChargebackKind]] = {
    "1st chargeback": "first",
    "1st chargeback reversal": "reversal",
    "chargeback reversal": "reversal",
    "re-presentment": "representment",
    "representment": "representment",
    "representment reversal": "representment_reversal",
    "re-presentment reversal": "representment_reversal",
    "2nd chargeback": "second",
    "transfer reversal": "transfer",
}


class Chargeback(msgspec.Struct, frozen=True):
    """
    One record of the gateway's chargeback lists.

    Attributes:
        kind: What happened; "other" for a type no table knows, which a person must look at.
        type_text: The type as it came.
        unique_id: The gateway's id of the payment that came back (`original_transaction_unique_id`).
        arn: The acquirer's reference number.
        reason_code: The bank's reason, upper case.
        reason_text: The words beside it.
        amount_text: The amount as it came. Do not calculate with it: units and sign are not reliable.
        currency: Three capitals.
        posted_on: The day of posting; direct debits may have none.
        fields: Every text by its path; personal.
    """

    kind: ChargebackKind
    type_text: str | None
    unique_id: str | None
    arn: str | None
    reason_code: str | None
    reason_text: str | None
    amount_text: str | None
    currency: str | None
    posted_on: date | None
    fields: dict[str, str]

    def __repr__(self) -> str:
        """Say kind, payment and reason; the rest may be personal."""
        return f"Chargeback({self.kind} {self.unique_id} {self.reason_code})"

    @property
    def as_notified(self) -> tuple[str, str] | None:
        """Status and event of the notification that says the same, or `None` where none does."""
        return _AS_NOTIFIED.get(self.kind)


T = TypeVar("T", GatewayAnswer, Chargeback)


class RecordPage(msgspec.Struct, Generic[T], frozen=True):
    """
    One page of a list.

    Attributes:
        items: What it holds; nothing for an empty list.
        page: Its number from 1, where stated.
        per_page: Items on a full page, where stated.
        total_count: Items of the whole list, where stated.
        pages_count: Pages of the whole list, where stated.
    """

    items: tuple[T, ...] = ()
    page: int | None = None
    per_page: int | None = None
    total_count: int | None = None
    pages_count: int | None = None

    @property
    def has_next(self) -> bool:
        """Whether another page should be requested; an empty page ends the list, even if the counts differ."""
        if not self.items:
            return False
        if self.page is None or self.pages_count is None:
            return len(self.items) >= (self.per_page or _PER_PAGE)
        return self.page < self.pages_count


_WHAT: Final = "gateway answer"
_ANSWER_ROOTS: Final = ("payment_response", "payment_transaction", "wpf_payment")


def read_answer(body: bytes, *, size_max_bytes: int = SIZE_MAX_BYTES) -> GatewayAnswer:
    """
    Read the answer about one payment.

    Args:
        body: The answer's body.
        size_max_bytes: Largest body that is looked at.

    Returns:
        What it says. A refusal is an answer too: look at `status` and `code`.

    Raises:
        Unreadable: when it is no such document, has no status, or contradicts itself.
    """
    root = read(body, what=_WHAT, size_max_bytes=size_max_bytes)
    answer = _answer(root, roots=_ANSWER_ROOTS)
    if not answer.status:
        raise Unreadable(_WHAT, why="it has no status")
    return answer


def read_transactions(
    body: bytes, *, size_max_bytes: int = SIZE_MAX_BYTES
) -> RecordPage[GatewayAnswer] | GatewayAnswer:
    """
    Read a page of payments (`reconcile_by_date`).

    Args:
        body: The answer's body.
        size_max_bytes: Largest body that is looked at.

    Returns:
        The page; an empty one where the gateway says that there are none; or, where it refuses the request, its refusal.

    Raises:
        Unreadable: when it is neither.
    """
    return _read_page(
        body,
        root="payment_responses",
        item=lambda node: _answer(node, roots=_ANSWER_ROOTS),
        limit=size_max_bytes,
    )


def read_chargebacks(
    body: bytes, *, size_max_bytes: int = SIZE_MAX_BYTES
) -> RecordPage[Chargeback] | GatewayAnswer:
    """
    Read a page of chargebacks, or the answer about a single one.

    Args:
        body: The answer's body.
        size_max_bytes: Largest body that is looked at.

    Returns:
        The page; an empty one where the gateway says that there are none; or, where it refuses the request, its refusal.

    Raises:
        Unreadable: when it is neither.
    """
    return _read_page(body, root="chargeback_responses", item=_chargeback, limit=size_max_bytes)


def _read_page(
    body: bytes, *, root: str, item: Callable[[Node], T], limit: int
) -> RecordPage[T] | GatewayAnswer:
    node = read(body, what=_WHAT, size_max_bytes=limit)
    single = root.removesuffix("s")
    if node.name == root:
        counts = {
            name: _whole(node.attributes.get(name))
            for name in ("page", "per_page", "total_count", "pages_count")
        }
        # Another element among the items would be one we cannot count.
        return RecordPage(tuple(item(child) for child in node.children), **counts)
    fields = node.fields()
    if node.name == single and "code" not in fields and fields.get("status", "").lower() != "error":
        return RecordPage((item(node),))
    refusal = _answer(node, roots=(*_ANSWER_ROOTS, single))
    if refusal.code is not None and codes.error_meaning(refusal.code).outcome in {"none_found", "not_found"}:
        return RecordPage()
    if refusal.status not in {"error", "declined"}:
        raise Unreadable(_WHAT, why="it is neither a list nor a refusal of one")
    return refusal


def _answer(node: Node, *, roots: tuple[str, ...]) -> GatewayAnswer:
    if node.name not in roots:
        raise Unreadable(_WHAT, why=f"its root is none of {', '.join(roots)}")
    for name in ("status", "unique_id", "transaction_id", "code", "amount", "currency"):
        if node.repeated(name):
            raise Unreadable(_WHAT, why=f"it gives two different values for {name}")
    fields = node.fields()
    get = fields.get
    return GatewayAnswer(
        status=(get("status") or "").lower(),
        unique_id=get("unique_id"),
        transaction_id=get("transaction_id"),
        transaction_type=get("transaction_type"),
        code=get("code"),
        message=get("message"),
        technical_message=get("technical_message"),
        amount_minor=_whole(get("amount")),
        currency=_upper(get("currency")),
        timestamp_at=_instant(get("timestamp")),
        terminal_token=get("terminal_token"),
        reference_id=get("reference_transaction_unique_id"),
        reason_code=_upper(get("reason_code") or get("rc_code")),
        redirect_url=get("redirect_url"),
        mode=get("mode"),
        fields=fields,
        root=node.name,
    )


def _chargeback(node: Node) -> Chargeback:
    if node.name != "chargeback_response":
        raise Unreadable(_WHAT, why="its list holds something that is no chargeback")
    fields = node.fields()
    get = fields.get
    return Chargeback(
        kind=_kind(get("type")),
        type_text=get("type"),
        unique_id=get("original_transaction_unique_id"),
        arn=get("arn"),
        reason_code=codes.return_reason(
            "chargebacked",
            reason_code=get("reason_code") or get("rc_code"),
            error_code=get("error_code") or get("code"),
        ),
        reason_text=get("reason_description") or get("rc_description"),
        amount_text=get("amount"),
        currency=_upper(get("currency")),
        posted_on=_day(get("post_date")),
        fields=fields,
    )


def _kind(text: str | None) -> ChargebackKind:
    plain = " ".join((text or "").casefold().split())
    if plain.startswith("chargeback transfer"):
        return "transfer"
    return _KINDS.get(plain, "other")


_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?(?:Z|\+00:00)?"
)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def _upper(text: str | None) -> str | None:
    return text.upper() if text is not None else None


def _day(text: str | None) -> date | None:
    if text is None or not _DAY.fullmatch(text[:10]):
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _instant(text: str | None) -> datetime | None:
    match = _INSTANT.fullmatch(text or "")
    if match is None:
        return None
    try:
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
