"""The outbox: facts in the order in which they happened, readable by what wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tether_core import events
from tether_core.events import AttemptStatusChanged, IbanBlocked
from tether_stores import events as events_store
from tether_stores.events import Horizon, Tip

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection


async def test_facts_are_kept_in_order_and_can_be_read_again(conn: Connection) -> None:
    """A subscriber that hears of a chargeback before its approval would book backwards."""
    facts = [
        AttemptStatusChanged(n, f"t-{n}", "pending", "approved", cause="approved", reason_code=None)
        for n in range(50)
    ]
    listed = IbanBlocked(7, "block", "AC04", "DE89**3000")
    await events_store.append(conn, [], now=NOON)
    await events_store.append(conn, [*((None, fact) for fact in facts), (None, listed)], now=NOON)
    cursor = await conn.execute("select name, version, payload, occurred_at from outbox order by id")
    rows = await cursor.fetchall()
    assert [events.decode(row[2]) for row in rows] == [*facts, listed]
    assert {(*row[:2], *row[3:]) for row in rows} == {
        ("attempt.status_changed", 1, NOON),
        ("iban.blocked", 1, NOON),
    }


def test_a_writer_that_came_later_holds_nothing_back() -> None:
    """A look finds one writer, a second one another. Once the first has ended, what the second look saw waits for nobody else."""
    horizon = Horizon()
    assert horizon.complete_to(Tip(0, frozenset({"first"}))) is None
    assert horizon.complete_to(Tip(2, frozenset({"first"}))) is None
    assert horizon.complete_to(Tip(2, frozenset({"later"}))) == 2


@given(st.lists(st.tuples(st.sampled_from(["write", "commit", "roll back", "look"]), st.integers(0, 3))))
def test_what_is_complete_stays_so_and_is_reached_as_soon_as_it_is(steps: list[tuple[str, int]]) -> None:
    """An event passed over is never read again; one held back without need comes late on every busy day."""
    horizon, newest, reached = Horizon(), 0, 0
    writing: dict[str, list[int]] = {}  # by transaction, the ids it was given
    in_sight: set[int] = set()
    looked: list[tuple[int, set[str]]] = []  # what each look saw, and who of those that wrote then still does
    for number, (step, which) in enumerate(steps):
        open_ones = sorted(writing)
        if step == "write":
            newest += 1
            name = open_ones[which] if which < len(open_ones) else f"{number}"
            writing.setdefault(name, []).append(newest)
        elif step == "look":
            tip = Tip(max(in_sight, default=0), frozenset(writing))
            looked.append((tip.id, set(writing)))
            complete = max((top for top, still in looked if not still), default=0)
            reached = max(reached, horizon.complete_to(tip) or 0)
            assert reached == complete
        elif open_ones:
            name = open_ones[which % len(open_ones)]
            ids = writing.pop(name)
            for _, still in looked:
                still.discard(name)
            if step == "commit":
                assert min(ids) > reached, "it would never be read"
                in_sight.update(ids)
