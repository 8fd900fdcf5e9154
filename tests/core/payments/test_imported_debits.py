from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import iban as ibans
from tether_core.errors import InvalidRequest
from tether_core.money import Money
from tether_core.payments import stages
from tether_core.payments.attempt import DISPUTE_STAGES, PAYMENT_STAGES, Attempt
from tether_core.payments.imported_debits import (
    CODES,
    FIELDS,
    NEEDED,
    ImportedDebit,
    begin,
    compare,
    entry,
    layout,
    read,
)
from tether_core.return_policies.policy import built_in
from tether_core.spreadsheet.cells import Row

from tests.support.clock import NOON

DE = "DE89370400440532013000"
GOOD = {
    "transaction_id": "old-7",
    "unique_id": "44177a21403427eb96664a6d7e5d5d48",
    "amount": "12.50",
    "currency": "EUR",
    "status": "approved",
    "iban": "DE89 3704 0044 0532 0130 00",
    "submitted_at": "2026-02-27 09:30:00",
    "updated_at": "2026-02-28T09:30:00+01:00",
    "error_code": "",
    "reason_code": "",
    "name": "Zoë Łącka",
    "reference": "R 1",
    "mandate_id": "M1",
}


def look(**cells: str) -> ImportedDebit | tuple[str, ...]:
    """Read a row that is good but for some cells; gives the codes of what is wrong with it."""
    fields = {**GOOD, **cells}
    found = read(Row(7, list(fields.values())), layout=layout(list(fields)), now=NOON)
    return found if isinstance(found, ImportedDebit) else tuple(problem.code for problem in found)


def taken(**cells: str) -> ImportedDebit:
    """Read a row that is good."""
    found = look(**cells)
    assert isinstance(found, ImportedDebit), found
    return found


def fingerprint(iban: str) -> bytes:
    """A fingerprint without a key."""
    return ibans.fingerprint(iban)


def test_a_good_row_is_read_whole() -> None:
    """What gets lost here is missing when the chargeback comes, a year later."""
    assert taken() == ImportedDebit(
        row=7,
        transaction_id="old-7",
        unique_id=GOOD["unique_id"],
        amount_minor=1250,
        currency="EUR",
        payment_stage=stages.APPROVED,
        dispute_stage=stages.UNDISPUTED,
        error_code=None,
        reason_code=None,
        iban=DE,
        submitted_at=datetime(2026, 2, 27, 9, 30, tzinfo=UTC),
        updated_at=datetime(2026, 2, 28, 8, 30, tzinfo=UTC),
        name="Zoë Łącka",
        reference="R 1",
        mandate_id="M1",
    )
    assert "Zoë" not in repr(taken())
    assert taken(updated_at="2020-01-01").updated_at == taken().submitted_at


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"transaction_id": ""}, "cell_missing"),
        ({"transaction_id": "a b"}, "id_unreadable"),
        ({"unique_id": "ü"}, "id_unreadable"),
        ({"amount": ""}, "cell_missing"),
        ({"amount": "12"}, "amount_unreadable"),
        ({"amount": "12.5"}, "amount_unreadable"),
        ({"amount": "1.234,50"}, "amount_unreadable"),
        ({"amount": "-12.50"}, "amount_unreadable"),
        ({"amount": "0.00"}, "amount_unreadable"),
        ({"amount": "\u0661\u0662.\u0665\u0660"}, "amount_unreadable"),
        ({"amount": "1,234", "currency": "KWD"}, "amount_unreadable"),
        ({"amount": "150.00", "currency": "JPY"}, "amount_unreadable"),
        ({"currency": "euro"}, "currency_unreadable"),
        ({"status": "paid"}, "status_unknown"),
        ({"status": "enabled"}, "status_unknown"),
        ({"status": ""}, "cell_missing"),
        ({"error_code": "a code"}, "code_unreadable"),
        ({"reason_code": "AC 04"}, "code_unreadable"),
        ({"iban": "DE88370400440532013000"}, "iban_invalid"),
        ({"iban": ""}, "cell_missing"),
        ({"submitted_at": "27.02.2026"}, "timestamp_unreadable"),
        ({"submitted_at": "2026-03-04"}, "timestamp_in_future"),
        ({"updated_at": "0001-01-01T00:00:00+14:00"}, "timestamp_unreadable"),
        ({"name": "Zoë\x00"}, "text_unreadable"),
        ({"reference": "x" * 501}, "text_unreadable"),
    ],
    ids=str,
)
def test_what_has_no_single_reading_is_refused(cells: dict[str, str], code: str) -> None:
    """Twelve cents applied as twelve euros, or a debit under an id that no notification has, is found by nobody."""
    assert look(**cells) == (code,)
    assert code in CODES


def test_all_problems_are_reported_at_once_without_names() -> None:
    """Correcting a file one problem at a time takes a day; a terminal's output ends up in a log."""
    fields = {
        **GOOD,
        "status": "Zoë Łącka",
        "iban": "DE88 3704 0044 0532 0130 00",
        "name": "Łącka\x07",
        "amount": DE,
    }
    found = read(Row(7, list(fields.values())), layout=layout(list(fields)), now=NOON)
    assert not isinstance(found, ImportedDebit)
    assert [problem.column for problem in found] == ["amount", "status", "iban", "name"]
    excerpt = " ".join(f"{problem.excerpt} {problem.note}" for problem in found)
    assert "Zoë" not in excerpt
    assert "Łącka" not in excerpt
    assert "0440532013" not in excerpt.replace(" ", "")


def test_a_row_that_swallowed_others_is_refused() -> None:
    """A delimiter in a name moves the amount into the currency and the next cell into the amount."""
    columns = layout(list(GOOD))
    for row in (Row(7, list(GOOD.values()), flaw="Lines 3 to 9 are lost."), Row(7, [*GOOD.values(), "x"])):
        found = read(row, layout=columns, now=NOON)
        assert not isinstance(found, ImportedDebit)
        assert [problem.code for problem in found] == ["row_unreadable"]


def test_columns_are_recognised_by_name() -> None:
    """Exports differ in order and spelling; a column taken for another one is worse than a refused file."""
    assert (
        layout(["IBAN", *(name.upper().replace("_", " ") for name in GOOD if name != "iban")]).at["iban"] == 0
    )
    assert set(layout(list(GOOD)).at) <= set(FIELDS)
    assert layout([*GOOD, "colour", ""]).passed_over == ("colour",)
    for name in NEEDED:
        with pytest.raises(InvalidRequest, match=f"no column {name}"):
            layout([row for row in GOOD if row != name])
    with pytest.raises(InvalidRequest, match="Two columns are called iban"):
        layout([*GOOD, "Iban"])
    with pytest.raises(InvalidRequest, match="leave one out"):
        layout([*GOOD, "amount_minor"])
    minor = [name if name != "amount" else "amount_minor" for name in GOOD]
    found = read(
        Row(2, ["1250" if row == "12.50" else row for row in GOOD.values()]), layout=layout(minor), now=NOON
    )
    assert isinstance(found, ImportedDebit)
    assert found.amount_minor == 1250


@given(
    amount_minor=st.integers(1, 10**12),
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    submitted_at=st.timedeltas(timedelta(), timedelta(days=9_000)).map(lambda age: NOON - age),
)
def test_what_was_written_is_what_is_read(amount_minor: int, currency: str, submitted_at: datetime) -> None:
    """An amount off by a factor of ten contradicts the gateway for ever after."""
    written = str(Money(amount_minor, currency)).removesuffix(f" {currency}")
    item = taken(amount=written, currency=currency, submitted_at=submitted_at.isoformat(), updated_at="")
    assert (item.amount_minor, item.currency, item.submitted_at) == (amount_minor, currency, submitted_at)


@given(cells=st.lists(st.text(max_size=30), max_size=len(GOOD) + 1))
def test_any_row_is_a_debit_or_has_a_reason(cells: list[str]) -> None:
    """One row of junk must not stop the other hundred thousand."""
    found = read(Row(2, cells), layout=layout(list(GOOD)), now=NOON)
    assert isinstance(found, ImportedDebit) or (found and all(problem.code in CODES for problem in found))


@given(
    status=st.sampled_from([*stages.STATUSES, "unknown", "junk", ""]),
    error_code=st.none() | st.sampled_from(["340", "230", "450", "999", "x"]),
    named=st.booleans(),
)
def test_every_status_begins_at_a_stage_or_nowhere(status: str, error_code: str | None, named: bool) -> None:  # noqa: FBT001 - drawn
    """A stage that no table has could not be stored; an error that may have been a debit must not pass for none."""
    begun = begin(status, error_code=error_code, named=named)
    step = stages.meaning(status, event=None, error_code=error_code)
    if begun is None:
        assert status != "unknown"
        assert step is None or step.track == "none"
        return
    payment, dispute = begun
    assert payment in PAYMENT_STAGES
    assert dispute in DISPUTE_STAGES
    if not named and error_code is None and status in {"error", "timeout", "pending", "unknown"}:
        assert PAYMENT_STAGES[payment] == "unknown"
    if step is not None and step.track == "payment" and named:
        assert payment == step.stage


def stored(debit: ImportedDebit, **changed: Any) -> Attempt:
    """The attempt that a debit became."""
    return msgspec.structs.replace(
        debit.attempt(account="default", fingerprint=fingerprint(debit.iban)), **changed
    )


@given(stage=st.sampled_from(sorted(PAYMENT_STAGES)), dispute=st.sampled_from(sorted(DISPUTE_STAGES)))
def test_the_same_debit_is_there_already_whatever_has_become_of_it(stage: int, dispute: int) -> None:
    """The file is imported a second time after the chargeback came; it must not read as a contradiction."""
    item = taken()
    moved = stored(item, payment_stage=stage, dispute_stage=dispute)
    assert compare(item, [moved], account="default", fingerprint=fingerprint(DE)) == "there already"
    unnamed = stored(item, unique_id=None)
    assert compare(item, [unnamed], account="default", fingerprint=fingerprint(DE)) == "there already"
    assert compare(item, [], account="default", fingerprint=fingerprint(DE)) == "new"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"unique_id": "55177a21"}, "other_payment"),
        ({"transaction_id": "old-8"}, "other_payment"),
        ({"account": "second"}, "other_account"),
        ({"amount_minor": 1251}, "other_amount"),
        ({"currency": "CHF"}, "other_amount"),
        ({"iban_fingerprint": b"x" * 16}, "other_iban"),
    ],
    ids=str,
)
def test_what_contradicts_the_books_is_for_a_person(changed: dict[str, object], code: str) -> None:
    """Either the file or the books are wrong about money; neither may win by being read last."""
    item = taken()
    found = compare(item, [stored(item, **changed)], account="default", fingerprint=fingerprint(DE))
    assert isinstance(found, tuple)
    assert [problem.code for problem in found] == [code]
    assert DE not in str(found)


def test_what_had_come_back_asks_for_the_entry_its_reason_asks_for() -> None:
    """An account that was closed last month must not be debited because we were not there to hear it."""
    back = {"status": "chargebacked"}

    def made(**cells: str) -> str | None:
        found = entry(taken(**cells), fingerprint=fingerprint(DE))
        return None if found is None else f"{found.action} {found.reason_code}"

    assert made(**back, reason_code="ac04") == "block AC04"
    assert made(**back, reason_code="MD06") == "hold MD06"
    assert made(**back, reason_code="AM04") is None
    assert made(**back) is None
    assert made(status="chargeback_reversed", reason_code="AC04") is None
    assert made(status="declined", reason_code="AC04") is None
    found = entry(taken(**back, reason_code="AC04"), fingerprint=fingerprint(DE), policy=built_in({"MD01"}))
    assert found is None


def test_a_timestamp_ahead_by_less_than_a_day_is_a_zone_unsaid() -> None:
    """A system in Sydney writes its own time of day and no zone; its last debits would all be refused."""
    assert taken(submitted_at="2026-03-02 23:00", updated_at="").submitted_at == NOON + timedelta(hours=11)
