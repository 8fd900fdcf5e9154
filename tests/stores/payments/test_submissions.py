"""Debits on their way: ready, leased, written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core import iban
from tether_core.billing.run_options import RunOptions
from tether_core.errors import GatewaySilent
from tether_core.payments import submission
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.payments import submissions
from tether_stores.payments.submissions import LockedDebit, NewAttempt, Written
from tether_stores.postgres import transaction

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
IBAN = "DE89370400440532013000"
FINGERPRINT = iban.fingerprint(IBAN)


@pytest.fixture
async def run_id(conn: Connection, database_url: str) -> int:
    """A run with four debits, the third of them a canary."""
    upload_id, ids = seed_upload(database_url, [Owed(IBAN, 1000)] * 4, now=NOW)
    made = await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=NOW
    )
    tries = [
        NewAttempt(debtor, f"t-{debtor}", 1000, "EUR", FINGERPRINT, "DE89", 1, canary=place == 2)
        for place, debtor in enumerate(ids)
    ]
    added = await submissions.add(conn, tries, run_id=made, account="default", due_item="once", now=NOW)
    assert len(added) == 4
    # A second plan of the same debtors at the same time makes nothing.
    assert await submissions.add(conn, tries, run_id=made, account="default", due_item="once", now=NOW) == []
    return made


async def ready(
    conn: Connection, run_id: int, *, canaries_only: bool = False, limit: int = 10
) -> list[LockedDebit]:
    """What may be sent now."""
    return await submissions.ready(conn, run_id, canaries_only=canaries_only, now=NOW, limit=limit)


async def test_canaries_come_first_and_no_row_twice(pool: Pool, run_id: int) -> None:
    """Two workers that get the same row call for it twice."""
    async with transaction(pool) as conn, transaction(pool) as other:
        first = await ready(conn, run_id, limit=2)
        rest = await ready(other, run_id)
        ids = [row.submission.attempt.id for row in (*first, *rest)]
        assert len(set(ids)) == len(ids) == 4
        assert await ready(other, run_id, limit=0) == []
    async with transaction(pool) as conn:
        only = await ready(conn, run_id, canaries_only=True)
        assert [row.submission.attempt.id for row in only] == [first[0].submission.attempt.id]
        assert only[0].submission.step == "ready"
        assert not only[0].again


async def test_a_claim_is_written_and_found_again(pool: Pool, run_id: int) -> None:
    """What is lost between claim and record is a call that nobody can tell from others."""
    async with transaction(pool) as conn:
        (row, *_) = await ready(conn, run_id)
        claimed = submission.claim(row.submission, now=NOW, identity="0123456789abcdef")
        await submissions.write(conn, [Written(claimed)], now=NOW)
    async with transaction(pool) as conn:
        found = await submissions.locked(conn, [claimed.attempt.id])
        assert found[claimed.attempt.id].submission == claimed
        assert await submissions.counts(conn) == (1, 3)
        latest = NOW + timedelta(seconds=150)
        assert await submissions.expired(conn, now=NOW + timedelta(seconds=60), latest=latest, limit=10) == []
        (expired,) = await submissions.expired(conn, now=NOW + timedelta(seconds=75), latest=latest, limit=10)
        assert expired.submission == claimed
        # The clock was set back by a day: no lease ends so late.
        back = NOW - timedelta(days=1)
        (expired,) = await submissions.expired(conn, now=back, latest=back + timedelta(seconds=150), limit=10)
        assert expired.submission == claimed
        assert len(await submissions.unsent(conn, run_id, limit=10)) == 3


async def test_questions_begin_anew_with_each_lost_call(pool: Pool, run_id: int) -> None:
    """A debit lost a second time would not be asked about, because the questions of the first time were used up."""
    async with transaction(pool) as conn:
        (row, *_) = await ready(conn, run_id)
        claimed = submission.claim(row.submission, now=NOW)
        await submissions.write(conn, [Written(claimed)], now=NOW)
        await conn.execute(
            "update billing_attempts set inquiry_count = 10, inquire_at = %s where id = %s",
            (NOW, row.submission.attempt.id),
        )
        lost = submission.record(claimed, GatewaySilent(why="timeout"), number=1, now=NOW).submission
        await submissions.write(conn, [Written(lost)], now=NOW)
        asked = "select inquiry_count, inquire_at, state from billing_attempts where id = %s"
        cursor = await conn.execute(asked, (row.submission.attempt.id,))
        assert await cursor.fetchone() == (0, None, "unknown")
        # An inquiry without a response does not change the inquiry count.
        await conn.execute(
            "update billing_attempts set inquiry_count = 3 where id = %s", (row.submission.attempt.id,)
        )
        await submissions.write(conn, [Written(lost)], now=NOW)
        cursor = await conn.execute(asked, (row.submission.attempt.id,))
        assert await cursor.fetchone() == (3, None, "unknown")


@pytest.mark.parametrize(
    "change",
    [
        "submit_at = now(), leased_until = now()",
        "submission_count = 1",
        "try_number = null",
        "payment_stage = 15",
    ],
)
async def test_the_table_refuses_what_cannot_be(conn: Connection, run_id: int, change: str) -> None:
    """A debit that is both ready and being sent would be sent by two."""
    with pytest.raises(psycopg.errors.CheckViolation):
        await conn.execute(f"update billing_attempts set {change} where run_id = %s", (run_id,))


async def test_what_a_notification_ended_is_taken_out_of_the_way(conn: Connection, run_id: int) -> None:
    """Left there, it would be looked at by every claim, for ever."""
    await conn.execute(
        "update billing_attempts set payment_stage = 20 where id = (select min(id) from billing_attempts)"
    )
    assert len(await ready(conn, run_id)) == 3
    assert await submissions.unschedule_ended(conn, now=NOW) == 1
    assert await submissions.unschedule_ended(conn, now=NOW) == 0


async def test_a_day_is_counted(pool: Pool, conn: Connection) -> None:
    """A limit per day that is counted by two workers at once must come to the sum of both."""
    await conn.execute(
        "insert into gateway_accounts (name, sealed, api_url, enabled, created_at, updated_at)"
        " values ('second', '', 'x', true, now(), now())"
    )
    for _ in range(2):
        async with transaction(pool) as held:
            await submissions.hold_day(held, "second", day_on=NOW.date())
            await submissions.count_day(held, "second", day_on=NOW.date(), count=2, amount_minor=500)
    async with transaction(pool) as held:
        assert await submissions.hold_day(held, "second", day_on=NOW.date()) == (4, 1000)
        assert await submissions.hold_day(held, "second", day_on=(NOW + timedelta(days=1)).date()) == (0, 0)


async def test_only_returns_whose_day_has_come_are_due_again(conn: Connection, run_id: int) -> None:
    """Tried too early, too often, or for a run that was cancelled, a debit comes back once more, for a fee."""
    await conn.execute(
        "update billing_attempts set payment_stage = 60, dispute_stage = 1, state = 'chargebacked', reason_code = 'AM04',"
        " submit_at = null, return_handled_at = now(), retry_why = 'retry', retry_on = %s + (id - 1)::integer",
        (NOW.date(),),
    )
    await conn.execute("update billing_runs set state = 'running'")
    due = await submissions.due_again(conn, today=NOW.date(), limit=10)
    assert [(due_again.run_id, due_again.due_item, due_again.number) for due_again in due] == [
        (run_id, "once", 2)
    ]
    await conn.execute(
        "update billing_attempts set dispute_stage = 2, state = 'approved' where id = %s", (due[0].id,)
    )
    assert await submissions.due_again(conn, today=NOW.date(), limit=10) == []  # won back
    later = NOW.date() + timedelta(days=1)
    (second,) = await submissions.due_again(conn, today=later, limit=10)
    again = NewAttempt(
        second.debtor_id, "t-again", 1000, "EUR", FINGERPRINT, "DE89", second.number, retry_of=second.id
    )
    await submissions.add(conn, [again], run_id=run_id, account="default", due_item="once", now=NOW)
    assert await submissions.due_again(conn, today=later, limit=10) == []
    await conn.execute("update billing_runs set state = 'cancelled', finished_at = now()")
    assert await submissions.due_again(conn, today=later + timedelta(days=9), limit=10) == []
