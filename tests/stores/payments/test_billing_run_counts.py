"""Answers are counted once, as they are recorded, and a claim holds the counts it was decided by."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core.billing.auto_pause import RunCounts, refusals, small_runs
from tether_core.billing.run_options import RunOptions
from tether_core.payments.attempt import state_of
from tether_core.payments.submission import Submission
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.billing.candidates import load_owing
from tether_stores.payments import billing_attempts, billing_run_counts, submissions
from tether_stores.payments.submissions import NewAttempt, Written
from tether_stores.postgres import transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_core.payments.attempt import Attempt
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def planned(conn: Connection, database_url: str, debtors: int, *, canaries: int = 0) -> tuple[int, int]:
    """An upload and a run with an attempt for each debtor."""
    owed = [Owed(scripted_iban(number), 1000) for number in range(debtors)]
    upload_id, _ = seed_upload(database_url, owed, now=NOW)
    run_id = await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=NOW
    )
    owing = await load_owing(conn, due_item="once", now=NOW, limit=100, upload_id=upload_id)
    tries = [
        NewAttempt(
            item.candidate.debtor_id, f"t-{item.candidate.debtor_id}", 1000, "EUR", item.iban_fingerprint, "DE", 1,
            canary=number < canaries,
        )
        for number, item in enumerate(owing)
    ]  # fmt: skip
    await submissions.add(conn, tries, run_id=run_id, account="default", due_item="once", now=NOW)
    return upload_id, run_id


async def held(conn: Connection, run_id: int) -> list[Submission]:
    """The debits of a run, as they stand."""
    cursor = await conn.execute("select id from billing_attempts where run_id = %s order by id", (run_id,))
    rows = await submissions.locked(conn, [row_id for (row_id,) in await cursor.fetchall()])
    return [rows[row_id].submission for row_id in sorted(rows)]


def moved(attempt: Attempt, payment_stage: int) -> Attempt:
    """The attempt at another stage; its state follows."""
    assert state_of(payment_stage, attempt.dispute_stage)
    return msgspec.structs.replace(attempt, payment_stage=payment_stage)


async def counts(conn: Connection, upload_id: int) -> list[tuple[int, ...]]:
    """Answered and refused, of all and of canaries, of each run."""
    return [
        (run_counts.answered, run_counts.refused, run_counts.canaries_answered, run_counts.canaries_refused)
        for run_counts in await billing_run_counts.of_upload(conn, upload_id)
    ]


async def test_each_debit_is_counted_once_however_its_answer_comes(
    conn: Connection, pool: Pool, database_url: str
) -> None:
    """The call answers, a notification repeats it, an inquiry confirms it: counted three times it would pause a good run."""
    upload_id, run_id = await planned(conn, database_url, 4, canaries=1)

    async def by_call(place: int, stage: int, *, not_submitted_reason: str | None = None) -> None:
        async with transaction(pool) as tx:
            submission = (await held(tx, run_id))[place]
            after = msgspec.structs.replace(
                submission, attempt=moved(submission.attempt, stage), submit_at=None
            )
            await submissions.write(tx, [Written(after, not_submitted_reason)], now=NOW)

    async def by_notification(*stages: int) -> None:
        async with transaction(pool) as tx:
            attempts = [submission.attempt for submission in await held(tx, run_id)]
            await billing_attempts.move(
                tx, [moved(item, stage) for item, stage in zip(attempts, stages, strict=True)], now=NOW
            )

    await by_call(0, 10)
    assert await counts(conn, upload_id) == []  # unknown is no answer
    await by_call(0, 20)
    await by_call(1, 50)
    assert await counts(conn, upload_id) == [(2, 1, 1, 0)]
    await by_call(1, 50)
    await by_call(2, 40, not_submitted_reason="held")  # never submitted, so nobody answered
    assert await counts(conn, upload_id) == [(2, 1, 1, 0)]
    await by_notification(60, 50, 40, 20)
    assert await counts(conn, upload_id) == [(3, 1, 1, 0)]
    await by_notification(50, 60, 40, 40)  # accepted and declined later; declined and approved after all
    assert await counts(conn, upload_id) == [(3, 2, 1, 1)]
    (found,) = await billing_run_counts.of_upload(conn, upload_id)
    assert found.refused_at == NOW


async def test_what_is_recorded_waits_for_the_claim_that_did_not_see_it(
    conn: Connection, pool: Pool, database_url: str, eventually: Callable[..., Any]
) -> None:
    """A claim committed after the refusal that reaches the threshold would send a debit of a list that was known to be wrong."""
    upload_id, run_id = await planned(conn, database_url, 2)

    async def record() -> None:
        async with transaction(pool) as tx:
            submission = (await held(tx, run_id))[0]
            after = msgspec.structs.replace(submission, attempt=moved(submission.attempt, 50), submit_at=None)
            await submissions.write(tx, [Written(after)], now=NOW)

    async def waits() -> bool:
        cursor = await conn.execute("select count(*) from pg_locks where not granted")
        row = await cursor.fetchone()
        return row is not None and row[0] > 0

    async with transaction(pool) as claiming:
        seen = await billing_run_counts.share(claiming, run_id=run_id, upload_id=upload_id, now=NOW)
        assert seen == [RunCounts(run_id)]
        recording = asyncio.create_task(record())
        await eventually(waits, what="the record to wait for the claim")
        assert await counts(conn, upload_id) in ([], [(0, 0, 0, 0)])
    await recording
    async with transaction(pool) as claiming:
        (later,) = await billing_run_counts.share(claiming, run_id=run_id, upload_id=upload_id, now=NOW)
        assert later.refused == 1


async def test_refusals_are_released_with_a_name_and_a_reason(
    conn: Connection, pool: Pool, database_url: str
) -> None:
    """Who let a refused list go on is asked later; and refusals nobody had must not look released."""
    upload_id, run_id = await planned(conn, database_url, 2)
    _, other = await planned(conn, database_url, 1)
    for run in (run_id, other):
        async with transaction(pool) as tx:
            submission = (await held(tx, run))[0]
            await billing_attempts.move(tx, [moved(submission.attempt, 50)], now=NOW)
    (released,) = await billing_run_counts.release(
        conn, upload_id, by="ops", reason="The terminal was wrong", now=NOW + timedelta(minutes=1)
    )
    assert (released.run_id, released.since_release) == (run_id, (0, 0))
    assert (released.released_by, released.released_reason) == ("ops", "The terminal was wrong")
    assert released.released_at == NOW + timedelta(minutes=1)
    assert await billing_run_counts.release(conn, upload_id, by="ops", reason="again", now=NOW) == []
    (untouched,) = await billing_run_counts.share(
        conn, run_id=other, upload_id=upload_id + 1, now=NOW + timedelta(days=2)
    )
    assert untouched.since_release == (1, 1)


async def with_rows(
    conn: Connection, run_id: int, rows: int, counts: RunCounts, *, first_at: datetime | None
) -> None:
    """Further runs like *run_id*, and their counts."""
    await conn.execute(
        """
        with made as (
            insert into billing_runs (
                upload_id, account, due_item, state, options, planned_count, skipped, pause_reason, paused_from, created_by, created_at, updated_at
            )
            select upload_id, account, due_item, 'paused', options, 9, skipped, 'small runs', 'running', created_by, created_at, updated_at
            from billing_runs, generate_series(1, %(rows)s)
            where id = %(run_id)s
            returning id
        )
        insert into billing_run_counts (run_id, answered, refused, refused_at, released_answered, released_refused, first_answered_at)
        select id, %(answered)s, %(refused)s, %(first_at)s, %(released_answered)s, %(released_refused)s, %(first_at)s from made
        """,
        {**msgspec.to_builtins(counts), "run_id": run_id, "rows": rows, "first_at": first_at},
    )


async def small(conn: Connection, *, account: str = "default") -> list[RunCounts]:
    """What the next small run of an account is judged with."""
    return await billing_run_counts.small(conn, account=account, run_id=10**9, planned_count=3, now=NOW)


async def test_unanswered_runs_hide_no_small_runs(conn: Connection, database_url: str) -> None:
    """The paused parts of a wrong list must not use up the window, or the list goes on after two hundred of them."""
    _, run_id = await planned(conn, database_url, 1)
    await with_rows(conn, run_id, 6, RunCounts(0, 9, 9), first_at=NOW)
    await with_rows(conn, run_id, 250, RunCounts(0), first_at=None)
    found = await small(conn)
    assert [counts.answered for counts in found] == [9] * 6
    assert refusals(10**9, [], small=found, now=NOW).level == "pause"
    assert await small(conn, account="second") == []


async def test_small_runs_come_by_their_first_answer(conn: Connection, database_url: str) -> None:
    """A run that was paused for hours is the newest when it is answered: its good answers must count."""
    _, run_id = await planned(conn, database_url, 1)
    for answered, minutes in ((4, 10), (5, 30), (6, 20)):
        first_at = NOW - timedelta(minutes=minutes)
        await with_rows(conn, run_id, 1, RunCounts(0, answered), first_at=first_at)
    await with_rows(conn, run_id, 1, RunCounts(0, 7), first_at=NOW - timedelta(hours=24))
    assert [counts.answered for counts in await small(conn)] == [4, 6, 5]


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (RunCounts(0, 1, 0), True),
        (RunCounts(0, 19, 19), True),
        (RunCounts(0, 20, 0), False),
        (RunCounts(0, 19, 19, released_answered=19, released_refused=19), False),
        # Accepted before the release, and declined after it.
        (RunCounts(0, 30, 15, released_answered=30, released_refused=10), True),
        (RunCounts(0, 30, 30, released_answered=28, released_refused=5), False),
    ],
)
async def test_the_query_counts_as_the_judgement_does(
    conn: Connection, database_url: str, counts: RunCounts, *, found: bool
) -> None:
    """Rows that one of them passes over would use up the limit of the other."""
    _, run_id = await planned(conn, database_url, 1)
    await with_rows(conn, run_id, 1, counts, first_at=NOW)
    assert bool(await small(conn)) == found
    judged = small_runs(RunCounts(1, 49, 49), [counts]).text
    assert ("run 0" in judged) == found


async def test_answers_from_before_the_update_do_not_count(
    conn: Connection, pool: Pool, database_url: str
) -> None:
    """A run of last week would count as answered today, once one more of its debits is answered."""
    upload_id, run_id = await planned(conn, database_url, 2)
    _, today = await planned(conn, database_url, 2)
    await conn.execute(
        "insert into billing_run_counts (run_id, answered, refused, refused_at) values (%s, 9, 9, %s)",
        (run_id, NOW - timedelta(days=7)),
    )
    await billing_run_counts.begin(conn, today)
    for run in (run_id, today):
        async with transaction(pool) as tx:
            submission = (await held(tx, run))[0]
            await billing_attempts.move(tx, [moved(submission.attempt, 50)], now=NOW)
    assert await counts(conn, upload_id) == [(10, 10, 0, 0)]
    assert [found.run_id for found in await small(conn)] == [today]


async def test_a_release_accepts_small_runs_for_its_upload_alone(conn: Connection, database_url: str) -> None:
    """A run without refusals must be able to go on as well; what nobody has looked at must not."""
    upload_id, finished = await planned(conn, database_url, 1)
    other, elsewhere = await planned(conn, database_url, 1)
    await with_rows(conn, finished, 1, RunCounts(0, 5), first_at=NOW)
    await with_rows(conn, finished, 1, RunCounts(0, 9, 8), first_at=NOW)
    await conn.execute(
        "update billing_runs set state = 'finished', finished_at = %s where id = %s", (NOW, finished)
    )
    for run_id in (finished, elsewhere):
        await conn.execute(
            "insert into billing_run_counts (run_id, answered, refused) values (%s, 9, 9)", (run_id,)
        )
    released = await billing_run_counts.release(conn, upload_id, by="ops", reason="looked", now=NOW)
    assert [(found.since_release, found.small_runs_accepted) for found in released] == [
        ((0, 0), False),
        ((0, 0), True),
    ]
    assert released[0].run_id == finished
    of_upload = await billing_run_counts.of_upload(conn, upload_id)
    assert [(found.answered, found.small_runs_accepted) for found in of_upload] == [
        (9, False),
        (5, True),
        (9, True),
    ]
    assert [found.released_by for found in of_upload] == ["ops", None, "ops"]
    assert await billing_run_counts.of_upload(conn, other) == [RunCounts(elsewhere, 9, 9)]
