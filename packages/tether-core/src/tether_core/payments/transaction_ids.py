"""
The ids under which debits are submitted.

The gateway has no idempotency key, so the id of a try is made from what it collects: the same try always has the same id, and a status
inquiry by it finds what an earlier call did.
"""

from hashlib import blake2b
from typing import Final

from tether_core.errors import InvalidRequest
from tether_core.payments.due_items import DUE_ITEM

__all__ = ["LATER_TRIES", "later_ids", "transaction_id"]

# Later tries of a lost history that are looked for; each needs a refusal before it and a person or a plan after it.
LATER_TRIES: Final = 2


def transaction_id(
    debtor_id: int, *, due_item: str, number: int, amount_minor: int, currency: str, iban_fingerprint: bytes
) -> str:
    """
    Return the deterministic `transaction_id` of one try to collect one due item.

    It is made of the debtor, the due item and the number of the try, so a second run over the same debtors makes the same
    ids and adds nothing. The digits at its end are a digest over these and over account and amount: a database that was
    made anew counts its debtors from 1 again, and must not find the debits of the old one under its own ids.

    Args:
        debtor_id: The debtor's row.
        due_item: What is owed, e.g. "once" or "2026-03"; 1 to 32 of a-z, 0-9, point and hyphen.
        number: The number of the try, from 1.
        amount_minor: Whole minor units.
        currency: Three capitals of ISO 4217.
        iban_fingerprint: Of the account to be debited.

    Returns:
        At most 80 printable ASCII characters.

    Raises:
        InvalidRequest: when *due_item* has another form.

    >>> transaction_id(7, due_item="2026-03", number=1, amount_minor=100, currency="EUR", iban_fingerprint=b"")
    'tether-7-2026-03-1-9125d77a1b'
    >>> transaction_id(7, due_item="March!", number=1, amount_minor=100, currency="EUR", iban_fingerprint=b"")
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: due_item: Give 1 to 32 of a-z, 0-9, point and hyphen, e.g. 2026-03.
    """
    if not DUE_ITEM.fullmatch(due_item):
        raise InvalidRequest("give 1 to 32 of a-z, 0-9, point and hyphen, e.g. 2026-03", field="due_item")
    content = f"{debtor_id} {due_item} {number} {amount_minor} {currency} ".encode() + iban_fingerprint
    return f"tether-{debtor_id}-{due_item}-{number}-{blake2b(content, digest_size=5, person=b'attempt').hexdigest()}"


def later_ids(
    debtor_id: int, *, due_item: str, number: int, amount_minor: int, currency: str, iban_fingerprint: bytes
) -> tuple[str, ...]:
    """
    The ids that later tries at a due item have, should a lost history have made any.

    Such a history may have seen a try refused and made another one, which the gateway took. "Not found" for the first then
    says nothing about the due item.

    Args:
        debtor_id: As in `transaction_id`.
        due_item: As there.
        number: Of the try that is known.
        amount_minor: As there.
        currency: As there.
        iban_fingerprint: As there.

    Returns:
        The ids of the next `LATER_TRIES` tries.
    """
    return tuple(
        transaction_id(
            debtor_id,
            due_item=due_item,
            number=number + further,
            amount_minor=amount_minor,
            currency=currency,
            iban_fingerprint=iban_fingerprint,
        )
        for further in range(1, LATER_TRIES + 1)
    )
