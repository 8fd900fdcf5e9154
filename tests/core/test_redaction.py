import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tether_core import iban, redaction
from tether_core.testing import ibans, spellings

# Fields of the gateway that hold personal data or secrets, by its documentation v60.1 (parameters of notifications).
GATEWAY_PERSONAL = """
    signature token consumer_id bank_account_number bank_identifier_code account_holder customer_email customer_phone
    first_name last_name address1 address2 zip_code city state card_number card_holder card_brand card_expiration
    expiration_month expiration_year payment_account_reference scheme_pan_tail holder_name holder_date_of_birth
    document_number document_name payment_transaction_token
""".split()
TOLD_FREELY = """
    unique_id transaction_id status event amount amount_minor currency reason_code rc_code error_code transaction_type
    terminal_token chargeback_unique_id iban_masked upload_id filename row column
""".split()
WORDS = [
    "",
    "paid from ",
    "IBAN: ",
    "IBAN",
    "row 7, ",
    "«",
    "x",
    "(",
    "Konto ",
    "2026-03-02 12:00 ",
    "from DE12 to ",
]
BEHIND = ["", " today", ", thanks", ".", "»", ")", " and then some words more", "\n2nd line", " 12.50 EUR"]


def survives(account: str, excerpt: str, *, characters: int = 8) -> bool:
    """Whether so many characters of the account in a row can still be read, however they are spaced."""
    plain = re.sub(r"[\s\-]", "", excerpt).upper()
    return any(account[at : at + characters] in plain for at in range(len(account) - characters + 1))


@given(
    ibans().flatmap(lambda item: st.tuples(st.just(item), spellings(item))), st.sampled_from(WORDS), st.data()
)
def test_no_valid_iban_survives_in_a_text(pair: tuple[str, str], before: str, data: st.DataObject) -> None:
    """A debtor's account number would stand in the logs, for everybody who can read them."""
    account, spelled = pair
    behind = data.draw(st.sampled_from(BEHIND))
    excerpt = redaction.text(before + spelled + behind)
    assert not survives(account, excerpt)
    assert len(excerpt) <= len(before + spelled + behind)


@given(ibans().flatmap(lambda item: st.tuples(st.just(item), spellings(item))))
def test_no_valid_iban_survives_in_fields(pair: tuple[str, str]) -> None:
    """The gateway repeats account numbers in fields nobody would think of."""
    account, spelled = pair
    excerpt = redaction.fields(
        {"iban": spelled, "usage": f"debit {spelled}", "a_field_of_a_later_release": spelled}
    )
    assert list(excerpt) == ["iban", "usage", "a_field_of_a_later_release"]
    assert excerpt["iban"] == "***"
    assert not any(survives(account, value) for value in excerpt.values())


@given(st.lists(ibans(), min_size=2, max_size=3), st.sampled_from([" ", ", ", "\n", "/", ";"]))
def test_several_in_a_row(accounts: list[str], between: str) -> None:
    """The second account of a line would be taken for the tail of the first and be shown."""
    excerpt = redaction.text(between.join(accounts))
    assert not any(survives(account, excerpt) for account in accounts)


@given(ibans(), st.data())
def test_a_mistyped_account_is_masked_too(account: str, data: st.DataObject) -> None:
    """One wrong digit makes it invalid; for a person who reads it, it is the account number still."""
    at = data.draw(st.integers(4, len(account) - 1))
    typo = data.draw(st.sampled_from("0123456789"))
    wrong = account[:at] + typo + account[at + 1 :]
    digits = sum(mark.isdigit() for mark in wrong)
    excerpt = redaction.text(f"see {wrong}, please")
    # Fewer than eight digits are taken for words; no country's account numbers have so few but by chance.
    # By chance a valid one of another country may begin in its middle; then the bank's code stays, not the account.
    assert digits < 8 or not survives(wrong, excerpt, characters=12)


@given(ibans(), ibans())
def test_what_stands_before_cannot_shield_it(account: str, other: str) -> None:
    """A stray word that looks like the beginning of an IBAN would let the real one behind it slip through."""
    assert not survives(account, redaction.text(f"AB12 3456 7890 1234 {account}"))
    assume(not other.startswith(account[:2]))
    assert not survives(account, redaction.text(f"{other[:8]} {account}"))


def test_the_rest_of_the_sentence_stays() -> None:
    """Operators would read stars where the cause of a trouble stood."""
    assert redaction.text("row 7: DE89 3704 0044 0532 0130 00 was returned with AC04") == (
        "row 7: DE89**************3000 was returned with AC04"
    )
    # Mistyped, and followed by a number; of a country that has none, and followed by words.
    assert redaction.text("row 7: DE89370400440532013001 12 EUR") == "row 7: DE89**************3001 12 EUR"
    assert redaction.text("row 7: XX89 3704 0044 0532 0130 00 was returned") == (
        "row 7: XX89**************3000 was returned"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch applied",
        "no IBAN in DE12",
        "db01 is not reachable since this morning",
        "db01 is not reachable since 12",
        "unique_id be17a21403427eb96664a6d7e5d5d481 is unknown",
        "request de12a214-0342-4eb9-9664-a6d7e5d5d481 failed",
        "sha256 de12a21403427eb96664a6d7e5d5d481de12a21403427eb96664a6d7e5d5d481",
        "2026-03-02T12:00:00.123456Z",
        "GET /api/webhook-events/1234567890123456789",
        "drain_webhooks:2 took 12 ms for 256 rows",
        "psycopg.errors.UniqueViolation: duplicate key value",
    ],
)
def test_what_is_no_account_stays(text: str) -> None:
    """Ids masked in logs cannot be searched for when a customer asks."""
    assert redaction.text(text) == text


@given(st.text(max_size=60))
def test_any_text_can_be_redacted_and_again(text: str) -> None:
    """A redactor that raises takes the log line, or the request, with it."""
    once = redaction.text(text)
    assert len(once) <= len(text)
    assert redaction.text(once) == once


@pytest.mark.parametrize(
    "text", ["DE" * 20_000, "DE89 " * 10_000, "D-" * 20_000, "A1" * 20_000, "DE89" + " " * 40_000]
)
def test_hostile_text_costs_little(text: str) -> None:
    """64 KiB of almost-IBANs in a notification would hold up every log line, and with it the worker."""
    began = time.process_time()
    redaction.text(text)
    # A hundredfold of what it takes; quadratic work would take minutes.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "name", [*GATEWAY_PERSONAL, "IBAN", "First Name", "e-mail address".replace("e-mail ", "")]
)
def test_personal_fields_are_stars_whatever_they_hold(name: str) -> None:
    """A name looks like any other word: only the field says that it is one."""
    assert redaction.is_personal(name)
    assert redaction.fields({name: "Erika"}) == {name: "***"}
    assert redaction.fields({name: ""}) == {name: ""}


@pytest.mark.parametrize("name", TOLD_FREELY)
def test_fields_that_help_to_find_a_payment_are_shown(name: str) -> None:
    """With ids and states starred out, a notification that is parked could not be explained to anybody."""
    assert not redaction.is_personal(name)
    assert redaction.fields({name: "44177a21"}) == {name: "44177a21"}


def test_masks_are_those_of_the_iban_module() -> None:
    """People compare a masked account in a log with the one in a list."""
    account = "MT84MALT011000012345MTLCAST001S"
    assert redaction.text(account.lower()) == iban.mask(account)
