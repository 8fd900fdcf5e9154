"""
Limits on the problems stored for a file, and when reading ends because no row is a debtor.

In a file in which every row is wrong, the problems after the first thousand rows add no information, and they can take more space in the
database than the file. So problems are stored up to a limit for each code and for the file, by number and by
bytes; the rest is counted, row by row, and the counts stay exact. Where none of the first ten thousand rows with content is a
debtor, the file is no list of debtors or is read by a wrong plan, and reading ends with a sentence.

>>> from tether_core.spreadsheet import Problem
>>> wrong = Problem(2, "IBAN", "iban_invalid", "****", "It has 4 characters.")
>>> kept = keep(KeptCounts(), [wrong], cells=["A B", "none", "1,00"])
>>> kept.is_listed, kept.counts.rows_by_code, kept.counts.unlisted_rows
(True, {'iban_invalid': 1}, 0)
>>> full = KeptCounts(problems=PROBLEMS_MAX)
>>> keep(full, [wrong], cells=["A B"]).counts.unlisted_rows
1
>>> give_up(RowCounts(rows=10_000, refused=10_000, problems={"iban_invalid": 10_000})).code
'no_debtors'
>>> give_up(RowCounts(rows=10_001, refused=10_000, stored=1)) is None
True
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from tether_core.spreadsheet.outcomes import Problem
from tether_core.spreadsheet.plan import Refusal
from tether_core.uploads.upload import RowCounts

__all__ = [
    "BYTES_MAX",
    "GIVE_UP_ROWS",
    "PROBLEMS_MAX",
    "ROWS_PER_CODE_MAX",
    "Keeping",
    "KeptCounts",
    "give_up",
    "keep",
    "note",
]

# What a person corrects in one go; of one code, more rows only repeat that the column is wrong.
ROWS_PER_CODE_MAX: Final = 1_000
# Of one file, all codes together.
PROBLEMS_MAX: Final = 10_000
# Text of these problems and of the cells beside them: a row may have a megabyte.
BYTES_MAX: Final = 16 << 20
# A real list has at least one debtor among this many rows.
GIVE_UP_ROWS: Final = 10_000


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


class Keeping(msgspec.Struct, frozen=True):
    """
    What becomes of the problems of one row.

    Attributes:
        is_listed: Whether they are stored.
        counts: Of the file, this row included.
    """

    is_listed: bool
    counts: KeptCounts


def keep(kept: KeptCounts, problems: Sequence[Problem], *, cells: Sequence[str] | None) -> Keeping:
    """
    Decide whether the problems of the next row are stored.

    The problems of a row are stored together or not at all, so that a row in a report is complete.

    Args:
        kept: The counts before this row.
        problems: Of one row, one or more.
        cells: Of a refused row; `None` for a debtor with warnings, of which only half as many are stored, so that warnings leave
            room for errors.

    Returns:
        The decision, with the counts behind this row.
    """
    share = 2 if cells is None else 1
    rows = kept.rows_by_code
    if (
        kept.problems + len(problems) <= PROBLEMS_MAX // share
        and kept.size_bytes < BYTES_MAX // share
        and any(rows.get(problem.code, 0) < ROWS_PER_CODE_MAX for problem in problems)
    ):
        size_bytes = sum([len(item.column) + len(item.excerpt) + len(item.note) for item in problems])
        return Keeping(
            True,
            msgspec.structs.replace(
                kept,
                rows_by_code={
                    **rows,
                    **{code: rows.get(code, 0) + 1 for code in {item.code for item in problems}},
                },
                problems=kept.problems + len(problems),
                size_bytes=kept.size_bytes + size_bytes + sum(map(len, cells or ())),
            ),
        )
    return Keeping(
        False,
        msgspec.structs.replace(
            kept,
            unlisted_rows=kept.unlisted_rows + 1,
            unlisted_problems=kept.unlisted_problems + len(problems),
        ),
    )


def give_up(row_counts: RowCounts) -> Refusal | None:
    """
    Decide whether reading a file ends because it has no debtors.

    A file with a single debtor is read to its end: what is stored of it stays.

    Args:
        row_counts: Of all rows so far.

    Returns:
        Why reading ends, or `None` where it goes on.
    """
    if row_counts.refused < GIVE_UP_ROWS or row_counts.stored or row_counts.excluded:
        return None
    code, count = max(row_counts.problems.items(), key=_by_count, default=("", 0))
    often = f"; the most frequent problem is {code}, {count:,} times" if code else ""
    return Refusal(
        "no_debtors",
        f"None of the first {row_counts.rows:,} rows is a debtor{often}, so reading ended there. Compare the preview with the "
        "file. If a column or format is read wrongly, answer with the right one; otherwise correct the file and send it again.",
    )


def _by_count(item: tuple[str, int]) -> int:
    return item[1]


def note(kept: KeptCounts) -> str:
    """
    Say what a report leaves out.

    Args:
        kept: The counts of the file.

    Returns:
        A sentence or two, or "" where all problems are listed.

    >>> note(KeptCounts(problems=1_000, unlisted_rows=1))
    '1 further row with problems is counted and not listed. Correct what is listed in the original file, and send the whole file again.'
    """
    if not kept.unlisted_rows:
        return ""
    rows = "row with problems is" if kept.unlisted_rows == 1 else "rows with problems are"
    return (
        f"{kept.unlisted_rows:,} further {rows} counted and not listed. Correct what is listed in the original file, and send the "
        "whole file again."
    )
