"""What tests of the worker share: this test's own database, and attempts in it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban
from tether_core.payments.attempt import state_of
from tether_sandbox.gateway import scripted_iban
from tether_stores.postgres import open_pool

from tests.support.roles import as_role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tether_stores.postgres import Connection, Pool
    from tether_stores.privileges import Program


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def pool(database_url: str, program_roles: dict[Program, str]) -> AsyncIterator[Pool]:
    """A pool of up to four connections, as the worker opens them: its role may do no more than its queries need."""
    url = as_role(database_url, program_roles["worker"])
    async with open_pool(url, name="tests", max_size=4, wait_s=20) as opened:
        yield opened


@pytest.fixture
def attempt(conn: Connection) -> Callable[..., Awaitable[int]]:
    """Make a debtor and an attempt; gives the attempt's id."""
    accounts = count()

    async def make(
        transaction_id: str,
        *,
        unique_id: str | None = None,
        payment_stage: int = 20,
        dispute_stage: int = 0,
        at: datetime | None = None,
        **columns: Any,
    ) -> int:
        account = scripted_iban(next(accounts) % 100)
        fingerprint = iban.fingerprint(account)
        at = at or datetime.now(UTC)
        cursor = await conn.execute(
            "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)"
            " values (%s, %s, 'Zoë Miller', 1000, 'EUR', %s) returning id",
            (account, fingerprint, at),
        )
        row = await cursor.fetchone()
        assert row is not None
        values = {
            "account": "default",
            "debtor_id": row[0],
            "transaction_id": transaction_id,
            "unique_id": unique_id,
            "amount_minor": 1000,
            "currency": "EUR",
            "state": state_of(payment_stage, dispute_stage),
            "payment_stage": payment_stage,
            "dispute_stage": dispute_stage,
            "iban_fingerprint": fingerprint,
            "iban_masked": iban.mask(account),
            "created_at": at,
            "updated_at": at,
            **columns,
        }
        names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values))
        places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(values))
        query = psycopg.sql.SQL("insert into billing_attempts ({}) values ({}) returning id")
        cursor = await conn.execute(query.format(names, places), list(values.values()))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    return make
