from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core.billing.eligibility import judge
from tether_core.billing.overrides import Override
from tether_core.billing.run import step
from tether_core.billing.run_options import RunOptions
from tether_core.errors import GatewaySilent
from tether_core.iban import fingerprint
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.submission import SubmissionRules
from tether_core.sepa_text import Characters
from tether_sandbox.gateway import Faults, Setup, Simulator, running, scripted_iban
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import blacklist
from tether_stores.accounts import account_pauses
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, put
from tether_stores.billing import billing_runs
from tether_stores.billing.candidates import load_owing
from tether_stores.blacklist import ManualEntry
from tether_stores.limits import Limiter, limit_status
from tether_stores.payments import billing_run_counts
from tether_stores.postgres import transaction
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_worker.billing.runs import (
    auto_pause_runs,
    expire_leases,
    pause_account,
    pause_if_refused,
    plan_chunk,
    try_again,
)
from tether_worker.gateway.clients import open_gateways
from tether_worker.payments import claim as claim_module
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps, allow_calls
from tether_worker.payments.claim import Claim, claim
from tether_worker.payments.record import CallResult, record
from tether_worker.payments.submission import submit_until, submitting

from tests.support.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600)
RULES = SubmissionRules(lease_s=75, not_found_grace_s=900)
PERMIT = Permit(go=True, generation=0)
OPTIONS = RunOptions()
STARTS = count(1_000, 5_000)  # more than a test has debtors
_WAITING = "select count(*) from pg_locks where not granted"


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    """One gateway for the whole module."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """The module's simulator, without faults."""
    shared_simulator.faults(Faults())
    return shared_simulator


@pytest.fixture
def clock() -> Clock:
    """The current time of everything in a test."""
    return Clock(datetime.now(UTC))


@pytest.fixture
def call_s() -> str:
    """How long a call may take, in seconds: longer than any answer of a busy machine. Tests of silence set it shorter."""
    return "20"


@pytest.fixture
async def deps(
    pool: Pool, environment: dict[str, str], simulator: Simulator, clock: Clock, call_s: str
) -> AsyncIterator[SubmissionDeps]:
    """What sending needs, with an account at the simulator and a rate no test reaches."""
    async with _opened(pool, environment, simulator, clock, EMP_TIMEOUT=call_s) as opened:
        yield opened


@asynccontextmanager
async def _opened(
    pool: Pool, environment: dict[str, str], simulator: Simulator, clock: Clock, **more: str
) -> AsyncIterator[SubmissionDeps]:
    settings = Settings.from_env(
        environment
        | {
            "EMP_API_URL": simulator.url,
            "EMP_API_LOGIN": SETUP.login,
            "EMP_API_PASSWORD": SETUP.passwords[0],
            "EMP_TERMINAL_TOKEN": SETUP.terminals[0],
            "EMP_TIMEOUT": "20",
            "EMP_RATE_LIMIT": "5000",
        }
        | more
    )
    async with (
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
        open_redis(settings.redis_url, name="tests", timeout_s=20) as cache,
    ):
        yield SubmissionDeps(pool, gateways, Limiter(cache), RULES, clock, asyncio.Event())


Make = Any


@pytest.fixture
def make(database_url: str, conn: Connection, clock: Clock) -> Make:
    """Make an upload of debtors and a run over it, planned; gives the run's id."""
    start = next(STARTS)

    async def planned(
        *owed: Owed, options: RunOptions = OPTIONS, account: str = "default", plan: bool = True
    ) -> int:
        nonlocal start
        # The simulator outlives the database, and ids are made of rows: those of another test must not come again.
        if start:
            await conn.execute(f"alter table debtors alter column id restart with {start}")
            start = 0
        upload_id, _ = seed_upload(database_url, owed, now=clock.now)
        run_id = await billing_runs.add(
            conn, upload_id=upload_id, account=account, options=options, created_by="tests", now=clock.now
        )
        if plan:
            async with _pool_of(database_url) as pool:
                # Several chunks, and few for a long list: each is a transaction.
                while await plan_chunk(pool, now=clock.now, limit=max(2, len(owed) // 8)):
                    pass
        return run_id

    return planned


@asynccontextmanager
async def _pool_of(database_url: str) -> AsyncIterator[Pool]:
    from tether_stores.postgres import open_pool

    async with open_pool(database_url, name="tests", max_size=2) as pool:
        yield pool


def owed(debtors: int, *, script: int = 0, amount_minor: int = 1000) -> list[Owed]:
    """Debtors whose debits the simulator treats as a script says."""
    return [Owed(scripted_iban(script), amount_minor + number) for number in range(debtors)]


async def attempts(conn: Connection, run_id: int) -> list[Any]:
    """The attempts of a run, in order."""
    cursor = await conn.execute(
        "select id, transaction_id, state, error_code, submission_count, submit_at, leased_until, not_submitted_reason, unique_id, canary,"
        " try_number, retry_of from billing_attempts where run_id = %s order by id",
        (run_id,),
    )
    names = [column.name for column in cursor.description or ()]
    return [msgspec.defstruct("A", names)(*row) for row in await cursor.fetchall()]


async def debtors(conn: Connection, attempt_ids: list[int]) -> tuple[int, ...]:
    """Who pays some attempts."""
    cursor = await conn.execute(
        "select debtor_id from billing_attempts where id = any(%s) order by id", (attempt_ids,)
    )
    return tuple([debtor_id for (debtor_id,) in await cursor.fetchall()])


async def submission(deps: SubmissionDeps) -> int:
    """Send what may be sent."""
    return await submit_until(deps, end_s=monotonic() + 120)


async def begun_shortly(deps: SubmissionDeps) -> int:
    """Send for a short while, and until something was sent."""
    begun = 0
    async with asyncio.timeout(120):
        while not begun:
            begun = await submit_until(deps, end_s=monotonic() + 0.3)
    return begun


async def claim_all(deps: SubmissionDeps, conn: Connection, run_id: int) -> tuple[int, int]:
    """Submit once what may be submitted now; gives how many calls were begun, and how many debits are left."""
    begun = await begun_shortly(deps)
    left = sum(attempt.submission_count == 0 for attempt in await attempts(conn, run_id))
    return begun, left


# --- planning --------------------------------------------------------------------------------------------------------


async def test_a_run_plans_each_debtor_once(pool: Pool, conn: Connection, make: Make, clock: Clock) -> None:
    """Were a second run over the same debtors to plan them again, they would be debited twice."""
    first = await make(*owed(5))
    run = await billing_runs.by_id(conn, first)
    assert run is not None
    assert (run.state, run.planned_count, run.planned_amount_minor) == ("running", 5, 5010)
    again = await billing_runs.add(
        conn,
        upload_id=run.upload_id,
        account="default",
        options=RunOptions(),
        created_by="tests",
        now=clock.now,
    )
    while await plan_chunk(pool, now=clock.now):
        pass
    second = await billing_runs.by_id(conn, again)
    assert second is not None
    assert (second.planned_count, second.skipped) == (0, {"under_way": 5})


async def test_two_planners_at_once_make_one_attempt_each(
    pool: Pool, conn: Connection, make: Make, clock: Clock
) -> None:
    """Two runs planned at the same time see the same free debtors; only the table can tell them apart."""
    first = await make(*owed(40), plan=False)
    run = await billing_runs.by_id(conn, first)
    assert run is not None
    await billing_runs.add(
        conn,
        upload_id=run.upload_id,
        account="default",
        options=RunOptions(),
        created_by="tests",
        now=clock.now,
    )

    async def planner() -> None:
        while await plan_chunk(pool, now=clock.now, limit=7):
            pass

    await asyncio.gather(planner(), planner(), planner())
    cursor = await conn.execute("select count(*), count(distinct debtor_id) from billing_attempts")
    assert await cursor.fetchone() == (40, 40)
    runs = await billing_runs.of_upload(conn, run.upload_id)
    assert sum(item.planned_count for item in runs) == 40
    assert sum(sum(item.skipped.values()) for item in runs) == 40


async def test_a_small_run_does_not_wait_for_a_large_one(
    pool: Pool, conn: Connection, make: Make, clock: Clock
) -> None:
    """A list of one row, ordered while a million debtors are planned, would be submitted minutes later."""
    large, small = await make(*owed(9), plan=False), await make(*owed(1, script=1), plan=False)
    for chunk in range(1, 5):
        assert await plan_chunk(pool, now=clock.now + timedelta(seconds=chunk), limit=2)
    cursor = await conn.execute(
        "select id, state, planned_count from billing_runs where id = any(%s)", ([large, small],)
    )
    found = {run_id: state for run_id, state, _ in await cursor.fetchall()}
    assert found == {large: "planning", small: "running"}


async def test_caps_and_canaries_hold_across_chunks(conn: Connection, make: Make) -> None:
    """A cap that is counted per chunk is no cap, and a person who asked for ten debits gets hundreds."""
    run_id = await make(*owed(9, amount_minor=1000), options=RunOptions(count_max=4, canary_share=0.01))
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.state, run.planned_count, run.skipped) == ("canary", 4, {"count_cap": 5})
    assert [attempt.canary for attempt in await attempts(conn, run_id)].count(True) == 1


# --- sending ---------------------------------------------------------------------------------------------------------


async def test_debits_are_sent_once_each(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """The plain way: each debtor is debited exactly once, and the books say what the gateway said."""
    run_id = await make(*owed(30), *owed(1, script=2), *owed(1, script=3))
    assert await submission(deps) == 32
    sent = await attempts(conn, run_id)
    assert [debit.state for debit in sent] == ["pending"] * 30 + ["declined", "error"]
    assert [debit.error_code for debit in sent[30:]] == ["500", "340"]
    assert all(
        debit.submission_count == 1 and debit.submit_at is None and debit.leased_until is None
        for debit in sent
    )
    assert all(debit.unique_id for debit in sent[:31])
    assert [simulator.debited(transaction_id=debit.transaction_id) for debit in sent[:30]] == [1] * 30
    assert await submission(deps) == 0


async def test_two_workers_share_the_debits(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """Two workers that claim the same row debit somebody twice."""
    run_id = await make(*owed(120))
    other = msgspec.structs.replace(deps, under_way=set())
    assert sum(await asyncio.gather(submission(deps), submission(other), submission(deps))) == 120
    sent = await attempts(conn, run_id)
    assert {simulator.debited(transaction_id=debit.transaction_id) for debit in sent} == {1}
    assert simulator.sums()["debited_twice"] == []


@pytest.mark.parametrize("call_s", ["3"])
async def test_a_slow_answer_holds_up_no_further_call(
    deps: SubmissionDeps, conn: Connection, make: Make
) -> None:
    """Runs of work end every half minute. Were the next to wait for the slowest answer, the rate would not be held.

    And a worker that stops must still record what is under way.
    """
    run_id = await make(*owed(1, script=30), *owed(2))
    work = submitting(deps)
    assert await work.batch() == 3
    assert (len(deps.under_way) >= 1, len(deps.ending)) == (True, 1)
    await deps.ended()
    assert (deps.under_way, deps.ending) == (set(), set())
    assert [attempt.state for attempt in await attempts(conn, run_id)] == ["unknown", "pending", "pending"]


@pytest.mark.parametrize(
    ("script", "call_s"),
    [(30, "3"), *((script, "20") for script in (31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 47))],
)
async def test_without_a_clear_answer_a_debit_is_unknown_and_not_sent_again(
    script: int, deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """After any lost response, a second submission could debit twice."""
    run_id = await make(*owed(1, script=script))
    assert await submission(deps) == 1
    (item,) = await attempts(conn, run_id)
    assert (item.state, item.submission_count, item.submit_at, item.leased_until) == (
        "unknown",
        1,
        None,
        None,
    )
    assert await submission(deps) == 0
    assert simulator.debited(transaction_id=item.transaction_id) <= 1


async def test_what_changed_since_planning_is_looked_at_again(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """A debtor who came onto the blacklist between planning and sending must not be debited."""
    run_id = await make(
        Owed(scripted_iban(0), 1000),
        Owed(scripted_iban(1), 1000),
        Owed(scripted_iban(24), 1000),
        Owed(scripted_iban(7), 1000),
    )
    await conn.execute(
        "insert into blacklist (iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by, created_at)"
        " select iban_fingerprint, iban_masked, 'hold', 'iban', 'MD06', '', 'manual', 'tests', now()"
        " from billing_attempts where run_id = %s order by id limit 1",
        (run_id,),
    )
    ids = [attempt.id for attempt in await attempts(conn, run_id)]
    await conn.execute(
        "update debtors set amount_minor = 1 where id = (select debtor_id from billing_attempts where id = %s)",
        (ids[1],),
    )
    await conn.execute(
        "update debtors set name = '\x01' where id = (select debtor_id from billing_attempts where id = %s)",
        (ids[2],),
    )
    assert await submission(deps) == 4
    sent = await attempts(conn, run_id)
    assert [debit.not_submitted_reason for debit in sent] == ["held", "amount_changed", "unsendable", None]
    assert [debit.state for debit in sent] == ["error", "error", "error", "pending"]
    assert [simulator.debited(transaction_id=debit.transaction_id) for debit in sent] == [0, 0, 0, 1]


@pytest.mark.parametrize("when", ["submission", "planning"])
async def test_a_name_or_address_that_was_blocked_after_import_is_not_debited(
    when: str, deps: SubmissionDeps, pool: Pool, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """Somebody asks by name or by mail not to be debited any more; the file they are in was read the day before."""
    run_id = await make(
        Owed(scripted_iban(0), 1000, name="SAMPLE,  Nora"),
        Owed(scripted_iban(0), 1001, name="Olaf Sample"),
        Owed(scripted_iban(0), 1002, name="Paula Sample"),
        Owed(scripted_iban(7), 1003, name="Quirin Sample"),
        Owed(scripted_iban(8), 1004, name="Rosa Sample"),
        Owed(scripted_iban(9), 1005, name="Sven Sample"),
        plan=when == "submission",
    )
    await conn.execute("update debtors set bank_bic = null")
    await conn.execute("update debtors set bic = 'BYLADEM1001' where name = 'Rosa Sample'")
    await conn.execute("update debtors set bank_bic = 'BYLADEM1' where name = 'Sven Sample'")
    await conn.execute("update debtors set email = ' OLAF@Example.org' where name = 'Olaf Sample'")
    await conn.execute("update debtors set email = 'paula@example.org' where name = 'Paula Sample'")
    entries = [
        ManualEntry(action="hold", reason_code="MANUAL", name="Nora Sample", note="the weaker of two"),
        ManualEntry(action="block", reason_code="MANUAL", name="sample nora"),
        ManualEntry(action="hold", reason_code="MD06", email="olaf@example.org"),
        ManualEntry(action="hold", reason_code="RETURNS", bic="BYLA*"),
        ManualEntry(action="block", reason_code="MANUAL", bic="BYLADEM1001"),
        ManualEntry(action="block", reason_code="OLD", name="Paula Sample", expires_at=deps.clock()),
    ]
    for entry in entries:
        await blacklist.enter(conn, [entry], source="manual", added_by="tests", now=deps.clock())
    while await plan_chunk(pool, now=deps.clock()):
        pass
    await submission(deps)
    sent = await attempts(conn, run_id)
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    if when == "submission":
        assert [debit.not_submitted_reason for debit in sent] == [
            "blacklisted_name",
            "blacklisted_email",
            None,
            None,
            "blacklisted_bank",
            "blacklisted_bank",
        ]
    else:
        assert run.skipped == {"blacklisted_name": 1, "blacklisted_email": 1, "blacklisted_bank": 2}
    assert [
        simulator.debited(transaction_id=debit.transaction_id)
        for debit in sent
        if not debit.not_submitted_reason
    ] == [1, 1]
    assert sum(simulator.debited(transaction_id=debit.transaction_id) for debit in sent) == 2
    judged = await load_owing(conn, due_item="again", now=deps.clock(), limit=10, upload_id=run.upload_id)
    assert [judge(debtor.candidate, options=RunOptions(recent_days=0)).text for debtor in judged] == [
        "The debtor's name is blocked (MANUAL); a person can lift that entry of the blacklist.",
        "The debtor's e-mail address is on hold (MD06); a person can lift that entry of the blacklist.",
        "",
        "",
        "The debtor's bank is blocked (MANUAL); a person can lift that entry of the blacklist.",
        "The debtor's bank is on hold (RETURNS); a person can lift that entry of the blacklist.",
    ]


async def test_what_was_refunded_is_not_collected_again(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock, simulator: Simulator
) -> None:
    """A debtor whose debit we voided is debited again by the next order; only a person's reason may do that."""
    first = await make(*(Owed(scripted_iban(script), 1000) for script in (0, 1, 24)))
    await submission(deps)
    run = await billing_runs.by_id(conn, first)
    assert run is not None
    voided, refunded, declined = await attempts(conn, first)
    for row_id, stage, state in (
        (voided.id, 70, "voided"),
        (refunded.id, 80, "refunded"),
        (declined.id, 50, "declined"),
    ):
        await conn.execute(
            "update billing_attempts set payment_stage = %s, state = %s where id = %s", (stage, state, row_id)
        )

    async def again(**order: Any) -> Any:
        run_id = await billing_runs.add(
            conn, upload_id=run.upload_id, account="default", options=RunOptions(**order.pop("options", {})), created_by="tests",
            now=clock.now, again=True, **order,
        )  # fmt: skip
        while await plan_chunk(pool, now=clock.now):
            pass
        await submission(deps)
        return await billing_runs.by_id(conn, run_id)

    second = await again()
    assert (second.planned_count, second.skipped) == (1, {"refunded_before": 2})
    given = Override(("refunded_before",), "Voided by mistake", debtor_ids=await debtors(conn, [voided.id]))
    third = await again(overrides=[given])
    assert (third.planned_count, third.skipped) == (1, {"refunded_before": 1, "under_way": 1})
    (collected,) = await attempts(conn, third.id)
    assert (collected.state, simulator.debited(transaction_id=collected.transaction_id)) == ("pending", 1)
    # April is another debt.
    assert (await again(options={"due_item": "2026-04"})).planned_count == 3


async def set_aside(conn: Connection, run_id: int, *verdicts: str) -> None:
    """Override verdicts for a run, as its order does."""
    agreed = Override(verdicts, "The debtor agreed")
    await conn.execute(
        "update billing_runs set overrides = %s where id = %s", (msgspec.json.encode([agreed]), run_id)
    )


async def plan_all(deps: SubmissionDeps) -> None:
    """Plan all that is to be planned."""
    while await plan_chunk(deps.pool, now=deps.clock()):
        pass


async def test_one_debit_of_two_uploads_is_planned_once(
    conn: Connection, make: Make, deps: SubmissionDeps
) -> None:
    """Two people hand in one list, and both bill it: nobody may be debited by the second."""
    first = await make(*owed(3))
    second = await make(*owed(3))
    run = await billing_runs.by_id(conn, second)
    assert run is not None
    assert (run.planned_count, run.skipped) == (0, {"waiting_elsewhere": 3})
    await submission(deps)
    third = await make(*owed(3))
    run = await billing_runs.by_id(conn, third)
    assert run is not None
    assert (run.planned_count, run.skipped) == (0, {"under_way": 3})
    await conn.execute("update billing_attempts set payment_stage = 60, state = 'approved'")
    fourth = await make(*owed(3), options=RunOptions(due_item="2026-04", recent_days=0), plan=False)
    await set_aside(conn, fourth, "waiting_elsewhere")
    await plan_all(deps)
    run = await billing_runs.by_id(conn, fourth)
    assert run is not None
    assert (run.planned_count, run.skipped) == (0, {"repeated": 3})  # another name for what may be one debt
    assert len(await attempts(conn, first)) == 3


async def test_other_debits_of_an_account_are_billed(
    conn: Connection, make: Make, deps: SubmissionDeps
) -> None:
    """A parent pays for two children from one account; their lists come in one week."""
    await make(*owed(3))
    await conn.execute("update debtors set reference = 'Anna'")
    second = await make(*[msgspec.structs.replace(item, amount_minor=2500) for item in owed(3)], plan=False)
    await conn.execute("update debtors set reference = 'Ben' where reference is null")
    await plan_all(deps)
    run = await billing_runs.by_id(conn, second)
    assert run is not None
    assert (run.planned_count, run.skipped) == (3, {})


async def test_two_claims_of_one_debit_at_once_submit_one(
    deps: SubmissionDeps, conn: Connection, make: Make
) -> None:
    """
    Both uploads were planned before either was submitted, and two workers claim them at the same time.

    Each sees nothing of the other's claim until it is committed; without a lock on the account both debits go out.
    """
    debtors = [Owed(scripted_iban(number), 1000) for number in range(20)]
    first = await make(*debtors)
    second = await make(*debtors, plan=False)
    await set_aside(conn, second, "waiting_elsewhere")
    await plan_all(deps)
    account = (await deps.gateways.accounts())["default"]
    opened = await deps.gateways.get("default")
    assert opened is not None
    connections = asyncio.Semaphore(4)  # of the pool: on a busy machine none may wait for one for a second

    async def claimed(run_id: int) -> list[Claim]:
        async with connections:
            some, _ = await claim(
                deps, run_id, account=account, permit=PERMIT, identity=opened.identity, limit=5
            )
            return some

    begun = sum(await asyncio.gather(*(claimed(run_id) for run_id in (first, second) * 8)), list[Claim]())
    cursor = await conn.execute(
        "select iban_fingerprint from billing_attempts where id = any(%s)", ([call.id for call in begun],)
    )
    accounts = [bytes(fingerprint) for (fingerprint,) in await cursor.fetchall()]
    assert len(accounts) == len(set(accounts)) > 0
    for attempt in await attempts(conn, second):
        assert attempt.not_submitted_reason in {None, "under_way"}


async def test_screening_is_judged_when_it_matters(
    conn: Connection, make: Make, deps: SubmissionDeps
) -> None:
    """
    What was found when the file was read is looked up again when its debtors are planned.

    A lifted account is billed without sending the file again; a repeated row is not, and a window that has passed excludes no
    more.
    """
    run_id = await make(*owed(5), plan=False)
    for at, (rule, more) in enumerate(
        [
            ("blacklisted", ""),
            ("already_collected", ""),
            ("duplicate_in_file", ""),
            ("blacklisted", "collected_lately"),
        ]
    ):
        kept = [{"rule": item, "cause": "x"} for item in (rule, more) if item]
        await conn.execute(
            "update debtors set verdict = %s, cause = 'x', reasons = %s"
            " where id = (select id from debtors order by id offset %s limit 1)",
            (rule, json.dumps(kept), at),
        )
    await plan_all(deps)
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.planned_count, run.skipped) == (3, {"screened_out": 2})


async def test_what_is_refunded_after_planning_is_not_submitted(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """The same list stands in two uploads; between plan and submission of the second, the debit of the first is voided."""
    second = await make(*owed(1))
    await pause_account(deps.pool, "default", reason="tests", now=deps.clock())
    first = await make(*owed(1), options=RunOptions(recent_days=0), plan=False)
    await set_aside(conn, first, "waiting_elsewhere")
    await plan_all(deps)
    await submission(deps)
    await conn.execute(
        "update billing_attempts set payment_stage = 70, state = 'voided' where run_id = %s", (first,)
    )
    given = await make(*owed(1), options=RunOptions(recent_days=0), plan=False)
    await set_aside(conn, given, "refunded_before", "waiting_elsewhere")
    await plan_all(deps)
    await conn.execute(
        "update billing_runs set state = 'running', pause_reason = null, paused_from = null where id = %s",
        (second,),
    )
    await submission(deps)
    (item,) = await attempts(conn, second)
    assert (item.state, item.not_submitted_reason, item.submission_count) == ("error", "refunded_before", 0)
    assert simulator.debited(transaction_id=item.transaction_id) == 0
    (other,) = await attempts(conn, given)
    assert (other.state, other.not_submitted_reason, other.submission_count) == ("pending", None, 1)


async def test_a_paused_run_sends_nothing(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """After the pause of a run is confirmed, no further debit may be submitted."""
    run_id = await make(*owed(3))
    assert await pause_account(pool, "default", reason="tests", now=clock.now) == 1
    assert await submission(deps) == 0
    assert {attempt.submission_count for attempt in await attempts(conn, run_id)} == {0}


async def test_a_paused_account_submits_nothing_until_it_is_resumed(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """The acquirer calls: nothing more may go out with this account, whichever run or claim is on its way."""
    run_id = await make(*owed(3))
    opened = await deps.gateways.get("default")
    assert opened is not None
    async with transaction(pool) as pausing:
        await account_pauses.pause(pausing, "default", paused_by="ada", reason="the acquirer", now=clock.now)
        # A claim that began before the pause is confirmed waits for it, and then finds it.
        late = asyncio.create_task(
            claim(
                deps,
                run_id,
                account=(await deps.gateways.accounts())["default"],
                identity=opened.identity,
                permit=PERMIT,
                limit=3,
            )
        )
        while not late.done() and not (await (await conn.execute(_WAITING)).fetchone() or (0,))[0]:
            await asyncio.wait([late], timeout=0.01)
    assert await late == ([], 0)
    assert await submission(deps) == 0
    assert {attempt.submission_count for attempt in await attempts(conn, run_id)} == {0}
    async with transaction(pool) as resuming:
        await account_pauses.resume(resuming, "default")
    assert await submission(deps) == 3


async def test_a_wrong_password_ends_no_debit_and_pauses_the_run(
    pool: Pool, environment: dict[str, str], simulator: Simulator, clock: Clock, conn: Connection, make: Make
) -> None:
    """A password mistyped at its change must not turn a whole run into errors, nor hammer the gateway."""
    run_id = await make(*owed(200))
    async with _opened(pool, environment, simulator, clock, EMP_API_PASSWORD="mistyped") as deps:
        called = await submission(deps)
    assert 1 <= called < 200
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.state, run.paused_from) == ("paused", "running")
    assert "110" in str(run.pause_reason)
    sent = await attempts(conn, run_id)
    assert {(debit.state, debit.leased_until) for debit in sent} == {("pending", None)}
    assert all(debit.submit_at is not None for debit in sent)


async def test_a_run_paused_while_it_is_sent_begins_nothing_more(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock, simulator: Simulator
) -> None:
    """A person who sees the wrong list go out presses pause: every debit begun after the answer is one too many."""
    run_id = await make(*owed(2_000))
    before = simulator.requests().get("sale", 0)
    task = asyncio.create_task(submission(deps))
    while simulator.requests().get("sale", 0) == before:
        await asyncio.wait([task], timeout=0.01)
    assert await pause_account(pool, "default", reason="wrong list", now=clock.now) == 1
    claimed = sum(attempt.submission_count for attempt in await attempts(conn, run_id))
    await task
    sent = await attempts(conn, run_id)
    assert sum(debit.submission_count for debit in sent) == claimed < 2_000
    assert all(debit.leased_until is None for debit in sent)  # calls under way came to their end
    assert {
        simulator.debited(transaction_id=debit.transaction_id) for debit in sent if debit.submission_count
    } == {1}


async def test_two_runs_over_one_upload_planned_and_sent_by_three_nodes(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock, simulator: Simulator
) -> None:
    """Two people order the same upload at the same time, and any worker plans and submits: no debtor pays twice."""
    first = await make(*owed(150), plan=False)
    run = await billing_runs.by_id(conn, first)
    assert run is not None
    second = await billing_runs.add(
        conn, upload_id=run.upload_id, account="default", options=OPTIONS, created_by="tests", now=clock.now
    )

    async def node() -> None:
        mine = msgspec.structs.replace(deps, under_way=set())
        while await plan_chunk(pool, now=clock.now, limit=11):
            await submission(mine)
        await submission(mine)

    await asyncio.gather(node(), node(), node())
    sent = [*await attempts(conn, first), *await attempts(conn, second)]
    assert (len(sent), {debit.submission_count for debit in sent}) == (150, {1})
    assert {simulator.debited(transaction_id=debit.transaction_id) for debit in sent} == {1}
    assert simulator.sums()["debited_twice"] == []


async def test_a_password_that_changes_while_a_run_is_sent_costs_a_pause(
    pool: Pool, environment: dict[str, str], conn: Connection, make: Make, clock: Clock
) -> None:
    """Changed at the gateway first, the old password is rejected in the middle of a run: no debit may end by that."""
    run_id = await make(*owed(60))
    with running(msgspec.structs.replace(SETUP, passwords=("new",))) as rotated:
        async with _opened(pool, environment, rotated, clock) as deps:
            await submission(deps)
        assert {attempt.state for attempt in await attempts(conn, run_id)} == {"pending"}
        async with _opened(pool, environment, rotated, clock, EMP_API_PASSWORD="new") as deps:
            run = await billing_runs.by_id(conn, run_id)
            assert run is not None
            assert run.state == "paused"
            resumed = msgspec.structs.replace(run, state="running", pause_reason=None, paused_from=None)
            await billing_runs.change(conn, resumed, now=clock.now)
            clock.now += timedelta(seconds=RULES.back_s + 1)
            while await submission(deps):
                pass
        sent = await attempts(conn, run_id)
        assert {rotated.debited(transaction_id=debit.transaction_id) for debit in sent} == {1}
        assert rotated.sums()["debited_twice"] == []


async def test_an_answer_about_another_payment_is_not_believed(
    deps: SubmissionDeps, conn: Connection, make: Make
) -> None:
    """An id of the gateway that is stored already must not settle a second debit, nor stop the others' answers."""
    run_id = await make(*owed(2))
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    account = (await deps.gateways.accounts())["default"]
    opened = await deps.gateways.get("default")
    assert opened is not None
    claims, _ = await claim(deps, run_id, account=account, identity=opened.identity, permit=PERMIT, limit=2)
    from tether_worker.gateway.client import sale

    answer = await sale(opened, claims[0].debit)
    invalid_signature = msgspec.structs.replace(answer, transaction_id=None, amount_minor=None)
    await record(
        deps, [CallResult(claims[0], "default", answer), CallResult(claims[1], "default", invalid_signature)]
    )
    sent = await attempts(conn, run_id)
    assert [debit.state for debit in sent] == ["pending", "unknown"]
    assert sent[1].unique_id is None


async def test_a_gateway_that_fails_is_left_alone(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator, redis_url: str
) -> None:
    """Without the breaker an outage turns every debit of a run into one of unknown outcome."""
    simulator.faults(Faults(refused=1.0))
    run_id = await make(*owed(400))
    assert await submission(deps) < 300
    states = [attempt.state for attempt in await attempts(conn, run_id)]
    assert states.count("pending") > 100
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        assert (await limit_status(cache, ["default"]))[0].breaker == "open"


async def test_a_gateway_that_asks_for_fewer_requests_is_called_slower_and_no_try_is_lost(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator, redis_url: str
) -> None:
    """Five 429s in a row would end a debit as "not there"; at an unchanged rate every debit of a run gets its five."""
    simulator.faults(Faults(throttled=1.0))
    run_id = await make(*owed(30))
    account = (await deps.gateways.accounts())["default"]
    claims, _ = await claim_all(deps, conn, run_id)
    assert claims
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        (seen,) = await limit_status(cache, ["default"])
        assert (seen.breaker, seen.failures) == ("closed", 0)  # a gateway that answers is not down
        assert seen.rate_part < 1
    assert (await allow_calls(deps, account)).calls == 0
    cursor = await conn.execute(
        "select distinct state, submission_count, submissions_uncounted from billing_attempts where run_id = %s and submission_count > 0",
        (run_id,),
    )
    assert await cursor.fetchall() == [("unknown", 1, 1)]  # a web page with 429 proves nothing


async def test_of_connections_that_die_in_every_phase_only_unsubmitted_debits_are_ready(
    pool: Pool, environment: dict[str, str], conn: Connection, make: Make, clock: Clock
) -> None:
    """A debit that is ready although its request had left would be debited twice; that is what each phase is played for."""
    setup = msgspec.structs.replace(SETUP, relay_port=free_port())
    dying = Faults(
        connect_reset=0.1, request_cut=0.1, request_held=0.1, response_lost=0.15, response_cut=0.15
    )
    with running(setup) as simulator:
        simulator.faults(dying)
        run_id = await make(*owed(120))
        async with _opened(pool, environment, simulator, clock, EMP_TIMEOUT="1") as deps:
            await submission(deps)
            opened = await deps.gateways.get("default")
            assert opened is not None
            assert opened.free._value == CALLS_MAX
            assert set(opened.calls.replaced) >= {"before_response", "in_response"}
        seen = set[str]()
        for attempt in await attempts(conn, run_id):
            debited = simulator.debited(transaction_id=attempt.transaction_id)
            known = "unknown" if attempt.state == "unknown" else "ready" if attempt.submit_at else "ended"
            seen.add(known)
            assert debited in {"ready": {0}, "unknown": {0, 1}, "ended": {1}}[known]
            assert attempt.leased_until is None
        assert {"unknown", "ended"} <= seen
        assert simulator.requests().keys() >= {"request_cut", "request_held", "response_lost", "response_cut"}


async def test_a_readable_429_is_ready_again_at_once(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator, clock: Clock
) -> None:
    """The gateway says that it took nothing; an unknown outcome would hold the debtor for a quarter of an hour."""
    simulator.faults(Faults(throttled_readably=1.0))
    run_id = await make(*owed(1))
    assert await begun_shortly(deps) == 1
    (item,) = await attempts(conn, run_id)
    assert (item.state, item.submission_count, item.leased_until, item.error_code) == (
        "pending",
        1,
        None,
        None,
    )
    assert clock.now < item.submit_at <= clock.now + timedelta(seconds=5)


async def test_a_readable_refusal_with_4xx_ends_the_debit(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """Taken for silence, a refused debit is inquired about until it is given up, and nobody learns why."""
    simulator.faults(Faults(refused_readably=1.0))
    run_id = await make(*owed(3))
    assert await submission(deps) == 3
    assert {(attempt.state, attempt.error_code) for attempt in await attempts(conn, run_id)} == {
        ("error", "340")
    }


async def test_a_login_page_pauses_the_run_and_refuses_nothing(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator
) -> None:
    """HTTP 401 is about credentials: a run that goes on makes every debit unknown, one that ends debits ends good ones."""
    simulator.faults(Faults(page="login"))
    run_id = await make(*owed(3))
    await submission(deps)
    assert {attempt.state for attempt in await attempts(conn, run_id)} == {"unknown"}
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert run.state == "paused"
    assert "EMP_API_PASSWORD" in (run.pause_reason or "")


async def test_a_call_that_comes_too_late_is_not_made(
    deps: SubmissionDeps, conn: Connection, make: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was frozen between claim and call would send a debit that others have given up and sent again."""
    monkeypatch.setattr(claim_module, "BEGIN_S", -1.0)
    run_id = await make(*owed(1))
    assert await submission(deps) == 1
    (item,) = await attempts(conn, run_id)
    assert (item.state, item.leased_until) == ("pending", None)
    assert item.submit_at is not None
    assert simulator.records(transaction_id=item.transaction_id) == []


async def test_what_was_not_submitted_is_ready_again_and_costs_no_try(
    pool: Pool,
    environment: dict[str, str],
    conn: Connection,
    make: Make,
    simulator: Simulator,
    clock: Clock,
) -> None:
    """In an outage of the gateway every debit would become unknown, wait for its grace period, and end after five tries."""
    run_id = await make(*owed(2))
    nowhere = {"EMP_API_URL": f"http://127.0.0.1:{free_port()}"}
    async with _opened(pool, environment, simulator, clock, **nowhere) as deps:
        for _ in range(6):
            assert await submission(deps) == 2
            clock.now += timedelta(minutes=10)
    for attempt in await attempts(conn, run_id):
        assert (attempt.state, attempt.submission_count, attempt.leased_until) == ("pending", 6, None)
    async with _opened(pool, environment, simulator, clock) as deps:
        assert await submission(deps) == 2
    for attempt in await attempts(conn, run_id):
        assert (attempt.state, attempt.unique_id is not None) == ("pending", True)
        assert simulator.debited(transaction_id=attempt.transaction_id) == 1


# --- leases ----------------------------------------------------------------------------------------------------------


async def test_a_lost_worker_leaves_a_debit_unknown_and_a_late_answer_still_counts(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """A debit whose worker died may be submitted: it must not be ready again, and a late result must be recorded."""
    run_id = await make(*owed(1))
    account = (await deps.gateways.accounts())["default"]
    opened = await deps.gateways.get("default")
    assert opened is not None
    (item,), _ = await claim(deps, run_id, account=account, identity=opened.identity, permit=PERMIT, limit=5)
    periodic_task = expire_leases(pool, clock=clock)
    await periodic_task.do()
    assert (await attempts(conn, run_id))[0].leased_until is not None  # it still runs
    clock.now += timedelta(seconds=RULES.lease_s + 1)
    await periodic_task.do()
    (lost,) = await attempts(conn, run_id)
    assert (lost.state, lost.submit_at, lost.leased_until) == ("unknown", None, None)
    assert await submission(deps) == 0
    await record(deps, [CallResult(item, "default", GatewaySilent(why="timeout"))])
    assert (await attempts(conn, run_id))[0].state == "unknown"
    from tether_worker.gateway.client import sale

    await record(deps, [CallResult(item, "default", await sale(opened, item.debit))])
    assert (await attempts(conn, run_id))[0].state == "pending"


# --- limits of accounts ----------------------------------------------------------------------------------------------


async def test_an_account_of_a_row_sends_within_its_limits_of_a_day(
    pool: Pool, environment: dict[str, str], simulator: Simulator, clock: Clock, conn: Connection, make: Make
) -> None:
    """A bank that allows a creditor three debits a day closes the account of one who sends four."""
    key = new_key()
    second = GatewayAccount(
        name="second",
        api_url=simulator.url,
        login=SETUP.login,
        passwords=SETUP.passwords,
        terminal_tokens=SETUP.terminals,
        day_count_max=5,
        day_amount_max_minor=3_500,
        debit_max_minor=2_000,
    )
    await put(conn, second, keys=[key], now=clock.now)
    run_id = await make(*owed(6), Owed(scripted_iban(0), 2_001), account="second")
    async with _opened(pool, environment, simulator, clock, TETHER_SECRETS_KEY=key) as deps:
        await asyncio.gather(submission(deps), submission(deps))
        assert sum(attempt.submission_count for attempt in await attempts(conn, run_id)) == 3
        assert await submission(deps) == 0
        clock.now += timedelta(days=1)
        await submission(deps)
    sent = await attempts(conn, run_id)
    assert [debit.submission_count for debit in sent] == [1] * 6 + [0]
    assert sent[6].not_submitted_reason == "too_large"


@pytest.mark.parametrize(
    ("characters", "environment_has", "names"),
    [
        (None, "latin", ("J\u00fcrgen", "Gro\u00df home")),
        (None, "sepa", ("Juergen", "Gross home")),
        ("sepa", "latin", ("Juergen", "Gross home")),
    ],
)
async def test_names_are_written_in_the_characters_of_the_account(
    pool: Pool,
    environment: dict[str, str],
    simulator: Simulator,
    clock: Clock,
    conn: Connection,
    make: Make,
    characters: Characters | None,
    environment_has: str,
    names: tuple[str, str],
) -> None:
    """A bank that drops letters returns the debit; and what the row warned of must not be sent after all."""
    key = new_key()
    second = GatewayAccount(
        name="second",
        api_url=simulator.url,
        login=SETUP.login,
        passwords=SETUP.passwords,
        terminal_tokens=SETUP.terminals,
        characters=characters,
    )
    await put(conn, second, keys=[key], now=clock.now)
    run_id = await make(*owed(1), account="second")
    await conn.execute("update debtors set name = 'J\u00fcrgen Gro\u00df @home \U0001f600'")
    more = {"TETHER_SECRETS_KEY": key, "EMP_CHARACTERS": environment_has}
    async with _opened(pool, environment, simulator, clock, **more) as deps:
        account = (await deps.gateways.accounts())["second"]
        opened = await deps.gateways.get("second")
        assert opened is not None
        claims, _ = await claim(
            deps, run_id, account=account, identity=opened.identity, permit=PERMIT, limit=5
        )
    assert [(item.debit.first_name, item.debit.last_name) for item in claims] == [names]


# --- auto-pause, canaries, end --------------------------------------------------------------------------------------------


async def test_the_rest_follows_canaries_that_went_well(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """Canaries that are sent with everything else warn of nothing."""
    run_id = await make(*owed(40), options=RunOptions(canary_share=0.1))
    canaries = sum(attempt.canary for attempt in await attempts(conn, run_id))
    assert 1 <= canaries <= 15
    assert await submission(deps) == canaries
    assert await submission(deps) == 0
    periodic_task = auto_pause_runs(pool, clock=clock)
    await periodic_task.do()
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert run.state == "running"
    assert await submission(deps) == 40 - canaries
    await periodic_task.do()
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.state, run.finished_at) == ("finished", clock.now)


async def test_canaries_that_fail_stop_the_rest(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """A wrong list must show itself in a few debits, not in all."""
    run_id = await make(*owed(40, script=2), options=RunOptions(canary_share=0.1))
    await submission(deps)
    await auto_pause_runs(pool, clock=clock).do()
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.state, run.paused_from) == ("paused", "canary")
    assert "declined" in str(run.pause_reason)
    assert await submission(deps) == 0


async def test_a_wrong_list_stops_with_the_calls_in_flight(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock
) -> None:
    """Nine hundred people with a wrong list are asked by their banks; the gauge has known after twenty."""
    run_id = await make(*owed(900, script=2))
    other = msgspec.structs.replace(deps, under_way=set(), ending=set(), unrecorded={})
    await asyncio.gather(submission(deps), submission(other))
    sent = await attempts(conn, run_id)
    submitted = sum(debit.submission_count for debit in sent)
    assert 20 <= submitted <= 20 + 2 * CALLS_MAX
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert (run.state, run.paused_from) == ("paused", "running")
    assert "declined" in str(run.pause_reason)
    assert (deps.unrecorded, other.unrecorded) == ({}, {})

    # Ordered again, it stops before the first debit, and says which run it is stopped for.
    await conn.execute(
        "update billing_runs set state = 'cancelled', pause_reason = null, paused_from = null, finished_at = %s",
        (clock.now,),
    )
    await auto_pause_runs(deps.pool, clock=clock).do()
    second = await billing_runs.add(
        conn,
        upload_id=run.upload_id,
        account="default",
        options=OPTIONS,
        created_by="tests",
        now=clock.now,
        again=True,
    )
    while await plan_chunk(deps.pool, now=clock.now):
        pass
    assert await submission(deps) == 0
    stopped = await billing_runs.by_id(conn, second)
    assert stopped is not None
    assert (stopped.state, f"run {run_id}" in str(stopped.pause_reason)) == ("paused", True)
    assert sum(attempt.submission_count for attempt in await attempts(conn, second)) == 0

    # Once a person has looked, it goes on, and stops again when nothing was corrected.
    async def resumed() -> int:
        await conn.execute(
            "update billing_runs set state = 'running', pause_reason = null, paused_from = null where id = %s",
            (second,),
        )
        before = sum(attempt.submission_count for attempt in await attempts(conn, second))
        await submission(deps)
        return int(sum(attempt.submission_count for attempt in await attempts(conn, second)) - before)

    assert await resumed() == 0
    await billing_run_counts.release(
        conn, run.upload_id, by="ops", reason="The terminal was wrong", now=clock.now
    )
    assert 20 <= await resumed() <= 20 + CALLS_MAX
    assert await resumed() == 0
    # A day later it is another list.
    clock.now += timedelta(hours=24)
    third = await billing_runs.add(
        conn,
        upload_id=run.upload_id,
        account="default",
        options=RunOptions(due_item="2026-04"),
        created_by="tests",
        now=clock.now,
    )
    while await plan_chunk(deps.pool, now=clock.now):
        pass
    await submission(deps)
    assert sum(attempt.submission_count for attempt in await attempts(conn, third)) >= 20


PEOPLE = count(1)


def people(debtors: int, *, script: int = 0) -> list[Owed]:
    """Debtors with accounts that no other upload has; the last two digits are the script's."""
    accounts = [f"{0:08d}{next(PEOPLE):08d}{script:02d}" for _ in range(debtors)]
    return [Owed(f"DE{98 - int(f'{account}131400') % 97:02d}{account}", 1000) for account in accounts]


async def state_of(conn: Connection, run_id: int) -> tuple[str, str]:
    """A run's state, and why it is paused."""
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    return run.state, run.pause_reason or ""


async def submitted(conn: Connection, *run_ids: int) -> list[int]:
    """How many submissions each run had."""
    return [sum(attempt.submission_count for attempt in await attempts(conn, run_id)) for run_id in run_ids]


async def resume(conn: Connection, run_id: int, *, now: datetime) -> list[int]:
    """Resume a paused run, as a person does; gives the runs with refusals that this releases."""
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    state = step(run.state, "resumed", paused_from=run.paused_from)
    resumed = msgspec.structs.replace(run, state=state, pause_reason=None, paused_from=None)
    await billing_runs.change(conn, resumed, now=now)
    released = await billing_run_counts.release(conn, run.upload_id, by="ops", reason="a test", now=now)
    return [counts.run_id for counts in released]


async def test_a_wrong_list_in_small_files_stops_too(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock, pool: Pool
) -> None:
    """No run of nine debits decides anything by itself: a thousand people were asked by their banks, and nobody was notified."""
    runs = [await make(*people(9, script=2)) for _ in range(30)]
    large = await make(*people(30))
    await submission(deps)
    await auto_pause_runs(pool, clock=clock).do()
    # What was claimed before 50 answers were recorded is submitted; from then on nothing is.
    debits = await submitted(conn, *runs)
    assert debits[:5] == [9] * 5
    assert 50 <= sum(debits) <= 50 + 8 + CALLS_MAX
    stopped = await state_of(conn, runs[-1])
    assert (stopped[0], debits[-1]) == ("paused", 0)
    assert "in the last small runs of the account" in stopped[1]
    assert (await state_of(conn, runs[0]))[0] == "finished"
    assert (await submitted(conn, large), await state_of(conn, large)) == ([30], ("finished", ""))
    # The next upload is paused before its first debit.
    late = await make(*people(3))
    await submission(deps)
    assert (await state_of(conn, late))[0] == "paused"
    assert await submitted(conn, late) == [0]
    # A person who resumes it has accepted the refusals for it alone: the next upload is judged anew.
    assert await resume(conn, late, now=clock.now) == []
    following = await make(*people(3))
    await submission(deps)
    assert await submitted(conn, late, following) == [3, 0]


async def test_a_resumed_small_run_goes_on_to_its_end(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock, pool: Pool
) -> None:
    """A corrected file after wrong ones was paused again ten seconds after each resume, for a day."""
    for _ in range(5):
        await make(*people(9, script=2))
    await submission(deps)
    clock.now += timedelta(minutes=10)
    corrected = await make(*people(19), options=RunOptions(canary_share=0.01))
    await conn.execute(
        "update billing_attempts set canary = id in (select id from billing_attempts where run_id = %(run_id)s order by id limit 5)"
        " where run_id = %(run_id)s",
        {"run_id": corrected},
    )
    await submission(deps)
    await auto_pause_runs(pool, clock=clock).do()
    state, why = await state_of(conn, corrected)
    assert (state, await submitted(conn, corrected)) == ("paused", [5])
    assert why.startswith("45 of 50 debits")

    assert await resume(conn, corrected, now=clock.now) == []
    await auto_pause_runs(pool, clock=clock).do()
    assert await state_of(conn, corrected) == ("running", "")
    await submission(deps)
    await auto_pause_runs(pool, clock=clock).do()
    assert await submitted(conn, corrected) == [19]
    assert await state_of(conn, corrected) == ("finished", "")

    # The next one is judged anew, until the newest 50 answers are good enough.
    clock.now += timedelta(minutes=10)
    second = await make(*people(9))
    await submission(deps)
    assert (await state_of(conn, second))[0] == "paused"
    await resume(conn, second, now=clock.now)
    await submission(deps)
    third = await make(*people(3))
    await submission(deps)
    assert await submitted(conn, second, third) == [9, 3]


async def test_a_small_run_with_all_its_answers_finishes(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock, pool: Pool
) -> None:
    """Nothing of it is left to be stopped, and a person would have to resume it for nothing."""
    for _ in range(7):
        await make(*people(7, script=2))
    await submission(deps)
    last = await make(*people(1, script=2))
    await submission(deps)
    assert await submitted(conn, last) == [1]
    assert not await pause_if_refused(pool, last, now=clock.now)
    await auto_pause_runs(pool, clock=clock).do()
    assert await state_of(conn, last) == ("finished", "")
    following = await make(*people(1))
    await submission(deps)
    assert (await state_of(conn, following))[0] == "paused"


async def test_declines_that_trickle_in_pause_no_new_run(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock
) -> None:
    """Banks decline days later what the gateway accepted: the small runs of last week must not stop that of today."""
    for _ in range(8):
        await make(*people(9))
    await submission(deps)
    clock.now += timedelta(days=3)
    await conn.execute("update billing_run_counts set refused = answered, refused_at = %s", (clock.now,))
    today = await make(*people(3))
    await submission(deps)
    assert sum(attempt.submission_count for attempt in await attempts(conn, today)) == 3


async def test_some_refusals_among_many_debits_stop_nobody(
    deps: SubmissionDeps, conn: Connection, make: Make
) -> None:
    """Refusals arrive immediately and results late: counted against results alone, every large run would pause."""
    run_id = await make(*[item for _ in range(30) for item in (*owed(9), *owed(1, script=2))])
    await submission(deps)
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    assert run.state == "running"
    assert sum(attempt.submission_count for attempt in await attempts(conn, run_id)) == 300
    (counted,) = await billing_run_counts.of_upload(conn, run.upload_id)
    assert (counted.answered, counted.refused) == (300, 30)


async def test_the_next_batch_waits_for_answers_that_are_not_recorded(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock
) -> None:
    """A database that is slow to record would let the whole list out before the first refusal is known."""
    run_id = await make(*owed(200, script=2))
    run = await billing_runs.by_id(conn, run_id)
    assert run is not None
    async with conn.transaction():
        await conn.execute("select 1 from billing_run_counts where run_id = %s for share", (run_id,))
        sending = asyncio.create_task(submission(deps))
        while len(deps.unrecorded) < CALLS_MAX or deps.under_way:
            await asyncio.wait([sending], timeout=0.01)
        assert not sending.done()
        cursor = await conn.execute(
            "select sum(submission_count) from billing_attempts where run_id = %s", (run_id,)
        )
        assert await cursor.fetchone() == (CALLS_MAX,)
    await sending
    assert sum(attempt.submission_count for attempt in await attempts(conn, run_id)) <= 20 + CALLS_MAX
    assert deps.unrecorded == {}


async def test_returns_warn_and_then_pause(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """A creditor whose debits come back in masses is thrown out of the scheme, long after the run went on."""
    run_id = await make(*owed(60))
    periodic_task = auto_pause_runs(pool, clock=clock)
    await conn.execute(
        "update billing_attempts set payment_stage = 60, state = 'approved', submit_at = null"
        " where id in (select id from billing_attempts where run_id = %s order by id limit 40)",
        (run_id,),
    )
    returned = (
        "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = %s where id in"
        " (select id from billing_attempts where run_id = %s and payment_stage = 60 and dispute_stage = 0"
        " order by id limit %s)"
    )

    async def moved() -> tuple[str, bool]:
        await periodic_task.do()
        run = await billing_runs.by_id(conn, run_id)
        assert run is not None
        return run.state, run.warning is not None

    await conn.execute(returned, ("AM04", run_id, 5))
    assert await moved() == ("running", False)  # 12.5 %
    await conn.execute(returned, ("AM04", run_id, 2))
    assert await moved() == ("running", True)  # 17.5 %
    await conn.execute(returned, ("XT33", run_id, 8))
    assert await moved() == ("running", True)  # the acquirer's own reasons count for nothing
    await conn.execute(returned, ("MD01", run_id, 8))
    assert await moved() == ("paused", True)  # 15 of 32
    assert await submission(deps) == 0


async def test_a_cancelled_run_keeps_nothing_ready(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """Debits left ready could be submitted by a worker with an old state of the run, and would block their due items."""
    run_id = await make(*owed(3))
    await conn.execute(
        "update billing_runs set state = 'cancelled', finished_at = now() where id = %s", (run_id,)
    )
    await auto_pause_runs(pool, clock=clock).do()
    assert {
        (attempt.state, attempt.not_submitted_reason, attempt.submit_at)
        for attempt in await attempts(conn, run_id)
    } == {("error", "cancelled", None)}
    assert await submission(deps) == 0


async def test_a_returned_debit_is_tried_again_on_its_day(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock, simulator: Simulator
) -> None:
    """What the reason allows to be tried again must be tried once, under an id of its own, though its run is over."""
    run_id = await make(*owed(1))
    await submission(deps)
    await conn.execute(
        "update billing_attempts set payment_stage = 60, dispute_stage = 1, state = 'chargebacked', reason_code = 'AM04',"
        " return_handled_at = now(), retry_on = %s, retry_why = 'retry' where run_id = %s",
        (clock.now.date() + timedelta(days=5), run_id),
    )
    await auto_pause_runs(pool, clock=clock).do()
    periodic_task = try_again(pool, clock=clock)
    await periodic_task.do()
    assert len(await attempts(conn, run_id)) == 1
    clock.now += timedelta(days=5)
    await asyncio.gather(periodic_task.do(), periodic_task.do())
    await periodic_task.do()
    first, second = await attempts(conn, run_id)
    assert (second.try_number, second.retry_of, second.state) == (2, first.id, "pending")
    assert second.transaction_id != first.transaction_id
    assert await submission(deps) == 1
    assert simulator.debited(transaction_id=second.transaction_id) == 1


async def test_a_retry_that_waited_beyond_six_weeks_is_not_made(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """Acquirers stop retries after six weeks; a pause of the run must not carry one past that."""
    run_id = await make(*owed(2))
    await submission(deps)
    first, second = await attempts(conn, run_id)
    # A day more than six weeks and the one that a change to winter time may take.
    for row_id, days in ((first.id, 40), (second.id, 44)):
        await conn.execute(
            "update billing_attempts set payment_stage = 60, dispute_stage = 1, state = 'chargebacked', reason_code = 'AM04',"
            " submitted_at = %s, return_handled_at = now(), retry_on = %s, retry_why = 'retry' where id = %s",
            (clock.now - timedelta(days=days), clock.now.date(), row_id),
        )
    await try_again(pool, clock=clock).do()
    await submission(deps)
    retries = (await attempts(conn, run_id))[2:]
    assert [(item.retry_of, item.submission_count, item.not_submitted_reason) for item in retries] == [
        (first.id, 1, None),
        (second.id, 0, "retry_too_late"),
    ]


@pytest.mark.parametrize(("state", "retries"), [("reported", 0), ("approved", 0), ("failed", 1)])
async def test_what_the_back_office_refunded_is_not_tried_again(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock, state: str, retries: int
) -> None:
    """A colleague returned the money at the gateway; the retry of the return would take it once more."""
    run_id = await make(*owed(1))
    await submission(deps)
    [returned] = await attempts(conn, run_id)
    await conn.execute(
        "update billing_attempts set payment_stage = 60, dispute_stage = 1, state = 'chargebacked', reason_code = 'AM04',"
        " return_handled_at = now(), retry_on = %s, retry_why = 'retry' where run_id = %s",
        (clock.now.date(), run_id),
    )
    await conn.execute(
        "insert into gateway_refunds (unique_id, attempt_id, account, kind, state, first_seen_at, updated_at)"
        " values ('back-office', %s, 'default', 'refund', %s, now(), now())",
        (returned.id, state),
    )
    clock.now += timedelta(days=1)
    await try_again(pool, clock=clock).do()
    assert len(await attempts(conn, run_id)) == 1 + retries


async def test_the_lifetime_maximum_holds_within_a_claim(
    deps: SubmissionDeps, conn: Connection, make: Make, clock: Clock, attempt: Any
) -> None:
    """Two rows of one account, each within the maximum beside what was paid since they were planned, and together above it."""
    account = made_up_iban(random.Random(1))
    run_id = await make(
        Owed(account, 4_000, "Zoë Miller"), Owed(account, 4_000, "Max Miller"), options=RunOptions(lifetime_max_minor=10_000)
    )  # fmt: skip
    await attempt("paid since", payment_stage=60, at=clock.now - timedelta(days=40), amount_minor=6_000)
    await conn.execute(
        "update billing_attempts set iban_fingerprint = %s where transaction_id = 'paid since'", [fingerprint(account)]
    )  # fmt: skip
    await submission(deps)
    assert [(item.submission_count, item.not_submitted_reason) for item in await attempts(conn, run_id)] == [
        (1, None),
        (0, "lifetime_cap"),
    ]


async def test_what_a_notification_ended_is_not_sent(
    deps: SubmissionDeps, conn: Connection, pool: Pool, make: Make, clock: Clock
) -> None:
    """The gateway has the debit after all: sending it would be the second one."""
    run_id = await make(*owed(1))
    await conn.execute("update billing_attempts set payment_stage = 20 where run_id = %s", (run_id,))
    assert await submission(deps) == 0
    await auto_pause_runs(pool, clock=clock).do()
    (item,) = await attempts(conn, run_id)
    assert (item.submit_at, item.submission_count) == (None, 0)


@pytest.mark.parametrize(
    ("stages", "status", "event"),
    [
        ((60, 0), "chargebacked", "chargeback"),
        ((50, 0), "approved", None),
        ((60, 1), "chargeback_reversed", "chargeback_reversal"),
    ],
)
async def test_debits_of_an_account_wait_while_a_report_about_it_is_confirmed(
    deps: SubmissionDeps,
    make: Make,
    conn: Connection,
    clock: Clock,
    attempt: Any,
    stages: tuple[int, int],
    status: str,
    event: str | None,
) -> None:
    """The next debit would meet the same dispute, or be the second for its due item; ended for good, a forger could stop a list."""
    run_id = await make(*owed(2), options=RunOptions(recent_days=0))
    account = (
        await (await conn.execute("select iban_fingerprint from debtors order by id limit 1")).fetchall()
    )[0][0]
    await attempt(
        "earlier",
        unique_id="d1",
        payment_stage=stages[0],
        dispute_stage=stages[1],
        at=clock.now - timedelta(days=40),
    )
    await conn.execute(
        "update billing_attempts set iban_fingerprint = %s, reason_code = 'AM04' where transaction_id = 'earlier'",
        [account],
    )
    await conn.execute(
        "insert into webhook_events (key, content, account, kind, notification_id, status, event, source, content_type, body,"
        " state, failures, received_at, next_at) values ('k', 'c', 'default', 'payment', 'd1', %(status)s, %(event)s,"
        " 'webhook', 'form', 'x', 'confirming', 0, %(now)s, %(now)s)",
        {"now": clock.now, "status": status, "event": event},
    )
    other = await make(*owed(2), options=RunOptions(due_item="2026-04", recent_days=0), plan=False)
    await set_aside(conn, other, "waiting_elsewhere")
    await plan_all(deps)
    ((skipped,),) = await (
        await conn.execute("select skipped from billing_runs where id = %s", [other])
    ).fetchall()
    assert msgspec.json.decode(skipped) == {"being_confirmed": 2}
    account_row = (await deps.gateways.accounts())["default"]
    opened = await deps.gateways.get("default")
    assert opened is not None
    assert await claim(
        deps, run_id, account=account_row, permit=PERMIT, identity=opened.identity, limit=10
    ) == ([], 2)
    assert await claim(
        deps, run_id, account=account_row, permit=PERMIT, identity=opened.identity, limit=10
    ) == ([], 0)
    rows = await (
        await conn.execute(
            "select state, not_submitted_reason from billing_attempts where run_id = %s", [run_id]
        )
    ).fetchall()
    assert rows == [("pending", None)] * 2
    await conn.execute(
        "update webhook_events set state = 'processed', outcome = 'contradicted', next_at = null"
    )
    clock.now += timedelta(minutes=3)
    begun, _ = await claim(
        deps, run_id, account=account_row, permit=PERMIT, identity=opened.identity, limit=10
    )
    assert len(begun) == 2
