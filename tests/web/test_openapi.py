"""The published description: complete, also of the route that the framework cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from tether_web.http import openapi_examples

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
    """Whoever writes a sender reads here what 503 and 401 mean. An answer excluded is one nobody handles."""
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


async def test_every_route_tells_how_it_refuses(client: httpx.AsyncClient) -> None:
    """A generated client has a type for errors only where the document says that there are some, and of which form."""
    document = await _document(client)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not path.startswith("/api/") or path == "/api/webhooks/emp":
                continue
            wanted = {"400", "401", "422", "503"} | ({"404"} if "{" in path else set())
            assert wanted <= operation["responses"].keys(), (method, path)
            for status, answer in operation["responses"].items():
                if int(status) < 400:
                    continue
                (result,) = answer["content"].items()
                assert result[0] == "application/problem+json", (method, path, status)
                assert result[1]["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
                (example,) = result[1]["examples"].values()
                assert example["value"]["status"] == int(status)
    assert document["paths"]["/ready"]["get"]["responses"].keys() == {"200", "503"}


async def test_answers_have_the_form_that_is_described(client: httpx.AsyncClient) -> None:
    """A description that the server does not follow is worse than none: clients break at the first error."""
    described = (await _document(client))["components"]["schemas"]["ProblemDetails"]
    for path, headers in (
        ("/api/billing-attempts", {}),
        ("/api/billing-attempts?limit=0", {"authorization": "Bearer test-key"}),
    ):
        payload = (await client.get(path, headers=headers)).json()
        assert set(described["required"]) <= payload.keys() <= described["properties"].keys()


async def test_parameters_are_explained(client: httpx.AsyncClient) -> None:
    """A parameter without a word is one that people find out about by trying, on real money."""
    for path, methods in (await _document(client))["paths"].items():
        for method, operation in methods.items():
            for item in operation.get("parameters", []):
                assert item.get("description") or item["in"] == "path", (method, path, item["name"])


async def test_every_field_is_explained_and_shown(client: httpx.AsyncClient) -> None:
    """Unit and meaning of a field stand nowhere else for whoever calls us; an example that our own types refuse is none."""
    known = list(openapi_examples.structs(msgspec.Struct))
    for name, schema in (await _document(client))["components"]["schemas"].items():
        if "properties" not in schema:
            continue
        assert [field for field, item in schema["properties"].items() if not item.get("description")] == [], (
            name
        )
        (example,) = schema["examples"]
        assert schema.get("required", []) == [
            field for field in schema.get("required", []) if field in example
        ]
        for item in known:
            if item.__name__ == name and set(item.__struct_encode_fields__) == set(schema["properties"]):
                msgspec.convert(example, item, strict=False)
