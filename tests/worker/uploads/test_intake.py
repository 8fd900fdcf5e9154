"""Intake: a file becomes debtors, problems and counts, once, with any content and any interruption."""

from __future__ import annotations

import contextlib
import hashlib
import io
import resource
import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tether_core import iban as ibans
from tether_core.errors import StoreUnreachable
from tether_core.screening.questions import Answer, Answered, Remembered, days_ago_min, layout_key
from tether_core.screening.verdicts import ScreeningPolicy, Subject
from tether_core.spreadsheet import Answers, Rules
from tether_core.uploads.file_keys import content_key, object_key
from tether_core.uploads.problems import GIVE_UP_ROWS, ROWS_PER_CODE_MAX, KeptCounts
from tether_stores import blacklist, objects
from tether_stores.blacklist import ManualEntry
from tether_stores.debtors import debtors
from tether_stores.objects import open_objects
from tether_stores.settings import Settings
from tether_stores.uploads import layout_answers, turns, uploads
from tether_worker.uploads import chunks
from tether_worker.uploads.intake import Intake, intake, read_one
from tether_worker.uploads.reader import ReaderLimits
from xlsxwriter import Workbook

from tests.data.spreadsheets import make
from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tether_core.uploads.turns import Slot
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool
    from tether_stores.uploads.uploads import Detail

DATA = Path(__file__).parents[2] / "data" / "spreadsheets"
DE, AT, NL, FR = (
    "DE89370400440532013000",
    "AT611904300234573201",
    "NL91ABNA0417164300",
    "FR1420041010050500013M02606",
)


class Desk:
    """Sends files in and reads them, as web and worker do, at a time of its own."""

    def __init__(self, pool: Pool, conn: Connection, folder: Path) -> None:
        self.now = NOON
        self.conn = conn
        tokens = count()
        self.deps = Intake(
            pool=pool,
            objects=open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(folder)})),
            clock=lambda: self.now,
            token=lambda: f"lease-{next(tokens)}",
            fingerprint_key=b"k",
            policy=ScreeningPolicy(),
            rules=Rules(),
            limits=ReaderLimits(1 << 30, 20),
            chunk_rows=3,
        )

    async def send(
        self,
        data: bytes | str,
        *,
        name: str = "debtors.csv",
        answers: Answers = Answers(),  # noqa: B008 - frozen
        dry_run: bool = False,
    ) -> int:
        """Put a file stored; gives the upload's id."""
        data = data.encode() if isinstance(data, str) else data
        key = object_key(secrets.token_hex(8), received_at=self.now, name=name)

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await objects.put(self.deps.objects, key, chunks())
        digest = hashlib.sha256(data).digest()
        recording = uploads.NewUpload(
            key,
            name,
            len(data),
            digest,
            content_key(digest, answers=answers),
            answers,
            dry_run,
            True,
            "tests",
        )
        return (await uploads.record(self.conn, recording, now=self.now))[0]

    async def read(self, data: bytes | str, **payload: Any) -> Detail:
        """Send a file and read it as far as it goes."""
        upload_id = await self.send(data, **payload)
        while await read_one(self.deps):
            pass
        return await self.detail(upload_id)

    async def decide(self, upload_id: int, *, remember: bool = False, **result: Answer) -> None:
        """Answer what is asked about the rows of an upload, as the web process does, and have it settled."""
        answers = msgspec.convert(result, dict[Subject, Answer])
        given = {subject: Answered(answer, "ada", self.now) for subject, answer in answers.items()}
        found = await self.detail(upload_id)
        if remember:
            assert found.plan is not None
            for subject, answer in answers.items():
                days_min = days_ago_min(found.repeats, today=self.now.date())
                kept = Remembered(subject, answer, days_min, "ada", self.now)
                await layout_answers.remember(
                    self.conn, kept, layout=layout_key(found.plan), upload_id=upload_id
                )
        assert await uploads.decide(
            self.conn, upload_id, before="needs_answer", after="reading", answers=given, now=self.now
        )
        while await read_one(self.deps):
            pass

    async def detail(self, upload_id: int) -> Detail:
        """What is stored of an upload."""
        found = await uploads.by_id(self.conn, upload_id)
        assert found is not None
        assert found.upload.row_counts.balanced
        return found

    async def ask(self, query: str, *values: object) -> list[Any]:
        """Ask the database."""
        return await (await self.conn.execute(query.encode(), values)).fetchall()

    async def debtors(self, upload_id: int | None = None) -> list[Any]:
        """Row, IBAN, amount and verdict of each debtor, in the order of the file."""
        return await self.ask(
            "select row_number, iban, amount_minor, verdict from debtors"
            " where %s::bigint is null or upload_id = %s order by upload_id, row_number",
            upload_id,
            upload_id,
        )


@pytest.fixture
def desk(pool: Pool, conn: Connection, objects_dir: Path) -> Desk:
    """A desk on this test's own services."""
    return Desk(pool, conn, objects_dir)


def table(*rows: str, header: str = "Name;IBAN;Betrag;Referenz") -> str:
    """Make a CSV file of rows."""
    return "\n".join([header, *rows, ""])


def rows_of(*ibans_: str) -> list[str]:
    """Make one row for each IBAN."""
    return [f"A B;{iban};{number},50;R{number}" for number, iban in enumerate(ibans_, 1)]


def some_iban(number: int) -> str:
    """Give the IBAN with this number."""
    account = f"{number:018d}"
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


# --- a good file ---


async def test_a_file_becomes_debtors_with_all_its_fields(desk: Desk) -> None:
    """The reference, the mandate and the address are what a debit, and a dispute about it, will need."""
    header = "Kontoinhaber;IBAN;Betrag;Mandat-ID;Mandat vom;E-Mail;Ort;Land;Etage;Rechnungsnummer"
    row = (
        "Jürgen Groß;de89 3704 0044 0532 0130 00;1.234,50;M-1;01.03.2019;j@example.org;Köln;Deutschland;2;R 1"
    )
    found = await desk.read(table(row, header=header))
    assert found.upload.state == "completed"
    (result,) = await desk.ask(
        "select iban, iban_fingerprint, name, amount_minor, currency, mandate_id, mandate_signed_on::text, email, city,"
        " country, extra, reference, verdict, cause, upload_id, row_number, created_at from debtors"
    )
    assert result == (
        DE, ibans.fingerprint(DE, key=b"k"), "Jürgen Groß", 123450, "EUR", "M-1", "2019-03-01", "j@example.org",
        "Köln", "DE", {"floor": "2"}, "R 1", "clear", None, found.upload.id, 2, NOON,
    )  # fmt: skip


async def test_counts_progress_and_decisions_are_stored(desk: Desk) -> None:
    """A person who sent a thousand rows wants to know what became of each, and why it was read that way."""
    data = table(*rows_of(DE, AT, NL, FR), "C D;DE88370400440532013000;1,00;R5", ";;;", ";;4,00;")
    found = await desk.read(data)
    row_counts = found.upload.row_counts
    assert (
        row_counts.rows,
        row_counts.stored,
        row_counts.refused,
        row_counts.skipped,
        row_counts.excluded,
    ) == (7, 4, 1, 2, 0)
    assert row_counts.amount_minor == 150 + 250 + 350 + 450
    assert row_counts.problems == {"iban_invalid": 1}
    assert found.upload.bytes_read == found.upload.size_bytes == len(data.encode())
    assert found.plan is not None
    assert {decision.about for decision in found.plan.decisions} >= {
        "encoding",
        "delimiter",
        "header",
        "amount_format",
    }
    assert found.notes == ["Row 8: The file says 4.00, the rows above add up to 13.00."]
    (problem,) = await desk.ask("select row_number, column_name, code, excerpt, note, cells from problems")
    assert problem[:4] == (6, "IBAN", "iban_invalid", "DE88**************3000")
    assert problem[4].startswith("Its check digits do not fit")
    assert problem[5] == ["C D", "DE88370400440532013000", "1,00", "R5"]
    assert (await desk.ask("select count(*) from uploads where preview is not null"))[0][0] == 1


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in DATA.iterdir() if path.is_file() and path.suffix not in {".json", ".py"}),
)
async def test_every_kind_of_file_is_read_as_the_core_reads_it(desk: Desk, name: str) -> None:
    """The way through child, chunks and tables must add nothing and lose nothing."""
    answers = make.ANSWERS.get(name, Answers())
    expected = msgspec.json.decode((DATA / f"{name}.json").read_bytes())
    expected = expected.get("answered", expected["plain"])
    found = await desk.read((DATA / name).read_bytes(), name=name, answers=answers)
    assert found.upload.state == "completed"
    kinds = [
        next(kind for kind in ("debtor", "refused", "skipped") if kind in row) for row in expected["rows"]
    ]
    row_counts = found.upload.row_counts
    assert row_counts.rows == len(kinds)
    assert row_counts.stored + row_counts.excluded == kinds.count("debtor")
    assert (row_counts.refused, row_counts.skipped) == (kinds.count("refused"), kinds.count("skipped"))
    amounts = [row["debtor"]["amount_minor"] for row in expected["rows"] if "debtor" in row]
    assert [amount for _, _, amount, _ in await desk.debtors()] == amounts


async def test_warnings_travel_with_the_debtor(desk: Desk) -> None:
    """A BIC excluded silently would be looked for in vain."""
    found = await desk.read(table(f"A B;{DE};1,00;no BIC", header="Name;IBAN;Betrag;BIC"))
    assert (found.upload.row_counts.stored, found.upload.row_counts.warnings) == (1, 1)
    assert await desk.ask("select row_number, level, code, cells from problems") == [
        (2, "warning", "bic_invalid", None)
    ]


async def test_columns_that_are_kept_are_stored_with_the_debtor(desk: Desk) -> None:
    """Who asked for them would have to join the file to the debtors by hand."""
    data = table(f"A B;{DE};1,00;blau", f"C D;{AT};2,00;", header="Name;IBAN;Betrag;Lieblingsfarbe")
    await desk.read(data, answers=Answers(keep_columns=True))
    assert await desk.ask("select extra from debtors order by row_number") == [
        ({"Lieblingsfarbe": "blau"},),
        (None,),
    ]


async def test_only_rows_with_the_words_that_were_answered_are_stored(desk: Desk) -> None:
    """The credit waits for an answer, and is refused by it."""
    data = table(f"A B;{DE};1,00;S", f"C D;{AT};2,00;H", header="Name;IBAN;Betrag;S/H")
    waiting = await desk.read(data)
    assert (waiting.upload.state, await desk.debtors()) == ("needs_answer", [])
    found = await desk.read(data, answers=Answers(collect={"S/H": ("S",)}))
    assert (found.upload.row_counts.stored, found.upload.row_counts.problems) == (1, {"row_not_selected": 1})


async def test_zero_bytes_reach_no_table(desk: Desk) -> None:
    """One of them would fail the COPY of a whole chunk, for ever."""
    header = "Na\0me;IBAN;Betrag;Notiz\0"
    found = await desk.read(table(f"x\0y;{DE}\0;1,00\0;A\0B", f"x;{AT};2,00;C D", header=header))
    assert found.upload.state == "completed"
    assert (found.upload.row_counts.stored, found.upload.row_counts.refused) == (1, 1)


# --- files that cannot be read, or not yet ---


@pytest.mark.parametrize(
    ("data", "code", "sentence"),
    [
        (b"", "empty", "This file is empty"),
        (b" \n\n ", "empty", "nothing but blanks"),
        (b"Name;IBAN;Betrag\n", "no_rows", "there are no rows below it"),
        (b"%PDF-1.7", "other_format", "send the spreadsheet it was made from"),
        (b"<html><table><tr><td>IBAN", "html", "web page"),
        (make.bomb_xlsx, "too_large_inside", "Split it, or send it as CSV"),
        (make.abort_xlsx, "too_large_inside", "Delete blank rows and columns behind the table"),
        (make.abort_ods, "too_large_inside", "Delete blank rows and columns behind the table"),
        (lambda: make.xlsx({"A": make.LIST})[:3000], "damaged", "save it and send it again"),
        (lambda: make.compound({"EncryptedPackage": bytes(5000)}), "encrypted", "protected with a password"),
        (b"a;" * 2_000_000, "line_too_long", "one line for each debtor"),
        (";".join(f"c{n}" for n in range(10_000)).encode() + b"\n1\n", "too_many_columns", "10,000 columns"),
    ],
    ids=[
        "nothing",
        "blanks",
        "no rows",
        "pdf",
        "html",
        "bomb",
        "wide workbook",
        "wide sheet",
        "cut off",
        "encrypted",
        "one line",
        "many columns",
    ],
)
async def test_a_file_that_cannot_be_read_fails_with_a_sentence(
    desk: Desk, data: bytes | Callable[[], bytes], code: str, sentence: str
) -> None:
    """Its sender must learn what to do; the worker must live on and read the next one."""
    found = await desk.read(data() if callable(data) else data, name="list.xlsx")
    assert (found.upload.state, found.upload.failure_code) == ("failed", code)
    assert sentence in (found.upload.failure or "")
    assert (await desk.read(table(*rows_of(DE)))).upload.row_counts.stored == 1


@pytest.mark.parametrize(
    ("data", "question"),
    [
        (f"Jürgen;{DE};12,50\nZoë;{AT};5,00\n".encode(), "header_missing"),
        (b"Name;Betrag\nA B;12,50\nC D;1,00\n", "iban_column_missing"),
        (f"IBAN;Name;Betrag\n{DE};A B;1.234\n{AT};C D;2.000\n".encode(), "amount_format"),
        ((DATA / "platnicy_pl.csv").read_bytes(), "encoding"),
        ((DATA / "two_amounts.csv").read_bytes(), "amount_column"),
    ],
    ids=lambda pair: pair if isinstance(pair, str) else "",
)
async def test_what_the_file_leaves_open_is_a_question_and_not_guessed(
    desk: Desk, data: bytes, question: str
) -> None:
    """1.234 read as one euro or as a thousand is somebody's money; nothing may be stored before it is settled."""
    found = await desk.read(data)
    assert found.upload.state == "needs_answer"
    assert found.plan is not None
    assert question in [item.code for item in found.plan.questions]
    assert await desk.debtors() == []
    assert await read_one(desk.deps) == 0


async def test_answers_send_an_upload_on_its_way(desk: Desk) -> None:
    """After the answers the file must not be uploaded again."""
    found = await desk.read(f"IBAN;Name;Betrag\n{DE};A B;1.234\n")
    answers = Answers(amount_format="comma")
    assert await uploads.answer(
        desk.conn,
        found.upload.id,
        before="needs_answer",
        after="examining",
        answers=answers,
        content_key=b"other",
        now=desk.now,
    )
    assert await read_one(desk.deps) == 1
    assert (await desk.detail(found.upload.id)).upload.state == "completed"
    assert [amount for _, _, amount, _ in await desk.debtors()] == [123_400]


async def test_answers_that_do_not_fit_fail_with_what_to_change(desk: Desk) -> None:
    """A column that does not exist is a slip of the sender's, and they can mend it."""
    found = await desk.read(table(*rows_of(DE)), answers=Answers(columns={"iban": "Konto"}))
    assert found.upload.failure_code == "invalid_answers"
    assert "columns.iban" in (found.upload.failure or "")


async def test_a_file_without_one_good_row_is_completed_and_says_so(desk: Desk) -> None:
    """Every row has its problem; that is a result, and the report is made from it."""
    found = await desk.read(table("A B;nothing;1,00;", "C D;;0,00;", f"E F;{DE};-5,00;"))
    assert found.upload.state == "completed"
    assert (found.upload.row_counts.stored, found.upload.row_counts.refused) == (0, 3)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_million_blank_rows_are_passed_over(desk: Desk, kind: str) -> None:
    """Somebody has hit Ctrl+Down and a key: the debtor at the very end counts, and what lies between is no problem."""
    first, last = ["A B", DE, "12.50"], ["C D", AT, "1.00"]
    last_row = 1_048_576
    if kind == "csv":
        lines = ["Name;IBAN;Amount", ";".join(first), *[""] * (last_row - 3), ";".join(last)]
        data = "\n".join(lines).encode()
    else:
        folder = io.BytesIO()
        with Workbook(folder, {"constant_memory": True}) as book:
            sheet = book.add_worksheet("List")
            sheet.write_row(0, 0, ["Name", "IBAN", "Amount"])
            sheet.write_row(1, 0, first)
            sheet.write_row(last_row - 1, 0, last)
        data = folder.getvalue()
    desk.deps = msgspec.structs.replace(desk.deps, chunk_rows=chunks.ROWS_MAX)
    counts = (await desk.read(data, name=f"list.{kind}")).upload.row_counts
    assert (counts.rows, counts.stored, counts.skipped) == (last_row - 1, 2, last_row - 3)
    assert [row[0] for row in await desk.debtors()] == [2, last_row]


async def test_a_file_whose_object_is_gone_or_changed_fails(desk: Desk) -> None:
    """Debtors of another file must never come out of this one."""
    gone, changed = await desk.send(table(*rows_of(DE))), await desk.send(table(*rows_of(AT)))
    await objects.delete(desk.deps.objects, (await desk.detail(gone)).object_key)

    async def other() -> AsyncIterator[bytes]:
        yield table(*rows_of(NL)).encode()

    await objects.put(desk.deps.objects, (await desk.detail(changed)).object_key, other())
    while await read_one(desk.deps):
        pass
    codes = [(await desk.detail(item)).upload.failure_code for item in (gone, changed)]
    assert codes == ["object_missing", "object_changed"]
    assert await desk.debtors() == []


async def test_nothing_is_left_in_the_folder_for_temporary_files(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and account numbers of thousands would pile up there, readable to the next process that looks."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for data, name in ((table(*rows_of(DE)).encode(), "a.csv"), (make.xlsx({"A": make.LIST}), "a.xlsx")):
        await desk.read(data, name=name)
    await desk.read(make.abort_xlsx(), name="a.xlsx")
    assert list(folder.iterdir()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200)
    | st.text("Name;IBAN\nBetrag\"'12.,€\0\r\tDE89370400440532013000", max_size=300).map(str.encode)
    | st.binary(max_size=60).map(lambda tail: b"PK\x03\x04" + tail)
)
async def test_whatever_is_sent_comes_to_an_end_that_adds_up(desk: Desk, data: bytes) -> None:
    """Anybody with a key can send anything; it may end as failed, but never as a file that comes up again and again."""
    found = await desk.read(data)
    assert found.upload.state in {"completed", "failed", "needs_answer"}
    assert await desk.ask("select count(*) from uploads where due_at is not null") == [(0,)]


# --- once, with any interruption ---


async def test_a_worker_that_stops_leaves_the_rest_to_the_next(desk: Desk) -> None:
    """Rows doubled are people debited twice; rows lost are money not collected; and the total must still be checked."""
    data = table(*rows_of(*map(some_iban, range(8))), "Summe;;36,00;")
    whole = await desk.read(data)
    upload_id = await desk.send(data)
    stopping = msgspec.structs.replace(desk.deps, stopping=lambda: True, policy=ScreeningPolicy(rules=()))
    turns = 0
    while await read_one(stopping):
        turns += 1
        assert turns < 10
    found = await desk.detail(upload_id)
    assert turns == 4  # three chunks of three rows, and the end
    assert found.upload.state == "completed"
    assert found.notes == whole.notes == ["Row 10: The file says 36.00, the rows above add up to 40.00."]
    assert found.upload.row_counts == whole.upload.row_counts
    assert [row[:3] for row in await desk.debtors(upload_id)] == [
        row[:3] for row in await desk.debtors(whole.upload.id)
    ]


async def test_a_workbook_goes_on_behind_the_last_chunk_too(desk: Desk) -> None:
    """There the child skips what was read; it must count rows as the parent does."""
    lines = [["Name", "IBAN", "Betrag"], *(["A B", some_iban(n), n + 1] for n in range(7))]
    upload_id = await desk.send(make.xlsx({"L": lines}), name="l.xlsx")
    stopping = msgspec.structs.replace(desk.deps, stopping=lambda: True)
    while await read_one(stopping):
        pass
    assert [(row, amount) for row, _, amount, _ in await desk.debtors(upload_id)] == [
        (n + 2, (n + 1) * 100) for n in range(7)
    ]


async def test_a_worker_that_was_only_asleep_changes_nothing(desk: Desk) -> None:
    """Its lease ran out and another has read the file; its own chunk must vanish, not come on top."""
    upload_id = await desk.send(table(*rows_of(*map(some_iban, range(5)))))
    overtaken = False

    async def overtake() -> None:
        nonlocal overtaken
        overtaken = True
        desk.now += timedelta(minutes=5)
        assert await read_one(desk.deps) == 1

    slow = msgspec.structs.replace(desk.deps, token=lambda: "asleep")
    stored = chunks.store

    async def store(*args: Any, **kwargs: Any) -> Any:
        if not overtaken:
            await overtake()
        return await stored(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "store", store)
        assert await read_one(slow) == 1
    assert overtaken
    found = await desk.detail(upload_id)
    assert found.upload.state == "completed"
    assert (found.upload.row_counts.rows, found.upload.row_counts.stored) == (5, 5)
    assert len(await desk.debtors()) == 5


async def test_a_lease_that_ran_out_is_taken_over(desk: Desk) -> None:
    """A worker that was killed gives no sign; its upload must not wait for a person."""
    upload_id = await desk.send(table(*rows_of(DE)))
    work = intake(desk.deps)
    async with desk.deps.pool.connection() as conn, conn.transaction():
        due = await turns.due_one(conn, upload_id, now=desk.now)
        assert due is not None
        await turns.take(
            conn,
            due.id,
            state="examining",
            lease="dead",
            until=desk.now + timedelta(seconds=30),
            now=desk.now,
        )
    assert not await work.has_pending()
    assert await work.batch() == 0
    desk.now += timedelta(seconds=32)
    assert await work.has_pending()
    assert await work.batch() == 1
    assert (await desk.detail(upload_id)).upload.state == "completed"


async def test_a_file_that_ends_its_worker_again_and_again_is_given_up(desk: Desk) -> None:
    """One file that crashes workers must not keep crashing them for as long as there are any."""
    upload_id = await desk.send(table(*rows_of(DE)))
    await desk.conn.execute("update uploads set claims = 5, state = 'examining'")
    assert await read_one(desk.deps) == 1
    found = await desk.detail(upload_id)
    assert (found.upload.state, found.upload.failure_code) == ("failed", "gave_up")


# --- files of nothing but problems ---

# An open quotation mark, and three columns of nonsense: five megabytes of it wrote 1.4 GB of problems.
HOSTILE = 'name;iban;amount\n"A;' + "b;c;d\n" * 40_000


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_file_of_nothing_but_problems_is_given_up(desk: Desk, *, dry_run: bool) -> None:
    """Each of its rows cost the database more than the file has, and everybody behind it waited."""
    intake_ = msgspec.structs.replace(desk.deps, chunk_rows=chunks.ROWS_MAX)
    upload_id = await desk.send(HOSTILE, dry_run=dry_run)
    assert await read_one(intake_) == 1
    found = await desk.detail(upload_id)
    assert (found.upload.state, found.upload.failure_code) == ("failed", "no_debtors")
    assert "None of the first 10,0" in (found.upload.failure or "")
    assert GIVE_UP_ROWS <= found.upload.row_counts.rows < GIVE_UP_ROWS + 100
    ((rows, size_bytes),) = await desk.ask(
        "select count(*), sum(pg_column_size(problems.*)) from problems where upload_id = %s", upload_id
    )
    assert rows == found.upload.listed.problems <= 2 * ROWS_PER_CODE_MAX + 1
    assert size_bytes < 1_000_000
    assert found.upload.listed.unlisted_rows > 8_000
    assert (await desk.read(table(*rows_of(DE)))).upload.row_counts.stored == 1


async def test_problems_are_bounded_across_chunks_and_workers(desk: Desk) -> None:
    """A limit that each chunk began anew would be none."""
    lines = [rows_of(DE)[0], *[f"A B;none {number};1,00;R" for number in range(1_500)]]
    upload_id = await desk.send(table(*lines))
    stopping = msgspec.structs.replace(desk.deps, stopping=lambda: True, chunk_rows=640)
    while await read_one(stopping):
        pass
    found = await desk.detail(upload_id)
    assert (found.upload.state, found.upload.row_counts.refused) == ("completed", 1_500)
    assert found.upload.row_counts.problems == {"iban_invalid": 1_500}
    listed = found.upload.listed
    assert (listed.problems, listed.unlisted_rows, listed.unlisted_problems) == (1_000, 500, 500)
    assert await desk.ask("select count(*), max(row_number) from problems") == [(1_000, 1_002)]


async def test_a_file_that_was_given_up_is_read_from_its_first_row_by_new_answers(desk: Desk) -> None:
    """All rows were wrong because the amounts were in another column; the answer must reach the first row too."""
    lines = [f"A B;{some_iban(number)};n/a;{number + 1},00" for number in range(GIVE_UP_ROWS + 200)]
    data = table(*lines, header="Name;IBAN;Betrag;Sonstiges")
    intake_ = msgspec.structs.replace(desk.deps, chunk_rows=chunks.ROWS_MAX)
    upload_id = await desk.send(data)
    assert await read_one(intake_) == 1
    before = await desk.detail(upload_id)
    if before.upload.state == "needs_answer":
        answers = Answers(columns={"amount": "Betrag"}, amount_format="comma")
        await _answer(desk, before, answers)
        assert await read_one(intake_) == 1
        before = await desk.detail(upload_id)
    assert (before.upload.state, before.upload.failure_code) == ("failed", "no_debtors")
    await _answer(desk, before, Answers(columns={"amount": "Sonstiges"}, amount_format="comma"))
    assert await desk.ask("select count(*) from problems") == [(0,)]
    assert await read_one(intake_) == 1
    after = await desk.detail(upload_id)
    assert (after.upload.state, after.upload.row_counts.stored) == ("completed", len(lines))
    assert after.upload.listed == KeptCounts()


async def _answer(desk: Desk, found: Detail, answers: Answers) -> None:
    """Send an upload through again, as the web process does."""
    assert await uploads.answer(
        desk.conn, found.upload.id, before=found.upload.state, after="examining", answers=answers,
        content_key=secrets.token_bytes(32), now=desk.now,
    )  # fmt: skip


# --- turns ---


async def _from(desk: Desk, sender: str, data: bytes | str, **payload: Any) -> int:
    """Send a file with another API key."""
    upload_id = await desk.send(data, **payload)
    desk.now += timedelta(seconds=1)
    await desk.conn.execute("update uploads set added_by = %s where id = %s", [sender, upload_id])
    return upload_id


def _list(first: int, count_: int) -> str:
    """Make a list of so many rows, no two of them of one account."""
    return table(*rows_of(*map(some_iban, range(first, first + count_))))


async def _turns(desk: Desk, intake_: Intake, *, slot: Slot = "any") -> list[int]:
    """Read until nothing waits; gives whose turn each was."""
    order: list[int] = []
    while await read_one(intake_, slot=slot):
        ((upload_id,),) = await desk.ask(
            "select id from uploads order by turn_at desc nulls last, id limit 1"
        )
        order.append(upload_id)
        desk.now += timedelta(seconds=10)
        assert len(order) < 50
    return order


async def test_senders_have_turns_one_after_the_other(desk: Desk) -> None:
    """One key that sends a hundred lists must not keep the list of another waiting until all of them are read."""
    many = [await _from(desk, "shop", _list(10 * number, 7)) for number in range(3)]
    single = await _from(desk, "club", _list(100, 7))
    order = await _turns(desk, msgspec.structs.replace(desk.deps, turn_s=lambda *_: 0))
    assert order[:2] == [many[0], single]
    assert order.index(single) < order.index(many[1])
    for upload_id in (*many, single):
        found = await desk.detail(upload_id)
        assert (found.upload.state, found.upload.row_counts.stored) == ("completed", 7)


async def test_a_long_list_makes_room_for_another_sender_and_loses_nothing(desk: Desk) -> None:
    """It goes on behind its last chunk, however often it makes room; rows doubled are people debited twice."""
    long = await _from(desk, "shop", _list(0, 30))
    other = await _from(desk, "club", _list(100, 30))
    await desk.conn.execute("update uploads set read_s = 9")  # neither is short any more
    order = await _turns(desk, msgspec.structs.replace(desk.deps, turn_s=lambda *_: 0))
    assert order[:4] == [long, other, long, other]
    for upload_id in (long, other):
        found = await desk.detail(upload_id)
        assert (found.upload.state, found.upload.row_counts.rows, found.upload.row_counts.stored) == (
            "completed",
            30,
            30,
        )
    assert len({iban for _, iban, _, _ in await desk.debtors()}) == 60
    ((read_s,),) = await desk.ask("select min(read_s) from uploads")
    assert read_s > 9


async def test_a_list_of_one_sender_is_not_cut_for_one_as_long(desk: Desk) -> None:
    """Two halves are of less use than one whole list, and each turn reads the file again up to there."""
    lists = [await desk.send(_list(100 * number, 30)) for number in range(3)]
    await desk.conn.execute("update uploads set read_s = 9")
    order = await _turns(desk, msgspec.structs.replace(desk.deps, turn_s=lambda *_: 0))
    assert order == lists


async def test_a_short_list_does_not_wait_for_a_long_one(desk: Desk) -> None:
    """While one slot reads a long file, the other takes short ones of the same sender, and no others."""
    long = await desk.send(_list(0, 9))
    await desk.conn.execute("update uploads set size_bytes = 50000000 where id = %s", [long])
    short = await desk.send(_list(100, 1))
    assert await read_one(desk.deps, slot="short") == 1
    assert (await desk.detail(short)).upload.state == "completed"
    assert await read_one(desk.deps, slot="short") == 0
    assert (await desk.detail(long)).upload.state == "received"
    work = intake(desk.deps, slot="short")
    desk.now += timedelta(seconds=5)
    assert not await work.has_pending()
    assert await intake(desk.deps).has_pending()


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_short_file_that_proves_long_goes_on_in_the_other_slot(desk: Desk, kind: str) -> None:
    """A workbook of some hundred bytes can take its reader a minute; it must not hold up short lists for as long."""
    rows = [["Name", "IBAN", "Betrag"], *(["A B", some_iban(n), n + 1] for n in range(7))]
    data = make.xlsx({"L": rows}) if kind == "xlsx" else _list(0, 7)
    upload_id = await desk.send(data, name=f"list.{kind}")
    hurried = msgspec.structs.replace(desk.deps, short_s=0.0)
    assert await read_one(hurried, slot="short") == 1
    found = await desk.detail(upload_id)
    assert found.upload.state in {"examining", "reading"}
    assert found.upload.failure_code is None
    assert await desk.ask("select claims, lease, read_s > 0 from uploads") == [(0, None, True)]
    await desk.conn.execute("update uploads set read_s = 3")
    assert await read_one(hurried, slot="short") == 0
    assert await read_one(desk.deps) == 1
    found = await desk.detail(upload_id)
    assert (found.upload.state, found.upload.row_counts.stored) == ("completed", 7)


async def test_two_workers_that_choose_the_same_upload_read_two(desk: Desk) -> None:
    """Both look at the same list; who is second must take the next one and not wait."""
    first, second = await desk.send(_list(0, 2)), await desk.send(_list(100, 2))
    async with desk.deps.pool.connection() as conn, conn.transaction():
        assert await turns.due_one(conn, first, now=desk.now) is not None
        assert await read_one(desk.deps) == 1
        assert await read_one(desk.deps) == 0
    assert (await desk.detail(second)).upload.state == "completed"
    assert (await desk.detail(first)).upload.state == "received"


# --- screening ---


async def test_the_same_debit_twice_in_a_file_is_taken_once(desk: Desk) -> None:
    """A list pasted twice would debit everybody twice. Chunks have three rows here, so repeats cross their borders."""
    lines = [
        f"A;{DE};1,00;R1", f"B;{AT};2,00;", f"A;{DE};1,00;R2", f"A;{DE};1,00;R1", f"B;{AT};2,00;", f"A;{DE};9,00;",
        f"C;{NL};1,00;", f"C;{NL};1,00;X",
    ]  # fmt: skip
    found = await desk.read(table(*lines))
    expected = dict.fromkeys((2, 3, 4, 8), "clear") | dict.fromkeys((5, 6, 7, 9), "duplicate_in_file")
    assert {row: verdict for row, _, _, verdict in await desk.debtors()} == expected
    assert found.upload.row_counts.verdicts == {"duplicate_in_file": 4}
    assert found.upload.row_counts.amount_minor == 500
    assert await desk.ask("select cause from debtors where row_number = 5") == [
        ("It is the same debit as row 2 of this file.",)
    ]


async def test_what_is_kept_of_a_file_does_not_depend_on_its_order(desk: Desk) -> None:
    """
    A row without a reference repeats another one of its account; it must not take two debits of their own with it.

    Chunks have three rows here: the row without a reference is stored long before the two it may repeat.
    """
    rows = ["A;{DE};1,00;;", "B;{AT};2,00;R1;", "A;{DE};1,00;R1;", "B;{AT};2,00;;", "A;{DE};1,00;R2;", "C;{NL};3,00;;K1",
            "B;{AT};2,00;R2;", "C;{NL};3,00;;K2"]  # fmt: skip
    rows = [row.format(DE=DE, AT=AT, NL=NL) for row in rows]
    kept = []
    for lines in (rows, rows[::-1]):
        found = await desk.read(table(*lines, header="Name;IBAN;Betrag;Referenz;Kundennummer"))
        assert found.upload.state == "completed"
        assert found.upload.row_counts.verdicts == {"duplicate_in_file": 2}
        assert (found.upload.row_counts.stored, found.upload.row_counts.amount_minor) == (6, 1200)
        kept.append(
            await desk.ask(
                "select iban, reference, customer_id from debtors where upload_id = %s and verdict = 'clear'"
                " order by 1, 2, 3",
                found.upload.id,
            )
        )
        assert found.plan is not None
        (several,) = [decision for decision in found.plan.decisions if decision.about == "several_debits"]
        assert several.value == "6 debits from 3 accounts"
        await desk.conn.execute("update debtors set created_at = created_at - interval '60 days'")
    assert kept[0] == kept[1] == [
        (AT, "R1", None), (AT, "R2", None), (DE, "R1", None), (DE, "R2", None), (NL, None, "K1"), (NL, None, "K2"),
    ]  # fmt: skip


async def test_one_reference_with_two_mandates_is_a_question(desk: Desk) -> None:
    """It may be a typing error in a list that is sent twice, or two contracts of one household; only people know."""
    rows = [f"A;{DE};1,00;R1;M1", f"B;{AT};2,00;R2;M1", f"A;{DE};1,00;r 1;M-2"]
    found = await desk.read(table(*rows, header="Name;IBAN;Betrag;Referenz;Mandat-ID"))
    assert found.upload.state == "needs_answer"
    assert found.plan is not None
    (question,) = found.plan.questions
    assert (question.code, question.answer) == ("identity_unclear", "screening.identity_unclear")
    assert "1 row over 1.00 EUR" in question.ask
    cause = (
        "It may be the debit of row 2 of this file: it has the same reference and another mandate or customer number, or a "
        "spreadsheet program has shortened their numbers (1.2E+15)."
    )
    assert await desk.ask("select row_number, cause from debtors where verdict <> 'clear'") == [(4, cause)]
    await desk.decide(found.upload.id, identity_unclear="take")
    done = await desk.detail(found.upload.id)
    assert (done.upload.state, done.upload.row_counts.stored, done.upload.row_counts.amount_minor) == (
        "completed",
        3,
        400,
    )


async def test_numbers_that_a_spreadsheet_has_cut_make_no_debits_the_same(desk: Desk) -> None:
    """Three invoices of one debtor are all "1,23E+11" now: excluded as repeats, two are never collected and nobody asks."""
    rows = [
        f"A;{DE};1,00;1,23E+11",
        f"B;{AT};2,00;1,23E+11",
        f"A;{DE};3,00;1.23e+11",
        f"A;{DE};4,00;1,23E+11",
    ]
    found = await desk.read(table(*rows))
    assert found.upload.state == "needs_answer"
    assert found.plan is not None
    assert [question.code for question in found.plan.questions] == ["identity_unclear"]
    assert [(row, verdict) for row, _, _, verdict in await desk.debtors(found.upload.id)] == [
        (2, "clear"),
        (3, "clear"),
        (4, "identity_unclear"),
        (5, "identity_unclear"),
    ]
    assert await desk.ask("select row_number, code from problems order by 1") == [
        (row, "digits_lost") for row in range(2, 6)
    ]
    await desk.decide(found.upload.id, identity_unclear="take")
    assert (await desk.detail(found.upload.id)).upload.row_counts.amount_minor == 1000
    # Sent again in full, each of them may be one of those.
    desk.now += timedelta(days=3)
    await collected(desk, found.upload.id)
    again = await desk.read(table(f"A;{DE};3,00;123456789012", f"A;{DE};9,00;987654321098"))
    assert [(row, verdict) for row, _, _, verdict in await desk.debtors(again.upload.id)] == [
        (2, "identity_unclear"),
        (3, "clear"),
    ]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_mandate_of_several_accounts_is_warned_of(desk: Desk, *, dry_run: bool) -> None:
    """The bank of the second debtor knows no such mandate, and gives the money back for thirteen months."""
    header = "Name;IBAN;Betrag;Referenz;Mandat-ID"
    await desk.read(table(f"A;{FR};1,00;R0;M-0777", f"A;{NL};1,00;R1;M-5", header=header))
    desk.now += timedelta(days=30)
    rows = [
        f"A;{DE};1,00;R1;M-01",
        f"B;{AT};2,00;R2;m 1",
        f"C;{NL};3,00;R3;M-5",  # the same account as before
        f"D;{AT};4,00;R4;M-777",  # of another account in the first upload
        f"E;{FR};5,00;R5;1,2E+15",  # no mandate at all any more
        f"F;{DE};6,00;R6;1,2E+15",
        f"G;{DE};7,00;R7;M-10",
        f"H;{DE};8,00;R8;",
        f"I;{AT};9,00;R9;",
    ]
    found = await desk.read(table(*rows, header=header), dry_run=dry_run)
    assert found.upload.state == "completed"
    code = "mandate_of_several_accounts"
    result = await desk.ask(
        f"select row_number, level, column_name, excerpt, note from problems where code = '{code}' order by 1"
    )
    assert [row[:4] for row in result] == [
        (2, "warning", "Mandat-ID", "M-01"),
        (3, "warning", "Mandat-ID", "m 1"),
        (5, "warning", "Mandat-ID", "M-777"),
    ]
    assert [note.split(". ")[0] for *_, note in result] == [
        "The mandate is also used for another account, in row 3",
        "The mandate is also used for another account, in row 2",
        "The mandate was used for another account, in row 2 of upload 1",
    ]
    assert found.upload.row_counts.problems == {"digits_lost": 2, code: 3}
    assert found.upload.row_counts.warnings == 5
    assert found.plan is not None
    assert [decision.value for decision in found.plan.decisions if decision.about == code] == ["3 rows"]


async def test_a_changed_account_is_warned_of_once(desk: Desk) -> None:
    """Who signed a new mandate after the warning would be warned of each month, and nobody reads warnings any more."""
    header = "Name;IBAN;Betrag;Referenz;Mandat-ID"
    warned = []
    for month, iban in enumerate([DE, AT, AT, AT, DE]):
        found = await desk.read(table(f"A;{iban};1,00;R{month};M-1", header=header))
        warned.append(found.upload.row_counts.warnings)
        desk.now += timedelta(days=30)
    assert warned == [0, 1, 0, 0, 1]


async def test_the_same_debit_in_another_upload_is_excluded(desk: Desk) -> None:
    """The list of last week sent again, under another name and before anything was billed, is a second debit waiting."""
    first = await desk.read(table(*rows_of(DE, AT)))
    desk.now += timedelta(days=25)
    lines = [
        line.replace(";R", "; r 00") for line in rows_of(DE, NL)
    ]  # a program has rewritten the references
    again = await desk.read(table(*lines))
    assert again.upload.state == "completed"
    assert [row[1:] for row in await desk.debtors(again.upload.id)] == [
        (DE, 150, "waiting_elsewhere"),
        (NL, 250, "clear"),
    ]
    assert await desk.ask("select cause from debtors where verdict <> 'clear'") == [
        (f"The same debit is waiting in upload {first.upload.id}, not billed yet.",)
    ]
    desk.now += timedelta(days=1)
    later = await desk.read(table(*rows_of(AT)[:1]))
    assert [verdict for *_, verdict in await desk.debtors(later.upload.id)] == ["clear"]


def monthly(count: int, *, reference: str = "") -> str:
    """A list of members who pay the same amount each month."""
    rows = [
        f"Member {number};{some_iban(number)};10,00;{reference.format(number)}" for number in range(count)
    ]
    return table(*rows)


async def collected(
    desk: Desk, upload_id: int, *, state: str = "approved", submission_count: int = 1
) -> None:
    """Have the debtors of an upload debited, as far as the tables show."""
    await desk.conn.execute(
        "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
        " values (%s, 'default', 'once', 'running', '{}', '{}', 'tests', %s, %s)",
        (upload_id, desk.now, desk.now),
    )
    stage = {"approved": 60, "declined": 50, "pending": 0}[state]
    await desk.conn.execute(
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
        " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number, submission_count, submitted_at)"
        " select 'default', d.id, 't-' || d.id, d.amount_minor, 'EUR', %s, %s, 0, d.iban_fingerprint, 'DE', %s, %s,"
        " (select max(id) from billing_runs), 'once', 1, %s, case when %s > 0 then %s::timestamptz end"
        " from debtors d where d.upload_id = %s and d.verdict = 'clear'",
        (state, stage, desk.now, desk.now, submission_count, submission_count, desk.now, upload_id),
    )


@pytest.mark.parametrize(
    ("before", "after", "days", "state"),
    [
        ("", "", 3, "needs_answer"),  # nothing tells the two lists apart
        ("A{}", "B{}", 25, "needs_answer"),  # renumbered
        ("A{}", "", 3, "needs_answer"),
        ("A{}", "a-00{}", 3, "completed"),  # the same debits: excluded, and said so
        ("", "", 26, "completed"),
        ("", "", 28, "completed"),
        ("A{}", "B{}", 30, "completed"),
        ("A{}", "A{}", 28, "needs_answer"),  # an invoice twice, or the number of a member
        ("A{}", "A{}", 400, "needs_answer"),
    ],
)
async def test_a_list_that_comes_again_debits_nobody_twice_without_a_question(
    desk: Desk, before: str, after: str, days: int, state: str
) -> None:
    """
    A list is sent again days or a month later, renumbered, or without references.

    Taken in silence it debits everybody twice; excluded as a whole, a month's money is missing.
    """
    first = await desk.read(monthly(4, reference=before))
    await collected(desk, first.upload.id)
    desk.now += timedelta(days=days)
    again = await desk.read(monthly(4, reference=after))
    assert again.upload.state == state
    verdicts = {verdict for *_, verdict in await desk.debtors(again.upload.id)}
    if state == "completed":
        assert verdicts == ({"already_collected"} if days <= 25 else {"clear"})
        return
    assert verdicts == {"collected_lately" if days <= 25 else "reference_again"}
    assert again.plan is not None
    (question,) = again.plan.questions
    assert question.code == "collected_before"
    assert question.choices == ("take", "exclude")
    day = (desk.now - timedelta(days=days)).date()
    assert question.ask.startswith(
        "4 rows over 40.00 EUR may have been debited before: 4 rows over 40.00 EUR"
    )
    assert f"on {day} through upload {first.upload.id}" in question.ask
    assert again.upload.row_counts.stored == 0
    assert await read_one(desk.deps) == 0  # it waits


async def test_questions_are_answered_from_a_terminal(
    desk: Desk, process: Launch, environment: dict[str, str]
) -> None:
    """An operator with a terminal and without an API key could not release a month's list for billing."""

    def questions(*words: str) -> tuple[int, str]:
        program = process("tether-worker", "questions", *words, environ=environment)
        return program.wait(), program.stdout + program.stderr

    assert questions("list") == (0, "no upload waits for an answer about its rows\n")
    desk.now = datetime.now(UTC) - timedelta(days=3)
    first = await desk.read(monthly(4))
    await collected(desk, first.upload.id)
    desk.now += timedelta(days=3)
    again = await desk.read(monthly(4))
    number = str(again.upload.id)
    code, text = questions("list")
    assert code == 1
    assert f"upload {number}  debtors.csv" in text
    assert "4 rows over 40.00 EUR may have been debited before" in text
    assert f"questions answer {number} --collected-before take|exclude --by NAME" in text
    (result,) = msgspec.json.decode(questions("list", "--json")[1])
    assert result["upload_id"] == again.upload.id
    assert [question["code"] for question in result["questions"]] == ["collected_before"]
    code, text = questions("answer", number, "--identity-unclear", "take", "--by", "ada")
    assert (code, "Answer with take or exclude: collected_before" in text) == (2, True)
    assert questions("answer", number, "--collected-before", "take", "--by", " ")[0] == 2
    code, text = questions("answer", number, "--collected-before", "exclude", "--remember", "--by", "ada")
    assert code == 0, text
    desk.now = datetime.now(UTC) + timedelta(seconds=1)
    while await read_one(desk.deps):
        pass
    done = await desk.detail(again.upload.id)
    assert (done.upload.state, done.upload.row_counts.stored) == ("completed", 0)
    assert [(answered.answer, answered.by) for answered in done.screening_answers.values()] == [
        ("exclude", "ada")
    ]
    assert questions("answer", number, "--collected-before", "take", "--by", "ada")[0] != 0
    (kept,) = msgspec.json.decode(questions("kept", "--json")[1])
    assert (kept["subject"], kept["answer"], kept["answered_by"]) == ("collected_before", "exclude", "ada")
    assert "collected_before: exclude, by ada" in questions("kept")[1]
    assert questions("forget", str(kept["id"]), "--by", "bob")[0] == 0
    assert questions("forget", str(kept["id"]), "--by", "bob")[0] == 2
    assert questions("kept")[1] == "no answer is kept\n"
    assert await desk.ask("select forgotten_by from layout_answers") == [("bob",)]


async def test_debits_that_were_never_submitted_or_failed_are_no_question(desk: Desk) -> None:
    """A run that was cancelled, or refused as a whole, collected nothing: its list may come again."""
    for number, (state, submission_count) in enumerate([("pending", 0), ("declined", 1)]):
        first = await desk.read(monthly(2, reference=f"A{number}-{{}}"))
        await collected(desk, first.upload.id, state=state, submission_count=submission_count)
        if state == "pending":  # the run was cancelled, and its upload has nothing that may be billed
            await desk.conn.execute(
                "update billing_attempts set not_submitted_reason = 'cancelled', state = 'error'"
            )
            await desk.conn.execute("update debtors set verdict = 'blacklisted', cause = 'x'")
        desk.now += timedelta(days=1)
        again = await desk.read(monthly(2, reference=f"B{number}-{{}}"))
        assert again.upload.state == "completed"
        assert again.upload.row_counts.stored == 2
        desk.now += timedelta(days=60)


@pytest.mark.parametrize(
    ("answer", "stored", "verdict"), [("take", 4, "clear"), ("exclude", 1, "collected_lately")]
)
async def test_an_answer_takes_the_rows_or_leaves_them_out(
    desk: Desk, answer: Answer, stored: int, verdict: str
) -> None:
    """All rows were read: the answer must not read the file again, count a row twice, or touch the rows nobody asked about."""
    first = await desk.read(monthly(3))
    await collected(desk, first.upload.id)
    desk.now += timedelta(days=3)
    asked = await desk.read(monthly(4))
    assert (asked.upload.state, asked.upload.row_counts.excluded) == ("needs_answer", 3)
    await desk.decide(asked.upload.id, collected_before=answer)
    done = await desk.detail(asked.upload.id)
    assert (done.upload.state, done.upload.row_counts.stored) == ("completed", stored)
    assert done.upload.row_counts.amount_minor == stored * 1000
    assert [row[3] for row in await desk.debtors(asked.upload.id)] == [verdict] * 3 + ["clear"]
    assert done.plan is not None
    assert done.plan.questions == ()
    (result,) = [decision for decision in done.plan.decisions if decision.about == "collected_before"]
    assert (result.value, result.by) == (answer, "caller")
    assert "ada answered so on 2026-03-05 at 12:00 UTC" in result.why


async def test_an_answer_kept_for_a_layout_holds_for_debits_as_old_as_those(desk: Desk) -> None:
    """Who collects the same list each month is asked once; sent again the next day, it is asked about all the same."""
    first = await desk.read(monthly(2, reference="M{}"))
    await collected(desk, first.upload.id)
    desk.now += timedelta(days=28)
    second = await desk.read(monthly(2, reference="M{}"))
    assert second.upload.state == "needs_answer"
    await desk.decide(second.upload.id, remember=True, collected_before="take")
    await collected(desk, second.upload.id)
    desk.now += timedelta(days=1)
    tomorrow = await desk.read(monthly(2, reference="N{}"))
    assert tomorrow.upload.state == "needs_answer"
    desk.now += timedelta(days=26)
    third = await desk.read(monthly(2, reference="M{}"))
    assert (third.upload.state, third.upload.row_counts.stored) == ("completed", 2)
    assert third.plan is not None
    (result,) = [decision for decision in third.plan.decisions if decision.about == "collected_before"]
    assert "for a file of this layout" in result.why
    await collected(desk, third.upload.id)
    (kept,) = await layout_answers.listed(desk.conn, limit=9)
    assert await layout_answers.forget(desk.conn, kept.id, by="ada", now=desk.now)
    desk.now += timedelta(days=28)
    fourth = await desk.read(monthly(2, reference="M{}"))
    assert fourth.upload.state == "needs_answer"


async def test_a_dry_run_shows_the_questions(desk: Desk) -> None:
    """Nothing is stored, so nothing waits; but the result of a dry run must show the question to come."""
    first = await desk.read(monthly(2))
    await collected(desk, first.upload.id)
    desk.now += timedelta(days=2)
    found = await desk.read(monthly(2), dry_run=True)
    assert (found.upload.state, found.upload.row_counts.verdicts) == ("completed", {"collected_lately": 2})
    assert found.notes[-1].startswith(
        "A person would be asked: 2 rows over 20.00 EUR may have been debited before"
    )


async def test_all_reasons_are_kept(desk: Desk) -> None:
    """A row that is on the blacklist and collected already looks billable once somebody lifts the block."""
    first = await desk.read(monthly(1, reference="A{}"))
    await collected(desk, first.upload.id)
    entry = ManualEntry(
        action="hold",
        reason_code="MD06",
        iban_masked="DE",
        iban_fingerprint=ibans.fingerprint(some_iban(0), key=b"k"),
    )
    await blacklist.enter(desk.conn, [entry], source="manual", added_by="ada", now=desk.now)
    desk.now += timedelta(days=2)
    again = await desk.read(monthly(1, reference="A{}"))
    (row,) = await debtors.excluded(desk.conn, again.upload.id, after_row=0, limit=9)
    assert [reason.rule for reason in row.reasons] == ["blacklisted", "already_collected"]


async def test_the_blacklist_leaves_out_and_says_why(desk: Desk) -> None:
    """Hold and block are distinguished, the strictest entry decides, and a lifted or expired one does not count."""

    def entry(iban: str, reason: str, **payload: Any) -> ManualEntry:
        payload = {"action": "block", "iban_masked": ibans.mask(iban), **payload}
        return ManualEntry(reason_code=reason, iban_fingerprint=ibans.fingerprint(iban, key=b"k"), **payload)

    made = await blacklist.enter(
        desk.conn,
        [
            entry(DE, "MD06", action="hold"),
            entry(AT, "MD06", action="hold"),
            entry(AT, "MANUAL", note="asked by phone"),
            entry(NL, "AC04"),
            entry(FR, "AC04", expires_at=desk.now - timedelta(days=1)),
        ],
        source="manual",
        added_by="ada",
        now=desk.now - timedelta(days=2),
    )
    await blacklist.lift(
        desk.conn, made[3], lifted_by="ada", reason="a mistake", forgives="entry", now=desk.now
    )
    found = await desk.read(table(*rows_of(DE, AT, NL, FR)))
    assert found.upload.row_counts.verdicts == {"blacklisted": 2}
    assert await desk.ask(
        "select row_number, cause from debtors where verdict = 'blacklisted' order by 1"
    ) == [
        (2, "The account is on hold: MD06: The debtor asked for the money back."),
        (3, "The account is blocked: MANUAL: asked by phone."),
    ]


async def test_names_and_addresses_on_the_blacklist_exclude(desk: Desk) -> None:
    """Somebody who may not be debited opens another account; upper case and umlauts must not hide them."""
    await blacklist.enter(
        desk.conn,
        [
            ManualEntry(action="block", reason_code="MANUAL", name="Müller, Jürgen"),
            ManualEntry(action="hold", reason_code="MANUAL", email="anna@example.org"),
        ],
        source="manual",
        added_by="ada",
        now=desk.now,
    )
    lines = [
        f"JÜRGEN MÜLLER;{DE};1,00;",
        f"A B;{AT};2,00;Anna@Example.org",
        f"Jürg Müller;{NL};3,00;x@example.org",
    ]
    found = await desk.read(table(*lines, header="Name;IBAN;Betrag;E-Mail"))
    assert found.upload.row_counts.verdicts == {"blacklisted_name": 1, "blacklisted_email": 1}
    assert [verdict for *_, verdict in await desk.debtors()] == [
        "blacklisted_name",
        "blacklisted_email",
        "clear",
    ]


async def test_banks_on_the_blacklist_exclude_by_the_file_and_by_the_iban(desk: Desk) -> None:
    """An entry about a bank must hold whether a file names BICs, or none, or nonsense; a bank nobody knows is not guessed."""
    entries = [("COBADEFF", "hold"), ("ABNA*", "block"), ("DEUTDEDB101", "hold")]
    await blacklist.enter(
        desk.conn,
        [ManualEntry(action=action, reason_code="MANUAL", bic=bic) for bic, action in entries],  # type: ignore[arg-type]
        source="manual",
        added_by="ada",
        now=desk.now,
    )
    lines = [
        f"A B;{DE};1,00;",  # COBADEFF by its bank code
        f"C D;{AT};2,00;DEUTDEDB101",  # the file names the branch
        f"E F;{FR};3,00;DEUTDEDBXXX",
        f"G H;{NL};4,00;n/a",
    ]
    found = await desk.read(table(*lines, header="Name;IBAN;Betrag;BIC"))
    assert found.upload.row_counts.verdicts == {"blacklisted_bank": 3}
    assert await desk.ask("select row_number, cause from debtors where verdict <> 'clear' order by 1") == [
        (2, "The account's bank is on hold (MANUAL)."),
        (3, "The account's bank is on hold (MANUAL)."),
        (5, "The account's bank is blocked (MANUAL)."),
    ]


@pytest.mark.parametrize(
    ("stages", "days", "reference", "verdict"),
    [
        ((60, 1), 400, "R9", "chargebacked_before"),
        ((60, 0), 25, "R1", "already_collected"),
        ((60, 0), 26, "R1", "reference_again"),
        ((60, 0), 25, "", "collected_lately"),
        ((60, 0), 26, "", "clear"),
        ((60, 0), 3, "R9", "clear"),  # another amount under another reference
        ((50, 0), 25, "R1", "recently_attempted"),
        ((50, 0), 26, "R1", "clear"),
        ((50, 0), 3, "R9", "clear"),
        ((70, 0), 3, "R1", "collected_lately"),
        ((80, 0), 3, "R9", "clear"),
    ],
)
async def test_what_earlier_debits_came_to_decides(
    desk: Desk,
    attempt: Callable[..., Awaitable[int]],
    stages: tuple[int, int],
    days: int,
    reference: str,
    verdict: str,
) -> None:
    """Charged back once is excluded for good, the same debit within the window; what only may be the same is asked about."""
    at = desk.now - timedelta(days=days)
    attempt_id = await attempt("t-1", payment_stage=stages[0], dispute_stage=stages[1], at=at)
    fingerprint = ibans.fingerprint(DE, key=b"k")
    await desk.conn.execute(
        "update billing_attempts set iban_fingerprint = %s where id = %s", [fingerprint, attempt_id]
    )
    await desk.conn.execute(
        "update debtors set reference = 'R1', iban = %s, iban_fingerprint = %s, created_at = %s",
        [DE, fingerprint, desk.now - timedelta(days=500)],
    )
    found = await desk.read(table(f"A B;{DE};1,00;{reference}"))
    assert [row[3] for row in await desk.debtors(found.upload.id)] == [verdict]


async def test_a_dry_run_tells_the_same_and_stores_no_debtor(desk: Desk) -> None:
    """The result of a dry run must equal the later upload, and nothing may be billed by it."""
    lines = rows_of(DE, AT, NL, DE, FR, AT)
    lines = [line.rpartition(";")[0] + ";" for line in lines]
    tried = await desk.read(table(*lines, "X;nothing;1,00;"), dry_run=True)
    assert await desk.debtors() == []
    assert await desk.ask("select count(*) from dry_run_rows") == [(0,)]
    done = await desk.read(table(*lines, "X;nothing;1,00;"))
    assert done.upload.row_counts == tried.upload.row_counts
    assert done.upload.row_counts.verdicts == {"duplicate_in_file": 2}
    assert await desk.ask("select count(*) from problems") == [(2,)]


@contextlib.contextmanager
def _disk_full() -> Iterator[None]:
    """Let no file of this process grow; found by the chaos test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_full_disk_is_no_fault_of_the_file(desk: Desk, kind: str) -> None:
    """
    Temporary files cannot be written: the upload waits, however often it is tried, and is read when there is room.

    A small file stays in a buffer until the end, where writing it failed as if reading had: after five tries the file was
    given up, and somebody's payroll with it.
    """
    rows = [["Name", "IBAN", "Betrag"], ["A B", DE, 1]]
    data = make.xlsx({"L": rows}) if kind == "xlsx" else f"Name;IBAN;Betrag\nA B;{DE};1,00\n"
    upload_id = await desk.send(data, name=f"list.{kind}")
    for _ in range(6):
        with _disk_full(), pytest.raises(StoreUnreachable, match="temporary files"):
            await read_one(desk.deps)
        desk.now += timedelta(minutes=1)
    assert await read_one(desk.deps) == 1
    assert (await desk.detail(upload_id)).upload.state == "completed"
