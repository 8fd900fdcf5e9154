"""The published description: complete, also of the route that the framework cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


async def _document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/schema")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.oai.openapi+json")
    found: dict[str, Any] = answer.json()
    return found


async def test_every_public_route_is_described(client: httpx.AsyncClient) -> None:
    """Programs are generated from this document; a route that is missing does not exist for them."""
    routes = {
        (path, method.upper())
        for path, methods in (await _document(client))["paths"].items()
        for method in methods
    }
    assert routes >= {
        ("/api/webhooks/emp", "POST"),
        ("/api/billing-attempts", "GET"),
        ("/api/billing-attempts/{attempt_id}", "GET"),
        ("/api/webhook-events", "GET"),
        ("/api/webhook-events/{event_id}", "GET"),
        ("/api/webhook-events/{event_id}/replay", "POST"),
        ("/health", "GET"),
        ("/ready", "GET"),
        ("/metrics", "GET"),
    }
    for path, _ in routes:
        address = "/".join("1" if part.startswith("{") else part for part in path.split("/"))
        assert (await client.request("GET", address)).status_code in {200, 401, 405, 503}, path


async def test_the_webhook_tells_all_its_answers(client: httpx.AsyncClient) -> None:
    """Whoever writes a sender reads here what 503 and 401 mean. An answer left out is one nobody handles."""
    hook = (await _document(client))["paths"]["/api/webhooks/emp"]["post"]
    assert hook["responses"].keys() == {"200", "400", "401", "405", "413", "415", "503"}
    assert hook["requestBody"]["content"].keys() == {"application/x-www-form-urlencoded", "application/json"}
    assert hook["security"] == []
    assert hook["responses"]["200"]["content"].keys() == {"application/xml", "application/json"}


async def test_keys_are_asked_for_where_they_are_needed(client: httpx.AsyncClient) -> None:
    """A generated client sends the key only where the document says so."""
    document = await _document(client)
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed = path.startswith("/api/") and path != "/api/webhooks/emp"
            assert (operation.get("security") == [{"apiKey": []}]) is needed, (method, path)
            assert operation["summary"], (method, path)
