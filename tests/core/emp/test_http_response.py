"""What an HTTP response proves: the table of `tether_core.emp.http_response`, row by row."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.http_response import GatewayResponse, inquired, listed, retry_after_s, submitted
from tether_core.emp.responses import read_chargebacks, read_transactions
from tether_core.errors import CredentialsRejected, GatewaySilent, NotSubmitted

PAGES = {
    "empty": b"",
    "html": b"<!doctype html><html><body>We will be back soon</body></html>",
    "xhtml 460": b'<?xml version="1.0"?><html><head><status>error</status><code>460</code></head></html>',
    "json": b'{"status":"error","code":460}',
    "cut": b"<payment_response><status>error</status><code>460</co",
    "no code": b"<payment_response><status>error</status></payment_response>",
    "code 101": b"<payment_response><status>error</status><code>101</code></payment_response>",
}
STATUSES = (
    100,
    200,
    201,
    204,
    301,
    302,
    400,
    401,
    403,
    404,
    408,
    409,
    422,
    429,
    451,
    500,
    502,
    503,
    504,
    520,
)


def _body(
    *,
    status: str = "error",
    code: str = "",
    own_id: str = "",
    unique_id: str = "",
    root: str = "payment_response",
) -> bytes:
    fields = {"status": status, "code": code, "transaction_id": own_id, "unique_id": unique_id}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value)
    return f"<{root}>{inner}</{root}>".encode()


ABSENT = _body(code="460")


@pytest.mark.parametrize(("status", "page"), list(itertools.product(STATUSES, PAGES)))
def test_a_maintenance_page_proves_nothing(status: int, page: str) -> None:
    """Taken for "not found" it debits again; taken for a refusal it ends a debit that was collected."""
    response = GatewayResponse(status, PAGES[page])
    if (status, page) in {(200, "no code"), (200, "code 101")}:
        answer = submitted(response, transaction_id="t-7")
        assert (answer.unique_id, answer.code) in {
            (None, None),
            (None, "101"),
        }  # what `sending` calls unclear
    else:
        with pytest.raises(GatewaySilent) as caught:
            submitted(response, transaction_id="t-7")
        assert not isinstance(caught.value, NotSubmitted)
        assert isinstance(caught.value, CredentialsRejected) == (status == 401)
    if status != 200:
        with pytest.raises(GatewaySilent):
            inquired(response, transaction_id="t-7")
        for read in (read_transactions, read_chargebacks):
            with pytest.raises(GatewaySilent):
                listed(response, read=read)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("named", [True, False])
def test_not_found_is_believed_with_http_200_only(status: int, *, named: bool) -> None:
    """A 404 with a body that looks right is what a gateway shows whose routes have moved; the debit may be collected."""
    response = GatewayResponse(status, _body(code="460", own_id="t-7" if named else ""))
    if status == 200:
        assert inquired(response, transaction_id="t-7") is None
        return
    with pytest.raises(GatewaySilent):
        inquired(response, transaction_id="t-7")
    with pytest.raises(GatewaySilent):
        submitted(response, transaction_id="t-7")


@pytest.mark.parametrize(
    "body",
    [
        _body(code="460", own_id="another"),
        _body(code="460", status="approved"),
        _body(code="460", status="declined"),
        _body(code="460", root="wpf_payment"),
        _body(code="460", root="chargeback_response"),
    ],
)
def test_not_found_that_contradicts_itself_is_none(body: bytes) -> None:
    """Each of these once made a debit sendable again."""
    with pytest.raises(GatewaySilent):
        inquired(GatewayResponse(200, body), transaction_id="t-7")


def test_not_found_beside_an_id_of_the_gateway_is_no_not_found() -> None:
    """What has an id there is there."""
    answer = inquired(GatewayResponse(200, _body(code="460", unique_id="44177a21")), transaction_id="t-7")
    assert answer is not None
    assert answer.unique_id == "44177a21"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 499])
def test_a_refusal_of_our_payment_with_4xx_is_that_refusal(status: int) -> None:
    """Called silence, a debit that the gateway refuses would be inquired for days, and its run would never end."""
    refused = submitted(GatewayResponse(status, _body(code="340", own_id="t-7")), transaction_id="t-7")
    assert (refused.status, refused.code) == ("error", "340")
    declined = _body(code="500", status="declined", own_id="t-7", unique_id="44177a21")
    assert submitted(GatewayResponse(status, declined), transaction_id="t-7").unique_id == "44177a21"
    assert inquired(GatewayResponse(status, declined), transaction_id="t-7") is not None


@pytest.mark.parametrize(
    "body",
    [
        _body(code="340"),  # of whom?
        _body(code="340", own_id="another"),
        _body(code="450", own_id="t-7"),  # it may be there already
        _body(code="230", own_id="t-7"),
        _body(code="100", own_id="t-7"),
        _body(status="approved", own_id="t-7", unique_id="44177a21"),
        _body(status="pending_async", own_id="t-7", unique_id="44177a21"),
        _body(code="340", own_id="t-7", root="wpf_payment"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_what_does_not_refuse_our_payment_proves_nothing(status: int, body: bytes) -> None:
    """A refusal is the end of a debit, so it must be about this one, and be one."""
    with pytest.raises(GatewaySilent) as caught:
        submitted(GatewayResponse(status, body), transaction_id="t-7")
    assert not isinstance(caught.value, NotSubmitted)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_5xx_is_never_read(status: int) -> None:
    """A server that failed may have taken the order before it did."""
    with pytest.raises(GatewaySilent, match=f"http {status}"):
        submitted(GatewayResponse(status, _body(code="340", own_id="t-7")), transaction_id="t-7")


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_readably_took_nothing(status: int) -> None:
    """The debit is ready again, and its run pauses for a person."""
    assert submitted(GatewayResponse(status, _body(code="110")), transaction_id="t-7").code == "110"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b"<html>Login</html>"),
        (401, _body(code="340", own_id="t-7")),
        (401, _body(status="declined", code="500", own_id="t-7")),
        (401, _body(status="approved", own_id="t-7", unique_id="44177a21")),
        (401, ABSENT),
        (404, _body(code="110")),
    ],
)
def test_401_is_about_us_and_never_refuses_a_debit(status: int, body: bytes) -> None:
    """A debit that ended by a 401 would be collected again under another number while the first one stands."""
    with pytest.raises(CredentialsRejected) as caught:
        submitted(GatewayResponse(status, body), transaction_id="t-7")
    assert caught.value.is_failure is False
    with pytest.raises(CredentialsRejected):
        inquired(GatewayResponse(status, body), transaction_id="t-7")
    with pytest.raises(CredentialsRejected):
        listed(GatewayResponse(status, body), read=read_chargebacks)


def test_credentials_refused_with_http_200_are_credentials_to_an_inquiry() -> None:
    """Counted as a wrong inquiry, a day with a wrong password would use up all inquiries of a payment."""
    with pytest.raises(CredentialsRejected):
        inquired(GatewayResponse(200, _body(code="110")), transaction_id="t-7")
    with pytest.raises(CredentialsRejected):
        listed(GatewayResponse(200, _body(code="110")), read=read_transactions)


def test_a_list_is_believed_with_http_200_and_only_if_it_can_be_read() -> None:
    """An unreadable page taken for an empty list would hide the chargebacks of a day."""
    page = read_chargebacks(b"<chargeback_responses/>")
    assert listed(GatewayResponse(200, b"<chargeback_responses/>"), read=read_chargebacks) == page
    for body in (PAGES["json"], PAGES["cut"], PAGES["html"]):
        with pytest.raises(GatewaySilent, match="unreadable answer"):
            listed(GatewayResponse(200, body), read=read_chargebacks)


def test_429_with_a_refusal_is_not_submitted() -> None:
    """The gateway says that it took nothing; a quarter of an hour of not knowing would be for nothing."""
    with pytest.raises(NotSubmitted) as caught:
        submitted(GatewayResponse(429, _body(code="623"), retry_after="7"), transaction_id="t-7")
    assert (caught.value.cause, caught.value.slow_down_s, caught.value.is_failure) == (
        "throttled",
        7.0,
        False,
    )


@pytest.mark.parametrize("body", [b"", b"<html>slow down</html>", ABSENT, _body(), _body(code="100")])
def test_429_alone_proves_nothing_but_slows_down(body: bytes) -> None:
    """A proxy that repeats a request at a second server shows the second one's 429, and the first one took the debit."""
    with pytest.raises(GatewaySilent) as caught:
        submitted(GatewayResponse(429, body), transaction_id="t-7")
    assert not isinstance(caught.value, NotSubmitted)
    assert (caught.value.slow_down_s, caught.value.is_failure) == (0.0, False)
    with pytest.raises(GatewaySilent) as caught:
        inquired(GatewayResponse(429, body, retry_after="3"), transaction_id="t-7")
    assert caught.value.slow_down_s == 3.0


def test_503_slows_down_where_it_names_a_time() -> None:
    """Maintenance announces its end; without a time the circuit breaker is enough."""
    with pytest.raises(GatewaySilent) as caught:
        submitted(GatewayResponse(503, b"", retry_after="30"), transaction_id="t-7")
    assert (caught.value.slow_down_s, caught.value.is_failure) == (30.0, True)
    with pytest.raises(GatewaySilent) as caught:
        submitted(GatewayResponse(503, b""), transaction_id="t-7")
    assert caught.value.slow_down_s is None


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", None, 0.0),
        (" 15 ", None, 15.0),
        ("Mon, 02 Mar 2026 12:01:00 GMT", "Mon, 02 Mar 2026 12:00:00 GMT", 60.0),
        ("Monday, 02-Mar-26 12:01:00 GMT", "Mon, 02 Mar 2026 12:00:00 GMT", 60.0),
        ("Mon, 02 Mar 2026 11:00:00 GMT", "Mon, 02 Mar 2026 12:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:01:00 GMT", None, 90.0),
        ("-5", None, None),
        ("1.5", None, None),
        ("1" * 11, None, None),
        ("\u0661\u0665", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, "Mon, 02 Mar 2026 12:00:00 GMT", None),
        ("Mon, 99 Mar 2026 12:01:00 GMT", None, None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, date: str | None, seconds: float | None) -> None:
    """A date is compared with the server's own clock, else a machine whose clock is an hour off would wait an hour."""
    now = datetime(2026, 3, 2, 11, 59, 30, tzinfo=UTC)
    assert retry_after_s(value, date=date, now=now) == seconds


@given(value=st.text(max_size=60), date=st.none() | st.text(max_size=60))
def test_retry_after_never_fails(value: str, date: str | None) -> None:
    """The header comes from outside; an error in it must not hide the answer."""
    seconds = retry_after_s(value, date=date)
    assert seconds is None or seconds >= 0


@given(status=st.integers(100, 599), body=st.binary(max_size=200) | st.sampled_from(sorted(PAGES.values())))
def test_only_answers_and_silence_come_out(status: int, body: bytes) -> None:
    """With any proxy between us and the gateway, only the three outcomes reach a payment."""
    for read in (submitted, inquired):
        try:
            answer = read(GatewayResponse(status, body), transaction_id="t-7")
        except GatewaySilent:
            continue
        assert answer is None or answer.status


def test_a_response_does_not_show_its_body() -> None:
    """The body names debtors, and a response stands in tracebacks."""
    assert repr(GatewayResponse(200, b"Ada Ahorn")) == "GatewayResponse(200, 9 bytes)"
