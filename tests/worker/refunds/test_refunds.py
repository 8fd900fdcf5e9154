"""Refunds and voids, from the order over HTTP to the gateway's ledger: once, or not at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tether_core.emp.notification import FORM, decode
from tether_core.emp.requests import Debit
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.payments.submission import SubmissionRules
from tether_core.reconciliation.differences import Difference
from tether_core.refunds import refund as refund_rules
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running
from tether_stores.accounts import account_pauses
from tether_stores.boot_clock import BootClock
from tether_stores.limits import Limiter
from tether_stores.notifications import webhook_events
from tether_stores.reconciliation import differences
from tether_stores.redis import open_redis
from tether_stores.refunds import refunds as refunds_store
from tether_stores.settings import Settings
from tether_worker.gateway.client import refund, sale
from tether_worker.gateway.clients import open_gateways
from tether_worker.gateway.status_inquiry import InquiryDeps, clients_of, limited
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps, allow_calls
from tether_worker.reconciliation.differences import review_all
from tether_worker.refunds import submission as refund_submission
from tether_worker.refunds.status_inquiries import inquire_refunds, inquiring_refunds
from tether_worker.refunds.submission import expire_refunds, submit_refunds, submitting_refunds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, hidden_s=3600, silence_s=30)
RULES = SubmissionRules(lease_s=75, not_found_grace_s=900)


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has transaction ids of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """The module's simulator, without faults."""
    shared_simulator.faults(Faults())
    return shared_simulator


class World:
    """One test's database, its worker's needs, and its time."""

    def __init__(
        self,
        conn: Connection,
        deps: SubmissionDeps,
        inquiry_deps: InquiryDeps,
        simulator: Simulator,
        attempt: Callable[..., Awaitable[int]],
    ) -> None:
        self.conn, self.deps, self.inquiry_deps, self.simulator, self.attempt = (
            conn,
            deps,
            inquiry_deps,
            simulator,
            attempt,
        )
        self.now = datetime.now(UTC)
        self.applying = ApplyDeps(deps.pool, ApplyPolicy(), lambda: self.now, lambda: 0.5)

    async def debit(self, transaction_id: str, *, amount_minor: int = 1000, days_ago: int = 30) -> int:
        """Have a debit collected some days ago; gives the attempt."""
        opened = await self.deps.gateways.get("default")
        assert opened is not None
        sold = Debit(
            transaction_id=transaction_id,
            amount_minor=amount_minor,
            currency="EUR",
            usage="x",
            iban="DE89370400440532013000",
            first_name="Zoë",
            last_name="Miller",
            country="DE",
        )
        answer = await sale(opened, sold)
        self.simulator.transition(StatusChange("approved", transaction_id=transaction_id))
        return await self.attempt(
            transaction_id,
            unique_id=answer.unique_id,
            payment_stage=stages.APPROVED,
            at=self.now - timedelta(days=days_ago),
            amount_minor=amount_minor,
        )

    async def order(self, attempt_id: int, kind: Any = "refund") -> str:
        """Store an order, as the API does; gives our id of it."""
        async with self.deps.pool.connection() as conn:
            held = await refunds_store.hold_debit(conn, attempt_id)
            assert held is not None
            own_id = f"{held.debit.transaction_id}-{kind}-{held.number}"
            made = await refunds_store.add(
                conn,
                held.debit,
                kind=kind,
                number=held.number,
                transaction_id=own_id,
                usage="Sorry",
                ordered_by="tests",
                now=self.now,
            )
            assert made is not None
        return own_id

    async def states(self) -> tuple[str, str]:
        """State of the debit and of the latest order."""
        row = await (
            await self.conn.execute(
                "select a.state, g.state from refunds g join billing_attempts a on a.id = g.attempt_id"
                " order by g.id desc limit 1"
            )
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    async def column(self, name: str) -> Any:
        row = await (
            await self.conn.execute(f"select {name} from refunds order by id desc limit 1")
        ).fetchone()
        assert row is not None
        return row[0]

    async def facts(self) -> list[str]:
        rows = await (await self.conn.execute("select name from outbox order by id")).fetchall()
        return [name for (name,) in rows]

    def refunds(self, transaction_id: str) -> int:
        """How many refunds and voids the gateway has of an order."""
        return len(self.simulator.records(transaction_id=transaction_id))


@pytest.fixture
def call_s() -> str:
    """How long a call may take, in seconds: longer than any answer of a busy machine. Tests of silence set it shorter."""
    return "20"


@pytest.fixture
async def world(
    pool: Pool,
    conn: Connection,
    environment: dict[str, str],
    simulator: Simulator,
    attempt: Callable[..., Awaitable[int]],
    call_s: str,
) -> AsyncIterator[World]:
    """Everything but debits."""
    settings = Settings.from_env(
        environment
        | {
            "EMP_API_URL": simulator.url,
            "EMP_API_LOGIN": SETUP.login,
            "EMP_API_PASSWORD": SETUP.passwords[0],
            "EMP_TERMINAL_TOKEN": SETUP.terminals[0],
            "EMP_TIMEOUT": call_s,
        }
    )
    async with (
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX) as gateways,
        open_redis(settings.redis_url, name="tests", timeout_s=20) as cache,
    ):
        limiter = Limiter(cache)
        deps = SubmissionDeps(pool, gateways, limiter, RULES, lambda: item.now, asyncio.Event())
        inquiry_deps = InquiryDeps(
            pool,
            clients_of(gateways),
            limited(limiter),
            lambda: item.now,
            lambda: 0.5,
            boot=BootClock("boot-1", lambda: float(item.now.timestamp())),
        )
        item = World(conn, deps, inquiry_deps, simulator, attempt)
        yield item


async def test_a_refund_is_ordered_and_its_notifications_change_the_debit(world: World) -> None:
    """A debtor who is owed money waits for ever, or the books go on showing it."""
    await world.debit("gb-plain")
    own_id = await world.order(1)
    assert await submitting_refunds(world.deps).has_pending()
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "pending")  # pending_async, as the documentation's samples
    assert await world.column("unique_id") is not None
    assert await submit_refunds(world.deps) == 0
    world.simulator.resolve()

    world.now += timedelta(hours=3)
    assert await inquiring_refunds(world.inquiry_deps).has_pending()
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await world.states() == ("refunded", "approved")
    assert world.refunds(own_id) == 1
    assert await world.facts() == ["refund.status_changed", "attempt.status_changed"]
    assert not await inquiring_refunds(world.inquiry_deps).has_pending()


async def test_an_order_of_a_paused_account_waits(world: World) -> None:
    """Money that leaves an account which the acquirer is looking at cannot be called back."""
    await world.debit("gb-paused")
    own_id = await world.order(1)
    async with world.deps.pool.connection() as conn:
        await account_pauses.pause(
            conn, "default", paused_by="ada", reason="the acquirer asked", now=world.now
        )
    assert not await submitting_refunds(world.deps).has_pending()
    assert await submit_refunds(world.deps) == 0
    assert world.refunds(own_id) == 0
    async with world.deps.pool.connection() as conn:
        await account_pauses.resume(conn, "default")
    assert await submit_refunds(world.deps) == 1


async def test_a_void_cancels_todays_debit(world: World) -> None:
    """A wrong run can be voided until midnight."""
    await world.debit("gb-void", days_ago=0)
    await world.order(1, "void")
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("voided", "approved")
    assert world.simulator.debited(transaction_id="gb-void") == 0


@pytest.mark.parametrize(
    ("kind", "amount_minor", "call_s"),
    [("refund", 1930, "3"), ("refund", 1935, "20"), ("void", 1931, "20"), ("void", 1937, "20")],
)
async def test_a_lost_response_is_inquired_and_never_submitted_again(
    world: World, kind: str, amount_minor: int
) -> None:
    """The gateway has the order; sent again, the debtor is paid twice."""
    name = f"gb-lost-{kind}-{amount_minor}"
    # Sent, the debit itself would meet the same script.
    attempt_id = await _adopted(
        world, name, amount_minor=amount_minor, days_ago=30 if kind == "refund" else 0
    )
    own_id = await world.order(attempt_id, kind)
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "unknown")
    for _ in range(3):
        assert await submit_refunds(world.deps) == 0
    world.simulator.resolve()
    world.now += timedelta(seconds=31)
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await world.states() == ("refunded" if kind == "refund" else "voided", "approved")
    assert world.refunds(own_id) == 1


@pytest.mark.parametrize("call_s", ["3"])
async def test_an_inquiry_that_finds_another_amount_opens_a_line(world: World) -> None:
    """The answer was lost, and the gateway has returned less than was ordered: our records would say all of it."""
    attempt_id = await _adopted(world, "gb-part", amount_minor=1930, days_ago=30)
    await world.order(attempt_id)
    assert await submit_refunds(world.deps) == 1
    await world.conn.execute("update refunds set amount_minor = 2930")
    world.simulator.resolve()
    world.now += timedelta(seconds=31)
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await world.states() == ("refunded", "approved")
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert (line.kind, line.attempt_id, line.ours, line.theirs) == (
        "amount_differs",
        attempt_id,
        "29.30 EUR",
        "19.30 EUR (refund)",
    )


async def _adopted(world: World, name: str, *, amount_minor: int, days_ago: int) -> int:
    at = world.now - timedelta(days=days_ago)
    known = {
        "transaction_id": name,
        "unique_id": f"u-{name}",
        "amount_minor": amount_minor,
        "currency": "EUR",
        "taken_at": at.isoformat(),
        "transitions": [{"status": "approved"}],
    }
    async with httpx.AsyncClient(base_url=world.simulator.url, trust_env=False, timeout=60) as client:
        (await client.post("/ledger/adopt", json=[known])).raise_for_status()
    return await world.attempt(
        name, unique_id=f"u-{name}", payment_stage=stages.APPROVED, at=at, amount_minor=amount_minor
    )


async def test_an_order_that_never_arrived_is_sent_again_after_the_grace_period(world: World) -> None:
    """A refund that was lost on its way would never reach the debtor."""
    await world.debit("gb-dropped")
    own_id = await world.order(1)
    world.simulator.faults(Faults(refused=1.0))
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "unknown")
    world.simulator.faults(Faults())
    world.now += timedelta(seconds=31)
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await submit_refunds(world.deps) == 0  # the call may still be under way
    world.now += timedelta(seconds=75 + 900)
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await submit_refunds(world.deps) == 1
    assert (await world.states())[1] == "pending"
    assert await world.column("submission_count") == 2
    assert world.refunds(own_id) == 1


@pytest.mark.parametrize("call_s", ["3"])
async def test_an_answer_that_names_another_order_settles_only_itself(world: World) -> None:
    """The gateway tells one order's id for another.

    The others of the batch would be asked about with it for ever, and their debtors shown as never paid.
    """
    names = ["gb-own", "gb-theirs", "gb-also-own"]
    own_ids = [
        await world.order(await _adopted(world, name, amount_minor=1930, days_ago=30)) for name in names
    ]
    for _ in names:
        await submit_refunds(world.deps)
    world.simulator.resolve()
    taken = world.simulator.records(transaction_id=own_ids[1])[0]["unique_id"]
    await world.debit("gb-holder")
    await world.order(4)
    await world.conn.execute(
        "update refunds set unique_id = %s, state = 'approved', payment_stage = 60, submit_at = null"
        " where attempt_id = 4",
        [taken],
    )
    world.now += timedelta(seconds=31)
    assert await inquire_refunds(world.inquiry_deps) == 3
    cursor = await world.conn.execute(
        "select state, inquiry_count from refunds where attempt_id < 4 order by id"
    )
    assert await cursor.fetchall() == [("approved", 1), ("unknown", 1), ("approved", 1)]
    assert await inquire_refunds(world.inquiry_deps) == 0


async def test_a_batch_reads_its_own_orders_and_not_all_there_are(world: World) -> None:
    """Each batch of notifications would read all refunds ever made, where the planner walks indexes only in order."""
    for number in range(3):
        await world.order(await _adopted(world, f"gb-named-{number}", amount_minor=1000, days_ago=30))
    await world.conn.execute(
        "with more as ("
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state,"
        " payment_stage, dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at)"
        " select account, debtor_id, 'many-' || n, amount_minor, currency, state, payment_stage, dispute_stage,"
        " iban_fingerprint, iban_masked, created_at, updated_at"
        " from billing_attempts, generate_series(1, 5000) as n where id = 1 returning id)"
        "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor,"
        " currency, usage, state, payment_stage, ordered_by, created_at, updated_at)"
        " select more.id, 'refund', 1, 'default', 'many-' || more.id, 'u-many-' || more.id, 1000, 'EUR', 'x', 'approved',"
        " 60, 'tests', %(now)s, %(now)s from more",
        {"now": world.now},
    )
    async with world.conn.transaction():
        await world.conn.execute("set local enable_bitmapscan = off")
        found = await refunds_store.named(
            world.conn,
            unique_ids=["u-many-100", "nobody"],
            transaction_ids=["gb-named-1-refund-1", "many-100", "many-200"],
        )
        read = "select seq_tup_read from pg_stat_xact_user_tables where relname = 'refunds'"
        row = await (await world.conn.execute(read)).fetchone()
    assert sorted(item.attempt_id for item in found) == [2, 100, 200]
    assert row == (0,)


async def test_a_worker_killed_while_calling_leaves_the_order_unknown(
    world: World, until: Callable[..., Any]
) -> None:
    """Its lease ends; were it ready again, a second worker would pay a second time."""
    await world.debit("gb-killed")
    own_id = await world.order(1)
    world.simulator.faults(Faults(silent=1.0))
    task = asyncio.create_task(submit_refunds(world.deps))
    await asyncio.to_thread(until, lambda: world.refunds(own_id), what="the gateway to have the order")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.now += timedelta(seconds=76)
    await expire_refunds(world.deps.pool, clock=lambda: world.now).do()
    assert await world.states() == ("approved", "unknown")
    assert await submit_refunds(world.deps) == 0
    world.simulator.resolve()
    world.now += timedelta(seconds=31)
    assert await inquire_refunds(world.inquiry_deps) == 1
    assert await world.states() == ("refunded", "approved")
    assert world.refunds(own_id) == 1


async def test_calls_of_orders_count_among_all_that_are_under_way(
    world: World, until: Callable[..., Any]
) -> None:
    """There are as many connections as calls are allowed; one more waits for a connection until its lease is over."""
    await world.debit("gb-counted")
    own_id = await world.order(1)
    world.simulator.faults(Faults(silent=1.0))
    task = asyncio.create_task(submit_refunds(world.deps))
    await asyncio.to_thread(until, lambda: world.refunds(own_id), what="the gateway to have the order")
    assert len(world.deps.under_way) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not world.deps.under_way


async def test_a_worker_that_is_stopped_while_it_waits_claims_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order would be called for while the process ends, and stay unknown until the gateway was asked."""
    await world.debit("gb-stopped")
    own_id = await world.order(1)
    real = allow_calls

    async def stopped_meanwhile(*args: Any, **named: Any) -> Any:
        world.deps.stopping.set()
        return await real(*args, **named)

    monkeypatch.setattr(refund_submission, "allow_calls", stopped_meanwhile)
    assert await submit_refunds(world.deps) == 0
    assert await world.states() == ("approved", "pending")
    assert (await world.column("submission_count"), world.refunds(own_id)) == (0, 0)


async def test_a_chargeback_that_comes_before_the_call_stops_it(world: World) -> None:
    """The debtor's bank has paid; our refund would be the second payment."""
    await world.debit("gb-raced")
    own_id = await world.order(1)
    await world.conn.execute("update billing_attempts set dispute_stage = 1, state = 'chargebacked'")
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("chargebacked", "error")
    assert await world.column("not_submitted_reason") == (
        "This attempt cannot be refunded: the debtor's bank has taken the money back. Look at its dispute."
    )
    assert world.refunds(own_id) == 0


async def test_a_later_chargeback_is_reported(world: World) -> None:
    """It cannot be prevented; a follower of the outbox can claim the money back."""
    await world.debit("gb-after", days_ago=0)
    await world.order(1, "void")
    await submit_refunds(world.deps)
    await _notify(world, "gb-after", status="chargebacked", event="chargeback", reason_code="MD06")
    assert await apply_batch(world.applying) == 1
    assert await world.states() == ("chargebacked", "approved")
    assert "refund.charged_back" in await world.facts()


async def test_a_notification_of_a_refund_moves_order_and_debit_together(world: World) -> None:
    """It speaks of the refund's own ids; taken for an unknown payment it would wait for a fortnight and be parked."""
    await world.debit("gb-told")
    own_id = await world.order(1)
    await submit_refunds(world.deps)
    await _notify(world, own_id, status="approved", transaction_type="sdd_refund")
    assert await apply_batch(world.applying) == 1
    assert await world.states() == ("refunded", "approved")
    row = await (await world.conn.execute("select state, outcome from webhook_events")).fetchone()
    assert row == ("processed", "applied")
    assert await world.facts() == ["refund.status_changed", "attempt.status_changed"]


async def test_an_order_that_the_gateway_rejects_ends_with_its_code(world: World) -> None:
    """It would be submitted every minute, and the person who ordered it would not see the reason."""
    await world.attempt("gb-unheard", unique_id="nobody", payment_stage=60, at=world.now - timedelta(days=30))
    await world.order(1)
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "error")
    assert await world.column("error_code") == "410"
    again = await world.order(1)  # a failed order keeps no other away
    assert again.endswith("-2")


async def test_two_workers_send_an_order_once(world: World) -> None:
    """Two nodes look at the same second."""
    attempts = [await world.debit(f"gb-two-{n}") for n in range(8)]
    ids = [await world.order(attempt_id) for attempt_id in attempts]

    async def drain() -> int:
        done = 0
        while handled := await submit_refunds(world.deps):
            done += handled
        return done

    done = await asyncio.gather(*(drain() for _ in range(3)))
    assert sum(done) == 8
    assert [world.refunds(own_id) for own_id in ids] == [1] * 8


async def _notify(world: World, transaction_id: str, **fields: str) -> None:
    record = world.simulator.records(transaction_id=transaction_id)[0]
    result = {"unique_id": record["unique_id"], "transaction_id": transaction_id, "signature": "x", **fields}
    body = "&".join(f"{name}={value}" for name, value in result.items()).encode()
    key = identify(decode(body, content_type=FORM), account="default")
    confirmed = fields["status"] if fields.get("event") else None
    await world.conn.execute(
        "insert into webhook_events (key, content, account, kind, notification_id, status, event, source,"
        " content_type, body, state, failures, received_at, next_at, confirmed_status, confirmed_reason_code)"
        " values (%s, %s, 'default', 'payment', %s, %s, %s, 'webhook', %s, %s, 'waiting', 0, %s, %s, %s, %s)",
        (key.key, key.content, record["unique_id"], fields["status"], fields.get("event"), FORM, body,
         world.now, world.now, confirmed, fields.get("reason_code")),
    )  # fmt: skip


async def _hear(world: World, unique_id: str, **fields: str) -> None:
    """Record a notification that nobody processes yet."""
    form = "&".join(f"{name}={value}" for name, value in {"unique_id": unique_id, **fields}.items())
    body = f"{form}&signature=ab".encode()
    notification = decode(body, content_type=FORM)
    identity = identify(notification, account="default")
    row = webhook_events.Recording(
        identity.key,
        identity.content,
        "default",
        notification.kind,
        notification.id,
        notification.status,
        notification.event or "",
        FORM,
        body,
    )
    await webhook_events.record(world.conn, [row], now=world.now)


@pytest.mark.parametrize(
    "fields",
    [{"status": "chargebacked", "event": "chargeback"}, {"status": "refunded"}, {"status": "declined"}],
    ids=str,
)
async def test_an_ordered_refund_waits_for_what_was_heard_of_its_debit(
    world: World, fields: dict[str, str]
) -> None:
    """The news lies in the inbox, the refund goes out, and the money has gone back twice."""
    name = f"gb-heard-{fields['status']}"
    await world.debit(name)
    own_id = await world.order(1)
    unique_id = (await (await world.conn.execute("select unique_id from billing_attempts")).fetchall())[0][0]
    await _hear(world, unique_id, **fields)
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "pending")
    assert await world.column("not_submitted_reason") == "being confirmed"
    assert (world.refunds(own_id), await submit_refunds(world.deps)) == (0, 0)
    # The gateway denies it; the refund goes out by itself.
    await world.conn.execute(
        "update webhook_events set state = 'processed', outcome = 'contradicted', next_at = null"
    )
    world.now += timedelta(minutes=3)
    assert await submit_refunds(world.deps) == 1
    assert world.refunds(own_id) == 1
    assert await world.column("not_submitted_reason") is None


async def _failed_order(world: World, debit: int) -> None:
    """An order about a debit that the gateway, known by r1, declined."""
    await world.order(debit)
    await world.conn.execute(
        "update refunds set state = 'declined', payment_stage = 50, unique_id = 'r1', submit_at = null, submission_count = 1,"
        " submitted_at = %s",
        [world.now],
    )


async def test_a_failed_refund_that_is_approved_after_all_keeps_the_next_one_away(world: World) -> None:
    """A person has ordered it once more; the report lies in the inbox, and the money goes back twice."""
    debit = await world.debit("gb-late")
    await _failed_order(world, debit)
    own_id = await world.order(debit)
    await _hear(world, "r1", status="approved", transaction_type="sdd_refund")
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "pending")
    assert await world.column("not_submitted_reason") == "being confirmed"
    assert await apply_batch(world.applying) == 1
    assert await world.states() == ("refunded", "pending")
    world.now += timedelta(minutes=3)
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("refunded", "error")
    assert world.refunds(own_id) == 0


async def test_a_failed_refund_that_is_approved_after_the_next_one_is_a_line(world: World) -> None:
    """Tether cannot prevent it. If the notification were parked without a clear reason, nobody would claim the second payment back."""
    debit = await world.debit("gb-later")
    await _failed_order(world, debit)
    own_id = await world.order(debit)
    assert await submit_refunds(world.deps) == 1
    await _notify(world, own_id, status="approved", transaction_type="sdd_refund")
    assert await apply_batch(world.applying) == 1
    assert await world.states() == ("refunded", "approved")
    await _hear(world, "r1", status="approved", transaction_type="sdd_refund")
    assert await apply_batch(world.applying) == 1
    rows = await (await world.conn.execute("select state from refunds order by number")).fetchall()
    assert rows == [("approved",), ("approved",)]
    await review_all(world.deps.pool, now=world.now, limit=10)
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert (line.kind, line.attempt_id, line.theirs) == ("returned_twice", debit, "2 refunds")
    with pytest.raises(AssertionError):
        await world.order(debit)  # an order is active


async def test_no_refund_while_states_differ(world: World) -> None:
    """The gateway says that the debit failed; a refund would give money that never came."""
    debit = await world.debit("gb-differs")
    own_id = await world.order(1)
    async with world.deps.pool.connection() as conn:
        line = Difference("state_differs", debit, "declined", ours="approved", theirs="declined")
        await differences.open_new(conn, [line], now=world.now)
    assert await submit_refunds(world.deps) == 1
    assert await world.states() == ("approved", "error")
    assert "state_differs" in await world.column("not_submitted_reason")
    assert world.refunds(own_id) == 0


async def test_not_found_counts_only_where_a_refund_was_submitted(world: World) -> None:
    """After a change of the terminal the new one knows nothing of the old one's refunds: submitted again, we pay twice."""
    attempt_id = await world.debit("gb-rotated")
    own_id = await world.order(attempt_id)
    await submit_refunds(world.deps)
    row = await (await world.conn.execute("select submitted_to from refunds")).fetchone()
    opened = await world.deps.gateways.get("default")
    assert opened is not None
    assert row == ([opened.identity.key],)
    # As if the answer had been lost, and the terminal that took it were gone.
    await world.conn.execute(
        "update refunds set state = 'unknown', payment_stage = 10, unique_id = null, inquire_at = null,"
        " submitted_to = array['0123456789abcdef'], transaction_id = %s, updated_at = %s",
        [f"{own_id}-elsewhere", world.now - timedelta(hours=1)],
    )
    for _ in range(3):
        assert await inquire_refunds(world.inquiry_deps, rules=RULES) == 1
        again = await (
            await world.conn.execute("select inquire_at, unresolved_reason, submit_at from refunds")
        ).fetchone()
        assert again is not None
        assert again[1:] == ("not_found_elsewhere", None)
        world.now = again[0]


async def test_another_order_of_a_lost_history_keeps_this_one_back(world: World) -> None:
    """The lost history had a refund refused and made a second, which the gateway paid: the first would pay once more."""
    attempt_id = await world.debit("gb-lost")
    async with world.deps.pool.connection() as conn:
        held = await refunds_store.hold_debit(conn, attempt_id)
    assert held is not None
    opened = await world.deps.gateways.get("default")
    assert opened is not None
    assert held.debit.unique_id is not None
    await refund(
        opened,
        transaction_id=refund_rules.transaction_id("refund", held.debit, number=2),
        reference_id=held.debit.unique_id,
        amount_minor=held.debit.amount_minor,
        currency="EUR",
        usage="Sorry",
    )
    await world.order(attempt_id)
    await world.conn.execute(
        "update refunds set state = 'unknown', payment_stage = 10, submit_at = null, submitted_to = array['*'],"
        " submitted_at = %s, submission_count = 1, updated_at = %s",
        [world.now - timedelta(hours=1), world.now - timedelta(hours=1)],
    )
    for _ in range(6):
        await inquire_refunds(world.inquiry_deps, rules=RULES)
        row = await (await world.conn.execute("select inquire_at, state, submit_at from refunds")).fetchone()
        assert row is not None
        assert row[1:] == ("unknown", None)
        world.now = row[0]
