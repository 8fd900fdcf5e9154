"""How long data is kept, and the format of archives."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.retention import archive
from tether_core.retention.archive import Archive, ArchiveUnreadable, Header, pack, unpack
from tether_core.retention.periods import KINDS, LEAST_DAYS, NoLongerKept, Periods

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ROWS = ['{"id":3,"body":"\\\\x00"}', '{"id":5}']
HEADER = Header(kind="notifications", rows=2, first_id=3, last_id=5, archived_at=NOW)


def test_rows_come_back_as_they_were_written() -> None:
    """An archive is the only copy."""
    found = unpack(pack(HEADER, ROWS))
    assert found.header == HEADER
    assert [bytes(row).decode() for row in found.rows] == ROWS


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends too early"),
        (b"no gzip", "damaged"),
        (pack(HEADER, ROWS)[:-4], "ends too early"),
        (pack(HEADER, ROWS[:1]), "not those of its first line"),
        (pack(HEADER, ROWS[::-1]), "not those of its first line"),
        (pack(HEADER, ["{", "}"]), "is no row"),
        (pack(Header(kind="events", rows=0, first_id=0, last_id=0, archived_at=NOW), []), "not those"),
        (
            pack(
                Header(
                    kind="events", rows=2, first_id=3, last_id=5, archived_at=NOW, format="tether-archive/2"
                ),
                ROWS,
            ),
            "another version",
        ),
    ],
    ids=range(8),
)
def test_what_is_no_archive_is_refused(data: bytes, why: str) -> None:
    """A part of an archive that passes for the whole would cost the rest of the rows."""
    with pytest.raises(ArchiveUnreadable, match=why):
        unpack(data)


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte of gzip can be a gigabyte of text."""
    monkeypatch.setattr(archive, "SIZE_BYTES_MAX", 100)
    with pytest.raises(ArchiveUnreadable, match="too large"):
        unpack(pack(HEADER, [*ROWS, '{"id":7,"text":"' + "a" * 10_000 + '"}']))


@given(st.binary(max_size=200))
def test_only_its_own_error_comes_out(data: bytes) -> None:
    """Whatever lies in the bucket, the worker must say what is wrong with it."""
    for junk in (data, zlib.compress(data, wbits=31), zlib.compress(data + b"\n", wbits=31)):
        with pytest.raises(ArchiveUnreadable):
            assert isinstance(unpack(junk), Archive)


@pytest.mark.parametrize("kind", KINDS)
def test_a_period_in_which_data_is_needed_is_refused(kind: str) -> None:
    """A typing error in a setting must not delete what a debtor may still object to."""
    least = LEAST_DAYS[kind][0]  # type: ignore[index]
    assert Periods(**{f"{kind}_days": least})
    with pytest.raises(InvalidRequest, match=f"TETHER_KEEP_{kind.upper()}_DAYS must be at least {least}"):
        Periods(**{f"{kind}_days": least - 1})


def test_a_period_longer_than_the_calendar_never_ends() -> None:
    """An operator who wants to keep all writes a large number."""
    assert Periods(events_days=10**6).before("events", now=NOW) == datetime.min.replace(tzinfo=UTC)


def test_what_is_gone_says_where_it_may_be() -> None:
    """A page that is empty without a word is taken for lost data."""
    assert (
        str(NoLongerKept("The file is", advice="Ask its sender."))
        == "The file is no longer kept here. Ask its sender."
    )
