"""A connection and a pool to this test's own database, as the product opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_stores.postgres import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tether_stores.postgres import Connection, Pool


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool of up to four connections."""
    async with open_pool(database_url, name="tests", max_size=4, wait_s=20) as opened:
        yield opened
