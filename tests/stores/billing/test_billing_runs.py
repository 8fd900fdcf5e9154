"""What is known of debtors, and how runs stand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core.billing import auto_pause
from tether_core.billing.eligibility import judge
from tether_core.billing.overrides import Override
from tether_core.billing.refunded_before import RefundedDebit
from tether_core.billing.run_options import RunOptions
from tether_core.payments.matches import Elsewhere
from tether_core.vop import Score
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Progress
from tether_stores.billing.candidates import Owing, load_owing
from tether_stores.payments import submissions
from tether_stores.payments.submissions import NewAttempt
from tether_stores.postgres import transaction

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANNA = Owed("DE89370400440532013000", 1000, "Anna Schmidt")


async def run_of(conn: Connection, upload_id: int, **options: Any) -> int:
    """A run that is to be planned."""
    return await billing_runs.add(
        conn,
        upload_id=upload_id,
        account="default",
        options=RunOptions(**options),
        created_by="tests",
        now=NOW,
    )


async def tried(conn: Connection, run_id: int, debtor: Owing, *, now: datetime = NOW, **columns: Any) -> int:
    """An attempt for a debtor, with some columns as they may come to be; gives its id."""
    made = NewAttempt(
        debtor.candidate.debtor_id, f"t-{run_id}-{debtor.candidate.debtor_id}-{debtor.next_number}", 1000, "EUR",
        debtor.iban_fingerprint, "DE89", debtor.next_number,
    )  # fmt: skip
    await submissions.add(conn, [made], run_id=run_id, account="default", due_item="once", now=now)
    row = await (await conn.execute("select max(id) from billing_attempts")).fetchone()
    assert row is not None
    for name, value in columns.items():
        await conn.execute(f"update billing_attempts set {name} = %s where id = %s", (value, row[0]))
    return int(row[0])


async def facts(conn: Connection, upload_id: int | None, **more: Any) -> list[Owing]:
    """What is known of an upload's debtors."""
    given: dict[str, Any] = {"due_item": "once", "now": NOW, "limit": 10, "upload_id": upload_id} | more
    return await load_owing(conn, **given)


async def test_a_debtor_of_whom_nothing_is_known(conn: Connection, database_url: str) -> None:
    """Facts that are not there must not be taken for facts that speak against somebody."""
    upload_id, (debtor_id,) = seed_upload(database_url, [ANNA], now=NOW)
    (item,) = await facts(conn, upload_id)
    candidate = item.candidate
    assert (candidate.debtor_id, candidate.iban, candidate.amount_minor, candidate.has_name) == (
        debtor_id,
        ANNA.iban,
        1000,
        True,
    )
    assert (
        candidate.listed,
        candidate.item_state,
        candidate.tries,
        candidate.charged_back_for,
        candidate.paid_minor,
    ) == (
        None,
        None,
        0,
        (),
        0,
    )
    assert (candidate.elsewhere, candidate.check, candidate.reasons, candidate.has_address) == (
        Elsewhere(),
        None,
        (),
        False,
    )
    assert (item.next_number, item.payer.name) == (1, "Anna Schmidt")
    assert ANNA.iban not in repr(item)


async def test_the_blacklist_as_it_is_now(conn: Connection, database_url: str) -> None:
    """A block hides behind a hold, a lifted entry speaks, or a spent one: each debits somebody who must not be."""
    upload_id, _ = seed_upload(database_url, [ANNA], now=NOW)
    (item,) = await facts(conn, upload_id)

    async def enter(action: str, reason: str, **columns: Any) -> None:
        values = {
            "iban_fingerprint": item.iban_fingerprint, "iban_masked": "DE89", "action": action, "scope": "iban",
            "reason_code": reason, "note": "", "source": "manual", "added_by": "tests", "created_at": NOW, **columns,
        }  # fmt: skip
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        await conn.execute(f"insert into blacklist ({names}) values ({places})", list(values.values()))

    await enter("block", "AC01", lifted_at=NOW, lifted_by="tests")
    await enter("block", "AC04", expires_at=NOW)
    assert (await facts(conn, upload_id))[0].candidate.listed is None
    await enter("hold", "MD06", expires_at=NOW + timedelta(days=1))
    assert (await facts(conn, upload_id))[0].candidate.listed == "hold"
    await enter("block", "MD01")
    candidate = (await facts(conn, upload_id))[0].candidate
    assert (candidate.listed, candidate.listed_reason) == ("block", "MD01")


async def test_the_item_as_it_was_tried(conn: Connection, database_url: str) -> None:
    """A try of the same item that is overlooked is a second debit."""
    upload_id, _ = seed_upload(database_url, [ANNA], now=NOW)
    run_id = await run_of(conn, upload_id)
    (item,) = await facts(conn, upload_id)
    first = await tried(conn, run_id, item, state="error", payment_stage=40)
    (item,) = await facts(conn, upload_id)
    assert (item.candidate.item_state, item.candidate.tries, item.next_number) == (None, 1, 2)
    excluded = await tried(conn, run_id, item, state="error", payment_stage=40, not_submitted_reason="held")
    (item,) = await facts(conn, upload_id)
    assert (item.candidate.tries, item.next_number) == (1, 3)  # it was never tried, and its number is taken
    for state in ("pending", "unknown", "approved"):
        await conn.execute("update billing_attempts set state = %s where id = %s", (state, first))
        assert (await facts(conn, upload_id))[0].candidate.item_state == state
    # The furthest of several speaks; an attempt that is about to be sent does not stand in its own way.
    await conn.execute("update billing_attempts set state = 'pending' where id = %s", (excluded,))
    assert (await facts(conn, upload_id))[0].candidate.item_state == "approved"
    assert (await facts(conn, upload_id, without=[first]))[0].candidate.item_state == "pending"
    assert (await facts(conn, upload_id, without=[first, excluded]))[0].candidate.item_state is None
    assert (await facts(conn, upload_id, due_item="2026-04"))[0].candidate.item_state is None
    # Attempts from before runs existed belong to the item "once".
    await conn.execute(
        "update billing_attempts set due_item = null, try_number = null where id = %s", (first,)
    )
    assert (await facts(conn, upload_id))[0].candidate.item_state == "approved"


async def test_the_account_as_it_was_debited_elsewhere(conn: Connection, database_url: str) -> None:
    """The same account in another file is the same person, who would pay twice or charge back once more."""
    other, _ = seed_upload(database_url, [ANNA], now=NOW)
    upload_id, _ = seed_upload(database_url, [ANNA], now=NOW)
    run_id = await run_of(conn, other)
    (there,) = await facts(conn, other)
    ago = NOW - timedelta(days=3, hours=1)
    assert (await facts(conn, upload_id))[
        0
    ].candidate.elsewhere.waiting is not None  # in its file, not billed yet
    attempt_id = await tried(conn, run_id, there, now=ago)
    assert (await facts(conn, upload_id))[0].candidate.elsewhere.waiting is not None  # ready is not submitted
    await conn.execute(
        "update billing_attempts set submission_count = 1, submitted_at = created_at, submit_at = null"
    )
    candidate = (await facts(conn, upload_id))[0].candidate
    assert (candidate.elsewhere.tried_days_ago, candidate.paid_minor, candidate.item_state) == (3, 1000, None)
    assert candidate.elsewhere.under_way is not None
    assert candidate.elsewhere.under_way.upload_id == other
    assert (await facts(conn, other))[0].candidate.elsewhere == Elsewhere()  # its own file is not elsewhere
    await conn.execute("update billing_attempts set state = 'voided' where id = %s", (attempt_id,))
    candidate = (await facts(conn, upload_id))[0].candidate
    assert (candidate.elsewhere.tried_days_ago, candidate.elsewhere.refunded is None) == (None, False)
    await conn.execute(
        "update billing_attempts set state = 'error', not_submitted_reason = 'held' where id = %s",
        (attempt_id,),
    )
    candidate = (await facts(conn, upload_id))[0].candidate
    assert (candidate.elsewhere.tried_days_ago, candidate.elsewhere.waiting is None) == (None, False)
    await conn.execute("update billing_attempts set not_submitted_reason = null where id = %s", (attempt_id,))
    await conn.execute(
        "update billing_attempts set state = 'chargebacked', dispute_stage = 1, reason_code = null where id = %s",
        (attempt_id,),
    )
    candidate = (await facts(conn, upload_id))[0].candidate
    assert (candidate.charged_back_for, candidate.paid_minor, candidate.item_returned) == (("",), 0, False)
    assert (await facts(conn, other))[0].candidate.item_returned
    await conn.execute(
        "update billing_attempts set dispute_stage = 2, state = 'approved' where id = %s", (attempt_id,)
    )
    assert (await facts(conn, upload_id))[0].candidate.charged_back_for == ()  # won back


async def test_refunds_of_the_same_debit_are_known(conn: Connection, database_url: str) -> None:
    """A refund that is overlooked is collected again; one of somebody else with the same account keeps nobody away."""
    other, (other_id,) = seed_upload(database_url, [ANNA], now=NOW)
    upload_id, (debtor_id,) = seed_upload(database_url, [ANNA], now=NOW)
    (elsewhere,), (own,) = await facts(conn, other), await facts(conn, upload_id)
    before = NOW - timedelta(days=30)
    ids = [
        await tried(
            conn, await run_of(conn, other), elsewhere, now=before, state="refunded", payment_stage=80
        ),
        # Charged back as well: the money was refunded all the same.
        await tried(
            conn, await run_of(conn, upload_id), own, state="chargebacked", payment_stage=70, dispute_stage=1
        ),
    ]
    await conn.execute("update debtors set reference = 'RE-7' where id = %s", (debtor_id,))
    (item,) = await facts(conn, upload_id)
    found = {refund.attempt_id: refund for refund in item.candidate.refunds}
    assert found == {
        ids[0]: RefundedDebit(ids[0], "refunded", "once", same_debtor=False, same_upload=False, days_ago=30),
        ids[1]: RefundedDebit(ids[1], "voided", "once", same_debtor=True, same_upload=True, days_ago=0),
    }
    assert (item.candidate.item_state, item.candidate.set_aside) == (None, frozenset())
    await conn.execute("update debtors set reference = 'RE-8' where id = %s", (other_id,))
    (item,) = await facts(conn, upload_id)
    assert [refund.attempt_id for refund in item.candidate.refunds] == [ids[1]]
    agreed = Override(("refunded_before",), "agreed", debtor_ids=(debtor_id,))
    (item,) = await facts(conn, upload_id, overrides=[agreed])
    assert item.candidate.set_aside == {"refunded_before"}


async def test_a_refund_is_known_when_the_row_has_another_account_by_now(
    conn: Connection, database_url: str
) -> None:
    """A person voids a debit and corrects the account of its row; the same item would be collected there unasked."""
    upload_id, (debtor_id,) = seed_upload(database_url, [ANNA], now=NOW)
    (own,) = await facts(conn, upload_id)
    voided = await tried(conn, await run_of(conn, upload_id), own, state="voided", payment_stage=70)
    await conn.execute(
        "update debtors set iban = 'DE02120300000000202051', iban_fingerprint = 'another' where id = %s",
        (debtor_id,),
    )
    (item,) = await facts(conn, upload_id)
    assert item.candidate.refunds == (
        RefundedDebit(voided, "voided", "once", same_debtor=True, same_upload=True, days_ago=0),
    )
    assert judge(item.candidate, options=RunOptions()).code == "refunded_before"


async def test_what_else_speaks_for_or_against_a_debtor(conn: Connection, database_url: str) -> None:
    """The rule that decides must get the results of intake and checks."""
    upload_id, (debtor_id,) = seed_upload(
        database_url, [msgspec.structs.replace(ANNA, city="Bern", country="CH")], now=NOW
    )
    await conn.execute(
        "insert into vop_checks (debtor_id, state, score, answered, result, requested_at)"
        " values (%s, 'checked', 70, 85, 'likely_verified', %s)",
        (debtor_id, NOW),
    )
    await conn.execute("update debtors set verdict = 'blacklisted_name', cause = 'The name is listed.'")
    candidate = (await facts(conn, upload_id))[0].candidate
    assert candidate.check == Score(70, 85, "likely_verified")
    assert [(reason.rule, reason.cause) for reason in candidate.reasons] == [
        ("blacklisted_name", "The name is listed.")
    ]
    assert candidate.has_address


async def test_debtors_come_in_pages_and_by_id(conn: Connection, database_url: str) -> None:
    """A page that repeats or skips a debtor bills somebody twice, or not at all."""
    upload_id, ids = seed_upload(database_url, [ANNA] * 5, now=NOW)
    seed_upload(database_url, [ANNA], now=NOW)
    pages = [await facts(conn, upload_id, limit=2, after=after) for after in (0, ids[1], ids[3], ids[4])]
    assert [[item.candidate.debtor_id for item in page] for page in pages] == [ids[:2], ids[2:4], ids[4:], []]
    some = await facts(conn, None, ids=[ids[3], ids[0]])
    assert [item.candidate.debtor_id for item in some] == [ids[0], ids[3]]


async def test_a_pause_waits_for_claims_and_keeps_out_later_ones(pool: Pool, database_url: str) -> None:
    """Without the lock a worker could claim debits after the pause was confirmed to a person."""
    upload_id, _ = seed_upload(database_url, [ANNA], now=NOW)
    async with transaction(pool) as conn:
        run_id = await run_of(conn, upload_id)
    order = list[str]()

    async def pause() -> None:
        async with transaction(pool) as conn:
            run = await billing_runs.hold(conn, run_id)
            assert run is not None
            order.append("paused")
            paused = msgspec.structs.replace(run, state="paused", pause_reason="x", paused_from="running")
            await billing_runs.change(conn, paused, now=NOW)

    async with transaction(pool) as conn:
        assert await billing_runs.share(conn, run_id) is not None
        async with transaction(pool) as other:  # two workers may claim at once
            assert await billing_runs.share(other, run_id) is not None
        pausing = asyncio.create_task(pause())
        async with pool.connection() as looking:
            while True:
                row = await (
                    await looking.execute("select count(*) from pg_locks where not granted")
                ).fetchone()
                if row and row[0]:
                    break
        order.append("claimed")
    await pausing
    assert order == ["claimed", "paused"]
    async with transaction(pool) as conn:
        run = await billing_runs.share(conn, run_id)
        assert run is not None
        assert (run.state, run.paused_from) == ("paused", "running")


async def test_gauges_count_what_they_say(conn: Connection, database_url: str) -> None:
    """An auto-pause that counts the wrong debits stops the good runs, or none."""
    upload_id, _ = seed_upload(database_url, [ANNA] * 9, now=NOW)
    run_id = await run_of(conn, upload_id)
    debtors = await facts(conn, upload_id)
    columns: list[dict[str, Any]] = [
        {},  # ready
        {"canary": True, "payment_stage": 10, "state": "unknown", "submit_at": None},
        {"canary": True, "payment_stage": 50, "state": "declined"},
        {"payment_stage": 40, "state": "error"},
        {"payment_stage": 40, "state": "error", "not_submitted_reason": "held"},
        {"payment_stage": 60, "state": "approved"},
        {"payment_stage": 60, "state": "chargebacked", "dispute_stage": 1, "reason_code": "MD01"},
        {"payment_stage": 60, "state": "chargebacked", "dispute_stage": 3},
        {"payment_stage": 60, "state": "chargebacked", "dispute_stage": 1, "reason_code": "XT33"},
    ]
    for item, changes in zip(debtors, columns, strict=True):
        await tried(conn, run_id, item, **changes)
    assert await billing_runs.canaries_open(conn, run_id)
    assert await billing_runs.returns_of_upload(conn, upload_id, excluded=auto_pause.EXCLUDED) == (3, 2)
    since = NOW - timedelta(days=1)
    account = billing_runs.returns_of_account
    assert await account(conn, "default", since=since, excluded=auto_pause.EXCLUDED) == (3, 2)
    assert await account(conn, "default", since=NOW + timedelta(days=1), excluded=[]) == (0, 0)
    assert await account(conn, "second", since=since, excluded=[]) == (0, 0)
    assert await billing_runs.open_attempts(conn, run_id)
    progress = await billing_runs.progress(conn, run_id)
    assert Progress("unknown", "unknown", True, 1, 1000) in progress
    assert Progress("pending", "ready", False, 1, 1000) in progress
    assert sum(some.count for some in progress) == 9


@pytest.mark.parametrize(
    ("state", "share", "found"),
    [("canary", "rest", 0), ("canary", "canaries", 1), ("running", "rest", 1), ("paused", "canaries", 0)],
)
async def test_only_runs_that_may_send_are_found(
    conn: Connection, database_url: str, state: str, share: str, found: int
) -> None:
    """A worker that finds a paused run claims nothing and looks again, for ever; one that finds none leaves money."""
    upload_id, _ = seed_upload(database_url, [ANNA], now=NOW)
    run_id = await run_of(conn, upload_id)
    (item,) = await facts(conn, upload_id)
    await tried(conn, run_id, item, canary=share == "canaries")
    reason = ("x", "running") if state == "paused" else (None, None)
    await conn.execute(
        "update billing_runs set state = %s, pause_reason = %s, paused_from = %s", (state, *reason)
    )
    assert await billing_runs.submittable(conn, now=NOW) == [(run_id, "default")] * found
    assert await billing_runs.submittable(conn, now=NOW - timedelta(seconds=1)) == []
