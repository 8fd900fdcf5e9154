"""The way of a notification through real programs: taken by two nodes, applied by a worker, written down by nobody."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.emp.notification import FORM, JSON
from tether_sandbox.gateway import encode, sign
from tether_sandbox.seed import Seeded, seed
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tether_sandbox.services.program import Launch, Program

PASSWORD = "s3cret-password"
KEY = "test-key"


def _notification(unique_id: str, *, password: str = PASSWORD, **fields: str) -> dict[str, str]:
    return {
        "unique_id": unique_id,
        "transaction_type": "sdd_sale",
        "status": "approved",
        "signature": sign(unique_id, password=password),
    } | fields


def _web(process: Launch, environ: dict[str, str]) -> tuple[Program, str]:
    port = free_port()
    return process("tether-web", "--port", str(port), environ=environ), f"http://127.0.0.1:{port}"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client with a connection for every delivery at once."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=30, limits=limits, trust_env=False) as opened:
        yield opened


async def _send(
    client: httpx.AsyncClient, node: str, fields: dict[str, str], *, kind: str = FORM
) -> httpx.Response:
    body = encode(fields, content_type=kind)
    return await client.post(f"{node}/api/webhooks/emp", content=body, headers={"content-type": kind})


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchall()


async def test_however_often_and_wherever_it_is_delivered_it_is_applied_once(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    client: httpx.AsyncClient,
    until: Callable[..., Any],
) -> None:
    """The gateway repeats at once, late, and to any node.

    Two, ten and a hundred deliveries at the same time over two nodes are one row and one effect; another
    status of the same payment is a second event; the same key with other content is kept for a person and
    changes nothing.
    """
    two, ten, hundred = seed(database_url, attempts=3, rng=random.Random(1), now=datetime.now(UTC))
    nodes = [_web(process, environment) for _ in range(2)]
    worker = process("tether-worker", "run", "webhooks", environ=environment)
    for web, node in nodes:
        web.await_url(f"{node}/ready")
    addresses = [node for _, node in nodes]

    async def deliver(payment: Seeded, times: int, **fields: str) -> list[httpx.Response]:
        notification = _notification(payment.unique_id, **fields)
        return list(
            await asyncio.gather(
                *(
                    _send(client, addresses[n % 2], notification, kind=JSON if n % 4 > 1 else FORM)
                    for n in range(times)
                )
            )
        )

    returned = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
    answers: list[httpx.Response] = []
    for payment, times in ((two, 2), (ten, 10), (hundred, 100)):
        answers += await deliver(payment, times)
        answers += await deliver(payment, times, **returned)
    answers += await deliver(two, 4, amount="999")
    assert {answer.status_code for answer in answers} == {200}
    fresh = [answer for answer in answers if answer.headers["content-type"] == "application/json"]
    assert all(answer.json()["status"] == "ok" for answer in fresh)

    counts = "select state, count(*) from webhook_events group by 1 order by 1"
    until(
        lambda: _query(database_url, counts) == [("conflicting", 1), ("processed", 6)],
        what="six events to be applied and one contradiction to be kept",
    )
    assert _query(database_url, "select state, count(*) from billing_attempts group by 1") == [
        ("chargebacked", 3)
    ]
    assert _query(database_url, "select name, count(*) from outbox group by 1 order by 1") == [
        ("attempt.status_changed", 6),
        ("iban.blocked", 3),
    ]
    assert _query(database_url, "select count(*), count(distinct attempt_id) from blacklist") == [(3, 3)]
    assert _query(database_url, "select count(distinct key) from webhook_events") == [(6,)]
    for program in (worker, *(web for web, _ in nodes)):
        assert program.terminate() == 0


async def test_no_secret_and_no_account_is_in_any_line_that_was_written(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    client: httpx.AsyncClient,
    until: Callable[..., Any],
) -> None:
    """Log lines go where nobody guards them.

    No name, account or secret of a day may be among them. What is sent holds all of these in every place that
    is for strangers to fill, and everything goes wrong once.
    """
    quoted = "DE89370400440532013000"
    secrets = [PASSWORD, KEY, "hunter2", quoted, "0532013000", "Lovelace", "ada@example.org"]
    made = list(seed(database_url, attempts=4, rng=random.Random(2), now=datetime.now(UTC)))
    secrets += [seeded.iban for seeded in made]
    with psycopg.connect(database_url) as conn:
        secrets += [name for (name,) in conn.execute("select distinct name from debtors").fetchall()]
        conn.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            " raise exception 'row of % refused: \"%\"', new.iban_masked, new.transaction_id; end $$"
        )
        conn.execute(
            "create trigger refuse before update on billing_attempts for each row"
            f" when (old.unique_id = '{made[3].unique_id}') execute function refuse()"
        )
    environ = environment | {"LOG_LEVEL": "debug"}
    web, node = _web(process, environ)
    worker = process("tether-worker", "run", "webhooks", environ=environ)
    web.await_url(f"{node}/ready")

    personal = {
        "bank_account_number": quoted,
        "account_holder": "Ada Lovelace",
        "customer_email": "ada@example.org",
        "usage": f"rent of {quoted[:4]} {quoted[4:8]} {quoted[8:12]} {quoted[12:16]} {quoted[16:20]} {quoted[20:]}",
        "hunter2": "hunter2",
    }
    for seeded in made:
        await _send(client, node, _notification(seeded.unique_id, **personal))
    await _send(client, node, _notification(made[0].unique_id, **personal | {"amount": "7"}))
    await _send(client, node, _notification("nobody-knows-it", **personal))
    await _send(client, node, _notification(made[0].unique_id, **personal | {"status": f"for {quoted}"}))
    await _send(client, node, _notification(made[0].unique_id, password="hunter2", **personal))
    returned = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
    await _send(client, node, _notification(made[1].unique_id, **personal | returned))
    form = {"content-type": FORM, "x-request-id": quoted, "user-agent": "hunter2"}
    await client.post(
        f"{node}/api/webhooks/emp?iban={quoted}", content=b"account_holder=Lovelace", headers=form
    )
    bearer = {"authorization": f"Bearer {KEY}", "x-request-id": quoted}
    for path in (
        f"/api/billing-attempts?unique_id={quoted}",
        f"/api/billing-attempts?limit={quoted}",
        f"/api/webhook-events?cursor={quoted}",
        f"/api/{quoted}/Lovelace",
        "/api/webhook-events/1",
    ):
        await client.get(node + path, headers=bearer)
        await client.get(node + path, headers={"authorization": "Bearer hunter2"})
    with psycopg.connect(database_url) as conn:
        conn.execute("alter table billing_attempts rename to hidden")
        # What Postgres says of this has a whole account number in it.
        conn.execute(
            "create view billing_attempts as select h.* from hidden h"
            " where (select iban from debtors where id = h.debtor_id)::integer > 0"
        )
    assert (await client.get(f"{node}/api/billing-attempts", headers=bearer)).status_code == 500
    with psycopg.connect(database_url) as conn:
        conn.execute("drop view billing_attempts")
        conn.execute("alter table hidden rename to billing_attempts")

    def done() -> bool:
        states = _query(database_url, "select state, failures from webhook_events")
        return all(state != "waiting" or failures for state, failures in states)

    until(done, what="everything to be applied or deferred")
    worker.await_line("notification deferred")
    assert web.terminate() == 0
    assert worker.terminate() == 0
    for program in (web, worker):
        lines = [json.loads(line) for line in program.stderr.splitlines()]
        assert len(lines) > 5
        assert all({"at", "level", "program", "event"} <= line.keys() for line in lines)
        for secret in secrets:
            assert secret not in program.stderr, secret
            assert secret not in program.stdout, secret
    events = [json.loads(line)["event"] for line in web.stderr.splitlines()]
    assert {"notification refused", "notification unreadable", "internal error"} <= set(events)


async def test_the_server_itself_answers_as_the_route_does(
    environment: dict[str, str], database_url: str, process: Launch, client: httpx.AsyncClient
) -> None:
    """What the route says must get through. A server that hangs up on a large body shows no 413."""
    web, node = _web(process, environment)
    web.await_url(f"{node}/ready")
    address, form = f"{node}/api/webhooks/emp", {"content-type": FORM}

    async def chunks(body: bytes, *, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    declared = await client.post(address, content=b"x" * 70_000, headers=form)
    streamed = await client.post(address, content=chunks(b"x" * 70_000, size=1_000), headers=form)
    assert [declared.status_code, streamed.status_code] == [413, 413]
    assert (await client.get(address)).headers["allow"] == "POST"
    assert (
        await client.post(address, content=b"<xml/>", headers={"content-type": "text/xml"})
    ).status_code == 415
    notification = encode(_notification("u-1"), content_type=FORM)
    good = await client.post(address, content=chunks(notification, size=20), headers=form)
    assert (good.status_code, good.headers["content-type"]) == (200, "application/xml")
    assert good.headers["x-content-type-options"] == "nosniff"
    document = await client.get(f"{node}/api/schema")
    assert "/api/webhooks/emp" in document.json()["paths"]
    metrics = (await client.get(f"{node}/metrics")).text
    assert 'tether_webhook_notifications_total{outcome="recorded"} 1.0' in metrics
    assert _query(database_url, "select notification_id from webhook_events") == [("u-1",)]
