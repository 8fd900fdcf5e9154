"""
Connections to the gateway: an open account, and one exchange of a request for a whole response.

An exchange has exactly three kinds of outcome:

- **A whole response**; `tether_core.emp.http_response` decides what it is.
- **Nothing was submitted**: `NotSubmitted`. No byte of the request left this process. The same request may be submitted again.
- **No answer**: `GatewaySilent`, in all other cases. Nothing may be concluded from it.

One connection pool (aiohttp) serves an account. A call that ends by anything but a complete response closes its connection,
and the next call opens another; closing needs no await, so no cancellation can get in between. The bound on connections
is a semaphore here and not in the pool, so that even a connection that the pool forgot could not block the next call.

The request body marks the border: `_Body` is written by aiohttp in one step together with the headers, after name
resolution, connect and TLS. Before that step nothing has left; and where the time for the call is over by then, because
the process was stopped, the step is refused.

Bodies are never logged and never part of an error: they hold names and account numbers.
"""

import asyncio
import contextlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Final, Literal

import aiohttp
import httpx
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from tether_core.emp import responses
from tether_core.emp.http_response import GatewayResponse
from tether_core.errors import GatewaySilent, NotSubmitted
from tether_core.payments.gateway_identity import GatewayIdentity, identity
from tether_stores.traces import spans

__all__ = [
    "Account",
    "Call",
    "CallOutcome",
    "CallProgress",
    "Calls",
    "Gateway",
    "Replaced",
    "exchange",
    "open_gateway",
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
        # The whole call is timed in `exchange`; this bounds each try to connect.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=account.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    async with session:
        yield Gateway(account, session, asyncio.Semaphore(account.connections_max), calls or Calls())


class _TooLateError(Exception):
    """The time for a call was over before its request was written."""


class CallProgress:
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

    def __init__(self, request: bytes, *, call: CallProgress) -> None:
        super().__init__(request, content_type="text/xml")
        self._call = call

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._call.submit()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._call.submit()
        await super().write_with_length(writer, content_length)


async def exchange(
    gateway: Gateway, path: str, request: bytes, *, call: CallProgress | None = None
) -> GatewayResponse:
    """
    Post a request once and read the whole response.

    Raises:
        NotSubmitted: when no byte of the request left.
        GatewaySilent: for anything else but a whole response.
    """
    call = call or CallProgress()
    kind = _kind(path)
    with spans.span(f"gateway {kind}", kind="client") as current:
        current.fact(account=gateway.account.name, call=kind)
        return await _counted(gateway, path, request, call=call, current=current)


async def _counted(
    gateway: Gateway, path: str, request: bytes, *, call: CallProgress, current: spans.Span
) -> GatewayResponse:
    began_s = monotonic()
    outcome: CallOutcome = "silent"
    try:
        response = await _timed(gateway, path, request, call=call)
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
        current.fact(status=response.status)
        return response
    finally:
        current.fact(outcome=outcome)
        if call.replaced is not None:
            gateway.calls.replaced[call.replaced] += 1
        gateway.calls.observe(_kind(path), outcome, monotonic() - began_s)


def _kind(path: str) -> Call:
    if path.startswith("/process/"):
        return "submission"
    if path.startswith("/chargebacks"):
        return "chargebacks"
    return "report" if path.startswith("/reconcile/by_date/") else "inquiry"


async def _timed(gateway: Gateway, path: str, request: bytes, *, call: CallProgress) -> GatewayResponse:
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


async def _posted(
    session: aiohttp.ClientSession, url: str, request: bytes, *, call: CallProgress
) -> GatewayResponse:
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
        return GatewayResponse(response.status, bytes(body), get("retry-after"), get("date"))


def _require_size(body: bytearray) -> None:
    if len(body) > responses.SIZE_MAX_BYTES:
        raise GatewaySilent(why=f"answer larger than {responses.SIZE_MAX_BYTES} bytes")


def _silent(exc: BaseException, *, call: CallProgress) -> GatewaySilent:
    """What a failed call shows: that nothing was submitted, or nothing at all."""
    if isinstance(exc, GatewaySilent):
        return exc
    if not call.submitted:
        return NotSubmitted(_cause(exc, call=call))
    if isinstance(exc, TimeoutError):
        return GatewaySilent(why="timeout")
    # The class says enough ("ServerDisconnectedError"); the text may hold an address.
    return GatewaySilent(why=type(exc).__name__)


def _cause(exc: BaseException, *, call: CallProgress) -> str:
    if call.has_connection:
        return "too_late"
    match exc:
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
