"""API keys: no way in without one, and nothing to learn from a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tether_web.http.auth import KeyRing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    import httpx

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


# Public routes; all others need a key.
OPEN = {"/api/webhooks/emp", "/api/webhooks/emp/{token}", "/health", "/ready", "/metrics"}


def test_a_key_names_its_holder() -> None:
    """Changes are recorded with the name of the key; a wrong name would blame another person."""
    wake = KeyRing({"ada": "key-1", "ben": "key:2", "zoé": "ключ"})
    assert wake.holder("Bearer key-1") == "ada"
    assert wake.holder("bearer  key:2 ") == "ben"
    assert wake.holder("Bearer ключ") == "zoé"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "key-1", "Basic key-1", "Bearer key-", "Bearer key-1 key-1", "Bearer \udcff"],
)
def test_whatever_is_no_key_opens_nothing(header: str) -> None:
    """A header that is almost right must be as closed as none."""
    assert KeyRing({"ada": "key-1"}).holder(header) is None
    assert KeyRing({}).holder(header) is None


def test_every_key_is_compared_whole_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a comparison shorter for a near miss, or over at the first hit, time would give keys away."""
    compared: list[tuple[bytes, bytes]] = []

    def watched(ours: bytes, given: bytes) -> bool:
        compared.append((ours, given))
        return ours == given

    monkeypatch.setattr("tether_web.http.auth.hmac.compare_digest", watched)
    wake = KeyRing({"first": "a", "second": "b" * 500, "third": "c"})
    for header in ("Bearer a", "Bearer x", "Bearer " + "b" * 500, "", "Basic a"):
        compared.clear()
        wake.holder(header)
        assert len(compared) == 3, header
        assert {len(part) for pair in compared for part in pair} == {32}


async def test_every_route_but_the_open_ones_needs_a_key(client: httpx.AsyncClient) -> None:
    """A new route without authentication would show debtors to everyone."""
    paths = (await client.get("/api/schema")).json()["paths"]
    closed = {(path, method) for path, methods in paths.items() for method in methods if path not in OPEN}
    assert ("/api/webhook-events/{event_id}/replay", "post") in closed
    for path, method in closed:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic test-key"}):
            address = path.replace("{", "").replace("}", "")
            address = "/".join(
                "1" if part.endswith("_id") or part == "version" else part for part in address.split("/")
            )
            answer = await client.request(method, address, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="tether"'
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "not_authorized"


async def test_without_configured_keys_the_api_is_closed(serving: Serve, environment: dict[str, str]) -> None:
    """A node without configured keys must accept no key."""
    async with serving(
        {name: text for name, text in environment.items() if name != "TETHER_API_KEYS"}
    ) as client:
        for key in ("", "test-key"):
            answer = await client.get("/api/billing-attempts", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 401


async def test_a_good_key_opens(serving: Serve, environment: dict[str, str]) -> None:
    """All keys are good at once: that is how one is replaced without a gap."""
    async with serving(environment | {"TETHER_API_KEYS": "old:one,new:two"}) as client:
        for key in ("one", "two"):
            answer = await client.get("/api/billing-attempts", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200
