"""The table of uploads: stored once, leased by one worker, and written only by the holder of the lease."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from tether_core.spreadsheet import Answers, Column, Plan, Position, Preview, PreviewRow
from tether_core.uploads.file_keys import content_key
from tether_core.uploads.problems import KeptCounts
from tether_core.uploads.upload import RowCounts
from tether_stores.postgres import transaction
from tether_stores.queries import load
from tether_stores.uploads import turns, uploads
from tether_stores.uploads.uploads import NewUpload

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

SOON = NOON + timedelta(seconds=30)
PLAN = Plan(kind="csv", header_row=1, data_row=2, columns=(Column(0, "IB\0AN", "iban"),))
FILE = NewUpload(
    "uploads/a",
    "a.csv",
    100,
    bytes(32),
    content_key(bytes(32), answers=Answers()),
    Answers(),
    False,
    False,
    "ada",
)


def other(key: str, **changes: object) -> NewUpload:
    """Another file under another key."""
    digest = key.encode().ljust(32)
    fields = {"object_key": key, "sha256": digest, "content_key": digest, **changes}
    return msgspec.structs.replace(FILE, **fields)


async def taken(conn: Connection, *, lease: str = "mine") -> int:
    """Put a file stored and take it."""
    upload_id, _ = await uploads.record(conn, FILE, now=NOON)
    await turns.take(conn, upload_id, state="examining", lease=lease, until=SOON, now=NOON)
    return upload_id


async def test_the_same_content_is_stored_once(conn: Connection, pool: Pool) -> None:
    """Of many concurrent uploads of one list, one is new, and all get the same id."""

    async def record(number: int) -> tuple[int, bool]:
        async with transaction(pool) as own:
            return await uploads.record(
                own, msgspec.structs.replace(FILE, object_key=f"uploads/{number}"), now=NOON
            )

    results = await asyncio.gather(*(record(number) for number in range(8)))
    assert sorted(fresh for _, fresh in results) == [False] * 7 + [True]
    assert len({upload_id for upload_id, _ in results}) == 1
    for again in (
        msgspec.structs.replace(FILE, object_key="b", dry_run=True),
        msgspec.structs.replace(FILE, object_key="c", forced=True),
        msgspec.structs.replace(FILE, object_key="d", forced=True),
    ):
        assert (await uploads.record(conn, again, now=NOON))[1]


async def due_first(conn: Connection, *, now: datetime) -> turns.DueUpload | None:
    """Lock the first upload that waits and that no other worker is just taking."""
    for waiting in sorted((await turns.waiting(conn, now=now)).uploads, key=lambda item: item.id):
        if due := await turns.due_one(conn, waiting.id, now=now):
            return due
    return None


async def test_two_workers_take_two_uploads(conn: Connection, pool: Pool) -> None:
    """The one that another is just taking is passed over, not waited for and not taken twice."""
    for key in ("a", "b"):
        await uploads.record(conn, other(key), now=NOON)
    async with transaction(pool) as first, transaction(pool) as second, transaction(pool) as third:
        ours = [await due_first(item, now=NOON) for item in (first, second, third)]
    assert [our and our.object_key for our in ours] == ["a", "b", None]


async def test_no_sender_hides_another(conn: Connection) -> None:
    """Of a sender with ten thousand files the oldest and the smallest are looked at; the one file of another is, too."""
    await conn.execute(
        "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, added_by, due_at)"
        " select 'k' || n, 'a.csv', 20000 - n, 's', 'received', %(now)s, %(now)s, 'shop',"
        " %(now)s::timestamptz + make_interval(secs => n::float8 / 1000) from generate_series(1, 10000) n",
        {"now": NOON},
    )
    single = (await uploads.record(conn, msgspec.structs.replace(FILE, added_by="zoo"), now=SOON))[0]
    await conn.execute("update uploads set turn_at = %s where object_key in ('k7', 'k8')", [NOON])
    queued = await turns.waiting(conn, now=SOON)
    keys = {waiting.size_bytes for waiting in queued.uploads if waiting.sender == "shop"}
    assert keys == {*range(20_000 - 20, 20_000), *range(10_000, 10_020)}
    assert [waiting.id for waiting in queued.uploads if waiting.sender == "zoo"] == [single]
    assert queued.turns == {"shop": NOON}
    await conn.execute("analyze uploads")
    values = {"now": SOON, "each": 20}
    plan = await (
        await conn.execute(b"explain " + load("uploads/turns")["waiting"].encode(), values)
    ).fetchall()
    assert not [line for (line,) in plan if "Seq Scan" in line]


async def test_an_upload_is_due_again_when_its_lease_ends(conn: Connection) -> None:
    """A worker that died cannot give anything back."""
    upload_id = await taken(conn)
    assert await due_first(conn, now=SOON - timedelta(seconds=1)) is None
    assert not await turns.due(conn, now=SOON, older_than_s=1)
    assert await turns.due(conn, now=SOON + timedelta(seconds=1), older_than_s=1)
    found = await due_first(conn, now=SOON)
    assert found is not None
    assert (found.id, found.state, found.claims, found.position, found.plan) == (
        upload_id, "examining", 1, Position(), None,
    )  # fmt: skip
    assert await turns.hold(conn, upload_id, lease="mine", until=SOON + timedelta(seconds=9))
    assert await due_first(conn, now=SOON) is None


async def test_without_the_lease_nothing_can_be_written(conn: Connection) -> None:
    """Another worker has taken over; what the first one says now must not undo what the second has done."""
    upload_id = await taken(conn)
    excerpt = Preview(PLAN, ())
    assert not await turns.hold(conn, upload_id, lease="theirs", until=SOON)
    assert not await uploads.planned(
        conn, upload_id, state="reading", excerpt=excerpt, lease="theirs", now=NOON
    )
    assert not await uploads.advance(
        conn, upload_id, row_counts=RowCounts(rows=1, stored=1), position=Position(2), notes=[], kept=KeptCounts(), bytes_read=9,
        lease="theirs", until=SOON, now=NOON,
    )  # fmt: skip
    assert not await uploads.end(conn, upload_id, state="completed", failure=None, lease="theirs", now=NOON)
    await turns.release(conn, upload_id, lease="theirs", due_at=NOON, blameless=True)
    found = await uploads.by_id(conn, upload_id)
    assert found is not None
    assert (found.upload.state, found.upload.row_counts, found.plan) == ("examining", RowCounts(), None)
    assert await due_first(conn, now=NOON) is None


async def test_chunks_add_up_and_the_last_position_stays(conn: Connection) -> None:
    """The next worker goes on from this position; the counts are shown to people."""
    upload_id = await taken(conn)
    row = PreviewRow(2, ["a\0b"], "refused")
    assert await uploads.planned(
        conn, upload_id, state="reading", excerpt=Preview(PLAN, (row,)), lease="mine", now=NOON
    )
    first = RowCounts(rows=3, stored=1, refused=1, skipped=1, amount_minor=5, problems={"iban_invalid": 1})
    second = RowCounts(rows=2, stored=1, excluded=1, amount_minor=7, warnings=1, verdicts={"blacklisted": 1})
    for number, row_counts in enumerate((first, second), 1):
        position = Position(row=number * 3, amount_minor=number, below=True)
        assert await uploads.advance(
            conn, upload_id, row_counts=row_counts, position=position, notes=["n\0"] * number, kept=KeptCounts(), bytes_read=number * 10,
            lease="mine", until=SOON, now=NOON,
        )  # fmt: skip
    await turns.release(conn, upload_id, lease="mine", due_at=NOON, blameless=True)
    due = await due_first(conn, now=NOON)
    found = await uploads.by_id(conn, upload_id)
    assert due is not None
    assert found is not None
    assert (due.position, due.rows_read, due.plan, due.claims) == (Position(6, 2, True), 5, PLAN, 0)
    assert (found.upload.row_counts, found.upload.bytes_read, found.notes) == (
        first + second,
        20,
        ["n\0", "n\0"],
    )
    preview = await uploads.preview(conn, upload_id)
    assert preview is not None
    assert msgspec.json.decode(preview, type=list[PreviewRow]) == [row]


async def test_rows_that_do_not_add_up_are_refused(conn: Connection) -> None:
    """A row that is counted nowhere was lost somewhere; Postgres itself must not accept that."""
    upload_id = await taken(conn)
    with pytest.raises(psycopg.errors.CheckViolation, match="uploads_rows_add_up"):
        await uploads.advance(
            conn, upload_id, row_counts=RowCounts(rows=2, stored=1), position=Position(2), notes=[], kept=KeptCounts(), bytes_read=9,
            lease="mine", until=SOON, now=NOON,
        )  # fmt: skip


async def test_a_failure_keeps_its_reason_and_ends_the_lease(conn: Connection) -> None:
    """People read the sentence, programs the code, and no worker takes the file up again."""
    upload_id = await taken(conn)
    assert await uploads.end(
        conn, upload_id, state="failed", failure=("damaged", "Send it again."), lease="mine", now=NOON
    )
    found = await uploads.by_id(conn, upload_id)
    assert found is not None
    assert (found.upload.failure_code, found.upload.failure) == ("damaged", "Send it again.")
    assert await due_first(conn, now=SOON) is None


async def test_a_claim_that_is_to_blame_counts(conn: Connection) -> None:
    """Five times in a row and the file is given up; a database that was away is not the file's fault."""
    upload_id = await taken(conn)
    await turns.release(conn, upload_id, lease="mine", due_at=NOON, blameless=False)
    found = await due_first(conn, now=NOON)
    assert found is not None
    assert found.claims == 1


async def test_new_answers_start_an_upload_over(conn: Connection) -> None:
    """Nothing of the earlier plan may be left, and of two people who answer at once one gets an error."""
    upload_id = await taken(conn)
    excerpt = Preview(PLAN, ())
    await uploads.planned(conn, upload_id, state="needs_answer", excerpt=excerpt, lease="mine", now=NOON)
    answers = Answers(amount_format="comma")
    for expected in (True, False):
        assert expected is await uploads.answer(
            conn,
            upload_id,
            before="needs_answer",
            after="examining",
            answers=answers,
            content_key=b"new",
            now=NOON,
        )
    due = await due_first(conn, now=NOON)
    assert due is not None
    assert (due.answers, due.plan, due.claims) == (answers, None, 0)
