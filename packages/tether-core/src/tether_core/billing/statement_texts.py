"""
Texts of bank statements by gateway account and month.

An order for a billing run may name the text that its debtors read on their statements. Where it names none, the stored text of the account and the
month is taken, else that of the account, else that of the month for all accounts, else that for all accounts, else the default of a run.

>>> stored = {("", ""): "Example club", ("shop", ""): "Example shop", ("shop", "2026-12"): "Example shop, advent"}
>>> [chosen(stored, account=account, on=date(2026, month, 1)) for account, month in (("shop", 12), ("shop", 11), ("default", 12))]
['Example shop, advent', 'Example shop', 'Example club']
>>> chosen({}, account="shop", on=date(2026, 12, 1)) is None
True
>>> require_text("x" * 141)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: text: Give 1 to 140 characters.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from tether_core.errors import InvalidRequest

__all__ = ["chosen", "require_month", "require_text"]

TEXT_MAX: Final = 140
_MONTH: Final = re.compile(r"20[0-9]{2}-(?:0[1-9]|1[0-2])")


def chosen(stored: Mapping[tuple[str, str], str], *, account: str, on: date) -> str | None:
    """
    The text of a debit.

    Args:
        stored: Account and month to text; "" stands for all accounts, and for all months.
        account: The gateway account.
        on: The day of the order, by the banks' clock.

    Returns:
        The text, or `None` where none is stored for it.
    """
    month = f"{on:%Y-%m}"
    keys = ((account, month), (account, ""), ("", month), ("", ""))
    return next((stored[key] for key in keys if key in stored), None)


def require_month(month: str) -> str:
    """
    A month such as "2026-12", or "" for all months.

    Raises:
        InvalidRequest: when it is neither.
    """
    if month and not _MONTH.fullmatch(month):
        raise InvalidRequest("write the month like 2026-12, or leave it out for all months", field="month")
    return month


def require_text(text: str) -> str:
    """
    A text without blanks around it.

    Raises:
        InvalidRequest: when it is empty or too long for a statement.
    """
    found = " ".join(text.split())
    if not 1 <= len(found) <= TEXT_MAX:
        raise InvalidRequest(f"give 1 to {TEXT_MAX} characters", field="text")
    return found
