-- Queries of the chaos test.

-- settable_clock --
-- A clock that can be set, in a schema of its own, which every role may read.
create schema settable;
create table settable.clock (ahead interval not null);
insert into settable.clock values ('0');
create function settable.clock_timestamp() returns timestamptz language sql volatile as
'select pg_catalog.clock_timestamp() + ahead from settable.clock';
grant usage on schema settable to public;
grant select on settable.clock to public;

-- use_settable_clock --
-- Have new sessions of {database} find that clock before Postgres' own.
alter database {database} set search_path = settable, pg_catalog, public;

-- step_clock --
-- Step the clock by %(by_s)s seconds.
update settable.clock set ahead = ahead + make_interval(secs => %(by_s)s);

-- now --
-- The present time by that clock. One row.
select clock_timestamp();

-- promote --
-- End the recovery of a standby: from now on it takes writes.
select pg_promote();

-- state_of --
-- The state of the attempt %(unique_id)s, and how long ago it came into it, in seconds. One row.
select state, extract(epoch from clock_timestamp() - updated_at)::float8
from billing_attempts where unique_id = %(unique_id)s;

-- file_read --
-- Whether the upload %(upload_id)s is read, and how long ago, in seconds. One row.
select state = 'completed', extract(epoch from clock_timestamp() - finished_at)::float8
from uploads where id = %(upload_id)s;

-- epochs --
-- How often the database went back, as far as it was noticed. One row.
select count(*) - 1 from database_epochs;

-- paused_runs --
-- The billing runs that are paused.
select id from billing_runs where state = 'paused' order by id;

-- cut_sessions --
-- End every other client session.
select count(pg_terminate_backend(pid)) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid();

-- files --
-- Every upload: id, state, object key, number of rows with a debtor, of rows with an error, and of debtors.
select
    u.id, u.state, u.object_key,
    (select count(distinct d.row_number) from debtors d where d.upload_id = u.id),
    (
        select count(distinct p.row_number) from problems p
        where p.upload_id = u.id and p.level = 'error'
        and not exists (select from debtors d where d.upload_id = u.id and d.row_number = p.row_number)
    ),
    (select count(*) from debtors d where d.upload_id = u.id)
from uploads u
order by u.id;

-- debits --
-- Every attempt of a billing run: its ids, debtor, run, state and amount.
select transaction_id, unique_id, debtor_id, run_id, state, amount_minor
from billing_attempts
where run_id is not null
order by id;

-- runs --
-- Every billing run.
select id from billing_runs;

-- billable --
-- The debtors that may be billed, of every upload that has a run.
select d.id
from debtors d
where d.verdict = 'clear' and exists (select from billing_runs r where r.upload_id = d.upload_id);

-- not_applied --
-- Notifications of debits that are not applied: their state and reason.
select concat_ws(' ', e.state, e.reason)
from webhook_events e
join billing_attempts a on a.unique_id = e.notification_id or a.id = e.attempt_id
where a.run_id is not null and e.state <> 'processed';

-- stored --
-- Number of stored notifications of debits, and of different ones. One row.
select count(*), count(distinct e.key)
from webhook_events e
join billing_attempts a on a.unique_id = e.notification_id
where a.run_id is not null and e.source = 'webhook';

-- open_debits --
-- Unfinished billing. One row: runs that are being planned, debits to be submitted, debits that are being submitted, and
-- debits without a known outcome.
select
    (select count(*) from billing_runs where state = 'planning'),
    count(*) filter (where submit_at is not null),
    count(*) filter (where leased_until is not null),
    count(*) filter (where payment_stage < 20)
from billing_attempts
where run_id is not null;

-- unresolved_debits --
-- Debits without a known outcome, by payment stage, why the latest inquiry did not resolve them, where they went, and how often they
-- were inquired about.
select payment_stage, unresolved_reason, submitted_to, inquiry_count, count(*)
from billing_attempts
where run_id is not null and payment_stage < 20
group by payment_stage, unresolved_reason, submitted_to, inquiry_count
order by count(*) desc, payment_stage
limit 20;

-- expire_leases --
-- Let the leases of calls that must have ended expire.
update billing_attempts
set
    submitted_at = submitted_at - interval '1 hour', leased_until = leased_until - interval '1 hour',
    updated_at = updated_at - interval '1 hour'
where leased_until is not null and submitted_at < %(now)s - make_interval(secs => %(call_s)s);

-- pass_hour --
-- Move the times of everything that waits back by an hour, but for status inquiries that are due within seconds: these may be under way, and
-- their time is the lease.
update billing_attempts
set
    submitted_at = submitted_at - interval '1 hour', submit_at = submit_at - interval '1 hour',
    updated_at = updated_at - interval '1 hour', inquire_at = inquire_at - interval '1 hour'
where
    run_id is not null and state in ('pending', 'unknown') and leased_until is null
    and (inquire_at > %(now)s::timestamptz + interval '10 seconds' or inquire_at is null);

-- retry_inquiries --
-- Make failed status inquiries due now.
update webhook_events set next_at = %(now)s where state = 'confirming' and failures > 0 and next_at > %(now)s;

-- lock_inbox --
-- Block writes to the inbox until this transaction ends.
lock table webhook_events in exclusive mode;
