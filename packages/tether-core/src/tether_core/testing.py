"""
Notifications, payments and accounts for tests: of Tether itself and of programs built on it.

Strategies generate values for Hypothesis; builders write signed request bodies. The heart is a **history**: what the
gateway truly says about one payment, in order. `deliveries` repeats and reorders it as networks do, and code is correct when all deliveries
lead to the same end state:

```python
from hypothesis import given
from tether_core.testing import SECRET, deliveries, form_body, histories

@given(histories().flatmap(deliveries))
def test_every_delivery_is_acknowledged(delivered):
    for notification in delivered:
        body = form_body(notification.fields, secret=SECRET)
        answer = client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        assert answer.status_code == 200
```

Needs Hypothesis, which the extra `tether-core[testing]` installs. Amounts, names and accounts are random; an IBAN is valid by ISO 13616 and
may by chance exist.

>>> from tether_core.emp.notification import FORM, decode
>>> from tether_core.emp.signature import verify
>>> body = form_body({"unique_id": "44177a21", "status": "approved"})
>>> body
b'unique_id=44177a21&status=approved&signature=ea1a12199884f62ebdccb555f84c5526cc135eb2'
>>> notification = decode(body, content_type=FORM)
>>> verify(notification.id, notification.signature, credentials=[CREDENTIAL])
'default'
>>> form_body({"status": "approved"})
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This notification cannot be read: it carries no id (unique_id, wpf_unique_id, ...
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import urlencode

import msgspec

try:
    from hypothesis import strategies as st
except ImportError as exc:
    raise ImportError(
        "tether_core.testing needs Hypothesis, which is not installed; install tether-core[testing]"
    ) from exc

from tether_core import iban as ibans_of_the_field
from tether_core.blacklist import REASONS
from tether_core.emp import codes
from tether_core.emp.notification import FORM, Kind, Notification, decode
from tether_core.emp.signature import Credential, sign
from tether_core.payments import stages
from tether_core.payments.attempt import DISPUTE_STAGES, PAYMENT_STAGES, Attempt

__all__ = [
    "CREDENTIAL",
    "SECRET",
    "attempt_of",
    "attempts",
    "deliveries",
    "form_body",
    "histories",
    "ibans",
    "json_body",
    "notifications",
    "spellings",
    "statuses",
]

# What everything drawn here is signed with, and the account that holds it.
SECRET: Final = "test123"  # noqa: S105 - a word of the gateway's public examples, which opens nothing
CREDENTIAL: Final = Credential("default", login="merchant", passwords=(SECRET,))

_DIGITS: Final = "0123456789"
_CAPITALS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHABETS: Final = {"n": _DIGITS, "a": _CAPITALS, "c": _CAPITALS + _DIGITS}

_KINDS: Final[tuple[Kind, ...]] = ("payment", "wpf", "kyc", "apm_event")
_UNDER_WAY: Final = ("pending_async", "pending", "pending_hold", "pending_review", "in_progress")
_OUTCOME_UNKNOWN: Final = ("100", "200", "230", "250", "450", "950")
_REFUSALS: Final = ("120", "340", "501", "696")

_hex_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
_amounts = st.integers(1, 100_000_00)
# Names as they come: umlauts, other scripts, and what forms, XML and SQL have marks of their own for.
_names = st.text("ABZabzÄöüßéñłΩжم &<>;+%='\"\\/", min_size=1, max_size=20).filter(str.strip)
_reasons = st.sampled_from([*REASONS, "XX99"])


def form_body(fields: Mapping[str, str | int], *, secret: str = SECRET, digits: int = 40) -> bytes:
    """
    The body of a notification as the gateway posts it: a form, signed.

    Args:
        fields: Field name to value, an id among them; a "signature" among them is replaced.
        secret: The API password that signs; a wrong one makes a forgery.
        digits: Of the signature: 40, 64 or 128.

    Returns:
        `application/x-www-form-urlencoded` bytes.

    Raises:
        Unreadable: when no field is an id.
    """
    return urlencode(_signed(fields, secret=secret, digits=digits)).encode()


def json_body(fields: Mapping[str, str | int], *, secret: str = SECRET, digits: int = 40) -> bytes:
    """
    The same notification as a flat JSON object.

    Args:
        fields: As for `form_body`; whole numbers stay numbers.
        secret: The API password that signs.
        digits: Of the signature: 40, 64 or 128.

    Returns:
        `application/json` bytes.

    Raises:
        Unreadable: when no field is an id.
    """
    return msgspec.json.encode(_signed(fields, secret=secret, digits=digits))


def ibans(countries: Iterable[str] | None = None) -> st.SearchStrategy[str]:
    """
    Valid IBANs in canonical form.

    Args:
        countries: Prefixes to draw from, e.g. `tether_core.iban.SEPA`; `None` for all of the registry.

    Returns:
        A strategy of capitals and digits.
    """
    structures = _structures()
    prefixes = sorted(structures if countries is None else countries)
    # One number for the whole account: many times quicker than letter by letter, and 0 is the simplest account.
    return st.tuples(st.sampled_from(prefixes), st.integers(0, 36**30 - 1)).map(
        lambda drawn: _with_check_digits(drawn[0], _spelled(drawn[1], structures[drawn[0]]))
    )


@st.composite
def spellings(draw: st.DrawFn, iban: str) -> str:
    """
    Generate spellings of one IBAN.

    Args:
        draw: Given by Hypothesis; leave it out.
        iban: In canonical form.

    Returns:
        The same IBAN in groups or with blanks and hyphens anywhere, in capitals or not.
    """
    between = draw(st.sampled_from(["", " ", "-", "  "]))
    size = draw(st.sampled_from([4, 2, 5, 1]))
    written = between.join(iban[at : at + size] for at in range(0, len(iban), size))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(1, len(written) - 1))
        # No more than three marks in a row: beyond that it is no spelling but a table.
        if not re.search(r"[ -]{2}\Z", written[:at]) and not re.match(r"[ -]{2}", written[at:]):
            written = written[:at] + draw(st.sampled_from([" ", "-"])) + written[at:]
    return draw(st.sampled_from([written, written.lower(), written.swapcase()]))


def statuses(*, known: bool = True) -> st.SearchStrategy[str]:
    """
    Statuses of notifications.

    Args:
        known: Whether to draw those of `tether_core.payments.stages`, or such as nobody has seen yet.

    Returns:
        A strategy of lower-case words.
    """
    if known:
        return st.sampled_from(sorted(stages.STATUSES))
    words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=30)
    return words.filter(lambda word: word not in stages.STATUSES)


@st.composite
def notifications(draw: st.DrawFn, *, kinds: Sequence[Kind] = _KINDS, secret: str = SECRET) -> Notification:
    """
    Generate single notifications: of every kind, with any status and event, known or not, and any mix of other fields.

    Args:
        draw: Given by Hypothesis; leave it out.
        kinds: The kinds to draw from.
        secret: What they are signed with.

    Returns:
        A signed notification; `form_body(notification.fields)` is its body.
    """
    kind = draw(st.sampled_from(kinds))
    fields: dict[str, str | int] = {name: draw(_hex_ids) for name in _IDS_OF[kind]}
    if kind != "payment" and draw(st.booleans()):
        fields["notification_type"] = _TYPE_OF[kind]
    reason = draw(st.sampled_from(["reason_code", "rc_code"]))
    fields |= draw(_optional_fields(kind, reason))
    body = form_body(fields, secret=secret, digits=draw(st.sampled_from([40, 64, 128])))
    return decode(body, content_type=FORM)


@st.composite
def histories(draw: st.DrawFn, *, secret: str = SECRET) -> tuple[Notification, ...]:
    """
    Generate the gateway's true reports about one payment, in the order in which they happen.

    Under way, perhaps an unknown outcome, then refused or approved; after the approval perhaps voided or refunded,
    perhaps charged back, won back and lost again; a retrieval request, which moves nothing, anywhere in between.

    Args:
        draw: Given by Hypothesis; leave it out.
        secret: What they are signed with.

    Returns:
        One or more signed notifications with different keys, all of one payment.
    """
    payment: dict[str, str | int] = {
        "transaction_id": draw(_hex_ids),
        "unique_id": draw(_hex_ids),
        "transaction_type": "sdd_sale",
        "terminal_token": "394f2ebc3646d3c017fa1e1cbc4a1e20c9b1f5f9",
        "amount": draw(_amounts),
        "currency": "EUR",
    }
    bodies = [form_body(payment | step, secret=secret) for step in _life(draw)]
    return tuple(decode(body, content_type=FORM) for body in bodies)


@st.composite
def deliveries(draw: st.DrawFn, history: Sequence[Notification]) -> list[Notification]:
    """
    Generate the ways in which a history may arrive: everything at least once, some of it again, in any order.

    Args:
        draw: Given by Hypothesis; leave it out.
        history: As made by `histories`.

    Returns:
        Up to twice as many notifications.
    """
    again = draw(st.lists(st.sampled_from(history), max_size=len(history))) if history else []
    return draw(st.permutations([*history, *again]))


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """
    Generate billing attempts in any state.

    Args:
        draw: Given by Hypothesis; leave it out.

    Returns:
        An attempt of the account of `CREDENTIAL`.
    """
    iban = draw(ibans(ibans_of_the_field.SEPA))
    return Attempt(
        id=draw(st.integers(1, 2**63 - 1)),
        account=CREDENTIAL.account,
        transaction_id=draw(_hex_ids),
        unique_id=draw(st.none() | _hex_ids),
        amount_minor=draw(_amounts),
        currency="EUR",
        payment_stage=draw(st.sampled_from(sorted(PAYMENT_STAGES))),
        dispute_stage=draw(st.sampled_from(sorted(DISPUTE_STAGES))),
        iban_fingerprint=ibans_of_the_field.fingerprint(iban),
        iban_masked=ibans_of_the_field.mask(iban),
    )


def attempt_of(notification: Notification, *, iban: str = "DE89370400440532013000") -> Attempt:
    """
    The attempt a notification is about, as it was at submission.

    Args:
        notification: Of a payment, with an amount, e.g. the first of a history.
        iban: The account that was debited.

    Returns:
        An attempt at the first stage, of the account of `CREDENTIAL`, whose id at the gateway is stored.
    """
    return Attempt(
        id=1,
        account=CREDENTIAL.account,
        transaction_id=notification.transaction_id or "",
        unique_id=notification.unique_id,
        amount_minor=notification.amount_minor or 1,
        currency=notification.currency or "EUR",
        iban_fingerprint=ibans_of_the_field.fingerprint(iban),
        iban_masked=ibans_of_the_field.mask(iban),
    )


_IDS_OF: Final[dict[Kind, tuple[str, ...]]] = {
    "payment": ("unique_id",),
    "wpf": ("wpf_unique_id", "payment_transaction_unique_id"),
    "kyc": ("reference_id",),
    "apm_event": ("payment_transaction_unique_id",),
}
_TYPE_OF: Final[dict[Kind, str]] = {
    "wpf": "wpf",
    "kyc": "kyc_service_execution",
    "apm_event": "apm_external_event",
}


@cache
def _optional_fields(kind: Kind, reason: str) -> st.SearchStrategy[dict[str, str | int]]:
    paid = "payment_transaction_" if kind == "wpf" else ""
    optional: dict[str, st.SearchStrategy[str | int]] = {
        "wpf_status" if kind == "wpf" else "status": statuses() | statuses(known=False),
        "event": st.sampled_from(sorted(stages.EVENTS)) | statuses(known=False),
        paid + "transaction_type": st.sampled_from(["sdd_sale", "sdd_init_recurring_sale", "sdd_refund"]),
        paid + "terminal_token": _hex_ids,
        paid + "amount": _amounts,
        "currency": st.sampled_from(["EUR", "CHF", "PLN"]),
        "wpf_transaction_id" if kind == "wpf" else "transaction_id": _hex_ids,
        reason: _reasons,
        "error_code": st.sampled_from(sorted(codes.ERRORS)),
        "chargeback_unique_id": _hex_ids,
        "bank_account_number": ibans(),
        "account_holder": _names,
        "a_field_of_a_later_release": st.text(max_size=10),
    }
    return st.fixed_dictionaries({}, optional=optional)


def _signed(fields: Mapping[str, str | int], *, secret: str, digits: int) -> dict[str, str | int]:
    # Which field is the id that is hashed, the decoder knows.
    unsigned = urlencode({**fields, "signature": "-"}).encode()
    signature = sign(decode(unsigned, content_type=FORM).id, secret=secret, digits=digits)
    return {**fields, "signature": signature}


def _life(draw: st.DrawFn) -> list[dict[str, str | int]]:
    steps: list[dict[str, str | int]] = [
        {"status": status} for status in draw(st.lists(st.sampled_from(_UNDER_WAY), max_size=2, unique=True))
    ]
    refusals: list[dict[str, str | int]] = [
        {"status": "declined", "error_code": draw(st.sampled_from(_REFUSALS))},
        {"status": "unsuccessful"},
        {"status": "timeout"},
    ]
    if draw(st.booleans()):
        steps.append({"status": "error", "error_code": draw(st.sampled_from(_OUTCOME_UNKNOWN))})
    else:
        # Never both: the second error of a payment has the key of the first.
        refusals.append({"status": "error", "error_code": draw(st.sampled_from(_REFUSALS))})
    # Approved more often than anything else: what is interesting comes after it.
    outcome = draw(st.sampled_from(["approved", "approved", "approved", "refused", "open"]))
    if outcome == "approved":
        steps += [{"status": "approved"}, *_after_approval(draw)]
    elif outcome == "refused":
        steps.append(draw(st.sampled_from(refusals)))
    return steps or [{"status": "pending_async"}]


def _after_approval(draw: st.DrawFn) -> list[dict[str, str | int]]:
    steps: list[dict[str, str | int]] = []
    if draw(st.booleans()):
        steps.append({"status": draw(st.sampled_from(["voided", "refunded"]))})
    if draw(st.booleans()):
        steps += _dispute(draw)
    if draw(st.booleans()):
        request: dict[str, str | int] = {"status": "chargebacked", "event": "retrieval_request"}
        steps.insert(draw(st.integers(0, len(steps))), request)
    return steps


def _dispute(draw: st.DrawFn) -> list[dict[str, str | int]]:
    chargeback: dict[str, str | int] = {"status": "chargebacked"}
    if draw(st.booleans()):
        chargeback |= {"event": "chargeback", "chargeback_unique_id": draw(_hex_ids)}
    if draw(st.booleans()):
        chargeback[draw(st.sampled_from(["reason_code", "rc_code"]))] = draw(_reasons)
    ways: list[list[dict[str, str | int]]] = [
        [],
        [{"status": "chargeback_reversed", "event": "chargeback_reversal"}],
        [{"status": "represented", "event": "representment"}],
        [
            {"status": "represented", "event": "representment"},
            {"status": "representment_reversed", "event": "representment_reversal"},
        ],
        [
            {"status": "chargeback_reversed", "event": "chargeback_reversal"},
            {"status": "second_chargebacked", "event": "second_chargeback"},
        ],
    ]
    return [chargeback, *draw(st.sampled_from(ways))]


def _spelled(number: int, structure: Sequence[tuple[int, str]]) -> str:
    marks = []
    for size, kind in reversed(structure):
        for _ in range(size):
            number, mark = divmod(number, len(_ALPHABETS[kind]))
            marks.append(_ALPHABETS[kind][mark])
    return "".join(reversed(marks))


@cache
def _structures() -> dict[str, list[tuple[int, str]]]:
    lines = files("tether_core").joinpath("iban.dat").read_text(encoding="ascii").splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            prefix, structure, _ = line.split(" ", 2)
            found[prefix] = [(int(size), kind) for size, kind in re.findall(r"([0-9]+)!([nac])", structure)]
    return found


def _with_check_digits(prefix: str, bban: str) -> str:
    # ISO 7064 MOD 97-10: with the country and 00 behind, what is missing to 98 are the check digits.
    number = "".join(str(int(mark, 36)) for mark in bban + prefix + "00")
    return f"{prefix}{98 - int(number) % 97:02}{bban}"
