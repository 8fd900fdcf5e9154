"""The console's page of queues and workers, and its forms that pause and resume a queue."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call
from tether_web.console.pages import Asked, rendered

__all__ = ["HANDLERS"]

Name = Annotated[str, PathParameter(description="The name of a queue.")]


@get("/queues", include_in_schema=False)
async def shown(request: Asked) -> Template:
    """What waits on each queue, who serves it, and which processes live."""
    return await _page(request)


@post("/queues/{name:str}/pause", include_in_schema=False)
async def pause(request: Asked, name: Name) -> Template | Redirect:
    """Pause a queue."""
    try:
        body = {"reason": forms.why(await forms.given(request))}
    except Failed as exc:
        return await _page(request, failed=exc)
    return await _done(request, f"/api/queues/{name}/pause", body)


@post("/queues/{name:str}/resume", include_in_schema=False)
async def resume(request: Asked, name: Name) -> Template | Redirect:
    """Resume a queue."""
    return await _done(request, f"/api/queues/{name}/resume", None)


async def _done(request: Asked, path: str, body: Mapping[str, str] | None) -> Template | Redirect:
    try:
        await call(request, "POST", path, body=body)
    except Failed as exc:
        return await _page(request, failed=exc)
    word = "queue_paused" if body is not None else "queue_resumed"
    return Redirect(f"/queues?done={word}", status_code=HTTP_303_SEE_OTHER)


async def _page(request: Asked, *, failed: Failed | None = None) -> Template:
    try:
        queues, processes = await asyncio.gather(
            call(request, "GET", "/api/queues"), call(request, "GET", "/api/workers")
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


HANDLERS: Final = [shown, pause, resume]
