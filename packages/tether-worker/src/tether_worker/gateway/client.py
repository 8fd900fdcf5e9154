"""
The gateway client: submits the requests of `tether_core.emp.requests` and returns their responses.

A call has exactly three kinds of outcome:

- **An answer** that could be read. It is returned, a refusal like everything else, and `tether_core.emp.codes` says what its
  code means. Which HTTP responses are answers is decided by `tether_core.emp.http_response`.
- **Nothing was submitted**: `NotSubmitted`. No byte of the request left this process, or the gateway states that it took
  nothing. The same request may be submitted again.
- **No answer**: `GatewaySilent`, in all other cases. Nothing may be concluded from it; the payment has to be inquired by our
  own id before anything is submitted again.

One connection pool (aiohttp) serves an account. A call that ends by anything but a complete response closes its connection,
and the next call opens another; closing needs no await, so no cancellation can get in between. The bound on connections
is a semaphore here and not in the pool, so that even a connection that the pool forgot could not block the next call.

The request body marks the border: `_Body` is written by aiohttp in one step together with the headers, after name
resolution, connect and TLS. Before that step nothing has left; and where the time for the call is over by then, because
the process was stopped, the step is refused.

Bodies are never logged and never part of an error: they hold names and account numbers.

Source: Genesis API documentation v60.1, Environments, URLs and Authentication.
"""

import asyncio
import contextlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from time import monotonic
from typing import Final, Literal

import aiohttp
import httpx
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from tether_core.emp import codes, http_response, requests, responses
from tether_core.emp.http_response import Response
from tether_core.errors import GatewaySilent, InvalidRequest, NotSubmitted
from tether_core.payments.gateway_identity import GatewayIdentity, identity

__all__ = [
    "Account",
    "Call",
    "CallOutcome",
    "Calls",
    "Gateway",
    "Replaced",
    "chargebacks_imported",
    "chargebacks_of",
    "chargebacks_posted",
    "init_recurring_sale",
    "open_gateway",
    "reconcile",
    "recurring_sale",
    "refund",
    "sale",
    "transactions",
    "void",
]

# What the documentation demands; others are answered with error 360.
# Uncompressed, so that the bound on an answer's size bounds what it takes in memory.
_HEADERS: Final = {"content-type": "text/xml", "accept-encoding": "identity", "user-agent": "tether"}

# How far a call had come whose connection was closed: nothing submitted yet, no response, or part of one.
Replaced = Literal["before_request", "before_response", "in_response"]


# What a call is for, and whether it got a response.
Call = Literal["submission", "inquiry", "report", "chargebacks"]
CallOutcome = Literal["answered", "not_submitted", "silent"]


class Calls(msgspec.Struct):
    """
    Results of calls, counted since the process started; for metrics.

    Attributes:
        replaced: Connections that were closed because a call did not end with a complete response, by how far it had come.
        not_submitted: Calls that submitted nothing, by cause.
        observe: Called after each call, with its duration in seconds.
    """

    replaced: Counter[Replaced] = msgspec.field(default_factory=Counter)
    not_submitted: Counter[str] = msgspec.field(default_factory=Counter)
    observe: Callable[[Call, CallOutcome, float], None] = lambda _call, _outcome, _took_s: None


class Account(msgspec.Struct, frozen=True):
    """
    One account at the gateway.

    Attributes:
        name: Our name for it, e.g. "default".
        url: The gateway's address, e.g. "https://staging.gate.emerchantpay.net".
        login: Its API login.
        password: The API password in force.
        terminal_token: The terminal for new debits.
        timeout_s: Longest wait for a whole answer.
        connect_timeout_s: Longest wait for the connection alone.
        connections_max: Connections open at once, kept alive between calls.
    """

    name: str
    url: str
    login: str
    password: str
    terminal_token: str
    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    connections_max: int = 64

    def __repr__(self) -> str:
        """Name the account and hide every secret."""
        return f"Account({self.name!r}, {self.url})"


class Gateway(msgspec.Struct, frozen=True):
    """
    An open account: what the functions of this module take first. Made by `open_gateway`.

    Attributes:
        session: Its connection pool.
        free: A permit for each connection that may still be in use.
        calls: Counts for metrics.
    """

    account: Account
    session: aiohttp.ClientSession
    free: asyncio.Semaphore
    calls: Calls

    @property
    def identity(self) -> GatewayIdentity:
        """The gateway identity that its calls for debits, refunds and voids go to."""
        return identity(self.account.url, login=self.account.login, terminal=self.account.terminal_token)

    def __repr__(self) -> str:
        """Name the account."""
        return f"Gateway({self.account!r})"


@contextlib.asynccontextmanager
async def open_gateway(account: Account, *, calls: Calls | None = None) -> AsyncIterator[Gateway]:
    """
    Open connections to the gateway for a block; TLS is verified, redirects are not followed.

    Args:
        calls: Where to count; `None` for counts of its own.

    Yields:
        The open account; nothing has been submitted yet.
    """
    credentials = b64encode(f"{account.login}:{account.password}".encode()).decode()
    connector = aiohttp.TCPConnector(
        limit=0,  # the semaphore below is the limit
        ssl=httpx.create_ssl_context(),  # the certificates of certifi, or of SSL_CERT_FILE
        keepalive_timeout=15.0,
        ttl_dns_cache=10,  # the gateway's names live for 30 s and change between two data centres
    )
    session = aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS | {"authorization": f"Basic {credentials}"},
        # The whole call is timed in `_exchanged`; this bounds each try to connect.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=account.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    async with session:
        yield Gateway(account, session, asyncio.Semaphore(account.connections_max), calls or Calls())


async def sale(
    gateway: Gateway, debit: requests.Debit, *, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    """
    Submit a single debit, once.

    Args:
        debit: What is to be debited; its transaction_id is stored already.
        begin_until_s: When the call must have a connection, on the clock of `time.monotonic`; `None` for twice the
            account's time limit from now.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
        InvalidIban: when its IBAN is invalid; nothing was submitted.
    """
    return await _transact(
        gateway, requests.sdd_sale(debit), transaction_id=debit.transaction_id, begin_until_s=begin_until_s
    )


async def init_recurring_sale(
    gateway: Gateway, debit: requests.Debit, *, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    """
    Submit the first debit of a series, once.

    Args:
        debit: What is to be debited.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
        InvalidIban: when its IBAN is invalid; nothing was submitted.
    """
    return await _transact(
        gateway,
        requests.sdd_init_recurring_sale(debit),
        transaction_id=debit.transaction_id,
        begin_until_s=begin_until_s,
    )


async def recurring_sale(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    remote_ip: str | None = None,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a later debit of a series, once.

    Args:
        transaction_id: Our id of this debit.
        reference_id: The gateway's id of the first one.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        usage: The text on the statement.
        remote_ip: Where the terminal demands it.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
    """
    request = requests.sdd_recurring_sale(
        transaction_id,
        reference_id=reference_id,
        amount_minor=amount_minor,
        currency=currency,
        usage=usage,
        remote_ip=remote_ip,
    )
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def refund(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a refund of an approved debit, once.

    Args:
        transaction_id: Our id of this refund.
        reference_id: The gateway's id of the debit.
        amount_minor: Whole minor units, above 0.
        currency: That of the debit.
        usage: The text on the statement.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the refund exists is unknown.
        InvalidRequest: when it cannot be requested; nothing was submitted.
    """
    request = requests.sdd_refund(
        transaction_id, reference_id=reference_id, amount_minor=amount_minor, currency=currency, usage=usage
    )
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def void(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    usage: str,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a void of a debit of today, once.

    Args:
        transaction_id: Our id of this void.
        reference_id: The gateway's id of the debit.
        usage: Why.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit was voided is unknown.
        InvalidRequest: when it cannot be requested; nothing was submitted.
    """
    request = requests.void(transaction_id, reference_id=reference_id, usage=usage)
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def reconcile(
    gateway: Gateway,
    *,
    transaction_id: str | None = None,
    unique_id: str | None = None,
    terminal_token: str | None = None,
) -> responses.GatewayAnswer | None:
    """
    Inquire about one payment by exactly one of the two ids.

    Args:
        transaction_id: Our id of it.
        unique_id: The gateway's id of it.
        terminal_token: The terminal that took it; `None` for the account's own.

    Returns:
        What it is now, or `None` where the gateway has no such payment (error 460).

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when not exactly one id is given, or the gateway refuses the inquiry.
    """
    request = requests.reconcile(transaction_id=transaction_id, unique_id=unique_id)
    path = f"/reconcile/{terminal_token or gateway.account.terminal_token}"
    response = await _exchanged(gateway, path, request)
    answer = http_response.inquired(response, transaction_id=transaction_id, unique_id=unique_id)
    if (
        answer is not None
        and answer.status == "error"
        and answer.unique_id is None
        and answer.transaction_id is None
    ):
        # An error without any id is about the inquiry, not about the payment.
        raise _refusal(answer)
    return answer


async def transactions(
    gateway: Gateway,
    *,
    start_at: datetime,
    end_at: datetime,
    page: int = 1,
    terminal_token: str | None = None,
) -> responses.Page[responses.GatewayAnswer]:
    """
    Fetch one page of the payments within a window of at most 7 days.

    Args:
        start_at: Its beginning, aware.
        end_at: Its end, aware.
        page: From 1.
        terminal_token: The terminal that took them; `None` for the account's own.

    Returns:
        The page; fetch the next while `has_next`.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.reconcile_by_date(start_at=start_at, end_at=end_at, page=page)
    path = f"/reconcile/by_date/{terminal_token or gateway.account.terminal_token}"
    page_or_refusal = http_response.listed(
        await _exchanged(gateway, path, request), read=responses.read_transactions
    )
    if isinstance(page_or_refusal, responses.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def chargebacks_of(gateway: Gateway, *, unique_id: str) -> responses.Page[responses.Chargeback]:
    """
    Fetch the chargebacks of one payment.

    Args:
        unique_id: The gateway's id of the payment.

    Returns:
        All of them on one page, which may be empty.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    return await _chargebacks(gateway, "/chargebacks", requests.chargeback(unique_id=unique_id))


async def chargebacks_imported(
    gateway: Gateway, *, import_on: date, page: int = 1, scope: requests.Scope | None = None
) -> responses.Page[responses.Chargeback]:
    """
    Fetch one page of the chargebacks that the gateway imported on a day.

    Args:
        import_on: The day.
        page: From 1.
        scope: As `tether_core.emp.requests.chargebacks_by_import_date` says.

    Returns:
        The page; fetch the next while `has_next`.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.chargebacks_by_import_date(import_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def chargebacks_posted(
    gateway: Gateway, *, start_on: date, end_on: date, page: int = 1, scope: requests.Scope | None = None
) -> responses.Page[responses.Chargeback]:
    """
    Fetch one page of the chargebacks posted on some days.

    Args:
        start_on: The first day.
        end_on: The last day.
        page: From 1.
        scope: As `tether_core.emp.requests.chargebacks_by_date` says.

    Returns:
        The page; fetch the next while `has_next`. Direct debits without a posting date are not in it.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.chargebacks_by_date(start_on=start_on, end_on=end_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def _chargebacks(gateway: Gateway, path: str, request: bytes) -> responses.Page[responses.Chargeback]:
    page_or_refusal = http_response.listed(
        await _exchanged(gateway, path, request), read=responses.read_chargebacks
    )
    if isinstance(page_or_refusal, responses.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def _transact(
    gateway: Gateway, request: bytes, *, transaction_id: str, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    path = f"/process/{gateway.account.terminal_token}"
    call = _Call(is_submission=True, begin_until_s=begin_until_s)
    response = await _exchanged(gateway, path, request, call=call)
    try:
        return http_response.submitted(response, transaction_id=transaction_id)
    except NotSubmitted as refused:
        gateway.calls.not_submitted[refused.cause] += 1
        raise


class _TooLateError(Exception):
    """The time for a call was over before its request was written."""


class _Call:
    """How far a call has come."""

    def __init__(self, *, is_submission: bool = False, begin_until_s: float | None = None) -> None:
        self.is_submission = is_submission
        self.begin_until_s = begin_until_s
        self.has_connection = False
        self.submitted = False
        self.responded = False
        self.complete = False
        self.end_s = float("inf")

    def submit(self) -> None:
        """Note that bytes leave from here on; raises when the time is over."""
        self.has_connection = True
        if self.submitted:
            return
        if monotonic() >= self.end_s:
            raise _TooLateError
        self.submitted = True

    @property
    def replaced(self) -> Replaced | None:
        """How far the call had come whose connection has to be replaced; `None` where none has."""
        if self.complete or not self.has_connection:
            return None
        if not self.submitted:
            return "before_request"
        return "in_response" if self.responded else "before_response"


class _Body(BytesPayload):
    """The body of a request, which says when it is written; aiohttp writes the headers with it and not before."""

    def __init__(self, request: bytes, *, call: _Call) -> None:
        super().__init__(request, content_type="text/xml")
        self._call = call

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._call.submit()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._call.submit()
        await super().write_with_length(writer, content_length)


async def _exchanged(gateway: Gateway, path: str, request: bytes, *, call: _Call | None = None) -> Response:
    """
    Post a request once and read the whole response.

    Raises:
        NotSubmitted: when no byte of the request left.
        GatewaySilent: for anything else but a whole response.
    """
    call = call or _Call()
    began_s = monotonic()
    outcome: CallOutcome = "silent"
    try:
        response = await _exchange(gateway, path, request, call=call)
    except (aiohttp.ClientError, OSError, ValueError, GatewaySilent, asyncio.CancelledError) as exc:
        if isinstance(exc, asyncio.CancelledError) and (call.submitted or not call.is_submission):
            raise
        silent = _silent(exc, call=call)
        if isinstance(silent, NotSubmitted):
            outcome = "not_submitted"
            call.end_s = 0.0  # nothing can be written from here on
            gateway.calls.not_submitted[silent.cause] += 1
        raise silent from exc
    else:
        outcome = "answered"
        return response
    finally:
        if call.replaced is not None:
            gateway.calls.replaced[call.replaced] += 1
        gateway.calls.observe(_kind(path), outcome, monotonic() - began_s)


def _kind(path: str) -> Call:
    if path.startswith("/process/"):
        return "submission"
    if path.startswith("/chargebacks"):
        return "chargebacks"
    return "report" if path.startswith("/reconcile/by_date/") else "inquiry"


async def _exchange(gateway: Gateway, path: str, request: bytes, *, call: _Call) -> Response:
    account = gateway.account
    begin_s = monotonic()
    # One whole call may be before this one.
    begin_until_s = begin_s + 2 * account.timeout_s if call.begin_until_s is None else call.begin_until_s
    try:
        async with asyncio.timeout(begin_until_s - begin_s):
            await gateway.free.acquire()
    except TimeoutError as exc:
        raise NotSubmitted("no_free_connection") from exc
    try:
        begin_s = monotonic()
        if begin_s > begin_until_s:
            raise NotSubmitted("too_late")
        call.end_s = begin_s + account.timeout_s
        # aiohttp bounds each read, not all of them: an answer that trickles would never time out.
        async with asyncio.timeout(account.timeout_s):
            return await _posted(gateway.session, account.url + path, request, call=call)
    finally:
        gateway.free.release()


async def _posted(session: aiohttp.ClientSession, url: str, request: bytes, *, call: _Call) -> Response:
    body = bytearray()
    async with session.post(url, data=_Body(request, call=call), allow_redirects=False) as response:
        call.responded = True
        try:
            async for chunk in response.content.iter_any():
                body += chunk
                _require_size(body)
        except BaseException:
            response.close()
            raise
        call.complete = True
        get = response.headers.get
        return Response(response.status, bytes(body), get("retry-after"), get("date"))


def _require_size(body: bytearray) -> None:
    if len(body) > responses.SIZE_MAX_BYTES:
        raise GatewaySilent(why=f"answer larger than {responses.SIZE_MAX_BYTES} bytes")


def _silent(problem: BaseException, *, call: _Call) -> GatewaySilent:
    """What a failed call shows: that nothing was submitted, or nothing at all."""
    if isinstance(problem, GatewaySilent):
        return problem
    if not call.submitted:
        return NotSubmitted(_cause(problem, call=call))
    if isinstance(problem, TimeoutError):
        return GatewaySilent(why="timeout")
    # The class says enough ("ServerDisconnectedError"); the text may hold an address.
    return GatewaySilent(why=type(problem).__name__)


def _cause(problem: BaseException, *, call: _Call) -> str:
    if call.has_connection:
        return "too_late"
    match problem:
        case asyncio.CancelledError():
            return "cancelled"
        case TimeoutError():
            return "connect_timeout"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientConnectorSSLError() | aiohttp.ClientConnectorCertificateError():
            return "tls"
        case _:
            return "connect"


def _refusal(answer: responses.GatewayAnswer) -> GatewaySilent | InvalidRequest:
    meaning = codes.error_meaning(answer.code or "")
    if meaning.who == "time":
        return GatewaySilent(why=f"error {answer.code}")
    return InvalidRequest(f"the gateway refuses the question (error {answer.code}): {meaning.text}")
