"""Failed sign-ins: tries at once are counted in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tether_stores.people import failures

if TYPE_CHECKING:
    from tether_stores.postgres import Connection

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(milliseconds=5)


async def test_a_try_that_is_counted_after_a_later_one_does_not_wait(conn: Connection) -> None:
    """Two tries at once wait for each other's row: the earlier one found a failure in its future and was refused."""
    assert await failures.count(conn, "ada", address=None, now=NOW) == 0
    assert await failures.count(conn, "ada", address=None, now=EARLIER) == 0
    for _ in range(3):
        assert await failures.count(conn, "ada", address=None, now=EARLIER) == 0
    # The fifth failure begins a wait of one second, counted from the latest try.
    assert await failures.count(conn, "ada", address=None, now=EARLIER) == 2
    assert await failures.count(conn, "ada", address=None, now=NOW + timedelta(seconds=1)) == 0


async def test_an_office_that_signs_in_well_is_not_slowed_down(conn: Connection) -> None:
    """Twenty people behind one address signed in, and the twenty-first waited for minutes."""
    office = "203.0.113.9"
    for number in range(60):
        assert await failures.count(conn, f"user-{number}", address=office, now=NOW) == 0
        await failures.clear(conn, f"user-{number}", address=office)
    # Somebody who knows one password takes back only the tries with that name.
    for number in range(20):
        assert await failures.count(conn, f"guessed-{number}", address=office, now=NOW) == 0
    await failures.clear(conn, "user-1", address=office)
    assert await failures.count(conn, "guessed-20", address=office, now=NOW) > 0
    await failures.forgive(conn, address=office)
    assert await failures.count(conn, None, address=office, now=NOW) == 0
