"""
Smoke cases: whether an installation does its work, seen from outside through its HTTP API.

No case moves money or changes a payment. The case of a notification leaves one row without a payment, the case of a file a dry run of one
made-up row. A debit is made only with `Smoke.file`, by `tether smoke --bill FILE`.

| case | what it proves |
|---|---|
| alive | the address is Tether, and answers |
| ready | Postgres accepts writes and has the tables of this version; Redis, object store and a gateway password are there |
| invalid signature | a notification with a wrong signature is refused |
| notification | a signed notification is recorded |
| repeat | its repeat is recognised |
| closed | the API lets nobody in without a key |
| file | a file is stored, read by a worker, and its one row is understood |
| queues | every queue has a worker, is not paused and not late; all workers have one version |
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import msgspec

from tether_client.billing import RunOrder
from tether_client.client import Client
from tether_client.credentials import checked_url
from tether_client.errors import ClientError

__all__ = ["CASES", "Criterion", "Result", "Smoke", "SmokeReport", "as_markdown"]

CASES: Final = ("alive", "ready", "invalid signature", "notification", "repeat", "closed", "file", "queues")
_WEBHOOKS: Final = "/api/webhooks/emp"
# A queue whose oldest row has been due for longer is late; the alert of the same name waits longer.
_LATE_S: Final = 60.0
_POLL_S: Final = 0.5
# An IBAN of the bank's documentation: no account.
_LIST: Final = "Name;IBAN;Amount\nSmoke Test;DE89370400440532013000;1,00\n"
_DEPLOY_S: Final = 300.0
_PIPELINE_S: Final = 600.0


class Result(msgspec.Struct, frozen=True):
    """
    A case that was tried.

    Attributes:
        case: One of `CASES`, or "bill".
        verdict: "passed", "failed" or "skipped".
        text: What was found, and what to do.
        took_s: Seconds.
    """

    case: str
    verdict: str
    text: str
    took_s: float


class Criterion(msgspec.Struct, frozen=True):
    """
    What the smoke cases can say of a criterion of success.

    Attributes:
        name: What is demanded.
        verdict: "met", "not met" or "not measured".
        text: What was measured, or how to measure it.
    """

    name: str
    verdict: str
    text: str


class SmokeReport(msgspec.Struct, frozen=True):
    """
    The cases of one time.

    Attributes:
        url: The address.
        version: Of Tether; "" where it did not answer.
        passed: Whether no case failed.
        results: By case.
        criteria: What they say of the criteria of success.
    """

    url: str
    version: str
    passed: bool
    results: list[Result]
    criteria: list[Criterion]


class Smoke(msgspec.Struct):
    """
    The cases, against one address.

    Attributes:
        url: The address.
        api_key: A key of the API; "" for none: two cases are then skipped.
        gateway_password: The API password of the gateway's account, to sign a notification; "" for none: two cases are then skipped.
        file: A file of debtors to bill for real; `None` for none.
        await_s: For how long to wait until the address is ready, in seconds.
        timeout_s: For how long to wait for a file or a run.
    """

    url: str
    api_key: str = ""
    gateway_password: str = ""
    file: Path | None = None
    await_s: float = 0.0
    timeout_s: float = 120.0

    def run(self, on_case: Callable[[str], None] = lambda _case: None) -> SmokeReport:
        """
        Try all cases, one after the other; none raises.

        Args:
            on_case: Called with the name of each case before it is tried.
        """
        url, results, facts = checked_url(self.url), list[Result](), dict[str, Any]()
        with httpx.Client(base_url=url, timeout=30.0, headers={"User-Agent": "tether-smoke"}) as http:
            facts["deployed_s"] = self._awaited(http)
            cases: dict[str, Callable[[httpx.Client, dict[str, Any]], str | None]] = {
                name: getattr(self, "_" + name.replace(" ", "_")) for name in CASES
            }
            if self.file is not None:
                cases["bill"] = self._bill
            for name, case in cases.items():
                on_case(name)
                results.append(_tried(name, lambda case=case: case(http, facts)))  # type: ignore[misc]
        return SmokeReport(
            url,
            str(facts.get("version", "")),
            all(result.verdict != "failed" for result in results),
            results,
            _criteria(facts, {result.case: result for result in results}),
        )

    def _awaited(self, http: httpx.Client) -> float | None:
        """After how many seconds it was ready; `None` where nobody waits, or it was not."""
        began = time.monotonic()
        while self.await_s:
            try:
                if http.get("/ready").status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                pass
            if time.monotonic() - began >= self.await_s:
                return None
            time.sleep(_POLL_S)
        return None

    def _alive(self, http: httpx.Client, facts: dict[str, Any]) -> str | None:
        found = _json(http.get("/health"))
        facts["version"] = found.get("version", "")
        _demand(found.get("status") == "alive", "The address does not answer as Tether does; check it.")
        return f"version {facts['version']}"

    def _ready(self, http: httpx.Client, _facts: dict[str, Any]) -> str | None:
        found = _json(http.get("/ready"), allowed={200, 503})
        away = [
            name
            for name in ("postgres", "migrated", "redis", "objects", "gateway_password")
            if not found.get(name)
        ]
        _demand(
            bool(found.get("ready")) and not away,
            f"Not ready: {', '.join(away) or 'it does not say why'}. Run `tether-worker doctor` on a machine of Tether. {found.get('refused') or ''}",
        )
        return "Postgres, Redis, object store and gateway password are available"

    def _invalid_signature(self, http: httpx.Client, _facts: dict[str, Any]) -> str | None:
        answer = http.post(
            _WEBHOOKS, json={"unique_id": _name(), "status": "approved", "signature": "0" * 40}
        )
        _demand(
            answer.status_code == 401,
            f"A notification with an invalid signature got HTTP {answer.status_code}; it must get 401.",
        )
        return "an invalid signature is refused"

    def _notification(self, http: httpx.Client, facts: dict[str, Any]) -> str | None:
        if not self.gateway_password:
            return None
        name = _name()
        # The signature of the gateway's own documentation: SHA-1 of id and password.
        signature = hashlib.sha1((name + self.gateway_password).encode(), usedforsecurity=False).hexdigest()
        facts["notification"] = {"wpf_unique_id": name, "signature": signature}
        began = time.monotonic()
        found = _json(http.post(_WEBHOOKS, json=facts["notification"]))
        _demand(found.get("status") == "ok", f"The answer {found} does not say that it was recorded.")
        return f"recorded and answered within {(time.monotonic() - began) * 1000:.0f} ms"

    def _repeat(self, http: httpx.Client, facts: dict[str, Any]) -> str | None:
        if "notification" not in facts:
            return None
        found = _json(http.post(_WEBHOOKS, json=facts["notification"]))
        _demand(
            found.get("message") == "Already processed",
            f"The answer {found} does not say that the repeat was recognised.",
        )
        return "the repeat is recognised"

    def _closed(self, http: httpx.Client, _facts: dict[str, Any]) -> str | None:
        answer = http.get("/api/uploads")
        _demand(
            answer.status_code == 401,
            f"The API answered HTTP {answer.status_code} without a key; it must answer 401.",
        )
        return "without a key the API is closed"

    def _file(self, _http: httpx.Client, facts: dict[str, Any]) -> str | None:
        if not self.api_key:
            return None
        with TemporaryDirectory(prefix="tether-smoke-") as folder, self._client() as client:
            # A file of its own each time: equal ones are recognised, and nothing would be read.
            path = Path(folder) / "smoke.csv"
            path.write_text(
                _LIST.replace("Smoke Test", f"Smoke Test {secrets.token_hex(4)}"), encoding="utf-8"
            )
            began = time.monotonic()
            upload = client.add_upload(path, fields={"dry_run": "true"})
            found = client.await_upload(upload.id, timeout_s=self.timeout_s).upload
            facts["file_s"] = time.monotonic() - began
        _demand(
            found.state in {"completed", "needs_answer"},
            f"The file was not read: {found.state}. `tether uploads show {found.id}` says why.",
        )
        return f"a file was stored and read within {facts['file_s']:.1f} s, as a dry run"

    def _queues(self, _http: httpx.Client, _facts: dict[str, Any]) -> str | None:
        if not self.api_key:
            return None
        with self._client() as client:
            queues, workers = client.queues(), client.workers().workers
        wrong = [f"{queue.name} has no worker" for queue in queues if not queue.workers]
        wrong += [f"{queue.name} is paused: {queue.paused.reason}" for queue in queues if queue.paused]
        wrong += [
            f"{queue.name} is late: its oldest row has been due for {queue.oldest_s:.0f} s"
            for queue in queues
            if queue.oldest_s > _LATE_S
        ]
        versions = sorted({worker.version for worker in workers})
        if len(versions) > 1:
            wrong.append(f"workers have the versions {', '.join(versions)}")
        _demand(not wrong, "; ".join(wrong) + ".")
        return f"{len(queues)} queues, {len(workers)} workers"

    def _bill(self, _http: httpx.Client, facts: dict[str, Any]) -> str | None:
        assert self.file is not None
        with self._client() as client:
            began = time.monotonic()
            upload = client.await_upload(client.add_upload(self.file).id, timeout_s=self.timeout_s).upload
            _demand(
                upload.state == "completed",
                f"Upload {upload.id} is {upload.state}; see `tether uploads show`.",
            )
            ordered = client.order_run(upload.id, RunOrder(due_item=f"smoke-{secrets.token_hex(4)}"))
            run = client.await_run(ordered.id, timeout_s=self.timeout_s).run
            facts["pipeline_s"] = time.monotonic() - began
        _demand(run.state == "finished", f"Run {run.id} is {run.state}; see `tether runs show {run.id}`.")
        return f"run {run.id}: {run.count:,} debits were submitted within {facts['pipeline_s']:.1f} s of the upload"

    def _client(self) -> Client:
        return Client(self.url, api_key=self.api_key)


class _Failed(Exception):
    """A case did not find what it demands."""


def _demand(holds: bool, text: str) -> None:  # noqa: FBT001 - like assert
    if not holds:
        raise _Failed(text.strip())


def _tried(name: str, case: Callable[[], str | None]) -> Result:
    began = time.monotonic()

    def result(verdict: str, text: str) -> Result:
        return Result(name, verdict, text, round(time.monotonic() - began, 3))

    try:
        text = case()
    except (_Failed, ClientError) as exc:
        return result("failed", str(exc))
    except httpx.HTTPError as exc:
        return result("failed", f"No answer: {type(exc).__name__}.")
    if text is None:
        demanded = (
            "the gateway's password (--gateway-password-stdin)"
            if name in {"notification", "repeat"}
            else "a key"
        )
        return result("skipped", f"needs {demanded}")
    return result("passed", text)


def _json(response: httpx.Response, *, allowed: set[int] | None = None) -> dict[str, Any]:
    _demand(
        response.status_code in (allowed or {200}),
        f"{response.request.url.path} answered {response.status_code}: {response.text[:200]}",
    )
    try:
        found = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise _Failed(f"{response.request.url.path} answered with something that is not Tether's.")
    return found


def _name() -> str:
    return f"smoke-{secrets.token_hex(12)}"


def _criteria(facts: Mapping[str, Any], results: Mapping[str, Result]) -> list[Criterion]:
    def timed(name: str, taken_s: float | None, limit_s: float, how: str) -> Criterion:
        if taken_s is None:
            return Criterion(name, "not measured", how)
        return Criterion(name, "met" if taken_s < limit_s else "not met", f"{taken_s:.1f} s")

    pipeline = facts.get("pipeline_s")
    repeats = results["repeat"].verdict
    return [
        timed(
            "deployed within 5 minutes",
            facts.get("deployed_s"),
            _DEPLOY_S,
            "start `tether smoke --await 300` together with the deployment",
        ),
        Criterion(
            "running on a laptop within 3 minutes", "not measured", "`tether-sandbox up` prints its seconds"
        ),
        timed(
            "from a file to submitted debits within 10 minutes",
            pipeline,
            _PIPELINE_S,
            "`--bill FILE` measures it; the dry run "
            + (f"took {facts['file_s']:.1f} s up to the rows" if "file_s" in facts else "was not made"),
        ),
        Criterion(
            "nothing lost by kills",
            "not measured",
            "`tether-sandbox chaos` kills and compares; here `tether completeness` compares with the gateway's reports"
            + ("; what is answered is recorded, its repeat was recognised" if repeats == "passed" else ""),
        ),
    ]


def as_markdown(report: SmokeReport) -> str:
    """The report for people."""
    lines = [
        f"# Smoke cases of {report.url}",
        "",
        f"Tether {report.version or '(no answer)'}: **{'passed' if report.passed else 'FAILED'}**",
        "",
        "| case | verdict | found | seconds |",
        "|---|---|---|---:|",
        *(
            f"| {result.case} | {result.verdict} | {_cell(result.text)} | {result.took_s:.2f} |"
            for result in report.results
        ),
        "",
        "| criterion | verdict | measured |",
        "|---|---|---|",
        *(f"| {item.name} | {item.verdict} | {_cell(item.text)} |" for item in report.criteria),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
