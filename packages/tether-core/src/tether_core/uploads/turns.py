"""
Scheduling of uploads: which waiting upload is read next, and when the one being read yields its slot.

File sizes differ by a factor of a million, and one sender may send a thousand files. In the order of arrival, a list of one row would wait
for minutes behind another sender's broken export. So files are read in turns, by two rules:

- **Between senders** (API keys): the sender whose last turn is longest ago is next, however many files the others send. A sender waits
  for at most one turn of each other sender.
- **Among the files of one sender**: the highest response ratio, (waiting time + reading time) / reading time. Short files overtake long ones,
  and a long one that waits long enough is read as well.

Every worker reads in two **slots**: one takes any file; the other takes short files only and leaves each after three seconds, so
that a short file never waits for a long one to be read. A file that takes long counts as long, whatever its size. Where others wait, a turn
of a long file ends after some seconds; the next turn continues behind its last chunk. The start of a turn costs time (the file is fetched and
read up to there), so a turn lasts at least twice as long as its start took. Planning a file happens once and does not count.

Source: round robin between senders; within a sender highest response ratio next (Brinch Hansen, 1971); the two slots are a
feedback queue of two levels (Corbató, 1962).

>>> from datetime import UTC
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> large = WaitingUpload(id=1, sender="shop", size_bytes=50_000_000, since=noon)
>>> small = WaitingUpload(id=2, sender="club", size_bytes=100, since=noon + timedelta(seconds=3))
>>> next_upload([large, small], turns={"shop": noon}, slot="any", now=noon + timedelta(seconds=4)).id
2
>>> next_upload([large], turns={}, slot="short", now=noon) is None
True
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

__all__ = [
    "SHORT_BYTES",
    "SHORT_S",
    "TURN_S",
    "Slot",
    "WaitingUpload",
    "ahead",
    "makes_room",
    "next_upload",
    "turn_s",
    "waits_reason",
]

Slot = Literal["any", "short"]

# A text file of this many bytes is read in less than a second, a workbook in two or three.
SHORT_BYTES: Final = 256 << 10
# A turn in the slot for short files, in seconds.
SHORT_S: Final = 3.0
# A turn of a file for which others wait, in seconds, unless beginning it took long.
TURN_S: Final = 5.0
# What the slowest kind of file is read at.
_BYTES_PER_S: Final = 1 << 20
# Every file takes this long: to fetch it, to plan, to write.
_OVERHEAD_S: Final = 0.5


class WaitingUpload(msgspec.Struct, frozen=True, kw_only=True):
    """
    An upload with work left.

    Attributes:
        id: Its number.
        sender: Whose API key it came with.
        size_bytes: Of the file.
        since: Since when it waits: it came, was answered, or its last turn ended.
        bytes_read: How much of the file is read.
        read_s: How long it was read so far, in seconds.
    """

    id: int
    sender: str
    size_bytes: int
    since: datetime
    bytes_read: int = 0
    read_s: float = 0.0

    @property
    def is_short(self) -> bool:
        """Whether it is likely to be read within `SHORT_S`."""
        return self.size_bytes - self.bytes_read <= SHORT_BYTES and self.read_s < SHORT_S

    @property
    def left_s(self) -> float:
        """How long reading it is likely to take from now on: by its size, and at least as long as it took so far."""
        return max(_OVERHEAD_S, (self.size_bytes - self.bytes_read) / _BYTES_PER_S, self.read_s)


def next_upload(
    waiting: Iterable[WaitingUpload], *, turns: Mapping[str, datetime], slot: Slot, now: datetime
) -> WaitingUpload | None:
    """
    Decide which upload is read next.

    Args:
        waiting: All that wait, or of each sender its oldest and its smallest.
        turns: Sender to the time at which its last turn began; who had none is missing.
        slot: Which slot is free.

    Returns:
        One of them, or `None` where none is for this slot.
    """
    by_sender: dict[str, list[WaitingUpload]] = {}
    for upload in waiting:
        if slot == "any" or upload.is_short:
            by_sender.setdefault(upload.sender, []).append(upload)
    if not by_sender:
        return None

    def turn_of(sender: str) -> tuple[bool, datetime, datetime, str]:
        first = min(upload.since for upload in by_sender[sender])
        return sender in turns, turns.get(sender, first), first, sender

    def precedence(upload: WaitingUpload) -> tuple[float, datetime, int]:
        return -max((now - upload.since).total_seconds(), 0.0) / upload.left_s, upload.since, upload.id

    return min(by_sender[min(by_sender, key=turn_of)], key=precedence)


def turn_s(start_s: float, planning_s: float = 0.0) -> float:
    """
    How long a turn lasts where others wait, in seconds.

    Args:
        start_s: How long it took from its beginning to the first row, in seconds.
        planning_s: How much of that was spent on deciding how the file is read. The plan is kept, so no later turn repeats it.

    >>> turn_s(0.2), turn_s(12.0), turn_s(90.0, planning_s=88.0)
    (5.0, 24.0, 5.0)
    """
    return max(TURN_S, 2 * (start_s - planning_s))


def makes_room(current: WaitingUpload, waiting: Iterable[WaitingUpload], *, now: datetime) -> bool:
    """
    Decide whether a file whose turn has ended yields the slot to others.

    It stays where nobody else gains: where only short files wait, which the other slot takes, and where its own sender has
    only files that take about as long, because the first of two lists is of more use than two halves.

    Args:
        current: The upload being read, its reading time up to now.
        waiting: Those that wait.
    """
    return any(
        (upload.sender != current.sender or upload.left_s < current.left_s / 2)
        and (not upload.is_short or now - upload.since > timedelta(seconds=SHORT_S))
        for upload in waiting
        if upload.id != current.id
    )


def ahead(
    waiting: Iterable[WaitingUpload], upload_id: int, *, turns: Mapping[str, datetime], now: datetime
) -> int | None:
    """
    Count the uploads that have a turn before this one, if none comes in between.

    Args:
        waiting: As for `next_upload`.
        upload_id: Whose place is wanted.
        turns: As for `next_upload`.

    Returns:
        0 where it is next; `None` where it is not among them.
    """
    left = {upload.id: upload for upload in waiting}
    if upload_id not in left:
        return None
    had, count = dict(turns), 0
    while (chosen := next_upload(left.values(), turns=had, slot="any", now=now)) and chosen.id != upload_id:
        count += 1
        del left[chosen.id]
        had[chosen.sender] = now + timedelta(microseconds=count)
    return count


def waits_reason(
    place: int | None, *, due_at: datetime | None, is_held: bool, was_begun: bool, now: datetime
) -> str:
    """
    Say in a sentence why an upload is not being read.

    Args:
        place: From `ahead`; `None` where that many wait that it is not known.
        due_at: From when on it is to be read; `None` where nothing is left to read.
        is_held: Whether a worker reads it now.
        was_begun: Whether it had a turn before.

    Returns:
        The sentence; "" where it does not wait for a turn.

    >>> waits_reason(2, due_at=datetime(2026, 3, 2), is_held=False, was_begun=False, now=datetime(2026, 3, 2))
    'It waits for its turn: 2 other uploads are read before it.'
    """
    if due_at is None or is_held:
        return ""
    if due_at > now:
        return f"Reading it was interrupted, and continues automatically at {due_at:%H:%M:%S} UTC."
    turn = "next turn, because others are read in between" if was_begun else "turn"
    if place == 0:
        return f"It waits for its {turn}: it is read next."
    if place is None:
        return f"It waits for its {turn}: many other uploads are read before it."
    others = "1 other upload is" if place == 1 else f"{place:,} other uploads are"
    return f"It waits for its {turn}: {others} read before it."
