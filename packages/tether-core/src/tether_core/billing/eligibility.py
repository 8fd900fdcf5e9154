"""
Who may be billed now, and why not.

A stored debtor is not always billable: the account may have been blacklisted since, the same item may be pending or collected, a cap may be
reached. Each rule checks the facts of one debtor and one due item. The first rule that applies decides and returns a verdict and a sentence.
The order of the rules is from "never billable" to "billable later":

| verdict | the debtor is not billed because |
|---|---|
| `screened_out` | its row was excluded when its file was read, for a reason that still applies |
| `not_an_iban` | the account number is none |
| `no_name` | the gateway demands a name |
| `other_currency` | the scheme moves euros only |
| `blocked` | the account is on the blacklist, and lifting that needs a reason |
| `held` | the account is on the blacklist until a person lifts it |
| `blacklisted_name` | the debtor's name is on the blacklist |
| `blacklisted_email` | the debtor's e-mail address is on the blacklist |
| `blacklisted_bank` | the account's bank is on the blacklist (`tether_core.banks`) |
| `mandate_ended` | the mandate of its row was cancelled, or revoked by a return, and is not active again (`tether_core.recurring.mandate`) |
| `collected` | this item was collected already, through this upload or another one |
| `under_way` | this item is being collected, through this upload or another one |
| `refunded_before` | this item was refunded or voided (`tether_core.billing.refunded_before`) |
| `returned` | this item came back; another try is decided by the reason, not by a run |
| `charged_back` | a debit from this account was charged back before, and not for want of money |
| `mandate_used` | the mandate of its row is for one debit, and another debit was made with it |
| `tried_enough` | this item was tried as often as allowed |
| `scheduled` | its debits are made by a schedule of a collection plan (`tether_core.recurring`) |
| `waiting_elsewhere` | the same debit waits in an upload that came before |
| `repeated` | it is, or may be, a debit of the last weeks for another upload, and nobody was asked about that |
| `recently_tried` | a debit that may be the same was tried for another upload within the window |
| `not_reachable` | the account is outside the SEPA area |
| `no_address` | the account is outside the EEA, where a debit needs town and country of the debtor |
| `too_small` `too_large` | the amount is outside what one debit may take |
| `lifetime_cap` | the account would pay more in all than one account may |
| `unchecked` `check_failed` | a check before billing is demanded, and is missing or not good enough |
| `not_notified` | a pre-notification is required, and was not given, or not in time, or states another amount or account, or a later day |
| `being_confirmed` | a report about a debit from this account is not confirmed yet: a chargeback, or that it was collected after all |

The rules run twice: when a run is planned, and again just before each debit is submitted, so that an account that was blacklisted in between
is not debited. A **try again** after a return (`again`) was decided by the reason of that return (`tether_core.payments.returns`), so the
rules about that return do not stop it. The caps of a run are checked by `tether_core.billing.planning`.

Source: European Payments Council, EPC016-06 (address outside the EEA, currency, reach); the rest is practice.

>>> anna = Candidate(debtor_id=7, iban="DE89370400440532013000", amount_minor=1000, currency="EUR", has_name=True)
>>> judge(anna, options=RunOptions()).code
'billable'
>>> judge(msgspec.structs.replace(anna, listed="hold", listed_reason="MD06"), options=RunOptions())
Eligibility(code='held', text='The account is on hold (MD06); a person can lift that.')
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from tether_core import iban as ibans
from tether_core import vop
from tether_core.billing import refunded_before
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import ActiveEntry, policy_for
from tether_core.errors import InvalidIban
from tether_core.money import Money
from tether_core.payments.attempt import AttemptState
from tether_core.payments.matches import Elsewhere, Match
from tether_core.screening import verdicts as verdicts_rules

__all__ = [
    "BILLABLE",
    "PASSING",
    "VERDICTS",
    "Candidate",
    "Eligibility",
    "judge",
    "verdicts",
]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """
    The facts of one debtor and one due item, from which eligibility is decided.

    Attributes:
        debtor_id: The row.
        iban: Of the account to be debited, in any spelling.
        amount_minor: What is owed, whole minor units.
        currency: Three capitals of ISO 4217.
        has_name: Whether there is a name for the request.
        reasons: Why its row was excluded when its file was read (`tether_core.screening.verdicts`); empty where it was not.
        taken: Whether a person has answered that its row is to be collected.
        has_address: Whether town and country are known.
        listed: The blacklist entry of the account.
        listed_reason: The reason code of that entry.
        name_listed: The active entry about the debtor's name.
        email_listed: The active entry about the debtor's e-mail address.
        bank_listed: The strictest active entry about the account's bank.
        mandate_ended: How the mandate that its row names has ended; `None` where it has not, or is known as no mandate of the account. For the debits of
            schedules, whose own mandates are judged by themselves, `None`.
        mandate_used: Whether that mandate is for one debit and another debit of the account, of a row that names it, was submitted and neither
            refused nor voided.
        item_state: State of the furthest try for this item: "approved" before "unknown" before "pending"; `None` where
            there is no such try.
        item_returned: Whether a try for this item was charged back.
        tries: How often this item was tried.
        charged_back_for: The reason codes of all debits from this account that were charged back; "" where none was given.
        elsewhere: What other uploads have done about the same debit and due item.
        paid_minor: What this account has paid, or is about to, in all.
        check: The last check before billing.
        refunds: Debits of the same account, for the same money, that were refunded or voided.
        set_aside: Verdicts that a person has set aside for this debtor and this run (`tether_core.billing.overrides`).
        again: Whether this is a try after a return, decided by the return's reason.
        schedule_id: The schedule that makes the debtor's debits, where another run is judged; else `None`.
        notified_days_ago: Days since the debtor was notified of this due item, amount and account; `None` for never.
        announced_in_days: Days until the debit that this notification states; 0 or less once that day has come, `None` without one.
        dispute_unconfirmed: Whether a dispute of a debit from this account was reported and is not processed yet.
        collection_unconfirmed: Whether it was reported that a debit from this account, which failed or was charged back, is collected after
            all, and that is not processed yet.
    """

    debtor_id: int
    iban: str
    amount_minor: int
    currency: str
    has_name: bool
    has_address: bool = False
    reasons: tuple[verdicts_rules.Verdict, ...] = ()
    taken: bool = False
    listed: Literal["hold", "block"] | None = None
    listed_reason: str = ""
    name_listed: ActiveEntry | None = None
    email_listed: ActiveEntry | None = None
    bank_listed: ActiveEntry | None = None
    mandate_ended: Literal["revoked", "cancelled"] | None = None
    mandate_used: bool = False
    item_state: AttemptState | None = None
    item_returned: bool = False
    tries: int = 0
    charged_back_for: tuple[str, ...] = ()
    elsewhere: Elsewhere = Elsewhere()
    paid_minor: int = 0
    check: vop.Score | None = None
    refunds: tuple[refunded_before.RefundedDebit, ...] = ()
    set_aside: frozenset[str] = frozenset()
    again: bool = False
    schedule_id: int | None = None
    notified_days_ago: int | None = None
    announced_in_days: int | None = None
    dispute_unconfirmed: bool = False
    collection_unconfirmed: bool = False

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"Candidate(debtor_id={self.debtor_id})"


class Eligibility(msgspec.Struct, frozen=True):
    """
    Whether one debtor may be billed.

    Attributes:
        code: "billable", or a key of `VERDICTS`.
        text: The facts behind it, as a sentence; "" for "billable".
    """

    code: str
    text: str = ""

    @property
    def billable(self) -> bool:
        """Whether the debtor may be billed."""
        return self.code == "billable"


BILLABLE: Final = Eligibility("billable")

_Rule = Callable[[Candidate, RunOptions], str | None]


def _bills_after_chargeback(candidate: Candidate, options: RunOptions) -> bool:
    return options.after_chargeback or "charged_back" in candidate.set_aside


def _screened_out(candidate: Candidate, options: RunOptions) -> str | None:
    if candidate.again:
        return None
    chargebacked = bool(candidate.charged_back_for) and not _bills_after_chargeback(candidate, options)
    reason = verdicts_rules.still_applies(
        candidate.reasons, chargebacked=chargebacked, answered=candidate.taken
    )
    return None if reason is None else reason.cause


def _not_an_iban(candidate: Candidate, _: RunOptions) -> str | None:
    if not candidate.iban:
        return "The debtor's personal data was erased, and its account with it."
    try:
        ibans.validate(candidate.iban)
    except InvalidIban as exc:
        return str(exc)
    return None


def _no_name(candidate: Candidate, _: RunOptions) -> str | None:
    return None if candidate.has_name else "The gateway demands the debtor's name."


def _other_currency(candidate: Candidate, _: RunOptions) -> str | None:
    return (
        None
        if candidate.currency == "EUR"
        else f"SEPA moves euros, and this is owed in {candidate.currency}."
    )


def _blocked(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.listed != "block":
        return None
    return f"The account is blocked ({candidate.listed_reason or 'no reason stored'})."


def _held(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.listed != "hold":
        return None
    return (
        f"The account is on hold ({candidate.listed_reason or 'no reason stored'}); a person can lift that."
    )


def _blacklisted_name(candidate: Candidate, _: RunOptions) -> str | None:
    return _listed_as("name", candidate.name_listed)


def _blacklisted_email(candidate: Candidate, _: RunOptions) -> str | None:
    return _listed_as("e-mail address", candidate.email_listed)


def _blacklisted_bank(candidate: Candidate, _: RunOptions) -> str | None:
    return _listed_as("bank", candidate.bank_listed)


def _mandate_ended(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.mandate_ended is None:
        return None
    how = "cancelled" if candidate.mandate_ended == "cancelled" else "revoked by a return"
    return f"The mandate of this row was {how}; have the debtor sign a new one, and add it."


def _listed_as(what: str, listing: ActiveEntry | None) -> str | None:
    if listing is None:
        return None
    how = "blocked" if listing.action == "block" else "on hold"
    return f"The debtor's {what} is {how} ({listing.reason_code}); a person can lift that entry of the blacklist."


def _collected(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.item_state == "approved":
        return "This item was collected already."
    match = candidate.elsewhere.collected
    return None if match is None else f"This item was collected already, on {match.on}{_through(match)}."


def _under_way(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.item_state in {"pending", "unknown"}:
        return f"A debit for this item is {candidate.item_state}; its outcome comes first."
    match = candidate.elsewhere.under_way
    if match is None:
        return None
    return f"A debit for this item was submitted on {match.on}{_through(match)}; its outcome comes first."


def _refunded_before(candidate: Candidate, options: RunOptions) -> str | None:
    refund = refunded_before.find(candidate.refunds, due_item=options.due_item)
    if refund is None:
        return None
    return f"The debit for this item was {refund.kind} (billing attempt {refund.attempt_id}); an override with a reason bills it again."


def _returned(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.again:
        return None
    if candidate.item_returned:
        return "This item came back; whether it is tried again is decided by the reason."
    match = candidate.elsewhere.returned
    if match is None:
        return None
    return f"This item came back{_through(match)}; whether it is tried again there is decided by the reason."


def _scheduled(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.schedule_id is None or candidate.again:
        return None
    return (
        f"The debits of this debtor are made by schedule {candidate.schedule_id} of a collection plan; end that schedule to bill the debtor "
        "in a run."
    )


def _waiting_elsewhere(candidate: Candidate, _: RunOptions) -> str | None:
    match = candidate.elsewhere.waiting
    if match is None or candidate.again:
        return None
    return f"The same debit is waiting in upload {match.upload_id}, not billed yet: bill that upload, or withdraw it."


def _repeated(candidate: Candidate, _: RunOptions) -> str | None:
    match = candidate.elsewhere.repeated
    if match is None or candidate.again:
        return None
    what = "the same reference" if match.equal_reference else "the same account that may be this one"
    return (
        f"A debit with {what} was submitted on {match.on}{_through(match)}; override this verdict for the run, with a reason, "
        "to collect both."
    )


def _through(match: Match) -> str:
    return " by another system" if match.upload_id is None else f" through upload {match.upload_id}"


def _charged_back(candidate: Candidate, options: RunOptions) -> str | None:
    if options.after_chargeback or candidate.again:
        return None
    final = sorted({code or "no reason" for code in candidate.charged_back_for if not _mild(code)})
    return f"A debit from this account was charged back ({', '.join(final)})." if final else None


def _mandate_used(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.again or not candidate.mandate_used:
        return None
    return "The mandate of this row is for one debit, which was made already; have the debtor sign a new one, and add it."


def _tried_enough(candidate: Candidate, options: RunOptions) -> str | None:
    if candidate.again or candidate.tries < options.tries_max:
        return None
    return f"This item was tried {candidate.tries} times; {options.tries_max} are allowed."


def _recently_tried(candidate: Candidate, options: RunOptions) -> str | None:
    days = candidate.elsewhere.tried_days_ago
    if days is None or days >= options.recent_days or candidate.again:
        return None
    return (
        f"A debit from this account that may be the same was tried {days} days ago for another upload; the window is "
        f"{options.recent_days}."
    )


def _not_reachable(candidate: Candidate, _: RunOptions) -> str | None:
    account = ibans.compact(candidate.iban)
    return None if ibans.is_sepa(account) else f"Accounts of {account[:2]} are outside the SEPA area."


def _no_address(candidate: Candidate, _: RunOptions) -> str | None:
    account = ibans.compact(candidate.iban)
    if candidate.has_address or ibans.is_eea(account):
        return None
    return f"A debit from {account[:2]} needs the debtor's town and country, or its bank returns it (RR02)."


def _too_small(candidate: Candidate, options: RunOptions) -> str | None:
    if candidate.amount_minor >= options.debit_min_minor:
        return None
    return f"The amount is below {_money(options.debit_min_minor, candidate)}."


def _too_large(candidate: Candidate, options: RunOptions) -> str | None:
    if options.debit_max_minor is None or candidate.amount_minor <= options.debit_max_minor:
        return None
    return (
        f"The amount is above {_money(options.debit_max_minor, candidate)}, the most that one debit may take."
    )


def _lifetime_cap(candidate: Candidate, options: RunOptions) -> str | None:
    if (
        options.lifetime_max_minor is None
        or candidate.paid_minor + candidate.amount_minor <= options.lifetime_max_minor
    ):
        return None
    return f"The account would pay more than {_money(options.lifetime_max_minor, candidate)} in all."


def _unchecked(candidate: Candidate, options: RunOptions) -> str | None:
    if options.vop_score_min is None or candidate.check is not None:
        return None
    return "A check before billing is demanded, and there is none yet."


def _check_failed(candidate: Candidate, options: RunOptions) -> str | None:
    if options.vop_score_min is None or candidate.check is None:
        return None
    if vop.meets(candidate.check, score_min=options.vop_score_min):
        return None
    text = f"{candidate.check.result}, {candidate.check.score} of 100"
    return f"The check before billing says {text}; {options.vop_score_min} is demanded."


def _not_notified(candidate: Candidate, options: RunOptions) -> str | None:
    days, required = candidate.notified_days_ago, options.notice_days
    if required is None or candidate.again:
        return None
    if days is None:
        return "A pre-notification of this due item, amount and account is required, and none was given."
    if days < required:
        return f"The debtor was notified {days} days ago; {required} days are required."
    ahead = candidate.announced_in_days or 0
    return f"The debtor was notified of a debit that is {ahead} days ahead." if ahead > 0 else None


def _being_confirmed(candidate: Candidate, _: RunOptions) -> str | None:
    if candidate.dispute_unconfirmed:
        return (
            "A chargeback of a debit from this account was reported and is being confirmed with the gateway."
        )
    if candidate.collection_unconfirmed:
        return (
            "A debit from this account that failed or was charged back was reported as collected after all. That is being confirmed with "
            "the gateway; where that is impossible, a person must look at it."
        )
    return None


# Verdict -> its rule, in the order in which they are checked.
VERDICTS: Final[dict[str, _Rule]] = {
    "screened_out": _screened_out,
    "not_an_iban": _not_an_iban,
    "no_name": _no_name,
    "other_currency": _other_currency,
    "blocked": _blocked,
    "held": _held,
    "blacklisted_name": _blacklisted_name,
    "blacklisted_email": _blacklisted_email,
    "blacklisted_bank": _blacklisted_bank,
    "mandate_ended": _mandate_ended,
    "collected": _collected,
    "under_way": _under_way,
    "refunded_before": _refunded_before,
    "returned": _returned,
    "charged_back": _charged_back,
    "mandate_used": _mandate_used,
    "tried_enough": _tried_enough,
    "scheduled": _scheduled,
    "waiting_elsewhere": _waiting_elsewhere,
    "repeated": _repeated,
    "recently_tried": _recently_tried,
    "not_reachable": _not_reachable,
    "no_address": _no_address,
    "too_small": _too_small,
    "too_large": _too_large,
    "lifetime_cap": _lifetime_cap,
    "unchecked": _unchecked,
    "check_failed": _check_failed,
    "not_notified": _not_notified,
    "being_confirmed": _being_confirmed,
}

# What keeps a debit away for some minutes only: one that was planned before is deferred and not ended (`tether_core.holds`).
PASSING: Final = frozenset({"being_confirmed"})


def judge(candidate: Candidate, *, options: RunOptions) -> Eligibility:
    """
    Whether one due item of one debtor may be collected now, caps of the run left aside.

    Args:
        candidate: The facts. Before a submission, without the very attempt that is to be submitted.
        options: Of the run.

    Returns:
        The first verdict that hits, or "billable".
    """
    return next(iter(verdicts(candidate, options=options)), BILLABLE)


def verdicts(candidate: Candidate, *, options: RunOptions) -> Iterator[Eligibility]:
    """
    Everything that keeps one due item of one debtor from being collected now, caps of the run left aside.

    Args:
        candidate: The facts, as for `judge`.
        options: Of the run.

    Yields:
        The verdict of each rule that hits, in their order; none for a debtor who may be billed.
    """
    for code, rule in VERDICTS.items():
        text = None if code in candidate.set_aside else rule(candidate, options)
        if text is not None:
            yield Eligibility(code, text)


def _mild(code: str) -> bool:
    # Want of money, or a reason of the acquirer's own, says nothing about the next item.
    return policy_for(code).retries > 0 or code.startswith("XT")


def _money(amount_minor: int, candidate: Candidate) -> str:
    return str(Money(amount_minor, candidate.currency))
