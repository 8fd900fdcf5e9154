import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
from tether_sandbox.gateway import Delivered, Lives, Malice, Payment, Plan, deliver, plan, sign
from tether_sandbox.gateway.sender import echoed_id

PASSWORD = "a password of the tests"
Answer = tuple[int, bytes]


def _payments(count: int) -> list[Payment]:
    return [Payment(f"t-{number}", f"{number:032x}", 100, "EUR") for number in range(count)]


def _planned(count: int, malice: Malice) -> Plan:
    return plan(_payments(count), seed=1, password=PASSWORD, malice=malice, lives=Lives.all_approved())


def _echo(told: dict[str, str]) -> bytes:
    return f"<notification_echo><unique_id>{told['unique_id']}</unique_id></notification_echo>".encode()


def _honest(told: dict[str, str]) -> Answer:
    """A receiver as it should be, as far as signatures go."""
    if told["signature"] != sign(told["unique_id"], password=PASSWORD):
        return 401, b'{"error": "Invalid signature"}'
    return 200, _echo(told)


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
                told = dict(parse_qsl((await reader.readexactly(length)).decode()))
                answered = answer(told)
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


async def test_everything_genuine_is_acknowledged_and_everything_forged_refused() -> None:
    """Against a right receiver the sender must find nothing wrong."""
    plot = _planned(30, Malice(forged=0.5, forged_first=0.5, repeated_at_once=0.5))
    seen = list[Delivered]()
    async with _receiver(_honest) as url:
        tally = await deliver(plot, url=url, concurrency=8, progress=seen.append)
    assert tally.ok
    assert tally.refused == plot.counts.forged > 0
    assert tally.acknowledged == plot.counts.sent - plot.counts.forged
    assert tally.statuses == {200: tally.acknowledged, 401: tally.refused}
    assert len(seen) == tally.settled == tally.posts == len(tally.latencies_s)


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

    def late(told: dict[str, str]) -> Answer:
        told_of = told["unique_id"] + told["status"]
        tries[told_of] = tries.get(told_of, 0) + 1
        return _honest(told) if tries[told_of] == 3 else bad

    plot = _planned(5, Malice.none())
    async with _receiver(late) as url:
        tally = await deliver(plot, url=url, retry_interval_s=0.001)
    assert tally.ok
    assert set(tries.values()) == {3}


async def test_gives_up_after_ten_posts_and_says_so() -> None:
    """The real gateway sends ten; a receiver that needs more must be found out, without its content being shown."""
    plot = _planned(1, Malice.none())
    async with _receiver(lambda _: (500, b"")) as url:
        tally = await deliver(plot, url=url, retry_interval_s=0.001)
    assert not tally.ok
    assert tally.statuses == {500: 10 * len(plot.deliveries)}
    assert tally.failures[0].endswith("last answer 500")
    assert "signature" not in "".join(tally.failures)


async def test_a_believed_forgery_is_counted_against_the_receiver() -> None:
    """Whoever acknowledges everything must not pass."""
    plot = _planned(10, Malice(forged=1.0))
    async with _receiver(lambda told: (200, _echo(told))) as url:
        tally = await deliver(plot, url=url)
    assert not tally.ok
    assert tally.believed == plot.counts.forged > 0


async def test_what_comes_after_waits_for_what_comes_before() -> None:
    """A forgery meant to come first that comes second proves nothing about poisoned memories."""
    plot = _planned(20, Malice(**dict.fromkeys(Malice.__struct_fields__, 0.0) | {"forged_first": 1.0}))
    refused = set[tuple[str, str]]()
    early = list[tuple[str, str]]()

    async def slow_to_refuse(told: dict[str, str]) -> Answer:
        answer = _honest(told)
        key = (told["unique_id"], told["status"])
        if answer[0] == 401:
            await asyncio.sleep(0.02)  # a slow receiver; nothing waits for this
            refused.add(key)
        elif key not in refused:
            early.append(key)
        return answer

    async with _receiver(slow_to_refuse) as url:
        tally = await deliver(plot, url=url, concurrency=16)
    assert tally.ok
    assert len(refused) == plot.counts.forged == plot.counts.distinct
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
