"""
What an HTTP response of the gateway proves.

Proxies, firewalls and maintenance pages between us and the gateway may answer in its place. So the HTTP status and the body are
read together, and a response counts as the gateway's only if both agree:

| HTTP status | body | after a submission | after a status inquiry |
|---|---|---|---|
| 200 | a readable answer | that answer | that answer |
| 200 | error 460 | outcome unknown | not found, where it is a plain refusal of a payment |
| 401, 403 | error 110 | not taken: credentials | credentials |
| 401 | anything else | outcome unknown, and credentials | credentials |
| other 4xx | error 110 | outcome unknown, and credentials | credentials |
| 429 | an error that refuses | not submitted, slower | no answer, slower |
| 429 | anything else | outcome unknown, slower | no answer, slower |
| other 4xx | a refusal that names our `transaction_id` | that refusal | that record, where it names the gateway's id too |
| anything else | anything | outcome unknown | no answer |

- **"Not found" is believed with HTTP 200 only.** It allows a debit to be submitted again. Every web server responds
  with 404 to an unknown path; even with an XML body it does not answer our inquiry.
- **HTTP 429 alone proves nothing.** A proxy may repeat a request at a second server and return only that
  response. Only a refusal in the body says that nothing was accepted. Otherwise a status inquiry finds the outcome.
- **HTTP 401 is about the account.** It never refuses a debit, with any body.
- **A 5xx is never read.** A server that failed may have accepted the debit before.

`Retry-After` counts with 429 and 503, as seconds or as a date; a date is compared with the response's own `Date`,
since two clocks need not agree.

Source: RFC 9110 sections 10.2.3 (Retry-After), 15.5.2 (401), 15.6.4 (503); RFC 6585 section 4 (429); Genesis API
documentation v60.1, Errors and Authentication.

>>> page = GatewayResponse(404, b"<payment_response><status>error</status><code>460</code></payment_response>")
>>> inquired(page, transaction_id="t-7")
Traceback (most recent call last):
    ...
tether_core.errors.GatewaySilent: The gateway gave no usable response (http 404); the outcome is unknown until a status inquiry is answered.
>>> refused = b"<payment_response><status>error</status><code>340</code><transaction_id>t-7</transaction_id></payment_response>"
>>> submitted(GatewayResponse(422, refused), transaction_id="t-7")
GatewayAnswer(error code=340 None t-7)
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import msgspec

from tether_core.emp import codes
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.errors import CredentialsRejected, GatewaySilent, NotSubmitted, Unreadable

__all__ = ["GatewayResponse", "inquired", "listed", "retry_after_s", "submitted"]

_T = TypeVar("_T")

_CREDENTIALS: Final = "110"
_NOT_FOUND: Final = "460"
# With these statuses, error 110 is the gateway's refusal of the login.
_ABOUT_US: Final = frozenset({401, 403})
# Responses about a hosted page or chargebacks say nothing about a payment.
_PAYMENT_ROOTS: Final = frozenset({"payment_response", "payment_transaction"})
_SECONDS: Final = re.compile(r"[0-9]{1,10}")


class GatewayResponse(msgspec.Struct, frozen=True):
    """
    A complete HTTP response of the gateway, or of a server in front of it.

    Attributes:
        status: The HTTP status.
        body: The bytes.
        retry_after: The header `Retry-After`.
        date: The header `Date`.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None

    def __repr__(self) -> str:
        """Show status and size; the body may be personal."""
        return f"GatewayResponse({self.status}, {len(self.body)} bytes)"


def submitted(response: GatewayResponse, *, transaction_id: str) -> GatewayAnswer:
    """
    Interpret the response to a submission: a debit, refund or void.

    Args:
        response: The HTTP response.
        transaction_id: Our id of what was submitted.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when the gateway states that it accepted nothing.
        CredentialsRejected: when it rejects the credentials, and the outcome of the submission is unknown.
        GatewaySilent: for anything else; the outcome is unknown.
    """
    answer, why = _read(response)
    if response.status == 200:
        if answer is None:
            raise GatewaySilent(why=why)
        return _ours(answer, transaction_id=transaction_id)
    refuses = answer is not None and _refuses(answer, transaction_id=transaction_id)
    if response.status == 429:
        if refuses:
            raise NotSubmitted("throttled", slow_down_s=_slow_down_s(response))
        raise _silent(response)
    if answer is not None and _is_error(answer, _CREDENTIALS) and response.status in _ABOUT_US:
        return answer  # the gateway refuses the credentials: nothing was accepted
    _require_credentials(response, answer)
    named = answer is not None and answer.transaction_id == transaction_id
    if 400 <= response.status < 500 and answer is not None and refuses and named:
        return answer
    raise _silent(response)


def inquired(
    response: GatewayResponse, *, transaction_id: str | None = None, unique_id: str | None = None
) -> GatewayAnswer | None:
    """
    Interpret the response to a status inquiry about a payment.

    Args:
        response: The HTTP response.
        transaction_id: Our id of the payment, where the inquiry was by it.
        unique_id: The gateway's id of it, where the inquiry was by that.

    Returns:
        The payment's record, or an error about the inquiry itself; `None` where the gateway has no such payment.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no credible response.
    """
    answer, why = _read(response)
    _require_credentials(response, answer)
    if response.status == 200:
        if answer is None:
            raise GatewaySilent(why=why)
        _ours(answer, transaction_id=transaction_id, unique_id=unique_id)
        if answer.code != _NOT_FOUND or answer.unique_id is not None:
            return answer
        if answer.status != "error" or answer.root not in _PAYMENT_ROOTS:
            raise GatewaySilent(why="an answer that contradicts itself")
        return None
    if 400 <= response.status < 500 and response.status != 429 and answer is not None:
        named = None not in {answer.unique_id, answer.transaction_id}
        if named and answer.status in {"error", "declined"} and answer.code != _NOT_FOUND:
            return _ours(answer, transaction_id=transaction_id, unique_id=unique_id)
    raise _silent(response)


def listed(response: GatewayResponse, *, read: Callable[[bytes], _T]) -> _T:
    """
    Interpret the response to a report request: payments or chargebacks.

    Args:
        response: The HTTP response.
        read: Reads its body; see `tether_core.emp.responses`.

    Returns:
        What *read* gives.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no credible list; an empty list is believed with HTTP 200 only.
    """
    if response.status != 200:
        _require_credentials(response, _read(response)[0])
        raise _silent(response)
    try:
        page = read(response.body)
    except Unreadable as exc:
        raise GatewaySilent(why=f"unreadable answer: {exc.why}") from exc
    if isinstance(page, GatewayAnswer):
        _require_credentials(response, page)
    return page


def retry_after_s(value: str | None, *, date: str | None = None, now: datetime | None = None) -> float | None:
    """
    How long a server wants no requests.

    Args:
        value: The header `Retry-After`: whole seconds, or an HTTP date.
        date: The header `Date` of the same response.
        now: The current time, aware, for a response without `Date`.

    Returns:
        Seconds, 0.0 or more; `None` where the header is missing or cannot be read.

    >>> retry_after_s("120")
    120.0
    >>> retry_after_s("Mon, 02 Mar 2026 12:00:30 GMT", date="Mon, 02 Mar 2026 12:00:00 GMT")
    30.0
    >>> retry_after_s("soon") is None
    True
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until, at = _timestamp(value), _timestamp(date) or now
    if until is None or at is None:
        return None
    return max(0.0, (until - at).total_seconds())


def _timestamp(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _read(response: GatewayResponse) -> tuple[GatewayAnswer | None, str]:
    try:
        return read_answer(response.body), ""
    except Unreadable as exc:
        return None, f"unreadable answer: {exc.why}"


def _is_error(answer: GatewayAnswer, code: str) -> bool:
    """Whether an answer is an error of the request as a whole, with this code."""
    return answer.status == "error" and answer.code == code and answer.unique_id is None


def _refuses(answer: GatewayAnswer, *, transaction_id: str) -> bool:
    """Whether a response states that nothing was accepted."""
    if answer.status not in {"error", "declined"} or answer.code is None or answer.root not in _PAYMENT_ROOTS:
        return False
    if answer.transaction_id not in {None, transaction_id}:
        return False
    return codes.error_meaning(answer.code).outcome == "refused"


def _require_credentials(response: GatewayResponse, answer: GatewayAnswer | None) -> None:
    """Raise if a response says that the gateway rejects the credentials."""
    if answer is not None and _is_error(answer, _CREDENTIALS) and response.status < 500:
        raise CredentialsRejected(why="error 110")
    if response.status == 401:
        raise CredentialsRejected(why="http 401")


def _ours(
    answer: GatewayAnswer, *, transaction_id: str | None = None, unique_id: str | None = None
) -> GatewayAnswer:
    """Return the response unless it is about another payment, which would change the wrong attempt."""
    for wanted, given in ((transaction_id, answer.transaction_id), (unique_id, answer.unique_id)):
        if wanted is not None and given is not None and wanted != given:
            raise GatewaySilent(why="answer about another payment")
    return answer


def _silent(response: GatewayResponse) -> GatewaySilent:
    return GatewaySilent(
        why=f"http {response.status}", slow_down_s=_slow_down_s(response), http_status=response.status
    )


def _slow_down_s(response: GatewayResponse) -> float | None:
    if response.status not in {429, 503}:
        return None
    requested_s = retry_after_s(response.retry_after, date=response.date)
    # A server that is down says nothing about our rate unless it names a time.
    return (requested_s or 0.0) if response.status == 429 else requested_s
