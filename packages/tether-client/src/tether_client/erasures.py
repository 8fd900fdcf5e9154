"""Dossiers, and erasures of the personal data of debtors."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from tether_client.connection import Connection

__all__ = [
    "ErasureAmount",
    "ErasureKept",
    "ErasureObstacle",
    "ErasureOrder",
    "ErasurePreview",
    "ErasureRelated",
    "ErasureResponse",
    "ErasureRoutes",
]


class ErasureAmount(msgspec.Struct, frozen=True):
    """
    How much there is to erase.

    Attributes:
        what: "debtors", "edits", "checks", "mandates", "pre_notifications", "notifications", "archived_notifications" or "files".
        count: How many rows or files.
    """

    what: str
    count: int


class ErasureKept(msgspec.Struct, frozen=True):
    """
    What an erasure leaves.

    Attributes:
        what: It, in a few words.
        why: The reason, as a sentence.
    """

    what: str
    why: str


class ErasureObstacle(msgspec.Struct, frozen=True):
    """
    Why nothing may be erased, or not yet.

    Attributes:
        code: A stable word.
        text: What is in the way, and what to do, as a sentence.
        until: The first day on which it is no obstacle any more; `None` where somebody must do something.
    """

    code: str
    text: str
    until: date | None = None


class ErasureRelated(msgspec.Struct, frozen=True):
    """
    A debtor that is not included, because it may be another person.

    Attributes:
        debtor_id: The debtor.
        why: "same_account" under another name, or "same_name" with another account.
    """

    debtor_id: int
    why: str


class ErasureOrder(msgspec.Struct, frozen=True):
    """
    An order to erase the personal data of a person.

    Attributes:
        id: Its row.
        debtor_ids: The debtors.
        reason: Why.
        ordered_by: By whom.
        accepts_reversible: Whether it was accepted that money may be reclaimed, and the evidence for it is gone.
        created_at: When it was ordered.
        erased_at: When the rows were erased; `None` before.
        finished_at: When files and archives were erased, too; `None` before.
        refused_at: When it was refused, because something came in the way after it was ordered; else `None`.
        refused_reason: What; else `None`.
    """

    id: int
    debtor_ids: list[int]
    reason: str
    ordered_by: str
    accepts_reversible: bool
    created_at: datetime
    erased_at: datetime | None
    finished_at: datetime | None
    refused_at: datetime | None
    refused_reason: str | None


class ErasurePreview(msgspec.Struct, frozen=True):
    """
    What an erasure would do.

    Attributes:
        debtor_ids: The debtors whose data would be erased.
        related: Debtors that may be the same person, and are left alone.
        amounts: How much there is to erase.
        kept: What stays, and why.
        obstacles: What is in the way.
        possible_from: The first day on which only time was in the way; `None` where somebody must do something first.
        acceptable: Whether it can be ordered now with `accept_reversible`.
        order: The last order for this debtor.
    """

    debtor_ids: list[int]
    related: list[ErasureRelated]
    amounts: list[ErasureAmount]
    kept: list[ErasureKept]
    obstacles: list[ErasureObstacle]
    possible_from: date | None
    acceptable: bool
    order: ErasureOrder | None


class ErasureResponse(msgspec.Struct, frozen=True):
    """
    An order to erase.

    Attributes:
        status: "ordered", "erasing", "finished" or "refused".
        order: The order.
    """

    status: str
    order: ErasureOrder


class ErasureRoutes(Connection):
    """Routes of dossiers and erasures."""

    def export_debtor(self, debtor_id: int, *, reason: str) -> bytes:
        """Everything that is stored about the person of a debtor, as a ZIP file with account numbers in clear."""
        return self._file(f"/api/debtors/{debtor_id}/dossier", {"reason": reason})

    def preview_erasure(self, debtor_id: int) -> ErasurePreview:
        """What erasing the person of a debtor would do, what stays, and what is in the way."""
        return self._get(f"/api/debtors/{debtor_id}/erasure", ErasurePreview)

    def erase_debtor(
        self, debtor_id: int, *, debtor_ids: Sequence[int], reason: str, accept_reversible: bool = False
    ) -> ErasureResponse:
        """
        Order the erasure of a person; it cannot be undone.

        Args:
            debtor_ids: The debtors of the preview.
            accept_reversible: Whether to accept that money may be reclaimed, and the evidence for it is gone.
        """
        body = {"debtor_ids": list(debtor_ids), "reason": reason, "accept_reversible": accept_reversible}
        return self._post(f"/api/debtors/{debtor_id}/erasure", body, ErasureResponse)
