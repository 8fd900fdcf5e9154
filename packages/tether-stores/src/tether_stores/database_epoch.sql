-- database_epochs: the epochs of the database (tether_core.database_epoch).
--
-- One row is current, the one without ended_at. Who notices that the database went back locks it, ends it and begins
-- the next one in a transaction; of several, one finds it. Who claims debits or makes new ones holds the current row
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

-- to_review --
-- The current epoch where older submissions are still to be reviewed, held for that. 0 or 1 row: number, began_at,
-- attempts_to, orders_to, attempts_reviewed_to, orders_reviewed_to.
select number, began_at, attempts_to, orders_to, attempts_reviewed_to, orders_reviewed_to
from database_epochs
where ended_at is null and reviewed_at is null
for no key update skip locked;

-- unfinished_attempts --
-- Up to %(limit)s debits of runs from %(after)s to %(to)s whose outcome is not known here. In the order of their ids.
select id
from billing_attempts
where
    id > %(after)s and id <= %(to)s and state in ('pending', 'unknown') and payment_stage <= 10 and dispute_stage = 0
    and run_id is not null
order by id
limit %(limit)s;

-- unfinished_orders --
-- Up to %(limit)s refunds and voids from %(after)s to %(to)s whose outcome is not known here. In the order of their ids.
select id
from refunds
where id > %(after)s and id <= %(to)s and state in ('pending', 'unknown') and payment_stage <= 10
order by id
limit %(limit)s;

-- reviewed --
-- Note how far older submissions were reviewed.
update database_epochs
set
    attempts_reviewed_to = %(attempts_reviewed_to)s, orders_reviewed_to = %(orders_reviewed_to)s,
    submissions = submissions + %(submissions)s, reviewed_at = %(reviewed_at)s
where number = %(number)s;

-- inquire_attempts_anew --
-- Have n debits inquired from the beginning of the schedule.
update billing_attempts set inquiry_count = 0, inquire_at = null where id = any(%(ids)s);

-- inquire_orders_anew --
-- Have n refunds and voids inquired from the beginning of the schedule.
update refunds set inquiry_count = 0, inquire_at = null where id = any(%(ids)s);

-- bounds --
-- The current epoch, held so that no other one begins before this transaction ends. 0 or 1 row: number, began_at,
-- attempts_to, debtors_to.
select number, began_at, attempts_to, debtors_to from database_epochs where ended_at is null for key share;

-- made_again --
-- Debits of a run, just made for debtors that a lost history may have debited under the same ids.
select id
from billing_attempts
where
    run_id = %(run_id)s and debtor_id = any(%(debtor_ids)s) and debtor_id <= %(debtors_to)s and submit_at is not null
    and submission_count = 0 and submitted_at is null
order by id;

-- latest_tries --
-- Of n debits those that are the latest known try at a due item of a debtor older than the current epoch. Returns id,
-- debtor_id, due_item, try_number, amount_minor, currency, iban_fingerprint.
select a.id, a.debtor_id, a.due_item, a.try_number as number, a.amount_minor, a.currency, a.iban_fingerprint
from billing_attempts a
join database_epochs e on e.ended_at is null
where
    a.id = any(%(ids)s) and a.debtor_id <= e.debtors_to and a.run_id is not null and a.due_item is not null
    and not exists (
        select from billing_attempts later
        where later.debtor_id = a.debtor_id and later.due_item = a.due_item and later.try_number > a.try_number
    )
order by a.id;

-- lists_to_want --
-- The current epoch where the gateway's lists of the lost days are still to be wanted, held for that. 0 or 1 row: number,
-- lost_since_at, began_at.
select number, lost_since_at as since, began_at as until
from database_epochs
where ended_at is null and lists_wanted_at is null
for no key update skip locked;

-- lists_wanted --
-- Note that these lists are wanted.
update database_epochs set lists_wanted_at = %(now)s where number = %(number)s;

-- current --
-- The current epoch for people. 0 or 1 row: number, reason, began_at, reviewed_at, submissions.
select number, reason, began_at, reviewed_at, submissions from database_epochs where ended_at is null;

-- durability --
-- The settings without which a commit may be lost. One row.
select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes');
