"""
From any spreadsheet to clean debtors.

The modules in the order of processing: `sniff` detects the kind of a file by its content; `text` and `workbook` read its cells, all as
text; `table` finds the table in the sheet, `headers` what its columns hold and `formats` how they are written; all of
that becomes a `Plan` (`reading.plan`), which a person can look at and correct; `rows` makes each row a `Debtor`, or says
what is wrong with it.

This module exports the types; the functions are in their modules: `sniff.sniff`, `reading.plan`, `reading.rows`, `reading.preview`,
`rows.read`.

Reading is a stream: memory does not grow with a text file. A workbook is parsed as a whole by a library that a hostile
file can crash, so a service does that in a child process; `Row`s can be serialised (msgpack).
"""

from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.outcomes import (
    CODES,
    Columns,
    Debtor,
    Outcome,
    Position,
    Problem,
    Refused,
    Rules,
    Skipped,
)
from tether_core.spreadsheet.plan import (
    ALL_FIELDS,
    Answers,
    Column,
    FileDecision,
    FileRefused,
    Kind,
    Plan,
    Question,
    Refusal,
)
from tether_core.spreadsheet.reading import Preview, PreviewRow
from tether_core.spreadsheet.sniff import Sniffed
from tether_core.spreadsheet.workbook import Sheet, Workbook

__all__ = [
    "ALL_FIELDS",
    "CODES",
    "Answers",
    "Column",
    "Columns",
    "Debtor",
    "FileDecision",
    "FileRefused",
    "Kind",
    "Outcome",
    "Plan",
    "Position",
    "Preview",
    "PreviewRow",
    "Problem",
    "Question",
    "Refusal",
    "Refused",
    "Row",
    "Rules",
    "Sheet",
    "Skipped",
    "Sniffed",
    "Workbook",
]
