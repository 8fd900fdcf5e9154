"""`tether-worker refusals release`: the same release as by API, from a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from tether_core.billing.run_options import RunOptions
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection


async def test_refusals_are_released_from_a_terminal(
    process: Launch, environment: dict[str, str], database_url: str, conn: Connection
) -> None:
    """At night there is a terminal and no key of the API; the run must say who let it go on all the same."""
    now = datetime.now(UTC)
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=now)
    run_id = await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=now
    )
    await conn.execute(
        "insert into billing_run_counts (run_id, answered, refused) values (%s, 30, 25)", (run_id,)
    )

    def release(upload: int, *more: str) -> tuple[int, str]:
        command = ("tether-worker", "refusals", "release", str(upload), *more)
        program = process(*command, environ=environment)
        return program.wait(), program.stdout + program.stderr

    code, text = release(upload_id, "--by", "Zoë", "--reason", "The terminal was wrong")
    assert (code, f"run {run_id}: 25 of 30" in text) == (0, True), text
    with psycopg.connect(database_url) as books:
        row = books.execute(
            "select released_refused, released_by, released_reason from billing_run_counts"
        ).fetchone()
    assert row == (25, "Zoë", "The terminal was wrong")
    assert release(upload_id, "--by", "Zoë", "--reason", " ")[0] == 2
    assert release(upload_id + 1, "--by", "Zoë", "--reason", "x")[0] == 2
