"""Debtors over HTTP: found by what people know of them, and never shown with a whole account number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban as ibans

if TYPE_CHECKING:
    import httpx

DE, AT, NL = "DE89370400440532013000", "AT611904300234573201", "NL91ABNA0417164300"
PEOPLE: list[tuple[int, int, str, str, int, str | None, str, str | None]] = [
    (1, 2, DE, "Jürgen Müller", 500, "R1", "clear", None),
    (1, 3, AT, "Anna-Maria O'Neil", 300, "R2", "clear", None),
    (
        1,
        4,
        DE,
        "Jürgen Müller",
        500,
        "R1",
        "duplicate_in_file",
        "It is the same debit as row 2 of this file.",
    ),
    (1, 5, NL, "李 Wei", 900, None, "clear", None),
    (2, 2, NL, "Annabel Lee", 100, "R1", "blacklisted", "The account is blocked: AC04."),
]


@pytest.fixture
async def api(client: httpx.AsyncClient, database_url: str) -> httpx.AsyncClient:
    """A client that shows its key, and five debtors of two uploads."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for upload, row, iban, name, amount, reference, verdict, cause in PEOPLE:
            conn.execute(
                "insert into debtors (upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, reference,"
                " verdict, cause, extra, created_at) values (%s, %s, %s, %s, %s, %s, 'EUR', %s, %s, %s, %s, now())",
                [upload, row, iban, ibans.fingerprint(iban), name, amount, reference, verdict, cause,
                 f'{{"old_iban": "{DE}", "floor": "2"}}'],
            )  # fmt: skip
        conn.execute(
            "insert into problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note)"
            " values (1, 3, 0, 'warning', 'BIC', 'bic_invalid', 'X', 'It is excluded.')"
        )
    client.headers["Authorization"] = "Bearer test-key"
    return client


async def found(api: httpx.AsyncClient, **filters: Any) -> list[tuple[int, int]]:
    """Upload and row of what a search finds, page by page."""
    seen: list[tuple[int, int]] = []
    cursor: str | None = None
    while True:
        answer = await api.get(
            "/api/debtors", params={**filters, "limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [(item["upload_id"], item["row"]) for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return seen


async def test_debtors_are_listed_newest_first(api: httpx.AsyncClient) -> None:
    """A page skipped or shown twice would have people look for a debtor who is there."""
    assert await found(api) == [(2, 2), (1, 5), (1, 4), (1, 3), (1, 2)]


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({"upload": 2}, [(2, 2)]),
        ({"verdict": "clear"}, [(1, 5), (1, 3), (1, 2)]),
        ({"verdict": "blacklisted"}, [(2, 2)]),
        ({"upload": 1, "verdict": "duplicate_in_file"}, [(1, 4)]),
        ({"name": "MÜLLER jür"}, [(1, 4), (1, 2)]),
        ({"name": "ann"}, [(2, 2), (1, 3)]),
        ({"name": "o'neil"}, [(1, 3)]),
        ({"name": "李"}, [(1, 5)]),
        ({"name": "üller"}, []),
        ({"reference": "R1"}, [(2, 2), (1, 4), (1, 2)]),
        ({"reference": "R1", "upload": 2}, [(2, 2)]),
        ({"iban_tail": "3201"}, [(1, 3)]),
        ({"iban_tail": "4300", "name": "lee"}, [(2, 2)]),
    ],
    ids=str,
)
async def test_debtors_are_found_by_what_people_know_of_them(
    api: httpx.AsyncClient, filters: dict[str, Any], rows: list[tuple[int, int]]
) -> None:
    """Support staff know a name, a reference, or the last characters of an IBAN."""
    assert await found(api, **filters) == rows


@pytest.mark.parametrize(
    ("sort", "rows"),
    [("row", [2, 3, 4, 5]), ("amount", [3, 2, 4, 5]), ("-amount", [5, 2, 4, 3]), ("name", [3, 2, 4, 5])],
)
async def test_the_debtors_of_an_upload_are_sorted(
    api: httpx.AsyncClient, sort: str, rows: list[int]
) -> None:
    """Equal amounts and names at the end of a page must not make a row vanish."""
    assert await found(api, upload=1, sort=sort) == [(1, row) for row in rows]


@pytest.mark.parametrize(
    "params",
    [
        {"sort": "amount"},
        {"sort": "colour", "upload": 1},
        {"verdict": "unheard_of"},
        {"name": "..."},
        {"iban_tail": "12345"},
        {"iban_tail": "12 4"},
        {"cursor": "x"},
        {"cursor": "x", "upload": 1, "sort": "name"},
        {"cursor": "WyJyb3ciLCJ4IiwxXQ", "upload": 1, "sort": "row"},
        {"upload": 0},
        {"limit": 0},
    ],
    ids=str,
)
async def test_a_search_that_cannot_be_meant_is_refused(
    api: httpx.AsyncClient, params: dict[str, Any]
) -> None:
    """A filter excluded silently would show everybody."""
    answer = await api.get("/api/debtors", params=params)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_one_debtor_is_shown_with_everything_but_the_account(api: httpx.AsyncClient) -> None:
    """Screens are photographed and printed; an account number on them has served its purpose with eight characters."""
    listed = (await api.get("/api/debtors", params={"upload": 1, "sort": "row"})).json()["items"]
    payload = (await api.get(f"/api/debtors/{listed[1]['id']}")).json()
    assert payload["debtor"]["debtor"] == listed[1]
    assert listed[1]["iban_masked"] == "AT61************3201"
    assert payload["debtor"]["extra"] == {"old_iban": "DE89**************3000", "floor": "2"}
    assert [warning["code"] for warning in payload["warnings"]] == ["bic_invalid"]
    everything = str(listed) + str(payload)
    assert DE not in everything
    assert AT not in everything
    assert (await api.get("/api/debtors/99999")).status_code == 404
