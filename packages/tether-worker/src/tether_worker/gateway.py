"""
The gateway client: sends what `tether_core.emp.xml` builds, and gives what it reads.

After a debit there are exactly two kinds of outcome. Either the gateway gave an answer that could be read: then it is
returned, a refusal like everything else, and `tether_core.emp.codes` says what its code means. Or it gave none: no
connection, no answer in time, a cut or unreadable one, any HTTP status but 200. Then `GatewaySilent` is raised,
**nothing may be concluded from it**, and the payment has to be asked for by our own id before anything is sent again.

Bodies are never logged and never part of an error: they hold names and account numbers.

Source: Genesis API documentation v60.1, Environments, URLs and Authentication.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from typing import Final, TypeVar

import httpx
import msgspec
from tether_core.emp import codes, xml
from tether_core.errors import GatewaySilent, InvalidRequest, Unreadable
from tether_core.gateway_identity import GatewayIdentity, identity

__all__ = [
    "Account",
    "Gateway",
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

_T = TypeVar("_T")

# What the documentation demands; others are answered with error 360.
# Uncompressed, so that the bound on an answer's size bounds what it takes in memory.
_HEADERS: Final = {"content-type": "text/xml", "accept-encoding": "identity"}


# Refusals come with 200, all but one: wrong credentials come with 401, and error 110 in the body as usual.
_READABLE: Final = frozenset({200, 401})


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
        account: Which.
        idle: Its connections, each a client of its own, while nobody uses them.
    """

    account: Account
    idle: asyncio.LifoQueue[httpx.AsyncClient]

    @property
    def identity(self) -> GatewayIdentity:
        """The gateway identity that its calls for debits, refunds and voids go to."""
        return identity(self.account.url, login=self.account.login, terminal=self.account.terminal_token)

    def __repr__(self) -> str:
        """Name the account."""
        return f"Gateway({self.account!r})"


@contextlib.asynccontextmanager
async def open_gateway(account: Account) -> AsyncIterator[Gateway]:
    """
    Have connections to the gateway for a while; TLS is verified, redirects are not followed.

    Args:
        account: With which account.

    Yields:
        The open account; nothing has been sent yet.
    """
    # One client per connection. A shared pool looks at all its connections for every request and every answer, which
    # at a few dozen of them costs more than all the rest of a call.
    idle = asyncio.LifoQueue[httpx.AsyncClient]()  # last in first out: what was used last is still warm
    tls = httpx.create_ssl_context()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(account.connections_max):
            client = httpx.AsyncClient(
                base_url=account.url,
                auth=httpx.BasicAuth(account.login, account.password),
                headers=_HEADERS,
                # The whole answer is timed in `_asked`; these bound its parts.
                timeout=httpx.Timeout(account.timeout_s, connect=account.connect_timeout_s),
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
                verify=tls,
                follow_redirects=False,
                trust_env=False,
            )
            idle.put_nowait(await stack.enter_async_context(client))
        yield Gateway(account, idle)


async def sale(gateway: Gateway, debit: xml.Debit) -> xml.GatewayAnswer:
    """
    Ask for a single debit, once.

    Args:
        gateway: The open account.
        debit: What is to be debited; its transaction_id is on record already.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        GatewaySilent: when there is none; whether the debit stands is unknown.
        InvalidRequest: when the debit cannot be asked for; nothing was sent.
        InvalidIban: when its account is none; nothing was sent.
    """
    return await _transact(gateway, xml.sdd_sale(debit), transaction_id=debit.transaction_id)


async def init_recurring_sale(gateway: Gateway, debit: xml.Debit) -> xml.GatewayAnswer:
    """
    Ask for the first debit of a series, once.

    Args:
        gateway: The open account.
        debit: What is to be debited.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        GatewaySilent: when there is none; whether the debit stands is unknown.
        InvalidRequest: when the debit cannot be asked for; nothing was sent.
        InvalidIban: when its account is none; nothing was sent.
    """
    return await _transact(gateway, xml.sdd_init_recurring_sale(debit), transaction_id=debit.transaction_id)


async def recurring_sale(
    gateway: Gateway, *, transaction_id: str, reference_id: str, amount_minor: int, currency: str, usage: str
) -> xml.GatewayAnswer:
    """
    Ask for a later debit of a series, once.

    Args:
        gateway: The open account.
        transaction_id: Our id of this debit.
        reference_id: The gateway's id of the first one.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        usage: The text on the statement.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        GatewaySilent: when there is none; whether the debit stands is unknown.
        InvalidRequest: when the debit cannot be asked for; nothing was sent.
    """
    request = xml.sdd_recurring_sale(
        transaction_id, reference_id=reference_id, amount_minor=amount_minor, currency=currency, usage=usage
    )
    return await _transact(gateway, request, transaction_id=transaction_id)


async def refund(
    gateway: Gateway, *, transaction_id: str, reference_id: str, amount_minor: int, currency: str, usage: str
) -> xml.GatewayAnswer:
    """
    Ask for an approved debit to be paid back, once.

    Args:
        gateway: The open account.
        transaction_id: Our id of this refund.
        reference_id: The gateway's id of the debit.
        amount_minor: Whole minor units, above 0.
        currency: That of the debit.
        usage: The text on the statement.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        GatewaySilent: when there is none; whether the refund stands is unknown.
        InvalidRequest: when it cannot be asked for; nothing was sent.
    """
    request = xml.sdd_refund(
        transaction_id, reference_id=reference_id, amount_minor=amount_minor, currency=currency, usage=usage
    )
    return await _transact(gateway, request, transaction_id=transaction_id)


async def void(gateway: Gateway, *, transaction_id: str, reference_id: str, usage: str) -> xml.GatewayAnswer:
    """
    Ask for a debit of today to be cancelled, once.

    Args:
        gateway: The open account.
        transaction_id: Our id of this cancellation.
        reference_id: The gateway's id of the debit.
        usage: Why.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        GatewaySilent: when there is none; whether the debit was cancelled is unknown.
        InvalidRequest: when it cannot be asked for; nothing was sent.
    """
    request = xml.void(transaction_id, reference_id=reference_id, usage=usage)
    return await _transact(gateway, request, transaction_id=transaction_id)


async def reconcile(
    gateway: Gateway,
    *,
    transaction_id: str | None = None,
    unique_id: str | None = None,
    terminal_token: str | None = None,
) -> xml.GatewayAnswer | None:
    """
    Ask what became of one payment; exactly one of the two ids.

    Args:
        gateway: The open account.
        transaction_id: Our id of it.
        unique_id: The gateway's id of it.
        terminal_token: The terminal that took it; `None` for the account's own.

    Returns:
        What it is now, or `None` where the gateway has no such payment (error 460).

    Raises:
        GatewaySilent: when there is no answer, or one that says to come back later.
        InvalidRequest: when not exactly one id is given, or the gateway refuses the question.
    """
    request = xml.reconcile(transaction_id=transaction_id, unique_id=unique_id)
    path = f"/reconcile/{terminal_token or gateway.account.terminal_token}"
    answer = await _asked(gateway, path, request, read=xml.read_answer)
    if answer.code is not None and codes.error_meaning(answer.code).outcome == "not_found":
        return None
    if answer.status == "error" and answer.unique_id is None and answer.transaction_id is None:
        # An error without any id is about the question, not about the payment.
        raise _refusal(answer)
    return _meant(answer, transaction_id=transaction_id, unique_id=unique_id)


async def transactions(
    gateway: Gateway,
    *,
    start_at: datetime,
    end_at: datetime,
    page: int = 1,
    terminal_token: str | None = None,
) -> xml.Page[xml.GatewayAnswer]:
    """
    Ask for one page of the payments within a window of at most 7 days.

    Args:
        gateway: The open account.
        start_at: Its beginning, aware.
        end_at: Its end, aware.
        page: From 1.
        terminal_token: The terminal that took them; `None` for the account's own.

    Returns:
        The page; ask on while `has_next`.

    Raises:
        GatewaySilent: when there is no answer, or one that says to come back later.
        InvalidRequest: when the gateway refuses the question.
    """
    request = xml.reconcile_by_date(start_at=start_at, end_at=end_at, page=page)
    path = f"/reconcile/by_date/{terminal_token or gateway.account.terminal_token}"
    page_or_refusal = await _asked(gateway, path, request, read=xml.read_transactions)
    if isinstance(page_or_refusal, xml.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def chargebacks_of(gateway: Gateway, *, unique_id: str) -> xml.Page[xml.Chargeback]:
    """
    Ask for the chargebacks of one payment.

    Args:
        gateway: The open account.
        unique_id: The gateway's id of the payment.

    Returns:
        They, on one page; an empty one where there are none.

    Raises:
        GatewaySilent: when there is no answer, or one that says to come back later.
        InvalidRequest: when the gateway refuses the question.
    """
    return await _chargebacks(gateway, "/chargebacks", xml.chargeback(unique_id=unique_id))


async def chargebacks_imported(
    gateway: Gateway, *, import_on: date, page: int = 1, scope: xml.Scope | None = None
) -> xml.Page[xml.Chargeback]:
    """
    Ask for one page of the chargebacks that the gateway took in on a day.

    Args:
        gateway: The open account.
        import_on: The day.
        page: From 1.
        scope: As `tether_core.emp.xml.chargebacks_by_import_date` says.

    Returns:
        The page; ask on while `has_next`.

    Raises:
        GatewaySilent: when there is no answer, or one that says to come back later.
        InvalidRequest: when the gateway refuses the question.
    """
    request = xml.chargebacks_by_import_date(import_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def chargebacks_posted(
    gateway: Gateway, *, start_on: date, end_on: date, page: int = 1, scope: xml.Scope | None = None
) -> xml.Page[xml.Chargeback]:
    """
    Ask for one page of the chargebacks posted on some days.

    Args:
        gateway: The open account.
        start_on: The first day.
        end_on: The last day.
        page: From 1.
        scope: As `tether_core.emp.xml.chargebacks_by_date` says.

    Returns:
        The page; ask on while `has_next`. Direct debits without a posting date are not in it.

    Raises:
        GatewaySilent: when there is no answer, or one that says to come back later.
        InvalidRequest: when the gateway refuses the question.
    """
    request = xml.chargebacks_by_date(start_on=start_on, end_on=end_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def _chargebacks(gateway: Gateway, path: str, request: bytes) -> xml.Page[xml.Chargeback]:
    page_or_refusal = await _asked(gateway, path, request, read=xml.read_chargebacks)
    if isinstance(page_or_refusal, xml.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def _transact(gateway: Gateway, request: bytes, *, transaction_id: str) -> xml.GatewayAnswer:
    path = f"/process/{gateway.account.terminal_token}"
    answer = await _asked(gateway, path, request, read=xml.read_answer)
    return _meant(answer, transaction_id=transaction_id)


def _meant(
    answer: xml.GatewayAnswer, *, transaction_id: str | None = None, unique_id: str | None = None
) -> xml.GatewayAnswer:
    """Let an answer pass unless it speaks of another payment; booked, it would settle the wrong debit."""
    for asked, told in ((transaction_id, answer.transaction_id), (unique_id, answer.unique_id)):
        if asked is not None and told is not None and asked != told:
            raise GatewaySilent(why="answer about another payment")
    return answer


async def _asked(gateway: Gateway, path: str, request: bytes, *, read: Callable[[bytes], _T]) -> _T:
    """
    Post a request once and read its answer.

    Raises:
        GatewaySilent: for anything but a readable answer.
    """
    # Waiting for a free connection is not timed: nothing has been sent yet, so nothing must become unknown by it.
    client = await gateway.idle.get()
    try:
        # httpx bounds each read, not all of them: an answer that trickles would never time out.
        async with asyncio.timeout(gateway.account.timeout_s):
            status, body = await _posted(client, path, request)
    except (TimeoutError, httpx.TimeoutException) as problem:
        raise GatewaySilent(why="timeout") from problem
    except httpx.HTTPError as problem:
        # The class says enough ("ConnectError"); the text may hold an address.
        raise GatewaySilent(why=type(problem).__name__) from problem
    finally:
        gateway.idle.put_nowait(client)
    if status not in _READABLE:
        raise GatewaySilent(why=f"http {status}")
    try:
        return read(body)
    except Unreadable as problem:
        raise GatewaySilent(why=f"unreadable answer: {problem.why}") from problem


async def _posted(client: httpx.AsyncClient, path: str, request: bytes) -> tuple[int, bytes]:
    """One POST: status and body; a body larger than we read is as good as none."""
    body = bytearray()
    async with client.stream("POST", path, content=request) as answer:
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > xml.SIZE_MAX_BYTES:
                raise GatewaySilent(why=f"answer larger than {xml.SIZE_MAX_BYTES} bytes")
        return answer.status_code, bytes(body)


def _refusal(answer: xml.GatewayAnswer) -> GatewaySilent | InvalidRequest:
    meaning = codes.error_meaning(answer.code or "")
    if meaning.who == "time":
        return GatewaySilent(why=f"error {answer.code}")
    return InvalidRequest(f"the gateway refuses the question (error {answer.code}): {meaning.text}")
