"""
Refused notifications that are kept; the queries are in `notifications/quarantine.sql`, which describes the rows.

The body and its media type are one encrypted text under `TETHER_SECRETS_KEY`: nobody has verified who sent it, it may hold a name or an
account, and with its signature somebody else could have it taken in. The text names its digest, so a row cannot be given the body of another.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec
from cryptography.fernet import InvalidToken, MultiFernet
from tether_core.notifications.quarantine import DAY, Quota, QuotaUse

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "KeptBody",
    "KeptRow",
    "NewRow",
    "QuarantinedNotification",
    "QuotaCount",
    "add",
    "counts",
    "debits",
    "digest_of",
    "hold",
    "listed",
    "of_debits",
    "opened",
    "page",
    "prune",
    "quotas",
    "repeat",
    "sealed",
    "stored",
    "take",
]

_SQL: Final = load("notifications/quarantine")


class KeptBody(msgspec.Struct, frozen=True):
    """
    A body as it came.

    Attributes:
        digest: From `digest_of`.
        content_type: Its media type.
        body: Its bytes.
    """

    digest: bytes
    content_type: str
    body: bytes

    def __repr__(self) -> str:
        """Say its size; the rest may be personal."""
        return f"KeptBody({len(self.body)} bytes)"


class NewRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row to be added.

    Attributes:
        digest: From `digest_of`.
        account: From `tether_core.notifications.quarantine.account_of`.
        notification_id: The id that was hashed, as claimed.
        report_class: Of the notification, see `tether_core.notifications.excess_deliveries`.
        attempt_id: The debit that it names, or `None`.
        sealed: From `sealed`.
        size_bytes: Of the body.
        sender: The sender's address; "" without one.
        deliveries: How often it came.
        received_at: When it first came.
        last_received_at: When it last came.
        relay_id: The relay by which it came; `None` for the plain route.
    """

    digest: bytes
    account: str
    notification_id: str
    report_class: str
    attempt_id: int | None
    sealed: bytes
    size_bytes: int
    sender: str
    deliveries: int
    received_at: datetime
    last_received_at: datetime
    relay_id: int | None = None


class KeptRow(msgspec.Struct, frozen=True):
    """
    A row that may be verified again.

    Attributes:
        id: The row.
        account: The account whose terminal it names, or "".
        digest: Of its body.
        sealed: Its body, encrypted.
        received_at: When it first came.
        sender: The address of its first sender, or `None`.
        relay_id: The relay by which it came; `None` for the plain route.
        relay_account: The account whose passwords verify what came by that relay.
    """

    id: int
    account: str
    digest: bytes
    sealed: bytes
    received_at: datetime
    sender: str | None = None
    relay_id: int | None = None
    relay_account: str | None = None


class QuarantinedNotification(msgspec.Struct, frozen=True):
    """
    A refused notification in lists. Nothing that it says is verified.

    Attributes:
        id: Our row.
        account: The account whose terminal it names; "" for none.
        notification_id: The id that its signature is about.
        report_class: What it reports, such as "payment 60" or "dispute 1"; "unknown" for a status that no table knows.
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
    relay_id: int | None


class QuotaCount(msgspec.Struct, frozen=True):
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


def digest_of(body: bytes, *, relay_id: int | None = None) -> bytes:
    """The digest that makes deliveries of one body, by one relay or by the plain route, one row; 16 bytes."""
    salt = b"" if relay_id is None else relay_id.to_bytes(8)
    return blake2b(body, digest_size=16, person=b"quarantine", salt=salt).digest()


def sealed(digest: bytes, content_type: str, body: bytes, *, keys: MultiFernet) -> bytes:
    """
    A body as it is stored.

    Args:
        digest: From `digest_of`.
        keys: From `tether_stores.accounts.gateway_accounts.opened_keys`.
    """
    return keys.encrypt(msgspec.msgpack.encode(KeptBody(digest, content_type, body)))


def opened(row: KeptRow, *, keys: MultiFernet) -> KeptBody | None:
    """The body of a row; `None` where no key opens it, or where it is that of another row."""
    try:
        found = msgspec.msgpack.decode(keys.decrypt(row.sealed), type=KeptBody)
    except (InvalidToken, msgspec.DecodeError):
        return None
    return found if found.digest == row.digest == digest_of(found.body, relay_id=row.relay_id) else None


async def hold(conn: Connection) -> None:
    """Wait until no other transaction adds rows; held until this one ends."""
    await conn.execute(_SQL["hold"])


async def debits(conn: Connection, named: Sequence[tuple[str | None, str | None]]) -> list[int | None]:
    """
    The debits that notifications name.

    Args:
        named: The gateway's and our id of n payments, as claimed.

    Returns:
        n billing attempts, `None` for an unknown one.
    """
    values = {
        "unique_ids": [unique_id for unique_id, _ in named],
        "transaction_ids": [transaction_id for _, transaction_id in named],
    }
    return [attempt_id for (attempt_id,) in await (await conn.execute(_SQL["debits"], values)).fetchall()]


async def stored(conn: Connection, digests: AbstractSet[bytes]) -> set[bytes]:
    """The digests that have a row."""
    cursor = await conn.execute(_SQL["stored"], {"digests": sorted(digests)})
    return {bytes(digest) for (digest,) in await cursor.fetchall()}


async def quotas(conn: Connection, accounts: AbstractSet[str], *, now: datetime) -> dict[Quota, QuotaUse]:
    """What is used of the quotas of some accounts; none for an empty quota."""
    cursor = await conn.execute(_SQL["quotas"], {"accounts": sorted(accounts), "day_before": now - DAY})
    return {
        (account, is_known): QuotaUse(rows, size_bytes, day_rows, day_bytes)
        for account, is_known, rows, size_bytes, day_rows, day_bytes in await cursor.fetchall()
    }


async def of_debits(conn: Connection, attempt_ids: AbstractSet[int]) -> dict[int, int]:
    """How many rows some debits have; none for a debit without."""
    cursor = await conn.execute(_SQL["of_debits"], {"attempt_ids": sorted(attempt_ids)})
    return dict(await cursor.fetchall())


async def add(conn: Connection, rows: Sequence[NewRow]) -> None:
    """Insert rows that were decided on under `hold`."""
    await conn.execute(
        _SQL["add"],
        {
            "digests": [row.digest for row in rows],
            "accounts": [row.account for row in rows],
            "notification_ids": [row.notification_id for row in rows],
            "report_classes": [row.report_class for row in rows],
            "attempt_ids": [row.attempt_id for row in rows],
            "sealeds": [row.sealed for row in rows],
            "sizes_bytes": [row.size_bytes for row in rows],
            "senders": [row.sender for row in rows],
            "deliveries": [row.deliveries for row in rows],
            "received_ats": [row.received_at for row in rows],
            "last_received_ats": [row.last_received_at for row in rows],
            "relay_ids": [row.relay_id for row in rows],
        },
    )


async def repeat(conn: Connection, deliveries: Mapping[bytes, tuple[int, datetime]]) -> None:
    """
    Count further deliveries.

    Args:
        deliveries: Digest to how many, and when the last one came.
    """
    digests = sorted(deliveries)
    await conn.execute(
        _SQL["repeat"],
        {
            "digests": digests,
            "deliveries": [deliveries[digest][0] for digest in digests],
            "last_received_ats": [deliveries[digest][1] for digest in digests],
        },
    )


async def page(conn: Connection, *, after_at: datetime, after_id: int, limit: int) -> list[KeptRow]:
    """The next rows in the order of their receipt, after the row with this time and id."""
    values = {"after_at": after_at, "after_id": after_id, "limit": limit}
    return await fetch_all(conn, _SQL["page"], values, into=_kept, binary=True)


def _kept(*, digest: bytes, sealed: bytes, **columns: Any) -> KeptRow:
    return KeptRow(digest=bytes(digest), sealed=bytes(sealed), **columns)


async def take(conn: Connection, row_id: int) -> bool:
    """Remove a row, in the transaction that records it in the inbox; whether it was still there."""
    return await (await conn.execute(_SQL["take"], {"id": row_id})).fetchone() is not None


async def listed(conn: Connection, *, limit: int, before: int | None) -> list[QuarantinedNotification]:
    """
    One page, newest first.

    Args:
        before: Only rows with a smaller id; `None` for the first page.
    """
    return await fetch_all(
        conn, _SQL["listed"], {"limit": limit, "before": before}, into=QuarantinedNotification
    )


async def counts(conn: Connection) -> list[QuotaCount]:
    """What is kept in all, by quota."""
    return await fetch_all(conn, _SQL["counts"], into=QuotaCount)


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete up to *limit* rows that were first received before a time; returns how many."""
    return await fetch_value(conn, _SQL["prune"], {"before": before, "limit": limit}, into=int)
