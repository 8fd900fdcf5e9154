-- Days of the money of debits, the banks of debtors, and sums of both for figures; the queries are in tether_stores/figures.sql.
alter table debtors add column bank_bic text;
alter table billing_attempts
    add column collected_on date, add column returned_on date, add column refunded_on date, add column bank_bic text;

-- Sums of the money of debits, for figures; the queries are in tether_stores/figures.sql, the words in tether_core.figures. They are
-- kept like the counts of rows: a trigger writes each change as a row, and a periodic task adds the changes to the sums.
create table figures (
    kind text not null,
    happened_on date not null,
    created_on date not null,
    submitted_on date not null,
    currency text not null,
    account text not null,
    run_id bigint not null,
    country text not null,
    bank_bic text not null,
    reason_code text not null,
    price_band bigint not null,
    count bigint not null,
    amount_minor bigint not null,
    primary key (
        created_on, run_id, kind, happened_on, submitted_on, currency, account, country, bank_bic, reason_code, price_band
    ),
    constraint figures_kind_known check (kind in ('collected', 'returned', 'refunded', 'refunded_and_returned'))
);
create index figures_by_happening on figures (happened_on);
create index figures_by_run on figures (run_id);
create index figures_by_submission on figures (submitted_on);
create table figure_changes (
    id bigint generated always as identity primary key,
    kind text not null,
    happened_on date not null,
    created_on date not null,
    submitted_on date not null,
    currency text not null,
    account text not null,
    run_id bigint not null,
    country text not null,
    bank_bic text not null,
    reason_code text not null,
    price_band bigint not null,
    count bigint not null,
    amount_minor bigint not null
);

-- The lower bound of the price band of an amount, in whole minor units; tether_core.figures.PRICE_BANDS.
create function price_band(amount_minor bigint) returns bigint language sql immutable parallel safe as $$
    select case
        when amount_minor >= 100000 then 100000
        when amount_minor >= 50000 then 50000
        when amount_minor >= 25000 then 25000
        when amount_minor >= 10000 then 10000
        when amount_minor >= 5000 then 5000
        when amount_minor >= 2500 then 2500
        when amount_minor >= 1000 then 1000
        else 0
    end::bigint
$$;

create function date_billing_attempt() returns trigger language plpgsql as $$
begin
    if new.collected_on is null then
        -- Of a debit of another system only the last change is dated: it counts as collected when it was made.
        new.collected_on = case when tg_op = 'INSERT' then new.created_at else new.updated_at end at time zone 'UTC';
    end if;
    if new.bank_bic is null then
        new.bank_bic = (select d.bank_bic from debtors d where d.id = new.debtor_id);
    end if;
    new.returned_on = case
        when new.dispute_stage in (1, 3) then coalesce(new.returned_on, (new.updated_at at time zone 'UTC')::date)
    end;
    new.refunded_on = case
        when new.payment_stage in (70, 80) then coalesce(new.refunded_on, (new.updated_at at time zone 'UTC')::date)
    end;
    return new;
end
$$;
create trigger billing_attempts_dated_insert before insert on billing_attempts
for each row when (new.payment_stage >= 60 or new.dispute_stage > 0) execute function date_billing_attempt();
create trigger billing_attempts_dated_update before update on billing_attempts
for each row when (
    (new.payment_stage >= 60 or new.dispute_stage > 0)
    and (new.payment_stage <> old.payment_stage or new.dispute_stage <> old.dispute_stage)
) execute function date_billing_attempt();

create function count_figures() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into figure_changes (
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        )
        select
            moved.kind, moved.happened_on, (a.created_at at time zone 'UTC')::date,
            (coalesce(a.submitted_at, a.created_at) at time zone 'Europe/Berlin')::date, a.currency, a.account, coalesce(a.run_id, 0),
            left(a.iban_masked, 2), coalesce(a.bank_bic, ''), case when moved.has_reason then coalesce(a.reason_code, '') else '' end,
            price_band(a.amount_minor), count(*), sum(a.amount_minor)
        from new_rows a
        cross join lateral (
            values
                ('collected', a.collected_on, false), ('returned', a.returned_on, true), ('refunded', a.refunded_on, false),
                (
                    'refunded_and_returned',
                    case when a.returned_on is not null and a.refunded_on is not null then greatest(a.returned_on, a.refunded_on) end,
                    true
                )
        ) moved (kind, happened_on, has_reason)
        where a.collected_on is not null and moved.happened_on is not null
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    else
        insert into figure_changes (
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        )
        select
            moved.kind, moved.happened_on, (a.created_at at time zone 'UTC')::date,
            (coalesce(a.submitted_at, a.created_at) at time zone 'Europe/Berlin')::date, a.currency, a.account, coalesce(a.run_id, 0),
            left(a.iban_masked, 2), coalesce(a.bank_bic, ''), case when moved.has_reason then coalesce(a.reason_code, '') else '' end,
            price_band(a.amount_minor), sum(a.n), sum(a.n * a.amount_minor)
        from (
            select 1 as n, after.* from new_rows after where after.collected_on is not null
            union all
            select -1, before.* from old_rows before where before.collected_on is not null
        ) a
        cross join lateral (
            values
                ('collected', a.collected_on, false), ('returned', a.returned_on, true), ('refunded', a.refunded_on, false),
                (
                    'refunded_and_returned',
                    case when a.returned_on is not null and a.refunded_on is not null then greatest(a.returned_on, a.refunded_on) end,
                    true
                )
        ) moved (kind, happened_on, has_reason)
        where moved.happened_on is not null
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        having sum(a.n) <> 0 or sum(a.n * a.amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger billing_attempts_figures_insert after insert on billing_attempts
referencing new table as new_rows for each statement execute function count_figures();
create trigger billing_attempts_figures_update after update on billing_attempts
referencing old table as old_rows new table as new_rows for each statement execute function count_figures();

-- Of debits that are there already only the last change is dated. Their update fires the triggers above, which sum them up.
update billing_attempts
set
    collected_on = (updated_at at time zone 'UTC')::date,
    returned_on = case when dispute_stage in (1, 3) then (updated_at at time zone 'UTC')::date end,
    refunded_on = case when payment_stage in (70, 80) then (updated_at at time zone 'UTC')::date end
where payment_stage >= 60 or dispute_stage > 0;
