"""Roles of Postgres for the programs of the sandbox, as in production: each may do no more than its queries need."""

import secrets
from urllib.parse import urlsplit

from tether_stores.privileges import PROGRAMS, Program, grant_all

__all__ = ["with_roles"]


def with_roles(database_url: str) -> dict[str, str]:
    """
    Make a role for each program, with a password of this time, or give an existing one a new password.

    Args:
        database_url: As the owner of the schema, who may make roles.

    Returns:
        The address as the role, by console command.
    """
    roles: dict[Program, str] = {program: f"tether_{program}" for program in PROGRAMS}
    passwords: dict[Program, str] = {program: secrets.token_urlsafe(24) for program in PROGRAMS}
    grant_all(database_url, roles, passwords=passwords)
    parts = urlsplit(database_url)
    place = parts.netloc.rpartition("@")[2]
    return {
        f"tether-{program}": parts._replace(netloc=f"{role}:{passwords[program]}@{place}").geturl()
        for program, role in roles.items()
    }
