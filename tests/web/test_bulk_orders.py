"""Bulk orders over HTTP: a preview with money, a reason, one order however often it is sent, and clear refusals."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.bulk_orders import FILTERS
from tether_sandbox.seed import seed
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.http.pagination import encode_timed_cursor

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx
    from tether_core.bulk_orders import BulkAction


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a gateway account."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
def made(database_url: str) -> None:
    """Twelve submitted debits, four of them declined."""
    list(seed(database_url, attempts=12, rng=random.Random(1), now=NOON))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set submitted_at = created_at, submission_count = 1, amount_minor = 100, payment_stage = 60,"
            " state = 'approved'"
        )
        conn.execute("update billing_attempts set state = 'declined', payment_stage = 50 where id <= 4")


async def _post(
    client: httpx.AsyncClient, body: Any, *, status: int, key: str | None = None, path: str = ""
) -> Any:
    client.headers["authorization"] = "Bearer test-key"
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post(f"/api/bulk-orders{path}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.usefixtures("made")
async def test_an_order_is_previewed_placed_once_shown_and_stopped(client: httpx.AsyncClient) -> None:
    """A person sees how many debits and how much money an order is about before it is one, and can end it."""
    body = {"action": "void", "filters": {"status": "declined"}}
    preview = await _post(client, body | {"dry_run": True}, status=200)
    assert preview["totals"] == [
        {"refused": "nothing_collected", "currency": "EUR", "count": 4, "amount_minor": 400}
    ]
    assert preview["more"] is False
    assert "Say why" in (await _post(client, body, status=422))["detail"]
    body = {"action": "inquire", "filters": {"status": "declined"}, "reason": "the bank  disagrees"}
    order = await _post(client, body, status=202, key="one")
    assert await _post(client, body, status=202, key="one") == order
    assert (order["state"], order["ordered_by"], order["reason"]) == (
        "working",
        "tests",
        "the bank disagrees",
    )
    page = (await client.get("/api/bulk-orders")).json()
    assert [found["id"] for found in page["items"]] == [order["id"]]
    for params, count in (
        ({"action": "inquire", "status": "working"}, 1),
        ({"action": "void"}, 0),
        ({"status": "finished"}, 0),
    ):
        assert (await client.get("/api/bulk-orders", params={**params, "format": "count"})).json()[
            "count"
        ] == count, params
    detail = (await client.get(f"/api/bulk-orders/{order['id']}")).json()
    assert detail == {"order": order, "totals": []}
    stopped = await _post(client, None, status=200, path=f"/{order['id']}/stop")
    assert stopped["state"] == "stopped"
    assert "stopped" in (await _post(client, None, status=409, path=f"/{order['id']}/stop"))["detail"]
    items = await client.get(f"/api/bulk-orders/{order['id']}/items", params={"format": "csv"})
    assert items.content.decode("utf-8-sig").startswith("id;amount;currency;refused;refused_reason")


async def test_orders_that_cannot_be_meant_are_refused(client: httpx.AsyncClient) -> None:
    """An order whose filter is dropped or misread would be about everything; one by an old preview about more than anybody saw."""
    yesterdays = encode_timed_cursor(datetime.now(UTC) - timedelta(hours=25), 9)
    for body, status, word in (
        ({"action": "void", "filters": {}}, 422, "at least one filter"),
        ({"action": "void", "filters": {"run": ""}}, 422, "at least one filter"),
        ({"action": "void", "filters": {"runn": "7"}}, 422, "unknown field"),
        ({"action": "void", "filters": {"run": "seven"}}, 422, "filters"),
        ({"action": "void", "filters": {"run": str(2**63)}}, 422, "filters"),
        ({"action": "void", "filters": {"amount_min_minor": "5"}}, 422, "narrows another filter"),
        ({"action": "void", "filters": {"created_from": "2026-03-02T12:00:00"}}, 422, "offset"),
        ({"action": "replay", "filters": {"status": "lost"}}, 422, "filters"),
        ({"action": "lift", "filters": {"reason": "a\x00"}}, 422, "zero byte"),
        ({"action": "lift", "filters": {"which": "all"}}, 422, "at least one filter"),
        ({"action": "lift", "filters": {"name": "Ada"}}, 422, "unknown field"),
        ({"action": "refund", "filters": {"status": "approved"}}, 422, "one of run, upload and debtor"),
        ({"action": "recover", "filters": {"status": "missed"}}, 422, "collection_plan"),
        ({"action": "waive", "filters": {"collection_plan": "77"}}, 422, "no such collection plan"),
        ({"action": "redeliver", "filters": {"subscriber": "77"}}, 422, "no such subscriber"),
        ({"action": "delete", "filters": {"run": "7"}}, 400, "action"),
        ({"action": "void", "filters": {"run": "7"}, "previewed": "x"}, 422, "cursor"),
        ({"action": "void", "filters": {"run": "7"}, "previewed": yesterdays}, 422, "older than an hour"),
    ):
        problem = await _post(client, body | {"reason": "a test"}, status=status)
        assert word.lower() in str(problem).lower(), (body, problem)
    assert (await client.get("/api/bulk-orders/9")).status_code == 404
    assert (await client.get("/api/bulk-orders/9/items")).status_code == 404
    await _post(client, None, status=404, path="/9/stop")


@pytest.mark.usefixtures("made")
async def test_rows_that_match_after_the_preview_are_not_part_of_the_order(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A person who saw four debits would otherwise order something for five."""
    body = {"action": "inquire", "filters": {"status": "declined"}}
    preview = await _post(client, body | {"dry_run": True}, status=200)
    with psycopg.connect(database_url) as conn:
        row = conn.execute("select max(id) from billing_attempts where state = 'declined'").fetchone()
        conn.execute("update billing_attempts set state = 'declined', payment_stage = 50 where id > 4")
    order = await _post(
        client, body | {"reason": "a test", "previewed": preview["previewed"]}, status=202, key="one"
    )
    with psycopg.connect(database_url) as conn:
        begins = conn.execute("select position from bulk_orders where id = %s", [order["id"]]).fetchone()
    assert row is not None
    assert begins == (row[0] + 1,)


@pytest.mark.usefixtures("made")
async def test_each_action_needs_the_permission_and_the_accounts_of_its_single_order(
    client: httpx.AsyncClient,
) -> None:
    """A viewer, or a partner who may see one account, must not reach by a filter what is closed one by one."""

    async def made(**body: Any) -> str:
        answer = await client.post("/api/api-keys", json=body, headers={"authorization": "Bearer test-key"})
        return str(answer.json()["secret"])

    async def status(secret: str, action: str, filters: dict[str, str], **more: Any) -> int:
        body = {"action": action, "filters": filters, **more}
        headers = {"authorization": f"Bearer {secret}"}
        return (await client.post("/api/bulk-orders", json=body, headers=headers)).status_code

    viewer = await made(name="looks", role="viewer")
    for action, filters in {
        "replay": {"status": "parked"},
        "inquire": {"run": "7"},
        "void": {"run": "7"},
        "refund": {"run": "7"},
        "lift": {"source": "import"},
        "withdraw": {"status": "failed"},
        "pause_schedules": {"collection_plan": "1"},
        "resume_schedules": {"collection_plan": "1"},
        "end_schedules": {"collection_plan": "1"},
        "recover": {"collection_plan": "1"},
        "waive": {"collection_plan": "1"},
        "redeliver": {"subscriber": "1"},
    }.items():
        assert await status(viewer, action, filters, dry_run=True) == 403, action
    partner = await made(name="partner", role="operator", accounts=["default"])
    assert await status(partner, "inquire", {"status": "declined"}, reason="a test") == 403
    assert (
        await status(partner, "inquire", {"status": "declined", "account": "other"}, reason="a test") == 403
    )
    assert await status(partner, "replay", {"status": "parked"}, reason="a test") == 403
    own = {"status": "declined", "account": "default"}
    assert await status(partner, "inquire", own, reason="a test") == 202
    other = await _post(client, {"action": "void", "filters": {"run": "7"}, "reason": "a test"}, status=202)
    headers = {"authorization": f"Bearer {partner}"}
    assert (await client.get("/api/bulk-orders/1", headers=headers)).json()["order"]["filters"] == own
    for path in (
        f"/api/bulk-orders/{other['id']}",
        f"/api/bulk-orders/{other['id']}/items",
        "/api/bulk-orders",
    ):
        assert (await client.get(path, headers=headers)).status_code in {403, 404}, path
    for order, secret, expected in ((other["id"], partner, 404), (1, viewer, 403), (1, partner, 200)):
        answer = await client.post(
            f"/api/bulk-orders/{order}/stop", headers={"authorization": f"Bearer {secret}"}
        )
        assert answer.status_code == expected, answer.text


async def test_an_order_about_a_plan_belongs_to_the_account_of_the_plan(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A partner pauses the schedules of an own plan, sees that order alone, and learns nothing of the plans of others."""
    client.headers["authorization"] = "Bearer test-key"
    key = {"name": "partner", "role": "operator", "accounts": ["default"]}
    partner = {"authorization": f"Bearer {(await client.post('/api/api-keys', json=key)).json()['secret']}"}
    for name in ("own", "other"):
        assert (await client.post("/api/collection-plans", json={"name": name})).status_code == 201
    with psycopg.connect(database_url) as conn:
        conn.execute("update collection_plans set account = 'other' where id = 2")
    body = {"action": "pause_schedules", "reason": "a test"}
    own = await client.post(
        "/api/bulk-orders", json=body | {"filters": {"collection_plan": "1"}}, headers=partner
    )
    assert own.status_code == 202, own.text
    refused = [
        await client.post(
            "/api/bulk-orders", json=body | {"filters": {"collection_plan": plan}}, headers=partner
        )
        for plan in ("2", "77")
    ]
    assert {answer.status_code for answer in refused} == {422}
    assert refused[0].json()["detail"] == refused[1].json()["detail"]
    other = await client.post("/api/bulk-orders", json=body | {"filters": {"collection_plan": "2"}})
    assert (await client.get(f"/api/bulk-orders/{own.json()['id']}", headers=partner)).status_code == 200
    assert (await client.get(f"/api/bulk-orders/{other.json()['id']}", headers=partner)).status_code == 404


@pytest.mark.parametrize(
    ("action", "path", "besides"),
    [
        ("replay", "/api/webhook-events", set()),
        ("void", "/api/billing-attempts", set()),
        ("withdraw", "/api/uploads", set()),
        ("lift", "/api/blacklist", {"name", "email"}),  # personal, and orders are kept for good
        ("pause_schedules", "/api/collection-plans/{collection_plan_id}/schedules", set()),
        ("waive", "/api/collection-plans/{collection_plan_id}/due-items", set()),
        ("redeliver", "/api/subscribers/{subscriber_id}/deliveries", set()),
    ],
)
def test_an_order_takes_the_filters_of_its_list(action: BulkAction, path: str, besides: set[str]) -> None:
    """A filter that the button does not know would make it act on more than the list and its count show."""
    operations = application(Settings.from_env({})).openapi_schema.to_schema()["paths"][path]["get"]
    listed = {
        item["name"].removesuffix("_id") if item["in"] == "path" else item["name"]
        for item in operations["parameters"]
    }
    listed -= {"cursor", "limit", "format"}
    assert listed - besides == set(FILTERS[action].__struct_fields__)
