"""The completeness report: what the gateway's lists have against what we hold, for people, programs and the log."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.payments import stages
from tether_core.reconciliation.completeness import Delays, NotRead
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_stores.notifications import report_records, webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.reconciliation import report_fetches
from tether_stores.reconciliation.completeness import draw_up
from tether_stores.reconciliation.report_fetches import PageRead
from tether_worker.__main__ import main
from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.reconciliation.completeness import reporting_completeness, show

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tether_core.reconciliation.completeness import ListName
    from tether_stores.postgres import Connection, Pool

MONDAY = date(2026, 3, 2)
TUESDAY = datetime(2026, 3, 3, 7, tzinfo=UTC)


async def _read(
    conn: Connection, name: ListName, *, listed: int, held: int, unread: int = 0, day: date = MONDAY
) -> None:
    """Let a list have been read to its end after its day."""
    await report_fetches.want(conn, [("default", name, day)], now=TUESDAY)
    lease = TUESDAY + timedelta(minutes=1)
    reading = await report_fetches.claim(conn, now=TUESDAY, leased_until=lease)
    assert reading is not None
    assert await report_fetches.advance(
        conn, reading, PageRead(listed, held, unread), terminal=1, page=1, lease=lease, leased_until=lease
    )
    await report_fetches.finish(conn, reading, lease=lease)


async def _known(
    conn: Connection,
    *ids: str,
    source: str = "webhook",
    after_s: int = 60,
    happened: bool = True,
    day: date = MONDAY,
) -> None:
    """Let events be known to the gateway and recorded by us some seconds later."""
    rows = [
        Recording(
            item.encode().ljust(16), b"c" * 16, "default", "payment", item, "approved", "", "form", b"x"
        )
        for item in ids
    ]
    await webhook_events.record(conn, rows, now=NOON + timedelta(seconds=after_s), source=source)
    cursor = await conn.execute("select id from webhook_events where notification_id = any(%s)", (list(ids),))
    timestamp = NOON if happened else None
    await report_records.mark_listed(
        conn, [(row_id, timestamp) for (row_id,) in await cursor.fetchall()], listed_on=day, override=False
    )


async def _all_read(conn: Connection, *, listed: int, held: int, unread: int = 0) -> None:
    await _read(conn, "transactions", listed=listed, held=held, unread=unread)
    await _read(conn, "chargebacks", listed=0, held=0)
    await _read(conn, "imports", listed=0, held=0)


async def test_a_day_is_explained(conn: Connection) -> None:
    """N known, N-k by webhook, k fetched, 0 unexplained: the numbers an operator signs for."""
    await _known(conn, "a", "b", "c", after_s=10)
    await _known(conn, "d", source="report", after_s=7200)
    await _known(conn, "e", day=MONDAY - timedelta(days=1))
    await _all_read(conn, listed=4, held=4)
    report = await draw_up(conn, from_on=MONDAY, to_on=MONDAY, accounts=["default"], now=TUESDAY)
    found = report.report
    assert (found.known, found.by_webhook, found.fetched, found.unexplained) == (4, 3, 1, 0)
    assert report.complete
    assert found.delays == {"webhook": Delays(10, 10, 10), "report": Delays(7200, 7200, 7200)}


async def test_delays_by_the_nearest_rank(conn: Connection) -> None:
    """A mean would hide that one in twenty notifications comes a day late."""
    for seconds in range(1, 21):
        await _known(conn, f"n{seconds}", after_s=seconds)
    await _known(conn, "unknown-time", after_s=99_999, happened=False)
    report = await draw_up(conn, from_on=MONDAY, to_on=MONDAY, accounts=[], now=TUESDAY)
    assert report.report.delays == {"webhook": Delays(10, 19, 20)}


async def test_what_is_missing_shows(conn: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that was lost, or an item nobody could read, must not hide behind the others."""
    await _known(conn, "a", "b")
    await _all_read(conn, listed=4, held=2, unread=1)
    report = await draw_up(conn, from_on=MONDAY, to_on=MONDAY, accounts=["default"], now=TUESDAY)
    assert (report.report.known, report.report.unexplained, report.complete) == (4, 2, False)
    show(report)
    assert "unexplained (must be 0)" in capsys.readouterr().out


async def test_lists_that_were_not_read_are_named(
    conn: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """An account whose password expired, or a weekend without a worker, would look like a quiet day."""
    await _all_read(conn, listed=0, held=0)
    sunday = MONDAY - timedelta(days=1)
    report = await draw_up(conn, from_on=sunday, to_on=MONDAY, accounts=["default", "second"], now=TUESDAY)
    assert not report.complete
    assert len(report.report.not_read) == 3 + 6
    assert NotRead("default", "imports", sunday) in report.report.not_read
    show(report)
    assert "2026-03-01" in capsys.readouterr().out


async def test_what_else_a_person_should_know(
    conn: Connection, attempt: Callable[..., Awaitable[int]]
) -> None:
    """Debits that nobody can tell of, and money that went back twice, are nobody's otherwise."""
    await attempt("open", payment_stage=stages.UNKNOWN_TO_US, inquiry_count=TRIES_MAX)
    await attempt("asked-once", payment_stage=stages.UNKNOWN_TO_US, inquiry_count=1)
    twice = await attempt("twice", payment_stage=stages.REFUNDED, dispute_stage=1)
    await attempt("won", payment_stage=stages.REFUNDED, dispute_stage=2)
    report = await draw_up(conn, from_on=MONDAY, to_on=MONDAY, accounts=[], now=TUESDAY)
    assert (report.left_open, report.refunded_and_charged_back) == (1, [twice])


async def test_the_morning_tells_of_yesterday_once(
    conn: Connection, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each worker's own report would be noise, and none at all would be silence about what is missing."""
    await _known(conn, "a")
    now = datetime(2026, 3, 3, 5, tzinfo=UTC)

    async def clients() -> Mapping[str, Any]:
        return {"default": None}

    deps = InquiryDeps(pool, clients, lambda _: None, lambda: now, lambda: 0.5)  # type: ignore[arg-type, return-value]
    periodic_task = reporting_completeness(deps)
    await periodic_task.do()
    assert "completeness" not in capsys.readouterr().out
    now = TUESDAY
    await asyncio.gather(periodic_task.do(), periodic_task.do(), periodic_task.do())
    output = [line for line in capsys.readouterr().out.splitlines() if "completeness" in line]
    assert len(output) == 1
    assert "error" in output[0]  # its lists were not read
    assert "known=1" in output[0]
    now = TUESDAY + timedelta(hours=3)
    await periodic_task.do()
    assert "completeness" not in capsys.readouterr().out


async def test_the_command_for_programs(
    conn: Connection,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A monitor reads the exit code and the JSON."""
    await _known(conn, "a")
    await _all_read(conn, listed=1, held=1)
    for name, value in {**environment, "EMP_API_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    days = ["--from", "2026-03-02", "--to", "2026-03-02"]
    assert await asyncio.to_thread(main, ["completeness", *days, "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["complete"], output["report"]["known"], output["report"]["unexplained"]) == (True, 1, 0)
    assert await asyncio.to_thread(main, ["completeness", "--from", "2026-03-01", "--to", "2026-03-02"]) == 1
    assert "NO" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["completeness", "--from", "2026-03-02", "--to", "2026-03-01"]) == 2


async def test_the_command_that_has_lists_read(
    conn: Connection,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After a move from another system, months have to be read once."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    days = ["--from", "2026-01-01", "--to", "2026-02-28"]
    assert await asyncio.to_thread(main, ["fetch-reports", *days]) == 2  # no account can be asked
    monkeypatch.setenv("EMP_API_URL", "http://127.0.0.1:9")
    assert await asyncio.to_thread(main, ["fetch-reports", *days]) == 0
    assert capsys.readouterr().out.startswith("177 reports")
    row = await (
        await conn.execute("select count(*) from report_fetches where due_at is not null")
    ).fetchone()
    assert row == (177,)
