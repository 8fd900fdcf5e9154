"""
Stages of a payment, and the stage of each status and event of the gateway.

A payment moves on two **tracks**:

- the *payment* track runs from "submitted, or about to be" to "refunded";
- the *dispute* track runs from "charged back" over "won back" to "lost again".

Stages only grow: `tether_core.payments.attempt` takes the furthest stage seen on each track, so the order in which
notifications arrive does not matter. Stages are stored; never renumber them.

Source: Genesis API documentation v60.1 (2026-08), sections Notifications and Transaction states; state constants of the
vendor's public SDKs for the rest.

>>> meaning("chargebacked", event="chargeback")
Step(track='dispute', stage=1, note='')
>>> meaning("chargebacked", event="retrieval_request").track
'none'
>>> meaning("an unknown status", event=None) is None
True
"""

from typing import Final, Literal

import msgspec

from tether_core.emp import codes

__all__ = [
    "APPROVED",
    "CHARGEBACKED",
    "DECLINED",
    "ERROR",
    "EVENTS",
    "IN_PROGRESS",
    "LOST_AGAIN",
    "REFUNDED",
    "SENT",
    "STATUSES",
    "UNDISPUTED",
    "UNKNOWN_TO_GATEWAY",
    "UNKNOWN_TO_US",
    "VOIDED",
    "WON_BACK",
    "Step",
    "Track",
    "meaning",
]

Track = Literal["payment", "dispute", "none"]


class Step(msgspec.Struct, frozen=True):
    """
    The stage of a payment for a status or event of the gateway.

    Attributes:
        track: "payment", "dispute", or "none" where the payment does not change.
        stage: Position on that track.
        note: Why the payment does not change, for track "none".
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


_FOREIGN = _other("a state of another product; no debit changes")

STATUSES: Final[dict[str, Step]] = {
    # the payment itself
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
    # known, and no money of the debit moves
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
    "retrieval_request": _other("the debtor's bank requests documents; no money moves"),
    "rapid_dispute_resolution": _other("a card scheme's own procedure; direct debits have none"),
    "rapid_dispute_resolution_reversal": _other("a card scheme's own procedure; direct debits have none"),
}


def meaning(status: str, *, event: str | None, error_code: str | None = None) -> Step | None:
    """
    Return the step for a status and event of the gateway.

    Args:
        status: Lower case; "" where the notification had none.
        event: Lower case, or `None`. It outranks the status.
        error_code: Turns "error" into `UNKNOWN_TO_GATEWAY` for codes whose outcome is unknown.

    Returns:
        The step, or `None` for an unknown status or event: a person must look.
    """
    if event:
        return EVENTS.get(event)
    step = STATUSES.get(status)
    if step is not None and step.stage == ERROR and step.track == "payment" and error_code:
        outcome = codes.error_meaning(error_code).outcome
        if outcome in {"unknown", "may_exist"}:
            return Step("payment", UNKNOWN_TO_GATEWAY)
    return step
