"""
`/api/blacklist`: accounts, names, e-mail addresses and banks that must not be debited.

```text
GET    /api/blacklist            list entries, newest first; by default the active ones
POST   /api/blacklist            add an entry                                          201, or 200 if it exists
DELETE /api/blacklist/{id}       lift an entry, and choose what that forgives; it stays stored with who and why
GET    /api/blacklist/export     all active entries as CSV
POST   /api/blacklist/import     add entries from CSV
```

IBANs are accepted in bodies only and stored as fingerprints (docs/decisions/0008). An export contains the fingerprints: it can be
imported where the same key is set, which `fingerprint_check` verifies, and reveals no account numbers.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, Parameter
from litestar.response import Stream
from tether_core import banks
from tether_core import iban as ibans
from tether_core.audit import facts
from tether_core.blacklist import Forgives, email_key
from tether_core.errors import IllegalStep, InvalidIban, InvalidRequest
from tether_core.fingerprint_key import check_value
from tether_core.spreadsheet.cells import excerpt, neutralise, restore
from tether_stores import audit, blacklist, fingerprint_key
from tether_stores.blacklist import Lift, LiftedBefore, ListedEntry, ManualEntry
from tether_stores.postgres import Pool, connection, reading, transaction

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, printable
from tether_web.http.table_export import as_csv

__all__ = ["ROUTER", "EntryBody", "ImportProblem", "Imported", "Lifted"]

Action = Literal["hold", "block"]
_Short = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_Text = Annotated[str, msgspec.Meta(max_length=500)]

IMPORT_MAX_BYTES: Final = 20 << 20
_COLUMNS: Final = "id iban_fingerprint fingerprint_check iban_masked name email bic action reason note source added_by created_at expires_at".split()
_BATCH: Final = 1_000


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A new entry for exactly one of an IBAN, a name, an e-mail address or banks.

    Attributes:
        iban: In any spelling.
        name: Name of the account holder; case does not matter.
        email: E-mail address; case does not matter.
        bic: Banks: a BIC of 8 or 11 characters, or the beginning of BICs, 4 to 10 characters with a star, such as COBADE*.
        action: "hold" or "block"; both last until a person lifts them, and lifting a block requires a reason.
        reason: A reason code of the scheme, or a short word.
        note: A note for people.
        expires_at: When it expires, or null.
    """

    iban: _Text | None = None
    name: _Text | None = None
    email: _Text | None = None
    bic: _Text | None = None
    action: Action = "block"
    reason: _Short = "MANUAL"
    note: _Text = ""
    expires_at: datetime | None = None


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


@get(
    "/",
    summary="List blacklist entries, newest first",
    responses=described(Page[ListedEntry]),
)
async def listed(
    state: State,
    which: Annotated[
        Literal["live", "ended", "all"],
        Parameter(description="Active entries, ended ones, or both."),
    ] = "live",
    action: Annotated[Action | None, Parameter(description="Only entries with this action.")] = None,
    source: Annotated[
        Literal["chargeback", "manual", "import", "automatic"] | None,
        Parameter(description="Only entries from this source."),
    ] = None,
    reason: Annotated[
        str | None, Parameter(description="Only entries with this reason.", max_length=40)
    ] = None,
    name: Annotated[str | None, Parameter(description="Only entries for this name.", max_length=500)] = None,
    email: Annotated[
        str | None, Parameter(description="Only entries for this e-mail address.", max_length=500)
    ] = None,
    bic: Annotated[
        str | None,
        Parameter(
            description="Only entries that are written so: a BIC, or a beginning with a star.", max_length=40
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of entries."""
    written = None if bic is None else banks.canonical(bic)

    async def load(cursor: str | None, limit: int) -> Page[ListedEntry]:
        async with reading(state.pool) as conn:
            rows = await blacklist.listed(
                conn,
                limit=limit + 1,
                before=decode_cursor(cursor),
                live=None if which == "all" else which == "live",
                action=action,
                source=source,
                reason_code=reason,
                name=name,
                email=email,
                bic=written,
                now=state.clock(),
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=ListedEntry, name="blacklist", cursor=cursor, limit=limit)


@post(
    "/",
    summary="Add an entry",
    responses={200: ResponseSpec(ListedEntry, description="The existing entry.")},
)
async def add(request: ApiRequest, state: State, data: JSONBody[EntryBody]) -> Response[ListedEntry]:
    """Add an account, a name, an address or banks to the blacklist."""
    key = state.settings.fingerprint_key.encode()
    entry = _entry(data, key=key)
    async with transaction(state.pool) as conn:
        if entry.iban_fingerprint is not None:
            await fingerprint_key.require(conn, key, now=state.clock())
        now = state.clock()
        made = await blacklist.enter(conn, [entry], source="manual", added_by=request.user, now=now)
        entry_id = made.get(0) or await blacklist.active_entry(conn, entry)
        assert entry_id is not None, "an entry that was not added exists"
        found = await blacklist.by_id(conn, entry_id)
        assert found is not None
        if made:
            await audit.record(
                conn,
                request.auth.actor,
                "blacklist.added",
                subject="blacklist_entry",
                subject_id=entry_id,
                reason=entry.note,
                after=facts(
                    action=entry.action,
                    reason_code=entry.reason_code,
                    account_masked=entry.iban_masked,
                    banks=entry.bic,
                ),
                now=now,
            )
    return Response(found, status_code=201 if made else 200)


@get("/{entry_id:int}", summary="One blacklist entry")
async def detail(state: State, entry_id: Id) -> ListedEntry:
    """One entry, active or lifted."""
    async with reading(state.pool) as conn:
        found = await blacklist.by_id(conn, entry_id)
    if found is None:
        raise NotFoundException("There is no such blacklist entry")
    return found


@delete("/{entry_id:int}", status_code=200, summary="Lift an entry")
async def lift(
    request: ApiRequest,
    state: State,
    entry_id: Id,
    reason: Annotated[
        str,
        Parameter(
            description="Why; required to lift a block, and to forgive all chargebacks of an account.",
            max_length=500,
        ),
    ] = "",
    forgives: Annotated[
        Forgives,
        Parameter(
            description="What the lift forgives: nothing (entry), the disputes that caused the entry (disputes), or every "
            "chargeback of the account so far (account). A forgiven chargeback excludes no debtor."
        ),
    ] = "disputes",
) -> Lifted:
    """The entry stays stored with who lifted it, why, and what that forgives. It can be lifted again to forgive more."""
    reason = _one_line(reason, field="reason")
    if forgives == "account" and not reason:
        raise InvalidRequest("say why all chargebacks of the account are forgiven", field="reason")
    async with transaction(state.pool) as conn:
        found = await blacklist.by_id(conn, entry_id)
        if found is None:
            raise NotFoundException("There is no such blacklist entry")
        if found.action == "block" and not reason:
            raise InvalidRequest("say why the block is lifted", field="reason")
        now = state.clock()
        lift = await blacklist.lift(
            conn, entry_id, lifted_by=request.user, reason=reason, forgives=forgives, now=now
        )
        if lift is None:
            raise IllegalStep("blacklist entry", state="lifted", step="lifted")
        await audit.record(
            conn,
            request.auth.actor,
            "blacklist.lifted",
            subject="blacklist_entry",
            subject_id=entry_id,
            reason=reason,
            before=facts(action=found.action, reason_code=found.reason_code),
            after=facts(forgives=forgives, forgiven=lift.forgiven),
            now=now,
        )
        found = await blacklist.by_id(conn, entry_id)
    assert found is not None
    return Lifted(
        **msgspec.structs.asdict(found),
        forgiven=lift.forgiven,
        unforgiven=lift.unforgiven,
        still_held_by=lift.entries,
        explanation=_explanation(found, lift),
    )


def _explanation(entry: ListedEntry, lift: Lift) -> str:
    """The consequences of a lift, and what else a person must do."""
    if entry.source == "automatic":
        return "The entry is lifted. Debits of before no longer count for the return rate of the bank."
    if entry.iban_masked is None:
        return "The entry is lifted."
    parts = ["The entry is lifted."]
    if lift.forgiven:
        parts.append(f"It forgives {_count(lift.forgiven, 'chargeback')} of the account.")
    if lift.unforgiven:
        verb = "excludes" if lift.unforgiven == 1 else "exclude"
        parts.append(
            f"{_count(lift.unforgiven, 'chargeback')} of the account still {verb} it from new uploads; lift the entry again "
            "with forgives=account to forgive all."
        )
    if lift.entries:
        others = ", ".join(str(entry_id) for entry_id in lift.entries)
        verb = "holds" if len(lift.entries) == 1 else "hold"
        parts.append(
            f"Entry {others} still {verb} the account; lift it, too, if the account is to be debited."
        )
    if not lift.unforgiven and not lift.entries:
        parts.append("To collect from the account, send the debtor's row in a new upload.")
    return " ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


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
                entries.append(_entry(msgspec.convert(body, EntryBody), key=key))
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
    masked = _one_line(masked, field="iban_masked")
    return ManualEntry(
        **_common_fields(result),
        iban_fingerprint=digest,
        # Masked again unless it is masked already, so that no whole IBAN is stored in clear.
        iban_masked=masked if set(masked[4:-4]) == {"*"} else ibans.mask(masked),
    )


def _entry(body: EntryBody, *, key: bytes) -> ManualEntry:
    given = [text for text in (body.iban, body.name, body.email, body.bic) if text and text.strip()]
    if len(given) != 1:
        raise InvalidRequest("give exactly one of iban, name, email and bic")
    canonical = ibans.validate(body.iban) if body.iban else None
    return ManualEntry(
        **_common_fields(body),
        iban_fingerprint=None if canonical is None else ibans.fingerprint(canonical, key=key),
        iban_masked=None if canonical is None else ibans.mask(canonical),
        name=_one_line(body.name, field="name") if body.name else None,
        email=email_key(_one_line(body.email, field="email")) if body.email else None,
        bic=banks.canonical(body.bic) if body.bic else None,
    )


def _common_fields(body: EntryBody) -> dict[str, Any]:
    """The fields that do not depend on the subject of the entry."""
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise InvalidRequest("needs an offset from UTC, as in 2027-01-31T00:00:00Z", field="expires_at")
    return {
        "action": body.action,
        "reason_code": _one_line(body.reason, field="reason") or "MANUAL",
        "note": _one_line(body.note, field="note"),
        "expires_at": body.expires_at,
    }


def _one_line(text: str, *, field: str) -> str:
    """A text on one line, printable; people write notes on several lines."""
    return printable(" ".join(text.split()), field=field)


ROUTER: Final = Router(
    "/api/blacklist", route_handlers=[listed, add, detail, lift, export, import_csv], tags=["blacklist"]
)
