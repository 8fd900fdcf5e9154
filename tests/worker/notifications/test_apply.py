"""Applying: all effects of a notification together, once, and one bad row harms no other."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
import structlog
from tether_core import events, retry
from tether_core.blacklist import parse_codes
from tether_core.emp.notification import FORM, decode
from tether_core.errors import StoreUnreachable
from tether_core.notifications.identity import identify
from tether_core.payments.attempt import ApplyPolicy
from tether_core.return_policies.policy import built_in
from tether_core.testing import form_body
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import connection, open_pool
from tether_worker.notifications.apply import BATCH_MAX, ApplyDeps, apply_batch, applying

from tests.support.clock import NOON, Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tether_stores.postgres import Connection, Pool

    Make = Callable[..., Awaitable[int]]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at noon."""
    return Clock()


@pytest.fixture
def deps(pool: Pool, clock: Clock) -> ApplyDeps:
    """What applying needs; nothing is confirmed, no chance."""
    return ApplyDeps(pool, ApplyPolicy(), clock, lambda: 0.5)


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def _row(unique_id: str, *, account: str = "default", **fields: str) -> Recording:
    body = form_body({"unique_id": unique_id, "status": "approved"} | fields, secret="x")
    notification = decode(body, content_type=FORM)
    same = identify(notification, account=account)
    return Recording(
        same.key,
        same.content,
        account,
        notification.kind,
        notification.id,
        notification.status,
        notification.event or "",
        FORM,
        body,
    )


async def _record(pool: Pool, *rows: Recording) -> None:
    async with connection(pool) as conn:
        for row in rows:
            await webhook_events.record(conn, [row], now=NOON)


async def _query(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query)).fetchall()


async def _inbox(conn: Connection) -> list[tuple[Any, ...]]:
    return await _query(conn, "select state, outcome, reason, failures from webhook_events order by id")


async def _attempts(conn: Connection) -> list[str]:
    return [state for (state,) in await _query(conn, "select state from billing_attempts order by id")]


async def _outbox(conn: Connection) -> list[events.Event]:
    return [events.decode(row[0]) for row in await _query(conn, "select payload from outbox order by id")]


# --- what is applied ---


async def test_a_notification_becomes_a_state_a_fact_and_a_mark(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """A reported status must be stored, announced, and never processed again."""
    made = await attempt("t-1", unique_id="u-1", at=NOON)
    await _record(deps.pool, _row("u-1"))
    assert await apply_batch(deps) == 1
    assert await apply_batch(deps) == 0
    assert await _attempts(conn) == ["approved"]
    assert await _inbox(conn) == [("processed", "applied", "moved", 0)]
    assert await _outbox(conn) == [
        events.AttemptStatusChanged(made, "t-1", "pending", "approved", cause="approved", reason_code=None)
    ]
    assert await _query(
        conn, "select attempt_id, webhook_event_id from webhook_events e join outbox o on true"
    ) == [(made, 1)]


async def test_one_batch_applies_notifications_in_order_of_receipt(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """Several notifications of one payment in one batch build on each other, as if each had come alone."""
    await attempt("t-1", unique_id="u-1", at=NOON)
    await attempt("t-2", unique_id="u-2", at=NOON)
    await _record(
        deps.pool,
        _row("u-1", status="pending_async"),
        _row("u-2", status="declined", error_code="501"),
        _row("u-1"),
        _row("u-1", status="chargebacked", event="chargeback", reason_code="AM04"),
        _row("u-1", status="approved", event="chargeback_reversal"),
        _row("u-1", status="refunded"),
    )
    assert await apply_batch(deps) == 6
    assert await _attempts(conn) == ["refunded", "declined"]
    moves = [
        (fact.before, fact.after)
        for fact in await _outbox(conn)
        if isinstance(fact, events.AttemptStatusChanged)
    ]
    assert moves == [
        ("pending", "declined"),
        ("pending", "approved"),
        ("approved", "chargebacked"),
        ("chargebacked", "approved"),
        ("approved", "refunded"),
    ]


async def test_our_id_finds_an_attempt_that_never_heard_its_answer(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """A debit whose answer was lost has no id of the gateway yet.

    Its notification brings it, once the gateway has confirmed that both ids are of one payment: ours is not signed.
    """
    await attempt("t-1", unique_id=None, at=NOON)
    await _record(deps.pool, _row("u-9", transaction_id="t-1"))
    await apply_batch(deps)
    assert await _inbox(conn) == [("waiting", "not_yet", "unlinked", 1)]
    assert await _query(conn, "select unique_id, state from billing_attempts") == [(None, "pending")]
    await _confirm(conn, transaction_id="t-1")
    await apply_batch(deps)
    assert await _query(conn, "select unique_id, state from billing_attempts") == [("u-9", "approved")]


async def test_a_report_without_a_stored_id_is_applied_when_the_id_comes(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """Where nobody can be inquired, the answer to the call brings the id, and the notification must not wait for weeks."""
    await attempt("t-1", unique_id=None, at=NOON)
    await _record(deps.pool, _row("u-9", transaction_id="t-1"))
    await apply_batch(deps)
    await conn.execute("update billing_attempts set unique_id = 'u-9'")
    assert await webhook_events.wake_matched(conn, now=NOON) == 1
    await apply_batch(deps)
    assert await _attempts(conn) == ["approved"]


async def _confirm(conn: Connection, *, transaction_id: str) -> None:
    await conn.execute(
        "update webhook_events set confirmed_status = status, confirmed_transaction_id = %s, confirmed_at = %s, next_at = %s",
        (transaction_id, NOON, NOON),
    )


async def test_a_claim_of_another_account_is_for_a_person(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """A sender with one account's secret must not change another account's payments."""
    await attempt("t-1", unique_id="u-1", at=NOON)
    await _record(deps.pool, _row("u-1", account="another"))
    await apply_batch(deps)
    assert await _inbox(conn) == [("parked", "park", "other_account", 0)]
    assert await _attempts(conn) == ["pending"]


async def test_a_claim_about_a_dispute_waits_for_the_gateways_word(
    deps: ApplyDeps, pool: Pool, conn: Connection, attempt: Make
) -> None:
    """A signature covers only the id, so a chargeback can be false.

    Nothing may happen before it is confirmed.
    """
    await attempt("t-1", unique_id="u-1", at=NOON)
    cautious = ApplyDeps(pool, ApplyPolicy(confirm="chargebacks"), deps.clock, deps.jitter)
    await _record(pool, _row("u-1", status="chargebacked", event="chargeback", reason_code="AC04"))
    await apply_batch(cautious)
    assert await _inbox(conn) == [("confirming", "confirm", "unconfirmed", 0)]
    assert await _attempts(conn) == ["pending"]
    assert await _query(conn, "select count(*) from blacklist") == [(0,)]
    await conn.execute(
        "update webhook_events set state = 'waiting', confirmed_status = 'chargebacked', confirmed_at = %s",
        [NOON],
    )
    await apply_batch(cautious)
    assert await _inbox(conn) == [("processed", "applied", "moved", 0)]
    assert await _query(conn, "select reason_code from blacklist") == [("AC04",)]


# --- the blacklist ---


async def test_a_blocking_reason_lists_the_iban_once(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """The next run must not debit a closed account; ten repeats of its return are one entry and one fact."""
    made = await attempt("t-1", unique_id="u-1", at=NOON)
    returned = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
    await _record(deps.pool, *(_row("u-1", chargeback_unique_id=f"c-{n}", **returned) for n in range(3)))
    await apply_batch(deps)
    await _record(deps.pool, _row("u-1", chargeback_unique_id="c-9", **returned))
    await apply_batch(deps)
    entries = await _query(
        conn,
        "select b.action, b.reason_code, b.webhook_event_id, b.attempt_id, b.iban_fingerprint = a.iban_fingerprint"
        " from blacklist b join billing_attempts a on a.id = b.attempt_id",
    )
    assert entries == [("block", "AC04", 1, made, True)]
    listed = [fact for fact in await _outbox(conn) if isinstance(fact, events.IbanBlocked)]
    assert [(fact.action, fact.reason_code, fact.attempt_id) for fact in listed] == [("block", "AC04", made)]


@pytest.mark.parametrize(
    ("codes", "listed"), [("", ["AC04"]), ("AM04", ["AM04"]), ("am04, AC04,zz99", ["AC04", "AM04", "ZZ99"])]
)
async def test_the_operator_says_which_codes_block(
    deps: ApplyDeps, pool: Pool, conn: Connection, attempt: Make, codes: str, listed: list[str]
) -> None:
    """TETHER_BLACKLIST_CODES is exactly the blocking set.

    A code that blocks beside it loses paying debtors.
    """
    for n, code in enumerate(("AC04", "AM04", "ZZ99")):
        await attempt(f"t-{n}", unique_id=f"u-{n}", at=NOON)
        await _record(pool, _row(f"u-{n}", status="chargebacked", event="chargeback", reason_code=code))
    await apply_batch(
        ApplyDeps(pool, ApplyPolicy(returns=built_in(parse_codes(codes))), deps.clock, deps.jitter)
    )
    entries = await _query(conn, "select reason_code from blacklist where action = 'block' order by 1")
    assert [code for (code,) in entries] == listed
    assert await _attempts(conn) == ["chargebacked"] * 3


# --- what waits ---


async def test_an_unknown_payment_waits_and_is_applied_when_it_appears(
    deps: ApplyDeps, clock: Clock, conn: Connection, attempt: Make
) -> None:
    """A notification may come before its payment is imported. It is applied then, and not lost before."""
    await _record(deps.pool, _row("u-1"))
    assert await apply_batch(deps) == 1
    assert await apply_batch(deps) == 0
    assert await _inbox(conn) == [("waiting", "not_yet", "unknown_payment", 1)]
    await attempt("t-1", unique_id="u-1", at=NOON)
    clock.now += timedelta(seconds=1)
    assert await webhook_events.wake_matched(conn, now=clock.now) == 1
    assert await apply_batch(deps) == 1
    assert await _inbox(conn) == [("processed", "applied", "moved", 1)]
    assert await _attempts(conn) == ["approved"]


async def test_a_payment_that_never_appears_is_parked_by_the_retry_schedule(
    deps: ApplyDeps, clock: Clock, conn: Connection
) -> None:
    """Its tries must grow apart and end with a person, after the two weeks an import may take."""
    await _record(deps.pool, _row("u-1"))
    has_pending = []
    while True:
        assert await apply_batch(deps) == 1
        ((state, _, reason, failures),) = await _inbox(conn)
        assert reason == "unknown_payment"
        if state == "parked":
            break
        ((next_at,),) = await _query(conn, "select next_at from webhook_events")
        has_pending.append(round((next_at - clock.now).total_seconds()))
        clock.now = next_at
    assert tuple(has_pending) == retry.UNKNOWN_PAYMENT_S
    assert failures == len(has_pending) + 1
    assert clock.now - NOON > timedelta(days=14)


# --- what goes wrong ---


async def _poison(conn: Connection, unique_id: str, *, errcode: str = "check_violation") -> None:
    """Have Postgres refuse every change of one attempt."""
    await conn.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        f" raise exception using errcode = '{errcode}', message = 'no';"
        " end $$"
    )
    await conn.execute(
        "create trigger refuse before update on billing_attempts for each row"
        f" when (old.unique_id = '{unique_id}') execute function refuse()"
    )


async def test_one_bad_row_harms_no_other_and_is_parked_in_the_end(
    deps: ApplyDeps, clock: Clock, conn: Connection, attempt: Make
) -> None:
    """A row that cannot be applied must not hold up a day's payments, be tried for ever, or be forgotten."""
    for n in range(5):
        await attempt(f"t-{n}", unique_id=f"u-{n}", at=NOON)
    await _poison(conn, "u-2")
    await _record(deps.pool, *(_row(f"u-{n}") for n in range(5)))
    assert await apply_batch(deps) == 5
    assert await _attempts(conn) == ["approved", "approved", "pending", "approved", "approved"]
    assert (await _inbox(conn))[2] == ("waiting", "failed", "CheckViolation", 1)
    has_pending = []
    while True:
        ((state, next_at),) = await _query(conn, "select state, next_at from webhook_events where id = 3")
        if state == "parked":
            break
        has_pending.append(round((next_at - clock.now).total_seconds()))
        clock.now = next_at
        assert await apply_batch(deps) == 1
    assert tuple(has_pending) == retry.NOTIFICATION_S
    assert has_pending[:3] == [10, 30, 60]
    assert (await _inbox(conn))[2] == ("parked", "failed", "CheckViolation", len(retry.NOTIFICATION_S) + 1)
    await conn.execute("drop trigger refuse on billing_attempts")
    assert await webhook_events.replay(conn, 3, now=clock.now)
    assert await apply_batch(deps) == 1
    assert await _attempts(conn) == ["approved"] * 5


async def test_an_id_of_any_length_beside_the_signed_one_is_written_nowhere(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """A notification may carry an id of any length beside the one that is signed.

    Too large for an index, it would fail its row for days, and a debit would have an id that nobody signed.
    """
    await attempt("t-1", unique_id=None, at=NOON)
    await attempt("t-2", unique_id="u-2", at=NOON)
    endless = f"{random.Random(1).getrandbits(4 * 20_000):020000x}"
    fields = {"wpf_unique_id": "w-1", "wpf_status": "approved", "wpf_transaction_id": "t-1"}
    body = form_body(fields | {"payment_transaction_unique_id": endless}, secret="x")
    notification = decode(body, content_type=FORM)
    assert (notification.kind, notification.transaction_id, notification.unique_id) == ("wpf", "t-1", endless)
    same = identify(notification, account="default")
    odd = Recording(same.key, same.content, "default", "wpf", "w-1", "approved", "", FORM, body)
    await _record(deps.pool, odd, _row("u-2"))
    assert await apply_batch(deps) == 2
    assert await _attempts(conn) == ["pending", "approved"]
    assert (await _inbox(conn))[0] == ("processed", "unchanged", "not_a_payment", 0)


@pytest.mark.parametrize(
    "errcode",
    ["deadlock_detected", "read_only_sql_transaction", "disk_full", "undefined_table", "undefined_column"],
)
async def test_trouble_of_the_store_is_nobodys_fault(
    deps: ApplyDeps, conn: Connection, attempt: Make, errcode: str
) -> None:
    """An hour without disk space, or migration, must not use up the tries of every notification that came in it."""
    await attempt("t-1", unique_id="u-1", at=NOON)
    await attempt("t-2", unique_id="u-2", at=NOON)
    await _poison(conn, "u-1", errcode=errcode)
    await _record(deps.pool, _row("u-1"), _row("u-2"))
    with pytest.raises(StoreUnreachable):
        await apply_batch(deps)
    assert await _inbox(conn) == [("waiting", None, None, 0)] * 2
    assert await _attempts(conn) == ["pending", "pending"]


async def test_an_id_taken_meanwhile_is_looked_at_again(
    deps: ApplyDeps, database_url: str, conn: Connection, attempt: Make
) -> None:
    """Sending may book the gateway's id on another row meanwhile.

    The notification must find that row then.
    """
    first = await attempt("t-1", unique_id=None, at=NOON)
    await attempt("t-2", unique_id=None, at=NOON)
    await _record(deps.pool, _row("u-9", transaction_id="t-1"))
    await _confirm(conn, transaction_id="t-1")
    async with await psycopg.AsyncConnection.connect(database_url) as sender:
        await sender.execute("select from billing_attempts where id = %s for update", [first])
        assert await apply_batch(deps) == 0
        await sender.execute("update billing_attempts set unique_id = 'u-9' where transaction_id = 't-2'")
        await sender.commit()
        assert await apply_batch(deps) == 1
    assert await _query(
        conn, "select transaction_id, unique_id, state from billing_attempts order by id"
    ) == [
        ("t-1", None, "pending"),
        ("t-2", "u-9", "approved"),
    ]


async def test_bytes_that_cannot_be_read_any_more_are_parked(deps: ApplyDeps, conn: Connection) -> None:
    """A body that was readable at receipt and is not now shows an internal error. A person must see it."""
    await _record(deps.pool, _row("u-1"))
    await conn.execute("update webhook_events set body = 'gone'")
    assert await apply_batch(deps) == 1
    assert await _inbox(conn) == [("parked", "park", "unreadable", 0)]


async def test_an_account_that_can_be_inquired_is_inquired_whatever_another_lacks(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """Without credentials of the account `default`, false disputes of all other accounts would be applied."""
    careful = msgspec.structs.replace(deps, further_policy=ApplyPolicy(confirm="failures"))
    await attempt("t-1", unique_id="u-1", at=NOON)
    await attempt("t-2", unique_id="u-2", at=NOON, account="second")
    dispute = {"status": "chargebacked", "event": "chargeback"}
    await _record(deps.pool, _row("u-1", **dispute), _row("u-2", account="second", **dispute))
    await apply_batch(careful)
    assert await _inbox(conn) == [
        ("processed", "applied", "moved", 0),
        ("confirming", "confirm", "unconfirmed", 0),
    ]


# --- several workers ---


async def test_many_workers_book_everything_once(
    database_url: str, conn: Connection, attempt: Make, clock: Clock
) -> None:
    """Four slots at once over the same payments. Each state change happens once, by any slot, in one chain."""
    for n in range(20):
        await attempt(f"t-{n}", unique_id=f"u-{n}", at=NOON)
    steps: list[dict[str, str]] = [
        {"status": "pending_async"},
        {},
        {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"},
        {"status": "approved", "event": "chargeback_reversal"},
    ]
    rows = [_row(f"u-{n}", **fields) for n in range(20) for fields in steps]
    random.Random(3).shuffle(rows)
    async with open_pool(database_url, name="tests", max_size=4) as pool:
        await _record(pool, *rows)
        deps = ApplyDeps(pool, ApplyPolicy(), clock, lambda: 0.5)

        async def slot() -> None:
            while await apply_batch(deps, limit=7):
                pass

        await asyncio.gather(*(slot() for _ in range(4)))
        await slot()  # the others end where somebody else has all payments of what they claimed
    assert await _attempts(conn) == ["approved"] * 20
    assert {row[:2] for row in await _inbox(conn)} <= {("processed", "applied"), ("processed", "unchanged")}
    assert await _query(conn, "select count(*), count(distinct iban_fingerprint) from blacklist") == [
        (20, 20)
    ]
    facts = await _outbox(conn)
    assert sum(isinstance(fact, events.IbanBlocked) for fact in facts) == 20
    for n in range(20):
        moves = [
            fact
            for fact in facts
            if isinstance(fact, events.AttemptStatusChanged) and fact.transaction_id == f"t-{n}"
        ]
        assert [move.before for move in moves] == ["pending", *(move.after for move in moves[:-1])]
        assert moves[-1].after == "approved"


async def test_a_batch_does_not_wait_for_a_payment_that_another_one_has_locked(
    deps: ApplyDeps, conn: Connection, attempt: Make, database_url: str
) -> None:
    """Batches beside each other meet at a payment of which each has a notification; else each would wait for the one before it."""
    for number in (1, 2):
        await attempt(f"t-{number}", unique_id=f"u-{number}", at=NOON)
    await _record(deps.pool, _row("u-1"), _row("u-2"), _row("u-1", status="chargebacked", event="chargeback"))
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("select from billing_attempts where transaction_id = 't-1' for update")
        async with asyncio.timeout(10):
            assert await apply_batch(deps) == 3
        assert await _attempts(conn) == ["pending", "approved"]
        assert [row[0] for row in await _inbox(conn)] == ["waiting", "processed", "waiting"]
    await apply_batch(deps)
    assert await _attempts(conn) == ["chargebacked", "approved"]
    assert {row[:2] for row in await _inbox(conn)} == {("processed", "applied")}


async def test_a_refund_is_left_while_its_debit_is_locked(
    deps: ApplyDeps, conn: Connection, attempt: Make, database_url: str
) -> None:
    """It changes its debit; a batch that waited for it while it holds other payments could deadlock with who has it."""
    debit = await attempt("t-1", unique_id="u-1", at=NOON)
    await attempt("t-2", unique_id="u-2", at=NOON)
    await _record(deps.pool, _row("u-1"))
    await apply_batch(deps)
    await conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage,"
        " state, payment_stage, ordered_by, created_at, updated_at)"
        " select id, 'refund', 1, account, 't-1-r1', 'u-1-r1', amount_minor, currency, '', 'pending', 10, 'tests', %s, %s"
        " from billing_attempts where id = %s",
        (NOON, NOON, debit),
    )
    await _record(deps.pool, _row("u-1-r1", transaction_type="refund"), _row("u-2"))
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("select from billing_attempts where transaction_id = 't-1' for update")
        async with asyncio.timeout(10):
            assert await apply_batch(deps) == 2
            assert await apply_batch(deps) == 0
        assert await _attempts(conn) == ["approved", "approved"]
    assert await apply_batch(deps) == 1
    assert await _attempts(conn) == ["refunded", "approved"]


async def test_the_work_says_when_a_wake_up_was_lost(deps: ApplyDeps, clock: Clock) -> None:
    """A look that fires at once would race with every wake-up; one that never fires would leave rows lying."""
    work = applying(deps)
    assert not await work.has_pending()
    await _record(deps.pool, _row("u-1"))
    assert not await work.has_pending()
    clock.now += timedelta(seconds=1)
    assert await work.has_pending()
    assert await work.batch() == 1
    assert not await work.has_pending()
    assert BATCH_MAX >= 100
