"""How things stand, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core.billing.run_options import RunOptions
from tether_core.errors import StoreUnreachable
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.limits import Limiter
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import open_pool
from tether_stores.reconciliation.differences import OpenLines
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_worker.__main__ import main
from tether_worker.billing.runs import plan_chunk
from tether_worker.status import Status, show, status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection


async def test_the_numbers_are_those_of_the_tables(
    environment: dict[str, str], conn: Connection, attempt: Callable[..., Awaitable[int]]
) -> None:
    """An operator decides by these at night; a state that is excluded is one nobody looks at."""
    await attempt("t-1", payment_stage=60)
    await attempt("t-2")
    ago = datetime.now(UTC) - timedelta(seconds=40)
    for n in range(4):
        row = Recording(b"%016d" % n, b"c" * 16, "default", "payment", f"u-{n}", "", "", "text/plain", b"")
        await webhook_events.record(conn, [row], now=ago)
    await conn.execute("update webhook_events set state = 'parked', next_at = null where id = 2")
    await conn.execute("update webhook_events set state = 'processed', next_at = null where id = 3")
    await conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage,"
        " state, payment_stage, ordered_by, created_at, updated_at)"
        " values (1, 'refund', 1, 'default', 'r-1', 1000, 'EUR', 'x', 'unknown', 10, 'tests', %s, %s)",
        [ago, ago],
    )
    settings = await status(Settings.from_env(environment))
    assert 40 <= settings.oldest_age_s < 100
    assert msgspec.structs.replace(settings, oldest_age_s=0) == Status(
        waiting=2,
        oldest_age_s=0,
        deferred=0,
        confirming=0,
        processed=1,
        parked=1,
        conflicting=0,
        attempts={"approved": 1, "pending": 1},
        refunds={"unknown": 1},
        queues=settings.queues,
        warnings=settings.warnings,  # such as that the Postgres of the tests does not wait for the disk
    )
    assert {item.name: item.rows for item in settings.queues}["webhooks"] == 2


def test_people_see_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is only in the JSON is one nobody sees."""
    result = Status(
        101, 102.5, 103, 104, 105, 106, 107, {"approved": 108}, 110, 111, 112, refunds={"unknown": 109}
    )
    show(result)
    excerpt = capsys.readouterr().out
    numbers = (101, 102.5, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112)
    assert [number for number in numbers if str(number) not in excerpt] == []


def test_programs_get_json(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitoring reads these names; a renamed one is an alarm that never rings."""
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert main(["status", "--json"]) == 0
    notification = msgspec.json.decode(capsys.readouterr().out)
    assert set(notification) == {
        "waiting",
        "oldest_age_s",
        "deferred",
        "confirming",
        "processed",
        "parked",
        "conflicting",
        "inquired_again",
        "contradicted",
        "excess_deliveries",
        "attempts",
        "ready",
        "submitting",
        "runs",
        "refunds",
        "gateways",
        "database_epoch",
        "warnings",
        "unresolved",
        "fingerprint_key",
        "differences",
        "queues",
        "supervisors",
        "workers",
    }


def test_programs_get_nothing_but_json_while_redis_is_unavailable(
    process: Launch, environment: dict[str, str]
) -> None:
    """A warning on the same output would break its parser, just when a store is unavailable."""
    program = process(
        "tether-worker", "status", "--json", environ=environment | {"REDIS_URL": "redis://127.0.0.1:1"}
    )
    assert program.wait(timeout_s=120) == 0
    assert msgspec.json.decode(program.stdout)["waiting"] == 0


async def test_runs_and_gateways_are_shown(
    environment: dict[str, str], database_url: str, conn: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that waits for a person, or a gateway that is left alone, is why no money comes in."""
    now = datetime.now(UTC)
    upload_id, _ = seed_upload(database_url, [Owed("DE89370400440532013000", 1000)], now=now)
    settings = Settings.from_env(environment | {"EMP_API_URL": "http://127.0.0.1:9"})
    await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=now
    )
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        await plan_chunk(pool, now=now)
    await conn.execute(
        "update billing_runs set state = 'paused', pause_reason = 'Look!', paused_from = 'running'"
    )
    async with open_redis(settings.redis_url, name="tests", timeout_s=20) as cache:
        limiter = Limiter(cache)
        permit = await limiter.admit("default")
        await limiter.report("default", permit, failed=[True] * 20)
    result = await status(settings)
    assert (result.ready, result.submitting) == (1, 0)
    assert [(run.state, run.note) for run in result.runs] == [("paused", "Look!")]
    assert [(gateway.account, gateway.breaker) for gateway in result.gateways] == [("default", "open")]
    show(result)
    excerpt = capsys.readouterr().out
    assert "Look!" in excerpt
    assert "breaker open" in excerpt


async def test_an_unreachable_database_is_reported(environment: dict[str, str]) -> None:
    """Zeros for an outage would look like a quiet night."""
    with pytest.raises(StoreUnreachable):
        await status(Settings.from_env(environment | {"DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}))


async def test_books_that_differ_are_counted_with_their_money(
    environment: dict[str, str],
    conn: Connection,
    attempt: Callable[..., Awaitable[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status is what people look at first; money that went the wrong way must not wait for somebody to ask for another list."""
    for number in range(3):
        await attempt(f"t-{number}", unique_id=f"u-{number}", payment_stage=60)
    now = datetime.now(UTC)
    lines = [("amount_differs", 1, "250"), ("amount_differs", 1, "300"), ("amount_differs", 2, "250")]
    lines += [("returned_twice", 3, "")]
    await conn.cursor().executemany(
        "insert into reconciliation_differences (kind, attempt_id, subject, ours, theirs, holds_refunds, first_seen_at, last_seen_at)"
        f" values (%s, %s, %s, 'a', 'b', false, '{now}', '{now}')",
        lines,
    )
    await conn.execute(
        "update reconciliation_differences set acknowledged_at = now(), acknowledged_by = 'ada', acknowledged_reason = 'x'"
        " where kind = 'returned_twice'"
    )
    settings = await status(Settings.from_env(environment))
    ((amount,),) = await (
        await conn.execute("select sum(amount_minor)::bigint from billing_attempts where id in (1, 2)")
    ).fetchall()
    assert settings.differences == [OpenLines("amount_differs", "EUR", 3, amount)]
    show(settings)
    assert "difference amount_differs" in capsys.readouterr().out
