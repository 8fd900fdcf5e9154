"""
Countries as lists of debtors write them: two letters, three, or the name in one of several languages.

>>> country_code("Österreich"), country_code("de"), country_code("Holland"), country_code("UK")
('AT', 'DE', 'NL', 'GB')
>>> country_code("Atlantis") is None
True

Source: ISO 3166-1 for the codes; `countries.dat` beside this file for the names, of the SEPA area only.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Final

from tether_core.spreadsheet.header_words import plain

__all__ = ["country_code"]


def _load() -> dict[str, str]:
    found = {}
    text = files("tether_core.spreadsheet").joinpath("countries.dat").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            code, names = line.split(" ", 1)
            for name in names.split("|"):
                found[plain(name)] = found[plain(name, digraphs=True)] = code
    return found


_NAMES: Final = _load()


@lru_cache(maxsize=1024)
def country_code(text: str) -> str | None:
    """
    Return the two-letter code of a country.

    Args:
        text: A code or a name, in any case.

    Returns:
        Two capitals; `None` for a name nobody listed. Two letters are taken as they are.
    """
    if (known := _NAMES.get(plain(text))) is not None:
        return known
    code = text.strip().upper()
    return code if len(code) == 2 and code.isascii() and code.isalpha() else None
