"""Roles of Postgres for web and worker, with what `tether-worker migrate` grants them."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from tether_stores.privileges import PROGRAMS, Program, grant_all

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["as_role", "granted"]


@contextmanager
def granted(database_url: str) -> Iterator[dict[Program, str]]:
    """A role for each program, by program, with its privileges in a database; they are dropped at the end."""
    roles: dict[Program, str] = {program: f"tether_{program}_{secrets.token_hex(4)}" for program in PROGRAMS}
    with psycopg.connect(database_url, autocommit=True) as conn:
        for role in roles.values():
            conn.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(role)))
        try:
            grant_all(database_url, roles)
            yield roles
        finally:
            for role in roles.values():
                conn.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


def as_role(url: str, role: str) -> str:
    """The URL of a database, as a role of `granted`."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
