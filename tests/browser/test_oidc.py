"""Signing in at an identity provider of another site, in a real browser: it decides which cookies go where."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tether_sandbox.services.program import launch
from tether_sandbox.services.server import free_port
from tether_web.console.oidc import COOKIE as PENDING
from tether_web.http.sessions import COOKIE

from tests.support import identity_provider
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from tether_sandbox.demo.stage import Stage

    from tests.support.identity_provider import IdentityProvider


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """A provider at localhost, which is another site than 127.0.0.1; its page has a button."""
    with identity_provider.running("localhost") as started:
        started.has_page = True
        yield started


@pytest.fixture
def url(stage: Stage, provider: IdentityProvider, tmp_path: Path) -> Iterator[str]:
    """A web process with a client of the provider."""
    port = free_port()
    environ = {
        **stage.environ,
        "TETHER_OIDC_ISSUER": provider.issuer,
        "TETHER_OIDC_CLIENT_ID": CLIENT_ID,
        "TETHER_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    web = launch(
        ("tether-web", "--port", str(port), "--workers", "1"),
        environ=environ,
        folder=tmp_path,
        guard=stage.guard,
    )
    web.await_url(f"http://127.0.0.1:{port}/ready")
    yield f"http://127.0.0.1:{port}"
    web.kill()


def test_a_person_comes_back_from_another_site_and_is_signed_in(
    chromium: Browser, stage: Stage, url: str, provider: IdentityProvider
) -> None:
    """The browser keeps a strict cookie from the request that comes from there; the person would be asked to sign in again, for ever."""
    body = {"name": "ada@example.com", "role": "viewer", "has_password": False}
    stage.api.post("/api/users", json=body).raise_for_status()
    context = chromium.new_context(base_url=url)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    for _ in range(2):  # the second time with a session, which the way back does not see either
        page.goto("/sign-in?next=/payments")
        page.get_by_role("button", name="Sign in with localhost").click()
        page.get_by_role("button", name="I am Ada").click()
        page.wait_for_url(re.compile("/payments$"))
        expect(page.get_by_role("heading", name="Payments")).to_be_visible()
        assert page.evaluate("fetch('/api/me').then(answer => answer.json())")["name"] == "ada@example.com"
        cookies = {cookie["name"]: cookie for cookie in context.cookies()}
        assert cookies.keys() == {COOKIE}
        assert (cookies[COOKIE]["sameSite"], cookies[COOKIE]["httpOnly"]) == ("Strict", True)
        assert PENDING not in cookies
    assert [said for said in errors if "status of 4" not in said and "favicon" not in said] == []
    assert provider.requests.count("/token") == 2
    context.close()
