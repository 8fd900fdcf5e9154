"""The return policy: what each reason code of a return does, as versions."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from tether_client.connection import Connection

__all__ = [
    "CountAndAmount",
    "CurrencyResult",
    "DryRun",
    "Odds",
    "PolicyChange",
    "PolicyDetail",
    "PolicyRule",
    "PolicyVersion",
    "Range",
    "ReturnPolicyRoutes",
    "StoredDryRun",
    "Switch",
]


class CountAndAmount(msgspec.Struct, frozen=True):
    """
    A number of debits or accounts, and their money.

    Attributes:
        count: How many; negative for fewer.
        amount_minor: In whole minor units; negative for less.
    """

    count: int
    amount_minor: int


class Range(msgspec.Struct, frozen=True):
    """
    What is to be expected, between its two ends; all three are equal where it is counted.

    Attributes:
        low: The lower end of the 95 % interval.
        expected: The most likely.
        high: The upper end.
    """

    low: CountAndAmount
    expected: CountAndAmount
    high: CountAndAmount


class Odds(msgspec.Struct, frozen=True):
    """
    How often an outcome is to be expected.

    Attributes:
        of: How many things were seen.
        share: Of these, the share with the outcome, 0 to 1.
        low: The lower end of the 95 % interval.
        high: Its upper end.
    """

    of: int
    share: float
    low: float
    high: float


class CurrencyResult(msgspec.Struct, frozen=True):
    """
    What would have been otherwise, in one currency.

    Attributes:
        currency: ISO 4217.
        blocked: Extra accounts that are held or blocked; negative for fewer.
        collected: Extra debits that are collected and stay collected; `None` where further tries cannot be estimated.
        returned: Extra debits that are returned; likewise.
        tries: Further tries after a return.
        blocked_collected: Part of `collected`: what was collected from accounts that would have been blocked.
        blocked_returned: Part of `returned`: what was returned by these accounts.
    """

    currency: str
    blocked: CountAndAmount
    collected: Range | None
    returned: Range | None
    tries: CountAndAmount
    blocked_collected: CountAndAmount
    blocked_returned: CountAndAmount


class DryRun(msgspec.Struct, frozen=True):
    """
    A dry run of a version.

    Attributes:
        version: The version that was tried.
        against: The version it was compared with.
        from_on: The first day of the returns.
        to_on: The last one.
        currencies: One result for each currency in which anything differs.
        odds_collected: Of further tries: how often one is collected; `None` where none was made.
        odds_returned: Likewise, how often one is returned again.
    """

    version: int
    against: int
    from_on: date
    to_on: date
    currencies: list[CurrencyResult]
    odds_collected: Odds | None
    odds_returned: Odds | None


class StoredDryRun(msgspec.Struct, frozen=True):
    """
    A dry run that was made.

    Attributes:
        id: Its row.
        made_by: Who ordered it.
        made_at: When.
        result: What it found.
    """

    id: int
    made_by: str
    made_at: datetime
    result: DryRun


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """
    A version of the return policy.

    Attributes:
        version: Its number; 0 is built in.
        active: Whether it decides now.
        based_on: The version it was made from; `None` for version 0.
        reason: Why it was made.
        created_by: Who made it; `None` for version 0.
        created_at: When; `None` for version 0.
    """

    version: int
    active: bool
    based_on: int | None
    reason: str
    created_by: str | None
    created_at: datetime | None


class PolicyRule(msgspec.Struct, frozen=True):
    """
    A rule of a version.

    Attributes:
        code: The reason code.
        action: On the account: "none", "hold" or "block".
        retries: How often the same debit may be tried again.
        meaning: Of the code, for people.
    """

    code: str
    action: str
    retries: int
    meaning: str


class PolicyChange(msgspec.Struct, frozen=True):
    """
    A reason code that two versions treat differently.

    Attributes:
        code: The reason code.
        text: The change in words.
    """

    code: str
    text: str


class PolicyDetail(PolicyVersion, frozen=True, kw_only=True):
    """
    A version with its rules.

    Attributes:
        rules: All rules, by code.
        active_version: The version that decides now.
        changes: What would be otherwise than by the active version.
        dry_run: Its last dry run against the active version; `None` where none was made.
    """

    rules: list[PolicyRule]
    active_version: int
    changes: list[PolicyChange]
    dry_run: StoredDryRun | None


class Switch(msgspec.Struct, frozen=True):
    """
    A switch from one version to another.

    Attributes:
        id: Its row.
        version: The version that decides from here on.
        version_before: The version that decided before.
        dry_run_id: The dry run that was stored before; `None` where the version was active before.
        reason: Why it was switched on.
        switched_by: Who did it.
        switched_at: When.
    """

    id: int
    version: int
    version_before: int
    dry_run_id: int | None
    reason: str
    switched_by: str
    switched_at: datetime


class ReturnPolicyRoutes(Connection):
    """Routes of the return policy."""

    def return_policies(self) -> list[PolicyVersion]:
        """Versions of the return policy, newest first; version 0 is the last."""
        return self._get("/api/return-policies", list[PolicyVersion])

    def return_policy(self, version: int) -> PolicyDetail:
        """One version with its rules, and what it changes of the active version."""
        return self._get(f"/api/return-policies/{version}", PolicyDetail)

    def return_policy_switches(self) -> list[Switch]:
        """Who switched which version on, newest first."""
        return self._get("/api/return-policies/switches", list[Switch])

    def add_return_policy(
        self, *, based_on: int, rules: Mapping[str, Mapping[str, Any]], reason: str
    ) -> PolicyDetail:
        """Make a version; *rules* are those that differ, such as {"MS02": {"action": "block"}}."""
        body = {"based_on": based_on, "rules": rules, "reason": reason}
        return self._post("/api/return-policies", body, PolicyDetail)

    def try_return_policy(self, version: int, *, days: int = 365) -> StoredDryRun:
        """What a version would have changed over the returns of the last *days* days; the result is stored."""
        return self._post(f"/api/return-policies/{version}/dry-run", {"days": days}, StoredDryRun)

    def switch_return_policy(self, version: int, *, active: int, reason: str) -> Switch:
        """Switch a version on; refused where another version than *active* decides now."""
        body = {"active": active, "reason": reason}
        return self._post(f"/api/return-policies/{version}/switch", body, Switch)
