"""The gateway accounts of a thing: one query of `scopes.sql` for each kind."""

from typing import Final, Literal, LiteralString, TypeAlias

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["Scoped", "accounts_of"]

Scoped: TypeAlias = Literal[
    "run",
    "attempt",
    "refund",
    "run_void",
    "bulk_order",
    "notification",
    "upload",
    "debtor",
    "collection_plan",
    "schedule",
    "due_item",
    "mandate",
]

_SQL: Final = load("people/scopes")
_QUERIES: Final[dict[Scoped, LiteralString]] = {
    "run": _SQL["of_run"],
    "attempt": _SQL["of_attempt"],
    "refund": _SQL["of_refund"],
    "run_void": _SQL["of_run_void"],
    "bulk_order": _SQL["of_bulk_order"],
    "notification": _SQL["of_notification"],
    "upload": _SQL["of_upload"],
    "debtor": _SQL["of_debtor"],
    "collection_plan": _SQL["of_collection_plan"],
    "schedule": _SQL["of_schedule"],
    "due_item": _SQL["of_due_item"],
    "mandate": _SQL["of_mandate"],
}


async def accounts_of(conn: Connection, kind: Scoped, row_id: int) -> frozenset[str]:
    """The gateway accounts of a thing; none where there is no such thing, or it was never billed."""
    rows = await (await conn.execute(_QUERIES[kind], {"id": row_id})).fetchall()
    return frozenset(row[0] for row in rows)
