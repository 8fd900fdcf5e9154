"""
Imported debits: debits of another system, so that their late notifications find a payment here.

A merchant who migrates from another system has pending debits there, and each may be returned for 13 months. A notification
carries no IBAN. So without these debits a chargeback is of an unknown payment and blacklists no account, and an upload could collect a debt a
second time. A table of them, one debit a row, is imported as attempts: the same rules apply their notifications
(`tether_core.payments.attempt`), screening and billing see them, and status inquiries are made about those that are open.

| column | what it holds | |
|---|---|---|
| `transaction_id` | the other system's id of the debit, as the gateway knows it | needed |
| `unique_id` | the gateway's id of it; blank where there is none | needed |
| `amount` or `amount_minor` | with all decimals of its currency (12.50, 12,50), or in whole minor units (1250) | needed |
| `currency` | three letters of ISO 4217; without the column, or where it is blank, EUR | |
| `status` | the gateway's latest status (`tether_core.payments.stages`), or `unknown` | needed |
| `iban` | of the account that was debited | needed |
| `submitted_at` | when it was submitted: ISO 8601, UTC where no zone is given | needed |
| `updated_at` | when its status last changed; without it, `submitted_at` | |
| `error_code` | the gateway's code, for errors and declines | |
| `reason_code` | why its money went back | |
| `name`, `reference`, `mandate_id` | of the debtor, the creditor's reference of what was owed, the mandate | |

Columns are recognised by their names only, and each cell must have exactly one reading: "12" may be twelve euros or twelve cents, so it is no
amount. Other columns are ignored. The status decides where a debit **begins** here:

| status | begins at |
|---|---|
| a state of the payment track, such as `approved` | that stage |
| a state of the dispute track, such as `chargebacked` | collected, with that dispute |
| an error whose code says that the outcome is not known; `unknown` | unknown to the gateway: a status inquiry is made |
| under way, or an error without a code, and the gateway never named an id | likewise: no response is not a refusal |
| anything else | nowhere: the row is refused |

From there on only the gateway's reports change it. A row that is stored already changes nothing, even with another status, and a row that
contradicts the stored one is reported to a person.

>>> columns = layout(["transaction_id", "Unique ID", "amount", "status", "iban", "submitted_at", "colour"])
>>> columns.passed_over
('colour',)
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> cells = ["old-7", "44177a21", "12.50", "approved", "DE89 3704 0044 0532 0130 00", "2026-02-27 09:30:00", "red"]
>>> debit = read(Row(2, cells), layout=columns, now=noon)
>>> debit.amount_minor, debit.state, debit.submitted_at.isoformat()
(1250, 'approved', '2026-02-27T09:30:00+00:00')
>>> [problem.code for problem in read(Row(3, [*cells[:2], "12", "paid", *cells[4:]]), layout=columns, now=noon)]
['amount_unreadable', 'status_unknown']
>>> layout(["transaction_id", "iban"])
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: header: There is no column unique_id, amount, status, submitted_at; name the columns so.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar

import msgspec

from tether_core import iban as ibans
from tether_core.blacklist import Entry
from tether_core.errors import InvalidIban, InvalidRequest
from tether_core.money import exponent
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, AttemptState, state_of
from tether_core.return_policies.policy import BUILT_IN, ReturnPolicy
from tether_core.spreadsheet.cells import Row, excerpt
from tether_core.spreadsheet.outcomes import Problem

__all__ = [
    "CODES",
    "FIELDS",
    "NEEDED",
    "ImportedDebit",
    "Layout",
    "begin",
    "compare",
    "entry",
    "layout",
    "read",
]

NEEDED: Final = ("transaction_id", "unique_id", "amount", "status", "iban", "submitted_at")
FIELDS: Final = (
    *NEEDED,
    *(
        "amount_minor",
        "currency",
        "updated_at",
        "error_code",
        "reason_code",
        "name",
        "reference",
        "mandate_id",
    ),
)

# What may be wrong with a row; the last four by what is stored.
CODES: Final[dict[str, str]] = {
    "row_unreadable": "Lines were swallowed by an open quotation mark, or a delimiter has moved the cells.",
    "cell_missing": "A required cell is blank.",
    "id_unreadable": "An id has blanks or characters that the gateway's ids do not have, or more than 255 characters.",
    "amount_unreadable": "It is not an amount above 0 with all decimals of its currency.",
    "currency_unreadable": "It is not three letters of ISO 4217.",
    "status_unknown": "The gateway has no such status of a debit.",
    "code_unreadable": "It is no code of the gateway or of a bank.",
    "iban_invalid": "It is not an IBAN.",
    "timestamp_unreadable": "It is not a time as ISO 8601 writes it.",
    "timestamp_in_future": "It is in the future.",
    "text_unreadable": "It has characters that cannot be printed, or more than 500 characters.",
    "other_payment": "One of its ids is stored with another one.",
    "other_account": "The debit is stored with another gateway account.",
    "other_amount": "The debit is stored with another amount or currency.",
    "other_iban": "The debit is stored with another bank account.",
}

_T = TypeVar("_T")

_ID: Final = re.compile(r"[!-~]{1,255}")
_MINOR: Final = re.compile(r"[0-9]{1,15}")
_MAJOR: Final = re.compile(r"([0-9]{1,13})[.,]([0-9]+)")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_CODE: Final = re.compile(r"[A-Z0-9_.-]{1,40}")
_TEXT_MAX: Final = 500
# A clock of another system may be ahead, and its zone unsaid.
_AHEAD_MAX: Final = timedelta(days=1)
# Our own status for a debit of unknown outcome.
_UNKNOWN: Final = "unknown"


class Layout(msgspec.Struct, frozen=True):
    """
    The position of each field in a table.

    Attributes:
        at: Field to position from 0.
        headers: Of all columns, as they stand.
        passed_over: Headers of columns that hold none of `FIELDS`.
    """

    at: dict[str, int]
    headers: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


class ImportedDebit(msgspec.Struct, frozen=True, kw_only=True):
    """
    One debit that another system sent.

    Attributes:
        row: Number of its row.
        transaction_id: The other system's id, as the gateway knows it.
        unique_id: The gateway's id, or `None`.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        payment_stage: How far it had come; a key of `tether_core.payments.attempt.PAYMENT_STAGES`.
        dispute_stage: How far a dispute about it had come.
        error_code: The gateway's code, for errors and declines.
        reason_code: Why its money went back, where it did.
        iban: Canonical.
        submitted_at: When it was sent, aware, UTC.
        updated_at: When its status last changed.
        name: Of the debtor; empty where unknown.
        reference: The creditor's, of what was owed.
        mandate_id: Of the permission to collect.
    """

    row: int
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    payment_stage: int
    dispute_stage: int
    error_code: str | None
    reason_code: str | None
    iban: str
    submitted_at: datetime
    updated_at: datetime
    name: str = ""
    reference: str | None = None
    mandate_id: str | None = None

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"ImportedDebit(row={self.row})"

    @property
    def state(self) -> AttemptState:
        """The state in which it begins here."""
        return state_of(self.payment_stage, self.dispute_stage)

    def attempt(self, *, account: str, fingerprint: bytes) -> Attempt:
        """
        The debit as an attempt that is not stored yet.

        Args:
            account: Our name of the gateway account that it was sent with.
            fingerprint: Of its IBAN.

        Returns:
            An attempt whose row is 0.
        """
        return Attempt(
            0,
            account,
            self.transaction_id,
            self.unique_id,
            self.amount_minor,
            self.currency,
            self.payment_stage,
            self.dispute_stage,
            self.error_code,
            self.reason_code,
            fingerprint,
            ibans.mask(self.iban),
        )


def layout(header: Sequence[str]) -> Layout:
    """
    Find the fields of a table by the names of its columns.

    Args:
        header: The names; case, blanks and underscores do not matter.

    Returns:
        Where they stand.

    Raises:
        InvalidRequest: when a column is missing that every row needs, or two have one name.
    """
    names = {field.replace("_", ""): field for field in FIELDS}
    at: dict[str, int] = {}
    passed_over: list[str] = []
    for position, text in enumerate(header):
        field = names.get(re.sub(r"[\W_]", "", text.casefold()))
        if field is None:
            passed_over.extend([text.strip()[:40]] if text.strip() else [])
        elif field in at:
            raise InvalidRequest(f"two columns are called {field}; leave one out", field="header")
        else:
            at[field] = position
    if "amount" in at and "amount_minor" in at:
        raise InvalidRequest("there are amount and amount_minor; leave one out", field="header")
    missing = [
        field for field in NEEDED if field not in at and not (field == "amount" and "amount_minor" in at)
    ]
    if missing:
        raise InvalidRequest(f"there is no column {', '.join(missing)}; name the columns so", field="header")
    return Layout(at, tuple(header), tuple(passed_over))


def begin(status: str, *, error_code: str | None, named: bool) -> tuple[int, int] | None:
    """
    Where a debit of another system begins here.

    Args:
        status: As its system has it, in any case.
        error_code: The gateway's code beside it, or `None`.
        named: Whether the gateway has ever named an id for it.

    Returns:
        Its stages on the payment track and on the dispute track; `None` for a status that is no state of a debit.

    >>> begin("Approved", error_code=None, named=True), begin("chargebacked", error_code=None, named=True)
    ((60, 0), (60, 1))
    >>> begin("error", error_code="340", named=False), begin("error", error_code=None, named=False)
    ((40, 0), (30, 0))
    """
    word = status.strip().lower()
    if word == _UNKNOWN:
        return stages.UNKNOWN_TO_GATEWAY, stages.UNDISPUTED
    step = stages.meaning(word, event=None, error_code=error_code)
    if step is None or step.track == "none":
        return None
    if step.track == "dispute":
        # Only a collected debit can be disputed.
        return stages.APPROVED, step.stage
    lost = not named and (step.stage < stages.ERROR or (step.stage == stages.ERROR and error_code is None))
    return (stages.UNKNOWN_TO_GATEWAY if lost else step.stage), stages.UNDISPUTED


def read(row: Row, *, layout: Layout, now: datetime) -> ImportedDebit | tuple[Problem, ...]:
    """
    Read one row.

    Args:
        row: Not blank.
        layout: Of its table.
        now: The current time, aware; nothing was sent later.

    Returns:
        The debit, or everything that is wrong with the row.
    """
    beyond = any(cell.strip() for cell in row.cells[len(layout.headers) :])
    if row.flaw or beyond:
        note = (
            row.flaw
            or "It has more cells than the header: put cells that hold the delimiter in quotation marks."
        )
        return (Problem(row.number, "", "row_unreadable", "", note),)
    cells = _Cells(row, layout)
    transaction_id = cells.needed("transaction_id", _id)
    unique_id = cells.maybe("unique_id", _id)
    currency = cells.maybe("currency", _currency) or "EUR"
    if "amount_minor" in layout.at:
        amount_minor = cells.needed("amount_minor", _minor)
    else:
        amount_minor = cells.needed("amount", lambda text: _major(text, currency=currency))
    error_code = cells.maybe("error_code", _code)
    reason_code = cells.maybe("reason_code", _code)
    begins = cells.needed(
        "status", lambda text: begin(text, error_code=error_code, named=unique_id is not None)
    )
    iban = cells.needed("iban", ibans.validate)
    submitted_at = cells.needed("submitted_at", lambda text: _timestamp(text, now=now))
    updated_at = cells.maybe("updated_at", lambda text: _timestamp(text, now=now))
    name = cells.maybe("name", _text) or ""
    reference, mandate_id = cells.maybe("reference", _text), cells.maybe("mandate_id", _text)
    if cells.problems:
        return tuple(cells.problems)
    # What is missing is a problem, and there is none.
    assert transaction_id is not None
    assert amount_minor is not None
    assert begins is not None
    assert iban is not None
    assert submitted_at is not None
    return ImportedDebit(
        row=row.number,
        transaction_id=transaction_id,
        unique_id=unique_id,
        amount_minor=amount_minor,
        currency=currency,
        payment_stage=begins[0],
        dispute_stage=begins[1],
        error_code=error_code,
        reason_code=reason_code,
        iban=iban,
        submitted_at=submitted_at,
        updated_at=max(updated_at or submitted_at, submitted_at),
        name=name,
        reference=reference,
        mandate_id=mandate_id,
    )


class _Cells:
    """The cells of a row by field, and what is wrong with them."""

    def __init__(self, row: Row, layout: Layout) -> None:
        self._row = row
        self._layout = layout
        self.problems: list[Problem] = []

    def text(self, field: str) -> str:
        at = self._layout.at.get(field, -1)
        return self._row.cells[at].strip() if 0 <= at < len(self._row.cells) else ""

    def needed(self, field: str, reading: Callable[[str], _T | None]) -> _T | None:
        if not self.text(field):
            self.wrong(field, "cell_missing", "Nothing is in it; every debit has one.")
            return None
        return self.maybe(field, reading)

    def maybe(self, field: str, reading: Callable[[str], _T | None]) -> _T | None:
        text = self.text(field)
        if not text:
            return None
        try:
            found = reading(text)
        except InvalidIban as exc:
            self.wrong(field, _UNREADABLE[field][0], str(exc))
            return None
        except _WrongError as exc:
            self.wrong(field, exc.code, exc.note)
            return None
        if found is None:
            self.wrong(field, *_UNREADABLE[field])
        return found

    def wrong(self, field: str, code: str, note: str) -> None:
        # A name must not be printed at a terminal, from any cell of the row; of an IBAN only the mask is.
        text = self.text(field)
        hidden = field in _UNSHOWN or (" " in text and any(map(str.isalpha, text)) and field != "iban")
        text = "" if hidden else excerpt(text, as_iban=field == "iban")
        self.problems.append(Problem(self._row.number, field, code, text, note))


class _WrongError(Exception):
    """What is wrong with a cell, where there is more than one way."""

    def __init__(self, code: str, note: str) -> None:
        super().__init__(code, note)
        self.code = code
        self.note = note


_UNSHOWN: Final = frozenset({"name", "reference", "mandate_id"})
_NO_ID: Final = ("id_unreadable", "An id has 1 to 255 printable ASCII characters and no blanks.")
_NO_CODE: Final = ("code_unreadable", "A code has letters and digits only, such as AC04 or 340.")
_NO_TEXT: Final = (
    "text_unreadable",
    f"It has characters that cannot be printed, or more than {_TEXT_MAX} characters.",
)
_NO_TIMESTAMP: Final = (
    "timestamp_unreadable",
    "Write it like 2026-03-02T14:05:00Z; without a zone it is read as UTC.",
)
_UNREADABLE: Final[dict[str, tuple[str, str]]] = {
    "transaction_id": _NO_ID,
    "unique_id": _NO_ID,
    "amount": (
        "amount_unreadable",
        "Write all decimals and no thousands signs, such as 12.50; cents are amount_minor.",
    ),
    "amount_minor": ("amount_unreadable", "Write whole minor units above 0, such as 1250 for 12.50 EUR."),
    "currency": ("currency_unreadable", "Write three letters of ISO 4217, such as EUR."),
    "status": (
        "status_unknown",
        "Write the gateway's word, such as approved, declined, error or chargebacked.",
    ),
    "error_code": _NO_CODE,
    "reason_code": _NO_CODE,
    "iban": ("iban_invalid", "It is not an IBAN."),
    "submitted_at": _NO_TIMESTAMP,
    "updated_at": _NO_TIMESTAMP,
    "name": _NO_TEXT,
    "reference": _NO_TEXT,
    "mandate_id": _NO_TEXT,
}


def _id(text: str) -> str | None:
    return text if _ID.fullmatch(text) else None


def _currency(text: str) -> str | None:
    return text.upper() if _CURRENCY.fullmatch(text.upper()) else None


def _code(text: str) -> str | None:
    return text.upper() if _CODE.fullmatch(text.upper()) else None


def _text(text: str) -> str | None:
    return text if len(text) <= _TEXT_MAX and text.isprintable() else None


def _minor(text: str) -> int | None:
    return (int(text) or None) if _MINOR.fullmatch(text) else None


def _major(text: str, *, currency: str) -> int | None:
    places = exponent(currency)
    if not places:
        return _minor(text)
    found = _MAJOR.fullmatch(text)
    # With three decimals a comma could part thousands.
    if found is None or len(found[2]) != places or (places == 3 and "," in text):
        return None
    return int(found[1] + found[2]) or None


def _timestamp(text: str, *, now: datetime) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.removesuffix(" UTC"))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if found > now + _AHEAD_MAX:
        raise _WrongError("timestamp_in_future", "It is in the future; correct it.")
    return found


ImportStatus = Literal["new", "there already"]


def compare(
    debit: ImportedDebit, stored: Iterable[Attempt], *, account: str, fingerprint: bytes
) -> ImportStatus | tuple[Problem, ...]:
    """
    What a debit is to the stored attempts.

    Args:
        debit: The debit.
        stored: All attempts with its `transaction_id` or its `unique_id`; others do no harm.
        account: The gateway account that it was sent with.
        fingerprint: Of its IBAN.

    Returns:
        "new"; "there already": an equal row, with any later status; or what contradicts it.
    """
    problems: list[Problem] = []
    same: Attempt | None = None

    def differs(field: str, code: str, text: str, held: str) -> None:
        problems.append(
            Problem(debit.row, field, code, text, f"The stored value is {held}; a person must look.")
        )

    for attempt in stored:
        if attempt.transaction_id == debit.transaction_id:
            same = attempt
        elif debit.unique_id is not None and attempt.unique_id == debit.unique_id:
            held = f"that of {excerpt(attempt.transaction_id)}"
            differs("unique_id", "other_payment", excerpt(debit.unique_id), held)
    if same is None:
        return tuple(problems) or "new"
    if same.account != account:
        differs(
            "transaction_id", "other_account", excerpt(debit.transaction_id), f"of account {same.account}"
        )
    if None not in {same.unique_id, debit.unique_id} and same.unique_id != debit.unique_id:
        differs("unique_id", "other_payment", excerpt(debit.unique_id or ""), excerpt(same.unique_id or ""))
    if (same.amount_minor, same.currency) != (debit.amount_minor, debit.currency):
        given, held = (
            f"{amount} minor units of {currency}"
            for amount, currency in ((debit.amount_minor, debit.currency), (same.amount_minor, same.currency))
        )
        differs("amount", "other_amount", given, held)
    if same.iban_fingerprint != fingerprint:
        differs("iban", "other_iban", ibans.mask(debit.iban), same.iban_masked or "another")
    return tuple(problems) or "there already"


def entry(debit: ImportedDebit, *, fingerprint: bytes, policy: ReturnPolicy = BUILT_IN) -> Entry | None:
    """
    The blacklist entry for a debit that was returned before it was imported.

    Args:
        debit: The debit.
        fingerprint: Of its IBAN.
        policy: The version of the return policy that is active.

    Returns:
        The entry, or `None` where it was not returned or its reason requires none.
    """
    reason = policy.of(debit.reason_code)
    if debit.state != "chargebacked" or reason.action == "none":
        return None
    masked = ibans.mask(debit.iban)
    return Entry(reason.action, reason.scope, reason.code, fingerprint, masked, policy_version=policy.version)
