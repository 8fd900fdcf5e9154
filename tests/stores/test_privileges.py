"""The roles of web and worker: all that their queries need, and nothing that would let them change history."""

from __future__ import annotations

import ast
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import ClientCursor
from tether_core.errors import InvalidRequest
from tether_stores import privileges
from tether_stores.payments import submissions
from tether_stores.privileges import PROGRAMS, READ_BY_WEB, WORKER_ONLY, Program, grant_all
from tether_stores.queries import read

from benchmarks import plan_cases
from tests.support.roles import as_role, granted

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = Path(__file__).parents[2] / "packages"
STORES = PACKAGES / "tether-stores" / "src"
# What neither role may do.
REFUSED = (
    "update audit set reason = ''",
    "delete from audit",
    "truncate audit",
    "alter table audit disable trigger all",
    "delete from billing_attempts",
    "delete from refunds",
    "delete from blacklist",
    "insert into schema_migrations values ('x', now())",
    "drop table debtors",
    "create table mine (a int)",
    "create or replace function refuse_change_of_audit() returns trigger language sql as 'select null'",
)
REFUSED_WEB = (
    "delete from webhook_events",
    "update archives set pruned_at = now()",
    "insert into archived_notifications values ('x', 'x', 1, 1)",
    "delete from debtors",
)


@pytest.fixture
def roles(database_url: str) -> Iterator[dict[Program, str]]:
    """A role for each program, with its privileges in this test's database."""
    with granted(database_url) as found:
        yield found


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_query_of_a_program_is_allowed(
    database_url: str, roles: dict[Program, str], program: Program
) -> None:
    """A privilege that is missing stops one kind of work, perhaps one that happens once a month."""
    missing, tried = [], 0
    with (
        psycopg.connect(as_role(database_url, roles[program]), autocommit=True) as conn,
        ClientCursor(conn) as cursor,
    ):
        for case in plan_cases.cases(rows=100_000, now=datetime.now(UTC)):
            file = case.query.rpartition(".")[0]
            if file in {"migrate", "privileges"} or (program == "web" and file in WORKER_ONLY | READ_BY_WEB):
                continue
            texts = [plan_cases.QUERIES[name] for name in case.setup if name in plan_cases.QUERIES]
            with conn.transaction(force_rollback=True):
                try:
                    for text in texts:
                        cursor.execute(text.encode(), case.parameters)
                    query = plan_cases.QUERIES[case.query].replace(")b", ")s")
                    # The privileges are checked as soon as a plan is begun; nothing is run.
                    cursor.execute(b"explain " + query.encode(), case.parameters)
                    tried += 1
                except psycopg.errors.InsufficientPrivilege as exc:
                    missing.append(f"{case.name}: {exc.diag.message_primary}")
                except psycopg.Error:
                    continue  # a value that does not fit this empty database; enough others do
    assert missing == []
    assert tried > 250


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_nobody_may_do_is_refused_by_postgres(
    database_url: str, roles: dict[Program, str], program: Program
) -> None:
    """A stolen password of a program must not be enough to rewrite who did what, or to take debits out of the books."""
    with psycopg.connect(as_role(database_url, roles[program]), autocommit=True) as conn:
        for statement in REFUSED + (REFUSED_WEB if program == "web" else ()):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())
        conn.execute("select count(*) from audit")


def test_a_role_that_may_do_everything_is_refused(database_url: str, roles: dict[Program, str]) -> None:
    """Privileges are no bound for the owner, and one role for both is no bound between them."""
    owner = urlsplit(database_url).username or ""
    for role, words in ((owner, "may do everything"), ("nobody_here", "create role")):
        with pytest.raises(InvalidRequest, match=words):
            grant_all(database_url, {"web": role})
    with pytest.raises(InvalidRequest, match="another role"):
        grant_all(database_url, {"web": roles["web"], "worker": roles["web"]})


def test_a_migration_makes_the_roles_and_changes_their_passwords(database_url: str) -> None:
    """Compose and the chart have no administrator: a role that must be made by hand would not be made."""
    role = f"tether_made_{secrets.token_hex(4)}"
    with psycopg.connect(database_url, autocommit=True) as conn:
        try:
            for password in ("first", "second"):
                assert grant_all(database_url, {"web": role}, passwords={"web": password}) == [role]
                parts = urlsplit(database_url)
                place = f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"
                with psycopg.connect(parts._replace(netloc=place).geturl()) as own:
                    own.execute("select count(*) from debtors")
            # The owner of a managed Postgres may not make roles; the sentence says who can.
            with pytest.raises(InvalidRequest, match="CREATEROLE") as caught:
                privileges.grant(own_of(conn, role), f"{role}_2", "worker", password="third")
            assert caught.value.field == "TETHER_WORKER_ROLE_PASSWORD"
            conn.execute("reset role")
        finally:
            conn.execute("reset role")
            conn.execute(f"drop owned by {role}; drop role {role}".encode())
    # Nobody's mistake may change the owner's own password.
    owner = urlsplit(database_url).username or ""
    with pytest.raises(InvalidRequest, match="may do everything"):
        grant_all(database_url, {"web": owner}, passwords={"web": "fourth"})
    psycopg.connect(database_url).close()


def own_of(conn: psycopg.Connection[Any], role: str) -> psycopg.Connection[Any]:
    """The connection, as another role."""
    conn.execute(f"set role {role}".encode())
    return conn


def test_nothing_is_taken_back_before_a_deploy(database_url: str, roles: dict[Program, str]) -> None:
    """Yesterday's nodes run until today's have taken over; a privilege that only they need must stay until then."""

    def may_delete() -> bool:
        with psycopg.connect(as_role(database_url, roles["web"]), autocommit=True) as conn:
            row = conn.execute("select has_table_privilege('debtors', 'delete')").fetchone()
            return bool(row and row[0])

    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"grant delete on debtors to {roles['web']}".encode())
    grant_all(database_url, roles, keeps=True)
    assert may_delete()
    grant_all(database_url, roles)
    assert not may_delete()


async def test_programs_that_may_do_everything_are_named(
    database_url: str, roles: dict[Program, str]
) -> None:
    """Who has set up roles and forgot one program is told so."""
    async with await psycopg.AsyncConnection.connect(
        as_role(database_url, roles["worker"]), application_name="tether-doctor", autocommit=True
    ) as conn:
        assert await privileges.unbounded(conn) == []
        with psycopg.connect(database_url, application_name="tether-web"):
            assert await privileges.unbounded(conn) == ["tether-web"]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        assert await privileges.unbounded(conn) == ["tether-worker"]


async def test_the_worker_may_update_the_statistics_of_debits(
    database_url: str, roles: dict[Program, str]
) -> None:
    """Postgres skips a table of another owner with a warning: each claim of a large run would sort all of its debits."""

    async def rows_known(conn: psycopg.AsyncConnection[Any]) -> float:
        row = await (
            await conn.execute("select reltuples from pg_class where relname = 'billing_attempts'")
        ).fetchone()
        assert row is not None
        return float(row[0])

    async with await psycopg.AsyncConnection.connect(
        as_role(database_url, roles["worker"]), autocommit=True
    ) as conn:
        assert await rows_known(conn) == -1
        await submissions.analyze(conn)
        assert await rows_known(conn) == 0


def test_the_page_says_what_postgres_grants(database_url: str, roles: dict[Program, str]) -> None:
    """An auditor reads the page; it is made without a database, so the two are compared here."""
    for program in PROGRAMS:
        with psycopg.connect(as_role(database_url, roles[program])) as conn:
            found: dict[str, list[str]] = {}
            for table, privilege in conn.execute(
                "select c.relname::text, p from pg_class c, unnest(array['select', 'insert', 'update', 'delete']) p"
                " where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and has_table_privilege(c.oid, p)"
            ):
                found.setdefault(table, []).append(privilege)
        said = {
            table: sorted(words)
            for table, words in privileges.of_schema(program, read("schema.sql")).items()
            if words
        }
        assert {
            table: sorted(words) for table, words in found.items() if table != "schema_migrations"
        } == said


def test_what_only_the_worker_does_is_what_the_web_cannot_reach() -> None:
    """A file that the web begins to use would be refused to it in production only."""

    def imported(path: Path) -> set[str]:
        return {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tether_stores")
            for alias in node.names
            for name in (str(node.module), f"{node.module}.{alias.name}")
        }

    todo = set[str]().union(*map(imported, (PACKAGES / "tether-web" / "src").rglob("*.py")))
    reached = set[str]()
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            path = STORES / f"{name.replace('.', '/')}.py"
            todo |= imported(path) if path.exists() else set()
    folder = STORES / "tether_stores"
    files = {path.relative_to(folder).as_posix().removesuffix(".sql") for path in folder.rglob("*.sql")}
    files = {name for name in files if not name.startswith("sql/")} - {"migrate", "privileges"}
    assert {name for name in files if f"tether_stores.{name.replace('/', '.')}" not in reached} == WORKER_ONLY


def test_privileges_follow_the_queries(database_url: str) -> None:
    """What no query does, no role may."""
    with psycopg.connect(database_url) as conn:
        tables: set[Any] = {
            name
            for (name,) in conn.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            )
        }
    web, worker = (privileges.of_queries(program, tables) for program in PROGRAMS)
    assert ("webhook_events", "delete") in worker - web
    assert web < worker
    assert {name for name, _ in worker} > {"debtors", "billing_attempts", "outbox", "audit"}
    assert {privilege for name, privilege in worker if name == "audit"} == {"select", "insert"}
