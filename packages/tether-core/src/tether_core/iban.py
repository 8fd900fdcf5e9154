"""
IBAN: the international bank account number of ISO 13616.

Two letters for the country, two check digits, then the national account number (BBAN), whose length and kinds of
characters each country fixes in the IBAN registry. The check digits make the whole number, with its first four
characters moved to the end and letters read as 10 to 35, leave 1 when divided by 97; they run from 02 to 98, so
00, 01 and 99 are wrong even where the remainder fits (ISO 7064, MOD 97-10).

The same number is written in many ways, so `compact` first removes differences of spelling (blanks, hyphens, dots,
slashes, a leading "IBAN:", lower case, full-width digits); after that `validate` is strict. A valid IBAN says
nothing about whether the account exists.

`iban.dat` beside this file has one line a country and is made by `tools/update_iban.py`.

>>> validate("IBAN: de89 3704 0044 0532 0130 00")
'DE89370400440532013000'
>>> mask("DE89370400440532013000")
'DE89**************3000'
>>> validate("DE89 3704 0044 0532 0130 01")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidIban: DE89**************3001 is not an IBAN: its check digits do not fit, so at least one \
character is wrong; ask the account holder for it.
>>> validate("GG29NWBK60161331926819")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidIban: GG29**************6819 is not an IBAN: accounts in GG have IBANs that begin with GB; \
ask the account holder for it.
"""

import re
import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from importlib.resources import files

import msgspec

from tether_core.errors import InvalidIban

__all__ = [
    "EEA",
    "SEPA",
    "compact",
    "country",
    "fingerprint",
    "is_eea",
    "is_sepa",
    "length",
    "mask",
    "validate",
]

# The European Economic Area: the 27 members of the European Union, Iceland, Liechtenstein and Norway.
EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK IS LI NO".split()
)

# Prefixes of IBANs within the scope of the SEPA schemes: 41 countries, 42 prefixes, because Gibraltar has its own
# (Guernsey, Jersey and Man use GB, Åland FI, the French departments overseas FR). As of May 2025, when Serbia joined.
# Being in scope does not promise that a bank takes direct debits. Source: European Payments Council, EPC409-09,
# "List of SEPA scheme countries".
SEPA = EEA | frozenset("AD AL CH GB GI MC MD ME MK RS SM VA".split())

# What people take for the prefix of an IBAN, and what the registry has instead.
_WRITTEN_AS = {
    **dict.fromkeys("GG IM JE".split(), "GB"),
    "AX": "FI",
    **dict.fromkeys("BL GF GP MF MQ NC PF PM RE TF WF YT".split(), "FR"),
}

# Blanks of every kind, hyphens and dashes, and the marks people set between groups.
_SPELLING = re.compile(
    r"[\s\-.:/\u00ad\u180e\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060-\u2064\u2212\ufeff]+"
)
_VALUES = {ord(letter): str(10 + place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_KINDS = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
_WORDS = {"n": "digits", "a": "letters", "c": "letters or digits"}
_SHORTEST = 15  # Norway
_LONGEST = 34  # ISO 13616-1, clause 5


class _Country(msgspec.Struct, frozen=True):
    """One line of the registry, made ready for checking."""

    name: str
    structure: str
    length: int
    # Whether a text has this country's form, by `re.Pattern.fullmatch`.
    fits: Callable[[str], object]
    # The country's letters as digits, for the end of the number that is divided by 97.
    digits: str
    # Whether the BBAN has digits only, so that no letter needs translating.
    numeric: bool


def _load() -> dict[str, _Country]:
    """Read the registry: prefix, structure, name."""
    found = {}
    for line in files("tether_core").joinpath("iban.dat").read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        prefix, structure, name = line.split(" ", 2)
        pieces = [(int(count), kind) for count, kind in re.findall(r"([0-9]+)!([nac])", structure)]
        found[prefix] = _Country(
            name=name,
            structure=structure,
            length=4 + sum(count for count, _ in pieces),
            fits=re.compile(
                prefix + "[0-9]{2}" + "".join(f"{_KINDS[kind]}{{{count}}}" for count, kind in pieces)
            ).fullmatch,
            digits=prefix.translate(_VALUES),
            numeric=all(kind == "n" for _, kind in pieces),
        )
    return found


_REGISTRY = _load()


def compact(text: str) -> str:
    """
    Take away what is only spelling.

    Args:
        text: Anything a person may have written for an IBAN.

    Returns:
        *text* in compatibility form (NFKC) without blanks, hyphens, dots, colons, slashes, marks of no width and a
        leading "IBAN"; upper case if it is ASCII by then, otherwise left for `validate` to refuse (upper-casing could
        turn a foreign letter into A to Z). The same again when compacted again.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        # Once more: a mark of no width can have kept a letter and its accent apart.
        text = unicodedata.normalize("NFKC", _SPELLING.sub("", text))
    text = _SPELLING.sub("", text)
    if text.isascii():
        text = text.upper()
    while text.startswith("IBAN"):
        text = text[4:]
    return text


def validate(text: str) -> str:
    """
    Check an IBAN in any of its spellings.

    Args:
        text: What a person or file gave.

    Returns:
        The canonical form: capitals and digits only.

    Raises:
        InvalidIban: when it is none; says which rule it breaks and who corrects it, and shows it masked.

    Source: ISO 13616-1 and the IBAN registry; ISO 7064 MOD 97-10 for the check digits.
    """
    iban = text.replace(" ", "")
    entry = _REGISTRY.get(iban[:2])
    if entry is None or not entry.fits(iban):
        iban = compact(text)
        entry = _REGISTRY.get(iban[:2])
        if entry is None or not entry.fits(iban):
            raise InvalidIban(mask(iban), why=_broken_rule(iban))
    bban = iban[4:] if entry.numeric else iban[4:].translate(_VALUES)
    check = iban[2:4]
    if int(bban + entry.digits + check) % 97 != 1 or not "02" <= check <= "98":
        raise InvalidIban(
            mask(iban),
            why="its check digits do not fit, so at least one character is wrong; ask the account holder for it",
        )
    return iban


def _broken_rule(iban: str) -> str:  # noqa: PLR0911 - one return a rule, in the order people should hear them
    """Say which rule of form a compacted text breaks, and who corrects it."""
    prefix = iban[:2]
    entry = _REGISTRY.get(prefix)
    if not iban:
        return "there is nothing in it; add the account number"
    if not (iban.isascii() and iban.isalnum()):
        return "it holds a character that is neither a Latin letter nor a digit; correct the row"
    if prefix in _WRITTEN_AS:
        return f"accounts in {prefix} have IBANs that begin with {_WRITTEN_AS[prefix]}; ask the account holder for it"
    if prefix.isdigit():
        return (
            "it begins with no country, as national account numbers do; ask the account holder for the IBAN"
        )
    if len(iban) < _SHORTEST:
        return f"it has {len(iban)} characters, and no IBAN has fewer than {_SHORTEST}; ask the account holder for it"
    if entry is None:
        return "it begins with no country of the IBAN registry; ask the account holder for it"
    if len(iban) != entry.length:
        return (
            f"{entry.name} has {entry.length} characters, this has {len(iban)}; ask the account holder for it"
        )
    pieces = (f"{count} {_WORDS[kind]}" for count, kind in re.findall(r"([0-9]+)!([nac])", entry.structure))
    return f"in {entry.name} two check digits and then {', '.join(pieces)} follow the country; ask the account holder for it"


def mask(iban: str) -> str:
    """
    Show enough of an IBAN to recognise it, too little to use it.

    Args:
        iban: An IBAN in any spelling, or any other text.

    Returns:
        The first four and last four characters with stars between; only stars when it is shorter than any IBAN;
        never more than 34 characters, and "?" for what is neither a letter nor a digit of ASCII.
    """
    text = compact(iban)
    if len(text) < _SHORTEST:
        return "*" * max(len(text), 4)
    if not (text.isascii() and text.isalnum()):
        text = "".join(mark if mark.isascii() and mark.isalnum() else "?" for mark in text)
    return text[:4] + "*" * (min(len(text), _LONGEST) - 8) + text[-4:]


def fingerprint(iban: str, *, key: bytes = b"") -> bytes:
    """
    Turn an IBAN into what lists of accounts are matched by, so that no list need hold it in clear.

    Without a key anybody can try all accounts of a bank; with a secret key only its holder can.

    Args:
        iban: An IBAN in any spelling; it is compacted, not checked.
        key: A secret of at most 64 bytes, the same for every list that is to be compared.

    Returns:
        16 bytes, BLAKE2b of the canonical form.
    """
    return blake2b(
        compact(iban).encode("utf-8", "surrogatepass"), digest_size=16, key=key, person=b"iban"
    ).digest()


def country(iban: str) -> str:
    """Return the two-letter country code of a canonical *iban*."""
    return iban[:2]


def length(prefix: str) -> int | None:
    """
    How many characters the IBANs of a country have.

    Args:
        prefix: Two capitals, as returned by `country`.

    Returns:
        15 to 34, or `None` where the registry has no such country.

    >>> length("DE"), length("ZZ")
    (22, None)
    """
    entry = _REGISTRY.get(prefix)
    return None if entry is None else entry.length


def is_sepa(iban: str) -> bool:
    """
    Whether the account is in reach of the SEPA schemes.

    French accounts in New Caledonia, French Polynesia and Wallis and Futuna begin with FR too and count as in reach.

    Args:
        iban: A canonical IBAN.

    Source: European Payments Council, EPC409-09; the list and its date are at `SEPA`.
    """
    return iban[:2] in SEPA


def is_eea(iban: str) -> bool:
    """
    Whether the account is in the European Economic Area.

    Outside of it a direct debit needs the debtor's address, or the bank returns it with reason RR02.

    Args:
        iban: A canonical IBAN.

    Source: European Payments Council, EPC016-06, "SEPA Direct Debit Core Scheme Rulebook".
    """
    return iban[:2] in EEA
