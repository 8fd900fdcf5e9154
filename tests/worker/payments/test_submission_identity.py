"""Submissions that only one gateway identity can resolve, and clocks that were set: what people are shown of them."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tether_core.clock_steps import ClockStep
from tether_core.events import ClockStepped, decode
from tether_core.payments import stages
from tether_core.payments.gateway_identity import identity
from tether_stores.accounts import gateway_accounts, gateway_identities
from tether_stores.accounts.gateway_identities import OpenCalls
from tether_stores.settings import Settings
from tether_worker.payments.submission_identity import announce_steps, check_identities
from tether_worker.status import show, status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from tether_stores.postgres import Connection, Pool

NOW = datetime.now(UTC)
URL = "https://gate.example.net"
OLD = identity(URL, login="merchant", terminal="terminal-old")


def _settings(environment: dict[str, str], *terminals: str) -> Settings:
    return Settings.from_env({**environment, "EMP_API_URL": URL, "EMP_TERMINAL_TOKEN": ",".join(terminals)})


async def _lost(conn: Connection, attempt: Callable[..., Awaitable[int]]) -> int:
    """A debit that went to a terminal that is not configured any more."""
    await gateway_identities.record(conn, OLD, account="default", now=NOW)
    return await attempt(
        "t-1",
        payment_stage=stages.UNKNOWN_TO_US,
        submitted_at=NOW,
        submission_count=1,
        submitted_to=[OLD.key],
        unresolved_reason="not_found_elsewhere",
        inquire_at=NOW + timedelta(hours=20),
    )


async def test_a_worker_warns_of_open_calls_that_it_cannot_ask_about(
    environment: dict[str, str],
    conn: Connection,
    pool: Pool,
    attempt: Callable[..., Awaitable[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody would know that the old terminal is still needed, and its debits would be unknown for ever."""
    await _lost(conn, attempt)
    periodic_task = check_identities(pool, settings=_settings(environment, "terminal-new"), clock=lambda: NOW)
    for _ in range(12):
        await periodic_task.do()
    output = capsys.readouterr()
    assert (output.out + output.err).count("is not configured any more") == 1
    assert OLD.name in output.out + output.err
    assert "terminal-old" not in output.out + output.err
    row = await (await conn.execute("select inquire_at, unresolved_reason from billing_attempts")).fetchone()
    assert row == (NOW + timedelta(hours=20), "not_found_elsewhere")


async def test_a_debit_is_inquired_at_once_when_its_terminal_is_configured_again(
    environment: dict[str, str], conn: Connection, pool: Pool, attempt: Callable[..., Awaitable[int]]
) -> None:
    """An operator who follows the warning would see the result only after a day."""
    await _lost(conn, attempt)
    settings = _settings(environment, "terminal-new", "terminal-old")
    await check_identities(pool, settings=settings, clock=lambda: NOW).do()
    row = await (await conn.execute("select inquire_at, unresolved_reason from billing_attempts")).fetchone()
    assert row == (NOW, None)


async def test_status_shows_what_cannot_be_resolved_and_why(
    environment: dict[str, str],
    conn: Connection,
    attempt: Callable[..., Awaitable[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A debit that is neither collected nor free, and that nobody sees, is money that nobody misses."""
    debit = await _lost(conn, attempt)
    await attempt("t-2", payment_stage=stages.UNKNOWN_TO_US, submitted_at=NOW, submission_count=1)
    result = await status(_settings(environment, "terminal-new"))
    assert [(item.kind, item.id, item.submitted_to) for item in result.unresolved] == [
        ("debit", debit, (OLD.name,))
    ]
    assert any(OLD.name in warning for warning in result.warnings)
    show(result)
    assert "unresolved debit" in capsys.readouterr().out
    result = await status(_settings(environment, "terminal-new", "terminal-old"))
    assert not any(OLD.name in warning for warning in result.warnings)


async def test_an_account_that_is_gone_is_missed(
    environment: dict[str, str], conn: Connection, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Its debits live on at the gateway, and nobody asks about them."""
    attempt_id = await attempt("t-3", submitted_at=NOW, submission_count=1, submitted_to=[OLD.key])
    await conn.execute("update billing_attempts set account = 'second' where id = %s", [attempt_id])
    result = await status(_settings(environment, "terminal-old"))
    assert any("gateway account second is not configured" in warning for warning in result.warnings)


async def test_what_only_one_identity_has_is_counted_for_that_alone(
    conn: Connection, attempt: Callable[..., Awaitable[int]], environment: dict[str, str]
) -> None:
    """A number that includes what is configured sends people to look for debits that wait for nothing."""
    new = identity(URL, login="merchant", terminal="terminal-new")
    places = ([OLD.key], [new.key], [OLD.key, new.key], ["*"], None)
    for number, submitted_to in enumerate(places * 2):
        await attempt(
            f"t-{number}",
            payment_stage=stages.UNKNOWN_TO_US,
            submitted_at=NOW - timedelta(hours=number),
            submission_count=1,
            submitted_to=submitted_to,
        )
    settings = _settings(environment, "terminal-new")
    accounts = list((await gateway_accounts.all_accounts(conn, settings=settings)).values())
    gone = OpenCalls("default", OLD.key, None, 4, NOW - timedelta(hours=7))
    assert await gateway_identities.open_calls(conn, accounts=accounts) == [gone]
    await conn.execute("update billing_attempts set payment_stage = 60")
    assert await gateway_identities.open_calls(conn, accounts=accounts) == []


async def test_a_step_is_announced_once(conn: Connection, pool: Pool) -> None:
    """An event is what wakes people; twice for one step, they look for a second cause."""
    steps = deque([ClockStep("postgres", 1_200.0)])
    periodic_task = announce_steps(pool, steps, clock=lambda: NOW)
    await periodic_task.do()
    await periodic_task.do()
    payloads = await (await conn.execute("select payload from outbox")).fetchall()
    assert [decode(bytes(payload)) for (payload,) in payloads] == [ClockStepped("postgres", 1_200_000)]


async def test_what_is_configured_is_remembered_for_a_lost_history(
    environment: dict[str, str], conn: Connection, pool: Pool
) -> None:
    """A restored database knows its terminals by these days alone; the configuration of that time is gone."""
    await check_identities(pool, settings=_settings(environment, "terminal-old"), clock=lambda: NOW).do()
    later = NOW + timedelta(days=2)
    await check_identities(pool, settings=_settings(environment, "terminal-new"), clock=lambda: later).do()
    new = identity(URL, login="merchant", terminal="terminal-new")
    both = await gateway_identities.recent(conn, ["default"], since=NOW.date())
    assert both == {"default": {OLD.key, new.key}}
    assert await gateway_identities.recent(conn, ["default"], since=later.date()) == {"default": {new.key}}
    assert await gateway_identities.recent(conn, ["second"], since=NOW.date()) == {}
