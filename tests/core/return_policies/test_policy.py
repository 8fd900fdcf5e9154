"""Versions of the return policy: what may be in one, how two differ, and when one may be switched on."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.blacklist import REASONS, Action, policy_for
from tether_core.errors import IllegalStep, InvalidRequest, Unreadable
from tether_core.return_policies.policy import (
    BUILT_IN,
    RETRIED,
    Rule,
    RuleChange,
    built_in,
    changed,
    changes,
    decode,
    encode,
    require_switch,
)

ACTIONS: tuple[Action, ...] = get_args(Action)
codes = st.one_of(st.sampled_from(sorted(REASONS)), st.text("ABCXYZ0129", min_size=4, max_size=4))


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Rule]:
    """Some rules that are allowed."""
    found = {}
    for code in draw(st.sets(codes, min_size=1, max_size=6)):
        action = draw(st.sampled_from(ACTIONS))
        retries = draw(st.integers(0, 2)) if action == "none" and code in RETRIED else 0
        found[code] = Rule(action, retries)
    return found


@given(rules())
def test_a_version_is_its_base_and_the_changes(new: dict[str, Rule]) -> None:
    """A version that lost a rule of its base on the way would unblock debtors that nobody spoke of."""
    if all(BUILT_IN.rules.get(code) == rule for code, rule in new.items()):
        with pytest.raises(InvalidRequest, match=r"(?i)change at least one"):
            changed(BUILT_IN, new, version=1)
        return
    made = changed(BUILT_IN, new, version=1)
    assert made.rules == {**BUILT_IN.rules, **new}
    assert {change.code for change in changes(BUILT_IN, made)} == {
        code for code, rule in new.items() if BUILT_IN.rules.get(code) != rule
    }
    assert decode(1, encode(made)) == made
    back = [RuleChange(change.code, change.after, change.before) for change in changes(BUILT_IN, made)]
    assert list(changes(made, BUILT_IN)) == back


@pytest.mark.parametrize("code", [*sorted(REASONS), "ZZ99", None, ""])
def test_version_0_is_the_table(code: str | None) -> None:
    """Who never makes a version keeps what Tether did before there were any."""
    said, rule = policy_for(code), BUILT_IN.of(code)
    assert (rule.action, rule.scope, rule.retries, rule.known) == (
        said.action,
        said.scope,
        said.retries,
        said.known,
    )


def test_version_0_has_the_codes_of_the_setting() -> None:
    """TETHER_BLACKLIST_CODES is exactly the blocking set, also for codes of the acquirer's own."""
    policy = built_in({"AM04", "ZZ99"})
    assert {code for code, rule in policy.rules.items() if rule.action == "block"} == {"AM04", "ZZ99"}
    assert (policy.of("AM04").retries, policy.of("ZZ99").known, policy.of("AC04").action) == (0, True, "none")


def test_a_code_of_no_rule_does_nothing_and_says_so() -> None:
    """A code that a later release knows must not begin to block by itself under a version that people agreed on."""
    made = changed(BUILT_IN, {"MS02": Rule("block")}, version=1)
    del made.rules["AC04"]
    assert (made.of("AC04").action, made.of("AC04").known) == ("none", False)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"AC04": Rule("none", 1)}, "only AM04 and MS03"),
        ({"AM04": Rule("block", 1)}, "on block is not tried again"),
        ({"AM04": Rule("none", 3)}, "0 to 2"),
        ({"am04": Rule("none", 1)}, "four capitals"),
        ({"AM 4": Rule("none")}, "four capitals"),
        ({f"{n:04}": Rule("none") for n in range(200)}, "at most 200"),
        ({}, "change at least one"),
    ],
)
def test_what_no_version_may_say(rule: dict[str, Rule], words: str) -> None:
    """A debit of a closed account, tried again every week, costs a fee each time and in the end the account at the acquirer."""
    with pytest.raises(InvalidRequest, match=rf"(?i){words}"):
        changed(BUILT_IN, rule, version=1)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"AC04":{"action":"shout"}}', b'{"AC04":7}', b"\xff"])
def test_stored_rules_that_cannot_be_read_are_refused(junk: bytes) -> None:
    """Deciding by half a policy is worse than not deciding."""
    with pytest.raises(Unreadable):
        decode(1, junk)


def test_a_switch_needs_a_dry_run_and_the_version_that_was_seen() -> None:
    """Two people who switch at once must not undo each other unseen, and nobody switches blindly."""
    require_switch(2, active=1, expected=1, was_active=False, is_dry_run=True)
    require_switch(0, active=1, expected=1, was_active=True, is_dry_run=False)
    with pytest.raises(InvalidRequest, match=r"(?i)dry run of version 2 against version 1"):
        require_switch(2, active=1, expected=1, was_active=False, is_dry_run=False)
    with pytest.raises(IllegalStep) as moved:
        require_switch(2, active=3, expected=1, was_active=True, is_dry_run=True)
    assert "Version 3 decides now, not version 1" in str(moved.value)
    with pytest.raises(IllegalStep) as same:
        require_switch(1, active=1, expected=1, was_active=True, is_dry_run=True)
    assert "decides already" in str(same.value)
