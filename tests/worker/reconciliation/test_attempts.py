"""Questions about single payments: unknown ones first, answers through the inbox, silence no answer."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core import retry
from tether_core.emp.notification import FORM
from tether_core.emp.requests import Debit
from tether_core.limits.rate_limit import limits
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.payments.submission import SubmissionRules
from tether_core.reconciliation.status_inquiry import PENDING_AGE_S, TRIES_MAX
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running, scripted_iban
from tether_stores.accounts import gateway_identities
from tether_stores.boot_clock import BootClock
from tether_stores.limits import Limiter
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.redis import open_redis
from tether_worker.gateway import client as calls
from tether_worker.gateway import inquiry_batch
from tether_worker.gateway.connections import Account, open_gateway
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps, Permit, limited
from tether_worker.jobs.leases import LEASE_S
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.reconciliation.attempts import reconcile, reconciling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600)
PENDING = timedelta(seconds=PENDING_AGE_S + 1)


class World:
    """One test's database, its worker's needs, and its time."""

    def __init__(self, conn: Connection, pool: Pool, client: GatewayClient) -> None:
        self.conn = conn
        self.now = datetime.now(UTC)
        self.client = client
        self.asked = 0
        self.uncounted_s = 0.0  # by which the time was set forward
        self.stepped_s: float | None = None
        self.others: dict[str, GatewayClient] = {}
        self.inquiry_deps = InquiryDeps(
            pool,
            self._clients,
            self._permit,
            lambda: self.now,
            lambda: 0.5,
            boot=BootClock("boot-1", self.boot_s),
            stepped_s=lambda: self.stepped_s,
        )
        self.applying = ApplyDeps(pool, ApplyPolicy(confirm="all"), lambda: self.now, lambda: 0.5)

    def boot_s(self) -> float:
        """The boot clock: it goes with the time, unless that is set."""
        return self.now.timestamp() - self.uncounted_s

    async def _clients(self) -> Mapping[str, GatewayClient]:
        return {"default": self.client, **self.others}

    @contextlib.asynccontextmanager
    async def _permit(self, _client: GatewayClient) -> AsyncIterator[None]:
        self.asked += 1
        yield

    async def sell(self, transaction_id: str, *, script: int = 0) -> str:
        """Send a debit; gives the gateway's id."""
        answer = await calls.sale(
            self.client.gateway,
            Debit(
                transaction_id=transaction_id,
                amount_minor=1000,
                currency="EUR",
                usage="x",
                iban=scripted_iban(script),
                first_name="Zoë",
                last_name="Miller",
                country="DE",
            ),
        )
        assert answer.unique_id is not None
        return answer.unique_id

    async def rows(self) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(
            "select transaction_id, state, unique_id, inquiry_count, inquire_at from billing_attempts order by id"
        )
        return await cursor.fetchall()

    async def fetch_one(self, column: str) -> Any:
        row = await (await self.conn.execute(f"select {column} from billing_attempts")).fetchone()
        assert row is not None
        return row[0]

    async def inquire_and_apply(self) -> int:
        asked = await reconcile(self.inquiry_deps)
        while await apply_batch(self.applying):
            pass
        return asked


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has transaction ids of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
async def world(conn: Connection, pool: Pool, simulator: Simulator) -> AsyncIterator[World]:
    """Everything but the attempts."""
    account = Account(
        "default", simulator.url, SETUP.login, SETUP.passwords[0], SETUP.terminals[0], timeout_s=20
    )
    async with open_gateway(account) as gateway:
        yield World(conn, pool, GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20})))


@pytest.fixture
def unknown(attempt: Callable[..., Awaitable[int]], world: World) -> Callable[..., Awaitable[int]]:
    """Make an attempt that was called an hour ago and whose answer was lost."""

    async def make(transaction_id: str, **columns: Any) -> int:
        at = world.now - timedelta(hours=1)
        columns.setdefault("submitted_to", [world.client.identity(SETUP.terminals[0]).key])
        return await attempt(
            transaction_id,
            payment_stage=stages.UNKNOWN_TO_US,
            at=at,
            submitted_at=at,
            submission_count=1,
            **columns,
        )

    return make


async def test_a_lost_answer_is_found_by_our_id(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """The debit stands at the gateway and nobody here knows: sent again, the debtor pays twice."""
    unique_id = await world.sell("lost-1")
    await unknown("lost-1")
    simulator.transition(StatusChange("approved", unique_id=unique_id))
    assert await world.inquire_and_apply() == 1
    assert (await world.rows())[0][:3] == ("lost-1", "approved", unique_id)
    event = await (
        await world.conn.execute("select source, state, confirmed_status from webhook_events")
    ).fetchone()
    assert event == ("report", "processed", "approved")


GRACE = timedelta(seconds=SubmissionRules().lease_s + SubmissionRules().not_found_grace_s)


async def test_what_never_came_there_is_free_to_be_sent_again(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """A debit that the gateway never got would stay unknown, and the money uncollected, for ever."""
    await unknown("never-1")
    await world.inquire_and_apply()
    # Its call was over an hour ago by Postgres, and nobody knows whether that hour has passed.
    assert await world.fetch_one("submit_at") is None
    assert await world.fetch_one("inquiry_count") == 0  # waiting for the grace period is no try
    assert await world.fetch_one("unresolved_reason") == "too_early"
    again_at = await world.fetch_one("inquire_at")
    assert again_at >= world.now + GRACE
    assert await world.inquire_and_apply() == 0
    world.now = again_at
    await world.inquire_and_apply()
    assert await world.fetch_one("state") == "unknown"
    assert await world.fetch_one("submit_at") == world.now
    assert await world.fetch_one("inquire_at") is None
    assert await world.fetch_one("unresolved_reason") is None


async def test_a_step_of_postgres_clock_frees_nothing(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """One step by twenty minutes would end every grace period at once, and debits on their way would go out again."""
    await unknown("step-1")
    await world.inquire_and_apply()
    world.now += timedelta(minutes=20)
    world.uncounted_s = 1_200.0
    assert await world.inquire_and_apply() == 1
    assert await world.fetch_one("submit_at") is None
    world.now = await world.fetch_one("inquire_at")
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") == world.now


async def test_after_a_step_the_grace_period_begins_anew(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """What was waited for before a clock was set is not to be trusted: nobody knows which of them was right."""
    await unknown("step-2")
    await world.inquire_and_apply()
    world.now = await world.fetch_one("inquire_at")
    world.stepped_s = world.boot_s() - 1
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") is None
    world.now = await world.fetch_one("inquire_at")
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") == world.now


async def test_another_machine_waits_for_itself_and_forgets_nobody(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """Two machines' clocks cannot be compared; and each must reach its end with inquiries from the other in between."""
    await unknown("boots-1")
    await world.inquire_and_apply()
    first = world.inquiry_deps
    world.now = await world.fetch_one("inquire_at")
    other = BootClock("boot-2", lambda: world.boot_s() + 1_000_000)
    world.inquiry_deps = msgspec.structs.replace(first, boot=other)
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") is None
    world.inquiry_deps = first
    world.now += timedelta(minutes=1)
    await world.conn.execute("update billing_attempts set inquire_at = %s", (world.now,))
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") == world.now


@pytest.mark.parametrize("submitted_to", [["0123456789abcdef"], ["?"], None])
async def test_not_found_counts_only_from_where_it_was_submitted(
    world: World, unknown: Callable[..., Awaitable[int]], submitted_to: list[str] | None
) -> None:
    """A terminal that was changed knows nothing of the old one's debits; believed, each of them is debited again."""
    await unknown("rotated-1", submitted_to=submitted_to)
    for _ in range(20):
        assert await world.inquire_and_apply() == 1
        assert await world.fetch_one("submit_at") is None
        world.now = await world.fetch_one("inquire_at")
    assert await world.fetch_one("unresolved_reason") == "not_found_elsewhere"
    (row,) = await gateway_identities.unresolved(world.conn, limit=10)
    assert (row.kind, row.transaction_id) == ("debit", "rotated-1")
    assert row.submitted_to == tuple(submitted_to or ["?"])
    assert await gateway_identities.counts(world.conn) == {"not_found_elsewhere": 1}


async def test_a_lost_history_may_have_submitted_to_a_terminal_that_is_gone_by_now(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """The operator changes the terminal and restores the database: only the old one knows what was submitted to it."""
    old = msgspec.structs.replace(world.client, terminals=("terminal-old",)).identity("terminal-old")
    await gateway_identities.record(world.conn, old, account="default", now=world.now)
    await unknown("lost-history-1", submitted_to=["*"])
    await world.inquire_and_apply()
    assert await world.fetch_one("unresolved_reason") == "not_found_elsewhere"
    # A terminal that the account has not had for more than a month is asked no more.
    await world.conn.execute(
        "update gateway_identities set first_used_at = first_used_at - interval '32 days'"
    )
    world.now = await world.fetch_one("inquire_at")
    await world.inquire_and_apply()
    assert await world.fetch_one("unresolved_reason") == "too_early"


async def test_a_terminal_that_is_configured_again_resolves_its_debits(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """The operator does what the warning says, and would wait for a day to see that it helped; also as another account."""
    away = msgspec.structs.replace(world.client, terminals=("terminal-away",))
    here = world.client
    await unknown("back-1", submitted_to=[here.identity(SETUP.terminals[0]).key])
    await unknown("back-2", submitted_to=[away.identity("terminal-away").key])
    world.client = away
    await world.inquire_and_apply()
    await world.inquire_and_apply()
    keys = {here.identity(terminal).key for terminal in here.terminals}
    assert await gateway_identities.wake(world.conn, keys=set(), now=world.now) == 0
    assert await gateway_identities.wake(world.conn, keys=keys, now=world.now) == 1
    assert await gateway_identities.wake(world.conn, keys=keys, now=world.now) == 0
    world.others = {"old": here}
    assert await world.inquire_and_apply() == 1

    async def row() -> Any:
        columns = "unresolved_reason, inquire_at, submit_at"
        found = await world.conn.execute(
            f"select {columns} from billing_attempts where transaction_id = 'back-1'"
        )
        return await found.fetchone()

    why, world.now, _ = await row()
    assert why == "too_early"
    await world.inquire_and_apply()
    assert (await row())[2] == world.now


async def test_a_hidden_debit_is_not_sent_again(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """The gateway named the debit once and cannot find it now: that never allows another debit."""
    await world.sell("named-1")
    await unknown("other-1", unique_id="ab" * 16)
    await world.inquire_and_apply()
    assert await world.fetch_one("submit_at") is None
    assert await world.fetch_one("inquiry_count") == 1
    assert simulator.debited(transaction_id="other-1") == 0


async def test_unknown_goes_before_pending_and_old_before_new(
    world: World, unknown: Callable[..., Awaitable[int]], attempt: Callable[..., Awaitable[int]]
) -> None:
    """With ten thousand pending debits in front, an unknown one would wait for hours, neither collected nor free."""
    await attempt("pending-old", at=world.now - 3 * PENDING)
    await attempt("pending-new", at=world.now - PENDING)
    await unknown("unknown-1")
    order: list[str] = []
    for _ in range(3):
        assert await reconcile(world.inquiry_deps, limit=1) == 1
        cursor = await world.conn.execute(
            "select transaction_id from billing_attempts where inquire_at is not null or submit_at is not null"
        )
        order += [name for (name,) in await cursor.fetchall() if name not in order]
    assert order == ["unknown-1", "pending-old", "pending-new"]


async def test_what_is_fresh_is_left_alone(world: World, attempt: Callable[..., Awaitable[int]]) -> None:
    """Asking about everything at once would use up the rate for news that comes by itself."""
    await attempt("fresh", at=world.now - timedelta(hours=1))
    await attempt("not-sent", payment_stage=stages.SENT, at=world.now - 3 * PENDING)
    await attempt("done", payment_stage=stages.APPROVED, at=world.now - 3 * PENDING)
    await attempt("back", payment_stage=stages.IN_PROGRESS, dispute_stage=1, at=world.now - 3 * PENDING)
    assert not await reconciling(world.inquiry_deps).has_pending()
    assert await world.inquire_and_apply() == 0


async def test_a_stale_pending_debit_learns_its_outcome(
    world: World, attempt: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """Its notification was lost; without a question it would be pending in our books for ever."""
    unique_id = await world.sell("stale-1")
    await attempt("stale-1", unique_id=unique_id, at=world.now - PENDING)
    simulator.transition(StatusChange("declined", error_code="500", unique_id=unique_id))
    assert await reconciling(world.inquiry_deps).has_pending()
    await world.inquire_and_apply()
    assert await world.fetch_one("state") == "declined"
    assert await world.fetch_one("error_code") == "500"


async def test_a_debit_that_stays_pending_is_inquired_ten_times(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Without an end, debits that never end would take the rate away from all others."""
    unique_id = await world.sell("for-ever", script=7)
    await attempt("for-ever", unique_id=unique_id, at=world.now - PENDING)
    for tried in range(TRIES_MAX):
        assert await world.inquire_and_apply() == 1, tried
        world.now += timedelta(days=6)
    assert await world.fetch_one("inquiry_count") == TRIES_MAX
    assert (
        await world.fetch_one("inquire_at")
    ).year == 9999  # out of the way of all that wait for their first question
    assert await world.inquire_and_apply() == 0
    row = await (await world.conn.execute("select count(*) from webhook_events")).fetchone()
    assert row == (1,)  # one row says "pending", after any number of reports


async def test_silence_is_no_try(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """An outage of minutes would otherwise use up the ten tries of every debit of the day."""
    await unknown("silent-1")
    simulator.faults(Faults(inquiries_failed=1.0))
    try:
        await world.inquire_and_apply()
    finally:
        simulator.faults(Faults())
    assert await world.fetch_one("inquiry_count") == 0
    assert await world.fetch_one("inquire_at") == world.now + timedelta(seconds=retry.SILENCE_S)
    assert await world.fetch_one("submit_at") is None


async def test_a_refused_question_settles_nothing(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """A wrong password on our side must not look like "the gateway has no such debit"."""
    await unknown("refused-1")
    account = Account("default", simulator.url, SETUP.login, "wrong", SETUP.terminals[0], timeout_s=20)
    async with open_gateway(account) as gateway:
        world.client = GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20}))
        await world.inquire_and_apply()
    assert await world.fetch_one("state") == "unknown"
    assert await world.fetch_one("submit_at") is None
    assert (
        await world.fetch_one("inquiry_count") == 0
    )  # else a wrong password used up all tries of every debit


async def test_an_error_of_unknown_outcome_that_becomes_final(
    world: World, attempt: Callable[..., Awaitable[int]], simulator: Simulator
) -> None:
    """Both have the status "error"; taken for a repeat, the second would leave the debit unknown for ever."""
    unique_id = await world.sell("error-1")
    simulator.transition(StatusChange("error", error_code="230", unique_id=unique_id))
    await attempt("error-1", unique_id=unique_id, at=world.now - PENDING)
    await world.inquire_and_apply()
    assert await world.fetch_one("state") == "unknown"
    assert await world.fetch_one("payment_stage") == stages.UNKNOWN_TO_GATEWAY
    simulator.transition(StatusChange("error", error_code="501", unique_id=unique_id))
    world.now += timedelta(days=1)
    await world.inquire_and_apply()
    assert (await world.fetch_one("state"), await world.fetch_one("error_code")) == ("error", "501")


async def test_two_workers_ask_about_different_debits(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """The same question twice wastes the rate; and both must not settle the same call."""
    for number in range(6):
        await unknown(f"many-{number}")
    first = await reconcile(world.inquiry_deps, limit=4)
    second = await reconcile(world.inquiry_deps, limit=4)
    assert (first, second, world.asked) == (4, 2, 6)


async def test_questions_keep_to_their_share_and_stop_at_an_open_breaker(
    world: World, unknown: Callable[..., Awaitable[int]], simulator: Simulator, redis_url: str
) -> None:
    """A gateway that fails must not be asked on and on, and a question not asked must not count as a try."""
    for number in range(30):
        await unknown(f"share-{number}")
    async with open_redis(redis_url, name="tests", timeout_s=20) as client:
        world.inquiry_deps = InquiryDeps(
            world.inquiry_deps.pool, world._clients, limited(Limiter(client)), lambda: world.now, lambda: 0.5
        )
        world.client = GatewayClient(world.client.gateway, SETUP.terminals, limits({"reconciliation": 40}))
        simulator.faults(Faults(inquiries_failed=1.0))
        before = simulator.sums()["requests"].get("reconcile", 0)
        try:
            await reconcile(world.inquiry_deps)
        finally:
            simulator.faults(Faults())
        asked = simulator.sums()["requests"]["reconcile"] - before
    assert 20 <= asked < 30  # the breaker opens at twenty failures
    assert {row[3] for row in await world.rows()} == {0}


async def test_a_worker_killed_while_it_asks_costs_seconds(world: World, unknown: Any) -> None:
    """A lease as long as the slowest answer would leave a debit of unknown outcome alone for minutes after every crash."""
    await unknown("rec-killed")
    inquiry_deps = _never_answered(world)
    task = asyncio.create_task(reconcile(inquiry_deps))
    while not world.asked:
        await asyncio.wait([task], timeout=0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await reconciling(world.inquiry_deps).has_pending()
    world.now += timedelta(seconds=LEASE_S)
    assert await reconciling(world.inquiry_deps).has_pending()
    assert await world.inquire_and_apply() == 1


async def test_a_slow_inquiry_is_not_repeated(world: World, unknown: Any) -> None:
    """The lease is short; were it not renewed, every worker would ask the same once the gateway gets slow."""
    await unknown("rec-slow")
    task = asyncio.create_task(reconcile(_never_answered(world)))
    while not world.asked:
        await asyncio.wait([task], timeout=0.01)
    first = await world.fetch_one("inquire_at")
    world.now += timedelta(seconds=LEASE_S - 1)
    while await world.fetch_one("inquire_at") == first:
        await asyncio.wait([task], timeout=0.05)
    world.now += timedelta(seconds=2)
    assert not await reconciling(world.inquiry_deps).has_pending()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _never_answered(world: World) -> InquiryDeps:
    """What asking needs, at a gateway that takes a question and says nothing."""

    @contextlib.asynccontextmanager
    async def permit(_client: GatewayClient) -> AsyncIterator[None]:
        world.asked += 1
        await asyncio.Event().wait()
        yield

    return InquiryDeps(
        world.inquiry_deps.pool,
        world.inquiry_deps.clients,
        permit,
        world.inquiry_deps.clock,
        world.inquiry_deps.jitter,
    )


async def test_questions_wait_in_line_for_their_turn(world: World, redis_url: str) -> None:
    """Did each of a hundred ask the limiter again and again, a worker that only waits would fill a processor."""
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        limiter = Limiter(cache)
        permit = limited(limiter)
        client = msgspec.structs.replace(world.client, limits=limits({"reconciliation": 100}))
        takes = 0
        take = limiter.take

        async def counted(*args: Any, **more: Any) -> Any:
            nonlocal takes
            takes += 1
            return await take(*args, **more)

        limiter.take = counted  # type: ignore[method-assign]

        async def question() -> None:
            async with permit(client):
                pass

        await asyncio.gather(*(question() for _ in range(100)))
    assert takes <= 3 * 100


async def test_confirmations_do_not_keep_unknown_debits_waiting(world: World, redis_url: str) -> None:
    """A flood of notifications is confirmed with the rate by which debits become free again; a line in common would be the flood's."""
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        limiter, polling = Limiter(cache), dict[str, asyncio.Lock]()
        client = msgspec.structs.replace(world.client, limits=limits({"reconciliation": 100}))
        turns = list[str]()

        async def inquiry(use: str, permit: Permit) -> None:
            async with permit(client):
                turns.append(use)

        confirming, reconciling = (limited(limiter, polling=polling) for _ in range(2))
        await asyncio.gather(
            *(inquiry("confirmation", confirming) for _ in range(30)),
            *(inquiry("debit", reconciling) for _ in range(10)),
        )
    # In turn, and not after the thirty; what follows the turn may be overtaken.
    assert max(place for place, use in enumerate(turns) if use == "debit") < 25


async def test_a_batch_records_what_it_began_and_leaves_the_rest(
    world: World, unknown: Callable[..., Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the lowest rates a batch would outlast its job, which records at the end: no debit would ever be resolved."""
    for number in range(3):
        await unknown(f"left-{number}")
    monkeypatch.setattr(inquiry_batch, "_BEGIN_S", -1.0)
    assert (await reconcile(world.inquiry_deps), world.asked) == (0, 0)
    assert {row[3] for row in await world.rows()} == {0}
    monkeypatch.undo()
    world.now += timedelta(seconds=LEASE_S)
    assert (await reconcile(world.inquiry_deps), world.asked) == (3, 3)


async def test_an_answer_is_heard_although_an_unlinked_notification_says_the_same(
    world: World, unknown: Callable[..., Awaitable[int]]
) -> None:
    """
    The notification was faster than the inquiry, and names the debit by our unsigned id alone.

    Where nothing is confirmed it waits for the gateway's id of the debit. The inquiry has that id; were its answer taken
    for known, the debit would be unknown for ever, although both say the same.
    """
    unique_id = await world.sell("unlinked-1", script=7)
    await unknown("unlinked-1")
    answer = await calls.reconcile(
        world.client.gateway, transaction_id="unlinked-1", terminal_token=SETUP.terminals[0]
    )
    assert answer is not None
    world.applying = msgspec.structs.replace(world.applying, policy=ApplyPolicy(confirm="off"))
    row = Recording(
        b"k" * 16,
        b"c" * 16,
        "default",
        "payment",
        unique_id,
        answer.status,
        "",
        FORM,
        f"unique_id={unique_id}&transaction_id=unlinked-1&status={answer.status}&signature=x".encode(),
    )
    await webhook_events.record(world.conn, [row], now=world.now)
    while await apply_batch(world.applying):
        pass
    assert await world.fetch_one("unique_id") is None
    await world.inquire_and_apply()
    assert await world.fetch_one("unique_id") == unique_id
