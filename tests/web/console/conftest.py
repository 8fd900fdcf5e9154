"""A browser of the console without a screen, and what is wrong with a page at first sight."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings of the node; a module may have its own."""
    return environment


@pytest.fixture
async def stranger(serving: Serve, console_environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    async with serving(console_environment) as client:
        client.headers.update(OWN)
        yield client


@pytest.fixture
async def browser(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A browser that has signed in."""
    answer = await stranger.post("/sign-in", data={"key": "test-key", "next": "/uploads"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/uploads")
    return stranger


def flaws(text: str) -> list[str]:
    """Elements of a page that are not closed, scripts and styles inside it, and ids that two elements have."""
    return _Page(text).wrong


class _Page(HTMLParser):
    VOID = frozenset("br hr img input link meta source wbr".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "style" in names or any(name.startswith("on") for name in names):
            self.wrong.append(f"{tag} with {sorted(names)}")
        if tag == "script" and not names.get("src"):
            self.wrong.append("script without a file")
        if (given := names.get("id")) is not None:
            if given in self.ids:
                self.wrong.append(f"two elements have the id {given}")
            self.ids.add(given)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")
