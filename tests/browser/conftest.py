"""A real browser in front of everything: services, web processes, a worker and a simulated gateway."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright
from rich.console import Console
from tether_sandbox.demo.stage import opened
from tether_sandbox.settings import API_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page
    from tether_sandbox.demo.stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Everything, running."""
    with opened(Console(quiet=True)) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that `playwright install chromium` brings."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, stage: Stage) -> Iterator[Page]:
    """A page of somebody who has signed in; what the browser complains of fails the test."""
    context = chromium.new_context(base_url=stage.url, viewport={"width": 1280, "height": 900})
    opened_page = context.new_page()
    errors: list[str] = []
    opened_page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    opened_page.on("pageerror", lambda error: errors.append(str(error)))
    opened_page.goto("/")
    opened_page.get_by_text("Sign in with an API key").click()
    opened_page.get_by_label("API key").fill(API_KEY)
    opened_page.get_by_role("button", name="Sign in with the key").click()
    opened_page.wait_for_url(re.compile("/$"))
    yield opened_page
    context.close()
    # A page that refuses an order says so with its status, which the browser reports as well.
    assert [said for said in errors if "status of 4" not in said] == []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the pictures of the docs be taken anew."""
    parser.addoption("--shots", action="store_true", help="write the pictures of docs/images")
