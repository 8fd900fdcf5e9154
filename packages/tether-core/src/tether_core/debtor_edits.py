"""
Edits of a debtor: what a person may change of a stored row, and when.

A row of a file has a wrong account, a name without its second half, an amount of last year. A person corrects the row here instead of
sending the file again: the values are read by the rules of files (`tether_core.spreadsheet.rows`), the row is screened again, and who
changed what is kept. An edit without changes only screens the row again, e.g. after an entry of the blacklist was lifted.

A row cannot be edited while it has a debit that depends on it: a debit that may still be submitted or has an unknown outcome would no longer
match the row, and a debit that was collected or refunded is explained by the row as it is. After a debit that failed, was voided or came back without
a planned retry, the row can be edited and billed again.

Two people who edit one row at once: the row has a version, which each edit names and raises. The second one is refused.

>>> anna = Debtor(2, "DE89370400440532013000", "Anna Schmidt", 1250, first_name="Anna", last_name="Schmidt", email="a@example.org")
>>> done = edited(anna, {"name": "Anna Maria Schmidt", "email": None}, today=date(2026, 3, 2), rules=Rules())
>>> done.debtor.name, done.debtor.first_name, done.debtor.email
('Anna Maria Schmidt', None, None)
>>> [change.field for change in done.changes]
['name', 'first_name', 'last_name', 'email']
>>> edited(anna, {"iban": "DE88370400440532013000"}, today=date(2026, 3, 2), rules=Rules())
Traceback (most recent call last):
    ...
tether_core.debtor_edits.EditRefused: The debtor cannot be stored like this. iban: Its check digits do not fit, so at least one character \
is wrong; ask the account holder for it.
>>> require_editable(7, [DebtorDebit(12, "approved")], upload_state="completed")
Traceback (most recent call last):
    ...
tether_core.debtor_edits.NotEditable: Debtor 7 cannot be edited: debit 12 of it was collected as it is. Send what is to be collected otherwise \
in a new file.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final, Literal, get_args

import msgspec

from tether_core import iban as ibans
from tether_core import redaction
from tether_core.errors import Contradicted, InvalidRequest, Rejected
from tether_core.payments.attempt import AttemptState
from tether_core.screening.verdicts import QUESTIONS, Verdict
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.outcomes import Debtor, Problem, Rules, Skipped
from tether_core.spreadsheet.plan import Column, Plan
from tether_core.spreadsheet.rows import read
from tether_core.step_sentences import STATES

__all__ = [
    "FIELDS",
    "DebtorChange",
    "DebtorDebit",
    "EditConflict",
    "EditRefused",
    "Edited",
    "Field",
    "NotEditable",
    "after_answer",
    "edited",
    "keeps_answer",
    "require_editable",
    "require_version",
]

# What can be changed. Neither the currency, which is the euro, nor what is only kept beside a debtor.
Field = Literal[
    "iban",
    "name",
    "first_name",
    "last_name",
    "amount_minor",
    "bic",
    "mandate_id",
    "mandate_signed_on",
    "reference",
    "customer_id",
    "email",
    "phone",
    "street",
    "house_number",
    "postcode",
    "city",
    "province",
    "country",
    "description",
]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)
_PARTS: Final[tuple[Field, ...]] = ("first_name", "last_name")
# What a debit is known by (`tether_core.payments.same_debit`), and its amount.
_IDENTITY: Final[tuple[Field, ...]] = ("iban", "amount_minor", "reference", "mandate_id", "customer_id")
_ASKED: Final = frozenset(rule for some in QUESTIONS.values() for rule in some)
# One row whose cells are the fields, in this order.
_PLAN: Final = Plan(
    kind="csv",
    header_row=1,
    data_row=1,
    columns=tuple(Column(position, field, field) for position, field in enumerate(FIELDS)),
    date_orders={"mandate_signed_on": "iso"},
)


class DebtorChange(msgspec.Struct, frozen=True):
    """
    A changed field, as it is kept for people.

    Attributes:
        field: One of `FIELDS`.
        before: The former value, account numbers masked; "" for none.
        after: The new value, likewise.
    """

    field: str
    before: str
    after: str


class Edited(msgspec.Struct, frozen=True):
    """
    A debtor after an edit.

    Attributes:
        debtor: With its new values, and the warnings about them.
        changes: The fields that differ, in the order of `FIELDS`.
    """

    debtor: Debtor
    changes: tuple[DebtorChange, ...]


class DebtorDebit(msgspec.Struct, frozen=True):
    """
    A debit of a debtor.

    Attributes:
        attempt_id: The billing attempt.
        state: Its state.
        retry_on: The day of a planned retry that was not made yet, or `None`.
    """

    attempt_id: int
    state: AttemptState
    retry_on: date | None = None


class EditRefused(Rejected):
    """
    The new values are none that a row of a file may have.

    Attributes:
        problems: All of them; the columns are named like the fields.
    """

    code = "debtor_refused"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        found = " ".join(f"{problem.column}: {problem.note}" for problem in self.problems)
        return f"The debtor cannot be stored like this. {found}"


class NotEditable(Contradicted):
    """
    A debtor cannot be edited, or not yet.

    Attributes:
        debtor_id: The debtor.
        why: What is in the way, and what to do: the end of a sentence and another one.
    """

    code = "not_editable"

    def __init__(self, debtor_id: int, why: str) -> None:
        super().__init__(debtor_id, why)
        self.debtor_id = debtor_id
        self.why = why

    def __str__(self) -> str:
        return f"Debtor {self.debtor_id} cannot be edited: {self.why}"


class EditConflict(Contradicted):
    """
    Somebody else has edited the debtor.

    Attributes:
        debtor_id: The debtor.
        seen: The version that this edit began with.
        current: The version that is stored.
    """

    code = "edited_before"

    def __init__(self, debtor_id: int, *, seen: int, current: int) -> None:
        super().__init__(debtor_id, seen, current)
        self.debtor_id = debtor_id
        self.seen = seen
        self.current = current

    def __str__(self) -> str:
        return (
            f"Debtor {self.debtor_id} has version {self.current} by now, and this edit was made for version {self.seen}. Look at the "
            "debtor again, and send what is still to be changed with its version."
        )


# State of a debit -> why the debtor stays as it is.
_IN_THE_WAY: Final[dict[AttemptState, str]] = {
    "pending": (
        "debit {id} of it may still be submitted. Wait for its outcome, or cancel its billing run, and edit the debtor then."
    ),
    "unknown": "the outcome of debit {id} of it is not known yet. Edit the debtor once it is.",
    "approved": "debit {id} of it was collected as it is. Send what is to be collected otherwise in a new file.",
    "refunded": "debit {id} of it was collected as it is, and refunded. Send what is to be collected now in a new file.",
}


def require_version(debtor_id: int, *, seen: int, current: int) -> None:
    """
    Refuse an edit that was made for another version of the debtor.

    Args:
        debtor_id: The debtor.
        seen: The version it was made for; 0 for a debtor that nobody has edited.
        current: The version that is stored.

    Raises:
        EditConflict: when they differ.
    """
    if seen != current:
        raise EditConflict(debtor_id, seen=seen, current=current)


def require_editable(
    debtor_id: int,
    payments: Iterable[DebtorDebit],
    *,
    upload_state: str | None,
    reviewing: bool = False,
    is_erased: bool = False,
) -> None:
    """
    Refuse an edit while a debit depends on the debtor as it is.

    Args:
        debtor_id: The debtor.
        payments: All of its debits, while no more can be added.
        upload_state: Of its upload; `None` for one that came with the debits of another system.
        reviewing: Whether the database may have gone back, and its submissions were not all reviewed since.
        is_erased: Whether its personal data was erased.

    Raises:
        NotEditable: when it cannot be edited.
    """
    if is_erased:
        raise NotEditable(
            debtor_id, "its personal data was erased. Send what is to be collected in a new file."
        )
    if upload_state is None:
        raise NotEditable(
            debtor_id,
            "it came with the debits of another system and is never billed here. Send what is to be collected in a file.",
        )
    if upload_state != "completed":
        state = STATES["upload"][upload_state]
        raise NotEditable(debtor_id, f"its upload {state.text}. {state.advice}")
    for payment in payments:
        if payment.state in _IN_THE_WAY:
            raise NotEditable(debtor_id, _IN_THE_WAY[payment.state].format(id=payment.attempt_id))
        if payment.retry_on is not None:
            raise NotEditable(
                debtor_id,
                f"debit {payment.attempt_id} of it came back and is tried again on {payment.retry_on}. Wait for the outcome of that, "
                "or cancel its billing run.",
            )
    if reviewing:
        raise NotEditable(
            debtor_id,
            "it is being checked whether the database went back, or what was submitted before it did is being reviewed. Try again in "
            "a minute.",
        )


def edited(
    current: Debtor, changes: Mapping[Field, str | int | None], *, today: date, rules: Rules
) -> Edited:
    """
    Apply changes to a debtor by the rules of files.

    A new name takes the place of its former parts, and new parts make the name anew, unless both are given.

    Args:
        current: As it is stored.
        changes: Field to its new value; `None` or "" for none. Amounts in whole cents, days as 2026-03-31.
        today: For days that may not lie in the future.
        rules: The operator's limits.

    Returns:
        The debtor, and which fields differ.

    Raises:
        EditRefused: with everything that is wrong with the values.
        InvalidRequest: when the values are none of a debtor.
    """
    wanted: dict[Field, str | int | None] = dict(changes)
    if "name" in wanted and not any(part in wanted for part in _PARTS):
        wanted |= dict.fromkeys(_PARTS)
    elif "name" not in wanted and any(part in wanted for part in _PARTS):
        wanted["name"] = None
    cells = [_text(wanted.get(field, getattr(current, field))) for field in FIELDS]
    outcome = next(read([Row(current.row, cells)], plan=_PLAN, today=today, rules=rules))
    if isinstance(outcome, Skipped):
        raise InvalidRequest("must leave an account, a name and an amount", field="changes")
    if not isinstance(outcome, Debtor):
        raise EditRefused([problem for problem in outcome.problems if problem.level == "error"])
    # A file keeps a row whose BIC or day cannot be read, without it; a person who typed it wants to know.
    if lost := [
        field for field in changes if cells[FIELDS.index(field)].strip() and not getattr(outcome, field)
    ]:
        ignored = [problem for problem in outcome.warnings if problem.column in lost]
        if ignored:
            raise EditRefused(ignored)
        raise InvalidRequest("has a value that stands for none; send null to clear it", field=lost[0])
    values = {field: getattr(outcome, field) for field in wanted}
    after = msgspec.structs.replace(current, **values, warnings=outcome.warnings)
    return Edited(
        after,
        tuple(
            DebtorChange(
                field, _masked(field, getattr(current, field)), _masked(field, getattr(after, field))
            )
            for field in FIELDS
            if getattr(current, field) != getattr(after, field)
        ),
    )


def keeps_answer(changes: Iterable[DebtorChange]) -> bool:
    """Whether what a person has answered about a row still holds: the edit leaves account, amount and the values it is known by."""
    return not any(change.field in _IDENTITY for change in changes)


def after_answer(found: Sequence[Verdict], *, is_answered: bool) -> tuple[Verdict, ...]:
    """
    What still excludes a row, where a person may have answered that it is to be collected.

    Args:
        found: What screening found.
        is_answered: Whether a person has.

    Returns:
        The reasons that still apply; those that leave the decision to a person do not, once it is made.
    """
    return tuple(verdict for verdict in found if not (is_answered and verdict.rule in _ASKED))


def _text(value: object) -> str:
    return "" if value is None else value.isoformat() if isinstance(value, date) else str(value)


def _masked(field: Field, value: object) -> str:
    text = _text(value)
    return ibans.mask(text) if field == "iban" else redaction.text(text)
