"""Workbooks that show something else than the values of their cells; each test says who would be debited wrongly."""

import io
import random
import struct
from datetime import date
from pathlib import Path
from typing import cast

import pytest
from tether_core.spreadsheet import (
    Answers,
    Debtor,
    FileRefused,
    Kind,
    Outcome,
    Plan,
    Refused,
    Skipped,
    reading,
    rows,
)
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.seen import marked
from tether_core.spreadsheet.view import COMMENTS_MAX, View, ViewBuilder
from tether_core.spreadsheet.workbook import _LOOKS, open_workbook

from tests.data.spreadsheets import make

DATA = Path(__file__).parents[2] / "data" / "spreadsheets"
A, B, C = "DE89370400440532013000", "DE02120300000000202051", "NL91ABNA0417164300"
LINES: list[list[str | float]] = [
    ["Name", "IBAN", "Betrag"],
    ["Ann", A, 12.5],
    ["Ben", B, 7.5],
    ["Cat", C, 20.0],
]


def _plan(data: bytes, answers: Answers | None = None, name: str = "list.xlsx") -> Plan:
    found = reading.plan(io.BytesIO(data), name=name, answers=answers or Answers())
    assert isinstance(found, Plan), found
    return found


def _read(data: bytes, answers: Answers | None = None, name: str = "list.xlsx") -> list[Outcome]:
    plan = _plan(data, answers, name)
    assert plan.ready, plan.questions
    found = reading.rows(io.BytesIO(data), plan=plan)
    return list(rows.read(found, plan=plan, today=date(2026, 11, 29)))


def _names(outcomes: list[Outcome]) -> list[str]:
    return [outcome.name for outcome in outcomes if isinstance(outcome, Debtor)]


def _codes(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Refused), outcome
    return [problem.code for problem in outcome.problems]


@pytest.mark.parametrize("filtered", ["", "A1:C4"])
def test_hidden_rows_are_a_question(filtered: str) -> None:
    """Else those whom the sender has filtered out, because they have left or have paid, would be debited."""
    data = make.seen_xlsx(LINES, hidden_rows=[2], filtered=filtered)
    (question,) = _plan(data).questions
    assert (question.code, question.answer, question.choices) == (
        "hidden_rows",
        "hidden_rows",
        ("take", "exclude"),
    )
    assert "Row 3 is hidden" in question.ask
    assert ("by a filter" in question.ask) == bool(filtered)
    assert _names(_read(data, Answers(hidden_rows="take"))) == ["Ann", "Ben", "Cat"]
    assert _names(_read(data, Answers(hidden_rows="exclude"))) == ["Ann", "Cat"]


def test_hidden_rows_far_below_the_sample_are_a_question() -> None:
    """Else a filter that hides only the last rows of a long list would not be noticed."""
    lines = [LINES[0], *[["Ann", A, 12.5]] * 3_000]
    (question,) = _plan(make.seen_xlsx(lines, hidden_rows=[2_990, 2_991, 2_992, 2_996])).questions
    assert "Rows 2,991 to 2,993 and 2,997 are hidden" in question.ask


def test_hidden_rows_without_an_account_or_an_amount_are_no_question() -> None:
    """Else a hidden title or note would stop every list that has one."""
    lines = [["Liste 2026"], ["intern"], *LINES, [], ["Stand: heute"]]
    assert _plan(make.seen_xlsx(lines, hidden_rows=[1, 7])).ready


def test_hidden_rows_that_are_excluded_change_nothing_for_their_neighbours() -> None:
    """Else a row below hidden ones would be taken for a note below the table, and be dropped."""
    lines = [*LINES[:3], ["", "", 7.5], ["Cat", C, 20.0]]
    found = _read(make.seen_xlsx(lines, hidden_rows=[2]), Answers(hidden_rows="exclude"))
    assert [type(outcome) for outcome in found] == [Debtor, Refused, Debtor]


def test_reading_goes_on_after_a_break_as_if_it_had_never_stopped() -> None:
    """Else a crash would fill merged cells otherwise, or bring hidden rows back."""
    data = make.seen_xlsx(
        [LINES[0], ["Ann", A, 12.5], ["", "", 7.5], *LINES[2:]], merged=["A2:A3", "B2:B3"], hidden_rows=[3]
    )
    plan = _plan(data, Answers(hidden_rows="exclude"))
    every = list(reading.rows(io.BytesIO(data), plan=plan))
    for row in every:
        rest = list(reading.rows(io.BytesIO(data), plan=plan, after=row.number))
        assert rest == [other for other in every if other.number > row.number]


@pytest.mark.parametrize(("column", "field"), [(1, "iban"), (2, "amount")])
def test_a_hidden_column_of_money_is_a_question(column: int, field: str) -> None:
    """Else amounts of last year, in a column that nobody sees, would be collected."""
    data = make.seen_xlsx(LINES, hidden_columns=[column])
    (question,) = _plan(data).questions
    assert (question.code, question.answer) == ("hidden_column", f"columns.{field}")
    named = Answers(columns={field: str(LINES[0][column])})
    assert _names(_read(data, named)) == ["Ann", "Ben", "Cat"]


def test_other_hidden_columns_are_named() -> None:
    """Else nobody would know that a column was read, or was not."""
    lines = [[*line, extra] for line, extra in zip(LINES, ["Vorjahresbemerkung", "x", "y", "z"], strict=True)]
    warnings = _plan(make.seen_xlsx(lines, hidden_columns=[0, 3])).warnings
    assert "Hidden columns are read: A (\u201cName\u201d) as name." in warnings
    assert "Hidden columns are not read: D (\u201cVorjahresbemerkung\u201d)." in warnings


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("[$CHF] #,##0.00", "currency_not_eur"),
        ('#,##0.00 "zł"', "currency_not_eur"),
        ("[$$-409]#,##0.00", "currency_not_eur"),
        ('#,##0.00\\ "Kč"', "currency_not_eur"),
        ("0%", "amount_unreadable"),
        ('0 "ct"', "amount_unreadable"),
        ('#,##0 "T€"', "amount_unreadable"),
        (";;;", "amount_unreadable"),
        ("-#,##0.00", "amount_unreadable"),
        ("[Red](0.00)", "amount_unreadable"),
        ('0.00 "Gutschrift"', "amount_unreadable"),
    ],
)
def test_an_amount_that_is_not_shown_as_euros_is_refused(code: str, problem: str) -> None:
    """Else 80.50 francs would be collected as 80.50 euros."""
    found = _read(make.seen_xlsx(LINES, formats={"C3": code, "C4": '#,##0.00 "€"'}))
    assert _codes(found[1]) == [problem]
    assert _names(found) == ["Ann", "Cat"]


STRUCK_STYLE = (
    '<office:automatic-styles><style:style style:name="ce1" style:family="table-cell"><style:text-properties '
    'style:text-line-through-style="solid"/></style:style><style:style style:name="ce2" style:family="table-cell" '
    'style:parent-style-name="ce1"><style:text-properties style:text-line-through-style="none"/></style:style>'
    '<style:style style:name="T1" style:family="text"><style:text-properties style:text-line-through-type="single"/></style:style>'
    "</office:automatic-styles>"
)


def _ods_cell(value: str | float, style: str = "", *, part: bool = False, comment: str = "") -> str:
    kind = (
        'office:value-type="string"'
        if isinstance(value, str)
        else f'office:value-type="float" office:value="{value}"'
    )
    said = f"<office:annotation><text:p>{comment}</text:p></office:annotation>" if comment else ""
    text = f'<text:span text:style-name="T1">{value}</text:span> x' if part else str(value)
    return f'<table:table-cell table:style-name="{style}" {kind}>{said}<text:p>{text}</text:p></table:table-cell>'


def _ods_list(
    styled: dict[tuple[int, int], str],
    comments: dict[tuple[int, int], str] | None = None,
    *,
    styles: str = STRUCK_STYLE,
    after: str = "",
) -> bytes:
    """The list as LibreOffice writes it; "part" strikes a part of a text out."""
    table = ""
    for row, cells in enumerate(LINES):
        table += "<table:table-row>"
        for column, cell in enumerate(cells):
            style = styled.get((row, column), "")
            said = (comments or {}).get((row, column), "")
            table += _ods_cell(cell, "" if style == "part" else style, part=style == "part", comment=said)
        table += "</table:table-row>"
    return make.ods(table=table + after, styles=styles)


def _lists(struck: list[tuple[int, int]], comments: dict[tuple[int, int], str]) -> list[tuple[str, bytes]]:
    """One list in every kind of workbook."""
    lines = cast("list[list[make.Cell]]", LINES)

    def name(place: tuple[int, int]) -> str:
        return f"{'ABC'[place[1]]}{place[0] + 1}"

    return [
        (
            "list.xlsx",
            make.seen_xlsx(
                LINES, struck=[*map(name, struck)], comments={name(at): said for at, said in comments.items()}
            ),
        ),
        ("list.xls", make.xls(lines, struck=struck, comments=comments)),
        ("list.xlsb", make.xlsb(lines, struck=struck, comments=comments)),
        ("list.ods", _ods_list(dict.fromkeys(struck, "ce1"), comments)),
    ]


@pytest.mark.parametrize("struck", [[(2, 0), (2, 1), (2, 2)], [(2, 2)], [(2, 1)], [(2, 0)]])
def test_a_row_that_is_struck_out_is_refused_in_every_kind_of_workbook(struck: list[tuple[int, int]]) -> None:
    """Else those whom the sender has struck out, because they have left or have paid, would be debited."""
    for name, data in _lists(struck, {}):
        assert [warning for warning in _plan(data, name=name).warnings if "struck out" in warning] == [
            "Row 3 is struck out, in whole or in part. It is refused if it is filled."
        ], name
        found = _read(data, name=name)
        assert _codes(found[1]) == ["row_unreadable"], name
        assert isinstance(found[1], Refused)
        columns = ", ".join("ABC"[column] for _, column in struck)
        assert f" {columns} {'is' if len(struck) == 1 else 'are'} struck out" in found[1].problems[0].note
        assert _names(found) == ["Ann", "Cat"], name


def test_a_part_of_a_cell_that_is_struck_out_refuses_its_row() -> None:
    """Else the name that somebody has corrected by striking the old one out would be sent with both."""
    book = make.seen_xlsx(LINES, struck_words={"A3": ("Ben", " Bob")})
    inline = make.raw_xlsx(
        '<row r="1"><c r="A1" t="inlineStr"><is><r><rPr><strike/></rPr><t>x</t></r></is></c></row>'
    )
    assert _LOOKS["xlsx"](io.BytesIO(inline), "A").struck == {1: (0,)}
    lines, words = cast("list[list[make.Cell]]", LINES), {(2, 0): ("Ben", " Bob")}
    for name, data in (
        ("list.xlsx", book),
        ("list.ods", _ods_list({(2, 0): "part"})),
        ("list.xls", make.xls(lines, struck_words=words)),
        ("list.xls", make.xls(lines, struck_words=words, filler=4_001)),  # its texts go on in a second record
        ("list.xlsb", make.xlsb(lines, struck_words=words)),
    ):
        found = _read(data, name=name)
        assert _names(found) == ["Ann", "Cat"], name
        assert isinstance(found[1], Refused)
        assert found[1].cells[0].startswith("Ben"), name  # the text itself is read


WHITE_STYLE = (
    '<office:automatic-styles xmlns:fo="urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0"><style:style style:name="ce1" '
    'style:family="table-cell"><style:text-properties fo:color="#ffffff"/></style:style><style:style style:name="ce2" '
    'style:family="table-cell" style:parent-style-name="ce1"><style:table-cell-properties fo:background-color="#1f4e78"/></style:style>'
    "</office:automatic-styles>"
)


def _white_lists(places: list[tuple[int, int]]) -> list[tuple[str, bytes]]:
    """One list in every kind of workbook, with some cells in white letters."""
    lines = cast("list[list[make.Cell]]", LINES)
    looks = {f"{'ABC'[column]}{row + 1}": {"font_color": "#FFFFFF"} for row, column in places}
    return [
        ("list.xlsx", make.seen_xlsx(LINES, looks=looks)),
        ("list.xls", make.xls(lines, white=places)),
        ("list.xlsb", make.xlsb(lines, white=places)),
        ("list.ods", _ods_list(dict.fromkeys(places, "ce1"), styles=WHITE_STYLE)),
    ]


@pytest.mark.parametrize("places", [[(2, 0), (2, 1), (2, 2)], [(2, 1)], [(2, 2)]])
def test_letters_that_nobody_sees_are_a_question_in_every_kind_of_workbook(
    places: list[tuple[int, int]],
) -> None:
    """Else those whom the sender has written in white, to keep them out of sight, would be debited."""
    for name, data in _white_lists(places):
        (question,) = _plan(data, name=name).questions
        assert (question.code, question.answer, question.choices) == (
            "hidden_rows",
            "hidden_rows",
            ("take", "exclude"),
        ), name
        assert "Row 3 has an account or an amount in letters of the colour of the paper" in question.ask, name
        assert _names(_read(data, Answers(hidden_rows="take"), name)) == ["Ann", "Ben", "Cat"], name
        assert _names(_read(data, Answers(hidden_rows="exclude"), name)) == ["Ann", "Cat"], name


def test_other_letters_that_nobody_sees_are_a_warning() -> None:
    """Else a name that is repeated in white would be read, and nobody would know why."""
    for name, data in _white_lists([(2, 0), (0, 2)]):
        (warning,) = _plan(data, name=name).warnings
        assert warning == (
            "Cells in use are written in the colour of the paper, or their format shows nothing, in 1 row, e.g. A3. Filled ones are read."
        ), name
        assert _names(_read(data, name=name)) == ["Ann", "Ben", "Cat"], name


@pytest.mark.parametrize(
    ("look", "is_seen"),
    [
        ({"font_color": "#FFFFFF", "bg_color": "#1F4E78"}, True),
        ({"font_color": "#1F4E78"}, True),
        ({"font_color": "#FAFAFA"}, False),
        ({"font_color": "#1F4E78", "bg_color": "#1F4E78"}, False),
        ({"bg_color": "#000000"}, False),
        ({"font_color": "#FFFFFF", "pattern": 4, "bg_color": "#FFFFFF"}, True),  # a pattern is not one colour
        ({"num_format": ";;;"}, False),
        ({"num_format": "0;-0;;@"}, True),
    ],
)
def test_what_of_a_cell_is_seen(look: dict[str, object], is_seen: bool) -> None:  # noqa: FBT001 - a table's column
    """White letters on a dark ground are how programs show every second row; letters of the colour of their ground are hidden."""
    assert _plan(make.seen_xlsx(LINES, looks={"B3": look})).ready == is_seen


def test_colours_of_a_theme_and_of_a_palette() -> None:
    """Else the white of the theme, which Excel offers first, would not be taken for white."""
    fonts = '<font/><font><color theme="0"/></font><font><color indexed="9"/></font><font><color theme="0" tint="-0.5"/></font>'
    styles = (
        f'<?xml version="1.0"?><styleSheet><fonts>{fonts}</fonts><fills><fill><patternFill patternType="none"/></fill></fills>'
        '<cellXfs><xf fontId="0"/><xf fontId="1"/><xf fontId="2"/><xf fontId="3"/></cellXfs></styleSheet>'
    )
    cells = "".join(f'<c r="{"ABCD"[style]}1" s="{style}"><v>1</v></c>' for style in range(4))
    data = make.raw_xlsx(f'<row r="1">{cells}</row>', extra={"xl/styles.xml": styles})
    assert _LOOKS["xlsx"](io.BytesIO(data), "A").unseen == {1: (1, 2)}


@pytest.mark.parametrize(
    ("look", "is_question"),
    [
        ({"font_strikeout": True}, True),
        ({"font_color": "#FFFFFF"}, True),
        ({"num_format": ";;;"}, True),
        ({"font_color": "#9C0006", "bg_color": "#FFC7CE"}, False),
        ({"font_color": "#FFFFFF", "bg_color": "#9C0006"}, False),
        ({"bold": True, "border": 1, "border_color": "#FFFFFF"}, False),
    ],
)
def test_a_conditional_format_that_hides_or_strikes_out_is_a_question(
    look: dict[str, object],
    is_question: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Else those who are struck out as long as a cell says that they have left would be debited."""
    data = make.seen_xlsx(LINES, rules={"A2:C4": look})
    plan = _plan(data)
    assert [question.code for question in plan.questions] == ["conditional_format"] * is_question
    if is_question:
        assert "(A2:C4)" in plan.questions[0].ask
        assert plan.questions[0].choices == ("take",)
        taken = _plan(data, Answers(hidden_rows="take"))
        assert any("all rows that it covers are read" in warning for warning in taken.warnings)
        assert _names(_read(data, Answers(hidden_rows="take"))) == ["Ann", "Ben", "Cat"]
    # Where it covers neither name nor account nor amount it changes nothing for a debit.
    lines = [[*line, extra] for line, extra in zip(LINES, ["Bemerkung", "neu", "alt", "blau"], strict=True)]
    assert _plan(make.seen_xlsx(lines, rules={"D2:D4": look, "A1:C1": look})).ready


def test_conditional_formats_of_the_other_kinds_of_workbooks() -> None:
    """Else a list in another format would be read without a word about what its conditions hide."""
    lines = cast("list[list[make.Cell]]", LINES)
    area = (0x01B0, struct.pack("<HHHHHH", 1, 0, 1, 3, 0, 2))
    for name, data in (
        ("list.xls", make.xls(lines, records=[area])),
        ("list.xlsb", make.xlsb(lines, conditional=(1, 3, 0, 2))),
    ):
        (warning,) = _plan(data, name=name).warnings
        assert warning.startswith("A conditional format (A2:C4) was not looked at."), name
    rule = (
        '<calcext:conditional-formats><calcext:conditional-format calcext:target-range-address="Liste.A2:Liste.C4">'
        '<calcext:condition calcext:apply-style-name="ce1" calcext:value="[.$A2]=&quot;Ben&quot;"/></calcext:conditional-format>'
        "</calcext:conditional-formats>"
    )
    for styles in (STRUCK_STYLE, WHITE_STYLE):
        (question,) = _plan(_ods_list({}, styles=styles, after=rule), name="list.ods").questions
        assert (question.code, "(A2:C4)" in question.ask) == ("conditional_format", True)
    assert _plan(_ods_list({}, styles=WHITE_STYLE, after=rule.replace("ce1", "ce2")), name="list.ods").ready


def _with(styles: str, style: str) -> str:
    end = "</office:automatic-styles>"
    return styles.replace(end, style + end)


def test_conditions_that_a_style_of_ods_brings_along() -> None:
    """Else a list from an older program, whose conditions are part of the cells' styles, would be read without a word."""
    ruled = (
        '<style:style style:name="ce7" style:family="table-cell"><style:map style:condition="cell-content()=&quot;Ben&quot;"'
        ' style:apply-style-name="{}" style:base-cell-address="Liste.A2"/></style:style>'
    )
    cells = dict.fromkeys([(1, 0), (2, 0), (3, 0)], "ce7")
    for styles in (STRUCK_STYLE, WHITE_STYLE):
        (question,) = _plan(
            _ods_list(cells, styles=_with(styles, ruled.format("ce1"))), name="list.ods"
        ).questions
        assert (question.code, "(A2" in question.ask) == ("conditional_format", True)
    assert _plan(_ods_list(cells, styles=_with(WHITE_STYLE, ruled.format("ce2"))), name="list.ods").ready


@pytest.mark.parametrize(
    ("look", "is_question"),
    [
        ("<font><strike/></font>", True),
        ('<font><color theme="0"/></font>', True),
        ('<numFmt numFmtId="190" formatCode=";;;"/>', True),
        ('<font><color rgb="FF9C0006"/></font><fill><patternFill><bgColor rgb="FFFFC7CE"/></patternFill></fill>', False),
    ],
)  # fmt: skip
def test_conditional_formats_of_newer_programs(look: str, is_question: bool) -> None:  # noqa: FBT001 - a table's column
    """Else a condition that names another sheet, which Excel stores behind the rows with a look of its own, would hide debtors unnoticed."""
    rows = "".join(
        f'<row r="{number}">'
        + "".join(
            f'<c r="{"ABC"[place]}{number}"><v>{cell}</v></c>'
            if isinstance(cell, float)
            else f'<c r="{"ABC"[place]}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
            for place, cell in enumerate(line)
        )
        + "</row>"
        for number, line in enumerate(LINES, 1)
    )  # fmt: skip
    after = (
        '<extLst><ext uri="{78C0D931-6437-407d-A8EE-F0AAD7539E65}" xmlns:x14="http://schemas.microsoft.com/office/spreadsheetml/2009/9/main">'
        '<x14:conditionalFormattings><x14:conditionalFormatting xmlns:xm="http://schemas.microsoft.com/office/excel/2006/main">'
        '<x14:cfRule type="expression" priority="1" id="{0}"><xm:f>Other!$A1="left"</xm:f>'
        f"<x14:dxf>{look}</x14:dxf></x14:cfRule><xm:sqref>A2:C4</xm:sqref></x14:conditionalFormatting></x14:conditionalFormattings></ext>"
        '<ext uri="{1}"><x14:sparklineGroups><x14:sparkline><xm:f>A!A1:C1</xm:f><xm:sqref>D1</xm:sqref></x14:sparkline></x14:sparklineGroups>'
        "</ext></extLst>"
    )
    plan = _plan(make.raw_xlsx(rows, after=after))
    assert [question.code for question in plan.questions] == ["conditional_format"] * is_question
    if is_question:
        assert "(A2:C4)" in plan.questions[0].ask
    assert _names(_read(make.raw_xlsx(rows, after=after), Answers(hidden_rows="take"))) == [
        "Ann",
        "Ben",
        "Cat",
    ]


def test_letters_that_are_shown_in_the_opposite_order_are_refused() -> None:
    """Else 12,50 on the screen would be collected as 05,21, and another name than the one that is shown would be sent."""
    text = f"Name;IBAN;Betrag\nAnn;{A};\u202e05,21\nBen \u202eniB;{B};7,50\n\u2066Cat\u2069;{C};\u200e20,00\n"
    found = _read(text.encode(), name="list.csv")
    assert _codes(found[0]) == ["amount_unreadable"]
    assert _codes(found[1]) == ["name_unreadable"]
    assert _names(found) == ["Cat"]
    assert isinstance(found[2], Debtor)
    assert found[2].amount_minor == 2000


def test_cells_that_are_not_struck_out_after_all_are_read() -> None:
    """Else a style that takes the line of its parent away, or a line through blank cells and notes, would refuse good rows."""
    assert _names(_read(_ods_list({(2, 0): "ce2", (2, 2): "ce2"}), name="list.ods")) == ["Ann", "Ben", "Cat"]
    lines = [[*line, extra] for line, extra in zip(LINES, ["Bemerkung", "neu", "alt", "blau"], strict=True)]
    assert _names(_read(make.seen_xlsx([*lines, []], struck=["D3", "A9", "B9"]))) == ["Ann", "Ben", "Cat"]
    assert _names(_read(make.seen_xlsx(LINES, struck=["A1", "C1"]))) == ["Ann", "Ben", "Cat"]


def test_comments_are_named_in_every_kind_of_workbook() -> None:
    """Else "do not collect", which somebody has written beside a debtor, would be seen by nobody."""
    for name, data in _lists([], {(0, 0): "Liste 2026", (2, 2): "nicht einziehen", (3, 0): "neu"}):
        (warning,) = _plan(data, name=name).warnings
        assert warning.startswith(
            "Cells of the table with a comment: 2, e.g. C3 (\u201cnicht einziehen\u201d)."
        ), (
            name,
            warning,
        )
        assert _names(_read(data, name=name)) == ["Ann", "Ben", "Cat"], name


def test_more_comments_than_anybody_reads_cost_no_memory() -> None:
    """Else a workbook with a comment in each of a million cells would fill the worker's memory."""
    builder = ViewBuilder()
    for number in range(1, COMMENTS_MAX + 10):
        builder.comment(number, 0, "x" * 1_000)
    comments = builder.view().comments
    assert (len(comments), len(comments[0].text)) == (COMMENTS_MAX, 200)


def test_an_amount_that_is_shown_rounded_is_refused() -> None:
    """Else 12.50 would be collected from somebody whose sheet says 13; whole amounts look the same in any format."""
    style = (
        '<number:number-style xmlns:number="urn:oasis:names:tc:opendocument:xmlns:datastyle:1.0" style:name="N1"><number:number '
        'number:decimal-places="0" number:min-integer-digits="1"/></number:number-style>'
        '<style:style style:name="ce8" style:family="table-cell" style:data-style-name="N1"/>'
    )
    cells = dict.fromkeys([(1, 2), (2, 2), (3, 2)], "ce8")
    lists = [
        ("list.xlsx", make.seen_xlsx(LINES, formats=dict.fromkeys(("C2", "C3", "C4"), code)))
        for code in ("#,##0", "0", '#,##0 "€"')
    ]
    for name, data in (*lists, ("list.ods", _ods_list(cells, styles=_with(WHITE_STYLE, style)))):
        found = _read(data, name=name)
        assert _names(found) == ["Cat"], name
        assert [_codes(outcome) for outcome in found[:2]] == [["amount_unreadable"]] * 2, name
        assert any("e.g. C2 (rounded)" in warning for warning in _plan(data, name=name).warnings), name
    plain = make.seen_xlsx(LINES, formats={"C2": "0.0", "C3": "0.00", "C4": "0"})
    assert _names(_read(plain)) == ["Ann", "Ben", "Cat"]


def test_a_whole_column_in_another_currency_is_refused_without_a_question() -> None:
    """Else the sender would be asked for the decimal sign of francs."""
    found = _read(make.seen_xlsx(LINES, formats=dict.fromkeys(("C2", "C3", "C4"), "[$CHF-807] #,##0.00")))
    assert [_codes(outcome) for outcome in found] == [["currency_not_eur"]] * 3


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NULL!", "#NUM!"])
def test_a_row_of_errors_is_refused_and_says_so(error: str) -> None:
    """Else a member whom a look-up did not find would be skipped as a blank row."""
    found = _read(make.seen_xlsx(LINES, errors=dict.fromkeys(("A3", "B3", "C3"), error)))
    assert set(_codes(found[1])) == {"iban_invalid", "name_unreadable", "amount_unreadable"}
    assert isinstance(found[1], Refused)
    assert all(error in problem.note for problem in found[1].problems)


def test_an_error_as_the_currency_is_no_euro() -> None:
    """Else #N/A would come as blank, and blank is the euro."""
    lines = [[*line, extra] for line, extra in zip(LINES, ["Währung", "EUR", "EUR", "EUR"], strict=True)]
    found = _read(make.seen_xlsx(lines, errors={"D3": "#N/A"}))
    assert _codes(found[1]) == ["currency_not_eur"]


def test_a_last_row_of_errors_is_not_lost() -> None:
    """Else the last member of a list would be missing without a word."""
    found = _read(make.seen_xlsx(LINES, errors={"A5": "#N/A", "B5": "#N/A"}))
    assert set(_codes(found[3])) == {"iban_invalid", "name_unreadable", "amount_missing"}


@pytest.mark.parametrize(
    "formula",
    [' t="str"><f>A1</f>', "><f>A1</f>", "><f>A1</f><v></v>", "><f>A1</f><v />", '><f t="shared" si="0"/>'],
)
def test_a_formula_that_nothing_has_calculated_is_no_blank(formula: str) -> None:
    """Else a program that writes formulas only would send blank rows, which are skipped."""
    cells = "".join(f'<c r="{c}2"{formula}</c>' for c in "ABC")
    header = "".join(
        f'<c r="{c}1" t="inlineStr"><is><t>{t}</t></is></c>'
        for c, t in zip("ABC", ("Name", "IBAN", "Betrag"), strict=True)
    )
    debtor = f'<c r="A3" t="inlineStr"><is><t>Ann</t></is></c><c r="B3" t="inlineStr"><is><t>{A}</t></is></c><c r="C3"><f>1+1</f><v>2</v></c>'
    found = _read(
        make.raw_xlsx(f'<row r="1">{header}</row><row r="2">{cells}</row><row r="3">{debtor}</row>')
    )
    assert set(_codes(found[0])) == {"iban_invalid", "name_unreadable", "amount_unreadable"}
    assert isinstance(found[0], Refused)
    assert "save it and send it again" in found[0].problems[0].note
    assert _names(found) == ["Ann"]


def test_names_merged_over_rows_hold_for_each_of_them() -> None:
    """Else the second debit of a family would be refused, or taken for a total of the first ones."""
    lines = [LINES[0], ["Ann", A, 12.5], ["Ben", B, 7.5], ["", "", 20.0], ["Cat", C, 20.0]]
    found = _read(make.seen_xlsx(lines, merged=["A3:A4", "B3:B4"]))
    assert _names(found) == ["Ann", "Ben", "Ben", "Cat"]


def test_rows_that_are_only_the_height_of_a_debtor_are_no_debtors() -> None:
    """Else each line of two rows would be debited once and refused once."""
    lines = [LINES[0], ["Ann", A, 12.5], ["", "", ""], ["Cat", C, 20.0]]
    for merged in (["A2:A3", "B2:B3", "C2:C3"], ["A2:A3", "B2:B3"]):
        found = _read(make.seen_xlsx(lines, merged=merged))
        assert [type(outcome) for outcome in found] == [Debtor, Skipped, Debtor]


def test_an_amount_merged_over_accounts_is_refused() -> None:
    """Else the first of two people who share an amount would pay all of it."""
    lines = [LINES[0], ["Ann", A, 12.5], ["Ben", B, ""], ["Cat", C, 20.0]]
    found = _read(make.seen_xlsx(lines, merged=["C2:C3"]))
    assert [_codes(found[0]), _codes(found[1])] == [["row_unreadable"]] * 2
    assert _names(found) == ["Cat"]


def test_a_value_under_merged_cells_is_refused() -> None:
    """Else an account that nobody sees would be debited."""
    found = _read(make.seen_xlsx(LINES, merged=["B2:B3"]))
    assert _codes(found[1]) == ["row_unreadable"]


@pytest.mark.parametrize(
    "parts",
    [
        [["DE89", "3704", "0044", "0532", "0130", "00"], ["DE02", 1203, 0, 0, 2020, 51]],
        [["DE", "89", "37040044", "532013000"], ["DE", "02", "12030000", 202051]],
        [["DE89 3704 0044", "0532 0130 00"], ["DE02 1203 0000", "0000 2020 51"]],
        [list(A), list(B)],
        [["DE89", "37040044", "0532013000"], ["NL91", "ABNA", "0417164300"]],
    ],
)
def test_an_iban_over_several_cells_is_joined(parts: list[list[str | float]]) -> None:
    """Otherwise every row would be refused, with the advice to ask the account holders."""
    width = max(map(len, parts))
    lines: list[list[str | float]] = [["Name", "IBAN", *[""] * (width - 1), "Betrag"]]
    lines += [
        [name, *row, *[""] * (width - len(row)), 12.5]
        for name, row in zip(("Ann", "Ben"), parts, strict=True)
    ]
    found = _read(make.seen_xlsx(lines))
    assert next(outcome.iban for outcome in found if isinstance(outcome, Debtor)) == A
    assert len(_names(found)) == 2
    text = "\n".join(
        ";".join(str(cell).replace(".", ",") if isinstance(cell, float) else str(cell) for cell in line)
        for line in lines
    )
    assert len(_names(_read(text.encode(), name="list.csv"))) == 2


def test_an_iban_over_cells_is_never_made_up() -> None:
    """Else a wrong digit in one box would make another account."""
    lines = [
        ["Name", "IBAN", "", "", "", "", "", "Betrag"],
        ["Ann", "DE89", "3704", "0044", "0532", "0130", "00", 1.0],
        ["Ben", "DE02", "1203", "0000", "0000", "2020", "51", 1.0],
        ["Cat", "DE02", "1203", "0000", "0000", "2020", "15", 1.0],
    ]
    assert _codes(_read(make.seen_xlsx(lines))[2]) == ["iban_invalid"]


def test_a_workbook_that_cannot_be_looked_at_says_so() -> None:
    """Else hidden rows of a workbook of an unusual make would be read in silence."""
    header = "".join(
        f'<c r="{c}1" t="inlineStr"><is><t>{t}</t></is></c>'
        for c, t in zip("ABC", ("Name", "IBAN", "Betrag"), strict=True)
    )
    debtor = f'<c r="A2" t="inlineStr"><is><t>Ann</t></is></c><c r="B2" t="inlineStr"><is><t>{A}</t></is></c><c r="C2"><v>2</v></c>'
    sheet = f'<row r="1">{header}</row><row r="2" hidden="1">{debtor}</row>'
    data = make.raw_xlsx(sheet)
    assert not _plan(data).ready
    broken = make.raw_xlsx(sheet + "&unknown;")
    assert any("could not be checked" in warning for warning in _plan(broken).warnings)


@pytest.mark.parametrize(
    "row",
    [
        '<row r="1" hidden="1"/>',
        "<row r='1' hidden='true'/>",
        '<row r="1" ht="0" customHeight="1"/>',
        '<row hidden = "1"/>',
    ],
)
def test_hidden_rows_are_seen_however_they_are_written(row: str) -> None:
    """Else rows hidden by another program than Excel would be debited."""
    assert open_workbook(io.BytesIO(make.raw_xlsx(row)), kind="xlsx").view("A").hides(1)


@pytest.mark.parametrize("name", ["filtered_nl.xlsx", "seen.ods", "seen.xls", "seen.xlsb"])
def test_a_look_at_a_damaged_workbook_ends_in_a_view_or_a_refusal(name: str) -> None:
    """Else a hostile workbook would end the worker with a stack trace, where a sentence is due."""
    data = (DATA / name).read_bytes()
    look = _LOOKS[cast("Kind", name.rpartition(".")[2])]
    rng = random.Random(7)
    seen = set()
    for _ in range(300):
        junk = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)
        for _ in range(rng.choice((1, 3, 30))):
            junk[rng.randrange(len(junk))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            seen.add(look(io.BytesIO(bytes(junk)), "Liste").complete)
        except FileRefused:
            seen.add(False)
    assert seen == {True, False}


def test_what_a_number_format_adds_in_any_kind_of_workbook() -> None:
    """Else francs in the workbook of one program would be refused, and debited in that of another."""
    for name in ("seen.ods", "seen.xls", "seen.xlsb"):
        found = _read((DATA / name).read_bytes(), Answers(hidden_rows="take"), name)
        assert [outcome.row for outcome in found if isinstance(outcome, Debtor)] == [2, 3, 6, 7]
        francs = next(outcome for outcome in found if outcome.row == 4)
        assert _codes(francs) == ["currency_not_eur"]


def test_marks_below_the_last_row_with_a_value_are_rows_of_their_own() -> None:
    """A parser drops trailing rows that hold only errors; the debtors in them would be missed without a word."""
    view = View(marks={2: ((1, "#N/A"),), 5: ((0, "#REF!"), (2, "#N/A"))})
    found = list(marked([Row(1, ["Name", "IBAN", "Betrag"]), Row(2, ["Ann"])], view))
    assert [(row.number, list(row.cells)) for row in found] == [
        (1, ["Name", "IBAN", "Betrag"]),
        (2, ["Ann", "#N/A"]),
        (3, []),
        (4, []),
        (5, ["#REF!", "", "#N/A"]),
    ]
