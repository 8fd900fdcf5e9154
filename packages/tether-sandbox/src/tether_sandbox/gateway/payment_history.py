"""
Payment histories: what happens to a payment at the gateway, and its final state.

A history is a list of steps in their true order; each step is the content of one notification. `outcome` applies them in that
order and needs no rule about order. A receiver gets the steps in any order and must arrive at the same state.

>>> import random
>>> [step.about for step in history(random.Random(0), payment_histories=PaymentHistories.all_approved())][-1]
'approved'
>>> back = [Step({"status": "approved"}), Step({"status": "chargebacked", "event": "chargeback"})]
>>> outcome(back), outcome([*back, Step({"status": "represented", "event": "representment"})])
('chargebacked', 'approved')
>>> outcome([Step({"status": "sideways"})])
Traceback (most recent call last):
    ...
ValueError: no history has the status sideways
"""

import random
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

__all__ = [
    "BLOCK",
    "HOLD",
    "Cause",
    "Fields",
    "Payment",
    "PaymentHistories",
    "State",
    "Step",
    "Transition",
    "causes",
    "history",
    "outcome",
    "reason",
]

State = Literal["pending", "approved", "declined", "error", "voided", "refunded", "chargebacked", "unknown"]
Fields = dict[str, str]

# Reasons for which a receiver should block or hold an IBAN, by SEPA practice.
BLOCK: Final = frozenset("AC01 AC04 AC06 AG01 MD01 MD07".split())
HOLD: Final = frozenset("DNOR MD06 MS02 SL01".split())

# Reason, its description, and its weight: mostly insufficient funds and refunds, as in real collections. XT33 is the
# acquirer's own; "" omits the reason, as some real notifications do.
_REASONS: Final = (
    ("AC01", "Account identifier incorrect", 8),
    ("AC04", "Closed account", 14),
    ("AC06", "Blocked account", 6),
    ("AG01", "Transaction forbidden on this account", 4),
    ("AM04", "Insufficient funds", 30),
    ("MD01", "No mandate", 12),
    ("MD06", "Refund request by end customer", 12),
    ("MD07", "End customer deceased", 1),
    ("MS02", "Refused by the debtor", 3),
    ("MS03", "Reason not specified", 8),
    ("SL01", "Specific service offered by debtor bank", 1),
    ("XT33", "Acquirer's own reason", 1),
    ("", "", 2),
)
_FINAL_ERRORS: Final = (
    ("340", "account number is invalid"),
    ("501", "Bank reject"),
    ("120", "Configuration error"),
)
# Errors that mean that the gateway does not know the outcome.
_OPEN_ERRORS: Final = (("230", "Response timeout"), ("950", "Remote timeout"))
_DECLINES: Final = (("500", "Processing declined"), ("696", "IBAN is blacklisted"), ("623", "Velocity limit"))


class Payment(msgspec.Struct, frozen=True):
    """
    A payment at the gateway.

    Attributes:
        transaction_id: The merchant's id.
        unique_id: The gateway's id, 32 hex digits.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        iban: The debited account, sent in notifications as the gateway does on request; `None` to omit it.
    """

    transaction_id: str
    unique_id: str
    amount_minor: int
    currency: str
    iban: str | None = None

    def __repr__(self) -> str:
        """Show the ids and the amount, not the account."""
        return f"Payment({self.transaction_id} {self.unique_id} {self.amount_minor} {self.currency})"


class PaymentHistories(msgspec.Struct, frozen=True):
    """
    How payments end at the gateway; shares of 1, the rest is approved.

    Attributes:
        silent: No notification is sent.
        pending: Only "pending_async" is sent.
        declined: By bank or risk rules.
        error: Not carried out.
        unknown: An error whose code says that the gateway does not know the outcome.
        voided: Cancelled before settlement.
        refunded: By the merchant.
        chargebacked: By the debtor's bank.
        reversed: Of the charged back: reversed.
        lost_again: Of the reversed: charged back again.
        crossed: Of the charged back: refunded by the merchant before. The gateway's record then shows the dispute only, so
            the refund cannot be confirmed once the record has its final status.
    """

    silent: float = 0.01
    pending: float = 0.03
    declined: float = 0.08
    error: float = 0.04
    unknown: float = 0.01
    voided: float = 0.02
    refunded: float = 0.04
    chargebacked: float = 0.15
    reversed: float = 0.25
    lost_again: float = 0.30
    crossed: float = 0.03

    @classmethod
    def all_approved(cls) -> "PaymentHistories":
        """All payments are approved."""
        return cls(**dict.fromkeys(cls.__struct_fields__, 0.0))


class Step(msgspec.Struct):
    """
    A step of a history.

    Attributes:
        fields: The fields of its notification beside the payment's own; always a "status".
        counts: The field of `Counts` that counts it, or "".
        sent: Whether its notification is sent.
    """

    fields: Fields
    counts: str = ""
    sent: bool = True

    @property
    def about(self) -> str:
        """Status and event, for messages."""
        return " ".join(filter(None, (self.fields["status"], self.fields.get("event", ""))))


class Transition(msgspec.Struct, frozen=True):
    """
    A status transition of a payment in the gateway's ledger.

    Attributes:
        status: The new status.
        event: The dispute's event, or "".
        reason_code: Of chargebacks, or "".
        error_code: Of errors and declines, or "".
        amount: Another amount for its notification, as text, or "".
        currency: Another currency for its notification, or "".
        dispute: Distinguishes disputes of one payment: another text gives another dispute id.
    """

    status: str
    event: str = ""
    reason_code: str = ""
    error_code: str = ""
    amount: str = ""
    currency: str = ""
    dispute: str = ""

    @classmethod
    def of(cls, step: Step) -> "Transition":
        """The transition of a step."""
        get = step.fields.get
        reason_code = get("reason_code") or get("rc_code") or ""
        return cls(step.fields["status"], get("event", ""), reason_code, get("error_code", ""))


class Cause(msgspec.Struct, frozen=True, order=True):
    """
    A reason for a blacklist entry of the receiver.

    Attributes:
        unique_id: The gateway's id of the payment that was charged back.
        transaction_id: The merchant's id.
        reason_code: The bank's reason.
        action: "block" or "hold".
    """

    unique_id: str
    transaction_id: str
    reason_code: str
    action: Literal["block", "hold"]


def history(rng: random.Random, *, payment_histories: PaymentHistories) -> list[Step]:
    """
    Generate the history of a payment.

    Returns:
        Its steps in their true order; none for a silent payment.
    """
    ending = _drawn(rng, payment_histories=payment_histories)
    if ending == "silent":
        return []
    # The synchronous response has this status already, so its notification is sent only sometimes.
    first = [Step({"status": "pending_async"})] if ending == "pending" or rng.random() < 0.5 else []
    return first + _rest(rng, ending=ending, payment_histories=payment_histories)


def outcome(steps: Sequence[Step]) -> State:
    """
    The final state of a history: that of the merchant's attempt.

    Args:
        steps: In their true order.

    Raises:
        ValueError: when a step has a status that no history has.
    """
    paid: State = "pending"
    disputed = False
    for step in steps:
        match step.fields["status"]:
            case "pending_async":
                pass
            case "timeout":
                paid = "error"
            case "error":
                paid = "unknown" if step.fields["error_code"] in dict(_OPEN_ERRORS) else "error"
            case "approved" | "declined" | "voided" | "refunded" as status:
                paid = status
            case "chargebacked" | "second_chargebacked" | "representment_reversed":
                disputed = True
            case "chargeback_reversed" | "represented":
                disputed = False
            case other:
                raise ValueError(f"no history has the status {other}")
    return "chargebacked" if disputed else paid


def causes(
    payment: Payment, steps: Sequence[Step], *, block: frozenset[str], hold: frozenset[str]
) -> list[Cause]:
    """
    The reasons of a history to blacklist the payment's IBAN.

    Args:
        steps: In any order.
        block: Reason codes for which the receiver blocks.
        hold: Reason codes for which it holds.

    Returns:
        One cause per chargeback with such a reason, reversed later or not.
    """
    found = list[Cause]()
    for step in steps:
        code = step.fields.get("reason_code") or step.fields.get("rc_code") or ""
        if step.counts in {"chargebacks", "second_chargebacks"} and code in block | hold:
            action: Literal["block", "hold"] = "block" if code in block else "hold"
            found.append(Cause(payment.unique_id, payment.transaction_id, code, action))
    return found


def reason(rng: random.Random) -> Fields:
    """
    Choose the reason of a chargeback.

    Returns:
        Code and description under either of the two spellings (the documentation's field table says `rc_code`, its samples
        say `reason_code`); sometimes nothing.
    """
    code, words, _ = rng.choices(_REASONS, weights=[weight for *_, weight in _REASONS])[0]
    prefix = rng.choice(("reason", "rc"))
    return {f"{prefix}_code": code, f"{prefix}_description": words} if code else {}


def _drawn(rng: random.Random, *, payment_histories: PaymentHistories) -> str:
    left = rng.random()
    for name in ("silent", "pending", "declined", "error", "unknown", "voided", "refunded", "chargebacked"):
        left -= getattr(payment_histories, name)
        if left < 0:
            return name
    return "approved"


def _rest(rng: random.Random, *, ending: str, payment_histories: PaymentHistories) -> list[Step]:
    if ending in {"declined", "error", "unknown"}:
        return [_failure(rng, ending=ending)]
    rest = list[Step]()
    # A void may come before the debit was reported approved; everything else comes after.
    if ending != "pending" and not (ending == "voided" and rng.random() < 0.5):
        rest.append(Step({"status": "approved"}))
    if ending in {"voided", "refunded"}:
        rest.append(Step({"status": ending}))
    if ending == "chargebacked":
        if rng.random() < payment_histories.crossed:
            rest.append(Step({"status": "refunded"}))
        rest += _dispute(rng, payment_histories=payment_histories)
    return rest


def _failure(rng: random.Random, *, ending: str) -> Step:
    if ending == "error" and rng.random() < 0.2:
        return Step({"status": "timeout"})
    entries = {"declined": _DECLINES, "error": _FINAL_ERRORS, "unknown": _OPEN_ERRORS}[ending]
    code, words = rng.choice(entries)
    status = "declined" if ending == "declined" else "error"
    return Step({"status": status, "error_code": code, "error_message": words, "technical_message": words})


def _dispute(rng: random.Random, *, payment_histories: PaymentHistories) -> list[Step]:
    shared = reason(rng)
    if rng.random() < 0.5:  # the dispute's id exists since v58.8
        shared["chargeback_unique_id"] = f"{rng.getrandbits(128):032x}"
    event = {"event": "chargeback"} if rng.random() < 0.9 else {}  # some real ones have no event
    steps = [Step({"status": "chargebacked"} | event | shared, "chargebacks")]
    if rng.random() < payment_histories.reversed:
        won, lost = rng.choice(
            (
                (
                    ("chargeback_reversed", "chargeback_reversal"),
                    ("second_chargebacked", "second_chargeback"),
                ),
                (("represented", "representment"), ("representment_reversed", "representment_reversal")),
            )
        )
        steps.append(Step({"status": won[0], "event": won[1]} | shared, "reversals"))
        if rng.random() < payment_histories.lost_again:
            steps.append(Step({"status": lost[0], "event": lost[1]} | shared, "second_chargebacks"))
    return steps
