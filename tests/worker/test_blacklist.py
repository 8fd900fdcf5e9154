"""Lifting an entry of the blacklist: it stays lifted for the dispute it was about, and says what it forgives."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core import iban
from tether_core.billing.eligibility import judge
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import Dispute, same_dispute
from tether_core.emp.notification import FORM, decode
from tether_core.notifications.identity import identify
from tether_core.payments.attempt import ApplyPolicy
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.testing import form_body
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import blacklist
from tether_stores.billing.candidates import load_owing
from tether_stores.debtors import staging
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.payments import forgiven_disputes
from tether_stores.postgres import connection, transaction
from tether_stores.screening import screened
from tether_worker.notifications.apply import ApplyDeps, apply_batch

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tether_core.blacklist import Forgives
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool

    Make = Callable[..., Awaitable[int]]

LATER = NOON + timedelta(days=60)


@pytest.fixture
def deps(pool: Pool) -> ApplyDeps:
    """What processing notifications needs, on the day they come."""
    return ApplyDeps(pool, ApplyPolicy(), lambda: NOON, lambda: 0.5)


async def ask(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    """Ask the tables."""
    return await (await conn.execute(query)).fetchall()


async def notified(deps: ApplyDeps, unique_id: str, *, at: datetime = NOON, **fields: str) -> None:
    """Record a notification of a chargeback and process it."""
    result = {"unique_id": unique_id, "status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}
    body = form_body(result | fields, secret="x")
    read = decode(body, content_type=FORM)
    same = identify(read, account="default")
    row = Recording(
        same.key, same.content, "default", read.kind, read.id, read.status, read.event or "", FORM, body
    )
    async with connection(deps.pool) as conn:
        await webhook_events.record(conn, [row], now=at)
    while await apply_batch(deps):
        pass


async def lift(
    pool: Pool, *, forgives: Forgives = "disputes", entry_id: int | None = None
) -> blacklist.Lift | None:
    """Lift the entry that was made last, or another one."""
    async with transaction(pool) as conn:
        ((last,),) = await ask(conn, "select max(id) from blacklist")
        return await blacklist.lift(
            conn,
            entry_id or last,
            lifted_by="ada",
            reason="signed a new mandate",
            forgives=forgives,
            now=NOON,
        )


async def verdict_of_a_new_upload(pool: Pool, account: str) -> str:
    """What screening says of a row with this account that is handed in two months later."""
    line = "\t".join([f"\\\\x{iban.fingerprint(account).hex()}", "2", "1000", "NEW-1", "Zoë Miller"])
    async with transaction(pool) as conn:
        columns = ("row", "amount_minor", "reference", "name")
        await staging.stage(conn, [f"{line}\t\x02\t{account}\tEUR"], columns=(*columns, "iban", "currency"))
        verdicts, _ = await screened(conn, 999, dry_run=False, policy=ScreeningPolicy(), now=LATER)
        return verdicts[2][0].rule if verdicts else "clear"


async def billing_verdict(conn: Connection, database_url: str, account: str) -> str:
    """What planning says of such a debtor."""
    upload_id, _ = seed_upload(database_url, [Owed(account, 1000)], now=LATER)
    (owing,) = await load_owing(conn, due_item="once", now=LATER, limit=1, upload_id=upload_id)
    return judge(owing.candidate, options=RunOptions()).code


@pytest.fixture
async def charged_back(deps: ApplyDeps, conn: Connection, attempt: Make) -> str:
    """A debit, u-1, that was charged back and put its account on the blacklist; gives the account."""
    await attempt("t-1", unique_id="u-1", payment_stage=60, at=NOON)
    await notified(deps, "u-1")
    ((account,),) = await ask(conn, "select iban from debtors")
    return str(account)


@pytest.mark.usefixtures("charged_back")
async def test_a_lifted_entry_stays_lifted_whatever_reports_its_dispute_again(
    deps: ApplyDeps, conn: Connection
) -> None:
    """A person let the account be debited again; a further report of the old chargeback must not undo that.

    It is reported without its event, as in reports, with another reason, with the dispute's own id, and by a replay.
    """
    await lift(deps.pool)
    await notified(deps, "u-1", event="")
    await notified(deps, "u-1", reason_code="MD07", chargeback_unique_id="cb-1")
    await conn.execute("update webhook_events set state = 'waiting', outcome = null, next_at = received_at")
    while await apply_batch(deps):
        pass
    assert await ask(conn, "select distinct state, reason from webhook_events") == [("processed", "repeated")]
    assert await ask(conn, "select count(*) from blacklist where lifted_at is null") == [(0,)]


@pytest.mark.parametrize("way", ["another debit", "charged back again"])
async def test_a_new_dispute_makes_a_new_entry(
    way: str, deps: ApplyDeps, conn: Connection, attempt: Make, charged_back: str
) -> None:
    """What was forgiven is one chargeback. The next one is news, and the account has to be held again."""
    await lift(deps.pool)
    if way == "another debit":
        fingerprint = iban.fingerprint(charged_back)
        await attempt("t-2", unique_id="u-2", payment_stage=60, at=NOON, iban_fingerprint=fingerprint)
        await notified(deps, "u-2")
    else:
        await notified(deps, "u-1", status="chargeback_reversed", event="chargeback_reversal")
        await notified(deps, "u-1", status="second_chargebacked", event="second_chargeback")
    assert await ask(conn, "select reason_code from blacklist where lifted_at is null") == [("MD01",)]
    await lift(deps.pool, forgives="entry")
    assert await verdict_of_a_new_upload(deps.pool, charged_back) == "chargebacked_before"


async def test_another_dispute_of_the_debit_is_recognised_by_its_own_id(
    deps: ApplyDeps, conn: Connection, attempt: Make
) -> None:
    """A gateway with dispute numbers shows by the number that this is another one, with any status."""
    await attempt("t-1", unique_id="u-1", payment_stage=60, at=NOON)
    await notified(deps, "u-1", chargeback_unique_id="cb-1")
    await lift(deps.pool)
    await notified(deps, "u-1", event="", chargeback_unique_id="cb-1")
    assert await ask(conn, "select count(*) from blacklist where lifted_at is null") == [(0,)]
    await notified(deps, "u-1", chargeback_unique_id="cb-2")
    assert await ask(conn, "select count(*) from blacklist where lifted_at is null") == [(1,)]


async def test_a_dispute_that_joined_an_entry_is_lifted_with_it(
    deps: ApplyDeps, conn: Connection, attempt: Make, charged_back: str
) -> None:
    """Two debits came back for one reason and are one entry. Lifted, neither of them may bring it back."""
    fingerprint = iban.fingerprint(charged_back)
    await attempt("t-2", unique_id="u-2", payment_stage=60, at=NOON, iban_fingerprint=fingerprint)
    await notified(deps, "u-2")
    assert await ask(conn, "select count(*) from blacklist") == [(1,)]
    assert await lift(deps.pool) == blacklist.Lift(2, 0, [])
    await notified(deps, "u-2", event="")
    assert await ask(conn, "select count(*) from blacklist where lifted_at is null") == [(0,)]
    assert await verdict_of_a_new_upload(deps.pool, charged_back) == "clear"


@pytest.mark.parametrize(
    ("forgives", "left", "verdicts"),
    [
        ("entry", blacklist.Lift(0, 2, []), ("chargebacked_before", "charged_back")),
        ("disputes", blacklist.Lift(1, 1, []), ("chargebacked_before", "charged_back")),
        ("account", blacklist.Lift(2, 0, []), ("clear", "billable")),
    ],
)
async def test_what_a_lift_forgives_excludes_nobody_any_more(
    forgives: Forgives,
    left: blacklist.Lift,
    verdicts: tuple[str, str],
    deps: ApplyDeps,
    conn: Connection,
    attempt: Make,
    database_url: str,
    charged_back: str,
) -> None:
    """Lifted and still excluded for the chargeback that the entry was about: the person would have done nothing.

    An older chargeback for a reason that makes no entry has to be forgiven by name.
    """
    fingerprint = iban.fingerprint(charged_back)
    columns = {"iban_fingerprint": fingerprint, "dispute_stage": 1, "reason_code": "RR04"}
    await attempt("t-0", unique_id="u-0", payment_stage=60, at=NOON - timedelta(days=200), **columns)
    assert await lift(deps.pool, forgives=forgives) == left
    assert await verdict_of_a_new_upload(deps.pool, charged_back) == verdicts[0]
    assert await billing_verdict(conn, database_url, charged_back) == verdicts[1]
    assert await ask(conn, "select forgives, lifted_by, lifted_reason from blacklist") == [
        (forgives, "ada", "signed a new mandate")
    ]
    kept = await ask(conn, "select distinct forgiven_by, reason, blacklist_id from forgiven_disputes")
    assert kept == ([] if forgives == "entry" else [("ada", "signed a new mandate", 1)])


async def test_a_lifted_entry_can_forgive_more_later(deps: ApplyDeps, charged_back: str) -> None:
    """A person learns only from the next upload that there is an older chargeback, too."""
    assert await lift(deps.pool, forgives="entry") == blacklist.Lift(0, 1, [])
    assert await lift(deps.pool, forgives="entry") is None
    assert await lift(deps.pool, forgives="disputes") == blacklist.Lift(1, 0, [])
    assert await lift(deps.pool, forgives="disputes") is None
    assert await verdict_of_a_new_upload(deps.pool, charged_back) == "clear"


@pytest.mark.usefixtures("charged_back")
async def test_a_report_of_the_dispute_is_left_while_its_lift_is_made(
    deps: ApplyDeps, conn: Connection
) -> None:
    """Were the entry made between the person's look and their lift, it would stand although it was lifted."""
    async with transaction(deps.pool) as holder:
        await blacklist.lift(holder, 1, lifted_by="ada", reason="signed", forgives="disputes", now=NOON)
        await notified(deps, "u-1", reason_code="MD07", event="")
        assert await ask(conn, "select count(*) from webhook_events where state = 'waiting'") == [(1,)]
    assert await apply_batch(deps) == 1
    assert await ask(conn, "select count(*) from blacklist where lifted_at is null") == [(0,)]


def test_the_order_of_reports_does_not_matter_for_what_is_the_same_dispute() -> None:
    """One that came without an id first, or last, must be found by one that has it."""
    rng = random.Random(7)
    for _ in range(500):
        item, other = (
            Dispute(rng.choice([1, 2]), rng.choice([1, 3]), rng.choice([None, "a", "b"])) for _ in "12"
        )
        assert same_dispute(item, other) == same_dispute(other, item)
        assert same_dispute(item, item)


@pytest.fixture
async def returned(deps: ApplyDeps, conn: Connection, attempt: Make) -> str:
    """A debit, u-1, that was charged back for a reason that blocks nobody; gives the account."""
    await attempt("t-1", unique_id="u-1", payment_stage=60, at=NOON)
    await notified(deps, "u-1", reason_code="AM04")
    await conn.execute("delete from blacklist_disputes")
    await conn.execute("delete from blacklist")
    ((account,),) = await ask(conn, "select iban from debtors")
    return str(account)


async def test_a_chargeback_without_an_entry_is_forgiven(
    deps: ApplyDeps,
    conn: Connection,
    attempt: Make,
    returned: str,
    environment: dict[str, str],
    process: Launch,
) -> None:
    """The debtor had no money that day and has paid since; without an entry to lift, the account was excluded for ever."""
    assert await verdict_of_a_new_upload(deps.pool, returned) == "chargebacked_before"
    command = ("tether-worker", "chargebacks", "forgive", "1", "--by", "Zoë", "--reason", "paid the fee")
    program = process(*command, environ=environment)
    assert program.wait() == 0, program.stderr
    assert program.stdout == "the chargeback of attempt 1 is forgiven\n"
    assert await verdict_of_a_new_upload(deps.pool, returned) == "clear"
    assert await ask(conn, "select forgiven_by, reason, blacklist_id from forgiven_disputes") == [
        ("Zoë", "paid the fee", None)
    ]
    again = await forgiven_disputes.forgive(conn, 1, by="ada", reason="again", now=LATER)
    assert again is not None
    assert (again.is_new, again.forgiven_by, again.reason) == (False, "Zoë", "paid the fee")
    assert await forgiven_disputes.forgive(conn, 99, by="ada", reason="x", now=LATER) is None
    # The next one is news.
    await conn.execute("update billing_attempts set dispute_stage = 3")
    assert await verdict_of_a_new_upload(deps.pool, returned) == "chargebacked_before"
    refused = process(*command[:4], "--by", "Zoë", "--reason", " ", environ=environment)
    assert refused.wait() == 2
    await attempt("t-2", unique_id="u-2", payment_stage=60, at=NOON)
    approved = process(*command[:3], "2", "--by", "Zoë", "--reason", "x", environ=environment)
    assert approved.wait() != 0
    assert "only a chargeback can be" in approved.stderr


async def test_forgiving_a_chargeback_leaves_entries_where_they_are(
    deps: ApplyDeps, charged_back: str
) -> None:
    """Another entry has its own reason; the response to the lift must name it, because it still applies."""
    async with transaction(deps.pool) as conn:
        found = await forgiven_disputes.forgive(conn, 1, by="ada", reason="x", now=LATER)
    assert found is not None
    assert (found.unforgiven, found.still_held_by) == (0, (1,))
    assert await verdict_of_a_new_upload(deps.pool, charged_back) == "blacklisted"
