from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, decode
from tether_core.emp.responses import Chargeback, GatewayAnswer, read_answer, read_chargebacks
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Attempt, decide
from tether_core.reconciliation.status_inquiry import (
    confirmation,
    inquiry_result,
)
from tether_core.testing import form_body

TYPES = (
    "1st Chargeback ",
    "1st chargeback reversal",
    "Re-presentment",
    "Representment Reversal",
    "2nd chargeback",
)


def _answer(**fields: str) -> GatewayAnswer:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return read_answer(f"<payment_response>{inner}</payment_response>".encode())


def _chargeback(type_text: str, reason_code: str = "") -> Chargeback:
    page = read_chargebacks(
        f"<chargeback_responses><chargeback_response><type>{type_text}</type><reason_code>{reason_code}</reason_code>"
        "<original_transaction_unique_id>44177a21</original_transaction_unique_id></chargeback_response>"
        "</chargeback_responses>".encode()
    )
    assert not isinstance(page, GatewayAnswer)
    return page.items[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "approved", "unique_id": "44177a21", "transaction_id": "t-7"}, "found"),
        ({"status": "approved", "unique_id": "44177a21"}, "found"),
        ({"status": "error", "unique_id": "44177a21", "code": "340"}, "found"),
        ({"status": "error", "unique_id": "44177a21", "code": "460"}, "found"),
        ({"status": "error", "code": "460"}, "not_found"),
        ({"status": "error", "code": "110"}, "nothing"),
        ({"status": "error", "code": "220"}, "nothing"),
        ({"status": "error", "code": "100"}, "nothing"),
        ({"status": "error"}, "nothing"),
        ({"status": "approved"}, "nothing"),
        ({"status": "approved", "unique_id": "55177a21"}, "nothing"),
        ({"status": "approved", "unique_id": "44177a21", "transaction_id": "t-8"}, "nothing"),
    ],
)
def test_what_an_answer_is(fields: dict[str, str], expected: str) -> None:
    """An answer about another payment, or about our password, would be applied as the fate of a debit."""
    assert inquiry_result(_answer(**fields), unique_id="44177a21", transaction_id="t-7") == expected


def test_a_client_that_reads_not_found_itself() -> None:
    """The word "not there" must mean the same however the client hands it on, or a debit stays unknown for ever."""
    assert inquiry_result(None, transaction_id="t-7") == "not_found"


def test_a_lost_answer_is_found_by_our_own_id() -> None:
    """A debit whose first answer was lost has no id of the gateway yet: any id that it names now is news."""
    answer = _answer(status="approved", unique_id="44177a21", transaction_id="t-7")
    assert inquiry_result(answer, transaction_id="t-7") == "found"


def test_the_reason_comes_from_the_chargeback_list() -> None:
    """The payment's own record has no reason; without the list's a closed account would be debited again."""
    own = _answer(status="chargebacked", unique_id="44177a21")
    word = confirmation(own, chargebacks=[_chargeback("1st Chargeback ", "AC04")])
    assert (word.status, word.reason_code) == ("chargebacked", "AC04")


@pytest.mark.parametrize("name", ["reason_code", "rc_code", "code", "error_code"])
def test_the_reason_counts_in_whatever_field_of_the_record(name: str) -> None:
    """An account without the service of chargeback lists has the payment's own record only."""
    own = _answer(status="chargebacked", unique_id="44177a21", **{name: "MD01"})
    assert confirmation(own).reason_code == "MD01"


def test_the_list_may_know_of_a_chargeback_before_the_record_does() -> None:
    """The gateway's parts agree only in the end: a genuine chargeback must not be contradicted by the slower of them."""
    word = confirmation(
        _answer(status="approved", unique_id="44177a21"), chargebacks=[_chargeback("1st chargeback", "MD01")]
    )
    assert (word.status, word.error_code, word.reason_code) == ("chargebacked", None, "MD01")


def test_a_lie_stays_one() -> None:
    """A claim of a chargeback that neither record nor list has would block an innocent debtor."""
    claim = decode(
        form_body(
            {"unique_id": "44177a21", "status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}
        ),
        content_type=FORM,
    )
    attempt = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", stages.APPROVED, iban_fingerprint=b"f")
    word = confirmation(_answer(status="approved", unique_id="44177a21"))
    decision = decide(
        attempt, claim, account="default", policy=ApplyPolicy(confirm="chargebacks"), confirmation=word
    )
    assert (decision.outcome, decision.entries) == ("contradicted", ())


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_the_list_does_not_matter(order: tuple[int, ...]) -> None:
    """Nobody promises an order of the list; the last word must not be whichever record stands last."""
    found = [
        _chargeback("1st Chargeback", "MD06"),
        _chargeback("1st Chargeback reversal", "ZZ99"),
        _chargeback("2nd chargeback", "MD01"),
    ]
    word = confirmation(
        _answer(status="chargebacked", unique_id="44177a21"), chargebacks=[found[place] for place in order]
    )
    assert (word.status, word.reason_code) == ("second_chargebacked", "MD01")


def test_a_reversal_gives_no_reason_for_a_block() -> None:
    """The reason why money was won back says nothing against the debtor."""
    word = confirmation(
        _answer(status="chargeback_reversed", unique_id="44177a21"),
        chargebacks=[_chargeback("1st chargeback", "AM04"), _chargeback("1st chargeback reversal", "AC04")],
    )
    assert (word.status, word.reason_code) == ("chargeback_reversed", "AM04")


def test_transfers_between_accounts_of_the_acquirer_say_nothing() -> None:
    """A list also holds the acquirer's own bookings; taken for a dispute, one would undo a good debit."""
    word = confirmation(
        _answer(status="approved", unique_id="44177a21"),
        chargebacks=[_chargeback("Transfer Reversal", "AC04"), _chargeback("Something new", "AC04")],
    )
    assert (word.status, word.reason_code) == ("approved", None)


@given(st.sampled_from(sorted(stages.STATUSES)), st.lists(st.sampled_from(TYPES), max_size=4))
def test_the_word_has_come_as_far_as_the_furthest_source(status: str, types: list[str]) -> None:
    """Whichever part of the gateway is behind, the claim of the other must be borne out."""
    found = [_chargeback(item, "AC04") for item in types]
    word = confirmation(_answer(status=status, unique_id="44177a21"), chargebacks=found)
    step = stages.meaning(word.status, event=None)
    own = stages.meaning(status, event=None)
    assert step is not None
    assert own is not None
    disputes = [own.stage] if own.track == "dispute" else []
    for item in found:
        assert item.as_notified is not None
        listed = stages.meaning(item.as_notified[0], event=item.as_notified[1])
        assert listed is not None
        disputes.append(listed.stage)
    assert not disputes or (step.track, step.stage) == ("dispute", max(disputes))
    assert disputes or word.status == status
