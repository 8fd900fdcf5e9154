import json
import sys
from urllib.parse import parse_qsl, quote_from_bytes, urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, JSON, Notification, acknowledge, decode, media_type
from tether_core.errors import Rejected, Unreadable
from tether_core.testing import form_body, json_body, notifications

# Kind -> the field with the hashed id, the notification_type, the child of the echo.
KINDS = {
    "payment": ("unique_id", "", "unique_id"),
    "wpf": ("wpf_unique_id", "wpf", "wpf_unique_id"),
    "kyc": ("reference_id", "kyc_service_execution", "reference_id"),
    "apm_event": ("payment_transaction_unique_id", "apm_external_event", "unique_id"),
}
# A chargeback as the gateway posts it: blanks as plus, other bytes percent-encoded.
CHARGEBACK = (
    b"transaction_id=tth-0001&unique_id=44177a21403427eb96664a6d7e5d5d48&transaction_type=sdd_sale"
    b"&terminal_token=394f2ebc&status=chargebacked&amount=9000&currency=EUR&event=chargeback"
    b"&chargeback_unique_id=b1946ac92492d2347c6235b4d2611184&reason_code=MD06"
    b"&reason_description=Refund+request+by+end+customer%3B+no+form&post_date=2026-03-02"
    b"&signature=08d01ae1ebdc22b6a1a764257819bb26e9e94e8d"
)
printable = st.text([chr(mark) for mark in range(0x21, 0x7F)], min_size=1, max_size=255)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = """
    unique_id wpf_unique_id reference_id payment_transaction_unique_id notification_type signature status
    wpf_status event amount currency transaction_id reason_code rc_code error_code code
""".split()


def _form(**fields: str) -> Notification:
    return decode(urlencode({"signature": "ab", **fields}).encode(), content_type=FORM)


def test_a_chargeback_is_read_whole() -> None:
    """A field read from the wrong place would book a wrong amount, reason or payment."""
    notification = decode(CHARGEBACK, content_type=FORM)
    assert notification == Notification(
        kind="payment",
        id="44177a21403427eb96664a6d7e5d5d48",
        signature="08d01ae1ebdc22b6a1a764257819bb26e9e94e8d",
        status="chargebacked",
        event="chargeback",
        chargeback_id="b1946ac92492d2347c6235b4d2611184",
        unique_id="44177a21403427eb96664a6d7e5d5d48",
        transaction_id="tth-0001",
        transaction_type="sdd_sale",
        terminal_token="394f2ebc",
        amount_minor=9000,
        currency="EUR",
        reason_code="MD06",
        reason_text="Refund request by end customer; no form",
        error_code=None,
        fields=notification.fields,
    )
    assert list(notification.fields)[-2:] == ["post_date", "signature"]
    assert notification.fields["post_date"] == "2026-03-02"


def test_an_id_and_a_signature_are_enough() -> None:
    """Everything else is optional by the vendor's own tests; requiring it would refuse genuine notifications."""
    notification = _form(unique_id="44177a21")
    assert (
        notification.kind,
        notification.status,
        notification.event,
        notification.amount_minor,
        notification.transaction_id,
    ) == (
        "payment",
        "",
        None,
        None,
        None,
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("typed", [True, False])
def test_kinds_by_type_and_by_id(kind: str, typed: bool) -> None:  # noqa: FBT001 - a parameter of the table above
    """The wrong kind hashes the wrong id (refused) and echoes the wrong child (repeated for hours)."""
    field, word, child = KINDS[kind]
    notification = _form(**{field: "44177a21", **({"notification_type": word} if typed else {})})
    assert (notification.kind, notification.id) == (kind, "44177a21")
    assert [part.tag for part in ET.fromstring(acknowledge(notification))] == [child]


def test_a_page_carries_its_payment_beside_it() -> None:
    """A hosted page prefixes the payment's fields; read without the prefix its payment would be lost."""
    notification = _form(
        wpf_unique_id="26aa150e",
        wpf_transaction_id="tth-2",
        wpf_status="Approved",
        notification_type="WPF",
        payment_transaction_unique_id="bad08183",
        payment_transaction_transaction_type="sdd_sale",
        payment_transaction_terminal_token="394f2ebc",
        payment_transaction_amount="500",
        status="ignored",
        amount="1",
    )
    assert (notification.kind, notification.id, notification.unique_id, notification.transaction_id) == (
        "wpf",
        "26aa150e",
        "bad08183",
        "tth-2",
    )
    assert (notification.status, notification.amount_minor) == ("approved", 500)
    assert (notification.transaction_type, notification.terminal_token) == ("sdd_sale", "394f2ebc")


def test_a_page_without_a_payment_names_none() -> None:
    """The page's own id would be looked up as if it were a payment's."""
    assert _form(wpf_unique_id="26aa150e").unique_id is None
    assert _form(reference_id="26aa150e").unique_id is None


def test_the_type_outranks_the_ids_when_its_id_is_there() -> None:
    """A page that also carries a plain unique_id would be hashed over the wrong one."""
    both = {"unique_id": "aaaa", "wpf_unique_id": "bbbb"}
    assert _form(**both).kind == "payment"
    assert _form(**both, notification_type="wpf").kind == "wpf"
    assert _form(**both, notification_type=" WPF ").kind == "wpf"


@pytest.mark.parametrize("content_type", [FORM, JSON])
def test_a_byte_order_mark_hides_no_id(content_type: str) -> None:
    """A genuine notification would be refused ten times, and lost, for three bytes that say nothing."""
    plain = (
        b'{"unique_id":"aaaa","signature":"ab"}' if content_type == JSON else b"unique_id=aaaa&signature=ab"
    )
    assert decode(b"\xef\xbb\xbf" + plain, content_type=content_type) == decode(
        plain, content_type=content_type
    )


def test_a_type_that_no_table_knows_is_no_payment() -> None:
    """Payments name no type; a new product of the gateway would move a debit by a status that means something else."""
    assert _form(unique_id="aaaa", notification_type="wpf").kind == "other"
    assert _form(unique_id="aaaa", notification_type="something_new").kind == "other"
    assert _form(unique_id="aaaa", notification_type="something_new").unique_id == "aaaa"
    assert _form(unique_id="aaaa", notification_type=" ").kind == "payment"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "chargebacked", "error_code": "AC04"}, "AC04"),
        ({"status": "chargebacked", "event": "chargeback", "code": "md01"}, "MD01"),
        ({"status": "second_chargebacked", "error_code": "AM04", "reason_code": "MD06"}, "MD06"),
        ({"status": "chargebacked", "error_code": "500"}, None),
        ({"status": "chargebacked", "error_code": "AC04", "event": "retrieval_request"}, None),
        ({"status": "declined", "error_code": "AC04"}, None),
        ({"status": "chargebacked", "reason_code": " ", "error_code": "AC04"}, "AC04"),
        ({"status": "chargebacked", "reason_code": " ", "rc_code": "MD06"}, "MD06"),
        ({"status": "chargebacked", "reason_code": "00", "error_code": "md01"}, "MD01"),
        ({"status": "chargebacked", "reason_code": "4853", "error_code": "500"}, "4853"),
        ({"status": "chargebacked", "error_code": " ", "code": "AC06"}, "AC06"),
        ({"status": "approved", "reason_code": "00", "error_code": "AC04"}, "00"),
    ],
)
def test_a_reason_in_the_error_code_counts(fields: dict[str, str], reason: str | None) -> None:
    """A closed account is debited again because the bank's reason came in the other field."""
    assert _form(unique_id="aaaa", **fields).reason_code == reason


@pytest.mark.parametrize(
    ("code", "text"), [("reason_code", "reason_description"), ("rc_code", "rc_description")]
)
def test_both_spellings_of_the_reason(code: str, text: str) -> None:
    """The documentation's table and its samples disagree; reading one only would miss half of the blacklist."""
    notification = _form(unique_id="a", **{code: " ac04 ", text: "Closed account"})
    assert (notification.reason_code, notification.reason_text) == ("AC04", "Closed account")


def test_error_codes_under_both_names() -> None:
    """An unknown outcome would be taken for a plain error."""
    assert _form(unique_id="a", error_code="230").error_code == "230"
    assert _form(unique_id="a", code="340").error_code == "340"
    assert _form(unique_id="a", code=" ").error_code is None


@pytest.mark.parametrize(
    ("text", "amount_minor"),
    [
        ("0", 0),
        ("9000", 9000),
        ("999999999999999", 999_999_999_999_999),
        ("", None),
        ("-5", None),
        ("12.5", None),
        ("1e3", None),
        ("1_000", None),
        (" 5", None),
        ("٣", None),
        ("²", None),
        ("9999999999999999", None),
        ("9" * 5000, None),
    ],
)
def test_amounts_are_whole_ascii_numbers_or_nothing(text: str, amount_minor: int | None) -> None:
    """A guessed amount would be compared with ours; digits of other scripts or a huge number would raise."""
    assert _form(unique_id="a", amount=text).amount_minor == amount_minor


def test_case_and_blanks_of_status_and_event() -> None:
    """`Approved ` would be parked as a status nobody has seen."""
    notification = _form(unique_id=" a ", status=" Chargebacked ", event=" CHARGEBACK\n", currency=" eur ")
    assert (notification.id, notification.status, notification.event, notification.currency) == (
        "a",
        "chargebacked",
        "chargeback",
        "EUR",
    )


def test_every_field_is_kept_and_of_a_repeated_one_the_last() -> None:
    """What a later release sends would be gone for good, and a doubled field read differently from the vendor's SDK."""
    body = b"unique_id=a&signature=b&brand_new=1&empty=&status=approved&status=declined&flag"
    notification = decode(body, content_type=FORM)
    assert notification.fields == {
        "unique_id": "a",
        "signature": "b",
        "brand_new": "1",
        "empty": "",
        "status": "declined",
        "flag": "",
    }
    assert notification.status == "declined"


# None of these makes a control character, which we replace and the standard library keeps.
@given(st.lists(st.text("ab=%+ 4FéZ;", max_size=8), max_size=8))
def test_forms_are_read_as_the_standard_library_reads_them(parts: list[str]) -> None:
    """A field taken apart in another way than the sender put it together would be another field, or another amount."""
    body = "&".join(["unique_id=a", *parts, "signature=b"])
    notification = decode(body.encode(), content_type=FORM)
    assert notification.fields == {
        name.strip(): value for name, value in parse_qsl(body, keep_blank_values=True, errors="replace")
    }


@pytest.mark.parametrize("unit", [b"%78", b"%", b"%zz"])
def test_more_escapes_than_any_notification_has_are_refused(unit: bytes) -> None:
    """Anybody can send them, because a body is read before its signature is verified: 60 KB of them took a node 10 ms each."""
    real = b"unique_id=a&signature=b&message=" + b"%C3%BC" * 680  # 4 KiB of umlauts
    assert decode(real, content_type=FORM).fields["message"] == "\xfc" * 680
    most = b"unique_id=a&signature=b&message=" + unit * 4_096
    assert len(decode(most, content_type=FORM).fields["message"]) >= 4_096
    with pytest.raises(Unreadable, match="more than 4096 escaped bytes"):
        decode(most + unit, content_type=FORM)


def test_bytes_in_an_old_encoding_cost_no_notification() -> None:
    """One umlaut in Latin-1 would make the chargeback that carries it unreadable."""
    notification = decode(b"unique_id=a&signature=b&last_name=M%FCller&city=K\xf6ln", content_type=FORM)
    assert notification.fields["last_name"] == "M\N{REPLACEMENT CHARACTER}ller"
    assert notification.fields["city"] == "K\N{REPLACEMENT CHARACTER}ln"


def test_control_characters_cannot_reach_the_store() -> None:
    """One NUL would fail the insert of a whole batch."""
    notification = decode(b"unique_id=a&signature=b&us%00age=x%00y%1b", content_type=FORM)
    assert (
        notification.fields["us\N{REPLACEMENT CHARACTER}age"]
        == "x\N{REPLACEMENT CHARACTER}y\N{REPLACEMENT CHARACTER}"
    )
    notification = decode(b'{"unique_id":"a","signature":"b","usage":"x\\u0000y"}', content_type=JSON)
    assert notification.fields["usage"] == "x\N{REPLACEMENT CHARACTER}y"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12", "12"),
        ("12.50", "12.5"),
        ("true", "true"),
        ("false", "false"),
        ("null", ""),
        ('"x"', "x"),
        ("[1,{}]", "[1,{}]"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_json_values_become_the_text_a_form_would_carry(value: str, text: str) -> None:
    """Numbers in JSON would give another content digest than the same notification as a form."""
    notification = decode(f'{{"unique_id":"a","signature":"b","x":{value}}}'.encode(), content_type=JSON)
    assert notification.fields["x"] == text


@given(notifications())
def test_form_and_json_say_the_same(notification: Notification) -> None:
    """A delivery would mean something else when a relay turns it into JSON."""
    as_form = decode(form_body(notification.fields), content_type=FORM)
    assert decode(json_body(notification.fields), content_type=JSON) == as_form


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"", JSON),
        (b"&&&", FORM),
        (b"status=approved&signature=b", FORM),
        (b"unique_id=&signature=b", FORM),
        (b"unique_id=+&signature=b", FORM),
        (b"unique_id=a", FORM),
        (b"unique_id=a&signature=", FORM),
        (b"unique_id=a&signature=++", FORM),
        (b"unique_id=a+b&signature=b", FORM),
        (b"unique_id=a%0Ab&signature=b", FORM),
        (b"unique_id=a%00&signature=b", FORM),
        (b"unique_id=%C3%A4&signature=b", FORM),
        (b"unique_id=" + b"a" * 256 + b"&signature=b", FORM),
        (b"unique_id=a&signature=b" + b"&x=1" * 500, FORM),
        (b"{", JSON),
        (b"[]", JSON),
        (b"null", JSON),
        (b'"unique_id"', JSON),
        (b'{"unique_id":null,"signature":"b"}', JSON),
        (b'{"unique_id":"a","signature":null}', JSON),
        (b'{"unique_id":"a","signature":"b","x":"\\ud800"}', JSON),
        (b'{"unique_id":"a","signature":"b","x":"\xff"}', JSON),
        (b'{"unique_id":"a","signature":"b","x":1e999}', JSON),
        (b'{"unique_id":"a","signature":"b","x":' + b"1" * 5000 + b"}", JSON),
        (b"[" * 100_000, JSON),
        (json.dumps({"unique_id": "a", "signature": "b"} | {f"x{n}": 1 for n in range(499)}).encode(), JSON),
        (b"unique_id=a&signature=b", JSON),
        (b'{"unique_id":"a","signature":"b"}', FORM),
    ],
)
def test_what_cannot_be_read_is_refused_without_its_content(body: bytes, content_type: str) -> None:
    """The route would answer 500, or print a stranger's data in the answer."""
    with pytest.raises(Unreadable) as caught:
        decode(body, content_type=content_type)
    assert caught.value.what == "notification"
    assert caught.value.why.startswith("it")


@given(st.binary(max_size=300), st.sampled_from([FORM, JSON]))
@example(b'{"unique_id":"1","signature":2}', JSON)
def test_any_bytes_are_a_notification_or_refused(body: bytes, content_type: str) -> None:
    """Any other exception would answer 500 to the sender of that body."""
    try:
        notification = decode(body, content_type=content_type)
    except Rejected:
        return
    assert notification.id.isascii()


@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), junk, max_size=8),
)
def test_any_json_object_is_a_notification_or_refused(content: dict[str, object]) -> None:
    """Random bytes are hardly ever JSON; objects with our names and absurd values reach the code behind it."""
    body = json.dumps({"unique_id": "a", "signature": "b"} | content, allow_nan=True).encode()
    try:
        notification = decode(body, content_type=JSON)
    except Unreadable:
        return
    assert all(isinstance(value, str) for value in notification.fields.values())
    notification.fields["x"] = repr(notification)
    ET.fromstring(acknowledge(notification))


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=20)), max_size=8))
def test_any_form_is_a_notification_or_refused(pairs: list[tuple[str, bytes]]) -> None:
    """As with JSON: known names with any bytes behind them, percent-encoded."""
    body = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in pairs).encode()
    try:
        notification = decode(b"unique_id=a&signature=b&" + body, content_type=FORM)
    except Unreadable:
        return
    ET.fromstring(acknowledge(notification))


def test_nesting_is_refused_at_every_depth_the_reader_cannot_follow() -> None:
    """Between the depth that can be read and the one that can be written again, a body would answer 500."""
    limit = sys.getrecursionlimit()
    outcomes = set()
    # From Python 3.12 on, what is read in C has a limit of its own, some 10,000; no Python follows to 30,000.
    for depth in (*range(limit - 150, limit + 50), *range(9_900, 10_100, 4), 30_000):
        nested = b"[" * depth + b"]" * depth
        try:
            decode(b'{"unique_id":"a","signature":"b","x":' + nested + b"}", content_type=JSON)
        except Unreadable:
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert "refused" in outcomes


@given(printable, st.sampled_from(sorted(KINDS)))
@example("<&>\"'", "payment")
@example("]]><!--", "wpf")
def test_the_echo_is_xml_that_gives_the_id_back(claimed: str, kind: str) -> None:
    """An echo that does not parse, or names another id, is no echo: the gateway repeats for hours."""
    field, _, child = KINDS[kind]
    notification = decode(urlencode({field: claimed, "signature": "b"}).encode(), content_type=FORM)
    echo = acknowledge(notification)
    root = ET.fromstring(echo)
    assert root.tag == "notification_echo"
    assert [(part.tag, part.text, len(part)) for part in root] == [(child, claimed, 0)]
    assert echo.isascii()


@given(notifications())
def test_every_notification_is_acknowledged_with_one_child(notification: Notification) -> None:
    """Two ids in one echo leave it to the gateway which one it believes."""
    root = ET.fromstring(acknowledge(notification))
    assert [part.text for part in root] == [notification.id]


def test_no_personal_data_in_a_repr() -> None:
    """A traceback that shows its variables would print the debtor's name and account."""
    notification = _form(
        unique_id="44177a21",
        status="approved",
        bank_account_number="DE89370400440532013000",
        account_holder="Erika Mustermann",
        transaction_id="tth-1",
    )
    assert repr(notification) == "Notification(payment 44177a21 approved -)"


@pytest.mark.parametrize(
    ("header", "media"),
    [
        ("application/x-www-form-urlencoded", FORM),
        ("Application/X-WWW-Form-Urlencoded;charset=UTF-8", FORM),
        (" application/json ; charset=utf-8", JSON),
        ("", ""),
        (";", ""),
    ],
)
def test_media_types_without_their_parameters(header: str, media: str) -> None:
    """`; charset=UTF-8` behind the type would be answered 415 and repeated for hours."""
    assert media_type(header) == media
