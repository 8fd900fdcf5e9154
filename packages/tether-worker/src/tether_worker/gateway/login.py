"""
Whether the gateway accepts an account: a status inquiry about an id that nobody has used.

The inquiry is answered "not found" where login, password and terminal are right. It moves nothing, and is the only call that
proves all three: a debit would, too, but it debits.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from tether_core.errors import CredentialsRejected, GatewaySilent, InvalidRequest, NotSubmitted
from tether_stores.accounts.gateway_accounts import GatewayAccount

from tether_worker.gateway.client import reconcile
from tether_worker.gateway.connections import Account, open_gateway

__all__ = ["LoggedIn", "Login", "log_in"]

LoggedIn: TypeAlias = Literal["accepted", "rejected", "refused", "unreachable", "silent"]

# A person waits, and an account has few terminals.
_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 4
_CALLS_MAX: Final = 50


class Login(msgspec.Struct, frozen=True):
    """
    What the gateway says of one terminal of an account.

    Attributes:
        account: Its name.
        terminal: Which of its terminals, from 1; the first is for new debits.
        result: "rejected": login or password; "refused": the terminal, or the inquiry as such.
        why: The reason in the gateway's or the network's words, without anything secret; "" where it accepts.
    """

    account: str
    terminal: int
    result: LoggedIn
    why: str = ""


async def log_in(
    accounts: Iterable[GatewayAccount], *, unused_id: str, timeout_s: float = _TIMEOUT_S
) -> Sequence[Login]:
    """
    Inquire once for each terminal of each account, a few at a time; never more than fifty.

    Args:
        unused_id: A transaction_id that no debit has.
        timeout_s: For each inquiry.
    """
    free = asyncio.Semaphore(_AT_ONCE)

    async def tried(account: GatewayAccount, number: int, terminal: str) -> Login:
        async with free:
            result, why = await _inquire(account, terminal, unused_id=unused_id, timeout_s=timeout_s)
        return Login(account.name, number, result, why)

    calls = [
        tried(account, number, terminal)
        for account in accounts
        for number, terminal in enumerate(account.terminal_tokens, 1)
    ]
    for call in calls[_CALLS_MAX:]:
        call.close()
    return await asyncio.gather(*calls[:_CALLS_MAX])


async def _inquire(
    account: GatewayAccount, terminal: str, *, unused_id: str, timeout_s: float
) -> tuple[LoggedIn, str]:
    opened = Account(
        account.name,
        account.api_url.rstrip("/"),
        account.login,
        account.passwords[0],
        terminal,
        timeout_s=timeout_s,
        connect_timeout_s=timeout_s,
        connections_max=1,
    )
    async with open_gateway(opened) as gateway:
        try:
            await reconcile(gateway, transaction_id=unused_id)
        except CredentialsRejected as exc:
            return "rejected", exc.why
        except InvalidRequest as exc:
            return "refused", str(exc)
        except NotSubmitted as exc:
            return "unreachable", exc.why
        except GatewaySilent as exc:
            return "silent", exc.why
    return "accepted", ""
