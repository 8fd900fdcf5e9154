"""Users, API keys, and the audit of what they do."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "ApiKey",
    "AuditEntry",
    "KeyWithSecret",
    "ListedUser",
    "Me",
    "PeopleRoutes",
    "UserWithPassword",
]


class ListedUser(msgspec.Struct, frozen=True):
    """
    A user.

    Attributes:
        id: The id of the user.
        name: Unique, lower case.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the user is limited; null for all.
        has_second_factor: Whether a second factor is set up.
        has_password: Whether the user can sign in with a password.
        is_temporary: Whether the password must be changed at the next sign-in.
        created_at: When the user was created.
        signed_in_at: The last sign-in, or null.
        disabled_at: Since when the user cannot sign in, or null.
        oidc_issuer: The identity provider at which a person is bound to the user, or null.
    """

    id: int
    name: str
    role: str
    accounts: tuple[str, ...] | None
    has_second_factor: bool
    has_password: bool
    is_temporary: bool
    created_at: datetime
    signed_in_at: datetime | None
    disabled_at: datetime | None
    oidc_issuer: str | None


class UserWithPassword(msgspec.Struct, frozen=True):
    """
    A user with a temporary password.

    Attributes:
        user: The user.
        password: Shown this once; it must be changed at the first sign-in. Null for a user without a password.
    """

    user: ListedUser
    password: str | None


class Me(msgspec.Struct, frozen=True):
    """
    Who sends the request.

    Attributes:
        name: Of the user or key.
        kind: "user" or "api_key".
        role: The role.
        permissions: What the role allows.
        accounts: The gateway accounts to which the caller is limited; null for all.
    """

    name: str
    kind: str
    role: str
    permissions: list[str]
    accounts: tuple[str, ...] | None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """
    A key of a program, without its secret.

    Attributes:
        id: The row.
        name: Unique among keys that are not revoked.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the key is limited; null for all.
        owner: Who answers for it: "user:" and the id of the user who created it, or "command:" and the operating system's user.
        created_by: The name of the user or key that created it.
        created_at: When it was created.
        expires_at: When it ends by itself; null for never.
        last_used_at: The last use, up to some minutes late; null if it was never used.
        revoked_at: When it was revoked, or null.
        revoked_by: Who revoked it, or null.
    """

    id: int
    name: str
    role: str
    accounts: tuple[str, ...] | None
    owner: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class KeyWithSecret(msgspec.Struct, frozen=True):
    """
    A new key.

    Attributes:
        key: Its name, role and limits.
        secret: What a program sends as `Authorization: Bearer <secret>`; shown this once.
    """

    key: ApiKey
    secret: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One action of a person or a program.

    Attributes:
        id: The row.
        acted_at: When, by the clock of Postgres.
        actor_kind: "user", "api_key" or "command".
        actor_id: The row of the user or of the key; null for keys of the environment and for commands.
        actor: The name of the user, of the key, or of the operating system's user.
        address: The IP address of the client; null for commands.
        action: What was done, e.g. "run.paused".
        subject: The kind of thing it was done to, e.g. "run".
        subject_id: The id or name of that thing; null where there is none.
        reason: What the person gave as reason; IBANs are masked.
        before: Fields that the action changed, as they were; null where nothing existed.
        after: The same fields after the action.
        change: `before` and `after` as a line.
    """

    id: int
    acted_at: datetime
    actor_kind: str
    actor_id: int | None
    actor: str
    address: str | None
    action: str
    subject: str
    subject_id: str | None
    reason: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    change: str


class PeopleRoutes(Connection):
    """Routes of users, API keys and the audit."""

    def me(self) -> Me:
        """Who this key is, and what it may do."""
        return self._get("/api/me", Me)

    def audit(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[AuditEntry]:
        """
        Actions of people and programs, newest first.

        Args:
            filters: Any of actor, action, subject, subject_id, from, to.
        """
        return self._get("/api/audit", Page[AuditEntry], **{**filters, "cursor": cursor, "limit": limit})

    def users(self) -> list[ListedUser]:
        """Users by name."""
        return self._get("/api/users", list[ListedUser])

    def add_user(
        self,
        name: str,
        *,
        role: str,
        accounts: Sequence[str] | None = None,
        has_password: bool = True,
        reason: str = "",
    ) -> UserWithPassword:
        """Create a user; the temporary password is in the answer only. Without one, only the identity provider signs the user in."""
        body = {
            "name": name,
            "role": role,
            "accounts": accounts,
            "has_password": has_password,
            "reason": reason,
        }
        return self._post("/api/users", body, UserWithPassword)

    def change_user(self, user_id: int, *, reason: str = "", **changes: Any) -> ListedUser:
        """
        Change a user.

        Args:
            changes: Any of role, accounts (`None` for all) and enabled.
        """
        body = {**changes, "reason": reason}
        return self._patch(f"/api/users/{user_id}", body, ListedUser)

    def reset_user(self, user_id: int, *, second_factor: bool = False, reason: str = "") -> UserWithPassword:
        """Give a user a new temporary password; with *second_factor* remove the second factor too."""
        body = {"second_factor": second_factor, "reason": reason}
        return self._post(f"/api/users/{user_id}/reset", body, UserWithPassword)

    def unbind_user(self, user_id: int, *, reason: str = "") -> ListedUser:
        """Forget which person at the identity provider is bound to a user."""
        return self._post(f"/api/users/{user_id}/unbind", {"reason": reason}, ListedUser)

    def api_keys(self) -> list[ApiKey]:
        """API keys, newest first, without those of the environment."""
        return self._get("/api/api-keys", list[ApiKey])

    def add_api_key(
        self,
        name: str,
        *,
        role: str,
        accounts: Sequence[str] | None = None,
        expires_at: str | None = None,
        reason: str = "",
    ) -> KeyWithSecret:
        """Create an API key; the secret is in the answer only."""
        body = {
            "name": name,
            "role": role,
            "accounts": accounts,
            "expires_at": expires_at,
            "reason": reason,
        }
        return self._post("/api/api-keys", body, KeyWithSecret)

    def revoke_api_key(self, key_id: int, *, reason: str = "") -> ApiKey:
        """Revoke an API key; it ends at once."""
        return self._delete(f"/api/api-keys/{key_id}", ApiKey, reason=reason)
