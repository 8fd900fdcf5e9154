"""
The options of a billing run, chosen by a person and stored with the run.

>>> RunOptions(canary_share=2.0)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: canary_share is a share from 0 to 1.
"""

from ipaddress import ip_address
from typing import Annotated

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.payments.due_items import DUE_ITEM

__all__ = ["RunOptions"]

_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**15)]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The options of a billing run, chosen by a person and stored with the run.

    Attributes:
        due_item: What is owed, e.g. "once" or "2026-03": each debtor pays each item once.
        count_max: Debits at most; `None` for no cap.
        amount_max_minor: Money at most, whole minor units; `None` for no cap.
        canary_share: Share of the debits that is sent first and has to go well before the rest follows; 0 for none.
        debit_min_minor: Least amount of one debit; below ten cents the fee is more.
        debit_max_minor: Largest amount of one debit.
        lifetime_max_minor: What one account may pay in all, pending debits included.
        tries_max: How often one item may be tried by runs.
        recent_days: Days for which a try for another upload prevents a debit of the account; 0 for no such window.
        vop_score_min: Least score of the check before billing (`tether_core.vop`); `None` where none is demanded.
        usage: The text on the debtor's statement; the debtor's reference follows it.
        merchant_name: The creditor's name on the statement; `None` for the terminal's own.
        remote_ip: The address from which the debtors agreed; some terminals demand one.
        notice_days: Days before a debit by which the debtor must have been notified of it; `None` where no pre-notification is required.
        after_chargeback: Whether accounts are billed that charged a debit back before. The blacklist holds all the same.
    """

    due_item: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "once"
    count_max: _Positive | None = None
    amount_max_minor: _Positive | None = None
    canary_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    debit_min_minor: _Positive = 10
    debit_max_minor: _Positive | None = None
    lifetime_max_minor: _Positive | None = None
    tries_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    recent_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] = 7
    vop_score_min: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    usage: Annotated[str, msgspec.Meta(min_length=1, max_length=140)] = "Collection"
    merchant_name: Annotated[str, msgspec.Meta(min_length=1, max_length=140)] | None = None
    remote_ip: Annotated[str, msgspec.Meta(max_length=45)] | None = None
    notice_days: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None
    after_chargeback: bool = False

    def __post_init__(self) -> None:
        """Refuse invalid options."""
        if not DUE_ITEM.fullmatch(self.due_item):
            raise InvalidRequest("give 1 to 32 of a-z, 0-9, point and hyphen, e.g. 2026-03", field="due_item")
        if not 0.0 <= self.canary_share <= 1.0:
            raise InvalidRequest("is a share from 0 to 1", field="canary_share")
        if self.remote_ip is not None:
            try:
                ip_address(self.remote_ip)
            except ValueError:
                raise InvalidRequest("give an IPv4 or IPv6 address", field="remote_ip") from None
