"""
Account checks before billing: the answers of a provider, and a score.

No scheme lets a creditor verify the payer of a direct debit: verification of payee exists for credit transfers, on the
payer's side. What can be checked beforehand is the account number, whether its bank is known and takes direct debits,
whether its country is in reach, and, with a service that has the data, whether the name fits the account. Each of
these is a **check** with an answer, and `CHECKS` says what a good answer is worth:

| check | worth | asks |
|---|---|---|
| iban | 20 | whether the number is an IBAN |
| bank | 25 | whether the bank behind it is known |
| debit | 25 | whether that bank takes direct debits |
| country | 15 | whether the country is in the SEPA area |
| name | 15 | whether the holder's name fits |

A check that nobody could answer is worth nothing and costs nothing: the score is what was earned of what was answered,
in whole percent. So an outage of a provider, or a bank that a directory lacks, never counts against a debtor; it only leaves the result less
sure, which `answered` shows, and with fewer than 60 of the 100 points answered
nothing is called verified. Two answers decide alone: a number that is no IBAN is rejected, and a name that does not
fit is a mismatch, even if all other answers are good.

Name answers use the terms of verification of payee: "yes" (MTCH), "close" (CMTC), "no" (NMTC), "unanswered" (NOAP).

A provider may charge for each call. So calls have a **budget** by day and month (`granted`, `granted_again_at`), an answer about the same account and name is
**taken over** for some days (`same_name`), and a bank that does not answer is not asked about for a day (`BANK_UNANSWERED_MAX`).

Source: European Payments Council, EPC218-23, "Verification Of Payee Scheme Rulebook" (answers); the worths and
thresholds are Tether's, version 1.

>>> scored(Answers(iban="yes", bank="yes", debit="yes", country="yes"))
Score(score=100, answered=85, result='verified')
>>> scored(Answers(iban="yes", bank="unanswered", country="yes"))
Score(score=100, answered=35, result='likely_verified')
>>> scored(Answers(iban="yes", bank="yes", debit="yes", country="yes", name="no")).result
'mismatch'
>>> plausible_name("Anna Schmidt"), plausible_name("n/a"), plausible_name("12345")
('unanswered', 'no', 'no')
>>> granted(100, day_calls=40, month_calls=480, limits=CallLimits(day_max=100, month_max=500))
20
>>> same_name("Zoë  Miller", "miller, zoë"), same_name("Zoë Miller", "Zoë Müller")
(True, False)
>>> scored(Answers(iban="yes", name="close", name_percent=101))
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: name_percent is a percentage.
"""

import re
import unicodedata
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal

import msgspec

from tether_core import iban as ibans
from tether_core.errors import InvalidIban, InvalidRequest

__all__ = [
    "BANK_REST",
    "BANK_UNANSWERED_MAX",
    "CHECKS",
    "NAME_ANSWERS",
    "RESULTS",
    "TRANSITIONS",
    "Answer",
    "Answers",
    "CallLimits",
    "CheckState",
    "CheckStep",
    "Result",
    "Score",
    "granted",
    "granted_again_at",
    "meets",
    "plausible_name",
    "reachable",
    "same_name",
    "scored",
]

Answer = Literal["yes", "close", "no", "unanswered"]
CheckState = Literal["waiting", "checked", "parked"]
CheckStep = Literal["claimed", "answered", "deferred", "parked", "requested again"]
Result = Literal["verified", "likely_verified", "inconclusive", "mismatch", "rejected"]

# state x step -> state. A provider that is away leaves a check waiting: an outage is no answer.
TRANSITIONS: Final[dict[CheckState, dict[CheckStep, CheckState]]] = {
    "waiting": {"claimed": "waiting", "answered": "checked", "deferred": "waiting", "parked": "parked"},
    "checked": {"requested again": "waiting"},
    "parked": {"requested again": "waiting"},
}

# What a good answer to each check is worth; 100 together.
CHECKS: Final[dict[str, int]] = {"iban": 20, "bank": 25, "debit": 25, "country": 15, "name": 15}
# From this score on a result is called so.
RESULTS: Final[tuple[tuple[int, Result], ...]] = (
    (80, "verified"),
    (60, "likely_verified"),
    (40, "inconclusive"),
    (20, "mismatch"),
    (0, "rejected"),
)
# With fewer points answered, "verified" is not justified.
_ANSWERED_MIN: Final = 60

# So many names of a bank in a row that nobody could answer, and the provider is not asked about this bank for a while.
BANK_UNANSWERED_MAX: Final = 20
BANK_REST: Final = timedelta(days=1)

# The four answers of verification of payee.
NAME_ANSWERS: Final[dict[str, Answer]] = {"MTCH": "yes", "CMTC": "close", "NMTC": "no", "NOAP": "unanswered"}


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a provider found out about one account; the whole protocol between Tether and a provider.

    Attributes:
        iban: Whether the number is an IBAN; never "close".
        bank: Whether its bank is known. "no" only where the provider is sure that there is none.
        debit: Whether the bank takes direct debits.
        country: Whether the country is in reach.
        name: Whether the holder's name fits.
        name_percent: How well it fits, for "close"; 0 to 100.
        bank_name: For people, "" where not known.
        bic: Likewise; a hint, never to be sent.
    """

    iban: Answer = "unanswered"
    bank: Answer = "unanswered"
    debit: Answer = "unanswered"
    country: Answer = "unanswered"
    name: Answer = "unanswered"
    name_percent: int = 70
    bank_name: str = ""
    bic: str = ""


class Score(msgspec.Struct, frozen=True):
    """
    The result of the answers.

    Attributes:
        score: Earned of what was answered, in whole percent; 0 where nothing was.
        answered: How many of the 100 points were answered: how sure the score is.
        result: The verdict.
    """

    score: int
    answered: int
    result: Result


def scored(answers: Answers) -> Score:
    """
    The result of answers.

    Args:
        answers: A provider's.

    Returns:
        The score.

    Raises:
        InvalidRequest: when the name's percentage is none.
    """
    if not 0 <= answers.name_percent <= 100:
        raise InvalidRequest("is a percentage", field="name_percent")
    fields: dict[str, Answer] = {
        check: answer for check in CHECKS if (answer := getattr(answers, check)) != "unanswered"
    }
    answered = sum(CHECKS[check] for check in fields)
    percent: dict[Answer, int] = {"yes": 100, "close": answers.name_percent, "no": 0}
    earned = sum(CHECKS[check] * percent[answer] for check, answer in fields.items())
    score = earned // answered if answered else 0
    return Score(score, answered, _result(answers, score=score, answered=answered))


def _result(answers: Answers, *, score: int, answered: int) -> Result:
    if answers.iban == "no":
        return "rejected"
    if answers.name == "no":
        return "mismatch"
    if not answered:
        return "inconclusive"
    result = next(result for threshold, result in RESULTS if score >= threshold)
    return "likely_verified" if result == "verified" and answered < _ANSWERED_MIN else result


def meets(score: Score, *, score_min: int) -> bool:
    """
    Whether a debtor may be billed where billing demands a check.

    Args:
        score: Of the debtor's last check.
        score_min: The least score that is accepted, 0 to 100.

    Returns:
        False below it, and always for what is called a mismatch or rejected.
    """
    return score.result not in {"rejected", "mismatch"} and score.score >= score_min


def reachable(iban: str) -> tuple[Answer, Answer]:
    """
    What an account number alone answers: whether it is an IBAN, and whether its country is in reach.

    Args:
        iban: In any spelling.

    Returns:
        The answers to "iban" and "country"; the country of what is no IBAN is not asked about.

    >>> reachable("DE89 3704 0044 0532 0130 00"), reachable("TR33 0006 1005 1978 6457 8413 26"), reachable("DE00")
    (('yes', 'yes'), ('yes', 'no'), ('no', 'unanswered'))
    """
    try:
        canonical = ibans.validate(iban)
    except InvalidIban:
        return "no", "unanswered"
    return "yes", "yes" if ibans.is_sepa(canonical) else "no"


class CallLimits(msgspec.Struct, frozen=True):
    """
    How many calls of a provider one gateway account may cause.

    Attributes:
        day_max: On a day, UTC; `None` for no limit.
        month_max: In a calendar month, UTC; `None` for no limit.
    """

    day_max: int | None = None
    month_max: int | None = None


def granted(wanted: int, *, day_calls: int, month_calls: int, limits: CallLimits) -> int:
    """
    How many calls may be made now.

    Args:
        wanted: How many are due.
        day_calls: Calls of today so far.
        month_calls: Calls of this month so far, today's included.
        limits: Of the gateway account.

    Returns:
        0 to *wanted*.
    """
    left = [wanted]
    if limits.day_max is not None:
        left.append(limits.day_max - day_calls)
    if limits.month_max is not None:
        left.append(limits.month_max - month_calls)
    return max(min(left), 0)


def granted_again_at(now: datetime, *, month_calls: int, limits: CallLimits) -> datetime:
    """
    When calls are granted again, after a budget was used up.

    Args:
        month_calls: Calls of this month so far.
        limits: Of the gateway account.

    Returns:
        The beginning of the next day, or of the next month where that one is used up; UTC.

    >>> at = datetime(2026, 12, 30, 9, tzinfo=UTC)
    >>> str(granted_again_at(at, month_calls=10, limits=CallLimits(5, 100)).date())
    '2026-12-31'
    >>> str(granted_again_at(at, month_calls=100, limits=CallLimits(5, 100)).date())
    '2027-01-01'
    """
    today = now.astimezone(UTC).date()
    is_month_used = limits.month_max is not None and month_calls >= limits.month_max
    # Four days after the 28th of any month lies in the next one.
    day = (
        (today.replace(day=28) + timedelta(days=4)).replace(day=1)
        if is_month_used
        else today + timedelta(days=1)
    )
    return datetime.combine(day, time(), UTC)


def same_name(name: str, other: str) -> bool:
    """
    Whether an answer about a name is an answer about the other: the same words in any order, whatever their case and the signs between them.

    Args:
        name: Of the holder of an account.
        other: Of a holder of the same account.
    """
    return _name_words(name) == _name_words(other)


def _name_words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFC", name).casefold()
    return sorted(re.findall(r"[^\W_]+", plain))


# Placeholders that people type into a required field.
_PLACEHOLDERS: Final = frozenset(
    """
    na none null nil nan test tester testing unknown unbekannt inconnu desconocido sconosciuto onbekend nieznany name
    firstname lastname nachname vorname kunde customer debtor anonymous anonym xxx xx asdf foo bar
    """.split()
)
_NAME_CHARACTERS_MAX: Final = 70  # the longest a SEPA message can carry


def plausible_name(name: str) -> Answer:
    """
    Whether a text can be a person's name, by its form.

    Looks prove nothing, so a good-looking name is "unanswered" and never "yes". Companies have digits in
    their names, and short names exist; only what cannot be a name is "no".

    Args:
        name: Of a person or a company.

    Returns:
        "no" without two letters, for placeholders, for one letter repeated, and beyond 70 characters; else "unanswered".

    >>> plausible_name("Müller & Söhne 24 GmbH"), plausible_name("Ng"), plausible_name("Test Test"), plausible_name("aaaa")
    ('unanswered', 'unanswered', 'no', 'no')
    """
    plain = unicodedata.normalize("NFC", name).strip()
    letters = [mark.casefold() for mark in plain if mark.isalpha()]
    words = {"".join(filter(str.isalpha, word)).casefold() for word in re.split(r"[\s,;]+", plain)} - {""}
    nobodys = (
        len(letters) < 2
        or (len(set(letters)) == 1 and len(letters) > 2)
        or words <= _PLACEHOLDERS
        or len(plain) > _NAME_CHARACTERS_MAX
    )
    return "no" if nobodys else "unanswered"
