"""
Roles: who may do what.

A role is a set of permissions, and each route of the web application needs exactly one permission
(`tether_web.http.permissions`). The table below is the whole rule.

>>> may("operator", "billing"), may("viewer", "billing"), may("operator", "people")
(True, False, False)
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

from tether_core.errors import InvalidRequest

__all__ = ["PERMISSIONS", "ROLES", "TABLE", "Permission", "Role", "may", "require_accounts", "require_name"]

Role: TypeAlias = Literal["viewer", "operator", "admin"]
Permission: TypeAlias = Literal[
    "own_account",
    "view",
    "files",
    "uploads",
    "billing",
    "refunds",
    "notifications",
    "blacklist",
    "reconciliation",
    "queues",
    "audit",
    "subscribers",
    "erasure",
    "return_policies",
    "people",
]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)

_VIEWER: Final = frozenset[Permission]({"own_account", "view"})
_OPERATOR: Final = _VIEWER | frozenset[Permission](
    {
        "files",
        "uploads",
        "billing",
        "refunds",
        "notifications",
        "blacklist",
        "reconciliation",
        "queues",
        "audit",
    }
)
# "erasure" removes evidence and cannot be undone.
# "subscribers" decides where events go, which leaves the installation, and which relays are heard, so only an administrator has it.
# "return_policies" decides which debtors are debited again in all accounts, so only an administrator has it.
# "files" is the download of original files and reports with whole account numbers, so a viewer does not have it.
TABLE: Final[dict[Role, frozenset[Permission]]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "admin": _OPERATOR | frozenset[Permission]({"people", "return_policies", "subscribers", "erasure"}),
}

_NAME_MAX: Final = 64
_ACCOUNTS_MAX: Final = 50


def may(role: Role, permission: Permission) -> bool:
    """
    Whether a role has a permission.

    Args:
        role: Of a user or key.
        permission: Of a route.
    """
    return permission in TABLE[role]


def require_name(name: str) -> str:
    """
    The name of a user or of a key, as it is stored.

    Args:
        name: As a person wrote it, such as "ada" or "ada@example.com".

    Returns:
        The name in lower case, without blanks around it.

    Raises:
        InvalidRequest: when it has other characters than letters, digits and ".", "_", "-", "@", "+", or more than 64.

    >>> require_name(" Ada@Example.com ")
    'ada@example.com'
    >>> require_name("ada lovelace")
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: name: Use 1 to 64 letters, digits and the signs . _ - @ +.
    """
    given = name.strip().lower()
    good = all(sign.isascii() and (sign.isalnum() or sign in "._-@+") for sign in given)
    if not 1 <= len(given) <= _NAME_MAX or not good:
        raise InvalidRequest(f"use 1 to {_NAME_MAX} letters, digits and the signs . _ - @ +", field="name")
    return given


def require_accounts(accounts: Sequence[str] | None, *, known: Sequence[str]) -> tuple[str, ...] | None:
    """
    The gateway accounts to which a user or a key is limited.

    Args:
        accounts: As given; `None` for no limit.
        known: The accounts that exist.

    Returns:
        The accounts, sorted; `None` for no limit.

    Raises:
        InvalidRequest: when the list is empty or too long, or names an account that does not exist.

    >>> require_accounts(["b", "a", "b"], known=["a", "b"])
    ('a', 'b')
    >>> require_accounts(["c"], known=["a", "b"])
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: accounts: No gateway account is named 'c'; there are a, b.
    """
    if accounts is None:
        return None
    wanted = tuple(sorted(set(accounts)))
    if not 1 <= len(wanted) <= _ACCOUNTS_MAX:
        raise InvalidRequest(f"name 1 to {_ACCOUNTS_MAX} accounts, or leave it out", field="accounts")
    for name in wanted:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "there is none"
            raise InvalidRequest(f"no gateway account is named {name[:40]!r}; {there}", field="accounts")
    return wanted
