from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.emp.responses import Chargeback, GatewayAnswer, read_answer, read_chargebacks
from tether_core.errors import Rejected, Unreadable
from tether_core.notifications.identity import identify
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Attempt, decide
from tether_core.reconciliation.report_records import (
    RecordedStatus,
    ReportRecord,
    from_answer,
    from_chargeback,
    says_more,
)
from tether_core.testing import form_body

ATTEMPT = Attempt(
    7, "default", "t-7", "44177a21", 1000, "EUR", stages.APPROVED, iban_fingerprint=b"f", iban_masked="DE**"
)
ASKING = ApplyPolicy(confirm="all")


def _answer(**fields: str) -> GatewayAnswer:
    inner = "".join(
        f"<{name}>{value}</{name}>" for name, value in ({"unique_id": "44177a21"} | fields).items()
    )
    return read_answer(f"<payment_response>{inner}</payment_response>".encode())


def _chargeback(type_text: str, *, unique_id: str = "44177a21", reason_code: str = "") -> Chargeback:
    page = read_chargebacks(
        f"<chargeback_responses><chargeback_response><type>{type_text}</type><reason_code>{reason_code}</reason_code>"
        f"<amount>-1000.5</amount><original_transaction_unique_id>{unique_id}</original_transaction_unique_id>"
        "</chargeback_response></chargeback_responses>".encode()
    )
    assert not isinstance(page, GatewayAnswer)
    return page.items[0]


def _from_answer(**fields: str) -> ReportRecord:
    record = from_answer(_answer(**fields), account="default")
    assert record is not None
    return record


def _from_chargeback(type_text: str, **named: str) -> ReportRecord:
    record = from_chargeback(_chargeback(type_text, **named), account="default")
    assert record is not None
    return record


def _sent(**fields: str) -> Notification:
    return decode(form_body({"unique_id": "44177a21"} | fields), content_type=FORM)


@pytest.mark.parametrize(
    ("fetched", "sent"),
    [
        ({"status": "approved"}, {"status": "approved"}),
        ({"status": "declined", "code": "696"}, {"status": "declined", "error_code": "696"}),
        ({"status": "chargebacked"}, {"status": "chargebacked", "event": "chargeback"}),
        ({"status": "represented"}, {"status": "represented", "event": "representment"}),
    ],
)
def test_a_payments_record_is_the_same_event_as_its_notification(
    fetched: dict[str, str], sent: dict[str, str]
) -> None:
    """Otherwise every event would count twice in the completeness report, once as not notified."""
    assert _from_answer(**fetched).event_key == identify(_sent(**sent), account="default").key


def test_a_listed_chargeback_is_the_same_event_as_its_notification() -> None:
    """Likewise for the chargeback lists, whose types come in several spellings."""
    identity = identify(
        _sent(status="chargebacked", event="chargeback", reason_code="AC04"), account="default"
    )
    assert _from_chargeback("1st Chargeback ", reason_code="AC04").event_key == identity.key


def test_the_body_reads_back() -> None:
    """The worker decodes stored bodies anew; what it reads must be what was fetched."""
    record = _from_answer(
        status="error",
        code="340",
        transaction_id="t-7",
        amount="1000",
        currency="EUR",
        transaction_type="sdd_sale",
    )
    again = decode(record.body, content_type=FORM)
    assert again == record.notification
    assert (again.transaction_id, again.amount_minor, again.error_code) == ("t-7", 1000, "340")


def test_nothing_personal_comes_along() -> None:
    """A list item carries account number and name; a second copy of them in the inbox would serve nobody."""
    record = _from_answer(status="approved", bank_account_number="DE89370400440532013000", first_name="Anna")
    assert b"DE89" not in record.body
    assert b"Anna" not in record.body


def test_amounts_of_chargebacks_are_excluded() -> None:
    """They come in either unit and sign; one read as minor units would be announced as a wrong amount."""
    assert _from_chargeback("1st chargeback").notification.amount_minor is None


def test_a_fetched_record_needs_no_confirmation() -> None:
    """Asking the gateway whether it said what it just said would cost a call each and loop for ever."""
    record = _from_chargeback("1st chargeback", reason_code="AC04")
    decision = decide(
        ATTEMPT, record.notification, account="default", policy=ASKING, confirmation=record.confirmation
    )
    assert decision.outcome == "applied"
    assert [entry.reason_code for entry in decision.entries] == ["AC04"]


@pytest.mark.parametrize("kind", ["sdd_refund", "void", "sdd_payout"])
def test_what_is_no_debit_is_set_aside(kind: str) -> None:
    """A refund's own "approved" would be taken for that of a payment nobody knows, and wait a fortnight."""
    assert from_answer(_answer(status="approved", transaction_type=kind), account="default") is None


def test_the_acquirers_own_transfers_are_set_aside() -> None:
    """They move money between accounts that are not ours."""
    assert from_chargeback(_chargeback("Chargeback Transfer to 4711"), account="default") is None


def test_a_new_type_of_chargeback_goes_to_a_person() -> None:
    """A type nobody has seen must be shown and not dropped."""
    record = _from_chargeback("3rd Chargeback")
    decision = decide(ATTEMPT, record.notification, account="default", confirmation=record.confirmation)
    assert (decision.outcome, decision.reason) == ("park", "unknown_status")


def test_a_record_without_a_payment_cannot_be_read() -> None:
    """It must be counted as missing; swallowed, the completeness report would say 0 and be wrong."""
    with pytest.raises(Unreadable):
        from_chargeback(_chargeback("1st chargeback", unique_id=""), account="default")
    with pytest.raises(Unreadable):
        from_answer(
            read_answer(b"<payment_response><status>approved</status></payment_response>"), account="default"
        )


def test_a_notification_that_says_it_all_is_enough() -> None:
    """Else each notification would get a twin at the next fetch, and the inbox twice its rows."""
    assert not says_more(_from_answer(status="approved"), [RecordedStatus("applied", None, None)])
    assert not says_more(_from_answer(status="approved"), [RecordedStatus(None, None, None)])
    assert not says_more(_from_answer(status="chargebacked"), [RecordedStatus("applied", None, "AC04")])


@pytest.mark.parametrize("outcome", ["contradicted", "failed", "confirm"])
def test_a_row_without_effect_is_not_enough(outcome: str) -> None:
    """A false report that came first would exclude the true event permanently."""
    assert says_more(_from_answer(status="chargebacked"), [RecordedStatus(outcome, None, None)])


def test_nothing_stored_is_not_enough() -> None:
    """A dropped notification is what fetches are for."""
    assert says_more(_from_answer(status="approved"), [])


def test_a_reason_that_comes_later_is_news() -> None:
    """Notifications now and then lack the reason; once a list has it, the account must come onto the blacklist."""
    bare = decide(ATTEMPT, _sent(status="chargebacked", event="chargeback"), account="default")
    assert bare.attempt is not None
    assert bare.entries == ()
    late = _from_chargeback("1st chargeback", reason_code="AC04")
    assert says_more(late, [RecordedStatus(bare.outcome, None, None)])
    decision = decide(bare.attempt, late.notification, account="default", confirmation=late.confirmation)
    assert decision.attempt is not None
    assert decision.attempt.reason_code == "AC04"
    assert [entry.action for entry in decision.entries] == ["block"]


def test_an_error_that_becomes_final_is_news() -> None:
    """The gateway says "error 230" while it does not know and "error 501" later; both have one status."""
    unsure, final = _from_answer(status="error", code="230"), _from_answer(status="error", code="501")
    assert unsure.event_key == final.event_key
    assert unsure.key != final.key
    assert says_more(final, [RecordedStatus("applied", "230", None)])


def test_the_same_store_report_records_again_is_a_repeat() -> None:
    """Each list is read dozens of times; its rows must not multiply."""
    assert _from_answer(status="approved").key == _from_answer(status="approved", amount="1000").key
    assert _from_answer(status="approved").key != _from_answer(status="declined").key


def test_a_notification_never_has_the_key_of_a_report_record() -> None:
    """It is worded otherwise, so it would be kept aside as conflicting and shown to a person each time."""
    record = _from_answer(status="approved")
    assert record.key != record.event_key


def test_accounts_keep_apart() -> None:
    """Two accounts of one gateway may use the same ids."""
    here, there = (from_answer(_answer(status="approved"), account=name) for name in ("default", "second"))
    assert here is not None
    assert there is not None
    assert here.key != there.key


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_webhook_and_report_fetch_meet_in_any_order(order: tuple[int, ...]) -> None:
    """The books must not depend on which of the two ways was faster."""
    claims: list[Notification | ReportRecord] = [
        _sent(status="approved"),
        _sent(status="chargebacked", event="chargeback"),
        _from_answer(status="chargebacked"),
        _from_chargeback("1st chargeback", reason_code="MD01"),
    ]
    attempt = msgspec.structs.replace(ATTEMPT, payment_stage=stages.SENT)
    entries: set[str] = set()
    for place in order:
        claim = claims[place]
        if isinstance(claim, ReportRecord):
            decision = decide(
                attempt, claim.notification, account="default", confirmation=claim.confirmation, policy=ASKING
            )
        else:
            decision = decide(attempt, claim, account="default")
        attempt = decision.attempt or attempt
        entries |= {entry.reason_code for entry in decision.entries}
    assert (attempt.state, attempt.payment_stage, attempt.reason_code) == (
        "chargebacked",
        stages.APPROVED,
        "MD01",
    )
    assert entries == {"MD01"}


texts = st.text(st.characters(codec="utf-8"), max_size=40)


@given(
    st.dictionaries(
        st.sampled_from(
            ["status", "unique_id", "transaction_id", "code", "amount", "currency", "reason_code"]
        ),
        texts,
    )
)
def test_any_record_becomes_a_claim_or_is_refused(fields: dict[str, str]) -> None:
    """One strange item would stop the whole list at its page, and all that comes after it would be missing."""
    answer = GatewayAnswer(
        status=fields.get("status", ""),
        unique_id=fields.get("unique_id"),
        transaction_id=fields.get("transaction_id"),
        transaction_type=None,
        code=fields.get("code"),
        message=None,
        technical_message=None,
        amount_minor=None,
        currency=fields.get("currency"),
        timestamp_at=None,
        terminal_token=None,
        reference_id=None,
        reason_code=fields.get("reason_code"),
        redirect_url=None,
        mode=None,
        fields={},
    )
    try:
        record = from_answer(answer, account="default")
    except Rejected:
        return
    assert record is not None
    assert decode(record.body, content_type=FORM) == record.notification
