"""
Dual control: who orders a run above an amount cannot release it.

The amount of a run is known when it is planned. Above the limit it is then paused until another person, with the permission for billing, resumes
it. What the same person ordered of the same upload, or of any uploads within a day, is added up, so that an order in parts needs the second person too, also
where the list itself was cut into parts. A person is known by who answers for a request: a user and the API keys that this user created are the same person.

A run of a collection plan is ordered by the clock, for all people who added, resumed or enrolled debtors to the plan. What the plan ordered on
one day is added up, without runs that were released; a released run that takes further debits is counted again.

>>> pause_reason(250_001, limit_minor=250_000)
'2,500.01 EUR is above the limit of 2,500.00 EUR: a second person must release it.'
>>> pause_reason(250_000, limit_minor=250_000)
>>> require_second_person(7, ordered_by={"user:1"}, released_by="user:2")
>>> require_second_person(7, ordered_by={"user:1", "user:3"}, released_by="user:1")
Traceback (most recent call last):
    ...
tether_core.billing.dual_control.SecondPersonRequired: You ordered billing run 7, so another person with permission for billing must \
release it.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from tether_core.errors import Contradicted
from tether_core.money import Money

__all__ = ["SPAN", "SecondPersonRequired", "pause_reason", "require_second_person"]

# Orders of one person that are no further apart count together, whatever uploads they are about.
SPAN: Final = timedelta(days=1)


class SecondPersonRequired(Contradicted):
    """
    Who ordered a run cannot release it.

    Attributes:
        run_id: The run.
    """

    code = "second_person_required"

    def __init__(self, run_id: int) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"You ordered billing run {self.run_id}, so another person with permission for billing must release it."


def pause_reason(amount_minor: int, *, limit_minor: int) -> str | None:
    """
    Why a planned run waits for a second person, as a sentence; `None` where it does not.

    Args:
        amount_minor: Of the run and the others that count with it, which no second person released.
        limit_minor: Up to this amount one person is enough; 0 for no limit.
    """
    if not limit_minor or amount_minor <= limit_minor:
        return None
    return (
        f"{_text(amount_minor)} is above the limit of {_text(limit_minor)}: a second person must release it."
    )


def require_second_person(run_id: int, *, ordered_by: Collection[str], released_by: str) -> None:
    """
    Refuse the release of a run by who ordered it.

    Args:
        run_id: The run.
        ordered_by: All who answer for the order.
        released_by: Who answers for the release.

    Raises:
        SecondPersonRequired: when who releases it is among them.
    """
    if released_by in ordered_by:
        raise SecondPersonRequired(run_id)


def _text(amount_minor: int) -> str:
    return f"{Money(amount_minor, 'EUR').decimal:,} EUR"
