"""What a worker claims, makes and records after the database went back."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core.billing.run_options import RunOptions
from tether_core.errors import GatewaySilent
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.submission import SubmissionRules
from tether_core.payments.transaction_ids import transaction_id
from tether_sandbox.gateway import Faults, Setup, Simulator, running
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.boot_clock import BootClock
from tether_stores.database_epoch import lost_history
from tether_stores.database_epoch.watch import Watch
from tether_stores.limits import Limiter
from tether_stores.postgres import transaction
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_worker.billing.runs import plan_chunk
from tether_worker.database_epoch import review, want_lost_days
from tether_worker.gateway import client
from tether_worker.gateway.clients import open_gateways
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps, clients_of, limited
from tether_worker.jobs.leases import LEASE_S
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps
from tether_worker.payments.claim import claim
from tether_worker.payments.record import CallResult, record
from tether_worker.payments.submission import submit_until
from tether_worker.reconciliation.attempts import reconcile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600)
RULES = SubmissionRules(lease_s=75, not_found_grace_s=900)
PERMIT = Permit(go=True, generation=0)
TOKENS = count()
ACCOUNTS = count(7_000_000)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has accounts of its own."""
    with running(SETUP) as item:
        yield item


class World:
    """One test's database, its worker's needs, and its time."""

    def __init__(self, pool: Pool, conn: Connection, url: str) -> None:
        self.pool, self.conn, self.url = pool, conn, url
        self.now = datetime.now(UTC)
        self.billing: SubmissionDeps
        self.inquiry_deps: InquiryDeps
        self.watch: Watch

    async def run(self, debtors: int, *, plan: bool = True) -> int:
        """Make a run over some debtors; gives its id."""
        # The simulator outlives the database; what is made of rows must not come again.
        await self.conn.execute(f"alter table debtors alter column id restart with {next(ACCOUNTS) * 100}")
        owed = [Owed(_iban(next(ACCOUNTS)), 1_000 + n) for n in range(debtors)]
        upload_id, _ = seed_upload(self.url, owed, now=self.now)
        run_id = await billing_runs.add(
            self.conn,
            upload_id=upload_id,
            account="default",
            options=RunOptions(),
            created_by="tests",
            now=self.now,
        )
        if plan:
            await self.plan()
        return run_id

    async def plan(self) -> None:
        while await plan_chunk(self.pool, now=self.now):
            pass

    async def claim(self, run_id: int) -> list[Any]:
        account = (await self.billing.gateways.accounts())["default"]
        opened = await self.billing.gateways.get("default")
        assert opened is not None
        claims, _ = await claim(
            self.billing, run_id, account=account, identity=opened.identity, permit=PERMIT, limit=100
        )
        return claims

    async def submission(self) -> int:
        return await submit_until(self.billing, end_s=asyncio.get_running_loop().time() + 20)

    async def go_back(self) -> None:
        """Have the database differ from what was seen last, as a promoted standby does."""
        await self.conn.execute("update database_epochs set timeline = timeline + 1 where ended_at is null")

    async def states(self) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(
            "select state, submission_count, submit_at is not null, not_submitted_reason from billing_attempts order by id"
        )
        return await cursor.fetchall()


def _iban(number: int) -> str:
    account = f"50010517{number:010d}"
    return f"DE{98 - int(f'{account}131400') % 97:02d}{account}"


@pytest.fixture
async def world(
    pool: Pool, conn: Connection, database_url: str, environment: dict[str, str], simulator: Simulator
) -> AsyncIterator[World]:
    """A worker whose watch has confirmed the first epoch."""
    simulator.faults(Faults())
    item = World(pool, conn, database_url)
    settings = Settings.from_env(
        environment
        | {
            "EMP_API_URL": simulator.url,
            "EMP_API_LOGIN": SETUP.login,
            "EMP_API_PASSWORD": SETUP.passwords[0],
            "EMP_TERMINAL_TOKEN": SETUP.terminals[0],
            "EMP_TIMEOUT": "20",
            "EMP_RATE_LIMIT": "5000",
            "RECONCILIATION_RATE_LIMIT": "5000",
        }
    )
    async with (
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
        open_redis(settings.redis_url, name="tests", timeout_s=20) as cache,
    ):
        item.watch = Watch(
            cache=cache,
            store=None,
            clock=lambda: item.now,
            token=lambda: f"token-{next(TOKENS)}",
            is_pulsing=True,
        )
        limiter = Limiter(cache)
        item.billing = SubmissionDeps(
            pool, gateways, limiter, RULES, lambda: item.now, asyncio.Event(), watch=item.watch
        )
        item.inquiry_deps = InquiryDeps(
            pool,
            clients_of(gateways),
            limited(limiter),
            lambda: item.now,
            lambda: 0.5,
            boot=BootClock("boot-1", lambda: float(item.now.timestamp())),
        )
        await item.watch.probe(pool)
        yield item


async def test_a_worker_that_has_not_noticed_claims_nothing(world: World) -> None:
    """Between the switch and its next probe it would submit everything that the lost history has submitted."""
    run_id = await world.run(3)
    await world.go_back()
    assert await world.claim(run_id) == []
    assert await world.submission() == 0
    await world.watch.probe(world.pool)
    # Noticed, and not reviewed yet.
    assert await world.claim(run_id) == []
    assert not await review(world.pool, now=world.now)
    assert await world.states() == [("unknown", 0, False, None)] * 3
    assert await world.claim(run_id) == []


async def test_a_worker_that_has_never_probed_claims_nothing(world: World) -> None:
    """It does not know which history it sees."""
    run_id = await world.run(1)
    options = {
        "cache": None,
        "store": None,
        "clock": lambda: world.now,
        "token": lambda: "x",
        "is_pulsing": True,
    }
    world.billing = msgspec.structs.replace(world.billing, watch=Watch(**options))  # type: ignore[arg-type]
    assert await world.claim(run_id) == []


async def test_what_the_lost_history_submitted_is_found_and_the_rest_is_submitted(
    world: World, simulator: Simulator
) -> None:
    """The first pays once; the money of the second is not lost."""
    first = await world.run(2)
    assert await world.submission() == 2
    second = await world.run(2)
    # As an older copy has it.
    await world.conn.execute(
        "update billing_attempts set state = 'pending', payment_stage = 0, unique_id = null, submission_count = 0, submitted_at = null,"
        " submit_at = created_at where run_id = %s",
        (first,),
    )
    await world.go_back()
    await world.watch.probe(world.pool)
    assert not await review(world.pool, now=world.now)
    assert [state for state, *_ in await world.states()] == ["unknown"] * 4
    for _ in range(12):
        world.now += timedelta(minutes=5)
        while await reconcile(world.inquiry_deps, rules=RULES):
            pass
    cursor = await world.conn.execute(
        "select run_id, submit_at is not null from billing_attempts order by id"
    )
    # The answers about the first wait in the inbox; none of them may be submitted.
    assert await cursor.fetchall() == [(first, False)] * 2 + [(second, True)] * 2
    await world.watch.probe(world.pool)
    assert await world.submission() == 2
    assert simulator.sums()["debited_twice"] == []


async def test_inquiries_about_later_tries_are_made_under_the_lease(world: World) -> None:
    """A debit takes a dozen inquiries then: every other worker would begin the same ones again, and the rate of the account is one."""
    await world.run(1)
    await world.go_back()
    await world.watch.probe(world.pool)
    assert not await review(world.pool, now=world.now)
    world.now += timedelta(minutes=5)
    permit, begun = world.inquiry_deps.permit, 0

    @contextlib.asynccontextmanager
    async def second_takes_long(of: GatewayClient) -> AsyncIterator[None]:
        nonlocal begun
        begun += 1
        if begun > 1:
            await asyncio.Event().wait()
        async with permit(of):
            yield

    async def leased_until() -> Any:
        ((until,),) = await (await world.conn.execute("select inquire_at from billing_attempts")).fetchall()
        return until

    slow = msgspec.structs.replace(world.inquiry_deps, permit=second_takes_long)
    task = asyncio.create_task(reconcile(slow, rules=RULES))
    while begun < 2:
        done, _ = await asyncio.wait([task], timeout=0.01)
        assert not done
    first = await leased_until()
    world.now += timedelta(seconds=LEASE_S - 1)
    while await leased_until() == first:
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done
    world.now += timedelta(seconds=2)
    assert await reconcile(world.inquiry_deps, rules=RULES) == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_later_try_of_the_lost_history_keeps_the_earlier_one_back(
    world: World, simulator: Simulator
) -> None:
    """
    The lost history had the first try refused and made a second, which the gateway took.

    "Not found" for the first is true, and submitting it would debit the due item twice.
    """
    run_id = await world.run(2)
    cursor = await world.conn.execute("select min(id) from billing_attempts")
    ((first,),) = await cursor.fetchall()
    # As the lost history had them: the second try of one debtor was submitted.
    cursor = await world.conn.execute(
        "select debtor_id, due_item, amount_minor, currency, iban_fingerprint from billing_attempts where id = %s",
        (first,),
        binary=True,
    )
    ((debtor_id, due_item, amount_minor, currency, fingerprint),) = await cursor.fetchall()
    later = transaction_id(
        debtor_id,
        due_item=due_item,
        number=2,
        amount_minor=amount_minor,
        currency=currency,
        iban_fingerprint=fingerprint,
    )
    (item, _) = sorted(await world.claim(run_id), key=lambda item: item.id)
    opened = await world.billing.gateways.get("default")
    assert opened is not None
    await client.sale(opened, msgspec.structs.replace(item.debit, transaction_id=later))
    await world.conn.execute(
        "update billing_attempts set submission_count = 0, submitted_at = null, submit_at = created_at, leased_until = null"
    )
    await world.go_back()
    await world.watch.probe(world.pool)
    assert not await review(world.pool, now=world.now)
    for _ in range(12):
        world.now += timedelta(minutes=5)
        while await reconcile(world.inquiry_deps, rules=RULES):
            pass
    assert [(state, is_ready) for state, _, is_ready, _ in await world.states()] == [
        ("unknown", False),
        ("unknown", True),
    ]


async def test_a_large_review_goes_on_where_it_was_left(world: World) -> None:
    """A worker that dies in the middle leaves a part; nothing is claimed until the next one has done the rest."""
    run_id = await world.run(25)
    await world.go_back()
    await world.watch.probe(world.pool)
    chunks = 0
    while await review(world.pool, now=world.now, limit=10):
        chunks += 1
        assert await world.claim(run_id) == []
    assert chunks == 2
    assert [state for state, *_ in await world.states()] == ["unknown"] * 25
    async with world.pool.connection() as conn:
        epoch = await lost_history.current(conn)
    assert epoch is not None
    assert (epoch.number, epoch.submissions, epoch.reviewed_at) == (2, 25, world.now)


async def test_a_plan_that_was_lost_is_made_again_as_inquiries(world: World) -> None:
    """The ids are made of debtor and due item: the lost history has submitted these very debits."""
    await world.run(3, plan=False)
    await world.go_back()
    await world.watch.probe(world.pool)
    assert not await review(world.pool, now=world.now)
    await world.plan()
    assert await world.states() == [("unknown", 0, False, None)] * 3
    # Debtors that are recorded after the loss were never anybody else's.
    await world.run(2)
    assert (await world.states())[3:] == [("pending", 0, True, None)] * 2


async def test_a_plan_that_is_made_while_the_next_epoch_begins(
    world: World, pool: Pool, eventually: Any
) -> None:
    """
    The plan's rows are not committed yet, so the review cannot see them.

    Its transaction waits for the end of the old epoch, and must not take it for a database without any: its debits
    would be ready, and the lost history has submitted them.
    """
    await world.run(3, plan=False)
    async with transaction(pool) as switching:
        await switching.execute("select from database_epochs where ended_at is null for update")
        planning = asyncio.create_task(world.plan())

        async def is_blocked() -> bool:
            cursor = await world.conn.execute(
                "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            return await cursor.fetchone() is not None

        await eventually(is_blocked, what="the plan to wait for the epoch")
        await switching.execute(
            "with ended as (update database_epochs set ended_at = now() where ended_at is null returning *)"
            " insert into database_epochs select 2, 'next', installation, 'other timeline', system_id, timeline, 0, now(),"
            " now(), null, now(), 0, 0, (select max(id) from debtors), 0, 0, 0, null, null from ended"
        )
    await planning
    assert await world.states() == [("unknown", 0, False, None)] * 3


async def test_refunds_that_are_ready_become_inquiries(world: World, attempt: Any) -> None:
    """The lost history may have paid them; nothing shows that in the older copy."""
    debit = await attempt("older-debit", unique_id="u-older", payment_stage=60)
    await world.conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state,"
        " payment_stage, ordered_by, created_at, updated_at, submit_at, inquiry_count) values (%s, 'refund', 1, 'default', 'r-1', 1000,"
        " 'EUR', '', 'pending', 0, 'tests', %s, %s, %s, 9)",
        (debit, world.now, world.now, world.now),
    )
    await world.go_back()
    await world.watch.probe(world.pool)
    assert not await review(world.pool, now=world.now)
    cursor = await world.conn.execute(
        "select state, submit_at, submitted_at = %s, inquiry_count from refunds", (world.now,)
    )
    assert await cursor.fetchall() == [("unknown", None, True, 0)]
    cursor = await world.conn.execute("select state from billing_attempts")
    assert await cursor.fetchall() == [("approved",)]


async def test_the_first_epoch_makes_no_inquiries(world: World) -> None:
    """Each installation would begin with a quarter of an hour in which nothing is collected."""
    await world.run(2)
    assert not await review(world.pool, now=world.now)
    assert await world.states() == [("pending", 0, True, None)] * 2


async def test_an_answer_of_the_lost_history_is_not_recorded_on_a_row_that_took_its_id(world: World) -> None:
    """Row ids come again after a loss: one debtor's answer would end the debit of another."""
    run_id = await world.run(2)
    claims = await world.claim(run_id)
    assert len(claims) == 2
    ids = [item.id for item in claims]
    await world.conn.execute(
        "update billing_attempts set transaction_id = 'that of another', submission_count = 1 where id = %s",
        (ids[0],),
    )
    await world.conn.execute("delete from billing_attempts where id = %s", (ids[1],))
    before = await world.states()
    answer = GatewaySilent(why="timeout")
    await record(world.billing, [CallResult(item, "default", answer) for item in claims])
    assert await world.states() == before


async def test_an_inquiry_that_was_under_way_says_nothing_about_another_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's "not found" for one debit would free another, whose call may be under way."""
    await world.run(1)
    await world.conn.execute(
        "update billing_attempts set state = 'unknown', payment_stage = 10, submit_at = null, submission_count = 1,"
        " submitted_at = created_at - interval '1 day', updated_at = created_at - interval '1 day'"
    )
    from tether_worker.gateway import inquiry_batch

    inquire = inquiry_batch.inquire_batch

    async def then_goes_back(*args: Any, **options: Any) -> Any:
        found = await inquire(*args, **options)
        await world.conn.execute("update billing_attempts set transaction_id = 'that of another'")
        return found

    monkeypatch.setattr(inquiry_batch, "inquire_batch", then_goes_back)
    assert await reconcile(world.inquiry_deps, rules=RULES) == 1
    assert await world.states() == [("unknown", 1, False, None)]


async def test_the_lists_of_the_lost_days_are_wanted_once(world: World) -> None:
    """Notifications that were acknowledged do not come again by themselves; the gateway's lists have them."""
    wanted = "select count(*), count(distinct day_on) from report_fetches"
    await want_lost_days(world.inquiry_deps).do()
    assert await (await world.conn.execute(wanted)).fetchone() == (0, 0)
    await world.conn.execute("update database_epochs set pulse_at = pulse_at - interval '3 days'")
    await world.go_back()
    await world.watch.probe(world.pool)
    await want_lost_days(world.inquiry_deps).do()
    assert await (await world.conn.execute(wanted)).fetchone() == (15, 5)
    await world.conn.execute("delete from report_fetches")
    await want_lost_days(world.inquiry_deps).do()
    assert await (await world.conn.execute(wanted)).fetchone() == (0, 0)


async def test_a_claim_and_the_next_epoch_exclude_each_other(world: World) -> None:
    """A claim that commits after the review has passed would be submitted although nobody inquired."""
    run_id = await world.run(1)
    async with transaction(world.pool) as conn:
        assert await world.watch.holds(conn)
        await world.go_back()
        probing = asyncio.create_task(world.watch.probe(world.pool))
        # The claim of another worker, made in the same time.
        await conn.execute(
            "update billing_attempts set submit_at = null, submission_count = 1, submitted_at = %s",
            (world.now,),
        )
        await asyncio.wait([probing], timeout=0.3)
        assert not probing.done()
    await probing
    assert not await review(world.pool, now=world.now)
    assert await world.states() == [("unknown", 1, False, None)]
    assert await world.claim(run_id) == []
