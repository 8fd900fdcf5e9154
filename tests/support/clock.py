"""The time of tests: a fixed noon, and clocks that a test moves."""

from datetime import UTC, datetime
from typing import Final

NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Clock:
    """A clock that shows the time a test set; noon at first."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
