"""
The notifications every benchmark sends: signed, seeded, of payments that exist.

Each payment sends what a real one does: first `pending_async`, then `approved`, one in ten a chargeback later; one delivery
in twenty is a repeat. Equal seeds give equal bytes.
"""

import random
from collections.abc import Iterable, Iterator

from tether_sandbox.gateway import sign
from tether_sandbox.seed import Seeded
from tether_sandbox.settings import PASSWORD

__all__ = ["PER_ATTEMPT", "notifications"]

# Deliveries per attempt, on average, rounded down; for sizing.
PER_ATTEMPT = 2

_REASONS = ("AM04", "AM04", "MS03", "MD06", "AC04", "MD01")


def notifications(attempts: Iterable[Seeded], *, number: int) -> Iterator[bytes]:
    """
    Bodies to send, in the order to send them in.

    Args:
        attempts: The payments.
        number: The seed.

    Yields:
        Form bodies without line ends.
    """
    chance = random.Random(number)
    for one in attempts:
        signature = sign(one.unique_id, password=PASSWORD)
        told = [{"status": "pending_async"}, {"status": "approved"}]
        if chance.random() < 0.1:
            told.append(
                {"status": "chargebacked", "event": "chargeback", "reason_code": chance.choice(_REASONS)}
            )
        for fields in told:
            body = "&".join(
                f"{name}={value}"
                for name, value in {
                    "transaction_id": one.transaction_id,
                    "unique_id": one.unique_id,
                    "transaction_type": "sdd_sale",
                    "terminal_token": "sandbox-terminal",
                    "amount": one.amount_minor,
                    "currency": one.currency,
                    **fields,
                    "signature": signature,
                }.items()
            ).encode()
            yield body
            if chance.random() < 0.05:
                yield body
