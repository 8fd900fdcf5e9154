"""The reference of the HTTP API as a page of the docs' site, from the OpenAPI document of a web node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tether_stores.settings import Settings
from tether_web.app import application

__all__ = ["text"]

_HEAD: Final = """\
# HTTP API

Every route of a web node, from its OpenAPI document, which `GET /api/schema` of a running node returns; generate a client from that one.

- **Key**: routes below `/api` need `Authorization: Bearer <key>` ([people and keys](../guides/people.md)). The route of
  notifications is signed by the gateway instead.
- **Errors** are problem details (RFC 9457): `title`, `status`, `detail`, which says who must do what, and `code`, which is stable.
  400: the request cannot be read. 401: no valid key. 403: the key has no permission. 404: there is none. 409: what is stored contradicts it.
  422: it is readable but not possible. 503: a store is unavailable; try again after `Retry-After` seconds.
- **Lists** return a page and `next`; send it as `cursor` for the following page ([lists](../guides/lists.md)).
- **Orders** may carry `Idempotency-Key`; the same key returns the first result again.
- Times are UTC in ISO 8601, amounts are whole minor units beside a currency.
"""
_USUAL: Final = {"400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}


def text() -> str:
    """The page."""
    document = application(Settings.from_env({})).openapi_schema.to_schema()
    routes: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                tag = (operation.get("tags") or ["operation"])[0]
                routes.setdefault(tag, []).append((path, method.upper(), operation))
    lines = _HEAD.splitlines()
    for tag in sorted(routes):
        lines += ["", f"## {tag.capitalize()}"]
        for path, method, operation in routes[tag]:
            lines += ["", *_operation(path, method, operation)]
    lines += ["", "## Objects"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += ["", f"### {name}", "", *_object(schema)]
    return "\n".join(lines) + "\n"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield ""
    description = _flat(operation.get("description", ""))
    yield f"{operation['summary'].rstrip('.')}. {description}".strip()
    if parameters := operation.get("parameters"):
        yield ""
        yield "| parameter | in | type | meaning |"
        yield "|---|---|---|---|"
        for parameter in parameters:
            name = f"`{parameter['name']}`{' (required)' if parameter.get('required') else ''}"
            meaning = parameter.get("description") or parameter["schema"].get("description") or "its id"
            yield f"| {name} | {parameter['in']} | {_type(parameter['schema'])} | {_flat(meaning)} |"
    if body := operation.get("requestBody"):
        yield ""
        for kind, content in body["content"].items():
            yield f"Body `{kind}`: {_type(content['schema'])}."
            if "properties" in content["schema"]:
                yield ""
                yield from _object(content["schema"])
    yield ""
    yield "| status | response |"
    yield "|---|---|"
    unusual = []
    for status, response in sorted(operation["responses"].items()):
        kinds = response.get("content", {})
        if status in _USUAL and set(kinds) <= {"application/problem+json"}:
            unusual.append(status)
            continue
        text = ", ".join(f"`{kind}`: {_type(content.get('schema', {}))}" for kind, content in kinds.items())
        meaning = _flat(response.get("description", ""))
        if meaning.startswith("Request fulfilled"):
            meaning = "Done."
        yield f"| {status} | {f'{meaning} {text}'.strip()} |"
    if unusual:
        yield f"| {', '.join(unusual)} | problem details |"


def _object(schema: dict[str, Any]) -> Iterator[str]:
    if description := schema.get("description"):
        yield _flat(description)
        yield ""
    if words := schema.get("enum"):
        yield "One of " + ", ".join(f"`{word}`" for word in words) + "."
    elif properties := schema.get("properties"):
        required = set(schema.get("required", ()))
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        for name, inner in properties.items():
            marked = f"`{name}`{' (required)' if name in required else ''}"
            yield f"| {marked} | {_type(inner)} | {_flat(inner.get('description', ''))} |"
    else:
        yield f"{_type(schema).capitalize()}."


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        text = f"[{name}](#{name.lower()})"
    elif words := schema.get("enum"):
        text = ", ".join(f"`{word}`" for word in words if word is not None)
    elif several := schema.get("oneOf") or schema.get("anyOf"):
        text = " or ".join(dict.fromkeys(_type(inner) for inner in several))
    elif isinstance(kind, list):
        text = " or ".join(kind)
    elif kind == "array":
        text = f"array of {_type(schema.get('items', {}))}"
    elif kind == "object" and isinstance(values := schema.get("additionalProperties"), dict) and values:
        text = f"object of {_type(values)}"
    else:
        text = f"{kind} ({schema['format']})" if "format" in schema else str(kind)
    return text


def _flat(text: str) -> str:
    """A text as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
