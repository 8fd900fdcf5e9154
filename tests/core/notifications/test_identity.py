import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, JSON, Notification, decode
from tether_core.notifications.identity import identify
from tether_core.testing import form_body, histories, json_body, notifications

FIELDS = {
    "unique_id": "44177a21",
    "status": "chargebacked",
    "event": "chargeback",
    "chargeback_unique_id": "b1946ac9",
    "amount": "9000",
}


def _notification(**changes: str | None) -> Notification:
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    return decode(form_body(fields), content_type=FORM)


def _key(notification: Notification, *, account: str = "default") -> bytes:
    return identify(notification, account=account).key


@pytest.mark.parametrize(
    "changes",
    [
        {"unique_id": "44177a22"},
        {"status": "approved"},
        {"event": "retrieval_request"},
        {"event": None},
        {"chargeback_unique_id": "b1946ac8"},
        {"chargeback_unique_id": None},
    ],
)
def test_what_tells_two_notifications_apart(changes: dict[str, str | None]) -> None:
    """A later status of a payment would be answered "already processed" and lost."""
    assert _key(_notification(**changes)) != _key(_notification())


def test_kinds_and_accounts_have_keys_of_their_own() -> None:
    """The same id of a page, or at another account, would swallow the payment's."""
    page = decode(form_body({"wpf_unique_id": "44177a21", "wpf_status": "approved"}), content_type=FORM)
    payment = decode(form_body({"unique_id": "44177a21", "status": "approved"}), content_type=FORM)
    assert _key(page) != _key(payment)
    assert _key(payment, account="other") != _key(payment)


@pytest.mark.parametrize("changes", [{"amount": "9001"}, {"reason_code": "AC04"}, {"a_new_field": "1"}])
def test_other_content_under_the_same_key_is_seen(changes: dict[str, str]) -> None:
    """A notification that contradicts the recorded one would pass as its repeat."""
    first, second = (
        identify(each, account="default") for each in (_notification(), _notification(**changes))
    )
    assert first.key == second.key
    assert first.content != second.content


@given(st.permutations(sorted(FIELDS)), st.sampled_from([40, 64, 128]))
def test_order_of_fields_and_signature_do_not_matter(order: list[str], digits: int) -> None:
    """The day the account changes to SHA-256, or a relay reorders fields, every repeat would be a conflict."""
    again = decode(form_body({name: FIELDS[name] for name in order}, digits=digits), content_type=FORM)
    assert identify(again, account="default") == identify(_notification(), account="default")


@given(notifications())
def test_form_and_json_of_the_same_fields_are_the_same(notification: Notification) -> None:
    """A notification that comes again as JSON would be applied twice or called a conflict."""
    as_form = decode(form_body(notification.fields), content_type=FORM)
    as_json = decode(json_body(notification.fields), content_type=JSON)
    assert identify(as_form, account="default") == identify(as_json, account="default")


def test_numbers_of_json_are_those_of_a_form() -> None:
    """An amount as a JSON number would contradict the same amount as text."""
    as_json = decode(json_body(FIELDS | {"amount": 9000}), content_type=JSON)
    assert identify(as_json, account="default") == identify(_notification(), account="default")


@given(histories())
def test_the_notifications_of_one_payment_have_different_keys(history: tuple[Notification, ...]) -> None:
    """All of them carry the same id and signature; with one key only the first would ever count."""
    assert len({_key(notification) for notification in history}) == len(history)
    assert len({notification.signature for notification in history}) == 1


@given(notifications(), notifications())
def test_equal_keys_mean_equal_identity_fields(a: Notification, b: Notification) -> None:
    """Two different notifications under one key: one of them is lost."""

    def parts(each: Notification) -> tuple[str | None, ...]:
        return (each.kind, each.id, each.status, each.event, each.chargeback_id)

    assert (_key(a) == _key(b)) == (parts(a) == parts(b))


def test_parts_cannot_run_into_each_other() -> None:
    """Glued without lengths, ("ab", "c") and ("a", "bc") would be one notification."""
    notification = _notification(unique_id="ab", status="c", event=None, chargeback_unique_id=None)
    other = _notification(unique_id="a", status="bc", event=None, chargeback_unique_id=None)
    assert _key(notification) != _key(other)
    first = identify(_notification(x="yz", event=None), account="default").content
    assert first != identify(_notification(xy="z", event=None), account="default").content


@given(notifications())
def test_digests_have_the_size_of_their_columns(notification: Notification) -> None:
    """The store's columns hold 16 bytes."""
    identity = identify(notification, account="default")
    assert (len(identity.key), len(identity.content)) == (16, 16)


def test_the_digests_of_a_release_are_those_of_the_next() -> None:
    """Keys stored would stop matching, and everything the gateway repeats over an update be applied twice."""
    identity = identify(_notification(), account="default")
    assert identity.key.hex() == "2a6521cb4f1d80976f70d5e7a5c7d1f9"
    assert identity.content.hex() == "520dc398eae26b6deab776d923baf8ed"


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_any_field_has_a_digest(fields: dict[str, str]) -> None:
    """A lone surrogate in a field would raise after the signature was found genuine: a 500 for a real notification."""
    body = json_body({"unique_id": "a", **{n: v for n, v in fields.items() if n.strip() not in FIELDS}})
    identify(decode(body, content_type=JSON), account="default")
