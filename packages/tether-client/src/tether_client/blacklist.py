"""Blacklist entries."""

from datetime import datetime

import msgspec

__all__ = ["Lifted", "ListedEntry"]


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry in lists.

    Attributes:
        id: Our row.
        iban_masked: The IBAN it is about.
        name: The name it is about.
        email: The e-mail address it is about.
        action: "hold": until a person lifts it; "block": the same, and lifting requires a reason.
        scope: "iban", "mandate", "name" or "email".
        reason_code: Why it was made.
        note: Further explanation.
        source: "chargeback", "manual" or "import".
        added_by: The name of an API key, or "tether".
        webhook_event_id: The notification that caused it.
        attempt_id: The debit that caused it.
        created_at: When it was made.
        expires_at: When it expires, or `None`.
        lifted_at: When it was lifted, or `None`.
        lifted_by: Who lifted it.
        lifted_reason: Why it was lifted.
        iban_fingerprint: The fingerprint of the IBAN, in hex.
        forgives: What lifting it forgives: "entry" nothing, "disputes" the disputes it was made for,
            "account" all chargebacks of the account until then; `None` while it is active.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    action: str
    scope: str
    reason_code: str
    note: str
    source: str
    added_by: str
    webhook_event_id: int | None
    attempt_id: int | None
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_reason: str | None
    iban_fingerprint: str | None
    forgives: str | None


class Lifted(ListedEntry, frozen=True, kw_only=True):
    """
    A lifted entry, and the consequences for the account.

    Attributes:
        forgiven: Chargebacks of the account that this lift forgives.
        unforgiven: Chargebacks of the account that still exclude it from new uploads and runs.
        still_held_by: Other active entries about the account.
        explanation: The consequences as sentences.
    """

    forgiven: int
    unforgiven: int
    still_held_by: list[int]
    explanation: str
