"""Debits of another system: stored once, after repeated, contradicting or interrupted imports."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban as ibans
from tether_core import retry
from tether_core.emp.notification import FORM, decode
from tether_core.errors import InvalidRequest
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy
from tether_core.reconciliation.status_inquiry import PENDING_AGE_S, TRIES_MAX, UNKNOWN_AGE_S
from tether_core.testing import form_body
from tether_sandbox.conservation import books, broken_chains
from tether_sandbox.gateway import scripted_iban
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.payments import billing_attempts
from tether_worker.__main__ import main
from tether_worker.notifications.apply import ApplyDeps, apply_batch
from tether_worker.payments.import_debits import DebitImportReport, Importing, import_attempts
from tether_worker.payments.returns import ReturnDeps, handle_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool

HEADER = "transaction_id unique_id amount currency status iban submitted_at reason_code error_code name reference".split()
SENT = datetime.now(UTC).replace(microsecond=0) - timedelta(days=9)
Row = dict[str, str]


def debit(number: int, **cells: str) -> Row:
    """A row of a file."""
    return {
        "transaction_id": f"old-{number}",
        "unique_id": f"{number:032x}",
        "amount": "12.50",
        "currency": "EUR",
        "status": "approved",
        "iban": scripted_iban(number % 100),
        "submitted_at": SENT.isoformat(),
        "name": "Zoë Miller",
        "reference": f"R{number}",
        **cells,
    }


def table(rows: list[Row], *, header: list[str] = HEADER, delimiter: str = ",") -> bytes:
    """A file of some rows."""
    out = io.StringIO()
    writer = csv.DictWriter(out, header, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


@pytest.fixture
def take(pool: Pool) -> Callable[..., Any]:
    """Import some rows."""

    async def taken(*rows: Row, batch_max: int = 3, **deps: Any) -> DebitImportReport:
        return await import_attempts(
            io.BytesIO(table(list(rows))), Importing(pool, **deps), batch_max=batch_max
        )

    return taken


async def ask(conn: Connection, query: str) -> list[Any]:
    """Ask the database."""
    return await (await conn.execute(query.encode())).fetchall()


async def states(conn: Connection) -> dict[str, str]:
    """How every attempt stands."""
    return dict(await ask(conn, "select transaction_id, state from billing_attempts"))


async def tell(conn: Connection, unique_id: str, *, at: datetime, **fields: str) -> None:
    """Record a notification, as a web node does."""
    body = form_body({"unique_id": unique_id, **fields})
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
    await webhook_events.record(conn, [row], now=at)


async def test_debits_come_stored_as_they_stand(conn: Connection, take: Callable[..., Any]) -> None:
    """State, time and account decide who is debited next; a wrong one debits somebody twice."""
    report = await take(
        debit(1),
        debit(2, status="pending_async"),
        debit(3, status="declined", error_code="501"),
        debit(4, status="chargebacked", reason_code="AC04"),
        debit(5, status="refunded"),
        debit(6, status="error", unique_id=""),
    )
    assert (report.rows, report.imported, report.there_already, report.excluded) == (6, 6, 0, 0)
    assert report.states == {
        "approved": 1, "pending": 1, "declined": 1, "chargebacked": 1, "refunded": 1, "unknown": 1,
    }  # fmt: skip
    assert report.amounts_minor == {"EUR": 6 * 1250}
    rows = await ask(
        conn,
        "select a.transaction_id, a.state, a.payment_stage, a.dispute_stage, a.created_at, a.submitted_at, a.updated_at, a.submission_count,"
        " a.run_id, a.submit_at, d.upload_id, d.row_number, d.name, d.reference, d.verdict, a.iban_fingerprint, a.iban_masked"
        " from billing_attempts a join debtors d on d.id = a.debtor_id join imported_attempts i on i.attempt_id = a.id"
        " and (i.payment_stage, i.dispute_stage) = (a.payment_stage, a.dispute_stage) order by a.transaction_id",
    )
    account = ibans.validate(scripted_iban(1))
    assert rows[0] == (
        "old-1", "approved", stages.APPROVED, 0, SENT, SENT, SENT, 1, None, None, None, 2, "Zoë Miller", "R1",
        "recently_attempted", ibans.fingerprint(account), ibans.mask(account),
    )  # fmt: skip
    assert len(rows) == 6
    assert await ask(conn, "select count(*) from outbox") == [(0,)]  # nothing has moved here
    entries = await ask(conn, "select iban_fingerprint, action, reason_code, source from blacklist")
    assert entries == [(ibans.fingerprint(scripted_iban(4)), "block", "AC04", "import")]


async def test_the_same_file_again_adds_nothing(conn: Connection, take: Callable[..., Any]) -> None:
    """Who is not sure whether the import went through runs it again; every debit twice would be the answer to that."""
    rows = [debit(number) for number in range(1, 8)]
    await take(*rows)
    await conn.execute(b"update billing_attempts set state = 'chargebacked', dispute_stage = 1 where id = 1")
    before = await ask(conn, "select * from billing_attempts order by id")
    again = await take(*rows, debit(8), debit(8))
    assert (again.imported, again.there_already, again.excluded) == (1, 8, 0)
    assert (
        await ask(conn, "select * from billing_attempts where transaction_id <> 'old-8' order by id")
        == before
    )
    assert await ask(conn, "select count(*) from debtors") == [(8,)]


async def test_a_row_that_contradicts_changes_nothing(conn: Connection, take: Callable[..., Any]) -> None:
    """Two exports disagree about money: overwriting either loses the true one."""
    await take(debit(1), debit(2))
    before = await ask(conn, "select * from billing_attempts order by id")
    report = await take(
        debit(1, amount="13.50"),
        debit(2, unique_id=f"{9:032x}"),
        debit(3, unique_id=f"{1:032x}"),
        debit(4, iban=scripted_iban(40)),
        debit(4, iban=scripted_iban(41)),
    )
    assert (report.imported, report.there_already, report.excluded) == (1, 0, 4)
    assert [(problem.row, problem.column, problem.code) for problem in report.problems] == [
        (2, "amount", "other_amount"),
        (3, "unique_id", "other_payment"),
        (4, "unique_id", "other_payment"),
        (6, "iban", "other_iban"),
    ]
    assert (
        await ask(conn, "select * from billing_attempts where transaction_id <> 'old-4' order by id")
        == before
    )


async def test_a_dry_run_says_the_same_and_does_nothing(conn: Connection, take: Callable[..., Any]) -> None:
    """People want to know what is wrong with their export before half of it is stored."""
    rows = [debit(1), debit(2, status="paid"), debit(3, status="chargebacked", reason_code="AC04")]
    report = await take(*rows, dry_run=True)
    assert (report.imported, report.excluded) == (2, 1)
    for name in ("billing_attempts", "debtors", "imported_attempts", "blacklist"):
        assert await ask(conn, f"select count(*) from {name}") == [(0,)]


async def test_a_late_notification_is_applied_like_any_other(
    conn: Connection, pool: Pool, take: Callable[..., Any], database_url: str
) -> None:
    """
    Chargebacks come weeks after the switch; before the import, after it, or so long before that they were parked.

    Each must end in a blacklisted account, and all books must agree.
    """
    now = datetime.now(UTC)
    back = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
    deps = ApplyDeps(pool, ApplyPolicy(), lambda: now, lambda: 0.5)
    for number in (1, 2):
        await tell(conn, f"{number:032x}", at=now, **back)
    assert await apply_batch(deps) == 2
    failures = len(retry.UNKNOWN_PAYMENT_S) + 1
    await conn.execute(
        "update webhook_events set state = 'parked', next_at = null, failures = %s where notification_id = %s",
        (failures, f"{2:032x}"),
    )
    report = await take(
        debit(1), debit(2), debit(3), debit(4, status="pending"), debit(5, status="chargebacked")
    )
    assert (report.woken, report.replayed) == (1, 1)
    await tell(conn, f"{3:032x}", at=now, **back)
    await tell(conn, f"{4:032x}", at=now, status="approved")
    await tell(conn, f"{5:032x}", at=now, status="chargeback_reversed", event="chargeback_reversal")
    now = datetime.now(UTC)
    assert await apply_batch(deps) == 5
    assert await states(conn) == {
        "old-1": "chargebacked",
        "old-2": "chargebacked",
        "old-3": "chargebacked",
        "old-4": "approved",
        "old-5": "approved",
    }
    listed = await ask(conn, "select iban_fingerprint from blacklist where action = 'block'")
    assert {item for (item,) in listed} == {ibans.fingerprint(scripted_iban(number)) for number in (1, 2, 3)}
    ours = books(database_url)
    assert ours.replayed == {
        f"{number:032x}": (await states(conn))[f"old-{number}"] for number in range(1, 6)
    }
    assert broken_chains(ours.moves, ours.current_status, begun=ours.begun) == []
    assert [
        (attempt_status_changed.before, attempt_status_changed.after) for attempt_status_changed in ours.moves
    ].count(("approved", "chargebacked")) == 3
    assert ours.since(ours).begun == {}


async def test_open_debits_are_inquired_and_never_submitted(
    conn: Connection, take: Callable[..., Any]
) -> None:
    """A debit whose answer the other system lost is money that nobody accounts for, unless somebody asks."""
    await take(
        debit(1),
        debit(2, status="pending"),
        debit(3, status="error", unique_id=""),
        debit(4, status="unknown"),
    )
    now = datetime.now(UTC)
    cases = {"pending": ([stages.IN_PROGRESS], PENDING_AGE_S), "unknown": ([10, 30], UNKNOWN_AGE_S)}
    asked = {}
    for kind, (payment_stages, age_s) in cases.items():
        found = await billing_attempts.INQUIRIES.claim(
            conn,
            payment_stages=payment_stages,
            silent_since=now - timedelta(seconds=age_s),
            inquiry_count_max=TRIES_MAX,
            now=now,
            leased_until=now + timedelta(minutes=1),
            limit=10,
        )
        asked[kind] = sorted((item.transaction_id, item.unique_id) for item in found)
    assert asked == {
        "pending": [("old-2", f"{2:032x}")],
        "unknown": [("old-3", None), ("old-4", f"{4:032x}")],
    }
    assert (
        await ask(conn, "select 1 from billing_attempts where submit_at is not null or run_id is not null")
        == []
    )


async def test_what_another_system_sent_is_not_tried_again_by_us(
    conn: Connection, pool: Pool, take: Callable[..., Any]
) -> None:
    """It has its own plan for the next try; two plans are two debits."""
    await take(debit(1, status="chargebacked", reason_code="AM04"))
    today = datetime.now(UTC)
    assert await handle_returns(ReturnDeps(pool, ApplyPolicy(), lambda: today)) == 1
    plans = await ask(conn, "select retry_on, retry_why from billing_attempts")
    assert plans == [(None, "tried enough")]


async def test_a_wrong_fingerprint_key_is_noticed(take: Callable[..., Any]) -> None:
    """A shell without the workers' settings would import accounts that no blacklist ever matches."""
    await take(debit(1), fingerprint_key=b"right")
    with pytest.raises(InvalidRequest, match="TETHER_FINGERPRINT_KEY"):
        await take(debit(2), fingerprint_key=b"wrong")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"%PDF-1.7", "PDF"),
        (b"transaction_id,iban\n1,2\n", "There is no column unique_id, amount, status, submitted_at"),
        (
            Path(__file__).parents[2].joinpath("data/spreadsheets/list.xlsx").read_bytes(),
            "save the sheet as CSV",
        ),
    ],
    ids=["empty", "pdf", "columns", "workbook"],
)
async def test_a_file_that_is_no_such_table_is_refused(pool: Pool, data: bytes, why: str) -> None:
    """For any wrong argument one sentence says what to give instead."""
    with pytest.raises(InvalidRequest, match=why):
        await import_attempts(io.BytesIO(data), Importing(pool))


async def test_spellings_of_other_programs_are_read(conn: Connection, pool: Pool) -> None:
    """Excel in Germany writes semicolons, a byte order mark, decimal commas and blank lines."""
    data = table([debit(1, amount="1234,50")], header=[*HEADER, "Farbe"], delimiter=";")
    lines = data.replace(b"\r\n", b"\r\n;;\r\n")
    report = await import_attempts(io.BytesIO(b"\xef\xbb\xbf" + lines), Importing(pool))
    assert (report.rows, report.imported, report.passed_over) == (1, 1, ("Farbe",))
    assert await ask(conn, "select amount_minor from billing_attempts") == [(123450,)]


def test_the_command_reports_and_its_exit_code_tells(
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A script goes by the exit code, a person by the lines, and neither may be shown whose account it is."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "debits.csv"
    account = ibans.validate(scripted_iban(2))
    file.write_bytes(table([debit(1), debit(2, iban=f"{account[:-1]}X", status="paid")]))
    assert main(["attempts", "import", str(file), "--dry-run"]) == 1
    assert "would be done: imported 1, there already 0, excluded 1, of 2 rows\n" in capsys.readouterr().out
    assert main(["attempts", "import", str(file)]) == 1
    output = capsys.readouterr()
    assert "row 3, status: “paid” Write the gateway's word" in output.out
    assert "(iban_invalid)\n" in output.out
    assert output.out.endswith(
        "imported 1, there already 0, excluded 1, of 2 rows\nimported: 12.50 EUR; approved 1\n"
    )
    assert "TETHER_FINGERPRINT_KEY is not set" in output.err
    assert account[4:-4] not in output.out + output.err
    assert "Miller" not in output.out + output.err
    file.write_bytes(table([debit(1)]))
    assert main(["attempts", "import", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["imported"], report["there_already"]) == (0, 1)
    assert main(["attempts", "import", str(tmp_path / "nowhere.csv")]) == 2
    assert main(["attempts", "import", str(file), "--account", "third"]) == 2
    assert "There is no such gateway account; there are default" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/nowhere")
    assert main(["attempts", "import", str(file)]) == 75


def test_killed_in_the_middle_it_goes_on_where_it_was(
    environment: dict[str, str],
    database_url: str,
    tmp_path: Path,
    process: Launch,
    until: Callable[..., Any],
) -> None:
    """A million rows take minutes, and machines restart: no debit may be lost by it, and none be there twice."""
    file = tmp_path / "debits.csv"
    file.write_bytes(table([debit(number) for number in range(3_500)]))
    with (
        psycopg.connect(database_url, autocommit=True) as conn,
        psycopg.connect(database_url) as other,
    ):
        # Somebody else is about to put a debit of the third batch stored; the import waits for them.
        debtor = other.execute(
            "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)"
            " values ('x', 'x', '', 1, 'EUR', now()) returning id"
        ).fetchone()
        assert debtor is not None
        other.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
            " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at)"
            " values ('default', %s, 'old-2500', 1, 'EUR', 'pending', 0, 0, 'x', 'x', now(), now())",
            (debtor[0],),
        )
        program = process("tether-worker", "attempts", "import", str(file), environ=environment)
        has_pending = "select 1 from pg_stat_activity where application_name = 'tether-attempts' and wait_event_type = 'Lock'"
        until(lambda: conn.execute(has_pending).fetchone(), what="the third batch to wait", timeout_s=120)
        program.kill()
        other.rollback()
        count = "select (select count(*) from billing_attempts), (select count(*) from debtors)"
        assert conn.execute(count).fetchone() == (2_000, 2_000)
        again = process("tether-worker", "attempts", "import", str(file), "--json", environ=environment)
        assert again.wait() == 0
        result = json.loads(again.stdout)
        assert (result["rows"], result["imported"], result["there_already"]) == (3_500, 1_500, 2_000)
        assert conn.execute(count).fetchone() == (3_500, 3_500)


def test_two_imports_at_once_make_one_set_of_attempts(
    environment: dict[str, str], database_url: str, tmp_path: Path, process: Launch
) -> None:
    """Two people start it, or a shell and a timer do."""
    file = tmp_path / "debits.csv"
    file.write_bytes(table([debit(number) for number in range(3_000)]))
    both = [
        process("tether-worker", "attempts", "import", str(file), "--json", environ=environment) for _ in "ab"
    ]
    assert [item.wait() for item in both] == [0, 0]
    result = [json.loads(item.stdout) for item in both]
    assert sum(item["imported"] for item in result) == 3_000
    assert sum(item["there_already"] for item in result) == 3_000
    with psycopg.connect(database_url) as conn:
        count = "select (select count(*) from billing_attempts), (select count(*) from debtors)"
        assert conn.execute(count).fetchone() == (3_000, 3_000)
