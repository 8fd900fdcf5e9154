"""
Screening: which debtors of a file are left out, and why.

A row may be right and still not to be collected: it comes twice, its account is on the blacklist, an earlier debit was
charged back, a recent one is still under way. Each rule looks at the facts known of a row and leaves it out with a
cause; the first rule that does decides, in this order:

| rule | leaves a row out when |
| --- | --- |
| `duplicate_in_file` | an earlier row of the file is the same debit |
| `blacklisted` | the account is on the blacklist, held or blocked |
| `chargebacked_before` | a debit from this account was ever charged back |
| `already_collected` | the same debit was collected through another upload |
| `recently_attempted` | a debit from this account was tried in another upload within the window |
| `blacklisted_name` | the name is on the blacklist |
| `blacklisted_email` | the e-mail address is on the blacklist |

**The same debit.** Two rows with one IBAN usually mean that somebody pasted a list twice. But a family may pay for two
children from one account, and then the rows carry different references. So a row repeats the first one of its IBAN,
unless both carry a reference and no earlier row has this one (`iban_and_reference`). Who never has two debits from one
account can be stricter (`iban`). Names and amounts don't count: they are spelt and change too easily.

Here are only the rules; who asks a database for the facts, can do so for thousands of rows at once. All that
`duplicate_of` needs are three minima over the rows of one IBAN.

>>> judge(Facts(listed="hold", listed_cause="MD06: the debtor asked for the money back"))
Verdict(rule='blacklisted', cause='The account is on hold: MD06: the debtor asked for the money back.')
>>> judge(Facts(attempted_days_ago=30, attempted_state="declined")).cause
'A debit from this account was tried 30 days ago (declined); the window is 30 days.'
>>> judge(Facts(attempted_days_ago=31)) is None
True
>>> judge(Facts(listed="hold", chargebacked=True), policy=Policy(rules=("chargebacked_before", "blacklisted"))).rule
'chargebacked_before'
>>> Policy(rules=("unheard_of",))
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: rules: there is no rule 'unheard_of'
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = ["RULES", "Facts", "Policy", "Same", "Verdict", "duplicate_of", "duplicates", "judge"]

Same = Literal["iban_and_reference", "iban"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a row besides its cells.

    Attributes:
        duplicate_of: The earlier row of the file that is the same debit; see `duplicate_of`.
        listed: How the account stands on the blacklist: "hold", "block" or not at all.
        listed_cause: Why it stands there, for people.
        chargebacked: Whether a debit from this account was ever charged back, refused for good or reclaimed.
        collected_days_ago: Whole days since the same debit was collected through another upload; `None` if never.
        attempted_days_ago: Whole days since a debit from this account was last tried in another upload, and was neither
            voided nor refunded; `None` if never.
        attempted_state: The state of that attempt.
        name_listed: Whether the name is on the blacklist.
        email_listed: Whether the e-mail address is.
    """

    duplicate_of: int | None = None
    listed: Literal["hold", "block"] | None = None
    listed_cause: str = ""
    chargebacked: bool = False
    collected_days_ago: int | None = None
    attempted_days_ago: int | None = None
    attempted_state: str = ""
    name_listed: bool = False
    email_listed: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """
    Why a row is left out.

    Attributes:
        rule: One of `RULES`.
        cause: The facts behind it, as a sentence.
    """

    rule: str
    cause: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How strictly to screen.

    Attributes:
        window_days: How long an attempt counts as recent, its last day included.
        same: What makes two rows the same debit.
        rules: Which rules apply, in order; the first that fits decides.
    """

    window_days: int = 30
    same: Same = "iban_and_reference"
    rules: tuple[str, ...] = (
        "duplicate_in_file",
        "blacklisted",
        "chargebacked_before",
        "already_collected",
        "recently_attempted",
        "blacklisted_name",
        "blacklisted_email",
    )

    def __post_init__(self) -> None:
        """Refuse rules that do not exist."""
        for rule in self.rules:
            if rule not in RULES:
                raise InvalidRequest(f"there is no rule {rule[:40]!r}", field="rules")


def _duplicate_in_file(facts: Facts, _: Policy) -> str | None:
    return (
        None
        if facts.duplicate_of is None
        else f"It is the same debit as row {facts.duplicate_of:,} of this file."
    )


def _blacklisted(facts: Facts, _: Policy) -> str | None:
    if facts.listed is None:
        return None
    how = "on hold" if facts.listed == "hold" else "blocked"
    return f"The account is {how}: {facts.listed_cause.rstrip('.') or 'no reason is recorded'}."


def _chargebacked_before(facts: Facts, _: Policy) -> str | None:
    return "An earlier debit from this account was charged back." if facts.chargebacked else None


def _already_collected(facts: Facts, _: Policy) -> str | None:
    if facts.collected_days_ago is None:
        return None
    return f"The same debit was collected {_days(facts.collected_days_ago)} through another upload."


def _recently_attempted(facts: Facts, policy: Policy) -> str | None:
    days = facts.attempted_days_ago
    if days is None or days > policy.window_days:
        return None
    state = f" ({facts.attempted_state})" if facts.attempted_state else ""
    return (
        f"A debit from this account was tried {_days(days)}{state}; the window is {policy.window_days} days."
    )


def _blacklisted_name(facts: Facts, _: Policy) -> str | None:
    return "The name is on the blacklist." if facts.name_listed else None


def _blacklisted_email(facts: Facts, _: Policy) -> str | None:
    return "The e-mail address is on the blacklist." if facts.email_listed else None


def _days(count: int) -> str:
    return {0: "today", 1: "yesterday"}.get(count, f"{count:,} days ago")


RULES: Final[dict[str, Callable[[Facts, Policy], str | None]]] = {
    "duplicate_in_file": _duplicate_in_file,
    "blacklisted": _blacklisted,
    "chargebacked_before": _chargebacked_before,
    "already_collected": _already_collected,
    "recently_attempted": _recently_attempted,
    "blacklisted_name": _blacklisted_name,
    "blacklisted_email": _blacklisted_email,
}


def judge(facts: Facts, *, policy: Policy = Policy()) -> Verdict | None:  # noqa: B008 - frozen, so one default for all is safe
    """
    Decide whether a row is left out.

    Args:
        facts: What is known of it.
        policy: How strictly to screen.

    Returns:
        The verdict of the first rule that leaves it out, or `None` for a row to collect from.
    """
    for rule in policy.rules:
        cause = RULES[rule](facts, policy)
        if cause is not None:
            return Verdict(rule, cause)
    return None


def duplicate_of(
    row: int,
    *,
    reference: str | None,
    first_row: int,
    first_reference: str | None,
    first_row_same_reference: int,
    same: Same = "iban_and_reference",
) -> int | None:
    """
    Tell which earlier row of a file is the same debit.

    Args:
        row: The row asked about.
        reference: Its reference.
        first_row: The first row of the file with this IBAN, this one included.
        first_reference: That row's reference.
        first_row_same_reference: The first row with this IBAN and this reference (or like this without one).
        same: What makes two rows the same debit.

    Returns:
        The earlier row, or `None` for the first of its kind.

    >>> family = {"first_row": 2, "first_reference": "Anna"}
    >>> duplicate_of(5, reference="Ben", first_row_same_reference=5, **family) is None
    True
    >>> duplicate_of(6, reference="Ben", first_row_same_reference=5, **family)
    5
    >>> duplicate_of(7, reference=None, first_row_same_reference=7, **family)
    2
    """
    if row == first_row:
        return None
    if same == "iban" or reference is None or first_reference is None:
        return first_row
    return None if row == first_row_same_reference else first_row_same_reference


def duplicates(
    rows: Iterable[tuple[int, str, str | None]], *, same: Same = "iban_and_reference"
) -> dict[int, int]:
    """
    Find all duplicates of a list held in memory.

    Args:
        rows: Row number, canonical IBAN and reference of each, in order.
        same: What makes two rows the same debit.

    Returns:
        Row number of each duplicate to the row it repeats.

    >>> duplicates([(2, "DE1", "A"), (3, "DE1", "B"), (4, "DE1", "A"), (5, "DE1", None), (6, "DE2", None)])
    {4: 2, 5: 2}
    """
    first: dict[str, tuple[int, str | None]] = {}
    first_same: dict[tuple[str, str | None], int] = {}
    found = {}
    for row, iban, reference in rows:
        first_row, first_reference = first.setdefault(iban, (row, reference))
        earlier = duplicate_of(
            row,
            reference=reference,
            first_row=first_row,
            first_reference=first_reference,
            first_row_same_reference=first_same.setdefault((iban, reference), row),
            same=same,
        )
        if earlier is not None:
            found[row] = earlier
    return found
