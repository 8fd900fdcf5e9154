"""
Intake: read an upload from the object store into debtors, in chunks of one transaction each.

```text
take the upload whose turn it is, on a lease
  └► object ─► nameless temporary file, its digest checked on the way
       └► sniff ─► plan (a workbook in a child process) ─► open questions? wait for a person
            └► chunk after chunk: build in a thread, store in one transaction with the position behind it
                 └► finish ─► rows that may have been debited before? wait for a person
                      └► completed
```

Which upload has the next turn, and when one makes room for others, `tether_core.uploads.turns` decides. Each process reads in two
slots, one for any file and one for short files.

A worker that dies leaves whole chunks and a lease that expires; the next worker continues behind the last chunk, by the same plan. Each
write names the lease, so a worker that was only frozen changes nothing when it continues. A file that cannot be read ends as `failed` with a sentence for the person who sent it; one that
ends the worker itself, again and again, does too.

The temporary file has no name, so it disappears when its process ends.
"""

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, BinaryIO, Final

import msgspec
from tether_core.errors import InvalidRequest, StoreUnreachable, Unavailable
from tether_core.jobs import INTAKE, INTAKE_SHORT
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import FileRefused, Kind, Plan, Preview, Refusal, Row, Rules, reading
from tether_core.spreadsheet.sniff import sniff
from tether_core.target_calendar import bank_day
from tether_core.uploads.turns import SHORT_S, Slot, WaitingUpload, makes_room, next_upload, turn_s
from tether_core.uploads.upload import UploadStep, step
from tether_stores import fingerprint_key, objects
from tether_stores.debtors import staging
from tether_stores.objects import ObjectMissing, Objects
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.telemetry import logger
from tether_stores.traces import parents, spans
from tether_stores.uploads import turns, uploads
from tether_stores.uploads.turns import DueUpload

from tether_worker.jobs.leases import Lease, LeaseLost, held
from tether_worker.jobs.run import Work
from tether_worker.uploads import chunks
from tether_worker.uploads.chunks import Chunk, fingerprinter
from tether_worker.uploads.finish import resolve
from tether_worker.uploads.reader import Child, ReaderLimits, Task

__all__ = ["Intake", "intake", "read_one"]

# An upload that is due for longer than this was not woken for, or its worker died.
_LOST_WAKE_UP_S: Final = 1.0
# A file that ended its worker so often, with nothing to show for it in between, is not tried again.
_CLAIMS_MAX: Final = 5
_PAUSE_S: Final = 15.0
# While one chunk is stored another is built, in the same process and on the same processor; that may take seconds.
_FREEZE_S: Final = 60.0
# A record of a text file is held whole while it is read.
_LINE_BYTES_MAX: Final = 1 << 20

_log = logger("intake")


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """
    What intake needs.

    Attributes:
        objects: The object store.
        token: Gives a unique text, for leases.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`.
        policy: How strictly to screen.
        rules: ReaderLimits of amounts and the like.
        limits: What a child process may use.
        stopping: Whether this worker is about to end.
        lease_s: How long an upload stays with a worker that gives no sign of life, in seconds.
        budget_s: How long one upload may take before the rest is left to the next run, in seconds.
        turn_s: How long a turn lasts where others wait, by how long it took to begin and how much of that was planning, in seconds.
        short_s: How long a turn in the slot for short files lasts, in seconds.
        chunk_rows: Rows of a chunk.
    """

    pool: Pool
    objects: Objects
    clock: Callable[[], datetime]
    token: Callable[[], str]
    fingerprint_key: bytes
    policy: ScreeningPolicy
    rules: Rules
    limits: ReaderLimits
    stopping: Callable[[], bool] = lambda: False
    lease_s: float = 30.0
    budget_s: float = 480.0
    turn_s: Callable[[float, float], float] = turn_s
    short_s: float = SHORT_S
    chunk_rows: int = chunks.ROWS_MAX


def intake(deps: Intake, *, slot: Slot = "any") -> Work:
    """
    The job that reads uploads: in each slot one file at a time in a process, because each takes memory.

    Args:
        slot: Which files it takes.
    """
    busy = asyncio.Lock()

    async def batch() -> int:
        if busy.locked() or deps.stopping():
            return 0  # the holder of the lock takes all that is due, one after the other
        async with busy:
            return await read_one(deps, slot=slot)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await turns.due(conn, now=deps.clock(), older_than_s=_LOST_WAKE_UP_S, slot=slot)

    return Work(INTAKE if slot == "any" else INTAKE_SHORT, batch, has_pending)


async def read_one(deps: Intake, *, slot: Slot = "any") -> int:
    """
    Take the next upload, and process it until its turn ends.

    Args:
        slot: Which files are taken.

    Returns:
        1, or 0 when none was due.

    Raises:
        Unavailable: when Postgres or the object store is away; what was stored stays, the rest is due again soon.
    """
    token, lease = deps.token(), Lease(deps.clock(), length_s=deps.lease_s)
    taken = await _take(deps, token, slot=slot, until=lease.until)
    if taken is None:
        return 0
    due, waiting = taken
    reading_of = _Reading(deps, due, token, waiting=waiting, slot=slot)
    if due.claims >= _CLAIMS_MAX:
        await reading_of.fail(
            "gave_up",
            f"Reading this file was begun {due.claims} times and ended with the program that read it. Send it in another "
            "format, for example as CSV.",
        )
        return 1

    async def renew(_: datetime, until: datetime) -> bool:
        async with connection(deps.pool) as conn:
            return await turns.hold(conn, due.id, lease=token, until=until)

    with spans.spans("read upload", await _trace(deps, due.id), subject="upload"):
        async with held(lease, renew=renew, clock=deps.clock):
            await _attend(reading_of)
    return 1


async def _trace(deps: Intake, upload_id: int) -> Mapping[int, str]:
    """The trace of the request that sent an upload; none while traces are off."""
    if not spans.is_on():
        return {}
    async with connection(deps.pool) as conn:
        return await parents.found(conn, "upload", [upload_id])


async def _take(
    deps: Intake, token: str, *, slot: Slot, until: datetime
) -> tuple[DueUpload, WaitingUpload] | None:
    now = deps.clock()
    async with connection(deps.pool) as conn:
        queued = await turns.waiting(conn, now=now)
    left = {waiting.id: waiting for waiting in queued.uploads}
    while chosen := next_upload(left.values(), turns=queued.turns, slot=slot, now=now):
        async with transaction(deps.pool) as conn:
            due = await turns.due_one(conn, chosen.id, now=now)
            if due is not None:
                await fingerprint_key.require(conn, deps.fingerprint_key, now=now)
                state = step(due.state, "continued" if due.state == "reading" else "started")
                await turns.take(conn, due.id, state=state, lease=token, until=until, now=now)
                return msgspec.structs.replace(due, state=state), chosen
        del left[chosen.id]  # another worker was faster
    return None


async def _attend(reading_of: "_Reading") -> None:
    """Read an upload, and handle every error that ends the reading."""
    try:
        await reading_of.go()
    except LeaseLost:
        _log.warning("upload lease lost", upload_id=reading_of.due.id)
    except FileRefused as refused:
        if reading_of.was_cut:
            await reading_of.release(after_s=0, blameless=True)
            return
        await reading_of.fail(refused.refusal.code, refused.refusal.why)
    except InvalidRequest as wrong:
        await reading_of.fail("invalid_answers", f"The answers do not fit this file ({wrong}). Answer again.")
    except ObjectMissing:
        await reading_of.fail("object_missing", "The stored file is gone; send it again.")
    except Unavailable:
        await reading_of.release(after_s=_PAUSE_S, blameless=True)
        raise
    except asyncio.CancelledError:
        await asyncio.shield(reading_of.release(after_s=0, blameless=True))
        raise
    except Exception as exc:  # noqa: BLE001 - the upload keeps its place and its count of failures
        _log.error("upload read failed", upload_id=reading_of.due.id, exc_info=exc)
        await reading_of.release(after_s=_PAUSE_S, blameless=False)


class _Reading:
    """One upload that this worker has leased."""

    def __init__(
        self, deps: Intake, due: DueUpload, lease: str, *, waiting: WaitingUpload, slot: Slot
    ) -> None:
        self.due = due
        # Whether the child was ended because its turn was over, and not because of its file.
        self.was_cut = False
        self._waiting = waiting
        self._slot = slot
        self._start_s = 0.0
        self._planning_s = 0.0
        self._deps = deps
        self._lease = lease
        self._began = monotonic()

    async def go(self) -> None:
        """Read it to its end, to a question, or until the time is over."""
        if self.due.screened_at is not None and self.due.plan is not None:
            await self._complete(self.due.plan)
            return
        async with _fetched(self._deps.objects, self.due) as file:
            kind = self.due.plan.kind if self.due.plan is not None else await self._sniffed(file)
            if kind == "csv":
                plan = self.due.plan or await self._timed(self._planned_text(file))
                if plan is not None:
                    after = self.due.position.row
                    await self._read(
                        reading.rows(file, plan=plan, after=after), plan=plan, bytes_read=file.tell
                    )
                return
            task = Task(
                kind=kind,
                name=self.due.filename,
                answers=self.due.answers,
                today=bank_day(self.due.created_at),
                rules=self._deps.rules,
                plan=self.due.plan,
                after=self.due.position.row,
                limits=self._deps.limits,
            )
            with _room_for_files():
                started = Child(file, task)
            with started as child, self._cut_when_over(child):
                plan = self.due.plan or await self._timed(self._planned_workbook(child))
                if plan is not None:
                    await self._read(
                        child.rows(), plan=plan, bytes_read=lambda: self.due.size_bytes, hurry=child.kill
                    )

    @contextlib.contextmanager
    def _cut_when_over(self, child: Child) -> Iterator[None]:
        """End the child of a workbook that proves long in the slot for short files; it continues in the other one."""
        if self._slot == "any":
            yield
            return

        def cut() -> None:
            self.was_cut = True
            child.kill()

        timer = asyncio.get_running_loop().call_later(self._deps.short_s, cut)
        try:
            yield
        finally:
            timer.cancel()

    async def _sniffed(self, file: BinaryIO) -> Kind:
        found = await asyncio.to_thread(sniff, file, name=self.due.filename)
        if isinstance(found, Refusal):
            raise FileRefused(found)
        return found.kind

    async def _timed(self, planning: Coroutine[Any, Any, Plan | None]) -> Plan | None:
        began = monotonic()
        plan = await planning
        self._planning_s = monotonic() - began
        return plan

    async def _planned_workbook(self, child: Child) -> Plan | None:
        return await self._resolved(await asyncio.to_thread(child.plan))

    async def _planned_text(self, file: BinaryIO) -> Plan | None:
        def planned() -> Preview:
            found = reading.plan(file, name=self.due.filename, answers=self.due.answers)
            if isinstance(found, Refusal):
                raise FileRefused(found)
            today = bank_day(self.due.created_at)
            return reading.preview(file, plan=found, today=today, rules=self._deps.rules)

        return await self._resolved(await asyncio.to_thread(planned))

    async def _resolved(self, excerpt: Preview) -> Plan | None:
        """Write how the file is read; `None` when a person has to answer something first."""
        taken: UploadStep = "planned" if excerpt.plan.ready else "asked"
        state = step(self.due.state, taken)
        async with connection(self._deps.pool) as conn:
            if not await uploads.planned(
                conn, self.due.id, state=state, excerpt=excerpt, lease=self._lease, now=self._deps.clock()
            ):
                raise LeaseLost
        self.due = msgspec.structs.replace(self.due, state=state, plan=excerpt.plan)
        if not excerpt.plan.ready:
            _log.info(
                "upload waits for answers", upload_id=self.due.id, questions=len(excerpt.plan.questions)
            )
            return None
        return excerpt.plan

    async def _read(
        self,
        rows: Iterator[Row],
        *,
        plan: Plan,
        bytes_read: Callable[[], int],
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """Store chunk after chunk; while one is being stored, the next is being built."""
        built = chunks.build(
            self._started(rows),
            upload_id=self.due.id,
            plan=plan,
            today=bank_day(self.due.created_at),
            rules=self._deps.rules,
            position=self.due.position,
            notes=self.due.notes,
            before=self.due.row_counts,
            kept=self.due.kept,
            fingerprint=fingerprinter(self._deps.fingerprint_key),
            bytes_read=bytes_read,
            rows_max=self._deps.chunk_rows,
        )
        building = asyncio.create_task(asyncio.to_thread(next, built, None))
        try:
            while (chunk := await building) is not None:
                building = asyncio.create_task(asyncio.to_thread(next, built, None))
                await self._store(chunk)
                if chunk.refusal is not None:
                    raise FileRefused(chunk.refusal)
                if self._deps.stopping() or await self._turn_is_over(chunk):
                    await self.release(after_s=0, blameless=True)
                    return
        finally:
            # The thread reads from the file, so the file must not be closed before it has ended.
            if not building.done():
                hurry()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(building)
        await self._complete(plan)

    def _started(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self._start_s = monotonic() - self._began
            yield row
            break
        yield from rows

    async def _turn_is_over(self, chunk: Chunk) -> bool:
        took_s = monotonic() - self._began
        if took_s > self._deps.budget_s:
            return True
        if self._slot == "short":
            return took_s > self._deps.short_s
        if took_s < self._deps.turn_s(self._start_s, self._planning_s):
            return False
        now = self._deps.clock()
        async with connection(self._deps.pool) as conn:
            queued = await turns.waiting(conn, now=now)
        read_s = self._waiting.read_s + took_s
        current = msgspec.structs.replace(
            self._waiting, since=now, bytes_read=chunk.bytes_read, read_s=read_s
        )
        return makes_room(current, queued.uploads, now=now)

    async def _store(self, chunk: Chunk) -> None:
        now = self._deps.clock()
        async with transaction(self._deps.pool, freeze_s=_FREEZE_S) as conn:
            await fingerprint_key.require(conn, self._deps.fingerprint_key, now=now)
            row_counts = await chunks.store(
                conn, self.due.id, chunk, dry_run=self.due.dry_run, policy=self._deps.policy, now=now
            )
            assert row_counts.balanced, "every row has one outcome"
            if not await uploads.advance(
                conn,
                self.due.id,
                row_counts=row_counts,
                position=chunk.position,
                notes=chunk.notes,
                kept=chunk.kept,
                bytes_read=chunk.bytes_read,
                lease=self._lease,
                until=self._deps.clock() + timedelta(seconds=self._deps.lease_s),
                now=now,
            ):
                raise LeaseLost
        rows = self.due.rows_read + row_counts.rows
        self.due = msgspec.structs.replace(
            self.due, rows_read=rows, position=chunk.position, notes=chunk.notes
        )

    async def _complete(self, plan: Plan) -> None:
        if not await resolve(
            self._deps.pool,
            self.due,
            plan=plan,
            lease=self._lease,
            policy=self._deps.policy,
            now=self._deps.clock(),
        ):
            _log.info("upload waits for answers", upload_id=self.due.id, rows=self.due.rows_read)
            return
        async with transaction(self._deps.pool) as conn:
            if self.due.dry_run:
                await staging.forget_dry_run(conn, self.due.id)
            if not await uploads.end(
                conn,
                self.due.id,
                state=step(self.due.state, "finished"),
                failure=None,
                lease=self._lease,
                now=self._deps.clock(),
                took_s=monotonic() - self._began,
            ):
                raise LeaseLost
        _log.info(
            "upload completed",
            upload_id=self.due.id,
            rows=self.due.rows_read,
            took_s=round(monotonic() - self._began, 2),
        )

    async def fail(self, code: str, why: str) -> None:
        """End the upload as one that cannot be read; rows already stored stay, and are counted."""
        async with transaction(self._deps.pool) as conn:
            if self.due.dry_run:
                await staging.forget_dry_run(conn, self.due.id)
            await uploads.end(
                conn,
                self.due.id,
                state=step(self.due.state, "given up"),
                failure=(code, why),
                lease=self._lease,
                now=self._deps.clock(),
                took_s=monotonic() - self._began,
            )
        _log.warning("upload failed", upload_id=self.due.id, code=code)

    async def release(self, *, after_s: float, blameless: bool) -> None:
        """Give the upload back; if that fails too, its lease expires."""
        due_at = self._deps.clock() + timedelta(seconds=after_s)
        with contextlib.suppress(Unavailable):
            async with connection(self._deps.pool) as conn:
                await turns.release(
                    conn,
                    self.due.id,
                    lease=self._lease,
                    due_at=due_at,
                    blameless=blameless,
                    took_s=monotonic() - self._began,
                )


@contextlib.asynccontextmanager
async def _fetched(store: Objects, due: DueUpload) -> AsyncIterator[BinaryIO]:
    """Copy an upload into a nameless temporary file, and verify its digest."""
    with _room_for_files():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the block that begins at once
    with _closed(file):
        digest, longest = hashlib.sha256(), _LongestLine()
        async for part in await objects.get(store, due.object_key):
            digest.update(part)
            longest.add(part)
            with _room_for_files():
                file.write(part)
        if digest.digest() != due.sha256:
            why = "The stored file is not the one that was sent; send it again."
            raise FileRefused(Refusal("object_changed", why))
        with _room_for_files():
            file.flush()
        file.seek(0)
        if longest.size_bytes > _LINE_BYTES_MAX and not file.read(4).startswith(
            (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
        ):
            why = (
                f"A line of this file has more than {_LINE_BYTES_MAX >> 20} MiB, so it is no list; export it again, with one line "
                "for each debtor."
            )
            raise FileRefused(Refusal("line_too_long", why))
        yield file


@contextlib.contextmanager
def _room_for_files() -> Iterator[None]:
    """Take a full or missing folder of temporary files for what it is: a store that is away, and no fault of the file."""
    try:
        yield
    except OSError as exc:
        raise StoreUnreachable("temporary files", why=type(exc).__name__) from exc


@contextlib.contextmanager
def _closed(file: BinaryIO) -> Iterator[None]:
    """Close *file* at the end, also where what it still holds cannot be written any more."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.close()


class _LongestLine:
    """Finds the longest line of a stream, roughly: lines within one part of it are short anyway."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._open = 0

    def add(self, part: bytes) -> None:
        first = min((at for at in (part.find(b"\n"), part.find(b"\r")) if at >= 0), default=-1)
        if first < 0:
            self._open += len(part)
            self.size_bytes = max(self.size_bytes, self._open)
            return
        self.size_bytes = max(self.size_bytes, self._open + first)
        self._open = len(part) - 1 - max(part.rfind(b"\n"), part.rfind(b"\r"))
