from datetime import date
from typing import get_args

import pytest
from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest
from tether_core.payments.matches import DebitStatus, Match, MatchKind
from tether_core.screening.verdicts import (
    QUESTIONS,
    RULES,
    Facts,
    ScreeningPolicy,
    Verdict,
    judge,
    reasons,
    still_applies,
)

DAY = date(2026, 2, 27)

EVERYTHING = Facts(
    duplicate_of=1_234,
    listed="block",
    listed_cause="AC04: the account is closed.",
    chargebacked=True,
    matches=tuple([Match(kind, DAY, 3, "collected", 7) for kind in get_args(MatchKind)]),
    name_listed=True,
    email_listed=True,
    bank_listed=ActiveEntry("hold", "RETURNS"),
)


def test_the_rules_apply_in_the_promised_order() -> None:
    """The first rule decides; people count excluded rows by it, so the order is part of the figures."""
    order = [
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
    ]
    assert list(RULES) == order
    assert list(ScreeningPolicy().rules) == order
    seen = []
    for first in range(len(order)):
        verdict = judge(EVERYTHING, policy=ScreeningPolicy(rules=tuple(order[first:])))
        assert verdict is not None
        seen.append(verdict.rule)
    assert seen == order
    assert [reason.rule for reason in reasons(EVERYTHING)] == order


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (
            Facts(duplicate_of=1_234),
            Verdict("duplicate_in_file", "It is the same debit as row 1,234 of this file."),
        ),
        (
            Facts(listed="block", listed_cause="AC04: the account is closed."),
            Verdict("blacklisted", "The account is blocked: AC04: the account is closed."),
        ),
        (Facts(listed="hold"), Verdict("blacklisted", "The account is on hold: no reason is recorded.")),
        (
            Facts(chargebacked=True),
            Verdict("chargebacked_before", "An earlier debit from this account was charged back."),
        ),
        (
            Facts(matches=(Match("already_collected", DAY, 3, "collected", 7, equal_reference=True),)),
            Verdict(
                "already_collected",
                "The same debit was collected on 2026-02-27 through upload 7.",
                DAY,
                "collected",
                7,
            ),
        ),
        (
            Facts(matches=(Match("already_collected", DAY, 3, "under_way", None),)),
            Verdict(
                "already_collected",
                "The same debit is under way, submitted on 2026-02-27 by another system.",
                DAY,
                "under_way",
            ),
        ),
        (
            Facts(matches=(Match("waiting_elsewhere", DAY, 3, "waiting", 7),)),
            Verdict(
                "waiting_elsewhere",
                "The same debit is waiting in upload 7, not billed yet.",
                DAY,
                "waiting",
                7,
            ),
        ),
        (
            Facts(matches=(Match("recently_attempted", DAY, 3, "refused", 7),)),
            Verdict(
                "recently_attempted",
                "The same debit was submitted on 2026-02-27 through upload 7 and failed; the window is 25 days.",
                DAY,
                "refused",
                7,
            ),
        ),
        (
            Facts(unclear_with=2),
            Verdict(
                "identity_unclear",
                "It may be the debit of row 2 of this file: it has the same reference and another mandate or customer number, or "
                "a spreadsheet program has shortened their numbers (1.2E+15).",
            ),
        ),
        (
            Facts(matches=(Match("collected_lately", DAY, 3, "collected", 7),)),
            Verdict(
                "collected_lately",
                "A debit from this account that may be the same was collected on 2026-02-27 through upload 7.",
                DAY,
                "collected",
                7,
            ),
        ),
        (
            Facts(matches=(Match("reference_again", DAY, 90, "refunded", 7),)),
            Verdict(
                "reference_again",
                "A debit with this reference was collected and refunded, on 2026-02-27 through upload 7.",
                DAY,
                "refunded",
                7,
            ),
        ),
        (Facts(name_listed=True), Verdict("blacklisted_name", "The name is on the blacklist.")),
        (Facts(email_listed=True), Verdict("blacklisted_email", "The e-mail address is on the blacklist.")),
        (
            Facts(bank_listed=ActiveEntry("hold", "RETURNS")),
            Verdict("blacklisted_bank", "The account's bank is on hold (RETURNS)."),
        ),
        (
            Facts(bank_listed=ActiveEntry("block", "MANUAL")),
            Verdict("blacklisted_bank", "The account's bank is blocked (MANUAL)."),
        ),
        (Facts(), None),
    ],
)
def test_each_rule_says_why(facts: Facts, verdict: Verdict | None) -> None:
    """The sender of a row that is excluded without a cause could not correct it."""
    assert judge(facts) == verdict


@pytest.mark.parametrize("current_status", get_args(DebitStatus))
@pytest.mark.parametrize("kind", get_args(MatchKind))
def test_every_match_is_a_sentence(kind: MatchKind, current_status: DebitStatus) -> None:
    """A state that a sentence forgets ends the reading of the whole file."""
    verdict = judge(Facts(matches=(Match(kind, DAY, 3, current_status, 7),)))
    assert verdict is not None
    assert verdict.rule == kind
    assert verdict.cause.endswith(".")
    assert ",." not in verdict.cause


def test_what_was_found_when_a_file_was_read_binds_while_it_holds() -> None:
    """
    A lifted account can be billed without sending the file again; a repeated row, or one a person excluded, cannot.

    An answer that takes rows takes no row that repeats another one.
    """

    def current_status(*rules: str, chargebacked: bool = False, answered: bool = False) -> str | None:
        kept = [Verdict(rule, "x") for rule in rules]
        found = still_applies(kept, chargebacked=chargebacked, answered=answered)
        return None if found is None else found.rule

    looked_up = ("blacklisted", "blacklisted_name", "blacklisted_email", "blacklisted_bank", "already_collected", "waiting_elsewhere",
                 "recently_attempted", "chargebacked_before")  # fmt: skip
    assert current_status(*looked_up) is None
    assert current_status(*looked_up, chargebacked=True) == "chargebacked_before"
    for some in QUESTIONS.values():
        for rule in some:
            assert current_status("blacklisted", rule) == rule
            assert current_status("blacklisted", rule, answered=True) is None
            assert current_status("duplicate_in_file", rule, answered=True) == "duplicate_in_file"
    assert current_status("a rule of tomorrow", answered=True) == "a rule of tomorrow"


def test_a_rule_nobody_knows_is_refused_at_once() -> None:
    """A misspelt rule in a configuration must not silently screen nothing."""
    with pytest.raises(InvalidRequest, match="There is no rule 'blaklisted'"):
        ScreeningPolicy(rules=("blaklisted",))
