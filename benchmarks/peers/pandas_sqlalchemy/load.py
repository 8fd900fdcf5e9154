# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""
pandas and SQLAlchemy, as tutorials put them together: `python load.py FILE.csv`.

Read in chunks, check and convert by column, `to_sql`. In its favour: the shortest check of an IBAN there is, and psycopg2's quick
way of many values a statement.
"""

import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
from sqlalchemy import create_engine

LETTERS = {ord(letter): str(10 + place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}


def fits(iban: str) -> bool:
    """Whether the check digits fit."""
    try:
        return int((iban[4:] + iban[:4]).translate(LETTERS)) % 97 == 1
    except ValueError:
        return False


def main() -> None:
    """Load a file."""
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://")
    engine = create_engine(url, executemany_mode="values_plus_batch")
    rows, first = 0, 2
    began = time.monotonic()
    with engine.begin() as conn:
        for chunk in pd.read_csv(sys.argv[1], sep=";", dtype=str, chunksize=10_000):
            iban = chunk["IBAN"].str.replace(" ", "", regex=False).str.upper()
            told = pd.DataFrame(
                {
                    "row_number": range(first, first + len(chunk)),
                    "iban": iban,
                    "name": chunk["Name"].str.strip(),
                    "bic": chunk["BIC"],
                    "amount_minor": (
                        pd.to_numeric(chunk["Betrag"].str.replace(".", "").str.replace(",", ".")) * 100
                    )
                    .round()
                    .astype("int64"),
                    "currency": chunk["Währung"],
                    "mandate_id": chunk["Mandatsreferenz"],
                    "mandate_signed_on": pd.to_datetime(chunk["Mandatsdatum"], format="%d.%m.%Y").dt.date,
                    "description": chunk["Verwendungszweck"],
                }
            )
            first += len(chunk)
            good = told[iban.map(fits)]
            good.to_sql("peer_debtors", conn, if_exists="append", index=False, chunksize=1_000)
            rows += len(good)
    took_s = time.monotonic() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"rows": rows, "took_s": took_s, "cpu_s": time.process_time(), "peak_mib": peak_mib}))


main()
