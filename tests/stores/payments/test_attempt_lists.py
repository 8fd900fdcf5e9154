"""Lists of billing attempts by filters: every combination finds what fits, and a page examines a bounded number of attempts."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.errors import InvalidRequest
from tether_core.payments.filters import AttemptFilters, led_by
from tether_sandbox.seed import seed
from tether_stores.payments import attempt_lists

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection


# Each fits some attempts of `made` and not others.
FILTERS: dict[str, Any] = {
    "run_id": 1,
    "upload_id": 1,
    "debtor_id": 4,
    "reason_code": "AC04",
    "state": "chargebacked",
    "account": "second",
    "amount_min_minor": 1_500,
    "amount_max_minor": 2_500,
    "created_from": NOON + timedelta(minutes=2),
    "created_to": NOON + timedelta(minutes=20),
    "updated_from": NOON + timedelta(hours=1),
    "updated_to": NOON + timedelta(hours=3),
}

_UPLOADS = """
    insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)
    values ('a', 'a.csv', 1, '', 'completed', %(now)s, %(now)s), ('b', 'b.csv', 1, '', 'completed', %(now)s, %(now)s)
"""
_RUNS = """
    insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)
    values (1, 'default', 'a', 'running', '', '', 'ops', %(now)s, %(now)s),
           (1, 'default', 'b', 'running', '', '', 'ops', %(now)s, %(now)s),
           (2, 'default', 'a', 'running', '', '', 'ops', %(now)s, %(now)s)
"""
_SPREAD = """
    update billing_attempts set
        run_id = nullif(id %% 4, 0), due_item = 'a', try_number = 1,
        account = case when id %% 2 = 0 then 'second' else 'default' end,
        amount_minor = 1000 + (id %% 3) * 1000,
        reason_code = case when id %% 5 < 2 then 'AC04' end,
        state = case when id %% 5 < 2 then 'chargebacked' else 'approved' end,
        payment_stage = 60, dispute_stage = case when id %% 5 < 2 then 1 else 0 end,
        created_at = %(now)s + id * interval '1 minute',
        updated_at = %(now)s + (id %% 4) * interval '1 hour'
"""


@pytest.fixture
def made(database_url: str) -> list[dict[str, Any]]:
    """Thirty attempts of three runs, and of none, that differ in all that can be filtered."""
    list(seed(database_url, attempts=30, rng=random.Random(1), now=NOON))
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as conn:
        for statement in (_UPLOADS, _RUNS, _SPREAD):
            conn.execute(statement, {"now": NOON})
        return conn.execute(
            "select a.*, r.upload_id from billing_attempts a left join billing_runs r on r.id = a.run_id"
        ).fetchall()


def _fits(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    for name, value in filters.items():
        field, _, bound = name.rpartition("_")
        if bound == "from":
            good = row[f"{field}_at"] >= value
        elif bound == "to":
            good = row[f"{field}_at"] < value
        elif name == "amount_min_minor":
            good = row["amount_minor"] >= value
        elif name == "amount_max_minor":
            good = row["amount_minor"] <= value
        else:
            good = row[name] == value
        if not good:
            return False
    return True


async def _walk(
    conn: Connection, filters: AttemptFilters, *, limit: int = 4, examined_max: int = 20
) -> list[int]:
    found: list[int] = []
    before: Any = None
    for _ in range(100):
        page = await attempt_lists.page_of(
            conn,
            filters,
            lead=led_by(filters),
            limit=limit,
            before=before,
            examined_max=examined_max,
        )
        assert len(page.attempts) <= limit
        found += [attempt.id for attempt in page.attempts]
        if page.last is None:
            return found
        before = page.last
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("examined_max", [1, 3, 20])
async def test_every_pair_of_filters_finds_what_fits_once_and_in_order(
    conn: Connection, made: list[dict[str, Any]], examined_max: int
) -> None:
    """
    An operator who combines filters counts money by what is listed.

    A filter that is passed over where another one leads, or a page that ends early and hides the rest, makes the sum wrong.
    """
    for names in [*combinations(FILTERS, 1), *combinations(FILTERS, 2)]:
        wanted = {name: FILTERS[name] for name in names}
        filters = AttemptFilters(**wanted)
        try:
            led_by(filters)
        except InvalidRequest:
            assert all(name.startswith(("amount", "updated")) for name in names)
            continue
        expected = sorted((row["id"] for row in made if _fits(row, wanted)), reverse=True)
        assert await _walk(conn, filters, examined_max=examined_max) == expected, names


async def test_all_filters_at_once(conn: Connection, made: list[dict[str, Any]]) -> None:
    """All of them together are one question with one answer."""
    for row in made:
        wanted = {
            "unique_id": row["unique_id"],
            "transaction_id": row["transaction_id"],
            "debtor_id": row["debtor_id"],
            "run_id": row["run_id"],
            "upload_id": row["upload_id"],
            "reason_code": row["reason_code"],
            "state": row["state"],
            "account": row["account"],
            "amount_min_minor": row["amount_minor"],
            "amount_max_minor": row["amount_minor"],
            "created_from": row["created_at"],
            "created_to": row["created_at"] + timedelta(microseconds=1),
            "updated_from": row["updated_at"],
            "updated_to": row["updated_at"] + timedelta(microseconds=1),
        }
        assert await _walk(conn, AttemptFilters(**wanted)) == [row["id"]]


async def test_attempts_of_one_timestamp_are_listed_once(
    conn: Connection, made: list[dict[str, Any]], database_url: str
) -> None:
    """A run makes thousands of attempts in one transaction, all of one time; a page must not skip those at its edge."""
    with psycopg.connect(database_url) as plain:
        plain.execute("update billing_attempts set created_at = %s", [NOON])
    everything = sorted((row["id"] for row in made), reverse=True)
    assert await _walk(conn, AttemptFilters(created_from=NOON), limit=7) == everything


async def test_a_page_stops_where_it_has_looked_far_enough(
    conn: Connection, made: list[dict[str, Any]]
) -> None:
    """A filter that hardly anything fits would read ten million attempts for one page, and block the pool meanwhile."""
    assert len(made) == 30
    filters = AttemptFilters(state="approved", amount_min_minor=10_000_000)
    page = await attempt_lists.page_of(
        conn, filters, lead=led_by(filters), limit=10, before=None, examined_max=5
    )
    assert (page.attempts, page.last is None) == ([], False)
    end = await attempt_lists.page_of(
        conn, filters, lead=led_by(filters), limit=10, before=None, examined_max=50
    )
    assert (end.attempts, end.last) == ([], None)
