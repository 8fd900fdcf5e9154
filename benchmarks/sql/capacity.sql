-- What notifications take up in Postgres.

-- usage --
-- One row: bytes of the database, bytes of WAL written so far, and flushes of WAL.
select
    pg_database_size(current_database())::bigint as database_bytes,
    (select wal_bytes from pg_stat_wal)::bigint as wal_bytes,
    (select coalesce(sum(fsyncs), 0) from pg_stat_io where object = 'wal')::bigint as wal_flushes;
