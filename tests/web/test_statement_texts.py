"""Texts of bank statements: the most special one counts, an order may name its own, and a run keeps what it was ordered with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.target_calendar import bank_day
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a gateway account; nobody works."""
    async with serving(environment | {"EMP_API_URL": "https://gateway.invalid"}) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


async def _put(api: httpx.AsyncClient, text: str, *, status: int = 200, **key: str) -> Any:
    answer = await api.put("/api/statement-texts", json={"text": text, **key})
    assert answer.status_code == status, answer.text
    return answer.json()


async def _ordered(api: httpx.AsyncClient, upload_id: int, due_item: str, **more: str) -> str:
    answer = await api.post(f"/api/uploads/{upload_id}/billing", json={"due_item": due_item, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["options"]["usage"])


async def test_a_run_takes_the_most_special_text_and_keeps_it(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """Debtors send back what they do not recognise; each brand and season has its own words."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(1), 1_000)], now=NOW)
    month = f"{bank_day(NOW):%Y-%m}"
    assert await _ordered(api, upload_id, "a") == "Collection"
    await _put(api, "  Example   club ")
    assert await _ordered(api, upload_id, "b") == "Example club"
    await _put(api, "Of the month", month=month)
    await _put(api, "Of another month", month="2020-01", account="default")
    assert await _ordered(api, upload_id, "c") == "Of the month"
    await _put(api, "Of the account", account="default")
    assert await _ordered(api, upload_id, "d") == "Of the account"
    texts = await _put(api, "Of both", account="default", month=month)
    assert len(texts) == 5
    assert await _ordered(api, upload_id, "e") == "Of both"
    assert await _ordered(api, upload_id, "f", usage="Mine") == "Mine"
    left = await api.delete("/api/statement-texts", params={"account": "default", "month": month})
    assert len(left.json()) == 4
    assert (await api.delete("/api/statement-texts", params={"month": "1999-01"})).status_code == 422
    assert (await api.delete("/api/statement-texts", params={"month": "2099-01"})).status_code == 404
    runs = (await api.get(f"/api/uploads/{upload_id}/billing")).json()
    listed = runs["items"] if isinstance(runs, dict) else runs
    assert [run["options"]["usage"] for run in listed if run["options"]["due_item"] == "e"] == ["Of both"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": " "}, "1 to 140"),
        ({"text": "x" * 141}, "1 to 140"),
        ({"text": "x", "month": "2026-13"}, "2026-12"),
        ({"text": "x", "account": "nobody"}, "gateway account"),
        ({"text": "x\x02"}, "printed"),
    ],
)
async def test_what_no_statement_carries_is_refused(
    api: httpx.AsyncClient, body: dict[str, str], words: str
) -> None:
    """With the field and what to write."""
    refused = await _put(api, **body, status=422)
    assert words in str(refused)
    assert (await api.get("/api/statement-texts")).json() == []
