"""Turns of uploads: which file is read next, with any number of files from one sender."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.uploads.turns import (
    SHORT_BYTES,
    SHORT_S,
    TURN_S,
    WaitingUpload,
    ahead,
    makes_room,
    next_upload,
    turn_s,
    waits_reason,
)

from tests.support.clock import NOON

MB = 1 << 20


def waiting(
    id: int,  # noqa: A002 - as the field is called
    sender: str = "shop",
    size_bytes: int = MB,
    *,
    waited_s: float = 0,
    bytes_read: int = 0,
    read_s: float = 0,
) -> WaitingUpload:
    """Make an upload that has waited for some seconds at noon."""
    since = NOON - timedelta(seconds=waited_s)
    return WaitingUpload(
        id=id, sender=sender, size_bytes=size_bytes, since=since, bytes_read=bytes_read, read_s=read_s
    )


def ago(**seconds: float) -> dict[str, datetime]:
    """Make the last turns of senders, so many seconds before noon."""
    return {sender: NOON - timedelta(seconds=some) for sender, some in seconds.items()}


@pytest.mark.parametrize(
    ("uploads", "turns", "first"),
    [
        ([waiting(1, waited_s=9), waiting(2, waited_s=5)], {}, 1),
        ([waiting(1, size_bytes=50 * MB, waited_s=9), waiting(2, size_bytes=100, waited_s=5)], {}, 2),
        ([waiting(1, size_bytes=50 * MB, waited_s=900), waiting(2, size_bytes=100, waited_s=1)], {}, 1),
        ([waiting(1, "shop", 100, waited_s=900), waiting(2, "club", 50 * MB)], ago(shop=5, club=6), 2),
        ([waiting(1, "shop", 100, waited_s=900), waiting(2, "club", 50 * MB)], ago(shop=5), 2),
        ([waiting(1, "shop", waited_s=9), waiting(2, "club", waited_s=5)], {}, 1),
        ([waiting(1, waited_s=9, read_s=60), waiting(2, waited_s=9)], {}, 2),
        ([waiting(2), waiting(1)], {}, 1),
        ([waiting(1, waited_s=-9), waiting(2, waited_s=-5)], {}, 2),
    ],
    ids=[
        "alike: the one that waits longer",
        "one sender: the short one",
        "one sender: the long one after waiting for long",
        "two senders: whose turn is longer ago",
        "two senders: who had none",
        "two new senders: who waits longer",
        "one that took long takes long",
        "the same time: the first number",
        "times ahead of this clock",
    ],
)
def test_who_is_next(uploads: list[WaitingUpload], turns: dict[str, datetime], first: int) -> None:
    """A wrong order makes somebody wait for somebody else's files."""
    for some in (uploads, uploads[::-1]):
        chosen = next_upload(some, turns=turns, slot="any", now=NOON)
        assert chosen is not None
        assert chosen.id == first


@pytest.mark.parametrize(
    ("upload", "is_short"),
    [
        (waiting(1, size_bytes=SHORT_BYTES), True),
        (waiting(1, size_bytes=SHORT_BYTES + 1), False),
        (waiting(1, size_bytes=9 * MB, bytes_read=9 * MB - 100, read_s=1), True),
        (waiting(1, size_bytes=9 * MB, bytes_read=9 * MB - 100, read_s=20), False),
        (waiting(1, size_bytes=100, read_s=SHORT_S), False),
    ],
    ids=["small", "too large", "nearly done", "nearly done, and slow", "small and slow"],
)
def test_the_slot_for_short_files_takes_no_others(upload: WaitingUpload, *, is_short: bool) -> None:
    """A workbook of some hundred bytes can take a minute: once it has shown that, it must not hold up short files again."""
    assert (next_upload([upload], turns={}, slot="short", now=NOON) is not None) == is_short
    assert next_upload([upload], turns={}, slot="any", now=NOON) is not None


def test_no_upload_is_no_turn() -> None:
    """An idle worker asks all the time."""
    assert next_upload([], turns={}, slot="any", now=NOON) is None
    assert ahead([], 1, turns={}, now=NOON) is None


@pytest.mark.parametrize(
    ("current", "other", "room"),
    [
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(2, "club", 50 * MB), True),
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(2, "shop", 50 * MB), False),
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(2, "shop", MB), True),
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(2, "club", 100, waited_s=1), False),
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(2, "club", 100, waited_s=9), True),
        (waiting(1, "shop", 50 * MB, read_s=9), waiting(1, "club", MB), False),
    ],
    ids=[
        "another sender",
        "the same sender, as long",
        "the same sender, shorter",
        "short: the other slot takes it",
        "short, and the other slot is busy",
        "itself",
    ],
)
def test_who_makes_room_for_whom(current: WaitingUpload, other: WaitingUpload, *, room: bool) -> None:
    """Making room costs reading the file again up to there, so it has to be worth it."""
    assert makes_room(current, [other], now=NOON) == room


@pytest.mark.parametrize(
    ("start_s", "planning_s", "length_s"),
    [(0, 0, TURN_S), (2, 0, TURN_S), (30, 0, 60), (90, 88, TURN_S), (90, 60, 60)],
)
def test_a_turn_lasts_longer_than_its_beginning(start_s: float, planning_s: float, length_s: float) -> None:
    """
    A file whose turns only ever reach the row they ended at would never be read.

    But one that took a minute to plan would keep others waiting for two, although no later turn plans again.
    """
    assert turn_s(start_s, planning_s) == length_s


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 1 << 40), st.floats(0, 1e6), st.floats(0, 1e4)),
        min_size=1,
        max_size=40,
    )
)
def test_everybody_is_served_in_order_and_no_sender_twice_in_a_row(
    some: list[tuple[str, int, float, float]],
) -> None:
    """Each sender has a turn before any sender has its second, with files of any size."""
    uploads = [
        waiting(number, sender, size, waited_s=waited_s, read_s=read_s)
        for number, (sender, size, waited_s, read_s) in enumerate(some)
    ]
    places = {upload.id: ahead(uploads, upload.id, turns={}, now=NOON) for upload in uploads}
    assert sorted(place for place in places.values() if place is not None) == list(range(len(uploads)))
    order = sorted(uploads, key=lambda upload: places[upload.id] or 0)
    senders = {upload.sender for upload in uploads}
    assert {upload.sender for upload in order[: len(senders)]} == senders


@pytest.mark.parametrize(
    ("place", "due_s", "is_held", "was_begun", "sentence"),
    [
        (0, 0, False, False, "It waits for its turn: it is read next."),
        (1, 0, False, False, "It waits for its turn: 1 other upload is read before it."),
        (
            1_200,
            -9,
            False,
            True,
            "It waits for its next turn, because others are read in between: 1,200 other uploads are read before it.",
        ),
        (None, 0, False, False, "It waits for its turn: many other uploads are read before it."),
        (0, 15, False, True, "Reading it was interrupted, and continues automatically at 12:00:15 UTC."),
        (None, 30, True, True, ""),
        (None, None, False, True, ""),
    ],
    ids=[
        "next",
        "one ahead",
        "between two turns",
        "far behind",
        "after a failure",
        "being read",
        "nothing left",
    ],
)
def test_why_an_upload_waits(
    place: int | None, due_s: float | None, sentence: str, *, is_held: bool, was_begun: bool
) -> None:
    """Who waits must see whether anything happens."""
    due_at = None if due_s is None else NOON + timedelta(seconds=due_s)
    assert waits_reason(place, due_at=due_at, is_held=is_held, was_begun=was_begun, now=NOON) == sentence
