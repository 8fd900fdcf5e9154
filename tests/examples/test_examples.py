"""The examples do what they say; a stranger's first minute depends on them."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import socketserver
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook
from tether_client import Client
from tether_client.recurring import AnnouncementOrder
from tether_core.emp.signature import sign
from tether_core.events import RefundChargedBack, encode
from tether_core.subscribers import cloud_events
from tether_sandbox.gateway import Setup, running
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import until
from tether_worker.vop import ProviderSilent, over_http

if TYPE_CHECKING:
    from types import ModuleType

    from tether_sandbox.services.program import Launch

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples"


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a_receiver_verifies_events_and_ignores_repeats(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of the example would take events of anybody, or book each retry."""
    secret = "whsec_" + "c2VjcmV0" * 4
    monkeypatch.setenv("TETHER_WEBHOOK_SECRET", secret)
    app = _loaded("receive_events").app
    now = datetime.now(UTC)
    payload = encode(RefundChargedBack(7))
    body = cloud_events.body(43, occurred_at=now, payload=payload, account="default")
    message_id = cloud_events.stable_id(43, occurred_at=now, payload=payload)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://books") as client:
        for _ in range(2):
            assert (await client.post("/tether", content=body, headers=headers)).status_code == 204
        assert capsys.readouterr().out.count("billing-attempts/7") == 1
        changed = body.replace(b"7", b"8")
        assert (await client.post("/tether", content=changed, headers=headers)).status_code == 401


async def test_the_core_verifies_and_acknowledges_inside_fastapi(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of the example would accept invalid signatures, or have valid notifications repeated."""
    monkeypatch.setenv("EMP_API_PASSWORD", "s3cret")
    app = _loaded("verify_in_fastapi").app
    fields = {"unique_id": "44177a21", "status": "approved", "signature": sign("44177a21", secret="s3cret")}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for _ in range(2):
            answer = await client.post("/gateway", data=fields)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/xml"
            assert "<unique_id>44177a21</unique_id>" in answer.text
        assert capsys.readouterr().out.count("44177a21") == 1
        assert (await client.post("/gateway", data={**fields, "signature": "00" * 20})).status_code == 401
        assert (await client.post("/gateway", content=b"{}")).status_code == 400


def test_an_upload_is_billed_end_to_end(environment: dict[str, str], process: Launch, tmp_path: Path) -> None:
    """A newcomer copies this to bill real people: it must collect once, say so, and do nothing the second time."""
    rng = random.Random(1)
    lines = [f"{name} Kowalska;{made_up_iban(rng)};1{n},00" for n, name in enumerate(("Ana", "Noël", "Zoë"))]
    members = tmp_path / "members.csv"
    members.write_text("\n".join(["Name;IBAN;Amount", *lines, "Nobody;DE00;5,00"]) + "\n", encoding="utf-8")
    port = free_port()
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"http://127.0.0.1:{port}/api/webhooks/emp",
        result_after_s=0.1,
    )
    with running(setup) as simulator:
        environ = {**environment, "EMP_API_URL": simulator.url}
        web = process("tether-web", "--port", str(port), environ=environ)
        process("tether-worker", "run", "default", "billing", "webhooks", environ=environ)
        web.await_url(f"http://127.0.0.1:{port}/ready")
        said = [_billed(members, url=f"http://127.0.0.1:{port}", due_item=item) for item in ("2026-03",) * 2]
        assert "finished: 3 debits of 33.00; excluded: {}" in said[0]
        assert "finished: 3 debits of 33.00" in said[1]  # the run of before, and no second one
        assert (len(simulator.records()), simulator.sums()["debited_twice"]) == (3, [])


def test_a_list_is_enrolled_once_and_forecast(
    environment: dict[str, str], process: Launch, tmp_path: Path
) -> None:
    """A copy of this collects each month from real people: run twice, nobody may be enrolled twice."""
    rng = random.Random(2)
    members = tmp_path / "members.csv"
    lines = [
        f"{name} Kowalska;{made_up_iban(rng)};1{n},00;M-{n}" for n, name in enumerate(("Ana", "Noël", "Zoë"))
    ]
    members.write_text("\n".join(["Name;IBAN;Amount;Mandate", *lines]) + "\n", encoding="utf-8")
    port = free_port()
    configured = {**environment, "EMP_API_URL": "http://127.0.0.1:1"}  # nothing is submitted today
    web = process("tether-web", "--port", str(port), environ=configured)
    process("tether-worker", "run", "default", environ=configured)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    first_due_on = (datetime.now(UTC) + timedelta(days=40)).date()
    environ = os.environ | {"TETHER_URL": f"http://127.0.0.1:{port}", "TETHER_API_KEY": "test-key"}
    said = []
    for _ in range(2):
        command = [sys.executable, str(_EXAMPLES / "collect_monthly.py"), str(members), str(first_due_on)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "in 90 days: 6 debits of 66.00 EUR" in said[0]
    assert said[1].splitlines()[-1] == said[0].splitlines()[-1]

    # On the same node: a version of the return policy is made and tried, and decides nothing.
    command = [sys.executable, str(_EXAMPLES / "try_a_return_policy.py"), "MS02=block"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["MS02: hold -> block", "no decision would have differed"]
    _mail_pre_notifications(environ, tmp_path, due_on=str(first_due_on))


def _mail_pre_notifications(environ: dict[str, str], folder: Path, *, due_on: str) -> None:
    """Of four debtors two get a mail, each once, however often the example runs."""
    rng = random.Random(3)
    people = (
        ("Ana Nowak", "ana@example.org"),
        ("Zoë Łącka", "zoe@example.org"),
        ("Ben Nowak", "nobody@example.org"),
        ("Eva Nowak", ""),
    )
    members = folder / "mailed.csv"
    lines = [f"{name};{made_up_iban(rng)};12,50;{email}" for name, email in people]
    members.write_text("\n".join(["Name;IBAN;Amount;E-Mail", *lines]) + "\n", encoding="utf-8")
    with Client(environ["TETHER_URL"], api_key=environ["TETHER_API_KEY"]) as client:
        upload = client.await_upload(client.add_upload(members).id).upload
        order = AnnouncementOrder(due_item="2027", due_on=due_on, creditor_name="Example club")
        assert client.announce(upload.id, order).made == 4
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailServer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _MailServer.mails.clear()
            of_mail = {
                "MAIL_SERVER": f"127.0.0.1:{server.server_address[1]}",
                "MAIL_FROM": "Example club <club@example.org>",
            }
            said = []
            for _ in range(2):
                command = [sys.executable, str(_EXAMPLES / "mail_pre_notifications.py")]
                done = subprocess.run(
                    command, env=environ | of_mail, capture_output=True, text=True, timeout=120, check=False
                )
                assert done.returncode == 1, done.stderr
                said.append(done.stdout.strip())
            server.shutdown()
        assert said == [
            "2 mailed, 1 without an e-mail address, 1 refused by the mail server",
            "0 mailed, 1 without an e-mail address, 1 refused by the mail server",
        ]
        notices = client.pre_notifications(upload=upload.id).items
        mails = [message_from_bytes(mail, policy=default) for mail in _MailServer.mails]
        mailed = {notice.id: notice for notice in notices if notice.status == "given"}
        assert [mail["Message-ID"] for mail in mails] == [
            f"<pre-notification-{number}@example.org>" for number in mailed
        ]
        assert {notice.name for notice in mailed.values()} == {"Ana Nowak", "Zoë Łącka"}
        for mail, notice in zip(mails, mailed.values(), strict=True):
            assert mail["To"].addresses[0].display_name == notice.name
            assert mail.get_content().split() == notice.text.split()
            assert mail["Subject"].endswith("12.50 EUR")


class _MailServer(socketserver.StreamRequestHandler):
    """A mail server that has no mailbox for nobody@."""

    mails: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 mail\r\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            if word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"550 no mailbox\r\n" if b"<nobody@" in line else b"250 ok\r\n")


def _billed(file: Path, *, url: str, due_item: str) -> str:
    environ = os.environ | {"TETHER_URL": url, "TETHER_API_KEY": "test-key"}
    command = [sys.executable, str(_EXAMPLES / "bill_an_upload.py"), str(file), due_item]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_spreadsheet_is_read_without_anything_running() -> None:
    """The first thing that people try on a list of their own; it must name rows, and show no whole IBAN."""
    for name, words in (("verein_de.csv", "owes"), ("broken_rows.csv", "IBAN: "), ("two_lists.xlsx", "")):
        done = subprocess.run(
            [sys.executable, _EXAMPLES / "read_a_spreadsheet.py", _ROOT / "tests/data/spreadsheets" / name],
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert said.strip()
        assert words in said
        assert not re.search(r"\b[A-Z]{2}\d{12,}", said)


def test_events_are_followed_and_gone_on_with(
    environment: dict[str, str], process: Launch, database_url: str, tmp_path: Path
) -> None:
    """A ledger built on a copy of this must have each event, also those of the time it was stopped."""
    port = free_port()
    process("tether-web", "--port", str(port), environ=environment).await_url(
        f"http://127.0.0.1:{port}/ready"
    )
    environ = {"TETHER_URL": f"http://127.0.0.1:{port}", "TETHER_API_KEY": "test-key"}
    position = tmp_path / "position.txt"
    for attempt_id in (1, 2):
        with psycopg.connect(database_url) as conn:
            conn.execute(
                "insert into outbox (name, version, payload, occurred_at) values ('refund.charged_back', 1, %s, now())",
                [encode(RefundChargedBack(attempt_id))],
            )
        follower = process("python", str(_EXAMPLES / "follow_events.py"), str(position), environ=environ)
        until(lambda: position.exists() and position.read_text() == str(attempt_id), what="the event")  # noqa: B023
        follower.kill()
        (line,) = follower.stdout.splitlines()
        assert line.startswith(f"{attempt_id} ")
        assert f"'attempt_id': {attempt_id}" in line


def test_every_example_is_run_by_a_test() -> None:
    """An example that no test runs breaks with the next change, and then it is somebody's first impression."""
    tests = "".join(path.read_text() for path in (_ROOT / "tests").rglob("test_*.py"))
    examples = sorted(_EXAMPLES.glob("*.py"))
    assert len(examples) >= 2
    assert [
        example.name for example in examples if example.stem not in tests.replace("every_example", "")
    ] == []


@pytest.mark.parametrize(
    ("iban", "name", "answer", "percent"),
    [
        ("DE89370400440532013000", "zoë miller", "yes", 100),
        ("DE89370400440532013000", "Zoe Miller", "close", 90),
        ("DE89370400440532013000", "Bob Stone", "no", None),
        ("AT611904300234573201", "Zoë Miller", "unanswered", None),
    ],
)
async def test_the_worker_understands_the_adapter_of_a_name_service(
    monkeypatch: pytest.MonkeyPatch, iban: str, name: str, answer: str, percent: int | None
) -> None:
    """A copy of the example would score every debtor as a mismatch, or answer strangers who holds an account."""
    monkeypatch.setenv("NAMES_TOKEN", "t0ken")
    app = _loaded("check_names").app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://names") as client:
        answers = await over_http(client, url="http://names/check", token="t0ken")(iban, name)
        assert answers.name == answer
        if percent is not None:
            assert answers.name_percent == percent
        with pytest.raises(ProviderSilent):
            await over_http(client, url="http://names/check", token="guess")(iban, name)
