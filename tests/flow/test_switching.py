"""Coming from another system, through real programs: its debits are imported, and its late news is understood."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from tether_core.testing import form_body
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
KEY = {"Authorization": "Bearer test-key"}
HEADER = "transaction_id unique_id amount currency status iban submitted_at name reference".split()


def _ids(number: int) -> tuple[str, str]:
    return f"old-{number}", f"{number:032x}"


def test_a_chargeback_of_the_system_before_keeps_its_debtor_from_being_debited(
    environment: dict[str, str], process: Launch, until: Callable[..., Any], tmp_path: Path
) -> None:
    """
    For months after a switch the gateway tells of debits that the system before has sent.

    Without them stored a closed account is debited again, and a debt paid last week is collected twice.
    """
    environ = {**environment, "EMP_CONFIRM": "off", "EMP_API_URL": "http://127.0.0.1:9"}
    port = free_port()
    web = process("tether-web", "--port", str(port), environ=environ)
    worker = process("tether-worker", "run", "webhooks", "default", environ=environ)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    worker.await_line("worker started")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=60, trust_env=False) as api:

        def post(number: int, **fields: str) -> None:
            secret = environ["EMP_API_PASSWORD"]
            result = {"unique_id": _ids(number)[1], "transaction_id": _ids(number)[0], **fields}
            body = form_body(result, secret=secret)
            assert api.post("/api/webhooks/emp", content=body, headers=FORM).status_code == 200

        def news(status: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get("/api/webhook-events", params={"status": status}).json()[
                "items"
            ]
            return found

        back = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}
        post(1, **back)  # the address points here already, and nobody knows this payment
        until(
            lambda: [item["reason"] for item in news("waiting")] == ["unknown_payment"],
            what="the chargeback to be deferred",
            timeout_s=120,
        )

        now = datetime.now(UTC)
        file = tmp_path / "debits.csv"
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(HEADER)
            for number, days in ((1, 50), (2, 50), (3, 60), (4, 3)):
                submitted_at = (now - timedelta(days=days)).isoformat(" ", "seconds")
                account = scripted_iban(number)
                writer.writerow(
                    [*_ids(number), "12.50", "EUR", "approved", account, submitted_at, "Zoë", f"R{number}"]
                )
        imported = process("tether-worker", "attempts", "import", str(file), environ=environ)
        assert imported.wait() == 0, imported.stderr
        assert "imported 4" in imported.stdout
        assert "waiting 1, parked 0" in imported.stdout

        post(2, **back)
        until(lambda: len(news("processed")) == 2, what="both chargebacks to be applied", timeout_s=120)
        attempts = api.get("/api/billing-attempts", params={"status": "chargebacked"}).json()["items"]
        assert {attempt["transaction_id"] for attempt in attempts} == {"old-1", "old-2"}
        listed = api.get("/api/blacklist").json()["items"]
        assert [(item["action"], item["reason_code"]) for item in listed] == [("block", "AC04")] * 2

        # The next list has all four, and somebody nobody knows.
        owed = {"R1": 1, "R2": 2, "R3": 3, "R4, April": 4, "R5": 5}
        rows = [f"Zoë Miller;{scripted_iban(number)};12,50;{item}" for item, number in owed.items()]
        data = "\n".join(["Name;IBAN;Betrag;Referenz", *rows]).encode()
        upload = api.post("/api/uploads", files={"file": ("list.csv", data)}).json()["links"]["self"]
        until(
            lambda: api.get(upload).json()["upload"]["state"] == "needs_answer",
            what="the list to be read",
            timeout_s=120,
        )
        found = api.get("/api/debtors", params={"upload": upload.rpartition("/")[2]}).json()["items"]
        assert {item["reference"]: item["verdict"] for item in found} == {
            "R1": "blacklisted",
            "R2": "blacklisted",
            "R3": "reference_again",
            "R4, April": "collected_lately",
            "R5": "clear",
        }
        answer = {"screening": {"collected_before": "exclude"}}
        assert api.post(f"{upload}/answers", json=answer).status_code == 202
        until(
            lambda: api.get(upload).json()["upload"]["state"] == "completed",
            what="the answer to be applied",
            timeout_s=120,
        )
        plan = api.post(f"{upload}/billing", json={"dry_run": True}).json()
        assert (plan["count"], plan["skipped"]) == (1, {"screened_out": 4})
