"""The programs of the whole path connect as roles that may do no more than their queries need, as in production."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.roles import as_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tether_sandbox.services.program import Launch
    from tether_sandbox.services.program import Program as Running
    from tether_stores.privileges import Program


@pytest.fixture
def process(
    process: Launch, program_roles: dict[Program, str], environment: dict[str, str]
) -> Iterator[Launch]:
    """Start console commands as the roles of their programs; in the end none was refused anything by Postgres."""
    started: list[Running] = []
    database_url = environment["DATABASE_URL"]

    def start(*command: str, environ: Mapping[str, str]) -> Running:
        environ = as_program(environ, command[0], roles=program_roles, database_url=database_url)
        started.append(process(*command, environ=environ))
        return started[-1]

    yield start
    logs = "".join(program.stderr for program in started)
    assert [line for line in logs.splitlines() if "permission denied for table" in line] == []
