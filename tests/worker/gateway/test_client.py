import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tether_core import iban
from tether_core.emp import requests, responses
from tether_core.errors import CredentialsRejected, GatewaySilent, InvalidRequest, NotSubmitted
from tether_sandbox.gateway import SCRIPTS, Faults, Setup, Simulator, StatusChange, running, scripted_iban
from tether_worker.gateway import client as calls
from tether_worker.gateway.connections import Account, Gateway, open_gateway

# Results come when a test settles, not before. Silence ends with the connection: how long a call lasts is tested apart.
SETUP = Setup(result_after_s=3600, hidden_s=3600, slow_s=0.05, silence_s=1.0)
ACCOUNT = Account("default", "", SETUP.login, SETUP.passwords[0], SETUP.terminals[0], timeout_s=20.0)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One gateway for the whole module; every test uses transaction ids of its own."""
    with running(SETUP) as item:
        yield item


@pytest.fixture
async def gateway(simulator: Simulator) -> AsyncIterator[Gateway]:
    """Connections to it."""
    async with open_gateway(msgspec.structs.replace(ACCOUNT, url=simulator.url)) as opened:
        yield opened


def _debit(transaction_id: str, *, script: int = 0, amount_minor: int = 1000) -> requests.Debit:
    return requests.Debit(
        transaction_id=transaction_id,
        amount_minor=amount_minor,
        currency="EUR",
        usage="Invoice & more",
        iban=scripted_iban(script),
        first_name="Zoë",
        last_name="O'Neill",
        country="DE",
    )


async def test_a_debit_from_sale_to_chargeback(gateway: Gateway, simulator: Simulator) -> None:
    """The whole way must agree: answer, single question, list of the day, list of chargebacks."""
    sold = await calls.sale(gateway, _debit("way-1", script=11))
    assert (sold.status, sold.transaction_id, sold.amount_minor) == ("pending_async", "way-1", 1000)
    assert sold.unique_id
    simulator.resolve()
    asked = await calls.reconcile(gateway, transaction_id="way-1")
    assert asked is not None
    assert (asked.status, asked.unique_id) == ("chargebacked", sold.unique_id)
    by_gateway_id = await calls.reconcile(gateway, unique_id=sold.unique_id)
    assert by_gateway_id == asked

    now = datetime.now(UTC)
    listed = await calls.transactions(
        gateway, start_at=now - timedelta(hours=1), end_at=now + timedelta(hours=1)
    )
    assert sold.unique_id in [item.unique_id for item in listed.items]

    (back,) = (await calls.chargebacks_of(gateway, unique_id=sold.unique_id)).items
    assert (back.kind, back.reason_code, back.unique_id) == ("first", "AC04", sold.unique_id)
    imported = await calls.chargebacks_imported(gateway, import_on=now.date())
    assert sold.unique_id in [item.unique_id for item in imported.items]
    # Direct debits have no posting date, so by posting date there is nothing, which is no error.
    posted = await calls.chargebacks_posted(gateway, start_on=now.date(), end_on=now.date())
    assert posted.items == ()


@pytest.mark.parametrize("number", sorted(SCRIPTS))
async def test_every_script_is_answered_or_silent_and_the_ledger_knows(
    gateway: Gateway, simulator: Simulator, number: int
) -> None:
    """The one thing that must never happen: an answer that cannot be read taken for a refusal, or for a success."""
    script = SCRIPTS[number]
    own_id = f"script-{number}"
    try:
        answer: responses.GatewayAnswer | None = await calls.sale(gateway, _debit(own_id, script=number))
    except GatewaySilent:
        answer = None
    assert (answer is None) == (script.failure_mode not in {"plain", "slow", "422 refusal"})
    if answer is not None and not script.code:
        assert answer.status == script.status
    if answer is not None and script.code:
        assert (answer.status in {"error", "declined"}, answer.code) == (True, script.code)
    taken = simulator.records(transaction_id=own_id)
    assert len(taken) == script.taken
    asked = await calls.reconcile(gateway, transaction_id=own_id)
    assert (asked is not None) == (script.taken and not script.hidden)


async def test_what_was_never_sent_is_not_there(gateway: Gateway) -> None:
    """`None` is what makes a debit sendable again, so it must mean exactly "not known there"."""
    assert await calls.reconcile(gateway, transaction_id="never-sent") is None


async def test_a_hidden_debit_says_not_there_although_it_is(gateway: Gateway, simulator: Simulator) -> None:
    """Why "not known there" needs a settling time before it is believed."""
    with pytest.raises(GatewaySilent):
        await calls.sale(gateway, _debit("hidden-1", script=38))
    assert await calls.reconcile(gateway, transaction_id="hidden-1") is None
    assert simulator.debited(transaction_id="hidden-1") == 1


async def test_the_ledger_counts_what_a_careless_client_does(gateway: Gateway, simulator: Simulator) -> None:
    """The simulator takes the same id twice on purpose: a client that sends again must be seen to debit twice."""
    debit = msgspec.structs.replace(_debit("twice-1", amount_minor=31_33), iban="DE89370400440532013000")
    for _ in range(2):
        await calls.sale(gateway, debit)
    assert simulator.debited(transaction_id="twice-1") == 2
    assert simulator.debited(fingerprint=iban.fingerprint(debit.iban)) == 2
    assert "twice-1" in simulator.sums()["debited_twice"]


async def test_refund_and_void(gateway: Gateway, simulator: Simulator) -> None:
    """Money goes back once, and only from a debit that took it."""
    sold = await calls.sale(gateway, _debit("refund-1"))
    assert sold.unique_id
    money = {"reference_id": sold.unique_id, "amount_minor": 1000, "currency": "EUR", "usage": "sorry"}
    early = await calls.refund(gateway, transaction_id="refund-1-r0", **money)  # type: ignore[arg-type]  # named above
    assert (early.status, early.code) == ("error", "420")
    simulator.resolve()
    back = await calls.refund(gateway, transaction_id="refund-1-r1", **money)  # type: ignore[arg-type]  # named above
    assert back.status == "pending_async"
    again = await calls.refund(gateway, transaction_id="refund-1-r2", **money)  # type: ignore[arg-type]  # named above
    assert again.code == "440"
    simulator.resolve()
    asked = await calls.reconcile(gateway, unique_id=sold.unique_id)
    assert asked is not None
    assert asked.status == "refunded"

    sold = await calls.sale(gateway, _debit("void-1"))
    assert sold.unique_id
    gone = await calls.void(gateway, transaction_id="void-1-v", reference_id=sold.unique_id, usage="mistake")
    assert gone.status == "approved"
    simulator.resolve()
    asked = await calls.reconcile(gateway, unique_id=sold.unique_id)
    assert asked is not None
    assert asked.status == "voided"
    assert simulator.debited(transaction_id="void-1") == 0
    late = await calls.void(gateway, transaction_id="void-1-w", reference_id="0" * 32, usage="mistake")
    assert late.code == "410"


async def test_a_series(gateway: Gateway, simulator: Simulator) -> None:
    """Later debits name the first one and no account; refunding the first one stops them."""
    first = await calls.init_recurring_sale(gateway, _debit("series-1"))
    assert first.unique_id
    later = {"reference_id": first.unique_id, "amount_minor": 500, "currency": "EUR", "usage": "month"}
    second = await calls.recurring_sale(gateway, transaction_id="series-2", **later)  # type: ignore[arg-type]  # named above
    assert (second.status, second.amount_minor) == ("pending_async", 500)
    simulator.transition(StatusChange("refunded", transaction_id="series-1"))
    third = await calls.recurring_sale(gateway, transaction_id="series-3", **later)  # type: ignore[arg-type]  # named above
    assert third.code == "430"


async def test_lists_come_in_pages(gateway: Gateway, simulator: Simulator) -> None:
    """The hundred-and-first payment of a day must not be lost."""
    start_at = datetime.now(UTC) - timedelta(hours=1)
    for first in range(0, 120, 40):
        await asyncio.gather(*(calls.sale(gateway, _debit(f"page-{n}")) for n in range(first, first + 40)))
    found = list[str | None]()
    page = 0
    while True:
        page += 1
        entry = await calls.transactions(
            gateway, start_at=start_at, end_at=start_at + timedelta(hours=2), page=page
        )
        found += [item.unique_id for item in entry.items]
        if not entry.has_next:
            break
    assert page > 1
    ours = [simulator.records(transaction_id=f"page-{n}")[0]["unique_id"] for n in range(120)]
    assert set(ours) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("wrong", [{"password": "xyzzy"}, {"login": "xyzzy"}, {"terminal_token": "xyzzy"}])
async def test_wrong_credentials_are_a_refusal_and_say_so(
    simulator: Simulator, wrong: dict[str, str]
) -> None:
    """Taken for silence, a wrong password would leave every debit unknown for ever."""
    account = msgspec.structs.replace(ACCOUNT, url=simulator.url, **wrong)
    async with open_gateway(account) as gateway:
        refused = await calls.sale(gateway, _debit("wrong-1"))
        assert refused.code in {"110", "220"}
        # Credentials are no word about a payment and cost an inquiry no try; a wrong terminal makes it a wrong inquiry.
        kind = InvalidRequest if refused.code == "220" else CredentialsRejected
        with pytest.raises(kind) as caught:
            await calls.reconcile(gateway, transaction_id="wrong-1")
        now = datetime.now(UTC)
        with pytest.raises(kind):
            await calls.transactions(gateway, start_at=now, end_at=now + timedelta(days=1))
    assert simulator.records(transaction_id="wrong-1") == []
    assert "xyzzy" not in str(caught.value)


async def test_questions_that_fail_are_silent(gateway: Gateway, simulator: Simulator) -> None:
    """A 500 to a question says nothing about the payment; taken for "not there", it would debit again."""
    simulator.faults(Faults(inquiries_failed=1.0))
    try:
        for ask in (
            calls.reconcile(gateway, transaction_id="x"),
            calls.chargebacks_of(gateway, unique_id="x"),
        ):
            with pytest.raises(GatewaySilent, match="http 500"):
                await ask
    finally:
        simulator.faults(Faults())


async def test_waiting_for_a_free_connection_makes_nothing_unknown(simulator: Simulator) -> None:
    """Timed, a busy worker would call debits unknown that were never sent, and flood reconciliation with them."""
    account = msgspec.structs.replace(ACCOUNT, url=simulator.url, connections_max=1)
    async with open_gateway(account) as gateway:
        silent, sold = await asyncio.gather(
            calls.sale(
                gateway, _debit("busy-1", script=30)
            ),  # holds the one connection as long as it is silent
            calls.sale(gateway, _debit("busy-2")),
            return_exceptions=True,
        )
    assert isinstance(silent, GatewaySilent)
    assert isinstance(sold, responses.GatewayAnswer)


async def test_nobody_listens(simulator: Simulator) -> None:
    """Where no connection is made nothing is submitted: taken for silence, each debit of an outage would be unknown."""
    account = msgspec.structs.replace(ACCOUNT, url="http://127.0.0.1:1")
    async with open_gateway(account) as gateway:
        with pytest.raises(NotSubmitted) as caught:
            await calls.sale(gateway, _debit("nobody-1"))
    assert (caught.value.cause, gateway.calls.not_submitted["connect"]) == ("connect", 1)
    assert "127.0.0.1" not in str(caught.value)
    assert simulator.records(transaction_id="nobody-1") == []


@asynccontextmanager
async def _answering(
    answer: Callable[[asyncio.StreamWriter], object], *, timeout_s: float = 20
) -> AsyncIterator[Account]:
    """A server that reads one request and then lets *answer* write what it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            written = answer(writer)
            if asyncio.iscoroutine(written):
                await written
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield msgspec.structs.replace(ACCOUNT, url=f"http://127.0.0.1:{port}", timeout_s=timeout_s)


async def _trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def _whole(body: bytes, status: bytes = b"200 OK") -> Callable[[asyncio.StreamWriter], object]:
    head = b"HTTP/1.1 %b\r\ncontent-length: %d\r\nlocation: /elsewhere\r\n\r\n" % (status, len(body))
    return lambda writer: writer.write(head + body)


APPROVED = (
    b"<payment_response><transaction_id>%b</transaction_id><status>approved</status></payment_response>"
)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_trickle, "timeout"),
        (lambda writer: writer.write(b"not http at all\r\n\r\n"), "ClientResponseError"),
        (lambda _writer: None, "ServerDisconnectedError"),
        (_whole(b""), "unreadable"),
        (_whole(APPROVED % b"raw-1", b"302 Found"), "http 302"),
        (_whole(APPROVED % b"raw-1", b"201 Created"), "http 201"),
        (_whole(b"<html>no</html>", b"401 Unauthorized"), "http 401"),
        (_whole(APPROVED % b"another"), "another payment"),
        (_whole(b"<!DOCTYPE a><payment_response><status>approved</status></payment_response>"), "unreadable"),
        (_whole(b" " * (responses.SIZE_MAX_BYTES + 1)), "larger"),
    ],
)
async def test_whatever_else_comes_is_silence(
    answer: Callable[[asyncio.StreamWriter], object], why: str
) -> None:
    """Every one of these leaves it open whether the debit stands."""
    timeout_s = 0.5 if why == "timeout" else 20  # only who trickles is given up
    answering = _answering(answer, timeout_s=timeout_s)
    async with answering as account, open_gateway(account) as gateway, asyncio.timeout(120):
        with pytest.raises(GatewaySilent, match=why):
            await calls.sale(gateway, _debit("raw-1"))


async def test_an_answer_without_our_id_is_still_an_answer() -> None:
    """Samples exist without it; to drop them would turn good answers into silence."""
    body = b"<payment_response><status>approved</status><unique_id>44177a21</unique_id></payment_response>"
    async with _answering(_whole(body)) as account, open_gateway(account) as gateway:
        assert (await calls.sale(gateway, _debit("raw-2"))).unique_id == "44177a21"


async def test_nothing_is_sent_where_nothing_can_be_asked_for(gateway: Gateway, simulator: Simulator) -> None:
    """Our own refusal must come before the call: after it, the outcome would be unknown without need."""
    with pytest.raises(InvalidRequest):
        await calls.sale(gateway, msgspec.structs.replace(_debit("bad-1"), usage=" "))
    assert simulator.records(transaction_id="bad-1") == []


def test_no_secret_in_a_repr(simulator: Simulator) -> None:
    """Accounts are shown by failing tests and by tracebacks."""
    account = msgspec.structs.replace(ACCOUNT, url=simulator.url)
    excerpt = repr(account)
    assert not any(secret in excerpt for secret in (account.login, account.password, account.terminal_token))
