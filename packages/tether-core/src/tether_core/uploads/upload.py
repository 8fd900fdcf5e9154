"""
The life of an upload.

A file is taken in, looked at, read and stored in chunks; a person may have to answer questions in between. It is always in exactly one state:

```text
 received ──► examining ──► reading ──► completed
                 │  ▲          ├──────► failed
                 │  │          ├──────► needs_answer (about rows) ── decided ──► reading
                 │  └─── answered ── needs_answer (about the file)
                 ├──────────────────────▲
                 └──────► failed ──► examining (sent through again)
 any of these ── withdrawn ──► withdrawn
```

*received*: the bytes are in the object store. *examining*: a plan is being made. *needs_answer*: the plan has open
questions. While they are about the file, nothing was read; once all rows are screened they are about rows that may have been
debited before, and nothing is billed until a person has decided. *reading*: rows are read, screened and stored, chunk by chunk; each chunk is
stored together with the position behind it, so an interruption costs at most the current chunk. *completed*:
every row has its outcome, even if all were refused. *failed*: the file as a whole cannot be read, and a sentence says why.
*withdrawn*: a person withdrew it before any debit of it was submitted; this is possible from any other state, and its debtors no longer
count.

No row is lost: at any time the rows that were read are the sum of those stored, excluded by screening,
refused with problems, and skipped because they are no debtors.

>>> step("examining", "asked"), step("needs_answer", "answered")
('needs_answer', 'examining')
>>> step("completed", "started")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This upload is read completely, so it cannot be read. Look at its debtors, or send a corrected file as a new upload.
>>> row_counts = RowCounts(rows=3, stored=1, refused=1, skipped=1) + RowCounts(rows=1, excluded=1, verdicts={"blacklisted": 1})
>>> row_counts.balanced, row_counts.rows
(True, 4)
>>> RowCounts(rows=2, stored=1).balanced
False
"""

from typing import Final, Literal

import msgspec

from tether_core.errors import IllegalStep

__all__ = [
    "TRANSITIONS",
    "RowCounts",
    "UploadState",
    "UploadStep",
    "step",
    "summary",
]

UploadState = Literal["received", "examining", "needs_answer", "reading", "completed", "failed", "withdrawn"]
UploadStep = Literal[
    "started",
    "asked",
    "answered",
    "decided",
    "planned",
    "continued",
    "finished",
    "given up",
    "sent again",
    "withdrawn",
]

# state x step -> state; what is not here does not exist.
TRANSITIONS: Final[dict[UploadState, dict[UploadStep, UploadState]]] = {
    "received": {"started": "examining", "given up": "failed", "withdrawn": "withdrawn"},
    "examining": {
        "started": "examining",
        "asked": "needs_answer",
        "planned": "reading",
        "given up": "failed",
        "withdrawn": "withdrawn",
    },
    "needs_answer": {"answered": "examining", "decided": "reading", "withdrawn": "withdrawn"},
    "reading": {
        "continued": "reading",
        "asked": "needs_answer",
        "finished": "completed",
        "given up": "failed",
        "withdrawn": "withdrawn",
    },
    # Only while nothing of it was submitted: tether_core.uploads.withdrawal.
    "completed": {"withdrawn": "withdrawn"},
    "failed": {"sent again": "examining", "withdrawn": "withdrawn"},
    "withdrawn": {},
}


def step(state: UploadState, taken: UploadStep) -> UploadState:
    """
    The state after a step.

    Args:
        state: The upload's state.
        taken: What happens to it.

    Returns:
        The state after the step.

    Raises:
        IllegalStep: when `TRANSITIONS` has no such step.
    """
    after = TRANSITIONS[state].get(taken)
    if after is None:
        raise IllegalStep("file upload", state=state, step=taken)
    return after


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

    def __add__(self, other: "RowCounts") -> "RowCounts":
        """Add the counts of the next chunk."""
        return RowCounts(
            rows=self.rows + other.rows,
            stored=self.stored + other.stored,
            excluded=self.excluded + other.excluded,
            refused=self.refused + other.refused,
            skipped=self.skipped + other.skipped,
            warnings=self.warnings + other.warnings,
            amount_minor=self.amount_minor + other.amount_minor,
            verdicts=_added(self.verdicts, other.verdicts),
            problems=_added(self.problems, other.problems),
        )

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for, and every row excluded has its verdict."""
        outcomes = self.stored + self.excluded + self.refused + self.skipped
        return self.rows == outcomes and self.excluded == sum(self.verdicts.values())


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}


def summary(row_counts: RowCounts, *, dry_run: bool = False) -> str:
    """
    Describe the result of a file in a sentence or two.

    Args:
        row_counts: Of the whole file.
        dry_run: Whether nothing was stored on purpose.

    Returns:
        For the person who sent it.

    >>> summary(RowCounts(rows=3, stored=2, refused=1))
    '2 of 3 rows became debtors; 1 has problems. The report says what to correct.'
    """
    parts = []
    if row_counts.refused:
        parts.append(f"{row_counts.refused:,} {'has' if row_counts.refused == 1 else 'have'} problems")
    if row_counts.excluded:
        parts.append(
            f"{row_counts.excluded:,} {'was' if row_counts.excluded == 1 else 'were'} excluded by screening"
        )
    if row_counts.skipped:
        parts.append(
            f"{row_counts.skipped:,} {'is' if row_counts.skipped == 1 else 'are'} blank, a header, a total or a note"
        )
    verb = "would become" if dry_run else "became"
    head = f"{row_counts.stored:,}" if row_counts.stored else "None"
    advice = " The report says what to correct." if row_counts.refused else ""
    return (
        f"{head} of {row_counts.rows:,} rows {verb} debtors{'; ' if parts else ''}{', '.join(parts)}.{advice}"
    )
