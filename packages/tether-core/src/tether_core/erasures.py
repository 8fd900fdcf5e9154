"""
Erasures: the removal of a debtor's personal data, as article 17 of the GDPR demands it.

What is removed: account, name, address, references and free texts of the debtor's rows, their edits, warnings, checks, mandates and
pre-notifications; the fields of notifications that are no status, amount or id, in the inbox and in archives; the files of uploads that
have the debtor, with their previews. What stays, and why:

| stays | because |
|---|---|
| debits, refunds, their amounts, states, dates and ids | the books are kept for ten years |
| the fingerprint of an account that was debited or is on the blacklist | nothing is debited twice, and a blocked account stays blocked |
| masked account numbers beside debits and entries | they show which account is meant, and identify nobody |
| active entries of the blacklist about the name or the e-mail address | a person ordered them; lift them first to have them erased |
| the audit | it holds ids and masked values only |

An erasure waits until it costs no evidence: while money may be reclaimed by the debtor or through the bank, the creditor must be able to show
the mandate and the pre-notification (article 17 (3) e). A person may **accept** that loss, for example for a row that was imported by mistake. Nothing
else can be set aside: a debit that may be submitted, or whose outcome is unknown, must be known first.

Each erasure is entered in a list of ids in the object store, before anything is erased. A database that was restored from an older
backup has the personal data again; the list says whose data to erase again. An entry names each debtor by id and by the time it was stored,
because after a restore the same id may be given to somebody else.

>>> paid = ErasureDebit(12, "approved", debited_at=datetime(2026, 3, 2, tzinfo=UTC))
>>> (found,) = obstacles([paid], today=date(2026, 11, 30))
>>> found.code, found.until
('reversible', datetime.date(2027, 4, 4))
>>> obstacles([paid], today=date(2026, 11, 30), accepts_reversible=True)
[]
>>> obstacles([paid], today=date(2027, 4, 4))
[]
>>> form = "application/x-www-form-urlencoded"
>>> scrubbed(b"unique_id=ab&signature=cd&status=approved&bank_account_number=DE89370400440532013000", content_type=form)
b'unique_id=ab&signature=cd&status=approved'
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

import msgspec

from tether_core.emp.notification import JSON, decode
from tether_core.errors import Contradicted, Unreadable
from tether_core.payments.attempt import AttemptState
from tether_core.payments.returns import settles_on
from tether_core.target_calendar import bank_day, exposure

__all__ = [
    "KEPT",
    "KEPT_FIELDS",
    "PREFIX",
    "EntryDebtor",
    "ErasureDebit",
    "ErasureEntry",
    "Kept",
    "NotErasable",
    "Obstacle",
    "ObstacleCode",
    "Open",
    "OpenKind",
    "object_key",
    "obstacles",
    "patterns",
    "read_entry",
    "require_erasable",
    "row_scrubbed",
    "scrubbed",
    "write_entry",
]

ObstacleCode: TypeAlias = Literal[
    "open_debit",
    "planned_retry",
    "reversible",
    "upload",
    "run",
    "refund",
    "gateway_refund",
    "difference",
    "schedule",
    "mandate",
    "reviewing",
]
OpenKind: TypeAlias = Literal[
    "upload", "run", "refund", "gateway_refund", "difference", "schedule", "mandate"
]

# Where entries of the list of erasures lie in the object store.
PREFIX: Final = "erasures"
_FORMAT: Final = "tether-erasure/1"
_ESCAPED: Final = re.compile("[%_#]")
# Shorter values are found in many texts that are about somebody else.
_PATTERN_MIN: Final = 5

# The fields of a notification that name nobody; all others are removed, those that the gateway adds one day among them.
KEPT_FIELDS: Final = frozenset(
    """
    unique_id wpf_unique_id reference_id payment_transaction_unique_id chargeback_unique_id transaction_id wpf_transaction_id signature
    notification_type transaction_type payment_transaction_transaction_type terminal_token payment_transaction_terminal_token status
    wpf_status event error_code code reason_code rc_code amount payment_transaction_amount currency timestamp post_date
    """.split()
)


class Kept(msgspec.Struct, frozen=True):
    """
    What an erasure leaves.

    Attributes:
        what: It, in a few words.
        why: The reason, as a sentence.
    """

    what: str
    why: str


KEPT: Final = (
    Kept("Debits and refunds with amounts, states, dates and ids", "The books are kept for ten years."),
    Kept(
        "The fingerprint of an account that was debited or is on the blacklist",
        "Nothing is debited twice, and a blocked account stays blocked.",
    ),
    Kept(
        "Masked account numbers",
        "They show which account a debit or an entry is about, and identify nobody.",
    ),
    Kept(
        "Active entries of the blacklist about the name or the e-mail address",
        "A person ordered them. Lift them first to have them erased.",
    ),
    Kept("The audit", "It holds ids and masked values only."),
)


class ErasureDebit(msgspec.Struct, frozen=True):
    """
    A debit of the person.

    Attributes:
        attempt_id: The billing attempt.
        state: Its state.
        debited_at: When it was submitted, or made by another system.
        has_retry: Whether another try is planned.
    """

    attempt_id: int
    state: AttemptState
    debited_at: datetime
    has_retry: bool = False


class Open(msgspec.Struct, frozen=True):
    """
    Something of the person that is not over.

    Attributes:
        kind: What it is.
        id: Its row; "" for a refund of the gateway's back office.
    """

    kind: OpenKind
    id: str


class Obstacle(msgspec.Struct, frozen=True):
    """
    Why nothing may be erased, or not yet.

    Attributes:
        code: A stable word.
        text: What is in the way, and what to do, as a sentence.
        until: The first day on which it is no obstacle any more; null where somebody must do something.
    """

    code: ObstacleCode
    text: str
    until: date | None = None


class NotErasable(Contradicted):
    """
    A debtor cannot be erased, or not yet.

    Attributes:
        obstacles: All that is in the way.
    """

    code = "not_erasable"

    def __init__(self, found: Sequence[Obstacle]) -> None:
        super().__init__(tuple(found))
        self.obstacles = tuple(found)

    def __str__(self) -> str:
        return " ".join(["Nothing was erased.", *(obstacle.text for obstacle in self.obstacles[:_SHOWN_MAX])])


_SHOWN_MAX: Final = 20
_OPEN: Final[dict[OpenKind, str]] = {
    "upload": "Upload {id} is not read to its end. Wait for it, answer its questions, or withdraw it.",
    "run": "Billing run {id} of an upload with this debtor is not over. Let it end, or cancel it.",
    "refund": "The outcome of refund {id} is not known yet. Erase the debtor once it is.",
    "gateway_refund": "The outcome of a refund in the gateway's back office is not known yet. Erase the debtor once it is.",
    "difference": "Reconciliation difference {id} is open. Resolve or acknowledge it.",
    "schedule": "Schedule {id} of a collection plan is not ended. End it.",
    "mandate": "Mandate {id} is active. Cancel it.",
}


def obstacles(
    debits: Iterable[ErasureDebit],
    still_open: Iterable[Open] = (),
    *,
    today: date,
    accepts_reversible: bool = False,
    reviewing: bool = False,
) -> list[Obstacle]:
    """
    What keeps a person's data from being erased.

    Args:
        debits: All debits of the person.
        still_open: Everything else that is not over.
        today: The current day.
        accepts_reversible: Whether somebody accepts that money may be reclaimed, and the evidence for it is gone.
        reviewing: Whether the database may have gone back, and its submissions were not all reviewed since.
    """
    found: list[Obstacle] = []
    for debit in debits:
        obstacle = _of_debit(debit, today=today)
        if obstacle is not None and not (accepts_reversible and obstacle.code == "reversible"):
            found.append(obstacle)
    found += [Obstacle(item.kind, _OPEN[item.kind].format(id=item.id)) for item in still_open]
    if reviewing:
        found.append(
            Obstacle(
                "reviewing",
                "What was submitted before the database went back is being reviewed. Try again in a minute.",
            )
        )
    return found


def require_erasable(found: Sequence[Obstacle]) -> None:
    """
    Refuse an erasure where something is in the way.

    Raises:
        NotErasable: naming all of it.
    """
    if found:
        raise NotErasable(found)


def _of_debit(debit: ErasureDebit, *, today: date) -> Obstacle | None:
    if debit.state in {"pending", "unknown"}:
        return Obstacle(
            "open_debit",
            f"The outcome of debit {debit.attempt_id} is not known yet. Erase the debtor once it is, or cancel its billing run.",
        )
    if debit.has_retry:
        return Obstacle(
            "planned_retry",
            f"ErasureDebit {debit.attempt_id} came back and is tried again. Wait for the outcome, or cancel its billing run.",
        )
    # A void never reached the debtor's bank; what was charged back is back. A refund does not end the debtor's right to reclaim.
    if debit.state not in {"approved", "refunded"}:
        return None
    final_on = exposure(settles_on(bank_day(debit.debited_at))).final_on
    if today >= final_on:
        return None
    return Obstacle(
        "reversible",
        f"The money of debit {debit.attempt_id} may be reclaimed until {final_on} is reached, and the mandate must be shown then. Erase "
        f"the debtor on {final_on} or later, or accept that the evidence is gone.",
        until=final_on,
    )


def patterns(values: Collection[str | None]) -> list[str]:
    """
    Patterns of SQL `like` for texts that hold one of some personal values, in lower case.

    Values of fewer than five characters are left out.

    >>> patterns(["Anna", "Anna Schmidt", None, "a_b@example.org"])
    ['%a#_b@example.org%', '%anna schmidt%']
    """
    plain = {value.strip().lower() for value in values if value and len(value.strip()) >= _PATTERN_MIN}
    return ["%" + _ESCAPED.sub(r"#\g<0>", value) + "%" for value in sorted(plain)]


def scrubbed(body: bytes, *, content_type: str) -> bytes:
    """
    The body of a notification without the fields that may be personal.

    It can still be decoded and applied. Its key and the digest of its content are stored beside it and stay, so a repeat of the original is
    recognised as one.

    Args:
        body: As it was received.
        content_type: Its media type.

    Returns:
        The rest in the same form; nothing of a body that cannot be read.
    """
    try:
        fields = decode(body, content_type=content_type).fields
    except Unreadable:
        return b""
    kept = {name: value for name, value in fields.items() if name in KEPT_FIELDS}
    return msgspec.json.encode(kept) if content_type == JSON else urlencode(kept).encode()


class _Archived(msgspec.Struct, frozen=True):
    attempt_id: int | None
    notification_id: str
    content_type: str
    body: str


def row_scrubbed(
    row: bytes, *, attempt_ids: Collection[int], notification_ids: Collection[str]
) -> bytes | None:
    r"""
    A notification of an archive without what may be personal.

    Args:
        row: As the archive has it, JSON.
        attempt_ids: The debits of the person.
        notification_ids: The gateway's ids of these debits and of their refunds.

    Returns:
        The row; `None` where it is about somebody else, or has nothing personal.

    >>> row_scrubbed(b'{"id":1,"attempt_id":7,"notification_id":"ab","content_type":"application/json","body":"\\\\x7b7d"}',
    ...     attempt_ids={7}, notification_ids=())
    b'{"id":1,"attempt_id":7,"notification_id":"ab","content_type":"application/json","body":"\\\\x"}'
    """
    found = msgspec.json.decode(row, type=_Archived)
    if found.attempt_id not in attempt_ids and found.notification_id not in notification_ids:
        return None
    body = bytes.fromhex(found.body.removeprefix("\\x"))
    after = scrubbed(body, content_type=found.content_type)
    if after == body:
        return None
    columns: Mapping[str, Any] = msgspec.json.decode(row, type=dict[str, Any])
    return msgspec.json.encode({**columns, "body": f"\\x{after.hex()}"})


class EntryDebtor(msgspec.Struct, frozen=True):
    """
    A debtor in an entry of the list.

    Attributes:
        id: The debtor.
        stored_at: When it was stored.
    """

    id: int
    stored_at: datetime


class ErasureEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry of the list of erasures, which outlives a restore of the database. It holds no personal data.

    Attributes:
        debtors: Whose data is erased.
        ordered_at: When that was ordered.
        ordered_by: By whom.
        accepts_reversible: As in `obstacles`.
        format: The version of this form.
    """

    debtors: tuple[EntryDebtor, ...]
    ordered_at: datetime
    ordered_by: str
    accepts_reversible: bool
    format: str = _FORMAT


def object_key(token: str, *, ordered_at: datetime) -> str:
    """
    Where an entry lies in the object store.

    Args:
        token: Drawn by the caller; two entries never share one.
        ordered_at: When the erasure was ordered; its day is a part of the key.

    >>> object_key("0b9d", ordered_at=datetime(2026, 11, 30, tzinfo=UTC))
    'erasures/2026-11-30-0b9d.json'
    """
    return f"{PREFIX}/{ordered_at.astimezone(UTC):%Y-%m-%d}-{token}.json"


def write_entry(entry: ErasureEntry) -> bytes:
    """An entry as one JSON object."""
    return msgspec.json.encode(entry)


def read_entry(data: bytes) -> ErasureEntry:
    """
    Read what `write_entry` wrote.

    Raises:
        Unreadable: when it is no entry, or one of another version of Tether.
    """
    try:
        entry = msgspec.json.decode(data, type=ErasureEntry)
    except msgspec.DecodeError as exc:
        raise Unreadable("entry of the list of erasures", why=str(exc)) from None
    if entry.format != _FORMAT:
        raise Unreadable("entry of the list of erasures", why="it has the form of another version of Tether")
    return entry
