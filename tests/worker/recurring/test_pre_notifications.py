"""Pre-notifications: made in time, given once whatever crashes, kept as proof, and no debit without one where it is required."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from tether_core import iban
from tether_stores.postgres import transaction
from tether_stores.recurring import changes
from tether_worker.recurring import pre_notifications
from tether_worker.recurring.pre_notifications import files, give_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether_stores.recurring.pre_notifications import PreNotification

    from tests.worker.recurring.conftest import Series

DUE = date(2026, 7, 1)
OPTIONS: dict[str, Any] = {
    "notice_days": 14,
    "notice_required": True,
    "notice_language": "de",
    "creditor_name": "=Club",
}


def _only(folder: Path) -> str:
    """The text of the only file of a folder; nobody else may read it."""
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_text("utf-8-sig")


async def _give(series: Series, adapter: pre_notifications.Adapter) -> int:
    tokens = count(1)
    return await give_batches(
        series.pool, adapter, name="files", now=series.clock.now, token=lambda: str(next(tokens))
    )


async def test_no_debit_without_a_notification_and_a_late_one_moves_it(series: Series) -> None:
    """A debtor who was never told reclaims the debit and is right; one who was told late has the days all the same."""
    await series.begin(debtors=2, first_due_on=DUE, **OPTIONS)
    assert await series.pass_days(20) == 0
    notices = await series.rows("select debtor_id, due_on, give_on, state from pre_notifications order by 1")
    assert notices == [(1, DUE, date(2026, 6, 17), "made"), (2, DUE, date(2026, 6, 17), "made")]
    async with transaction(series.pool) as conn:
        # 21 June, a Sunday: four days late.
        assert await changes.give_notices(conn, [1], given_by="tests", now=series.clock.now) == 1
        assert await changes.give_notices(conn, [1], given_by="somebody else", now=series.clock.now) == 0
    assert await series.pass_days(14) == 0
    assert await series.pass_days(1) == 1
    assert await series.rows("select debtor_id, ordered_on from due_items where state = 'ordered'") == [
        (1, date(2026, 7, 6))
    ]
    assert await series.rows(
        "select state, given_by from pre_notifications where debtor_id = 1 and due_item = '2026-07-01'"
    ) == [("given", "tests")]
    names = await series.rows(
        "select name, convert_from(payload, 'utf8') from outbox where name like 'pre_%'"
    )
    assert len(names) >= 3
    assert not any("Muster" in payload or "DE" in payload for _, payload in names)


async def test_files_are_written_once_whatever_crashes(series: Series, tmp_path: Path) -> None:
    """A crash between file and database would send every letter twice, or none."""
    await series.begin(debtors=3, first_due_on=DUE, **OPTIONS)
    await series.pass_days(16)
    written = files(tmp_path)

    async def dies(batch: str, notices: Sequence[PreNotification]) -> None:
        await written(batch, notices)
        raise OSError

    with pytest.raises(OSError):
        await _give(series, dies)
    assert await series.rows("select count(*) from pre_notifications where state = 'given'") == [(0,)]
    assert await _give(series, written) == 3
    assert await _give(series, written) == 0
    text = _only(tmp_path)
    rows = list(csv.DictReader(io.StringIO(text), delimiter=";"))
    assert [row["due_on"] for row in rows] == ["2026-07-01"] * 3
    assert [row["amount"] for row in rows] == ["10.00", "10.01", "10.02"]
    ibans = [account for (account,) in await series.rows("select iban from debtors order by id")]
    assert [row["iban"] for row in rows] == [iban.mask(account) for account in ibans]
    assert all("Lastschrift" in row["text"] and "=Club" in row["text"] for row in rows)
    assert not any(account in text for account in ibans)
    assert await series.pass_days(14) == 3


async def test_an_item_that_is_not_collected_takes_its_notification_back(series: Series) -> None:
    """A letter about a debit that was waived confuses a debtor and costs a stamp."""
    await series.begin(first_due_on=DUE, **OPTIONS)
    await series.pass_days(16)
    from tether_stores.recurring import schedules

    async with transaction(series.pool) as conn:
        row = await schedules.hold(conn, 1)
        assert row is not None
        await changes.change_schedules(conn, [row], "ended", reason="moved away", now=series.clock.now)
    assert await series.rows("select state from pre_notifications") == [("withdrawn",)]
    assert [(state, reason) for _, state, reason in await series.items()] == [("waived", "schedule_ended")]
    assert await series.pass_days(30) == 0


async def test_a_notification_that_is_not_required_holds_nothing_up(series: Series) -> None:
    """Creditors who announce debits in their contract are not stopped by a list that nobody reads."""
    await series.begin(first_due_on=DUE, **(OPTIONS | {"notice_required": False}))
    series.clock.now += timedelta(days=13)
    await series.tick()
    assert await series.rows("select state from pre_notifications") == []
    assert await series.pass_days(17) == 1
    assert await series.rows("select state, ordered_on from due_items where state = 'ordered'") == [
        ("ordered", DUE)
    ]


@pytest.mark.parametrize(
    ("options", "day"),
    [(OPTIONS, date(2026, 6, 15)), (OPTIONS | {"notice_required": False}, date(2026, 6, 4))],
)
async def test_a_late_notification_states_the_day_of_the_debit(
    series: Series, options: dict[str, Any], day: date
) -> None:
    """A debtor who is told of a debit in two weeks and is debited in three days has no money on the account, and reclaims the debit."""
    await series.begin(first_due_on=date(2026, 6, 4), **options)
    await series.tick()
    [(on, text)] = await series.rows("select due_on, text from pre_notifications")
    assert on.isoformat() in text
    async with transaction(series.pool) as conn:
        assert await changes.give_notices(conn, [1], given_by="tests", now=series.clock.now) == 1
    assert await series.pass_days(20) == 1
    [(ordered_on,)] = await series.rows("select ordered_on from due_items where state = 'ordered'")
    assert on == ordered_on == day
