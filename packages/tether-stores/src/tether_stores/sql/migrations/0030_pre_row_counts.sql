-- Counts of rows that are kept as rows are written: tables and triggers.
-- Counts of rows, so that nobody has to read a large table for them (tether_stores.row_counts). Who changes rows writes what that
-- changes of the counts, in the same transaction and as rows of its own, so that no two writers wait for each other; the worker adds
-- these changes to the counts from time to time. A count is the sum of both.
create table row_counts (
    subject text not null,
    word text not null,
    count bigint not null,
    amount bigint not null,
    primary key (subject, word)
);
create table row_count_changes (
    id bigint generated always as identity primary key,
    subject text not null,
    word text not null,
    count bigint not null,
    amount bigint not null
);
-- Of billing attempts by what billing looks at; run_id is 0 for those of no run.
create table billing_attempt_counts (
    run_id bigint not null,
    account text not null,
    created_on date not null,
    state text not null,
    step text not null,
    canary boolean not null,
    is_collected boolean not null,
    is_charged_back boolean not null,
    reason_code text not null,
    count bigint not null,
    amount_minor bigint not null,
    primary key (run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code)
);
create index billing_attempt_counts_by_account on billing_attempt_counts (account, created_on) where is_collected;
create table billing_attempt_count_changes (
    id bigint generated always as identity primary key,
    run_id bigint not null,
    account text not null,
    created_on date not null,
    state text not null,
    step text not null,
    canary boolean not null,
    is_collected boolean not null,
    is_charged_back boolean not null,
    reason_code text not null,
    count bigint not null,
    amount_minor bigint not null
);

create function attempt_step(payment_stage smallint, dispute_stage smallint, leased_until timestamptz, send_at timestamptz)
returns text language sql immutable as $$
    select case
        when payment_stage > 10 or dispute_stage > 0 then 'ended'
        when leased_until is not null then 'sending'
        when send_at is not null then 'ready'
        else 'unknown'
    end
$$;

create function count_billing_attempts() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into billing_attempt_count_changes (
            run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
        )
        select
            coalesce(run_id, 0), account, (created_at at time zone 'UTC')::date, state,
            attempt_step(payment_stage, dispute_stage, leased_until, send_at), canary,
            payment_stage >= 60 or dispute_stage > 0, dispute_stage in (1, 3),
            case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end,
            count(*), sum(amount_minor)
        from new_rows
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
    else
        insert into billing_attempt_count_changes (
            run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
        )
        select
            coalesce(run_id, 0), account, (created_at at time zone 'UTC')::date, state,
            attempt_step(payment_stage, dispute_stage, leased_until, send_at), canary,
            payment_stage >= 60 or dispute_stage > 0, dispute_stage in (1, 3),
            case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end,
            sum(n), sum(n * amount_minor)
        from (
            select 1 as n, after.* from new_rows after
            union all
            select -1, before.* from old_rows before
        ) moved
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9
        having sum(n) <> 0 or sum(n * amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger billing_attempts_counted_insert after insert on billing_attempts
referencing new table as new_rows for each statement execute function count_billing_attempts();
create trigger billing_attempts_counted_update after update on billing_attempts
referencing old table as old_rows new table as new_rows for each statement execute function count_billing_attempts();

create function count_givebacks() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into row_count_changes (subject, word, count, amount)
        select 'givebacks', state, count(*), sum(amount_minor) from new_rows group by state;
    else
        insert into row_count_changes (subject, word, count, amount)
        select 'givebacks', state, sum(n), sum(n * amount_minor)
        from (
            select 1 as n, state, amount_minor from new_rows union all select -1, state, amount_minor from old_rows
        ) moved
        group by state
        having sum(n) <> 0 or sum(n * amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger givebacks_counted_insert after insert on givebacks
referencing new table as new_rows for each statement execute function count_givebacks();
create trigger givebacks_counted_update after update on givebacks
referencing old table as old_rows new table as new_rows for each statement execute function count_givebacks();

-- Notifications are counted when they are processed: the unfinished ones are few, and have indexes of their own. So nothing is added to
-- what recording one costs.
create function count_webhook_events() returns trigger language plpgsql as $$
begin
    insert into row_count_changes (subject, word, count, amount)
    select 'webhook_events', 'processed', sum(n), 0
    from (
        select 1 as n from new_rows where state = 'processed' union all select -1 from old_rows where state = 'processed'
    ) moved
    having sum(n) <> 0;
    return null;
end
$$;
create trigger webhook_events_counted_update after update on webhook_events
referencing old table as old_rows new table as new_rows for each statement execute function count_webhook_events();

create function count_excess_deliveries() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into row_count_changes (subject, word, count, amount)
        select 'excess_deliveries', '', count(*), sum(deliveries) from new_rows having count(*) > 0;
    else
        insert into row_count_changes (subject, word, count, amount)
        select 'excess_deliveries', '', 0, sum(n * deliveries)
        from (select 1 as n, deliveries from new_rows union all select -1, deliveries from old_rows) moved
        having sum(n * deliveries) <> 0;
    end if;
    return null;
end
$$;
create trigger excess_deliveries_counted_insert after insert on excess_deliveries
referencing new table as new_rows for each statement execute function count_excess_deliveries();
create trigger excess_deliveries_counted_update after update on excess_deliveries
referencing old table as old_rows new table as new_rows for each statement execute function count_excess_deliveries();
