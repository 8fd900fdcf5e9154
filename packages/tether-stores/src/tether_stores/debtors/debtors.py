"""Lists of debtors, and one debtor; the queries are in `debtors.sql`, which describes the rows."""

from datetime import date, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from tether_core import iban as ibans
from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Debtor

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "DebtorDetail",
    "DebtorFilters",
    "Excluded",
    "ListedDebtor",
    "Sort",
    "by_id",
    "excluded",
    "listed",
    "listed_sorted",
    "reasons_of",
    "sort_key",
]

_SQL: Final = load("debtors/debtors")
# How many of the newest debtors are searched for a word of a name before the index of words is read.
_EXAMINED_MAX: Final = 10_000

Sort: TypeAlias = Literal["row", "amount", "name"]


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
