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
from tether_core.vop import BANK_REST, BANK_UNANSWERED_MAX, Answers, CallLimits, Score
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


async def test_a_check_is_requested_once(world: World) -> None:
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


async def test_an_answer_about_the_same_account_and_name_is_paid_for_once(world: World) -> None:
    """Members come back in each month's list; asking about all of them each time multiplies the bill by twelve."""
    first = await world.debtor(KNOWN)
    deps = msgspec.structs.replace(world.deps, is_metered=True, reuse_days=30)
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    await check(deps)
    world.now += timedelta(days=30)
    same = await world.debtor(KNOWN, name="MILLER, Zoë")
    other = await world.debtor(KNOWN, name="Bob Miller")
    await vop_store.request(world.conn, UPLOAD, now=world.now)
    assert await check(deps) == 2
    assert world.asked == [KNOWN, KNOWN]
    taken = await world.conn.execute(
        "select debtor_id, reused_from, result from vop_checks order by debtor_id"
    )
    assert await taken.fetchall() == [
        (first, None, "verified"),
        (same, first, "verified"),
        (other, None, "verified"),
    ]
    # A check that is asked for again is a call, and so is one after the days; what was taken over is not taken over again.
    assert await vop_store.request_again(world.conn, UPLOAD, now=world.now) == 3
    await check(deps)
    assert len(world.asked) == 5
    world.now += timedelta(days=31)
    await world.debtor(KNOWN)
    await vop_store.request(world.conn, UPLOAD, now=world.now)
    await check(deps)
    assert len(world.asked) == 6
    report = await vop_store.report(world.conn, UPLOAD)
    assert [(row.name_answer, row.count, row.reused) for row in report] == [("unanswered", 4, 0)]


async def test_a_budget_is_never_exceeded_and_the_rest_waits_for_the_next_day(world: World) -> None:
    """A list of a million uploaded by mistake would cost more than it collects. Nothing may be lost either."""
    for number in range(7):
        await world.debtor(scripted_iban(number))
    limits = CallLimits(day_max=3, month_max=5)
    deps = msgspec.structs.replace(world.deps, is_metered=True, limits=limits)
    await vop_store.request(world.conn, UPLOAD, now=NOON, account="shop")
    await asyncio.gather(*(check(deps, limit=3) for _ in range(3)))
    assert len(world.asked) == 3
    assert not await checking(deps).has_pending()
    assert {row[1:3] + row[4:6] for row in await world.rows() if row[1] == "waiting"} == {
        ("waiting", None, 0, NOON.replace(hour=0) + timedelta(days=1))
    }
    world.now += timedelta(days=1)
    await check(deps)
    assert len(world.asked) == 5
    (spent,) = await vop_store.spent(world.conn, on=world.now.date())
    assert (spent.account, spent.day_calls, spent.month_calls) == ("shop", 2, 5)
    first_of_next = (NOON.replace(day=28, hour=0) + timedelta(days=4)).replace(day=1)
    assert {row[5] for row in await world.rows() if row[1] == "waiting"} == {first_of_next}
    # Another account has a budget of its own.
    await world.debtor(scripted_iban(8))
    await vop_store.request(world.conn, UPLOAD, now=world.now, account="default")
    await check(deps)
    assert len(world.asked) == 6
    world.now = first_of_next
    await check(deps)
    assert len(world.asked) == 8


async def test_a_bank_that_never_answers_is_skipped_for_a_day(world: World) -> None:
    """Half of some countries' banks take no part; each call about them is paid for and says nothing."""
    deps = msgspec.structs.replace(world.deps, is_metered=True)
    for _ in range(BANK_UNANSWERED_MAX + 1):
        await world.debtor(KNOWN)
    await world.conn.execute("update debtors set bank_bic = 'COBADEFF'")
    await vop_store.request(world.conn, UPLOAD, now=NOON)
    await check(deps, limit=BANK_UNANSWERED_MAX - 1)
    assert await vop_store.resting(world.conn, now=world.now) == []
    await check(deps, limit=1)
    (rest,) = await vop_store.resting(world.conn, now=world.now)
    assert (rest.bank, rest.rest_until) == ("COBADEFF", NOON + BANK_REST)
    await check(deps)
    assert len(world.asked) == BANK_UNANSWERED_MAX
    assert (await world.rows())[-1][1:3] + (await world.rows())[-1][6:] == ("checked", "verified", "builtin")
    # When it is over, one that is not answered is enough to go on resting; one that is answered ends the row.
    world.now = NOON + BANK_REST
    await vop_store.request_again(world.conn, UPLOAD, now=world.now)
    await check(deps, limit=1)
    assert len(world.asked) == BANK_UNANSWERED_MAX + 1
    assert len(await vop_store.resting(world.conn, now=world.now)) == 1
    world.now += BANK_REST

    async def answers(_iban: str, _name: str) -> Answers:
        return Answers(iban="yes", name="yes")

    await check(msgspec.structs.replace(deps, provider=answers), limit=1)
    assert await vop_store.resting(world.conn, now=world.now) == []


async def test_a_sample_is_always_the_same_and_a_larger_one_includes_it(world: World) -> None:
    """A second order of ten percent would check another ten percent, and cost as much again."""
    for number in range(200):
        await world.debtor(scripted_iban(number % 10))
    some = await vop_store.request(world.conn, UPLOAD, now=NOON, share=0.25)
    assert 20 < some < 80
    assert await vop_store.request(world.conn, UPLOAD, now=NOON, share=0.25) == 0
    assert await vop_store.request(world.conn, UPLOAD, now=NOON, share=0.1) == 0
    assert await vop_store.request(world.conn, UPLOAD, now=NOON, share=1.0) == 200 - some


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


async def test_the_answer_of_a_service_is_joined_with_what_is_known() -> None:
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
    async with httpx.AsyncClient(timeout=60) as client:
        with pytest.raises(ProviderSilent, match="ConnectError"):
            await over_http(client, url="http://127.0.0.1:9/", token="")(KNOWN, "Zoë Miller")
