"""Edits of a stored debtor: by the rules of files, and never while a debit speaks for it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from tether_core.debtor_edits import (
    DebtorDebit,
    EditConflict,
    EditRefused,
    NotEditable,
    edited,
    keeps_answer,
    require_editable,
    require_version,
)
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Debtor, Plan, Rules, rows
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.plan import Column

TODAY = date(2026, 3, 2)


def _debtor() -> Debtor:
    fields = ("iban", "name", "amount_minor", "reference")
    plan = Plan(
        kind="csv",
        header_row=1,
        data_row=1,
        columns=tuple(Column(place, name, name) for place, name in enumerate(fields)),
    )
    row = Row(2, ["DE89370400440532013000", "Ada Ahorn", "1050", "R-1"])
    (debtor,) = rows.read([row], plan=plan, today=TODAY, rules=Rules())
    assert isinstance(debtor, Debtor)
    return debtor


def _edited(**changes: Any) -> Any:
    return edited(_debtor(), changes, today=TODAY, rules=Rules())  # type: ignore[arg-type]


def test_an_edit_says_what_differs_and_masks_accounts() -> None:
    """The history is read by people who may not see accounts."""
    result = _edited(amount_minor=2000, iban="AT611904300234573201", reference="R-1")
    assert [change.field for change in result.changes] == ["iban", "amount_minor"]
    assert "1904300234" not in repr(result.changes)
    assert not keeps_answer(result.changes)
    assert keeps_answer(_edited(street="Am Markt").changes)
    assert _edited(first_name="Eva", last_name="Eich").debtor.name == "Eva Eich"
    assert _edited(name="Eva Eich").debtor.first_name is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"iban": "DE89370400440532013001"}, EditRefused),
        ({"amount_minor": 0}, EditRefused),
        ({"bic": "no bic"}, EditRefused),
        ({"mandate_signed_on": "soon"}, EditRefused),
        ({"reference": "N/A"}, InvalidRequest),
    ],
)
def test_values_that_a_file_could_not_have_are_refused(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    """An edit would otherwise be the way around every check of a file."""
    with pytest.raises(error) as caught:
        _edited(**changes)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("payments", "upload_state", "reviewing", "words"),
    [
        ([], None, False, "another system"),
        ([], "reading", False, "its upload"),
        ([DebtorDebit(7, "pending", None)], "completed", False, "debit 7 of it may still be submitted"),
        ([DebtorDebit(7, "approved", None)], "completed", False, "was collected as it is"),
        ([DebtorDebit(7, "chargebacked", TODAY)], "completed", False, "is tried again on 2026-03-02"),
        ([], "completed", True, "Try again in a minute"),
    ],
)
def test_a_debtor_stays_as_its_debit_was(
    payments: list[DebtorDebit],
    upload_state: str | None,
    reviewing: bool,  # noqa: FBT001 - a column
    words: str,
) -> None:
    """A change under a debit collects what nobody ordered."""
    with pytest.raises(NotEditable, match=words):
        require_editable(5, payments, upload_state=upload_state, reviewing=reviewing)


def test_an_edit_of_what_somebody_else_has_changed_is_refused() -> None:
    """The second writer would otherwise undo the first without a word."""
    require_version(5, seen=1, current=1)
    require_editable(5, [DebtorDebit(7, "declined", None)], upload_state="completed")
    with pytest.raises(EditConflict, match="has version 2 by now, and this edit was made for version 1"):
        require_version(5, seen=1, current=2)
