r"""
When the gateway's "not found" (460) about a submission of unknown outcome is accepted.

Accepting it makes the debit ready to be submitted again. Accepted too early, or from the wrong identity, it would debit the account twice.
Two conditions must hold.

**The place.** Every call of the submission was committed with the gateway identity it went to
(`tether_core.payments.gateway_identity`). All of these identities must have answered "not found" in one inquiry. An identity that is no
longer configured cannot be inquired, and one that was never stored is not known: the submission stays unknown, and a person is shown it.

**The time.** A call can be under way for as long as its lease and the grace period together. So two answers "not found" must be that far
apart, from the end of the first to the beginning of the second, on the **boot clock** of one machine:
a clock that only grows, that no operator or time server sets, and that continues while the machine sleeps. The
first answer is kept with the row, under the name of the machine's boot: another process on that machine continues from it, a rebooted machine
starts over, and several machines each keep their own. With n machines at most n + 1
inquiries are needed. Of inquiries that overlap the earliest answer is kept.

Postgres's clock is checked as well (`tether_core.payments.submission`), but is not trusted alone: a single step of it by twenty
minutes would otherwise end every grace period at once. After a step of either clock (`tether_core.clock_steps`), first
answers from before the step do not count any more.

| verdict | what it means |
|---|---|
| believed | the gateway has no such payment and will not get it: it may be submitted again |
| waiting | it may still be under way; inquire again after `NotFound.wait_s` |
| elsewhere | the identities that answered are not all that it was submitted to |

>>> there = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", inquired_s=50.0, answered_s=50.2)
>>> first = judge(("a1",), first_answers=(), inquiry=there, grace_s=975.0)
>>> first.word, first.wait_s, first.first_answers
('waiting', 975.2, (FirstAnswer(boot='boot-1', at_s=50.2),))
>>> later = msgspec.structs.replace(there, inquired_s=1_026.0, answered_s=1_026.2)
>>> judge(("a1",), first_answers=first.first_answers, inquiry=later, grace_s=975.0).word
'believed'
>>> judge(("a1", "b2"), first_answers=first.first_answers, inquiry=later, grace_s=975.0).word
'elsewhere'
"""

from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec

from tether_core.payments.gateway_identity import EVERY, UNKNOWN

__all__ = ["FirstAnswer", "Inquiry", "NotFound", "judge", "needed"]

Word = Literal["believed", "waiting", "elsewhere"]

# More machines than this do not inquire for one installation; boots of machines that are gone make room.
_BOOTS_MAX: Final = 32


class FirstAnswer(msgspec.Struct, frozen=True):
    """
    The first "not found" about the latest call that one machine has received since its boot.

    Attributes:
        boot: The machine's boot.
        at_s: When the answer came, on the boot clock, in seconds.
    """

    boot: str
    at_s: float


class Inquiry(msgspec.Struct, frozen=True):
    """
    An inquiry that was answered "not found", and what that is worth.

    Attributes:
        not_found_at: The keys of the identities that gave that answer.
        configured: The keys of all identities that are configured for the account, or were lately.
        boot: The boot of the machine that inquired.
        inquired_s: When the inquiry began, on the boot clock, in seconds.
        answered_s: When its last answer came.
        stepped_s: When a clock was last seen to step, on the boot clock; `None` for never since this process started.
    """

    not_found_at: frozenset[str]
    configured: frozenset[str]
    boot: str
    inquired_s: float
    answered_s: float
    stepped_s: float | None = None


class NotFound(msgspec.Struct, frozen=True):
    """
    What an answer "not found" is worth.

    Attributes:
        word: See the module.
        first_answers: To be kept with the row, the latest last.
        wait_s: When "waiting", after how many seconds another answer can be believed; else 0.
    """

    word: Word
    first_answers: tuple[FirstAnswer, ...] = ()
    wait_s: float = 0.0


def needed(submitted_to: Collection[str], *, configured: frozenset[str]) -> frozenset[str] | None:
    """
    The identities that all have to answer "not found".

    Args:
        submitted_to: Where the calls went: keys, `UNKNOWN` or `EVERY`.
        configured: The keys of all identities of the account.

    Returns:
        Their keys; `None` where nobody knows.
    """
    if UNKNOWN in submitted_to:
        return None
    keys = frozenset(submitted_to) - {EVERY}
    return keys | configured if EVERY in submitted_to else keys


def judge(
    submitted_to: Sequence[str],
    *,
    first_answers: Sequence[FirstAnswer],
    inquiry: Inquiry,
    grace_s: float,
) -> NotFound:
    """
    What an answer "not found" is worth.

    Args:
        submitted_to: Where the calls went: keys, `UNKNOWN` or `EVERY`.
        first_answers: As kept with the row since the latest call.
        inquiry: The inquiry.
        grace_s: For how long a call may be under way, from its claim.

    Returns:
        The verdict.
    """
    of_all = needed(submitted_to, configured=inquiry.configured)
    if not of_all or not of_all <= inquiry.not_found_at:
        return NotFound("elsewhere", tuple(first_answers))
    others = [first_answer for first_answer in first_answers if first_answer.boot != inquiry.boot]
    mine = [
        first_answer.at_s
        for first_answer in first_answers
        if first_answer.boot == inquiry.boot and _counts(first_answer, inquiry)
    ]
    earlier = [at_s for at_s in mine if at_s <= inquiry.inquired_s]
    if not earlier:
        # Inquiries may overlap. The earliest answer stays: if each took the place of the one before, none would ever be old enough. A boot
        # clock that reads less than it did is that of a machine put back to an earlier state; there the present answer is the earliest.
        first = FirstAnswer(inquiry.boot, min((inquiry.answered_s, *mine)))
        # From the beginning of the inquiry, as the caller counts: the next one may begin this long after it. A machine
        # that was put back meanwhile reads less at the end than at the beginning.
        wait_s = grace_s + max(first.at_s - inquiry.inquired_s, 0.0)
        return NotFound("waiting", (*others, first)[-_BOOTS_MAX:], wait_s)
    first = FirstAnswer(inquiry.boot, min(earlier))
    waited_s = inquiry.inquired_s - first.at_s
    if waited_s < grace_s:
        return NotFound("waiting", (*others, first), grace_s - waited_s)
    return NotFound("believed")


def _counts(first: FirstAnswer, inquiry: Inquiry) -> bool:
    return inquiry.stepped_s is None or first.at_s >= inquiry.stepped_s
