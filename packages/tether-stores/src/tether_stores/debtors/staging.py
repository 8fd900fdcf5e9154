"""
Rows of an upload on their way to debtors: staged, screened and stored, a chunk in a transaction.

The queries are in `staging.sql`, which says how the rows are written.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, Final, Literal

import msgspec
from psycopg.rows import kwargs_row
from psycopg.sql import SQL, Identifier
from tether_core.mandate_conflicts import plain_forms
from tether_core.payments.matches import EarlierDebit, status_of
from tether_core.payments.same_debit import DebitKey, key_of
from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Columns, Debtor, Plan
from tether_core.spreadsheet.plan import EXTRA_FIELDS

from tether_stores.banks import bank_bic, bank_of
from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = [
    "AccountFacts",
    "BankOfRow",
    "RelatedRows",
    "as_lines",
    "banks_of",
    "columns_of",
    "forget_dry_run",
    "names_staged",
    "related",
    "screen",
    "stage",
    "store",
    "store_dry_run_rows",
]

_SQL: Final = load("debtors/staging")

# Null in a line of COPY; no text of a debtor is a control character.
_NULL: Final = "\x01"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
# The cell that ends the columns needed for screening; no text of a debtor holds it either.
_STAGED_END: Final = "\x02"
_STAGED: Final = ("row", "amount_minor", "reference", "mandate_id", "customer_id", "name", "email")
_UNTEXTUAL: Final = ("row", "amount_minor", "mandate_signed_on", "born_on")
_ALWAYS: Final = ("row", "amount_minor", "name", "iban", "currency")
# Lines sent to Postgres at a time: about a megabyte.
_SENT_LINES: Final = 5_000
# Rows taken over from the driver at a time.
_FETCHED: Final = 500


class AccountFacts(msgspec.Struct, frozen=True):
    """
    Facts about the account of a staged row.

    Attributes:
        row: Row number in the file.
        amount_minor: The amount owed.
        listed: "hold" or "block" when the account is on the blacklist.
        listed_reason_code: The reason code of the entry.
        listed_note: The note of the entry.
        charged_back: Whether a debit from the account was ever charged back.
    """

    row: int
    amount_minor: int
    listed: Literal["hold", "block"] | None
    listed_reason_code: str | None
    listed_note: str | None
    charged_back: bool


class RelatedRows(msgspec.Struct, frozen=True):
    """
    The rows and debits of one account.

    Attributes:
        staged: Row, key and amount of its staged rows.
        in_file: Row and key of its earlier rows in the same file.
        elsewhere: Its debits and waiting rows of other uploads.
    """

    staged: list[tuple[int, DebitKey, int]]
    in_file: list[tuple[int, DebitKey]]
    elsewhere: list[EarlierDebit]


def columns_of(plan: Plan) -> tuple[str, ...]:
    """
    The fields that the debtors of a file can have.

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
    extra = ["extra"] if plan.kept or any(field in EXTRA_FIELDS for field in found) else []
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
    if "mandate_id" in columns:
        plain = plain_forms(debtors.fields.get("mandate_id", absent))
        texts.append([form or _NULL for form in plain])
    bics = debtors.fields.get("bic", absent)
    given = {bic: bank_bic(bic, "") for bic in set(bics)}  # a file names few banks
    texts.append(
        [given[bic] or bank_of(iban) or _NULL for bic, iban in zip(bics, debtors.fields["iban"], strict=True)]
    )
    rows = list(zip(*texts, strict=True))
    lines = list(map("\t".join, rows))
    # Characters with a meaning for COPY are rare in debtors' data; counting them shows whether any cell holds one.
    text = "".join(lines)
    signs = (text.count("\t"), text.count("\n"), text.count("\\"), text.count("\r"))
    if signs != (len(rows) * (len(texts) - 1), 0, 2 * len(rows), 0):
        lines = ["\t".join([first, *map(_escaped, rest)]) for first, *rest in rows]
    return lines


class BankOfRow(msgspec.Struct, frozen=True):
    """
    The bank of a row that is to be screened.

    Attributes:
        row: Its number.
        amount_minor: What it owes.
        bic: The BIC in the file, or `None`.
        bank: The first eight characters of the bank's BIC, or `None` where nobody knows it.
    """

    row: int
    amount_minor: int
    bic: str | None
    bank: str | None


def banks_of(lines: Iterable[str], *, columns: Sequence[str]) -> Iterator[BankOfRow]:
    """
    The banks of debtors.

    Args:
        lines: From `as_lines`.
        columns: As given there.
    """
    places = {name: columns.index(name) + 1 for name in ("row", "amount_minor")}
    bic_at = (
        columns.index("bic") + 1 + (columns.index("bic") >= len(_staged(columns)))
        if "bic" in columns
        else None
    )
    for line in lines:
        cells = line.split("\t")
        bic = None if bic_at is None or cells[bic_at] == _NULL else cells[bic_at]
        bank = None if cells[-1] == _NULL else cells[-1]
        yield BankOfRow(int(cells[places["row"]]), int(cells[places["amount_minor"]]), bic, bank)


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
    Create the staging table of a transaction and fill it with the columns needed for screening.

    Args:
        conn: The transaction; the table is dropped when it ends.
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
    verdicts: Mapping[int, tuple[Verdict, ...]],
    now: datetime,
) -> None:
    """
    Insert debtors with their verdicts.

    Args:
        conn: The transaction that staged them.
        lines: From `as_lines`, sorted.
        columns: From `columns_of`.
        verdicts: Row to the reasons for which it is excluded.
    """
    shared = f"\t{upload_id}\t{now.isoformat()}\t"
    clear = f"{shared}clear\t{_NULL}\t{_NULL}"
    ends = {
        reasons: f"{shared}{reasons[0].rule}\t{_escaped(reasons[0].cause)}\t{_escaped(_json(reasons))}"
        for reasons in set(verdicts.values())
    }

    def end(line: str) -> str:
        reasons = verdicts.get(int(line.split("\t", 2)[1]))
        return clear if reasons is None else ends[reasons]

    def parts() -> Iterator[str]:
        for some in _some(lines):
            # Only in the lines: a cause may quote a person's note, which may hold any character.
            result = "\n".join(some).replace(f"\t{_STAGED_END}", "")
            if verdicts:
                yield "\n".join([line + end(line) for line in result.split("\n")])
            else:
                yield result.replace("\n", f"{clear}\n") + clear

    names = (
        "iban_fingerprint",
        *columns,
        *(["mandate_plain"] if "mandate_id" in columns else []),
        "bank_bic",
        "upload_id",
        "created_at",
        "verdict",
        "cause",
        "reasons",
    )
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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def screen(conn: Connection, *, now: datetime) -> AsyncIterator[AccountFacts]:
    """
    Blacklist entries and chargebacks of the accounts of the staged rows.

    Yields:
        One entry for each row whose account has any.
    """
    async with conn.cursor(row_factory=kwargs_row(AccountFacts)) as cursor:
        await cursor.execute(_SQL["screen"], {"now": now})
        while rows := await cursor.fetchmany(_FETCHED):
            for row in rows:
                yield row


async def related(
    conn: Connection,
    upload_id: int,
    *,
    since: datetime,
    dry_run: bool,
    now: datetime,
    edited: int | None = None,
) -> AsyncIterator[RelatedRows]:
    """
    The other rows and debits of the accounts of the staged rows.

    Args:
        conn: The transaction that staged them.
        since: From when on a row of another upload without a debit counts.
        dry_run: Whether this upload is a dry run.
        edited: The debtor whose row is staged alone; what is stored of it, and rows that repeat others, do not count.

    Yields:
        One entry for each account with more than one row or debit.
    """
    given = {"upload_id": upload_id, "since": since, "dry_run": dry_run, "now": now, "edited": edited}
    cursor = await conn.execute(_SQL["related"], given, binary=True)
    account, some = b"", RelatedRows([], [], [])
    # Hundreds at a time: in a file that was uploaded before, every row has related rows.
    while rows := await cursor.fetchmany(_FETCHED):
        for fingerprint, kind, row, amount_minor, *values, at, state, other_id in rows:
            if fingerprint != account:
                if some.staged:
                    yield some
                account, some = fingerprint, RelatedRows([], [], [])
            key = key_of(*values)
            if kind == "staged":
                some.staged.append((row, key, amount_minor))
            elif kind == "file":
                some.in_file.append((row, key))
            elif state != "forgiven":
                some.elsewhere.append(EarlierDebit(key, amount_minor, at, status_of(state), other_id))
    if some.staged:
        yield some


async def names_staged(
    conn: Connection, *, limit: int
) -> AsyncIterator[list[tuple[int, int, str, str | None]]]:
    """
    Names and e-mail addresses of the staged rows.

    Yields:
        Row number, amount, name and e-mail address, up to *limit* rows at a time.
    """
    cursor = await conn.execute(_SQL["names_staged"])
    while rows := await cursor.fetchmany(limit):
        yield [(row_number, amount_minor, name, email) for row_number, amount_minor, name, email in rows]


async def store_dry_run_rows(
    conn: Connection, upload_id: int, *, verdicts: Mapping[int, tuple[Verdict, ...]]
) -> None:
    """Store the staged rows of a dry run, with the reasons of those that are excluded."""
    values = {
        "upload_id": upload_id,
        "rows": list(verdicts),
        "verdicts": [reasons[0].rule for reasons in verdicts.values()],
        "reasons": [_json(reasons) for reasons in verdicts.values()],
    }
    await conn.execute(_SQL["store_dry_run_rows"], values)


async def forget_dry_run(conn: Connection, upload_id: int) -> None:
    """Delete the rows of a finished dry run."""
    await conn.execute(_SQL["forget_dry_run"], {"upload_id": upload_id})
