"""Blacklist entries."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "BlacklistRoutes",
    "ImportProblem",
    "Imported",
    "Lifted",
    "ListedEntry",
]


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry in lists.

    Attributes:
        id: Our row.
        iban_masked: The IBAN it is about.
        name: The name it is about.
        email: The e-mail address it is about.
        bic: The banks it is about: a BIC, or the beginning of BICs with a star.
        action: "hold": until a person lifts it; "block": the same, and lifting requires a reason.
        scope: "iban", "mandate", "name", "email" or "bank".
        reason_code: Why it was made.
        note: Further explanation.
        source: "chargeback", "manual", "import", or "automatic" for the return rate of a bank.
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
        policy_version: The version of the return policy that decided; `None` where a person did.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    bic: str | None
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
    policy_version: int | None = None


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


class ImportProblem(msgspec.Struct, frozen=True):
    """
    A line of an import that was not, or not completely, imported.

    Attributes:
        row: The line number; the header is 1.
        column: The column with the problem.
        code: A stable code.
        excerpt: The cell, masked.
        note: What is wrong and what to do.
    """

    row: int
    column: str
    code: str
    excerpt: str
    note: str


class Imported(msgspec.Struct, frozen=True):
    """
    The result of an import.

    Attributes:
        rows: Lines below the header.
        added: New entries; a line with an IBAN, a name and an address makes three.
        existing: Entries that existed already.
        lifted: Entries that were not added because a person had lifted the same entry; they are among the problems.
        problems: The first hundred lines with problems.
        problem_count: Number of lines with problems.
    """

    rows: int
    added: int
    existing: int
    lifted: int
    problems: list[ImportProblem]
    problem_count: int


class BlacklistRoutes(Connection):
    """Routes of the blacklist."""

    def blacklist(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedEntry]:
        """
        Blacklist entries, newest first.

        Args:
            filters: Any of which ("live", "ended", "all"), action, source, reason, name, email, bic.
        """
        return self._get("/api/blacklist", Page[ListedEntry], **{**filters, "cursor": cursor, "limit": limit})

    def add_to_blacklist(self, entry: Mapping[str, Any]) -> ListedEntry:
        """
        Add an entry; an equal one that exists is returned.

        Args:
            entry: One of iban, name, email, bic; and any of action ("hold", "block"), reason, note, expires_at.
        """
        return self._post("/api/blacklist", entry, ListedEntry)

    def lift_from_blacklist(self, entry_id: int, *, reason: str, forgives: str | None = None) -> Lifted:
        """
        Lift an entry.

        Args:
            reason: Why; a block needs one.
            forgives: "entry", "disputes" (the default) or "account".
        """
        query = {"reason": reason} if forgives is None else {"reason": reason, "forgives": forgives}
        return self._delete(f"/api/blacklist/{entry_id}", Lifted, **query)

    def import_blacklist(self, content: bytes, *, relist: bool = False) -> Imported:
        """
        Add entries from CSV, one for each IBAN, name, address and BIC of a line.

        Args:
            content: UTF-8, with a header.
            relist: Also add entries that a person has lifted; otherwise they stay lifted.
        """
        headers = {"Content-Type": "text/csv"}
        query = {"relist": "true"} if relist else {}
        return self._post(
            "/api/blacklist/import", None, Imported, content=content, headers=headers, params=query
        )

    def export_blacklist(self) -> Iterator[bytes]:
        """All active entries as CSV, in pieces as they come; fingerprints in place of account numbers."""
        return self._pieces("/api/blacklist/export")
