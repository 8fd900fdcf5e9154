"""Checks of accounts over HTTP: a sample, what was answered by bank, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API of an installation whose service is paid for."""
    more = {"TETHER_VOP_URL": "https://names.invalid/check", "TETHER_VOP_DAY_MAX": "100"}
    async with serving(environment | more) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


async def test_a_sample_is_ordered_and_reported_by_bank(api: httpx.AsyncClient, database_url: str) -> None:
    """Who pays for checks must see what they were good for, and at which banks they are none."""
    owed = [Owed(scripted_iban(number), 1_000) for number in range(40)]
    upload_id, _ = seed_upload(database_url, owed, now=NOW)
    path = f"/api/uploads/{upload_id}/vop"
    some = (await api.post(path, params={"share": 0.5})).json()["requested"]
    assert 5 < some < 35
    assert (await api.post(path, params={"share": 0.5})).json() == {"requested": 0}
    assert (await api.post(path)).json() == {"requested": 40 - some}
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update debtors set bank_bic = case when id % 2 = 0 then 'COBADEFF' end where upload_id = %s",
            [upload_id],
        )
        conn.execute(
            "update vop_checks set state = 'checked', next_at = null, result = 'verified', score = 90, answered = 100, name_percent = 80,"
            " provider = 'http', checked_at = now(), bank_name = case when debtor_id % 2 = 0 then 'Commerzbank' end,"
            " reused_from = case when debtor_id % 4 = 0 then 1 end,"
            " name_answer = (array['yes', 'close', 'no', 'unanswered'])[debtor_id % 4 + 1]"
        )
        conn.execute(
            "insert into vop_uses (account, used_on, calls) values ('default', (now() at time zone 'utc')::date, 7)"
        )
        conn.execute("insert into vop_banks values ('COBADEFF', 20, now(), now() + interval '1 day')")
    report = (await api.get(f"{path}/report")).json()
    assert report["names"] == {"match": 10, "near": 10, "none": 10, "not_available": 10}
    assert report["reused"] == 10
    assert [(row["bank"], row["bank_name"]) for row in report["banks"]] == [
        (None, None),
        ("COBADEFF", "Commerzbank"),
    ]
    assert report["banks"][1]["names"] == {"match": 10, "near": 0, "none": 10, "not_available": 0}
    budget = (await api.get("/api/vop/budget")).json()
    assert (budget["is_metered"], budget["day_max"], budget["month_max"]) == (True, 100, None)
    assert budget["calls"] == [{"account": "default", "day_calls": 7, "month_calls": 7}]
    assert [row["bank"] for row in budget["resting"]] == ["COBADEFF"]


async def test_what_cannot_be_checked_is_refused(api: httpx.AsyncClient, database_url: str) -> None:
    """A share of 10 in place of 0.1 would check everybody."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(1), 1_000)], now=NOW)
    path = f"/api/uploads/{upload_id}/vop"
    for query in ({"share": 10}, {"share": 0}, {"account": "none"}, {"share": 0.5, "again": True}):
        assert (await api.post(path, params=query)).status_code in {400, 422}, query
    assert (await api.get("/api/uploads/99/vop/report")).status_code == 404
