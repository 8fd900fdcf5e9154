"""Junk at every decoder: what comes out is a value or an error of our own tree, and never anything else."""

from __future__ import annotations

import io
import random
import string
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.exceptions import ClientException
from tether_core import events, iban, money, redaction
from tether_core.blacklist import parse_codes
from tether_core.emp import notification, responses, signature
from tether_core.emp.notification import FORM, JSON
from tether_core.errors import Rejected, TetherError
from tether_core.payments import imported_debits
from tether_core.spreadsheet import Answers, Plan, formats, person_names, reading
from tether_core.spreadsheet.countries import country_code
from tether_core.spreadsheet.plan import DateOrder
from tether_core.spreadsheet.rows import read
from tether_core.spreadsheet.sniff import sniff
from tether_core.spreadsheet.text import read_text
from tether_core.testing import form_body, json_body
from tether_stores.settings import Settings, described
from tether_web.blacklist import import_export
from tether_web.http import file_response, multipart, pagination
from tether_web.uploads import form

SHEETS: Final = sorted(
    path
    for path in (Path(__file__).parents[1] / "data" / "spreadsheets").iterdir()
    if path.is_file() and path.suffix not in {".json", ".py"}
)
TODAY: Final = date(2026, 3, 2)
# Inputs beside each that Hypothesis draws.
MORE: Final = 9
NOW: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)

_ANSWER: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<payment_response><transaction_type>sdd_sale</transaction_type><status>approved</status>
<unique_id>44177a21403427eb96664a6d7e5d5d48</unique_id><transaction_id>t-1</transaction_id><code>100</code>
<technical_message>&lt;ok&gt;</technical_message><timestamp>2026-03-02T12:00:00Z</timestamp><amount>9000</amount>
<currency>EUR</currency></payment_response>"""
_PAGE: Final = (
    b'<?xml version="1.0"?><payment_responses per_page="100" page="1" total_count="2" pages_count="1">'
    + _ANSWER.split(b"?>", 1)[1] * 2
    + b"</payment_responses>"
)
_CHARGEBACKS: Final = b"""<?xml version="1.0"?><chargeback_responses page="1" per_page="100" total_count="1" pages_count="1">
<chargeback_response><arn>1</arn><unique_id>44177a21403427eb96664a6d7e5d5d48</unique_id><reason_code>AC04</reason_code>
<type>1st Chargeback</type><amount>9000</amount><currency>EUR</currency><post_date>2026-03-02</post_date>
</chargeback_response></chargeback_responses>"""
_TOLD: Final[dict[str, str | int]] = {
    "unique_id": "44177a21403427eb96664a6d7e5d5d48",
    "status": "approved",
    "amount": 100,
}
_EVENT: Final = events.encode(events.AttemptStatusChanged(7, "t-7", "pending", "approved", "approved"))

# What breaks readers: ends of lines and strings, marks of order and of length, digits that are none, halves of pairs.
_NASTY: Final = [
    *(bytes([byte]) for byte in b"\0\r\n\t\"'&<>;,=%\\{}[]\x1a\x7f\x85\xa0\xfe\xff"),
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\xd9\xa3",
    b"]]>", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"&#0;", b"&#x110000;", b"%00", b"%ff", b"\\ud800", b"1e999",
    b"-0", b"9" * 400, b"[" * 300, b"sep=;\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
]  # fmt: skip


@st.composite
def _corrupted(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A good one with a few pieces cut, doubled or put in, or plain junk."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
        )
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        piece = draw(
            st.sampled_from(_NASTY) | st.binary(max_size=4) | st.just(data[start : start + length] * 2)
        )
        data = data[:start] + piece + data[start + length * draw(st.booleans()) :]
    return data


def _more(drawn: object) -> Iterator[bytes | str]:
    """Spoil what was drawn further, by plain chance, which costs a hundredth of drawing; the same for the same, always."""
    rng = random.Random(repr(drawn))
    if not isinstance(drawn, bytes | str):
        return
    for _ in range(MORE):
        data = drawn.encode("utf-8", "surrogatepass") if isinstance(drawn, str) else drawn
        for _ in range(rng.randint(1, 4)):
            start = rng.randint(0, len(data))
            end = start + rng.choice((0, 0, 1, 2, 4, 12))
            piece = rng.choice((rng.choice(_NASTY), rng.randbytes(2), data[start:end] * 2, b""))
            data = data[:start] + piece + data[end:]
        yield data.decode("utf-8", "replace") if isinstance(drawn, str) else data


_TEXTS: Final = st.text(max_size=60) | st.text(
    string.ascii_letters + string.digits + " .,-+'€%()", max_size=40
)
_CSV: Final = [path.read_bytes()[:4000] for path in SHEETS if path.suffix in {".csv", ".txt"}]
_BOOKS: Final = [path.read_bytes() for path in SHEETS]


def _form(body: bytes) -> None:
    notification.acknowledge(notification.decode(body, content_type=FORM))


def _json(body: bytes) -> None:
    notification.acknowledge(notification.decode(body, content_type=JSON))


def _signed(pair: tuple[str, str]) -> None:
    signature.verify(*pair, credentials=[signature.Credential("default", "login", ("secret",))])


def _read_file(data: bytes) -> None:
    planned = reading.plan(io.BytesIO(data), name="x.csv", kind="csv")
    if isinstance(planned, Plan) and planned.ready:
        for outcome in read(reading.rows(io.BytesIO(data), plan=planned), plan=planned, today=TODAY):
            msgspec.json.encode(outcome)


def _read_file_with_answers(data: bytes) -> None:
    answers = Answers(encoding="cp1252", delimiter=";")
    planned = reading.plan(io.BytesIO(data), name="x.csv", kind="csv", answers=answers)
    msgspec.json.encode(planned)


def _sniffed(data: bytes) -> None:
    msgspec.json.encode(sniff(io.BytesIO(data), name="list.xlsx"))


def _blacklist(body: bytes) -> None:
    header, lines = import_export._table(body)
    for number, cells in lines:
        made = import_export._line(number, dict(zip(header, cells, strict=False)), key=b"")
        # What goes into a table holds no zero byte, which no text column takes.
        assert "\\u0000" not in msgspec.json.encode(made).decode()


def _earlier(data: bytes) -> None:
    """Read debits of another system, as `attempts import` does."""
    table = list(read_text(io.BytesIO(data), encoding="utf-8", delimiter=","))
    if table:
        columns = imported_debits.layout(table[0].cells)
        for row in table[1:]:
            msgspec.json.encode(imported_debits.read(row, layout=columns, now=NOW))


def _range(result: tuple[str, int]) -> None:
    header, size_bytes = result
    found = file_response.byte_range(header, size_bytes=size_bytes)
    if found is not None:
        assert 0 <= found[0] < found[1] <= size_bytes


def _name(text: str) -> None:
    file_response.disposition(multipart.safe_name(text)).encode("latin-1")


def _form_with_file(result: tuple[bytes, int]) -> None:
    body, cut = result

    async def stream() -> AsyncIterator[bytes]:
        for chunk in (body[:cut], body[cut:]):
            yield chunk

    async def taken() -> None:
        form = multipart._Form(stream(), boundary="cut", limit_bytes=1000)
        async for part in form.parts():
            if part.filename is None:
                await form.text(part.name)
            else:
                multipart.safe_name(part.filename)
                async for _ in form.file():
                    pass

    _run(taken())


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never truly waits, without an event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def _answers(body: bytes) -> None:
    try:
        result = msgspec.json.decode(body, type=form.AnswersBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # the framework's own 400
    form.read_answers(result)


def _shown_to_people(text: str) -> None:
    person_names.clean(text), person_names.split_name(text), person_names.broken(text), country_code(text)
    redaction.text(text)


_MULTIPART: Final = (
    b'--cut\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\ncontent-type: text/csv\r\n\r\nName;IBAN\r\n'
    b'--cut\r\ncontent-disposition: form-data; name="dry_run"\r\n\r\ntrue\r\n--cut--\r\n'
)
_BLACKLISTS: Final = [
    b"iban,action,reason,note,expires_at\nDE89370400440532013000,hold,AC04,x,2027-01-31T00:00:00Z\n",
    b"iban_fingerprint;iban_masked;note\n00112233445566778899aabbccddeeff;DE89**3000;x\n",
    b'first_name,last_name,email\n"Ada, Z",Ahorn,ada@example.org\n',
]
_EARLIER: Final = (
    b"transaction_id,unique_id,amount,status,iban,submitted_at,reason_code,reference,name\n"
    b"t-1,44177a21403427eb96664a6d7e5d5d48,12.50,chargebacked,DE89370400440532013000,2026-02-01T12:00:00Z,AC04,r,Ada\n"
    b"t-2,,7,unknown,DE89 3704 0044 0532 0130 00,2026-02-01 12:00,,,\n"
)
_ANSWERS: Final = (
    b'{"mapping":{"iban":"IBAN","amount":3},"formats":{"delimiter":";","header_row":2},"encoding":"cp1252"}'
)
_DAYS: Final = st.sampled_from(["2026-03-02", "02.03.26", "3/2/2026", "2 mars 2026", "46083"])
_AMOUNTS: Final = st.sampled_from(["1.234,56", "1,234.56", "(12)", "-3", "1e5", "12 EUR", "1'000.00"])
_CURSORS: Final = st.integers(-(2**70), 2**70).map(
    lambda number: pagination.encode_cursor(number) if number >= 0 else str(number)
)
_RANGES: Final = st.builds("bytes={}-{}".format, *[st.integers(0, 2**70) | st.just("")] * 2)


def _read_as_any(text: str) -> None:
    for order in get_args(DateOrder):
        formats.read_day(text, order=order)
    formats.read_number(text), formats.read_minor(text)


DECODERS: Final[
    dict[
        str,
        tuple[st.SearchStrategy[Any], Callable[[Any], object], type[Exception] | tuple[type[Exception], ...]],
    ]
] = {
    "a notification's form": (_corrupted([form_body(_TOLD)]), _form, Rejected),
    "a notification's JSON": (_corrupted([json_body(_TOLD)]), _json, Rejected),
    "a signature": (
        st.tuples(_TEXTS, _TEXTS | st.text("0123456789abcdef", min_size=40, max_size=128)),
        _signed,
        Rejected,
    ),
    "the gateway's answer": (_corrupted([_ANSWER, _CHARGEBACKS]), responses.read_answer, TetherError),
    "a page of payments": (_corrupted([_PAGE, _ANSWER]), responses.read_transactions, TetherError),
    "a page of chargebacks": (_corrupted([_CHARGEBACKS, _PAGE]), responses.read_chargebacks, TetherError),
    "an event": (_corrupted([_EVENT]), events.decode, Rejected),
    "a text file": (_corrupted(_CSV), _read_file, Rejected),
    "a text file, with answers": (_corrupted(_CSV), _read_file_with_answers, Rejected),
    "what a file is": (_corrupted(_BOOKS), _sniffed, Rejected),
    "an IBAN": (_TEXTS | st.sampled_from(["DE89370400440532013000"]), iban.validate, Rejected),
    "an amount": (_TEXTS | _AMOUNTS, lambda text: money.parse(text, currency="EUR"), Rejected),
    "a day or number of a cell": (_TEXTS | _DAYS | _AMOUNTS, _read_as_any, Rejected),
    "a name or country": (_TEXTS, _shown_to_people, Rejected),
    "reason codes": (_TEXTS, parse_codes, Rejected),
    "a blacklist to import": (_corrupted(_BLACKLISTS), _blacklist, Rejected),
    "debits of another system": (_corrupted([_EARLIER]), _earlier, Rejected),
    "answers about a file": (_corrupted([_ANSWERS]), _answers, Rejected),
    "a form with a file": (
        st.tuples(_corrupted([_MULTIPART]), st.integers(0, len(_MULTIPART))),
        _form_with_file,
        (Rejected, ClientException),
    ),
    "a file's name": (_TEXTS, _name, Rejected),
    "a cursor": (_TEXTS | _CURSORS, pagination.decode_cursor, Rejected),
    "a range": (st.tuples(_TEXTS | _RANGES, st.integers(0, 2**40)), _range, file_response.UnsatisfiableRange),
    "a setting": (
        st.dictionaries(st.sampled_from([setting.env for setting in described()]), _TEXTS, max_size=3),
        Settings.from_env,
        Rejected,
    ),
}


@pytest.mark.parametrize("name", list(DECODERS))
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_our_own_errors_come_out(
    name: str, count: Callable[[str, int], None], data: st.DataObject
) -> None:
    """Anything else is a 500, or a worker that fails on the same row for ever."""
    strategy, decoder, refusal = DECODERS[name]
    drawn = data.draw(strategy)
    for item in (drawn, *_more(drawn)):
        count(name, 1)
        try:
            decoder(item)
        except refusal as exc:
            str(exc)  # the sentence can be made, whatever the facts are
        except Exception as exc:
            exc.add_note(f"It was given {item!r}")
            raise
