"""Sums of money: by a dimension, by age, and what may still go back."""

from datetime import date
from typing import Any

import msgspec

from tether_client.connection import Connection, given

__all__ = [
    "Ageing",
    "AgeingPage",
    "AgeingPoint",
    "ExposureDay",
    "ExposurePage",
    "ExposureSum",
    "Figure",
    "FigurePage",
    "FigureRoutes",
    "Total",
]


class Total(msgspec.Struct, frozen=True):
    """
    Some debits.

    Attributes:
        count: How many.
        amount_minor: Their money, in whole minor units.
    """

    count: int = 0
    amount_minor: int = 0


class Figure(msgspec.Struct, frozen=True):
    """
    The figures of a group and currency.

    Attributes:
        key: The group, e.g. "DE"; "" where a debit has none.
        currency: ISO 4217.
        collected: Debits that were approved.
        returned: Debits that were returned.
        refunded: Debits that were voided or refunded.
        net_minor: What is left, in whole minor units; negative where more went than came.
        return_rate: From 0 to 1, or null on the cash basis and where nothing was collected.
        return_rate_amount: The same by money instead of by number.
    """

    key: str
    currency: str
    collected: Total
    returned: Total
    refunded: Total
    net_minor: int
    return_rate: float | None
    return_rate_amount: float | None


class FigurePage(msgspec.Struct, frozen=True):
    """
    Figures by a dimension.

    Attributes:
        by: What they are grouped by.
        basis: "cohort": everything counts on the day of its debit. "cash": everything counts on the day it was recorded.
        totals: One per currency.
        groups: By group and currency: days and months in their order, the others by what was collected.
        more: Whether there are further groups, which are left out of `groups` and not of `totals`.
    """

    by: str
    basis: str
    totals: list[Figure]
    groups: list[Figure]
    more: bool


class AgeingPoint(msgspec.Struct, frozen=True):
    """
    What was left of an upload at an age.

    Attributes:
        age_days: Days since the debits were submitted.
        net_share: The part of the collected money that was left, from 1 down; below 0 where more went than came.
    """

    age_days: int
    net_share: float


class Ageing(msgspec.Struct, frozen=True):
    """
    The ageing curve of an upload in a currency.

    Attributes:
        upload_id: The upload.
        currency: ISO 4217.
        collected_minor: What it brought in, in whole minor units.
        net_minor: What is left of it now.
        age_days: How old its latest debits are; the curve ends there.
        points: From age 0 on.
    """

    upload_id: int
    currency: str
    collected_minor: int
    net_minor: int
    age_days: int
    points: list[AgeingPoint]


class AgeingPage(msgspec.Struct, frozen=True):
    """
    The ageing curve of an upload beside those of earlier uploads.

    Attributes:
        upload_id: The upload.
        curves: Its curve and those of up to five earlier uploads that were billed, the newest first.
    """

    upload_id: int
    curves: list[Ageing]


class ExposureSum(msgspec.Struct, frozen=True):
    """
    Money that may still go back.

    Attributes:
        upload_id: Of this upload; null for all.
        currency: ISO 4217.
        returnable: What the debtors' banks may still return, until five bank days after the settlement.
        refundable: What debtors may demand back without a reason, until eight weeks after it.
        unauthorised: What debtors may reclaim for want of a mandate, until 13 months after it. It includes the other two.
    """

    upload_id: int | None
    currency: str
    returnable: Total
    refundable: Total
    unauthorised: Total


class ExposureDay(msgspec.Struct, frozen=True):
    """
    The exposure at the beginning of a day, if nothing is collected or returned until then.

    Attributes:
        day: The day.
        currency: ISO 4217.
        returnable_minor: See `ExposureSum`, in whole minor units.
        refundable_minor: Likewise.
        unauthorised_minor: Likewise.
    """

    day: date
    currency: str
    returnable_minor: int
    refundable_minor: int
    unauthorised_minor: int


class ExposurePage(msgspec.Struct, frozen=True):
    """
    Money that may still go back.

    Attributes:
        day: The present day of the banks.
        totals: One per currency.
        uploads: By upload and currency, the most first; upload 0 has the debits of another system.
        days: How the exposure of today runs out.
    """

    day: date
    totals: list[ExposureSum]
    uploads: list[ExposureSum]
    days: list[ExposureDay]


class FigureRoutes(Connection):
    """Routes of sums of money."""

    def figures(self, by: str = "total", *, basis: str = "cohort", **filters: Any) -> FigurePage:
        """
        Collected, returned, refunded and net, by a dimension.

        Args:
            by: Such as "day", "country", "reason_code" or "upload".
            basis: "cohort" or "cash".
            filters: Any of from, to, account, currency, country, bank, price_band, upload, run.
        """
        return self._get("/api/figures", FigurePage, **{**filters, "by": by, "basis": basis})

    def ageing(self, upload_id: int) -> AgeingPage:
        """What was left of an upload's money at each age, beside earlier uploads."""
        return self._get("/api/figures/ageing", AgeingPage, upload=upload_id)

    def exposed(
        self, *, upload: int | None = None, account: str | None = None, days: int = 90
    ) -> ExposurePage:
        """Money that may still go back, in all, by upload and by day."""
        return self._get("/api/figures/exposure", ExposurePage, **given(locals()))
