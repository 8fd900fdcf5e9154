"""What is asked with wrong words: refused by name, in a sentence, and never passed over."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, get_args

import pytest
from tether_core.payments.attempt import AttemptState
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    import httpx
    from tether_sandbox.services.program import Launch

KEY = {"authorization": "Bearer test-key"}


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/api/billing-attempts?limit=0", "limit: must be a whole number of at least 1"),
        ("/api/billing-attempts?limit=501", "limit: must be a whole number of at most 500"),
        ("/api/billing-attempts?limit=many", "limit: must be a whole number"),
        (f"/api/billing-attempts?unique_id={'a' * 256}", "unique_id: must have at most 255 characters"),
        ("/api/billing-attempts/0", "attempt_id: must be a whole number of at least 1"),
        (f"/api/webhook-events/{2**63}", f"event_id: must be a whole number of at most {2**63 - 1}"),
        ("/api/completeness?from=yesterday", "from: must be a day like 2026-03-02"),
    ],
)
async def test_what_cannot_be_taken_is_said_in_a_sentence(
    client: httpx.AsyncClient, path: str, detail: str
) -> None:
    """The words of our library mean nothing to whoever calls; the parameter's name and its bound do."""
    answer = await client.get(path, headers=KEY)
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)
    field, _, text = detail.partition(": ")
    assert answer.json()["errors"] == [{"field": field, "text": text}]


async def test_where_there_is_a_choice_it_is_listed(client: httpx.AsyncClient) -> None:
    """Whoever guesses at a state needs the list, not the word "enum", and not their own word in our logs."""
    answer = await client.get("/api/billing-attempts?status=DE89370400440532013000", headers=KEY)
    assert answer.status_code == 400
    assert "3704" not in answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("status: must be one of ")
    assert set(detail.removeprefix("status: must be one of ").split(", ")) == set(get_args(AttemptState))


@pytest.mark.parametrize(
    "path", ["/api/billing-attempts", "/api/webhook-events", "/api/uploads", "/api/debtors", "/api/blacklist"]
)
async def test_a_filter_that_does_not_exist_is_refused(client: httpx.AsyncClient, path: str) -> None:
    """Passed over, `state=parked` would answer with everything, and somebody would act on it."""
    answer = await client.get(path, params={"stat": "x"}, headers=KEY)
    assert answer.status_code == 400
    assert "stat: is not a parameter of this route; use " in answer.json()["detail"]
    assert "cursor" in answer.json()["detail"]
    personal = await client.get(path, params={"DE89370400440532013000": "x"}, headers=KEY)
    assert personal.status_code == 400
    assert "3704" not in personal.text
    assert (await client.get(path, params={"limit": "1"}, headers=KEY)).status_code == 200


async def test_where_there_are_no_parameters_that_is_said(client: httpx.AsyncClient) -> None:
    """A list of nothing would read as if a word were missing."""
    answer = await client.get("/api/billing-attempts/1?expand=all", headers=KEY)
    assert answer.json()["detail"] == "expand: is not a parameter of this route; it takes none"


async def test_a_missing_body_is_named_as_such(client: httpx.AsyncClient) -> None:
    """The name that our function gives its argument is nobody's business."""
    answer = await client.post("/api/blacklist", headers=KEY)
    assert (answer.status_code, answer.json()["detail"]) == (400, "body: is missing; send a JSON object")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"iban":' * 100_000])
async def test_brackets_without_end_are_refused(client: httpx.AsyncClient, body: bytes) -> None:
    """Anybody with a key could have us woken by defects that are none of ours."""
    answer = await client.post(
        "/api/blacklist", content=body, headers=KEY | {"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "nested too deeply" in answer.json()["detail"]


async def test_a_body_that_breaks_off_is_the_senders(process: Launch, environment: dict[str, str]) -> None:
    """A broken proxy on the way would count as defects of ours, and wake us for its own."""
    port = free_port()
    web = process("tether-web", "--port", str(port), environ=environment)
    web.await_url(f"http://127.0.0.1:{port}/health")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(
            b"POST /api/blacklist HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
        )
        result = peer.recv(2000)
    assert result.startswith(b"HTTP/1.1 400 ")
    assert "internal error" not in web.stderr


async def test_addresses_and_methods_that_are_not_there_say_what_is(client: httpx.AsyncClient) -> None:
    """Not Found says nothing that the status does not."""
    assert "/api/schema" in (await client.get("/api/attempts", headers=KEY)).json()["detail"]
    assert "GET" in (await client.delete("/api/billing-attempts", headers=KEY)).json()["detail"]
