-- Privileges of the roles of web and worker, granted by the owner of the schema (tether_stores.privileges).

-- role --
-- Whether a role may do everything here: it is a superuser, or it owns a table. 0 or 1 row.
select
    r.rolsuper
    or exists (
        select from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and pg_has_role(r.oid, c.relowner, 'usage')
    )
from pg_roles r
where r.rolname = %(role)s;

-- unbounded --
-- The programs of this database whose sessions may do everything in it; the session that asks counts as one of tether-worker. One row each: name.
select distinct case when a.pid = pg_backend_pid() then 'tether-worker' else a.application_name end as program
from pg_stat_activity a
join pg_roles r on r.oid = a.usesysid
where a.datname = current_database()
    and (a.pid = pg_backend_pid() or a.application_name in ('tether-web', 'tether-worker'))
    and (
        r.rolsuper
        or exists (
            select from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and pg_has_role(r.oid, c.relowner, 'usage')
        )
    )
order by program;

-- is_granted --
-- Whether the role of this session may read the list of migrations, which each program's role may; true before the first migration. One row.
select coalesce(has_table_privilege(to_regclass('schema_migrations'), 'select'), true);

-- make_role --
-- Make a role that may log in; {password} is the hash that Postgres keeps.
create role {role} login password {password};

-- set_password --
-- Give a role another password; {password} is the hash that Postgres keeps.
alter role {role} login password {password};

-- tables --
-- The names of all tables.
select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p');

-- functions --
-- The bodies of our functions.
select lower(prosrc) from pg_proc where pronamespace = 'public'::regnamespace and prosrc <> '';

-- revoke --
-- Take everything from a role; {role} is its name.
revoke all on all tables in schema public from {role};

-- enter --
-- Let it use the schema.
grant usage on schema public to {role};

-- grant_on --
-- Give it privileges on a table.
grant {privileges} on {table} to {role};
