"""Rows that are asked about: due, leased, held, and noted; attempts and orders alike."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.emp import codes
from tether_core.payments.attempt import Attempt
from tether_sandbox.seed import seed
from tether_stores.payments import billing_attempts
from tether_stores.refunds import refunds

if TYPE_CHECKING:
    from tether_stores.payments.inquiries import Asks
    from tether_stores.postgres import Connection

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ASKS_MAX = 5


@pytest.fixture(params=["billing_attempts", "givebacks"])
async def table(
    request: pytest.FixtureRequest, conn: Connection, database_url: str
) -> tuple[Asks, list[int]]:
    """A table with three rows of unknown outcome since noon, and their ids."""
    made = list(seed(database_url, attempts=3, chance=random.Random(7), now=NOON))
    if request.param == "billing_attempts":
        await conn.execute(
            "update billing_attempts set state = 'unknown', payment_stage = %s, unique_id = null",
            [codes.UNKNOWN_TO_US],
        )
        return billing_attempts.ASKS, [one.id for one in made]
    ids = list[int]()
    for one in made:
        debit = Attempt(one.id, "default", one.transaction_id, one.unique_id, one.amount_minor, one.currency)
        row_id = await refunds.add(
            conn,
            debit,
            kind="refund",
            number=1,
            transaction_id=f"r-{one.id}",
            usage="Refund",
            ordered_by="tests",
            now=NOON,
        )
        assert row_id is not None
        ids.append(row_id)
    await conn.execute(
        "update givebacks set state = 'unknown', payment_stage = %s, send_at = null, sends = 1, sent_at = %s",
        [codes.UNKNOWN_TO_US, NOON],
    )
    return refunds.ASKS, ids


def due(at: datetime) -> dict[str, Any]:
    """What is due at a moment: rows of unknown outcome without news for an hour."""
    return {
        "payment_stages": [codes.UNKNOWN_TO_US],
        "silent_since": at - HOUR,
        "asks_max": ASKS_MAX,
        "now": at,
    }


async def test_a_row_is_asked_about_by_one_at_a_time(conn: Connection, table: tuple[Asks, list[int]]) -> None:
    """Two workers that ask about the same row spend the account's rate twice, and nobody is the wiser."""
    asks, ids = table
    at = NOON + HOUR
    assert not await asks.any_due(conn, **due(at - timedelta(seconds=1)))
    assert await asks.any_due(conn, **due(at))
    lease = at + timedelta(minutes=1)
    first = await asks.claim(conn, **due(at), leased_until=lease, limit=2)
    rest = await asks.claim(conn, **due(at), leased_until=lease, limit=2)
    assert ([len(first), len(rest)], sorted(one.id for one in (*first, *rest))) == ([2, 1], ids)
    assert {(one.account, one.payment_stage, one.asks) for one in first} == {
        ("default", codes.UNKNOWN_TO_US, 0)
    }
    assert not await asks.any_due(conn, **due(at))

    # Whoever lives holds on; whoever does not has lost the row when the lease is over.
    later = lease + timedelta(minutes=1)
    assert await asks.prolong(conn, [one.id for one in first], leased_until=lease, until=later) == 2
    assert await asks.prolong(conn, [one.id for one in first], leased_until=lease, until=later) == 0
    again = await asks.claim(conn, **due(lease), leased_until=later, limit=9)
    assert [one.id for one in again] == [one.id for one in rest]


async def test_what_was_heard_says_when_to_ask_again(conn: Connection, table: tuple[Asks, list[int]]) -> None:
    """A row that is noted wrongly is asked about without end, or never again."""
    asks, ids = table
    soon = NOON + timedelta(minutes=5)
    await asks.note(conn, [])
    await asks.note(conn, [(ids[0], 1, soon), (ids[1], ASKS_MAX, soon), (ids[2], 0, None)])
    (one,) = await asks.claim(conn, **due(soon), leased_until=soon + HOUR, limit=9)
    assert (one.id, one.asks) == (ids[0], 1)
    (fresh,) = await asks.claim(conn, **due(NOON + HOUR), leased_until=NOON + 2 * HOUR, limit=9)
    assert fresh.id == ids[2]
