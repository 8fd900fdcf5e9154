"""Notifications over HTTP: shown without what is personal, and put back to work by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from tether_core.emp.notification import FORM
from tether_core.testing import form_body

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}
PASSWORD = "s3cret-password"
IBAN = "DE89370400440532013000"


async def _send(client: httpx.AsyncClient, unique_id: str, **fields: str) -> None:
    body = form_body({"unique_id": unique_id, "status": "approved"} | fields, secret=PASSWORD)
    answer = await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
    assert answer.status_code == 200


async def _get(client: httpx.AsyncClient, path: str = "", **params: Any) -> Any:
    answer = await client.get(f"/api/webhook-events{path}", params=params, headers=KEY)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute(statement)


async def test_the_detail_masks_what_is_personal(client: httpx.AsyncClient) -> None:
    """Who may read notifications need not read account numbers and names; the stored bytes keep them."""
    await _send(
        client,
        "a1",
        bank_account_number=IBAN,
        account_holder="Ada Lovelace",
        customer_email="ada@example.org",
        usage=f"rent from {IBAN[:4]} {IBAN[4:8]} {IBAN[8:]}",
        terminal_token="t0ken",
        amount="100",
        a_later_field="kept",
    )
    answer = await client.get("/api/webhook-events/1", headers=KEY)
    fields = answer.json()["fields"]
    assert fields["usage"] == "rent from DE89**************3000"
    assert (fields["amount"], fields["a_later_field"], fields["status"]) == ("100", "kept", "approved")
    assert (fields["bank_account_number"], fields["account_holder"], fields["signature"]) == (
        "***",
        "***",
        "***",
    )
    for secret in (IBAN, IBAN[8:], "Lovelace", "ada@"):
        assert secret not in answer.text
    assert answer.json()["event"]["notification_id"] == "a1"
    assert answer.json()["content_type"] == FORM


async def test_lists_filter_by_state_and_payment(client: httpx.AsyncClient, database_url: str) -> None:
    """What is parked waits for a person; a list that hides one of them hides a payment."""
    for unique_id in ("a1", "b2"):
        for status in ("pending_async", "approved"):
            await _send(client, unique_id, status=status)
    _execute(
        database_url, "update webhook_events set state = 'parked', reason = 'x', next_at = null where id = 3"
    )

    async def ids(**params: Any) -> list[int]:
        return [item["id"] for item in (await _get(client, **params))["items"]]

    assert await ids() == [4, 3, 2, 1]
    assert await ids(status="parked") == [3]
    assert await ids(unique_id="a1") == [2, 1]
    assert await ids(unique_id="b2", status="waiting") == [4]
    (parked,) = (await _get(client, status="parked"))["items"]
    assert (parked["state"], parked["reason"], parked["status"]) == ("parked", "x", "pending_async")
    assert "body" not in parked


async def test_pages_neither_skip_nor_repeat_while_notifications_come_in(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A person who goes through what is stored must not miss one because others arrived meanwhile."""
    await _send(client, "first")
    _execute(
        database_url,
        "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
        " state, failures, received_at, next_at) select decode(md5(n::text), 'hex'), content, account, kind, 'n' || n,"
        " status, source, content_type, body, state, failures, received_at, next_at"
        " from webhook_events, generate_series(2, 130) n",
    )
    seen: list[int] = []
    cursor = None
    while True:
        result = await _get(client, limit=40, **({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in result["items"]]
        cursor = result["next"]
        if cursor is None:
            break
        await _send(client, f"meanwhile-{len(seen)}")
    assert seen == list(range(130, 0, -1))


async def test_what_cannot_be_read_any_more_can_still_be_looked_at(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """The rows a person must look at are the odd ones. One that nobody can read must be shown as that."""
    await _send(client, "a1")
    _execute(database_url, "update webhook_events set body = 'gone'")
    result = await _get(client, "/1")
    assert (result["event"]["id"], result["fields"]) == (1, {})


async def test_a_parked_notification_is_put_back_once(client: httpx.AsyncClient, database_url: str) -> None:
    """Only parked notifications can be replayed; in any other state the request is refused and changes nothing."""
    await _send(client, "a1")
    for status in (409, 202, 409):
        if status == 202:
            _execute(
                database_url,
                "update webhook_events set state = 'parked', reason = 'x', failures = 9, next_at = null",
            )
        answer = await client.post("/api/webhook-events/1/replay", headers=KEY)
        assert answer.status_code == status
    assert answer.json()["code"] == "illegal_step"
    (item,) = (await _get(client))["items"]
    assert (item["state"], item["reason"], item["failures"]) == ("waiting", None, 0)
    assert (await client.post("/api/webhook-events/2/replay", headers=KEY)).status_code == 404
