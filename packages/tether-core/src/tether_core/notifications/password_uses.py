"""
Uses of passwords: which password of an account verified how many notifications.

While a password is changed an account has two, and the gateway signs with either. The older one is removed when nothing is signed with it any
more, which only a count can say. A password is named by its place in the configuration and by a tag (`tether_core.emp.signature.password_tag`), so
that neither a page nor a table holds it.

>>> from tether_core.emp.signature import Credential, password_tag
>>> known = [Credential("default", passwords=("new", "old"))]
>>> new = CountedUse("default", password_tag("new", account="default"), 120, 3, date(2026, 3, 2))
>>> for use in report(known, [new], days=30):
...     print(use.place, use.verified, use.advice)
password 1 123 In use.
password 2 0 It verified nothing in 30 days, and another password of the account did: it can be removed.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from tether_core.emp.signature import Credential, password_tag

__all__ = ["DAYS", "DAYS_MAX", "CountedUse", "PasswordUse", "places", "report"]

# The days that a report covers, and those for which counts are kept.
DAYS: Final = 30
DAYS_MAX: Final = 90


class CountedUse(msgspec.Struct, frozen=True):
    """
    What is counted of one password in some days.

    Attributes:
        account: The gateway account.
        tag: Of the password.
        live: Notifications that it verified as they came, repeats included.
        reverified: Notifications of the quarantine that it verified later.
        last_on: The latest day of both.
    """

    account: str
    tag: str
    live: int
    reverified: int
    last_on: date


class PasswordUse(msgspec.Struct, frozen=True):
    """
    A password, and what it verified in some days.

    Attributes:
        account: The gateway account.
        tag: Of the password: eight hex digits that distinguish it from others of the account.
        place: "password 1" is the one for calls, further ones verify only, "login" signs identity checks; "" when it is not configured
            on this node.
        verified: All notifications that it verified.
        reverified: Of these, notifications of the quarantine.
        last_on: The latest day on which it verified one, or null.
        advice: What follows, as a sentence.
    """

    account: str
    tag: str
    place: str
    verified: int
    reverified: int
    last_on: date | None
    advice: str


def places(credentials: Iterable[Credential]) -> dict[tuple[str, str], str]:
    """The place of each configured secret, by account and tag; see `PasswordUse`."""
    return {(account, tag): place for account, tag, place in _configured(credentials)}


def report(credentials: Iterable[Credential], uses: Sequence[CountedUse], *, days: int) -> list[PasswordUse]:
    """
    All configured passwords, and others that verified something, with what they verified.

    Args:
        credentials: Of all accounts. A former login of an account has the account's name.
        uses: What was counted, at most one for an account and tag.
        days: How many days *uses* cover.

    Returns:
        By account, in the order of the configuration; passwords that are configured no longer come last.
    """
    counted = {(use.account, use.tag): use for use in uses}
    busy = {use.account for use in uses}
    found: list[PasswordUse] = []
    for account, tag, place in _configured(credentials):
        use = counted.pop((account, tag), None)
        if use is None and place == "login":
            continue
        found.append(
            _use(account, tag, place, use, advice=_advice(place, use, is_busy=account in busy, days=days))
        )
    gone = "It is not configured on this node."
    found += [_use(use.account, use.tag, "", use, advice=gone) for use in counted.values()]
    return found


def _configured(credentials: Iterable[Credential]) -> Iterator[tuple[str, str, str]]:
    """Account, tag and place of each secret, each once."""
    numbers: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for known in credentials:
        for secret, is_login in [*((password, False) for password in known.passwords), (known.login, True)]:
            tag = password_tag(secret, account=known.account)
            if not secret or (known.account, tag) in seen:
                continue
            seen.add((known.account, tag))
            if not is_login:
                numbers[known.account] = numbers.get(known.account, 0) + 1
            yield known.account, tag, "login" if is_login else f"password {numbers[known.account]}"


def _use(account: str, tag: str, place: str, use: CountedUse | None, *, advice: str) -> PasswordUse:
    if use is None:
        return PasswordUse(account, tag, place, 0, 0, None, advice)
    return PasswordUse(account, tag, place, use.live + use.reverified, use.reverified, use.last_on, advice)


def _advice(place: str, use: CountedUse | None, *, is_busy: bool, days: int) -> str:
    if use is not None:
        return "In use."
    if not is_busy:
        return f"No notification of the account was verified in {days} days."
    if place == "password 1":
        return (
            f"It verified nothing in {days} days, and another password of the account did: check that calls are made with the "
            "password that is valid."
        )
    return f"It verified nothing in {days} days, and another password of the account did: it can be removed."
