"""
Inquiries that a person orders: about one debit, or about the debits of a run or an upload.

Debits of open outcome are inquired automatically, on a schedule that grows to a day (`tether_core.retry.INQUIRY_S`). A person who cannot
wait, or who doubts a final state, orders an inquiry now. It is made the same way: within the account's rate, by our id, at the gateway
identity the debit was submitted to; the response goes through the inbox. The schedule of the debit does not change.

An order is **bounded**. It takes `INQUIRED_MAX` debits at most, the oldest first; a debit that waits for an
ordered inquiry is not taken again; and an inquiry without a response for a day expires.

>>> require_inquirable(is_submitted=True)
>>> require_inquirable(is_submitted=False)
Traceback (most recent call last):
    ...
tether_core.inquiry_orders.NothingToInquire: The debit was never submitted, so the gateway knows nothing of it; look at `not_submitted_reason` or at its run.
"""

from datetime import timedelta
from typing import Final, Literal

from tether_core.errors import Contradicted

__all__ = ["EXPIRES_AFTER", "INQUIRED_MAX", "Inquired", "NothingToInquire", "Scope", "require_inquirable"]

Scope = Literal["attempt", "run", "upload"]
# "open": of unknown outcome, or pending; "submitted": all that a call was made for.
Inquired = Literal["open", "submitted"]

# At the default rate of 20 a second that is some nine minutes of an account's inquiries.
INQUIRED_MAX: Final = 10_000
# Longer than an outage of the gateway; afterwards a person orders again, or the daily reports have it.
EXPIRES_AFTER: Final = timedelta(days=1)


class NothingToInquire(Contradicted):
    """A debit that was never submitted cannot be inquired."""

    code = "nothing_to_inquire"

    def __str__(self) -> str:
        return "The debit was never submitted, so the gateway knows nothing of it; look at `not_submitted_reason` or at its run."


def require_inquirable(*, is_submitted: bool) -> None:
    """
    Refuse to inquire about a debit that no call was ever made for.

    Raises:
        NothingToInquire: when none was.
    """
    if not is_submitted:
        raise NothingToInquire
