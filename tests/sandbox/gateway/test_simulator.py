import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from tether_core import iban
from tether_core.emp import requests, responses
from tether_core.emp.http_response import retry_after_s
from tether_sandbox.gateway import (
    SCRIPTS,
    Crafted,
    FaultInjection,
    Faults,
    Payment,
    PaymentHistories,
    Setup,
    Simulator,
    StatusChange,
    plan,
    running,
    scripted_iban,
    sign,
)
from tether_sandbox.gateway.intermediary_pages import PAGES, PageName
from tether_sandbox.gateway.process import Refused, checked, outcome
from tether_sandbox.gateway.scenario import scripted
from tether_sandbox.services.server import free_port

QUIET = Setup(result_after_s=3600)  # results come when a test settles, not before
SALE = {
    "transaction_type": "sdd_sale",
    "usage": "x",
    "amount": "1000",
    "currency": "EUR",
    "iban": "DE89370400440532013000",
    "billing_address/first_name": "Ada",
    "billing_address/last_name": "Byron",
    "billing_address/country": "DE",
}


def _debit(transaction_id: str, *, script: int = 0) -> bytes:
    return requests.sdd_sale(
        requests.Debit(
            transaction_id=transaction_id,
            amount_minor=1000,
            currency="EUR",
            usage="x",
            iban=scripted_iban(script),
            first_name="Ada",
            last_name="Byron",
            country="DE",
        )
    )


def _post(simulator: Simulator, path: str, body: bytes, **headers: str) -> httpx.Response:
    setup = QUIET
    credentials = base64.b64encode(f"{setup.login}:{setup.passwords[0]}".encode()).decode()
    given = {"authorization": f"Basic {credentials}", "content-type": "text/xml", **headers}
    # verify: loading the certificates of the world takes longer than the call, which has no TLS.
    return httpx.post(
        f"{simulator.url}{path}", content=body, headers=given, trust_env=False, verify=False, timeout=60
    )


def _sell(simulator: Simulator, transaction_id: str, *, script: int = 0) -> responses.GatewayAnswer:
    answer = _post(simulator, "/process/sandbox-terminal/", _debit(transaction_id, script=script))
    return responses.read_answer(answer.content)


@contextmanager
def _receiver(answer: Callable[[dict[str, str]], int]) -> Iterator[str]:
    """A merchant on loopback: answers by status, with the echo where that is 200, with a wrong echo where it is 0."""

    class Merchant(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            notification = dict(parse_qsl(body.decode(), strict_parsing=True))
            status = answer(notification)
            echoed = notification["unique_id"] if status else "another"
            echo = f"<notification_echo><unique_id>{echoed}</unique_id></notification_echo>"
            content = echo.encode() if status in {0, 200} else b""
            self.send_response(status or 200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Merchant)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/webhooks/emp"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One quiet gateway for the module; every test uses transaction ids of its own."""
    with running(QUIET) as item:
        yield item


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(SCRIPTS))
def test_amount_and_iban_choose_the_same_script(number: int) -> None:
    """A test that scripts by amount and one that scripts by IBAN must see the same gateway."""
    account = iban.validate(scripted_iban(number))
    assert scripted(1200, iban=account) == SCRIPTS[number]
    if number:
        assert scripted(12_900 + number, iban="DE89370400440532013000") == SCRIPTS[number]


@pytest.mark.parametrize("amount_minor", [1, 99, 911 - 100, 1000, 1111, 2950, 999, 123_456])
def test_ordinary_amounts_are_not_scripted(amount_minor: int) -> None:
    """A demo with real prices must not be full of hang-ups nobody asked for."""
    assert scripted(amount_minor, iban="DE89370400440532013000").number == 0


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"transaction_type": "sale3d"}, "310"),
        ({"transaction_id": ""}, "320"),
        ({"usage": ""}, "320"),
        ({"iban": ""}, "320"),
        ({"billing_address/country": ""}, "320"),
        ({"amount": "10.00"}, "340"),
        ({"amount": "0"}, "340"),
        ({"amount": "\u0661"}, "340"),
        ({"currency": "EURO"}, "340"),
        ({"iban": "DE89370400440532013001"}, "340"),
        ({"usage": "x" * 256}, "330"),
        ({"transaction_type": "sdd_refund"}, "320"),
        ({"transaction_type": "void"}, "320"),
    ],
)
def test_wrong_requests_are_refused_with_the_documented_code(change: dict[str, str], code: str) -> None:
    """A simulator that takes anything lets a client pass that the gateway would refuse."""
    with pytest.raises(Refused) as caught:
        checked({"transaction_id": "t", **SALE, **change})
    assert caught.value.code == code
    checked({"transaction_id": "t", **SALE})


def test_wrong_credentials_get_a_sentence(simulator: Simulator) -> None:
    """Each of these has an answer of its own at the gateway, and clients must tell them apart."""
    ask = requests.reconcile(transaction_id="x")
    path = "/reconcile/sandbox-terminal"
    assert httpx.get(f"{simulator.url}{path}", trust_env=False, timeout=60).status_code == 405
    assert _post(simulator, "/nowhere", ask).status_code == 404
    for header in ("", "Basic", "Basic %%%", "Bearer abc", "Basic " + base64.b64encode(b"a:b").decode()):
        unknown = _post(simulator, path, ask, authorization=header)
        assert unknown.status_code == 401
        assert unknown.headers["www-authenticate"].startswith("Basic")
        assert responses.read_answer(unknown.content).code == "110"
    codes = {
        "360": _post(simulator, path, ask, **{"content-type": "application/json"}),
        "350": _post(simulator, path, b"<reconcile>"),
        "220": _post(simulator, "/reconcile/another", ask),
        "460": _post(simulator, path, ask),
        "320": _post(simulator, path, b"<reconcile/>"),
    }
    for code, answer in codes.items():
        assert answer.status_code == 200
        assert responses.read_answer(answer.content).code == code
    assert _post(simulator, path + "/", ask, **{"content-type": "application/xml"}).status_code == 200


def test_lists_refuse_what_the_gateway_refuses(simulator: Simulator) -> None:
    """Since v57.6 the end is mandatory and a window has seven days; older clients must be found out."""
    path = "/reconcile/by_date/sandbox-terminal"
    for content, code in (
        (b"<start_date>2026-03-01</start_date>", "320"),
        (b"<start_date>2026-03-01</start_date><end_date>2026-03-09</end_date>", "340"),
        (b"<start_date>01.03.2026</start_date><end_date>2026-03-02</end_date>", "340"),
        (b"<start_date>2026-03-01</start_date><end_date>2026-03-02</end_date><page>0</page>", "340"),
    ):
        answer = _post(simulator, path, b"<reconcile>" + content + b"</reconcile>")
        assert responses.read_answer(answer.content).code == code
    week = b"<start_date>2026-03-01</start_date><end_date>2026-03-07</end_date>"
    empty = responses.read_transactions(
        _post(simulator, path, b"<reconcile>" + week + b"</reconcile>").content
    )
    assert empty == responses.RecordPage((), page=1, per_page=100, total_count=0, pages_count=0)


# --- notifications ---------------------------------------------------------------------------------------------------


def test_notifications_are_signed_and_repeated_until_the_echo() -> None:
    """The merchant's first answer is a failure, its second a wrong echo; what it then acknowledges must be what the books say."""
    tries = dict[tuple[str, str], int]()
    heard = list[dict[str, str]]()

    def third_time(fields: dict[str, str]) -> int:
        key = (fields["unique_id"], fields["status"])
        tries[key] = tries.get(key, 0) + 1
        if tries[key] < 3:
            return (503, 0)[tries[key] - 1]
        heard.append(fields)
        return 200

    with _receiver(third_time) as url:
        setup = msgspec.structs.replace(QUIET, notify_url=url, retry_interval_s=0.01)
        with running(setup) as simulator:
            sold = [_sell(simulator, f"n-{script}", script=script) for script in (0, 5, 11, 20, 22)]
            assert simulator.resolve() == 1 + 1 + 2 + 3 + 2
            counts = simulator.sums()["notifications"]
            for item in sold:
                result = [
                    (n["status"], n.get("event", "")) for n in heard if n["unique_id"] == item.unique_id
                ]
                (record,) = simulator.records(unique_id=item.unique_id)
                assert sorted(result) == sorted((t["status"], t["event"]) for t in record["past"])
    assert counts == {"notified": 9, "posts": 27, "acknowledged": 9}
    for each in heard:
        assert each["signature"] == sign(each["unique_id"], password=QUIET.passwords[0])
        assert each["terminal_token"] == "sandbox-terminal"
        assert each["transaction_type"] == "sdd_sale"


def test_notifications_end_after_ten_posts() -> None:
    """As at the gateway: what was not taken by then must be found by asking."""
    with _receiver(lambda _: 500) as url:
        setup = msgspec.structs.replace(QUIET, notify_url=url, retry_interval_s=0.001)
        with running(setup) as simulator:
            _sell(simulator, "lost")
            simulator.resolve()
            assert simulator.sums()["notifications"] == {"notified": 1, "posts": 10, "given_up": 1}


def test_quiet_scripts_tell_nobody_and_lists_still_know() -> None:
    """Events without a notification are the reason for reconciliation."""
    heard = list[dict[str, str]]()

    def listen(fields: dict[str, str]) -> int:
        heard.append(fields)
        return 200

    with (
        _receiver(listen) as url,
        running(msgspec.structs.replace(QUIET, notify_url=url)) as simulator,
    ):
        sold = _sell(simulator, "quiet", script=25)
        simulator.resolve()
        asked = _post(simulator, "/reconcile/sandbox-terminal", requests.reconcile(unique_id=sold.unique_id))
        assert responses.read_answer(asked.content).status == "chargebacked"
        listed = _post(
            simulator, "/chargebacks/by_date", requests.chargebacks_by_import_date(datetime.now(UTC).date())
        )
        page = responses.read_chargebacks(listed.content)
        assert isinstance(page, responses.RecordPage)
        assert [back.reason_code for back in page.items] == ["AC04"]
    assert heard == []


def test_live_fault_injection_repeats_and_fakes() -> None:
    """The merchant under test must see nuisances here too, and the simulator must know which of them it believed."""

    def honest(fields: dict[str, str]) -> int:
        return 200 if fields["signature"] == sign(fields["unique_id"], password=QUIET.passwords[0]) else 401

    fault_injection = FaultInjection(
        repeated_at_once=1.0, repeated_later=1.0, reordered=1.0, invalid_signature=1.0
    )
    with _receiver(honest) as url:
        setup = msgspec.structs.replace(QUIET, notify_url=url, fault_injection=fault_injection)
        with running(setup) as simulator:
            for number in range(5):
                _sell(simulator, f"m-{number}")
            simulator.resolve()
            counts = simulator.sums()["notifications"]
    assert counts == {"notified": 5, "posts": 20, "acknowledged": 15, "refused": 5}


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_sums_conserve(simulator: Simulator) -> None:
    """The conservation check of a whole run starts from these sums."""
    before = simulator.sums()
    for number in range(6):
        _sell(simulator, f"sum-{number}", script=(0, 0, 2, 3, 5, 11)[number])
    simulator.resolve()
    after = simulator.sums()

    def grown(status: str) -> tuple[int, int]:
        was, now = (
            sums["by_status"].get(status, {"debits": 0, "amount_minor": 0}) for sums in (before, after)
        )
        return now["debits"] - was["debits"], now["amount_minor"] - was["amount_minor"]

    assert grown("approved") == (2, 2000)
    assert grown("declined") == (2, 2000)
    assert grown("chargebacked") == (1, 1000)
    assert after["requests"]["sale"] - before["requests"].get("sale", 0) == 6
    assert after["ahead"] == 0
    assert [simulator.debited(transaction_id=f"sum-{number}") for number in range(6)] == [1, 1, 0, 0, 0, 1]


def test_a_test_may_let_something_happen(simulator: Simulator) -> None:
    """Chargebacks months later, on demand."""
    sold = _sell(simulator, "later-1")
    simulator.resolve()
    simulator.transition(
        StatusChange("chargebacked", event="chargeback", reason_code="MD06", transaction_id="later-1")
    )
    simulator.transition(StatusChange("chargebacked", event="retrieval_request", transaction_id="later-1"))
    (record,) = simulator.records(unique_id=sold.unique_id)
    assert record["status"] == "chargebacked"
    assert simulator.debited(transaction_id="later-1") == 1
    with pytest.raises(httpx.HTTPStatusError):
        simulator.transition(StatusChange("approved", transaction_id="no-such-payment"))


def test_the_time_of_records_can_be_set() -> None:
    """A test that plays months needs returns of the day that it plays, in notifications and in the lists alike."""
    notified: list[dict[str, str]] = []

    def answer(notification: dict[str, str]) -> int:
        notified.append(notification)
        return 200

    with _receiver(answer) as url, running(msgspec.structs.replace(QUIET, notify_url=url)) as gateway:
        taken_at, returned_at = (datetime(2026, month, 2, 6, tzinfo=UTC) for month in (3, 5))
        assert gateway.set_clock(taken_at) == 0
        _sell(gateway, "t-set")
        changes = [
            StatusChange("approved", transaction_id="t-set"),
            StatusChange("chargebacked", "chargeback", "MD06", transaction_id="t-set"),
        ]
        assert gateway.set_clock(returned_at, changes) == 1
        # Delivered when the call returns.
        assert [notification["status"] for notification in notified] == ["approved", "chargebacked"]
        (record,) = gateway.records()
        assert datetime.fromisoformat(record["taken_at"]) == taken_at
        assert [datetime.fromisoformat(at) for at, *_ in record["changes"]] == [returned_at] * 2
        ask = requests.chargebacks_by_import_date(returned_at.date())
        listed = responses.read_chargebacks(_post(gateway, "/chargebacks/by_date", ask).content)
        assert not isinstance(listed, responses.GatewayAnswer)
        assert [item.reason_code for item in listed.items] == ["MD06"]
        naive = httpx.post(
            f"{gateway.url}/ledger/clock",
            content=b'{"now": "2026-03-02T06:00:00"}',
            trust_env=False,
            timeout=60,
        )
        assert naive.status_code == 400


def test_payments_made_elsewhere_can_be_adopted(simulator: Simulator) -> None:
    """A receiver that asks back about planned notifications must hear the truth they were planned from."""
    payments = [Payment(f"adopted-{n}", f"ad{n:030x}", 500, "EUR") for n in range(40)]
    planned = plan(payments, seed=4, password="x", payment_histories=PaymentHistories(chargebacked=0.5))
    simulator.adopt(payments, planned=planned, taken_at=datetime.now(UTC) - timedelta(days=30))
    for payment in payments:
        (record,) = simulator.records(transaction_id=payment.transaction_id)
        history = planned.histories[payment.unique_id]
        assert record["status"] == (history[-1].status if history else "pending_async")
        assert len(record["past"]) == len(history)


def test_rates_are_measured_where_requests_arrive() -> None:
    """A limiter is judged by what the gateway sees, not by what the client believes."""
    with running(msgspec.structs.replace(QUIET, rate_limit_per_s=5)) as simulator:
        answers = [
            _post(simulator, "/process/sandbox-terminal", _debit(f"r-{n}")).status_code for n in range(8)
        ]
        assert answers == [200] * 5 + [429] * 3
        assert simulator.rates("sale", window_s=10)["most_in_window"] == 5
        assert simulator.rates("sale", window_s=10)["requests"] == 5
        assert simulator.rates("reconcile")["requests"] == 0
        assert simulator.sums()["requests"] == {"sale": 5, "throttled": 3}


def test_rates_know_the_slowest_span_and_every_second(simulator: Simulator) -> None:
    """A limiter that lets too little through is as wrong as one that lets too much through."""
    before = simulator.requests().get("sale", 0)
    for n in range(4):
        _sell(simulator, f"slow-{n}")
    assert simulator.requests()["sale"] == before + 4
    payload = simulator.rates("sale", window_s=0.000_001)
    assert payload["least_in_window"] == payload["most_in_window"] == 1
    assert simulator.rates("sale", window_s=3_600)["least_in_window"] is None
    assert sum(payload["per_second"]) == payload["requests"] == before + 4
    both = simulator.rates("sale,reconcile")["requests"]
    assert both == before + 4 + simulator.requests().get("reconcile", 0)


# --- refunding -----------------------------------------------------------------------------------------------------


def _refund(
    simulator: Simulator, own_id: str, *, of: str, amount_minor: int = 1000
) -> responses.GatewayAnswer:
    asked = requests.sdd_refund(own_id, reference_id=of, amount_minor=amount_minor, currency="EUR", usage="x")
    return responses.read_answer(_post(simulator, "/process/sandbox-terminal", asked).content)


def _void(simulator: Simulator, own_id: str, *, of: str) -> httpx.Response:
    return _post(simulator, "/process/sandbox-terminal", requests.void(own_id, reference_id=of, usage="x"))


def test_a_refund_is_taken_once_and_the_ledger_tells_of_it() -> None:
    """A client that refunds twice must be caught by the books, and not paid for by them."""
    with running(QUIET) as simulator:
        sold = _sell(simulator, "gb-1").unique_id
        assert sold is not None
        assert _refund(simulator, "gb-r0", of=sold).code == "420"  # not approved yet
        simulator.resolve()
        assert _refund(simulator, "gb-r1", of=sold).status == "pending_async"
        assert _refund(simulator, "gb-r2", of=sold).code == "440"
        simulator.resolve()
        assert [record["status"] for record in simulator.records(unique_id=sold)] == ["refunded"]
        assert _refund(simulator, "gb-r3", of=sold).code == "420"
        sums = simulator.sums()
        assert sums["refunded"] == {"sdd_refund": {"orders": 1, "amount_minor": 1000}}
        assert sums["refunded_and_charged_back"] == []
        # The debtor turns to the bank all the same.
        simulator.transition(StatusChange("chargebacked", "chargeback", "MD06", unique_id=sold))
        assert simulator.sums()["refunded_and_charged_back"] == ["gb-1"]


def test_a_chargeback_that_overtakes_a_refund_stays_one() -> None:
    """The books would say refunded where the bank has the money, and hide that it went back twice."""
    with running(QUIET) as simulator:
        sold = _sell(simulator, "gb-2").unique_id
        assert sold is not None
        simulator.resolve()
        _refund(simulator, "gb-r4", of=sold)
        simulator.transition(StatusChange("chargebacked", "chargeback", "MD06", unique_id=sold))
        assert _refund(simulator, "gb-r5", of=sold).code == "420"
        simulator.resolve()
        assert [record["status"] for record in simulator.records(unique_id=sold)] == ["chargebacked"]
        assert simulator.sums()["refunded_and_charged_back"] == ["gb-2"]


def test_a_void_whose_answer_is_lost_is_kept() -> None:
    """What a client must find out by asking has to be there to be found."""
    with running(QUIET) as simulator:
        sold = _sell(simulator, "gb-3").unique_id
        assert sold is not None
        simulator.faults(Faults(failed=1.0))
        assert _void(simulator, "gb-v1", of=sold).status_code == 500
        simulator.faults(Faults())
        assert simulator.debited(transaction_id="gb-3") == 0
        asked = _post(simulator, "/reconcile/sandbox-terminal", requests.reconcile(transaction_id="gb-v1"))
        assert responses.read_answer(asked.content).status == "approved"
        assert responses.read_answer(_void(simulator, "gb-v2", of=sold).content).code == "420"


def test_a_void_that_is_dropped_leaves_the_debit() -> None:
    """A client that takes silence for a void would tell the debtor that nothing is debited."""
    with running(QUIET) as simulator:
        sold = _sell(simulator, "gb-4").unique_id
        assert sold is not None
        simulator.faults(Faults(refused=1.0))
        assert _void(simulator, "gb-v3", of=sold).status_code == 503
        simulator.faults(Faults())
        assert simulator.debited(transaction_id="gb-4") == 1
        simulator.resolve()
        assert responses.read_answer(_void(simulator, "gb-v3", of=sold).content).status == "approved"
        assert simulator.debited(transaction_id="gb-4") == 0


def test_repeats_can_be_refused() -> None:
    """The kinder gateway, for a client that counts on error 450."""
    with running(msgspec.structs.replace(QUIET, repeats="refuse", scope_required=True)) as simulator:
        assert _sell(simulator, "once").status == "pending_async"
        assert _sell(simulator, "once").code == "450"
        assert simulator.debited(transaction_id="once") == 1
        simulator.resolve()
        sold = simulator.records(transaction_id="once")[0]["unique_id"]
        assert _refund(simulator, "back", of=sold).status == "pending_async"
        assert _refund(simulator, "back", of=sold).code == "450"
        ask = requests.chargebacks_by_import_date(datetime.now(UTC).date())
        unscoped = responses.read_chargebacks(_post(simulator, "/chargebacks/by_date", ask).content)
        assert isinstance(unscoped, responses.GatewayAnswer)
        assert unscoped.code == "320"


def test_records_can_lag_behind_notifications() -> None:
    """A client that treats a record as newer than the notification loses the notification's status."""
    heard = list[dict[str, str]]()

    def listen(fields: dict[str, str]) -> int:
        heard.append(fields)
        return 200

    with (
        _receiver(listen) as url,
        running(Setup(notify_url=url, result_after_s=3600, record_lag_s=3600)) as simulator,
    ):
        sold = _sell(simulator, "lagging")
        assert sold.unique_id is not None
        simulator.resolve()
        simulator.transition(StatusChange("chargebacked", "chargeback", "AC04", unique_id=sold.unique_id))
        simulator.resolve()
        assert [entry["status"] for entry in heard] == ["approved", "chargebacked"]
        answer = _post(
            simulator, "/reconcile/sandbox-terminal/", requests.reconcile(unique_id=sold.unique_id)
        )
        assert responses.read_answer(answer.content).status == "pending_async"
        page = responses.read_chargebacks(
            _post(simulator, "/chargebacks", requests.chargeback(unique_id=sold.unique_id)).content
        )
        assert isinstance(page, responses.GatewayAnswer) or page.items == ()
        assert simulator.records(unique_id=sold.unique_id)[0]["status"] == "chargebacked"  # its books know


def test_a_password_can_change_and_notifications_be_repeated() -> None:
    """A password that changes while debits are under way, and lost notifications, are what an operator has to practise."""
    seen = list[dict[str, str]]()

    def answer(notification: dict[str, str]) -> int:
        seen.append(notification)
        return 200

    with (
        _receiver(answer) as url,
        running(msgspec.structs.replace(QUIET, notify_url=url, further_logins=("second",))) as simulator,
    ):
        _sell(simulator, "t-1")
        simulator.resolve()
        simulator.passwords(["new"])
        assert _post(simulator, "/process/sandbox-terminal/", _debit("t-2")).status_code == 401
        credentials = base64.b64encode(b"second:new").decode()
        taken = _post(
            simulator,
            "/process/sandbox-terminal/",
            _debit("t-2"),
            authorization=f"Basic {credentials}",
        )
        assert taken.status_code == 200
        simulator.resolve()
        assert simulator.repeat(last_s=60) == 2
        simulator.resolve()
        counts = simulator.sums()["notifications"]
    assert (counts["acknowledged"], counts["repeated"]) == (2, 2)
    assert sorted(seen[2:], key=str) == sorted(seen[:2], key=str)
    passwords = [QUIET.passwords[0], "new"]
    signatures = [sign(item["unique_id"], password=key) for item, key in zip(seen, passwords, strict=False)]
    assert [item["signature"] for item in seen[:2]] == signatures


def test_notifications_can_be_crafted_under_one_signature() -> None:
    """A sender who has seen one notification can write others; a receiver must be tested with them."""
    heard = list[dict[str, str]]()

    def listen(result: dict[str, str]) -> int:
        heard.append(result)
        return 200

    with _receiver(listen) as url, running(Setup(notify_url=url)) as simulator:
        fields = {"unique_id": "aa", "status": "chargebacked", "chargeback_unique_id": "forged-{n}"}
        simulator.craft(Crafted("aa", fields, times=3))
        simulator.craft(Crafted("aa", {"unique_id": "aa", "reference_id": "aa"}, signed_with="login"))
        simulator.resolve()
    assert sorted(entry.get("chargeback_unique_id", "") for entry in heard) == [
        "",
        "forged-0",
        "forged-1",
        "forged-2",
    ]
    signatures = {entry["signature"] for entry in heard if "status" in entry}
    assert signatures == {sign("aa", password=Setup().passwords[0])}
    assert {entry["signature"] for entry in heard} - signatures == {sign("aa", password=Setup().login)}


# --- chance ----------------------------------------------------------------------------------------------------------


def test_faults_depend_on_the_payment_and_not_on_the_order() -> None:
    """A failure seen once must be seen again, with other workers and another order of requests."""
    setup = Setup(faults=Faults(silent=0.2, failed=0.2, dropped=0.2), payment_histories=PaymentHistories())
    fields = [{"transaction_id": f"c-{n}", **SALE} for n in range(300)]
    item = [outcome(each, nth=1, setup=setup) for each in fields]
    again = [outcome(each, nth=1, setup=setup) for each in reversed(fields)]
    assert item == list(reversed(again))
    assert {script.failure_mode for script in item} == {"plain", "silence", "500"}
    assert any(not script.taken for script in item)
    # A second try of the same debit may fare otherwise, or no retry would ever get through.
    assert item != [outcome(each, nth=2, setup=setup) for each in fields]


def test_scripts_go_before_chance() -> None:
    """A scripted debit in the middle of a chaos test must still do what its test expects."""
    setup = Setup(faults=Faults(silent=1.0))
    assert outcome({"transaction_id": "c", **SALE, "amount": "1902"}, nth=1, setup=setup) == SCRIPTS[2]
    assert outcome({"transaction_id": "c", **SALE}, nth=1, setup=setup).failure_mode == "silence"


def test_results_can_come_in_bursts() -> None:
    """The bank's results come four times a day; a receiver must stand the time they do."""
    heard = list[dict[str, str]]()
    lock = threading.Lock()

    def listen(fields: dict[str, str]) -> int:
        with lock:
            heard.append(fields)
        return 200

    with _receiver(listen) as url:
        setup = Setup(notify_url=url, result_after_s=0.0, results_every_s=1e7)
        with running(setup) as simulator:
            for number in range(20):
                _sell(simulator, f"b-{number}")
            assert simulator.sums()["ahead"] == 20
            assert heard == []
            simulator.resolve()
    assert len(heard) == 20


def test_books_that_differ_can_be_played() -> None:
    """What a person does in the back office, a part of an amount, and a second dispute: receivers must stand these."""
    heard = list[dict[str, str]]()
    lock = threading.Lock()

    def listen(fields: dict[str, str]) -> int:
        with lock:
            heard.append(fields)
        return 200

    with _receiver(listen) as url, running(Setup(notify_url=url, result_after_s=3600)) as simulator:
        sold = _sell(simulator, "differ-1").unique_id
        assert sold is not None
        simulator.transition(StatusChange("approved", unique_id=sold))
        simulator.transition(StatusChange("approved", unique_id=sold, amount="250", currency="JPY"))
        simulator.transition(StatusChange("chargebacked", "chargeback", unique_id=sold))
        simulator.transition(StatusChange("chargeback_reversed", "chargeback_reversal", unique_id=sold))
        simulator.transition(StatusChange("chargebacked", "chargeback", unique_id=sold, dispute="second"))
        refund_id = simulator.refund(sold, amount_minor=100)
        simulator.resolve()
    approved = {(entry["amount"], entry["currency"]) for entry in heard if entry["status"] == "approved"}
    assert {("1000", "EUR"), ("250", "JPY")} <= approved  # in whatever order they came
    disputes = [entry["chargeback_unique_id"] for entry in heard if entry.get("event") == "chargeback"]
    assert len(set(disputes)) == 2
    (refund,) = [entry for entry in heard if entry["unique_id"] == refund_id]
    assert (refund["transaction_type"], refund["reference_transaction_unique_id"], refund["amount"]) == (
        "sdd_refund",
        sold,
        "100",
    )


# --- what stands before the gateway -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_answers_in_the_gateways_place(name: PageName) -> None:
    """A client is tested against maintenance only if nobody takes an order meanwhile, and everything gets the page."""
    with running(QUIET) as simulator:
        simulator.faults(Faults(page=name))
        for path, body in (
            ("/process/sandbox-terminal", _debit("page-1")),
            ("/reconcile/sandbox-terminal", requests.reconcile(transaction_id="page-1")),
        ):
            answer = _post(simulator, path, body)
            assert (answer.status_code, answer.content) == (PAGES[name].status, PAGES[name].body)
        simulator.faults(Faults())
        assert simulator.requests() == {"page": 2}
        assert _sell(simulator, "page-1").status == "pending_async"
        assert simulator.debited(transaction_id="page-1") == 1


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("throttled_readably", 429, "623"), ("refused_readably", 422, "340")]
)
def test_a_refusal_with_another_status_names_the_payment(fault: str, status: int, code: str) -> None:
    """Without the id it could be anybody's refusal, and no client may believe it."""
    with running(QUIET) as simulator:
        simulator.faults(msgspec.convert({fault: 1.0}, Faults))
        answer = _post(simulator, "/process/sandbox-terminal", _debit("named-1"))
        read = responses.read_answer(answer.content)
        assert (answer.status_code, read.status, read.code) == (status, "error", code)
        assert read.transaction_id == "named-1"
        assert ("retry-after" in answer.headers) == (status == 429)
        assert simulator.records(transaction_id="named-1") == []


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_retry_after_comes_in_its_forms(form: Literal["seconds", "date", "none"]) -> None:
    """Both are allowed, and a client that knows one of them waits for nothing with the other."""
    setup = msgspec.structs.replace(QUIET, retry_after=form, retry_after_s=30, faults=Faults(throttled=1.0))
    with running(setup) as simulator:
        headers = _post(simulator, "/process/sandbox-terminal", _debit("soon-1")).headers
    seconds = retry_after_s(headers.get("retry-after"), date=headers.get("date"))
    assert seconds == (None if form == "none" else 30.0)


@pytest.mark.parametrize(
    "fault", ["connect_reset", "request_cut", "request_held", "response_lost", "response_cut"]
)
def test_connections_die_in_every_phase(fault: str) -> None:
    """A client that was never cut off in a phase has not been tested in it; and the ledger must know what was taken."""
    setup = msgspec.structs.replace(QUIET, relay_port=free_port())
    taken = fault in {"response_lost", "response_cut"}
    with running(setup) as simulator:
        assert _sell(simulator, "dies-0").status == "pending_async"  # it relays
        simulator.faults(msgspec.convert({fault: 1.0}, Faults))
        for number in range(1, 4):
            with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False, timeout=1.0) as client:
                client.post(
                    f"{simulator.url}/process/sandbox-terminal",
                    content=_debit(f"dies-{number}"),
                    auth=("sandbox", "sandbox-password"),
                    headers={"content-type": "text/xml"},
                )
            assert simulator.debited(transaction_id=f"dies-{number}") == taken
        assert simulator.requests()[fault] == 3
        simulator.faults(Faults())
        assert _sell(simulator, "dies-9").status == "pending_async"
