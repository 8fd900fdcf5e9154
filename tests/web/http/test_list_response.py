"""Lists as files and as counts: the same rows as the pages, none twice, none missing, and no formula among them."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_sandbox.seed import seed
from tether_web.http.list_response import COUNT_MAX, in_form
from tether_web.http.pagination import Page

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx

LISTS = (
    "billing-attempts",
    "debtors",
    "webhook-events",
    "blacklist",
    "billing-runs",
    "refunds",
    "uploads",
    "reconciliation-differences",
    "bulk-orders",
    "collection-plans",
    "mandates",
    "pre-notifications",
)


class Row(msgspec.Struct, frozen=True):
    """A row with money."""

    id: int
    amount_minor: int
    currency: str


@pytest.fixture
def made(database_url: str) -> None:
    """More rows than a page, of three states; a name that is a formula."""
    list(seed(database_url, attempts=1_203, rng=random.Random(1), now=NOON))
    with psycopg.connect(database_url) as conn:
        conn.execute("update debtors set name = '=1+1', amount_minor = 123456 where id = 1")
        conn.execute("update billing_attempts set state = 'declined', payment_stage = 50 where id % 3 = 0")


async def _get(client: httpx.AsyncClient, path: str, **params: Any) -> httpx.Response:
    client.headers["authorization"] = "Bearer test-key"
    return await client.get(f"/api/{path}", params=params)


@pytest.mark.usefixtures("made")
async def test_a_file_has_every_row_that_matches_once(client: httpx.AsyncClient) -> None:
    """The bookkeeper who downloads what the filter matches must get what the screen promised."""
    answer = await _get(client, "billing-attempts", status="declined", format="csv")
    assert answer.status_code == 200
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    assert [int(row["id"]) for row in rows] == list(range(1_203, 0, -3))
    assert {row["status"] for row in rows} == {"declined"}
    count = (await _get(client, "billing-attempts", status="declined", format="count")).json()
    assert (count["count"], count["more"]) == (401, False)
    cents = sum(round(100 * float(row["amount"])) for row in rows)
    assert count["amounts_minor"] == {"EUR": cents}

    debtors = (await _get(client, "debtors", format="csv")).content.decode("utf-8-sig")
    last = list(csv.DictReader(io.StringIO(debtors), delimiter=";"))[-1]
    assert (last["id"], last["name"], last["amount"]) == ("1", "'=1+1", "1234.56")
    assert "****" in last["iban_masked"]


async def test_every_list_has_all_forms_and_refuses_bad_filters_with_a_status(
    client: httpx.AsyncClient,
) -> None:
    """A file that says "400" in its first line is opened by a person who believes that nothing matches."""
    for path in LISTS:
        assert (await _get(client, path, format="count")).json() == {
            "count": 0,
            "more": False,
            "amounts_minor": {},
        }
        text = (await _get(client, path, format="csv")).content.decode("utf-8-sig")
        assert text.startswith("id;")
        assert len(text.splitlines()) == 1
        assert (await _get(client, path, format="xml")).status_code == 400
    assert (await _get(client, "billing-attempts", amount_min_minor=1, format="csv")).status_code == 422
    assert (await _get(client, "debtors", sort="amount", format="csv")).status_code == 422


async def test_a_count_ends_at_its_bound_and_says_so() -> None:
    """A page with a count must not wait for ten million rows, nor call ten thousand all there is."""

    async def load(cursor: str | None, limit: int) -> Page[Row]:
        at = int(cursor or 0)
        return Page([Row(at + n, 2, "EUR") for n in range(limit)], str(at + limit))

    answer = await in_form("count", load, row=Row, name="rows", cursor=None, limit=5)
    assert (answer.content.count, answer.content.more) == (COUNT_MAX, True)
    assert answer.content.amounts_minor == {"EUR": 2 * COUNT_MAX}

    async def sparse(cursor: str | None, _limit: int) -> Page[Row]:
        return Page([], str(int(cursor or 0) + 1))

    answer = await in_form("count", sparse, row=Row, name="rows", cursor=None, limit=5)
    assert (answer.content.count, answer.content.more) == (0, True)
