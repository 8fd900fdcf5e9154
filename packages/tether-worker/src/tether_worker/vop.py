"""
Account checks before billing: a provider answers about each debtor's account, and the answers are scored.

A **provider** is a function of account number and name that gives `Answers` (`tether_core.vop`), or raises
`ProviderSilent` when it is unavailable. Two are here. The built-in one answers from the number itself, the SEPA area, a directory of
banks, and the form of the name. The other also calls a service over HTTP (docs/guides/vop.md has its rules).

A directory of banks is never complete, so a bank it lacks is "unanswered" and not "no". A provider that is away leaves
its checks waiting; what nobody answered is never stored.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import httpx
import msgspec
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException
from tether_core import retry
from tether_core.errors import Unavailable
from tether_core.jobs import CHECK
from tether_core.vop import NAME_ANSWERS, Answer, Answers, plausible_name, reachable, scored
from tether_stores import vop
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.telemetry import logger
from tether_stores.vop import Check, Checked

from tether_worker.jobs.run import Work

__all__ = ["Checking", "Provider", "ProviderSilent", "builtin", "check", "checking", "client", "over_http"]

Provider = Callable[[str, str], Awaitable[Answers]]

BATCH_MAX: Final = 100
_LEASE: Final = timedelta(seconds=180)
# Services of this kind count in calls a second; this many at once use the provider without overloading it.
_AT_ONCE: Final = 8

# Such services call other services; a call that takes longer is repeated later.
_TIMEOUT_S: Final = 15.0

_log = logger("vop")


class ProviderSilent(Unavailable):
    """
    A provider gave no usable answer.

    Attributes:
        why: "http 502", "unreadable answer" and the like.
    """

    code = "provider_silent"

    def __init__(self, *, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"The provider of account checks gave no usable answer ({self.why})."


class Checking(msgspec.Struct, frozen=True):
    """
    What checking needs.

    Attributes:
        provider: Who answers.
        name: The provider's, kept beside its answers.
        jitter: Gives a number of [0, 1), for the spread of waits.
    """

    pool: Pool
    provider: Provider
    name: str
    clock: Callable[[], datetime]
    jitter: Callable[[], float]


def checking(deps: Checking) -> Work:
    """The job that checks accounts."""

    async def batch() -> int:
        return await check(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await vop.due(conn, now=deps.clock())

    return Work(CHECK, batch, has_pending)


async def check(deps: Checking, *, limit: int = BATCH_MAX) -> int:
    """
    Make checks that are due, at most *limit* of them.

    Returns:
        How many were tried.

    Raises:
        Unavailable: when Postgres is away; the checks wait on.
    """
    now = deps.clock()
    leased_until = now + _LEASE
    async with connection(deps.pool) as conn:
        checks = await vop.claim(conn, now=now, leased_until=leased_until, limit=limit)
    if not checks:
        return 0
    room = asyncio.Semaphore(_AT_ONCE)
    found = await asyncio.gather(*(_answered(item, deps=deps, room=room) for item in checks))
    made = [item for item in found if isinstance(item, Checked)]
    now = deps.clock()
    waiting = [
        (
            item.debtor_id,
            item.failures + 1,
            retry.next_try(retry.ACCOUNT_CHECK_S, item.failures + 1, now=now, jitter=deps.jitter()),
        )
        for item in found
        if isinstance(item, Check)
    ]
    async with transaction(deps.pool) as conn:
        await vop.checked(conn, made, provider=deps.name, leased_until=leased_until, now=now)
        await vop.deferred(conn, waiting, leased_until=leased_until)
    return len(checks)


async def _answered(item: Check, *, deps: Checking, room: asyncio.Semaphore) -> Checked | Check:
    """The check with its answers, or as it was where there are none."""
    async with room:
        try:
            answers = await deps.provider(item.iban, item.name)
            return Checked(item.debtor_id, answers, scored(answers))
        except ProviderSilent as exc:
            _log.warning("account check unanswered", debtor_id=item.debtor_id, why=exc.why)
            return item


async def builtin(iban: str, name: str) -> Answers:
    """
    Answer from the built-in checks only.

    Args:
        iban: The account, in any spelling.
        name: Its holder.

    Returns:
        The answers; never whether the name fits, only whether it can be a name.
    """
    is_iban, country = reachable(iban)
    looks = plausible_name(name)
    if is_iban == "no":
        return Answers(iban="no", name=looks)
    bank_name, bic = _bank(iban)
    return Answers(
        iban="yes",
        bank="yes" if bank_name else "unanswered",
        country=country,
        name=looks,
        bank_name=bank_name,
        bic=bic,
    )


def _bank(iban: str) -> tuple[str, str]:
    """Name and BIC by the directory, "" where it has none."""
    try:
        known = IBAN(iban, allow_invalid=True)
        return known.bank_name or "", str(known.bic or "")
    except SchwiftyException:
        return "", ""


_Sure = Literal["yes", "no", "unanswered"]


class _Reply(msgspec.Struct, frozen=True):
    """The answer of a service; see docs/guides/vop.md."""

    iban: _Sure = "unanswered"
    bank: _Sure = "unanswered"
    debit: _Sure = "unanswered"
    country: _Sure = "unanswered"
    name: Literal["MTCH", "CMTC", "NMTC", "NOAP"] = "NOAP"
    name_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 70
    bank_name: str = ""
    bic: str = ""


_decoder = msgspec.json.Decoder(_Reply)


def client() -> httpx.AsyncClient:
    """Connections to a service; TLS is verified, redirects are not followed."""
    return httpx.AsyncClient(timeout=httpx.Timeout(_TIMEOUT_S), follow_redirects=False, trust_env=False)


def over_http(client: httpx.AsyncClient, *, url: str, token: str) -> Provider:
    """
    A provider that calls a service, and uses the built-in answers where the service has none.

    Args:
        client: With a timeout.
        url: Where to post the question.
        token: Sent as a bearer token; "" for none.

    Returns:
        The provider. Account and name leave this process in its requests and nowhere else; what is no IBAN is not asked
        about.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}

    async def query(iban: str, name: str) -> Answers:
        own = await builtin(iban, name)
        if own.iban == "no":
            return own
        try:
            answer = await client.post(url, json={"iban": iban, "name": name}, headers=headers)
        except httpx.HTTPError as exc:
            raise ProviderSilent(why=type(exc).__name__) from exc
        if answer.status_code != 200:
            raise ProviderSilent(why=f"http {answer.status_code}")
        try:
            notification = _decoder.decode(answer.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The message would quote the answer.
            raise ProviderSilent(why="unreadable answer") from None
        return _joined(own, notification)

    return query


def _joined(own: Answers, reply: _Reply) -> Answers:
    def better(check: str) -> Answer:
        answer: Answer = getattr(reply, check)
        known: Answer = getattr(own, check)
        return known if answer == "unanswered" else answer

    name = NAME_ANSWERS[reply.name]
    return Answers(
        iban=better("iban"),
        bank=better("bank"),
        debit=better("debit"),
        country=better("country"),
        name=own.name if name == "unanswered" else name,
        name_percent=reply.name_percent,
        bank_name=reply.bank_name or own.bank_name,
        bic=reply.bic or own.bic,
    )
