"""Which version of the return policy decides: one for all nodes, named by each decision, and none after it was replaced."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tether_core import events
from tether_core.emp.notification import FORM, decode
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.return_policies.policy import BUILT_IN, Rule, changed
from tether_core.testing import form_body
from tether_stores import return_policies
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import transaction
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.payments.returns import ReturnDeps, handle_returns

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tether_stores.postgres import Connection, Pool

    Make = Callable[..., Awaitable[int]]

# Money that is missing holds the account in place of another try; a refusal without a reason does nothing.
OTHER = changed(BUILT_IN, {"AM04": Rule("hold"), "MS02": Rule("none")}, version=1)


async def _add(conn: Connection) -> None:
    await return_policies.add(conn, OTHER, based_on=0, reason="tests", created_by="ada", now=NOON)


async def _switch(pool: Pool, version: int, *, before: int) -> None:
    async with transaction(pool) as conn:
        await return_policies.lock_to_switch(conn)
        await return_policies.switch(
            conn, version, version_before=before, dry_run_id=None, reason="tests", switched_by="ada", now=NOON
        )


async def _returned(pool: Pool, unique_id: str, code: str) -> None:
    body = form_body(
        {"unique_id": unique_id, "status": "chargebacked", "event": "chargeback", "reason_code": code},
        secret="x",
    )
    heard = decode(body, content_type=FORM)
    same = identify(heard, account="default")
    async with transaction(pool) as conn:
        row = Recording(
            same.key,
            same.content,
            "default",
            heard.kind,
            heard.id,
            heard.status,
            heard.event or "",
            FORM,
            body,
        )
        await webhook_events.record(conn, [row], now=NOON)


async def _rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query)).fetchall()


async def _until_someone_waits(conn: Connection) -> None:
    waiting = (
        "select from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    for _ in range(6_000):
        if await _rows(conn, waiting):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_each_decision_names_the_version_that_made_it(
    pool: Pool, conn: Connection, attempt: Make
) -> None:
    """In a year somebody asks why this debtor was blocked; the answer is a version, with its author and its reason."""
    deps = ApplyDeps(pool, ApplyPolicy(), lambda: NOON, lambda: 0.5)
    returns = ReturnDeps(pool, ApplyPolicy(), lambda: NOON)
    await _add(conn)
    for number, version in enumerate((0, 1)):
        for code in ("AM04", "MS02"):
            name = f"{code}-{number}"
            await attempt(name, unique_id=name, payment_stage=stages.APPROVED, at=NOON - timedelta(days=3))
            await _returned(pool, name, code)
        if version:
            await _switch(pool, version, before=0)
        assert await apply_batch(deps) == 2
        assert await handle_returns(returns) == 2
    entries = await _rows(
        conn,
        "select a.transaction_id, b.action, b.policy_version from blacklist b join billing_attempts a on a.id = b.attempt_id order by 1",
    )
    assert entries == [("AM04-1", "hold", 1), ("MS02-0", "hold", 0)]
    decided = await _rows(
        conn, "select transaction_id, retry_why, return_policy_version from billing_attempts order by 1"
    )
    assert decided == [
        ("AM04-0", "retry", 0),
        ("AM04-1", "listed", 1),
        ("MS02-0", "reason", 0),
        ("MS02-1", "reason", 1),
    ]
    facts = [
        events.decode(payload) for (payload,) in await _rows(conn, "select payload from outbox order by id")
    ]
    assert [fact.policy_version for fact in facts if isinstance(fact, events.IbanBlocked)] == [0, 1]


async def test_a_switch_waits_for_decisions_and_decisions_wait_for_a_switch(
    pool: Pool, conn: Connection, attempt: Make
) -> None:
    """Else one node blocks a debtor by the old version while another debits the next one by the new version."""
    await _add(conn)
    await attempt("t-1", unique_id="u-1", payment_stage=stages.APPROVED, at=NOON)
    await _returned(pool, "u-1", "AM04")
    async with transaction(pool, freeze_s=60) as deciding:
        assert (await return_policies.active_to_decide(deciding, built_in=BUILT_IN)).version == 0
        switching = asyncio.create_task(_switch(pool, 1, before=0))
        await _until_someone_waits(conn)
        assert not switching.done()
        assert (await return_policies.active(conn, built_in=BUILT_IN)).version == 0
    await switching
    assert (await return_policies.active(conn, built_in=BUILT_IN)) == OTHER

    async with transaction(pool, freeze_s=60) as back:
        await return_policies.lock_to_switch(back)
        await return_policies.switch(
            back, 0, version_before=1, dry_run_id=None, reason="tests", switched_by="ada", now=NOON
        )
        batch = asyncio.create_task(apply_batch(ApplyDeps(pool, ApplyPolicy(), lambda: NOON, lambda: 0.5)))
        await _until_someone_waits(conn)
        assert await _rows(conn, "select from webhook_events where state <> 'waiting'") == []
    assert await batch == 1
    # By version 0, which neither holds nor blocks: it was read after the switch.
    assert await _rows(conn, "select from blacklist") == []
