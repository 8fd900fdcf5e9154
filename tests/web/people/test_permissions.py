"""Roles and keys: every route with every role, and keys that end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
from tether_core.people.roles import ROLES, may
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.http.permissions import needed

from tests.web.people.conftest import KEY

if TYPE_CHECKING:
    import httpx


async def _key(client: httpx.AsyncClient, name: str, role: str, **more: object) -> dict[str, str]:
    made = await client.post("/api/api-keys", json={"name": name, "role": role, **more}, headers=KEY)
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['secret']}"}


async def test_every_route_obeys_the_table_of_roles(browser: httpx.AsyncClient) -> None:
    """A route that forgot its permission lets a viewer order refunds, or an operator make administrators."""
    app = application(Settings.from_env({}))
    routes = sorted(
        (method, route.path)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if route.path.startswith("/api/")
        and not route.path.startswith("/api/schema")
        and method not in {"OPTIONS", "HEAD"}
    )
    for role in ROLES:
        headers = await _key(browser, f"key-of-{role}", role)
        for method, path in routes:
            if path == "/api/events":
                continue  # a stream; it needs "view", which each role has
            permission = needed(method, re.sub(r"\{(\w+):\w+\}", r"{\1}", path))
            assert permission is not None
            address = re.sub(r"\{\w+:\w+\}", "987654", path)
            answer = await browser.request(method, address, headers=headers)
            assert (answer.status_code == 403) is not may(role, permission), (
                role,
                method,
                path,
                answer.status_code,
            )
            if answer.status_code == 403:
                assert permission in answer.json()["detail"]


async def test_a_key_ends_when_it_expires_or_is_revoked(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """A key that was lost, or given for a month, would open the API for ever."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    headers = await _key(browser, "ci", "operator", expires_at=tomorrow)
    assert (await browser.get("/api/uploads", headers=headers)).status_code == 200
    me = (await browser.get("/api/me", headers=headers)).json()
    assert (me["name"], me["kind"], me["role"]) == ("ci", "api_key", "operator")
    listed = (await browser.get("/api/api-keys", headers=KEY)).json()
    assert listed[0]["last_used_at"] is not None
    assert "secret" not in listed[0]
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update api_keys set expires_at = now() - interval '1 second'")
    assert (await browser.get("/api/uploads", headers=headers)).status_code == 401
    other = await _key(browser, "other", "operator")
    assert (await browser.get("/api/uploads", headers=other)).status_code == 200
    for _ in range(2):
        revoked = await browser.delete("/api/api-keys/2", params={"reason": "lost"}, headers=KEY)
        assert (revoked.status_code, revoked.json()["revoked_by"]) == (200, "tests")
    assert (await browser.get("/api/uploads", headers=other)).status_code == 401
    tampered = {"authorization": headers["authorization"][:-1] + "x"}
    assert (await browser.get("/api/uploads", headers=tampered)).status_code == 401


async def test_names_are_distinct(browser: httpx.AsyncClient) -> None:
    """Two of one name would be one actor in the audit; and wrong values get a sentence."""
    await _key(browser, "ci", "viewer")
    for path, body, word in (
        ("/api/users", {"name": "CI", "role": "viewer"}, "exists"),
        ("/api/api-keys", {"name": "tests", "role": "viewer"}, "exists"),
        ("/api/api-keys", {"name": "ci", "role": "viewer"}, "exists"),
        ("/api/users", {"name": "a b", "role": "viewer"}, "letters"),
        ("/api/users", {"name": "bea", "role": "viewer", "accounts": ["gone"]}, "no gateway account"),
        ("/api/api-keys", {"name": "new", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "future"),
    ):
        answer = await browser.post(path, json=body, headers=KEY)
        assert (answer.status_code, word in answer.json()["detail"].lower()) == (422, True), (
            body,
            answer.text,
        )
    assert (
        await browser.post("/api/users", json={"name": "x", "role": "root"}, headers=KEY)
    ).status_code == 400


async def test_people_and_keys_are_managed_on_a_page(browser: httpx.AsyncClient) -> None:
    """An administrator adds a colleague, creates and revokes a key, and sees each secret once."""
    await browser.post("/sign-in", data={"key": "test-key"})
    page = await browser.post("/people/users", data={"name": "ada", "role": "operator"})
    assert page.status_code == 200
    assert "shown this once" in page.text
    page = await browser.post(
        "/people/keys", data={"name": "ci", "role": "viewer", "expires_on": "2090-01-01"}
    )
    assert re.search(r"tether_[A-Za-z0-9_-]{49}", page.text)
    # Something that names no account must not mean all of them.
    for form in ("users", "keys"):
        refused = await browser.post(
            f"/people/{form}", data={"name": "bea", "role": "viewer", "accounts": " , "}
        )
        assert (refused.status_code, "leave the field empty for all" in refused.text) == (422, True)
    page = await browser.get("/people")
    assert not re.search(r"tether_[A-Za-z0-9_-]{49}", page.text)
    assert (await browser.post("/people/keys/revoke", data={"key": "1", "reason": "x"})).status_code == 303
    assert (await browser.get("/people/1")).status_code == 200
    assert (await browser.get("/people/9")).status_code == 404
    changed = await browser.post("/people/1/change", data={"role": "viewer", "reason": "x"})
    assert changed.status_code == 303
    (user,) = (await browser.get("/api/users")).json()
    assert (user["role"], user["disabled_at"] is not None) == ("viewer", True)
    page = await browser.post("/people/1/reset", data={"second_factor": "on"})
    assert "shown this once" in page.text
