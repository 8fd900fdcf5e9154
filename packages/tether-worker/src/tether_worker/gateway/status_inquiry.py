"""
Status inquiries: which gateway clients there are, and the permit that each inquiry needs.

Confirmation, reconciliation and report fetches share these permits, so all workers together keep within the account's share of the
rate for inquiries, no inquiry is made while the circuit breaker is open, and each one without an answer counts as a failure. No
transaction is open during an inquiry.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Final

import msgspec
from tether_core.emp.requests import Scope
from tether_core.emp.responses import Chargeback, GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.limits.rate_limit import Limits
from tether_core.payments.gateway_identity import EVERY, UNKNOWN, GatewayIdentity, identity
from tether_core.payments.not_found import needed
from tether_stores.boot_clock import BootClock, boot_clock
from tether_stores.limits import Limiter
from tether_stores.payments.inquiries import InquiryRow
from tether_stores.postgres import Pool

from tether_worker.gateway import client as calls
from tether_worker.gateway.clients import Gateways
from tether_worker.gateway.connections import Gateway

__all__ = [
    "INQUIRIES_MAX",
    "SHARE",
    "GatewayClient",
    "Inquired",
    "InquiryDeps",
    "Permit",
    "chargebacks_of",
    "clients_for",
    "clients_of",
    "inquire",
    "limited",
    "payment",
]

# The share of an account's rate that inquiries have; see tether_core.limits.rate_limit.
SHARE: Final = "reconciliation"
# Inquiries under way at once for one account, each on a connection of its own.
INQUIRIES_MAX: Final = 16
# An inquiry that would wait longer than this is left to the next run.
_TURN_MAX_S: Final = 30.0
_LOOK_S: Final = 1.0


class GatewayClient(msgspec.Struct, frozen=True):
    """
    A gateway account with open connections, for status inquiries.

    Attributes:
        gateway: Its open connections.
        terminals: Its terminals; payments are found only with the one that took them.
        limits: How fast it may be called.
        scope: What lists of chargebacks are limited to, where the gateway demands that.
        former_of: The account that had this login or address before; `None` for an account of its own.
    """

    gateway: Gateway
    terminals: tuple[str, ...]
    limits: Limits
    scope: Scope | None = None
    former_of: str | None = None

    @property
    def name(self) -> str:
        """Our name for the account."""
        return self.gateway.account.name

    @property
    def owner(self) -> str:
        """The account that its reports are about."""
        return self.former_of or self.name

    def identity(self, terminal: str) -> GatewayIdentity:
        """The gateway identity of calls to a terminal of it."""
        return identity(self.gateway.account.url, login=self.gateway.account.login, terminal=terminal)

    def __repr__(self) -> str:
        """Name the account; terminals open a door."""
        return f"GatewayClient({self.name!r})"


Permit = Callable[[GatewayClient], contextlib.AbstractAsyncContextManager[None]]


class InquiryDeps(msgspec.Struct, frozen=True):
    """
    What status inquiries need.

    Attributes:
        clients: Gives the gateway clients, by account.
        permit: Admits one inquiry of an account; raises `GatewaySilent` where none may be made now.
        jitter: Gives a number of [0, 1), for the spread of waits.
        boot: This machine's boot clock.
        stepped_s: Gives when a clock was last seen to step, on the boot clock; `None` for never.
    """

    pool: Pool
    clients: Callable[[], Awaitable[Mapping[str, GatewayClient]]]
    permit: Permit
    clock: Callable[[], datetime]
    jitter: Callable[[], float]
    boot: BootClock = msgspec.field(default_factory=boot_clock)
    stepped_s: Callable[[], float | None] = lambda: None


def limited(limiter: Limiter, *, polling: dict[str, asyncio.Lock] | None = None) -> Permit:
    """
    Permits of one use, such as confirmation, by the limits that all nodes share.

    Args:
        limiter: Of this process.
        polling: Who polls the limiter, by account, for all uses of this process; `None` where there is one use.

    Returns:
        A context manager for each inquiry: it waits for a token, checks the breaker, and reports to it how the inquiry ended.
    """
    # Inquiries of this process wait in line: the first polls the limiter. If all of them polled, waiting would cost more than
    # the inquiries. Each use has a line of its own, and the first ones of all lines poll in turn: thousands of confirmations do not keep
    # a debit of unknown outcome from being inquired.
    lines: dict[str, asyncio.Lock] = {}
    polls = {} if polling is None else polling

    @contextlib.asynccontextmanager
    async def permit(client: GatewayClient) -> AsyncIterator[None]:
        account = client.name
        line, poll = (locks.setdefault(account, asyncio.Lock()) for locks in (lines, polls))
        await _turn(limiter, client, line=line, poll=poll)
        result = await limiter.admit(account)
        if not result.go:
            raise GatewaySilent(why="not inquired: the circuit breaker is open")
        try:
            yield
        except GatewaySilent as silent:
            if silent.slow_down_s is not None:
                await limiter.slow_down(account, requested_s=silent.slow_down_s)
            await limiter.report(account, result, failed=[silent.is_failure])
            raise
        except InvalidRequest:  # a refusal is an answer
            await limiter.report(account, result, failed=[False])
            raise
        await limiter.report(account, result, failed=[False])

    return permit


async def _turn(limiter: Limiter, client: GatewayClient, *, line: asyncio.Lock, poll: asyncio.Lock) -> None:
    """Wait for an inquiry's turn."""
    end_s = monotonic() + _TURN_MAX_S
    async with line, poll:
        while True:
            if monotonic() > end_s:
                raise GatewaySilent(why="too many inquiries wait for their turn")
            grant = await limiter.take(client.name, share=SHARE, wanted=1, shares=client.limits)
            if grant.granted:
                return
            await asyncio.sleep(min(grant.wait_s, _LOOK_S))


def clients_of(
    gateways: Gateways, *, scope: Scope | None = None
) -> Callable[[], Awaitable[Mapping[str, GatewayClient]]]:
    """
    The gateway clients of all accounts of this process.

    Args:
        gateways: The accounts; disabled ones are included, because their debits still change.
        scope: What lists of chargebacks are limited to.

    Returns:
        What `InquiryDeps.clients` is.
    """

    async def clients() -> Mapping[str, GatewayClient]:
        found: dict[str, GatewayClient] = {}
        for name, account in (await gateways.accounts()).items():
            opened = await gateways.get(name)
            if opened is not None:
                rates = gateways.rates(account)
                found[name] = GatewayClient(
                    opened, account.terminal_tokens, rates, scope, former_of=account.former_of
                )
        return found

    return clients


def clients_for(account: str, *, clients: Mapping[str, GatewayClient]) -> list[GatewayClient]:
    """
    Where a payment of an account can be found: with its present login and address first, then with its former ones.

    Args:
        account: Our name for it.
        clients: All accounts.

    Returns:
        None where it is not configured.
    """
    present = [client for client in (clients.get(account),) if client is not None]
    return [*present, *(client for client in clients.values() if client.former_of == account)]


async def payment(
    deps: InquiryDeps,
    clients: Sequence[GatewayClient],
    *,
    unique_id: str | None = None,
    transaction_id: str | None = None,
    terminal_hint: str | None = None,
) -> tuple[GatewayAnswer | None, GatewayClient]:
    """
    Inquire about a payment at each terminal of the account until one has it.

    Args:
        clients: Of `clients_for`, at least one.
        unique_id: The gateway's id of it, or
        transaction_id: ours.
        terminal_hint: The terminal that probably took it; inquired first where it is the account's.

    Returns:
        The answer, or `None` where no terminal has such a payment; and where it was inquired last.

    Raises:
        GatewaySilent: when there is no answer, or no inquiry may be made now.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    for client in clients:
        for terminal in sorted(client.terminals, key=lambda item: item != terminal_hint):
            async with deps.permit(client):
                answer = await calls.reconcile(
                    client.gateway,
                    unique_id=unique_id,
                    transaction_id=transaction_id,
                    terminal_token=terminal,
                )
            if answer is not None:
                return answer, client
    return None, clients[-1]


class Inquired(msgspec.Struct, frozen=True):
    """
    The result of an inquiry about a submission.

    Attributes:
        answer: The answer, or `None` where no inquired identity has such a payment.
        not_found_at: The keys of the identities that have none.
        configured: The keys of all identities that its account has, or had lately.
    """

    answer: GatewayAnswer | None
    not_found_at: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()


async def inquire(
    deps: InquiryDeps,
    clients: Mapping[str, GatewayClient],
    row: InquiryRow,
    *,
    recent: frozenset[str] = frozenset(),
) -> Inquired:
    """
    Inquire about a submission by our id, where it was submitted; at other identities too, where not every such identity is configured.

    An identity that belongs to another account now is inquired through that account.

    Args:
        clients: All accounts.
        row: The submission.
        recent: The keys of the identities that its account had lately; a lost history may have submitted to any of them.

    Returns:
        What was found, or where nothing was.

    Raises:
        GatewaySilent: when an identity that counts gave no answer, or may not be inquired now.
        InvalidRequest: when the gateway refuses the inquiry there.
    """
    own = clients.get(row.account)
    configured = frozenset(() if own is None else (own.identity(item).key for item in own.terminals)) | recent
    absent = set[str]()
    refused: InvalidRequest | None = None
    for key, client, terminal in _places(clients, row, recent=recent):
        try:
            async with deps.permit(client):
                answer = await calls.reconcile(
                    client.gateway, transaction_id=row.transaction_id, terminal_token=terminal
                )
        except InvalidRequest as exc:
            if _counts(key, row, configured=configured):
                refused = refused or exc
        except GatewaySilent:
            if _resolved(row, absent, configured=configured):
                break
            raise
        else:
            if answer is not None:
                return Inquired(answer)
            absent.add(key)
    if refused is not None and not _resolved(row, absent, configured=configured):
        raise refused
    return Inquired(None, frozenset(absent), configured)


def _resolved(row: InquiryRow, absent: set[str], *, configured: frozenset[str]) -> bool:
    """Whether every identity that counts has answered "not found"."""
    of_all = needed(row.submitted_to or (UNKNOWN,), configured=configured)
    return of_all is not None and len(of_all) > 0 and of_all <= absent


def _counts(key: str, row: InquiryRow, *, configured: frozenset[str]) -> bool:
    """Whether the answer of an identity counts."""
    of_all = needed(row.submitted_to or (UNKNOWN,), configured=configured)
    return of_all is None or key in of_all


def _places(
    clients: Mapping[str, GatewayClient], row: InquiryRow, *, recent: frozenset[str]
) -> list[tuple[str, GatewayClient, str]]:
    """The identities to inquire, in the order of precedence: key, account, terminal. The identity of the submission comes first."""
    submitted_to = set(row.submitted_to or (UNKNOWN,))
    if EVERY in submitted_to:
        submitted_to |= recent
    known: dict[str, tuple[str, GatewayClient, str]] = {}
    for name in sorted(
        clients, key=lambda item: item != row.account
    ):  # through its own account where that has a client
        for terminal in clients[name].terminals:
            key = clients[name].identity(terminal).key
            if name == row.account or key in submitted_to:
                known.setdefault(key, (key, clients[name], terminal))
    first = [place for key, place in known.items() if key in submitted_to]
    if not submitted_to & {UNKNOWN, EVERY} and len(first) == len(submitted_to):
        return first
    return [*first, *(place for key, place in known.items() if key not in submitted_to)]


async def chargebacks_of(
    deps: InquiryDeps, client: GatewayClient, *, unique_id: str
) -> tuple[Chargeback, ...]:
    """
    Inquire about the chargebacks of a payment.

    Args:
        client: The account.
        unique_id: The gateway's id of the payment.

    Returns:
        All of them, in the gateway's order.

    Raises:
        GatewaySilent: when there is no answer, or no inquiry may be made now.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    async with deps.permit(client):
        page = await calls.chargebacks_of(client.gateway, unique_id=unique_id)
    return page.items
