"""
The clock of a played year: it stands still until the driver moves it.

Web, worker and subscribers of the played year share it. It is their boot clock as well, so that grace periods that count from
the boot of a machine pass with it.

>>> clock = YearClock(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
>>> clock.move_to(midnight(date(2026, 3, 30)))
>>> clock().isoformat(), clock.boot.seconds()
('2026-03-29T22:00:00+00:00', 81000.0)
>>> clock.move_to(datetime(2026, 1, 1, tzinfo=UTC))
Traceback (most recent call last):
    ...
ValueError: the clock of a played year is never set back
"""

from datetime import UTC, date, datetime, time, timedelta

from tether_core.target_calendar import bank_day
from tether_stores.boot_clock import BootClock

__all__ = ["YearClock", "midnight"]


class YearClock:
    """
    A clock that the driver moves.

    Attributes:
        boot: The same time as seconds since the beginning.
    """

    # It never steps: a reader sees time pass, only in long strides.
    stepped_s: float | None = None
    is_day_known: bool = True

    def __init__(self, began_at: datetime) -> None:
        self._began_at = self._now = began_at
        self.boot = BootClock("played year", self._seconds)

    def __call__(self) -> datetime:
        """The current time, aware, UTC."""
        return self._now

    def _seconds(self) -> float:
        return (self._now - self._began_at).total_seconds()

    def move_to(self, at: datetime) -> None:
        """
        Let time pass.

        Raises:
            ValueError: for a time that has passed.
        """
        if at < self._now:
            raise ValueError("the clock of a played year is never set back")
        self._now = at


def midnight(day: date) -> datetime:
    """When a day begins at the banks (`tether_core.target_calendar.bank_day`)."""
    summer_at = datetime.combine(day, time(), tzinfo=UTC) - timedelta(hours=2)
    return summer_at if bank_day(summer_at) == day else summer_at + timedelta(hours=1)
