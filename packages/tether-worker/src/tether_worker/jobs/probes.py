"""`/health` and `/metrics` of a worker or supervisor, on a port of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from tether_core.errors import InvalidRequest
from tether_stores.command_line import cannot_listen
from tether_stores.telemetry import logger

from tether_worker.jobs.metrics import CONTENT_TYPE_LATEST

__all__ = ["probes"]

_log = logger("probes")


@asynccontextmanager
async def probes(
    address: str,
    *,
    health: Callable[[], tuple[bool, Mapping[str, Any]]],
    metrics: Callable[[], Awaitable[bytes]],
) -> AsyncIterator[None]:
    """
    Serve `/health` and `/metrics` for the length of a block.

    Args:
        address: "host:port"; "" serves nothing.
        health: Whether the process does its work, and facts for people; 503 where it does not.
        metrics: The metrics in Prometheus' text format.

    Raises:
        InvalidRequest: when nobody can listen there.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    if why := cannot_listen(host, int(port)):
        raise InvalidRequest(
            f"cannot be used: {why.partition(';')[0]}; choose another address", field="TETHER_WORKER_LISTEN"
        )

    async def on_health(_: web.Request) -> web.Response:
        is_well, facts = health()
        body = msgspec.json.encode({"status": "alive" if is_well else "not_working", **facts})
        return web.Response(body=body, status=200 if is_well else 503, content_type="application/json")

    async def on_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/health", on_health), web.get("/metrics", on_metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, int(port)).start()
        _log.info("probes served", listening_on=address)
        yield
    finally:
        await runner.cleanup()
