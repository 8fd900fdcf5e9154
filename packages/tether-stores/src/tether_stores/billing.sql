-- billing_runs: collecting one due item from the debtors of an upload.
--
-- A run is planned in chunks, in the order of its debtors. Each chunk inserts attempts, counts verdicts and advances planned_to
-- in one transaction that locks the run, so a planner that dies loses only its chunk. A transaction that claims attempts for
-- submission locks the run in share mode, and pausing locks it exclusively. So once a pause is committed, nothing of the run is
-- claimed any more.
--
-- options, skipped and overrides are JSON of tether_core.billing.eligibility.RunOptions, of verdict -> count, and of
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
-- Runs, newest first, before %(before_id)s, in %(state)s and of %(upload_id)s where these are not null. Up to %(limit)s rows.
select {run_columns}
from billing_runs
where
    (%(before_id)s::bigint is null or id < %(before_id)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(upload_id)s::bigint is null or upload_id = %(upload_id)s)
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
-- What a person ordered of an upload that no second person has released, in minor units; cancelled runs do not count. One row.
select coalesce(sum(planned_amount_minor), 0)::bigint
from billing_runs
where upload_id = %(upload_id)s and owner = %(owner)s and released_by is null and state <> 'cancelled';

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

-- owing --
-- What decides whether an item may be collected from debtors: either the next %(limit)s of an upload after a row, or n debtors by
-- id. Attempts in %(without)s are excluded: those that are about to be submitted. Ordered by id.
select
    d.id, d.iban, d.iban_fingerprint, d.amount_minor, d.currency, d.name, d.first_name, d.last_name, d.bic, d.street,
    d.house_number, d.postcode, d.city, d.province, d.country, d.mandate_id, d.reference, d.verdict, d.cause,
    d.reasons::text, d.taken_at, d.upload_id, d.customer_id, d.email,
    listed.action as listed, listed.reason_code as listed_reason,
    item.state as item_state, coalesce(item.returned, false) as item_returned, coalesce(item.tries, 0) as tries,
    item.refunds as item_refunds,
    coalesce(item.next_number, 1) as next_number,
    account.charged_back_for, coalesce(account.paid_minor, 0) as paid_minor, account.refunds,
    checked.score, checked.answered, checked.result
from debtors d
left join lateral (
    select b.action, b.reason_code
    from blacklist b
    where
        b.iban_fingerprint = d.iban_fingerprint and b.lifted_at is null
        and (b.expires_at is null or b.expires_at > %(now)s)
    order by b.action, b.id  -- "block" comes before "hold"
    limit 1
) listed on true
left join lateral (
    select
        case
            when bool_or(a.state = 'approved') then 'approved'
            when bool_or(a.state = 'unknown') then 'unknown'
            when bool_or(a.state = 'pending') then 'pending'
        end as state,
        bool_or(a.dispute_stage in (1, 3)) as returned,
        count(*) filter (where a.not_submitted_reason is null)::integer as tries,
        -- Refunded or voided while the row had another account, which a person has edited since.
        json_agg(json_build_array(
            a.id, case when a.payment_stage = 70 then 'voided' else 'refunded' end, coalesce(a.due_item, 'once'), true, true,
            extract(day from %(now)s - coalesce(a.submitted_at, a.created_at))::integer, null, null, null
        )) filter (where a.payment_stage in (70, 80) and a.iban_fingerprint <> d.iban_fingerprint) as refunds,
        coalesce(max(a.try_number), 0) + 1 as next_number
    from billing_attempts a
    where
        a.debtor_id = d.id and coalesce(a.due_item, 'once') = %(due_item)s
        and a.id <> all(%(without)s::bigint[])
) item on true
left join lateral (
    select
        array_agg(distinct coalesce(a.reason_code, '')) filter (
            where a.dispute_stage in (1, 3) and forgiven.attempt_id is null
        ) as charged_back_for,
        sum(a.amount_minor) filter (where a.state in ('pending', 'unknown', 'approved'))::bigint as paid_minor,
        -- Refunded or voided; the core decides which of them were for the same debit.
        json_agg(json_build_array(
            a.id, case when a.payment_stage = 70 then 'voided' else 'refunded' end, coalesce(a.due_item, 'once'),
            a.debtor_id = d.id, other.upload_id = d.upload_id,
            extract(day from %(now)s - coalesce(a.submitted_at, a.created_at))::integer,
            other.reference, other.mandate_id, other.customer_id
        )) filter (where a.payment_stage in (70, 80)) as refunds
    from billing_attempts a
    join debtors other on other.id = a.debtor_id
    left join forgiven_disputes forgiven
        on forgiven.attempt_id = a.id and forgiven.dispute_stage = a.dispute_stage
    where a.iban_fingerprint = d.iban_fingerprint and a.id <> all(%(without)s::bigint[])
) account on true
left join vop_checks checked on checked.debtor_id = d.id and checked.state = 'checked'
where
    (%(ids)s::bigint[] is null or d.id = any(%(ids)s::bigint[]))
    -- Written as a range: with an equality Postgres may scan the debtors of all uploads by id.
    and (
        %(upload_id)s::bigint is null
        or ((d.upload_id, d.id) > (%(upload_id)s, %(after)s) and (d.upload_id, d.id) < (%(upload_id)s + 1, 0))
    )
order by d.upload_id, d.id
limit %(limit)s;

-- elsewhere --
-- The submitted debits of n accounts in any upload, and the rows of these accounts that may become debits, from %(since)s on. A
-- row counts for the runs of later uploads. 0 to n rows:
-- iban_fingerprint, reference, mandate_id, customer_id, amount_minor, time, state (null for a row, "forgiven" where its chargeback
-- was), upload_id, due_item, debtor id.
with accounts as materialized (
    select distinct iban_fingerprint from unnest(%(fingerprints)s::bytea[]) as given (iban_fingerprint)
),
tried as materialized (
    select a.iban_fingerprint, t.*
    from accounts a
    cross join lateral (
        select
            t.debtor_id, t.amount_minor, coalesce(t.submitted_at, t.created_at) as at, coalesce(t.due_item, 'once') as due_item,
            case
                when exists (
                    select from forgiven_disputes f where f.attempt_id = t.id and f.dispute_stage = t.dispute_stage
                ) then 'forgiven'
                else t.state
            end as state
        from billing_attempts t
        where
            t.iban_fingerprint = a.iban_fingerprint and t.not_submitted_reason is null
            and (t.run_id is null or t.submission_count > 0 or t.payment_stage > 10 or t.dispute_stage > 0)
            and t.id <> all(%(without)s::bigint[])
        offset 0
    ) t
)
select
    t.iban_fingerprint, d.reference, d.mandate_id, d.customer_id, t.amount_minor, t.at, t.state, d.upload_id, t.due_item, d.id
from tried t
join debtors d on d.id = t.debtor_id
union all
select
    a.iban_fingerprint, d.reference, d.mandate_id, d.customer_id, d.amount_minor, d.created_at, null, d.upload_id, null, d.id
from accounts a
cross join lateral (
    select d.*
    from debtors d
    where
        d.iban_fingerprint = a.iban_fingerprint and d.verdict = 'clear' and d.upload_id is not null and d.created_at >= %(since)s
        and not exists (select from uploads u where u.id = d.upload_id and u.state = 'withdrawn')
    offset 0
) d
where not exists (select from tried t where t.debtor_id = d.id);

-- upload_state --
-- State and dry_run of an upload. 0 or 1 row.
select state, dry_run from uploads where id = %(upload_id)s;

-- other_items --
-- Open and collected debits of n debtors for other due items than %(due_item)s. One row per item: due_item, number of debtors,
-- sum of amounts.
select coalesce(a.due_item, 'once'), count(distinct a.debtor_id), sum(a.amount_minor)::bigint
from billing_attempts a
where
    a.debtor_id = any(%(debtor_ids)s::bigint[]) and coalesce(a.due_item, 'once') <> %(due_item)s
    and a.state in ('pending', 'unknown', 'approved')
group by 1
order by 1;
