"""What is kept of a flood, and what of it still counts."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.notification import FORM, decode
from tether_core.notifications.excess_deliveries import (
    CONFLICTS_PER_KEY_MAX,
    IDENTITY_CHECKS_PER_DAY_MAX,
    INQUIRE_AGAIN_S,
    ROWS_PER_CLASS_MAX,
    report_class,
)
from tether_core.notifications.identity import identify
from tether_core.testing import form_body
from tether_stores.notifications import excess_deliveries, webhook_events
from tether_stores.notifications.webhook_events import Finish, Recording

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection


def _row(**fields: str) -> Recording:
    body = form_body(fields, secret="x")
    notification = decode(body, content_type=FORM)
    same = identify(notification, account="default")
    return Recording(
        same.key,
        same.content,
        "default",
        notification.kind,
        notification.id,
        notification.status,
        notification.event or "",
        FORM,
        body,
        report_class(notification),
    )


def _dispute(n: int, unique_id: str = "u-1") -> Recording:
    return _row(unique_id=unique_id, status="chargebacked", event="chargeback", chargeback_unique_id=f"c{n}")


async def _one(conn: Connection, query: str) -> tuple[Any, ...]:
    row = await (await conn.execute(query)).fetchone()
    assert row is not None
    return tuple(row)


async def _record(conn: Connection, *rows: Recording, now: datetime = NOON) -> list[str]:
    return list(await webhook_events.record(conn, rows, now=now))


async def test_of_one_payment_and_class_so_many_are_kept_and_the_rest_is_counted(conn: Connection) -> None:
    """One pair of id and signature would fill the disk, and a person's list, with chargebacks that never were."""
    for n in range(ROWS_PER_CLASS_MAX):
        assert await _record(conn, _dispute(n)) == ["recorded"]
    assert await _record(conn, *map(_dispute, range(100, 300))) == ["counted"] * 200
    assert await _record(conn, _dispute(3)) == ["repeated"]  # one that is kept stays known
    assert await _one(conn, "select count(*) from webhook_events") == (ROWS_PER_CLASS_MAX,)
    assert await excess_deliveries.of(conn, 1) == 200
    assert await excess_deliveries.counts(conn) == (1, 200)


async def test_one_batch_of_a_flood_is_bounded_too(conn: Connection) -> None:
    """A batch of 256 deliveries with an invalid signature is one statement, which does not see its own rows."""
    outcomes = await _record(conn, *map(_dispute, range(100)))
    assert (outcomes.count("recorded"), outcomes.count("counted")) == (
        ROWS_PER_CLASS_MAX,
        100 - ROWS_PER_CLASS_MAX,
    )


async def test_a_status_that_is_not_stored_yet_is_never_dropped(conn: Connection) -> None:
    """The true decline, refund or second chargeback would be lost behind false chargebacks of the same payment."""
    await _record(conn, *map(_dispute, range(100)))
    await _record(conn, *(_row(unique_id="u-1", status=f"s{n}") for n in range(100)))
    for status in ("approved", "declined", "refunded", "second_chargebacked", "chargeback_reversed"):
        assert await _record(conn, _row(unique_id="u-1", status=status)) == ["recorded"]
    assert await _record(conn, _dispute(1, "u-2")) == ["recorded"]  # nor anything of another payment


async def test_a_repeat_in_a_batch_takes_nobodys_place(conn: Connection) -> None:
    """The gateway sends a notification twice at once; the copies would count as so many notifications."""
    assert await _record(conn, *[_dispute(1)] * 50, _dispute(2)) == ["recorded"] + ["repeated"] * 49 + [
        "recorded"
    ]


async def test_conflicting_copies_are_kept_up_to_a_bound(conn: Connection) -> None:
    """Copies of 60 KB each, with another field each time, would fill the disk at the speed of the network."""
    await _record(conn, _dispute(1))
    copies = [
        _row(
            unique_id="u-1",
            status="chargebacked",
            event="chargeback",
            chargeback_unique_id="c1",
            amount=str(n),
        )
        for n in range(50)
    ]
    outcomes = await _record(conn, *copies)
    assert (outcomes.count("conflicting"), outcomes.count("counted")) == (
        CONFLICTS_PER_KEY_MAX,
        50 - CONFLICTS_PER_KEY_MAX,
    )
    kept = [copy for copy, outcome in zip(copies, outcomes, strict=True) if outcome == "conflicting"]
    assert await _record(conn, *kept) == ["repeated"] * CONFLICTS_PER_KEY_MAX
    assert await _record(conn, *[kept[0]] * 3) == ["repeated"] * 3
    assert await excess_deliveries.of(conn, 1) == 50 - CONFLICTS_PER_KEY_MAX


async def test_large_copies_are_distinguished_from_what_is_new(conn: Connection) -> None:
    """Copies of 60 KB are compared by their keys before they are sent to Postgres; what is new among them must be inserted."""
    pad = {"message": "x" * 60_000}
    fields = {"unique_id": "u-1", "status": "approved"}
    assert await _record(conn, _row(**fields)) == ["recorded"]
    flood = [_row(**fields, **pad, n=str(n)) for n in range(30)]
    outcomes = await _record(conn, *flood, _row(**fields), _row(unique_id="u-2", status="approved", **pad))
    assert outcomes[-2:] == ["repeated", "recorded"]
    assert (outcomes.count("conflicting"), outcomes.count("counted")) == (5, 25)
    assert await _record(conn, *flood, flood[0]) == [
        "repeated" if o == "conflicting" else o for o in outcomes[:30]
    ] + ["repeated" if outcomes[0] == "conflicting" else outcomes[0]]


async def test_identity_checks_are_bounded_for_the_account(conn: Connection) -> None:
    """They may be signed with the login, which is no secret, for any number of ids."""
    checks = [_row(reference_id=f"k{n}", status="approved") for n in range(IDENTITY_CHECKS_PER_DAY_MAX + 20)]
    outcomes = [
        outcome for at in range(0, len(checks), 50) for outcome in await _record(conn, *checks[at : at + 50])
    ]
    assert (outcomes.count("recorded"), outcomes.count("counted")) == (IDENTITY_CHECKS_PER_DAY_MAX, 20)
    later = NOON + timedelta(days=1, seconds=1)
    assert await _record(conn, _row(reference_id="tomorrow", status="approved"), now=later) == ["recorded"]


async def test_counting_waits_for_no_worker(database_url: str, conn: Connection) -> None:
    """A worker that is frozen with a flooded payment's row would keep genuine notifications out for seconds."""
    await _record(conn, *map(_dispute, range(ROWS_PER_CLASS_MAX)))
    async with await psycopg.AsyncConnection.connect(database_url) as frozen:
        await webhook_events.claim(frozen, now=NOON, limit=100, freeze_s=60)
        await conn.execute("set lock_timeout = '2s'")
        other = _row(
            unique_id="u-1", status="chargebacked", event="chargeback", chargeback_unique_id="c1", amount="1"
        )
        outcomes = await asyncio.wait_for(_record(conn, _dispute(99), other, _dispute(1, "u-2")), 60)
        assert outcomes == ["counted", "conflicting", "recorded"]


async def _contradict(conn: Connection, row_id: int, *, state: str, next_at: datetime | None = None) -> None:
    finish = Finish(row_id, state, "contradicted", "contradicted", 0, next_at, None, is_contradicted=True)
    await webhook_events.finish(conn, [finish], now=NOON)


@pytest.mark.parametrize("again", ["repeated", "conflicting", "counted"])
async def test_what_was_contradicted_and_comes_again_is_inquired_again(conn: Connection, again: str) -> None:
    """A forgery that came before the true chargeback would make it a repeat, a conflict or an excess for ever."""
    later = NOON + timedelta(seconds=INQUIRE_AGAIN_S)
    fields = {"unique_id": "u-1", "status": "chargebacked", "event": "chargeback"}
    await _record(conn, _row(**fields))
    await _record(conn, *map(_dispute, range(1, ROWS_PER_CLASS_MAX)))
    await conn.execute("update webhook_events set state = 'processed', next_at = null where id > 1")
    genuine = {
        "repeated": _row(**fields),
        "conflicting": _row(**fields, amount="7"),
        "counted": _dispute(ROWS_PER_CLASS_MAX),
    }[again]
    await _contradict(conn, 1, state="contradicted")
    assert await _record(conn, genuine, now=later - timedelta(seconds=1)) == [again]
    assert await _one(conn, "select state from webhook_events where id = 1") == ("contradicted",)
    await _record(conn, genuine, now=later)
    begun = "select state, next_at, inquiries_began_at from webhook_events where id = 1"
    assert await _one(conn, begun) == ("confirming", later, None)
    # One that will be inquired in its own time is inquired at once.
    await _contradict(conn, 1, state="confirming", next_at=NOON + timedelta(days=1))
    await _record(conn, genuine, now=later)
    assert (await _one(conn, begun))[:2] == ("confirming", later)


async def test_what_took_effect_is_not_inquired_again(conn: Connection) -> None:
    """Each repeat of an honest chargeback would cost two requests to the gateway."""
    await _record(conn, _dispute(1))
    await webhook_events.finish(conn, [Finish(1, "processed", "applied", "moved", 0, None, None)], now=NOON)
    await _record(conn, _dispute(1), now=NOON + timedelta(days=1))
    assert await _one(conn, "select state from webhook_events") == ("processed",)


async def test_each_flood_is_announced_once(conn: Connection) -> None:
    """There would be a warning for each of a million deliveries, or none."""
    await _record(conn, *map(_dispute, range(100)))
    async with conn.transaction():
        (found,) = await excess_deliveries.take_unannounced(conn, limit=10, now=NOON)
    assert (found.webhook_event_id, found.kind, found.deliveries) == (1, "payment", 92)
    await _record(conn, *map(_dispute, range(200, 300)))
    assert await excess_deliveries.take_unannounced(conn, limit=10, now=NOON) == []
    assert await excess_deliveries.counts(conn) == (1, 192)
