"""
How a column writes amounts and days, decided once for the whole column.

**Amounts.** "1.234" is 1234 in a German file and 1.234 in an Irish one, so a single cell may be ambiguous. Other cells are not: "12,50" has
only one reading, and so have "1.234,56", "1 234.5" and "1.234.567".
Every such cell is a vote for the comma or the point as decimal sign. Nine tenths of the votes decide, the rest of the column must fit, and a
cell that does not fit is a problem; it is never read as another number. A column in which no cell votes
is a question, unless it has no sign at all ("whole"). Cells that were numbers in a workbook need no deciding.

**Days.** ISO days (2026-03-31) always read. In 31.03.2026 or 03/31/2026 a number above 12 is a vote for its place; with
points the day comes first anyway. Names of months in seven languages read in any order (31. März 2026, Mar 31, 2026). Where no cell shows
whether 03/04/2026 is in March or April, such days are ignored with a warning: no debit carries a day, so none waits for it. Five bare
digits in the whole column are Excel's count of days, from 1900 on.

>>> read_amount("1.234,56", form="comma"), read_amount("EUR 7,50", form="comma"), read_amount("1 234,5", form="comma")
(123456, 750, 123450)
>>> read_amount("1.234", form="comma"), read_amount("(12.00)", form="point"), read_amount("5,-", form="comma")
(123400, -1200, 500)
>>> read_amount("12.50", form="comma").note
'this column writes the decimal comma; “12.50” does not fit'
>>> read_day("31.03.2026", order="day_month"), read_day("2026-02-30", order="iso").note
(datetime.date(2026, 3, 31), 'there is no such day')
>>> read_day("31. März 2026", order="iso"), read_day("1er août 2026", order="iso"), read_day("Mar 31, 2026", order="iso")
(datetime.date(2026, 3, 31), datetime.date(2026, 8, 1), datetime.date(2026, 3, 31))

Source: ISO 8601-1 for days; [MS-XLS] 2.5.198 and ECMA-376 18.17.4 for Excel's count of days.
"""

import re
import unicodedata
from datetime import date, timedelta
from typing import Final, Literal

import msgspec

from tether_core.spreadsheet.cells import excerpt
from tether_core.spreadsheet.header_words import plain
from tether_core.spreadsheet.person_names import clean
from tether_core.spreadsheet.plan import AmountFormat, DateOrder, FileDecision, Question

__all__ = [
    "UNCLEAR",
    "AmountVotes",
    "DayVotes",
    "Trouble",
    "is_day",
    "read_amount",
    "read_day",
    "read_minor",
    "read_number",
]

# The code of a day that the column leaves open; the plan has warned of all of them.
UNCLEAR: Final = "unclear"
_DECISIVE: Final = 0.9  # the share of the votes that decides a column


class Trouble(msgspec.Struct, frozen=True):
    """
    Why a cell has no value.

    Attributes:
        code: A problem code of `rows`.
        note: The rest of the sentence "... because".
    """

    code: str
    note: str


# --- amounts

_EURO: Final = re.compile(r"EURO?|€", re.IGNORECASE)
_SIGN: Final = r"(?:[$£¥₽₺₴]|[A-Za-z]{3}|zł|Kč|kr|Ft|Fr)\.?"
_FOREIGN: Final = re.compile(rf"{_SIGN}\s*-?\d[\d.,' ]*|\d[\d.,' ]*-?{_SIGN}", re.IGNORECASE)
_MINUS: Final = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2019": "'", "\u2018": "'", "`": "'"}
)
_DASH: Final = re.compile(r"(?<=\d)[.,]-+$", re.ASCII)
_GROUPED: Final = re.compile(r"\d{1,3}(?:([ '])\d{3})(?:\1\d{3})*(?:[.,]\d*)?", re.ASCII)
_BODY: Final = re.compile(r"(?:\d[\d.,]*|[.,]\d+)", re.ASCII)
_NUMBER: Final = re.compile(r"(-?)(\d{1,15})(?:\.(\d+))?", re.ASCII)
_CENTS: Final = re.compile(r"-?\d{1,15}", re.ASCII)

Shape = Literal["none", "comma", "point", "unclear", "bad"]


class _Amount(msgspec.Struct, frozen=True):
    """A cell taken apart: sign, digits and signs between them, and what its shape says of the decimal sign."""

    negative: bool
    body: str
    shape: Shape


class _NoAmount(msgspec.Struct, frozen=True):
    """Why a cell is no amount; the sentence begins with the cell, which only those who show it make fit for that."""

    code: str
    predicate: str


def _take_apart(text: str) -> _Amount | Trouble:
    found = _parts(text)
    if isinstance(found, _NoAmount):
        return Trouble(found.code, f"\u201c{excerpt(text)}\u201d {found.predicate}")
    return found


def _parts(text: str) -> _Amount | _NoAmount:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_MINUS)).translate(_MINUS)
    negative, body = _sign(_EURO.sub("", text).strip())
    if _FOREIGN.fullmatch(body):
        return _NoAmount("currency_not_eur", "is not in euros")
    grouped = False
    if " " in body or "'" in body:
        if _GROUPED.fullmatch(body) is None:
            return _NoAmount("amount_unreadable", "is not an amount")
        grouped, body = True, body.replace(" ", "").replace("'", "")
    if not body.isascii() or _BODY.fullmatch(body) is None:
        return _NoAmount("amount_unreadable", "is not an amount")
    shape = _shape(body, grouped=grouped)
    if shape == "bad":
        return _NoAmount("amount_unreadable", "groups its digits in no known way")
    return _Amount(negative, body, shape)


def _sign(body: str) -> tuple[bool, str]:
    """Take the sign off: before, behind, or brackets round the amount; two of these say neither a debit nor a credit, and stay."""
    given, negative, signs = body, False, 0
    if body.startswith("(") and body.endswith(")"):
        negative, body, signs = True, body[1:-1].strip(), 1
    dashed = _DASH.search(body)
    if dashed is not None:
        # "5,-" writes whole units and shows the decimal sign.
        body = body[: dashed.start() + 1]
    elif body.endswith("-") and len(body) > 1:
        negative, body, signs = True, body[:-1].strip(), signs + 1
    if body.startswith(("-", "+")):
        negative, body, signs = negative or body[0] == "-", body[1:].strip(), signs + 1
    return (negative, body) if signs < 2 else (False, given)


def _shape(body: str, *, grouped: bool) -> Shape:  # noqa: PLR0911 - one return a shape
    """Return what the signs between the digits show about the decimal sign."""
    commas, points = body.count(","), body.count(".")
    if not commas and not points:
        return "none"
    if commas and points:
        decimal = "," if body.rindex(",") > body.rindex(".") else "."
        whole = body[: body.index(decimal)]
        if body.count(decimal) > 1 or grouped or not _groups_fit(whole.split("." if decimal == "," else ",")):
            return "bad"
        return "comma" if decimal == "," else "point"
    sign = "," if commas else "."
    if commas + points > 1:
        # A sign that comes twice groups; the other one is the decimal sign.
        if grouped or not _groups_fit(body.split(sign)):
            return "bad"
        return "point" if sign == "," else "comma"
    before, after = body.split(sign)
    if len(after) == 3 and 1 <= len(before) <= 3 and not before.startswith("0") and not grouped:
        return "unclear"
    return "comma" if sign == "," else "point"


def _groups_fit(groups: list[str]) -> bool:
    """Whether digits are grouped by thousands, or as in India by thousands and then hundreds."""
    first, *middle, last = groups
    if not first or not last.isdigit() or len(last) != 3:
        return False
    return (len(first) <= 3 and all(len(group) == 3 for group in middle)) or (
        len(first) <= 2 and all(len(group) == 2 for group in middle)
    )


_WORDS: Final[dict[AmountFormat, str]] = {
    "comma": "the decimal comma",
    "point": "the decimal point",
    "whole": "whole amounts without a decimal sign",
}


def read_amount(text: str, *, form: AmountFormat) -> int | Trouble:
    """
    Read an amount of euros from a text cell.

    Args:
        text: The cell, not blank.
        form: How its column writes amounts.

    Returns:
        Whole cents, negative for a credit; or why there is none.
    """
    amount = _take_apart(text)
    if isinstance(amount, Trouble):
        return amount
    whole, decimals = amount.body, ""
    if amount.shape != "none":
        fits = amount.shape == form or (amount.shape == "unclear" and form != "whole")
        if not fits:
            return Trouble(
                "amount_unreadable",
                f"this column writes {_WORDS[form]}; \u201c{excerpt(text)}\u201d does not fit",
            )
        decimal, group = (",", ".") if form == "comma" else (".", ",")
        whole, _, decimals = amount.body.replace(group, "").partition(decimal)
    if len(decimals) > 2:
        return Trouble(
            "amount_too_many_decimals",
            f"\u201c{excerpt(text)}\u201d has {len(decimals)} decimals, euros have 2",
        )
    return _cents(whole, decimals, negative=amount.negative)


def read_number(text: str) -> int | Trouble:
    """
    Read an amount of euros from a cell that was a number.

    Args:
        text: As `cells.text_of` writes numbers.

    Returns:
        Whole cents, or why there are none.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return Trouble("amount_unreadable", f"\u201c{excerpt(text)}\u201d is not an amount")
    decimals = match[3] or ""
    if len(decimals) > 2:
        return Trouble(
            "amount_too_many_decimals",
            f"\u201c{excerpt(text)}\u201d has {len(decimals)} decimals, euros have 2",
        )
    return _cents(match[2], decimals, negative=bool(match[1]))


def read_minor(text: str) -> int | Trouble:
    """
    Read an amount that is already in cents.

    Args:
        text: The cell, not blank.

    Returns:
        Whole cents, or why there are none.
    """
    body = text.replace(" ", "").replace("\u00a0", "")
    if not body.isascii() or _CENTS.fullmatch(body) is None:
        return Trouble("amount_unreadable", f"\u201c{excerpt(text)}\u201d is no whole number of cents")
    return int(body)


def _cents(whole: str, decimals: str, *, negative: bool) -> int | Trouble:
    if len(whole) > 15:
        return Trouble("amount_too_large", f"it has {len(whole)} digits")
    cents = int(whole or "0") * 100 + int(decimals.ljust(2, "0"))
    return -cents if negative else cents


class AmountVotes:
    """
    The evidence of a column of amounts, gathered cell by cell.

    Decided as soon as one cell has only one reading; until then more cells of the column should be added.
    """

    def __init__(self) -> None:
        self._counts = {"comma": 0, "point": 0, "unclear": 0, "none": 0, "number": 0}
        self._examples: dict[str, str] = {}

    def add(self, text: str, *, row: int, numeric: bool = False) -> None:
        """Count one cell, blank or not."""
        if numeric:
            self._counts["number"] += 1
            return
        text = clean(text)
        if not text:
            return
        # Of a million cells that are no amounts, nobody reads what is wrong with each.
        amount = _parts(text.strip())
        if isinstance(amount, _Amount):
            self._counts[amount.shape] += 1
            if amount.shape not in self._examples:
                self._examples[amount.shape] = f"\u201c{excerpt(text)}\u201d in row {row:,}"

    @property
    def settled(self) -> bool:
        """Whether a cell has voted, or all cells are numbers, which need no decision."""
        counts = self._counts
        return bool(counts["comma"] or counts["point"] or (counts["number"] and not counts["unclear"]))

    def decide(self, *, given: AmountFormat | None) -> FileDecision | Question:
        """
        Settle the column.

        Args:
            given: The caller's word.

        Returns:
            The decision, its value an `AmountFormat`, or the question.
        """
        if given is not None:
            return FileDecision(
                "amount_format", given, f"Amounts are read with {_WORDS[given]}, as requested.", by="caller"
            )
        counts, examples = self._counts, self._examples
        comma, point = counts["comma"], counts["point"]
        if comma or point:
            best: AmountFormat = "comma" if comma > point else "point"
            share = max(comma, point) / (comma + point)
            if share >= _DECISIVE:
                why = f"{max(comma, point):,} of {comma + point:,} telling amounts have {_WORDS[best]}, e.g. {examples[best]}."
                return FileDecision("amount_format", best, why)
            return _ask_amounts(
                f"Both occur: {examples['comma']} has a decimal comma, {examples['point']} a decimal point."
            )
        if counts["unclear"]:
            return _ask_amounts(
                f"Nothing in the column tells whether {examples['unclear']} is thousands or decimals."
            )
        if counts["number"]:
            return FileDecision("amount_format", "point", "The amounts are numbers, not text.")
        return FileDecision("amount_format", "whole", "No amount in the column has a decimal sign.")


def _ask_amounts(why: str) -> Question:
    ask = f"Which decimal sign do the amounts have? {why}"
    return Question("amount_format", ask, "amount_format", ("comma", "point"))


# --- days

_ISO: Final = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ][\d:.,]*(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
_COMPACT: Final = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})", re.ASCII)
_DAY: Final = re.compile(r"(\d{1,2})([-/.])[ ]?(\d{1,2})\2[ ]?(\d{4}|\d{2})(?:[ T][\d:.]*)?", re.ASCII)
_SERIAL: Final = re.compile(r"([1-9]\d{4})(?:\.\d+)?", re.ASCII)
# German, English, French, Dutch, Spanish, Italian and Polish, in full, bent and cut short.
_MONTHS: Final = {
    plain(name, digraphs=digraphs): number
    for number, names in enumerate(
        (
            "januar jänner january janvier januari enero gennaio styczeń stycznia jan janv ene gen sty",
            "februar feber february février februari febrero febbraio luty lutego feb febr fév févr fev lut",
            "märz march mars maart marzo marzec marca mrz mär mar mrt",
            "april avril abril aprile kwiecień kwietnia apr avr abr kwi",
            "mai may mei mayo maggio maj maja mag",
            "juni june juin junio giugno czerwiec czerwca jun giu cze",
            "juli july juillet julio luglio lipiec lipca jul juil lug lip",
            "august août augustus agosto sierpień sierpnia aug aoû ago sie",
            "september septembre septiembre setiembre settembre wrzesień września sep sept set sett wrz",
            "oktober october octobre octubre ottobre październik października okt oct ott paź",
            "november novembre noviembre listopad listopada nov lis",
            "dezember december décembre diciembre dicembre grudzień grudnia dez dec déc dic gru",
        ),
        1,
    )
    for name in names.split()
    for digraphs in (False, True)
}
_BETWEEN: Final = r"(?:[ \-/.,]|\bde\b|\bdel\b|\bof\b)*"
_WORD_OF_MONTH: Final = r"([^\W\d_]{3,12})"
_WEEKDAY: Final = r"(?:[^\W\d_]{2,12}\.?,? )?"
_DAY_THEN_NAME: Final = re.compile(
    rf"{_WEEKDAY}([0-9]{{1,2}})(?:st|nd|rd|th|er|e|º|°)?{_BETWEEN}{_WORD_OF_MONTH}{_BETWEEN}([0-9]{{4}}|[0-9]{{2}})",
    re.IGNORECASE,
)
_NAME_THEN_DAY: Final = re.compile(
    rf"{_WEEKDAY}{_WORD_OF_MONTH}[ .\-]*([0-9]{{1,2}})(?:st|nd|rd|th)?[ ,\-]+([0-9]{{4}})", re.IGNORECASE
)
_YEAR_THEN_NAME: Final = re.compile(
    rf"([0-9]{{4}})[ .\-/]*{_WORD_OF_MONTH}[ .\-/]*([0-9]{{1,2}})", re.IGNORECASE
)
_EPOCH: Final = date(1899, 12, 30)  # makes 1 March 1900 day 61, as in Excel, whose 1900 had a 29 February


def read_day(text: str, *, order: DateOrder, short_years: bool = True) -> date | Trouble:
    """
    Read a day.

    Args:
        text: The cell, not blank.
        order: How its column writes days.
        short_years: Whether two digits may stand for a year of this century.

    Returns:
        The day, or why there is none; the caller gives the problem its code.
    """
    text = text.strip()
    match = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
    if match is not None:
        return _day(*match.groups())
    match = _DAY.fullmatch(text)
    if match is not None:
        return _ordered_day(text, match, order=order, short_years=short_years)
    if (named := _named_day(text, short_years=short_years)) is not None:
        return named
    match = _SERIAL.fullmatch(text)
    if match is None:
        return Trouble("", f"\u201c{excerpt(text)}\u201d is not a day")
    if order != "serial":
        return Trouble("", "a bare number is no day; format the cell as a date")
    return _EPOCH + timedelta(days=int(match[1]))


def _ordered_day(text: str, match: re.Match[str], *, order: DateOrder, short_years: bool) -> date | Trouble:
    first, sign, second, year = match.groups()
    if len(year) == 2 and (sign == "-" or not short_years):
        return Trouble("", "its year has two digits; write four")
    if order == "unclear":
        readings = {
            found
            for found in (_day(_whole(year), second, first), _day(_whole(year), first, second))
            if isinstance(found, date)
        }
        if len(readings) > 1:
            return Trouble(UNCLEAR, f"\u201c{excerpt(text)}\u201d can be read in two ways")
        return next(iter(readings), None) or Trouble("", "there is no such day")
    if order not in ("day_month", "month_day"):
        return Trouble("", f"\u201c{excerpt(text)}\u201d does not fit the column")
    day, month = (first, second) if order == "day_month" else (second, first)
    return _day(_whole(year), month, day)


def _whole(year: str) -> str:
    return year if len(year) == 4 else f"20{year}"


def _named_day(text: str, *, short_years: bool) -> date | Trouble | None:
    """Read a day whose month is a name; `None` for any other text."""
    for pattern, places in (
        (_DAY_THEN_NAME, (3, 2, 1)),
        (_NAME_THEN_DAY, (3, 1, 2)),
        (_YEAR_THEN_NAME, (1, 2, 3)),
    ):
        match = pattern.fullmatch(text)
        if match is None or (month := _MONTHS.get(plain(match[places[1]]))) is None:
            continue
        year, day = match[places[0]], match[places[2]]
        if len(year) == 2 and not short_years:
            return Trouble("", "its year has two digits; write four")
        return _day(_whole(year), str(month), day)
    return None


def is_day(text: str) -> bool:
    """Whether a text is written like a day, in whatever order."""
    return bool(
        _ISO.fullmatch(text) or _COMPACT.fullmatch(text) or _DAY.fullmatch(text) or _SERIAL.fullmatch(text)
    ) or isinstance(_named_day(text, short_years=True), date)


def _day(year: str, month: str, day: str) -> date | Trouble:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return Trouble("", "there is no such day")


class DayVotes:
    """The evidence of a column of days, gathered cell by cell."""

    def __init__(self) -> None:
        self._counts = {"day_month": 0, "month_day": 0, "unclear": 0, "serial": 0, "iso": 0}
        self._examples: dict[str, str] = {}

    def add(self, text: str, *, row: int) -> None:
        """Count one cell, blank or not."""
        text = clean(text)
        kind = ""
        if _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
            kind = "iso"
        elif (match := _DAY.fullmatch(text)) is not None:
            first, sign, second = int(match[1]), match[2], int(match[3])
            if sign == ".":
                # Nobody writes points behind a leading month; 31.13. is not a date.
                kind = "day_month" if second <= 12 else ""
            elif second > 12:
                kind = "month_day"
            elif first > 12:
                kind = "day_month"
            elif first != second:
                kind = "unclear"
        elif _SERIAL.fullmatch(text):
            kind = "serial"
        elif _named_day(text, short_years=True) is not None:
            kind = "iso"
        if kind:
            self._counts[kind] += 1
            self._examples.setdefault(kind, f"\u201c{excerpt(text)}\u201d in row {row:,}")

    @property
    def settled(self) -> bool:
        """Whether a cell has voted, or no vote is needed."""
        counts = self._counts
        return bool(counts["day_month"] or counts["month_day"]) or not counts["unclear"]

    def decide(self, *, field: str, given: DateOrder | None) -> FileDecision:
        """
        Settle the column.

        Args:
            field: The field it holds.
            given: The caller's word.

        Returns:
            The decision, its value a `DateOrder`.
        """
        about = f"date_order:{field}"
        if given is not None:
            return FileDecision(about, given, "As requested.", by="caller")
        counts, examples = self._counts, self._examples
        day, month = counts["day_month"], counts["month_day"]
        if day or month:
            best: DateOrder = "day_month" if day > month else "month_day"
            if max(day, month) / (day + month) >= _DECISIVE:
                first = "the day" if best == "day_month" else "the month"
                why = f"In {max(day, month):,} of {day + month:,} telling cells {first} comes first, e.g. {examples[best]}."
                return FileDecision(about, best, why)
            return _unclear(
                about,
                f"Both occur: {examples['day_month']} begins with the day, {examples['month_day']} with the month.",
            )
        if counts["unclear"]:
            return _unclear(about, f"Nothing in the column tells which comes first in {examples['unclear']}.")
        if counts["serial"] and not counts["iso"]:
            why = f"All days are bare numbers, e.g. {examples['serial']}: Excel's count of days from 1900 on."
            return FileDecision(about, "serial", why)
        return FileDecision(about, "iso", "The days are written year, month, day.")


def _unclear(about: str, why: str) -> FileDecision:
    note = "Days that can be read in two ways are ignored; no debit carries them. Answer date_order to have them read."
    return FileDecision(about, "unclear", f"{why} {note}")
