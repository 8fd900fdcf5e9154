"""Rows of queries are matched by the names of their columns."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tether_stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tidy.conftest import Every

STORES: Final = Path(tether_stores.__file__).parent


def positional(source: str) -> Iterator[int]:
    """The lines that read a row by position: `X(*row)`, or `row[n]` with n over 0."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            starred = [argument.value for argument in node.args if isinstance(argument, ast.Starred)]
            if any(isinstance(value, ast.Name) and value.id == "row" for value in starred):
                yield node.lineno
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "row"
            and (
                isinstance(node.slice, ast.Slice)
                or (
                    isinstance(node.slice, ast.Constant)
                    and isinstance(node.slice.value, int)
                    and node.slice.value > 0
                )
            )
        ):
            yield node.lineno


def test_rows_are_read_by_the_names_of_their_columns(every: Every) -> None:
    """A column that is added in the middle of a query would move the others into fields of another meaning."""

    def rule(path: Path) -> None:
        found = list(positional(path.read_text()))
        assert found == [], f"lines {found}: use fetch_all, fetch_one or fetch_pair of tether_stores.rows"

    every(sorted(STORES.rglob("*.py")), rule)


def test_rows_that_are_read_by_position_are_found() -> None:
    """A rule that finds nothing holds for everything."""
    assert list(positional("Entry(*row)\nrow[1]\nrow[1:]\nrow[0]\nother[1]\n")) == [1, 2, 3]
