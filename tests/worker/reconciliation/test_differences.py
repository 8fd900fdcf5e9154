"""Books that differ, on this test's own database: what notifications, reports and the review find, and how lines end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.emp.notification import FORM, decode
from tether_core.emp.responses import read_answer
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.reconciliation.report_records import from_answer
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_core.stated_outcomes import statement
from tether_stores import holds, stated_outcomes
from tether_stores.holds import HeldAccount
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import connection, transaction
from tether_stores.reconciliation import differences
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.reconciliation.differences import (
    compare_refunds,
    compare_report,
    review,
    review_all,
    reviewing,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tether_core.emp.responses import GatewayAnswer
    from tether_core.notifications.confirmation import Confirm
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool

    Make = Callable[..., Awaitable[int]]

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


class World:
    """One test's database and its time."""

    def __init__(self, conn: Connection, pool: Pool, attempt: Make) -> None:
        self.conn, self.pool, self.attempt = conn, pool, attempt
        self.now = NOW
        self.applying = ApplyDeps(pool, ApplyPolicy(), lambda: self.now, lambda: 0.5)

    async def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await (await self.conn.execute(query, values)).fetchall()

    async def post(self, unique_id: str, **fields: str) -> None:
        """Record a notification and process it."""
        form = "&".join(f"{name}={value}" for name, value in {"unique_id": unique_id, **fields}.items())
        body = f"{form}&signature=ab".encode()
        notification = decode(body, content_type=FORM)
        identity = identify(notification, account="default")
        row = Recording(
            identity.key,
            identity.content,
            "default",
            notification.kind,
            notification.id,
            notification.status,
            notification.event or "",
            FORM,
            body,
        )
        async with connection(self.pool) as conn:
            await webhook_events.record(conn, [row], now=self.now)
        assert await apply_batch(self.applying) == 1

    async def report(self, *answers: GatewayAnswer) -> None:
        """Take the gateway's own records in."""
        records = [from_answer(answer, account="default") for answer in answers]
        async with transaction(self.pool) as conn:
            await compare_report(conn, [record for record in records if record is not None], now=self.now)
            await compare_refunds(
                conn, [answer for answer in answers if answer.transaction_type == "sdd_refund"], now=self.now
            )

    async def review(self, *ids: int) -> None:
        async with transaction(self.pool) as conn:
            await review(conn, ids, now=self.now)

    async def look(self) -> None:
        """What the periodic task does, twice: the first time it learns where the outbox ends."""
        for task in reviewing(self.pool, clock=lambda: self.now, hours=8):
            await task.do()

    async def lines(self, status: str = "open") -> list[tuple[Any, ...]]:
        """Kind, debit and state of the lines, oldest first."""
        found = await differences.listed(self.conn, limit=100, open_only=status == "open")
        return [(line.kind, line.attempt_id, line.state) for line in reversed(found)]


@pytest.fixture
def world(conn: Connection, pool: Pool, attempt: Make) -> World:
    """A database without debits."""
    return World(conn, pool, attempt)


def _answer(unique_id: str, status: str, **fields: str) -> GatewayAnswer:
    parts = {"transaction_type": "sdd_sale", "status": status, "unique_id": unique_id, **fields}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
    return read_answer(f"<payment_response>{inner}</payment_response>".encode())


async def _names(world: World) -> list[str]:
    return [name for (name,) in await world.all("select name from outbox order by id")]


async def test_a_debit_that_fails_after_it_was_approved(world: World) -> None:
    """The gateway says declined, our records say approved, and no person would see it."""
    debit = await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    await world.post("a1", status="declined", error_code="500")
    assert await world.lines() == [("state_differs", debit, "open")]
    assert await _names(world) == ["difference.opened"]
    await world.post("a1", status="declined", chargeback_unique_id="x", amount="1000")
    assert len(await world.lines()) == 1  # reported again, seen again
    await world.report(_answer("a1", "approved"))
    assert await world.lines("all") == [("state_differs", debit, "resolved")]
    assert await _names(world) == ["difference.opened", "difference.closed"]


async def test_a_report_finds_what_no_notification_reported(world: World) -> None:
    """Notifications are lost; the month of reports shows the gateway's present state."""
    failed = await world.attempt(
        "t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW - timedelta(days=2)
    )
    voided = await world.attempt(
        "t-2", unique_id="a2", payment_stage=stages.VOIDED, at=NOW - timedelta(days=2)
    )
    fresh = await world.attempt("t-3", unique_id="a3", payment_stage=stages.VOIDED, at=NOW)
    again = await world.attempt(
        "t-4", unique_id="a4", payment_stage=60, dispute_stage=2, at=NOW - timedelta(days=2)
    )
    records = [
        _answer("a1", "error", code="501"),
        _answer("a2", "approved"),
        _answer("a3", "approved"),
        _answer("a4", "chargebacked"),
        _answer("zz", "approved"),
    ]
    await world.report(*records)
    await world.report(*records)
    assert await world.lines() == [
        ("state_differs", failed, "open"),
        ("state_differs", voided, "open"),
        ("charged_back_again", again, "open"),
    ]
    world.now += timedelta(hours=2)
    await world.report(_answer("a3", "approved"))
    assert ("state_differs", fresh, "open") in await world.lines()
    await world.report(_answer("a1", "declined"))  # another state is another line
    rows = await world.all(
        "select theirs, resolved_at is null from reconciliation_differences where attempt_id = %s", failed
    )
    assert rows == [("error", False), ("declined", True)]


async def test_a_second_dispute_after_one_that_was_won_back(world: World) -> None:
    """It takes the money once more, and the furthest stage alone would call it old news."""
    debit = await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    back = {"status": "chargebacked", "event": "chargeback", "reason_code": "MD06"}
    await world.post("a1", **back, chargeback_unique_id="d1")
    await world.post(
        "a1", status="chargeback_reversed", event="chargeback_reversal", chargeback_unique_id="d1"
    )
    assert await world.lines() == []
    await world.post("a1", **back, chargeback_unique_id="d2")
    assert await world.lines() == [("charged_back_again", debit, "open")]
    await world.post("a1", **back, chargeback_unique_id="d3")
    assert len(await world.lines()) == 2  # each dispute by its own id


async def test_other_amounts_and_currencies_are_lines_and_bounded(world: World) -> None:
    """Otherwise a part counts as the whole without a difference; and a sender of varying amounts must not fill the list."""
    debit = await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    await world.post("a1", status="approved", amount="1000", currency="JPY")
    assert await world.lines() == [("amount_differs", debit, "open")]
    for amount in range(1, 12):
        await world.post("a1", status="approved", amount=str(amount), chargeback_unique_id=str(amount))
    assert len(await world.lines()) == 5
    await world.report(_answer("a1", "approved", amount="999", currency="EUR"))
    assert len(await world.lines()) == 5


async def test_one_due_item_collected_twice(world: World) -> None:
    """Nobody can prevent it; it must be seen, and end when one of the two is refunded."""
    first = await world.attempt("t-1", payment_stage=stages.APPROVED, due_item="2026-03", try_number=1)
    second = await world.attempt("t-2", payment_stage=stages.APPROVED, due_item="2026-03", try_number=2)
    other = await world.attempt("t-3", payment_stage=stages.APPROVED, due_item="2026-04", try_number=1)
    debtor = (await world.all("select debtor_id from billing_attempts where id = %s", first))[0][0]
    await world.conn.execute("update billing_attempts set debtor_id = %s", [debtor])
    await world.review(first)  # whichever of the two changed
    assert await world.lines() == [("collected_twice", second, "open")]
    await world.review(first, second, other)
    assert len(await world.lines()) == 1
    await world.conn.execute(
        "update billing_attempts set state = 'refunded', payment_stage = 80 where id = %s", [first]
    )
    await world.review(first)
    assert await world.lines("all") == [("collected_twice", second, "resolved")]


async def test_an_imported_debit_has_collected_the_same(world: World) -> None:
    """Another system collected it, and its row is another debtor's: the account and the reference say that it is the same."""
    ids = [await world.attempt(f"t-{n}", payment_stage=stages.APPROVED) for n in range(3)]
    await world.conn.execute(
        "update billing_attempts set iban_fingerprint = (select min(iban_fingerprint) from billing_attempts)"
    )
    await world.conn.execute(
        "update debtors set reference = case when id = %s then 'R-2' else 'R-1' end", [ids[2]]
    )
    debtors = dict(await world.all("select id, debtor_id from billing_attempts"))
    await world.conn.execute(
        "update debtors set reference = case when id = %s then 'R-2' else 'R-1' end", [debtors[ids[2]]]
    )
    assert await review_all(world.pool, now=NOW, limit=2) == 2  # imports announce nothing: the walk finds it
    assert await world.lines() == [("collected_twice", ids[1], "open")]
    assert await review_all(world.pool, now=NOW, limit=2) == 1
    assert await review_all(world.pool, now=NOW, limit=2) == 0  # and begins again
    assert await review_all(world.pool, now=NOW, limit=2) == 2


async def _of_one_account(world: World, *rows: dict[str, Any]) -> list[int]:
    """Collected debits of one account, each of a row of its own."""
    ids = []
    for number, row in enumerate(rows):
        values = {"due_item": "once", "reference": None, "at": NOW, "taken_at": None} | row
        ids.append(
            await world.attempt(
                f"t-{number}",
                unique_id=f"a{number}",
                payment_stage=stages.APPROVED,
                due_item=values["due_item"],
                try_number=1,
                at=values["at"],
            )
        )
        await world.conn.execute(
            "update debtors set reference = %s, taken_at = %s"
            " where id = (select debtor_id from billing_attempts where id = %s)",
            (values["reference"], values["taken_at"], ids[-1]),
        )
    await world.conn.execute(
        "update billing_attempts set iban_fingerprint = (select min(iban_fingerprint) from billing_attempts)"
    )
    return ids


async def test_one_due_item_in_two_spellings_is_collected_twice(world: World) -> None:
    """The first debit was thought to have failed; the corrected list wrote reference and item in another way."""
    ids = await _of_one_account(
        world,
        {"due_item": "2026-03", "reference": "RE-007"},
        {"due_item": "2026-3", "reference": "re 7"},
        {"due_item": "2026-04", "reference": "RE-007"},
        {"due_item": "2026-03", "reference": "RE-008"},
    )
    await world.review(ids[1])
    assert await world.lines() == [("collected_twice", ids[1], "open")]
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert line.other_attempt_id == ids[0]


async def test_what_a_person_took_for_two_debts_is_no_line(world: World) -> None:
    """A monthly list with numbers of members would open a line for each member each month."""
    first = NOW - timedelta(days=30)
    ids = await _of_one_account(
        world,
        {"reference": "member 7", "at": first},
        {"reference": "member 7", "taken_at": NOW - timedelta(hours=1)},
    )
    await world.review(*ids)
    assert await world.lines() == []
    await world.conn.execute("update debtors set taken_at = null")
    await world.review(*ids)
    assert await world.lines() == [("collected_twice", ids[1], "open")]


async def test_the_walk_keeps_to_its_hours(world: World) -> None:
    """At a fixed pace ten million debits took a day and a half, and what was imported was collected twice meanwhile."""
    await world.attempt("t-1", payment_stage=stages.APPROVED)
    await world.conn.execute(
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
        " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at)"
        " select account, debtor_id, 'copy-' || n, amount_minor, currency, 'declined', 50, 0, iban_fingerprint, iban_masked,"
        " created_at, updated_at from billing_attempts, generate_series(1, 8000) as n"
    )
    ((newest,),) = await world.all("select max(id) from billing_attempts")
    _, walk = reviewing(world.pool, clock=lambda: NOW, hours=newest / 6_000 / 60)
    position = "select position from reconciliation_reviews where name = 'all debits'"
    await walk.do()
    assert await world.all(position) == await world.all(
        "select id from billing_attempts order by id offset 5999 limit 1"
    )
    await walk.do()  # the other two thousand
    assert await world.all(position) == [(newest,)]


async def test_the_review_follows_what_was_announced(world: World) -> None:
    """Two debits that are approved in two transactions at once see each other in neither."""
    await world.look()  # where it begins
    first = await world.attempt("t-1", unique_id="a1", due_item="once", try_number=1)
    second = await world.attempt("t-2", unique_id="a2", due_item="once", try_number=2)
    await world.conn.execute(
        "update billing_attempts set debtor_id = (select min(debtor_id) from billing_attempts)"
    )
    await asyncio.gather(world.post("a1", status="approved"))
    await world.post("a2", status="approved")
    await world.look()
    assert await world.lines() == [("collected_twice", max(first, second), "open")]


async def test_a_debit_beyond_the_last_inquiry_is_shown_and_its_run_warns(world: World) -> None:
    """Its run was finished in silence, and nobody would look again."""
    at = NOW - timedelta(days=16)
    (upload,) = (
        await world.all(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " values ('k', 'f', 1, 'x', 'completed', now(), now()) returning id"
        )
    )[0]
    (run,) = (
        await world.all(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at,"
            " finished_at) values (%s, 'default', 'once', 'finished', '{}', '{}', 't', now(), now(), now()) returning id",
            upload,
        )
    )[0]
    debit = await world.attempt(
        "t-1", unique_id="a1", payment_stage=20, inquiry_count=TRIES_MAX, at=at, run_id=run
    )
    await world.attempt(
        "t-2", unique_id="a2", payment_stage=20, inquiry_count=TRIES_MAX - 1, at=at, run_id=run
    )
    await world.look()
    assert await world.lines() == [("pending_too_long", debit, "open")]
    ((warning,),) = await world.all("select warning from billing_runs")
    assert warning.startswith("1 debit of this run is still open")
    await world.post("a1", status="approved")
    await world.look()
    assert await world.lines("all") == [("pending_too_long", debit, "resolved")]
    assert await world.all("select warning from billing_runs") == [(None,)]


async def test_the_index_of_open_debits_counts_as_the_core_does() -> None:
    """A longer schedule in the core would have the index hold debits that are still inquired about."""
    assert TRIES_MAX == 10


async def _refunded(world: World) -> tuple[int, int]:
    debit = await world.attempt(
        "t-1", unique_id="a1", payment_stage=stages.REFUNDED, at=NOW - timedelta(days=30)
    )
    ((refund,),) = await world.all(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage,"
        " state, payment_stage, ordered_by, created_at, updated_at, submission_count, submitted_at) values (%s, 'refund', 1, 'default', 'r-1',"
        " 'b1', 1000, 'EUR', 'x', 'approved', 60, 't', now(), now(), 1, now()) returning id",
        debit,
    )
    return debit, refund


@pytest.mark.parametrize("way", ["notification", "report"])
async def test_a_refund_that_fails_after_it_was_approved(world: World, way: str) -> None:
    """The debtor never gets the money; after a look it may be ordered again, with a reason, once."""
    debit, refund = await _refunded(world)
    if way == "notification":
        await world.post("b1", status="declined", transaction_type="sdd_refund")
    else:
        await world.report(_answer("b1", "declined", transaction_type="sdd_refund"))
    assert await world.lines() == [("refund_failed_later", debit, "open")]
    assert await differences.holding(world.conn, [debit]) == {debit: "refund_failed_later"}
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert line.refund_id == refund
    async with transaction(world.pool) as conn:
        done = await differences.acknowledge(
            conn, line.id, by="ada", reason="Not in the bank's list", order_again=True, now=NOW
        )
    assert done is not None
    assert (done.state, done.acknowledged_by) == ("acknowledged", "ada")
    assert await world.all("select state from refunds") == [("declined",)]
    assert await world.all("select state from billing_attempts") == [("approved",)]
    assert await differences.holding(world.conn, [debit]) == {}
    with pytest.raises(IllegalStep):
        async with transaction(world.pool) as conn:
            await differences.acknowledge(conn, line.id, by="ada", reason="again", order_again=False, now=NOW)


async def test_a_debit_is_not_refundable_again_while_another_refund_returned_its_money(world: World) -> None:
    """Of two refunds one failed later; ordered again, a third one pays what the other has paid."""
    debit, refund = await _refunded(world)
    await world.conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage, state,"
        " payment_stage, ordered_by, created_at, updated_at, submission_count, submitted_at) values (%s, 'refund', 2, 'default', 'r-2',"
        " 'b2', 1000, 'EUR', 'x', 'approved', 60, 't', now(), now(), 1, now())",
        [debit],
    )
    await world.post("b1", status="declined", transaction_type="sdd_refund")
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert line.refund_id == refund
    async with transaction(world.pool) as conn:
        await differences.acknowledge(conn, line.id, by="ada", reason="failed", order_again=True, now=NOW)
    assert await world.all("select state from refunds order by id") == [("declined",), ("approved",)]
    assert await world.all("select state from billing_attempts") == [("refunded",)]


@pytest.mark.parametrize("way", ["notification", "report"])
async def test_a_refund_of_another_amount_is_a_line(world: World, way: str) -> None:
    """The gateway returns a quarter, our records say all of it; the debtor complains, and nobody knew."""
    debit, refund = await _refunded(world)
    if way == "notification":
        await world.post("b1", status="approved", transaction_type="sdd_refund", amount="250", currency="EUR")
    else:
        whole = {"transaction_type": "sdd_refund", "amount": "1000", "currency": "EUR"}
        await world.report(_answer("b1", "approved", **whole))
        assert await world.lines() == []
        await world.report(_answer("b1", "approved", **(whole | {"amount": "250"})))
    assert await world.lines() == [("amount_differs", debit, "open")]
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert (line.refund_id, line.ours, line.theirs) == (refund, "10.00 EUR", "2.50 EUR (refund)")
    assert await differences.holding(world.conn, [debit]) == {debit: "amount_differs"}


async def test_only_a_failed_refund_is_ordered_again(world: World) -> None:
    """Else a click would make a debit refundable whose money is gone."""
    await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    await world.post("a1", status="declined")
    (line,) = await differences.open_lines(world.conn, limit=10)
    with pytest.raises(InvalidRequest):
        async with transaction(world.pool) as conn:
            await differences.acknowledge(conn, line.id, by="ada", reason="x", order_again=True, now=NOW)
    async with transaction(world.pool) as conn:
        assert (
            await differences.acknowledge(conn, 99, by="ada", reason="x", order_again=False, now=NOW) is None
        )


async def test_an_acknowledged_line_stays_acknowledged_for_the_same_facts(world: World) -> None:
    """Each report would open it again, and the person would stop looking."""
    await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    await world.post("a1", status="declined")
    (line,) = await differences.open_lines(world.conn, limit=10)
    async with transaction(world.pool) as conn:
        await differences.acknowledge(conn, line.id, by="ada", reason="known", order_again=False, now=NOW)
    await world.report(_answer("a1", "declined"))
    assert await world.lines() == []
    assert await _names(world) == ["difference.opened", "difference.closed"]


async def test_money_that_went_back_twice_is_a_line(world: World) -> None:
    """Refund and chargeback know nothing of each other."""
    debit = await world.attempt("t-1", unique_id="a1", payment_stage=stages.REFUNDED, at=NOW)
    await world.look()
    await world.post("a1", status="chargebacked", event="chargeback", reason_code="MD06")
    await world.look()
    assert ("returned_twice", debit, "open") in await world.lines()


# --- submissions that nobody can inquire about ---


async def _unreachable(world: World, transaction_id: str = "t-1") -> int:
    """A debit of unknown outcome that went to a terminal which is not configured any more."""
    return await world.attempt(
        transaction_id,
        payment_stage=stages.UNKNOWN_TO_US,
        at=NOW - timedelta(days=3),
        submitted_to=["gone"],
        submission_count=1,
        submitted_at=NOW - timedelta(days=3),
        unresolved_reason="not_found_elsewhere",
        inquire_at=NOW + timedelta(days=1),
    )


async def _state(world: World, attempt_id: int, outcome: Any, unique_id: str | None = None) -> None:
    """State an outcome, as the command line does."""
    said = statement(outcome=outcome, unique_id=unique_id, reason="back office", by="ada")
    async with transaction(world.pool) as conn:
        assert await stated_outcomes.close_debit(conn, attempt_id, said, accounts=(), now=world.now)


async def test_an_outcome_that_nobody_can_inquire_is_a_line_until_it_is_stated(world: World) -> None:
    """It would stay unknown for ever, its due item reserved, and nobody would know what to do about it."""
    debit = await _unreachable(world)
    await world.look()
    assert await world.lines() == [("unreachable_identity", debit, "open")]
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert "submitted on 2026-03-17 to gone" in line.ours
    assert "tether-worker outcome" in line.action
    await _state(world, debit, "approved", "44177a21403427eb")
    await world.look()
    await world.look()
    assert await world.lines() == []
    assert await world.all("select state, unique_id from billing_attempts") == [
        ("approved", "44177a21403427eb")
    ]
    assert await world.all("select outcome, stated_by, reason from stated_outcomes") == [
        ("approved", "ada", "back office")
    ]
    # A notification of it is understood from now on.
    await world.post("44177a21403427eb", status="chargebacked", event="chargeback", reason_code="AM04")
    assert await world.all("select state from billing_attempts") == [("chargebacked",)]


async def test_an_identity_that_is_configured_again_ends_the_line(world: World) -> None:
    """The next inquiry brings the outcome; a line that stays says to look where nothing is wrong."""
    debit = await _unreachable(world)
    await world.look()
    await world.conn.execute("update billing_attempts set unresolved_reason = null")
    await world.look()
    assert await world.lines("all") == [("unreachable_identity", debit, "resolved")]


@pytest.mark.parametrize("confirm", ["failures", "off"])
async def test_a_notification_that_contradicts_a_person_is_a_line(world: World, confirm: Confirm) -> None:
    """The due item was free meanwhile, and may have been collected again; only people can put that right."""
    world.applying = ApplyDeps(world.pool, ApplyPolicy(confirm=confirm), lambda: world.now, lambda: 0.5)
    debit = await _unreachable(world)
    await world.conn.execute("update billing_attempts set unique_id = 'a1'")
    await _state(world, debit, "declined")
    await world.look()
    assert await world.lines() == []
    await world.post("a1", status="approved", transaction_id="t-1", amount="1000", currency="EUR")
    if confirm == "failures":
        # It waits to be confirmed, and perhaps nobody can: the line does not wait for that.
        assert await world.all("select state from webhook_events") == [("confirming",)]
    else:
        assert await world.all("select state from billing_attempts") == [("approved",)]
        await world.look()
        await world.look()
    assert await world.lines() == [("statement_contradicted", debit, "open")]


async def test_a_person_corrects_what_was_stated(world: World) -> None:
    """The notification names an id that the debit does not have, so nothing but the person's word can link the two."""
    debit = await _unreachable(world)
    await _state(world, debit, "never_arrived")
    await world.post("44177a21", status="approved", transaction_id="t-1", amount="1000", currency="EUR")
    assert await world.lines() == [("statement_contradicted", debit, "open")]
    # Nobody can confirm it, so the line keeps other debits for its due item away.
    ((account,),) = await world.all("select iban_fingerprint from billing_attempts")
    held = {bytes(account): HeldAccount(dispute=False, collection=True)}
    assert await holds.accounts_held(world.conn, [bytes(account)], now=NOW) == held
    assert await world.all("select state, reason from webhook_events") == [("waiting", "unlinked")]
    with pytest.raises(IllegalStep):
        await _state(world, debit, "declined")
    await _state(world, debit, "approved", "44177a21")
    assert await apply_batch(world.applying) == 1
    assert await world.all("select state from billing_attempts") == [("approved",)]
    assert await world.all("select state, outcome from webhook_events") == [("processed", "unchanged")]
    assert await holds.accounts_held(world.conn, [bytes(account)], now=NOW) == {}
    assert await world.all("select outcome from stated_outcomes order by id") == [
        ("never_arrived",),
        ("approved",),
    ]
    with pytest.raises(IllegalStep):
        await _state(world, debit, "declined")


async def test_a_refund_that_a_person_called_lost_and_that_is_reported_is_a_line(world: World) -> None:
    """Ordered once more while nobody can confirm the report, the money goes back twice."""
    debit, refund = await _refunded(world)
    await world.conn.execute("update billing_attempts set payment_stage = 60, state = 'approved'")
    await world.conn.execute(
        "update refunds set payment_stage = 10, state = 'unknown', unique_id = null, submitted_to = '{gone}',"
        " submitted_at = %s, unresolved_reason = 'not_found_elsewhere'",
        [NOW - timedelta(days=3)],
    )
    said = statement(outcome="never_arrived", unique_id=None, reason="back office", by="ada")
    async with transaction(world.pool) as conn:
        assert await stated_outcomes.close_refund(conn, refund, said, accounts=(), now=NOW)
    assert await differences.holding(world.conn, [debit]) == {}
    world.applying = ApplyDeps(world.pool, ApplyPolicy(confirm="failures"), lambda: NOW, lambda: 0.5)
    await world.post("44177a21", status="approved", transaction_id="r-1", transaction_type="sdd_refund")
    assert await world.all("select state from refunds") == [("error",)]
    (line,) = await differences.open_lines(world.conn, limit=10)
    assert (line.kind, line.attempt_id, line.refund_id) == ("statement_contradicted", debit, refund)
    assert await differences.holding(world.conn, [debit]) == {debit: "statement_contradicted"}


async def test_a_debit_that_fails_after_a_person_called_it_approved_is_a_line(world: World) -> None:
    """As any debit that fails after it was approved."""
    debit = await _unreachable(world)
    await _state(world, debit, "approved", "44177a21403427eb")
    await world.post("44177a21403427eb", status="declined", error_code="500")
    assert ("state_differs", debit, "open") in await world.lines()


async def test_a_person_and_a_notification_at_once_wait_for_each_other(world: World) -> None:
    """The second statement sees the first: a known outcome cannot be stated."""
    debit = await _unreachable(world)
    said = statement(outcome="never_arrived", unique_id=None, reason="x", by="ada")
    async with transaction(world.pool) as conn:
        await conn.execute(
            "update billing_attempts set payment_stage = 60, state = 'approved', unique_id = 'a1'"
        )

        async def close() -> None:
            async with transaction(world.pool) as other:
                await stated_outcomes.close_debit(other, debit, said, accounts=(), now=world.now)

        waiting = asyncio.create_task(close())
        while not await world.all("select 1 from pg_locks where not granted"):
            assert not waiting.done()
    with pytest.raises(IllegalStep, match="approved"):
        await waiting
    assert await world.all("select count(*) from stated_outcomes") == [(0,)]


async def test_an_id_of_another_debit_is_refused(world: World) -> None:
    """Copied from the wrong line of the back office, it would move another debtor's payment."""
    await world.attempt("t-0", unique_id="44177a21403427eb", payment_stage=stages.APPROVED)
    debit = await _unreachable(world)
    with pytest.raises(InvalidRequest, match="Another debit has this id"):
        await _state(world, debit, "approved", "44177a21403427eb")


async def test_a_refund_is_closed_from_a_terminal(
    world: World, process: Launch, environment: dict[str, str]
) -> None:
    """Money that may have gone back stays in no books, and no second refund can be ordered."""
    debit = await world.attempt("t-1", unique_id="a1", payment_stage=stages.APPROVED, at=NOW)
    await world.conn.execute(
        "insert into refunds (attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state,"
        " payment_stage, ordered_by, created_at, updated_at, submission_count, submitted_at, submitted_to, unresolved_reason)"
        " values (%s, 'refund', 1, 'default', 'r-1', 1000, 'EUR', 'x', 'unknown', 10, 'tests', %s, %s, 1, %s, '{gone}',"
        " 'not_found_elsewhere')",
        [debit, *[NOW - timedelta(days=300)] * 3],
    )
    await world.look()
    assert await world.lines() == [("unreachable_identity", debit, "open")]
    command = ("tether-worker", "outcome", "refund", "1", "--by", "ada", "--reason", "back office")
    assert process(*command, environ=environment).wait() == 2  # no outcome
    program = process(*command, "--approved", "44177a21403427eb", environ=environment)
    assert program.wait() == 0, program.stderr
    assert program.stdout == f"refund 1 is approved; debit {debit} is refunded\n"
    again = process(*command, "--declined", environ=environment)
    assert again.wait() != 0
    assert "is approved, so it cannot be closed by a person" in again.stderr
    await world.look()
    await world.look()
    assert await world.lines() == []
