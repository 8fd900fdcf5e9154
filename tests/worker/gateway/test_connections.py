"""The gateway client when calls end badly: what is proven then, and whether the next call is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from tether_core.emp import requests
from tether_core.errors import GatewaySilent, NotSubmitted
from tether_sandbox.services.server import free_port
from tether_worker.gateway import client as calls
from tether_worker.gateway import connections
from tether_worker.gateway.connections import Account, Calls, Gateway, open_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Longer than any answer of a busy machine.
PATIENCE_S: Final = 20.0
ACCOUNT: Final = Account(
    "default",
    "",
    "login",
    "password",
    "terminal",
    timeout_s=PATIENCE_S,
    connect_timeout_s=PATIENCE_S,
    connections_max=1,
)
ANSWER: Final = (
    b"<payment_response><status>approved</status><unique_id>44177a21</unique_id></payment_response>"
)
HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


def _debit(transaction_id: str = "t-1") -> requests.Debit:
    return requests.Debit(
        transaction_id=transaction_id,
        amount_minor=1000,
        currency="EUR",
        usage="Invoice",
        iban="DE89370400440532013000",
        first_name="Zoë",
        last_name="Miller",
        country="DE",
    )


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Server:
    """A server whose next answers a test plays."""

    def __init__(self) -> None:
        self.play: list[Play] = []
        self.requests = 0
        self.received = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.received += len(head)
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.received += len(await reader.readexactly(size))
                self.requests += 1
                if self.play:
                    await self.play.pop(0)(reader, writer)
                else:
                    writer.write(HEAD + ANSWER)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def _listening(play: Play) -> AsyncIterator[int]:
    """Let *play* serve each connection; gives the port. Nothing of it is left at the end."""
    serving = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await play(reader, writer)
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.sleep(0.01)  # a connection that is still to be accepted would be served by nobody
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    await asyncio.sleep(0)


def _hasty(gateway: Gateway) -> Gateway:
    """The same connections, with a limit of a second for what gets no whole answer."""
    return msgspec.structs.replace(gateway, account=msgspec.structs.replace(gateway.account, timeout_s=1.0))


@contextlib.asynccontextmanager
async def _at(server: Server) -> AsyncIterator[Account]:
    async with _listening(server.serve) as port:
        yield msgspec.structs.replace(ACCOUNT, url=f"http://127.0.0.1:{port}")


@pytest.fixture
async def server() -> Server:
    """A server that answers correctly until a fault is set."""
    return Server()


@pytest.fixture
async def gateway(server: Server) -> AsyncIterator[Gateway]:
    """One connection to it, used before."""
    async with _at(server) as account, open_gateway(account) as opened:
        await calls.sale(opened, _debit("warm"))
        yield opened


async def _nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _head_alone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await writer.drain()
    await reader.read()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + ANSWER[:20])
    await writer.drain()
    await reader.read()


async def _half_then_gone(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + ANSWER[:20])
    await writer.drain()
    writer.close()


async def _gone(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _junk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def _endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("play", "phase"),
    [
        (_nothing, "before_response"),
        (_gone, "before_response"),
        (_junk, "before_response"),
        (_head_alone, "in_response"),
        (_half, "in_response"),
        (_half_then_gone, "in_response"),
        (_endless, "in_response"),
    ],
)
async def test_a_call_that_fails_leaves_a_client_that_submits(
    server: Server, gateway: Gateway, play: Play, phase: connections.Replaced
) -> None:
    """A connection that is kept after such a call answers nothing any more, and takes the next debits with it."""
    server.play = [play, play]
    calling = _hasty(gateway) if play in {_nothing, _head_alone, _half} else gateway
    for _ in range(2):
        with pytest.raises(GatewaySilent) as caught:
            await calls.sale(calling, _debit())
        assert not isinstance(caught.value, NotSubmitted)
    assert (await calls.sale(gateway, _debit())).unique_id == "44177a21"
    assert gateway.calls.replaced == {phase: 2}
    assert server.connections == 3
    assert (await calls.sale(gateway, _debit())).unique_id == "44177a21"
    assert server.connections == 3  # a call that ended well keeps its connection


@pytest.mark.parametrize("play", [_nothing, _head_alone, _half])
async def test_a_call_that_is_cancelled_leaves_a_client_that_submits(
    server: Server, gateway: Gateway, play: Play
) -> None:
    """The worker cancels its calls when a run fails; the connections of those calls must not come back to the pool."""
    began = asyncio.Event()

    async def played(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await play(reader, writer)

    server.play = [played]
    call = asyncio.create_task(calls.sale(gateway, _debit()))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await calls.sale(gateway, _debit())).unique_id == "44177a21"


@pytest.mark.parametrize("warm", [True, False])
async def test_a_call_cancelled_at_any_step_leaves_a_client_that_submits(
    server: Server, *, warm: bool
) -> None:
    """Between connect and the end of a response lie dozens of steps, and a time limit may end a call at each of them."""
    async with _at(server) as account:
        files = _open_files()
        for steps in range(50):
            async with open_gateway(account) as gateway:
                if warm:
                    await calls.sale(gateway, _debit("warm"))
                before = server.received
                call = asyncio.create_task(calls.sale(gateway, _debit()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError, NotSubmitted):
                    await call
                if not call.cancelled() and isinstance(call.exception(), NotSubmitted):
                    assert server.received == before
                assert (await calls.sale(gateway, _debit())).unique_id == "44177a21"
                assert gateway.free._value == 1
        assert _open_files() <= files + 4


async def test_a_process_stopped_at_any_timestamp_of_a_call_submits_afterwards(server: Server) -> None:
    """A paused machine ends every call under way at once; with a client that never recovers, billing would stand still."""
    async with _at(server) as account:
        short = msgspec.structs.replace(account, timeout_s=0.05)
        for steps in range(0, 40, 3):
            async with open_gateway(short) as gateway:
                call = asyncio.create_task(calls.sale(gateway, _debit()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                time.sleep(0.08)  # noqa: ASYNC251 - the process is stopped
                with contextlib.suppress(GatewaySilent):
                    await call
                patient = msgspec.structs.replace(gateway, account=account)
                assert (await calls.sale(patient, _debit())).unique_id == "44177a21"


async def test_a_process_stopped_while_it_connects_submits_nothing() -> None:
    """Its lease is over when it wakes, and another worker may have submitted the debit: a late byte would debit twice."""
    received = bytearray()
    transports = list[asyncio.BaseTransport]()

    class Stopping(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(transport)
            time.sleep(0.4)  # client and server share the loop: the client is stopped before it can write

        def data_received(self, data: bytes) -> None:
            received.extend(data)

    listening = await asyncio.get_running_loop().create_server(Stopping, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        account = msgspec.structs.replace(ACCOUNT, url=url, timeout_s=0.3, connect_timeout_s=0.2)
        async with open_gateway(account) as gateway:
            with pytest.raises(NotSubmitted):
                await calls.sale(gateway, _debit())
        for transport in transports:
            transport.close()
        await asyncio.sleep(0)
    assert not received


async def test_a_request_whose_time_is_over_is_not_written(server: Server, gateway: Gateway) -> None:
    """The last check stands before the first byte, where no scheduling of the event loop comes in between."""
    before = server.received
    call = connections.CallProgress(is_submission=True)
    call.end_s = 0.0
    with pytest.raises(Exception) as caught:
        await connections._posted(
            gateway.session, f"{gateway.account.url}/process/terminal", b"<payment_transaction/>", call=call
        )
    assert connections._cause(caught.value, call=call) == "too_late"
    assert (call.replaced, call.submitted) == ("before_request", False)
    assert (await calls.sale(gateway, _debit())).unique_id == "44177a21"
    assert server.requests == 2
    assert server.received > before


async def test_waiting_for_a_connection_is_not_submitted(server: Server, gateway: Gateway) -> None:
    """A busy worker would call debits unknown that were never submitted, and wait a quarter of an hour for each."""
    server.play = [_nothing]
    holding = asyncio.create_task(calls.sale(_hasty(gateway), _debit("holds")))
    await asyncio.sleep(0)
    with pytest.raises(NotSubmitted) as caught:
        await calls.sale(gateway, _debit("waits"), begin_until_s=time.monotonic() + 0.05)
    assert caught.value.cause == "no_free_connection"
    assert caught.value.is_failure is None
    with pytest.raises(GatewaySilent, match="timeout"):
        await holding
    assert server.requests == 2
    with pytest.raises(NotSubmitted) as caught:
        await calls.sale(gateway, _debit("late"), begin_until_s=time.monotonic() - 1)
    assert caught.value.cause == "too_late"
    assert gateway.calls.not_submitted == {"no_free_connection": 1, "too_late": 1}


async def test_cancelled_while_it_waits_is_not_submitted(server: Server, gateway: Gateway) -> None:
    """Of the debits whose calls a failing run cancels, those that never began are free at once."""
    server.play = [_nothing]
    holding = asyncio.create_task(calls.sale(_hasty(gateway), _debit("holds")))
    waiting = asyncio.create_task(calls.sale(gateway, _debit("waits")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(NotSubmitted) as caught:
        await waiting
    assert caught.value.cause == "cancelled"
    with pytest.raises(GatewaySilent, match="timeout"):
        await holding


async def _talks_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("host", "serve", "cause"),
    [
        ("http://gateway.invalid", None, "dns"),
        ("http://127.0.0.1:{closed}", None, "connect"),
        ("https://127.0.0.1:{port}", _talks_plainly, "tls"),
        ("https://127.0.0.1:{port}", _says_nothing, "connect_timeout"),
    ],
)
async def test_without_a_connection_nothing_is_submitted(host: str, serve: Play | None, cause: str) -> None:
    """Name, address, certificate: what fails before the request is no unknown outcome, and says who must look."""
    async with _listening(serve or _says_nothing) as port:
        url = host.format(port=port, closed=free_port())
        account = msgspec.structs.replace(ACCOUNT, url=url)
        if cause == "connect_timeout":
            account = msgspec.structs.replace(account, connect_timeout_s=0.3)
        async with open_gateway(account) as gateway:
            for _ in range(2):
                with pytest.raises(NotSubmitted) as caught:
                    await calls.sale(gateway, _debit())
                assert caught.value.cause == cause
                assert caught.value.is_failure is True
            assert gateway.calls.not_submitted == {cause: 2}
            assert not gateway.calls.replaced
            assert gateway.free._value == 1


async def test_every_call_is_timed_by_what_it_was_and_what_came_back(server: Server) -> None:
    """A gateway that gets slow shows in the durations of its answers, hours before calls begin to fail."""
    seen: list[tuple[str, str]] = []

    def observe(call: str, outcome: str, took_s: float) -> None:
        assert took_s >= 0
        seen.append((call, outcome))

    async with _at(server) as account:
        async with open_gateway(account, calls=Calls(observe=observe)) as gateway:
            await calls.sale(gateway, _debit())
            with contextlib.suppress(GatewaySilent):
                await calls.reconcile(gateway, transaction_id="t-1")
        away = msgspec.structs.replace(account, url="http://127.0.0.1:1")
        async with open_gateway(away, calls=Calls(observe=observe)) as gateway:
            with pytest.raises(NotSubmitted):
                await calls.sale(gateway, _debit())
    assert seen == [("submission", "answered"), ("inquiry", "answered"), ("submission", "not_submitted")]
