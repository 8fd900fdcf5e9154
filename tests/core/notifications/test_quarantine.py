"""The bounds of the quarantine: what nobody can get around, whatever is posted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.signature import Credential
from tether_core.notifications.quarantine import (
    DAY,
    ROWS_PER_DEBIT_MAX,
    Bounds,
    QuotaUse,
    RefusedNotification,
    account_of,
    decide,
)

BOUNDS = Bounds(days=5, rows_max=40, bytes_max=4_000)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _held(
    rows: list[tuple[RefusedNotification, datetime]], *, now: datetime
) -> dict[tuple[str, bool], QuotaUse]:
    """What the quotas hold, as the table would count it."""
    held: dict[tuple[str, bool], QuotaUse] = {}
    for row, at in rows:
        quota = held.get(row.quota, QuotaUse())
        is_new = at > now - DAY
        held[row.quota] = QuotaUse(
            quota.rows + 1,
            quota.size_bytes + row.size_bytes,
            quota.day_rows + is_new,
            quota.day_bytes + row.size_bytes * is_new,
        )
    return held


_BATCH = st.lists(
    st.tuples(
        st.integers(0, 60),  # the body
        st.sampled_from(["", "default", "second"]),
        st.none() | st.integers(1, 3),  # the debit
        st.integers(1, 2_000),
    ),
    max_size=60,
)


@given(st.lists(st.tuples(st.integers(0, 40), _BATCH), max_size=12))
def test_no_room_ever_holds_more_than_its_quota(
    steps: list[tuple[int, list[tuple[int, str, int | None, int]]]],
) -> None:
    """Anybody may post anything at any rate for weeks; a disk that fills ends the notifications that are genuine."""
    rows: list[tuple[RefusedNotification, datetime]] = []
    now = NOON
    for hours, batch in steps:
        now += timedelta(hours=hours)
        rows = [(row, at) for row, at in rows if at >= BOUNDS.before(now=now)]
        refused = [
            RefusedNotification(bytes([body]), account, debit, size) for body, account, debit, size in batch
        ]
        of_debits = {debit: sum(row.attempt_id == debit for row, _ in rows) for debit in (1, 2, 3)}
        decisions = decide(
            refused,
            stored={row.digest for row, _ in rows},
            held=_held(rows, now=now),
            of_debits=of_debits,
            bounds=BOUNDS,
        )
        assert len(decisions) == len(refused)
        rows += [(each, now) for each, decision in zip(refused, decisions, strict=True) if decision == "kept"]
        digests = [row.digest for row, _ in rows]
        assert len(set(digests)) == len(digests)
        for (_, is_known), quota in _held(rows, now=now).items():
            assert quota.rows <= BOUNDS.rows_max
            assert quota.size_bytes <= BOUNDS.bytes_max
            assert is_known or quota.day_rows <= BOUNDS.rows_max // BOUNDS.days
        for debit in (1, 2, 3):
            assert sum(row.attempt_id == debit for row, _ in rows) <= ROWS_PER_DEBIT_MAX


def test_a_flood_of_strangers_takes_the_room_of_one_day() -> None:
    """After it a wrong password must still be kept, on the same day for debits that we know, and on the next day for others."""
    numbers = count()
    flood = [RefusedNotification(b"%d" % next(numbers), "", None, 1) for _ in range(100_000)]
    decisions = decide(flood, stored=frozenset(), held={}, of_debits={}, bounds=BOUNDS)
    assert decisions.count("kept") == 8
    full = {("", False): QuotaUse(8, 8, 8, 8)}
    genuine = [
        RefusedNotification(b"a", "", 7, 1),
        RefusedNotification(b"b", "default", None, 1),
        RefusedNotification(b"c", "", None, 1),
    ]
    assert decide(genuine, stored=frozenset(), held=full, of_debits={}, bounds=BOUNDS) == [
        "kept", "kept", "over_quota",
    ]  # fmt: skip
    next_day = {("", False): QuotaUse(8, 8, 0, 0)}
    assert decide(genuine[2:], stored=frozenset(), held=next_day, of_debits={}, bounds=BOUNDS) == ["kept"]


def test_a_sender_who_knows_one_debit_gets_no_more_than_its_rows() -> None:
    """One notification that somebody has seen must not open the quota for all debits."""
    flood = [RefusedNotification(b"%d" % number, "default", 7, 1) for number in range(1_000)]
    assert (
        decide(flood, stored=frozenset(), held={}, of_debits={}, bounds=Bounds()).count("kept")
        == ROWS_PER_DEBIT_MAX
    )


def test_a_body_that_is_kept_is_only_counted_again() -> None:
    """The gateway repeats what is refused ten times; ten rows would be a tenth of the quota."""
    again = [RefusedNotification(b"a", "", None, 1)] * 3
    assert decide(again, stored=frozenset(), held={}, of_debits={}, bounds=BOUNDS) == [
        "kept",
        "repeated",
        "repeated",
    ]
    full = {("", False): QuotaUse(40, 1, 40, 1)}
    assert decide(again, stored={b"a"}, held=full, of_debits={}, bounds=BOUNDS) == ["repeated"] * 3


def test_the_account_is_the_one_whose_terminal_is_named() -> None:
    """An empty terminal must not match an account without one."""
    known = [Credential("default", terminal_tokens=("t1", "")), Credential("second", terminal_tokens=("t2",))]
    assert [account_of(token, known) for token in ("t2", "t1", "t3", "", None)] == [
        "second",
        "default",
        "",
        "",
        "",
    ]


def test_what_is_kept_for_longer_than_the_calendar_stays() -> None:
    """A setting of many digits must not stop the task that prunes."""
    assert Bounds(days=10**9).before(now=NOON) == datetime.min.replace(tzinfo=UTC)
