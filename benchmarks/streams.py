"""
`python -m benchmarks streams`: when do open consoles see a change, on two nodes with a thousand open event streams?

Two web nodes share the streams; each of their processes takes 200 at most, so a stream that meets a full one tries again. A person
adds mandates through the first node, one each second; measured is the time from the request to the arrival of its event on every stream of both
nodes. Meanwhile a list of the API is read on both nodes, ten times a second in all.
"""

import argparse
import asyncio
import contextlib
import random
import resource
import time
from collections import defaultdict
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import msgspec
from tether_sandbox.seed import made_up_iban
from tether_sandbox.settings import API_KEY
from tether_sandbox.uploads import Owed, seed_upload

from benchmarks.driver import quantile
from benchmarks.environment import environment, rss_bytes
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_SEEN_MAX_S = 2.0
_API_P95_MAX_S = 0.5
_PATIENCE_S = 120.0
_READS_PER_S = 10.0


class _Seen(msgspec.Struct):
    """
    What was measured.

    Attributes:
        expected: Events on all streams.
        complete: Set once these have arrived.
        began_at: When a change was requested, by debtor.
        arrivals: When its event came, once a stream, by node and debtor.
        reads_s: How long reading a list took.
        arrived: Events so far.
        refused: Streams that were answered 503, and tried again.
        lost: Streams that ended before the measurement did.
    """

    expected: int
    complete: asyncio.Event
    began_at: dict[int, float] = msgspec.field(default_factory=dict)
    arrivals: dict[int, dict[int, list[float]]] = msgspec.field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    reads_s: list[float] = msgspec.field(default_factory=list)
    arrived: int = 0
    refused: int = 0
    lost: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--streams", type=int, default=1_000, help="open streams in all (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=3, help="web processes of each node (default: %(default)s)"
    )
    parser.add_argument("--changes", type=int, default=30, help="changes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the debtors (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every stream saw every change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * args.streams + 1_000)), hard))
    with environment() as it:
        it.environ["EMP_API_URL"] = "https://gateway.invalid"
        rng = random.Random(args.seed)
        owed = [Owed(made_up_iban(rng), 1_000) for _ in range(args.changes)]
        _, debtors = seed_upload(it.environ["DATABASE_URL"], owed, now=datetime.now(UTC))
        nodes, urls = [], []
        for _ in range(2):
            nodes.append(it.start_web(workers=args.processes))
            urls.append(it.url)
        before = [rss_bytes(node.pid) for node in nodes]
        try:
            seen = asyncio.run(_measured(urls, debtors=debtors, streams=args.streams))
            grown = [rss_bytes(node.pid) - was for node, was in zip(nodes, before, strict=True)]
        finally:
            for node in nodes:
                node.kill()
    return _report(args, seen, grown)


async def _measured(urls: list[str], *, debtors: list[int], streams: int) -> _Seen:
    seen = _Seen(expected=streams * len(debtors), complete=asyncio.Event())
    opened = [asyncio.Event() for _ in range(streams)]
    following = [
        asyncio.create_task(_follow(urls[number % 2], number % 2, seen, opened[number]))
        for number in range(streams)
    ]
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in opened)), _PATIENCE_S)
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=_PATIENCE_S, trust_env=False) as api:
        reading = asyncio.create_task(_read(api, urls, seen))
        for debtor_id in debtors:
            body = {"debtor_id": debtor_id, "reference": f"M-{debtor_id}", "signed_on": "2026-03-02"}
            seen.began_at[debtor_id] = time.monotonic()
            (await api.post(f"{urls[0]}/api/mandates", json=body)).raise_for_status()
            await asyncio.sleep(1.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen.complete.wait(), _PATIENCE_S)
        reading.cancel()
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    return seen


async def _follow(url: str, node: int, seen: _Seen, opened: asyncio.Event) -> None:
    """Follow the events of a node until cancelled; as the console does, try again where it is too busy to begin."""
    while not await _followed(url, node, seen, opened):
        seen.refused += 1
        await asyncio.sleep(random.uniform(3, 7))


async def _followed(url: str, node: int, seen: _Seen, opened: asyncio.Event) -> bool:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    path = "/api/events?type=mandate.status_changed"
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
    writer.write(request.encode())
    try:
        status = await reader.readline()
        if b" 503 " in status:
            return False
        if b" 200 " not in status:
            raise RuntimeError(f"a stream was answered {status.decode().strip()}")
        opened.set()
        while line := await reader.readline():
            if line.startswith(b"data: "):
                at = time.monotonic()
                debtor_id = msgspec.json.decode(line[6:])["fact"]["debtor_id"]
                seen.arrivals[node][debtor_id].append(at)
                seen.arrived += 1
                if seen.arrived == seen.expected:
                    seen.complete.set()
        seen.lost += 1
    finally:
        writer.close()
    return True


async def _read(api: httpx.AsyncClient, urls: list[str], seen: _Seen) -> None:
    """Read a list on both nodes in turn, at a fixed rate."""
    due_at, number = time.monotonic(), 0
    while True:
        await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        (await api.get(f"{urls[number % 2]}/api/billing-attempts")).raise_for_status()
        seen.reads_s.append(time.monotonic() - due_at)
        due_at, number = due_at + 1 / _READS_PER_S, number + 1


def _report(args: argparse.Namespace, seen: _Seen, grown: list[int]) -> int:
    rows, worst = list[tuple[object, ...]](), 0.0
    for node, name in enumerate(("the node of the change", "the other node")):
        delays = sorted(
            at - seen.began_at[debtor_id] for debtor_id, times in seen.arrivals[node].items() for at in times
        )
        worst = max(worst, quantile(delays, 1.0))
        figures = (round(1_000 * quantile(delays, share)) for share in (0.5, 0.95, 0.99, 1.0))
        rows.append((name, len(delays), *figures, round(grown[node] / 2**20)))
    reads = sorted(seen.reads_s)
    expected, arrived = seen.expected, seen.arrived
    lines = heading(f"Streams: {args.streams:,} open consoles on two nodes", seed=args.seed)
    lines += table(
        ("streams of", "events", "p50, ms", "p95, ms", "p99, ms", "max, ms", "memory grown, MiB"), rows
    )
    lines += prose(
        f"{args.processes} processes a node. {args.changes} changes, {arrived:,} of {expected:,} events arrived; {seen.lost} streams ended early; {seen.refused} were refused with 503 at first.",
        f"{len(reads):,} reads of a list: p50 {1_000 * quantile(reads, 0.5):.0f} ms, p95 {1_000 * quantile(reads, 0.95):.0f} ms.",
    )
    lines += aims(
        [
            Aim("every stream sees every change; missing events", expected - arrived, arrived == expected),
            Aim(f"a change is seen within {_SEEN_MAX_S:g} s on both nodes", worst, worst <= _SEEN_MAX_S),
            Aim(
                "reading a list meanwhile, p95 at most 0.5 s",
                quantile(reads, 0.95),
                quantile(reads, 0.95) <= _API_P95_MAX_S,
            ),
        ]
    )
    write("streams", lines)
    return 0 if arrived == expected else 1
