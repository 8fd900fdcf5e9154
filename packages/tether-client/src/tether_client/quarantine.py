"""Notifications whose signature no password verified, and the passwords themselves."""

from datetime import date, datetime

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "PasswordUse",
    "QuarantineRoutes",
    "QuarantineStatus",
    "QuarantinedNotification",
    "QuotaCount",
    "Reverified",
    "ReverifyPreview",
    "VerifiedCount",
]


class QuarantinedNotification(msgspec.Struct, frozen=True, kw_only=True):
    """
    A refused notification in lists. Nothing that it says is verified.

    Attributes:
        id: Our row.
        account: The account whose terminal it names; "" for none.
        notification_id: The id that its signature is about.
        report_class: What it reports, such as "payment 60" or "dispute 1"; "unknown" for a status that no table
            knows.
        attempt_id: The known debit that it names, or null.
        size_bytes: Of its body.
        sender: The address of its first sender, or null.
        deliveries: How often it came.
        received_at: When it first came.
        last_received_at: When it last came.
        relay_id: The relay by which it came, or null.
    """

    id: int
    account: str
    notification_id: str
    report_class: str
    attempt_id: int | None
    size_bytes: int
    sender: str | None
    deliveries: int
    received_at: datetime
    last_received_at: datetime
    relay_id: int | None = None


class QuotaCount(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the quarantine holds of one account and kind.

    Attributes:
        account: The account whose terminal the notifications name; "" for none.
        is_known: Whether they name a known debit.
        rows: How many.
        size_bytes: Of their bodies.
        oldest_at: When the oldest came.
    """

    account: str
    is_known: bool
    rows: int
    size_bytes: int
    oldest_at: datetime


class QuarantineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the quarantine holds, and its bounds.

    Attributes:
        is_kept: Whether refused notifications are kept: not without `TETHER_SECRETS_KEY`.
        days: For how long a notification is kept.
        rows_max: How many are kept of one account that name a known debit, and how many of all others.
        bytes_max: Bytes that their bodies may have, counted in the same way.
        quotas: What is used of each quota, by account and kind.
    """

    is_kept: bool
    days: int
    rows_max: int
    bytes_max: int
    quotas: list[QuotaCount]


class VerifiedCount(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many notifications one password verifies.

    Attributes:
        account: The gateway account.
        place: "password 1", "password 2" or "login".
        tag: Of the password: eight hex digits that distinguish it from others of the account.
        count: How many.
    """

    account: str
    place: str
    tag: str
    count: int


class ReverifyPreview(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a reverification would take in; nothing was changed.

    Attributes:
        checked: How many notifications were examined.
        genuine: Of these, how many verify now.
        by_password: The same by password.
        invalid: How many no configured password verifies; they stay until they expire.
        unopenable: How many no key of `TETHER_SECRETS_KEY` opens; they stay likewise.
        explanation: What follows, as sentences.
    """

    checked: int
    genuine: int
    by_password: list[VerifiedCount]
    invalid: int
    unopenable: int
    explanation: str


class Reverified(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a reverification took in.

    Attributes:
        genuine: How many verified and left the quarantine.
        by_password: The same by password.
        recorded: Of these, how many are new in the inbox.
        repeated: How many had come once more in between.
        conflicting: How many have another content than the stored notification; they are kept for a person.
        counted: How many are only counted, beyond what is kept of one payment.
        invalid: How many no configured password verifies; they stay until they expire.
        unopenable: How many no key of `TETHER_SECRETS_KEY` opens; they stay likewise.
        is_finished: Whether all were examined; if not, order again.
        explanation: What follows, as sentences.
    """

    genuine: int
    by_password: list[VerifiedCount]
    recorded: int
    repeated: int
    conflicting: int
    counted: int
    invalid: int
    unopenable: int
    is_finished: bool
    explanation: str


class PasswordUse(msgspec.Struct, frozen=True, kw_only=True):
    """
    A password, and what it verified in some days.

    Attributes:
        account: The gateway account.
        tag: Of the password: eight hex digits that distinguish it from others of the account.
        place: "password 1" is the one for calls, further ones verify only, "login" signs identity checks; "" when it is
            not configured on this node.
        verified: All notifications that it verified.
        reverified: Of these, notifications of the quarantine.
        last_on: The latest day on which it verified one, or null.
        advice: What follows, as a sentence.
    """

    account: str
    tag: str
    place: str
    verified: int
    reverified: int
    last_on: date | None
    advice: str


class QuarantineRoutes(Connection):
    """Routes of refused notifications and of passwords."""

    def quarantine(self, *, cursor: str | None = None, limit: int = 50) -> Page[QuarantinedNotification]:
        """Notifications whose signature no password verified, newest first."""
        return self._get("/api/quarantine", Page[QuarantinedNotification], cursor=cursor, limit=limit)

    def quarantine_status(self) -> QuarantineStatus:
        """How many refused notifications are kept, and the bounds."""
        return self._get("/api/quarantine/status", QuarantineStatus)

    def preview_reverify(self) -> ReverifyPreview:
        """How many refused notifications verify now, and under which password; nothing is changed."""
        return self._get("/api/quarantine/preview", ReverifyPreview)

    def reverify(self, *, reason: str, limit: int = 500) -> Reverified:
        """
        Take in the refused notifications that verify now, in the order of their receipt.

        Args:
            reason: Why; stored in the audit.
            limit: How many at most, up to 5,000.
        """
        return self._post("/api/quarantine/reverify", {"reason": reason, "limit": limit}, Reverified)

    def passwords(self, *, days: int = 30) -> list[PasswordUse]:
        """Which password verified how many notifications in the last days, up to 90."""
        return self._get("/api/quarantine/passwords", list[PasswordUse], days=days)
