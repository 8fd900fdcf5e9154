"""One payment from its row to its money: what its state means, why it came back, and what happened when."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tether_core.blacklist import REASONS

from tether_web.console import formats

__all__ = ["meaning", "returned", "timeline"]

_MEANINGS: Final = {
    "pending": "It was or will be submitted, and waits for the result of the gateway and the banks.",
    "unknown": "No usable answer came. Status inquiries find out; it is never submitted again before its outcome is known.",
    "approved": "It was collected. It may still come back, see below until when.",
    "declined": "The gateway or the bank declined it. No money moved.",
    "error": "The gateway refused the request. No money moved.",
    "voided": "It was cancelled before it went to the banks. No money moved.",
    "refunded": "It was collected, and the money was given back on order.",
    "chargebacked": "It was collected, and the debtor's bank took the money back.",
}
# Actions whose rows are in the timeline themselves.
_SHOWN_OTHERWISE: Final = frozenset({"refund.ordered", "void.ordered"})
_BLOCKED: Final = {
    "block": "Its account is on the blacklist: it is not debited again until a person lifts the entry.",
    "hold": "Its account is on hold: it is not debited again until a person lifts the entry.",
    "none": "Its account is not blocked by this.",
}


def meaning(attempt: Mapping[str, Any]) -> str:
    """
    What the state of a payment means, as a sentence.

    >>> meaning({"status": "approved", "reason_code": "MD06", "not_submitted_reason": None})
    'It was collected and charged back, and the chargeback was reversed: the money is here again.'
    """
    if attempt["not_submitted_reason"]:
        return f"It was not submitted: {attempt['not_submitted_reason'].replace('_', ' ')}. No money moved."
    if attempt["status"] == "pending" and not attempt["submission_count"]:
        return "It was not submitted yet."
    if attempt["status"] == "approved" and attempt["reason_code"]:
        return "It was collected and charged back, and the chargeback was reversed: the money is here again."
    return _MEANINGS.get(attempt["status"], "")


def returned(attempt: Mapping[str, Any]) -> dict[str, str] | None:
    """
    Why a payment came back, and what that means for the account.

    Returns:
        Code, meaning and consequence; `None` for one without a reason code.
    """
    code = attempt["reason_code"]
    if not code:
        return None
    policy = REASONS.get(code)
    if policy is None:
        return {"code": code, "text": "This code is not known; ask the gateway.", "then": ""}
    if attempt["status"] == "approved":
        # An entry that the chargeback made may have been lifted since, or not.
        then = "The chargeback was reversed; whether an entry of the blacklist is left is on the page of the debtor."
        return {"code": code, "text": policy.meaning, "then": then}
    return {"code": code, "text": policy.meaning, "then": _BLOCKED[policy.action]}


def timeline(
    attempt: Mapping[str, Any],
    *,
    heard: Sequence[Mapping[str, Any]],
    refunds: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    actions: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """
    What happened to a payment, oldest first.

    Args:
        attempt: The payment.
        heard: Its notifications.
        refunds: Its refunds and voids.
        differences: What the books say differently about it.
        actions: What people did with it, from the audit.
    """
    lines = [
        *_of_attempt(attempt),
        *(_of_notification(item) for item in heard),
        *_of_refunds(refunds, actions),
        *(_of_difference(item) for item in differences),
        *(_of_action(item) for item in actions if item["action"] not in _SHOWN_OTHERWISE),
    ]
    return sorted(lines, key=lambda line: line["at"])


def _line(at: str, text: str, href: str = "", tone: str = "plain") -> dict[str, Any]:
    return {"at": at, "text": text, "href": href, "tone": tone}


def _of_attempt(attempt: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    run = f" by billing run {attempt['run_id']}" if attempt["run_id"] else ""
    owed = f" for {attempt['due_item']}" if attempt["due_item"] else ""
    href = f"/runs/{attempt['run_id']}" if attempt["run_id"] else ""
    yield _line(attempt["created_at"], f"Made{run}{owed}", href)


def _of_notification(item: Mapping[str, Any]) -> dict[str, Any]:
    by = "A report of the gateway has it as" if item["source"] == "report" else "The gateway reported"
    what = f"{item['event']} ({item['status']})" if item["event"] else item["status"]
    confirmed = f"; an inquiry confirmed {item['confirmed_status']}" if item["confirmed_status"] else ""
    found = f": {item['outcome'].replace('_', ' ')}" if item["outcome"] else f": {item['state']}"
    return _line(
        item["received_at"],
        f"{by} {what.replace('_', ' ')}{found}{confirmed}",
        f"/notifications/{item['id']}",
        formats.tone(item["status"]),
    )


def _of_refunds(
    refunds: Sequence[Mapping[str, Any]], actions: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    reasons = {(item["after"] or {}).get("refund_id"): item["reason"] for item in actions}
    for item in refunds:
        why = f": {reasons[item['id']]}" if reasons.get(item["id"]) else ""
        amount = formats.money(item["amount_minor"], item["currency"])
        kind = item["kind"].capitalize()
        yield _line(
            item["created_at"], f"{kind} of {amount} ordered by {item['ordered_by']}{why}", "/refunds"
        )
        if item["updated_at"] != item["created_at"]:
            yield _line(
                item["updated_at"], f"{kind}: {item['status']}", "/refunds", formats.tone(item["status"])
            )


def _of_difference(item: Mapping[str, Any]) -> dict[str, Any]:
    return _line(item["first_seen_at"], item["text"], f"/differences/{item['id']}", "bad")


def _of_action(item: Mapping[str, Any]) -> dict[str, Any]:
    why = f": {item['reason']}" if item["reason"] else ""
    return _line(item["acted_at"], f"{formats.title(item['action'])} by {item['actor']}{why}", "", "waiting")
