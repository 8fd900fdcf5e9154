"""Debtors; the queries are in `debtors.sql`, which describes the rows."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import repeat
from typing import Any, Final, Literal, TypeAlias

import msgspec
from psycopg.rows import kwargs_row
from psycopg.sql import SQL, Identifier
from tether_core import iban as ibans
from tether_core.payments.matches import DebitStatus, EarlierDebit
from tether_core.payments.same_debit import DebitKey, key_of
from tether_core.screening.questions import RepeatGroup
from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Columns, Debtor, Plan
from tether_core.spreadsheet.plan import EXTRA_FIELDS

from tether_stores.banks import bank_bic
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "AccountFacts",
    "DebtorDetail",
    "DebtorFilters",
    "Excluded",
    "ListedDebtor",
    "RelatedRows",
    "SharedAccountRow",
    "Sort",
    "as_lines",
    "banks_of",
    "by_id",
    "columns_of",
    "exclude",
    "exclude_dry_run_rows",
    "excluded",
    "forget_dry_run",
    "listed",
    "listed_sorted",
    "names_staged",
    "question_groups",
    "reasons_of",
    "related",
    "screen",
    "shared_accounts",
    "sort_key",
    "stage",
    "status_of",
    "store",
    "store_dry_run_rows",
    "take",
]

_SQL: Final = load("debtors")
# How many of the newest debtors are searched for a word of a name before the index of words is read.
_EXAMINED_MAX: Final = 10_000

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

Sort: TypeAlias = Literal["row", "amount", "name"]


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


class SharedAccountRow(msgspec.Struct, frozen=True):
    """
    A row whose account has several rows in the file.

    Attributes:
        id: The debtor; 0 in a dry run.
        row: Row number in the file.
        amount_minor: The amount owed.
        key: Of its debit.
        verdict: The verdict of screening.
    """

    id: int
    row: int
    amount_minor: int
    key: DebitKey
    verdict: str


class ListedDebtor(msgspec.Struct, frozen=True):
    """
    A debtor in lists; the IBAN is masked.

    Attributes:
        id: Our row.
        upload_id: The upload of the debtor.
        row: Row number in the file.
        iban_masked: First and last four characters.
        name: Of the account holder.
        amount_minor: What is owed, in cents.
        currency: ISO 4217.
        reference: The creditor's reference.
        verdict: "clear", or the rule of screening that excludes it.
        cause: Why it is excluded.
        created_at: When it was stored.
        reasons: All reasons for which it is excluded; the verdict is the first.
        erased_at: When its personal data was erased; null where it was not.
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
    reasons: list[Verdict]
    erased_at: datetime | None = None


class DebtorDetail(msgspec.Struct, frozen=True):
    """
    A debtor with all columns of the file; see `tether_core.spreadsheet.Debtor`.

    Attributes:
        debtor: As in the list.
        first_name: If the file has names in two columns.
        last_name: The same.
        bic: The BIC in the file.
        mandate_id: The mandate.
        mandate_signed_on: The day the mandate was signed.
        customer_id: The creditor's customer number.
        email: For the pre-notification.
        phone: As in the file.
        street: Of the debtor's address.
        house_number: The same.
        postcode: The same.
        city: The same.
        province: The same.
        country: The same, ISO 3166 if it could be read.
        description: The text for the statement.
        born_on: Date of birth.
        national_id: As in the file.
        extra: Columns without a field, by their heading.
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


class Excluded(msgspec.Struct, frozen=True):
    """
    A row that screening excluded, for the report.

    Attributes:
        debtor: As it was read.
        reasons: All reasons for which it is excluded, at least one.
    """

    debtor: Debtor
    reasons: list[Verdict]


class DebtorFilters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Filters of a list of debtors; `None` does not filter.

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
    bics = debtors.fields.get("bic", absent)
    texts.append(
        [bank_bic(bic, iban) or _NULL for bic, iban in zip(bics, debtors.fields["iban"], strict=True)]
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


_CURRENT_STATUS: Final[dict[str, DebitStatus]] = {
    "approved": "collected",
    "pending": "under_way",
    "unknown": "under_way",
    "declined": "refused",
    "error": "refused",
    "voided": "refunded",
    "refunded": "refunded",
    "chargebacked": "charged_back",
}


def status_of(state: str | None) -> DebitStatus:
    """The status of an existing debit by the state of its attempt; *state* is `None` where none was submitted."""
    return "waiting" if state is None else _CURRENT_STATUS[state]


async def shared_accounts(
    conn: Connection, upload_id: int, *, dry_run: bool
) -> AsyncIterator[list[SharedAccountRow]]:
    """
    The rows of accounts that have several rows in an upload, without duplicates.

    Args:
        dry_run: Whether the upload is a dry run.

    Yields:
        The rows of one account, in the order of the file.
    """
    query = _SQL["shared_accounts_dry_run" if dry_run else "shared_accounts"]
    cursor = await conn.execute(query, {"upload_id": upload_id}, binary=True)
    account, some = b"", list[SharedAccountRow]()
    while rows := await cursor.fetchmany(_FETCHED):
        for fingerprint, debtor_id, row, amount_minor, reference, mandate_id, customer_id, verdict in rows:
            if fingerprint != account:
                if some:
                    yield some
                account, some = fingerprint, []
            key = key_of(reference, mandate_id, customer_id)
            some.append(SharedAccountRow(debtor_id, row, amount_minor, key, verdict))
    if some:
        yield some


async def exclude(conn: Connection, found: Mapping[int, Verdict], *, first: bool) -> None:
    """
    Exclude stored debtors for a further reason.

    Args:
        conn: Inside the transaction that adjusts the counts of their upload.
        found: Debtor to reason.
        first: Whether the reason becomes the verdict of all.
    """
    if not found:
        return
    values = {
        "ids": list(found),
        "rules": [verdict.rule for verdict in found.values()],
        "causes": [verdict.cause for verdict in found.values()],
        "reasons": [_json([verdict]) for verdict in found.values()],
        "first": first,
    }
    await conn.execute(_SQL["exclude"], values)


async def exclude_dry_run_rows(
    conn: Connection, upload_id: int, found: Mapping[int, Verdict], *, first: bool
) -> None:
    """As `exclude` for rows of a dry run, by row number."""
    if not found:
        return
    values = {
        "upload_id": upload_id,
        "rows": list(found),
        "rules": [verdict.rule for verdict in found.values()],
        "reasons": [_json([verdict]) for verdict in found.values()],
        "first": first,
    }
    await conn.execute(_SQL["exclude_dry_run_rows"], values)


async def question_groups(
    conn: Connection, upload_id: int, *, rules: Collection[str], dry_run: bool
) -> list[RepeatGroup]:
    """
    Groups of rows of an upload that a person has to decide about.

    Args:
        rules: The rules of screening that leave the decision to a person.
        dry_run: Whether the upload is a dry run.
    """
    query = _SQL["question_groups_dry_run" if dry_run else "question_groups"]
    values = {"upload_id": upload_id, "rules": list(rules)}
    return await fetch_all(conn, query, values, into=RepeatGroup)


async def take(
    conn: Connection,
    upload_id: int,
    *,
    taken: Collection[str],
    excluded: Collection[str],
    screened_at: datetime,
    limit: int,
) -> list[tuple[int, int, str]]:
    """
    Take rows that a person decided to collect.

    Args:
        conn: Inside the transaction that adjusts the counts of their upload.
        taken: Rules whose rows are taken.
        excluded: Rules whose rows stay excluded.
        screened_at: When the upload was screened; debits known later are not covered by the decision.

    Returns:
        Row, amount and previous verdict of each; none when all are done.
    """
    cursor = await conn.execute(
        _SQL["take"],
        {
            "upload_id": upload_id,
            "taken": list(taken),
            "excluded": list(excluded),
            "screened_at": screened_at,
            "limit": limit,
        },
    )
    return [(row, amount_minor, verdict) for row, amount_minor, verdict in await cursor.fetchall()]


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


async def listed(
    conn: Connection, *, filters: DebtorFilters, limit: int, before: int | None
) -> list[ListedDebtor]:
    """
    One page of debtors, newest first.

    Args:
        filters: Of the list.
        before: Only rows with a smaller id; `None` for the first page.
    """
    values = {
        **msgspec.structs.asdict(filters),
        "limit": limit,
        "before": before,
        "examined_max": _EXAMINED_MAX,
    }
    query = _SQL["listed"] if filters.name is None else _SQL["listed_by_words"]
    return await fetch_all(conn, query, values, into=_listed)


async def listed_sorted(
    conn: Connection,
    *,
    filters: DebtorFilters,
    sort: Sort,
    descending: bool,
    limit: int,
    after: tuple[str, int] | None,
) -> list[ListedDebtor]:
    """
    One page of the debtors of one upload, sorted.

    Args:
        filters: Must name the upload.
        descending: Whether the largest comes first; not for names.
        after: `sort_key` and id of the last row of the previous page; `None` for the first page.
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
    return await fetch_all(conn, query, values, into=_listed)


def sort_key(debtor: ListedDebtor, *, sort: Sort, descending: bool) -> str:
    """The value after which `listed_sorted` continues, besides the id."""
    if sort == "name":
        return debtor.name
    number = debtor.amount_minor if sort == "amount" else debtor.row or 0
    return str(-number if descending else number)


def _listed(
    *, iban: str, row_number: int | None, verdict: str, cause: str | None, reasons: str | None, **columns: Any
) -> ListedDebtor:
    return ListedDebtor(
        row=row_number,
        iban_masked=ibans.mask(iban),
        verdict=verdict,
        cause=cause,
        reasons=reasons_of(verdict, cause, reasons),
        **columns,
    )


def reasons_of(verdict: str, cause: str | None, reasons: str | None) -> list[Verdict]:
    """
    All reasons for which a row is excluded; the verdict comes first. Empty for a clear row.

    Args:
        reasons: As JSON; `None` for rows stored before all reasons were kept.
    """
    if verdict == "clear":
        return []
    if reasons is None:
        return [Verdict(verdict, cause or "")]  # stored before all reasons were kept
    return msgspec.json.decode(reasons, type=list[Verdict])


async def by_id(conn: Connection, debtor_id: int) -> DebtorDetail | None:
    """One debtor, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": debtor_id}, into=_detail)


def _detail(**columns: Any) -> DebtorDetail:
    more = {name: columns.pop(name) for name in DebtorDetail.__struct_fields__[1:]}
    return DebtorDetail(_listed(**columns), **more)


async def excluded(conn: Connection, upload_id: int, *, after_row: int, limit: int) -> list[Excluded]:
    """
    The next rows of an upload that screening excluded, in the order of the file.

    Args:
        after_row: The last row of the previous page, or 0.
    """
    values = {"upload_id": upload_id, "after_row": after_row, "limit": limit}
    return await fetch_all(conn, _SQL["excluded"], values, into=_excluded)


def _excluded(*, verdict: str, cause: str | None, reasons: str | None, **columns: Any) -> Excluded:
    return Excluded(Debtor(**columns), reasons_of(verdict, cause, reasons))
