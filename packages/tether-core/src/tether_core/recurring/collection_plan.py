"""
Collection plans: what a series of debits may do.

A collection plan belongs to a gateway account and has any number of schedules, each for one debtor. It says how often is collected, which
amounts are allowed, how much a day may take, what happens to missed due dates, and whether the debtors are notified before.

>>> monthly = PlanOptions(price_bands=(PriceBand(199, 495),))
>>> monthly.allows(200), monthly.allows(500)
(True, False)
>>> PlanOptions(pay_days=(1, 32))
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: pay_days: Give days of the month, 1 to 31.
"""

from ipaddress import ip_address
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from tether_core.billing.run_options import RunOptions
from tether_core.errors import InvalidRequest
from tether_core.recurring import pre_notification
from tether_core.recurring.due_dates import Interval

__all__ = ["NOTICE_SLACK_DAYS", "PlanOptions", "PriceBand", "Recovery"]

Recovery: TypeAlias = Literal["ask", "skip", "spread"]
# Days between the making of a pre-notification and the last day on which it may be given: for an export by hand.
NOTICE_SLACK_DAYS: Final = 2

_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
_DayOfMonth = Annotated[int, msgspec.Meta(ge=1, le=31)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=140)]


class PriceBand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Amounts that a plan collects.

    Attributes:
        min_minor: The smallest, whole minor units.
        max_minor: The largest.
    """

    min_minor: _Positive
    max_minor: _Positive


class PlanOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The options of a collection plan, chosen by a person.

    Attributes:
        interval: The time between two due dates.
        amount_minor: What each debtor pays each time, whole minor units; `None` for the amount of the debtor's row.
        price_bands: Amounts that may be collected; empty for any.
        day_count_max: Debits of the plan on one day at most; further ones move to the next TARGET days.
        day_amount_max_minor: Money of the plan on one day at most.
        lifetime_max_minor: What one account may pay in all, pending debits included.
        recover: What becomes of due dates that were missed: "ask" a person, "skip" them, or "spread" them: the oldest first, alone, and
            *recover_spacing_days* apart.
        recover_spacing_days: Days between a debit and the next recovered one.
        missed_after_days: A due item that was not ordered this many days after it could be is missed.
        pay_days: Days of the month on which wages come in; another try after a return waits for one that is near.
        retry_spacing_days: Days before another try; `None` for `TETHER_RETRY_SPACING_DAYS`.
        notice_days: Days before the due date by which the debtor is notified; `None` for no pre-notification.
        notice_required: Whether no debit is made without a pre-notification that was given in time.
        notice_text: The text of the pre-notification (`tether_core.recurring.pre_notification`); `None` for that of *notice_language*.
        notice_language: The language of the built-in text.
        creditor_name: In the pre-notification.
        creditor_id: The creditor identifier, in the pre-notification.
        recurring_requests: Whether the gateway account uses `sdd_init_recurring_sale` and `sdd_recurring_sale` in place of `sdd_sale`.
        vop_score_min: As of a billing run.
        tries_max: As of a billing run.
        recent_days: As of a billing run.
        usage: The text on the debtor's statement; the debtor's reference follows it.
        merchant_name: As of a billing run.
        remote_ip: As of a billing run.
        after_chargeback: As of a billing run.
    """

    interval: Interval = Interval()
    amount_minor: _Positive | None = None
    price_bands: Annotated[tuple[PriceBand, ...], msgspec.Meta(max_length=50)] = ()
    day_count_max: _Positive | None = None
    day_amount_max_minor: _Positive | None = None
    lifetime_max_minor: _Positive | None = None
    recover: Recovery = "ask"
    recover_spacing_days: Annotated[int, msgspec.Meta(ge=3, le=90)] = 14
    missed_after_days: Annotated[int, msgspec.Meta(ge=1, le=30)] = 5
    pay_days: Annotated[tuple[_DayOfMonth, ...], msgspec.Meta(max_length=10)] = ()
    retry_spacing_days: Annotated[int, msgspec.Meta(ge=3, le=30)] | None = None
    notice_days: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = 14
    notice_required: bool = False
    notice_text: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)] | None = None
    notice_language: pre_notification.Language = "en"
    creditor_name: Annotated[str, msgspec.Meta(max_length=140)] = ""
    creditor_id: Annotated[str, msgspec.Meta(max_length=35)] = ""
    recurring_requests: bool = False
    vop_score_min: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    tries_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    recent_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] = 7
    usage: _Text = "Collection"
    merchant_name: _Text | None = None
    remote_ip: Annotated[str, msgspec.Meta(max_length=45)] | None = None
    after_chargeback: bool = False

    def __post_init__(self) -> None:
        """Refuse invalid options."""
        if not all(1 <= day <= 31 for day in self.pay_days):
            raise InvalidRequest("give days of the month, 1 to 31", field="pay_days")
        for band in self.price_bands:
            if band.max_minor < band.min_minor:
                raise InvalidRequest("max_minor of a band is below its min_minor", field="price_bands")
        if self.amount_minor is not None and not self.allows(self.amount_minor):
            raise InvalidRequest("amount_minor is outside the price_bands", field="amount_minor")
        if self.notice_required and self.notice_days is None:
            raise InvalidRequest(
                "say notice_days, too: how many days before the due date", field="notice_required"
            )
        if self.notice_text is not None:
            pre_notification.require_known(self.notice_text)
        if self.remote_ip is not None:
            try:
                ip_address(self.remote_ip)
            except ValueError:
                raise InvalidRequest("give an IPv4 or IPv6 address", field="remote_ip") from None

    def allows(self, amount_minor: int) -> bool:
        """Whether an amount is inside the price bands."""
        return not self.price_bands or any(
            band.min_minor <= amount_minor <= band.max_minor for band in self.price_bands
        )

    @property
    def lead_days(self) -> int:
        """Days before a due date on which its due item is made."""
        return 0 if self.notice_days is None else self.notice_days + NOTICE_SLACK_DAYS

    def of_run(self, due_item: str) -> RunOptions:
        """
        The options of the run that collects a due item; its caps are those of a day.

        Args:
            due_item: What is collected.
        """
        return RunOptions(
            due_item=due_item,
            count_max=self.day_count_max,
            amount_max_minor=self.day_amount_max_minor,
            lifetime_max_minor=self.lifetime_max_minor,
            tries_max=self.tries_max,
            recent_days=self.recent_days,
            vop_score_min=self.vop_score_min,
            usage=self.usage,
            merchant_name=self.merchant_name,
            remote_ip=self.remote_ip,
            notice_days=self.notice_days if self.notice_required else None,
            after_chargeback=self.after_chargeback,
        )
