"""Rows that are asked about: due, leased, held, and noted; attempts and orders alike."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_sandbox.seed import seed
from tether_stores.payments import billing_attempts
from tether_stores.refunds import refunds

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.payments.inquiries import InquiryTable
    from tether_stores.postgres import Connection

HOUR = timedelta(hours=1)
INQUIRY_COUNT_MAX = 5


@pytest.fixture(params=["billing_attempts", "refunds"])
async def table(
    request: pytest.FixtureRequest, conn: Connection, database_url: str
) -> tuple[InquiryTable, list[int]]:
    """A table with three rows of unknown outcome since noon, and their ids."""
    made = list(seed(database_url, attempts=3, rng=random.Random(7), now=NOON))
    if request.param == "billing_attempts":
        await conn.execute(
            "update billing_attempts set state = 'unknown', payment_stage = %s, unique_id = null",
            [stages.UNKNOWN_TO_US],
        )
        return billing_attempts.INQUIRIES, [seeded.id for seeded in made]
    ids = list[int]()
    for seeded in made:
        debit = Attempt(
            seeded.id,
            "default",
            seeded.transaction_id,
            seeded.unique_id,
            seeded.amount_minor,
            seeded.currency,
        )
        row_id = await refunds.add(
            conn,
            debit,
            kind="refund",
            number=1,
            transaction_id=f"r-{seeded.id}",
            usage="Refund",
            ordered_by="tests",
            now=NOON,
        )
        assert row_id is not None
        ids.append(row_id)
    await conn.execute(
        "update refunds set state = 'unknown', payment_stage = %s, submit_at = null, submission_count = 1, submitted_at = %s",
        [stages.UNKNOWN_TO_US, NOON],
    )
    return refunds.INQUIRIES, ids


def due(at: datetime) -> dict[str, Any]:
    """What is due at a time: rows of unknown outcome without news for an hour."""
    return {
        "payment_stages": [stages.UNKNOWN_TO_US],
        "silent_since": at - HOUR,
        "inquiry_count_max": INQUIRY_COUNT_MAX,
        "now": at,
    }


async def test_a_row_is_inquired_by_one_worker_at_a_time(
    conn: Connection, table: tuple[InquiryTable, list[int]]
) -> None:
    """Two workers that ask about the same row spend the account's rate twice, and nobody is the wiser."""
    inquiries, ids = table
    at = NOON + HOUR
    assert not await inquiries.any_due(conn, **due(at - timedelta(seconds=1)))
    assert await inquiries.any_due(conn, **due(at))
    lease = at + timedelta(minutes=1)
    first = await inquiries.claim(conn, **due(at), leased_until=lease, limit=2)
    rest = await inquiries.claim(conn, **due(at), leased_until=lease, limit=2)
    assert ([len(first), len(rest)], sorted(item.id for item in (*first, *rest))) == ([2, 1], ids)
    assert {(row.account, row.payment_stage, row.inquiry_count) for row in first} == {
        ("default", stages.UNKNOWN_TO_US, 0)
    }
    assert not await inquiries.any_due(conn, **due(at))

    # A live worker renews its lease; a dead one loses the row when the lease expires.
    later = lease + timedelta(minutes=1)
    assert await inquiries.renew(conn, [row.id for row in first], leased_until=lease, until=later) == 2
    assert await inquiries.renew(conn, [row.id for row in first], leased_until=lease, until=later) == 0
    again = await inquiries.claim(conn, **due(lease), leased_until=later, limit=9)
    assert [item.id for item in again] == [item.id for item in rest]


async def test_what_was_heard_says_when_to_inquire_again(
    conn: Connection, table: tuple[InquiryTable, list[int]]
) -> None:
    """A row that is noted wrongly is asked about without end, or never again."""
    inquiries, ids = table
    soon = NOON + timedelta(minutes=5)
    await inquiries.reschedule(conn, [])
    await inquiries.reschedule(
        conn, [(ids[0], 1, soon), (ids[1], INQUIRY_COUNT_MAX, soon), (ids[2], 0, None)]
    )
    (item,) = await inquiries.claim(conn, **due(soon), leased_until=soon + HOUR, limit=9)
    assert (item.id, item.inquiry_count) == (ids[0], 1)
    (fresh,) = await inquiries.claim(conn, **due(NOON + HOUR), leased_until=NOON + 2 * HOUR, limit=9)
    assert fresh.id == ids[2]
