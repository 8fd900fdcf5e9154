"""Chargebacks over HTTP: counted by code, listed by code and upload, and written as a file that a spreadsheet program can open."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.seed import seed
from tether_stores.payments import chargebacks
from tether_stores.postgres import open_pool
from tether_stores.queries import load

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx

FIGURES = load("figures")
# Attempt -> code; 1 to 3 are of upload 1, 4 and 5 of upload 2, the others of no run. 8 was won back, 9 is collected.
CODES = {1: "AC04", 2: "AC04", 3: "MD06", 4: "AC04", 5: None, 6: "MD06", 7: None}


@pytest.fixture
def made(database_url: str) -> None:
    """Nine debits, seven of them charged back."""
    list(seed(database_url, attempts=9, rng=random.Random(1), now=NOON))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " select 'o' || n, 'a.csv', 1, '', 'completed', %(now)s, %(now)s from generate_series(1, 2) n",
            {"now": NOON},
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " select n, 'default', 'a', 'running', '', '', 'ops', %(now)s, %(now)s from generate_series(1, 2) n",
            {"now": NOON},
        )
        conn.execute(
            "update billing_attempts set amount_minor = 100 * id, payment_stage = 60, state = 'approved',"
            " account = case when id = 2 then 'second' else 'default' end,"
            " run_id = case when id <= 3 then 1 when id <= 5 then 2 end, due_item = 'a', try_number = 1"
        )
        for row_id, code in CODES.items():
            conn.execute(
                "update billing_attempts set state = 'chargebacked', dispute_stage = %s, reason_code = %s where id = %s",
                [3 if row_id == 6 else 1, code, row_id],
            )
        conn.execute("update billing_attempts set dispute_stage = 2, reason_code = 'AC04' where id = 8")
        conn.execute("update debtors set name = '=cmd()', reference = 'R-1' where id = 3")


async def _get(client: httpx.AsyncClient, path: str = "", **params: Any) -> Any:
    client.headers["authorization"] = "Bearer test-key"
    answer = await client.get(f"/api/chargebacks{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _ids(client: httpx.AsyncClient, **params: Any) -> list[int]:
    return [item["attempt_id"] for item in (await _get(client, **params))["items"]]


@pytest.mark.usefixtures("made")
async def test_counts_and_money_by_code(client: httpx.AsyncClient) -> None:
    """Who decides whether a list is stopped reads these sums; a debit that was won back is not among them."""
    result = await _get(client, "/by-code")
    assert result["count"] == 7
    assert [
        (code["reason_code"], code["currency"], code["count"], code["amount_minor"])
        for code in result["codes"]
    ] == [
        ("AC04", "EUR", 3, 700),
        ("MD06", "EUR", 2, 900),
        (None, "EUR", 2, 1200),
    ]
    assert all(code["meaning"] for code in result["codes"])
    of_upload = (await _get(client, "/by-code", upload=1))["codes"]
    assert [(item["reason_code"], item["count"], item["amount_minor"]) for item in of_upload] == [
        ("AC04", 2, 300),
        ("MD06", 1, 300),
    ]
    of_account = (await _get(client, "/by-code", account="second"))["codes"]
    assert [(item["reason_code"], item["amount_minor"]) for item in of_account] == [("AC04", 200)]
    assert await _get(client, "/by-code", account="nobody") == {"count": 0, "codes": []}


@pytest.mark.usefixtures("made")
async def test_counts_by_code_are_those_of_the_debits(client: httpx.AsyncClient, database_url: str) -> None:
    """The counts come from sums; a code that changes, a chargeback that is won back and one that returns must move them."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for change in (
            "reason_code = 'MS03'",
            "state = 'approved', dispute_stage = 2",
            "state = 'chargebacked', dispute_stage = 3, reason_code = null",
            "account = 'second'",
            "amount_minor = 5",
        ):
            conn.execute(f"update billing_attempts set {change} where id in (1, 7)".encode())
            stored = conn.execute(
                "select reason_code, currency, count(*), sum(amount_minor)::bigint from billing_attempts"
                " where state = 'chargebacked' group by 1, 2"
            ).fetchall()
            result = (await _get(client, "/by-code"))["codes"]
            counted = [
                (code["reason_code"], code["currency"], code["count"], code["amount_minor"])
                for code in result
            ]
            assert sorted(counted, key=str) == sorted(stored, key=str), change
            # The periodic task adds changes to the sums.
            conn.execute(FIGURES["add_changes"], {"limit": 1_000})


@pytest.mark.usefixtures("made")
async def test_rows_by_code_and_upload(client: httpx.AsyncClient) -> None:
    """An ignored filter would show the chargebacks of another upload, and the wrong one would be stopped."""
    assert await _ids(client) == [7, 6, 5, 4, 3, 2, 1]
    assert await _ids(client, reason_code="ac04") == [4, 2, 1]
    assert await _ids(client, reason_code="none") == [7, 5]
    assert await _ids(client, upload=1) == [3, 2, 1]
    assert await _ids(client, upload=1, reason_code="AC04") == [2, 1]
    assert await _ids(client, upload=2, reason_code="none") == [5]
    assert await _ids(client, reason_code="AC04", account="second") == [2]
    page = await _get(client, limit=4)
    rest = await _get(client, limit=4, cursor=page["next"])
    assert [item["attempt_id"] for item in (*page["items"], *rest["items"])] == [7, 6, 5, 4, 3, 2, 1]
    assert rest["next"] is None
    third = (await _get(client, upload=1))["items"][0]
    assert (third["upload_id"], third["run_id"], third["reference"], third["lost_again"]) == (
        1,
        1,
        "R-1",
        False,
    )
    assert "*" in third["iban_masked"]
    for params, status in (
        ({"upload": 9}, 404),
        ({"reason_code": "A-1"}, 422),
        ({"cursor": "x"}, 422),
        ({"code": "AC04"}, 400),
    ):
        assert (await client.get("/api/chargebacks", params=params)).status_code == status, params
    assert (await client.get("/api/chargebacks/by-code", params={"upload": 9})).status_code == 404


@pytest.mark.usefixtures("made")
async def test_a_file_has_all_rows_and_runs_nothing(client: httpx.AsyncClient) -> None:
    """It is opened in a spreadsheet program: a debtor's name that begins with "=" would be run there."""
    client.headers["authorization"] = "Bearer test-key"
    answer = await client.get("/api/chargebacks", params={"format": "csv", "upload": 1})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "chargebacks of upload 1.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    assert [(row["attempt"], row["amount"], row["reason_code"]) for row in rows] == [
        ("3", "3.00", "MD06"),
        ("2", "2.00", "AC04"),
        ("1", "1.00", "AC04"),
    ]
    assert rows[0]["name"] == "'=cmd()"


@pytest.mark.usefixtures("made")
async def test_a_page_looks_at_a_bounded_number(database_url: str) -> None:
    """With a rare filter one page would read all chargebacks of ten years."""
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        for wanted, expected in (
            ({"upload_id": None, "reason_code": None, "account": "second"}, [2]),
            ({"upload_id": 1, "reason_code": "AC04", "account": None}, [2, 1]),
            ({"upload_id": None, "reason_code": "AC04", "account": "default"}, [4, 1]),
            ({"upload_id": None, "reason_code": "", "account": "default"}, [7, 5]),
        ):
            found, before, pages = list[int](), None, 0
            while pages == 0 or before is not None:
                rows, before = await chargebacks.page_of(
                    conn,
                    **wanted,
                    before=before,
                    limit=5,
                    examined_max=2,
                )
                found += [row.attempt_id for row in rows]
                pages += 1
            assert found == expected
            assert pages > 1
