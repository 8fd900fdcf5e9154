"""A subscriber in this test's database, events for it, and the process that delivers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tether_core.events import AttemptStatusChanged
from tether_core.subscribers.addresses import networks
from tether_core.subscribers.subscriber import EventFilter
from tether_sandbox.receiver import serve
from tether_stores import events
from tether_stores.accounts.gateway_accounts import new_key
from tether_stores.subscribers import secrets, subscribers
from tether_worker.subscribers.deliveries import Delivering
from tether_worker.subscribers.sending import Sender

from tests.support.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tether_core.events import Event
    from tether_sandbox.receiver import Receiver
    from tether_stores.postgres import Connection, Pool

KEY = new_key()
SECRET = secrets.written(b"s" * 32)


class Deliver(Protocol):
    """Delivers what is due now; what the fixture `deliver` is."""

    async def __call__(self, *, batches: int = 200) -> None:
        """Run batches until none is left for now."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The endpoint of the subscriber."""
    async with serve(secrets=[SECRET]) as serving:
        yield serving


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves; it begins now, because receivers refuse old signatures."""
    return Clock(datetime.now(UTC))


@pytest.fixture
async def delivering(pool: Pool, clock: Clock) -> AsyncIterator[Delivering]:
    """What a worker process sends."""
    sender = Sender(allowed=networks(["127.0.0.0/8"]), timeout_s=60)
    deps = Delivering(pool, sender, secrets_key=[KEY], clock=clock, jitter=lambda: 0.5)
    yield deps
    await deps.ended()


@pytest.fixture
def deliver(delivering: Delivering) -> Deliver:
    """Deliver what is due now."""

    async def until_none_is_left(*, batches: int = 200) -> None:
        for _ in range(batches):
            if not await delivering.batch():
                return
        raise AssertionError("it goes on for ever")

    return until_none_is_left


async def subscribe(conn: Connection, url: str, *, name: str = "books", now: Any, **columns: Any) -> int:
    """Add a subscriber for all events that are not written yet; its id."""
    chosen = EventFilter(columns.pop("types", None), columns.pop("accounts", None))
    position = columns.pop("position", None)
    subscriber_id = await subscribers.add(
        conn, name=name, url=url, chosen=chosen, position=position, created_by="tests", now=now
    )
    assert subscriber_id is not None
    text = secrets.sealed(subscriber_id, [SECRET], keys=[KEY])
    await subscribers.put_secrets(conn, subscriber_id, text=text, old_secret_until=None, now=now)
    return subscriber_id


async def write(conn: Connection, *facts: Event, now: Any) -> None:
    """Write events into the outbox."""
    await events.append(conn, [(None, fact) for fact in facts], now=now)


def changed(attempt_id: int, after: str = "approved") -> AttemptStatusChanged:
    """A status of an attempt that changed."""
    return AttemptStatusChanged(attempt_id, f"t-{attempt_id}", "pending", after, after)
