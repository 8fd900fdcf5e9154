"""
Account checks before billing: a provider answers about each debtor's account, and the answers are scored.

A **provider** is a function of account number and name that gives `Answers` (`tether_core.vop`), or raises
`ProviderSilent` when it is unavailable. Two are here. The built-in one answers from the number itself, the SEPA area, a directory of
banks, and the form of the name. The other also calls a service over HTTP (docs/guides/vop.md has its rules).

A directory of banks is never complete, so a bank it lacks is "unanswered" and not "no". A provider that is away leaves
its checks waiting; what nobody answered is never stored.

A service may charge for each call. So before it is called, an earlier answer about the same account and name is taken over, a bank that does not answer gets
the built-in answers alone, and what the budget of the gateway account does not cover waits for the next day or month.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Protocol

import httpx
import msgspec
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException
from tether_core import iban as ibans
from tether_core import retry
from tether_core.errors import Unavailable
from tether_core.jobs import CHECK
from tether_core.vop import (
    NAME_ANSWERS,
    Answer,
    Answers,
    CallLimits,
    granted,
    granted_again_at,
    plausible_name,
    reachable,
    same_name,
    scored,
)
from tether_stores import check_files, vop
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.telemetry import logger
from tether_stores.vop import BankAnswers, Check, Checked

from tether_worker.jobs.run import Work

__all__ = ["Checking", "Provider", "ProviderSilent", "builtin", "check", "checking", "client", "over_http"]

Provider = Callable[[str, str], Awaitable[Answers]]

BATCH_MAX: Final = 100
_LEASE: Final = timedelta(seconds=180)
_BUILTIN: Final = "builtin"
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
        is_metered: Whether the provider is a service, whose calls have a budget.
        limits: The budget of each gateway account.
        reuse_days: For how many days an answer is taken over; 0 for never.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`, by which accounts of check files are found among those of debtors.
    """

    pool: Pool
    provider: Provider
    name: str
    clock: Callable[[], datetime]
    jitter: Callable[[], float]
    is_metered: bool = False
    limits: CallLimits = CallLimits()
    reuse_days: int = 0
    fingerprint_key: bytes = b""


class _Rows(Protocol):
    """Where checks come from and go to: `tether_stores.vop` for debtors, `tether_stores.check_files` for files."""

    async def claim(
        self, conn: Connection, *, now: datetime, leased_until: datetime, limit: int
    ) -> list[Check]:
        """Take a lease on checks that are due."""
        ...

    async def checked(
        self,
        conn: Connection,
        rows: Sequence[Checked],
        *,
        provider: str,
        leased_until: datetime,
        now: datetime,
    ) -> None:
        """Write checks that were made."""
        ...

    async def deferred(
        self,
        conn: Connection,
        rows: Sequence[tuple[int, int, datetime | None]],
        *,
        leased_until: datetime,
    ) -> None:
        """Let checks wait on, or park them."""
        ...


def checking(deps: Checking) -> Work:
    """The job that checks accounts."""

    async def batch() -> int:
        return await check(deps)

    async def has_pending() -> bool:
        now = deps.clock()
        async with connection(deps.pool) as conn:
            return await vop.due(conn, now=now) or await check_files.due(conn, now=now)

    return Work(CHECK, batch, has_pending)


async def check(deps: Checking, *, limit: int = BATCH_MAX) -> int:
    """
    Make checks that are due, at most *limit* of them: those of debtors first, then those of files.

    Returns:
        How many were tried.

    Raises:
        Unavailable: when Postgres is away; the checks wait on.
    """
    return await _check(vop, deps=deps, limit=limit) or await _check(check_files, deps=deps, limit=limit)


async def _check(rows: _Rows, *, deps: Checking, limit: int) -> int:
    now = deps.clock()
    leased_until = now + _LEASE
    async with connection(deps.pool) as conn:
        checks = await rows.claim(conn, now=now, leased_until=leased_until, limit=limit)
    if not checks:
        return 0
    made = await _without_call(checks, deps=deps, now=now) if deps.is_metered else []
    done = {item.debtor_id for item in made}
    left = [item for item in checks if item.debtor_id not in done]
    postponed = list[tuple[int, int, datetime | None]]()
    if deps.is_metered and (deps.limits.day_max is not None or deps.limits.month_max is not None):
        left, postponed = await _within_budget(left, deps=deps, now=now)
    room = asyncio.Semaphore(_AT_ONCE)
    found = await asyncio.gather(*(_answered(item, deps=deps, room=room) for item in left))
    answered = [item for item in found if isinstance(item, Checked)]
    made += answered
    now = deps.clock()
    waiting = postponed + [
        (
            item.debtor_id,
            item.failures + 1,
            retry.next_try(retry.ACCOUNT_CHECK_S, item.failures + 1, now=now, jitter=deps.jitter()),
        )
        for item in found
        if isinstance(item, Check)
    ]
    async with transaction(deps.pool) as conn:
        await rows.checked(conn, made, provider=deps.name, leased_until=leased_until, now=now)
        await rows.deferred(conn, waiting, leased_until=leased_until)
        if deps.is_metered:
            await vop.add_bank_answers(conn, _by_bank(checks, answered), now=now)
    return len(checks)


async def _without_call(checks: Sequence[Check], *, deps: Checking, now: datetime) -> list[Checked]:
    """The checks that need no call: an answer is taken over, their bank rests, or there is no IBAN to ask about."""
    reusing = [_with_fingerprint(item, deps) for item in checks if not item.is_fresh and deps.reuse_days]
    async with connection(deps.pool) as conn:
        since = now - timedelta(days=deps.reuse_days)
        earlier = await vop.reusable(conn, reusing, provider=deps.name, since=since) if reusing else {}
        resting = {row.bank for row in await vop.resting(conn, now=now)}
    made = list[Checked]()
    for item in checks:
        same = next((row for row in earlier.get(item.debtor_id, ()) if same_name(row.name, item.name)), None)
        if same is not None:
            made.append(
                Checked(item.debtor_id, same.answers, scored(same.answers), reused_from=same.debtor_id)
            )
        elif item.bank in resting or reachable(item.iban)[0] == "no":
            own = await builtin(item.iban, item.name)
            made.append(Checked(item.debtor_id, own, scored(own), provider=_BUILTIN))
    return made


async def _within_budget(
    checks: Sequence[Check], *, deps: Checking, now: datetime
) -> tuple[list[Check], list[tuple[int, int, datetime | None]]]:
    """Those that the budgets of their accounts cover, whose calls are counted; and the others, each with its failures so far and when to try again."""
    by_account = defaultdict[str, list[Check]](list)
    for item in checks:
        by_account[item.account].append(item)
    covered, postponed = list[Check](), list[tuple[int, int, datetime | None]]()
    on = now.astimezone(UTC).date()
    for account, wanted in sorted(by_account.items()):
        async with transaction(deps.pool) as conn:
            day_calls, month_calls = await vop.calls(conn, account, on=on)
            count = granted(len(wanted), day_calls=day_calls, month_calls=month_calls, limits=deps.limits)
            await vop.spend(conn, account, on=on, count=count)
        covered += wanted[:count]
        if count < len(wanted):
            again_at = granted_again_at(now, month_calls=month_calls + count, limits=deps.limits)
            postponed += [(item.debtor_id, item.failures, again_at) for item in wanted[count:]]
            _log.info("account checks postponed", account=account, checks=len(wanted) - count)
    return covered, postponed


def _with_fingerprint(item: Check, deps: Checking) -> Check:
    """The check with its fingerprint; a row of a file has none stored."""
    if item.iban_fingerprint:
        return item
    return msgspec.structs.replace(
        item, iban_fingerprint=ibans.fingerprint(item.iban, key=deps.fingerprint_key)
    )


def _by_bank(checks: Sequence[Check], answered: Sequence[Checked]) -> list[BankAnswers]:
    """What the provider answered about names, by bank; banks that nobody knows are not counted."""
    banks = {item.debtor_id: item.bank for item in checks}
    names = defaultdict[str, Counter[bool]](Counter)
    for item in answered:
        bank = banks[item.debtor_id]
        if bank is not None and item.answers.iban != "no":
            names[bank][item.answers.name != "unanswered"] += 1
    return [BankAnswers(bank, count[True] > 0, count[False]) for bank, count in sorted(names.items())]


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
