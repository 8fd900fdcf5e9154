-- database_epochs: the epochs of the database (tether_core.database_epoch).
--
-- One row is current, the one without ended_at. A process that detects that the database went back locks it, ends it and begins
-- the next one in a transaction; of several, one finds it. A transaction that claims debits or makes new ones holds the current row
-- for its transaction, so the next epoch waits for them and knows all rows that were made before it. A claim also needs
-- reviewed_at: until all older submissions are inquiries, nothing is submitted.

-- server --
-- What the server says of itself. A standby writes no timeline. One row: system_id, timeline, position, started_at, and
-- whether it is a standby.
select
    (select system_identifier::text from pg_control_system()) as system_id,
    case when not pg_is_in_recovery()
        then ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
    end as timeline,
    case when not pg_is_in_recovery() then (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint end as position,
    extract(epoch from pg_postmaster_start_time())::text as started_at, pg_is_in_recovery() as is_standby;

-- server_closed --
-- The same of a server that shows neither its system identifier nor its WAL. One row.
select
    null as system_id, null as timeline, null as position, extract(epoch from pg_postmaster_start_time())::text as started_at,
    pg_is_in_recovery() as is_standby;

-- newest --
-- The current epoch. 0 or 1 row: number, token, system_id, timeline, pulse, reason, age_s, installation, and whether all
-- older submissions were reviewed.
select
    number, token, system_id, timeline, pulse, reason, extract(epoch from clock_timestamp() - began_at)::float,
    installation, reviewed_at is not null
from database_epochs
where ended_at is null;

-- history --
-- The name of the current history of the notifications. A server process never goes back, and a table that was restored or
-- emptied has another file. 0 or 1 row: name, token, started_at.
select
    token || '.' || extract(epoch from pg_postmaster_start_time())::text || '.'
        || coalesce(pg_relation_filenode('webhook_events'), 0) as name,
    token, extract(epoch from pg_postmaster_start_time())::text as started_at
from database_epochs
where ended_at is null;

-- tokens --
-- The tokens of all epochs.
select token from database_epochs;

-- hold --
-- The current epoch, held so that no other one begins before this transaction ends; the columns of `newest`.
select
    number, token, system_id, timeline, pulse, reason, extract(epoch from clock_timestamp() - began_at)::float,
    installation, reviewed_at is not null
from database_epochs
where ended_at is null
for key share;

-- hold_alone --
-- The current epoch, held so that it can be ended, after all who hold it; the columns of `newest`.
select
    number, token, system_id, timeline, pulse, reason, extract(epoch from clock_timestamp() - began_at)::float,
    installation, reviewed_at is not null
from database_epochs
where ended_at is null
for update;

-- pulse --
-- Count that a worker has compared, unless the server or the epoch is not as it was compared. Returns the new pulse.
update database_epochs
set pulse = pulse + 1, pulse_at = %(now)s
where
    ended_at is null and token = %(token)s and pulse >= %(pulse)s
    and extract(epoch from pg_postmaster_start_time())::text = %(started_at)s
returning pulse;

-- end_current --
-- End the current epoch, where it is still this one.
update database_epochs set ended_at = %(now)s where ended_at is null and token = %(token)s;

-- begin --
-- Begin an epoch. A first one has nothing to review. Returns its number, or no row where another process was faster.
insert into database_epochs (
    number, token, installation, reason, system_id, timeline, pulse, pulse_at, began_at, lost_since_at, attempts_to,
    orders_to, debtors_to, attempts_reviewed_to, orders_reviewed_to, submissions, reviewed_at, lists_wanted_at
)
select
    coalesce(max(e.number), 0) + 1, %(token)s, %(installation)s, %(reason)s, %(system_id)s, %(timeline)s, 0, %(now)s,
    %(now)s,
    case when %(reason)s <> 'first' then coalesce(max(e.pulse_at), %(now)s) end,
    case when %(reason)s <> 'first' then coalesce((select max(id) from billing_attempts), 0) else 0 end,
    case when %(reason)s <> 'first' then coalesce((select max(id) from refunds), 0) else 0 end,
    case when %(reason)s <> 'first' then coalesce((select max(id) from debtors), 0) else 0 end,
    0, 0, 0,
    case when %(reason)s = 'first' then %(now)s end,
    case when %(reason)s = 'first' then %(now)s end
from database_epochs e
on conflict do nothing
returning number;

-- durability --
-- The settings without which a commit may be lost. One row.
select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes');
