"""
The notifications of every benchmark: signed, seeded, of existing payments.

Each payment sends what a real one does: first `pending_async`, then `approved`, one in ten a chargeback later; one delivery
in twenty is a repeat. Equal seeds give equal bytes.
"""

import random
from collections.abc import Iterable, Iterator

from tether_sandbox.gateway import sign
from tether_sandbox.seed import Seeded
from tether_sandbox.settings import PASSWORD

__all__ = ["PER_ATTEMPT", "made_up", "notifications"]

# Deliveries per attempt, on average, rounded down; for sizing.
PER_ATTEMPT = 2

_REASONS = ("AM04", "AM04", "MS03", "MD06", "AC04", "MD01")


def made_up(count: int) -> Iterator[Seeded]:
    """Payments that no database has, with ids that no other run has."""
    chance = random.SystemRandom()
    for number in range(count):
        yield Seeded(
            id=number,
            transaction_id=f"benchmark-{chance.getrandbits(96):024x}",
            unique_id=f"{chance.getrandbits(128):032x}",
            amount_minor=chance.randrange(100, 100_000),
            currency="EUR",
            iban="",
        )


def notifications(attempts: Iterable[Seeded], *, number: int, password: str = PASSWORD) -> Iterator[bytes]:
    """
    Bodies to send, in the order to send them in.

    Args:
        attempts: The payments.
        number: The seed.
        password: Of the gateway account, which signs them.

    Yields:
        Form bodies without line ends.
    """
    rng = random.Random(number)
    for seeded in attempts:
        signature = sign(seeded.unique_id, password=password)
        result = [{"status": "pending_async"}, {"status": "approved"}]
        if rng.random() < 0.1:
            result.append(
                {"status": "chargebacked", "event": "chargeback", "reason_code": rng.choice(_REASONS)}
            )
        for fields in result:
            body = "&".join(
                f"{name}={value}"
                for name, value in {
                    "transaction_id": seeded.transaction_id,
                    "unique_id": seeded.unique_id,
                    "transaction_type": "sdd_sale",
                    "terminal_token": "sandbox-terminal",
                    "amount": seeded.amount_minor,
                    "currency": seeded.currency,
                    **fields,
                    "signature": signature,
                }.items()
            ).encode()
            yield body
            if rng.random() < 0.05:
                yield body
