-- schema_migrations: which migrations have been applied, and when. Written only by tether_stores.migrate.

-- try_lock --
-- Whether this session may migrate now: one does at a time, until its session ends. The number is "tether" as hex.
select pg_try_advisory_lock(x'746574686572'::bigint);

-- create --
create table if not exists schema_migrations (
    name text primary key,
    applied_at timestamptz not null
);

-- done --
-- One row per applied migration.
select name from schema_migrations;

-- set_timeouts --
-- Rather fail than make every request queue behind a waiting ALTER TABLE.
select set_config('lock_timeout', '5s', true), set_config('statement_timeout', '15min', true);

-- set_timeouts_concurrently --
-- For the session. Nobody who writes queues behind an index that is built concurrently, or that waits to be; it waits for all
-- transactions that are open, so a lock timeout of seconds would give it up for a report that takes a minute.
select set_config('lock_timeout', '1h', false), set_config('statement_timeout', '6h', false);

-- reset_timeouts --
-- For the session: what holds without our settings.
select set_config('lock_timeout', null, false), set_config('statement_timeout', null, false);

-- invalid --
-- Whether there is an index of that name that a failed build left behind. 0 or 1 row.
select i.indexrelid
from pg_index i
where i.indexrelid = to_regclass(%(index)s) and not i.indisvalid;

-- drop_invalid --
-- Remove it; {index} is its name.
drop index concurrently if exists {index};

-- mark --
insert into schema_migrations (name, applied_at) values (%(name)s, %(now)s);
