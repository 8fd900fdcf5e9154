-- billing_runs: collecting one due item from the debtors of an upload.
--
-- A run is planned in chunks, in the order of its debtors. Each chunk inserts attempts, counts verdicts and advances planned_to
-- in one transaction that locks the run, so a planner that dies loses only its chunk. A transaction that claims attempts for
-- submission locks the run in share mode, and pausing locks it exclusively. So once a pause is committed, nothing of the run is
-- claimed any more.
--
-- options, skipped and overrides are JSON of tether_core.billing.run_options.RunOptions, of verdict -> count, and of
-- tether_core.billing.overrides.Override.

-- add --
-- Create a run in the state "planning". Returns its id.
insert into billing_runs (
    upload_id, account, due_item, state, options, skipped, created_by, owner, created_at, updated_at, again, overrides,
    collection_plan_id
)
values (
    %(upload_id)s, %(account)s, %(due_item)s, 'planning', %(options)s, '{}', %(created_by)s, %(owner)s, %(now)s, %(now)s,
    %(again)s, %(overrides)s, %(collection_plan_id)s
)
returning id;

-- hold_upload --
-- Lock an upload until this transaction ends, so that orders and withdrawals of it wait for each other. 0 or 1 row: state,
-- dry_run.
select state, dry_run from uploads where id = %(upload_id)s for no key update;

-- ordered --
-- The existing runs of an upload. Returns id, due_item, state, and whether any debit was submitted; that is looked up for
-- cancelled runs only, since every other run counts anyway.
select
    r.id, r.due_item, r.state,
    r.state <> 'cancelled'
        or exists (select from billing_attempts a where a.run_id = r.id and a.submission_count > 0) as submitted
from billing_runs r
where r.upload_id = %(upload_id)s
order by r.id;

-- {run_columns} --
-- The columns of a run.
id, upload_id, account, due_item, state, options, planned_to, planned_count, planned_amount_minor, skipped,
warning, pause_reason, paused_from, released_share, created_by, created_at, updated_at, finished_at, again,
overrides, owner, awaits_release, released_by, collection_plan_id

-- by_id --
-- A run. 0 or 1 row.
select {run_columns}
from billing_runs
where id = %(id)s;

-- hold --
-- A run, locked for a change. 0 or 1 row.
select {run_columns}
from billing_runs
where id = %(id)s
for update;

-- of_plan --
-- The run that collects a due item of a collection plan from an upload, locked for a change. 0 or 1 row.
select {run_columns}
from billing_runs
where collection_plan_id = %(collection_plan_id)s and upload_id = %(upload_id)s and due_item = %(due_item)s
for update;

-- share --
-- A run, locked in share mode so that it cannot be paused until this transaction ends. 0 or 1 row.
select {run_columns}
from billing_runs
where id = %(id)s
for share;

-- hold_to_plan --
-- The run that waits for planning, is not locked, and whose last chunk was the longest ago: runs are planned in turns, so that a small
-- one does not wait for a large one. 0 or 1 row.
select {run_columns}
from billing_runs
where
    state = 'planning'
    -- Scheduled debits of a cancelled run would exclude their debtors from this one.
    and not exists (
        select from billing_runs cancelled
        join billing_attempts a on a.run_id = cancelled.id
        where cancelled.upload_id = billing_runs.upload_id and cancelled.state = 'cancelled' and a.submit_at is not null
    )
order by updated_at, id
limit 1
for update skip locked;

-- of_upload --
-- The runs of an upload, newest first. Up to %(limit)s rows.
select {run_columns}
from billing_runs
where upload_id = %(upload_id)s
order by id desc
limit %(limit)s;

-- listed --
-- Runs, newest first, before %(before_id)s, in %(state)s, of %(upload_id)s and of %(account)s where these are not null. Up to %(limit)s rows.
select {run_columns}
from billing_runs
where
    (%(before_id)s::bigint is null or id < %(before_id)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(upload_id)s::bigint is null or upload_id = %(upload_id)s)
    and (%(account)s::text is null or account = %(account)s)
order by id desc
limit %(limit)s;

-- live --
-- The runs that submit debits.
select {run_columns}
from billing_runs
where state in ('canary', 'running')
order by id;

-- unfinished --
-- The runs that are not finished.
select {run_columns}
from billing_runs
where finished_at is null
order by id;

-- submittable --
-- The runs that have a debit to submit now, without those of paused accounts. Returns id, account: one row per run, oldest first.
-- One index lookup per run, independent of the number of attempts.
select r.id, r.account
from billing_runs r
cross join lateral (
    select from billing_attempts a
    where a.run_id = r.id and a.canary >= (r.state = 'canary') and a.submit_at <= %(now)s
    order by a.canary desc, a.submit_at, a.id  -- the index's own order: any other plan would read submitted debits
    limit 1
) ready
where r.state in ('canary', 'running') and not exists (select from account_pauses p where p.account = r.account)
order by r.id;

-- cancelled_unsent --
-- Cancelled runs with debits that are still scheduled for submission. One id per run.
select r.id
from billing_runs r
where
    r.state = 'cancelled'
    and exists (select from billing_attempts a where a.run_id = r.id and a.submit_at is not null)
order by r.id;

-- to_plan --
-- Whether any run waits for planning. One row.
select exists (
    select from billing_runs
    where
        state = 'planning'
        and not exists (
            select from billing_runs cancelled
            join billing_attempts a on a.run_id = cancelled.id
            where
                cancelled.upload_id = billing_runs.upload_id and cancelled.state = 'cancelled' and a.submit_at is not null
        )
);

-- change --
-- Write the new state of a run, inside the transaction that holds it.
update billing_runs
set
    state = %(state)s, planned_to = %(planned_to)s, planned_count = %(planned_count)s,
    planned_amount_minor = %(planned_amount_minor)s, skipped = %(skipped)s, warning = %(warning)s,
    pause_reason = %(pause_reason)s, paused_from = %(paused_from)s, released_share = %(released_share)s,
    awaits_release = %(awaits_release)s, released_by = %(released_by)s, updated_at = %(now)s,
    finished_at = %(finished_at)s
where id = %(id)s;

-- unreleased_amount --
-- What a person ordered of an upload, and of any upload from %(since)s on, that no second person has released, in minor units. Of a cancelled
-- run its submitted debits count, but for refused ones. One row.
select coalesce(sum(
    case
        when ordered.state <> 'cancelled' then ordered.planned_amount_minor
        else (
            select coalesce(sum(counted.amount_minor), 0)
            from (
                select state, step, amount_minor from billing_attempt_counts where run_id = ordered.id
                union all
                select state, step, amount_minor from billing_attempt_count_changes where run_id = ordered.id
            ) counted
            where counted.step <> 'ready' and counted.state <> 'error'
        )
    end
), 0)::bigint
from (
    select id, state, planned_amount_minor
    from billing_runs
    where upload_id = %(upload_id)s and owner = %(owner)s and released_by is null
    union
    select id, state, planned_amount_minor
    from billing_runs
    where owner = %(owner)s and created_at >= %(since)s and collection_plan_id is null and released_by is null
) ordered;

-- progress --
-- The attempts of a run by state, step and canary, from the stored counts (row_counts.sql). One row per combination that occurs.
select state, step, canary, sum(count)::bigint as count, sum(amount_minor)::bigint as amount_minor
from (
    select state, step, canary, count, amount_minor from billing_attempt_counts where run_id = %(run_id)s
    union all
    select state, step, canary, count, amount_minor from billing_attempt_count_changes where run_id = %(run_id)s
) counted
group by 1, 2, 3
having sum(count) <> 0
order by 1, 2, 3;

-- canaries_open --
-- Whether any canary of a run has no response yet. One row.
select exists (
    select from billing_attempts
    where
        run_id = %(run_id)s and state in ('pending', 'unknown') and canary and payment_stage <= 10 and dispute_stage = 0
);

-- returns_of_upload --
-- Collected debits of an upload, and how many of them are charged back, from the stored counts. One row.
select coalesce(sum(counted.count), 0)::bigint, coalesce(sum(counted.count) filter (where counted.is_charged_back), 0)::bigint
from (
    select c.count, c.is_charged_back, c.reason_code
    from billing_runs r
    join billing_attempt_counts c on c.run_id = r.id
    where r.upload_id = %(upload_id)s and c.is_collected
    union all
    select c.count, c.is_charged_back, c.reason_code
    from billing_runs r
    join billing_attempt_count_changes c on c.run_id = r.id
    where r.upload_id = %(upload_id)s and c.is_collected
) counted
where counted.reason_code <> all(%(excluded)s::text[]);

-- returns_of_account --
-- Collected debits of an account made on the day of %(since)s or later, and how many of them are charged back, from the stored
-- counts. One row.
select coalesce(sum(counted.count), 0)::bigint, coalesce(sum(counted.count) filter (where counted.is_charged_back), 0)::bigint
from (
    select count, is_charged_back, reason_code
    from billing_attempt_counts
    where account = %(account)s and created_on >= (%(since)s::timestamptz at time zone 'UTC')::date and is_collected
    union all
    select count, is_charged_back, reason_code
    from billing_attempt_count_changes
    where account = %(account)s and created_on >= (%(since)s::timestamptz at time zone 'UTC')::date and is_collected
) counted
where counted.reason_code <> all(%(excluded)s::text[]);

-- open_attempts --
-- Whether any attempt of a run may still be submitted, is being submitted, or has an unknown outcome. One row.
select exists (
    select from billing_attempts
    where run_id = %(run_id)s and state in ('pending', 'unknown') and payment_stage <= 10 and dispute_stage = 0
);

-- upload_state --
-- State and dry_run of an upload. 0 or 1 row.
select state, dry_run from uploads where id = %(upload_id)s;
