"""A worker is killed in the middle of a bulk order: each row is done once, and each is in the result."""

from __future__ import annotations

import os
import random
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from tether_sandbox.seed import seed
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import until

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch

ROWS = 1_200


def test_a_worker_killed_in_a_bulk_order_doubles_and_skips_no_row(
    environment: dict[str, str], database_url: str, process: Launch
) -> None:
    """
    A row twice is somebody paid back twice; a row less is one that a person believes done.

    The order is sent twice, as by a client that lost the response.
    """
    environ = environment | {"EMP_API_URL": "http://127.0.0.1:9"}
    list(seed(database_url, attempts=ROWS, rng=random.Random(3), now=datetime.now(UTC)))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update billing_attempts set state = 'approved', payment_stage = 60, submission_count = 1, submitted_at = now(),"
            " created_at = now()"
        )

        def ask(query: str) -> Any:
            row = conn.execute(query.encode()).fetchone()
            assert row is not None
            return row[0]

        port = free_port()
        web = process("tether-web", "--port", str(port), environ=environ)
        web.await_url(f"http://127.0.0.1:{port}/ready")
        body = {"action": "void", "filters": {"status": "approved"}, "reason": "the wrong file"}
        headers = {"authorization": "Bearer test-key", "idempotency-key": "one"}
        for _ in range(2):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/api/bulk-orders", json=body, headers=headers, timeout=60
            )
            assert answer.status_code == 202, answer.text
        assert ask("select count(*) from bulk_orders") == 1

        killed = 0
        while ask("select state from bulk_orders") == "working":
            before = ask("select count(*) from bulk_order_items")
            worker = process("tether-worker", "run", "billing", environ=environ)

            def went_on(before: int = before) -> bool:
                ended: bool = ask("select state from bulk_orders") != "working"
                return ended or ask("select count(*) from bulk_order_items") > before

            until(went_on, timeout_s=120, what="the next rows")
            os.kill(worker.pid, signal.SIGKILL)
            killed += 1
        assert killed > 1
        assert ask("select count(*) from bulk_order_items where refused is null") == ROWS
        assert ask("select count(*) from refunds where kind = 'void'") == ROWS
        assert ask("select count(distinct attempt_id) from refunds") == ROWS
        assert ask("select count(*) from audit where action = 'void.ordered'") == ROWS
