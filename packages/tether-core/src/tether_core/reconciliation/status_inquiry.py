"""
Asking the gateway: about which payments, when, and what its answer means.

A payment is asked about when its outcome is unknown to us, or when it has been pending for so long that its news may
have been lost. Unknown ones go first, because a debit that is neither collected nor free to be sent again helps
nobody; then the oldest. Each is asked about ten times at most, on a retry schedule of growing waits. What is still open
after that is left to the daily lists (`tether_core.reconciliation.report_records`) and to a person.

| attempt | first asked | then after |
|---|---|---|
| unknown | half a minute after the lost answer | 1, 2, 5, 15 and 30 minutes, 1, 4, 12 and 24 hours |
| pending at the gateway | two hours after its last news | 2, 4, 8 and 16 hours, 1, 1, 2, 3 and 5 days |

Silence is no answer and does not count as a try.

An answer is one of three things. It may *tell* of the payment that was asked about: that becomes a claim for the
inbox. It may say that the payment is *not there* (code 460): what that means for a debit of unknown outcome,
`tether_core.payments.submission` decides. Anything else, such as a wrong password, an error of the gateway itself or an answer
about another payment, says *nothing* about it, and is asked again later.

A claim of a notification is confirmed the same way (`confirmation`): the payment's own record says how far it has come,
and for disputes the chargeback list says more, above all the reason. Whichever of the two has come further counts:
they are kept by different parts of the gateway and need not agree at all times.

Source: Genesis API documentation v60.1 (2026-08), Reconcile, Chargebacks, Errors; section Transaction states for
results of direct debits, which come some days after the debit.

>>> from tether_core.emp.responses import read_answer
>>> heard(read_answer(b"<payment_response><status>error</status><code>460</code></payment_response>"), unique_id="44177a21")
'not_found'
>>> wrong_password = read_answer(b"<payment_response><status>error</status><code>110</code></payment_response>")
>>> heard(wrong_password, transaction_id="t-7")
'nothing'
>>> other = read_answer(b"<payment_response><status>approved</status><unique_id>55177a21</unique_id></payment_response>")
>>> heard(other, unique_id="44177a21")      # an answer about another payment is none
'nothing'
"""

from collections.abc import Iterable
from typing import Final, Literal

from tether_core.emp import codes
from tether_core.emp.responses import Chargeback, GatewayAnswer
from tether_core.payments import stages
from tether_core.payments.attempt import Confirmation

__all__ = [
    "PENDING_AGE_S",
    "TRIES_MAX",
    "UNKNOWN_AGE_S",
    "Heard",
    "InquiryKind",
    "confirmation",
    "heard",
]

InquiryKind = Literal["unknown", "pending"]
Heard = Literal["found", "not_found", "nothing"]

TRIES_MAX: Final = 10
# A call that was cut may still be under way for some seconds; asking sooner would mostly hear "not there".
UNKNOWN_AGE_S: Final = 30
# Results are told at four times of the day and notifications repeated for two and a half hours at the longest; what is
# silent for longer than the gap between two of those times deserves a question.
PENDING_AGE_S: Final = 7_200


def heard(
    answer: GatewayAnswer | None, *, unique_id: str | None = None, transaction_id: str | None = None
) -> Heard:
    """
    What an answer to a question about one payment is.

    Args:
        answer: The answer, or `None` where a client has read "not found" off it already.
        unique_id: The gateway's id that was asked about, or `None` where it was not known.
        transaction_id: Our id of the payment, or `None`.

    Returns:
        "found" it speaks of that payment; "not_found" the gateway has none; "nothing" anything else.
    """
    if answer is None:
        return "not_found"
    if answer.unique_id is None:
        # An error without the payment's id is about the question.
        return "not_found" if answer.status == "error" and _is_not_found(answer.code) else "nothing"
    if unique_id is not None and answer.unique_id != unique_id:
        return "nothing"
    # Some records have no id of ours.
    if None not in {transaction_id, answer.transaction_id} and answer.transaction_id != transaction_id:
        return "nothing"
    return "found"


def confirmation(answer: GatewayAnswer, *, chargebacks: Iterable[Chargeback] = ()) -> Confirmation:
    """
    The gateway's own record about a payment, from its record and its chargebacks.

    Args:
        answer: The payment's record; it `heard` "found".
        chargebacks: What the chargeback list has of the payment, in any order; nothing where it was not asked.

    Returns:
        The status that has come furthest, with its code and the reason why money went back.
    """
    status, error_code = answer.status, answer.code
    step = stages.meaning(status, event=None)
    reason_code = codes.return_reason(status, reason_code=answer.reason_code, error_code=answer.code)
    stage = step.stage if step is not None and step.track == "dispute" else stages.UNDISPUTED
    reasoned = stages.UNDISPUTED
    for chargeback in chargebacks:
        if chargeback.as_notified is None:
            continue
        told_status, event = chargeback.as_notified
        result = stages.meaning(told_status, event=event)
        assert result is not None  # what `as_notified` gives, the tables know
        if result.stage > stage:
            status, error_code, stage = told_status, None, result.stage
        if chargeback.reason_code and result.stage >= reasoned and result.stage != stages.WON_BACK:
            reason_code, reasoned = chargeback.reason_code, result.stage
    return Confirmation(
        status, error_code, reason_code, answer.transaction_id, answer.amount_minor, answer.currency
    )


def _is_not_found(code: str | None) -> bool:
    return code is not None and codes.error_meaning(code).outcome == "not_found"
