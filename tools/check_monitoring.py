"""
Ask every query of the dashboards and every metric of the alerts of a real Prometheus that scrapes the sandbox under load: `just monitoring`.

It needs `prometheus` on PATH (Debian's package), and takes a minute. Of the node and Postgres exporters those that are installed are started too; what
only they know is named as not asked where they are missing. A query that returns no series is a renamed metric or a wrong label: exit code 1.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.demo import files
from tether_sandbox.demo.stage import Stage, opened
from tether_sandbox.services.server import free_port

ROOT: Final = Path(__file__).parent.parent
RULES: Final = ROOT / "deploy" / "alerts" / "prometheus.yaml"
LOAD_S: Final = 40.0
# Exporters: the beginning of their metrics, and their Debian programs with the options that name a port.
EXPORTERS: Final = {
    "node_": ("prometheus-node-exporter", "--web.listen-address=127.0.0.1:{port}"),
    "pg_": ("prometheus-postgres-exporter", "--web.listen-address=127.0.0.1:{port}"),
}
# Series that begin when something happens that the load does not bring; tests/web/test_health.py sees that their names are right.
WHEN_IT_HAPPENS: Final = {"tether_gateway_not_submitted", "tether_gateway_connections_replaced"}
# Metrics of others that nothing here can bring: a certificate, a backup and a replica.
ELSEWHERE: Final = {
    "probe_ssl_earliest_cert_expiry",
    "tether_backup_success_timestamp_seconds",
    "pg_replication_slots_pg_wal_lsn_diff",
}
_METRIC: Final = re.compile(r"\b(?:tether[_:]|node_|pg_|probe_|up\b|process_)[\w:]*")


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def series(self, query: str) -> int:
        """How many series a query returns now."""
        return len(self._result("/api/v1/query", query=query)["result"])

    def knows(self, metric: str) -> bool:
        """Whether there ever was a series of this name."""
        found: Any = self._client.get("/api/v1/series", params={"match[]": metric}).json()
        return bool(found["data"])

    def await_ready(self) -> None:
        """Wait until it answers, a minute at most."""
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if self._client.get("/-/ready").status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
        raise TimeoutError("Prometheus did not start")

    def _result(self, path: str, **parameters: str) -> dict[str, Any]:
        response = self._client.get(path, params=parameters)
        response.raise_for_status()
        data: dict[str, Any] = response.json()["data"]
        return data


def main() -> int:
    """Start everything, wait, and ask."""
    console = Console()
    program = shutil.which("prometheus")
    if program is None:
        console.print("prometheus is not installed; `apt-get install prometheus` brings it")
        return 2
    with opened(console) as stage, contextlib.ExitStack() as stack:
        targets = {"tether-web": stage.url, "tether-workers": _supervised(stage)}
        targets |= _exporters(stage, stack)
        prometheus = stack.enter_context(_prometheus(program, stage.folder, targets))
        _load(stage, console)
        return _asked(prometheus, console)


def _supervised(stage: Stage) -> str:
    """Give the work to a supervisor that serves metrics; its address."""
    address = f"127.0.0.1:{free_port()}"
    stage.kill_worker()
    stage.environ["TETHER_WORKER_LISTEN"] = address
    stage.start("tether-worker", "supervise", "--pools", "local").await_line('"event":"probes served"')
    return f"http://{address}"


def _exporters(stage: Stage, stack: contextlib.ExitStack) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, option in EXPORTERS.values():
        if program := shutil.which(name):
            port = free_port()
            environ = {
                "PATH": "/usr/bin",
                "DATA_SOURCE_NAME": f"{stage.environ['DATABASE_DIRECT_URL']}?sslmode=disable",
            }
            process = subprocess.Popen(  # noqa: S603
                [program, option.format(port=port)],
                env=environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            found[name] = f"http://127.0.0.1:{port}"
    return found


@contextlib.contextmanager
def _prometheus(program: str, folder: Path, targets: dict[str, str]) -> Iterator[Prometheus]:
    jobs = "".join(
        f"  - job_name: {name}\n    static_configs: [{{ targets: ['{url.removeprefix('http://')}'] }}]\n"
        for name, url in targets.items()
    )
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{ scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s }}\nrule_files: ['{RULES}']\nscrape_configs:\n{jobs}"
    )
    port = free_port()
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        prometheus.await_ready()
        yield prometheus
    finally:
        process.kill()
        process.wait()


def _load(stage: Stage, console: Console) -> None:
    """Upload, bill, notify, be refused, repeat: everything that makes a series."""
    files.run(stage, console=console)
    content = b"iban;name;amount\n" + b"".join(
        f"DE{98 - (37040044 * 10**16 + number * 10**6 + 131400) % 97:02}37040044{number:010};Mia Muster {number};12,{number % 100:02}\n".encode()
        for number in range(1, 301)
    )
    upload = files.upload_file(stage, "list.csv", content)["upload"]
    stage.api.post(
        f"/api/uploads/{upload['id']}/billing", json={"due_item": "one", "usage": "Fee"}
    ).raise_for_status()
    end_s = time.monotonic() + LOAD_S
    number = 0
    while time.monotonic() < end_s:
        number += 1
        for unique_id in (f"n-{number}", f"n-{number}", f"n-{number // 2}"):
            secret = "wrong" if number % 10 == 0 else stage.environ["EMP_API_PASSWORD"]
            body = form_body({"unique_id": unique_id, "status": "approved"}, secret=secret)
            stage.api.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        if number % 50 == 0:
            stage.gateway.resolve()
    console.print(f"{number * 3} notifications sent beside 300 debits")


def _asked(prometheus: Prometheus, console: Console) -> int:
    missing, not_asked, asked = list[str](), set[str](), 0
    for place, query in import_module("make_dashboards").queries():
        asked += 1
        if not prometheus.series(query) and not set(_METRIC.findall(query)) & WHEN_IT_HAPPENS:
            missing.append(f"{place}: {query}")
    rules = re.findall(r"expr: (?:>-\n((?: {10,}.+\n)+)|(.+))", RULES.read_text())
    for metric in sorted({name for several, single in rules for name in _METRIC.findall(several or single)}):
        asked += 1
        if not prometheus.knows(metric):
            away = next((name for start, (name, _) in EXPORTERS.items() if metric.startswith(start)), "")
            if metric in ELSEWHERE or (away and not shutil.which(away)):
                not_asked.add(metric)
            else:
                missing.append(f"alerts: {metric}")
    console.print(f"{asked} queries of dashboards and metrics of alerts asked")
    for metric in sorted(not_asked):
        console.print(f"not asked, nothing here knows it: {metric}")
    for query in missing:
        console.print(f"[red]no series[/] {query}", soft_wrap=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
