"""
Status inquiries: which payments are inquired about, when, and how the response is read.

A payment is inquired about when its outcome is unknown to us, or when it has been pending for so long that its notification may
have been lost. Unknown ones go first, because a debit that is neither collected nor free to be submitted again blocks its due item;
then the oldest. Each gets ten inquiries at most, by `tether_core.retry.INQUIRY_S`. What is still open after that is left to the daily
reports (`tether_core.reconciliation.report_records`) and to a person.

| attempt | first inquiry | then after |
|---|---|---|
| unknown | half a minute after the lost response | 1, 2, 5, 15 and 30 minutes, 1, 4, 12 and 24 hours |
| pending at the gateway | two hours after its last change | 2, 4, 8 and 16 hours, 1, 1, 2, 3 and 5 days |

Silence is no response and does not count as a try.

A response is one of three. *Found*: it is about the payment, and becomes a report record for the inbox. *Not found* (code 460):
`tether_core.payments.submission` decides what that means for a debit of unknown outcome. *Nothing*: any other response, such as a
rejected password, an error of the gateway itself or a record of another payment; the inquiry is retried later.

A notification is confirmed the same way (`confirmation`): the payment's own record has its status, and for disputes the chargeback
list adds the reason. The further of the two stages counts: they are kept by different parts of the gateway and need not agree at all
times.

Source: Genesis API documentation v60.1 (2026-08), Reconcile, Chargebacks, Errors; section Transaction states for
results of direct debits, which come some days after the debit.

>>> from tether_core.emp.responses import read_answer
>>> inquiry_result(read_answer(b"<payment_response><status>error</status><code>460</code></payment_response>"), unique_id="44177a21")
'not_found'
>>> wrong_password = read_answer(b"<payment_response><status>error</status><code>110</code></payment_response>")
>>> inquiry_result(wrong_password, transaction_id="t-7")
'nothing'
>>> other = read_answer(b"<payment_response><status>approved</status><unique_id>55177a21</unique_id></payment_response>")
>>> inquiry_result(other, unique_id="44177a21")      # an answer about another payment is none
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
    "InquiryKind",
    "InquiryResult",
    "confirmation",
    "inquiry_result",
]

InquiryKind = Literal["unknown", "pending"]
InquiryResult = Literal["found", "not_found", "nothing"]

TRIES_MAX: Final = 10
# A call that was cut may still be under way for some seconds; an earlier inquiry would mostly find nothing.
UNKNOWN_AGE_S: Final = 30
# Results are published at four times of the day, and notifications are repeated for two and a half hours at most; an inquiry is due
# after the gap between two of those times.
PENDING_AGE_S: Final = 7_200


def inquiry_result(
    answer: GatewayAnswer | None, *, unique_id: str | None = None, transaction_id: str | None = None
) -> InquiryResult:
    """
    Classify the response to a status inquiry.

    Args:
        answer: The response, or `None` where the client has read it as "not found" already.
        unique_id: The gateway's id of the payment, or `None` where it is not known.
        transaction_id: Our id of the payment, or `None`.

    Returns:
        "found" it is about that payment; "not_found" the gateway has none; "nothing" anything else.
    """
    if answer is None:
        return "not_found"
    if answer.unique_id is None:
        # An error without the payment's id is about the inquiry.
        return "not_found" if answer.status == "error" and _is_not_found(answer.code) else "nothing"
    if unique_id is not None and answer.unique_id != unique_id:
        return "nothing"
    # Some records have no `transaction_id`.
    if None not in {transaction_id, answer.transaction_id} and answer.transaction_id != transaction_id:
        return "nothing"
    return "found"


def confirmation(answer: GatewayAnswer, *, chargebacks: Iterable[Chargeback] = ()) -> Confirmation:
    """
    Merge a payment's own record and its chargebacks into one confirmation.

    Args:
        answer: The payment's record; its `inquiry_result` is "found".
        chargebacks: The payment's records of the chargeback list, in any order; empty where it was not fetched.

    Returns:
        The furthest status, with its code and the return reason.
    """
    status, error_code = answer.status, answer.code
    step = stages.meaning(status, event=None)
    reason_code = codes.return_reason(
        status, reason_code=answer.reason_code, error_code=answer.code or answer.fields.get("error_code")
    )
    stage = step.stage if step is not None and step.track == "dispute" else stages.UNDISPUTED
    reasoned = stages.UNDISPUTED
    for chargeback in chargebacks:
        if chargeback.as_notified is None:
            continue
        notified_status, event = chargeback.as_notified
        reported = stages.meaning(notified_status, event=event)
        assert reported is not None  # what `as_notified` gives, the tables know
        if reported.stage > stage:
            status, error_code, stage = notified_status, None, reported.stage
        if chargeback.reason_code and reported.stage >= reasoned and reported.stage != stages.WON_BACK:
            reason_code, reasoned = chargeback.reason_code, reported.stage
    return Confirmation(
        status, error_code, reason_code, answer.transaction_id, answer.amount_minor, answer.currency
    )


def _is_not_found(code: str | None) -> bool:
    return code is not None and codes.error_meaning(code).outcome == "not_found"
