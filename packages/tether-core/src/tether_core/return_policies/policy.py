"""
The return policy: what each reason code does, as a version.

A version is a whole table: reason code -> action on the account, and how often the same debit may be tried again. It is never changed; another
version is made from it (`changed`), compared (`changes`), tried over the returns of last year (`tether_core.return_policies.dry_run`) and switched
on by a person. One version decides at a time, and each decision names it.

| version | its rules |
|---|---|
| 0 | the table `tether_core.blacklist.REASONS`, with the blocking codes of `TETHER_BLACKLIST_CODES`; the default |
| 1, 2, ... | made by people and stored whole: neither a setting nor a new release changes what they say |

A code that is in no rule of the version does nothing and is announced. Only insufficient funds (AM04) and no reason (MS03) may be tried again,
twice at most, and only where the account is not held or blocked: acquirers accept nothing else, and other reasons do not go away.

>>> second = changed(BUILT_IN, {"MS02": Rule("block"), "AM04": Rule("none", 1)}, version=1)
>>> second.of("MS02").action, BUILT_IN.of("MS02").action
('block', 'hold')
>>> [change.text for change in changes(BUILT_IN, second)]
['AM04: none, tried again twice -> none, tried again once', 'MS02: hold -> block']
>>> changed(BUILT_IN, {"AC04": Rule("none", 1)}, version=1)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: AC04: Only AM04 and MS03 may be tried again; set its retries to 0.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Final

import msgspec

from tether_core.blacklist import BLOCKING, REASONS, Action, ReasonPolicy, policy_for
from tether_core.errors import IllegalStep, InvalidRequest, Unreadable

__all__ = [
    "BUILT_IN",
    "RETRIED",
    "ReturnPolicy",
    "Rule",
    "RuleChange",
    "built_in",
    "changed",
    "changes",
    "decode",
    "encode",
    "require_switch",
]

RETRIES_MAX: Final = 2
CODES_MAX: Final = 200
_CODE: Final = re.compile("[A-Z0-9]{4}")
# Codes that may be tried again at all.
RETRIED: Final = frozenset(code for code, reason in REASONS.items() if reason.retries)
_TIMES: Final = ("", ", tried again once", ", tried again twice")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What one reason code does.

    Attributes:
        action: On the account: "none", "hold" or "block".
        retries: How often the same debit may be tried again, 0 to 2.
    """

    action: Action
    retries: Annotated[int, msgspec.Meta(ge=0, le=RETRIES_MAX)] = 0

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"{self.action}{_TIMES[self.retries]}"


class ReturnPolicy(msgspec.Struct, frozen=True):
    """
    One version of the return policy.

    Attributes:
        version: 0 for the built-in one.
        rules: By reason code.
    """

    version: int
    rules: dict[str, Rule]

    def of(self, code: str | None) -> ReasonPolicy:
        """
        What a reason code does.

        Args:
            code: As it came, upper case; `None` where the gateway gave none.

        Returns:
            Action, scope and retries; for a code of no rule, nothing, and `known` says so.
        """
        policy = policy_for(code)
        rule = self.rules.get(code or "")
        if rule is None:
            return msgspec.structs.replace(policy, action="none", retries=0, known=False)
        return msgspec.structs.replace(policy, action=rule.action, retries=rule.retries, known=True)


class RuleChange(msgspec.Struct, frozen=True):
    """
    A reason code that two versions treat differently.

    Attributes:
        code: The reason code.
        before: Its rule in the first version; `None` where it has none.
        after: Its rule in the second one.
    """

    code: str
    before: Rule | None
    after: Rule | None

    @property
    def text(self) -> str:
        """The change in words."""
        before, after = ("no rule" if rule is None else rule.text for rule in (self.before, self.after))
        return f"{self.code}: {before} -> {after}"


def built_in(blocking: AbstractSet[str] = BLOCKING) -> ReturnPolicy:
    """
    Version 0.

    Args:
        blocking: Exactly the codes that block (`TETHER_BLACKLIST_CODES`).

    Returns:
        The built-in table with these codes.
    """
    policies = {code: policy_for(code, blocking=blocking) for code in sorted({*REASONS, *blocking} - {""})}
    return ReturnPolicy(
        0,
        {
            code: Rule(reason.action, reason.retries if reason.action == "none" else 0)
            for code, reason in policies.items()
        },
    )


BUILT_IN: Final = built_in()


def changed(base: ReturnPolicy, rules: Mapping[str, Rule], *, version: int) -> ReturnPolicy:
    """
    Make a version from another one.

    Args:
        base: The version it is based on.
        rules: New rules, by reason code; all others stay.
        version: Its number, 1 or more.

    Returns:
        The new version.

    Raises:
        InvalidRequest: when a rule is not allowed, there are too many, or nothing changes.
    """
    for code, rule in rules.items():
        _require(code, rule)
    made = ReturnPolicy(version, dict(sorted({**base.rules, **rules}.items())))
    if len(made.rules) > CODES_MAX:
        raise InvalidRequest(f"give at most {CODES_MAX} reason codes", field="rules")
    if not changes(base, made):
        raise InvalidRequest(f"change at least one rule of version {base.version}", field="rules")
    return made


def _require(code: str, rule: Rule) -> None:
    if not _CODE.fullmatch(code):
        raise InvalidRequest(f"{code[:10]!r} is not a reason code of four capitals or digits", field="rules")
    if not 0 <= rule.retries <= RETRIES_MAX:
        raise InvalidRequest(f"give 0 to {RETRIES_MAX} retries", field=code)
    if rule.retries and code not in RETRIED:
        raise InvalidRequest(
            f"only {' and '.join(sorted(RETRIED))} may be tried again; set its retries to 0", field=code
        )
    if rule.retries and rule.action != "none":
        raise InvalidRequest(
            f"an account on {rule.action} is not tried again; set its retries to 0", field=code
        )


def changes(before: ReturnPolicy, after: ReturnPolicy) -> tuple[RuleChange, ...]:
    """
    Compare two versions.

    Args:
        before: The first version.
        after: The second one.

    Returns:
        The reason codes that they treat differently, sorted.
    """
    codes = sorted({*before.rules, *after.rules})
    pairs = ((code, before.rules.get(code), after.rules.get(code)) for code in codes)
    return tuple(RuleChange(code, old, new) for code, old, new in pairs if old != new)


def encode(policy: ReturnPolicy) -> bytes:
    """The rules of a version as they are stored."""
    return msgspec.json.encode(policy.rules, order="sorted")


def decode(version: int, rules: bytes) -> ReturnPolicy:
    """
    Read a stored version.

    Args:
        version: Its number.
        rules: From `encode`.

    Raises:
        Unreadable: when the bytes are no rules that this release knows.
    """
    try:
        return ReturnPolicy(version, msgspec.json.decode(rules, type=dict[str, Rule]))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Unreadable("return policy", why=str(exc)) from exc


def require_switch(version: int, *, active: int, expected: int, was_active: bool, is_dry_run: bool) -> None:
    """
    Require that a version may be switched on.

    A version that was active before needs no dry run: to go back in the night must not depend on a long query.

    Args:
        version: To be switched on.
        active: The version that decides now.
        expected: The version that the person believes to decide now.
        was_active: Whether the version was active before; version 0 always was.
        is_dry_run: Whether a dry run of it against the active version is stored.

    Raises:
        IllegalStep: when it is active already, or another version than expected is.
        InvalidRequest: when its dry run is missing.

    >>> require_switch(2, active=1, expected=1, was_active=False, is_dry_run=False)
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: version: Make a dry run of version 2 against version 1 first, and look at it.
    """
    state = f"version {active}"
    if active != expected:
        why = f"Version {active} decides now, not version {expected}. Look at it, and switch from it."
        raise IllegalStep("return policy", state=state, step="switched", why=why)
    if version == active:
        why = f"Version {active} decides already. Nothing is left to do."
        raise IllegalStep("return policy", state=state, step="switched", why=why)
    if not was_active and not is_dry_run:
        raise InvalidRequest(
            f"make a dry run of version {version} against version {active} first, and look at it",
            field="version",
        )
