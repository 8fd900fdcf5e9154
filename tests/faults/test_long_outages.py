"""
A store that is away under load, and back: every program serves again within seconds, and none is started again.

A pool or a client that keeps callers who gave up fills up during an outage. With more of them than it has room for, it never
connects again, and only a restart helps; so each outage here lasts until far more than 200 callers came in vain.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_sandbox.gateway import Setup, encode, running, sign
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services import running as services_running
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import API_KEY, ENVIRONMENT, PASSWORD
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.gateway import Simulator
    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch

LOG = logging.getLogger(__name__)
CALLERS = 260
# TETHER_TEST_OUTAGE_S=300 makes the outages as long as the longest that was tried (docs/guides/faults.md).
AWAY_S = float(os.environ.get("TETHER_TEST_OUTAGE_S", "10"))
# Seconds are what is promised. This machine may have other things to do just then.
BACK_MAX_S = 90.0
QUEUES = ("webhooks", "default", "billing", "reconciliation", "vop")
KEY = {"authorization": f"Bearer {API_KEY}"}
SHEET = "Name;IBAN;Betrag\nAda Ahorn;{iban};10,50\n"


class World:
    """The stores, the programs, and what shows that each of them serves."""

    def __init__(self, stores: Services, simulator: Simulator, *, port: int, name: str) -> None:
        self.stores = stores
        self.simulator = simulator
        self.url = f"http://127.0.0.1:{port}"
        self.database_url = stores.environment["DATABASE_DIRECT_URL"]
        # The stores outlive a test: no test may bring the accounts, files and payments of another.
        self.name = name
        self.rng = random.Random(name)
        self.names = 0

    def value(self, query: str, *values: object) -> Any:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=30) as conn:
            row = conn.execute(query, values or None).fetchone()
        return None if row is None else row[0]

    def post(self, client: httpx.Client, path: str, **content: Any) -> httpx.Response | None:
        try:
            response = client.post(f"{self.url}{path}", **content)
        except httpx.TransportError:
            return None
        return response if response.status_code in {200, 202} else None

    def notification(self) -> tuple[str, bytes]:
        self.names += 1
        name = f"{self.name}-{self.names}"
        return name, encode(
            {"unique_id": name, "status": "approved", "signature": sign(name, password=PASSWORD)}
        )

    def owed(self) -> int:
        owed = [Owed(made_up_iban(self.rng), 1_000)]
        upload_id, _ = seed_upload(self.database_url, owed, now=datetime.now(UTC))
        return upload_id

    def work(self) -> dict[str, Callable[[], Any]]:
        """Give each program something to do now; gives what shows that it did it."""
        now = datetime.now(UTC)
        with httpx.Client(headers=KEY, timeout=30, trust_env=False) as client:
            name, body = self.notification()
            posted = {
                "content": body,
                "headers": {"content-type": FORM},
            }
            _repeated(lambda: self.post(client, "/api/webhooks/emp", **posted))
            sheet = SHEET.format(iban=made_up_iban(self.rng)).encode()
            file = {"file": ("list.csv", sheet)}
            upload_id = _repeated(lambda: self.post(client, "/api/uploads", files=file)).json()["id"]
        run_id = self.value(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'tests', %s, %s) returning id",
            self.owed(),
            b"{}",
            now,
            now,
        )
        # The worker wants lists of other days by itself; this one has been due for longer than any.
        day_on = (now - timedelta(days=400)).date()
        self.value(
            "insert into report_fetches as p (account, list, day_on, wanted_at, due_at)"
            " values ('default', 'transactions', %s, %s, %s) on conflict (account, list, day_on)"
            " do update set due_at = excluded.due_at, read_at = null, failures = 0 returning 1",
            day_on,
            now,
            now - timedelta(days=400),
        )
        debtor_id = self.value(
            "insert into vop_checks (debtor_id, state, next_at, requested_at)"
            " select id, 'waiting', %s, %s from debtors where upload_id = %s returning debtor_id",
            now,
            now,
            self.owed(),
        )
        return {
            "webhooks": lambda: self.value(
                # Nobody knows the payment: it was read, and waits for it with a reason.
                "select reason from webhook_events where notification_id = %s",
                name,
            ),
            "default": lambda: self.value(
                "select 1 from uploads where id = %s and state = 'completed'", upload_id
            ),
            "billing": lambda: self.value(
                "select 1 from billing_attempts where run_id = %s and unique_id is not null", run_id
            ),
            "reconciliation": lambda: self.value(
                "select read_at from report_fetches where day_on = %s", day_on
            ),
            "vop": lambda: self.value(
                "select 1 from vop_checks where debtor_id = %s and state = 'checked'", debtor_id
            ),
        }


def _repeated(fact: Callable[[], Any], *, timeout_s: float = 120.0) -> Any:
    end_s = monotonic() + timeout_s
    while not (found := fact()):
        assert monotonic() < end_s
    return found


@pytest.fixture(scope="module")
def stores() -> Iterator[Services]:
    """Stores of this module's own, which it may stop; objects behind an S3 endpoint."""
    with services_running({}, s3=True) as started:
        migrate(started.environment["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        yield started


@pytest.mark.parametrize("store", ["postgres", "redis", "objects"])
def test_every_program_serves_again_after_an_outage_under_load(
    store: str,
    stores: Services,
    process: Launch,
    until: Callable[..., Any],
) -> None:
    """Ten minutes of maintenance at night must not become a morning without webhooks, billing or files."""
    port = free_port()
    setup = Setup(
        login=ENVIRONMENT["EMP_API_LOGIN"],
        passwords=(PASSWORD,),
        terminals=(ENVIRONMENT["EMP_TERMINAL_TOKEN"],),
        result_after_s=3600,
    )
    with running(setup) as simulator:
        environ = {
            **ENVIRONMENT,
            **stores.environment,
            "EMP_API_URL": simulator.url,
            "EMP_CONFIRM": "off",
            "TETHER_COMMIT_DEADLINE": "2",
        }
        web = process("tether-web", "--port", str(port), environ=environ)
        workers = {queue: process("tether-worker", "run", queue, environ=environ) for queue in QUEUES}
        web.await_url(f"http://127.0.0.1:{port}/ready")
        for worker in workers.values():
            worker.await_line("worker started")
        world = World(stores, simulator, port=port, name=store)
        for queue, done in world.work().items():
            until(done, what=f"{queue} to work before the outage")

        server = getattr(stores, store)
        server.stop()
        answers = asyncio.run(_called(world, for_s=AWAY_S))
        server.start()
        began = monotonic()

        assert answers > CALLERS
        done_by = world.work()
        back_s = {"web": monotonic() - began}
        for queue, done in done_by.items():
            until(done, what=f"{queue} to work again", timeout_s=BACK_MAX_S)
            back_s[queue] = monotonic() - began
        LOG.info("%s: back after %s", store, {name: round(took_s, 1) for name, took_s in back_s.items()})
        assert max(back_s.values()) < BACK_MAX_S, back_s
        assert [program.returncode for program in (web, *workers.values())] == [None] * 6


async def _called(world: World, *, for_s: float) -> int:
    """Call the web node from many connections, and give work to every queue; gives how many calls were answered."""
    end_s = monotonic() + for_s
    limits = httpx.Limits(max_connections=CALLERS)
    answers = 0

    async with httpx.AsyncClient(
        base_url=world.url, headers=KEY, timeout=60, limits=limits, trust_env=False
    ) as client:

        async def call(number: int) -> None:
            nonlocal answers
            # On a busy machine until each had its chance.
            while monotonic() < end_s or (answers <= CALLERS and monotonic() < end_s + 60):
                if number % 2 == 0:
                    inquiry_deps = client.get("/api/billing-attempts")
                elif number % 65:
                    _, body = world.notification()
                    inquiry_deps = client.post(
                        "/api/webhooks/emp", content=body, headers={"content-type": FORM}
                    )
                else:
                    sheet = SHEET.format(iban=made_up_iban(world.rng)).encode()
                    inquiry_deps = client.post("/api/uploads", files={"file": ("list.csv", sheet)})
                try:
                    response = await inquiry_deps
                except httpx.TransportError:
                    continue
                answers += response.status_code < 600
                await asyncio.sleep(0.5)

        await asyncio.gather(*map(call, range(CALLERS)))
    return answers
