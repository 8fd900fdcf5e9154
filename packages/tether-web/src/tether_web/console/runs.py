"""One billing run: with which options it was ordered, and what the gateway refused of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.billing.run_options import RunOptions

from tether_web.console import formats

__all__ = ["options", "refusals"]

_TITLES: Final = {
    "due_item": "Due item",
    "usage": "Text on the bank statement",
    "merchant_name": "Creditor's name on the bank statement",
    "count_max": "At most this many debits",
    "amount_max_minor": "At most this much money",
    "canary_share": "Canaries, which go out first",
    "debit_min_minor": "Least debit",
    "debit_max_minor": "Largest debit",
    "lifetime_max_minor": "At most from one account, ever",
    "tries_max": "Tries for one due item",
    "recent_days": "Days after a try for another upload",
    "vop_score_min": "Least score of the name check",
    "notice_days": "Days of notice",
    "after_chargeback": "Accounts that charged a debit back before",
    "remote_ip": "Address from which the debtors agreed",
}
_DEFAULTS: Final = msgspec.to_builtins(RunOptions())


def options(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    The options of a run that a person chose, as label and value: the due item, and what differs from an order without options.

    >>> [(fact["title"], fact["cell"]["text"]) for fact in options({"due_item": "2026-12", "canary_share": 0.05, "tries_max": 3})]
    [('Due item', '2026-12'), ('Canaries, which go out first', '5 %')]
    """
    return [
        {"title": title, "cell": {"kind": "text", "text": _text(name, given[name])}}
        for name, title in _TITLES.items()
        if name in given and (name == "due_item" or given[name] != _DEFAULTS[name])
    ]


def _text(name: str, value: Any) -> str:
    if name == "canary_share":
        return f"{100 * value:g} %"
    if name.endswith("_minor"):
        return formats.money(value, "EUR")
    return "yes" if value is True else str(value)


def refusals(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the gateway refused of a run, for the templates."""
    answered, refused = found["answered"], found["refused"]
    text = f"The gateway refused {refused:,} of {answered:,} debits that it answered." if answered else ""
    return {
        "text": text,
        "can_release": refused > 0 and _is_later(found["refused_at"], found["released_at"]),
        "released": found["released_at"]
        and f"Released by {found['released_by']}: {found['released_reason']}. Only later refusals count.",
    }


def _is_later(refused_at: str | None, released_at: str | None) -> bool:
    if refused_at is None or released_at is None:
        return True
    return datetime.fromisoformat(refused_at) > datetime.fromisoformat(released_at)
