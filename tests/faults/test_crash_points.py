"""A process dies at every boundary there is, in turn, and what is left is as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.billing.run_options import RunOptions
from tether_core.emp.notification import FORM
from tether_core.payments.attempt import ApplyPolicy
from tether_core.spreadsheet import Answers
from tether_sandbox.chaos.crash_points import CrashOrder, Ending, doomed
from tether_sandbox.conservation import books, broken_chains
from tether_sandbox.gateway import Payment, Setup, Simulator, encode, running, sign
from tether_sandbox.seed import made_up_iban, seed
from tether_sandbox.settings import ENVIRONMENT
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import objects
from tether_stores.billing import billing_runs
from tether_stores.objects import open_objects
from tether_stores.payments import billing_attempts
from tether_stores.postgres import ConnectionLost, open_pool
from tether_stores.settings import Settings
from tether_stores.uploads import uploads
from tether_worker.notifications import apply
from tether_worker.notifications.apply import ApplyDeps, apply_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.chaos.crash_points import RunOrder

PASSWORD = "s3cret-password"
# Leases and put-off rows of the dead are due again by this clock.
LATER_S = 3600.0
# Settling a debit takes long, so that every run visits each fourth boundary only. With 1 it takes two minutes.
SUBMISSION_STEP = int(os.environ.get("TETHER_SUBMISSION_STEP", "4"))
# Each starts three nodes, so that every run visits each eighth boundary only. With 1 it takes some minutes.
ORDER_STEP = int(os.environ.get("TETHER_ORDER_STEP", "8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunOrder]:
    """Sends children to their death."""
    with doomed(tmp_path_factory.mktemp("doomed")) as run_order:
        yield run_order


def _payments(database_url: str, number: int) -> list[Payment]:
    made = seed(database_url, attempts=2, rng=random.Random(number), now=datetime.now(UTC))
    return [
        Payment(seeded.transaction_id, seeded.unique_id, seeded.amount_minor, seeded.currency)
        for seeded in made
    ]


def _form(payment: Payment, **fields: str) -> bytes:
    result = {
        "transaction_id": payment.transaction_id,
        "unique_id": payment.unique_id,
        "transaction_type": "sdd_sale",
        "amount": str(payment.amount_minor),
        "currency": payment.currency,
        "signature": sign(payment.unique_id, password=PASSWORD),
    }
    return encode(result | fields, content_type=FORM)


def _rounds(payment: Payment, other: Payment) -> list[list[bytes]]:
    """Two at the same time, then a return with a reason that blocks, then a repeat of the first."""
    approved = _form(payment, status="approved")
    returned = _form(payment, status="chargebacked", event="chargeback", reason_code="AC04")
    return [[approved, _form(other, status="declined")], [returned], [approved]]


async def _outcome(database_url: str, payments: list[Payment]) -> dict[str, Any]:
    """All that stands in the tables of some payments, without ids and times."""
    ids = [payment.unique_id for payment in payments]
    async with await psycopg.AsyncConnection.connect(database_url) as conn:

        async def rows(query: str) -> list[Any]:
            cursor = await conn.execute(query, {"ids": ids})
            return await cursor.fetchall()

        return {
            "inbox": await rows(
                "select array_position(%(ids)s, notification_id), status, event, state, outcome, failures"
                " from webhook_events where notification_id = any(%(ids)s) order by 1, 2, 3"
            ),
            "attempts": await rows(
                "select array_position(%(ids)s, unique_id), state, payment_stage, dispute_stage"
                " from billing_attempts where unique_id = any(%(ids)s) order by 1"
            ),
            "blacklist": await rows(
                "select array_position(%(ids)s, a.unique_id), b.reason_code, b.action from blacklist b"
                " join billing_attempts a on a.id = b.attempt_id where a.unique_id = any(%(ids)s)"
            ),
            "outbox": await rows(
                "select array_position(%(ids)s, e.notification_id), e.status, o.name from outbox o"
                " join webhook_events e on e.id = o.webhook_event_id"
                " where e.notification_id = any(%(ids)s) order by 1, 2, 3"
            ),
        }


async def test_a_web_node_dies_at_every_boundary(
    run: RunOrder, database_url: str, environment: dict[str, str]
) -> None:
    """
    A notification that was acknowledged and is not stored is money nobody books; one stored twice is applied twice.

    The node dies at each of its waits, before each exchange with Postgres and Redis, and before each answer. The gateway, which got no echo,
    sends everything again to another node.
    """

    async def endured(number: int, *, stop_at: int) -> tuple[dict[str, Any], Ending]:
        payments = _payments(database_url, number)
        rounds = _rounds(*payments)
        ending = run(CrashOrder("receive", stop_at, environment, rounds))
        async with await psycopg.AsyncConnection.connect(database_url) as conn:
            cursor = await conn.execute("select body from webhook_events")
            stored = {bytes(body) for (body,) in await cursor.fetchall()}
        assert set(ending.acknowledged) <= stored
        again = run(CrashOrder("receive", 0, environment, rounds))
        assert again.code == 0
        assert len(again.acknowledged) == 4
        assert run(CrashOrder("apply", 0, environment)).code == 0
        return await _outcome(database_url, payments), ending

    wanted, _ = await endured(0, stop_at=0)
    assert [row[3] for row in wanted["inbox"]] == ["processed"] * 3
    assert wanted["blacklist"] == [(1, "AC04", "block")]
    await _each_boundary(endured, wanted=wanted, at_least=20)
    ours = books(database_url)
    assert not broken_chains(ours.moves, ours.current_status)


async def test_a_worker_dies_at_every_boundary_of_application(
    run: RunOrder, database_url: str, environment: dict[str, str]
) -> None:
    """A state written without its blacklist entry lets a bad account be debited again; one written twice is announced twice."""

    async def endured(number: int, *, stop_at: int) -> tuple[dict[str, Any], Ending]:
        payments = _payments(database_url, number)
        assert run(CrashOrder("receive", 0, environment, _rounds(*payments))).code == 0
        ending = run(CrashOrder("apply", stop_at, environment))
        assert run(CrashOrder("apply", 0, environment)).code == 0
        return await _outcome(database_url, payments), ending

    wanted, _ = await endured(0, stop_at=0)
    assert [row[1] for row in wanted["attempts"]] == ["chargebacked", "declined"]
    await _each_boundary(endured, wanted=wanted, at_least=8)
    ours = books(database_url)
    assert not broken_chains(ours.moves, ours.current_status)


async def test_a_worker_dies_at_every_boundary_of_reading_a_file(
    run: RunOrder, database_url: str, environment: dict[str, str]
) -> None:
    """A row read twice is a person debited twice; a row passed over is money nobody collects and nobody misses."""
    settings = Settings.from_env(environment)
    store = open_objects(settings)

    async def endured(number: int, *, stop_at: int) -> tuple[dict[str, Any], Ending]:
        content = _sheet(random.Random(number))
        upload_id = await _handed_in(store, database_url, content)
        order = CrashOrder("read", stop_at, environment, chunk_rows=3)
        ending = run(order)
        assert run(CrashOrder("read", 0, environment, ahead_s=LATER_S, chunk_rows=3)).code == 0
        return await _intake_outcome(database_url, upload_id), ending

    wanted, _ = await endured(0, stop_at=0)
    assert wanted["upload"][0][:4] == ("completed", 10, 8, 1)
    assert wanted["debtors"] == [
        *((row, "clear") for row in (2, 3, 4, 5, 7, 8, 9, 10)),
        (11, "duplicate_in_file"),
    ]
    assert [row[0] for row in wanted["problems"]] == [6]
    await _each_boundary(endured, wanted=wanted, at_least=20)


async def test_a_web_node_dies_at_every_boundary_of_an_order(
    run: RunOrder, database_url: str, environment: dict[str, str]
) -> None:
    """
    A client without a response repeats its order at another node, and must not order twice.

    The dead node has left the order with its result, or neither; and the repeated response equals the first.
    """
    environ = environment | {"EMP_API_URL": "https://gateway.invalid", "DATABASE_POOL_MAX": "2"}

    async def endured(number: int, *, stop_at: int) -> tuple[dict[str, Any], Ending]:
        now = datetime.now(UTC)
        owed = [Owed(made_up_iban(random.Random(number)), 1_000)]
        upload_id, _ = seed_upload(database_url, owed, now=now)
        (debit,) = seed(database_url, attempts=1, rng=random.Random(number), now=now - timedelta(days=30))
        with psycopg.connect(database_url) as conn:
            conn.execute(
                "update billing_attempts set payment_stage = 60, state = 'approved', dispute_stage = 0 where id = %s",
                [debit.id],
            )
        posts = [
            (f"/api/uploads/{upload_id}/billing", f"run-{upload_id}", b'{"count_max": 5}'),
            (f"/api/billing-attempts/{debit.id}/refund", f"refund-{debit.id}", b"{}"),
        ]
        ending = run(CrashOrder("place", stop_at, environ, posts=posts))
        retried = run(CrashOrder("place", 0, environ, posts=posts))
        assert retried.code == 0
        again = run(CrashOrder("place", 0, environ, posts=posts))
        assert again.acknowledged == retried.acknowledged
        assert retried.acknowledged[: len(ending.acknowledged)] == ending.acknowledged
        with psycopg.connect(database_url) as conn:
            placed = conn.execute(
                "select (select count(*) from billing_runs where upload_id = %s),"
                " (select count(*) from refunds where attempt_id = %s)",
                [upload_id, debit.id],
            ).fetchone()
        return {"placed": placed, "responses": len(retried.acknowledged)}, ending

    wanted, _ = await endured(0, stop_at=0)
    assert wanted == {"placed": (1, 1), "responses": 2}
    await _each_boundary(endured, wanted=wanted, at_least=10, step=ORDER_STEP)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Simulator]:
    """A gateway that takes a second debit under the same id; it does not help anybody."""
    with running(Setup(result_after_s=3600.0)) as simulator:
        yield simulator


async def test_a_worker_dies_at_every_boundary_of_sending(
    run: RunOrder, database_url: str, environment: dict[str, str], gateway: Simulator
) -> None:
    """
    Between claim, call and record lies the time at which a debtor pays twice, or a debit is forgotten.

    Who comes after the dead one, hours later, asks about what was claimed, and sends only what the gateway has not got.
    """
    environ = {
        **environment,
        **{name: text for name, text in ENVIRONMENT.items() if name.startswith("EMP_")},
        "EMP_API_URL": gateway.url,
        "EMP_RATE_LIMIT": "1000",
        "RECONCILIATION_RATE_LIMIT": "1000",
    }

    async def endured(number: int, *, stop_at: int) -> tuple[dict[str, Any], Ending]:
        rng = random.Random(number)
        owed = [Owed(made_up_iban(rng), 1_000 + n) for n in range(2)]
        now = datetime.now(UTC)
        upload_id, debtors = seed_upload(database_url, owed, now=now)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            await billing_runs.add(
                conn,
                upload_id=upload_id,
                account="default",
                options=RunOptions(),
                created_by="tests",
                now=now,
            )
            ending = run(CrashOrder("submit", stop_at, environ))
            assert run(CrashOrder("resolve", 0, environ, ahead_s=2 * LATER_S)).code == 0
            cursor = await conn.execute(
                "select transaction_id, state, payment_stage, leased_until, submit_at from billing_attempts"
                " where debtor_id = any(%s) order by debtor_id",
                (debtors,),
            )
            rows = await cursor.fetchall()
        debited = [gateway.debited(transaction_id=row[0]) for row in rows]
        return {"attempts": [row[1:] for row in rows], "debited": debited}, ending

    wanted, _ = await endured(0, stop_at=0)
    assert wanted == {"attempts": [("pending", 20, None, None)] * 2, "debited": [1, 1]}
    await _each_boundary(endured, wanted=wanted, at_least=20, step=SUBMISSION_STEP)
    assert gateway.sums()["debited_twice"] == []
    ours = books(database_url)
    assert not broken_chains(ours.moves, ours.current_status)


def _sheet(rng: random.Random) -> bytes:
    """Ten rows: eight good ones, one whose IBAN is none, and the first person again."""
    ibans = [made_up_iban(rng) for _ in range(10)]
    ibans[9] = ibans[0]
    ibans[4] = "DE00"
    names = [f"Person {rng.randrange(10**9)}" for _ in range(10)]
    lines = [
        f"{name};{account};{10 + n},50" for n, (name, account) in enumerate(zip(names, ibans, strict=True))
    ]
    return "\n".join(["Name;IBAN;Betrag", *lines]).encode()


async def _handed_in(store: objects.Objects, database_url: str, content: bytes) -> int:
    digest = sha256(content).digest()
    key = f"uploads/{digest.hex()}"

    async def chunks() -> Any:
        yield content

    await objects.put(store, key, chunks())
    recording = uploads.NewUpload(
        object_key=key,
        filename="list.csv",
        size_bytes=len(content),
        sha256=digest,
        content_key=digest,
        answers=Answers(),
        dry_run=False,
        forced=False,
        added_by="tests",
    )
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        upload_id, fresh = await uploads.record(conn, recording, now=datetime.now(UTC))
    assert fresh
    return upload_id


async def _intake_outcome(database_url: str, upload_id: int) -> dict[str, Any]:
    async with await psycopg.AsyncConnection.connect(database_url) as conn:

        async def rows(query: str) -> list[Any]:
            return await (await conn.execute(query, {"id": upload_id})).fetchall()

        return {
            "upload": await rows(
                "select state, rows_read, stored, excluded, refused, skipped, warnings, amount_minor,"
                " verdict_counts::text, problem_counts::text from uploads where id = %(id)s"
            ),
            "debtors": await rows(
                "select row_number, verdict from debtors where upload_id = %(id)s order by 1"
            ),
            "problems": await rows(
                "select row_number, ordinal, level, column_name, code from problems where upload_id = %(id)s"
                " order by 1, 2"
            ),
        }


async def _each_boundary(endured: Any, *, wanted: dict[str, Any], at_least: int, step: int = 1) -> None:
    """Stop at 1, 2, 3 and so on until one lives to its end; each time all must be as *wanted* in the end."""
    for number in count(1, step):
        outcome, ending = await endured(number, stop_at=number)
        assert outcome == wanted, f"stopped at boundary {number}"
        if ending.code == 0:
            assert number > at_least, "the later boundaries were not reached"
            return
        assert ending.code == -signal.SIGKILL


async def test_a_worker_frozen_over_its_rows_puts_none_of_them_off(
    run: RunOrder,
    database_url: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., object],
) -> None:
    """
    Rows that a frozen worker held are applied by the next one at once, and nobody is blamed for its sleep.

    Postgres ends the session of a transaction that idles. To psycopg that is no failure of the connection, and taken for
    one of the content it would have the batch taken apart and its rows looked at one by one, on a connection that is
    gone.
    """
    payments = _payments(database_url, 1)
    assert run(CrashOrder("receive", 0, environment, _rounds(*payments))).code == 0
    real = billing_attempts.lock_free
    alone: list[Any] = []

    def session_has_ended() -> bool:
        with psycopg.connect(database_url) as conn:
            found = conn.execute("select from pg_stat_activity where application_name = 'tether-frozen'")
            return found.rowcount == 0

    async def frozen(conn: Any, **named: Any) -> Any:
        until(session_has_ended, what="the end of the session")
        return await real(conn, **named)

    monkeypatch.setattr(apply, "_FREEZE_S", 0.05)
    monkeypatch.setattr(billing_attempts, "lock_free", frozen)
    monkeypatch.setattr(apply, "_apply_alone", lambda *_, **__: alone.append(1))
    async with open_pool(database_url, name="tether-frozen", max_size=1) as pool:
        with pytest.raises(ConnectionLost):
            await apply_batch(ApplyDeps(pool, ApplyPolicy(), lambda: datetime.now(UTC), random.random))
    assert not alone
    assert run(CrashOrder("apply", 0, environment)).code == 0
    outcome = await _outcome(database_url, payments)
    assert [row[3:] for row in outcome["inbox"]] == [("processed", "applied", 0)] * 3
