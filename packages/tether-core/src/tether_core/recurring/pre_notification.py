"""
Pre-notifications: the text that a debtor gets before a debit, and the day by which.

The scheme demands that the debtor knows amount and due date 14 calendar days before, or as many as were agreed, at least one. A pre-notification is
**made** by the clock, **given** to the debtor by an adapter or by a program that fetched the list and confirms it, and kept with its text as proof.
Where a run or a plan requires it, a debit is made only when the notification was given in time; one that was given late moves the debit, never the period.

>>> due = date(2026, 5, 4)
>>> str(collectable_on(due, given_on=date(2026, 4, 20), days=14)), str(collectable_on(due, given_on=date(2026, 4, 27), days=14))
('2026-05-04', '2026-05-11')
>>> print(text(Notice("Ada", 1999, "EUR", due, "DE89**************3000", "M-17", "Club", "DE98ZZZ09999999999", "RE-7"), language="en"))
Dear Ada, we will collect 19.99 EUR from your account DE89**************3000 by direct debit on 2026-05-04 or the next bank day, under mandate M-17, \
creditor identifier DE98ZZZ09999999999, reference RE-7. Club
>>> require_known("Hello {nme}")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: notice_text: There is no field {nme}; there are amount, creditor, creditor_id, due_on, iban, mandate, name, reference.

Source: European Payments Council, EPC016-06, 4.1 (pre-notification).
"""

import re
from datetime import date, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.money import Money
from tether_core.target_calendar import next_open

__all__ = [
    "FIELDS",
    "NOTICE_DAYS",
    "TRANSITIONS",
    "Language",
    "Notice",
    "NoticeCause",
    "NoticeState",
    "announced_on",
    "collectable_on",
    "require_known",
    "stated_on",
    "step",
    "text",
]

Language: TypeAlias = Literal["en", "de", "es", "fr", "it", "nl"]
NoticeState: TypeAlias = Literal["made", "given", "withdrawn"]
NoticeCause: TypeAlias = Literal["given", "withdrawn"]

# state x cause -> state; what is not here does not exist.
TRANSITIONS: Final[dict[NoticeState, dict[NoticeCause, NoticeState]]] = {
    "made": {"given": "given", "withdrawn": "withdrawn"},
    "given": {},
    "withdrawn": {},
}

_TEXTS: Final[dict[Language, str]] = {
    "en": (
        "Dear {name}, we will collect {amount} from your account {iban} by direct debit on {due_on} or the next bank day, under mandate "
        "{mandate}, creditor identifier {creditor_id}, reference {reference}. {creditor}"
    ),
    "de": (
        "Guten Tag {name}, wir ziehen {amount} per Lastschrift von Ihrem Konto {iban} am {due_on} oder am nächsten Bankarbeitstag ein. "
        "Mandat {mandate}, Gläubiger-Identifikationsnummer {creditor_id}, Referenz {reference}. {creditor}"
    ),
    "es": (
        "Estimado/a {name}: cobraremos {amount} de su cuenta {iban} por adeudo directo el {due_on} o el siguiente día hábil bancario. "
        "Mandato {mandate}, identificador del acreedor {creditor_id}, referencia {reference}. {creditor}"
    ),
    "fr": (
        "Bonjour {name}, nous prélèverons {amount} sur votre compte {iban} le {due_on} ou le jour ouvré bancaire suivant. "
        "Mandat {mandate}, identifiant créancier {creditor_id}, référence {reference}. {creditor}"
    ),
    "it": (
        "Gentile {name}, addebiteremo {amount} sul Suo conto {iban} il {due_on} o il giorno lavorativo bancario successivo. "
        "Mandato {mandate}, identificativo del creditore {creditor_id}, riferimento {reference}. {creditor}"
    ),
    "nl": (
        "Beste {name}, wij schrijven {amount} af van uw rekening {iban} op {due_on} of de eerstvolgende bankwerkdag. "
        "Machtiging {mandate}, incassant-ID {creditor_id}, kenmerk {reference}. {creditor}"
    ),
}
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_DAY: Final = timedelta(days=1)
# Of the scheme, where nothing else was agreed.
NOTICE_DAYS: Final = 14
_AHEAD_DAYS_MAX: Final = 366


class Notice(msgspec.Struct, frozen=True):
    """
    What a pre-notification is about.

    Attributes:
        name: Of the debtor.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        due_on: When the account is debited.
        iban_masked: The masked account.
        mandate: The reference of the mandate; "" for none.
        creditor: The creditor's name.
        creditor_id: The creditor identifier.
        reference: What the debtor knows the debt by; "" for nothing.
    """

    name: str
    amount_minor: int
    currency: str
    due_on: date
    iban_masked: str
    mandate: str = ""
    creditor: str = ""
    creditor_id: str = ""
    reference: str = ""

    def __repr__(self) -> str:
        """Show the day; the rest is personal."""
        return f"Notice({self.due_on})"


FIELDS: Final = ("amount", "creditor", "creditor_id", "due_on", "iban", "mandate", "name", "reference")


def step(state: NoticeState, cause: NoticeCause) -> NoticeState:
    """
    The next state of a pre-notification.

    Args:
        state: Its state.
        cause: What happens.

    Raises:
        IllegalStep: when its life has no such step.
    """
    after = TRANSITIONS[state].get(cause)
    if after is None:
        raise IllegalStep("pre-notification", state=state, step=cause)
    return after


def require_known(template: str) -> None:
    """
    Refuse a text with fields that do not exist.

    Args:
        template: With fields in braces.

    Raises:
        InvalidRequest: when a field is unknown, or amount or due date are missing.
    """
    named = _FIELD.findall(template)
    for name in named:
        if name not in FIELDS:
            raise InvalidRequest(
                f"there is no field {{{name}}}; there are {', '.join(FIELDS)}", field="notice_text"
            )
    if not {"amount", "due_on"} <= set(named):
        raise InvalidRequest("a pre-notification states {amount} and {due_on}", field="notice_text")


def text(notice: Notice, *, language: Language = "en", template: str | None = None) -> str:
    """
    The text of a pre-notification.

    Args:
        notice: What it is about.
        language: Of the built-in text.
        template: The creditor's own text in place of that.

    Returns:
        The text; a field without a value is a dash.
    """
    values = {
        "amount": str(Money(notice.amount_minor, notice.currency)),
        "creditor": notice.creditor,
        "creditor_id": notice.creditor_id,
        "due_on": notice.due_on.isoformat(),
        "iban": notice.iban_masked,
        "mandate": notice.mandate,
        "name": notice.name,
        "reference": notice.reference,
    }
    return _FIELD.sub(lambda found: values.get(found[1], "") or "-", template or _TEXTS[language])


def collectable_on(due_on: date, *, given_on: date, days: int) -> date:
    """
    The first day on which a debit may be made after its pre-notification was given.

    Args:
        due_on: The due date.
        given_on: When the debtor was notified.
        days: How many calendar days must lie between, at least 1.
    """
    return next_open(max(due_on, given_on + _DAY * days))


def stated_on(due_on: date, *, today: date, days: int, waits: bool) -> date:
    """
    The day of the debit that the pre-notification of a due item states.

    Args:
        due_on: The due date, or the day on which a missed item would be collected.
        today: When it is made, a day at the banks.
        days: How many calendar days must lie between giving and debit, at least 1.
        waits: Whether the debit waits for that day. One that is made late then leaves the days; otherwise it states the day on which the item is
            collected all the same.

    >>> due, today = date(2026, 5, 4), date(2026, 4, 27)
    >>> str(stated_on(due, today=today, days=14, waits=True)), str(stated_on(due, today=today, days=14, waits=False))
    ('2026-05-11', '2026-05-04')
    """
    return next_open(max(due_on, today + _DAY * days if waits else today))


def announced_on(due_on: date | None, *, today: date, days: int) -> date:
    """
    The day of the debit that is announced to the debtors of an upload.

    Args:
        due_on: The day that was ordered; `None` for the first one that leaves the days.
        today: The day at the banks.
        days: How many calendar days must lie between giving and debit, at least 1.

    Raises:
        InvalidRequest: when the day leaves less than *days* from today, or lies more than a year ahead.

    >>> today = date(2026, 4, 17)
    >>> str(announced_on(None, today=today, days=14))  # 1 May is closed, then comes a weekend
    '2026-05-04'
    >>> announced_on(date(2026, 4, 30), today=today, days=14)
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: due_on: Give 2026-05-01 or a later day: debtors have 14 days from today.
    """
    first = today + _DAY * days
    if due_on is None:
        return next_open(first)
    if due_on < first:
        raise InvalidRequest(
            f"give {first} or a later day: debtors have {days} days from today", field="due_on"
        )
    if due_on > today + _DAY * _AHEAD_DAYS_MAX:
        raise InvalidRequest("give a day within a year", field="due_on")
    return due_on
