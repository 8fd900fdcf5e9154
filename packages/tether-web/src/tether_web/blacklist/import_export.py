"""
`/api/blacklist/export` and `/import`: lists of entries as CSV.

```text
GET    /api/blacklist/export     all active entries as CSV
POST   /api/blacklist/import     add entries from CSV
```

An export contains fingerprints in place of account numbers: it can be imported where the same key is set, which `fingerprint_check`
verifies.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream
from tether_core import iban as ibans
from tether_core.audit import facts
from tether_core.errors import InvalidIban, InvalidRequest
from tether_core.fingerprint_key import check_value
from tether_core.spreadsheet.cells import excerpt, neutralise, restore
from tether_stores import audit, blacklist, fingerprint_key
from tether_stores.blacklist import LiftedBefore, ManualEntry
from tether_stores.postgres import Pool, connection, transaction

from tether_web.blacklist.entries import EntryBody, common_fields, entry_of, one_line
from tether_web.http.auth import ApiRequest
from tether_web.http.table_export import as_csv

__all__ = ["IMPORT_MAX_BYTES", "ROUTER", "ImportProblem", "Imported"]

IMPORT_MAX_BYTES: Final = 20 << 20
_COLUMNS: Final = "id iban_fingerprint fingerprint_check iban_masked name email bic action reason note source added_by created_at expires_at".split()
_BATCH: Final = 1_000


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


@get("/export", summary="Export all active entries as CSV", media_type="text/csv")
async def export(state: State) -> Stream:
    """The active entries, in the format of `import`."""
    check = check_value(state.settings.fingerprint_key.encode()).hex()
    lines = _exported(state.pool, check=check, now=state.clock())
    headers = {"Content-Disposition": 'attachment; filename="blacklist.csv"'}
    return Stream(
        as_csv(_COLUMNS, lines, delimiter=","), headers=headers, media_type="text/csv; charset=utf-8"
    )


async def _exported(pool: Pool, *, check: str, now: datetime) -> AsyncIterator[list[str]]:
    before = None
    while True:
        async with connection(pool) as conn:
            rows = await blacklist.listed(conn, limit=_BATCH, before=before, live=True, now=now)
        for row in rows:
            fields = {
                **msgspec.structs.asdict(row),
                "reason": row.reason_code,
                "fingerprint_check": check if row.iban_fingerprint else None,
            }
            yield [neutralise(_cell(fields[name])) for name in _COLUMNS]
        if len(rows) < _BATCH:
            return
        before = rows[-1].id


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return "" if value is None else str(value)


@post(
    "/import",
    status_code=200,
    summary="Import entries from CSV",
    request_max_body_size=IMPORT_MAX_BYTES,
)
async def import_csv(
    request: ApiRequest,
    state: State,
    *,
    relist: Annotated[
        bool,
        Parameter(description="Also add entries that a person has lifted; otherwise they stay lifted."),
    ] = False,
) -> Imported:
    """
    Read CSV with a header, and add an entry for each IBAN, name, address and BIC.

    Columns: iban or iban_fingerprint; name, or first_name and last_name; email; bic; action (hold or block; default: block); reason;
    note; expires_at. Other columns are ignored. A bad line does not affect the others. An entry that a person has lifted, for
    the same account and reason, stays lifted: an old list that is imported every night has no new information.
    """
    now, key = state.clock(), state.settings.fingerprint_key.encode()
    header, lines = _table(await request.body())
    entries: list[ManualEntry] = []
    lines_of: list[int] = []
    wrong: list[ImportProblem] = []
    rows = 0
    for number, cells in lines:
        rows += 1
        found = _line(number, dict(zip(header, cells, strict=False)), key=key)
        if isinstance(found, ImportProblem):
            wrong.append(found)
        else:
            entries.extend(found)
            lines_of.extend([number] * len(found))
    added = 0
    stayed: list[ImportProblem] = []
    async with transaction(state.pool) as conn:
        if any(entry.iban_fingerprint is not None for entry in entries):
            await fingerprint_key.require(conn, key, now=now)
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            lifted = {} if relist else await blacklist.lifted_among(conn, batch)
            stayed += [_stays_lifted(lines_of[start + at], batch[at], lifted[at]) for at in sorted(lifted)]
            batch = [entry for at, entry in enumerate(batch) if at not in lifted]
            added += len(await blacklist.enter(conn, batch, source="import", added_by=request.user, now=now))
        await audit.record(
            conn,
            request.auth.actor,
            "blacklist.imported",
            subject="blacklist",
            after=facts(rows=rows, added=added, relist=relist),
            now=now,
        )
    wrong = sorted([*wrong, *stayed], key=lambda problem: problem.row)
    existing = len(entries) - added - len(stayed)
    return Imported(rows, added, existing, len(stayed), wrong[:100], len(wrong))


def _stays_lifted(number: int, entry: ManualEntry, lift: LiftedBefore) -> ImportProblem:
    subjects = {"iban": entry.iban_fingerprint, "name": entry.name, "email": entry.email, "bic": entry.bic}
    about = next(field for field, value in subjects.items() if value is not None)
    why = f" ({lift.reason})" if lift.reason else ""
    note = (
        f"{lift.lifted_by} lifted this entry for {entry.reason_code} on {lift.lifted_at:%Y-%m-%d}{why}, so it was not "
        "added. To add it again, import with relist=true, or add it by hand."
    )
    return ImportProblem(number, about, "lifted", entry.iban_masked or "", note)


def _table(body: bytes) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("is not UTF-8; save the file as CSV in UTF-8", field="body") from None
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def filled() -> Iterator[tuple[int, list[str]]]:
        try:
            for number, cells in enumerate(reader, 1):
                if any(cell.strip() for cell in cells):
                    yield number, [restore(cell.strip()) for cell in cells]
        except csv.Error:
            raise InvalidRequest(
                "has a quotation mark that is not closed, or is closed within a cell", field="body"
            ) from None

    lines = filled()
    header = [cell.lower().replace(" ", "_") for _, cell in _first(lines)]
    if not {"iban", "iban_fingerprint", "name", "last_name", "email", "bic"} & set(header):
        raise InvalidRequest(
            "has no column iban, iban_fingerprint, name, email or bic in its first line", field="body"
        )
    return header, lines


def _first(lines: Iterator[tuple[int, list[str]]]) -> list[tuple[int, str]]:
    number, cells = next(lines, (1, []))
    return [(number, cell) for cell in cells]


def _line(number: int, fields: dict[str, str], *, key: bytes) -> list[ManualEntry] | ImportProblem:
    """The entries of a line, or its problem."""
    name = fields.get("name") or " ".join(filter(None, (fields.get("first_name"), fields.get("last_name"))))
    subjects: Sequence[tuple[str, str]] = [
        (field, text)
        for field, text in (
            ("iban", fields.get("iban", "")),
            ("iban_fingerprint", fields.get("iban_fingerprint", "") if not fields.get("iban") else ""),
            ("name", name),
            ("email", fields.get("email", "")),
            ("bic", fields.get("bic", "")),
        )
        if text
    ]
    if not subjects:
        return ImportProblem(number, "", "nobody", "", "The line names no IBAN, name, e-mail address or BIC.")
    entries = []
    for field, text in subjects:
        body = {
            field: text,
            "action": fields.get("action") or "block",
            "reason": fields.get("reason") or fields.get("reason_code") or "IMPORT",
            "note": fields.get("note", ""),
            "expires_at": fields.get("expires_at") or None,
        }
        try:
            if field == "iban_fingerprint":
                _require_same_key(fields.get("fingerprint_check", ""), key=key)
                entries.append(_by_fingerprint(body, masked=fields.get("iban_masked", "")))
            else:
                entries.append(entry_of(msgspec.convert(body, EntryBody), key=key))
        except (InvalidIban, InvalidRequest, msgspec.ValidationError, ValueError) as exc:
            why = (
                str(exc) if isinstance(exc, InvalidIban | InvalidRequest) else "A cell has an invalid format."
            )
            seen = excerpt(text, as_iban=field == "iban")
            return ImportProblem(number, field, "unreadable", seen, why)
    return entries


def _require_same_key(check: str, *, key: bytes) -> None:
    if check not in {"", check_value(key).hex()}:
        why = "was made with another TETHER_FINGERPRINT_KEY and would match nobody; import the IBAN itself"
        raise InvalidRequest(why, field="iban_fingerprint")


def _by_fingerprint(body: dict[str, Any], *, masked: str) -> ManualEntry:
    digest = bytes.fromhex(body.pop("iban_fingerprint"))
    if len(digest) != 16:
        raise InvalidRequest("must have 32 hex digits", field="iban_fingerprint")
    result = msgspec.convert({**body, "name": "-"}, EntryBody)
    masked = one_line(masked, field="iban_masked")
    return ManualEntry(
        **common_fields(result),
        iban_fingerprint=digest,
        # Masked again unless it is masked already, so that no whole IBAN is stored in clear.
        iban_masked=masked if set(masked[4:-4]) == {"*"} else ibans.mask(masked),
    )


ROUTER: Final = Router("/api/blacklist", route_handlers=[export, import_csv], tags=["blacklist"])
