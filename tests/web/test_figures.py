"""Figures over HTTP: the same numbers as JSON and as a file, never two currencies in one sum, and clear refusals."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.seed import seed

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def made(database_url: str) -> None:
    """Twelve debits of two runs: nine collected in euros and one in francs; three returned, one of them with XT33; one refunded."""
    list(seed(database_url, attempts=12, rng=random.Random(1), now=NOON))
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
            "update billing_attempts set created_at = %(now)s, submitted_at = %(now)s, updated_at = %(now)s, amount_minor = 1000,"
            " currency = case when id = 10 then 'CHF' else 'EUR' end, run_id = 1 + id %% 2, due_item = 'a', try_number = 1,"
            " account = case when id = 1 then '=cmd()' else 'default' end",
            {"now": NOON},
        )
        conn.execute(
            "update billing_attempts set payment_stage = 60, state = 'approved', updated_at = now() where id <= 10"
        )
        conn.execute(
            "update billing_attempts set dispute_stage = 1, state = 'chargebacked', updated_at = now(),"
            " reason_code = case when id = 3 then 'XT33' else 'AC04' end where id <= 3"
        )
        conn.execute(
            "update billing_attempts set payment_stage = 80, state = 'refunded', updated_at = now() where id = 4"
        )


async def _get(client: httpx.AsyncClient, path: str = "", *, status: int = 200, **params: Any) -> Any:
    client.headers["authorization"] = "Bearer test-key"
    answer = await client.get(f"/api/figures{path}", params=params)
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.content.decode("utf-8-sig")


@pytest.mark.usefixtures("made")
async def test_figures_by_dimension(client: httpx.AsyncClient) -> None:
    """What is collected, returned and left, by currency; the rate leaves the acquirer's own reasons out of both sides."""
    page = await _get(client)
    francs, euros = page["totals"]
    assert (francs["currency"], francs["collected"]) == ("CHF", {"count": 1, "amount_minor": 1000})
    assert euros["collected"] == {"count": 9, "amount_minor": 9000}
    assert (euros["returned"]["count"], euros["refunded"]["count"], euros["net_minor"]) == (3, 1, 5000)
    assert euros["return_rate"] == round(2 / 8, 4)
    reasons = (await _get(client, by="reason_code", currency="EUR"))["groups"]
    assert {row["key"]: (row["returned"]["count"], row["return_rate"]) for row in reasons} == {
        "": (0, 0.0),
        "AC04": (2, 0.25),
        "XT33": (1, 0.0),
    }
    for by, keys in (
        ("upload", {"1", "2"}),
        ("run", {"1", "2"}),
        ("price_band", {"1000"}),
        ("month", {f"{NOON:%Y-%m}"}),
        ("day", {f"{NOON:%Y-%m-%d}"}),
        ("account", {"=cmd()", "default"}),
    ):
        page = await _get(client, by=by)
        assert {row["key"] for row in page["groups"]} == keys
        assert sum(row["collected"]["count"] for row in page["groups"]) == 10
    cash = await _get(client, basis="cash")
    assert {row["return_rate"] for row in cash["totals"]} == {None}
    assert (await _get(client, upload=1, currency="EUR"))["totals"][0]["collected"]["count"] == 4
    assert (await _get(client, to="2001-01-01"))["groups"] == []


@pytest.mark.usefixtures("made")
async def test_the_file_has_the_same_figures_and_runs_no_formula(client: httpx.AsyncClient) -> None:
    """The file goes to the bookkeeper. It has whole amounts with a point, and a group's name is never a formula."""
    lines = list(csv.DictReader(io.StringIO(await _get(client, by="account", format="csv")), delimiter=";"))
    assert [line["group"] for line in lines] == ["default", "default", "'=cmd()"]
    assert (lines[1]["collected"], lines[1]["collected_amount"], lines[1]["net_amount"]) == (
        "8",
        "80.00",
        "50.00",
    )
    exposure = await _get(client, "/exposure", format="csv", days=2)
    assert exposure.splitlines()[0] == "day;currency;returnable;refundable;unauthorised"


@pytest.mark.usefixtures("made")
async def test_ageing_and_exposure(client: httpx.AsyncClient) -> None:
    """The curve ends where the debits are too young; exposure leaves out what is back already."""
    page = await _get(client, "/ageing", upload=2)
    assert [(curve["upload_id"], curve["currency"]) for curve in page["curves"]] == [
        (2, "EUR"),
        (1, "CHF"),
        (1, "EUR"),
    ]
    second = page["curves"][0]
    assert (second["collected_minor"], second["net_minor"]) == (5000, 3000)
    assert second["points"][-1]["net_share"] == 0.6
    exposure = await _get(client, "/exposure")
    sums = {row["currency"]: row["unauthorised"]["amount_minor"] for row in exposure["totals"]}
    # Nine euro debits, of them three returned and one refunded; all within 13 months, however slow this machine is.
    assert sums == {"CHF": 1000, "EUR": 5000}
    assert {row["upload_id"] for row in exposure["uploads"]} == {1, 2}
    assert len(exposure["days"]) == 2 * 90
    # The files have the same numbers.
    by_upload = list(
        csv.DictReader(io.StringIO(await _get(client, "/exposure", format="csv", by="upload")), delimiter=";")
    )
    assert [
        (line["upload"], line["currency"], line["unauthorised"], line["unauthorised_amount"])
        for line in by_upload
    ] == [
        (
            str(row["upload_id"]),
            row["currency"],
            str(row["unauthorised"]["count"]),
            f"{row['unauthorised']['amount_minor'] / 100:.2f}",
        )
        for row in exposure["uploads"]
    ]
    curves = csv.DictReader(io.StringIO(await _get(client, "/ageing", upload=2, format="csv")), delimiter=";")
    assert [(line["upload"], line["age_days"], float(line["net_share"])) for line in curves] == [
        (str(curve["upload_id"]), str(point["age_days"]), point["net_share"])
        for curve in page["curves"]
        for point in curve["points"]
    ]
    mine = await _get(client, "/exposure", upload=2)
    assert [row["unauthorised"]["count"] for row in mine["totals"]] == [3]


async def test_bad_questions_are_refused_with_a_sentence(client: httpx.AsyncClient) -> None:
    """A filter that is dropped or misread shows the figures of something else."""
    for path, params, status, word in (
        ("", {"by": "colour"}, 400, "by"),
        ("", {"from": "2026-03-02", "to": "2026-03-01"}, 422, "from"),
        ("", {"from": "yesterday"}, 400, "from"),
        ("", {"currency": "euro"}, 422, "currency"),
        ("", {"country": "DEU"}, 422, "country"),
        ("", {"price_band": 7}, 422, "price_band"),
        ("", {"bank": "x"}, 422, "bank"),
        ("/exposure", {"days": 0}, 400, "days"),
        ("/ageing", {}, 400, "upload"),
    ):
        problem = await _get(client, path, status=status, **params)
        assert word in str(problem), problem
    assert "no such upload" in (await _get(client, "/ageing", status=404, upload=9))["detail"]
    assert "no such upload" in (await _get(client, "/exposure", status=404, upload=9))["detail"]
