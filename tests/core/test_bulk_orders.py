"""Bulk orders: a filter is read as its list reads it, or refused with a sentence."""

from __future__ import annotations

from typing import get_args

import pytest
from tether_core.bulk_orders import (
    ACTS_ON,
    FILTERS,
    PERMISSIONS,
    RECORDED,
    BulkAction,
    account_of,
    attempt_filters,
    filters_of,
)
from tether_core.errors import InvalidRequest


def test_each_action_has_its_filter_its_permission_and_its_row_of_the_audit() -> None:
    """An action without one of them would be open to all, or done by nobody."""
    assert set(FILTERS) == set(PERMISSIONS) == set(RECORDED) == set(get_args(BulkAction))


def test_a_row_is_taken_only_where_its_life_has_the_step() -> None:
    """A step that a life cycle does not have would stop the whole order at its first row."""
    assert ACTS_ON["recover"] == {"missed"}
    assert ACTS_ON["waive"] == {"waiting", "missed"}
    assert ACTS_ON["pause_schedules"] == {"active"}
    assert ACTS_ON["end_schedules"] == {"active", "paused"}
    assert "given_up" in ACTS_ON["redeliver"]


def test_a_filter_of_payments_is_that_of_the_list() -> None:
    """A filter that is dropped on the way makes an order larger than the list that a person saw."""
    given = {
        "status": "approved",
        "run": "7",
        "account": "second",
        "updated_to": "2026-03-02T12:00:00Z",
        "bank": "",
    }
    found = filters_of("void", given)
    assert account_of(found) == "second"
    chosen = attempt_filters(found)  # type: ignore[arg-type]
    assert (chosen.state, chosen.run_id, chosen.account, chosen.bank) == ("approved", 7, "second", None)
    assert chosen.updated_to is not None
    assert account_of(filters_of("replay", {"status": "parked"})) is None


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("void", {}, "at least one filter"),
        ("lift", {"bic": "12"}, "BIC"),
        ("lift", {"which": "all"}, "at least one filter"),
        ("lift", {"name": "Ada"}, "unknown field"),
        ("void", {"run": str(2**63)}, "out of range"),
        ("void", {"status": "lost"}, "Invalid enum value"),
        ("inquire", {"created_from": "2026-03-02T12:00:00"}, "offset from UTC"),
        ("inquire", {"country": "DE"}, "narrows another filter"),
        ("refund", {"account": "default"}, "one of run, upload and debtor"),
        ("recover", {"status": "missed"}, "missing required field `collection_plan`"),
        ("waive", {"collection_plan": str(2**63)}, "out of range"),
        ("pause_schedules", {"collection_plan": "4", "status": "gone"}, "Invalid enum value"),
        ("redeliver", {"subscriber": "2", "status": "given_up"}, "unknown field"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    action: BulkAction, given: dict[str, str], words: str
) -> None:
    """A misread filter is an order about other people's money."""
    with pytest.raises(InvalidRequest) as caught:
        filters_of(action, given)
    assert words.lower() in str(caught.value).lower()
