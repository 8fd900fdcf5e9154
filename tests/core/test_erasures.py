"""Erasures and dossiers: when nothing may be erased, what stays of a notification, and what a dossier shows."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import dossier
from tether_core.data_subjects import ROWS_MAX, SubjectRow, of_one_person
from tether_core.emp.notification import FORM, JSON, decode
from tether_core.erasures import (
    KEPT_FIELDS,
    EntryDebtor,
    ErasureDebit,
    ErasureEntry,
    NotErasable,
    Open,
    obstacles,
    patterns,
    read_entry,
    require_erasable,
    row_scrubbed,
    scrubbed,
    write_entry,
)
from tether_core.errors import InvalidRequest, Unreadable
from tether_core.payments.attempt import AttemptState

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
FINAL = date(2027, 4, 4)


@pytest.mark.parametrize(
    ("state", "has_retry", "today", "code"),
    [
        ("pending", False, FINAL, "open_debit"),
        ("unknown", False, FINAL, "open_debit"),
        ("approved", False, FINAL - timedelta(days=1), "reversible"),
        ("approved", False, FINAL, None),
        # A debtor who was refunded may turn to the bank all the same.
        ("refunded", False, FINAL - timedelta(days=1), "reversible"),
        ("refunded", False, FINAL, None),
        ("chargebacked", True, FINAL, "planned_retry"),
        ("chargebacked", False, AT.date(), None),
        ("voided", False, AT.date(), None),
        ("declined", False, AT.date(), None),
        ("error", False, AT.date(), None),
    ],
)
def test_a_debit_keeps_its_debtor_as_long_as_money_may_move(
    state: AttemptState, *, has_retry: bool, today: date, code: str | None
) -> None:
    """Without the mandate the creditor pays a debit back that was right; without the account an unknown debit is explained to nobody."""
    found = obstacles([ErasureDebit(12, state, AT, has_retry)], today=today)
    assert [obstacle.code for obstacle in found] == ([] if code is None else [code])
    accepted = obstacles([ErasureDebit(12, state, AT, has_retry)], today=today, accepts_reversible=True)
    assert [obstacle.code for obstacle in accepted] == ([code] if code not in {None, "reversible"} else [])


def test_everything_in_the_way_is_named_with_what_to_do() -> None:
    """A person who ends the mandate and is then told of the run, and then of the refund, gives up."""
    still_open = [Open("run", "5"), Open("mandate", "4"), Open("gateway_refund", "")]
    found = obstacles([ErasureDebit(12, "unknown", AT)], still_open, today=FINAL, reviewing=True)
    with pytest.raises(NotErasable, match="debit 12 is not known yet") as caught:
        require_erasable(found)
    for part in ("run 5", "Mandate 4 is active. Cancel it.", "back office", "Try again in a minute"):
        assert part in str(caught.value)
    require_erasable([])


@given(
    st.dictionaries(
        st.sampled_from(
            [*sorted(KEPT_FIELDS - {"signature", "unique_id", "notification_type"}), "email", "usage", "x"]
        ),
        st.text(max_size=20),
    ),
    st.sampled_from((FORM, JSON)),
)
def test_what_is_left_of_a_notification_can_be_read_and_is_stable(
    given_fields: dict[str, str], content_type: str
) -> None:
    """A notification that cannot be decoded after an erasure would be parked when it is replayed."""
    fields = {"unique_id": "ab", "signature": "cd", **given_fields}
    body = json.dumps(fields).encode() if content_type == JSON else _form(fields)
    after = scrubbed(body, content_type=content_type)
    before, left = decode(body, content_type=content_type), decode(after, content_type=content_type)
    assert left.fields.keys() <= KEPT_FIELDS
    assert (left.kind, left.id, left.status, left.amount_minor, left.event) == (
        before.kind, before.id, before.status, before.amount_minor, before.event,
    )  # fmt: skip
    assert scrubbed(after, content_type=content_type) == after


def _form(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode()


@given(st.binary(max_size=300), st.sampled_from((FORM, JSON, "text/plain")))
def test_junk_is_emptied_and_never_raises(body: bytes, content_type: str) -> None:
    """A body that nobody can read may hold anything."""
    left = scrubbed(body, content_type=content_type)
    assert left == b"" or decode(left, content_type=content_type).fields.keys() <= KEPT_FIELDS


def test_rows_of_other_debits_in_an_archive_stay_as_they_are() -> None:
    """An archive has two thousand rows; an erasure is about three of them."""
    row = {
        "id": 1,
        "attempt_id": None,
        "notification_id": "ab",
        "content_type": FORM,
        "body": "\\x" + b"unique_id=ab&signature=c&name=A".hex(),
        "key": "\\x00",
    }
    data = json.dumps(row).encode()
    assert row_scrubbed(data, attempt_ids={7}, notification_ids={"xy"}) is None
    after = row_scrubbed(data, attempt_ids=(), notification_ids={"ab"})
    assert after is not None
    assert json.loads(after) == row | {"body": "\\x" + b"unique_id=ab&signature=c".hex()}
    assert row_scrubbed(after, attempt_ids=(), notification_ids={"ab"}) is None


def test_an_entry_of_the_list_is_read_as_it_was_written() -> None:
    """The list is read after a restore, perhaps by another version."""
    entry = ErasureEntry(
        debtors=(EntryDebtor(7, AT),), ordered_at=AT, ordered_by="ops", accepts_reversible=False
    )
    assert read_entry(write_entry(entry)) == entry
    for data in (b"", b"{}", write_entry(entry).replace(b"tether-erasure/1", b"tether-erasure/2")):
        with pytest.raises(Unreadable, match="entry of the list of erasures"):
            read_entry(data)


def test_patterns_find_a_value_and_nothing_by_chance() -> None:
    """The reference "12" is a part of every second amount."""
    assert patterns(["12", "", None, " Ada "]) == []
    assert patterns(["50%#_A"]) == ["%50#%###_a%"]


def test_an_account_of_everybody_is_no_person() -> None:
    """A placeholder account that a thousand rows share would be erased with all of them."""
    rows = [SubjectRow(number, "Ada Ahorn", has_account=True) for number in range(ROWS_MAX + 1)]
    assert len(of_one_person(rows[0], rows[:-1]).debtor_ids) == ROWS_MAX
    with pytest.raises(InvalidRequest, match="More than 1,000 debtors"):
        of_one_person(rows[0], rows)
    # An erased row has no name, and is nobody's.
    nobody = SubjectRow(1, "", has_account=True)
    assert of_one_person(nobody, [SubjectRow(2, "", has_account=True), rows[3]]).debtor_ids == (1,)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_a_page_is_safe_with_any_content(content: object) -> None:
    """A name with a tag in it would be run in the browser of the bank's clerk."""
    page = dossier.page({"format": "x", "rows": [{"name": "<script>alert(1)</script>", "content": content}]})
    assert "<script" not in page
    assert page.startswith("<!doctype html>")


def test_a_dossier_is_one_file_of_three() -> None:
    """The day in the file is when it was made, and its name names nobody."""
    data = dossier.packed("<p>", b"{}", b"[]", made_at=AT)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.namelist() == ["dossier.html", "dossier.json", "schema.json"]
        assert file.getinfo("dossier.json").date_time == (2026, 3, 2, 12, 0, 0)
