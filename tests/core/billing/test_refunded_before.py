"""Money that was refunded is not collected again; next month's is."""

import msgspec
import pytest
from tether_core.billing.refunded_before import RefundedDebit, find
from tether_core.payments.same_debit import WINDOW_DAYS

OWN = RefundedDebit(71, "voided", "once", same_debtor=True, same_upload=True, days_ago=400)


@pytest.mark.parametrize(
    ("due_item", "asked", "days_ago", "same_upload", "found"),
    [
        ("once", "once", 0, False, True),
        ("once", "once", WINDOW_DAYS, False, True),
        ("once", "once", WINDOW_DAYS + 1, False, False),
        ("once", "once", 400, True, True),
        ("fee", "fee", 28, False, False),
        ("2026-03", "2026-03", 400, False, True),
        ("2026-03", "2026-3", 400, False, True),
        ("2026-03", "2026-04", 0, False, False),
        ("2026-03", "2026-04", 0, True, False),
        ("inv-42", "inv-42", 400, False, True),
    ],
)
def test_which_refund_keeps_which_item(
    due_item: str, asked: str, days_ago: int, *, same_upload: bool, found: bool
) -> None:
    """A corrected list collects again from whom we refunded yesterday; a rule that is too wide never collects April."""
    refund = RefundedDebit(
        71, "refunded", due_item, same_debtor=False, same_upload=same_upload, days_ago=days_ago
    )
    assert find([refund], due_item=asked) == (refund if found else None)


def test_the_same_row_is_refunded_permanently() -> None:
    """The row owed this item once, and we gave the money back; no day makes it owe again."""
    assert find([msgspec.structs.replace(OWN, days_ago=4_000)], due_item="once") is not None
    assert find([OWN], due_item="2026-03") is None
    other = msgspec.structs.replace(OWN, attempt_id=72, due_item="fee", same_debtor=False)
    assert find([other, OWN], due_item="once") == OWN
