-- billing_attempts in lists: one query per leading filter (tether_core.payments.filters).
--
-- Each query reads an index from the newest attempt after the cursor that fits the leading filter, and examines %(examined_max)s
-- attempts at most. Filters that are null do not filter. It returns up to %(limit)s rows: an attempt, whether it fits all
-- filters, and its place among the examined. A row that does not fit is returned only at the last place: the next page continues
-- after it.

-- {listed_columns} from payments/billing_attempts --

-- {fits_filters} --
-- Whether an attempt fits all filters.
(%(unique_id)s::text is null or a.unique_id = %(unique_id)s)
and (%(transaction_id)s::text is null or a.transaction_id = %(transaction_id)s)
and (%(debtor_id)s::bigint is null or a.debtor_id = %(debtor_id)s)
and (%(run_id)s::bigint is null or a.run_id = %(run_id)s)
and (
    %(upload_id)s::bigint is null
    or a.run_id in (select r.id from billing_runs r where r.upload_id = %(upload_id)s)
)
and (%(reason_code)s::text is null or coalesce(a.reason_code = %(reason_code)s, false))
and (%(state)s::text is null or a.state = %(state)s)
and (%(account)s::text is null or a.account = %(account)s)
and (%(amount_min_minor)s::bigint is null or a.amount_minor >= %(amount_min_minor)s)
and (%(amount_max_minor)s::bigint is null or a.amount_minor <= %(amount_max_minor)s)
and (%(created_from)s::timestamptz is null or a.created_at >= %(created_from)s)
and (%(created_to)s::timestamptz is null or a.created_at < %(created_to)s)
and (%(updated_from)s::timestamptz is null or a.updated_at >= %(updated_from)s)
and (%(updated_to)s::timestamptz is null or a.updated_at < %(updated_to)s)
and (%(country)s::text is null or left(a.iban_masked, 2) = %(country)s)
and (%(bank)s::text is null or coalesce(a.bank_bic = %(bank)s, false))

-- {examined} --
-- The beginning of a list with one leading filter, which follows it.
select {listed_columns}, fits, place
from (
    select
        a.*,
        row_number() over (order by a.id desc) as place,
        ({fits_filters}) is true as fits
    from (
        select *
        from billing_attempts
        where

-- {newest_first} --
-- The end of a list with one leading filter.
            and (%(before)s::bigint is null or id < %(before)s)
        order by id desc
        limit %(examined_max)s
    ) a
) examined
where fits or place = %(examined_max)s
order by id desc
limit %(limit)s

-- newest --
-- All attempts.
{examined} true
{newest_first};

-- by_unique_id --
-- The attempt with this id of the gateway.
{examined} unique_id = %(unique_id)s
{newest_first};

-- by_transaction_id --
-- The attempt with this `transaction_id`.
{examined} transaction_id = %(transaction_id)s
{newest_first};

-- by_debtor --
-- The attempts of a debtor.
{examined} debtor_id = %(debtor_id)s
{newest_first};

-- by_run --
-- The attempts of a billing run.
{examined} run_id = %(run_id)s
{newest_first};

-- by_upload --
-- The attempts of the billing runs of an upload.
select {listed_columns}, fits, place
from (
    select
        a.*,
        row_number() over (order by a.id desc) as place,
        ({fits_filters}) is true as fits
    from (
        select newest.*
        from billing_runs r
        cross join lateral (
            select *
            from billing_attempts
            where run_id = r.id and (%(before)s::bigint is null or id < %(before)s)
            order by id desc
            limit %(examined_max)s
        ) newest
        where r.upload_id = %(upload_id)s
        order by id desc
        limit %(examined_max)s
    ) a
) examined
where fits or place = %(examined_max)s
order by id desc
limit %(limit)s;

-- by_reason_code --
-- Attempts with a reason code.
{examined} reason_code = %(reason_code)s
{newest_first};

-- by_state --
-- Attempts in a state.
{examined} state = %(state)s
{newest_first};

-- by_account --
-- The attempts of a gateway account.
{examined} account = %(account)s
{newest_first};

-- by_created --
-- Attempts created in a period, the latest first; after (%(before_at)s, %(before)s).
select {listed_columns}, fits, place
from (
    select
        a.*,
        row_number() over (order by a.created_at desc, a.id desc) as place,
        ({fits_filters}) is true as fits
    from (
        select *
        from billing_attempts
        where
            created_at >= coalesce(%(created_from)s::timestamptz, '-infinity')
            and created_at < coalesce(%(created_to)s::timestamptz, 'infinity')
            and (created_at, id) < (
                coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before)s::bigint, 0)
            )
        order by created_at desc, id desc
        limit %(examined_max)s
    ) a
) examined
where fits or place = %(examined_max)s
order by created_at desc, id desc
limit %(limit)s;
