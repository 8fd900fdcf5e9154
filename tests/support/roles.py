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
    from collections.abc import Iterator, Mapping

__all__ = ["as_program", "as_role", "granted"]

_PASSWORD = "x"
_PROGRAMS: dict[str, Program] = {"tether-web": "web", "tether-worker": "worker"}


@contextmanager
def granted(database_url: str) -> Iterator[dict[Program, str]]:
    """A role for each program, by program, with its privileges in a database; they are dropped at the end. Nothing stays connected."""
    roles: dict[Program, str] = {program: f"tether_{program}_{secrets.token_hex(4)}" for program in PROGRAMS}
    grant_all(database_url, roles, passwords=dict.fromkeys(roles, _PASSWORD))
    try:
        yield roles
    finally:
        with psycopg.connect(database_url, autocommit=True) as conn:
            for role in roles.values():
                conn.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


def as_role(url: str, role: str) -> str:
    """The URL of a database, as a role of `granted`."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{_PASSWORD}@{parts.netloc.rpartition('@')[2]}").geturl()


def as_program(
    environ: Mapping[str, str], command: str, *, roles: Mapping[Program, str], database_url: str
) -> dict[str, str]:
    """The settings of a console command, which connects to this test's database as the role of its program."""
    program = _PROGRAMS.get(command)
    if program is None or environ.get("DATABASE_URL") != database_url:
        return dict(environ)
    return {**environ, "DATABASE_URL": as_role(database_url, roles[program])}
