"""Uploads as lines of a file: one for each upload, with its counts as columns."""

from datetime import datetime

import msgspec
from tether_core.uploads.upload import UploadState
from tether_stores.uploads.uploads import Upload

__all__ = ["UploadLine", "line_of"]


class UploadLine(msgspec.Struct, frozen=True):
    """
    An upload in a file or a count.

    Attributes:
        id: Its number.
        filename: What the sender called it.
        state: Of its life cycle.
        dry_run: Whether no debtors are stored.
        rows: Rows below the header.
        stored: Rows that became debtors.
        excluded: Rows that screening excluded.
        refused: Rows with an error.
        amount_minor: What all stored debtors owe, in cents.
        size_bytes: Its size.
        added_by: Whose API key it came with.
        created_at: When it came.
        finished_at: When its reading ended, or null.
        failure: Why it failed, or null.
    """

    id: int
    filename: str
    state: UploadState
    dry_run: bool
    rows: int
    stored: int
    excluded: int
    refused: int
    amount_minor: int
    size_bytes: int
    added_by: str
    created_at: datetime
    finished_at: datetime | None
    failure: str | None


def line_of(upload: Upload) -> UploadLine:
    """The line of an upload."""
    counts = upload.row_counts
    return UploadLine(
        id=upload.id,
        filename=upload.filename,
        state=upload.state,
        dry_run=upload.dry_run,
        rows=counts.rows,
        stored=counts.stored,
        excluded=counts.excluded,
        refused=counts.refused,
        amount_minor=counts.amount_minor,
        size_bytes=upload.size_bytes,
        added_by=upload.added_by,
        created_at=upload.created_at,
        finished_at=upload.finished_at,
        failure=upload.failure,
    )
