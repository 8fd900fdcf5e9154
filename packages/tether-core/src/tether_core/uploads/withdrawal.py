"""
Withdrawal of an upload by a person, as long as no debit of it was submitted.

A file was the wrong one, or has to be corrected. After the withdrawal its debtors no longer count: no run bills them, and no later upload is
excluded because of them. An upload cannot be withdrawn when a debit of it was submitted, nor while a debit may have been submitted and its
outcome is unknown.

>>> require_withdrawable(7, Submissions())
>>> require_withdrawable(7, Submissions(uncertain=2))
Traceback (most recent call last):
    ...
tether_core.uploads.withdrawal.NotWithdrawable: 2 debits of upload 7 may have been submitted; their outcome is being inquired. Cancel its runs \
and try again once it is known.
"""

import msgspec

from tether_core.errors import Contradicted

__all__ = ["NotWithdrawable", "Submissions", "require_withdrawable"]


class Submissions(msgspec.Struct, frozen=True, kw_only=True):
    """
    What of an upload was submitted.

    Attributes:
        submitted: Debits that were submitted, with any result, or that the gateway has named.
        uncertain: Debits that are being submitted, or whose outcome is unknown.
        reviewing: Whether the database may have gone back and its submissions were not all reviewed since.
        at_least: Whether there are more than these numbers say.
    """

    submitted: int = 0
    uncertain: int = 0
    reviewing: bool = False
    at_least: bool = False


class NotWithdrawable(Contradicted):
    """
    An upload cannot be withdrawn any more, or not yet.

    Attributes:
        upload_id: The upload.
        submissions: What of it was submitted.
    """

    code = "not_withdrawable"

    def __init__(self, upload_id: int, submissions: Submissions) -> None:
        super().__init__(upload_id, submissions)
        self.upload_id = upload_id
        self.submissions = submissions

    def __str__(self) -> str:
        number = self.submissions
        least = "At least " if number.at_least else ""
        if number.submitted:
            return (
                f"{least}{_debits(number.submitted)} of upload {self.upload_id} {_was(number.submitted)} submitted, so it cannot be "
                "withdrawn. Cancel its runs to stop the rest, and void or refund what was collected."
            )
        if number.uncertain:
            return (
                f"{least}{_debits(number.uncertain)} of upload {self.upload_id} may have been submitted; their outcome is being "
                "inquired. Cancel its runs and try again once it is known."
            )
        return (
            "It is being checked whether the database went back, or what was submitted before it did is being reviewed; try to "
            f"withdraw upload {self.upload_id} again in a minute."
        )


def require_withdrawable(upload_id: int, submissions: Submissions) -> None:
    """
    Refuse to withdraw an upload of which anything was submitted, or may have been.

    Args:
        upload_id: The upload.
        submissions: What of it was, while nothing more can be.

    Raises:
        NotWithdrawable: when it cannot be withdrawn.
    """
    if submissions.submitted or submissions.uncertain or submissions.reviewing:
        raise NotWithdrawable(upload_id, submissions)


def _debits(count: int) -> str:
    return f"{count:,} debit{'' if count == 1 else 's'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
