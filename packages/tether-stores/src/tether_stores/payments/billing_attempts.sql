-- billing_attempts: one try to collect one amount.
--
-- A row is committed before the gateway is called. From then on it only moves forward on its two tracks (see
-- tether_core.payments.attempt). Rows are locked before a change, in the order of their ids, so that two transactions that
-- wait for each other's payments do not deadlock. Batches of notifications do not wait: they leave those payments for later. Debits
-- of another system are among the rows, without a run, and are never submitted (imported_attempts.sql).

-- {attempt_columns} --
-- An attempt as the core knows it (tether_core.payments.attempt.Attempt).
a.id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.payment_stage, a.dispute_stage,
a.error_code, a.reason_code, a.iban_fingerprint, a.iban_masked

-- {listed_columns} --
-- An attempt in lists.
id, transaction_id, unique_id, state as status, amount_minor, currency, error_code, reason_code, debtor_id, updated_at,
run_id, due_item, try_number, submission_count, not_submitted_reason, account, created_at

-- {named} --
-- The attempts that n notifications name, and m more by row. Each id is looked up by itself (the limit forces that plan): the cost of
-- a batch must not depend on the number of attempts.
select found.id
from unnest(%(unique_ids)b::text[]) as given (unique_id)
cross join lateral (select id from billing_attempts where unique_id = given.unique_id limit 1) found
union all
select found.id
from unnest(%(transaction_ids)b::text[]) as given (transaction_id)
cross join lateral (select id from billing_attempts where transaction_id = given.transaction_id limit 1) found
union all
select unnest(%(ids)b::bigint[])

-- locked_by_ids --
-- Lock what is named until the transaction ends.
select {attempt_columns}
from billing_attempts a
where a.id = any(array({named}))
order by a.id
for update;

-- lock_free --
-- The same without waiting: what another transaction has locked is left out.
select {attempt_columns}
from billing_attempts a
where a.id = any(array({named}))
order by a.id
for update skip locked;

-- busy --
-- Of what is named, the ids of attempts that exist and are not among the locked ones: id, unique_id, transaction_id.
select a.id, a.unique_id, a.transaction_id
from billing_attempts a
where a.id = any(array({named})) and a.id <> all(%(locked_ids)b::bigint[]);

-- move --
-- Write the new state of n attempts. Arrays of length n.
update billing_attempts a
set
    unique_id = given.unique_id, state = given.state, payment_stage = given.payment_stage,
    dispute_stage = given.dispute_stage, error_code = given.error_code, reason_code = given.reason_code,
    updated_at = %(now)s
from unnest(
    %(ids)b::bigint[], %(unique_ids)b::text[], %(states)b::text[], %(payment_stages)b::smallint[],
    %(dispute_stages)b::smallint[], %(error_codes)b::text[], %(reason_codes)b::text[]
) as given (id, unique_id, state, payment_stage, dispute_stage, error_code, reason_code)
where a.id = given.id;

-- by_id --
-- One attempt. 0 or 1 row.
select {listed_columns}
from billing_attempts
where id = %(id)s;

-- states --
-- Attempts by state, from the stored counts (row_counts.sql). One row per state that occurs.
select word, sum(count)::bigint, sum(amount)::bigint
from (
    select word, count, amount from row_counts where subject = 'billing_attempts'
    union all
    select state, count, amount_minor from billing_attempt_count_changes
) counted
group by word
having sum(count) <> 0;

-- lease_for_inquiry --
-- Lease up to %(limit)s attempts at some payment stages that need a status inquiry: without an inquiry and without news since
-- %(silent_since)s, or due again. Oldest first. The lease is the time of the next inquiry; the worker renews it, so after its
-- death the rows are due again within seconds.
with first_time as (
    -- Each stage is read in the order of its index, so the cost does not grow with the backlog.
    select found.id, found.at
    from unnest(%(payment_stages)b::smallint[]) as stages (stage)
    cross join lateral (
        select id, updated_at as at
        from billing_attempts
        where
            payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
            and inquiry_count < %(inquiry_count_max)s and inquire_at is null and updated_at <= %(silent_since)s
        order by updated_at
        limit %(limit)s
        for update skip locked
    ) found
),
further_time as (
    select found.id, found.at
    from unnest(%(payment_stages)b::smallint[]) as stages (stage)
    cross join lateral (
        select id, inquire_at as at
        from billing_attempts
        where
            payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
            and inquiry_count < %(inquiry_count_max)s and inquire_at <= %(now)s
        order by inquire_at
        limit %(limit)s
        for update skip locked
    ) found
),
due as (
    select id
    from (select id, at from first_time union all select id, at from further_time) found
    order by at, id
    limit %(limit)s
)
update billing_attempts a
set inquire_at = %(leased_until)s
from due
where a.id = due.id
returning a.id, a.account, a.transaction_id, a.unique_id, a.payment_stage, a.inquiry_count, a.submitted_to;

-- renew --
-- Extend the lease of n attempts that are still under it.
update billing_attempts set inquire_at = %(until)s where id = any(%(ids)b) and inquire_at = %(leased_until)s;

-- inquiry_due --
-- Whether any attempt at some payment stages is due for a status inquiry. One row.
select exists (
    select
    from unnest(%(payment_stages)b::smallint[]) as stages (stage)
    cross join lateral (
        (
            select
            from billing_attempts
            where
                payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
                and inquiry_count < %(inquiry_count_max)s and inquire_at is null and updated_at <= %(silent_since)s
            order by updated_at  -- the index's own order: any other way would read what is not due
            limit 1
        )
        union all
        (
            select
            from billing_attempts
            where
                payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
            and inquiry_count < %(inquiry_count_max)s and inquire_at <= %(now)s
            order by inquire_at
            limit 1
        )
    ) found
);

-- reschedule --
-- Write the next inquiry of n attempts. Arrays of length n.
update billing_attempts a
set inquiry_count = given.inquiry_count, inquire_at = given.inquire_at
from unnest(%(ids)b::bigint[], %(inquiry_count)b::smallint[], %(inquire_ats)b::timestamptz[]) as given (id, inquiry_count, inquire_at)
where a.id = given.id;

-- lock_returned --
-- Lock up to %(limit)s returned attempts with a reason code whose return is not handled yet. Waits for other transactions
-- instead of skipping their rows, because the limit of retries a day is counted over all of them.
select
    a.id, a.reason_code, coalesce(a.try_number, 1) as try_number,
    coalesce((
        select min(coalesce(first.submitted_at, first.created_at))
        from billing_attempts first
        where first.debtor_id = a.debtor_id and first.due_item = a.due_item and first.not_submitted_reason is null
    ), a.submitted_at, a.created_at) as first_tried_at,
    (select true from imported_attempts i where i.attempt_id = a.id) is not null as imported
from billing_attempts a
where a.return_handled_at is null and a.reason_code is not null and a.dispute_stage in (1, 3)
order by a.id
limit %(limit)s
for update of a;

-- any_returned --
-- Whether `lock_returned` would find any attempt. One row.
select exists (
    select from billing_attempts
    where return_handled_at is null and reason_code is not null and dispute_stage in (1, 3)
);

-- handle_returns --
-- Write the decisions about n returned attempts. Arrays of length n.
update billing_attempts a
set
    return_handled_at = %(now)s, retry_on = given.retry_on, retry_why = given.retry_why,
    return_policy_version = %(policy_version)s
from unnest(%(ids)b::bigint[], %(retry_ons)b::date[], %(retry_whys)b::text[]) as given (id, retry_on, retry_why)
where a.id = given.id;

-- exposed --
-- An attempt with what decides how long its money may go back. 0 or 1 row.
select {attempt_columns}, coalesce(a.submitted_at, a.created_at) as submitted_at, a.retry_on, a.retry_why,
    a.return_policy_version
from billing_attempts a
where a.id = %(id)s;

-- planned_retries --
-- Retries after returns planned for each day from %(from_on)s on.
select retry_on, count(*) from billing_attempts where retry_on >= %(from_on)s group by retry_on;

-- refunded_and_charged_back --
-- Attempts that were both refunded and charged back, for a person. Up to %(limit)s ids.
select id from billing_attempts
where payment_stage in (70, 80) and dispute_stage in (1, 3)
order by id desc
limit %(limit)s;

-- left_open --
-- Attempts of unknown outcome that have had all their status inquiries. One row.
select count(*) from billing_attempts where state = 'unknown' and inquiry_count >= %(inquiry_count_max)s;
