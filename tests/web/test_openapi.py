"""The OpenAPI document: complete, including the route outside the framework."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.routes import HTTPRoute
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.http import openapi_examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


async def _document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/schema")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.oai.openapi+json")
    found: dict[str, Any] = answer.json()
    return found


async def test_every_public_route_is_described(client: httpx.AsyncClient) -> None:
    """Clients are generated from this document; a missing route does not exist for them."""
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
        assert (await client.request("GET", address)).status_code in {200, 401, 405, 503} | (
            {404} if path == "/api/webhooks/emp/{token}" else set()
        ), path


async def test_the_webhook_documents_all_its_responses(client: httpx.AsyncClient) -> None:
    """A sender's author reads here what 401 and 503 mean; a missing status would not be handled."""
    hook = (await _document(client))["paths"]["/api/webhooks/emp"]["post"]
    assert hook["responses"].keys() == {"200", "400", "401", "405", "413", "415", "503"}
    assert hook["requestBody"]["content"].keys() == {"application/x-www-form-urlencoded", "application/json"}
    assert hook["security"] == []
    assert hook["responses"]["200"]["content"].keys() == {"application/xml", "application/json"}
    relay = (await _document(client))["paths"]["/api/webhooks/emp/{token}"]["post"]
    assert relay["responses"].keys() == hook["responses"].keys() | {"404"}
    assert [parameter["name"] for parameter in relay["parameters"]] == ["token"]


async def test_routes_with_keys_declare_them(client: httpx.AsyncClient) -> None:
    """A generated client sends the key only if the document requires it."""
    document = await _document(client)
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed = path.startswith("/api/") and not path.startswith("/api/webhooks/emp")
            assert (operation.get("security") == [{"apiKey": []}]) is needed, (method, path)
            assert operation["summary"], (method, path)


async def test_every_route_documents_its_errors(client: httpx.AsyncClient) -> None:
    """A generated client has types only for documented errors."""
    document = await _document(client)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not path.startswith("/api/") or path.startswith("/api/webhooks/emp"):
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


async def test_responses_match_the_document(client: httpx.AsyncClient) -> None:
    """A client breaks at the first error if the document is wrong."""
    described = (await _document(client))["components"]["schemas"]["ProblemDetails"]
    for path, headers in (
        ("/api/billing-attempts", {}),
        ("/api/billing-attempts?limit=0", {"authorization": "Bearer test-key"}),
    ):
        payload = (await client.get(path, headers=headers)).json()
        assert set(described["required"]) <= payload.keys() <= described["properties"].keys()


async def test_parameters_are_explained(client: httpx.AsyncClient) -> None:
    """An undocumented parameter is learnt by trial, with real debits."""
    for path, methods in (await _document(client))["paths"].items():
        for method, operation in methods.items():
            for item in operation.get("parameters", []):
                assert item.get("description") or item["in"] == "path", (method, path, item["name"])


async def test_schemas_have_readable_names(client: httpx.AsyncClient) -> None:
    """Generated clients name their types after the schemas; module paths of the server would appear in their code."""
    document = await _document(client)
    names = document["components"]["schemas"].keys()
    assert [name for name in names if not name.isalnum()] == []
    assert {"UploadPage", "ProblemDetails", "RunOrder"} <= names
    assert set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(document))) <= names


async def test_every_field_has_a_description_and_an_example(client: httpx.AsyncClient) -> None:
    """Callers read units and meanings only here; an example must be valid for its type."""
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


def _requests(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas of JSON bodies of requests, and of what is inside them."""
    bodies = [
        operation["requestBody"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    wanted, seen = re.findall(r"#/components/schemas/(\w+)", json.dumps(bodies)), set[str]()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            schema = document["components"]["schemas"][name]
            wanted += re.findall(r"#/components/schemas/(\w+)", json.dumps(schema))
            yield name, schema


def _kinds(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The types that a field or an item may have, each with the bounds that stand beside the choice."""
    for choice in schema.get("oneOf", [schema]):
        yield {**schema, **choice}
        if "items" in choice:
            yield from _kinds(choice["items"])


async def test_every_field_of_a_request_says_its_bounds(client: httpx.AsyncClient) -> None:
    """A caller learns a bound from the description or from a refused order; without one, a number of any size reaches Postgres."""
    found = dict(_requests(await _document(client)))
    assert {"RunOrder", "OverrideOrder", "EntryBody", "InquiryRequest"} <= found.keys()
    missing = []
    for name, schema in found.items():
        assert schema["description"], name
        assert schema["additionalProperties"] is False, name
        for field, described in schema["properties"].items():
            for kind in _kinds(described):
                match kind.get("type"):
                    case "integer" | "number":
                        is_bounded = {"minimum", "maximum"} <= kind.keys()
                    case "string":
                        is_bounded = bool({"maxLength", "enum", "format"} & kind.keys())
                    case "boolean" | "array" | "null":
                        is_bounded = True
                    case "object":  # maps of a file's own columns, checked by what reads them
                        is_bounded = "additionalProperties" in kind
                    case _:
                        is_bounded = "$ref" in kind
                if not is_bounded:
                    missing.append(f"{name}.{field}: {kind}")
    assert missing == []
    assert found["RunOrder"]["properties"]["vop_score_min"]["minimum"] == 0


def test_no_example_is_drawn_at_random() -> None:
    """A word of twenty random letters says nothing, and each build of the reference would differ from the last one."""
    drawn = [
        f"{handler.fn.__module__}.{handler.fn.__name__}"
        for route in application(Settings.from_env({})).routes
        if isinstance(route, HTTPRoute)
        for handler, _ in route.route_handler_map.values()
        for response in (handler.responses or {}).values()
        if response.generate_examples and response.data_container is not None
    ]
    assert drawn == []
