"""
Redaction of personal data in logs, responses and reports.

Two rules, because neither is sufficient alone: fields with a personal name are masked with any content, and everything that
looks like an IBAN is masked in any text.

What looks like an IBAN: a valid IBAN in any spelling; and, because a mistyped account number is still an account number, any
run of two letters, two digits and 11 to 30 more letters and digits. Ids of the gateway and UUIDs sometimes look like that; they
are not masked, because people search for them.

>>> text("paid from DE89 3704 0044 0532 0130 00 today")
'paid from DE89**************3000 today'
>>> text("IBANde89-3704--00440 532013000and DE89 3704 0044 0532 0130 01")
'IBANDE89**************3000and DE89**************3001'
>>> fields({"status": "approved", "last_name": "Doe", "usage": "see DE89370400440532013000"})
{'status': 'approved', 'last_name': '***', 'usage': 'see DE89**************3000'}
>>> text("no IBAN in DE12, nor in be17a21403427eb96664a6d7e5d5d481")
'no IBAN in DE12, nor in be17a21403427eb96664a6d7e5d5d481'
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from tether_core import iban
from tether_core.errors import InvalidIban

__all__ = ["PERSONAL", "fields", "is_personal", "text"]

# Field names of the gateway, of our tables and of spreadsheets that hold personal data or a secret.
PERSONAL: Final = frozenset(
    """
    iban bank_account_number bank_identifier_code account_holder name full_name first_name last_name email
    customer_email customer_phone phone address address1 address2 street house_number zip_code postcode city
    state neighborhood birth_date date_of_birth national_id card_number card_holder token consumer_id
    remote_ip signature password authorization api_key secret expiration_month expiration_year
    payment_account_reference scheme_pan_tail
    """.split()
)
# Prefixes of field names: cards, subjects and documents of identity checks, addresses.
_FAMILIES: Final = ("card_", "customer_", "holder_", "document_", "billing_address", "shipping_address")

# Separators that people and programs put between two characters of an IBAN, at most three in a row.
_GAP: Final = r"[\s+./_\-\u00ad\u200b\u2010-\u2015\u2212]{0,3}"
# Where an IBAN can begin: two letters, two digits.
_START: Final = re.compile(rf"[A-Za-z]{_GAP}[A-Za-z]{_GAP}[0-9]{_GAP}[0-9]")
_REST: Final = {n: re.compile(rf"(?:{_GAP}[A-Za-z0-9]){{{n - 4}}}") for n in range(15, 35)}
# No letter or digit before, or none after; "IBAN" may be joined to its number.
_EDGE: Final = re.compile(r"(?:(?<![A-Za-z0-9])|(?<=[Ii][Bb][Aa][Nn])|(?![A-Za-z0-9]))")
# A mistyped IBAN: a word of its own, or groups with a single blank or hyphen between them. Words after it belong to the
# sentence.
_RUN: Final = re.compile(_EDGE.pattern + r"[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_WORDS_BEHIND: Final = re.compile(r"(?:[ -][A-Za-z]+)+\Z")
_DIGITS_MIN: Final = 8  # an account number has at least as many: "db01 is not reachable" is a sentence
# 32 hex digits, bare or as a UUID. No country has IBANs that such a run could be.
_ID: Final = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![A-Za-z0-9])")


def text(value: str) -> str:
    """
    Mask everything in a text that looks like an IBAN.

    Args:
        value: Any text.

    Returns:
        The text with each such run shown as `tether_core.iban.mask` does; never longer than *value*.
    """
    if _START.search(value) is None:
        return value
    # The most certain first: a lookalike must not consume a part of a valid IBAN.
    for end_of in (_end_of_word, _end_of_valid, _end_of_mistyped):
        value = _masked(value, end_of)
    return value


def fields(values: Mapping[str, str]) -> dict[str, str]:
    """
    Mask named values for display.

    Args:
        values: Field name to text.

    Returns:
        The same names in the same order; personal ones as stars, the others through `text`.
    """
    return {name: "***" if value and is_personal(name) else text(value) for name, value in values.items()}


def is_personal(name: str) -> bool:
    """
    Whether a field is personal or secret by its name.

    Args:
        name: A field or column name; case, blanks and hyphens do not matter.

    >>> is_personal("First Name"), is_personal("payment_transaction_token"), is_personal("status")
    (True, True, False)
    """
    plain = name.strip().lower().replace(" ", "_").replace("-", "_").removeprefix("payment_transaction_")
    return plain in PERSONAL or plain.startswith(_FAMILIES)


def _characters(run: str) -> str:
    return "".join(mark for mark in run if mark.isascii() and mark.isalnum())


def _masked(value: str, end_of: Callable[[str, re.Match[str]], int | None]) -> str:
    excerpt, done = [], 0
    for start in _START.finditer(value):
        end = end_of(value, start) if start.start() >= done else None
        if end is not None:
            excerpt += [value[done : start.start()], iban.mask(_characters(value[start.start() : end]))]
            done = end
    return "".join([*excerpt, value[done:]]) if done else value


def _end_of_word(value: str, start: re.Match[str]) -> int | None:
    end = _end_of_valid(value, start) if _EDGE.match(value, start.start()) else None
    return end if end is not None and _EDGE.match(value, end) else None


def _end_of_valid(value: str, start: re.Match[str]) -> int | None:
    rest = _rest(value, start)
    if rest is None or not _is_valid(_characters(value[start.start() : rest.end()])):
        return None
    return rest.end()


def _end_of_mistyped(value: str, start: re.Match[str]) -> int | None:
    run = _RUN.match(value, start.start())
    if run is None or _ID.match(value, start.start()):
        return None
    kept = _WORDS_BEHIND.sub("", run.group())
    characters = _characters(kept)
    if len(characters) < min(_REST) or sum(map(str.isdigit, characters)) < _DIGITS_MIN:
        return None
    end = start.start() + len(kept)
    # Where the country is known, characters beyond the length of its IBANs do not belong to the IBAN.
    rest = _rest(value, start)
    return end if rest is None else min(end, rest.end())


def _rest(value: str, start: re.Match[str]) -> re.Match[str] | None:
    """The characters after the first four, as many as IBANs of that country have."""
    size = iban.length(_characters(start.group())[:2].upper())
    return None if size is None else _REST[size].match(value, start.end())


def _is_valid(characters: str) -> bool:
    try:
        iban.validate(characters)
    except InvalidIban:
        return False
    return True
