-- schema_migrations: which migrations have been applied, and when. Written only by tether_stores.migrate.

-- lock --
-- One migrating process at a time; released when its session ends. The number is "tether" as hex.
select pg_advisory_lock(x'746574686572'::bigint);

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

-- mark --
insert into schema_migrations (name, applied_at) values (%(name)s, %(now)s);
