"""Deliveries: each event to each subscriber, at least once, in the order of its payment, whatever fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from tether_core.events import ClockStepped, RefundChargedBack
from tether_core.retry import DELIVERY_S
from tether_core.subscribers.addresses import networks
from tether_core.subscribers.delivery import Response
from tether_core.subscribers.subscriber import DISABLE_AFTER
from tether_sandbox.receiver import serve
from tether_stores.postgres import transaction
from tether_stores.subscribers import deliveries, replays, subscribers
from tether_worker.subscribers import deliveries as worker_deliveries
from tether_worker.subscribers.deliveries import Delivering, pruning
from tether_worker.subscribers.sending import Sender

from tests.worker.subscribers.conftest import KEY, changed, subscribe, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from tether_sandbox.receiver import Received, Receiver
    from tether_stores.postgres import Connection, Pool

    from tests.support.clock import Clock
    from tests.worker.subscribers.conftest import Deliver


async def _rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query.encode())).fetchall()


def _attempts(items: list[Received]) -> list[tuple[int, str]]:
    return [(item.data["attempt_id"], item.data["after"]) for item in items]


async def test_subscribers_get_what_they_want_signed_and_once(
    conn: Connection,
    receiver: Receiver,
    deliver: Deliver,
    clock: Clock,
    attempt: Callable[..., Awaitable[int]],
) -> None:
    """A filter that lets too much through tells one creditor about another; a lost event is a payment that is never booked."""
    of_club = await attempt("t-1", account="club")
    of_default = await attempt("t-2")
    await write(conn, changed(of_default, "before it was added"), now=clock())
    await subscribe(conn, receiver.url, name="all", now=clock())
    await subscribe(conn, receiver.url + "?club", name="club", accounts=("club",), now=clock())
    await subscribe(conn, receiver.url, name="refunds", types=("refund.charged_back",), now=clock())
    facts = (
        changed(of_club),
        changed(of_default),
        RefundChargedBack(of_default),
        ClockStepped("postgres", 5),
    )
    await write(conn, *facts, now=clock())
    await deliver()
    assert Counter((item.type, item.account) for item in receiver.received) == {
        ("tether.attempt.status_changed.1", "club"): 2,  # of "all" and of "club"
        ("tether.attempt.status_changed.1", "default"): 1,
        ("tether.refund.charged_back.1", "default"): 2,
        ("tether.clock.stepped.1", None): 1,
    }
    assert {item.verified_by for item in receiver.received} == {(0,)}
    assert len({item.id for item in receiver.received}) == 4  # the same for all subscribers
    await deliver()
    assert len(receiver.received) == 6
    tries = await _rows(conn, "select number, http_status, error from delivery_tries")
    assert tries == [(1, 204, None)] * 6


async def test_events_of_a_payment_stay_in_order_while_others_go_on(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A receiver that gets "chargebacked" before "approved" books a loss and then a gain."""
    await subscribe(conn, receiver.url, now=clock())
    await write(conn, changed(1), changed(2), changed(1, "chargebacked"), changed(3), now=clock())
    receiver.fault = lambda item: (
        "500" if item.data == {**item.data, "attempt_id": 1, "after": "approved"} else "ok"
    )
    await deliver()
    assert sorted(_attempts(receiver.taken())) == [(2, "approved"), (3, "approved")]
    clock.now += timedelta(seconds=DELIVERY_S[0] - 1)
    await deliver()
    assert len(receiver.received) == 3  # it waits for its time
    receiver.fault = "ok"
    clock.now += timedelta(seconds=2)
    await deliver()
    assert _attempts(receiver.taken())[2:] == [(1, "approved"), (1, "chargebacked")]
    assert len({item.id for item in receiver.received}) == 4  # a retry has the same id


async def test_the_schedule_ends_and_the_next_event_of_the_payment_goes(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """One event that a receiver never takes must not stop its payment for ever, nor disable a subscriber that takes others."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    await write(conn, changed(1), changed(1, "chargebacked"), now=clock())
    receiver.fault = lambda item: (
        "422" if (item.data["attempt_id"], item.data["after"]) == (1, "approved") else "ok"
    )
    for wait_s in DELIVERY_S:
        await write(conn, changed(9), now=clock())
        await deliver()
        clock.now += timedelta(seconds=wait_s * 1.2)
    await deliver()
    states = dict(
        await _rows(
            conn,
            "select event_name || event_id, state from deliveries where order_key like '%/1' order by event_id",
        )
    )
    assert list(states.values()) == ["given_up", "delivered"]
    found = await subscribers.by_id(conn, subscriber_id)
    assert found is not None
    assert found.state == "active"
    tries = await _rows(conn, "select count(*) from delivery_tries where http_status = 422")
    assert tries == [(len(DELIVERY_S) + 1,)]


async def test_an_endpoint_that_fails_for_days_is_disabled_and_goes_on_where_it_was(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A forgotten endpoint must not be called for ever; its operator must be told, and must lose nothing."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    watcher = await subscribe(conn, receiver.url, name="watcher", types=("subscriber.disabled",), now=clock())
    receiver.fault = lambda item: "ok" if item.type == "tether.subscriber.disabled.1" else "503"
    await write(conn, changed(1), now=clock())
    await deliver()
    clock.now += DISABLE_AFTER + timedelta(seconds=1)
    await write(conn, changed(2), now=clock())
    await deliver()
    found = await subscribers.by_id(conn, subscriber_id)
    assert found is not None
    assert (found.state, found.disabled_reason) == ("disabled", "failing")
    count = len(receiver.received)
    clock.now += timedelta(days=30)
    await write(conn, changed(3), now=clock())
    await deliver()
    announced = [item for item in receiver.taken() if item.type == "tether.subscriber.disabled.1"]
    assert [item.data for item in announced] == [{"subscriber_id": subscriber_id, "reason": "failing"}]
    assert len(receiver.received) <= count + 1  # only the watcher's event
    receiver.fault = "ok"
    await subscribers.put_state(conn, subscriber_id, "active", now=clock())
    await deliveries.bring_forward(conn, subscriber_id, now=clock())
    await deliver()
    taken = [item.data["attempt_id"] for item in receiver.taken() if "attempt_id" in item.data]
    assert sorted(taken) == [1, 2, 3]
    assert watcher


async def test_gone_disables_at_once(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """An endpoint that answers 410 asks to be left alone."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    receiver.fault = "410"
    await write(conn, changed(1), now=clock())
    await deliver()
    found = await subscribers.by_id(conn, subscriber_id)
    assert found is not None
    assert (found.state, found.disabled_reason, found.waiting) == ("disabled", "gone", 1)


async def test_the_end_of_an_outage_brings_all_retries_forward(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """After an outage of an hour its events would otherwise arrive over the next hours, long after the endpoint works."""
    await subscribe(conn, receiver.url, now=clock())
    receiver.fault = "500"
    await write(conn, *(changed(n) for n in range(1, 6)), now=clock())
    for seconds in (0, 6, 40, 150, 700):
        clock.now += timedelta(seconds=seconds)
        await deliver()
    receiver.fault = "ok"
    await write(conn, changed(6), now=clock())
    await deliver()
    assert sorted(_attempts(receiver.taken())) == [(n, "approved") for n in range(1, 7)]


async def test_a_slow_subscriber_delays_nobody(
    conn: Connection, pool: Pool, receiver: Receiver, clock: Clock, eventually: Callable[..., Any]
) -> None:
    """An endpoint that does not answer must cost its own events only, however many wait for it."""
    async with serve() as slow:
        slow.fault = "hang"
        await subscribe(conn, slow.url, name="slow", now=clock())
        await subscribe(conn, receiver.url, now=clock())
        await write(conn, *(changed(n) for n in range(1, 61)), now=clock())
        sender = Sender(allowed=networks(["127.0.0.1"]), timeout_s=600)
        delivering = Delivering(pool, sender, secrets_key=[KEY], clock=clock)

        async def all_taken() -> bool:
            await delivering.batch()
            return len(receiver.taken()) == 60

        await eventually(all_taken, what="the events of the other subscriber")
        assert slow.in_progress == worker_deliveries.SLOTS
    await delivering.ended()


async def test_a_lease_that_ended_is_sent_again_with_the_same_id(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A worker killed between request and record leaves this: the event arrives twice, and the receiver recognises it."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    await write(conn, changed(1), changed(1, "chargebacked"), now=clock())
    receiver.fault = "500"
    await deliver()
    clock.now += timedelta(minutes=1)
    receiver.fault = "ok"
    leased_until = clock() + timedelta(seconds=30)
    lost = await deliveries.claim(conn, subscriber_id, limit=8, leased_until=leased_until, now=clock())
    assert [claimed.tries for claimed in lost] == [2]  # the later event of the payment waits
    await deliver()
    assert receiver.taken() == []
    clock.now += timedelta(seconds=31)
    await deliver()
    assert _attempts(receiver.taken()) == [(1, "approved"), (1, "chargebacked")]
    # The dead worker comes back and records its failure: the delivery is not its own any more.
    async with await psycopg.AsyncConnection.connect(conn.info.dsn, password=conn.info.password) as late:
        await worker_deliveries.record(
            late,
            lost[0],
            Response(500, "status"),
            tried_at=clock(),
            took_ms=1,
            now=clock(),
            jitter=0.5,
        )
    assert await _rows(conn, "select distinct state from deliveries") == [("delivered",)]


async def test_a_replay_sends_a_range_again(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A receiver that lost its data gets the range with the ids it had, and nothing twice in one replay."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    for minute in range(6):
        clock.now += timedelta(minutes=1)
        await write(conn, changed(minute + 1), now=clock())
    await deliver()
    first = {item.data["attempt_id"]: item.id for item in receiver.received}
    after = await replays.id_before(conn, clock() - timedelta(minutes=3, seconds=30))
    up_to = await replays.id_before(conn, clock())
    assert (after, up_to) == (2, 5)
    ordered = await replays.add(
        conn, subscriber_id, types=None, after=after, up_to=up_to, ordered_by="t", reason="", now=clock()
    )
    assert ordered is not None
    await conn.execute("delete from deliveries where event_id = 4")  # its log was pruned
    await deliver()
    again = {item.data["attempt_id"]: item.id for item in receiver.received[6:]}
    assert again == {number: first[number] for number in (3, 4, 5)}
    done = (await replays.of_subscriber(conn, subscriber_id, limit=1))[0]
    assert (done.replayed, done.finished_at) == (3, clock())
    assert await replays.id_before(conn, clock() - timedelta(days=1)) == 0
    assert await replays.id_before(conn, clock() + timedelta(days=1)) == 6


async def test_what_waits_is_bounded_and_the_rest_stays_in_the_outbox(
    conn: Connection, receiver: Receiver, deliver: Deliver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that is away for a week must not fill a table of its own, nor lose anything."""
    monkeypatch.setattr(subscribers, "WAITING_MAX", 150)
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    receiver.fault = "500"
    total = 150 + 60
    await write(conn, *(changed(n) for n in range(1, total + 1)), now=clock())
    await deliver()
    found = await subscribers.by_id(conn, subscriber_id)
    assert found is not None
    assert (found.waiting, found.behind) == (150, 60)
    receiver.fault = "ok"
    clock.now += timedelta(minutes=2)
    await deliver(batches=2_000)
    assert len({item.id for item in receiver.taken()}) == total == len(receiver.taken())


async def test_without_the_key_nothing_is_sent_and_no_try_is_used_up(
    conn: Connection, pool: Pool, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A worker that was started without TETHER_SECRETS_KEY must not disable anybody."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    await write(conn, changed(1), now=clock())
    keyless = Delivering(pool, Sender(allowed=()), secrets_key=(), clock=clock)
    while await keyless.batch():
        pass
    await keyless.ended()
    found = await subscribers.by_id(conn, subscriber_id)
    assert found is not None
    assert (found.failing_since_at, found.waiting) == (None, 1)
    assert await _rows(conn, "select error, failures from deliveries") == [("secret_unreadable", 0)]
    clock.now += timedelta(minutes=2)
    await deliver()
    assert len(receiver.taken()) == 1


async def test_a_deleted_event_is_given_up_and_old_deliveries_are_pruned(
    conn: Connection, pool: Pool, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """An event that is not stored any more would be tried for ever, and a log without an end fills the disk."""
    await subscribe(conn, receiver.url, now=clock())
    receiver.fault = "500"
    await write(conn, changed(1), changed(2), now=clock())
    await deliver()
    await conn.execute("delete from outbox where id = 1")
    receiver.fault = "ok"
    clock.now += timedelta(minutes=1)
    await deliver()
    assert await _rows(conn, "select event_id, state, error from deliveries order by 1") == [
        (1, "given_up", "event_deleted"),
        (2, "delivered", None),
    ]
    prune = pruning(pool, clock=clock, days=30)
    await prune.do()
    assert len(await _rows(conn, "select from deliveries")) == 2
    clock.now += timedelta(days=31)
    await prune.do()
    assert await _rows(conn, "select from deliveries union all select from delivery_tries") == []


async def test_two_workers_send_each_event_once_and_in_order(
    conn: Connection, pool: Pool, receiver: Receiver, clock: Clock
) -> None:
    """Two processes that make and lease at the same time must neither send twice nor overtake each other within a payment."""
    await subscribe(conn, receiver.url, now=clock())
    steps = ("approved", "chargebacked", "chargeback_reversed")
    await write(conn, *(changed(n, after) for after in steps for n in range(1, 41)), now=clock())
    workers = [
        Delivering(pool, Sender(allowed=networks(["127.0.0.1"])), secrets_key=[KEY], clock=clock)
        for _ in range(2)
    ]

    async def work(delivering: Delivering) -> None:
        while len(receiver.taken()) < 120:
            await delivering.batch()

    async with asyncio.timeout(120):
        await asyncio.gather(*map(work, workers))
    for delivering in workers:
        await delivering.ended()
    assert len(receiver.received) == 120
    for number in range(1, 41):
        assert [after for attempt_id, after in _attempts(receiver.received) if attempt_id == number] == list(
            steps
        )


async def test_removed_subscribers_get_nothing_and_their_results_are_dropped(
    conn: Connection, pool: Pool, receiver: Receiver, deliver: Deliver, clock: Clock
) -> None:
    """A request that is on its way while its subscriber is removed must not fail the worker."""
    subscriber_id = await subscribe(conn, receiver.url, now=clock())
    await write(conn, changed(1), changed(2), now=clock())
    receiver.fault = "500"
    await deliver()
    clock.now += timedelta(minutes=1)
    leased_until = clock() + timedelta(seconds=30)
    claimed = await deliveries.claim(conn, subscriber_id, limit=1, leased_until=leased_until, now=clock())
    async with transaction(pool) as removing:
        await subscribers.put_state(removing, subscriber_id, "removed", now=clock())
        await deliveries.drop_waiting(removing, subscriber_id)
    async with transaction(pool) as late:
        await worker_deliveries.record(
            late,
            claimed[0],
            Response(410, "status"),
            tried_at=clock(),
            took_ms=1,
            now=clock(),
            jitter=0.5,
        )
    assert await _rows(conn, "select state, length(sealed) from subscribers") == [("removed", 0)]
    assert await _rows(conn, "select from deliveries") == []
    await deliver()
    assert len(receiver.received) == 2
