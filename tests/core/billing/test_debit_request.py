import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.billing.debit_request import Payer, debit
from tether_core.emp.requests import Debit, sdd_sale
from tether_core.errors import InvalidIban

ANNA = Payer("CH9300762011623852957", "Anna Schmidt")


def asked(payer: Payer, **more: object) -> Debit:
    """The request for a debit from somebody."""
    facts = {"transaction_id": "t-7", "amount_minor": 1000, "currency": "EUR", "usage": "Invoice"} | more
    return debit(payer, **facts)  # type: ignore[arg-type]


def test_everything_known_is_sent() -> None:
    """Outside the EEA a bank returns a debit without the debtor's address."""
    full = msgspec.structs.replace(
        ANNA,
        first_name="Anna",
        last_name="Schmidt-Meier",
        bic="POFICHBEXXX",
        street="Seestrasse",
        house_number="7a",
        postcode="8002",
        city="Zürich",
        country="CH",
        mandate_id="M-1",
        reference="INV 7",
    )
    made = asked(full, merchant_name="Shop", remote_ip="192.0.2.1")
    assert (made.first_name, made.last_name) == ("Anna", "Schmidt-Meier")
    assert (made.address1, made.zip_code, made.city, made.country) == (
        "Seestrasse 7a",
        "8002",
        "Zürich",
        "CH",
    )
    assert (made.bic, made.mandate_reference, made.usage) == ("POFICHBEXXX", "M-1", "Invoice INV 7")
    assert (made.merchant_name, made.remote_ip) == ("Shop", "192.0.2.1")
    assert "Zürich".encode() in sdd_sale(made)


def test_the_country_of_the_account_stands_in() -> None:
    """The gateway demands a country; a list often has none, or its name in full."""
    assert asked(ANNA).country == "CH"
    assert asked(msgspec.structs.replace(ANNA, country="Schweiz")).country == "CH"
    assert asked(msgspec.structs.replace(ANNA, country="DE")).country == "DE"


def test_a_bic_that_is_none_is_excluded() -> None:
    """The gateway refuses the whole debit for a BIC of nine characters, though it needs none."""
    assert asked(msgspec.structs.replace(ANNA, bic="POFICHBEX")).bic is None


def test_an_account_that_is_none_is_refused() -> None:
    """It would come back from the bank for a fee."""
    with pytest.raises(InvalidIban):
        asked(Payer("CH9300762011623852958", "Anna"))


texts = st.none() | st.text(max_size=400)


@given(
    payer=st.builds(
        Payer,
        st.just(ANNA.iban),
        st.text(min_size=1, max_size=400).filter(lambda name: name.replace(",", " ").strip()),
        *[texts] * 11,
    )
)
def test_nothing_is_too_long_for_the_gateway(payer: Payer) -> None:
    """One long street in a file must not keep a debt from being collected."""
    made = asked(payer)
    limits = {"usage": 140, "merchant_name": 140, "bic": 11}
    for name, value in msgspec.structs.asdict(made).items():
        if isinstance(value, str):
            assert len(value) <= limits.get(name, 255)
    assert made.first_name
    assert made.last_name
    assert ANNA.iban not in repr(payer)
