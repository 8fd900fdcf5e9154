"""Junk at every route of the published description: refused with a reason, and never a 500."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tether_sandbox.seed import seed
from tether_stores.settings import Settings
from tether_web.app import application, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

T = TypeVar("T")

KEY: Final = {"authorization": "Bearer test-key"}
_SHEET: Final = b"Name;IBAN;Betrag\nAda Ahorn;DE89370400440532013000;10,50\n"

_texts = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "\0",
        "'",
        '"',
        "%",
        "\\",
        "\ud7ff",
        "1",
        "-1",
        "true",
        "null",
        "AC04",
        "name",
        "2026-03-02",
        "9" * 30,
        "ü" * 600,
    ]
)
_ids = st.integers(1, 3) | st.integers(-2, 2**70) | _texts
_scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _texts
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


class Request(msgspec.Struct, frozen=True):
    """One request, drawn."""

    method: str
    path: str
    query: list[tuple[str, Any]]
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def _serving(environment: dict[str, str], database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with a few attempts and a file in it."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=datetime.now(UTC)))
    app = application(Settings.from_env(environment))
    transport = httpx.ASGITransport(served(app))  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://tether") as client:
        sent = await client.post("/api/uploads", headers=KEY, files={"file": ("list.csv", _SHEET)})
        assert sent.status_code == 202, sent.text
        yield client


def _values(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """What may stand for a parameter, right ones and wrong ones."""
    right = [str(item) for item in schema.get("enum", []) if item is not None]
    return (st.sampled_from(right) | _texts) if right else _ids.map(str)


@st.composite
def _requests(draw: st.DrawFn, *, method: str, path: str, operation: Any, document: Any) -> Request:
    query: list[tuple[str, Any]] = []
    for parameter in operation.get("parameters", []):
        value = draw(_values(parameter.get("schema", {})))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe="", errors="replace") or "0")
        elif draw(st.booleans()):
            query.append((parameter["name"], value))
    content = operation.get("requestBody", {}).get("content", {})
    media = draw(st.sampled_from([*content, "application/json", "text/csv", "nonsense"]))
    body = draw(_bodies(content.get(media, {}).get("schema", {}), document=document))
    headers = {"content-type": media} | draw(
        st.sampled_from(
            [
                {},
                {},
                {"range": "bytes=5-2"},
                {"range": "bytes=0-"},
                {"accept": "x/y"},
                {"if-none-match": "*"},
                {"content-encoding": "br"},
            ]
        )
    )
    if media.startswith("multipart/"):
        headers["content-type"] += "; boundary=cut"
        body = _parts(draw, body)
    return Request(method.upper(), path, query, headers, body)


def _parts(draw: st.DrawFn, content: bytes) -> bytes:
    names = draw(st.lists(st.sampled_from(["file", "file", "answers", "dry_run", "force", "x"]), max_size=3))
    parts = b"".join(
        b'--cut\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), draw(st.sampled_from([b"", b'; filename="a.csv"', b'; filename="\x00"'])), content)
        for name in names
    )
    return parts + draw(st.sampled_from([b"--cut--\r\n", b"--cut", b""]))


def _bodies(schema: Mapping[str, Any], *, document: Any) -> st.SearchStrategy[bytes]:
    """Junk, JSON of any shape, and JSON with the fields the description names."""
    named = schema
    if "$ref" in schema:
        named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    junk = st.binary(max_size=60) | _json.map(_encoded) | st.just(_SHEET)
    fields = list(named.get("properties", {}))
    if not fields:
        return junk
    return junk | st.dictionaries(st.sampled_from(fields), _json).map(_encoded)


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError):  # halves of pairs, numbers beyond 64 bits
        return repr(value).encode("utf-8", "replace")


def _drawn(strategy: st.SearchStrategy[T], *, examples: int) -> list[T]:
    """Draw first, send afterwards: what runs beside Hypothesis would pass for chance inside a strategy."""
    found: list[T] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(item: T) -> None:
        found.append(item)

    collect()
    return found


async def test_no_request_is_an_internal_error(
    environment: dict[str, str], database_url: str, count: Callable[[str, int], None]
) -> None:
    """A 500 wakes a person, and shows an attacker a weak place."""
    async with _serving(environment, database_url) as client:
        count("requests of the suite", await _every_route(client))


async def test_a_copy_that_is_still_good_is_no_defect(environment: dict[str, str], database_url: str) -> None:
    """A browser that has the file asks whether its copy is still good; found by the test above."""
    async with _serving(environment, database_url) as client:
        answer = await client.get("/api/uploads/1/file", headers=KEY | {"if-none-match": "*"})
        assert (answer.status_code, answer.content) == (304, b"")


async def test_a_zero_byte_in_a_blacklist_spoils_one_line(
    environment: dict[str, str], database_url: str
) -> None:
    """A note with a zero byte, beside a fingerprint, failed the whole import with a 500; found by the decoders' test."""
    fingerprint = "00112233445566778899aabbccddeeff"
    body = f"iban_fingerprint,note\n{fingerprint},a\x00b\n{fingerprint},fine\n"
    async with _serving(environment, database_url) as client:
        answer = await client.post(
            "/api/blacklist/import", headers=KEY | {"content-type": "text/csv"}, content=body.encode()
        )
    assert answer.status_code == 200, answer.text
    payload = answer.json()
    assert (payload["added"], [problem["row"] for problem in payload["problems"]]) == (1, [2])


async def _every_route(client: httpx.AsyncClient) -> int:
    sent = 0
    document = (await client.get("/api/schema")).json()
    # A tenth of what a decoder gets: a request takes ten times as long.
    examples = max(settings().max_examples // 10, 5)
    routes = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        if path
        != "/api/events"  # a stream has no end; tests/web/events/test_stream.py sends it what is wrong
        for method, operation in methods.items()
        if isinstance(operation, dict) and "responses" in operation
    ]
    assert len(routes) > 10
    for path, method, operation in routes:
        drawn = _requests(method=method, path=path, operation=operation, document=document)
        for item in _drawn(drawn, examples=examples):
            sent += 1
            answer = await client.request(
                item.method, item.path, params=item.query, headers=KEY | item.headers, content=item.body
            )
            assert answer.status_code < 500, item
            if answer.status_code >= 400:
                assert answer.headers["content-type"].split(";")[0] in {
                    "application/problem+json",
                    "application/json",  # the gateway's own form of an error
                }, item
    return sent
