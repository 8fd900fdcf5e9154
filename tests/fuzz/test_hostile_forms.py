"""Every page of the console, with one extreme value at a time in each field of each form and in each filter: never a 500."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.settings import Settings
from tether_web.app import application, served

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUES: Final = (
    "\0",
    "",
    "x" * 5_000,
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{PILE OF POO}",
    "0001-01-01",
    "9999-12-31",
    str(2**63),
    "-1",
)
_HEADERS: Final = {"sec-fetch-site": "same-origin"}
_PAGES_MAX: Final = 150
# What ends the session, and a stream.
_LEFT_OUT: Final = ("/sign-out", "/api/events", "/static/")


class _Page(HTMLParser):
    """The links and forms of a page."""

    def __init__(self, text: str) -> None:
        """Read it."""
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href", "").startswith("/"):
            self.links.append(given["href"])
        elif tag == "form":
            self.forms.append((given.get("method", "get").lower(), given.get("action", ""), {}))
        elif tag in {"input", "select", "textarea", "button"} and given.get("name") and self.forms:
            self.forms[-1][2].setdefault(given["name"], given.get("value", "") or "1")
        elif tag == "option" and "selected" in given and self.forms:
            fields = self.forms[-1][2]
            if fields:
                fields[list(fields)[-1]] = given.get("value", "")


def _kind(url: str) -> str:
    """Which page it is, whatever its numbers and values."""
    parts = urlsplit(url)
    names = sorted(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return re.sub(r"\d+", "#", parts.path) + "?" + ",".join(names)


class _Visitor:
    """Goes through all pages and tries all forms, as somebody who signed in."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Nothing was seen."""
        self.client = client
        self.sent = 0
        self.pages = 0
        self.defects: list[str] = []
        self.forms: dict[str, tuple[str, str, dict[str, str]]] = {}

    async def tried(self, method: str, url: str, fields: dict[str, str]) -> httpx.Response:
        """Send one request, and note whether the answer is a defect."""
        self.sent += 1
        if method == "post":
            answer = await self.client.post(url, data=fields)
        else:
            answer = await self.client.get(url, params=fields or None)
        if answer.status_code >= 500:
            self.defects.append(f"{answer.status_code} {method} {url} {fields}"[:600])
        return answer

    async def visit_all(self) -> None:
        """Read one page of each kind, and note its forms."""
        known, waiting = {_kind("/")}, ["/"]
        while waiting and self.pages < _PAGES_MAX:
            parts = urlsplit(waiting.pop(0))
            self.pages += 1
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            answer = await self.tried("get", parts.path, query)
            if "text/html" not in answer.headers.get("content-type", ""):
                continue
            page = _Page(answer.text)
            self._note(page, parts.path)
            for link in page.links:
                if not link.startswith(_LEFT_OUT) and _kind(link) not in known:
                    known.add(_kind(link))
                    waiting.append(link.partition("#")[0])

    def _note(self, page: _Page, path: str) -> None:
        for method, action, fields in page.forms:
            where = action or path
            if where.startswith("/") and not where.startswith(_LEFT_OUT):
                self.forms.setdefault(f"{method} {_kind(where)} {sorted(fields)}", (method, where, fields))

    async def fill_in_all(self) -> None:
        """Send each form with one extreme value at a time."""
        for method, where, fields in self.forms.values():
            for name in fields:
                for value in _VALUES:
                    await self.tried(method, where, {**fields, name: value})


async def test_no_form_is_an_internal_error(
    environment: dict[str, str], database_url: str, count: Callable[[str, int], None]
) -> None:
    """A person who mistypes gets a sentence beside what was typed."""
    now = datetime.now(UTC)
    list(seed(database_url, attempts=3, rng=random.Random(1), now=now))
    seed_upload(database_url, [Owed("DE89370400440532013000", 1_000)], now=now)
    app = application(Settings.from_env(environment))
    transport = httpx.ASGITransport(served(app), raise_app_exceptions=False)  # type: ignore[arg-type]
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://tether", headers=_HEADERS) as client,
    ):
        signed_in = await client.post("/sign-in", data={"key": "test-key"})
        assert signed_in.status_code == 303
        odd = await client.get("/audit", headers={b"x-forwarded-for": b"\xff", b"x-request-id": b"\xe9"})
        assert odd.status_code == 200
        visitor = _Visitor(client)
        await visitor.visit_all()
        await visitor.fill_in_all()
    count("extreme values in forms", visitor.sent)
    assert visitor.pages > 30
    assert len(visitor.forms) > 20
    assert not visitor.defects, "\n".join(visitor.defects)
