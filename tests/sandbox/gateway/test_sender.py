import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
from tether_sandbox.gateway import (
    Delivered,
    FaultInjection,
    FaultPlan,
    Payment,
    PaymentHistories,
    deliver,
    plan,
    sign,
)
from tether_sandbox.gateway.sender import echoed_id

PASSWORD = "a password of the tests"
Answer = tuple[int, bytes]


def _payments(count: int) -> list[Payment]:
    return [Payment(f"t-{number}", f"{number:032x}", 100, "EUR") for number in range(count)]


def _planned(count: int, fault_injection: FaultInjection) -> FaultPlan:
    return plan(
        _payments(count),
        seed=1,
        password=PASSWORD,
        fault_injection=fault_injection,
        payment_histories=PaymentHistories.all_approved(),
    )


def _echo(fields: dict[str, str]) -> bytes:
    return f"<notification_echo><unique_id>{fields['unique_id']}</unique_id></notification_echo>".encode()


def _honest(fields: dict[str, str]) -> Answer:
    """A receiver as it should be, as far as signatures go."""
    if fields["signature"] != sign(fields["unique_id"], password=PASSWORD):
        return 401, b'{"error": "Invalid signature"}'
    return 200, _echo(fields)


@asynccontextmanager
async def _receiver(
    answer: Callable[[dict[str, str]], Answer | Awaitable[Answer]],
) -> AsyncIterator[str]:
    """A real HTTP server on loopback that answers each notification by *answer*; status 0 hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                notification = dict(parse_qsl((await reader.readexactly(length)).decode()))
                answered = answer(notification)
                status, body = answered if isinstance(answered, tuple) else await answered
                if status == 0:
                    break
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/api/webhooks/emp"


async def test_everything_genuine_is_acknowledged_and_everything_invalid_signature_refused() -> None:
    """Against a right receiver the sender must find nothing wrong."""
    plot = _planned(
        30, FaultInjection(invalid_signature=0.5, invalid_signature_first=0.5, repeated_at_once=0.5)
    )
    seen = list[Delivered]()
    async with _receiver(_honest) as url:
        counts = await deliver(plot, url=url, concurrency=8, progress=seen.append)
    assert counts.ok
    assert counts.refused == plot.counts.invalid_signature > 0
    assert counts.acknowledged == plot.counts.sent - plot.counts.invalid_signature
    assert counts.statuses == {200: counts.acknowledged, 401: counts.refused}
    assert len(seen) == counts.resolved == counts.posts == len(counts.latencies_s)


@pytest.mark.parametrize(
    "bad",
    [
        (503, b""),
        (0, b""),
        (429, b""),
        (200, b"ok"),
        (200, b"<notification_echo><unique_id>another</unique_id></notification_echo>"),
    ],
)
async def test_posts_again_until_the_right_echo_comes(bad: Answer) -> None:
    """A gateway that gives up early would lose notifications that a receiver could still take."""
    tries = dict[str, int]()

    def late(fields: dict[str, str]) -> Answer:
        told_of = fields["unique_id"] + fields["status"]
        tries[told_of] = tries.get(told_of, 0) + 1
        return _honest(fields) if tries[told_of] == 3 else bad

    plot = _planned(5, FaultInjection.none())
    async with _receiver(late) as url:
        counts = await deliver(plot, url=url, retry_interval_s=0.001)
    assert counts.ok
    assert set(tries.values()) == {3}


async def test_gives_up_after_ten_posts_and_says_so() -> None:
    """The real gateway sends ten; a receiver that needs more must be found out, without its content being shown."""
    plot = _planned(1, FaultInjection.none())
    async with _receiver(lambda _: (500, b"")) as url:
        counts = await deliver(plot, url=url, retry_interval_s=0.001)
    assert not counts.ok
    assert counts.statuses == {500: 10 * len(plot.deliveries)}
    assert counts.failures[0].endswith("last response 500")
    assert "signature" not in "".join(counts.failures)


async def test_a_believed_forgery_is_counted_against_the_receiver() -> None:
    """A receiver that acknowledges everything must not pass."""
    plot = _planned(10, FaultInjection(invalid_signature=1.0))
    async with _receiver(lambda item: (200, _echo(item))) as url:
        counts = await deliver(plot, url=url)
    assert not counts.ok
    assert counts.wrongly_accepted == plot.counts.invalid_signature > 0


async def test_what_comes_after_waits_for_what_comes_before() -> None:
    """A forgery meant to come first that comes second proves nothing about poisoned memories."""
    plot = _planned(
        20,
        FaultInjection(
            **dict.fromkeys(FaultInjection.__struct_fields__, 0.0) | {"invalid_signature_first": 1.0}
        ),
    )
    refused = set[tuple[str, str]]()
    early = list[tuple[str, str]]()

    async def slow_to_refuse(fields: dict[str, str]) -> Answer:
        answer = _honest(fields)
        key = (fields["unique_id"], fields["status"])
        if answer[0] == 401:
            await asyncio.sleep(0.02)  # a slow receiver; nothing waits for this
            refused.add(key)
        elif key not in refused:
            early.append(key)
        return answer

    async with _receiver(slow_to_refuse) as url:
        counts = await deliver(plot, url=url, concurrency=16)
    assert counts.ok
    assert len(refused) == plot.counts.invalid_signature == plot.counts.distinct
    assert early == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"<notification_echo/>",
        b"<notification_echo><unique_id>a</unique_id>",
        b"<notification_echo><unique_id>a</unique_id><unique_id>b</unique_id><x>c</x></notification_echo>",
        b"<other><unique_id>a</unique_id></other>",
        b"\xff\xfe",
    ],
)
def test_what_is_no_echo_is_not_taken_for_one(body: bytes) -> None:
    """A sender that is content with less would call a broken acknowledgement good."""
    assert echoed_id(body) is None


def test_echo_is_read_as_xml_and_not_as_text() -> None:
    """Ids are escaped by the receiver; layout is free."""
    body = b'<?xml version="1.0"?>\n<notification_echo>\n  <unique_id>a&amp;b</unique_id>\n</notification_echo>\n'
    assert echoed_id(body) == "a&b"
