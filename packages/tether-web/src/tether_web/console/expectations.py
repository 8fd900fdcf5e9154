"""Pre-flight reports and totals of an upload by the API, as the templates write them."""

from collections.abc import Mapping
from typing import Any, Final

from tether_web.console import formats

__all__ = ["added_up", "expected"]

_VERDICTS: Final = {"go": "good", "no_go": "bad", "unknown": "waiting"}
_EXCLUDED: Final = {
    "blocked": "the account is blocked",
    "held": "the account is on hold",
    "blacklisted_bank": "the bank is on the blacklist",
    "unchecked": "the account is not checked",
    "check_failed": "the check before billing failed",
}


def expected(report: Mapping[str, Any]) -> dict[str, Any]:
    """A pre-flight report of the API, as the templates write it."""
    return {
        **report,
        "badge": report["verdict"].replace("_", " "),
        "tone": _VERDICTS.get(report["verdict"], "plain"),
        "rows": [_expected(found) for found in report["currencies"]],
        "excluded": [
            f"{part['count']:,} debtors owing {formats.money(part['amount_minor'], found['currency'])}: "
            f"{_EXCLUDED.get(part['verdict'], part['verdict'])}"
            for found in report["currencies"]
            for part in found.get("excluded", ())
        ],
    }


def _expected(found: Mapping[str, Any]) -> dict[str, str]:
    currency = found["currency"]

    def ends(some: Mapping[str, Any] | None, middle: str) -> str:
        if some is None:
            return "unknown"
        low, most, high = (
            formats.money(some[name], currency) for name in ("low_minor", middle, "high_minor")
        )
        return f"{most}, between {low} and {high}"

    returned = found["returned"]
    return {
        "currency": currency,
        "count": f"{found['count']:,}",
        "amount": formats.money(found["amount_minor"], currency),
        "returned_count": "unknown"
        if returned is None
        else f"{returned['count']:,}, between {returned['low_count']:,} and {returned['high_count']:,}",
        "returned": ends(returned, "amount_minor"),
        "fees": ends(found["fees"], "expected_minor"),
        "kept": "unknown" if found["kept_minor"] is None else formats.money(found["kept_minor"], currency),
    }


def added_up(totals: Mapping[str, Any]) -> dict[str, Any]:
    """The totals of an upload over all runs."""
    return {
        "owed": [
            {
                **row,
                "owed": formats.money(row["owed_minor"], row["currency"]),
                "left": formats.money(row["unbilled_minor"], row["currency"]),
            }
            for row in totals["owed"]
        ],
        "debits": [
            {
                **row,
                "title": row["state"],
                "tone": formats.tone(row["state"]),
                "amount": formats.money(row["amount_minor"], row["currency"]),
            }
            for row in totals["debits"]
        ],
    }
