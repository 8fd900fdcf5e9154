-- chargebacks: billing attempts that the debtor's bank has charged back, for display; by code and upload.
--
-- They are the attempts in the state "chargebacked": charged back and not won back, or lost again. Lists read an index from the newest
-- that fits, behind the cursor, and examine %(examined_max)s attempts at most, as attempt_lists.sql does. Filters that are null
-- do not filter; the code '' selects chargebacks without a code.

-- by_code --
-- All chargebacks, of all accounts or of one, from the sums of figures.sql: ten million debits have hundreds of thousands of
-- chargebacks, which take seconds to count. One row per code and currency: code, currency, count, sum of amounts.
select nullif(reason_code, '') as reason_code, currency, sum(count)::bigint as count, sum(amount_minor)::bigint as amount_minor
from (
    select reason_code, currency, account, count, amount_minor from figures where kind = 'returned'
    union all
    select reason_code, currency, account, count, amount_minor from figure_changes where kind = 'returned'
) f
where %(account)s::text is null or account = %(account)s
group by 1, 2
having sum(count) <> 0
order by 1, 2;

-- by_code_of_upload --
-- The chargebacks of an upload's runs. The columns of `by_code`.
select a.reason_code, a.currency, count(*) as count, sum(a.amount_minor)::bigint as amount_minor
from billing_runs r
join billing_attempts a on a.run_id = r.id and a.state = 'chargebacked'
where r.upload_id = %(upload_id)s and (%(account)s::text is null or a.account = %(account)s)
group by a.reason_code, a.currency
order by a.reason_code, a.currency;

-- {examined} --
-- The beginning of a list of returns, up to its own condition.
select
    examined.id, examined.transaction_id, examined.unique_id, examined.amount_minor, examined.currency,
    examined.reason_code, examined.dispute_stage = 3, examined.account, examined.debtor_id, d.name, d.reference,
    examined.iban_masked, examined.run_id, r.upload_id, examined.due_item, examined.created_at, examined.updated_at,
    examined.fits, examined.place
from (
    select
        a.*, row_number() over (order by a.id desc) as place,
        (%(account)s::text is null or a.account = %(account)s) as fits
    from (
        select *
        from billing_attempts

-- {newest_first} --
-- The end of a list of returns.
        order by id desc
        limit %(examined_max)s
    ) a
) examined
join debtors d on d.id = examined.debtor_id
left join billing_runs r on r.id = examined.run_id
where examined.fits or examined.place = %(examined_max)s
order by examined.id desc
limit %(limit)s

-- newest --
-- Of all accounts, or of one. Up to %(limit)s rows: the columns of `Chargeback`, whether it fits, its place among those examined. A row
-- that does not fit is returned only at the last place.
{examined}
        where state = 'chargebacked' and (%(before)s::bigint is null or id < %(before)s)
{newest_first};

-- of_code --
-- The same for one code.
{examined}
        where
            state = 'chargebacked' and reason_code = %(reason_code)s
            and (%(before)s::bigint is null or id < %(before)s)
{newest_first};

-- without_code --
-- The same for those without a code.
{examined}
        where
            state = 'chargebacked' and reason_code is null
            and (%(before)s::bigint is null or id < %(before)s)
{newest_first};

-- of_upload --
-- The same for the runs of an upload, of one code or of all.
select
    examined.id, examined.transaction_id, examined.unique_id, examined.amount_minor, examined.currency,
    examined.reason_code, examined.dispute_stage = 3, examined.account, examined.debtor_id, d.name, d.reference,
    examined.iban_masked, examined.run_id, r.upload_id, examined.due_item, examined.created_at, examined.updated_at,
    examined.fits, examined.place
from (
    select
        a.*, row_number() over (order by a.id desc) as place,
        (
            (%(account)s::text is null or a.account = %(account)s)
            and (
                %(reason_code)s::text is null or a.reason_code is not distinct from nullif(%(reason_code)s, '')
            )
        ) as fits
    from (
        select charged_back.*
        from billing_runs run
        cross join lateral (
            select *
            from billing_attempts
            where
                run_id = run.id and state = 'chargebacked' and (%(before)s::bigint is null or id < %(before)s)
            order by id desc
            limit %(examined_max)s
        ) charged_back
        where run.upload_id = %(upload_id)s
{newest_first};
