"""
Which of an upload's debtors a run bills: each that `tether_core.billing.eligibility` finds billable, within the caps of the run.

A cap ends the run with two verdicts of its own:

| verdict | the debtor is not billed because |
|---|---|
| `count_cap` `amount_cap` | the run has as many debits, or as much money, as it may |

>>> from tether_core.billing.run_options import RunOptions
>>> anna = Candidate(debtor_id=7, iban="DE89370400440532013000", amount_minor=1000, currency="EUR", has_name=True)
>>> planned = plan([anna, anna], options=RunOptions(count_max=1))
>>> [choice.verdict.code for choice in planned.choices], planned.so_far
(['billable', 'count_cap'], Totals(count=1, amount_minor=1000))
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from tether_core import iban as ibans
from tether_core.billing.eligibility import BILLABLE, Candidate, Eligibility, verdicts
from tether_core.billing.run_options import RunOptions
from tether_core.money import Money

__all__ = ["Choice", "PlannedChunk", "Totals", "plan"]


class Totals(msgspec.Struct, frozen=True):
    """
    What a run has planned so far.

    Attributes:
        count: Debits.
        amount_minor: Their money, whole minor units.
    """

    count: int = 0
    amount_minor: int = 0


class Choice(msgspec.Struct, frozen=True):
    """
    What is decided about one candidate.

    Attributes:
        candidate: Whom it is about.
        verdict: Whether to bill.
        canary: Whether this debit is among the first share of the run.
        reasons: All verdicts against it; the verdict is the first.
    """

    candidate: Candidate
    verdict: Eligibility
    canary: bool = False
    reasons: tuple[Eligibility, ...] = ()


class PlannedChunk(msgspec.Struct, frozen=True):
    """
    What is decided about some candidates of a run.

    Attributes:
        choices: One per candidate, in order.
        so_far: The run's totals with these.
    """

    choices: tuple[Choice, ...]
    so_far: Totals


def plan(
    candidates: Sequence[Candidate],
    *,
    options: RunOptions,
    so_far: Totals = Totals(),  # noqa: B008 - a frozen value, so sharing it is safe
) -> PlannedChunk:
    """
    Decide whom of some candidates a run bills, within its caps.

    Args:
        candidates: n candidates, in the order of their rows; it decides who still fits under a cap.
        options: Of the run.
        so_far: What the run has planned before these.

    Returns:
        n choices, and the totals with them.
    """
    choices = list[Choice]()
    # Two debtors of one run may share an account: what the first is about to pay counts for the second.
    paying = dict[str, int]()
    for candidate in candidates:
        account = ibans.compact(candidate.iban)
        known = msgspec.structs.replace(candidate, paid_minor=candidate.paid_minor + paying.get(account, 0))
        reasons = tuple(verdicts(known, options=options))
        verdict = reasons[0] if reasons else _capped(candidate, options=options, so_far=so_far)
        canary = False
        if verdict.billable:
            canary = options.canary_share > 0 and (so_far.count == 0 or _drawn(candidate, options=options))
            so_far = Totals(so_far.count + 1, so_far.amount_minor + candidate.amount_minor)
            paying[account] = paying.get(account, 0) + candidate.amount_minor
        choices.append(Choice(candidate, verdict, canary, reasons))
    return PlannedChunk(tuple(choices), so_far)


def _capped(candidate: Candidate, *, options: RunOptions, so_far: Totals) -> Eligibility:
    if options.count_max is not None and so_far.count >= options.count_max:
        return Eligibility("count_cap", f"The run has its {options.count_max} debits.")
    cap = options.amount_max_minor
    if cap is not None and so_far.amount_minor + candidate.amount_minor > cap:
        return Eligibility("amount_cap", f"The run would take more than {Money(cap, candidate.currency)}.")
    return BILLABLE


def _drawn(candidate: Candidate, *, options: RunOptions) -> bool:
    # Spread over the whole file, since files are sorted by something; the same for every planner and at any time.
    digest = blake2b(
        f"{candidate.debtor_id} {options.due_item}".encode(), digest_size=8, person=b"canary"
    ).digest()
    return int.from_bytes(digest, "big") < options.canary_share * 2**64
