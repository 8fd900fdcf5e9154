"""Workers are killed while they read: whole chunks stay, the rest is read by the next, and nothing else is left."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from tether_core.spreadsheet import Answers
from tether_core.uploads.file_keys import content_key, object_key
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.guard import ended
from tether_stores import objects
from tether_stores.objects import open_objects
from tether_stores.settings import Settings
from tether_stores.uploads import uploads

from tests.data.spreadsheets import make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tether_sandbox.services.program import Launch

DATA = Path(__file__).parents[1] / "data" / "spreadsheets"


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query).fetchall()


async def send(environment: dict[str, str], data: bytes, *, name: str) -> int:
    """Put a file stored, as the web does."""
    settings = Settings.from_env(environment)
    now, store = datetime.now(UTC), open_objects(settings)
    key = object_key(secrets.token_hex(8), received_at=now, name=name)

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await objects.put(store, key, chunks())
    digest = hashlib.sha256(data).digest()
    content = content_key(digest, answers=Answers())
    recording = uploads.NewUpload(key, name, len(data), digest, content, Answers(), False, True, "tests")
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as conn:
        return (await uploads.record(conn, recording, now=now))[0]


def free(database_url: str) -> None:
    """End the leases of the dead, which would otherwise take half a minute."""
    ask(database_url, "update uploads set due_at = now() where due_at is not null returning 1")


async def test_a_worker_killed_again_and_again_doubles_and_loses_no_row(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    eventually: Callable[..., Any],
) -> None:
    """
    A machine that dies takes its worker along in the middle of a chunk.

    A row twice is somebody debited twice, a row less is money not collected, and a file left in the folder for temporary
    ones is everybody's account number on a disk that is sold some day.
    """
    rng = random.Random(5)
    ibans = [made_up_iban(rng) for _ in range(210_000)]
    lines = [f"A B {row};{iban};{row % 900 + 1},00" for row, iban in enumerate(ibans)]
    data = "\n".join(["Name;IBAN;Betrag", *lines, ""]).encode()
    upload_id = await send(environment, data, name="large.csv")
    folder = tmp_path / "temporary"
    folder.mkdir()
    environ = {**environment, "TMPDIR": str(folder)}
    seen, kills = 0, 0
    while True:
        worker = process("tether-worker", "run", "default", environ=environ)

        def moved(before: int = seen) -> list[tuple[Any, ...]]:
            found = ask(database_url, f"select state, rows_read from uploads where id = {upload_id}")
            return found if found[0][1] > before or found[0][0] == "completed" else []

        ((state, seen),) = await eventually(moved, what="another chunk", timeout_s=120)
        # Into the chunk that follows, or into the end.
        worker.kill()
        kills += 1
        if state == "completed":
            break
        free(database_url)
    assert kills >= 3
    assert ask(
        database_url, "select count(*), count(distinct row_number), sum(amount_minor) from debtors"
    ) == [(210_000, 210_000, sum(row % 900 + 1 for row in range(210_000)) * 100)]
    assert ask(database_url, "select rows_read, stored, excluded, refused, skipped from uploads") == [
        (210_000, 210_000, 0, 0, 0)
    ]
    assert list(folder.iterdir()) == []


async def test_a_parser_dies_with_its_worker_and_leaves_no_file(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    eventually: Callable[..., Any],
) -> None:
    """A child that outlived each killed worker would hold a gigabyte until nobody can say whose it is."""
    lines = [
        ["Name", "IBAN", "Betrag"],
        *(["A B", made_up_iban(random.Random(n)), n + 1] for n in range(20_000)),
    ]
    upload_id = await send(environment, make.xlsx({"L": lines}), name="large.xlsx")
    folder = tmp_path / "temporary"
    folder.mkdir()
    environ = {**environment, "TMPDIR": str(folder)}
    worker = process("tether-worker", "run", "default", environ=environ)

    def parsing() -> list[psutil.Process]:
        children = psutil.Process(worker.pid).children(recursive=True)
        return [item for item in children if "tether_worker.uploads.reader" in item.cmdline()]

    (child,) = await eventually(parsing, what="a child that reads", despite=(psutil.NoSuchProcess,))
    os.kill(worker.pid, signal.SIGKILL)  # the worker alone, as the kernel does when memory runs out
    await eventually(lambda: ended(child), what="the end of the child")
    left = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert left == []
    free(database_url)
    process("tether-worker", "run", "default", environ=environ)

    def completed() -> bool:
        return ask(
            database_url, f"select stored from uploads where id = {upload_id} and state = 'completed'"
        ) == [(20_000,)]

    await eventually(completed, what="the end of the file", timeout_s=120)
    assert ask(database_url, "select count(distinct row_number) from debtors") == [(20_000,)]


@pytest.mark.parametrize("name", ["abort_xlsx", "abort_ods"])
async def test_a_hostile_file_costs_no_worker(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    eventually: Callable[..., Any],
    name: str,
) -> None:
    """The file behind it in the queue is somebody's payroll."""
    worker = process("tether-worker", "run", "default", environ=environment)
    await send(environment, getattr(make, name)(), name=f"evil.{name[-4:].strip('_')}")
    await send(
        environment, f"Name;IBAN;Betrag\nA B;{made_up_iban(random.Random(1))};1,00\n".encode(), name="b.csv"
    )

    def over() -> list[tuple[Any, ...]]:
        found = ask(database_url, "select state, failure_code, stored from uploads order by id")
        return found if all(state in {"completed", "failed"} for state, *_ in found) else []

    found = await eventually(over, what="the end of both", timeout_s=120)
    assert found == [("failed", "too_large_inside", 0), ("completed", None, 1)]
    assert worker.returncode is None
