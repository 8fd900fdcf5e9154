"""What is written to the gateway in names and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.billing.debit_request import Payer, debit
from tether_core.sepa_text import Characters, dropped, write

IBAN = "DE89370400440532013000"
BASIC = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-?:().,'+ ")


@pytest.mark.parametrize(
    ("name", "latin", "sepa"),
    [
        ("J\u00fcrgen Gro\u00df", "J\u00fcrgen Gro\u00df", "Juergen Gross"),
        ("\u0141ukasz \u017b\u00f3\u0142\u0107", "\u0141ukasz \u017b\u00f3\u0142\u0107", "Lukasz Zolc"),
        ("O\u2019Neil", "O'Neil", "O'Neil"),
        ("M\u00fcller & S\u00f6hne", "M\u00fcller & S\u00f6hne", "Mueller + Soehne"),
        ('Gasthaus "Zum Ochsen" <GmbH>', "Gasthaus Zum Ochsen GmbH", "Gasthaus Zum Ochsen GmbH"),
        ("Anna @home \U0001f600", "Anna home", "Anna home"),
        ("No\u00ebl Br\u00f8ndsted", "No\u00ebl Br\u00f8ndsted", "Noel Broendsted"),
        ("\u0160t\u011bp\u00e1n D\u0307", "\u0160t\u011bp\u00e1n D\u0307", "Stepan D"),
    ],
)
def test_names_are_written_as_the_account_says(name: str, latin: str, sepa: str) -> None:
    """A bank that drops letters returns the debit, or shows the debtor a name that is none."""
    assert write(name, characters="latin") == latin
    assert write(name, characters="sepa") == sepa


@given(st.text(max_size=80))
def test_nothing_but_the_basic_set_is_written_where_it_was_chosen(text: str) -> None:
    """One letter outside it is enough for some banks to refuse the file."""
    written = write(text, characters="sepa")
    assert set(written) <= BASIC or written == text
    assert write(written, characters="sepa") == written


@given(st.text(max_size=80))
def test_what_is_announced_as_dropped_is_dropped(text: str) -> None:
    """The warning of the row is a promise about the debit."""
    written = write(text, characters="latin")
    assert not set(dropped(text)) & set(written) or written == text


def test_a_name_of_which_nothing_would_be_left_is_sent_as_it_is() -> None:
    """A debit without a name is rejected by the gateway; one with foreign letters may pass."""
    assert write("\u674e", characters="sepa") == "\u674e"


def _debit(payer: Payer, characters: Characters = "latin") -> tuple[str, str]:
    asked = debit(
        payer, transaction_id="t", amount_minor=100, currency="EUR", usage="x", characters=characters
    )
    return asked.first_name, asked.last_name


def test_the_debit_carries_the_holders_name_and_not_the_members() -> None:
    """Else the parents' account would be debited in the name of their child."""
    payer = Payer(iban=IBAN, name="Greta Gro\u00df", first_name="Anna", last_name="Schmidt")
    assert _debit(payer) == ("Greta", "Gro\u00df")
    assert _debit(payer, "sepa") == ("Greta", "Gross")
    same = Payer(iban=IBAN, name="Schmidt, Anna Maria", first_name="Anna Maria", last_name="Schmidt")
    assert _debit(same) == ("Anna Maria", "Schmidt")


def test_symbols_never_reach_the_gateway() -> None:
    """The warning says that they are excluded."""
    payer = Payer(iban=IBAN, name="Anna <Schmidt> \U0001f600")
    assert _debit(payer) == ("Anna", "Schmidt")
