"""
The payer of a debit, and the gateway request for it.

A payer is the data of a debtor that a debit needs: the account, a name in two parts, an address where the debtor's bank is outside
the EEA. `debit` builds the gateway's request from it. A text that is too long for a field of the gateway is cut, not refused: a long street
must not prevent a debit. Nothing is invented: the country is the debtor's own where it is
known, else that of the account. Names are written in the characters that banks carry (`sepa_text`): symbols are always removed, and an
account can be set to write all texts in the basic character set of SEPA.

The name is the account holder's. Where a file has the parts of a name beside it and they belong to somebody else (a member whose
parents pay), the parts are not used.

>>> anna = Payer(iban="DE89370400440532013000", name="Anna Maria Schmidt", reference="INV 7")
>>> request = debit(anna, transaction_id="t-7", amount_minor=1000, currency="EUR", usage="Invoice")
>>> request.first_name, request.last_name, request.country, request.usage
('Anna', 'Maria Schmidt', 'DE', 'Invoice INV 7')
>>> paid = Payer(iban="DE89370400440532013000", name="Greta Groß", first_name="Anna", last_name="Schmidt")
>>> request = debit(paid, transaction_id="t-8", amount_minor=1000, currency="EUR", usage="Invoice", characters="sepa")
>>> request.first_name, request.last_name
('Greta', 'Gross')
>>> debit(Payer(iban="DE89370400440532013001", name="Anna"), transaction_id="t-7", amount_minor=1, currency="EUR", usage="x")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidIban: DE89**************3001 is not an IBAN: ...
"""

import re

import msgspec

from tether_core import iban as ibans
from tether_core.emp.requests import Debit
from tether_core.sepa_text import Characters, write
from tether_core.spreadsheet.person_names import split_name

__all__ = ["Payer", "debit"]


class Payer(msgspec.Struct, frozen=True):
    """
    What a debit needs of a debtor.

    Attributes:
        iban: Of the account to be debited.
        name: Of its holder.
        first_name: Where it is known apart.
        last_name: Likewise.
        bic: Of the bank, where given.
        street: Of the holder's address.
        house_number: Likewise.
        postcode: Likewise.
        city: Likewise.
        province: Likewise.
        country: Two capitals.
        mandate_id: Of the mandate on paper.
        reference: What the debtor knows the debt by; it follows the text on the statement.
    """

    iban: str
    name: str
    first_name: str | None = None
    last_name: str | None = None
    bic: str | None = None
    street: str | None = None
    house_number: str | None = None
    postcode: str | None = None
    city: str | None = None
    province: str | None = None
    country: str | None = None
    mandate_id: str | None = None
    reference: str | None = None

    def __repr__(self) -> str:
        """Show the account masked; nothing else."""
        return f"Payer({ibans.mask(self.iban)})"


def debit(
    payer: Payer,
    *,
    transaction_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    merchant_name: str | None = None,
    remote_ip: str | None = None,
    characters: Characters = "latin",
) -> Debit:
    """
    The request for a debit.

    Args:
        payer: Who pays.
        transaction_id: Our id of it.
        amount_minor: Whole minor units.
        currency: Three capitals of ISO 4217.
        usage: The text on the statement; the payer's reference follows it.
        merchant_name: The creditor's name on the statement, or `None` for the terminal's own.
        remote_ip: Where the terminal demands one.
        characters: What the account's gateway is sent: "sepa" spells all texts in the basic set.

    Returns:
        The request.

    Raises:
        InvalidIban: when the account is none.
    """
    account = ibans.validate(payer.iban)
    first, last = payer.first_name, payer.last_name
    named = _words(payer.name)
    if not (first and last and _words(first) & named and _words(last) & named):
        first, last = split_name(payer.name)

    def spelt(text: str | None) -> str | None:
        return write(text, characters=characters) if text and characters == "sepa" else text

    return Debit(
        transaction_id=transaction_id,
        amount_minor=amount_minor,
        currency=currency,
        usage=_cut(spelt(" ".join(filter(None, (usage, payer.reference)))), 140) or transaction_id,
        iban=account,
        first_name=_cut(write(first, characters=characters)) or "",
        last_name=_cut(write(last, characters=characters)) or "",
        country=payer.country if payer.country and _is_country(payer.country) else ibans.country(account),
        bic=payer.bic if payer.bic and len(payer.bic) in {8, 11} and payer.bic.isalnum() else None,
        address1=_cut(spelt(" ".join(filter(None, (payer.street, payer.house_number))))),
        zip_code=_cut(payer.postcode),
        city=_cut(spelt(payer.city)),
        remote_ip=remote_ip,
        mandate_reference=_cut(payer.mandate_id),
        merchant_name=_cut(spelt(merchant_name), 140),
    )


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.casefold())) - {""}


def _cut(text: str | None, limit: int = 255) -> str | None:
    # The statement has room for 140 characters (SEPA remittance information), every other text of the gateway for 255.
    return (text or "").strip()[:limit].strip() or None


def _is_country(text: str) -> bool:
    return len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()
