"""Account checks: asked once, scored by the table, and never decided by an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from tether_core import iban as ibans
from tether_core.vop import Answers, Score
from tether_sandbox.gateway import scripted_iban
from tether_stores import vop as vop_store
from tether_worker import vop
from tether_worker.vop import Checking, ProviderSilent, builtin, check, checking, over_http

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tether_stores.postgres import Connection, Pool

KNOWN = "DE89370400440532013000"
UPLOAD = 1


class World:
    """One test's debtors, its provider, and its time."""

    def __init__(self, conn: Connection, pool: Pool) -> None:
        self.conn = conn
        self.now = NOON
        self.asked: list[str] = []
        self.silent = False
        self.deps = Checking(pool, self._query, "tests", lambda: self.now, lambda: 0.5)

    async def _query(self, iban: str, name: str) -> Answers:
        self.asked.append(iban)
        if self.silent:
            raise ProviderSilent(why="http 502")
        return await builtin(iban, name)

    async def debtor(self, iban: str, *, name: str = "Zoë Miller", verdict: str = "clear") -> int:
        cause = None if verdict == "clear" else "test"
        cursor = await self.conn.execute(
            "insert into debtors (upload_id, iban, iban_fingerprint, name, amount_minor, currency, created_at,"
            " verdict, cause) values (%s, %s, %s, %s, 1000, 'EUR', %s, %s, %s) returning id",
            (UPLOAD, iban, ibans.fingerprint(iban), name, NOON, verdict, cause),
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def rows(self) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(
            "select debtor_id, state, result, score, failures, next_at, provider from vop_checks order by debtor_id"
        )
        return await cursor.fetchall()


@pytest.fixture
async def world(conn: Connection, pool: Pool) -> World:
    """Nothing but the worker's needs."""
    return World(conn, pool)


@asynccontextmanager
async def _service(
    answer: Callable[[dict[str, Any]], tuple[int, bytes]],
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service on loopback; gives its address and the heads of the requests it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        status, body = answer(msgspec.json.decode(await reader.readexactly(length)))
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body)) + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/check", heads


async def test_an_uploads_accounts_are_checked(world: World) -> None:
    """Billing that demands a check would wait for ever, or bill unchecked accounts."""
    good = await world.debtor(KNOWN)
    bad = await world.debtor("DE89370400440532013001")
    await world.debtor(scripted_iban(1), verdict="blacklisted")
    assert await vop_store.request(world.conn, UPLOAD, now=NOON) == 2
    assert await checking(world.deps).has_pending()
    assert await check(world.deps) == 2
    assert [row[:4] for row in await world.rows()] == [
        (good, "checked", "verified", 100),
        (bad, "checked", "rejected", 0),
    ]
    assert not await checking(world.deps).has_pending()
    assert await vop_store.scores(world.conn, [good, bad, 999]) == {
        good: Score(100, 60, "verified"),
        bad: Score(0, 20, "rejected"),
    }


async def test_a_check_is_asked_for_once(world: World) -> None:
    """A second click would pay for every account a second time."""
    await world.debtor(KNOWN)
    assert await vop_store.request(world.conn, UPLOAD, now=NOON) == 1
    assert await vop_store.request(world.conn, UPLOAD, now=NOON) == 0
    await asyncio.gather(check(world.deps), check(world.deps))
    assert world.asked == [KNOWN]
    assert await vop_store.request(world.conn, UPLOAD, now=NOON) == 0
    assert await vop_store.request_again(world.conn, UPLOAD, now=NOON) == 1
    assert await check(world.deps) == 1


async def test_an_outage_is_no_answer(world: World) -> None:
    """Results taken during an outage once made mismatches of good debtors, and were kept for ever."""
    debtor = await world.debtor(KNOWN)
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    world.silent = True
    assert await check(world.deps) == 1
    assert await world.rows() == [(debtor, "waiting", None, None, 1, NOON + timedelta(seconds=30), None)]
    assert await vop_store.scores(world.conn, [debtor]) == {}
    world.silent = False
    world.now += timedelta(seconds=30)
    await check(world.deps)
    assert (await world.rows())[0][1:3] == ("checked", "verified")


async def test_after_a_day_a_person_must_look(world: World) -> None:
    """A provider whose contract ended would be asked every hour for ever, and nobody would know."""
    await world.debtor(KNOWN)
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    world.silent = True
    while (await world.rows())[0][1] == "waiting":
        world.now = (await world.rows())[0][5]
        await check(world.deps)
    assert world.now - NOON > timedelta(days=1)
    assert len(world.asked) < 40
    assert await vop_store.request_again(world.conn, UPLOAD, now=world.now) == 1


async def test_a_dead_workers_checks_are_taken_over(world: World) -> None:
    """Its debtors would stay unchecked, and unbilled, for ever."""
    await world.debtor(KNOWN)
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    await vop_store.claim(world.conn, now=NOON, leased_until=NOON + timedelta(minutes=3), limit=10)
    assert await check(world.deps) == 0
    world.now += timedelta(minutes=3)
    assert await check(world.deps) == 1


async def test_what_a_person_sees(world: World) -> None:
    """The result of each account, and how many of each, must be there before anybody bills."""
    first, second = await world.debtor(KNOWN), await world.debtor(scripted_iban(3), name="n/a")
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    await check(world.deps)
    await world.debtor(scripted_iban(4))
    assert await vop_store.counts(world.conn, UPLOAD) == {
        ("checked", "verified"): 1,
        ("checked", "mismatch"): 1,
        (None, None): 1,
    }
    listed = await vop_store.listed(world.conn, UPLOAD, after=0, result=None, limit=10)
    assert [(item.debtor_id, item.result, item.name) for item in listed] == [
        (first, "verified", "unanswered"),
        (second, "mismatch", "no"),
    ]
    assert listed[0].bank_name == "Commerzbank"
    assert [
        item.debtor_id
        for item in await vop_store.listed(world.conn, UPLOAD, after=first, result=None, limit=10)
    ] == [second]
    assert await vop_store.listed(world.conn, UPLOAD, after=0, result="rejected", limit=10) == []


@pytest.mark.parametrize(
    ("iban", "name", "expected"),
    [
        (KNOWN, "Zoë Miller", ("yes", "yes", "yes", "unanswered")),
        (scripted_iban(0), "Zoë Miller", ("yes", "unanswered", "yes", "unanswered")),
        ("TR330006100519786457841326", "Zoë Miller", ("yes", "unanswered", "no", "unanswered")),
        ("DE00", "test", ("no", "unanswered", "unanswered", "no")),
        ("", "", ("no", "unanswered", "unanswered", "no")),
    ],
)
async def test_what_is_known_without_asking(iban: str, name: str, expected: tuple[str, ...]) -> None:
    """A bank that the directory lacks is no reason against anybody: half of some countries' banks are missing."""
    answers = await builtin(iban, name)
    assert (answers.iban, answers.bank, answers.country, answers.name) == expected


async def test_a_service_is_asked_and_joined_with_what_is_known() -> None:
    """A service that only matches names must not make the account look unchecked."""

    def answer(question: dict[str, Any]) -> tuple[int, bytes]:
        assert question == {"iban": KNOWN, "name": "Zoe Miller"}
        return 200, b'{"name": "CMTC", "name_percent": 81, "debit": "yes", "more": 1}'

    async with _service(answer) as (url, heads), vop.client() as client:
        result = await over_http(client, url=url, token="t0ken")(KNOWN, "Zoe Miller")
    assert result == Answers(
        iban="yes",
        bank="yes",
        debit="yes",
        country="yes",
        name="close",
        name_percent=81,
        bank_name="Commerzbank",
        bic=result.bic,
    )
    assert b"Bearer t0ken" in heads[0]


async def test_what_is_no_iban_is_not_paid_for() -> None:
    """Services charge by the question."""

    def answer(_question: dict[str, Any]) -> tuple[int, bytes]:
        raise AssertionError

    async with _service(answer) as (url, heads), vop.client() as client:
        result = await over_http(client, url=url, token="")("DE89370400440532013001", "Zoë Miller")
    assert result.iban == "no"
    assert heads == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (401, b'{"name": "MTCH"}'),
        (200, b"<html>"),
        (200, b'{"name": "PERHAPS"}'),
        (200, b'{"name": "CMTC", "name_percent": 0.81}'),
        (200, b'{"iban": "close"}'),
        (200, b'"\xff"'),
    ],
)
async def test_anything_but_an_answer_is_silence(status: int, body: bytes) -> None:
    """Half an answer taken for a whole one would score a debtor by a provider's mistake."""
    async with _service(lambda _: (status, body)) as (url, _), vop.client() as client:
        with pytest.raises(ProviderSilent) as silent:
            await over_http(client, url=url, token="")(KNOWN, "Zoë Miller")
    assert KNOWN not in str(silent.value)


async def test_a_service_that_is_not_there_is_silence() -> None:
    """The name of its host, or the account, must not come out in the error."""
    async with httpx.AsyncClient() as client:
        with pytest.raises(ProviderSilent, match="ConnectError"):
            await over_http(client, url="http://127.0.0.1:9/", token="")(KNOWN, "Zoë Miller")
