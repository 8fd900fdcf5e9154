"""
Texts in the characters that SEPA carries.

Banks must carry the letters A to Z, digits, blanks and ``/ - ? : ( ) . , ' +``. Within Europe most of them carry accented letters too, and
some drop or refuse them. Nobody carries pictures, brackets of computers, or signs such as ``@``. `write` therefore always leaves out
what no bank carries, and spells letters in the basic set where the account says so.

| characters | Jürgen “Jü” Łącka & Søn 😀 @home |
| --- | --- |
| ``latin`` | Jürgen Jü Łącka & Søn home |
| ``sepa`` | Juergen Jue Lacka + Soen home |

>>> write("Jürgen “Jü” Łącka & Søn 😀 @home", characters="latin"), write("Jürgen “Jü” Łącka & Søn 😀 @home", characters="sepa")
('Jürgen Jü Łącka & Søn home', 'Juergen Jue Lacka + Soen home')
>>> dropped("Anna <3 😀"), dropped("Groß & Söhne (Łódź)")
('<😀', '')
>>> write("Иван Петров", characters="sepa"), write("Γιώργος", characters="sepa")
('Ivan Petrov', 'Giorgos')

Source: EPC217-08, "SEPA Requirements for an Extended Character Set (UNIFI) - Best Practices"; EPC130-08, 1.4 (character set).
"""

import unicodedata
from typing import Final, Literal

__all__ = ["Characters", "dropped", "write"]

# What an account's gateway is sent: letters as they are, or the basic set only.
Characters = Literal["latin", "sepa"]

_BASIC: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-?:().,'+ ")
# Signs that mean the same as one of the basic set.
_SAME: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
        "\u2026": "...",
        ";": ",",
        "_": "-",
    }
)
_SPELT: Final = str.maketrans(
    {
        "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe",
        "Œ": "OE", "ø": "oe", "Ø": "Oe", "å": "aa", "Å": "Aa", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th",
        "Þ": "Th", "ħ": "h", "Ħ": "H", "ı": "i", "ŋ": "n", "Ŋ": "N", "ŧ": "t", "Ŧ": "T", "&": "+", "ª": "a", "º": "o",  # noqa: RUF001 - letters that only look like Latin ones
    }
)  # fmt: skip
_CYRILLIC: Final = str.maketrans(
    {
        **dict(zip("абвгдезийклмнопрстуфъ", "abvgdeziyklmnoprstufa", strict=True)),
        "ж": "zh", "х": "h", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sht", "ь": "y", "ю": "yu", "я": "ya", "ы": "y", "э": "e", "ё": "e",  # noqa: RUF001 - letters that only look like Latin ones
        "і": "i", "ї": "yi", "є": "ye", "ґ": "g", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "ђ": "dj", "џ": "dz", "ѓ": "g", "ќ": "k", "ѕ": "z",  # noqa: RUF001 - letters that only look like Latin ones
    }
)  # fmt: skip
_GREEK: Final = str.maketrans(
    {
        **dict(zip("αβγδεζηικλμνοπρσςτυφω", "avgdeziiklmnoprsstyfo", strict=True)),
        "θ": "th", "ξ": "x", "χ": "ch", "ψ": "ps",
    }
)  # fmt: skip


def dropped(text: str) -> str:
    """
    Pick out what no bank carries, in whichever spelling.

    Args:
        text: E.g. a name.

    Returns:
        The characters, each once.
    """
    if text.isascii() and _BASIC.issuperset(text):
        return ""
    return "".join(dict.fromkeys(mark for mark in text.translate(_SAME) if not _carried(mark)))


def _carried(mark: str) -> bool:
    # Quotation marks are excluded like any other sign; letters and their accents are spelt where need be.
    return (
        mark in _BASIC
        or mark == "&"
        or (not mark.isascii() and unicodedata.category(mark)[0] in "LM")
        or mark in "ªº"
    )


def write(text: str, *, characters: Characters) -> str:
    """
    Write a text in the characters that are carried.

    Args:
        text: E.g. a name.
        characters: What the account's gateway is sent.

    Returns:
        The text without what is not carried; unchanged where nothing would be left of it.
    """
    if text.isascii() and _BASIC.issuperset(text):
        return text
    written = text.translate(_SAME)
    if characters == "sepa":
        written = _spelt(written)
        kept = "".join(mark if mark in _BASIC else "" for mark in written)
    else:
        kept = "".join(mark if _carried(mark) else "" for mark in written)
    kept = " ".join(kept.split())
    return kept if any(mark.isalnum() for mark in kept) else text


def _spelt(text: str) -> str:
    text = unicodedata.normalize("NFC", text).translate(_SPELT)
    if text.isascii():
        return text
    text = "".join(
        mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark)
    ).translate(_SPELT)
    return text if text.isascii() else "".join(map(_foreign, text))


def _foreign(mark: str) -> str:
    small = mark.lower()
    spelt = small.translate(_CYRILLIC).translate(_GREEK)
    return spelt if small == mark else spelt.capitalize()
