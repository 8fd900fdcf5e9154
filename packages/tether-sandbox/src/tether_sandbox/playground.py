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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import psycopg
from rich.console import Console
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_stores.people import passwords, users
from tether_stores.postgres import open_pool, transaction
from tether_stores.queries import split_file

from tether_sandbox.demo import files
from tether_sandbox.demo.debits import debtors_csv
from tether_sandbox.demo.files import upload_file
from tether_sandbox.demo.stage import Stage, opened
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import until
from tether_sandbox.settings import PASSWORD

__all__ = ["USER", "run"]

_SQL: Final = split_file("tether_sandbox", "sql/playground")
# The first user.
USER: Final = "demo"

# A new list is billed this often, and no more lists than this: the playground is left open overnight as well.
_PAUSE_S: Final = 20.0
_LISTS_MAX: Final = 60
# Old enough for refunds: the banks may return a debit for some days.
_AGE: Final = timedelta(days=21)
# Far enough for notices of 14 days, near enough that they wait to be given.
_FIRST_DUE_DAYS: Final = 16


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
        for begin in (_collect_weeks_ago, _collect_monthly, _send_events, _notify_oddly):
            # What is kept from an earlier time has them already.
            with contextlib.suppress(httpx.HTTPError, TimeoutError):
                begin(stage)
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


def _collect_weeks_ago(stage: Stage) -> None:
    """Bill a list and let its debits be some weeks old, so that one of them can be refunded."""
    run_id = _bill(stage, 0)

    def ended() -> bool:
        stage.gateway.resolve()
        return bool(stage.api.get(f"/api/billing-runs/{run_id}").json()["run"]["finished_at"])

    with contextlib.suppress(TimeoutError):
        until(ended, what="the first run to end", timeout_s=60)
    with psycopg.connect(stage.environ["DATABASE_DIRECT_URL"]) as conn:
        conn.execute(_SQL["age"], {"run_id": run_id, "by": _AGE})


def _notify_oddly(stage: Stage) -> None:
    """Send a notification with a status that nobody knows; it waits for a person."""
    body = form_body({"unique_id": secrets.token_hex(16), "status": "frobnicated"}, secret=PASSWORD)
    stage.api.post("/api/webhooks/emp", content=body, headers={"content-type": FORM}).raise_for_status()


def _collect_monthly(stage: Stage) -> None:
    """Enrol a list in a collection plan whose debtors are notified before."""
    upload = upload_file(stage, "club.csv", debtors_csv(random.Random(secrets.randbits(63))))["upload"]
    options = {"usage": "Membership", "creditor_name": "Club e.V.", "notice_days": 14}
    plan = stage.api.post("/api/collection-plans", json={"name": "Sandbox membership", "options": options})
    today = datetime.now(UTC).date()
    order = {
        "upload_id": upload["id"],
        "first_due_on": str(today + timedelta(days=_FIRST_DUE_DAYS)),
        "mandate_signed_on": str(today - timedelta(days=_FIRST_DUE_DAYS)),
    }
    path = f"/api/collection-plans/{plan.raise_for_status().json()['id']}/schedules"
    stage.api.post(path, json=order).raise_for_status()


def _send_events(stage: Stage) -> None:
    """Send events to a receiver on this machine that fails now and then."""
    port = free_port()
    subscriber = {"name": "books", "url": f"http://127.0.0.1:{port}/"}
    added = stage.api.post("/api/subscribers", json=subscriber).raise_for_status().json()
    faults = ("--fault", "500", "--percent", "10")
    stage.start("tether-sandbox", "receiver", "--port", str(port), "--secret", added["secret"], *faults)


def _bill(stage: Stage, number: int) -> int:
    content = debtors_csv(random.Random(secrets.randbits(63)))
    upload = upload_file(stage, f"members-{number}.csv", content)["upload"]
    order = {"due_item": f"list-{number}", "usage": "Membership fee"}
    run = stage.api.post(f"/api/uploads/{upload['id']}/billing", json=order).raise_for_status().json()
    return int(run["id"])
