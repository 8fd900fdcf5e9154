r"""
Requests to the gateway, as XML documents.

A debit is requested with `sdd_sale` (single), `sdd_init_recurring_sale` (first of a series) or `sdd_recurring_sale` (a
later one, by reference); `sdd_refund` and `void` reverse one. The gateway has no idempotency key: the
`transaction_id` that *we* choose is the only handle by which a debit of unknown outcome can be found again
(`reconcile`), so it is stored before any of these is sent. `reconcile_by_date`, `chargebacks_by_date` and
`chargebacks_by_import_date` request lists, page by page.

Every text is checked against the documented limits before anything is written, and a refusal names the field
and never its content.

Source: Genesis API documentation v60.1 (2026-08), SDD Sale and following, Reconcile, Chargebacks; window of at most
7 days since v57.6 (2026-03), `scope` since v58.2 (2026-04).

>>> reconcile(transaction_id="t-7")
b'<?xml version="1.0" encoding="UTF-8"?>\n<reconcile><transaction_id>t-7</transaction_id></reconcile>\n'
>>> reconcile(transaction_id="t-7", unique_id="44177a21")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: Give exactly one of transaction_id, unique_id and arn.
"""

import ipaddress
import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core import iban as iban_of
from tether_core import money
from tether_core.emp.document import Content, write
from tether_core.errors import InvalidRequest

__all__ = [
    "WINDOW_MAX",
    "Debit",
    "Scope",
    "chargeback",
    "chargebacks_by_date",
    "chargebacks_by_import_date",
    "reconcile",
    "reconcile_by_date",
    "sdd_init_recurring_sale",
    "sdd_recurring_sale",
    "sdd_refund",
    "sdd_sale",
    "void",
    "windows",
]

_Fields = list[tuple[str, Content]]
Scope = Literal["card_present", "card_not_present", "external"]

WINDOW_MAX: Final = timedelta(days=7)
_PER_PAGE: Final = 100  # the gateway's default

_PLAIN_ID: Final = re.compile(r"[!-~]+")
_BIC: Final = re.compile(r"[A-Z0-9]{8}(?:[A-Z0-9]{3})?")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


class Debit(msgspec.Struct, frozen=True, kw_only=True):
    """
    One debit to be requested.

    Which of the optional fields a terminal demands is its own setting; by default e-mail, IP address, street,
    town and postcode are. `None` leaves a field out.

    Attributes:
        transaction_id: Our id, at most 255 printable ASCII characters; the only handle after a lost answer.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        usage: The text on the debtor's statement, at most 255 characters.
        iban: The account, in any spelling.
        first_name: Of the debtor, at most 255 characters.
        last_name: Of the debtor, at most 255 characters.
        country: Two capitals of ISO 3166.
        bic: Of the debtor's bank, 8 or 11 characters; needed for some countries outside the EEA.
        address1: Street and number.
        address2: More of it.
        zip_code: Postcode.
        city: Town.
        state: Two letters, where the country has states.
        remote_ip: IPv4 or IPv6 address from which the debtor agreed.
        company_name: Where the debtor is a company.
        mandate_reference: Of a mandate on paper.
        merchant_name: The creditor's name on the statement, at most 140 characters.
        email: The debtor's; sent with the first of a series only, single debits do not take it.
        phone: Likewise.
    """

    transaction_id: str
    amount_minor: int
    currency: str
    usage: str
    iban: str
    first_name: str
    last_name: str
    country: str
    bic: str | None = None
    address1: str | None = None
    address2: str | None = None
    zip_code: str | None = None
    city: str | None = None
    state: str | None = None
    remote_ip: str | None = None
    company_name: str | None = None
    mandate_reference: str | None = None
    merchant_name: str | None = None
    email: str | None = None
    phone: str | None = None

    def __repr__(self) -> str:
        """Say our id and the amount; nothing of the debtor."""
        return f"Debit({self.transaction_id} {self.amount_minor} {self.currency})"


def sdd_sale(debit: Debit) -> bytes:
    """
    Request a single debit.

    Args:
        debit: What is to be debited.

    Returns:
        The request, for `/process/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when a field is missing, too long or of the wrong form; names the field, never its content.
        InvalidIban: when the account is none.
    """
    return write("payment_transaction", [("transaction_type", "sdd_sale"), *_debit_fields(debit)])


def sdd_init_recurring_sale(debit: Debit) -> bytes:
    """
    Request the first debit of a series; refunding it in full stops the series.

    Args:
        debit: What is to be debited.

    Returns:
        The request, for `/process/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when a field is missing, too long or of the wrong form.
        InvalidIban: when the account is none.
    """
    fields = _debit_fields(debit)
    # The documented place: after the currency, before the account.
    place = [tag for tag, _ in fields].index("iban")
    fields[place:place] = [
        ("customer_email", _text(debit.email, "customer_email")),
        ("customer_phone", _text(debit.phone, "customer_phone")),
    ]
    return write("payment_transaction", [("transaction_type", "sdd_init_recurring_sale"), *fields])


def sdd_recurring_sale(
    transaction_id: str,
    *,
    reference_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    remote_ip: str | None = None,
) -> bytes:
    """
    Request a later debit of a series; the gateway knows the account.

    Args:
        transaction_id: Our id of this debit.
        reference_id: The gateway's id of the first debit, at most 32 characters.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        usage: The text on the debtor's statement, at most 255 characters.
        remote_ip: Where the terminal demands it.

    Returns:
        The request, for `/process/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when a field is missing, too long or of the wrong form.
    """
    fields = _head(transaction_id, usage=usage, remote_ip=remote_ip)
    fields += [*_amount(amount_minor, currency), ("reference_id", _reference(reference_id))]
    return write("payment_transaction", [("transaction_type", "sdd_recurring_sale"), *fields])


def sdd_refund(
    transaction_id: str, *, reference_id: str, amount_minor: int, currency: str, usage: str
) -> bytes:
    """
    Request a refund of an approved debit.

    Args:
        transaction_id: Our id of this refund, not that of the debit.
        reference_id: The gateway's id of the debit, at most 32 characters.
        amount_minor: Whole minor units; the whole debit unless the terminal allows parts.
        currency: That of the debit.
        usage: The text on the debtor's statement, at most 255 characters.

    Returns:
        The request, for `/process/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when a field is missing, too long or of the wrong form.
    """
    fields = [*_head(transaction_id, usage=usage), *_amount(amount_minor, currency)]
    fields.append(("reference_id", _reference(reference_id)))
    return write("payment_transaction", [("transaction_type", "sdd_refund"), *fields])


def void(transaction_id: str, *, reference_id: str, usage: str) -> bytes:
    """
    Request the void of a debit, possible on the same day before it goes to the banks.

    Args:
        transaction_id: Our id of this cancellation, not that of the debit.
        reference_id: The gateway's id of the debit, at most 32 characters.
        usage: Why, at most 255 characters.

    Returns:
        The request, for `/process/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when a field is missing, too long or of the wrong form.
    """
    fields = [*_head(transaction_id, usage=usage), ("reference_id", _reference(reference_id))]
    return write("payment_transaction", [("transaction_type", "void"), *fields])


def reconcile(
    *, transaction_id: str | None = None, unique_id: str | None = None, arn: str | None = None
) -> bytes:
    """
    Request the status of one payment; exactly one of the three ids.

    Args:
        transaction_id: Our id of it.
        unique_id: The gateway's id of it.
        arn: The acquirer's reference number.

    Returns:
        The request, for `/reconcile/TERMINAL_TOKEN/` of the terminal that took the payment.

    Raises:
        InvalidRequest: when none or several are given.
    """
    given: _Fields = [
        (tag, _id(value, tag))
        for tag, value in (("unique_id", unique_id), ("arn", arn), ("transaction_id", transaction_id))
        if value is not None
    ]
    if len(given) != 1:
        raise InvalidRequest("give exactly one of transaction_id, unique_id and arn")
    return write("reconcile", given)


def reconcile_by_date(*, start_at: datetime, end_at: datetime, page: int = 1) -> bytes:
    """
    Request all payments of a terminal within a window.

    Args:
        start_at: Its beginning, aware.
        end_at: Its end, aware, at most 7 days later.
        page: From 1; 100 payments each.

    Returns:
        The request, for `/reconcile/by_date/TERMINAL_TOKEN/`.

    Raises:
        InvalidRequest: when the window is empty or longer than 7 days, or the page is below 1.
    """
    if not start_at < end_at <= start_at + WINDOW_MAX:
        raise InvalidRequest("a window ends after it begins and at most 7 days later", field="end_date")
    fields: _Fields = [("start_date", _timestamp(start_at)), ("end_date", _timestamp(end_at)), *_page(page)]
    return write("reconcile", fields)


def windows(start_at: datetime, *, end_at: datetime) -> list[tuple[datetime, datetime]]:
    """
    Cut a span into windows that the gateway accepts.

    Args:
        start_at: Its beginning, aware.
        end_at: Its end, aware.

    Returns:
        (start, end) pairs of at most 7 days that touch; none where the span is empty.

    >>> from datetime import UTC, datetime
    >>> [(a.day, b.day) for a, b in windows(datetime(2026, 3, 1, tzinfo=UTC), end_at=datetime(2026, 3, 10, tzinfo=UTC))]
    [(1, 8), (8, 10)]
    """
    cut = list[tuple[datetime, datetime]]()
    while start_at < end_at:
        cut.append((start_at, min(start_at + WINDOW_MAX, end_at)))
        start_at += WINDOW_MAX
    return cut


def chargeback(*, unique_id: str | None = None, arn: str | None = None) -> bytes:
    """
    Request the chargebacks of one payment; exactly one of the two ids.

    Args:
        unique_id: The gateway's id of the payment.
        arn: The acquirer's reference number.

    Returns:
        The request, for `/chargebacks`; it requests a list, since a payment may be charged back twice.

    Raises:
        InvalidRequest: when none or both are given.
    """
    given: _Fields = [
        (tag, _id(value, tag))
        for tag, value in (("arn", arn), ("original_transaction_unique_id", unique_id))
        if value is not None
    ]
    if len(given) != 1:
        raise InvalidRequest("give exactly one of unique_id and arn")
    return write("chargeback_request", [*given, ("mode", "list")])


def chargebacks_by_date(
    *,
    start_on: date,
    end_on: date | None = None,
    page: int = 1,
    per_page: int = _PER_PAGE,
    scope: Scope | None = None,
) -> bytes:
    """
    Request the chargebacks posted on some days.

    Chargebacks of direct debits may lack a posting date and never show up here: see `chargebacks_by_import_date`.

    Args:
        start_on: The first day.
        end_on: The last day, or `None` for the gateway's own choice.
        page: From 1.
        per_page: Items a page, 1 to 999.
        scope: Demanded since v58.2; which value covers direct debits is the gateway support's to say.

    Returns:
        The request, for `/chargebacks/by_date`.

    Raises:
        InvalidRequest: when the days are in the wrong order or the page is impossible.
    """
    if end_on is not None and end_on < start_on:
        raise InvalidRequest("the last day comes before the first", field="end_date")
    days: _Fields = [
        ("start_date", start_on.isoformat()),
        ("end_date", end_on.isoformat() if end_on else None),
    ]
    return write("chargeback_request", [*days, *_page(page, per_page=per_page), ("scope", scope)])


def chargebacks_by_import_date(
    import_on: date, *, page: int = 1, per_page: int = _PER_PAGE, scope: Scope | None = None
) -> bytes:
    """
    Request the chargebacks that the gateway imported on one day; the sure way for direct debits.

    Args:
        import_on: The day.
        page: From 1.
        per_page: Items a page, 1 to 999.
        scope: As for `chargebacks_by_date`.

    Returns:
        The request, for `/chargebacks/by_date`.

    Raises:
        InvalidRequest: when the page is impossible.
    """
    fields: _Fields = [("import_date", import_on.isoformat()), *_page(page, per_page=per_page)]
    return write("chargeback_request", [*fields, ("scope", scope)])


def _debit_fields(debit: Debit) -> _Fields:
    return [
        *_head(debit.transaction_id, usage=debit.usage, remote_ip=debit.remote_ip),
        *_amount(debit.amount_minor, debit.currency),
        ("iban", iban_of.validate(debit.iban)),
        ("bic", _shaped(debit.bic, "bic", shape=_BIC, why="a BIC has 8 or 11 capitals and digits")),
        ("company_name", _text(debit.company_name, "company_name")),
        ("mandate_reference", _text(debit.mandate_reference, "mandate_reference")),
        (
            "billing_address",
            [
                ("first_name", _required(debit.first_name, "first_name")),
                ("last_name", _required(debit.last_name, "last_name")),
                ("address1", _text(debit.address1, "address1")),
                ("address2", _text(debit.address2, "address2")),
                ("zip_code", _text(debit.zip_code, "zip_code")),
                ("city", _text(debit.city, "city")),
                ("state", _text(debit.state, "state")),
                (
                    "country",
                    _shaped(
                        debit.country, "country", shape=_COUNTRY, why="a country is two capitals, e.g. DE"
                    ),
                ),
            ],
        ),
        (
            "dynamic_descriptor_params",
            [("merchant_name", _text(debit.merchant_name, "merchant_name", limit=140))],
        ),
    ]


def _head(transaction_id: str, *, usage: str, remote_ip: str | None = None) -> _Fields:
    if remote_ip is not None:
        try:
            ipaddress.ip_address(remote_ip)
        except ValueError:
            raise InvalidRequest("give an IPv4 or IPv6 address", field="remote_ip") from None
    return [
        ("transaction_id", _id(transaction_id, "transaction_id")),
        ("usage", _required(usage, "usage")),
        ("remote_ip", remote_ip),
    ]


def _amount(amount_minor: int, currency: str) -> _Fields:
    money.exponent(currency)  # refuses what is no currency
    if amount_minor <= 0:
        raise InvalidRequest("give whole minor units above 0", field="amount")
    return [("amount", amount_minor), ("currency", currency)]


def _id(value: str, field: str, *, limit: int = 255) -> str:
    if not (len(value) <= limit and _PLAIN_ID.fullmatch(value)):
        raise InvalidRequest(f"give 1 to {limit} printable ASCII characters without blanks", field=field)
    return value


def _reference(value: str) -> str:
    return _id(value, "reference_id", limit=32)


def _text(value: str | None, field: str, *, limit: int = 255) -> str | None:
    if value is not None and len(value) > limit:
        raise InvalidRequest(f"give at most {limit} characters", field=field)
    return value


def _required(value: str, field: str) -> str:
    if not value.strip():
        raise InvalidRequest("is required by the gateway", field=field)
    _text(value, field)
    return value


def _shaped(value: str | None, field: str, *, shape: re.Pattern[str], why: str) -> str | None:
    if value is not None and not shape.fullmatch(value):
        raise InvalidRequest(why, field=field)
    return value


def _timestamp(at: datetime) -> str:
    if at.utcoffset() is None:
        raise InvalidRequest("give an aware time", field="start_date")
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _page(page: int, *, per_page: int | None = None) -> _Fields:
    if page < 1:
        raise InvalidRequest("pages are counted from 1", field="page")
    if per_page is not None and not 1 <= per_page <= 999:
        raise InvalidRequest("give 1 to 999 items a page", field="per_page")
    return [("page", page), ("per_page", per_page)]
