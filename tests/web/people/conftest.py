"""Users of the console, on real Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_stores.accounts.gateway_accounts import new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.web.conftest import Serve

KEY = {"authorization": "Bearer test-key"}
OWN = {"sec-fetch-site": "same-origin"}


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
