"""
`tether-worker archive`: list the archives, read one, and put an archived notification back.

    tether-worker archive list --kind notifications
    tether-worker archive read 7 --reason "question of the bank about a chargeback" > archive.jsonl
    tether-worker archive replay 123456 --reason "the reader of this status was corrected"

`read` writes the rows as JSON, one a line; they hold personal data, so it asks for a reason and is written to the audit. `replay` puts one
notification back into the inbox under its own id, due now. Applying it again moves nothing that has moved already
(docs/concepts/retention.md).
"""

import argparse
import asyncio
import sys
from typing import Any, Final

import msgspec
from tether_core.audit import facts, reason_text
from tether_core.errors import InvalidRequest
from tether_core.retention.archive import Archive
from tether_core.retention.periods import ARCHIVED, ArchiveKind
from tether_stores import audit
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.objects import open_objects
from tether_stores.postgres import Pool, connection, open_pool, transaction
from tether_stores.retention import archives
from tether_stores.retention.archive_files import fetched
from tether_stores.retention.archives import ArchiveRow, UnconfirmedArchive
from tether_stores.settings import Settings

__all__ = ["add_commands"]

_LISTED_MAX: Final = 1_000


def add_commands(commands: Any) -> None:
    """Add `archive` to a command line."""
    parser = commands.add_parser(
        "archive",
        help="list and read archives of old notifications and events, and replay a notification",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser(
        "list", help="archives, newest first, at most a thousand; first what is being written"
    )
    item.add_argument("--kind", choices=ARCHIVED, help="only this kind")
    item.add_argument(
        "--before", type=whole(1, 2**63 - 1), metavar="ARCHIVE", help="only older ones than this"
    )
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_list, needs=("DATABASE_URL",))
    item = kinds.add_parser("read", help="write the rows of an archive as JSON, one a line")
    item.add_argument("archive_id", type=whole(1, 2**63 - 1), metavar="ARCHIVE")
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    item.set_defaults(do=_read, needs=("DATABASE_URL",))
    item = kinds.add_parser("replay", help="put an archived notification back into the inbox")
    item.add_argument(
        "notification_id", type=whole(1, 2**63 - 1), metavar="NOTIFICATION", help="its row's id"
    )
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    item.set_defaults(do=_replay, needs=("DATABASE_URL",))


def _list(args: argparse.Namespace, settings: Settings) -> int:
    begun, listed = asyncio.run(_listed(settings, kind=args.kind, before=args.before))
    if not args.json:
        for item in begun:
            sys.stdout.write(f"{item.id}  {item.kind}  begun {item.began_at:%Y-%m-%d %H:%M}, not confirmed\n")
    for row in listed:
        if args.json:
            sys.stdout.write(f"{msgspec.json.encode(row).decode()}\n")
        else:
            state = "removed" if row.removed_at else "pruned" if row.pruned_at else "confirmed"
            sys.stdout.write(
                f"{row.id}  {row.kind}  {row.from_at:%Y-%m-%d} to {row.to_at:%Y-%m-%d}  rows {row.first_id} to {row.last_id} "
                f"({row.rows})  {row.size_bytes} bytes  {state}  {row.object_key}\n"
            )
    return 0


async def _listed(
    settings: Settings, *, kind: ArchiveKind | None, before: int | None
) -> tuple[list[UnconfirmedArchive], list[ArchiveRow]]:
    async with _pool(settings) as pool, connection(pool) as conn:
        listed = await archives.listed(conn, kind=kind, before=before, limit=_LISTED_MAX)
        return ([] if before else await archives.unconfirmed(conn, kind=kind)), listed


def _read(args: argparse.Namespace, settings: Settings) -> int:
    archive = asyncio.run(_archive(settings, args.archive_id, reason=_reason(args)))
    for row in archive.rows:
        sys.stdout.write(f"{bytes(row).decode()}\n")
    return 0


async def _archive(settings: Settings, archive_id: int, *, reason: str) -> Archive:
    async with _pool(settings) as pool:
        async with connection(pool) as conn:
            found = await archives.by_id(conn, archive_id)
        if found is None:
            raise InvalidRequest(
                "there is no such archive; see `tether-worker archive list`", field=str(archive_id)
            )
        archive = await _content(found, settings)
        async with transaction(pool) as conn:
            await audit.record(
                conn,
                audit.operator(),
                "archive.read",
                subject="archive",
                subject_id=archive_id,
                reason=reason,
                after=facts(kind=found.kind, rows=found.rows),
                now=await timestamp(conn),
            )
    return archive


def _replay(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(_restored(settings, args.notification_id, reason=_reason(args)))
    sys.stdout.write(f"notification {args.notification_id} is in the inbox again, and due\n")
    return 0


class _Id(msgspec.Struct, frozen=True):
    id: int


async def _restored(settings: Settings, row_id: int, *, reason: str) -> None:
    async with _pool(settings) as pool:
        async with connection(pool) as conn:
            found = await archives.holding(conn, "notifications", row_id)
        for candidate in found:
            if candidate.removed_at is not None or candidate.pruned_at is None:
                continue
            archive = await _content(candidate, settings)
            row = next((row for row in archive.rows if msgspec.json.decode(row, type=_Id).id == row_id), None)
            if row is not None and await _put_back(pool, row_id, bytes(row), candidate.id, reason=reason):
                return
    raise InvalidRequest(
        "is in no archive that can be read; where it is in the inbox, replay it there", field=str(row_id)
    )


async def _put_back(pool: Pool, row_id: int, row: bytes, archive_id: int, *, reason: str) -> bool:
    async with transaction(pool) as conn:
        now = await timestamp(conn)
        if await archives.restore_notification(conn, row, now=now) is None:
            return False
        await audit.record(
            conn,
            audit.operator(),
            "notification.replayed",
            subject="notification",
            subject_id=row_id,
            reason=reason,
            before=facts(archive=archive_id),
            after=facts(state="waiting"),
            now=now,
        )
    return True


async def _content(row: ArchiveRow, settings: Settings) -> Archive:
    if row.removed_at is not None:
        raise InvalidRequest(
            f"was removed on {row.removed_at:%Y-%m-%d}, when its own period was over", field=str(row.id)
        )
    return await fetched(open_objects(settings), row.object_key, sha256=bytes.fromhex(row.sha256))


def _reason(args: argparse.Namespace) -> str:
    reason = reason_text(args.reason)
    if reason is None:
        raise InvalidRequest("say why", field="--reason")
    return reason


def _pool(settings: Settings) -> Any:
    return open_pool(settings.database_url, name="tether-archive", max_size=1)
