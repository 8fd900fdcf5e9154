"""Checks of accounts over HTTP: a sample, what was answered by bank, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from tether_core.vop import Answers, CallLimits
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import vop as stored
from tether_stores.postgres import open_pool
from tether_worker.check_files import prune_check_files
from tether_worker.vop import Checking, check, checking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from tether_stores.postgres import Pool

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
KNOWN = "DE89370400440532013000"


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
            "update debtors set bank_bic = case when mod(id, 2) = 0 then 'COBADEFF' end where upload_id = %s",
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
    # Lists and files hold the same rows as the counts.
    with psycopg.connect(database_url) as conn:
        conn.execute("update vop_checks set result = 'mismatch' where name_answer = 'no'")
    assert (await api.get(path, params={"format": "count", "result": "mismatch"})).json()["count"] == 10
    assert (await api.get(path, params={"format": "count", "status": "parked"})).json()["count"] == 0
    mismatches = await api.get(path, params={"result": "mismatch", "status": "checked", "limit": 3})
    assert mismatches.json()["results"] == {"verified": 30, "mismatch": 10}
    assert [row["name"] for row in mismatches.json()["checks"]["items"]] == ["no"] * 3
    lines = (await api.get(path, params={"format": "csv", "result": "mismatch"})).text.splitlines()
    assert len(lines) == 11
    assert "attachment" in (await api.get(path, params={"format": "csv"})).headers["content-disposition"]
    for form in ("json", "csv", "count"):
        assert (await api.get("/api/uploads/99/vop", params={"format": form})).status_code == 404
    budget = (await api.get("/api/vop/budget")).json()
    assert (budget["is_metered"], budget["day_max"], budget["month_max"]) == (True, 100, None)
    assert budget["calls"] == [{"account": "default", "day_calls": 7, "month_calls": 7}]
    assert [row["bank"] for row in budget["resting"]] == ["COBADEFF"]


async def test_checks_of_all_uploads_are_found_by_state_and_result(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """Who looks for accounts that are not their debtors' would open each upload in turn, and miss the one from last month."""
    for first in (0, 30):
        owed = [Owed(scripted_iban(first + number), 1_000) for number in range(30)]
        upload_id, _ = seed_upload(database_url, owed, now=NOW)
        assert (await api.post(f"/api/uploads/{upload_id}/vop")).json() == {"requested": 30}
    path = "/api/vop/checks"
    assert (await api.get(path, params={"format": "count", "status": "waiting"})).json()["count"] == 60
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update vop_checks set state = 'checked', next_at = null, result = case when debtor_id % 10 = 0 then 'mismatch' else 'verified' end,"
            " score = 90, answered = 100, provider = 'http', checked_at = now() where debtor_id % 2 = 0"
        )
        conn.execute("update vop_checks set state = 'parked', next_at = null where debtor_id % 10 = 1")
        # Requested again: it waits, and still has its last result.
        conn.execute("update vop_checks set state = 'waiting', next_at = now() where debtor_id = 20")
        expected = conn.execute(
            "select v.debtor_id, d.upload_id, v.state, v.result, v.account from vop_checks v join debtors d on d.id = v.debtor_id"
            " order by v.debtor_id desc"
        ).fetchall()
    filters: tuple[dict[str, str], ...] = (
        {},
        {"status": "waiting"},
        {"status": "parked"},
        {"result": "mismatch"},
        {"result": "mismatch", "status": "checked"},
        {"result": "mismatch", "status": "waiting"},
        {"result": "rejected"},
    )
    for params in filters:
        wanted = [
            row
            for row in expected
            if row[2] == params.get("status", row[2]) and row[3] == params.get("result", row[3])
        ]
        found, cursor, pages = list[tuple[object, ...]](), dict[str, str](), 0
        while pages < 30:
            page = (await api.get(path, params=params | {"limit": "7"} | cursor)).json()
            found += [
                (row["debtor_id"], row["upload_id"], row["state"], row["result"], row["account"])
                for row in page["items"]
            ]
            cursor, pages = {"cursor": page["next"]}, pages + 1
            if page["next"] is None:
                break
        assert found == wanted, params
        assert (await api.get(path, params={**params, "format": "count"})).json() == {
            "count": len(wanted),
            "more": False,
            "amounts_minor": {},
        }
        lines = (await api.get(path, params={**params, "format": "csv"})).text.splitlines()
        assert len(lines) == len(wanted) + 1, params
    for wrong in ({"result": "perhaps"}, {"status": "done"}, {"cursor": "x"}):
        assert (await api.get(path, params=wrong)).status_code in {400, 422}, wrong


async def test_two_filters_look_at_a_bounded_part_of_a_page(
    api: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two filters that seldom fit together would make one page read ten million checks; pages that end early go on."""
    monkeypatch.setattr(stored, "_EXAMINED_MAX", 10)
    owed = [Owed(scripted_iban(number), 1_000) for number in range(30)]
    upload_id, debtors = seed_upload(database_url, owed, now=NOW)
    await api.post(f"/api/uploads/{upload_id}/vop")
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update vop_checks set state = 'checked', next_at = null, result = 'mismatch', score = 10, answered = 100, checked_at = now()"
        )
        conn.execute(
            "update vop_checks set state = 'waiting', next_at = now() where debtor_id = any(%s)",
            [[debtors[0], debtors[9]]],
        )
    params = {"result": "mismatch", "status": "waiting"}
    page = (await api.get("/api/vop/checks", params=params)).json()
    assert (page["items"], page["next"] is not None) == ([], True)
    assert (await api.get("/api/vop/checks", params={**params, "format": "count"})).json()["count"] == 2
    lines = (await api.get("/api/vop/checks", params={**params, "format": "csv"})).text.splitlines()
    assert [line.split(";")[0] for line in lines[1:]] == [str(debtors[9]), str(debtors[0])]


async def test_what_cannot_be_checked_is_refused(api: httpx.AsyncClient, database_url: str) -> None:
    """A share of 10 in place of 0.1 would check everybody."""
    upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(1), 1_000)], now=NOW)
    path = f"/api/uploads/{upload_id}/vop"
    for query in ({"share": 10}, {"share": 0}, {"account": "none"}, {"share": 0.5, "again": True}):
        assert (await api.post(path, params=query)).status_code in {400, 422}, query
    assert (await api.get("/api/uploads/99/vop/report")).status_code == 404


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool, as a worker has one."""
    async with open_pool(database_url, name="tests", max_size=4) as opened:
        yield opened


async def test_a_file_is_checked_without_debtors(
    api: httpx.AsyncClient, database_url: str, pool: Pool
) -> None:
    """A customer service that asks about one account must not put it into a list that is billed."""
    body = f"iban;name\n{KNOWN};=Zoë Miller\nDE00;Bob\n{scripted_iban(1)};Zoe\n".encode()
    sent = (await api.post("/api/vop/files", content=body)).json()
    assert (sent["row_count"], sent["checked"]) == (3, 0)
    asked = list[str]()

    async def provider(iban: str, name: str) -> Answers:
        asked.append(iban)
        return Answers(
            iban="yes", bank="yes", debit="yes", country="yes", name="close" if name == "Zoe" else "yes"
        )

    _, debtors = seed_upload(database_url, [Owed(scripted_iban(1), 1_000, name="zoe")], now=NOW)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into vop_checks (debtor_id, state, requested_at, provider, checked_at, iban_answer, bank_answer, debit_answer,"
            " country_answer, name_answer, name_percent, score, answered, result) values (%s, 'checked', %s, 'tests', %s, 'yes', 'yes', 'yes', 'yes',"
            " 'close', 80, 97, 100, 'verified')",
            [debtors[0], NOW, NOW],
        )
    later = NOW + timedelta(hours=1)
    deps = Checking(pool, provider, "tests", lambda: later, lambda: 0.5, is_metered=True, reuse_days=10)
    deps = msgspec.structs.replace(deps, limits=CallLimits(day_max=1))
    assert await checking(deps).has_pending()
    assert await check(deps) == 3
    # One was taken over from a debtor, one is no IBAN; so one call was enough.
    assert asked == [KNOWN]
    path = f"/api/vop/files/{sent['id']}"
    assert (await api.get(path)).json()["checked"] == 3
    report = (await api.get(f"{path}/report")).json()
    assert report["names"] == {"match": 1, "near": 1, "none": 0, "not_available": 1}
    assert report["reused"] == 1
    found = (await api.get(f"{path}/rows", params={"result": "verified", "limit": 1})).json()
    assert [(row["row_number"], row["name_match"]) for row in found["items"]] == [(2, "match")]
    assert found["items"][0]["iban_masked"] == "DE89**************3000"
    after = await api.get(f"{path}/rows", params={"result": "verified", "cursor": found["next"]})
    assert [(row["row_number"], row["is_reused"]) for row in after.json()["items"]] == [(4, True)]
    assert KNOWN not in (await api.get(f"{path}/rows", params={"format": "csv"})).text
    lines = (await api.get(f"{path}/result")).text.removeprefix("\ufeff").splitlines()
    rows = [line.split(";") for line in lines[1:]]
    assert [(row[1], row[3], row[4], row[6], row[11]) for row in rows] == [
        (KNOWN, "checked", "verified", "match", ""),
        ("DE00", "checked", "rejected", "not available", ""),
        (scripted_iban(1), "checked", "verified", "near", "yes"),
    ]
    assert rows[0][2] == "'=Zoë Miller"
    with psycopg.connect(database_url) as conn:
        assert conn.execute("select count(*) from debtors").fetchone() == (1,)
    assert (await api.post("/api/vop/files", content=b"x")).status_code == 422
    assert (await api.delete(path)).json()["row_count"] == 3
    for part in ("result", "rows", "report"):
        assert (await api.get(f"{path}/{part}")).status_code == 404
    assert (await api.post("/api/vop/files", content=body)).status_code == 202
    await prune_check_files(pool, clock=lambda: NOW + timedelta(days=31)).do()
    assert (await api.get("/api/vop/files")).json() == []
