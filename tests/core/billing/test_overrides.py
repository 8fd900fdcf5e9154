"""Overrides: what a person may set aside for one run, and what nobody may."""

import pytest
from tether_core.billing.eligibility import VERDICTS
from tether_core.billing.overrides import (
    OVERRIDABLE,
    Override,
    of_debtors,
    require_known,
    require_reason,
)
from tether_core.errors import InvalidRequest


def test_only_verdicts_that_can_be_overridden_are_taken() -> None:
    """An override of `collected` or `blocked` would debit twice, or somebody who must not be debited."""
    for verdict in VERDICTS:
        if verdict in OVERRIDABLE:
            require_known(Override((verdict,), "agreed"))
        else:
            with pytest.raises(InvalidRequest, match="cannot be overridden"):
                require_known(Override((verdict,), "agreed"))


def test_a_name_that_is_none_is_not_repeated() -> None:
    """What came in is somebody's text, and goes into a response and a log."""
    with pytest.raises(InvalidRequest) as caught:
        require_known(Override(("DE89 3704\n",), "agreed"))
    assert "DE89" not in str(caught.value)


@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_there_is_no_override(reason: str) -> None:
    """The next person reads only the reason."""
    with pytest.raises(InvalidRequest, match="why"):
        require_known(Override(("refunded_before",), reason))


def test_an_override_reaches_its_debtors_and_its_verdicts_only() -> None:
    """Given for one debtor, it must not bill the others; a kept row with another verdict must not open that one."""
    some = [
        Override(("refunded_before",), "one", debtor_ids=(7, 8)),
        Override(("blocked", "collected"), "by hand, in the database"),
    ]
    assert of_debtors(some, [7, 9]) == {7: {"refunded_before"}}
    assert of_debtors([Override(("refunded_before",), "all")], [9]) == {9: {"refunded_before"}}


def test_an_earlier_chargeback_is_set_aside_with_a_reason() -> None:
    """An option without one billed accounts that had charged back, and nobody could say who agreed."""
    require_reason(after_chargeback=False)
    with pytest.raises(InvalidRequest, match="charged_back with a reason"):
        require_reason(after_chargeback=True)
