"""Figures say what the debits say: whatever happens to debits, in any order, the sums are those of the rows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.figures import PRICE_BANDS, Total, band
from tether_stores import figures
from tether_stores.figures import FigureFilters
from tether_stores.postgres import transaction

if TYPE_CHECKING:
    from tether_core.figures import By, Sums
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MADE = """
insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)
select 'k' || n, 'f', 1, 'x', 'completed', %(now)s, %(now)s from generate_series(1, 2) n;
insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)
select 1 + n %% 2, 'default', 'a' || n, 'running', '{}', '{}', 'x', %(now)s, %(now)s from generate_series(1, 3) n;
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at, bank_bic)
select 'DE' || n, 'x', 'Somebody', 100, 'EUR', %(now)s, case when n %% 4 > 0 then 'COBADEF' || n %% 4 end from generate_series(1, 60) n;
insert into billing_attempts (
    account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint, iban_masked,
    created_at, updated_at, run_id, due_item, try_number
)
select
    case when n %% 7 = 0 then 'second' else 'default' end, n, 't' || n, 400 * n, case when n %% 11 = 0 then 'CHF' else 'EUR' end,
    'pending', 0, 0, 'x', case when n %% 5 = 0 then 'FR00' else 'DE00' end, %(now)s - interval '1 day' * (n %% 40), %(now)s,
    nullif(n %% 4, 0), 'a', 1
from generate_series(1, 60) n
"""
MOVE = """
update billing_attempts
set
    payment_stage = greatest(payment_stage, %(payment)s), dispute_stage = greatest(dispute_stage, %(dispute)s),
    reason_code = coalesce(%(reason)s, reason_code), updated_at = %(now)s, submitted_at = coalesce(submitted_at, %(now)s)
where id = any(%(ids)s)
"""
ROWS = """
select
    a.*, (a.created_at at time zone 'UTC')::date as created_on, coalesce(r.upload_id::text, '') as upload,
    payment_stage >= 60 or dispute_stage > 0 as collected, dispute_stage in (1, 3) as returned, payment_stage in (70, 80) as refunded
from billing_attempts a left join billing_runs r on r.id = a.run_id
"""


async def _do(conn: Connection, query: str, **facts: Any) -> None:
    for part in query.split(";"):
        await conn.execute(part.encode(), {"now": NOW, **facts})


async def _rows(conn: Connection) -> list[dict[str, Any]]:
    cursor = await conn.execute(ROWS.encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def _key(row: dict[str, Any], by: By, kind: str) -> str:
    day = row["created_on"]
    keys: dict[By, str] = {
        "total": "",
        "day": day.isoformat(),
        "month": day.isoformat()[:7],
        "country": row["iban_masked"][:2],
        "bank": row["bank_bic"] or "",
        "reason_code": (row["reason_code"] or "") if kind in {"returned", "excluded"} else "",
        "price_band": str(band(row["amount_minor"])),
        "account": row["account"],
        "upload": row["upload"],
        "run": str(row["run_id"] or ""),
    }
    return keys[by]


def _counted(rows: list[dict[str, Any]], by: By) -> dict[tuple[str, str], dict[str, Total]]:
    """Count the rows, as slowly and plainly as it can be done."""
    counts: Counter[tuple[str, str, str]] = Counter()
    money: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        kinds = [kind for kind in ("collected", "returned", "refunded") if row[kind]]
        if row["returned"] and row["reason_code"] in {"XT33", "XT73"}:
            kinds.append("excluded")
        for kind in kinds:
            cell = (_key(row, by, kind), row["currency"], kind)
            counts[cell] += 1
            money[cell] += row["amount_minor"]
    found: dict[tuple[str, str], dict[str, Total]] = {}
    for (key, currency, kind), count in counts.items():
        found.setdefault((key, currency), {})[kind] = Total(count, money[key, currency, kind])
    return found


def _as_dict(sums: list[Sums]) -> dict[tuple[str, str], dict[str, Total]]:
    return {
        (some.key, some.currency): {
            kind: getattr(some, kind)
            for kind in ("collected", "returned", "excluded", "refunded")
            if getattr(some, kind).count
        }
        for some in sums
    }


BY: tuple[By, ...] = (
    *("total", "day", "month", "country", "bank", "reason_code", "price_band", "account", "upload", "run"),
)


async def _agree(conn: Connection) -> None:
    rows = await _rows(conn)
    for by in BY:
        found = await figures.sums(conn, FigureFilters(), by=by, basis="cohort", limit=1000)
        assert _as_dict(found) == _counted(rows, by), by
    cash = await figures.sums(conn, FigureFilters(), by="day", basis="cash", limit=1000)
    for kind in ("collected", "returned", "refunded"):
        days = Counter(row[f"{kind}_on"].isoformat() for row in rows if row[kind])
        assert (
            +Counter(
                {day: sum(getattr(some, kind).count for some in cash if some.key == day) for day in days}
            )
            == days
        )
    open_money = await figures.open_money(conn, since_on=date(2020, 1, 1), upload_id=None, account=None)
    left = [row for row in rows if row["collected"] and not row["returned"] and not row["refunded"]]
    assert sum(some.count for some in open_money) == len(left)
    assert sum(some.amount_minor for some in open_money) == sum(row["amount_minor"] for row in left)


@pytest.mark.parametrize("seed", range(3))
async def test_figures_are_those_of_the_rows_whatever_happens(pool: Pool, seed: int) -> None:
    """The books are read from these sums. One that differs from the debits by a cent makes all of them doubtful."""
    rng = random.Random(seed)
    async with pool.connection() as conn:
        await _do(conn, MADE)
        for step in range(25):
            await _do(
                conn,
                MOVE,
                now=NOW + timedelta(hours=7 * step),
                ids=rng.sample(range(1, 61), rng.randint(1, 20)),
                payment=rng.choice([0, 10, 20, 50, 60, 60, 60, 70, 80]),
                dispute=rng.choice([0, 0, 0, 1, 2, 3]),
                reason=rng.choice([None, None, "AC04", "XT33", "MD06"]),
            )
            if rng.random() < 0.3:
                async with transaction(pool) as adder:
                    await figures.add_changes(adder, limit=rng.choice([3, 1000]))
            if step % 8 == 0:
                await _agree(conn)
        await _agree(conn)
        while True:
            async with transaction(pool) as adder:
                if not await figures.add_changes(adder):
                    break
        await _agree(conn)
        assert await (await conn.execute("select count(*) from figure_changes")).fetchone() == (0,)


async def test_a_rolled_back_change_is_not_summed_and_adders_do_not_meet(pool: Pool) -> None:
    """A worker that dies with its transaction must leave the figures as they were, and no writer may wait for another."""
    move = {"payment": 60, "dispute": 0, "reason": None}
    async with pool.connection() as conn:
        await _do(conn, MADE)
        async with conn.transaction(force_rollback=True):
            await _do(conn, MOVE, ids=[1, 2, 3], **move)
        await _agree(conn)
    async with pool.connection() as first, pool.connection() as second, first.transaction():
        await _do(first, MOVE, ids=[1, 2, 3], **move)
        async with asyncio.timeout(120), transaction(pool) as adder:
            await _do(second, MOVE, ids=[4, 5, 6], **move)
            assert await figures.add_changes(adder) == 3
            async with transaction(pool) as other:
                assert await figures.add_changes(other) == 0
    async with pool.connection() as conn:
        await _agree(conn)


async def test_a_day_of_returns_stays_that_day_and_its_debits_stay_on_theirs(pool: Pool) -> None:
    """A return that comes late belongs to the day of its debit in cohorts, and to its own day in cash; a later reason moves neither."""
    async with pool.connection() as conn:
        await _do(conn, MADE)
        await _do(conn, MOVE, ids=[40], payment=60, dispute=0, reason=None)
        await _do(conn, MOVE, ids=[40], payment=0, dispute=1, reason=None, now=NOW + timedelta(days=30))
        await _do(conn, MOVE, ids=[40], payment=0, dispute=0, reason="AC04", now=NOW + timedelta(days=33))
        cohort = await figures.sums(conn, FigureFilters(), by="day", basis="cohort", limit=9)
        assert [(some.key, some.returned.count) for some in cohort] == [("2026-03-02", 1)]
        cash = await figures.sums(conn, FigureFilters(), by="day", basis="cash", limit=9)
        assert [(some.key, some.collected.count, some.returned.count) for some in cash] == [
            ("2026-03-02", 1, 0),
            ("2026-04-01", 0, 1),
        ]
        april = FigureFilters(from_on=date(2026, 4, 1), to_on=date(2026, 4, 1))
        (reason,) = await figures.sums(conn, april, by="reason_code", basis="cash", limit=9)
        assert (reason.key, reason.returned) == ("AC04", Total(1, 16_000))


async def test_filters_and_price_bands_are_those_of_the_core(pool: Pool) -> None:
    """A figure leads to its rows by these filters; a band that SQL cuts elsewhere would lead to other rows."""
    amounts = sorted({max(0, bound + step) for bound in PRICE_BANDS for step in (-1, 0, 1)})
    async with pool.connection() as conn:
        found = await (
            await conn.execute("select a, price_band(a) from unnest(%s::bigint[]) a", [amounts])
        ).fetchall()
        assert dict(found) == {amount: band(amount) for amount in amounts}
        await _do(conn, MADE)
        await _do(conn, MOVE, ids=list(range(1, 61)), payment=60, dispute=0, reason=None)
        rows = await _rows(conn)
        for filters, fits in (
            (FigureFilters(upload_id=1), lambda row: row["upload"] == "1"),
            (FigureFilters(run_id=3), lambda row: row["run_id"] == 3),
            (FigureFilters(country="FR"), lambda row: row["iban_masked"][:2] == "FR"),
            (FigureFilters(bank="COBADEF1"), lambda row: row["bank_bic"] == "COBADEF1"),
            (FigureFilters(account="second"), lambda row: row["account"] == "second"),
            (FigureFilters(currency="CHF"), lambda row: row["currency"] == "CHF"),
            (FigureFilters(price_band=5_000), lambda row: band(row["amount_minor"]) == 5_000),
            (FigureFilters(to_on=date(2026, 2, 9)), lambda row: row["created_on"] <= date(2026, 2, 9)),
        ):
            expected = [row for row in rows if fits(row)]
            sums = await figures.sums(conn, filters, by="total", basis="cohort", limit=9)
            assert sum(some.collected.count for some in sums) == len(expected) > 0, filters
