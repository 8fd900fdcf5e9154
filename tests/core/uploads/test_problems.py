"""Problems of a file: how many are stored, and when its reading ends."""

from __future__ import annotations

import pytest
from tether_core.spreadsheet import Problem
from tether_core.uploads.problems import (
    BYTES_MAX,
    GIVE_UP_ROWS,
    PROBLEMS_MAX,
    ROWS_PER_CODE_MAX,
    KeptCounts,
    give_up,
    keep,
    note,
)
from tether_core.uploads.upload import RowCounts


def problem(code: str, note: str = "It is wrong.") -> Problem:
    """Make a problem of row 2."""
    return Problem(2, "IBAN", code, "****", note)


def kept_of(*rows: tuple[list[Problem], list[str] | None]) -> tuple[KeptCounts, int]:
    """Decide rows one after the other; gives the counts and how many rows are listed."""
    kept, listed = KeptCounts(), 0
    for problems, cells in rows:
        decided = keep(kept, problems, cells=cells)
        kept, listed = decided.counts, listed + decided.is_listed
    return kept, listed


def test_of_one_code_only_so_many_rows_are_listed() -> None:
    """Nine hundred thousand equal sentences filled a disk without new information."""
    row = ([problem("iban_invalid"), problem("amount_unreadable")], ["A", "B", "C"])
    kept, listed = kept_of(*[row] * (ROWS_PER_CODE_MAX + 50))
    assert listed == ROWS_PER_CODE_MAX
    assert kept.rows_by_code == {"iban_invalid": ROWS_PER_CODE_MAX, "amount_unreadable": ROWS_PER_CODE_MAX}
    assert (kept.problems, kept.unlisted_rows, kept.unlisted_problems) == (2 * ROWS_PER_CODE_MAX, 50, 100)


def test_a_rare_problem_is_listed_after_a_frequent_one() -> None:
    """The one row whose amount is too large must not drown in a thousand wrong IBANs."""
    frequent = ([problem("iban_invalid")], ["A"])
    kept, listed = kept_of(*[frequent] * (ROWS_PER_CODE_MAX + 5), ([problem("amount_too_large")], ["B"]))
    assert (listed, kept.unlisted_rows) == (ROWS_PER_CODE_MAX + 1, 5)


def test_all_codes_together_have_a_limit() -> None:
    """A hostile file can have a wrong value of every kind."""
    rows = [([problem(f"code_{number % 40}")], ["A"]) for number in range(40 * ROWS_PER_CODE_MAX)]
    kept, listed = kept_of(*rows)
    assert listed == kept.problems == PROBLEMS_MAX
    assert kept.unlisted_rows == len(rows) - PROBLEMS_MAX


@pytest.mark.parametrize(
    ("text", "cells"),
    [("x" * (1 << 20), ["A"]), ("short", ["x" * (1 << 20)])],
    ids=["notes and headers", "cells"],
)
def test_the_bytes_of_a_file_have_a_limit_too(text: str, cells: list[str]) -> None:
    """Ten thousand rows of a megabyte each are ten gigabytes."""
    kept, listed = kept_of(*[([problem("iban_invalid", text)], cells)] * 100)
    assert listed == 16
    assert kept.size_bytes < BYTES_MAX + 2 * (1 << 20)


def test_warnings_leave_room_for_errors() -> None:
    """A file with a warning in each row and an error in some must list the errors."""
    warnings = [([problem(f"code_{number % 40}")], None) for number in range(2 * PROBLEMS_MAX)]
    kept, listed = kept_of(*warnings)
    assert listed == PROBLEMS_MAX // 2
    assert keep(kept, [problem("iban_invalid")], cells=["A"]).is_listed


@pytest.mark.parametrize(
    ("row_counts", "ends"),
    [
        (RowCounts(rows=GIVE_UP_ROWS, refused=GIVE_UP_ROWS), True),
        (RowCounts(rows=GIVE_UP_ROWS + 500, refused=GIVE_UP_ROWS, skipped=500), True),
        (RowCounts(rows=GIVE_UP_ROWS - 1, refused=GIVE_UP_ROWS - 1), False),
        (RowCounts(rows=GIVE_UP_ROWS, skipped=GIVE_UP_ROWS), False),
        (RowCounts(rows=900_000, refused=899_999, stored=1), False),
        (RowCounts(rows=900_000, refused=899_999, excluded=1, verdicts={"blacklisted": 1}), False),
    ],
    ids=["all", "and blanks", "one row fewer", "blanks only", "one debtor", "one debtor excluded"],
)
def test_a_file_without_a_debtor_is_given_up(row_counts: RowCounts, *, ends: bool) -> None:
    """Where a debtor is stored, the rest of the file is read: nothing of a list is lost for a bad part."""
    assert (give_up(row_counts) is not None) == ends


def test_giving_up_says_what_is_wrong_and_what_to_do() -> None:
    """The sender has to know whether to correct the file or the columns."""
    row_counts = RowCounts(
        rows=10_048, refused=10_048, problems={"iban_invalid": 10_048, "amount_missing": 7}
    )
    refusal = give_up(row_counts)
    assert refusal is not None
    assert refusal.why.startswith(
        "None of the first 10,048 rows is a debtor; the most frequent problem is iban_invalid, 10,048 times"
    )
    assert "answer with the right one; otherwise correct the file and send it again." in refusal.why


def test_the_number_of_unlisted_problems_is_given() -> None:
    """A report that ends in silence looks whole."""
    assert note(KeptCounts(problems=5)) == ""
    assert note(KeptCounts(unlisted_rows=890_000)).startswith(
        "890,000 further rows with problems are counted"
    )
