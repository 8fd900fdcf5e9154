"""What an answer of the gateway says about a debit: how far it came, or why nobody knows."""

from __future__ import annotations

import pytest
from tether_core.emp.responses import read_answer
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.submission_answer import configuration_error, read

DEBIT = Attempt(7, "default", "t-7", None, 1000, "EUR")


@pytest.mark.parametrize(
    ("fields", "known_there", "cause", "stage"),
    [
        ({"status": "approved", "unique_id": "44177a21"}, False, "answered", stages.APPROVED),
        ({"status": "chargebacked", "unique_id": "44177a21"}, False, "answered", stages.APPROVED),
        ({"status": "surprised", "unique_id": "44177a21"}, False, "unknown_status", None),
        ({"status": "approved", "transaction_id": "t-8"}, False, "other_payment", None),
        ({"status": "approved", "amount": "999", "currency": "EUR"}, False, "other_amount", None),
        ({"status": "error"}, False, "unclear", None),
        ({"status": "error", "code": "110"}, False, "rejected", None),
        ({"status": "error", "code": "450"}, False, "may_exist", None),
        (
            {"status": "error", "code": "450", "unique_id": "44177a21"},
            True,
            "answered",
            stages.UNKNOWN_TO_GATEWAY,
        ),
    ],
)
def test_what_an_answer_says(
    fields: dict[str, str],
    known_there: bool,  # noqa: FBT001 - a column of the table
    cause: str,
    stage: int | None,
) -> None:
    """An answer about another payment, or one that refuses nothing, would end a debit whose money moves."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    answer = read_answer(f"<payment_response>{inner}</payment_response>".encode())
    reading = read(DEBIT, answer, known_there=known_there)
    assert (reading.cause, reading.stage) == (cause, stage)
    assert (configuration_error(answer) is not None) == (fields.get("code") == "110")
