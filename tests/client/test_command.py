"""The command `tether` and its client, against a real node, worker and gateway simulator."""

from __future__ import annotations

import io
import json
import random
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import tether_client
from tether_client import Client
from tether_client.__main__ import EXIT_CODES, _parser, main
from tether_client.command.completion import words
from tether_client.credentials import credentials_path
from tether_client.errors import ClientError, Defective, NotAllowed, Refused, Unavailable
from tether_sandbox.gateway import Setup, running
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import until
from tether_stores.settings import Settings
from tether_web.app import application

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch

_ROOT = Path(__file__).parents[2]


class _Tether:
    """Calls the command inside this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> None:
        self.capsys, self.environ, self.errors = capsys, environ, ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """What the command writes to stdout; what it writes to stderr is kept."""
        ended = main(words, environ=self.environ)
        out, self.errors = self.capsys.readouterr()
        assert ended == code, out + self.errors
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def tether(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> _Tether:
    """The command, with a folder of its own for credentials."""
    return _Tether(capsys, {"XDG_CONFIG_HOME": str(tmp_path / "config")})


def test_everything_from_a_file_to_a_void(
    environment: dict[str, str],
    process: Launch,
    tether: _Tether,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator without a browser could not collect, stop or give back, and would not learn why."""
    rng = random.Random(1)
    lines = [f"{name} Kowalska;{made_up_iban(rng)};1{n},00" for n, name in enumerate(("Ana", "Noël", "Zoë"))]
    # A name with a control sequence, which must not reach the terminal.
    members = tmp_path / "members.csv"
    members.write_text(
        "\n".join(["Name;IBAN;Amount", *lines, "No\x1b[2Jbody;DE00;5,00"]) + "\n", encoding="utf-8"
    )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
        result_after_s=0.1,
    )
    with running(setup) as simulator:
        environ = {**environment, "EMP_API_URL": simulator.url}
        web = process("tether-web", "--port", str(port), environ=environ)
        process("tether-worker", "run", "default", "billing", "webhooks", "reconciliation", environ=environ)
        web.await_url(f"{url}/ready")

        _signs_in(tether, url, monkeypatch)
        assert "are recorded" in tether("status")
        upload_id = _uploads(tether, members)
        run_id = _bills(tether, upload_id)
        _gives_back(tether, run_id)
        _keeps_lists(tether, monkeypatch, tmp_path)
        _operates(tether)
        _follows(tether, url)
        assert simulator.sums()["debited_twice"] == []


def _signs_in(tether: _Tether, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tether("uploads", "list", code=77)
    assert "tether login" in tether.errors
    monkeypatch.setattr(sys, "stdin", io.StringIO("another-key\n"))
    tether("login", "--url", url, "--key-stdin", code=77)
    path = credentials_path(tether.environ)
    assert not path.exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO("test-key\n"))
    assert "test-key" not in tether("login", "--url", url, "--key-stdin")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    # The key is never sent to another address than the one it was given for.
    elsewhere = _Tether(tether.capsys, {**tether.environ, "TETHER_URL": "http://127.0.0.1:1"})
    elsewhere("uploads", "list", code=77)
    path.chmod(0o644)
    tether("uploads", "list", code=2)
    assert "chmod 600" in tether.errors
    path.chmod(0o600)


def _uploads(tether: _Tether, members: Path) -> int:
    sent = tether.json("uploads", "add", str(members), "--wait")
    upload = sent["upload"]
    assert (upload["state"], upload["row_counts"]["stored"], upload["row_counts"]["refused"]) == (
        "completed",
        3,
        1,
    )
    text = tether("uploads", "add", str(members), "--wait")
    assert "The same file was sent" in tether.errors
    assert "Give --force to store it again." in tether.errors  # its own option, not the parameter of the API
    assert "force=true" not in tether.errors
    assert "stored 3 owing 33.00" in text
    assert "\x1b" not in text
    assert tether.json("uploads", "list", "--limit", "1")["items"][0]["id"] == upload["id"]
    assert "members.csv" in tether("uploads", "list", "--status", "completed")

    tether("uploads", "show", "999", code=2)
    assert "There is no such upload" in tether.errors
    tether("uploads", "list", "--status", "nonsense", code=2)
    tether("uploads", "answer", str(upload["id"]), "{}", code=2)

    key = str(upload["id"])
    assert {row["row"] for row in tether.json("uploads", "problems", key, "--level", "error")["items"]} == {5}
    report, again = members.with_name("report.csv"), members.with_name("again.csv")
    tether("uploads", "report", key, str(report))
    assert "DE00" in report.read_text("utf-8-sig")
    assert tether.json("uploads", "file", key, str(again))["size_bytes"] == members.stat().st_size
    assert again.read_bytes() == members.read_bytes()
    tether("uploads", "file", key, str(again), code=2)
    assert "exists" in tether.errors
    assert tether("uploads", "remembered") == "no rows\n"
    tether("uploads", "forget", "999", code=2)
    assert tether.json("uploads", "release", key, "--reason", "the terminal was set up wrong") == []
    return int(upload["id"])


def _bills(tether: _Tether, upload_id: int) -> int:
    order = ("uploads", "bill", str(upload_id), "--due-item", "2026-03")
    preview = tether.json(*order, "--dry-run", "--count-max", "2")
    assert (preview["count"], preview["amount_minor"]) == (2, 2300)
    tether(*order, "--dry-run", "--override", "recently_tried", code=2)
    assert "--override-reason" in tether.errors
    in_spite = ("--override", "recently_tried", "--override-reason", "agreed by phone", "--tries-max", "2")
    assert tether.json(*order, "--dry-run", *in_spite, "--recent-days", "0")["count"] == 3
    assert tether.json(*order, "--dry-run", "--vop-score-min", "80")["count"] == 0
    tether(*order, code=2)  # nobody can be asked, and nobody agreed beforehand
    assert "--yes" in tether.errors
    assert tether.json("runs", "list")["items"] == []

    detail = tether.json(*order, "--yes", "--wait", "--idempotency-key", "march")
    run = detail["run"]
    assert (run["state"], run["count"], run["amount_minor"]) == ("finished", 3, 3300)
    assert tether.json(*order, "--yes", "--idempotency-key", "march")["run"]["id"] == run["id"]
    tether(*order, "--yes", code=2)  # the due item has its run
    assert f"/api/billing-runs/{run['id']}" in tether.errors
    assert "33.00" in tether("runs", "list", "--upload", str(upload_id))
    tether("runs", "pause", str(run["id"]), "--reason", "too late", code=2)
    return int(run["id"])


def _gives_back(tether: _Tether, run_id: int) -> None:
    def approved() -> list[Any]:
        items: list[Any] = tether.json("payments", "list", "--status", "approved", "--run", str(run_id))[
            "items"
        ]
        return items if len(items) == 3 else []

    until(approved, what="three collected payments")
    payment = approved()[0]
    of_run = ("payments", "list", "--run", str(run_id))
    some = tether.json(*of_run, "--amount-min", "11.00", "--amount-max", "11.50")
    assert [item["amount_minor"] for item in some["items"]] == [1100]
    assert tether(*of_run, "--amount-min", "999.00") == "no rows\n"
    assert tether(*of_run, "--bank", "DEUTDEFF", "--country", "XX") == "no rows\n"
    payment_id = str(payment["id"])
    tether("refund", payment_id, code=2)
    assert "Order the refund of payment" in tether.errors
    asked = tether.json("inquire", "payment", payment_id, "--reason", "to be sure")
    assert asked["debits"] == 1
    tether("refund", payment_id, "--yes", code=2)  # the bank may still return it
    assert "cannot be refunded before" in tether.errors
    made = tether.json("void", payment_id, "--yes", "--usage", "Sorry")
    assert (made["kind"], made["amount_minor"]) == ("void", payment["amount_minor"])
    until(
        lambda: tether.json("payments", "show", payment_id)["payment"]["status"] == "voided", what="the void"
    )
    assert f"void {made['id']} of payment {payment_id}" in tether("payments", "show", payment_id)
    orders = tether.json("refunds", "list", "--account", "default")["items"]
    assert [(order["id"], str(order["attempt_id"])) for order in orders] == [(made["id"], payment_id)]
    assert tether("refunds", "list", "--account", "second") == "no rows\n"
    # Nothing is forgiven or stated that did not happen, or that can be inquired.
    tether("payments", "forgive", payment_id, "--reason", "the bank was wrong", code=2)
    tether("payments", "outcome", payment_id, "declined", "--reason", "seen in the back office", code=2)
    tether("refunds", "outcome", str(made["id"]), "declined", "--reason", "seen in the back office", code=2)
    voids = tether.json("runs", "void", str(run_id), "--reason", "a test", "--dry-run")
    assert voids["voids"]["count"] + sum(some["count"] for some in voids["refused"]) == 3


def _keeps_lists(tether: _Tether, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    iban = made_up_iban(random.Random(9))
    monkeypatch.setattr(sys, "stdin", io.StringIO(iban + "\n"))
    entry = tether.json("blacklist", "add", "--iban-stdin", "--note", "asked by phone")
    assert entry["iban_masked"] != iban
    tether("blacklist", "add", code=2)
    tether("blacklist", "lift", str(entry["id"]), code=2)  # a block needs a reason
    assert "Say why" in tether.errors
    assert "lifted" in tether("blacklist", "lift", str(entry["id"]), "--reason", "paid")
    assert "paid" in tether("blacklist", "list", "--which", "ended", "--json")
    given, written = tmp_path / "given.csv", tmp_path / "written.csv"
    given.write_text("email;bic;note\nana@example.org;;asked\n;COBA*;\n;DE*;\n", encoding="utf-8")
    assert "line 4, bic" in tether("blacklist", "import", str(given), code=1)
    assert tether.json("blacklist", "export", str(written))["size_bytes"] == written.stat().st_size
    assert written.read_text("utf-8-sig").count("\n") == 3
    again = tether.json("blacklist", "import", str(written))
    assert (again["rows"], again["added"], again["existing"]) == (2, 0, 2)
    tether("blacklist", "export", str(written), code=2)
    assert "exists" in tether.errors

    event = tether.json("notifications", "list", "--limit", "1")
    assert event["next"]  # three debits have at least three
    event_id = str(event["items"][0]["id"])
    assert "signature" in tether("notifications", "show", event_id) or tether.json(
        "notifications", "show", event_id
    )
    tether("notifications", "replay", event_id, code=2)  # it is processed


def _operates(tether: _Tether) -> None:
    """What an operator does in an emergency, and looks up afterwards."""
    text = tether("status")
    assert "queue webhooks: 0 rows; 1 workers" in text
    assert "queue vop: 0 rows; NO WORKER" in text
    assert "connections" in text
    assert "wake-ups" in text
    paused = tether.json("queues", "pause", "vop", "--reason", "the bank is closed")
    assert (paused["paused_by"], paused["reason"]) == ("tests", "the bank is closed")
    assert "the bank is closed" in tether("queues", "list")
    tether("queues", "pause", "vop", "--reason", "again", code=2)
    assert "paused already" in tether.errors
    tether("queues", "resume", "vop")
    assert "wait in Postgres all the same" in tether("queues", "clear", "webhooks", "--reason", "a test")
    tether("queues", "retry-all", "--reason", "a test", code=2)  # nobody agreed
    assert "Nothing is submitted again" in tether("queues", "retry-all", "--reason", "a test", "--yes")
    tether("queues", "pause", "no/such", "--reason", "x", code=2)
    assert (
        tether.json("accounts", "pause", "default", "--reason", "they asked for it")["paused_by"] == "tests"
    )
    assert "they asked for it" in tether("accounts", "list")
    assert tether.json("accounts", "list")[0]["passwords"] == 1
    tether("accounts", "resume", "default")
    tether("accounts", "pause", "no-such", "--reason", "x", code=2)
    assert len(tether.json("workers", "list")["workers"]) == 1

    figure = tether.json("figures", "by", "total")["groups"][0]
    assert (figure["collected"]["amount_minor"], figure["currency"]) == (3300, "EUR")
    assert "33.00" in tether("figures", "by", "country")
    exposed = tether("figures", "exposure", "--days", "3")
    assert "23.00 banks may return" in exposed
    assert exposed.splitlines()[2].split()[2] == "23.00"  # not 2300
    assert tether("differences", "list") == "no rows\n"

    secret = tether("keys", "add", "ci", "--role", "viewer", "--expires-at", "2999-01-01").strip()
    viewer = _Tether(tether.capsys, {**tether.environ, "TETHER_URL": _url(tether), "TETHER_API_KEY": secret})
    assert "ci, viewer, all accounts" in viewer("keys", "whoami")
    viewer("queues", "pause", "vop", "--reason", "x", code=77)
    assert "permission queues" in viewer.errors
    tether("keys", "revoke", "ci", "--yes")
    viewer("keys", "whoami", code=77)
    made = tether.json("users", "add", "Ada", "--role", "operator")
    assert made["password"]
    assert "disabled" in tether("users", "change", "ada", "--disable", "--reason", "has left")
    tether("users", "change", "ada", code=2)
    bound = tether.json("users", "add", "bea@example.com", "--role", "viewer", "--no-password")
    assert bound["password"] is None
    assert "no password" in tether("users", "add", "cy@example.com", "--role", "viewer", "--no-password")
    assert tether.json("users", "unbind", "bea@example.com", "--reason", "another Bea")["oidc_issuer"] is None
    tether("users", "reset", "nobody", "--yes", code=2)
    assert "There is no user nobody" in tether.errors
    actions = {row["action"] for row in tether.json("audit", "--limit", "100")["items"]}
    assert {"queue.paused", "queue.cleared", "queue.retried", "api_key.created", "user.changed"} <= actions
    assert secret not in tether("audit", "--limit", "100")
    debtor = tether.json("debtors", "list", "--limit", "1")["items"][0]
    assert "verdict" in tether("debtors", "show", str(debtor["id"]))
    found = tether.json("debtors", "history", str(debtor["id"]))
    assert (found["blacklist"], found["check"]) == ([], None)
    assert "name check:\nno rows" in tether("debtors", "history", str(debtor["id"]))
    _checks_names(tether)


def _checks_names(tether: _Tether) -> None:
    """Accounts that nobody debits are asked about and forgotten."""
    names = Path(tether.environ["XDG_CONFIG_HOME"]) / "names.csv"
    names.write_text("iban;name\nDE89370400440532013000;Zoë Miller\n", encoding="utf-8")
    file_id = str(tether.json("checks", "send", str(names))["id"])
    (row,) = tether.json("checks", "rows", file_id, "--state", "waiting")["items"]
    assert (row["iban_masked"], row["name"]) == ("DE89**************3000", "Zoë Miller")
    assert tether("checks", "rows", file_id, "--result", "mismatch") == "no rows\n"
    tether("checks", "rows", file_id, "--state", "lost", code=2)
    assert "0 use the result of an earlier check" in tether("checks", "file-report", file_id)
    assert tether.json("checks", "remove", file_id)["row_count"] == 1
    tether("checks", "rows", file_id, code=2)


def _url(tether: _Tether) -> str:
    stored = json.loads(credentials_path(tether.environ).read_text())
    return str(stored["default"]["url"])


def _follows(tether: _Tether, url: str) -> None:
    """The stream, lists page by page, and the status that is shown again and again."""
    lines = tether("events", "tail", "--after", "0", "--count", "3", "--json").splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == sorted(ids)
    assert "attempt.status_changed" in tether(
        "events", "tail", "--after", "0", "--count", "1", "--type", "attempt.status_changed"
    )
    tether("events", "tail", "--type", "nonsense", code=2)
    assert tether("top", "--count", "2", "--every", "1").count("are recorded") == 2
    with Client(url, api_key="test-key") as client:
        assert len(list(client.each(client.payments, count_max=2))) == 2
        assert len(list(client.each(client.payments, status=None))) == 3
        assert client.payment(client.payments(limit=1).items[0].id).currency == "EUR"
    with Client(url, api_key="wrong") as client, pytest.raises(NotAllowed):
        client.uploads()
    tether("logout")
    tether("uploads", "list", code=77)


def test_an_unreachable_node_is_one_sentence(tether: _Tether) -> None:
    """A script would see a traceback, and a person could not tell a wrong key from a node that restarts."""
    tether.environ |= {"TETHER_URL": f"http://127.0.0.1:{free_port()}", "TETHER_API_KEY": "test-key"}
    assert tether("status", code=75) == ""
    assert tether.errors.startswith("tether: Tether cannot be reached at http://127.0.0.1:")
    assert len(tether.errors.splitlines()) == 1
    assert "test-key" not in tether.errors
    for environ in ({"TETHER_URL": "ftp://x"}, {"TETHER_API_KEY": "a\nb"}):
        _Tether(tether.capsys, {**tether.environ, **environ})(
            "status", code=2 if "TETHER_URL" in environ else 77
        )


def test_shells_complete_what_the_parser_knows(tether: _Tether) -> None:
    """A completion that names yesterday's commands teaches the wrong ones."""
    tree = dict(words(_parser()))
    assert {"add", "bill", "withdraw"} <= set(tree[" uploads"])
    for shell in ("bash", "zsh", "fish"):
        script = tether("completion", shell)
        assert all(path in script for path in tree)
    script = tether("completion", "bash")
    for line, expected in (("tether upl", "uploads"), ("tether uploads bill 12 --due", "--due-item")):
        typed = " ".join(f"'{word}'" for word in line.split())
        lines = f"COMP_WORDS=({typed}); COMP_CWORD={len(line.split()) - 1}; _tether; echo ${{COMPREPLY[@]}}"
        ran = subprocess.run(["bash", "-c", script + lines], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == [expected]


def test_every_error_has_an_exit_code_that_the_page_explains() -> None:
    """A script reads the code; one that is missing on the page has no meaning."""
    page = (_ROOT / "docs/reference/exit-codes.md").read_text()
    assert {code: text for code, text in EXIT_CODES.items() if f"| {code} | {text} |" not in page} == {}
    assert {ClientError, Defective, NotAllowed, Refused, Unavailable} <= {
        getattr(tether_client, name) for name in tether_client.__all__
    } | {ClientError}


def test_the_structs_agree_with_the_api(environment: dict[str, str]) -> None:
    """A field that the API does not send, or not always, would make the client refuse a good answer."""
    schemas: Any = application(Settings.from_env(environment)).openapi_schema.to_schema()["components"][
        "schemas"
    ]
    wrong = []
    for struct_name, struct in _structs():
        name = _NAMES.get(struct_name, struct_name)
        if name not in schemas:
            wrong.append(f"{name} is not in the API")
            continue
        always = set(schemas[name].get("required", ()))
        sent = set(schemas[name]["properties"])
        try:
            msgspec.convert(schemas[name]["examples"][0], struct, strict=False)
        except msgspec.ValidationError as exc:
            wrong.append(f"{name}: the example of the API is refused: {exc}")
        for field in msgspec.structs.fields(struct):
            if field.name not in sent:
                wrong.append(f"{name}.{field.name} is not sent")
            elif field.required and field.name not in always:
                wrong.append(f"{name}.{field.name} is not always sent")
    assert wrong == []


# Structs that have another name in the OpenAPI document.
_NAMES = {
    "ReplayEffect": "Effect",
    "Exclusion": "ExclusionResponse",
    "Preflight": "PreflightResponse",
    "Verified": "VerifiedReport",
    "PolicyRule": "RuleRow",
    "PolicyChange": "ChangeRow",
}


def _structs() -> list[tuple[str, type[msgspec.Struct]]]:
    import importlib

    subjects = (
        "uploads billing payments refunds inquiry_orders notifications blacklist reconciliation health "
        "operation accounts figures people debtors return_policies preflight relays vop"
    ).split()
    modules = [importlib.import_module(f"tether_client.{name}") for name in subjects]
    found = [(name, getattr(module, name)) for module in modules for name in module.__all__]
    return [(name, struct) for name, struct in found if issubclass(struct, msgspec.Struct)]
