"""
Every status, event and error code of the gateway, and what each means for the books.

A notification's `status` says how far a payment has come; its `event`, when there is one, says that a
dispute moved. Both are read into one of two **tracks**, and on each track into a **stage**:

- the *payment* track runs from "sent" to "money back by refund";
- the *dispute* track runs from "charged back" over "won back" to "lost again".

Stages only ever grow (`tether_core.payments.attempt` takes the furthest one seen), which is why the order in which
notifications arrive cannot matter.

Source: Genesis API documentation v60.1 (2026-08), sections Notifications, Transaction states and Errors;
state constants of the vendor's public SDKs for the rest.

>>> meaning("chargebacked", event="chargeback")
Step(track='dispute', stage=1, note='')
>>> meaning("chargebacked", event="retrieval_request").track
'none'
>>> meaning("a status nobody has seen yet", event=None) is None
True
>>> error_meaning("230").outcome
'unknown'
>>> error_meaning("599").outcome     # not listed: the group of its first digit speaks
'refused'
"""

import re
from typing import Final, Literal

import msgspec

__all__ = [
    "ERRORS",
    "EVENTS",
    "STATUSES",
    "ErrorMeaning",
    "Outcome",
    "Step",
    "Track",
    "error_meaning",
    "meaning",
    "return_reason",
]

Track = Literal["payment", "dispute", "none"]

# ISO 20022 ExternalReturnReason1Code: four letters and digits, never digits alone; the gateway's own codes are digits.
_RETURN_REASON: Final = re.compile(r"(?=[A-Z0-9]{4}$)[A-Z][A-Z0-9]*")


class Step(msgspec.Struct, frozen=True):
    """
    How far one notification says a payment has come.

    Attributes:
        track: "payment", "dispute", or "none" where nothing moves in our books.
        stage: Position on that track, growing; see `tether_core.payments.attempt` for the names.
        note: Why nothing moves, for track "none".
    """

    track: Track
    stage: int = 0
    note: str = ""


# Stages of the payment track. Gaps of ten leave room without renumbering what is stored.
SENT: Final = 0
UNKNOWN_TO_US: Final = 10
IN_PROGRESS: Final = 20
UNKNOWN_TO_GATEWAY: Final = 30
ERROR: Final = 40
DECLINED: Final = 50
APPROVED: Final = 60
VOIDED: Final = 70
REFUNDED: Final = 80

# Stages of the dispute track.
UNDISPUTED: Final = 0
CHARGEBACKED: Final = 1
WON_BACK: Final = 2
LOST_AGAIN: Final = 3


def _other(note: str) -> Step:
    return Step("none", 0, note)


_FOREIGN = _other("a state of another product; no debit of ours moves")

STATUSES: Final[dict[str, Step]] = {
    # the payment's own life
    "pending": Step("payment", IN_PROGRESS),
    "pending_async": Step("payment", IN_PROGRESS),
    "pending_hold": Step("payment", IN_PROGRESS),
    "pending_review": Step("payment", IN_PROGRESS),
    "in_progress": Step("payment", IN_PROGRESS),
    "new": Step("payment", IN_PROGRESS),
    "user": Step("payment", IN_PROGRESS),
    "submitted": Step("payment", IN_PROGRESS),
    "error": Step("payment", ERROR),
    "unsuccessful": Step("payment", ERROR),
    "timeout": Step("payment", ERROR),
    "declined": Step("payment", DECLINED),
    "approved": Step("payment", APPROVED),
    "voided": Step("payment", VOIDED),
    "refunded": Step("payment", REFUNDED),
    # its disputes
    "chargebacked": Step("dispute", CHARGEBACKED),
    "chargeback_reversed": Step("dispute", WON_BACK),
    "chargeback_reversal": Step("dispute", WON_BACK),  # the spelling of the SDKs' constants
    "represented": Step("dispute", WON_BACK),
    "representment_reversed": Step("dispute", LOST_AGAIN),
    "second_chargebacked": Step("dispute", LOST_AGAIN),
    # known, and not about money of ours
    "pre_arbitrated": _other("a card dispute between banks; no money moves yet"),
    "partially_reversed": _other("part of a card preauthorisation was released; a debit has none"),
    **dict.fromkeys(
        "enabled disabled active invalidated success cancelled accepted changed deleted received".split(),
        _FOREIGN,
    ),
}

# An event outranks the status beside it: a retrieval request arrives with status "chargebacked" and moves nothing.
EVENTS: Final[dict[str, Step]] = {
    "chargeback": STATUSES["chargebacked"],
    "chargeback_reversal": STATUSES["chargeback_reversed"],
    "representment": STATUSES["represented"],
    "representment_reversal": STATUSES["representment_reversed"],
    "second_chargeback": STATUSES["second_chargebacked"],
    "retrieval_request": _other("the debtor's bank asks for papers; no money moves"),
    "rapid_dispute_resolution": _other("a card scheme's own procedure; direct debits have none"),
    "rapid_dispute_resolution_reversal": _other("a card scheme's own procedure; direct debits have none"),
}


def meaning(status: str, *, event: str | None, error_code: str | None = None) -> Step | None:
    """
    How far a notification says its payment has come.

    Args:
        status: The notification's status in lower case; "" where it had none.
        event: Its event in lower case, or `None`.
        error_code: Its error code; turns "error" into "unknown to the gateway" for codes that say so.

    Returns:
        The step, or `None` for a status or event that no table knows: a person must look.
    """
    if event:
        return EVENTS.get(event)
    step = STATUSES.get(status)
    if step is not None and step.stage == ERROR and step.track == "payment" and error_code:
        outcome = error_meaning(error_code).outcome
        if outcome in {"unknown", "may_exist"}:
            return Step("payment", UNKNOWN_TO_GATEWAY)
    return step


def return_reason(step: Step | None, *, reason_code: str | None, error_code: str | None) -> str | None:
    """
    Why money went back, from whichever of two fields names it.

    Some notifications and records of chargebacks carry the bank's reason only in `error_code`, where a code of the gateway has
    digits alone.

    Args:
        step: What the notification or record says; only disputes have their reason in `error_code`.
        reason_code: From the field meant for it.
        error_code: From the field meant for the gateway's codes.

    Returns:
        The reason, upper case, or `None`.

    >>> return_reason(meaning("chargebacked", event=None), reason_code=None, error_code="ac04")
    'AC04'
    >>> return_reason(meaning("chargebacked", event=None), reason_code=None, error_code="500") is None
    True
    """
    if reason_code or error_code is None or step is None or step.track != "dispute":
        return reason_code or None
    code = error_code.strip().upper()
    return code if _RETURN_REASON.fullmatch(code) else None


Outcome = Literal["refused", "unknown", "may_exist", "not_found", "none_found"]


class ErrorMeaning(msgspec.Struct, frozen=True):
    """
    What an error code says about the debit, and who acts next.

    Attributes:
        outcome: "refused" no money moved; "unknown" the gateway cannot say: ask again by our id;
            "may_exist" a twin may already stand: ask first; "not_found" the gateway has no such payment;
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
    "100": _e("unknown", "time", "The gateway failed inside."),
    "101": _e("unknown", "time", "The gateway is under maintenance; what it still took, it says when asked."),
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
    "400": _e("refused", "us", "The step does not fit the payment's life."),
    "410": _e("refused", "us", "The referenced payment does not exist."),
    "420": _e("refused", "us", "The referenced payment is in a state that forbids this step."),
    "430": _e("refused", "us", "The referenced payment was invalidated."),
    "440": _e("refused", "us", "The step does not match the referenced payment."),
    "450": _e("may_exist", "time", "The gateway saw the same debit minutes ago; it may already stand."),
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

# For codes listed nowhere: the group of the first digit speaks.
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
