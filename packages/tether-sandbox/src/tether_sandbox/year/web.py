"""The web of a played year: the application of `tether-web` behind Granian, in this process, on the clock of the year."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from tether_stores.settings import Settings
from tether_web.app import application, served

from tether_sandbox.services.server import DidNotStart
from tether_sandbox.services.waiting import eventually
from tether_sandbox.year.clock import YearClock

__all__ = ["serving"]

_START_S: Final = 120.0


@asynccontextmanager
async def serving(settings: Settings, *, port: int, clock: YearClock) -> AsyncIterator[httpx.AsyncClient]:
    """
    Serve for the length of a block.

    Args:
        port: On 127.0.0.1.

    Yields:
        A client with the API key of the sandbox.

    Raises:
        DidNotStart: when it does not begin to serve.
    """
    logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns that embedding is new
    server = Server(
        served(application(settings, clock=clock)),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    running = asyncio.create_task(server.serve())
    url = f"http://127.0.0.1:{port}"
    (key,) = settings.api_keys.values()
    try:
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        ) as client:

            async def answers() -> bool:
                if running.done():
                    raise DidNotStart("the web of the played year", why=str(running.exception()))
                return (await client.get("/ready")).is_success

            await eventually(
                answers, what="the web to be ready", timeout_s=_START_S, despite=(httpx.HTTPError,)
            )
            yield client
    finally:
        server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(asyncio.CancelledError):
            await running
