"""PgBouncer in front of a test's database, where it is installed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tether_sandbox.services.program import Launch, Program

__all__ = ["pgbouncer", "pool_modes"]


def pool_modes() -> tuple[str, ...]:
    """The modes of a pooler that can be tried here; none where PgBouncer is not installed."""
    return ("transaction", "session", "statement") if shutil.which("pgbouncer") else ()


def pgbouncer(
    database_url: str, *, size: int, mode: str, folder: Path, process: Launch
) -> tuple[Program, str]:
    """
    Start PgBouncer, not yet ready.

    Args:
        database_url: Of a server on this machine.
        size: Its connections to Postgres.
        folder: For its settings; a user without privileges reads them.

    Returns:
        The program, and the URL of the database behind it.
    """
    at, port = urlsplit(database_url), free_port()
    users, settings = folder / f"users-{port}", folder / f"ini-{port}"
    users.write_text(f'"tests" "secret"\n"{at.username}" "{unquote(at.password or "")}"\n')
    settings.write_text(
        f"[databases]\n* = host={at.hostname} port={at.port} user={at.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {users}\npool_mode = {mode}\ndefault_pool_size = {size}\n"
    )
    as_user = ("-u", "nobody") if os.geteuid() == 0 else ()  # it refuses to run as root
    program = process("pgbouncer", *as_user, str(settings), environ={})
    return program, f"postgresql://tests:secret@127.0.0.1:{port}{at.path}"
