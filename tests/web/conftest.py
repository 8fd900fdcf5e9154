"""The web application inside this process, on real Postgres and Redis."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from tether_stores.settings import Settings
from tether_web.app import application, served

from tests.support.roles import as_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tether_stores.privileges import Program


class Serve(Protocol):
    """Serves the application inside this process; what the fixture `serving` is."""

    def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """Serve with the settings *environ* for the length of an `async with` block."""
        ...


@pytest.fixture
def serving(database_url: str, program_roles: dict[Program, str]) -> Serve:
    """
    Serve the application with settings of the test's own; gives a client of it.

    It connects as the role of the web, which may do no more than its queries need.
    """

    def serve(environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return _serving(as_program(environ, "tether-web", roles=program_roles, database_url=database_url))

    return serve


@pytest.fixture
async def client(environment: dict[str, str], serving: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application as the settings of `environment` make it."""
    async with serving(environment) as client:
        yield client


@asynccontextmanager
async def _serving(environ: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = served(application(Settings.from_env(environ)))
    transport = httpx.ASGITransport(app)
    async with _living(app), httpx.AsyncClient(transport=transport, base_url="http://tether") as client:
        yield client


@asynccontextmanager
async def _living(app: Any) -> AsyncIterator[None]:
    """Start and end the application as a server does: in a task of its own, by ASGI's lifespan messages."""
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life: asyncio.Task[None] = asyncio.create_task(app(scope, to_app.get, from_app.put))

    async def step(name: str) -> None:
        await to_app.put({"type": f"lifespan.{name}"})
        said = await from_app.get()
        assert said["type"] == f"lifespan.{name}.complete", said

    try:
        await step("startup")
        try:
            yield
        finally:  # after a failure, too: otherwise the application waits for it without end
            await step("shutdown")
    finally:
        await life
