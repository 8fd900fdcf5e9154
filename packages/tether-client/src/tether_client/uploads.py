"""Uploads: files of debtors, how they are read, and what came of their rows."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from tether_client.connection import Connection, given, polled
from tether_client.errors import Refused
from tether_client.pages import Page

__all__ = [
    "Answers",
    "ChargedBack",
    "Column",
    "Debits",
    "Exclusion",
    "FileDecision",
    "KeptCounts",
    "LayoutAnswer",
    "Links",
    "ListedProblem",
    "Owed",
    "Plan",
    "Question",
    "RepeatGroup",
    "RowCounts",
    "Selection",
    "Upload",
    "UploadDetail",
    "UploadResponse",
    "UploadRoutes",
    "UploadTotals",
    "Withdrawal",
]

_READ: Final = frozenset({"completed", "failed", "needs_answer", "withdrawn"})


class RowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows by their outcome.

    Attributes:
        rows: Rows read below the header, blank ones included.
        stored: Became debtors; in a dry run: would have.
        excluded: Excluded by screening.
        refused: With at least one problem that is an error.
        skipped: Blank, repeated headers, totals, notes.
        warnings: Debtors with something to look at; a part of *stored* and *excluded*.
        amount_minor: What all stored debtors owe, in cents.
        verdicts: Rule of screening to rows excluded by it; adds up to *excluded*.
        problems: Problem code to how often it occurred, warnings too; a row may have several.
    """

    rows: int = 0
    stored: int = 0
    excluded: int = 0
    refused: int = 0
    skipped: int = 0
    warnings: int = 0
    amount_minor: int = 0
    verdicts: dict[str, int] = {}
    problems: dict[str, int] = {}


class KeptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many problems of a file are stored, and how many are only counted.

    Attributes:
        rows_by_code: Problem code to stored rows that have it.
        problems: Stored problems.
        size_bytes: Characters of their text and cells, about.
        unlisted_rows: Rows whose problems are only counted.
        unlisted_problems: Their problems.
    """

    rows_by_code: dict[str, int] = {}
    problems: int = 0
    size_bytes: int = 0
    unlisted_rows: int = 0
    unlisted_problems: int = 0


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """
    An upload for people.

    Attributes:
        id: Its number.
        filename: What the sender called it.
        size_bytes: Its size.
        sha256: The digest of its bytes, in hex.
        state: A state of `tether_core.uploads.upload`.
        dry_run: Whether no debtors are stored.
        added_by: Whose API key it came with.
        created_at: When it came.
        started_at: When its reading began.
        finished_at: When that ended, well or not.
        bytes_read: How far the file has been read; its size at the end.
        row_counts: How many rows went where; always balanced.
        failure_code: Why it failed, a stable word.
        failure: Why it failed, a sentence.
        listed: How many of its problems can be listed, and how many are only counted.
    """

    id: int
    filename: str
    size_bytes: int
    sha256: str
    state: str
    dry_run: bool
    added_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    bytes_read: int
    row_counts: RowCounts
    failure_code: str | None
    failure: str | None
    listed: KeptCounts


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who withdrew an upload.

    Attributes:
        at: When.
        by: Who: the name of an API key, or who ran the command.
        reason: Why.
    """

    at: datetime
    by: str
    reason: str


class RepeatGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows that need an answer for the same reason.

    Attributes:
        rule: Of `tether_core.screening.verdicts`.
        count: Rows of this upload.
        amount_minor: Their money.
        on: The day of the earlier debits; `None` where the earlier row is one of the same file.
        current_status: Their state.
        upload_id: Where they came from; `None` for another system, or for the same file.
    """

    rule: str
    count: int
    amount_minor: int
    on: date | None = None
    current_status: str | None = None
    upload_id: int | None = None


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """
    The caller's answers about a file; what is missing is read from the file.

    Attributes:
        encoding: A name of `text.ENCODINGS`.
        delimiter: One character.
        quote: The character around cells that hold a delimiter or a line break.
        sheet: Name of the sheet of a workbook.
        header_row: Number of the header's row, counted from 1; 0 for a table without a header.
        columns: Field to column: its number from 1, its header, or `None` for "none". Fields not named
            here are matched.
        amount_format: How amounts are written.
        date_order: How days are written, in all columns of days.
        hidden_rows: Whether rows that a person does not see are collected: "take" or "exclude".
        currency: "EUR" where the amounts are euros although the table names another currency, or
            thousands.
        collect: Column (its header or number) to the words whose rows are collected: "" for blank cells,
            "*" for every row.
        keep_columns: Whether columns nobody knows are kept word for word beside the debtor.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str = '"'
    sheet: str | None = None
    header_row: int | None = None
    columns: dict[str, int | str | None] = {}
    amount_format: str | None = None
    date_order: str | None = None
    hidden_rows: str | None = None
    currency: str | None = None
    collect: dict[str, list[str]] = {}
    keep_columns: bool = False


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """
    One column of the table.

    Attributes:
        position: Counted from 0.
        header: Its header as in the file, two rows joined by a blank; empty where there is none.
        field: One of `ALL_FIELDS`, or `None` when the column is not used.
        score: How well header and content fit the field, 0 to 1; 1 for the caller's word.
        why: The evidence, as a sentence.
    """

    position: int
    header: str
    field: str | None = None
    score: float = 0.0
    why: str = ""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """
    The words of a column whose rows are collected.

    Attributes:
        position: Of the column, counted from 0.
        words: As `selection.word_key` gives them; an empty one stands for blank cells.
    """

    position: int
    words: list[str]


class FileDecision(msgspec.Struct, frozen=True, kw_only=True):
    """
    One decision about a file.

    Attributes:
        about: "kind", "encoding", "delimiter", "sheet", "header", "amount_format" or
            "date_order:<field>".
        value: The decided value, for display.
        why: The evidence, as a sentence.
        by: Who decided it: the caller's answers or the file.
    """

    about: str
    value: str
    why: str
    by: str = "file"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """
    One thing the file leaves open.

    Attributes:
        code: A stable word for programs, e.g. "amount_format".
        ask: The question as sentences, with the evidence.
        answer: The part of `Answers` that answers it, e.g. "columns.amount".
        choices: What may be answered, where that is a short list.
    """

    code: str
    ask: str
    answer: str
    choices: list[str] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything needed to read a file, and why.

    Attributes:
        kind: What the file is.
        encoding: Of a text file.
        delimiter: Of a text file.
        quote: Of a text file.
        sep_line: Whether a text file begins with a "sep=" line.
        sheet: Of a workbook: the sheet that is read.
        header_row: Number of the (first) header row; 0 without a header.
        data_row: Number of the first row that can hold a debtor.
        columns: All columns in order.
        amount_format: Of the amount column; `None` while open, and for amounts in minor units.
        date_orders: Of each column of days, by field.
        fallbacks: Field to the positions of columns that stand in where its own is empty.
        selections: Columns of which only some words are collected.
        iban_span: First and last position of columns that hold an IBAN together; `None` where one column
            does.
        skip_hidden: Whether hidden rows are excluded.
        kept: Names of columns without a field that are kept word for word, to their positions.
        decisions: The decisions, with reasons.
        questions: What a person has to answer before anything is read.
        warnings: Sentences about the whole file.
    """

    kind: str
    encoding: str = ""
    delimiter: str = ""
    quote: str = '"'
    sep_line: bool = False
    sheet: str = ""
    header_row: int
    data_row: int
    columns: list[Column]
    amount_format: str | None = None
    date_orders: dict[str, str] = {}
    fallbacks: dict[str, list[int]] = {}
    selections: list[Selection] = []
    iban_span: list[Any] | None = None
    skip_hidden: bool = False
    kept: dict[str, int] = {}
    decisions: list[FileDecision] = []
    questions: list[Question] = []
    warnings: list[str] = []


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """
    The routes of an upload.

    Attributes:
        self: Its progress, counts and decisions.
        file: The original file.
        preview: The first rows as read.
        problems: The problems by row.
        debtors: Its debtors.
    """

    self: str
    file: str
    preview: str
    problems: str
    debtors: str


class UploadDetail(msgspec.Struct, frozen=True, kw_only=True):
    """
    One upload with its plan.

    Attributes:
        id: The id of the upload.
        upload: State, progress and counts.
        summary: The same as a sentence.
        answers: The sender's answers about the file.
        plan: How the file is read, with reasons, questions and warnings; null until it was examined.
        notes: Sentences about the whole file, such as whether its total agrees.
        repeats: Rows that may have been debited before, about which a person is or was asked.
        links: Its routes.
        withdrawal: Who withdrew it, when and why; null if it was not withdrawn.
        ahead: How many other uploads are read before it; null if it does not wait, or if the number is
            not known.
    """

    id: int
    upload: Upload
    summary: str
    answers: Answers
    plan: Plan | None
    notes: list[str]
    repeats: list[RepeatGroup]
    links: Links
    withdrawal: Withdrawal | None = None
    ahead: int | None = None


class UploadResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    An upload after a request of its sender.

    Attributes:
        id: The id of the upload.
        upload: The upload with its state and counts.
        links: Its routes.
        note: Further information, e.g. that the file was stored already.
    """

    id: int
    upload: Upload
    links: Links
    note: str | None = None


class ChargedBack(msgspec.Struct, frozen=True):
    """
    Debtors whose accounts have charged back a debit.

    Attributes:
        currency: ISO 4217.
        has_debit: Whether they have a debit that is open or collected; such debtors stay.
        count: How many.
        amount_minor: What they owe, in whole minor units.
    """

    currency: str
    has_debit: bool
    count: int
    amount_minor: int


class Exclusion(msgspec.Struct, frozen=True):
    """
    Debtors that were excluded from an upload, or would be.

    Attributes:
        excluded: Those that are excluded now, or would be, by currency.
        kept: Those that stay because a debit of theirs is open or collected.
        dry_run: Whether nothing was changed.
    """

    excluded: list[ChargedBack]
    kept: list[ChargedBack]
    dry_run: bool


class Owed(msgspec.Struct, frozen=True):
    """
    What the debtors of an upload owe, in one currency.

    Attributes:
        currency: ISO 4217.
        debtors: Debtors that may be billed.
        owed_minor: Their amounts, in whole minor units.
        unbilled: Of these, debtors of whom no debit was ever submitted.
        unbilled_minor: Their amounts.
    """

    currency: str
    debtors: int
    owed_minor: int
    unbilled: int
    unbilled_minor: int


class Debits(msgspec.Struct, frozen=True):
    """
    Debits of all runs of an upload in one state and currency.

    Attributes:
        currency: ISO 4217.
        state: Of the debits.
        debits: How many, each try counted.
        amount_minor: Their amounts, in whole minor units.
        debtors: Of how many debtors they are.
    """

    currency: str
    state: str
    debits: int
    amount_minor: int
    debtors: int


class UploadTotals(msgspec.Struct, frozen=True):
    """
    Totals of an upload over all of its runs.

    Attributes:
        runs: Its runs by state.
        owed: What its debtors owe, by currency.
        debits: What became of their debits, by currency and state.
    """

    runs: dict[str, int]
    owed: list[Owed]
    debits: list[Debits]


class ListedProblem(msgspec.Struct, frozen=True):
    """
    A problem of a row.

    Attributes:
        row: Number of the row in the file.
        ordinal: Place among the problems of that row, from 0.
        level: "error" when the row is refused for it, else "warning".
        column: The column's header, or its letters.
        code: A stable word.
        excerpt: The cell, cut and masked.
        note: What is wrong and what to do, a sentence.
    """

    row: int
    ordinal: int
    level: str
    column: str
    code: str
    excerpt: str
    note: str


class LayoutAnswer(msgspec.Struct, frozen=True):
    """
    An answer that is remembered for files of a layout.

    Attributes:
        id: Its number, by which it can be forgotten.
        subject: What it is about.
        answer: Take the rows, or leave them out.
        days_min: It takes no rows whose earlier debits are more recent than this.
        upload_id: For which it was given.
        answered_by: Who gave it.
        answered_at: When.
    """

    id: int
    subject: str
    answer: str
    days_min: int
    upload_id: int
    answered_by: str
    answered_at: datetime


class _Counted:
    """A file that reports how much of it was read."""

    def __init__(self, file: BinaryIO, size_bytes: int, on_sent: Callable[[int, int], None]) -> None:
        self._file, self._size, self._on_sent = file, size_bytes, on_sent

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_sent(self._file.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class UploadRoutes(Connection):
    """Routes of uploads."""

    def add_upload(
        self,
        file: Path,
        *,
        fields: Mapping[str, str] | None = None,
        on_sent: Callable[[int, int], None] = lambda _sent, _size: None,
    ) -> UploadResponse:
        """
        Upload a file of debtors. The same bytes with the same answers are the same upload.

        Args:
            file: CSV, XLSX, XLS, XLSB or ODS.
            fields: Further parts of the form, such as `{"dry_run": "true"}`; see docs/guides/uploads.md.
            on_sent: Called with the bytes sent so far and the size of the file.
        """
        try:
            size = file.stat().st_size
            with file.open("rb") as opened:
                part = _Counted(opened, size, on_sent)
                files = {"file": (file.name, part, "application/octet-stream")}
                return self._post("/api/uploads", None, UploadResponse, data=fields, files=files)
        except OSError as exc:
            raise Refused(f"{file} cannot be read: {exc.strerror}.") from None

    def uploads(
        self,
        *,
        status: str | None = None,
        filename: str | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Upload]:
        """
        Uploads, newest first.

        Args:
            filename: Only uploads whose file name contains this, in any case.
            account: Only uploads that were billed with this gateway account, and with no other.
        """
        return self._get("/api/uploads", Page[Upload], **given(locals()))

    def upload(self, upload_id: int) -> UploadDetail:
        """One upload with its plan and questions."""
        return self._get(f"/api/uploads/{upload_id}", UploadDetail)

    def answer_upload(self, upload_id: int, answers: Mapping[str, Any]) -> UploadResponse:
        """
        Answer the questions of an upload, or read a failed one again.

        Args:
            answers: Any of mapping, formats, encoding, collect, keep_columns, screening, remember.
        """
        return self._post(f"/api/uploads/{upload_id}/answers", answers, UploadResponse)

    def withdraw_upload(self, upload_id: int, *, reason: str) -> UploadDetail:
        """Withdraw an upload of which nothing was submitted."""
        return self._delete(f"/api/uploads/{upload_id}", UploadDetail, reason=reason)

    def problems(
        self,
        upload_id: int,
        *,
        level: str | None = None,
        code: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ListedProblem]:
        """
        The problems of an upload, in the order of the file.

        Args:
            level: "error" or "warning"; `None` for both.
            code: Only this problem.
        """
        query = {"level": level, "code": code, "cursor": cursor, "limit": limit}
        return self._get(f"/api/uploads/{upload_id}/problems", Page[ListedProblem], **query)

    def problem_report(self, upload_id: int, *, what: str = "refused", form: str = "csv") -> Iterator[bytes]:
        """
        A report of rows to correct and upload again, in pieces.

        Args:
            what: "refused" for rows with problems, "excluded" for those that screening excluded.
            form: "csv" or "xlsx".
        """
        return self._pieces(f"/api/uploads/{upload_id}/problems", what=what, format=form)

    def upload_file(self, upload_id: int) -> Iterator[bytes]:
        """The file of an upload as it was sent, in pieces."""
        return self._pieces(f"/api/uploads/{upload_id}/file")

    def layout_answers(self) -> list[LayoutAnswer]:
        """Answers that are remembered for files of a layout, newest first."""
        return self._get("/api/layout-answers", list[LayoutAnswer])

    def forget_layout_answer(self, answer_id: int) -> None:
        """Forget an answer: the next file of its layout raises the question again."""
        self._answered("DELETE", f"/api/layout-answers/{answer_id}")

    def await_upload(
        self,
        upload_id: int,
        *,
        timeout_s: float = 3_600,
        on_progress: Callable[[Upload], None] = lambda _upload: None,
    ) -> UploadDetail:
        """
        Wait until an upload is read, needs an answer, has failed or was withdrawn.

        Raises:
            Unavailable: when that takes longer than *timeout_s*.
        """

        def look() -> UploadDetail | None:
            found = self.upload(upload_id)
            on_progress(found.upload)
            return found if found.upload.state in _READ else None

        return polled(look, timeout_s=timeout_s, what=f"upload {upload_id} to be read")

    def upload_totals(self, upload_id: int) -> UploadTotals:
        """What the debtors of an upload owe and what became of their debits, over all runs."""
        return self._get(f"/api/uploads/{upload_id}/totals", UploadTotals)

    def exclude_charged_back(self, upload_id: int, *, reason: str = "", dry_run: bool = False) -> Exclusion:
        """Exclude the debtors of an upload whose accounts have charged back a debit; with *dry_run* only count them."""
        body = {"dry_run": dry_run, "reason": reason}
        return self._post(f"/api/uploads/{upload_id}/exclude-charged-back", body, Exclusion)
