"""One extreme value at a time, in the place of each parameter and of each field of a body that is otherwise right: never a 500."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import msgspec
from tether_sandbox.seed import seed
from tether_stores.settings import Settings
from tether_web.app import application, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEY: Final = {"authorization": "Bearer test-key"}
_SHEET: Final = b"Name;IBAN;Betrag\nAda Ahorn;DE89370400440532013000;10,50\n"
_TEXTS: Final = (
    "\0",
    "",
    "x" * 5_000,
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{PILE OF POO}\N{COMBINING ACUTE ACCENT}",
    "%_\\'\";--",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    str(2**63),
    str(2**63 - 1),
    "-1",
)
_VALUES: Final[tuple[Any, ...]] = (
    *_TEXTS,
    0,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    1.5,
    True,
    None,
    [],
    {},
    ["\0"],
    [1] * 2_000,
)


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else document["components"]["schemas"][reference.rpartition("/")[2]]


def _example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, document)
    if schema.get("examples"):
        return schema["examples"][0]
    return {name: _example(part, document) for name, part in schema.get("properties", {}).items()} or None


def _with_one_value(content: Any) -> Iterator[Any]:
    """The content with one of its parts replaced, all parts by all values in turn."""
    if isinstance(content, dict):
        for name, part in content.items():
            yield from ({**content, name: other} for other in (*_VALUES, *_with_one_value(part)))
        yield {**content, "\0": 1}
    elif isinstance(content, list):
        for index, part in enumerate(content):
            for other in _with_one_value(part):
                yield [*content[:index], other, *content[index + 1 :]]


def _requests(
    path: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, str], bytes]]:
    parameters = operation.get("parameters", [])
    right = path
    for parameter in parameters:
        if parameter["in"] == "path":
            right = right.replace(f"{{{parameter['name']}}}", "1")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _example(content.get("schema", {}), document) if content else None
    encoded = b"" if body is None else msgspec.json.encode(body)
    for parameter in parameters:
        name = parameter["name"]
        for value in _TEXTS:
            if parameter["in"] == "path":
                wrong = path.replace(f"{{{name}}}", quote(value, safe="") or "0")
                for other in parameters:
                    wrong = wrong.replace(f"{{{other['name']}}}", "1")
                yield wrong, {}, encoded
            elif parameter["in"] == "query":
                yield right, {name: value}, encoded
    for changed in _with_one_value(body):
        try:
            yield right, {}, msgspec.json.encode(changed)
        except OverflowError:
            yield right, {}, repr(changed).replace("'", '"').encode()


async def test_no_extreme_value_is_an_internal_error(
    environment: dict[str, str], database_url: str, count: Callable[[str, int], None]
) -> None:
    """A 500 wakes a person, and shows an attacker a weak place."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=datetime.now(UTC)))
    app = application(Settings.from_env(environment))
    transport = httpx.ASGITransport(served(app), raise_app_exceptions=False)  # type: ignore[arg-type]
    defects: list[str] = []
    sent = 0
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://tether") as client:
        await client.post("/api/uploads", headers=KEY, files={"file": ("list.csv", _SHEET)})
        document = (await client.get("/api/schema")).json()
        routes = [
            (method, path, operation)
            for path, operations in document["paths"].items()
            if path != "/api/events"  # a stream has no end
            for method, operation in operations.items()
            if isinstance(operation, dict) and "responses" in operation
        ]
        for method, path, operation in routes:
            for url, query, body in _requests(path, operation, document):
                sent += 1
                headers = KEY | {"content-type": "application/json", "idempotency-key": str(sent)}
                answer = await client.request(method, url, params=query, headers=headers, content=body)
                if answer.status_code >= 500:
                    defects.append(f"{method} {url[:200]} {query} {body[:300]!r}")
    count("extreme values", sent)
    assert sent > 1_000
    assert not defects, "\n".join(defects)
