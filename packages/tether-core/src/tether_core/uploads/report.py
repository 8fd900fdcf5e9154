"""
The report of an upload: the columns of the file as they came, and beside them what is wrong with each row and what to do.

It can be corrected and uploaded again: the added columns are not read, and the apostrophe that keeps a cell from being run as a formula is removed.
"""

from collections.abc import Sequence
from typing import Final

from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet.cells import neutralise
from tether_core.spreadsheet.outcomes import Problem
from tether_core.spreadsheet.plan import Plan

__all__ = ["REPORT_COLUMNS", "report_header", "report_row"]

# Added to the right of the file's own columns in a report.
REPORT_COLUMNS: Final = ("row", "level", "columns", "problems", "what to do")


def report_header(plan: Plan) -> list[str]:
    """Give the header of a report: the file's own columns, then `REPORT_COLUMNS`."""
    return [neutralise(header) for header in plan.headers] + list(REPORT_COLUMNS)


def report_row(
    row: int,
    cells: Sequence[str],
    *,
    plan: Plan,
    problems: Sequence[Problem] = (),
    reasons: Sequence[Verdict] = (),
) -> list[str]:
    """
    Give a row for the report, in a form that can be corrected and sent again.

    Args:
        row: Its number in the file.
        cells: As they came.
        plan: The one it was read by.
        problems: What is wrong with it.
        reasons: Every verdict for which screening excluded it.

    Returns:
        The cells, as many as there are headers, then what is wrong. A cell that a spreadsheet program could run as a formula begins with an
        apostrophe, which is removed when the file is uploaded again.
    """
    width = len(plan.columns)
    padded = [*cells[:width], *[""] * (width - len(cells))]
    level = "error" if any(problem.level == "error" for problem in problems) else "warning"
    columns = "; ".join(dict.fromkeys(problem.column for problem in problems if problem.column))
    codes = [problem.code for problem in problems]
    notes = [problem.note for problem in problems]
    if reasons:
        level = "excluded"
        codes = [*(reason.rule for reason in reasons), *codes]
        notes = [*(reason.cause for reason in reasons), *notes]
    result = (str(row), level, columns, "; ".join(codes), " ".join(notes))
    return [neutralise(text) for text in (*padded, *result)]
