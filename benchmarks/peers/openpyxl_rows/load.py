# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""openpyxl and psycopg, row by row, as most importers begin: `python load.py FILE.xlsx`. In its favour: one transaction."""

import json
import os
import sys
import time
from pathlib import Path

import psycopg
from openpyxl import load_workbook

LETTERS = {ord(letter): str(10 + place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
INSERT = """
insert into peer_debtors (
    row_number, iban, name, bic, amount_minor, currency, mandate_id, mandate_signed_on, description
) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def fits(iban: str) -> bool:
    """Whether the check digits fit."""
    try:
        return int((iban[4:] + iban[:4]).translate(LETTERS)) % 97 == 1
    except ValueError:
        return False


def main() -> None:
    """Load a file."""
    rows = 0
    began = time.monotonic()
    book = load_workbook(sys.argv[1], read_only=True)
    with psycopg.connect(os.environ["DATABASE_URL"]) as conn, conn.cursor() as cursor:
        for number, cells in enumerate(book.worksheets[0].iter_rows(min_row=2, values_only=True), 2):
            name, iban, bic, amount, currency, mandate, signed_at, purpose = cells
            iban = iban.replace(" ", "").upper()
            if fits(iban):
                cents = round(amount * 100)
                row = (number, iban, name.strip(), bic, cents, currency, mandate, signed_at.date(), purpose)
                cursor.execute(INSERT, row)
                rows += 1
    took_s = time.monotonic() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"rows": rows, "took_s": took_s, "cpu_s": time.process_time(), "peak_mib": peak_mib}))


main()
