-- store_status: how much of Postgres is in use; its own views say so.

-- postgres --
-- One row: version, connections, max_connections, size of this database in bytes, age in seconds of the oldest transaction.
-- A role sees of pg_stat_activity when its own sessions began, and of the others only that they exist: connections are counted where all see all.
select
    current_setting('server_version') as version,
    (select coalesce(sum(numbackends), 0) from pg_stat_database)::integer as connections,
    current_setting('max_connections')::integer as connections_max,
    pg_database_size(current_database()) as database_bytes,
    coalesce(extract(epoch from clock_timestamp() - min(xact_start)), 0)::double precision as oldest_transaction_s
from pg_stat_activity
where backend_type = 'client backend';
