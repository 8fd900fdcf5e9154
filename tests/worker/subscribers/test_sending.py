"""Requests to subscribers: signed, bounded, and only to addresses that are allowed."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tether_core.subscribers.addresses import networks
from tether_core.subscribers.delivery import Response
from tether_sandbox.receiver import serve
from tether_stores.subscribers.secrets import written
from tether_worker.subscribers.sending import Sender

from tests.support.certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tether_sandbox.receiver import Receiver

OLD, NEW = written(b"o" * 32), written(b"n" * 32)
LOOPBACK = networks(["127.0.0.0/8"])
BODY = b'{"specversion":"1.0","id":"evt_1","source":"/tether","type":"tether.refund.charged_back.1","data":{"attempt_id":1}}'


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An endpoint on loopback that knows both secrets."""
    async with serve(secrets=[OLD, NEW]) as serving:
        yield serving


async def _send(
    sender: Sender, url: str, *, secrets: tuple[str, ...] = (NEW,), message_id: str = "evt_1"
) -> Response:
    return await sender.send(url, message_id=message_id, body=BODY, secrets=secrets, now=datetime.now(UTC))


async def test_both_secrets_sign_while_one_is_replaced(receiver: Receiver) -> None:
    """A receiver that has not changed its secret yet would refuse everything after a rotation."""
    sender = Sender(allowed=LOOPBACK)
    assert await _send(sender, receiver.url, secrets=(NEW, OLD)) == Response(204)
    assert await _send(sender, receiver.url) == Response(204)
    await sender.close()
    assert [item.verified_by for item in receiver.received] == [(0, 1), (1,)]
    assert {item.id for item in receiver.received} == {"evt_1"}


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("500", 500, "status"),
        ("redirect", 307, "redirect"),
        ("hang", None, "timeout"),
        ("drip", None, "timeout"),
        ("garbage", None, "protocol"),
        ("reset", None, "protocol"),
    ],
)
async def test_each_fault_is_a_failed_try_and_the_next_request_is_clean(
    receiver: Receiver, fault: str, status: int | None, error: str
) -> None:
    """An endpoint that misbehaves must cost its own time limit only, and leave no connection behind that another request meets."""
    sender = Sender(allowed=LOOPBACK, timeout_s=60)
    receiver.fault = fault
    if error == "timeout":
        sender._timeout_s = 1.5
    response = await _send(sender, receiver.url)
    assert (response.http_status, response.error) == (status, error)
    receiver.fault, sender._timeout_s = "ok", 60
    assert await _send(sender, receiver.url) == Response(204)
    await sender.close()


async def test_an_answer_without_end_is_not_read(receiver: Receiver) -> None:
    """A body without end would hold a slot until the time limit, and fill the memory without a bound."""
    sender = Sender(allowed=LOOPBACK, timeout_s=60)
    receiver.fault = "endless"
    assert await _send(sender, receiver.url) == Response(200)
    await sender.close()


async def test_retry_after_is_read(receiver: Receiver) -> None:
    """An endpoint that asks for a pause is asked again too early otherwise."""
    sender = Sender(allowed=LOOPBACK)
    receiver.fault = "429:7"
    assert await _send(sender, receiver.url) == Response(429, "status", 7.0)
    await sender.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0"])
async def test_nothing_is_sent_to_this_machine(receiver: Receiver, host: str) -> None:
    """An administrator of Tether must not reach the services of its machines by a subscriber's URL, however it is written."""
    sender = Sender(allowed=())
    response = await _send(sender, f"https://{host}:{receiver.port}/")
    assert response.error in {"address_not_allowed", "dns"}
    assert receiver.received == []
    await sender.close()


async def test_a_name_is_checked_at_the_address_that_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is added and private when it is used is how such checks are passed by."""
    loop = asyncio.get_running_loop()
    answers = iter(["93.184.215.14", "127.0.0.1"])
    looked_up: list[str] = []

    async def resolved(host: str, port: int, **_options: object) -> list[object]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    sender = Sender(allowed=(), timeout_s=2)
    monkeypatch.setattr(loop, "getaddrinfo", resolved)
    url = f"https://rebinding.example:{receiver.port}/"
    first = await _send(sender, url)
    assert first.error in {"connect", "timeout"}  # to the public address, which nobody serves here
    assert (await _send(sender, url)).error == "address_not_allowed"
    assert looked_up == ["rebinding.example"] * 2
    assert receiver.received == []
    await sender.close()


async def test_text_without_encryption_goes_to_networks_of_the_operator_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network allowed, http URLs are accepted; a name that resolves to a public address must still be refused."""
    loop = asyncio.get_running_loop()

    async def resolved(_host: str, port: int, **_options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]

    sender = Sender(allowed=LOOPBACK, timeout_s=2)
    monkeypatch.setattr(loop, "getaddrinfo", resolved)
    assert (await _send(sender, "http://books.example/")).error == "address_not_allowed"
    await sender.close()


async def test_a_server_with_a_certificate_of_its_own_making_gets_nothing(tmp_path: Path) -> None:
    """Events would go to a server that cannot prove who it is."""
    came: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=self_signed(tmp_path).server_context())
    async with server:
        sender = Sender(allowed=LOOPBACK, timeout_s=60)
        response = await _send(sender, f"https://localhost:{server.sockets[0].getsockname()[1]}/")
        await sender.close()
    assert response == Response(None, "tls")
    assert b"".join(came) == b""


async def test_nobody_listens_and_no_such_name() -> None:
    """Both are failures of the subscriber with a name of their own, so that its operator knows where to look."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sender = Sender(allowed=LOOPBACK, timeout_s=20)
        assert (await _send(sender, f"http://127.0.0.1:{taken.getsockname()[1]}/")).error == "connect"
    assert (await _send(sender, "https://no-such-name.invalid/")).error == "dns"
    await sender.close()
