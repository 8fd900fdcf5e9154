"""Invalid and unknown parameters: rejected by name, with a sentence, and never ignored."""

from __future__ import annotations

import re
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
        ("/api/billing-attempts?limit=0", "limit must be a whole number of at least 1"),
        ("/api/billing-attempts?limit=501", "limit must be a whole number of at most 500"),
        ("/api/billing-attempts?limit=many", "limit must be a whole number"),
        (f"/api/billing-attempts?unique_id={'a' * 256}", "unique_id must have at most 255 characters"),
        ("/api/billing-attempts/0", "attempt_id must be a whole number of at least 1"),
        (f"/api/webhook-events/{2**63}", f"event_id must be a whole number of at most {2**63 - 1}"),
        ("/api/completeness?from=yesterday", "from must be a day like 2026-03-02"),
    ],
)
async def test_invalid_values_are_reported_in_a_sentence(
    client: httpx.AsyncClient, path: str, detail: str
) -> None:
    """Msgspec's words mean nothing to a caller; the parameter's name and its bound do."""
    answer = await client.get(path, headers=KEY)
    assert (answer.status_code, answer.json()["detail"]) == (400, f"{detail}.")
    field, _, text = detail.partition(" ")
    assert answer.json()["errors"] == [{"field": field, "text": text}]


async def test_no_text_may_hold_a_zero_byte(client: httpx.AsyncClient) -> None:
    """Postgres stores none, so a filter by one would be a defect of ours in the logs, at the word of anybody with a key."""
    document = (await client.get("/api/schema")).json()
    tried = 0
    for path, operations in document["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            name, kinds = parameter["name"], str(parameter["schema"])
            if "string" not in kinds or any(word in kinds for word in ("enum", "const", "format", "pattern")):
                continue
            if parameter["in"] == "path":
                url, query = path.replace(f"{{{name}}}", "a%00"), ""
            elif parameter["in"] == "query":
                url, query = re.sub(r"\{\w+\}", "1", path), f"?{name}=a%00"
            else:
                continue
            answer = await client.get(url + query, headers=KEY)
            expected = (422, f"{name} contains a zero byte; remove it.")
            assert (answer.status_code, answer.json()["detail"]) == expected, url + query
            tried += 1
    assert tried > 30


async def test_the_values_of_an_enumeration_are_listed(client: httpx.AsyncClient) -> None:
    """A caller needs the list of states; the value may be personal data and must not be repeated."""
    answer = await client.get("/api/billing-attempts?status=DE89370400440532013000", headers=KEY)
    assert answer.status_code == 400
    assert "3704" not in answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("status must be one of ")
    assert set(detail.removeprefix("status must be one of ").removesuffix(".").split(", ")) == set(
        get_args(AttemptState)
    )


@pytest.mark.parametrize(
    "path", ["/api/billing-attempts", "/api/webhook-events", "/api/uploads", "/api/debtors", "/api/blacklist"]
)
async def test_an_unknown_filter_is_rejected(client: httpx.AsyncClient, path: str) -> None:
    """If it were ignored, `state=parked` would return all rows, and a person would act on them."""
    answer = await client.get(path, params={"stat": "x"}, headers=KEY)
    assert answer.status_code == 400
    assert "stat is not a parameter of this route; use " in answer.json()["detail"]
    assert "cursor" in answer.json()["detail"]
    personal = await client.get(path, params={"DE89370400440532013000": "x"}, headers=KEY)
    assert personal.status_code == 400
    assert "3704" not in personal.text
    assert (await client.get(path, params={"limit": "1"}, headers=KEY)).status_code == 200


async def test_a_route_without_parameters_says_so(client: httpx.AsyncClient) -> None:
    """A list of nothing would read as if a word were missing."""
    answer = await client.get("/api/billing-attempts/1?expand=all", headers=KEY)
    assert answer.json()["detail"] == "expand is not a parameter of this route; it takes none."


async def test_a_missing_body_is_named_as_such(client: httpx.AsyncClient) -> None:
    """The name of the handler's argument must not appear in an error."""
    answer = await client.post("/api/blacklist", headers=KEY)
    assert (answer.status_code, answer.json()["detail"]) == (400, "body is missing; send a JSON object.")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"iban":' * 100_000])
async def test_deeply_nested_bodies_are_rejected(client: httpx.AsyncClient, body: bytes) -> None:
    """Any client could otherwise cause internal errors, which alert a person."""
    answer = await client.post(
        "/api/blacklist", content=body, headers=KEY | {"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "nested too deeply" in answer.json()["detail"]


async def test_a_truncated_body_is_a_client_error(process: Launch, environment: dict[str, str]) -> None:
    """A broken proxy would otherwise cause internal errors, which alert a person."""
    port = free_port()
    web = process("tether-web", "--port", str(port), environ=environment)
    web.await_url(f"http://127.0.0.1:{port}/health")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.sendall(
            b"POST /api/blacklist HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
        )
        result = peer.recv(2000)
    assert result.startswith(b"HTTP/1.1 400 ")
    assert "internal error" not in web.stderr


async def test_unknown_paths_and_methods_name_the_known_ones(client: httpx.AsyncClient) -> None:
    """The text Not Found only repeats the status."""
    assert "/api/schema" in (await client.get("/api/attempts", headers=KEY)).json()["detail"]
    assert "GET" in (await client.delete("/api/billing-attempts", headers=KEY)).json()["detail"]
