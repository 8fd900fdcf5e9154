"""
Excess deliveries: bounds on the notifications stored of one payment, key and account.

A sender with one valid signature can write any number of notifications under it, and one with the API login any number of
identity checks. Each is acknowledged only when it is recorded, so the number of rows must be bounded without losing what is genuine:

| of | kept | beyond that |
|---|---|---|
| one payment (or page, event) and report class | `ROWS_PER_CLASS_MAX` rows | counted at the oldest row of the class |
| one key, with other content | `CONFLICTS_PER_KEY_MAX` conflicting rows | counted at the row that has the key |
| the identity checks of one account | `IDENTITY_CHECKS_PER_DAY_MAX` rows within 24 hours | counted at the latest of them |

The **report class** is the track and stage that a notification reports, independent of its other fields.
A class that is not stored yet is therefore always recorded, so no status of a payment is ever dropped. A counted
delivery repeats what stored rows report: where these took effect it changes nothing, where they wait it is processed with
them, and where the gateway contradicted them the count causes another inquiry, at most every `INQUIRE_AGAIN_S`. The count is
committed before the answer 200 goes out, so even then the 200 says "recorded". What is lost is the body of a delivery in excess.

>>> from tether_core.emp.notification import FORM, decode
>>> report_class(decode(b"unique_id=44177a21&signature=ab&status=chargebacked&chargeback_unique_id=1", content_type=FORM))
'dispute 1'
>>> report_class(decode(b"unique_id=44177a21&signature=ab&status=s1&event=chargeback", content_type=FORM))
'dispute 1'
>>> report_class(decode(b"unique_id=44177a21&signature=ab&status=s2", content_type=FORM))
'unknown'
"""

from typing import Final

from tether_core.emp.notification import Notification
from tether_core.payments import stages

__all__ = [
    "CONFLICTS_PER_KEY_MAX",
    "IDENTITY_CHECKS_PER_DAY_MAX",
    "INQUIRE_AGAIN_S",
    "ROWS_PER_CLASS_MAX",
    "report_class",
]

# A payment has at most two or three disputes, and five words for "pending".
ROWS_PER_CLASS_MAX: Final = 8
# Two copies show a person what differs.
CONFLICTS_PER_KEY_MAX: Final = 5
# Tether orders no identity checks; other software of the merchant may. They may be signed with the login.
IDENTITY_CHECKS_PER_DAY_MAX: Final = 200
# What was contradicted and is reported again is inquired at once, this often at most.
INQUIRE_AGAIN_S: Final = 600


def report_class(notification: Notification) -> str:
    """
    Return the report class of a notification.

    Args:
        notification: Of any kind.

    Returns:
        Track and stage of a payment's notification, "information" where no money moves, "unknown" for a status or event that no
        table knows; of other kinds the kind.
    """
    if notification.kind != "payment":
        return notification.kind
    step = stages.meaning(notification.status, event=notification.event)
    if step is None:
        return "unknown"
    return "information" if step.track == "none" else f"{step.track} {step.stage}"
