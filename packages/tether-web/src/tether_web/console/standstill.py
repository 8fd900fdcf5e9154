"""What stands still although it has work: paused or unserved queues, paused accounts, open breakers, disabled subscribers."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litestar import Request
from litestar.status_codes import HTTP_403_FORBIDDEN

from tether_web.console.api import Failed, call

__all__ = ["found"]


async def found(request: Request[Any, Any, Any]) -> list[dict[str, str]]:
    """
    What stands still, for the overview: what it is, why, and the page where a person lets it go on.

    What could not be read is named as such, because it is not the same as nothing; what the person may not see is left out.
    """
    queues, accounts, subscribers = await asyncio.gather(
        *(_rows(request, f"/api/{name}") for name in ("queues", "gateway-accounts", "subscribers"))
    )
    return [
        *_read(queues, "Queues", "/queues", _queues),
        *_read(accounts, "Gateway accounts", "/gateway-accounts", _accounts),
        *_read(subscribers, "Subscribers", "/subscribers", _subscribers),
    ]


async def _rows(request: Request[Any, Any, Any], path: str) -> Any:
    try:
        return await call(request, "GET", path)
    except Failed as exc:
        return [] if exc.status == HTTP_403_FORBIDDEN else None


def _read(
    rows: Sequence[Mapping[str, Any]] | None, title: str, page: str, judge: Any
) -> Iterator[dict[str, str]]:
    if rows is None:
        yield {"title": title, "text": "could not be read; reload the page", "page": page}
        return
    for row in rows:
        text = judge(row)
        if text:
            yield {"title": row["name"], "text": text, "page": page}


def _queues(queue: Mapping[str, Any]) -> str:
    if queue["paused"]:
        return f"queue, paused by {queue['paused']['paused_by']}: {queue['paused']['reason']}"
    if queue["rows"] and not queue["workers"]:
        return f"queue, {queue['rows']:,} rows wait and no worker serves it"
    return ""


def _accounts(account: Mapping[str, Any]) -> str:
    if account["paused"]:
        return f"gateway account, paused by {account['paused']['paused_by']}: {account['paused']['reason']}"
    if account["status"]["breaker"] in {"open", "half_open"}:
        return "gateway account, the gateway fails: its circuit breaker is open"
    return ""


def _subscribers(subscriber: Mapping[str, Any]) -> str:
    return "subscriber, disabled: its endpoint failed" if subscriber["state"] == "disabled" else ""
