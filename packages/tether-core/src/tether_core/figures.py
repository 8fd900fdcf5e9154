"""
Figures: what debits brought in, what came back, and what may still come back.

| word | what it counts |
|---|---|
| collected | debits that were approved, what became of them later included |
| returned | of these, debits that were charged back and not won back |
| refunded | of these, debits that we voided or refunded |
| net | collected - returned - refunded; a debit that was both refunded and charged back counts against it twice, as the money left twice |
| **return rate** | returned / collected, both without debits that were returned for a reason of the acquirer's own (XT33, XT73) |

There are two **bases**. The *cohort* basis attributes everything to the day on which the debit was made: a return that comes seven weeks later
lowers the figures of the day of its debit, so a cohort shows how good its debits were. The *cash* basis attributes collections, returns
and refunds each to the day on which it was recorded, so a day shows what moved on it. The return rate belongs to the cohort basis: on the cash basis
the returns of a day are of other debits than its collections, so the rate is `None`.

Money is summed by currency, and no sum has two.

>>> sums = Sums("DE", "EUR", collected=Total(200, 500_000), returned=Total(12, 30_000), excluded=Total(2, 5_000), refunded=Total(1, 2_500))
>>> figure = figures([sums], by="country")[0]
>>> figure.net_minor, figure.return_rate
(467500, 0.0505)
>>> figures([sums], by="country", basis="cash")[0].return_rate is None
True
>>> return_rate(collected=0, returned=0, excluded=0) is None     # nothing was collected
True
>>> band(0), band(999), band(1000), band(250_000)
(0, 0, 1000, 100000)

Source of the return rate: the old system has two formulas side by side, over approved debits and over approved and charged back ones; this is the
second, which cannot exceed 1. `tether_core.billing.auto_pause` goes by it too.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final, Literal

import msgspec

from tether_core.payments.returns import settles_on
from tether_core.target_calendar import add_months, exposure

__all__ = [
    "AGES_DAYS",
    "EARLIER_MAX",
    "KINDS",
    "PRICE_BANDS",
    "Ageing",
    "AgeingPoint",
    "Basis",
    "By",
    "ExposureDay",
    "ExposureSum",
    "Figure",
    "OpenMoney",
    "ReturnedMoney",
    "Sums",
    "Total",
    "ageing",
    "band",
    "exposed_since",
    "exposure_by_day",
    "exposure_now",
    "figures",
    "return_rate",
]

Basis = Literal["cohort", "cash"]
By = Literal[
    "total", "day", "month", "country", "bank", "reason_code", "price_band", "account", "upload", "run"
]
# The kinds of money that a debit moves, as they are summed.
Kind = Literal["collected", "returned", "refunded", "refunded_and_returned"]
KINDS: Final[tuple[Kind, ...]] = ("collected", "returned", "refunded", "refunded_and_returned")

# Lower bounds of the price bands, in whole minor units.
PRICE_BANDS: Final = (0, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
# The ages in days at which the curve of an upload is drawn: close together while most returns come, up to the end of the 13 months.
AGES_DAYS: Final = (*range(15), 21, 28, 35, 42, 49, 56, 70, 90, 120, 180, 270, 400)
# How many earlier uploads an upload is compared with.
EARLIER_MAX: Final = 5
_DIGITS: Final = 4


class Total(msgspec.Struct, frozen=True):
    """
    Some debits.

    Attributes:
        count: How many.
        amount_minor: Their money, in whole minor units.
    """

    count: int = 0
    amount_minor: int = 0


_NONE: Final = Total()


class Sums(msgspec.Struct, frozen=True):
    """
    The sums of a group and currency, as they are stored.

    Attributes:
        key: The group, e.g. "DE"; "" where a debit has none.
        currency: ISO 4217.
        collected: Debits that were approved.
        returned: Debits that were returned, those of `excluded` among them.
        excluded: Debits that were returned for a reason of the acquirer's own.
        refunded: Debits that were voided or refunded.
    """

    key: str
    currency: str
    collected: Total = _NONE
    returned: Total = _NONE
    excluded: Total = _NONE
    refunded: Total = _NONE


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


def band(amount_minor: int) -> int:
    """The lower bound of the price band of an amount."""
    return PRICE_BANDS[bisect_right(PRICE_BANDS, amount_minor) - 1]


def return_rate(*, collected: int, returned: int, excluded: int) -> float | None:
    """
    The share of collected debits that were returned.

    Args:
        collected: All debits that were approved.
        returned: All of them that were returned.
        excluded: Of the returned, those that are left out: `tether_core.billing.auto_pause.EXCLUDED`.

    Returns:
        From 0 to 1, to four digits; `None` where nothing is left to divide by.
    """
    if collected <= excluded:
        return None
    return round((returned - excluded) / (collected - excluded), _DIGITS)


def figures(sums: Sequence[Sums], *, by: By, basis: Basis = "cohort") -> list[Figure]:
    """
    The figures of groups, in the order of their sums.

    Args:
        sums: All groups of the table: by reason code, each reason is compared with what was collected in all.
        by: What they are grouped by.
        basis: Which day things are attributed to.
    """
    every: dict[str, list[Sums]] = defaultdict(list)
    for some in sums:
        every[some.currency].append(some)

    def figure(some: Sums) -> Figure:
        base = every[some.currency] if by == "reason_code" else [some]
        return Figure(
            some.key,
            some.currency,
            some.collected,
            some.returned,
            some.refunded,
            some.collected.amount_minor - some.returned.amount_minor - some.refunded.amount_minor,
            _rate(
                sum(item.collected.count for item in base),
                some.returned.count - some.excluded.count,
                sum(item.excluded.count for item in base),
                basis=basis,
            ),
            _rate(
                sum(item.collected.amount_minor for item in base),
                some.returned.amount_minor - some.excluded.amount_minor,
                sum(item.excluded.amount_minor for item in base),
                basis=basis,
            ),
        )

    return [figure(some) for some in sums]


def _rate(collected: int, counted: int, excluded: int, *, basis: Basis) -> float | None:
    if basis == "cash":
        return None
    return return_rate(collected=collected, returned=counted + excluded, excluded=excluded)


class ReturnedMoney(msgspec.Struct, frozen=True):
    """
    Money of an upload that went back at an age.

    Attributes:
        upload_id: The upload.
        currency: ISO 4217.
        age_days: Days between the submission of the debits and the day on which this was recorded; 0 or more.
        collected_minor: What the debits of this age had brought in, in whole minor units.
        gone_minor: What was returned and refunded of them at this age.
    """

    upload_id: int
    currency: str
    age_days: int
    collected_minor: int
    gone_minor: int


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


def ageing(moved: Iterable[ReturnedMoney], *, submitted_to: dict[int, date], today: date) -> list[Ageing]:
    """
    The ageing curves of uploads, the newest upload first.

    A curve ends at the age of the upload's latest debits: further on some of its debits would be too young to have come back.

    Args:
        moved: Of some uploads, in any order.
        submitted_to: By upload, the day on which its last debits were submitted.
        today: The present day.

    >>> some = [ReturnedMoney(7, "EUR", 0, 1_000, 0), ReturnedMoney(7, "EUR", 2, 0, 100), ReturnedMoney(7, "EUR", 5, 0, 300)]
    >>> curve, = ageing(some, submitted_to={7: date(2026, 3, 2)}, today=date(2026, 3, 5))
    >>> curve.net_minor, curve.age_days, [point.net_share for point in curve.points]
    (600, 3, [1.0, 1.0, 0.9, 0.9])
    """
    groups: dict[tuple[int, str], list[ReturnedMoney]] = defaultdict(list)
    for some in moved:
        groups[some.upload_id, some.currency].append(some)
    curves = []
    for (upload_id, currency), items in sorted(groups.items(), key=lambda found: (-found[0][0], found[0][1])):
        collected = sum(item.collected_minor for item in items)
        if collected <= 0:
            continue
        age = max(0, (today - submitted_to[upload_id]).days)
        points = [
            AgeingPoint(
                at,
                round(1 - sum(item.gone_minor for item in items if item.age_days <= at) / collected, _DIGITS),
            )
            for at in (*(some for some in AGES_DAYS if some < age), age)
        ]
        net = collected - sum(item.gone_minor for item in items)
        curves.append(Ageing(upload_id, currency, collected, net, age, points))
    return curves


class OpenMoney(msgspec.Struct, frozen=True):
    """
    Money of debits that was neither returned nor refunded.

    Attributes:
        submitted_on: The bank day on which the debits were submitted.
        currency: ISO 4217.
        upload_id: Their upload; 0 for debits of another system.
        count: How many debits.
        amount_minor: Their money, in whole minor units.
    """

    submitted_on: date
    currency: str
    upload_id: int
    count: int
    amount_minor: int


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


def _limits(submitted_on: date) -> tuple[date, date, date]:
    limits = exposure(settles_on(submitted_on))
    assert limits.refund_on is not None
    assert limits.unauthorised_on is not None
    return limits.return_on, limits.refund_on, limits.unauthorised_on


def exposed_since(today: date) -> date:
    """
    The submission day before which no debit can come back any more.

    >>> exposed_since(date(2026, 3, 2))
    datetime.date(2025, 1, 2)
    """
    # 13 months from the settlement, which lies at most some days behind the submission, over holidays and the end of a month.
    return add_months(today, -14)


def exposure_now(money: Iterable[OpenMoney], *, today: date, by_upload: bool) -> list[ExposureSum]:
    """
    What may still go back, the most first.

    Args:
        money: Open money, in any order.
        today: The present day of the banks.
        by_upload: Whether the sums are by upload and currency, or by currency alone.

    >>> some = [OpenMoney(date(2026, 3, 2), "EUR", 7, 2, 5_000), OpenMoney(date(2026, 1, 5), "EUR", 6, 1, 900)]
    >>> found, = exposure_now(some, today=date(2026, 3, 6), by_upload=False)
    >>> found.returnable.amount_minor, found.refundable.amount_minor, found.unauthorised.amount_minor
    (5000, 5000, 5900)
    """
    sums: dict[tuple[int | None, str], list[list[int]]] = defaultdict(lambda: [[0, 0], [0, 0], [0, 0]])
    for some in money:
        found = sums[some.upload_id if by_upload else None, some.currency]
        for at, limit in enumerate(_limits(some.submitted_on)):
            if today <= limit:
                found[at][0] += some.count
                found[at][1] += some.amount_minor
    result = [
        ExposureSum(upload_id, currency, Total(*found[0]), Total(*found[1]), Total(*found[2]))
        for (upload_id, currency), found in sums.items()
        if any(count for count, _ in found)
    ]
    return sorted(
        result, key=lambda item: (item.currency, -item.unauthorised.amount_minor, item.upload_id or 0)
    )


def exposure_by_day(money: Iterable[OpenMoney], *, today: date, days: int) -> list[ExposureDay]:
    """
    How the exposure of today runs out, by currency and day.

    Args:
        money: Open money, in any order.
        today: The first day.
        days: How many days, today included.

    >>> some = [OpenMoney(date(2026, 3, 2), "EUR", 7, 2, 5_000)]
    >>> [(found.day.day, found.returnable_minor) for found in exposure_by_day(some, today=date(2026, 3, 9), days=3)]
    [(9, 5000), (10, 5000), (11, 0)]
    """
    ends: dict[str, list[dict[date, int]]] = defaultdict(lambda: [defaultdict(int) for _ in range(3)])
    for some in money:
        for at, limit in enumerate(_limits(some.submitted_on)):
            if today <= limit:
                ends[some.currency][at][limit] += some.amount_minor
    result = []
    for currency, limits in sorted(ends.items()):
        for ahead in range(days):
            day = today + timedelta(days=ahead)
            left = [sum(amount for limit, amount in some.items() if day <= limit) for some in limits]
            result.append(ExposureDay(day, currency, *left))
    return result
