"""Debtors: one short function per query of `sql/debtors.sql`, which tells how their rows live."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import repeat
from typing import Any, Final, Literal, TypeAlias

import msgspec
from psycopg.sql import SQL, Identifier
from tether_core import iban as ibans
from tether_core.screening import Verdict
from tether_core.spreadsheet import Columns, Debtor, Plan
from tether_core.spreadsheet.decisions import EXTRA_FIELDS

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = [
    "DebtorDetail",
    "Filters",
    "Known",
    "LeftOut",
    "ListedDebtor",
    "Sort",
    "as_lines",
    "columns_of",
    "forget_rehearsal",
    "left_out",
    "listed",
    "listed_sorted",
    "names_staged",
    "one",
    "rehearse",
    "screen",
    "sort_key",
    "stage",
    "store",
]

_SQL: Final = load("debtors")

# What stands for nothing in a line; no text of a debtor is a control character.
_NULL: Final = "\x01"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
# A cell of its own after what screening needs of a line; no text of a debtor holds it either.
_STAGED_END: Final = "\x02"
_STAGED: Final = ("row", "amount_minor", "reference", "name", "email")
_UNTEXTUAL: Final = ("row", "amount_minor", "mandate_signed_on", "born_on")
_ALWAYS: Final = ("row", "amount_minor", "name", "iban", "currency")
# Lines sent to Postgres at a time: about a megabyte.
_SENT_LINES: Final = 5_000

Sort: TypeAlias = Literal["row", "amount", "name"]


class Known(msgspec.Struct, frozen=True):
    """
    What is known of a staged row besides its cells; the columns of the query `screen`.

    Attributes:
        row: Its number in the file.
        amount_minor: What it owes.
        reference: Its reference.
        first_row: The first row of the file with its IBAN, where that is another one.
        first_reference: That row's reference.
        first_row_same_reference: The first row of the file with its IBAN and reference.
        listed: "hold" or "block" when the account is on the blacklist.
        listed_reason_code: The code it stands there for.
        listed_note: What else is said about that.
        charged_back: Whether a debit from the account was ever charged back.
        collected_at: When the same debit was collected through another upload.
        tried_at: When a debit from the account was last tried through another upload.
        tried_state: What came of that.
        taken_in_at: When the account was last taken in through another upload, within the window.
        taken_in_by: That upload.
    """

    row: int
    amount_minor: int
    reference: str | None
    first_row: int | None
    first_reference: str | None
    first_row_same_reference: int | None
    listed: Literal["hold", "block"] | None
    listed_reason_code: str | None
    listed_note: str | None
    charged_back: bool
    collected_at: datetime | None
    tried_at: datetime | None
    tried_state: str | None
    taken_in_at: datetime | None
    taken_in_by: int | None


class ListedDebtor(msgspec.Struct, frozen=True):
    """
    A debtor for people; the IBAN is masked.

    Attributes:
        id: Our row.
        upload_id: The upload it came with.
        row: Number of its row in the file.
        iban_masked: First and last four characters.
        name: Of the account holder.
        amount_minor: What is owed, in cents.
        currency: ISO 4217.
        reference: The creditor's reference.
        verdict: "clear", or the rule of screening that leaves it out.
        cause: Why it is left out.
        created_at: When it was stored.
    """

    id: int
    upload_id: int | None
    row: int | None
    iban_masked: str
    name: str
    amount_minor: int
    currency: str
    reference: str | None
    verdict: str
    cause: str | None
    created_at: datetime


class DebtorDetail(msgspec.Struct, frozen=True):
    """
    A debtor with everything the file said of it; see `tether_core.spreadsheet.Debtor`.

    Attributes:
        debtor: As in the list.
        first_name: Where the file has names in two columns.
        last_name: The same.
        bic: The bank's, as the file has it.
        mandate_id: Of the permission to collect.
        mandate_signed_on: The day it was given.
        customer_id: The sender's number of this person.
        email: To tell about the debit.
        phone: As the file has it.
        street: Of the debtor's address.
        house_number: The same.
        postcode: The same.
        city: The same.
        province: The same.
        country: The same, ISO 3166 where it could be read.
        description: What shall stand on the statement.
        born_on: Date of birth.
        national_id: As the file has it.
        extra: Columns we have no field for, by their heading.
    """

    debtor: ListedDebtor
    first_name: str | None
    last_name: str | None
    bic: str | None
    mandate_id: str | None
    mandate_signed_on: date | None
    customer_id: str | None
    email: str | None
    phone: str | None
    street: str | None
    house_number: str | None
    postcode: str | None
    city: str | None
    province: str | None
    country: str | None
    description: str | None
    born_on: date | None
    national_id: str | None
    extra: dict[str, str] | None


class LeftOut(msgspec.Struct, frozen=True):
    """
    A row that screening left out, for the report.

    Attributes:
        debtor: As it was read.
        verdict: The rule and the cause.
    """

    debtor: Debtor
    verdict: Verdict


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which debtors; `None` does not filter.

    Attributes:
        upload_id: Of this upload.
        verdict: With this verdict.
        name: With these beginnings of words in the name, as `to_tsquery` takes them.
        reference: With exactly this reference.
        iban_tail: With these last four characters of the IBAN.
    """

    upload_id: int | None = None
    verdict: str | None = None
    name: str | None = None
    reference: str | None = None
    iban_tail: str | None = None


def columns_of(plan: Plan) -> tuple[str, ...]:
    """
    Tell which fields the debtors of a file can have.

    Args:
        plan: How the file is read.

    Returns:
        Names of fields of `tether_core.spreadsheet.Debtor`.

    >>> from tether_core.spreadsheet import Column
    >>> header = (Column(0, "Ref", "reference"), Column(1, "IBAN", "iban"), Column(2, "Etage", "floor"))
    >>> columns_of(Plan(kind="csv", header_row=1, data_row=2, columns=header))
    ('row', 'amount_minor', 'reference', 'name', 'iban', 'currency', 'extra')
    """
    found = plan.fields.keys()
    wanted = dict.fromkeys((*_STAGED, *Debtor.__struct_fields__))
    plain = [field for field in wanted if field in _ALWAYS or field in found]
    extra = ["extra"] if any(field in EXTRA_FIELDS for field in found) else []
    return (*plain, *extra)


def as_lines(debtors: Columns, *, columns: Sequence[str], fingerprint: Callable[[str], str]) -> list[str]:
    """
    Write debtors as `stage` and `store` take them: the text format of COPY, which costs half of what CSV does.

    Args:
        debtors: Of one upload, in any order.
        columns: From `columns_of`.
        fingerprint: Of a canonical IBAN, as hexadecimal digits.

    Returns:
        A line each, without its end; sorted, they are in the order of fingerprints.
    """
    absent = [None] * len(debtors)
    texts: list[Iterable[str]] = [_texts(name, debtors.fields.get(name, absent)) for name in columns]
    texts.insert(0, [rf"\\x{fingerprint(iban)}" for iban in debtors.fields["iban"]])
    texts.insert(len(_staged(columns)) + 1, repeat(_STAGED_END, len(debtors)))
    rows = list(zip(*texts, strict=True))
    lines = list(map("\t".join, rows))
    # Signs that mean something to COPY are rare in debtors' data; counting tells whether any cell holds one.
    text = "".join(lines)
    signs = (text.count("\t"), text.count("\n"), text.count("\\"), text.count("\r"))
    if signs != (len(rows) * (len(texts) - 1), 0, 2 * len(rows), 0):
        lines = ["\t".join([first, *map(_escaped, rest)]) for first, *rest in rows]
    return lines


def _texts(name: str, values: Sequence[Any]) -> Iterable[str]:
    if name == "extra":
        return [msgspec.json.encode(value).decode() if value else _NULL for value in values]
    absent = None in values
    if name in _UNTEXTUAL:
        return [_NULL if value is None else str(value) for value in values] if absent else map(str, values)
    return [_NULL if value is None else value for value in values] if absent else values


def _staged(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name in _STAGED)


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


async def stage(conn: Connection, lines: Sequence[str], *, columns: Sequence[str]) -> None:
    """
    Make the staging table of a transaction and fill it with what screening needs.

    Args:
        conn: That transaction; the table goes with it.
        lines: From `as_lines`, of one chunk.
        columns: From `columns_of`.
    """
    await conn.execute(_SQL["guard"])
    await conn.execute(_SQL["stage"])
    parts = ("\n".join([line.partition(f"\t{_STAGED_END}")[0] for line in some]) for some in _some(lines))
    await _copied(conn, "stage_rows", ("iban_fingerprint", *_staged(columns)), parts)


async def store(
    conn: Connection,
    upload_id: int,
    lines: Sequence[str],
    *,
    columns: Sequence[str],
    verdicts: Mapping[int, Verdict],
    now: datetime,
) -> None:
    """
    Put debtors into the table with their verdicts.

    Args:
        conn: The transaction that staged them.
        upload_id: Whose.
        lines: From `as_lines`, sorted.
        columns: From `columns_of`.
        verdicts: Row to verdict, for those that are left out.
        now: The present moment.
    """
    shared = f"\t{upload_id}\t{now.isoformat()}\t"
    clear = f"{shared}clear\t{_NULL}"
    ends = {
        verdict: f"{shared}{verdict.rule}\t{_escaped(verdict.cause)}" for verdict in set(verdicts.values())
    }

    def end(line: str) -> str:
        verdict = verdicts.get(int(line.split("\t", 2)[1]))
        return clear if verdict is None else ends[verdict]

    def parts() -> Iterator[str]:
        for some in _some(lines):
            # Only in the lines: what a person wrote of an account and a cause repeats may hold any sign.
            told = "\n".join(some).replace(f"\t{_STAGED_END}", "")
            if verdicts:
                yield "\n".join([line + end(line) for line in told.split("\n")])
            else:
                yield told.replace("\n", f"{clear}\n") + clear

    names = ("iban_fingerprint", *columns, "upload_id", "created_at", "verdict", "cause")
    await _copied(conn, "store", names, parts())


def _some(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    return (lines[start : start + _SENT_LINES] for start in range(0, len(lines), _SENT_LINES))


async def _copied(conn: Connection, query: str, columns: Sequence[str], parts: Iterable[str]) -> None:
    names = ("row_number" if name == "row" else name for name in columns)
    async with conn.cursor().copy(
        SQL(_SQL[query]).format(columns=SQL(", ").join(map(Identifier, names)))
    ) as stream:
        for part in parts:
            await stream.write(f"{part}\n".encode())


async def screen(
    conn: Connection, upload_id: int, *, since: datetime, dry_run: bool, now: datetime
) -> AsyncIterator[Known]:
    """
    Gather what is known of the staged rows besides their cells.

    Args:
        conn: The transaction that staged them.
        upload_id: Whose.
        since: Since when a debtor of another upload counts.
        dry_run: Whether earlier rows of this upload were rehearsed rather than stored.
        now: The present moment.

    Yields:
        One entry for each row of which anything is known.
    """
    cursor = await conn.execute(
        _SQL["screen"], {"upload_id": upload_id, "since": since, "dry_run": dry_run, "now": now}
    )
    # Hundreds at a time: a file that came a second time has something known of each of its rows.
    while rows := await cursor.fetchmany(500):
        for row in rows:
            yield Known(*row)


async def names_staged(
    conn: Connection, *, limit: int
) -> AsyncIterator[list[tuple[int, int, str, str | None]]]:
    """
    The names among the staged rows.

    Args:
        conn: The transaction that staged them.
        limit: Rows at a time.

    Yields:
        Row number, amount, name and e-mail address of up to *limit* rows, until all were given.
    """
    cursor = await conn.execute(_SQL["names_staged"])
    while rows := await cursor.fetchmany(limit):
        yield [(row[0], row[1], row[2], row[3]) for row in rows]


async def rehearse(conn: Connection, upload_id: int) -> None:
    """Remember the staged rows of a dry run in place of storing them."""
    await conn.execute(_SQL["rehearse"], {"upload_id": upload_id})


async def forget_rehearsal(conn: Connection, upload_id: int) -> None:
    """Forget the rows of a dry run that is over."""
    await conn.execute(_SQL["forget_rehearsal"], {"upload_id": upload_id})


async def listed(conn: Connection, *, filters: Filters, limit: int, before: int | None) -> list[ListedDebtor]:
    """
    One page of debtors, newest first.

    Args:
        conn: Any connection.
        filters: Which.
        limit: Rows at most.
        before: Only rows with a smaller id, or `None` for the first page.

    Returns:
        Up to *limit* debtors.
    """
    cursor = await conn.execute(
        _SQL["listed"], {**msgspec.structs.asdict(filters), "limit": limit, "before": before}
    )
    return [_listed(row) for row in await cursor.fetchall()]


async def listed_sorted(
    conn: Connection,
    *,
    filters: Filters,
    sort: Sort,
    descending: bool,
    limit: int,
    after: tuple[str, int] | None,
) -> list[ListedDebtor]:
    """
    One page of the debtors of one upload in another order.

    Args:
        conn: Any connection.
        filters: Which; must name the upload.
        sort: By row number, amount or name.
        descending: Whether the largest comes first; not for names.
        limit: Rows at most.
        after: `sort_key` and id of the last row shown, or `None` for the first page.

    Returns:
        Up to *limit* debtors.
    """
    key, after_id = after or ("0", None)
    values = {
        **msgspec.structs.asdict(filters),
        "limit": limit,
        "after_id": after_id,
        "sort": sort,
        "descending": descending,
        "after_number": 0 if sort == "name" else int(key),
        "after_name": key,
    }
    query = _SQL["listed_by_name"] if sort == "name" else _SQL["listed_by_number"]
    return [_listed(row) for row in await (await conn.execute(query, values)).fetchall()]


def sort_key(debtor: ListedDebtor, *, sort: Sort, descending: bool) -> str:
    """What `listed_sorted` goes on after, besides the id."""
    if sort == "name":
        return debtor.name
    number = debtor.amount_minor if sort == "amount" else debtor.row or 0
    return str(-number if descending else number)


def _listed(row: Sequence[Any]) -> ListedDebtor:
    upload_id, number, iban = row[1:4]
    return ListedDebtor(
        row[0],
        upload_id,
        number,
        ibans.mask(iban),
        name=row[4],
        amount_minor=row[5],
        currency=row[6],
        reference=row[7],
        verdict=row[8],
        cause=row[9],
        created_at=row[10],
    )


async def one(conn: Connection, debtor_id: int) -> DebtorDetail | None:
    """One debtor, or `None`."""
    row = await (await conn.execute(_SQL["one"], {"id": debtor_id})).fetchone()
    return None if row is None else DebtorDetail(_listed(row), *row[11:])


async def left_out(conn: Connection, upload_id: int, *, after_row: int, limit: int) -> list[LeftOut]:
    """
    The next rows of an upload that screening left out, in the order of the file.

    Args:
        conn: Any connection.
        upload_id: Whose.
        after_row: The last row seen, or 0.
        limit: Rows at most.

    Returns:
        Up to *limit* rows.
    """
    cursor = await conn.execute(
        _SQL["left_out"], {"upload_id": upload_id, "after_row": after_row, "limit": limit}
    )
    return [LeftOut(Debtor(row[0], *row[3:]), Verdict(row[1], row[2])) for row in await cursor.fetchall()]
