"""What every request passes: an id, safe headers, one count, one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_stores import telemetry

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}
PASSWORD = "s3cret-password"


async def _everything(client: httpx.AsyncClient) -> list[httpx.Response]:
    """One answer of each kind, from within the framework and from before it."""
    form = {"content-type": FORM}
    good = form_body({"unique_id": "a"}, secret=PASSWORD)
    return [
        await client.get("/health"),
        await client.get("/metrics"),
        await client.get("/api/schema"),
        await client.get("/nowhere"),
        await client.put("/health"),
        await client.options("/api/billing-attempts"),
        await client.get("/api/billing-attempts"),
        await client.get("/api/billing-attempts", headers=KEY),
        await client.get("/api/billing-attempts/7", headers=KEY),
        await client.get("/api/billing-attempts?limit=x", headers=KEY),
        await client.post("/api/webhooks/emp", content=good, headers=form),
        await client.post("/api/webhooks/emp", content=b"x" * 70_000, headers=form),
        await client.get("/api/webhooks/emp"),
    ]


async def test_every_answer_has_an_id_and_safe_headers(client: httpx.AsyncClient) -> None:
    """A browser that is led here must neither guess types nor keep anything, whichever answer it gets."""
    answers = await _everything(client)
    assert [answer.status_code for answer in answers] == [
        200, 200, 200, 404, 405, 204, 401, 200, 404, 400, 200, 413, 405,
    ]  # fmt: skip
    for answer in answers:
        for name, value in {
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        }.items():
            assert answer.headers.get_list(name) == [value], answer.url
        assert len(answer.headers.get_list("x-request-id")) == 1
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9-]{8,64}", item) for item in ids)


async def test_a_proxys_id_is_kept_and_anything_else_replaced(client: httpx.AsyncClient) -> None:
    """An id leads through the logs of several systems; one that could forge a log line must not get in."""
    for given, kept in {
        "1f0e-2d3c.4b5a:69_78": True,
        "x" * 64: True,
        "short": False,
        "x" * 65: False,
        'a","level":"error': False,
        "with blank in it": False,
        "": False,
    }.items():
        header = (await client.get("/health", headers={"x-request-id": given})).headers["x-request-id"]
        assert (header == given) is kept, given


async def test_one_line_an_answer_and_nothing_of_the_request_in_it(client: httpx.AsyncClient) -> None:
    """Searching by id must find the request once.

    Paths and queries hold ids of people, and stay out of it.
    """
    with structlog.testing.capture_logs(processors=[telemetry.of_request]) as lines:
        answer = await client.get("/api/billing-attempts/77?unique_id=ada", headers=KEY)
        await client.get("/nowhere/77")
    result = [line for line in lines if line["event"] == "request answered"]
    assert [(line["method"], line["route"], line["status"]) for line in result] == [
        ("GET", "/api/billing-attempts/{attempt_id}", 400),
        ("GET", "-", 404),
    ]
    assert result[0]["request_id"] == answer.headers["x-request-id"]
    assert "77" not in str([{**line, "took_ms": 0, "request_id": ""} for line in lines])


async def test_notifications_are_counted_and_only_trouble_is_written(client: httpx.AsyncClient) -> None:
    """A thousand lines a second saying "200" hide the one that matters, and cost more than the answers."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            body = form_body({"unique_id": "a"}, secret=PASSWORD)
            await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        await client.get("/health")
    assert lines == []
    counted = (await client.get("/metrics")).text
    assert 'tether_http_seconds_count{method="POST",route="/api/webhooks/emp",status="200"}' in counted


async def test_strangers_cannot_fill_the_memory_with_names(client: httpx.AsyncClient) -> None:
    """Each name of a metric stays for the life of the process.

    Methods and paths are for strangers to invent.
    """

    async def series() -> int:
        return sum(
            line.startswith("tether_http") for line in (await client.get("/metrics")).text.splitlines()
        )

    await client.request("BREW", "/health")
    await client.request("BREW", "/nowhere")
    before = await series()
    for n in range(50):
        await client.request(f"BREW{n}", "/health")
        await client.request(f"BREW{n}", f"/nowhere/{n}")
    assert await series() == before
