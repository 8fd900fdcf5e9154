"""
Questions to a person about rows that may be earlier debits, once for an upload.

Screening finds rows that are perhaps collected already (`tether_core.screening.verdicts.QUESTIONS`). They are counted in groups, by day
and source of the earlier debits, and put to a person as one question for each subject: *take* them all, or *leave them out*.
An answer can be kept for files of the same layout. It then answers for later files as long as the earlier debits are as old as
those it was given for: who says that a monthly list is to be collected has not said so of a list of yesterday.

>>> from datetime import UTC, datetime
>>> now = datetime(2026, 12, 1, tzinfo=UTC)
>>> groups = [RepeatGroup("reference_again", 412, 412_000, date(2026, 11, 3), "collected", 7)]
>>> question = questions(groups)[0]
>>> question.code, question.answer, question.choices
('collected_before', 'screening.collected_before', ('take', 'exclude'))
>>> print(question.ask)
412 rows over 4,120.00 EUR may have been debited before: 412 rows over 4,120.00 EUR with a reference that was collected \
on 2026-11-03 through upload 7. Collect them again?
>>> kept = Remembered("collected_before", "take", 28, "ada", now)
>>> holds(kept, groups, today=now.date()), holds(kept, groups, today=date(2026, 11, 4))
(True, False)
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, Literal

import msgspec

from tether_core.payments.matches import DebitStatus
from tether_core.screening.verdicts import QUESTIONS, Subject
from tether_core.spreadsheet.plan import FileDecision, Plan, Question

__all__ = [
    "Answer",
    "Answered",
    "Remembered",
    "RepeatGroup",
    "days_ago_min",
    "decision",
    "holds",
    "layout_key",
    "of_subject",
    "questions",
]

Answer = Literal["take", "exclude"]

# A monthly list comes some days earlier in one month than in another.
_EARLIER_DAYS: Final = 4
_GROUPS_MAX: Final = 6


class RepeatGroup(msgspec.Struct, frozen=True):
    """
    Rows that need an answer for the same reason.

    Attributes:
        rule: Of `tether_core.screening.verdicts`.
        count: Rows of this upload.
        amount_minor: Their money.
        on: The day of the earlier debits; `None` where the earlier row is one of the same file.
        current_status: Their state.
        upload_id: Where they came from; `None` for another system, or for the same file.
    """

    rule: str
    count: int
    amount_minor: int
    on: date | None = None
    current_status: DebitStatus | None = None
    upload_id: int | None = None


class Answered(msgspec.Struct, frozen=True):
    """
    What was answered about an upload.

    Attributes:
        answer: Take the rows, or leave them out.
        by: Who answered.
        at: When.
        remembered: Whether the answer was given for an earlier file of this layout.
    """

    answer: Answer
    by: str
    at: datetime
    remembered: bool = False


class Remembered(msgspec.Struct, frozen=True):
    """
    An answer kept for files of a layout.

    Attributes:
        subject: What it is about.
        answer: Take the rows, or leave them out.
        days_min: How long ago the latest of the earlier debits was when it was given.
        answered_by: Who gave it.
        answered_at: When.
    """

    subject: Subject
    answer: Answer
    days_min: int
    answered_by: str
    answered_at: datetime


def of_subject(groups: Sequence[RepeatGroup], subject: Subject) -> list[RepeatGroup]:
    """
    Give the groups that a question is about.

    Args:
        groups: Of one upload.
        subject: Of the question.

    Returns:
        Some of them, in their order.
    """
    return [group for group in groups if group.rule in QUESTIONS[subject]]


def questions(groups: Sequence[RepeatGroup]) -> tuple[Question, ...]:
    """
    Put groups of rows as questions.

    Args:
        groups: Of one upload.

    Returns:
        One question for each subject that has rows.
    """
    return tuple([_question(subject, some) for subject in QUESTIONS if (some := of_subject(groups, subject))])


def _question(subject: Subject, groups: Sequence[RepeatGroup]) -> Question:
    largest_first = sorted(groups, key=lambda group: -group.count)
    parts = [
        f"{_rows(group.count, group.amount_minor)} {_earlier(group)}" for group in largest_first[:_GROUPS_MAX]
    ]
    if rest := largest_first[_GROUPS_MAX:]:
        parts.append(f"{_sum(rest)} of {len(rest)} other days or uploads")
    if subject == "collected_before":
        ask = f"{_sum(groups)} may have been debited before: {'; '.join(parts)}. Collect them again?"
    else:
        ask = (
            f"{_sum(groups)} have the account and the reference of another debit, and another mandate or customer number, or "
            f"numbers that a spreadsheet program has shortened (1.2E+15): {'; '.join(parts)}. Are they debits of their own, to be "
            "collected too?"
        )
    return Question(subject, ask, f"screening.{subject}", ("take", "exclude"))


_WITH: Final = {
    "collected_lately": "whose account",
    "reference_again": "with a reference that",
    "identity_unclear": "beside a debit that",
}
_BECAME: Final[dict[DebitStatus, str]] = {
    "waiting": "was taken in, and is not billed yet,",
    "under_way": "was debited",
    "collected": "was collected",
    "refunded": "was collected and refunded,",
    "refused": "failed",
    "charged_back": "came back",
}


def _earlier(group: RepeatGroup) -> str:
    if group.on is None or group.current_status is None:
        return "beside another row of this file"
    source = "by another system" if group.upload_id is None else f"through upload {group.upload_id}"
    became = _BECAME[group.current_status]
    if group.rule == "collected_lately":
        became = became.replace("was collected", "was debited")
    return f"{_WITH.get(group.rule, 'that')} {became} on {group.on} {source}"


def _sum(groups: Sequence[RepeatGroup]) -> str:
    return _rows(sum(group.count for group in groups), sum(group.amount_minor for group in groups))


def _rows(count: int, amount_minor: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'} over {amount_minor // 100:,}.{amount_minor % 100:02d} EUR"


def days_ago_min(groups: Sequence[RepeatGroup], *, today: date) -> int:
    """
    Return how long ago the latest of the earlier debits was.

    Args:
        groups: Of one subject.
        today: The day of the question.

    Returns:
        Whole days; 0 where an earlier row is one of the same file, or is not billed yet.
    """
    return min(
        (
            0 if group.on is None or group.current_status == "waiting" else max((today - group.on).days, 0)
            for group in groups
        ),
        default=0,
    )


def holds(kept: Remembered, groups: Sequence[RepeatGroup], *, today: date) -> bool:
    """
    Return whether a stored answer applies to these rows.

    Args:
        kept: Of the layout of their file.
        groups: Of its subject.
        today: The present day.

    Returns:
        Whether it does. Leaving out always holds; taking does not for earlier debits that are more recent than those it was
        given for.
    """
    if kept.answer == "exclude" or kept.subject == "identity_unclear":
        return True
    return days_ago_min(groups, today=today) >= kept.days_min - _EARLIER_DAYS


def decision(subject: Subject, answered: Answered, groups: Sequence[RepeatGroup]) -> FileDecision:
    """
    Show an answer in the plan of an upload.

    Args:
        subject: The question.
        answered: The answer.
        groups: What it was about.

    Returns:
        The decision, with who made it and when.
    """
    where = ", for a file of this layout" if answered.remembered else ""
    verb = "taken" if answered.answer == "take" else "excluded"
    why = (
        f"{_sum(groups)} are {verb}: {answered.by} answered so on {answered.at:%Y-%m-%d at %H:%M} UTC{where}."
    )
    return FileDecision(subject, answered.answer, why, "caller")


def layout_key(plan: Plan) -> bytes:
    """
    Give the layout of a file: its headers and how they are read, independent of rows, name and encoding.

    Args:
        plan: Of the file.

    Returns:
        16 bytes.
    """
    columns = [(" ".join(column.header.split()).casefold(), column.field) for column in plan.columns]
    encoded = msgspec.json.encode([columns, plan.amount_format])
    return hashlib.blake2b(encoded, digest_size=16, person=b"layout").digest()
