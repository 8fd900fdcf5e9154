"""
Names and other free text: which characters are valid, and which show that the text was damaged before.

Names such as Łukasz, Zoë, Müller-Lüdenscheidt, O'Neil or 李 are valid. Invalid are control characters,
the replacement character, and the pairs that appear when UTF-8 was taken for Windows-1252 and saved again.

>>> broken("Łukasz O'Neil"), broken("M\u00c3\u00bcller")
('', 'it was saved with a wrong encoding: it should read \u201cMüller\u201d')
>>> clean("  Zoe\u0308 ")
'Zoë'
>>> split_name("Doe, John"), split_name("María del Carmen Ruiz"), split_name("Madonna")
(('John', 'Doe'), ('María', 'del Carmen Ruiz'), ('Madonna', 'Madonna'))
"""

import re
import unicodedata
from typing import Final

__all__ = [
    "MOJIBAKE",
    "PART_PLACEHOLDERS",
    "PLACEHOLDERS",
    "broken",
    "clean",
    "error_note",
    "error_value",
    "is_placeholder",
    "split_name",
    "sums_up",
]

# The bytes 80 to BF of UTF-8, decoded as Windows-1252.
_REST: Final = (
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
)
# A first byte that announces one more, or two: C2 to C5 and CE to D1, E1 and E2. One class for both in front is found three times as fast.
_TWO: Final = "\u00c2-\u00c5\u00ce-\u00d1"
MOJIBAKE: Final = re.compile(f"[{_TWO}\u00e1\u00e2]{_REST}(?:(?<=[{_TWO}]{_REST})|{_REST})")


# What programs and people write for "no value". "Nan" alone is a name in some languages and is none of them.
_NO_VALUE: Final = frozenset(
    "NULL null Null N/A n/a nan NaN NAN None NONE none nil k.A. k.a. K.A. k.A n.a. N.A. n.v.t. N.v.t. N.V.T. b.d. s.o. o.A. o.a."
    " n.c. N.C. N/C n/c n.d. N.D. n/d N/D b/d s/o n/v n.v. nvt NVT tbd TBD tba TBA undefined"
    " - -- --- ---- ----- \u2013 \u2014 _ __ . .. ... \u2026 ? ?? ??? * / //".split()
) | {
    "k. A.", "k. a.", "n. a.", "o. A.", "(null)", "(NULL)", "<null>", "<NULL>", "[null]", "[NULL]", "(none)", "<none>", "(leer)",
    "(blank)", "(empty)", "\\N", "- -", "./.",
}  # fmt: skip
_NO_VALUE_WORDS: Final = (
    "keine angabe|keine angaben|nicht angegeben|nicht vorhanden|nicht bekannt|unbekannt|entfällt|ohne|keine|leer|fehlt|unknown"
    "|not available|not applicable|not set|not provided|onbekend|geen|niet bekend|niet van toepassing|sans objet|non renseigné"
    "|inconnu|inconnue|aucun|aucune|néant|no disponible|no aplica|desconocido|sin datos|ninguno|ninguna|non disponibile"
    "|sconosciuto|nessuno|nessuna|brak|brak danych|nie dotyczy|nieznany|nieznane"
)
PLACEHOLDERS: Final = _NO_VALUE | {
    form for word in _NO_VALUE_WORDS.split("|") for form in (word, word.capitalize(), word.upper())
}
# In a part of a name only what can be no name: there are people called Null, Leer and Brak.
PART_PLACEHOLDERS: Final = _NO_VALUE - {"Null", "NAN", "None", "NONE", "nil"}
# Words for a sum, where a name should be. A person may be called Suma, but not without a first name.
_SUM_WORDS: Final = (
    "summe|gesamt|gesamtsumme|gesamtbetrag|zwischensumme|ergebnis|gesamtergebnis|total|totals|grand total|subtotal|sum"
    "|total général|sous-total|somme|total general|suma total|totale|totale generale|totale complessivo|subtotale|totaal|subtotaal"
    "|eindtotaal|suma|suma częściowa|suma końcowa|razem|ogółem"
)
_SUM_NAMES: Final = frozenset(
    form for word in _SUM_WORDS.split("|") for form in (word, word.capitalize(), word.title(), word.upper())
)
# Behind the name of whom the sum is about, as spreadsheet programs write it.
_SUM_ENDS: Final = (
    " Total",
    " TOTAL",
    " Summe",
    " SUMME",
    " Ergebnis",
    " Gesamtergebnis",
    " Zwischensumme",
    " Totaal",
)
_ERROR_LENGTH_MAX: Final = 20
_ERROR_VALUE: Final = re.compile(
    r"#(?:N/?[AVBD]|NV|REF!|BEZUG!|REF|VALUE!|WERT!|VALEUR!|VALOR!|VALORE!|WAARDE!|ARG!|NAME\?|NOM\s?\?|NOMBRE\?|NOME\?"
    r"|NAAM\?|NAZWA\?|DIV/0!|¡DIV/0!|DZIEL/0!|DEEL/0!|NUM!|ZAHL!|NOMBRE!|GETAL!|LICZBA!|NULL!|NUL!|ZERO!|VERW!|ADR!"
    r"|RIF!|¡REF!|SPILL!|CALC!|ÜBERLAUF!|FIELD!|BLOCKED!|CONNECT!|UNKNOWN!|BUSY!|PYTHON!|EXTERNAL!|GETTING_DATA|ERROR!"
    r"|NOT CALCULATED|#+"
    # Any other one: no name and no number begins with a number sign and ends with an exclamation or question mark.
    r"|[¡¿]?[^\W_][\w/ ]{0,14}[!?])"
    # LibreOffice counts its errors.
    r"|Err ?:5\d\d",
    re.IGNORECASE,
)


def is_placeholder(text: str) -> bool:
    """Whether a cell's text means "no value" ("null", "n/a" and similar)."""
    return text in PLACEHOLDERS


def sums_up(name: str) -> bool:
    """
    Whether a name is a word for a sum: its row adds up others, even if it names an account.

    >>> sums_up("Summe"), sums_up("Anna Total"), sums_up("Total Energies SE"), sums_up("Jan Suma")
    (True, True, False, False)
    """
    return name in _SUM_NAMES or name.endswith(_SUM_ENDS)


def error_value(text: str) -> bool:
    """Whether a cell's text is an error of a spreadsheet program (#N/A, in German #NV), saved as text."""
    return len(text) <= _ERROR_LENGTH_MAX and _ERROR_VALUE.fullmatch(text) is not None


def error_note(text: str) -> str:
    """
    Return the advice for an error of a spreadsheet program in a cell.

    Args:
        text: The cell.

    Returns:
        A sentence; empty for a cell without one.
    """
    if not error_value(text):
        return ""
    if text == "#NOT CALCULATED":
        return (
            "The cell holds a formula whose result is not stored; open the workbook in a spreadsheet program, save it and send it "
            "again."
        )
    return f"The cell holds an error of the spreadsheet program ({text[:20]}); correct the formula or the look-up."


# Shows the letters behind it in the opposite order.
_REVERSING: Final = "\u202e"


def clean(text: str) -> str:
    """Compose accents, make every kind of blank and line break a blank, and drop marks that nobody sees and that move nothing."""
    if text.isascii() and text.isprintable():
        return text.strip()
    if not text.isprintable():
        text = "".join(
            " " if mark.isspace() else mark
            for mark in text
            if mark == _REVERSING or unicodedata.category(mark) != "Cf"
        )
    return unicodedata.normalize("NFC", text).strip()


def broken(text: str) -> str:
    """
    Return whether a text was damaged before it was uploaded.

    Args:
        text: As `clean` gives it.

    Returns:
        What is wrong, as the rest of "... because"; empty for a sound text.
    """
    if "\ufffd" in text:
        return "it holds a character that was lost in an earlier conversion, or the file has another encoding"
    if _REVERSING in text:
        return "it holds a mark that shows its letters in another order than they are stored in"
    if not text.isprintable() and any(
        unicodedata.category(mark) in ("Cc", "Cs", "Co", "Cn") for mark in text
    ):
        return "it holds a control character"
    if MOJIBAKE.search(text):
        mended = MOJIBAKE.sub(_mend, text)
        if mended != text:
            return f"it was saved with a wrong encoding: it should read \u201c{mended[:40]}\u201d"
    return ""


def _mend(pair: re.Match[str]) -> str:
    try:
        return pair.group().encode("cp1252").decode("utf-8")
    except UnicodeError:
        return pair.group()


def split_name(name: str) -> tuple[str, str]:
    """
    Split a whole name where a gateway insists on two parts.

    Args:
        name: E.g. "John Doe", "Doe, John" or a company.

    Returns:
        First and last name: the parts before and after the first blank, swapped at a comma; one word alone is
        both.
    """
    last, comma, first = (part.strip() for part in name.partition(","))
    if comma and first and last:
        return first, last
    first, _, last = name.replace(",", " ").strip().partition(" ")
    return first, last.strip() or first
