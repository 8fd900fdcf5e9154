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
