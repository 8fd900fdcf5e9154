"""Withdrawing an upload: its debtors count for nothing, and what was submitted cannot be taken back like that."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core.billing.run_options import RunOptions
from tether_core.errors import IllegalStep
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.gateway_identity import identity
from tether_core.payments.submission import SubmissionRules
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Answers, Rules
from tether_core.uploads.file_keys import content_key, object_key
from tether_core.uploads.upload import step
from tether_core.uploads.withdrawal import NotWithdrawable
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import objects
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.billing import billing_runs
from tether_stores.objects import open_objects
from tether_stores.postgres import transaction
from tether_stores.settings import Settings
from tether_stores.uploads import uploads, withdrawals
from tether_stores.uploads.withdrawals import Withdrawn
from tether_worker.__main__ import main
from tether_worker.billing.runs import auto_pause_runs, plan_chunk
from tether_worker.payments.call_limits import SubmissionDeps
from tether_worker.payments.claim import claim
from tether_worker.uploads.intake import Intake, read_one
from tether_worker.uploads.reader import ReaderLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tether_stores.postgres import Connection, Pool

    Eventually = Callable[..., Awaitable[object]]

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROWS = [f"A B;{scripted_iban(number)};{number + 1},50;R{number}" for number in range(6)]
ACCOUNT = GatewayAccount(
    name="default", api_url="http://127.0.0.1:9", login="a", passwords=("b",), terminal_tokens=("c",)
)
HERE = identity("http://127.0.0.1:9", login="a", terminal="c")


async def ask(conn: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the tables."""
    return await (await conn.execute(query, values)).fetchall()


async def withdraw(pool: Pool, upload_id: int, *, reason: str = "the wrong month") -> Withdrawn | None:
    """Withdraw an upload."""
    async with transaction(pool) as conn:
        return await withdrawals.withdraw(conn, upload_id, withdrawn_by="ada", reason=reason, now=NOW)


@pytest.fixture
def intake(pool: Pool, objects_dir: Path) -> Intake:
    """What reading files needs; chunks have three rows."""
    return Intake(
        pool=pool,
        objects=open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(objects_dir)})),
        clock=lambda: NOW,
        token=lambda: secrets.token_hex(4),
        fingerprint_key=b"",
        policy=ScreeningPolicy(),
        rules=Rules(),
        limits=ReaderLimits(1 << 30, 20),
        chunk_rows=3,
    )


async def send(intake: Intake, conn: Connection, *rows: str, dry_run: bool = False) -> tuple[int, bool]:
    """Hand a file in; gives the upload's id, and whether it is new."""
    data = "\n".join(["Name;IBAN;Betrag;Referenz", *rows, ""]).encode()
    key = object_key(secrets.token_hex(8), received_at=NOW, name="a.csv")

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await objects.put(intake.objects, key, chunks())
    digest, answers = hashlib.sha256(data).digest(), Answers()
    recording = uploads.NewUpload(
        key,
        "a.csv",
        len(data),
        digest,
        content_key(digest, answers=answers),
        answers,
        dry_run=dry_run,
        forced=False,
        added_by="tests",
    )
    return await uploads.record(conn, recording, now=NOW)


async def read_all(intake: Intake) -> None:
    """Read what was handed in."""
    while await read_one(intake):
        pass


async def order(conn: Connection, upload_id: int) -> int:
    """Order a run; gives its id."""
    return await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=NOW
    )


async def plan(pool: Pool) -> None:
    """Plan what is ordered."""
    while await plan_chunk(pool, now=NOW):
        pass


async def claimed(pool: Pool, run_id: int, *, limit: int = 1) -> int:
    """Claim debits of a run, as a worker does before it calls; gives how many."""
    none: Any = None
    deps = SubmissionDeps(
        pool, none, none, SubmissionRules(lease_s=75, not_found_grace_s=900), lambda: NOW, asyncio.Event()
    )
    permit = Permit(go=True, generation=0)
    claims, _ = await claim(deps, run_id, account=ACCOUNT, identity=HERE, permit=permit, limit=limit)
    return len(claims)


async def test_a_withdrawn_upload_excludes_nobody_of_its_successor(
    intake: Intake, pool: Pool, conn: Connection
) -> None:
    """The corrected file comes a minute later; were its debtors excluded as taken in before, nobody would be billed."""
    first, _ = await send(intake, conn, *ROWS)
    await read_all(intake)
    second, _ = await send(intake, conn, *ROWS, "C D;DE89370400440532013000;1,00;R9")
    await read_all(intake)
    clear = "select count(*) from debtors where upload_id = %s and verdict = 'clear'"
    assert await ask(conn, clear, second) == [(1,)]
    assert await withdraw(pool, second) == Withdrawn(is_new=True)
    assert await withdraw(pool, first) == Withdrawn(is_new=True)
    assert await withdraw(pool, first, reason="again") == Withdrawn(is_new=False)
    assert await withdrawals.by_id(conn, first) == withdrawals.Withdrawal(NOW, "ada", "the wrong month")
    # The very same file is a new upload now, and so is a corrected one.
    third, is_new = await send(intake, conn, *ROWS)
    assert is_new
    await read_all(intake)
    assert await ask(conn, clear, third) == [(6,)]
    await order(conn, third)
    await plan(pool)
    assert await ask(conn, "select planned_count, skipped from billing_runs") == [(6, b"{}")]
    assert await withdraw(pool, 999) is None


async def test_its_runs_end_as_cancelled_and_nothing_of_them_is_submitted(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """A run that was ordered before would go on to debit those whom the withdrawal was to spare."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)] * 3, now=NOW)
    planned = await order(conn, upload_id)
    await plan(pool)
    fresh = await order(conn, upload_id)
    assert await withdraw(pool, upload_id) == Withdrawn(is_new=True, cancelled=(planned, fresh))
    assert await claimed(pool, planned) == 0
    await plan(pool)
    await auto_pause_runs(pool, clock=lambda: NOW).do()
    assert await ask(conn, "select distinct state, finished_at from billing_runs") == [("cancelled", NOW)]
    assert await ask(
        conn, "select distinct state, not_submitted_reason, submission_count from billing_attempts"
    ) == [("error", "cancelled", 0)]
    with pytest.raises(IllegalStep, match="withdrawn, so it cannot be answered"):
        step("withdrawn", "answered")


@pytest.mark.parametrize(
    ("happened", "sentence"),
    [
        ("submission_count = 1, submitted_at = now(), submit_at = null, state = 'approved', payment_stage = 60", "1 debit of upload 1 was submitted"),
        ("submission_count = 1, submitted_at = now(), submit_at = null, state = 'declined', payment_stage = 50", "1 debit of upload 1 was submitted"),
        ("unique_id = 'u-1'", "1 debit of upload 1 was submitted"),
        ("submission_count = 1, submitted_at = now()", "1 debit of upload 1 was submitted"),
        ("state = 'unknown', payment_stage = 10", "1 debit of upload 1 may have been submitted"),
        ("submission_count = 1, submitted_at = now(), submit_at = null, leased_until = now()", "1 debit of upload 1 may have been submitted"),
    ],
)  # fmt: skip
async def test_what_was_submitted_or_may_have_been_is_not_withdrawn(
    happened: str, sentence: str, pool: Pool, conn: Connection, database_url: str
) -> None:
    """Its debtors would count for nothing, and the corrected file would debit them a second time."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)] * 2, now=NOW)
    run_id = await order(conn, upload_id)
    await plan(pool)
    await conn.execute(
        f"update billing_attempts set {happened} where id = (select min(id) from billing_attempts)"
    )
    with pytest.raises(NotWithdrawable, match=sentence):
        await withdraw(pool, upload_id)
    assert await ask(conn, "select state from uploads") == [("completed",)]
    assert await ask(conn, "select state from billing_runs where id = %s", run_id) == [("running",)]


async def test_calls_that_submitted_nothing_do_not_stand_in_the_way(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """The gateway refused our password, so nobody was debited, and a cancelled run has ended."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)] * 2, now=NOW)
    await order(conn, upload_id)
    await plan(pool)
    await conn.execute(
        "update billing_attempts set submission_count = 2, submissions_uncounted = 2, submitted_at = now()"
    )
    assert await withdraw(pool, upload_id) == Withdrawn(is_new=True, cancelled=(1,))


@pytest.mark.parametrize("first", ["claim", "withdrawal"])
async def test_a_claim_and_a_withdrawal_at_once_wait_for_each_other(
    first: str, pool: Pool, conn: Connection, database_url: str, eventually: Eventually
) -> None:
    """Were both to look before either writes, a debit of a withdrawn upload would go out."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=NOW)
    run_id = await order(conn, upload_id)
    await plan(pool)

    async def has_pending() -> bool:
        return bool(await ask(conn, "select from pg_locks where not granted"))

    if first == "claim":
        async with transaction(pool) as holder:
            await billing_runs.share(holder, run_id)
            withdrawing = asyncio.create_task(withdraw(pool, upload_id))
            await eventually(has_pending, what="the withdrawal to wait for the claim")
            await holder.execute(
                "update billing_attempts set submission_count = 1, submitted_at = now(), submit_at = null, leased_until = now()"
            )
        with pytest.raises(NotWithdrawable):
            await withdrawing
        return
    async with transaction(pool) as holder:
        await withdrawals.withdraw(holder, upload_id, withdrawn_by="ada", reason="wrong", now=NOW)
        claiming = asyncio.create_task(claimed(pool, run_id))
        await eventually(has_pending, what="the claim to wait for the withdrawal")
    assert await claiming == 0
    assert await ask(conn, "select submission_count from billing_attempts") == [(0,)]


async def test_a_file_that_is_being_read_is_withdrawn_between_two_chunks(
    intake: Intake, pool: Pool, conn: Connection
) -> None:
    """The reader must not complete what was withdrawn under its hands, nor add debtors to it."""
    upload_id, _ = await send(intake, conn, *ROWS)
    withdrawing: list[asyncio.Task[Withdrawn | None]] = []

    def stopping() -> bool:
        # Asked before the file is taken, and after the first chunk is stored.
        if withdrawing or not started:
            return False
        withdrawing.append(asyncio.ensure_future(withdraw(pool, upload_id)))
        return False

    started: list[bool] = []
    busy = msgspec.structs.replace(intake, stopping=stopping)
    started.append(True)
    await read_one(busy)
    await withdrawing[0]
    state, rows = (await ask(conn, "select state, rows_read from uploads"))[0]
    assert (state, rows) in {("withdrawn", 3), ("withdrawn", 6)}
    assert await ask(conn, "select count(*) from debtors") == [(rows,)]
    assert await read_one(intake) == 0
    again, _ = await send(intake, conn, *ROWS)
    await read_all(intake)
    assert await ask(
        conn, "select count(*) from debtors where upload_id = %s and verdict = 'clear'", again
    ) == [(6,)]


@pytest.mark.parametrize("kind", ["dry run", "kept"])
async def test_one_that_waits_to_be_read_or_failed_is_withdrawn_too(
    kind: str,
    intake: Intake,
    pool: Pool,
    conn: Connection,
) -> None:
    """A person who notices the mistake at once need not wait until the file is read."""
    waiting, _ = await send(intake, conn, *ROWS, dry_run=kind == "dry run")
    assert await withdraw(pool, waiting) == Withdrawn(is_new=True)
    failed, _ = await send(intake, conn, "nothing", dry_run=kind == "dry run")
    await conn.execute(
        "update uploads set state = 'failed', failure_code = 'x', failure = 'y.' where id = %s", (failed,)
    )
    assert await withdraw(pool, failed) == Withdrawn(is_new=True)
    assert await read_one(intake) == 0
    assert await ask(conn, "select distinct state, content_key from uploads") == [("withdrawn", None)]
    assert await ask(conn, "select count(*) from dry_run_rows") == [(0,)]


async def test_a_database_that_went_back_is_reviewed_first(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """The lost history may have submitted what looks ready now."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=NOW)
    await order(conn, upload_id)
    await plan(pool)
    await conn.execute(
        "insert into database_epochs (number, token, installation, reason, pulse, pulse_at, began_at, lost_since_at, attempts_to,"
        " orders_to, debtors_to, attempts_reviewed_to, orders_reviewed_to, submissions)"
        " values (2, 't', 'i', 'other timeline', 0, %(now)s, %(now)s, %(now)s, 9, 9, 9, 0, 0, 0)",
        {"now": NOW},
    )
    with pytest.raises(NotWithdrawable, match="being reviewed"):
        await withdraw(pool, upload_id)
    await conn.execute("update database_epochs set reviewed_at = began_at")
    async with transaction(pool) as unsure:
        with pytest.raises(NotWithdrawable, match="being reviewed"):
            await withdrawals.withdraw(
                unsure, upload_id, withdrawn_by="ada", reason="wrong", now=NOW, epoch_holds=False
            )
    assert await withdraw(pool, upload_id) == Withdrawn(is_new=True, cancelled=(1,))


def test_the_command_withdraws_and_says_what_it_did(
    environment: dict[str, str],
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has a shell and no key of the API must be able to stop a list, too."""
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=NOW)
    words = ["withdraw", str(upload_id), "--by", "ada", "--reason", "wrong month"]
    assert main(words) == 0
    assert main(words) == 0
    assert (
        capsys.readouterr().out
        == f"upload {upload_id} is withdrawn\nupload {upload_id} was withdrawn before\n"
    )
    assert main(["withdraw", "99", "--by", "ada", "--reason", "x"]) == 2
    assert main(["withdraw", "1", "--by", " ", "--reason", "x"]) == 2
    other, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=NOW + timedelta(days=1))
    assert other != upload_id
