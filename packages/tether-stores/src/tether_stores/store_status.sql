-- store_status: how much of Postgres is in use; its own views say so.

-- postgres --
-- One row: version, connections of clients, max_connections, size of this database in bytes, age in seconds of the oldest transaction.
select
    current_setting('server_version') as version,
    count(*)::integer as connections,
    current_setting('max_connections')::integer as connections_max,
    pg_database_size(current_database()) as database_bytes,
    coalesce(extract(epoch from clock_timestamp() - min(xact_start)), 0)::double precision as oldest_transaction_s
from pg_stat_activity
where backend_type = 'client backend';
