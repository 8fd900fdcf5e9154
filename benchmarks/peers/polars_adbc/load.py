# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""
polars, writing through ADBC, which is a binary COPY: `python load.py FILE.csv`.

The whole file as columns, expressions for everything but the check of the IBAN, which is Python.
"""

import json
import os
import sys
import time
from pathlib import Path

import polars as pl

LETTERS = {ord(letter): str(10 + place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}


def fits(iban: str) -> bool:
    """Whether the check digits fit."""
    try:
        return int((iban[4:] + iban[:4]).translate(LETTERS)) % 97 == 1
    except ValueError:
        return False


def main() -> None:
    """Load a file."""
    began = time.monotonic()
    told = (
        pl.read_csv(sys.argv[1], separator=";", infer_schema=False)
        .with_row_index("row_number", offset=2)
        .select(
            pl.col("row_number").cast(pl.Int32),
            pl.col("IBAN").str.replace_all(" ", "", literal=True).str.to_uppercase().alias("iban"),
            pl.col("Name").str.strip_chars().alias("name"),
            pl.col("BIC").alias("bic"),
            pl.col("Betrag").str.replace_all(r"[.,]", "").cast(pl.Int64).alias("amount_minor"),
            pl.col("Währung").alias("currency"),
            pl.col("Mandatsreferenz").alias("mandate_id"),
            pl.col("Mandatsdatum").str.to_date("%d.%m.%Y").alias("mandate_signed_on"),
            pl.col("Verwendungszweck").alias("description"),
        )
        .filter(pl.col("iban").map_elements(fits, return_dtype=pl.Boolean))
    )
    told.write_database("peer_debtors", os.environ["DATABASE_URL"], if_table_exists="append", engine="adbc")
    took_s = time.monotonic() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(
        json.dumps({"rows": len(told), "took_s": took_s, "cpu_s": time.process_time(), "peak_mib": peak_mib})
    )


main()
