import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.blacklist import BLOCKING, REASONS, name_key, name_keys, parse_codes, policy_for
from tether_core.errors import InvalidRequest

# What is to be done with the IBAN after a return, by the meaning of the scheme's codes; kept apart from the module.
BLOCK = set("AC01 AC04 AC06 AG01 MD01 MD07".split())
HOLD = set("MD06 MS02 SL01".split())
NOTHING = set(
    """
    AC13 AG02 AM04 AM05 BE01 BE05 BE06 BE07 CNOR DNOR DT01 ED05 FF01 FF05 FOCR MD02 MS03 NARR RC01 RR01 RR02 RR03
    RR04 TM01 XT33 XT73
    """.split()
)
codes = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=4, max_size=4)


@pytest.mark.parametrize("code", sorted(BLOCK))
def test_codes_that_block(code: str) -> None:
    """A closed account would be debited again, with a fee for every return."""
    assert policy_for(code).action == "block"


@pytest.mark.parametrize("code", sorted(HOLD))
def test_codes_that_hold(code: str) -> None:
    """A debtor who asked for the money back would be debited again before anybody has spoken to them."""
    assert policy_for(code).action == "hold"


@pytest.mark.parametrize("code", sorted(NOTHING))
def test_codes_that_say_nothing_against_the_debtor(code: str) -> None:
    """A debtor whose account was empty once, or whose bank made a mistake, would never be collected from again."""
    assert policy_for(code).action == "none"


def test_the_table_has_no_other_codes() -> None:
    """A code that slipped in would block or spare people without anybody having decided it."""
    assert set(REASONS) == BLOCK | HOLD | NOTHING
    assert BLOCKING == BLOCK


def test_rows_are_filed_under_their_code_and_say_something() -> None:
    """A person on the phone with a debtor reads the sentence."""
    for code, policy in REASONS.items():
        assert policy.code == code
        assert policy.known
        assert policy.meaning.endswith(".")
        assert policy.scope in {"iban", "mandate"}


def test_only_an_empty_account_and_a_silent_bank_are_tried_again() -> None:
    """Trying a refused debit again is against the scheme's rules and costs a fee every time."""
    assert {code: policy.retries for code, policy in REASONS.items() if policy.retries} == {
        "AM04": 2,
        "MS03": 2,
    }


@given(st.none() | st.text(max_size=6).filter(lambda code: code not in REASONS))
def test_an_unknown_reason_never_blocks_by_itself(code: str | None) -> None:
    """A typo of a bank would put a debtor on the blacklist."""
    policy = policy_for(code)
    assert (policy.action, policy.known, policy.retries) == ("none", False, 0)


@given(st.frozensets(st.sampled_from(sorted(REASONS)) | codes), st.sampled_from(sorted(REASONS)) | codes)
def test_the_operators_list_is_the_blocking_set(blocking: frozenset[str], code: str) -> None:
    """An operator who leaves a code out of TETHER_BLACKLIST_CODES would still see people blocked for it, or not for one put in."""
    policy = policy_for(code, blocking=blocking)
    assert (policy.action == "block") == (code in blocking)
    assert (policy.action == "hold") == (code in HOLD and code not in blocking)
    assert policy.known == (code in REASONS)


def test_no_reason_never_matches_an_operators_list() -> None:
    """A chargeback without a reason would block as soon as the list has an empty word in it."""
    assert policy_for(None, blocking=frozenset({""})).action == "none"
    assert policy_for("", blocking=frozenset({""})).action == "none"


@given(st.frozensets(codes, min_size=1), st.sampled_from([",", ", ", " ,\t"]), st.booleans())
def test_the_setting_is_read_as_people_write_it(wanted: frozenset[str], comma: str, lower: bool) -> None:  # noqa: FBT001 - drawn
    """A blank or a small letter in the setting would silently leave a code out."""
    text = comma.join(sorted(wanted)) + comma
    assert parse_codes(text.lower() if lower else text) == wanted


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_setting_means_the_default(text: str) -> None:
    """An empty variable in a compose file would switch blocking off without a word."""
    assert parse_codes(text) == BLOCK


@pytest.mark.parametrize(
    "text", ["AC4", "AC04;MD01", "AC04 MD01", "ÄC04", "AC-4", "AC04,block", "AC\N{ARABIC-INDIC DIGIT ZERO}4"]
)
def test_a_setting_that_is_no_list_of_codes_is_refused(text: str) -> None:
    """A list with the wrong separator would be taken for one strange code, and nobody would be blocked."""
    with pytest.raises(InvalidRequest):
        parse_codes(text)


@pytest.mark.parametrize(
    "name",
    [
        "  PAT   O'NEIL-BERG ",
        "O\u2019Neil-Berg, Pat",
        "Pat\u00a0O'Neil Berg",
        "Pat O'Neil\u2011Berg",
        "\u200ePat O\u00b4Neil-Berg",
        "\uff30at O'Neil-Berg.",
    ],
)
def test_a_blocked_name_is_known_however_it_is_written(name: str) -> None:
    """Who asked not to be debited any more is debited again, because a program wrote another apostrophe."""
    assert name_key(name) == name_key("Pat O'Neil-Berg")


@pytest.mark.parametrize(
    "name", ["Berg Anna Maria", "Berg, Anna Maria", "ANNA MARIA BERG", "Maria Berg Anna"]
)
def test_a_blocked_name_is_known_in_whatever_order_it_is_written(name: str) -> None:
    """The list of a program that writes last names first, without a comma, debits who asked not to be debited."""
    assert name_key("Anna Maria Berg") in name_keys(name)
    assert name_keys(name)[0] == name_key(name)
    assert name_key("Anna Berg Maria") not in name_keys(name)
    assert name_keys("") == ("",)
    assert len(name_keys("x " * 400)) == 1


def test_other_names_stay_different() -> None:
    """Somebody else's block must keep nobody away."""
    names = [
        "Pat Neil",
        "Pat O'Neill",
        "Patricia O'Neil",
        "\u674e",
        "\u738b",
        "--",
        "?!",
        "Mu\u0308ller",
        "Muller",
    ]
    assert len({name_key(name) for name in names}) == len(names)
