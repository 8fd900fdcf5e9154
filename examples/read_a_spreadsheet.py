"""
Read a spreadsheet of debtors with tether_core alone: no database, no server.

    python examples/read_a_spreadsheet.py tests/data/spreadsheets/verein_de.csv
"""

import sys
from datetime import date

from tether_core.iban import mask
from tether_core.spreadsheet import Debtor, Refusal, Refused, reading, rows

with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - the plainest way to show that any stream will do
    plan = reading.plan(file, name=sys.argv[1])
    if isinstance(plan, Refusal) or not plan.ready:
        sys.exit(
            plan.why if isinstance(plan, Refusal) else "\n".join(question.ask for question in plan.questions)
        )
    for row in rows.read(reading.rows(file, plan=plan), plan=plan, today=date(2026, 3, 2)):
        if isinstance(row, Debtor):
            print(f"row {row.row}: {row.name} owes {row.amount_minor} cents from {mask(row.iban)}")
        elif isinstance(row, Refused):
            print(f"row {row.row}:", *(f"{problem.column}: {problem.note}" for problem in row.problems))
