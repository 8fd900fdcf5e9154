import contextlib
import csv
import importlib.util
import io
import json
import random
import re
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
import schwifty
from hypothesis import example, given
from hypothesis import strategies as st
from tether_core import iban
from tether_core.errors import InvalidIban

# One published example a country (IBAN registry, "IBAN electronic format example").
EXAMPLES = """
AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201
AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 BG80BNBG96611020345678
BH67BMAG00001299123456 BI4210000100010000332045181 BR1800360305000010009795493C1 BY13NBRB3600900000002Z00AB00
CH9300762011623852957 CR05015202001026284066 CY17002001280000001200527600 CZ6508000000192000145399
DE89370400440532013000 DJ2100010000000154000100186 DK5000400440116243 DO28BAGR00000001212453611324
EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332 FI2112345600000785
FK88SC123456789012 FO6264600001631634 FR1420041010050500013M02606 GB29NWBK60161331926819
GE29NB0000000101904917 GI75NWBK000000007099453 GL8964710001000206 GR1601101250000000012300695
GT82TRAJ01020000001210029690 HN88CABF00000000000250005469 HR1210010051863000160 HU42117730161111101800000000
IE29AIBK93115212345678 IL620108000000099999999 IQ98NBIQ850123456789012 IS140159260076545510730339
IT60X0542811101000000123456 JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101
KZ86125KZT5004100100 LB62099900000001001901229114 LC55HEMM000100010012001200023015 LI21088100002324013AA
LT121000011101001000 LU280019400644750000 LV80BANK0000435195001 LY83002048000020100120361
MC5811222000010123456789030 MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984
MN121234123456789123 MR1300020001010000123456753 MT84MALT011000012345MTLCAST001S
MU17BOMM0101101030300200000MUR NI45BAPR00000013000003558124 NL91ABNA0417164300 NO9386011117947
OM810180000001299123456 PK36SCBL0000001123456702 PL61109010140000071219812874
PS92PALS000000000400123456702 PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG
RO49AAAA1B31007593840000 RS35260005601001611379 RU0304452522540817810538091310419
SA0380000000608010167519 SC18SSCB11010000000000001497USD SD2129010501234001 SE4550000000058398257466
SI56263300012039086 SK3112000000198742637541 SM86U0322509800000000270100 SO211000001001000100141
ST23000100010051845310146 SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831
TR330006100519786457841326 UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901
XK051212012345678906 YE15CBYE0001018861234567891234
""".split()

# Countries schwifty adds to the registry: territories that use another country's prefix, and experimental ones.
ONLY_SCHWIFTY = set(
    "AX BL GF GG GP IM JE MF MQ NC PF PM RE TF WF YT "
    "AO BF BJ CF CG CI CM CV DZ GA GQ GW IR KM MA MG ML MZ NE SN TD TG".split()
)


def _registry() -> dict[str, str]:
    lines = files("tether_core").joinpath("iban.dat").read_text().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if not line.startswith("#")}


def _check_digits(country: str, bban: str) -> str:
    """The two digits that make the remainder 1, by the textbook and without our code."""
    return f"{98 - int(''.join(str(int(mark, 36)) for mark in bban + country + '00')) % 97:02}"


def _make(country: str, rng: random.Random) -> str:
    """A random IBAN of a country, right in form and check digits."""
    marks = {
        "n": "0123456789",
        "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "c": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    }
    bban = "".join(
        rng.choice(marks[kind])
        for count, kind in re.findall(r"(\d+)!([nac])", _registry()[country])
        for _ in range(int(count))
    )
    return country + _check_digits(country, bban) + bban


valid = st.builds(
    lambda country, seed: _make(country, random.Random(seed)),
    st.sampled_from(sorted(_registry())),
    st.integers(0),
)


def _full_width(text: str) -> str:
    return "".join(chr(ord(mark) + 0xFEE0) for mark in text)


def _refusal(text: str) -> str:
    with pytest.raises(InvalidIban) as caught:
        iban.validate(text)
    return str(caught.value)


def test_every_country_of_the_registry_has_an_example_that_passes() -> None:
    """A country missing or mistyped in the data file refuses every debtor who banks there."""
    assert {text[:2] for text in EXAMPLES} == set(_registry())
    assert [iban.validate(text) for text in EXAMPLES] == EXAMPLES


def test_the_structures_agree_with_the_registry_schwifty_carries() -> None:
    """A slip in one structure would refuse a country's good numbers, or let wrong ones through to the bank."""
    folder = Path(schwifty.__file__).parent / "iban_registry"
    theirs = {
        country: entry["bban_spec"]
        for country, entry in json.loads((folder / "generated.json").read_text()).items()
    }

    def expanded(structure: str) -> str:
        return "".join(kind * int(count) for count, kind in re.findall(r"(\d+)!([nac])", structure))

    ours = _registry()
    assert set(ours) - set(theirs) == set()
    assert set(theirs) - set(ours) <= ONLY_SCHWIFTY
    different = {country for country in ours if expanded(ours[country]) != expanded(theirs[country])}
    # Its copy of the registry gives Brazil "8!c5!n10!n1!c1!c" in a hand-made correction and the registry's letters here.
    assert different <= {"BR"}


@given(valid)
def test_acceptance_agrees_with_schwifty_on_well_formed_numbers(number: str) -> None:
    """Two independent readings of the norm must not part ways on what a bank would take."""
    assert iban.validate(number) == number
    assert schwifty.IBAN(number, allow_invalid=True).is_valid


@given(valid, st.data())
def test_one_wrong_digit_or_two_swapped_neighbours_never_pass(number: str, data: st.DataObject) -> None:
    """This is what check digits are for: a typing slip must not debit a stranger."""
    place = data.draw(st.integers(4, len(number) - 1))
    wrong = data.draw(
        st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ").filter(lambda m: m != number[place])
    )
    broken = number[:place] + wrong + number[place + 1 :]
    # A letter weighs two digits, so a digit exchanged for a letter is not a single error of the sum.
    if wrong.isdigit() == number[place].isdigit():
        _refusal(broken)
    swapped = number[: place - 1] + number[place] + number[place - 1] + number[place + 1 :]
    if place > 4 and swapped != number and number[place].isdigit() == number[place - 1].isdigit():
        _refusal(swapped)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("IBAN AT61 1904 3002 3457 3201", "AT611904300234573201"),
        ("iban:de89370400440532013000", "DE89370400440532013000"),
        ("PT: 50 0002 0123 1234 5678 9015 4", "PT50000201231234567890154"),
        ("FR 14 / 2004 / 1010 / 0505 / 0001 / 3M02 / 606", "FR1420041010050500013M02606"),
        ("ES91 \u2013 2100 \u2013 0418 4502 0005 1332", "ES9121000418450200051332"),
        ("M.K 07250120000058984", "MK07250120000058984"),
        ("NO93.8601.11.17947", "NO9386011117947"),
        ("DE89\u00a03704\u202f0044\u20090532\u200b0130\ufeff00", "DE89370400440532013000"),
        ("\u202aDE89370400440532013000\u202c\r\n", "DE89370400440532013000"),
        (_full_width("DE89370400440532013000"), "DE89370400440532013000"),
        ("nl91abna0417164300", "NL91ABNA0417164300"),
    ],
)
def test_common_spellings_are_one_number(spelling: str, canonical: str) -> None:
    """Each was seen in real files; refusing one throws out a good debtor, keeping it lets a doubled one in."""
    assert iban.validate(spelling) == canonical
    assert iban.fingerprint(spelling) == iban.fingerprint(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "DE"
        + "".join(
            chr(0x660 + int(digit)) for digit in "89370400440532013000"
        ),  # Arabic-Indic digits: int() and isdigit() take them
        "GB29NWBK6016133192681²x",
        "DE8937040044053201300ß",  # upper-cased it would be two letters
        "GI75NWBK" + "\u0131" * 8 + "7099453",  # dotless i, upper-cased a plain I
        "DE89 3704 0044 0532 0130 00\x00",
        "GB2LNWBK60161331926819",  # a letter among the check digits
    ],
)
def test_other_scripts_and_letters_in_digits_places_are_refused(text: str) -> None:
    """Python's own idea of a digit is wider than a bank's; such a number would fail there, after the debit is sent."""
    _refusal(text)


@pytest.mark.parametrize("wrong", ["00", "01", "99"])
def test_check_digits_run_from_02_to_98(wrong: str) -> None:
    """Three pairs leave the right remainder and are still wrong: ISO 7064 never makes them."""
    right = {"00": "97", "01": "98", "99": "02"}[wrong]
    rng = random.Random(7)
    number = next(n for n in iter(lambda: _make("DE", rng), "") if n[2:4] == right)
    assert iban.validate(number) == number
    assert "check digits do not fit" in _refusal(number[:2] + wrong + number[4:])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "**** is not an IBAN: there is nothing in it; add the account number."),
        (
            "DE8937040044053201300",
            "DE89*************1300 is not an IBAN: Germany has 22 characters, this has 21; ask the account holder for it.",
        ),
        (
            "GB29NWBK6O161331926819",
            (
                "GB29**************6819 is not an IBAN: in United Kingdom two check digits and then 4 letters, 6 digits, "
                "8 digits follow the country; ask the account holder for it."
            ),
        ),
        (
            "ZZ89370400440532013000",
            (
                "ZZ89**************3000 is not an IBAN: it begins with no country of the IBAN registry; "
                "ask the account holder for it."
            ),
        ),
        (
            "0532013000",
            (
                "********** is not an IBAN: it begins with no country, as national account numbers do; "
                "ask the account holder for the IBAN."
            ),
        ),
        (
            "GF1420041010050500013M02606",
            (
                "GF14*******************2606 is not an IBAN: accounts in GF have IBANs that begin with FR; "
                "ask the account holder for it."
            ),
        ),
        (
            "DE89+37040044+0532013000",
            (
                "DE89****************3000 is not an IBAN: it holds a character that is neither a Latin letter nor a digit; "
                "correct the row."
            ),
        ),
    ],
)
def test_a_refusal_names_the_rule_and_who_corrects_it(text: str, sentence: str) -> None:
    """This sentence is all the person with the spreadsheet gets."""
    assert _refusal(text) == sentence


def test_the_belgian_sample_is_accepted() -> None:
    """Its national check digits are wrong though the registry prints it; national rules are not ours to enforce."""
    assert iban.validate("BE68 5390 0754 7034") == "BE68539007547034"


def test_a_final_newline_inside_a_longer_text_is_no_way_around() -> None:
    """A pattern that ends in $ lets one newline through; two numbers in one cell must not pass as the first."""
    _refusal("DE89370400440532013000\nDE89370400440532013000")


@given(st.text())
@example("e\u200b\u0301")
@example("\ud800")
def test_junk_is_refused_and_nothing_else_is_raised(text: str) -> None:
    """One strange cell in a million rows must become one problem, not the end of the import."""
    with contextlib.suppress(InvalidIban):
        assert iban.compact(text) == iban.validate(text)
    assert iban.compact(iban.compact(text)) == iban.compact(text)
    assert len(iban.fingerprint(text)) == 16
    excerpt = iban.mask(text)
    assert 4 <= len(excerpt) <= 34
    assert excerpt.isascii()
    assert excerpt.isprintable()


@given(valid)
def test_a_mask_shows_eight_characters_at_most(number: str) -> None:
    """What is shown in logs, lists and reports must not be enough to debit the account."""
    excerpt = iban.mask(number)
    assert len(excerpt) == len(number)
    assert excerpt.count("*") == len(number) - 8
    assert iban.mask(number[:14]) == "*" * 14


def test_a_fingerprint_depends_on_its_key() -> None:
    """Two installations, or a leaked list, must not be comparable without the secret."""
    number = "DE89370400440532013000"
    assert (
        len(
            {iban.fingerprint(number), iban.fingerprint(number, key=b"a"), iban.fingerprint(number, key=b"b")}
        )
        == 3
    )
    # Stored lists are matched by this value: if it ever changes, every blacklist in use forgets its entries.
    assert iban.fingerprint(number, key=b"key").hex() == "f9ee81b6e7d1ac8dbe1b850dc7e0d690"


def test_sepa_is_41_countries_with_42_prefixes_and_the_eea_lies_within() -> None:
    """A prefix too few refuses collectable debtors; one too many sends debits that must fail."""
    assert len(iban.SEPA) == 42
    assert len(iban.EEA) == 30
    assert iban.EEA < iban.SEPA <= set(_registry())
    assert {text[:2] for text in EXAMPLES if iban.is_sepa(text) and not iban.is_eea(text)} == set(
        "AD AL CH GB GI MC MD ME MK RS SM VA".split()
    )
    assert not any(
        iban.is_sepa(text) for text in EXAMPLES if text[:2] in {"XK", "FO", "GL", "BA", "TR", "UA"}
    )
    assert iban.country("DE89370400440532013000") == "DE"


def _load_tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "update_iban.py"
    spec = importlib.util.spec_from_file_location("update_iban", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_turns_the_registry_on_its_side_and_refuses_a_slip() -> None:
    """The next release must be one command away, and a damaged download must not become our data."""
    sheet = io.StringIO()
    csv.writer(sheet, delimiter="\t").writerows(
        [
            ["Data element", "Description", "Description"],
            ["Name of country", "Moldova, Republic of", "Germany"],
            ["IBAN prefix country code (ISO 3166)", "MD", "DE"],
            ["BBAN structure", "2!c18!c", "8!n10!n"],
            ["IBAN length", "24", "22"],
        ]
    )
    tool = _load_tool()
    assert tool.lines(sheet.getvalue(), release="101")[2:] == [
        "DE 8!n10!n Germany",
        "MD 2!c18!c Moldova, Republic of",
    ]
    with pytest.raises(ValueError, match="DE: 8!n10!n does not make 23 characters"):
        tool.lines(sheet.getvalue().replace("22", "23"), release="101")
    with pytest.raises(ValueError, match="DE: cannot read the structure"):
        tool.lines(sheet.getvalue().replace("8!n10!n", "8!n10n"), release="101")
