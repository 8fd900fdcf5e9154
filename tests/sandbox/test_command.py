"""`tether-sandbox` as a stranger uses it: with wrong arguments, and stopped at any time."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tether_sandbox.services.guard import ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch, Program

NOWHERE = "postgresql://tether:hunter2@127.0.0.1:1/tether"


@pytest.mark.parametrize(
    ("words", "environ", "code", "said"),
    [
        ("demo --attempts 0", {}, 2, "--attempts: must be a whole number from 1"),
        ("demo -- sh", {}, 2, "only `up` takes a command"),
        ("seed --attempts -5", {}, 2, "--attempts: must be a whole number from 1"),
        ("seed --attempts 5", {}, 2, "DATABASE_URL is not set"),
        ("seed --attempts 5", {"DATABASE_URL": "nonsense"}, 2, "DATABASE_URL is no address of Postgres"),
        ("seed --attempts 5", {"DATABASE_URL": NOWHERE}, 75, "Postgres is not reachable"),
        ("up -- true", {"REDIS_URL": "nonsense"}, 2, "REDIS_URL is no address of Redis"),
        ("up --keep /dev/null/x -- true", {}, 2, "--keep: /dev/null/x cannot be created"),
        ("up --keep /dev/null -- true", {}, 2, "--keep: /dev/null cannot be created"),
        ("up --as web -- true", {"DATABASE_URL": NOWHERE}, 2, "give DATABASE_URL the role"),
        ("up --as web", {}, 2, "--as needs a COMMAND"),
        ("chaos --minutes 0", {}, 2, "--minutes: must be a number of at least"),
        ("chaos --rate 0", {}, 2, "--rate: must be a whole number from 1"),
        ("gateway send --concurrency 0", {}, 2, "--concurrency: must be a whole number from 1"),
        ("gateway serve --port 99999", {}, 2, "--port: must be a whole number from 1 to 65535"),
    ],
)
def test_wrong_words_get_a_sentence(
    process: Launch, words: str, environ: dict[str, str], code: int, said: str
) -> None:
    """A stranger's first try is often wrong; a traceback, or a run that does nothing and says so, is their last."""
    program = process("tether-sandbox", *words.split(), environ=environ)
    assert program.wait(timeout_s=120) == code
    assert said in program.stderr
    assert "Traceback" not in program.stderr
    assert "hunter2" not in program.stderr


def test_a_database_without_tables_is_no_traceback(process: Launch, empty_database_url: str) -> None:
    """The error for seeding before migrating must name the command to run first."""
    program = process(
        "tether-sandbox", "seed", "--attempts", "1", environ={"DATABASE_URL": empty_database_url}
    )
    assert program.wait(timeout_s=120) == 2
    assert "run tether-worker migrate first" in program.stderr


def test_a_command_is_run_with_and_without_two_dashes(process: Launch, environment: dict[str, str]) -> None:
    """`up bash` is what people type first; its options are the command's, and so is its exit code."""
    for words in (("--", "sh", "-c"), ("sh", "-c")):
        program = process(
            "tether-sandbox", "up", *words, 'echo "$TETHER_API_KEYS"; exit 7', environ=environment
        )
        assert program.wait(timeout_s=120) == 7
        assert program.stdout.strip() == environment["TETHER_API_KEYS"]


def test_data_can_be_kept_in_a_folder_that_does_not_exist_yet(process: Launch, tmp_path: Path) -> None:
    """Root's new folders are closed to the user who runs Postgres in root's place."""
    with tempfile.TemporaryDirectory(prefix="tether-kept-") as place:
        Path(place).chmod(0o711)
        kept = Path(place) / "new" / "data"
        first = process("tether-sandbox", "up", "--keep", str(kept), "--", "true", environ={})
        assert first.wait(timeout_s=120) == 0, first.stderr
        # As the role of the web, which may read the tables and make none.
        query = """
import os, psycopg
conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
conn.execute("table webhook_events")
try:
    conn.execute("create table public.mine (id bigint)")
except psycopg.errors.InsufficientPrivilege:
    print(conn.info.user)
"""
        words = ("up", "--keep", str(kept), "--as", "web", "--", "python", "-c", query)
        again = process("tether-sandbox", *words, environ={})
        assert again.wait(timeout_s=120) == 0, again.stderr
        assert again.stdout.strip() == "tether_web"
        assert all(folder.stat().st_mode & 0o077 == 0 for folder in kept.iterdir() if folder.is_dir())


def test_a_stop_that_comes_within_a_finalizer_is_not_lost(process: Launch) -> None:
    """Python drops what a finalizer raises: Ctrl-C at that moment was ignored, and the demo ran to its end."""
    code = """
import os, signal, time
from tether_sandbox import __main__ as command

class Closing:
    def __del__(self):
        os.kill(os.getpid(), {number})
        time.sleep(0)

def work():
    command._exit_on_signals()
    Closing()
    time.sleep(30)
    return 0

exit(command.done("test", work))
"""
    for number, expected in ((2, 130), (15, 143)):
        program = process("python", "-c", code.replace("{number}", str(number)), environ={})
        assert program.wait(timeout_s=25) == expected, program.stderr
        assert "Traceback" not in program.stderr


def _left(program: Program, family: list[psutil.Process]) -> list[str]:
    """What a program left behind: processes, and files in its temporary folder."""
    folders = [path.name for path in program.folder.iterdir() if path.name.startswith("tether-")]
    return folders + [str(process) for process in family if not ended(process)]


def _tree(program: Program) -> list[psutil.Process]:
    return list(psutil.Process(program.pid).children(recursive=True))


def _postmaster_folder(tree: list[psutil.Process]) -> Path | None:
    """Where the Postgres among them keeps its data."""
    for item in tree:
        if "postgres" in item.name() and "-D" in (words := item.cmdline()):
            return Path(words[words.index("-D") + 1]).parent
    return None


@pytest.mark.parametrize(
    ("words", "how"),
    [
        *(("up", how) for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
        ("demo", signal.SIGINT),
        ("demo", signal.SIGKILL),
    ],
)
def test_a_stop_leaves_nothing_behind(
    process: Launch, until: Callable[..., Any], words: str, how: signal.Signals
) -> None:
    """A Postgres that goes on after Ctrl-C costs its owner's memory until the next restart, and nobody knows whose it is."""
    program = process("tether-sandbox", words, environ={})
    ready = "and sign in as" if words == "up" else "database migrated"
    until(lambda: ready in program.stdout, what="the services", timeout_s=120)
    tree = _tree(program)
    data = _postmaster_folder(tree)
    assert len(tree) >= 3
    assert data is not None
    assert data.exists()
    os.kill(program.pid, how)
    code = program.wait(timeout_s=120)
    assert (
        code
        == {
            signal.SIGINT: 0 if words == "up" else 130,
            signal.SIGTERM: 143,
            signal.SIGHUP: 129,
            signal.SIGKILL: -9,
        }[how]
    )
    until(lambda: not _left(program, tree) and not data.exists(), what="nothing left")
    assert "Traceback" not in program.stderr
