"""What is at work, and what stands still although it has work: queues, workers, gateway accounts, subscribers."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request
from litestar.status_codes import HTTP_403_FORBIDDEN

from tether_web.console.api import Failed, call

__all__ = ["AtWork", "found"]


class AtWork(msgspec.Struct, frozen=True):
    """
    What the overview says of the work.

    Attributes:
        stopped: What stands still: what it is, why, and the page where a person lets it go on.
        cards: Queues, workers and the gateway, each with its page; none for what the person may not see.
    """

    stopped: list[dict[str, str]]
    cards: list[dict[str, str]]


async def found(request: Request[Any, Any, Any]) -> AtWork:
    """What is at work and what stands still. What could not be read is named as such, because it is not the same as nothing."""
    queues, accounts, subscribers, processes = await asyncio.gather(
        *(_rows(request, f"/api/{name}") for name in ("queues", "gateway-accounts", "subscribers", "workers"))
    )
    stopped = [
        *_read(queues, "Queues", "/queues", _queues),
        *_read(accounts, "Gateway accounts", "/gateway-accounts", _accounts),
        *_read(subscribers, "Subscribers", "/subscribers", _subscribers),
    ]
    cards = [
        *_card("/queues", queues, _waiting),
        *_card("/queues", processes, _alive),
        *_card("/gateway-accounts", accounts, _gateway),
    ]
    return AtWork(stopped, cards)


def _card(page: str, read: Any, say: Any) -> Iterator[dict[str, str]]:
    if read is None:
        yield {"page": page, "tone": "bad", "strong": "?", "text": "could not be read; reload the page"}
    elif read:
        tone, strong, text = say(read)
        yield {"page": page, "tone": tone, "strong": strong, "text": text}


def _waiting(queues: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    rows = sum(queue["rows"] for queue in queues)
    oldest = max(queues, key=lambda queue: float(queue["oldest_s"]))
    if not rows:
        return "good", "0", "rows wait on the queues"
    return (
        "plain",
        f"{rows:,}",
        f"rows wait on the queues, the oldest for {oldest['oldest_s']:,.0f} s on {oldest['name']}",
    )


def _alive(processes: Mapping[str, Any]) -> tuple[str, str, str]:
    workers, supervisors = len(processes["workers"]), len(processes["supervisors"])
    text = "workers live" if workers != 1 else "worker lives"
    kept = (
        f", kept by {supervisors:,} {'supervisors' if supervisors != 1 else 'supervisor'}"
        if supervisors
        else ""
    )
    return "good" if workers else "bad", f"{workers:,}", text + kept


def _gateway(accounts: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    used = [account for account in accounts if not account["former_of"]]
    off = [account["name"] for account in used if account["status"]["breaker"] not in {"closed", "unknown"}]
    unknown = any(account["status"]["breaker"] == "unknown" for account in used)
    open_calls = sum(account["open_calls"] for account in used)
    left = f", {open_calls:,} submissions without a result" if open_calls else ""
    if off:
        return "bad", "Gateway fails", f"the circuit breaker of {', '.join(off)} is open{left}"
    if unknown:
        return "waiting", "Gateway", f"Redis does not answer, so the circuit breakers are not known{left}"
    return "good", "Gateway", f"all circuit breakers are closed{left}"


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
