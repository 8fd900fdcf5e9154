"""What a workbook hides, as its reader collects it."""

from __future__ import annotations

from tether_core.spreadsheet.view import ViewBuilder


def test_a_range_of_no_rows_hides_nothing() -> None:
    """A broken file can name ranges that end before they begin, or begin before the first row."""
    untouched, builder = ViewBuilder(), ViewBuilder()
    builder.hide_rows(3, 2)
    builder.hide_rows(0, 5)
    assert builder.view() == untouched.view()
