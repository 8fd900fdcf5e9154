r"""
Number formats: what a workbook shows beside a number.

A format such as `[$CHF] #,##0.00` shows 80.5 as CHF 80.50: the number alone does not say so. `mark_of` gives what a format
adds that changes the meaning of an amount: another currency than the euro, a percent sign, amounts in thousands or millions, or a format that shows nothing.

>>> mark_of('#,##0.00 "€"'), mark_of("[$CHF] #,##0.00"), mark_of('#,##0.00\\ "zł"'), mark_of("[$€-407] 0.00")
('', 'CHF', 'zł', '')
>>> mark_of("0.00%"), mark_of('#,##0,"T€"'), mark_of(";;;"), mark_of("dd.mm.yyyy")
('%', 'in thousands', 'not shown', '')
>>> mark_of("-#,##0.00"), mark_of('0.00 "Gutschrift"'), mark_of("#,##0.00_);(#,##0.00)"), mark_of('_-* #,##0.00_-;-* #,##0.00_-')
('negative', 'credit', '', '')
>>> [decimals_shown(code) for code in ("#,##0", '0.0 "€"', "#,##0.00", "General", "dd.mm.yyyy", "# ?/?")]
[0, 1, 2, None, None, None]
>>> is_rounded("12.5", decimals=0), is_rounded("12.50", decimals=1), is_rounded("13", decimals=0)
(True, False, False)

Source: ECMA-376 part 1, 18.8.31 (number formats), 18.8.30 (built-in ones); [MS-XLS] 2.4.126.
"""

import re
from typing import Final

__all__ = [
    "BUILT_IN",
    "BUILT_IN_DECIMALS",
    "NOT_SHOWN",
    "ROUNDED",
    "currency_mark",
    "decimals_shown",
    "hides_text",
    "is_rounded",
    "mark_of",
]

# The mark of a format that shows nothing.
NOT_SHOWN: Final = "not shown"
# The mark of a number whose cents its format does not show: 12.5 as 13.
ROUNDED: Final = "rounded"

# Formats that every workbook has and none writes down. Those with a currency (5 to 8, 41 to 44) show the one of the
# person who looks, so they say nothing.
BUILT_IN: Final[dict[int, str]] = {9: "%", 10: "%"}
# Of these, the ones that show no decimals.
BUILT_IN_DECIMALS: Final[dict[int, int]] = {1: 0, 3: 0, 37: 0, 38: 0}

_EUROS: Final = re.compile(r"€|\bEUR\b|\bEUROS?\b", re.IGNORECASE)
_TOKEN: Final = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\]-]*)[^\]]*\]|\[([^\]]*)\]|[_*].|([^"\\\[_*]+)')
# Currencies by the code or the sign that follows or precedes a number; other words (Stück, kg) are not currencies.
_CODES: Final = (
    "CHF|SFR|USD|US|GBP|SEK|NOK|DKK|ISK|PLN|CZK|HUF|RON|BGN|TRY|UAH|RSD|RUB|ALL|MKD|MDL|BAM|GEL|JPY|CNY|CAD|AUD|NZD|INR|ILS"
    "|AED|ZAR|BRL|MXN|SGD|HKD|KRW|THB|MAD|TND|EGP|XAF|XOF|HRK|DEM|FRF|ITL|ESP|NLG|ATS|BEF|DM|LEI|KR|FR|FT|ZŁ|ZL|KČ|KC|ЛВ|ДИН|TL"
)
_FOREIGN: Final = re.compile(
    rf"(?<![^\W\d_])(?:{_CODES})(?![^\W\d_])|[$£¥₽₺₴₣₤₦₩₪₫₱₹₨฿₡₲₵₸₼₾]", re.IGNORECASE
)
_THOUSANDS: Final = re.compile(r"(?<![^\W\d_])(?:T|TSD\.?|K|MIO\.?|M)\s?(?:€|EUR)", re.IGNORECASE)
_CENTS: Final = re.compile(r"\b(?:cents?|ct|centimes?|céntimos?|centesim[io]|grosz\w*)\b|¢", re.IGNORECASE)
# A format that shows an amount above zero with a minus sign or in parentheses, and words that make it one in favour of the debtor.
_NEGATIVE: Final = re.compile(r"""(?:\[[^\]]*\]|[_*].|\s)*(?:\\?[-\u2212(]|"\s*[-\u2212(]\s*")\s*[#0?]""")
_CREDIT: Final = re.compile(
    r"\b(?:gutschrift|guthaben|haben|erstattung|storno|credit|refund|avoir|remboursement|abono|credito|bijgeschreven|uznanie)\b",
    re.IGNORECASE,
)
_DIGIT: Final = re.compile(r"[0#?]")
# Days, times, fractions and powers of ten.
_NO_PLAIN: Final = re.compile(r"[dmyhse/%@]", re.IGNORECASE)
_SCALED: Final = re.compile(r"[0#?](,+)(?![0#?])")


def mark_of(code: str) -> str:
    """
    Return what a format adds to a number that changes the meaning of an amount.

    Args:
        code: The format, e.g. `#,##0.00 "€"`.

    Returns:
        A currency's code or sign, "%", "cents", "in thousands", "in millions", "not shown", "negative" or "credit" for an amount above zero
        that is shown as one; empty for a plain number, an amount
        of euros or a day.
    """
    if len(code) > 255:
        code = code[:255]
    sections = _sections(code)
    if len(sections) > 1 and not any(text.strip() for text in sections[0]):
        return NOT_SHOWN
    # Without conditions the first section shows amounts above zero; with them any section may.
    conditional = "[<" in code or "[>" in code or "[=" in code
    for body, literal in sections if conditional else sections[:1]:
        if mark := _section_mark(body, literal):
            return mark
        if _CREDIT.search(literal):
            return "credit"
    return "negative" if not conditional and _NEGATIVE.match(code) else ""


def decimals_shown(code: str) -> int | None:
    """
    Return how many decimals a format shows of an amount above zero.

    Args:
        code: The format.

    Returns:
        Their number; `None` where the format shows what there is, or no plain number.
    """
    body = _sections(code[:255])[0][0]
    if _DIGIT.search(body) is None or _NO_PLAIN.search(body) is not None:
        return None
    return len(_DIGIT.findall(body.partition(".")[2]))


def is_rounded(number: str, *, decimals: int) -> bool:
    """
    Return whether a person sees another amount than a cell holds.

    Args:
        number: What the cell holds, as its file writes numbers.
        decimals: How many its format shows.
    """
    try:
        value = float(number)
    except ValueError:
        return False
    return round(value, decimals) != round(value, 2)


def hides_text(code: str) -> bool:
    """
    Return whether a format shows nothing of a text.

    >>> hides_text(";;;"), hides_text("0;-0;;@"), hides_text(";;")
    (True, False, False)
    """
    sections = _sections(code[:255])
    return len(sections) > 3 and not any(part.strip() for part in sections[3])


def currency_mark(code: str) -> str:
    """
    Return whether a currency is not the euro.

    Args:
        code: A code or sign.

    Returns:
        The code; empty for the euro or for none.
    """
    code = code.strip()
    return "" if not code or _EUROS.fullmatch(code) else code[:10]


def _sections(code: str) -> list[tuple[str, str]]:
    """Take a format apart: of each section the places of digits, and the words shown beside them."""
    sections, body, literal = [], "", ""
    for match in _TOKEN.finditer(code):
        quoted, escaped, currency, _, plain = match.groups()
        if plain is None:
            # A currency in square brackets is one whatever it is called.
            if currency:
                literal += (
                    f" {currency} "
                    if _EUROS.search(currency) or _FOREIGN.search(currency)
                    else f" ¤{currency} "
                )
            else:
                literal += quoted or escaped or ""
            continue
        for place, part in enumerate(plain.split(";")):
            if place:
                sections.append((body, literal))
                body, literal = "", ""
            body += part
    sections.append((body, literal))
    return sections


def _section_mark(body: str, literal: str) -> str:  # noqa: PLR0911 - one return a mark
    digits = _DIGIT.search(body) is not None
    words = f"{literal} {_DIGIT.sub('', body)}" if digits else literal
    if (found := re.search(r"¤(\S+)", words)) is not None:
        return found[1][:10]
    if _THOUSANDS.search(words):
        return "in thousands"
    if _CENTS.search(words):
        return "cents"
    if not _EUROS.search(words) and (found := _FOREIGN.search(words)) is not None:
        return {"US": "USD", "SFR": "CHF"}.get(found[0].upper(), found[0])
    if "%" in body:
        return "%"
    if digits and (scaled := _SCALED.search(body)) is not None:
        return "in thousands" if len(scaled[1]) == 1 else "in millions"
    return NOT_SHOWN if literal.strip() and not body.strip() else ""
