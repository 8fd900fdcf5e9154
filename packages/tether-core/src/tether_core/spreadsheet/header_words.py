"""
Header words: which field of a debtor a header may name.

People and programs name the same column in many ways. `words.dat` lists the words in seven languages. They are compared in a plain form:
without case, accents, punctuation, currency marks and endings for gender.

| header | points |
| --- | --- |
| a word for the account holder | 0.9 |
| a word for the field | 0.8 |
| the same, beside a word such as "debtor" or a number | 0.1 less |
| the word within a longer header | 0.2 less |
| a word that means the field where no better one does (Buchungstext) | 0.6 |
| a word that means the field only with the right cells below (Konto, Mandat) | 0.4 |

A header that names the creditor means no field of the debtor.

>>> plain("Straße/Nr. (Wohnort)"), plain("first_Name")
('strassenrwohnort', 'firstname')
>>> [(match.field, match.points) for match in word_matches("IBAN des Zahlungspflichtigen")]
[('iban', 0.7)]
>>> word_matches("IBAN des Gläubigers")
()
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from tether_core.spreadsheet.account_cell import is_account, split_account

__all__ = [
    "WordMatch",
    "count_ibans",
    "is_group_total",
    "is_iban",
    "is_total_label",
    "named_fields",
    "plain",
    "speaks_of_debtor",
    "word_matches",
]

# Letters that have no decomposition, and marks between a word and its ending for gender.
_LETTERS: Final = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ß": "ss", "\u0131": "i"}
)
_DIGRAPHS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_GENDER: Final = re.compile(r"(?<=\w)(?:[*:_/]-?|(?<=[a-zß])(?=I))(?:in|innen|In|Innen|r|e)\b")
_UNIT: Final = re.compile(r"\b(?:in\s+)?(?:eur|euro|euros)\b|€", re.IGNORECASE)
_MINOR: Final = re.compile(
    r"\b(?:cents?|ct|cts|centimes|centen|céntimos|centesimi|groszach)\b", re.IGNORECASE
)
_BRACKETS: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]|\{[^}]*\}")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def plain(text: str, *, digraphs: bool = False) -> str:
    """
    Reduce a header to what is compared: small letters a to z and digits, nothing between them.

    Args:
        text: Any header or label.
        digraphs: Whether umlauts become ae, oe, ue rather than a, o, u.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    if digraphs:
        text = text.translate(_DIGRAPHS)
    text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return "".join(mark for mark in text if mark.isascii() and mark.isalnum())


def _load() -> tuple[dict[str, tuple[str, str]], dict[str, frozenset[str]]]:
    """Read the words: plain word -> (field, strength), and the sets that are no fields."""
    fields: dict[str, tuple[str, str]] = {}
    sets: dict[str, set[str]] = {"total": set(), "debtor": set(), "creditor": set()}
    for line in (
        files("tether_core.spreadsheet").joinpath("words.dat").read_text(encoding="utf-8").splitlines()
    ):
        if not line or line.startswith("#"):
            continue
        field, strength, words = line.split(" ", 2)
        for word in words.split("|"):
            for key in {plain(word), plain(word, digraphs=True)}:
                if field in sets:
                    sets[field].add(key)
                elif fields.setdefault(key, (field, strength)) != (field, strength):
                    raise AssertionError(f"words.dat: {word.strip()!r} stands for two fields")
    return fields, {name: frozenset(words) for name, words in sets.items()}


_FIELDS, _SETS = _load()
_CERTAIN: Final = 0.6
_POINTS: Final = {"!": 0.9, "=": 0.8, "-": 0.6, "~": 0.4}


class WordMatch(msgspec.Struct, frozen=True):
    """
    A field that a header may name.

    Attributes:
        field: One of `ALL_FIELDS`.
        points: As in the table above.
        why: The evidence, without the cells.
    """

    field: str
    points: float
    why: str


@lru_cache(maxsize=4096)
def word_matches(header: str) -> tuple[WordMatch, ...]:
    """
    Return the fields that a header may name.

    Args:
        header: As in the file.

    Returns:
        The best match of each field, best first; none for a header that names the creditor.
    """
    header = header.strip()[:200]
    text = _GENDER.sub("", header)
    tokens = [
        token for token in (plain(word) for word in re.split(r"[\W_]+", _CAMEL.sub(" ", text))) if token
    ]
    creditor = any(token in _SETS["creditor"] for token in tokens)
    if creditor and not any(token in _SETS["debtor"] for token in tokens):
        return ()
    found: dict[str, WordMatch] = {}
    for keys, less, relation in _readings(text, tokens):
        # In order: where two words weigh the same, the field must not depend on the order of a set.
        for key in sorted(keys):
            if key not in _FIELDS:
                continue
            field, strength = _FIELDS[key]
            if field == "amount" and _MINOR.search(header):
                field = "amount_minor"
            points = round(_POINTS[strength] - less, 2)
            if field not in found or found[field].points < points:
                found[field] = WordMatch(field, points, f"the header \u201c{header[:40]}\u201d {relation}")
        # A word within the header counts only where the whole header is not certain.
        if any(match.points >= _CERTAIN for match in found.values()):
            break
    return tuple(sorted(found.values(), key=lambda match: -match.points))


def speaks_of_debtor(header: str) -> bool:
    """Whether a header has a word for the person who owes."""
    return any(plain(word) in _SETS["debtor"] for word in re.split(r"[\W_]+", _CAMEL.sub(" ", header)))


def _readings(text: str, tokens: Sequence[str]) -> Iterator[tuple[set[str], float, str]]:
    """Return the plain words a header may stand for, the whole header first: words, points less, relation."""
    unbracketed = _BRACKETS.sub(" ", text)
    unitless = _UNIT.sub(" ", unbracketed)
    forms = (text, unbracketed, unitless, _MINOR.sub(" ", unitless))
    yield (
        {plain(form, digraphs=digraphs) for form in forms for digraphs in (False, True)},
        0.0,
        "is a known word",
    )
    bare = [
        token
        for token in tokens
        if token not in _SETS["debtor"] and token not in _FILLERS and not token.isdigit()
    ]
    if bare and bare != tokens:
        yield {"".join(bare)}, 0.1, "has a known word beside a qualifier"
    for size in range(min(len(tokens), 4), 0, -1):
        starts = range(len(tokens) - size + 1)
        parts = {"".join(tokens[start : start + size]) for start in starts}
        yield {part for part in parts - _ALONE if len(part) > 2}, 0.2, "contains a known word"


_FILLERS: Final = frozenset(
    "des der die das dem von vom of the du de la le les del della di dello van het een el los las do od na nr no in"
    " sepa".split()
)

# Parts of a name as a whole header, and of anything else within one: "Last year", "First payment".
_ALONE: Final = frozenset({"first", "last"})


def named_fields(cells: Iterable[str]) -> frozenset[str]:
    """Return the fields that a row's cells name, if it is a header."""
    # Headers are short and do not begin with a digit; anything else need not be looked up.
    likely = (cell for cell in cells if 0 < len(cell) <= 80 and not cell.lstrip()[:1].isdigit())
    best = (word_matches(cell)[:1] for cell in likely)
    return frozenset(match.field for matches in best for match in matches if match.points > 0.5)


def count_ibans(cells: Iterable[str]) -> int:
    """Count the valid IBANs in a row."""
    return sum(map(is_iban, cells))


def is_iban(text: str) -> bool:
    """Whether a cell is a valid IBAN, alone or with a BIC beside it."""
    if not 15 <= len(text) <= 100:
        return False
    return is_account(text) or split_account(text) is not None


def is_group_total(text: str, *, a_name: bool = False) -> bool:
    """
    Whether a cell labels the sum of a group, as Excel's subtotals do: "Chor Ergebnis", "Total Danse".

    Args:
        text: The cell.
        a_name: Whether it stands where names do; then no comma may be in it, as in "Suma, Anna".
    """
    if not 0 < len(text) <= 80 or (a_name and "," in text):
        return False
    words = [word for word in map(plain, re.split(r"[\W_]+", text)) if word]
    return len(words) > 1 and (words[0] in _SETS["total"] or words[-1] in _SETS["total"])


def is_total_label(text: str) -> bool:
    """Whether a cell labels a line that sums up the table, e.g. "Summe:" or "Total EUR"."""
    if not 0 < len(text) <= 40:
        return False
    text = _UNIT.sub(" ", text)
    words = [word for word in map(plain, re.split(r"[\W_]+", text)) if word and not word.isdigit()]
    # Every word has to be one: "Suma, Anna" is a debtor whose IBAN is missing.
    return plain(text) in _SETS["total"] or (
        any(word in _SETS["total"] for word in words)
        and all(word in _SETS["total"] | _FILLERS for word in words)
    )
