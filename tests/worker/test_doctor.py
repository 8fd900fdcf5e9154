"""`tether-worker doctor`: what is wrong with an installation, in sentences, and never a secret."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
import pytest
import redis
from tether_sandbox.gateway import Setup, running
from tether_sandbox.services.objects import BUCKET
from tether_sandbox.services.objects import Objects as Endpoint
from tether_stores.migrate import numbered
from tether_worker.__main__ import main
from tether_worker.doctor import open_files

from tests.support.poolers import pgbouncer, pool_modes
from tests.support.roles import as_role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch
    from tether_stores.privileges import Program


@pytest.fixture
def examined(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Run the command with changed settings; gives its exit code and findings."""

    def run(*options: str, ahead_s: float = 0.0, **changes: str) -> tuple[int, list[dict[str, Any]]]:
        for name, text in (environment | changes).items():
            monkeypatch.setenv(name, text)
        clock = lambda: datetime.now(UTC) + timedelta(seconds=ahead_s)  # noqa: E731 - a clock
        code = main(["doctor", "--json", *options], clock=clock)
        return code, msgspec.json.decode(capsys.readouterr().out)

    return run


def _texts(found: list[dict[str, Any]], verdict: str) -> str:
    return "\n".join(item["text"] for item in found if item["verdict"] == verdict)


def test_each_finding_says_what_to_do(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]], empty_database_url: str
) -> None:
    """A new installation: each gap is named before the first file is uploaded, and nobody has to read a log for it."""
    code, found = examined()
    assert code == 1
    assert "TETHER_FINGERPRINT_KEY is not set" in _texts(found, "wrong")
    assert "a probe was written, read and deleted" in _texts(found, "well")
    advice = _texts(found, "advice")
    assert "No worker serves queue webhooks" in advice
    assert "TETHER_API_KEYS, key tests has fewer than" in advice
    assert "TETHER_SECRETS_KEY is not set" in advice
    assert "has the tables of this version" in _texts(found, "well")
    assert "test-key" not in str(found)
    assert "s3cret-password" not in str(found)
    _, found = examined(
        DATABASE_URL=empty_database_url,
        REDIS_URL="redis://127.0.0.1:1",
        TETHER_OBJECTS_DIR="",
        EMP_API_PASSWORD="",
    )
    wrong = _texts(found, "wrong")
    assert "tether-worker migrate" in wrong
    assert "Redis does not answer" in wrong
    assert "uploads are refused" in wrong
    assert "all notifications are refused" in wrong


def test_each_account_is_tried_at_the_gateway_and_nothing_is_debited(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
) -> None:
    """A wrong password is found before the first run, and not by a run that pauses; and nobody is debited for it."""
    setup = Setup(login="merchant", passwords=("s3cret-password",), terminals=("terminal-1", "terminal-2"))
    with running(setup) as gateway:
        here = {"EMP_API_URL": gateway.url, "EMP_TERMINAL_TOKEN": "terminal-1,terminal-2"}

        def said(**changes: str) -> dict[str, str]:
            _, found = examined(**(here | changes))
            return {
                item["text"].partition(":")[0]: f"{item['verdict']}:{item['text'].partition(':')[2]}"
                for item in found
                if item["text"].startswith("account ")
            }

        accepted = "well: the gateway accepts login, password and terminal"
        assert said() == {f"account default, terminal {number}": accepted for number in (1, 2)}
        wrong = said(EMP_API_PASSWORD="another-password")
        assert all(text.startswith("wrong: the gateway rejects login or password") for text in wrong.values())
        assert "another-password" not in str(wrong)
        assert said(EMP_API_URL="http://127.0.0.1:1", EMP_TERMINAL_TOKEN="terminal-1") == {
            "account default, terminal 1": "wrong: the gateway cannot be reached (no connection was made). "
            "Correct EMP_API_URL, the name server, or the firewall for outgoing connections."
        }
        _, found = examined("--without-gateway", **here)
        assert not [item for item in found if item["text"].startswith("account ")]
        refused = said(EMP_TERMINAL_TOKEN="terminal-9")["account default, terminal 1"]
        assert refused.startswith("wrong: the gateway refuses an inquiry with this terminal")
        assert "terminal-9" not in refused
        assert set(gateway.requests()) == {"reconcile", "unauthorised"}


def test_programs_that_connect_as_the_owner_are_named(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
    environment: dict[str, str],
    program_roles: dict[Program, str],
) -> None:
    """The password of a program is then the password of everything."""
    _, found = examined()
    assert "tether-worker connects as a role that may do everything" in _texts(found, "advice")
    _, found = examined(DATABASE_URL=as_role(environment["DATABASE_URL"], program_roles["worker"]))
    assert "may do everything" not in _texts(found, "advice")
    assert "permission denied" not in str(found)
    assert "has the tables of this version; Postgres " in _texts(found, "well")


def test_a_wrong_clock_is_named_against_both_stores(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
) -> None:
    """Postgres gives the time, Redis counts the rates; a machine that is minutes ahead of both writes misleading logs."""
    _, found = examined(ahead_s=90)
    advice = _texts(found, "advice")
    assert "differs from Postgres' by 90 s" in advice or "differs from Postgres' by 89 s" in advice
    assert "differs from Redis' by " in advice


def test_files_of_secrets_that_others_can_read_are_named(tmp_path: Path) -> None:
    """A password that every user of the machine can read is no secret; one that its group reads may be a container's."""
    environ = {}
    for name, mode in (("EMP_API_PASSWORD", 0o644), ("TETHER_API_KEYS", 0o600), ("REDIS_URL", 0o440)):
        path = tmp_path / name
        path.write_text("x")
        path.chmod(mode)
        environ[f"{name}_FILE"] = str(path)
    found = open_files(environ | {"LOG_LEVEL_FILE": "/etc/passwd", "DATABASE_URL_FILE": "/nowhere"})
    assert [(item.verdict, item.text.partition(",")[0]) for item in found] == [
        ("advice", "EMP_API_PASSWORD_FILE")
    ]
    assert "mode 644" in found[0].text


def test_each_broken_postgres_gets_the_sentence_of_who_can_mend_it(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
    environment: dict[str, str],
    program_roles: dict[Program, str],
) -> None:
    """A wrong address, a role without privileges, an update without its migration: the same page of log, and three people who must act."""
    code, found = examined(DATABASE_URL="postgresql://tether:hunter2@127.0.0.1:1/tether")
    assert code == 1
    assert "Start it, or correct DATABASE_URL" in _texts(found, "wrong")
    assert "hunter2" not in str(found)

    url, role = environment["DATABASE_URL"], program_roles["worker"]
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"revoke select on schema_migrations from {role}".encode())
        code, found = examined(DATABASE_URL=as_role(url, role))
        assert code == 1
        assert "run tether-worker migrate with TETHER_WORKER_ROLE set to it" in _texts(found, "wrong")

        newest = list(numbered())[-1]
        owner.execute("delete from schema_migrations where name = %s", (newest,))
        assert f"1 migrations are pending, the first is {newest}. Run tether-worker migrate." in _texts(
            examined(DATABASE_URL=url)[1], "wrong"
        )


def test_a_pooler_in_a_wrong_mode_is_named(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]],
    environment: dict[str, str],
    tmp_path: Path,
    process: Launch,
    until: Callable[..., Any],
) -> None:
    """In statement mode every statement fails with another error; in session mode the connections run out on the first busy day."""
    said = {
        "transaction": "needs DATABASE_DIRECT_URL",
        "session": "Set pool_mode",
        "statement": "nothing works",
    }
    _, found = examined()
    assert "it connects without a pooler" in _texts(found, "well")
    for mode in pool_modes():
        program, url = pgbouncer(
            environment["DATABASE_URL"], size=4, mode=mode, folder=tmp_path, process=process
        )
        until(lambda url=url: _connects(url), what=f"pgbouncer in {mode} mode")
        _, found = examined("--without-gateway", DATABASE_URL=url)
        (pooler,) = [item for item in found if item["subject"] == "pooler"]
        assert said[mode] in pooler["text"]
        assert pooler["verdict"] == {"transaction": "well", "session": "advice", "statement": "wrong"}[mode]
        program.kill()


def test_a_redis_that_loses_work_is_named(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]], redis_url: str
) -> None:
    """allkeys-lru is what hosts of Redis preset; with it wake-ups vanish under load, and without a file at each restart."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as server:
        before = server.config_get("maxmemory-policy")
        try:
            server.config_set("maxmemory-policy", "allkeys-lru")
            server.config_set("appendonly", "no")
            code, found = examined()
        finally:
            server.config_set("maxmemory-policy", str(before["maxmemory-policy"]))
            server.config_set("appendonly", "yes")
    assert code == 1
    wrong = _texts(found, "wrong")
    assert "Set maxmemory-policy noeviction." in wrong
    assert "Set appendonly yes." in wrong


@pytest.fixture
def s3(tmp_path: Path, guard: Guard) -> Iterator[Endpoint]:
    """An S3 endpoint with a bucket."""
    server = Endpoint(tmp_path / "s3", guard=guard)
    server.folder.mkdir()
    server.start()
    yield server
    server.drop()


def test_a_bucket_that_is_missing_closed_or_keeps_versions_is_named(
    examined: Callable[..., tuple[int, list[dict[str, Any]]]], s3: Endpoint
) -> None:
    """The first upload would fail at noon; and what an erasure removes must not stay for ever as a former version."""

    def objects(**changes: str) -> str:
        _, found = examined("--without-gateway", TETHER_OBJECTS_DIR="", **s3.environment | changes)
        (item,) = [item for item in found if item["subject"] == "objects"]
        return f"{item['verdict']}: {item['text']}"

    assert objects() == "well: the object store answers; a probe was written, read and deleted"
    sentence = "wrong: The object store does not answer, or the bucket does not exist. Correct AWS_ENDPOINT, AWS_BUCKET and the keys."
    assert objects(AWS_BUCKET="another") == sentence
    assert objects(AWS_SECRET_ACCESS_KEY="another") == sentence
    assert objects(AWS_ENDPOINT="http://127.0.0.1:1") == sentence
    _keep_versions(s3)
    assert "a lifecycle rule must end them" in objects()


def _keep_versions(server: Endpoint) -> None:
    """Have the bucket keep versions: signed by hand (AWS Signature Version 4), because obstore has no such request."""
    body = b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
    given = server.environment
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": urlsplit(server.url).netloc,
        "x-amz-content-sha256": sha256(body).hexdigest(),
        "x-amz-date": at,
    }
    names = ";".join(headers)
    lines = [f"{name}:{value}" for name, value in headers.items()]
    request = "\n".join(
        ["PUT", f"/{BUCKET}", "versioning=", *lines, "", names, headers["x-amz-content-sha256"]]
    )
    scope = (at[:8], given["AWS_DEFAULT_REGION"], "s3", "aws4_request")
    text = "\n".join(["AWS4-HMAC-SHA256", at, "/".join(scope), sha256(request.encode()).hexdigest()])
    key = f"AWS4{given['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"{given['AWS_ACCESS_KEY_ID']}/{'/'.join(scope)}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"
    )
    answer = httpx.put(
        f"{server.url}/{BUCKET}?versioning=", content=body, headers=headers, trust_env=False, timeout=60
    )
    assert answer.is_success, answer.text


def _connects(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=3) as conn:
            return not conn.closed
    except psycopg.OperationalError:
        return False
