"""Events to subscribers while the workers that send them are killed: each arrives, in order for its payment, under one id."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from tether_core.events import AttemptStatusChanged
from tether_core.subscribers.cloud_events import stable_id
from tether_core.subscribers.subscriber import EventFilter
from tether_sandbox.receiver import serve
from tether_stores import events
from tether_stores.accounts.gateway_accounts import new_key
from tether_stores.postgres import open_pool, transaction
from tether_stores.subscribers import secrets, subscribers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.receiver import Received
    from tether_sandbox.services.program import Launch, Program

PAYMENTS, STATUSES = 12, ("unknown", "approved", "chargebacked")
# After which requests the worker that sends is killed; the first of them is never answered.
KILLED_AT = (5, 17, 40)


async def test_events_arrive_although_their_senders_are_killed(
    process: Launch, environment: dict[str, str], eventually: Callable[..., Any]
) -> None:
    """
    A worker that is killed between request and record must not make a bookkeeping program miss a payment, or book it backwards.

    The leases of the killed workers are ended here, in place of waiting half a minute for each.
    """
    url, key, secret = environment["DATABASE_URL"], new_key(), secrets.written(b"s" * 32)
    environ = environment | {"TETHER_SUBSCRIBER_NETWORKS": "127.0.0.1", "TETHER_SECRETS_KEY": key}
    async with serve(secrets=[secret]) as receiver:
        await _prepare(url, receiver.url, key=key, secret=secret)
        sending: list[Program] = []

        def answer(_received: Received) -> str:
            return "hang" if len(receiver.received) == KILLED_AT[0] - 1 else "ok"

        def kill(_received: Received) -> None:
            if len(receiver.received) in KILLED_AT:
                sending[-1].kill()

        receiver.fault, receiver.on_received = answer, kill
        for count in KILLED_AT:
            sending.append(process("tether-worker", "run", "default", environ=environ))
            await eventually(
                lambda count=count: len(receiver.received) >= count, what=f"request {count}", timeout_s=200
            )
            with psycopg.connect(url) as conn:
                ended = conn.execute(
                    "update deliveries set leased_until = %s where leased_until is not null", [_now()]
                )
                assert ended.rowcount >= 1, "it was killed while nothing was sent"
        sending.append(process("tether-worker", "run", "default", environ=environ))
        with psycopg.connect(url, autocommit=True) as conn:

            def none_waits() -> bool:
                row = conn.execute("select count(*) from deliveries where state <> 'delivered'").fetchone()
                return row == (0,)

            await eventually(none_waits, what="all deliveries", timeout_s=300)
            log = {
                number: (tries, recorded)
                for number, tries, recorded in conn.execute(
                    "select event_id, tries, (select count(*) from delivery_tries t where t.delivery_id = d.id)"
                    " from deliveries d"
                )
            }
            wanted = {
                stable_id(number, occurred_at=at, payload=bytes(payload)): number
                for number, at, payload in conn.execute("select id, occurred_at, payload from outbox")
            }
        received = Counter(item.id for item in receiver.received)
        assert received.keys() == wanted.keys()
        assert len(log) == len(wanted) == PAYMENTS * len(STATUSES)
        repeated = sum(received.values()) - len(received)
        assert 1 <= repeated <= 8 * len(KILLED_AT)  # what the killed workers had sent, and nothing else
        for event, times in received.items():
            tries, recorded = log[wanted[event]]
            # Each request has a try of its own; the killed workers could not record theirs.
            assert 1 <= recorded <= times <= tries
        assert {item.verified_by for item in receiver.received} == {(0,)}
        by_payment = defaultdict[int, list[str]](list)
        for item in receiver.received:
            by_payment[item.data["attempt_id"]].append(item.data["after"])
        assert len(by_payment) == PAYMENTS
        for statuses in by_payment.values():
            places = [STATUSES.index(status) for status in statuses]
            assert places == sorted(places)


async def _prepare(url: str, receiver_url: str, *, key: str, secret: str) -> None:
    """Add a subscriber, and write all events."""
    async with open_pool(url, name="tests", max_size=1) as pool, transaction(pool) as conn:
        subscriber_id = await subscribers.add(
            conn,
            name="books",
            url=receiver_url,
            chosen=EventFilter(),
            position=0,
            created_by="tests",
            now=_now(),
        )
        assert subscriber_id is not None
        text = secrets.sealed(subscriber_id, [secret], keys=[key])
        await subscribers.put_secrets(conn, subscriber_id, text=text, old_secret_until=None, now=_now())
        changes = [
            AttemptStatusChanged(payment, f"t-{payment}", "pending", status, "tests")
            for status in STATUSES
            for payment in range(1, PAYMENTS + 1)
        ]
        await events.append(conn, [(None, change) for change in changes], now=_now())


def _now() -> datetime:
    return datetime.now(UTC)
