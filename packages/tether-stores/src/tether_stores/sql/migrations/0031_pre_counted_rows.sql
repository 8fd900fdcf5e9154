-- Count what there is. It is one statement, so it sees one state of all rows: what was changed before is counted with the rows, and
-- its changes are removed; what is changed later stays in the changes. Nobody who writes waits for it.
with forgotten as (
    delete from billing_attempt_count_changes
),
forgotten_words as (
    delete from row_count_changes
),
attempts as (
    select
        coalesce(run_id, 0) as run_id, account, (created_at at time zone 'UTC')::date as created_on, state,
        attempt_step(payment_stage, dispute_stage, leased_until, send_at) as step, canary,
        payment_stage >= 60 or dispute_stage > 0 as is_collected, dispute_stage in (1, 3) as is_charged_back,
        case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end as reason_code,
        count(*) as count, sum(amount_minor)::bigint as amount_minor
    from billing_attempts
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
),
counted as (
    insert into billing_attempt_counts (
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
    )
    select
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
    from attempts
)
insert into row_counts (subject, word, count, amount)
select 'billing_attempts', state, sum(count), sum(amount_minor) from attempts group by state
union all
select 'givebacks', state, count(*), sum(amount_minor) from givebacks group by state
union all
select 'webhook_events', 'processed', count(*), 0 from webhook_events where state = 'processed' having count(*) > 0
union all
select 'excess_deliveries', '', count(*), sum(deliveries) from excess_deliveries having count(*) > 0;
