"""
Error codes of the gateway, and the reason codes of returned debits.

Source: Genesis API documentation v60.1 (2026-08), section Errors; constants of the vendor's public SDKs for the rest.

>>> error_meaning("230").outcome
'unknown'
>>> error_meaning("599").outcome     # not listed: the group of its first digit decides
'refused'
"""

import re
from typing import Final, Literal

import msgspec

__all__ = [
    "DISPUTE_EVENTS",
    "DISPUTE_STATUSES",
    "ERRORS",
    "ErrorMeaning",
    "Outcome",
    "error_meaning",
    "return_reason",
]

# ISO 20022 ExternalReturnReason1Code: four letters and digits, never digits alone; the gateway's own codes are digits.
_RETURN_REASON: Final = re.compile(r"(?=[A-Z0-9]{4}$)[A-Z][A-Z0-9]*")

# Statuses and events that report a dispute. A retrieval request (event) comes with status "chargebacked" and is none.
DISPUTE_STATUSES: Final = frozenset(
    """
    chargebacked chargeback_reversed chargeback_reversal represented representment_reversed second_chargebacked
    """.split()
)
DISPUTE_EVENTS: Final = frozenset(
    "chargeback chargeback_reversal representment representment_reversal second_chargeback".split()
)


def return_reason(
    status: str, *, event: str | None = None, reason_code: str | None, error_code: str | None
) -> str | None:
    """
    Return the bank's reason for a return, upper case, from the field that carries it.

    Some notifications and records of chargebacks carry the bank's reason only in `error_code`, some beside a code of another
    scheme in `reason_code`. The gateway's own codes are digits alone, so the two cannot be confused.

    Args:
        status: Lower case; only disputes carry their reason in `error_code`.
        event: Lower case, or `None`. It outranks the status.
        reason_code: The field meant for the reason.
        error_code: The field meant for the gateway's codes.

    >>> return_reason("chargebacked", reason_code=None, error_code="ac04")
    'AC04'
    >>> return_reason("chargebacked", reason_code=None, error_code="500") is None
    True
    >>> return_reason("chargebacked", reason_code="00", error_code="MD01")
    'MD01'
    """
    is_dispute = event in DISPUTE_EVENTS if event else status in DISPUTE_STATUSES
    reason = (reason_code or "").strip().upper()
    if error_code is None or not is_dispute or _RETURN_REASON.fullmatch(reason):
        return reason or None
    code = error_code.strip().upper()
    return code if _RETURN_REASON.fullmatch(code) else reason or None


Outcome = Literal["refused", "unknown", "may_exist", "not_found", "none_found"]


class ErrorMeaning(msgspec.Struct, frozen=True):
    """
    What an error code says about the debit, and who acts next.

    Attributes:
        outcome: "refused" no money moved; "unknown" the gateway cannot say: inquire by our id;
            "may_exist" an equal payment may already exist: inquire first; "not_found" the gateway has no such payment;
            "none_found" a list is empty, which is an answer and no failure.
        who: "us" configuration or code, "data" the debtor's row, "bank" the debtor's side, "time" later.
        text: A sentence for people.
    """

    outcome: Outcome
    who: Literal["us", "data", "bank", "time"]
    text: str


def _e(outcome: Outcome, who: Literal["us", "data", "bank", "time"], text: str) -> ErrorMeaning:
    return ErrorMeaning(outcome, who, text)


ERRORS: Final[dict[str, ErrorMeaning]] = {
    "100": _e("unknown", "time", "An internal error of the gateway."),
    "101": _e(
        "unknown",
        "time",
        "The gateway is under maintenance; a status inquiry shows whether it took the payment.",
    ),
    "110": _e("refused", "us", "Login or password is wrong; correct EMP_API_LOGIN and EMP_API_PASSWORD."),
    "120": _e("refused", "us", "The terminal is not set up for this; ask the gateway's support."),
    "200": _e("unknown", "time", "The gateway lost its connection to the bank."),
    "210": _e("unknown", "time", "The gateway could not connect to the bank."),
    "220": _e("refused", "us", "The terminal token is wrong; correct EMP_TERMINAL_TOKEN."),
    "230": _e("unknown", "time", "The bank did not answer the gateway in time."),
    "240": _e("unknown", "time", "The bank's answer to the gateway was damaged."),
    "250": _e("unknown", "time", "The bank's answer to the gateway could not be read."),
    "300": _e("refused", "data", "The request was refused as input."),
    "310": _e("refused", "us", "The transaction type is unknown to the terminal."),
    "320": _e("refused", "data", "A required field is missing."),
    "330": _e("refused", "data", "A field has the wrong format."),
    "340": _e("refused", "data", "A field has an impossible value."),
    "350": _e("refused", "us", "The request was not well-formed."),
    "360": _e("refused", "us", "The request had the wrong content type."),
    "400": _e("refused", "us", "The step does not fit the payment's life cycle."),
    "410": _e("refused", "us", "The referenced payment does not exist."),
    "420": _e("refused", "us", "The referenced payment is in a state that forbids this step."),
    "430": _e("refused", "us", "The referenced payment was invalidated."),
    "440": _e("refused", "us", "The step does not match the referenced payment."),
    "450": _e("may_exist", "time", "The gateway saw the same debit minutes ago; it may already exist."),
    "460": _e("not_found", "time", "The gateway has no payment with this id."),
    "470": _e("none_found", "time", "There is no chargeback."),
    "471": _e("none_found", "time", "There is no rapid dispute resolution."),
    "480": _e("none_found", "time", "There is no retrieval request."),
    "490": _e("none_found", "time", "There is no fraud report."),
    "500": _e("refused", "bank", "The bank refused."),
    "501": _e("refused", "bank", "The bank rejected the debit."),
    "600": _e("refused", "bank", "Risk rules refused the debit."),
    "623": _e("refused", "time", "A velocity limit was reached."),
    "629": _e("refused", "bank", "The risk check declined."),
    "630": _e("unknown", "time", "The risk check holds the debit for review."),
    "696": _e("refused", "bank", "The gateway has this IBAN on its blacklist; never send it again."),
    "900": _e("refused", "time", "The remote side failed."),
    "910": _e("refused", "time", "The remote system failed."),
    "920": _e("refused", "us", "The remote side is not configured."),
    "930": _e("refused", "data", "The remote side refused the data."),
    "940": _e("refused", "us", "The remote side does not allow this step."),
    "950": _e("unknown", "time", "The remote side timed out."),
    "960": _e("unknown", "time", "The connection to the remote side broke."),
}

# For codes that are not listed: the meaning of the group of the first digit.
_GROUPS: Final[dict[str, ErrorMeaning]] = {
    "1": _e("unknown", "time", "A system error of the gateway."),
    "2": _e("unknown", "time", "A communication error of the gateway."),
    "3": _e("refused", "data", "The input was refused."),
    "4": _e("refused", "us", "The step was refused."),
    "5": _e("refused", "bank", "Processing was refused."),
    "6": _e("refused", "bank", "Risk or limit rules refused."),
    "7": _e("refused", "us", "A token or consumer error."),
    "8": _e("refused", "us", "An identity check error."),
    "9": _e("refused", "bank", "The remote side refused."),
}
_STRANGE = _e("unknown", "us", "A code outside every known group; ask the gateway's support.")


def error_meaning(code: str) -> ErrorMeaning:
    """
    What an error code says about the debit.

    Args:
        code: The digits as the gateway wrote them.

    Returns:
        The code's own entry, else its group's (first digit; 95x counts as unknown outcome), else "unknown".
    """
    known = ERRORS.get(code)
    if known is not None:
        return known
    if code.startswith("95") and len(code) == 3:
        return ERRORS["950"]
    return _GROUPS.get(code[:1], _STRANGE) if len(code) == 3 else _STRANGE
