"""
Seeded files of debtors, as a bank or an accounting program exports them, and the same rows ready for COPY.

German headers, semicolons, decimal commas; one IBAN in five written in blocks, one in fifty in lower case, one row in a thousand
broken. Another seed gives other accounts, so that one file's debtors are no repeats of another's.
"""

import csv
import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
from tether_core import iban as ibans
from tether_sandbox.seed import made_up_iban
from xlsxwriter import Workbook

__all__ = ["HEADERS", "READY_COLUMNS", "Sheets", "written"]

HEADERS = ("Name", "IBAN", "BIC", "Betrag", "Währung", "Mandatsreferenz", "Mandatsdatum", "Verwendungszweck")
READY_COLUMNS = (
    "row_number",
    "iban",
    "iban_fingerprint",
    "name",
    "bic",
    "amount_minor",
    "currency",
    "mandate_id",
    "mandate_signed_on",
    "description",
)
_GIVEN = "Anna Björn Chloé Dörte Émile François Günther Hélène İpek Jürgen Kasia Łukasz Małgorzata Nuño Olga Zoë".split()
_FAMILY = "Schmidt Müller Łącka García Dupont Jansen Rossi Østergård Weiß Kowalska Núñez Bauer de_Vries Bianchi Petit".split()
_BICS = ("COBADEFFXXX", "DEUTDEFF", "INGDDEFFXXX", "GENODEF1M01")
_SINCE = date(2020, 1, 1)


class Sheets(msgspec.Struct, frozen=True):
    """
    One list of debtors in each form.

    Attributes:
        rows: Rows below the header.
        good: Those of them that are debtors.
        csv: Text.
        ready: What COPY takes for the debtors; `READY_COLUMNS`.
        xlsx: A workbook, where one was asked for.
    """

    rows: int
    good: int
    csv: Path
    ready: Path
    xlsx: Path | None


class _Line(msgspec.Struct, frozen=True):
    """One row as the file has it, and the debtor it is, if it is one."""

    cells: tuple[str, ...]
    amount_minor: int
    signed_on: date
    ready: tuple[object, ...] | None


def written(folder: Path, rows: int, *, seed: int, workbook: bool = False) -> Sheets:
    """
    Write a list of debtors.

    Args:
        folder: Where.
        rows: How many; of a thousand, one is broken.
        seed: Equal seeds give equal files.
        workbook: Whether to write it as a workbook too.

    Returns:
        The files.
    """
    stem = f"debtors-{rows}-{seed}"
    text, ready = folder / f"{stem}.csv", folder / f"{stem}.copy"
    book = folder / f"{stem}.xlsx" if workbook else None
    good = 0
    with text.open("w", encoding="utf-8", newline="") as result, ready.open("w", encoding="utf-8") as lines:
        write = csv.writer(result, delimiter=";", lineterminator="\r\n").writerow
        write(HEADERS)
        for line in _lines(rows, seed=seed):
            write(line.cells)
            if line.ready is not None:
                good += 1
                lines.write("\t".join(map(str, line.ready)) + "\n")
    if book is not None:
        _write_workbook(book, _lines(rows, seed=seed))
    return Sheets(rows, good, text, ready, book)


def _lines(rows: int, *, seed: int) -> Iterator[_Line]:
    rng = random.Random(f"debtors {seed}")
    draw = rng.random
    for number in range(2, rows + 2):
        iban = made_up_iban(rng)
        broken = number % 1_000 == 500
        if broken:  # a slip of the finger, which the check digits notice
            iban = f"{iban[:-1]}{(int(iban[-1]) + 1) % 10}"
        style = draw()
        shown = _blocks(iban) if style < 0.19 else iban.lower() if style < 0.21 else iban
        name = f"{_GIVEN[int(draw() * len(_GIVEN))]} {_FAMILY[int(draw() * len(_FAMILY))]}".replace("_", " ")
        amount_minor = 100 + int(draw() * 99_900)
        bic = _BICS[int(draw() * len(_BICS))]
        signed_on = _SINCE + timedelta(days=int(draw() * 2_000))
        mandate, purpose = f"M-{seed}-{number:07d}", f"Beitrag {number}"
        cells = (
            name,
            shown,
            bic,
            f"{amount_minor // 100},{amount_minor % 100:02d}",
            "EUR",
            mandate,
            f"{signed_on:%d.%m.%Y}",
            purpose,
        )
        ready = (
            number,
            iban,
            rf"\\x{ibans.fingerprint(iban).hex()}",
            name,
            bic,
            amount_minor,
            "EUR",
            mandate,
            signed_on,
            purpose,
        )
        yield _Line(cells, amount_minor, signed_on, None if broken else ready)


def _blocks(iban: str) -> str:
    return " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))


def _write_workbook(path: Path, lines: Iterator[_Line]) -> None:
    with Workbook(str(path), {"constant_memory": True}) as book:
        day = book.add_format({"num_format": "dd.mm.yyyy"})
        sheet = book.add_worksheet("Debitoren")
        sheet.write_row(0, 0, HEADERS)
        for place, line in enumerate(lines, 1):
            _write_row(sheet, place, line.cells, line, day)


def _write_row(sheet, place: int, cells: Sequence[str], line: _Line, day) -> None:  # type: ignore[no-untyped-def]  # xlsxwriter has no types
    for column, cell in enumerate(cells):
        if column == 3:
            sheet.write_number(place, column, line.amount_minor / 100)
        elif column == 6:
            sheet.write_datetime(place, column, line.signed_on, day)
        else:
            sheet.write_string(place, column, cell)
