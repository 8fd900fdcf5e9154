"""The report of a chaos test: what was sent, how each fault was recovered from, and whether the test passed."""

from typing import Final

import msgspec

from tether_sandbox.chaos.faults import FAULTS
from tether_sandbox.conservation import BooksLine

__all__ = ["SEEN_S", "ChaosReport", "Recovery"]

# The longest recovery that passes, and how long is waited to see one: a busy machine may see it late.
_RECOVER_S: Final = 60.0
SEEN_S: Final = 300.0


class Recovery(msgspec.Struct, frozen=True):
    """
    The recovery from a fault.

    Attributes:
        fault: Its name.
        at_s: Time since the start of the chaos test.
        held_s: Duration of the fault.
        recovered_s: Time until the probe notification was applied, or the probe file read, by their rows; from the kill, or
            from the end of the fault. `None` if that was not seen within `SEEN_S`.
        whole_s: Time until everything that was killed was ready again, too.
        failed_requests: Responses 500, 502 and 504 of the proxy meanwhile.
    """

    fault: str
    at_s: float
    held_s: float
    recovered_s: float | None
    whole_s: float
    failed_requests: int


class ChaosReport(msgspec.Struct, frozen=True):
    """
    The report of a chaos test.

    Attributes:
        seed: Of all random draws.
        lasted_s: From the first to the last delivery.
        proxy: The proxy's name.
        pooler: The pooler's name; "" for none.
        planned: Deliveries, without repeats after a missing echo.
        acknowledged: Deliveries acknowledged.
        refused: Invalid signatures refused.
        posts: Requests.
        applied: Notifications applied.
        confirmed: Of these, confirmed by a status inquiry.
        repeated: Acknowledged deliveries that were stored already.
        longest_gap_s: The longest time without an acknowledgement.
        latency_ms: Quantiles of the latency.
        statuses: HTTP status to number of responses.
        recoveries: The recovery from each fault.
        races: Notifications sent to both nodes at the same time.
        files: Uploads acknowledged.
        answered: Uploads with questions that were answered.
        debits: Debits in the gateway's ledger.
        objects_unnamed: Objects without a row, left by files that were not acknowledged.
        lines: The conservation check.
        warnings: Log lines that indicate a defect.
        acknowledged_each_s: Deliveries acknowledged in each second.
    """

    seed: int
    lasted_s: float
    proxy: str
    pooler: str
    planned: int
    acknowledged: int
    refused: int
    posts: int
    applied: int
    confirmed: int
    repeated: int
    longest_gap_s: float
    latency_ms: dict[str, float]
    statuses: dict[int, int]
    recoveries: list[Recovery]
    races: int
    files: int
    answered: int
    debits: int
    objects_unnamed: int
    lines: list[BooksLine]
    warnings: list[str]
    acknowledged_each_s: list[int]

    @property
    def kills(self) -> int:
        """Number of kills."""
        return sum(FAULTS[recovery.fault].kills for recovery in self.recoveries)

    @property
    def unrecovered(self) -> list[Recovery]:
        """Faults after which the probe did not succeed in time."""
        return [
            recovery
            for recovery in self.recoveries
            if recovery.recovered_s is None or recovery.recovered_s > _RECOVER_S
        ]

    @property
    def slowest_s(self) -> float:
        """The longest recovery."""
        return max((_known_s(recovery) for recovery in self.recoveries), default=0.0)

    @property
    def slowest_after_kill_s(self) -> float:
        """The longest recovery after a kill."""
        killed = (recovery for recovery in self.recoveries if FAULTS[recovery.fault].kills)
        return max((_known_s(recovery) for recovery in killed), default=0.0)

    @property
    def request_losses(self) -> list[Recovery]:
        """Faults that made requests fail although a node was up."""
        return [
            recovery
            for recovery in self.recoveries
            if FAULTS[recovery.fault].spares_requests and recovery.failed_requests
        ]

    @property
    def holds(self) -> bool:
        """Whether the conservation check holds, everything recovered, and no request failed that must not."""
        return (
            all(line.holds for line in self.lines)
            and not self.unrecovered
            and not self.request_losses
            and not self.warnings
        )


def _known_s(recovery: Recovery) -> float:
    return SEEN_S if recovery.recovered_s is None else recovery.recovered_s
