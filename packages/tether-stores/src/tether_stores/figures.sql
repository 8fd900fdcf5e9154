-- figures: sums of the money of debits (tether_core.figures).
--
-- Triggers of billing_attempts date what happens to a debit's money, and write what a statement changes of the sums as rows of
-- figure_changes, in the transaction that changes the debits. So no writer waits for another, whatever path it takes. A periodic task adds
-- the changes to the sums and deletes them. A figure is what both tables say, read by one statement: it is exact whenever it is read.
--
-- A row is about one kind of money: "collected", "returned", "refunded", or "refunded_and_returned" for a debit that is both. What is
-- returned carries its reason, the other kinds carry none. A return that was won back, or whose reason changes, leaves the sums of its day.

-- begin --
-- Whether this transaction may add changes to the sums: one does at a time, until its end. One row.
select pg_try_advisory_xact_lock(hashtextextended('tether figures', 0));

-- add_changes --
-- Add up to %(limit)s changes to the sums. Returns how many.
with taken as (
    delete from figure_changes
    where id in (select id from figure_changes order by id limit %(limit)s)
    returning *
),
added as (
    insert into figures as f (
        kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
        amount_minor
    )
    select
        kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, sum(count),
        sum(amount_minor)
    from taken
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    having sum(count) <> 0 or sum(amount_minor) <> 0
    on conflict (
        created_on, run_id, kind, happened_on, submitted_on, currency, account, country, bank_bic, reason_code, price_band
    ) do update
    set count = f.count + excluded.count, amount_minor = f.amount_minor + excluded.amount_minor
)
select count(*) from taken;

-- {found} --
-- The stored sums and the changes that fit the filters; a filter that is null does not filter.
(
    select * from (
        select
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        from figures
        union all
        select
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        from figure_changes
    ) every
    where
        (%(cohort_from)s::date is null or created_on >= %(cohort_from)s)
        and (%(cohort_to)s::date is null or created_on <= %(cohort_to)s)
        and (%(cash_from)s::date is null or happened_on >= %(cash_from)s)
        and (%(cash_to)s::date is null or happened_on <= %(cash_to)s)
        and (%(account)s::text is null or account = %(account)s)
        and (%(currency)s::text is null or currency = %(currency)s)
        and (%(country)s::text is null or country = %(country)s)
        and (%(bank)s::text is null or bank_bic = %(bank)s)
        and (%(price_band)s::bigint is null or price_band = %(price_band)s)
        and (%(run_id)s::bigint is null or run_id = %(run_id)s)
        and (
            %(upload_id)s::bigint is null
            or run_id = any(array(select r.id from billing_runs r where r.upload_id = %(upload_id)s))
        )
)

-- sums --
-- The sums by group and currency. Up to %(limit)s rows, in the order of days and months, else by what was collected. By upload, debits of
-- no run are of the upload "".
select
    f.key, f.currency,
    coalesce(sum(f.count) filter (where f.kind = 'collected'), 0)::bigint as collected,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'collected'), 0)::bigint as collected_minor,
    coalesce(sum(f.count) filter (where f.kind = 'returned'), 0)::bigint as returned,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'returned'), 0)::bigint as returned_minor,
    coalesce(sum(f.count) filter (where f.kind = 'returned' and f.reason_code = any(%(excluded)s::text[])), 0)::bigint as excluded,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'returned' and f.reason_code = any(%(excluded)s::text[])), 0)::bigint
        as excluded_minor,
    coalesce(sum(f.count) filter (where f.kind = 'refunded'), 0)::bigint as refunded,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'refunded'), 0)::bigint as refunded_minor
from (
    select
        found.*,
        case %(by)s
            when 'day' then to_char(case when %(basis)s = 'cash' then happened_on else created_on end, 'YYYY-MM-DD')
            when 'month' then to_char(case when %(basis)s = 'cash' then happened_on else created_on end, 'YYYY-MM')
            when 'country' then country
            when 'bank' then bank_bic
            when 'reason_code' then reason_code
            when 'price_band' then price_band::text
            when 'account' then account
            when 'run' then case when run_id <> 0 then run_id::text else '' end
            when 'upload' then coalesce((select r.upload_id::text from billing_runs r where r.id = found.run_id), '')
            else ''
        end as key
    from {found} found
) f
where f.kind <> 'refunded_and_returned'
group by f.key, f.currency
having
    sum(f.count) filter (where f.kind = 'collected') <> 0 or sum(f.count) filter (where f.kind = 'returned') <> 0
    or sum(f.count) filter (where f.kind = 'refunded') <> 0
order by
    f.currency, case when %(by)s in ('day', 'month') then f.key end,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'collected'), 0) desc, sum(f.amount_minor) desc, f.key
limit %(limit)s;

-- open_money --
-- Money that was neither returned nor refunded, by the day on which its debits were submitted, from %(since_on)s on. 0 to n rows.
select
    f.submitted_on, f.currency, coalesce(r.upload_id, 0) as upload_id,
    sum(case when f.kind in ('collected', 'refunded_and_returned') then f.count else -f.count end)::bigint as count,
    sum(case when f.kind in ('collected', 'refunded_and_returned') then f.amount_minor else -f.amount_minor end)::bigint as amount_minor
from (
    select submitted_on, currency, account, run_id, kind, count, amount_minor from figures where submitted_on >= %(since_on)s
    union all
    select submitted_on, currency, account, run_id, kind, count, amount_minor from figure_changes where submitted_on >= %(since_on)s
) f
left join billing_runs r on r.id = f.run_id
where
    (%(upload_id)s::bigint is null or r.upload_id = %(upload_id)s)
    and (%(account)s::text is null or f.account = %(account)s)
group by 1, 2, 3
having sum(case when f.kind in ('collected', 'refunded_and_returned') then f.count else -f.count end) <> 0
order by 1, 2, 3;

-- earlier_uploads --
-- An upload and up to %(limit)s earlier ones with billing runs, the newest first. Their ids.
select u.id
from uploads u
where u.id <= %(upload_id)s and exists (select from billing_runs r where r.upload_id = u.id)
order by u.id desc
limit %(limit)s;

-- moved --
-- Money of uploads by the age at which it moved. One row per upload, currency and age: what was collected, with age 0, and what was
-- returned and refunded; and the day on which the last debits of the upload were submitted.
select
    f.upload_id, f.currency,
    case when f.kind = 'collected' then 0 else greatest(f.happened_on - f.submitted_on, 0) end as age_days,
    coalesce(sum(f.amount_minor) filter (where f.kind = 'collected'), 0)::bigint as collected_minor,
    coalesce(sum(f.amount_minor) filter (where f.kind in ('returned', 'refunded')), 0)::bigint as gone_minor,
    max(f.submitted_on) as submitted_to
from (
    select r.upload_id, f.currency, f.kind, f.happened_on, f.submitted_on, f.amount_minor
    from billing_runs r
    join figures f on f.run_id = r.id
    where r.upload_id = any(%(upload_ids)s::bigint[])
    union all
    select r.upload_id, f.currency, f.kind, f.happened_on, f.submitted_on, f.amount_minor
    from billing_runs r
    join figure_changes f on f.run_id = r.id
    where r.upload_id = any(%(upload_ids)s::bigint[])
) f
group by 1, 2, 3
order by 1, 2, 3;
