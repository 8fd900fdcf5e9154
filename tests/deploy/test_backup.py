"""The scripts of deploy/backup with a real Postgres: a backup, a restore to a point in time, and what they refuse."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.seed import seed
from tether_sandbox.services.postgres import Postgres, unprivileged
from tether_stores.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether_sandbox.services.guard import Guard

# The wheel's own pg_verifybackup crashes at once; this compares the same checksums of the same manifest.
VERIFY = r"""#!/bin/sh
cd "$2" && sed -n 's/.*"Path": "\([^"]*\)".*"Checksum": "\([0-9a-f]*\)".*/\2  \1/p' backup_manifest | sha256sum --check --quiet --strict
"""
SCRIPTS = Path(__file__).parents[2] / "deploy" / "backup"


class Stage:
    """A Postgres that archives its log, folders that its user owns, and the scripts run as that user."""

    def __init__(self, folder: Path, *, guard: Guard) -> None:
        self.folder, self.guard = folder, guard
        self.archive, self.backups = self.made("archive"), self.made("backups")
        for script in SCRIPTS.iterdir():
            (folder / script.name).write_bytes(script.read_bytes())
            (folder / script.name).chmod(0o755)
        tools = self.made("tools")
        (tools / "pg_verifybackup").write_text(VERIFY)
        (tools / "pg_verifybackup").chmod(0o755)
        self.postgres = self.server("first", archive_mode="on", archive_command=f"cp %p {self.archive}/%f")

    def made(self, name: str) -> Path:
        """A folder of the user that runs Postgres."""
        folder = self.folder / name
        folder.mkdir(mode=0o711)
        user, _ = unprivileged()
        if user is not None:
            os.chown(folder, user, -1)
        return folder

    def server(self, name: str, **settings: str) -> Postgres:
        """A Postgres in a folder of its own."""
        return Postgres(self.made(name), guard=self.guard, settings={"shared_buffers": "32MB", **settings})

    def run(self, script: str, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script as the user that runs Postgres, with the programs of this Postgres on the path."""
        user, group = unprivileged()
        path = f"{self.folder / 'tools'}:{self.postgres._programs()}:{os.environ['PATH']}"
        return subprocess.run(
            [str(self.folder / script), *map(str, words)],
            env={"PATH": path, "LC_ALL": "C", **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )

    def backup(self, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run backup.sh."""
        password = (self.postgres.folder / "password").read_text()
        libpq = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.postgres.port),
            "PGUSER": "postgres",
            "PGPASSWORD": password,
        }
        return self.run("backup.sh", self.backups, **{**libpq, **environ})

    def names(self) -> list[str]:
        """The backups that exist, oldest first, and anything else in their folder."""
        return sorted(path.name for path in self.backups.iterdir())


def seeded(stage: Stage, attempts: int) -> None:
    """Store some attempts."""
    now = datetime.now(UTC)
    assert (
        len(list(seed(stage.postgres.url, attempts=attempts, rng=random.Random(attempts), now=now)))
        == attempts
    )


@pytest.fixture
def stage(guard: Guard) -> Iterator[Stage]:
    """A migrated Postgres."""
    folder = Path(tempfile.mkdtemp(prefix="tether-backup-", dir="/tmp"))
    folder.chmod(0o711)
    guard.remove(folder)
    made = Stage(folder, guard=guard)
    made.postgres.start()
    try:
        migrate(made.postgres.url, now=datetime.now(UTC))
        yield made
    finally:
        made.postgres.drop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_backup_is_verified_and_restores_to_a_point_in_time(stage: Stage) -> None:
    """A backup that nobody restored is a hope: what was committed before the time is there, what came after is not."""
    metric = stage.backups / "metric.prom"
    done = stage.backup(METRIC_FILE=str(metric))
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    assert metric.read_text().startswith("tether_backup_success_timestamp_seconds 1")
    metric.unlink()

    seeded(stage, 3)
    with psycopg.connect(stage.postgres.url, autocommit=True) as conn:
        (at,) = conn.execute("select now()::text").fetchone() or ("",)
    seeded(stage, 4)
    with psycopg.connect(stage.postgres.url, autocommit=True) as conn:
        conn.execute("select pg_switch_wal()")
    stage.postgres.stop()  # it archives what is left before it ends

    second = stage.server("second")
    shutil.copy2(stage.postgres.folder / "password", second.folder / "password")
    done = stage.run("restore.sh", backup, second.data, stage.archive, at)
    assert done.returncode == 0, done.stderr
    second.start()
    try:
        with psycopg.connect(second.url, autocommit=True) as conn:
            while conn.execute("select pg_is_in_recovery()").fetchone() != (False,):
                pass
            assert conn.execute("select count(*) from billing_attempts").fetchone() == (3,)
    finally:
        second.drop()

    again = stage.run("restore.sh", backup, second.data, stage.archive)
    assert (again.returncode, "is not empty; move it away first" in again.stderr) == (2, True)


def test_only_whole_backups_count_and_the_oldest_go(stage: Stage) -> None:
    """A night job that fails half way must leave the last good backup, and a full disk must not be its second fault."""
    for name in ("base-20260101T000000Z", "base-20260102T000000Z", "other"):
        (stage.backups / name).mkdir()
    failed = stage.backup(PGPASSWORD="wrong", KEEP="2")
    assert failed.returncode != 0
    assert stage.names() == ["base-20260101T000000Z", "base-20260102T000000Z", "other"]

    done = stage.backup(KEEP="2")
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    assert stage.names() == ["base-20260102T000000Z", backup.name, "other"]

    damaged = backup / "PG_VERSION"
    damaged.write_text("99\n")
    refused = stage.run("restore.sh", backup, stage.folder / "third", stage.archive)
    assert refused.returncode != 0
    assert not (stage.folder / "third").exists()


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("backup.sh", (), "give the folder of the backups"),
        ("backup.sh", ("/nowhere",), "is not a folder; create it first"),
        ("restore.sh", ("/nowhere", "/tmp/x", "/tmp"), "is no backup"),
    ],
)
def test_wrong_words_get_a_sentence(stage: Stage, script: str, words: tuple[str, ...], said: str) -> None:
    """Under the stress of a restore a person reads the first line only."""
    done = stage.run(script, *words)
    assert done.returncode != 0
    assert said in done.stderr
