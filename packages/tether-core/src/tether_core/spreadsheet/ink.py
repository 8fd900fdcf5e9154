"""
Colours of letters and of what is behind them: whether a person sees what a cell holds.

Somebody who wants a row out of sight without deleting it writes it in white. The value is still there, and a person who opens the workbook
does not see it. Each kind of workbook names colours in its own way: by RGB, by the number of a palette, or by the role in a
theme. `colour` gives one form for all; what it cannot resolve keeps the file's own name, so that equal names are still equal.

>>> is_hidden(WHITE, on=WHITE), is_hidden("FDFDFD", on=WHITE), is_hidden(WHITE, on="1F4E78"), is_hidden(BLACK, on=WHITE)
(True, True, False, False)
>>> colour(theme="0"), colour(rgb="FF1f4e78"), colour(indexed="9"), colour(theme="4", tint="0.4"), colour()
('FFFFFF', '1F4E78', 'FFFFFF', 'theme 4 0.4', '000000')

Source: ECMA-376 part 1, 18.8.3 (bgColor), 18.8.19 (fgColor), 18.8.27 (indexed colours), 20.1.6.2 (roles of a theme).
"""

import re
from typing import Final

__all__ = ["BLACK", "WHITE", "colour", "is_hidden"]

WHITE: Final = "FFFFFF"
BLACK: Final = "000000"

_HEX: Final = re.compile(r"[0-9A-F]{6}")
# The first two roles of every theme are the paper and the ink of the window; 64 and 65 are the ink and the paper of the system.
_THEME: Final = {"0": WHITE, "1": BLACK}
_INDEXED: Final = {"0": BLACK, "1": WHITE, "8": BLACK, "9": WHITE, "64": BLACK, "65": WHITE}
# Of each of red, green and blue, of 255: less than this is no difference on a screen.
_NEAR: Final = 16


def colour(
    *, rgb: str | None = None, theme: str | None = None, indexed: str | None = None, tint: str | None = None
) -> str:
    """
    Return one form of a colour, as a workbook names it.

    Args:
        rgb: Six hex digits, or eight with the opacity first.
        theme: The role in the theme.
        indexed: The number in the palette.
        tint: How much lighter or darker than the role it is.

    Returns:
        Six hex digits in capitals, or the file's own name; black where none is named.
    """
    if rgb:
        return rgb.upper()[-6:]
    if theme is not None:
        lighter = (tint or "0").rstrip("0").rstrip(".") not in {"", "-"}
        return f"theme {theme} {tint}" if lighter else _THEME.get(theme, f"theme {theme}")
    if indexed is not None:
        return _INDEXED.get(indexed, f"indexed {indexed}")
    return BLACK


def is_hidden(letters: str, *, on: str) -> bool:
    """
    Return whether letters cannot be seen on what is behind them.

    Args:
        letters: Their colour, from `colour`.
        on: The colour behind them; empty for a pattern.
    """
    if letters == on:
        return True
    if not (_HEX.fullmatch(letters) and _HEX.fullmatch(on)):
        return False
    parts = range(0, 6, 2)
    return all(abs(int(letters[at : at + 2], 16) - int(on[at : at + 2], 16)) < _NEAR for at in parts)
