"""
`tether-sandbox up` without a command: the whole system runs with moving data, for a look in the browser.

It prints one address and the name and password of a first user, made up anew each time.
"""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from tether_stores.people import passwords, users
from tether_stores.postgres import open_pool, transaction

from tether_sandbox.demo import files
from tether_sandbox.demo.debits import debtors_csv
from tether_sandbox.demo.files import upload_file
from tether_sandbox.demo.stage import Stage, opened

__all__ = ["USER", "run"]

# The first user.
USER: Final = "demo"

# A new list is billed this often, and no more lists than this: the playground is left open overnight as well.
_PAUSE_S: Final = 20.0
_LISTS_MAX: Final = 60


def run(
    console: Console,
    *,
    port: int | None = None,
    folder: Path | None = None,
    s3: bool = False,
    docker: bool = False,
) -> None:
    """
    Run everything until Ctrl-C.

    Args:
        console: Where to print the address, the first user and the key.
        port: Of the console; `None` for one that is free.
        folder: Where the services keep their data; `None` for a temporary folder.
        s3: Keep files behind an S3 endpoint instead of in a folder.
        docker: Start the services in containers.
    """
    api_key, password = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
    with opened(
        console, api_key=api_key, port=port, folder=folder, s3=s3, docker=docker, supervised=True
    ) as stage:
        asyncio.run(_first_user(stage.database_url, password))
        console.print(
            f"\nOpen [bold]{stage.url}/[/] and sign in as [bold]{USER}[/] with the password [bold]{password}[/]\n\n"
            "or use the command line:\n\n"
            f"  export TETHER_URL={stage.url} TETHER_API_KEY={api_key}\n"
            "  uv run tether status\n\n"
            "Files are imported, debits go out, notifications come in. Ctrl-C stops everything.\n",
            soft_wrap=True,
        )
        files.run(stage, console=Console(quiet=True))  # the address stays in sight
        for number in itertools.count(1):
            if number <= _LISTS_MAX:
                # The gateway of the playground loses responses on purpose, and a person may pause what is billed here.
                with contextlib.suppress(httpx.HTTPError, TimeoutError):
                    _bill(stage, number)
            time.sleep(_PAUSE_S)
            stage.gateway.resolve()


async def _first_user(database_url: str, password: str) -> None:
    """Make the first user, or give the one of an earlier time the new password."""
    password_hash, now = await passwords.hashed(password), datetime.now(UTC)
    async with (
        open_pool(database_url, name="tether-sandbox", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        found = await users.by_name(conn, USER)
        if found is not None:
            await users.set_password(conn, found.id, password_hash=password_hash, is_temporary=False, now=now)
            return
        await users.add(
            conn,
            name=USER,
            role="admin",
            accounts=None,
            password_hash=password_hash,
            is_temporary=False,
            now=now,
        )


def _bill(stage: Stage, number: int) -> None:
    content = debtors_csv(random.Random(secrets.randbits(63)))
    upload = upload_file(stage, f"members-{number}.csv", content)["upload"]
    order = {"due_item": f"list-{number}", "usage": "Membership fee"}
    stage.api.post(f"/api/uploads/{upload['id']}/billing", json=order).raise_for_status()
