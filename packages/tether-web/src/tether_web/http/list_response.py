"""
Lists in three forms: a page as JSON, a CSV file of all rows that match, or the number of rows that match.

All three come from the same pages with the same filters, so what a person counts, downloads and sees is the same set. A file is written page by
page: its memory does not grow with the list, and no connection is held while the client reads.

>>> header(Example)
('id', 'amount', 'currency', 'note')
>>> line(Example(7, 1999, "EUR", "=cmd()"), Example)
['7', '19.99', 'EUR', "'=cmd()"]
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream
from tether_core.money import Money
from tether_core.spreadsheet.cells import neutralise

from tether_web.http.file_response import disposition
from tether_web.http.pagination import LIMIT_MAX, Page
from tether_web.http.table_export import as_csv

__all__ = ["COUNT_MAX", "Form", "ListCount", "counted", "described", "header", "in_form", "line"]

Form: TypeAlias = Annotated[
    Literal["json", "csv", "count"],
    QueryParameter(
        name="format",
        description="`json`: a page. `csv`: a file of all rows that match, in which `cursor` and `limit` mean nothing. `count`: how"
        " many rows match.",
    ),
]
Load: TypeAlias = Callable[[str | None, int], Awaitable[Page[Any]]]

# More is counted as "more": nobody reads the difference, and everybody waits for it.
COUNT_MAX: Final = 10_000
# Pages that are read for a count, of which each may have looked at thousands of rows in vain.
_PAGES_MAX: Final = 30


class Example(msgspec.Struct, frozen=True):
    """A row of the examples above."""

    id: int
    amount_minor: int
    currency: str
    note: str | None


class ListCount(msgspec.Struct, frozen=True):
    """
    How many rows match.

    Attributes:
        count: Rows that were counted; 10,000 at most.
        more: Whether there are, or may be, more.
        amounts_minor: Their money by currency, in whole minor units; empty where rows have none.
    """

    count: int
    more: bool
    amounts_minor: dict[str, int]


def described(page: Any) -> dict[int, ResponseSpec]:
    """What a list answers with, for the OpenAPI document."""
    return {
        200: ResponseSpec(
            page | ListCount,
            generate_examples=False,
            description="By `format`: a page, a CSV file, or a count.",
        )
    }


async def in_form(
    form: Literal["json", "csv", "count"],
    load: Load,
    *,
    row: type[msgspec.Struct],
    name: str,
    cursor: str | None,
    limit: int,
) -> Response[Any]:
    """
    A list in the form that was asked for.

    Args:
        form: Which.
        load: Reads a page: cursor and limit to page.
        row: The type of the rows.
        name: Of the file, without its ending.
        cursor: Of the page.
        limit: Of the page.
    """
    if form == "json":
        return Response(await load(cursor, limit))
    if form == "count":
        return Response(await counted(load))
    first = await load(
        None, LIMIT_MAX
    )  # so that a wrong filter is refused with its status, not in the middle of a file
    return Stream(
        as_csv(header(row), _lines(first, load, row), delimiter=";"),
        headers={"Content-Disposition": disposition(f"{name}.csv")},
        media_type="text/csv",
    )


async def counted(load: Load) -> ListCount:
    """
    How many rows match.

    Args:
        load: Reads a page: cursor and limit to page.
    """
    count, cursor = 0, None
    amounts: Counter[str] = Counter()
    for _ in range(_PAGES_MAX):
        page = await load(cursor, LIMIT_MAX)
        items = page.items[: COUNT_MAX - count]
        count += len(items)
        for item in items:
            if isinstance(amount := getattr(item, "amount_minor", None), int):
                amounts[getattr(item, "currency", "EUR")] += amount
        cursor = page.next
        if cursor is None and len(items) == len(page.items):
            return ListCount(count, more=False, amounts_minor=dict(amounts))
        if count >= COUNT_MAX:
            break
    return ListCount(count, more=True, amounts_minor=dict(amounts))


async def _lines(first: Page[Any], load: Load, row: type[msgspec.Struct]) -> AsyncIterator[list[str]]:
    page = first
    while True:
        for item in page.items:
            yield line(item, row)
        if page.next is None:
            return
        page = await load(page.next, LIMIT_MAX)


def header(row: type[msgspec.Struct]) -> tuple[str, ...]:
    """The names of the columns: those of the fields, with amounts in whole units."""
    return tuple(name.removesuffix("_minor") for name in row.__struct_fields__)


def line(item: msgspec.Struct, row: type[msgspec.Struct]) -> list[str]:
    """A row as cells; none of them runs as a formula."""
    currency = getattr(item, "currency", None) or "EUR"
    return [_cell(name, getattr(item, name), currency) for name in row.__struct_fields__]


def _cell(name: str, value: object, currency: str) -> str:
    if value is None:
        return ""
    if name.endswith("_minor") and isinstance(value, int):
        return str(Money(value, currency).decimal)
    plain = msgspec.to_builtins(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, int | float):
        return str(plain)
    text = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
    return neutralise(text)
