"""
Screening: which debtors of a file are excluded, and why.

A row may be right and still not to be collected: it comes twice, its account is on the blacklist, an earlier debit was
charged back, the same debit was collected a week ago. Each rule looks at the facts known of a row and leaves it out with a
cause. All causes are reported; the first of this order is the row's verdict:

| rule | leaves a row out when |
| --- | --- |
| `duplicate_in_file` | another row of the file is the same debit |
| `blacklisted` | the account is on the blacklist, held or blocked |
| `chargebacked_before` | a debit from this account was ever charged back |
| `already_collected` | the same debit was collected through another upload within the window, or is under way |
| `waiting_elsewhere` | the same debit waits in another upload and is not submitted yet |
| `recently_attempted` | the same debit failed or came back through another upload within the window |
| `blacklisted_name` | the name is on the blacklist |
| `blacklisted_email` | the e-mail address is on the blacklist |
| `blacklisted_bank` | the account's bank is on the blacklist (`tether_core.banks`) |
| `identity_unclear` | a debit has the same reference and another mandate or customer number, or damaged numbers: a person is asked |
| `collected_lately` | it may be a debit of the window under another reference, or without one: a person is asked |
| `reference_again` | a debit with this reference was collected before the window: a person is asked |

What is the same debit: `tether_core.payments.same_debit`. The rows of the last three rules are counted and put to a person as one
question for each subject (`QUESTIONS`); the upload waits for the answer, and nothing of it can be billed before.

**Judged again.** What a rule found when a file was read may have changed when its debtors are billed. So a cause stored with a row is not
final (`still_applies`), except causes about the file itself and those that a person has answered: blacklist and earlier debits are checked again
when a run is planned, and before each debit is submitted (`tether_core.billing.eligibility`).

>>> judge(Facts(listed="hold", listed_cause="MD06: the debtor asked for the money back"))
Verdict(rule='blacklisted', cause='The account is on hold: MD06: the debtor asked for the money back.')
>>> from datetime import date
>>> collected = Match("already_collected", date(2026, 3, 2), 3, "collected", 7)
>>> [verdict.rule for verdict in reasons(Facts(listed="hold", matches=(collected,)))]
['blacklisted', 'already_collected']
>>> judge(Facts()) is None
True
>>> judge(Facts(listed="hold", chargebacked=True), policy=ScreeningPolicy(rules=("chargebacked_before", "blacklisted"))).rule
'chargebacked_before'
>>> ScreeningPolicy(rules=("unheard_of",))
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: rules: There is no rule 'unheard_of'.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, Literal

import msgspec

from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest
from tether_core.payments.matches import DebitStatus, Match, MatchKind
from tether_core.payments.same_debit import WINDOW_DAYS

__all__ = [
    "QUESTIONS",
    "RULES",
    "Facts",
    "Same",
    "ScreeningPolicy",
    "Subject",
    "Verdict",
    "judge",
    "reasons",
    "still_applies",
]

Same = Literal["iban_and_reference", "iban"]

# The questions about the rows of an upload, and the rules that each question covers.
Subject = Literal["collected_before", "identity_unclear"]
QUESTIONS: Final[dict[Subject, tuple[str, ...]]] = {
    "collected_before": ("collected_lately", "reference_again"),
    "identity_unclear": ("identity_unclear",),
}
_ASKED: Final = frozenset(rule for some in QUESTIONS.values() for rule in some)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a row besides its cells.

    Attributes:
        duplicate_of: The row of the file that is kept for the same debit; see `tether_core.payments.repeats.repeats`.
        unclear_with: An earlier row of the file that may be the same debit; see `tether_core.payments.repeats.Repeats`.
        listed: The account's blacklist entry: "hold", "block" or none.
        listed_cause: The reason of the entry, for display.
        chargebacked: Whether a debit from this account was ever charged back, refused permanently or reclaimed.
        matches: Imported debits and rows of other uploads that this row is, or may be.
        name_listed: Whether the name is on the blacklist.
        email_listed: Whether the e-mail address is.
        bank_listed: The entry about the account's bank.
    """

    duplicate_of: int | None = None
    unclear_with: int | None = None
    listed: Literal["hold", "block"] | None = None
    listed_cause: str = ""
    chargebacked: bool = False
    matches: tuple[Match, ...] = ()
    name_listed: bool = False
    email_listed: bool = False
    bank_listed: ActiveEntry | None = None


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """
    Why a row is excluded.

    Attributes:
        rule: One of `RULES`.
        cause: The facts behind it, as a sentence.
        on: Of an earlier debit: its day.
        current_status: Its state.
        upload_id: Where it came from; `None` for another system.
    """

    rule: str
    cause: str
    on: date | None = None
    current_status: DebitStatus | None = None
    upload_id: int | None = None


class ScreeningPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How strictly to screen.

    Attributes:
        window_days: How long an earlier debit counts where only account, amount or reference match, the last day included. After
        `same_debit.WINDOW_DAYS` nothing is excluded for it; a person is asked.
        same: What makes two rows of a file the same debit.
        rules: Which rules apply, in order; the first that fits is the verdict.
    """

    window_days: int = WINDOW_DAYS
    same: Same = "iban_and_reference"
    rules: tuple[str, ...] = (
        "duplicate_in_file",
        "blacklisted",
        "chargebacked_before",
        "already_collected",
        "waiting_elsewhere",
        "recently_attempted",
        "blacklisted_name",
        "blacklisted_email",
        "blacklisted_bank",
        "identity_unclear",
        "collected_lately",
        "reference_again",
    )

    def __post_init__(self) -> None:
        """Refuse rules that do not exist."""
        for rule in self.rules:
            if rule not in RULES:
                raise InvalidRequest(f"there is no rule {rule[:40]!r}", field="rules")


def _duplicate_in_file(facts: Facts, _: ScreeningPolicy) -> str | None:
    return (
        None
        if facts.duplicate_of is None
        else f"It is the same debit as row {facts.duplicate_of:,} of this file."
    )


def _blacklisted(facts: Facts, _: ScreeningPolicy) -> str | None:
    if facts.listed is None:
        return None
    how = "on hold" if facts.listed == "hold" else "blocked"
    return f"The account is {how}: {facts.listed_cause.rstrip('.') or 'no reason is recorded'}."


def _chargebacked_before(facts: Facts, _: ScreeningPolicy) -> str | None:
    return "An earlier debit from this account was charged back." if facts.chargebacked else None


def _already_collected(facts: Facts, _: ScreeningPolicy) -> str | None:
    match = _match(facts, "already_collected")
    if match is None:
        return None
    became = "was collected" if match.current_status == "collected" else "is under way, submitted"
    return f"The same debit {became} on {match.on}{_through(match)}."


def _waiting_elsewhere(facts: Facts, _: ScreeningPolicy) -> str | None:
    match = _match(facts, "waiting_elsewhere")
    if match is None:
        return None
    return f"The same debit is waiting in upload {match.upload_id}, not billed yet."


def _recently_attempted(facts: Facts, policy: ScreeningPolicy) -> str | None:
    match = _match(facts, "recently_attempted")
    if match is None:
        return None
    became = "came back" if match.current_status == "charged_back" else "failed"
    return f"The same debit was submitted on {match.on}{_through(match)} and {became}; the window is {policy.window_days} days."


def _blacklisted_name(facts: Facts, _: ScreeningPolicy) -> str | None:
    return "The name is on the blacklist." if facts.name_listed else None


def _blacklisted_email(facts: Facts, _: ScreeningPolicy) -> str | None:
    return "The e-mail address is on the blacklist." if facts.email_listed else None


def _blacklisted_bank(facts: Facts, _: ScreeningPolicy) -> str | None:
    if facts.bank_listed is None:
        return None
    how = "blocked" if facts.bank_listed.action == "block" else "on hold"
    return f"The account's bank is {how} ({facts.bank_listed.reason_code})."


def _identity_unclear(facts: Facts, _: ScreeningPolicy) -> str | None:
    if facts.unclear_with is not None:
        return (
            f"It may be the debit of row {facts.unclear_with:,} of this file: it has the same reference and another mandate or "
            "customer number, or a spreadsheet program has shortened their numbers (1.2E+15)."
        )
    match = _match(facts, "identity_unclear")
    if match is None:
        return None
    return (
        f"A debit that may be the same {_became(match)} on {match.on}{_through(match)}: it has this reference and another mandate "
        "or customer number, or a spreadsheet program has shortened one of the numbers (1.2E+15)."
    )


def _collected_lately(facts: Facts, _: ScreeningPolicy) -> str | None:
    match = _match(facts, "collected_lately")
    if match is None:
        return None
    what = (
        "A debit with this reference"
        if match.equal_reference
        else "A debit from this account that may be the same"
    )
    return f"{what} {_became(match)} on {match.on}{_through(match)}."


def _reference_again(facts: Facts, _: ScreeningPolicy) -> str | None:
    match = _match(facts, "reference_again")
    if match is None:
        return None
    return f"A debit with this reference {_became(match)} on {match.on}{_through(match)}."


_BECAME: Final = {
    "waiting": "was taken in and is not billed yet,",
    "under_way": "was submitted",
    "collected": "was collected",
    "refunded": "was collected and refunded,",
    "refused": "was submitted and failed,",
    "charged_back": "was submitted and came back,",
}


def _became(match: Match) -> str:
    return _BECAME[match.current_status]


def _through(match: Match) -> str:
    return " by another system" if match.upload_id is None else f" through upload {match.upload_id}"


def _match(facts: Facts, kind: MatchKind) -> Match | None:
    return next((match for match in facts.matches if match.kind == kind), None)


RULES: Final[dict[str, Callable[[Facts, ScreeningPolicy], str | None]]] = {
    "duplicate_in_file": _duplicate_in_file,
    "blacklisted": _blacklisted,
    "chargebacked_before": _chargebacked_before,
    "already_collected": _already_collected,
    "waiting_elsewhere": _waiting_elsewhere,
    "recently_attempted": _recently_attempted,
    "blacklisted_name": _blacklisted_name,
    "blacklisted_email": _blacklisted_email,
    "blacklisted_bank": _blacklisted_bank,
    "identity_unclear": _identity_unclear,
    "collected_lately": _collected_lately,
    "reference_again": _reference_again,
}


# What a file itself says does not change after it was read.
_BINDING: Final = frozenset({"duplicate_in_file"})


def judge(facts: Facts, *, policy: ScreeningPolicy = ScreeningPolicy()) -> Verdict | None:  # noqa: B008 - frozen, so one default for all is safe
    """
    Decide whether a row is excluded.

    Args:
        facts: What is known of it.
        policy: How strictly to screen.

    Returns:
        The verdict of the first rule that leaves it out, or `None` for a row to collect from.
    """
    return next(iter(reasons(facts, policy=policy)), None)


def reasons(facts: Facts, *, policy: ScreeningPolicy = ScreeningPolicy()) -> tuple[Verdict, ...]:  # noqa: B008 - as above
    """
    Give everything that leaves a row out.

    Args:
        facts: What is known of it.
        policy: How strictly to screen.

    Returns:
        The verdict of each rule that leaves it out, in the order of the policy.
    """
    verdicts = list[Verdict]()
    for rule in policy.rules:
        cause = RULES[rule](facts, policy)
        if cause is None:
            continue
        match = next((match for match in facts.matches if match.kind == rule), None)
        if match is None:
            verdicts.append(Verdict(rule, cause))
        else:
            verdicts.append(Verdict(rule, cause, match.on, match.current_status, match.upload_id))
    return tuple(verdicts)


def still_applies(kept: Sequence[Verdict], *, chargebacked: bool, answered: bool) -> Verdict | None:
    """
    Return whether a cause found when the file was read still prevents billing of a row.

    Args:
        kept: The reasons kept with the row.
        chargebacked: Whether a debit from its account counts as charged back now.
        answered: Whether a person has answered that the row is to be collected.

    Returns:
        The first reason that still applies, or `None`: the others are looked up anew at billing.

    >>> duplicate, listed = Verdict("duplicate_in_file", "..."), Verdict("blacklisted", "...")
    >>> still_applies([listed], chargebacked=False, answered=False) is None
    True
    >>> still_applies([listed, duplicate], chargebacked=False, answered=False).rule
    'duplicate_in_file'
    """
    for reason in kept:
        bound = reason.rule in _BINDING or reason.rule not in RULES
        bound |= reason.rule == "chargebacked_before" and chargebacked
        bound |= reason.rule in _ASKED and not answered
        if bound:
            return reason
    return None
