"""
What may be shown of personal data, in logs, answers and reports.

Two nets, because either alone has holes: fields that are personal by their name are masked whatever they
hold, and anything that looks like an IBAN is masked wherever it stands.

>>> text("paid from DE89 3704 0044 0532 0130 00 today")
'paid from DE89**************3000 today'
>>> fields({"status": "approved", "last_name": "Doe", "usage": "see DE89370400440532013000"})
{'status': 'approved', 'last_name': '***', 'usage': 'see DE89**************3000'}
>>> text("no IBAN in DE12")
'no IBAN in DE12'
"""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["PERSONAL", "fields", "text"]

# Field names of the gateway, of our tables and of spreadsheets that hold what belongs to a person or a secret.
PERSONAL: Final = frozenset(
    """
    iban bank_account_number bank_identifier_code account_holder name full_name first_name last_name email
    customer_email customer_phone phone address address1 address2 street house_number zip_code postcode city
    state neighborhood birth_date date_of_birth national_id card_number card_holder token consumer_id
    remote_ip signature password authorization api_key secret
    """.split()
)

# Two letters, two digits, then 11 to 30 more that may be grouped with single blanks or hyphens.
_IBAN_LIKE: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])"
)
# Where groups of four are followed by ordinary words, the match may run on into them: groups end it.
_GROUPED: Final = re.compile(
    r"[A-Za-z]{2}[0-9]{2}(?:[ -][A-Za-z0-9]{4}){2,7}(?:[ -][A-Za-z0-9]{1,3}(?![A-Za-z0-9]))?"
)


def text(value: str) -> str:
    """
    Mask everything in a text that looks like an IBAN.

    Args:
        value: Any text.

    Returns:
        The text with the middle of each such run replaced by stars; never longer than *value*.
    """
    return _IBAN_LIKE.sub(_masked, value)


def fields(values: Mapping[str, str]) -> dict[str, str]:
    """
    Mask a set of named values for showing.

    Args:
        values: Field name to text.

    Returns:
        The same names in the same order; personal ones as stars, the others through `text`.
    """
    return {
        name: "***" if value and name.lower() in PERSONAL else text(value) for name, value in values.items()
    }


def _masked(match: re.Match[str]) -> str:
    run = match.group()
    rest = ""
    grouped = _GROUPED.match(run)
    if grouped is not None and len(grouped.group()) < len(run):
        run, rest = grouped.group(), run[grouped.end() :]
    compact = run.replace(" ", "").replace("-", "")
    return compact[:4] + "*" * (len(compact) - 8) + compact[-4:] + rest
