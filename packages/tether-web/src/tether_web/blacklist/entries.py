"""
`/api/blacklist`: accounts, names, e-mail addresses and banks that must not be debited.

```text
GET    /api/blacklist            list entries, newest first; by default the active ones
POST   /api/blacklist            add an entry                                          201, or 200 if it exists
DELETE /api/blacklist/{id}       lift an entry, and choose what that forgives; it stays stored with who and why
```

IBANs are accepted in bodies only and stored as fingerprints (docs/decisions/0008). Lists are in `import_export`.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, Parameter
from tether_core import banks
from tether_core import iban as ibans
from tether_core.audit import facts
from tether_core.blacklist import Forgives, email_key
from tether_core.errors import IllegalStep, InvalidRequest
from tether_stores import audit, blacklist, fingerprint_key
from tether_stores.blacklist import Lift, ListedEntry, ManualEntry
from tether_stores.postgres import reading, transaction

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, printable

__all__ = ["ROUTER", "EntryBody", "Lifted", "common_fields", "entry_of", "one_line"]

Action = Literal["hold", "block"]
_Short = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_Text = Annotated[str, msgspec.Meta(max_length=500)]


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
    responses={200: ResponseSpec(ListedEntry, generate_examples=False, description="The existing entry.")},
)
async def add(request: ApiRequest, state: State, data: JSONBody[EntryBody]) -> Response[ListedEntry]:
    """Add an account, a name, an address or banks to the blacklist."""
    key = state.settings.fingerprint_key.encode()
    entry = entry_of(data, key=key)
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
    reason = one_line(reason, field="reason")
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
        return "The entry is lifted. Earlier debits no longer count for the return rate of the bank."
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


def entry_of(body: EntryBody, *, key: bytes) -> ManualEntry:
    """
    The entry that a body asks for.

    Args:
        body: As it was sent, or made of a line of a list.
        key: For fingerprints.

    Raises:
        InvalidIban: when the IBAN is none.
        InvalidRequest: when the body names nobody or several, or a field is unreadable.
    """
    given = [text for text in (body.iban, body.name, body.email, body.bic) if text and text.strip()]
    if len(given) != 1:
        raise InvalidRequest("give exactly one of iban, name, email and bic")
    canonical = ibans.validate(body.iban) if body.iban else None
    return ManualEntry(
        **common_fields(body),
        iban_fingerprint=None if canonical is None else ibans.fingerprint(canonical, key=key),
        iban_masked=None if canonical is None else ibans.mask(canonical),
        name=one_line(body.name, field="name") if body.name else None,
        email=email_key(one_line(body.email, field="email")) if body.email else None,
        bic=banks.canonical(body.bic) if body.bic else None,
    )


def common_fields(body: EntryBody) -> dict[str, Any]:
    """The fields that do not depend on the subject of the entry."""
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise InvalidRequest("needs an offset from UTC, as in 2027-01-31T00:00:00Z", field="expires_at")
    return {
        "action": body.action,
        "reason_code": one_line(body.reason, field="reason") or "MANUAL",
        "note": one_line(body.note, field="note"),
        "expires_at": body.expires_at,
    }


def one_line(text: str, *, field: str) -> str:
    """A text on one line, printable; people write notes on several lines."""
    return printable(" ".join(text.split()), field=field)


ROUTER: Final = Router("/api/blacklist", route_handlers=[listed, add, detail, lift], tags=["blacklist"])
