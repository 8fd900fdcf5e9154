"""
The script of a played year: when it begins, who pays what, and what goes wrong on which day.

>>> script = YearScript(days=365, debtors=24, seed=1)
>>> str(script.last_on), str(script.password_on), str(script.corrected_on), str(script.outage_on)
('2026-12-14', '2026-05-05', '2026-05-08', '2026-06-02')
>>> len(script.members), len(script.tenants), script.members[0].amount_minor
(18, 6, 1000)
"""

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec
from tether_core.target_calendar import add_months, add_target_days, next_open

from tether_sandbox.seed import made_up_iban

__all__ = ["BEGINS_ON", "DAYS_MIN", "PLANS", "Payer", "PlanOfYear", "YearScript"]

# A Monday in the middle of a month: in the middle of the last one no debit is on its way.
BEGINS_ON: Final = date(2025, 12, 15)
# With fewer days nothing of the script would happen between the first debits and the end.
DAYS_MIN: Final = 80
_DAY: Final = timedelta(days=1)
_TENANTS_ONE_IN: Final = 4


class Payer(msgspec.Struct, frozen=True):
    """
    A row of a list of debtors.

    Attributes:
        name: Made up.
        iban: Valid, of a random account.
        amount_minor: What is owed on each due date.
    """

    name: str
    iban: str
    amount_minor: int

    def __repr__(self) -> str:
        """Show the amount; the rest is personal."""
        return f"Payer({self.amount_minor})"


class PlanOfYear(msgspec.Struct, frozen=True):
    """
    A collection plan of the year.

    Attributes:
        name: For people.
        first_due_on: The first due date of all its schedules; each month has one.
        notice_days: Days between pre-notification and debit.
        options: More options of the plan.
    """

    name: str
    first_due_on: date
    notice_days: int
    options: dict[str, object]

    @property
    def lead(self) -> timedelta:
        """Time between the making of a due item and its due date: the notice, and two days for an export by hand."""
        return _DAY * (self.notice_days + 2)


_WAGES: Final = {"pay_days": [1, 15], "retry_spacing_days": 5, "notice_required": True}
PLANS: Final = (
    PlanOfYear("Membership", date(2026, 1, 1), 14, _WAGES),
    # The gateway's own series; on the last day of shorter months.
    PlanOfYear("Rent", date(2025, 12, 31), 5, {**_WAGES, "recurring_requests": True}),
)


class YearScript(msgspec.Struct, frozen=True):
    """
    What happens when.

    Attributes:
        days: Length of the year.
        debtors: How many.
        seed: Same number, same debtors, returns and faults.
    """

    days: int
    debtors: int
    seed: int

    @property
    def began_at(self) -> datetime:
        """When the debtors are enrolled: in the morning of the first day."""
        return datetime.combine(BEGINS_ON, time(8), tzinfo=UTC)

    @property
    def last_on(self) -> date:
        """The last day."""
        return BEGINS_ON + _DAY * (self.days - 1)

    @property
    def _middle_on(self) -> date:
        """The first of a month in the first half; debits of that day are at the banks when something goes wrong."""
        return add_months(BEGINS_ON.replace(day=1), max(self.days // 61, 1))

    @property
    def flushed_on(self) -> date:
        """The day of the first debits, on which Redis is emptied."""
        return next_open(PLANS[0].first_due_on)

    @property
    def password_on(self) -> date:
        """The day on which somebody changes the password at the gateway, and not here."""
        return add_target_days(next_open(self._middle_on), 1)

    @property
    def corrected_on(self) -> date:
        """The day on which that is noticed and corrected."""
        return add_target_days(self.password_on, 3)

    @property
    def outage_on(self) -> date:
        """The day on which a subscriber goes down, for thirty hours."""
        return add_target_days(next_open(add_months(self._middle_on, 1)), 1)

    @property
    def payers(self) -> list[Payer]:
        """All debtors."""
        rng = random.Random(self.seed)
        # No amount and no account for which the simulator has a script of its own.
        return [
            Payer(f"Debtor {number}", made_up_iban(rng), 1_000 + number % 900)
            for number in range(self.debtors)
        ]

    @property
    def members(self) -> list[Payer]:
        """The debtors of the first plan."""
        return self.payers[: self.debtors - self.debtors // _TENANTS_ONE_IN]

    @property
    def tenants(self) -> list[Payer]:
        """The debtors of the second plan."""
        return self.payers[self.debtors - self.debtors // _TENANTS_ONE_IN :]
