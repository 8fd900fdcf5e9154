"""
Chunks: up to fifty thousand rows of a file on their way from cells to tables.

Building a chunk is pure work for a processor and runs in a thread; storing it is a conversation with Postgres. While one is
stored, the next is being built, so that a file costs the longer of the two and not their sum.

```text
rows ─► read: Columns, or Debtor | Refused | Skipped ─► Chunk: sorted lines for COPY, problems, counts, position behind it
Chunk ─► staging table ─► what is known of its rows ─► screening.reasons ─► debtors, problems, progress: one transaction
```
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from hashlib import blake2b
from math import gcd
from typing import Final

import msgspec
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import (
    Columns,
    Debtor,
    Outcome,
    Plan,
    Position,
    Problem,
    Refused,
    Row,
    Rules,
    Skipped,
)
from tether_core.spreadsheet.fast_batch import BATCH_ROWS
from tether_core.spreadsheet.outcomes import advance
from tether_core.spreadsheet.plan import Refusal
from tether_core.spreadsheet.rows import read_batches
from tether_core.uploads.problems import KeptCounts, give_up, keep
from tether_core.uploads.upload import RowCounts
from tether_stores.debtors import staging
from tether_stores.postgres import Connection
from tether_stores.screening import screened
from tether_stores.uploads import problems

__all__ = ["ROWS_MAX", "Chunk", "build", "fingerprinter", "store"]

# The larger a chunk, the more of its rows share a page of an index, and the more memory it takes. A multiple of the rows that
# are read at once.
ROWS_MAX: Final = 51_200
# Two chunks exist at a time, one being built and one being stored.
_BYTES_MAX: Final = 16 << 20
# Cells kept of refused rows: what Excel can hold in one, and more columns than a table may have.
_CELL_LENGTH_MAX: Final = 32_767
_CELLS_MAX: Final = 600
_NOTES_MAX: Final = 20


class Chunk(msgspec.Struct, frozen=True):
    """
    Rows of a file, read and ready to be stored.

    Attributes:
        columns: Fields that its debtors have.
        debtors: A line each, in the order of fingerprints.
        problems: CSV for the table of problems.
        row_counts: Of its rows, as if screening left none out.
        position: Behind it.
        notes: Sentences about the whole file, up to here.
        kept: How many problems of the file are stored, with these.
        bytes_read: How far the file has been read.
        refusal: Why the file is not read beyond this chunk; `None` where it is.
    """

    columns: tuple[str, ...]
    debtors: list[str]
    problems: bytes
    row_counts: RowCounts
    position: Position
    notes: list[str]
    kept: KeptCounts
    bytes_read: int
    refusal: Refusal | None = None


def fingerprinter(key: bytes) -> Callable[[str], str]:
    """
    `tether_core.iban.fingerprint` for many canonical IBANs.

    Args:
        key: `TETHER_FINGERPRINT_KEY`.

    Returns:
        A function that gives the same 16 bytes as hexadecimal digits, in a third of the time.

    >>> from tether_core import iban
    >>> fingerprinter(b"k")("DE89370400440532013000") == iban.fingerprint("DE89370400440532013000", key=b"k").hex()
    True
    """
    begun = blake2b(digest_size=16, key=key, person=b"iban")

    def fingerprint(iban: str) -> str:
        state = begun.copy()
        state.update(iban.encode())
        return state.hexdigest()

    return fingerprint


def build(
    rows: Iterable[Row],
    *,
    upload_id: int,
    plan: Plan,
    today: date,
    rules: Rules,
    position: Position,
    notes: list[str],
    before: RowCounts,
    kept: KeptCounts,
    fingerprint: Callable[[str], str],
    bytes_read: Callable[[], int],
    rows_max: int = ROWS_MAX,
) -> Iterator[Chunk]:
    """
    Read rows into chunks.

    Args:
        rows: The next rows of the table.
        plan: How to read them.
        today: For days that may not lie in the future; the same for all of a file, whenever it is read.
        rules: The operator's limits.
        position: Behind the last chunk that is stored.
        notes: Those kept with it.
        before: Of all rows up to there.
        kept: How many problems are stored up to there.
        fingerprint: From `fingerprinter`.
        bytes_read: Records how far the file has been read.
        rows_max: Rows of a chunk.

    Yields:
        Chunks in the order of the file; each takes a second or so to make.
    """
    columns = staging.columns_of(plan)
    # Batches fill a chunk exactly.
    size = gcd(rows_max, BATCH_ROWS)
    batches = read_batches(rows, plan=plan, today=today, rules=rules, position=position, size=size)
    outcomes = next(batches, None)
    while outcomes is not None:
        lines: list[str] = []
        wrong: list[bytes] = []
        row_counts, size_bytes, refusal = RowCounts(), 0, None
        while (
            outcomes is not None
            and refusal is None
            and row_counts.rows < rows_max
            and size_bytes < _BYTES_MAX
        ):
            position = advance(position, outcomes)
            batch = _batch(outcomes)
            fresh = staging.as_lines(batch.good, columns=columns, fingerprint=fingerprint)
            lines += fresh
            size_bytes += sum(map(len, fresh))
            row_counts += batch.row_counts
            if batch.problems:
                listed, kept = _listed(batch.problems, kept=kept)
                wrong.append(problems.as_csv(upload_id, listed))
                size_bytes += len(wrong[-1])
                refusal = give_up(before + row_counts)
            notes = (notes + batch.notes)[:_NOTES_MAX]
            outcomes = next(batches, None)
        lines.sort()
        yield Chunk(
            columns,
            lines,
            b"".join(wrong),
            row_counts,
            position,
            notes,
            kept,
            bytes_read(),
            refusal,
        )
        if refusal is not None:
            return
        before += row_counts


_Reply = tuple[list[str] | None, tuple[Problem, ...]]


def _listed(rows: Sequence[_Reply], *, kept: KeptCounts) -> tuple[list[_Reply], KeptCounts]:
    """The rows whose problems are stored, with the counts behind all of them."""
    listed: list[_Reply] = []
    for cells, some in rows:
        decided = keep(kept, some, cells=cells)
        kept = decided.counts
        if decided.is_listed:
            listed.append((cells, some))
    return listed, kept


class _Batch(msgspec.Struct, frozen=True, gc=False):
    """Some outcomes by kind: debtors, rows for the table of problems, sentences about the file, and the counts."""

    good: Columns
    row_counts: RowCounts
    problems: Sequence[tuple[list[str] | None, tuple[Problem, ...]]] = ()
    notes: list[str] = []


def _batch(outcomes: Columns | Sequence[Outcome]) -> _Batch:
    if isinstance(outcomes, Columns):
        count = len(outcomes)
        return _Batch(
            outcomes, RowCounts(rows=count, stored=count, amount_minor=sum(outcomes.fields["amount_minor"]))
        )
    good = [outcome for outcome in outcomes if isinstance(outcome, Debtor)]
    warned = [debtor for debtor in good if debtor.warnings]
    bad = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    result: list[tuple[list[str] | None, tuple[Problem, ...]]] = [
        (None, debtor.warnings) for debtor in warned
    ]
    result += [([cell[:_CELL_LENGTH_MAX] for cell in item.cells[:_CELLS_MAX]], item.problems) for item in bad]
    return _Batch(
        Columns.of(good),
        RowCounts(
            rows=len(outcomes),
            stored=len(good),
            refused=len(bad),
            skipped=len(skipped),
            warnings=len(warned),
            amount_minor=sum([debtor.amount_minor for debtor in good]),
            problems=dict(Counter(problem.code for _, some in result for problem in some)),
        ),
        result,
        [f"Row {item.row:,}: {item.note}" for item in skipped if item.note],
    )


async def store(
    conn: Connection, upload_id: int, chunk: Chunk, *, dry_run: bool, policy: ScreeningPolicy, now: datetime
) -> RowCounts:
    """
    Screen a chunk's debtors and store them with their verdicts, and its problems.

    Args:
        conn: Inside a transaction that belongs to this chunk.
        chunk: From `build`.
        dry_run: Whether debtors are only to be remembered until the end of the upload.
        policy: How strictly to screen.

    Returns:
        The chunk's counts, with what screening excluded.
    """
    row_counts = chunk.row_counts
    if chunk.debtors:
        await staging.stage(conn, chunk.debtors, columns=chunk.columns)
        verdicts, excluded_minor = await screened(
            conn,
            upload_id,
            dry_run=dry_run,
            policy=policy,
            now=now,
            banks_of_rows=staging.banks_of(chunk.debtors, columns=chunk.columns),
        )
        if dry_run:
            await staging.store_dry_run_rows(conn, upload_id, verdicts=verdicts)
        else:
            await staging.store(
                conn, upload_id, chunk.debtors, columns=chunk.columns, verdicts=verdicts, now=now
            )
        row_counts = msgspec.structs.replace(
            row_counts,
            stored=row_counts.stored - len(verdicts),
            excluded=len(verdicts),
            amount_minor=row_counts.amount_minor - excluded_minor,
            verdicts=dict(Counter(some[0].rule for some in verdicts.values())),
        )
    if chunk.problems:
        await problems.copy(conn, chunk.problems)
    return row_counts
