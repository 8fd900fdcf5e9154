"""
Make `iban.dat` from a copy of the IBAN registry.

The registry is kept by SWIFT as registration authority of ISO 13616 and published as a text file, "IBAN Registry
(TXT)", on https://www.swift.com/standards/data-standards/iban (a browser is needed). Download it, then:

    python tools/update_iban.py swift_iban_registry_101.txt --release 101 \
        > packages/tether-core/src/tether_core/iban.dat

The file lies on its side: tab-separated, Latin-1, CR LF, the first column names a data element and every further
column is one country. Three rows matter here: prefix, name, BBAN structure. The "IBAN length" row is used as a
check. The examples are not: the registry has printed wrong ones (LC, BY, ST, SV, NI, RU).

SEPA membership is not taken from here. The registry lags behind the European Payments Council by a year or more
(release 100 still says "No" for AL, MD, ME, MK, RS); it is written down in `tether_core/iban.py` with its source.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

_PIECE = re.compile(r"([0-9]+)!([nac])")


def lines(registry: str, *, release: str) -> list[str]:
    """
    Turn the text of the registry into the lines of `iban.dat`.

    Args:
        registry: The whole file, decoded.
        release: Its release number, for the first line.

    Returns:
        Two lines of comment, then one line a country: prefix, BBAN structure, name; sorted by prefix.

    Raises:
        ValueError: when a row is missing or a structure disagrees with the length beside it.
    """
    rows = {row[0]: row[1:] for row in csv.reader(registry.splitlines(), delimiter="\t") if row}
    found = []
    for prefix, name, structure, length in zip(
        rows["IBAN prefix country code (ISO 3166)"],
        rows["Name of country"],
        rows["BBAN structure"],
        rows["IBAN length"],
        strict=True,
    ):
        pieces = _PIECE.findall(structure)
        if "".join(f"{count}!{kind}" for count, kind in pieces) != structure:
            raise ValueError(f"{prefix}: cannot read the structure {structure!r}")
        if 4 + sum(int(count) for count, _ in pieces) != int(length):
            raise ValueError(f"{prefix}: {structure} does not make {length} characters")
        found.append(f"{prefix} {structure} {name.strip()}")
    head = f"# IBAN registry (ISO 13616), release {release}: prefix, structure of the BBAN, country."
    return [
        head,
        "# Made by tools/update_iban.py; n digits, a capitals, c capitals and digits.",
        *sorted(found),
    ]


def main() -> None:
    """Read the registry named on the command line and print the data file."""
    parser = argparse.ArgumentParser(
        description="Make iban.dat from a copy of the SWIFT IBAN registry (TXT)."
    )
    parser.add_argument("registry", type=Path)
    parser.add_argument("--release", required=True)
    arguments = parser.parse_args()
    text = arguments.registry.read_text(encoding="latin-1")
    sys.stdout.write("\n".join(lines(text, release=arguments.release)) + "\n")


if __name__ == "__main__":
    main()
