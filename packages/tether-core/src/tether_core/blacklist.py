"""
Return reasons, and what each means for the next debit of the account.

A returned debit carries a reason code of the SEPA scheme. Some reasons exclude the account permanently (closed, blocked, deceased), some need
a person's decision (the debtor objected), most are not about the debtor. `REASONS` is that table as data: code -> what to do with the IBAN,
what the entry is about, and
whether the same debit may be tried again.

- *none*: nothing; the debtor stays collectable.
- *hold*: excluded from intake and billing until a person lifts it.
- *block*: the same, and lifting it needs a reason.

Two entries match when their IBAN fingerprints are equal (`tether_core.iban.fingerprint`): the IBAN used in the
debit that came back, not the debtor's present one, and never a name alone.

Source: reason codes of the EPC SEPA Core Direct Debit rulebook and ISO 20022 external code sets; the actions are Tether's defaults, version
0 of the return policy, which people replace by versions of their own (`tether_core.return_policies`).

>>> policy_for("AC04").action
'block'
>>> policy_for("MS03").retries
2
>>> policy_for("XX99").action, policy_for("XX99").known    # an unknown code never blocks anybody by itself
('none', False)
>>> policy_for("AC01", blocking=frozenset({"MD01"})).action
'none'

Names and e-mail addresses are matched by a plain form, the same when an entry is made, when a file is read and when a
debit is billed:

>>> name_key("  MÜLLER,  Jürgen "), email_key(" Anna@Example.ORG")
('jürgen müller', 'anna@example.org')
"""

import unicodedata
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "REASONS",
    "Action",
    "ActiveEntry",
    "Dispute",
    "Entry",
    "Forgives",
    "ReasonPolicy",
    "email_key",
    "name_key",
    "name_keys",
    "parse_codes",
    "policy_for",
    "same_dispute",
]

Action = Literal["none", "hold", "block"]
Scope = Literal["iban", "mandate"]
# What a person forgives by lifting an entry: the entry alone, the disputes it was made for, or every chargeback of the
# account so far. A forgiven chargeback no longer excludes the account.
Forgives = Literal["entry", "disputes", "account"]


class ReasonPolicy(msgspec.Struct, frozen=True):
    """
    What one reason code means for the next debit.

    Attributes:
        code: Four characters of the scheme.
        action: "none", "hold" or "block".
        scope: What the entry is about: the "iban", or only its "mandate".
        retries: How often the same debit may be tried again, 0 to 2.
        meaning: A sentence for people.
        known: Whether the code is in the table.
    """

    code: str
    action: Action
    scope: Scope
    retries: int
    meaning: str
    known: bool = True


class Entry(msgspec.Struct, frozen=True):
    """
    A blacklist entry for a returned debit, once per dispute (`same_dispute`).

    Attributes:
        action: "hold" or "block".
        scope: "iban" or "mandate".
        reason_code: The code that caused it.
        iban_fingerprint: Of the IBAN the debit used.
        iban_masked: For people.
        dispute_stage: Of its dispute: 1 charged back, 3 charged back again after it was won back.
        dispute_id: The gateway's own id of that dispute, or `None`.
        policy_version: The version of the return policy that decided (`tether_core.return_policies`).
    """

    action: Action
    scope: Scope
    reason_code: str
    iban_fingerprint: bytes
    iban_masked: str
    dispute_stage: int = 1
    dispute_id: str | None = None
    policy_version: int = 0


class Dispute(msgspec.Struct, frozen=True):
    """
    One dispute of a debit.

    Attributes:
        attempt_id: The debit.
        stage: 1 charged back, 3 charged back again after it was won back.
        own_id: The gateway's own id of the dispute, or `None` where it sent none.
    """

    attempt_id: int
    stage: int
    own_id: str | None = None


def same_dispute(dispute: Dispute, other: Dispute) -> bool:
    """
    Whether two reports are about the same dispute.

    A notification, its repeat, a report fetch and a list of another day may report one dispute, some with its id and some
    without. So an id that is missing matches any; two ids that differ are two disputes.

    Args:
        dispute: A dispute as it was reported.
        other: Another report.

    Returns:
        Whether they are one dispute; the order does not matter.

    >>> first = Dispute(7, 1, "cb-1")
    >>> same_dispute(first, Dispute(7, 1)), same_dispute(first, Dispute(7, 1, "cb-2")), same_dispute(first, Dispute(7, 3))
    (True, False, False)
    """
    if (dispute.attempt_id, dispute.stage) != (other.attempt_id, other.stage):
        return False
    return dispute.own_id is None or other.own_id is None or dispute.own_id == other.own_id


class ActiveEntry(msgspec.Struct, frozen=True):
    """
    An active entry about a name, an e-mail address or a bank.

    Attributes:
        action: "hold" or "block".
        reason_code: A code of the scheme or a short word.
    """

    action: Literal["hold", "block"]
    reason_code: str


def name_key(name: str) -> str:
    """
    The form in which names are compared: case, blanks, marks such as hyphens and apostrophes, and the order around a comma do not matter.

    >>> name_key("O\u2019Neil-Berg, Pat\u200b") == name_key("pat o'neil berg")
    True
    """
    # An accent alone stands for an apostrophe; the normal form would make it a blank with a mark.
    name = name.replace("\u00b4", "'")
    last, comma, first = unicodedata.normalize("NFKC", name).casefold().partition(",")
    text = f"{first} {last}" if comma else last
    visible = [mark for mark in text if unicodedata.category(mark) != "Cf"]
    words = "".join([mark if unicodedata.category(mark)[0] in "LMN" else " " for mark in visible]).split()
    return " ".join(words or text.split())


def name_keys(name: str) -> tuple[str, ...]:
    """
    The keys under which a debtor's name may be listed: lists write the last name first, with or without a comma.

    Args:
        name: The debtor's.

    Returns:
        Its `name_key` first, then the same words begun at each other one; of a very long name only the first.

    >>> name_keys("Berg Anna Maria")
    ('berg anna maria', 'anna maria berg', 'maria berg anna')
    """
    words = name_key(name).split()
    starts = range(len(words) if len(words) <= _NAME_WORDS_MAX else 1)
    return tuple(dict.fromkeys(" ".join(words[start:] + words[:start]) for start in starts)) or ("",)


_NAME_WORDS_MAX: Final = 8


def email_key(email: str) -> str:
    """The form in which e-mail addresses are compared: case does not matter."""
    return unicodedata.normalize("NFC", email).strip().casefold()


def _p(code: str, action: Action, retries: int, meaning: str, scope: Scope = "iban") -> ReasonPolicy:
    return ReasonPolicy(code, action, scope, retries, meaning)


REASONS: Final[dict[str, ReasonPolicy]] = {
    policy.code: policy
    for policy in (
        _p("AC01", "block", 0, "The account number is wrong or unknown."),
        _p("AC04", "block", 0, "The account is closed."),
        _p("AC06", "block", 0, "The account is blocked, or its holder blocked direct debits."),
        _p("AC13", "none", 0, "A consumer's account was debited under the business scheme."),
        _p("AG01", "block", 0, "Direct debits are not allowed on this account."),
        _p("AG02", "none", 0, "The operation code or format was wrong."),
        _p("AM04", "none", 2, "The account did not have enough money."),
        _p("AM05", "none", 0, "The debit was a duplicate; look why."),
        _p("BE01", "none", 0, "The debtor's data do not match the account."),
        _p("BE05", "none", 0, "The creditor identifier is unknown or has changed."),
        _p("BE06", "none", 0, "The debtor is unknown to the bank."),
        _p("BE07", "none", 0, "The debtor's address is missing or wrong."),
        _p("CNOR", "none", 0, "Our bank is not in the scheme there."),
        _p("DNOR", "none", 0, "The debtor's bank does not take part in direct debits."),
        _p("DT01", "none", 0, "A date was invalid."),
        _p("ED05", "none", 0, "Settlement between the banks failed."),
        _p("FF01", "none", 0, "The file between the banks was invalid."),
        _p("FF05", "none", 0, "The local instrument was wrong."),
        _p("FOCR", "none", 0, "The return follows our own cancellation."),
        _p("MD01", "block", 0, "There is no valid mandate, or the debtor says so."),
        _p("MD02", "none", 0, "Mandate data are missing or wrong.", "mandate"),
        _p("MD06", "hold", 0, "The debtor asked for the money back."),
        _p("MD07", "block", 0, "The debtor is deceased."),
        _p("MS02", "hold", 0, "The debtor refused, without a reason."),
        _p("MS03", "none", 2, "The bank gives no reason, often for data protection."),
        _p("NARR", "none", 0, "The reason is given as free text."),
        _p("RC01", "none", 0, "The bank identifier was wrong."),
        _p("RR01", "none", 0, "The debtor's account or identification is missing."),
        _p("RR02", "none", 0, "The debtor's name or address is missing."),
        _p("RR03", "none", 0, "The creditor's name or address is missing."),
        _p("RR04", "none", 0, "A regulatory reason; a person must look."),
        _p("SL01", "hold", 0, "The debtor limited or excluded this creditor at the bank."),
        _p("TM01", "none", 0, "The debit came after the cut-off time."),
        _p("XT33", "none", 0, "A code of the acquirer, excluded from chargeback rates."),
        _p("XT73", "none", 0, "A code of the acquirer, excluded from chargeback rates."),
    )
}

BLOCKING: Final = frozenset(code for code, policy in REASONS.items() if policy.action == "block")


def policy_for(code: str | None, *, blocking: AbstractSet[str] = BLOCKING) -> ReasonPolicy:
    """
    What a reason code means for the next debit.

    Args:
        code: As it came, upper case; `None` where the gateway gave none.
        blocking: Exactly the codes that block. A code of the table that blocks by default and is not in here
            does nothing; one that is in here blocks whatever the table says.

    Returns:
        The policy; for a code that no table knows, one that does nothing and says so.
    """
    known = REASONS.get(code or "")
    if known is None:
        text = "No reason was given." if not code else "This code is not in the table; a person must look."
        known = ReasonPolicy(code or "", "none", "iban", 0, text, known=False)
    if known.code and known.code in blocking:
        return msgspec.structs.replace(known, action="block")
    if known.action == "block":
        return msgspec.structs.replace(known, action="none")
    return known


def parse_codes(text: str) -> frozenset[str]:
    """
    Read the value of `TETHER_BLACKLIST_CODES`.

    Args:
        text: Codes with commas between them; blanks and lower case are forgiven. Empty means the default.

    Returns:
        The codes that block.

    Raises:
        InvalidRequest: when one is not four letters or digits.

    >>> sorted(parse_codes("ac04, MD01"))
    ['AC04', 'MD01']
    """
    codes = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    for code in codes:
        if not (len(code) == 4 and code.isascii() and code.isalnum()):
            raise InvalidRequest(f"{code[:10]!r} is not a reason code of four letters or digits")
    return codes or BLOCKING
