"""
What the banks do with the debits of a played year, and on which days.

Most debits are approved on the next TARGET day. Some come back within days, because the account has no money (AM04), without a
reason (MS03), or because it is closed (AC04). Some come back after weeks, because the debtor asks for the money (MD06) or never gave
a mandate (MD01); a few of these are won back. One account in ten is often empty, so that some debits are tried again as often as allowed.

What becomes of a debit depends on the seed and its transaction_id, not on the order in which debits come.

>>> record = {"unique_id": "u", "order": {"transaction_id": "t-3", "fingerprint": "00000005"}}
>>> [(str(on), change.status) for on, change in outcome(record, taken_on=date(2026, 4, 2), seed=1)]
[('2026-04-07', 'approved')]
"""

import random
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from tether_core.target_calendar import add_target_days, next_open

from tether_sandbox.gateway import StatusChange

__all__ = ["LATE_DAYS", "outcome"]

# Reason, share of all debits, and days until it comes back: TARGET days for what the bank decides, calendar days for what the debtor does.
_BY_BANK: Final = (("AM04", 0.04, 2, 5), ("MS03", 0.02, 2, 5), ("AC04", 0.008, 2, 3))
_BY_DEBTOR: Final = (("MD06", 0.03, 15, 50), ("MD01", 0.008, 20, 55))
# A debit that comes back after this many days came weeks late.
LATE_DAYS: Final = 14
_REJECTED: Final = 0.015
_WON_BACK: Final = 0.2
_EMPTY_ONE_IN: Final = 10
_EMPTY: Final = 0.6
_DAY: Final = timedelta(days=1)


def outcome(record: Mapping[str, Any], *, taken_on: date, seed: int) -> list[tuple[date, StatusChange]]:
    """
    What becomes of a debit.

    Args:
        record: The gateway's record of it.
        taken_on: The day on which the gateway took it.
        seed: Same number, same outcome.

    Returns:
        Each change of its status with its day, a TARGET day, in order.
    """
    unique_id, order = record["unique_id"], record["order"]
    rng = random.Random(f"{seed}:{order['transaction_id']}")
    settled_on = add_target_days(taken_on, 1)
    if rng.random() < _REJECTED:
        return [(settled_on, StatusChange("error", error_code="501", unique_id=unique_id))]
    changes = [(settled_on, StatusChange("approved", unique_id=unique_id))]
    returned = _returned(rng, settled_on, is_empty=int(order["fingerprint"][:8], 16) % _EMPTY_ONE_IN == 0)
    if returned is None:
        return changes
    reason, on, is_by_debtor = returned
    changes.append((on, StatusChange("chargebacked", "chargeback", reason, unique_id=unique_id)))
    if is_by_debtor and rng.random() < _WON_BACK:
        won = StatusChange("chargeback_reversed", "chargeback_reversal", unique_id=unique_id)
        changes.append((add_target_days(on, 8), won))
    return changes


def _returned(rng: random.Random, settled_on: date, *, is_empty: bool) -> tuple[str, date, bool] | None:
    """Reason and day of a return, and whether the debtor asked for it; `None` for none."""
    left = rng.random()
    for reason, share, least, most in _BY_BANK:
        left -= _EMPTY if is_empty and reason == "AM04" else share
        if left < 0:
            return reason, add_target_days(settled_on, rng.randint(least, most)), False
    for reason, share, least, most in _BY_DEBTOR:
        left -= share
        if left < 0:
            return reason, next_open(settled_on + _DAY * rng.randint(least, most)), True
    return None
