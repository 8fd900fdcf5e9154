"""
The life of a mandate: what it may be used for, and until when.

A mandate is the debtor's permission to collect from one account. A **recurrent** mandate serves a series of debits, a **one-off** mandate exactly
one. It ends in one of these ways:

| what happens | the mandate | verdict on the next debit |
|---|---|---|
| a debit comes back with MD01 (no mandate) | is revoked | `mandate_revoked` |
| a person records that the debtor or the creditor ended it | is cancelled | `mandate_cancelled` |
| a one-off mandate was used | stays as it is | `mandate_used` |
| 36 months without a debit | stays as it is | `mandate_expired` |
| the debtor's account differs from that of the mandate | stays as it is | `mandate_of_other_account` |

The 36 months begin with the latest debit that was submitted, whatever became of it, and with the signature where there was none. A due item that was
ordered and missed is no use of the mandate.

A one-off mandate serves the rows of billing runs that name it: the second debit gets the verdict `mandate_used`
(`tether_core.billing.eligibility`). Enrolment gives it no schedule.

An ended mandate stays ended, whatever list names it again: neither a billing run nor an enrolment uses its reference for that account, until a mandate
with the reference is added, or a row says that the debtor signed after the end.

The sequence type of a debit follows from the mandate: OOFF, FRST, RCUR, FNAL. Banks accept RCUR in place of FRST since 2016; Tether keeps all
four for its own records.

>>> signed = Mandate(kind="recurrent", state="active", signed_on=date(2026, 1, 31))
>>> verdict(signed, on=date(2029, 1, 31)) is None
True
>>> verdict(signed, on=date(2029, 2, 1)).code
'mandate_expired'
>>> sequence(signed, is_last=False), sequence(msgspec.structs.replace(signed, uses=3), is_last=True)
('FRST', 'FNAL')

Source: European Payments Council, EPC016-06, 4.1 (the mandate), 4.6.4 PT-07.02 (36 months), AT-21 (transaction type).
"""

from datetime import date
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tether_core.billing.eligibility import Eligibility
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.payments.same_debit import is_damaged, plain
from tether_core.target_calendar import add_months

__all__ = [
    "EXPIRY_MONTHS",
    "KINDS",
    "REVOKING",
    "TRANSITIONS",
    "Ended",
    "Mandate",
    "MandateCause",
    "MandateKind",
    "MandateState",
    "Sequence",
    "expires_after",
    "key_of",
    "sequence",
    "step",
    "verdict",
]

MandateKind: TypeAlias = Literal["recurrent", "one_off"]
MandateState: TypeAlias = Literal["active", "revoked", "cancelled"]
MandateCause: TypeAlias = Literal["returned without a mandate", "cancelled"]
Sequence: TypeAlias = Literal["OOFF", "FRST", "RCUR", "FNAL"]
KINDS: Final[tuple[MandateKind, ...]] = get_args(MandateKind)

# state x cause -> state; what is not here does not exist.
TRANSITIONS: Final[dict[MandateState, dict[MandateCause, MandateState]]] = {
    "active": {"returned without a mandate": "revoked", "cancelled": "cancelled"},
    "revoked": {},
    "cancelled": {},
}

EXPIRY_MONTHS: Final = 36
# Reasons of returns by which the debtor's bank says that there is no mandate.
REVOKING: Final = frozenset({"MD01"})


class Mandate(msgspec.Struct, frozen=True):
    """
    What decides whether a mandate may be used.

    Attributes:
        kind: "recurrent" or "one_off".
        state: Whether it was ended.
        signed_on: When the debtor signed it.
        last_used_on: The day on which its latest debit was submitted, or `None`.
        uses: Due items that were ordered with it, without those whose debits were excluded before any call.
        is_of_other_account: Whether the debtor has another account by now than the mandate is for.
    """

    kind: MandateKind
    state: MandateState
    signed_on: date
    last_used_on: date | None = None
    uses: int = 0
    is_of_other_account: bool = False


class Ended(msgspec.Struct, frozen=True):
    """
    A mandate that has ended.

    Attributes:
        state: How.
        ended_on: When, a day at the banks.
    """

    state: Literal["revoked", "cancelled"]
    ended_on: date

    def holds(self, signed_on: date | None) -> bool:
        """
        Whether a row that names the mandate has no other.

        Args:
            signed_on: When the debtor signed, by the row; `None` where it does not say.

        >>> ended = Ended("cancelled", date(2026, 5, 4))
        >>> ended.holds(None), ended.holds(date(2026, 5, 4)), ended.holds(date(2026, 5, 5))
        (True, True, False)
        """
        return signed_on is None or signed_on <= self.ended_on


def key_of(reference: str) -> str:
    """
    What the reference of a mandate is compared by.

    Args:
        reference: As a file or a person gave it.

    Returns:
        Its plain form (`tether_core.payments.same_debit.plain`).

    Raises:
        InvalidRequest: when it has no letter or digit, or was damaged by a spreadsheet program.

    >>> key_of(" M-0017 ")
    'm-17'
    """
    key = plain(reference)
    if not key or is_damaged(key):
        raise InvalidRequest(
            "give the reference of the mandate as the debtor knows it, with letters or digits",
            field="reference",
        )
    return key


def step(state: MandateState, cause: MandateCause) -> MandateState:
    """
    The next state of a mandate.

    Args:
        state: Its state.
        cause: What happens.

    Raises:
        IllegalStep: when its life has no such step.
    """
    after = TRANSITIONS[state].get(cause)
    if after is None:
        raise IllegalStep("mandate", state=state, step=cause)
    return after


def expires_after(mandate: Mandate) -> date:
    """The last day on which a mandate may be used, should it not be used before."""
    return add_months(mandate.last_used_on or mandate.signed_on, EXPIRY_MONTHS)


def verdict(mandate: Mandate, *, on: date, again: bool = False) -> Eligibility | None:
    """
    Why a mandate may not be used.

    Args:
        mandate: The mandate.
        on: The day of the debit.
        again: Whether the debit is another try, or the submission, of a due item that was ordered with the mandate already.

    Returns:
        The verdict against it; `None` where it may be used.
    """
    text: tuple[str, str] | None = None
    if mandate.state == "revoked":
        text = (
            "mandate_revoked",
            "The debtor's bank returned a debit for want of a mandate; a new mandate is needed.",
        )
    elif mandate.state == "cancelled":
        text = "mandate_cancelled", "The mandate was cancelled; a new mandate is needed."
    elif on < mandate.signed_on:
        text = (
            "mandate_not_signed",
            f"The mandate is signed on {mandate.signed_on}, after the day of the debit.",
        )
    elif mandate.is_of_other_account:
        text = (
            "mandate_of_other_account",
            "The mandate is for another account than the debtor's: have the debtor sign for the new account.",
        )
    elif mandate.kind == "one_off" and mandate.uses and not again:
        text = "mandate_used", "The mandate is for one debit, which was ordered already."
    elif on > expires_after(mandate):
        text = (
            "mandate_expired",
            (
                f"The mandate was not used since {mandate.last_used_on or mandate.signed_on}; it expired after "
                f"{EXPIRY_MONTHS} months, and a new one is needed."
            ),
        )
    return None if text is None else Eligibility(*text)


def sequence(mandate: Mandate, *, is_last: bool) -> Sequence:
    """
    The sequence type of the next debit of a mandate.

    Args:
        mandate: Before the debit.
        is_last: Whether no debit follows it.
    """
    if mandate.kind == "one_off":
        return "OOFF"
    if mandate.uses == 0:
        return "FRST"
    return "FNAL" if is_last else "RCUR"
