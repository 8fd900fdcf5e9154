"""
`/api/quarantine`: notifications whose signature no password verified, and their way into the inbox after a password was corrected.

```text
GET  /api/quarantine             list them, newest first; nothing of them is verified
GET  /api/quarantine/status      how many are kept of each account, and the bounds
GET  /api/quarantine/preview     how many would verify now, and under which password; nothing is changed
POST /api/quarantine/reverify    take those in that verify, in the order of their receipt
GET  /api/quarantine/passwords   which password verified how many notifications
```

Each notification that verifies is removed here and recorded in the inbox in one transaction of its own, as if it had come now: what came once
more in between is a repeat, what conflicts is kept for a person, and the gateway confirms what must be confirmed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from cryptography.fernet import MultiFernet
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.emp.notification import Notification, decode
from tether_core.emp.signature import Credential, Verified, password_tag, verified_by
from tether_core.errors import InvalidRequest, SignatureMismatch, Unreadable
from tether_core.notifications import password_uses as uses_rules
from tether_core.notifications.identity import Delivery
from tether_core.notifications.password_uses import PasswordUse
from tether_stores import audit
from tether_stores.accounts.gateway_accounts import opened_keys
from tether_stores.notifications import password_uses, quarantine, webhook_events
from tether_stores.notifications.quarantine import KeptBody, KeptRow, QuarantinedNotification, QuotaCount
from tether_stores.postgres import Pool, connection, reading, transaction
from tether_stores.telemetry import logger

from tether_web.accounts.credentials import read as read_credentials
from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import printable
from tether_web.notifications.receive import of_owner, recording_of

__all__ = ["ROUTER", "QuarantineStatus", "Reverified", "ReverifyOrder", "ReverifyPreview", "VerifiedCount"]

_PAGE: Final = 500
_TAKE_MAX: Final = 5_000
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_log = logger("quarantine")


class QuarantineStatus(msgspec.Struct, frozen=True):
    """
    What the quarantine holds, and its bounds.

    Attributes:
        is_kept: Whether refused notifications are kept: not without `TETHER_SECRETS_KEY`.
        days: For how long a notification is kept.
        rows_max: How many are kept of one account that name a known debit, and how many of all others.
        bytes_max: Bytes that their bodies may have, counted in the same way.
        quotas: What is used of each quota, by account and kind.
    """

    is_kept: bool
    days: int
    rows_max: int
    bytes_max: int
    quotas: list[QuotaCount]


class VerifiedCount(msgspec.Struct, frozen=True):
    """
    How many notifications one password verifies.

    Attributes:
        account: The gateway account.
        place: "password 1", "password 2" or "login".
        tag: Of the password: eight hex digits that distinguish it from others of the account.
        count: How many.
    """

    account: str
    place: str
    tag: str
    count: int


class ReverifyPreview(msgspec.Struct, frozen=True):
    """
    What a reverification would take in; nothing was changed.

    Attributes:
        checked: How many notifications were examined.
        genuine: Of these, how many verify now.
        by_password: The same by password.
        invalid: How many no configured password verifies; they stay until they expire.
        unopenable: How many no key of `TETHER_SECRETS_KEY` opens; they stay likewise.
        explanation: What follows, as sentences.
    """

    checked: int
    genuine: int
    by_password: list[VerifiedCount]
    invalid: int
    unopenable: int
    explanation: str


class ReverifyOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An order to take in what verifies.

    Attributes:
        reason: Why; stored in the audit.
        limit: How many are taken in at most; order again for the rest.
    """

    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=_TAKE_MAX)] = 500


class Reverified(msgspec.Struct, frozen=True):
    """
    What a reverification took in.

    Attributes:
        genuine: How many verified and left the quarantine.
        by_password: The same by password.
        recorded: Of these, how many are new in the inbox.
        repeated: How many had come once more in between.
        conflicting: How many have another content than the stored notification; they are kept for a person.
        counted: How many are only counted, beyond what is kept of one payment.
        invalid: How many no configured password verifies; they stay until they expire.
        unopenable: How many no key of `TETHER_SECRETS_KEY` opens; they stay likewise.
        is_finished: Whether all were examined; if not, order again.
        explanation: What follows, as sentences.
    """

    genuine: int
    by_password: list[VerifiedCount]
    recorded: int
    repeated: int
    conflicting: int
    counted: int
    invalid: int
    unopenable: int
    is_finished: bool
    explanation: str


class _Judged(msgspec.Struct, frozen=True):
    """A row, and the password that verifies it; `None` for none. `kept` is `None` where no key opens it."""

    row: KeptRow
    kept: KeptBody | None = None
    notification: Notification | None = None
    verified: Verified | None = None


@get(
    "/",
    summary="List refused notifications, newest first",
    responses=described(Page[QuarantinedNotification]),
)
async def listed(
    state: State,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page. What a row says was claimed by its sender; its body is sealed."""

    async def load(cursor: str | None, limit: int) -> Page[QuarantinedNotification]:
        async with reading(state.pool) as conn:
            rows = await quarantine.listed(conn, limit=limit + 1, before=decode_cursor(cursor))
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(
        form, load, row=QuarantinedNotification, name="quarantine", cursor=cursor, limit=limit
    )


@get("/status", summary="How many refused notifications are kept, and the bounds")
async def status(state: State) -> QuarantineStatus:
    """Rows that name a known debit mean a wrong password; others may be false."""
    bounds = state.settings.quarantine
    async with reading(state.pool) as conn:
        quotas = await quarantine.counts(conn)
    return QuarantineStatus(
        bool(state.settings.secrets_key), bounds.days, bounds.rows_max, bounds.bytes_max, quotas
    )


@get("/preview", summary="How many refused notifications verify now, and under which password")
async def preview(state: State) -> ReverifyPreview:
    """Nothing is changed."""
    keys, credentials = _keys(state), await read_credentials(state.pool, settings=state.settings)
    checked = invalid = unopenable = 0
    found = Counter[Verified]()
    async for some in _judged(state.pool, keys=keys, credentials=credentials):
        checked += len(some)
        for each in some:
            if each.verified is not None:
                found[each.verified] += 1
            elif each.kept is None:
                unopenable += 1
            else:
                invalid += 1
    genuine = found.total()
    return ReverifyPreview(
        checked,
        genuine,
        _by_password(found, credentials),
        invalid,
        unopenable,
        _explanation(genuine=genuine, invalid=invalid, unopenable=unopenable),
    )


@post("/reverify", status_code=200, summary="Take in the refused notifications that verify now")
async def reverify(request: ApiRequest, state: State, data: JSONBody[ReverifyOrder]) -> Reverified:
    """In the order of their receipt, each exactly once; those that still do not verify stay."""
    reason = printable(data.reason, field="reason")
    keys, credentials = _keys(state), await read_credentials(state.pool, settings=state.settings)
    async with transaction(state.pool) as conn:
        await audit.record(
            conn,
            request.auth.actor,
            "quarantine.reverified",
            subject="quarantine",
            reason=reason,
            after=facts(limit=data.limit),
            now=state.clock(),
        )
    found, deliveries = Counter[Verified](), Counter[Delivery]()
    invalid = unopenable = 0
    is_finished = True
    async for some in _judged(state.pool, keys=keys, credentials=credentials):
        for each in some:
            if each.verified is None:
                unopenable += each.kept is None
                invalid += each.kept is not None
                continue
            if found.total() >= data.limit:
                is_finished = False
                break
            taken_in = await _taken_in(state, each, each.verified, credentials=credentials)
            if taken_in is not None:
                delivery, verified = taken_in
                found[verified] += 1
                deliveries[delivery] += 1
        if not is_finished:
            break
    _log.info(
        "quarantine reverified",
        genuine=found.total(),
        **{str(word): count for word, count in deliveries.items()},
        invalid=invalid,
        unopenable=unopenable,
    )
    explanation = _explanation(genuine=found.total(), invalid=invalid, unopenable=unopenable)
    return Reverified(
        found.total(),
        _by_password(found, credentials),
        deliveries["recorded"],
        deliveries["repeated"],
        deliveries["conflicting"],
        deliveries["counted"],
        invalid,
        unopenable,
        is_finished,
        explanation if is_finished else "There are more; order the rest.",
    )


@get("/passwords", summary="Which password verified how many notifications")
async def passwords(
    state: State,
    days: Annotated[
        int,
        Parameter(ge=1, le=uses_rules.DAYS_MAX, description="The last days to count, today included."),
    ] = uses_rules.DAYS,
) -> list[PasswordUse]:
    """A password is named by its place in the configuration and by a tag; counts are some seconds old."""
    credentials = await read_credentials(state.pool, settings=state.settings)
    async with reading(state.pool) as conn:
        uses = await password_uses.since(conn, state.clock().date() - timedelta(days=days - 1))
    return uses_rules.report(credentials, uses, days=days)


async def _taken_in(
    state: State, judged: _Judged, verified: Verified, *, credentials: Sequence[Credential]
) -> tuple[Delivery, Verified] | None:
    """Move a notification to the inbox, and say for which account; `None` where another order has just done so."""
    kept, notification = judged.kept, judged.notification
    assert kept is not None
    assert notification is not None
    now = state.clock()
    if judged.row.relay_id is None:
        verified = await of_owner(state.inbox, notification, verified, credentials=credentials)
    row = recording_of(
        notification,
        kept.body,
        account=verified.account,
        content_type=kept.content_type,
        relay_id=judged.row.relay_id,
        sender=None if judged.row.relay_id is None else judged.row.sender,
    )
    async with transaction(state.pool) as conn:
        if not await quarantine.take(conn, judged.row.id):
            return None
        (delivery,) = await webhook_events.record(conn, [row], now=now)
        await password_uses.add(conn, live={}, reverified={verified: 1}, used_on=now.date())
    return delivery, verified


async def _judged(
    pool: Pool, *, keys: MultiFernet, credentials: Sequence[Credential]
) -> AsyncIterator[list[_Judged]]:
    """All rows in the order of their receipt, page by page, each with the password that verifies it."""
    after_at, after_id = _LONG_AGO, 0
    while True:
        async with connection(pool) as conn:
            rows = await quarantine.page(conn, after_at=after_at, after_id=after_id, limit=_PAGE)
        if rows:
            # A page of the largest bodies takes a second, for which other requests of this process must not wait.
            yield await asyncio.to_thread(_judge_all, rows, keys, credentials)
        if len(rows) < _PAGE:
            return
        after_at, after_id = rows[-1].received_at, rows[-1].id


def _judge_all(
    rows: Sequence[KeptRow], keys: MultiFernet, credentials: Sequence[Credential]
) -> list[_Judged]:
    return [_judge(row, keys=keys, credentials=credentials) for row in rows]


def _judge(row: KeptRow, *, keys: MultiFernet, credentials: Sequence[Credential]) -> _Judged:
    kept = quarantine.opened(row, keys=keys)
    if kept is None:
        return _Judged(row)
    if row.relay_id is not None:
        credentials = [each for each in credentials if each.account == row.relay_account]
    try:
        notification = decode(kept.body, content_type=kept.content_type)
        verified = verified_by(
            notification.id,
            notification.signature,
            credentials=credentials,
            terminal_token=notification.terminal_token,
            with_login=notification.kind == "kyc",
        )
    except (Unreadable, SignatureMismatch):
        return _Judged(row, kept)
    return _Judged(row, kept, notification, verified)


def _keys(state: State) -> MultiFernet:
    keys = opened_keys(state.settings.secrets_key)
    if keys is None:
        raise InvalidRequest(
            "must be set by the operator: without it refused notifications are not kept; `tether-worker accounts new-key` prints a key",
            field="TETHER_SECRETS_KEY",
        )
    return keys


def _by_password(found: Counter[Verified], credentials: Iterable[Credential]) -> list[VerifiedCount]:
    places = uses_rules.places(credentials)
    rows = []
    for verified, count in found.items():
        tag = password_tag(verified.secret, account=verified.account)
        rows.append(VerifiedCount(verified.account, places.get((verified.account, tag), ""), tag, count))
    return sorted(rows, key=lambda row: (row.account, row.place))


def _explanation(*, genuine: int, invalid: int, unopenable: int) -> str:
    parts = []
    if not (genuine or invalid or unopenable):
        parts.append("The quarantine is empty.")
    elif invalid and not genuine:
        parts.append(
            "No configured password verifies any of them: correct the password first, or they are false."
        )
    if unopenable:
        parts.append(
            f"{unopenable:,} cannot be opened: put the key under which they were sealed at the end of TETHER_SECRETS_KEY."
        )
    return " ".join(parts)


ROUTER = Router(
    "/api/quarantine", route_handlers=[listed, status, preview, reverify, passwords], tags=["notifications"]
)
