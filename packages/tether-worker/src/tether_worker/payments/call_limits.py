"""
Limits of calls for debits, refunds and voids: how many may begin now, and how a call that ended is reported.

Debits and refunds share an account's rate, circuit breaker and connections, so both kinds of submission get their permits here.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.submission import SubmissionRules
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.database_epoch.watch import Watch
from tether_stores.limits import Limiter
from tether_stores.postgres import Pool

from tether_worker.gateway.clients import Gateways

__all__ = [
    "BEGIN_S",
    "CALLS_MAX",
    "CLAIM_MAX",
    "WAIT_MAX_S",
    "CallAllowance",
    "SubmissionDeps",
    "allow_calls",
    "is_failure",
    "slow_down",
]

SHARE: Final = "billing"
# Calls under way at once for one account; as many connections are open, so that no call waits for one.
CALLS_MAX: Final = 64
# A claim takes a few milliseconds whatever its size; this many keep a worker without a limit busy.
CLAIM_MAX: Final = 32
# A call that has not begun this long after its claim is not made: its lease could expire before it ends.
BEGIN_S: Final = 10.0
# Nothing may be submitted now: look again after this long at the latest.
WAIT_MAX_S: Final = 0.5
# Recording the results that must come first takes about this long.
_RECORDED_S: Final = 0.01


class SubmissionDeps(msgspec.Struct, frozen=True):
    """
    What submissions need.

    Attributes:
        gateways: The accounts and their connections, `CALLS_MAX` of them each.
        limiter: The limits that all nodes share.
        rules: How long a call may last.
        stopping: Set when this process ends: nothing more is claimed then, and calls under way are recorded.
        watch: Notices that the database went back; nothing is claimed where it has not confirmed the epoch. `None` only where
            no worker runs.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`: nothing is claimed with another one than the database's. `None`, where no
            worker runs, leaves it unchecked.
        under_way: The calls of this process, of all runs of the job.
        ending: Runs that begin no further call, and wait for the responses to theirs.
        unrecorded: Claimed attempts whose result is not committed yet; to the queue that their result goes through.
    """

    pool: Pool
    gateways: Gateways
    limiter: Limiter
    rules: SubmissionRules
    clock: Callable[[], datetime]
    stopping: asyncio.Event
    watch: Watch | None = None
    fingerprint_key: bytes | None = None
    under_way: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    ending: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    unrecorded: dict[int, object] = msgspec.field(default_factory=dict)

    async def ended(self) -> None:
        """Wait until every call that was begun is recorded; call it once nothing more begins."""
        while self.ending:
            await asyncio.wait(self.ending)


class CallAllowance(msgspec.Struct, frozen=True):
    """
    How many calls may be made now.

    Attributes:
        permit: The breaker's, for these calls.
        calls: How many.
        wait_s: Where none: when to try again, in seconds; `None` where waiting cannot help.
    """

    permit: Permit
    calls: int
    wait_s: float | None = None


_NONE: Final = Permit(go=False, generation=0)


async def allow_calls(
    deps: SubmissionDeps, account: GatewayAccount, *, wanted_max: int = CLAIM_MAX
) -> CallAllowance:
    """Request permits for calls of an account from limiter and breaker, at most *wanted_max*."""
    # A response that is not recorded yet may be the refusal that pauses the run.
    room = CALLS_MAX - max(len(deps.under_way), len(deps.unrecorded))
    if room < 1:
        return CallAllowance(_NONE, 0, WAIT_MAX_S if len(deps.under_way) >= CALLS_MAX else _RECORDED_S)
    shares = deps.gateways.rates(account)
    grant = await deps.limiter.take(account.name, share=SHARE, wanted=min(room, wanted_max), shares=shares)
    if not grant.granted:
        return CallAllowance(_NONE, 0, grant.wait_s)
    permit, allowed = await deps.limiter.admit_for(account.name, wanted=grant.granted)
    # An open breaker is not waited for: the next poll requests again.
    wait_s = permit.wait_s if not allowed and permit.wait_s <= WAIT_MAX_S else None
    return CallAllowance(permit, allowed, wait_s)


async def slow_down(deps: SubmissionDeps, account: str, answer: GatewayAnswer | GatewaySilent) -> None:
    """
    Lower the rate of an account after HTTP 429.

    Args:
        answer: The result of a call.
    """
    if isinstance(answer, GatewaySilent) and answer.slow_down_s is not None:
        await deps.limiter.slow_down(account, requested_s=answer.slow_down_s)


def is_failure(answer: GatewayAnswer | GatewaySilent) -> bool | None:
    """
    Whether a call with this result counts as a failure of the gateway, for the circuit breaker.

    Returns:
        `None` where the call shows nothing about the gateway.
    """
    return answer.is_failure if isinstance(answer, GatewaySilent) else False
