"""
Put banks on hold whose debits come back; `tether_core.banks` decides.

The sums of figures say what each bank has collected and returned in the days that count. An entry is written with its row of the audit in one
transaction; the index of active entries makes it once, whatever number of workers judge.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final

from tether_core import banks
from tether_core.audit import Actor, facts
from tether_core.banks import REASON_CODE, BankBlock, BankCounts, BlockPolicy
from tether_stores import audit, blacklist, figures
from tether_stores.blacklist import ManualEntry
from tether_stores.figures import FigureFilters
from tether_stores.postgres import Connection, Pool, reading, transaction
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["block_banks"]

_EVERY_S: Final = 900.0
# More banks than Europe has.
_BANKS_MAX: Final = 10_000
_ACTOR: Final = Actor("command", "tether-worker")
_log = logger("blacklist")


def block_banks(pool: Pool, *, policy: BlockPolicy, clock: Callable[[], datetime]) -> PeriodicTask:
    """The periodic task that judges the return rates of banks; without a limit it does nothing."""

    async def judge() -> None:
        if not policy.rate_max:
            return
        now = clock()
        for block, since_on in await _decided(pool, policy=policy, now=now):
            async with transaction(pool) as conn:
                await _enter(conn, block, since_on=since_on, policy=policy, now=now)

    return PeriodicTask("block_banks", _EVERY_S, judge)


async def _decided(pool: Pool, *, policy: BlockPolicy, now: datetime) -> list[tuple[BankBlock, date]]:
    """The banks to be put on hold, each with the first day of the debits that count."""
    today = now.astimezone(UTC).date()
    usual_on = banks.counts_since(today=today, ended_on=None, policy=policy)
    async with reading(pool) as conn:
        judged = await blacklist.banks_judged(conn, reason_code=REASON_CODE, now=now)
        counts = await _counts(conn, since_on=usual_on, today=today)
        found: list[tuple[BankBlock, date]] = []
        for block in banks.decide(counts.values(), policy=policy):
            is_active, ended_at = judged.get(block.bank, (False, None))
            if is_active:
                continue
            ended_on = None if ended_at is None else ended_at.astimezone(UTC).date()
            since_on = banks.counts_since(today=today, ended_on=ended_on, policy=policy)
            # A bank that was judged before is judged by later debits alone.
            if since_on > usual_on:
                later = await _counts(conn, since_on=since_on, today=today, bank=block.bank)
                found += [(again, since_on) for again in banks.decide(later.values(), policy=policy)]
            else:
                found.append((block, since_on))
    return found


async def _counts(
    conn: Connection, *, since_on: date, today: date, bank: str | None = None
) -> Mapping[str, BankCounts]:
    """What each bank has collected and returned, in all currencies."""
    filters = FigureFilters(from_on=since_on, to_on=today, bank=bank)
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for sums in await figures.sums(conn, filters, by="bank", basis="cohort", limit=_BANKS_MAX):
        of_bank = totals[sums.key]
        of_bank[0] += sums.collected.count
        of_bank[1] += sums.returned.count
        of_bank[2] += sums.excluded.count
    return {key: BankCounts(key, *numbers) for key, numbers in totals.items()}


async def _enter(
    conn: Connection, block: BankBlock, *, since_on: date, policy: BlockPolicy, now: datetime
) -> None:
    entry = ManualEntry(
        action="hold",
        reason_code=REASON_CODE,
        note=block.note(since_on=since_on, policy=policy),
        bic=block.bank,
        expires_at=block.expires_at(now=now, policy=policy),
    )
    made = await blacklist.enter(conn, [entry], source="automatic", added_by="tether", now=now)
    if 0 not in made:
        return
    await audit.record(
        conn,
        _ACTOR,
        "blacklist.added",
        subject="blacklist_entry",
        subject_id=made[0],
        reason=entry.note,
        after=facts(action=entry.action, reason_code=entry.reason_code, banks=entry.bic),
        now=now,
    )
    _log.warning(
        "bank blocked", bank=block.bank, entry_id=made[0], rate=block.rate, collected=block.collected
    )
