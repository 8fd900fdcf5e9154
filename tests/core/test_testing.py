import importlib.util
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from tether_core import iban, testing
from tether_core.emp.notification import FORM, JSON, Kind, Notification, decode
from tether_core.emp.signature import sign, verify
from tether_core.errors import SignatureMismatch, Unreadable
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, decide
from tether_core.testing import (
    CREDENTIAL,
    SECRET,
    attempt_of,
    attempts,
    deliveries,
    form_body,
    histories,
    ibans,
    json_body,
    notifications,
    spellings,
    statuses,
)


@cache
def _drawn(strategy: Callable[[], st.SearchStrategy[Any]], *, times: int = 100) -> list[Any]:
    """What a strategy draws in so many examples, the same every time."""
    found = []

    @settings(max_examples=times, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(strategy())
    def draw(value: object) -> None:
        found.append(value)

    draw()
    return found


def _reaches(strategy: Callable[[], st.SearchStrategy[Any]], is_it: Callable[[Any], bool]) -> bool:
    """Whether it draws such a value: mostly among the first, which are drawn once for all tests; sometimes later."""
    if any(is_it(value) for value in _drawn(strategy)):
        return True
    many = settings(max_examples=5000, database=None, deadline=None, phases=[Phase.generate])
    return is_it(find(strategy(), is_it, settings=many))


def _delivered_histories() -> st.SearchStrategy[Any]:
    return histories().flatmap(lambda history: st.tuples(st.just(history), deliveries(history)))


@given(ibans())
def test_ibans_are_valid(account: str) -> None:
    """A user's test would fail on our data instead of on their code."""
    assert iban.validate(account) == account


@given(ibans(countries=["DE", "MT"]))
def test_ibans_come_from_the_countries_asked_for(account: str) -> None:
    """Tests of a rule about one country would run on all others."""
    assert iban.country(account) in {"DE", "MT"}


@pytest.mark.parametrize("country", ["AD", "FR", "GB", "MT", "NO"])
def test_ibans_come_from_many_countries(country: str) -> None:
    """Only the lengths and alphabets of one country would ever be tried."""
    assert _reaches(ibans, lambda account: account.startswith(country))


@given(ibans().flatmap(lambda account: st.tuples(st.just(account), spellings(account))))
def test_spellings_are_of_the_same_account(pair: tuple[str, str]) -> None:
    """A spelling that changes the account tests nothing."""
    account, spelled = pair
    assert iban.validate(spelled) == account


@given(statuses(), statuses(known=False))
def test_statuses_are_known_or_not(known: str, unknown: str) -> None:
    """What should be parked would be applied, and the other way round."""
    assert known in stages.STATUSES
    assert unknown not in stages.STATUSES


@given(notifications())
def test_notifications_are_signed(notification: Notification) -> None:
    """A user's route would refuse all of them, and no test would notice that nothing else was tested."""
    assert verify(notification.id, notification.signature, credentials=[CREDENTIAL]) == "default"
    assert (
        decode(form_body(notification.fields), content_type=FORM).fields.keys() == notification.fields.keys()
    )


@pytest.mark.parametrize("kind", ["payment", "wpf", "kyc", "apm_event"])
def test_notifications_of_one_kind(kind: Kind) -> None:
    """A user who takes payments only would be tested with pages."""
    assert _reaches(notifications, lambda item: item.kind == kind)
    assert {result.kind for result in _drawn(partial(notifications, kinds=(kind,)), times=10)} == {kind}


@pytest.mark.parametrize(("digits", "content_type"), [(40, FORM), (64, JSON), (128, FORM)])
def test_bodies_are_signed_over_the_id_of_their_kind(digits: int, content_type: str) -> None:
    """A page signed over its payment's id is a forgery."""
    write = json_body if content_type == JSON else form_body
    fields: dict[str, str | int] = {
        "wpf_unique_id": "aa",
        "payment_transaction_unique_id": "bb",
        "signature": "old",
        "amount": 5,
    }
    notification = decode(write(fields, digits=digits), content_type=content_type)
    assert (notification.id, notification.signature) == ("aa", sign("aa", secret=SECRET, digits=digits))
    assert fields["signature"] == "old"


def test_json_bodies_keep_numbers() -> None:
    """A receiver that reads amounts as numbers would see text in its tests only."""
    content = msgspec.json.decode(json_body({"unique_id": "aa", "amount": 500}))
    assert content == {"unique_id": "aa", "amount": 500, "signature": sign("aa", secret=SECRET)}


def test_another_secret_makes_a_forgery() -> None:
    """Tests of refusals would send genuine notifications."""
    notification = decode(form_body({"unique_id": "aa"}, secret="guessed"), content_type=FORM)
    with pytest.raises(SignatureMismatch):
        verify(notification.id, notification.signature, credentials=[CREDENTIAL])


def test_a_body_needs_an_id() -> None:
    """A body nobody can sign would be sent unsigned."""
    with pytest.raises(Unreadable):
        json_body({"status": "approved"})


@given(histories())
def test_histories_speak_of_one_payment(history: tuple[Notification, ...]) -> None:
    """A history that mixes payments has no end state."""
    assert history
    assert (
        len(
            {
                (notification.unique_id, notification.transaction_id, notification.amount_minor)
                for notification in history
            }
        )
        == 1
    )
    assert all(
        verify(notification.id, notification.signature, credentials=[CREDENTIAL]) for notification in history
    )
    attempt = attempt_of(history[0])
    assert (attempt.transaction_id, attempt.amount_minor) == (
        history[0].transaction_id,
        history[0].amount_minor,
    )
    decision = decide(attempt, history[0], account=CREDENTIAL.account)
    assert decision.outcome in {"applied", "unchanged"}


@pytest.mark.parametrize(
    "status",
    """
    pending_async approved declined error timeout unsuccessful voided refunded chargebacked chargeback_reversed
    represented representment_reversed second_chargebacked
    """.split(),
)
def test_histories_reach_every_status_of_a_debit(status: str) -> None:
    """A way a payment can go would never be tried by anybody's tests."""
    assert _reaches(histories, lambda history: any(notification.status == status for notification in history))


@pytest.mark.parametrize("event", [None, "chargeback", "retrieval_request"])
def test_histories_reach_chargebacks_with_and_without_event(event: str | None) -> None:
    """Gateways leave the event out, or send requests that look like chargebacks: both need trying."""
    assert _reaches(
        histories, lambda history: any((n.status, n.event) == ("chargebacked", event) for n in history)
    )


@given(_delivered_histories())
def test_deliveries_lose_and_invent_nothing(
    drawn: tuple[tuple[Notification, ...], list[Notification]],
) -> None:
    """A lost notification would make right books look wrong."""
    history, delivered = drawn
    sent = Counter(map(repr, history))
    arrived = Counter(map(repr, delivered))
    assert set(sent) == set(arrived)
    assert all(delivery in history for delivery in delivered)
    assert len(history) <= len(delivered) <= 2 * len(history)


def test_deliveries_come_in_any_order_and_again() -> None:
    """Without reorders and repeats the property would prove nothing."""
    assert _reaches(_delivered_histories, lambda drawn: drawn[1][0] != drawn[0][0])
    assert _reaches(_delivered_histories, lambda drawn: len(drawn[1]) > len(drawn[0]) > 1)


def test_a_history_without_notifications_is_delivered_as_nothing() -> None:
    """A payment the gateway is silent about would raise in the strategy."""
    assert _drawn(partial(deliveries, ()), times=1) == [[]]


@given(attempts())
def test_attempts_stand_anywhere_in_their_lives(attempt: Attempt) -> None:
    """An attempt that cannot exist would fail tests for nothing."""
    assert attempt.state
    assert len(attempt.iban_fingerprint) == 16
    assert "*" in attempt.iban_masked


@pytest.mark.parametrize(
    "state", "pending unknown approved declined error voided refunded chargebacked".split()
)
def test_attempts_reach_every_state(state: str) -> None:
    """A state no test ever starts from is a state nobody has tried."""
    assert _reaches(attempts, lambda attempt: attempt.state == state)


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare "No module named hypothesis" from inside our package looks like our bug."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert testing.__file__
    spec = importlib.util.spec_from_file_location("tether_core_testing_bare", testing.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"install tether-core\[testing\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
