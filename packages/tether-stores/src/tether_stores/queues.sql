-- queue_pauses: queues that no worker serves now, and what waits on each queue.
--
-- A row is a pause that a person ordered; resuming removes it. Workers read all rows every few seconds (workers.sql has their own rows).
-- What waits is read from the tables of the work itself, because a queue in Redis only wakes (tether_core.jobs).

-- pause --
-- Pause a queue. Returns its row; none where it is paused already.
insert into queue_pauses (queue, paused_by, reason, paused_at)
values (%(queue)s, %(paused_by)s, %(reason)s, %(now)s)
on conflict (queue) do nothing
returning queue, paused_by, reason, paused_at;

-- resume --
-- Resume a queue. Returns the row of its pause; none where it is not paused.
delete from queue_pauses where queue = %(queue)s returning queue, paused_by, reason, paused_at;

-- pauses --
-- All pauses, at most one per queue: queue, paused_by, reason, paused_at.
select queue, paused_by, reason, paused_at from queue_pauses order by queue;

-- backlogs --
-- What waits on each queue: rows that are due or in progress, at most %(rows_max)s of each kind, and for how many seconds the oldest has
-- been due. One row per queue: queue, rows, oldest_s. Each kind is read by the index that its worker claims it by.
select queue, count(at) as rows, coalesce(extract(epoch from %(now)s - min(at)), 0)::double precision as oldest_s
from (
    (
        select 'webhooks' as queue, next_at as at from webhook_events
        where state = 'waiting' and next_at <= %(now)s
        order by next_at
        limit %(rows_max)s
    )
    union all
    (
        select 'webhooks', next_at from webhook_events
        where state = 'confirming' and next_at <= %(now)s
        order by next_at
        limit %(rows_max)s
    )
    union all
    (
        select 'billing', ready.submit_at
        from billing_runs r
        cross join lateral (
            select a.submit_at
            from billing_attempts a
            where a.run_id = r.id and a.canary >= (r.state = 'canary') and a.submit_at <= %(now)s
            order by a.canary desc, a.submit_at, a.id
            limit %(rows_max)s
        ) ready
        where r.state in ('canary', 'running')
        limit %(rows_max)s
    )
    union all
    (select 'billing', updated_at from billing_runs where state = 'planning' limit %(rows_max)s)
    union all
    (select 'billing', submit_at from refunds where submit_at <= %(now)s order by submit_at limit %(rows_max)s)
    union all
    (select 'billing', updated_at from run_voids where state = 'working' limit %(rows_max)s)
    union all
    (
        select 'reconciliation', found.at
        from (values (10::smallint, %(unknown_since)s::timestamptz), (20::smallint, %(pending_since)s::timestamptz))
            as stages (stage, silent_since)
        cross join lateral (
            (
                select updated_at as at
                from billing_attempts
                where
                    payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
                    and inquiry_count < %(inquiry_count_max)s and inquire_at is null and updated_at <= stages.silent_since
                order by updated_at
                limit %(rows_max)s
            )
            union all
            (
                select inquire_at
                from billing_attempts
                where
                    payment_stage = stages.stage and payment_stage in (10, 20, 30) and dispute_stage = 0
                    and inquiry_count < %(inquiry_count_max)s and inquire_at <= %(now)s
                order by inquire_at
                limit %(rows_max)s
            )
        ) found
    )
    union all
    (
        select 'reconciliation', inquire_at from inquiry_order_attempts
        where inquire_at <= %(now)s
        order by inquire_at
        limit %(rows_max)s
    )
    union all
    (
        select 'reconciliation', due_at from report_fetches
        where due_at <= %(now)s
        order by due_at
        limit %(rows_max)s
    )
    union all
    (
        select 'default', least(due_at, %(now)s) from uploads
        where due_at is not null and (due_at <= %(now)s or lease is not null)
        order by due_at
        limit %(rows_max)s
    )
    union all
    (
        select 'vop', next_at from vop_checks
        where state = 'waiting' and next_at <= %(now)s
        order by next_at
        limit %(rows_max)s
    )
    union all
    select queue, null from unnest(%(queues)s::text[]) as known (queue)
) waiting
group by queue
order by queue;

-- retry_parked --
-- Replay up to %(limit)s parked notifications, oldest first, as `replay` of webhook_events does for one. Returns their number.
with parked as (
    select id from webhook_events where state = 'parked' order by id limit %(limit)s for update skip locked
),
replayed as (
    update webhook_events e
    set
        state = 'waiting', failures = 0, next_at = %(now)s, reason = null, outcome = null, inquiries_began_at = null,
        confirmed_status = case when source = 'report' then confirmed_status end,
        confirmed_error_code = case when source = 'report' then confirmed_error_code end,
        confirmed_reason_code = case when source = 'report' then confirmed_reason_code end,
        confirmed_transaction_id = case when source = 'report' then confirmed_transaction_id end,
        confirmed_amount_minor = null, confirmed_currency = null,
        confirmed_at = case when source = 'report' then confirmed_at end
    from parked
    where e.id = parked.id
    returning 1
)
select count(*) from replayed;

-- retry_notifications --
-- Make up to %(limit)s notifications due that wait for their next try, and start their retry schedule again. Returns their number.
with deferred as (
    select id from webhook_events
    where state = 'waiting' and next_at > %(now)s
    order by next_at
    limit %(limit)s
    for update skip locked
),
retried as (
    update webhook_events e set next_at = %(now)s, failures = 0 from deferred where e.id = deferred.id returning 1
)
select count(*) from retried;

-- retry_uploads --
-- Make up to %(limit)s uploads due that wait for their next turn and that no worker holds. Returns their number.
with deferred as (
    select id from uploads
    where due_at > %(now)s and lease is null
    order by due_at
    limit %(limit)s
    for update skip locked
),
retried as (update uploads u set due_at = %(now)s from deferred where u.id = deferred.id returning 1)
select count(*) from retried;

-- retry_report_fetches --
-- Make up to %(limit)s report fetches due that wait for their next try. Returns their number.
with deferred as (
    select account, list, day_on from report_fetches
    where due_at > %(now)s and (leased_until is null or leased_until <= %(now)s)
    order by due_at
    limit %(limit)s
    for update skip locked
),
retried as (
    update report_fetches f
    set due_at = %(now)s
    from deferred d
    where f.account = d.account and f.list = d.list and f.day_on = d.day_on
    returning 1
)
select count(*) from retried;

-- retry_checks --
-- Make up to %(limit)s account checks due that wait for their next try. Returns their number.
with deferred as (
    select debtor_id from vop_checks
    where state = 'waiting' and next_at > %(now)s and (leased_until is null or leased_until <= %(now)s)
    order by next_at
    limit %(limit)s
    for update skip locked
),
retried as (
    update vop_checks v set next_at = %(now)s from deferred where v.debtor_id = deferred.debtor_id returning 1
)
select count(*) from retried;
