"""Subscribers that are a topic of a broker, on the real protocols: librdkafka's own cluster, and a NATS server with JetStream."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import AdminClient
from nats.js.api import StreamConfig
from standardwebhooks import Webhook
from tether_core.errors import InvalidRequest
from tether_core.subscribers.cloud_events import stable_id
from tether_core.subscribers.delivery import Response
from tether_sandbox.services.server import free_port
from tether_stores.settings import Settings
from tether_stores.subscribers import deliveries
from tether_worker.subscribers.brokers import brokers, properties
from tether_worker.subscribers.deliveries import Delivering
from tether_worker.subscribers.nats import Nats
from tether_worker.subscribers.sending import Sender

from tests.support.certificates import self_signed
from tests.support.kafka_front import kafka_front
from tests.support.nats_accounts import NatsAccounts
from tests.worker.subscribers.conftest import KEY, SECRET, changed, subscribe, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from tether_sandbox.services.program import Launch, Program
    from tether_stores.postgres import Connection, Pool

    from tests.support.certificates import Certificate
    from tests.support.clock import Clock

STATUSES = ("approved", "chargebacked", "approved again")
SUBJECT = "tether.events"


@pytest.fixture
def kafka() -> Iterator[str]:
    """The addresses of a cluster of three brokers, in this process; it makes topics, with four partitions, when they are used."""
    cluster = AdminClient({"test.mock.num.brokers": 3})
    brokers_of = cluster.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers_of)
    del cluster


@pytest.fixture
def kafka_alone() -> Iterator[int]:
    """The port of a cluster of one broker."""
    cluster = AdminClient({"test.mock.num.brokers": 1})
    (broker,) = cluster.list_topics(timeout=30).brokers.values()
    yield broker.port
    del cluster


@pytest.fixture
def server(process: Launch, tmp_path: Path) -> Callable[..., Program]:
    """Starts a NATS server with JetStream on a port, with the data of the one before and more options."""
    # The group dev brings it, into the folder of this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def start(port: int, *more: str) -> Program:
        options = (
            "--addr",
            "127.0.0.1",
            "--port",
            str(port),
            "--jetstream",
            "--store_dir",
            str(tmp_path / "nats"),
            *more,
        )
        return process("nats-server", *options, environ={"PATH": path})

    return start


@asynccontextmanager
async def _delivering(
    pool: Pool, clock: Clock, environ: Mapping[str, str], **more: Any
) -> AsyncIterator[Delivering]:
    settings = Settings.from_env(environ)
    deps = Delivering(
        pool,
        Sender(allowed=()),
        secrets_key=[KEY],
        clock=clock,
        brokers=brokers(settings, timeout_s=more.pop("timeout_s", 30)),
        jitter=lambda: 0.5,
    )
    yield deps
    await deps.ended()


async def _deliver(delivering: Delivering) -> None:
    for _ in range(300):
        if not await delivering.batch():
            return
    raise AssertionError("it goes on for ever")


async def _rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query.encode())).fetchall()


async def _written(conn: Connection, clock: Clock) -> dict[str, tuple[int, str]]:
    """Write three events about each of five payments; gives payment and status by the id of the event."""
    facts = [changed(payment, status) for status in STATUSES for payment in range(1, 6)]
    await write(conn, *facts, now=clock())
    rows = await _rows(conn, "select id, occurred_at, payload from outbox order by id")
    ids = [stable_id(number, occurred_at=at, payload=bytes(payload)) for number, at, payload in rows]
    return {event: (fact.attempt_id, fact.after) for event, fact in zip(ids, facts, strict=True)}


def _check(
    wanted: Mapping[str, tuple[int, str]], got: list[tuple[str | None, dict[str, str], bytes]]
) -> list[str]:
    """Compare messages (key, headers, body) with what was written; gives their ids."""
    ids = []
    by_payment: dict[int, list[str]] = {}
    for key, headers, body in got:
        # The library's own check allows five minutes by this machine's clock, and the test moves its own.
        signed_at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        assert (
            Webhook(SECRET).sign(headers["webhook-id"], signed_at, body.decode())
            == headers["webhook-signature"]
        )
        assert headers["content-type"] == "application/cloudevents+json"
        event = json.loads(body)
        payment, status = wanted[event["id"]]
        assert headers["webhook-id"] == event["id"]
        assert key == event["subject"] == f"billing-attempts/{payment}"
        assert (event["type"], event["data"]["after"]) == ("tether.attempt.status_changed.1", status)
        ids.append(event["id"])
        if event["id"] not in ids[:-1]:
            by_payment.setdefault(payment, []).append(status)
    assert len(by_payment) == 5
    assert all(tuple(statuses) == STATUSES for statuses in by_payment.values())
    return ids


async def test_kafka_gets_the_same_events_in_order_of_each_payment(
    conn: Connection, pool: Pool, clock: Clock, kafka: str
) -> None:
    """A consumer that gets "chargebacked" before "approved", or a second id for a repeat, books what did not happen."""
    await subscribe(conn, "kafka:payments", now=clock())
    wanted = await _written(conn, clock)
    async with _delivering(pool, clock, {"TETHER_KAFKA_SERVERS": kafka}) as delivering:
        await _deliver(delivering)
        # A worker that died after the broker had confirmed, and before its record: the event comes again, under its id.
        await conn.execute(
            "update deliveries set state = 'waiting', due_at = created_at, ended_at = null where event_id = 1"
        )
        await _deliver(delivering)
    assert await _rows(conn, "select distinct state, error from deliveries") == [("delivered", None)]
    got = await asyncio.to_thread(_consumed, kafka, len(wanted) + 1)
    ids = _check(wanted, got)
    assert Counter(ids) == Counter([*wanted, next(iter(wanted))])


def _consumed(servers: str, count: int) -> list[tuple[str | None, dict[str, str], bytes]]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "books",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe(["payments"])
    got: list[tuple[str | None, dict[str, str], bytes]] = []
    ends = set[int | None]()
    for _ in range(600):
        message = consumer.poll(0.2)
        if message is None:
            continue
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            ends.add(message.partition())
        else:
            key, value = message.key(), message.value()
            named: Any = message.headers() or ()
            headers = {name: text.decode() for name, text in named}
            got.append((key.decode() if key else None, headers, value or b""))
        if len(got) >= count and len(ends) == 4:
            break
    consumer.close()
    return got


async def test_nats_gets_the_same_events_and_drops_repeats_itself(
    conn: Connection,
    pool: Pool,
    clock: Clock,
    server: Callable[..., Program],
    eventually: Callable[..., Any],
) -> None:
    """The server goes away and comes back: nothing is missing, nothing is out of order, and a repeat is stored once."""
    port = free_port()
    running = server(port)
    url = f"nats://127.0.0.1:{port}"
    await subscribe(conn, f"nats:{SUBJECT}", now=clock())
    wanted = await _written(conn, clock)
    async with _delivering(pool, clock, {"TETHER_NATS_SERVERS": url}) as delivering:
        client = await eventually(
            lambda: _client(url), what="the server", despite=(OSError, nats.errors.Error)
        )
        # Who names TLS gets TLS or nothing: the events of debtors do not go in plain text.
        private = Nats([f"tls://127.0.0.1:{port}"], credentials=None, timeout_s=30)
        sent = await private.send(SUBJECT, key=None, headers={"webhook-id": "evt"}, body=b"{}")
        assert sent == Response(None, "connect")
        await private.close()
        # No stream takes the subject yet.
        await _deliver(delivering)
        assert await _rows(conn, "select distinct state, error from deliveries where tries > 0") == [
            ("waiting", "broker_refused")
        ]
        await client.jetstream(timeout=60).add_stream(
            StreamConfig(name="EVENTS", subjects=["tether.>"], duplicate_window=3600)
        )
        running.kill()
        clock.now += timedelta(seconds=10)
        await _deliver(delivering)
        # Before the client has noticed, it is an answer that does not come; afterwards, a server that takes no connection.
        assert {row[0] for row in await _rows(conn, "select state from deliveries")} == {"waiting"}
        assert {row[0] for row in await _rows(conn, "select error from deliveries where tries > 1")} <= {
            "connect",
            "protocol",
            "timeout",
        }
        server(port)
        await client.close()
        client = await eventually(
            lambda: _client(url), what="the server again", despite=(OSError, nats.errors.Error)
        )
        clock.now += timedelta(minutes=5)
        await _deliver(delivering)
        await conn.execute(
            "update deliveries set state = 'waiting', due_at = created_at, ended_at = null where event_id = 1"
        )
        await _deliver(delivering)
    assert await _rows(conn, "select distinct state, error from deliveries") == [("delivered", None)]
    stream = client.jetstream(timeout=60)
    info = await stream.stream_info("EVENTS")
    assert info.state.messages == len(wanted)
    got = []
    for number in range(1, len(wanted) + 1):
        message = await stream.get_msg("EVENTS", number)
        headers = dict(message.headers or {})
        assert headers.pop("Nats-Msg-Id") == headers["webhook-id"]
        got.append((headers.pop("Tether-Key", None), headers, message.data or b""))
    assert sorted(_check(wanted, got)) == sorted(wanted)
    await client.close()


async def _client(url: str, **options: Any) -> Any:
    return await nats.connect(
        url,
        connect_timeout=30,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        **options,
    )


async def _sent(environ: Mapping[str, str], topic: str, *, timeout_s: float = 60) -> Response:
    """Publish one event with the settings of a worker."""
    ((_, broker),) = brokers(Settings.from_env(environ), timeout_s=timeout_s).items()
    headers = {"webhook-id": "evt_1", "webhook-signature": "v1,x"}
    response = await broker.send(topic, key="billing-attempts/1", headers=headers, body=b"{}")
    await broker.close()
    return response


async def test_nats_over_tls_with_a_password(
    server: Callable[..., Program],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    """Events go to the server that can prove its name, and to nobody else; whether it was name or password that failed is in the log of deliveries."""
    certificate, port = self_signed(tmp_path), free_port()
    login = ("--user", "tether", "--pass", "secret")
    server(port, "--tls", "--tlscert", str(certificate.path), "--tlskey", str(certificate.key), *login)
    url = f"tls://tether:secret@localhost:{port}"
    trusting = ssl.create_default_context(cafile=certificate.path)
    client = await eventually(
        lambda: _client(url, tls=trusting), what="the server", despite=(OSError, nats.errors.Error)
    )
    stream = client.jetstream(timeout=60)
    await stream.add_stream(StreamConfig(name="EVENTS", subjects=["tether.>"]))
    assert await _sent({"TETHER_NATS_SERVERS": url}, SUBJECT) == Response(None, "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    for address, response in (
        (f"tls://tether:secret@127.0.0.1:{port}", Response(None, "tls")),
        (f"tls://tether:another@localhost:{port}", Response(None, "broker_refused")),
        (url, Response(None)),
    ):
        assert await _sent({"TETHER_NATS_SERVERS": address}, SUBJECT) == response
    assert (await stream.stream_info("EVENTS")).state.messages == 1
    await client.close()


async def test_nats_with_credentials(
    server: Callable[..., Program], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """A file of credentials is what every NATS of a company or of a provider asks for."""
    accounts, port = NatsAccounts(), free_port()
    config = tmp_path / "server.conf"
    config.write_text(accounts.config())
    server(port, "--config", str(config))
    url = f"nats://127.0.0.1:{port}"
    user = str(accounts.user(tmp_path / "tether.creds"))
    client = await eventually(
        lambda: _client(url, **accounts.options()), what="the server", despite=(OSError, nats.errors.Error)
    )
    stream = client.jetstream(timeout=60)
    await stream.add_stream(StreamConfig(name="EVENTS", subjects=["tether.>"]))
    settings = {"TETHER_NATS_SERVERS": url, "TETHER_NATS_CREDENTIALS": user}
    assert await _sent(settings, SUBJECT) == Response(None)
    accounts.user(tmp_path / "tether.creds", is_known=False)
    assert await _sent(settings, SUBJECT) == Response(None, "broker_refused")
    assert (await stream.stream_info("EVENTS")).state.messages == 1
    await client.close()


def test_a_file_that_holds_no_credentials_is_refused(tmp_path: Path) -> None:
    """The library looks for a JWT in it without end, and the worker with it."""
    file = tmp_path / "tether.creds"
    file.write_text("-----BEGIN USER NKEY SEED-----\nhunter2\n")
    for path in (file, tmp_path / "none"):
        environ = {"TETHER_NATS_SERVERS": "nats://127.0.0.1:9", "TETHER_NATS_CREDENTIALS": str(path)}
        with pytest.raises(InvalidRequest, match="names no file of credentials") as refused:
            brokers(Settings.from_env(environ), timeout_s=3)
        assert refused.value.field == "TETHER_NATS_CREDENTIALS"
        assert "hunter2" not in str(refused.value)


async def test_a_password_of_nats_waits_for_tls() -> None:
    """Somebody in between who says that there is no TLS would read it."""
    came: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id": "x", "version": "2.10.0", "headers": true, "max_payload": 1000}\r\n'
        )
        came.append(await reader.read(1000))
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listening:
        url = f"tls://tether:secret@127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        assert await _sent({"TETHER_NATS_SERVERS": url}, SUBJECT) == Response(None, "connect")
    assert b"".join(came) == b""


async def test_kafka_over_tls_with_a_password(
    tmp_path: Path, kafka_alone: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The file of settings reaches librdkafka: who cannot prove the name gets nothing, and a password is sent within TLS and never logged."""
    certificate = self_signed(tmp_path)
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other")
    async with kafka_front(
        kafka_alone, tls=certificate.server_context(), user="tether", password="secret-2026"
    ) as front:

        async def sent(password: str, trusted: Certificate) -> Response:
            file = tmp_path / "kafka.properties"
            file.write_text(
                "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=tether\n"
                f"sasl.password={password}\nssl.ca.location={trusted.path}\nbroker.address.family=v4\n"
            )
            environ = {
                "TETHER_KAFKA_SERVERS": f"localhost:{front.port}",
                "TETHER_KAFKA_PROPERTIES": str(file),
            }
            # On a busy machine a connection may take longer than the message may.
            for timeout_s in (4, 8, 16, 60):
                response = await _sent(environ, "payments", timeout_s=timeout_s)
                if response.error != "timeout":
                    break
            return response

        assert await sent("secret-2026", other) == Response(None, "tls")
        assert front.tokens == []
        assert await sent("another-2026", certificate) == Response(None, "broker_refused")
        assert await sent("secret-2026", certificate) == Response(None)
    assert {*front.tokens} == {b"\0tether\0another-2026", b"\0tether\0secret-2026"}
    ((key, headers, body),) = await asyncio.to_thread(_consumed, f"127.0.0.1:{kafka_alone}", 1)
    assert (key, headers["webhook-id"], body) == ("billing-attempts/1", "evt_1", b"{}")
    assert "secret-2026" not in caplog.text
    assert "another-2026" not in caplog.text


async def test_a_broker_that_is_unavailable_or_not_configured_costs_nothing(
    conn: Connection, pool: Pool, clock: Clock
) -> None:
    """A worker without the setting must not give events up, and one whose broker is away must try again."""
    await subscribe(conn, "kafka:payments", now=clock())
    await write(conn, changed(1), now=clock())
    async with _delivering(pool, clock, {}) as delivering:
        await _deliver(delivering)
    assert await _rows(conn, "select state, error, failures from deliveries") == [
        ("waiting", "broker_not_configured", 0)
    ]
    clock.now += timedelta(minutes=2)
    nowhere = {"TETHER_KAFKA_SERVERS": f"127.0.0.1:{free_port()}"}
    async with _delivering(pool, clock, nowhere, timeout_s=3) as delivering:
        await _deliver(delivering)
    ((state, error, failures),) = await _rows(conn, "select state, error, failures from deliveries")
    # On a busy machine the time of the message ends before that of the first connection.
    assert (state, failures) == ("waiting", 1)
    assert error in {"connect", "timeout"}
    assert await deliveries.waiting_count(conn, 1, limit=9) == 1


@pytest.mark.parametrize(("broker", "library"), [("kafka", "confluent_kafka"), ("nats", "nats")])
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, broker: str, library: str
) -> None:
    """The libraries are extras: a worker that has a broker and not its library says what to install, and does not start."""
    # What another test has imported would be found without its package.
    for name in [library, *(name for name in sys.modules if name.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"tether_worker.subscribers.{broker}", raising=False)
    with pytest.raises(InvalidRequest, match=rf"install tether-worker\[{broker}\]") as refused:
        brokers(Settings.from_env({f"TETHER_{broker.upper()}_SERVERS": "127.0.0.1:9"}), timeout_s=3)
    assert refused.value.field == f"TETHER_{broker.upper()}_SERVERS"


def test_properties_are_read_and_never_repeated(tmp_path: Path) -> None:
    """An error that quotes a line of this file prints a password into a log."""
    file = tmp_path / "kafka.properties"
    file.write_text("# ours\n\nsecurity.protocol = SASL_SSL\nsasl.password=a=b\n")
    assert properties(str(file)) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b"}
    assert properties("") == {}
    file.write_text("sasl.password=x\nhunter2\n")
    for path in (file, tmp_path / "none"):
        with pytest.raises(InvalidRequest) as refused:
            properties(str(path))
        assert "hunter2" not in str(refused.value)
    file.write_text("security.protocol=hunter2\n")
    environ = {"TETHER_KAFKA_SERVERS": "127.0.0.1:9", "TETHER_KAFKA_PROPERTIES": str(file)}
    with pytest.raises(InvalidRequest, match="TETHER_KAFKA_PROPERTIES") as refused:
        brokers(Settings.from_env(environ), timeout_s=3)
    assert "hunter2" not in str(refused.value)
