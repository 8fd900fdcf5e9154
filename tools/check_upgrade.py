"""
Update from each earlier schema to today's and back, under load, with the code of that time: `just upgrade`.

For each migration after the first, the code of the newest commit without it is taken from the history (`git archive`), a database is built as that code has it,
and its nodes answer notifications, which its worker applies. Then today's migrations run, today's nodes and worker take over, and the old ones come back,
while notifications keep coming and people read lists. It fails where a request fails, a notification is missing, a worker applies nothing or logs a
defect. It needs the whole history, so it is a command and no test: tests/faults/test_upgrade.py and tests/schema/test_upgrade.py hold the same in a clean
checkout, with today's code.

    uv run tether-sandbox up -- python tools/check_upgrade.py [MIGRATION ...]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psycopg
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.services.server import free_port
from tether_stores.migrate import numbered

ROOT: Final = Path(__file__).parent.parent
MIGRATIONS: Final = "packages/tether-stores/src/tether_stores/sql/migrations"
SENT_MIN: Final = 30
# Debits that exist; every tenth notification is about one of them.
DEBITS: Final = 2_000
APPLIED_MIN: Final = 5
LISTS: Final = (
    "billing-attempts",
    "debtors",
    "uploads",
    "blacklist",
    "webhook-events",
    "billing-runs",
    "refunds",
)
DEFECT: Final = re.compile(r"internal error|Traceback|periodic task failed|job failed")


class Load:
    """Notifications to the nodes that are in, and lists of the API, which older code may not have."""

    def __init__(self, password: str, api_key: str, unique_ids: Sequence[str]) -> None:
        self.nodes: list[str] = []
        self._unique_ids = unique_ids
        self._authorization = {"authorization": f"Bearer {api_key}"}
        self.sent = 0
        self.failed: list[str] = []
        self._password = password
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def switch(self, *nodes: str) -> None:
        """Send to these nodes from now on; returns when some were answered and nothing is under way to others."""
        with self._turn:
            self.nodes = list(nodes)
        self.more()

    def more(self) -> None:
        """Wait for some answers, a minute at most."""
        before, end_s = self.sent, time.monotonic() + 60
        while self.sent < before + SENT_MIN and time.monotonic() < end_s:
            time.sleep(0.02)

    def end(self) -> None:
        """Stop."""
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                known = number % 10 == 0 and number // 10 < len(self._unique_ids)
                unique_id = self._unique_ids[number // 10] if known else f"u-{number}"
                body = form_body({"unique_id": unique_id, "status": "approved"}, secret=self._password)
                with self._turn:
                    node = self.nodes[number % len(self.nodes)]
                    try:
                        answer = client.post(
                            f"{node}/api/webhooks/emp",
                            content=body,
                            headers={"content-type": FORM, "connection": "close"},
                        )
                        path = f"/api/{LISTS[number % len(LISTS)]}"
                        page = client.get(
                            f"{node}{path}", headers={"connection": "close", **self._authorization}
                        )
                    except httpx.HTTPError as exc:
                        self.failed.append(repr(exc))
                        continue
                if page.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
                    self.failed.append(f"{path} {page.status_code}: {page.text[:200]}")
                if answer.status_code == httpx.codes.OK:
                    self.sent += 1
                else:
                    self.failed.append(f"{answer.status_code}: {answer.text[:200]}")


def main(names: list[str]) -> int:
    """Try all migrations after the first, or some; 1 where one failed."""
    wanted = names or [name for name in numbered() if not name.startswith("0001")]
    results = [_tried(name) for name in wanted]
    return 0 if all(results) else 1


def _tried(name: str) -> bool:
    commit = _before(name)
    if commit is None:
        print(
            f"not tried: {name}: no commit of the history has exactly the migrations before it, as they are today"
        )
        return True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = subprocess.run(  # noqa: S603
            ["git", "archive", commit, "packages"],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S603, S607
        url = stack.enter_context(_database(name))
        environ = {**os.environ, "DATABASE_URL": url, "DATABASE_DIRECT_URL": url}
        old = {**environ, "PYTHONPATH": os.pathsep.join(str(path) for path in folder.glob("packages/*/src"))}
        try:
            _call(old, "tether_worker", "migrate")
        except subprocess.CalledProcessError:
            print(f"not tried: {name}: the code of {commit[:8]} does not start")
            return True
        load = Load(
            environ["EMP_API_PASSWORD"].partition(",")[0],
            environ["TETHER_API_KEYS"].partition(":")[2].partition(",")[0],
            _debits(old),
        )
        load.nodes = [stack.enter_context(_node(old)) for _ in range(2)]
        load.start()
        found: list[str] = []
        with _worker(old, "the worker of then", found):
            load.more()
            _call(environ, "tether_worker", "migrate", "--phase", "pre")
            load.more()
            found += _applied(url, "the worker of then, after the migration")
        older, new = load.nodes, stack.enter_context(_node(environ))
        load.switch(*older, new)
        with _worker(environ, "the worker of today", found):
            load.switch(new)
            found += _applied(url, "the worker of today")
        with _worker(old, "the worker of then, back", found):
            load.switch(*older)
            found += _applied(url, "the worker of then, back")
        load.end()
        with psycopg.connect(url) as conn:
            row = conn.execute("select count(*) from webhook_events").fetchone()
        is_well = not load.failed and not found and row == (load.sent,)
        print(
            f"{'ok  ' if is_well else 'FAIL'}  from before {name} to today and back: {load.sent} answered, {len(load.failed)} failed, {row} stored"
        )
        for why in [*sorted(set(load.failed))[:5], *found[:10]]:
            print(f"      {why}")
        return is_well


def _before(name: str) -> str | None:
    """The newest commit that has the migrations before one of today's, as they are today, and no other."""
    wanted = [line for line in _migrations("HEAD") if Path(line.split()[-1]).stem < name]
    # What such a commit has changes with the next one that touches a migration.
    for commit in _output("git", "log", "--format=%H", "--", MIGRATIONS).split():
        if _migrations(f"{commit}^") == wanted:
            return f"{commit}^"
    return None


def _migrations(commit: str) -> list[str]:
    """The migrations of a commit, a line each: the hash of its content and its path."""
    return _output("git", "ls-tree", "-r", "--format=%(objectname) %(path)", commit, MIGRATIONS).splitlines()


def _debits(environ: dict[str, str]) -> list[str]:
    """The gateway's ids of debits that the code of then has made."""
    command = [sys.executable, "-m", "tether_sandbox", "seed", "--attempts", str(DEBITS), "--seed", "1"]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)  # noqa: S603
    return [json.loads(line)["unique_id"] for line in done.stdout.splitlines()]


@contextmanager
def _worker(environ: dict[str, str], who: str, found: list[str]) -> Iterator[None]:
    """A worker; what its log has of defects is added to *found*."""
    command = [sys.executable, "-m", "tether_worker", "run", "webhooks", "default"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=log)  # noqa: S603
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
        log.seek(0)
        found += [f"{who}: {line.strip()[:400]}" for line in log if DEFECT.search(line)]


def _applied(url: str, who: str) -> list[str]:
    """Wait until some more notifications are applied, a minute at most; what to say where none is."""
    with psycopg.connect(url, autocommit=True) as conn:
        before, end_s = _processed(conn), time.monotonic() + 60
        while time.monotonic() < end_s:
            if _processed(conn) >= before + APPLIED_MIN:
                return []
            time.sleep(0.1)
    return [f"{who} applies nothing"]


def _processed(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select count(*) from webhook_events where state = 'processed'").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _database(name: str) -> Iterator[str]:
    server = os.environ["DATABASE_DIRECT_URL"]
    name = f"upgrade_{name[:4]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}".encode())
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)".encode())


@contextmanager
def _node(environ: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tether_web", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    url, end_s = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while time.monotonic() < end_s:
            try:
                if httpx.get(f"{url}/ready", timeout=5, trust_env=False).status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _call(environ: dict[str, str], module: str, *arguments: str) -> None:
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", module, *arguments], env=environ, check=True, stdout=subprocess.DEVNULL
    )


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
