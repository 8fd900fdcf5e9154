"""
Sentences for steps that are refused: what the thing is, what cannot be done with it, and what to do instead.

A life cycle knows states and steps as words for programs ("needs_answer", "deferred"). A person who reads an error needs a sentence that
begins with a capital, ends with a full stop, and names what to do or when. Here are the words and the advice for each state, by subject.

>>> sentence("billing run", state="cancelled", step="resumed")
'This billing run is cancelled, so it cannot be resumed. Order a new run for what is left.'
>>> sentence("file upload", state="needs_answer", step="billed")
'This upload waits for answers, so it cannot be billed. Answer the questions of its plan first.'
"""

from typing import Final

import msgspec

__all__ = ["STATES", "StateSentence", "sentence"]


class StateSentence(msgspec.Struct, frozen=True):
    """
    A state of a subject for people.

    Attributes:
        text: What the subject is, a predicate: "is cancelled".
        advice: What to do, a whole sentence.
    """

    text: str
    advice: str


_S = StateSentence
_UPLOAD_READ: Final = "Wait until it is read, and look at it again then."
_PROCESSED_LATER: Final = "It is processed automatically; look at it again in some minutes."
_INTERNAL: Final = "Keep its row as it is, and report this error with the log lines of that time."
_ORDER_ENDED: Final = "Look at the refunds and voids of the debit; only an approved one can be ordered again."

# subject -> state -> sentence. The states of every life cycle are here; a test compares.
STATES: Final[dict[str, dict[str, StateSentence]]] = {
    "upload": {
        "received": _S("waits to be read", _UPLOAD_READ),
        "examining": _S("is being looked at", _UPLOAD_READ),
        "reading": _S("is being read", _UPLOAD_READ),
        "needs_answer": _S("waits for answers", "Answer the questions of its plan first."),
        "completed": _S(
            "is read completely", "Look at its debtors, or send a corrected file as a new upload."
        ),
        "failed": _S(
            "could not be read",
            "Look at its failure, then send it through again with answers, or send a corrected file.",
        ),
        "withdrawn": _S("is withdrawn", "Send the file again to have it read."),
        "dry_run": _S("is a dry run, which stores no debtors", "Send the file again, and not as a dry run."),
    },
    "notification": {
        "waiting": _S("waits to be processed", _PROCESSED_LATER),
        "confirming": _S("is being confirmed with the gateway", _PROCESSED_LATER),
        "processed": _S("is processed", "Nothing is left to do; look at its billing attempt."),
        "contradicted": _S("is contradicted by the gateway", "Replay it to have the gateway inquired anew."),
        "parked": _S("is parked", "Look at its reason, and replay it once that is removed."),
        "conflicting": _S(
            "has other content than the stored one with the same key",
            "Compare both with the gateway's record of the payment; the first one counts.",
        ),
    },
    "subscriber": {
        "active": _S("is active", "Nothing is left to do."),
        "paused": _S("is paused", "Activate it first."),
        "disabled": _S("is disabled", "Mend its endpoint, then activate it."),
        "removed": _S("is removed", "Add a new one."),
    },
    "delivery": {
        "waiting": _S("waits to be sent", "It is sent automatically; look at its tries."),
        "delivered": _S("is delivered", "Replay it to send it again."),
        "given_up": _S("was given up", "Replay it to send it again."),
    },
    "billing run": {
        "planning": _S("is being planned", "Wait until it is planned, or pause or cancel it."),
        "canary": _S("waits for the outcome of its first debits", "Wait for them, or pause or cancel it."),
        "running": _S("submits debits", "Pause or cancel it first."),
        "paused": _S("is paused", "Resume or cancel it first."),
        "finished": _S("is finished", "Order a new run for what is left."),
        "cancelled": _S("is cancelled", "Order a new run for what is left."),
    },
    "debit": {
        "ready": _S("is ready to be submitted", _INTERNAL),
        "ready later": _S("is ready to be submitted later", _INTERNAL),
        "submitting": _S("is being submitted", _INTERNAL),
        "unknown": _S("has an unknown outcome", _INTERNAL),
        "ended": _S("has its outcome", _INTERNAL),
    },
    "mandate": {
        "active": _S("is active", "Cancel it first."),
        "revoked": _S("is revoked by the debtor's bank", "Add the debtor's new mandate in place of it."),
        "cancelled": _S("is cancelled", "Add the debtor's new mandate in place of it."),
    },
    "collection plan": {
        "active": _S("is active", "Pause or end it first."),
        "paused": _S("is paused", "Resume or end it first."),
        "ended": _S("is ended", "Add a new collection plan in place of it."),
    },
    "schedule": {
        "active": _S("is active", "Pause or end it first."),
        "paused": _S("is paused", "Resume or end it first."),
        "ended": _S("is ended", "Add the debtor to a collection plan again."),
    },
    "due item": {
        "waiting": _S("waits to be collected", "Wait for its day, or waive it."),
        "missed": _S("was missed", "Order it to be recovered, or waive it."),
        "ordered": _S("is ordered", "Look at its billing attempt."),
        "skipped": _S(
            "was skipped", "Look at its reason; order a billing run for what is owed all the same."
        ),
        "waived": _S("is waived", "Order a billing run for what is owed all the same."),
    },
    "pre-notification": {
        "made": _S("was not given yet", "Wait until it is given, and look at it again then."),
        "given": _S("was given to the debtor", "Nothing is left to do; it is kept as proof."),
        "withdrawn": _S("is withdrawn", "Nothing is left to do; no debit follows it."),
    },
    "blacklist entry": {
        "lifted": _S("is lifted", "Nothing is left to do; add a new entry to block the account again."),
    },
    "reconciliation difference": {
        "acknowledged": _S("is acknowledged", "Nothing is left to do; its reason is kept with it."),
        "resolved": _S("is resolved", "Nothing is left to do; what both sides store agrees by now."),
    },
    "refund or void": {
        "pending": _S("is pending", "Wait for its result, and look at it again then."),
        "unknown": _S(
            "has an unknown outcome", "Wait for the next status inquiry, and look at it again then."
        ),
        "declined": _S("is declined", _ORDER_ENDED),
        "error": _S("ended with an error", _ORDER_ENDED),
        "voided": _S("is voided", _ORDER_ENDED),
        "approved": _S("is approved", _ORDER_ENDED),
        "refunded": _S("is approved", _ORDER_ENDED),
    },
    "billing attempt": {
        "disputed": _S(
            "is charged back or disputed", "The debtor's bank decides about its money; look at its dispute."
        ),
        "refund ordered": _S(
            "has a refund that is under way",
            "Wait for the result of that refund; look at the refunds and voids of the attempt.",
        ),
        "void ordered": _S(
            "has a void that is under way",
            "Wait for the result of that void; look at the refunds and voids of the attempt.",
        ),
    },
}

# Name of a subject in its life cycle -> its name in a sentence.
_SUBJECTS: Final = {"file upload": "upload", "debit to send": "debit"}
# Steps that are no participles -> one.
_STEPS: Final = {
    "all ended": "finished",
    "excluded": "skipped",
    "returned without a mandate": "revoked",
    "asked": "asked about",
    "canaries went well": "continued",
    "continued": "read further",
    "decided": "answered",
    "finished": "completed",
    "given up": "given up",
    "history lost": "moved to a new database epoch",
    "schedule ended": "given up",
    "lease expired": "taken over",
    "not submitted": "marked as not submitted",
    "not found": "freed",
    "planned with canaries": "planned",
    "deferred": "deferred",
    "reported again": "reported again",
    "sent again": "sent through again",
    "started": "read",
    "rejected": "marked as rejected",
    "unclear": "left unknown",
}


def sentence(subject: str, *, state: str, step: str) -> str:
    """
    Say that a step is refused, why, and what to do.

    Args:
        subject: The subject, e.g. "billing run".
        state: Where it is.
        step: The requested step, a participle or a step of its life cycle.

    Returns:
        Two sentences.
    """
    subject = _SUBJECTS.get(subject, subject)
    known = STATES.get(subject, {}).get(state)
    if known is None:
        known = StateSentence(f"is {state.replace('_', ' ')}", "Look at its state, and try what that allows.")
    return f"This {subject} {known.text}, so it cannot be {_STEPS.get(step, step)}. {known.advice}"
