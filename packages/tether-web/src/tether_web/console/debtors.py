"""One debtor: what the blacklist, name checks, notifications and people say about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tether_web.console.listings import Column, Listing

__all__ = ["ACTIONS", "ENTRIES", "action_row", "check_text", "entry_row"]

ENTRIES: Final = Listing(
    "/blacklist",
    "/api/blacklist",
    "Blacklist",
    "",
    (
        Column("id", "Entry", "link"),
        Column("state", "State", "state"),
        Column("action", "Action"),
        Column("scope", "About"),
        Column("reason_code", "Reason"),
        Column("source", "Source"),
        Column("attempt_id", "Payment", "link", "/payments"),
        Column("added_by", "By"),
        Column("created_at", "Added", "time"),
        Column("lifted_at", "Lifted", "time"),
    ),
    empty="Nothing on the blacklist is about this debtor.",
)
# Its links lead to pages of several kinds, so it has no page of its own.
ACTIONS: Final = Listing(
    "",
    "/api/audit",
    "What people did",
    "",
    (
        Column("acted_at", "When", "time"),
        Column("actor", "Who"),
        Column("action", "Action"),
        Column("about", "About"),
        Column("page", "Open", "link", "", "Open"),
        Column("reason", "Reason"),
        Column("change", "Change"),
    ),
    empty="Nobody did anything with it.",
)
# Kind of thing, as the audit names it -> the path of its page, without the first sign.
_PAGES: Final = {
    "attempt": "payments",
    "blacklist_entry": "blacklist",
    "difference": "differences",
    "mandate": "mandates",
    "notification": "notifications",
    "schedule": "schedules",
}
_ABOUT: Final = {"attempt": "payment", "blacklist_entry": "entry of the blacklist"}
_RESULTS: Final = {
    "verified": "The account and its holder were verified.",
    "likely_verified": "The account is likely right; not everything was answered.",
    "inconclusive": "What was answered does not decide.",
    "mismatch": "The name does not fit the account, or too little does.",
    "rejected": "The account cannot be right.",
}
_NAMES: Final = {
    "yes": "The name fits.",
    "close": "The name nearly fits.",
    "no": "The name does not fit.",
    "unanswered": "Nobody could say whether the name fits.",
}


def action_row(action: Mapping[str, Any]) -> dict[str, Any]:
    """An action for the table: what it was about in words, and its page where it has one."""
    subject, subject_id = action["subject"], action["subject_id"]
    about = f"{_ABOUT.get(subject, subject.replace('_', ' '))} {subject_id or ''}".strip()
    page = f"{_PAGES[subject]}/{subject_id}" if subject in _PAGES and subject_id else None
    return {**action, "about": about, "page": page}


def check_text(check: Mapping[str, Any] | None) -> str:
    """
    What the check of a debtor's account says, as sentences.

    >>> check_text(None)
    'No check was requested.'
    >>> check_text({"state": "checked", "result": "mismatch", "name": "no", "score": 85})
    'The name does not fit the account, or too little does. The name does not fit. Score 85.'
    """
    if check is None:
        return "No check was requested."
    if check["state"] == "waiting":
        return "It waits for its check."
    if check["state"] == "parked":
        return "The provider did not answer for a day; order the check again."
    name = f"{_NAMES[check['name']]} " if check["name"] in _NAMES else ""
    return f"{_RESULTS.get(check['result'], '')} {name}Score {check['score']}."


def entry_row(entry: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """
    An entry of the blacklist with its state: active, lifted or expired.

    >>> entry_row({"lifted_at": None, "expires_at": "2026-03-02T00:00:00Z"}, now=datetime.fromisoformat("2026-03-02T00:00:00Z"))["state"]
    'expired'
    """
    if entry["lifted_at"]:
        state = "lifted"
    elif entry["expires_at"] and datetime.fromisoformat(entry["expires_at"]) <= now:
        state = "expired"
    else:
        state = "active"
    return {**entry, "state": state}
