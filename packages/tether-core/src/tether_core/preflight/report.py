"""
The pre-flight report of an upload: what its debits are expected to bring and to cost, and whether a configured rule says go.

The rule (`PreflightLimits`) compares the **upper** end of what is expected: an upload goes only if even a bad outcome is within the limits. What is unknown is
no go: without history, or without fees where a limit of fees is set, the verdict is `unknown` and a person decides. Without a limit there is no
verdict (`no_rule`).

Debtors whom a run would not bill because of the blacklist, or for want of a check, are in no estimate: they are counted as **excluded**, by the verdict that
the run would give (`exclusion`).

>>> seen = [Seen("COBADEFF", "DE", 1000, "paid", 5_000, 100, 50)]
>>> group = DebtorGroup("COBADEFF", "DE", 1000, "paid", 1_000, 1_500_000, 2_250_000_000)
>>> fees = Fees(25, 350, "EUR")
>>> made = report([("EUR", group)], seen, fees=fees, rule=PreflightLimits(returned_max=0.05), facts=_FACTS)
>>> made.verdict, made.currencies[0].returned.count, made.currencies[0].fees.expected_minor
('go', 20, 32000)
>>> report([("EUR", group)], seen, fees=fees, rule=PreflightLimits(returned_max=0.02), facts=_FACTS).reasons
('EUR: 3.0 % of the money may be returned; the limit is 2.0 %.',)
>>> report([("EUR", group)], [], fees=None, rule=PreflightLimits(returned_max=0.02), facts=_FACTS).verdict
'unknown'
>>> report([("EUR", group)], seen, fees=None, rule=PreflightLimits(), facts=_FACTS).currencies[0].fees is None     # unknown, never 0
True
>>> exclusion(Standing(bank="COBADEFF"), listed_banks={"COBA*": ActiveEntry("hold", "RETURNS")}, vop_score_min=None)
'blacklisted_bank'
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tether_core import banks, vop
from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest, Unreadable
from tether_core.money import Money
from tether_core.preflight.estimate import Cells, DebtorGroup, ExpectedDebits, Seen, expected
from tether_core.preflight.fees import Fees

__all__ = [
    "CurrencyPreflight",
    "ExcludedDebtors",
    "Exclusion",
    "ExpectedFees",
    "Part",
    "PreflightFacts",
    "PreflightLimits",
    "PreflightReport",
    "Standing",
    "Verdict",
    "decode",
    "encode",
    "exclusion",
    "markdown",
    "report",
]

Verdict: TypeAlias = Literal["go", "no_go", "unknown", "no_rule"]
Dimension: TypeAlias = Literal["history", "country", "price_band", "bank"]
# Verdicts of `tether_core.billing.eligibility`, in the order in which a run checks them.
Exclusion: TypeAlias = Literal["blocked", "held", "blacklisted_bank", "unchecked", "check_failed"]
EXCLUSIONS: Final[tuple[Exclusion, ...]] = get_args(Exclusion)
DIMENSIONS: Final[tuple[Dimension, ...]] = ("history", "country", "price_band", "bank")
# The parts of a dimension with the most money; the others are in the totals only.
PARTS_MAX: Final = 20
_DIGITS: Final = 6


class PreflightLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    When an upload may go.

    Attributes:
        returned_max: The share of its money that may be returned, at the upper end, 0 to 1; `None` for no limit.
        fees_max: The share of the money that it is expected to keep which fees may take, at the upper end; `None` for no limit.
    """

    returned_max: float | None = None
    fees_max: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing or everything fits."""
        for name in ("returned_max", "fees_max"):
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                raise InvalidRequest("give a share above 0 and below 1, such as 0.05 for 5 %", field=name)


class Standing(msgspec.Struct, frozen=True):
    """
    What may exclude the debtors of a group.

    Attributes:
        listed: The strictest active blacklist entry of their accounts.
        bic: As the file has it.
        bank: The first eight characters of the BIC of their bank; `None` where nobody knows it.
        check: Their last check before billing.
    """

    listed: Literal["hold", "block"] | None = None
    bic: str | None = None
    bank: str | None = None
    check: vop.Score | None = None


def exclusion(
    of: Standing, *, listed_banks: Mapping[str, ActiveEntry], vop_score_min: int | None
) -> Exclusion | None:
    """
    Why a run would not bill the debtors of a group, as far as the blacklist and the checks before billing say.

    Args:
        of: The group.
        listed_banks: Active entries about banks, as for `tether_core.banks.find`.
        vop_score_min: The least score of the check before billing that the run demands; `None` where it demands none.

    Returns:
        The first verdict that hits; `None` for debtors who may be billed.
    """
    found: Exclusion | None = None
    if of.listed is not None:
        found = "blocked" if of.listed == "block" else "held"
    elif banks.find(listed_banks, bic=of.bic, bank=of.bank) is not None:
        found = "blacklisted_bank"
    elif vop_score_min is not None and of.check is None:
        found = "unchecked"
    elif (
        vop_score_min is not None
        and of.check is not None
        and not vop.meets(of.check, score_min=vop_score_min)
    ):
        found = "check_failed"
    return found


class PreflightFacts(msgspec.Struct, frozen=True):
    """
    What a report is about.

    Attributes:
        upload_id: The upload.
        sha256: Of its file, in hex: the proof which file it was.
        account: The gateway account whose history and fees count.
        made_at: When.
        made_by: Who ordered it.
        history_from: The first day of the debits that count.
        history_to: The last one.
        vop_score_min: The least score of the check before billing that is demanded; `None` where none is.
    """

    upload_id: int
    sha256: str
    account: str
    made_at: datetime
    made_by: str
    history_from: date
    history_to: date
    vop_score_min: int | None = None


class ExpectedFees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What the gateway account is expected to cost, in whole minor units.

    Attributes:
        expected_minor: Attempts and expected returns.
        low_minor: With the lower end of the returns.
        high_minor: With the upper end.
    """

    expected_minor: int
    low_minor: int
    high_minor: int


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A part of the debtors.

    Attributes:
        dimension: What the debtors are divided by.
        key: The part, e.g. "new", "DE", "1000" for the price band from 10.00, or a bank.
        count: How many debtors.
        amount_minor: Their amounts.
        returned: Debits expected to be returned; `None` where there is no history.
    """

    dimension: Dimension
    key: str
    count: int
    amount_minor: int
    returned: ExpectedDebits | None


class ExcludedDebtors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Debtors whom a run would not bill.

    Attributes:
        verdict: The verdict that the run would give.
        count: How many.
        amount_minor: Their amounts.
    """

    verdict: Exclusion
    count: int
    amount_minor: int


class CurrencyPreflight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What is expected in one currency.

    Attributes:
        currency: ISO 4217.
        count: Debtors that may be billed.
        amount_minor: Their amounts.
        returned: Debits expected to be returned; `None` where there is no history.
        failed: Debits expected to be declined, or to end in an error; likewise.
        kept_minor: The money expected to stay, before fees; `None` where there is no history.
        fees: `None` where the account has no fees in this currency, or there is no history.
        returned_share_high: The share of the money that may be returned, at the upper end; `None` where there is no history.
        fees_share_high: The share of the kept money that fees may take, at the upper end; `None` where that is unknown.
        parts: The parts with the most money of each dimension.
        excluded: Debtors whom a run would not bill, by verdict; in no other number. Not in reports of form 1.
    """

    currency: str
    count: int
    amount_minor: int
    returned: ExpectedDebits | None
    failed: ExpectedDebits | None
    kept_minor: int | None
    fees: ExpectedFees | None
    returned_share_high: float | None
    fees_share_high: float | None
    parts: tuple[Part, ...]
    excluded: tuple[ExcludedDebtors, ...] | msgspec.UnsetType = msgspec.UNSET


class PreflightReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A pre-flight report; it holds no name and no account number of a debtor.

    Attributes:
        form: The version of this form. Reports of form 1 are still read, and written as they were, so that their signatures hold.
        upload_id: The upload.
        sha256: Of its file, in hex.
        account: The gateway account.
        made_at: When it was made.
        made_by: Who ordered it.
        history_from: The first day of the debits that count.
        history_to: The last one.
        history_debits: How many debits count.
        fees: The fees of the account; `None` where they are unknown.
        rule: The limits.
        verdict: "go", "no_go", "unknown", or "no_rule" where no limit is set.
        reasons: Why it is no go, or unknown, as sentences.
        currencies: By currency.
        vop_score_min: The least score of the check before billing that is demanded; `None` where none is. Not in reports of form 1.
    """

    form: Literal[1, 2] = 2
    upload_id: int
    sha256: str
    account: str
    made_at: datetime
    made_by: str
    history_from: date
    history_to: date
    history_debits: int
    fees: Fees | None
    rule: PreflightLimits
    verdict: Verdict
    reasons: tuple[str, ...]
    currencies: tuple[CurrencyPreflight, ...]
    vop_score_min: int | msgspec.UnsetType | None = msgspec.UNSET


_FACTS: Final = PreflightFacts(
    7,
    "ab",
    "default",
    datetime.fromisoformat("2026-03-02T12:00:00+00:00"),
    "ada",
    date(2025, 1, 1),
    date(2026, 1, 5),
)


def report(
    groups: Sequence[tuple[str, DebtorGroup]],
    seen: Sequence[Seen],
    *,
    fees: Fees | None,
    rule: PreflightLimits,
    facts: PreflightFacts,
    excluded: Sequence[tuple[str, ExcludedDebtors]] = (),
) -> PreflightReport:
    """
    Make the report of an upload.

    Args:
        groups: The debtors that may be billed, with their currency.
        seen: The own history.
        fees: Of the account; `None` where they are unknown.
        rule: The limits.
        facts: What the report is about.
        excluded: The debtors whom a run would not bill, with their currency; parts with one verdict are added up.
    """
    cells = Cells(seen)
    by_currency: dict[str, list[DebtorGroup]] = defaultdict(list)
    for currency, group in groups:
        by_currency[currency].append(group)
    out: dict[str, list[ExcludedDebtors]] = defaultdict(list)
    for currency, some in excluded:
        out[currency].append(some)
    currencies = tuple(
        _currency(name, by_currency[name], cells, fees, _added_up(out[name]))
        for name in sorted({*by_currency, *out})
    )
    verdict, reasons = _judged(currencies, rule)
    return PreflightReport(
        upload_id=facts.upload_id,
        sha256=facts.sha256,
        account=facts.account,
        made_at=facts.made_at,
        made_by=facts.made_by,
        history_from=facts.history_from,
        history_to=facts.history_to,
        history_debits=sum(row.count for row in seen),
        fees=fees,
        rule=rule,
        verdict=verdict,
        reasons=reasons,
        currencies=currencies,
        vop_score_min=facts.vop_score_min,
    )


def _added_up(excluded: Sequence[ExcludedDebtors]) -> tuple[ExcludedDebtors, ...]:
    return tuple(
        ExcludedDebtors(verdict, sum(part.count for part in parts), sum(part.amount_minor for part in parts))
        for verdict in EXCLUSIONS
        if (parts := [part for part in excluded if part.verdict == verdict])
    )


def _currency(
    currency: str,
    groups: Sequence[DebtorGroup],
    cells: Cells,
    fees: Fees | None,
    excluded: tuple[ExcludedDebtors, ...],
) -> CurrencyPreflight:
    count, amount_minor = sum(group.count for group in groups), sum(group.amount_minor for group in groups)
    returned = expected(groups, cells, outcome="returned")
    failed = expected(groups, cells, outcome="failed")
    kept_minor = None
    if returned is not None and failed is not None:
        kept_minor = max(0, amount_minor - returned.amount_minor - failed.amount_minor)
    costs = None
    if fees is not None and fees.currency == currency and returned is not None:
        attempts = count * fees.attempt_minor
        costs = ExpectedFees(
            *(
                attempts + back * fees.return_minor
                for back in (returned.count, returned.low_count, returned.high_count)
            )
        )
    return CurrencyPreflight(
        currency,
        count,
        amount_minor,
        returned,
        failed,
        kept_minor,
        costs,
        None if returned is None or not amount_minor else round(returned.high_minor / amount_minor, _DIGITS),
        None if costs is None or not kept_minor else round(costs.high_minor / kept_minor, _DIGITS),
        tuple(part for dimension in DIMENSIONS for part in _parts(groups, cells, dimension)),
        excluded,
    )


def _parts(groups: Sequence[DebtorGroup], cells: Cells, dimension: Dimension) -> list[Part]:
    found: dict[str, list[DebtorGroup]] = defaultdict(list)
    for group in groups:
        found[str(getattr(group, dimension))].append(group)
    parts = [
        Part(
            dimension,
            key,
            sum(group.count for group in some),
            sum(group.amount_minor for group in some),
            expected(some, cells, outcome="returned"),
        )
        for key, some in found.items()
    ]
    return sorted(parts, key=lambda part: (-part.amount_minor, part.key))[:PARTS_MAX]


def _judged(
    currencies: Sequence[CurrencyPreflight], rule: PreflightLimits
) -> tuple[Verdict, tuple[str, ...]]:
    if rule.returned_max is None and rule.fees_max is None:
        return "no_rule", (
            "No limit is set: TETHER_PREFLIGHT_RETURNED_MAX and TETHER_PREFLIGHT_FEES_MAX are empty.",
        )
    billed = [found for found in currencies if found.count]
    if not billed:
        return "unknown", ("No debtor of the upload may be billed.",)
    over, unknown = list[str](), list[str]()
    for found in billed:
        for limit, share, above, missing in (
            (
                rule.returned_max,
                found.returned_share_high,
                "of the money may be returned",
                "no earlier debit says how many are returned",
            ),
            (
                rule.fees_max,
                found.fees_share_high,
                "of the kept money may be taken by fees",
                "the fees are unknown; set TETHER_FEES for the account, and see that it has a history",
            ),
        ):
            if limit is None:
                continue
            if share is None:
                unknown.append(f"{found.currency}: {missing}.")
            elif share > limit:
                over.append(f"{found.currency}: {_percent(share)} {above}; the limit is {_percent(limit)}.")
    if over:
        return "no_go", tuple(over + unknown)
    return ("unknown", tuple(unknown)) if unknown else ("go", ())


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def encode(made: PreflightReport) -> bytes:
    """A report as the bytes that are signed: the same for the same report, by anybody who wrote the JSON anew."""
    return msgspec.json.encode(made, order="sorted")


def decode(data: bytes) -> PreflightReport:
    """
    Read a report.

    Args:
        data: JSON of a report, with any blanks and in any order of fields.

    Raises:
        Unreadable: when it is none, or has fields that no report has.
    """
    try:
        return msgspec.json.decode(data, type=PreflightReport)
    except (msgspec.DecodeError, InvalidRequest, UnicodeDecodeError, RecursionError) as exc:
        raise Unreadable("pre-flight report", why=str(exc)) from exc


_VERDICTS: Final[dict[Verdict, str]] = {
    "go": "Go",
    "no_go": "No go",
    "unknown": "Unknown: a person decides",
    "no_rule": "No verdict: no limit is set",
}
_TITLES: Final[dict[Dimension, str]] = {
    "history": "History of the account",
    "country": "Country",
    "price_band": "Price band from",
    "bank": "Bank",
}
_EXCLUDED: Final[dict[Exclusion, str]] = {
    "blocked": "the account is blocked",
    "held": "the account is on hold",
    "blacklisted_bank": "the bank is on the blacklist",
    "unchecked": "the account is not checked",
    "check_failed": "the check before billing failed",
}
_UNKNOWN: Final = "unknown"


def markdown(made: PreflightReport) -> str:
    """
    A report as a page for people.

    Args:
        made: The report.

    Returns:
        Markdown. It is not signed: the JSON is.
    """
    lines = [
        f"# Pre-flight of upload {made.upload_id}",
        "",
        f"**{_VERDICTS[made.verdict]}.** {' '.join(made.reasons)}".rstrip(),
        "",
        f"- Gateway account: {made.account}",
        f"- File: SHA-256 {made.sha256}",
        f"- Made by {made.made_by} at {made.made_at:%Y-%m-%d %H:%M} UTC",
        f"- From {made.history_debits:,} debits of {made.history_from} to {made.history_to}; intervals are 95 %",
        f"- Fees: {_fees_text(made.fees)}",
    ]
    if isinstance(made.vop_score_min, int):
        lines.append(f"- Demanded score of the check before billing: {made.vop_score_min} of 100")
    for found in made.currencies:
        lines += [
            "",
            f"## {found.currency}",
            "",
            "| | debits | money |",
            "|---|---|---|",
            f"| may be billed | {found.count:,} | {_money(found.amount_minor, found.currency)} |",
            f"| expected to be declined or to fail | {_row(found.failed, found.currency)} |",
            f"| expected to be returned | {_row(found.returned, found.currency)} |",
            f"| expected to be kept, before fees | | {_optional(found.kept_minor, found.currency)} |",
            f"| expected fees | | {_costs(found.fees, found.currency)} |",
            *(
                f"| excluded: {_EXCLUDED[part.verdict]} | {part.count:,} | {_money(part.amount_minor, found.currency)} |"
                for part in (() if isinstance(found.excluded, msgspec.UnsetType) else found.excluded)
            ),
            "",
            "| part | debits | money | expected returns | money returned |",
            "|---|---|---|---|---|",
            *(
                f"| {_TITLES[part.dimension]}: {_key(part, found.currency)} | {part.count:,} | "
                f"{_money(part.amount_minor, found.currency)} | {_row(part.returned, found.currency)} |"
                for part in found.parts
            ),
        ]
    return "\n".join(lines) + "\n"


def _key(part: Part, currency: str) -> str:
    if part.dimension == "price_band":
        return _money(int(part.key), currency)
    return part.key or "not known"


def _money(amount_minor: int, currency: str) -> str:
    return f"{Money(amount_minor, currency).decimal:,}"


def _optional(amount_minor: int | None, currency: str) -> str:
    return _UNKNOWN if amount_minor is None else _money(amount_minor, currency)


def _row(found: ExpectedDebits | None, currency: str) -> str:
    if found is None:
        return f"{_UNKNOWN} | {_UNKNOWN}"
    return (
        f"{found.count:,} ({found.low_count:,} to {found.high_count:,}) | "
        f"{_money(found.amount_minor, currency)} ({_money(found.low_minor, currency)} to {_money(found.high_minor, currency)})"
    )


def _costs(found: ExpectedFees | None, currency: str) -> str:
    if found is None:
        return _UNKNOWN
    return (
        f"{_money(found.expected_minor, currency)} "
        f"({_money(found.low_minor, currency)} to {_money(found.high_minor, currency)})"
    )


def _fees_text(fees: Fees | None) -> str:
    if fees is None:
        return f"{_UNKNOWN}; set TETHER_FEES"
    attempt, back = (_money(amount, fees.currency) for amount in (fees.attempt_minor, fees.return_minor))
    return f"{attempt} {fees.currency} an attempt, {back} {fees.currency} a return"
