"""The debtors about one person; the queries are in `data_subjects.sql`."""

from typing import Any, Final

import msgspec
from tether_core.data_subjects import ROWS_MAX, Subject, SubjectRow, of_one_person

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = ["name_of", "subject_of"]

_SQL: Final = load("data_subjects")
# Related rows are for people to look at; a frequent name has more than anybody would.
_NAMED_MAX: Final = 200


class _Chosen(msgspec.Struct, frozen=True):
    name: str
    fingerprints: list[bytes]


async def subject_of(conn: Connection, debtor_id: int) -> Subject | None:
    """
    The rows about the person of one debtor; `None` where there is no such debtor.

    Raises:
        InvalidRequest: when there are more of them than a person has.
    """
    chosen = await fetch_one(conn, _SQL["chosen"], {"debtor_id": debtor_id}, into=_Chosen, binary=True)
    if chosen is None:
        return None
    rows: list[SubjectRow] = []
    if chosen.name:
        values: dict[str, Any] = {"name": chosen.name, "limit": _NAMED_MAX}
        rows += await fetch_all(conn, _SQL["of_name"], values, into=_named)
    # One more than may be included, so that too many are noticed. Those with the account come last: they replace the same row by name.
    values = {"fingerprints": chosen.fingerprints, "limit": 2 * ROWS_MAX + 1}
    rows += await fetch_all(conn, _SQL["of_accounts"], values, into=_owned)
    by_id = {row.debtor_id: row for row in rows}
    return of_one_person(SubjectRow(debtor_id, chosen.name, has_account=True), by_id.values())


async def name_of(conn: Connection, debtor_id: int) -> str:
    """The name of a debtor; "" once it is erased, and where there is no such debtor."""
    chosen = await fetch_one(conn, _SQL["chosen"], {"debtor_id": debtor_id}, into=_Chosen, binary=True)
    return "" if chosen is None else chosen.name


def _named(*, debtor_id: int, name: str) -> SubjectRow:
    return SubjectRow(debtor_id, name, has_account=False)


def _owned(*, debtor_id: int, name: str) -> SubjectRow:
    return SubjectRow(debtor_id, name, has_account=True)
