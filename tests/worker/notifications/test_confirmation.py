"""Claims and the gateway's word: a lie harms nobody, a chargeback is not lost, an outage only costs time."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tether_core import retry
from tether_core.emp.notification import FORM, decode
from tether_core.limits.rate_limit import limits
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Confirmation
from tether_core.testing import form_body
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running
from tether_sandbox.gateway.api import Adopted
from tether_stores.notifications import confirmations, webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_worker.gateway.connections import Account, open_gateway
from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.notifications.confirmation import confirm, confirming

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tether_stores.postgres import Connection, Pool

SETUP = Setup(result_after_s=3600, terminals=("terminal-1", "terminal-2"))
POLICY = ApplyPolicy(confirm="chargebacks")
CLAIM = {"status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}


class World:
    """One test's database, its worker's needs, and its time."""

    def __init__(self, conn: Connection, pool: Pool, clients: Mapping[str, GatewayClient]) -> None:
        self.conn = conn
        self.now = NOON
        self.clients = dict(clients)
        self.asked: list[str] = []
        self.inquiry_deps = InquiryDeps(pool, self._clients, self._permit, lambda: self.now, lambda: 0.5)
        self.applying = ApplyDeps(pool, POLICY, lambda: self.now, lambda: 0.5)

    async def _clients(self) -> Mapping[str, GatewayClient]:
        return self.clients

    @contextlib.asynccontextmanager
    async def _permit(self, client: GatewayClient) -> AsyncIterator[None]:
        self.asked.append(client.name)
        yield

    async def deliver(self, unique_id: str, **fields: str) -> None:
        """Record a genuine notification and book it as far as it goes."""
        await self.deliver_form(unique_id=unique_id, **fields)

    async def deliver_form(self, **fields: str) -> None:
        """The same of any kind."""
        body = form_body(fields)
        notification = decode(body, content_type=FORM)
        identity = identify(notification, account="default")
        row = Recording(
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
        assert await webhook_events.record(self.conn, [row], now=self.now) == ["recorded"]
        await apply_batch(self.applying)

    async def fetch_one(self, query: str) -> tuple[Any, ...]:
        row = await (await self.conn.execute(query)).fetchone()
        assert row is not None
        return tuple(row)

    async def event(self) -> tuple[Any, ...]:
        return await self.fetch_one(
            "select state, outcome, reason, confirmed_status, confirmed_error_code, confirmed_reason_code, failures"
            " from webhook_events"
        )

    async def state(self) -> tuple[Any, ...]:
        return await self.fetch_one("select state, reason_code from billing_attempts")

    async def blacklisted(self) -> list[Any]:
        return [
            row[0] for row in await (await self.conn.execute("select reason_code from blacklist")).fetchall()
        ]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the module; each test has a payment of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
async def world(conn: Connection, pool: Pool, simulator: Simulator) -> AsyncIterator[World]:
    """Everything but the payment, with the simulator as the account "default"."""
    account = Account("default", simulator.url, SETUP.login, SETUP.passwords[0], "terminal-1", timeout_s=20)
    async with open_gateway(account) as gateway:
        yield World(
            conn, pool, {"default": GatewayClient(gateway, SETUP.terminals, limits({"reconciliation": 20}))}
        )


@pytest.fixture
def paid(
    simulator: Simulator, attempt: Callable[..., Awaitable[int]], request: pytest.FixtureRequest
) -> Callable[..., Awaitable[str]]:
    """Make an approved payment that the gateway and we know; gives its unique_id."""

    async def make(*transitions: StatusChange) -> str:
        name: str = request.node.name[:40]
        unique_id = name.encode().hex()[-32:]
        simulator._answered("POST", "/ledger/adopt", [Adopted(name, unique_id, 1000, "EUR", NOON)])
        simulator.transition(StatusChange("approved", unique_id=unique_id))
        for transition in transitions:
            simulator.transition(msgspec.structs.replace(transition, unique_id=unique_id))
        await attempt(name, unique_id=unique_id, payment_stage=stages.APPROVED)
        return unique_id

    return make


async def test_a_lie_is_contradicted(world: World, paid: Callable[..., Awaitable[str]]) -> None:
    """A sender who has seen one notification can sign any report about its payment; an innocent debtor would be blocked."""
    await world.deliver(await paid(), **CLAIM)
    assert await world.event() == ("confirming", "confirm", "unconfirmed", None, None, None, 0)
    assert await confirm(world.inquiry_deps) == 1
    assert await apply_batch(world.applying) == 1
    assert await world.event() == ("confirming", "contradicted", "contradicted", "approved", None, None, 0)
    assert await world.state() == ("approved", None)
    assert await world.blacklisted() == []


async def test_a_contradicted_dispute_is_inquired_for_two_days_and_then_shown(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """A record that lags behind its notification loses a true chargeback for ever; a lie that is never shown is repeated."""
    await world.deliver(await paid(), **CLAIM)
    inquired: list[float] = []
    while (await world.event())[0] == "confirming":
        next_at = (await world.fetch_one("select next_at from webhook_events"))[0]
        world.now = max(world.now, next_at)
        inquired.append((world.now - NOON).total_seconds())
        assert await confirm(world.inquiry_deps) == 1
        assert await apply_batch(world.applying) == 1
        assert await confirm(world.inquiry_deps) == 0  # not before its time
    assert inquired[0] == 0
    assert len(inquired) == len(retry.CONTRADICTION_AGES_S) + 1
    assert inquired[-1] >= timedelta(days=2).total_seconds()
    assert (await world.event())[:3] == ("contradicted", "contradicted", "contradicted")
    assert await world.state() == ("approved", None)
    count, first_at, last_at = await world.fetch_one(
        "select contradicted_count, first_contradicted_at, last_contradicted_at from webhook_events"
    )
    assert (count, first_at, last_at) == (len(inquired), NOON, world.now)


async def test_a_chargeback_whose_record_lags_takes_effect_when_it_catches_up(
    world: World, paid: Callable[..., Awaitable[str]], simulator: Simulator
) -> None:
    """Two seconds between the gateway's notification and its record lost a true chargeback for ever."""
    unique_id = await paid()
    await world.deliver(unique_id, **CLAIM)
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert (await world.event())[:2] == ("confirming", "contradicted")
    simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=unique_id))
    world.now += timedelta(seconds=6)
    assert await confirm(world.inquiry_deps) == 1
    await apply_batch(world.applying)
    assert (await world.event())[:3] == ("processed", "applied", "moved")
    assert await world.state() == ("chargebacked", "AC04")


async def test_a_person_replays_a_contradicted_report(
    world: World, paid: Callable[..., Awaitable[str]], simulator: Simulator
) -> None:
    """A replay that went by the old answer would contradict the report again without any inquiry."""
    unique_id = await paid()
    await world.deliver(unique_id, **CLAIM)
    await confirm(world.inquiry_deps)
    world.now += timedelta(days=3)
    await world.conn.execute("update webhook_events set inquiries_began_at = %s", (NOON,))
    await apply_batch(world.applying)
    assert (await world.event())[0] == "contradicted"
    simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=unique_id))
    assert await webhook_events.replay(world.conn, 1, now=world.now)
    await apply_batch(world.applying)
    assert (await world.event())[:3] == ("confirming", "confirm", "unconfirmed")
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert await world.state() == ("chargebacked", "AC04")


async def test_one_inquiry_answers_all_notifications_of_a_payment(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """Eight hundred false disputes of one payment delayed the true chargeback of another by 83 seconds."""
    unique_id = await paid()
    for n in range(40):
        await world.deliver(unique_id, **CLAIM, chargeback_unique_id=f"forged-{n}")
    await confirm(world.inquiry_deps)
    assert len(world.asked) == 2  # the payment and its chargebacks
    await apply_batch(world.applying)
    states = await world.conn.execute("select distinct state, outcome from webhook_events")
    assert await states.fetchall() == [("confirming", "contradicted")]


async def test_a_batch_takes_payments_not_rows(
    world: World,
    paid: Callable[..., Awaitable[str]],
    attempt: Callable[..., Awaitable[int]],
    simulator: Simulator,
) -> None:
    """The true chargeback of one payment would wait behind all false reports about another."""
    flooded = await paid()
    for n in range(40):
        await world.deliver(flooded, **CLAIM, chargeback_unique_id=f"forged-{n}")
    world.now += timedelta(seconds=1)
    genuine = "cd" * 16
    simulator._answered("POST", "/ledger/adopt", [Adopted("genuine", genuine, 1000, "EUR", NOON)])
    simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=genuine))
    await attempt("genuine", unique_id=genuine, payment_stage=stages.APPROVED)
    await world.deliver(genuine, **CLAIM)
    await confirm(world.inquiry_deps, limit=2)
    await apply_batch(world.applying)
    assert await world.fetch_one(
        "select state from billing_attempts where unique_id = 'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd'"
    ) == ("chargebacked",)


@pytest.mark.parametrize(
    "fields",
    [
        {"notification_type": "wpf", "wpf_unique_id": "p1", "wpf_status": "voided"},
        {"notification_type": "apm_external_event", "status": "declined"},
    ],
)
async def test_another_kind_of_notification_causes_one_inquiry_and_the_answer_counts(
    world: World, paid: Callable[..., Awaitable[str]], simulator: Simulator, fields: dict[str, str]
) -> None:
    """One genuine signature of any payment would move every other; and what it names may be true for another reason."""
    unique_id = await paid()
    await world.deliver_form(payment_transaction_unique_id=unique_id, **fields)
    assert (await world.event())[:3] == ("confirming", "confirm", "names_payment")
    assert await world.state() == ("approved", None)
    simulator.transition(StatusChange("refunded", unique_id=unique_id))
    assert await confirm(world.inquiry_deps) == 1
    assert await apply_batch(world.applying) == 2  # it, and the record that was fetched
    rows = await world.conn.execute("select source, state, outcome, reason from webhook_events order by id")
    assert await rows.fetchall() == [
        ("webhook", "processed", "unchanged", "inquired"),
        ("report", "processed", "applied", "moved"),
    ]
    assert await world.state() == ("refunded", None)
    assert len(world.asked) == 1


async def test_a_chargeback_takes_effect_with_the_gateways_own_reason(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """The claim's reason is unsigned, too: the account must be listed for what the gateway says, not for what came."""
    unique_id = await paid(StatusChange("chargebacked", "chargeback", "AC04"))
    await world.deliver(unique_id, **CLAIM)
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert await world.event() == ("processed", "applied", "moved", "chargebacked", None, "AC04", 0)
    assert await world.state() == ("chargebacked", "AC04")
    assert await world.blacklisted() == ["AC04"]


async def test_a_claim_without_a_reason_gets_one(world: World, paid: Callable[..., Awaitable[str]]) -> None:
    """Real notifications lack the reason now and then; without it a closed account stays collectable."""
    unique_id = await paid(StatusChange("chargebacked", "chargeback", "MD07"))
    await world.deliver(unique_id, status="chargebacked")
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert await world.blacklisted() == ["MD07"]


async def test_while_the_gateway_is_down_a_claim_waits(
    world: World, paid: Callable[..., Awaitable[str]], simulator: Simulator
) -> None:
    """An outage must neither let claims through nor throw them away, and it must not take longer than it takes."""
    unique_id = await paid(StatusChange("chargebacked", "chargeback", "AC04"))
    await world.deliver(unique_id, **CLAIM)
    simulator.faults(Faults(inquiries_failed=1.0))
    try:
        await confirm(world.inquiry_deps)
        assert await world.event() == ("confirming", "confirm", "gateway_silent", None, None, None, 1)
        assert await world.state() == ("approved", None)
        assert await confirm(world.inquiry_deps) == 0  # not before its time
        world.now += timedelta(seconds=12)
        assert await confirm(world.inquiry_deps) == 1
    finally:
        simulator.faults(Faults())
    world.now += timedelta(seconds=60)
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert await world.state() == ("chargebacked", "AC04")


async def test_a_fortnight_without_an_answer_is_a_persons_matter(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """A claim that is asked about for ever hides that something is wrong; parked, it is shown and can be replayed."""
    unique_id = await paid()
    await world.deliver(unique_id, **CLAIM)
    await world.conn.execute("update webhook_events set failures = %s", (len(retry.CONFIRMATION_S),))
    world.clients.clear()
    await confirm(world.inquiry_deps)
    assert (await world.event())[:3] == ("parked", "confirm", "no_such_account")
    assert await webhook_events.replay(world.conn, 1, now=world.now)
    await apply_batch(world.applying)
    assert (await world.event())[0] == "confirming"


async def test_a_payment_the_gateway_does_not_find_waits(
    world: World, attempt: Callable[..., Awaitable[int]]
) -> None:
    """A signed id exists, so "not there" is lag or a foreign terminal: refuting it would lose a chargeback."""
    await attempt("t-nowhere", unique_id="ab" * 16, payment_stage=stages.APPROVED)
    await world.deliver("ab" * 16, **CLAIM)
    await confirm(world.inquiry_deps)
    assert (await world.event())[:3] == ("confirming", "confirm", "not_found")
    assert len(world.asked) == len(SETUP.terminals)


async def test_a_payment_of_a_former_login_is_confirmed_there(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """After a change of login or terminal the true chargebacks of older debits would wait a fortnight and then for a person."""
    unique_id = await paid(StatusChange("chargebacked", "chargeback", "AC04"))
    former = world.clients["default"]
    world.clients = {
        "default": msgspec.structs.replace(former, terminals=("terminal-2",)),
        "other": msgspec.structs.replace(former, terminals=("terminal-1",)),
    }
    await world.deliver(unique_id, **CLAIM)
    await confirm(world.inquiry_deps)
    assert (await world.event())[:3] == ("confirming", "confirm", "not_found")
    world.clients["other"] = msgspec.structs.replace(world.clients["other"], former_of="default")
    world.now += timedelta(hours=1)
    await confirm(world.inquiry_deps)
    await apply_batch(world.applying)
    assert await world.state() == ("chargebacked", "AC04")


async def test_a_wrong_password_refutes_nothing(
    world: World, paid: Callable[..., Awaitable[str]], simulator: Simulator
) -> None:
    """The gateway's refusal of us says nothing of the debtor; taken for an answer it would clear every chargeback."""
    unique_id = await paid(StatusChange("chargebacked", "chargeback", "AC04"))
    await world.deliver(unique_id, **CLAIM)
    account = Account("default", simulator.url, SETUP.login, "wrong", "terminal-1", timeout_s=20)
    async with open_gateway(account) as gateway:
        world.clients["default"] = msgspec.structs.replace(world.clients["default"], gateway=gateway)
        await confirm(world.inquiry_deps)
    assert (await world.event())[:3] == ("confirming", "confirm", "credentials_rejected")


async def test_two_workers_ask_once(world: World, paid: Callable[..., Awaitable[str]]) -> None:
    """Twice the questions for the same claims would halve what the gateway's limit lets through."""
    await world.deliver(await paid(), **CLAIM)
    assert sorted(await asyncio.gather(confirm(world.inquiry_deps), confirm(world.inquiry_deps))) == [0, 1]
    assert len(world.asked) == 2  # the payment and its chargebacks


async def test_a_dead_workers_claims_are_taken_over(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """A worker that dies while it asks would keep its chargebacks for ever."""
    await world.deliver(await paid(), **CLAIM)
    dead = await confirmations.claim(
        world.conn, now=world.now, leased_until=world.now + timedelta(minutes=3), limit=10
    )
    assert len(dead) == 1
    assert await confirm(world.inquiry_deps) == 0
    world.now += timedelta(minutes=3)
    assert await confirm(world.inquiry_deps) == 1


async def test_an_answer_that_comes_after_its_lease_is_not_written(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """A worker frozen for minutes would overwrite the newer result of the worker that took over its rows."""
    await world.deliver(await paid(StatusChange("chargebacked", "chargeback", "AC04")), **CLAIM)
    first = world.now + timedelta(minutes=3)
    [row] = await confirmations.claim(world.conn, now=world.now, leased_until=first, limit=10)
    world.now = first
    await confirmations.claim(world.conn, now=world.now, leased_until=first + timedelta(minutes=3), limit=10)
    stale = [(row.id, Confirmation("approved"))]
    assert await confirmations.store(world.conn, stale, leased_until=first, now=world.now) == 0
    assert (await world.event())[3] is None


async def test_the_work_is_found_without_a_wake_up(world: World, paid: Callable[..., Awaitable[str]]) -> None:
    """Nothing wakes a worker for claims: a worker that does not look leaves them waiting."""
    work = confirming(world.inquiry_deps)
    assert not await work.has_pending()
    await world.deliver(await paid(), **CLAIM)
    assert await work.has_pending()
    assert await work.batch() == 1
    assert not await work.has_pending()


async def test_a_lease_is_renewed_by_its_holder_alone(
    world: World, paid: Callable[..., Awaitable[str]]
) -> None:
    """A lease as long as the slowest answer would keep a chargeback waiting for minutes after every crash."""
    await world.deliver(await paid(), **CLAIM)
    first = world.now + timedelta(seconds=6)
    [row] = await confirmations.claim(world.conn, now=world.now, leased_until=first, limit=10)
    longer = first + timedelta(seconds=4)

    assert await confirmations.renew(world.conn, [row.id], leased_until=first, until=longer) == 1
    assert await confirmations.renew(world.conn, [row.id], leased_until=first, until=longer) == 0
    world.now = first
    assert await confirm(world.inquiry_deps) == 0
    world.now = longer
    assert await confirm(world.inquiry_deps) == 1
