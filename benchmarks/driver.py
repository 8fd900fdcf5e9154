"""
`python -m benchmarks.driver URL BODIES`: send notifications over raw sockets and measure the latency.

Two ways of sending:

- *open loop* (`--rate`): request k is due at start + k / rate, independent of earlier ones, and its time counts **from the time it was due**.
  A server that stalls for a second therefore shows a second's worth of slow answers; a
  driver that waits for each answer before it sends the next would show one (coordinated omission);
- *closed loop* (`--connections`): each connection sends the next request when its answer has come. Only for where wrk
  is not installed.

It does what HTTP/1.1 with keep-alive and Content-Length needs and no more, and prints one line of JSON. The figure `late_ms`
is its own fault: how long after its time a request was written although a connection was free.
"""

import argparse
import asyncio
import gc
import itertools
import selectors
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

__all__ = ["Sent", "Window", "quantile"]

# Open-loop connections: this many from the start, so that connecting is not timed, and this many at most.
_LINES_MIN = 16
_LINES_MAX = 256
# A request without a response by then is counted as a failure.
_PATIENCE_S = 10.0


class Window(msgspec.Struct, frozen=True):
    """Answers to the requests that were due in one stretch of time, `at_s` seconds after the start."""

    at_s: float
    answers: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Sent(msgspec.Struct, frozen=True):
    """
    What came of a run; the line of JSON.

    Attributes:
        requests: Sent, or due and never sent.
        answers: Answered with 200.
        statuses: Other answers by status.
        broken: Requests without an answer.
        lasted_s: From the first request to the last answer.
        p50_ms: Half the answers were quicker; and so on.
        late_ms: 99th percentile of the driver's own delay.
        repeated_file: Whether the bodies came to their end and were begun again.
        windows: The same over time.
    """

    requests: int
    answers: int
    statuses: dict[str, int]
    broken: int
    lasted_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_ms: float
    repeated_file: bool
    windows: list[Window]

    @property
    def failures(self) -> int:
        """Requests that were not answered with 200."""
        return self.requests - self.answers

    @property
    def statuses_total(self) -> int:
        """Requests that were answered, with any status."""
        return self.answers + sum(self.statuses.values())


def quantile(ordered: Sequence[float], share: float) -> float:
    """
    The value below which *share* of the values lie, by nearest rank; 0 for none.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([7.0], 0.99), quantile([], 0.5)
    (2.0, 7.0, 0.0)
    """
    if not ordered:
        return 0.0
    return ordered[max(-(-int(share * 1000) * len(ordered) // 1000) - 1, 0)]


class _Line(asyncio.Protocol):
    """A connection with at most one request in flight."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._seen = b""
        self._due_at = 0.0
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def send(self, request: bytes, *, due_at: float) -> None:
        assert self._transport is not None
        self._due_at = due_at
        self._waits = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, rest = self._seen.partition(b"\r\n\r\n")
        if not end:
            return
        marker = head.lower().find(b"content-length:")
        if marker < 0:
            sys.exit("this server answers without Content-Length, which the driver does not read")
        if len(rest) < int(head[marker + 15 :].partition(b"\r\n")[0]):
            return
        self._seen = b""
        self._waits = False
        self._load.answered(self, head[9:12].decode(), due_at=self._due_at)

    def connection_lost(self, _problem: Exception | None) -> None:
        self._load.lost(self, waited=self._waits)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Load:
    """What both ways of sending share: the bodies, the connections, the record of answers."""

    def __init__(self, url: str, bodies: Path) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        ).encode()
        self._bodies = bodies
        self._requests = self._endless()
        self._closing = False
        self._free: deque[_Line] = deque()
        self.repeated_file = False
        self.began_at = 0.0
        self.ended_at = 0.0
        self.requests = 0
        self.open = 0
        self.lost_lines = 0
        self.statuses: Counter[str] = Counter()
        self.times: list[tuple[float, float]] = []
        self.lateness: list[float] = []

    def _endless(self) -> Iterator[bytes]:
        for run_of in itertools.count():
            self.repeated_file = run_of > 0
            with self._bodies.open("rb") as lines:
                for line in lines:
                    body = line.rstrip(b"\n")
                    yield b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self), self._host, self._port)
        self._free.append(line)

    def send(self, line: _Line, *, due_at: float) -> None:
        line.send(next(self._requests), due_at=due_at)

    def answered(self, line: _Line, status: str, *, due_at: float) -> None:
        if self._closing:  # of a request that is no longer counted
            return
        self.ended_at = time.monotonic()
        self.open -= 1
        self.statuses[status] += 1
        if status == "200":
            self.times.append((due_at - self.began_at, (self.ended_at - due_at) * 1000))
        self.freed(line)

    def freed(self, line: _Line) -> None:
        self._free.append(line)

    def lost(self, line: _Line, *, waited: bool) -> None:
        if self._closing:
            return
        if waited:
            self.open -= 1
        else:
            self._free.remove(line)
        self.lost_lines += 1

    def close(self) -> None:
        self._closing = True
        for line in self._free:
            line.close()

    def sent(self, *, window_s: float) -> Sent:
        ordered = sorted(took for _, took in self.times)
        others = {status: count for status, count in self.statuses.items() if status != "200"}
        return Sent(
            requests=self.requests,
            answers=len(ordered),
            statuses=others,
            broken=self.requests - self.statuses.total(),
            lasted_s=self.ended_at - self.began_at,
            p50_ms=quantile(ordered, 0.5),
            p95_ms=quantile(ordered, 0.95),
            p99_ms=quantile(ordered, 0.99),
            max_ms=ordered[-1] if ordered else 0.0,
            late_ms=quantile(sorted(self.lateness), 0.99) * 1000,
            repeated_file=self.repeated_file,
            windows=list(_windows(self.times, window_s=window_s)) if window_s else [],
        )


class _Open(_Load):
    """Requests by the clock."""

    def __init__(self, url: str, bodies: Path, *, rate: float, seconds: float) -> None:
        super().__init__(url, bodies)
        self._rate = rate
        self._planned = int(rate * seconds)
        self._queued: deque[float] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._lines = 0
        self._done = asyncio.Event()

    async def run(self) -> None:
        self._lines = _LINES_MIN
        for _ in range(_LINES_MIN):
            await self.connect()
        loop = asyncio.get_running_loop()
        self.began_at = loop.time() + 0.05
        loop.call_at(self.began_at, self._tick)
        try:
            await asyncio.wait_for(self._done.wait(), self._planned / self._rate + _PATIENCE_S)
        except TimeoutError:
            pass
        finally:
            self.close()

    def freed(self, line: _Line) -> None:
        if self._queued:
            self.send(line, due_at=self._queued.popleft())
        else:
            super().freed(line)
            if self.requests == self._planned and not self.open:
                self._done.set()

    def lost(self, line: _Line, *, waited: bool) -> None:
        super().lost(line, waited=waited)
        self._lines -= 1
        if self.requests == self._planned and not self.open:
            self._done.set()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self.requests < self._planned:
            due_at = self.began_at + self.requests / self._rate
            if due_at > now:
                loop.call_at(due_at, self._tick)
                return
            self.requests += 1
            self.open += 1
            if self._free:
                self.lateness.append(now - due_at)
                self.send(self._free.popleft(), due_at=due_at)
            else:
                self._queued.append(due_at)
                self._widen()

    def _widen(self) -> None:
        if self._lines < _LINES_MAX:
            self._lines += 1
            task = asyncio.get_running_loop().create_task(self._one_more())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _one_more(self) -> None:
        try:
            await self.connect()
        except OSError:
            self._lines -= 1
            return
        if self._queued:
            self.send(self._free.pop(), due_at=self._queued.popleft())


class _Closed(_Load):
    """Requests as quickly as the answers come."""

    def __init__(self, url: str, bodies: Path, *, connections: int, seconds: float) -> None:
        super().__init__(url, bodies)
        self._connections = connections
        self._seconds = seconds

    async def run(self) -> None:
        for _ in range(self._connections):
            await self.connect()
        self.began_at = time.monotonic()
        lines, self._free = self._free, deque()
        for line in lines:
            self.freed(line)
        await asyncio.sleep(self._seconds)
        # What is in flight at the end was sent in time and is simply not waited for.
        self.requests -= self.open
        self.close()

    def freed(self, line: _Line) -> None:
        if self._closing or time.monotonic() - self.began_at > self._seconds:
            super().freed(line)
            return
        self.requests += 1
        self.open += 1
        self.send(line, due_at=time.monotonic())


def _windows(times: list[tuple[float, float]], *, window_s: float) -> Iterator[Window]:
    by_window = itertools.groupby(sorted(times), key=lambda item: int(item[0] / window_s))
    for number, ones in by_window:
        ordered = sorted(took for _, took in ones)
        yield Window(
            number * window_s,
            len(ordered),
            quantile(ordered, 0.5),
            quantile(ordered, 0.95),
            quantile(ordered, 0.99),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="one form body a line")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, help="open loop: this many a second")
    how.add_argument("--connections", type=int, help="closed loop: this many connections")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--window", type=float, default=0, help="also tell windows of this many seconds")
    args = parser.parse_args(argv)
    gc.disable()  # a garbage collection of the driver would be a delay in the measured figures; nothing here makes cycles
    load: _Open | _Closed
    if args.rate:
        load = _Open(args.url, args.bodies, rate=args.rate, seconds=args.seconds)
        # select() waits in microseconds, epoll in whole milliseconds; there are few enough sockets for it.
        loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    else:
        load = _Closed(args.url, args.bodies, connections=args.connections, seconds=args.seconds)
        loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(load.run())
    finally:
        loop.close()
    sys.stdout.write(msgspec.json.encode(load.sent(window_s=args.window)).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
