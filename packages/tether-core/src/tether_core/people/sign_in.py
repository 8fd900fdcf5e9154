"""
Signing in: the steps of a session, waits after failures, passwords.

```text
 password, or identity provider
   ├─ a second factor exists ─────► second_factor  a code, once
   ├─ the password is temporary ──► password       the person sets an own one
   ├─ one is required ────────────► enrolment      the person sets one up
   └─ otherwise ──────────────────► complete
```

If an identity provider required several factors, no second factor is required here; a person who signs in there uses no password here.

A session that is not `complete` may only take its next step. Each step ends the session and begins another, so that a token that
somebody saw before a step is worth nothing after it.

After failures a sign-in waits. Three counters limit it: one for each pair of user and address, one for each address, and one for each
user from anywhere. The last has a high threshold and a short wait, because otherwise a stranger could lock out a user for long.

>>> [wait_s(failures, counter="user_and_address") for failures in (4, 5, 6, 8, 20)]
[0, 1, 2, 8, 900]
>>> wait_s(49, counter="user"), wait_s(1_000, counter="user")
(0, 60)
"""

from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "COUNTERS",
    "PASSWORD_MAX",
    "PASSWORD_MIN",
    "Counter",
    "Proven",
    "Step",
    "next_step",
    "require_password",
    "wait_s",
]

Step: TypeAlias = Literal["password", "second_factor", "enrolment", "complete"]
Counter: TypeAlias = Literal["user_and_address", "address", "user"]

PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 200  # argon2 takes any length; a body of megabytes would cost its hashing


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a person has proven in a session, and what the user has.

    Attributes:
        second_factor: Whether a code of the second factor was accepted in this session.
        has_second_factor: Whether the user has one.
        is_temporary: Whether the password is one that another person has seen.
        provider_factors: How many factors the identity provider checked; `None` for a sign-in with a password.
    """

    second_factor: bool = False
    has_second_factor: bool = False
    is_temporary: bool = False
    provider_factors: int | None = None


def next_step(proven: Proven, *, required: bool) -> Step:
    """
    The step that a session takes next.

    Args:
        proven: What the person has proven so far.
        required: Whether each user needs a second factor: `TETHER_SECOND_FACTOR`.

    >>> next_step(Proven(has_second_factor=True, is_temporary=True), required=False)
    'second_factor'
    >>> next_step(Proven(is_temporary=True), required=True)
    'password'
    >>> next_step(Proven(), required=True), next_step(Proven(), required=False)
    ('enrolment', 'complete')
    >>> next_step(Proven(provider_factors=1, has_second_factor=True), required=False)
    'second_factor'
    >>> next_step(Proven(provider_factors=2, has_second_factor=True, is_temporary=True), required=True)
    'complete'
    """
    by_provider, several = proven.provider_factors is not None, (proven.provider_factors or 0) > 1
    # Before a new password: who only found a temporary password must not be able to set one.
    if proven.has_second_factor and not (proven.second_factor or several):
        return "second_factor"
    if proven.is_temporary and not by_provider:
        return "password"
    if required and not (proven.has_second_factor or several):
        return "enrolment"
    return "complete"


# Failures until the first wait, and the longest wait in seconds. Waits double.
COUNTERS: Final[dict[Counter, tuple[int, int]]] = {
    "user_and_address": (5, 900),
    "address": (20, 900),
    "user": (50, 60),
}


def wait_s(failures: int, *, counter: Counter) -> int:
    """
    Seconds until the next try after failures.

    Args:
        failures: In a row, as counted.
        counter: Which counter; each has its own threshold.
    """
    first, longest = COUNTERS[counter]
    return 0 if failures < first else min(longest, 2 ** min(failures - first, 30))


def require_password(password: str, *, name: str) -> str:
    """
    Check a new password.

    Args:
        password: As the person typed it; nothing is cut or changed.
        name: Of the user.

    Returns:
        The password.

    Raises:
        InvalidRequest: when it is too short, too long, or made of the name or of few different characters.

    >>> require_password("aaaaaaaaaaaaaaa", name="ada")
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: password: Use at least 5 different characters.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidRequest(f"use {PASSWORD_MIN} to {PASSWORD_MAX} characters", field="password")
    if len(set(password)) < _DIFFERENT_MIN:
        raise InvalidRequest(f"use at least {_DIFFERENT_MIN} different characters", field="password")
    if password.lower().replace(name, "").strip("0123456789!.-_ ") == "":
        raise InvalidRequest("use more than your name and digits", field="password")
    return password


_DIFFERENT_MIN: Final = 5
