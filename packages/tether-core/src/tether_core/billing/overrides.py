"""
Overrides: verdicts that a person has set aside for one billing run.

A verdict of `tether_core.billing.eligibility` keeps a debtor from being billed. A person may override some verdicts: for example, a refund
was a mistake, and the debtor has agreed to pay. The order of the run then names the verdict, the reason and the debtors. The override applies
to this run only and is stored with it, with the name of the API key and the time.

Only the verdicts of `OVERRIDABLE` can be set aside. No override reaches a debit that is open or collected, an account on the
blacklist, or a rule of the scheme. `charged_back` set aside bills an account with an earlier chargeback, also where the row was excluded
for that when its file was read (`chargebacked_before`).

>>> given = Override(("refunded_before",), "Refunded by mistake", debtor_ids=(7,), given_by="ops")
>>> of_debtors([given], [7, 8])
{7: frozenset({'refunded_before'})}
>>> require_known(Override(("blocked",), "I insist"))
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: overrides: The verdict blocked cannot be overridden; those that can: charged_back, \
recently_tried, refunded_before, repeated, waiting_elsewhere.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from tether_core.errors import InvalidRequest

__all__ = ["OVERRIDABLE", "Override", "of_debtors", "require_known", "require_reason"]

# Verdicts that prevent a second collection by mistake, or a debit that is likely to come back; they do not forbid the debit as such.
OVERRIDABLE: Final = frozenset(
    {"refunded_before", "charged_back", "waiting_elsewhere", "repeated", "recently_tried"}
)


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Verdicts that do not hold for some debtors of a run.

    Attributes:
        verdicts: Codes of `OVERRIDABLE`.
        reason: The reason, for other people.
        debtor_ids: The debtors it is about; `None` for all debtors of the run.
        given_by: The name of the API key it was given with; "" until it is kept.
        given_at: When; `None` until it is kept.
    """

    verdicts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=20)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    debtor_ids: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    given_by: str = ""
    given_at: datetime | None = None


def require_known(override: Override) -> None:
    """
    Refuse an override of what cannot be overridden.

    Args:
        override: As it was ordered.

    Raises:
        InvalidRequest: naming the verdict and those that can be overridden.
    """
    for verdict in override.verdicts:
        if verdict not in OVERRIDABLE:
            known = ", ".join(sorted(OVERRIDABLE))
            name = verdict if verdict.isidentifier() and verdict.isascii() else "that you named"
            raise InvalidRequest(
                f"the verdict {name} cannot be overridden; those that can: {known}", field="overrides"
            )
    if not override.reason.strip():
        raise InvalidRequest("say why; the reason is kept with the run", field="overrides")


def require_reason(*, after_chargeback: bool) -> None:
    """
    Refuse an order that bills accounts with an earlier chargeback without saying why.

    Args:
        after_chargeback: The option of the order. A collection plan keeps it, and its history names who set it.

    Raises:
        InvalidRequest: with the override to send instead.
    """
    if after_chargeback:
        raise InvalidRequest(
            'say why: send an override of the verdict charged_back with a reason, in place of "after_chargeback": true',
            field="after_chargeback",
        )


def of_debtors(overrides: Iterable[Override], debtor_ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """
    The verdicts that are set aside for some debtors, of those that can be.

    Args:
        overrides: Of a run.
        debtor_ids: The debtors.

    Returns:
        Verdicts by debtor; debtors without any are missing.
    """
    found = dict[int, frozenset[str]]()
    for override in overrides:
        verdicts = OVERRIDABLE.intersection(override.verdicts)
        named = None if override.debtor_ids is None else frozenset(override.debtor_ids)
        for debtor_id in debtor_ids:
            if verdicts and (named is None or debtor_id in named):
                found[debtor_id] = found.get(debtor_id, frozenset()) | verdicts
    return found
