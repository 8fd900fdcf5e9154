"""
Validate transaction requests and choose their outcome.

Pure functions: a request's fields go in, a script comes out that says what to record and how to respond. The order of checks
and the error codes are those of the documentation (v60.1, Errors).

>>> order = {"transaction_type": "sdd_sale", "transaction_id": "t-7", "usage": "x", "amount": "300", "currency": "EUR"}
>>> checked(order)
Traceback (most recent call last):
    ...
tether_sandbox.gateway.process.Refused: 320: iban is missing!
>>> checked(order | {"iban": "DE89370400440532013000"} | dict.fromkeys(NEEDED_ADDRESS, "x"))
"""

import random
from typing import Final

import msgspec
from tether_core import iban as iban_of
from tether_core.errors import InvalidIban

from tether_sandbox.gateway import payment_history
from tether_sandbox.gateway.ledger import SALES
from tether_sandbox.gateway.payment_history import Fields, Transition
from tether_sandbox.gateway.scenario import APPROVED, FailureMode, Script, scripted
from tether_sandbox.gateway.setup import Faults, Setup

__all__ = ["LOST_RESPONSES", "NEEDED", "NEEDED_ADDRESS", "Fields", "Refused", "checked", "outcome"]

NEEDED_ADDRESS: Final = tuple(f"billing_address/{name}" for name in ("first_name", "last_name", "country"))
_MONEY: Final = ("usage", "amount", "currency")

# The required fields of each transaction type besides transaction_type and transaction_id.
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "sdd_sale": (*_MONEY, "iban", *NEEDED_ADDRESS),
    "sdd_init_recurring_sale": (*_MONEY, "iban", *NEEDED_ADDRESS),
    "sdd_recurring_sale": (*_MONEY, "reference_id"),
    "sdd_refund": (*_MONEY, "reference_id"),
    "void": ("reference_id",),
}

# Scripts from this number on are about lost responses, so they apply to refunds and voids, too.
LOST_RESPONSES: Final = 30

# Name of a share in `Faults` -> how the response fails and whether the debit is taken.
_FAULTS: Final[dict[str, tuple[FailureMode, bool]]] = {
    "silent": ("silence", True),
    "hung_up": ("hang_up", True),
    "cut": ("cut", True),
    "failed": ("500", True),
    "junk": ("junk", True),
    "hidden": ("silence", True),
    "dropped": ("silence", False),
    "refused": ("503", False),
    "throttled": ("429", False),
    "throttled_readably": ("429 refusal", False),
    "refused_readably": ("422 refusal", False),
}

# The error codes of readable refusals.
_CODES: Final[dict[FailureMode, str]] = {"429 refusal": "623", "422 refusal": "340"}


class Refused(Exception):
    """
    The gateway refuses a request or an inquiry.

    Attributes:
        code: The error code.
        why: The error message.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"


def checked(fields: Fields) -> None:
    """
    Validate the fields of a transaction request.

    Args:
        fields: Texts by path.

    Raises:
        Refused: for the first error.
    """
    kind = fields.get("transaction_type", "")
    if kind not in NEEDED:
        raise Refused("310", "transaction_type is unknown")
    needed = NEEDED[kind]
    for name in ("transaction_id", *needed):
        if not fields.get(name):
            raise Refused("320", f"{name.rpartition('/')[2]} is missing!")
    if max(map(len, fields.values())) > 255:
        raise Refused("330", "a field is too long")
    amount = fields.get("amount", "1")
    if not (amount.isascii() and amount.isdigit() and int(amount) > 0):
        raise Refused("340", "amount is invalid")
    if "currency" in needed and len(fields["currency"]) != 3:
        raise Refused("340", "currency is invalid")
    if "iban" in needed:
        try:
            iban_of.validate(fields["iban"])
        except InvalidIban:
            raise Refused("340", "iban is invalid") from None


def outcome(fields: Fields, *, nth: int, setup: Setup) -> Script:
    """
    Choose the script of a debit, a refund or a void: by IBAN, by amount, or at random.

    Args:
        fields: Texts by path, validated; a void has its debit's amount.
        nth: How often this transaction_id was submitted, from 1; each time is drawn anew.
    """
    iban = fields.get("iban", "").replace(" ", "")
    script = scripted(int(fields["amount"]), iban=iban)
    is_debit = fields["transaction_type"] in SALES
    if not is_debit and script.number < LOST_RESPONSES:
        script = APPROVED  # the outcome of a debit does not apply to its refund
    if script is not APPROVED:
        return script
    # Independent of the order of requests, which differs between runs.
    rng = random.Random(f"{setup.seed}:{fields['transaction_id']}:{nth}")
    script = (
        _drawn(rng, payment_histories=setup.payment_histories)
        if setup.payment_histories and is_debit
        else script
    )
    return _faulty(script, rng, faults=setup.faults)


def _drawn(rng: random.Random, *, payment_histories: payment_history.PaymentHistories) -> Script:
    steps = payment_history.history(rng, payment_histories=payment_histories)
    transitions = tuple(Transition.of(step) for step in steps if step.fields["status"] != "pending_async")
    return Script(0, "drawn", transitions=transitions)


def _faulty(script: Script, rng: random.Random, *, faults: Faults) -> Script:
    left = rng.random()
    for name, (failure_mode, taken) in _FAULTS.items():
        left -= getattr(faults, name)
        if left < 0:
            status = script.status if taken else ""
            return msgspec.structs.replace(
                script,
                name=name,
                failure_mode=failure_mode,
                status=status,
                code=_CODES.get(failure_mode, script.code),
                hidden=name == "hidden",
            )
    return script
