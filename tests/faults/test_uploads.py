"""A file whose record may or may not have been committed is still there when somebody asks for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from tether_stores import postgres
from tether_stores.postgres import ConnectionLost
from tether_stores.settings import Settings
from tether_web.app import application, served
from tether_web.uploads import uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from tether_stores.postgres import Connection, Pool

KEY = {"authorization": "Bearer test-key"}
SHEET = b"Name;IBAN;Betrag\nAda Ahorn;DE89370400440532013000;10,50\n"


async def test_a_commit_without_a_reply_leaves_the_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Postgres dies between the commit and its reply; the sender gets 503 and uploads the file again.

    It is stored then, so the second try is answered with the first one's upload. Were its object gone by then,
    the file would be answered for and lost.
    """

    @asynccontextmanager
    async def dying(pool: Pool) -> AsyncIterator[Connection]:
        async with postgres.transaction(pool) as conn:
            yield conn
        raise ConnectionLost("postgres", why="no reply to the commit")

    app: Any = application(Settings.from_env(environment))
    edge: Any = served(app)
    transport = httpx.ASGITransport(edge)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://tether") as client:
        with monkeypatch.context() as patch:
            patch.setattr(uploads, "transaction", dying)
            first = await client.post("/api/uploads", headers=KEY, files={"file": ("list.csv", SHEET)})
        assert first.status_code == 503
        again = await client.post("/api/uploads", headers=KEY, files={"file": ("list.csv", SHEET)})
        assert again.status_code == 200
        kept = await client.get(again.json()["links"]["file"], headers=KEY)
        assert (kept.status_code, kept.content) == (200, SHEET)
