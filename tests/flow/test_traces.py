"""One trace from a request over the job to the gateway's call, and nothing personal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from tether_sandbox.gateway import Setup, running, scripted_iban
from tether_sandbox.services.server import free_port

from tests.support.collector import collecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch

TRACES = [f"{number:032x}" for number in (0xA1, 0xB2)]
NAME = "Zoraida Quixwhistle"


def test_a_debit_is_followed_from_the_request_to_the_gateway(
    environment: dict[str, str], process: Launch, until: Callable[..., Any]
) -> None:
    """
    Who asks why a debit took a minute sees where it was; who reads traces sees no account number, name or secret.

    The header of the caller is continued for requests of the API, and begins nothing for notifications, whose sender is a stranger.
    """
    url = f"http://127.0.0.1:{free_port()}"
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
        result_after_s=0.1,
    )
    iban = scripted_iban(0)
    with running(setup) as gateway, collecting() as collector:
        environ = environment | {
            "EMP_API_URL": gateway.url,
            "TETHER_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        web = process("tether-web", "--port", url.rpartition(":")[2], environ=environ)
        queues = ("webhooks", "default", "billing")
        worker = process("tether-worker", "run", *queues, environ=environ)
        web.await_url(f"{url}/ready")
        with httpx.Client(
            base_url=url, headers={"Authorization": "Bearer test-key"}, timeout=60, trust_env=False
        ) as api:
            sent = api.post(
                "/api/uploads",
                files={"file": ("list.csv", f"Name;IBAN;Betrag;Referenz\n{NAME};{iban};10,50;R1\n".encode())},
                headers={"traceparent": f"00-{TRACES[0]}-00000000000000c3-01"},
            ).json()

            def state() -> str:
                return str(api.get(sent["links"]["self"]).json()["upload"]["state"])

            until(lambda: state() == "completed", what="the end of reading", timeout_s=120)
            ordered = api.post(
                f"/api/uploads/{sent['id']}/billing",
                json={"due_item": "2026-03"},
                headers={"traceparent": f"00-{TRACES[1]}-00000000000000c3-01", "x-request-id": iban},
            )
            assert ordered.status_code == 202, ordered.text

            def collected() -> bool:
                attempts = api.get("/api/billing-attempts").json()["items"]
                return [attempt["status"] for attempt in attempts] == ["approved"]

            until(collected, what="the debit to be collected", timeout_s=120)
        upload = {("tether-web", "POST /api/uploads"), ("tether-worker", "read upload")}
        until(lambda: upload <= collector.of(TRACES[0]), what="the trace of the upload")
        debit = {
            ("tether-web", "POST /api/uploads/{upload_id}/billing"),
            ("tether-worker", "submit debit"),
            ("tether-worker", "gateway submission"),
        }
        until(lambda: debit <= collector.of(TRACES[1]), what="the trace of the debit")

        def of_notification() -> bool:
            return any(
                ("tether-worker", "apply notification") in collector.of(span.trace_id)
                for span in collector.spans
                if span.name == "POST /api/webhooks/emp"
            )

        until(of_notification, what="the trace of a notification")
        assert web.terminate() == 0
        assert worker.terminate() == 0
        call = next(span for span in collector.spans if span.name == "gateway submission")
        submitted = next(span for span in collector.spans if span.span_id == call.parent_id)
        assert submitted.name == "submit debit"
        assert call.facts["tether.account"] == "default"
        assert call.facts["tether.outcome"] == "answered"
        everything = b"".join(collector.bodies)
    secrets = (iban, iban[4:], NAME, "Quixwhistle", environment["EMP_API_PASSWORD"], "test-key", "terminal-1")
    assert [word for word in secrets if word.encode() in everything] == []
    # A line of the log leads to the trace.
    assert f'"trace_id":"{TRACES[1]}"' in web.stderr
