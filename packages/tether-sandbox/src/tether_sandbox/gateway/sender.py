"""
Deliver a plan as the gateway does: each notification is repeated until it is acknowledged.

A genuine notification is posted up to ten times, until the response is 200 with an XML echo of its id (or, for a JSON body,
`{"status": "ok"}`). A delivery with an invalid signature is finished by any response that refuses it; only 5xx, 429 or no
response is retried. A delivery with `after` starts when that other one is finished; all others run concurrently.

Source: the gateway's documentation v60.1, Notifications: ten notifications, spaced by 15 minutes.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate

import httpx
import msgspec

from tether_sandbox.gateway.fault_injection import Delivery, FaultPlan
from tether_sandbox.gateway.wire import JSON

__all__ = ["Delivered", "clients", "deliver", "echoed_id"]

ATTEMPTS_MAX: Final = 10
REFUSALS: Final = frozenset({400, 401, 403})
_EXCERPT_MAX: Final = 20


class Delivered(msgspec.Struct):
    """
    The results of the deliveries; updated while `deliver` runs.

    The echo does not say whether a notification was new or repeated, so `acknowledged` counts both.

    Attributes:
        planned: Deliveries of the plan.
        acknowledged: Deliveries with a valid echo.
        refused: Deliveries with an invalid signature that were refused.
        wrongly_accepted: Deliveries with an invalid signature that were acknowledged. Must be 0.
        failed: Genuine deliveries without a valid echo after all tries, and invalid ones that were not refused.
        posts: Requests, including repeats.
        wrong_echo: 200 responses without a valid echo.
        transport_errors: Requests without a response.
        statuses: HTTP status to number of responses.
        latencies_s: Seconds of each request with a response, in order.
        failures: The failed deliveries, at most 20, without their content.
        elapsed_s: From the first request to the last response.
    """

    planned: int = 0
    acknowledged: int = 0
    refused: int = 0
    wrongly_accepted: int = 0
    failed: int = 0
    posts: int = 0
    wrong_echo: int = 0
    transport_errors: int = 0
    statuses: dict[int, int] = msgspec.field(default_factory=dict)
    latencies_s: list[float] = msgspec.field(default_factory=list)
    failures: list[str] = msgspec.field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def resolved(self) -> int:
        """Number of finished deliveries, successful or not."""
        return self.acknowledged + self.refused + self.wrongly_accepted + self.failed

    @property
    def ok(self) -> bool:
        """Whether every genuine delivery was acknowledged and every other refused."""
        return self.acknowledged + self.refused == self.planned

    def latency_s(self, quantile: float) -> float:
        """
        A quantile of the latencies, in seconds; 0.0 before the first response.

        Args:
            quantile: From 0 to 1, e.g. 0.95.
        """
        if not self.latencies_s:
            return 0.0
        ordered = sorted(self.latencies_s)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]


async def deliver(
    plan: FaultPlan,
    *,
    url: str,
    concurrency: int = 32,
    attempts_max: int = ATTEMPTS_MAX,
    retry_interval_s: float = 0.2,
    timeout_s: float = 10.0,
    progress: Callable[[Delivered], None] | None = None,
) -> Delivered:
    """
    Deliver every notification of a plan, and repeat each until it is acknowledged or refused.

    Args:
        url: The webhook's address.
        concurrency: Requests at the same time.
        attempts_max: Requests per delivery; the gateway sends 10.
        retry_interval_s: Wait between the requests of a delivery; the gateway waits 900.
        timeout_s: Of a request.
        progress: Called with the counts after each finished delivery.
    """
    width = min(concurrency, len(plan.deliveries))
    sender = _Sender(plan, url=url, attempts_max=attempts_max, retry_interval_s=retry_interval_s)
    queue = enumerate(plan.deliveries)
    async with clients(width, timeout_s=timeout_s) as own, asyncio.TaskGroup() as group:
        for client in own:
            group.create_task(sender.work(queue, client=client, progress=progress))
    return sender.counts


@contextlib.asynccontextmanager
async def clients(number: int, *, timeout_s: float) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Open clients of one connection each; a shared pool of dozens of connections costs more than the requests."""
    tls = httpx.create_ssl_context()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(limits=limits, timeout=timeout_s, verify=tls, trust_env=False)
            )
            for _ in range(number)
        ]


class _Sender:
    """The state shared by the workers: counts, and which delivery waits for which."""

    def __init__(self, plan: FaultPlan, *, url: str, attempts_max: int, retry_interval_s: float) -> None:
        self.url = url
        self.attempts_max = attempts_max
        self.retry_interval_s = retry_interval_s
        self.counts = Delivered(planned=len(plan.deliveries))
        # Only deliveries that others wait for need an event.
        self.resolved = {d.after: asyncio.Event() for d in plan.deliveries if d.after is not None}
        self.started = time.perf_counter()

    async def work(
        self,
        queue: Iterator[tuple[int, Delivery]],
        *,
        client: httpx.AsyncClient,
        progress: Callable[[Delivered], None] | None,
    ) -> None:
        """Deliver in the plan's order until none is left."""
        for index, delivery in queue:
            if delivery.after is not None:
                # No deadlock: the other delivery is earlier in the plan, so it has started.
                await self.resolved[delivery.after].wait()
            await self._resolve(delivery, client=client)
            self.counts.elapsed_s = time.perf_counter() - self.started
            if index in self.resolved:
                self.resolved[index].set()
            if progress is not None:
                progress(self.counts)

    async def _resolve(self, delivery: Delivery, *, client: httpx.AsyncClient) -> None:
        counts = self.counts
        status = 0
        for attempt in range(self.attempts_max):
            if attempt:
                await asyncio.sleep(self.retry_interval_s)
            status, body = await self._post(delivery, client=client)
            if status == 200 and _is_echo(body, delivery=delivery):
                if delivery.wants_echo:
                    counts.acknowledged += 1
                else:
                    counts.wrongly_accepted += 1
                return
            counts.wrong_echo += status == 200
            if status in REFUSALS and not delivery.wants_echo:
                counts.refused += 1
                return
        counts.failed += 1
        if len(counts.failures) < _EXCERPT_MAX:
            counts.failures.append(
                f"{delivery.kind} {delivery.unique_id} {delivery.about}: last response {status or 'none'}"
            )

    async def _post(self, delivery: Delivery, *, client: httpx.AsyncClient) -> tuple[int, bytes]:
        """Post a delivery; returns status and body, status 0 without a response."""
        counts = self.counts
        counts.posts += 1
        begun = time.perf_counter()
        try:
            answer = await client.post(
                self.url, content=delivery.body, headers={"content-type": delivery.content_type}
            )
        except httpx.HTTPError:
            counts.transport_errors += 1
            return 0, b""
        counts.latencies_s.append(time.perf_counter() - begun)
        counts.statuses[answer.status_code] = counts.statuses.get(answer.status_code, 0) + 1
        return answer.status_code, answer.content


def echoed_id(
    body: bytes, *, children: Sequence[str] = ("unique_id", "wpf_unique_id", "reference_id")
) -> str | None:
    """
    The id in an echo, or `None` if the body is not an echo.

    Args:
        body: The response to a notification.
        children: Element names that may contain the id.

    Returns:
        The text of the only child of `notification_echo`, without blanks around it.

    >>> echoed_id(b"<notification_echo><unique_id> 44177a21 </unique_id></notification_echo>")
    '44177a21'
    >>> echoed_id(b'{"status":"ok"}') is None
    True
    """
    path = list[str]()
    texts = dict[tuple[str, ...], str]()

    def opened(name: str, _attributes: dict[str, str]) -> None:
        path.append(name)
        texts.setdefault(tuple(path), "")

    def closed(_name: str) -> None:
        path.pop()

    def text(data: str) -> None:
        texts[tuple(path)] += data

    parser = ParserCreate()
    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.CharacterDataHandler = text
    try:
        parser.Parse(body, True)
    except (ExpatError, ValueError):
        return None
    found = [value for place, value in texts.items() if len(place) == 2]
    if len(found) != 1 or not any(("notification_echo", child) in texts for child in children):
        return None
    return found[0].strip()


def _is_echo(body: bytes, *, delivery: Delivery) -> bool:
    if delivery.content_type == JSON:
        try:
            answer = json.loads(body)
        except ValueError:
            return False
        return isinstance(answer, dict) and answer.get("status") == "ok"
    return echoed_id(body) == delivery.unique_id
