"""`tether figures`: what debits brought in, how uploads age, and what may still go back."""

from typing import Final

from tether_client.command.arguments import Commands, add, date_of, whole
from tether_client.command.context import Context, rows_text
from tether_client.command.output import money, table
from tether_client.figures import AgeingPage, ExposurePage, Figure, FigurePage

__all__ = ["add_commands", "share"]

_BY: Final = (
    "total",
    "day",
    "month",
    "country",
    "bank",
    "reason_code",
    "price_band",
    "account",
    "upload",
    "run",
)
_EXPOSURE: Final = (
    ("day", "day"),
    ("currency", "currency"),
    ("returnable", "returnable_minor"),
    ("refundable", "refundable_minor"),
    ("unauthorised", "unauthorised_minor"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("figures", help="figures: sums by a dimension, ageing of uploads, exposure")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "by",
        _by,
        text="collected, returned, refunded and net, with the return rate, by a dimension",
        example="tether figures by country --from 2026-03-01",
    )
    item.add_argument("by", choices=_BY, help="what to group by")
    item.add_argument(
        "--basis",
        choices=("cohort", "cash"),
        default="cohort",
        help="on which day things count: that of the debit, or that on which each was recorded (default: %(default)s)",
    )
    for name, text in (("from", "from this day on, such as 2026-03-01"), ("to", "up to this day, included")):
        item.add_argument(f"--{name}", type=date_of, dest=f"{name}_on", metavar="DAY", help=text)
    for name, text in (
        ("account", "only debits of this gateway account"),
        ("currency", "only this currency, such as EUR"),
        ("country", "only accounts of this country, such as DE"),
        ("bank", "only accounts at this bank: the first eight characters of its BIC"),
    ):
        item.add_argument(f"--{name}", metavar=name.upper(), help=text)
    for name in ("upload", "run"):
        item.add_argument(
            f"--{name}", type=whole(1), metavar=name.upper(), help=f"only debits of this {name}"
        )

    item = add(
        group,
        "ageing",
        _ageing,
        text="what was left of an upload's money at each age, beside earlier uploads",
        example="tether figures ageing 12",
    )
    item.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")

    item = add(
        group,
        "exposure",
        _exposure,
        text="money that may still go back, in all and by day",
        example="tether figures exposure --days 30",
    )
    item.add_argument("--upload", type=whole(1), metavar="UPLOAD", help="only debits of this upload")
    item.add_argument("--account", metavar="ACCOUNT", help="only debits of this gateway account")
    item.add_argument(
        "--days",
        type=whole(1, 430),
        default=30,
        metavar="N",
        help="how many days ahead (default: %(default)s)",
    )


def _by(context: Context) -> int:
    args = context.args
    filters = {
        name: getattr(args, name) for name in ("account", "currency", "country", "bank", "upload", "run")
    }
    page = context.client.figures(
        args.by, basis=args.basis, **{"from": args.from_on, "to": args.to_on}, **filters
    )
    context.output.result(page, lambda: _figures(page))
    return 0


def _figures(page: FigurePage) -> str:
    lines = [*page.groups, *([] if page.by == "total" else page.totals)]
    if not lines:
        return "no debits\n"
    head = (
        page.by.replace("_", " "),
        "currency",
        "debits",
        "collected",
        "returned",
        "refunded",
        "net",
        "return rate",
    )
    text = table(head, [_line(figure, is_total=at >= len(page.groups)) for at, figure in enumerate(lines)])
    return text + ("There are more groups; narrow the filters.\n" if page.more else "")


def _line(figure: Figure, *, is_total: bool) -> list[str]:
    sums = (
        figure.collected.amount_minor,
        figure.returned.amount_minor,
        figure.refunded.amount_minor,
        figure.net_minor,
    )
    return [
        "all" if is_total else figure.key or "(none)",
        figure.currency,
        f"{figure.collected.count:,}".rjust(8),
        *(money(amount).rjust(14) for amount in sums),
        share(figure.return_rate),
    ]


def share(rate: float | None) -> str:
    """A share as a percentage, "" for none."""
    return "" if rate is None else f"{rate:.2%}"


def _ageing(context: Context) -> int:
    page = context.client.ageing(context.args.upload_id)
    context.output.result(page, lambda: _curves(page))
    return 0


def _curves(page: AgeingPage) -> str:
    if not page.curves:
        return "nothing was collected yet\n"
    ages = sorted({point.age_days for curve in page.curves for point in curve.points})
    head = ["upload", "currency", "collected", "net", *(f"day {age}" for age in ages)]
    lines = []
    for curve in page.curves:
        at_age = {point.age_days: point.net_share for point in curve.points}
        shares = (share(at_age.get(age)) for age in ages)
        lines.append(
            [
                str(curve.upload_id),
                curve.currency,
                money(curve.collected_minor),
                money(curve.net_minor),
                *shares,
            ]
        )
    return table(head, lines)


def _exposure(context: Context) -> int:
    args = context.args
    page = context.client.exposed(upload=args.upload, account=args.account, days=args.days)
    context.output.result(page, lambda: _exposed(page))
    return 0


def _exposed(page: ExposurePage) -> str:
    lines = [
        f"{total.currency}: {money(total.returnable.amount_minor)} banks may return, "
        f"{money(total.refundable.amount_minor)} debtors may demand back, "
        f"{money(total.unauthorised.amount_minor)} without a mandate\n"
        for total in page.totals
    ]
    return "".join(lines) + rows_text(page.days, _EXPOSURE)
