"""Banks whose debits come back are put on hold, once, with the reason, and only by fresh debits after that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.banks import BlockPolicy
from tether_stores import blacklist
from tether_worker.blacklist import block_banks

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
POLICY = BlockPolicy(rate_max=0.05, floor=10, window_days=90, days=30)
DEBTORS = """
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at, bank_bic)
select 'DE', 'x', 'Somebody', 100, 'EUR', %(at)s, %(bank)s from generate_series(1, %(collected)s) n
"""
ATTEMPTS = """
insert into billing_attempts (
    account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint, iban_masked,
    created_at, updated_at, submitted_at, due_item, try_number, reason_code
)
select
    'default', id, 't' || id, 100, 'EUR', case when n <= %(returned)s then 'chargebacked' else 'approved' end, 60,
    case when n <= %(returned)s then 1 else 0 end, 'x', 'DE00', %(at)s, %(at)s, %(at)s, 'a', 1,
    case when n <= %(returned)s then 'AM04' end
from (
    select d.id, row_number() over (order by d.id) as n
    from debtors d where not exists (select from billing_attempts a where a.debtor_id = d.id)
) numbered
"""


async def _debits(conn: Connection, bank: str | None, *, collected: int, returned: int, at: datetime) -> None:
    values = {"bank": bank, "collected": collected, "returned": returned, "at": at}
    await conn.execute(DEBTORS.encode(), values)
    await conn.execute(ATTEMPTS.encode(), values)


async def _judge(pool: Pool, now: datetime, *, policy: BlockPolicy = POLICY) -> None:
    await block_banks(pool, policy=policy, clock=lambda: now).do()


async def _entries(conn: Connection) -> list[tuple[Any, ...]]:
    cursor = await conn.execute(
        "select bic, action, source, added_by, reason_code, expires_at, lifted_at from blacklist order by id"
    )
    return await cursor.fetchall()


async def test_a_bank_above_the_limit_is_held_once_and_others_are_not(conn: Connection, pool: Pool) -> None:
    """Every entry must be found with its numbers by who wonders why nobody of a bank was debited."""
    at = NOW - timedelta(days=20)
    await _debits(conn, "COBADEFF", collected=40, returned=3, at=at)
    await _debits(conn, "DEUTDEFF", collected=40, returned=2, at=at)
    await _debits(conn, "ABNANL2A", collected=9, returned=9, at=at)
    await _debits(conn, None, collected=40, returned=40, at=at)
    await _debits(conn, "BYLADEM1", collected=40, returned=40, at=NOW - timedelta(days=90))
    await asyncio.gather(*(_judge(pool, NOW) for _ in range(3)))
    assert await _entries(conn) == [
        ("COBADEFF", "hold", "automatic", "tether", "RETURNS", NOW + timedelta(days=30), None)
    ]
    cursor = await conn.execute("select actor, action, subject_id, reason, after ->> 'banks' from audit")
    ((actor, action, subject_id, reason, named),) = await cursor.fetchall()
    assert (actor, action, subject_id, named) == ("tether-worker", "blacklist.added", "1", "COBADEFF")
    assert reason == "7.5 % of 40 debits since 2026-03-04 were returned; the limit is 5 %."
    assert set(await blacklist.banks_listed(conn, now=NOW)) == {"COBADEFF"}
    assert await blacklist.banks_listed(conn, now=NOW + timedelta(days=30)) == {}


@pytest.mark.parametrize("ended", ["lifted", "expired"])
async def test_after_an_entry_ended_only_later_debits_count(ended: str, conn: Connection, pool: Pool) -> None:
    """A person's lift must stand against the debits that the person knew, and the bank must be judged again by new ones."""
    await _debits(conn, "COBADEFF", collected=40, returned=20, at=NOW - timedelta(days=5))
    await _judge(pool, NOW)
    if ended == "lifted":
        now = NOW + timedelta(days=2)
        lifted = await blacklist.lift(
            conn, 1, lifted_by="ada", reason="they pay by invoice", forgives="entry", now=now
        )
        assert lifted is not None
    else:
        now = NOW + timedelta(days=30)
    await _judge(pool, now + timedelta(hours=1))
    assert len(await _entries(conn)) == 1
    later = now + timedelta(days=3)
    await _debits(conn, "COBADEFF", collected=9, returned=9, at=later)
    await _judge(pool, later)  # too few
    assert len(await _entries(conn)) == 1
    await _debits(conn, "COBADEFF", collected=31, returned=0, at=later)
    await _judge(pool, later)
    entries = await _entries(conn)
    assert [(entry[0], entry[5]) for entry in entries] == [
        ("COBADEFF", NOW + timedelta(days=30)), ("COBADEFF", later + timedelta(days=30)),
    ]  # fmt: skip
    assert entries[0][6] == now
    cursor = await conn.execute("select note from blacklist order by id desc limit 1")
    assert (await cursor.fetchall())[0][0].startswith("22.5 % of 40 debits since ")


async def test_without_a_limit_nothing_is_judged(conn: Connection, pool: Pool) -> None:
    """Nobody is held by a default that nobody chose."""
    await _debits(conn, "COBADEFF", collected=40, returned=40, at=NOW - timedelta(days=5))
    await _judge(pool, NOW, policy=BlockPolicy())
    assert await _entries(conn) == []
