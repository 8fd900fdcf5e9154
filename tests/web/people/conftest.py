"""Users of the console, on real Postgres."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.web.conftest import Serve

KEY = {"authorization": "Bearer test-key"}
OWN = {"sec-fetch-site": "same-origin"}
NOW = datetime.now(UTC)


@pytest.fixture
def people_environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a key for secrets and a gateway account."""
    return environment | {"TETHER_SECRETS_KEY": new_key(), "EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
async def browser(serving: Serve, people_environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A browser; nobody is signed in."""
    async with serving(people_environment) as client:
        client.headers.update(OWN)
        yield client


@pytest.fixture
def audited(database_url: str) -> Callable[[], list[tuple[Any, ...]]]:
    """Actor kind, actor and action of all rows of the audit, oldest first."""

    def read() -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url) as conn:
            return conn.execute("select actor_kind, actor, action from audit order by id").fetchall()

    return read


@pytest.fixture
def two_accounts(database_url: str) -> str:
    """An upload, a run, a debit, a refund, a void of the run and a notification of each of two accounts, ids 1 and 2."""
    list(seed(database_url, attempts=2, rng=random.Random(1), now=NOW))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("delete from billing_attempts; delete from debtors")
        conn.execute("alter table debtors alter id restart; alter table billing_attempts alter id restart")
    list(seed(database_url, attempts=2, rng=random.Random(2), now=NOW))
    with psycopg.connect(database_url) as conn:
        for number, account in ((1, "default"), (2, "second")):
            upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(number), 1000)], now=NOW)
            assert upload_id == number
            conn.execute("update debtors set upload_id = %s where id = %s", [number, number])
            conn.execute(
                "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at,"
                " updated_at) values (%(id)s, %(account)s, 'a', 'running', '{}', '{}', 'ops', %(now)s, %(now)s)",
                {"id": number, "account": account, "now": NOW},
            )
            conn.execute(
                "update billing_attempts set account = %s, run_id = %s, due_item = 'a', try_number = 1, submission_count = 1,"
                " submitted_at = %s where id = %s",
                [account, number, NOW, number],
            )
            conn.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
                " state, failures, received_at, handled_at, reason) values (%(key)s, '\\x01', %(account)s, 'payment', 'n', 'x',"
                " 'webhook', '', '', 'parked', 4, %(now)s, %(now)s, 'no such payment')",
                {"key": bytes([number]), "account": account, "now": NOW},
            )
    return database_url
