"""`tether-sandbox up` without a command: the whole system runs with moving data, for a look in the browser."""

import contextlib
import itertools
import random
import secrets
import time
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from tether_sandbox.demo import files
from tether_sandbox.demo.debits import debtors_csv
from tether_sandbox.demo.files import upload_file
from tether_sandbox.demo.stage import Stage, opened

__all__ = ["run"]

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
        console: Where to print the address and the key.
        port: Of the console; `None` for one that is free.
        folder: Where the services keep their data; `None` for a temporary folder.
        s3: Keep files behind an S3 endpoint instead of in a folder.
        docker: Start the services in containers.
    """
    api_key = secrets.token_urlsafe(12)
    with opened(console, api_key=api_key, port=port, folder=folder, s3=s3, docker=docker) as stage:
        console.print(
            f"\nOpen [bold]{stage.url}/[/] and sign in with the key [bold]{api_key}[/]\n"
            "Files are imported, debits go out, notifications come in. Ctrl-C stops everything.\n"
        )
        files.run(stage, console=console)
        for number in itertools.count(1):
            if number <= _LISTS_MAX:
                # The gateway of the playground loses responses on purpose, and a person may pause what is billed here.
                with contextlib.suppress(httpx.HTTPError, TimeoutError):
                    _bill(stage, number)
            time.sleep(_PAUSE_S)
            stage.gateway.resolve()


def _bill(stage: Stage, number: int) -> None:
    content = debtors_csv(random.Random(secrets.randbits(63)))
    upload = upload_file(stage, f"members-{number}.csv", content)["upload"]
    order = {"due_item": f"list-{number}", "usage": "Membership fee"}
    stage.api.post(f"/api/uploads/{upload['id']}/billing", json=order).raise_for_status()
