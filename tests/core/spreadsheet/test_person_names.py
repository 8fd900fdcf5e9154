import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.sepa_text import dropped
from tether_core.spreadsheet.countries import country_code
from tether_core.spreadsheet.person_names import broken, clean, split_name

PEOPLE = "José Núñez|Łukasz Wałęsa|Zoë O'Neil|Åsa Öström|Ñico Ça|Groß & Söhne|李小龍|Ελένη|Đorđe Šušić|Ëva-Anne d'Arc|Ján Ďurčák"


@pytest.mark.parametrize("name", PEOPLE.split("|"))
def test_people_of_all_countries_have_sound_names(name: str) -> None:
    """A rule made for ASCII refused München and Łódź; those debtors were never collected."""
    assert broken(name) == ""
    assert dropped(name) == ""
    assert clean(f" {name} ") == name


@pytest.mark.parametrize(
    "name", ["José Núñez", "Jürgen Groß", "Åse Øst", "Łukasz Wałęsa", "Noël d'Hervé", "Ελένη"]
)
def test_utf8_taken_for_windows_is_noticed_and_the_right_spelling_given(name: str) -> None:
    """Such a name goes on bank statements; the debtor does not recognise it and has the debit returned."""
    wrong = name.encode().decode("cp1252", errors="replace")
    assert broken(wrong)
    if "\ufffd" not in wrong:
        assert f"it should read \u201c{name}\u201d" in broken(wrong)


@pytest.mark.parametrize("text", ["a\x07b", "a\ufffdb", f"a{chr(0xDC80)}b", "a\ue000b", "a\x85\x01b"])
def test_damaged_text_is_noticed(text: str) -> None:
    """Characters lost on the way cannot be guessed back, and control characters break files for the bank."""
    assert broken(clean(text))


@given(st.text())
def test_clean_text_has_no_invisible_marks_and_stays_clean(text: str) -> None:
    """Two spellings of one name, with and without a mark of no width, must be the same name."""
    once = clean(f"e\u200b\u0301{text}")
    assert clean(once) == once
    assert "\u200b" not in once
    assert "\u00a0" not in once


def test_line_breaks_within_a_cell_become_blanks() -> None:
    """Addresses typed with Alt+Enter are common and nothing is wrong with them."""
    assert clean("Hauptstr. 1\r\nHinterhaus") == "Hauptstr. 1  Hinterhaus"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("John Doe", ("John", "Doe")),
        ("Doe, John", ("John", "Doe")),
        ("Vries, J. de", ("J. de", "Vries")),
        ("María del Carmen Ruiz", ("María", "del Carmen Ruiz")),
        ("Madonna", ("Madonna", "Madonna")),
        ("Acme,", ("Acme", "Acme")),
    ],
)
def test_a_whole_name_is_split_where_a_gateway_insists(name: str, parts: tuple[str, str]) -> None:
    """The gateway refuses a debit without both parts."""
    assert split_name(name) == parts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"),
        ("de ", "DE"),
        ("Germany", "DE"),
        ("Deutschland", "DE"),
        ("Allemagne", "DE"),
        ("Niemcy", "DE"),
        ("Österreich", "AT"),
        ("Oesterreich", "AT"),
        ("España", "ES"),
        ("POLSKA", "PL"),
        ("The Netherlands", "NL"),
        ("UK", "GB"),
        ("EL", "GR"),
        ("FRA", "FR"),
        ("US", "US"),
        ("Atlantis", None),
        ("", None),
    ],
)
def test_countries_are_read_by_name_and_never_cut_to_two_letters(text: str, code: str | None) -> None:
    """Cutting turned Germany into Georgia and Austria into Australia."""
    assert country_code(text) == code
