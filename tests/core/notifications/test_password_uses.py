"""Which password verified how many notifications: the report on which a former one is removed."""

from __future__ import annotations

from datetime import date

from tether_core.emp.signature import Credential, password_tag
from tether_core.notifications.password_uses import CountedUse, places, report

ON = date(2026, 3, 2)
KNOWN = [
    Credential("default", "merchant", ("new-secret", "old-secret"), ("t1",)),
    # A former login of the same account, and another account.
    Credential("default", "merchant-2019", ("old-secret", "older-secret")),
    Credential("second", "other", ("new-secret",)),
]


def _used(secret: str, *, account: str = "default", live: int = 5, reverified: int = 0) -> CountedUse:
    return CountedUse(account, password_tag(secret, account=account), live, reverified, ON)


def test_each_password_is_listed_once_in_the_order_of_the_configuration() -> None:
    """Two lines for one password would each show a part of its count, and one of them none."""
    uses = report(KNOWN, [_used("old-secret", live=2, reverified=3)], days=30)
    assert [(use.account, use.place, use.verified, use.reverified, use.last_on) for use in uses] == [
        ("default", "password 1", 0, 0, None),
        ("default", "password 2", 5, 3, ON),
        ("default", "password 3", 0, 0, None),
        ("second", "password 1", 0, 0, None),
    ]
    assert "secret" not in repr(uses)
    assert places(KNOWN)[("second", password_tag("new-secret", account="second"))] == "password 1"


def test_a_password_is_removed_only_on_evidence() -> None:
    """An account from which nothing came says nothing about its passwords."""
    advice = {use.place: use.advice for use in report(KNOWN[:1], [_used("new-secret")], days=30)}
    assert advice["password 1"] == "In use."
    assert "it can be removed" in advice["password 2"]
    silent = report(KNOWN[:1], [_used("new-secret", account="second")], days=30)
    assert {use.advice for use in silent if use.account == "default"} == {
        "No notification of the account was verified in 30 days."
    }


def test_the_first_password_is_never_advised_to_be_removed() -> None:
    """Calls are made with it: if nothing is signed with it, the calls are what to look at."""
    (first, _) = report(KNOWN[:1], [_used("old-secret")], days=30)
    assert "check that calls are made with the password that is valid" in first.advice


def test_a_login_is_listed_where_it_signed_and_a_removed_password_stays_visible() -> None:
    """Its last day is the proof that it was removed late enough."""
    uses = report(KNOWN[2:], [_used("other", account="second"), _used("gone", account="second")], days=30)
    assert [(use.place, use.verified) for use in uses] == [("password 1", 0), ("login", 5), ("", 5)]
    assert uses[-1].advice == "It is not configured on this node."
