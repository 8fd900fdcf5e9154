"""
What an answer of the gateway says about a debit that was submitted: how far the payment has come, or why nobody knows.

No answer is no refusal, and a rejected merchant configuration is no refusal of the debit; `tether_core.payments.submission` says what follows.
"""

import msgspec

from tether_core.emp import codes
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import CredentialsRejected, GatewaySilent, NotSubmitted
from tether_core.events import AmountMismatched, Event
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt

__all__ = ["AnswerReading", "configuration_error", "read"]

_CREDENTIALS = "110"


class AnswerReading(msgspec.Struct, frozen=True):
    """
    What an answer says.

    Attributes:
        cause: A key of `tether_core.payments.submission.CAUSES`.
        stage: How far the payment has come; `None` where nobody knows.
        unique_id: The gateway's id of it, where the answer names one.
        why: What is wrong with the merchant configuration; `None` where nothing is.
        events: Facts to announce.
    """

    cause: str
    stage: int | None = None
    unique_id: str | None = None
    why: str | None = None
    events: tuple[Event, ...] = ()


def read(
    attempt: Attempt, answer: GatewayAnswer | GatewaySilent, *, known_there: bool = False
) -> AnswerReading:
    """
    Read an answer to a call or a status inquiry.

    Args:
        attempt: The debit.
        answer: The answer, or that there was none.
        known_there: Whether it answers a status inquiry, so that the gateway has the payment.

    Returns:
        What it says; the stage is `None` for an answer about another payment or another amount.
    """
    if isinstance(answer, GatewaySilent):
        return _read_silence(answer)
    other = _read_other(attempt, answer)
    if other is not None:
        return other
    step = stages.meaning(answer.status, event=None)
    if step is None or step.track == "none":
        return AnswerReading("unknown_status", unique_id=answer.unique_id)
    if step.track == "dispute":
        # Only what was collected can be disputed; the dispute itself comes with its own notification and reason.
        return AnswerReading("answered", stages.APPROVED, answer.unique_id)
    if answer.status == "error" or (step.stage == stages.ERROR and answer.code):
        return _read_error(answer, known_there=known_there)
    return AnswerReading("answered", step.stage, answer.unique_id)


def _read_silence(silent: GatewaySilent) -> AnswerReading:
    if isinstance(silent, NotSubmitted):
        return AnswerReading("throttled" if silent.cause == "throttled" else "not_submitted")
    if isinstance(silent, CredentialsRejected):
        return AnswerReading("credentials", why=f"{silent.why}: {codes.error_meaning(_CREDENTIALS).text}")
    return AnswerReading("silent")


def _read_other(attempt: Attempt, answer: GatewayAnswer) -> AnswerReading | None:
    if answer.transaction_id not in {None, attempt.transaction_id}:
        return AnswerReading("other_payment")
    if attempt.unique_id and answer.unique_id not in {None, attempt.unique_id}:
        return AnswerReading("other_payment")
    if answer.amount_minor not in {None, attempt.amount_minor} or answer.currency not in {
        None,
        attempt.currency,
    }:
        differs = AmountMismatched(attempt.id, attempt.amount_minor, answer.amount_minor or 0)
        return AnswerReading("other_amount", events=(differs,))
    return None


def _read_error(answer: GatewayAnswer, *, known_there: bool) -> AnswerReading:
    if answer.code is None:
        return AnswerReading(
            "unclear", unique_id=answer.unique_id
        )  # an error without a cause refuses nothing
    meaning = codes.error_meaning(answer.code)
    if meaning.outcome == "refused":
        if meaning.who == "us" and answer.unique_id is None:
            return AnswerReading("rejected", why=f"{answer.code}: {meaning.text}")
        return AnswerReading("answered", stages.ERROR, answer.unique_id)
    if known_there and meaning.outcome in {"unknown", "may_exist"}:
        return AnswerReading("answered", stages.UNKNOWN_TO_GATEWAY, answer.unique_id)
    return AnswerReading(
        "may_exist" if meaning.outcome == "may_exist" else "unclear", unique_id=answer.unique_id
    )


def configuration_error(answer: GatewayAnswer) -> str | None:
    """What an answer says is wrong with the merchant configuration, or `None`."""
    meaning = codes.error_meaning(answer.code) if answer.code else None
    return f"{answer.code}: {meaning.text}" if meaning is not None and meaning.who == "us" else None
