-- billing_attempts: one try to collect one amount.
--
-- A row is committed before the gateway is called. From then on it only moves forward on its two tracks (see
-- tether_core.payments.attempt). Whoever changes rows locks them first, in the order of their ids, so that two workers with
-- notifications of the same payments wait for each other instead of deadlocking. What another system sent is among the
-- rows, without a run, and nothing ever sends it (imported_attempts.sql).

-- {attempt_columns} --
-- An attempt as the core knows it (tether_core.payments.attempt.Attempt).
a.id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.payment_stage, a.dispute_stage,
a.error_code, a.reason_code, a.iban_fingerprint, a.iban_masked

-- {listed_columns} --
-- An attempt in lists.
id, transaction_id, unique_id, state as status, amount_minor, currency, error_code, reason_code, debtor_id, updated_at,
run_id, due_item, try_number, submission_count, withheld, account, created_at

-- locked_by_ids --
-- Lock the attempts that n notifications speak of, and m more by row. Returns one row per attempt, locked until the
-- transaction ends. Each id is looked up by itself (the limit keeps the planner from anything else): what a batch costs
-- must not depend on how many attempts there are.
select {attempt_columns}
from billing_attempts a
where a.id = any(array(
    select found.id
    from unnest(%(unique_ids)b::text[]) as given (unique_id)
    cross join lateral (select id from billing_attempts where unique_id = given.unique_id limit 1) found
    union all
    select found.id
    from unnest(%(transaction_ids)b::text[]) as given (transaction_id)
    cross join lateral (select id from billing_attempts where transaction_id = given.transaction_id limit 1) found
    union all
    select unnest(%(ids)b::bigint[])
))
order by a.id
for update;

-- move --
-- Write n attempts as they were decided. Arrays of length n.
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
-- One attempt as the lists show it (attempt_lists.sql). 0 or 1 row.
select {listed_columns}
from billing_attempts
where id = %(id)s;

-- states --
-- How many attempts are in each state, by the counts that are kept (row_counts.sql). One row per state that occurs.
select word, sum(count)::bigint, sum(amount)::bigint
from (
    select word, count, amount from row_counts where subject = 'billing_attempts'
    union all
    select state, count, amount_minor from billing_attempt_count_changes
) counted
group by word
having sum(count) <> 0;

-- lease_for_inquiry --
-- Take a lease on up to %(limit)s attempts at some payment stages whose fate the gateway has to be asked for: never asked
-- and without news since %(silent_since)s, or due again. Oldest first. The lease is the next question's time; whoever
-- lives renews it, so a worker that dies costs seconds.
with first_time as (
    -- Each stage is read in the order of its index, so a backlog costs no more than what is taken of it.
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
-- Hold the lease on n attempts for longer, where it still is ours.
update billing_attempts set inquire_at = %(until)s where id = any(%(ids)b) and inquire_at = %(leased_until)s;

-- inquiry_due --
-- Whether any attempt at some payment stages is due for a question. One row.
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
-- Note when n attempts are to be asked about again. Arrays of length n.
update billing_attempts a
set inquiry_count = given.inquiry_count, inquire_at = given.inquire_at
from unnest(%(ids)b::bigint[], %(inquiry_count)b::smallint[], %(inquire_ats)b::timestamptz[]) as given (id, inquiry_count, inquire_at)
where a.id = given.id;

-- lock_returned --
-- Lock up to %(limit)s attempts that came back, with a reason, and were not looked at since; waiting for whoever is at
-- it, because how many tries a day holds is counted over all of them. Returns id, reason_code, the number of the try (1
-- where there is none), when the same due item was first tried, and whether another system made it.
select
    a.id, a.reason_code, coalesce(a.try_number, 1) as try_number,
    coalesce((
        select min(coalesce(first.submitted_at, first.created_at))
        from billing_attempts first
        where first.debtor_id = a.debtor_id and first.due_item = a.due_item
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
-- Write what follows for n returned attempts. Arrays of length n.
update billing_attempts a
set return_handled_at = %(now)s, retry_on = given.retry_on, retry_why = given.retry_why
from unnest(%(ids)b::bigint[], %(retry_ons)b::date[], %(retry_whys)b::text[]) as given (id, retry_on, retry_why)
where a.id = given.id;

-- exposed --
-- An attempt with what decides how long its money may go back. 0 or 1 row: the columns of `locked_by_ids`, then when it was
-- sent, or made where it was not yet, retry_on and retry_why.
select {attempt_columns}, coalesce(a.submitted_at, a.created_at) as submitted_at, a.retry_on, a.retry_why
from billing_attempts a
where a.id = %(id)s;

-- planned_retries --
-- How many tries after a return are planned on each day from %(from_on)s on.
select retry_on, count(*) from billing_attempts where retry_on >= %(from_on)s group by retry_on;

-- refunded_and_charged_back --
-- Attempts whose money went back by us and by the debtor's bank, for a person. Up to %(limit)s ids.
select id from billing_attempts
where payment_stage in (70, 80) and dispute_stage in (1, 3)
order by id desc
limit %(limit)s;

-- left_open --
-- How many attempts of unknown outcome have been asked about as often as may be. One row.
select count(*) from billing_attempts where state = 'unknown' and inquiry_count >= %(inquiry_count_max)s;
