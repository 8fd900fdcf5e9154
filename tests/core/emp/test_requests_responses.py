import contextlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_core.emp import requests, responses
from tether_core.emp.document import Node, read
from tether_core.errors import InvalidIban, InvalidRequest, Unreadable

NOON = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
DEBIT = requests.Debit(
    transaction_id="t-7",
    amount_minor=300,
    currency="EUR",
    usage="Invoice 7",
    iban="DE89370400440532013000",
    first_name="Zoë",
    last_name="O'Neill & Söhne <GmbH>",
    country="DE",
)

# Any text that XML can hold, within the documented lengths.
texts = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"),
    min_size=1,
    max_size=255,
)
names = texts.filter(str.strip)
ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
references = st.text("0123456789abcdef", min_size=1, max_size=32)
amounts = st.integers(1, 10**12)
debits = st.builds(
    requests.Debit,
    transaction_id=ids,
    amount_minor=amounts,
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    usage=names,
    iban=st.sampled_from(["DE89370400440532013000", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"]),
    first_name=names,
    last_name=names,
    country=st.sampled_from(["DE", "NO", "MT"]),
    bic=st.none() | st.sampled_from(["COBADEFF", "COBADEFFXXX"]),
    address1=st.none() | texts,
    address2=st.none() | texts,
    zip_code=st.none() | texts,
    city=st.none() | texts,
    state=st.none() | texts,
    remote_ip=st.none() | st.ip_addresses().map(str),
    company_name=st.none() | texts,
    mandate_reference=st.none() | texts,
    merchant_name=st.none() | texts.map(lambda text: text[:140]),
    email=st.none() | texts,
    phone=st.none() | texts,
)


def _second_opinion(document: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Root and leaves (path, text) in order, by another parser."""

    def leaves(element: ET.Element, path: str) -> list[tuple[str, str]]:
        if not len(element):
            return [(path, element.text or "")]
        return [leaf for child in element for leaf in leaves(child, f"{path}/{child.tag}".lstrip("/"))]

    root = ET.fromstring(document)
    return root.tag, leaves(root, "")


def _given(**fields: object) -> list[tuple[str, str]]:
    return [(name.replace("__", "/"), str(value)) for name, value in fields.items() if value is not None]


@given(debits)
def test_a_debit_says_exactly_what_was_asked_in_the_documented_order(debit: requests.Debit) -> None:
    """A name with an ampersand, cut short or swapped would debit the wrong words, or not at all."""
    root, leaves = _second_opinion(requests.sdd_sale(debit))
    assert root == "payment_transaction"
    assert leaves == _given(
        transaction_type="sdd_sale",
        transaction_id=debit.transaction_id,
        usage=debit.usage,
        remote_ip=debit.remote_ip,
        amount=debit.amount_minor,
        currency=debit.currency,
        iban=debit.iban,
        bic=debit.bic,
        company_name=debit.company_name,
        mandate_reference=debit.mandate_reference,
        billing_address__first_name=debit.first_name,
        billing_address__last_name=debit.last_name,
        billing_address__address1=debit.address1,
        billing_address__address2=debit.address2,
        billing_address__zip_code=debit.zip_code,
        billing_address__city=debit.city,
        billing_address__state=debit.state,
        billing_address__country=debit.country,
        dynamic_descriptor_params__merchant_name=debit.merchant_name,
    )


@given(debits)
def test_the_first_of_a_series_differs_by_type_email_and_phone_only(debit: requests.Debit) -> None:
    """Single debits with an e-mail address are refused by the gateway; the first of a series may need it."""
    _, single = _second_opinion(requests.sdd_sale(debit))
    _, first = _second_opinion(requests.sdd_init_recurring_sale(debit))
    extra = _given(customer_email=debit.email, customer_phone=debit.phone)
    assert [leaf for leaf in first[1:] if leaf not in extra or leaf in single] == single[1:]
    assert set(extra) <= set(first)
    assert first[0] == ("transaction_type", "sdd_init_recurring_sale")


@given(ids, references, amounts, names)
def test_requests_by_reference(transaction_id: str, reference: str, amount: int, usage: str) -> None:
    """A refund under the wrong id pays back the wrong debtor."""
    head = {"transaction_id": transaction_id, "usage": usage}
    for build, kind in (
        (requests.sdd_refund, "sdd_refund"),
        (requests.sdd_recurring_sale, "sdd_recurring_sale"),
    ):
        request = build(
            transaction_id, reference_id=reference, amount_minor=amount, currency="EUR", usage=usage
        )
        assert _second_opinion(request) == (
            "payment_transaction",
            _given(transaction_type=kind, **head, amount=amount, currency="EUR", reference_id=reference),
        )
    assert _second_opinion(requests.void(transaction_id, reference_id=reference, usage=usage)) == (
        "payment_transaction",
        _given(transaction_type="void", **head, reference_id=reference),
    )


def test_questions() -> None:
    """Each list has its own spelling of dates and pages; a wrong one is answered with an error and no data."""
    item = requests.reconcile_by_date(start_at=NOON, end_at=NOON + timedelta(days=7), page=3)
    assert _second_opinion(item) == (
        "reconcile",
        _given(start_date="2026-03-02 12:30:00", end_date="2026-03-09 12:30:00", page=3),
    )
    assert _second_opinion(requests.chargeback(unique_id="44177a21")) == (
        "chargeback_request",
        _given(original_transaction_unique_id="44177a21", mode="list"),
    )
    assert _second_opinion(requests.chargebacks_by_date(start_on=NOON.date(), scope="external")) == (
        "chargeback_request",
        _given(start_date="2026-03-02", page=1, per_page=100, scope="external"),
    )
    assert _second_opinion(requests.chargebacks_by_import_date(NOON.date(), page=2, per_page=50)) == (
        "chargeback_request",
        _given(import_date="2026-03-02", page=2, per_page=50),
    )
    for name in ("unique_id", "arn", "transaction_id"):
        assert _second_opinion(requests.reconcile(**{name: "x"})) == ("reconcile", [(name, "x")])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transaction_id", ""),
        ("transaction_id", "a" * 256),
        ("transaction_id", "with blank"),
        ("transaction_id", "ünïcode"),
        ("usage", "  "),
        ("usage", "u" * 256),
        ("amount_minor", 0),
        ("amount_minor", -1),
        ("currency", "eur"),
        ("bic", "COBADE"),
        ("first_name", ""),
        ("last_name", "n" * 256),
        ("country", "Germany"),
        ("remote_ip", "localhost"),
        ("merchant_name", "m" * 141),
        ("city", "Köln\x00"),
        ("address1", "a\ud800"),
        ("address2", "two\nlines"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_here_by_name_of_field(field: str, value: object) -> None:
    """Sent anyway, it costs a call and an error; the text of our error must not show what belongs to a debtor."""
    with pytest.raises(InvalidRequest) as caught:
        requests.sdd_sale(msgspec.structs.replace(DEBIT, **{field: value}))
    assert caught.value.field == {"amount_minor": "amount"}.get(field, field)
    assert len(str(value)) < 3 or str(value) not in str(caught.value)


def test_an_account_number_that_is_none_never_reaches_the_gateway() -> None:
    """The documentation's own sample fails its check digits; who tests with it must hear so, masked."""
    with pytest.raises(InvalidIban) as caught:
        requests.sdd_sale(msgspec.structs.replace(DEBIT, iban="DE09100100101234567891"))
    assert "1001001012345678" not in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        requests.reconcile,
        lambda: requests.reconcile(unique_id="a", arn="b"),
        requests.chargeback,
        lambda: requests.chargeback(unique_id="a", arn="b"),
        lambda: requests.reconcile_by_date(start_at=NOON, end_at=NOON),
        lambda: requests.reconcile_by_date(start_at=NOON, end_at=NOON + timedelta(days=7, seconds=1)),
        lambda: requests.reconcile_by_date(start_at=NOON, end_at=NOON + timedelta(days=1), page=0),
        lambda: requests.chargebacks_by_date(start_on=NOON.date(), end_on=NOON.date() - timedelta(days=1)),
        lambda: requests.chargebacks_by_import_date(NOON.date(), per_page=1000),
        lambda: requests.sdd_refund("t", reference_id="r" * 33, amount_minor=1, currency="EUR", usage="u"),
        lambda: requests.reconcile_by_date(
            start_at=NOON.replace(tzinfo=None), end_at=NOON.replace(tzinfo=None) + timedelta(days=1)
        ),
    ],
)
def test_impossible_questions_are_refused(ask: Callable[[], bytes]) -> None:
    """The gateway answers them with an error that looks like "nothing there"."""
    with pytest.raises(InvalidRequest):
        ask()


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are bare by contract
    st.timedeltas(timedelta(0), timedelta(days=100)),
)
def test_windows_cover_a_span_without_gap_and_never_exceed_seven_days(
    start: datetime, span: timedelta
) -> None:
    """A gap of a second hides the payments of that second from the completeness report for ever."""
    cut = requests.windows(start, end_at=start + span)
    assert sum((end - begin for begin, end in cut), timedelta(0)) == span
    assert all(timedelta(0) < end - begin <= requests.WINDOW_MAX for begin, end in cut)
    assert all(item[1] == two[0] for item, two in pairwise(cut))
    assert not cut or (cut[0][0], cut[-1][1]) == (start, start + span)


# --- answers ---------------------------------------------------------------------------------------------------------


def _document(root: str, fields: list[tuple[str, str]], **attributes: str) -> bytes:
    element = ET.Element(root, attributes)
    for name, value in fields:
        ET.SubElement(element, name).text = value
    document: bytes = ET.tostring(element, encoding="utf-8", xml_declaration=True)
    return document


SAMPLE = [
    ("transaction_type", "sdd_sale"),
    ("status", "approved"),
    ("mode", "test"),
    ("transaction_id", "119643250547501c79d8295"),
    ("unique_id", "44177a21403427eb96664a6d7e5d5d48"),
    ("timestamp", "2026-03-02T12:30:00Z"),
    ("amount", "100"),
    ("currency", "EUR"),
    ("sent_to_acquirer", "true"),
]


@pytest.mark.parametrize("root", ["payment_response", "payment_transaction"])
def test_both_roots_are_one_answer(root: str) -> None:
    """The documentation changed the root between versions; an integrator found every answer empty because of it."""
    answer = responses.read_answer(_document(root, SAMPLE))
    assert (answer.status, answer.unique_id) == ("approved", "44177a21403427eb96664a6d7e5d5d48")
    assert (answer.amount_minor, answer.currency) == (100, "EUR")
    assert answer.timestamp_at == NOON
    assert answer.fields == dict(SAMPLE)


def test_missing_empty_and_padded_elements() -> None:
    """Real answers have all three; none may turn into an empty id that matches every other empty id."""
    answer = responses.read_answer(
        b"<payment_response><status>\n  Pending_Async </status><unique_id></unique_id><message/>"
        b"<redirect_url>\n https://bank.example/x?a=1&amp;b=2 \n</redirect_url><amount>12.50</amount>"
        b"<timestamp>2026-13-41T99:99:99Z</timestamp></payment_response>"
    )
    assert answer.status == "pending_async"
    assert answer.unique_id is answer.transaction_id is answer.message is answer.code is None
    assert answer.redirect_url == "https://bank.example/x?a=1&b=2"
    assert answer.amount_minor is None
    assert answer.timestamp_at is None


def test_codes_stay_text() -> None:
    """Leading zeros count, and 460 is not the number 460."""
    answer = responses.read_answer(_document("wpf_payment", [("status", "error"), ("code", "0460")]))
    assert answer.code == "0460"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "well-formed"),
        (b"<payment_response><status>approved</status>", "well-formed"),
        (b"<payment_response/>", "no status"),
        (b"<payment_response><status/></payment_response>", "no status"),
        (b"<payment_responses><status>approved</status></payment_responses>", "root"),
        (b"<!DOCTYPE html><html/>", "document type"),
        (
            b'<!DOCTYPE a [<!ENTITY b "c">]><payment_response><status>&b;</status></payment_response>',
            "document type",
        ),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><payment_response/>', "document type"),
        (b"<payment_response><status>&unknown;</status></payment_response>", "well-formed"),
        (
            b"<payment_response><status>approved</status><status>declined</status></payment_response>",
            "two different",
        ),
        (b"<a>" * 17 + b"</a>" * 17, "deep"),
        (
            "<payment_response><status>approved</status><m>é</m></payment_response>".encode("latin-1"),
            "well-formed",
        ),
        (b"<payment_response><status>approved</status></payment_response>" + b" " * 9_000_000, "larger"),
    ],
)
def test_what_cannot_be_understood_says_why(body: bytes, why: str) -> None:
    """After a debit each of these means "unknown"; taken for an answer, it would be sent twice or never applied."""
    with pytest.raises(Unreadable, match=why) as caught:
        responses.read_answer(body)
    assert caught.value.what == "gateway answer"


def test_a_million_elements_are_not_kept_in_memory() -> None:
    """Eight megabytes of tiny elements would be a gigabyte of nodes."""
    with pytest.raises(Unreadable, match="elements"):
        responses.read_answer(b"<payment_response>" + b"<a/>" * 300_000 + b"</payment_response>")


def test_a_cut_answer_is_never_an_answer() -> None:
    """The connection may break at any byte."""
    whole = _document("payment_response", SAMPLE).rstrip()
    for end in range(len(whole)):
        with pytest.raises(Unreadable):
            responses.read_answer(whole[:end])


READERS = [responses.read_answer, responses.read_transactions, responses.read_chargebacks]
scraps = st.lists(
    st.sampled_from(
        [
            b"<payment_response>",
            b"</payment_response>",
            b"<payment_responses page='1' per_page='x'>",
            b"</payment_responses>",
            b"<chargeback_responses>",
            b"</chargeback_responses>",
            b"<chargeback_response>",
            b"</chargeback_response>",
            b"<status>approved</status>",
            b"<code>470</code>",
            b"<status>error</status>",
            b"<type>1st Chargeback </type>",
            b"<amount>1</amount>",
            b"<![CDATA[x]]>",
            b"<?pi x?>",
            b"<!-- c -->",
            b"<a/>",
            b"&amp;",
            b"&lol;",
            b"\x00",
            b"\xff",
            b"<?xml version='1.0' encoding='zlib'?>",
        ]
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=300)
@given(st.binary(max_size=400) | scraps)
def test_junk_raises_unreadable_and_nothing_else(body: bytes) -> None:
    """Anything else would kill the run that asked instead of marking one debit as unknown."""
    for reader in READERS:
        with contextlib.suppress(Unreadable):
            reader(body)


tags = st.sampled_from(["usage", "descriptor", "message", "technical_message", "customer_email", "x"])


@given(st.dictionaries(tags, names.map(str.strip).filter(bool)))
def test_what_another_writer_wrote_is_read_back(fields: dict[str, str]) -> None:
    """Escapes, line ends and foreign letters must come back as they were."""
    body = _document("payment_response", [("status", "approved"), *fields.items()])
    assert responses.read_answer(body).fields == {"status": "approved", **fields}


@given(debits)
def test_what_we_write_we_can_read(debit: requests.Debit) -> None:
    """The simulator and we must agree with every other reader of XML, not just with each other."""
    _, leaves = _second_opinion(requests.sdd_sale(debit))
    expected = {path: text.strip() for path, text in leaves if text.strip()}
    assert read(requests.sdd_sale(debit), what="request").fields() == expected


# --- lists -----------------------------------------------------------------------------------------------------------

ITEM = b"<payment_response><status>approved</status><unique_id>%d</unique_id></payment_response>"


def _transactions(items: int, attributes: bytes = b"") -> responses.RecordPage[responses.GatewayAnswer]:
    body = b"<payment_responses %b>%b</payment_responses>" % (
        attributes,
        b"".join(ITEM % n for n in range(items)),
    )
    page = responses.read_transactions(body)
    assert isinstance(page, responses.RecordPage)
    return page


def test_one_item_is_a_list_of_one_and_none_is_an_empty_list() -> None:
    """Readers that turn one child into a plain value lose exactly the days with a single payment."""
    assert [len(_transactions(items).items) for items in (0, 1, 2)] == [0, 1, 2]
    alone = responses.read_transactions(ITEM % 7)
    assert isinstance(alone, responses.RecordPage)
    assert alone.items[0].unique_id == "7"


@pytest.mark.parametrize(
    ("items", "attributes", "expected"),
    [
        (0, b'page="1" pages_count="7" per_page="100"', False),
        (2, b'page="1" pages_count="7" per_page="100"', True),
        (2, b'page="7" pages_count="7" per_page="100"', False),
        (2, b'page="8" pages_count="7" per_page="100"', False),
        (2, b"", False),
        (2, b'per_page="2"', True),
        (100, b"", True),
        (2, b'page="one" pages_count="7"', False),
    ],
)
def test_when_to_inquire_for_another_page(items: int, attributes: bytes, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Stopping early loses payments; never stopping asks for ever. The documentation's own counts disagree."""
    assert _transactions(items, attributes).has_next is expected


def test_a_refused_question_is_not_an_empty_list() -> None:
    """Wrong credentials would look like a day without payments, and the report would be green."""
    refused = responses.read_transactions(
        b"<payment_response><status>error</status><code>340</code>"
        b"<technical_message>start_date has an invalid format</technical_message></payment_response>"
    )
    assert isinstance(refused, responses.GatewayAnswer)
    assert refused.code == "340"
    bare = responses.read_chargebacks(b"<chargeback_response><status>error</status></chargeback_response>")
    assert isinstance(bare, responses.GatewayAnswer)


@pytest.mark.parametrize("root", [b"payment_response", b"chargeback_response"])
def test_none_found_is_an_empty_list(root: bytes) -> None:
    """The gateway says "none" by an error; taken for a failure, every quiet day would raise an alarm."""
    page = responses.read_chargebacks(b"<%b><code>470</code><status>error</status></%b>" % (root, root))
    assert isinstance(page, responses.RecordPage)
    assert not page.items
    assert not page.has_next


def _chargebacks(*items: bytes) -> tuple[responses.Chargeback, ...]:
    page = responses.read_chargebacks(b"<chargeback_responses>%b</chargeback_responses>" % b"".join(items))
    assert isinstance(page, responses.RecordPage)
    return page.items


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("1st Chargeback", "first", "chargebacked"),
        ("1st chargeback", "first", "chargebacked"),
        ("1st Chargeback ", "first", "chargebacked"),
        ("1st  Chargeback\n", "first", "chargebacked"),
        ("1st chargeback reversal", "reversal", "chargeback_reversed"),
        ("Re-presentment", "representment", "represented"),
        ("Representment Reversal", "representment_reversal", "representment_reversed"),
        ("2nd chargeback", "second", "second_chargebacked"),
        ("Transfer Reversal", "transfer", None),
        ("Chargeback Transfer to ACME", "transfer", None),
        ("3rd chargeback", "other", None),
        ("", "other", None),
    ],
)
def test_types_of_chargebacks_in_every_spelling(text: str, kind: str, status: str | None) -> None:
    """A spelling not understood is a return not applied, or a reversal applied as one."""
    (item,) = _chargebacks(f"<chargeback_response><type>{text}</type></chargeback_response>".encode())
    assert item.kind == kind
    assert (item.as_notified[0] if item.as_notified else None) == status


@pytest.mark.parametrize(
    "element", ["<reason_code>ac04</reason_code>", "<rc_code>AC04</rc_code>", "<error_code>AC04</error_code>"]
)
def test_the_reason_of_a_chargeback_in_any_field(element: str) -> None:
    """A closed account is debited again because the list of chargebacks names the bank's reason elsewhere."""
    body = (
        "<chargeback_responses><chargeback_response><type>1st Chargeback</type>"
        f"<original_transaction_unique_id>a1</original_transaction_unique_id>{element}"
        "</chargeback_response></chargeback_responses>"
    )
    page = responses.read_chargebacks(body.encode())
    assert isinstance(page, responses.RecordPage)
    assert [item.reason_code for item in page.items] == ["AC04"]


def test_amounts_of_chargebacks_stay_text() -> None:
    """Samples mix minor and major units and both signs; a number would invite arithmetic."""
    items = _chargebacks(
        *(
            b"<chargeback_response><amount>%b</amount><post_date>%b</post_date><reason_code> ac04 </reason_code>"
            b"<original_transaction_unique_id>44177a21</original_transaction_unique_id></chargeback_response>"
            % pair
            for pair in ((b"-14625", b"2026-03-02"), (b"300.0", b"2026-02-30"), (b"10", b"02.03.2026"))
        )
    )
    assert [item.amount_text for item in items] == ["-14625", "300.0", "10"]
    assert [item.posted_on for item in items] == [date(2026, 3, 2), None, None]
    assert {(item.reason_code, item.unique_id) for item in items} == {("AC04", "44177a21")}


def test_a_foreign_item_in_a_list_is_unreadable() -> None:
    """An item passed over in silence is a payment missing from the books."""
    with pytest.raises(Unreadable):
        responses.read_chargebacks(b"<chargeback_responses><note/></chargeback_responses>")
    with pytest.raises(Unreadable):
        responses.read_transactions(b"<payment_responses><note/></payment_responses>")


def test_nothing_personal_in_a_repr() -> None:
    """Reprs end in logs and error reports."""
    answer = responses.read_answer(
        _document("payment_response", [*SAMPLE, ("bank_account_number", DEBIT.iban)])
    )
    (returned,) = _chargebacks(
        b"<chargeback_response><customer_email>ada@example</customer_email></chargeback_response>"
    )
    excerpt = repr((DEBIT, answer, returned, Node("iban", text=DEBIT.iban)))
    assert not re.search(rf"{DEBIT.iban}|Neill|Zoë|ada@", excerpt)
