"""The console's page of queues, workers and stores, and its forms: pause and resume a queue, and the orders for an emergency."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call, part
from tether_web.console.pages import ConsoleRequest, rendered

__all__ = ["HANDLERS"]

Name = Annotated[str, PathParameter(description="The name of a queue.")]


@get("/queues", include_in_schema=False)
async def queues_and_workers(request: ConsoleRequest) -> Template:
    """What waits on each queue, who serves it, and which processes live."""
    return await _page(request)


@post("/queues/{name:str}/pause", include_in_schema=False)
async def pause(request: ConsoleRequest, name: Name) -> Template | Redirect:
    """Pause a queue."""
    try:
        body = {"reason": forms.reason(await forms.fields(request))}
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _done(request, f"/api/queues/{name}/pause", body)


@post("/queues/{name:str}/resume", include_in_schema=False)
async def resume(request: ConsoleRequest, name: Name) -> Template | Redirect:
    """Resume a queue."""
    return await _done(request, f"/api/queues/{name}/resume", None)


@post("/queues/retry", include_in_schema=False)
async def retry(request: ConsoleRequest) -> Template | Redirect:
    """Try again now what waits on a queue for its next try."""
    return await _emergency(request, "retry", done="queue_retried")


@post("/queues/clear", include_in_schema=False)
async def clear(request: ConsoleRequest) -> Template | Redirect:
    """Remove the wake-ups of a queue."""
    return await _emergency(request, "clear", done="queue_cleared")


@post("/workers/restart", include_in_schema=False)
async def restart(request: ConsoleRequest) -> Template | Redirect:
    """Restart all workers."""
    try:
        body = {"reason": forms.reason(await forms.fields(request))}
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _done(request, "/api/workers/restart", body, done="workers_restarted")


async def _emergency(request: ConsoleRequest, step: str, *, done: str) -> Template | Redirect:
    form = await forms.fields(request)
    try:
        body = {"reason": forms.reason(form)}
    except Failed as exc:
        return await _page(request, failed=exc)
    name = quote(form.get("queue", "") or "none", safe="")
    return await _done(request, f"/api/queues/{name}/{step}", body, done=done)


async def _done(
    request: ConsoleRequest, path: str, body: Mapping[str, str] | None, *, done: str = ""
) -> Template | Redirect:
    try:
        await call(request, "POST", path, body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    word = done or ("queue_paused" if body is not None else "queue_resumed")
    return Redirect(f"/queues?done={word}", status_code=HTTP_303_SEE_OTHER)


async def _page(request: ConsoleRequest, *, failed: Failed | None = None) -> Template:
    try:
        queues, processes, stores = await asyncio.gather(
            call(request, "GET", "/api/queues"),
            call(request, "GET", "/api/workers"),
            part(request, "/api/store-status"),
        )
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="Not shown", problem={"detail": exc.detail}
        )
    return rendered(
        request,
        "queues",
        status=failed.status if failed else 200,
        title="Queues and workers",
        problem=failed and {"detail": failed.detail, "errors": failed.errors},
        queues=[_queue(queue) for queue in queues],
        names=[queue["name"] for queue in queues],
        stores=_stores(stores or {"postgres": None, "redis": None}),
        pools=[
            _pool(name, pool, supervisor)
            for supervisor in processes["supervisors"]
            for name, pool in supervisor["pools"].items()
        ],
        workers=[_worker(worker) for worker in processes["workers"]],
    )


def _queue(queue: Mapping[str, Any]) -> dict[str, Any]:
    is_idle = not queue["workers"] and bool(queue["rows"])
    return {
        **queue,
        "rows": f"{queue['rows']:,}",
        "oldest": f"{queue['oldest_s']:,.0f} s" if queue["rows"] != 0 else "",
        "handled": f"{queue['handled_per_s']:,.1f}",
        "state": "paused" if queue["paused"] else "nobody serves it" if is_idle else "",
    }


def _stores(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """How much of Postgres and Redis is in use, as label and value."""
    postgres, redis = found["postgres"], found["redis"]
    lines = [("Postgres", "does not answer"), ("Redis", "does not answer")]
    if postgres is not None:
        used = f"{postgres['connections']:,} of {postgres['connections_max']:,} connections"
        lines[0] = (
            "Postgres",
            f"{used}, {formats.size(postgres['database_bytes'])}, the oldest transaction {postgres['oldest_transaction_s']:,.0f} s",
        )
    if redis is not None:
        limit = redis["memory_max_bytes"]
        of = f" of {formats.size(limit)}" if limit else ", without a limit"
        wake_ups = sum(redis["wake_ups"].values())
        lines[1] = (
            "Redis",
            f"{formats.size(redis['memory_bytes'])}{of}, {redis['connections']:,} connections, {wake_ups:,} wake-ups, {redis['eviction']}",
        )
    return [{"title": title, "text": text} for title, text in lines]


def _pool(name: str, pool: Mapping[str, Any], supervisor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **pool,
        "name": name,
        "host": supervisor["host"],
        "queues": ", ".join(pool["queues"]),
        "cause": pool["cause"].replace("_", " "),
    }


def _worker(worker: Mapping[str, Any]) -> dict[str, Any]:
    handled = sum(activity["rows"] for activity in worker["activity"].values())
    return {
        **worker,
        "queues": ", ".join(worker["queues"]),
        "memory": formats.size(worker["memory_bytes"]),
        "handled": f"{handled / 60:,.1f}",
    }


HANDLERS: Final = [queues_and_workers, pause, resume, retry, clear, restart]
