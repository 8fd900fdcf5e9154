"""
`tether-worker files import-local DIR`: the files of an old installation's local disk, moved into the object store.

A file keeps its path below DIR as its key, so references by that path stay valid. Each is put, read back and
compared by digest, and only then removed here; stopped anywhere, the next run goes on, and finds files that are in the
store already by the same comparison. An object with other content under the same key is left alone, and so is the
file: a person has to look. Links, special files and names that begin with a dot are skipped as well.
"""

import argparse
import asyncio
import hashlib
import os
import stat as modes
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from tether_core.errors import InvalidRequest
from tether_stores import objects
from tether_stores.objects import Objects, open_objects
from tether_stores.settings import Settings

__all__ = ["FileImportReport", "ImportedFile", "add_commands", "import_local"]

_CHUNK_BYTES: Final = 1 << 20

Outcome = Literal["moved", "there already", "left alone", "conflicting", "failed"]


class ImportedFile(msgspec.Struct, frozen=True):
    """
    The result for one file.

    Attributes:
        path: Below the folder.
        outcome: "moved" and "there already": in the store, verified, and removed here; the others are still here.
        size_bytes: Its size.
        why: For those that are still here, the reason.
    """

    path: str
    outcome: Outcome
    size_bytes: int = 0
    why: str = ""


class FileImportReport(msgspec.Struct, frozen=True):
    """
    The result of an import.

    Attributes:
        counts: Outcome to number of files.
        size_bytes: Bytes that were moved, or would be.
        here: Files that are still here, with reasons.
    """

    counts: dict[str, int]
    size_bytes: int
    here: list[ImportedFile]

    @property
    def done(self) -> bool:
        """Whether nobody has to look."""
        return not (self.counts.get("conflicting") or self.counts.get("failed"))


async def import_local(
    folder: Path, *, store: Objects, dry_run: bool, on_file: Callable[[ImportedFile], None] = lambda _: None
) -> FileImportReport:
    """
    Move all files below a folder into the object store.

    Args:
        folder: The old installation's disk.
        store: Where they go.
        dry_run: Compare only; nothing is put or removed.
        on_file: Called with each file that is done.

    Raises:
        InvalidRequest: when there is no such folder.
        StoreUnreachable: when the store is away; run it again.
    """
    counts: dict[str, int] = {}
    here: list[ImportedFile] = []
    size_bytes = 0
    for path in _files(folder):
        key = path.relative_to(folder).as_posix()
        try:
            found = await _move(path, key, store=store, dry_run=dry_run)
        except _StaysError as stays:
            found = ImportedFile(key.encode("utf-8", "replace").decode(), stays.outcome, why=stays.why)
        counts[found.outcome] = counts.get(found.outcome, 0) + 1
        if found.outcome in {"moved", "there already"}:
            size_bytes += found.size_bytes
        else:
            here.append(found)
        on_file(found)
    return FileImportReport(counts, size_bytes, here)


class _StaysError(Exception):
    """Why a file stays where it is."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(outcome, why)
        self.outcome = outcome
        self.why = why


def _files(folder: Path) -> list[Path]:
    """Every file below a folder, in an order that is the same each time."""
    if not folder.is_dir():
        raise InvalidRequest("is not a folder", field=str(folder))
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names)


async def _move(path: Path, key: str, *, store: Objects, dry_run: bool) -> ImportedFile:
    found = _looked_at(path, key)
    digest = await asyncio.to_thread(_digest, path)
    there = await objects.stat(store, key)
    if there is None:
        if not dry_run:
            await _put(store, key, path, digest=digest)
    elif there.size_bytes != found.st_size or await _digest_there(store, key) != digest:
        raise _StaysError("conflicting", "the store has another file under this path")
    if not dry_run:
        _remove(path, found)
    return ImportedFile(key, "moved" if there is None else "there already", found.st_size)


def _looked_at(path: Path, key: str) -> os.stat_result:
    result = path.lstat()
    if not modes.S_ISREG(result.st_mode):
        raise _StaysError("left alone", "it is a link or no ordinary file")
    if any(part.startswith(".") for part in Path(key).parts):
        raise _StaysError("left alone", "its name begins with a dot")
    if not key.isprintable():
        raise _StaysError("failed", "its name is no readable text")
    return result


async def _put(store: Objects, key: str, path: Path, *, digest: bytes) -> None:
    await objects.put(store, key, _chunks(path))
    if await _digest_there(store, key) != digest:
        await objects.delete(store, key)
        raise _StaysError("failed", "what was read back is not what was sent; run it again")


def _remove(path: Path, found: os.stat_result) -> None:
    now = path.lstat()
    if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
        raise _StaysError("failed", "it was changed meanwhile; run it again")
    try:
        path.unlink()
    except OSError as exc:
        why = f"it is stored but cannot be removed ({type(exc).__name__})"
        raise _StaysError("failed", why) from exc


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as exc:
        raise _StaysError("failed", f"it cannot be read ({type(exc).__name__})") from exc


async def _digest_there(store: Objects, key: str) -> bytes:
    digest = hashlib.sha256()
    async for chunk in await objects.get(store, key):
        digest.update(chunk)
    return digest.digest()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


def add_commands(commands: Any) -> None:
    """Add `files import-local` to the command line."""
    files = commands.add_parser("files", help="files of uploads")
    kinds = files.add_subparsers(required=True, metavar="COMMAND")
    parser = kinds.add_parser(
        "import-local",
        help="move the files of an old installation's local disk into the object store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="its disk; paths below it become keys")
    parser.add_argument("--dry-run", action="store_true", help="compare only; put and remove nothing")
    parser.add_argument("--json", action="store_true", help="the report for programs")
    parser.set_defaults(do=_import_local, needs=())


def _import_local(args: argparse.Namespace, settings: Settings) -> int:
    def on_file(found: ImportedFile) -> None:
        if not args.json:
            _say(f"{found.outcome}: {found.path}" + (f" ({found.why})" if found.why else ""))

    report = asyncio.run(
        import_local(args.folder, store=open_objects(settings), dry_run=args.dry_run, on_file=on_file)
    )
    if args.json:
        _say(msgspec.json.encode(report).decode())
    else:
        counts = ", ".join(f"{outcome} {count:,}" for outcome, count in report.counts.items()) or "no files"
        would = "would be done: " if args.dry_run else ""
        _say(f"{would}{counts}; {report.size_bytes:,} bytes in the store and verified")
    return 0 if report.done else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
