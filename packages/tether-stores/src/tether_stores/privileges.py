"""
What the database roles of web and worker may do: no more than their queries need.

Privileges are derived from the named queries, and from the functions of triggers, which run with the rights of the role that fires them. A
query of a file in `WORKER_ONLY` gives nothing to the role of the web, and of a file in `READ_BY_WEB` the right to read.
`tether-worker migrate`, as the owner of the schema, grants them anew at each run. Before a deploy (`--phase pre`) it takes nothing back, because yesterday's
code still runs its own queries; after it, what no query needs any more is taken back.

>>> sorted(needed("delete from a using b where a.id = b.id", {"a", "b", "c"}))
[('a', 'delete'), ('a', 'select'), ('b', 'select')]
>>> sorted(needed("select * from c join d on true for update of c", {"c", "d"}))
[('c', 'select'), ('c', 'update'), ('d', 'select'), ('d', 'update')]
>>> sorted(needed("insert into a (x) values (1) on conflict (x) do update set x = 2", {"a"}))
[('a', 'insert'), ('a', 'select'), ('a', 'update')]
"""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import psycopg
from psycopg import sql
from tether_core.errors import InvalidRequest, StoreUnreachable

from tether_stores.migrate import wait_for_turn
from tether_stores.pool import Connection
from tether_stores.queries import load, split_file

__all__ = [
    "PROGRAMS",
    "READ_BY_WEB",
    "WORKER_ONLY",
    "Privilege",
    "Program",
    "grant",
    "grant_all",
    "is_granted",
    "needed",
    "of_queries",
    "of_schema",
    "unbounded",
]

Program: TypeAlias = Literal["web", "worker"]
PROGRAMS: Final[tuple[Program, ...]] = get_args(Program)
Privilege: TypeAlias = Literal["select", "insert", "update", "delete"]

_SQL: Final = load("privileges")
# Queries that no module of tether_web can reach; a test compares this with its imports.
WORKER_ONLY: Final = frozenset(
    {
        "debtors/verdicts",
        "erasures/rows",
        "jobs/periodic",
        "mandate_conflicts",
        "notifications/confirmations",
        "notifications/report_records",
        "payments/imported_attempts",
        "retention/pruning",
        "row_counts",
        "secrets_key",
    }
)
# Queries of which tether_web makes those that read.
READ_BY_WEB: Final = frozenset({"retention/archives"})
# Not of a program: who migrates owns everything.
_OWNERS: Final = frozenset({"migrate", "privileges"})
# Where only part of a privilege is wanted, whatever a lock in a query would need.
_NEVER: Final = {("audit", "update"), ("audit", "delete")}
_WRITES: Final[tuple[tuple[str, Privilege], ...]] = (
    (r"\binsert into (\w+)", "insert"),
    (r"\bcopy (\w+)[^;]*? from stdin", "insert"),
    (r"\bdelete from (\w+)", "delete"),
    (r"(?<!for )(?<!do )(?<!no key )\bupdate (\w+)", "update"),
)
_READS: Final = re.compile(r"\b(?:from|join|using|into|update|,)\s+(?:only\s+)?(\w+)")
_LOCKS: Final = re.compile(r"\bfor (?:no key )?(?:update|share)|\bfor key share|\block table")


def needed(query: str, tables: AbstractSet[str]) -> Iterator[tuple[str, Privilege]]:
    """
    The privileges that a statement needs; rather one too many on a table that it names than one too few.

    Args:
        query: SQL in lower case.
        tables: The names of all tables.
    """
    for pattern, privilege in _WRITES:
        for name in re.findall(pattern, query):
            if name in tables:
                yield name, privilege
                if privilege == "insert" and "do update" in query:
                    yield name, "update"
    is_locking = _LOCKS.search(query) is not None
    for name in _READS.findall(query):
        if name in tables:
            yield name, "select"
            if is_locking:
                yield name, "update"


def of_queries(program: Program, tables: AbstractSet[str]) -> set[tuple[str, Privilege]]:
    """What the queries of a program need, by table."""
    folder = Path(str(resources.files("tether_stores")))
    found: set[tuple[str, Privilege]] = set()
    for path in folder.rglob("*.sql"):
        name = path.relative_to(folder).as_posix().removesuffix(".sql")
        if name.startswith("sql/") or name in _OWNERS or (program == "web" and name in WORKER_ONLY):
            continue
        for query in split_file("tether_stores", name).values():
            pairs = set(needed(query, tables))
            if program == "web" and name in READ_BY_WEB:
                pairs = {pair for pair in pairs if pair[1] == "select"}
            found |= pairs
    return found - _NEVER


def of_schema(program: Program, schema: str) -> dict[str, list[Privilege]]:
    """
    What a program's role may do, by table: its queries, and the functions of triggers.

    Args:
        schema: The text of `schema.sql`.

    Returns:
        Every table of the schema; an empty list where the role has no business.
    """
    names = re.findall(r"^create table (\w+)", schema, re.MULTILINE)
    tables = {*names, "schema_migrations"}
    pairs = of_queries(program, tables)
    for body in re.findall(r"\$\$(.*?)\$\$", schema, re.DOTALL):
        pairs |= set(needed(body.lower(), tables)) - _NEVER
    return {
        table: [word for word in get_args(Privilege) if (table, word) in pairs] for table in sorted(names)
    }


async def unbounded(conn: Connection) -> list[str]:
    """The programs with sessions in this database that may do everything in it, for a warning; that of *conn* counts as tether-worker."""
    return [program for (program,) in await (await conn.execute(_SQL["unbounded"])).fetchall()]


async def is_granted(conn: Connection) -> bool:
    """Whether `tether-worker migrate` has granted anything to the role of *conn*; true where there is no table yet."""
    row = await (await conn.execute(_SQL["is_granted"])).fetchone()
    assert row is not None
    return bool(row[0])


def grant(
    conn: psycopg.Connection[Any], role: str, program: Program, *, password: str = "", keeps: bool = False
) -> None:
    """
    Give a role what its program needs, and take everything else from it.

    Args:
        conn: Of the owner of the schema, in autocommit mode.
        role: Exists, unless *password* is given.
        program: Which program connects as it.
        password: Make the role with it, or give it to the role; "" leaves the role as it is.
        keeps: Whether it keeps what it has beside that: older code that still runs may need it.

    Raises:
        InvalidRequest: when there is no such role and none may be made, or it owns the tables, so that nothing could be kept from it.
    """
    setting = f"TETHER_{program.upper()}_ROLE"
    row = conn.execute(_SQL["role"], {"role": role}).fetchone()
    if row is None and not password:
        raise InvalidRequest(
            "names a role that the database does not have; its administrator must run: create role ... login password '...'; "
            f"or set {setting}_PASSWORD, and tether-worker migrate makes it",
            field=setting,
        )
    # Before its password is touched: nobody's mistake may lock the owner out.
    if row is not None and row[0]:
        raise InvalidRequest(
            "names a role that may do everything in this database; use a role of its own that is no owner and no superuser",
            field=setting,
        )
    if password:
        _log_in(conn, role, password, is_new=row is None, setting=f"{setting}_PASSWORD")
    tables = {name for (name,) in conn.execute(_SQL["tables"])}
    pairs = of_queries(program, tables)
    for (body,) in conn.execute(_SQL["functions"]):
        pairs |= set(needed(body, tables)) - _NEVER
    pairs.add(("schema_migrations", "select"))
    with conn.transaction():
        identifier = sql.Identifier(role)
        if not keeps:
            conn.execute(sql.SQL(_SQL["revoke"]).format(role=identifier))
        conn.execute(sql.SQL(_SQL["enter"]).format(role=identifier))
        for table in sorted({name for name, _ in pairs}):
            privileges = sql.SQL(", ").join(
                sql.SQL(privilege) for privilege in sorted({found for name, found in pairs if name == table})
            )
            conn.execute(
                sql.SQL(_SQL["grant_on"]).format(
                    privileges=privileges, table=sql.Identifier(table), role=identifier
                )
            )


def _log_in(conn: psycopg.Connection[Any], role: str, password: str, *, is_new: bool, setting: str) -> None:
    """Make a role, or give it a password. The hash is made here: a statement may be logged by the server."""
    hashed = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL(_SQL["make_role" if is_new else "set_password"])
    try:
        conn.execute(statement.format(role=sql.Identifier(role), password=sql.Literal(hashed)))
    except psycopg.errors.InsufficientPrivilege:
        raise InvalidRequest(
            "needs an owner that may make this role (CREATEROLE); leave it empty, and let the administrator of Postgres make the role",
            field=setting,
        ) from None


def grant_all(
    database_url: str,
    roles: Mapping[Program, str],
    *,
    passwords: Mapping[Program, str] = MappingProxyType({}),
    keeps: bool = False,
) -> list[str]:
    """
    Grant each program's role what it needs.

    Args:
        database_url: As the owner of the schema.
        roles: By program; "" for a program that connects as the owner.
        passwords: By program; a role with a password is made where it does not exist.
        keeps: As for `grant`.

    Returns:
        The roles that were granted privileges.

    Raises:
        InvalidRequest: when a role is missing, may do everything, or is the role of both programs.
        StoreUnreachable: when the database does not answer.
    """
    named: dict[Program, str] = {program: role for program, role in roles.items() if role}
    if len(set(named.values())) < len(named):
        raise InvalidRequest("must name another role than TETHER_WEB_ROLE", field="TETHER_WORKER_ROLE")
    if not named:
        return []
    try:
        with psycopg.connect(
            database_url, autocommit=True, connect_timeout=10, prepare_threshold=None
        ) as conn:
            # Postgres refuses two who change one role or the privileges on one table at the same time.
            wait_for_turn(conn)
            for program, role in named.items():
                grant(conn, role, program, password=passwords.get(program, ""), keeps=keeps)
    except psycopg.OperationalError as exc:
        raise StoreUnreachable("postgres", why="no connection") from exc
    return list(named.values())
