"""Users: one short function per query of `users.sql`, which describes their rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg.errors import UniqueViolation
from tether_core.people.roles import Role

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "User",
    "add",
    "all_users",
    "backup_codes_left",
    "bind",
    "by_id",
    "by_name",
    "by_subject",
    "change",
    "hold",
    "other_admin",
    "replace_backup_codes",
    "set_password",
    "set_second_factor",
    "signed_in",
    "unbind",
    "use_backup_code",
    "use_step",
]

_SQL: Final = load("people/users")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """
    A person who may sign in.

    Attributes:
        id: The row.
        name: Unique, lower case.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the user is limited; `None` for all.
        password_hash: Argon2id; `None` for a user without a password.
        is_temporary: Whether another person has seen the password.
        second_factor: Encrypted; `None` without one.
        created_at: When the user was created.
        signed_in_at: The last sign-in, or `None`.
        disabled_at: Since when the user cannot sign in, or `None`.
        oidc_issuer: The identity provider at which a person is bound to the user, or `None`.
        oidc_subject: That person there, or `None`.
    """

    id: int
    name: str
    role: Role
    accounts: tuple[str, ...] | None
    password_hash: str | None
    is_temporary: bool
    second_factor: bytes | None
    created_at: datetime
    signed_in_at: datetime | None
    disabled_at: datetime | None
    oidc_issuer: str | None
    oidc_subject: str | None

    def __repr__(self) -> str:
        """Name the user; hashes and secrets stay hidden."""
        return f"User({self.name!r})"


def _user(*, accounts: list[str] | None, **columns: Any) -> User:
    return User(accounts=None if accounts is None else tuple(accounts), **columns)


async def all_users(conn: Connection, *, limit: int) -> list[User]:
    """All users by name."""
    return await fetch_all(conn, _SQL["all_users"], {"limit": limit}, into=_user)


async def by_id(conn: Connection, user_id: int) -> User | None:
    """One user."""
    return await fetch_one(conn, _SQL["by_id"], {"user_id": user_id}, into=_user)


async def by_name(conn: Connection, name: str) -> User | None:
    """One user."""
    return await fetch_one(conn, _SQL["by_name"], {"name": name}, into=_user)


async def by_subject(conn: Connection, *, issuer: str, subject: str) -> User | None:
    """The user to whom a person at the identity provider is bound, locked for the transaction."""
    return await fetch_one(conn, _SQL["by_subject"], {"issuer": issuer, "subject": subject}, into=_user)


async def hold(conn: Connection, user_id: int) -> User | None:
    """One user, locked for the transaction."""
    return await fetch_one(conn, _SQL["hold"], {"user_id": user_id}, into=_user)


async def other_admin(conn: Connection, user_id: int) -> bool:
    """Whether another administrator can sign in; locks all of them for the transaction."""
    return await fetch_value(conn, _SQL["other_admin"], {"user_id": user_id}, into=bool)


async def add(
    conn: Connection,
    *,
    name: str,
    role: Role,
    accounts: Sequence[str] | None,
    password_hash: str | None,
    is_temporary: bool,
    now: datetime,
) -> int | None:
    """Add a user; the id, or `None` where the name exists."""
    parameters = {
        "name": name,
        "role": role,
        "accounts": None if accounts is None else list(accounts),
        "password_hash": password_hash,
        "is_temporary": is_temporary,
        "now": now,
    }
    row = await (await conn.execute(_SQL["add"], parameters)).fetchone()
    return None if row is None else int(row[0])


async def change(conn: Connection, user: User, *, now: datetime) -> None:
    """Store role, accounts and `disabled_at` of a user."""
    parameters = {
        "user_id": user.id,
        "role": user.role,
        "accounts": None if user.accounts is None else list(user.accounts),
        "disabled_at": user.disabled_at,
        "now": now,
    }
    await conn.execute(_SQL["change"], parameters)


async def set_password(
    conn: Connection, user_id: int, *, password_hash: str, is_temporary: bool, now: datetime
) -> None:
    """Store a new password."""
    await conn.execute(
        _SQL["set_password"],
        {"user_id": user_id, "password_hash": password_hash, "is_temporary": is_temporary, "now": now},
    )


async def set_second_factor(
    conn: Connection, user_id: int, *, second_factor: bytes | None, step: int | None, now: datetime
) -> None:
    """Store an encrypted second factor and the time step of its first code, or remove it with its backup codes."""
    await conn.execute(
        _SQL["set_second_factor"],
        {"user_id": user_id, "second_factor": second_factor, "step": step, "now": now},
    )
    await conn.execute(_SQL["remove_backup_codes"], {"user_id": user_id})


async def bind(conn: Connection, user_id: int, *, issuer: str, subject: str, now: datetime) -> bool:
    """Bind a person at the identity provider to a user; whether neither was bound before."""
    parameters = {"user_id": user_id, "issuer": issuer, "subject": subject, "now": now}
    try:
        async with conn.transaction():
            return await (await conn.execute(_SQL["bind"], parameters)).fetchone() is not None
    except UniqueViolation:  # bound to another user at the same time
        return False


async def unbind(conn: Connection, user_id: int, *, now: datetime) -> None:
    """Forget the person at the identity provider; the next sign-in there binds anew."""
    await conn.execute(_SQL["unbind"], {"user_id": user_id, "now": now})


async def use_step(conn: Connection, user_id: int, *, step: int) -> bool:
    """Whether a code of a time step may be accepted: it and later ones were not accepted before."""
    cursor = await conn.execute(_SQL["use_step"], {"user_id": user_id, "step": step})
    return await cursor.fetchone() is not None


async def signed_in(conn: Connection, user_id: int, *, now: datetime) -> None:
    """Note a complete sign-in."""
    await conn.execute(_SQL["signed_in"], {"user_id": user_id, "now": now})


async def replace_backup_codes(conn: Connection, user_id: int, *, digests: Sequence[bytes]) -> None:
    """Store new backup codes instead of all earlier ones."""
    await conn.execute(_SQL["remove_backup_codes"], {"user_id": user_id})
    await conn.execute(_SQL["add_backup_codes"], {"user_id": user_id, "digests": list(digests)})


async def use_backup_code(conn: Connection, user_id: int, *, code_digest: bytes, now: datetime) -> bool:
    """Whether a backup code exists and was not used; it is used from now on."""
    parameters = {"user_id": user_id, "code_digest": code_digest, "now": now}
    return await (await conn.execute(_SQL["use_backup_code"], parameters)).fetchone() is not None


async def backup_codes_left(conn: Connection, user_id: int) -> int:
    """How many backup codes are unused."""
    return await fetch_value(conn, _SQL["backup_codes_left"], {"user_id": user_id}, into=int)
