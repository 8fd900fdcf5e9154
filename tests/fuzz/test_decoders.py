"""Junk at every decoder: what comes out is a value or an error of our own tree, and never anything else."""

from __future__ import annotations

import io
import string
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import events, iban, money
from tether_core.emp import answers, notification, signature
from tether_core.emp.notification import FORM, JSON
from tether_core.errors import Rejected, TetherError
from tether_core.spreadsheet import Answers, Plan, reading
from tether_core.spreadsheet.rows import read
from tether_core.spreadsheet.sniff import sniff
from tether_core.testing import form_body, json_body

SHEETS: Final = sorted(
    path
    for path in (Path(__file__).parents[1] / "data" / "spreadsheets").iterdir()
    if path.suffix not in {".json", ".py"}
)
TODAY: Final = date(2026, 3, 2)

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
_EVENT: Final = events.encode(events.AttemptMoved(7, "t-7", "pending", "approved", "approved"))

# What breaks readers: ends of lines and strings, marks of order and of length, digits that are none, halves of pairs.
_NASTY: Final = [
    *(bytes([byte]) for byte in b"\0\r\n\t\"'&<>;,=%\\{}[]\x1a\x7f\x85\xa0\xfe\xff"),
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\xd9\xa3",
    b"]]>", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"&#0;", b"&#x110000;", b"%00", b"%ff", b"\\ud800", b"1e999",
    b"-0", b"9" * 400, b"[" * 300, b"sep=;\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
]  # fmt: skip


@st.composite
def _spoilt(draw: st.DrawFn, samples: list[bytes]) -> bytes:
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


def _read_file_as_told(data: bytes) -> None:
    told = Answers(encoding="cp1252", delimiter=";")
    planned = reading.plan(io.BytesIO(data), name="x.csv", kind="csv", answers=told)
    msgspec.json.encode(planned)


def _sniffed(data: bytes) -> None:
    msgspec.json.encode(sniff(io.BytesIO(data), name="list.xlsx"))


DECODERS: Final[dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], object], type[TetherError]]]] = {
    "a notification's form": (_spoilt([form_body(_TOLD)]), _form, Rejected),
    "a notification's JSON": (_spoilt([json_body(_TOLD)]), _json, Rejected),
    "a signature": (
        st.tuples(_TEXTS, _TEXTS | st.text("0123456789abcdef", min_size=40, max_size=128)),
        _signed,
        Rejected,
    ),
    "the gateway's answer": (_spoilt([_ANSWER, _CHARGEBACKS]), answers.read_answer, TetherError),
    "a page of payments": (_spoilt([_PAGE, _ANSWER]), answers.read_transactions, TetherError),
    "a page of chargebacks": (_spoilt([_CHARGEBACKS, _PAGE]), answers.read_chargebacks, TetherError),
    "an event": (_spoilt([_EVENT]), events.decode, Rejected),
    "a text file": (_spoilt(_CSV), _read_file, Rejected),
    "a text file, as told": (_spoilt(_CSV), _read_file_as_told, Rejected),
    "what a file is": (_spoilt(_BOOKS), _sniffed, Rejected),
    "an IBAN": (_TEXTS | st.sampled_from(["DE89370400440532013000"]), iban.validate, Rejected),
    "an amount": (_TEXTS, lambda text: money.parse(text, currency="EUR"), Rejected),
}


@pytest.mark.parametrize("name", list(DECODERS))
@given(data=st.data())
def test_only_our_own_errors_come_out(name: str, data: st.DataObject) -> None:
    """Anything else is a 500, or a worker that fails on the same row for ever."""
    strategy, decoder, refusal = DECODERS[name]
    given_to_it = data.draw(strategy)
    try:
        decoder(given_to_it)
    except refusal as problem:
        str(problem)  # the sentence can be made, whatever the facts are
